"""A small problem on which every method trains in a second."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codivide import Data, Plan
from codivide.core.files import read_json
from codivide.data.rows import TensorRows

CLASSES = 3


@dataclass(frozen=True)
class Toy:
    data: Data
    truth: Tensor


def toy(n: int = 120, noise: float = 0.3, seed: int = 0, unlabelled: int = 0) -> Toy:
    """Three Gaussian blobs in 6 dimensions, a share of the labels replaced by another class."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(n) % CLASSES
    centres = 2.5 * torch.eye(CLASSES, 6)
    x = centres[truth] + 0.5 * torch.randn(n, 6, generator=generator)
    flip = torch.rand(n, generator=generator) < noise
    other = torch.randint(1, CLASSES, (n,), generator=generator)
    given = torch.where(flip, (truth + other) % CLASSES, truth)
    given[n - unlabelled :] = -1
    return Toy(Data(TensorRows(x), given, ("a", "b", "c"), VIEWS), truth)


def _jitter(x: Tensor, generator: torch.Generator) -> Tensor:
    return x + 0.1 * torch.randn(x.shape, generator=generator)


VIEWS = {"plain": lambda x, generator: x, "weak": _jitter, "strong": _jitter}


def build() -> nn.Module:
    """A net with batch normalisation and dropout, so that buffers and the global generator matter."""
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, CLASSES))


def plan(epochs: int = 4, **other) -> Plan:
    return Plan(**{"epochs": epochs, "batch_size": 16, "lr": 0.1, "precision": "fp32", **other})


def state(run) -> dict[str, Tensor]:
    """Everything that two runs of the same bits share."""
    tensors = {f"memory.{k}": v for k, v in run.memory.items()}
    for i, net in enumerate(run.nets):
        tensors |= {f"net.{i}.{k}": v for k, v in net.state_dict().items()}
        tensors |= {f"average.{i}.{k}": v for k, v in run.averages[i].state_dict().items()}
    tensors["generator"] = run.gen.get_state()
    return {k: v.clone() for k, v in tensors.items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """Names that differ; two NaN at the same place are the same."""
    return [
        k
        for k in a.keys() | b.keys()
        if k not in a or k not in b or not torch.equal(a[k].nan_to_num(7.7), b[k].nan_to_num(7.7))
    ]


def edit(path: Path, **changes: Any) -> None:
    """Change entries of a JSON file as a person may: without its checksum."""
    path.write_text(json.dumps(read_json(path) | changes))


def unsummed(run: Path) -> Path:
    """A run as an older version left it: no checksums of its files."""
    edit(run / "summary.json", files={})
    return run
