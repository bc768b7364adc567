"""Whether a budget pays: the default on photos, and the same with time to train the encoder's network further.

python benchmarks/finetune.py [--only "photos 2000" ...] [--seeds 1] [--budget 2h] [--out results/finetune.json]

``NoisyLabelClassifier().fit(X, y)`` and ``NoisyLabelClassifier(budget=...)``: photos of CIFAR-10 of which 40 % lie in
the wrong folder, and CIFAR-10N worse, tested on the first 2,000 test images of CIFAR-10. ``tuned`` is what the run says
of the network: the share that hidden given labels have chosen, by how many nats they are likelier with it, and the
standard error; share 0: it was left out, and both columns are the same. True labels only score. Seconds are of the
processor, one thread; features come from the cache in the second run, so that they are counted in the first alone.
The recipe (six epochs at half the side of the features) and the rule were made with 2,000 photos of seeds 0 and 1 in
sight. What ``--out`` holds already is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from codivide import NoisyLabelClassifier
from codivide.core.allocator import tune_allocator
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data import experiment
from codivide.data.loaded import Loaded, subset
from codivide.data.sources import load

DATA = Path(os.environ.get("CODIVIDE_DATA", "data"))
SETS = {"photos 2000": ("photos", 2_000), "photos 5000": ("photos", 5_000), "cifar10n-worse 10000": ("worse", 10_000)}
TESTED = 2_000


def images(loaded: Loaded) -> np.ndarray:
    """As ``[N, H, W, C]``."""
    return loaded.x[torch.arange(len(loaded.y))].permute(0, 2, 3, 1).numpy()


def samples(kind: str, count: int, seed: int) -> Loaded:
    """Photos with given and true labels."""
    whole = load(DATA / "photos", truth=DATA / "photos_truth.csv") if kind == "photos" else load("cifar10n:worse")
    return experiment.part(whole, count, seed)


def measure(train: Loaded, test: Loaded, seed: int, budget: str | None) -> dict[str, Any]:
    """A fit, and what it says; ``budget`` None: the default."""
    bad = train.y != train.truth
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        clf = NoisyLabelClassifier(random_state=seed, budget=budget, out=run).fit(images(train), train.y)
        seconds = time.process_time() - began
        told = json.loads((run / "summary.json").read_text())["learned"].get("tuned")
    predicted, doubt = clf.predict(images(test)), 1 - clf.clean_proba_
    found = {
        "test_accuracy": round(float((predicted == test.y).mean()), 4),
        "balanced_accuracy": round(float(balanced_accuracy_score(test.y, predicted)), 4),
        "auroc": round(float(roc_auc_score(bad, doubt)), 4),
        "ap": round(float(average_precision_score(bad, doubt)), 4),
        "cpu_seconds": round(seconds, 1),
    }
    return found if told is None else {**found, "tuned": told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SETS, default=[*SETS])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--budget", default="2h")
    parser.add_argument("--out", type=Path, default=Path("results/finetune.json"))
    given = parser.parse_args()
    tune_allocator()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    kept = json.loads(given.out.read_text()) if given.out.exists() else {}
    test = subset(load("cifar10").test, np.arange(TESTED))
    for seed in range(given.seeds):
        for name in given.only:
            if f"{name}, seed {seed}" in kept:
                continue
            train = samples(*SETS[name], seed)
            row: dict[str, Any] = {"noise": round(float((train.y != train.truth).mean()), 4)}
            for way, budget in (("default", None), ("with a budget", given.budget)):
                row[way] = measure(train, test, seed, budget)
                print(name, seed, way, row[way], flush=True)
            kept[f"{name}, seed {seed}"] = row | environment()
            write_text(given.out, json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
