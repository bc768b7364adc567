"""What a reader of tables is told and what it tells; its bytes as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from codivide.core.errors import InputError

_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),  # before that of UTF-16, which begins it
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_SAID = "codivide.said"


@dataclass
class Asked:
    """What a reader is told, and what it tells.

    Attributes:
        path: of the file, for messages.
        as_text: which columns are text, given all their names.
        said: what had to be found out.
        several: whether a row has any number of labels.
    """

    path: Path
    as_text: Callable[[list[str]], set[str]]
    said: list[str] = field(default_factory=list)
    several: bool = False


def with_said(table: pd.DataFrame, said: list[str]) -> pd.DataFrame:
    """The table, with sentences on how it was read."""
    table.attrs[_SAID] = [*said_of(table), *said]
    return table


def said_of(table: pd.DataFrame) -> list[str]:
    """The sentences on how a table was read."""
    return list(table.attrs.get(_SAID, ()))


def decode(content: bytes, asked: Asked) -> str:
    """Bytes as text: UTF-8, UTF-16, UTF-32 or, where it is none of them, Western (cp1252); it is said which."""
    for mark, name in _MARKS:
        if content.startswith(mark):
            if name != "utf-8-sig":
                asked.said.append(f"read as {name.upper()}")
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
