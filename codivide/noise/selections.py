"""Which samples are taken to be clean: pure selections from losses, probabilities and agreement."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from codivide.noise.mixtures import spread


def smallest(loss: Tensor, share: float) -> Tensor:
    """Places of the ``floor(share N)`` smallest losses, smallest first and never fewer than one (Co-teaching, line 5).

    Args:
        loss: ``[N]``, N > 0; NaN counts as the largest.
        share: in [0, 1].

    Returns:
        ``[K]`` int64; equal losses keep their order.
    """
    count = max(1, math.floor(share * len(loss) + 1e-6))  # 0.3 * 10 is 2.999... in floating point
    return loss.detach().argsort(stable=True)[:count]


class Selection(NamedTuple):
    """Labels to keep, by a rule that keeps whole numbers of samples rather than probabilities.

    Attributes:
        kept: ``[N]`` bool.
        threshold: the value below which a label counted as clean before classes were balanced.
    """

    kept: Tensor
    threshold: float


def smallest_of_each_class(value: Tensor, given: Tensor, classes: int, count: int) -> Tensor:
    """The ``count`` samples with the smallest values in every class (all of a smaller class), as a mask ``[N]``.

    Args:
        value: ``[N]``, such as losses; NaN counts as the largest.
        given: labels ``[N]``; -1 is never kept.
        classes: number of classes.
        count: samples of each class.
    """
    kept = torch.zeros(len(given), dtype=torch.bool, device=given.device)
    for c in range(classes):
        members = (given == c).nonzero().flatten()
        kept[members[value[members].argsort(stable=True)[:count]]] = True
    return kept


def small_loss(loss: Tensor, given: Tensor, classes: int, share: float) -> Tensor:
    """Class-wise small-loss selection: the same number of samples from every class (ProMix).

    ``ceil(share N / C)`` with the smallest losses, at least one; N counts the labelled samples.

    Args:
        loss: ``[N]``.
        given: labels ``[N]``; -1 is never kept.
        classes: number of classes C.
        share: of all samples, in [0, 1].

    Returns:
        ``[N]`` bool.
    """
    count = math.ceil(share * int((given >= 0).sum()) / classes - 1e-9)
    return smallest_of_each_class(loss, given, classes, max(count, 1))


def matched(probs: Tensor, given: Tensor, threshold: float) -> Tensor:
    """Matched high-confidence selection: the prediction is the given label and is sure (ProMix).

    Args:
        probs: ``[B, C]``.
        given: labels ``[B]``, -1 where there is none.
        threshold: the largest probability must be above.

    Returns:
        ``[B]`` bool.
    """
    sure, predicted = probs.max(dim=1)
    return (predicted == given) & (sure > threshold)


def agreed(first: Tensor, second: Tensor, kept: Tensor, threshold: float, share: float) -> Tensor:
    """Further samples on which two networks are sure of the same class (label guessing by agreement, ProMix).

    The surest are taken first, until kept and added ones are ``share`` of the batch.

    Args:
        first: probabilities ``[B, C]`` of one network.
        second: of the other.
        kept: ``[B]`` bool, samples already kept.
        threshold: both largest probabilities must be above.
        share: of the batch that may be kept in all, in [0, 1].

    Returns:
        ``[B]`` bool, the added samples.
    """
    (sure, predicted), (other, peer) = first.max(dim=1), second.max(dim=1)
    eligible = (predicted == peer) & (torch.minimum(sure, other) > threshold) & ~kept
    room = max(int(share * len(kept) + 1e-6) - int(kept.sum()), 0)
    order = torch.where(eligible, sure + other, -1.0).argsort(descending=True, stable=True)[:room]
    added = torch.zeros_like(kept)
    added[order] = True
    return added & eligible


def divergence_cut(divergence: Tensor, tau: float, d_mu: float) -> float:
    """``mean - (mean - min) / tau`` of divergences ``[N]`` where the mean is at least ``d_mu``, else the mean."""
    mean = float(divergence.mean())
    return mean - (mean - float(divergence.min())) / tau if mean >= d_mu else mean


def class_balanced(
    divergence: Tensor, given: Tensor, classes: int, *, tau: float = 5.0, d_mu: float = 0.7
) -> Selection:
    """Uniform selection: a threshold from the divergences, then the same number from every class (UNICON).

    ``d_cut = mean - (mean - min) / tau`` where the mean is at least ``d_mu``, else the mean. With R the share of
    divergences below it, ``floor(R N / C)`` samples (at least one) with the smallest divergences are kept of every
    class, or all of a smaller class. When all divergences are equal, nothing is suspicious and all are kept.

    Args:
        divergence: ``[N]`` in [0, 1], of prediction and given label; NaN counts as 1.
        given: labels ``[N]`` in ``0 .. classes - 1``.
        classes: number of classes C.
        tau: filtering coefficient, > 0; infinite: the mean is the threshold.
        d_mu: mean from which on the threshold is lowered.
    """
    divergence = divergence.detach().double().nan_to_num(nan=1.0)
    if not len(divergence):
        return Selection(given >= 0, 0.0)
    low, high = float(divergence.min()), float(divergence.max())
    if not spread(low, high):
        return Selection(torch.ones_like(given, dtype=torch.bool), high)
    threshold = divergence_cut(divergence, tau, d_mu)
    count = int((divergence < threshold).sum()) // classes
    return Selection(smallest_of_each_class(divergence, given, classes, max(count, 1)), threshold)
