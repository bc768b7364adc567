"""Writing a cleaned folder: tables, names that cannot lead out of it, images copied or linked, all of it or nothing."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pandas as pd

from codivide.core.errors import InputError, either, option
from codivide.core.files import CLEANED_FILES, atomic, check_name, guard, guarded
from codivide.data.folder import NOT_CLASSES
from codivide.data.image_bytes import IMAGE, has_images
from codivide.data.labels import MISSING_TEXT, NO_LABEL
from codivide.data.options import REGRESSION
from codivide.data.targets import as_numbers
from codivide.runs import label_table

LABELS, LABELS_PARQUET, CHANGES = CLEANED_FILES
How = Literal["copy", "link"]
LONGEST = 120  # bytes of a name, well below the 255 that file systems take
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{k}" for port in ("com", "lpt") for k in range(10))}  # of Windows
_PART, _DAY = re.compile(r"\.codivide-[0-9a-f]{8}\.part"), 86_400.0
_TAKEN = {name.casefold() for name in (LABELS, LABELS_PARQUET, CHANGES)}
_NOT_A_CLASS = {name.casefold() for name in (*NOT_CLASSES, *MISSING_TEXT, *NO_LABEL, "-1")}


def check_out(out: Path) -> None:
    """InputError when ``out`` is there in any form (a link that leads nowhere included) or its folder is not."""
    check_name(out, either("--out", "out"))
    if os.path.lexists(out):
        raise InputError(f"{option('out', str(out))} exists; give a new folder")
    if not out.parent.is_dir():
        raise InputError(f"{option('out', str(out))}: there is no folder {out.parent}")


def check_beside(out: Path, source: Path) -> None:
    """InputError when ``out`` would lie in a source folder, of which it would become a part."""
    real, root = out.parent.resolve(), source.resolve()
    if real == root or root in real.parents:
        raise InputError(
            f"{option('out', str(out))} lies in the source {source}, which is never changed; give a folder outside "
            "of it"
        )


def check_files(paths: Sequence[Path]) -> None:
    """InputError that names the first of the files that is not there, or is no plain file (a pipe, a device)."""
    for path in paths:
        try:
            plain = stat.S_ISREG(os.stat(path).st_mode)
        except FileNotFoundError:
            raise InputError(
                f"{path} is not there any more; bring it back, or run fit again on what there is"
            ) from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise InputError(f"{str(path)[:200]!r} cannot be read: {error}") from None
        if not plain:
            raise InputError(f"{path} is no plain file")


def gone(paths: Sequence[Path]) -> list[str]:
    """A remark on files of the run that the manifest names and that are not there any more."""
    gone = [path for path in paths if not path.exists()]
    if not gone:
        return []
    return [
        f"{len(gone):,} of {len(paths):,} files are not where the run saw them, the first: {gone[0]}; the manifest "
        "names them as they were. Bring them back, or fit again"
    ]


@contextmanager
def aside(out: Path) -> Iterator[Path]:
    """A new folder beside ``out``, renamed to it at the end; removed when the block fails or is interrupted."""
    for left in out.parent.iterdir():  # of a process that was killed
        if _PART.fullmatch(left.name) and left.is_dir() and time.time() - left.stat().st_mtime > _DAY:
            shutil.rmtree(left, ignore_errors=True)
    part = out.parent / f".codivide-{secrets.token_hex(4)}.part"
    part.mkdir()
    try:
        yield part
        check_out(out)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def plan(paths: Sequence[Path], labels: Sequence[Any]) -> list[PurePosixPath]:
    """Where each image goes: ``class folder/file``, no two alike, on file systems that ignore case too.

    Args:
        paths: of the images ``[N]``; only their last part is used.
        labels: the class of each ``[N]``, None: none, which goes to the folder ``unlabelled``.
    """
    folders: dict[Any, str] = {None: NO_LABEL[0]}
    names: dict[str, _Names] = {NO_LABEL[0]: _Names()}
    classes = _Names(_TAKEN | {NO_LABEL[0]})
    places = []
    for path, label in zip(paths, labels, strict=True):
        if label not in folders:
            folders[label] = classes.new(safe_name(str(label), folder=True))
            names[folders[label]] = _Names()
        folder = folders[label]
        places.append(PurePosixPath(folder) / names[folder].new(safe_name(path.name)))
    return places


def safe_name(text: str, *, folder: bool = False) -> str:
    """A name of one file or folder that says the same as ``text`` and is harmless on every system.

    Separators, characters that Windows refuses, control and format characters become "_"; no leading dot, no dot or
    space at the end, no name of a device, at most 120 bytes; as a folder no word that would not be read as a class.
    """
    bad = ("Cc", "Cf", "Cs", "Zl", "Zp")
    name = "".join("_" if c in '<>:"/\\|?*' or unicodedata.category(c) in bad else c for c in text)
    stem, suffix = (name, "") if folder else os.path.splitext(name)
    stem, suffix = _cut(stem, LONGEST - 20), _cut(suffix, 20)
    name = re.sub(r"[\s.]+$", "", (stem + suffix).strip())
    if not name.strip("._"):
        name = "_" + name.strip(".")
    if name.startswith("."):
        name = "_" + name[1:]
    stem, dot, rest = name.partition(".")
    if stem.strip().casefold() in _DEVICES or (folder and name.casefold() in _NOT_A_CLASS):
        name = f"{stem}_{dot}{rest}"
    return name


def _cut(text: str, size: int) -> str:
    """The first characters that fit into so many bytes."""
    return text.encode("utf-8")[:size].decode("utf-8", errors="ignore")


class _Names:
    """Names that are given out once each, upper and lower case alike."""

    def __init__(self, taken: set[str] | frozenset[str] = frozenset()) -> None:
        self._next = dict.fromkeys(taken, 2)

    def new(self, name: str) -> str:
        """``name``, or with a number before its suffix where it is taken."""
        stem, suffix = os.path.splitext(name)
        key = found = unicodedata.normalize("NFC", name).casefold()
        while found in self._next:
            name = f"{stem}-{self._next[key]}{suffix}"
            self._next[key] += 1
            found = unicodedata.normalize("NFC", name).casefold()
        self._next[found] = 2
        return name


def manifest_path(place: PurePosixPath) -> str:
    """A place as a manifest names it; "./" before what a spreadsheet would take for a formula."""
    text = str(place)
    return text if guard(text) == text else f"./{text}"


def place(paths: Sequence[Path], places: Sequence[PurePosixPath], folder: Path, how: How) -> None:
    """Copy or link every image to its place in ``folder``; a link is a hard one where the file system allows it."""
    for name in dict.fromkeys(target.parent for target in places):
        (folder / name).mkdir()
    for path, target in zip(paths, places, strict=True):
        if how == "copy":
            shutil.copy2(path, folder / target)
            continue
        real = path.resolve()  # a link to a link would break when the first one is changed
        try:
            os.link(real, folder / target)
        except OSError:  # another disk, or links that the system does not allow
            (folder / target).symlink_to(real)


def write_tables(
    table: pd.DataFrame,
    changes: pd.DataFrame,
    folder: Path,
    task: str,
    cells: pd.DataFrame | None = None,
    *,
    label: str = "label",
) -> None:
    """The cleaned table as CSV and Parquet, and what was changed.

    Images that lie in the table itself are in the Parquet file alone, where numbers are numbers. In the CSV file a
    cell that was not changed is written as the source has it.

    Args:
        table: what stays, with its labels.
        changes: what was changed, and why.
        folder: for the files.
        task: what a label is.
        cells: some columns of the table as the source writes them; None: it is no file of text.
        label: what the files call the labels.
    """
    own = {"label": label}
    plain = (label, "label", label_table.GIVEN) if task == REGRESSION else ()
    held = {} if cells is None else {str(name): cells[name] for name in cells}
    texts = {name: column for name, column in held.items() if _says(column, table[name])}
    written = (table.drop(columns=IMAGE) if has_images(table) else table).assign(**texts)
    write_csv(written.rename(columns=own), folder / LABELS, plain=plain)
    table = table.assign(**{name: texts[name] for name in texts if _is_code(texts[name], table[name])})
    if task == REGRESSION:
        table = table.assign(label=as_numbers(table["label"]))
    kinds = {type(value) for value in table["label"] if value is not None}
    mixed = table.assign(label=table["label"].astype("string")) if len(kinds) > 1 else table
    with atomic(folder / LABELS_PARQUET) as part:
        mixed.rename(columns=own).to_parquet(part, index=False, write_page_checksum=True)
    write_csv(changes, folder / CHANGES, plain=plain)


def _says(texts: pd.Series[Any], values: pd.Series[Any]) -> bool:
    """Whether texts of cells say to every reader what was read, of numbers: no comma, no points between thousands."""
    if not _is_number(values):
        return True
    said, read = (
        pd.to_numeric(texts, errors="coerce").to_numpy(np.float64),
        values.to_numpy(np.float64, na_value=np.nan),
    )
    return bool((np.isclose(said, read, rtol=1e-9, atol=0) | np.isnan(read)).all())


def _is_code(texts: pd.Series[Any], values: pd.Series[Any]) -> bool:
    """Whether whole numbers lose something as numbers: zeros before them, or digits, as post codes and long ids do."""
    if not _is_number(values):
        return False
    whole = texts.astype("string").str.strip().str.fullmatch(r"-?\d+").fillna(value=False).to_numpy(dtype=bool)
    pairs = zip(texts[whole], values[whole].tolist(), strict=True)
    return any(str(int(value)) != text.strip() for text, value in pairs if np.isfinite(value))


def _is_number(values: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def write_csv(table: pd.DataFrame, path: Path, *, plain: Sequence[str] = ()) -> None:
    """Write a table no text of which, header included, a spreadsheet takes for a formula.

    Args:
        table: of any columns.
        path: the file.
        plain: columns of texts that are numbers, such as "-7.04", which stay numbers.
    """
    texts = [name for name in table if name not in plain and not pd.api.types.is_numeric_dtype(table[name])]
    safe = table.assign(**{str(name): cells for name, cells in guarded(table[texts]).items()})
    safe.columns = pd.Index([guard(str(name)) for name in safe])
    with atomic(path) as part:
        safe.to_csv(part, index=False, lineterminator="\n", encoding="utf-8")
