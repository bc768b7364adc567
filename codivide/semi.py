"""Steps shared by semi-supervised learning and DivideMix: guess, refine, mix.

All take and return probabilities; none keeps a gradient for its targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from codivide import mixing
from codivide.functional import mixup, prior_kl, sharpen, soft_cross_entropy, squared_error


class Mixed(NamedTuple):
    """A mixed batch: the first ``labelled`` rows stay closer to labelled samples, the others to unlabelled ones."""

    x: Tensor  # [B, ...]
    target: Tensor  # [B, C]
    labelled: int


def guess(probs: Sequence[Tensor], temperature: float) -> Tensor:
    """Targets for unlabelled samples: the sharpened mean over predictions (co-guessing, DivideMix algorithm 1).

    Args:
        probs: one ``[B, C]`` per view (and per network).
        temperature: T of ``sharpen``.
    """
    return sharpen(torch.stack(list(probs)).mean(0), temperature).detach()


def refine(labels: Tensor, clean_prob: Tensor, probs: Sequence[Tensor], temperature: float) -> Tensor:
    """Targets for labelled samples, ``Sharpen(w y + (1 - w) p, T)`` (co-refinement, DivideMix eq. 3 and 4).

    Args:
        labels: given labels, one-hot ``[B, C]``.
        clean_prob: w ``[B]`` in [0, 1].
        probs: one ``[B, C]`` per view, averaged to p.
        temperature: T of ``sharpen``.
    """
    weight = clean_prob.unsqueeze(1)
    return sharpen(weight * labels + (1 - weight) * torch.stack(list(probs)).mean(0), temperature).detach()


def mix_share(alpha: float, generator: torch.Generator) -> float:
    """``max(l, 1 - l)`` with ``l ~ Beta(alpha, alpha)``, in [0.5, 1]; 1 (no mixing) for ``alpha = 0``.

    Drawn on the CPU, so that every device sees the same shares.
    """
    return float(mixing.shares(alpha, 2, generator).max())


def mixmatch(
    labelled: Sequence[Tensor],
    labelled_target: Tensor,
    unlabelled: Sequence[Tensor],
    unlabelled_target: Tensor,
    alpha: float,
    generator: torch.Generator,
) -> Mixed:
    """Mix every sample with a random other of the whole batch (MixMatch, algorithm 1, lines 10 to 14).

    One share for the batch, never below a half, as the published numbers of DivideMix use.

    Args:
        labelled: views of the labelled samples, each ``[B, ...]``.
        labelled_target: ``[B, C]``, used for every view.
        unlabelled: views of the unlabelled samples, each ``[U, ...]``.
        unlabelled_target: ``[U, C]``.
        alpha: parameter of the Beta distribution; 0 switches mixing off.
        generator: a CPU generator, the source of the share and of the order.
    """
    x = torch.cat([*labelled, *unlabelled])
    target = torch.cat([labelled_target] * len(labelled) + [unlabelled_target] * len(unlabelled))
    share = mix_share(alpha, generator)
    order = torch.randperm(len(x), generator=generator).to(x.device)
    mixed, mixed_target = mixup(x, target, share, order)
    return Mixed(mixed, mixed_target, sum(len(view) for view in labelled))


class MixedLoss(NamedTuple):
    """The parts of ``L = L_X + L_prior + lambda_u L_U`` on a mixed batch."""

    labelled: Tensor
    prior: Tensor  # already times its weight
    unlabelled: Tensor  # NaN where there are none


def mixmatch_loss(logits: Tensor, mixed: Mixed, prior: float = 0.0) -> MixedLoss:
    """Cross-entropy of the labelled rows, squared error of the others, and the penalty on the mean prediction.

    Args:
        logits: ``[B, C]`` of ``mixed.x``.
        mixed: from ``mixmatch``.
        prior: weight of ``functional.prior_kl`` over all rows, with a uniform prior.
    """
    known = mixed.labelled
    return MixedLoss(
        soft_cross_entropy(logits[:known], mixed.target[:known]),
        prior * prior_kl(torch.softmax(logits, 1)),
        squared_error(logits[known:], mixed.target[known:]),
    )
