"""New samples that lie far from all that a model of a table has seen: what is predicted for them is a guess."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray

from codivide.data.columns import Columns
from codivide.data.rows import Rows
from codivide.methods.features.matrix import Scale, raw

_CHUNK = 4096
_SCALE = 20.0  # times as large or small as those of the training: values of another scale
_LOOKED = 256  # images whose values tell the scale of all
_DAY = " day"  # what the feature that says when a date is adds to the name of its column


def warn_of_far_values(model: object, rows: Rows) -> None:
    """Warn of what ``far_values`` says."""
    if (said := far_values(model, rows)) is not None:
        warnings.warn(said, stacklevel=3)


def far_values(model: object, rows: Rows) -> str | None:
    """What is said where values of a table are farther outside those of the training than these are apart.

    Or where float images have values of another scale, such as 0 to 255 where 0 to 1 was learned from. None: they have
    not, or it is not known.

    Args:
        model: any; only models of features of a table have kept the ends of what they saw, and networks a deviation.
        rows: the samples as the model takes them.
    """
    if len(rows.shape) == 3 and rows.dtype == torch.float32 and (views := getattr(model, "views", None)) is not None:
        return _of_scale(rows, float((views.mean.double() ** 2 + views.std.double() ** 2).mean().sqrt()))
    scale, encoder = getattr(model, "scale", None), getattr(model, "encoder", None)
    if not isinstance(scale, Scale) or scale.ends is None or not (encoder is None or isinstance(encoder, Columns)):
        return None
    least, largest = scale.ends.numpy().astype(np.float64)
    span = largest - least
    span[(span == 0) | ~_measures(encoder, len(span))] = np.inf  # a constant feature carries nothing
    count, farthest, worst = 0, 1.0, (0, 0.0)
    for ids in torch.split(torch.arange(len(rows)), _CHUNK):
        x = raw(rows, ids)
        if not isinstance(x, np.ndarray):
            return None
        beyond = np.maximum(least - x, x - largest) / span  # 1: as far outside as the ends are apart
        count += int((beyond.max(axis=1) > 1).sum())
        if beyond.max() > farthest:
            row, column = np.unravel_index(beyond.argmax(), beyond.shape)
            farthest, worst = float(beyond.max()), (int(column), float(x[row, column]))
    if not count:
        return None
    column, value = worst
    names = getattr(model, "columns", None) if encoder is None else encoder.features
    name = names[column] if names else f"feature {column}"
    one, low, high = (_written(name, amount, encoder) for amount in (value, least[column], largest[column]))
    return (
        f"{count} of {len(rows)} samples have values far outside those of the training, and what is predicted for them "
        f"is a guess: {name.removesuffix(_DAY) if encoder else name!r} is {one}, in training {low} to {high}"
    )


def _of_scale(rows: Rows, known: float) -> str | None:
    """What is said where the root mean square of float images is far from that of the training."""
    some = rows[torch.arange(min(len(rows), _LOOKED))].double()
    found = float((some**2).mean().sqrt())
    if found > _SCALE * known or (0 < found < known / _SCALE and bool(some.std() > 0)):
        return (
            f"the images have values of another scale than those of the training, and what is predicted for them is a "
            f"guess: the root of their mean square is {found:.3g}, in training {known:.3g}. Scale both alike, such as "
            "0 to 1, or give uint8"
        )
    return None


def _measures(encoder: Columns | None, width: int) -> NDArray[np.bool_]:
    """Which features ``[D]`` are amounts, that can be too large; not the words of a text, or which of some values."""
    if encoder is None:
        return np.ones(width, dtype=bool)
    kinds = [(part.kind, ending) for _, part in encoder.parts for ending in part.endings()]
    return np.array([kind in (("number", ""), ("date", _DAY)) for kind in kinds])


def _written(name: str, amount: float, encoder: Columns | None) -> str:
    """An amount as a person reads it: days since 1970 as a date."""
    if encoder is not None and (name.removesuffix(_DAY), "date") in {(of, part.kind) for of, part in encoder.parts}:
        return str(np.datetime64(int(amount), "D"))
    return f"{amount:.6g}"
