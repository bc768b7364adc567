"""Which labels the most similar rows were given, for several numbers of neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from codivide.core.index import Index, has_index
from codivide.core.neighbours import nearest

MOST = 50  # neighbours that are looked at
SIZES = (5, 10, 20, MOST)
REFERENCE = 20_000  # rows among which neighbours are sought exactly; more are drawn at random
FROM = 50_000  # rows from which on all are searched
_AT_ONCE = 20_000  # rows whose neighbours are held at once


def shares(
    x: Tensor,
    given: Tensor,
    classes: int,
    generator: torch.Generator,
    groups: Tensor | None = None,
    *,
    sizes: Sequence[int] = SIZES,
) -> Tensor:
    """How the neighbours of each row are labelled, ``[S, N, C]``: ``counted`` of those that are ``found``."""
    return counted(found(x, generator, groups, most=max(sizes)), given, classes, sizes=sizes)


def found(x: Tensor, generator: torch.Generator, groups: Tensor | None = None, *, most: int = MOST) -> Tensor:
    """The neighbours of each row by cosine similarity, ``[N, K]`` int32, the nearest first; -1: there is none.

    From ``FROM`` rows on, all rows are searched, approximately, where faiss is installed (the extra "large"); else, and
    of fewer rows, at most ``REFERENCE`` of them, exactly. No row is its own neighbour.

    Args:
        x: ``[N, D]``.
        generator: of the reference rows, where there are more than ``REFERENCE``.
        groups: a number ``[N]``, alike for copies and what else is no neighbour of each other; None: there are none.
        most: how many, at most ``MOST``; fewer where there are not so many rows.
    """
    count = len(x)
    chosen = np.arange(count)
    approximate = count >= FROM and has_index()
    if count > REFERENCE and not approximate:
        chosen = torch.randperm(count, generator=generator)[:REFERENCE].sort().values.numpy()
    most = min(MOST, most, len(chosen) - 1)
    points = torch.nn.functional.normalize(x)
    index = Index(points) if approximate else None
    near = torch.empty(count, most, dtype=torch.int32)
    for rows in np.array_split(np.arange(count), max(1, count // _AT_ONCE)):
        if index is not None:
            part = index.nearest(rows, most, groups)
        else:
            part, _ = nearest(points, rows, chosen, most, groups=groups)
        near[rows[0] : rows[-1] + 1] = torch.from_numpy(part)
    return near


def counted(
    near: Tensor, given: Tensor, classes: int, *, sizes: Sequence[int] = SIZES, trust: Tensor | None = None
) -> Tensor:
    """The shares ``[S, N, C]`` of the classes among the labels of some numbers of neighbours; rows sum to 1.

    Args:
        near: neighbours ``[N, K]``, the nearest first; -1: there is none.
        given: labels ``[M]`` of those that ``near`` names.
        classes: number of classes C.
        sizes: numbers S of neighbours; K where there are not so many.
        trust: how much each label counts ``[M]``, non-negative; None: 1. A class has ``1 / classes`` besides, so that
            none is 0.
    """
    count, most = near.shape
    shared = torch.full((len(sizes), count, classes), 1 / classes)
    for start in range(0, count, _AT_ONCE):
        part = near[start : start + _AT_ONCE].long()
        there = (part >= 0).float() if trust is None else trust[part].float().masked_fill(part < 0, 0.0)
        labels = given[part]
        for votes, size in zip(shared[:, start : start + _AT_ONCE], (min(size, most) for size in sizes), strict=True):
            votes.scatter_add_(1, labels[:, :size], there[:, :size]).div_(there[:, :size].sum(1, keepdim=True) + 1)
    return shared
