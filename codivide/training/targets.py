"""Losses and target maths: pure functions, tensors in and out.

Shapes: ``logits`` and ``probs`` are ``[B, C]``; a ``target`` is a distribution ``[B, C]`` unless it is called
``labels`` (``[B]`` int64). Every loss is computed in float32, whatever the precision of the network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from codivide.core.device import onto

_LEAST = 1e-4  # probability that early learning remembers or sees, as published
_TINY = 1e-12  # keeps log finite; far below any probability that float32 softmax gives a live class


def sharpen(probs: Tensor, temperature: float) -> Tensor:
    """Push each distribution towards its largest entry: ``p_i^(1/T) / sum_j p_j^(1/T)`` (MixMatch, eq. 7).

    Args:
        probs: ``[..., C]``, rows sum to 1.
        temperature: T > 0; 1 changes nothing, T -> 0 gives a one-hot row.

    Returns:
        ``[..., C]``, rows sum to 1.
    """
    # Through logarithms, scaled by the largest: p^(1/T) underflows for small T.
    scaled = torch.log(probs.clamp_min(_TINY)) / temperature
    return torch.softmax(scaled, dim=-1)


def mixup(x: Tensor, targets: Tensor, lam: Tensor | float, order: Tensor) -> tuple[Tensor, Tensor]:
    """Convex combinations of samples and of their targets (mixup, Zhang et al. 2018).

    ``x~ = lam x + (1 - lam) x[order]`` and the same for the targets.

    Args:
        x: ``[B, ...]``.
        targets: ``[B, C]``.
        lam: share kept of each sample, in [0, 1]: one number, or ``[B]``.
        order: ``[B]`` int64, the partner of each row.
    """

    def mix(value: Tensor) -> Tensor:
        share = lam
        if isinstance(lam, Tensor):
            share = onto(lam.reshape(-1, *[1] * (value.ndim - 1)), value.device).to(value)
        return value[order].lerp(value, share)

    return mix(x), mix(targets)


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of ``soft_cross_entropies``."""
    return soft_cross_entropies(logits, target).mean()


def soft_cross_entropies(logits: Tensor, target: Tensor) -> Tensor:
    """``H(q, p) = -sum_c q_c log p_c`` of each sample, ``[B]``; target ``[B, C]`` sums to 1 per row."""
    return -(target * functional.log_softmax(logits.float(), dim=1)).sum(dim=1)


def squared_error(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over batch and classes of ``(q - p)^2`` (MixMatch, eq. 4): the loss on guessed targets, in [0, 2/C]."""
    return (torch.softmax(logits.float(), dim=1) - target).square().mean()


def confidence_penalty(logits: Tensor) -> Tensor:
    """Mean negative entropy ``sum_c p_c log p_c`` in [-log C, 0] (DivideMix, eq. 2).

    Added to the cross-entropy it keeps predictions from becoming over-confident, so that under asymmetric noise
    the losses do not all fall to zero.
    """
    log_probs = functional.log_softmax(logits.float(), dim=1)
    return (log_probs.exp() * log_probs).sum(dim=1).mean()


def prior_kl(probs: Tensor, prior: Tensor | None = None) -> Tensor:
    """``KL(prior || mean prediction) = sum_c pi_c log(pi_c / mean_b p_bc)`` (DivideMix, eq. 12; Tanaka et al., L_p).

    Args:
        probs: ``[B, C]``.
        prior: ``pi [C]``, not negative, of sum 1; None: uniform.

    Returns:
        A number >= 0, and 0 when the mean prediction is the prior.
    """
    mean = probs.mean(dim=0).clamp_min(_TINY)
    prior = torch.full_like(mean, 1 / len(mean)) if prior is None else prior.to(mean)
    divergence: Tensor = torch.special.xlogy(prior, prior / mean).sum()
    return divergence


def ramp(epoch: float, start: float, length: float) -> float:
    """Linear rise from 0 at ``start`` to 1 at ``start + length``; epochs may be fractional.

    A length of 0 is a step at ``start``.
    """
    if length <= 0:
        return float(epoch >= start)
    return min(max((epoch - start) / length, 0.0), 1.0)


def sample_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each sample on its given label, ``[B]``; 0 where the label is -1."""
    return functional.cross_entropy(logits.float(), labels, reduction="none", ignore_index=-1)


def wrong_event(logits: Tensor, labels: Tensor) -> Tensor:
    """``[B, 2]``: 1 where the prediction is not the given label ``[B]``, else 0; and 1, to count all events."""
    wrong = (logits.argmax(1) != labels).float()
    return torch.stack([wrong, torch.ones_like(wrong)], 1)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """``[B]`` labels as float32 ``[B, C]``; a row of zeros where the label is -1."""
    rows = functional.one_hot(labels.clamp_min(0), classes).float()
    return rows * (labels >= 0).unsqueeze(1)


def early_learning(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of ``log(1 - <t, p>)`` (ELR, Liu et al. 2020): low where prediction and memory agree.

    Its gradient in the logits of one sample is ``p_c / (1 - <t, p>) * sum_k (t_k - t_c) p_k``: it pulls towards the
    memory all the more as the prediction nears it.

    Args:
        logits: ``[B, C]``.
        target: the memory t ``[B, C]``, each row of sum at most 1, without a gradient.

    Returns:
        A number in ``[log(1e-4), 0]``; 0 for an empty memory. Probabilities are kept in ``[1e-4, 1 - 1e-4]``, so that
        the logarithm has an end; beyond these bounds they have no gradient.
    """
    probs = torch.softmax(logits.float(), dim=1).clamp(_LEAST, 1 - _LEAST)
    return torch.log1p(-(target * probs).sum(dim=1)).mean()


def follow(memory: Tensor, probs: Tensor, decay: float, least: float = _LEAST) -> Tensor:
    """One step of a moving average of predictions, ``t <- beta t + (1 - beta) p`` (ELR; temporal ensembling).

    From ``t = 0``, after n steps ``t = (1 - beta) sum_k beta^(n - k) p_k``, of sum ``1 - beta^n``.

    Args:
        memory: t ``[B, C]``.
        probs: p ``[B, C]``, kept at ``least`` or above and normalised again; a row that is not finite is passed over.
        decay: beta in [0, 1].
        least: smallest probability that is remembered.
    """
    probs = probs.detach().clamp(least, 1 - least)
    moved = memory.lerp(probs / probs.sum(dim=1, keepdim=True), 1 - decay)
    return torch.where(torch.isfinite(moved), moved, memory)


def sigmoid_ramp(step: float, length: float) -> float:
    """Slow rise ``exp(-5 (1 - step / length)^2)`` from 0.0067 to 1 (Laine and Aila 2017); 1 for a length of 0."""
    if length <= 0:
        return 1.0
    return math.exp(-5 * (1 - min(max(step / length, 0.0), 1.0)) ** 2)


def label_product(labels: Tensor, target: Tensor) -> Tensor:
    """``y * q`` scaled back to the sum of y (ELR+ on CIFAR-100): labels that two sources agree on.

    Args:
        labels: y ``[B, C]``, not negative; a row of zeros (no label) stays one.
        target: q ``[B, C]``, not negative; a row without overlap leaves y as it is.
    """
    product = labels * target
    total = product.sum(dim=1, keepdim=True)
    scaled = product * (labels.sum(dim=1, keepdim=True) / total.clamp_min(_TINY))
    return torch.where(total > _TINY, scaled, labels)


def label_divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Mean of ``KL(y || s) = sum_c y_c log(y_c / s_c)`` over the rows that have a label (Tanaka et al. 2018, L_c).

    Args:
        logits: ``[B, C]``, s is their softmax.
        target: y ``[B, C]``, rows of sum 1, or 0 where there is no label; such rows do not count.

    Returns:
        A number >= 0; 0 when no row has a label.
    """
    log_probs = functional.log_softmax(logits.float(), dim=1)
    divergence: Tensor = (torch.special.xlogy(target, target) - target * log_probs).sum()
    return divergence / (target.sum(dim=1) > 0).sum().clamp_min(1)


def reverse_divergence(logits: Tensor, label_logits: Tensor) -> Tensor:
    """Mean over the batch of ``KL(f || y) = sum_c f_c log(f_c / y_c)`` (PENCIL, L_c without its 1/C; Yi and Wu 2019).

    Args:
        logits: ``[B, C]``, f is their softmax.
        label_logits: ``[B, C]``, y is their softmax; they get a gradient, too.
    """
    log_probs, log_labels = (functional.log_softmax(rows.float(), dim=1) for rows in (logits, label_logits))
    divergence: Tensor = (log_probs.exp() * (log_probs - log_labels)).sum(dim=1).mean()
    return divergence


def label_prob(rows: Tensor, labels: Tensor) -> Tensor:
    """Share ``[N]`` that each row gives to its label: NaN where the label is -1, 0 where the row is all zero.

    Args:
        rows: ``[N, C]``, not negative, of any sum.
        labels: ``[N]`` int64, -1 for none.
    """
    share = rows.gather(1, labels.clamp_min(0).unsqueeze(1)).squeeze(1) / rows.sum(dim=1).clamp_min(_TINY)
    return share.clamp(0, 1).masked_fill(labels < 0, torch.nan)


def bootstrap_loss(logits: Tensor, labels: Tensor, beta: float, *, hard: bool) -> Tensor:
    """Cross-entropy of each sample against its label mixed with the prediction, ``[B]`` (Reed et al. 2015).

    ``H(beta y + (1 - beta) q, p)`` with ``q = p`` (soft) or ``q = z``, the one-hot argmax of p (hard). The soft
    target carries a gradient: then the loss is ``beta H(y, p) + (1 - beta) H(p)``, cross-entropy with a minimum-entropy
    term. Were q held constant, its term would have no gradient at all (``q - p = 0``), and the loss would be
    cross-entropy times beta. The hard target is constant almost everywhere.

    Args:
        logits: ``[B, C]``.
        labels: ``[B]``, none of them -1.
        beta: weight of the given label, in [0, 1]; 1 is cross-entropy.
        hard: which q.
    """
    log_probs = functional.log_softmax(logits.float(), dim=1)
    own = log_probs.max(dim=1).values if hard else (log_probs.exp() * log_probs).sum(dim=1)
    given = log_probs.gather(1, labels.unsqueeze(1)).squeeze(1)
    return -(beta * given + (1 - beta) * own)


def symmetric_divergence(first: Tensor, second: Tensor) -> Tensor:
    """``KL(p || q) + KL(q || p) = sum_c (p_c - q_c)(log p_c - log q_c)`` of each sample, ``[B]`` >= 0.

    Args:
        first: logits ``[B, C]`` of p.
        second: logits ``[B, C]`` of q.
    """
    log_p = functional.log_softmax(first.float(), dim=1)
    log_q = functional.log_softmax(second.float(), dim=1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=1)


def joint_loss(first: Tensor, second: Tensor, labels: Tensor, agreement: float) -> Tensor:
    """``(1 - l)(CE1 + CE2) + l (KL12 + KL21)`` of each sample, ``[B]`` >= 0 (JoCoR, eq. 1 to 4).

    Args:
        first: logits ``[B, C]`` of one network.
        second: logits ``[B, C]`` of the other.
        labels: ``[B]``.
        agreement: l in [0, 1]; 0 leaves the cross-entropies, 1 the divergences.
    """
    supervised = sample_loss(first, labels) + sample_loss(second, labels)
    return (1 - agreement) * supervised + agreement * symmetric_divergence(first, second)


def smooth(target: Tensor, amount: float) -> Tensor:
    """Label smoothing, ``(1 - e) q + e / C`` (Szegedy et al. 2016): of a one-hot row, ``1 - e (C - 1) / C`` is left.

    Args:
        target: ``[B, C]``, rows sum to 1.
        amount: e in [0, 1]; 0 changes nothing, 1 gives uniform rows.
    """
    return (1 - amount) * target + amount / target.shape[1]


def regularised_posterior(log_joint: Tensor, log_auxiliary: Tensor, alpha: float) -> Tensor:
    """The q ``[B, C]`` that minimises ``KL(q || p) + alpha KL(q || p_aux)`` (Vahdat 2017, section 3).

    ``q ~ (p p_aux^alpha)^(1 / (1 + alpha))``: alpha = 0 gives p, alpha -> infinity gives p_aux.

    Args:
        log_joint: ``[B, C]``, log p up to a constant per row.
        log_auxiliary: ``[B, C]``, log p_aux up to a constant per row.
        alpha: weight, >= 0.
    """
    return torch.softmax((log_joint + alpha * log_auxiliary) / (1 + alpha), dim=1)


# Over-parameterised label noise (SOP), debiased pseudo-labels (ProMix), divergence and contrast (UNICON).


def label_noise(u: Tensor, v: Tensor, given: Tensor) -> Tensor:
    """The noise that a sample's label is modelled to have, ``s = u*u*y - v*v*(1 - y)`` (SOP).

    Both squares are clamped to [0, 1] (reference code; a label cannot be more wrong than one class for another).

    Args:
        u: ``[B, 1]``, what noise adds at the given label.
        v: ``[B, C]``, what noise takes away elsewhere.
        given: given labels, one-hot ``[B, C]``.

    Returns:
        ``[B, C]`` in [-1, 1].
    """
    return u.square().clamp(0, 1) * given - v.square().clamp(0, 1) * (1 - given)


def noisy_cross_entropy(logits: Tensor, noise: Tensor, given: Tensor) -> Tensor:
    """Cross-entropy ``[B]`` of the given label against ``(p + s) / sum(p + s)`` (SOP).

    Entries of ``p + s`` below 1e-4 are raised to it before they are normalised.

    Args:
        logits: ``[B, C]``.
        noise: s ``[B, C]`` in [-1, 1].
        given: ``[B, C]``; a row of zeros has a loss of 0.
    """
    shifted = (torch.softmax(logits.float(), dim=1) + noise).clamp_min(1e-4)
    return -(given * torch.log(shifted / shifted.sum(dim=1, keepdim=True))).sum(dim=1)


def prediction_kl(target_logits: Tensor, logits: Tensor) -> Tensor:
    """Mean ``KL(p_target || p)``; the target gives no gradient: consistency of two views (SOP+)."""
    target = functional.log_softmax(target_logits.detach().float(), dim=1)
    log_probs = functional.log_softmax(logits.float(), dim=1)
    divergence: Tensor = (target.exp() * (target - log_probs)).sum(dim=1).mean()
    return divergence


def debias(logits: Tensor, mean: Tensor, strength: float) -> Tensor:
    """``logits - d log(mean prediction)``: lifts classes that are predicted too rarely (ProMix).

    With a negative strength these are the logits of the margin loss, which asks more of rarely predicted classes.

    Args:
        logits: ``[B, C]``.
        mean: ``[C]``, a running mean of predictions, sums to 1.
        strength: d; 0 changes nothing.
    """
    return logits.float() - strength * torch.log(mean.clamp_min(_TINY))


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """``(KL(p || m) + KL(q || m)) / 2`` with ``m = (p + q) / 2``, in bits: ``[B]`` in [0, 1], symmetric (UNICON).

    A measure, not a loss: its gradient is infinite where a probability is 0.

    Args:
        p: distributions ``[B, C]``.
        q: the same.
    """
    mean = (p + q) / 2
    of_mean, of_p, of_q = (torch.special.entr(part).sum(dim=1) for part in (mean, p, q))
    bits: Tensor = (of_mean - (of_p + of_q) / 2) / math.log(2)
    return bits.clamp(0, 1)


def contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Mean loss of finding each sample's other view among all others, by cosine (NT-Xent; SimCLR, eq. 1).

    ``-log(exp(sim(a, a') / T) / sum over all others b of exp(sim(a, b) / T))``.

    Args:
        first: ``[B, F]``, embeddings of one view.
        second: ``[B, F]``, of another view of the same samples.
        temperature: T > 0.
    """
    unit = functional.normalize(torch.cat([first, second]).float(), dim=1)
    similar = (unit @ unit.T / temperature).fill_diagonal_(-torch.inf)
    other = torch.arange(len(unit), device=unit.device).roll(len(first))
    return functional.cross_entropy(similar, other)


def two_view_loss(logits: Tensor, target: Tensor, where: Tensor, weight: float) -> Tensor:
    """Cross-entropy of a weak view, plus ``weight`` times that of a strong one, on one target: a mean over a mask.

    0 (with a gradient of 0) where the mask is empty.

    Args:
        logits: ``[2 B, C]``: the weak views, then the strong ones.
        target: ``[B, C]``.
        where: ``[B]`` bool, the samples that count.
        weight: of the strong view.
    """
    weak, strong = (soft_cross_entropies(part, target) for part in logits.chunk(2))
    return ((weak + weight * strong) * where).sum() / where.sum().clamp_min(1)


def pseudo_label_loss(logits: Tensor, probs: Tensor, threshold: float) -> Tensor:
    """``1/B sum_b 1[max q_b >= t] H(argmax q_b, p_b)`` (FixMatch, eq. 4; Pseudo-Label where q is p itself).

    A mean over all samples, so that its weight rises with the share of samples that are kept.

    Args:
        logits: ``[B, C]`` of p, what learns.
        probs: q ``[B, C]``, what makes the labels; no gradient goes there.
        threshold: t in [0, 1].
    """
    sure, labels = probs.detach().max(dim=1)
    return (sample_loss(logits, labels) * (sure >= threshold)).mean()


def rising_decay(decay: float, updates: int) -> float:
    """``min(decay, (1 + t) / (10 + t))`` after t updates: an average that soon forgets its first weights."""
    return min(decay, (1 + updates) / (10 + updates))
