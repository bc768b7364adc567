"""What a run shows while it trains: a live line on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from codivide.core.words import look_wrong
from codivide.data.progress import is_live

if TYPE_CHECKING:
    from codivide.training.run import Run

err_console = Console(stderr=True)
# stages as they are called to users: of an automatic choice, and of features
_SHOWN = {"scout": "short run", "divide": "labels judged"}


class Display:
    """Progress of a run: a live line on a terminal or in a notebook, plain lines elsewhere."""

    def __init__(self, epochs: int, name: str) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[text]}"),
        )
        self.live = is_live(err_console)
        name = _SHOWN.get(name, name)
        self.bar = Progress(*columns, console=err_console, disable=not self.live)
        self.task = self.bar.add_task(name, total=epochs, text="")
        self.name, self.epochs, self.seconds = name, epochs, 0.0
        self.first: int | None = None
        self.done: int | None = None  # the last epoch in which something was learned

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.update(self.task, visible=self.first is not None)  # a resumed run may have had nothing left to do
        self.bar.stop()

    def update(self, run: Run | None, row: Mapping[str, Any]) -> None:
        """Show one epoch's record; ``run`` is None where no network is trained."""
        if self.first is None:
            self.first = row["epoch"] - 1
            where = f" on {run.device}, {run.precision}, seed {run.plan.seed}" if run else " on cpu"
            err_console.print(self.name + where, highlight=False)
        if "stopped" in row:
            self._end()
            return
        if (count := row.get("of", self.epochs)) != self.epochs:
            if self.done is not None and count > self.epochs:
                more = f"a second round, since many labels look wrong: {count - self.epochs} steps more"
                err_console.print(f"{self.name} {more}", soft_wrap=True, highlight=False)
            self.epochs = count
            self.bar.update(self.task, total=self.epochs)
        self.done = row["epoch"]
        self.seconds += row["seconds"]
        step = "step" if "round" in row else "epoch"
        text = f"{_SHOWN.get(row['round'], row['round'])} " if "round" in row else ""
        text += f"loss {row['loss']:.3f}" if "loss" in row else ""
        if "labelled_0" in row:
            text += f" clean {row['labelled_0']:.0f}/{row['labelled_0'] + row['unlabelled_0']:.0f}"
        if "test_accuracy" in row:
            text += f" test {row['test_accuracy']:.3f}"
        text = text.strip()
        self.bar.update(self.task, completed=row["epoch"], text=text)
        if not self.live:
            left = (self.epochs - row["epoch"]) * self.seconds / (row["epoch"] - self.first)
            err_console.print(
                " ".join(filter(None, (self.name, step, f"{row['epoch']}/{self.epochs}", text, f"eta {left:.0f} s"))),
                soft_wrap=True,
                highlight=False,
            )

    def _end(self) -> None:
        """Training has ended before the last epoch of the plan; what follows is only counted."""
        if self.done is not None and self.done < self.epochs:
            err_console.print(f"{self.name} ended after epoch {self.done} of {self.epochs}", highlight=False)
            self.bar.update(self.task, total=self.done)
            self.epochs = self.done


class Stages:
    """Progress of a run of several stages, one display after another; and what is said between them.

    Args:
        name: of the method that was asked for, in front of what is said.
    """

    def __init__(self, name: str) -> None:
        self._name, self._stack = name, ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, name: str, epochs: int) -> Callable[[Run | None, Mapping[str, Any]], None]:
        """End the display of the stage before; what is returned shows an epoch of the new one."""
        self._stack.close()
        return self._stack.enter_context(Display(epochs, name)).update

    def say(self, text: str) -> None:
        """End the display of the stage before, and print a sentence."""
        self._stack.close()
        err_console.print(f"[bold]{escape(self._name)}[/] {escape(text)}", soft_wrap=True, highlight=False)

    def end(self, text: str) -> None:
        """End the display of the last stage, and print the closing lines."""
        self._stack.close()
        err_console.print(text, highlight=False, markup=False, soft_wrap=True)


def findings_of(summary: Mapping[str, Any]) -> list[str]:
    """What is wrong with the data as a whole, such as classes that were never learned: a line each."""
    return [f"{finding['title']}: {finding['text']}" for finding in summary.get("findings", ())]


def closing(summary: Mapping[str, Any], seconds: float) -> str:
    """How many labels look wrong, how much is wrong with the data as a whole, and the seconds since the beginning."""
    labelled = summary["samples"] - summary["unlabelled"]
    count = len(summary.get("findings", ()))
    found = f"{count} finding{'s' * (count > 1)} on the data as a whole; " if count else ""
    return f"{look_wrong(summary['label_issues'], labelled)}; {found}{seconds:.0f} s"
