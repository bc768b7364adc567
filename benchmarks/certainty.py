"""How sure p(clean) is, and what it costs: tables with wrong labels, before and now, beside cleanlab.

    python benchmarks/certainty.py [--sets pima crx ...] [--cases class-dependent:0.4 uniform:0.2 ...] [--seeds 0]
                                   [--out results/certainty.json]

The problems are those of ``tables.py``; uniform:0 are true labels. p(clean) is learned by telling given labels from
labels that are drawn as wrong ones.

    now       some of the drawn labels are right, where the given label is wrong, and are counted so
    before    all drawn labels are taken for wrong, and of the given ones as many as the confident joint counts
    judged    only where nothing can be learned, so that nothing is flagged: now, with labels judged none the less
    cleanlab  flags and quality by a forest, as in ``tables.py``

*f1* and *flagged* are of labels whose suggestion differs, *f1_half* and *flagged_half* of those with p(clean) below
1/2. Now and before take turns in coming first. The file is written after every case; what it holds is not run again.
The rule was made with ``DEVELOPMENT`` in sight; nothing was chosen by ``HELD_BACK``.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from detection import FOLDS, detection
from sklearn.metrics import f1_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from tables import DEVELOPMENT, HELD_BACK, SETS, Problem, models

from codivide.core.files import write_text
from codivide.core.provenance import commit, environment
from codivide.methods.features import judge
from codivide.methods.features.folds import deal
from codivide.methods.features.learn import learn
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table
from codivide.noise import chance
from codivide.noise.scores import calibration_error, reliability

CASES = ("class-dependent:0.4", "uniform:0.2", "instance-dependent:0.4")
Row = dict[str, float]


def problem_of(name: str, kind: str, rate: float, seed: int) -> Problem:
    """The problem of ``tables.py``; without noise the labels are the true ones."""
    problem = Problem(name, kind, rate or 0.2, seed)
    if not rate:
        problem.given = problem.truth.copy()
        problem.fold = deal(torch.from_numpy(problem.given), FOLDS, torch.Generator().manual_seed(seed))
    return problem


def found_by(problem: Problem, doubt: np.ndarray, flagged: np.ndarray) -> Row:
    """How well wrong labels stand out; without any, how much is flagged."""
    wrong = problem.given != problem.truth
    return detection(wrong, doubt, flagged) if wrong.any() else {"flagged": float(flagged.mean())}


def codivide(problem: Problem, seed: int) -> Row:
    """The default route."""
    began = time.process_time()
    table = Table(problem.x, torch.from_numpy(problem.given), tuple(range(problem.classes)), mixed=True)
    learned = learn(table, Features(), seed)
    scores = problem.scores(learned.model.predict(problem.x_test).numpy())
    seconds = time.process_time() - began
    clean_prob, right = learned.clean_prob.numpy(), problem.given == problem.truth
    doubt = 1 - clean_prob if learned.order is None else -learned.order.numpy()
    half = clean_prob < 0.5
    return (
        scores
        | found_by(problem, doubt, learned.suggested.numpy() != problem.given)
        | {
            "f1_half": float(f1_score(~right, half, zero_division=0)),
            "flagged_half": float(half.mean()),
            "calibration_error": calibration_error(reliability(clean_prob, right)),
            "noise_estimate": learned.report["noise_estimate"],
            "errors_above_chance": learned.report["errors_above_chance"],
            "seconds": seconds,
        }
    )


def before(problem: Problem, seed: int) -> Row:
    """The same with all drawn labels taken for wrong, and as many given ones as the confident joint counts."""
    level, weights, joint = judge.noise_level, judge.contrast_weights, [0.5]

    def heard(probs: torch.Tensor, given: torch.Tensor, counted: float, *, plain: bool, shown: bool) -> float:
        joint[:] = [min(max(counted, 1 / (2 * len(given))), 1 - 1 / (2 * len(given)))]
        return level(probs, given, counted, plain=plain, shown=shown)

    def plainly(own: np.ndarray, drawn: np.ndarray, *_: float) -> np.ndarray:
        return weights(own, drawn, joint[0], 0.0)

    with mock.patch.multiple(judge, noise_level=heard, contrast_weights=plainly):
        return codivide(problem, seed)


def cleanlab(problem: Problem, seed: int) -> Row:
    """What ``find_label_issues`` flags."""
    split = PredefinedSplit(problem.fold.numpy())
    probs = cross_val_predict(models(seed)["forest"], problem.x, problem.given, cv=split, method="predict_proba")
    return found_by(problem, -get_label_quality_scores(problem.given, probs), find_label_issues(problem.given, probs))


def measure(problem: Problem, seed: int, *, turned: bool) -> dict[str, Row]:
    """All rows of a case."""
    ways = {"now": partial(codivide, problem, seed), "before": partial(before, problem, seed)}
    rows = {name: ways[name]() for name in sorted(ways, reverse=turned)}
    if rows["now"]["errors_above_chance"] <= chance.LIKELY:
        with mock.patch.object(chance, "LIKELY", -np.inf):
            rows["judged"] = codivide(problem, seed)
    return rows | {"cleanlab": cleanlab(problem, seed)}


def main() -> None:
    """Measure all cases and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(HELD_BACK))
    parser.add_argument("--cases", nargs="+", default=list(CASES), metavar="NOISE:RATE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("results/certainty.json"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    record: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.exists() else {"cases": []}
    for seed in asked.seeds:
        for case in asked.cases:
            for name in asked.sets:
                kind, rate = case.split(":")
                key = {"set": name, "noise": kind, "rate": float(rate), "seed": seed}
                if any(key.items() <= known.items() for known in record["cases"]):
                    continue
                problem = problem_of(name, kind, float(rate), seed)
                rows = measure(problem, seed, turned=bool(len(record["cases"]) % 2))
                wrong = float((problem.given != problem.truth).mean())
                about = {"development": name in DEVELOPMENT, "wrong": wrong, "commit": commit()}
                record["cases"].append(key | about | {"results": rows})
                write_text(asked.out, json.dumps(record | environment(), indent=1) + "\n")
                told = "; ".join(
                    f"{label} f1 {row.get('f1', 0):.3f}, {row['flagged']:.3f}" for label, row in rows.items()
                )
                print(*key.values(), told, flush=True)


if __name__ == "__main__":
    main()
