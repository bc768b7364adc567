"""Writing files so that a kill, a full disk or a second process never leaves half of one."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
import secrets
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codivide.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

CLEANED = "labels_clean.csv"  # the table that ``codivide clean`` writes
CLEANED_FILES = (CLEANED, "labels_clean.parquet", "CHANGES.csv")  # and what it writes beside it

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

PART = ".part"  # what a file is called while it is written
_PART = re.compile(rf"(.+)-[0-9a-f]{{8}}{re.escape(PART)}")
_CALLED = {"run": "checkpoint"}  # kinds of files of tensors that are called by another name
_PIECE = 1 << 22  # values that are looked at together
_CRC32 = "crc32"  # in a line of JSON
_SHA256 = "sha256"  # in the header of a file of tensors, and in a file of JSON


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


def check_there(source: str | None) -> None:
    """InputError where ``source`` can only be a path, and nothing is there; it takes no time to ask.

    The name of a public data set has neither a slash nor an ending; what has a colon may be an address, and what has a
    brace a pattern of shards.
    """
    if source is None or ":" in source or "{" in source or not (Path(source).suffix or os.sep in source):
        return
    if not expand_user(Path(source)).exists():
        raise InputError(f"there is no file or folder {source!r}")


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


def read_json(path: Path, *, check: bool = True) -> dict[str, Any]:
    """The object in a JSON file, without the checksum that ``write_json`` adds.

    Args:
        path: the file.
        check: whether the checksum must be right.

    Raises:
        InputError: no such file, it holds anything else, or other values than were written; a file without a checksum
            (of an older version, or one that somebody wrote) is taken as it is.
    """
    with reading(path):
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise InputError(f"{path} cannot be read: it holds no JSON object")
        written = found.pop(_SHA256, None)
        if check and written is not None and written != _sum_of(found):
            raise InputError(
                f"{path} is damaged: its checksum is not that of what it holds (whoever changes it by hand takes the "
                f"line {_SHA256!r} out)"
            )
        return found


def write_json(path: Path, values: Mapping[str, Any], *, indent: int = 2) -> None:
    """Write values as a JSON object, atomically, with a checksum of them as its last entry.

    Args:
        path: the file.
        values: what JSON has no form for is written as text.
        indent: spaces of a level.
    """
    plain = json.loads(json.dumps(values, default=str))
    write_text(path, json.dumps({**plain, _SHA256: _sum_of(plain)}, indent=indent) + "\n")


def to_line(values: Mapping[str, Any]) -> str:
    """Values as a line of JSON with its end, and a crc32 of the rest as its last entry."""
    text = json.dumps(values)
    return f'{text[:-1]}, "{_CRC32}": "{zlib.crc32(text.encode()):08x}"}}\n'


def of_line(line: str) -> dict[str, Any]:
    """The values of a line of ``to_line``; one without a crc32 is taken as it is.

    Raises:
        ValueError: it is no JSON object, or not what was written.
    """
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object")
    written = values.pop(_CRC32, None)
    if written is not None and to_line(values) != line:
        raise ValueError("its checksum is not that of what the run wrote")
    return values


def _sum_of(values: Mapping[str, Any]) -> str:
    """A sha256 of JSON values, in any order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def file_sum(path: Path) -> str:
    """A sha256 of the bytes of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def array_sum(array: NDArray[Any]) -> int:
    """A crc32 of the values of an array that lies in one piece; of a mapped one, a part is in memory at a time."""
    flat, check = array.reshape(-1), 0
    for start in range(0, len(flat), _PIECE):
        check = zlib.crc32(flat[start : start + _PIECE].data, check)
        let_go(array)
    return check


def let_go(data: Any) -> None:
    """Hold no pages of a file that an array is mapped from; of any other array nothing is done.

    What a process has read of a mapped file counts as its memory until the system needs it. The pages stay in the
    cache of the system, so that they are read again at once.

    Args:
        data: an array, maybe a view of a mapped one.
    """
    while data is not None:  # what is mapped says so, whatever views were made of it
        mapped = getattr(data, "_mmap", None)
        if mapped is not None:
            if data.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):  # "c": what was written is in these pages alone
                mapped.madvise(mmap.MADV_DONTNEED)
            return
        data = getattr(data, "base", None)


def check_sum(path: Path, written: str | None) -> None:
    """Compare the bytes of a file with a sum of ``file_sum``; None: nobody has kept one.

    Raises:
        InputError: it holds other bytes, or cannot be read.
    """
    if written is None:
        return
    with reading(path):
        if file_sum(path) != written:
            raise InputError(f"{path} is damaged or was changed: its checksum is not that of what the run wrote")


@contextmanager
def atomic(path: Path, *, new: bool = False) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; on leaving, flush it to disk and rename it into place.

    When the block or the flush fails (a full disk), what was written aside is removed and the file that ``path``
    held before stays as it was.

    Args:
        path: the file.
        new: whether a file that another process has put there meanwhile stays.
    """
    aside = path.with_name(f"{path.stem}-{secrets.token_hex(4)}{PART}")
    try:
        yield aside
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        if not (new and _linked(aside, path)):
            os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    _flush_folder(path.parent)


def check_name(path: Path, said: str) -> None:
    """InputError where nothing should be written to a place of this name.

    It is no UTF-8, so that Parquet and safetensors files could not be written; or it begins with a home folder, in the
    place of which a folder called ``~`` or ``~name`` would be made.

    Args:
        path: of a folder, as it was given.
        said: what the message begins with.
    """
    first = path.parts[0] if path.parts else ""
    if first.startswith("~") and not Path(first).exists():
        try:
            whole = f"write it in full, {expand_user(path)}"
        except InputError:
            whole = "there is no user of that name; write the folder in full"
        raise InputError(f"{said} {path} begins with a home folder: {whole}")
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise InputError(f"{said} {shown} is no UTF-8, where not all files can be written; give another name") from None


def _linked(aside: Path, path: Path) -> bool:
    """Whether ``path`` is there by now, as ``aside`` or as another file; False where the system has no links."""
    try:
        os.link(aside, path)
    except FileExistsError:
        return True
    except (OSError, AttributeError):
        return False
    return True


def _flush_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut, where the system opens folders (Windows does not)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def part_of(path: Path) -> str | None:
    """The stem of the file whose part, as ``atomic`` names it, a path is; None for any other name."""
    found = _PART.fullmatch(path.name)
    return None if found is None else found[1]


def save_tensors(path: Path, tensors: Mapping[str, Tensor], kind: str, header: Mapping[str, Any]) -> None:
    """Write a safetensors file atomically.

    Args:
        path: the file.
        tensors: by name, of any device; a copy of them is made.
        kind: what the file is: the name of the one entry of its metadata, which holds the header.
        header: JSON values; a sha256 of tensors and header is added to them.
    """
    from safetensors.torch import save  # brings torch, which the command line's help does without

    held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps({**header, _SHA256: _checksum(held, header)})
    whole = save(held, {kind: text})  # one entry: the order of several would be by chance
    with atomic(path) as aside:
        aside.write_bytes(whole)  # save_file has a file of its own besides, which a kill would leave behind


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a file that ``save_tensors`` wrote; a pickle is never opened.

    Raises:
        InputError: it is none of this kind, or other tensors or another header than were written.
    """
    from safetensors import SafetensorError, safe_open

    header = read_header(path, kind)
    written = header.pop(_SHA256, None)
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, *_DAMAGE) as error:
        raise _not_written(path, kind, error) from None
    if written is not None and written != _checksum(tensors, header):  # None: of an older version
        raise InputError(f"{path} is damaged: its checksum is not that of what it holds")
    return tensors, header


def read_header(path: Path, kind: str) -> dict[str, Any]:
    """The header alone, as it stands in the file; InputError when the file is none of this kind."""
    from safetensors import SafetensorError, safe_open

    with reading(path), open(path, "rb"):  # safetensors says "no such file" of one that may not be read
        pass
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})[kind])
    except (SafetensorError, *_DAMAGE) as error:
        raise _not_written(path, kind, error) from None
    if not isinstance(header, dict):
        raise _not_written(path, kind, TypeError("its header is no JSON object"))
    return header


def _not_written(path: Path, kind: str, error: Exception) -> InputError:
    kind = _CALLED.get(kind, kind)
    said = f"{type(error).__name__} {error}".strip().partition("\n")[0][:300]
    if isinstance(error, OSError):
        said = error.strerror or said
    return InputError(
        f"{path} is not a codivide {kind} ({said}); it is a safetensors file written by codivide, and pickles are "
        "never opened"
    )


def _checksum(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """A sha256 of all that a file of tensors says."""
    import torch

    found = hashlib.sha256(json.dumps(dict(header)).encode())
    for name in sorted(tensors):
        value = tensors[name]
        found.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        if value.numel():  # an empty array of NumPy cannot be seen as bytes
            found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="")


# Of cells that are guarded; the audit page reads the same two patterns, so they hold nothing that is Python's alone.
FORMULA = re.compile(r"'*[=+\-@\t\r]")
NUMBER = re.compile(r"[+-](\d[\d.,]*|[.,]\d+)(e[+-]?\d+)?%?|-+", re.I | re.A)  # and dashes: there is none
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


def guard(cell: str) -> str:
    """A cell of a CSV file that no spreadsheet takes for a formula: an apostrophe before ``= + - @``, tab and CR.

    Apostrophes that already stand before such a character get one more, so that ``unguard`` always gives the cell back.
    A number such as "-1.5" or "+3%" is no formula, and stays one.
    """
    return "'" + cell if FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell


def guarded(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts are all guarded."""
    return _each_text(table, guard)


def unguard(cell: str) -> str:
    """The cell that was given to ``guard``."""
    return cell[1:] if _GUARDED.match(cell) else cell


def unguarded(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts are as they were before ``guarded``."""
    return _each_text(table, unguard)


def _each_text(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """A table with its texts changed, and nothing else: ``DataFrame.map`` makes 1.0 of a 1 beside None."""
    import pandas as pd  # a table is there, so pandas is loaded

    found = []
    for _, column in table.items():
        cells = [change(cell) if isinstance(cell, str) else cell for cell in column]
        kind = object if isinstance(column.dtype, pd.CategoricalDtype) else column.dtype
        texts = not pd.api.types.is_numeric_dtype(column)
        found.append(pd.Series(cells, table.index, kind, column.name) if texts else column)
    return pd.concat(found, axis=1) if found else table


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
