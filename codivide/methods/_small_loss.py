"""What Co-teaching, Co-teaching+ and JoCoR share: two networks that keep the small losses of each batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from codivide.noise import mixtures, selections
from codivide.training.plan import early_epochs
from codivide.training.run import Method, Run
from codivide.training.samples import Batch


@dataclass
class SmallLoss(Method):
    """Two networks and a share of forgotten samples that rises to the noise rate.

    Attributes:
        forget_rate: share of samples forgotten in the end (tau); None: estimated from the run.
        rise: epochs over which the forgotten share rises (T_k); None: 10, or a third of all where that is less.
        exponent: of the epoch in the rise (c), > 0.
    """

    nets: ClassVar[int] = 2
    sets_aside: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "forget_rate": (0, 0.99),
        "rise": (1, math.inf),
        "exponent": (1e-3, 99),
    }

    forget_rate: float | None = None
    rise: int | None = None
    exponent: float = 1.0

    def start(self, run: Run) -> None:
        """Keep the estimated noise rate besides the losses."""
        super().start(run)
        run.remember("forget_rate", per_sample=False)

    def rise_epochs(self, run: Run) -> int:
        """T_k, the epochs until the whole forget rate is reached."""
        return early_epochs(run.plan) if self.rise is None else self.rise

    def kept_share(self, run: Run) -> float:
        """``R(t) = 1 - tau min(t^c / T_k, 1)`` in epoch t = 0, 1, ...; asked once, at the start of an epoch."""
        kept = 1 - self.tau(run) * min(math.pow(run.epoch, self.exponent) / self.rise_epochs(run), 1.0)
        run.log(kept=kept)
        return kept

    def tau(self, run: Run) -> float:
        """The given forget rate, or the weight of the larger mean in the mixture on the losses averaged over epochs.

        Estimated anew at the start of epochs 1 to T_k, while the forgotten share rises, and fixed from then on: later
        the losses of wrong labels that were learned fall, and the estimate with them.
        """
        if self.forget_rate is not None:
            return self.forget_rate
        rate = run.remember("forget_rate", per_sample=False)
        if 0 < run.epoch <= self.rise_epochs(run):
            labelled = run.data.y >= 0
            division = mixtures.gmm((run.remember("loss_sum") / run.remember("loss_count").clamp_min(1))[labelled])
            rate.copy_(1 - division.clean_prob.mean()).clamp_(0, 0.99)
            if run.epoch == self.rise_epochs(run) and not division.separates:
                guess = f"forget_rate {float(rate):.2f} is a guess, often too low"
                run.warn("forget_rate", f"the losses do not show two groups, so that {guess}; give it if you know it")
        run.log(forget_rate=rate)
        return float(rate)

    @staticmethod
    def small(run: Run, batch: Batch, losses: Tensor, where: Tensor, kept: float) -> Tensor:
        """The share of smallest losses ``[B]`` among the places ``where`` ``[K]``; no confirmed label is left out."""
        ranked = losses.detach()[where]
        if run.data.confirmed is not None:
            sure = run.confirmed[batch.id[where]]
            ranked, kept = ranked.masked_fill(sure, -math.inf), max(kept, int(sure.sum()) / len(where))
        return where[selections.smallest(ranked, kept)]

    def exchange(self, run: Run, batch: Batch, losses: list[Tensor], where: Tensor, kept: float) -> None:
        """Each network learns from the share of smallest losses of its peer, among the places ``where`` ``[K]``.

        A sample counts as much as when the whole batch is exchanged, however few there are to choose from.
        """
        chosen = [self.small(run, batch, loss, where, kept) for loss in losses]
        for i in range(2):
            share = len(chosen[i]) / len(selections.smallest(losses[i], kept))
            loss = share * mean_of(losses[i], chosen[1 - i])
            run.update(loss, i)
            run.log(loss=loss)


def mean_of(losses: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen losses; not finite when any loss of the batch is, as then its gradients are not either."""
    return losses[chosen].mean() + 0 * losses.detach().sum()


def disagreement(first: Tensor, second: Tensor) -> Tensor:
    """Places ``[K]`` at which the predictions of two networks with logits ``[B, C]`` differ."""
    return (first.detach().argmax(1) != second.detach().argmax(1)).nonzero().flatten()
