"""A table as a data set: a manifest of images, texts, or features, with the labels of one annotator or of several."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from codivide.core.errors import InputError, option
from codivide.core.files import expand_user
from codivide.core.types import UNLABELLED, Labels
from codivide.data import annotators
from codivide.data.arrays import from_arrays
from codivide.data.asked import said_of
from codivide.data.assemble import Pictures, assemble
from codivide.data.columns import NAME, Columns, from_columns
from codivide.data.contents import hashes, of_bytes, of_table
from codivide.data.database import database, is_database
from codivide.data.image_bytes import EncodedImages, contents_of, has_images, with_images
from codivide.data.images import written
from codivide.data.inputs import decoded, from_memory, from_texts_in_memory
from codivide.data.items import items_inputs, load_items
from codivide.data.label_copies import with_label_columns
from codivide.data.labels import encode
from codivide.data.large_tables import Apart, apart
from codivide.data.loaded import Loaded
from codivide.data.options import CLASSES, REGRESSION, ReadOptions
from codivide.data.rows import take
from codivide.data.source import Inputs, Reading, Wanted
from codivide.data.table_columns import (
    arranged,
    feature_names,
    holds_texts,
    listed,
    missing_column,
    propose_labels,
    said_of_learned,
    said_of_written,
    selected,
    with_label,
    with_texts,
    with_usual_names,
)
from codivide.data.table_files import name_of
from codivide.data.tables import (
    feature_columns,
    feature_ids,
    manifest_entries,
    read_table,
    said_of_ids,
    split_column,
    table_labels,
    take_groups,
)
from codivide.data.targets import tags_of, texts_of
from codivide.data.texts import are_texts, from_texts
from codivide.data.unusable import is_plain
from codivide.data.weights import checked


class _Labelled(NamedTuple):
    """A table with one row a sample, the given label and the split of each row, and where it comes from."""

    table: pd.DataFrame
    labels: list[Any]
    splits: list[str]
    path: Path
    features: Apart | None = None  # of a large table, not in it


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
    source = _whole(path)
    features = apart(source, reading.options) if isinstance(source, Path) else None
    if features is None:
        return from_table(read_table(source, reading.options), _place(path), reading)
    chosen = replace(reading.options, columns=(), drop=())
    return from_table(features.others, _place(path), replace(reading, options=chosen), features)


def load_frame(frame: pd.DataFrame, reading: Reading) -> Loaded:
    """A data frame: with a column of labels, or with labels beside it."""
    options, where = reading.options, Path("the data frame")
    if reading.y is None:
        table = with_usual_names(with_label(frame.rename(columns=str), where, options)).reset_index(drop=True)
        if reading.ids is not None and not {"id", "annotator"} & set(table):  # of an answer the index is no sample
            table.insert(0, "id", list(reading.ids))
        if "label" in table or options.annotators or "text" in table:
            return from_table(table, where, reading)
    chosen = selected(frame.rename(columns=str), where, options, beside=True) if _chooses(options) else frame
    chosen, groups = take_groups(chosen, where, options.group, needed=reading.classes is None)
    chosen, weights = split_weights(chosen, where, options)
    of_texts = are_texts(chosen) and holds_texts(chosen, options)
    made = (from_texts if of_texts else from_columns)(chosen, reading.y, options=options, **reading.known())
    said = () if of_texts else said_of_learned(chosen, options)
    loaded = replace(made, groups=groups, said=(*made.said, *said))
    if weights is None:
        return loaded
    return replace(loaded, weight=checked(weights, loaded.ids, f"{where}: column {weights.name!r}"))


def _chooses(options: ReadOptions) -> bool:
    return bool(options.columns or options.drop or options.text)


def from_table(table: pd.DataFrame, path: Path, reading: Reading, features: Apart | None = None) -> Loaded:
    """The data set of a table that is already read; ``path`` is for messages and for the paths of images.

    Args:
        table: the table.
        path: see above.
        reading: how to read it.
        features: those of a large table, which are not in it; None: they are.
    """
    options, said, tags = reading.options, said_of(table), tags_of(table)
    table, answers = split_answers(with_images(selected(table, path, options), path), path, options)
    table, groups = take_groups(table, path, options.group, needed=reading.classes is None)
    table, weights = split_weights(table, path, options)
    said += [*said_of_ids(table), *said_of_written(table, options), *_left_alone(table, options)]
    if answers is None:
        given = _with_splits(table, _label_column(table, path, options), path)._replace(features=features)
        loaded = _load(given, reading)
        loaded = replace(loaded, said=(*said, *loaded.said), tags=tags)
        return _weighed(_grouped(loaded, groups, given), given, weights)
    consensus, classes = answers.settle(options, reading.classes, path.name)
    labels = [classes[code] if code >= 0 else None for code in consensus.labels]
    given = _with_splits(table, labels, path)
    if "true_label" in table:
        true_labels = table_labels(table["true_label"], keep_na=options.keep_na)
        rows = zip(labels, true_labels, given.splits, strict=True)
        labels = [label if true is None or split == "train" else true for label, true, split in rows]
    given = given._replace(labels=labels)
    loaded = _load(given, replace(reading, classes=classes))
    annotations = consensus.take(_training_rows(given, loaded))
    loaded = replace(loaded, annotations=annotations, said=(*said, *loaded.said))
    return _weighed(_grouped(loaded, groups, given), given, weights)


def table_inputs(path: Path | str, wanted: Wanted) -> Inputs:
    """The samples of a table without their labels: texts, the images of a manifest, a table, or features.

    Raises:
        InputError: a column that is missing, or a value that is wrong.
    """
    options = wanted.options
    table, path = read_table(_whole(path), replace(options, label="label")), _place(path)
    table = with_images(selected(table, path, options), path)
    for sentence in said_of_ids(table):
        warnings.warn(f"{path}: {sentence.partition(';')[0]}", stacklevel=4)
    if has_images(table) and not (wanted.texts or wanted.table):
        found = items_inputs(EncodedImages(contents_of(table), [None] * len(table)), wanted)
        ids = feature_ids(table)
        return found._replace(names=[ids[int(row)] for row in found.names])
    if wanted.texts:
        return from_texts_in_memory(with_texts(table, path), wanted)._replace(names=feature_ids(table))
    if wanted.table:
        return Inputs(table, feature_ids(table))
    if "path" in table:
        return decoded(manifest_entries(table, path), wanted)
    if len(wanted.shape) > 1:
        raise InputError(f"the model takes images: {path} needs a column 'path' of their files, or give the files")
    asked = replace(options, columns=tuple(wanted.columns or ()))  # whatever they are called, they were learned from
    arranged_table = arranged(feature_columns(table, path, asked), wanted.columns, str(path))
    return from_memory(arranged_table, wanted)._replace(names=feature_ids(table))


def frame_inputs(frame: pd.DataFrame, wanted: Wanted) -> Inputs:
    """A data frame: its column of texts, all columns, or numbers.

    Raises:
        InputError: texts are wanted, but there is no such column.
    """
    if wanted.table:
        return Inputs(frame, range(len(frame)))
    if not wanted.texts:
        if len(wanted.shape) == 3 and "path" in (named := with_usual_names(frame.rename(columns=str))):
            return decoded(manifest_entries(named, Path("the data frame")), wanted)
        return from_memory(arranged(frame, wanted.columns, "the data frame"), wanted)
    where = "the model takes texts; the data frame"
    table = selected(with_usual_names(frame.rename(columns=str)), where, wanted.options)
    return from_texts_in_memory(with_texts(table, where), wanted)


def _whole(source: Path | str) -> Path | str:
    return source if is_database(source) else expand_user(source)


def _place(source: Path | str) -> Path:
    """The file of a source."""
    return database(source)[0] if isinstance(source, str) and is_database(source) else expand_user(source)


def _label_column(table: pd.DataFrame, path: Path, options: ReadOptions) -> list[Any]:
    if "label" in table:
        if options.task == REGRESSION:
            return texts_of(table["label"], options).texts
        return table_labels(table["label"], keep_na=options.keep_na)
    raise missing_column(table, path, "label", "label", propose_labels(table, path))


def _left_alone(table: pd.DataFrame, options: ReadOptions) -> list[str]:
    """A sentence on the columns beside texts that nobody has named, where there are any."""
    if options.text is not None or "path" in table or not holds_texts(table, options):
        return []
    others = feature_names(table, options)
    if not others:
        return []
    said = f"learned from the column 'text' alone; left alone: {listed(table[others])}"
    return [f"{said} ({option('columns', ['text', others[0], '...'])} learns from several)"]


def _with_splits(table: pd.DataFrame, labels: list[Any], path: Path) -> _Labelled:
    return _Labelled(table, labels, split_column(table, path), path)


def _load(given: _Labelled, reading: Reading) -> Loaded:
    if reading.truth is None and "true_label" in given.table:
        reading = replace(reading, truth=table_labels(given.table["true_label"], keep_na=reading.options.keep_na))
    if _of_bytes(given.table, reading.options):
        return _encoded(given, reading)
    return _manifest(given, reading) if "path" in given.table else _row_table(given, reading)


def _of_bytes(table: pd.DataFrame, options: ReadOptions) -> bool:
    """Whether the samples are images that lie in the table itself."""
    return options.text is None and has_images(table)


def _training_rows(given: _Labelled, loaded: Loaded) -> Labels:
    """The rows of the table ``[N]`` that can be trained on: images that cannot be read are none."""
    if has_images(given.table):
        places = {name: row for row, name in enumerate(feature_ids(given.table))}
        return np.array([places[name] for name in loaded.ids], dtype=np.int64)
    if "path" not in given.table:
        return np.flatnonzero(np.array(given.splits) == "train")
    place = {entry.id: row for row, entry in enumerate(manifest_entries(given.table, given.path))}
    return np.array([place[name] for name in loaded.ids if isinstance(name, str)])


def _grouped(loaded: Loaded, groups: Labels | None, given: _Labelled) -> Loaded:
    return loaded if groups is None else replace(loaded, groups=groups[_training_rows(given, loaded)])


def split_weights(table: pd.DataFrame, path: Path, options: ReadOptions) -> tuple[pd.DataFrame, pd.Series[Any] | None]:
    """The table without the column of weights, and that column where one is named."""
    if options.weight is None:
        return table, None
    if options.weight not in table:
        raise InputError(f"{path} has no column {options.weight!r} of weights (columns: {listed(table)})")
    return table.drop(columns=[options.weight]), table[options.weight]


def _weighed(loaded: Loaded, given: _Labelled, weights: pd.Series[Any] | None) -> Loaded:
    """The data with the weights of the training rows; the test part has none."""
    if weights is None:
        return loaded
    column = weights.iloc[_training_rows(given, loaded)].reset_index(drop=True)
    return replace(loaded, weight=checked(column, loaded.ids, f"{given.path.name}: column {weights.name!r}"))


def split_answers(
    table: pd.DataFrame, path: Path, options: ReadOptions
) -> tuple[pd.DataFrame, annotators.Answers | None]:
    """The table with one row a sample and without the annotators' columns, and their answers where there are any."""
    if options.answers is not None:
        other = annotators.one_each(read_table(options.answers), options.answers)
        found = annotators.from_file(
            options.answers, table_labels(other["label"], keep_na=options.keep_na), other, table, path
        )
        return table.drop(columns=[name for name in ("label",) if name in table]), found
    if annotators.is_long(table) and not options.annotators:
        return annotators.from_long(table, table_labels(table["label"], keep_na=options.keep_na), path)
    if "annotator" in table and not options.annotators:
        lacks = "'label'" if "label" not in table else "one of id, path and text, which names the sample"
        raise InputError(
            f"{path} has a column 'annotator', but not {lacks} (columns: {listed(table)}): rename the one that is meant"
        )
    columns = annotators.label_columns(table, path, options.annotators)
    if not columns:
        if (hint := annotators.unread(table)) is not None:
            warnings.warn(f"{path}: {hint}", stacklevel=4)
        return table, None
    values = table_labels(pd.concat([table[name] for name in columns], ignore_index=True), keep_na=options.keep_na)
    rest = table.drop(columns=[*columns, *(name for name in ("label",) if name in table)], errors="ignore")
    return rest, annotators.from_columns(columns, values)


def _manifest(given: _Labelled, reading: Reading) -> Loaded:
    """Images: the classes are those of the training rows, whether their files can be read or not."""
    entries = manifest_entries(given.table, given.path)
    alike = reading.options.task == CLASSES  # numbers and sets of labels need not be those of the training rows
    train = [row for row, split in enumerate(given.splits) if split == "train" or not alike]
    _, classes = encode(
        [given.labels[row] for row in train],
        classes=reading.classes,
        what=given.path.name,
        names=[entries[row].id for row in train],
        **reading.options.of_labels,
    )
    pictures = Pictures(entries, given.labels, given.splits)
    return assemble(pictures, given.path, replace(reading, classes=classes), written(name_of(given.path)))


def _encoded(given: _Labelled, reading: Reading) -> Loaded:
    """Images that lie in the table itself, with their test part."""
    train = _encoded_part("train", given, reading, None)
    if "test" not in given.splits:
        return train
    of_test = replace(reading, classes=train.classes)
    return replace(train, test=_encoded_part("test", given, of_test, train.x.shape))


def _encoded_part(split: str, given: _Labelled, reading: Reading, shape: tuple[int, ...] | None) -> Loaded:
    rows = np.flatnonzero(np.array(given.splits) == split)
    table = given.table.iloc[rows]
    ids, contents = feature_ids(given.table), contents_of(table)
    items = EncodedImages(contents, [given.labels[row] for row in rows])
    true = reading.truth
    if isinstance(true, list) and len(true) == len(given.table):
        reading = replace(reading, truth=[true[row] for row in rows])
    loaded = load_items(items, reading, shape)
    kept = np.array(loaded.ids, dtype=np.int64)
    return replace(
        loaded,
        ids=[ids[rows[row]] for row in kept],
        contents=of_bytes([contents[row] or b"" for row in kept]),
        sizes=items.sizes[kept],
        name=written(name_of(given.path)),
    )


def _row_table(given: _Labelled, reading: Reading) -> Loaded:
    """Texts or features: a row a sample."""
    options = reading.options
    if options.encoder == "auto" and given.features is None and not holds_texts(given.table, options):
        table = feature_columns(given.table, given.path, options)
        if not is_plain(table):  # in the test part, maybe
            reading = replace(reading, options=replace(options, encoder=NAME))
    train = _rows_of("train", given, reading)
    if "test" not in given.splits:
        return train
    options = replace(reading.options, encoder=train.encoder or reading.options.encoder)
    classes = train.classes if options.task == CLASSES else None
    return replace(train, test=_rows_of("test", given, replace(reading, options=options, classes=classes)))


def _rows_of(split: str, given: _Labelled, reading: Reading) -> Loaded:
    """The rows of one split."""
    table = given.table
    rows = np.flatnonzero(np.array(given.splits) == split)
    ids = feature_ids(table)
    true = reading.truth
    if isinstance(true, list) and len(true) == len(table):
        true = [true[row] for row in rows]
    samples, make = _samples(given, rows, reading.options)
    found = make(
        samples,
        [given.labels[row] for row in rows],
        options=reading.options,
        classes=reading.classes,
        truth=true,
        ids=[ids[row] for row in rows],
        name=written(name_of(given.path)),
    )
    if given.features is not None:
        found = _of_large(found, given.features, rows, reading.options)
    return replace(found, contents=of_table(samples) if isinstance(found.encoder, Columns) else hashes(found))


def _of_large(found: Loaded, features: Apart, rows: Labels, options: ReadOptions) -> Loaded:
    """Some rows of a large table, with the names of its columns, and of those that hold the labels."""
    labels = np.full(len(features.rows), UNLABELLED, dtype=np.int64)
    labels[rows] = found.y
    table = pd.DataFrame(features.rows.data, columns=list(features.names), copy=False)  # nothing is read yet
    noted = with_label_columns(replace(found, y=labels), table, options).labels_read
    return replace(found, columns=features.names, labels_read=noted)


def _samples(given: _Labelled, rows: Labels, options: ReadOptions) -> tuple[Any, Callable[..., Loaded]]:
    """Some rows of texts or features, and what makes a data set of them."""
    if given.features is not None:
        return take(given.features.rows, rows), from_arrays
    if holds_texts(given.table, options):
        return given.table["text"].iloc[rows], from_texts
    return feature_columns(given.table, given.path, options).iloc[rows], from_columns
