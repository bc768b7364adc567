"""Pseudo-Label (Lee; ICML 2013 workshop on challenges in representation learning).

Kept from the reference code, not in the paper:
- only samples whose largest probability reaches 0.95 are given a label (the paper: all of them), and the loss is a mean
  over the whole batch;
- weight 1 on CIFAR-10 (2 on SVHN), rising linearly over the first 40 % of training (the paper: from epoch 100 to 600).
  All as in the comparison in the MixMatch paper.

Ours: the label is that of the prediction being trained, so one forward serves for both. Labelled samples are not among
the unlabelled ones, as in the paper. See also ``_semi_supervised.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from codivide.methods._semi_supervised import SemiSupervised
from codivide.training import targets
from codivide.training.run import Run
from codivide.training.samples import Batch


@dataclass
class PseudoLabel(SemiSupervised):
    """What the network is sure of is a label.

    Attributes:
        weight: of the loss on pseudo-labels, once it has risen.
        threshold: least probability of a class that becomes a label.
    """

    paper: ClassVar[str] = "Lee, ICML 2013 workshop"
    summary: ClassVar[str] = "semi-supervised: what the network is sure of is a label"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {**SemiSupervised.limits, "threshold": (0, 1)}

    include_labelled: bool = False
    threshold: float = 0.95

    def unlabelled_loss(self, run: Run, unknown: Batch, weight: float) -> Tensor:
        """``w(t) mean of 1[max p >= threshold] H(argmax p, p)``."""
        logits = self.logits(run, unknown.x[0])
        probs = torch.softmax(logits.detach(), 1)
        loss = targets.pseudo_label_loss(logits, probs, self.threshold)
        run.log(loss_u=loss, weight=weight, sure=(probs.amax(1) >= self.threshold).float().mean())
        return weight * loss
