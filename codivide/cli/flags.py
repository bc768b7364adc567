"""Flags that commands share, and the values that flags take as text."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from codivide.core.errors import InputError, speaking_flags

if TYPE_CHECKING:
    from codivide.audit.probs_files import Brought
    from codivide.audit.target_files import BroughtTargets
    from codivide.data.options import ReadOptions

TASK = (
    "What a label is: classes (one a row), multilabel (several, see --separator; or --label COL,COL,... of 0 and 1), "
    "regression (a number)."
)
SEPARATOR = "Between several labels of a row (--task multilabel)."
DATA = "Data"  # the panel of the flags that say how data are read
PROBS = "Probabilities"  # the panel of those that give a classifier's


def all_there(runs: list[Path]) -> list[Path]:
    """The folders of runs; InputError where nothing is there, before torch is loaded."""
    for run in runs:
        if not run.exists():
            raise InputError(f"there is no folder {str(run)!r}; give the one that `codivide fit --out` named")
    return runs


def _there(run: Path) -> Path:
    return all_there([run])[0]


Run = Annotated[Path, typer.Argument(help="The folder of a finished run.", callback=_there)]
Cluster = Annotated[
    str | None,
    typer.Option(
        help="Spread independent work over a Ray cluster: auto (the one of this machine, else its own processors), or "
        "an address such as ray://HOST:10001."
    ),
]


@dataclass(frozen=True, kw_only=True)
class NameFlags:
    """Which columns of a table hold labels and texts."""

    label: Annotated[
        str | None,
        typer.Option(help="The column of a table that holds the labels.", show_default="label", rich_help_panel=DATA),
    ] = None
    text: Annotated[
        str | None,
        typer.Option(
            help="The column of a table that holds texts, which are shown.", show_default="text", rich_help_panel=DATA
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class TableFlags(NameFlags):
    """Which columns of a table are what, where something is learned from them."""

    text: Annotated[
        str | None,
        typer.Option(
            help="The column of a table that holds texts, all that is learned from.",
            show_default="text",
            rich_help_panel=DATA,
        ),
    ] = None
    columns: Annotated[
        str | None,
        typer.Option(
            help="The columns of a table to learn from.",
            metavar="COL,COL,...",
            show_default="all",
            rich_help_panel=DATA,
        ),
    ] = None
    drop: Annotated[
        str | None,
        typer.Option(help="Columns of a table to leave out.", metavar="COL,COL,...", rich_help_panel=DATA),
    ] = None

    def options(self) -> dict[str, Any]:
        """As options of reading.

        Raises:
            InputError: an empty name.
        """
        from codivide.data.options import column_names

        return {
            "label": self.label or "label",
            "text": self.text,
            "columns": column_names(self.columns, "--columns"),
            "drop": column_names(self.drop, "--drop"),
        }


@dataclass(frozen=True, kw_only=True)
class ProbsFlags:
    """Somebody's class probabilities."""

    probs: Annotated[
        list[Path] | None,
        typer.Option(
            help="Probabilities of a classifier that had not seen the labels: .npy, or a table with a column a class "
            "(and id, or the order of the labels). Give it again for another model's: the mean counts. With --task "
            "regression predictions, with multilabel a column a label.",
            metavar="FILE",
            rich_help_panel=PROBS,
        ),
    ] = None
    classes: Annotated[
        str | None,
        typer.Option(
            help="The classes in the order of the columns.",
            metavar="CLASS,CLASS,...",
            show_default="names of columns, else sorted labels",
            rich_help_panel=PROBS,
        ),
    ] = None
    task: Annotated[
        str,
        typer.Option(help=f"{TASK} With --probs.", rich_help_panel=PROBS),
    ] = "classes"
    separator: Annotated[str, typer.Option(help=SEPARATOR, rich_help_panel=PROBS)] = ";"
    group: Annotated[
        str | None,
        typer.Option(
            help="The column of a table that says what belongs together, such as patients: one label of each counts "
            "for the rates.",
            rich_help_panel=DATA,
        ),
    ] = None

    def asked(self) -> list[str]:
        """Which of the flags that say how probabilities are read were given."""
        said = [item for item in fields(self) if item.name != "probs"]
        return [item.name for item in said if getattr(self, item.name) != item.default]

    def options(self) -> dict[str, Any]:
        """As options of reading."""
        return {"task": self.task, "separator": self.separator, "group": self.group}

    def bring(self, source: str, options: ReadOptions) -> Brought:
        """The labels of a source with the probabilities; a note on the labels is printed.

        Raises:
            InputError: see ``audit.probs_files.bring``.
        """
        from codivide.audit.probs_files import bring
        from codivide.data.options import column_names

        _no_results(source)
        return _said(bring(source, self.probs or (), options, column_names(self.classes, "--classes") or None))

    def bring_targets(self, source: str, options: ReadOptions) -> BroughtTargets:
        """The numbers, or several labels a row, of a source with the predictions; a note on the labels is printed.

        Raises:
            InputError: see ``audit.target_files.bring_targets``; also flags that are for classes.
        """
        from codivide.audit.target_files import bring_targets

        _no_results(source)
        for name, value in {"--classes": self.classes, "--group": self.group}.items():
            if value is not None:
                raise InputError(f"{name} does not go with --task {self.task}")
        return _said(bring_targets(source, self.probs or (), options))


_Either = TypeVar("_Either", "Brought", "BroughtTargets")


def _said(brought: _Either) -> _Either:
    """What was brought; how the labels were read is printed."""
    from codivide.cli.output import note

    for sentence in brought.labelled.said:
        note(sentence)
    return brought


def _no_results(source: str) -> None:
    from codivide.runs.folder import is_audit, is_run

    if is_run(Path(source)) or is_audit(Path(source)):
        raise InputError(f"{source} is a folder of results: with --probs give the labels that these were made of")


def _plainly(params: list[Any]) -> list[Any]:
    """The parameters of a command as help shows them.

    A switch has no type, since it takes no value. A default in words looks like any other, without the brackets that
    typer puts around it.
    """
    for item in params:
        if getattr(item, "is_flag", False):
            item.metavar = ""
        if isinstance(said := getattr(item, "show_default", None), str):
            item._get_default_string = lambda said=said, **_: said
    return params


class Command(TyperCommand):
    """A command of codivide, for ``cls=`` of typer."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters."""
        return _plainly(super().get_params(ctx))


class Group(TyperGroup):
    """A command that has commands, for ``cls=`` of typer. While one runs, messages name flags."""

    def invoke(self, ctx: Any) -> Any:
        """Run what was asked for."""
        with speaking_flags():
            return super().invoke(ctx)

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters."""
        return _plainly(super().get_params(ctx))


def spread(function: Callable[..., None], more: Sequence[inspect.Parameter] = ()) -> Callable[..., None]:
    """A command for typer: where ``function`` takes a dataclass, the command takes the fields of it.

    Args:
        function: its parameters are annotated as typer reads them, or with a dataclass whose fields are.
        more: further flags, which go to the ``**`` parameter of ``function``.
    """
    hints = get_type_hints(function, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if isinstance(kind, type) and is_dataclass(kind)}
    parameters: list[inspect.Parameter] = []
    for item in inspect.signature(function).parameters.values():
        if item.name in groups:
            parameters += inspect.signature(groups[item.name]).parameters.values()
        elif item.kind is inspect.Parameter.VAR_KEYWORD:
            parameters += more
        else:
            parameters.append(item)
    for kind in groups.values():
        hints |= get_type_hints(kind, include_extras=True)

    def command(**values: Any) -> None:
        for name, kind in groups.items():
            values[name] = kind(**{item.name: values.pop(item.name) for item in fields(kind)})
        function(**values)

    signature = inspect.Signature(
        [
            item.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints.get(item.name, item.annotation))
            for item in parameters
        ]
    )
    vars(command)["__signature__"] = signature  # typer reads it
    command.__annotations__ = {name: item.annotation for name, item in signature.parameters.items()}
    command.__doc__ = function.__doc__
    return command


def as_flags(options: ReadOptions) -> list[str]:
    """The flags of ``fit`` with which data are read so; those of the machine are at their defaults."""
    words: list[str] = []
    for name, value in options.to_dict().items():
        if name == "unlabelled" and options.task != "classes":  # no number means "no label" there
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words.append(",".join(value) if isinstance(value, list) else "none" if value is None else str(value))
    return words


def number_or_none(text: str) -> int | None:
    """The number that means "no label"; None for ``none``."""
    if text.casefold() == "none":
        return None
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--unlabelled {text}: give a whole number, or none") from None
