"""The optimizer of a network, and state of it that fits fused kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from codivide.core.device import defers
from codivide.training.plan import Plan


def build(net: nn.Module, plan: Plan, device: torch.device) -> torch.optim.Optimizer:
    """The plan's optimizer of all parameters of a network that is on ``device``.

    On CUDA it is the fused one, whose step a number on the device can skip.
    """
    groups: list[dict[str, Any]] = [{"params": list(net.parameters())}]
    if plan.decayed == "kernels":
        kernels = [p for p in net.parameters() if p.ndim > 1]
        others = [p for p in net.parameters() if p.ndim <= 1]
        groups = [{"params": kernels}, {"params": others, "weight_decay": 0.0}]
    fused = True if defers(device) else None  # None: as torch has it
    if plan.optimizer == "adamw":
        return torch.optim.AdamW(groups, plan.lr, weight_decay=plan.weight_decay, fused=fused)
    settings: dict[str, Any] = {"weight_decay": plan.weight_decay, "nesterov": plan.nesterov}
    return ready(torch.optim.SGD(groups, plan.lr, plan.momentum, **settings, fused=fused))


def ready(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Give every state what fused kernels ask for: the memory layout of its parameter, and a momentum from the start.

    The values stay; a momentum of zeros is what the first step begins with anyhow. Only a skipped first step, or a
    state from a checkpoint of another device, would lack it.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            slots = optimizer.state.get(parameter, {})
            for name, value in slots.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    slots[name] = torch.empty_like(parameter).copy_(value)
            if group["fused"] and group.get("momentum") and slots.get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer
