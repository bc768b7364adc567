"""A network of the user's own: a function of the number of classes that makes a torch module."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codivide.core.errors import InputError, nearest
from codivide.core.own_files import code_of_file, is_in_file, module_of

KIND = "own"


class OwnNet:
    """What makes the networks of a run, each with weights of its own.

    Args:
        make: a function of the number of classes, such as ``lambda classes: resnet18(num_classes=classes)``, or the
            class of a module that takes it. What it makes gives logits ``[B, classes]`` of images ``[B, C, H, W]`` or
            of rows ``[B, D]``, with mean 0 and deviation 1.
        file: where it stands, ``FILE.py:NAME``; None: in no file that is named.

    Raises:
        InputError: no such function.

    Example:
        >>> OwnNet(lambda classes: nn.Linear(8, classes)).build(3)
        Linear(in_features=8, out_features=3, bias=True)
    """

    def __init__(self, make: Callable[[int], nn.Module], file: str | None = None) -> None:
        if isinstance(make, nn.Module):
            raise InputError(
                f"net is a module ({type(make).__name__}), and a run may need several with weights of their own: pass "
                "a function of the number of classes that makes one, such as net=lambda classes: Net(classes)"
            )
        if hasattr(make, "predict_proba") or hasattr(make, "get_params"):
            what = f"the class {make.__name__}" if isinstance(make, type) else f"a {type(make).__name__}"
            given = f"{make.__name__}()" if isinstance(make, type) else "..."
            raise InputError(f"net is {what}, which is no network: pass it as model={given}")
        if not callable(make):
            raise InputError(f"net {make!r}: give a name, or a function of the number of classes that makes a module")
        self.make = make
        self._made: weakref.ref[nn.Module] | None = None  # the last one
        path, _, word = (file or "").rpartition(":")
        self.file = None if file is None else f"{Path(path).absolute()}:{word}"
        own = getattr(make, "__qualname__", type(make).__name__) if file is None else f"{Path(path).name}:{word}"
        self.name = f"{KIND}:{own}"

    def __str__(self) -> str:
        """The name, for records."""
        return self.name

    def __getstate__(self) -> dict[str, Any]:
        """Without the last network, which another process has not."""
        return {**self.__dict__, "_made": None}

    def build(self, classes: int) -> nn.Module:
        """One network; InputError where the function gives something else, or nothing that can learn."""
        try:
            net = self.make(classes)
        except TypeError as error:
            raise InputError(
                f"net {self.name!r} cannot be made of the number of classes, {classes}: {error}"
            ) from error
        if not isinstance(net, nn.Module):
            raise InputError(f"net {self.name!r} gives a {type(net).__name__}; a torch module is needed")
        if not any(parameter.requires_grad for parameter in net.parameters()):
            raise InputError(f"net {self.name!r} has no weight that can be trained")
        if self._made is not None and self._made() is net:
            raise InputError(
                f"net {self.name!r} gives the same module again, and each network of a run needs weights of its own: "
                "make a new one each time, such as net=lambda classes: Net(classes)"
            )
        self._made = weakref.ref(net)
        return net


def as_net(given: Any) -> str | OwnNet:
    """A name as it is, and what a user gives as a network of their own: a function, or ``FILE.py:NAME`` of one.

    Raises:
        InputError: something else; a file that is not there or fails; a name that is not in it.
    """
    if isinstance(given, str):
        return _of_file(given) if is_in_file(given) or given.endswith(".py") else given
    return given if isinstance(given, OwnNet) else OwnNet(given)


def _of_file(name: str) -> OwnNet:
    """What makes networks, in a file of the user's own."""
    if not is_in_file(name):
        raise InputError(f"unknown net {name!r}; one of your own is FILE.py:NAME, such as {name}:make")
    path, _, word = name.rpartition(":")
    found = vars(module_of(Path(path), "a network of your own is named FILE.py:NAME"))
    if word not in found:
        known = [key for key, part in found.items() if getattr(part, "__module__", "") == found["__name__"]]
        listed = f"It has {', '.join(known)}" if known else "It has no function and no class"
        raise InputError(f"{path} has no {word!r}.{nearest(word, known)} {listed}")
    return OwnNet(found[word], name)


def code_of(net: str | OwnNet) -> dict[str, str]:
    """What tells the file of a network of the user's own from what it was before an edit; empty for another one."""
    if isinstance(net, str) or net.file is None:
        return {}
    return {"net_code": code_of_file(Path(net.file.rpartition(":")[0]))}


def is_own(name: str) -> bool:
    """Whether a record's name of a network is that of somebody's own."""
    return name.startswith(f"{KIND}:")


@torch.no_grad()
def check_logits(net: nn.Module, x: Tensor, classes: int, name: str) -> None:
    """InputError unless a network gives finite logits ``[B, classes]`` of these inputs; its state stays as it is.

    Probabilities are no logits: with them a network learns little, and nothing says so.

    Args:
        net: in whatever mode; it is asked in evaluation mode.
        x: a few inputs ``[B, ...]`` as the network will see them.
        classes: how many logits there must be.
        name: of the network, for the message.
    """
    modes = {part: part.training for part in net.modules()}
    net.eval()
    try:
        found = net(x)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"net {name!r} cannot take a batch of shape {tuple(x.shape)}: {error}") from error
    finally:
        for part, training in modes.items():
            part.training = training
    if not isinstance(found, Tensor) or tuple(found.shape) != (len(x), classes):
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(f"net {name!r} gives {shape} for {len(x)} samples; logits ({len(x)}, {classes}) are needed")
    if not bool(torch.isfinite(found).all()):
        raise InputError(f"net {name!r} gives logits that are NaN or infinite before any training")
    if bool((found >= 0).all()) and bool(((found.float().sum(1) - 1).abs() < 1e-3).all()):
        raise InputError(
            f"net {name!r} gives probabilities, which sum to 1 for each sample; logits are needed: leave its softmax "
            "out"
        )
