"""Active-passive loss (Ma, Huang, Wang, Romano, Erfani, Bailey; ICML 2020, arXiv:2006.13554).

Kept from the reference code, not in the paper: nothing. It computes the absolute error as ``1 - p``, half of the
paper's, and reverse cross-entropy with ``log_zero`` = -9.2; it also clips gradients at norm 5, which we do not.

Ours: nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from codivide.training import losses
from codivide.training.run import Method, Run
from codivide.training.samples import Batch


@dataclass
class ActivePassive(Method):
    """Normalised cross-entropy, which raises the label's probability, and a loss that lowers the others'.

    Attributes:
        alpha: weight of normalised cross-entropy (10 on CIFAR-100).
        beta: weight of the passive loss (on CIFAR-100 0.1 for rce, 1 for mae).
        passive: rce (reverse cross-entropy) or mae (absolute error).
        log_zero: what stands for log 0 in reverse cross-entropy, below 0.
    """

    weighs: ClassVar[bool] = True
    paper: ClassVar[str] = "arXiv:2006.13554"
    summary: ClassVar[str] = "normalised cross-entropy plus reverse cross-entropy or absolute error"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "alpha": (0, math.inf),
        "beta": (0, math.inf),
        "log_zero": (-100, -1e-6),
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"passive": ("rce", "mae")}
    settings: ClassVar[Mapping[str, Any]] = {"weight_decay": 1e-4, "schedule": "cosine"}

    alpha: float = 1.0
    beta: float = 1.0
    passive: str = "rce"
    log_zero: float = -4.0

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """The mean of ``alpha NCE + beta passive``."""
        logits = run.logits(i, batch.x[0])
        run.observe(batch, logits)
        if self.passive == "mae":
            passive = losses.absolute_error(logits, batch.y)
        else:
            passive = losses.reverse_cross_entropy(logits, batch.y, self.log_zero)
        active = losses.normalised_cross_entropy(logits, batch.y)
        return run.mean(batch, self.alpha * active + self.beta * passive)
