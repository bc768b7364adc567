"""The mixture on the losses against scikit-learn's, at three sizes and several shapes, in one run.

python benchmarks/mixture.py [--out results/benchmarks/mixture.json] [--sizes 50000 1000000 14000000]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.mixture import GaussianMixture

from codivide.core.provenance import environment
from codivide.noise import mixtures


def shapes(n: int) -> dict[str, np.ndarray]:
    """Losses like those of a net after warm-up, and some that a mixture does not fit."""
    rng = np.random.default_rng(0)
    clean, wrong = int(0.6 * n), n - int(0.6 * n)
    make = {
        "cross-entropy": lambda: np.concatenate([rng.exponential(0.3, clean), 3 + rng.gamma(2, 0.6, wrong)]),
        "overlapping": lambda: np.concatenate([rng.normal(1, 0.5, clean), rng.normal(2, 0.7, wrong)]),
        "one hump": lambda: rng.normal(1, 0.3, n),
        "long tail": lambda: rng.exponential(1, n),
    }
    return {name: draw().astype(np.float32) for name, draw in make.items()}


def reference(loss: np.ndarray, seed: int) -> np.ndarray:
    """scikit-learn with the paper's settings."""
    scaled = ((loss - loss.min()) / (loss.max() - loss.min()))[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ten iterations, converged or not
        mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=seed).fit(scaled)
    return mixture.predict_proba(scaled)[:, mixture.means_.argmin()]


def timed(call) -> tuple[float, object]:
    began = time.perf_counter()
    answer = call()
    return time.perf_counter() - began, answer


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000, 1_000_000, 14_000_000])
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    # The largest first and alone, so that its extra memory shows in the peak.
    rows = []
    for n in sorted(args.sizes, reverse=True):
        for name, loss in shapes(n).items():
            tensor = torch.from_numpy(loss)
            mixtures.gmm(tensor[:1000])
            before = peak_mb()
            ours, theirs = [], []
            with_reference = n <= 1_000_000
            for round_ in range(args.rounds if n <= 50_000 else 3):
                for _ in range(5 if n <= 50_000 else 1):  # one call is as short as the switch between two thread pools
                    seconds, division = timed(lambda tensor=tensor: mixtures.gmm(tensor))
                    ours.append(seconds)
                if round_ == 0:
                    extra = peak_mb() - before
                if with_reference:
                    theirs.append(timed(lambda loss=loss: reference(loss, 0))[0])
            row = {"losses": n, "shape": name, "ms": 1000 * statistics.median(ours), "extra_mb": extra}
            if with_reference:
                row |= {"sklearn_ms": 1000 * statistics.median(theirs)}
                row["ratio"] = row["sklearn_ms"] / row["ms"]
            if n <= 50_000:
                runs = np.stack([reference(loss, seed) for seed in range(6)])
                row["sklearn_spread"] = float((runs.max(0) - runs.min(0)).max())
                row["nearest_difference"] = float(min(abs(r - division.clean_prob.numpy()).max() for r in runs))
            rows.append(row)
            print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({"rows": rows, **environment()}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
