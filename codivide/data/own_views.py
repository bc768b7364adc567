"""Views of the user's own: batched functions of raw samples, used while training alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from codivide.core.errors import InputError, check_instance
from codivide.data.views import View, ViewSpec

_NAMES = ("weak", "strong")


class OwnViews:
    """What replaces the weak and the strong view. The plain one stays, so that predicting needs none of it.

    Args:
        given: a function ``(x, generator) -> x``, or a dict of functions by "weak" and "strong"; one that is missing is
            the other. It gets raw samples (uint8 images ``[B, C, H, W]``, or float32) on the device, and gives as many
            of the same shape and type, which are then normalised. ``generator`` is on the CPU.

    Raises:
        InputError: neither.

    Example:
        >>> from torchvision.transforms import v2
        >>> flip = v2.RandomHorizontalFlip()
        >>> OwnViews({"weak": lambda x, generator: flip(x)}).name
        'own:<lambda>'
    """

    def __init__(self, given: View | Mapping[str, View]) -> None:
        functions = given if isinstance(given, Mapping) else {"weak": given}
        unknown = [name for name in functions if name not in _NAMES]
        if not functions or unknown or not all(callable(function) for function in functions.values()):
            raise InputError(
                f"augment {given!r}: give a name, a function (x, generator) -> x of a batch of raw samples, or a dict "
                "of such functions by 'weak' and 'strong'"
            )
        for function in functions.values():
            check_instance("augment", function)
        first = next(iter(functions.values()))
        self.functions = {name: functions.get(name, first) for name in _NAMES}
        self.name = f"own:{getattr(first, '__qualname__', type(first).__name__)}"

    def __str__(self) -> str:
        """The name, for records."""
        return self.name

    def over(self, spec: ViewSpec) -> dict[str, View]:
        """The functions of ``spec`` with these in the place of its weak and strong view."""
        return {"plain": spec.plain, **{name: _changed(self.functions[name], spec, name) for name in _NAMES}}

    def check(self, x: Tensor) -> None:
        """InputError unless the functions can be used on these few raw samples; asked before any long work."""
        for name, function in self.functions.items():
            _applied(function, x, torch.Generator(), name)


def as_views(given: Any) -> tuple[str, OwnViews | None]:
    """How samples are read, and views of the user's own: a name as it is, with None."""
    return (given, None) if isinstance(given, str) else ("none", OwnViews(given))


def _changed(function: View, spec: ViewSpec, name: str) -> View:
    def view(x: Tensor, generator: torch.Generator) -> Tensor:
        return spec.plain(_applied(function, x, generator, name), generator)

    return view


def _applied(function: Callable[..., Any], x: Tensor, generator: torch.Generator, name: str) -> Tensor:
    """What a function makes of a batch; InputError where that is no such batch."""
    try:
        found = function(x, generator)
    except TypeError as error:
        raise InputError(
            f"the {name} view of your own cannot be called with (x, generator): {error}. A transform of torchvision is "
            "passed as augment=lambda x, generator: transform(x)"
        ) from error
    if not isinstance(found, Tensor) or found.shape != x.shape or found.dtype != x.dtype:
        what = f"{tuple(found.shape)} {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
        raise InputError(
            f"the {name} view of your own gives {what} of {tuple(x.shape)} {x.dtype}; shape and type must stay"
        )
    return found
