"""What methods share that train two networks plainly before they select: the first stage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from codivide.training import targets
from codivide.training.plan import early_epochs
from codivide.training.run import Method, Run
from codivide.training.samples import Batch


@dataclass
class WarmUp(Method):
    """Two networks that begin with cross-entropy, plus the confidence penalty where it is asked for."""

    nets: ClassVar[int] = 2
    sets_aside: ClassVar[bool] = True
    warmup_batch: ClassVar[int] = 1  # batch size of the first stage, in batches of the plan
    limits: ClassVar[Mapping[str, tuple[float, float]]] = dict.fromkeys(("warmup", "confidence_penalty"), (0, math.inf))

    warmup: int | None = None
    confidence_penalty: float = 0.0

    def warmup_epochs(self, run: Run) -> int:
        """Epochs of plain training before the first selection."""
        return early_epochs(run.plan) if self.warmup is None else self.warmup

    def epoch(self, run: Run) -> None:
        """Plain training first, then ``select_and_learn``."""
        if run.epoch >= self.warmup_epochs(run):
            self.select_and_learn(run)
        else:
            for i in range(self.nets):
                self.fit_all(run, i, size=self.warmup_batch * run.plan.batch_size)

    def select_and_learn(self, run: Run) -> None:
        """One epoch of the second stage."""
        raise NotImplementedError

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """Cross-entropy, with the confidence penalty."""
        logits = run.logits(i, batch.x[0])
        loss = run.observe(batch, logits).mean()
        return loss + self.confidence_penalty * targets.confidence_penalty(logits)

    def clean_prob(self, run: Run) -> Tensor:
        """As judged by the last selection; before the first one, as for methods without any."""
        return self.judge(run) if run.epoch > self.warmup_epochs(run) else super().clean_prob(run)

    def judge(self, run: Run) -> Tensor:
        """Probability ``[N]`` that each given label is clean, from the last selection; NaN where there is none."""
        raise NotImplementedError
