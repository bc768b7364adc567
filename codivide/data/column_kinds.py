"""The kinds of columns that a table may have, and how each becomes numbers; see ``codivide.data.columns``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from codivide.core.errors import InputError
from codivide.core.types import Singles
from codivide.core.words import counted
from codivide.data.cells import LARGEST, are_dates, are_numbers, as_names, as_texts, is_textual, missing, numbers
from codivide.data.commas import COMMAS_IN_WORDS, READABLE, Commas, commas_of, is_pointed
from codivide.data.dates import Order, date_of, dates, days, order_of, reversed_in
from codivide.data.tfidf import PARTS, Tfidf
from codivide.data.units import tidy, unit_of, without_unit, written_otherwise

MOST_CATEGORIES = 30  # of a column that get a column each; rarer ones share one
MOST_VALUES = 60  # different texts up to which a column holds categories; of more, each must come often
DIRECTIONS = 30  # of the word counts of a column of texts
_FEW_CELLS = 20  # of which each may well be a rare name

Note = dict[str, Any]


class Part(Protocol):
    """How one column becomes numbers."""

    @property
    def kind(self) -> str:
        """One of "number", "date", "category", "text"."""

    def endings(self) -> tuple[str, ...]:
        """What is added to the name of the column for each column of numbers."""

    def read(self, values: pd.Series[Any]) -> tuple[Singles, str | None]:
        """``[N, features]`` float32, finite, and which cells that are not empty say nothing here; None: none."""

    def header(self) -> dict[str, Any]:
        """JSON values to restore it by."""

    def tensors(self) -> dict[str, Tensor]:
        """Tensors to restore it by."""


@dataclass(frozen=True)
class Number:
    """Numbers, or texts that write them.

    Attributes:
        fill: the median, in the place of an empty cell.
        gaps: whether cells were empty in training; a second column then says which are.
        commas: what commas in texts were in training.
        unit: that of the texts in training, such as "$" or "%"; "": none. One of another unit counts as empty.
    """

    fill: float
    gaps: bool
    commas: Commas = ""
    unit: str = ""
    kind: ClassVar[str] = "number"

    @classmethod
    def fit(cls, values: pd.Series[Any]) -> tuple[Number, Note]:
        """The median, and what could not be read."""
        texts = values.astype(object)
        unit = unit_of(texts, READABLE) if is_textual(values) else ""
        commas = commas_of(without_unit(texts, unit)) if is_textual(values) else ""
        found = numbers(values, commas, unit)
        empty = np.isnan(found)
        note: Note = {"empty": int(empty.sum())}
        grouped = f"read as whole numbers with {COMMAS_IN_WORDS[commas]}" if commas == "points" else None
        unread = _unread(values, empty, "numbers")
        if said := "; ".join(filter(None, (grouped, unread, written_otherwise(texts, unit)))):
            note["note"] = said
        return cls(float(np.median(found[~empty])), bool(empty.any()), commas, unit), note

    def endings(self) -> tuple[str, ...]:
        """The column itself, and its gaps."""
        return ("", " is empty") if self.gaps else ("",)

    def read(self, values: pd.Series[Any]) -> tuple[Singles, str | None]:
        """``[N, 1]`` or ``[N, 2]``, and the cells that are no numbers."""
        commas: Commas | None = self.commas or None
        if commas == "points" and is_textual(values):
            values, commas = self._points(values)
        found = numbers(values, commas, self.unit)
        empty = np.isnan(found)
        filled = np.where(empty, self.fill, found).clip(-LARGEST, LARGEST)
        made = np.stack([filled, empty] if self.gaps else [filled], axis=1).astype(np.float32)
        if self.commas == "points" and not is_textual(values) and (found[~empty] % 1 != 0).any():
            return made, (
                "holds numbers with a decimal point, which stood between thousands in training: they are taken as they "
                "are. If 1.234 is 1,234 here, write it without a point"
            )
        return made, _unread(values, empty, "numbers")

    def _points(self, values: pd.Series[Any]) -> tuple[pd.Series[Any], Commas | None]:
        """Texts of a column that had points between thousands; numbers where they have a decimal mark now."""
        texts = without_unit(values.astype(object), self.unit)
        if commas_of(texts) == "decimal":
            return values, "decimal"
        bare = texts.map(lambda value: tidy(value) if isinstance(value, str) else "")
        odd = bare.str.contains(".", regex=False) & ~bare.map(is_pointed)
        known = pd.to_numeric(texts, errors="coerce")
        return (known, None) if known[odd].notna().any() else (values, "points")

    def header(self) -> dict[str, Any]:
        """Median, gaps, commas and unit."""
        return {"fill": self.fill, "gaps": self.gaps, "commas": self.commas, "unit": self.unit}

    def tensors(self) -> dict[str, Tensor]:
        """None."""
        return {}


@dataclass(frozen=True)
class Date:
    """Dates, with or without a time of day.

    Attributes:
        fill: days since 1970 in the place of an empty cell.
        gaps: whether cells were empty in training.
        clock: whether there are times of day.
        order: how texts are read.
    """

    fill: float
    gaps: bool
    clock: bool
    order: Order
    kind: ClassVar[str] = "date"

    @classmethod
    def fit(cls, values: pd.Series[Any]) -> tuple[Date, Note]:
        """The range of the dates, and what could not be read."""
        order = order_of(values)
        found = dates(values, order)
        known = found.dropna()
        clock = bool((known != known.dt.normalize()).any())
        note: Note = {"empty": int(found.isna().sum())}
        if (unread := _unread(values, found.isna().to_numpy(dtype=bool), "dates")) is not None:
            note["note"] = unread
        return cls(float(np.median(days(known))), bool(found.isna().any()), clock, order), note

    def endings(self) -> tuple[str, ...]:
        """Day, month, day of the week, hour, gaps."""
        hour = (" hour",) if self.clock else ()
        return (" day", " month", " weekday", *hour, *((" is empty",) if self.gaps else ()))

    def read(self, values: pd.Series[Any]) -> tuple[Singles, str | None]:
        """``[N, 3]`` to ``[N, 5]``, and the cells that are no dates, or have day and month the other way round."""
        found = dates(values, self.order)
        empty = found.isna()
        whole = found.fillna(date_of(self.fill))
        made = [days(whole), whole.dt.month, whole.dt.day_of_week]
        made += [whole.dt.hour + whole.dt.minute / 60] if self.clock else []
        made += [empty] if self.gaps else []
        rows = np.stack([np.asarray(item, dtype=np.float32) for item in made], axis=1)
        said = [_unread(values, empty.to_numpy(dtype=bool), "dates")]
        if (other := reversed_in(values, self.order)) is not None:
            first, second = ("month", "day") if self.order[other[1]] else ("day", "month")
            said.append(
                f"{other[0]!r} has the {first} first, but dates are read with the {second} first, as in training"
            )
        return rows, "; ".join(text for text in said if text) or None

    def header(self) -> dict[str, Any]:
        """How they are read."""
        return {"fill": self.fill, "gaps": self.gaps, "clock": self.clock, "day_first": list(self.order)}

    def tensors(self) -> dict[str, Tensor]:
        """None."""
        return {}


@dataclass(frozen=True)
class Category:
    """Names: a column of 0 and 1 for each.

    Attributes:
        names: those with a column of their own, the most frequent first.
        others: whether rarer ones share a column; a name that is new when predicting goes there too.
        gaps: whether cells were empty in training.
    """

    names: tuple[str, ...]
    others: bool
    gaps: bool
    kind: ClassVar[str] = "category"

    @classmethod
    def fit(cls, values: pd.Series[Any]) -> tuple[Category, Note]:
        """The most frequent names; one that comes once has no column of its own."""
        texts = as_names(values)
        counts = texts.dropna().value_counts()
        order = sorted(counts.items(), key=lambda item: (-int(item[1]), str(item[0])))
        kept = [str(name) for name, count in order if count > 1 or len(order) <= 2][:MOST_CATEGORIES]
        rare = len(order) - len(kept)
        note: Note = {"empty": int(texts.isna().sum())}
        if rare:
            share = sum(int(count) for name, count in order if str(name) not in set(kept))
            note["merged"] = {"names": rare, "cells": share}
        return cls(tuple(kept), rare > 0, bool(texts.isna().any())), note

    def endings(self) -> tuple[str, ...]:
        """One a name."""
        more = ((" = others",) if self.others else ()) + ((" is empty",) if self.gaps else ())
        return (*(f" = {name}" for name in self.names), *more)

    def read(self, values: pd.Series[Any]) -> tuple[Singles, str | None]:
        """``[N, names (+ 1) (+ 1)]``, and all cells, where none holds a name that the training had often."""
        texts = as_names(values)
        codes = pd.Index(self.names, dtype=object).get_indexer(pd.Index(texts, dtype=object))
        empty = texts.isna().to_numpy(dtype=bool)
        found = np.zeros((len(texts), len(self.endings())), dtype=np.float32)
        rows = np.flatnonzero(codes >= 0)
        found[rows, codes[rows]] = 1
        if self.others:
            found[(codes < 0) & ~empty, len(self.names)] = 1
        if self.gaps:
            found[empty, -1] = 1
        return found, self._unread(texts.dropna())

    def _unread(self, texts: pd.Series[Any]) -> str | None:
        if not len(texts) or texts.isin(self.names).any() or (self.others and len(texts) < _FEW_CELLS):
            return None
        shown, known = (", ".join(map(repr, list(names)[:3])) for names in (texts.unique(), self.names))
        return f"no cell holds a name that the training had ({shown} and no {known})"

    def header(self) -> dict[str, Any]:
        """The names."""
        return {"names": list(self.names), "others": self.others, "gaps": self.gaps}

    def tensors(self) -> dict[str, Tensor]:
        """None."""
        return {}


@dataclass(frozen=True)
class Text:
    """Texts: TF-IDF of the parts of words of 3 and 4 characters, along the leading directions.

    Attributes:
        words: the vocabulary.
        axes: ``[terms, P]`` float32.
    """

    words: Tfidf
    axes: Singles
    kind: ClassVar[str] = "text"

    @classmethod
    def fit(cls, values: pd.Series[Any]) -> tuple[Text | Category, Note]:
        """The vocabulary and its directions; of texts without words, the categories."""
        from sklearn.utils.extmath import randomized_svd

        texts = as_texts(values)
        try:
            words = Tfidf.fit(PARTS, texts)
        except InputError:  # such as "??", "!" and emoji
            return Category.fit(values)
        table = words.table(texts)
        size = min(DIRECTIONS, *table.shape)
        _, _, axes = randomized_svd(table, size, random_state=0)
        note: Note = {"empty": int(missing(values).sum())}
        return cls(words, np.ascontiguousarray(axes.T, dtype=np.float32)), note

    def endings(self) -> tuple[str, ...]:
        """One a direction."""
        return tuple(f" text {k + 1}" for k in range(self.axes.shape[1]))

    def read(self, values: pd.Series[Any]) -> tuple[Singles, str | None]:
        """``[N, P]``, and None: any text can be new."""
        return np.asarray(self.words.table(as_texts(values)) @ self.axes, dtype=np.float32), None

    def header(self) -> dict[str, Any]:
        """Nothing: all that there is are tensors."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Vocabulary and directions."""
        return {"axes": torch.from_numpy(self.axes), **self.words.tensors()}


def _unread(values: pd.Series[Any], empty: NDArray[np.bool_], what: str) -> str | None:
    """What is said of cells that count as empty and hold something."""
    wrong = empty & ~missing(values).to_numpy(dtype=bool)
    if not wrong.any():
        return None
    shown = values[wrong].astype(object).map(repr).value_counts().index[:3]
    few = f"({', '.join(shown)}) and"
    one, many = f"cell is no {what.removesuffix('s')} {few} counts", f"cells are no {what} {few} count"
    return f"{counted(int(wrong.sum()), one, many)} as empty"


def fit_part(values: pd.Series[Any]) -> tuple[Part, Note]:
    """How a column becomes numbers, by what it holds, and what is to be noted of it (``empty`` cells, ``note``)."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return Category.fit(values)
    if are_numbers(values):
        return Number.fit(values)
    if are_dates(values):
        return Date.fit(values)
    texts = as_names(values).dropna()
    if texts.nunique() <= min(MOST_VALUES, max(len(texts) // 2, 2)):
        return Category.fit(values)
    return Text.fit(values)


def restore_part(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Part:
    """The part that gave this header and these tensors.

    Raises:
        KeyError: something is missing, or a kind that is not known.
        ValueError: it is damaged.
    """
    makers: dict[str, Callable[[], Part]] = {
        "number": lambda: Number(
            float(header["fill"]), bool(header["gaps"]), _commas(header.get("commas", "")), str(header.get("unit", ""))
        ),
        "date": lambda: Date(
            float(header["fill"]), bool(header["gaps"]), bool(header["clock"]), _pair(header["day_first"])
        ),
        "category": lambda: Category(tuple(header["names"]), bool(header["others"]), bool(header["gaps"])),
        "text": lambda: Text(Tfidf.restore(PARTS, {}, tensors), tensors["axes"].numpy()),
    }
    return makers[str(header["kind"])]()


def _commas(given: object) -> Commas:
    if given not in get_args(Commas):
        raise ValueError(f"commas {given!r}")
    return cast(Commas, given)


def _pair(given: Any) -> Order:
    """An order from its header; files of earlier versions have one for both."""
    first, points = (given, given) if isinstance(given, bool) else given
    return None if first is None else bool(first), None if points is None else bool(points)
