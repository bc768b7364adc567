"""What a person decided about labels: the file ``corrections.csv``, and training data with those decisions applied.

Columns: ``id`` (path or id as in the run's label table), ``given``, ``decision``, ``label``, ``time`` (may be empty).
``accept`` and ``relabel`` give the sample ``label``, ``keep`` confirms the given one, ``junk`` leaves the sample out.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from codivide.core.errors import InputError, either, nearest, unknown
from codivide.core.files import guard, unguard, write_text
from codivide.core.types import UNLABELLED
from codivide.data.asked import Asked, decode
from codivide.data.loaded import Loaded, subset

COLUMNS = ("id", "given", "decision", "label", "time")
_WORKBOOK = (b"PK", b"\xd0\xcf\x11\xe0")  # how the files of Excel and LibreOffice begin
_NAMED = 5  # samples that are named where people decided otherwise
#: Decisions as they are given in Python: a file or a data frame, or several people's files.
Decided = str | Path | pd.DataFrame | Sequence[str | Path] | None
ACCEPT, KEEP, RELABEL, JUNK = DECISIONS = ("accept", "keep", "relabel", "junk")


@dataclass(frozen=True)
class Correction:
    """One decision, all as text.

    Attributes:
        id: path or id of the sample.
        given: the label that was decided on, empty where there was none.
        decision: one of ``DECISIONS``.
        label: the class that the sample has from now on; empty for junk, and for a kept label if you like.
        time: when, ISO 8601, or empty.
        line: where it stands in its file; not part of the decision.
        file: what the file is called; likewise.
    """

    id: str
    given: str
    decision: str
    label: str = ""
    time: str = ""
    line: int = field(default=0, compare=False)
    file: str = field(default="", compare=False)

    def agrees(self, other: Correction) -> bool:
        """Whether both come to the same, however it is called."""
        return (self.given, self.final) == (other.given, other.final)

    @property
    def final(self) -> str | None:
        """The label that the sample ends with; None: it is left out."""
        return {JUNK: None, KEEP: self.given}.get(self.decision, self.label)

    def then(self, later: Correction) -> Correction | None:
        """Both as one, where the later one was decided on the label that this one gave; None where it was not."""
        if later.given == self.given or later.given != self.final:
            return None
        decision = JUNK if later.final is None else KEEP if later.final == self.given else RELABEL
        return replace(later, given=self.given, decision=decision, label=later.final or "")

    def check(self) -> None:
        """InputError for a decision that says nothing or contradicts itself, whatever the data are."""
        if not self.id:
            raise InputError("there is no id")
        if self.decision not in DECISIONS:
            raise unknown("decision", self.decision, DECISIONS)
        if self.decision in (ACCEPT, RELABEL) and not self.label:
            raise InputError(f"{self.decision!r} of {_short(self.id)} needs a label")
        if self.decision == KEEP and not self.given:
            raise InputError(f"{_short(self.id)} has no given label to keep")
        if self.label and self.final != self.label:
            raise InputError(
                f"{self.decision!r} of {_short(self.id)} has the label {_short(self.label)}; leave it empty"
            )


@dataclass(frozen=True)
class Known:
    """What decisions are checked against: the samples of a run and its classes, as text.

    Attributes:
        given: label of each id, empty where there is none.
        classes: names of the classes.
        repeated: ids that several samples share.
        new_classes: whether a decision may name a class that is not among them.
        unfit: why a decision is no label, in words, None where it is one; of numbers and several labels a row.
    """

    given: dict[str, str]
    classes: frozenset[str]
    repeated: frozenset[str] = frozenset()
    new_classes: bool = False
    unfit: Callable[[str], str | None] | None = None

    @classmethod
    def of(
        cls, ids: Iterable[Any], given: Iterable[Any], classes: Iterable[Any], *, new_classes: bool = False
    ) -> Known:
        """From ids ``[N]``, given labels ``[N]`` (None: no label) and classes, each of any type."""
        names = [str(name) for name in ids]
        labels = ["" if label is None else str(label) for label in given]
        repeated = frozenset(name for name, count in Counter(names).items() if count > 1)
        table = dict(zip(names, labels, strict=True))
        return cls(table, frozenset(str(name) for name in classes), repeated, new_classes)

    def check(self, correction: Correction) -> None:
        """InputError for a decision that does not fit the samples."""
        correction.check()
        name, held = _short(correction.id), self.given.get(correction.id)
        if held is None:
            raise self.missing(correction.id)
        if correction.id in self.repeated:
            raise InputError(f"several samples have the id {name}; a decision needs ids that differ")
        if held != correction.given:
            was, now = (_short(label) if label else "no label" for label in (correction.given, held))
            raise InputError(f"{name} was decided on with {was}, but has {now}: the decision is of another run")
        final = correction.final
        if final is not None and final not in self.classes and not self.new_classes:
            hint = nearest(final, self.classes)
            raise InputError(f"{_short(final)} is not a class of this run; {allows_new()}.{hint}")
        if final is not None and self.unfit is not None and (said := self.unfit(final)) is not None:
            raise InputError(said)

    def missing(self, name: str, more: int = 0) -> InputError:
        """The error for an id that no sample has; a file may lie in another folder than when it was decided on.

        Args:
            name: the id.
            more: other decisions of which the same is to be said.
        """
        file = PurePosixPath(name).name
        alike = [other for other in self.given if file != name and PurePosixPath(other).name == file]
        said = f"no sample of this run has the id {_short(name)}"
        if len(alike) == 1:
            said += (
                f"; is it {_short(alike[0])} now? A file that was moved has the label of its folder: take the line out"
            )
        return InputError(f"{said} (so of {more:,} more)" if more else said)


def allows_new() -> str:
    """What lets decisions name classes that are new."""
    return either("--new-classes", "new_classes=True (of confirm, apply and clean)") + " allows new ones"


@dataclass(frozen=True)
class Corrections:
    """The decisions of one file, at most one a sample.

    Attributes:
        rows: in the order of the file.
        name: of the file, for messages and the record.
        sha256: of the file's bytes, hexadecimal.
    """

    rows: tuple[Correction, ...]
    name: str
    sha256: str

    def check(self, known: Known) -> None:
        """InputError that names file and line for the first decision that does not fit."""
        missing = sum(row.id not in known.given for row in self.rows)
        for row in self.rows:
            with _at(row.file or self.name, row.line):
                if missing > 1 and row.id not in known.given:
                    raise known.missing(row.id, missing - 1)
                known.check(row)

    def record(self) -> dict[str, Any]:
        """What a run notes: the file, its hash, how many labels were confirmed, changed and left out, and which."""
        changed = [row for row in self.rows if row.final != row.given]
        return {
            "file": self.name,
            "sha256": self.sha256,
            "confirmed": sum(row.final is not None for row in self.rows),
            "relabelled": sum(row.final is not None for row in changed),
            "junk": sum(row.final is None for row in changed),
            "changes": [
                [row.id, row.given, row.final] for row in changed
            ],  # id, label before, label after (None: junk)
        }


def read(path: Path) -> Corrections:
    """Read ``corrections.csv`` (RFC 4180) and undo the guard of its cells, also as a spreadsheet saves it.

    It may be UTF-8, UTF-16 or Western Windows text, divided by commas, semicolons or tabs, with lines of empty cells.

    Raises:
        InputError: a file that is none, a missing column, an unknown decision, a label that is missing or superfluous,
            or one id with two different decisions; it names file and line.
    """
    try:
        data = path.read_bytes()
        if data.startswith(_WORKBOOK):
            raise InputError(f"{path} is a workbook, and decisions are read from CSV alone: save it as CSV")
        text = decode(data, Asked(path, set)).removeprefix("\ufeff")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    return parse(text, str(path), hashlib.sha256(data).hexdigest())


def read_all(paths: Sequence[Path]) -> Corrections:
    """The decisions of one file or of several people, each with a file; what two say alike counts once.

    A decision on the label that another one gave, as in the next round of a review, counts in its place.

    Raises:
        InputError: as ``read``; or two files decide otherwise on a sample: it counts such samples and names the first.
    """
    files = [read(path) for path in paths]
    if len(files) == 1:
        return files[0]
    found: dict[str, Correction] = {}
    other = []
    for row in (row for file in files for row in file.rows):
        first = found.setdefault(row.id, row)
        if (both := first.then(row) or row.then(first)) is not None:
            found[row.id] = both
        elif not first.agrees(row):
            other.append((first, row))
    if other:
        shown = "; ".join(
            f"{_short(one.id)} is {_said(one, two)}, and {_said(two, one)}" for one, two in other[:_NAMED]
        )
        more = f"; and {len(other) - _NAMED:,} more" if len(other) > _NAMED else ""
        raise InputError(
            f"the files decide otherwise on {len(other):,} {'samples' if len(other) > 1 else 'sample'}: {shown}{more}. "
            "Agree on one decision of each, and take the other line out"
        )
    hashes = "".join(file.sha256 for file in files)
    return Corrections(
        tuple(found.values()), ", ".join(file.name for file in files), hashlib.sha256(hashes.encode()).hexdigest()
    )


def _said(row: Correction, other: Correction) -> str:
    """What was decided, on which label where the other decision was on another one, and where it stands."""
    given = f" for {_short(row.given) if row.given else 'no label'}" if row.given != other.given else ""
    return f"{'junk' if row.final is None else _short(row.final)}{given} in {row.file}, line {row.line}"


def from_frame(frame: pd.DataFrame) -> Corrections:
    """Decisions in a data frame with the columns of the file; messages count its rows as lines of that file."""
    cells = frame.apply(_as_whole).astype(object).where(frame.notna(), "").map(lambda cell: guard(str(cell)))
    text = cells.to_csv(index=False)
    return parse(text, "corrections", hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())


def files_of(given: Decided) -> list[Path]:
    """The files of decisions; none of a data frame."""
    if given is None or isinstance(given, pd.DataFrame):
        return []
    return [Path(given)] if isinstance(given, str | Path) else [Path(file) for file in given]


def read_corrections(given: Decided) -> Corrections | None:
    """Decisions of a person, from a file or a data frame, or of several people, each with a file."""
    if isinstance(given, pd.DataFrame):
        return from_frame(given)
    files = files_of(given)
    return read_all(files) if files else None


def _as_whole(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column of whole numbers as such, also where an empty cell has made them 1.0, 2.0, ..."""
    known = column.dropna()
    made = pd.api.types.is_float_dtype(column) and len(known) < len(column)
    return column.astype("Int64") if made and (known % 1 == 0).all() else column


def parse(text: str, name: str, sha256: str) -> Corrections:
    """The decisions in the text of a file; see ``read``."""
    found: dict[str, Correction] = {}
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    line = 1
    try:
        header = [cell.strip().casefold() for cell in next(reader, [])]
        missing = [column for column in COLUMNS[:-1] if header.count(column) != 1]
        if missing:
            raise InputError(f"{name} needs one column {missing[0]!r} (columns: {', '.join(header) or 'none'})")
        line = reader.line_num + 1
        for cells in reader:
            with _at(name, line):
                if any(cells) and len(cells) != len(header):
                    raise InputError(f"{len(cells)} cells where the first line has {len(header)}")
                if any(cells) and [cell.strip().casefold() for cell in cells] != header:  # of a file behind another
                    row = dict(zip(header, map(unguard, cells), strict=True))
                    time, decision = row.get("time", ""), row["decision"].strip().casefold()
                    new = Correction(row["id"], row["given"], decision, row["label"], time, line, name)
                    new.check()
                    old = found.setdefault(new.id, new)
                    if not old.agrees(new):
                        raise InputError(
                            f"{_short(new.id)} is {new.decision!r} here and {old.decision!r} in line {old.line}, or of "
                            "another label; a sample needs one decision"
                        )
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{name}, line {line}: {error}") from None
    return Corrections(tuple(found.values()), name, sha256)


def _delimiter(text: str) -> str:
    """What divides the columns: that by which the first line names them, else a comma."""
    first = text.lstrip().partition("\n")[0].casefold()
    named = [one for one in ",;\t" if set(COLUMNS[:-1]) <= {cell.strip(' "\r') for cell in first.split(one)}]
    return named[0] if named else ","


def table(rows: Iterable[Correction]) -> str:
    """The text of ``corrections.csv``, no cell of which a spreadsheet takes for a formula."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([guard(getattr(row, column)) for column in COLUMNS])
    return text.getvalue()


def write(path: Path, rows: Iterable[Correction]) -> None:
    """Write ``corrections.csv`` atomically."""
    write_text(path, table(rows))


def confirm(loaded: Loaded, corrections: Corrections, *, new_classes: bool = False) -> Loaded:
    """Training data with decisions applied: labels as decided and confirmed, junk left out.

    Args:
        loaded: the data as the run had them that was decided on.
        corrections: the decisions.
        new_classes: allow labels that are no class yet; they become the last classes.

    Raises:
        InputError: a decision that does not fit (it names file and line), or a new class that is no number where all
            others are.
    """
    held = [None if label < 0 else loaded.classes[label] for label in loaded.y.tolist()]
    corrections.check(Known.of(loaded.ids, held, loaded.classes, new_classes=new_classes))
    classes = _with_new(loaded.classes, corrections)
    index = {str(name): k for k, name in enumerate(classes)}
    row_of = {str(name): row for row, name in enumerate(loaded.ids)}
    y, confirmed, kept = loaded.y.copy(), np.zeros(len(loaded.y), bool), np.ones(len(loaded.y), bool)
    for decided in corrections.rows:
        row = row_of[decided.id]
        kept[row] = confirmed[row] = decided.final is not None
        y[row] = UNLABELLED if decided.final is None else index[decided.final]
    test = None if loaded.test is None else replace(loaded.test, classes=classes)
    validation = None if loaded.validation is None else replace(loaded.validation, classes=classes)
    decided_on = replace(loaded, y=y, classes=classes, confirmed=confirmed, test=test, validation=validation)
    return subset(decided_on, np.flatnonzero(kept))


def _with_new(classes: Sequence[Any], corrections: Corrections) -> tuple[Any, ...]:
    """The classes, and behind them the labels that are none yet, in the same type."""
    known = {str(name) for name in classes}
    added: dict[str, Any] = {}
    for row in corrections.rows:
        if row.final is not None and row.final not in known:
            added[row.final] = row.final
            if not all(isinstance(name, str) for name in classes):
                with _at(row.file or corrections.name, row.line):
                    added[row.final] = _whole(row.final)
    return (*classes, *added.values())


def _whole(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or str(value) != text:
        raise InputError(f"the classes are numbers, so the new class {_short(text)} must be a whole number")
    return value


@contextmanager
def _at(name: str, line: int) -> Iterator[None]:
    """Put file and line before the message of an error."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}, line {line}: {error}") from None


def _short(text: str) -> str:
    """A text from outside as it may stand in a message."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
