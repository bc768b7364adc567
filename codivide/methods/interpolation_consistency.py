"""Interpolation consistency (ICT: Verma, Lamb, Kannala, Bengio, Lopez-Paz; IJCAI 2019, arXiv:1903.03825) and mixup.

Kept from the reference code, not in the paper:
- labelled samples are mixed, too (mixup);
- the squared difference is a mean over classes.

``form="mixup"`` is the row "Mixup" of MixMatch's tables, as its published code has it. The network's own predictions in
training mode take the place of the teacher's, and cross-entropy that of the squared difference. Every sample has a
share of its own, never below a half. The weight is 1 from the start there.

Ours: labelled samples are among the unlabelled ones (``include_labelled``). The weight is 10 (the paper searches 1 to
100, the authors of MixMatch run it with 1000). It rises linearly over all of training (the paper: along a sigmoid over
a quarter of 400 epochs). With few labels and a larger weight the network predicts too few classes, because the same
answer for all samples is consistent, too. At 50, with 25 labels of each of ten classes, a third of all samples became
one class. The teacher's probabilities are mixed, as in the paper; the authors' code mixes its logits. One share for a
batch, as in the paper; the partner of an unlabelled sample is another of the same batch. The
teacher is the average of the weights in evaluation mode (that of ``mean_teacher`` is in training mode). p(clean) is
fitted to losses measured on unmixed labelled samples after every epoch. See also ``_semi_supervised.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from codivide.core.device import onto
from codivide.methods._semi_supervised import SemiSupervised
from codivide.training import layers, mixing, targets
from codivide.training.run import Run
from codivide.training.samples import Batch


@dataclass
class InterpolationConsistency(SemiSupervised):
    """Between two samples the prediction shall lie between those of the two; mixup on labelled ones.

    Attributes:
        weight: of the squared difference to the mixed predictions, once it has risen.
        alpha: of the Beta distribution of mixing shares; 0: no mixing.
        form: "ict", or "mixup", mixup with the network's own predictions as labels.
    """

    paper: ClassVar[str] = "arXiv:1903.03825"
    summary: ClassVar[str] = "semi-supervised: mixtures are predicted as mixtures"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {**SemiSupervised.limits, "alpha": (0, 1e6)}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"form": ("ict", "mixup")}

    weight: float = 10.0
    rampup: float = 1.0
    alpha: float = 0.75
    form: str = "ict"

    def epoch(self, run: Run) -> None:
        """The steps, then a look at every labelled sample as it is."""
        super().epoch(run)
        self.look(run)

    def mix(self, run: Run, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Samples and targets, each mixed with a random other of the batch: at one share, or each at its own."""
        own = self.form == "mixup"
        drawn = mixing.shares(self.alpha, 2, run.gen, len(x) if own else 1)
        share = drawn.amax(1) if own else float(drawn[0, 0])
        order = onto(torch.randperm(len(x), generator=run.gen), x.device)
        return targets.mixup(x, target, share, order)

    def labelled_loss(self, run: Run, known: Batch) -> Tensor:
        """``H(mix(y, y'), p(mix(x, x')))``."""
        x, target = self.mix(run, known.x[0], targets.one_hot(known.y, len(run.data.classes)))
        return targets.soft_cross_entropy(run.logits(0, x), target)

    def unlabelled_loss(self, run: Run, unknown: Batch, weight: float) -> Tensor:
        """``w(t) ||p(mix(u, u')) - mix(q(u), q(u'))||^2 / C``, q the teacher; "mixup": cross-entropy, q = p."""
        if self.form == "mixup":
            with layers.untracked(run.nets[0]):
                guess = run.probs(0, unknown.x, training=True)[0]
        else:
            guess = run.probs(0, unknown.x, average=True)[0]
        x, target = self.mix(run, unknown.x[0], guess)
        logits = self.logits(run, x)
        own = self.form == "mixup"
        loss = targets.soft_cross_entropy(logits, target) if own else targets.squared_error(logits, target)
        run.log(loss_u=loss, weight=weight)
        return weight * loss
