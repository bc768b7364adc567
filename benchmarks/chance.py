"""How often labels that were dealt out at random seem to be predicted: what the limits of ``noise.chance`` let through.

    python benchmarks/chance.py [--seeds 12] [--out results/chance.json]

The development tables of ``tables.py`` that have two or few classes; their labels are shuffled among the rows, so that
nothing can be learned. By how many standard errors are held-out labels predicted better than by chance? About four
minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import torch
from tables import Problem

from codivide.core.files import write_text
from codivide.core.provenance import commit, environment
from codivide.methods.features.learn import learn
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table

SETS = ("german", "saheart", "mammographic", "australian", "twonorm", "phoneme", "banana")


def errors(name: str, seed: int) -> float:
    """Standard errors above chance of one table with shuffled labels."""
    problem = Problem(name, "uniform", 0.2, seed)
    shuffled = np.random.default_rng(100 + seed).permutation(problem.given)
    table = Table(problem.x, torch.from_numpy(shuffled), tuple(range(problem.classes)), mixed=True)
    return float(learn(table, Features(), seed).report["errors_above_chance"])


def main() -> None:
    """Measure all tables and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("results/chance.json"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # that nothing can be learned
    rows = [{"set": name, "seed": seed, "errors": errors(name, seed)} for seed in range(asked.seeds) for name in SETS]
    write_text(asked.out, json.dumps({"rows": rows, "commit": commit()} | environment(), indent=1) + "\n")
    print(f"{sum(row['errors'] > 2 for row in rows)} of {len(rows)} beyond two standard errors")


if __name__ == "__main__":
    main()
