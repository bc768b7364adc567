"""PENCIL, probabilistic end-to-end noise correction (Yi, Wu; CVPR 2019, arXiv:1903.07788): "P-correction".

Kept from the reference code, not in the paper:
- three stages of 70, 130 and 120 epochs; the network is not begun anew;
- the rates of the first two are constant, the third begins at 10/3 of it and falls to a tenth at each third;
- the compatibility loss takes the label distribution itself for logits, so that its pull is weaker (``compatibility``
  "probabilities" is the paper's equation);
- the step of a label's parameters is 600 times the gradient of the batch's mean, in batches of 128.

Ours: alpha is 0.1. With the 0.4 that the code begins with no label of ten classes is ever replaced, however sure the
network is of another class; it is only softened. The stages keep their shares of a shorter run, and the step of the
labels grows as the second stage shrinks. Samples without a label (-1) begin the second stage with an even distribution
and know no compatibility loss. The probability that a label is clean is what its learned distribution gives to it, from
the second stage on.
"""

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

_BATCH, _SECOND = 128, 130  # samples in a batch, and epochs of the second stage, for which the published step is made
_STEP = 600.0


@dataclass
class Pencil(Method):
    """Learn the network and a distribution over the classes for every label, then the network alone.

    Attributes:
        alpha: weight of the compatibility loss, which holds the distributions at the given labels.
        beta: weight of the entropy of each prediction.
        first_share: share of the epochs with plain cross-entropy, in (0, 1].
        second_share: share of the epochs in which labels are learned; the rest fits the network to them.
        label_lr: rate of the labels' parameters, for the gradient of the batch's mean; None: 600 for batches of 128 and
            130 epochs, in proportion for other batches, and larger for fewer epochs.
        strength: K, the parameter of the given class at the start; the others' are 0.
        compatibility: what its loss takes the distributions for: "logits" (published code) or "probabilities" (paper).
        last_lr: rate at which the third stage begins; None: 10/3 of the first.
    """

    sets_aside: ClassVar[bool] = True
    paper: ClassVar[str] = "arXiv:1903.07788"
    summary: ClassVar[str] = "learn a distribution over the classes for every label, end to end with the network"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **dict.fromkeys(("alpha", "beta", "strength"), (0, math.inf)),
        **dict.fromkeys(("label_lr", "last_lr"), (1e-9, math.inf)),
        **dict.fromkeys(("first_share", "second_share"), (0, 1)),
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"compatibility": ("logits", "probabilities")}
    settings: ClassVar[Mapping[str, str | float]] = {"lr": 0.06, "schedule": "constant"}

    alpha: float = 0.1
    beta: float = 0.1
    first_share: float = 70 / 320
    second_share: float = 130 / 320
    label_lr: float | None = None
    strength: float = 10.0
    compatibility: str = "logits"
    last_lr: float | None = None

    def start(self, run: Run) -> None:
        """Begin with the given labels: ``K`` times their one-hot rows."""
        super().start(run)
        classes = len(run.data.classes)
        run.remember("label_logits", classes).copy_(self.strength * targets.one_hot(run.data.y, classes))

    def ends(self, run: Run) -> tuple[int, int]:
        """The epochs after which the first and the second stage end; each has one epoch where there are enough."""
        epochs = run.plan.epochs
        first = min(max(1, round(self.first_share * epochs)), epochs)
        second = min(max(first + 1, round((self.first_share + self.second_share) * epochs)), epochs)
        return first, second

    def rate(self, run: Run) -> float:
        """Constant, then from ``last_lr`` down to a tenth at each third of the last stage."""
        _, second = self.ends(run)
        if run.epoch < second or second == run.plan.epochs:
            return run.plan.lr
        start = run.plan.lr * 10 / 3 if self.last_lr is None else self.last_lr
        share = (run.progress - second) / (run.plan.epochs - second)
        return start * 0.1 ** ((share >= 1 / 3) + (share >= 2 / 3))

    def label_rate(self, run: Run) -> float:
        """The step of the labels' parameters."""
        if self.label_lr is not None:
            return self.label_lr
        first, second = self.ends(run)
        return _STEP * run.plan.batch_size / _BATCH * max(1.0, _SECOND / max(second - first, 1))

    def epoch(self, run: Run) -> None:
        """One pass: plain training, or a step of the network and of the batch's labels, or of the network alone."""
        first, second = self.ends(run)
        if run.epoch < first:
            super().epoch(run)
            return
        held, rate = run.remember("label_logits"), self.label_rate(run)
        learning = run.epoch < second
        before = held.argmax(1)
        for batch in run.batches():
            rows = held[batch.id].requires_grad_(learning)
            loss = self.label_loss(run, batch, rows, learning=learning)
            run.update(loss, 0)
            run.log(loss=loss)
            if rows.grad is not None:  # a loss that is not finite has none, or changes nothing
                free = torch.isfinite(loss.detach()) & ~run.confirmed[batch.id]
                held.index_add_(0, batch.id, rows.grad.where(free.unsqueeze(1), 0.0), alpha=-rate)
        run.log(changed=run.whole(held.argmax(1) != before).float().mean())

    def label_loss(self, run: Run, batch: Batch, rows: Tensor, *, learning: bool) -> Tensor:
        """``L_c / C + alpha L_o + beta L_e / C`` while the labels ``rows`` are learned, else ``L_c / C``."""
        logits = run.logits(0, batch.x[0])
        run.observe(batch, logits)
        classes = logits.shape[1]
        fit = targets.reverse_divergence(logits, rows) / classes
        if not learning:
            return fit
        entropy = -targets.confidence_penalty(logits) / classes
        seen = torch.softmax(rows, 1) if self.compatibility == "logits" else rows
        known = (batch.y >= 0).float()
        compatible = (targets.sample_loss(seen, batch.y) * known).sum() / known.sum().clamp_min(1)
        run.log(compatibility=compatible, entropy=entropy)
        return fit + self.alpha * compatible + self.beta * entropy

    def clean_prob(self, run: Run) -> Tensor:
        """What each label's distribution gives to the given class; before the second stage as for other methods."""
        if run.epoch <= self.ends(run)[0]:
            return super().clean_prob(run)
        return targets.label_prob(torch.softmax(run.remember("label_logits"), 1), run.data.y)

    def updated_labels(self, run: Run) -> Tensor:
        """The likeliest class of each label's distribution; -1 where there is none yet."""
        held = run.remember("label_logits")
        return torch.where(held.amax(1) > held.amin(1), held.argmax(1), -1)
