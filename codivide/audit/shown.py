"""How a sample is shown: a picture, a text, or named fields."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from codivide.audit.material import Material
from codivide.audit.thumbnails import LARGE, SMALL, Thumbnails
from codivide.core.types import AnyFloats, Floats, Labels
from codivide.core.words import row_in_words
from codivide.runs import label_table

MOST_FIELDS = 30  # of a row of a table that are shown
_MEASURED = 5000  # rows that mean and deviation of a feature are taken from
_BRIEF = 3  # fields of an example
_TEXT = 2000  # characters of a text that are shown


def finite(value: float) -> float | None:
    """The number, which JSON can hold, or None."""
    return float(value) if math.isfinite(value) else None


class Shown:
    """How the samples of an audit are shown.

    Args:
        material: the samples.
        thumbnails: whether images are shown.
        limit: labels that look wrong in the facts.
    """

    def __init__(self, material: Material, *, thumbnails: bool = True, limit: int = 1000) -> None:
        rows = material.rows
        image = rows is not None and len(rows.shape) == 3
        gone = rows is None and label_table.PATH in material.table  # images that are no longer there
        self.material, self.limit = material, max(limit, 0)
        self.pictures = Thumbnails(rows) if thumbnails and image and rows is not None else None
        self.tabular = material.texts is None and rows is not None and len(rows.shape) == 1
        self.kind = "text" if material.texts is not None else "image" if image or gone else "row"
        self._cells = None if material.cells is None else _telling_first(material.cells, material.columns_read)
        self._scale: tuple[Any, Any] | None = None
        self._fields: dict[int, list[list[Any]]] = {}
        self._words: dict[int, str] = {}  # of rows that several labels have for an example

    def thumbnail(self, row: int, side: int = LARGE) -> str | None:
        """The picture of an image as a data URI."""
        return self.pictures.uri(row, side) if self.pictures else None

    def text(self, row: int) -> str | None:
        """The beginning of a text."""
        return self.material.texts[row][:_TEXT] if self.material.texts is not None else None

    def prepare(self, rows: Labels, examples: Iterable[int] = ()) -> None:
        """Take in many samples that are shown next, and those that are shown in short; it saves time and no more."""
        self._fields.clear()
        self._words.clear()
        if self.tabular:
            self._fields.update(zip(rows.tolist(), self._read(rows, MOST_FIELDS), strict=True))
            brief = np.array(sorted(examples), dtype=np.int64)
            self._words.update(zip(brief.tolist(), map(row_in_words, self._read(brief, _BRIEF)), strict=True))

    def fields(self, row: int) -> list[list[Any]] | None:
        """Names and values; of too many numbers, those farthest from their mean in standard deviations.

        The cells of a table come with texts first, then in the order of the columns, and what is not learned from last.
        """
        if not self.tabular or self.material.rows is None:
            return None
        if row not in self._fields:
            self._fields[row] = self._read(np.array([row]), MOST_FIELDS)[0]
        return self._fields[row]

    def _read(self, rows: Labels, most: int) -> list[list[list[Any]]]:
        """The fields of each row."""
        assert self.material.rows is not None
        if not len(rows):
            return []
        if self._cells is not None:
            return _written(self._cells.iloc[rows, :most])
        values = self.material.rows[torch.from_numpy(rows)].cpu().numpy().astype(np.float64)
        if self._scale is None:
            self._scale = _scale(self.material)
        names = self.material.columns or [f"feature {k}" for k in range(values.shape[1])]
        most = min(most, values.shape[1])
        unusual = np.abs(values - self._scale[0]) / self._scale[1]
        chosen = np.sort(np.argsort(-unusual, axis=1, kind="stable")[:, :most], axis=1)
        brief = _brief(np.take_along_axis(values, chosen, 1))
        return [
            [[names[k], value] for k, value in zip(places, row, strict=True)]
            for places, row in zip(chosen.tolist(), brief, strict=True)
        ]

    def example(self, row: int) -> str | None:
        """A small picture, the text, or the first fields in words."""
        picture = self.thumbnail(row, SMALL)
        if picture is not None or not self.tabular:
            return picture or self.text(row)
        if row not in self._words:
            self._words[row] = row_in_words(self._read(np.array([row]), _BRIEF)[0])
        return self._words[row]

    def sample(self, row: int) -> dict[str, Any]:
        """A sample in a gallery, with what a person needs to decide on it: see ``facts.collect``."""
        material = self.material
        return {
            "row": material.place(row),
            "id": material.ids[row],
            "given": int(material.given[row]),
            "suggested": int(material.suggested[row]),
            "clean_prob": self.probability(material.clean_prob, row),
            "suggested_prob": self.probability(material.suggested_prob, row),
            "thumbnail": self.thumbnail(row),
            "text": self.text(row) or (self.example(row) if self.tabular else None),
            "fields": self.fields(row),
        }

    def probability(self, values: AnyFloats | None, row: int) -> float | None:
        """One of ``[N]`` numbers, None where it is not known."""
        return None if values is None else finite(values[row])


def _telling_first(cells: pd.DataFrame, read: Mapping[str, Any] | None) -> pd.DataFrame:
    """The columns in the order in which they are shown: where there is room for few, a person needs the text."""
    kinds = {item["name"]: item["kind"] for item in (read or {}).get("read", ())}
    late = [{"text": 0, None: 2}.get(kinds.get(str(name)), 1) for name in cells.columns]
    return cells.iloc[:, np.argsort(late, kind="stable")]


def _written(cells: pd.DataFrame) -> list[list[list[Any]]]:
    """Names and values of each row as they were written, in the order of the columns; None: an empty cell."""
    names, columns = [str(name) for name in cells.columns], [_values(cells.iloc[:, k]) for k in range(cells.shape[1])]
    return [[list(pair) for pair in zip(names, row, strict=True)] for row in zip(*columns, strict=True)]


def _values(column: pd.Series[Any]) -> list[Any]:
    """Numbers as numbers, dates without a time of midnight, the beginning of anything else as text."""
    empty = column.isna().to_numpy()
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        found: list[Any] = [row[0] for row in _brief(column.to_numpy(np.float64, na_value=np.nan)[:, None])]
    else:
        found = [str(value).removesuffix(" 00:00:00")[:_TEXT] for value in column.tolist()]
    return [None if gone else value for value, gone in zip(found, empty, strict=True)]


def _brief(values: Floats) -> list[list[float | None]]:
    """Six digits of numbers, of those that are no whole numbers and below 1,000 four: a page may hold millions."""
    size = np.abs(values)
    finite = np.isfinite(values)
    digits = np.where((size < 1000) & (values != np.rint(values)), 4, 6)
    with np.errstate(divide="ignore", invalid="ignore"):
        powers = digits - 1 - np.floor(np.log10(np.where(finite & (size > 0), size, 1.0)))
    usual = np.abs(powers) < 300
    scale = 10.0 ** np.where(usual, np.abs(powers), 0)
    rounded = np.where(powers >= 0, np.rint(values * scale) / scale, np.rint(values / scale) * scale)
    short = np.where(usual, rounded, values)
    return [
        [value if known else None for value, known in zip(row, are, strict=True)]
        for row, are in zip(short.tolist(), finite.tolist(), strict=True)
    ]


def _scale(material: Material) -> tuple[Any, Any]:
    """Mean and standard deviation of each feature, over at most 5,000 rows; 1 for a constant."""
    assert material.rows is not None
    count = len(material.rows)
    rows = torch.linspace(0, count - 1, min(count, _MEASURED)).long()
    values = material.rows[rows].cpu().double().numpy()
    deviation = values.std(0)
    return values.mean(0), np.where(deviation > 0, deviation, 1.0)
