"""Dates as texts: which they are, and whether the day or the month comes first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_NUMBERED = r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})"  # and not the version 1.2.3
_NAMED = r"\d{1,2}[-/. ]{1,2}[A-Za-z]{3,9}[-/. ]{1,2}(\d{4}|\d{2})|[A-Za-z]{3,9}\.? \d{1,2},? \d{4}"
_DATE = re.compile(rf"({_NUMBERED}|{_NAMED})([ T].*)?")
_DAY = 86_400_000_000  # microseconds
_TWO = re.compile(r"\s*(\d{1,2})([-/.])(\d{1,2})[-/.]\d{2,4}")  # what comes before the year

Order = tuple[bool | None, bool | None]  # is the day first with slashes and dashes, and with points; None: not seen


def is_date(value: Any) -> bool:
    """Whether a cell is a date, or written as one: 2024-02-29, 29.2.24, 29 Feb 2024, Feb 29, 2024; also with a time."""
    return isinstance(value, date) or (isinstance(value, str) and _DATE.fullmatch(value.strip()) is not None)


def dates(values: pd.Series[Any], order: Order = (False, True)) -> pd.Series[pd.Timestamp]:
    """Dates ``[N]`` without a time zone; NaT where there is none. 2024-07-05 is the fifth of July in any case.

    Args:
        values: dates, or texts.
        order: whether 05/07/2024 and 05-07-2024 have the day first, and whether 05.07.2024 has; None: ``values`` say.
    """
    if isinstance(values.dtype, pd.PeriodDtype):
        values = values.dt.to_timestamp()
    if not pd.api.types.is_datetime64_any_dtype(values):
        texts = pd.Series([value.strip() if isinstance(value, str) else value for value in values], dtype=object)
        own = order_of(texts)
        known = [
            next((one for one in (before, here) if one is not None), False)
            for before, here in zip(order, own, strict=True)
        ]
        first = np.array([_has_day_first(value, known) for value in texts], dtype=bool)
        read = [
            pd.to_datetime(texts[first == which], errors="coerce", format="mixed", dayfirst=which, utc=True)
            for which in (False, True)
        ]
        values = pd.concat(read).sort_index().set_axis(values.index)
    if getattr(values.dtype, "tz", None) is not None:
        values = values.dt.tz_convert(None)
    return values


def order_of(values: pd.Series[Any]) -> Order:
    """How the texts of a column put day and month, as ``dates`` takes it; None where no text has both before the year.

    With points the day is first, else the month, unless a number above 12 says otherwise.
    """
    slashes, points = (_most(values, points=points) for points in (False, True))
    return (
        None if slashes == (0, 0) else slashes[0] > 12 >= slashes[1],
        None if points == (0, 0) else points[1] <= 12,
    )


def _most(values: pd.Series[Any], *, points: bool) -> tuple[int, int]:
    """The largest first and second number of the texts with points, or of those without; 0: there is none."""
    found = [match for match in (_TWO.match(value) for value in values if isinstance(value, str)) if match is not None]
    own = [(int(match[1]), int(match[3])) for match in found if (match[2] == ".") == points]
    return max((first for first, _ in own), default=0), max((second for _, second in own), default=0)


def reversed_in(values: pd.Series[Any], order: Order) -> tuple[str, bool] | None:
    """The first text that cannot be read in this order, and whether it has points; None: there is none."""
    for value in values:
        match = _TWO.match(value) if isinstance(value, str) else None
        if match is None:
            continue
        points = match[2] == "."
        first, second = int(match[1]), int(match[3])
        day_first = order[points]
        if (day_first is False and first > 12 >= second) or (day_first and second > 12 >= first):
            return value, points
    return None


def _has_day_first(value: Any, order: Sequence[bool]) -> bool:
    match = _TWO.match(value) if isinstance(value, str) else None
    return match is not None and order[match[2] == "."]


def days(values: pd.Series[pd.Timestamp]) -> NDArray[np.float64]:
    """Days since 1970 of dates without gaps, by microseconds, which hold the years 1 to 9999 ("no end")."""
    return values.to_numpy(dtype="datetime64[us]").astype(np.int64) / _DAY


def date_of(count: float) -> pd.Timestamp:
    """The date so many days after 1970."""
    return pd.Timestamp(np.datetime64(round(count * _DAY), "us"))
