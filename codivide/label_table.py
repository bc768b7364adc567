"""The label table: for every sample its given label, the suggested one, and how likely the given one is clean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from codivide.files import atomic

Labels = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


def build(
    ids: Sequence[str | int],
    given: Labels,
    suggested: Labels,
    clean_prob: Floats,
    classes: Sequence[Any],
    truth: Labels | None = None,
) -> pd.DataFrame:
    """One row a sample, in the order of the data.

    Args:
        ids: paths or row numbers, length N.
        given: ``[N]``, -1 where there is no label.
        suggested: ``[N]``.
        clean_prob: ``[N]`` in [0, 1], NaN where there is no label.
        classes: class values.
        truth: true labels ``[N]`` where known, -1 where not.

    Returns:
        Columns ``path`` (or ``id``), ``given``, ``suggested``, ``clean_prob``, ``rank`` (1 = the least likely to be
        clean; missing without a label) and, with ``truth``, ``true_label``.
    """
    values = np.empty(len(classes) + 1, dtype=object)
    values[:-1] = list(classes)  # index -1 is the None at the end
    columns: dict[str, Any] = {
        "path" if len(ids) and isinstance(ids[0], str) else "id": list(ids),
        "given": values[given],
        "suggested": values[suggested],
        "clean_prob": clean_prob,
        "rank": pd.Series(clean_prob).rank(method="first").astype("Int64"),
    }
    if truth is not None:
        columns["true_label"] = values[truth]
    return pd.DataFrame(columns)


def issues(table: pd.DataFrame) -> pd.DataFrame:
    """The rows whose suggestion differs from the given label, the least likely to be clean first."""
    wrong = table["given"].notna() & (table["given"] != table["suggested"])
    return table[wrong].sort_values("rank").reset_index(drop=True)


def write(table: pd.DataFrame, folder: Path) -> None:
    """Write ``labels.csv`` and ``labels.parquet``, each atomically."""
    with atomic(folder / "labels.csv") as aside:
        table.to_csv(aside, index=False)
    with atomic(folder / "labels.parquet") as aside:
        text = table.assign(
            **{c: table[c].astype("string") for c in ("given", "suggested", "true_label") if _mixed(table, c)}
        )
        text.to_parquet(aside, index=False)


def _mixed(table: pd.DataFrame, column: str) -> bool:
    """Whether a column holds values of several types, which Parquet cannot store."""
    return column in table and len({type(value) for value in table[column] if value is not None}) > 1
