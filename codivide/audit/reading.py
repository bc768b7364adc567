"""Which column of class probabilities belongs to which label: one reader for all who bring their own probabilities."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from codivide.core.errors import InputError, either
from codivide.core.types import UNLABELLED, Floats, Labels, Mask
from codivide.core.words import first_few
from codivide.data.arrow import as_pandas
from codivide.data.cells import are_objects
from codivide.data.labels import check_signs, encode, refuse_several, several
from codivide.data.row_order import check_order
from codivide.noise.trust import too_alike

PRED_PROBS = "pred_probs"  # what a caller's probabilities are called in Python
_FEWEST = 10  # samples a moved class must have, on average, before another order is believed
_BETTER = 3.0  # times as many labels that another order must fit
_ENOUGH = 100  # labels from which on it is asked whether predictions have to do with them
_SHOWN = 10  # classes named in a message
_ROUNDED = 0.1  # how far from 1 a row of rounded probabilities sums to
EXACT = 1e-3  # by which the sum of a row may differ from 1


class Reading(NamedTuple):
    """Probabilities with the labels that they are about."""

    probs: Floats  # [N, C]
    given: Labels  # [N], -1: none
    classes: tuple[Any, ...]  # C, in the order of the columns
    claimed: bool = False  # to be of samples that the classifier had not seen; else they were cross-fitted here


def read(
    labels: Any,
    pred_probs: Any,
    *,
    classes: Sequence[Any] | None = None,
    unlabelled: int | None = UNLABELLED,
    what: str = "labels",
    name: str = PRED_PROBS,
) -> Reading:
    """Probabilities and labels as arrays, each label with its column; of several models the mean.

    The order of the columns is, the first that there is: ``classes``; the column names of a table that are labels,
    also with what all have in common before or behind ("prob_cat"); the categories of an ordered categorical; 0 to
    C - 1 where all labels are such numbers (or such numbers as text); the different labels, numbers as text by their
    value, the rest sorted. Where another order fits the labels far better, it is said what fits.

    Args:
        labels: ``[N]``.
        pred_probs: ``[N, C]``, array or table with names of columns; a list of such, or ``[models, N, C]``.
        classes: class values in the order of the columns; None: as above.
        unlabelled: the label that means "no label"; None: there is none.
        what: what to call the labels in a message.
        name: what to call the probabilities there.

    Raises:
        InputError: no probabilities, labels that are not one class a sample, other classes than columns, columns
            whose order, which nobody stated, is surely another, or rows whose index says so and fits better.
    """
    known: dict[str, Any] = {"classes": classes, "unlabelled": unlabelled, "what": what}
    models = _models(pred_probs)
    if models is None:
        return _read_one(labels, pred_probs, name=name, **known)
    names = [f"{name}[{number}]" for number in range(len(models))]
    return mean_of([_read_one(labels, one, name=own, **known) for one, own in zip(models, names, strict=True)], names)


def _models(pred_probs: Any) -> list[Any] | None:
    """The probabilities of each of several models; None: they are of one."""
    if isinstance(pred_probs, list | tuple):
        try:
            several = bool(pred_probs) and all(len(np.shape(as_pandas(one))) == 2 for one in pred_probs)
        except ValueError:  # lists of several lengths, which are refused as such
            return None
        return list(pred_probs) if several else None
    return list(pred_probs) if getattr(pred_probs, "ndim", 0) == 3 and len(pred_probs) else None


def mean_of(readings: Sequence[Reading], names: Sequence[str]) -> Reading:
    """The mean of what several models say of the same labels, whatever the order of their columns.

    Args:
        readings: of each model.
        names: what to call each in a message.

    Raises:
        InputError: other classes.
    """
    first = readings[0]
    known = list(map(str, first.classes))  # numbers, or texts where columns are called so
    held: list[Floats] = []
    for name, reading in zip(names, readings, strict=True):
        places = {str(value): place for place, value in enumerate(reading.classes)}
        if other := sorted(places.keys() ^ set(known)):
            raise InputError(f"{names[0]} and {name} have other classes: {first_few(other, 10)} are not in both")
        held.append(reading.probs[:, [places[value] for value in known]])
    mean: Floats = np.mean(held, axis=0)
    return first._replace(probs=mean)


def _read_one(
    labels: Any, pred_probs: Any, *, classes: Sequence[Any] | None, unlabelled: int | None, what: str, name: str
) -> Reading:
    """``read`` of one model."""
    if sparse.issparse(labels):
        raise InputError(f"{what} is a sparse matrix: give an array with one class for each sample")
    pred_probs, shape = as_pandas(pred_probs), _shape_of(labels, what)
    _check_transposed(np.shape(pred_probs), shape, what, name)
    probs = checked(pred_probs, name)
    if len(shape) == 2 and shape[1] != 1:
        raise InputError(
            f"{what} has shape {tuple(shape)}; give one class for each sample"
            f"{either('', ' (of one-hot labels the argmax(axis=1))')}. Several annotators' answers first need "
            f"{either('codivide consensus', 'codivide.consensus')}; {several()}"
        )
    if shape and shape[0] != len(probs):
        raise InputError(f"{name} has {len(probs)} rows, but {what} has {shape[0]}; give one for each sample")
    refuse_several(np.asarray(labels, dtype=object).ravel(), what)
    stated = classes is not None
    order = own_values(classes) if classes is not None else order_of(labels, pred_probs, unlabelled, name)
    given, known = _placed(labels, order, unlabelled, what, stated=stated)
    _check_columns(probs.shape[1], known, name)
    judged = given >= 0
    check_order(
        pred_probs,
        labels,
        lambda rows: float((probs[rows].argmax(1) != given)[judged].sum()),
        what,
        name,
    )
    _check_order(probs, given, known, name, stated=stated)
    return Reading(probs, given, known, claimed=True)


def _check_columns(columns: int, known: Sequence[Any], name: str) -> None:
    """InputError where there are more or fewer columns than classes."""
    if len(known) != columns:
        listed = ", ".join(map(str, known[:_SHOWN])) + (", ..." if len(known) > _SHOWN else "")
        raise InputError(
            f"{name} has {columns} columns, but there are {len(known)} classes ({listed}); give "
            f"{either('--classes', 'classes')} in their order, and {either('an empty cell', 'None')} where there is no "
            "label"
        )


def _shape_of(labels: Any, what: str) -> tuple[int, ...]:
    if labels is None:
        raise InputError(f"{what} is None: give the label of each row of pred_probs")
    try:
        return np.shape(labels)
    except ValueError:  # lists of several lengths
        text = f"{what}: rows have different numbers of labels; give one class for each sample ({several()})"
        raise InputError(text) from None


def _placed(
    labels: Any, order: tuple[Any, ...] | None, unlabelled: int | None, what: str, *, stated: bool
) -> tuple[Labels, tuple[Any, ...]]:
    """The labels as places among the classes, and these; of classes that are stated labels may be the numbers."""
    if stated and order is not None and _are_numbers_of(labels, order, unlabelled):
        return encode(labels, unlabelled=unlabelled, classes=range(len(order)), what=what)[0], order
    if not stated and unlabelled is not None:
        check_signs(_plain(labels).to_numpy(), unlabelled, what)
    return encode(labels, unlabelled=unlabelled, classes=order, what=what)


def _are_numbers_of(labels: Any, classes: Sequence[Any], unlabelled: int | None) -> bool:
    """Whether labels are numbers of classes whose names are no such numbers: 0 to C - 1."""
    names = {str(name) for name in classes}
    different = [value for value in pd.unique(_plain(labels)) if not _missing(value, unlabelled)]
    return bool(different) and all(
        _is_whole(value) and 0 <= value < len(classes) and str(int(value)) not in names for value in different
    )


def own_values(classes: Sequence[Any]) -> tuple[Any, ...]:
    """Class values that a caller states, as Python's own."""
    return tuple(name.item() if isinstance(name, np.generic) else name for name in classes)


def order_of(
    labels: Any, pred_probs: Any, unlabelled: int | None = UNLABELLED, name: str = PRED_PROBS
) -> tuple[Any, ...] | None:
    """The classes in the order of the columns, where names or values tell it; None: sorted. See ``read``."""
    named = _named(labels, pred_probs, unlabelled, name)
    return named if named is not None else _order(labels, np.shape(pred_probs)[1], unlabelled)


def checked(pred_probs: Any, name: str = PRED_PROBS) -> Floats:
    """Class probabilities ``[N, C]`` float64 that a caller brings and calls ``name``; tiny negative ones become 0.

    Raises:
        InputError: no numbers, a wrong shape, or a row that is no distribution.
    """
    if isinstance(pred_probs, str | Path | Mapping):
        raise InputError(
            f"pred_probs is a {type(pred_probs).__name__}: give the array or table in it, as of numpy.load or "
            "pandas.read_csv"
        )
    probs = as_floats(pred_probs, name)
    if probs.ndim and not len(probs):
        raise InputError(f"{name} is empty: there is no sample to judge")
    if probs.ndim != 2 or probs.shape[1] < 2:
        alone = probs.ndim == 1 or probs.shape[1:] == (1,)
        hint = f"; of two classes give {either('both columns', 'np.column_stack([1 - p, p])')}" if alone else ""
        raise InputError(f"{name} has shape {probs.shape}; it must be [samples, classes] with at least 2 classes{hint}")
    bad = ~np.isfinite(probs).all(1) | (probs < -1e-6).any(1) | (np.abs(probs.sum(1) - 1) > EXACT)
    if bad.any():
        row = int(np.argmax(bad))
        names = pred_probs.columns.tolist() if isinstance(pred_probs, pd.DataFrame) else None
        raise InputError(
            f"{name}: row {row} is {np.array2string(probs[row], precision=4, threshold=8)}; probabilities are "
            f"finite, not negative and sum to 1 in each row ({_meant(probs, bad, names)})"
        )
    clipped: Floats = np.clip(probs, 0.0, 1.0)
    return clipped


def as_floats(values: Any, what: str) -> Floats:
    """Numbers in any form (arrays, tables, tensors, sparse matrices) as an array of their shape; NaN stays.

    Raises:
        InputError: no numbers; ``what`` is what they are called.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu().double()
    if sparse.issparse(values):
        values = values.toarray()
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        hint = ""
        if isinstance(values, pd.DataFrame) and (texts := [name for name in values if are_objects(values[name])]):
            todo = either("call it id in both files, else leave it out", "make it the index of both")
            hint = f". Column {str(texts[0])!r} holds no numbers: where it names the rows, {todo}"
        raise InputError(f"{what}: this is no array of numbers: {error}{hint}") from None


def _meant(probs: Floats, bad: Mask, names: Sequence[Any] | None) -> str:
    """What to do about rows that are no distributions, of columns that may have names."""
    finite = np.asarray(np.isfinite(probs).all(1), dtype=bool)
    if not finite[bad].any():
        row = int(np.argmax(bad))
        column = int(np.argmin(np.isfinite(probs[row])))
        place = f"column {column if names is None else repr(str(names[column]))} of row {row}"
        more = int((~finite).sum()) - 1
        others = f" and {more:,} more rows hold" if more else " holds"
        return f"{place}{others} NaN or infinity: leave such samples out, with their labels"
    known = probs[finite]
    sums, least, most = known.sum(1), float(known.min()), float(known.max())
    if least >= 0 and np.abs(sums - 100).max() < 1:
        return "these are percentages: divide by 100"
    if names is not None and (other := _no_probabilities(known)) is not None:
        return f"column {str(names[other])!r} holds other numbers, and the rest are probabilities: leave it out"
    if least >= 0 and most <= 1 and np.abs(sums - 1).max() < _ROUNDED:
        return (
            f"here between {sums.min():.4g} and {sums.max():.4g}, as rounded ones do: divide each row by its sum, "
            "p / p.sum(axis=1, keepdims=True)"
        )
    if least >= 0 and float(sums.max()) <= 1 + EXACT:
        return f"sums here are {sums.min():.4g} to {sums.max():.4g}: add the column of the class that is missing"
    if least >= 0 and (most <= 1 or (known == np.floor(known)).all()):
        return "divide counts, and scores of one class against the rest, by the sum of their row"
    return "apply a softmax to logits first"


def _no_probabilities(values: Floats) -> int | None:
    """The one column without which all rows are distributions, such as a number of the row; None: there is none."""
    outside = np.flatnonzero(((values < 0) | (values > 1)).any(0))
    if len(outside) != 1:
        return None
    rest = np.delete(values, outside[0], axis=1).sum(1)
    return int(outside[0]) if np.abs(rest - 1).max() <= EXACT else None


def _check_transposed(shape: tuple[int, ...], labels: tuple[int, ...], what: str, name: str) -> None:
    """InputError where the columns of probabilities are as many as the labels, and the rows are not."""
    if len(shape) == 2 and labels[:1] == shape[1:] and shape[0] != shape[1]:
        raise InputError(
            f"{name} has shape {shape} and {what} {labels[0]} values: rows are samples and columns are classes, so "
            f"transpose it{either('', f' ({name}.T)')}"
        )


def _named(labels: Any, pred_probs: Any, unlabelled: int | None, name: str) -> tuple[Any, ...] | None:
    """The column names of a data frame where labels are among them; plain column numbers are no names."""
    if not isinstance(pred_probs, pd.DataFrame):
        return None
    names: tuple[Any, ...] = tuple(pred_probs.columns.tolist())
    if names == tuple(range(len(names))):
        return None
    different = [value for value in pd.unique(_plain(labels)) if not _missing(value, unlabelled)]
    texts = {str(column) for column in names}
    if any(str(label) in texts for label in different):
        return names
    found = _by_number(names, different) or _within(names, different)
    if found is None and different and all(isinstance(column, str) for column in names):
        shown = ", ".join(map(repr, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
        warnings.warn(
            f"the columns of {name} are called {shown}, and no label is called so: they are taken in the order of "
            f"the labels. {_order_advice()}",
            stacklevel=5,
        )
    return found


def _order_advice() -> str:
    return f"Give {either('--classes', 'classes')} in the order of the columns"


def _by_number(names: Sequence[Any], labels: Sequence[Any]) -> tuple[int, ...] | None:
    """Names of columns such as "2" and "2.0" as the whole numbers that labels are; None: they are no such."""
    if not labels or not all(_is_whole(label) for label in labels):
        return None
    try:
        found = tuple(float(name) for name in names)
    except (TypeError, ValueError):
        return None
    numbers = tuple(int(value) for value in found if value.is_integer())
    fits = len(set(numbers)) == len(names) and any(int(label) in numbers for label in labels)
    return numbers if fits else None


def _within(names: Sequence[Any], labels: Sequence[Any]) -> tuple[Any, ...] | None:
    """The labels that names of columns hold, as "prob_cat" holds "cat", in any case; None: not all labels are there.

    What stands before and behind the label is the same in all names. The longest such text counts.
    """
    texts = [str(name).casefold() for name in names]
    wanted = {str(int(label) if _is_whole(label) else label).casefold(): label for label in labels}
    if len(wanted) < len(labels):  # they differ by case alone
        return None
    for start in range(_common(texts), -1, -1):
        for end in range(_common([text[::-1] for text in texts]), -1, -1):
            cores = [text[start : len(text) - end] for text in texts]
            if len(set(cores)) == len(cores) and wanted.keys() <= set(cores):
                return tuple(
                    wanted.get(core, str(name)[start : len(str(name)) - end])
                    for core, name in zip(cores, names, strict=True)
                )
    return None


def _common(texts: Sequence[str]) -> int:
    """How many characters all texts begin with."""
    shortest = min(map(len, texts))
    return next((k for k in range(shortest) if len({text[k] for text in texts}) > 1), shortest)


def _order(labels: Any, columns: int, unlabelled: int | None) -> tuple[Any, ...] | None:
    """The classes in the order that their values have; None: sorted."""
    kind = getattr(labels, "dtype", None)
    if isinstance(kind, pd.CategoricalDtype) and kind.ordered and len(kind.categories) == columns:
        return tuple(kind.categories.tolist())
    values = _plain(labels)
    different = [value for value in pd.unique(values) if not _missing(value, unlabelled)]
    if not different:
        return None
    if all(_is_whole(value) and 0 <= value < columns for value in different):
        return tuple(range(columns))
    return _order_of_texts(different, columns)


def _order_of_texts(different: Sequence[Any], columns: int) -> tuple[str, ...] | None:
    """Numbers that are written as texts in the order of their values; None: other values."""
    if not all(isinstance(value, str) and value.strip().isdecimal() for value in different):
        return None
    if all(str(int(value)) == value and int(value) < columns for value in different):
        return tuple(str(number) for number in range(columns))
    return tuple(sorted(different, key=int))


def _plain(labels: Any) -> pd.Series[Any]:
    flat = np.asarray(labels, dtype=object).ravel()
    return pd.Series(flat, dtype=object).dropna()


def _is_whole(value: Any) -> bool:
    if isinstance(value, float | np.floating):
        return float(value).is_integer()
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _missing(value: Any, unlabelled: int | None) -> bool:
    return unlabelled is not None and str(value).strip() == str(unlabelled)


def _check_order(probs: Floats, given: Labels, classes: Sequence[Any], name: str, *, stated: bool) -> None:
    """Compare the reading with the best other one, and with chance."""
    known = np.flatnonzero(given >= 0)
    predicted, labels = probs[known].argmax(1), given[known]
    counts = np.zeros((len(classes), len(classes)))  # predicted, given
    np.add.at(counts, (predicted, labels), 1)
    best = linear_sum_assignment(counts, maximize=True)[1]
    moved = np.flatnonzero((best != np.arange(len(classes))) & (counts.sum(1) > 0))
    here, there = float(counts[moved, moved].sum()), float(counts[moved, best[moved]].sum())
    size = float(counts[moved].sum())
    if there >= _FEWEST * max(len(moved), 1) and there > 0.5 * size and there > _BETTER * here:
        pairs = [(k, classes[best[k]]) for k in moved.tolist() if counts[k, best[k]] > 0]
        fits = ", ".join(f"column {k} fits label {label!r}" for k, label in pairs[:_SHOWN])
        fits += ", ..." if len(pairs) > _SHOWN else ""
        message = (
            f"the columns of {name} fit the labels in another order: read as {list(classes[:_SHOWN])}, "
            f"{here:.0f} of {size:.0f} predictions agree with the labels; {there:.0f} would where {fits}. "
            f"{_order_advice()}"
        )
        if not stated:
            raise InputError(f"{message} (stating this one keeps it)")
        warnings.warn(f"{message}.", stacklevel=4)
        return
    chance = float((counts.sum(1) * counts.sum(0)).sum()) / max(len(known), 1)
    agree = float(np.trace(counts))
    if agree < chance - 3 * chance**0.5:
        warnings.warn(
            f"only {agree:.0f} of {len(known)} predictions agree with the labels, fewer than by chance ({chance:.0f}): "
            "columns, rows or labels may be mixed up.",
            stacklevel=4,
        )
    elif agree < chance + 3 * chance**0.5 and _by_chance(counts):
        warnings.warn(
            f"{agree:.0f} of {len(known)} predictions agree with the labels, no more than by chance ({chance:.0f}), so "
            "that nothing can be said of any label: are the rows those of the labels, in their order?",
            stacklevel=4,
        )
    elif (said := too_alike(agree / max(len(known), 1), len(known))) is not None:
        warnings.warn(said, stacklevel=4)


def _by_chance(counts: Floats) -> bool:
    """Whether predicted (row) and given labels (column) may be independent, by chi squared; of few labels never."""
    table = counts[np.ix_(counts.sum(1) > 0, counts.sum(0) > 0)]
    free, size = (table.shape[0] - 1) * (table.shape[1] - 1), table.sum()
    if size < _ENOUGH or free <= 0:  # one class is all that is predicted: the probabilities may still tell labels apart
        return False
    expected = np.outer(table.sum(1), table.sum(0)) / size
    squared = float(((table - expected) ** 2 / expected).sum())
    return bool(squared < free + 2 * math.sqrt(2 * free))
