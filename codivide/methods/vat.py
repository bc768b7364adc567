"""Virtual adversarial training (Miyato, Maeda, Koyama, Ishii; TPAMI 2018, arXiv:1704.03976).

Kept from the reference code, not in the paper:
- weights and ramp are those of the comparison in the MixMatch paper (this paper: 1 and 1, no ramp). They are 0.3 for
  the divergence, rising linearly over the first 40 % of training, and 0.06 for the entropy;
- labelled samples are among the unlabelled ones, as in the paper;
- ``reverse``: that comparison learns from ``KL(p(x + r) || p(x))``, and finds r by the divergence of the paper.

Ours:
- ``eps`` is the L2 norm of each sample's step in units of normalised input (deviation 1). None stands for ``2 sqrt(D /
  3072)`` where an input has D numbers: 2 for an image of 3 x 32 x 32. That is 0.036 a number (root mean square) for any
  D. In the published runs pixels lie in [-1, 1] and the step is 6, about six times as large next to the pixels'
  deviation. A step of 6 in our units is half of theirs. With it, and 25 labels of each of ten classes, a small network
  gave a quarter of all samples to one class.
- ``xi`` is a tenth of ``eps`` (the paper: 1e-6, at which float32 sees rounding errors), and the power iteration runs in
  float32 whatever the plan's precision.
- The power iteration disturbs nothing: batch normalisation uses the batch's statistics and records none, dropout is
  off and draws no number, no parameter gets a gradient. Where the divergence is learned, records are off too, and
  dropout is as in training.

See also ``_semi_supervised.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from codivide.methods._semi_supervised import SemiSupervised
from codivide.training import layers, mixmatch, targets
from codivide.training.run import Run
from codivide.training.samples import Batch


@dataclass
class VAT(SemiSupervised):
    """The prediction shall not change along the step that changes it most; and be sure.

    Attributes:
        weight: of the divergence, once it has risen.
        eps: length of the step, in units of normalised input; None: 2 for images of 3 x 32 x 32, else
            in proportion to the length of an input.
        xi: length of the step at which the power iteration takes its gradient; None: a tenth of eps.
        iterations: of the power iteration.
        entropy: weight of the entropy of the predictions.
        reverse: the divergence that is learned from is that of the moved prediction from the other.
    """

    paper: ClassVar[str] = "arXiv:1704.03976"
    summary: ClassVar[str] = "semi-supervised: smooth along the most sensitive direction"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        **SemiSupervised.limits,
        "eps": (0, math.inf),
        "xi": (1e-9, math.inf),
        "iterations": (0, 99),
        "entropy": (0, math.inf),
    }

    weight: float = 0.3
    eps: float | None = None
    xi: float | None = None
    iterations: int = 1
    entropy: float = 0.06
    reverse: bool = False

    def unlabelled_loss(self, run: Run, unknown: Batch, weight: float) -> Tensor:
        """``w(t) KL(p(x) || p(x + r)) + w_H H(p(x))``; the divergence has no gradient in ``p(x)``."""
        x = unknown.x[0]
        logits = self.logits(run, x)
        moved = self.logits(run, x + self.step(run, x))
        if self.reverse:
            loss = targets.reverse_divergence(moved, logits.detach())
        else:
            loss = targets.prediction_kl(logits, moved)
        entropy = -targets.confidence_penalty(logits)
        run.log(loss_u=loss, weight=weight, entropy=entropy)
        return weight * loss + self.entropy * entropy

    def step(self, run: Run, x: Tensor) -> Tensor:
        """The virtual adversarial step ``r`` of every sample, ``[B, ...]``."""
        net = run.nets[0]
        radius = self.radius(x)
        probe = radius / 10 if self.xi is None else self.xi
        with layers.steady(net):
            return mixmatch.adversarial(
                net, x, radius=radius, probe=probe, generator=run.gen, iterations=self.iterations
            )

    def radius(self, x: Tensor) -> float:
        """Eps for inputs like these."""
        return 2 * math.sqrt(x[0].numel() / 3072) if self.eps is None else self.eps
