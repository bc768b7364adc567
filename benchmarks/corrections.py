"""What a person's corrections are worth: test accuracy before and after, with the same settings.

    python benchmarks/corrections.py [--out results/audit/corrections.json] [--only digits]

A run judges its labels; the first 100 and the first 500 of its issues (labels that differ from the suggestion, the most
doubtful first) are decided by the true labels, as a person would who makes no mistake; a second run learns with them
confirmed. Test accuracy is that of the last epoch. Nothing is chosen by it: all settings are fixed beforehand.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from codivide.core.allocator import tune_allocator
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data.corrections import Correction, confirm, read, write
from codivide.data.experiment import part, spoil
from codivide.data.loaded import Loaded, subset
from codivide.data.sources import load
from codivide.fit.execute import execute
from codivide.fit.job import Job, Outcome, build_method, default_plan
from codivide.runs import label_table

CHECKED = (100, 500)


@dataclass(frozen=True)
class Setting:
    """One set with noise, a method and how long it learns.

    Attributes:
        data: name of the set.
        noise: see ``codivide.noise.synthetic``.
        limit: training samples; None: all.
        test: test samples; None: all.
        method: its name.
        epochs: passes.
        seeds: of the part, the noise and the training.
    """

    data: str
    noise: str
    limit: int | None
    test: int | None
    method: str
    epochs: int
    seeds: tuple[int, ...]


SETTINGS = {
    "digits, DivideMix": Setting("digits", "symmetric:0.4", None, None, "dividemix", 9, (0, 1, 2)),
    "digits, cross-entropy": Setting("digits", "symmetric:0.4", None, None, "cross_entropy", 15, (0, 1, 2)),
    "Fashion-MNIST, cross-entropy": Setting("fashion_mnist", "asymmetric:0.4", 4000, 2000, "cross_entropy", 10, (0,)),
}


def data_of(setting: Setting, seed: int) -> Loaded:
    loaded = load(setting.data)
    if setting.test is not None and loaded.test is not None:
        loaded = replace(loaded, test=subset(loaded.test, np.arange(setting.test)))
    return spoil(part(loaded, setting.limit, seed), setting.noise, seed)


def learn(setting: Setting, loaded: Loaded, seed: int) -> Outcome:
    method = build_method(setting.method)
    plan = default_plan(len(loaded.y), method, epochs=setting.epochs, device="cpu", precision="fp32", seed=seed)
    return execute(Job(method, plan, "small_cnn", evaluate_every=setting.epochs, record_learning=False), loaded)


def decide(outcome: Outcome, loaded: Loaded, count: int) -> list[Correction]:
    """The first ``count`` issues as one who knows the truth decides them."""
    issues = label_table.issues(outcome.table)[:count]
    rows = []
    for row in issues.itertuples():
        decision = "keep" if row.given == row.true_label else "accept" if row.suggested == row.true_label else "relabel"
        label = "" if decision == "keep" else str(row.true_label)
        rows.append(Correction(str(row.id), str(row.given), decision, label))
    return rows


def measure(setting: Setting, seed: int) -> dict[str, Any]:
    began = time.process_time()
    loaded = data_of(setting, seed)
    assert loaded.truth is not None
    before = learn(setting, loaded, seed)
    record: dict[str, Any] = {
        "seed": seed,
        "noise_rate": float((loaded.y != loaded.truth).mean()),
        "issues": len(label_table.issues(before.table)),
        "before": before.summary["test_accuracy"]["last"],
    }
    for count in CHECKED:
        rows = decide(before, loaded, count)
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / "corrections.csv", rows)
            corrected = confirm(loaded, read(Path(folder) / "corrections.csv"))
        record[f"first_{count}"] = {
            "checked": len(rows),
            "wrong": sum(row.decision != "keep" for row in rows),
            "noise_rate": float((corrected.y != loaded.truth).mean()),
            "after": learn(setting, corrected, seed).summary["test_accuracy"]["last"],
        }
    record["cpu_seconds"] = round(time.process_time() - began, 1)
    return record


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    tune_allocator()
    settings: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        if args.only not in name:
            continue
        runs = [measure(setting, seed) for seed in setting.seeds]
        means = {"before": statistics.mean(run["before"] for run in runs)}
        for count in CHECKED:
            means[f"first_{count}"] = statistics.mean(run[f"first_{count}"]["after"] for run in runs)
        settings[name] = {**vars(setting), "net": "small_cnn", "mean": means, "runs": runs}
        print(name, json.dumps(settings[name]["mean"]), [run["cpu_seconds"] for run in runs], flush=True)
    record = {"checked": CHECKED, "settings": settings, **environment()}
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(args.out, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
