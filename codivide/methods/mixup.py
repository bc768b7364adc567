"""mixup (Zhang, Cisse, Dauphin, Lopez-Paz; ICLR 2018, arXiv:1710.09412).

Kept from the reference code, not in the paper:
- one share for the whole batch (``per_sample``: one for each sample);
- a batch is mixed with its own permutation, so a sample may meet itself;
- the share is never replaced by the larger of it and the rest, as MixMatch does;
- weight decay 1e-4 unless told otherwise (the paper's ablation: 4.24 % error with it, 4.68 % with 5e-4).

Ours:
- "Mix inputs only" keeps the label of the sample with the largest share, as the paper describes; of equal ones the
  first. Label smoothing spreads over all classes, the right one too, as the paper does.
- Neighbours are found once, by Euclidean distance of plain views, among the other labelled samples; a sample without
  one (alone in its class) is mixed with itself. Partners from outside the batch get weak views of their own; a hidden
  layer is then computed for both, so that batch norm below it sees both.
- Layer l is the output of the network's l-th part: before stage l of ``preact_resnet18``, 5 before its pooling.
- Noise is added to what the network sees, after normalisation.
- p(clean) is fitted to losses that are measured on unmixed samples after every epoch: one more forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from codivide.core.device import onto
from codivide.core.errors import InputError
from codivide.training import layers, mixing, targets
from codivide.training.run import Method, Run
from codivide.training.samples import Batch


@dataclass
class Mixup(Method):
    """Train on convex combinations of samples and of their labels, one network.

    Attributes:
        alpha: of the Beta or Dirichlet distribution of shares: 1 for clean labels, 8 to 32 for noisy ones; 0: no mix.
        samples: how many samples are mixed; the shares of more than two are Dirichlet.
        per_sample: draw shares for every sample instead of once for the batch.
        same_class: partners have the same given label.
        neighbours: partners are drawn from so many nearest samples (200 in the paper); 0: from the batch.
        layer: mix the output of this layer of the network; 0: the inputs.
        mix_labels: mix the labels too; else keep the label of the sample with the largest share.
        label_smoothing: probability that is spread over all classes, in [0, 1].
        input_noise: standard deviation of Gaussian noise on the (normalised) inputs.
    """

    paper: ClassVar[str] = "arXiv:1710.09412"
    summary: ClassVar[str] = "train on mixtures of samples and of their labels"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "alpha": (0, 1e6),
        "samples": (2, 99),
        "label_smoothing": (0, 1),
        **dict.fromkeys(("neighbours", "layer", "input_noise"), (0, math.inf)),
    }
    settings: ClassVar[Mapping[str, Any]] = {"weight_decay": 1e-4}
    looks_back: ClassVar[bool] = True

    alpha: float = 8.0
    samples: int = 2
    per_sample: bool = False
    same_class: bool = False
    neighbours: int = 0
    layer: int = 0
    mix_labels: bool = True
    label_smoothing: float = 0.0
    input_noise: float = 0.0

    def start(self, run: Run) -> None:
        """Find the neighbours of every labelled sample, where they are the partners."""
        super().start(run)
        parts = len(layers.layers(run.nets[0]))
        if self.layer > parts:
            raise InputError(f"layer is {self.layer}, but this network has {parts} layers")
        if self.neighbours:
            near = run.remember("neighbours", self.neighbours, dtype=torch.int32, fill=-1)
            groups = run.data.y if self.same_class else run.data.y.clamp_max(0)
            for group in torch.unique(groups[groups >= 0]):
                ids = run.ids[groups == group]
                found = mixing.nearest(lambda some: self.seen(run, some), ids, self.neighbours)
                near[ids, : found.shape[1]] = found.int()

    @staticmethod
    def seen(run: Run, ids: Tensor) -> Tensor:
        """Plain views of some samples as rows ``[M, D]``."""
        return run.fetch(ids.cpu(), ("plain",)).x[0].flatten(1)

    def epoch(self, run: Run) -> None:
        """Train on mixtures, then look at every sample as it is."""
        super().epoch(run)
        run.measure(0, lambda logits, batch: run.observe(batch, logits))

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """``H(sum_j l_j y_j, p(sum_j l_j x_j))``, the shares ``l`` from Beta or Dirichlet."""
        pool, rows = self.partners(run, batch)
        shares = mixing.shares(self.alpha, rows.shape[1], run.gen, len(rows) if self.per_sample else 1)
        given = targets.one_hot(pool.y, len(run.data.classes))
        target = mixing.combine(given, rows, shares if self.mix_labels else mixing.largest(shares))
        logits = self.mixed_logits(run, i, pool.x[0], rows, shares)
        return targets.soft_cross_entropy(logits, targets.smooth(target, self.label_smoothing))

    def partners(self, run: Run, batch: Batch) -> tuple[Batch, Tensor]:
        """A pool of samples, the batch first, and which of its rows ``[B, samples]`` are mixed."""
        own = torch.arange(len(batch.id), device=run.device)
        others = self.samples - 1 if self.alpha else 0
        if not (self.neighbours and others):
            groups = batch.y if self.same_class else torch.zeros_like(batch.y)
            return batch, torch.stack([own, *(mixing.shuffled(groups, run.gen) for _ in range(others))], 1)
        ids = mixing.drawn(run.remember("neighbours")[batch.id], batch.id, others, run.gen)
        more = run.fetch(ids.T.flatten().cpu(), ("weak",))
        pool = Batch(
            torch.cat([batch.id, more.id]), (torch.cat([batch.x[0], more.x[0]]),), torch.cat([batch.y, more.y])
        )
        return pool, own[:, None] + len(own) * torch.arange(1 + others, device=run.device)

    def mixed_logits(self, run: Run, i: int, x: Tensor, rows: Tensor, shares: Tensor) -> Tensor:
        """Logits ``[B, C]`` of the mixtures of a pool ``x [P, ...]``, mixed before or inside the network."""
        if self.input_noise:
            x = x + self.input_noise * onto(torch.randn(x.shape, generator=run.gen), x.device)
        if not self.layer:
            return run.logits(i, mixing.combine(x, rows, shares))
        return run.logits_changed(i, x, self.layer - 1, lambda hidden: mixing.combine(hidden, rows, shares))
