"""Judged labels in the tables of other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from codivide.audit import checks, facts
from codivide.audit.findings import Findings
from codivide.core.errors import InputError
from codivide.runs import label_table
from codivide.runs.folder import SavedRun

if TYPE_CHECKING:
    import datasets

ADDED = (
    label_table.GIVEN,
    label_table.SUGGESTED,
    label_table.SUGGESTED_PROB,
    label_table.CLEAN_PROB,
    label_table.LABEL_QUALITY,
    *(column.name for column in checks.columns()),
)


class Fitted(Protocol):
    """A fitted ``NoisyLabelClassifier``."""

    labels_: pd.DataFrame


Judged = str | Path | Fitted | Findings


def to_pandas(judged: Judged) -> pd.DataFrame:
    """The label table: one row a sample, see ``label_table.build``.

    Args:
        judged: the folder of a finished run, a fitted classifier, or findings.

    Raises:
        InputError: no finished run, or no fitted classifier.
    """
    if isinstance(judged, str | Path):
        return SavedRun(Path(judged)).labels.copy()
    if isinstance(judged, Findings):
        return judged.labels.copy()
    try:
        return judged.labels_.copy()
    except AttributeError:
        raise InputError(f"{type(judged).__name__} has judged no labels; give a fitted NoisyLabelClassifier") from None


def to_datasets(judged: Judged, dataset: datasets.Dataset | None = None) -> datasets.Dataset:
    """A Hugging Face data set of the samples with their judged labels.

    Args:
        judged: the folder of a finished run, a fitted classifier, or findings.
        dataset: what was trained on; it gets the columns ``given``, ``suggested``, ``suggested_prob``, ``clean_prob``,
            ``label_quality`` and those of the checks, which are None in rows that were left out of the training. None:
            a new data set of the label table, with a column ``image`` where the run read files that are still there.

    Raises:
        InputError: ``datasets`` is not installed; the judged rows are not those of ``dataset``; or it has a column of
            such a name.
    """
    try:
        import datasets
    except ImportError:
        raise InputError("this needs the library datasets: pip install datasets") from None
    table = to_pandas(judged)
    columns = [name for name in ADDED if name in table]
    if dataset is None:
        kept = pd.DataFrame({name: _plain(table[name]) for name in (table.columns[0], *columns)})
        made = datasets.Dataset.from_pandas(kept, preserve_index=False)
        files = facts.originals(judged) if isinstance(judged, str | Path) else {}
        if files and all(path.is_file() for path in files.values()):
            paths = [str(files[row]) for row in range(len(table))]
            made = made.add_column("image", paths).cast_column("image", datasets.Image())
        return made
    taken = [name for name in columns if name in dataset.column_names]
    if taken:
        raise InputError(f"the data set has a column {taken[0]!r} already; rename it first")
    rows = _row_numbers(table, len(dataset))
    for name in columns:
        whole = pd.Series([None] * len(dataset), dtype=object)
        whole.iloc[rows] = _plain(table[name])
        dataset = dataset.add_column(name, whole.tolist())
    return dataset


def _plain(column: pd.Series[Any]) -> list[Any]:
    """Python values, None where missing; values of several types as text, since Arrow has one type a column."""
    values = [None if gone else value for value, gone in zip(column.tolist(), column.isna(), strict=True)]
    kinds = {type(value) for value in values if value is not None}
    return [None if value is None else str(value) for value in values] if len(kinds) > 1 else values


def _row_numbers(table: pd.DataFrame, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    if label_table.ID not in table or not pd.api.types.is_integer_dtype(table[label_table.ID]):
        raise InputError(
            "the judged samples have names, as files have, not the numbers of rows of a data set; leave dataset out"
        )
    if len(table) == count:  # whatever they are called
        return np.arange(count)
    rows: np.ndarray[Any, np.dtype[np.int64]] = table[label_table.ID].to_numpy(dtype=np.int64)
    if len(rows) and (rows.min() < 0 or rows.max() >= count):
        raise InputError(f"row {rows.max()} was judged, but the data set has {count} rows; give the training part")
    if (np.diff(rows) <= 0).any():
        raise InputError(
            f"{len(rows)} samples were judged whose ids are not row numbers, but the data set has {count} rows; give "
            "those that were judged, in their order"
        )
    return rows
