"""Folds of cross-fitting: of equal size, every class shared out evenly, and no group of samples divided."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from codivide.core.errors import InputError
from codivide.core.types import Floats, Labels


def deal(given: Tensor, folds: int, generator: torch.Generator, groups: Tensor | None = None) -> Tensor:
    """A fold ``[N]`` for every sample: shuffled, then dealt out class after class, so that all are of equal size.

    Groups of several samples come first, the largest ahead, each to the fold that has the fewest of its labels; the
    other samples fill the folds up, class after class.

    Args:
        given: labels ``[N]`` in ``0 .. C - 1``.
        folds: how many.
        generator: on the CPU.
        groups: a number ``[N]`` for each sample from 0 on; equal ones stay together. None: each is on its own.
    """
    order = torch.randperm(len(given), generator=generator)
    order = order[given[order].argsort(stable=True)]
    fold = torch.empty(len(given), dtype=torch.int64)
    if groups is None:
        fold[order] = torch.arange(len(given)) % folds
        return fold
    fold[order] = torch.from_numpy(_dealt(given[order].numpy(), groups[order].numpy(), folds))
    return fold


def _dealt(given: Labels, groups: Labels, folds: int) -> Labels:
    """The folds of samples in a random order within their class; see ``deal``."""
    fold = np.full(len(given), -1, dtype=np.int64)
    held = np.zeros((int(given.max()) + 1, folds), dtype=np.int64)  # labels of each class in each fold
    size = np.bincount(groups)
    rows = np.flatnonzero(size[groups] > 1)
    rows = rows[np.lexsort((groups[rows], -size[groups[rows]]))]
    for members in np.split(rows, np.flatnonzero(np.diff(groups[rows])) + 1) if len(rows) else ():
        labels, counts = np.unique(given[members], return_counts=True)
        fewest = np.lexsort((held.sum(0), counts @ held[labels]))[0]
        fold[members] = fewest
        held[labels, fewest] += counts
    alone = np.flatnonzero(fold < 0)
    total = held.sum(0)
    for label in np.unique(given[alone]):
        own = alone[given[alone] == label]
        fold[own] = _levelled(held[label], total, len(own))
        total += np.bincount(fold[own], minlength=folds)
    return fold


def _levelled(held: Labels, total: Labels, count: int) -> Labels:
    """Folds ``[count]`` that bring the counts of a class as near to each other as can be; then the emptier folds."""
    levels = np.arange(held.min(), held.max() + -(-count // len(held)) + 1)
    level, fold = (axis.ravel() for axis in np.meshgrid(levels, np.arange(len(held)), indexing="ij"))
    free = level >= held[fold]
    order = np.lexsort((fold[free], total[fold[free]], level[free]))
    return fold[free][order][:count]


def numbered(groups: Tensor | None) -> Tensor | None:
    """The groups from 0 on; None where each sample is on its own, or all are one thing: then none can be held out."""
    if groups is None:
        return None
    different, numbers = torch.unique(groups, return_inverse=True)
    return numbers if 1 < len(different) < len(groups) else None


def once(copies: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """The first of the copies of each label, ascending ``[M]``, and for every sample ``[N]`` which of these it is.

    Args:
        copies: a number ``[N]``, the same for those that are the same thing.
        given: labels ``[N]``.
    """
    keys = torch.unique(torch.stack([copies, given], 1), dim=0, return_inverse=True)[1]
    first = torch.full((int(keys.max()) + 1,), len(keys)).scatter_reduce(0, keys, torch.arange(len(keys)), "amin")
    rows, order = first.sort()
    return rows, order.argsort()[keys]


def folds_of(rows: Labels, by: Tensor, groups: Tensor | None, folds: int, seed: int) -> Labels:
    """A fold ``[M]`` for some samples; see ``deal``.

    Args:
        rows: of the samples ``[M]``.
        by: what is shared out evenly over the folds ``[M]``.
        groups: a number ``[N]``, the same for those that no fold may divide; None: each is on its own.
        folds: how many; fewer, where there are fewer groups.
        seed: of the order.
    """
    kept = numbered(None if groups is None else groups[torch.from_numpy(rows)])
    folds = min(folds, len(rows) if kept is None else int(kept.max()) + 1)
    found: Labels = deal(by, folds, torch.Generator().manual_seed(seed), kept).numpy()
    return found


def learnable(fold: Labels, counts: Floats) -> bool:
    """Whether some samples that weigh something are learned from, whatever fold is held out; see ``check_counts``."""
    return len(np.unique(fold[counts > 0])) >= 2


def check_counts(fold: Labels, counts: Floats) -> None:
    """InputError where all samples that weigh something are in one fold: without it none is left to learn from.

    Args:
        fold: of each sample ``[M]``.
        counts: how much each counts ``[M]``.
    """
    if not learnable(fold, counts):
        raise InputError(
            f"all {int((counts > 0).sum()):,} samples with a weight above 0 are held out together, so that none is "
            "left to learn from: give more samples a weight, of other groups too"
        )


def counts_of(rows: Labels, given: Labels, copies: Tensor | None, weight: Floats | None) -> Floats:
    """How much some samples count ``[M]``: copies with the same label say no more than one of them.

    Args:
        rows: of the samples ``[M]``.
        given: a number ``[M]``, the same for those with the same label.
        copies: a number ``[N]``, the same for those that are the same thing; None: each comes once.
        weight: how much each sample counts ``[N]``; None: all alike.
    """
    found: Floats = np.ones(len(rows)) if weight is None else weight[rows].astype(np.float64)
    if copies is not None:
        place = once(copies[torch.from_numpy(rows)], torch.from_numpy(given.ravel()))[1].numpy()
        found /= np.bincount(place)[place]
    return found
