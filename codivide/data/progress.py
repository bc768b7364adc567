"""What all readers show of long work: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY = 10.0  # seconds between two lines


def progress_bar(*, shown: bool) -> Progress:
    """A bar with counts and remaining time on standard error; silent unless ``shown`` and a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal))


def tell(text: str, *, shown: bool) -> None:
    """One line on standard error, where something is ``shown``."""
    if shown:
        Console(stderr=True).print(text, soft_wrap=True, highlight=False, markup=False)


class Working:
    """Counts what is done, on standard error; use it as a context manager.

    Args:
        name: of the work, such as "encoding".
        total: samples.
        shown: whether anything is shown.
    """

    def __init__(self, name: str, total: int, *, shown: bool) -> None:
        self.name, self.total, self.done = name, total, 0
        self._bar = progress_bar(shown=shown)
        self._task = self._bar.add_task(name, total=total)
        self._lines = shown and not self._bar.console.is_terminal
        self._began = self._said = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self.done += count
        self._bar.advance(self._task, count)
        now = time.monotonic()
        if self._lines and now - self._said >= EVERY and self.done < self.total:
            left = (now - self._began) * (self.total - self.done) / self.done
            self._said = now
            tell(f"{self.name} {self.done:,}/{self.total:,} eta {left:.0f} s", shown=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
