"""Any source to a data set, or to inputs of a model: paths, names, arrays, data sets of other libraries.

To add a kind of source, write how it is read and its line in ``SOURCES``; ``fit`` and ``predict`` both go by it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.utils.data
from scipy import sparse

from codivide.core.errors import InputError, either, no_data, option
from codivide.core.files import expand_user
from codivide.data import encode, listed, named
from codivide.data.arrays import choose_augment, from_arrays
from codivide.data.arrow import as_pandas
from codivide.data.columns import Columns, as_frame, from_columns, is_mixed
from codivide.data.database import DATABASE, database, is_database, is_sqlite
from codivide.data.encoder import Encoder, Taking
from codivide.data.folder import load_folder
from codivide.data.hugging_face import (
    as_list,
    hugging_face_inputs,
    is_saved,
    load_hugging_face_table,
    load_saved,
    saved_inputs,
    tables_of,
)
from codivide.data.images import written
from codivide.data.inputs import fit_rows, from_files, from_memory, from_texts_in_memory
from codivide.data.items import hugging_face, items_inputs, load_items, load_splits, splits_inputs
from codivide.data.label_copies import with_label_columns
from codivide.data.labels import OneClassError, unmasked
from codivide.data.levels import seen_levels
from codivide.data.loaded import Loaded, Skipped
from codivide.data.options import CLASSES, DEFAULT, REGRESSION, ReadOptions
from codivide.data.own import Own
from codivide.data.packed import load_npz, npz_inputs
from codivide.data.row_order import index_names, said_of_index, warn_of_order
from codivide.data.rows import Rows
from codivide.data.source import Classes, Inputs, Part, Reading, Source, Wanted, as_path
from codivide.data.table_files import COMPRESSIONS, FORMATS, folder_parts, is_table, several_files
from codivide.data.table_sets import frame_inputs, load_frame, load_table, table_inputs
from codivide.data.targets import all_alike, options_for, with_points
from codivide.data.texts import NO_TEXTS, TAKES_TEXTS, are_texts, from_texts

__all__ = ["SOURCES", "ReadOptions", "load", "read_inputs"]


def _is_name(source: object) -> bool:
    return as_path(source) is not None and str(source) in named.names()


def _is_folder(source: object) -> bool:
    path = as_path(source)
    return path is not None and path.is_dir()


def _is_table(source: object) -> bool:
    if is_database(source):
        return True
    path = as_path(source)
    return path is not None and ((is_table(path) and path.is_file()) or bool(folder_parts(path)))


def _is_file(source: object, *suffixes: str) -> bool:
    path = as_path(source)
    return path is not None and path.suffix.lower() in suffixes and path.is_file()


def _are_files(source: object) -> bool:
    return isinstance(source, list | tuple) and bool(source) and all(as_path(item) is not None for item in source)


def _load_texts(source: object, reading: Reading) -> Loaded:
    return from_texts(source, reading.y, options=reading.options, **reading.known())


def _load_arrays(source: object, reading: Reading) -> Loaded:
    options, known = reading.options, reading.known()
    if is_mixed(source) or isinstance(options.encoder, Columns):
        return from_columns(as_frame(source), reading.y, options=options, **known)
    loaded = from_arrays(source, reading.y, options=options, **known)
    return with_label_columns(loaded, source, options) if getattr(source, "ndim", 0) == 2 else loaded


def _memory_inputs(source: Any, wanted: Wanted) -> Inputs:
    if not wanted.table:
        return from_memory(source, wanted)
    frame = as_frame(source)
    return Inputs(frame, range(len(frame)))


_CHOSEN = ("label", "text", "columns", "drop")  # options that name columns
_COLUMNS = (*_CHOSEN, "annotators", "group", "weight")  # all of them

#: Every kind of source; something is of the first kind that recognises it and can do what is asked.
SOURCES: tuple[Source, ...] = (
    Source("a public data set", _is_name, named.load_named),
    Source(
        "a Hugging Face data set in a folder",
        is_saved,
        load_saved,
        saved_inputs,
        texts=True,
        tables=True,
        columns=_COLUMNS,
    ),
    Source(
        "a table",
        _is_table,
        load_table,
        table_inputs,
        texts=True,
        tables=True,
        columns=_COLUMNS,
    ),
    Source("a folder", _is_folder, load_folder, from_files),
    Source("packed arrays", lambda source: _is_file(source, ".npz"), load_npz, npz_inputs, texts=True),
    Source("an array in a file", lambda source: _is_file(source, ".npy"), None, npz_inputs, texts=True),
    Source("an image file", lambda source: as_path(source) is not None, None, from_files),
    Source(
        "a list of image files",
        listed.are_image_files,
        listed.load_image_files,
        listed.listed_file_inputs,
        brings_labels=False,
    ),
    Source("a list of files", _are_files, None, from_files),
    Source(
        "a list of images",
        listed.are_pillow_images,
        listed.load_pillow_images,
        listed.pillow_inputs,
        brings_labels=False,
    ),
    Source(
        "a Hugging Face data set without images",
        lambda source: tables_of(source) is not None,
        load_hugging_face_table,
        hugging_face_inputs,
        texts=True,
        tables=True,
        columns=_COLUMNS,
    ),
    Source("a Hugging Face data set", lambda source: hugging_face(source) is not None, load_splits, splits_inputs),
    Source(
        "a torch data set",
        lambda source: isinstance(source, torch.utils.data.Dataset | torch.utils.data.DataLoader),
        load_items,
        items_inputs,
    ),
    Source(
        "a data frame",
        lambda source: isinstance(source, pd.DataFrame),
        load_frame,
        frame_inputs,
        brings_labels=False,
        texts=True,
        tables=True,
        columns=_COLUMNS,
    ),
    Source(
        "texts",
        are_texts,
        _load_texts,
        from_texts_in_memory,
        brings_labels=False,
        texts=True,
    ),
    Source(
        "arrays",
        lambda source: as_path(source) is None,
        _load_arrays,
        _memory_inputs,
        brings_labels=False,
        tables=True,
    ),
)


def load(
    source: object,
    y: object = None,
    *,
    options: ReadOptions = DEFAULT,
    classes: Classes = None,
    truth: object = None,
) -> Loaded:
    """Read a data set.

    Args:
        source: a path (a folder with one sub-folder a class; a ``.csv`` or ``.parquet`` manifest or table of
            features or texts; an ``.npz`` file of x and y), the name of a public set, arrays (images ``[N, H, W]``,
            ``[N, H, W, C]``, ``[N, C, H, W]`` or features ``[N, D]``, sparse ones and data frames too), texts (a list,
            series or array of strings, a data frame with a column ``text``), a map-style torch Dataset of
            (image, label), or a Hugging Face data set.
        y: labels ``[N]``, or ``[N, A]`` of several annotators, where ``source`` is an array or texts, else None.
        options: how to read it.
        classes: the classes in order, where they are known (a test part); else the different labels, sorted.
        truth: true labels where they are known: ``[N]``, and for folders and manifests also a mapping from path to
            label or a CSV file of ``path,label``. Methods never see them.

    Returns:
        The data set, with its test part where the source has one.

    Raises:
        InputError: the message says what is wrong, where, and what to do.
    """
    raw = load_raw(source, y, options=options, classes=classes, truth=truth)
    return encode.of_images(raw, options)


def load_raw(
    source: object,
    y: object = None,
    *,
    options: ReadOptions = DEFAULT,
    classes: Classes = None,
    truth: object = None,
    part: Part | None = None,
) -> Loaded:
    """``load``, but images stay images whatever encoder is asked for: ``encode.of_images`` can follow.

    Of image files those of ``part`` alone are read; of other sources all, and the part is taken afterwards.
    """
    warn_of_order(source, y=y)
    ids, said = index_names(source), said_of_index(source)
    source, y = unmasked(as_pandas(as_list(source)), float), unmasked(as_list(y))
    options = options_for(options)
    choose_augment(options.augment, (1,))
    if isinstance(options.encoder, str):
        encode.check_name(options.encoder)
    if isinstance(options.encoder, Own) and options.encoder.is_made and as_path(source) is not None:
        raise InputError(
            f"encoder holds embeddings, whose rows belong to samples by their order, and files in {source} have none "
            "that is sure: give X as a list of the files, or of texts, in the order of the embeddings, and y"
        )
    kind = next((kind for kind in SOURCES if kind.labelled is not None and kind.recognised(source)), None)
    _check_columns(kind, options)
    if kind is None or kind.labelled is None:
        raise _no_source(Path(str(source)))
    if kind.brings_labels and y is not None:
        raise InputError("this source brings its own labels: y must be None (give true labels as truth)")
    try:
        loaded = kind.labelled(source, Reading(options, classes, truth, y, ids, part))
    except OneClassError as error:
        raise error if options.task == CLASSES else all_alike(error, options.task) from None
    loaded = replace(loaded, said=(*said, *loaded.said))
    return with_points(loaded) if options.task == REGRESSION else loaded


def read_inputs(
    source: object,
    shape: Sequence[int],
    dtype: torch.dtype,
    options: ReadOptions = DEFAULT,
    encoder: Encoder | None = None,
    *,
    columns: Sequence[str] | None = None,
) -> tuple[Rows, list[str | int], tuple[Skipped, ...]]:
    """Read samples without labels as rows that a model takes.

    Args:
        source: an image file, a folder of images (searched to any depth), a list of both, a ``.csv`` or ``.parquet``
            file of features, paths or texts, an ``.npy`` or ``.npz`` file, arrays, texts, or a map-style data set of
            images.
        shape: the model's sample shape, ``(channels, height, width)`` or ``(features,)``. uint8 images of another
            size are scaled to cover it and cropped; grey and colour are converted.
        dtype: the model's sample type, ``torch.uint8`` or ``torch.float32``.
        options: threads, ``max_bad`` and the progress bar.
        encoder: the model's, where it has one; the source is then texts or images, and not features.
        columns: names of the features of a table that the model was trained on; None: they had none.

    Returns:
        The rows ``[M, *shape]``, what names each (a path or a row number), and the files that were left out.

    Raises:
        InputError: missing or unreadable files, or samples that do not fit the model.
    """
    source = unmasked(as_pandas(as_list(source)), float)
    path = as_path(source)
    name = "X" if path is None else written(str(path))
    if isinstance(source, pd.DataFrame) and not len(source):
        raise InputError(f"{name} has 0 sample(s): the table has no rows")
    model = wanted = Wanted(tuple(shape), dtype, options, columns=columns, name=name)
    made = isinstance(encoder, Own) and encoder.is_made
    if made:
        _check_made(source, shape[0], name)
        encoder = None
    if encoder is not None:
        kind = torch.uint8 if encoder.takes == "image" else torch.float32
        texts, table = encoder.takes == "text", encoder.takes == "table"
        read = replace(options, encoder=encoder) if table else options
        wanted = Wanted(encoder.shape, kind, read, texts, table=table, name=name)
    found = _inputs(source, wanted)
    rows: Any = found.samples
    if not isinstance(rows, list | pd.DataFrame):
        if encoder is not None and encoder.takes == "image" and len(rows.shape) == 3:
            rows = seen_levels(rows, name)
        rows = fit_rows(rows, wanted)
    if isinstance(encoder, Columns):
        rows = fit_rows(encoder.encode_new(rows, name), model)
    elif encoder is not None:
        rows = fit_rows(encoder.encode(rows, options.encoding), model)
    return rows, list(found.names), found.skipped


def _check_made(source: object, features: int, name: str) -> None:
    """InputError where a model of embeddings is given texts or images, which nobody told it to make them of."""
    texts = isinstance(source, list | tuple) and bool(source) and isinstance(source[0], str)
    dimensions = getattr(source, "ndim", 2)
    if texts or dimensions not in (1, 2) or getattr(getattr(source, "dtype", None), "kind", "f") in "OUS":
        raise InputError(
            f"this model was made of embeddings of your own: give those of the new samples, [N, {features}], and not "
            f"what {name} holds"
        )


def rows_for_model(samples: Any, model: Taking) -> Any:
    """Samples as a model takes them: rows and fitting tensors as they are, else read as in ``read_inputs``.

    Raises:
        InputError: samples that do not fit the model, or a file that cannot be read.
    """
    plain = isinstance(samples, np.ndarray | pd.DataFrame | pd.Series | list | str | Path)
    plain = plain or (isinstance(samples, torch.Tensor) and tuple(samples.shape[1:]) != tuple(model.shape))
    if not plain and not sparse.issparse(samples):
        return samples
    rows, _, skipped = read_inputs(samples, model.shape, model.dtype, encoder=model.encoder, columns=model.columns)
    if skipped:
        raise InputError(f"{skipped[0].path} cannot be read: {skipped[0].reason}")
    return rows


def _inputs(source: Any, wanted: Wanted) -> Inputs:
    """What the first kind that can give what is wanted reads."""
    several = isinstance(source, list | tuple) and len(source) > 1
    if several and all(isinstance(one, Path) and is_table(one) for one in source):
        raise InputError(f"{len(source)} tables were given: give one at a time")
    for kind in SOURCES:
        able = (kind.texts or not wanted.texts) and (kind.tables or not wanted.table)
        if kind.inputs is not None and able and kind.recognised(source):
            return kind.inputs(source, wanted)
    _check_there(source)
    if wanted.table:
        raise InputError(f"the model takes tables: give a file such as .csv or .parquet, or a data frame, not {source}")
    if as_path(source) is not None:
        raise InputError(f"the model takes texts: give a .csv or .parquet file with a column text, not {source}")
    if isinstance(source, list | tuple) and len(source) == 0:
        raise InputError(NO_TEXTS)
    raise InputError(TAKES_TEXTS)


def _check_there(source: Any) -> None:
    """InputError where a path leads nowhere."""
    path = as_path(source)
    if path is not None and not os.path.exists(path):
        raise InputError(f"there is no file or folder {str(path)[:200]!r}")


def _check_columns(kind: Source | None, options: ReadOptions) -> None:
    """InputError where columns or a table of annotators are named, but the source is no table."""
    able = () if kind is None else kind.columns
    for name in _CHOSEN:
        value = getattr(options, name)
        if value != getattr(DEFAULT, name) and name not in able:
            given = value if isinstance(value, str) else ",".join(value)
            raise InputError(f"{option(name, given)}: columns can be named for a table only, such as .csv or .parquet")
    if options.group is not None and "group" not in able:
        named = either(f"--group {options.group}", f"groups={options.group!r}")
        raise InputError(
            f"{named}: a column of groups can be named for a table only, such as .csv or .parquet; "
            "elsewhere pass groups [N] to the estimator's fit"
        )
    if (options.annotators or options.answers is not None) and "annotators" not in able:
        raise InputError("annotators can be named for a .csv or .parquet table; elsewhere pass labels [N, annotators]")
    if options.weight is not None and "weight" not in able:
        raise InputError(
            f"--weight {options.weight}: a column of weights can be named for a .csv or .parquet table only; elsewhere "
            "pass sample_weight to fit"
        )


def _no_source(path: Path) -> InputError:
    there = expand_user(path)
    if is_sqlite(there):
        try:
            database(f"{DATABASE}{path}")
        except InputError as error:  # which names the tables
            return error
    if there.exists():
        if several := several_files(there):
            return InputError(f"{path} {several}")
        return InputError(
            f"{path} is no data set: use a folder, a table ({', '.join(FORMATS)}; also {', '.join(COMPRESSIONS)}), "
            "or an .npz file of x and y"
        )
    return no_data(str(path), named.names())
