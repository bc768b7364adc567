"""Image files with labels to a data set: what could be read of them, with its test part and its truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codivide.core.errors import InputError
from codivide.core.types import Labels
from codivide.data.arrays import choose_augment, true_indices
from codivide.data.cache import Entry, decode_files
from codivide.data.contents import of_paths
from codivide.data.labels import encode, notes
from codivide.data.loaded import Loaded, subset
from codivide.data.source import Reading
from codivide.data.tables import read_table, table_labels


class Pictures(NamedTuple):
    """Image files, with the given label (None: no label) and the split of each.

    A split is "train", "test", "validation" or "unused".
    """

    entries: list[Entry]
    labels: list[Any]
    splits: list[str]


def assemble(pictures: Pictures, source: Path, reading: Reading, name: str) -> Loaded:
    """The data set of the images that can be read, with its test part.

    Args:
        pictures: all image files.
        source: the folder or manifest they come from, which has one cache for each image size.
        reading: how to read them, and the classes, which must be known; the truth by id, for every file, for every row
            that can be read, or in a CSV file.
        name: what to call the data.

    Raises:
        InputError: a label that is no class, two files of one name, truth that does not fit, or too many files that
            cannot be read.
    """
    _check_names(pictures.entries)
    count = len(pictures.entries)
    pictures, reading = _drawn(pictures, reading)
    entries, options = pictures.entries, reading.options
    decoded = decode_files(entries, source, options, part=len(entries) < count)
    ids = [entries[position].id for position in decoded.kept]
    split = np.array([pictures.splits[position] for position in decoded.kept])
    given = [pictures.labels[position] for position in decoded.kept]
    y, known = encode(given, classes=reading.classes, what=name, names=ids, **options.of_labels)
    truth = reading.truth
    if isinstance(truth, list) and len(truth) == len(entries):  # a column of the manifest, unreadable files included
        truth = [truth[position] for position in decoded.kept]
    train = np.flatnonzero(split == "train")
    whole = Loaded(
        x=decoded.rows,
        y=y,
        classes=known,
        ids=ids,
        augment=choose_augment(options.augment, decoded.rows.shape),
        truth=_true(ids, train, replace(reading, classes=known, truth=truth)),
        name=name,
        said=decoded.said,
        sizes=decoded.sizes,
        contents=of_paths([entries[position].path for position in decoded.kept]),
    )
    if not len(train):
        raise InputError(f"{name}: none of the training images can be read")
    test, validation = (_part(whole, np.flatnonzero(split == held_out)) for held_out in ("test", "validation"))
    read = notes([given[row] for row in train], merge=options.merge_labels, keep_na=options.keep_na, what=name)
    return replace(subset(whole, train), test=test, validation=validation, skipped=decoded.skipped, labels_read=read)


def _drawn(pictures: Pictures, reading: Reading) -> tuple[Pictures, Reading]:
    """The pictures of the part that is asked for, with all that are not trained on, and how these are read."""
    train = np.flatnonzero(np.array(pictures.splits) == "train")
    if reading.part is None or reading.part.limit >= len(train):
        return pictures, reading
    left_out = np.delete(train, reading.part.rows(len(train)))
    kept = np.delete(np.arange(len(pictures.entries)), left_out).tolist()
    truth = reading.truth
    if isinstance(truth, list) and len(truth) == len(pictures.entries):
        reading = replace(reading, truth=[truth[position] for position in kept])
    left = Pictures(
        [pictures.entries[position] for position in kept],
        [pictures.labels[position] for position in kept],
        [pictures.splits[position] for position in kept],
    )
    return left, reading


def _check_names(entries: Sequence[Entry]) -> None:
    """InputError where two files have one name: one that is no UTF-8 may be written as another is called."""
    seen: dict[str, Path] = {}
    for entry in entries:
        if seen.setdefault(entry.id, entry.path) != entry.path:
            raise InputError(f"two files are both written {entry.id!r}: rename one of them")


def _part(whole: Loaded, rows: NDArray[np.int64]) -> Loaded | None:
    return subset(whole, rows) if len(rows) else None


def _true(ids: list[str], train: NDArray[np.int64], reading: Reading) -> Labels | None:
    """True labels of all rows: by id (mapping or CSV file), for every row, or for the training rows alone."""
    truth, classes, options = reading.truth, reading.classes or (), reading.options
    if truth is None:
        return None
    if isinstance(truth, str | Path):
        truth = _truth_file(Path(truth))
    if isinstance(truth, dict):
        if not truth.keys() & set(ids):
            raise InputError(
                "none of the true labels belongs to a row: their ids must be the paths of the images, such as "
                f"{ids[0]!r}, and not {str(next(iter(truth), ''))!r}"
            )
        truth = [truth.get(name) for name in ids]
    if isinstance(truth, Sequence) and len(truth) != len(ids) and len(truth) == len(train):
        whole = np.full(len(ids), -1, dtype=np.int64)
        known = true_indices(truth, len(train), classes, options)
        assert known is not None
        whole[train] = known
        return whole
    return true_indices(truth, len(ids), classes, options, ids)


def _truth_file(path: Path) -> dict[Any, Any]:
    table = read_table(path)
    if not {"path", "label"} <= set(table.columns):
        raise InputError(f"{path} needs columns path,label (it has {', '.join(table.columns)})")
    known: dict[Any, Any] = {}
    for row, (name, label) in enumerate(zip(table["path"], table_labels(table["label"]), strict=True)):
        if known.setdefault(name, label) != label:
            raise InputError(
                f"{path}: row {row} (line {row + 2}) says {label!r} of {name!r}, and a row before {known[name]!r}"
            )
    return known
