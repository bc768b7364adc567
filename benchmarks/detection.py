"""Classify and find wrong labels from features: codivide against logistic regression and cleanlab.

python benchmarks/detection.py [--sets music_majority hausa ...] [--seeds 0 1 2 3 4] [--out results/detection]

All see the same features, labels and folds. One JSON file a set and seed; what is there already is not run again.
Seconds are those of the processor (``time.process_time``), so that other work on the machine counts little. The
detection score of cleanlab is its label quality score (self-confidence, the default) on 5-fold cross-validated
probabilities of logistic regression; its flags are those of ``find_label_issues``; ``CleanLearning`` gets the same
probabilities, removes what it flags and fits again, so that the cross-validation is paid once.

Of several annotators each side makes its own consensus and is judged on that: codivide by Dawid and Skene, cleanlab by
``get_label_quality_multiannotator`` with probabilities cross-validated on the majority vote, which logistic regression
has, too.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from cleanlab.classification import CleanLearning
from cleanlab.filter import find_label_issues
from cleanlab.multiannotator import get_label_quality_multiannotator, get_majority_vote_label
from cleanlab.rank import get_label_quality_scores
from detection_sets import SETS, SIDE, Set
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.preprocessing import StandardScaler

from codivide.bench import store
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.methods.features import rule_like
from codivide.methods.features.folds import deal
from codivide.methods.features.learn import Learned, learn
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table
from codivide.noise import consensus
from codivide.noise.scores import calibration_error, reliability
from codivide.noise.votes import Votes

FOLDS = 5
OWN: dict[str, dict[str, Any]] = {"codivide": {}, "codivide, linear head": {"heads": "linear"}}


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    answer = call()
    return answer, time.process_time() - began


def detection(wrong: np.ndarray, doubt: np.ndarray, flagged: np.ndarray) -> dict[str, float]:
    return {
        "noise": float(wrong.mean()),
        "auroc": float(roc_auc_score(wrong, doubt)),
        "average_precision": float(average_precision_score(wrong, doubt)),
        "f1": float(f1_score(wrong, flagged)),
        "flagged": float(flagged.mean()),
    }


def _logistic(x: Any) -> LogisticRegression:
    """Logistic regression as it does well: for TF-IDF with a tenth of the usual penalty (Hausa: better by 5 points)."""
    return LogisticRegression(C=10.0 if sparse.issparse(x) else 1.0, max_iter=1000)


def baselines(problem: Set, seed: int) -> dict[str, dict[str, float]]:
    """Logistic regression on the given labels, and cleanlab around it."""
    x, x_test, given = problem.x, problem.x_test, problem.given
    if problem.votes is not None:
        given = get_majority_vote_label(_table(problem.votes), verbose=False)
    if not sparse.issparse(x):
        scale = StandardScaler().fit(x)
        x, x_test = scale.transform(x), scale.transform(x_test)
    model = _logistic(x)
    _, seconds = timed(lambda: model.fit(x, given))
    plain = {"test_accuracy": float((model.predict(x_test) == problem.y_test).mean()), "seconds": seconds}

    fold = deal(torch.from_numpy(given), FOLDS, torch.Generator().manual_seed(seed)).numpy()
    began = time.process_time()
    probs = cross_val_predict(_logistic(x), x, given, cv=PredefinedSplit(fold), method="predict_proba")
    if problem.votes is None:
        quality = get_label_quality_scores(given, probs)
    else:
        found = get_label_quality_multiannotator(_table(problem.votes), probs, verbose=False)["label_quality"]
        given, quality = found["consensus_label"].to_numpy(), found["consensus_quality_score"].to_numpy()
    flagged = find_label_issues(given, probs)
    cleaner = CleanLearning(_logistic(x), seed=seed)
    cleaner.fit(x, given, label_issues=flagged)
    seconds = time.process_time() - began
    clean = {"test_accuracy": float((cleaner.predict(x_test) == problem.y_test).mean()), "seconds": seconds}
    return {"logistic regression": plain, "cleanlab": clean | detection(given != problem.truth, -quality, flagged)}


def _table(votes: np.ndarray) -> pd.DataFrame:
    """As cleanlab takes them: NaN where nobody was asked."""
    return pd.DataFrame(np.where(votes < 0, np.nan, votes))


def learned(problem: Set, table: Table, options: Features, seed: int) -> Learned:
    """What a run gives: p(clean) is not bounded where labels look like a rule of words."""
    found = learn(table, options, seed)
    seen = found.seen.numpy()
    if problem.words is not None and rule_like.find(problem.words, problem.given, seen, words=True) is not None:
        return found.unbounded(table.given, None)
    return found


def own(problem: Set, seed: int, fields: dict[str, Any]) -> dict[str, Any]:
    """Codivide's route for features."""
    given, classes = torch.from_numpy(problem.given), tuple(range(problem.classes))
    answers = None
    if problem.votes is not None:
        answers = torch.from_numpy(consensus.dawid_skene(Votes.of(problem.votes)).likelihood)
    table = Table(problem.x, given, classes, answers=answers)
    found, seconds = timed(lambda: learned(problem, table, Features(**fields), seed))
    clean_prob = found.clean_prob.numpy()
    predicted = found.model.predict(problem.x_test).argmax(1).numpy()
    return {
        "test_accuracy": float((predicted == problem.y_test).mean()),
        "seconds": seconds,
        **detection(problem.given != problem.truth, 1 - clean_prob, found.suggested.numpy() != problem.given),
        "calibration_error": calibration_error(reliability(clean_prob, problem.given == problem.truth)),
        "suggestion_accuracy": float((found.suggested.numpy() == problem.truth).mean()),
        "noise_estimate": found.report["noise_estimate"],
    }


def measure(name: str, seed: int) -> dict[str, Any]:
    """Everything about one set and seed."""
    problem = SETS[name](seed)
    record: dict[str, Any] = {
        "set": name,
        "seed": seed,
        "samples": len(problem.given),
        "features": int(problem.x.shape[1]),
        "noise": float((problem.given != problem.truth).mean()),
    }
    if name.startswith("cifar"):
        record["image_side"] = SIDE
    results = baselines(problem, seed) | {label: own(problem, seed, fields) for label, fields in OWN.items()}
    return record | {"results": results, "cleanlab_version": version("cleanlab"), **environment()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--out", type=Path, default=Path("results/detection"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for seed in given.seeds:
        for name in given.sets:
            if store.holds(given.out, f"{name}-{seed}"):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # fits that have not converged
                record = measure(name, seed)
            write_text(given.out / f"{name}-{seed}.json", json.dumps(record, indent=2) + "\n")
            cells = [f"{label} {row['test_accuracy']:.3f}" for label, row in record["results"].items()]
            print(name, seed, "; ".join(cells), flush=True)


if __name__ == "__main__":
    main()
