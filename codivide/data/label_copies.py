"""Columns of a table that hold the labels themselves, left among the features by mistake.

A column holds them where its values and the labels are one-to-one, in all rows that have a label; or, of targets that
hardly repeat, where it is equal to them. Of several labels a row, a column may hold one of them. A column that is empty
in all rows of one class and in no other (the day of an event that is the class) holds them, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from codivide.core.errors import option
from codivide.core.types import Floats, Labels, Mask
from codivide.data.cells import as_texts, missing
from codivide.data.loaded import Loaded
from codivide.data.options import MULTILABEL, REGRESSION, ReadOptions
from codivide.data.targets import members

CHANCE = 1e-4  # with which one of the columns may be like the labels for no reason
_LOOKED = 100  # rows by which most columns are told apart
_ROUNDING = 1e-6  # of numbers that are kept in single precision


def with_label_columns(loaded: Loaded, x: Any, options: ReadOptions) -> Loaded:
    """The data with the names of the columns of ``x`` that hold the labels, see ``holding_labels``."""
    if not isinstance(x, pd.DataFrame | np.ndarray):
        return loaded
    found = holding_labels(x, loaded, options)
    gaps = tuple(name for name in telling_gaps(x, loaded, options) if name not in found)
    if not found and not gaps:
        return loaded
    return replace(loaded, labels_read=replace(loaded.labels_read, columns=found, gaps=gaps))


def remarks(loaded: Loaded) -> list[str]:
    """A sentence for the user on columns that hold the labels."""
    return sentences(loaded.labels_read.columns, loaded.labels_read.gaps)


def sentences(found: Sequence[str] = (), gaps: Sequence[str] = ()) -> list[str]:
    """The same of columns that hold the labels, and of those whose gaps do."""
    said = []
    if found:
        text = f"column {_listed(found)} holds" if len(found) == 1 else f"columns {_listed(found)} hold"
        said.append(
            f"{text} the labels, and {'is' if len(found) == 1 else 'are'} among the features: what is learned from "
            f"that says nothing of new samples, and wrong labels look right. Leave it out ({option('drop')})"
        )
    if gaps:
        text = f"column {_listed(gaps)} is" if len(gaps) == 1 else f"each of the columns {_listed(gaps)} is"
        said.append(
            f"{text} empty in all rows of one class and in no other, or the other way round, so that its gaps hold the "
            f"labels: if it is filled in when the label is known, leave it out ({option('drop')})"
        )
    return said


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def holding_labels(x: Any, loaded: Loaded, options: ReadOptions) -> tuple[str, ...]:
    """The names of the columns that hold the labels, in their order; of an array their numbers.

    Args:
        x: a data frame or an array ``[N, D]``, a row for each of the data.
        loaded: the labels.
        options: the task, and the separator of several labels.

    Example:
        >>> import pandas as pd
        >>> from codivide.data.arrays import from_arrays
        >>> frame = pd.DataFrame({"a": range(40), "b": [0, 1] * 20})
        >>> holding_labels(frame, from_arrays(frame, ["no", "yes"] * 20), ReadOptions())
        ('b',)
    """
    rows = np.flatnonzero(loaded.y >= 0)
    names = [str(name) for name in x.columns] if isinstance(x, pd.DataFrame) else list(map(str, range(x.shape[1])))

    def by_chance(codes: Labels) -> bool:
        return _coincidence(codes[rows]) * len(names) > CHANCE

    if not len(rows) or by_chance(loaded.y):
        return ()
    few = rows[np.linspace(0, len(rows) - 1, min(len(rows), _LOOKED)).astype(np.int64)]
    looked = _values(x, few)
    held: Mask = np.zeros(len(names), dtype=bool)
    for target in _targets(loaded, options):
        if not by_chance(target):
            for k in np.flatnonzero(~held & _alike(looked, target[few])).tolist():
                held[k] = _alike(_values(_column(x, k), rows), target[rows])[0]
    if options.task == REGRESSION:
        known = pd.to_numeric(pd.Series(loaded.classes), errors="coerce").to_numpy(np.float64)
        for k in np.flatnonzero(~held).tolist():
            held[k] = all(_equal(_column(x, k), known[loaded.y], some) for some in (few, rows))
    return tuple(name for name, there in zip(names, held, strict=True) if there)


def telling_gaps(x: Any, loaded: Loaded, options: ReadOptions) -> tuple[str, ...]:
    """The names of the columns of a data frame that are empty in all rows with one label and in no other, or reversed.

    Args:
        x: a data frame ``[N, D]``, a row for each of the data; of anything else nothing is said.
        loaded: the labels.
        options: the task, and the separator of several labels.
    """
    rows = np.flatnonzero(loaded.y >= 0)
    if not isinstance(x, pd.DataFrame) or not len(rows) or options.task == REGRESSION:
        return ()
    few = rows[np.linspace(0, len(rows) - 1, min(len(rows), _LOOKED)).astype(np.int64)]
    targets = [loaded.y] if options.task != MULTILABEL else list(members(loaded, options.separator).y.T)

    def tells(k: int) -> bool:
        for some in (few, rows):
            empty = missing(x.iloc[some, k]).to_numpy(dtype=bool)
            if not any(_is_one_class(empty, target[some]) for target in targets):
                return False
        return _coincidence(empty.astype(np.int64)) * x.shape[1] <= CHANCE

    return tuple(str(name) for k, name in enumerate(x.columns) if tells(k))


def _is_one_class(empty: Mask, codes: Labels) -> bool:
    """Whether some cells ``[N]`` are empty, and these are all of one class, or the others are."""
    if not empty.any() or empty.all():
        return False
    return any(np.array_equal(side, codes == codes[side.argmax()]) for side in (empty, ~empty))


def _targets(loaded: Loaded, options: ReadOptions) -> list[Labels]:
    """What a column may stand for: the labels ``[N]``, and each of several."""
    found = [loaded.y] if 2 * len(loaded.classes) <= int((loaded.y >= 0).sum()) else []
    if options.task == MULTILABEL:
        found += list(members(loaded, options.separator).y.T)
    return found


def _coincidence(codes: Labels) -> float:
    """How likely values that occur so often fall on the same rows by chance: ``exp(-N entropy)``."""
    counts = np.unique(codes, return_counts=True)[1]
    return math.exp(float((counts * np.log(counts / len(codes))).sum()))


def _column(x: Any, k: int) -> Any:
    return x.iloc[:, [k]] if isinstance(x, pd.DataFrame) else x[:, [k]]


def _values(x: Any, rows: Labels) -> NDArray[Any]:
    """Cells of some rows ``[N, D]``: of a data frame a number for each different value of a column."""
    if not isinstance(x, pd.DataFrame):
        return np.asarray(x[rows])
    some = x.iloc[rows]
    found = np.zeros(some.shape, dtype=np.int64)
    for k in range(some.shape[1]):
        values = some.iloc[:, k]
        texts = pd.Series(as_texts(values)) if values.dtype == object else values  # cells may hold lists
        found[:, k] = pd.factorize(texts, use_na_sentinel=False)[0]
    return found


def _alike(values: NDArray[Any], codes: Labels) -> Mask:
    """Whether the values of each column ``[N, D]`` are one-to-one with the codes ``[N]``: a mask ``[D]``."""
    order = np.argsort(codes, kind="stable")
    held, values = codes[order], values[order]
    same = (held[1:] == held[:-1])[:, None]
    inside: Mask = ((values[1:] == values[:-1]) == same).all(axis=0)  # a value a class, and its neighbours another
    for k in np.flatnonzero(inside).tolist():
        inside[k] = len(np.unique(values[:, k])) == len(np.unique(held))
    return inside


def _equal(column: Any, y: Floats, rows: Labels) -> bool:
    """Whether the numbers of a column are the targets."""
    values = pd.to_numeric(pd.DataFrame(column).iloc[rows, 0], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return bool(np.isclose(values, y[rows], rtol=_ROUNDING, atol=0).all())
