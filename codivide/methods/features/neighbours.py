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
    """How the neighbours of each row are labelled, by cosine similarity, for each of some numbers of neighbours.

    From ``FROM`` rows on, all rows are searched, approximately, where faiss is installed (the extra "large"); else, and
    of fewer rows, at most ``REFERENCE`` of them, exactly.

    Args:
        x: ``[N, D]``.
        given: labels ``[N]``.
        classes: number of classes C.
        generator: of the reference rows, where there are more than ``REFERENCE``.
        groups: a number ``[N]``, alike for copies and what else is no neighbour of each other; None: there are none.
        sizes: numbers of neighbours, at most ``MOST``.

    Returns:
        ``[S, N, C]``, rows sum to 1. A class is counted ``1 / classes`` times more than it occurs, so that none is 0;
        no row is its own neighbour.
    """
    count = len(x)
    chosen = np.arange(count)
    approximate = count >= FROM and has_index()
    if count > REFERENCE and not approximate:
        chosen = torch.randperm(count, generator=generator)[:REFERENCE].sort().values.numpy()
    most = min(MOST, max(sizes), len(chosen) - 1)
    points = torch.nn.functional.normalize(x)
    index = Index(points) if approximate else None
    found = torch.full((len(sizes), count, classes), 1 / classes)
    for rows in np.array_split(np.arange(count), max(1, count // _AT_ONCE)):
        if index is not None:
            near = index.nearest(rows, most, groups)
        else:
            near, _ = nearest(points, rows, chosen, most, groups=groups)
        there = torch.from_numpy(near >= 0).float()
        labels = given[torch.from_numpy(near)]
        for votes, size in zip(found[:, rows[0] : rows[-1] + 1], (min(size, most) for size in sizes), strict=True):
            votes.scatter_add_(1, labels[:, :size], there[:, :size]).div_(there[:, :size].sum(1, keepdim=True) + 1)
    return found
