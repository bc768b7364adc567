"""SOP, sparse over-parameterisation (Liu, Zhu, Qu, You; ICML 2022, arXiv:2202.14026).

Kept from the reference code, not in the paper:
- u is one number a sample (it acts at the given label only), v one a class;
- u*u and v*v are clamped to [0, 1], entries of p + s to at least 1e-4 before they are normalised;
- both losses are means over the batch, so that a step of u or v is lr / batch size; they know no momentum, weight
  decay or schedule.

Ours:
- u learns from the cross-entropy alone, as in the paper (some versions of the code let the squared error in);
- u and v start at one value, not at normal numbers: only their squares matter. It is 1e-8 for the paper's 300 epochs of
  batches of 128. In a shorter run it is larger (at most 0.1), so that v reaches 1 as early in the run;
- u and v are kept in [-1, 1]: beyond it the clamp has no gradient, and a step too far could not be taken back;
- the probability of being clean is the geometric mean of the mixture on the losses of p (without s, averaged over
  epochs) and of 1 - u*u. On small parts of CIFAR-10 this ranked labels better than either, and than anything with v.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from codivide.methods._over_parameterised import OverParameterised


@dataclass
class SOP(OverParameterised):
    """Learn each label's noise beside the network, from almost nothing, so that it stays sparse.

    Attributes:
        lr_u: learning rate of u, which raises the given label: 1, or 10 on CIFAR-10.
        lr_v: learning rate of v, which lowers the others: 10, or 100 for asymmetric noise.
        init: u and v at the start; None: 1e-8 for 300 epochs of batches of 128, larger in shorter runs.
    """

    paper: ClassVar[str] = "arXiv:2202.14026"
    summary: ClassVar[str] = "learn the noise of every label as sparse parameters beside the network"
