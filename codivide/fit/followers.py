"""The other processes of ``torchrun``: they train with the first, which alone reads, chooses, judges and writes.

The first process runs the command as it would alone. Each time that it trains networks, it calls the others, which have
read the same data, with the job; they train with it and forget what came out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from codivide.core.errors import InputError
from codivide.data.fingerprint import digest
from codivide.data.loaded import Loaded, subset
from codivide.data.rows import IndexedRows
from codivide.fit.job import Job, build_method
from codivide.fit.own_method import built_by
from codivide.training.own_net import as_net
from codivide.training.plan import Plan
from codivide.training.ranks import here

TakePart = Callable[[Job, Loaded, int | None], None]

_whole: Loaded | None = None  # what all processes have read


@contextmanager
def led(loaded: Loaded) -> Iterator[None]:
    """Let the others read the same data, and have them at call while the block lasts; nothing where there are none."""
    global _whole  # as the group of processes is one for the whole program
    if here().count == 1:
        yield
        return
    here().told(_known_by(loaded))
    _whole = loaded
    try:
        yield
    finally:
        _whole = None
    here().told(None)  # not after an error: torchrun ends the others where one has failed


def call(job: Job, loaded: Loaded, asked: int | None) -> None:
    """Have the others train with this process, which goes on to train; nothing where there are none.

    Args:
        job: with a method that trains networks.
        loaded: what was read, or rows of it; its labels may be hidden.
        asked: the last epoch whose predictions count; None: all do.
    """
    if _whole is None:
        return
    rows = None
    if loaded.x is not _whole.x:
        assert isinstance(loaded.x, IndexedRows)
        assert loaded.x.rows is _whole.x
        rows = loaded.x.selected.tolist()
    whole = rows is None and np.array_equal(loaded.y, _whole.y)
    here().told(
        {
            "method": built_by(job.method),
            "hyper": asdict(job.method),
            "plan": asdict(job.plan),
            "net": job.net if isinstance(job.net, str) or job.net.file is None else job.net.file,
            "dropout": job.dropout,
            "evaluate_every": job.evaluate_every,
            "record_learning": job.record_learning,
            "asked": asked,
            "rows": rows,
            "labels": None if whole else loaded.y.tolist(),
            "confirmed": loaded.confirmed is not None,
        }
    )


def follow(read: Callable[[], Loaded], take_part: TakePart) -> None:
    """Be one of the others, until the first process has done all.

    Args:
        read: reads the data; asked when the first process has read them, so that what it cached is there.
        take_part: trains with the others; what it warns of, the first process says.

    Raises:
        InputError: this process does not find the same data, or the first has ended.
    """
    ranks = here()
    try:
        known = ranks.told(None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = replace(read(), test=None, validation=None)
            if (ours := _known_by(loaded)) != known:
                differs = ", ".join(name for name in ours if ours[name] != known.get(name))
                raise InputError(f"process {ranks.rank} reads other data than the first ({differs}); share one folder")
            while (order := ranks.told(None)) is not None:
                take_part(*_understood(order, loaded))
    except RuntimeError as error:
        if "onnection" not in str(error):
            raise
        raise InputError(f"process {ranks.rank} has lost the others; see what the first says") from error


def _understood(order: dict[str, Any], loaded: Loaded) -> tuple[Job, Loaded, int | None]:
    plan = Plan(**{**order["plan"], "milestones": tuple(order["plan"]["milestones"])})
    job = Job(
        build_method(order["method"], **order["hyper"]),
        plan,
        as_net(order["net"]),
        order["dropout"],
        evaluate_every=order["evaluate_every"],
        record_learning=order["record_learning"],
    )
    if order["rows"] is not None:
        loaded = subset(loaded, np.asarray(order["rows"]))
    if order["labels"] is not None:
        loaded = replace(loaded, y=np.asarray(order["labels"], dtype=loaded.y.dtype))
    return job, loaded if order["confirmed"] else replace(loaded, confirmed=None), order["asked"]


def _known_by(loaded: Loaded) -> dict[str, Any]:
    """What all processes must find alike."""
    return {
        "samples": len(loaded.y),
        "shape": list(loaded.x.shape),
        "classes": [str(name) for name in loaded.classes],
        "labels": digest(loaded.y),
    }
