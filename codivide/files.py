"""Writing files so that a kill, a full disk or a second process never leaves half of one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; on leaving, flush it to disk and rename it into place.

    When the block or the flush fails (a full disk), what was written aside is removed and the file that ``path``
    held before stays as it was.
    """
    aside = path.with_name(f"{path.stem}-{secrets.token_hex(4)}.part")
    try:
        yield aside
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must survive a power cut
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as aside:
        aside.write_text(text, encoding="utf-8")
