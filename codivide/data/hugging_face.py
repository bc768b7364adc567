"""Data sets of Hugging Face that are tables or texts, and data sets of any kind that lie in a folder."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from codivide.core.errors import InputError
from codivide.data.items import IMAGE_COLUMNS, LABEL_COLUMNS, load_splits, no_train, splits_inputs
from codivide.data.labels import HELD_OUT, NO_LABEL
from codivide.data.loaded import Loaded
from codivide.data.options import ReadOptions
from codivide.data.source import Inputs, Reading, Wanted, as_path
from codivide.data.table_columns import find, missing_column, propose_labels
from codivide.data.table_sets import frame_inputs, from_table
from codivide.data.targets import listed_labels

_ROOT = ("dataset_dict.json", "state.json")  # what ``save_to_disk`` writes


def tables_of(source: object) -> dict[str, Any] | None:
    """The splits of a data set without images ("" where there are none); None where it is something else."""
    library = sys.modules.get("datasets")  # a data set of a library cannot come before the library is imported
    if library is None or not isinstance(source, library.Dataset | library.DatasetDict):
        return None
    parts: dict[str, Any] = dict(source) if isinstance(source, library.DatasetDict) else {"": source}
    for part in parts.values():
        kinds = {name: type(feature).__name__ for name, feature in part.features.items()}
        if "Image" in kinds.values() or any(name in kinds for name in IMAGE_COLUMNS):
            return None
    return parts


def load_hugging_face_table(source: object, reading: Reading) -> Loaded:
    """A data set of texts or of columns, with its splits.

    Raises:
        InputError: no column of labels, several splits none of which is ``train``, or as for any table.
    """
    parts = tables_of(source)
    assert parts is not None
    if len(parts) > 1 and "train" not in parts:
        raise no_train(parts)
    label = _label_of(parts, reading.options)
    tables = {name: _frame(part, label) for name, part in parts.items()}
    names = next(
        (part.features[label].names for part in parts.values() if hasattr(part.features[label], "names")), None
    )
    if names is not None and reading.classes is None:
        reading = replace(reading, classes=tuple(names))
    for name, table in list(tables.items()):
        if name in HELD_OUT and not table["label"].notna().any():
            warnings.warn(f"the split {name!r} has no labels: it is not used as a test part", stacklevel=3)
            del tables[name]
    joined = [
        table if len(parts) == 1 else table.assign(split="train" if name in NO_LABEL else name)
        for name, table in tables.items()
        if len(parts) == 1 or name in ("train", *HELD_OUT, *NO_LABEL)
    ]
    options = replace(reading.options, label="label")
    whole = listed_labels(pd.concat(joined, ignore_index=True), options)
    return from_table(whole, Path("the data set"), replace(reading, options=options))


def hugging_face_inputs(source: object, wanted: Wanted) -> Inputs:
    """A data set of texts or of columns without its labels.

    Raises:
        InputError: it has several splits, or no column of texts.
    """
    parts = tables_of(source)
    assert parts is not None
    if len(parts) > 1:
        raise InputError(f"this data set has splits {', '.join(parts)}: pass one of them")
    return frame_inputs(next(iter(parts.values())).to_pandas(), wanted)


def is_saved(source: object) -> bool:
    """Whether a folder holds what ``save_to_disk`` wrote."""
    path = as_path(source)
    return path is not None and path.is_dir() and any((path / name).is_file() for name in _ROOT)


def load_saved(source: object, reading: Reading) -> Loaded:
    """A data set in a folder that ``save_to_disk`` wrote, of images, texts or columns.

    Raises:
        InputError: the package datasets is missing, or as for a data set in memory.
    """
    found = _opened(source)
    load = load_splits if tables_of(found) is None else load_hugging_face_table
    return replace(load(found, reading), name=Path(str(source)).name)


def saved_inputs(source: object, wanted: Wanted) -> Inputs:
    """The same without labels, of one split."""
    found = _opened(source)
    if isinstance(found, dict) and len(found) > 1:
        one = Path(str(source)) / list(found)[-1]
        raise InputError(f"{source} has splits {', '.join(found)}: give the folder of one of them, such as {one}")
    return splits_inputs(found, wanted) if tables_of(found) is None else hugging_face_inputs(found, wanted)


def as_list(values: Any) -> Any:
    """A column of a data set as a list; anything else as it is."""
    library = sys.modules.get("datasets")
    column = getattr(getattr(library, "arrow_dataset", None), "Column", None)
    return list(values) if column is not None and isinstance(values, column) else values


def _opened(source: object) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise InputError(f"{source} was saved by Hugging Face datasets: pip install datasets") from error
    try:
        found = datasets.load_from_disk(str(as_path(source)))
    except (OSError, ValueError) as error:
        raise InputError(f"{source} cannot be read: {error}") from error
    return found


def _label_of(parts: Mapping[str, Any], options: ReadOptions) -> str:
    """The column of labels: the one that is named, the only ClassLabel, else one of a usual name."""
    first = parts.get("train") or next(iter(parts.values()))
    kinds = {name: type(feature).__name__ for name, feature in first.features.items()}
    named = find(list(kinds), options.label)
    by_kind = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    by_name = [name for name in LABEL_COLUMNS if name in kinds]
    if named is not None:
        return named
    if options.label == "label" and (len(by_kind) == 1 or by_name):
        return by_kind[0] if len(by_kind) == 1 else by_name[0]
    frame = first.select(range(min(len(first), 1000))).to_pandas()
    raise missing_column(frame, "the data set", options.label, "label", propose_labels(frame))


def _frame(part: Any, label: str) -> pd.DataFrame:
    """A split as a table; the numbers of a ClassLabel, one or a list a row, become its names, -1 none."""
    table: pd.DataFrame = part.to_pandas() if label in part.features else part.to_pandas().assign(**{label: None})
    names = getattr(part.features.get(label), "names", None)
    if names is not None:
        numbers = table[label].tolist()
        table[label] = pd.Series([names[int(k)] if pd.notna(k) and k >= 0 else None for k in numbers], dtype=object)
    several = getattr(getattr(part.features.get(label), "feature", None), "names", None)  # a list of classes a row
    if several is not None:
        lists = [None if row is None else [several[int(k)] for k in row] for row in table[label].tolist()]
        table[label] = pd.Series(lists, dtype=object)
    return table if label == "label" else table.drop(columns="label", errors="ignore").rename(columns={label: "label"})
