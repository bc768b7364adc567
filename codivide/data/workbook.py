"""What a workbook (``.xlsx``, a zip file of XML) would become, found before it is read.

Three kinds of small workbooks take all memory or hours of a reader: a few bytes that unpack to gigabytes, cells in the
last column of each of a million rows, and entities that stand for one another.
"""

from __future__ import annotations

import io
import re
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from codivide.core.errors import InputError

_CELLS = 10_000_000  # that any sheet may span
_TIMES = 100  # cells that a larger sheet may span for each that it names
_BLOCK = 1 << 20
_COLUMN = re.compile(r"[A-Z]{1,3}")
_RANGE = re.compile(r"[A-Z]{1,3}(\d{1,7}):[A-Z]{1,3}(\d{1,7})")


def check(content: bytes, path: Path, most: int) -> list[str]:
    """Look through a workbook without building anything of it.

    Args:
        content: of the file.
        path: of the file, for messages.
        most: bytes that it may unpack to.

    Returns:
        The ranges of merged cells over several rows below the first, such as "A2:A5": readers see the first cell alone.

    Raises:
        InputError: it unpacks to more than ``most``, spans far more cells than it names, declares entities, or is no
            workbook.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()  # a sheet may have any name
            if sum(item.file_size for item in parts) > most:  # no part yields more than it declares
                raise InputError(
                    f"{path} holds more than {most >> 20:,} MB, far more than a workbook of its size; "
                    "save the sheet as CSV, or as a new workbook"
                )
            return [merged for item in parts for merged in _look(archive, item, path)]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:  # another packing, a password
        raise InputError(f"{path} is no Excel file (.xlsx): {error}") from error


@dataclass
class _Sheet:
    """How much is named, and how far it reaches; rows and columns without a number follow the one before."""

    named: int = 0
    rows: int = 0
    columns: int = 0
    row: int = 0
    column: int = 0
    merged: list[str] = field(default_factory=list)

    def element(self, name: str, attributes: dict[str, str]) -> None:
        """Take in that an element begins."""
        word = name.rpartition(":")[2]
        if word == "row":
            said = attributes.get("r", "")
            self.row = int(said) if said.isascii() and said.isdigit() else self.row + 1
            self.rows, self.column = max(self.rows, self.row), 0
            self.named += 1
        elif word == "c":
            letters = _COLUMN.match(attributes.get("r", ""))
            self.column = _number(letters[0]) if letters else self.column + 1
            self.columns = max(self.columns, self.column)
            self.named += 1
        elif word == "mergeCell":
            rows = _RANGE.fullmatch(said := attributes.get("ref", ""))
            self.merged += [said] if rows and int(rows[2]) > int(rows[1]) > 1 else []


def _number(letters: str) -> int:
    """``A`` is 1, ``XFD`` is 16,384."""
    found = 0
    for letter in letters:
        found = 26 * found + ord(letter) - 64
    return found


def _look(archive: zipfile.ZipFile, item: zipfile.ZipInfo, path: Path) -> list[str]:
    """Parse one part, and build nothing; its merged cells over several rows."""

    def refuse(*_: object) -> NoReturn:
        raise InputError(f"{path}: {item.filename} declares entities, which no workbook needs")

    sheet, parser = _Sheet(), expat.ParserCreate()
    parser.StartDoctypeDeclHandler, parser.StartElementHandler = refuse, sheet.element
    with archive.open(item) as file, suppress(expat.ExpatError):  # a picture, or what the reader will complain of
        while block := file.read(_BLOCK):
            parser.Parse(block, False)
    spanned = sheet.rows * sheet.columns
    if spanned > max(_CELLS, _TIMES * sheet.named):
        raise InputError(
            f"{path}: {item.filename} spans {sheet.rows:,} rows and {sheet.columns:,} columns and names only "
            f"{sheet.named:,} of its cells; save the sheet as CSV, or delete what lies far out"
        )
    return sheet.merged
