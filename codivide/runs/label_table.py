"""The label table: for every sample its given label, the suggested one, and how likely the given one is clean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from codivide.core.errors import InputError
from codivide.core.files import atomic, guard, unguard
from codivide.core.types import AnyFloats, Labels

_TEXTS = ("path", "given", "suggested", "true_label", "text")  # columns that may hold text


def build(
    ids: Sequence[str | int],
    given: Labels,
    suggested: Labels,
    clean_prob: AnyFloats,
    classes: Sequence[Any],
    truth: Labels | None = None,
    suggested_prob: AnyFloats | None = None,
    texts: Sequence[str] | None = None,
) -> pd.DataFrame:
    """One row a sample, in the order of the data.

    Args:
        ids: paths or row numbers, length N.
        given: ``[N]``, -1 where there is no label.
        suggested: ``[N]``.
        clean_prob: ``[N]`` in [0, 1], NaN where there is no label.
        classes: class values.
        truth: true labels ``[N]`` where known, -1 where not.
        suggested_prob: ``[N]`` in [0, 1], the probability of the suggestion.
        texts: of the samples, where they are texts.

    Returns:
        Columns ``path`` (or ``id``), ``given``, ``suggested``, ``clean_prob``, ``rank`` (1 = the least likely to be
        clean; missing without a label); ``true_label``, ``suggested_prob`` and ``text`` where they are given;
        ``label_quality``, which is ``clean_prob`` under the name that cleanlab gives to it.
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
    if suggested_prob is not None:
        columns["suggested_prob"] = suggested_prob
    columns["label_quality"] = clean_prob
    if texts is not None:
        columns["text"] = list(texts)
    return pd.DataFrame(columns)


def issues(table: pd.DataFrame) -> pd.DataFrame:
    """The rows whose suggestion differs from the given label, the least likely to be clean first.

    Labels that a person has confirmed (column ``confirmed``, of a run with corrections) are not among them.
    """
    wrong = table["given"].notna() & (table["given"] != table["suggested"])
    if "confirmed" in table:
        wrong &= ~table["confirmed"]
    return table[wrong].sort_values("rank").reset_index(drop=True)


def write(table: pd.DataFrame, folder: Path) -> None:
    """Write ``labels.csv`` and ``labels.parquet``, each atomically."""
    with atomic(folder / "labels.csv") as aside:
        safe = {c: table[c].map(guard, na_action="ignore") for c in _TEXTS if c in table and _is_text(table[c])}
        table.assign(**safe).to_csv(aside, index=False)
    with atomic(folder / "labels.parquet") as aside:
        text = table.assign(
            **{c: table[c].astype("string") for c in ("given", "suggested", "true_label") if _mixed(table, c)}
        )
        text.to_parquet(aside, index=False)


def read(folder: Path) -> pd.DataFrame:
    """The table that ``write`` wrote; whole numbers stay whole where some are missing.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    for path in (folder / "labels.parquet", folder / "labels.csv"):
        if path.is_file():
            try:
                if path.suffix == ".csv":
                    texts = dict.fromkeys(_TEXTS, "string")
                    table = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])
                    return table.assign(**{c: table[c].map(unguard, na_action="ignore") for c in _TEXTS if c in table})
                return pd.read_parquet(path, dtype_backend="numpy_nullable")
            except (ValueError, OSError) as error:  # what pyarrow and pandas raise are ValueErrors
                raise InputError(f"{path} cannot be read: {error}") from error
    raise InputError(f"{folder} has no labels.csv or labels.parquet; give the folder of a finished `codivide fit`")


def _is_text(column: pd.Series[Any]) -> bool:
    return bool(column.map(lambda value: value is None or isinstance(value, str)).all())


def _mixed(table: pd.DataFrame, column: str) -> bool:
    """Whether a column holds values of several types, which Parquet cannot store."""
    return column in table and len({type(value) for value in table[column] if value is not None}) > 1
