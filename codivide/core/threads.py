"""How many threads a run takes: what the machine gives when it starts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from codivide.core.words import counted

SMALL = 100_000  # numbers in a table up to which one core needs seconds, and threads hardly fewer

_CGROUP = Path("/sys/fs/cgroup")
_STAT = Path("/proc/stat")
_SHORTEST = 0.5  # seconds between two moments that tell something; processor time is counted in hundredths


class Free(NamedTuple):
    """What there is for a process.

    Attributes:
        threads: to take, at least 1.
        cores: that it may run on, by its affinity and the quota of its control group.
        load: how many other jobs are busy.
    """

    threads: int
    cores: int
    load: float


def allowed() -> int:
    """The cores that a process may run on, by its affinity."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free(load: float | None = None) -> Free:
    """The cores that a process may use and that nobody else keeps busy.

    Threads that share a core wait for each other actively: with two busy jobs beside them, two threads took several
    times as long as one.

    Args:
        load: jobs that are busy; None: the load of the last minute, or what others took since this module was
            imported where that is less (the minute still counts a command that has just ended); 0 where the system
            does not tell.
    """
    cores = max(1, min(allowed(), int(_quota() or allowed())))
    if load is None:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        if (others := _taken_by_others(_BEGIN, _moment())) is not None:
            load = min(load, others)
    return Free(max(1, min(cores, round(cores - load))), cores, load)


def take(threads: int | None = None) -> str | None:
    """Let torch use the threads that are free, or a number that was recorded; ``OMP_NUM_THREADS`` wins over both.

    Returns:
        What to tell the user: fewer than all cores are used because the machine is busy, or another number than was
        recorded, with which the last bits of all numbers differ.
    """
    import torch

    if "OMP_NUM_THREADS" in os.environ:
        taken = torch.get_num_threads()
        if threads in (None, taken):
            return None
        return (
            f"the run began with {counted(threads, 'thread')} and goes on with {taken} (OMP_NUM_THREADS): its numbers "
            f"will differ in the last bits from those of a run with one number; OMP_NUM_THREADS={threads} keeps them"
        )
    found = free()
    _Chosen.threads = threads or found.threads
    torch.set_num_threads(_Chosen.threads)
    if threads or found.threads == found.cores:
        return None
    return (
        f"{found.threads} of {found.cores} cores: others keep the machine busy (load {found.load:.1f}); "
        "OMP_NUM_THREADS says how many to take"
    )


class _Chosen:
    """How many threads this process takes for many numbers; None: nobody has asked yet.

    It is chosen once: with another number the last bits of all numbers differ.
    """

    threads: int | None = None


@contextmanager
def alone(size: int) -> Iterator[None]:
    """One thread for work on few numbers, for many those that are free; ``OMP_NUM_THREADS`` wins.

    A small table is thousands of parallel steps of a few microseconds, at the end of each of which all threads wait for
    the last. Where another job has the core of that one, they wait actively for a time slice of the system. The threads
    of before are there again afterwards, and never more than these are taken.

    Args:
        size: how many numbers the table has.
    """
    if "OMP_NUM_THREADS" in os.environ:
        yield
        return
    import torch
    from threadpoolctl import threadpool_limits  # scikit-learn needs it, too

    if size > SMALL and _Chosen.threads is None:
        _Chosen.threads = free().threads
    before = torch.get_num_threads()
    most = min(before, 1 if size <= SMALL else _Chosen.threads or 1)
    import_module("sklearn.utils")  # its threads are a library of its own, which has to be there to be limited
    torch.set_num_threads(most)  # also those of MKL within torch, which nothing else reaches
    try:
        with threadpool_limits(most):
            yield
    finally:
        torch.set_num_threads(before)


def _quota() -> float | None:
    """Cores that the control group allows; None: no limit."""
    try:
        words = (_CGROUP / "cpu.max").read_text(encoding="ascii").split()
        return None if words[0] == "max" else int(words[0]) / int(words[1])
    except (OSError, ValueError, IndexError):  # no control groups, or of the first version
        return None


class _Moment(NamedTuple):
    """Seconds: on the clock, of all processors together that were busy, and of this process."""

    clock: float
    busy: float
    own: float


def _moment() -> _Moment | None:
    """None: the system does not tell."""
    try:
        words = _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()
        user, nice, system, _, _, *interrupts = (int(word) for word in words[1:8])
        ticks = user + nice + system + sum(interrupts)
        return _Moment(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time())
    except (OSError, ValueError, AttributeError):  # not Linux
        return None


def _taken_by_others(begin: _Moment | None, end: _Moment | None) -> float | None:
    """Cores that other processes kept busy between two moments; None: unknown, or too short a time to tell."""
    if begin is None or end is None or end.clock - begin.clock < _SHORTEST:
        return None
    return max(0.0, end.busy - begin.busy - (end.own - begin.own)) / (end.clock - begin.clock)


_BEGIN = _moment()
