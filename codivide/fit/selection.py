"""The best epoch of each network by a part of the data whose labels are known to be right, as for Clothing1M."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from codivide.data.loaded import Loaded
from codivide.runs.model import Model
from codivide.training.run import Run

_ACCURACY, _EPOCHS = "best.accuracy", "best.epoch"  # of a run's memory, so that it is resumed


class Selection:
    """Keeps every network as it was when it was best on the validation part.

    Args:
        validation: samples with true labels; those without one do not count.
    """

    def __init__(self, validation: Loaded) -> None:
        self.validation = validation

    def look(self, run: Run, model: Model) -> dict[str, Any]:
        """Judge the networks of an epoch that has ended, each alone; its record.

        Args:
            run: whose networks they are.
            model: their classifier, which says how samples are seen.
        """
        count = len(model.members)
        best = run.remember(_ACCURACY, count, fill=-1.0, per_sample=False)
        epochs = run.remember(_EPOCHS, count, dtype=torch.int64, per_sample=False)
        found = []
        for i, member in enumerate(model.members):
            accuracy = self.accuracy(model, member)
            found.append(accuracy)
            if accuracy > best[i]:
                best[i], epochs[i] = accuracy, run.epoch
                for name, value in member.state_dict().items():
                    kept = run.remember(f"best.{i}.{name}", *value.shape, dtype=value.dtype, per_sample=False)
                    kept.copy_(value)
        return {"validation_accuracy": sum(found) / count}

    def accuracy(self, model: Model, member: nn.Module) -> float:
        """Share of the validation labels that one network predicts."""
        alone = Model([member], *(getattr(model, name) for name in ("net", "shape", "dtype", "classes", "views")))
        alone.precision = model.precision
        known = self.validation.y >= 0
        right = alone.logits(self.validation.x).argmax(1).numpy()[known] == self.validation.y[known]
        return float(right.mean())

    def members(self, run: Run, members: list[nn.Module]) -> list[nn.Module]:
        """The networks as they were at their best epochs; as they are before the first look."""
        if _ACCURACY not in run.memory:
            return members
        kept = []
        for i, member in enumerate(members):
            state = {name: run.memory[f"best.{i}.{name}"] for name in member.state_dict()}
            best = deepcopy(member)
            best.load_state_dict(state)
            kept.append(best)
        return kept

    @staticmethod
    def summary(run: Run) -> dict[str, Any]:
        """What was chosen: the epoch of each network, and its accuracy there."""
        return {
            "validation": {
                "epochs": run.memory[_EPOCHS].tolist(),
                "accuracy": [float(value) for value in run.memory[_ACCURACY]],
            }
        }
