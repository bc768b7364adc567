"""What MentorNet and MentorMix share: weights for the samples of a batch from a curriculum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from codivide.core.device import onto
from codivide.core.errors import InputError
from codivide.methods import _mentor_net as mentor
from codivide.training.run import Method, Run
from codivide.training.samples import Batch

_BURN_IN = 0.18  # share of training in which the published mentors give every sample weight 1
_REFRESHED = (0.21, 0.75)  # shares of training after which a learned mentor is fitted again, as published


@dataclass
class Mentored(Method):
    """One network whose samples are weighted by a curriculum.

    Attributes:
        curriculum: "predefined", "learned" (fitted to the predefined weights), or a file that ``Mentor.save`` wrote.
        warmup: epochs in which every weight is 1 (burn-in); None: 18 % of all.
        percentile: of a batch's losses, the threshold of the curriculum; None: the share of labels that look clean.
        percentile_decay: of the moving average of that percentile.
        slope: width of losses over which a predefined weight falls from 1 to 0; 0: a step.
        slope_from: share of training from which on that slope holds; before, it is a step.
        sample_dropout: "rate,percent,...": the share of a batch whose weights are dropped, over percents of training.
    """

    sets_aside: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "warmup": (0, math.inf),
        "percentile": (0, 1),
        "percentile_decay": (0, 0.999),
        "slope": (0, math.inf),
        "slope_from": (0, 1),
    }

    curriculum: str = "predefined"
    warmup: int | None = None
    percentile: float | None = 0.75
    percentile_decay: float = 0.5
    slope: float = 0.0
    slope_from: float = 0.0
    sample_dropout: str = "0,100"

    def __post_init__(self) -> None:
        super().__post_init__()
        mentor.parse_schedule(self.sample_dropout)
        if self.curriculum not in ("predefined", "learned") and not self.curriculum.endswith(".safetensors"):
            raise InputError(f"curriculum {self.curriculum!r} is not predefined, learned or a .safetensors file")

    def start(self, run: Run) -> None:
        """Keep each sample's last loss, the moving percentiles and the mentor."""
        super().start(run)
        run.remember(mentor.LOSSES, fill=math.nan)
        for name in ("", ".mixed"):
            run.remember(mentor.THRESHOLD + name, per_sample=False, fill=math.nan)
        run.remember("percentile", per_sample=False, fill=0.75 if self.percentile is None else self.percentile)
        if self.curriculum == "learned":
            run.attach("mentor", mentor.Mentor)
        elif self.curriculum != "predefined":
            run.attach("mentor", lambda: mentor.Mentor.load(Path(self.curriculum)).for_classes(len(run.data.classes)))

    def warmup_epochs(self, run: Run) -> int:
        """Epochs in which every sample has weight 1; a learned mentor needs at least one."""
        epochs = round(_BURN_IN * run.plan.epochs) if self.warmup is None else self.warmup
        return max(epochs, 1) if self.curriculum == "learned" else epochs

    def prepare(self, run: Run) -> None:
        """At the start of an epoch: estimate the percentile, fit a learned mentor when it is time."""
        if self.percentile is None and run.epoch > 0:
            run.remember("percentile", per_sample=False).copy_(Method.clean_prob(self, run)[run.data.y >= 0].mean())
        first = self.warmup_epochs(run)
        again = [round(share * run.plan.epochs) for share in _REFRESHED]
        if self.curriculum == "learned" and (run.epoch == first or (run.epoch > first and run.epoch in again)):
            held = run.remember(mentor.LOSSES)
            z, targets = mentor.predefined_table(held, self.slope, run.gen, slope_from=self.slope_from)
            run.log(mentor_error=mentor.fit_mentor(self.mentor(run), z, targets, run.gen))

    @staticmethod
    def mentor(run: Run) -> mentor.Mentor:
        """The attached mentor of a run that has one."""
        net = run.attached["mentor"].net
        assert isinstance(net, mentor.Mentor)
        return net

    def weights(self, run: Run, batch: Batch, losses: Tensor, average: str = "") -> Tensor:
        """Weights ``[B]`` in [0, 1] of a batch with these losses; moves the percentile's average on."""
        threshold = run.remember(mentor.THRESHOLD + average, per_sample=False)
        percentile = float(run.remember("percentile", per_sample=False))
        threshold.fill_(mentor.moving_percentile(float(threshold), losses, percentile, self.percentile_decay))
        if run.epoch < self.warmup_epochs(run):
            weights = torch.ones_like(losses.detach())
        elif self.curriculum == "predefined":
            slope = self.slope if run.progress / run.plan.epochs >= self.slope_from else 0.0
            weights = mentor.predefined_weights(losses.detach() - threshold, slope)
        else:
            z = mentor.features(losses, float(threshold), batch.y, run.progress / run.plan.epochs)
            weights = self.mentor(run).weights(z)
        return self.drop(run, weights.masked_fill(run.confirmed[batch.id], 1.0))

    def drop(self, run: Run, weights: Tensor) -> Tensor:
        """Set the scheduled share of the weights, chosen at random, to 0."""
        schedule = mentor.parse_schedule(self.sample_dropout)
        kept = 1 - mentor.scheduled(schedule, run.progress / run.plan.epochs)
        if kept < 1:
            order = torch.randperm(len(weights), generator=run.gen)
            weights = weights.clone()
            weights.index_fill_(0, onto(order[math.floor(kept * len(weights) + 1e-6) :], weights.device), 0.0)
        run.log(weight=weights.mean())
        return weights
