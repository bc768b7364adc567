"""Files of tables, one line a format.

To add a format, write how its bytes become a data frame and its line in ``FORMATS``; every command and the estimator
read it then, compressed too.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pyarrow
import pyarrow.parquet

from codivide.core.errors import InputError
from codivide.core.words import counted, first_few
from codivide.data import workbook
from codivide.data.annotation_tools import read_export
from codivide.data.arrow import from_arrow
from codivide.data.asked import Asked, decode, said_of, with_said
from codivide.data.database import is_database
from codivide.data.delimited import delimited
from codivide.data.image_bytes import read_tar, shards
from codivide.data.odd_rows import without_odd_rows
from codivide.data.title_lines import LOOKED, title_of_rows

_UNPACKED = 256 << 20  # bytes that a small compressed file may hold
_TIMES = 100  # times its own size that a larger one may

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # a folder of rows that have none
_SPLITS = ("train", "test", "validation", "valid", "val", "unlabelled", "unlabeled")


Reader = Callable[[bytes, Asked], pd.DataFrame]


def read_file(path: Path, as_text: Callable[[list[str]], set[str]], *, several: bool = False) -> pd.DataFrame:
    """A table in a file of any format, which may be compressed.

    Args:
        path: the file.
        as_text: which columns are to be text, given the names of all; in the others numbers are numbers.
        several: whether a row has any number of labels, which exports of annotation tools have as lists.

    Returns:
        The table; ``said_of`` tells what was found out to read it.

    Raises:
        InputError: it cannot be parsed, or a package is missing; it says what to do.
    """
    suffix, compression = kind_of(path)
    asked = Asked(path, as_text, several=several)
    try:
        content = COMPRESSIONS[compression](path) if compression else path.read_bytes()
        table = FORMATS[suffix](content, asked)
    except FileNotFoundError:
        raise InputError(f"there is no file {str(path)!r}") from None
    except RecursionError:
        raise InputError(f"{path} cannot be read: its objects lie too deep within each other") from None
    except (
        ValueError,
        OSError,
        EOFError,
        pyarrow.ArrowException,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
    ) as error:
        if isinstance(error, InputError):
            raise
        said = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read: {said}") from error  # UnicodeDecodeError, ParserError: ValueErrors
    return with_said(without_odd_rows(table, asked.said), asked.said)


def kind_of(path: Path) -> tuple[str, str]:
    """The suffix of a table and that of its compression (or ""), both with a point; ("", "") of other files.

    ``data.zip`` is what the only file in it is.
    """
    ends = [suffix.lower() for suffix in path.suffixes[-2:]]
    if not ends:
        return "", ""
    if ends[-1] in COMPRESSIONS:
        inner = ends[0] if len(ends) == 2 and ends[0] in FORMATS else _inside(path) if ends[-1] == ".zip" else ""
        return (inner, ends[-1]) if inner else ("", "")
    return (ends[-1], "") if ends[-1] in FORMATS else ("", "")


def _inside(path: Path) -> str:
    """The suffix of the only file of an archive, where it is that of a table; else ""."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = _members(archive)
    except (OSError, zipfile.BadZipFile):
        return ""
    suffix = Path(names[0]).suffix.lower() if len(names) == 1 else ""
    return suffix if suffix in FORMATS else ""


def name_of(path: Path) -> str:
    """What a table is called: the name of its file without the suffixes of format and compression."""
    suffix, compression = kind_of(path)
    return path.name.removesuffix(path.suffix).removesuffix(suffix) if compression else path.stem


def is_table(path: Path | str) -> bool:
    """Whether a path ends as a table does, or names a table in a database."""
    return is_database(path) or kind_of(Path(path))[0] != ""


def folder_parts(folder: Path) -> list[Path]:
    """The files of a table in parts: of a folder, of a folder for each of its splits, or of shards; empty: it is none.

    Shards are a pattern such as ``data-{000..009}.tar``.
    """
    if not folder.exists():
        return shards(folder)
    if not folder.is_dir():
        return []
    found = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith((".", "_"))]
    parts = [path for path in found if path.suffix.lower() in (".parquet", ".arrow", ".feather", ".tar")]
    others = {path.suffix.lower() for path in found} - {path.suffix.lower() for path in parts}
    return sorted(parts) if others <= {".json", ".md", ".txt", ".yaml", ""} else []


def read_folder(folder: Path, as_text: Callable[[list[str]], set[str]]) -> pd.DataFrame:
    """A table in Parquet or Arrow files; names such as ``train-00000-of-00002.parquet`` or ``test/`` give the split.

    Raises:
        InputError: a file cannot be parsed.
    """
    parts, root = folder_parts(folder), folder if folder.is_dir() else folder.parent
    tables, said = [], []
    for path in parts:
        table = read_file(path, as_text)
        above = path.relative_to(root).parts
        split = next((name for name in _SPLITS if above[0].casefold().startswith(name)), None)
        said += said_of(table)
        table = table.assign(**{name: value for name, value in _partition(above[:-1]).items() if name not in table})
        tables.append(table if split is None or "split" in table else table.assign(split=split))
    said.append(f"read from {len(parts):,} files")
    if all(path.suffix.lower() == ".tar" for path in parts):
        named = pd.concat([table["id"] for table in tables])
        if named.duplicated().any():  # every shard counts from 0
            tables = [table.assign(id=path.stem + "/" + table["id"]) for path, table in zip(parts, tables, strict=True)]
            said.append("samples of different shards share names, so that of the shard stands before each")
    whole = pd.concat(tables, ignore_index=True)
    whole.attrs.clear()  # pandas keeps what all parts say
    if named := sorted({name for path in parts for name in _partition(path.relative_to(root).parts[:-1])}):
        said.append(f"columns from the names of folders: {', '.join(map(repr, named))}")
        plain = [name for name in named if name not in as_text(named)]
        whole = whole.assign(**{name: _numbers_of(whole[name]) for name in plain})
    return with_said(whole, said)


def _partition(folders: Sequence[str]) -> dict[str, str | None]:
    """The columns that folders such as ``year=2024`` are named by, as Hive, Spark and Arrow write them."""
    pairs = (folder.partition("=") for folder in folders if "=" in folder)
    return {unquote(name): None if value == _NO_VALUE else unquote(value) for name, _, value in pairs}


def _numbers_of(column: pd.Series[Any]) -> pd.Series[Any]:
    """Texts as numbers, where all are."""
    found = pd.to_numeric(column, errors="coerce")
    return found if bool((found.notna() == column.notna()).all()) else column


def _json(content: bytes, asked: Asked) -> pd.DataFrame:
    """A list of objects, or an object of columns, or one that holds either under a single name."""
    found = json.loads(decode(content, asked))
    if (exported := read_export(found, asked.path, asked.said, several=asked.several)) is not None:
        return exported
    if isinstance(found, dict):
        if found.keys() - {"index"} == {"columns", "data"}:  # as pandas splits a table
            return _flat(pd.DataFrame(found["data"], columns=found["columns"]), asked)
        tables = [value for value in found.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        found = tables[0] if len(tables) == 1 else found
    return _framed(found, asked)


def _json_lines(content: bytes, asked: Asked) -> pd.DataFrame:
    """An object a line."""
    rows = []
    for number, line in enumerate(decode(content, asked).split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise InputError(f"{asked.path}: line {number} is no JSON: {error}") from error
    exported = read_export(rows, asked.path, asked.said, several=asked.several)
    return _framed(rows, asked) if exported is None else exported


def _framed(found: Any, asked: Asked) -> pd.DataFrame:
    rows = isinstance(found, list) and all(isinstance(row, dict) for row in found)
    if not rows and not isinstance(found, dict):
        raise InputError(f"{asked.path} must hold objects that name the columns, such as {{'text': ..., 'label': ...}}")
    return _flat(pd.DataFrame(found), asked)


def _flat(table: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """A table whose objects within objects, one level deep, have columns of their own: ``meta.age``."""
    for name in list(table.columns):
        held = table[name].dropna()
        if len(held) and held.map(lambda cell: isinstance(cell, dict)).all():
            inner = pd.DataFrame(held.tolist(), index=held.index).add_prefix(f"{name}.").reindex(table.index)
            table = table.drop(columns=name).join(inner)
            asked.said.append(f"objects of {name!r} became columns: {', '.join(map(repr, list(inner)[:10]))}")
    return table


def _excel(content: bytes, asked: Asked) -> pd.DataFrame:
    """The first sheet of a workbook."""
    if merged := workbook.check(content, asked.path, max(_UNPACKED, _TIMES * len(content))):
        asked.said.append(
            f"{len(merged):,} times cells of several rows are merged (the first: {merged[0]}): only the first cell of "
            "each holds the value, and the others are empty. Take them apart and fill them in if all rows have it"
        )
    try:
        book = pd.ExcelFile(io.BytesIO(content), engine="openpyxl")
    except ImportError as error:
        raise InputError(f"{asked.path}: Excel files need one more package: pip install openpyxl") from error
    except (KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{asked.path} is no Excel file (.xlsx): {error}") from error
    with book:
        if len(book.sheet_names) > 1:
            asked.said.append(f"read the first of {len(book.sheet_names)} sheets, {book.sheet_names[0]!r}")
        known: dict[str, Any] = {"keep_default_na": False, "na_values": [""]}
        head = pd.read_excel(book, header=None, dtype=object, nrows=2 * LOOKED, **known)
        table: pd.DataFrame = pd.read_excel(book, skiprows=_above_header(head, asked), **known)
        return table


def _above_header(head: pd.DataFrame, asked: Asked) -> int:
    """How many rows stand above the header of a sheet; of a title it is said.

    Raises:
        InputError: a title, but the header cannot be told.
    """
    rows = head.astype(object).where(head.notna(), "").astype(str).to_numpy().tolist()
    title = title_of_rows(rows)
    if title is None:
        return next((number for number, row in enumerate(rows) if any(row)), 0)
    if not title.sure:
        raise InputError(
            f"{asked.path}: row 1 has one cell ({title.text[:60]!r}) and those from row {title.header} on have several."
            f" If it is a title, delete what is above row {title.header}; if it is the header, name the other columns"
        )
    asked.said.append(
        f"{title.above('row')} left out as a title ({title.text[:60]!r}): the header is in row {title.header}"
    )
    return title.header - 1


def _parquet(content: bytes, asked: Asked) -> pd.DataFrame:
    return from_arrow(pyarrow.parquet.read_table(pyarrow.BufferReader(content)))


def _arrow(content: bytes, asked: Asked) -> pd.DataFrame:
    """An Arrow file (Feather), or a stream of one, as data sets of Hugging Face are kept."""
    source = pyarrow.BufferReader(content)
    try:
        return from_arrow(pyarrow.ipc.open_file(source).read_all())
    except pyarrow.ArrowInvalid:
        source.seek(0)
        return from_arrow(pyarrow.ipc.open_stream(source).read_all())


def _tar(content: bytes, asked: Asked) -> pd.DataFrame:
    return read_tar(content, asked.path, asked.said)


def _unzip(path: Path) -> bytes:
    """The only table of an archive."""
    with zipfile.ZipFile(path) as archive:
        names = _members(archive)
        if len(names) != 1:
            raise InputError(f"{path} {_one_table(names)}")
        with archive.open(names[0]) as file:
            return _unpacked(file, path)


def several_files(path: Path) -> str:
    """What is said of an archive that holds no file, or several; else ""."""
    if not zipfile.is_zipfile(path) or path.suffix.lower() != ".zip":
        return ""
    with zipfile.ZipFile(path) as archive:
        names = _members(archive)
    return "" if len(names) == 1 else _one_table(names)


def _one_table(names: Sequence[str]) -> str:
    return f"holds {counted(len(names), 'file')} ({first_few(names)}); it must hold one table. Unpack it first"


def _members(archive: zipfile.ZipFile) -> list[str]:
    """The files of an archive, without those that macOS adds."""
    return [item.filename for item in archive.infolist() if not item.is_dir() and "__MACOSX" not in item.filename]


def _zstandard(path: Path) -> bytes:
    with pyarrow.input_stream(str(path), compression="zstd") as stream:
        return _unpacked(stream, path)


def _opened(module: Any) -> Callable[[Path], bytes]:
    """What reads a file by ``open`` of a module of Python."""

    def read(path: Path) -> bytes:
        with module.open(path) as file:
            return _unpacked(file, path)

    return read


def _unpacked(file: Any, path: Path) -> bytes:
    """The bytes of a compressed file; InputError where they are far more than a table's can be."""
    most = max(_UNPACKED, _TIMES * path.stat().st_size)
    content = bytes(file.read(most + 1))
    if len(content) > most:
        raise InputError(
            f"{path} holds more than {most >> 20:,} MB, far more than a table of its size; unpack it first"
        )
    return content


#: Suffix of a table -> how its bytes are read.
FORMATS: dict[str, Reader] = {
    ".csv": delimited,
    ".tsv": delimited,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".xlsx": _excel,
    ".parquet": _parquet,
    ".feather": _arrow,
    ".arrow": _arrow,
    ".tar": _tar,
}

#: Suffix of a compressed file -> its bytes as they were.
COMPRESSIONS: dict[str, Callable[[Path], bytes]] = {
    ".gz": _opened(gzip),
    ".bz2": _opened(bz2),
    ".xz": _opened(lzma),
    ".zst": _zstandard,
    ".zip": _unzip,
}
