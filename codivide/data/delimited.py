"""Tables of text, such as CSV: their delimiter, decimal commas, and what stands above the header and below the rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pandas as pd

from codivide.core.errors import InputError
from codivide.data.asked import Asked, decode
from codivide.data.commas import COMMAS_IN_WORDS, commas_of, is_pointed, pointed
from codivide.data.odd_rows import short, swallowed
from codivide.data.title_lines import comments_above, comments_below, title_of

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SAMPLE = 64 * 1024  # characters that the delimiter is sought in
_LINES = 50
_CELLS = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")  # as pandas says it
_QUOTE = re.compile(r"EOF inside string starting at row (\d+)")
_SEPARATOR = re.compile(r"\A\"?sep=.\"?\r?\n", re.I)  # a line for Excel


def delimiter_of(text: str) -> str:
    """What stands between the columns: that which gives all lines as many fields as the header, a comma if it does."""
    head = text[:_SAMPLE]
    fitting: dict[str, int] = {}
    header: dict[str, int] = {}
    for one in _DELIMITERS:
        try:
            sizes = [len(row) for row in _records(head, one, whole=len(text) <= _SAMPLE)]
        except csv.Error:
            continue
        header[one] = sizes[0] if sizes else 1
        if len(set(sizes)) == 1 and sizes[0] > 1:
            fitting[one] = sizes[0]
    if "," in fitting or not (fitting or header):
        return ","
    best = max(fitting or header, key=(fitting or header).__getitem__)
    return best if (fitting or header)[best] > 1 else ","


def _records(head: str, delimiter: str, *, whole: bool) -> Iterator[list[str]]:
    """The first records that are whole; blank lines are none."""
    rows = [row for row in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter) if row]
    return iter(rows[:_LINES] if whole or len(rows) > _LINES else rows[: max(len(rows) - 1, 1)])


def _without_title(text: str, asked: Asked) -> str:
    """The text from its header on; what is left out is said.

    Raises:
        InputError: a title, but the header cannot be told.
    """
    head = text[:_SAMPLE]
    head = head if len(text) <= _SAMPLE else head[: head.rfind("\n") + 1]
    if text.startswith("#") and (count := comments_above(head, _DELIMITERS)):
        lines = list(io.StringIO(head, newline=""))
        asked.said.append(_of_comments(count, "above the header", lines[0]))
        return text[sum(map(len, lines[:count])) :]
    likely = delimiter_of(text)  # a comma also where the first line holds nothing that divides it
    title = title_of(head, _DELIMITERS if likely == "," else likely)
    if title is None:
        return text
    if not title.sure:
        raise InputError(
            f"{asked.path}: line 1 has one cell ({title.text[:60]!r}) and those from line {title.header} on have "
            f"several. If it is a title, delete what is above line {title.header}; if it is the header, put quotes "
            f"around cells that hold {_DELIMITERS[title.delimiter]}"
        )
    asked.said.append(
        f"{title.above()} left out as a title ({title.text[:60]!r}): the header is in line {title.header}"
    )
    return title.without(text)


def _without_comments(text: str, delimiter: str, asked: Asked) -> str:
    """The text up to its last row; what is left out is said, and what may be a comment and is not."""
    comments, doubtful = comments_below(text, delimiter)
    if doubtful:
        one = len(doubtful) == 1
        asked.said.append(
            f"{_lines(len(doubtful))} with # at the end read as {'a row' if one else 'rows'} "
            f"({doubtful[0].strip()[:60]!r}), though a cell does not fit its column: correct it, or delete "
            f"{'the line if it is a comment' if one else 'the lines if they are comments'}"
        )
    if not comments:
        return text
    told = [line for line in comments if line.strip()]
    asked.said.append(_of_comments(len(told), "at the end", told[0]))
    return text[: -sum(map(len, comments))]


def _of_comments(count: int, where: str, first: str) -> str:
    return f"{_lines(count)} with # {where} left out ({first.strip()[:60]!r})"


def _lines(count: int) -> str:
    return "1 line that begins" if count == 1 else f"{count} lines that begin"


def delimited(content: bytes, asked: Asked) -> pd.DataFrame:
    """CSV with any usual delimiter; a decimal comma counts where commas do not divide the columns."""
    whole = decode(content, asked).removeprefix("\ufeff")
    text = _without_title(_SEPARATOR.sub("", whole, count=1), asked)
    above = whole.count("\n") - text.count("\n")
    delimiter = delimiter_of(text)
    text = _without_comments(text, delimiter, asked)
    try:
        columns = [str(name) for name in pd.read_csv(io.StringIO(text), nrows=0, sep=delimiter).columns]
        _check_header(text, delimiter, asked.path)
        as_text = asked.as_text(columns)
        table = pd.read_csv(
            io.StringIO(text),
            sep=delimiter,
            dtype=dict.fromkeys(as_text, "object"),
            keep_default_na=False,
            na_values={name: ["", "nan", "NaN"] for name in columns if name not in as_text},
            low_memory=False,  # types by whole columns
        )
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise InputError(f"{asked.path}{_in_words(str(error), above)}") from error
    asked.said += short(table, text, delimiter) + swallowed(table, delimiter)
    if delimiter == ",":
        return table
    asked.said.append(f"columns are divided by {_DELIMITERS[delimiter]}")
    changed: dict[str, list[str]] = {"decimal": [], "thousands": []}
    for name in columns:
        if name not in as_text and not pd.api.types.is_numeric_dtype(table[name]):
            texts = table[name].astype(object)
            commas = commas_of(texts)
            found = pd.to_numeric(pointed(texts, commas), errors="coerce")
            if commas not in ("", "points") and found.notna().sum() == table[name].notna().sum():
                table[name] = found
                changed[commas].append(repr(name))
    if changed["decimal"]:
        read = [name for name in columns if name not in as_text and repr(name) not in changed["decimal"]]
        changed["points"] = _without_points(table, read, text, delimiter)
    for kind, what in COMMAS_IN_WORDS.items():
        if changed.get(kind):
            asked.said.append(f"numbers with {what} in {', '.join(changed[kind][:10])}")
    return table


def _check_header(text: str, delimiter: str, path: Path) -> None:
    """InputError where the first row has more cells than the header: pandas takes its first ones for an index then."""
    first = list(islice(_records(text[:_SAMPLE], delimiter, whole=len(text) <= _SAMPLE), 2))
    if len(first) == 2 and len(first[1]) > len(first[0]):
        more = f", and each line ends with one of the {_DELIMITERS[delimiter]}" if not first[1][-1] else ""
        raise InputError(
            f"{path}: lines have more fields than the header has names ({', '.join(first[0][:10])}): {len(first[1])}, "
            f"not {len(first[0])}{more}"
        )


def _in_words(error: str, above: int) -> str:
    """What is wrong with a text that pandas cannot read; ``above``: lines that were left out before it was read."""
    if cells := _CELLS.search(error):
        wanted, line, found = map(int, cells.groups())
        return (
            f": line {line + above} has {found} cells, but the lines above have {wanted} at most. Put quotes around a "
            "cell that holds what divides the columns, or mend the line"
        )
    if quote := _QUOTE.search(error):
        return f": the quote that opens at about line {int(quote[1]) + 1 + above} is never closed: close or delete it"
    return " has no rows: it is empty" if "No columns" in error else f" cannot be read: {' '.join(error.split())}"


def _without_points(table: pd.DataFrame, names: list[str], text: str, delimiter: str) -> list[str]:
    """Read the columns whose every point divides thousands as whole numbers; their names, to be said.

    Where other columns have a decimal comma, "1.234" is no 1.234. Beside "950" it would be wrong without a word.
    """
    found = []
    cells = pd.read_csv(io.StringIO(text), sep=delimiter, dtype="object", keep_default_na=False)
    for name in names:
        known = cells[name][cells[name] != ""]
        if known.str.contains(".", regex=False).any() and known.map(is_pointed).all():
            table[name] = pd.to_numeric(cells[name].str.replace(".", "").replace("", None))
            found.append(repr(name))
    return found
