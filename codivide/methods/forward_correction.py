"""Forward loss correction (Patrini, Rozza, Menon, Nock, Qu; CVPR 2017, arXiv:1609.03683).

Kept from the reference code, not in the paper:
- anchors are sought among all training samples, with the 97th percentile except on CIFAR-100; rows are normalised;
- the corrected network starts from new weights.

Ours: the estimate is made after a warm-up, before wrong labels are memorised. (The paper trains to the end and keeps
the epoch that validates best.) Both stages share the epochs of the plan. A class without a label gets the row of the
identity. The confident joint (Northcutt et al. 2021, arXiv:1911.00068) is an option, on in-sample predictions. The
probability that a label is clean is that of the mixture on averaged losses. Bayes' rule with the network's softmax and
the matrix was tried on toy problems: it gained at most .001 of AUROC, and lost up to .09.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from codivide.methods._correction import Correction
from codivide.training import losses
from codivide.training.run import Run


@dataclass
class ForwardCorrection(Correction):
    """Cross-entropy of the given label under the prediction passed through the transition matrix."""

    paper: ClassVar[str] = "arXiv:1609.03683"
    summary: ClassVar[str] = "cross-entropy through a transition matrix, known or estimated"

    def corrected(self, run: Run, logits: Tensor, labels: Tensor) -> Tensor:
        """``-log (p T)_y``."""
        return losses.forward_corrected(logits, labels, self.matrix(run))
