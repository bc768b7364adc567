"""What the page shows of numbers and of several labels a row, in the place of classes and their confusion."""

from __future__ import annotations

from typing import Any

import numpy as np

from codivide.audit.material import Material
from codivide.data.options import REGRESSION
from codivide.data.targets import as_numbers, parts
from codivide.noise.target_report import TargetReport
from codivide.runs import label_table

MOST_POINTS = 1500  # of the picture; those that look wrong come first


def describe(material: Material) -> dict[str, Any] | None:
    """The facts under ``targets``; None of classes.

    - of numbers ``kind`` ("regression"), ``points`` (given, predicted, whether it looks wrong) and ``hidden``;
    - of several labels ``kind`` ("multilabel"), ``separator``, ``names``, and ``labels``: ``name``, ``given`` (rows),
      ``added``, ``removed`` (suggested), ``rate`` or None.
    """
    if material.task is None:
        return None
    return _numbers(material) if material.task == REGRESSION else _sets(material)


def _numbers(material: Material) -> dict[str, Any]:
    table, report = material.table, material.noise
    given = as_numbers(table[label_table.GIVEN]).to_numpy()
    predicted = table[label_table.PREDICTED].to_numpy(dtype=np.float64)
    known = np.flatnonzero(np.isfinite(given) & np.isfinite(predicted))
    wrong = (material.given != material.suggested) & ~material.confirmed
    drawn = np.random.default_rng(0).permutation(known)
    chosen = drawn[np.argsort(~wrong[drawn], kind="stable")][:MOST_POINTS]
    return {
        "kind": material.task,
        "points": [[float(given[row]), float(predicted[row]), bool(wrong[row])] for row in chosen.tolist()],
        "hidden": report.hidden if isinstance(report, TargetReport) else 0.0,
    }


def _sets(material: Material) -> dict[str, Any]:
    separator, report = material.separator, material.noise
    changes = material.table[label_table.CHANGES].fillna("").tolist()
    given = [parts(name, separator) for name in material.classes]
    rates = {item.name: item.rate for item in report.per_class} if isinstance(report, TargetReport) else {}
    names = list(rates)  # also those that no row has
    counts = dict.fromkeys(names, 0)
    added, removed = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for code, said, text in zip(material.given.tolist(), material.suggested.tolist(), changes, strict=True):
        if code < 0:
            continue
        for name in given[code]:
            counts[name] += 1
        if text:
            for name in set(given[said]) - set(given[code]):
                added[name] += 1
            for name in set(given[code]) - set(given[said]):
                removed[name] += 1
    return {
        "kind": material.task,
        "separator": separator,
        "names": names,
        "labels": [
            {"name": n, "given": counts[n], "added": added[n], "removed": removed[n], "rate": rates.get(n)}
            for n in names
        ],
    }
