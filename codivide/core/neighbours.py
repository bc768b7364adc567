"""Who is near whom: exact nearest neighbours, a chunk of rows at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from codivide.core.types import AnyFloats, Labels

_CHUNK = 512
_MOST = 5 * 10**7  # distances that are held at once


def nearest(
    points: Any, queries: Labels, candidates: Labels, count: int, *, groups: Tensor | None = None
) -> tuple[Labels, AnyFloats]:
    """The candidates nearest to each query, other than itself.

    Args:
        points: ``[N, F]``, a tensor or a SciPy CSR matrix, on the CPU.
        queries: rows ``[Q]``.
        candidates: rows ``[M]``, ascending.
        count: how many; fewer are found where there are not so many other candidates.
        groups: a number ``[N]`` for each row; those that share a row's are no neighbours of it. None: all may be.

    Returns:
        Rows ``[Q, count]`` from the nearest on, -1 where there is none, and their Euclidean distances (inf).
    """
    every = len(candidates) == points.shape[0]  # ascending, so they are all rows in order
    others, count_found = points if every else points[candidates], min(count, len(candidates))
    found = np.full((len(queries), count), -1, dtype=np.int64)
    distances = np.full((len(queries), count), np.inf)
    if not count_found:
        return found, distances
    square, size = _squares(others), max(1, min(_CHUNK, _MOST // len(candidates)))
    for start in range(0, len(queries), size):
        rows = queries[start : start + size]
        distance = _less_products(square, points[rows], others).add_(_squares(points[rows]).unsqueeze(1))
        at = np.searchsorted(candidates, rows).clip(max=len(candidates) - 1)
        own = np.flatnonzero(candidates[at] == rows)
        distance[own, at[own]] = torch.inf
        if groups is not None:
            distance[groups[rows].unsqueeze(1) == groups[candidates]] = torch.inf
        best, index = distance.topk(count_found, dim=1, largest=False)
        values = best.clamp_min_(0).sqrt().double().numpy()
        part = slice(start, start + len(rows))
        distances[part, :count_found] = values
        found[part, :count_found] = np.where(np.isfinite(values), candidates[index.numpy()], -1)
    return found, distances


def unit_rows(points: Any) -> Any:
    """Rows of length 1, float32: their squared distance is ``2 - 2 cos``. Rows of zeros stay.

    Args:
        points: ``[N, F]`` dense or sparse.

    Returns:
        A tensor, or a CSR matrix, for ``nearest``.
    """
    if not sparse.issparse(points):
        return torch.nn.functional.normalize(torch.as_tensor(np.asarray(points, dtype=np.float32)))
    rows = sparse.csr_matrix(points, dtype=np.float32)
    length = np.sqrt(_squares(rows).numpy())
    return (sparse.diags(1 / np.where(length > 0, length, 1.0)) @ rows).tocsr()


def _squares(points: Any) -> Tensor:
    """Squared lengths ``[N]``."""
    if sparse.issparse(points):
        return torch.from_numpy(np.asarray(points.multiply(points).sum(1)).ravel())
    square: Tensor = points.square().sum(1)
    return square


def _less_products(square: Tensor, query: Any, others: Any) -> Tensor:
    """``square - 2 query others^T``, ``[Q, M]``."""
    if sparse.issparse(query):
        return square - 2 * torch.from_numpy((query @ others.T).toarray())
    return torch.addmm(square, query, others.T, alpha=-2)
