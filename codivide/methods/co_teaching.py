"""Co-teaching (Han, Yao, Yu, Niu, Xu, Hu, Tsang, Sugiyama; NeurIPS 2018, arXiv:1804.06872).

Kept from the reference code, not in the paper:
- both networks see the same augmented view of a batch, and all of it: what is forgotten still moves batch norm;
- the number kept is rounded down.

Ours: the mean over the kept losses. (The published code divides that mean by their number once more. This lowers the
learning rate to a hundredth and changes it with the forget rate.) The forgotten share follows the paper's ``tau min(t^c
/ T_k, 1)``; theirs is ``tau^c`` in the end and reached an epoch earlier. The forget rate need not be known
(``SmallLoss.tau``). At least one sample is kept, the last batch is not dropped, an epoch is a whole pass (theirs stops
after 400 batches). Inputs are normalised, and dropout is off in evaluation (theirs: neither). The classifier is the
mean of both networks' logits; the paper reports single networks. Optimiser and schedule are the plan's; theirs are
Adam, 0.001, falling linearly from epoch 80 of 200, momentum 0.1 from there on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import arange

from codivide.methods._small_loss import SmallLoss
from codivide.training.run import Run


@dataclass
class CoTeaching(SmallLoss):
    """Each of two networks chooses the samples with small losses from which the other one learns."""

    paper: ClassVar[str] = "arXiv:1804.06872"
    summary: ClassVar[str] = "two networks choose small-loss samples for each other"

    def epoch(self, run: Run) -> None:
        """One pass over the labelled samples: forward with both, exchange the small losses (algorithm 1)."""
        kept = self.kept_share(run)
        for batch in run.batches(run.data.y >= 0):
            losses = [run.observe(batch, run.logits(i, batch.x[0])) for i in range(2)]
            self.exchange(run, batch, losses, arange(len(batch.id), device=run.device), kept)
