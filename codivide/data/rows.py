"""Samples that answer ``rows[ids] -> batch``: in memory, mapped from disk, sparse, or a selection of other rows."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from codivide.core.device import onto
from codivide.core.errors import InputError, option
from codivide.core.files import let_go

CHUNK = 1024
_HELD = 2**26  # bytes of a mapped file that are read before its pages are let go
_AROUND = 2**16  # bytes that come along with a row


class Rows(Protocol):
    """A source of samples that answers ``rows[ids] -> batch``.

    ``ids`` is an int64 tensor ``[B]``; the answer is ``[B, *shape]``, uint8 or float32. Implementations hold at
    most one copy of the data.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample: ``(channels, height, width)`` or ``(features,)``."""

    @property
    def dtype(self) -> torch.dtype:
        """``torch.uint8`` (images, 0 to 255) or ``torch.float32``."""

    def __len__(self) -> int: ...

    def __getitem__(self, ids: Tensor) -> Tensor: ...

    def to(self, device: torch.device) -> Rows:
        """The same rows on ``device`` where they fit in memory, else unchanged."""


def check_alike(rows: Rows, other: Rows, what: str) -> None:
    """InputError unless held-out rows have the shape and dtype of the training rows."""
    if rows.shape != other.shape or rows.dtype != other.dtype:
        raise InputError(
            f"{what} has samples of shape {other.shape} and {str(other.dtype)[6:]}, the training data of "
            f"{rows.shape} and {str(rows.dtype)[6:]}; make them alike (images: {option('image_size')})"
        )


class TensorRows:
    """Rows of a tensor in memory; the caller's own memory where its layout allows.

    Args:
        data: ``[N, *shape]``, uint8 or float32, contiguous or a permuted view of contiguous ``[N, H, W, C]``.
    """

    def __init__(self, data: Tensor) -> None:
        self.data = data
        self._channels_last = not data.is_contiguous() and data.ndim == 4

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.data.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """``torch.uint8`` or ``torch.float32``."""
        return self.data.dtype

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, ids: Tensor) -> Tensor:
        ids = onto(ids, self.data.device)
        if self._channels_last:  # whole images are selected from contiguous memory, only the batch is permuted
            return self.data.permute(0, 2, 3, 1).index_select(0, ids).permute(0, 3, 1, 2).contiguous()
        return self.data.index_select(0, ids)

    def to(self, device: torch.device) -> Rows:
        """The same rows on ``device`` where they fit in memory, else unchanged."""
        return self if device.type == self.data.device.type else copy_to(self, device)


class MemmapRows:
    """Rows of a file mapped into memory; only the pages of a batch are read, and few are held at once.

    Args:
        data: a read-only memory-map ``[N, *shape]``, uint8 or float32.
    """

    def __init__(self, data: NDArray[Any]) -> None:
        self.data = data
        self._read = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.data.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """``torch.uint8`` or ``torch.float32``."""
        return torch.uint8 if self.data.dtype == np.uint8 else torch.float32

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, ids: Tensor) -> Tensor:
        found = np.asarray(self.data[ids.cpu().numpy()])
        self._read += found.nbytes + _AROUND * len(found)
        if self._read > _HELD:
            let_go(self.data)
            self._read = 0
        return torch.from_numpy(found)

    def to(self, device: torch.device) -> Rows:
        """The same rows on a CUDA ``device`` where they fit, else unchanged."""
        return copy_to(self, device)


class SparseRows:
    """Rows of a sparse feature matrix; a batch is made dense when it is asked for.

    Args:
        data: a CSR matrix ``[N, features]``, float32. Where a cell stands twice, a copy is kept with the sum: trees of
            scikit-learn end the whole process at such rows.
    """

    sparse = True  # zeros stay zeros: ``fit_views`` does not centre

    def __init__(self, data: csr_matrix) -> None:
        if not data.has_canonical_format:
            data = data.copy()
            data.sum_duplicates()
        self.data = data

    @property
    def shape(self) -> tuple[int, ...]:
        """``(features,)``."""
        return (int(self.data.shape[1]),)

    @property
    def dtype(self) -> torch.dtype:
        """``torch.float32``."""
        return torch.float32

    def __len__(self) -> int:
        return int(self.data.shape[0])

    def __getitem__(self, ids: Tensor) -> Tensor:
        return torch.from_numpy(self.data[ids.cpu().numpy()].toarray())

    def to(self, device: torch.device) -> Rows:
        """Unchanged: dense rows could be a thousand times as large."""
        return self


class IndexedRows:
    """A selection of other rows, without a copy.

    Args:
        rows: the rows to select from.
        selected: row numbers ``[M]`` int64 in ``rows``.
    """

    def __init__(self, rows: Rows, selected: Tensor) -> None:
        self.rows = rows
        self.selected = selected
        self.sparse: bool = getattr(rows, "sparse", False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.rows.shape

    @property
    def dtype(self) -> torch.dtype:
        """``torch.uint8`` or ``torch.float32``."""
        return self.rows.dtype

    def __len__(self) -> int:
        return len(self.selected)

    def __getitem__(self, ids: Tensor) -> Tensor:
        return self.rows[self.selected[ids.to(self.selected.device)]]

    def to(self, device: torch.device) -> Rows:
        """The selected rows alone on a CUDA ``device`` where they fit, else unchanged."""
        return copy_to(self, device)


class JoinedRows:
    """The rows of one source, and behind them those of another of the same shape and dtype.

    Args:
        first: N rows.
        second: M rows.
    """

    def __init__(self, first: Rows, second: Rows) -> None:
        self.first, self.second = first, second
        self.sparse = getattr(first, "sparse", False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.first.shape

    @property
    def dtype(self) -> torch.dtype:
        """That of both."""
        return self.first.dtype

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, ids: Tensor) -> Tensor:
        count, behind = len(self.first), ids >= len(self.first)
        found = torch.empty((len(ids), *self.shape), dtype=self.dtype)
        found[~behind] = self.first[ids[~behind]].cpu()
        found[behind] = self.second[ids[behind] - count].cpu()
        return found

    def to(self, device: torch.device) -> Rows:
        """The rows themselves, which stay where they are."""
        return self


class BesideRows:
    """The features of one source, and beside them those of another with as many rows.

    Args:
        first: ``[N, D]`` float32.
        second: ``[N, E]`` float32.
    """

    def __init__(self, first: Rows, second: Rows) -> None:
        self.first, self.second = first, second

    @property
    def shape(self) -> tuple[int, ...]:
        """``(D + E,)``."""
        return (self.first.shape[0] + self.second.shape[0],)

    @property
    def dtype(self) -> torch.dtype:
        """That of both."""
        return self.first.dtype

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, ids: Tensor) -> Tensor:
        return torch.cat([self.first[ids].cpu(), self.second[ids].cpu()], 1)

    def to(self, device: torch.device) -> Rows:
        """The rows themselves, which stay where they are."""
        return self


def copy_to(rows: Rows, device: torch.device) -> Rows:
    """Copy any rows to a CUDA device, a chunk at a time; unchanged elsewhere or where half the free memory is less.

    Args:
        rows: the rows ``[N, *shape]``.
        device: where to copy them.

    Returns:
        New rows on ``device``, or ``rows``.
    """
    if device.type != "cuda":
        return rows
    size = len(rows) * int(np.prod(rows.shape)) * rows.dtype.itemsize
    if size > torch.cuda.mem_get_info(device)[0] // 2:
        return rows
    data = torch.empty((len(rows), *rows.shape), dtype=rows.dtype, device=device)
    for start in range(0, len(rows), CHUNK):
        stop = min(start + CHUNK, len(rows))
        data[start:stop] = rows[torch.arange(start, stop)].to(device)
    return TensorRows(data)


def take(rows: Rows, ids: ArrayLike) -> Rows:
    """Select rows without a copy.

    Args:
        rows: the rows to select from.
        ids: row numbers ``[M]``, non-negative; all of them in order returns ``rows`` itself.

    Returns:
        ``M`` rows.
    """
    selected = torch.from_numpy(np.asarray(ids, dtype=np.int64).copy())
    if len(selected) == len(rows) and bool((selected == torch.arange(len(rows))).all()):
        return rows
    return IndexedRows(rows, selected)
