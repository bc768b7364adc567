"""How a run ends that is asked to: by Ctrl-C (SIGINT), a scheduler (SIGTERM) or a terminal that closes (SIGHUP)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(BaseException):
    """A signal asked the process to end; no ``except Exception`` takes it for a fault.

    Attributes:
        code: what the process exits with, 128 more than the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


class _Asked:
    """The one state of the process: whether a step is to be finished, and what asked to stop meanwhile."""

    finishing = False
    number: int | None = None


@contextmanager
def stoppable(tell: Callable[[str], None]) -> Iterator[None]:
    """Turn the signals into ``Stopped`` while the block lasts; one that is ignored (``nohup``) stays so.

    Args:
        tell: is told that a step is finished first.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if not _Asked.finishing or _Asked.number is not None:
            raise Stopped(number)
        _Asked.number = number
        tell("stopping after this epoch, which is saved; the same signal again stops at once")

    if threading.current_thread() is not threading.main_thread():  # the only one that may
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    taken = {number: how for number, how in before.items() if how is not signal.SIG_IGN}
    try:
        for number in taken:
            signal.signal(number, handle)
        yield
    finally:
        for number, how in taken.items():
            signal.signal(number, how)


@contextmanager
def finished() -> Iterator[None]:
    """A step that ends before a signal counts; a second signal ends it at once.

    Raises:
        Stopped: at the end of the block, where a signal came meanwhile.
    """
    _Asked.finishing, _Asked.number = True, None
    try:
        yield
    finally:
        _Asked.finishing = False
    if _Asked.number is not None:
        raise Stopped(_Asked.number)
