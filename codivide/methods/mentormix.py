"""MentorMix (Jiang, Huang, Liu, Yang: "Beyond Synthetic Noise"; ICML 2020, arXiv:1911.09781).

What an update does:
1. weigh the batch: ``v_i`` of the curriculum (see mentornet.py) on the losses of the samples as they are;
2. draw a partner j for each sample i from the same batch, with replacement, with ``P = softmax(v / temperature)``;
3. draw ``l ~ Beta(alpha, alpha)`` for each sample and mix with ``l_i = v_i max(l, 1 - l) + (1 - v_i) min(l, 1 - l)``:
   a trusted sample keeps the larger share of its mixture, another gives it to its partner;
4. weigh the mixed losses again, with a moving percentile of their own, and minimise the mean of weight times loss.

Kept from the reference code, not in the paper:
- the first forward is in training mode and without a gradient, so that batch-norm statistics move twice a step;
- during burn-in all weights are 1, which is plain mixup with partners drawn evenly; no sample dropout;
- the second weights are left out for little noise (``second_weighting=False`` for 20 and 40 %).

Ours: the published code rounds ``v`` to 0 or 1 in step 3; the paper's formula is used as it stands (the same for a
predefined curriculum with a step). Published runs use a mentor fitted to predefined weights; here the rule itself is
the default. What mentornet.py says of first percentiles and of batches without weight holds here too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from codivide.core.device import onto
from codivide.methods import _mentor_net
from codivide.methods._mentor import Mentored
from codivide.training import mixmatch, targets
from codivide.training.run import Run
from codivide.training.samples import Batch


@dataclass
class MentorMix(Mentored):
    """Mixup with partners drawn by the weights of a curriculum, and weights for the mixed samples.

    Attributes:
        warmup: epochs in which every weight is 1 (burn-in); None: a tenth of all.
        alpha: of the Beta distribution of mixing shares; 2 for little noise.
        temperature: of the softmax over weights by which partners are drawn; towards 0 only the heaviest are.
        second_weighting: weigh the mixed samples again; for 60 % noise and more.
    """

    paper: ClassVar[str] = "arXiv:1911.09781"
    summary: ClassVar[str] = "mixup with partners drawn by MentorNet's weights, then weighted again"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **Mentored.limits,
        "alpha": (0, math.inf),
        "temperature": (1e-3, math.inf),
    }

    percentile: float | None = 0.7
    alpha: float = 8.0
    temperature: float = 1.0
    second_weighting: bool = True

    def warmup_epochs(self, run: Run) -> int:
        """Epochs of plain mixup."""
        return round(0.1 * run.plan.epochs) if self.warmup is None else super().warmup_epochs(run)

    def epoch(self, run: Run) -> None:
        """One pass over the labelled samples: weigh, draw, mix, weigh again (algorithm 1)."""
        self.prepare(run)
        for batch in run.batches(run.data.y >= 0):
            with torch.no_grad():
                losses = run.observe(batch, run.logits(0, batch.x[0]))
            run.remember(_mentor_net.LOSSES)[batch.id] = losses
            mixed = self.mixed_losses(run, batch, self.weights(run, batch, losses))
            weights = self.weights(run, batch, mixed, ".mixed") if self.second_weighting else torch.ones_like(losses)
            loss = (weights * mixed).mean()
            run.log(loss=loss)
            if bool(weights.any()):
                run.update(loss, 0)

    def mixed_losses(self, run: Run, batch: Batch, weights: Tensor) -> Tensor:
        """Cross-entropy ``[B]`` of each sample mixed with a partner drawn by weight (steps 2 and 3)."""
        partner = self.partners(weights, run.gen)
        drawn = torch.tensor([mixmatch.mix_share(self.alpha, run.gen) for _ in range(len(partner))])
        larger = onto(drawn, weights.device).to(weights)
        share = weights * larger + (1 - weights) * (1 - larger)
        given = targets.one_hot(batch.y, len(run.data.classes))
        x, target = targets.mixup(batch.x[0], given, share, partner)
        return targets.soft_cross_entropies(run.logits(0, x), target)

    def partners(self, weights: Tensor, generator: torch.Generator) -> Tensor:
        """A partner ``[B]`` for each sample, drawn with replacement by ``softmax(weights / temperature)``."""
        likely = torch.softmax(weights / self.temperature, 0).cpu()
        return torch.multinomial(likely, len(weights), replacement=True, generator=generator).to(weights.device)
