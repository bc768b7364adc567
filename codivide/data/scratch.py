"""Room for many samples: in memory, or in a file without a name where that would be too much."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from codivide.core.errors import InputError
from codivide.data.encoder import Encoding
from codivide.data.rows import MemmapRows, Rows, TensorRows


def scratch(shape: tuple[int, ...], dtype: type[np.uint8] | type[np.float32], how: Encoding) -> NDArray[Any]:
    """An empty array in memory, or in an unnamed file where it would pass ``cache_limit``.

    Args:
        shape: shape of the array.
        dtype: ``numpy.uint8`` or ``numpy.float32``.
        how: where the cache is, and its limit.

    Returns:
        The array; a file goes away with it.

    Raises:
        InputError: the file cannot be made.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size <= how.cache_limit:
        return np.empty(shape, dtype=dtype)
    try:
        how.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=how.cache) as file:
            if hasattr(os, "posix_fallocate"):  # a full disk is an error here, not a signal while writing
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype=dtype, mode="r+", shape=shape)
    except OSError as error:
        raise no_space(size, how, error) from error


def as_rows(data: NDArray[Any]) -> Rows:
    """Rows of an array from ``scratch`` ``[N, *shape]``."""
    return MemmapRows(data) if isinstance(data, np.memmap) else TensorRows(torch.from_numpy(data))


def no_space(size: int, how: Encoding, error: OSError) -> InputError:
    """The error where samples of so many bytes fit neither in memory nor in the cache."""
    return InputError(
        f"the decoded images, or features, take {size / 2**30:.1f} GiB, more than the cache limit of "
        f"{how.cache_limit / 2**30:.1f} GiB, and {how.cache} cannot hold them ({error.strerror or error}): set "
        "CODIVIDE_CACHE to a folder with room, raise the cache limit or choose a smaller image size"
    )
