"""Labels of several annotators in arrays and tables: to answers, and to the consensus that becomes the given label."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from codivide.core.errors import InputError, either, option
from codivide.core.types import Floats, Labels
from codivide.core.words import counted
from codivide.data import labels as of_labels
from codivide.data.labels import encode
from codivide.data.options import ReadOptions
from codivide.noise.consensus import Consensus
from codivide.noise.settle import settle
from codivide.noise.votes import Votes

PREFIX = "label_"  # of the columns of a table with one column an annotator
_FEWEST_IDS = 10  # answers of an annotator that are all different, from which on they are ids
_BY_CHANCE = 0.1  # agreement beyond chance below which columns of 0 and 1 may be labels and no annotators
_WHO = re.compile(
    r"(worker|annotator|rater|labell?er|coder|judge|reviewer|assessor|tagger|user)s?[ _-]?(id|name)?", re.IGNORECASE
)  # what a column of those who answered is called
LONG = ("annotator", "label")  # columns of a table with one row an answer
KEYS = ("id", "path", "text")  # columns that name a sample, the first that there is


@dataclass(frozen=True)
class Answers:
    """Answers as they were written, one entry an answer or an empty cell.

    Attributes:
        items: ``[M]`` row of the data.
        annotators: ``[M]`` number of the annotator.
        labels: ``[M]`` label in the user's own type, missing where not asked.
        names: of the annotators.
        samples: number of rows of the data.
    """

    items: Labels
    annotators: Labels
    labels: list[Any] | NDArray[Any]
    names: tuple[str, ...]
    samples: int

    def settle(
        self,
        options: ReadOptions,
        classes: Sequence[Any] | None = None,
        what: str = "y",
        *,
        probs: Floats | None = None,
    ) -> tuple[Consensus, tuple[Any, ...]]:
        """The consensus, and the classes.

        Args:
            options: which values mean "not asked", and which labels are one.
            classes: the classes in order, where they are known.
            what: what to call the labels in a message.
            probs: of a classifier, ``[N, C]``, by which the consensus is come to as well; None: there is none.

        Raises:
            InputError: as for labels of one annotator; it names the row and the annotator.
        """

        def cell(entry: int) -> str:
            return f"row {self.items[entry]}, annotator {self.names[self.annotators[entry]]}"

        codes, known = encode(self.labels, classes=classes, what=what, names=cell, **options.of_labels)
        given = codes >= 0
        votes = Votes(self.items[given], self.annotators[given], codes[given], self.names, self.samples, len(known))
        return settle(votes, probs), known


def several(y: object) -> bool:
    """Whether labels are those of several annotators: two-dimensional with at least two columns."""
    if isinstance(y, list | tuple):
        return len(y) > 0 and all(isinstance(row, list | tuple | np.ndarray) for row in y) and max(map(len, y)) > 1
    return isinstance(y, np.ndarray | Tensor | pd.DataFrame) and len(y.shape) == 2 and int(y.shape[-1]) > 1


def from_matrix(y: object, names: Sequence[str] | None = None) -> Answers:
    """The answers in ``[N, annotators]``.

    Args:
        y: an array, a tensor, a data frame (its columns are the annotators) or a list of rows.
        names: of the annotators; None: the columns, else their numbers.

    Raises:
        InputError: rows of unequal length, names that do not fit, a matrix that looks one-hot, or a column of ids.
    """
    matrix = _as_matrix(y)
    if names is None:
        names = [str(name) for name in (y.columns if isinstance(y, pd.DataFrame) else range(matrix.shape[1]))]
    if len(names) != matrix.shape[1]:
        raise InputError(f"there are names of {len(names)} annotators, but y has {matrix.shape[1]} columns")
    _check_bits(matrix)
    _check_ids(matrix, names)
    count, annotators = matrix.shape
    return Answers(
        np.tile(np.arange(count), annotators),
        np.repeat(np.arange(annotators), count),
        matrix.T.ravel(),
        tuple(names),
        count,
    )


def label_columns(table: pd.DataFrame, path: Path, wanted: Sequence[str]) -> list[str]:
    """The columns of a table that hold one annotator's labels each; none where there is a column ``label``.

    Args:
        table: as read.
        path: of the table, for messages.
        wanted: names of such columns; empty: those that start with ``label_``.

    Raises:
        InputError: a wanted column that is not there.
    """
    for name in wanted:
        if name not in table:
            raise InputError(f"{path} has no column {name!r} of an annotator (columns: {', '.join(table.columns)})")
    if wanted:
        return list(wanted)
    found = [str(name) for name in table.columns if str(name).startswith(PREFIX)]
    return found if "label" not in table and len(found) > 1 else []


def from_columns(columns: Sequence[str], labels: list[Any]) -> Answers:
    """The answers in columns of a table: their values one column after the other; ``label_`` is no part of a name."""
    every = all(name.startswith(PREFIX) for name in columns)
    names = [name.removeprefix(PREFIX) if every else name for name in columns]
    values = np.empty(len(labels), dtype=object)
    values[:] = labels
    return from_matrix(values.reshape(len(columns), -1).T, names)


def is_long(table: pd.DataFrame) -> bool:
    """Whether a table has one row an answer: columns ``annotator`` and ``label``, and one that names the sample."""
    return set(LONG) <= set(table.columns) and key_column(table) is not None


def key_column(*tables: pd.DataFrame) -> str | None:
    """The column of ``KEYS`` that names a sample in all of the tables; None: there is none."""
    return next((name for name in KEYS if all(name in table for table in tables)), None)


def from_long(table: pd.DataFrame, labels: list[Any], path: Path) -> tuple[pd.DataFrame, Answers]:
    """One row a sample, the first of each, and the answers.

    Args:
        table: one row an answer; columns other than ``annotator`` and ``label`` are the same in all rows of a sample.
        labels: the column ``label`` as labels.
        path: of the table, for messages.

    Raises:
        InputError: an answer without a sample or an annotator, two answers of one annotator on one sample, or rows
            of a sample that differ.
    """
    key = key_column(table)
    assert key is not None
    rest = table.drop(columns=list(LONG))
    items, first = _numbered(table[key], path, key)
    repeated = rest.iloc[first].iloc[items].reset_index(drop=True)
    same = (rest.reset_index(drop=True) == repeated) | (rest.reset_index(drop=True).isna() & repeated.isna())
    if not same.to_numpy().all():
        row, column = np.argwhere(~same.to_numpy())[0]
        raise InputError(
            f"{path}: row {row} (line {row + 2}) and row {first[items[row]]} are of the same {key} "
            f"{table[key].iloc[row]!r} but differ in column {rest.columns[column]!r}. If it says something of the "
            f"answer, leave it out: {option('drop', [str(rest.columns[column])])}"
        )
    return rest.iloc[first].reset_index(drop=True), _answers(table, labels, items, len(first), path)


def unread(table: pd.DataFrame) -> str | None:
    """What to say of a table that seems to hold answers of several annotators and is read as one label a sample."""
    if "label" not in table:
        return None
    texts = {name: table[name].astype(object).map(str) for name in map(str, table.columns) if name != "label"}
    known = set(table["label"].astype(object).map(str))
    each = [name for name in texts if name.startswith(PREFIX) and set(texts[name][table[name].notna()]) <= known]
    if len(each) > 1:
        said = either(f"--annotators {','.join(each)}", f"give y=X[{each}], and the others as X")
        return (
            f"columns {', '.join(map(repr, each))} hold labels, and count as no answers, since there is a column "
            f"'label'. If they are those of several annotators: {said}"
        )
    for who in (name for name in texts if _WHO.fullmatch(name)):
        item = _answered(texts, who)
        if item is not None:
            return (
                f"each row is read as a sample of its own, but columns {who!r} and {item!r} look like those of one "
                f"answer a row: {len(table):,} answers on {texts[item].nunique():,} samples. If so, rename them "
                "'annotator' and 'id'"
            )
    return None


def _answered(texts: Mapping[str, pd.Series[str]], who: str) -> str | None:
    """The column of what somebody answered on: it repeats, never with the same annotator, and others go with it."""
    rows = len(texts[who])
    for name in sorted((name for name in texts if name != who), key=lambda name: -texts[name].nunique()):
        column = texts[name]
        if column.nunique() * 3 > rows * 2 or pd.DataFrame({0: column, 1: texts[who]}).duplicated().any():
            continue
        others = [texts[other] for other in texts if other not in (who, name)]
        if not others or any(other.groupby(column).nunique().max() == 1 for other in others):
            return name
    return None


def one_each(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """A file of answers with one row an answer, also where it has a column ``label_...`` for each annotator.

    Raises:
        InputError: it has neither form.
    """
    wide = label_columns(table, path, ())
    if wide:
        long = table.melt([name for name in KEYS if name in table], wide, "annotator", "label")
        return long.assign(annotator=long["annotator"].str.removeprefix(PREFIX))
    if not set(LONG) <= set(table.columns):
        raise InputError(
            f"{path} is no file of answers: it needs columns annotator and label, a row an answer, or a column "
            f"label_NAME for each annotator; and one of id, path and text (it has {', '.join(table.columns)})"
        )
    return table


def from_file(path: Path, labels: list[Any], table: pd.DataFrame, data: pd.DataFrame, source: Path) -> Answers:
    """The answers of a long table for the rows of another one.

    Args:
        path: of the long table.
        labels: its column ``label`` as labels.
        table: the long table.
        data: the table of the samples.
        source: its path, for messages.

    Raises:
        InputError: no common column that names the samples, or an answer on a sample that is not there.
    """
    key = key_column(table, data)
    if key is None:
        raise InputError(
            f"{path} needs one of id, path and text that {source} has, too (it has {', '.join(table.columns)})"
        )
    known: dict[str, int] = {}
    for row, value in enumerate(data[key].map(str).tolist()):  # numbers in one file may be texts in the other
        if known.setdefault(value, row) != row:
            raise InputError(f"{source}: {key} {value!r} comes twice, in rows {known[value]} and {row}")
    items = np.array([known.get(value, -1) for value in table[key].map(str).tolist()], dtype=np.int64)
    if (items < 0).any():
        row = int(np.argmax(items < 0))
        raise InputError(f"{path}: row {row} (line {row + 2}) is of {key} {table[key].iloc[row]!r}, not in {source}")
    return _answers(table, labels, items, len(data), path)


def _answers(table: pd.DataFrame, labels: list[Any], items: Labels, samples: int, path: Path) -> Answers:
    who, first = _numbered(table["annotator"], path, "annotator")
    twice = pd.DataFrame({"item": items, "who": who}).duplicated().to_numpy()
    if twice.any():
        row = int(np.argmax(twice))
        raise InputError(
            f"{path}: row {row} (line {row + 2}) is a second answer of annotator {table['annotator'].iloc[row]!r} on "
            "the same sample; keep one"
        )
    names = tuple(str(table["annotator"].iloc[row]) for row in first)
    return Answers(items, who, labels, names, samples)


def _numbered(column: pd.Series[Any], path: Path, what: str) -> tuple[Labels, NDArray[np.int64]]:
    """Numbers of the different values in order of appearance, and the first row of each."""
    empty = column.isna() | column.map(lambda value: isinstance(value, str) and not value.strip())
    if empty.any():
        row = int(np.argmax(empty.to_numpy()))
        raise InputError(f"{path}: row {row} (line {row + 2}) has no {what}")
    codes, _ = pd.factorize(column)
    _, first = np.unique(codes, return_index=True)
    return codes.astype(np.int64), first.astype(np.int64)


def _as_matrix(y: Any) -> NDArray[Any]:
    """``[N, A]``: numbers or texts as they are, anything that may be missing as objects."""
    if isinstance(y, Tensor):
        y = y.detach().cpu().numpy()
    if isinstance(y, pd.DataFrame):
        return np.asarray(y.to_numpy() if _one_kind(y) else y.to_numpy(dtype=object))
    if isinstance(y, np.ma.MaskedArray):
        y = np.array(y.tolist(), dtype=object)  # None where masked
    if isinstance(y, np.ndarray):
        return y
    lengths = [len(row) for row in y]
    wrong = next((row for row, length in enumerate(lengths) if length != lengths[0]), None)
    if wrong is not None:
        raise InputError(
            f"{_labels()}: row {wrong} has {counted(lengths[wrong], 'label')}, the first {lengths[0]:,}: a list is "
            f"read as one label an annotator; {of_labels.several()}"
        )
    matrix = np.empty((len(lengths), lengths[0]), dtype=object)
    for row, labels in enumerate(y):
        matrix[row] = list(labels)
    return matrix


def _labels() -> str:
    """What the labels are called."""
    return either("labels", "y")


def _one_kind(frame: pd.DataFrame) -> bool:
    return all(kind.kind in "iufb" for kind in frame.dtypes if isinstance(kind, np.dtype)) and all(
        isinstance(kind, np.dtype) for kind in frame.dtypes
    )


def _check_bits(matrix: NDArray[Any]) -> None:
    """What is to be said of a matrix of 0 and 1: columns of one annotator's labels may have been meant.

    Raises:
        InputError: every row has exactly one 1: it is one-hot.
    """
    if matrix.dtype.kind not in "biufO" or len(matrix) < 2:
        return
    bits = np.isin(matrix, (0, 1)) if matrix.dtype.kind != "O" else np.frompyfunc(_is_bit, 1, 1)(matrix).astype(bool)
    if not bits.all():
        return
    ones = matrix.astype(np.float64).sum(1)
    if (ones == 1).all():
        raise InputError(
            f"{_labels()}: {matrix.shape[1]} columns and exactly one 1 in every row, which looks one-hot: "
            f"{either('give one column with the class of each row', 'pass y.argmax(1)')}. Several columns are several "
            "annotators, whose cells are classes"
        )
    if _agreement(matrix.astype(np.float64)) < _BY_CHANCE:
        warnings.warn(
            f"{_labels()}: {matrix.shape[1]} columns of 0 and 1, read as the answers of as many annotators, who agree "
            f"hardly more than by chance; {of_labels.several()}",
            stacklevel=2,
        )


def _check_ids(matrix: NDArray[Any], names: Sequence[str]) -> None:
    """InputError where a column names the samples: it never says the same twice, and all others do."""
    answers = [pd.Series(column, dtype=object).dropna() for column in matrix.T]
    own = [len(column) >= _FEWEST_IDS and column.map(str).is_unique for column in answers]
    if sum(own) == 1 and all(
        one or column.nunique() * 2 <= len(column) for one, column in zip(own, answers, strict=True)
    ):
        k = own.index(True)
        raise InputError(
            f"annotator {names[k]!r} gives {len(answers[k])} answers, all different, which looks like the ids of the "
            "samples: leave that column out"
        )


def _agreement(bits: Floats) -> float:
    """How much more often two columns ``[N, A]`` of 0 and 1 are alike than by chance; 1: always."""
    rows, columns = bits.shape
    ones, shares = bits.sum(1), bits.mean(0)
    pairs = columns * (columns - 1)
    alike = (ones * (ones - 1) + (columns - ones) * (columns - ones - 1)).sum() / (rows * pairs)
    both = [values.sum() ** 2 - (values**2).sum() for values in (shares, 1 - shares)]
    chance = sum(both) / pairs
    return float((alike - chance) / (1 - chance)) if chance < 1 else 1.0


def _is_bit(cell: Any) -> bool:
    return isinstance(cell, bool | int | float | np.number) and cell in (0, 1)
