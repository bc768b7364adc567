"""A step of a run's networks by the gradients that they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from codivide.core.device import defers
from codivide.training.plan import Plan


class Attached(NamedTuple):
    """A module that a method needs besides its networks, with its optimizer and its share of the learning rate."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    lr: float


class Trained(Protocol):
    """What a step needs of a ``Run``."""

    plan: Plan
    device: torch.device
    nets: list[nn.Module]
    averages: list[nn.Module]
    optimizers: list[torch.optim.Optimizer]
    attached: dict[str, Attached]
    gen: torch.Generator
    memory: dict[str, Tensor]
    per_sample: set[str]
    step: int
    not_finite: Tensor | None

    def rate(self) -> float:
        """The learning rate now."""

    def decay(self) -> float:
        """The decay of the weight averages now; 0 where there are none."""

    def skipped(self, count: int) -> None:
        """Count losses that were not finite, and say so."""


def counts(run: Trained, finite: Tensor) -> bool:
    """Whether a step is taken: not on a loss that is not finite, which is noted; where that is read late, always."""
    if defers(run.device):
        skip = 1 - finite.float()
        run.not_finite = skip if run.not_finite is None else run.not_finite + skip
    elif not bool(finite):
        run.skipped(1)
        return False
    return True


def trained(run: Trained, nets: Sequence[int | str]) -> list[tuple[torch.optim.Optimizer, float]]:
    """The optimizers of networks and attached modules, with their shares of the learning rate."""
    return [run.attached[i][1:] if isinstance(i, str) else (run.optimizers[i], 1.0) for i in nets]


def take(run: Trained, nets: Sequence[int | str], finite: Tensor, *, rate: float, decay: float) -> None:
    """Step these networks, and let their averages follow; where it is read late, only if the loss was ``finite``."""
    for optimizer, share in trained(run, nets):
        for group in optimizer.param_groups:
            group["lr"] = rate * share
        if defers(run.device):  # as a gradient scaler does; the fused kernels read it
            vars(optimizer).update(grad_scale=None, found_inf=1 - finite.float())
        optimizer.step()
    for i in nets:
        if run.plan.average and isinstance(i, int):
            _follow(run, i, finite, 1 - decay)


@torch.no_grad()
def _follow(run: Trained, i: int, finite: Tensor, share: float) -> None:
    state = run.nets[i].state_dict()
    weight = share * finite.float() if defers(run.device) else share
    for name, mean in run.averages[i].state_dict().items():
        if mean.is_floating_point():
            mean.lerp_(state[name].to(mean), weight.to(mean) if isinstance(weight, Tensor) else weight)
        else:
            mean.copy_(state[name])
