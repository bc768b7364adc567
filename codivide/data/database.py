"""Tables and queries of SQLite files, named ``sqlite:///file.db?table=name``."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs

import pandas as pd

from codivide.core.errors import InputError
from codivide.core.files import expand_user

DATABASE = "sqlite:///"
_MAGIC = b"SQLite format 3\0"


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
        raise InputError(f"{source}: there is no file {str(path)!r}")
    if "query" in asked:
        return path, asked["query"], True
    if "table" not in asked:
        listed = ", ".join(_tables(path)) or "none"
        raise InputError(f"{source}: name the table, {DATABASE}{path}?table=NAME (tables: {listed})")
    return path, asked["table"], False


def absolute_database(source: str, folder: Path) -> str:
    """The same source wherever the caller stands; ``folder`` is where a relative path starts."""
    place, mark, rest = source.removeprefix(DATABASE).partition("?")
    path = expand_user(place)
    return f"{DATABASE}{(path if path.exists() else folder / path).absolute()}{mark}{rest}"


def is_sqlite(path: Path) -> bool:
    """Whether a file begins as those of SQLite do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def read_database(source: str) -> pd.DataFrame:
    """A table, or the answer to a query, of an SQLite file.

    Raises:
        InputError: no such table; it names those there are.
    """
    path, asked, query = database(source)
    if not query and asked not in _tables(path):
        raise InputError(f"{path} has no table {asked!r} (tables: {', '.join(_tables(path)) or 'none'})")
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
