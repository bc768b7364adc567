"""What a model may learn from noisy labels at best, and by which refit: why the goals for accuracy are as they are.

python benchmarks/refits.py [--sets german vowel ...] [--rates 0.2 0.4 0.1] [--kinds uniform ...] [--models forest]
                            [--out results/refits.json]

The problems are those of ``tables.py``, with one seed. Test accuracy of one model fitted to

    nothing    the noisy labels
    again      the same with another seed: what chance alone makes of it
    cleanlab   what ``find_label_issues`` leaves
    refit      the labels that codivide keeps, which is what ``model=`` gives
    folds      the noisy labels without a fold each: the mean of the models that cross-fitting has made
    both       the mean of refit and folds
    right      those of the noisy labels that are right: a perfect detector
    truth      the true labels of all rows

The file is written after every case; what it holds is not run again. docs/explain/features.md shows it as a table.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tables import DEVELOPMENT, NOISE, SETS, Problem, cleanlab, models

from codivide.core.files import write_text
from codivide.core.provenance import commit, environment
from codivide.methods.features import judge, own
from codivide.methods.features.learn import learn
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table

SEED = 0
KEPT = ("refit", "folds", "both")
WAYS = ("nothing", "again", "cleanlab", *KEPT, "right", "truth")


def measure(problem: Problem, label: str, known: dict[str, float]) -> dict[str, float]:
    """Test accuracy by each way that is not known yet."""
    model, classes = models(SEED)[label], tuple(range(problem.classes))

    def accuracy(probs: np.ndarray) -> float:
        return float((probs.argmax(1) == problem.y_test).mean())

    def fitted(y: np.ndarray, rows: Any = slice(None), *, seed: int = SEED) -> np.ndarray:
        found = own.fit(models(seed)[label], problem.x[rows], y[rows], classes=classes)
        return found.probs(problem.x_test)

    folds: list[np.ndarray] = []

    def cross(_: torch.Tensor, fold: torch.Tensor) -> torch.Tensor:
        found = own.cross_probs(model, problem.x, problem.given, fold.numpy(), classes=classes)
        folds[:] = [fitted(problem.given, fold.numpy() != number) for number in np.unique(fold)]
        return torch.from_numpy(found).float()

    def kept() -> dict[str, float]:
        table = Table(problem.x, torch.from_numpy(problem.given), classes, mixed=True, own=cross)
        learned = learn(table, Features(), SEED)
        keep = judge.kept(problem.given, learned.clean_prob.numpy(), learned.probs.argmax(1).numpy())
        refit, several = fitted(problem.given, keep), np.mean(folds, axis=0)
        return dict(zip(KEPT, map(accuracy, (refit, several, refit + several)), strict=True))

    alone = {
        "nothing": lambda: accuracy(fitted(problem.given)),
        "again": lambda: accuracy(fitted(problem.given, seed=SEED + 1)),
        "cleanlab": lambda: cleanlab(problem, model, SEED)["test_accuracy"],
        "right": lambda: accuracy(fitted(problem.given, problem.given == problem.truth)),
        "truth": lambda: accuracy(fitted(problem.truth)),
    }
    found = known | {way: made() for way, made in alone.items() if way not in known}
    return found if known.keys() >= set(KEPT) else found | kept()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(DEVELOPMENT))
    parser.add_argument("--rates", type=float, nargs="+", default=[0.2, 0.4, 0.1])
    parser.add_argument("--kinds", nargs="+", choices=list(NOISE), default=list(NOISE))
    parser.add_argument("--models", nargs="+", choices=("forest", "boosting"), default=["forest"])
    parser.add_argument("--out", type=Path, default=Path("results/refits.json"))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    record: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.exists() else {"cases": []}
    keys = [
        {"set": name, "noise": kind, "rate": rate, "model": label}
        for label in asked.models
        for rate in asked.rates
        for kind in asked.kinds
        for name in asked.sets
    ]
    for key in keys:
        before = next((case for case in record["cases"] if key.items() <= case.items()), None)
        known = {} if before is None else before["accuracy"]
        if known.keys() >= set(WAYS):
            continue
        problem = Problem(key["set"], key["noise"], key["rate"], SEED)
        wrong = float((problem.given != problem.truth).mean())
        about = {"development": key["set"] in DEVELOPMENT, "wrong": wrong, "commit": commit()}
        fresh = key | about | {"accuracy": measure(problem, key["model"], known)}
        record["cases"] = [case for case in record["cases"] if case is not before] + [fresh]
        write_text(asked.out, json.dumps(record | environment(), indent=1) + "\n")


if __name__ == "__main__":
    main()
