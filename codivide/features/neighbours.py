"""Nearest neighbours of every row: which labels the most similar rows were given."""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 50  # neighbours that are looked at
SIZES = (5, 10, 20, MOST)
REFERENCE = 20_000  # rows among which neighbours are sought; more are drawn at random
_CHUNK = 1 << 23  # similarities held at a time (32 MB)


def shares(x: Tensor, given: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """How the neighbours of each row are labelled, by cosine similarity, for each of ``SIZES``.

    Args:
        x: ``[N, D]``.
        given: labels ``[N]``.
        classes: number of classes C.
        generator: of the reference rows, where there are more than ``REFERENCE``.

    Returns:
        ``[S, N, C]``, rows sum to 1. A class is counted ``1 / classes`` times more than it occurs, so that none is 0;
        no row is its own neighbour.
    """
    count = len(x)
    unit = torch.nn.functional.normalize(x)
    if count > REFERENCE:
        chosen = torch.randperm(count, generator=generator)[:REFERENCE].sort().values
    else:
        chosen = torch.arange(count)
    reference, labels = unit[chosen].T.contiguous(), given[chosen]
    place = torch.full((count,), -1)
    place[chosen] = torch.arange(len(chosen))
    most = min(MOST, len(chosen) - 1)
    sizes = [min(size, most) for size in SIZES]
    found = torch.empty(len(SIZES), count, classes)
    for ids in torch.split(torch.arange(count), max(1, _CHUNK // len(chosen))):
        similarity = unit[ids] @ reference
        own = (place[ids] >= 0).nonzero().flatten()
        similarity[own, place[ids][own]] = -torch.inf
        nearest = labels[similarity.topk(most).indices]
        for found_size, size in zip(found, sizes, strict=True):
            votes = torch.zeros(len(ids), classes).scatter_add_(1, nearest[:, :size], torch.ones(len(ids), size))
            found_size[ids] = (votes + 1 / classes) / (size + 1)
    return found
