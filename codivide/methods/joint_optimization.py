"""Joint optimization (Tanaka, Ikami, Yamasaki, Aizawa; CVPR 2018, arXiv:1803.11364).

Kept from the reference code, not in the paper:
- the probabilities that replace a label are those seen while training (augmented, batch norm in training mode);
- a label is replaced by the mean of the last ten such predictions, and for the first time after epoch 70 of 200;
- the second stage minimises the cross-entropy to the stored labels alone, lr 0.2, a tenth at each third of it.

Ours: both stages are one run, in the paper's proportions (200 of 320 epochs, labels updated from epoch 70 on). Labels
of every kind come from the same mean of the last ``window`` predictions, of which there may be fewer at first (the
reference divides by the full window). The prior is uniform, as in the reference, unless ``prior`` says otherwise.
"Most different" in ``hard_k`` means the largest divergence ``-log s_y`` from the label held so far, among those that
would change.
Images are normalised (theirs: less their mean) and padded with black before that (theirs: after it, with the mean).
Samples without a label (-1) take part in prior and entropy from the start, and get a label at the first update. The
probability that a label is clean is what the mean prediction gives to it, also before the first update.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from codivide.core.errors import InputError
from codivide.training import targets
from codivide.training.run import Method, Run
from codivide.training.samples import Batch


@dataclass
class JointOptimization(Method):
    """Learn and replace the labels in turn at a high learning rate, then train from scratch on the labels found.

    Attributes:
        alpha: weight of the penalty that keeps the mean prediction at the prior: 1.2, or 0.8 for asymmetric noise.
        beta: weight of the entropy of each prediction: 0.8, or 0.4 for asymmetric noise.
        prior: how frequent the classes are: "uniform", "given" (as the given labels have it), or shares by class in the
            order of the classes, such as "0.5,0.3,0.2"; they are scaled to a sum of 1.
        first_share: share of the epochs in the first stage, in (0, 1]; 1: no second stage.
        update_from: epoch (the first is 1) after which labels are first replaced; None: at 35 % of the first stage.
        labels: what replaces a label: "soft" (the probabilities), "hard" (the likeliest class) or "hard_k" (the
            likeliest class, for the ``k`` most different labels only).
        k: labels that "hard_k" replaces after an epoch.
        window: epochs whose predictions are averaged to make the labels.
        second_lr: learning rate at which the second stage begins (0.2 in the paper); None: twice that of the first.
    """

    sets_aside: ClassVar[bool] = True
    paper: ClassVar[str] = "arXiv:1803.11364"
    summary: ClassVar[str] = "learn and replace the labels in turn, then train anew on the labels found"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **dict.fromkeys(("alpha", "beta"), (0, math.inf)),
        **dict.fromkeys(("update_from", "k"), (1, math.inf)),
        "first_share": (1e-6, 1),
        "window": (1, 99),
        "second_lr": (1e-9, math.inf),
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"labels": ("soft", "hard", "hard_k")}
    settings: ClassVar[Mapping[str, Any]] = {"lr": 0.1, "schedule": "constant"}

    alpha: float = 1.2
    beta: float = 0.8
    prior: str = "uniform"
    first_share: float = 0.625
    update_from: int | None = None
    labels: str = "soft"
    k: int = 50
    window: int = 10
    second_lr: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prior not in ("uniform", "given"):
            self.shares()

    def shares(self) -> list[float]:
        """The shares that ``prior`` lists, of sum 1; InputError for what is none."""
        try:
            listed = [float(word) for word in self.prior.split(",")]
        except ValueError:
            listed = []
        if not listed or not all(math.isfinite(share) and share >= 0 for share in listed) or sum(listed) <= 0:
            raise InputError(
                f"prior is {self.prior!r}; give 'uniform', 'given' or shares by class, such as 0.5,0.3,0.2"
            )
        return [share / sum(listed) for share in listed]

    def class_prior(self, run: Run) -> Tensor:
        """How frequent the classes are, ``[C]`` of sum 1."""
        classes = len(run.data.classes)
        if self.prior == "uniform":
            return torch.full((classes,), 1 / classes, device=run.device)
        if self.prior == "given":
            counts = torch.bincount(run.data.y[run.data.y >= 0], minlength=classes).float()
            return counts / counts.sum()
        shares = self.shares()
        if len(shares) != classes:
            raise InputError(f"prior has {len(shares)} shares, but there are {classes} classes: {run.data.classes}")
        return torch.tensor(shares, device=run.device)

    def start(self, run: Run) -> None:
        """Keep the labels, at first those given, and the last predictions of each sample."""
        classes = len(run.data.classes)
        run.remember("prior", classes, per_sample=False).copy_(self.class_prior(run))
        run.remember("labels", classes).copy_(targets.one_hot(run.data.y, classes))
        run.remember("predictions", self.window, classes)

    def first_epochs(self, run: Run) -> int:
        """Epochs of the first stage; at least one, and one is left for the second unless ``first_share`` is 1."""
        epochs = run.plan.epochs
        most = epochs if self.first_share == 1 else max(1, epochs - 1)
        return min(max(1, round(self.first_share * epochs)), most)

    def first_update(self, run: Run) -> int:
        """The epoch (from 1) after which labels are first replaced."""
        return max(1, round(0.35 * self.first_epochs(run))) if self.update_from is None else self.update_from

    def rate(self, run: Run) -> float:
        """High and constant, then from ``second_lr`` down to a tenth at each third of the second stage."""
        first = self.first_epochs(run)
        if run.epoch < first:
            return run.plan.lr
        start = 2 * run.plan.lr if self.second_lr is None else self.second_lr
        share = (run.progress - first) / (run.plan.epochs - first)
        return start * 0.1 ** ((share >= 1 / 3) + (share >= 2 / 3))

    def epoch(self, run: Run) -> None:
        """Learn; in the first stage replace the labels after it, in the second begin with a new network."""
        first = self.first_epochs(run)
        update = self.first_update(run)
        if run.epoch == 0 and update > first:
            run.warn("labels", f"the first stage has {first} epochs and updates from {update} on: no label is replaced")
        if run.epoch == first:
            run.reset(0)
        for batch in run.batches():
            run.update(self.loss(run, 0, batch), 0)
        if update <= run.epoch + 1 <= first:
            run.log(changed=self.replace(run))

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """First stage: ``L_c + alpha L_p + beta L_e``, and keep the predictions; second: ``L_c``."""
        logits = run.logits(i, batch.x[0])
        loss = targets.label_divergence(logits, run.remember("labels")[batch.id])
        run.log(loss=loss)
        if run.epoch >= self.first_epochs(run):
            return loss
        probs = torch.softmax(logits, 1)
        run.remember("predictions")[batch.id, run.epoch % self.window] = probs.detach().nan_to_num()
        prior = targets.prior_kl(probs, run.remember("prior"))
        entropy = -targets.confidence_penalty(logits)
        run.log(prior=prior, entropy=entropy)
        return loss + self.alpha * prior + self.beta * entropy

    def predicted(self, run: Run) -> Tensor:
        """Mean prediction ``[N, C]`` of the last epochs of the first stage; zero where there is none."""
        total = run.remember("predictions").sum(1)  # each prediction sums to 1, an empty place to 0
        return total / total.sum(1, keepdim=True).clamp_min(1e-12)

    def replace(self, run: Run) -> Tensor:
        """Replace labels by what the network predicts; the share of the labels so far whose class changed.

        A confirmed label is never replaced.
        """
        mean = self.predicted(run)
        held = run.remember("labels")
        labelled = run.whole(held.sum(1) > 0)
        seen = run.pin(run.whole(mean.sum(1) > 0), to=False)
        before, now = run.whole(held.argmax(1)), run.whole(mean.argmax(1))
        chosen = seen
        if self.labels == "hard_k":
            different = (labelled & seen & (now != before)).nonzero().flatten()
            agreement = run.whole(mean.gather(1, before.unsqueeze(1)).squeeze(1))[different]
            chosen = seen & ~labelled
            chosen[different[agreement.argsort(stable=True)[: self.k]]] = True
        held[chosen] = (mean if self.labels == "soft" else targets.one_hot(now, mean.shape[1]))[chosen]
        return (run.whole(held.argmax(1) != before) & labelled).sum() / labelled.sum()

    def updated_labels(self, run: Run) -> Tensor:
        """The likeliest class ``[N]`` of every label as it stands, -1 where there is none yet."""
        held = run.remember("labels")
        return held.argmax(1).where(held.sum(1) > 0, -1)

    def clean_prob(self, run: Run) -> Tensor:
        """What the mean prediction gives to each label; with soft labels, the stored label."""
        return targets.label_prob(self.predicted(run), run.data.y)
