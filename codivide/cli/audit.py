"""``codivide audit``: the page on which a person checks the labels of a run."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from codivide.cli.early import check_source
from codivide.cli.flags import NameFlags, ProbsFlags, all_there
from codivide.cli.output import aside, line, note, say_verdict
from codivide.core.errors import InputError
from codivide.core.words import look_wrong


def audit(
    source: Annotated[str, typer.Argument(help="The folder of a finished run; with --probs, data with labels.")],
    names: NameFlags,
    probs: ProbsFlags,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="HTML file to write; with --probs, a new folder, which noise, serve and clean take as a run.",
            show_default="SOURCE/report.html",
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(min=1, help="Labels to check in the page itself; the rest goes into a folder beside it."),
    ] = 1000,
    *,
    open: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Make a page of the labels that look wrong, to be checked in a browser.

    Example: codivide audit run --open

    Example: codivide audit labels.csv --probs probs.npy --out audited
    """
    run = _judged(source, names, probs, out)
    path = show(run, None if probs.probs else out, limit)
    if open and not webbrowser.open(path.resolve().as_uri()):
        aside(f"no browser was found; open {path} in one")


def show(run: Path, out: Path | None = None, limit: int = 1000) -> Path:
    """Write the page of a run to its folder or elsewhere, and say what there is; the page."""
    from codivide.audit import facts, render
    from codivide.runs.folder import REPORT, SavedRun, is_audit

    path = run / REPORT if out is None else out
    if out is not None or run.is_dir():
        render.check_target(path)
    collected, issues = facts.paged(run)
    written = render.write(collected, path, limit, issues)
    kind = (collected.get("targets") or {}).get("kind", "")
    what = {"regression": "targets", "multilabel": "rows"}.get(kind, "labels")
    line(look_wrong(collected["issues_total"], collected["labelled"], what))
    if besides := collected.get("counts"):
        line(f"besides: {', '.join(f'{title.lower()} {count:,}' for title, count in besides.items())}")
    if run.is_dir() and not is_audit(run):
        say_verdict(SavedRun(run).summary)
    for remark in collected["remarks"]:
        note(remark)
    line(f"report:  {path}")
    if len(written) > 1:
        line(f"more:    {written[1].parent} (belongs to the report)")
    return path


def _judged(source: str, names: NameFlags, probs: ProbsFlags, out: Path | None) -> Path:
    """The folder of a run, or of an audit that is made now of labels and probabilities."""
    if not probs.probs:
        read = [name for name, value in {"label": names.label, "text": names.text}.items() if value is not None]
        for name in read + probs.asked():
            raise InputError(f"--{name} goes with --probs; a run knows how its data were read")
        return all_there([Path(source)])[0]
    check_source(source)
    if out is None:
        raise InputError("--probs: give --out, a new folder for the audit, which noise, serve and clean take")
    from codivide.audit.probs import from_files, from_target_files, new_folder
    from codivide.data.options import CLASSES, ReadOptions
    from codivide.runs.label_table import CSV

    new_folder(out)
    options = ReadOptions(progress=True, label=names.label or "label", text=names.text, **probs.options())
    if probs.task == CLASSES:
        from_files(probs.bring(source, options), out)
    else:
        from_target_files(probs.bring_targets(source, options), out)
    line(f"labels:  {out / CSV}")
    return out
