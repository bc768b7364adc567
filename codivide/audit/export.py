"""Cleaned labels as annotation tools take them in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pandas as pd

from codivide.audit.clean import LABELS_PARQUET
from codivide.core.errors import InputError, unknown
from codivide.core.files import write_text
from codivide.data.annotation_tools import argilla, label_studio
from codivide.data.image_bytes import IMAGE

EXPORTS = {"label-studio": "label_studio.json", "argilla": "argilla.json"}


def check(tool: str) -> None:
    """InputError where there is no such tool; asked before any long work."""
    if tool not in EXPORTS:
        raise unknown("tool to export to", tool, EXPORTS)


def write(folder: Path, tool: str) -> Path:
    """Write what a tool imports into a folder that ``clean`` wrote: what the cleaned table shows, and the labels.

    Args:
        folder: of the cleaned data.
        tool: "label-studio" or "argilla".

    Returns:
        The file.

    Raises:
        InputError: no such tool, or images that lie in a table, which no tool can show.
    """
    check(tool)
    table = pd.read_parquet(folder / LABELS_PARQUET)
    if IMAGE in table:
        raise InputError(f"--export {tool}: images that lie in a table cannot be shown there; {folder} holds the rest")
    shown = table.drop(columns=["id", "label", "row"], errors="ignore").rename(columns={"path": "image"})
    cells = shown.astype(object).where(shown.notna(), None).map(_plain)
    rows = cast(list[Mapping[str, Any]], cells.to_dict("records"))
    labels = table["label"].astype(object).where(table["label"].notna(), None).tolist()
    ids = table["id" if "id" in table else "row"].tolist()
    made = argilla(rows, labels, ids) if tool == "argilla" else label_studio(rows, labels)
    write_text(folder / EXPORTS[tool], json.dumps(made, allow_nan=False, indent=1) + "\n")
    return folder / EXPORTS[tool]


def _plain(value: Any) -> Any:
    """A value that JSON holds as it is, else its text."""
    return value if value is None or isinstance(value, str | int) or _is_finite(value) else str(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)
