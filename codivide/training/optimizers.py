"""Optimizers whose state fits fused kernels."""

from __future__ import annotations

import torch
from torch import Tensor


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
