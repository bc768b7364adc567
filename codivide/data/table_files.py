"""Files of tables, one line a format, and what had to be found out to read them: encoding, delimiter, decimal comma.

To add a format, write how its bytes become a data frame and its line in ``FORMATS``; every command and the estimator
read it then, compressed too.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pandas as pd
import pyarrow
import pyarrow.parquet

from codivide.core.errors import InputError
from codivide.core.files import expand_user
from codivide.data import workbook
from codivide.data.annotation_tools import read_export
from codivide.data.column_kinds import COMMAS_IN_WORDS, commas_of, pointed
from codivide.data.image_bytes import read_tar, shards
from codivide.data.odd_rows import swallowed, without_odd_rows
from codivide.data.title_lines import LOOKED, comments_above, comments_below, title_of, title_of_rows

_UNPACKED = 256 << 20  # bytes that a small compressed file may hold
_TIMES = 100  # times its own size that a larger one may

DATABASE = "sqlite:///"
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SAMPLE = 64 * 1024  # characters that the delimiter is sought in
_LINES = 50
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_SAID = "codivide.said"
_SEPARATOR = re.compile(r"\A\"?sep=.\"?\r?\n", re.I)  # a line for Excel
_POINTED = re.compile(r"\s*[+-]?([1-9]\d{0,2}(\.\d{3})+|\d+)\s*")
INDEX = re.compile(r"__index_level_\d+__")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # a folder of rows that have none
_SPLITS = ("train", "test", "validation", "valid", "val", "unlabelled", "unlabeled")


@dataclass
class Asked:
    """What a reader is told, and what it tells.

    Attributes:
        path: of the file, for messages.
        as_text: which columns are text, given all their names.
        said: what had to be found out.
    """

    path: Path
    as_text: Callable[[list[str]], set[str]]
    said: list[str] = field(default_factory=list)


Reader = Callable[[bytes, Asked], pd.DataFrame]


def read_file(path: Path, as_text: Callable[[list[str]], set[str]]) -> pd.DataFrame:
    """A table in a file of any format, which may be compressed.

    Args:
        path: the file.
        as_text: which columns are to be text, given the names of all; in the others numbers are numbers.

    Returns:
        The table; ``said_of`` tells what was found out to read it.

    Raises:
        InputError: it cannot be parsed, or a package is missing; it says what to do.
    """
    suffix, compression = kind_of(path)
    asked = Asked(path, as_text)
    try:
        content = COMPRESSIONS[compression](path) if compression else path.read_bytes()
        table = FORMATS[suffix](content, asked)
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
        raise InputError(f"{path} cannot be read: {error}") from error  # UnicodeDecodeError, ParserError: ValueErrors
    return with_said(without_odd_rows(table, asked.said), asked.said)


def kind_of(path: Path) -> tuple[str, str]:
    """The suffix of a table and that of its compression (or ""), both with a point; ("", "") of other files."""
    ends = [suffix.lower() for suffix in path.suffixes[-2:]]
    if not ends:
        return "", ""
    if ends[-1] in COMPRESSIONS:
        return (ends[0], ends[1]) if len(ends) == 2 and ends[0] in FORMATS else ("", "")
    return (ends[-1], "") if ends[-1] in FORMATS else ("", "")


def name_of(path: Path) -> str:
    """What a table is called: the name of its file without the suffixes of format and compression."""
    suffix, compression = kind_of(path)
    return path.name[: len(path.name) - len(suffix) - len(compression)] if suffix else path.stem


def is_table(path: Path | str) -> bool:
    """Whether a path ends as a table does, or names a table in a database."""
    return is_database(path) or kind_of(Path(path))[0] != ""


def with_said(table: pd.DataFrame, said: list[str]) -> pd.DataFrame:
    """The table, with sentences on how it was read."""
    table.attrs[_SAID] = [*said_of(table), *said]
    return table


def said_of(table: pd.DataFrame) -> list[str]:
    """The sentences on how a table was read."""
    return list(table.attrs.get(_SAID, ()))


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
    whole.attrs.pop(_SAID, None)
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


def is_database(source: object) -> bool:
    """Whether a source is ``sqlite:///file.db?table=name``."""
    return isinstance(source, str) and source.startswith(DATABASE)


def database(source: str) -> tuple[Path, str, bool]:
    """The file of a database, the table or the query, and whether it is a query.

    Raises:
        InputError: neither is named, or the file is not there; it names the tables.
    """
    place, _, rest = source.removeprefix(DATABASE).partition("?")
    path = expand_user(place)
    asked = {name: values[-1] for name, values in parse_qs(rest).items()}
    if not path.is_file():
        raise InputError(f"{source}: there is no file {str(path)!r}.")
    if "query" in asked:
        return path, asked["query"], True
    if "table" not in asked:
        listed = ", ".join(_tables(path)) or "none"
        raise InputError(f"{source}: name the table, {DATABASE}{path}?table=NAME (tables: {listed}).")
    return path, asked["table"], False


def absolute_database(source: str, folder: Path) -> str:
    """The same source wherever the caller stands; ``folder`` is where a relative path starts."""
    place, mark, rest = source.removeprefix(DATABASE).partition("?")
    path = expand_user(place)
    return f"{DATABASE}{(path if path.exists() else folder / path).absolute()}{mark}{rest}"


def read_database(source: str) -> pd.DataFrame:
    """A table, or the answer to a query, of an SQLite file.

    Raises:
        InputError: no such table; it names those there are.
    """
    path, asked, query = database(source)
    if not query and asked not in _tables(path):
        raise InputError(f"{path} has no table {asked!r} (tables: {', '.join(_tables(path)) or 'none'}).")
    quoted = '"' + asked.replace('"', '""') + '"'
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            return pd.read_sql_query(asked if query else f"SELECT * FROM {quoted}", connection)
        except (pd.errors.DatabaseError, sqlite3.Error) as error:
            raise InputError(f"{source} cannot be read: {error}") from error


def _tables(path: Path) -> list[str]:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")
            return [str(row[0]) for row in rows]
    except sqlite3.Error as error:
        raise InputError(f"{path} is no SQLite file: {error}") from error


def decode(content: bytes, asked: Asked) -> str:
    """Bytes as text: UTF-8, UTF-16 or, where it is neither, as Western Windows writes; it is said which."""
    for mark, name in _MARKS:
        if content.startswith(mark):
            if name == "utf-16":
                asked.said.append("read as UTF-16")
            return content.decode(name)
    head = content[:4096]
    if len(head) > 8 and head.count(0) * 3 > len(head):  # of Western texts every other byte is 0
        name = "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
        asked.said.append("read as UTF-16")
        return content.decode(name)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        if b"\0" in content:
            raise InputError(f"{asked.path} cannot be read: it holds bytes that are no text ({error})") from error
        place = error.start
    name = "cp1252"
    try:
        text = content.decode(name)
    except UnicodeDecodeError:
        name = "latin-1"
        text = content.decode(name)
    line = content.count(b"\n", 0, place) + 1
    asked.said.append(f"read as {name}, for line {line} is no UTF-8; if letters look wrong, save it as UTF-8")
    return text


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


def _of_comments(count: int, where: str, first: str) -> str:
    many = "1 line that begins" if count == 1 else f"{count} lines that begin"
    return f"{many} with # {where} left out ({first.strip()[:60]!r})"


def _delimited(content: bytes, asked: Asked) -> pd.DataFrame:
    """CSV with any usual delimiter; a decimal comma counts where commas do not divide the columns."""
    text = _SEPARATOR.sub("", decode(content, asked).removeprefix("\ufeff"), count=1)
    text = _without_title(text, asked)
    delimiter = delimiter_of(text)
    if below := comments_below(text, delimiter):
        text = text[: -sum(map(len, below))]
        told = [line for line in below if line.strip()]
        asked.said.append(_of_comments(len(told), "at the end", told[0]))
    header = pd.read_csv(io.StringIO(text), nrows=0, sep=delimiter)
    columns = [str(name) for name in header.columns]
    as_text = asked.as_text(columns)
    table = pd.read_csv(
        io.StringIO(text),
        sep=delimiter,
        dtype=dict.fromkeys(as_text, "object"),
        keep_default_na=False,
        na_values={name: ["", "nan", "NaN"] for name in columns if name not in as_text},
        low_memory=False,  # types by whole columns
    )
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes the first fields for an index then
        raise InputError(f"{asked.path}: lines have more fields than the header has names ({', '.join(columns[:10])})")
    asked.said += swallowed(table, delimiter)
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


def _without_points(table: pd.DataFrame, names: list[str], text: str, delimiter: str) -> list[str]:
    """Read the columns whose every point divides thousands as whole numbers; their names, to be said.

    Where other columns have a decimal comma, "1.234" is no 1.234. Beside "950" it would be wrong without a word.
    """
    found = []
    cells = pd.read_csv(io.StringIO(text), sep=delimiter, dtype="object", keep_default_na=False)
    for name in names:
        known = cells[name][cells[name] != ""]
        if known.str.contains(".", regex=False).any() and known.map(_POINTED.fullmatch).notna().all():
            table[name] = pd.to_numeric(cells[name].str.replace(".", "").replace("", None))
            found.append(repr(name))
    return found


def _json(content: bytes, asked: Asked) -> pd.DataFrame:
    """A list of objects, or an object of columns, or one that holds either under a single name."""
    found = json.loads(decode(content, asked))
    if (exported := read_export(found, asked.path, asked.said)) is not None:
        return exported
    if isinstance(found, dict):
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
    exported = read_export(rows, asked.path, asked.said)
    return _framed(rows, asked) if exported is None else exported


def _framed(found: Any, asked: Asked) -> pd.DataFrame:
    rows = isinstance(found, list) and all(isinstance(row, dict) for row in found)
    if not rows and not isinstance(found, dict):
        raise InputError(
            f"{asked.path} must hold objects that name the columns, such as {{'text': ..., 'label': ...}}."
        )
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


def as_pandas(values: Any) -> Any:
    """A table of another library (Arrow, polars, DuckDB) as a data frame of pandas; anything else as it is."""
    if isinstance(values, pd.DataFrame | pd.Series | pd.Index) or not hasattr(values, "__arrow_c_stream__"):
        return values
    try:
        return from_arrow(pyarrow.table(values))
    except (TypeError, ValueError):  # ArrowInvalid is one; a column alone
        return values


def from_arrow(table: Any) -> pd.DataFrame:
    """As a data frame; numbers of a class of Hugging Face become its name, -1 none."""
    index = [name for name in table.column_names if INDEX.fullmatch(name)]  # of a data frame, which no one has named
    found: pd.DataFrame = table.drop_columns(index).to_pandas(ignore_metadata=True)
    for name, names in _class_names(table.schema).items():
        if name in found and pd.api.types.is_numeric_dtype(found[name]):
            codes = found[name].tolist()
            found[name] = pd.Series([names[int(k)] if pd.notna(k) and k >= 0 else None for k in codes], dtype=object)
    return found


def _class_names(schema: Any) -> dict[str, list[str]]:
    """The names of the classes of each column, as Hugging Face's datasets keep them in the file."""
    try:
        kept = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = kept.get("info", {}).get("features", {}).items()
        return {name: list(kind["names"]) for name, kind in features if kind.get("_type") == "ClassLabel"}
    except (ValueError, AttributeError, KeyError, TypeError):
        return {}  # something else's metadata: the numbers stay


def _tar(content: bytes, asked: Asked) -> pd.DataFrame:
    return read_tar(content, asked.path, asked.said)


def _unzip(path: Path) -> bytes:
    """The only table of an archive."""
    with zipfile.ZipFile(path) as archive:
        names = [item.filename for item in archive.infolist() if not item.is_dir() and "__MACOSX" not in item.filename]
        if len(names) != 1:
            raise InputError(f"{path} holds {len(names)} files ({', '.join(names[:5])}); it must hold one table")
        with archive.open(names[0]) as file:
            return _unpacked(file, path)


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
    ".csv": _delimited,
    ".tsv": _delimited,
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
