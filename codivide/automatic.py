"""The value "auto": chosen from the data by ``codivide.choose``, else the paper's."""

from __future__ import annotations

from typing import Final, Literal

Auto = Literal["auto"]
AUTO: Final = "auto"


def fixed(value: float | Auto) -> float:
    """A setting of a method that trains, whose choices have been made (see ``Method.settled``)."""
    if value == AUTO:
        raise RuntimeError("a method trains with a setting that was left to be chosen; use method.settled()")
    return value
