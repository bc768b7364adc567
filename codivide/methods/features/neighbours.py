"""Which labels the most similar rows were given, for several numbers of neighbours."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from codivide.core.neighbours import nearest

MOST = 50  # neighbours that are looked at
SIZES = (5, 10, 20, MOST)
REFERENCE = 20_000  # rows among which neighbours are sought; more are drawn at random


def shares(x: Tensor, given: Tensor, classes: int, generator: torch.Generator, groups: Tensor | None = None) -> Tensor:
    """How the neighbours of each row are labelled, by cosine similarity, for each of ``SIZES``.

    Args:
        x: ``[N, D]``.
        given: labels ``[N]``.
        classes: number of classes C.
        generator: of the reference rows, where there are more than ``REFERENCE``.
        groups: a number ``[N]``, alike for copies and what else is no neighbour of each other; None: there are none.

    Returns:
        ``[S, N, C]``, rows sum to 1. A class is counted ``1 / classes`` times more than it occurs, so that none is 0;
        no row is its own neighbour.
    """
    count = len(x)
    chosen = np.arange(count)
    if count > REFERENCE:
        chosen = torch.randperm(count, generator=generator)[:REFERENCE].sort().values.numpy()
    most = min(MOST, len(chosen) - 1)
    near, _ = nearest(torch.nn.functional.normalize(x), np.arange(count), chosen, most, groups=groups)
    there = torch.from_numpy(near >= 0).float()
    labels = given[torch.from_numpy(near)]
    found = torch.full((len(SIZES), count, classes), 1 / classes)
    for votes, size in zip(found, (min(size, most) for size in SIZES), strict=True):
        votes.scatter_add_(1, labels[:, :size], there[:, :size]).div_(there[:, :size].sum(1, keepdim=True) + 1)
    return found
