"""What a method may know of the samples: ``Data``, and a ``Batch`` of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from codivide.data.rows import Rows
from codivide.data.views import View


@dataclass(frozen=True, eq=False)  # two are the same where they are one
class Data:
    """What a method may know: samples, given labels, class names and views; never a true label.

    Attributes:
        x: rows, ``x[ids] -> [B, ...]``.
        y: given labels ``[N]`` int64, -1 where there is none.
        classes: one name per class.
        views: batched functions ``(x, generator) -> x`` by name: "plain", "weak" and "strong".
        confirmed: mask ``[N]`` of the labels that a person has confirmed, so that p(clean) = 1; None: no label.
        groups: a number ``[N]`` for each sample on the CPU, the same for those that are held out together or not at
            all (copies, and what the user says); None: each is on its own, or the method holds nothing out.
        weight: how much each sample counts in a loss ``[N]`` float32, mean 1; None: all alike.
    """

    x: Rows
    y: Tensor
    classes: tuple[Any, ...]
    views: Mapping[str, View]
    confirmed: Tensor | None = None
    groups: Tensor | None = None
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)


class Batch(NamedTuple):
    """Some samples: their rows in the training set ``[B]``, one tensor per requested view, given labels ``[B]``."""

    id: Tensor
    x: tuple[Tensor, ...]
    y: Tensor
