"""Fitted heads, and a pool of them: what they say of samples that they have not seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from codivide.methods.features import linear
from codivide.methods.features.model import Member
from codivide.methods.features.pacing import Record


@dataclass
class Head:
    """A fitted head: what it says of held-out samples, and its block for all samples."""

    name: str
    channel: Tensor  # [C, C]: row c, how a true class c is given
    cross: Tensor  # [N, C]: held-out probabilities of the true class
    seen: Tensor  # [N]: how likely the given labels are, held out
    loss: float  # held-out log-loss on the given labels that can be judged
    detail: Record
    member: Member
    fitted: linear.Linear | None = None


@dataclass
class Pool:
    """Heads and their weights ``[H]``."""

    heads: list[Head]
    weights: Tensor

    def cross(self) -> Tensor:
        """Held-out probabilities ``[N, C]`` of the true class."""
        return torch.einsum("h,hnc->nc", self.weights, torch.stack([head.cross for head in self.heads]))

    def given(self) -> Tensor:
        """Held-out probabilities ``[N, C]`` of the given label."""
        given = torch.stack([head.cross @ head.channel for head in self.heads])
        return torch.einsum("h,hnc->nc", self.weights, given)

    def seen(self) -> Tensor:
        """How likely the given labels are, ``[N]``, held out."""
        return torch.einsum("h,hn->n", self.weights, torch.stack([head.seen for head in self.heads]))
