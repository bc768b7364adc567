"""The default and nothing else, beside what one would do without codivide on the same features.

python benchmarks/default.py [--only photos cifar10n-worse ...] [--seeds 1] [--out results/default.json]

``NoisyLabelClassifier().fit(X, y)`` with no option. Beside it: scikit-learn's logistic regression on the noisy labels,
and cleanlab (``CleanLearning`` around it, and the label quality of its 5-fold probabilities), all on the features of
the default's encoder, standardised. Seconds are of the processor, on one thread, encoding included where it says so;
test labels are true ones and nothing is chosen by them. Sets: 5,000 photos of which 40 % lie in the wrong folder
(CIFAR-10, tested on 2,000 of its test images), 10,000 images of CIFAR-10N worse and aggre and all 50,000 of worse,
2,000 of them stretched to 224 pixels (no set of larger photos comes in a wheel), digits, 4,000 images of Fashion-MNIST
(tested on 2,000), and two sets of texts. What ``--out`` holds already is not run again. Needs ``CODIVIDE_DATA`` and
cleanlab.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from codivide import NoisyLabelClassifier
from codivide.core.allocator import tune_allocator
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data import encode, experiment
from codivide.data.loaded import Loaded, subset
from codivide.data.options import ReadOptions
from codivide.data.sources import load

DATA = Path(os.environ.get("CODIVIDE_DATA", "data"))


class Case(NamedTuple):
    """Samples with given and true labels, and a test part with true ones; X in the form a user would have it."""

    x: Any
    y: np.ndarray
    truth: np.ndarray
    test_x: Any
    test_y: np.ndarray


def images(loaded: Loaded) -> np.ndarray:
    """As ``[N, H, W, C]``."""
    return loaded.x[torch.arange(len(loaded.y))].permute(0, 2, 3, 1).numpy()


def photos(seed: int) -> Case:
    """5,000 photos; the wrong folders do not depend on the seed."""
    train = load(DATA / "photos", truth=DATA / "photos_truth.csv")
    test = subset(load("cifar10").test, np.arange(2_000))
    return Case(images(train), train.y, train.truth, images(test), test.y)


def large_photos(seed: int) -> Case:
    """2,000 images of CIFAR-10N worse drawn by the seed, stretched to 224 pixels, as no wheel brings larger ones."""
    train = experiment.part(load("cifar10n:worse"), 2_000, seed)
    test = subset(load("cifar10").test, np.arange(1_000))
    return Case(stretched(images(train)), train.y, train.truth, stretched(images(test)), test.y)


def stretched(x: np.ndarray, side: int = 224) -> np.ndarray:
    """Images ``[N, H, W, C]`` at ``side`` pixels."""
    return np.stack([np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in x])


def cifar10n(kind: str, number: int = 10_000) -> Callable[[int], Case]:
    """So many images drawn by the seed."""

    def case(seed: int) -> Case:
        train = experiment.part(load(f"cifar10n:{kind}"), number, seed)
        test = subset(load("cifar10").test, np.arange(2_000))
        return Case(images(train), train.y, train.truth, images(test), test.y)

    return case


def digits(rate: float) -> Callable[[int], Case]:
    """scikit-learn's digits, symmetric noise."""

    def case(seed: int) -> Case:
        loaded = experiment.spoil(load("digits"), f"symmetric:{rate}", seed)
        return Case(images(loaded), loaded.y, loaded.truth, images(loaded.test), loaded.test.y)

    return case


def fashion(noise: str) -> Callable[[int], Case]:
    """4,000 grey images drawn by the seed."""

    def case(seed: int) -> Case:
        whole = load("fashion_mnist")
        train = experiment.spoil(experiment.part(whole, 4_000, seed), noise, seed)
        test = subset(whole.test, np.arange(2_000))
        return Case(images(train), train.y, train.truth, images(test), test.y)

    return case


def hausa(seed: int) -> Case:
    """Headlines, labels by key words."""
    with np.load(DATA / "text" / "hausa_newsclass_distant.npz") as held:
        text = {name: [value.decode() for value in held[f"text_{name}"].tolist()] for name in ("train", "test")}
        return Case(text["train"], held["y_train_noisy"], held["y_train_true"], text["test"], held["y_test"])


def youtube(seed: int) -> Case:
    """Comments, labels by the majority of ten rules."""
    with np.load(DATA / "text" / "youtube.npz") as held:
        text = {name: [value.decode() for value in held[f"text_{name}"].tolist()] for name in ("train", "test")}
        covered = np.flatnonzero(held["weak_majority_train"] >= 0)
        train = [text["train"][row] for row in covered]
        given, truth = held["weak_majority_train"][covered], held["y_train"][covered]
        return Case(train, given, truth, text["test"], held["y_test"])


CASES: dict[str, Callable[[int], Case]] = {
    "photos": photos,
    "cifar10n-worse": cifar10n("worse"),
    "cifar10n-aggre": cifar10n("aggre"),
    "cifar10n-worse-50000": cifar10n("worse", 50_000),
    "photos-224": large_photos,
    "digits-5": digits(0.05),
    "digits-20": digits(0.2),
    "digits-40": digits(0.4),
    "fashion-symmetric-40": fashion("symmetric:0.4"),
    "fashion-asymmetric-40": fashion("asymmetric:0.4"),
    "hausa": hausa,
    "youtube": youtube,
}


def scores(predicted: np.ndarray, wrong: np.ndarray | None, case: Case, seconds: float) -> dict[str, float]:
    """Test accuracy, plain and balanced; how well wrong labels are ranked, where they are."""
    found = {
        "test_accuracy": float((predicted == case.test_y).mean()),
        "balanced_accuracy": float(balanced_accuracy_score(case.test_y, predicted)),
        "cpu_seconds": round(seconds, 1),
    }
    if wrong is not None:
        bad = case.y != case.truth
        found |= {"auroc": float(roc_auc_score(bad, wrong)), "ap": float(average_precision_score(bad, wrong))}
    return found


def default(case: Case, seed: int) -> dict[str, Any]:
    """No option but the seed."""
    began = time.process_time()
    fitted = NoisyLabelClassifier(random_state=seed).fit(case.x, case.y)
    seconds = time.process_time() - began
    suspicion = 1 - fitted.clean_proba_
    flagged = fitted.labels_["is_label_issue"].to_numpy()
    found = scores(fitted.predict(case.test_x), suspicion, case, seconds)
    bad = case.y != case.truth
    return found | {
        "noise": float(bad.mean()),
        "estimated": float(suspicion.mean()),
        "flagged": int(flagged.sum()),
        "precision": float(bad[flagged].mean()) if flagged.any() else None,
        "right_after_accepting": float((np.where(flagged, fitted.suggested_labels_, case.y) == case.truth).mean()),
        "encoder": None if fitted.model_.encoder is None else fitted.model_.encoder.name,
    }


def features(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Both parts as the default's encoder sees them; small images as they are. Read from the cache."""

    def rows(x: Any) -> Any:
        loaded = load(x, np.arange(len(x)) % 2)
        if encode.is_photo(loaded):
            loaded = encode.of_images(loaded, ReadOptions(encoder=encode.OF_PHOTOS))
        return loaded

    train = rows(case.x)
    test = rows(case.test_x).x if train.texts is None else train.encoder.encode(list(case.test_x))
    return tuple(part[torch.arange(len(part))].flatten(1).float().numpy() for part in (train.x, test))


def others(case: Case, seed: int) -> dict[str, Any]:
    """Logistic regression on the noisy labels, and cleanlab around it, on the same features."""
    from cleanlab.classification import CleanLearning
    from cleanlab.rank import get_label_quality_scores

    def model() -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))

    x, test = features(case)
    began = time.process_time()
    plain = model().fit(x, case.y).predict(test)
    found = {"logistic_regression": scores(plain, None, case, time.process_time() - began)}
    began = time.process_time()
    probs = cross_val_predict(model(), x, case.y, cv=5, method="predict_proba")
    quality = get_label_quality_scores(case.y, probs)
    cleaned = CleanLearning(model(), seed=seed).fit(x, case.y).predict(test)
    return found | {"cleanlab": scores(cleaned, 1 - quality, case, time.process_time() - began)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/default.json"))
    given = parser.parse_args()
    tune_allocator()
    torch.set_num_threads(1)
    here = environment()  # of the code that is loaded, whatever is committed while it runs
    kept = json.loads(given.out.read_text()) if given.out.exists() else {"cases": {}}
    warnings.simplefilter("ignore")
    for name in given.only:
        for seed in range(given.seeds):
            if f"{name}/{seed}" in kept["cases"]:
                continue
            case = CASES[name](seed)
            with tempfile.TemporaryDirectory() as cache:
                os.environ["CODIVIDE_CACHE"] = cache
                row = {"default": default(case, seed), **others(case, seed), **here}
            kept["cases"][f"{name}/{seed}"] = row
            write_text(given.out, json.dumps(kept, indent=1) + "\n")
            print(name, seed, json.dumps({key: row[key] for key in ("default", "logistic_regression", "cleanlab")}))


if __name__ == "__main__":
    main()
