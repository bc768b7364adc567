"""A title above the header of a table of text, as reports and spreadsheets write it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import NamedTuple

_LINES = 50  # that are looked at
_FEWEST_EMPTY = 2  # cells beside the only one that is filled, so that a line is a title and no header


class Title(NamedTuple):
    """Lines above the header.

    Attributes:
        text: what the first of them says.
        header: the line of the header, counted from 1.
        delimiter: what divides the columns from there on.
        sure: whether the header can be told from the rows below it.
    """

    text: str
    header: int
    delimiter: str
    sure: bool

    @property
    def above(self) -> str:
        """The lines of the title, for a message."""
        return "line 1" if self.header == 2 else f"lines 1 to {self.header - 1}"

    def without(self, text: str) -> str:
        """The text of the table without its title."""
        lines = list(io.StringIO(text, newline=""))
        return "".join(lines[self.header - 1 :])


def title_of(head: str, delimiters: Iterable[str]) -> Title | None:
    """The title of a table, from the beginning of its text; None: the first line is the header.

    A title has one cell where all lines below have several, of which the first is full and no cell of it comes twice.
    That this one is the header is sure where it holds no number, and some column below holds nothing else.

    Args:
        head: the first lines, all of them whole.
        delimiters: what may divide the columns, the likeliest first.
    """
    for delimiter in delimiters:
        try:
            found = _title(head, delimiter)
        except csv.Error:
            continue
        if found is not None:
            return found
    return None


def _title(head: str, delimiter: str) -> Title | None:
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
    above, rows, line = list[list[str]](), list[list[str]](), 0
    for row in reader:
        one = sum(cell != "" for cell in row) < 2
        if not rows and (not row or one):
            above += [row] if row else []
            line = reader.line_num
        elif row and len(rows) < _LINES:
            rows.append(row)
    if not above or len(rows) < 2 or len({len(row) for row in rows}) > 1:
        return None
    names, width = [cell.strip() for cell in rows[0]], len(rows[0])
    alone = all(len(row) == 1 or (row[0] and len(row) == width > _FEWEST_EMPTY) for row in above)
    if not alone or not all(names) or len(set(names)) < width:
        return None
    below = list(zip(*rows[1:], strict=True))
    sure = not any(map(_is_number, names)) and any(all(map(_is_number, column)) for column in below)
    bare = all(len(row) == 1 for row in above)
    if bare and not sure and delimiter != ",":  # it may be one column of texts that hold semicolons
        return None
    return Title(above[0][0].strip(), line + 1, delimiter, sure)


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True
