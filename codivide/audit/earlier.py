"""Decisions that a run was trained with: its label table no longer shows them, but repaired data differ by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from codivide.runs import label_table
from codivide.runs.folder import SavedRun


def with_earlier(changes: pd.DataFrame, run: SavedRun, typed: Callable[[str], Any]) -> tuple[pd.DataFrame, list[str]]:
    """The changes since the source, where those that are given are since the run, and what to say of them.

    A run that was fitted with ``--corrections`` has the decided labels as its given ones, and none of the junk. Which
    they were stands in its record; that of an older version does not say it.

    Args:
        changes: columns path or id, given, label (None: left out), change, reason.
        run: whose earlier decisions count, too.
        typed: the label of a text, in the user's own type.

    Returns:
        The changes in the order of the label table, behind them what was left out before the run; and remarks.
    """
    record = run.config.get("corrections", {})
    earlier: list[tuple[str, str, str | None]] = record.get("changes", [])
    if not earlier:
        return changes, []
    by = f"a person decided so before the run ({record['file']})"
    found = {str(row[0]): row for row in changes.itertuples(index=False, name=None)}
    for name, was, label in earlier:
        before = typed(was) if was else None
        key, _, now, _, reason = found.pop(name, (name, None, None if label is None else typed(label), "", by))
        if now != before or before is None:
            kind = "dropped" if now is None else "labelled" if before is None else "relabelled"
            found[name] = (key, before, now, kind, reason)
    place = {str(name): row for row, name in enumerate(run.labels[label_table.id_column(run.labels)])}
    rows = sorted(found.values(), key=lambda row: place.get(str(row[0]), len(place)))
    told = f"decisions of {len(earlier):,} samples, made before the run ({record['file']}), are among the changes"
    return pd.DataFrame(rows, columns=changes.columns, dtype=object), [told]
