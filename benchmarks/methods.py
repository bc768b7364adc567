"""All methods under one protocol: run what has no result yet, then say who keeps the promise.

The promise of a method that claims robustness: at symmetric 50 % its last epoch is at least 5 points above the last
epoch of plain cross-entropy, which itself must have lost at least 10 points since its best (else the protocol is too
short to show anything). Several of these may run at a time; they share the work.

python benchmarks/methods.py [--pattern 'first/*'] [--seeds 0] [--results results/recipes] [--runs runs] [--table-only]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from codivide.bench import runner

#: Rows that regularise but do not claim to resist wrong labels.
NO_CLAIM = {
    *("cross_entropy", "label_smoothing", "dropout", "input_noise", "mixup_same_class", "backward_correction"),
    "best_by_noisy_validation",  # 400 noisy labels tell two epochs apart by 4 points at best
}
FALL, MARGIN = 10.0, 5.0


def verdict(pattern: str, results: Path) -> str:
    """A Markdown table: last epoch against cross-entropy's, and whether that is what was promised."""
    recipes = runner.find(pattern)
    scores = {}
    for recipe in recipes:
        for row in runner.read(recipe, results):
            scores.setdefault(recipe.name.partition("/")[2], []).append(row["test_accuracy"])
    mean = {
        name: {key: 100 * sum(row[key] for row in rows) / len(rows) for key in ("last", "best")}
        for name, rows in scores.items()
    }
    if "cross_entropy" not in mean:
        return "cross-entropy has no result yet, so there is nothing to compare with"
    base = mean["cross_entropy"]
    fall = base["best"] - base["last"]
    lines = [
        f"cross-entropy falls by {fall:.1f} points from its best epoch to its last "
        f"({'as much as' if fall >= FALL else 'LESS than'} the {FALL:.0f} that the protocol needs)",
        "",
        "| row | last | best | above cross-entropy's last | promise |",
        "|---|---|---|---|---|",
    ]
    for name, score in sorted(mean.items(), key=lambda item: -item[1]["last"]):
        gain = score["last"] - base["last"]
        promise = "none" if name in NO_CLAIM else "kept" if gain >= MARGIN else "NOT KEPT"
        lines.append(f"| {name} | {score['last']:.1f} | {score['best']:.1f} | {gain:+.1f} | {promise} |")
    waiting = [recipe.name for recipe in recipes if recipe.name.partition("/")[2] not in mean]
    return "\n".join(lines) + (f"\n\nnot run: {', '.join(waiting)}" if waiting else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pattern", default="first/*")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--results", type=Path, default=runner.RESULTS)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--table-only", action="store_true")
    options = parser.parse_args()
    if not options.table_only:
        runner.work(runner.find(options.pattern), options.seeds, options.results, options.runs)
    print(verdict(options.pattern, options.results))


if __name__ == "__main__":
    main()
