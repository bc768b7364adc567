"""What a step of each semi-supervised method costs, next to a step on the labelled samples alone.

    python benchmarks/semi_cost.py [--out results/benchmarks/semi_cost.json]

Random pixels in CIFAR-10's shape, few of them labelled. The methods take turns, an epoch of a few steps each,
for several rounds; what counts are processor seconds of this process, so that other work on the machine matters
little. An image is a sample that enters a step, however many views of it a method needs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from codivide import METHODS
from codivide.core.allocator import tune_allocator
from codivide.core.provenance import environment
from codivide.data.sources import load
from codivide.data.views import fit_views
from codivide.fit.job import default_plan
from codivide.training import nets
from codivide.training.run import Run
from codivide.training.samples import Data

SUPERVISED = "cross_entropy"


def start(name: str, loaded, net: str, steps: int, batch: int) -> Run:
    method = METHODS[name](steps=steps, **({"ratio": 1} if name == "fixmatch" else {}))
    plan = default_plan(len(loaded.y), method, epochs=100, batch_size=batch, average=0.99, device="cpu")
    data = Data(loaded.x, torch.from_numpy(loaded.y), loaded.classes, fit_views(loaded.x, "photo").views())
    run = Run(method, data, lambda: nets.build(net, loaded.x.shape, 10), plan, torch.device("cpu"), "bf16")
    method.start(run)
    return run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--net", default="small_cnn")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    tune_allocator()
    rng = np.random.default_rng(0)
    given = np.full(4000, -1)
    given[:100] = np.arange(100) % 10
    loaded = load(rng.integers(0, 256, (len(given), 32, 32, 3), dtype=np.uint8), given)
    names = [SUPERVISED, *(name for name, cls in METHODS.items() if cls.semi_supervised)]
    runs = {name: start(name, loaded, args.net, args.steps, args.batch) for name in dict.fromkeys(names)}
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(args.rounds + 1):  # the first warms everything up
        for name, run in runs.items():
            run.epoch = turn + 50  # ramps are up
            began = time.process_time()
            run.method.epoch(run)
            if turn:
                spent[name].append((time.process_time() - began) / args.steps)
    step = {name: statistics.median(seconds) for name, seconds in spent.items()}
    rows = {
        name: {
            "step_ms": round(1000 * seconds, 2),
            "seconds_per_1000_images": round(1000 * seconds / (args.batch * (1 if name == SUPERVISED else 2)), 3),
            "steps_of_supervised": round(seconds / step[SUPERVISED], 2),
        }
        for name, seconds in step.items()
    }
    record = {**vars(args), "out": None, "threads_used": torch.get_num_threads(), "methods": rows, **environment()}
    print(json.dumps(rows, indent=1))
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
