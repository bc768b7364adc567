"""A table as a data set: a manifest of images, texts, or features, with the labels of one annotator or of several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from codivide.core.errors import InputError
from codivide.core.files import expand_user
from codivide.core.types import Labels
from codivide.data import annotators
from codivide.data.arrays import from_arrays
from codivide.data.assemble import Pictures, assemble
from codivide.data.contents import hashes
from codivide.data.images import written
from codivide.data.inputs import decoded, from_memory, from_texts_in_memory
from codivide.data.labels import encode
from codivide.data.loaded import Loaded
from codivide.data.options import ReadOptions
from codivide.data.source import Inputs, Reading, Wanted
from codivide.data.tables import (
    arranged,
    feature_columns,
    feature_ids,
    listed,
    manifest_entries,
    read_table,
    split_column,
    table_labels,
    take_groups,
)
from codivide.data.texts import are_texts, from_texts


class _Labelled(NamedTuple):
    """A table with one row a sample, the given label and the split of each row, and where it comes from."""

    table: pd.DataFrame
    labels: list[Any]
    splits: list[str]
    path: Path


def load_table(path: Path | str, reading: Reading) -> Loaded:
    """A manifest of images (columns ``path,label``), texts (``text,label``) or features (``label`` and numbers).

    All may have ``split`` (train, test; val, valid and validation stand in where there is no test) and
    ``true_label``; texts and features may have ``id``. Paths are relative to the manifest's folder. Of texts, other
    columns are left alone.

    Several annotators have a column each, ``label_...`` (or ``options.annotators``) in the place of ``label``, or a row
    for every answer, with the columns ``annotator`` and ``label``; or a table of their own, ``options.answers``. Their
    consensus becomes the label; rows to test on take ``true_label`` where they have one.

    Args:
        path: a ``.csv`` or ``.parquet`` file.
        reading: how to read it; a truth stands in for the column, as for :func:`codivide.data.folder.load_folder`.

    Returns:
        The data set; ids are the paths as written, the column ``id``, or row numbers.

    Raises:
        InputError: a column that is missing, a value that is wrong (it names the row), or too many unreadable images.
    """
    path = expand_user(path)
    options = reading.options
    return from_table(read_table(path, options.annotators, options.label, options.group), path, reading)


def load_frame(frame: pd.DataFrame, reading: Reading) -> Loaded:
    """A data frame: texts with a column of labels, or texts or features with labels beside it."""
    if "text" in frame and reading.y is None:
        return from_table(frame.rename(columns=str).reset_index(drop=True), Path("the data frame"), reading)
    make = from_texts if are_texts(frame) else from_arrays
    return make(frame, reading.y, options=reading.options, classes=reading.classes, truth=reading.truth)


def from_table(table: pd.DataFrame, path: Path, reading: Reading) -> Loaded:
    """The data set of a table that is already read; ``path`` is for messages and for the paths of images."""
    table, answers = split_answers(table, path, reading.options)
    table, groups = take_groups(table, path, reading.options.group, needed=reading.classes is None)
    if answers is None:
        given = _with_splits(table, _label_column(table, path, reading.options), path)
        return _grouped(_load(given, reading), groups, given)
    consensus, classes = answers.settle(reading.options, reading.classes, path.name)
    labels = [classes[code] if code >= 0 else None for code in consensus.labels]
    given = _with_splits(table, labels, path)
    if "true_label" in table:
        true_labels = table_labels(table["true_label"], keep_na=reading.options.keep_na)
        rows = zip(labels, true_labels, given.splits, strict=True)
        labels = [label if true is None or split == "train" else true for label, true, split in rows]
    given = given._replace(labels=labels)
    loaded = _load(given, replace(reading, classes=classes))
    return _grouped(replace(loaded, annotations=consensus.take(_training_rows(given, loaded))), groups, given)


def table_inputs(path: Path | str, wanted: Wanted) -> Inputs:
    """The samples of a table without their labels: texts, the images of a manifest, or features.

    Raises:
        InputError: a column that is missing, or a value that is wrong.
    """
    path = expand_user(path)
    table = read_table(path)
    if wanted.texts:
        if "text" not in table:
            raise InputError(f"{path} has no column 'text' (columns: {', '.join(table.columns)}).")
        return from_texts_in_memory(table, wanted)._replace(names=feature_ids(table))
    if "path" in table:
        return decoded(manifest_entries(table, path), wanted)
    try:
        return from_memory(feature_columns(arranged(table, wanted.columns, str(path)), path), wanted)._replace(
            names=feature_ids(table)
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _label_column(table: pd.DataFrame, path: Path, options: ReadOptions) -> list[Any]:
    if "label" in table:
        return table_labels(table["label"], keep_na=options.keep_na)
    raise InputError(
        f"{path} has no column 'label' (columns: {listed(table)}); --label names the column that holds the labels."
    )


def _with_splits(table: pd.DataFrame, labels: list[Any], path: Path) -> _Labelled:
    return _Labelled(table, labels, split_column(table, path), path)


def _load(given: _Labelled, reading: Reading) -> Loaded:
    if reading.truth is None and "true_label" in given.table:
        reading = replace(reading, truth=table_labels(given.table["true_label"], keep_na=reading.options.keep_na))
    return _manifest(given, reading) if "path" in given.table else _row_table(given, reading)


def _training_rows(given: _Labelled, loaded: Loaded) -> Labels:
    """The rows of the table that can be trained on: images that cannot be read are none."""
    if "path" not in given.table:
        return np.flatnonzero(np.array(given.splits) == "train")
    place = {entry.id: row for row, entry in enumerate(manifest_entries(given.table, given.path))}
    return np.array([place[name] for name in loaded.ids if isinstance(name, str)])


def _grouped(loaded: Loaded, groups: Labels | None, given: _Labelled) -> Loaded:
    return loaded if groups is None else replace(loaded, groups=groups[_training_rows(given, loaded)])


def split_answers(
    table: pd.DataFrame, path: Path, options: ReadOptions
) -> tuple[pd.DataFrame, annotators.Answers | None]:
    """The table with one row a sample and without the annotators' columns, and their answers where there are any."""
    if options.answers is not None:
        other = read_table(options.answers)
        if "label" not in other:
            raise InputError(f"{options.answers} has no column 'label' (columns: {', '.join(other.columns)}).")
        found = annotators.from_file(
            options.answers, table_labels(other["label"], keep_na=options.keep_na), other, table, path
        )
        return table.drop(columns=[name for name in ("label",) if name in table]), found
    if annotators.is_long(table) and not options.annotators:
        return annotators.from_long(table, table_labels(table["label"], keep_na=options.keep_na), path)
    if "annotator" in table and not options.annotators:
        raise InputError(
            f"{path} has a column 'annotator': it needs 'label', too, and one of id, path and text to name the sample."
        )
    columns = annotators.label_columns(table, path, options.annotators)
    if not columns:
        return table, None
    values = table_labels(pd.concat([table[name] for name in columns], ignore_index=True), keep_na=options.keep_na)
    rest = table.drop(columns=[*columns, *(name for name in ("label",) if name in table)], errors="ignore")
    return rest, annotators.from_columns(columns, values)


def _manifest(given: _Labelled, reading: Reading) -> Loaded:
    """Images: the classes are those of the training rows, whether their files can be read or not."""
    entries = manifest_entries(given.table, given.path)
    train = [row for row, split in enumerate(given.splits) if split == "train"]
    _, classes = encode(
        [given.labels[row] for row in train],
        unlabelled=reading.options.unlabelled,
        classes=reading.classes,
        what=given.path.name,
        names=[entries[row].id for row in train],
        merge=reading.options.merge_labels,
        keep_na=reading.options.keep_na,
    )
    pictures = Pictures(entries, given.labels, given.splits)
    return assemble(pictures, given.path, replace(reading, classes=classes), written(given.path.stem))


def _row_table(given: _Labelled, reading: Reading) -> Loaded:
    """Texts or features: a row a sample."""
    train = _rows_of("train", given, reading)
    if "test" not in given.splits:
        return train
    options = replace(reading.options, encoder=train.encoder or reading.options.encoder)
    return replace(train, test=_rows_of("test", given, replace(reading, options=options, classes=train.classes)))


def _rows_of(split: str, given: _Labelled, reading: Reading) -> Loaded:
    """The rows of one split."""
    table = given.table
    rows = np.flatnonzero(np.array(given.splits) == split)
    ids = feature_ids(table)
    true = reading.truth
    if isinstance(true, list) and len(true) == len(table):
        true = [true[row] for row in rows]
    samples = table["text"] if "text" in table else feature_columns(table, given.path)
    make = from_texts if "text" in table else from_arrays
    found = make(
        samples.iloc[rows],
        [given.labels[row] for row in rows],
        options=reading.options,
        classes=reading.classes,
        truth=true,
        ids=[ids[row] for row in rows],
        name=written(given.path.stem),
    )
    return replace(found, contents=hashes(found))
