"""Co-teaching+ (Yu, Han, Yao, Niu, Tsang, Sugiyama; ICML 2019, arXiv:1901.04215).

Kept from the reference code, not in the paper:
- the first epochs are Co-teaching (20 of 200 on CIFAR-10, 5 on CIFAR-100, none on MNIST); the forgotten share rises
  from the very start;
- disagreement is that of the arg-max of the logits which are then learned from (one forward, training mode).

Ours: where the networks disagree on nothing in a batch, they exchange the small losses of the whole batch, as
Co-teaching does. (The paper makes no step. The published code makes one on all samples up to step 5,000, and an empty
one later.) From one disagreement on, at least one sample is kept. The sum over what is kept is divided by the number
that Co-teaching would keep of the whole batch. A mean over a few hard samples makes a step as large as that of a whole
batch, and training collapsed on a toy problem. The published code takes the cross-entropy of probabilities as if they
were logits, divides the mean by its number once more and loses the sample of row 0. Ours does none of that. Of the
paper's two schedules only ``tau min(t / T_k, 1)`` is here. Unknown forget rate, batches, classifier and optimiser are
as in co_teaching.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import arange

from codivide.methods._small_loss import SmallLoss, disagreement
from codivide.training.run import Run


@dataclass
class CoTeachingPlus(SmallLoss):
    """Co-teaching among the samples on which the predictions of the two networks differ.

    Attributes:
        warmup: epochs of Co-teaching first; None: 20, or a third of all where that is less.
    """

    paper: ClassVar[str] = "arXiv:1901.04215"
    summary: ClassVar[str] = "Co-teaching among samples on which two networks disagree"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {**SmallLoss.limits, "warmup": (0, math.inf)}

    warmup: int | None = None

    def warmup_epochs(self, run: Run) -> int:
        """Epochs of Co-teaching before disagreement counts."""
        return max(1, min(20, run.plan.epochs // 3)) if self.warmup is None else self.warmup

    def epoch(self, run: Run) -> None:
        """One pass over the labelled samples: find disagreements, exchange the small losses among them."""
        kept = self.kept_share(run)
        for batch in run.batches(run.data.y >= 0):
            logits = [run.logits(i, batch.x[0]) for i in range(2)]
            losses = [run.observe(batch, each) for each in logits]
            where = arange(len(batch.id), device=run.device)
            if run.epoch >= self.warmup_epochs(run):
                different = disagreement(*logits)
                run.log(disagreement=len(different) / len(where))
                if len(different):
                    chosen = run.confirmed[batch.id]  # both may agree on another label than the confirmed one
                    chosen[different] = True
                    where = chosen.nonzero().flatten()
                else:
                    run.warn("agree", "the networks agree on a whole batch; such batches are learned by Co-teaching")
            self.exchange(run, batch, losses, where, kept)
