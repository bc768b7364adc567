"""How long the facts of an audit take: a run on the 50,000 images of CIFAR-10 with 40 % symmetric noise, one epoch.

    CODIVIDE_DATA=... python benchmarks/audit.py [--run FOLDER] [--out results/benchmarks/audit_facts.json]

The run is made first (and kept with --run); what is timed is everything beyond it: reading run and source, the forward
pass, neighbours, duplicates, outliers, pictures, and writing the JSON. ``seconds`` is wall time, ``processor_seconds``
that of this process on one thread, which other work on the machine hardly changes.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import torch

from codivide.audit import facts
from codivide.audit.checks import duplicates
from codivide.core.provenance import environment
from codivide.data import experiment
from codivide.data.options import ReadOptions
from codivide.data.record import DataRecord
from codivide.data.sources import load
from codivide.fit import job
from codivide.fit.execute import execute

SOURCE = "cifar10"
NOISE = "symmetric:0.4"


def make(run: Path, samples: int) -> None:
    loaded = experiment.part(load(SOURCE), samples, 0)
    loaded = experiment.spoil(loaded, NOISE, 0)
    method = job.build_method("cross_entropy")
    plan = job.default_plan(len(loaded.y), method, epochs=1, device="cpu", batch_size=128, lr=0.05)
    source = DataRecord.of(SOURCE, ReadOptions(), noise=NOISE, limit=samples)
    execute(job.Job(method, plan, "small_cnn", source=source), loaded, run)


def timed(call) -> dict[str, float]:
    began, began_processor = time.perf_counter(), time.process_time()
    call()
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(time.process_time() - began_processor, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--samples", type=int, default=50_000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = args.run or Path(folder) / "run"
        if not (run / "summary.json").exists():
            make(run, args.samples)
        found: dict = {}
        path = Path(folder) / "facts.json"
        whole = timed(lambda: (found.update(facts.collect(run)), facts.write(found, path)))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows = load("cifar10").x
        record = {
            "samples": found["samples"],
            "net": "small_cnn",
            "facts": whole,
            "duplicates": timed(lambda: duplicates.find(rows)),
            "peak_memory_gib": round(memory, 2),
            "json_mb": round(path.stat().st_size / 1e6, 2),
            "issues_listed": len(found["issues"]),
            "issues_total": found["issues_total"],
            "near_duplicate_groups": len(found["duplicates"]),
            "outliers": len(found["outliers"]),
            **environment(),
        }
    print(json.dumps(record, indent=2))
    if args.out:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
