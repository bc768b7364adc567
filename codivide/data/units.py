"""Numbers with a unit, such as ``$1,234.50``, ``14.6%`` and ``12 kg``: what all cells of a column have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pandas as pd

from codivide.core.words import counted

_CURRENCY = "[$€£¥₹₽₩]|USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|TRY"
_WRITTEN = re.compile(
    rf"(?P<sign>[+-]?)\s*(?P<before>{_CURRENCY})?\s*(?P<number>[+-]?(\d[\d.,]*|[.,]\d+)(e[+-]?\d+)?)"
    rf"\s*(?P<after>{_CURRENCY}|[%‰°]|°?[A-Za-zµ]{{1,3}}[²³]?)?",
)
_BEHIND = re.compile(r"(\d[\d.,]*)\s*-")
_BRACKETS = re.compile(r"\(\s*(\D{0,3}\d[\d.,]*\D{0,3}?)\s*\)")
_CLOCK = re.compile(r"(\d{1,3}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?")
_SCALES = {"k": 3, "K": 3, "M": 6, "Mio": 6, "mn": 6, "B": 9, "bn": 9, "Mrd": 9}
SCALED = "k, M, B"  # the unit of a column whose cells have different ones of these, or some none
_SPACE = re.compile("(?<=\\d)['\u00a0\u202f ](?=\\d{3})")  # between thousands
_NOTHING = ("n/a", "na", "n.a.", "null", "nil", "none", "?", "-", "--", ".", "unknown", "missing")
ERRORS = ("#n/a", "#div/0!", "#ref!", "#value!", "#name?", "#num!", "#null!")  # of spreadsheets


def is_nothing(cell: Any) -> bool:
    """Whether a cell holds a word that stands in a column of numbers where there is none, such as "n/a"."""
    return isinstance(cell, str) and cell.strip().casefold() in (*_NOTHING, *ERRORS)


def tidy(text: str) -> str:
    """A number with its minus in front and without spaces between thousands, a time in seconds; other texts stay.

    Example:
        >>> [tidy(text) for text in ("1 234,50", "1.234,50-", "(12)", "10-20", "1:02:03", "10:30")]
        ['1234,50', '-1.234,50', '-12', '10-20', '3723', '37800']
    """
    bare = _SPACE.sub("", text.strip().replace("\u2212", "-"))
    if (time := _CLOCK.fullmatch(bare)) is not None:
        return f"{3600 * int(time[1]) + 60 * int(time[2]) + float(time[3] or 0):.10g}"
    turned = _BEHIND.fullmatch(bare) or _BRACKETS.fullmatch(bare)
    return f"-{turned[1]}" if turned else bare


def written_otherwise(texts: Iterable[Any], unit: str) -> str | None:
    """What is said of numbers in another form than most: a minus behind, brackets, no unit; None: nothing."""
    cells = [text.strip() for text in texts if isinstance(text, str) and text.strip() and not is_nothing(text)]
    said = []
    if turned := [text for text in cells if _BEHIND.fullmatch(text) or _BRACKETS.fullmatch(text)]:
        said.append(
            counted(len(turned), f"number, {turned[0]!r}, is negative", f"numbers such as {turned[0]!r} are negative")
        )
    bare = [
        text for text in cells if (match := _WRITTEN.fullmatch(tidy(text))) and not (match["before"] or match["after"])
    ]
    if unit and unit != SCALED and bare:
        shown = repr(bare[0])
        told = f"cell, {shown}, has no unit and counts", f"cells such as {shown} have no unit and count"
        said.append(f"{counted(len(bare), *told)} as of {unit!r}")
    return "; ".join(said) or None


def unit_of(texts: Iterable[Any], share: float) -> str:
    """The unit of a column: the only one in its cells, of which at least this share are numbers; "" where none is."""
    known = [tidy(text) for text in texts if isinstance(text, str) and not is_nothing(text)]
    known = [text for text in known if text]
    found = [match for text in known if (match := _WRITTEN.fullmatch(text)) is not None]
    written = {match["before"] or match["after"] for match in found}
    units = written - {None}
    if not units or len(found) < share * len(known):
        return ""
    if units <= _SCALES.keys() and len(written) > 1:
        return SCALED
    return str(units.pop()) if len(units) == 1 else ""


def without_unit(texts: pd.Series[Any], unit: str) -> pd.Series[Any]:
    """Texts of numbers, ``tidy`` and without this unit; what is written otherwise stays."""
    return texts.map(lambda text: _bare(tidy(text), unit) if isinstance(text, str) else text)


def _bare(text: str, unit: str) -> str:
    if not unit:
        return text
    match = _WRITTEN.fullmatch(text)
    if match is None or (match["before"] and match["after"]):
        return text
    own = match["before"] or match["after"]
    if unit == SCALED and own in _SCALES:
        return f"{match['sign']}{match['number']}e{_SCALES[own]}"
    return text if own != unit else f"{match['sign']}{match['number']}"
