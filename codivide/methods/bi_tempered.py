"""Bi-tempered logistic loss (Amid, Warmuth, Anil, Koren; NeurIPS 2019, arXiv:1906.03361).

Kept from the reference code, not in the paper: label smoothing divides its share among the other classes.

Ours: Newton's method finds the normalisation (the paper has a fixed-point iteration). The classifier is the argmax
of the logits, which the tempered softmax shares; probabilities are those of the ordinary softmax, as for all methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from codivide.training import losses
from codivide.training.run import Method, Run
from codivide.training.samples import Batch


@dataclass
class BiTempered(Method):
    """Cross-entropy with a tempered logarithm, which is bounded, and a tempered softmax, which has a heavy tail.

    Attributes:
        t1: temperature of the logarithm; lower bounds the loss of far outliers more.
        t2: temperature of the softmax; higher lets labels near the boundary be wrong.
        smoothing: share of a label that the other classes divide.
    """

    weighs: ClassVar[bool] = True
    paper: ClassVar[str] = "arXiv:1906.03361"
    summary: ClassVar[str] = "cross-entropy with tempered logarithm and softmax"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"t1": (0, 1), "t2": (1, 10), "smoothing": (0, 0.99)}

    t1: float = 0.8
    t2: float = 1.2
    smoothing: float = 0.0

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """The mean bi-tempered loss."""
        logits = run.logits(i, batch.x[0])
        run.observe(batch, logits)
        return run.mean(batch, losses.bi_tempered(logits, batch.y, self.t1, self.t2, self.smoothing))
