"""Transition matrices ``T [C, C]`` of label noise, ``T[c, d]`` = P(given d | true c), and how they are estimated.

Pure functions. ``probs [N, C]`` are a network's predictions of the *given* labels (it was trained on them with
cross-entropy). Rows that are not finite are left out; a class about which nothing is known gets the row of the
identity.
"""

from __future__ import annotations

import torch
from torch import Tensor


def normalise(counts: Tensor) -> Tensor:
    """Rows ``[C, C]`` scaled to sum to 1; negative and non-finite entries count as 0, an empty row is as in I."""
    rows = counts.nan_to_num(0.0, 0.0, 0.0).clamp_min(0)
    total = rows.sum(1, keepdim=True)
    identity = torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    return torch.where(total > 0, rows / total.clamp_min(torch.finfo(rows.dtype).tiny), identity)


def anchor(probs: Tensor, percentile: float | None = None) -> Tensor:
    """Row c of T is the prediction for the anchor of class c: a sample that surely belongs to it.

    The anchor is the sample with the largest ``p_c`` (Patrini et al. 2017); with a percentile, the one
    with the largest ``p_c`` below that percentile of all ``p_c``, so that outliers do not count.

    Args:
        probs: ``[N, C]``.
        percentile: in (0, 100]; None or 100: the very largest.

    Returns:
        ``[C, C]``, rows sum to 1.
    """
    probs = probs[torch.isfinite(probs).all(1)]
    classes = probs.shape[1]
    if not len(probs):
        return torch.eye(classes, device=probs.device)
    below = len(probs) - 1 if percentile is None else int((len(probs) - 1) * min(percentile, 100.0) / 100)
    anchors = probs.argsort(dim=0, stable=True)[below]  # [C] sample of each class
    return normalise(probs[anchors])


def confident_joint(probs: Tensor, given: Tensor) -> Tensor:
    """Counts of (true class, given label), estimated and calibrated (Northcutt et al. 2021).

    The threshold of class c is the mean ``p_c`` of the samples whose label is c. A sample counts for the class with the
    largest probability among those that reach their threshold; one that reaches none does not count. Each label's
    counts are then scaled to the number of samples with that label.

    The paper predicts each sample out of sample; here that is up to the caller.

    Args:
        probs: ``[N, C]``.
        given: ``[N]`` int64; a sample without a label (-1) does not count.

    Returns:
        ``[C, C]`` float, ``[true, given]``; ``normalise`` of it is T.
    """
    keep = torch.isfinite(probs).all(1) & (given >= 0)
    probs, given, classes = probs[keep], given[keep], probs.shape[1]
    size = torch.bincount(given, minlength=classes).to(probs.dtype)
    true = confident_classes(probs, given)
    sure = true >= 0
    counts = torch.bincount(true[sure] * classes + given[sure], minlength=classes * classes)
    joint = counts.to(probs.dtype).reshape(classes, classes)
    lost = joint.sum(0) == 0  # labels none of whose samples is sure of anything: taken as right
    joint[lost, lost] = 1.0
    return joint / joint.sum(0) * size


def confident_classes(probs: Tensor, given: Tensor) -> Tensor:
    """The class ``[N]`` that each sample counts for in ``confident_joint``, -1 where it counts for none.

    Args:
        probs: ``[N, C]``, finite.
        given: ``[N]`` in ``0 .. C - 1``.
    """
    classes = probs.shape[1]
    size = torch.bincount(given, minlength=classes).to(probs.dtype)
    own = probs.gather(1, given.unsqueeze(1)).squeeze(1)
    threshold = probs.new_zeros(classes).index_add_(0, given, own) / size
    threshold[size == 0] = torch.inf  # nobody can be found to belong to a class that no label names
    reached = probs.where(probs >= threshold - 1e-6, -1.0)  # the mean of equal numbers may round up
    best, true = reached.max(1)
    return true.where(best >= 0, -1)


def conditioned(transition: Tensor, most: float = 100.0) -> tuple[Tensor, float]:
    """T, mixed with as little of the identity as makes its condition number at most ``most``.

    Returns:
        ``(1 - a) T + a I`` and a: 0 where T is well conditioned, else the least twentieth that is enough.
    """
    identity = torch.eye(len(transition), dtype=torch.float64)
    wide = transition.detach().cpu().double()
    for step in range(20):
        share = step / 20
        mixed = (1 - share) * wide + share * identity
        if float(torch.linalg.cond(mixed)) <= most:
            return mixed.to(transition), share
    return identity.to(transition), 1.0
