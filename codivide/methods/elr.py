"""ELR, early-learning regularisation (Liu, Niles-Weed, Razavian, Fernandez-Granda; NeurIPS 2020, arXiv:2007.00151).

Kept from the reference code, not in the paper:
- probabilities are clamped to [1e-4, 1 - 1e-4], which keeps the logarithm finite; what the memory takes in is clamped
  and normalised again;
- the memory of a batch is brought up to date first and then used in that batch's loss, so it never lags.

Ours: samples without a label (-1) take part in the regulariser alone, which reads no label; the cross-entropy is the
mean over the labelled samples of a batch. The probability that a label is clean is the share that the memory gives to
it. All epochs see the same loss: there is no warm-up, because an empty memory makes the regulariser zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from codivide.training import targets
from codivide.training.run import Method, Run
from codivide.training.samples import Batch


@dataclass
class ELR(Method):
    """Cross-entropy, and a regulariser that holds each prediction to the average of its earlier ones.

    Attributes:
        lambda_elr: weight of the regulariser (lambda in the paper): 3 on CIFAR-10 (1 there for asymmetric noise), 7 on
            CIFAR-100.
        beta: decay of the memory of predictions, in [0, 1): 0.7 on CIFAR-10, 0.9 on CIFAR-100 and for asymmetric
            noise.
    """

    paper: ClassVar[str] = "arXiv:2007.00151"
    summary: ClassVar[str] = "cross-entropy held to a memory of early predictions; one network"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"lambda_elr": (0, math.inf), "beta": (0, 1 - 1e-6)}

    lambda_elr: float = 3.0
    beta: float = 0.7

    def start(self, run: Run) -> None:
        """Keep the memory of predictions, empty at first."""
        run.remember("target", len(run.data.classes))

    def epoch(self, run: Run) -> None:
        """Train on every sample once."""
        for batch in run.batches():
            run.update(self.loss(run, 0, batch), 0)

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """``L = CE + lambda mean log(1 - <t, p>)``, with the memory t brought up to date first."""
        logits = run.logits(i, batch.x[0])
        memory = run.remember("target")
        probs = torch.softmax(logits.detach(), 1)
        memory[batch.id] = target = targets.follow(memory[batch.id], probs, self.beta)
        cross_entropy = targets.sample_loss(logits, batch.y).sum() / (batch.y >= 0).sum().clamp_min(1)
        regulariser = targets.early_learning(logits, target)
        run.log(loss=cross_entropy, regulariser=regulariser)
        return cross_entropy + self.lambda_elr * regulariser

    def clean_prob(self, run: Run) -> Tensor:
        """The share that the memory gives to each label."""
        return targets.label_prob(run.remember("target"), run.data.y)
