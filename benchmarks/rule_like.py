"""Which labels are said to look like a rule of the features: texts labelled by rules and by people, and tables.

python benchmarks/rule_like.py [--data DIR] [--out results/benchmarks/rule_like.json]

Hausa headlines (labels by distant supervision, true ones) and YouTube comments (majority of ten labelling rules, true
ones; word counts), each also with 30 % of the true labels replaced at random; tables of scikit-learn and music_genre,
clean and so spoiled; a rule on two of 60 columns. Seed 0. The seconds are of a processor, of the heads and of the look.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn import datasets

from codivide.core.provenance import environment
from codivide.data.sources import load
from codivide.methods.features import rule_like
from codivide.methods.features.learn import plain_probs
from codivide.methods.features.matrix import raw
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table


def spoiled(y: np.ndarray, rate: float = 0.3) -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.where(generator.random(len(y)) < rate, generator.integers(0, int(y.max()) + 1, len(y)), y)


def look(x: Any, y: np.ndarray) -> dict[str, Any]:
    loaded = load(x, y)
    rows = np.flatnonzero(loaded.y >= 0)
    given = loaded.y[rows]
    began = time.process_time()
    table = Table(raw(loaded.x, torch.from_numpy(rows)), torch.from_numpy(given), loaded.classes)
    seen = plain_probs(table, Features(), 0).double().numpy()[np.arange(len(rows)), given]
    middle = time.process_time()
    said = rule_like.remark(loaded, seen, rows, given)
    ended = time.process_time()
    return {
        "said": said is not None,
        "remark": said,
        "seconds_heads": round(middle - began, 2),
        "seconds_look": round(ended - middle, 2),
    }


def problems(root: Path) -> dict[str, tuple[Any, np.ndarray]]:
    found: dict[str, tuple[Any, np.ndarray]] = {}
    with np.load(root / "text" / "hausa_newsclass_distant.npz") as held:
        lines, truth = held["text_train"].tolist(), held["y_train_true"].astype(np.int64)
        found["hausa, distant labels"] = lines, held["y_train_noisy"].astype(np.int64)
        found["hausa, true labels"] = lines, truth
        found["hausa, true labels, 30 % spoiled"] = lines, spoiled(truth)
    with np.load(root / "text" / "youtube.npz") as held:
        lines, truth = held["text_train"].tolist(), held["y_train"].astype(np.int64)
        covered = (held["lf_train"] >= 0).any(1)
        found["youtube, labelling rules"] = lines, np.where(covered, held["weak_majority_train"].astype(np.int64), -1)
        found["youtube, true labels"] = lines, truth
        found["youtube, true labels, 30 % spoiled"] = lines, spoiled(truth)
    with np.load(root / "crowd" / "music_genre.npz") as held:
        found["music_genre, true labels"] = held["x_train"], held["y_train_true"].astype(np.int64)
        found["music_genre, majority"] = held["x_train"], held["y_train_majority"].astype(np.int64)
    for name in ("breast_cancer", "digits", "wine", "iris"):
        held = getattr(datasets, f"load_{name}")()
        found[name] = held.data, held.target
        found[f"{name}, 30 % spoiled"] = held.data, spoiled(held.target)
    found["6 of 40 columns count"] = datasets.make_classification(
        1500, 40, n_informative=6, n_classes=3, random_state=0
    )
    x = np.random.default_rng(0).normal(size=(1500, 60))
    found["a rule on 2 of 60 columns"] = x, ((x[:, 0] > 0) & (x[:, 1] > 0.5)).astype(np.int64)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CODIVIDE_DATA", "data")))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = {name: look(x, y) for name, (x, y) in problems(args.data).items()}
    for name, row in rows.items():
        print(name, row, flush=True)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({"rows": rows, **environment()}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
