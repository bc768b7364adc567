"""What the cells of a column hold: nothing, numbers, dates or texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from codivide.core.types import Floats
from codivide.data.commas import EMPTY, READABLE, Commas, commas_of, pointed
from codivide.data.dates import dates, is_date, order_of
from codivide.data.units import is_nothing, unit_of, without_unit

LARGEST = 1e37  # what float32 holds, and its square nearly


def missing(values: pd.Series[Any]) -> pd.Series[bool]:
    """Which cells are empty: none, not a number, or a text of nothing but white space."""
    empty = values.isna()
    if is_textual(values):
        empty |= values.astype(object).map(lambda value: isinstance(value, str) and value.strip() in EMPTY)
    return empty.astype(bool)


def numbers(values: pd.Series[Any], commas: Commas | None = None, unit: str | None = None) -> Floats:
    """Numbers ``[N]``, also as texts; NaN where there is none.

    Args:
        values: the column.
        commas: what commas in texts are; None: what ``commas_of`` finds.
        unit: of the texts; None: what ``unit_of`` finds.
    """
    if pd.api.types.is_timedelta64_dtype(values):
        return np.asarray(values.dt.total_seconds(), dtype=np.float64)
    if pd.api.types.is_numeric_dtype(values):
        found = values.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        texts = values.astype(object)
        texts = without_unit(texts, unit_of(texts, READABLE) if unit is None else unit)
        found = np.asarray(pd.to_numeric(pointed(texts, commas or commas_of(texts)), errors="coerce"), dtype=np.float64)
    return np.where(np.isfinite(found), found, np.nan)


def as_names(values: pd.Series[Any]) -> pd.Series[Any]:
    """Cells as texts without white space around them; None where they are empty. A whole number has no point."""
    empty = missing(values)

    def text(value: Any) -> str:
        if isinstance(value, float | np.floating) and float(value).is_integer():
            value = int(value)
        return str(value).strip()

    named = values.astype(object).map(text, na_action="ignore").astype(object)
    return named.where(~empty, None)


def as_texts(values: pd.Series[Any]) -> list[str]:
    """Cells as texts, "" where they are empty; lone surrogates become question marks."""
    texts = values.astype(object).where(~missing(values), "").map(str)
    return [text.encode("utf-8", "replace").decode("utf-8") for text in texts.tolist()]


def are_objects(values: pd.Series[Any]) -> bool:
    """Whether a column is one of texts, or of objects, which may be texts."""
    return pd.api.types.is_object_dtype(values) or pd.api.types.is_string_dtype(values)


def is_textual(values: pd.Series[Any]) -> bool:
    """Whether the cells of a column are objects or texts, and no numbers."""
    kind = values.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return not pd.api.types.is_numeric_dtype(kind.categories)
    return are_objects(values)


def are_numbers(values: pd.Series[Any]) -> bool:
    """Whether a column holds numbers, or nearly all that its texts say is numbers."""
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_timedelta64_dtype(values):
        return True
    if not is_textual(values):
        return False
    known = values[~missing(values)]
    said = known[~known.astype(object).map(is_nothing).astype(bool)]
    return bool(2 * len(said) >= len(known) > 0 and np.isfinite(numbers(said)).mean() >= READABLE)


def are_dates(values: pd.Series[Any]) -> bool:
    """Whether a column holds dates, or nearly all of its texts are dates."""
    if pd.api.types.is_datetime64_any_dtype(values) or isinstance(values.dtype, pd.PeriodDtype):
        return True
    known = values[~missing(values)]
    if not is_textual(values):
        return False
    if all(not isinstance(value, str) for value in known.tolist()):
        return bool(dates(known).notna().mean() >= READABLE)
    like = known.astype(object).map(is_date)
    return bool(like.mean() >= READABLE and dates(known, order_of(known)).notna().mean() >= READABLE)
