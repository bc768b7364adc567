"""Lists in messages."""

from __future__ import annotations

from collections.abc import Iterable


def first_few(items: Iterable[str], most: int = 5) -> str:
    """The first of some texts, and how many more there are.

    Example:
        >>> first_few(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    every = list(items)
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more
