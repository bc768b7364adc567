"""What each labelled sample is worth to a classifier by neighbours: exact Shapley values."""

from __future__ import annotations

from typing import Any

import numpy as np

from codivide.core.neighbours import nearest
from codivide.core.types import Floats, Labels

MOST_TESTED = 2000  # samples that the others are valued by, drawn by a fixed seed
_CHUNK = 256


def of_order(same: Floats, count: int) -> Floats:
    """Shapley values of samples for one prediction by neighbours (Jia et al., VLDB 2019, theorem 1).

    The worth of a set of samples is the number of those with the right label among its ``count`` nearest, over
    ``count``. From the farthest sample on, with ``m`` of them and numbers from 1,

        v_m = same_m min(count, m) / (count m),
        v_i = v_(i+1) + (same_i - same_(i+1)) min(count, i) / (count i).

    Args:
        same: ``[Q, m]``, 1 where a sample has the label of the prediction, the nearest first.
        count: of neighbours.

    Returns:
        ``[Q, m]``; a row sums to the worth of all samples.
    """
    size = same.shape[1]
    if not size:
        return same
    place = np.arange(1, size + 1)
    share = np.minimum(count, place) / (count * place)
    steps = np.empty(same.shape)
    steps[:, -1] = same[:, -1] * share[-1]
    steps[:, :-1] = (same[:, :-1] - same[:, 1:]) * share[:-1]
    values: Floats = steps[:, ::-1].cumsum(1)[:, ::-1]
    return values


def values(points: Any, given: Labels, count: int) -> Floats:
    """The value ``[N]`` of every sample to predicting the others by their ``count`` nearest neighbours.

    The mean of ``of_order`` over the other samples, each predicted from all but itself; of more than 2,000, so many
    are predicted. Below 0: the sample misleads more than it helps, as wrong labels do.

    Args:
        points: ``[N, F]``, a tensor or a CSR matrix.
        given: labels ``[N]``.
        count: of neighbours.
    """
    every = np.arange(len(given))
    tested = np.sort(np.random.default_rng(0).permutation(every)[:MOST_TESTED])
    total, times = np.zeros(len(given)), np.full(len(given), float(len(tested)))
    times[tested] -= 1
    for start in range(0, len(tested), _CHUNK):
        rows = tested[start : start + _CHUNK]
        order = nearest(points, rows, every, len(given) - 1)[0]
        found = of_order((given[order] == given[rows][:, None]).astype(np.float64), count)
        total += np.bincount(order.ravel(), found.ravel(), len(given))
    mean: Floats = total / np.maximum(times, 1)
    return mean
