"""Columns that codivide itself wrote about the labels of a table: they are no features when the table comes back.

Who merges the label table, a consensus, predictions or decisions with a table of features would learn from what was
said of the labels, and wrong labels would look right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np
import pandas as pd

from codivide.data.corrections import DECISIONS

#: Names of the label table that hardly anybody else uses.
OURS = ("clean_prob", "suggested_prob", "label_quality", "is_label_issue")
#: Its others (see ``runs.label_table`` and ``audit.checks``), which may be columns of the user's own where none of
#: ``_TELLING`` is beside them.
BESIDE = (
    *("given", "suggested", "rank", "confirmed", "predicted", "predicted_low", "predicted_high", "label_changes"),
    *("part", "leaked", "twin"),
    *("is_near_duplicate_issue", "near_duplicate_score", "near_duplicate_set"),
    *("is_exact_duplicate", "is_conflicting_duplicate"),
    *("is_outlier_issue", "outlier_score", "is_class_imbalance_issue", "class_imbalance_score"),
    *("is_underperforming_group_issue", "underperforming_group_score", "is_non_iid_issue", "non_iid_score"),
    *("is_null_issue", "null_score", "is_dark_issue", "dark_score", "is_light_issue", "light_score"),
    *("is_low_information_issue", "low_information_score", "is_blurry_issue", "blurry_score"),
    *("is_grayscale_issue", "grayscale_score", "is_odd_size_issue", "odd_size_score"),
    *("is_odd_aspect_ratio_issue", "odd_aspect_ratio_score"),
)
#: Those that tell that the others are not the user's own.
_TELLING = {"clean_prob", "suggested_prob"}
_MERGED = re.compile("_[xy]$")
#: Of a consensus and of predictions: how sure the label is that stands on the left of it.
_SURE = ("confidence", "probability")
#: A column of ``CHANGES.csv`` or ``corrections.csv`` that tells the file, its values, and what stands beside it.
_DECIDED = (
    ("change", {"relabelled", "labelled", "dropped"}, ("given", "reason")),
    ("decision", set(DECISIONS), ("given", "time")),
)


def written_about(table: pd.DataFrame, kept: Container[str] = ()) -> list[str]:
    """The columns that codivide wrote about the labels, in the order of the table.

    Names may be in capitals, or end in the ``_x`` and ``_y`` of two merged tables that had them both.

    Args:
        table: its labels are called "label".
        kept: columns that the user has named, and which stay.

    Example:
        >>> written_about(pd.DataFrame({"size": [3, 4], "label": ["a", "b"], "confidence": [0.9871, 1.0]}))
        ['confidence']
    """
    return about([str(name) for name in table.columns], lambda place: table.iloc[:, place], kept)


def about(names: Sequence[str], column: Callable[[int], pd.Series[Any]], kept: Container[str] = ()) -> list[str]:
    """The same of a table that is not in memory, a few columns of which are looked at.

    Args:
        names: of its columns.
        column: the values of the column in a place.
        kept: see ``written_about``.
    """
    called = [_MERGED.sub("", name.casefold()) for name in names]
    ours = {*OURS, *(BESIDE if _TELLING & set(called) else ())}
    found = {place for place, name in enumerate(called) if name in ours}
    for place in range(1, len(names)):
        if called[place] in _SURE and called[place - 1] == "label" and _is_share(column(place)):
            found |= {place - 1, place}
    for told, values, beside in _DECIDED:
        if not {told, *beside} <= set(called):
            continue
        there = [column(place).dropna() for place, name in enumerate(called) if name == told]
        if any(len(cells) and set(cells.astype(str)) <= values for cells in there):
            found |= {place for place, name in enumerate(called) if name in {"label", told, *beside}}
    return [name for place, name in enumerate(names) if place in found and name != "label" and name not in kept]


def _is_share(values: pd.Series[Any]) -> bool:
    """Whether a column holds numbers in [0, 1] of at most four digits, as codivide writes them; some may be missing."""
    if not pd.api.types.is_float_dtype(values):
        return False
    known = values.dropna().to_numpy(np.float64)
    within = len(known) and known.min() >= 0 and known.max() <= 1
    return bool(within and np.allclose(known, known.round(4), rtol=0, atol=1e-9))
