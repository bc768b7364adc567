"""``python -m tests.faults [--out results/faults.json] [--tries 50] [--mutations 500] [--only NAME]``."""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from codivide.core.provenance import environment
from tests.faults import kills, mutations, surroundings
from tests.faults.children import warm
from tests.faults.kinds import world
from tests.faults.tally import Tally


def main() -> None:
    """Make every fault, print a line each, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tries", type=int, default=50, help="instants at which each kind of run is killed")
    parser.add_argument("--mutations", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="parts of this name, which --out takes in beside the others")
    given = parser.parse_args()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell sets it in the background; the children send it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    warm()
    lines: list[Tally] = []
    where = environment()
    kept = given.only and given.out and given.out.exists()
    record: dict[str, Any] = json.loads(given.out.read_text()) if kept else {"faults": []}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        root = Path(folder)
        world(root)
        parts: dict[str, Callable[[], Iterable[Tally]]] = {
            "kill": lambda: kills.kills(root, given.tries, given.seed),
            "serve": lambda: [kills.answered(root, given.tries, given.seed)],
            "mutations": lambda: mutations.mutations(root, given.mutations, given.seed),
            "disk": lambda: surroundings.full_disk(root, given.tries),
            "folders": lambda: [surroundings.folders(root)],
            "surroundings": lambda: [surroundings.environments(root)],
            "memory": lambda: [surroundings.out_of_memory(root)],
            "signals": lambda: [surroundings.signals(root, given.tries)],
            "pipe": lambda: [surroundings.pipe(root)],
            "changing": lambda: [surroundings.changing_files(root)],
            "two": lambda: [surroundings.two_runs(root)],
        }
        for name, part in parts.items():
            if not given.only or name in given.only.split(","):
                began = used()
                for tally in part():
                    now = used()
                    tally.seconds, began = now - began, now
                    print(f"{tally.fault}: {tally.survived} of {tally.tries} {tally.counts or ''}", flush=True)
                    for text in tally.lost[:5]:
                        print(f"  {text}", flush=True)
                    lines.append(tally)
                    if given.out:  # at once: what was tried stays, whatever ends the rest
                        record = joined(record, {"seed": given.seed, "faults": [tally.to_dict()], **where})
                        given.out.write_text(json.dumps(record, indent=1) + "\n")
    sys.exit(any(tally.lost for tally in lines))


def used() -> float:
    """Seconds of processor time, of this process and of its children that have ended."""
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in found)


def joined(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Some faults tried again beside the others of before; each row says at which commit it was."""
    new = {row["fault"]: row | {"commit": now["commit"]} for row in now["faults"]}
    old = [{"commit": before.get("commit")} | row for row in before["faults"]]
    rows = [new.pop(row["fault"], row) for row in old]
    return before | now | {"faults": [*rows, *new.values()]}


if __name__ == "__main__":
    main()
