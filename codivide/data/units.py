"""Numbers with a unit, such as ``$1,234.50``, ``14.6%`` and ``12 kg``: what all cells of a column have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pandas as pd

_CURRENCY = "[$€£¥₹₽₩]|USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|TRY"
_WRITTEN = re.compile(
    rf"(?P<sign>[+-]?)\s*(?P<before>{_CURRENCY})?\s*(?P<number>[+-]?(\d[\d.,]*|[.,]\d+)(e[+-]?\d+)?)"
    rf"\s*(?P<after>{_CURRENCY}|[%‰°]|°?[A-Za-zµ]{{1,3}}[²³]?)?",
)
_SPACE = re.compile("(?<=\\d)['\u00a0\u202f ](?=\\d{3})")  # between thousands
_NOTHING = ("n/a", "#n/a", "na", "n.a.", "null", "nil", "none", "?", "-", "--", ".", "unknown", "missing", "#div/0!")


def is_nothing(cell: Any) -> bool:
    """Whether a cell holds a word that stands in a column of numbers where there is none, such as "n/a"."""
    return isinstance(cell, str) and cell.strip().casefold() in _NOTHING


def unit_of(texts: Iterable[Any], share: float) -> str:
    """The unit of a column: the only one in its cells, of which at least this share are numbers; "" where none is."""
    known = [text.strip() for text in texts if isinstance(text, str) and not is_nothing(text)]
    known = [text for text in known if text]
    found = [_WRITTEN.fullmatch(_SPACE.sub("", text)) for text in known]
    units = {match["before"] or match["after"] for match in found if match} - {None}
    if len(units) != 1 or sum(match is not None for match in found) < share * len(known):
        return ""
    return str(units.pop())


def without_unit(texts: pd.Series[Any], unit: str) -> pd.Series[Any]:
    """Texts of numbers without this unit and without spaces between thousands; what is written otherwise stays."""
    return texts.map(lambda text: _bare(text, unit) if isinstance(text, str) else text) if unit else texts


def _bare(text: str, unit: str) -> str:
    match = _WRITTEN.fullmatch(_SPACE.sub("", text.strip()))
    if match is None or (match["before"] or match["after"]) != unit or (match["before"] and match["after"]):
        return text
    return f"{match['sign']}{match['number']}"
