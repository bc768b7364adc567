"""Any source to a data set: paths, names, arrays, data sets of other libraries."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch.utils.data

from codivide.core.errors import InputError, nearest
from codivide.core.files import expand_user
from codivide.data import encode, named
from codivide.data.arrays import choose_augment, from_arrays, true_indices
from codivide.data.folder import load_folder
from codivide.data.inputs import read_inputs, read_npz
from codivide.data.items import HuggingFaceItems, Items, Joined, collect, hugging_face
from codivide.data.labels import NO_LABEL
from codivide.data.loaded import Loaded
from codivide.data.options import DEFAULT, ReadOptions
from codivide.data.rows import check_alike
from codivide.data.tables import HELD_OUT, TABLES, from_table, load_table
from codivide.data.texts import are_texts, from_texts

__all__ = ["ReadOptions", "load", "read_inputs"]

Classes = Sequence[Any] | None


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
    choose_augment(options.augment, (1,))
    if isinstance(options.encoder, str):
        encode.check_name(options.encoder)
    _check_columns(source, options)
    return encode.of_images(_read(source, y, options, classes, truth), options)


def _check_columns(source: object, options: ReadOptions) -> None:
    """InputError where columns or a table of annotators are named, but the data are no table."""
    if options.label != "label" and not (isinstance(source, str | Path) and Path(source).suffix.lower() in TABLES):
        raise InputError(f"--label {options.label}: a column of labels can be named for a .csv or .parquet table only.")
    if not options.annotators and options.answers is None:
        return
    tabular = isinstance(source, pd.DataFrame) or (
        isinstance(source, str | Path) and Path(source).suffix.lower() in TABLES
    )
    if not tabular:
        raise InputError("annotators can be named for a .csv or .parquet table; elsewhere pass labels [N, annotators].")


def _read(source: object, y: object, options: ReadOptions, classes: Classes, truth: object) -> Loaded:
    splits = hugging_face(source)
    brings_labels = isinstance(source, str | Path | torch.utils.data.Dataset) or splits is not None
    if brings_labels and y is not None:
        raise InputError("this source brings its own labels: y must be None (give true labels as truth).")
    if isinstance(source, str | Path):
        return _load_path(source, options, classes, truth)
    if splits is not None:
        return _load_splits(splits, options, classes, truth)
    if isinstance(source, torch.utils.data.Dataset):
        return _load_dataset(source, options, classes, truth)
    if isinstance(source, pd.DataFrame) and "text" in source and y is None:
        table = source.rename(columns=str).reset_index(drop=True)
        return from_table(table, Path("the data frame"), options, classes, truth)
    make = from_texts if are_texts(source) else from_arrays
    return make(source, y, options=options, classes=classes, truth=truth)


def _load_path(source: str | Path, options: ReadOptions, classes: Classes, truth: object) -> Loaded:
    path = expand_user(source)
    if str(source) in named.names():
        if path.exists():
            warnings.warn(f"{source} is read as the public data set; write ./{source} for the folder.", stacklevel=4)
        return _load_named(str(source), options, classes, truth)
    if path.is_dir():
        return load_folder(path, options, classes, truth)
    if not path.is_file():
        known = named.names()
        hint = nearest(source, known) or f" Public data sets: {', '.join(known)}."
        raise InputError(f"there is no file, folder or public data set {str(source)!r}.{hint}")
    if path.suffix.lower() in TABLES:
        return load_table(path, options, classes, truth)
    if path.suffix.lower() == ".npz":
        return _load_npz(path, options, classes, truth)
    raise InputError(f"{path} is no data set: use a folder, a .csv or .parquet file, or an .npz file of x and y.")


def _load_named(name: str, options: ReadOptions, classes: Classes, truth: object) -> Loaded:
    loaded = named.load(name, progress=options.progress)
    if classes is not None and tuple(classes) != loaded.classes:
        raise InputError(f"{name} has classes {list(loaded.classes)}, not {list(classes)}.")
    augment = loaded.augment if options.augment == "auto" else options.augment
    test = None if loaded.test is None else replace(loaded.test, augment=augment)
    loaded = replace(loaded, augment=augment, test=test)
    if truth is not None:
        loaded = replace(loaded, truth=true_indices(truth, len(loaded.y), loaded.classes, options))
    return loaded


def _load_npz(path: Path, options: ReadOptions, classes: Classes, truth: object) -> Loaded:
    """Arrays x (or texts) and y, and maybe x_test, y_test, true_y and the names of annotators."""
    held = read_npz(path)
    if "x" not in held or "y" not in held:
        raise InputError(f"{path} needs arrays x and y (it has {', '.join(held) or 'none'}).")
    true = held.get("true_y") if truth is None else truth
    if are_texts(held["x"]):
        loaded = from_texts(held["x"], held["y"], options=options, classes=classes, truth=true, name=path.stem)
        options = replace(options, encoder=loaded.encoder)
    else:
        names = [str(name) for name in held["annotators"]] if "annotators" in held else None
        loaded = from_arrays(
            held["x"],
            held["y"],
            options=options,
            classes=classes,
            truth=true,
            name=path.stem,
            names_of_annotators=names,
        )
    if "x_test" not in held or "y_test" not in held:
        return loaded
    make = from_texts if are_texts(held["x_test"]) else from_arrays
    test = make(held["x_test"], held["y_test"], options=options, classes=loaded.classes, name=f"{path.stem} test")
    check_alike(loaded.x, test.x, f"{path}: x_test")
    return replace(loaded, test=test)


def _load_splits(splits: dict[str, HuggingFaceItems], options: ReadOptions, classes: Classes, truth: object) -> Loaded:
    """A Hugging Face data set, or its splits ``train``, ``unlabelled`` and the first held-out one."""
    train = splits.get("train") if len(splits) > 1 else next(iter(splits.values()))
    if train is None:
        raise InputError(f"the data set has splits {', '.join(splits)}, but no 'train': pass one of them.")
    if classes is None and train.names is not None:
        classes = train.names
    others = [splits[name] for name in NO_LABEL if name in splits and len(splits) > 1]
    loaded = _load_dataset(Joined(train, *others) if others else train, options, classes, truth)
    held_out = next((splits[name] for name in HELD_OUT if name in splits), None)
    if held_out is None or held_out is train:
        return loaded
    test = _load_dataset(held_out, options, loaded.classes, None, loaded.x.shape)
    check_alike(loaded.x, test.x, "the held-out split")
    return replace(loaded, test=test)


def _load_dataset(
    items: object, options: ReadOptions, classes: Classes, truth: object, shape: tuple[int, ...] | None = None
) -> Loaded:
    """A map-style data set; its rows are numbered as there."""
    if not isinstance(items, Items):
        raise InputError(f"{type(items).__name__} has no length or no items by number: use a map-style data set.")
    found = collect(items, options, (shape[0], shape[1], shape[2]) if shape is not None and len(shape) == 3 else None)
    if all(label is None for label in found.labels):
        raise InputError("the items of the data set have no labels: they must be (image, label).")
    if isinstance(truth, Sequence) and len(truth) == len(items):
        truth = [truth[row] for row in found.kept]
    name = type(items).__name__
    loaded = from_arrays(
        found.rows, found.labels, options=options, classes=classes, truth=truth, ids=found.kept, name=name
    )
    return replace(loaded, skipped=found.skipped)
