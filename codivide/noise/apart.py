"""Samples that are like no class, alone or in a small group: a robust distance to the nearest class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.linalg import solve_triangular
from scipy.special import entr
from torch import Tensor

from codivide.core.neighbours import nearest
from codivide.core.types import Floats, Labels

MOST = 5000  # samples that the distance is learned from
DIRECTIONS = 64  # the leading ones, in which it is taken
FEWEST = 20  # samples a direction; with fewer, those that are left out look far because they were left out
RANGES = 1.75  # between the quartiles above the upper one, from which on a sample is apart
ALONE = 3.5  # the same of one class, which has a longer tail
FEWER = 0.45  # by which that falls with each class more
_NEIGHBOURS = 10
_PULL = 5.0  # samples of the whole that the mean of a class is drawn to
_SHRINK = 0.1  # of the covariance that is the same in all directions
_WEIGHTED = 2  # rounds in which samples that are close together count less
_ROUNDS, _LEFT_OUT = 5, 0.1  # how often the farthest share is left out, and what that is
_CHUNK = 8192
_TINY = 1e-12


@dataclass(frozen=True)
class Apart:
    """What is usual, as ``Apart.of`` learns it.

    A small group that lies apart stretches a covariance along its own direction, and then seems near. So every sample
    counts the less the more others are close by: a tight group counts like one sample, whatever its size. After that
    the farthest tenth is left out, five times over; from the third time on all that stay count alike.

    1. Points are taken along their 64 leading directions (one for 20 samples where these are fewer), each coordinate
       over the root of its deviation, rows of length 1.
    2. The weight of a sample is ten over the number of samples as close to it as the tenth neighbour of the median
       sample is to that, and at most 1.
    3. Means of the classes are weighted, each with 5 samples of the whole; the covariance within classes is one, a
       tenth of it the same in all directions.
    4. The distance is the logarithm of the squared Mahalanobis distance to the nearest class (Lee et al., NeurIPS
       2018, there on a network's layers and without weights).
    5. A sample is apart from 1.75 ranges between the quartiles above the upper one on; of one class from 3.5 on, and of
       K from ``3.5 - 0.45 (K - 1)`` on if that is more. K is the exponential of the entropy of the classes.

    Attributes:
        mean: of the points ``[F]``.
        directions: ``[F, P]``, over the root of the deviations.
        whitening: lower triangle ``[P, P]`` of the covariance.
        centres: whitened means ``[C, P]``.
        usual: distances of the samples that it was learned from, sorted.
        ranges: between the quartiles above the upper one, from which on a sample is apart.
    """

    mean: Floats
    directions: Floats
    whitening: Floats
    centres: Floats
    usual: Floats
    ranges: float = RANGES

    @classmethod
    def of(cls, points: Tensor, given: Labels) -> Apart:
        """Learn what is usual.

        Args:
            points: ``[N, F]``; at most 5,000 are used, drawn by a fixed seed.
            given: labels ``[N]``, -1: none. They may be wrong, and of one class only.
        """
        chosen = np.sort(np.random.default_rng(0).permutation(len(points))[:MOST])
        x, given = points[torch.from_numpy(chosen)].numpy().astype(np.float64), given[chosen]
        mean = x.mean(0)
        directions = _directions(x - mean)
        places = _places(x, mean, directions)
        weight = _weights(places)
        inside = np.ones(len(places), dtype=bool)
        for number in range(_ROUNDS):
            whitening, centres = _classes(places, given, (weight if number < _WEIGHTED else 1.0) * inside)
            distance = _distance(places, whitening, centres)
            inside = distance <= np.quantile(distance, 1 - _LEFT_OUT)
        return cls(mean, directions, whitening, centres, np.sort(np.log(distance)), _ranges(given))

    def tensors(self) -> dict[str, Tensor]:
        """Everything learned, to be saved: at most 5,000 distances and few directions."""
        names = [field.name for field in fields(self)]
        return {name: torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in names}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Apart | None:
        """What ``tensors`` gave; None of none, as files of older versions have them."""
        if not tensors:
            return None
        held = {name: value.numpy() for name, value in tensors.items() if name != "ranges"}
        return cls(**held, ranges=tensors["ranges"].item() if "ranges" in tensors else RANGES)

    def distance(self, points: Tensor) -> Floats:
        """How far points ``[N, F]`` are from the nearest class, as logarithms."""
        parts = [
            _distance(
                _places(part.numpy().astype(np.float64), self.mean, self.directions), self.whitening, self.centres
            )
            for part in torch.split(points, _CHUNK)
        ]
        return np.log(np.concatenate(parts)) if parts else np.empty(0)

    def score(self, points: Tensor) -> Floats:
        """The share ``[N]`` of the samples that it was learned from that are at least as far; low where it is clear."""
        found: Floats = 1 - np.searchsorted(self.usual, self.distance(points), side="left") / len(self.usual)
        return found

    @property
    def fence(self) -> float:
        """The distance from which on a sample is apart: ``ranges`` between the quartiles above the upper one."""
        low, high = np.quantile(self.usual, [0.25, 0.75])
        return float(high + self.ranges * (high - low))


def _ranges(given: Labels) -> float:
    """How far a sample has to be to be apart, by how many classes there are: as many of one size say as much."""
    size = np.bincount(given[given >= 0]).astype(np.float64)
    share = size / max(float(size.sum()), 1.0)
    classes = float(np.exp(entr(share).sum()))
    return max(RANGES, ALONE - FEWER * (classes - 1))


def _directions(x: Floats) -> Floats:
    """The leading directions ``[F, P]`` of centred rows, over the root of the deviation along them."""
    count = int(np.clip(len(x) // FEWEST, 1, min(DIRECTIONS, x.shape[1])))
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    deviation = np.sqrt(np.maximum(values[::-1][:count], 0))
    found: Floats = vectors[:, ::-1][:, :count] / np.sqrt(np.maximum(deviation, 1e-4 * deviation.max() + _TINY))
    return found


def _places(x: Floats, mean: Floats, directions: Floats) -> Floats:
    """Rows of length 1 along the directions."""
    found = (x - mean) @ directions
    length = np.sqrt((found**2).sum(1, keepdims=True))
    unit: Floats = found / np.maximum(length, _TINY)
    return unit


def _weights(places: Floats) -> Floats:
    """Ten over the number of samples, itself among them, that are near a sample; at most 1."""
    every, points = np.arange(len(places)), torch.from_numpy(places.astype(np.float32))
    count = min(_NEIGHBOURS, len(places) - 1)
    radius = float(np.median(nearest(points, every, every, count)[1][:, -1]))
    counts = [(torch.cdist(part, points) <= radius).sum(1) for part in torch.split(points, 512)]
    found: Floats = _NEIGHBOURS / torch.cat(counts).clamp_min(_NEIGHBOURS).double().numpy()
    return found


def _classes(places: Floats, given: Labels, weight: Floats) -> tuple[Floats, Floats]:
    """The covariance within classes as a lower triangle, and the whitened means of the classes."""
    unit = weight.sum() / max(np.count_nonzero(weight), 1)  # what a sample weighs
    whole = weight @ places / weight.sum()
    labels = np.unique(given[given >= 0])
    of_class = (given[:, None] == labels).astype(np.float64) if len(labels) else np.ones((len(given), 1))
    size = weight @ of_class
    means = ((weight[:, None] * of_class).T @ places + _PULL * unit * whole) / (size + _PULL * unit)[:, None]
    own = np.where(of_class.any(1), of_class.argmax(1), -1)
    rest = places - np.where(own[:, None] >= 0, means[own], whole)
    covariance = (rest * weight[:, None]).T @ rest / weight.sum()
    width = len(covariance)
    covariance = (1 - _SHRINK) * covariance + (_SHRINK * np.trace(covariance) / width + _TINY) * np.eye(width)
    whitening = np.linalg.cholesky(covariance)
    return whitening, solve_triangular(whitening, means.T, lower=True).T


def _distance(places: Floats, whitening: Floats, centres: Floats) -> Floats:
    """The squared Mahalanobis distance ``[N]`` to the nearest class, at least a tiny one."""
    x = solve_triangular(whitening, places.T, lower=True).T
    square = (x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1)
    found: Floats = np.maximum(square.min(1), _TINY)
    return found
