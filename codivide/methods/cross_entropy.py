"""Plain training on the given labels: the baseline that every correction has to beat.

Off by default: label smoothing (Szegedy et al., CVPR 2016, arXiv:1512.00567), early stopping on held-out noisy labels.

Ours: held-out samples are every 1/share-th of a class, never its only one, and groups stay whole; weight averages are
judged and kept; the p(clean) of held-out samples comes from a mixture of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from codivide.methods._held_out import agreeing, divided_apart, hold_out, nobody
from codivide.noise.learning_curves import memorises
from codivide.training import targets
from codivide.training.run import Method, Run
from codivide.training.samples import Batch


@dataclass
class CrossEntropy(Method):
    """Cross-entropy on the given labels, one network.

    Attributes:
        label_smoothing: probability that is spread over all classes, in [0, 1].
        validation: share of the labelled samples that is held out to find the best epoch, at most 0.5; 0: none.
        patience: epochs without a better one on the held-out samples after which training ends; 0: never.
        until_memorised: also end when the network begins to memorise wrong labels.
        last_epoch: of those of the plan, after which nothing more is learned; 0: the plan's last.
        steps: batches of an epoch, all full, from labelled samples that start again as often as needed; None: one
            pass. So it sees as many samples as a semi-supervised method, and its weight average rises as there.
    """

    weighs: ClassVar[bool] = True
    paper: ClassVar[str] = "-"
    summary: ClassVar[str] = "plain training on the given labels (baseline)"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "label_smoothing": (0, 1),
        "validation": (0, 0.5),
        **dict.fromkeys(("patience", "last_epoch"), (0, math.inf)),
        "steps": (1, math.inf),
    }

    label_smoothing: float = 0.0
    validation: float = 0.0
    patience: int = 0
    until_memorised: bool = False
    last_epoch: int = 0
    steps: int | None = None

    def start(self, run: Run) -> None:
        """Choose who is held out, once, and make room for the best weights."""
        super().start(run)
        if self.validation:
            hold_out(run, self.validation)
            run.remember("best_agreed", dtype=torch.int64, per_sample=False, fill=-1)
            run.remember("best_epoch", dtype=torch.int64, per_sample=False)  # the first is 1
            run.attach("best.0", lambda: deepcopy(run.nets[0]))

    def holds_out(self) -> bool:
        """As ``validation`` says."""
        return self.validation > 0

    def held_out(self, run: Run) -> Tensor:
        """The samples ``[N]`` that are never trained on."""
        return run.remember("held_out") if self.validation else torch.zeros_like(run.ids).bool()

    def epoch(self, run: Run) -> None:
        """Train on what is not held out, and keep the weights if they are the best on what is."""
        held = self.held_out(run)
        if self.validation:
            nobody(run, held)
        if 0 < self.last_epoch <= run.epoch or (held.any() and self.ended(run, held)):
            run.log(stopped=1.0)
            return
        for batch in run.batches((run.data.y >= 0) & ~held, steps=self.steps):
            loss = self.loss(run, 0, batch)
            run.update(loss, 0)
            run.log(loss=loss)
        if held.any():
            self.judge(run, held)

    def ended(self, run: Run, held: Tensor) -> bool:
        """Whether the samples held out show that nothing more is to be gained."""
        if self.until_memorised and memorises(run.history, int(held.sum()), min(10, run.plan.epochs // 3)):
            return True
        return 0 < self.patience <= run.epoch - int(run.remember("best_epoch"))

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """Cross-entropy with the smoothed given labels."""
        logits = run.logits(i, batch.x[0])
        run.observe(batch, logits)
        run.log(training_accuracy=(logits.detach().argmax(1) == batch.y).float().mean())
        target = targets.smooth(targets.one_hot(batch.y, logits.shape[1]), self.label_smoothing)
        return run.mean(batch, targets.soft_cross_entropies(logits, target))

    @torch.no_grad()
    def judge(self, run: Run, held: Tensor) -> None:
        """Keep the classifier if it agrees with more held-out labels than any before."""
        agreed = int(agreeing(run, held).sum())
        run.log(validation_accuracy=agreed / int(held.sum()))
        if agreed > run.remember("best_agreed"):
            run.remember("best_agreed").fill_(agreed)
            run.remember("best_epoch").fill_(run.epoch + 1)
            run.attached["best.0"].net.load_state_dict(run.average(0).state_dict())

    def decay(self, run: Run) -> float:
        """The plan's decay of the weight average; with ``steps`` smaller at first, as in semi-supervised methods."""
        return targets.rising_decay(run.plan.average, run.step) if self.steps else run.plan.average

    def clean_prob(self, run: Run) -> Tensor:
        """As of every method; the held-out samples are divided by themselves."""
        return divided_apart(run, super().clean_prob(run), self.held_out(run))

    def members(self, run: Run) -> list[nn.Module]:
        """The best weights on the held-out samples, else the last."""
        return [run.attached["best.0"].net] if self.held_out(run).any() else super().members(run)
