"""Who is near whom: exact nearest neighbours, a chunk of rows at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from codivide.core.types import AnyFloats, Labels

_CHUNK = 256
_MOST = 5 * 10**7  # distances that are held at once
_GROUPED = 16  # candidates of which only the nearest is looked at first
_TIED = 4  # times as many as are sought, from which on they are not sorted out from others as near


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
    size = max(1, min(_CHUNK, _MOST // len(candidates)))
    measured = _Distances(others, size)
    for start in range(0, len(queries), size):
        rows = queries[start : start + size]
        distance = measured.of(points[rows])
        at = np.searchsorted(candidates, rows).clip(max=len(candidates) - 1)
        own = np.flatnonzero(candidates[at] == rows)
        distance[own, at[own]] = torch.inf
        if groups is not None:
            distance[:, : len(candidates)][groups[rows].unsqueeze(1) == groups[candidates]] = torch.inf
        best, index = least(distance, count_found)
        values = best.add_(_squares(points[rows]).unsqueeze(1)).clamp_min_(0).sqrt().double().numpy()
        part = slice(start, start + len(rows))
        distances[part, :count_found] = values
        there = np.isfinite(values)
        found[part, :count_found][there] = candidates[index.numpy()[there]]
    return found, distances


def least(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The smallest values ``[Q, count]`` of each row of ``[Q, M]``, in order, and their columns: ``topk``, but faster.

    Of every 16 columns the smallest value is looked at first. ``count`` of these are at most the ``count``-th of them,
    so that no more than that is looked for. Where M is no multiple of 16, or small, or many values are equal, it is
    ``topk``.
    """
    rows, width = values.shape
    if width % _GROUPED or width < 2 * _GROUPED * count:
        return _topk(values, count)
    smallest = values.view(rows, _GROUPED, -1).amin(1).numpy()
    smallest.partition(count - 1, axis=1)
    whole = values.numpy()
    among = whole <= smallest[:, count - 1 : count]
    if np.count_nonzero(among) > _TIED * rows * count:
        return _topk(values, count)
    flat = np.flatnonzero(among)
    row, column = np.divmod(flat, width)
    often = np.bincount(row, minlength=rows)
    place = np.arange(len(flat)) - np.repeat(often.cumsum() - often, often)
    few, where = np.full((rows, often.max()), np.inf, whole.dtype), np.zeros((rows, often.max()), np.int64)
    few[row, place], where[row, place] = whole.ravel()[flat], column
    best, index = _topk(torch.from_numpy(few), count)
    return best, torch.from_numpy(where).gather(1, index)


def _topk(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    best, index = values.topk(count, dim=1, largest=False)
    return best, index


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


class _Distances:
    """The squared distances of queries to others, less the queries' squared lengths.

    Columns are filled up with infinity, so that they are a multiple of 16. Of dense points one product gives all of it,
    into the same memory for every block of queries.

    Args:
        others: ``[M, F]``.
        size: of a block.
    """

    def __init__(self, others: Any, size: int) -> None:
        count = others.shape[0]
        width = -(-count // _GROUPED) * _GROUPED
        self.others, self.count, self.squares = others, count, _squares(others)
        self.held = torch.full((size, width), torch.inf, dtype=self.squares.dtype)
        if not sparse.issparse(others):
            self.factor = torch.zeros(others.shape[1] + 1, width, dtype=others.dtype)
            torch.mul(others.T, -2, out=self.factor[:-1, :count])
            self.factor[-1, :count], self.factor[-1, count:] = self.squares, torch.inf

    def of(self, queries: Any) -> Tensor:
        """``[Q, M]`` and columns of infinity; overwritten by the next block."""
        held = self.held[: queries.shape[0]]
        if sparse.issparse(queries):
            products = torch.from_numpy((queries @ self.others.T).toarray())
            torch.add(self.squares, products, alpha=-2, out=held[:, : self.count])
            return held
        ones = torch.ones(len(queries), 1, dtype=queries.dtype)
        return torch.mm(torch.cat([queries, ones], 1), self.factor, out=held)
