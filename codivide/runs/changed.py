"""Whether data are still what a run saw: rows of a table are found by name or number, so another order is an error.

A run keeps a hash of every row or image file (``contents.npy``) and its given label (in the label table).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from codivide.core.errors import InputError, either, option
from codivide.core.types import Labels
from codivide.core.words import counted
from codivide.data.contents import Contents, Unread, of_paths
from codivide.data.folder import training_images
from codivide.data.images import on_disk
from codivide.data.loaded import Loaded
from codivide.data.options import DEFAULT, ReadOptions
from codivide.data.record import DataRecord
from codivide.data.sources import load
from codivide.data.table_files import folder_parts
from codivide.runs import label_table
from codivide.runs.folder import SavedRun, has_run

_OF_LABELS = frozenset(("merge_labels", "keep_na", "unlabelled"))  # options of reading that change no row
_OF_FEATURES = frozenset(("encoder", "image_size", "augment"))  # options that change no row and no label


def _advice() -> str:
    """What to do where the data have changed."""
    copy = f"clean takes a copy of it as {either('--source', 'source=')}"
    return f"bring back the file that the run saw ({copy}), or run fit again on what there is"


def check_again(run: SavedRun, source: DataRecord | None = None) -> int:
    """Read the table of a run again, where it has one, and compare it; no text is encoded.

    Args:
        run: a finished run.
        source: where the table lies now; None: as the run says.

    Returns:
        How many rows the table has that the run did not see, 0 where it cannot be told.

    Raises:
        InputError: the table has changed, or it cannot be read.
    """
    source = run.source if source is None else source
    place, root = source.location(), source.root()
    if run.contents is None or source.named or place is None or _is_gone(root):
        return 0
    options = source.reading()
    options = replace(options, encoder=Unread() if label_table.TEXT in run.labels else "auto", progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said when the run was made
        loaded = load(place, options=options)
    check_same(run, loaded)
    whole = source.limit is None and not run.config.get("corrections", {}).get("junk")
    return len(loaded.ids) - len(run.labels) if whole else 0


def _is_gone(root: Path | None) -> bool:
    return root is not None and not root.exists() and not folder_parts(root)


def check_decided(corrections: Iterable[Path], loaded: Loaded, source: object, options: ReadOptions) -> None:
    """Compare the rows of a table with those that were decided on, where the decisions lie in the folder of a run.

    A warning says where they are read by other options than those of the run, such as other columns.

    Args:
        corrections: the files.
        loaded: the table as it is, before anything is done to it.
        source: its path; of another table than the run's nothing is compared.
        options: by which it was read.

    Raises:
        InputError: the rows are others than those that were decided on.
    """
    if not isinstance(source, str | Path):
        return
    for run in (SavedRun(file.parent) for file in corrections if has_run(file.parent)):
        if run.source.location() != DataRecord.of(source, DEFAULT).location():
            continue
        then, now = run.source.options.to_dict(), options.to_dict()
        other = [name for name in sorted(then | now) if name not in _OF_FEATURES and then.get(name) != now.get(name)]
        if other:
            shown = ", ".join(option(name, then[name]) if name in then else f"no {option(name)}" for name in other)
            warnings.warn(f"the run {run.path}, of which these decisions are, read the data with {shown}", stacklevel=4)
        if run.contents is not None and _OF_LABELS.issuperset(other):  # else other columns make other hashes
            check_same(run, loaded, labels=False)


def check_same(run: SavedRun, loaded: Loaded, *, labels: bool = True) -> None:
    """Compare a table that was read again with what a run knows of its rows and labels.

    Args:
        run: a finished run.
        loaded: the table.
        labels: whether the given labels must be the same, too.

    Raises:
        InputError: it says what has changed; a run that keeps no hashes, a source that has none, and image files, which
            are known by their names (see ``file_remarks``), are not compared.
    """
    known, table = run.contents, run.labels
    if known is None or loaded.contents is None or len(known) != len(table) or files_of(run) is not None:
        return
    place = {str(name): row for row, name in enumerate(loaded.ids)}
    names = [str(name) for name in table[label_table.id_column(table)]]
    rows = np.array([place.get(name, -1) for name in names], dtype=np.int64)
    found = _moved(names, known, loaded, rows) or (_labels(run, loaded, rows, names) if labels else None)
    if found:
        raise InputError(f"{run.source.location()} is no longer what the run {run.path} saw: {found}; {_advice()}")


def is_listed(source: DataRecord, table: pd.DataFrame) -> bool:
    """Whether a run learned from a list of image files in Python, which its label table names."""
    return source.path is None and source.folder != "" and label_table.PATH in table


def files_of(run: SavedRun) -> list[Path] | None:
    """The image file of every row of a run's label table, which may be gone; None where the samples are no files."""
    table, root = run.labels, run.source.root()
    if is_listed(run.source, table):
        paths = [on_disk(Path(run.source.folder), str(name)) for name in table[label_table.PATH]]
        return paths if any(path.is_file() for path in paths) else None  # else names of arrays
    if label_table.PATH not in table or root is None or not root.exists():
        return None
    folder = root if root.is_dir() else root.parent
    paths = [on_disk(folder, str(name)) for name in table[label_table.PATH]]
    alone = root.is_dir() and not folder_parts(root)
    return paths if alone or any(path.is_file() for path in paths) else None


def file_remarks(run: SavedRun, paths: Sequence[Path], *, gone: bool = True) -> list[str]:
    """Sentences on the image files of a run that are ``gone``, or hold something else than what the run saw."""
    return image_remarks(paths, run.labels[label_table.PATH].tolist(), run.contents, gone=gone)


def image_remarks(
    paths: Sequence[Path], names: Sequence[str], known: Contents | None, *, gone: bool, who: str = "run"
) -> list[str]:
    """The same of image files and their names ``[N]``, whose contents ``who`` knows ``[N]``; None: they are unknown."""
    now = of_paths(paths)
    lost = np.flatnonzero((now == 0) & gone)
    few = counted(len(lost), f"of {len(names):,} images is", f"of {len(names):,} images are")
    remarks = [f"{few} gone, the first: {names[lost[0]]}"] if len(lost) else []
    if known is not None and len(known) == len(names):
        other = np.flatnonzero((now != 0) & (now != known))
        if len(other):
            few = counted(len(other), f"of {len(names):,} images has", f"of {len(names):,} images have")
            text = f"{few} other contents than the {who} saw, the first: "
            remarks.append(f"{text}{names[other[0]]}; what is said of them is of the old ones")
    return remarks


def folder_remarks(run: SavedRun, source: DataRecord | None = None) -> list[str]:
    """Sentences on images of a folder that lie where the run saw none: new ones, and those that were moved.

    Args:
        run: a finished run.
        source: where the folder lies now; None: as the run says.
    """
    source = run.source if source is None else source
    root = source.root()
    if root is None or not root.is_dir() or folder_parts(root) or source.limit is not None:
        return []
    names = [str(name) for name in run.labels.get(label_table.PATH, [])]
    changes = run.config.get("corrections", {}).get("changes", [])
    seen = {*names, *(path for path, _ in run.skipped), *(name for name, _, label in changes if label is None)}
    try:
        new = [name for name in training_images(root) if name not in seen] if names else []
    except (OSError, InputError):  # said by whoever reads the images
        return []
    moved = _moved_images(run, names, root, new)
    few = f"{len(moved):,} of {len(names):,} images {'lie' if len(moved) > 1 else 'lies'} in another folder now"
    remarks = [f"{few}, the first: {moved[0][0]} is {moved[0][1]}"] if moved else []
    if added := sorted(set(new) - {now for _, now in moved}):
        remarks.append(
            f"{source.path} has {counted(len(added), 'image')} more than the run saw, the first: {added[0]}. New ones "
            "are left out: fit again to have them judged"
        )
    return remarks


def _moved_images(run: SavedRun, names: list[str], root: Path, new: list[str]) -> list[tuple[str, str]]:
    """Old and new name of images that are gone and whose contents one of the ``new`` ones has."""
    known = run.contents
    gone = [row for row, name in enumerate(names) if not on_disk(root, name).exists()] if new else []
    if known is None or len(known) != len(names) or not gone:
        return []
    now = dict(zip(of_paths([on_disk(root, name) for name in new]).tolist(), new, strict=True))
    return [(names[row], now[known[row]]) for row in gone if known[row] in now]


def _moved(names: list[str], known: Contents, loaded: Loaded, rows: Labels) -> str | None:
    """What has become of the rows; None: they are as they were."""
    assert loaded.contents is not None
    gone = np.flatnonzero(rows < 0)
    other = np.flatnonzero((rows >= 0) & (loaded.contents[rows] != known))
    if not len(gone) and not len(other):
        return None
    if not len(other):
        return f"{_rows(gone, names)} not there any more"
    now = {content: row for row, content in enumerate(loaded.contents.tolist())}
    moved = [
        (k, now[content]) for k, content in zip(other.tolist(), known[other].tolist(), strict=True) if content in now
    ]
    if not moved:
        return f"{_rows(other, names)} of other values"
    example = f"what was row {names[moved[0][0]]} is row {loaded.ids[moved[0][1]]} now"
    if len(moved) == len(other) and not len(gone) and len(loaded.ids) == len(names):
        return f"its rows are in another order ({example})"
    return f"rows were put in, taken out or moved ({example})"


def _labels(run: SavedRun, loaded: Loaded, rows: Labels, names: list[str]) -> str | None:
    """Which given labels have changed; those that an experiment, a person or a consensus made are not compared."""
    source, table = run.source, run.labels
    if loaded.annotations is not None or any((source.noise, source.labels_per_class, source.labels)):
        return None
    then = _texts(table[label_table.GIVEN])
    now = [None if label < 0 else str(loaded.classes[label]) for label in loaded.y[rows].tolist()]
    fixed = table[label_table.CONFIRMED].tolist() if label_table.CONFIRMED in table else [False] * len(table)
    other = np.array([k for k, seen in enumerate(fixed) if not seen and then[k] != now[k]], dtype=np.int64)
    if not len(other):
        return None
    first = other[0]
    return f"{_rows(other, names)} of another label (of the first: {then[first]!r} then, {now[first]!r} now)"


def _rows(rows: Labels, names: list[str]) -> str:
    few = f"row {names[rows[0]]}"
    return f"{few} is" if len(rows) == 1 else f"{few} and {len(rows) - 1} more are"


def _texts(column: pd.Series[Any]) -> list[str | None]:
    values: list[str | None] = column.astype("string").astype(object).where(column.notna(), None).tolist()
    return values
