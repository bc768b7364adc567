"""What a process may find around it: a full disk, folders that cannot be written, no home, signals, no terminal."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.faults.children import Ended, Prepare, command, counting, run, signalled
from tests.faults.kinds import CLASSES, DIGITS, NETWORK, fresh, snapshot
from tests.faults.tally import Tally

_RUN = ("run", "table.csv")
_TABLE = ("fit", "table.csv", "--method", "features", "--out", "out")
_NETWORK = ("fit", "table.csv", "--method", "cross_entropy", *NETWORK, "--epochs", "2", "--out", "out")
_PHOTOS = ("fit", "photos", "--method", "cross_entropy", *NETWORK, "--epochs", "1", "--out", "out")
WRITERS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("fit, network", _NETWORK, ("table.csv",)),
    ("fit, features", _TABLE, ("table.csv",)),
    ("fit, photos", _PHOTOS, ("photos",)),
    ("audit", ("audit", "run"), _RUN),
    ("plot", ("plot", "run", "--out", "out"), _RUN),
    ("clean", ("clean", "run", "--out", "out"), _RUN),
    ("predict", ("predict", "run", "table.csv", "--out", "p.csv"), _RUN),
    ("noise --out", ("noise", "table.csv", "symmetric:0.2", "--out", "n.csv"), ("table.csv",)),
)


def _environment(root: Path) -> dict[str, str | None]:
    return {"CODIVIDE_CACHE": str(root / "here" / "cache")}


def _plain(ended: Ended) -> str | None:
    """What is wrong with an end in plain words; None: nothing."""
    if ended.clean and (ended.code != 2 or "error:" in ended.err):
        return None
    return f"code {ended.code}, signal {ended.signal}: {ended.err[-500:]}"


def full_disk(root: Path, most: int) -> Iterable[Tally]:
    """Every command on a disk (a small tmpfs) with room for a little more each time, up to where it fits."""
    for name, words, needs in WRITERS:
        tally = Tally(f"full disk: {name}")
        before = snapshot(fresh(root, needs), ("run",))
        here = fresh(root, ())
        if not _mounted(here):
            return
        try:
            given = _filled(root, here, needs)
            run(command(*words), here, environment=_environment(root))
            written = _taken(here) - given
        finally:
            subprocess.run(["umount", here], check=True)
        for step in range(most):
            _mounted(here)
            try:
                room = max(_filled(root, here, needs) + written * step // most, 1)
                subprocess.run(["mount", "-o", f"remount,size={room}", here], check=True)
                found = run(command(*words), here, environment=_environment(root))
                left = snapshot(here, ("run",))
                changed = [key for key in before if left.get(key) != before[key]]
                parts = [path.name for path in here.rglob("*.part")]
                problem = _plain(found) or (f"left {parts}" if parts else f"changed {changed}" if changed else None)
                tally.add(problem and f"room for {step} of {most}: {problem}", f"code {found.code}")
            finally:
                subprocess.run(["umount", here], check=True)
        yield tally


def _mounted(here: Path) -> bool:
    """Whether a disk of its own could be put there, which only root may."""
    asked = ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", here]
    return not subprocess.run(asked, check=False, capture_output=True).returncode


def _filled(root: Path, here: Path, needs: tuple[str, ...]) -> int:
    """Put there what a command needs; the bytes that it takes."""
    for item in needs:
        subprocess.run(["cp", "-r", root / "world" / item, here], check=True)
    return _taken(here)


def _taken(here: Path) -> int:
    found = os.statvfs(here)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def folders(root: Path) -> Tally:
    """Folders that cannot be written, by a user who is not root."""
    tally = Tally("a folder that cannot be written")
    for name, words, needs in WRITERS:
        for closed in ("here", "cache"):
            here = fresh(root, needs)
            cache = here / "cache"
            cache.mkdir()
            for path in (here, *here.rglob("*")):
                path.chmod(0o777 if path.is_dir() else 0o666)
            (here if closed == "here" else cache).chmod(0o555)
            if closed == "here":
                for path in here.glob("run*"):
                    path.chmod(0o555)
            ended = run(command(*words), here, prepare=[_nobody], environment=_environment(root))
            problem = _plain(ended)
            if problem is None and closed == "here" and ended.code == 0:
                problem = "it ended well, and nothing can have been written"
            tally.add(problem and f"{name}, {closed}: {problem}", f"code {ended.code}")
    for path in (root / "here", *(root / "here").rglob("*")):
        path.chmod(0o777)
    return tally


def _nobody() -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def environments(root: Path) -> Tally:
    """No home, no folder for temporary files, other languages, an ASCII terminal, a narrow one, none."""
    tally = Tally("surroundings: home, temporary files, language, terminal")
    odd: dict[str, dict[str, str | None]] = {
        "no HOME": {"HOME": None},
        "HOME is nowhere": {"HOME": "/nowhere"},
        "no TMPDIR": {"TMPDIR": "/nowhere", "TMP": "/nowhere", "TEMP": "/nowhere"},
        "ASCII": {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        "Turkish": {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"},
        "narrow": {"COLUMNS": "12", "LINES": "4"},
        "one column": {"COLUMNS": "1"},
        "no number": {"COLUMNS": "wide"},
        "dumb": {"TERM": "dumb"},
        "no TERM": {"TERM": None},
        "no PATH": {"PATH": ""},
        "another time zone": {"TZ": "Pacific/Kiritimati"},
        "empty": {name: None for name in os.environ if name != "OMP_NUM_THREADS"},
    }
    reading = (*WRITERS, ("noise", ("noise", "run"), _RUN), ("predict, printed", ("predict", "run", "table.csv"), _RUN))
    for name, words, needs in reading:
        for what, variables in odd.items():
            here = fresh(root, needs)
            ended = run(command(*words), here, environment={**_environment(root), **variables})
            problem = _plain(ended) or (None if ended.code in (0, 3) else f"code {ended.code}: {ended.err[-300:]}")
            tally.add(problem and f"{what}, {name}: {problem}")
    for what, prepare in {"no stdout": _closed(1), "no stderr": _closed(2), "clock set back": _set_back}.items():
        here = fresh(root, ("table.csv",))
        ended = run(command(*_NETWORK), here, prepare=[prepare], environment=_environment(root))
        done = (here / "out" / "summary.json").exists()
        tally.add(None if done else f"{what}: code {ended.code}: {ended.err[-300:]}")
    return tally


def _closed(handle: int) -> Prepare:
    def close() -> None:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, handle)

    return close


def _set_back() -> None:
    """A clock that runs backwards by an hour at every look."""
    now = time.time()
    seen = iter(range(1, 10**9))
    time.time = lambda: now - 3600.0 * next(seen)


MEMORY = (16, 32, 64, 128, 256, 275, 290, 310, 340, 380, 512, 1024)  # MB; below 272 nothing is begun


def out_of_memory(root: Path, sizes: tuple[int, ...] = MEMORY) -> Tally:
    """Less address space than a command takes, from hardly any to enough."""
    tally = Tally("out of memory")
    for name, words, needs in (
        *WRITERS[:5],
        ("encoding", ("fit", "photos", "--method", "features", "--out", "out"), ("photos",)),
    ):
        for size in sizes:
            here = fresh(root, needs)
            before = snapshot(here, ("run",))
            ended = run(command(*words), here, prepare=[_limited(size << 20)], environment=_environment(root))
            left = snapshot(here, ("run",))
            changed = [key for key in before if left.get(key) != before[key]]
            problem = _plain(ended) or (f"changed {changed}" if changed else None)
            tally.add(problem and f"{name}, {size} MB more: {problem}", f"code {ended.code}")
    return tally


def _limited(more: int) -> Prepare:
    def limit() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        size = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (size, size))

    return limit


def signals(root: Path, tries: int, after: int = 0) -> Tally:
    """SIGINT, SIGTERM and SIGHUP at file operations; the run goes on to the same bytes, and the code says which."""
    tally = Tally("signals: SIGINT, SIGTERM, SIGHUP")
    words = (*DIGITS, "--method", "cross_entropy", "--epochs", "3")
    here = fresh(root, ())
    first, last = os.pipe()
    run(command(*words), here, prepare=[counting(last)], environment=_environment(root))
    os.close(last)
    with open(first, "rb") as pipe:
        operations = len(pipe.read())
    whole = snapshot(here, ("out",))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        for step in range(tries):
            here = fresh(root, ())
            event = after + (operations - after) * step // tries
            ended = run(command(*words), here, prepare=[signalled(number, event)], environment=_environment(root))
            parts = [path.name for path in here.rglob("*.part")]
            again = run(command(*words, "--resume"), here, environment=_environment(root))
            problem = None
            if ended.code not in (128 + number, 0) or "Traceback" in ended.err:
                problem = f"code {ended.code}, signal {ended.signal}, {ended.err[-300:]}"
            elif parts or again.code != 0 or snapshot(here, ("out",)) != whole:
                problem = f"left {parts}; then code {again.code} {again.err[-300:]}"
            tally.add(problem and f"{number.name} at {event}: {problem}", f"code {ended.code}")
    return tally


def pipe(root: Path) -> Tally:
    """A reader that goes away (``| head``): nothing is said."""
    tally = Tally("SIGPIPE: the reader of a pipe goes away")
    for words in (
        ("predict", "run", "table.csv"),
        ("noise", "run", "--json"),
        ("methods",),
        ("methods", "dividemix"),
        ("--help",),
    ):
        here = fresh(root, _RUN)
        first, last = os.pipe()
        os.close(first)
        ended = run(command(*words), here, environment=_environment(root), stdout=last)
        os.close(last)
        said = ended.err.strip()
        tally.add(f"{words}: code {ended.code}: {said[-300:]}" if "Traceback" in said or "Broken" in said else None)
    return tally


def changing_files(root: Path) -> Tally:
    """Photos that vanish, shrink or become something else between the look and the reading."""
    tally = Tally("a file that vanishes or changes between scan and read")

    def gone(path: Path) -> None:
        path.unlink(missing_ok=True)

    def emptied(path: Path) -> None:
        path.write_bytes(b"")

    def replaced(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.mkdir()

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:60])

    for change in (gone, emptied, replaced, cut):
        for word in CLASSES:
            for method in (_PHOTOS, ("fit", "photos", "--method", "features", "--out", "out")):
                here = fresh(root, ("photos",))
                ended = run(command(*method), here, prepare=[_after_scan(change, word)], environment=_environment(root))
                named = "left out" in ended.err or "cannot be read" in ended.err or ended.code == 2
                problem = _plain(ended) or (None if named else f"not said: {ended.err[-300:]}")
                tally.add(problem and f"{change.__name__} {word}: {problem}", f"code {ended.code}")
    return tally


def _after_scan(change: Callable[[Path], None], word: str) -> Prepare:
    def install() -> None:
        from codivide.data import cache

        before = cache.decode_file
        files = sorted(Path("photos", word).iterdir())[:3]

        def decode(path: Path, shape: tuple[int, int, int]) -> object:
            while files:
                change(files.pop())
            return before(path, shape)

        cache.decode_file = decode  # the moment between look and reading

    return install


def two_runs(root: Path) -> Tally:
    """Two processes into one folder, and two that fill one cache."""
    tally = Tally("two runs into one folder or one cache")
    for words, outs in ((_TABLE, ("out", "out")), (_NETWORK, ("out", "out")), (_PHOTOS, ("one", "two"))):
        for _ in range(3):
            here = fresh(root, ("table.csv", "photos"))
            with ThreadPoolExecutor(2) as pool:
                ended = list(pool.map(partial(_into, root, here, words), outs))
            codes = sorted(str(one.code) for one in ended)
            refused = all("writing to" in one.err or "not empty" in one.err for one in ended if one.code == 2)
            right = codes in (["0", "2"], ["2", "3"]) if outs[0] == outs[1] else set(codes) <= {"0", "3"}
            problem = None if right and refused else f"codes {codes}: {[one.err[-200:] for one in ended]}"
            tally.add(problem and f"{words[:4]}: {problem}")
    return tally


def _into(root: Path, here: Path, words: tuple[str, ...], out: str) -> Ended:
    asked = (*words[: words.index("--out")], "--out", out)
    return run(command(*asked), here, environment=_environment(root))
