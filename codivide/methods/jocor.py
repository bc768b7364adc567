"""JoCoR (Wei, Feng, Chen, An; CVPR 2020, arXiv:2003.02752).

Kept from the reference code, not in the paper:
- both networks see the same augmented view of a batch;
- the divergences are differentiated with respect to both networks;
- the number kept is rounded down.

Ours: the forget rate need not be known (``SmallLoss.tau``, from the cross-entropies of both networks). At least one
sample is kept and the last batch is not dropped. The classifier is the mean of both networks' logits; the paper reports
a single network. The published schedule reaches the forget rate an epoch earlier. The plan asks for AdamW at 0.001
(theirs: Adam, falling linearly from epoch 80 of 200). With lambda = 0.9 the cross-entropy has a tenth of its weight, to
which Adam's steps are blind and those of SGD are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import arange

from codivide.methods._small_loss import SmallLoss, mean_of
from codivide.training import targets
from codivide.training.run import Run


@dataclass
class JoCoR(SmallLoss):
    """Two networks learn together from the samples with small joint losses, and to agree on them.

    Attributes:
        agreement: weight of the divergences (lambda), in [0, 1]; 0.65 for 80 % noise, 0.85 on CIFAR-100.
    """

    paper: ClassVar[str] = "arXiv:2003.02752"
    summary: ClassVar[str] = "two networks learn jointly from small losses and to agree"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {**SmallLoss.limits, "agreement": (0, 1)}
    settings: ClassVar[Mapping[str, Any]] = {"optimizer": "adamw", "lr": 0.001}

    agreement: float = 0.9

    def epoch(self, run: Run) -> None:
        """One pass over the labelled samples: joint losses, the small ones, one update of both (algorithm 1)."""
        kept = self.kept_share(run)
        for batch in run.batches(run.data.y >= 0):
            first, second = (run.logits(i, batch.x[0]) for i in range(2))
            for logits in (first, second):
                run.observe(batch, logits)
            losses = targets.joint_loss(first, second, batch.y, self.agreement)
            chosen = self.small(run, batch, losses, arange(len(losses), device=run.device), kept)
            loss = mean_of(losses, chosen)
            run.update(loss, 0, 1)
            run.log(loss=loss)
