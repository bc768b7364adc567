"""The columns of a table, of any kind, to numbers: the encoder of mixed tables, which is saved with the model.

    number    as it is; an empty cell becomes the median, and a second column says that it was empty
    date      days since 1970, month, day of the week and, where there are times of day, the hour
    category  a column of 0 and 1 for each of the most frequent values, one for all others, one for empty cells
    text      TF-IDF of parts of words, then its leading directions

It never looks at labels, so that it may be fitted on all training rows: nothing of a held-out label leaks. A column
that says nothing, or something of the row alone, is left out, and ``notes`` says why.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from codivide.core.errors import InputError, option
from codivide.core.types import Singles
from codivide.data.arrays import from_arrays
from codivide.data.cells import are_objects, as_texts, missing
from codivide.data.column_kinds import Number, Part, Text, fit_part, restore_part
from codivide.data.encoder import Encoding, Takes
from codivide.data.images import are_image_names
from codivide.data.label_copies import with_label_columns
from codivide.data.loaded import Loaded
from codivide.data.options import DEFAULT, ReadOptions
from codivide.data.rows import TensorRows
from codivide.data.table_columns import arranged
from codivide.data.unusable import LIKE_ID, is_plain, refusal

NAME = "columns"
_MOST_CELLS = 2_000_000  # of a table that are kept as they were written, to be shown
Note = dict[str, Any]


@dataclass
class Columns:
    """How each column of a table becomes numbers.

    Attributes:
        name: "columns".
        parts: name of a column, and what is made of it, in the order of the table.
        every: all columns of the table, those that are left out too.
        read: of each column what was made of it: ``name``, ``kind``, ``features`` (how many), ``empty`` (cells), and
            where there is something to say ``note``.
        left_out: ``name`` and ``reason`` of each column that is not used.
    """

    name: str
    parts: Sequence[tuple[str, Part]]
    every: tuple[str, ...]
    read: Sequence[Note] = ()
    left_out: Sequence[Note] = ()
    takes: Takes = "table"
    shape: tuple[int, ...] = ()

    @classmethod
    def fit(cls, name: str, frame: pd.DataFrame) -> Columns:
        """Look at the columns of a table ``[N, D]``; labels are not among them.

        Raises:
            InputError: no column can be used; it names them all with the reasons.
        """
        if len(frame) == 0:
            raise InputError(f"the table has 0 sample(s), only columns: {', '.join(map(str, frame.columns[:10]))}")
        parts: list[tuple[str, Part]] = []
        read: list[Note] = []
        left_out: list[Note] = []
        seen: dict[str, str] = {}
        for column in frame.columns:
            values, named = frame[column], str(column)
            reason = _of_images(values) or refusal(values, named)
            if reason is None:
                part, note = fit_part(values)
                twin = seen.setdefault(_digest(part, values), named)
                reason = f"the same as {twin!r}" if twin != named else None
            if reason is not None:
                left_out.append({"name": named, "reason": reason})
                continue
            parts.append((named, part))
            read.append({"name": named, "kind": part.kind, "features": len(part.endings()), **note})
        if not parts:
            listed = "; ".join(f"{item['name']!r}: {item['reason']}" for item in left_out)
            raise InputError(
                f"no column of the table can be used ({listed}). Are they named right ({option('columns')}, "
                f"{option('drop')})?"
            )
        return cls(name, parts, tuple(map(str, frame.columns)), read, left_out)

    @classmethod
    def restore(cls, name: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Columns:
        """The encoder that gave this header and these tensors.

        Raises:
            KeyError: something is missing.
            ValueError: it is damaged.
        """
        parts = []
        for index, item in enumerate(header["parts"]):
            prefix = f"{index}."
            own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            parts.append((str(item["name"]), restore_part(item, own)))
        return cls(name, parts, tuple(header["every"]), tuple(header["read"]), tuple(header["left_out"]))

    @property
    def features(self) -> tuple[str, ...]:
        """What the columns of numbers are called, such as ``job`` and ``job = tech``."""
        return tuple(f"{name}{ending}" for name, part in self.parts for ending in part.endings())

    def arranged(self, frame: pd.DataFrame, where: str) -> pd.DataFrame:
        """The columns that are used, found by name in any order; without names, by position.

        Raises:
            InputError: a column is missing or there twice; it names it.
        """
        if isinstance(frame.columns, pd.RangeIndex) and frame.shape[1] == len(self.every):
            frame = frame.set_axis(list(self.every), axis=1)
        wanted = [name for name, _ in self.parts]
        return arranged(frame, wanted, where, "that the model was trained on").set_axis(wanted, axis=1)

    def encode(self, samples: pd.DataFrame, how: Encoding | None = None) -> TensorRows:
        """Rows ``[N, features]`` float32 of a table with the columns of the training."""
        return self._read(samples, "X")[0]

    @property
    def pointed(self) -> tuple[str, ...]:
        """The columns whose points stood between thousands: "250.000" in a file is no 250.0."""
        return tuple(name for name, part in self.parts if isinstance(part, Number) and part.commas == "points")

    def encode_new(self, samples: pd.DataFrame, where: str = "X") -> TensorRows:
        """``encode``, with a warning of columns of another table that are empty, or hold what says nothing.

        Args:
            samples: the table.
            where: it comes from, for a message.

        Raises:
            InputError: a column is missing or there twice.
        """
        rows, unread = self._read(samples, where)
        for text in unread:
            warnings.warn(text, stacklevel=2)
        return rows

    def _read(self, samples: pd.DataFrame, where: str) -> tuple[TensorRows, list[str]]:
        table, unread = self.arranged(samples, where), []
        blocks: list[Singles] = []
        for name, part in self.parts:
            block, text = part.read(table[name])
            if text is None and len(table) > 1 and not getattr(part, "gaps", True) and missing(table[name]).all():
                text = f"all {len(table):,} cells are empty, and none was in training"
            blocks.append(block)
            unread += [] if text is None else [f"column {name!r}: {text}"]
        return TensorRows(torch.from_numpy(np.ascontiguousarray(np.concatenate(blocks, axis=1)))), unread

    def header(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "parts": [{"name": name, "kind": part.kind, **part.header()} for name, part in self.parts],
            "every": list(self.every),
            **self.notes(),
        }

    def notes(self) -> dict[str, list[Note]]:
        """What was done to each column, and which are left out: JSON values for the record of a run."""
        return {"read": [dict(item) for item in self.read], "left_out": [dict(item) for item in self.left_out]}

    def tensors(self) -> dict[str, Tensor]:
        """Vocabularies and directions of the columns of texts."""
        return {
            f"{index}.{key}": value
            for index, (_, part) in enumerate(self.parts)
            for key, value in part.tensors().items()
        }


def from_columns(x: pd.DataFrame, y: object, *, options: ReadOptions = DEFAULT, **known: Any) -> Loaded:
    """A data set from a table and labels: columns of any kind, see ``codivide.data.arrays.from_arrays``.

    Args:
        x: the table ``[N, D]``.
        y: labels ``[N]`` or ``[N, annotators]``.
        options: an encoder that is fitted, the value that means "no label", and the views.
        known: ``classes``, ``truth``, ``ids`` and ``name``, as there.

    Raises:
        InputError: anything wrong with the labels or their length, or no column can be used.
    """
    encoder = encoder_for(x, options.encoder)
    if encoder is None:
        return with_label_columns(from_arrays(x, y, options=options, **known), x, options)
    rows = encoder.encode_new(x) if encoder is options.encoder else encoder.encode(x)  # that of a training part
    loaded = from_arrays(rows, y, options=options, **known)
    loaded = replace(loaded, encoder=encoder, columns=encoder.features, cells=x if x.size <= _MOST_CELLS else None)
    return with_label_columns(loaded, x, options)


def encoder_for(frame: pd.DataFrame, encoder: object) -> Columns | None:
    """The encoder of a table: the one that is given, none where all columns are finite numbers, else a new one.

    The name "columns" asks for one in any case.

    Raises:
        InputError: an encoder of texts or images is asked for, or no column can be used.
    """
    if isinstance(encoder, Columns):
        return encoder
    if encoder != NAME and is_plain(frame):
        return None
    if encoder not in ("auto", "none", NAME):
        raise InputError(
            f"encoder {getattr(encoder, 'name', encoder)!r} takes texts or images, but the table has columns "
            f"{', '.join(map(repr, map(str, frame.columns[:5])))}: name the column of texts ({option('text')}), "
            "or leave it out"
        )
    return Columns.fit(NAME, frame)


def as_frame(x: Any) -> pd.DataFrame:
    """A table in memory as a data frame; arrays get columns 0 to D - 1, a list of dicts those that they name.

    Raises:
        InputError: no two-dimensional table, or a single row of one.
    """
    if isinstance(x, pd.DataFrame):
        return x
    if isinstance(x, pd.Series) or (isinstance(x, dict) and x and all(map(np.isscalar, x.values()))):
        raise InputError("X is one row, and the model takes tables: give pandas.DataFrame([X])")
    if isinstance(x, list | tuple) and x and all(isinstance(row, dict) for row in x):
        return pd.DataFrame(list(x))
    try:
        return pd.DataFrame(x if isinstance(x, dict) else np.asarray(x, dtype=object)).infer_objects()
    except ValueError as error:
        raise InputError(f"the model takes tables with columns, but X cannot be read as one: {error}") from None


def is_mixed(x: object) -> bool:
    """Whether a two-dimensional array, or a list of rows, holds something that is no number: it is a table."""
    if isinstance(x, list | tuple):
        if not x or not all(isinstance(row, list | tuple) for row in x) or len({len(row) for row in x}) != 1:
            return False
        return any(isinstance(cell, str) or cell is None for row in x for cell in row)
    if not isinstance(x, np.ndarray) or x.ndim != 2 or x.dtype.kind not in "OUS":
        return False
    try:
        x.astype(np.float32)
    except (TypeError, ValueError):
        return any(isinstance(cell, str) for cell in x.ravel().tolist())
    return False


def record(encoder: object) -> dict[str, Any]:
    """What the record of a run says of the columns; nothing where no table was encoded."""
    return {"columns_read": encoder.notes()} if isinstance(encoder, Columns) else {}


def remarks(encoder: object, *, numbered: bool = False) -> list[str]:
    """Sentences for the user on columns that are left out, or not read as they stand.

    Args:
        encoder: what made features of the table.
        numbered: whether the rows are called by their numbers, so that a column which looks like an id would name them.
    """
    if not isinstance(encoder, Columns):
        return []
    found = [f"column {item['name']!r}: {item['note']}" for item in encoder.read if "note" in item]
    if encoder.left_out:
        listed = "; ".join(f"{item['name']!r} ({item['reason']})" for item in encoder.left_out)
        found.append(f"columns that are not used: {listed}")
        naming = [item["name"] for item in encoder.left_out if item["reason"] == LIKE_ID]
        if numbered and naming:
            found[-1] += f". Rename {naming[0]!r} to 'id', and labels.csv and predictions name the rows by it"
    return found


def _of_images(values: Any) -> str | None:
    """Why a column of images, or of the names of their files, cannot be read as one of a table; None: it is none."""
    if isinstance(values, pd.DataFrame) or not are_objects(values):
        return None
    known = values.dropna().tolist()
    if known and isinstance(known[0], Image.Image):
        return "holds images; to learn from them, give them as a list"
    if are_image_names(known):
        return (
            "holds names of image files; to learn from the images, call the column 'path', or give it alone as a list"
        )
    return None


def _digest(part: Part, values: pd.Series[Any]) -> str:
    """The same for columns that say the same."""
    content = "\0".join(as_texts(values)).encode() if isinstance(part, Text) else part.read(values)[0].tobytes()
    return hashlib.sha256(content).hexdigest()
