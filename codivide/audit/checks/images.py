"""Images that look odd: dark, glaring, without contrast, blurred, grey among colour, of an odd size or shape.

Each is judged by ``data.looks``, in pixels as they were decoded, or by the size of the file's image. A kind that a
third of all images is of is how these images are: then none is flagged, and a sentence says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from codivide.audit.checks.base import Check, Found
from codivide.audit.material import Material
from codivide.core.types import Floats, Mask
from codivide.data.looks import Looks
from codivide.runs.label_table import Column

DARK = 0.25  # brightness that 98 % of the pixels of a dark image stay below
LIGHT = 2 / 3  # brightness that 98 % of the pixels of a glaring image are above
FLAT = 0.1  # brightness between the 1st and the 99th percentile of an image without information
BLURRED = 1.0  # least distance of the logarithm of sharpness below the median
SPREAD = 5.0  # robust deviations of the same, at least
GREY = 0.004  # mean distance of the channels of a grey image: one step of 255
NARROW = 0.35  # short over long side
_QUARTILES = 3.0  # times the range between the quartiles, from which on a size is odd
_FENCE = 1.5  # times the same above the upper quartile, from which on a shape is odd
_COMMON = 1 / 3  # of all images, from which on it is how these images are
_FULL_COLOUR = 16  # times ``GREY``: a score of 1

Measured = tuple[Floats, Mask]  # score and flag of every image


def _dark(looks: Looks) -> Measured:
    return looks.light, looks.light < DARK


def _light(looks: Looks) -> Measured:
    return 1 - looks.dark, looks.dark > LIGHT


def _flat(looks: Looks) -> Measured:
    return looks.contrast, looks.contrast < FLAT


def _blurry(looks: Looks) -> Measured | None:
    """Relative to the others: photos that were enlarged are all soft, and drawings all sharp."""
    told = np.isfinite(looks.sharpness) & (looks.contrast >= FLAT)
    if not told.any():
        return None
    first, median, third = np.quantile(looks.sharpness[told], [0.25, 0.5, 0.75])
    least = max(BLURRED, SPREAD * (third - first) / 1.349)
    below = np.where(told, median - looks.sharpness, 0.0)
    return np.exp(-np.maximum(below, 0)), below > least


def _grey(looks: Looks) -> Measured | None:
    """None where no image has colour; an image with nothing to see is no grey one."""
    if not (looks.colour >= GREY).any():
        return None
    return np.minimum(looks.colour / (_FULL_COLOUR * GREY), 1), (looks.colour < GREY) & (looks.contrast >= FLAT)


def _size(sizes: Floats) -> Measured:
    """The mean side against the median; its logarithm is odd beyond 3 ranges between the quartiles, and twice."""
    side = np.log(np.sqrt(sizes.prod(1)))
    low, median, high = np.quantile(side, [0.25, 0.5, 0.75])
    away = np.abs(side - median)
    return np.exp(-away), away > max(np.log(2), _QUARTILES * (high - low))


def _shape(sizes: Floats) -> Measured:
    """Short over long side: below 0.35, and its logarithm beyond Tukey's fence."""
    narrow = np.log(sizes.max(1) / sizes.min(1))
    low, high = np.quantile(narrow, [0.25, 0.75])
    return np.exp(-narrow), narrow > max(-np.log(NARROW), high + _FENCE * (high - low))


def _found(measured: Measured | None, name: str, words: str) -> Found:
    """Columns and rows, unless so many are flagged that it is how these images are."""
    if measured is None:
        return Found()
    score, flag = measured
    said: tuple[str, ...] = ()
    if flag.mean() > _COMMON:
        said = (f"{int(flag.sum()):,} of {len(flag):,} images are {words}; that is how these are, so none is flagged",)
        flag = np.zeros_like(flag)
    rows = np.flatnonzero(flag)
    columns = {f"is_{name}_issue": flag, f"{name}_score": np.clip(score, 0.0, 1.0)}
    return Found(columns, rows[np.argsort(score[rows], kind="stable")], said=said)


def _check(
    name: str,
    title: str,
    text: str,
    measure: Callable[[Material], Measured | None],
    *,
    words: str,
    meanings: tuple[str, str],
) -> Check:
    kinds: tuple[Literal["flag", "probability"], ...] = ("flag", "probability")
    names = (f"is_{name}_issue", f"{name}_score")
    columns = tuple(Column(*parts, "images") for parts in zip(names, kinds, meanings, strict=True))
    return Check(name, title, text, columns, lambda material: _found(measure(material), name, words), judged=False)


def _by_looks(measure: Callable[[Looks], Measured | None]) -> Callable[[Material], Measured | None]:
    return lambda material: None if material.looks is None else measure(material.looks)


def _by_size(measure: Callable[[Floats], Measured]) -> Callable[[Material], Measured | None]:
    def measured(material: Material) -> Measured | None:
        sizes = material.sizes
        return None if sizes is None or len(sizes) == 0 else measure(sizes.astype(np.float64))

    return measured


CHECKS: tuple[Check, ...] = (
    _check(
        "dark",
        "Dark images",
        "98 % of the pixels are darker than a quarter of white.",
        _by_looks(_dark),
        words="dark",
        meanings=("the image is dark", "brightness that 98 % of its pixels stay below; an issue below 0.25"),
    ),
    _check(
        "light",
        "Glaring images",
        "98 % of the pixels are lighter than two thirds of white.",
        _by_looks(_light),
        words="glaring",
        meanings=(
            "the image is glaring",
            "1 minus the brightness that 98 % of its pixels are above; an issue below 1/3",
        ),
    ),
    _check(
        "low_information",
        "Images with nothing to see",
        "Nearly all pixels have the same brightness, within a tenth of white.",
        _by_looks(_flat),
        words="nearly of one brightness",
        meanings=(
            "there is next to nothing to see",
            "brightness between the 1st and the 99th percentile; an issue below 0.1",
        ),
    ),
    _check(
        "blurry",
        "Blurred images",
        "Neighbouring pixels differ far less than in the other images.",
        _by_looks(_blurry),
        words="blurred",
        meanings=("the image is blurred", "sharpness over the median of all, at most 1; an issue below 0.37 or less"),
    ),
    _check(
        "grayscale",
        "Grey images among colour",
        "Red, green and blue are the same in every pixel, and most images have colour.",
        _by_looks(_grey),
        words="grey",
        meanings=("the image is grey, and others have colour", "how much colour it has; an issue below 1/16"),
    ),
    _check(
        "odd_size",
        "Images of an odd size",
        "Less than half or more than twice as large as usual, and far outside of the middle half.",
        _by_size(_size),
        words="of an odd size",
        meanings=(
            "the image is far smaller or larger than usual",
            "its side against the median; an issue below 0.5 or less",
        ),
    ),
    _check(
        "odd_aspect_ratio",
        "Images of an odd shape",
        "The long side is nearly three times the short one or more.",
        _by_size(_shape),
        words="of an odd shape",
        meanings=(
            "the image is far longer than wide, or wider than long",
            "short over long side; an issue below 0.35 or less",
        ),
    ),
)
