"""Decisions that a run was trained with: its label table no longer shows them, but repaired data differ by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from codivide.core.words import counted
from codivide.runs import label_table


def with_earlier(
    changes: pd.DataFrame, record: Mapping[str, Any], table: pd.DataFrame, typed: Callable[[str], Any]
) -> tuple[pd.DataFrame, list[str]]:
    """The changes since the source, where those that are given are since the run, and what to say of them.

    A run that was fitted with decisions has the decided labels as its given ones, and none of the junk. Which
    they were stands in its record; that of an older version does not say it.

    Args:
        changes: columns path or id, given, label (None: left out), change, reason.
        record: of the decisions that the run was fitted with, see ``Corrections.record``; empty: there were none.
        table: the run's label table.
        typed: the label of a text, in the user's own type.

    Returns:
        The changes in the order of the label table, behind them what was left out before the run; and remarks.
    """
    earlier: list[tuple[str, str, str | None]] = record.get("changes", [])
    if not earlier:
        return changes, []
    ids = table[label_table.id_column(table)].tolist()
    own: Callable[[str], Any] = int if all(isinstance(name, int) for name in ids) else str
    by = f"a person decided so before the run ({record['file']})"
    found = {str(row[0]): row for row in changes.itertuples(index=False, name=None)}
    for name, was, label in earlier:
        before = typed(was) if was else None
        alone = (own(name), None, None if label is None else typed(label), "", by)
        key, _, now, _, reason = found.pop(name, alone)
        if now != before or before is None:
            kind = "dropped" if now is None else "labelled" if before is None else "relabelled"
            found[name] = (key, before, now, kind, reason)
    place = {str(name): row for row, name in enumerate(ids)}
    rows = sorted(found.values(), key=lambda row: place.get(str(row[0]), len(place)))
    told = (
        f"decisions of {counted(len(earlier), 'sample')}, made before the run ({record['file']}), are among the changes"
    )
    return pd.DataFrame(rows, columns=changes.columns, dtype=object), [told]
