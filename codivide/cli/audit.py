"""``codivide audit``: the page on which a person checks the labels of a run."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from codivide.cli.flags import Run
from codivide.cli.output import aside, line, note, say_verdict


def audit(
    run: Run,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="HTML file to write.", show_default="RUN/report.html")
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
    """
    from codivide.audit import facts, render
    from codivide.runs.folder import REPORT, SavedRun, is_audit

    path = run / REPORT if out is None else out
    if out is not None or run.is_dir():
        render.check_target(path)
    collected, issues = facts.paged(run)
    written = render.write(collected, path, limit, issues)
    kind = (collected.get("targets") or {}).get("kind", "")
    what = {"regression": "targets", "multilabel": "rows"}.get(kind, "labels")
    line(f"{collected['issues_total']:,} of {collected['labelled']:,} {what} look wrong")
    if run.is_dir() and not is_audit(run):
        say_verdict(SavedRun(run).summary)
    for remark in collected["remarks"]:
        note(remark)
    line(f"report:  {path}")
    if len(written) > 1:
        line(f"more:    {written[1].parent} (belongs to the report)")
    if open and not webbrowser.open(path.resolve().as_uri()):
        aside(f"no browser was found; open {path} in one")
