"""Labels that look wrong: the suggestion is another class than the given one."""

from __future__ import annotations

from typing import Any

import numpy as np

from codivide.audit import neighbours
from codivide.audit.checks.base import Check, Found
from codivide.audit.material import Material
from codivide.audit.shown import Shown
from codivide.core.neighbours import nearest
from codivide.core.types import Labels
from codivide.runs import label_table
from codivide.runs.label_table import Column

EXAMPLES = 3


def _find(material: Material) -> Found:
    """The flagged samples, the least likely to be clean first; a label that a person has confirmed is none."""
    flag = (material.given >= 0) & (material.suggested != material.given) & ~material.confirmed
    rows = np.flatnonzero(flag)
    return Found({"is_label_issue": flag}, rows[np.argsort(material.ranks[rows], kind="stable")])


def _facts(found: Found, shown: Shown) -> list[dict[str, Any]]:
    material, rows = shown.material, found.rows[: shown.limit]
    classes = material.task is None
    points = material.points if classes else None
    near = None if points is None else neighbours.agreement(points, rows, material.given)
    examples = {name: _examples(material, rows, getattr(material, name)[rows]) for name in ("given", "suggested")}
    if not classes:
        examples = {"given": [[] for _ in rows], "suggested": _nearest(material, rows)}
    return [
        {
            "row": row,
            "id": material.ids[row],
            "kind": shown.kind,
            "given": int(material.given[row]),
            "suggested": int(material.suggested[row]),
            "clean_prob": shown.probability(material.clean_prob, row),
            "suggested_prob": shown.probability(material.suggested_prob, row),
            "rank": int(material.ranks[row]),
            "range": _range(material, row),
            "thumbnail": shown.thumbnail(row),
            "text": shown.text(row),
            "fields": shown.fields(row),
            "neighbours": None if near is None else {"agree": near[i][0], "of": near[i][1]},
            "examples": {
                name: [example for other in found[i] if (example := _example(shown, other)) is not None]
                for name, found in examples.items()
            },
        }
        for i, row in enumerate(rows.tolist())
    ]


def _range(material: Material, row: int) -> list[float] | None:
    """Where a right number lies, of one that is predicted."""
    if label_table.LOW not in material.table:
        return None
    return [float(material.table[name].iloc[row]) for name in (label_table.LOW, label_table.HIGH)]


def _example(shown: Shown, row: int) -> str | None:
    """A sample in short; before the text or the fields of one that has another kind of target stands the target."""
    example = shown.example(row)
    if shown.material.task is None or example is None or example.startswith("data:"):
        return example
    return f"{shown.material.classes[shown.material.given[row]]}: {example}"


def _nearest(material: Material, rows: Labels) -> list[list[int]]:
    """For each row, up to 3 samples that are near it and whose target is likely right."""
    if material.points is None:
        return [[] for _ in rows]
    clean = np.flatnonzero((material.given == material.suggested) & (material.clean_prob >= 0.5))
    found, _ = nearest(material.points, rows, clean, EXAMPLES)
    return [[other for other in others if other >= 0] for others in found.tolist()]


def _examples(material: Material, rows: Labels, wanted: Labels) -> list[list[int]]:
    """For each row, up to 3 clean samples of the wanted class: the nearest, or without points the surest.

    Clean: the suggestion is the given label, and p(clean) is at least one half.
    """
    found: list[list[int]] = [[] for _ in rows]
    clean = (material.given == material.suggested) & (material.clean_prob >= 0.5)
    for label in np.unique(wanted).tolist():
        members, at = np.flatnonzero(clean & (material.given == label)), np.flatnonzero(wanted == label)
        if material.points is None:
            best = members[np.argsort(-material.clean_prob[members], kind="stable")[:EXAMPLES]]
            chosen = np.tile(best, (len(at), 1))
        else:
            chosen, _ = nearest(material.points, rows[at], members, EXAMPLES)
        for position, others in zip(at.tolist(), chosen.tolist(), strict=True):
            found[position] = [other for other in others if other >= 0]
    return found


CHECK = Check(
    name="issues",
    title="Labels that look wrong",
    text="Samples whose suggestion is another class than their given label, the least likely to be clean first.",
    columns=(
        Column(
            "is_label_issue",
            "flag",
            "the suggestion is another class than the given label; `label_quality` is its score",
        ),
    ),
    find=_find,
    describe=_facts,
)
