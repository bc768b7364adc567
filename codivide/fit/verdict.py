"""Whether a run has learned enough for its answers to be used at all."""

from __future__ import annotations

import math

import numpy as np

from codivide.core.types import Labels, Mask
from codivide.fit.choice import Choice

USABLE = "usable"
TOO_LITTLE = "too little was learned; do not use"

_ERRORS = 3.0  # standard errors by which labels that were learned from must be predicted better than by chance
_HELD_OUT = 2.0  # the same of labels that were held out
_LEAST = 0.05  # of the way from chance to full agreement: less is of no use, however sure it is


def verdict(suggested: Labels, given: Labels, choice: Choice | None = None) -> str:
    """``USABLE``, or ``TOO_LITTLE`` where a network does no better than one that knows how often each class occurs.

    What is compared is balanced agreement: the mean over the classes of the share of their labels that the network
    predicts. By chance, and by naming the largest class always, it is 1 over the number of classes. Labels that were
    memorised agree, so where a scout held labels out, these must be predicted better than by chance, too.

    Args:
        suggested: what the network says of each sample, ``[N]``.
        given: labels ``[N]``, -1 where there is none.
        choice: with the report of a scout, where there was one.
    """
    agreement, chance, error = balanced_agreement(suggested, given)
    learned = agreement - chance > max(_ERRORS * error, _LEAST * (1 - chance))
    return USABLE if learned and not _held_out_by_chance(given, choice) else TOO_LITTLE


def balanced_agreement(suggested: Labels, given: Labels) -> tuple[float, float, float]:
    """Mean over the classes of the share of labels that are predicted, what it is by chance, and its standard error.

    Args:
        suggested: classes ``[N]``.
        given: labels ``[N]``, -1 where there is none.
    """
    labelled = given >= 0
    right: Mask = (suggested == given)[labelled]
    classes, place = np.unique(given[labelled], return_inverse=True)
    if len(classes) < 2:
        return 1.0, 0.0, 0.0  # nothing could be learned, and nothing is claimed
    size = np.bincount(place)
    share = np.bincount(place, weights=right) / size
    error = math.sqrt(float((share * (1 - share) / size).sum())) / len(classes)
    return float(share.mean()), 1 / len(classes), error


def _held_out_by_chance(given: Labels, choice: Choice | None) -> bool:
    """Whether a scout saw that held-out labels can be predicted by frequencies only, by likelihood and by agreement."""
    seen = None if choice is None else choice.scout
    if seen is None or not seen.doubt.startswith("Nothing can be learned"):
        return False
    largest = float(np.bincount(given[given >= 0]).max()) / max(seen.labelled, 1)
    return seen.agreement - largest <= _HELD_OUT * seen.error
