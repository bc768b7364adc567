"""ELR+ (Liu, Niles-Weed, Razavian, Fernandez-Granda; NeurIPS 2020, arXiv:2007.00151).

Kept from the reference code, not in the paper:
- a mixing share is never below a half, and there is one for the batch;
- probabilities are clamped to [1e-4, 1 - 1e-4] in the regulariser, but not in what the memory takes in;
- the decay of the weight average rises along a slow sigmoid (``ema_step``), and so may the regulariser (``coef_step``,
  CIFAR-100); both are counted in updates of one network. On Clothing1M and WebVision the average is the mean of all
  weights at first (``ema_step`` 0);
- on CIFAR-100 the labels are multiplied by the targets and normalised (``label_product``);
- network 2 learns after network 1; the two networks classify, not their averages.

Ours: the weight average also covers the buffers of batch normalisation and predicts in evaluation mode (the reference
averages parameters only, and predicts in training mode). ``ema_step`` is half of the run unless it is given (40,000 of
about 78,000 updates there). The weight of the regulariser rises too in a short run (``coef_step`` None). With mixup and
4,000 images it would act before the networks have learned anything, and drive both to a few classes. The loss on the
given labels was then 3.2, more than ln 10. Samples without a label (-1) take part in the regulariser, and in mixing
with a label of no weight. The probability that a label is clean is the mean of the shares that both memories give to
it. With a plan that has no weight average (``average`` 0) each network itself makes the targets of the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from codivide.core.device import onto
from codivide.training import mixmatch, targets
from codivide.training.run import Method, Run
from codivide.training.samples import Batch


@dataclass
class ELRPlus(Method):
    """ELR with two networks that make each other's targets, weight averages and mixup.

    Attributes:
        lambda_elr: weight of the regulariser (lambda in the paper): 3 on CIFAR-10, 7 on CIFAR-100.
        beta: decay of the memory of predictions, in [0, 1): 0.7 on CIFAR-10, 0.9 on CIFAR-100.
        alpha: of the Beta distribution of mixing shares; 0: no mixing.
        coef_step: updates of a network over which the weight of the regulariser rises: 0, none, on CIFAR-10; 40000 on
            CIFAR-100; None: half of a run of less than 40,000 updates, none in a longer one.
        ema_step: updates of a network over which the decay of the weight average rises (40000 in the paper's runs);
            None: half of the run; 0: no ramp, it is the mean of all weights until it reaches back as far as the decay.
        label_product: multiply the labels by the targets and normalise (CIFAR-100).
    """

    nets: ClassVar[int] = 2
    paper: ClassVar[str] = "arXiv:2007.00151"
    summary: ClassVar[str] = "ELR with two networks, weight averages as teachers, and mixup"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **dict.fromkeys(("lambda_elr", "alpha", "coef_step", "ema_step"), (0, math.inf)),
        "beta": (0, 1 - 1e-6),
    }
    settings: ClassVar[Mapping[str, Any]] = {"average": 0.997}

    lambda_elr: float = 3.0
    beta: float = 0.7
    alpha: float = 1.0
    coef_step: int | None = None
    ema_step: int | None = None
    label_product: bool = False

    def start(self, run: Run) -> None:
        """Keep a memory of what each network's weight average predicted, empty at first."""
        for i in range(self.nets):
            run.remember(f"target.{i}", len(run.data.classes))

    def epoch(self, run: Run) -> None:
        """Train each network on every sample once."""
        for i in range(self.nets):
            for batch in run.batches():
                run.update(self.loss(run, i, batch), i)

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """Cross-entropy on mixed samples, and the regulariser towards the memory of the other network, mixed alike."""
        x = batch.x[0]
        memory = run.remember(f"target.{1 - i}")
        probs = run.probs(1 - i, [x], average=True)[0]
        memory[batch.id] = target = targets.follow(memory[batch.id], probs, self.beta, least=0.0)
        share = mixmatch.mix_share(self.alpha, run.gen)
        order = onto(torch.randperm(len(x), generator=run.gen), x.device)
        mixed, label = targets.mixup(x, targets.one_hot(batch.y, target.shape[1]), share, order)
        target = target[order].lerp(target, share)
        if self.label_product:
            label = targets.label_product(label, target)
        logits = run.logits(i, mixed)
        labelled = (label.sum() / len(x)).clamp_min(1e-6)
        cross_entropy = targets.soft_cross_entropy(logits, label) / labelled
        regulariser = targets.early_learning(logits, target)
        weight = self.lambda_elr * targets.sigmoid_ramp(self.updates(run), self.weight_rise(run))
        run.log(loss=cross_entropy, regulariser=regulariser, lambda_elr=weight)
        return cross_entropy + weight * regulariser

    def updates(self, run: Run, epochs: float | None = None) -> float:
        """How often each network has been updated, or will have been after so many epochs."""
        return (run.progress if epochs is None else epochs) * math.ceil(len(run.data) / run.plan.batch_size)

    def weight_rise(self, run: Run) -> float:
        """Updates over which the weight of the regulariser rises."""
        whole = self.updates(run, run.plan.epochs)
        return (whole / 2 if whole < 40_000 else 0) if self.coef_step is None else self.coef_step

    def decay(self, run: Run) -> float:
        """The plan's decay of the weight average, along the ramp; without one, less while few weights are averaged."""
        if self.ema_step is None:
            return run.plan.average * targets.sigmoid_ramp(run.progress, run.plan.epochs / 2)
        done = self.updates(run)
        if self.ema_step == 0:
            return min(run.plan.average, 1 - 1 / (done + 2))
        return run.plan.average * targets.sigmoid_ramp(done, self.ema_step)

    def members(self, run: Run) -> list[nn.Module]:
        """The two networks themselves."""
        return list(run.nets)

    def clean_prob(self, run: Run) -> Tensor:
        """Mean of the shares that the two memories give to each label."""
        memories = [targets.label_prob(run.remember(f"target.{i}"), run.data.y) for i in range(self.nets)]
        return torch.stack(memories).mean(0)
