"""Which device and precision: what this machine can compute with."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from codivide.core.errors import InputError, TrainingWarning

UNCHOSEN = (
    "this Mac has an Apple GPU, which is not chosen by itself, since codivide is not tested on it: the CPU is used. "
    'The device "mps" is the GPU, in float32'
)


def resolve_device(name: str) -> torch.device:
    """The device that "auto" or a torch device name stands for; InputError if it is unknown or not there."""
    if name == "auto":
        found = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if found.type == "cpu" and torch.backends.mps.is_available():
            warnings.warn(UNCHOSEN, TrainingWarning, stacklevel=2)
        return found
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here: {_why_not(name, error)}") from None
    return device


def _why_not(name: str, error: Exception) -> str:
    """Why a device is not there; of one that is no NVIDIA GPU torch would list all its parts."""
    kind = name.partition(":")[0]
    if kind == "cuda":
        return str(error).splitlines()[0]
    if kind == "mps":
        return "PyTorch finds no Apple GPU; use auto, cpu or cuda"
    return "it must be one of auto, cpu, cuda (cuda:1: the second GPU), mps"


def defers(device: torch.device) -> bool:
    """Whether a number that is asked for makes the processor wait, so that it is read as late as possible."""
    return device.type == "cuda"


def onto(values: Tensor, device: torch.device) -> Tensor:
    """The same values on ``device``; to CUDA they go through pinned memory, and nobody waits for them."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.contiguous().pin_memory().to(device, non_blocking=True)
    return values.to(device)


def computes_bf16(device: torch.device) -> bool:
    """Whether the chip has bfloat16 instructions (emulating them is slower than float32)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def resolve_precision(precision: str, device: torch.device, *, images: bool) -> Literal["bf16", "fp32"]:
    """What "auto" stands for: bf16 for images where the chip has it (small tables gain nothing from it), else fp32.

    Raises:
        InputError: bf16 on Apple's MPS, which does not compute in it everywhere.
    """
    if precision == "bf16" and device.type == "mps":
        raise InputError(
            'precision "bf16" cannot be relied on with device "mps"; use "fp32", or "auto", which is fp32 there'
        )
    if precision == "auto":
        return "bf16" if images and computes_bf16(device) else "fp32"
    return "bf16" if precision == "bf16" else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which networks run."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
