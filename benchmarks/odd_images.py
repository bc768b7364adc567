"""Faults of images and odd sizes that ``checks.py`` plants."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F


def factors(x: torch.Tensor, rng: np.random.Generator, low: float, high: float) -> torch.Tensor:
    return torch.from_numpy(rng.uniform(low, high, (len(x), 1, 1, 1))).float()


def blurred(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Each by a Gaussian of 1.5 to 3 pixels."""
    out = []
    for image, radius in zip(x, rng.uniform(1.5, 3, len(x)), strict=True):
        size = int(3 * radius)
        weight = torch.exp(-(torch.arange(-size, size + 1).float() ** 2) / (2 * radius**2))
        weight = (weight / weight.sum()).view(1, 1, -1)
        padded = F.pad(image[:, None], (size,) * 4, mode="reflect")
        out.append(F.conv2d(F.conv2d(padded, weight.unsqueeze(-1)), weight.unsqueeze(2))[:, 0])
    return torch.stack(out)


def flat(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """One brightness with a little noise."""
    level = factors(x, rng, 20, 235)
    return level + torch.from_numpy(rng.normal(0, 1.5, tuple(x.shape))).float()


def grey(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    return x.mean(1, keepdim=True).round().expand_as(x).clone()


def odd_size(found: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    factor = np.where(rng.random(len(found)) < 0.5, rng.uniform(5, 12, len(found)), 1 / rng.uniform(5, 12, len(found)))
    return found * factor[:, None]


def odd_shape(found: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    factor = rng.uniform(5, 10, len(found)) ** 0.5
    side = np.sqrt(found.prod(1))
    wide = rng.random(len(found)) < 0.5
    return np.stack([np.where(wide, side * factor, side / factor), np.where(wide, side / factor, side * factor)], 1)
