"""The kinds of issues that the audit looks for, each in a file of its own, and what they say of every sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from codivide.audit.checks import duplicates, labels, outliers
from codivide.audit.checks.base import Check, Found
from codivide.audit.material import Material, from_fit
from codivide.data.loaded import Loaded
from codivide.runs.label_table import Column
from codivide.training.model_file import Classifier

__all__ = ["CHECKS", "MOST_SAMPLES", "Check", "Found", "add_columns", "columns", "judge", "run"]

CHECKS: tuple[Check, ...] = (labels.CHECK, duplicates.CHECK, outliers.CHECK)

MOST_SAMPLES = 100_000  # that ``judge`` looks at: more would take minutes


def columns() -> tuple[Column, ...]:
    """What all checks add to the label table, in their order."""
    return tuple(column for check in CHECKS for column in check.columns)


def run(material: Material) -> dict[str, Found]:
    """What every check finds, by its name."""
    return {check.name: check.find(material) for check in CHECKS}


def add_columns(table: pd.DataFrame, found: Mapping[str, Found]) -> pd.DataFrame:
    """A label table with the columns of all checks, which take the place of older ones.

    What could not be looked for leaves the columns as they are, or empty where there are none.

    Args:
        table: one row a sample.
        found: what ``run`` gave for its samples.
    """
    added: dict[str, Any] = {}
    for check in CHECKS:
        given = found[check.name].columns
        for column in check.columns:
            if column.name in given:
                added[column.name] = given[column.name]
            elif column.name not in table:
                added[column.name] = _empty(column, len(table))
    return table.assign(**added)


def judge(
    table: pd.DataFrame, classes: Sequence[Any], loaded: Loaded, model: Classifier
) -> tuple[pd.DataFrame, list[str]]:
    """The label table of a trained classifier with the columns of all checks.

    Args:
        table: its label table.
        classes: its classes.
        loaded: what it was trained on.
        model: the classifier. It is asked once for every sample, where these are no rows of a dense table.

    Returns:
        The table, and remarks on what could not be looked for. Of more than 100,000 samples only the labels are judged.
    """
    if len(table) > MOST_SAMPLES:
        remark = f"more than {MOST_SAMPLES:,} samples: duplicates and outliers were not looked for (columns are empty)"
        alone = from_fit(table, classes, model, None)
        found = {check.name: labels.CHECK.find(alone) if check is labels.CHECK else Found() for check in CHECKS}
        return add_columns(table, found), [remark]
    material = from_fit(table, classes, model, loaded)
    return add_columns(table, run(material)), list(material.remarks)


def _empty(column: Column, count: int) -> Any:
    kinds = {"flag": "boolean", "number": "Int64", "probability": "float64"}
    return pd.Series([None] * count, dtype=kinds.get(column.kind, "string")).array
