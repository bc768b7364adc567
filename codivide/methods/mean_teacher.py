"""Mean Teacher (Tarvainen, Valpola; NeurIPS 2017, arXiv:1703.01780).

Kept from the reference code, not in the paper:
- the weight rises linearly, as in the comparison in the MixMatch paper: to 50 on CIFAR-10 and 150 on SVHN, over 40 % of
  training (the paper: 100, along a Gaussian);
- the squared difference is a mean over classes, too;
- labelled samples are among the unlabelled ones, as in the paper; the teacher classifies.

The teacher predicts on the statistics of the batch, as in the reference code. In evaluation mode it would use running
statistics of the few labelled samples, and the network then falls to few classes. With 25 labels a class this costs 5
points of accuracy, and the larger the weight the more.

Ours: the decay of the teacher's average rises as ``(1 + t) / (10 + t)`` over updates t up to the plan's ``average``
(the paper: 0.99 at first, then 0.999; about the same). The average covers the buffers of batch normalisation. With a
plan that has no average the network itself is its teacher. The published run on CIFAR-10 has a weight decay of 0.2,
ours is that of the other methods. See also ``_semi_supervised.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from codivide.methods._semi_supervised import SemiSupervised
from codivide.training import layers, targets
from codivide.training.run import Run
from codivide.training.samples import Batch


@dataclass
class MeanTeacher(SemiSupervised):
    """The average of a network's weights is the teacher that it follows on unlabelled samples.

    Attributes:
        weight: of the squared difference to the teacher, once it has risen.
    """

    paper: ClassVar[str] = "arXiv:1703.01780"
    summary: ClassVar[str] = "semi-supervised: follow the average of one's own weights"

    weight: float = 50.0

    def views(self) -> tuple[str, ...]:
        """Two weak ones: the student's and the teacher's."""
        return ("weak", "weak")

    def unlabelled_loss(self, run: Run, unknown: Batch, weight: float) -> Tensor:
        """``w(t) ||p(x') - p_teacher(x'')||^2 / C``; no gradient goes to the teacher."""
        with layers.untracked(run.averages[0]):
            target = run.probs(0, unknown.x[1:], training=True, average=True)[0]
        loss = targets.squared_error(self.logits(run, unknown.x[0]), target)
        run.log(loss_u=loss, weight=weight)
        return weight * loss
