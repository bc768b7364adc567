"""CoDivide, a deep route at twice the cost of plain training: one network, its average, a memory of losses. Ours.

Parts that others have published:
- a network learns the truth before it memorises wrong labels (Arpit et al. 2017; ELR, Liu et al. 2020), so the first
  epochs are plain training at a high rate, of which nothing is trained again;
- then a label pulls with a weight ``p_y^q``, by how far the network believes it (GCE, Zhang and Sabuncu 2018). This is
  a soft division, made anew in every step and without a forward of its own;
- the weight average is the peer, and classifies (Mean Teacher, Tarvainen and Valpola 2017);
- what it says of a weak view the network has to say of a strong one, so that a sample teaches without its label, too.
  It is FixMatch's idea (Sohn and others 2020), here with soft targets and no threshold;
- one cycle of the learning rate ends with steps so small that it settles (Smith and Topin 2018);
- two components of the losses, averaged over all epochs, tell clean labels from wrong ones (DivideMix, Li et al. 2020,
  divides by the losses of an epoch).

What is left out, against DivideMix: the second network, sharpened guesses in the place of labels, mixing. The page of
the method has what was tried in their place.

Samples without a label (-1) teach by agreement alone, after the plain part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from codivide.methods._held_out import agreeing, divided_apart, hold_out, nobody
from codivide.training import losses, targets
from codivide.training.plan import average_decay
from codivide.training.run import Method, Run
from codivide.training.samples import Batch

GIVEN_BACK = 0.8  # of the epochs, after which labels that were held out are learned from, too: little changes then


@dataclass
class CoDivide(Method):
    """Scout by cross-entropy, then weigh labels by belief, and agree with the weight average on strong views.

    Attributes:
        scout: share of the epochs that are plain training, in [0, 1]; 1: all.
        q: of the weight ``p_y^q`` of a label's gradient after the plain part, in [0, 1]; 0: plain training goes on.
        agreement: weight of the cross-entropy to what the average says, at least 0; 0: no strong view is made.
        validation: share of the labels that is hidden in the first four fifths of the epochs and judges what was
            learned by then, at most 0.5; 0: none.
    """

    weighs: ClassVar[bool] = True
    paper: ClassVar[str] = "-"
    summary: ClassVar[str] = "plain training, then labels weighed by belief, strong views, weight average (ours)"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "scout": (0, 1),
        "q": (0, 1),
        "agreement": (0, math.inf),
        "validation": (0, 0.5),
    }
    settings: ClassVar[Mapping[str, Any]] = {"schedule": "one_cycle", "lr": 0.1, "nesterov": True, "average": 0.999}

    scout: float = 0.3
    q: float = 0.7
    agreement: float = 1.0
    validation: float = 0.0

    def start(self, run: Run) -> None:
        """Choose whose labels are hidden, once."""
        super().start(run)
        if self.validation:
            hold_out(run, self.validation)
            run.remember("held_right", dtype=torch.bool)

    def holds_out(self) -> bool:
        """As ``validation`` says."""
        return self.validation > 0

    def scouting(self, run: Run) -> bool:
        """Whether this epoch is plain training: the first is."""
        return run.epoch < max(round(self.scout * run.plan.epochs), 1)

    def judged_after(self, run: Run) -> int:
        """The number of epochs after which hidden labels judge, and are given back."""
        return max(math.floor(GIVEN_BACK * run.plan.epochs), 1)

    def epoch(self, run: Run) -> None:
        """Learn from every label that is not hidden, and remember its loss; after the scout from every sample."""
        known = run.data.y >= 0
        hides = self.validation > 0 and not nobody(run, run.remember("held_out")) and run.epoch < self.judged_after(run)
        if hides:
            known = known & ~run.remember("held_out")
        if self.scouting(run):
            for batch in run.batches(known):
                loss = self.loss(run, 0, batch)
                run.update(loss, 0)
                run.log(loss=loss)
        else:
            for batch in run.batches(views=("weak", "strong") if self.agreement else ("weak",)):
                run.update(self.divided(run, batch, known[batch.id]), 0)
        if hides and run.epoch + 1 == self.judged_after(run):
            self.judge(run)

    def divided(self, run: Run, batch: Batch, known: Tensor) -> Tensor:
        """The mean of ``(1 - p_y^q) / q`` over known labels ``[B]``, and ``agreement`` times that of ``H(g, f)``.

        The gradient of the first is that of the cross-entropy times ``p_y^q``; f sees the strong view, the average g
        the weak one. Both count as samples weigh.
        """
        size, labels = len(batch.y), batch.y.clamp_min(0)
        logits = run.logits(0, torch.cat(batch.x))
        run.observe(batch._replace(y=labels), logits[:size])  # of unknown labels nobody asks for it
        of_label = losses.generalised_cross_entropy(logits[:size], labels, self.q)
        loss = run.mean(batch, of_label * known) * (size / known.sum().clamp_min(1))
        run.log(loss=loss)
        if self.agreement:
            said = run.probs(0, batch.x[:1], average=True)[0]
            apart = run.mean(batch, targets.soft_cross_entropies(logits[size:], said))
            run.log(agreement=apart)
            loss = loss + self.agreement * apart
        return loss

    def judge(self, run: Run) -> None:
        """Remember which hidden labels the average predicts."""
        held = run.remember("held_out")
        right = agreeing(run, held)
        run.remember("held_right").copy_(right)
        run.log(validation_accuracy=float(right.sum()) / int(held.sum()))

    def clean_prob(self, run: Run) -> Tensor:
        """As of every method; labels that were hidden are divided by themselves."""
        clean_prob = super().clean_prob(run)
        return divided_apart(run, clean_prob, run.remember("held_out")) if self.validation else clean_prob

    def decay(self, run: Run) -> float:
        """The weight average reaches back two epochs, or a tenth of the run where that is less; at first not so far."""
        return targets.rising_decay(min(run.plan.average, average_decay(len(run.data), run.plan)), run.step)
