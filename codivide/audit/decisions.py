"""Decisions of people in a SQLite file: saved at once, never overwritten, the last one of a sample counts."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from codivide.core.errors import InputError
from codivide.core.files import is_present
from codivide.data import corrections
from codivide.data.corrections import Correction

FILE = "decisions.sqlite"
_TABLE = """
create table if not exists decisions (
    number integer primary key autoincrement,  -- the order in which they came
    id text not null, given text not null,
    decision text,  -- null: what was decided before is undone
    label text not null, time text not null
)
"""
_LAST = """
select id, given, decision, label, time from decisions
where number in (select max(number) from decisions group by id) and decision is not null order by number
"""


class Decisions:
    """A growing history of decisions; several threads and processes may write to one file.

    A write that has returned survives a kill and a power cut: it is in the write-ahead log, flushed to the disk.

    Args:
        path: the file, made if it is not there.

    Raises:
        InputError: the file is no such history, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._file = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._file.execute("pragma journal_mode = wal")
            self._file.execute("pragma synchronous = full")
            self._file.execute(_TABLE)
            self._file.execute(_LAST)
        except sqlite3.Error as error:
            raise InputError(f"{path} cannot be used: {error}") from None

    def save(self, id: str, given: str, decision: str | None, label: str) -> Correction | None:
        """Add a decision, or with ``decision`` None the undoing of one; what was added, None for an undoing."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._lock:
            self._file.execute(
                "insert into decisions (id, given, decision, label, time) values (?, ?, ?, ?, ?)",
                (id, given, decision, label, time),
            )
        return None if decision is None else Correction(id, given, decision, label, time)

    def current(self) -> list[Correction]:
        """The last decision of every sample that has one, the latest at the end."""
        with self._lock:
            return [Correction(*row) for row in self._file.execute(_LAST).fetchall()]

    def history(self) -> set[tuple[str, str, str, str | None]]:
        """Id, given label, decision and final label of every decision that was ever made, undone ones too."""
        with self._lock:
            rows = self._file.execute("select id, given, decision, label from decisions where decision is not null")
            return {_key(Correction(*row)) for row in rows.fetchall()}

    def close(self) -> None:
        """Fold the log into the file."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def export(decisions: Decisions, path: Path) -> int:
    """Write the current decisions to ``corrections.csv``; nothing is written where there are none.

    Returns:
        How many there are.

    Raises:
        InputError: the file is there and holds decisions that were never made in this history, or cannot be read; it
            stays as it is.
    """
    rows = decisions.current()
    if is_present(path):
        history = decisions.history()
        foreign = [row for row in corrections.read(path).rows if _key(row) not in history]
        if foreign:
            raise InputError(
                f"{path} holds {len(foreign)} decisions that {FILE} does not have (the first is of {foreign[0].id!r}), "
                "so it is not replaced; move it away first"
            )
    if rows:
        corrections.write(path, rows)
    return len(rows)


def _key(row: Correction) -> tuple[str, str, str, str | None]:
    return row.id, row.given, row.decision, row.final
