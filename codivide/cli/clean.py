"""``codivide clean`` and ``codivide serve``: what a person does with a run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from codivide.cli.flags import Run, as_flags
from codivide.cli.output import aside, line, note
from codivide.core.errors import InputError
from codivide.core.stopping import Stopped
from codivide.core.words import counted

NewClasses = Annotated[bool, typer.Option("--new-classes", help="Let a person's decisions name classes that are new.")]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What decides about a label."""

    corrections: Annotated[
        list[Path] | None,
        typer.Option(
            help="What a person decided (corrections.csv); it wins over both rules. Give it again for another "
            "person's.",
            metavar="FILE",
        ),
    ] = None
    drop_below: Annotated[
        float | None,
        typer.Option(
            help="Leave out labels whose probability of being right is below this.",
            show_default="where nothing is asked for: what leaves the fewest wrong labels",
        ),
    ] = None
    relabel_above: Annotated[
        float | None,
        typer.Option(
            help="Take suggestions whose probability is above this.",
            show_default="where nothing is asked for: what leaves the fewest wrong labels",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Files:
    """What becomes of images, and where they are."""

    copy: Annotated[bool, typer.Option("--copy", help="Also copy the images, one sub-folder a class.")] = False
    link: Annotated[bool, typer.Option("--link", help="As --copy, with links in place of copies.")] = False
    source: Annotated[
        str | None, typer.Option(help="What the run was trained on, where it is no longer as the run names it.")
    ] = None


def clean(
    run: Run,
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for the cleaned data.")],
    rules: Rules,
    files: Files,
    *,
    new_classes: NewClasses = False,
    export: Annotated[
        str | None, typer.Option(help="Also write the labels for a tool: label-studio, argilla or coco.")
    ] = None,
) -> None:
    """Write a run's data with repaired labels to a new folder; the source is never touched.

    Example: codivide clean run --out cleaned
    """
    from codivide.audit import clean as cleaning
    from codivide.audit import export as exporting
    from codivide.audit.write_clean import CHANGES, LABELS, How
    from codivide.data.corrections import read_all

    if files.copy and files.link:
        raise InputError("--copy and --link: give one of them")
    if export is not None:
        exporting.check(export)
    decided = read_all(rules.corrections) if rules.corrections else None
    how: How | None = "copy" if files.copy else "link" if files.link else None
    cleaned = cleaning.clean(
        run,
        out,
        decided,
        drop_below=rules.drop_below,
        relabel_above=rules.relabel_above,
        files=how,
        source=files.source,
        new_classes=new_classes,
    )
    if export is not None:
        exporting.add(out, export, cleaning.read_run(run).source.options)
    for remark in cleaned.remarks:
        note(remark)
    counts = cleaned.changes["change"].value_counts()
    said = ", ".join(f"{counts.get(change, 0):,} {change}" for change in ("relabelled", "labelled", "dropped"))
    line(f"{counted(len(cleaned.labels), 'sample stays', 'samples stay')}; {said}")
    line(f"labels:  {out / LABELS}\nchanges: {out / CHANGES}")
    if export is not None:
        line(f"export:  {out / exporting.EXPORTS[export]}")
    if cleaned.reading is not None:
        flags = [*as_flags(cleaned.reading), *_budget(run)]
        again = ["codivide", "fit", str(out / LABELS), *flags, "--out", _next(run.resolve().name)]
        line(f"train again: {shlex.join(again)}")


def _budget(run: Path) -> list[str]:
    """The flag of a run whose network was trained further in a budget; nothing of others."""
    from codivide.data.tuned import NAME
    from codivide.runs.folder import IDENTITY, SavedRun, has_run

    config = SavedRun(run).config if has_run(run) else {}
    seconds = config.get(IDENTITY, {}).get("method.budget") if config.get("encoder") == NAME else None
    return [] if seconds is None else ["--budget", f"{seconds:.0f}s"]


def _next(name: str) -> str:
    """A folder for the run after this one that is not there yet: run2 after run, run3 after run2."""
    stem = name.rstrip("0123456789")
    stem, last = (stem, name[len(stem) :]) if stem else (f"{name}_", "")
    return next(new for number in count(int(last or 1) + 1) if not Path(new := f"{stem}{number}").exists())


def serve(
    run: Run,
    *,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port; 0: any that is free.",
            show_default="one of the run's own, so that a page finds it again",
        ),
    ] = None,
    export: Annotated[
        bool, typer.Option("--export", help="Only write the decisions so far to RUN/corrections.csv.")
    ] = False,
    new_classes: NewClasses = False,
) -> None:
    """Show the audit page of a run on this machine alone; every decision is saved at once.

    Example: codivide serve run
    """
    from codivide.audit import serve
    from codivide.audit.clean import read_run
    from codivide.audit.decisions import export as export_decisions

    judged = read_run(run)
    with serve.open_decisions(run, judged.known(new_classes=True)) as decisions:  # each was checked when it was made
        new_classes = new_classes or serve.named_new(decisions, judged.known())
        if export:
            target = run / "corrections.csv"
            count = export_decisions(decisions, target)
            line(f"{counted(count, 'decision')}: {target if count else 'nothing is written'}")
            return
        facts, render = (import_module(f"codivide.audit.{name}") for name in ("facts", "render"))
        collected = facts.collect(run)
        own = serve.port_of(run)
        server = serve.Server(
            lambda token: render.page(collected, served={"token": token, "new_classes": new_classes}),
            judged.known(new_classes=new_classes),
            decisions,
            facts.originals(run),
            port if port is not None else own if serve.is_free(own) else 0,
        )
        line(f"open {server.address}\nstop with Ctrl-C")
        try:
            server.serve_forever()
        except (KeyboardInterrupt, Stopped) as stopped:
            export_command = f"codivide serve {shlex.quote(str(run))} --export"
            aside(f"stopped; all decisions are saved, `{export_command}` writes them to a file")
            code = getattr(stopped, "code", 130)
            if code != 130:  # Ctrl-C is how a server ends
                raise typer.Exit(code) from None
        finally:
            server.server_close()
