"""A budget of time: when the stages of a run have to end, and what may be planned."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

_PLANNED = 0.85  # of the budget is planned: what an epoch takes is an estimate
_SCOUTED = 0.90  # a scout that takes longer than planned ends here; some of the rest must be left for what follows
_TRAINED = 0.92  # no epoch begins later: the last one has to end, and the results to be written


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

    def part_ends(self, share: float) -> float | None:
        """When a stage has to end that may take this share of what is left until ``ends``."""
        end, now = self.ends(), time.monotonic()
        return None if end is None else now + share * (end - now)

    def _after(self, share: float) -> float | None:
        return None if self.seconds is None else self.began + share * self.seconds
