"""``codivide plot | noise | methods``: what there is to see of a run, of labels, and of the methods."""

from __future__ import annotations

import json
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from codivide.cli.early import check_source
from codivide.cli.flags import ProbsFlags, TableFlags, all_there
from codivide.cli.method_flags import OWN, as_flag, described
from codivide.cli.output import aside, check_new_file, line, note, say_noise
from codivide.cli.progress import out_console
from codivide.core.errors import InputError

if TYPE_CHECKING:
    from codivide.data.loaded import Loaded
    from codivide.data.options import ReadOptions
    from codivide.noise.report import NoiseReport
    from codivide.noise.target_report import TargetReport


def plot(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="The folder of a run, finished or not.", callback=all_there),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the pictures.", show_default="RUN; of several runs, this folder"),
    ] = None,
    epochs: Annotated[
        str | None,
        typer.Option(
            help="Epochs whose losses are drawn, such as 1,10,50.", metavar="N,N,...", show_default="six of the kept"
        ),
    ] = None,
) -> None:
    """Draw a run: what it learned of right and wrong labels, its curves, and its losses; or compare several runs.

    Example: codivide plot run

    Example: codivide plot run another-run
    """
    from codivide.runs.plot import compare, draw

    try:
        chosen = [int(word) for word in epochs.split(",")] if epochs else None
    except ValueError:
        raise InputError(f"--epochs {epochs}: give whole numbers with commas, such as 1,10,50") from None
    if len(runs) > 1:
        if chosen is not None:
            raise InputError("--epochs is for the losses of one run; several runs are compared by their curves")
        written = compare(runs, out or Path())
    else:
        written, remarks = draw(runs[0], out, chosen)
        for remark in remarks:
            note(remark)
    for path in written:
        line(f"written: {path}")


def noise(
    source: Annotated[
        str, typer.Argument(help="Labelled data, as for fit, or the folder of a finished run or an audit.")
    ],
    spec: Annotated[
        str | None,
        typer.Argument(
            help="Noise to add first, such as symmetric:0.4, asymmetric:0.4, or T.csv (a transition matrix)."
        ),
    ] = None,
    *,
    table: TableFlags,
    probs: ProbsFlags,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a CSV: path or id, label, true_label.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a text.")] = False,
) -> None:
    """Say how many labels are wrong, and which classes are confused; estimated where the truth is not known.

    Example: codivide noise songs.csv --label genre

    Example: codivide noise labels.csv --probs probs.npy
    """
    check_source(source)
    _check_probs(probs, table, spec, out)
    from codivide.audit.noise_report import noise_report
    from codivide.data.experiment import spoil
    from codivide.data.options import ReadOptions
    from codivide.data.sources import load
    from codivide.noise import synthetic
    from codivide.runs.folder import is_audit, is_run

    check_new_file(out)
    options = ReadOptions(progress=True, **table.options(), **probs.options())
    if probs.probs:
        _say_report(_of_probs(probs, source, options, seed), as_json=as_json)
        return
    run = is_run(Path(source)) or is_audit(Path(source))
    if run and spec is not None:
        raise InputError(f"SPEC {spec} adds noise to data, and {source} is a folder of results: give the data")
    if run and not is_audit(Path(source)):
        _note_change(Path(source))
    loaded = None if run else spoil(load(source, options=options), spec, seed)
    if loaded is not None:
        _say_of(loaded)
    if loaded is None or loaded.truth is None:
        if out is not None:
            raise InputError(f"the true labels of {source} are not known: --out needs a SPEC such as symmetric:0.4")
        _say_report(noise_report(source if loaded is None else loaded, seed=seed), as_json=as_json)
        return
    if as_json:
        print(json.dumps(synthetic.summary(loaded.truth, loaded.y, len(loaded.classes)), indent=2))
    else:
        say_noise(loaded)
    if out is not None:
        _write_noisy(loaded, source, out)


def _of_probs(probs: ProbsFlags, source: str, options: ReadOptions, seed: int) -> NoiseReport | TargetReport:
    """The report of labels by somebody's probabilities, or of numbers by predictions."""
    from codivide.audit.noise_report import from_reading
    from codivide.audit.target_predictions import of_predictions
    from codivide.data.options import CLASSES
    from codivide.noise.report import estimate

    if probs.task != CLASSES:
        brought = probs.bring_targets(source, options)
        return of_predictions(brought.labelled.labels, brought.said, options).report
    labelled, found, _ = probs.bring(source, options)
    return estimate(from_reading(found, labelled.groups), seed=seed)


def _say_of(loaded: Loaded) -> None:
    """How data were read, and of which labels there are too few."""
    from codivide.data.label_remarks import warn_about_labels
    from codivide.data.loaded import left_out

    for sentence in loaded.said:
        note(sentence)
    if loaded.skipped:
        aside(left_out(loaded.skipped))
    warn_about_labels(loaded)


def _check_probs(probs: ProbsFlags, table: TableFlags, spec: str | None, out: Path | None) -> None:
    """InputError for flags that do not go with those of probabilities."""
    if not probs.probs:
        for name in (name for name in probs.asked() if name != "group"):  # which the labels of a source may have, too
            raise InputError(f"--{name} goes with --probs")
        return
    given = {"SPEC": spec, "--out": out, "--columns": table.columns, "--drop": table.drop}
    for name in (name for name, value in given.items() if value is not None):
        raise InputError(f"{name} does not go with --probs, which judge the labels as they are given")


def _say_report(report: NoiseReport | TargetReport, *, as_json: bool) -> None:
    print(json.dumps(report.to_dict(), indent=2) if as_json else report)


def _note_change(run: Path) -> None:
    """A note where the table has changed: the report is on the labels that the run saw, and reads nothing else."""
    from codivide.runs.changed import check_again
    from codivide.runs.folder import SavedRun

    try:
        check_again(SavedRun(run))
    except InputError as error:
        note(f"this is a report on the labels as the run saw them: {error}")


def _write_noisy(loaded: Loaded, source: str, out: Path) -> None:
    """The given and the true labels as a table; of image files, as a manifest, which names them from where it lies."""
    import pandas as pd

    from codivide.core.files import atomic, guard, guarded
    from codivide.runs.label_table import PATH, called

    assert loaded.truth is not None
    name, ids = called(loaded.ids, images=loaded.of_images), list(loaded.ids)
    if name == PATH:
        root = Path(source) if Path(source).is_dir() else Path(source).parent
        paths = [relpath(root / str(i), out.parent) for i in ids]
        ids = [path if guard(path) == path else f"./{path}" for path in paths]  # it stays the path of a file
    columns: dict[str, list[Any]] = {
        name: ids,
        "label": [loaded.classes[i] if i >= 0 else None for i in loaded.y],
        "true_label": [loaded.classes[i] if i >= 0 else None for i in loaded.truth],
    }
    with atomic(out) as part:
        guarded(pd.DataFrame(columns)).to_csv(part, index=False)
    aside(f"written: {out}")


def methods(
    name: Annotated[str | None, typer.Argument(help="Show the settings of this method.")] = None,
) -> None:
    """List the methods, or the settings of one.

    Example: codivide methods dividemix
    """
    from codivide.fit.own_method import method_class
    from codivide.methods import METHODS

    if name is None:
        table = Table("method", "paper", "in one line", box=None, padding=(0, 2, 0, 0))
        for key, cls in METHODS.items():
            table.add_row(key, escape(cls.paper), escape(cls.summary))
        out_console.print(table)
        return
    cls = method_class(name)
    paper, summary = (f" ({cls.paper})" if cls.paper else ""), (f": {cls.summary}" if cls.summary else "")
    out_console.print(f"[bold]{escape(name)}[/]{escape(paper + summary)}")
    table = Table("flag", "default", "meaning", box=None, padding=(0, 2, 0, 0))
    for flag, default, text in _hyper_parameters(cls):
        table.add_row(flag, default, escape(text))
    out_console.print(table)


def _hyper_parameters(cls: type) -> list[tuple[str, str, str]]:
    """Flag, default and meaning of each hyper-parameter of a method, in the words of the command line."""
    from dataclasses import fields

    from codivide.cli.fit_flags import TAKEN

    about = described(cls)
    rows = []
    for item in fields(cls):
        flag = OWN + item.name if item.name in TAKEN else item.name
        rows.append(("--" + flag.replace("_", "-"), *as_flag(item.name, item.default, about.get(item.name, ""))))
    return rows


def settings_page(name: str) -> str:
    """The hyper-parameters of a method, and what it asks of the plan, as Markdown; for its page."""
    from codivide.methods import METHODS

    cls = METHODS[name]
    lines = ["| flag | default | meaning |", "|---|---|---|"]
    lines += [f"| `{flag}` | {default} | {text} |" for flag, default, text in _hyper_parameters(cls)]
    if asked := getattr(cls, "settings", {}):
        said = ", ".join(f"`{key}` {value}" for key, value in asked.items())
        lines += ["", f"Of the plan it sets, where you do not: {said}."]
    return "\n".join(lines)
