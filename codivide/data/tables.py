"""Tables in files, and what their columns hold."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from codivide.core.errors import InputError, either, option
from codivide.core.files import CLEANED, unguard, unguarded
from codivide.core.types import Labels
from codivide.data import annotators
from codivide.data.cache import Entry
from codivide.data.cells import are_objects
from codivide.data.columns import Columns
from codivide.data.database import is_database, read_database
from codivide.data.groups import numbered
from codivide.data.images import on_disk
from codivide.data.labels import HELD_OUT, missing_texts, warn_about_unused
from codivide.data.options import DEFAULT, MULTILABEL, ReadOptions
from codivide.data.table_columns import (
    TEXT_COLUMNS,
    feature_names,
    listed,
    said_of_written,
    with_label,
    with_usual_names,
)
from codivide.data.table_files import folder_parts, kind_of, read_file, read_folder
from codivide.data.targets import listed_labels, several_columns

GUARDED_COLUMNS = ("label", "true_label", "id")  # in CSV files that were written for spreadsheets, see ``files.guard``
_TEXTS = (".csv", ".tsv")


def read_table(path: Path | str, options: ReadOptions = DEFAULT) -> pd.DataFrame:
    """A table of any format with its labels and texts as text (missing: None or empty) and other numbers as numbers.

    The apostrophe with which a CSV file keeps a spreadsheet from taking a label or an id for a formula is taken away.

    Args:
        path: the file, a folder of parts, or ``sqlite:///file.db?table=name``.
        options: its ``label`` is called "label" in what is returned; ``annotators`` are columns of labels, and
            ``group`` is read as text. So are columns that had points between thousands where the encoder was fitted.

    Returns:
        At least one row; ``asked.said_of`` tells how it was read.

    Raises:
        InputError: the file cannot be parsed, or has no rows.
    """
    asked = (*options.annotators, options.label, options.text or "text", options.group or "label")
    asked += options.encoder.pointed if isinstance(options.encoder, Columns) else ()
    named = {name.casefold() for name in (*TEXT_COLUMNS, *asked)}

    def as_text(columns: list[str]) -> set[str]:
        """Columns that are named, and those of annotators where there is no column of labels."""
        one_each = options.label.casefold() not in {name.strip().casefold() for name in columns}
        return {
            name
            for name in columns
            if name.strip().casefold() in named or (one_each and name.strip().startswith(annotators.PREFIX))
        }

    return with_names(_read(path, as_text, several=options.task == MULTILABEL), path, options)


def with_names(table: pd.DataFrame, path: Path | str, options: ReadOptions) -> pd.DataFrame:
    """A table as it was read, with its labels called "label" and the other usual columns as they are looked for.

    Raises:
        InputError: it has no rows, or two columns of one name.
    """
    cleaned = Path(path).name == CLEANED
    table = _unguarded(table) if cleaned else table
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise InputError(
            f"{path} has more than one column {twice!r} (white space around a name does not count): rename one"
        )
    table = listed_labels(several_columns(table, options, path), options)
    table = with_usual_names(with_label(table, path, options))
    for name in GUARDED_COLUMNS if kind_of(Path(path))[0] in _TEXTS and not cleaned else ():
        if name in table:
            table[name] = table[name].map(unguard, na_action="ignore")
    if len(table) == 0:
        raise InputError(f"{path} has no rows")
    return table


def as_written(path: Path | str | None) -> pd.DataFrame | None:
    """The cells of a CSV file as it writes them, all as text; None where a path leads to something else.

    Numbers lose something when they are read: the zero before a post code, the last digits of a long id.
    """
    if path is None or is_database(path) or kind_of(Path(path))[0] not in _TEXTS or not Path(path).is_file():
        return None
    table = read_file(Path(path), set)
    table = _unguarded(table) if Path(path).name == CLEANED else table
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    return table


def _unguarded(table: pd.DataFrame) -> pd.DataFrame:
    """A table that ``clean`` wrote without the apostrophes of its cells and names."""
    texts = [name for name in table if are_objects(table[name])]
    found = table.assign(**{str(name): cells for name, cells in unguarded(table[texts]).items()})
    found.columns = pd.Index([unguard(str(name)) for name in found])
    return found


def _read(path: Path | str, as_text: Callable[[list[str]], set[str]], *, several: bool) -> pd.DataFrame:
    if isinstance(path, str) and is_database(path):
        return read_database(path)
    path = Path(path)
    return read_folder(path, as_text) if folder_parts(path) else read_file(path, as_text, several=several)


def table_labels(column: pd.Series[Any], *, keep_na: bool = False) -> list[Any]:
    """A column of labels: whole numbers where every text is one, as written otherwise; None where empty.

    "3.0" counts as one where a label is missing: pandas writes whole numbers so only to hold NaN among them.
    """
    values: list[Any] = column.astype(object).where(column.notna(), None).tolist()
    texts = [value.strip() for value in values if isinstance(value, str)]
    numbers = [text for text in texts if text not in missing_texts(keep_na=keep_na)]
    end = ".0" if len(numbers) < len(values) and all(text.endswith(".0") for text in numbers) else ""
    if not numbers or not all(_is_whole(text.removesuffix(end)) for text in numbers):
        return values
    return [_number(value, end) for value in values]


def _number(value: Any, end: str) -> Any:
    """The number that a text writes, without an ``end``; anything else as it is."""
    if not isinstance(value, str):
        return value
    text = value.strip().removesuffix(end)
    return int(text) if _is_whole(text) else text


def _is_whole(text: str) -> bool:
    """Whether a text is how Python writes an integer (so "007" stays a name)."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 19 and str(int(text)) == text


def split_column(table: pd.DataFrame, path: Path) -> list[str]:
    """``train``, ``test`` or ``unused`` for each row."""
    if "split" not in table:
        return ["train"] * len(table)
    names = [str(value or "train").strip().casefold() for value in table["split"].tolist()]
    for row, name in enumerate(names):
        if name not in ("train", *HELD_OUT):
            raise InputError(f"{path}: row {row} (line {row + 2}) has split {name!r}; use train, test or val")
    if "train" not in names:
        raise InputError(f"{path} has no row of split 'train'")
    held_out = [name for name in HELD_OUT if name in names]
    warn_about_unused(path, held_out[1:])
    return ["test" if name in held_out[:1] else "unused" if name != "train" else name for name in names]


def manifest_entries(table: pd.DataFrame, path: Path) -> list[Entry]:
    """The image files of a manifest, in its order.

    Raises:
        InputError: an empty path, or one that comes twice; it names the rows. Or no file is there.
    """
    entries: list[Entry] = []
    seen: dict[Path, int] = {}
    for row, value in enumerate(table["path"].tolist()):
        value = os.fspath(value) if isinstance(value, Path) else value
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{path}: row {row} (line {row + 2}) has no path")
        name = value.replace("\\", "/") if os.sep == "\\" else value
        place = on_disk(path.parent, name)
        if (first := seen.setdefault(place, row)) != row:  # "a.png" and "./a.png" are one file
            also = "" if entries[first].id == name else f" (as {entries[first].id!r})"
            raise InputError(f"{path}: {name!r} comes twice, in rows {first}{also} and {row}; a sample needs one row")
        entries.append(Entry(name, place))
    if not any(os.path.lexists(entry.path) for entry in entries):
        raise InputError(
            f"{path}: none of its {len(entries):,} files is there; the first is looked for as "
            f"{entries[0].path.absolute()}, since paths are relative to {path.parent.absolute()}"
        )
    return entries


def take_groups(
    table: pd.DataFrame, path: Path, name: str | None, *, needed: bool
) -> tuple[pd.DataFrame, Labels | None]:
    """The table without its column of groups, and a number ``[N]`` for each value of it (see ``data.groups``).

    Args:
        table: with one row a sample.
        path: for the message.
        name: of the column; None: there is none.
        needed: whether the column must be there.

    Raises:
        InputError: it is not there, or has another meaning.
    """
    if name is None or (name not in table and not needed):
        return table, None
    if name in TEXT_COLUMNS:
        named = either(f"--group {name}", f"groups={name!r}")
        raise InputError(f"{named}: this column has a meaning of its own; name one that says what belongs together")
    if name not in table:
        raise InputError(f"{path} has no column {name!r} of groups (columns: {listed(table)})")
    return table.drop(columns=name), numbered(table[name])


def feature_ids(table: pd.DataFrame) -> list[str | int]:
    """The column ``id``, where it names every row and no two alike; else row numbers."""
    return table["id"].tolist() if "id" in table and not _nameless(table).any() else list(range(len(table)))


def said_of_ids(table: pd.DataFrame) -> list[str]:
    """A sentence on ids that name no rows, where there are any."""
    if "id" not in table or "path" in table or not (again := _nameless(table)).any():
        return []
    text = (
        f"{int(again.sum()):,} ids come again or are missing (the first in row {int(again.to_numpy().argmax())}), so "
    )
    named = either("--group", "groups=")
    return [f"{text}rows are named by their numbers; if an id says what belongs together, {named} names its column"]


def _nameless(table: pd.DataFrame) -> pd.Series[bool]:
    """The rows ``[N]`` whose id is missing or that of an earlier row."""
    found: pd.Series[bool] = table["id"].duplicated() | table["id"].isna() | (table["id"] == "")
    return found


def feature_columns(table: pd.DataFrame, path: Path, options: ReadOptions = DEFAULT) -> pd.DataFrame:
    """The columns to learn from.

    Raises:
        InputError: there is none.
    """
    names = feature_names(table, options)
    if not names:
        if found := said_of_written(table, options):
            raise InputError(f"{path} has no column to learn from: {found[0]}. Put the labels beside the features")
        raise InputError(
            f"{path} has neither a column 'path' or 'text' nor other columns to learn from (columns: {listed(table)}; "
            f"{option('text')} names the column of texts)"
        )
    return table[names]
