"""A person's effort: how many of the first issues are wrong, ours in one run against cleanlab's cross-validation.

    python benchmarks/effort.py --set worse [--method elr --epochs 40] [--again 20] [--net airbench] [--runs FOLDER]

Both sides have the same network, images and optimizer. Ours: one run, ranked by the table's p(clean). cleanlab: five
folds of plain cross-entropy, ranked by its label quality score (self-confidence); then it is trained
again without the labels that ``find_label_issues`` names. ``--again`` trains ours again, too, without those that it
would change; the seconds are then of both. The set "reviewed" is CIFAR-10's own test labels, judged
together with 10,000 training images; 54 of them are errors by the votes of reviewers, and of the rest nothing is known.
No setting is chosen by what is measured here. Seconds are of training on one thread, loading left out.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data.arrays import array_rows
from codivide.data.experiment import part, spoil
from codivide.data.loaded import Loaded, subset
from codivide.data.named import data_root
from codivide.data.sources import load
from codivide.fit.execute import execute
from codivide.fit.job import Job, Outcome, build_method, default_plan

IMAGES, FOLDS = 10_000, 5
CHECKED = (100, 500, 1000)
SETS = {
    "worse": ("cifar10n:worse", ""),
    "aggre": ("cifar10n:aggre", ""),
    "fashion": ("fashion_mnist", "asymmetric:0.4"),
    "reviewed": ("cifar10", ""),
}


def data_of(name: str, seed: int) -> tuple[Loaded, np.ndarray]:
    """Data, and for each row 1 wrong, 0 right, -1 unknown."""
    source, noise = SETS[name]
    if name != "reviewed":
        loaded = spoil(part(load(source), IMAGES, seed), noise or None, seed)
        return loaded, (loaded.y != loaded.truth).astype(int)
    whole = load(source)
    assert whole.test is not None
    train, test = part(whole, IMAGES, seed), whole.test
    x = torch.cat([rows.x[torch.arange(len(rows.y))] for rows in (test, train)])
    votes = np.load(data_root() / "labels" / "label_errors_cifar10.npz")
    wrong = np.full(len(test.y) + IMAGES, -1)
    wrong[: len(test.y)] = 0  # not reviewed: taken as right for precision, which is then a lower bound
    wrong[votes["test_index"]] = votes["votes"][:, list(votes["vote_keys"]).index("given")] < 3
    joined = replace(train, x=array_rows(x), y=np.concatenate([test.y, train.y]), test=None, truth=None)
    return replace(joined, ids=[str(k) for k in range(len(wrong))]), wrong


def fit(
    loaded: Loaded, net: str, method: str, epochs: int, seed: int, *, folder: Path | None = None, look: bool = False
) -> tuple[Outcome, float]:
    """A run that never sees the test set, and its seconds; ``look``: it records what it predicts for its own labels."""
    made = build_method(method)
    plan = default_plan(len(loaded.y), made, epochs=epochs, seed=seed, device="cpu")
    began = time.process_time()
    job = Job(made, plan, net, evaluate_every=1 if look else epochs, record_learning=look)
    outcome = execute(job, replace(loaded, test=None), folder)
    return outcome, time.process_time() - began


def accuracy(outcome: Outcome, test: Loaded | None) -> float | None:
    """On the test set, after the last epoch."""
    return None if test is None else float((outcome.model.logits(test.x).argmax(1).numpy() == test.y).mean())


def judge(score: np.ndarray, flagged: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
    """Detection by a score that is larger for labels that are more likely right."""
    known = wrong >= 0
    order = np.argsort(score[known], kind="stable")
    found = wrong[known][order]
    return {
        "auroc": roc_auc_score(wrong[known], -score[known]),
        "average_precision": average_precision_score(wrong[known], -score[known]),
        "f1": f1_score(wrong[known], flagged[known]),
        "precision": {str(n): float(found[:n].mean()) for n in CHECKED},
        "found": {str(n): int(found[:n].sum()) for n in CHECKED},
    }


def ours(
    loaded: Loaded, wrong: np.ndarray, net: str, method: str, epochs: int, *, seed: int, folder: Path | None, again: int
) -> dict[str, Any]:
    outcome, seconds = fit(loaded, net, method, epochs, seed, folder=folder, look=True)
    table = outcome.table
    flagged = (table["suggested"].astype(str) != table["given"].astype(str)).to_numpy()
    found = judge(table["clean_prob"].to_numpy(), flagged, wrong)
    first, more = accuracy(outcome, loaded.test), {}
    if again:
        outcome, spent = fit(subset(loaded, np.flatnonzero(~flagged)), net, "cross_entropy", again, seed)
        seconds += spent
        more = {"again": again, "kept": float((~flagged).mean()), "first_test_accuracy": first}
    result = {"method": method, "epochs": epochs, **more, **found, "test_accuracy": accuracy(outcome, loaded.test)}
    return result | {"seconds": round(seconds, 1)}


def theirs(loaded: Loaded, wrong: np.ndarray, net: str, epochs: int, seed: int) -> dict[str, Any]:
    probs, seconds = np.zeros((len(loaded.y), len(loaded.classes))), 0.0
    for train, held in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(loaded.y, loaded.y):
        outcome, spent = fit(subset(loaded, train), net, "cross_entropy", epochs, seed)
        began = time.process_time()
        probs[held] = torch.softmax(outcome.model.logits(subset(loaded, held).x).double(), 1).numpy()
        seconds += spent + time.process_time() - began
    began = time.process_time()
    flagged = find_label_issues(loaded.y, probs)
    score = get_label_quality_scores(loaded.y, probs)
    seconds += time.process_time() - began
    found: dict[str, Any] = {"test_accuracy": None} | judge(score, flagged, wrong)
    if loaded.test is not None:
        again, spent = fit(subset(loaded, np.flatnonzero(~flagged)), net, "cross_entropy", epochs, seed)
        found["test_accuracy"], seconds = accuracy(again, loaded.test), seconds + spent
    return {"method": "cleanlab", "epochs": epochs, **found, "seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--set", choices=SETS, required=True)
    parser.add_argument("--method", help="ours; without it cleanlab's side is measured")
    parser.add_argument("--net", default="small_cnn", help="of both sides")
    parser.add_argument("--epochs", type=int, default=20, help="of our run, or of each fold and of the last training")
    parser.add_argument("--again", type=int, default=0, metavar="EPOCHS", help="train ours again on what it keeps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results") / "effort")
    args = parser.parse_args()
    loaded, wrong = data_of(args.set, args.seed)
    net = "" if args.net == "small_cnn" else f"_{args.net}"
    name = f"{args.set}{net}_{args.method or 'cleanlab'}{'_again' * bool(args.again)}_s{args.seed}"
    if args.method:
        folder = args.runs / name if args.runs else None
        found = ours(loaded, wrong, args.net, args.method, args.epochs, seed=args.seed, folder=folder, again=args.again)
    else:
        found = theirs(loaded, wrong, args.net, args.epochs, args.seed)
    record = {"set": args.set, "samples": len(loaded.y), "noise_rate": float((wrong == 1).sum() / (wrong >= 0).sum())}
    record |= {"net": args.net, "seed": args.seed, "result": found, **environment()}
    args.out.mkdir(parents=True, exist_ok=True)
    write_text(args.out / f"{name}.json", json.dumps(record, indent=2) + "\n")
    print(name, json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
