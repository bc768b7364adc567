"""``codivide demo``: what DivideMix does for mislabelled digits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from codivide.cli.audit import audit
from codivide.cli.output import line, say_data
from codivide.cli.progress import Display, out_console


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the runs (replaced).")] = Path("demo-runs"),
    epochs: Annotated[int, typer.Option(help="Passes of each method.")] = 30,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train with and without DivideMix on handwritten digits of which 40 % are mislabelled (about two minutes)."""
    from codivide.data.experiment import spoil
    from codivide.data.options import ReadOptions
    from codivide.data.record import DataRecord
    from codivide.data.sources import load
    from codivide.fit.execute import execute
    from codivide.fit.job import Job, build_method, default_plan
    from codivide.runs.claim import claimed

    origin = DataRecord.of("digits", ReadOptions(), noise="symmetric:0.4")
    loaded = spoil(load("digits"), origin.noise, seed)
    say_data(loaded)
    summaries = {}
    for method in ("cross_entropy", "dividemix"):
        plan = default_plan(len(loaded.y), epochs=epochs, seed=seed)
        with claimed(out / method, overwrite=True), Display(plan.epochs, method) as display:
            job = Job(build_method(method), plan, source=origin)
            summaries[method] = execute(job, loaded, out / method, progress=display.update).summary
    out_console.print(_table(summaries))
    line("best: the best epoch on the test set (it peeks). Precision and recall of p(clean) < 0.5.")
    line(f"every label judged: {out}/dividemix/labels.csv")
    audit(out / "dividemix")


def _table(summaries: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a method."""
    heads = ("test acc.\nlast", "\nbest", "wrong labels\nAUROC", "\nprecision", "\nrecall", "\nseconds")
    table = Table("method", *heads, box=None)
    for method, summary in summaries.items():
        accuracy, found = summary["test_accuracy"], summary["detection"]
        cells = [accuracy["last"], accuracy["best"]]
        cells += [found.get(name, float("nan")) for name in ("auroc", "precision", "recall")]
        table.add_row(method, *[f"{value:.3f}" for value in cells], f"{summary['seconds']:.0f}")
    return table
