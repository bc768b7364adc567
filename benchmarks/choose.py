"""What the automatic choice gives against every fixed one: Markdown tables of the rows ``choose-*``.

python benchmarks/choose.py [--results results/recipes]
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from codivide.bench import measures, runner
from codivide.bench.recipes.choose import SETTINGS

FIXED = ("dividemix_0", "dividemix_25", "dividemix_150")
PLAIN = ("cross_entropy", "early_stopping", "cross_entropy_long", "early_stopping_long")
TITLES = {
    "sym0": "no noise",
    "worse": "CIFAR-10N worse",
    "asym40": "asymmetric 40 %",
    "sym80": "symmetric 80 %",
    "sym50": "symmetric 50 %",
}


def results(prefix: str, setting: str, row: str, folder: Path) -> list[dict[str, Any]]:
    """Every result of one row, by seed."""
    return runner.read(runner.find(f"{prefix}-{setting}/{row}")[0], folder)


def accuracies(rows: list[dict[str, Any]]) -> dict[int, float]:
    """Test accuracy at the last epoch, in percent, by seed."""
    return {int(row["seed"]): 100 * row["test_accuracy"]["last"] for row in rows}


def cell(by_seed: dict[int, float]) -> str:
    """Mean, with the standard deviation where there are several seeds."""
    values = list(by_seed.values())
    if not values:
        return "not run"
    spread = f" ± {statistics.stdev(values):.1f} ({len(values)})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}"


def against(auto: dict[int, float], others: list[dict[int, float]]) -> float | None:
    """Auto minus the best of the others, in the mean over the seeds that all of them have; None without any."""
    seeds = set(auto).intersection(*others)
    if not seeds:
        return None
    return statistics.fmean(auto[k] for k in seeds) - max(statistics.fmean(row[k] for k in seeds) for row in others)


def tables(prefix: str, folder: Path) -> str:
    """Accuracies, differences, what was estimated and chosen."""
    names = (*FIXED, *PLAIN, "auto")
    lines = [
        "| setting | " + " | ".join(f"`{name}`" for name in names) + " | auto to best fixed | auto to best plain |"
    ]
    lines.append("|---" * (len(names) + 3) + "|")
    losses, beside, seen = [], [], []
    for setting, title in TITLES.items():
        found = {name: accuracies(results(prefix, setting, name, folder)) for name in names}
        fixed = against(found["auto"], [found[name] for name in FIXED])
        plain = against(found["auto"], [found[name] for name in PLAIN])
        losses += [] if fixed is None else [fixed]
        beside += [] if plain is None else [plain]
        shown = [cell(found[name]) for name in names] + ["-" if d is None else f"{d:+.1f}" for d in (fixed, plain)]
        lines.append(f"| {title} | " + " | ".join(shown) + " |")
        seen += [(title, row) for row in results(prefix, setting, "auto", folder)]
    lines += ["", f"Settings where all fixed rows and auto have run: {len(losses)} of {len(SETTINGS)}."]
    if losses:
        lines[-1] += (
            f" Mean difference to the best fixed one {statistics.fmean(losses):+.1f} (goal: -1.0 or better), worst "
            f"{min(losses):+.1f} (goal: -2.5 or better)."
        )
    lines += [f"Where all plain rows and auto have run: {len(beside)} of {len(SETTINGS)}."]
    if beside:
        lines[-1] += f" Worst difference to the best plain one {min(beside):+.1f} (goal: -0.5 or better)."
    lines += ["", "| setting | seed | noise really | estimated | kind | chosen | on held-out labels | minutes |"]
    lines.append("|---" * 8 + "|")
    return "\n".join([*lines, *(_choice(title, row) for title, row in seen)])


def _choice(title: str, row: dict[str, Any]) -> str:
    evidence, decision = row["choice"]["evidence"], row["choice"]["decision"]
    verdict = row["choice"]["verdict"]
    real = f"{row['noise']['effective_rate']:.0%}" if "noise" in row else "0%"
    said = {"lambda_u": "lambda_u", "warmup": "warm-up", "last_epoch": "to epoch"}
    hyper = [f"{words} {decision['hyper'][name]:g}" for name, words in said.items() if name in decision["hyper"]]
    chosen = ", ".join([decision["method"], *hyper])
    held = "-"
    if verdict:
        held = f"{100 * verdict['difference']:+.1f} ± {100 * verdict['error']:.1f}: {verdict['kept']}"
    minutes = measures.seconds(row) / 60
    low, high = (f"{evidence[name]:.0%}" for name in ("low", "high"))
    estimated = f"{evidence['rate']:.0%} ({low} to {high})"
    return (
        f"| {title} | {row['seed']} | {real} | {estimated} | {evidence['kind']} | {chosen} | {held} | {minutes:.0f} |"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--results", type=Path, default=runner.RESULTS)
    folder = parser.parse_args().results
    for prefix, title in (("choose", "4,000 images"), ("choose-10k", "10,000 images")):
        print(f"### {title}\n\n{tables(prefix, folder)}\n")


if __name__ == "__main__":
    main()
