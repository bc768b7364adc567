"""What is called wrong where few labels are: flags of linear heads, with and without the ceiling of p(clean).

    python benchmarks/flags.py [--seeds 2,3] [--out results/flags.json]

Photos of CIFAR-10 by the packaged encoder, 2,000 and 400 of ten classes and those of two among them, with none or few
labels drawn anew (``symmetric``) and with those of people, and texts with true labels and those of key words.
*before* is the same p(clean) at the level of the confident joint, and what is flagged by it. True labels only score.
The ceiling was set with photos of seeds 0 and 1 and texts in sight.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from clean import some_photos
from detection_sets import SETS

from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.methods.features import judge
from codivide.methods.features.learn import learn
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table
from codivide.noise import synthetic
from codivide.noise.clean_prob import at_rate, log_odds

RATES = (0.0, 0.01, 0.03, 0.05, 0.1)
FEW, PAIRS = (0.0, 0.03, 0.1), ((3, 5), (0, 8), (4, 7), (1, 9))  # two classes for each seed


class Case(NamedTuple):
    """One set: features, given and true labels."""

    name: str
    x: Any
    given: np.ndarray
    truth: np.ndarray


def spoiled(truth: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Labels of which about so many are wrong."""
    classes = int(truth.max()) + 1
    spec = synthetic.parse(f"symmetric:{min(rate * classes / (classes - 1), 1.0)}")
    return synthetic.apply(spec, truth, range(classes), np.random.default_rng(seed)) if rate else truth.copy()


def cases(seed: int) -> Iterator[Case]:
    """All sets of a seed."""
    for count in (2000, 400):
        x, truth, people = some_photos(seed, count)
        for rate in RATES:
            yield Case(f"{count:,} photos, {rate:.0%}", x, spoiled(truth, rate, seed), truth)
        yield Case(f"{count:,} photos, people (aggre)", x, people["aggre"], truth)
        first, second = PAIRS[seed % len(PAIRS)]
        rows = np.flatnonzero(np.isin(truth, (first, second)))
        two = (truth[rows] == second).astype(np.int64)
        for rate in FEW if count > 1000 else ():
            yield Case(f"photos of two classes, {rate:.0%}", x[rows], spoiled(two, rate, seed), two)
    for name in ("youtube", "hausa"):
        problem = SETS[name](seed)
        yield Case(f"{name}, true labels", problem.x, problem.truth, problem.truth)
        yield Case(f"{name}, key words", problem.x, problem.given, problem.truth)


def scores(case: Case, flagged: np.ndarray, clean_prob: np.ndarray) -> dict[str, float]:
    """How well the wrong labels are found, and how honest p(clean) is."""
    wrong = case.given != case.truth
    right = int((flagged & wrong).sum())
    tenth = np.minimum((clean_prob * 10).astype(int), 9)
    off = [abs((~wrong)[tenth == k].sum() - clean_prob[tenth == k].sum()) for k in range(10)]
    return {
        "flagged": int(flagged.sum()),
        "right": right,
        "f1": round(2 * right / max(int(flagged.sum() + wrong.sum()), 1), 4),
        "mean_wrong_prob": round(float(1 - clean_prob.mean()), 4),
        "calibration_error": round(float(sum(off)) / len(wrong), 4),
    }


def measured(case: Case, seed: int) -> dict[str, Any]:
    """One row of the record."""
    given = torch.from_numpy(case.given.astype(np.int64))
    table = Table(case.x, given, tuple(range(int(max(case.given.max(), case.truth.max())) + 1)))
    found = learn(table, Features(), seed)
    own = found.clean_prob.numpy()
    joint = at_rate(log_odds(own), float(found.report["counted_noise"]))
    before = judge.suggestions(found.probs, torch.from_numpy(joint), given, judge.doubtful(joint)).numpy()
    return {
        "samples": len(case.given),
        "wrong": int((case.given != case.truth).sum()),
        "before": scores(case, before != case.given, joint),
        "now": scores(case, found.suggested.numpy() != case.given, own),
    }


def main() -> None:
    """Measure, print a line a set, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="2,3")
    parser.add_argument("--out", type=Path, default=Path("results/flags.json"))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: dict[str, dict[str, Any]] = {}
    for seed in map(int, asked.seeds.split(",")):
        for case in cases(seed):
            rows.setdefault(case.name, {})[str(seed)] = row = measured(case, seed)
            sides = "; ".join(f"{side} {row[side]}" for side in ("before", "now"))
            print(f"{case.name}, seed {seed}: {row['wrong']} of {row['samples']} wrong; {sides}", flush=True)
    write_text(asked.out, json.dumps({"sets": rows} | environment(), indent=1) + "\n")


if __name__ == "__main__":
    main()
