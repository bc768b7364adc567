"""The columns of the samples in one or two sides, each with heads of its own, and one model of both.

The features of an encoder and the pixels of an image are two witnesses: one has seen other photos, the other knows
where in the frame something is. One penalty and one set of directions for both would let one of them drown the other,
so each side has its heads, and the pool weighs them by the held-out likelihood of the given labels. A model knows one
scale and one set of directions: what heads of a side have learned gets zeros for the columns of the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from codivide.methods.features.matrix import Matrix, Raw, Scale

_FAINT = 2.0**-10  # of a second side's coordinates, among which neighbours are those of the first side


@dataclass(frozen=True)
class Side:
    """Some columns of the samples, as their heads see them.

    Attributes:
        x: the scaled columns, ``[N, D]``.
        directions: ``[D, P]`` of the scaled columns, which the MLP and the neighbours see.
        coordinates: ``[N, P]``, the samples along them; their mean square is 1.
    """

    x: Matrix
    directions: Tensor
    coordinates: Tensor

    @classmethod
    def of(cls, scaled: Raw, components: int, generator: torch.Generator) -> Side:
        """The side of scaled columns ``[N, D]``, which are overwritten.

        Args:
            scaled: see ``matrix.Scale``.
            components: at most so many directions.
            generator: of the random start of their search.
        """
        x = Matrix.along_axes(scaled)
        directions = x.principal(components, generator)
        coordinates = x.times(directions)
        # Half-way to whitening: the leading directions count more, but do not hide the others.
        spread = coordinates.square().mean(0).sqrt()
        directions /= spread.clamp_min(1e-4 * float(spread.max()) + 1e-30).sqrt()
        coordinates = x.times(directions)
        unit = float(coordinates.square().mean().sqrt()) or 1.0
        return cls(x, x.features(directions / unit), coordinates / unit)


@dataclass(frozen=True)
class Sides:
    """The sides of the samples, and what their heads are for a model of all columns.

    Attributes:
        each: one side, or two.
    """

    each: tuple[Side, ...]

    @classmethod
    def of(cls, x: Raw, scale: Scale, pixels: int, components: int, generator: torch.Generator) -> Sides:
        """The sides of raw rows ``[N, D]``, of which the last ``pixels`` columns are one of their own."""
        if not pixels:
            return cls((Side.of(scale.apply(x), components, generator),))
        ends = (0, x.shape[1] - pixels, x.shape[1])
        parts = [(scale.part(start, end), x[:, start:end]) for start, end in pairwise(ends)]
        return cls(tuple(Side.of(part.apply(columns), components, generator) for part, columns in parts))

    def directions(self) -> Tensor:
        """``[D, P]`` of all columns, scaled together: those of the first side, then faintly those of the second."""
        if len(self.each) == 1:
            return self.each[0].directions
        first, second = (self.weights(side.directions, number) for number, side in enumerate(self.each))
        return torch.cat([first, _FAINT * second], 1)

    def weights(self, weight: Tensor, number: int) -> Tensor:
        """Weights ``[D, C]`` of all columns, scaled together, from those of the columns of a side."""
        return self._among(self._unit(number) * weight, number, [len(side.directions) for side in self.each])

    def inputs(self, weight: Tensor, number: int) -> Tensor:
        """Weights ``[P, H]`` of all coordinates, from those of a side."""
        clear = weight / _FAINT if number else weight
        return self._among(clear, number, [side.directions.shape[1] for side in self.each])

    def places(self) -> Tensor:
        """Coordinates ``[N, P]`` by the first side, in which neighbours are sought; zeros for the second."""
        first, *others = (side.coordinates for side in self.each)
        return torch.cat([first, *(torch.zeros_like(other) for other in others)], 1) if others else first

    def _unit(self, number: int) -> float:
        """What columns of a side are alone, over what they are among all."""
        count = sum(len(side.directions) for side in self.each)
        return math.sqrt(count / len(self.each[number].directions))

    def _among(self, weight: Tensor, number: int, sizes: list[int]) -> Tensor:
        """Rows of a side, and zeros for those of the other."""
        if len(self.each) == 1:
            return weight
        before, after = sum(sizes[:number]), sum(sizes[number + 1 :])
        return torch.nn.functional.pad(weight, (0, 0, before, after))
