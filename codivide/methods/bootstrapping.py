"""Bootstrapping (Reed, Lee, Anguelov, Szegedy, Erhan, Rabinovich; ICLR 2015 workshop, arXiv:1412.6596).

Kept from the reference code, not in the paper: nothing; there is none.

Ours:
- the soft target carries a gradient, which the paper does not say in so many words. Only then is the loss what the
  paper says it is, cross-entropy with a minimum-entropy term. With a constant target the second term has no gradient;
- the network starts from random weights. Where the paper starts from a trained network, ``warmup`` epochs of plain
  training stand for it;
- samples without a label are not used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from codivide.training import targets
from codivide.training.run import Method, Run
from codivide.training.samples import Batch


@dataclass
class Bootstrapping(Method):
    """Cross-entropy against a fixed mix of the given label and the network's own prediction, one network.

    Attributes:
        hard: the prediction is its argmax (one-hot); otherwise the probabilities.
        beta: weight of the given label; None: 0.8 if hard, otherwise 0.95, as in the paper.
        warmup: epochs of plain training first.
    """

    weighs: ClassVar[bool] = True
    paper: ClassVar[str] = "arXiv:1412.6596"
    summary: ClassVar[str] = "cross-entropy on a fixed mix of given label and prediction"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"beta": (0, 1), "warmup": (0, math.inf)}

    hard: bool = True
    beta: float | None = None
    warmup: int = 0

    def label_weight(self, run: Run) -> float:
        """The weight of the given label now."""
        if run.epoch < self.warmup:
            return 1.0
        if self.beta is not None:
            return self.beta
        return 0.8 if self.hard else 0.95

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """``H(beta y + (1 - beta) q, p)``; keeps each sample's cross-entropy for ``clean_prob``."""
        logits = run.logits(i, batch.x[0])
        run.observe(batch, logits)
        loss = targets.bootstrap_loss(logits, batch.y, self.label_weight(run), hard=self.hard)
        return run.mean(batch, loss)
