"""Losses made to be trained on wrong labels: pure functions, one number per sample.

``logits`` are ``[B, C]``, ``labels`` ``[B]`` int64 in ``0 .. C - 1``; every loss is ``[B]``, at least float32, and
finite with a finite gradient for all finite logits. ``p`` is the softmax of the logits, ``p_y`` that of the label.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_TINY = 1e-12  # a transition that never happens counts as one that hardly ever does, so that its log is finite
_LEAST_LOG_PROB = math.log(1e-7)  # the backward correction subtracts losses: without an end it has no minimum
_NEWTON_STEPS = 8  # 6 reach float32's precision for t up to 10, 1,000 classes and logits up to 1e4


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _log_probs(logits: Tensor) -> Tensor:
    return functional.log_softmax(_wide(logits), dim=1)


def _of_label(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(1, labels.unsqueeze(1)).squeeze(1)


def _miss(logits: Tensor, labels: Tensor) -> Tensor:
    """``1 - p_y``, exact also where ``p_y`` is nearly 1."""
    return -torch.expm1(_of_label(_log_probs(logits), labels))


def generalised_cross_entropy(logits: Tensor, labels: Tensor, q: float) -> Tensor:
    """``(1 - p_y^q) / q`` (Zhang & Sabuncu 2018): cross-entropy for q -> 0, ``1 - p_y`` for q = 1.

    Args:
        logits: ``[B, C]``.
        labels: ``[B]``.
        q: in [0, 1].

    Returns:
        ``[B]`` in [0, 1/q].
    """
    log_prob = _of_label(_log_probs(logits), labels)
    return -log_prob if q == 0 else -torch.expm1(q * log_prob) / q


def absolute_error(logits: Tensor, labels: Tensor) -> Tensor:
    """``sum_c |p_c - y_c| = 2 (1 - p_y)``, ``[B]`` in [0, 2] (Ghosh et al. 2017)."""
    return 2 * _miss(logits, labels)


def reverse_cross_entropy(logits: Tensor, labels: Tensor, log_zero: float = -4.0) -> Tensor:
    """``-sum_c p_c log y_c = -A (1 - p_y)`` with ``A`` in place of ``log 0`` (Wang et al. 2019).

    Args:
        logits: ``[B, C]``.
        labels: ``[B]``.
        log_zero: A < 0.

    Returns:
        ``[B]`` in [0, -A].
    """
    return -log_zero * _miss(logits, labels)


def symmetric_cross_entropy(
    logits: Tensor, labels: Tensor, alpha: float, beta: float, log_zero: float = -4.0
) -> Tensor:
    """``alpha CE + beta RCE``, ``[B]`` (Wang et al. 2019)."""
    ce = -_of_label(_log_probs(logits), labels)
    return alpha * ce + beta * reverse_cross_entropy(logits, labels, log_zero)


def normalised_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """``log p_y / sum_c log p_c``, ``[B]`` in [0, 1] (Ma et al. 2020): the losses of all labels sum to 1."""
    log_probs = _log_probs(logits)
    return _of_label(log_probs, labels) / log_probs.sum(1)


def tempered_log_softmax(logits: Tensor, temperature: float) -> Tensor:
    """``log exp_t(a - lambda)`` with the ``lambda`` for which the probabilities sum to 1 (Amid et al. 2019).

    ``exp_t(x) = (1 + (1-t) x)^(1/(1-t))`` falls as a power for t > 1, so that no class gets a probability near 0.
    With u = lambda - max(a), ``log_t sum_c exp_t(a_c - lambda)`` is convex and falling in u, and a line where the
    logits are equal; so Newton's method from u = 0 comes to its zero from one side. The gradient is the implicit
    one: ``d lambda / d a_c = p_c^t / sum_k p_k^t``.

    Args:
        logits: ``[B, C]``.
        temperature: t >= 1; 1 gives ``log_softmax``.

    Returns:
        Log-probabilities ``[B, C]``.
    """
    if temperature == 1:
        return _log_probs(logits)
    logits = _wide(logits)
    heat = temperature - 1
    with torch.no_grad():
        top = logits.amax(1, keepdim=True)
        below = top - logits  # >= 0
        u = torch.zeros_like(top)
        for _ in range(_NEWTON_STEPS):
            log_terms = -torch.log1p(heat * (u + below)) / heat
            log_total = torch.logsumexp(log_terms, 1, keepdim=True)
            log_slope = torch.logsumexp(temperature * log_terms, 1, keepdim=True)
            # -F / F' with F = log_t S = -expm1(-heat log S) / heat and F' = -S^-t sum p^t
            u += -torch.expm1(-heat * log_total) / heat * torch.exp(temperature * log_total - log_slope)
        log_terms = -torch.log1p(heat * (u + below)) / heat
        share = torch.softmax(temperature * log_terms, 1)
    moved = (share * (logits - logits.detach())).sum(1, keepdim=True)  # 0, with the gradient of lambda
    distance = (u + below) + moved - (logits - logits.detach())
    return -torch.log1p(heat * distance) / heat


def bi_tempered(logits: Tensor, labels: Tensor, t1: float, t2: float, smoothing: float = 0.0) -> Tensor:
    """Bi-tempered logistic loss (Amid et al. 2019), the Bregman divergence of a target y and tempered p.

    ``sum_c y_c (log_t1 y_c - log_t1 p_c) - (y_c^(2-t1) - p_c^(2-t1)) / (2 - t1)``, p from ``tempered_log_softmax``
    with t2. ``t1 = t2 = 1`` is cross-entropy less the entropy of y.

    Args:
        logits: ``[B, C]``.
        labels: ``[B]``.
        t1: in [0, 1]; below 1 the loss is bounded, without smoothing by 1 / (1 - t1).
        t2: >= 1; above 1 the tail is heavy.
        smoothing: share of the target that the other classes divide equally, in [0, 1).

    Returns:
        ``[B]``, at least 0.
    """
    log_probs = tempered_log_softmax(logits, t2)
    classes = logits.shape[1]
    target = torch.full_like(log_probs, smoothing / max(classes - 1, 1))
    target.scatter_(1, labels.unsqueeze(1), 1 - smoothing)
    if t1 == 1:
        gap = torch.xlogy(target, target) - target * log_probs
    else:
        # y log_t y - y log_t p, both with their -1 / (1 - t1), which cancels
        gap = (target.pow(2 - t1) - target * torch.exp((1 - t1) * log_probs)) / (1 - t1)
    excess = (target.pow(2 - t1) - torch.exp((2 - t1) * log_probs)) / (2 - t1)
    return (gap - excess).sum(1)


def forward_corrected(logits: Tensor, labels: Tensor, transition: Tensor) -> Tensor:
    """Cross-entropy of the label under ``p T``: ``-log sum_c p_c T_cy``, ``[B]`` (Patrini et al. 2017, theorem 2).

    Its minimiser over noisy labels is the one of cross-entropy over true ones.

    Args:
        logits: ``[B, C]``, of the true class.
        labels: ``[B]``, given.
        transition: ``[C, C]``, row = true class; entries below 1e-12 count as that.
    """
    log_transition = transition.to(_wide(logits)).clamp_min(_TINY).log()
    return -torch.logsumexp(_log_probs(logits) + log_transition.t()[labels], dim=1)


def backward_corrected(logits: Tensor, labels: Tensor, inverse: Tensor) -> Tensor:
    """``sum_c (T^-1)_yc (-log p_c)``, ``[B]`` (Patrini et al. 2017, theorem 1).

    Its mean over the noisy labels of a sample is the cross-entropy on the true one. It may be negative, as weights
    are; log-probabilities count at least log 1e-7, so that there is a minimum.

    Args:
        logits: ``[B, C]``.
        labels: ``[B]``, given.
        inverse: ``[C, C]``, of the transition matrix whose rows are true classes.
    """
    return -(inverse.to(_wide(logits))[labels] * _log_probs(logits).clamp_min(_LEAST_LOG_PROB)).sum(1)
