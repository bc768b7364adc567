"""Answers of a group of annotators that count once, and answers beside which somebody else's stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from codivide.core.types import Labels

if TYPE_CHECKING:
    from codivide.noise.consensus import Votes


def owners(count: int, groups: Sequence[Sequence[int]]) -> Labels:
    """``[A]``: who stands for each annotator: the first of a group that counts once, else they themselves."""
    first = {member: group[0] for group in groups for member in group}
    return np.array([first.get(member, member) for member in range(count)], dtype=np.int64)


def counted_once(given: Votes, owner: Labels) -> Votes:
    """The answers with one of each group on each sample and class; ``owner [A]`` gives all of them."""
    keys = (given.items * len(given.names) + owner[given.annotators]) * given.classes + given.labels
    first = np.sort(np.unique(keys, return_index=True)[1])
    return replace(
        given, items=given.items[first], annotators=owner[given.annotators[first]], labels=given.labels[first]
    )


def met_another(given: Votes, owner: Labels) -> NDArray[np.bool_]:
    """Mask ``[M]`` of the answers on samples that somebody of no group with their annotator answered, too."""
    pairs = np.unique(given.items * len(owner) + owner[given.annotators])
    met: NDArray[np.bool_] = np.bincount(pairs // len(owner), minlength=given.samples)[given.items] > 1
    return met
