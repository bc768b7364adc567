"""How far a sample's place among others speaks against its label: evidence from features, for a mixture to divide."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from codivide.core.neighbours import nearest

_ROUNDS = 3  # means of each class, the later ones without what lies nearer to another class
_TEMPERATURE = 0.1  # of cosines: a cosine that is larger by 0.1 is e times as likely
_NEIGHBOURS = 20


def away_from_class(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Cross-entropy of each label among the classes by cosine to their means: ``-log softmax(cos(f, m) / T)_y``.

    The mean of a class is that of its samples, of unit length; then, twice, that of those which are nearest to it, so
    that wrong labels do not pull it.

    Args:
        features: ``[N, F]``.
        labels: ``[N]``, none of them -1.
        classes: C.

    Returns:
        ``[N]`` >= 0, large where the sample lies with another class.
    """
    unit = functional.normalize(features.float())
    own = torch.ones(len(unit), device=unit.device)
    cosines = unit.new_zeros(len(unit), classes)
    for _ in range(_ROUNDS):
        means = unit.new_zeros(classes, unit.shape[1]).index_add_(0, labels, unit * own[:, None])
        cosines = unit @ functional.normalize(means).T
        near = cosines.argmax(1) == labels
        lost = torch.bincount(labels[near], minlength=classes) == 0  # a class of which nothing is nearest keeps all
        own = (near | lost[labels]).float()
    return functional.cross_entropy(cosines / _TEMPERATURE, labels, reduction="none")


def away_from_neighbours(features: Tensor, labels: Tensor, count: int = _NEIGHBOURS) -> Tensor:
    """Share of each sample's nearest neighbours by cosine that have another label, ``[N]`` in [0, 1].

    Exact, and so a matter of N * N * F operations, on the CPU.

    Args:
        features: ``[N, F]``.
        labels: ``[N]``, none of them -1.
        count: how many neighbours, or all others where there are fewer.
    """
    unit = functional.normalize(features.float()).cpu()
    rows = torch.arange(len(unit)).numpy()
    found = torch.from_numpy(nearest(unit, rows, rows, min(count, len(unit) - 1))[0])
    held = labels.cpu()
    return (held[found] != held[:, None]).float().mean(1).to(features.device)
