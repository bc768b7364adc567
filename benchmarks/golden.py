"""What every method answers on three small sets, as hashes: a move of code must leave each of them as it was.

Digits (300 images), a table (200 rows) and 200 texts, symmetric noise of 40 %, 3 epochs, seed 0, float32, one thread,
on the CPU. Of each run: the tensors of the saved model, p(clean), the suggestions, and the predictions for new samples.
Only public names are used, so that the script runs on any version. The bits belong to the chip and the version of
torch that the file names: on another machine, write the file anew at the commit before the change, then check.

python benchmarks/golden.py [--out results/golden.json] [--check] [--jobs 2] [--only digits/elr]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

SETS = ("digits", "table", "texts")
WORDS = {
    "sport": ["match", "goal", "team", "coach", "season", "league", "player", "score", "win", "stadium"],
    "science": ["cell", "energy", "theory", "orbit", "sample", "data", "planet", "gene", "protein", "laser"],
    "market": ["price", "share", "bank", "trade", "profit", "stock", "loan", "tax", "growth", "budget"],
}


def samples(name: str) -> tuple[Any, np.ndarray, Any]:
    """Training samples, their given labels, and new samples to predict."""
    from sklearn import datasets

    rng = np.random.default_rng(0)
    if name == "texts":
        truth = np.arange(260) % len(WORDS)
        every = sorted(word for words in WORDS.values() for word in words)
        known = list(WORDS.values())
        lines = [" ".join([*rng.choice(known[k], 5), *rng.choice(every, 4)]) for k in truth]
        x, new, truth = lines[:200], lines[200:], truth[:200]
    elif name == "table":
        held = datasets.load_breast_cancer()
        x, new, truth = held.data[:200].astype(np.float32), held.data[200:260].astype(np.float32), held.target[:200]
    else:
        held = datasets.load_digits()
        images = (held.images * 15.9375).astype(np.uint8)
        x, new, truth = images[:300], images[300:400], held.target[:300]
    classes = int(truth.max()) + 1
    flipped = rng.random(len(truth)) < 0.4
    return x, np.where(flipped, rng.integers(0, classes, len(truth)), truth), new


def digest(*arrays: np.ndarray) -> str:
    """A hash of values, types and shapes."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype} {array.shape} ".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def run(key: str) -> tuple[str, dict[str, str]]:
    """The hashes of one method on one set, or the error that says why there are none."""
    import torch
    from safetensors.numpy import load_file

    from codivide import InputError, NoisyLabelClassifier

    torch.set_num_threads(1)
    kind, method = key.split("/")
    x, y, new = samples(kind)
    network = {} if method == "features" else {"epochs": 3, "precision": "fp32", "device": "cpu"}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        out = Path(folder) / "run"
        classifier = NoisyLabelClassifier(method, out=out, random_state=0, **network)
        try:
            classifier.fit(x, y)
        except InputError as error:
            return key, {"error": str(error)}
        tensors = load_file(out / "model.safetensors")
        return key, {
            "model": digest(*(tensors[name] for name in sorted(tensors))),
            "clean_prob": digest(np.asarray(classifier.clean_proba_, dtype=np.float64)),
            "suggested": digest(np.asarray(classifier.suggested_labels_).astype(str)),
            "predicted": digest(np.asarray(classifier.predict_proba(new), dtype=np.float64)),
        }


def machine() -> dict[str, str]:
    """What the bits depend on besides the code."""
    import torch

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def main() -> None:
    from codivide import METHODS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/golden.json"))
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="+", help="keys such as digits/elr; with --check")
    given = parser.parse_args()
    methods = sorted({*METHODS, "features", "auto"})
    keys = given.only or [f"{kind}/{method}" for kind in SETS for method in methods]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(given.jobs, multiprocessing.get_context("spawn")) as pool:
        found = dict(pool.map(run, keys))
    if not given.check:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        from codivide.core.provenance import commit

        record = {"machine": machine(), "commit": commit(), "runs": found}
        given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"{len(found)} runs written to {given.out}")
        return
    held = json.loads(given.out.read_text(encoding="utf-8"))
    if held["machine"] != machine():
        print(f"note: the file is of another machine: {held['machine']}, here {machine()}")
    changed = [key for key in keys if held["runs"].get(key) != found[key]]
    for key in changed:
        was = held["runs"].get(key, {})
        print(f"{key}: " + ", ".join(part for part in {**was, **found[key]} if was.get(part) != found[key].get(part)))
    print(f"{len(keys) - len(changed)} of {len(keys)} runs as they were")
    sys.exit(bool(changed))


if __name__ == "__main__":
    main()
