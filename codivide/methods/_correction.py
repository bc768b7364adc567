"""What forward and backward correction share: a transition matrix that is given, or estimated after a warm-up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from codivide.noise import synthetic
from codivide.noise import transition as transitions
from codivide.training.run import Method, Run
from codivide.training.samples import Batch

_WARMUP_UPDATES = 1500  # with a tenth of them a network fits so little that every row of the estimate is nearly flat
_FILTERED_CLASSES = 33  # with more, a class is less than the 3 % of the samples that a percentile of 97 leaves out


@dataclass
class Correction(Method):
    """A loss corrected by a transition matrix; subclasses say how, in ``corrected``.

    Attributes:
        transition: the matrix if it is known (row = true class, column = given): a noise such as symmetric:0.5, or a
            .csv or .npy file; None: estimated.
        estimate: how: percentile or anchor (predictions for one sure sample of each class), or confident_joint.
        percentile: of the estimate of that name, in (0, 100]; None: 97, or 100 with more than 33 classes.
        warmup: epochs of cross-entropy before the estimate; None: 10, or more for 1500 updates, but at most a third
            of all.
        restart: begin again from new weights after the estimate.
    """

    weighs: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"percentile": (1, 100), "warmup": (1, math.inf)}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"estimate": ("percentile", "anchor", "confident_joint")}

    transition: str | None = None
    estimate: str = "percentile"
    percentile: float | None = None
    warmup: int | None = None
    restart: bool = True

    def warmup_epochs(self, run: Run) -> int:
        """Epochs of cross-entropy before the matrix is known."""
        if self.transition is not None:
            return 0
        if self.warmup is not None:
            return self.warmup
        batches = math.ceil(int((run.data.y >= 0).sum()) / run.plan.batch_size)
        return max(1, min(max(10, math.ceil(_WARMUP_UPDATES / batches)), run.plan.epochs // 3))

    def matrix(self, run: Run) -> Tensor:
        """The matrix in use, ``[C, C]``; 0 until it is known."""
        classes = len(run.data.classes)
        return run.remember("transition", classes, classes, per_sample=False)

    def use(self, run: Run, matrix: Tensor) -> None:
        """Take this matrix from now on."""
        self.matrix(run).copy_(matrix)

    def start(self, run: Run) -> None:
        """Read the matrix where there is one."""
        super().start(run)
        self.matrix(run)
        if self.transition is not None:
            matrix = synthetic.matrix_of(synthetic.parse(self.transition), run.data.classes)
            self.use(run, torch.from_numpy(matrix).float().to(run.device))

    def estimated(self, run: Run) -> Tensor:
        """The matrix by the predictions of the network as it is, over all samples in evaluation mode."""
        probs = run.measure(0, lambda logits, batch: torch.softmax(logits, 1))
        given = run.data.y
        classes = len(run.data.classes)
        if self.estimate == "confident_joint":
            matrix = transitions.normalise(transitions.confident_joint(probs, given))
        elif self.estimate == "anchor":
            matrix = transitions.anchor(probs)
        else:
            few = 97.0 if classes <= _FILTERED_CLASSES else 100.0
            matrix = transitions.anchor(probs, few if self.percentile is None else self.percentile)
        missing = torch.bincount(given[given >= 0], minlength=classes) == 0
        matrix[missing] = torch.eye(classes, device=run.device)[missing]
        return matrix

    def epoch(self, run: Run) -> None:
        """Cross-entropy; after the warm-up the matrix is estimated once, then the corrected loss."""
        if self.transition is None and run.epoch == self.warmup_epochs(run):
            self.use(run, self.estimated(run))
            if self.restart:
                run.reset(0)
        super().epoch(run)
        if self.known(run):
            run.log(transition_diagonal=self.matrix(run).diagonal().mean())

    def known(self, run: Run) -> bool:
        """Whether there is a matrix by now."""
        return bool(self.matrix(run).any())

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """Cross-entropy during the warm-up, then the corrected loss."""
        logits = run.logits(i, batch.x[0])
        plain = run.observe(batch, logits)
        if run.epoch < self.warmup_epochs(run):
            return run.mean(batch, plain)
        return run.mean(batch, self.corrected(run, logits, batch.y))

    def corrected(self, run: Run, logits: Tensor, labels: Tensor) -> Tensor:
        """The corrected loss of each sample, ``[B]``."""
        raise NotImplementedError
