"""Files of codivide that are damaged at random, through every command that reads them."""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.children import Ended, command, run
from tests.faults.kinds import NETWORK, fresh, snapshot
from tests.faults.tally import Tally

_NETWORK = ("fit", "table.csv", "--method", "cross_entropy", *NETWORK, "--epochs", "2", "--out", "run")
_PHOTOS = ("fit", "photos", "--method", "cross_entropy", *NETWORK, "--epochs", "1", "--out", "out")
_LEFT = ("labels.parquet", "labels.csv", "model.safetensors", "predictions.npz", "metrics.jsonl", "summary.json")
_ENCODED = ("fit", "photos", "--method", "features", "--out", "out")


@dataclass(frozen=True)
class Reader:
    """A command that reads what codivide wrote.

    Attributes:
        name: of the command.
        words: of the command line.
        needs: what of the world it takes.
        files: which files are damaged, as patterns.
        leaves: what it writes; what it was given does not count.
        before: what is removed first, so that it has something to do.
        times: how often it is tried for each time of the dearest ones, which take seconds.
    """

    name: str
    words: tuple[object, ...]
    needs: tuple[str, ...]
    files: tuple[str, ...]
    leaves: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    times: int = 6


_RUN = ("run", "table.csv")
READERS = (
    Reader("noise", ("noise", "run", "--json"), _RUN, ("run/*",)),
    Reader("audit", ("audit", "run", "--out", "page.html"), _RUN, ("run/*",), ("page.html",)),
    Reader("plot", ("plot", "run", "--out", "pictures"), _RUN, ("run/*",), ("pictures",), times=2),
    Reader(
        "plot, unfinished",
        ("plot", "run", "--out", "pictures"),
        _RUN,
        ("run/*",),
        ("pictures",),
        ("run/summary.json",),
        times=2,
    ),
    Reader("clean", ("clean", "run", "--out", "clean"), _RUN, ("run/*",), ("clean",)),
    Reader("predict", ("predict", "run", "table.csv", "--out", "p.csv"), _RUN, ("run/*",), ("p.csv",)),
    Reader(
        "predict, features",
        ("predict", "run_features", "table.csv", "--out", "p.csv"),
        ("run_features", "table.csv"),
        ("run_features/model.safetensors",),
        ("p.csv",),
    ),
    Reader(
        "serve --export",
        ("serve", "run", "--export"),
        ("run", "table.csv", "decided"),
        ("run/decisions.sqlite",),
        ("run/corrections.csv",),
    ),
    Reader(
        "fit --resume, finished",
        (*_NETWORK, "--resume"),
        _RUN,
        ("run/*",),
        ("run/labels.parquet", "run/model.safetensors"),
    ),
    Reader(
        "fit --resume",
        (*_NETWORK, "--resume"),
        _RUN,
        ("run/checkpoint.safetensors", "run/config.json", "run/metrics.jsonl"),
        ("run",),
        ("run/summary.json",),
    ),
    Reader("fit, decoded before", _PHOTOS, ("photos", "cache"), ("cache/*.images",), ("out",)),
    Reader("fit, encoded before", _ENCODED, ("photos", "cache"), ("cache/*.npy", "cache/*.images"), ("out",), times=1),
    Reader(
        "fit --resume, chosen",
        (
            "fit",
            "digits",
            "--limit",
            "400",
            *NETWORK,
            "--out",
            "chosen",
            "--encoder",
            "none",
            "--epochs",
            "4",
            "--resume",
        ),
        ("chosen",),
        ("chosen/choice.json", "chosen/scout/*"),
        tuple(f"chosen/{name}" for name in _LEFT),  # the short run stays as it is, where nobody reads it
        ("chosen/summary.json",),
        times=1,
    ),
)


def flipped(data: bytearray, rng: random.Random) -> None:
    """A bit that flips."""
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def written_over(data: bytearray, rng: random.Random) -> None:
    """Some bytes of chance."""
    start = rng.randrange(len(data))
    for place in range(start, min(start + rng.randint(1, 16), len(data))):
        data[place] = rng.randrange(256)


def zeroed(data: bytearray, rng: random.Random) -> None:
    """A block of zeros, as a disk leaves it."""
    start = rng.randrange(len(data)) // 512 * 512
    data[start : start + 512] = bytes(len(data[start : start + 512]))


def cut(data: bytearray, rng: random.Random) -> None:
    """An end that is missing."""
    del data[rng.randrange(len(data)) :]


def taken_out(data: bytearray, rng: random.Random) -> None:
    """A piece that is missing."""
    start = rng.randrange(len(data))
    del data[start : start + rng.randint(1, 200)]


def swapped(data: bytearray, rng: random.Random) -> None:
    """Two pieces in each other's place."""
    size = max(1, min(64, len(data) // 4))
    one, two = (rng.randrange(max(1, len(data) - size)) for _ in range(2))
    data[one : one + size], data[two : two + size] = data[two : two + size], data[one : one + size]


def lengthened(data: bytearray, rng: random.Random) -> None:
    """Something behind the end."""
    data += bytes(rng.randrange(256) for _ in range(rng.randint(1, 64)))


DAMAGE: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(flipped, flipped, written_over, zeroed, cut, taken_out, swapped, lengthened),
)


def mutations(root: Path, count: int, seed: int = 0, readers: tuple[Reader, ...] = READERS) -> list[Tally]:
    """Damage a file, give a command, and compare with what it says and leaves of the whole file.

    Right is the same answer (damage that no reader looks at, or that is made good), or one sentence that names the
    file. Everything else is lost: a traceback, or another answer without a word.
    """
    if readers is READERS:
        _complete(root)
    rng = random.Random(seed)
    tallies = {reader.name: Tally(f"damaged file: {reader.name}") for reader in readers}
    whole = {reader.name: _asked(root, reader) for reader in readers}
    for reader in readers:
        ended = whole[reader.name][0]
        if ended.code not in (0, 3):
            raise RuntimeError(f"{reader.name}: {ended.code} {ended.err[-2000:]}")
    turns = [reader for turn in range(max(r.times for r in readers)) for reader in readers if turn < reader.times]
    for number in range(count):
        reader = turns[number % len(turns)]
        here = _fresh(root, reader)
        path = rng.choice(sorted(path for pattern in reader.files for path in here.glob(pattern) if path.is_file()))
        data = bytearray(path.read_bytes())
        damage = rng.choice(DAMAGE)
        damage(data, rng)
        path.write_bytes(bytes(data))
        ended = run(command(*reader.words), here, environment=_environment(root))
        found = ended, snapshot(here, reader.leaves)
        problem, kind = _judged(path.name, whole[reader.name], found)
        said = None if problem is None else f"{path.relative_to(here)} {damage.__name__} ({number}): {problem}"
        tallies[reader.name].add(said, kind)
        if said is not None:
            print(said, file=sys.stderr, flush=True)  # it takes long until all are through
    return list(tallies.values())


def _judged(
    name: str, whole: tuple[Ended, dict[str, bytes]], found: tuple[Ended, dict[str, bytes]]
) -> tuple[str | None, str]:
    """What is wrong (None: nothing), and what kind of an end it was."""
    (was, left_then), (ended, left) = whole, found
    if ended.signal or "Traceback" in ended.err:
        return f"signal {ended.signal}, {ended.err[-400:]}", "traceback"
    if ended.code == 2:
        one = [line for line in ended.err.splitlines() if line.startswith("error:")]
        return (
            (None, "refused") if len(one) == 1 and name.partition(".")[0] in one[0] else (ended.err[-400:], "unclear")
        )
    same = ended.code == was.code and ended.out == was.out and left == left_then
    if same:
        return None, "the same" if ended.err == was.err else "made good, and said"
    told = name in ended.err or any(name.encode() in data for data in left.values())
    if told:
        return None, "without it, and said"
    others = [key for key in left.keys() | left_then.keys() if left.get(key) != left_then.get(key)]
    return f"code {ended.code}; others: {others}; {ended.out[-200:]} {ended.err[-200:]}", "silent"


def _environment(root: Path) -> dict[str, str | None]:
    return {"CODIVIDE_CACHE": str(root / "here" / "cache")}


def _asked(root: Path, reader: Reader) -> tuple[Ended, dict[str, bytes]]:
    here = _fresh(root, reader)
    return run(command(*reader.words), here, environment=_environment(root)), snapshot(here, reader.leaves)


def _fresh(root: Path, reader: Reader) -> Path:
    here = fresh(root, tuple(name for name in reader.needs if name != "decided"))
    if "decided" in reader.needs:
        shutil.copy2(root / "world" / "decisions.sqlite", here / "run" / "decisions.sqlite")
    for name in reader.before:
        (here / name).unlink()
    return here


def _complete(root: Path) -> None:
    """What is damaged besides finished runs: decisions, caches, a run that has chosen."""
    made = root / "world"
    here = fresh(root, ("run", "table.csv"))

    def decide() -> None:
        from codivide.audit import serve
        from codivide.audit.clean import read_run

        known = read_run(Path("run")).known()
        with serve.open_decisions(Path("run"), known) as decisions:
            for row, given in list(known.given.items())[:12]:
                decisions.save(row, given or "", "junk", "")

    steps = (
        (decide, "run/decisions.sqlite", "decisions.sqlite", ("run", "table.csv")),
        (lambda: [command_(*_PHOTOS), command_(*_ENCODED)], "cache", "cache", ("photos",)),
        (command(*READERS[-1].words), "chosen", "chosen", ()),
    )
    for work, source, target, needs in steps:
        here = fresh(root, needs)
        ended = run(work, here, environment=_environment(root))
        if ended.code not in (0, 3):
            raise RuntimeError(f"{target}: {ended.code} {ended.err[-2000:]}")
        (shutil.copytree if (here / source).is_dir() else shutil.copy2)(here / source, made / target)


def command_(*words: object) -> None:
    """A command of which the end is passed over, and its folder too."""
    try:
        command(*words)()
    except SystemExit as ended:
        if ended.code not in (0, 3, None):
            raise
    shutil.rmtree("out")
