"""The picture of README: handwritten digits whose labels are wrong, as codivide finds them, and what it is worth.

``python docs/picture.py`` spoils 40 % of the labels of scikit-learn's digits, runs the method ``features`` (seconds)
and draws the 18 labels that it doubts most. The bars are means of ``results/default.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from codivide import NoisyLabelClassifier
from codivide.runs.plot import BLUE, GREY, STYLE, VERMILLION

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images" / "found.png"
ROWS, COLUMNS = 3, 6


def bars(axes: Axes, title: str, values: dict[str, float]) -> None:
    """One bar each, in percent."""
    colours = [BLUE if name.startswith(("codivide", "after")) else GREY for name in values]
    axes.barh(list(values)[::-1], [100 * value for value in values.values()][::-1], color=colours[::-1], height=0.6)
    for place, value in enumerate(list(values.values())[::-1]):
        axes.text(100 * value + 1, place, f"{100 * value:.0f} %", va="center", fontsize=8)
    axes.set_title(title, loc="left")
    axes.set_xlim(0, 105)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(length=0)


def main() -> None:
    """Find, and draw."""
    digits = load_digits()
    generator = np.random.default_rng(0)
    given = digits.target.copy()
    wrong = generator.random(len(given)) < 0.4
    given[wrong] = (given[wrong] + generator.integers(1, 10, wrong.sum())) % 10
    clf = NoisyLabelClassifier("features", random_state=0).fit(digits.data, given)
    first = clf.labels_.sort_values("rank").index[: ROWS * COLUMNS]
    right = int(wrong[first].sum())

    found = json.loads((ROOT / "results" / "default.json").read_text(encoding="utf-8"))["cases"]
    seeds = [case for name, case in found.items() if name.startswith("photos/")]

    def mean(way: str, name: str) -> float:
        return fmean(case[way][name] for case in seeds)

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 3.3), layout="constrained")
        left, side = figure.subfigures(1, 2, width_ratios=(1.45, 1))
        left.suptitle(
            f"The {len(first)} labels it doubts most among 1,797 digits,\n{right} of which are wrong", x=0.02, ha="left"
        )
        for axes, row in zip(left.subplots(ROWS, COLUMNS).flat, first, strict=True):
            axes.imshow(digits.images[row], cmap="gray_r")
            axes.set_axis_off()
            colour = VERMILLION if wrong[row] else GREY
            axes.set_title(f"{given[row]}$\\to${clf.suggested_labels_[row]}", fontsize=9, color=colour, pad=2)
        side.suptitle("5,000 photos, 40 % in the wrong folder", x=0.02, ha="left")
        above, below = side.subplots(2, 1)
        bars(
            above,
            "labels that are right",
            {
                "as given": 1 - mean("default", "noise"),
                "after accepting\nits suggestions": mean("default", "right_after_accepting"),
            },
        )
        bars(
            below,
            "new photos classified right",
            {
                "plain training": mean("logistic_regression", "test_accuracy"),
                "cleanlab": mean("cleanlab", "test_accuracy"),
                "codivide": mean("default", "test_accuracy"),
            },
        )
        figure.savefig(OUT, dpi=110, metadata={"Software": "codivide"})
    print(f"written: {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
