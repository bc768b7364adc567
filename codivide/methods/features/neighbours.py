"""Which labels the most similar rows were given, for several numbers of neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from codivide.core.index import Index, has_index
from codivide.core.neighbours import nearest
from codivide.core.types import Labels

MOST = 50  # neighbours that are looked at
SIZES = (5, 10, 20, MOST)
REFERENCE = 20_000  # rows among which neighbours are sought exactly; more are drawn at random
FROM = 50_000  # rows from which on all are searched
_AT_ONCE = 20_000  # rows whose neighbours are held at once
_SURE = 3.0  # standard deviations from which on hubs have a class
_ROUNDS = 20  # after which the means of shares are right to a few thousandths


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


def found(
    x: Tensor, generator: torch.Generator, groups: Tensor | None = None, *, most: int = MOST, unit: bool = False
) -> Tensor:
    """The neighbours of each row by cosine similarity, ``[N, K]`` int32, the nearest first; -1: there is none.

    From ``FROM`` rows on, all rows are searched, approximately, where faiss is installed (the extra "large"); else, and
    of fewer rows, at most ``REFERENCE`` of them, exactly. So are those sought whose nearest are mostly of their own
    group. No row is its own neighbour.

    Args:
        x: ``[N, D]``.
        generator: of the reference rows, where there are more than ``REFERENCE``.
        groups: a number ``[N]``, alike for copies and what else is no neighbour of each other; None: there are none.
        most: how many, at most ``MOST``; fewer where there are not so many rows.
        unit: whether rows are of length 1 as they are, so that no copy is made.
    """
    count = len(x)
    chosen = np.arange(count)
    approximate = count >= FROM and has_index()
    if count > REFERENCE and not approximate:
        chosen = torch.randperm(count, generator=generator)[:REFERENCE].sort().values.numpy()
    most = min(MOST, most, len(chosen) - 1)
    points = x if unit else torch.nn.functional.normalize(x)
    index = Index(points) if approximate else None
    near = torch.empty(count, most, dtype=torch.int32)
    for rows in np.array_split(np.arange(count), max(1, count // _AT_ONCE)):
        if index is not None:
            part = _filled(index.nearest(rows, most, groups), points, rows, groups)
        else:
            part, _ = nearest(points, rows, chosen, most, groups=groups)
        near[rows[0] : rows[-1] + 1] = torch.from_numpy(part)
    return near


def _filled(near: Labels, points: Tensor, rows: Labels, groups: Tensor | None) -> Labels:
    """Neighbours ``[M, K]``, of which rows that lack most of theirs get those among ``REFERENCE`` rows, drawn once."""
    few = np.flatnonzero((near >= 0).sum(1) < near.shape[1] / 2)
    if groups is not None and len(few):
        chosen = np.sort(np.random.default_rng(0).permutation(len(points))[:REFERENCE])
        near[few], _ = nearest(points, rows[few], chosen, near.shape[1], groups=groups)
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


def without_hubs(shares: Tensor, near: Tensor, given: Tensor) -> Tensor:
    """Shares whose means are how often each class is given, where hubs have moved them beyond chance.

    With many features few samples are among the neighbours of very many (Radovanovic et al., JMLR 2010). Where these
    hubs are mostly of one class, every sample seems to be of it. If sample j is a neighbour ``o_j`` times and this had
    nothing to do with its label, the mean share of a class given with frequency f would differ from f with the variance
    ``f (1 - f) sum_j (o_j - mean o)^2 / (sum_j o_j)^2``.

    Args:
        shares: ``[N, C]``, rows sum to 1.
        near: the neighbours ``[N, K]`` they were counted of, among all N; -1: there is none.
        given: labels ``[N]``.
    """
    count, classes = shares.shape
    often = torch.bincount(near[near >= 0].long(), minlength=count).double()
    frequency = torch.bincount(given, minlength=classes).double() / len(given)
    chance = frequency * (1 - frequency) * (often - often.mean()).square().sum() / often.sum().square()
    mean = torch.bincount(given, often, classes) / often.sum()
    if not ((mean - frequency).abs() > _SURE * chance.sqrt()).any():
        return shares
    found = shares.double()
    for _ in range(_ROUNDS):
        found *= torch.where(frequency > 0, frequency / found.mean(0), 1.0)
        found /= found.sum(1, keepdim=True)
    return found.to(shares.dtype)
