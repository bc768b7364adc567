"""Symmetric cross-entropy (Wang, Ma, Chen, Luo, Yi, Bailey; ICCV 2019, arXiv:1908.06112).

Kept from the reference code, not in the paper: nothing. It clips the one-hot label at 1e-4, which is
``log_zero`` = -9.2, where the paper's A is -4.

Ours: nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from codivide.training import losses
from codivide.training.run import Method, Run
from codivide.training.samples import Batch


@dataclass
class SCE(Method):
    """Cross-entropy, to learn fast, and reverse cross-entropy, which wrong labels do not bend.

    Attributes:
        alpha: weight of cross-entropy (6 on CIFAR-100).
        beta: weight of reverse cross-entropy (0.1 on CIFAR-100).
        log_zero: what stands for log 0 in reverse cross-entropy, below 0.
    """

    weighs: ClassVar[bool] = True
    paper: ClassVar[str] = "arXiv:1908.06112"
    summary: ClassVar[str] = "cross-entropy plus reverse cross-entropy"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "alpha": (0, math.inf),
        "beta": (0, math.inf),
        "log_zero": (-100, -1e-6),
    }

    alpha: float = 0.1
    beta: float = 1.0
    log_zero: float = -4.0

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """The mean of ``alpha CE + beta RCE``."""
        logits = run.logits(i, batch.x[0])
        run.observe(batch, logits)
        loss = losses.symmetric_cross_entropy(logits, batch.y, self.alpha, self.beta, self.log_zero)
        return run.mean(batch, loss)
