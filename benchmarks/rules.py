"""The rules that tell clean labels from wrong ones, side by side on the same run: detection and calibration.

    python benchmarks/rules.py --set worse --run FOLDER [--out results/rules]

FOLDER holds a run of ``effort.py --runs`` on that set. All rules judge the same network: by its losses at the end, by
what it recorded of its losses and predictions in every epoch, or by the features that it learned. The table's p(clean)
is the last row. True labels only score.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from effort import SETS, data_of

from codivide.audit.neighbours import model_points
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.noise import latent
from codivide.noise import scores as detection
from codivide.noise.clean_prob import match_rates
from codivide.noise.rules import Judgeable, score
from codivide.runs import label_table
from codivide.runs.folder import MODEL, PREDICTIONS
from codivide.runs.model import load


def judged(run: Path, x: Any, given: np.ndarray, classes: int) -> dict[str, Callable[[], np.ndarray]]:
    """Name of a row -> p(clean) ``[N]``, by the rules of ``RULES``."""
    with np.load(run / PREDICTIONS) as held:
        probs, votes = held["probs"].astype(np.float64), held["predictions"].astype(np.int64)
        mean_loss = held["mean_loss"].astype(np.float64)
    points, logits = model_points(load(run / MODEL), x)
    last = torch.nn.functional.cross_entropy(logits.double(), torch.from_numpy(given), reduction="none").numpy()
    known = Judgeable(given, classes, probs, mean_loss[None], votes, points.numpy())
    joint = latent.confident_joint(probs, given)
    rates = 1 - np.diag(joint) / np.maximum(joint.sum(0), 1e-12)
    return {
        "last loss": lambda: score("gmm", replace(known, losses=last[None])),
        "averaged loss": lambda: score("gmm", known),
        "averaged loss, class-wise": lambda: score("class_wise", known),
        "wrong events": lambda: score("wrong_events", known),
        "confident joint": lambda: score("confident_joint", known),
        "latent noise": lambda: score("latent_noise", known),
        "neighbours": lambda: match_rates(score("neighbour_agreement", known), given, rates),
        "combination (default)": lambda: label_table.read(run)["clean_prob"].to_numpy(dtype=np.float64),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=[name for name in SETS if name != "reviewed"], required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="of the run")
    parser.add_argument("--out", type=Path, default=Path("results/rules"))
    args = parser.parse_args()
    loaded, _ = data_of(args.set, args.seed)
    assert loaded.truth is not None
    found = {}
    for name, rule in judged(args.run, loaded.x, loaded.y, len(loaded.classes)).items():
        found[name] = detection.detection(loaded.y, loaded.truth, rule())
        scores = " ".join(f"{key} {found[name][key]:.3f}" for key in ("auroc", "average_precision", "f1"))
        print(f"{args.set:10s} {name:28s} {scores} ECE {found[name]['calibration_error']:.3f}", flush=True)
    config = json.loads((args.run / "config.json").read_text(encoding="utf-8"))
    summary = json.loads((args.run / "summary.json").read_text(encoding="utf-8"))
    run = {"method": config["method"], "net": config["net"], "epochs": config["plan"]["epochs"], "seed": args.seed}
    record = {"set": args.set, "samples": len(loaded.y), "run": run | {"commit": summary.get("commit")}, "rules": found}
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{args.set}_{config['net']}_{config['method']}_s{args.seed}.json"
    write_text(path, json.dumps(record | environment(), indent=2) + "\n")


if __name__ == "__main__":
    main()
