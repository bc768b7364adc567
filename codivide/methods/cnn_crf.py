"""CNN-CRF (Vahdat; NeurIPS 2017, arXiv:1706.00038), in the form for one label a sample.

Kept from the reference code, not in the paper: nothing; none was read.

Ours:
- the noisy label y and the true label z are one-hot, so all C x C states are summed: no Gibbs sampling, no persistent
  contrastive divergence. The hidden units touch y alone and are summed out too;
- the network's logits are ``a(x) + g`` with ``g_z`` the log-sum over y of the other terms. Then they are those of
  p(z | x), the network classifies by itself, and the rest of the energy is a table p(y | z). It is the same model;
- the paper trains the auxiliary energy on clean labels. Without them it is a table p_aux(z | y), counted once, at the
  end of warm-up, from the network's predictions and the given labels (with one more count of each label, spread over
  the classes); W starts from the same counts. A class that is never predicted would be lost for good: its labels
  are taken as right, and the run warns;
- warm-up is cross-entropy. The weight of the auxiliary falls to 0 and not to a positive value, because here the
  auxiliary knows no more than the data;
- the energy learns at a hundredth of the network's rate. From the start that cross-entropy gives, an energy as fast as
  the network moves towards "all labels are right";
- without a label the posterior is the prediction and teaches nothing, so such samples are not used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from codivide.training import targets
from codivide.training.run import Method, Run
from codivide.training.samples import Batch


class Energy(nn.Module):
    """``-z' W y - y' V h - b' h`` of one-hot true and noisy labels and binary hidden units."""

    def __init__(self, classes: int, hidden: int) -> None:
        super().__init__()
        self.between = nn.Parameter(torch.zeros(classes, classes))  # W
        self.upward = nn.Parameter(0.01 * torch.randn(classes, hidden))  # V
        self.bias = nn.Parameter(torch.zeros(hidden))  # b

    def forward(self) -> Tensor:
        """``log p(y | z)``, ``[C, C]``, a row per true label: h summed out, then normalised over y."""
        free = nn.functional.softplus(self.upward + self.bias).sum(1)
        return torch.log_softmax(self.between + free, 1)


@dataclass
class CNNCRF(Method):
    """A random field over true and noisy label on top of the network, learned by regularised EM.

    Attributes:
        warmup: epochs of plain training first; None: 10, or as many as 300 updates take, at most a third of all.
        alpha: weight of the auxiliary distribution in the posterior, when the field begins to learn.
        alpha_last: that weight from three quarters of all epochs on; it falls in a straight line.
        energy_rate: learning rate of the energy, as a share of the network's.
        hidden: binary units on the noisy label.
    """

    paper: ClassVar[str] = "arXiv:1706.00038"
    summary: ClassVar[str] = "a random field over true and noisy label, learned by regularised EM"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **dict.fromkeys(("warmup", "alpha", "alpha_last", "energy_rate"), (0, math.inf)),
        "hidden": (1, 10_000),
    }

    warmup: int | None = None
    alpha: float = 2.0
    alpha_last: float = 0.0
    energy_rate: float = 0.01
    hidden: int = 20

    def start(self, run: Run) -> None:
        """Attach the energy; keep the auxiliary table."""
        super().start(run)
        classes = len(run.data.classes)
        run.attach("energy", lambda: Energy(classes, self.hidden), lr=self.energy_rate)
        run.remember("auxiliary", classes, classes, per_sample=False)

    def warmup_epochs(self, run: Run) -> int:
        """Epochs of plain training."""
        if self.warmup is not None:
            return self.warmup
        labelled = int((run.data.y >= 0).sum())
        learned = max(10, math.ceil(300 * run.plan.batch_size / labelled))
        return max(1, min(learned, run.plan.epochs // 3))

    def epoch(self, run: Run) -> None:
        """Warm up; once, estimate the auxiliary table; then expectation and maximisation, a batch at a time."""
        if run.epoch == self.warmup_epochs(run):
            self.estimate(run)
        if run.epoch < self.warmup_epochs(run):
            self.fit_all(run, 0)
            return
        run.log(alpha=self.weight(run))
        for batch in run.batches(run.data.y >= 0):
            loss = self.loss(run, 0, batch)
            run.update(loss, 0, "energy")
            run.log(loss=loss)

    @torch.no_grad()
    def estimate(self, run: Run) -> None:
        """Count predictions z against given labels y: ``p_aux(z | y)``, and ``log p(y | z)``, where W starts."""
        classes = len(run.data.classes)
        given = run.data.y >= 0
        guess = run.measure(0, lambda logits, batch: logits.argmax(1))[given]
        counts = torch.bincount(guess * classes + run.data.y[given], minlength=classes**2)
        joint = counts.reshape(classes, classes).float() + 1 / classes
        lost = counts.reshape(classes, classes).sum(1) == 0
        joint.diagonal().add_(torch.bincount(run.data.y[given], minlength=classes) * lost)
        for c in lost.nonzero().flatten().tolist():
            run.warn(f"class {c}", f"{run.data.classes[c]!r} is never predicted after warm-up; trusting its labels")
        run.remember("auxiliary").copy_(joint / joint.sum(0))
        energy = cast(Energy, run.attach("energy", nn.Module))
        energy.between.copy_((joint / joint.sum(1, keepdim=True)).log())

    def weight(self, run: Run) -> float:
        """Alpha now."""
        begin = self.warmup_epochs(run)
        fallen = targets.ramp(run.progress, begin, 0.75 * run.plan.epochs - begin)
        return self.alpha + (self.alpha_last - self.alpha) * fallen

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """Minus the expected log p(z, y | x) under the regularised posterior; cross-entropy during warm-up."""
        logits = run.logits(i, batch.x[0])
        cross_entropy = run.observe(batch, logits).mean()
        if run.epoch < self.warmup_epochs(run):
            return cross_entropy
        between: Tensor = run.attach("energy", nn.Module)()
        log_joint = torch.log_softmax(logits, 1) + between.T[batch.y]
        log_auxiliary = run.remember("auxiliary").T[batch.y].log()
        target = targets.regularised_posterior(log_joint.detach(), log_auxiliary, self.weight(run))
        return -(target * log_joint).sum(1).mean()
