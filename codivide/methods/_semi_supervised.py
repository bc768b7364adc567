"""What the semi-supervised methods share: steps, both streams of samples, ramps, the loss on labels.

Unlabelled samples are those with y = -1. With ``include_labelled`` the labelled ones are among them too, their labels
unseen there. That is not so in the reference code of MixMatch, nor in the published recipes. The published comparison
of the older methods comes from the reference code of MixMatch. Kept from it: Adam with 0.002, weights averaged, decay
of kernels alone. The weight of the unlabelled loss rises linearly over the first part of training. Running statistics
of batch normalisation are recorded on labelled batches alone. (MixMatch and FixMatch put all samples of a step
together, and record those.)

Ours: an epoch is a number of steps, both streams go on for ever and every batch is full. The decay of the weight
average rises to the plan's as ``(1 + t) / (10 + t)`` over updates t, so that a short run forgets its first weights. The
average covers the running statistics of batch normalisation (theirs: weights alone). A moved image is padded with black
(theirs: with its own mirrored border).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from codivide.core.errors import option
from codivide.training import layers, targets
from codivide.training.run import Method, Run
from codivide.training.samples import Batch


@dataclass
class SemiSupervised(Method):
    """One network, a loss on labelled samples and one on unlabelled samples: ``L = L_X + w(t) L_U``.

    Attributes:
        steps: batches of an epoch; None: as many as all samples, labelled or not, fill once.
        ratio: unlabelled samples for each labelled one in a step.
        include_labelled: whether labelled samples are among the unlabelled ones as well.
        weight: of the unlabelled loss, once it has risen.
        rampup: share of training over which the weight rises from 0.
    """

    semi_supervised: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "steps": (1, math.inf),
        "ratio": (1, 99),
        "weight": (0, math.inf),
        "rampup": (0, 1),
    }
    settings: ClassVar[Mapping[str, Any]] = {
        "optimizer": "adamw",
        "lr": 0.002,
        "weight_decay": 0.02,
        "decayed": "kernels",
        "schedule": "constant",
        "average": 0.999,
    }

    steps: int | None = None
    ratio: int = 1
    include_labelled: bool = True
    weight: float = 1.0
    rampup: float = 0.4

    def epoch(self, run: Run) -> None:
        """Steps of one labelled and one unlabelled batch each."""
        for known, unknown in self.both(run):
            run.update(self.pair_loss(run, known, unknown), 0)
        self.check_sure(run)

    def check_sure(self, run: Run) -> None:
        """Warn where a whole epoch had no unlabelled sample that the network was sure enough of."""
        if run.logged("sure") == 0:
            run.warn(
                "sure",
                f"no unlabelled sample passed the threshold of {getattr(self, 'threshold', 1)} in this whole epoch, so "
                f"that nothing was learned from them. Where that goes on, lower it ({option('threshold')}), or give "
                "more labels or epochs",
            )

    def pair_loss(self, run: Run, known: Batch, unknown: Batch) -> Tensor:
        """``L_X + w(t) L_U`` of one pair of batches."""
        labelled = self.labelled_loss(run, known)
        run.log(loss=labelled)
        return labelled + self.unlabelled_loss(run, unknown, self.weight_now(run)) if len(unknown.id) else labelled

    def both(self, run: Run) -> Iterator[tuple[Batch, Batch]]:
        """The pairs of an epoch; the second of a pair is empty where there is nothing unlabelled."""
        labelled = run.data.y >= 0
        pool = torch.ones_like(labelled) if self.include_labelled else ~labelled
        self.check(run, labelled)
        size = self.ratio * run.plan.batch_size
        yield from run.pairs(labelled, pool, steps=self.steps_of(run), size_b=size, views_b=self.views())

    def views(self) -> tuple[str, ...]:
        """The views that a step needs of each unlabelled sample."""
        return ("weak",)

    def check(self, run: Run, labelled: Tensor) -> None:
        """Warn of what can hardly work."""
        count = torch.bincount(run.data.y[labelled], minlength=len(run.data.classes))
        total = int(count.sum())
        missing = int((count == 0).sum())
        if total < len(count):
            run.warn("labels", f"{total} labels for {len(count)} classes; what has no label cannot be learned")
        elif missing:
            run.warn("labels", f"{missing} of {len(count)} classes have no label and cannot be learned")
        if 0 < total < run.plan.batch_size:
            run.warn("batch", f"{total} labels for batches of {run.plan.batch_size}: they repeat within a batch")
        if labelled.all():
            used = "they are the unlabelled part as well" if self.include_labelled else "training on the labels alone"
            run.warn("unlabelled", f"every sample has a label; {used}")

    def steps_of(self, run: Run) -> int:
        """How many steps an epoch has."""
        return self.steps or math.ceil(len(run.data) / run.plan.batch_size)

    def weight_now(self, run: Run) -> float:
        """w(t): the weight of the unlabelled loss at this moment."""
        return self.weight * targets.ramp(run.progress, 0, self.rampup * run.plan.epochs)

    def labelled_loss(self, run: Run, known: Batch) -> Tensor:
        """Cross-entropy of the labelled samples; keeps each one's for ``clean_prob``."""
        return run.observe(known, run.logits(0, known.x[0])).mean()

    def unlabelled_loss(self, run: Run, unknown: Batch, weight: float) -> Tensor:
        """``w(t) L_U``, and what else a method asks of unlabelled samples."""
        raise NotImplementedError

    def logits(self, run: Run, x: Tensor) -> Tensor:
        """Logits ``[B, C]`` of unlabelled samples; batch normalisation uses their statistics and records none."""
        with layers.untracked(run.nets[0]):
            return run.logits(0, x)

    @torch.no_grad()
    def look(self, run: Run) -> None:
        """Keep the cross-entropy of every labelled sample as it is, for methods that train on mixtures."""
        run.mode(0, training=False)
        for ids in torch.split((run.data.y >= 0).nonzero().flatten().cpu(), run.plan.evaluation_batch):
            batch = run.fetch(ids, ("plain",))
            run.observe(batch, run.logits(0, batch.x[0]))
        run.mode(0, training=True)

    def decay(self, run: Run) -> float:
        """The plan's decay of the weight average, smaller at first."""
        return targets.rising_decay(run.plan.average, run.step)
