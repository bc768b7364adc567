"""The kinds of issues that the audit looks for, each in a file of its own, and what they say of every sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from codivide.audit.checks import cells, classes, duplicates, images, labels, order, outliers, slices
from codivide.audit.checks.base import Check, Found
from codivide.audit.material import Material, from_data, from_fit
from codivide.data.loaded import Loaded
from codivide.noise.apart import Apart
from codivide.runs.label_table import Column
from codivide.training.model_file import Classifier

__all__ = [
    "CHECKS",
    "MOST_SAMPLES",
    "Check",
    "Found",
    "Judgement",
    "add_columns",
    "columns",
    "judge",
    "looked_for",
    "of_data",
    "run",
    "said",
]

CHECKS: tuple[Check, ...] = (
    labels.CHECK,
    duplicates.CHECK,
    outliers.CHECK,
    classes.CHECK,
    slices.CHECK,
    order.CHECK,
    cells.EMPTY_CELLS,
    cells.GIVES_AWAY,
    *images.CHECKS,
)

MOST_SAMPLES = 100_000  # that are compared with each other when a classifier is trained: more would take minutes


class Judgement(NamedTuple):
    """What the checks say of a trained classifier's label table.

    Attributes:
        table: with the columns of all checks.
        remarks: what could not be looked for.
        findings: what is wrong with the data as a whole, see ``said``.
        usual: what is usual among photos, where the outliers were looked for.
    """

    table: pd.DataFrame
    remarks: list[str]
    findings: list[dict[str, str]]
    usual: Apart | None = None


def columns() -> tuple[Column, ...]:
    """What all checks add to the label table, in their order."""
    return tuple(column for check in CHECKS for column in check.columns)


def run(material: Material) -> dict[str, Found]:
    """What every check finds, by its name."""
    return {
        check.name: Found() if check.of_classes and material.task is not None else check.find(material)
        for check in CHECKS
    }


def said(found: Mapping[str, Found]) -> list[dict[str, str]]:
    """What is wrong with the data as a whole: ``check``, ``title`` and ``text`` of each finding."""
    return [
        {"check": check.name, "title": check.title, "text": text}
        for check in CHECKS
        if check.name in found
        for text in found[check.name].said
    ]


def counts(found: Mapping[str, Found]) -> dict[str, int]:
    """How many samples have each issue besides a wrong label, by the title of its check; those that none has left out.

    Args:
        found: what ``run`` gave.
    """
    flags = {
        check.title: found[check.name].columns.get(column.name)
        for check in CHECKS
        if check is not labels.CHECK
        for column in check.columns
        if column.name.endswith("_issue")
    }
    return {title: int(np.sum(flag)) for title, flag in flags.items() if flag is not None and np.any(flag)}


def of_data(loaded: Loaded) -> list[dict[str, str]]:
    """The findings on data as a whole that need no classifier."""
    material, many = from_data(loaded), len(loaded.y) > MOST_SAMPLES
    return said({check.name: _find(check, material, many=many) for check in CHECKS if not check.judged})


def _find(check: Check, material: Material, *, many: bool) -> Found:
    """What a check finds; nothing where it would compare too many samples with each other, and nobody has yet."""
    return Found() if many and check.compares and not check.known(material) else check.find(material)


def add_columns(table: pd.DataFrame, found: Mapping[str, Found]) -> pd.DataFrame:
    """A label table with the columns of all checks, which take the place of older ones.

    What could not be looked for leaves the columns as they are, or empty where there are none.

    Args:
        table: one row a sample.
        found: what ``run`` gave for its samples.
    """
    instead: dict[str, Any] = {}
    added: dict[str, Any] = {}
    empty: dict[str, Any] = {}  # one array of a kind, which a frame copies
    for check in CHECKS:
        given = found[check.name].columns
        for column in check.columns:
            if column.name in given:
                (instead if column.name in table else added)[column.name] = given[column.name]
            elif column.name not in table:
                if column.kind not in empty:
                    empty[column.kind] = _empty(column, len(table))
                added[column.name] = empty[column.kind]
    columns = pd.DataFrame(added, index=table.index)  # at once: one by one they cost more than most checks
    columns.attrs.update(table.attrs)  # what both have stays
    return pd.concat([table.assign(**instead), columns], axis=1)


def looked_for(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a label table without the columns of the checks that could not look for anything in the whole table."""
    empty = set(table.columns[table.isna().all()])  # at once: asked check by check, it takes a tenth of a small fit
    names = [[column.name for column in check.columns if column.name in table] for check in CHECKS]
    return rows.drop(columns=[name for some in names if empty.issuperset(some) for name in some])


def judge(table: pd.DataFrame, classes: Sequence[Any], loaded: Loaded, model: Classifier) -> Judgement:
    """The label table of a trained classifier with the columns of all checks.

    Args:
        table: its label table.
        classes: its classes.
        loaded: what it was trained on.
        model: the classifier. It is asked once for every sample, where these are no rows of a dense table.

    Returns:
        What the checks say. More than 100,000 samples are not compared with others here; copies are told where they
        were compared before.
    """
    many = len(table) > MOST_SAMPLES
    told = (*loaded.labels_read.columns, *loaded.labels_read.gaps)  # when they were read
    material = replace(from_fit(table, classes, None if many else model, loaded), told=told)
    found = {check.name: _find(check, material, many=many) for check in CHECKS}
    remarks = list(material.remarks)
    if left := [check.title.lower() for check in CHECKS if many and check.compares and not found[check.name].columns]:
        text = f"more than {MOST_SAMPLES:,} samples: {' and '.join(left)} were not looked for (columns are empty)"
        remarks.append(text)
    far = found[outliers.CHECK.name].detail
    return Judgement(add_columns(table, found), remarks, said(found), None if far is None else far.usual)


def _empty(column: Column, count: int) -> Any:
    kinds = {"flag": "boolean", "number": "Int64", "probability": "float64"}
    return pd.Series([None] * count, dtype=kinds.get(column.kind, "string")).array
