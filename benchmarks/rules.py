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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from effort import SETS, data_of

from codivide.audit.neighbours import model_points
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.noise import clean_prob, latent, mixtures
from codivide.noise import rules as evidence
from codivide.noise import scores as detection
from codivide.runs import label_table
from codivide.runs.folder import MODEL, PREDICTIONS
from codivide.runs.model import load


def rules(run: Path, x: Any, given: np.ndarray, classes: int) -> dict[str, Callable[[], np.ndarray]]:
    """Name -> p(clean) ``[N]``."""
    with np.load(run / PREDICTIONS) as held:
        probs = held["probs"].astype(np.float64) + 1e-12
        votes, mean_loss = held["predictions"], torch.from_numpy(held["mean_loss"]).double()
    probs /= probs.sum(1, keepdims=True)
    points, logits = model_points(load(run / MODEL), x)
    labels = torch.from_numpy(given)
    last = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="none")
    wrong = torch.from_numpy((votes != given).sum(0)).double()
    joint = latent.confident_joint(probs, given)
    rates = 1 - np.diag(joint) / np.maximum(joint.sum(0), 1e-12)

    def matched(score: np.ndarray) -> np.ndarray:
        return clean_prob.match_rates(score, given, rates)

    return {
        "last loss": lambda: mixtures.gmm(last).clean_prob.numpy(),
        "averaged loss": lambda: mixtures.gmm(mean_loss).clean_prob.numpy(),
        "averaged loss, class-wise": lambda: mixtures.class_wise(mean_loss, labels, classes).clean_prob.numpy(),
        "wrong events": lambda: mixtures.wrong_events(wrong, len(votes)).clean_prob.numpy(),
        "confident joint": lambda: matched(evidence.self_confidence(probs, given)),
        "latent noise": lambda: latent.latent_noise([probs], given).clean_prob,
        "neighbours": lambda: matched(evidence.neighbour_agreement(points.numpy(), given, classes)),
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
    for name, rule in rules(args.run, loaded.x, loaded.y, len(loaded.classes)).items():
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
