"""Other people's probabilities: every rule, the final rank and p(clean) beside the published scores.

python benchmarks/pred_probs.py FOLDER [--seeds 0 1 2] [--out results/pred_probs.json]

FOLDER holds ``NAME.npz`` files with ``probs [N, C]``, ``given [N]`` and ``wrong [N]`` (which given labels are wrong; it
only scores). The best published score of a file is that of self-confidence, normalised margin, adjusted margin or
entropy-weighted confidence, whichever is largest. Beside the files stand probabilities of simulated samples
(``simulated_probs.py``, of ``--seeds``), so that no rule is chosen by one file. Simulated rows of
other seeds, and what ``before`` holds, stay in the file that is written. F1 is of what is flagged: by ``from_probs``,
wherever the probabilities prefer another class ("argmax"), and by cleanlab's ``find_label_issues``, which it needs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import simulated_probs
from cleanlab.filter import find_label_issues
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from codivide import audit, score_labels
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.noise import scores
from codivide.noise.rules import RULES

PUBLISHED = {
    "cifar10s_resnet18": 0.9969,
    "cifar10n_aggregate_swin": 0.9960,
    "cifar10n_worst_resnet18": 0.9668,
    "roman_resnet18": 0.8130,
    "label_errors_20news": 0.9881,
    "label_errors_mnist": 0.9977,
}  # the best AUROC of each file
AUROC, PRECISION, RATE = 0.0005, 0.005, 0.03  # by which the rank may be below, and the rate off


def measured(path: Path) -> dict[str, Any]:
    """All scores of one file."""
    with np.load(path) as held:
        probs, given, wrong = held["probs"].astype(np.float64), held["given"].astype(np.int64), held["wrong"] > 0
    truth = np.where(wrong, (given + 1) % probs.shape[1], given)
    began = time.process_time()
    found = audit.from_probs(given, probs)
    seconds = time.process_time() - began
    judged = {"p(given)": probs[np.arange(len(given)), given]}
    judged |= {
        name: score_labels(name, given, pred_probs=probs) for name, rule in RULES.items() if "probs" in rule.needs
    }
    judged["rank"] = found.labels["rank"].to_numpy(dtype=np.float64)
    judged["clean_prob"] = found.clean_prob
    detected = scores.detection(given, truth, found.clean_prob)
    flagged = {
        "codivide": found.labels["is_label_issue"].to_numpy(dtype=bool),
        "argmax": probs.argmax(1) != given,
        "cleanlab": find_label_issues(given, probs),
    }
    return {
        "samples": len(given),
        "classes": probs.shape[1],
        "seconds": seconds,
        "noise_rate": float(wrong.mean()),
        "estimated_rate": found.facts["noise"]["rate"],
        "interval": [found.facts["noise"]["low"], found.facts["noise"]["high"]],
        "trust": found.facts["noise"]["trust"],
        "mean_doubt": float(1 - found.clean_prob.mean()),
        "calibration_error": detected["calibration_error"],
        "published_auroc": PUBLISHED.get(path.stem),
        "f1": {who: float(f1_score(wrong, mask)) for who, mask in flagged.items()},
        "rules": {
            name: {
                "auroc": float(roc_auc_score(wrong, -score)),
                "average_precision": float(average_precision_score(wrong, -score)),
            }
            for name, score in judged.items()
        },
    }


def goals(row: dict[str, Any]) -> dict[str, bool]:
    """Which goals a file meets."""
    rank, plain = row["rules"]["rank"], row["rules"]["p(given)"]
    least = max(plain["auroc"], row["published_auroc"] or 0.0) - AUROC
    return {
        "auroc": rank["auroc"] >= least,
        "average_precision": rank["average_precision"] >= plain["average_precision"] - PRECISION,
        "rate": abs(row["estimated_rate"] - row["noise_rate"]) <= RATE,
        "interval": row["interval"][0] <= row["noise_rate"] <= row["interval"][1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/pred_probs.json"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    args = parser.parse_args()
    held = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    rows = {}
    for path in sorted(args.folder.glob("*.npz")):
        rows[path.stem] = row = measured(path)
        row["goals"] = goals(row)
        print(f"{path.stem}: {row['samples']} x {row['classes']}, {row['seconds']:.1f} s, goals {row['goals']}")
        print("  " + ", ".join(f"{name} {row[name]:.3f}" for name in ("noise_rate", "estimated_rate", "mean_doubt")))
        for name, score in row["rules"].items():
            print(f"  {name:18s} AUROC {score['auroc']:.4f} AP {score['average_precision']:.4f}", flush=True)
    others = [row for row in held.get("simulated", {}).get("worlds", ()) if row["seed"] not in args.seeds]
    worlds = others + [row for seed in args.seeds for row in simulated_probs.simulated(seed)]
    summary = simulated_probs.summary(worlds)
    for kind, found in summary.items():
        print(kind, ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    record = {"files": rows, "simulated": {"summary": summary, "worlds": worlds}, "before": held.get("before")}
    record |= environment()
    write_text(args.out, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
