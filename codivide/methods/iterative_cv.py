"""INCV, iterative noisy cross-validation (Chen, Liao, Chen, Zhang; ICML 2019, arXiv:1905.05040).

Co-teaching then learns from what it selects. It is the row "Iterative-CV" in the tables of DivideMix.

Kept from the reference code, not in the paper:
- a half is judged by its network at the epoch at which it agrees with most of that half's labels. (The code does so in
  the first 1 to 4 iterations, more of them the less noise there is.)
- the share of wrong labels is estimated once, in the first half of the first iteration;
- what is removed is at most twice what is selected; with asymmetric noise nothing is removed;
- the candidates that are left join the batches after a fifth of Co-teaching. It is two fifths where more than 60 % of
  the labels are wrong or the noise is asymmetric. As many losses are kept as without them.

Ours: all iterations take ``first_share`` of the epochs (theirs: 400 of 600) and Co-teaching the rest. Each training has
the whole schedule of the plan (theirs: Adam, with steps of its own). A half is of every class, and copies and groups
are in the same one. A label that a person has confirmed is selected from the start. The probability that a label is
clean is a mixture on the losses of the network that never saw it, those of the last iteration that judged it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from codivide.methods._held_out import stratified
from codivide.methods._small_loss import SmallLoss
from codivide.noise import mixtures
from codivide.training import targets
from codivide.training.plan import stage_rate
from codivide.training.run import Run
from codivide.training.samples import Batch

_MOST_REMOVED = 2.0  # times what is selected
_CANDIDATE, _SELECTED, _REMOVED = 0, 1, 2  # what a sample is; -1 without a label


@dataclass
class IterativeCV(SmallLoss):
    """Two halves judge each other's labels, again and again; two networks learn from what they agree with.

    Attributes:
        iterations: of cross-validation; fewer where the epochs do not suffice.
        first_share: share of the epochs for them, in [0, 1].
        noise_type: "symmetric" or "asymmetric"; says whether labels are removed, and how many selected ones are wrong.
        forget_rate: of Co-teaching; None: the estimated share of wrong labels among the selected ones.
    """

    paper: ClassVar[str] = "arXiv:1905.05040"
    summary: ClassVar[str] = "halves judge each other's labels by turns; then Co-teaching on what was selected"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **SmallLoss.limits,
        "iterations": (1, math.inf),
        "first_share": (0, 1),
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"noise_type": ("symmetric", "asymmetric")}

    iterations: int = 4
    first_share: float = 2 / 3
    noise_type: str = "symmetric"

    def holds_out(self) -> bool:
        """Always: one half."""
        return True

    def start(self, run: Run) -> None:
        """All labelled samples are candidates; those that a person has confirmed are selected."""
        super().start(run)
        part = run.remember("part", dtype=torch.int8, fill=_CANDIDATE)
        part[run.confirmed] = _SELECTED
        part[run.data.y < 0] = -1
        run.remember("half", dtype=torch.int8)
        run.remember("agrees", dtype=torch.bool)
        run.remember("held_loss", fill=torch.nan)
        run.remember("best_agreed", per_sample=False, fill=-1.0)
        run.remember("noise", per_sample=False)

    def stages(self, run: Run) -> tuple[int, int]:
        """Epochs of one half, and of all iterations; at least one epoch is left for Co-teaching."""
        epochs = min(round(self.first_share * run.plan.epochs), run.plan.epochs - 1)
        rounds = min(self.iterations, epochs // 2)
        length = epochs // (2 * rounds) if rounds else 0
        return length, 2 * rounds * length

    def rate(self, run: Run) -> float:
        """The plan's schedule, whole in each training."""
        length, end = self.stages(run)
        if run.epoch >= end:
            return stage_rate(run.plan, run.progress, end, run.plan.epochs)
        begin = run.epoch // length * length
        return stage_rate(run.plan, run.progress, begin, begin + length)

    def epoch(self, run: Run) -> None:
        """Train on one half and judge the other; or Co-teaching on what is selected."""
        length, end = self.stages(run)
        if run.epoch < end:
            turn, within = divmod(run.epoch, length)
            if within == 0:
                self.begin(run, turn % 2)
            self.validate(run, turn % 2)
            if within == length - 1:
                self.select(run, turn % 2)
            return
        if run.epoch == end:
            for i in range(2):
                run.reset(i)
        self.teach_each_other(run, end)

    def begin(self, run: Run, half: int) -> None:
        """A new network; before the first half the candidates are dealt anew."""
        run.reset(half)
        run.remember("best_agreed", per_sample=False).fill_(-1.0)
        if half == 0:
            self.deal(run)

    @staticmethod
    def deal(run: Run) -> None:
        """Put each candidate in a half, the same share of every class; groups stay whole."""
        ids = run.shuffled(run.remember("part") == _CANDIDATE)
        groups = None if run.data.groups is None else run.data.groups[ids]
        here = ids.to(run.device)
        run.remember("half")[here] = stratified(run.data.y[here], 0.5, run.gen, groups).to(torch.int8)

    def validate(self, run: Run, half: int) -> None:
        """One epoch on what is selected and on one half; the other half is judged by the best epoch."""
        part, halves = run.remember("part"), run.remember("half")
        for batch in run.batches((part == _SELECTED) | ((part == _CANDIDATE) & (halves == half))):
            loss = run.observe(batch, run.logits(half, batch.x[0])).mean()
            run.update(loss, half)
            run.log(loss=loss)
        others = (part == _CANDIDATE) & (halves != half)
        if not others.any():
            return
        judged = run.measure(half, self.judged, average=True)
        agreed = judged[others, 0].mean()
        run.log(validation_accuracy=agreed)
        if agreed > run.remember("best_agreed", per_sample=False):
            run.remember("best_agreed", per_sample=False).copy_(agreed)
            run.remember("agrees")[others] = judged[others, 0] > 0
            run.remember("held_loss")[others] = judged[others, 1]

    @staticmethod
    def judged(logits: Tensor, batch: Batch) -> Tensor:
        """Whether the prediction is the label, and the cross-entropy, ``[B, 2]``."""
        agrees = (logits.argmax(1) == batch.y).float()
        return torch.stack([agrees, targets.sample_loss(logits, batch.y)], 1)

    def select(self, run: Run, half: int) -> None:
        """Estimate the noise, and after the second half select what is agreed with and remove the largest losses."""
        noise = run.remember("noise", per_sample=False)
        if half == 0 and not noise:
            agreed = float(run.remember("best_agreed", per_sample=False))
            noise.copy_(torch.tensor(wrong_share(agreed, 1 + self.others(run))))
        if half == 0:
            return
        part, halves, agrees = run.remember("part"), run.remember("half"), run.remember("agrees")
        candidates = part == _CANDIDATE
        for k in range(2):
            there = candidates & (halves == k)
            count = int(self.removed(float(noise)) * int((there & agrees).sum()))
            worst = run.remember("held_loss").masked_fill(~there, -math.inf).topk(min(count, int(there.sum()))).indices
            part[worst] = _REMOVED
            part[there & agrees] = _SELECTED
        run.log(selected=(part == _SELECTED).float().mean(), noise=noise)

    def others(self, run: Run) -> int:
        """How many classes a wrong label of a class may be: all others, or one for asymmetric noise."""
        return 1 if self.noise_type == "asymmetric" else max(len(run.data.classes) - 1, 1)

    def removed(self, noise: float) -> float:
        """Labels removed for each one selected: ``epsilon / (1 - epsilon)``, at most 2."""
        return 0.0 if self.noise_type == "asymmetric" else min(_MOST_REMOVED, noise / max(1 - noise, 1e-6))

    def tau(self, run: Run) -> float:
        """The given forget rate, or the share of wrong labels among those that a wrong label could not tell apart.

        ``epsilon^2 / (epsilon^2 + k (1 - epsilon)^2)``, k = C - 1 for symmetric noise, 1 for asymmetric.
        """
        if self.forget_rate is not None:
            return self.forget_rate
        noise = float(run.remember("noise", per_sample=False))
        return noise**2 / (noise**2 + self.others(run) * (1 - noise) ** 2)

    def teach_each_other(self, run: Run, began: int) -> None:
        """Co-teaching on the selected samples, later with candidates in each batch."""
        part = run.remember("part")
        selected = part == _SELECTED
        if not selected.any():  # no iteration, or none that agreed with a label
            run.warn("selected", "no label was selected; going on with all of them")
            selected = run.data.y >= 0
        kept = 1 - self.tau(run) * min((run.epoch - began) / self.rise_epochs(run), 1.0)
        run.log(kept=kept)
        others = (part == _CANDIDATE) & ~selected
        if run.epoch - began <= self.alone(run) * (run.plan.epochs - began):
            others = torch.zeros_like(others)
        share = int(others.sum()) / int(selected.sum())
        size = min(int(share * run.plan.batch_size), run.plan.batch_size // 2)
        if size < 1:
            others = torch.zeros_like(others)
        for batch, more in run.pairs(selected, others, size_b=max(size, 1)):
            x = (torch.cat([batch.x[0], more.x[0]]),)
            both = Batch(torch.cat([batch.id, more.id]), x, torch.cat([batch.y, more.y]))
            losses = [run.observe(both, run.logits(i, both.x[0])) for i in range(2)]
            where = torch.arange(len(both.id), device=run.device)
            self.exchange(run, both, losses, where, kept * len(batch.id) / len(both.id))

    def alone(self, run: Run) -> float:
        """The share of Co-teaching without candidates."""
        much = float(run.remember("noise", per_sample=False)) > 0.6
        return 0.4 if much or self.noise_type == "asymmetric" else 0.2

    def clean_prob(self, run: Run) -> Tensor:
        """By the losses of the networks that never saw the label; before there are any, as for other methods."""
        losses = run.remember("held_loss")
        known = torch.isfinite(losses)
        if not known.any():
            return super().clean_prob(run)
        found = torch.full_like(losses, torch.nan)
        found[known] = mixtures.gmm(losses[known]).clean_prob
        rest = (run.data.y >= 0) & ~known  # a class of one, or a half that was never judged
        found[rest] = found[known].mean()
        return found


def wrong_share(agreed: float, classes: int) -> float:
    """The smallest epsilon for which ``(1 - epsilon)^2 + epsilon^2 / (C - 1)`` is the agreement (theorem 1 and eq. 4).

    Args:
        agreed: share of a half's labels that the network of the other half predicts, in [0, 1].
        classes: C, at least 2; 2 also for asymmetric noise, where ``(1 - epsilon)^2 + epsilon^2`` is the agreement.

    Returns:
        In [0, 1]; below the least possible agreement, ``1 / C``, it is ``(C - 1) / C``.
    """
    if classes < 2:
        return 0.0
    a = 1 + 1 / (classes - 1)
    return float((1 - math.sqrt(max(0.0, 1 - a * (1 - min(max(agreed, 0.0), 1.0))))) / a)
