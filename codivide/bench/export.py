"""The results of recipes as a data frame, and as a table for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from codivide.bench.measures import STATISTICS, seconds
from codivide.bench.recipes import Recipe
from codivide.bench.runner import RESULTS, read

_OF_TEST = {"last": "last", "last_10_mean": "mean_of_last_10", "best": "best", "best_epoch": "best_epoch"}


def results_frame(recipes: Sequence[Recipe], results: Path | str = RESULTS) -> pd.DataFrame:
    """One row for each result, which is a recipe with a seed; the mean over seeds is a ``groupby`` away.

    Accuracies are in percent, as in tables. Published numbers have columns of their own, and stand in every row.

    Args:
        recipes: whose results are asked for, such as ``bench.recipes.find("first/*")``.
        results: folder of the result files.

    Returns:
        Columns recipe, seed, method, data, noise, what the recipes set otherwise ("lambda_u", "plan.lr"), then what
        was measured; missing where a result does not have it.

    Example:
        >>> from codivide.bench.recipes import find
        >>> frame = results_frame(find("first/gce"), "nowhere")
        >>> frame.empty, list(frame.columns)[:3]
        (True, ['recipe', 'seed', 'method'])
    """
    rows = [_row(recipe, result) for recipe in recipes for result in read(recipe, Path(results))]
    if not rows:
        return pd.DataFrame(columns=list(_ABOUT))
    frame = pd.DataFrame(rows).round(4)
    set_here = dict.fromkeys(name for recipe in recipes for name in (*recipe.hyper, *_plan(recipe)))
    first = [*_ABOUT, *(name for name in set_here if name in frame)]
    return frame[[*first, *frame.columns.difference(first, sort=False)]]


def curves_frame(recipes: Sequence[Recipe], results: Path | str = RESULTS) -> pd.DataFrame:
    """One row for each epoch of each result: recipe, seed, epoch, loss, test_accuracy (0 to 1) and what else is kept.

    Args:
        recipes: as for ``results_frame``.
        results: folder of the result files.

    Example:
        >>> from codivide.bench.recipes import find
        >>> curves_frame(find("first/gce"), "nowhere").empty
        True
    """
    rows = [
        {"recipe": recipe.name, "seed": result["seed"], **epoch}
        for recipe in recipes
        for result in read(recipe, Path(results))
        for epoch in result["curve"]
    ]
    return pd.DataFrame(rows or None, columns=None if rows else ["recipe", "seed", "epoch"])


_ABOUT = ("recipe", "seed", "method", "data", "noise")


def _plan(recipe: Recipe) -> dict[str, Any]:
    return {f"plan.{name}": value for name, value in recipe.plan.items()}


def _row(recipe: Recipe, result: dict[str, Any]) -> dict[str, Any]:
    about = [recipe.name, result["seed"], recipe.method, recipe.data, recipe.noise]
    tested = result.get("test_accuracy", {})
    found: dict[str, Any] = {**dict(zip(_ABOUT, about, strict=True)), **recipe.hyper}
    found |= _plan(recipe)
    found |= {
        name: tested[key] if key == "best_epoch" else 100 * tested[key]
        for key, name in _OF_TEST.items()
        if tested.get(key) is not None
    }
    for name, key in (("balanced", "test_balanced_accuracy"), ("macro_f1", "test_macro_f1")):
        found |= {name: 100 * result[key]} if key in result else {}
    found |= {"recovery": 100 * result["suggestion_accuracy"]} if "suggestion_accuracy" in result else {}
    found |= {"auroc": result["detection"]["auroc"]} if "auroc" in result.get("detection", {}) else {}
    found |= {"noise_rate": 100 * result["noise"]["effective_rate"]} if "noise" in result else {}
    found["minutes"] = seconds(result) / 60
    for name, value in recipe.published.items():
        found |= {} if name == "spread" else {f"published_{name}": value, f"ours_{name}": STATISTICS[name].of(result)}
    return found


def latex(recipes: Sequence[Recipe], results: Path | str = RESULTS) -> str:
    r"""The table of ``runner.table`` for LaTeX (package booktabs): mean and standard deviation over seeds.

    Args:
        recipes: its lines.
        results: folder of the result files.

    Example:
        >>> from codivide.bench.recipes import find
        >>> print(latex(find("first/gce"), "nowhere").splitlines()[1])
        \toprule
    """
    columns = {"last": ("last", 1), "best": ("best", 1), "recovery": ("recovery", 1), "auroc": ("AUROC", 3)}
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(columns) + 1)}}}", r"\toprule"]
    lines += [" & ".join(["", "seeds", *(words for words, _ in columns.values())]) + r" \\", r"\midrule"]
    for recipe in recipes:
        frame = results_frame([recipe], results)
        cells = [
            _cell(frame[name].dropna(), digits) if name in frame else "--" for name, (_, digits) in columns.items()
        ]
        name = recipe.name.partition("/")[2].replace("_", r"\_")
        lines.append(" & ".join([name, str(len(frame)), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _cell(values: pd.Series[float], digits: int) -> str:
    if values.empty:
        return "--"
    spread = rf" \pm {values.std():.{digits}f}" if len(values) > 1 else ""
    return f"${values.mean():.{digits}f}{spread}$"
