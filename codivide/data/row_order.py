"""Rows that pandas names: what are they called, and do samples, labels and predictions name them in another order?

Everywhere rows go by their place, as in scikit-learn. Frames that were shuffled or sorted one without the other have an
index that knows better.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from codivide.core.errors import InputError
from codivide.core.types import Labels


def parts_of(name: str) -> list[str]:
    """The folders and the file of a name, by which a folder is read: "cat/9.png" is before "cat 2/1.png"."""
    return name.split("/")


def in_order_of_names(names: Sequence[str]) -> bool:
    """Whether rows are in the order of their names, as the files of a folder are read: that says nothing of them."""
    return all(parts_of(one) <= parts_of(other) for one, other in pairwise(names))


def is_named_in_order(table: pd.DataFrame, ids: Sequence[str]) -> bool:
    """Whether the first column of a label table holds names, not numbers, and rows are in their order.

    Args:
        table: one row a sample.
        ids: its first column as text, of the rows that are asked about.
    """
    return not pd.api.types.is_numeric_dtype(table.iloc[:, 0]) and in_order_of_names(ids)


def index_names(rows: object) -> list[str | int] | None:
    """What the index of a frame or series calls its rows ``[N]``; None: their places, or nothing that tells them apart.

    Texts or whole numbers that are all different name rows: ``rows.drop(names)`` then drops the rows that are meant,
    also of a part that was drawn from a larger table.
    """
    if not isinstance(rows, pd.Series | pd.DataFrame) or not rows.index.is_unique:
        return None
    names: list[str | int] = rows.index.tolist()
    if all(isinstance(name, str) for name in names):
        return names or None
    whole = pd.api.types.is_integer_dtype(rows.index.dtype)
    return names if whole and names != list(range(len(names))) else None


def said_of_index(rows: object) -> tuple[str, ...]:
    """A sentence on an index of texts or whole numbers that names no rows, since some come again."""
    index = rows.index if isinstance(rows, pd.Series | pd.DataFrame) else pd.RangeIndex(0)
    named = isinstance(rows, pd.DataFrame) and not {"id", "annotator"}.isdisjoint(map(str, rows.columns))
    if named or index.is_unique or index.inferred_type not in ("integer", "string"):
        return ()
    again = index.duplicated()
    return (
        f"the index names {int(again.sum()):,} rows again (the first in row {int(again.argmax())}), so rows are called "
        "by their place: take them with .iloc, or give X.reset_index(drop=True)",
    )


def with_index(table: pd.DataFrame, rows: object, ids: Sequence[str | int]) -> pd.DataFrame:
    """A table of samples with the index of the frame or series they came from, so that pandas aligns the two.

    Args:
        table: one row a sample.
        rows: what the samples came from; the table stays as it is where nothing names its rows.
        ids: what the samples are called, length of the table.
    """
    if index_names(rows) is None or not isinstance(rows, pd.Series | pd.DataFrame):
        return table
    return table.set_axis(pd.Index(list(ids), name=rows.index.name))


def other_order(rows: object, labels: object) -> Labels | None:
    """Which place in ``rows`` has the name of each label ``[N]``; None: the names are alike, or not the same ones."""
    if not (isinstance(rows, pd.Series | pd.DataFrame) and isinstance(labels, pd.Series | pd.DataFrame)):
        return None
    if len(rows) != len(labels) or rows.index.equals(labels.index):
        return None
    if not (rows.index.is_unique and labels.index.is_unique):
        return None
    places = rows.index.get_indexer(labels.index)
    return None if (places < 0).any() else np.asarray(places, dtype=np.int64)


def warn_of_order(samples: object, **beside: object) -> None:
    """Say what has the names of the samples in another order, such as ``y``; what counts is the place of a row."""
    for name, values in beside.items():
        if other_order(samples, values) is not None:
            what = "labels go" if name == "y" else "its values go"
            warnings.warn(
                f"the index of {name} has the rows of X in another order, and {what} by their place: "
                f"{name}.loc[X.index] if the index is right",
                stacklevel=5,
            )


def check_order(said: Any, y: Any, misfit: Callable[[Labels], float], what: str, name: str) -> None:
    """InputError where predictions fit the labels better by the names of their rows than by their places.

    Args:
        said: predictions.
        y: labels.
        misfit: of predictions whose rows are taken in an order ``[N]``, how badly they fit the labels.
        what: what the labels are called.
        name: what the predictions are called.
    """
    order = other_order(said, y)
    if order is not None and misfit(order) < misfit(np.arange(len(order))):
        raise InputError(
            f"the index of {name} has the rows of {what} in another order, and fits better by its names than row by "
            f"row: give {name}.loc[{what}.index]; or both as arrays (to_numpy()), if the rows are right as they stand"
        )
