"""The looks at the training set while a network learns: predictions, losses and probabilities, epoch by epoch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from codivide.core.errors import TrainingWarning
from codivide.core.types import AnyFloats, AnyLabels, Labels
from codivide.data.loaded import Loaded
from codivide.data.rows import take
from codivide.fit.job import Job
from codivide.noise import learning_curves
from codivide.runs.model import Model
from codivide.training.run import Run
from codivide.training.targets import sample_loss

_COLLAPSE = "collapse"  # the key of that warning in a record
_MEMORY = "learning.predictions"  # of a run: what it predicted for every sample at each recorded epoch
_CONFIDENCE = "learning.confidence"  # the probability of the latest of these predictions
_SETTLED = 0.2  # of the epochs, before which a network may still predict few classes
PROBS = "learning.probabilities"  # the sum over these epochs of the class probabilities of every sample


def warned(run: Run, remark: str) -> dict[str, str]:
    """Warn, once in a run, that its network has collapsed; what the record of the epoch is to say of it.

    The last epoch in which anything was learned is named: after a run has stopped, records go on to the planned end.
    """
    if any(_COLLAPSE in row.get("warnings", {}) for row in run.history):
        return {}
    epoch = next((row["epoch"] for row in reversed(run.history) if "stopped" not in row), run.epoch)
    warnings.warn(f"epoch {epoch}: {remark}", TrainingWarning, stacklevel=2)
    return {_COLLAPSE: f"epoch {epoch}: {remark}"}


class Learning:
    """The record of what is learned of clean and of wrong labels; kept in the run's memory, so that it is resumed.

    Args:
        job: whose run is looked at.
        loaded: its data, with the true labels where they are known.
        evaluations: the epochs at which it is evaluated; at these, or some of them, it is looked at.
        asked: the last epoch whose probabilities count.
    """

    def __init__(self, job: Job, loaded: Loaded, evaluations: Sequence[int], asked: int) -> None:
        self.loaded, self.dtype = loaded, learning_curves.prediction_type(len(loaded.classes))
        samples = len(loaded.y) * self.dtype.itemsize
        self.epochs = learning_curves.recorded_epochs(evaluations, samples)
        self.fewer = len(self.epochs) < len(learning_curves.recorded_epochs(evaluations, 1))
        self.detailed = learning_curves.histogram_epochs(self.epochs, asdict(job.method).get("warmup"))
        self.classes = len(loaded.classes)
        self.asked = asked
        self.keeps_probs = 4 * len(loaded.y) * self.classes <= learning_curves.MOST_BYTES

    def _predictions(self, run: Run) -> torch.Tensor:
        """``[N, K]``, one column a recorded epoch."""
        return run.remember(_MEMORY, len(self.epochs), dtype=self.dtype)

    def look(self, run: Run, model: Model) -> dict[str, Any]:
        """The record of the epoch that has just ended."""
        size = run.plan.evaluation_batch
        parts: list[torch.Tensor] = []
        losses: list[torch.Tensor] = []
        confidence: list[torch.Tensor] = []
        own = run.together.own(len(run.data))
        keeps = self.keeps_probs and run.epoch <= self.asked
        total = run.remember(PROBS, self.classes) if keeps else None
        with run.apart():
            for logits, rows in zip(model.batches(take(run.data.x, own), size), torch.split(own, size), strict=True):
                rows = rows.to(run.device)
                probs = torch.softmax(logits, 1)
                if total is not None:
                    total[rows] += probs
                parts.append(logits.argmax(1))
                confidence.append(probs.amax(1))
                losses.append(sample_loss(logits, run.data.y[rows]))
        predicted, sure, loss = (run.together.spread(torch.cat(some)) for some in (parts, confidence, losses))
        number = self.epochs.index(run.epoch)
        self._predictions(run)[:, number] = predicted.to(self.dtype)
        run.remember(_CONFIDENCE)[:] = sure
        row = learning_curves.record(
            predicted.cpu().numpy(),
            loss.cpu().numpy(),
            self.loaded.y,
            self.loaded.truth,
            histogram=run.epoch in self.detailed,
        )
        if self.fewer and run.epoch == self.epochs[0]:
            text = f"so many samples that what they are predicted as is recorded at {len(self.epochs)} epochs only"
            warnings.warn(text, TrainingWarning, stacklevel=2)
            row["warnings"] = run.history[-1].get("warnings", {}) | {"learning": text}
        remark = self._collapsed(run, number)
        if remark is not None:
            said = row.get("warnings", run.history[-1].get("warnings", {}))
            row["warnings"] = said | warned(run, remark)
        return row

    def _collapsed(self, run: Run, number: int) -> str | None:
        """What is to be said of a network that has collapsed at this look and the one before."""
        if number == 0 or run.epoch < _SETTLED * run.plan.epochs:
            return None
        looks = (self._predictions(run)[:, k].cpu().numpy().astype(np.int64) for k in (number - 1, number))
        before, now = (learning_curves.collapse(seen, self.loaded.y, self.classes) for seen in looks)
        return now if before is not None else None

    def last(self, run: Run) -> Labels:
        """What was predicted at the last look, int64 ``[N]``."""
        return self._predictions(run)[:, -1].cpu().numpy().astype(np.int64)

    def repeat(self, run: Run) -> None:
        """The record of an epoch in which nothing was learned: the predictions of the record before it."""
        number = self.epochs.index(run.epoch)
        if number:
            self._predictions(run)[:, number] = self._predictions(run)[:, number - 1]

    def close(self, run: Run) -> tuple[Labels, AnyFloats]:
        """Tell every record how far it agrees with the last one, which is returned: int64 ``[N]``, probability."""
        predictions = self._predictions(run).T.cpu().numpy()
        for epoch, share in zip(self.epochs, learning_curves.final_agreement(predictions), strict=True):
            run.history[epoch - 1]["final_agreement"] = share
        return predictions[-1].astype(np.int64), run.remember(_CONFIDENCE).double().cpu().numpy()

    def votes(self, run: Run) -> AnyLabels:
        """The likeliest class ``[K, N]`` of every sample at each recorded epoch."""
        return self._predictions(run).T.cpu().numpy()
