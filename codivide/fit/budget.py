"""A budget of time: when the stages of a run have to end, and what may be planned."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

from codivide.core.errors import InputError

_LONGEST = 1e9  # seconds
_PLANNED = 0.85  # of the budget is planned: what an epoch takes is an estimate
_SCOUTED = 0.90  # a scout that takes longer than planned ends here; some of the rest must be left for what follows
_TRAINED = 0.92  # no epoch begins later: the last one has to end, and the results to be written
_WORDS = {1: "s sec secs second seconds", 60: "m min mins minute minutes", 3600: "h hr hrs hour hours"}
_UNITS = {word: scale for scale, words in _WORDS.items() for word in words.split()}


def seconds(budget: Any, name: str) -> float:
    """Seconds of a time such as ``90s``, ``10m``, ``2h``, ``5min`` or ``5 minutes``.

    Args:
        budget: the time as a text; a number alone could be of any unit.
        name: of the flag or parameter, for a message.

    Raises:
        InputError: no such time, or less than a second.

    Example:
        >>> seconds("5 minutes", "budget")
        300.0
    """
    text = str(budget).strip()
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([a-z]*)", text.casefold())
    number, unit = found.groups() if found else ("", "")
    if found and not unit and float(number) > 0:
        raise InputError(f"{name} {text}: give a unit: {number}s, {number}m (minutes) or {number}h")
    scale = _UNITS.get(unit)
    if scale is None or not 1 <= float(number) * scale <= _LONGEST:
        raise InputError(f"{name} {text}: give a time such as 90s, 10m or 2h, at least 1s")
    return float(number) * scale


def patience(budget: Any, name: str, most: float) -> float:
    """Seconds that an encoder of texts may take which nobody asked for: a third of the budget, where there is one.

    Args:
        budget: as for ``seconds``; None: there is none.
        name: of the flag or parameter, for a message.
        most: seconds without a budget.

    Raises:
        InputError: no such time.
    """
    return most if budget is None else min(seconds(budget, name) / 3, most)


@dataclass(frozen=True)
class Budget:
    """Seconds for a whole run.

    Attributes:
        seconds: from ``began`` on; None: as long as it takes.
        began: of ``time.monotonic()``.
    """

    seconds: float | None = None
    began: float = field(default_factory=lambda: time.monotonic())

    @property
    def planned(self) -> float | None:
        """Seconds that plans may fill; None: any number."""
        return None if self.seconds is None else _PLANNED * self.seconds

    def left(self) -> float | None:
        """Seconds of ``planned`` that are left, at least 0."""
        return None if self.planned is None else max(self.began + self.planned - time.monotonic(), 0.0)

    def features_end(self) -> float | None:
        """When cross-fitting has to end, of ``time.monotonic()``; a fit that has begun is not cut short."""
        return self._after(_PLANNED)

    def scout_ends(self) -> float | None:
        """When the scout has to end, of ``time.monotonic()``."""
        return self._after(_SCOUTED)

    def ends(self) -> float | None:
        """When the last stage has to end, of ``time.monotonic()``."""
        return self._after(_TRAINED)

    def _after(self, share: float) -> float | None:
        return None if self.seconds is None else self.began + share * self.seconds
