"""The model of numbers: pooled linear and tree heads that predict a target, as tensors of our own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codivide.core.types import Floats
from codivide.data import encoder
from codivide.data.rows import Rows
from codivide.data.sources import rows_for_model
from codivide.methods.features import stored, trees
from codivide.methods.features.matrix import Matrix, Raw, Scale, raw

KIND = "numbers"
TENSORS = {"linear": 2, "forest": 6, "boosting": 6}
_CHUNK = 4096
LARGEST = 700.0  # logarithm of a number that float64 holds


@dataclass(frozen=True)
class Leaves:
    """Trees whose leaves hold numbers; a leaf is its own child (see ``trees.Trees``).

    Attributes:
        nodes: the trees.
        summed: whether leaves add up (boosting); else they are averaged (a forest).
        base: what they add up to.
    """

    nodes: trees.Trees
    summed: bool
    base: float

    @classmethod
    def of(cls, tensors: tuple[Tensor, ...], *, summed: bool) -> Leaves:
        """The trees that ``tensors`` gave."""
        nothing = torch.zeros(0)
        feature, threshold, children, value, roots, base = tensors
        nodes = trees.Trees(
            feature, threshold, children, value, roots, column=nothing.int(), base=nothing, prior=nothing, power=nothing
        )
        return cls(nodes, summed, float(base))

    def tensors(self) -> tuple[Tensor, ...]:
        """Everything learned."""
        nodes = self.nodes
        held = (nodes.feature, nodes.threshold, nodes.children, nodes.value, nodes.roots)
        return (*held, torch.tensor([self.base], dtype=torch.float64))

    def predict(self, x: Raw) -> Floats:
        """``[N]`` of raw rows."""
        values = self.nodes.value[self.nodes.leaves(trees.dense(x)), 0].double()
        found: Floats = (values.sum(1) + self.base if self.summed else values.mean(1) + self.base).numpy()
        return found


@dataclass(frozen=True)
class Head:
    """One head of the pool.

    Attributes:
        kind: "linear", "forest" or "boosting".
        weight: in the pool, positive.
        tensors: linear: ``[D]`` of scaled features, ``[1]``; else those of ``Leaves``.
    """

    kind: str
    weight: float
    tensors: tuple[Tensor, ...]

    def predict(self, x: Raw, scale: Scale) -> Floats:
        """``[N]`` of raw rows."""
        if self.kind != "linear":
            return Leaves.of(self.tensors, summed=self.kind == "boosting").predict(x)
        rows = Matrix.of(scale.apply(x)).times(self.tensors[0].float().unsqueeze(1)).squeeze(1)
        found: Floats = (rows.double() + self.tensors[1]).numpy()
        return found


@dataclass(eq=False)  # two are the same where they are one
class NumberModel:
    """Predicts numbers from features.

    Attributes:
        scale: how raw rows are scaled for the linear head.
        heads: of the pool.
        centre: and ``unit``: heads predict ``(y - centre) / unit``, or of ``log y`` where ``log`` says so.
        low: and ``high``: nothing below and above is predicted.
        encoder: what makes rows of texts, images or tables, where something does.
        columns: names of the features of a table, where they have some.
        classes: none; a model of classes has them.
        log: whether logarithms were learned.
    """

    scale: Scale
    heads: list[Head]
    centre: float
    unit: float
    low: float
    high: float
    encoder: encoder.Encoder | None = None
    columns: tuple[str, ...] | None = None
    classes: tuple[Any, ...] = field(default=())
    log: bool = False

    def __repr__(self) -> str:
        return f"NumberModel({len(self.scale.mean):,} features: {', '.join(head.kind for head in self.heads)})"

    @property
    def shape(self) -> tuple[int, ...]:
        """``(D,)``."""
        return (len(self.scale.mean),)

    @property
    def dtype(self) -> torch.dtype:
        """``torch.float32``, of the raw rows."""
        return torch.float32

    def predict(self, samples: Any) -> Floats:
        """Numbers ``[N]`` for raw rows, or samples as in ``fit``."""
        rows: Rows = rows_for_model(samples, self)
        every = torch.split(torch.arange(len(rows)), _CHUNK)
        parts = [self.of(raw(rows, ids)) for ids in every if len(ids)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def of(self, x: Raw) -> Floats:
        """The same of features ``[N, D]``."""
        total = sum(head.weight * head.predict(x, self.scale) for head in self.heads)
        value = self.centre + self.unit * total
        found: Floats = np.clip(np.exp(np.clip(value, -LARGEST, LARGEST)) if self.log else value, self.low, self.high)
        return found

    def to(self, device: torch.device) -> NumberModel:
        """The model itself, which always runs on the CPU."""
        return self

    def save(self, path: str | Path) -> None:
        """Write everything to one safetensors file, atomically."""
        tensors, heads = stored.packed(self.heads, "head")
        target = [self.centre, self.unit, self.low, self.high]
        stored.write(path, self, tensors, {"kind": KIND, **heads, "target": target, "log": self.log})

    @classmethod
    def of_file(cls, tensors: dict[str, Tensor], header: dict[str, Any]) -> NumberModel:
        """The model whose file holds ``tensors`` and ``header``."""
        heads = [Head(*parts) for parts in stored.unpacked(tensors, header, "head", TENSORS)]
        scale, encoder, columns = stored.shared(tensors, header)
        centre, unit, low, high = (float(value) for value in header["target"])
        log = bool(header.get("log", False))  # files of earlier versions have none
        return cls(scale, heads, centre, unit, low, high, encoder, columns, log=log)
