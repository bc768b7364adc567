"""MixMatch (Berthelot, Carlini, Goodfellow, Papernot, Oliver, Raffel; NeurIPS 2019, arXiv:1905.02249).

Kept from the reference code, not in the paper:
- Adam with 0.002, and decay ``w <- w - 0.02 lr w`` of kernels alone;
- lambda_U rises over the first 1,048,576 labelled images seen, 16,384 steps of 64 (the paper: 16,000 steps);
- batch normalisation sees batches of the size of the labelled one, each with samples of every part (interleaving);
- guesses are made in training mode, and record no statistics.

Ours: labelled samples are among the unlabelled ones (theirs: they are not; ``include_labelled`` is off in the published
recipes). The weight lambda_U rises over the whole run where that has fewer images than these; a faster rise made the
network predict one class. Interleaving deals all rows out like cards, so that every batch holds an equal share of each
part, and all of them record statistics (theirs: the first batch does both). p(clean) is fitted to losses measured on
unmixed labelled samples after every epoch. See also ``_semi_supervised.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from codivide.methods._semi_supervised import SemiSupervised
from codivide.training import layers, mixmatch, targets
from codivide.training.run import Run
from codivide.training.samples import Batch


@dataclass
class MixMatch(SemiSupervised):
    """Guess labels over several views, sharpen them, mix labelled and unlabelled samples.

    Attributes:
        weight: lambda_U, of the squared error on guesses once it has risen: 75 on CIFAR-10, 250 on SVHN, 150 on
            CIFAR-100.
        rampup: most of training over which the weight rises from 0, as a share.
        rampup_images: labelled images seen, in units of 1024, over which the weight rises from 0.
        augmentations: weak views of each unlabelled sample (K).
        temperature: of sharpening, > 0.
        alpha: of the Beta distribution of mixing shares; 0: no mixing.
        interleave: normalise batches of the labelled one's size that hold samples of every part; else all rows at once.
    """

    paper: ClassVar[str] = "arXiv:1905.02249"
    summary: ClassVar[str] = "semi-supervised: guess over views, sharpen, mix"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **SemiSupervised.limits,
        "rampup_images": (0, math.inf),
        "augmentations": (1, 9),
        "temperature": (1e-3, 99),
        "alpha": (0, 1e6),
    }

    weight: float = 75.0
    rampup: float = 1.0
    rampup_images: float = 1024.0
    augmentations: int = 2
    temperature: float = 0.5
    alpha: float = 0.75
    interleave: bool = True

    def views(self) -> tuple[str, ...]:
        """K weak ones."""
        return ("weak",) * self.augmentations

    def weight_now(self, run: Run) -> float:
        """lambda_U at this moment."""
        epochs = self.rampup_images * 1024 / (self.steps_of(run) * run.plan.batch_size)
        return self.weight * targets.ramp(run.progress, 0, min(epochs, self.rampup * run.plan.epochs))

    def epoch(self, run: Run) -> None:
        """The steps, then a look at every labelled sample as it is."""
        super().epoch(run)
        self.look(run)

    def guess(self, run: Run, unknown: Batch) -> Tensor:
        """``Sharpen(mean over K views of p, T)``, one target for all views of a sample (algorithm 1, lines 7 and 8)."""
        with layers.untracked(run.nets[0]):
            return mixmatch.guess(run.probs(0, unknown.x, training=True), self.temperature)

    def pair_loss(self, run: Run, known: Batch, unknown: Batch) -> Tensor:
        """``L_X + lambda_U L_U`` on the mixed batch (eq. 3 to 5)."""
        target = targets.one_hot(known.y, len(run.data.classes))
        guess = self.guess(run, unknown)
        mixed = mixmatch.mixmatch(
            known.x, target, unknown.x, guess, alpha=self.alpha, generator=run.gen, per_sample=True
        )
        batches = round(len(mixed.x) / len(known.id)) if self.interleave else 1
        loss = mixmatch.mixmatch_loss(mixmatch.interleave(lambda x: run.logits(0, x), mixed.x, batches), mixed)
        run.log(loss=loss.labelled)
        if not len(unknown.id):
            return loss.labelled
        weight = self.weight_now(run)
        run.log(loss_u=loss.unlabelled, weight=weight)
        return loss.labelled + weight * loss.unlabelled
