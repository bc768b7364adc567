"""Who may write to a run folder: what is in it is looked at, it is locked, and what killed runs left is swept."""

from __future__ import annotations

import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from codivide.core.errors import InputError, either, option
from codivide.core.files import check_name, expand_user, part_of
from codivide.runs.folder import (
    CHOICE,
    CORRECTION,
    CORRECTIONS,
    DECISIONS,
    LOCK,
    PAGES,
    SCOUT,
    WRITTEN,
    check_settings,
    has_run,
)

_HOUR = 3600.0  # seconds after which nobody draws any more
_STEMS = {Path(name).stem for name in (*WRITTEN, CHOICE)}
_DRAWN = {Path(name).stem for name in (*PAGES, DECISIONS)}  # by commands that look at a run while it trains


@contextmanager
def claimed(
    out: Path | None, *, resume: bool = False, overwrite: bool = False, inputs: Sequence[str | Path] = ()
) -> Iterator[None]:
    """Hold a folder for a run while the block lasts; asked before any data are read.

    The folder is made; one that was made and in which nothing was written is removed at the end. What killed runs of
    codivide left half written in it is removed, and nothing else.

    Args:
        out: the folder; None: nothing is held.
        resume: a run in it may be gone on with.
        overwrite: a run in it may be replaced.
        inputs: what is read, as it was given; names that are no paths are passed over.

    Raises:
        InputError: as ``check_folder``, or another process writes to it.
    """
    if out is None:
        yield
        return
    check_folder(out, resume=resume, overwrite=overwrite, inputs=inputs)
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with locked(out):
            check_folder(out, resume=resume, overwrite=overwrite, inputs=inputs)  # another run may just have ended
            for folder in (out, out / SCOUT, out / CORRECTION):
                _sweep(folder)
            yield
    finally:
        if made:
            with suppress(OSError):  # something was written
                out.rmdir()


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the lock of a folder, which the system takes back when the process dies.

    Raises:
        InputError: another process, or another thread of this one, holds it.
    """
    path = out / LOCK
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
        if not path.exists():  # the one who held it removed it after it was opened here
            lock.release()
            lock.acquire(blocking=False)
    except Timeout:
        raise InputError(
            f"another codivide process is writing to {out}; wait until it has ended, or give another folder"
        ) from None
    except NotImplementedError:
        warnings.warn(f"{out} is on a file system without locks; let no two processes write to it", stacklevel=3)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps a file that is open
            path.unlink(missing_ok=True)
        lock.release()


def check_folder(
    out: Path, *, resume: bool = False, overwrite: bool = False, inputs: Sequence[str | Path] = ()
) -> None:
    """Whether a run may be written to ``out``; changes nothing.

    Raises:
        InputError: it is or holds one of ``inputs``, is no folder, holds a run (unless resume or overwrite), or holds
            anything else and no run.
    """
    check_name(out, option("out"))
    for given in inputs:
        _check_input(out, given)
    if out.exists() and not out.is_dir():
        raise InputError(f"{option('out', str(out))} is a file; give a folder")
    held = _held(out)
    if held and not (has_run(out) or has_run(out / SCOUT)):
        raise _of_others(out, option("out", str(out)), held)
    if held and not resume and not overwrite:
        raise InputError(
            f"the folder {out} exists and is not empty; give another as {option('out')}, or "
            + either("--resume or --overwrite", "resume=True to go on with its run")
        )
    for stage in (out / SCOUT, out / CORRECTION):
        if stage.exists() and not stage.is_dir():
            raise InputError(f"{stage} is a file where a stage of the run goes; give another folder")
        if (held := _held(stage)) and not has_run(stage):
            raise _of_others(stage, str(stage), held)


def _of_others(folder: Path, said: str, held: Sequence[str]) -> InputError:
    """What is in the way in a folder without a run; where its settings are damaged, that they are."""
    what = f"{said} holds other files ({held[0]}, ...) and no codivide run"
    try:
        check_settings(folder)
    except InputError as damaged:
        return InputError(f"{what}: {damaged}; give another folder")
    return InputError(f"{what}; give another folder")


def _check_input(out: Path, given: str | Path) -> None:
    path = expand_user(given)
    if not path.exists() or path.name == CORRECTIONS:  # which lies in a run folder, and which no run writes
        return
    real, held = out.resolve(), path.resolve()
    if real == held:
        raise InputError(f"{option('out', str(out))} is what is read; give another folder")
    if real in held.parents:
        raise InputError(f"{option('out', str(out))} holds {given}, which is read; give another folder")


def _held(folder: Path) -> list[str]:
    """Names of what is in a folder besides a lock, what a killed run left half written, and a stage not begun."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if not _is_litter(path))


def _is_litter(path: Path) -> bool:
    if path.name in (SCOUT, CORRECTION) and path.is_dir() and not path.is_symlink():
        return not _held(path)
    return path.name == LOCK or part_of(path) in _STEMS | _DRAWN


def sweep_drawn(folder: Path) -> None:
    """Remove what killed commands that draw, report or serve left half written in a run's folder, an hour ago."""
    _sweep(folder, ())


def _sweep(folder: Path, stems: Collection[str] = _STEMS) -> None:
    """Remove what killed runs left half written."""
    for path in folder.glob("*.part") if folder.is_dir() else ():
        stem = part_of(path)
        with suppress(FileNotFoundError):  # it is whole by now
            if stem in stems or (stem in _DRAWN and abs(time.time() - path.stat().st_mtime) > _HOUR):
                path.unlink()
