"""The classifier of the route for features: pooled linear and MLP heads, as tensors of our own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from codivide.core.types import Floats
from codivide.data import encoder
from codivide.data.rows import Rows
from codivide.data.sources import rows_for_model
from codivide.methods.features import stored, trees, vote
from codivide.methods.features.matrix import Matrix, Raw, Scale, raw
from codivide.methods.features.perceptron import Perceptron
from codivide.noise.apart import Apart

KIND = "features"
_TENSORS = {"linear": 2, "mlp": 4, "forest": 9, "boosting": 9, vote.KIND: 4}
_BY_COORDINATES = ("mlp", vote.KIND)
_TINY = 1e-12
_CHUNK = 4096


@dataclass(frozen=True)
class Member:
    """One head of the pool.

    Attributes:
        kind: "linear", "mlp", "forest", "boosting" or "vote".
        weight: in the pool, positive.
        tensors: linear: ``[D, C]``, ``[C]``; MLP: ``[P, H]``, ``[1, H]``, ``[H, C]``, ``[1, C]``; vote: of
            ``vote.Voters``; else of ``trees.Trees``.
    """

    kind: str
    weight: float
    tensors: tuple[Tensor, ...]


@dataclass(eq=False)  # two are the same where they are one
class FeatureModel:
    """Scaled features, heads whose probabilities are averaged, and the adjustment to the classes' frequencies.

    Attributes:
        scale: how raw rows are scaled.
        directions: ``[D, P]`` of the scaled rows, which the MLP and the vote see.
        members: the heads.
        frequency: of the given labels ``[C]``.
        power: of the frequencies by which probabilities are divided.
        classes: class values in the user's own type.
        encoder: what makes rows of texts or images, where something does.
        columns: names of the features of a table, where they have some.
        usual: what photos of the training are like, to tell others from them; None: of tables and texts.
        tuned: the share of a network that was trained further (see ``mixed``), in [0, 1]. Above 0 the last C
            columns of a row are the logarithms of its class probabilities, which no head sees.
    """

    scale: Scale
    directions: Tensor
    members: list[Member]
    frequency: Tensor
    power: float
    classes: tuple[Any, ...]
    encoder: encoder.Encoder | None = None
    columns: tuple[str, ...] | None = None
    usual: Apart | None = None
    tuned: float = 0.0

    def __repr__(self) -> str:
        kinds = ", ".join(sorted({member.kind for member in self.members}))
        kinds += ", and a fine-tuned network" if self.tuned else ""
        return f"FeatureModel({len(self.directions):,} features, {len(self.classes):,} classes: {kinds})"

    @property
    def shape(self) -> tuple[int, ...]:
        """``(D,)``, with what a network says ``(D + C,)``."""
        return (len(self.directions) + (len(self.frequency) if self.tuned else 0),)

    @property
    def dtype(self) -> torch.dtype:
        """``torch.float32``, of the raw rows."""
        return torch.float32

    def predict(self, x: Any) -> Tensor:
        """Class probabilities ``[N, C]`` float32 of raw features ``[N, D]``, dense or CSR, or of samples as in ``fit``.

        An array is taken as it is, without a look at what an encoder would make of it: ``probs`` looks.
        """
        plain = isinstance(x, np.ndarray) or sparse.issparse(x)
        rows: Raw = x if plain else raw(rows_for_model(x, self))
        parts = [self._predict(rows[start : start + _CHUNK]) for start in range(0, rows.shape[0], _CHUNK)]
        return torch.cat(parts) if parts else torch.zeros(0, len(self.frequency))

    def _predict(self, x: Raw) -> Tensor:
        if self.tuned:
            features, said = np.hsplit(x, [len(self.directions)])
            return mixed(self._pooled(features), torch.from_numpy(said), self.tuned)
        return self._pooled(x)

    def _pooled(self, x: Raw) -> Tensor:
        """What the heads say of rows of features ``[N, D]``."""
        rows = Matrix.of(self.scale.apply(x))
        asked = any(member.kind in _BY_COORDINATES for member in self.members)
        coordinates = rows.times(self.directions) if asked else None
        total = torch.zeros(x.shape[0], len(self.frequency))
        said: dict[int, Tensor] = {}  # by trees, which two members may share: they are asked once
        for member in self.members:
            if member.kind in trees.KINDS:
                grown = trees.Trees(*member.tensors)
                if id(grown.value) not in said:
                    said[id(grown.value)] = grown.sharpened(1.0).probs(trees.dense(x))
                total += member.weight * trees.sharpened(said[id(grown.value)], float(grown.power))
                continue
            if coordinates is not None and member.kind == vote.KIND:
                total += member.weight * vote.Voters(*member.tensors).probs(coordinates, len(self.frequency))
                continue
            if coordinates is None or member.kind == "linear":
                logits = rows.times(member.tensors[0]) + member.tensors[1]
            else:
                logits = Perceptron(*(value.unsqueeze(0) for value in member.tensors)).forward(coordinates)[0]
            total += member.weight * torch.softmax(logits, 1)
        changed = total / self.frequency.clamp_min(1e-9).pow(self.power)
        return changed / changed.sum(1, keepdim=True)

    def points(self, rows: Rows) -> Tensor:
        """Where the samples lie among each other, ``[N, P]``: along the leading directions, rows of length 1."""
        found = torch.empty(len(rows), self.directions.shape[1])
        for ids, out in zip(torch.split(torch.arange(len(rows)), _CHUNK), torch.split(found, _CHUNK), strict=True):
            features = raw(rows, ids)[:, : len(self.directions)]
            places = Matrix.of(self.scale.apply(features)).times(self.directions)
            out.copy_(torch.nn.functional.normalize(places))
        return found

    def outlier_score(self, rows: Any) -> Floats | None:
        """How far photos are from all classes: the share ``[N]`` of the training photos that are at least as far.

        Takes raw rows, or samples as in ``fit``. Near 0: like no class, as it is for 1 minus its rank in the audit.
        None: the model is none of photos.
        """
        return None if self.usual is None else self.usual.score(self.points(rows_for_model(rows, self)))

    def logits(self, rows: Rows, batch_size: int = _CHUNK) -> Tensor:
        """Logarithms of the class probabilities ``[N, C]`` on raw rows."""
        every = torch.split(torch.arange(len(rows)), batch_size)
        parts = [self.predict(raw(rows, ids)) for ids in every if len(ids)]
        found = torch.cat(parts) if parts else torch.zeros(0, len(self.frequency))
        return found.clamp_min(_TINY).log()

    def probs(self, rows: Any, batch_size: int = _CHUNK) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Class probabilities ``[N, C]``; rows sum to 1. Takes raw rows, or samples as in ``fit``."""
        return torch.softmax(self.logits(rows_for_model(rows, self), batch_size).double(), 1).numpy()

    def to(self, device: torch.device) -> FeatureModel:
        """The model itself, which always runs on the CPU."""
        return self

    def save(self, path: str | Path) -> None:
        """Write everything ``codivide.runs.model.load`` needs to one safetensors file, atomically."""
        heads, members = stored.packed(self.members, "member")
        tensors = {"directions": self.directions, "frequency": self.frequency, **heads}
        tensors |= {} if self.usual is None else {f"usual.{name}": t for name, t in self.usual.tensors().items()}
        stored.write(path, self, tensors, {"kind": KIND, **members, "power": self.power, "tuned": self.tuned})

    @classmethod
    def of(cls, tensors: dict[str, Tensor], header: dict[str, Any]) -> FeatureModel:
        """The model whose file holds ``tensors`` and ``header``."""
        members = [Member(*parts) for parts in stored.unpacked(tensors, header, "member", _TENSORS)]
        scale, encoder, columns = stored.shared(tensors, header)
        power, classes = float(header["power"]), tuple(header["classes"])
        directions, frequency = tensors["directions"], tensors["frequency"]
        usual = Apart.of_tensors({name[6:]: value for name, value in tensors.items() if name.startswith("usual.")})
        tuned = float(header.get("tuned", 0))
        return cls(scale, directions, members, frequency, power, classes, encoder, columns, usual, tuned)


def mixed(probs: Tensor, said: Tensor, share: float) -> Tensor:
    """Probabilities ``[N, C]`` of the heads and of a network: ``p^(1 - w) q^w``, rows sum to 1.

    Args:
        probs: p, of the heads ``[N, C]``.
        said: log q, of the network ``[N, C]``.
        share: w, of the network.
    """
    return torch.softmax((1 - share) * probs.clamp_min(_TINY).log() + share * said, 1)
