"""What SOP and SOP+ share: label noise ``s`` as parameters of every sample, learned beside the network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from codivide.training import targets
from codivide.training.run import Method, Run
from codivide.training.samples import Batch

_STEPS = 300 * math.log(1 + 40 / 128)  # how often v grows by a factor of e in the paper's 300 epochs of batches of 128


@dataclass
class OverParameterised(Method):
    """The network and ``s = u*u*y - v*v*(1 - y)`` learn together; see ``sop``."""

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **dict.fromkeys(("lr_u", "lr_v"), (0, math.inf)),
        "init": (0, 1),
    }
    views: ClassVar[tuple[str, ...]] = ("weak",)

    lr_u: float = 1.0
    lr_v: float = 10.0
    init: float | None = None

    def start(self, run: Run) -> None:
        """Begin with nearly no noise, the same for all samples; with none, which has no gradient, where confirmed."""
        super().start(run)
        for name, size in (("u", 1), ("v", len(run.data.classes))):
            run.pin(run.remember(name, size, fill=self.first_value(run)), 0.0)

    def first_value(self, run: Run) -> float:
        """``init``, or what lets a short run reach v = 1 after the share of it that the paper's run takes."""
        if self.init is not None:
            return self.init
        steps = run.plan.epochs * math.log(1 + 40 / run.plan.batch_size)
        return min(float(1e-8 ** min(steps / _STEPS, 1.0)), 0.1)

    def learned_from(self, run: Run) -> Tensor:
        """Mask ``[N]`` of the samples in a pass."""
        return run.data.y >= 0

    def epoch(self, run: Run) -> None:
        """One pass: a step of the network by its optimizer, and of the batch's rows of u and v by plain SGD."""
        for batch in run.batches(self.learned_from(run), self.views):
            u, v = (run.remember(name)[batch.id].requires_grad_() for name in "uv")
            loss = self.noise_loss(run, batch, u, v)
            run.update(loss, 0)
            run.log(loss=loss)
            for name, rows, rate in (("u", u, self.lr_u), ("v", v, self.lr_v)):
                if rows.grad is not None:  # a loss that is not finite has none, or changes nothing
                    grad = rows.grad.where(torch.isfinite(loss.detach()), 0.0)
                    table = run.remember(name).index_add_(0, batch.id, grad, alpha=-rate)
                    table[batch.id] = table[batch.id].clamp(-1, 1)

    def noise_loss(self, run: Run, batch: Batch, u: Tensor, v: Tensor) -> Tensor:
        """The loss of a batch, of which ``u`` and ``v`` are the rows."""
        return self.fit_noise(run, batch, run.logits(0, batch.x[0]), u, v)

    @staticmethod
    def fit_noise(run: Run, batch: Batch, logits: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Cross-entropy of ``p + s`` for the network and u, squared error of ``hard prediction + s`` for v."""
        run.observe(batch, logits)
        classes = logits.shape[1]
        known = (batch.y >= 0).float()
        given = targets.one_hot(batch.y, classes)
        fit = targets.noisy_cross_entropy(logits, targets.label_noise(u, v.detach(), given), given)
        hard = targets.one_hot(logits.argmax(1), classes)
        error = (hard + targets.label_noise(u.detach(), v, given) - given).square().sum(1)
        return ((fit + error) * known).sum() / known.sum().clamp_min(1)

    def clean_prob(self, run: Run) -> Tensor:
        """Geometric mean of the mixture on the averaged losses and of ``1 - u*u``, what no noise explains."""
        return torch.sqrt(super().clean_prob(run) * (1 - run.remember("u").squeeze(1).square()))
