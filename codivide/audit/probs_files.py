"""Labels and somebody's class probabilities in files: which row, and which column, belongs to which label."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from codivide.audit.reading import EXACT, Reading, checked, mean_of, read
from codivide.core.errors import InputError, option
from codivide.core.files import check_there, expand_user
from codivide.core.types import Labels
from codivide.core.words import counted
from codivide.data.annotators import KEYS, PREFIX, is_long, key_column
from codivide.data.cells import is_textual, numbers
from codivide.data.contents import Contents
from codivide.data.database import is_database
from codivide.data.images import on_disk
from codivide.data.loaded import Loaded, left_out
from codivide.data.options import REGRESSION, ReadOptions
from codivide.data.packed import read_npz
from codivide.data.record import DataRecord
from codivide.data.rows import Rows
from codivide.data.sources import load_raw
from codivide.data.table_columns import TEXT_COLUMNS, missing_column, propose_labels, selected
from codivide.data.table_files import is_table
from codivide.data.tables import feature_ids, read_table, said_of_ids, table_labels, take_groups
from codivide.data.targets import texts_of

_ARRAYS = (".npy", ".npz")
_ROUNDED = 0.01  # by which a row of percentages may differ from 100 %, in parts of 1
_USUAL = ("pred_probs", "probs", "x")  # the array of an .npz file that is meant where there are several


class Labelled(NamedTuple):
    """Labels, and what is known of their samples."""

    labels: list[Any]  # None: none
    names: Sequence[str | int]
    keys: pd.DataFrame  # the columns that name a row: id, path, text
    groups: Labels | None = None
    texts: Sequence[str] | None = None
    images: Rows | None = None
    said: Sequence[str] = ()  # on how they were read
    contents: Contents | None = None  # a hash of each image file; None: the samples are none


class Brought(NamedTuple):
    """Labels with the probabilities of all files."""

    labelled: Labelled
    reading: Reading
    source: DataRecord  # of the labels


def bring(source: str, files: Sequence[Path], options: ReadOptions, classes: Sequence[str] | None = None) -> Brought:
    """The labels of a source, and the probabilities that files hold of them: of several models the mean.

    Args:
        source: a table with a column of labels; or anything else that ``load`` reads, such as a folder of photos.
        files: an array ``[N, C]`` (.npy, .npz), or a table with a column a class, for each model. Rows go by what names
            them in both (``id``, ``path`` or ``text``), else by their order.
        options: which column of the source is what.
        classes: the classes in the order of the columns, where these do not say it.

    Raises:
        InputError: labels or probabilities that cannot be read, or do not fit each other; it names the file.
    """
    check_files(files)
    labelled = labels_of(source, options)
    found = [_of_file(expand_user(file), labelled, source, options, classes) for file in files]
    return Brought(labelled, mean_of(found, list(map(str, files))), DataRecord.of(source, options))


def check_files(files: Sequence[Path]) -> None:
    """InputError where a file is not there, before anything is read."""
    for file in files:
        if not is_database(file) and not expand_user(file).exists():
            raise InputError(f"{option('probs', str(file))}: there is no such file")


def labels_of(source: str, options: ReadOptions) -> Labelled:
    """The labels of a source, with pictures where they are of image files.

    Raises:
        InputError: there are no labels.
    """
    check_there(source)
    if not is_table(source):
        return _of_loaded(load_raw(source, options=options))
    place = source if is_database(source) else expand_user(source)
    table = read_table(place, options)
    if is_long(table):
        raise InputError(f"{source} has a row an answer: first make one label of each sample, codivide consensus")
    if "label" not in table:
        several = [name for name in table.columns if str(name).startswith(PREFIX)]
        more = ". Answers of several annotators first need codivide consensus" if len(several) > 1 else ""
        proposed = propose_labels(table, source)
        raise InputError(f"{missing_column(table, source, options.label, 'label', proposed)}{more}")
    if "path" in table and any(on_disk(Path(place).parent, str(name)).is_file() for name in table["path"]):
        return _of_loaded(load_raw(source, options=options))
    table = selected(table, source, options)
    table, groups = take_groups(table, Path(source), options.group, needed=True)
    named = table["path"].map(str).tolist() if "path" in table else feature_ids(table)
    numbered = options.task == REGRESSION
    return Labelled(
        texts_of(table["label"], options).texts if numbered else table_labels(table["label"]),
        named,
        table[[name for name in KEYS if name in table]],
        groups,
        table["text"].fillna("").map(str).tolist() if "text" in table else None,
        said=said_of_ids(table),
    )


def _of_loaded(loaded: Loaded) -> Labelled:
    """The labels of data that were read as for a fit."""
    values = np.array([*loaded.classes, None], dtype=object)
    names = list(loaded.ids)
    return Labelled(
        values[loaded.y].tolist(),
        names,
        pd.DataFrame({"path" if loaded.of_images else "id": names}),
        loaded.groups,
        loaded.texts,
        loaded.x if len(loaded.x.shape) == 3 else None,
        (*loaded.said, *([left_out(loaded.skipped)] if loaded.skipped else [])),
        loaded.contents if loaded.of_images else None,
    )


def _of_file(
    path: Path, labelled: Labelled, source: str, options: ReadOptions, classes: Sequence[str] | None
) -> Reading:
    """The probabilities of one file, with the labels that they are about."""
    values: Any
    if is_array(path):
        values = array_of(path)
    else:
        values = _table(path, labelled.labels)
        values = beside(values, path, labelled.keys, Path(source), labelled.labels)
    known = None if classes is None else table_labels(pd.Series(list(classes), dtype=object))
    labels = np.array(labelled.labels, dtype=object)
    return read(labels, values, classes=known, unlabelled=options.unlabelled, what=source, name=str(path))


def is_array(path: Path) -> bool:
    """Whether a file holds arrays."""
    return path.suffix.lower() in _ARRAYS


def array_of(path: Path, called: str = _USUAL[0]) -> Any:
    """The array of a file; of several the one that is called so.

    Raises:
        InputError: none is.
    """
    held = read_npz(path)
    name = next((name for name in (called, *_USUAL) if name in held), None)
    if name is None and len(held) != 1:
        raise InputError(f"{path} holds {', '.join(held) or 'nothing'}: call the array that is meant {called}")
    return held[name or next(iter(held))]


def _table(path: Path, labels: Sequence[Any]) -> pd.DataFrame:
    """A table of probabilities, with the columns that are classes called like their labels.

    Raises:
        InputError: it has no line of names.
    """
    if not is_database(path) and not is_table(path):
        raise InputError(f"{path}: give probabilities as .npy, .npz, or a table such as .csv or .parquet")
    table = read_table(path)
    if _is_row([str(name) for name in table.columns]):
        raise InputError(
            f"the first line of {path} holds probabilities, not names: write the class of each column above it, or "
            "save an array as .npy"
        )
    classes = {str(label).casefold(): str(label) for label in labels if label is not None}
    return table.rename(columns={name: classes[name] for name in TEXT_COLUMNS if name in table and name in classes})


def _from_percent(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose cells with a percent sign ("2.2 %") are probabilities; rows of rounded ones sum to 1 again."""
    signed = [name for name in table if is_textual(table[name]) and table[name].map(_is_percent, "ignore").all()]
    read = {name: numbers(table[name]) / 100 for name in signed if table[name].notna().any()}
    if len(read) < 2:
        return table
    held = pd.DataFrame(read, index=table.index)
    total = held.sum(axis=1)
    return table.assign(**(held.div(total, axis=0) if (total - 1).abs().max() <= _ROUNDED else held))


def _is_percent(cell: object) -> bool:
    return bool(re.fullmatch(r"\s*\d+([.,]\d+)?\s*%\s*", str(cell)))


def _is_row(names: Sequence[str]) -> bool:
    """Whether names of columns are a row of probabilities; classes may be called 0 and 1."""
    try:
        values = np.array([float(name) for name in names])
    except ValueError:
        return False
    whole = all(name.strip().isdecimal() for name in names)
    return not whole and bool((values >= 0).all()) and abs(float(values.sum()) - 1) < EXACT


def beside(
    table: pd.DataFrame, path: Path, samples: pd.DataFrame, source: Path, labels: Sequence[Any] = ()
) -> pd.DataFrame:
    """The probabilities of each sample: by what names it in both tables, else row by row.

    Args:
        table: a column a class, and maybe what names the row.
        path: of the table, for messages.
        samples: the columns that name the samples, and others.
        source: of the samples, for messages.
        labels: names of classes, which name no row.

    Raises:
        InputError: a name that comes twice, or a sample without a row; or a row that is no distribution, by its place
            in the file.
    """
    taken = {str(label) for label in labels}
    about = [name for name in TEXT_COLUMNS if name in table and name not in taken]
    plain = _from_percent(table.drop(columns=about))
    if plain.shape[1] == 0:
        raise InputError(f"{path} has no column of a class (columns: {', '.join(about)}), so it holds no probabilities")
    checked(plain, str(path))
    return aligned(plain, table[about], path, samples, source)


def aligned(plain: pd.DataFrame, about: pd.DataFrame, path: Path, samples: pd.DataFrame, source: Path) -> pd.DataFrame:
    """The rows of a table in the order of the samples: by what names them in both, else as they are.

    Args:
        plain: what the table says of each row.
        about: its columns that name rows.
        path: of the table, for messages.
        samples: the columns that name the samples, and others.
        source: of the samples, for messages.

    Raises:
        InputError: a name that comes twice, or a sample without a row.
    """
    key = key_column(about, samples)
    if key is None:
        return plain
    names, wanted = about[key].map(str), samples[key].map(str)
    if names.tolist() == wanted.tolist():  # texts may come twice
        return plain
    if names.duplicated().any():
        raise InputError(f"{path}: {key} {names[names.duplicated()].iloc[0]!r} comes twice")
    again = wanted[wanted.duplicated()]
    if len(again) and key != "text":
        raise InputError(
            f"{source}: {key} {again.iloc[0]!r} comes twice, and rows of {path} go by it: give each sample a name of "
            f"its own, or leave {key} out of {path}, whose rows then go by their place"
        )
    missing = wanted[~wanted.isin(names)]
    if len(missing):
        raise InputError(
            f"{path} has no row of {key} {missing.iloc[0]!r}, which {source} has (its first is of {names.iloc[0]!r})"
        )
    if len(again):
        warnings.warn(
            counted(
                len(again),
                f"sample of {source} has the text of another and takes",
                f"samples of {source} have the text of another and take",
            )
            + f" its row of {path}",
            stacklevel=2,
        )
    if extra := int((~names.isin(wanted)).sum()):
        one, many = (
            f"row of {path} is of no sample in {source} and is",
            f"rows of {path} are of no sample in {source} and are",
        )
        warnings.warn(f"{counted(extra, one, many)} left out", stacklevel=2)
    rows = pd.Index(names).get_indexer(pd.Index(wanted))
    return plain.iloc[rows].reset_index(drop=True)
