"""Classes that are most likely one class under several names, such as "no" and "NO": none is wrong for another."""

from __future__ import annotations

import numpy as np

from codivide.core.types import AnyFloats, Floats, Labels


def one_of_each(probs: AnyFloats, given: Labels, same: Labels) -> Floats:
    """Probabilities ``[N, C]`` in which one class speaks for all that are alike: the given one, else the commonest.

    Args:
        probs: ``[N, C]``.
        given: labels ``[N]``, -1: none.
        same: a number ``[C]`` in ``0 .. C - 1``, equal for classes that are alike.

    Returns:
        ``[N, C]``; rows keep their sums.

    Example:
        >>> one_of_each(np.array([[0.5, 0.25, 0.25]] * 3), np.array([1, 2, 2]), np.array([0, 0, 1])).tolist()
        [[0.0, 0.75, 0.25], [0.0, 0.75, 0.25], [0.0, 0.75, 0.25]]
    """
    classes = len(same)
    summed = np.zeros((len(probs), classes))
    for k in range(classes):
        summed[:, same[k]] += probs[:, k]
    standing = commonest(given, same)
    answer: Floats = np.where(standing == np.arange(classes), summed[:, same], 0)
    rows = np.flatnonzero(given >= 0)
    own = given[rows]
    answer[rows, standing[own]] = 0
    answer[rows, own] = summed[rows, same[own]]
    return answer


def commonest(given: Labels, same: Labels) -> Labels:
    """Of the classes like each one the commonest ``[C]``, of several the first."""
    counts = np.bincount(given[given >= 0], minlength=len(same))
    return np.array([max(np.flatnonzero(same == k).tolist(), key=counts.__getitem__) for k in same])


def right(clean_prob: AnyFloats, probs: AnyFloats, given: Labels, same: Labels) -> Floats:
    """p(clean) ``[N]`` where a label is right if the class is like the given one.

    A label that is wrong names a class like the true one with the share ``sum_alike p_k / (1 - p_given)`` over the
    other classes k. NaN stays.
    """
    rows = np.flatnonzero(given >= 0)
    own = probs[rows, given[rows]].astype(np.float64)
    whole = one_of_each(probs, given, same)[rows, given[rows]].astype(np.float64)
    share = np.clip((whole - own) / np.maximum(1 - own, 1e-12), 0.0, 1.0)
    answer = clean_prob.astype(np.float64)
    answer[rows] += (1 - answer[rows]) * share
    return answer
