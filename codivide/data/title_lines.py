"""A title above the header of a table of text or of a sheet, as reports and spreadsheets write it."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from codivide.data.units import is_nothing

LOOKED = 50  # lines below a header that are looked at
_AGAIN = 4  # times that a column says each of its words, on average, so that another is surely none of them
_FEWEST_EMPTY = 2  # cells beside the only one that is filled, so that a line is a title and no header


class Title(NamedTuple):
    """Lines above the header.

    Attributes:
        text: what the first of them says.
        header: the line of the header, counted from 1.
        delimiter: what divides the columns from there on; "" in a sheet.
        sure: whether the header can be told from the rows below it.
    """

    text: str
    header: int
    delimiter: str
    sure: bool

    def above(self, line: str = "line") -> str:
        """The lines of the title, for a message; ``line`` is what they are called."""
        return f"{line} 1" if self.header == 2 else f"{line}s 1 to {self.header - 1}"

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
            found = _title(_lines(head, delimiter), delimiter)
        except csv.Error:
            continue
        if found is not None:
            return found
    return None


def comments_above(head: str, delimiters: Iterable[str]) -> int:
    r"""How many lines above the header of a table are comments that begin with ``#``; 0 where that is not sure.

    The first line without ``#`` has to have as many cells as all below. The last one with it is no comment but the
    header, such as ``#id,age,label``, where it has as many, unless it holds a number and the line below can be told for
    the header.

    Args:
        head: the first lines, all of them whole.
        delimiters: what may divide the columns, the likeliest first.

    Example:
        >>> comments_above("# made by hand, in May, again\n# beta\nage,label\n41,a\n28,b\n", ",")
        2
    """
    lines = list(io.StringIO(head, newline=""))  # a text may hold other marks that end a line of Unicode
    count = next((k for k, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    if not any(line.startswith("#") for line in lines[:count]):
        return 0
    for delimiter in delimiters:
        try:
            rows = [row for _, row in zip(range(LOOKED), csv.reader(lines[count:], delimiter=delimiter), strict=False)]
            last = next(csv.reader([lines[count - 1]], delimiter=delimiter), [])
        except csv.Error:
            continue
        rows = [row for row in rows if row]
        if len(rows) < 2 or len(rows[0]) < 2 or len({len(row) for row in rows}) > 1:
            continue
        below = list(zip(*rows[1:], strict=True))
        sure = not any(map(_is_number, rows[0])) and any(map(_are_numbers, below))
        if len(last) != len(rows[0]) or (sure and any(map(_is_number, last))):
            return count
        above = (next(csv.reader([line], delimiter=delimiter), []) for line in lines[: count - 1])
        return 0 if any(len(row) == len(last) for row in above) else count - 1
    return 0


class Below(NamedTuple):
    """Lines at the end of a table that begin with ``#``.

    Attributes:
        comments: those that are no rows.
        doubtful: those that are read as rows, though a cell surely does not belong to its column (``#61`` to numbers),
            or though they are comments, since a row stands below them.
    """

    comments: list[str]
    doubtful: list[str]


def comments_below(text: str, delimiter: str) -> Below:
    r"""The lines at the end of a table that are comments: they begin with ``#`` and are no row of several columns.

    Such a line has one cell, or more than the header, or a cell that its column surely does not hold. The last is asked
    where no row above begins so (with or without a blank after the sign), and where the line is not written as a row:
    with all cells, without a blank after the sign or before a cell, and one cell that its column holds. Of a table of
    one column no comment is told from a row, and none is where a quote may have been opened above it.

    Args:
        text: the table from its header on.
        delimiter: what divides the columns.

    Example:
        >>> comments_below("age,label\n41,a\n28,b\n# end of file\n", ",").comments
        ['# end of file\n']
        >>> comments_below("age,label\n41,a\n28,b\n# made by hand, in May\n", ",").comments
        ['# made by hand, in May\n']
        >>> comments_below("age,label\n41,a\n28,b\n#61,a\n", ",")
        Below(comments=[], doubtful=['#61,a\n'])
    """
    width = len(next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), []))
    found, end = list[str](), len(text)
    while width > 1 and end:
        start = max(text.rfind(mark, 0, end - 1) for mark in "\n\r") + 1
        line = text[start:end]
        if line.strip() and (not start or not line.startswith("#") or '"' in line):
            break
        found.append(line)
        end = start
    found.reverse()
    like_rows = [k for k, line in enumerate(found) if 1 < line.count(delimiter) + 1 <= width]
    doubtful = list[str]()
    if like_rows:
        above = text[:end]
        columns = _columns(above, delimiter)
        used = {mark for mark in ("#", "# ") if f"\n{mark}" in above}
        told = {k: _fit(found[k], columns, delimiter) for k in like_rows if _sign(found[k]) not in used}
        rows = [k for k in like_rows if k not in told or told[k].is_row]
        last = max(rows, default=-1)
        sure = {k for k in rows if k not in told or not told[k].strange}
        between = [k for k, line in enumerate(found[: last + 1]) if line.strip() and k not in sure]
        doubtful = [found[k] for k in between if _sign(found[k]) not in used]  # a comment above a row is read, too
        found = found[last + 1 :]
    return Below(found if any(line.strip() for line in found) else [], doubtful)


def _columns(text: str, delimiter: str) -> list[tuple[str, ...]]:
    """The columns of the first and last rows of a table; none where these differ in length."""
    lines = (line for line in io.StringIO(text, newline="") if line.strip())
    next(lines, None)  # the header
    some = [*islice(lines, LOOKED), *deque(lines, LOOKED)]
    try:
        rows = list(csv.reader(some, delimiter=delimiter))
    except csv.Error:
        return []
    if len({len(row) for row in rows}) != 1:
        return []
    return list(zip(*rows, strict=True))


def _sign(line: str) -> str:
    """How a line with ``#`` begins: with a blank after it, as comments mostly do, or without."""
    return "# " if line.startswith("# ") else "#"


class _Fit(NamedTuple):
    is_row: bool
    strange: bool  # a cell surely does not belong to its column


def _fit(line: str, columns: Sequence[Sequence[str]], delimiter: str) -> _Fit:
    """Whether a line that begins with ``#`` is a row of these columns.

    It is none where a cell surely does not belong to its column. That is a word where all others are numbers. Or it is
    what is never said where the same few words are said again and again, and a blank is in front of it as in a
    sentence, but of none of these: else it may be a new class or place. The first cell counts where a blank follows the
    sign: ``#12`` may be meant for a number.
    """
    cells = next(csv.reader([line], delimiter=delimiter))
    strange = [_is_strange(cell, column) for cell, column in zip(cells, columns, strict=False)]
    plain = _sign(line) == "#"
    if not any(strange[1 if plain else 0 :]):
        return _Fit(is_row=True, strange=any(strange))
    tight = plain and len(cells) == len(columns) and not any(cell.startswith(" ") for cell in cells)
    held = any(_is_held(cell, column) for cell, column in zip(cells[1:], columns[1:], strict=False))
    return _Fit(is_row=tight and held, strange=True)


def _is_held(cell: str, column: Sequence[str]) -> bool:
    """Whether a cell that is filled is what its column holds: one of the same words, or a number among numbers."""
    return bool(cell.strip()) and (cell in column or (_is_number(cell) and _are_numbers(column)))


def _is_strange(cell: str, column: Sequence[str]) -> bool:
    """Whether a column surely does not hold a cell: all others are numbers, or the same few words without a blank."""
    if not cell.strip() or is_nothing(cell) or _is_number(cell):
        return False
    names = {each.strip() for each in column}
    prose = cell.startswith((" ", "# ")) and not any(each.startswith(" ") for each in column)
    few = prose and len(names) * _AGAIN <= len(column) and cell.strip() not in names
    return few or _are_numbers([each.strip() for each in column if not is_nothing(each)])


def title_of_rows(rows: Iterable[Sequence[str]]) -> Title | None:
    """The title of a sheet; of two columns only where the header below it is sure.

    Args:
        rows: of cells, all of the same width, "" where a cell is empty.

    Example:
        >>> title_of_rows([["Sales", ""], ["", ""], ["age", "label"], ["41", "a"], ["28", "b"]]).header
        3
    """
    return _title(((number, list(row) if any(row) else []) for number, row in enumerate(rows, 1)), "")


def _lines(head: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a text, each with its last line."""
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
    return ((reader.line_num, row) for row in reader)


def _title(lines: Iterable[tuple[int, list[str]]], delimiter: str) -> Title | None:
    above, rows, last = list[list[str]](), list[list[str]](), 0
    for number, row in lines:
        one = sum(cell != "" for cell in row) < 2
        if not rows and (not row or one):
            above += [row] if row else []
            last = number
        elif row and len(rows) < LOOKED:
            rows.append(row)
    if not above or len(rows) < 2 or len({len(row) for row in rows}) > 1:
        return None
    names, width = [cell.strip() for cell in rows[0]], len(rows[0])
    below = list(zip(*rows[1:], strict=True))
    sure = not any(map(_is_number, names)) and any(map(_are_numbers, below))
    few = _FEWEST_EMPTY - (sure and not delimiter)  # the rows of a sheet are all of its width
    alone = all(len(row) == 1 or ((row[0] or not delimiter) and len(row) == width > few) for row in above)
    if not alone or not all(names) or len(set(names)) < width:
        return None
    bare = all(len(row) == 1 for row in above)
    if bare and not sure and delimiter != ",":  # it may be one column of texts that hold semicolons
        return None
    return Title(next(filter(None, above[0])).strip(), last + 1, delimiter, sure)


def _are_numbers(column: Sequence[str]) -> bool:
    """Whether the cells of a column that are filled are numbers, and some are."""
    filled = [cell for cell in column if cell]
    return bool(filled) and all(map(_is_number, filled))


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True
