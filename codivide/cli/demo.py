"""``codivide demo``: what codivide does for mislabelled digits, first in seconds and then with networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from codivide.cli.audit import show
from codivide.cli.output import line, note
from codivide.cli.progress import out_console
from codivide.core.threads import take
from codivide.fit.progress import Display

if TYPE_CHECKING:
    from codivide.data.loaded import Loaded


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the runs (replaced).")] = Path("demo-runs"),
    epochs: Annotated[int, typer.Option(help="Passes of each network.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Find wrong labels in seconds, then train with and without a correction: digits, 40 % wrong (about a minute).

    Example: codivide demo
    """
    from codivide.data.experiment import as_table, spoil
    from codivide.data.options import ReadOptions
    from codivide.data.record import DataRecord
    from codivide.data.sources import load
    from codivide.fit.execute import execute
    from codivide.fit.feature_run import rounds_of
    from codivide.fit.job import Job, build_method, default_plan
    from codivide.methods.features.options import Features
    from codivide.runs.claim import claimed

    if said := take():
        note(said)
    origin = DataRecord.of("digits", ReadOptions(), noise="symmetric:0.4")
    loaded = spoil(load("digits"), origin.noise, seed)
    for sentence in _told(loaded):
        line(sentence)
    summaries = {}
    for method in ("features", "cross_entropy", "codivide"):
        built = build_method(method)
        rows, source = (as_table(loaded), DataRecord()) if method == "features" else (loaded, origin)
        plan = default_plan(len(loaded.y), built, seed=seed, **({} if method == "features" else {"epochs": epochs}))
        if isinstance(built, Features):
            plan = replace(plan, epochs=rounds_of(built, rows))
        with claimed(out / method, overwrite=True), Display(plan.epochs, method) as display:
            job = Job(built, plan, source=source)
            summaries[method] = execute(job, rows, out / method, progress=display.update).summary
        if method == "features":
            found = summaries[method]
            line(
                f"after {found['seconds']:.0f} s: {found['label_issues']:,} labels look wrong, and "
                f"{100 * found['detection']['precision']:.0f} % of these are; next: two networks"
            )
    out_console.print(_table(summaries))
    line("Found: of the wrong labels, how many are flagged. Flags right: of these flags, how many are right.")
    line(
        "features needs no network, cross_entropy is plain training, and codivide trains without believing every label."
    )
    line(f"every label judged: {out}/codivide/labels.csv")
    show(out / "codivide")
    line("open the report in a browser to look at the labels that seem wrong")


def _told(loaded: Loaded) -> list[str]:
    """What the demo is about, without a word that is not everybody's."""
    assert loaded.truth is not None
    assert loaded.test is not None
    wrong = int((loaded.y != loaded.truth).sum())
    return [
        f"{len(loaded.y):,} small pictures of handwritten digits. {wrong:,} got a wrong label by lot, and nothing here "
        f"is told which. {len(loaded.test.y):,} more are kept back: new digits, to see what was learned.",
        "Digits, for codivide brings no photos; for photos of yours: codivide fit photos/ --out run (about a minute)",
    ]


def _table(summaries: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a method."""
    table = Table("method", "new digits\nright", "wrong labels\nfound", "flags\nright", "\nseconds", box=None)
    for method, summary in summaries.items():
        found = summary["detection"]
        shares = [
            summary["test_accuracy"]["last"],
            *(found.get(name, float("nan")) for name in ("recall", "precision")),
        ]
        table.add_row(method, *[f"{100 * share:.1f} %" for share in shares], f"{summary['seconds']:.0f}")
    return table
