"""How far p(clean) moves with another number of threads: the same fits of digits by one thread and by two.

python benchmarks/threads.py [--out results/threads.json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from codivide.core.files import write_text
from codivide.core.provenance import environment

FITS = {
    "a network after 3 epochs": ("--method", "cross_entropy", "--epochs", "3"),
    "features": ("--method", "features"),
}


def judged(words: tuple[str, ...], threads: int) -> pd.DataFrame:
    """The label table of a fit in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "codivide", "fit", "digits", "--noise", "symmetric:0.3", *words]
        asked = os.environ | {"OMP_NUM_THREADS": str(threads)}
        subprocess.run([*command, "--out", str(out)], check=True, capture_output=True, env=asked)
        return pd.read_parquet(out / "labels.parquet")


def apart(words: tuple[str, ...]) -> dict[str, Any]:
    """What one thread and two say of the same labels."""
    one, two = (judged(words, threads) for threads in (1, 2))
    moved = (one["clean_prob"] - two["clean_prob"]).abs()
    return {
        "labels": len(one),
        "largest": float(moved.max()),
        "mean": float(moved.mean()),
        "other_suggestions": float((one["suggested"] != two["suggested"]).mean()),
        "other_flags": float((one["is_label_issue"] != two["is_label_issue"]).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/threads.json"))
    given = parser.parse_args()
    found = {name: apart(words) for name, words in FITS.items()}
    write_text(given.out, json.dumps({"fits": found, **environment()}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
