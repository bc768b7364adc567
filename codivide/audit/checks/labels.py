"""Labels that look wrong: the suggestion is another class than the given one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, overload

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
_DISTANCES = 10**8  # that the first of the queue are compared by
_COMPARED = 100  # that are compared of any number of samples


def _find(material: Material) -> Found:
    """The flagged samples, the least likely to be clean first; a label that a person has confirmed is none."""
    flag = (material.given >= 0) & (material.suggested != material.given) & ~material.confirmed
    rows = np.flatnonzero(flag)
    return Found({label_table.ISSUE: flag}, rows[np.argsort(material.ranks[rows], kind="stable")])


def _facts(found: Found, shown: Shown) -> list[dict[str, Any]]:
    return Listing(shown, found.rows)[: shown.limit]


class Listing(Sequence[dict[str, Any]]):
    """The flagged samples as the facts describe them, made when they are asked for: a page of very many holds few.

    The first of very many samples are compared with the others, so far as that costs at most 1e8 distances. For those
    after them stand the surest examples of a class in place of the nearest, and nothing is said of neighbours.

    Args:
        shown: how samples are shown.
        rows: ``[K]``, in the order of the queue.
    """

    def __init__(self, shown: Shown, rows: Labels) -> None:
        self.shown, self.rows, self.material = shown, rows, shown.material
        self.compared = (
            0 if self.material.points is None else max(_COMPARED, _DISTANCES // max(len(self.material.given), 1))
        )

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, place: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if not isinstance(place, slice):
            return self[place : place + 1 or None][0]
        start, stop, _ = place.indices(len(self))
        edge = min(max(start, self.compared), stop)
        return [*self._described(start, edge, near=True), *self._described(edge, stop, near=False)]

    def _described(self, start: int, stop: int, *, near: bool) -> list[dict[str, Any]]:
        if start >= stop:
            return []
        material, shown, rows = self.material, self.shown, self.rows[start:stop]
        points = material.points if near and material.task is None else None
        agreed = None if points is None else neighbours.agreement(points, rows, material.given)
        examples = self._examples(rows, near=near)
        shown.prepare(rows, {row for found in examples.values() for others in found for row in others})
        return [
            {
                "row": material.place(row),
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
                "neighbours": None if agreed is None else {"agree": agreed[i][0], "of": agreed[i][1]},
                "examples": {
                    name: [example for other in found[i] if (example := _example(shown, other)) is not None]
                    for name, found in examples.items()
                },
            }
            for i, row in enumerate(rows.tolist())
        ]

    def _examples(self, rows: Labels, *, near: bool) -> dict[str, list[list[int]]]:
        """Of the given and of the suggested class, up to 3 rows for each of ``rows``."""
        material = self.material
        if material.task is not None:
            none: list[list[int]] = [[] for _ in rows]
            return {"given": none, "suggested": _nearest(material, rows) if near else none}
        if near and material.points is not None:
            return {name: _examples(material, rows, getattr(material, name)[rows]) for name in ("given", "suggested")}
        return {
            name: [self._surest[label] for label in getattr(material, name)[rows].tolist()]
            for name in ("given", "suggested")
        }

    @cached_property
    def _surest(self) -> list[list[int]]:
        """The 3 clean samples of each class that are the surest."""
        material = self.material
        clean, given = _clean(material), material.given
        order = clean[np.argsort(-material.clean_prob[clean], kind="stable")]
        return [order[given[order] == k][:EXAMPLES].tolist() for k in range(len(material.classes))]


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
    found, _ = nearest(material.points, rows, _clean(material), EXAMPLES)
    return [[other for other in others if other >= 0] for others in found.tolist()]


def _clean(material: Material) -> Labels:
    """The rows whose suggestion is the given label, with a p(clean) of at least one half; no empty text."""
    good = (material.given == material.suggested) & (material.clean_prob >= 0.5)
    if material.texts is not None:
        good &= np.array([bool(text.strip()) for text in material.texts], dtype=bool)
    return np.flatnonzero(good)


def _examples(material: Material, rows: Labels, wanted: Labels) -> list[list[int]]:
    """For each row, up to 3 clean samples of the wanted class, the nearest first."""
    found: list[list[int]] = [[] for _ in rows]
    clean = _clean(material)
    for label in np.unique(wanted).tolist():
        members, at = clean[material.given[clean] == label], np.flatnonzero(wanted == label)
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
            label_table.ISSUE,
            "flag",
            "the suggestion is another class than the given label; `label_quality` is its score",
        ),
    ),
    find=_find,
    describe=_facts,
)
