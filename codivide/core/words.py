"""Lists and counts in messages, and rows of tables in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_NAMELESS = 3  # words of a text that needs no name of its column


def first_few(items: Iterable[str], most: int = 5) -> str:
    """The first of some texts, and how many more there are.

    Example:
        >>> first_few(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    every = list(items)
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def counted(count: int, one: str, many: str | None = None) -> str:
    """How many there are of something, with the words for one or for many; None: an s is added.

    Example:
        >>> counted(1, "row"), counted(1200, "row"), counted(0, "class is empty", "classes are empty")
        ('1 row', '1,200 rows', '0 classes are empty')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def look_wrong(count: int, labelled: int, what: str = "labels") -> str:
    """How many of the labels look wrong; ``what``: what they are called, as many.

    Example:
        >>> look_wrong(1, 80), look_wrong(12, 8000, "rows")
        ('1 of 80 labels looks wrong', '12 of 8,000 rows look wrong')
    """
    return counted(count, f"of {labelled:,} {what} looks wrong", f"of {labelled:,} {what} look wrong")


def row_in_words(fields: Iterable[Sequence[Any]]) -> str:
    """Names and values of a row; a text of three words or more says what it is, and stands without the name.

    Example:
        >>> row_in_words([["title", "A very good song"], ["genre", "rock"], ["year", 1999.0], ["key", None]])
        'A very good song, genre rock, year 1999'
    """
    told = [
        (name, f"{value:.10g}" if isinstance(value, float | int) else " ".join(str(value).split()))
        for name, value in fields
        if value is not None
    ]
    return ", ".join(value if value.count(" ") >= _NAMELESS - 1 else f"{name} {value}" for name, value in told)
