"""SOP+ (Liu, Zhu, Qu, You; ICML 2022, arXiv:2202.14026): SOP with consistency of two views and class balance.

Kept from the reference code, not in the paper:
- the prediction on the weak view is a target without a gradient; both views are one forward.

Ours: ``lr_u`` is 1 everywhere, their value for CIFAR-100 (theirs for CIFAR-10, 10, is in the recipes). The balance is
that of the mean of p, not of the mean of the normalised p + s (which is near the given labels). Samples without a
label take part in both further terms. What ``sop`` lists holds too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from codivide.methods._over_parameterised import OverParameterised
from codivide.training import targets
from codivide.training.run import Run
from codivide.training.samples import Batch


@dataclass
class SOPPlus(OverParameterised):
    """SOP, and a strong view must be predicted like the weak one, and the mean prediction stays near uniform.

    Attributes:
        lr_u: learning rate of u, which raises the given label: 10 on CIFAR-10, 1 on CIFAR-100.
        lr_v: learning rate of v, which lowers the others: 10, or 100 for asymmetric noise.
        init: u and v at the start; None: 1e-8 for 300 epochs of batches of 128, larger in shorter runs.
        consistency: weight of the divergence between the two views' predictions.
        balance: weight of the divergence of the mean prediction from uniform.
    """

    paper: ClassVar[str] = "arXiv:2202.14026"
    summary: ClassVar[str] = "SOP with consistency of a weak and a strong view and balanced predictions"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **OverParameterised.limits,
        **dict.fromkeys(("consistency", "balance"), (0, math.inf)),
    }
    views: ClassVar[tuple[str, ...]] = ("weak", "strong")

    consistency: float = 0.9
    balance: float = 0.1

    def learned_from(self, run: Run) -> Tensor:
        """All samples: the two further terms need no label."""
        return torch.ones_like(run.data.y, dtype=torch.bool)

    def noise_loss(self, run: Run, batch: Batch, u: Tensor, v: Tensor) -> Tensor:
        """``L_SOP + lambda_C KL(p_weak || p_strong) + lambda_B KL(uniform || mean p)``; both views are one forward."""
        weak, strong = run.logits(0, torch.cat(batch.x)).chunk(2)
        loss = self.fit_noise(run, batch, weak, u, v)
        loss = loss + self.consistency * targets.prediction_kl(weak, strong)
        return loss + self.balance * targets.prior_kl(torch.softmax(weak, 1))
