"""Writing files so that a kill, a full disk or a second process never leaves half of one."""

from __future__ import annotations

import json
import os
import re
import secrets
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codivide.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

# What parsers raise on a damaged file. RuntimeError: also a recursion that is too deep; MemoryError: a size that is not
# true.
_DAMAGE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a damaged file makes a parser raise into one InputError that names the file.

    An InputError of the block itself is left as it is.
    """
    try:
        yield
    except InputError:
        raise
    except _DAMAGE as error:
        said = (error.strerror if isinstance(error, OSError) else None) or str(error).strip().partition("\n")[0][:300]
        plain = isinstance(error, OSError | ValueError | zipfile.BadZipFile | zlib.error) and said
        raise InputError(
            f"{path} cannot be read: {said if plain else f'{type(error).__name__} {said}'.strip()}"
        ) from error


def is_present(path: Path) -> bool:
    """Whether there is a file.

    Raises:
        InputError: something else stands in its place.
    """
    if path.is_file():
        return True
    if path.exists():
        raise InputError(f"{path} is a folder or device where a file should be")
    return False


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: no such file, or it holds anything else.
    """
    with reading(path):
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise InputError(f"{path} cannot be read: it holds no JSON object")
        return found


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
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut, where the system opens folders (Windows does not)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write a safetensors file atomically; a full disk is an OSError, as everywhere else."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file  # brings torch, which the command line's help does without

    with atomic(path) as aside:
        aside.touch()
        mode = aside.stat().st_mode  # what the umask allows; save_file makes its file for the owner alone
        try:
            save_file({name: value.contiguous() for name, value in tensors.items()}, aside, dict(header))
        except SafetensorError as error:
            number = str(error).rpartition("os error ")[2].rstrip(")")
            if not number.isdigit():
                raise
            raise OSError(int(number), str(error), str(path)) from None
        aside.chmod(mode)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of a safetensors file; SafetensorError when it is none (a pickle is never opened)."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="")


_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


def guard(cell: str) -> str:
    """A cell of a CSV file that no spreadsheet takes for a formula: an apostrophe before ``= + - @``, tab and CR.

    Apostrophes that already stand before such a character get one more, so that ``unguard`` always gives the cell back.
    """
    return "'" + cell if _FORMULA.match(cell) else cell


def unguard(cell: str) -> str:
    """The cell that was given to ``guard``."""
    return cell[1:] if _GUARDED.match(cell) else cell


def expand_user(path: str | Path) -> Path:
    """``path`` with the home folder in place of a leading ``~`` or ``~name``.

    Raises:
        InputError: there is no such user, or the process has no home folder (a container that runs by number).
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        hint = "write the folder in full, or set HOME (CODIVIDE_CACHE for the cache)"
        raise InputError(f"there is no home folder for {str(path)!r}: {hint}") from None


def cache_root() -> Path:
    """``CODIVIDE_CACHE``, else ``~/.cache/codivide``; InputError where there is no home folder."""
    return expand_user(os.environ.get("CODIVIDE_CACHE") or "~/.cache/codivide")
