"""CoDivide, the deep default: one network, its weight average, and a memory of what that predicted. Ours; no paper.

Parts that others have published:
- a network learns the truth before it memorises wrong labels, so its early, averaged predictions are targets (ELR, Liu
  et al. 2020); the weight average makes them (Mean Teacher, Tarvainen and Valpola 2017), as the peer of the network;
- two components of the losses tell clean labels from wrong ones (Arazo et al. 2019; DivideMix, Li et al. 2020), here on
  the loss of the memory, which has averaged views and epochs;
- soft targets between label and prediction by p(clean) (M-correction, Arazo et al. 2019; co-refinement, DivideMix);
- mixing of samples and targets (mixup, Zhang et al. 2018); one cycle of the learning rate (Smith and Topin 2018).

What is left out, against DivideMix: the second network, guesses on several views in every step, sharpening, the loss on
guesses with its weight, and training of the same network twice. So an epoch costs a third more than plain training.

The first epochs are plain training, which serves as the scout: nothing of it is trained again. Samples without a label
(-1) join when the targets do; theirs is the memory alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from codivide.noise import mixtures
from codivide.training import mixing, targets
from codivide.training.run import Batch, Method, Run

_LEAST = 0.5  # p(clean) that a class has somewhere, or it is divided by itself


@dataclass
class CoDivide(Method):
    """Remember what the weight average predicts, divide by the loss of that memory, learn soft targets.

    Attributes:
        scout: share of the epochs that are plain training, in [0, 1]; 1: all.
        beta: decay of the memory, in [0, 1).
        alpha: of the Beta distribution of mixing shares, once labels are divided; 0: no mixing.
    """

    sets_aside: ClassVar[bool] = True
    paper: ClassVar[str] = "-"
    summary: ClassVar[str] = "one network and its average: remember, divide, learn soft targets (ours)"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "scout": (0, 1),
        "beta": (0, 1 - 1e-6),
        "alpha": (0, math.inf),
    }
    settings: ClassVar[Mapping[str, Any]] = {
        "schedule": "one_cycle",
        "lr": 0.1,
        "nesterov": True,
        "average": 0.999,
    }

    scout: float = 0.3
    beta: float = 0.7
    alpha: float = 1.0

    def start(self, run: Run) -> None:
        """An empty memory; every label is its sample's target."""
        super().start(run)
        classes = len(run.data.classes)
        run.remember("memory", classes)
        run.remember("clean_prob", fill=torch.nan)
        run.remember("target", classes).copy_(targets.one_hot(run.data.y, classes))

    def epoch(self, run: Run) -> None:
        """Remember; divide, once the scout has ended; learn."""
        if run.epoch > 1:
            self.recall(run)
        scouting = run.epoch < self.scout_epochs(run)
        if not scouting:
            self.divide(run)
        for batch in run.batches(run.data.y >= 0 if scouting else None):
            loss = self.loss(run, 0, batch) if scouting else self.mixed_loss(run, batch)
            run.update(loss, 0)
            run.log(loss=loss)

    def scout_epochs(self, run: Run) -> int:
        """Epochs of plain training: at least 2, so that there is something to remember."""
        return max(round(self.scout * run.plan.epochs), 2)

    def decay(self, run: Run) -> float:
        """The weight average reaches back two epochs, or a tenth of the run where that is less."""
        steps = math.ceil(len(run.data) / run.plan.batch_size)
        reach = max(min(2 * steps, steps * run.plan.epochs / 10), 1.0)
        return min(run.plan.average, reach / (reach + 1))

    def recall(self, run: Run) -> None:
        """``m <- beta m + (1 - beta) p``, p the average's prediction on every sample as it is."""
        memory = run.remember("memory")
        probs = run.measure(0, lambda logits, batch: torch.softmax(logits, 1), average=True)
        memory.copy_(targets.follow(memory, probs, self.beta))

    def divide(self, run: Run) -> None:
        """p(clean) w by a mixture on ``-log m_y``; the target is ``w y + (1 - w) m``, without a label m."""
        memory = run.remember("memory")
        memory = memory / memory.sum(1, keepdim=True)
        given = run.data.y >= 0
        labels, classes = run.data.y[given], len(run.data.classes)
        loss = -targets.label_prob(memory[given], labels).log()
        division = mixtures.gmm(loss)
        restored = mixtures.restore_classes(division.clean_prob, loss, labels, classes, _LEAST)
        clean_prob = run.remember("clean_prob")
        clean_prob[given] = restored.clean_prob
        run.pin(clean_prob)
        trust = clean_prob.nan_to_num(0.0).unsqueeze(1)
        run.remember("target").copy_(memory.lerp(targets.one_hot(run.data.y, classes), trust))
        run.log(wrong=1 - clean_prob[given].mean(), separates=float(division.separates))

    def mixed_loss(self, run: Run, batch: Batch) -> Tensor:
        """Cross-entropy of mixed samples on mixed targets: ``l ~ Beta(alpha, alpha)``, one for the batch."""
        share = float(mixing.shares(self.alpha, 2, run.gen)[0].max())
        order = mixing.shuffled(torch.zeros_like(batch.y), run.gen)
        mixed, target = targets.mixup(batch.x[0], run.remember("target")[batch.id], share, order)
        return targets.soft_cross_entropy(run.logits(0, mixed), target)

    def clean_prob(self, run: Run) -> Tensor:
        """By the last division; before the first one, by a mixture on the losses seen."""
        return run.remember("clean_prob").clone() if run.epoch > self.scout_epochs(run) else super().clean_prob(run)
