"""Who is near whom: exact nearest neighbours, a chunk of rows at a time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from codivide.core.types import AnyFloats, Labels

_CHUNK = 512


def nearest(points: Tensor, queries: Labels, candidates: Labels, count: int) -> tuple[Labels, AnyFloats]:
    """The candidates nearest to each query, other than itself.

    Args:
        points: ``[N, F]``.
        queries: rows ``[Q]``.
        candidates: rows ``[M]``, ascending.
        count: how many; fewer are found where there are not so many other candidates.

    Returns:
        Rows ``[Q, count]`` from the nearest on, -1 where there is none, and their Euclidean distances (inf).
    """
    others, count_found = points[candidates], min(count, len(candidates))
    found = np.full((len(queries), count), -1, dtype=np.int64)
    distances = np.full((len(queries), count), np.inf)
    if not count_found:
        return found, distances
    square = others.square().sum(1)
    for start in range(0, len(queries), _CHUNK):
        rows = queries[start : start + _CHUNK]
        query = points[rows]
        distance = torch.addmm(square, query, others.T, alpha=-2).add_(query.square().sum(1, keepdim=True))
        at = np.searchsorted(candidates, rows).clip(max=len(candidates) - 1)
        own = np.flatnonzero(candidates[at] == rows)
        distance[own, at[own]] = torch.inf
        best, index = distance.topk(count_found, dim=1, largest=False)
        values = best.clamp_min_(0).sqrt().double().numpy()
        part = slice(start, start + len(rows))
        distances[part, :count_found] = values
        found[part, :count_found] = np.where(np.isfinite(values), candidates[index.numpy()], -1)
    return found, distances
