"""How to train, whatever the method: optimizer, schedule, precision, device."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, fields
from typing import Literal

from codivide.core.errors import InputError

Schedule = Literal["constant", "step", "linear", "cosine", "one_cycle"]
Precision = Literal["auto", "bf16", "fp32"]


@dataclass(frozen=True)
class Plan:
    """How to train, whatever the method.

    Attributes:
        epochs: passes, as the method counts them.
        batch_size: samples in a batch (labelled and unlabelled ones each).
        optimizer: "sgd" (with momentum) or "adamw".
        lr: learning rate at its highest.
        momentum: of SGD.
        nesterov: Nesterov's form of momentum.
        weight_decay: coupled for SGD, decoupled for AdamW.
        decayed: what ``weight_decay`` acts on: "all" parameters, or "kernels" (weights of linear layers and
            convolutions, anything of two dimensions or more), so neither biases nor normalisation.
        schedule: how ``lr`` changes: constant; step (times ``gamma`` at each of ``milestones``); linear (down to
            ``lr_min`` from the first of ``milestones``, or from the start, to the end); cosine to ``lr_min`` at the
            end, or at the first of ``milestones``, after which it rises again along the same cosine;
            one_cycle (up from lr/25 over the first 30 %, then cosine to lr/10000).
        milestones: epochs at which "step" acts, "linear" begins, or "cosine" is at its lowest.
        gamma: factor of a step.
        lr_min: where "linear" and "cosine" end.
        period: "cosine" starts again after so many epochs (warm restarts); 0: never.
        average: decay of the weight average (EMA of parameters and buffers); 0: none.
        freeze: first epochs in which only the last linear layer learns; the rest, a pre-trained body, stays as it is.
        sub_epoch: samples with a label of which an epoch consists, drawn anew for each with as many of every class; 0:
            all samples. Those without a label then take no part.
        precision: "bf16" (autocast; parameters and losses stay float32), "fp32", or "auto": bf16 for images where
            the chip computes in it, else fp32 (always on "mps").
        channels_last: memory layout of convolutions.
        compile: run the networks through ``torch.compile``.
        evaluation_batch: samples in a batch that needs no gradient.
        device: "auto" (CUDA where there is one), or a torch device.
        seed: of everything random.
    """

    epochs: int = 100
    batch_size: int = 64
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.02
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    decayed: Literal["all", "kernels"] = "all"
    schedule: Schedule = "constant"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    lr_min: float = 0.0
    period: int = 0
    average: float = 0.0
    freeze: int = 0
    sub_epoch: int = 0
    precision: Precision = "auto"
    channels_last: bool = True
    compile: bool = False
    evaluation_batch: int = 256
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "evaluation_batch", "period", "freeze", "sub_epoch", "seed"):
            if not isinstance(getattr(self, name), numbers.Integral):
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be a whole number")
        for name in ("lr", "weight_decay", "momentum", "gamma", "lr_min", "average"):
            if not isinstance(getattr(self, name), numbers.Real):
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be a number")
        for name in ("epochs", "batch_size", "evaluation_batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise InputError(f"lr is {self.lr}; it must be a positive number")
        for name in ("weight_decay", "momentum", "gamma", "lr_min", "period", "freeze", "sub_epoch", "seed"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise InputError(f"{name} is {getattr(self, name)}; it must not be negative")
        if not all(isinstance(each, numbers.Integral) and each >= 1 for each in self.milestones):
            raise InputError(f"milestones are {self.milestones}; each must be a whole number of epochs from 1 on")
        if self.nesterov and not self.momentum:
            raise InputError("nesterov needs a momentum above 0")
        if not 0 <= self.average < 1:
            raise InputError(f"average is {self.average}; a decay lies in [0, 1)")
        for name, known in (
            ("optimizer", ("sgd", "adamw")),
            ("decayed", ("all", "kernels")),
            ("schedule", ("constant", "step", "linear", "cosine", "one_cycle")),
            ("precision", ("auto", "bf16", "fp32")),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"{name} {getattr(self, name)!r} is not one of {', '.join(known)}")


#: Fields that no user is asked for, and why. For each of the others ``codivide fit`` has a flag and the estimator a
#: parameter, and the route for features refuses it.
NOT_ASKED = {
    "nesterov": "a method or a recipe sets what its paper says",
    "decayed": "a method or a recipe sets what its paper says",
    "gamma": "belongs to the schedule, as its paper says",
    "lr_min": "belongs to the schedule, as its paper says",
    "period": "belongs to the schedule, as its paper says",
    "channels_last": "layout of memory: changes how long a step takes, not what is learned",
    "evaluation_batch": "changes how long an evaluation takes, not what it gives",
}
ASKED = tuple(item.name for item in fields(Plan) if item.name not in NOT_ASKED)


def average_decay(samples: int, plan: Plan) -> float:
    """The decay whose average reaches back two epochs, or a tenth of a run where that is less."""
    steps = max(math.ceil(samples / plan.batch_size), 1)
    reach = max(min(2 * steps, steps * plan.epochs / 10), 1.0)
    return reach / (reach + 1)


def learning_rate(plan: Plan, progress: float) -> float:
    """The learning rate after ``progress`` epochs, which may be fractional."""
    if plan.schedule == "step":
        return plan.lr * plan.gamma ** sum(progress >= milestone for milestone in plan.milestones)
    share = min(progress / plan.epochs, 1.0)
    if plan.schedule == "linear":
        start = plan.milestones[0] if plan.milestones else 0
        down = min(max(progress - start, 0) / max(plan.epochs - start, 1), 1.0)
        return plan.lr + (plan.lr_min - plan.lr) * down
    if plan.schedule == "cosine":
        if plan.milestones:
            share = progress / plan.milestones[0]
        if plan.period:
            share = progress % plan.period / plan.period
        return plan.lr_min + (plan.lr - plan.lr_min) * 0.5 * (1 + math.cos(math.pi * share))
    if plan.schedule == "one_cycle":
        low, high, rise = (1 / 25, 1.0, share / 0.3) if share < 0.3 else (1.0, 1e-4, (share - 0.3) / 0.7)
        return plan.lr * (low + (high - low) * 0.5 * (1 - math.cos(math.pi * rise)))
    return plan.lr


def stage_rate(plan: Plan, progress: float, begin: int, end: int) -> float:
    """The learning rate of a method that trains several times: the whole schedule from epoch ``begin`` to ``end``."""
    return learning_rate(plan, (progress - begin) * plan.epochs / (end - begin))


def early_epochs(plan: Plan) -> int:
    """How long methods train plainly, or let something rise, unless told: 10 epochs, or a third of a short run."""
    return max(1, min(10, plan.epochs // 3))
