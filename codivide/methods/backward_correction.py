"""Backward loss correction (Patrini, Rozza, Menon, Nock, Qu; CVPR 2017, arXiv:1609.03683).

Kept from the reference code, not in the paper:
- anchors are sought among all training samples, with the 97th percentile except on CIFAR-100; rows are normalised;
- the corrected network starts from new weights;
- probabilities are clipped at 1e-7 in the loss.

Ours: the estimate is made after a warm-up, before wrong labels are memorised. (The paper trains to the end and keeps
the epoch that validates best.) Both stages share the epochs of the plan. A class without a label gets the row of the
identity. The confident joint (Northcutt et al. 2021, arXiv:1911.00068) is an option, on in-sample predictions. Where
the matrix is nearly singular, as much of the identity is mixed in as makes its condition number at most 100; the run
warns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from codivide.methods._correction import Correction
from codivide.noise import transition
from codivide.training import losses
from codivide.training.run import Run


@dataclass
class BackwardCorrection(Correction):
    """Cross-entropy on all labels, weighted by the inverse of the transition matrix: unbiased, but of high variance."""

    paper: ClassVar[str] = "arXiv:1609.03683"
    summary: ClassVar[str] = "cross-entropy weighted by an inverse transition matrix, known or estimated"

    def inverse(self, run: Run) -> Tensor:
        """The inverse in use, ``[C, C]``."""
        classes = len(run.data.classes)
        return run.remember("inverse", classes, classes, per_sample=False)

    def use(self, run: Run, matrix: Tensor) -> None:
        """Invert it, with the identity mixed in where it is nearly singular."""
        safe, share = transition.conditioned(matrix)
        if share:
            text = f"the transition matrix is nearly singular; mixed {100 * share:.0f} % of the identity into it"
            run.warn("singular", text)
        super().use(run, safe)
        self.inverse(run).copy_(torch.linalg.inv(safe.double()))

    def corrected(self, run: Run, logits: Tensor, labels: Tensor) -> Tensor:
        """``sum_c (T^-1)_yc (-log p_c)``."""
        return losses.backward_corrected(logits, labels, self.inverse(run))
