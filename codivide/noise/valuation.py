"""What each labelled sample is worth to a classifier by neighbours: exact Shapley values."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from codivide.core.types import Floats, Labels, Mask

MOST_TESTED = 2000  # samples that the others are valued by, drawn by a fixed seed
_CHUNK = 256
_BLOCK = 4096  # points whose distances are taken at once, as doubles
_DIGITS = 12  # of a squared distance; what is equal to so many is as near


def of_groups(size: Labels, same: Labels, count: int) -> tuple[Floats, Floats]:
    """Shapley values of samples for one prediction by neighbours (Jia et al., VLDB 2019, theorem 1), with ties.

    The worth of a set of samples is the number of those with the right label among its ``count`` nearest, over
    ``count``. In the order of m samples, the nearest first, numbered from 1, with ``c_i = min(count, i) / (count i)``,

        v_m = same_m c_m,    v_i = v_(i+1) + (same_i - same_(i+1)) c_i,

    which is ``same_i c_i`` and, over all j > i, ``same_j (c_j - c_(j-1))``. Of samples that are as near as each other
    the mean over all their orders is taken (ours), so that the order of the rows does not count. Of a group at the
    places a to b, of which S of n are right, and that is ``e = 1`` for one that is right itself,

        v = e mean(c_a ... c_b) + (S - e) / (n (n - 1)) sum_(a<j<=b) (j - a) (c_j - c_(j-1)) + rest,

    where every group behind it adds ``(S / n) (c_b - c_(a-1))`` of its own to the rest.

    Args:
        size: of the groups ``[G]``, the nearest first, each at least 1.
        same: how many of each ``[G]`` have the label of the prediction.
        count: of neighbours.

    Returns:
        The value of a sample ``[G]`` that has the label, and of one that has not.
    """
    last = np.cumsum(size)
    before = last - size
    place = np.arange(1, (last[-1] if len(last) else 0) + 1)
    share = np.concatenate([[0.0], np.minimum(count, place) / (count * place)])
    total = share.cumsum()
    later = same / size * (share[last] - share[before])
    rest = later[::-1].cumsum()[::-1] - later
    inside = ((size - 1) * share[last] - (total[last - 1] - total[before])) / (size * np.maximum(size - 1, 1))
    right: Floats = (total[last] - total[before]) / size + (same - 1) * inside + rest
    wrong: Floats = same * inside + rest
    return right, wrong


def values(points: Any, given: Labels, count: int) -> Floats:
    """The value ``[N]`` of every sample to predicting the others by their ``count`` nearest neighbours.

    The mean of ``of_groups`` over the other samples, each predicted from all but itself; of more than 2,000, so many
    are predicted. Below 0: the sample misleads more than it helps, as wrong labels do. Copies with one label have one
    value, whatever the order of the rows, but for which ones of more than 2,000 are predicted.

    Args:
        points: ``[N, F]``, a tensor or a CSR matrix.
        given: labels ``[N]``.
        count: of neighbours.
    """
    plain = points.sorted_indices() if sparse.issparse(points) else points.numpy()
    first, place = _distinct(plain)
    different, size = plain[first], np.bincount(place)
    every = np.arange(len(given))
    tested = np.sort(np.random.default_rng(0).permutation(every)[:MOST_TESTED])
    total, times = np.zeros(len(given)), np.full(len(given), float(len(tested)))
    times[tested] -= 1
    for start in range(0, len(tested), _CHUNK):
        rows = tested[start : start + _CHUNK]
        for row, square in zip(rows.tolist(), _squares(plain[rows], different), strict=True):
            total += _of_one(square, place, row, same=given == given[row], size=size, count=count)
    mean: Floats = total / np.maximum(times, 1)
    return mean


def _of_one(square: Floats, place: Labels, row: int, *, same: Mask, size: Labels, count: int) -> Floats:
    """Values ``[N]`` to the prediction of one row, which has none itself; ``square``: to the points, ``[D]``."""
    right = np.bincount(place[same], minlength=len(size))
    size = size.copy()
    size[place[row]] -= 1
    right[place[row]] -= 1
    group = np.unique(square, return_inverse=True)[1]
    sizes, rights = (np.bincount(group, number).astype(np.int64) for number in (size, right))
    found = np.zeros((2, len(sizes)))
    some = sizes > 0  # the row itself may have been a group
    found[:, some] = of_groups(sizes[some], rights[some], count)
    of_row = group[place]
    answer: Floats = np.where(same, found[0][of_row], found[1][of_row])
    answer[row] = 0
    return answer


def _distinct(points: Any) -> tuple[Labels, Labels]:
    """The first row ``[D]`` of each different point, and the number ``[N]`` of that of every row."""
    if sparse.issparse(points):
        parts = [slice(*points.indptr[k : k + 2]) for k in range(points.shape[0])]
        written = [points.indices[part].tobytes() + points.data[part].tobytes() for part in parts]
    else:
        written = [row.tobytes() for row in points + 0.0]  # no minus in front of 0
    known: dict[bytes, int] = {}
    place = np.array([known.setdefault(text, len(known)) for text in written], dtype=np.int64)
    return np.unique(place, return_index=True)[1], place


def _squares(query: Any, points: Any) -> Floats:
    """Squared distances ``[Q, D]`` in double precision, rounded: those that are equal are so in any order of rows."""
    one = query.astype(np.float64)
    parts = []
    for start in range(0, points.shape[0], _BLOCK):
        other = points[start : start + _BLOCK].astype(np.float64)
        product = (one @ other.T).toarray() if sparse.issparse(one) else one @ other.T
        parts.append(_lengths(one)[:, None] - 2 * product + _lengths(other))
    found: Floats = np.concatenate(parts, axis=1).round(_DIGITS)
    return found


def _lengths(points: Any) -> Floats:
    """Squared lengths ``[N]``."""
    if sparse.issparse(points):
        return np.asarray(points.multiply(points).sum(1)).ravel()
    found: Floats = np.einsum("nd,nd->n", points, points)
    return found
