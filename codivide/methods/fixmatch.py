"""FixMatch (Sohn, Berthelot, Li, Zhang, Carlini, Cubuk, Kurakin, Zhang, Raffel; NeurIPS 2020, arXiv:2001.07685).

Kept from the reference code, not in the paper:
- one forward for labelled, weak and strong samples, so that batch normalisation sees them together; the average of
  weights (0.999) classifies; decay of kernels alone.

Ours: two unlabelled samples for each labelled one (mu, ``ratio``; 7 in the paper), which a CPU can afford. Strong views
are the package's (RandAugment and cutout for photos). See also ``_semi_supervised.py``, but for the optimiser, which is
this paper's: SGD with Nesterov momentum, 0.03, falling along ``cos(7 pi t / 16)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from codivide.methods._semi_supervised import SemiSupervised
from codivide.training import targets
from codivide.training.run import Run
from codivide.training.samples import Batch


@dataclass
class FixMatch(SemiSupervised):
    """What the network is sure of on a weak view is the label of a strong one.

    Attributes:
        weight: of the loss on strong views.
        threshold: least probability of a class that becomes a label.
        cosine: multiply the plan's learning rate by the cosine of pi times this times the share of training done; 0:
            do not.
    """

    paper: ClassVar[str] = "arXiv:2001.07685"
    summary: ClassVar[str] = "semi-supervised: sure on a weak view, so learn the strong one"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **SemiSupervised.limits,
        "threshold": (0, 1),
        "cosine": (0, 0.5),
    }
    settings: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.03,
        "nesterov": True,
        "weight_decay": 5e-4,
        "decayed": "kernels",
        "schedule": "constant",
        "average": 0.999,
    }

    ratio: int = 2
    rampup: float = 0.0
    threshold: float = 0.95
    cosine: float = 7 / 16

    def views(self) -> tuple[str, ...]:
        """A weak and a strong one."""
        return ("weak", "strong")

    def pair_loss(self, run: Run, known: Batch, unknown: Batch) -> Tensor:
        """``H(y, p(weak x)) + lambda mean of 1[max q >= t] H(argmax q, p(strong u))``, ``q = p(weak u)``."""
        logits = run.logits(0, torch.cat([known.x[0], *unknown.x]))
        own = logits[: len(known.id)]
        rest = logits[len(known.id) :]
        labelled = run.observe(known, own).mean()
        run.log(loss=labelled)
        if not len(unknown.id):
            return labelled
        weak, strong = rest.chunk(2)
        probs = torch.softmax(weak.detach(), 1)
        weight = self.weight_now(run)
        loss = targets.pseudo_label_loss(strong, probs, self.threshold)
        run.log(loss_u=loss, weight=weight, sure=(probs.amax(1) >= self.threshold).float().mean())
        return labelled + weight * loss

    def rate(self, run: Run) -> float:
        """The plan's learning rate times ``cos(7 pi t / 16)``."""
        return super().rate(run) * math.cos(self.cosine * math.pi * min(run.progress / run.plan.epochs, 1.0))
