"""Features ``[N, D]``, dense or sparse, on one scale: what the heads multiply with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor

from codivide.core.types import Singles
from codivide.data.rows import CHUNK, IndexedRows, Rows, SparseRows
from codivide.data.standardised import far_out, moments, squares

_WIDEST = 2048  # columns whose principal axes are sought
_FEWEST_ROWS = 2000  # rows up to which those of wider rows are: more cost more than they save
_FLAT = 1e-9  # squares of lengths along an axis, relative to the longest, below which there is none
_ALIKE = 0.9  # share of rows of one length from which on somebody has weighed the columns
_PASSES = 2  # of the subspace iteration over the data; every one costs two products
Raw: TypeAlias = Singles | sparse.csr_matrix


@dataclass(frozen=True)
class Scale:
    """How a raw row becomes a scaled one: ``(x - mean) / deviation``; the mean square of a scaled row is 1.

    Dense columns are standardised, sparse ones divided by the root of their mean square, and all by the root of the
    number of columns, so that a penalty means the same for few and for many features. Sparse rows of which nine tenths
    have the same length (TF-IDF) keep their units: somebody has weighed the columns. Not all need have it, for where
    words and parts of words are put side by side, a row may lack one kind.

    Attributes:
        mean: ``[D]`` float32; zeros for sparse features, whose zeros stay zeros.
        deviation: ``[D]`` float32, positive; 1 for a constant feature, which carries nothing.
        bounds: ``[2, D]``: values below and above are cut to these; infinite for features without values far out.
            None: no feature has any.
        ends: ``[2, D]``, the least and the largest values that were seen; None: of sparse features, or of a file of an
            older version.
    """

    mean: Tensor
    deviation: Tensor
    bounds: Tensor | None = None
    ends: Tensor | None = None

    @property
    def stretched(self) -> list[int]:
        """The features that are cut, for a few values would have made all others alike."""
        return [] if self.bounds is None else self.bounds[1].isfinite().nonzero().flatten().tolist()

    @classmethod
    def fit(cls, x: Raw) -> Scale:
        """Learn the scale of ``[N, D]``."""
        width = x.shape[1]
        bounds, ends = np.stack([np.full(width, -np.inf), np.full(width, np.inf)]), None
        if not isinstance(x, np.ndarray):
            squared = squares(x)
            lengths = np.sqrt(np.asarray(squared.sum(axis=1)).ravel())
            filled = lengths[lengths > 0]
            mean = np.zeros(width)
            if len(filled) and np.mean(np.abs(filled / np.median(filled) - 1) <= 1e-3) >= _ALIKE:
                deviation = np.full(width, filled.mean() / np.sqrt(width))
            else:
                deviation = np.sqrt(np.asarray(squared.sum(axis=0)).ravel() / x.shape[0])
        else:
            mean, deviation = moments(x)
            ends = x.min(axis=0), x.max(axis=0)
            bounds = far_out(x, mean, deviation, ends)
            for column in np.flatnonzero(np.isfinite(bounds[1])):
                cut = x[:, column : column + 1].clip(*bounds[:, column])
                mean[column], deviation[column] = (float(value[0]) for value in moments(cut))
        deviation[deviation <= 1e-6 * np.abs(mean)] = 1  # constant
        cuts = torch.from_numpy(bounds).float() if np.isfinite(bounds).any() else None
        seen = None if ends is None else torch.from_numpy(np.stack(ends)).float()
        return cls(torch.from_numpy(mean).float(), torch.from_numpy(deviation * np.sqrt(width)).float(), cuts, seen)

    def part(self, start: int, end: int) -> Scale:
        """The scale of some columns, as if there were no others."""
        share = ((end - start) / len(self.mean)) ** 0.5
        cut, seen = (None if value is None else value[:, start:end] for value in (self.bounds, self.ends))
        return Scale(self.mean[start:end], self.deviation[start:end] * share, cut, seen)

    def apply(self, x: Raw) -> Raw:
        """Scaled rows, a copy; dense where the scale moves zeros, as that of dense rows does."""
        if not isinstance(x, np.ndarray) and (self.bounds is not None or bool(self.mean.any())):
            x = np.asarray(x.toarray(), dtype=np.float32)
        if not isinstance(x, np.ndarray):
            scaled = sparse.csr_matrix(x, dtype=np.float32, copy=True)
            scaled.data /= self.deviation.numpy()[scaled.indices]
            return scaled
        scaled = np.empty(x.shape, dtype=np.float32)
        mean, deviation = self.mean.numpy(), self.deviation.numpy()
        for start in range(0, len(x), CHUNK):  # whole arrays would need one more copy
            part = x[start : start + CHUNK]
            if self.bounds is not None:
                part = part.clip(*self.bounds.numpy())
            np.divide(part - mean, deviation, out=scaled[start : start + CHUNK])
        return scaled


@dataclass(frozen=True)
class RowAxes:
    """Principal axes of rows that are fewer than their columns: ``[D, R]`` as a product that is never written out.

    Attributes:
        columns: the rows transposed, ``[D, N]``, CSR or dense.
        mixed: ``[N, R]``: each axis is a mean of rows with these weights.
    """

    columns: Any
    mixed: Tensor

    def __matmul__(self, weight: Tensor) -> Tensor:
        """Weights ``[D, M]`` of the features from those of the coordinates ``[R, M]``."""
        found: Tensor = torch.from_numpy(np.asarray(self.columns @ (self.mixed @ weight).numpy()))
        return found


@dataclass(frozen=True)
class Matrix:
    """Scaled features with the two products that fitting a linear head takes.

    Attributes:
        rows: ``[N, D]`` float32, dense or CSR.
        columns: the transpose, CSR where ``rows`` is, else a view.
        axes: ``[D, R]``, orthonormal, where ``rows`` are coordinates along the principal axes, the longest first:
            weights ``W`` of the coordinates are ``axes W`` of the features. None: ``rows`` are the features.
    """

    rows: Raw
    columns: Any
    axes: Tensor | RowAxes | None = None

    @classmethod
    def of(cls, rows: Raw) -> Matrix:
        """The matrix of scaled rows."""
        return cls(rows, rows.T if isinstance(rows, np.ndarray) else rows.T.tocsr())

    @classmethod
    def along_axes(cls, rows: Raw) -> Matrix:
        """The same in the coordinates of their principal axes; dense ``rows`` are overwritten.

        A penalty on the length of weights means the same there, and the curvature of the loss is nearly diagonal, so
        that fitting takes a few steps. At most 2,000 rows with more columns than that have no more axes than rows: what
        is fitted then has thousands of numbers and not a hundred thousand. Other sparse rows, and ones wider than
        2,048, stay as they are.
        """
        if rows.shape[0] <= _FEWEST_ROWS and rows.shape[1] > max(_WIDEST, rows.shape[0]):
            return cls._along_rows(rows)
        if not isinstance(rows, np.ndarray) or rows.shape[1] > _WIDEST:
            return cls.of(rows)
        table = torch.from_numpy(rows)
        axes = torch.linalg.eigh((table.T @ table).double())[1].flip(1).float()
        for part in torch.split(table, CHUNK):
            part.copy_(part @ axes)
        return cls(rows, rows.T, axes)

    @classmethod
    def _along_rows(cls, rows: Raw) -> Matrix:
        """The coordinates of rows that are fewer than their columns; rows without any axis stay as they are."""
        products = rows @ rows.T
        products = products if isinstance(products, np.ndarray) else products.toarray()
        squares, axes = torch.linalg.eigh(torch.from_numpy(products).double())
        there = squares > _FLAT * squares[-1].clamp_min(torch.finfo(torch.float64).tiny)
        if not there.any():  # all of them are zero
            return cls.of(rows)
        lengths, axes = squares[there].flip(0).sqrt(), axes[:, there].flip(1)
        coordinates = (axes * lengths).float().numpy()
        return cls(coordinates, coordinates.T, RowAxes(cls.of(rows).columns, (axes / lengths).float()))

    def squares(self) -> Tensor:
        """Mean square ``[D]`` of each column."""
        if not isinstance(self.rows, np.ndarray):
            return torch.from_numpy(np.asarray(self.rows.multiply(self.rows).mean(0)).ravel()).float()
        return torch.from_numpy(np.einsum("nd,nd->d", self.rows, self.rows) / len(self.rows))

    def features(self, weight: Tensor) -> Tensor:
        """Weights ``[D, M]`` of the features, from those of the columns."""
        return weight if self.axes is None else self.axes @ weight

    def take(self, ids: Tensor) -> Matrix:
        """Some rows; only for products with weights."""
        return Matrix(self.rows[ids.numpy()], None, self.axes)

    @property
    def shape(self) -> tuple[int, int]:
        """``(N, D)``."""
        return int(self.rows.shape[0]), int(self.rows.shape[1])

    def times(self, weight: Tensor) -> Tensor:
        """``X W``: ``[N, M]`` from ``[D, M]``."""
        if isinstance(self.rows, np.ndarray):
            # torch's threads, not those of NumPy's own library; with few columns the transposed product is the fast one
            return (weight.T @ torch.from_numpy(self.rows).T).T
        return _product(self.rows, weight)

    def back(self, gradient: Tensor) -> Tensor:
        """``X^T G``: ``[D, M]`` from ``[N, M]``."""
        if isinstance(self.rows, np.ndarray):
            return (gradient.T @ torch.from_numpy(self.rows)).T
        return _product(self.columns, gradient)

    def principal(self, components: int, generator: torch.Generator) -> Tensor:
        """The leading directions ``[D, P]`` of the columns.

        Of principal axes: the first ones. Else by subspace iteration from a random start (Halko, Martinsson and Tropp,
        SIAM Review 2011, algorithm 4.4); rows are not centred again.

        Args:
            components: at most this many; never more than N or D.
            generator: of the start.
        """
        count, width = self.shape
        if self.axes is not None:
            return torch.eye(width, min(components, count, width))
        size = min(components + 8, count, width)
        basis = torch.randn(width, size, generator=generator)
        for _ in range(_PASSES):
            left = torch.linalg.qr(self.times(basis)).Q
            basis = torch.linalg.qr(self.back(left)).Q
        _, _, right = torch.linalg.svd(torch.linalg.qr(self.times(basis)).R)
        leading: Tensor = (basis @ right.T)[:, :components]
        return leading.contiguous()


def _product(table: sparse.csr_matrix, weight: Tensor) -> Tensor:
    """``[N, M]``: a sparse ``table [N, D]`` times float32 ``weight [D, M]``, each row as a weighted sum of rows.

    For the columns of all folds at once it takes a third of the time of SciPy's product.
    """
    if table.nnz == 0:
        return torch.zeros(table.shape[0], weight.shape[1])
    places, starts, values = (torch.from_numpy(part) for part in (table.indices, table.indptr, table.data))
    return F.embedding_bag(
        places, weight.contiguous(), starts, mode="sum", per_sample_weights=values, include_last_offset=True
    )


def raw(rows: Rows, ids: Tensor | None = None) -> Raw:
    """Features as one array ``[N, D]`` float32, sparse where they are; a view where that can be.

    Args:
        rows: the features.
        ids: which of them; None: all.
    """
    if isinstance(rows, SparseRows):
        return rows.data if ids is None else rows.data[ids.numpy()]
    if isinstance(rows, IndexedRows) and isinstance(rows.rows, SparseRows):
        return raw(rows.rows, rows.selected if ids is None else rows.selected[ids])
    data = getattr(rows, "data", None)
    if ids is not None:
        found = rows[ids]
    elif isinstance(data, Tensor):
        found = data
    elif isinstance(data, np.memmap) and data.ndim == 2 and data.dtype == np.float32:
        return data  # as it lies on the disk; only what is asked of it is read
    else:
        found = torch.cat([rows[part] for part in torch.split(torch.arange(len(rows)), CHUNK)])
    return found.flatten(1).float().cpu().numpy()
