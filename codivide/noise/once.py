"""Who stands for a group of annotators that counts once, and answers beside which somebody else's stand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from codivide.core.types import Labels


def owners(count: int, groups: Sequence[Sequence[int]]) -> Labels:
    """``[A]``: who stands for each annotator: the first of a group that counts once, else they themselves."""
    first = {member: group[0] for group in groups for member in group}
    return np.array([first.get(member, member) for member in range(count)], dtype=np.int64)


def met_another(items: Labels, annotators: Labels, owner: Labels) -> NDArray[np.bool_]:
    """Mask ``[M]`` of the answers on samples that somebody of no group with their annotator answered, too."""
    pairs = np.unique(items * len(owner) + owner[annotators])
    met: NDArray[np.bool_] = np.bincount(pairs // len(owner))[items] > 1
    return met
