"""Wrong rows that come many times: how well they are found when folds share copies, and when they do not.

python benchmarks/copies.py [--out results/copies.json] [--seeds 5]

300 rows of three classes (scikit-learn's ``make_classification``), 30 labels wrong, each wrong row 8 times more,
exactly or with noise of 1e-4. "shared" deals copies out one by one, as every cross-fitting does that does not
look for them.
Seconds are of the processor, also for looking for copies among 10,000 rows of 500 features.

"photos" (needs ``CODIVIDE_DATA``): 210 photos of the folder of 5,000, of which 30 were saved again as JPEG (quality 85)
beside them, and 60 in a test part; read and encoded as ``fit`` does by default. How many of these are found, how many
other pairs are named, and what the search among all 5,000 costs and names.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import make_classification
from sklearn.metrics import roc_auc_score

from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data import encode
from codivide.data.duplicates import find, look_alike, sharing
from codivide.data.groups import tensors, together
from codivide.data.leaks import leaks
from codivide.data.options import ReadOptions
from codivide.data.rows import TensorRows
from codivide.data.sources import load, load_raw
from codivide.methods.features.learn import learn
from codivide.methods.features.matrix import raw
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table

MORE = 8  # times that a wrong row comes again


def auroc(x: np.ndarray, y: np.ndarray, bad: np.ndarray, *, held: bool) -> float:
    """Of p(clean), with copies held together or not."""
    loaded = load(x, y)
    known = tensors(together(loaded)) if held else (None, None)
    table = Table(raw(loaded.x), torch.from_numpy(loaded.y), loaded.classes, None, None, *known)
    return float(roc_auc_score(bad, -learn(table, Features(), 0).clean_prob.numpy()))


def trial(seed: int) -> dict[str, float]:
    """One draw of rows and wrong labels."""
    rng = np.random.default_rng(seed)
    x, truth = make_classification(300, n_features=10, n_informative=6, n_classes=3, class_sep=1.5, random_state=seed)
    wrong, y = rng.permutation(300)[:30], truth.copy()
    y[wrong] = (y[wrong] + rng.integers(1, 3, 30)) % 3
    bad, source = y != truth, rng.permutation(np.r_[np.arange(300), np.repeat(wrong, MORE)])
    near = x[source] + 1e-4 * rng.normal(size=(len(source), 10))
    return {
        "without_copies": auroc(x, y, bad, held=True),
        "shared": auroc(x[source], y[source], bad[source], held=False),
        "held": auroc(x[source], y[source], bad[source], held=True),
        "held_near": auroc(near, y[source], bad[source], held=True),
    }


def seconds() -> dict[str, float]:
    """To look for copies in 10,000 x 500 rows without structure, and in 20 tight clusters."""
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(10_000, 500))
    plain[-100:] = plain[:100]
    tight = rng.normal(size=(20, 500))[rng.integers(0, 20, 10_000)] + 0.05 * rng.normal(size=(10_000, 500))
    found = {}
    for name, x in (("no_structure", plain), ("tight_clusters", tight)):
        loaded = load(x.astype(np.float32), np.arange(10_000) % 2)
        assert isinstance(loaded.x, TensorRows)
        began = time.process_time()
        together(loaded)
        found[name] = round(time.process_time() - began, 2)
    return found


def photos(root: Path, seed: int) -> dict[str, int]:
    """Copies that are found of those that were saved again, in the same part and in a test part."""
    every = sorted(root.glob("*/*.png"))
    taken = np.random.default_rng(seed).permutation(len(every))[:210]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place, row in enumerate(taken):
            path = every[row]
            _save(path, folder / "train" / path.parent.name / path.name)
            if place < 30:
                _save(path, folder / "train" / path.parent.name / f"{path.stem}-again.jpg")
            elif place < 90:
                _save(path, folder / "test" / path.parent.name / f"{path.stem}.jpg")
        raw_photos = load_raw(folder / "train")
        test = load_raw(folder / "test", classes=raw_photos.classes)
        loaded = encode.of_images(replace(raw_photos, test=test), ReadOptions(encoder="auto"))
        assert loaded.test is not None
        groups = [set(group.rows) for group in find(loaded.x, None, loaded.alike)]
        names = [Path(path).stem for path in map(str, raw_photos.ids)]
        pairs = {(names.index(one), names.index(f"{one}-again")) for one in names if f"{one}-again" in names}
        found = sum(any({*pair} <= group for group in groups) for pair in pairs)
        others = sum(len(group) - 1 for group in groups) - found
        leaked = int((leaks(loaded, loaded.test).test >= 0).sum())
        return {"copies": found, "of": len(pairs), "others": others, "leaks": leaked, "of_leaks": len(test.y)}


def _save(path: Path, target: Path) -> None:
    """As PNG, or as JPEG of quality 85, by the name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == path.suffix:
        target.write_bytes(path.read_bytes())
        return
    with Image.open(path) as image:
        image.convert("RGB").save(target, quality=85)


def among_all(root: Path) -> dict[str, float]:
    """What is named of all photos, none of which is a planted copy, and the seconds."""
    loaded = load(root)
    began = time.process_time()
    number = look_alike(loaded.x)
    named = 0 if number is None else sum(len(rows) for rows in sharing(number))
    return {"photos": len(loaded.y), "named": named, "seconds": round(time.process_time() - began, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/copies.json"))
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    trials = [trial(seed) for seed in range(given.seeds)]
    mean: dict[str, Any] = {name: round(float(np.mean([one[name] for one in trials])), 4) for name in trials[0]}
    record = {"data": "make_classification, 300 rows, 30 wrong", "mean": mean, "seeds": trials, "seconds": seconds()}
    if os.environ.get("CODIVIDE_DATA"):
        root = Path(os.environ["CODIVIDE_DATA"]) / "photos"
        record["photos"] = [photos(root, seed) for seed in range(3)]
        record["all_photos"] = among_all(root)
    write_text(given.out, json.dumps(record | environment(), indent=1) + "\n")
    print(json.dumps({key: value for key, value in record.items() if key != "seeds"}))


if __name__ == "__main__":
    main()
