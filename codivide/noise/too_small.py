"""Classes with too few labels to judge them by: they must not change the verdict on the others."""

from __future__ import annotations

import numpy as np

from codivide.core.types import AnyLabels, Mask

FEWEST = 5  # labels of a class that can be judged: one a fold of cross-fitting


def judged_classes(given: AnyLabels, classes: int, least: int = FEWEST, groups: AnyLabels | None = None) -> Mask:
    """Which of the classes ``[C]`` have enough labels to be compared with others.

    The few labels of another class say next to nothing of it: the mean probability of a single one, held out, is near
    0, and as the threshold of the confident joint it would be reached by every sample that is in doubt.

    Args:
        given: labels ``[N]`` in ``0 .. C - 1``, -1 where there is none.
        classes: how many, C.
        least: labels that are enough.
        groups: a number ``[N]`` for each sample; labels of one group count once in a class. None: each counts.

    Returns:
        True for the classes with ``least`` labels or more; for all that have a label where fewer than two have so many.
    """
    if groups is not None:
        given = np.unique(np.stack([given, groups]), axis=1)[0]
    counts = np.bincount(given[given >= 0], minlength=classes)
    enough = counts >= least
    return enough if enough.sum() > 1 else counts > 0
