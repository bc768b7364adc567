"""CoDivide, a deep route at the cost of plain training: one network, its weight average, a memory of losses. Ours.

Parts that others have published:
- a network learns the truth before it memorises wrong labels (Arpit et al. 2017; ELR, Liu et al. 2020), so the first
  epochs are plain training at a high rate; they are the scout, and nothing of it is trained again;
- then a label pulls with a weight ``p_y^q``, by how far the network believes it (GCE, Zhang and Sabuncu 2018): a soft
  division, made anew in every step and without a forward of its own;
- the weight average classifies (Mean Teacher, Tarvainen and Valpola 2017); one cycle of the learning rate ends with
  steps so small that it settles (Smith and Topin 2018);
- two components of the losses, averaged over all epochs, tell clean labels from wrong ones (DivideMix, Li et al. 2020,
  divides by the losses of an epoch).

What is left out, against DivideMix: the second network, guesses, mixing, the loss on guesses with its weight. Their
place was tried and did not pay where a network is right on half of the images; the page of the method has the numbers.

Samples without a label (-1) are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from codivide.training import losses
from codivide.training.run import Batch, Method, Run


@dataclass
class CoDivide(Method):
    """Scout by cross-entropy, then weigh each label by how far the network believes it; average, remember, judge.

    Attributes:
        scout: share of the epochs that are plain training, in [0, 1]; 1: all.
        q: of the weight ``p_y^q`` of a label's gradient after the scout, in [0, 1]; 0: plain training goes on.
    """

    paper: ClassVar[str] = "-"
    summary: ClassVar[str] = "plain training, then labels weighed by belief, one cycle, weight average (ours)"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"scout": (0, 1), "q": (0, 1)}
    settings: ClassVar[Mapping[str, Any]] = {"schedule": "one_cycle", "lr": 0.1, "nesterov": True, "average": 0.999}

    scout: float = 0.3
    q: float = 0.7

    def epoch(self, run: Run) -> None:
        """Learn from every label, and remember its loss."""
        for batch in run.batches(run.data.y >= 0):
            run.update(self.loss(run, 0, batch), 0)

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """Cross-entropy in the scout's epochs; then ``(1 - p_y^q) / q``, whose gradient is ``p_y^q`` times as large."""
        logits = run.logits(i, batch.x[0])
        remembered = run.observe(batch, logits)
        run.log(loss=remembered.mean())
        if self.scouting(run):
            return remembered.mean()
        return losses.generalised_cross_entropy(logits, batch.y, self.q).mean()

    def scouting(self, run: Run) -> bool:
        """Whether this epoch is plain training: the first is."""
        return run.epoch < max(round(self.scout * run.plan.epochs), 1)

    def decay(self, run: Run) -> float:
        """The weight average reaches back two epochs, or a tenth of the run where that is less."""
        steps = math.ceil(len(run.data) / run.plan.batch_size)
        reach = max(min(2 * steps, steps * run.plan.epochs / 10), 1.0)
        return min(run.plan.average, reach / (reach + 1))
