"""What a look at the training set costs, in percent of an epoch: the record of clean and wrong labels.

    python benchmarks/learning.py [--out results/benchmarks/learning.json]

A run of random pixels in CIFAR-10's shape for each method; processor seconds of this process, so that other work on
the machine matters little. The first epoch and the first look (warm-up of everything) are left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from codivide.core.allocator import tune_allocator
from codivide.core.provenance import environment
from codivide.data.sources import load
from codivide.fit import job
from codivide.fit.execute import execute


def timed(call, spent: list[float]):
    def wrapped(*words, **named):
        began = time.process_time()
        answer = call(*words, **named)
        spent.append(time.process_time() - began)
        return answer

    return wrapped


def measure(name: str, loaded, net: str, epochs: int) -> dict[str, float]:
    method = job.build_method(name, **({"warmup": 1} if name == "dividemix" else {}))
    epoch_seconds: list[float] = []
    look_seconds: list[float] = []
    method.epoch = timed(method.epoch, epoch_seconds)
    plain = job._Learning.look
    job._Learning.look = timed(plain, look_seconds)
    execute(job.Job(method, job.default_plan(len(loaded.y), method, epochs=epochs, device="cpu"), net), loaded)
    job._Learning.look = plain
    epoch, look = statistics.median(epoch_seconds[1:]), statistics.median(look_seconds[1:])
    return {"epoch": round(epoch, 3), "look": round(look, 3), "percent": round(100 * look / epoch, 1)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--net", default="small_cnn")
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    tune_allocator()
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (args.samples, 32, 32, 3), dtype=np.uint8)
    loaded = load(x, rng.integers(0, 10, args.samples))
    methods = {name: measure(name, loaded, args.net, args.epochs) for name in ("cross_entropy", "dividemix")}
    record = {"net": args.net, "samples": args.samples, "methods": methods, **environment()}
    print(json.dumps(record, indent=2))
    if args.out:
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
