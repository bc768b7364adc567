"""Consensus labels of several annotators: how many are right, and what logistic regression makes of them.

python benchmarks/crowd.py [--data DIR] [--probs DIR] [--out results/crowd]

music_genre: 44 annotators of 700 songs. youtube: 10 labelling rules on 1,586 comments, scored where one of them speaks.
simulated: twelve kinds of crowd, 20 seeds each. classifier: the consensus with a classifier's probabilities, beside
CROWDLAB's equations, of music_genre (cross-fitted by the features route) and of the three answers a photo of CIFAR-10N
(with probabilities of somebody else's ResNet-18, ``cifar10n_worst_resnet18.npz`` in --probs; left out without it).
True labels only score. Logistic regression has standardised features (audio; MiniLM embeddings). "one answer" draws one
answer of every sample, 5 seeds; nothing else is random.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from codivide.core.provenance import environment
from codivide.data.named import read_label_file
from codivide.methods.features.learn import plain_probs
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table
from codivide.noise import consensus
from codivide.noise.settle import settle
from codivide.noise.votes import Votes

SEEDS = 5
WORLD_SEEDS = 20


def music_genre(root: Path) -> dict[str, np.ndarray]:
    with np.load(root / "crowd" / "music_genre.npz") as held:
        return {
            "y": held["crowd"].astype(np.int64),
            "truth": held["y_train_true"].astype(np.int64),
            "x": held["x_train"],
            "x_test": held["x_test"],
            "y_test": held["y_test"],
        }


def youtube(root: Path) -> dict[str, np.ndarray]:
    with np.load(root / "text" / "youtube.npz") as held, np.load(root / "text" / "youtube_minilm.npz") as features:
        return {
            "y": held["lf_train"].astype(np.int64),
            "truth": held["y_train"].astype(np.int64),
            "x": features["x_train"].astype(np.float32),
            "x_test": features["x_test"].astype(np.float32),
            "y_test": held["y_test"],
            "majority, as published": held["weak_majority_train"].astype(np.int64),
        }


def one_answer(y: np.ndarray, seed: int) -> np.ndarray:
    """An answer of every sample, drawn evenly; -1 where there is none."""
    order = np.where(y >= 0, np.random.default_rng(seed).random(y.shape), -1.0)
    return y[np.arange(len(y)), order.argmax(1)]


def test_accuracy(data: dict[str, np.ndarray], labels: np.ndarray) -> float | None:
    known = labels >= 0
    if len(np.unique(labels[known])) < 2:
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    return float(model.fit(data["x"][known], labels[known]).score(data["x_test"], data["y_test"]))


def row(data: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, float | None]:
    covered = (data["y"] >= 0).any(1)
    right = float((labels == data["truth"])[covered].mean())
    return {"consensus": right, "test_accuracy": test_accuracy(data, np.where(covered, labels, -1))}


def measure(data: dict[str, np.ndarray]) -> dict[str, object]:
    given = Votes.of(data["y"])
    drawn = [row(data, one_answer(data["y"], seed)) for seed in range(SEEDS)]
    rows: dict[str, dict[str, object]] = {
        "one answer": {name: float(np.mean([r[name] for r in drawn])) for name in ("consensus", "test_accuracy")}
        | {"deviation": {name: float(np.std([r[name] for r in drawn])) for name in ("consensus", "test_accuracy")}}
    }
    judges = {
        "majority": consensus.majority,
        "dawid_skene 1979": lambda v: consensus.dawid_skene(v, shared=False, silence="ignore"),
        "shared prior, silence ignored": lambda v: consensus.dawid_skene(v, silence="ignore"),
        "own prior, silence counts": lambda v: consensus.dawid_skene(v, shared=False),
        "shared prior, silence counts": consensus.dawid_skene,
        "codivide": settle,
    }
    if "majority, as published" in data:
        rows["majority, as published"] = dict(row(data, data["majority, as published"]))
    for name, judge in judges.items():
        began = time.perf_counter()
        found = judge(given)
        seconds = time.perf_counter() - began
        rows[name] = {**row(data, found.labels), "passes": len(found.trace), "seconds": round(seconds, 2)}
        if name == "codivide":
            known = [(col[col >= 0] == data["truth"][col >= 0]).mean() for col in data["y"].T]
            often = given.counts >= 20
            for what in ("quality", "agreement"):
                value = np.corrcoef(getattr(found, what)[often], np.array(known)[often])[0, 1]
                rows[name][f"{what}_correlation"] = float(value)
    rows["true labels"] = dict(row(data, data["truth"]))
    return {
        "samples": len(data["y"]),
        "covered": int((data["y"] >= 0).any(1).sum()),
        "annotators": data["y"].shape[1],
        "answers": int(given.counts.sum()),
        "rows": rows,
    }


def answered(rng: np.random.Generator, truth: np.ndarray, classes: int, right: object, asked: float) -> np.ndarray:
    """``[N, A]`` answers of independent annotators who are right so often."""
    share = np.asarray(right)
    wrong = (truth[:, None] + rng.integers(1, classes, (len(truth), len(share)))) % classes
    y = np.where(rng.random(wrong.shape) < share, truth[:, None], wrong)
    return np.where(rng.random(y.shape) < asked, y, -1)


def worlds(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Answers and truth of every kind of crowd."""
    rng = np.random.default_rng(seed)
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def world(name: str, samples: int, classes: int, right: object, asked: float) -> None:
        truth = rng.integers(0, classes, samples)
        found[name] = answered(rng, truth, classes, right, asked), truth

    world("honest", 400, 3, rng.uniform(0.6, 0.9, 8), 0.5)
    world("spammers", 400, 3, [*rng.uniform(0.65, 0.9, 5), *[1 / 3] * 4], 0.6)
    world("two experts among guessers", 300, 3, [0.95, 0.93, *[1 / 3] * 5], 0.9)
    world("sparse", 1000, 4, rng.uniform(0.5, 0.9, 60), 0.05)
    world("many classes", 1500, 40, rng.uniform(0.5, 0.9, 12), 0.35)
    world("few answers", 60, 3, rng.uniform(0.55, 0.85, 6), 0.4)
    world("copied", 400, 2, [0.8, 0.8, 0.8, 0.6], 1.0)
    y, truth = found["copied"]
    found["copied"] = np.column_stack([y, y[:, 3]]), truth
    world("colluding", 400, 3, [0.8, 0.75, 0.7, 0.8, 0.75], 0.8)
    y, truth = found["colluding"]
    source = answered(rng, truth, 3, [0.4], 1.0)
    told = np.where(rng.random((400, 4)) < 0.9, source, rng.integers(0, 3, (400, 4)))
    found["colluding"] = np.column_stack([y, np.where(rng.random((400, 4)) < 0.8, told, -1)]), truth
    truth, label = rng.integers(0, 2, 500), np.arange(8) % 2
    fires = rng.random((500, 8)) < np.where(truth[:, None] == label, 0.5, 0.08)
    found["silent"] = np.where(fires, label, -1), truth
    truth = (rng.random(900) < 0.6).astype(np.int64)
    fires = rng.random((900, 3)) < np.where(truth == 1, 0.45, 0.1)[:, None]
    found["silent among others"] = (
        np.column_stack([answered(rng, truth, 2, [0.8] * 3, 0.5), np.where(fires, 1, -1)]),
        truth,
    )
    truth = rng.integers(0, 3, 800)  # a third of the samples is hard for everyone, with one likely mistake
    right = np.where(rng.random(800) < 0.3, 0.35, 0.85)[:, None]
    wrong = (truth[:, None] + 1 + (rng.random((800, 7)) < 0.2)) % 3
    y = np.where(rng.random((800, 7)) < right, truth[:, None], wrong)
    found["hard samples"] = np.where(rng.random((800, 7)) < 0.6, y, -1), truth
    truth = rng.choice(12, 1500, p=np.arange(12, 0, -1) / 78)
    found["three, unequal classes"] = answered(rng, truth, 12, [0.93, 0.8, 0.85], 0.5), truth
    return found


def simulated() -> dict[str, object]:
    """Share of right labels of every kind of crowd, and of how many seeds a group was said to copy."""
    rows: dict[str, list[list[float]]] = {}
    for seed in range(WORLD_SEEDS):
        for name, (y, truth) in worlds(seed).items():
            given, known = Votes.of(y, int(truth.max()) + 1), (y >= 0).any(1)
            began = time.process_time()
            ours = settle(given)
            seconds = time.process_time() - began
            judged = (consensus.majority(given), consensus.dawid_skene(given), ours)
            right = [float((each.labels == truth)[known].mean()) for each in judged]
            rows.setdefault(name, []).append([*right, float(bool(ours.groups)), seconds])
    names = ("majority", "dawid_skene", "codivide", "copies_said", "cpu_seconds")
    return {
        name: dict(zip(names, np.mean(values, 0).tolist(), strict=True))
        | {"worst_difference": float(min(v[2] - v[0] for v in values)), "seeds": len(values)}
        for name, values in rows.items()
    }


def crowdlab(given: Votes, probs: np.ndarray, voted: np.ndarray) -> np.ndarray:
    """Class probabilities ``[N, C]`` by the equations of Goh, Tkachenko and Mueller (arXiv:2210.06812)."""
    size = np.bincount(given.items, minlength=given.samples)
    tally = np.zeros_like(probs)
    np.add.at(tally, (given.items, given.labels), 1)
    several = size > 1
    others = size[given.items] - 1
    same = tally[given.items, given.labels] - 1
    asked = np.bincount(given.annotators, others, minlength=len(given.names))
    agree = np.bincount(given.annotators, same, minlength=len(given.names)) / np.maximum(asked, 1)
    rows = np.arange(given.samples)
    right = float((tally[rows, voted] / np.maximum(size, 1))[several].mean())
    common = float((voted[several] == np.bincount(voted[voted >= 0]).argmax()).mean())
    model = float((probs.argmax(1) == voted)[several].mean())
    weight = np.maximum(1 - (1 - np.where(asked > 0, agree, right)) / (1 - common), 1e-4)
    weight_model = max(0.0, 1 - (1 - model) / (1 - common)) * np.sqrt(size[size > 0].mean())
    said = np.full((len(given.items), given.classes), (1 - right) / (given.classes - 1))
    said[np.arange(len(said)), given.labels] = right
    total, mass = weight_model * probs, np.full(given.samples, weight_model)
    np.add.at(total, given.items, weight[given.annotators, None] * said)
    np.add.at(mass, given.items, weight[given.annotators])
    return total / mass[:, None]


def with_probs(given: Votes, probs: np.ndarray, truth: np.ndarray) -> dict[str, object]:
    """Right labels and how well confidence tells them, with and without a classifier."""
    known = np.bincount(given.items, minlength=given.samples) > 0
    voted, both = consensus.majority(given), settle(given, probs)
    plain = {"majority": voted, "dawid_skene": consensus.dawid_skene(given), "codivide": settle(given)}
    found = {name: each.probs for name, each in plain.items()} | {
        "crowdlab": crowdlab(given, probs, voted.labels),
        "codivide with the classifier": both.probs,
        "the classifier alone": probs,
    }
    labels = {name: value.argmax(1) for name, value in found.items()} | {"majority": voted.labels}
    return {
        name: {
            "consensus": float((labels[name] == truth)[known].mean()),
            "quality_auroc": float(roc_auc_score((labels[name] == truth)[known], value.max(1)[known])),
        }
        for name, value in found.items()
    } | {"weight of the classifier": both.classifier}


def classifiers(root: Path, probs: Path | None) -> dict[str, object]:
    """``with_probs`` of every crowd with a classifier."""
    data = music_genre(root)
    given = Votes.of(data["y"])
    first = settle(given)
    table = Table(data["x"].astype(np.float32), torch.from_numpy(first.labels), tuple(range(given.classes)))
    found = {"music_genre": with_probs(given, plain_probs(table, Features(), 0).double().numpy(), data["truth"])}
    held = probs / "cifar10n_worst_resnet18.npz" if probs is not None else None
    if held is None or not held.is_file():
        return found
    labels = read_label_file(root / "CIFAR-N" / "CIFAR-10_human.pt")
    answers = np.column_stack([labels[f"random_label{k}"] for k in (1, 2, 3)]).astype(np.int64)
    truth = labels["clean_label"].astype(np.int64)
    with np.load(held) as read:
        seen = read["probs"].astype(np.float64)
    seen /= seen.sum(1, keepdims=True)
    found["cifar10n"] = with_probs(Votes.of(answers, 10), seen, truth)
    drawn = np.where(np.random.default_rng(0).random(answers.shape) < 0.5, answers, -1)
    found["cifar10n, half of the answers"] = with_probs(Votes.of(drawn, 10), seen, truth)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CODIVIDE_DATA", "data")))
    parser.add_argument("--probs", type=Path, help="Folder of other people's probabilities.")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    results: dict[str, dict[str, object]] = {"simulated": {"rows": simulated()}}
    results["classifier"] = {"rows": classifiers(args.data, args.probs)}
    for name, read in (("music_genre", music_genre), ("youtube", youtube)):
        results[name] = measure(read(args.data))
    for name, result in results.items():
        for what, values in result["rows"].items():
            print(name, what, values, flush=True)
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            text = json.dumps({**result, **environment()}, indent=2)
            (args.out / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
