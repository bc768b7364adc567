"""Samples that are in the training part and in the test part, exactly or nearly: they make a test look too good."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from codivide.core.types import Labels
from codivide.data.duplicates import find
from codivide.data.groups import beyond_chance
from codivide.data.loaded import Loaded
from codivide.data.rows import JoinedRows


class Leaks(NamedTuple):
    """For each sample the first one of the other part that is the same thing; -1: there is none.

    Attributes:
        training: rows of the test part ``[N]``.
        test: rows of the training part ``[M]``.
    """

    training: Labels
    test: Labels


def leaks(loaded: Loaded, test: Loaded) -> Leaks:
    """What the parts share, as ``data.duplicates.find`` finds it, but for rows of a table that are equal by chance.

    Args:
        loaded: the training part, N samples.
        test: the test part, M samples of the same shape.
    """
    rows, count = JoinedRows(loaded.x, test.x), len(loaded.y)
    texts = None if loaded.texts is None or test.texts is None else [*loaded.texts, *test.texts]
    alike = None if loaded.alike is None or test.alike is None else np.concatenate([loaded.alike, test.alike])
    groups = find(rows, texts, alike)
    if texts is None and len(rows.shape) == 1:
        groups = beyond_chance(groups, rows)
    found = Leaks(np.full(count, -1, dtype=np.int64), np.full(len(test.y), -1, dtype=np.int64))
    for group in groups:
        members = np.array(group.rows)
        ours, theirs = members[members < count], members[members >= count] - count
        if len(ours) and len(theirs):
            found.training[ours], found.test[theirs] = theirs[0], ours[0]
    return found
