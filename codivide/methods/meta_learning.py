"""MLNT, meta-learning based noise-tolerant training (Li, Wong, Zhao, Kankanhalli; CVPR 2019, arXiv:1812.05214).

It is the row "Meta-Learning" in the tables of DivideMix.

Kept from the reference code, not in the paper:
- the gradients of the consistency loss and of the classification loss make one step, not two;
- the step on synthetic labels is plain gradient descent, and the gradient goes through it (second order);
- the divergence is a mean over the classes, too;
- a sample of whom the label is replaced takes that of one of its nearest neighbours in the batch.

Ours: a run has the paper's three trainings one after another, each with a new network and the whole schedule. These are
plain training, whose features find neighbours, the first iteration, and the second with the teacher of the first as
mentor. (Theirs: the better of teacher and student on clean labels.) The teacher's average covers the buffers of batch
normalisation; its decay is the plan's, and 0.99 while the weight of the consistency loss rises. With a plan that has no
average the network itself is the teacher. The gradients of the synthetic label sets are taken one after another, so
that memory is that of one. ``fast`` 10 costs about 20 times the time of plain training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from codivide.core.device import autocast
from codivide.training import layers, targets
from codivide.training.plan import stage_rate
from codivide.training.run import Method, Run
from codivide.training.samples import Batch

_RAMP = 20 / 120  # share of a training in which the consistency loss rises
_EARLY_DECAY = 0.99  # of the teacher in that time
_MOST_MENTOR = 0.5  # weight of the mentor's prediction at the end


@dataclass
class MetaLearning(Method):
    """A step on any synthetic labels of a batch must not lead the network away from its teacher.

    Attributes:
        fast: synthetic label sets of a batch (M).
        perturbed: share of a batch whose labels a synthetic set replaces (rho / batch size).
        neighbours: among how many nearest samples of the batch a label is taken.
        fast_lr: rate of the step on synthetic labels (alpha).
        weight: of the consistency loss once it has risen (eta).
        threshold: in the second iteration a sample teaches only if the mentor gives its label more than this (tau).
        first_share: share of the epochs for plain training, in (0, 1].
        iterations: 1 or 2; they share the other epochs.
    """

    sets_aside: ClassVar[bool] = True
    paper: ClassVar[str] = "arXiv:1812.05214"
    summary: ClassVar[str] = "meta-learning: a step on synthetic wrong labels must not change what the teacher says"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **dict.fromkeys(("fast", "neighbours"), (1, math.inf)),
        **dict.fromkeys(("perturbed", "threshold", "first_share"), (0, 1)),
        **dict.fromkeys(("fast_lr", "weight"), (0, math.inf)),
        "iterations": (1, 2),
    }
    settings: ClassVar[Mapping[str, str | float]] = {"average": 0.999}

    fast: int = 10
    perturbed: float = 0.5
    neighbours: int = 10
    fast_lr: float = 0.2
    weight: float = 0.4
    threshold: float = 0.01
    first_share: float = 1 / 3
    iterations: int = 2

    def start(self, run: Run) -> None:
        """Make room for the network of plain training, and for the mentor."""
        super().start(run)
        run.remember("teaches", dtype=torch.bool).copy_(run.data.y >= 0)
        for name in ("features", "mentor")[: self.iterations]:
            run.attach(name, lambda: deepcopy(run.nets[0]).requires_grad_(requires_grad=False))

    def stages(self, run: Run) -> list[int]:
        """The epochs at which a training begins, and the end; a short run leaves the last ones out."""
        epochs = run.plan.epochs
        first = min(max(1, round(self.first_share * epochs)), epochs)
        shares = [first + round(k * (epochs - first) / self.iterations) for k in range(self.iterations + 1)]
        return sorted({0, *shares})

    def stage(self, run: Run) -> tuple[int, int, int]:
        """The number of the training under way, its first epoch and its end."""
        ends = self.stages(run)
        k = sum(end <= run.epoch for end in ends[1:-1])
        return k, ends[k], ends[k + 1]

    def rate(self, run: Run) -> float:
        """The plan's schedule, whole in each training."""
        _, begin, end = self.stage(run)
        return stage_rate(run.plan, run.progress, begin, end)

    def risen(self, run: Run) -> float:
        """Of the consistency loss: ``exp(-5 (1 - u)^2)`` as u goes from 0 to 1, then 1."""
        _, begin, end = self.stage(run)
        return targets.sigmoid_ramp(run.progress - begin, _RAMP * (end - begin))

    def decay(self, run: Run) -> float:
        """The plan's decay of the teacher; at most 0.99 while the consistency loss rises."""
        return min(run.plan.average, _EARLY_DECAY) if self.risen(run) < 1 else run.plan.average

    def epoch(self, run: Run) -> None:
        """Plain training; then each batch with its synthetic label sets (algorithm 1)."""
        stage, begin, _ = self.stage(run)
        if stage and run.epoch == begin:
            self.begin(run, stage)
        if not stage:
            super().epoch(run)
            return
        for batch in run.batches(run.data.y >= 0):
            logits = run.logits(0, batch.x[0])
            fit = masked_mean(run.observe(batch, logits), run.remember("teaches")[batch.id])
            consistency = self.consistency(run, batch, logits)
            loss = fit + self.weight * self.risen(run) * consistency
            run.update(loss, 0)
            run.log(loss=loss, classification=fit, consistency=consistency)

    def begin(self, run: Run, stage: int) -> None:
        """Keep what the last training made, choose who teaches, and begin with a new network."""
        if stage == 1:
            run.attached["features"].net.load_state_dict(run.nets[0].state_dict())
        else:
            teaches = run.measure(0, self.trusted, average=True)
            run.attached["mentor"].net.load_state_dict(run.average(0).state_dict())
            run.remember("teaches").copy_(run.pin(teaches) & (run.data.y >= 0))
            run.log(teaches=run.remember("teaches").float().mean())
        for name in ("loss_sum", "loss_count"):
            run.remember(name).zero_()
        run.reset(0)

    def trusted(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mask ``[B]``: the mentor gives the label more than ``threshold``."""
        return targets.label_prob(torch.softmax(logits, 1), batch.y) > self.threshold

    def consistency(self, run: Run, batch: Batch, logits: Tensor) -> Tensor:
        """``1/M sum_m KL(s || f(x; theta - alpha grad L(y_m))) / C``, with its gradient by theta.

        The value is exact; the gradient is that of a linear form with the same one, so that the graphs of the M steps
        need not be held at the same time.
        """
        said, near = self.target(run, batch), self.near(run, batch)
        weights = {name: value for name, value in run.nets[0].named_parameters() if value.requires_grad}
        total = [torch.zeros_like(value) for value in weights.values()]
        value = logits.new_zeros(())
        for _ in range(self.fast):
            fit = targets.sample_loss(logits, self.synthetic(run, batch.y, near)).mean()
            moved = self.step(fit, weights)
            with autocast(run.precision, run.device):
                out: Tensor = functional_call(run.nets[0], moved, (batch.x[0],))
            found = targets.label_divergence(out, said) / (logits.shape[1] * self.fast)
            value = value + found.detach()
            grads = torch.autograd.grad(found, list(weights.values()), retain_graph=True)
            total = [a + b for a, b in zip(total, grads, strict=True)]
        linear = sum(((w * g).sum() for w, g in zip(weights.values(), total, strict=True)), logits.new_zeros(()))
        return value + linear - linear.detach()

    def step(self, loss: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights after a step of gradient descent, which a gradient can go through."""
        grads = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        return {name: w - self.fast_lr * g for (name, w), g in zip(weights.items(), grads, strict=True)}

    def synthetic(self, run: Run, given: Tensor, near: Tensor) -> Tensor:
        """Labels ``[B]`` of which a random share is that of a random one of the neighbours ``near`` ``[B, K]``."""
        size = len(given)
        rows = torch.randperm(size, generator=run.gen)[: int(self.perturbed * size)]
        which = torch.randint(near.shape[1], (len(rows),), generator=run.gen)
        replaced = given.clone()
        replaced[rows.to(given.device)] = given[near[rows.to(near.device), which.to(near.device)]]
        return replaced

    @torch.no_grad()
    def near(self, run: Run, batch: Batch) -> Tensor:
        """The places ``[B, K]`` of the nearest other samples of the batch, by the features of plain training."""
        net = run.attached["features"].net.eval()
        with autocast(run.precision, run.device), layers.inputs_of(layers.last_linear(net)) as seen:
            net(batch.x[0])
        features = seen[0].float().flatten(1)
        distance = torch.cdist(features, features).fill_diagonal_(math.inf)
        return distance.topk(max(1, min(self.neighbours, len(features) - 1)), largest=False).indices

    @torch.no_grad()
    def target(self, run: Run, batch: Batch) -> Tensor:
        """``(1 - lambda) teacher + lambda mentor``, ``[B, C]``; lambda rises to a half in the second iteration."""
        with layers.untracked(run.averages[0]):
            teacher = run.probs(0, batch.x, training=True, average=True)[0]
        stage, begin, end = self.stage(run)
        if stage < 2:
            return teacher
        mentor: nn.Module = run.attached["mentor"].net.eval()
        with autocast(run.precision, run.device):
            said = torch.softmax(mentor(batch.x[0]).float(), 1)
        share = _MOST_MENTOR * (run.progress - begin) / (end - begin)
        return (1 - share) * teacher + share * said


def masked_mean(losses: Tensor, where: Tensor) -> Tensor:
    """Mean of the losses ``[B]`` at a mask ``[B]``; 0 where it is empty, with a gradient of 0."""
    return (losses * where).sum() / where.sum().clamp_min(1)
