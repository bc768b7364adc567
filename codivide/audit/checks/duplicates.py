"""Samples that come twice: exactly, or nearly (see ``codivide.data.duplicates``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from codivide.audit.checks.base import Check, Found
from codivide.audit.material import Material
from codivide.audit.shown import Shown
from codivide.core.types import Labels, Mask
from codivide.data.duplicates import Group, are_known, find
from codivide.data.groups import chances
from codivide.runs.label_table import Column

MOST_GROUPS, MOST_OF_A_GROUP = 500, 100  # in the facts
CHANCE = 0.05  # of the rows of a table that are called copies, at most, may be expected to be so by chance
_NEAR = 0.5  # score of a sample that is nearly another one


def ordered(groups: Iterable[Group], given: Labels) -> list[Group]:
    """Groups with conflicting labels first, then the exact ones, then the larger ones.

    Args:
        groups: of rows.
        given: labels ``[N]``, -1: none.
    """

    def key(group: Group) -> tuple[bool, bool, int, int]:
        labels = {label for label in given[list(group.rows)].tolist() if label >= 0}
        return len(labels) < 2, not group.exact, -len(group.rows), group.rows[0]

    return sorted(groups, key=key)


def _find(material: Material) -> Found:
    if material.rows is None and material.texts is None:
        return Found()
    groups, count = _groups(material), len(material.given)
    number = np.zeros(count, dtype=np.int64)
    exact: Mask = np.zeros(count, dtype=bool)
    other: Mask = np.zeros(count, dtype=bool)
    differ: dict[Group, list[tuple[int, ...]]] = {}  # sets of copies with different labels, by their group
    for k, group in enumerate(groups, 1):
        number[list(group.rows)] = k
        for rows in group.same:
            exact[list(rows)] = True
            if _differ(material, rows):
                other[list(rows)] = True
                differ.setdefault(group, []).append(rows)
    near: Mask = number > 0
    columns = {
        "is_near_duplicate_issue": near,
        "near_duplicate_score": np.where(exact, 0.0, np.where(near, _NEAR, 1.0)),
        "near_duplicate_set": pd.Series(number, dtype="Int64").where(near).array,
        "is_exact_duplicate": exact,
        "is_conflicting_duplicate": other,
    }
    return Found(columns, np.flatnonzero(near), groups, _said(differ, material))


def _groups(material: Material) -> list[Group]:
    """All groups, but of empty texts none, and of a dense table none that chance may have brought about.

    Groups are taken from the unlikeliest on, as long as of their rows a twentieth at most is expected to be so by
    chance (Benjamini and Hochberg, 1995).
    """
    groups, rows, texts = find(material.rows, material.texts, material.alike), material.rows, material.texts
    if texts is not None:
        return [group for group in groups if texts[group.rows[0]].strip()]
    if not groups or rows is None or len(rows.shape) != 1 or material.alike is not None:
        return groups
    chance = chances(groups, rows, CHANCE / len(rows))
    order = np.argsort(chance, kind="stable")
    held = np.cumsum([len(groups[k].rows) for k in order.tolist()])
    fits = np.flatnonzero(chance[order] * len(rows) <= CHANCE * held)
    return [groups[k] for k in np.sort(order[: fits[-1] + 1]).tolist()] if len(fits) else []


def _differ(material: Material, rows: Sequence[int]) -> bool:
    """Whether two of these have different labels."""
    labels = material.given[list(rows)]
    return len(np.unique(labels[labels >= 0])) > 1


def _said(differ: Mapping[Group, Sequence[tuple[int, ...]]], material: Material) -> tuple[str, ...]:
    """A sentence on copies whose labels differ (sets, by their group), of classes."""
    if not differ or material.task is not None:
        return ()
    sets = [same for some in differ.values() for same in some]
    count, wrong = sum(map(len, sets)), sum(_outvoted(material.given[list(same)]) for same in sets)
    given = material.given[list(labelled := [row for row in sets[0] if material.given[row] >= 0])]
    one, other = (material.ids[labelled[k]] for k in (0, int((given != given[0]).argmax())))
    return (
        f"{count:,} samples are exact copies of others with another label, such as {one!r} and {other!r}: at least "
        f"{wrong:,} of these labels must be wrong, or what tells the samples apart is not among what is learned from",
    )


def _outvoted(given: Labels) -> int:
    """How many of the labels of one thing are not its most frequent one."""
    held = given[given >= 0]
    return len(held) - int(np.bincount(held).max())


def _facts(found: Found, shown: Shown) -> list[dict[str, Any]]:
    given, ids, place = shown.material.given, shown.material.ids, shown.material.place
    return [
        {
            "rows": [place(row) for row in group.rows[:MOST_OF_A_GROUP]],
            "ids": [ids[row] for row in group.rows[:MOST_OF_A_GROUP]],
            "labels": given[list(group.rows[:MOST_OF_A_GROUP])].tolist(),
            "exact": group.exact,
        }
        for group in ordered(found.detail or (), given)[:MOST_GROUPS]
    ]


CHECK = Check(
    name="duplicates",
    title="Duplicates",
    text="Samples that come twice, exactly or nearly.",
    columns=(
        Column("is_near_duplicate_issue", "flag", "another sample is the same thing, exactly or nearly"),
        Column("near_duplicate_score", "probability", "0: an exact copy, 0.5: nearly one, 1: neither"),
        Column("near_duplicate_set", "number", "number of the group of samples that are the same thing, from 1 on"),
        Column("is_exact_duplicate", "flag", "another sample shares every byte"),
        Column("is_conflicting_duplicate", "flag", "samples that share every byte with it have different labels"),
    ),
    find=_find,
    describe=_facts,
    judged=False,
    compares=True,
    known=lambda material: are_known(material.rows, material.texts),
)
