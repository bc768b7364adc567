"""What the files of all models of features share: the scale, the heads, the encoder, and the columns' names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from codivide.data import encode
from codivide.data.encoder import Encoder
from codivide.methods.features.matrix import Scale
from codivide.training import model_file


class Head(Protocol):
    """A head of a pool: of what kind, how much it counts, what it learned."""

    @property
    def kind(self) -> str:
        """Such as "linear"."""

    @property
    def weight(self) -> float:
        """In the pool."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it learned."""


class Stored(Protocol):
    """What every model of features has."""

    scale: Scale
    encoder: Encoder | None
    columns: tuple[str, ...] | None

    @property
    def classes(self) -> tuple[Any, ...]:
        """Class values, or names of labels; none of numbers."""


def write(path: str | Path, model: Stored, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write a model to one safetensors file, atomically.

    Args:
        path: the file.
        model: gives the scale, encoder, columns and classes.
        tensors: what it has besides.
        header: likewise, as JSON values.
    """
    scale = {"scale.mean": model.scale.mean, "scale.deviation": model.scale.deviation}
    scale |= {} if model.scale.bounds is None else {"scale.bounds": model.scale.bounds}
    scale |= {} if model.scale.ends is None else {"scale.ends": model.scale.ends}
    name, more = encode.save(model.encoder)
    shared = {"encoder": name, "columns": model.columns}
    model_file.write(path, {**scale, **tensors, **more}, {**header, **shared}, model.classes)


def shared(
    tensors: dict[str, Tensor], header: Mapping[str, Any]
) -> tuple[Scale, Encoder | None, tuple[str, ...] | None]:
    """Scale, encoder and columns of the model whose file holds ``tensors`` and ``header``."""
    cut, seen = tensors.get("scale.bounds"), tensors.get("scale.ends")
    scale = Scale(tensors["scale.mean"], tensors["scale.deviation"], cut, seen)
    return scale, encode.restore(header.get("encoder"), tensors), model_file.columns_of(header)


def packed(heads: Sequence[Head], name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors ``NAME.i.j`` and an entry ``NAMEs`` of the header for the heads of a pool.

    A tensor that several heads share is written once; ``tensors`` in the header then says where each one stands.
    """
    tensors: dict[str, Tensor] = {}
    places: dict[int, str] = {}
    items: list[dict[str, Any]] = []
    for i, head in enumerate(heads):
        own = [f"{i}.{j}" for j in range(len(head.tensors))]
        found = [places.setdefault(id(value), place) for value, place in zip(head.tensors, own, strict=True)]
        tensors |= {f"{name}.{place}": value for place, value in zip(found, head.tensors, strict=True)}
        items.append({"kind": head.kind, "weight": head.weight} | ({} if found == own else {"tensors": found}))
    return tensors, {f"{name}s": items}


def unpacked(
    tensors: Mapping[str, Tensor], header: Mapping[str, Any], name: str, counts: Mapping[str, int]
) -> Iterator[tuple[str, float, tuple[Tensor, ...]]]:
    """Kind, weight and tensors of the heads that ``packed`` has packed; ``counts`` has the tensors of each kind."""
    for i, item in enumerate(header[f"{name}s"]):
        kind = str(item["kind"])
        places = item.get("tensors", [f"{i}.{j}" for j in range(counts[kind])])
        yield kind, float(item["weight"]), tuple(tensors[f"{name}.{place}"] for place in places)
