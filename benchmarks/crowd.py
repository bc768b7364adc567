"""Consensus labels of several annotators: how many are right, and what logistic regression makes of them.

python benchmarks/crowd.py [--data DIR] [--out results/crowd]

music_genre: 44 annotators of 700 songs. youtube: 10 labelling rules on 1,586 comments, scored where one of them speaks.
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
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from codivide.core.provenance import environment
from codivide.noise import consensus

SEEDS = 5


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
    given = consensus.votes(data["y"])
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
        "codivide": consensus.dawid_skene,
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CODIVIDE_DATA", "data")))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    for name, read in (("music_genre", music_genre), ("youtube", youtube)):
        result = measure(read(args.data))
        for what, values in result["rows"].items():
            print(name, what, values, flush=True)
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            text = json.dumps({**result, **environment()}, indent=2)
            (args.out / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
