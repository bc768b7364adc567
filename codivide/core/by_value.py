"""Equality of records that hold arrays, tensors and frames, of which ``==`` alone makes no single answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

_ARRAYS = (np.ndarray, torch.Tensor, pd.DataFrame, pd.Series)


class ByValue:
    """Base of a dataclass (``eq=False``) that equals another of its class where all fields are the same.

    Missing values (NaN, ``pandas.NA``) equal each other. It has no hash, as a dataclass with an array has none.
    """

    def __eq__(self, other: object) -> bool:
        """Whether all fields hold the same, see ``_compared``."""
        if type(other) is not type(self):
            return NotImplemented
        return same(self._compared(), other._compared())

    def _compared(self) -> dict[str, Any]:
        """What two of them must share to be equal: all fields, unless a class leaves something out."""
        return vars(self)


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same, also where they hold arrays; two NaN are, and two ``pandas.NA``.

    Example:
        >>> same({"a": (np.array([1.0, np.nan]), 2)}, {"a": (np.array([1.0, np.nan]), 2)})
        True
    """
    if isinstance(one, _ARRAYS) or isinstance(other, _ARRAYS):
        return type(one) is type(other) and _same_arrays(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, Sequence) and not isinstance(one, str | bytes):
        pairs = isinstance(other, Sequence) and type(one) is type(other) and len(one) == len(other)
        return pairs and all(map(same, one, other))
    if one is pd.NA or other is pd.NA:  # what it is compared with is NA, too
        return one is other
    return one is other or bool(one == other) or bool(one != one and other != other)  # NaN is not itself


def _same_arrays(one: Any, other: Any) -> bool:
    if isinstance(one, pd.DataFrame | pd.Series):
        return bool(one.equals(other))
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype == object:
        return all(map(same, one.ravel().tolist(), other.ravel().tolist()))
    return bool(((one == other) | ((one != one) & (other != other))).all())
