"""Features on one scale, so that distances between rows mean something."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from codivide.core.types import Floats, Singles
from codivide.data.rows import CHUNK as PASS
from codivide.data.rows import Rows

CHUNK = 2048  # rows at a time
_FAR = 3.0  # deviations from the mean of a value that may stretch a feature: so far is a tenth of the rows, or fewer
_SCREENED = 1024  # rows by which most features are told to have no such value
_STRETCHED = 200.0  # times the distance of the quartiles that such a value is away
_FEW = 0.1  # of the values are cut at most where rows are compared: amounts among zeros with a little noise stay
_KEPT = 5.0  # times this distance from the median: such features are cut to the values that lie within

Descriptors = Any  # float32 [N, D], dense or CSR


def standardised(rows: Rows) -> Descriptors:
    """Features ``[N, D]`` less their mean and over their standard deviation; constant ones are 0.

    A feature that a few values stretch is cut to the range of the others, see ``far_out``. Sparse rows
    stay sparse: they are scaled and not centred.
    """
    if getattr(rows, "sparse", False):
        parts = [sparse.csr_matrix(rows[ids].numpy()) for ids in chunks(len(rows), 256)]
        whole = sparse.vstack(parts, format="csr")
        square = np.asarray(squares(whole).mean(0)).ravel() - np.asarray(whole.mean(0, dtype=np.float64)).ravel() ** 2
        return (whole @ sparse.diags(inverse(np.sqrt(np.maximum(square, 0))))).tocsr().astype(np.float32)
    dense = np.empty((len(rows), *rows.shape), dtype=np.float32)  # the only copy that is made
    for ids in chunks(len(rows)):
        dense[ids[0] : ids[-1] + 1] = rows[ids].cpu().numpy()
    mean, scale = moments(dense)
    bounds = far_out(dense, mean, scale, most_cut=_FEW)
    for column in np.flatnonzero(np.isfinite(bounds[1])):
        cut = dense[:, column].clip(*bounds[:, column])
        dense[:, column], mean[column], scale[column] = cut, cut.mean(dtype=np.float64), cut.std(dtype=np.float64)
    scale[scale < 1e-6 * np.abs(mean)] = 0.0  # a large constant with rounding is a constant
    dense -= mean.astype(np.float32)
    dense *= inverse(scale).astype(np.float32)
    return dense


def squares(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    """The squares of sparse rows, no cell of which stands twice, as float64, which holds those of every float32."""
    return sparse.csr_matrix((np.square(rows.data, dtype=np.float64), rows.indices, rows.indptr), rows.shape)


def inverse(scale: Floats) -> Floats:
    """One over each value; 0 for those that are not positive."""
    inverse = np.zeros_like(scale)
    np.divide(1.0, scale, out=inverse, where=scale > 0)
    return inverse


def chunks(count: int, size: int = CHUNK) -> tuple[Tensor, ...]:
    """The row numbers, so many at a time."""
    return torch.split(torch.arange(count), size)


def moments(x: Singles) -> tuple[Floats, Floats]:
    """Mean and deviation ``[D]`` of ``[N, D]``."""
    shift = x[0].astype(np.float64)  # about a row of the data, so that large offsets lose no digits
    first, second = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for start in range(0, len(x), PASS):
        part = x[start : start + PASS] - shift
        first += part.sum(axis=0)
        second += np.square(part).sum(axis=0)
    mean = first / len(x)
    return mean + shift, np.sqrt(np.maximum(second / len(x) - mean**2, 0))


def far_out(
    x: Singles,
    mean: Floats,
    deviation: Floats,
    ends: tuple[Singles, Singles] | None = None,
    *,
    most_cut: float = 1.0,
) -> Floats:
    """Where the features ``[2, D]`` are cut: those whose farthest value is hundreds of times as far as usual ones.

    Usual is what lies between the quartiles; a feature of which these are equal, such as a count that is mostly 0, is
    left alone. Only features with a value some deviations from the mean are looked at, as those are of which a tenth or
    less is such: a mark like 999999 for "unknown" is in many rows. Of few values, N, one is ``sqrt(N - 1)`` away.

    Args:
        x: ``[N, D]``, or a sample of it.
        mean: ``[D]``.
        deviation: ``[D]``.
        ends: the least and the largest values ``[D]``; None: those of ``x``.
        most_cut: share of the values that may be cut; a feature of which more would be is left alone.
    """
    least, largest = (x.min(axis=0), x.max(axis=0)) if ends is None else ends
    bounds = np.stack([np.full(x.shape[1], -np.inf), np.full(x.shape[1], np.inf)])
    most = np.maximum(largest - mean, mean - least)
    columns = np.flatnonzero((most > min(_FAR, 0.6 * np.sqrt(len(x))) * deviation) & (deviation > 0))
    some = x[:: max(1, len(x) // _SCREENED), columns].astype(np.float64)
    quartiles = np.quantile(some, (0.25, 0.75), axis=0) if some.size else np.zeros((2, 0))
    for column in columns[most[columns] > _STRETCHED / 4 * (quartiles[1] - quartiles[0])]:
        low, middle, high = np.quantile(x[:, column].astype(np.float64), (0.25, 0.5, 0.75))
        reach = high - low
        if reach > 0 and max(largest[column] - high, low - least[column]) > _STRETCHED * reach:
            usual = x[np.abs(x[:, column] - middle) <= _KEPT * reach, column]
            if len(usual) >= (1 - most_cut) * len(x):
                bounds[:, column] = usual.min(), usual.max()
    return bounds
