"""What is still wrong after ``codivide clean``: two pairs of thresholds, p(clean) alone, and the default.

    python benchmarks/clean.py [--seeds 0,1,2] [--photos FOLDER --truth FILE] [--probs FOLDER] [--out FILE]

Each set is judged once for a seed, and every rule repairs the same judgement. ``wrong`` is the share of wrong labels
among the samples that stay; ``loss`` is the number of wrong labels and half of those that are left out, for each sample
of the set: what the rule minimises in expectation. True labels only score. ``--probs`` is a folder as for
``benchmarks/pred_probs.py``, whose files say which labels are wrong and not what is right: there a wrong label that is
relabelled counts as right, whatever it became. The default bounds what is changed by what the noise report holds for
certain; that bound was set with the digits, photos of seeds 0 and 1, hausa and youtube in sight.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from detection_sets import SETS
from sklearn.datasets import load_digits

from codivide import NoiseReport, NoisyLabelClassifier, audit, noise_report
from codivide.audit.clean import apply, read_run
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data import encode
from codivide.data.loaded import subset
from codivide.data.options import ReadOptions
from codivide.data.sources import load
from codivide.noise import synthetic

RULES: dict[str, dict[str, float]] = {
    "thresholds .1 and .95": {"drop_below": 0.1, "relabel_above": 0.95},  # the default before
    "thresholds .5 and .5": {"drop_below": 0.5, "relabel_above": 0.5},
    "p(clean) alone": {},  # the default before
    "default": {},
}
CERTAIN = "default"
DIGITS = (0.0, 0.05, 0.2, 0.4)  # symmetric
FEW_WRONG = (0.0, 0.01, 0.03, 0.1)  # symmetric, of photos of CIFAR-10
PHOTOS = (400, 2000)
HUMAN = ("aggre", "worse")  # CIFAR-10N, of as many photos
NETWORKS = (("elr", 0.4), ("cross_entropy", 0.2), ("cross_entropy", 0.0))
TABLES = ("hausa", "youtube", "music_majority", "music_single")
UNKNOWN = -1  # a true label of which only is known that it is not the given one


class Case(NamedTuple):
    """A judged set: its label table, the true labels, and the share of wrong labels that is certain."""

    table: pd.DataFrame
    truth: Any
    certain: float | None

    @classmethod
    def of(cls, fitted: NoisyLabelClassifier, truth: Any) -> Case:
        """What a fitted classifier says."""
        report = noise_report(fitted, replicates=2)
        assert isinstance(report, NoiseReport)
        return cls(fitted.labels_, truth, report.certain)


def judged(seed: int) -> Iterator[tuple[str, Case]]:
    """Name and judgement of every set that needs nothing but ``CODIVIDE_DATA``."""
    x, truth = load_digits(return_X_y=True)
    x = x.astype(np.float32)

    def spoiled(rate: float) -> Any:
        generator = np.random.default_rng(seed)
        return synthetic.apply(synthetic.parse(f"symmetric:{rate}"), truth, range(10), generator) if rate else truth

    def features(rows: Any, given: Any, truth: Any) -> Case:
        return Case.of(NoisyLabelClassifier(method="features", random_state=seed).fit(rows, given), truth)

    for rate in DIGITS:
        yield f"digits, {rate:.0%}", features(x, spoiled(rate), truth)
    for method, rate in NETWORKS:
        fitted = NoisyLabelClassifier(method, "mlp", epochs=30, random_state=seed)
        yield f"digits, {rate:.0%}, {method}", Case.of(fitted.fit(x.reshape(-1, 8, 8) / 16, spoiled(rate)), truth)
    for count in PHOTOS:
        pixels, labels, people = some_photos(seed, count)
        for rate in FEW_WRONG:
            noise, generator = synthetic.parse(f"symmetric:{rate}"), np.random.default_rng(seed)
            given = synthetic.apply(noise, labels, range(10), generator) if rate else labels
            yield f"{count:,} photos, {rate:.0%}", features(pixels, given, labels)
        for kind, given in people.items():
            yield f"{count:,} photos, people ({kind})", features(pixels, given, labels)
    for name in TABLES:
        problem = SETS[name](seed)
        yield name, features(problem.x, problem.given, problem.truth)


def some_photos(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Features of CIFAR-10 photos by the packaged encoder, their true labels, and those of people."""
    loaded = load("cifar10")
    rows = torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(len(loaded.y))[:count]))
    found = encode.of_images(subset(loaded, rows.numpy()), ReadOptions(encoder=encode.OF_PHOTOS))
    people = {kind: load(f"cifar10n:{kind}").y[rows.numpy()] for kind in HUMAN}
    return found.x[torch.arange(count)].float().numpy(), found.y, people


def photos(folder: Path, truth: Path, seed: int) -> tuple[str, Case]:
    """600 photos of a folder by the default route, with their true labels from ``path,label``."""
    import tempfile

    from typer.testing import CliRunner

    from codivide.cli.app import application

    with tempfile.TemporaryDirectory() as aside:
        run = Path(aside) / "run"
        words = ["fit", folder, "--out", run, "--limit", 600, "--seed", seed]
        arguments = [str(word) for word in words]
        done = CliRunner().invoke(application(arguments), arguments)
        if done.exit_code:
            raise SystemExit(done.output)
        table, report = read_run(run).table, noise_report(run, replicates=2)
        assert isinstance(report, NoiseReport)
    known = pd.read_csv(truth).set_index("path")["label"]
    return "600 photos", Case(table, known[table["path"]].to_numpy(), report.certain)


def of_probs(folder: Path) -> Iterator[tuple[str, Case]]:
    """The sets of other people's probabilities."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as held:
            probs, given, wrong = held["probs"].astype(np.float64), held["given"].astype(np.int64), held["wrong"] > 0
        report = noise_report(None, given, pred_probs=probs, replicates=2)
        assert isinstance(report, NoiseReport)
        yield path.stem, Case(audit.from_probs(given, probs).labels, np.where(wrong, UNKNOWN, given), report.certain)


def scores(case: Case, rule: dict[str, float], certain: float | None) -> dict[str, float]:
    """What a rule does, and what is wrong afterwards."""
    table, truth = case.table, case.truth
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = apply(table, **rule, certain=certain)  # type: ignore[arg-type]  # thresholds only
    rows = found.labels.index.to_numpy()
    given, label = table["given"].to_numpy()[rows], found.labels["label"].to_numpy()
    right = np.where((truth[rows] == UNKNOWN) & (label != given), True, label == truth[rows])
    counts = found.changes["change"].value_counts()
    wrong = int((~right.astype(bool)).sum())
    return {
        "wrong": round(wrong / len(rows), 4),
        "loss": round((wrong + 0.5 * (len(table) - len(rows))) / len(table), 4),
        "relabelled": int(counts.get("relabelled", 0)),
        "dropped": int(counts.get("dropped", 0)),
    }


def measured(case: Case) -> dict[str, Any]:
    """One row of the record."""
    clean_prob = case.table["clean_prob"].to_numpy(dtype=np.float64)
    bounds = {CERTAIN: case.certain}
    return {
        "samples": len(case.table),
        "before": round(float((case.table["given"].to_numpy() != case.truth).mean()), 4),
        "estimated": round(float(1 - clean_prob.mean()), 4),
        "certain": None if case.certain is None else round(case.certain, 4),
        "rules": {name: scores(case, rule, bounds.get(name)) for name, rule in RULES.items()},
    }


def main() -> None:
    """Measure, print a table, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--probs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/clean.json"))
    asked = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}

    def keep(name: str, seed: str, case: Case) -> None:
        found.setdefault(name, {})[seed] = row = measured(case)
        after = ", ".join(f"{rule} {cell['wrong']:.1%}" for rule, cell in row["rules"].items())
        print(f"{name}, seed {seed}: {row['before']:.1%} wrong, estimated {row['estimated']:.1%}; {after}", flush=True)

    warnings.simplefilter("ignore")
    for seed in map(int, asked.seeds.split(",")):
        for name, case in judged(seed):
            keep(name, str(seed), case)
        if asked.photos is not None:
            name, case = photos(asked.photos, asked.truth, seed)
            keep(name, str(seed), case)
    for name, case in of_probs(asked.probs) if asked.probs is not None else ():
        keep(name, "0", case)
    write_text(asked.out, json.dumps({"sets": found} | environment(), indent=1) + "\n")


if __name__ == "__main__":
    main()
