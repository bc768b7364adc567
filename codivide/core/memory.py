"""What is done where a process may take only so much memory (``ulimit -v``, RLIMIT_AS)."""

from __future__ import annotations

import errno
import mmap
import os
import sys
from collections.abc import Iterator

LEAST = 256 << 20  # bytes without which nothing is begun: with less, C libraries abort while they are loaded
_BUFFERS = 128 << 20  # what the BLAS of NumPy and that of SciPy take once, with room to spare
_THREAD = 72 << 20  # what one thread of theirs takes: its stack and an arena
_AMPLE = 8 << 30  # with less, one thread is taken, for torch's end the process where they find no room
_THREADS = "OMP_NUM_THREADS"
_SAID = (
    *("allocate memory", "out of memory", "bad_alloc", "start new thread", "launch worker thread"),
    "failed to map segment",
)
_SAID_OF_A_LIMIT = ("could not create a primitive", "without setting an exception")  # by oneDNN, by Python's import


def settle() -> str | None:
    """Take now what libraries would wait for without end later; it does nothing where memory is not limited.

    OpenBLAS asks for the memory of its buffers and threads at its first operations, and where it gets none it asks
    again for ever. So these operations are made here, while there is room for them. libgomp, whose threads torch has,
    ends the process where there is no room for one: with less than 8 GB and no word of the user (``OMP_NUM_THREADS``)
    there is one thread. It is called before torch is imported, which looks for that word then.

    Returns:
        What to tell the user of threads; None: nothing.

    Raises:
        MemoryError: the limit leaves too little to begin with.
    """
    if not _limited():
        return None
    _ask_for(LEAST)
    said = _one_thread()
    import numpy as np
    from scipy import linalg

    _ask_for(_BUFFERS + _THREAD * (os.cpu_count() or 1))
    large_enough = np.eye(256)  # for more than one thread
    np.linalg.cholesky(large_enough @ large_enough)
    linalg.cholesky(linalg.blas.dgemm(1.0, large_enough, large_enough))
    return said


def _one_thread() -> str | None:
    """Take one thread where memory is scarce and nobody has said how many; what to say of it."""
    import resource

    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if most >= _AMPLE or _THREADS in os.environ:
        return None
    os.environ[_THREADS] = "1"
    return f"memory is limited to {most / 2**30:.1f} GB, so one thread is taken; {_THREADS} says how many"


def short_of(error: BaseException) -> bool:
    """Whether an error, or one that led to it, means that memory was missing."""
    return any(_says_so(one) for one in _led_to(error))


def _says_so(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return any(text in str(error) for text in (*_SAID, *(_SAID_OF_A_LIMIT if _limited() else ())))


def _led_to(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _limited() -> bool:
    if sys.platform == "win32":
        return False
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _ask_for(size: int) -> None:
    """MemoryError where so many bytes cannot be had; they are given back at once."""
    try:
        mmap.mmap(-1, size).close()
    except OSError as error:
        raise MemoryError(f"the limit of this process leaves less than {size >> 20} MB") from error
