"""Features on one scale, so that distances between rows mean something."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from codivide.core.types import Floats
from codivide.data.rows import Rows

CHUNK = 2048  # rows at a time

Descriptors = Any  # float32 [N, D], dense or CSR


def standardised(rows: Rows) -> Descriptors:
    """Features ``[N, D]`` less their mean and over their standard deviation; constant ones are 0.

    Sparse rows stay sparse: they are scaled and not centred.
    """
    if getattr(rows, "sparse", False):
        parts = [sparse.csr_matrix(rows[ids].numpy()) for ids in chunks(len(rows), 256)]
        whole = sparse.vstack(parts, format="csr")
        square = np.asarray(whole.multiply(whole).mean(0)).ravel() - np.asarray(whole.mean(0)).ravel() ** 2
        return (whole @ sparse.diags(inverse(np.sqrt(np.maximum(square, 0))))).tocsr().astype(np.float32)
    dense = np.concatenate([rows[ids].cpu().float().numpy() for ids in chunks(len(rows))])
    mean, scale = dense.mean(0, dtype=np.float64), dense.std(0, dtype=np.float64)
    scale[scale < 1e-6 * np.abs(mean)] = 0.0  # a large constant with rounding is a constant
    dense -= mean.astype(np.float32)
    dense *= inverse(scale).astype(np.float32)
    return dense


def inverse(scale: Floats) -> Floats:
    """One over each value; 0 for those that are not positive."""
    inverse = np.zeros_like(scale)
    np.divide(1.0, scale, out=inverse, where=scale > 0)
    return inverse


def chunks(count: int, size: int = CHUNK) -> tuple[Tensor, ...]:
    """The row numbers, so many at a time."""
    return torch.split(torch.arange(count), size)
