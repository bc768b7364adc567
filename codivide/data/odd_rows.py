"""Rows of a file that are no samples: empty ones, and the sums below the others, as spreadsheets have them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from codivide.core.types import Floats, Mask
from codivide.core.words import counted
from codivide.data.cells import are_objects, missing, numbers

_NAMES = 60  # different values up to which a column holds names that tell a row
_FEWEST = 5  # numbers other than 0 above a sum
_WORDS = ("total", "totals", "grand total", "sum", "summe", "gesamt", "gesamtsumme", "somme", "suma", "totale")
_FILLED = 0.9  # share of the cells of a column above an empty one


def without_odd_rows(table: pd.DataFrame, said: list[str]) -> pd.DataFrame:
    """The table without rows that are no samples; ``said`` gets how many they are."""
    empty = _empty_rows(table)
    if 0 < empty.sum() < len(table):
        said.append(
            f"{counted(int(empty.sum()), 'row without a filled cell was', 'rows without a filled cell were')} left out"
        )
        table = _inferred(table[~empty].reset_index(drop=True))
    again = _headers(table)
    if again.any() and not again.all():
        few = counted(int(again.sum()), "row that repeats the header was", "rows that repeat the header were")
        said.append(f"{few} left out")
        table = _inferred(table[~again].reset_index(drop=True))
    if summed := _summed(table):
        said.append(
            f"the last row was left out, for it holds the sums of the rows above it (in {', '.join(map(repr, summed))})"
        )
        table = _inferred(table.iloc[:-1])  # dates above "Total" are dates
    return table


def _inferred(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of objects as what they hold now; those of texts stay as they are."""
    found = table.infer_objects()
    texts = [isinstance(kind, pd.StringDtype) for kind in found.dtypes.tolist()]
    return pd.concat([(table if text else found).iloc[:, k] for k, text in enumerate(texts)], axis=1)


def _empty_rows(table: pd.DataFrame) -> Mask:
    """The rows ``[N]`` in which no cell holds anything."""
    found: Mask = np.ones(len(table), dtype=bool) if len(table.columns) else np.zeros(len(table), dtype=bool)
    for k in range(table.shape[1]):
        if not found.any():
            return found
        found[found] = _is_empty(table.iloc[found.nonzero()[0], k])
    return found


def _headers(table: pd.DataFrame) -> Mask:
    """The rows ``[N]`` whose every cell is the name of its column, as where files were put behind each other."""
    found: Mask = np.full(len(table), fill_value=table.shape[1] > 1)
    for k, name in enumerate(table.columns):
        if not found.any() or not are_objects(table.iloc[:, k]):
            return np.zeros(len(table), dtype=bool)
        cells = table.iloc[found.nonzero()[0], k].map(lambda cell: cell.strip() if isinstance(cell, str) else None)
        found[found] = (cells == str(name).strip()).to_numpy(dtype=bool)
    return found


def _is_empty(cells: pd.Series[Any]) -> Mask:
    blank = cells.map(lambda cell: isinstance(cell, str) and not cell.strip()).astype(bool)
    return np.asarray(cells.isna() | blank, dtype=bool)


def _summed(table: pd.DataFrame) -> list[str]:
    """The columns whose last cell is the sum of the others, where every number of the last row is; empty: one is not.

    A row of sums says so, or lacks what the others have: a cell is empty that nearly all others of its column fill. Or
    it is the sum in two columns.
    """
    if len(table) <= _FEWEST:
        return []
    found, lacking, said = [], list[int](), False
    for k in range(table.shape[1]):
        column = table.iloc[:, k]
        cell = column.iloc[-1:]
        if _is_empty(cell)[0]:
            lacking.append(k)
        elif isinstance(cell.iloc[0], str) and cell.iloc[0].strip().rstrip(":").casefold() in _WORDS:
            said = True
        elif not pd.api.types.is_bool_dtype(column) and not np.isnan(_numbers(cell)).any():
            if not _is_sum(column):
                return []
            found.append(str(table.columns[k]))
    if said or len(found) > 1 or any(1 - _is_empty(table.iloc[:-1, k]).mean() >= _FILLED for k in lacking):
        return found
    return []


def _numbers(column: pd.Series[Any]) -> Floats:
    """A column as numbers ``[N]``; dates, lists and the like are none."""
    if pd.api.types.is_numeric_dtype(column) or are_objects(column):
        return numbers(column)
    return np.full(len(column), np.nan)


def _is_sum(column: pd.Series[Any]) -> bool:
    """Whether the last number is the sum of all others, of which enough are not 0."""
    values = _numbers(column)
    if not (np.isfinite(values) | missing(column).to_numpy(dtype=bool)).all():
        return False
    above = np.nan_to_num(values[:-1])
    return bool(np.count_nonzero(above) >= _FEWEST and np.isclose(values[-1], above.sum(), rtol=1e-6, atol=0))


def short(table: pd.DataFrame, text: str, delimiter: str) -> list[str]:
    """A sentence on rows with fewer cells than the header, where there are any: what they lack is read as empty.

    Args:
        table: as it was read.
        text: what it was read from.
        delimiter: of the columns.
    """
    if table.shape[1] < 2 or not missing(table.iloc[:, -1]).any():  # a short row lacks the last cell at least
        return []
    rows = (cells for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if cells)
    found = [(row, len(cells)) for row, cells in enumerate(rows, -1) if len(cells) < table.shape[1]]
    if not found:
        return []
    row, count = found[0]
    return [
        f"{counted(len(found), 'row has', 'rows have')} fewer cells than the header, and what they lack counts as "
        f"empty, the first in row {row} ({count} of {table.shape[1]}): is a cell missing in between, or a line broken? "
        "Then correct the file"
    ]


def swallowed(table: pd.DataFrame, delimiter: str) -> list[str]:
    """A sentence on cells that hold whole rows, where there are any: a quote was opened before them and not closed.

    Args:
        table: as it was read.
        delimiter: of the columns.
    """
    broken = {k: cells[cells.map(_has_lines)] for k in range(table.shape[1]) if are_objects(cells := table.iloc[:, k])}
    if not any(map(len, broken.values())):
        return []
    tests = [test for k in range(table.shape[1]) if (test := _test(table.iloc[:, k], k)) is not None]
    found, first = 0, None
    for cells in broken.values():
        for row, cell in cells.items():
            lines = [line for line in cell.split("\n")[1:] if _is_row(line, delimiter, table.shape[1], tests)]
            found += len(lines)
            first = (row, lines[0]) if lines and first is None else first
    if first is None:
        return []
    return [
        f"{found:,} lines that look like rows lie within cells, the first in row {first[0]} ({first[1][:60]!r}): is a "
        "quote opened before them and not closed? Then these rows are lost, so correct the file"
    ]


def _has_lines(cell: Any) -> bool:
    return isinstance(cell, str) and "\n" in cell


def _test(cells: pd.Series[Any], place: int) -> Callable[[list[str]], bool] | None:
    """What tells whether a field may be of this column: it is a number, or one of a few names; None: any may be."""
    if pd.api.types.is_numeric_dtype(cells):
        return lambda fields: not fields[place] or pd.notna(pd.to_numeric(fields[place], errors="coerce"))
    names = {cell.strip() for cell in cells if isinstance(cell, str) and not _has_lines(cell)}
    few = len(names) <= min(_NAMES, max(len(cells) // 2, 2))
    return (lambda fields: fields[place].strip() in names) if few else None


def _is_row(line: str, delimiter: str, width: int, tests: list[Callable[[list[str]], bool]]) -> bool:
    try:
        (fields,) = csv.reader([line], delimiter=delimiter)
    except (csv.Error, ValueError):
        return False
    return bool(tests) and len(fields) == width and all(test(fields) for test in tests)
