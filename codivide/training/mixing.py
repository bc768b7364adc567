"""Rules of mixing: how much of each sample, with which partners, and the mixture itself.

Everything random is drawn on the CPU from a passed generator, so that every device mixes the same samples.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from codivide.core.device import onto

_BLOCK = 4096  # most samples whose distances to as many others are held at once


def shares(alpha: float, samples: int, generator: torch.Generator, rows: int = 1) -> Tensor:
    """Weights from the symmetric Dirichlet distribution; for two samples ``l ~ Beta(alpha, alpha)`` and ``1 - l``.

    Small alpha: nearly all weight on one sample. 1: uniform. Large alpha: equal weights.

    Args:
        alpha: parameter of the distribution; 0 gives the first sample all weight and draws nothing.
        samples: k, how many are mixed; 1 draws nothing either.
        generator: on the CPU.
        rows: R, independent draws.

    Returns:
        ``[R, k]`` float64 in [0, 1], rows sum to 1.
    """
    if alpha <= 0 or samples == 1:
        return torch.eye(1, samples, dtype=torch.float64).repeat(rows, 1)
    # torch.distributions takes no generator. A Dirichlet is a ratio of Gammas, and Gamma(a) = Gamma(a + 1) U^(1/a),
    # taken in logarithms because it underflows for a small alpha.
    size = (rows, samples)
    gammas = torch._standard_gamma(torch.full(size, alpha + 1.0, dtype=torch.float64), generator=generator)
    uniforms = torch.rand(size, generator=generator, dtype=torch.float64)
    return torch.softmax(gammas.log() + uniforms.log() / alpha, 1)


def largest(weights: Tensor) -> Tensor:
    """All weight on the largest of each row (the first of equal ones): ``[R, k] -> [R, k]``."""
    return torch.zeros_like(weights).scatter_(1, weights.argmax(1, keepdim=True), 1.0)


def combine(values: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Convex combinations, ``out_b = sum_j weights_bj values[rows_bj]`` (mixup, section 2, for any number of samples).

    Args:
        values: ``[P, ...]``, inputs, hidden activations or targets.
        rows: ``[B, k]`` int64, what is mixed.
        weights: ``[B, k]``, or ``[1, k]`` for all alike.

    Returns:
        ``[B, ...]`` in the type of ``values``.
    """
    weights = onto(weights, values.device).to(values).reshape(*weights.shape, *[1] * (values.ndim - 1))
    mixed = weights[:, 0] * values[rows[:, 0]]
    for j in range(1, rows.shape[1]):
        mixed = mixed + weights[:, j] * values[rows[:, j]]
    return mixed


def shuffled(groups: Tensor, generator: torch.Generator) -> Tensor:
    """A random order ``[B]`` that permutes the members of each group among themselves.

    Args:
        groups: ``[B]`` integers; all equal: any order of all samples.
        generator: on the CPU.
    """
    order = onto(torch.randperm(len(groups), generator=generator), groups.device)
    places = groups.argsort(stable=True)
    mixed = torch.empty_like(order)
    mixed[places] = order[groups[order].argsort(stable=True)]
    return mixed


def nearest(look: Callable[[Tensor], Tensor], ids: Tensor, count: int, elements: int = 1 << 25) -> Tensor:
    """The nearest other samples of each by Euclidean distance, nearest first.

    Compares block with block, so that neither all samples nor all distances are held at once.

    Args:
        look: ``ids [M] -> [M, D]``, what distances are measured on.
        ids: ``[N]`` int64, who is asked and who may answer.
        count: how many; fewer where there are fewer others.
        elements: most numbers of ``look`` in a block.

    Returns:
        ``[N, min(count, N - 1)]`` int64, of ``ids``.
    """
    count = min(count, len(ids) - 1)
    if count < 1:
        return ids.new_empty(len(ids), 0)
    blocks = torch.split(ids, min(_BLOCK, max(1, elements // look(ids[:1]).shape[1])))
    found = []
    for asking in blocks:
        mine = look(asking)
        distance = mine.new_empty(len(asking), 0)
        near = ids.new_empty(len(asking), 0)
        for others in blocks:
            theirs = look(others)
            apart = torch.addmm(theirs.square().sum(1), mine, theirs.T, alpha=-2)  # but for |mine|^2, which is constant
            if others is asking:
                apart.fill_diagonal_(torch.inf)
            kept = apart.topk(min(count, len(others)), largest=False)
            distance = torch.cat([distance, kept.values], 1)
            near = torch.cat([near, others[kept.indices]], 1)
            kept = distance.topk(min(count, distance.shape[1]), largest=False)
            distance, near = kept.values, near.gather(1, kept.indices)
        found.append(near)
    return torch.cat(found)


def drawn(choices: Tensor, own: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` random entries of each row of ``choices``, with replacement.

    Args:
        choices: ``[B, K]`` integers; -1 at the end of rows that have fewer.
        own: ``[B]`` int64, the answer where there is no choice.
        count: how many.
        generator: on the CPU.

    Returns:
        ``[B, count]`` int64.
    """
    known = (choices >= 0).sum(1, keepdim=True)
    chance = onto(torch.rand(len(own), count, generator=generator), own.device)
    place = (chance * known).long().minimum(known - 1)
    return torch.where(known > 0, choices.gather(1, place.clamp_min(0)).long(), own[:, None])
