"""What commas and points in texts of numbers are: decimal ones, or between thousands."""

from __future__ import annotations

import re
from typing import Any, Literal

import pandas as pd

from codivide.data.units import is_nothing, tidy

READABLE = 0.9  # share of the texts of a column that must be numbers, or dates, for it to be one of these
EMPTY = ("", "nan", "NaN", "<NA>")
_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?")
_POINTS = re.compile(r"[+-]?([1-9]\d{0,2}(\.\d{3})+|\d+)")
_ADDRESS = 3  # points in each text of a column of internet addresses, such as 192.168.178.101
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_BELOW_THOUSAND = re.compile(r"[+-]?\d{1,3}(\.\d+)?")

Commas = Literal["", "decimal", "thousands", "points"]
COMMAS_IN_WORDS = {
    "decimal": "a decimal comma",
    "thousands": "commas between thousands",
    "points": "points between thousands",
}


def commas_of(texts: pd.Series[Any]) -> Commas:
    """What the commas in texts of numbers are; "" where there are none, or the texts are something else.

    They divide thousands where each of them could ("1,234"), and a number has two of them, or a point after them, or
    the others are below 1,000. Else they are decimal commas: so are those of "1,234" and "2,345" alone. Of texts
    without a comma the points divide thousands ("1.234"), where all are such whole numbers and one has two points.
    """
    known = [tidy(value) for value in texts.tolist() if isinstance(value, str) and value.strip() not in EMPTY]
    known = [value for value in known if not is_nothing(value)]
    with_comma = [value for value in known if "," in value]
    others = [value for value in known if "," not in value]
    if not with_comma:
        points = [value.count(".") for value in known]
        said = max(points, default=0) > 1 and min(points) != _ADDRESS
        return "points" if said and all(map(is_pointed, known)) else ""
    if all(map(is_grouped, with_comma)):
        said = any(value.count(",") > 1 or "." in value for value in with_comma)
        if said or (others and all(_BELOW_THOUSAND.fullmatch(value) for value in others)):
            return "thousands"
    fitting = [value for value in known if _COMMA.fullmatch(value)]
    decimal = any("," in value for value in fitting) and len(fitting) >= READABLE * len(known)
    return "decimal" if decimal else ""


def pointed(texts: pd.Series[Any], commas: Commas) -> pd.Series[Any]:
    """Texts of numbers with no comma and a decimal point; what is no such text stays as it is.

    Args:
        texts: of a column.
        commas: what its commas are; "": it has none.
    """
    return texts.map(lambda value: point(value, commas) if isinstance(value, str) else value) if commas else texts


def point(text: str, commas: Commas) -> str:
    """One text as ``pointed`` writes it."""
    bare = tidy(text)
    if commas == "decimal" and _COMMA.fullmatch(bare):
        return bare.replace(".", "").replace(",", ".")
    if commas == "points" and is_pointed(bare):
        return bare.replace(".", "")
    return bare.replace(",", "") if commas == "thousands" and is_grouped(bare) else text


def is_pointed(text: str) -> bool:
    """Whether a text is a whole number, in which points may stand between thousands."""
    return _POINTS.fullmatch(text.strip()) is not None


def is_grouped(text: str) -> bool:
    """Whether every comma in the text of a number has three digits behind it, as between thousands."""
    return _THOUSANDS.fullmatch(text.strip()) is not None
