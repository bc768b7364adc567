"""Cross-entropy and mixup between the training samples of digits: misses and slope, over a few seeds.

To draw: ``OMP_NUM_THREADS=1 python examples/between_samples.py --picture docs/images/between.png``
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from codivide import METHODS
from codivide.data.sources import load
from codivide.fit.execute import execute
from codivide.fit.job import Job, default_plan
from codivide.runs import between


def main() -> None:
    """Train both methods on digits with every seed, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    args = parser.parse_args()
    loaded = load("digits")
    labels = torch.from_numpy(loaded.y)
    found: dict[str, list[between.Diagnosis]] = {}
    for name, method in (("cross-entropy", METHODS["cross_entropy"]()), ("mixup", METHODS["mixup"](alpha=1.0))):
        for seed in range(args.seeds):
            plan = default_plan(len(labels), epochs=args.epochs, seed=seed, weight_decay=1e-4)
            model = execute(Job(method, plan, record_learning=False), loaded).model
            found.setdefault(name, []).append(between.diagnose(model, loaded.x, labels))
        middle = [np.mean([getattr(one, key).max() for one in found[name]]) for key in ("miss_rate", "gradient_norm")]
        print(f"{name}: at most {middle[0]:.3f} misses and a slope of {middle[1]:.3f}, means over {args.seeds} seeds")
    between.plot(found).savefig(args.picture, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
