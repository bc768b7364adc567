"""``codivide consensus``: what several annotators come to, with a classifier's probabilities where there are some."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codivide.cli.output import aside, check_new_file, line, note, rich_table
from codivide.cli.progress import out_console
from codivide.core.words import counted

if TYPE_CHECKING:
    import pandas as pd

    from codivide.audit.consensus import AgreedLabels


def consensus(
    source: Annotated[
        Path, typer.Argument(help="A table with columns label_anna, label_ben, ... or with a row an answer.")
    ],
    *,
    probs: Annotated[
        Path | None,
        typer.Option(
            help="A table of a classifier's cross-validated probabilities: a column a class, and id (path, text) or "
            "the order of SOURCE."
        ),
    ] = None,
    annotators: Annotated[
        str | None,
        typer.Option(help="The annotators' columns, COL,COL,...; or a table with a row an answer."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write a CSV: what names the sample, label, confidence.")
    ] = None,
) -> None:
    """Show what several annotators come to, and how good each is; nothing is trained.

    Example: codivide consensus answers.csv --probs probs.csv --out labels.csv
    """
    from codivide.audit.consensus import of_table
    from codivide.data.options import ReadOptions, annotator_options

    check_new_file(out)
    samples, found = of_table(source, ReadOptions(**annotator_options(annotators)), probs)
    for remark in found.remarks:
        note(remark)
    shown = found.annotators.round(3).astype(object)
    shown = shown.where(shown.notna(), "")  # what nobody can tell
    out_console.print(rich_table(shown.assign(copies=shown["copies"].map(", ".join))))
    known = sum(label is not None for label in found.labels)
    line(f"{known:,} of {len(samples):,} samples have a label; {found.rule}")
    if probs is not None and not found.classifier:
        note(f"the probabilities of {probs} do not explain the answers, and count nothing")
    if out is not None:
        _write(samples, found, out)


def _write(samples: pd.DataFrame, found: AgreedLabels, out: Path) -> None:
    """The consensus of every sample, named as in its table, else by its row."""
    from codivide.audit.write_clean import write_csv
    from codivide.data.annotators import KEYS

    named = [name for name in KEYS if name in samples]
    table = samples[named] if named else samples.assign(id=range(len(samples)))[["id"]]
    write_csv(table.assign(label=found.labels, confidence=found.confidence.round(4)), out)
    aside(f"{counted(len(table), 'label')}: {out}")
