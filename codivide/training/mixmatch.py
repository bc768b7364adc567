"""Steps shared by semi-supervised learning and DivideMix: guess, refine, mix.

All take and return probabilities; none keeps a gradient for its targets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from codivide.core.device import onto
from codivide.training import mixing
from codivide.training.targets import mixup, prediction_kl, prior_kl, sharpen, soft_cross_entropy, squared_error


class Mixed(NamedTuple):
    """A mixed batch: the first ``labelled`` rows stay closer to labelled samples, the others to unlabelled ones."""

    x: Tensor  # [B, ...]
    target: Tensor  # [B, C]
    labelled: int

    def near_labelled(self) -> Mixed:
        """The rows that stay closer to labelled samples, alone."""
        return Mixed(self.x[: self.labelled], self.target[: self.labelled], self.labelled)


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
    *,
    alpha: float,
    generator: torch.Generator,
    per_sample: bool = False,
) -> Mixed:
    """Mix every sample with a random other of the whole batch (MixMatch, algorithm 1, lines 10 to 14).

    No share is below a half, so that a row stays closer to its own sample. There is one for the batch, as the
    published numbers of DivideMix use, or one for every sample, as MixMatch has it.

    Args:
        labelled: views of the labelled samples, each ``[B, ...]``.
        labelled_target: ``[B, C]``, used for every view.
        unlabelled: views of the unlabelled samples, each ``[U, ...]``.
        unlabelled_target: ``[U, C]``.
        alpha: parameter of the Beta distribution; 0 switches mixing off.
        generator: a CPU generator, the source of the share and of the order.
        per_sample: draw a share for every row.
    """
    x = torch.cat([*labelled, *unlabelled])
    target = torch.cat([labelled_target] * len(labelled) + [unlabelled_target] * len(unlabelled))
    share = mixing.shares(alpha, 2, generator, len(x)).amax(1) if per_sample else mix_share(alpha, generator)
    order = onto(torch.randperm(len(x), generator=generator), x.device)
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
        prior: weight of ``targets.prior_kl`` over all rows, with a uniform prior.
    """
    known = mixed.labelled
    return MixedLoss(
        soft_cross_entropy(logits[:known], mixed.target[:known]),
        prior * prior_kl(torch.softmax(logits, 1)),
        squared_error(logits[known:], mixed.target[known:]),
    )


def interleave(look: Callable[[Tensor], Tensor], x: Tensor, batches: int) -> Tensor:
    """``look(x)`` in several forwards, rows dealt out like cards, every answer put back in the place of its row.

    Batch normalisation then sees, in each forward, an equal share of every part that ``x`` was put together from.

    Args:
        look: ``[b, ...] -> [b, C]``, a network whose answer to a row depends on the others of its forward.
        x: ``[B, ...]``, parts one after another.
        batches: how many forwards; fewer where they would have less than two rows.
    """
    batches = max(1, min(batches, len(x) // 2))
    places = onto(torch.cat([torch.arange(k, len(x), batches) for k in range(batches)]), x.device)
    dealt = torch.tensor_split(x[places], batches)  # the first ones are the longer ones in both
    return torch.cat([look(part) for part in dealt])[places.argsort()]


def unit(x: Tensor) -> Tensor:
    """Each sample of ``[B, ...]`` scaled to an L2 norm of 1; zeros stay zeros."""
    flat = x.flatten(1)
    flat = flat / flat.abs().amax(1, keepdim=True).clamp_min(1e-30)  # else squares of tiny numbers underflow
    return torch.nn.functional.normalize(flat, dim=1).view_as(x)


def adversarial(
    look: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    radius: float,
    probe: float,
    generator: torch.Generator,
    iterations: int = 1,
) -> Tensor:
    """The step of a length that changes the prediction most (virtual adversarial direction, Miyato et al. 2018).

    The largest eigenvector of the Hessian of ``KL(p(x) || p(x + d))`` at ``d = 0``, by power iteration from a random
    direction: ``d <- unit(gradient of KL(p(x) || p(x + probe d)) in d)``. A sample without any gradient keeps its d.

    Args:
        look: logits ``[B, C]`` of ``x``, the same function at every call: no dropout, nothing recorded.
        x: ``[B, ...]``.
        radius: epsilon, L2 norm of every sample's step.
        probe: xi, L2 norm of the step at which the gradient is taken; well above the rounding error of ``look``.
        generator: on the CPU, the source of the first direction.
        iterations: of the power iteration; 0 leaves the random direction.

    Returns:
        ``[B, ...]`` without a gradient.
    """
    step = unit(onto(torch.randn(x.shape, generator=generator), x.device).to(x))
    with torch.no_grad():
        target = look(x)
    for _ in range(iterations):
        step.requires_grad_()
        (slope,) = torch.autograd.grad(prediction_kl(target, look(x + probe * step)), step)
        found = unit(slope)
        moved = (found.isfinite() & (found != 0)).flatten(1).any(1).view(-1, *[1] * (x.ndim - 1))
        step = torch.where(moved, found, step.detach())
    return radius * step
