"""Who is near whom among very many: an inverted file of faiss, which looks into the nearest of many cells."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codivide.core.types import Labels

_PROBES = 8  # cells that are looked into
_LEARNED = 32  # points for each cell that the cells are learned from
_ROUNDS = 5  # of k-means; they need not be the best cells
_MORE = 8  # neighbours that are asked for besides, as some share a group


def has_index() -> bool:
    """Whether faiss is installed (the extra "large")."""
    return importlib.util.find_spec("faiss") is not None


class Index:
    """Points ``[N, P]`` float32 of unit length, to be searched by cosine similarity.

    There are about four times the root of N cells, learned by k-means with a fixed seed, so that a search looks at some
    thousand points, and its cost grows with the root of N.

    Args:
        points: the points, contiguous.
    """

    def __init__(self, points: Tensor) -> None:
        import faiss

        faiss.omp_set_num_threads(torch.get_num_threads())
        self.points: Any = points.contiguous().numpy()
        count, width = self.points.shape
        cells = max(1, min(int(4 * math.sqrt(count)), count // _LEARNED))
        self._cells = faiss.IndexFlatIP(width)
        self._index = faiss.IndexIVFFlat(self._cells, width, cells, faiss.METRIC_INNER_PRODUCT)
        self._index.cp.seed, self._index.cp.niter = 0, _ROUNDS
        self._index.cp.min_points_per_centroid = self._index.cp.max_points_per_centroid = _LEARNED
        self._index.nprobe = _PROBES
        chosen = np.random.default_rng(0).permutation(count)[: cells * _LEARNED]
        self._index.train(self.points[np.sort(chosen)])
        self._index.add(self.points)

    def nearest(self, rows: Labels, count: int, groups: Tensor | None = None) -> Labels:
        """The rows ``[Q, count]`` most similar to each of ``rows [Q]`` but itself, from the nearest on; -1: none.

        Args:
            rows: who is asked.
            count: how many.
            groups: a number ``[N]``; those that share a row's are no neighbours of it. None: all may be.
        """
        more = 1 + (0 if groups is None else _MORE)
        _, found = self._index.search(self.points[rows], count + more)
        found = found.astype(np.int64)
        out = (found < 0) | (found == rows[:, None])
        if groups is not None:
            known = groups.numpy()
            out |= known[found] == known[rows][:, None]
        order = np.argsort(out, axis=1, kind="stable")[:, :count]
        near: Labels = np.where(np.take_along_axis(out, order, 1), -1, np.take_along_axis(found, order, 1))
        return near
