"""Manifests of images and tables of features in CSV or Parquet files, and truth that comes apart."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from codivide.core.errors import InputError
from codivide.core.files import unguard
from codivide.data import annotators
from codivide.data.arrays import choose_augment, from_arrays, true_indices
from codivide.data.cache import Decoded, Entry, decode_files
from codivide.data.labels import MISSING_TEXT, encode
from codivide.data.loaded import Loaded
from codivide.data.options import ReadOptions
from codivide.data.rows import take
from codivide.data.texts import from_texts
from codivide.noise.consensus import Consensus

TABLES = (".csv", ".parquet")
HELD_OUT = ("test", "val", "valid", "validation")
TEXT_COLUMNS = ("path", "label", "split", "true_label", "id", "text", "annotator")
GUARDED_COLUMNS = ("label", "true_label", "id")  # in CSV files that were written for spreadsheets, see ``files.guard``

Classes = Sequence[Any] | None


def load_table(path: Path, options: ReadOptions, classes: Classes = None, truth: object = None) -> Loaded:
    """A manifest of images (columns ``path,label``), texts (``text,label``) or features (``label`` and numbers).

    All may have ``split`` (train, test; val, valid and validation stand in where there is no test) and
    ``true_label``; texts and features may have ``id``. Paths are relative to the manifest's folder. Of texts, other
    columns are left alone.

    Several annotators have a column each, ``label_...`` (or ``options.annotators``) in the place of ``label``, or a row
    for every answer, with the columns ``annotator`` and ``label``; or a table of their own, ``options.answers``. Their
    consensus becomes the label; rows to test on take ``true_label`` where they have one.

    Args:
        path: a ``.csv`` or ``.parquet`` file.
        options: how to read and cache the images.
        classes: the classes in order, where they are known.
        truth: true labels, instead of the column: as for :func:`load_folder`.

    Returns:
        The data set; ids are the paths as written, the column ``id``, or row numbers.

    Raises:
        InputError: a column that is missing, a value that is wrong (it names the row), or too many unreadable images.
    """
    return from_table(read_table(path, options.annotators, options.label), path, options, classes, truth)


def from_table(
    table: pd.DataFrame, path: Path, options: ReadOptions, classes: Classes = None, truth: object = None
) -> Loaded:
    """The data set of a table that is already read; ``path`` is for messages and for the paths of images."""
    table, answers = _answers(table, path, options)
    consensus: Consensus | None = None
    if answers is not None:
        consensus, classes = answers.settle(options.unlabelled, classes, path.name)
        labels = [classes[code] if code >= 0 else None for code in consensus.labels]
    elif "label" in table:
        labels = table_labels(table["label"])
    else:
        raise InputError(
            f"{path} has no column 'label' (columns: {_listed(table)}); --label names the column that holds the labels."
        )
    splits = _splits(table, path)
    true_labels = table_labels(table["true_label"]) if "true_label" in table else None
    if consensus is not None and true_labels is not None:
        pairs = zip(labels, true_labels, splits, strict=True)
        labels = [label if true is None or split == "train" else true for label, true, split in pairs]
    truth = true_labels if truth is None else truth
    if "path" not in table:
        loaded = _row_table(table, labels, splits, path, options, classes, truth)
        train = np.flatnonzero(np.array(splits) == "train")
    else:
        loaded = _manifest(table, labels, splits, path, options, classes, truth)
        place = {name: row for row, name in enumerate(entry.id for entry in manifest_entries(table, path))}
        train = np.array([place[name] for name in loaded.ids if isinstance(name, str)])
    return loaded if consensus is None else replace(loaded, annotations=consensus.take(train))


def _with_label(table: pd.DataFrame, path: Path, name: str) -> pd.DataFrame:
    """The table with its column ``name`` called "label"."""
    if name == "label":
        return table
    if name not in table:
        raise InputError(f"{path} has no column {name!r} (columns: {_listed(table)}).")
    if "label" in table:
        raise InputError(
            f"{path} has columns {name!r} and 'label'; rename one, so that it is clear which holds the labels."
        )
    return table.rename(columns={name: "label"})


def _listed(table: pd.DataFrame) -> str:
    """The names of the columns, for a message: at most 20."""
    names = [str(name) for name in table.columns]
    return ", ".join(names if len(names) <= 20 else [*names[:10], "...", *names[-10:]])


def _answers(table: pd.DataFrame, path: Path, options: ReadOptions) -> tuple[pd.DataFrame, annotators.Answers | None]:
    """The table with one row a sample and without the annotators' columns, and their answers where there are any."""
    if options.answers is not None:
        other = read_table(options.answers)
        if "label" not in other:
            raise InputError(f"{options.answers} has no column 'label' (columns: {', '.join(other.columns)}).")
        found = annotators.from_file(options.answers, table_labels(other["label"]), other, table, path)
        return table.drop(columns=[name for name in ("label",) if name in table]), found
    if annotators.is_long(table) and not options.annotators:
        return annotators.from_long(table, table_labels(table["label"]), path)
    if "annotator" in table and not options.annotators:
        raise InputError(
            f"{path} has a column 'annotator': it needs 'label', too, and one of id, path and text to name the sample."
        )
    columns = annotators.label_columns(table, path, options.annotators)
    if not columns:
        return table, None
    values = table_labels(pd.concat([table[name] for name in columns], ignore_index=True))
    rest = table.drop(columns=[*columns, *(name for name in ("label",) if name in table)], errors="ignore")
    return rest, annotators.from_columns(columns, values)


def _manifest(
    table: pd.DataFrame,
    labels: list[Any],
    splits: list[str],
    path: Path,
    options: ReadOptions,
    classes: Classes,
    truth: object,
) -> Loaded:
    entries = manifest_entries(table, path)
    train = [row for row, split in enumerate(splits) if split == "train"]
    ids = [entry.id for entry in entries]
    given = [labels[row] for row in train]
    names = [ids[row] for row in train]
    _, known = encode(given, unlabelled=options.unlabelled, classes=classes, what=path.name, names=names)
    decoded = decode_files(entries, path, options)
    return assemble(entries, labels, splits, decoded, options, known, truth, path.stem)


def read_table(path: Path, labels: Sequence[str] = (), label: str = "label") -> pd.DataFrame:
    """A CSV or Parquet file with the named columns as text (missing: None or empty) and the others as numbers.

    The apostrophe with which a CSV file keeps a spreadsheet from taking a label or an id for a formula is taken away.

    Args:
        path: the file.
        labels: more columns of labels, to be read as text.
        label: the column that holds the labels; it is called "label" in what is returned.

    Returns:
        At least one row.

    Raises:
        InputError: the file cannot be parsed, or has no rows.
    """
    try:
        if path.suffix.lower() == ".parquet":
            table: pd.DataFrame = pyarrow.parquet.read_table(path).to_pandas(ignore_metadata=True)
        else:
            columns = pd.read_csv(path, nrows=0, encoding="utf-8-sig").columns
            named = {*TEXT_COLUMNS, *labels, label}
            one_each = label not in {str(name).strip() for name in columns}
            text = [
                name
                for name in columns
                if str(name).strip() in named or (one_each and str(name).strip().startswith(annotators.PREFIX))
            ]
            table = pd.read_csv(
                path,
                encoding="utf-8-sig",
                dtype=dict.fromkeys(text, "object"),
                keep_default_na=False,
                na_values={name: ["", "nan", "NaN"] for name in columns if name not in text},
            )
    except (
        ValueError,
        OSError,
        pyarrow.ArrowException,
    ) as error:  # UnicodeDecodeError, ParserError, ... are ValueErrors
        raise InputError(f"{path} cannot be read: {error}") from error
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    table = _with_label(table, path, label)
    for name in GUARDED_COLUMNS if path.suffix.lower() == ".csv" else ():
        if name in table:
            table[name] = table[name].map(unguard)
    if len(table) == 0:
        raise InputError(f"{path} has no rows.")
    return table


def table_labels(column: pd.Series[Any]) -> list[Any]:
    """A column of labels: whole numbers where every text is one, as written otherwise; None where empty.

    "3.0" counts as one where a label is missing: pandas writes whole numbers so only to hold NaN among them.
    """
    values: list[Any] = column.astype(object).where(column.notna(), None).tolist()
    texts = [value.strip() for value in values if isinstance(value, str)]
    numbers = [text for text in texts if text not in MISSING_TEXT]
    end = ".0" if len(numbers) < len(values) and all(text.endswith(".0") for text in numbers) else ""
    if numbers and all(_is_whole(text.removesuffix(end)) for text in numbers):
        whole = [value.strip().removesuffix(end) if isinstance(value, str) else value for value in values]
        return [int(value) if isinstance(value, str) and _is_whole(value) else value for value in whole]
    return values


def manifest_entries(table: pd.DataFrame, path: Path) -> list[Entry]:
    """The image files of a manifest, in its order.

    Raises:
        InputError: an empty path, or one that comes twice; it names the rows.
    """
    entries: list[Entry] = []
    seen: dict[str, int] = {}
    for row, value in enumerate(table["path"].tolist()):
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{path}: row {row} (line {row + 2}) has no path.")
        name = value.replace("\\", "/") if os.sep == "\\" else value
        if seen.setdefault(name, row) != row:
            raise InputError(f"{path}: {name!r} comes twice, in rows {seen[name]} and {row}; a sample needs one row.")
        entries.append(Entry(name, path.parent / name))
    return entries


def assemble(
    entries: list[Entry],
    labels: Sequence[Any],
    splits: Sequence[str],
    decoded: Decoded,
    options: ReadOptions,
    classes: Sequence[Any],
    truth: object,
    name: str,
) -> Loaded:
    """The data set of the images that could be read, with its test part.

    Args:
        entries: all image files.
        labels: the given label of each.
        splits: "train", "test" or "unused" for each.
        decoded: the images that could be read.
        options: the value that means "no label", and the views.
        classes: the classes in order.
        truth: true labels by id, for every file, for every row that could be read, or in a CSV file.
        name: what to call the data.

    Returns:
        The data set.

    Raises:
        InputError: a label that is not in ``classes``, or truth that does not fit.
    """
    ids = [entries[position].id for position in decoded.kept]
    split = np.array([splits[position] for position in decoded.kept])
    given = [labels[position] for position in decoded.kept]
    y, known = encode(given, unlabelled=options.unlabelled, classes=classes, what=name, names=ids)
    if isinstance(truth, list) and len(truth) == len(entries):  # a column of the manifest, unreadable files included
        truth = [truth[position] for position in decoded.kept]
    train = np.flatnonzero(split == "train")
    whole = Loaded(
        x=decoded.rows,
        y=y,
        classes=known,
        ids=ids,
        augment=choose_augment(options.augment, decoded.rows.shape),
        skipped=decoded.skipped,
        name=name,
    )
    true = _true(truth, ids, train, known, options)
    test = _part(whole, np.flatnonzero(split == "test"), true)
    training = _part(whole, train, true)
    if training is None:
        raise InputError(f"{name}: none of the training images can be read.")
    return replace(training, test=test, skipped=decoded.skipped)


def _part(whole: Loaded, rows: NDArray[np.int64], truth: NDArray[np.int64] | None) -> Loaded | None:
    if len(rows) == 0:
        return None
    return replace(
        whole,
        x=take(whole.x, rows),
        y=whole.y[rows],
        ids=[whole.ids[row] for row in rows],
        truth=None if truth is None else truth[rows],
        skipped=(),
    )


def _true(
    truth: object, ids: list[str], train: NDArray[np.int64], classes: Sequence[Any], options: ReadOptions
) -> NDArray[np.int64] | None:
    """True labels of all rows: by id (mapping or CSV file), for every row, or for the training rows alone."""
    if truth is None:
        return None
    if isinstance(truth, str | Path):
        table = read_table(Path(truth))
        if not {"path", "label"} <= set(table.columns):
            raise InputError(f"{truth} needs columns path,label (it has {', '.join(table.columns)}).")
        truth = dict(zip(table["path"], table_labels(table["label"]), strict=True))
    if isinstance(truth, dict):
        if not truth.keys() & set(ids):
            raise InputError("none of the true labels belongs to a row: their ids must be the paths of the images.")
        truth = [truth.get(name) for name in ids]
    if isinstance(truth, Sequence) and len(truth) != len(ids) and len(truth) == len(train):
        whole = np.full(len(ids), -1, dtype=np.int64)
        known = true_indices(truth, len(train), classes, options)
        assert known is not None
        whole[train] = known
        return whole
    return true_indices(truth, len(ids), classes, options, ids)


def warn_about_unused(source: Path, names: Sequence[str]) -> None:
    """Say that there are more held-out parts than the one that is used."""
    if names:
        warnings.warn(f"{source}: {', '.join(names)} is not used: there is another test part.", stacklevel=4)


def _is_whole(text: str) -> bool:
    """Whether a text is how Python writes an integer (so "007" stays a name)."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 19 and str(int(text)) == text


def _splits(table: pd.DataFrame, path: Path) -> list[str]:
    """``train``, ``test`` or ``unused`` for each row."""
    if "split" not in table:
        return ["train"] * len(table)
    names = [str(value or "train").strip().casefold() for value in table["split"].tolist()]
    for row, name in enumerate(names):
        if name not in ("train", *HELD_OUT):
            raise InputError(f"{path}: row {row} (line {row + 2}) has split {name!r}; use train, test or val.")
    if "train" not in names:
        raise InputError(f"{path} has no row of split 'train'.")
    held_out = [name for name in HELD_OUT if name in names]
    warn_about_unused(path, held_out[1:])
    return ["test" if name in held_out[:1] else "unused" if name != "train" else name for name in names]


def _row_table(
    table: pd.DataFrame,
    labels: list[Any],
    splits: list[str],
    path: Path,
    options: ReadOptions,
    classes: Classes,
    truth: object,
) -> Loaded:
    """Texts or features: a row a sample."""
    split = np.array(splits)
    ids = feature_ids(table)
    features = table["text"] if "text" in table else feature_columns(table, path)

    def part(name: str, known: Classes, reading: ReadOptions) -> Loaded:
        rows = np.flatnonzero(split == name)
        true = truth
        if isinstance(true, list) and len(true) == len(table):
            true = [true[row] for row in rows]
        given = [labels[row] for row in rows]
        names = [ids[row] for row in rows]
        part_of = features.iloc[rows]
        make = from_texts if "text" in table else from_arrays
        return make(part_of, given, options=reading, classes=known, truth=true, ids=names, name=path.stem)

    train = part("train", classes, options)
    if "test" not in splits:
        return train
    return replace(train, test=part("test", train.classes, replace(options, encoder=train.encoder or options.encoder)))


def feature_ids(table: pd.DataFrame) -> list[str | int]:
    """The column ``id``, else row numbers."""
    return table["id"].tolist() if "id" in table else list(range(len(table)))


def feature_columns(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The columns of numbers.

    Raises:
        InputError: none, or a column that is not of numbers; it names the row and the value.
    """
    features = table.drop(columns=[name for name in TEXT_COLUMNS if name in table])
    if features.shape[1] == 0:
        raise InputError(f"{path} has neither a column 'path' or 'text' nor columns of numbers.")
    for name in features.columns:
        if not pd.api.types.is_numeric_dtype(features[name]):
            bad = pd.to_numeric(features[name], errors="coerce").isna().to_numpy()
            row = int(np.argmax(bad))
            raise InputError(
                f"{path}: column {name!r} is not of numbers: row {row} (line {row + 2}) is "
                f"{features[name].iloc[row]!r}. For images name the column of files 'path', for texts 'text'."
            )
    return features


def arranged(table: pd.DataFrame, columns: Sequence[str] | None, where: str) -> pd.DataFrame:
    """The columns of a table by name, in the order in which a model was trained on them; others are left out.

    Args:
        table: with columns of any names and order.
        columns: names of the features; None: not known, so the table stays as it is.
        where: the table comes from, for the message.

    Raises:
        InputError: a column is missing, or there twice.
    """
    if columns is None:
        return table
    held = [str(name) for name in table.columns]
    wrong = [name for name in columns if held.count(name) != 1]
    if wrong:
        few = f"{wrong[0]!r}" + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")
        raise InputError(
            f"{where} needs one column for each feature that the model was trained on; check {few} "
            f"(columns: {_listed(table)})."
        )
    return table.iloc[:, [held.index(name) for name in columns]]
