"""Commands of codivide in children of this process, which are spoiled before they begin.

A child is forked after everything was imported, so that one costs what its command costs. What kills it, it does
itself: at an instant of its own processor time, or at one of its own file operations.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any

CPU = 120  # seconds after which a child is taken for one that never ends
WAITING = 200.0  # of the clock, for one that waits for ever

_CHANGING = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "shutil.copyfile"}

Prepare = Callable[[], None]


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: its exit code; None: a signal ended it.
        signal: that signal; 0: none.
        out: what it printed.
        err: what it printed on the error stream.
        seconds: of processor time.
    """

    code: int | None
    signal: int
    out: str
    err: str
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether it said what is wrong in plain words, or nothing was."""
        return "Traceback" not in self.err and "Exception ignored" not in self.err and self.code in (0, 2, 3)


_NEEDED = (
    *("audit.facts", "audit.render", "audit.serve", "bench.runner", "cli.app", "data.table_sets", "fit.choose_run"),
    *("methods.features.learn", "runs.plot"),
)


def warm() -> None:
    """Import all that a command needs, once."""
    for name in (*(f"codivide.{name}" for name in _NEEDED), "sklearn.ensemble", "timm"):
        import_module(name)
    import_module("codivide.cli.app").application([])


@dataclass
class Child:
    """A child that lives; ``end`` waits for it."""

    number: int
    files: contextlib.ExitStack
    out: IO[bytes]
    err: IO[bytes]

    def end(self) -> Ended:
        """How it ended, which may take a while."""
        _, status, used = os.wait4(self.number, 0)
        said = []
        with self.files:
            for file in (self.out, self.err):
                file.seek(0)
                said.append(file.read().decode("utf-8", "replace"))
        ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = None if ended else os.WEXITSTATUS(status)
        return Ended(code, ended, *said, used.ru_utime + used.ru_stime)


@contextlib.contextmanager
def _two_files() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        yield out, err


def start(
    work: Callable[[], object],
    cwd: Path,
    *,
    prepare: Sequence[Prepare] = (),
    environment: Mapping[str, str | None] | None = None,
    stdout: int | None = None,
    patience: int = 1,
) -> Child:
    """Begin work in a child.

    Args:
        work: such as ``command(...)``.
        cwd: its folder.
        prepare: what spoils it, called in it.
        environment: what it has besides this process's; None: a variable that it lacks.
        stdout: a handle to print to; None: a file that is read afterwards.
        patience: how many times as long as others it may take.
    """
    files = contextlib.ExitStack()
    out, err = files.enter_context(_two_files())
    number = os.fork()
    if not number:
        _live(work, cwd, prepare, environment or {}, stdout or out.fileno(), err.fileno(), patience)
    return Child(number, files, out, err)


def run(work: Callable[[], object], cwd: Path, **more: Any) -> Ended:
    """Do work in a child, and wait for it; ``more``: as for ``start``."""
    return start(work, cwd, **more).end()


def _live(
    work: Callable[[], object],
    cwd: Path,
    prepare: Sequence[Prepare],
    environment: Mapping[str, str | None],
    out: int,
    err: int,
    patience: int,
) -> None:
    """The life of a child; it never returns."""
    code = 1
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for handle, place in ((nothing, 0), (out, 1), (err, 2)):
            os.dup2(handle, place)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)  # both last as long as the child
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        os.chdir(cwd)
        resource.setrlimit(resource.RLIMIT_CPU, (patience * CPU, patience * CPU))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.setitimer(signal.ITIMER_REAL, patience * WAITING)
        _stop_the_clock()
        for step in prepare:
            step()
        work()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _stop_the_clock() -> None:
    """Seconds are 0 in every record, so that two runs have the same bytes."""
    time.perf_counter = lambda: 0.0
    time.monotonic = lambda: 0.0


def command(*words: object) -> Callable[[], None]:
    """A command of codivide."""

    def work() -> None:
        from codivide.cli.app import main

        sys.argv = ["codivide", *map(str, words)]
        main()

    return work


def killed_after(seconds: float) -> Prepare:
    """Die after so much processor time, wherever that is, in C too: SIGPROF ends a process that does not expect it."""
    return lambda: signal.setitimer(signal.ITIMER_PROF, max(seconds, 1e-4))


def killed_at(event: int) -> Prepare:
    """Die (SIGKILL) at a file operation: the so many-th file that is opened to be written, renamed, removed, ..."""

    def install() -> None:
        seen = 0

        def watch(name: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if _changes(name, arguments):
                if seen == event:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        sys.addaudithook(watch)

    return install


def counting(handle: int) -> Prepare:
    """Write a byte to a pipe for every file operation at which ``killed_at`` could end the child."""

    def install() -> None:
        def watch(name: str, arguments: tuple[object, ...]) -> None:
            if _changes(name, arguments):
                os.write(handle, b".")

        sys.addaudithook(watch)

    return install


def _changes(name: str, arguments: tuple[object, ...]) -> bool:
    if name == "open":
        path, _, flags = arguments
        return isinstance(path, str | bytes | os.PathLike) and bool(int(flags or 0) & (os.O_WRONLY | os.O_RDWR))
    return name in _CHANGING or name in ("sqlite3.connect",)


def signalled(number: int, event: int) -> Prepare:
    """Send itself a signal at a file operation."""

    def install() -> None:
        seen = 0

        def watch(name: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if _changes(name, arguments):
                seen += 1
                if seen == event + 1:
                    os.kill(os.getpid(), number)

        sys.addaudithook(watch)

    return install
