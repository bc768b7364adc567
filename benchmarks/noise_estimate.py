"""Estimated against true noise rates: ``noise_report`` on sets whose truth is known; it never sees the truth.

python benchmarks/noise_estimate.py [--out results/noise] [--only digits music] [--runs]

Every setting is one JSON file; what is there already is left out. ``--runs`` adds the settings on CIFAR-10, for which
``codivide fit`` trains first (small_cnn, 4,000 images, 30 epochs; plainly, and by the automatic choice) and the report
reads the run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import detection_sets
import numpy as np
import torch

from codivide import noise_report
from codivide.bench import store
from codivide.core.provenance import environment
from codivide.data import named
from codivide.noise import scores, synthetic
from codivide.noise.report import NoiseReport

INJECTED = {
    "digits": ("symmetric:0", "symmetric:0.2", "symmetric:0.4", "symmetric:0.6", "asymmetric:0.2", "asymmetric:0.4"),
    "fashion_mnist": ("symmetric:0", "symmetric:0.2", "symmetric:0.4", "asymmetric:0.4"),
}
PAIR = {"digits": ("pair:0.45",)}
KNOWN = {
    "music_genre majority": "music_majority",
    "music_genre single": "music_single",
    "hausa distant": "hausa",
    "youtube majority": "youtube",
}
PHOTOS = {
    **{f"cifar10n:{labels}": (labels, "") for labels in ("aggre", "random1", "random2", "random3", "worse")},
    **{f"cifar10 {spec}": ("true", spec) for spec in ("symmetric:0", "symmetric:0.4", "asymmetric:0.4")},
}  # encoded by EfficientNet-Lite0
RUNS = (
    *(("cifar10n:worse", None), ("cifar10n:aggre", None)),
    *(("cifar10", kind) for kind in ("symmetric:0", "symmetric:0.4", "asymmetric:0.4")),
)
METHODS = ("cross_entropy", "auto")


class Setting(NamedTuple):
    """Features, labels and the truth that only the comparison sees."""

    name: str
    x: Any
    given: np.ndarray
    truth: np.ndarray
    classes: int


def settings() -> Iterator[Setting]:
    """All of the feature route, one after the other."""
    for name, specs in INJECTED.items():
        loaded = named.load(name)
        rows = np.sort(np.random.default_rng(0).permutation(len(loaded.y))[:10_000])
        x = loaded.x[torch.from_numpy(rows)].reshape(len(rows), -1).numpy().astype(np.float32)
        for spec in (*specs, *PAIR.get(name, ())):
            truth = loaded.y[rows]
            noise, generator = synthetic.parse(spec), np.random.default_rng(0)
            given = synthetic.apply(noise, truth, loaded.classes, generator, dataset=name)
            yield Setting(f"{name} {spec}", x, given, truth, len(loaded.classes))
    for name, known in KNOWN.items():
        found = detection_sets.SETS[known](0)
        yield Setting(name, found.x, found.given, found.truth, found.classes)
    for name, (labels, spec) in PHOTOS.items():
        found = detection_sets.photos(labels, spec)
        yield Setting(f"{name} efficientnet-lite0", found.x, found.given, found.truth, found.classes)


def compare(report: NoiseReport, given: np.ndarray, truth: np.ndarray, classes: int) -> dict[str, Any]:
    """The report beside the truth."""
    matrix = synthetic.transition_matrix(truth, given, classes)
    found = scores.detection(given, truth, report.clean_prob)
    return {
        "true_rate": synthetic.effective_rate(truth, given),
        "report": report.to_dict(),
        "matrix_error": float(abs(report.transition - matrix).sum(1).mean() / 2),
        "detection": {name: value for name, value in found.items() if name != "reliability"},
        "reliability": found["reliability"],
    }


def trained(source: str, spec: str | None, method: str) -> dict[str, Any]:
    """Train by the command line, then report on the folder."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = ["fit", source, "--method", method, "--net", "small_cnn", "--limit", "4000", "--epochs", "30"]
        words += ["--out", str(run), *(["--noise", spec] if spec else [])]
        subprocess.run([sys.executable, "-m", "codivide.cli.app", *words], check=True, capture_output=True)
        began = time.perf_counter()
        report = noise_report(run)
        seconds = time.perf_counter() - began
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        with np.load(run / "predictions.npz") as held:
            given = held["given"]
        table = np.genfromtxt(run / "labels.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
        names = {name: number for number, name in enumerate(summary["classes"])}
        truth = np.asarray([names[str(label)] for label in table["true_label"]])
    row = compare(report, given, truth, len(names))
    cost = {"seconds": seconds, "training_seconds": summary["training_seconds"]}
    return row | cost | {"samples": len(given), "trained": summary["method"], "detected": summary["detection"]}


def write(out: Path, name: str, row: dict[str, Any]) -> None:
    path = out / f"{name.replace(' ', '_').replace(':', '_')}.json"
    path.write_text(json.dumps({"setting": name, **row, **environment()}, indent=2) + "\n", encoding="utf-8")
    report = row["report"]
    print(
        f"{name:28s} true {row['true_rate']:.3f} estimated {report['rate']:.3f} ({report['low']:.3f} to "
        f"{report['high']:.3f}) {report['kind']} {report['trust']['level']} "
        f"AUROC {row['detection'].get('auroc', float('nan')):.3f} ECE {row['detection']['calibration_error']:.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/noise"))
    parser.add_argument("--only", nargs="+", default=[""])
    parser.add_argument("--runs", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    done = {row["setting"] for row in store.read(args.out).values()}
    for item in settings():
        if item.name not in done and any(word in item.name for word in args.only):
            began = time.perf_counter()
            report = noise_report(item.x, item.given)
            row = {"seconds": time.perf_counter() - began, "samples": len(item.given)}
            write(args.out, item.name, compare(report, item.given, item.truth, item.classes) | row)
    for (source, spec), method in product(RUNS, METHODS) if args.runs else ():
        name = f"{source} {spec or 'human'} {method}"
        if name not in done and any(word in name for word in args.only):
            write(args.out, name, trained(source, spec, method))


if __name__ == "__main__":
    main()
