"""How each image looks: how dark and how light it is, how much contrast, sharpness and colour it has; one pass."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from codivide.core.types import Floats, Labels
from codivide.data.rows import Rows

_CHUNK = 256  # images at a time
_GRID = 32  # points a side, at most, at which brightness and colour are looked at
_LINES = 24  # rows and columns, at most, along which sharpness is measured
_GREY = (77, 150, 29)  # of 256: red, green, blue in luminance (ITU-R BT.601)
_NO_COLOUR = 0.01  # of the brightest value: JPEG leaves so much between the channels of a grey image
_FEW = 0.01  # of the images may have colour among grey ones
_FEWEST = 12  # pixels a side, below which sharpness means nothing


@dataclass(frozen=True)
class Looks:
    """Measures ``[N]`` of each image, brightness from 0 (black) to 1 (white).

    Attributes:
        light: brightness that 98 % of the pixels stay below: of a dark image it is low.
        dark: brightness that 2 % of the pixels stay below: of a glaring image it is high.
        contrast: brightness between the 1st and the 99th percentile of the pixels.
        sharpness: logarithm of the mean squared second difference of neighbouring pixels over that of the first, up to
            1.1 (noise); NaN below 12 pixels a side. It falls where an image is blurred, whatever its contrast.
        colour: mean distance between the strongest and the weakest of red, green and blue, 0: grey.
    """

    light: Floats
    dark: Floats
    contrast: Floats
    sharpness: Floats
    colour: Floats

    def take(self, rows: Labels) -> Self:
        """Those of some images."""
        return replace(self, **{item.name: getattr(self, item.name)[rows] for item in fields(self)})


_known: WeakKeyDictionary[Rows, Looks | None] = WeakKeyDictionary()


def measure(rows: Rows) -> Looks | None:
    """How the images look, as they were decoded; measured once for the same rows.

    Args:
        rows: ``[N, C, H, W]``, uint8, or float in [0, 1]; of more than three channels the first three count.

    Returns:
        The measures; None of samples that are no images, or of floats outside of [0, 1].

    Examples:
        >>> import numpy as np
        >>> from codivide.data.arrays import array_rows
        >>> looks = measure(array_rows(np.full((1, 16, 16, 3), 51, dtype=np.uint8)))
        >>> looks.light.round(2).tolist(), looks.contrast.tolist(), looks.colour.tolist()
        ([0.2], [0.0], [0.0])
    """
    if len(rows.shape) != 3 or len(rows) == 0:
        return None
    if rows not in _known:
        _known[rows] = _measure(rows)
    return _known[rows]


def in_grey(rows: Rows) -> bool:
    """Whether images have no colour, in one channel or in three alike; at most one in a hundred may have some.

    Args:
        rows: ``[N, 1 or 3, H, W]``, uint8, or of any other scale that begins with 0 (black).
    """
    if rows.shape[0] == 1:
        return True
    coloured = 0
    for ids in torch.split(torch.arange(len(rows)), _CHUNK):
        images = rows[ids].cpu().float()
        apart = (images.amax(1) - images.amin(1)).mean((1, 2))
        coloured += int((apart > _NO_COLOUR * images.amax((1, 2, 3))).sum())
        if coloured > _FEW * len(rows):
            return False
    return True


def _measure(rows: Rows) -> Looks | None:
    parts = []
    for ids in torch.split(torch.arange(len(rows)), _CHUNK):
        images = _bytes(rows[ids].cpu())
        if images is None:
            return None
        parts.append(_of(images))
    found = torch.cat(parts).double().numpy()
    return Looks(*(np.ascontiguousarray(found[:, k]) for k in range(found.shape[1])))


def _bytes(images: Tensor) -> Tensor | None:
    """Images as uint8, in one channel or three."""
    if images.dtype != torch.uint8:
        if not (images.min() >= 0 and images.max() <= 1):  # NaN, too
            return None
        images = (images * 255).round().to(torch.uint8)
    return images[:, :3] if images.shape[1] >= 3 else images[:, :1]


def _of(images: Tensor) -> Tensor:
    """``[B, 5]``: the measures of uint8 images ``[B, 1 or 3, H, W]`` in the order of ``Looks``."""
    steps = [max(1, -(-side // _GRID)) for side in images.shape[2:]]
    sample = images[:, :, :: steps[0], :: steps[1]]
    colour = torch.zeros(len(images))
    if images.shape[1] == 3:
        colour = (sample.amax(1).short() - sample.amin(1)).float().mean((1, 2)) / 255
    low, first, last, high = _percentiles(_luminance(sample), (0.02, 0.01, 0.99, 0.98))
    return torch.stack([high, low, last - first, _sharpness(images), colour], 1)


def _luminance(images: Tensor) -> Tensor:
    """``[B, H, W]`` uint8."""
    if images.shape[1] == 1:
        return images[:, 0]
    mixed = sum(images[:, k].int() * weight for k, weight in enumerate(_GREY))
    assert isinstance(mixed, Tensor)
    return (mixed >> 8).to(torch.uint8)


def _percentiles(grey: Tensor, shares: tuple[float, ...]) -> list[Tensor]:
    """For each share the brightness ``[B]`` that so many of the pixels stay at or below."""
    flat = grey.flatten(1).long()
    places = flat + 256 * torch.arange(len(flat)).unsqueeze(1)
    counts = torch.bincount(places.flatten(), minlength=256 * len(flat)).view(-1, 256)
    below = counts.cumsum(1).double() / flat.shape[1]
    return [(below < share).sum(1).float() / 255 for share in shares]


def _sharpness(images: Tensor) -> Tensor:
    """``[B]``: log of second over first differences, along some rows and columns."""
    height, width = images.shape[2:]
    if min(height, width) < _FEWEST:
        return torch.full((len(images),), torch.nan)
    along = _luminance(images[:, :, :: -(-height // _LINES)]).float()
    down = _luminance(images[:, :, :, :: -(-width // _LINES)]).float().transpose(1, 2)
    first, second = torch.zeros(len(images)), torch.zeros(len(images))
    for lines in (along, down):
        slope = lines[:, :, 1:] - lines[:, :, :-1]
        first += slope.square().mean((1, 2))
        second += (slope[:, :, 1:] - slope[:, :, :-1]).square().mean((1, 2))
    return ((second + 1e-6) / (first + 1e-3)).log()  # of a flat image it is low, and its contrast says so, too
