"""The vote of the most similar samples, as one more head: each given label counts as its p(clean).

Heads draw surfaces, and a vote sees what lies close together in between. Labels that look wrong hardly count, so it can
only come when the labels are judged, and p(clean) does not rest on it. It speaks of the true class; what it says of the
given one goes through the transition matrix, by which its weight in the pool is that of the greatest held-out
likelihood, as for every head. No sample votes for itself.

Source: the nearest neighbour rule, Cover and Hart (IEEE Transactions on Information Theory 1967). Its weights are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from codivide.methods.features import neighbours

KIND = "vote"
SURE = 2.0  # standard errors by which given labels must be likelier, as they have a small say in p(clean) of neighbours
_AT_ONCE = 512  # samples whose similarity to all voters is held at once


@dataclass(frozen=True)
class Voters:
    """Samples that vote, at most ``neighbours.REFERENCE``.

    Attributes:
        points: where they lie ``[M, P]`` float16, rows of length 1.
        given: their labels ``[M]`` int32.
        trust: how much each counts ``[M]`` float32.
        size: ``[1]`` int32, how many of them vote on a sample.
    """

    points: Tensor
    given: Tensor
    trust: Tensor
    size: Tensor

    @classmethod
    def of(cls, coordinates: Tensor, given: Tensor, trust: Tensor, size: int) -> Voters:
        """Those that count; of many, the first of a fixed random order.

        Args:
            coordinates: ``[N, P]``.
            given: labels ``[N]``.
            trust: ``[N]``, non-negative.
            size: how many vote on a sample.
        """
        chosen = trust.nonzero().flatten()
        if len(chosen) > neighbours.REFERENCE:
            order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0))
            chosen = chosen[order[: neighbours.REFERENCE]].sort().values
        points = torch.nn.functional.normalize(coordinates[chosen]).half()
        return cls(points, given[chosen].int(), trust[chosen].float(), torch.tensor([size], dtype=torch.int32))

    def tensors(self) -> tuple[Tensor, ...]:
        """All of it, in the order of the attributes."""
        return self.points, self.given, self.trust, self.size

    def probs(self, coordinates: Tensor, classes: int) -> Tensor:
        """Class probabilities ``[N, C]`` of samples at ``coordinates`` ``[N, P]``."""
        voters, size = self.points.float().T, min(int(self.size), len(self.given))
        units = torch.nn.functional.normalize(coordinates)
        near = [(part @ voters).topk(size).indices for part in torch.split(units, _AT_ONCE)]
        if not near:
            return torch.zeros(0, classes)
        return neighbours.counted(torch.cat(near), self.given.long(), classes, sizes=(size,), trust=self.trust)[0]
