"""Parquet files with more numbers than memory should hold: they are written to a file without a name and mapped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from codivide.core.files import let_go
from codivide.data.arrow import INDEX, from_arrow
from codivide.data.options import CLASSES, ReadOptions
from codivide.data.rows import MemmapRows
from codivide.data.scratch import scratch
from codivide.data.table_columns import feature_names, find, selected, with_label, with_usual_names
from codivide.data.tables import with_names
from codivide.data.written_about import about

LARGE = 2**28  # bytes of numbers
_AT_ONCE = 4096  # rows


class Apart(NamedTuple):
    """A table in two parts.

    Attributes:
        others: the columns that are no features, as ``tables.read_table`` gives them.
        rows: the features ``[N, D]`` float32.
        names: of the features.
    """

    others: pd.DataFrame
    rows: MemmapRows
    names: tuple[str, ...]


def apart(path: Path, options: ReadOptions) -> Apart | None:
    """The features of a large table, mapped from a file that goes away with them.

    That is done with a Parquet file of at least 256 MB of features that are all reals without gaps, and one column of
    labels. They are read some thousand rows at a time.

    Args:
        path: the file.
        options: how to read it; of the folder of the cache there must be room for the features.

    Returns:
        Both parts; None: the table is another one, and is to be read into memory.

    Raises:
        InputError: there is no room for the features, or no row.
    """
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return None
    try:
        with pyarrow.parquet.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
            names = _features(file, path, options)
            rows = None
            if names and 4 * file.metadata.num_rows * len(names) >= LARGE:
                rows = _written(file, names, options)
        if rows is None:
            return None
        held = set(names)
        others = [name for name in file.schema_arrow.names if name not in held]
        table = from_arrow(pyarrow.parquet.read_table(path, columns=others, memory_map=True))
    except (pyarrow.ArrowException, OSError):
        return None  # who reads it into memory says what is wrong
    return Apart(with_names(table, path, options), MemmapRows(rows), tuple(name.strip() for name in names))


def _written(file: Any, names: list[str], options: ReadOptions) -> np.memmap[Any, Any] | None:
    """The features ``[N, D]``; None where there are gaps, of which who reads the table into memory knows more."""
    rows: Any = scratch((file.metadata.num_rows, len(names)), np.float32, replace(options.encoding, cache_limit=0))
    start = 0
    for batch in file.iter_batches(_AT_ONCE, columns=names, use_threads=False):
        values = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
        part = np.stack(values, 1).astype(np.float32)
        if not np.isfinite(part).all():
            return None
        rows[start : start + len(part)] = part
        start += len(part)
        let_go(rows)
    found: np.memmap[Any, Any] = rows
    return found


def _features(file: Any, path: Path, options: ReadOptions) -> list[str]:
    """The columns to learn from as the file calls them; empty: some are no reals, or labels are not simply a column."""
    schema = file.schema_arrow
    plain = options.task == CLASSES and options.text is None and options.encoder in ("auto", "none")
    header = pd.DataFrame([], columns=[str(name).strip() for name in schema.names], dtype=object)
    if not plain or options.annotators or options.answers or not header.columns.is_unique:
        return []
    if find(list(header.columns), options.label) is None or "label" in options.drop:
        return []
    header = with_usual_names(with_label(header, path, options))
    if {"path", "text", "annotator"} & set(header.columns):
        return []
    own = dict(zip(header.columns, schema.names, strict=True))
    header = selected(header, path, options)
    listed = [str(name) for name in header.columns]
    named = {found for name in options.columns if (found := find(listed, name))}
    about_labels = about(listed, lambda place: file.read([own[listed[place]]]).column(0).to_pandas(), named)
    wanted = set(feature_names(header, options)) - set(about_labels)
    names = [name for called, name in own.items() if called in wanted and not INDEX.fullmatch(name)]
    return names if all(pyarrow.types.is_floating(schema.field(name).type) for name in names) else []
