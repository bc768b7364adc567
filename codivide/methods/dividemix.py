"""DivideMix (Li, Socher, Hoi; ICLR 2020, arXiv:2002.07394).

Kept from the reference code, not in the paper:
- labelled means w > threshold (the paper writes >=); warm-up batches are twice the size of labelled ones;
- one mixing share per batch, no interleaving for batch normalisation; lambda_u rises linearly after warm-up;
- an epoch is one pass over the labelled samples, the unlabelled ones start again as often as needed;
- net 2 learns after net 1, with the split of the epoch's start; averaged losses (5 epochs) are for 90 % noise only;
- the learning network guesses in training mode, which updates its batch-norm statistics; its peer in evaluation
  mode (``guess_in_training_mode=False``: both in evaluation mode, then all guesses of a network are one forward).

Ours: samples without a label (-1) join the unlabelled part. A class without a clean label is divided by a mixture of
its own (``divide.restore_classes``); without any clean label the epoch trains on all, as in warm-up. The run warns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from codivide import functional, semi
from codivide.engine import Batch, Method, Run
from codivide.methods import _division


@dataclass
class DivideMix(Method):
    """Co-divide, co-refine, co-guess and MixMatch with two networks.

    Attributes:
        warmup: epochs of plain training first (30 on CIFAR-100); None: 10, or a third of all where that is less.
        confidence_penalty: weight of the negative entropy during warm-up; 1 for asymmetric noise.
        threshold: a label counts as clean when its probability is above, in [0, 1).
        temperature: of sharpening, > 0.
        alpha: of the Beta distribution of mixing shares.
        lambda_u: weight of the loss on guessed targets: 0 for little noise, 25 and more for much.
        rampup: epochs over which lambda_u rises.
        prior: weight of the penalty that keeps the mean prediction near uniform.
        augmentations: views per sample for guessing and learning (M in the paper).
        average_losses: epochs whose losses are averaged before the mixture is fitted.
        guess_in_training_mode: batch-norm mode of the learning network while it guesses.
    """

    nets: ClassVar[int] = 2
    paper: ClassVar[str] = "arXiv:2002.07394"
    summary: ClassVar[str] = "divide by a mixture on the losses, then MixMatch on both parts; two networks"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **dict.fromkeys(("warmup", "confidence_penalty", "alpha", "lambda_u", "rampup", "prior"), (0, math.inf)),
        **{"augmentations": (1, 9), "average_losses": (1, 99), "threshold": (0, 1), "temperature": (1e-3, 99)},
    }

    warmup: int | None = None
    confidence_penalty: float = 0.0
    threshold: float = 0.5
    temperature: float = 0.5
    alpha: float = 4.0
    lambda_u: float = 25.0
    rampup: float = 16.0
    prior: float = 1.0
    augmentations: int = 2
    average_losses: int = 1
    guess_in_training_mode: bool = True

    def start(self, run: Run) -> None:
        """Keep each network's last posteriors and last losses."""
        super().start(run)
        for i in range(self.nets):
            _division.start(run, i, self.average_losses)

    def warmup_epochs(self, run: Run) -> int:
        """Epochs of plain training before the first split."""
        return max(1, min(10, run.plan.epochs // 3)) if self.warmup is None else self.warmup

    def epoch(self, run: Run) -> None:
        """Warm up, or divide with both networks and let each learn from its peer (algorithm 1)."""
        if run.epoch < self.warmup_epochs(run):
            for i in range(self.nets):
                self.fit_all(run, i, size=2 * run.plan.batch_size)
            return
        for i in range(self.nets):
            self.divide(run, i)
        for i in range(self.nets):
            self.learn(run, i, _division.posterior(run, 1 - i))

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """Warm-up: cross-entropy, with the confidence penalty where it is asked for (eq. 1 and 2)."""
        logits = run.logits(i, batch.x[0])
        loss = run.observe(batch, logits).mean()
        return loss + self.confidence_penalty * functional.confidence_penalty(logits)

    def divide(self, run: Run, i: int) -> None:
        """Fit the mixture to the losses of network ``i``."""
        _division.renew(run, i, run.epoch - self.warmup_epochs(run), self.average_losses, self.threshold)

    def learn(self, run: Run, i: int, clean_prob: Tensor) -> None:
        """Train network ``i`` on the peer's split (algorithm 1, lines 9 to 28)."""
        labelled = clean_prob > self.threshold  # False where there is no label (NaN)
        count = int(labelled.sum())
        run.log(**{f"labelled_{i}": float(count), f"unlabelled_{i}": float(len(labelled) - count)})
        if count == 0:
            run.warn("none", "no label was found clean; training on all labels, as in warm-up")
            self.fit_all(run, i, size=2 * run.plan.batch_size)
            return
        if count == len(labelled):
            run.warn("all", "every label was found clean; there is no unlabelled part")
        for known, unknown in run.pairs(labelled, ~labelled, ("weak",) * self.augmentations):
            run.update(self.mixed_loss(run, i, known, unknown, clean_prob[known.id]), i)

    def mixed_loss(self, run: Run, i: int, known: Batch, unknown: Batch, clean_prob: Tensor) -> Tensor:
        """Co-refine, co-guess, mix; ``L = L_X + lambda_u L_U + lambda_r L_reg`` on one pair of batches."""
        views = [*unknown.x, *known.x]
        own = run.probs(i, views, training=self.guess_in_training_mode)
        peer = run.probs(1 - i, unknown.x)
        target_u = semi.guess([*own[: len(unknown.x)], *peer], self.temperature)
        given = functional.one_hot(known.y, target_u.shape[1])
        target_x = semi.refine(given, clean_prob, own[len(unknown.x) :], self.temperature)
        mixed = semi.mixmatch(known.x, target_x, unknown.x, target_u, self.alpha, run.gen)
        loss = semi.mixmatch_loss(run.logits(i, mixed.x), mixed, self.prior)
        run.log(loss=loss.labelled)
        if not len(unknown.id):
            return loss.labelled + loss.prior
        weight = self.lambda_u * functional.ramp(run.progress, self.warmup_epochs(run), self.rampup)
        run.log(loss_u=loss.unlabelled, lambda_u=weight)
        return loss.labelled + loss.prior + weight * loss.unlabelled

    def clean_prob(self, run: Run) -> Tensor:
        """Mean of the networks' last posteriors; before the first split, as for methods without one."""
        if run.epoch <= self.warmup_epochs(run):
            return super().clean_prob(run)
        return torch.stack([_division.posterior(run, i) for i in range(self.nets)]).mean(0)
