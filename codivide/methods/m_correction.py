"""M-correction (Arazo, Ortego, Albert, O'Connor, McGuinness; ICML 2019, arXiv:1904.11238).

Kept from the reference code, not in the paper:
- the predictions of unmixed samples come from a forward in training mode, which updates the batch-norm statistics;
- warm-up is mixup with cross-entropy alone, without the regularisation term, and lasts until five epochs after the
  first drop of the learning rate (105 of 300 epochs);
- the posterior does not fall again for the largest losses (``mixtures.bmm``);
- dynamic form: the halves of a pair weigh 1/2 each in the loss, whatever their share in the input. The temperature
  falls in a straight line to 0.001 at two thirds of all epochs.

Ours: the posterior of a sample is that of the end of the last epoch, from its plain view. The reference takes the loss
of its augmented view at each step, with the last mixture. The mixture starts from the best two clusters. (The reference
starts from Beta(1, 2) and Beta(2, 1), which can lose a component.) The fit uses all losses unless ``trim`` is given;
theirs, and that of the published rows, those between the 5th and 95th percentile. The dynamic form has no epochs of
dynamic mixup without bootstrapping. Samples without a label are not used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from codivide.core.device import onto
from codivide.noise import mixtures as divide
from codivide.training import mixmatch, targets
from codivide.training.run import Method, Run
from codivide.training.samples import Batch


@dataclass
class MCorrection(Method):
    """Labels corrected by the prediction as far as a Beta mixture on the losses distrusts them, with mixup.

    Attributes:
        warmup: epochs of mixup with the given labels first; None: until a sixtieth of all epochs after the first drop
            of the learning rate (the paper's 105 of 300). Where it does not drop in steps, 35 % of all.
        hard: correct by the argmax of the prediction (M-DYR-H); otherwise by its probabilities (M-DYR-S).
        dynamic: mixing shares by trust, targets from soft to hard (MD-DYR-SH, for 90 % noise); hard has no effect.
        alpha: of the Beta distribution of mixing shares.
        prior: weight of the penalty that keeps the mean prediction near uniform.
        trim: share of the smallest and of the largest losses that the mixture is not fitted to (.05 as published).
    """

    sets_aside: ClassVar[bool] = True
    paper: ClassVar[str] = "arXiv:1904.11238"
    summary: ClassVar[str] = "labels corrected by a Beta mixture on the losses, with mixup"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **dict.fromkeys(("warmup", "alpha", "prior"), (0, math.inf)),
        "trim": (0, 0.4),
    }

    warmup: int | None = None
    hard: bool = True
    dynamic: bool = False
    alpha: float = 32.0
    prior: float = 1.0
    trim: float = 0.0

    def start(self, run: Run) -> None:
        """Keep each label's probability of being clean."""
        run.remember("clean_prob", fill=torch.nan)[run.data.y >= 0] = 1.0

    def warmup_epochs(self, run: Run) -> int:
        """Epochs before the first correction."""
        if self.warmup is not None:
            return self.warmup
        epochs = run.plan.epochs
        drops = run.plan.milestones if run.plan.schedule == "step" else ()
        first = drops[0] + max(1, round(epochs / 60)) if drops else round(0.35 * epochs)
        return min(max(1, first), max(1, epochs - 1))

    def epoch(self, run: Run) -> None:
        """Learn from mixed samples with corrected labels, then fit the mixture to the losses."""
        self.fit_all(run, 0)
        self.divide(run)

    def divide(self, run: Run) -> None:
        """Fit the mixture to the losses of all labelled samples, in evaluation mode."""
        given = run.data.y >= 0
        loss = run.measure(0, lambda logits, batch: targets.sample_loss(logits, batch.y))[given]
        division = divide.bmm(loss, self.trim)
        run.remember("clean_prob")[given] = division.clean_prob
        run.pin(run.remember("clean_prob"))
        run.log(separates=float(division.separates))
        if not division.separates and run.epoch + 1 >= self.warmup_epochs(run):
            run.warn("separates", "the losses do not show two groups, so the split is a guess; going on with it")

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """Cross-entropy on mixed samples against mixed targets; with the prior's term after warm-up."""
        warm = run.epoch < self.warmup_epochs(run)
        x = batch.x[0]
        target = targets.one_hot(batch.y, len(run.data.classes))
        trust = run.remember("clean_prob")[batch.id]
        if not warm:
            target = self.corrected(run, i, x, target, trust)
        order = onto(torch.randperm(len(x), generator=run.gen), x.device)
        share = mixmatch.mix_share(self.alpha, run.gen)
        if self.dynamic and not warm:
            trust = trust.clamp(1e-4, 1 - 1e-4)
            mixed, _ = targets.mixup(x, target, trust / (trust + trust[order]), order)
            target = (target + target[order]) / 2
        else:
            mixed, target = targets.mixup(x, target, share, order)
        logits = run.logits(i, mixed)
        loss = targets.soft_cross_entropy(logits, target)
        run.log(cross_entropy=loss)
        return loss if warm else loss + self.prior * targets.prior_kl(torch.softmax(logits, 1))

    def corrected(self, run: Run, i: int, x: Tensor, given: Tensor, trust: Tensor) -> Tensor:
        """Targets ``(1 - w) y + w z`` with ``w = 1 - trust`` (section 3.2), z the prediction of the unmixed sample."""
        (guess,) = run.probs(i, [x], training=True)
        if self.dynamic:
            guess = targets.sharpen(guess, self.temperature(run))
        elif self.hard:
            guess = targets.one_hot(guess.argmax(1), guess.shape[1])
        return given.lerp(guess, (1 - trust).unsqueeze(1))

    def temperature(self, run: Run) -> float:
        """Of the predictions in the dynamic form: from 1 at the end of warm-up to 0.001."""
        begin = self.warmup_epochs(run)
        end = 2 / 3 * run.plan.epochs
        return 1 - 0.999 * targets.ramp(run.epoch, begin, end - begin)

    def clean_prob(self, run: Run) -> Tensor:
        """One minus the posterior of the high-loss component at the end of the last epoch."""
        return run.remember("clean_prob").clone()
