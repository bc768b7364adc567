"""The MLP head: one hidden layer, mixup on the features, all folds side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_CHUNK = 4096  # rows that are classified at a time
_TINY = 1e-12  # probabilities are kept from 0 before the logarithm


@dataclass(frozen=True)
class Perceptron:
    """K networks ``relu(x W1 + b1) W2 + b2``.

    Attributes:
        inner: ``W1`` ``[K, D, H]``.
        inner_bias: ``b1`` ``[K, 1, H]``.
        outer: ``W2`` ``[K, H, C]``.
        outer_bias: ``b2`` ``[K, 1, C]``.
    """

    inner: Tensor
    inner_bias: Tensor
    outer: Tensor
    outer_bias: Tensor

    def logits(self, x: Tensor) -> Tensor:
        """``[N, K, C]`` of ``[N, D]``."""
        return torch.cat([self.forward(part) for part in torch.split(x, _CHUNK)], 1).transpose(0, 1)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """``[K, B, C]`` of a batch ``[B, D]``; ``keep`` ``[B, H]`` multiplies the hidden layer."""
        hidden = torch.relu(torch.baddbmm(self.inner_bias, x.expand(len(self.inner), -1, -1), self.inner))
        return torch.baddbmm(self.outer_bias, hidden if keep is None else hidden * keep, self.outer)

    def tensors(self) -> list[Tensor]:
        """All parameters."""
        return [self.inner, self.inner_bias, self.outer, self.outer_bias]


@dataclass(frozen=True)
class Training:
    """How the MLP is trained.

    Attributes:
        hidden: units of the hidden layer.
        updates: batches in all.
        batch: samples in one, at most N.
        lr: highest learning rate, after a linear rise over the first tenth; then a cosine down to 0.
        alpha: of mixup's Beta(alpha, alpha); 0: none.
        dropout: of hidden units.
    """

    hidden: int = 256
    updates: int = 800
    batch: int = 128
    lr: float = 2e-3
    alpha: float = 1.0
    dropout: float = 0.2

    def rate(self, step: int) -> float:
        """The learning rate of an update, counted from 1."""
        progress = step / self.updates
        return self.lr * min(1.0, 10 * progress) * 0.5 * (1 + math.cos(math.pi * progress))


def fit(
    x: Tensor,
    likelihood: Tensor,
    weight: Tensor,
    fold: Tensor,
    *,
    watch: Callable[[Perceptron], bool],
    generator: torch.Generator,
    training: Training,
) -> None:
    """Train with AdamW on ``-log sum_c v_c p_c`` (see ``linear.fit``) of mixed features.

    Mixup (Zhang et al., ICLR 2018, section 2): ``share x_i + (1 - share) x_j`` is asked for both labels, weighted by
    the same share. Partners come from the same fold, so that a held-out sample is never mixed into a training one; one
    draw serves all folds, which therefore differ by what they hold out alone.

    Args:
        x: features ``[N, D]`` of about unit scale.
        likelihood: ``v`` ``[N, C]``.
        weight: of the samples in each block ``[N, K]``.
        fold: ``[N]``, who may be mixed with whom.
        watch: called after 1/16, 1/8, 1/4, 1/2 and all of the updates with the averaged networks; False ends the
            training.
        generator: on the CPU; the only source of randomness.
        training: the hyper-parameters.
    """
    net = _start(x.shape[1], training.hidden, weight.shape[1], likelihood.shape[1], generator)
    average = Perceptron(*(value.clone() for value in net.tensors()))
    steps, slope = _AdamW(net.tensors()), _Slope(net, min(training.batch, len(x)))
    looks = {max(1, training.updates >> shift) for shift in range(5)}
    batches = _batches(len(x), min(training.batch, len(x)), generator)
    for step in range(1, training.updates + 1):
        ids = next(batches)
        one, two = (ids[_by_fold(fold[ids], generator)] for _ in range(2))
        share = _beta(training.alpha, len(ids), generator)
        mixed = share * x[one] + (1 - share) * x[two]
        keep = (torch.rand(len(ids), training.hidden, generator=generator) >= training.dropout) / (1 - training.dropout)
        both = torch.stack([one, two])
        counts = weight[both] * torch.stack([share, 1 - share]) / len(ids)
        steps.take(slope.at(net, mixed, keep, likelihood[both], counts), training.rate(step))
        for mean, value in zip(average.tensors(), net.tensors(), strict=True):
            mean.lerp_(value, 1 - min(0.98, step / (step + 10)))
        if step in looks and not watch(average):
            return


class _Slope:
    """The gradients of the loss of a batch: those of autograd, in half of its time and always in the same memory.

    The slope of ``-log sum_c v_c p_c`` along the logits is ``p - q``, where ``q_c = v_c p_c / sum_k v_k p_k``.

    Args:
        net: K networks.
        batch: samples B.
    """

    def __init__(self, net: Perceptron, batch: int) -> None:
        blocks, _, width = net.inner.shape
        self.hidden, self.back = torch.empty(2, blocks, batch, width)
        self.found = [torch.empty_like(value) for value in net.tensors()]

    def at(self, net: Perceptron, x: Tensor, keep: Tensor, likelihood: Tensor, counts: Tensor) -> list[Tensor]:
        """The slopes of ``sum_wbk counts_wbk loss_wbk`` along the tensors of the networks.

        Args:
            net: the same as before, or a later state of it.
            x: ``[B, D]``.
            keep: ``[B, H]``, see ``Perceptron.forward``; none is negative.
            likelihood: ``v`` ``[2, B, C]`` of two labels for each row.
            counts: ``[2, B, K]``.
        """
        wide = x.expand(len(net.inner), -1, -1)
        hidden = torch.baddbmm(net.inner_bias, wide, net.inner, out=self.hidden).clamp_min_(0).mul_(keep)
        prob = torch.softmax(torch.baddbmm(net.outer_bias, hidden, net.outer), -1)
        own = prob.unsqueeze(1) * likelihood
        weight = counts.permute(2, 0, 1).unsqueeze(-1)  # [K, 2, B, 1]
        own *= weight / own.sum(-1, keepdim=True).clamp_min_(_TINY)
        pull = prob.mul_(weight.sum(1)).sub_(own.sum(1))
        back = torch.bmm(pull, net.outer.transpose(1, 2), out=self.back).mul_(keep)
        inner, inner_bias, outer, outer_bias = self.found
        torch.bmm(hidden.transpose(1, 2), pull, out=outer)
        torch.sum(pull, 1, keepdim=True, out=outer_bias)
        back.mul_(hidden.sign_())
        torch.bmm(wide.transpose(1, 2), back, out=inner)
        torch.sum(back, 1, keepdim=True, out=inner_bias)
        return self.found


class _AdamW:
    """The steps of ``torch.optim.AdamW(fused=True)`` with a weight decay of 0.01, bit by bit.

    Its first step loads torch's compiler, which takes more seconds than all heads of a small table together.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self.means, self.squares = ([torch.zeros_like(value) for value in parameters] for _ in range(2))
        self.counts = [torch.zeros(()) for _ in parameters]

    @torch.no_grad()
    def take(self, gradients: Sequence[Tensor], rate: float) -> None:
        """One step."""
        torch._foreach_add_(self.counts, 1)
        torch._fused_adamw_(
            self.parameters,
            [gradient.contiguous() for gradient in gradients],
            self.means,
            self.squares,
            [],
            self.counts,
            lr=rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=1e-2,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )


def _start(width: int, hidden: int, blocks: int, classes: int, generator: torch.Generator) -> Perceptron:
    """All blocks begin alike: a random first layer, the rest zero."""
    first = torch.randn(width, hidden, generator=generator) * math.sqrt(2 / width)
    shapes = ((blocks, 1, hidden), (blocks, hidden, classes), (blocks, 1, classes))
    return Perceptron(first.repeat(blocks, 1, 1), *(torch.zeros(shape) for shape in shapes))


def _batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches of ``size`` ids without end, shuffled anew whenever too few are left."""
    while True:
        order = torch.randperm(count, generator=generator)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


def _by_fold(fold: Tensor, generator: torch.Generator) -> Tensor:
    """A random order ``[B]`` in which the folds come one after the other."""
    shuffled = torch.randperm(len(fold), generator=generator)
    return shuffled[fold[shuffled].argsort(stable=True)]


def _beta(alpha: float, size: int, generator: torch.Generator) -> Tensor:
    if not alpha:
        return torch.ones(size, 1)
    two = torch._standard_gamma(torch.full((2, size, 1), alpha), generator=generator)
    return two[0] / two.sum(0).clamp_min(_TINY)
