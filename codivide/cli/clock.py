"""When a command began, before anything large was imported: a user waits for that, too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_BEGAN: ContextVar[float | None] = ContextVar("began", default=None)


@contextmanager
def running(since: float) -> Iterator[None]:
    """A command that began then, of ``time.monotonic()``."""
    token = _BEGAN.set(since)
    try:
        yield
    finally:
        _BEGAN.reset(token)


def began() -> float:
    """When the command that runs began, of ``time.monotonic()``; now, where none runs."""
    known = _BEGAN.get()
    return time.monotonic() if known is None else known
