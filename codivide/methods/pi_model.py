"""Pi-Model (Laine, Aila; ICLR 2017, arXiv:1610.02242; before: Sajjadi, Javanmardi, Tasdizen; NeurIPS 2016).

Kept from the reference code, not in the paper:
- weight and ramp are those of the comparison in the MixMatch paper: 20 on CIFAR-10 (5 on SVHN), rising linearly over
  the first 40 % of training. (The paper: along a Gaussian over 80 of 300 epochs.)
- the squared difference is a mean over classes, too;
- ``stop_gradient``: one prediction is a target without a gradient, half the force of the equation as written;
  the weight of 20 was published with it.

Ours: unless ``stop_gradient`` is on, the gradient goes through both predictions, as the equation is written. Labelled
samples are among the unlabelled ones, as in the paper. See also ``_semi_supervised.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from codivide.methods._semi_supervised import SemiSupervised
from codivide.training import targets
from codivide.training.run import Run
from codivide.training.samples import Batch


@dataclass
class PiModel(SemiSupervised):
    """Two views of a sample, and two draws of dropout, shall be predicted alike.

    Attributes:
        weight: of the squared difference, once it has risen.
        stop_gradient: one of the two predictions is a target without a gradient.
    """

    paper: ClassVar[str] = "arXiv:1610.02242"
    summary: ClassVar[str] = "semi-supervised: two views of a sample are predicted alike"

    weight: float = 20.0
    stop_gradient: bool = False

    def views(self) -> tuple[str, ...]:
        """Two weak ones."""
        return ("weak", "weak")

    def unlabelled_loss(self, run: Run, unknown: Batch, weight: float) -> Tensor:
        """``w(t) ||p(x') - p(x'')||^2 / C``."""
        first, second = (self.logits(run, x) for x in unknown.x)
        second = second.detach() if self.stop_gradient else second
        loss = targets.squared_error(first, torch.softmax(second, 1))
        run.log(loss_u=loss, weight=weight)
        return weight * loss
