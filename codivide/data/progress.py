"""What all readers show of long work: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY = 10.0  # seconds between two lines
FIRST = 2.0  # seconds after which it can be told how long the rest will take


def is_live(console: Console) -> bool:
    """Whether a bar can move there: on a terminal, or in a notebook that has ipywidgets."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


def progress_bar(*, shown: bool) -> Progress:
    """A bar with counts and remaining time on standard error; silent unless ``shown`` and a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not (shown and is_live(console)))


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
        foreseen: told once, after a first part that takes ``FIRST``, how many seconds all of it will take.
    """

    def __init__(self, name: str, total: int, *, shown: bool, foreseen: Callable[[float], None] | None = None) -> None:
        self.name, self.total, self.done = name, total, 0
        self._bar = progress_bar(shown=shown)
        self._task = self._bar.add_task(name, total=total)
        self._lines = shown and self._bar.disable
        self._foreseen = foreseen
        self._began = self._said = time.monotonic()
        self._first: tuple[float, int] | None = None  # when the first part was done, and how much that was

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self.done += count
        self._bar.advance(self._task, count)
        now = time.monotonic()
        if self._first is None:  # it also loaded what the work needs
            self._first = now, self.done
        since, before = self._first
        if self.done == before or self.done >= self.total:
            return
        left = (now - since) * (self.total - self.done) / (self.done - before)
        if self._foreseen is not None and now - since >= FIRST:
            self._bar.stop()  # it would be in the way of what is said
            self._foreseen(now - self._began + left)
            self._foreseen = None
            self._bar.start()
        if self._lines and now - self._said >= EVERY:
            self._said = now
            tell(f"{self.name} {self.done:,}/{self.total:,} eta {left:.0f} s", shown=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
