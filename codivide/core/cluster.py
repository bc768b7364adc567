"""Independent tasks, here or on the machines of a Ray cluster: the same answers in the same order.

Ray runs a task again whose worker died, so that none is lost. Tasks and their data travel pickled between the machines
of one's own cluster, which have codivide installed; no file of codivide's holds any of it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from codivide.core.errors import InputError

AUTO = "auto"
_TRIES = 5  # of a task whose worker dies
_AHEAD = 2  # tasks for each processor that are handed over before the first answer is read

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_ray: Any = None  # the module, while a cluster is there


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Let ``spread`` use a cluster while the block lasts.

    Args:
        address: "auto" (the cluster that this machine belongs to, else its own processors), such as
            "ray://HOST:10001" or "HOST:6379"; None: none.

    Raises:
        InputError: Ray is not installed, or nobody answers there.
    """
    global _ray  # as Ray has it: a process belongs to one cluster
    if address is None or _ray is not None:
        yield
        return
    try:
        import ray
    except ModuleNotFoundError:
        raise InputError("a cluster needs Ray: pip install ray") from None
    try:
        where = None if address == AUTO else address
        ray.init(where, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"no cluster answers at {address}: {str(error).splitlines()[0]}") from None
    _ray = ray
    try:
        yield
    finally:
        _ray = None
        ray.shutdown()


def is_there() -> bool:
    """Whether tasks go to a cluster."""
    return _ray is not None


def spread(task: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
    """``task(item)`` of each item, in order; on a cluster, where one is connected.

    There each task has one processor, and as many threads of torch as this process, so that the bits are the same.

    Args:
        task: a function that can be pickled, and depends on its item alone.
        items: read as they are needed; few wait, so that memory does not grow with their number.

    Raises:
        InputError: as the task, or the cluster lost a task too often.
    """
    if _ray is None:
        yield from map(task, items)
        return
    import torch

    remote = _ray.remote(max_retries=_TRIES, num_cpus=1)(_run)
    held = _ray.put(task)
    waiting: deque[Any] = deque()
    most = max(2, _AHEAD * int(_ray.cluster_resources().get("CPU", 1)))
    for item in items:
        waiting.append(remote.remote(held, item, torch.get_num_threads()))
        if len(waiting) >= most:
            yield _answer(waiting.popleft())
    while waiting:
        yield _answer(waiting.popleft())


def _run(task: Callable[[Item], Answer], item: Item, threads: int) -> Answer:
    import torch

    torch.set_num_threads(threads)
    return task(item)


def _answer(waiting: Any) -> Any:
    try:
        return _ray.get(waiting)
    except _ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, InputError) else error) from None
    except _ray.exceptions.RayError as error:
        raise InputError(f"the cluster lost a task {_TRIES} times: {str(error).splitlines()[0]}") from None
