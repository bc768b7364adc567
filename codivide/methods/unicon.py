"""UNICON, uniform selection and contrastive learning (Karim et al.; CVPR 2022, arXiv:2203.14542).

Kept from the reference code, not in the paper:
- warm-up batches are twice the size;
- the weight of a kept label in co-refinement is 1 where its divergence is below a half, else 1 - divergence;
- the threshold is lowered when the mean divergence is large; a class with fewer labels than its share is kept whole;
- divided anew, with both networks as they are, before each of them learns;
- weak views guess and refine, strong views are mixed, learned from and contrasted; guessing in training mode.

Ours:
- the divergence is in bits, so that it lies in [0, 1] as in the paper. The published code takes natural logarithms (at
  most .69), so d_mu = .7 is never reached, and a label weighs 1 up to .72 bits;
- both parts have batches of the same size B. The code's have B / 2R of the rest, R the share below the threshold;
- both strong views are one forward, and the projection is linear, ReLU, linear. The code's is linear and a batch
  normalisation, one view at a time. ``form="code"`` is the code in these three things; the published rows have it;
- samples without a label join the unlabelled part; the run's clean_prob lies above a half for kept labels, below
  for others, and falls with the divergence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from codivide.methods._warm_up import WarmUp
from codivide.noise import selections
from codivide.training import layers, mixmatch, targets
from codivide.training.run import Run
from codivide.training.samples import Batch


@dataclass
class UNICON(WarmUp):
    """Keep the same number of labels of every class, MixMatch on both parts, contrast the views of the rest.

    Attributes:
        warmup: epochs of plain training first (30 on CIFAR-100); None: 10, or a third of all where that is less.
        confidence_penalty: weight of the negative entropy during warm-up; 1 for asymmetric noise.
        tau: by how much the threshold is lowered: 1 / tau of the way from the mean divergence to the least.
        d_mu: mean divergence from which on it is lowered.
        temperature: of sharpening, > 0.
        alpha: of the Beta distribution of mixing shares.
        lambda_u: weight of the loss on guessed targets.
        rampup: epochs over which lambda_u rises.
        prior: weight of the penalty that keeps the mean prediction near uniform.
        lambda_c: weight of the contrastive loss.
        contrast_temperature: of the contrastive loss, > 0.
        projection: features that are contrasted.
        form: "paper", the divergence in bits, or "code", what the published numbers were measured with.
    """

    paper: ClassVar[str] = "arXiv:2203.14542"
    summary: ClassVar[str] = "the same number of kept labels in every class, MixMatch, contrast of the rest"
    warmup_batch: ClassVar[int] = 2
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **WarmUp.limits,
        **dict.fromkeys(("alpha", "lambda_u", "rampup", "prior", "lambda_c"), (0, math.inf)),
        "tau": (1, math.inf),
        "d_mu": (0, 1),
        "projection": (1, 9999),
        **dict.fromkeys(("temperature", "contrast_temperature"), (1e-3, 99)),
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"form": ("paper", "code")}

    tau: float = 5.0
    d_mu: float = 0.7
    temperature: float = 0.5
    alpha: float = 4.0
    lambda_u: float = 30.0
    rampup: float = 16.0
    prior: float = 1.0
    lambda_c: float = 0.025
    contrast_temperature: float = 0.05
    projection: int = 128
    form: str = "paper"

    def start(self, run: Run) -> None:
        """A projection head on the features of each network, and room for divergences and the selection."""
        super().start(run)
        run.remember("divergence", fill=torch.nan)
        run.remember("kept", dtype=torch.bool)
        for i in range(self.nets):
            width = layers.last_linear(run.nets[i]).in_features
            run.attach(f"projection.{i}", partial(self.head, width))

    def head(self, width: int) -> nn.Module:
        """A projection of features."""
        if self.form == "code":
            return nn.Sequential(nn.Linear(width, self.projection), nn.BatchNorm1d(self.projection))
        return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, self.projection))

    def select_and_learn(self, run: Run) -> None:
        """Let each network learn from a fresh selection by both."""
        for i in range(self.nets):
            self.learn(run, i, self.select(run))

    def select(self, run: Run) -> Tensor:
        """Mask ``[N]`` of the labels to keep, from the divergence of label and mean prediction of both networks."""
        given = run.data.y >= 0
        classes = len(run.data.classes)

        def divergence(logits: Tensor, batch: Batch) -> Tensor:
            mean = (torch.softmax(logits, 1) + run.probs(1, batch.x)[0]) / 2
            return targets.jensen_shannon(mean, targets.one_hot(batch.y, classes))

        found = run.measure(0, divergence)[given]
        selection = selections.class_balanced(
            found * self.unit(), run.data.y[given], classes, tau=self.tau, d_mu=self.d_mu
        )
        run.remember("divergence")[given] = found.nan_to_num(1)
        run.remember("kept")[given] = selection.kept
        run.pin(run.remember("divergence"), 0.0)
        kept = run.pin(run.remember("kept"))
        run.log(threshold=selection.threshold, labelled=kept.sum())
        return kept

    def unit(self) -> float:
        """One bit, in the unit of the divergence."""
        return math.log(2) if self.form == "code" else 1.0

    def size_of_the_rest(self, run: Run) -> int | None:
        """Samples in a batch of the rest, ``B / 2R`` in the authors' code; None: B."""
        found = run.remember("divergence")[run.data.y >= 0].double() * self.unit()
        below = float((found < selections.divergence_cut(found, self.tau, self.d_mu)).double().mean())
        return max(1, int(run.plan.batch_size / (2 * below))) if self.form == "code" and below else None

    def learn(self, run: Run, i: int, kept: Tensor) -> None:
        """One pass of network ``i`` over the kept labels, with as many of the rest."""
        size = self.size_of_the_rest(run)
        for known, unknown in run.pairs(kept, ~kept, ("weak", "weak", "strong", "strong"), size_b=size):
            run.update(self.mixed_loss(run, i, known, unknown), i, f"projection.{i}")

    def mixed_loss(self, run: Run, i: int, known: Batch, unknown: Batch) -> Tensor:
        """Co-guess, co-refine, mix; ``L = L_X + lambda_u L_U + lambda_r L_reg + lambda_c L_C`` on a pair of batches."""
        own = run.probs(i, [*unknown.x[:2], *known.x[:2]], training=True)
        target_u = mixmatch.guess([*own[:2], *run.probs(1 - i, unknown.x[:2])], self.temperature)
        divergence = run.remember("divergence")[known.id]
        divergence = divergence * self.unit()
        weight = torch.where(divergence < 0.5, 1.0, 1 - divergence)
        given = targets.one_hot(known.y, target_u.shape[1])
        target_x = mixmatch.refine(given, weight, own[2:], self.temperature)
        mixed = mixmatch.mixmatch(known.x[2:], target_x, unknown.x[2:], target_u, alpha=self.alpha, generator=run.gen)
        parts = mixmatch.mixmatch_loss(run.logits(i, mixed.x), mixed, self.prior)
        loss = parts.labelled + parts.prior
        run.log(loss=parts.labelled)
        if len(unknown.id):
            contrast = targets.contrast(*self.projected(run, i, unknown.x[2:]), self.contrast_temperature)
            lambda_u = self.lambda_u * targets.ramp(run.progress, self.warmup_epochs(run), self.rampup)
            run.log(loss_u=parts.unlabelled, lambda_u=lambda_u, loss_c=contrast)
            loss = loss + lambda_u * parts.unlabelled + self.lambda_c * contrast
        return loss

    def projected(self, run: Run, i: int, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The projected features ``[B, F]`` of both views."""
        head = run.attached[f"projection.{i}"].net
        if self.form == "code" and len(views[0]) > 1:
            first, second = (head(run.features(i, view)[1]) for view in views)
        else:  # one view of one sample has no statistics of its own, and nothing to be told from
            first, second = head(run.features(i, torch.cat(list(views)))[1]).chunk(2)
        return first, second

    def judge(self, run: Run) -> Tensor:
        """Half from being kept, half from one minus the divergence."""
        return (run.remember("kept") + 1 - run.remember("divergence")) / 2
