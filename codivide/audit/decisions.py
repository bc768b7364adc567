"""Decisions of people in a SQLite file: saved at once, never overwritten, the last one of a sample counts."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from codivide.core.errors import InputError
from codivide.core.files import atomic, is_present
from codivide.core.words import counted
from codivide.data import corrections
from codivide.data.corrections import Correction
from codivide.runs.folder import DECISIONS

FILE = DECISIONS
_TABLE = """
create table if not exists decisions (
    number integer primary key autoincrement,  -- the order in which they came
    id text not null, given text not null,
    decision text,  -- null: what was decided before is undone
    label text not null, time text not null,
    sum text  -- a checksum of this and all before; null: of an older version
)
"""
_ALL = "select number, id, given, decision, label, time, sum from decisions order by number"
_LAST = """
select id, given, decision, label, time from decisions
where number in (select max(number) from decisions group by id) and decision is not null order by number
"""


class Overtaken(Exception):
    """What was to be undone is no longer what counts; ``current`` is."""

    def __init__(self, current: Correction) -> None:
        super().__init__(f"another decision on {current.id!r} has come since; it stays")
        self.current = current


class Decisions:
    """A growing history of decisions; several threads and processes may write to one file.

    A write that has returned survives a kill and a power cut: it is in the file, flushed to the disk. Each decision
    holds a checksum of itself and all before it, so that one that was changed or lost is noticed.

    Args:
        path: the file, made if it is not there.

    Raises:
        InputError: the file is no such history, is damaged, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        if not is_present(path):
            _make(path)
        elif not path.stat().st_size:  # SQLite takes it for a new one
            raise InputError(f"{path} is damaged: it is empty; move it away to begin again")
        with _usable(path):
            self._file = _opened(path)
            self._file.execute("pragma journal_mode = delete")  # of an older version's file: a log beside it
            if "sum" not in {row[1] for row in self._file.execute("pragma table_info(decisions)")}:
                self._file.execute(_TABLE)
                with suppress(sqlite3.OperationalError):  # it has just been made, or another process was faster
                    self._file.execute("alter table decisions add column sum text")
            self._check(path)

    def _check(self, path: Path) -> None:
        """InputError where SQLite or a checksum tells that the file is not as it was written."""
        self._file.execute("begin immediate")  # nobody writes meanwhile
        try:
            (said,) = self._file.execute("pragma integrity_check(1)").fetchone()
            rows = self._file.execute(_ALL).fetchall()
            counted = self._file.execute("select seq from sqlite_sequence where name = 'decisions'").fetchone()
        finally:
            self._file.execute("rollback")
        if said != "ok":
            raise sqlite3.DatabaseError(said)
        if (counted[0] if counted else 0) != (rows[-1][0] if rows else 0):
            raise sqlite3.DatabaseError("the last decisions are missing")
        before = ""
        for *row, written in rows:
            before = _sum(before, row)
            if written is not None and written != before:
                raise sqlite3.DatabaseError(f"decision {row[0]} is not what was written, or one before it")

    def save(
        self, id: str, given: str, decision: str | None, label: str, *, undoes: str | None = None
    ) -> Correction | None:
        """Add a decision, or with ``decision`` None the undoing of one; what was added, None for an undoing.

        Args:
            id: of the sample.
            given: its label.
            decision: what was decided; None: nothing any more.
            label: of the decision.
            undoes: the time of the decision that this takes back; None: it takes none back.

        Raises:
            Overtaken: another decision than that counts by now, such as another person's.
        """
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._lock:
            self._file.execute("begin immediate")
            try:
                if undoes is not None and (current := self._of(id)) is not None and current.time != undoes:
                    raise Overtaken(current)
                number, before = self._last()
                row = [number + 1, id, given, decision, label, time]
                self._file.execute("insert into decisions values (?, ?, ?, ?, ?, ?, ?)", (*row, _sum(before, row)))
                self._file.execute("commit")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._file.execute("rollback")
                raise
        return None if decision is None else Correction(id, given, decision, label, time)

    def _of(self, id: str) -> Correction | None:
        """The decision on a sample that counts."""
        row = self._file.execute(
            "select id, given, decision, label, time from decisions where id = ? order by number desc limit 1", (id,)
        ).fetchone()
        return None if row is None or row[2] is None else Correction(*row)

    def _last(self) -> tuple[int, str]:
        """Number and checksum of the last decision; of an older version's, computed."""
        last = self._file.execute("select number, sum from decisions order by number desc limit 1").fetchone()
        if last is None or last[1] is not None:
            return last or (0, "")
        before = ""
        for *row, _ in self._file.execute(_ALL).fetchall():
            before = _sum(before, row)
        return last[0], before

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
        """Let go of the file."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    """Turn an error of SQLite into one that names the file and says what to do."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # of damaged text, also in what SQLite says
        raise InputError(
            f"{path} cannot be used: {error}; move it away to begin again (decisions that were exported are in "
            "corrections.csv)"
        ) from None


def _opened(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    file.execute("pragma synchronous = full")
    return file


def _make(path: Path) -> None:
    """An empty history, whole or not there, so that an empty file is always a damaged one."""
    with _usable(path), atomic(path, new=True) as aside:
        made = _opened(aside)
        made.execute("pragma journal_mode = memory")  # no second file beside it
        made.execute(_TABLE)
        made.close()


def _sum(before: str, row: Sequence[object]) -> str:
    """A checksum of a decision and all before it."""
    return hashlib.sha256(json.dumps([before, *row]).encode()).hexdigest()


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
                f"{path} holds {counted(len(foreign), 'decision')} that {FILE} does not have (the first is of "
                f"{foreign[0].id!r}), so it is not replaced; move it away first"
            )
    if rows:
        corrections.write(path, rows)
    return len(rows)


def _key(row: Correction) -> tuple[str, str, str, str | None]:
    return row.id, row.given, row.decision, row.final
