"""Generalised cross-entropy (Zhang, Sabuncu; NeurIPS 2018, arXiv:1805.07836).

Kept from the reference code, not in the paper: nothing; only re-implementations by others were found.

Ours: the mean over the batch, where the paper sums. Pruning (``k`` > 0) uses the network as it is, where the paper uses
its best epoch on a validation set. Its two epoch numbers scale with the plan (40 and 10 of the paper's 120). A class
that would lose all its labels keeps them; the run warns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from codivide.training import losses
from codivide.training.run import Method, Run
from codivide.training.samples import Batch


@dataclass
class GCE(Method):
    """A loss between cross-entropy and absolute error; optionally the labels it fits worst are dropped.

    Attributes:
        q: 0 is cross-entropy, 1 absolute error (robust, but slow to learn).
        k: the truncated loss: labels with a probability below k are dropped (.5 in the paper); 0: none.
        prune_from: epochs before the first dropping; None: a third of all.
        prune_every: epochs from one dropping to the next; None: a twelfth of all.
    """

    weighs: ClassVar[bool] = True
    paper: ClassVar[str] = "arXiv:1805.07836"
    summary: ClassVar[str] = "(1 - p^q) / q, between cross-entropy and absolute error"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "q": (0, 1),
        "k": (0, 1),
        "prune_from": (0, math.inf),
        "prune_every": (1, math.inf),
    }
    settings: ClassVar[Mapping[str, Any]] = {"weight_decay": 1e-4}

    q: float = 0.7
    k: float = 0.0
    prune_from: int | None = None
    prune_every: int | None = None

    def start(self, run: Run) -> None:
        """All labels count at first."""
        super().start(run)
        run.remember("kept", fill=1.0)

    def epoch(self, run: Run) -> None:
        """Drop labels when it is time, then train."""
        first = max(1, run.plan.epochs // 3) if self.prune_from is None else self.prune_from
        every = max(1, run.plan.epochs // 12) if self.prune_every is None else self.prune_every
        if self.k and run.epoch >= first and (run.epoch - first) % every == 0:
            self.prune(run)
        super().epoch(run)

    def prune(self, run: Run) -> None:
        """Keep the labels with ``p_y >= k``, for which the loss is at most that of k."""
        given = run.data.y
        kept = run.remember("kept")
        prob = run.measure(0, lambda logits, batch: torch.softmax(logits, 1))
        prob = prob.gather(1, given.clamp_min(0).unsqueeze(1)).squeeze(1)
        kept.copy_((prob >= self.k) & (given >= 0))
        for c, name in enumerate(run.data.classes):
            members = given == c
            if bool(members.any()) and not bool(kept[members].any()):
                kept[members] = 1.0
                run.warn(f"class {c}", f"every label {name!r} would be dropped; all are kept for now")
        run.log(kept=kept[given >= 0].mean())

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """The mean of ``w (1 - p_y^q) / q``; w is 0 where the label was dropped."""
        logits = run.logits(i, batch.x[0])
        run.observe(batch, logits)
        loss = losses.generalised_cross_entropy(logits, batch.y, self.q)
        return run.mean(batch, run.remember("kept")[batch.id] * loss)
