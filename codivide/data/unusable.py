"""Columns of a table that cannot be used, or say nothing, such as ids."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from codivide.data.cells import are_dates, are_numbers, is_textual, missing, numbers
from codivide.data.commas import READABLE

LIKE_ID = "a different value in every row, like an id"  # why a column is left out
_FEWEST_IDS = 10  # rows below which it says nothing that all are different
_ID_NAME = re.compile(r"(^|[ _.\-])(id|ids|uuid|guid|index|rownames?|row number)$|^unnamed: ?0$", re.I)
_CAMEL = re.compile(r"[a-z](Id|ID)$")  # customerId, but not "paid"


def is_plain(frame: pd.DataFrame) -> bool:
    """Whether a table holds nothing but finite numbers without gaps, and no column of ids: it needs no encoder."""
    for column in range(frame.shape[1]):
        values = frame.iloc[:, column]
        if isinstance(values.dtype, pd.CategoricalDtype) or not pd.api.types.is_numeric_dtype(values):
            return False
        if pd.api.types.is_complex_dtype(values) or values.isna().any():
            return False
        if pd.api.types.is_float_dtype(values) and not np.isfinite(values.to_numpy()).all():
            return False
        if refusal_as_id(values, str(frame.columns[column])) is not None:
            return False
    return True


def refusal(values: pd.Series[Any], name: str) -> str | None:
    """Why a column cannot be used, or says nothing; None where it can."""
    if isinstance(values, pd.DataFrame):
        return "its name comes twice"
    if pd.api.types.is_complex_dtype(values):
        return "holds complex numbers"
    empty = missing(values)
    known = values[~empty]
    if len(known) == 0:
        return "all cells are empty"
    if pd.api.types.is_float_dtype(values) and not np.isfinite(numbers(known)).any():
        return "no cell holds a finite number"
    if pd.api.types.is_object_dtype(values):
        odd = known.map(lambda value: isinstance(value, list | tuple | dict | set | np.ndarray | bytes))
        if odd.any():
            first = known[odd].iloc[0]
            kind = "an array" if isinstance(first, np.ndarray) else f"a {type(first).__name__}"
            return f"holds {kind} in row {int(np.flatnonzero(~empty)[np.argmax(odd)])}"
    if not empty.any() and len(values) > 1 and known.astype(object).map(str).nunique() == 1:
        return "one value only"
    return refusal_as_id(values, name)


def refusal_as_id(values: pd.Series[Any], name: str) -> str | None:
    """Why a column looks like an id; None where it does not."""
    called = bool(_ID_NAME.search(name) or _CAMEL.search(name))
    if len(values) < _FEWEST_IDS:
        return None
    if pd.api.types.is_integer_dtype(values):
        if values.isna().any() or not called:
            return None
        return LIKE_ID if values.nunique() == len(values) else None
    if pd.api.types.is_numeric_dtype(values) or not is_textual(values):
        return None
    known = values[~missing(values)].astype(object).map(str)
    if known.nunique() < max(len(known), _FEWEST_IDS):
        return None
    odd = known.str.contains(r"[\s@/.]", regex=True).mean()
    if called or (odd < 1 - READABLE and not are_numbers(values) and not are_dates(values)):
        return LIKE_ID
    return None
