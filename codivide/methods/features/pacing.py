"""The time that the route for features has, and the records of what it has done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Record = dict[str, Any]


class Clock:
    """The time there is for steps that can be left out, and the names of those that were."""

    def __init__(self, deadline: float | None) -> None:
        self.began, self.deadline, self.left_out = time.monotonic(), deadline, list[str]()

    def allows(self, step: str, since: float | None = None) -> bool:
        """Whether as long again as from ``since`` (else from the beginning) till now still fits; else notes it."""
        now, since = time.monotonic(), self.began if since is None else since
        allowed = self.deadline is None or 2 * now - since <= self.deadline
        if not allowed and step not in self.left_out:
            self.left_out.append(step)
        return allowed


class Rounds:
    """The records of the rounds, each with its seconds; ``watch`` also sees of how many they are, where it is known."""

    def __init__(self, watch: Callable[[Record], None] | None, count: int | None = None) -> None:
        self.watch, self.records, self.began, self.count = watch, list[Record](), time.perf_counter(), count

    def more(self, count: int) -> None:
        """So many rounds more than was known will come."""
        if self.count is not None:
            self.count += count

    def add(self, name: str, **values: float) -> None:
        """Another round has ended."""
        now = time.perf_counter()
        number = len(self.records) + 1
        self.records.append({"epoch": number, "round": name, **values, "seconds": round(now - self.began, 3)})
        self.began = now
        if self.watch is not None:
            self.watch(self.records[-1] | ({} if self.count is None else {"of": self.count}))
