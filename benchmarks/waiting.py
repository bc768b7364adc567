"""How long the recipes that wait would take on one core of a processor, about.

    python benchmarks/waiting.py [--out results/waiting.json]

Three numbers are multiplied for each recipe. What one image costs its network: forward and backward in float32, batches
of 64, one thread. How many images it sees: its epochs times its samples, or its steps. How many times as long its
method takes as plain training: the last of four epochs on random images with the small network. All are processor
seconds, measured here. ``auto`` counts as plain training and CoDivide: its short run and its correction. Takes about
five minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codivide import METHODS, Data, train
from codivide.bench import runner
from codivide.bench.recipes import Recipe, find
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data.sources import load
from codivide.data.views import fit_views
from codivide.fit.job import default_plan
from codivide.training import nets

RESULTS = Path("results")
BATCH, ROUNDS, SIZE = 64, 3, 1280
STAGES = {"auto": ("cross_entropy", "codivide")}
SAMPLES = {"cifar10": 50_000, "cifar100": 50_000, "cifar10n": 50_000, "cifar100n": 50_000, "svhn": 73_257}
SAMPLES |= {"fashion_mnist": 60_000}

#: What waits, the most telling first: our own comparison, then the tables of papers that need no photos.
GROUPS = (
    *(f"main-{setting}" for setting in ("sym50", "asym40", "worse", "sym80", "sym20")),
    *(f"choose-10k-{setting}" for setting in ("worse", "asym40", "sym50", "sym80", "sym0")),
    *("semi-cifar10-10", "semi-cifar10-100"),
    *("mixup-table2", "joint-table1", "mixmatch-table5", "dividemix-cifar10", "dividemix-cifar100", "dividemix-human"),
)
SEEDS = 3


def image_seconds(net: str) -> float:
    """Processor seconds of forward and backward of one image of 32 pixels."""
    torch.manual_seed(0)
    x, y = torch.randn(BATCH, 3, 32, 32), torch.arange(BATCH) % 10
    model = nets.build(net, (3, 32, 32), 10).train()
    spent = []
    for _ in range(ROUNDS + 1):  # the first warms up
        begin = time.process_time()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        spent.append(time.process_time() - begin)
    return statistics.median(spent[1:]) / BATCH


def epoch_seconds(name: str) -> float:
    """Processor seconds of the last of four epochs of a method on random images."""
    rng = np.random.default_rng(0)
    given = np.arange(SIZE) % 10
    cls = METHODS[name]
    if cls.semi_supervised:
        given[SIZE // 4 :] = -1
    loaded = load(rng.integers(0, 256, (SIZE, 32, 32, 3), dtype=np.uint8), given)
    method = cls(steps=SIZE // BATCH) if cls.semi_supervised else cls()
    plan = default_plan(SIZE, method, epochs=4, batch_size=BATCH, device="cpu", precision="fp32")
    data = Data(loaded.x, torch.from_numpy(loaded.y), loaded.classes, fit_views(loaded.x, "photo").views())
    ends = [time.process_time()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing can be learned here
        train(
            method, data, lambda: nets.build("small_cnn", loaded.x.shape, 10), plan,
            watch=lambda run: ends.append(time.process_time()),
        )  # fmt: skip
    return ends[-1] - ends[-2]


def images(recipe: Recipe) -> int:
    """How many images plain training would learn from."""
    epochs, batch = recipe.plan.get("epochs", 200), recipe.plan.get("batch_size", 128)
    if "steps" in recipe.hyper:
        return epochs * recipe.hyper["steps"] * batch
    return epochs * (recipe.limit or SAMPLES[recipe.data.partition(":")[0]])


def group(name: str, seconds: dict[str, float], costs: dict[str, float]) -> dict[str, Any]:
    """What of a group has run, and the hours of the rest with three seeds; what was measured is kept."""
    recipes = [recipe for recipe in find(f"{name}/*") if recipe.method]
    done, hours = 0, 0.0
    for recipe in recipes:
        ran = min(len(runner.read(recipe, RESULTS / "recipes")), SEEDS)
        done += ran
        stages = STAGES.get(recipe.method, (recipe.method,))
        for method in stages:
            if method not in seconds:
                seconds[method] = epoch_seconds(method)
        if recipe.net not in costs:
            costs[recipe.net] = image_seconds(recipe.net)
        times = sum(seconds[method] for method in stages) / seconds["cross_entropy"]
        hours += (SEEDS - ran) * images(recipe) * costs[recipe.net] * times / 3600
    return {"recipes": len(recipes), "runs": SEEDS * len(recipes), "done": done, "hours": round(hours, 1)}


def main() -> None:
    """Measure the networks, and write what waits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "waiting.json")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    seconds, costs = {"cross_entropy": epoch_seconds("cross_entropy")}, dict[str, float]()
    groups = {name: group(name, seconds, costs) for name in GROUPS}
    found = {"groups": groups, "image_ms": {net: round(1000 * value, 2) for net, value in costs.items()}}
    found |= {"plain_training": {name: round(value / seconds["cross_entropy"], 2) for name, value in seconds.items()}}
    write_text(out, json.dumps(found | {"seeds": SEEDS} | environment(), indent=1) + "\n")
    for name, row in groups.items():
        print(f"{name:22} {row['done']:3} of {row['runs']:3} runs, {row['hours']:10,.0f} hours for the rest")


if __name__ == "__main__":
    main()
