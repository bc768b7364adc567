"""Noise that goes from each class to one other: what the features route gains by counting how wrong labels are given.

python benchmarks/one_way.py [--only tables photos clothes] [--rows 2000] [--seeds 0] [--out results/one_way.json]

    guesses  the confident joint corrects the heads; how wrong labels are given is the mean of three guesses
    joint    the same, but the more the confident joint sees that noise goes one way, the more it alone tells
    now      where the labels tell a matrix, the likeliest one corrects the heads, the corrected pool has a say in the
             second round, and so far the matrix tells how wrong labels are given

Tables: those of ``tables.py`` with more than two classes, 600 rows, trees beside the heads; class-dependent noise takes
each class for the next one, uniform and instance-dependent noise does not go one way. Photos (CIFAR-10) and clothes
(Fashion-MNIST) as features of the packaged encoder; asymmetric noise takes photos for a similar class, as published,
and clothes for the next one; "pair" takes photos for the next class. CIFAR-10N are labels of people. The ways take
turns in coming first. True labels only score. The rules were made with clothes, photos, and tables of ``DEVELOPMENT``
in sight; ``HELD_BACK`` chose nothing. The file is written after every case; what it holds is not run again. Needs
``CODIVIDE_DATA``, cleanlab and the wheels of ``tables.py``.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from certainty import codivide, problem_of
from default import Case, images, scores

from codivide import NoisyLabelClassifier
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data import experiment
from codivide.data.loaded import subset
from codivide.data.sources import load
from codivide.methods.features import channel, judge

TABLES = {
    "held back": ("splice", "satimage", "penbased", "letter"),
    "development": ("penguins", "vowel", "segment", "vehicle", "texture", "led7digit", "marketing", "contraceptive"),
}
NOISES = ("class-dependent:0.4", "class-dependent:0.2", "uniform:0.4", "uniform:0.2", "instance-dependent:0.4")
PHOTOS = {
    "photos": ("cifar10", ("asymmetric:0.4", "asymmetric:0.2", "pair:0.4", "symmetric:0.4")),
    "clothes": ("fashion_mnist", ("asymmetric:0.4", "asymmetric:0.2", "symmetric:0.4")),
    "photos, people": ("cifar10n:worse", ("none",)),
}
WAYS = ("guesses", "joint", "now")
Row = dict[str, float]


def photos_of(source: str, noise: str, rows: int, seed: int) -> Case:
    """``rows`` images drawn by the seed, and 2,000 test images."""
    whole = load(source)
    train = experiment.part(whole, rows, seed)
    if noise != "none":
        train = experiment.spoil(train, noise, seed)
    test = subset(load("cifar10" if source.startswith("cifar10n") else source).test, np.arange(2_000))
    return Case(images(train), train.y, train.truth, images(test), test.y)


def of_photos(case: Case, seed: int) -> Row:
    """The features route; after the first time the features are in the cache."""
    began = time.process_time()
    fitted = NoisyLabelClassifier(method="features", random_state=seed).fit(case.x, case.y)
    seconds = time.process_time() - began
    return scores(fitted.predict(case.test_x), 1 - fitted.clean_proba_, case, seconds)


def ways(run: Any, first: int) -> dict[str, Row]:
    """``run`` in each of the ``WAYS``, beginning with one of them."""
    rows = {}
    for name in (*WAYS[first:], *WAYS[:first]):
        with ExitStack() as changed:
            if name != "now":
                changed.enter_context(mock.patch.object(channel, "likeliest", return_value=None))
            if name == "guesses":
                changed.enter_context(mock.patch.object(judge, "one_way", return_value=0.0))
            rows[name] = run()
    return rows


def cases(only: list[str], rows: int, seed: int) -> Iterator[tuple[dict[str, Any], Any]]:
    """What tells a case, and what makes its row."""
    if "tables" in only:
        for group, names in TABLES.items():
            for noise in NOISES:
                for name in names:
                    kind, rate = noise.split(":")

                    def table(name: str = name, kind: str = kind, rate: float = float(rate)) -> Any:
                        problem = problem_of(name, kind, rate, seed)
                        return lambda: codivide(problem, seed)

                    yield {"group": f"tables, {group}", "set": name, "noise": noise, "seed": seed}, table
    for group, (source, noises) in PHOTOS.items():
        if group.split(",")[0] in only:
            for noise in noises:

                def photos(source: str = source, noise: str = noise) -> Any:
                    case = photos_of(source, noise, rows, seed)
                    return lambda: of_photos(case, seed)

                yield {"group": group, "set": source, "noise": noise, "seed": seed, "rows": rows}, photos


def summary(record: dict[str, Any]) -> None:
    """Print the means by group and noise."""
    groups = dict.fromkeys((case["group"], case["noise"]) for case in record["cases"])
    for group, noise in groups:
        found = [case["results"] for case in record["cases"] if (case["group"], case["noise"]) == (group, noise)]
        told = []
        for key in ("auroc", "average_precision", "ap", "f1", "test_accuracy", "calibration_error"):
            if key in found[0]["now"]:
                means = (np.mean([rows[name][key] for rows in found]) for name in WAYS)
                told.append(f"{key} {' -> '.join(f'{mean:.3f}' for mean in means)}")
        print(f"{group}, {noise} ({len(found)}):", ", ".join(told))


def main() -> None:
    """Measure all cases and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=["tables", "photos", "clothes"], default=["tables", "photos", "clothes"]
    )
    parser.add_argument("--rows", type=int, default=2_000, help="images of a case")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("results/one_way.json"))
    asked = parser.parse_args()
    here = environment()  # of the code that is loaded, whatever is committed while it runs
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    record: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.exists() else {"cases": []}
    for seed in asked.seeds:
        for key, make in cases(asked.only, asked.rows, seed):
            if any(key.items() <= known.items() for known in record["cases"]):
                continue
            results = ways(make(), len(record["cases"]) % len(WAYS))
            about = {"development": key["group"] != "tables, held back"}
            record["cases"].append(key | about | {"results": results, "environment": here})
            write_text(asked.out, json.dumps(record, indent=1) + "\n")
            print(*key.values(), *(f"{name} auroc {row['auroc']:.3f}" for name, row in results.items()), flush=True)
    summary(record)


if __name__ == "__main__":
    main()
