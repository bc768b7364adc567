"""Whether fine-tuning the packaged network after the features pays: features alone, fine-tuned alone, both joined.

python benchmarks/finetune.py [--photos 2000] [--side 96] [--epochs 6] [--seeds 1] [--out results/finetune.json]

The same photos of CIFAR-10 as in ``benchmarks/encoder.py``, of which 40 % lie in the wrong folder; tested on 2,000 test
images. First the default. Then EfficientNet-Lite0 on images of a side: the head in the first epoch, then all weights at
a small rate, with a weight average. A fifth of the given labels is hidden from it; the others are targets, either as
they are given, weighted with the p(clean) of the default ("weighted"), or in their share with its cross-fitted
probabilities ("soft": ``p(clean) y + (1 - p(clean)) p``). Joined: ``(1 - w) log odds`` of the default's p(clean) and
``w log odds`` of the network's probability of the given label, averaged over the second half of the epochs; and
probabilities alike. ``w`` is the one of ``WEIGHTS`` with the greatest agreement with the hidden given labels. True
labels only score. Seconds are of the processor, one thread, without the looks after each epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from codivide import NoisyLabelClassifier
from codivide.core.allocator import tune_allocator
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data import experiment
from codivide.data.loaded import Loaded, subset
from codivide.data.sources import load
from codivide.data.views import ViewSpec
from codivide.noise.clean_prob import log_odds
from codivide.runs.model import Model
from codivide.training import loop, nets
from codivide.training.plan import Plan
from codivide.training.run import Method, Run
from codivide.training.samples import Batch, Data
from codivide.training.timm_names import PACKAGED, expected

DATA = Path(os.environ.get("CODIVIDE_DATA", "data"))
WEIGHTS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
HIDDEN = 0.2
CLASSES = tuple(range(10))


@dataclass
class Soft(Method):
    """Cross-entropy with given targets ``[N, C]`` and weights ``[N]``."""

    targets: Tensor = field(default_factory=lambda: torch.zeros(0), repr=False)
    weights: Tensor = field(default_factory=lambda: torch.zeros(0), repr=False)

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """The weighted mean over a batch."""
        logits = run.logits(i, batch.x[0])
        run.observe(batch, logits.detach())
        losses = -(self.targets[batch.id] * torch.log_softmax(logits, 1)).sum(1)
        return (self.weights[batch.id] * losses).mean()


def images(loaded: Loaded) -> np.ndarray:
    """As ``[N, H, W, C]``."""
    return loaded.x[torch.arange(len(loaded.y))].permute(0, 2, 3, 1).numpy()


def tuned(train: Loaded, test: Loaded, method: Soft, *, hidden: np.ndarray, plan: Plan, side: int) -> dict[str, Any]:
    """Probabilities of training and test images by the network, and the seconds of its training."""
    name = f"{PACKAGED}:{side}"
    views = ViewSpec("photo", torch.zeros(3), torch.ones(3)).suited(*expected(name))
    given = torch.from_numpy(np.where(hidden, -1, train.y))
    seen: list[np.ndarray] = []
    spent = {"seconds": 0.0, "began": time.process_time()}

    def watch(run: Run) -> None:
        spent["seconds"] += time.process_time() - spent["began"]
        if run.epoch > plan.epochs // 2:
            seen.append(model(run).probs(train.x))
        spent["began"] = time.process_time()

    def model(run: Run) -> Model:
        return Model(method.members(run), name, train.x.shape, train.x.dtype, CLASSES, views, run.precision)

    def build() -> torch.nn.Module:
        return nets.build(name, (3, side, side), len(CLASSES), 0.2)

    run = loop.train(method, Data(train.x, given, CLASSES, views.views()), build, plan, watch=watch)
    return {"train": np.mean(seen, axis=0), "test": model(run).probs(test.x), "seconds": spent["seconds"]}


def joined(first: np.ndarray, second: np.ndarray, weight: float) -> np.ndarray:
    """Logarithms of probabilities ``[N, C]``, mixed."""
    return (1 - weight) * np.log(first.clip(1e-6)) + weight * np.log(second.clip(1e-6))


def measure(asked: argparse.Namespace, seed: int) -> dict[str, Any]:
    """All rows of one seed."""
    train = experiment.part(load(DATA / "photos", truth=DATA / "photos_truth.csv"), asked.photos, seed)
    test = subset(load("cifar10").test, np.arange(2_000))
    rows, bad = np.arange(len(train.y)), train.y != train.truth
    began = time.process_time()
    first = NoisyLabelClassifier(random_state=seed).fit(images(train), train.y)
    seconds = time.process_time() - began
    clean, probs, tested = first.clean_proba_, first.evidence_.mean_probs(10), first.predict_proba(images(test))

    def scores(doubt: np.ndarray, predicted: np.ndarray, seconds: float) -> dict[str, float]:
        return {
            "auroc": round(float(roc_auc_score(bad, doubt)), 4),
            "ap": round(float(average_precision_score(bad, doubt)), 4),
            "test_accuracy": float((predicted.argmax(1) == test.y).mean()),
            "cpu_seconds": round(seconds, 1),
        }

    found: dict[str, Any] = {"features": scores(1 - clean, tested, seconds)}
    hidden = np.random.default_rng(seed).random(len(rows)) < HIDDEN
    onehot = np.eye(10)[train.y]
    plan = Plan(
        epochs=asked.epochs,
        batch_size=64,
        optimizer="adamw",
        lr=5e-4,
        weight_decay=0.01,
        schedule="one_cycle",
        average=0.95,
        freeze=1,
        seed=seed,
        device="cpu",
    )
    soft = clean[:, None] * onehot + (1 - clean[:, None]) * probs
    ways = {"weighted": (onehot, clean / clean.mean()), "soft": (soft, np.ones(len(rows)))}
    for name in asked.targets:
        targets, weights = ways[name]
        method = Soft(torch.from_numpy(targets).float(), torch.from_numpy(weights).float())
        net = tuned(train, test, method, hidden=hidden, plan=plan, side=asked.side)
        agree = [(joined(probs, net["train"], w).argmax(1) == train.y)[hidden].mean() for w in WEIGHTS]
        weight = WEIGHTS[int(np.argmax(agree))]
        own = net["train"][rows, train.y]
        found[name] = scores(-own, net["test"], net["seconds"])
        doubt = -((1 - weight) * log_odds(clean) + weight * log_odds(own.astype(np.float64)))
        found[f"features and {name}"] = scores(doubt, joined(tested, net["test"], weight), seconds + net["seconds"])
        found[f"features and {name}"] |= {"weight": weight, "agreement": [round(float(a), 4) for a in agree]}
        print(name, json.dumps(found), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=2_000)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--targets", nargs="+", choices=("weighted", "soft"), default=["weighted", "soft"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/finetune.json"))
    given = parser.parse_args()
    tune_allocator()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    kept = json.loads(given.out.read_text()) if given.out.exists() else {}
    for seed in range(given.seeds):
        settings = f"{given.photos} photos, {given.side} pixels, {given.epochs} epochs, seed {seed}"
        settings += f", {' and '.join(given.targets)}"
        if settings not in kept:
            kept[settings] = measure(given, seed) | environment()
            write_text(given.out, json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
