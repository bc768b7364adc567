"""How often a fault was tried, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_SHOWN = 5  # losses that are told in full


@dataclass
class Tally:
    """One line of the table of ``docs/reliability.md``.

    Attributes:
        fault: what was done, to what.
        tries: how often.
        survived: how often the result was right, or one plain sentence said what is wrong.
        lost: what happened otherwise.
        counts: more numbers, by name.
        seconds: of processor time that it took.
    """

    fault: str
    tries: int = 0
    survived: int = 0
    lost: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, problem: str | None, kind: str | None = None) -> None:
        """Count a try; ``problem`` None: it was survived."""
        self.tries += 1
        if problem is None:
            self.survived += 1
        else:
            self.lost.append(problem)
        if kind is not None:
            self.counts[kind] = self.counts.get(kind, 0) + 1

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        more = {"counts": self.counts} if self.counts else {}
        what = {"what": [text[:600] for text in self.lost[:_SHOWN]]} if self.lost else {}
        return {
            "fault": self.fault,
            "tries": self.tries,
            "survived": self.survived,
            "lost": len(self.lost),
            "processor_seconds": round(self.seconds, 1),
            **more,
            **what,
        }
