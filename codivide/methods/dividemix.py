"""DivideMix (Li, Socher, Hoi; ICLR 2020, arXiv:2002.07394).

Kept from the reference code, not in the paper:
- labelled means w > threshold (the paper writes >=); warm-up batches are twice the size of labelled ones;
- one mixing share per batch, no interleaving for batch normalisation; lambda_u rises linearly after warm-up;
- an epoch is one pass over the labelled samples, the unlabelled ones start again as often as needed;
- net 2 learns after net 1, with the split of the epoch's start; averaged losses (5 epochs) are for 90 % noise only;
- the learning network guesses in training mode, which updates its batch-norm statistics, and its peer in evaluation
  mode. (``guess_in_training_mode=False``: both in evaluation mode; then all guesses of a network are one forward.)

Ours: samples without a label (-1) join the unlabelled part. A class without a clean label is divided by a mixture of
its own (``mixtures.restore_classes``). Not so where ``restore_classes`` is off, as in ``PAPER`` and in every published
row. Without any clean label, where the published code fails, the epoch trains on all, as in warm-up. The run warns.
A mixture that one component swallows is fitted again, on losses cut to their bulk (``mixtures.gmm``).

Variants, each a field: the paper's ablation (Table 5), other divisions (``methods/_division.py``), and weight averages
that divide and guess. Also weak views to guess and strong ones to learn (Nishi et al., CVPR 2021, arXiv:2103.02130).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from codivide.core.types import AUTO, Auto
from codivide.methods._division import VIEWS, Dividing
from codivide.training import mixmatch, targets
from codivide.training.published import AUTOMATIC as AUTOMATIC
from codivide.training.published import PAPER as PAPER
from codivide.training.run import Run
from codivide.training.samples import Batch


@dataclass
class DivideMix(Dividing):
    """Co-divide, co-refine, co-guess and MixMatch with two networks.

    Attributes:
        warmup: epochs of plain training first (30 on CIFAR-100); None: 10, or a third of all where that is less; "auto"
            (as below): chosen by a short run, or the paper's value where there is none.
        confidence_penalty: weight of the negative entropy during warm-up; 1 for asymmetric noise.
        restore_classes: divide a class without a clean label by itself; else it stays without one, as published.
        average_guesses: divide and guess with the weight averages (needs an average in the plan).
        networks: 2, or 1 that divides and guesses for itself (no co-training).
        co_divide: learn from the peer's split; else each network from its own.
        co_guess: guess unlabelled targets with both networks; else with the learning one.
        refine: mix predictions into given labels; else the labels stay as they are.
        temperature: of sharpening, > 0.
        alpha: of the Beta distribution of mixing shares.
        lambda_u: weight of the loss on guessed targets: 0 for little noise, 25 and more for much.
        rampup: epochs over which lambda_u rises.
        prior: weight of the penalty that keeps the mean prediction near uniform.
        learn_unlabelled: learn from mixtures near unlabelled samples, too; else these are partners of labelled ones
            alone, as in the authors' scripts for Clothing1M and WebVision.
        augmentations: views per sample for guessing and learning (M in the paper).
        guess_augmentations: views per sample for refining and guessing; None: as many as for learning.
        guess_view: plain, weak or strong, the views to refine and guess on.
        learning_view: same (those guessed on), or plain, weak or strong: other ones for the gradient.
        guess_in_training_mode: batch-norm mode of the learning network while it guesses.
    """

    paper: ClassVar[str] = "arXiv:2002.07394"
    summary: ClassVar[str] = "divide by a mixture on the losses, then MixMatch on both parts; two networks"
    automatic: ClassVar[Mapping[str, Any]] = AUTOMATIC
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **Dividing.limits,
        **dict.fromkeys(("confidence_penalty", "alpha", "lambda_u", "rampup", "prior"), (0, math.inf)),
        "augmentations": (1, 9),
        "guess_augmentations": (1, 9),
        "temperature": (1e-3, 99),
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **Dividing.choices,
        "guess_view": VIEWS,
        "learning_view": ("same", *VIEWS),
    }

    warmup: int | Auto | None = AUTO
    threshold: float | Auto = AUTO
    division: str = AUTO
    confidence_penalty: float | Auto = AUTO
    temperature: float = 0.5
    alpha: float | Auto = AUTO
    lambda_u: float | Auto = AUTO
    rampup: float = 16.0
    prior: float = 1.0
    learn_unlabelled: bool = True
    augmentations: int = 2
    guess_augmentations: int | None = None
    guess_view: str = "weak"
    learning_view: str = "same"
    co_guess: bool = True
    refine: bool = True
    guess_in_training_mode: bool = True

    def epoch(self, run: Run) -> None:
        """Warm up, or divide with both networks and let each learn from its peer (algorithm 1)."""
        if run.epoch < self.warmup_epochs(run):
            for i in range(self.networks):
                self.warm_up(run, i)
            return
        for i in range(self.networks):
            self.divide(run, i)
        for i in range(self.networks):
            self.learn(run, i, self.judged_for(run, i))

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """Warm-up: cross-entropy, with the confidence penalty where it is asked for (eq. 1 and 2)."""
        logits = run.logits(i, batch.x[0])
        loss = self.observe(run, i, batch, logits).mean()
        return loss + float(self.setting("confidence_penalty")) * targets.confidence_penalty(logits)

    def views(self) -> tuple[tuple[str, ...], slice, slice]:
        """The views of a batch, and which of them are to guess on and which to learn from."""
        guesses = self.augmentations if self.guess_augmentations is None else self.guess_augmentations
        if self.learning_view == "same":
            return (self.guess_view,) * max(guesses, self.augmentations), slice(guesses), slice(self.augmentations)
        names = (self.guess_view,) * guesses + (self.learning_view,) * self.augmentations
        return names, slice(guesses), slice(guesses, None)

    def learn(self, run: Run, i: int, clean_prob: Tensor) -> None:
        """Train network ``i`` on the peer's split (algorithm 1, lines 9 to 28)."""
        labelled = (clean_prob > self.setting("threshold")) & run.active  # False where there is no label (NaN)
        count, total = int(labelled.sum()), int(run.active.sum())
        run.log(**{f"labelled_{i}": float(count), f"unlabelled_{i}": float(total - count)})
        if count == 0:
            run.warn("none", "no label was found clean; training on all labels, as in warm-up")
            self.warm_up(run, i)
            return
        if count == total:
            run.warn("all", "every label was found clean; there is no unlabelled part")
        for known, unknown in run.pairs(labelled, ~labelled, self.views()[0]):
            run.update(self.mixed_loss(run, i, known, unknown, clean_prob[known.id]), i)

    def mixed_loss(self, run: Run, i: int, known: Batch, unknown: Batch, clean_prob: Tensor) -> Tensor:
        """Co-refine, co-guess, mix; ``L = L_X + lambda_u L_U + lambda_r L_reg`` on one pair of batches."""
        _, guess, learn = self.views()
        known_x, unknown_x = known.x[guess], unknown.x[guess]
        mean = self.average_guesses
        asked = [*unknown_x, *known_x] if self.refine else unknown_x
        own = run.probs(i, asked, training=self.guess_in_training_mode and not mean, average=mean)
        peer = run.probs(self.peer(i), unknown_x, average=mean) if self.co_guess and self.networks > 1 else []
        target_u = mixmatch.guess([*own[: len(unknown_x)], *peer], self.temperature)
        target_x = targets.one_hot(known.y, target_u.shape[1])
        if self.refine:
            target_x = mixmatch.refine(target_x, clean_prob, own[len(unknown_x) :], self.temperature)
        alpha = float(self.setting("alpha"))
        mixed = mixmatch.mixmatch(known.x[learn], target_x, unknown.x[learn], target_u, alpha=alpha, generator=run.gen)
        if not self.learn_unlabelled:
            mixed = mixed.near_labelled()
        loss = mixmatch.mixmatch_loss(run.logits(i, mixed.x), mixed, self.prior)
        run.log(loss=loss.labelled)
        if len(mixed.x) == mixed.labelled:
            return loss.labelled + loss.prior
        weight = float(self.setting("lambda_u")) * targets.ramp(run.progress, self.warmup_epochs(run), self.rampup)
        run.log(loss_u=loss.unlabelled, lambda_u=weight)
        return loss.labelled + loss.prior + weight * loss.unlabelled
