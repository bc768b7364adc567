"""Entropy minimisation (Grandvalet, Bengio; NeurIPS 2004): predictions on unlabelled samples shall be sure.

Kept from the reference code, not in the paper:
- the weight 0.06 is that of the entropy term of VAT in the comparison in the MixMatch paper (this paper chooses it by
  cross-validation).

Ours: deep networks and optimiser (the paper: logistic regression). No ramp, and labelled samples are not among the
unlabelled ones, as in the paper. See also ``_semi_supervised.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from codivide.methods._semi_supervised import SemiSupervised
from codivide.training import targets
from codivide.training.run import Run
from codivide.training.samples import Batch


@dataclass
class EntropyMinimisation(SemiSupervised):
    """Cross-entropy on labelled samples, entropy on unlabelled ones.

    Attributes:
        weight: of the entropy.
    """

    paper: ClassVar[str] = "Grandvalet, NeurIPS 2004"
    summary: ClassVar[str] = "semi-supervised: be sure of unlabelled samples"

    include_labelled: bool = False
    weight: float = 0.06
    rampup: float = 0.0

    def unlabelled_loss(self, run: Run, unknown: Batch, weight: float) -> Tensor:
        """``w H(p) = -w mean of sum_c p_c log p_c``."""
        loss = -targets.confidence_penalty(self.logits(run, unknown.x[0]))
        run.log(loss_u=loss, weight=weight)
        return weight * loss
