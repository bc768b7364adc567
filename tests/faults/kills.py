"""kill -9 at random instants of every kind of run, and a run that goes on."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

from tests.faults.children import Prepare, counting, killed_after, killed_at, run
from tests.faults.kinds import KINDS, Kind, decide, fresh, snapshot
from tests.faults.tally import Tally


def kills(root: Path, tries: int, seed: int = 0, kinds: tuple[Kind, ...] = KINDS) -> Iterator[Tally]:
    """Half of the instants are drawn from the processor time, half are operations on files."""
    for kind in kinds:
        yield _kills_of(root, kind, min(tries, kind.most), random.Random(f"{seed} {kind.name}"))


def _kills_of(root: Path, kind: Kind, tries: int, rng: random.Random) -> Tally:
    tally = Tally(f"kill -9: {kind.name}")
    asked = {"CODIVIDE_CACHE": str(root / "here" / "cache")}
    here = fresh(root, kind.needs)
    first, last = os.pipe()
    straight = run(kind.first, here, prepare=[counting(last)], environment=asked)
    os.close(last)
    with open(first, "rb") as pipe:
        operations = len(pipe.read())
    if straight.code not in (0, 3):
        raise RuntimeError(f"{kind.name}: {straight.code} {straight.err[-2000:]}")
    whole = snapshot(here, kind.leaves)
    for number in range(tries):
        how: Prepare
        if number % 2:
            event = rng.randrange(operations)
            what, how = f"operation {event} of {operations}", killed_at(event)
        else:
            instant = rng.uniform(0, straight.seconds)
            what, how = f"{instant:.4f} s of {straight.seconds:.4f}", killed_after(instant)
        here = fresh(root, kind.needs)
        died = run(kind.first, here, prepare=[how], environment=asked)
        again = run(kind.again, here, environment=asked)
        tally.add(_problem(what, again.code == straight.code, again.err, whole, snapshot(here, kind.leaves)))
        tally.counts["died"] = tally.counts.get("died", 0) + bool(died.signal)
    return tally


def _problem(what: str, ended: bool, err: str, whole: dict[str, bytes], found: dict[str, bytes]) -> str | None:
    """In what a run that went on differs from a straight one; None: in nothing."""
    if not ended:
        return f"{what}: {err[-500:]}"
    others = sorted(name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name))
    return f"{what}: other bytes in {', '.join(others)}" if others else None


def answered(root: Path, tries: int, seed: int = 0) -> Tally:
    """A server dies between decisions; what it has answered is there afterwards."""
    from codivide.audit.decisions import FILE, Decisions

    tally, rng = Tally("kill -9: serve"), random.Random(seed)
    needs = ("run", "table.csv")
    here = fresh(root, needs)
    straight = run(decide(here / "noted"), here)
    if straight.code != 0:
        raise RuntimeError(straight.err[-2000:])
    for _ in range(tries):
        here = fresh(root, needs)
        died = run(decide(here / "noted"), here, prepare=[killed_after(rng.uniform(0, straight.seconds))])
        noted = (here / "noted").read_text().split() if (here / "noted").exists() else []
        with Decisions(here / "run" / FILE) as decisions:
            held = {row.id for row in decisions.current()}
        missing = set(noted) - held
        tally.add(f"{len(missing)} of {len(noted)} answered decisions are gone" if missing else None)
        tally.counts["died"] = tally.counts.get("died", 0) + bool(died.signal)
    return tally
