"""Cleaned labels as annotation tools take them in."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from codivide.audit.write_clean import LABELS_PARQUET
from codivide.core.errors import InputError, unknown
from codivide.core.files import write_text
from codivide.data.annotation_tools import argilla, coco, label_studio
from codivide.data.image_bytes import has_images
from codivide.data.options import MULTILABEL, ReadOptions
from codivide.data.table_columns import find
from codivide.data.targets import parts

EXPORTS = {"label-studio": "label_studio.json", "argilla": "argilla.json", "coco": "coco.json"}


def check(tool: str) -> None:
    """InputError where there is no such tool; asked before any long work."""
    if tool not in EXPORTS:
        raise unknown("tool to export to", tool, EXPORTS)


def add(folder: Path, tool: str, options: ReadOptions) -> None:
    """Write what a tool imports into a folder that ``clean`` has just written, which is taken away where that fails.

    It holds what the cleaned table shows, and the labels.

    Args:
        folder: of the cleaned data.
        tool: of ``EXPORTS``.
        options: how the run's data were read: what a label is, and what stands between several.

    Raises:
        InputError: images that lie in a table, which no tool can show; or no images, where the tool is of images.
    """
    try:
        _write(folder, tool, options)
    except BaseException:  # so that the same command can be given again
        shutil.rmtree(folder)
        raise


def _write(folder: Path, tool: str, options: ReadOptions) -> None:
    table = pd.read_parquet(folder / LABELS_PARQUET, dtype_backend="numpy_nullable")  # whole numbers stay so
    names = [str(name) for name in table]
    own = None if "label" in names else find(names, options.label)
    table = table if own is None else table.rename(columns={own: "label"})
    if has_images(table):
        raise InputError(f"--export {tool}: images that lie in a table cannot be shown there; leave it out")
    shown = table.drop(columns=["id", "label", "row"], errors="ignore").rename(columns={"path": "image"})
    columns = [str(name) for name in shown]
    rows = [
        {name: _plain(cell) for name, cell in zip(columns, row, strict=True) if not _is_missing(cell)}
        for row in shown.itertuples(index=False, name=None)
    ]
    labels = [None if _is_missing(label) else label for label in table["label"].tolist()]
    if options.task == MULTILABEL:
        labels = [None if label is None else parts(label, options.separator) for label in labels]
    ids = table["id" if "id" in table else "row"].tolist()
    made: Any
    if tool == "coco":
        if "image" not in columns:
            raise InputError("--export coco: it is for image files, and this run has none; leave it out")
        made = coco([str(row["image"]) for row in rows], labels)
    else:
        made = argilla(rows, labels, ids) if tool == "argilla" else label_studio(rows, labels)
    write_text(folder / EXPORTS[tool], json.dumps(made, allow_nan=False, indent=1) + "\n")


def _plain(value: Any) -> Any:
    """A value that JSON holds as it is, else its text."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | int) or _is_finite(value) else str(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _is_missing(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))
