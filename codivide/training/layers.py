"""Reach inside a network: its layers, what its last linear layer sees, a change on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # what all batch normalisation layers derive from

from codivide.core.errors import InputError


def layers(net: nn.Module) -> list[nn.Module]:
    """The parts of a network that run one after another: the stages of ``blocks.StagedNet``, else its children."""
    return list(getattr(net, "stages", net).children())


def last_linear(net: nn.Module) -> nn.Linear:
    """The layer that makes the logits; InputError when the network has no linear layer."""
    found = [module for module in net.modules() if isinstance(module, nn.Linear)]
    if not found:
        raise InputError(f"{type(net).__name__} has no linear layer, so it has no features and no head")
    return found[-1]


def head(net: nn.Module) -> nn.Module:
    """What makes logits of features: the head of ``blocks.StagedNet`` (with its dropout), else ``last_linear``."""
    last = last_linear(net)
    named = getattr(net, "head", None)
    return named if isinstance(named, nn.Module) and last in named.modules() else last


def body(net: nn.Module) -> list[nn.Module]:
    """Every module that neither holds the head nor belongs to it."""
    top = head(net)
    inner = set(top.modules())
    return [part for part in net.modules() if part not in inner and top not in part.modules()]


def freeze(net: nn.Module, *, frozen: bool) -> None:
    """Whether every parameter outside the head learns no more (True), or all parameters learn (False)."""
    kept = {id(parameter) for parameter in head(net).parameters()}
    for parameter in net.parameters():
        parameter.requires_grad_(not frozen or id(parameter) in kept)


@contextmanager
def inputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a module is given, one tensor a call, while the context lasts."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def changed(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace the output of a module by ``change(output)`` while the context lasts."""
    handle = module.register_forward_hook(lambda _, given, output: change(output))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def untracked(net: nn.Module) -> Iterator[None]:
    """Batch normalisation works as before, on the batch when training, but its running statistics stay as they are."""
    norms = [part for part in net.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    for part in norms:
        part.track_running_stats = False
    try:
        yield
    finally:
        for part in norms:
            part.track_running_stats = True


@contextmanager
def steady(net: nn.Module) -> Iterator[None]:
    """As ``untracked``, and nothing is random: every other part (dropout) is in evaluation mode."""
    modes = {part: part.training for part in net.modules()}
    for part in modes:
        part.training = part.training and isinstance(part, _BatchNorm)
    try:
        with untracked(net):
            yield
    finally:
        for part, training in modes.items():
            part.training = training
