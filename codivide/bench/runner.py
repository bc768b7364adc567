"""Recipe and seed in, a small JSON result out; results in, tables out. Nothing in a table is ever typed.

Work is a queue of (recipe, seed) that any number of processes may share: each takes what nobody holds, goes on from
a checkpoint where there is one, and leaves one result file (``store``). A result that is there is not computed again.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from codivide.bench import store
from codivide.bench.measures import STATISTICS, published_text, seconds
from codivide.bench.recipes import RECIPES, Recipe
from codivide.bench.recipes import find as find
from codivide.bench.recipes.own import varied
from codivide.bench.store import Result
from codivide.core import cluster
from codivide.core.errors import InputError, in_folder_of_runs
from codivide.core.files import PART, part_of, write_text
from codivide.core.provenance import environment
from codivide.core.types import AUTO
from codivide.data.experiment import expand, hold_out, keep_labels, keep_some_labels, part, spoil
from codivide.data.loaded import Loaded
from codivide.data.record import DataRecord
from codivide.data.sources import load
from codivide.fit.choose_run import execute
from codivide.fit.job import Job, Progress, build_method, default_plan
from codivide.fit.own_method import code_of, method_class
from codivide.methods.features.options import unset
from codivide.runs.claim import claimed
from codivide.training.own_net import as_net
from codivide.training.own_net import code_of as code_of_net

RESULTS = Path("results") / "recipes"
_CURVE = (
    "epoch",
    "seconds",
    "loss",
    "test_accuracy",
    "test_balanced_accuracy",
    "test_macro_f1",
    "test_top5_accuracy",
    "recovery_accuracy",
    "updated_label_accuracy",
    "clean_correct",
    "wrong_correct",
    "wrong_memorised",
    "given_agreement",
    "loss_auroc",
)

Begin = Callable[[Recipe, int, int], Progress]


def result_path(name: str, seed: int, results: Path) -> Path:
    """Where the result of a recipe and seed is written."""
    return results / f"{result_name(name, seed)}.json"


def result_name(name: str, seed: int) -> str:
    """What the result of a recipe and seed is called."""
    return f"{name}_s{seed}"


def data_of(recipe: Recipe, seed: int) -> Loaded:
    """The recipe's data: its part of the samples, its noise, its number of labels, its copies. The seed draws all."""
    loaded = load(recipe.data, options=recipe.reading)
    noisy = spoil(part(loaded, recipe.limit, seed), recipe.noise or None, seed)
    labelled = keep_some_labels(keep_labels(noisy, recipe.labels_per_class, seed), recipe.labels, seed)
    return expand(labelled, recipe.expand, seed)


def run(recipe: Recipe, seed: int, folder: Path, loaded: Loaded | None = None, begin: Begin | None = None) -> Result:
    """Train one recipe with one seed, or go on with it.

    Args:
        recipe: what to train.
        seed: of the part of the data, of the noise and of the training.
        folder: of the run; it is gone on from where it stands, and a finished one is only read.
        loaded: data instead of the recipe's own (see ``tune``).
        begin: called with recipe, seed and epochs; returns what is called after every epoch.

    Returns:
        The summary of the run with recipe, seed, published numbers and the curve over epochs.
    """
    with claimed(folder, resume=True):
        loaded = data_of(recipe, seed) if loaded is None else loaded
        method = build_method(recipe.method, **recipe.hyper)
        plan = default_plan(len(loaded.y), method, **{**recipe.plan, "seed": seed})
        origin = DataRecord.of(
            recipe.data,
            recipe.reading,
            noise=recipe.noise or None,
            limit=recipe.limit,
            labels_per_class=recipe.labels_per_class,
            labels=recipe.labels,
            expand=recipe.expand,
        )
        named = {**recipe.plan, "net": recipe.net, "dropout": recipe.dropout, "augment": recipe.augment}
        free = unset({**named, "evaluate_every": recipe.evaluate_every})
        net = as_net(recipe.net)
        job = Job(method, plan, net, recipe.dropout, origin, evaluate_every=recipe.evaluate_every)
        shown = None if begin is None else lambda name, epochs: begin(recipe, seed, epochs)
        outcome = execute(job, loaded, folder, free=free, resume=True, begin=shown)
    curve = [{name: row[name] for name in _CURVE if name in row} for row in outcome.history]
    return {
        "recipe": asdict(recipe),
        "seed": seed,
        **code_of(type(method)),
        **code_of_net(net),
        **outcome.summary,
        "curve": curve,
    }


def work(
    recipes: Sequence[Recipe], seeds: Iterable[int], results: Path, runs: Path, begin: Begin | None = None
) -> list[Path]:
    """Work through recipes and seeds, seed by seed; what has a result, or is held by another process, is left.

    A row without a method of ours is passed over. The work is spread over a cluster where one is connected.

    Returns:
        The result files written, in order.

    Raises:
        InputError: one recipe or more could not be run, and all others were; or no row has a method of ours.
    """
    ours = [recipe for recipe in recipes if recipe.method]
    if recipes and not ours:
        raise InputError(f"{recipes[0].name}: codivide does not have this method; the row is listed for its number")
    away = cluster.is_there()  # where nobody is shown how far a run is, and folders are what all machines share
    task = partial(
        _work_on,
        results=results.absolute() if away else results,
        runs=runs.absolute() if away else runs,
        begin=None if away else begin,
    )
    done = list(cluster.spread(task, ((recipe, seed) for seed, recipe in product(seeds, ours))))
    if failed := [error for _, error in done if error]:
        raise InputError("\n".join(failed))
    return [path for path, _ in done if path is not None]


def _work_on(
    one: tuple[Recipe, int], *, results: Path, runs: Path, begin: Begin | None
) -> tuple[Path | None, str | None]:
    """The result file of a recipe and seed, if it was written here, and what was wrong, if anything was."""
    recipe, seed = one
    name = result_name(recipe.name, seed)
    target, folder = result_path(recipe.name, seed, results), runs / name
    if store.holds(results, name):
        return None, None
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{folder}.lock", blocking=False), in_folder_of_runs():
            if store.holds(results, name):  # another process has just finished it
                return None, None
            result = run(recipe, seed, folder, begin=begin)
            target.parent.mkdir(parents=True, exist_ok=True)
            for left in target.parent.glob(f"*{PART}"):  # of one that was killed; nobody else writes this result
                if part_of(left) == target.stem:
                    left.unlink(missing_ok=True)
            write_text(target, json.dumps(result, indent=1, default=str) + "\n")
            return target, None
    except Timeout:  # held by another process
        return None, None
    except InputError as error:
        return None, f"{recipe.name}, seed {seed}: {error}"


def tune(
    recipe: Recipe,
    grid: Mapping[str, Sequence[Any]],
    seed: int,
    *,
    results: Path,
    runs: Path,
    share: float = 0.1,
    begin: Begin | None = None,
) -> Path:
    """Try every combination of a grid, judged by agreement with held-out GIVEN labels at the last epoch.

    No true label and no test label is looked at. Note what this can resolve: with n held-out labels an accuracy a has
    a standard error of sqrt(a (1 - a) / n), which the result states.

    Args:
        recipe: what to tune; its own hyper-parameters are kept where the grid does not name them.
        grid: values by hyper-parameter of the method, or by field of the plan as "plan.lr".
        seed: of everything random.
        results: folder; the file is ``tune/NAME_sSEED.json`` in it.
        runs: folder for the runs.
        share: of the samples that is held out.
        begin: as for ``run``.

    Returns:
        The file with every combination and the chosen one.
    """
    loaded = hold_out(data_of(recipe, seed), share, seed)
    assert loaded.test is not None
    tried = []
    for values in product(*grid.values()):
        setting = dict(zip(grid, values, strict=True))
        row = _changed(recipe, setting)
        with in_folder_of_runs():
            result = run(row, seed, runs / f"{row.name}_s{seed}", loaded, begin)
        tried.append({"setting": setting, "agreement": result["test_accuracy"], "seconds": result["seconds"]})
    best = max(tried, key=lambda entry: float(entry["agreement"]["last"]))
    last = float(best["agreement"]["last"])
    record = {
        "recipe": asdict(recipe),
        "seed": seed,
        "held_out": len(loaded.test.y),
        "standard_error": (last * (1 - last) / len(loaded.test.y)) ** 0.5,
        "chosen": best["setting"],
        "tried": tried,
        **{name: result[name] for name in environment()},
    }
    target = result_path(f"tune/{recipe.name}", seed, results)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, json.dumps(record, indent=1, default=str) + "\n")
    return target


def _changed(recipe: Recipe, setting: Mapping[str, Any]) -> Recipe:
    """The recipe with these settings; named after them."""
    label = ",".join(f"{name}={value}" for name, value in setting.items()) or "default"
    return replace(varied(recipe, setting), name=f"tune/{recipe.name}/{label}")


def read(recipe: Recipe, results: Path) -> list[Result]:
    """Every result of a recipe, by seed."""
    own = re.compile(rf"{re.escape(recipe.name)}_s\d+")  # another row's name may go on with "_s"
    found = store.read(results, f"{recipe.name}_s*")
    return sorted((row for name, row in found.items() if own.fullmatch(name)), key=lambda row: int(row["seed"]))


def table(recipes: Sequence[Recipe], results: Path = RESULTS) -> str:
    """A Markdown table, one line a recipe: means over seeds with standard deviations; unfinished ones say so.

    Test accuracies in percent; "best" is the best evaluation, chosen with the test labels. Balanced accuracy and macro
    F1 stand behind them where a result has them (older ones do not). The last column sets every published number beside
    the same statistic of our runs. Minutes are those of all stages.
    """
    found = [(recipe, read(recipe, results)) for recipe in recipes]
    fair = any(name in row for _, rows in found for row in rows for name, _ in _FAIR)
    names = ["recipe", "seeds", "last", "best", *([words for _, words in _FAIR] if fair else [])]
    names += ["recovery", "detection AUROC", "noise %", "minutes", "published (ours)"]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    lines += [_line(recipe, rows, fair=fair) for recipe, rows in found]
    return "\n".join(lines)


_FAIR = (("test_balanced_accuracy", "balanced"), ("test_macro_f1", "macro F1"))  # at the last epoch, all classes alike


def _line(recipe: Recipe, rows: Sequence[Result], *, fair: bool) -> str:
    """The line of one recipe in a table."""
    oracle = f" (oracle: {', '.join(recipe.oracle)})" if recipe.oracle else ""
    name = f"`{recipe.name.partition('/')[2]}`{oracle}"
    if not rows:
        why = "not run" if recipe.method else "no method"
        empty = " |" * (6 + len(_FAIR) * fair)
        return f"| {name} | {why} |{empty} {published_text(recipe.published)} |"
    if any(changed(recipe, row) for row in rows):
        name += " (other settings than now)"
    cells = [str(len(rows)), *_measured(rows, fair=fair), _compared(recipe, rows)]
    return f"| {name} | {' | '.join(cells)} |"


def changed(recipe: Recipe, row: Result) -> list[str]:
    """In what a stored result differs from its recipe as it is now: data, network, plan, hyper-parameters by name."""
    was = row["recipe"]
    now = json.loads(json.dumps(asdict(recipe), default=str))
    of_the_method = {"name", "hyper", "evaluate_every", "published", "source", "oracle", "note"}
    found = [name for name in now if name in was and name not in of_the_method and was[name] != now[name]]
    found += [name for name, code in code_of_net(as_net(recipe.net)).items() if row.get(name) != code]
    if recipe.method == "auto" or recipe.method != was["method"]:  # what was chosen is no setting of the recipe
        return found
    code = code_of(method_class(recipe.method))
    found += [name for name in code if row.get(name) != code[name]]
    ran = row["hyper_parameters"]
    asked = json.loads(json.dumps(asdict(build_method(recipe.method, **recipe.hyper)), default=str))
    known = [name for name in ran if name in asked and ran[name] is not None]  # None: what the run made of it
    return found + [name for name in known if asked[name] not in (AUTO, ran[name])]


def _compared(recipe: Recipe, rows: Sequence[Result]) -> str:
    """Every published number, and the same statistic over the seeds; "-" where the runs do not give it."""
    cells = []
    for name, value in recipe.published.items():
        if name == "spread":
            continue
        statistic = STATISTICS[name]
        found = [number for row in rows if (number := statistic.of(row)) is not None]
        spread = f" ± {recipe.published['spread']:g}" if "spread" in recipe.published else ""
        cells.append(f"{statistic.words} {value:g}{spread} ({_spread(found, statistic.digits)})")
    return ", ".join(cells) or "-"


def _measured(rows: Sequence[Result], *, fair: bool) -> list[str]:
    """The cells of what was measured, over the seeds."""
    tested = [row["test_accuracy"] for row in rows if "test_accuracy" in row]
    return [
        _spread([100 * accuracy["last"] for accuracy in tested]),
        _spread([100 * accuracy["best"] for accuracy in tested]),
        *(_spread([100 * row[name] for row in rows if name in row]) for name, _ in _FAIR * fair),
        _spread([100 * row["suggestion_accuracy"] for row in rows if "suggestion_accuracy" in row]),
        _spread([row["detection"]["auroc"] for row in rows if "auroc" in row.get("detection", {})], 3),
        _spread([100 * row["noise"]["effective_rate"] for row in rows if "noise" in row]),
        _spread([seconds(row) / 60 for row in rows]),
    ]


def _spread(values: Sequence[float], digits: int = 1) -> str:
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def method_page(method: str, results: Path = RESULTS) -> str:
    """Every result of a method and, from the same groups, cross-entropy's, as Markdown; for its page."""
    groups: dict[str, list[Recipe]] = {}
    for recipe in RECIPES.values():
        groups.setdefault(recipe.group, []).append(recipe)
    parts = []
    for group, recipes in groups.items():
        own = [recipe for recipe in recipes if recipe.method == method]
        if not any(read(recipe, results) for recipe in own):
            continue
        base = [recipe for recipe in recipes if recipe.name == f"{group}/cross_entropy" and recipe not in own]
        parts.append(f"**{group}**: {_described(own[0])}\n\n{table([*base, *own], results)}")
    return "\n\n".join([*parts, _LEGEND]) if parts else "Nothing has been measured yet."


def published_page(method: str) -> str:
    """What papers publish for the recipes of a method, a line for each group, as Markdown; for its page."""
    lines: dict[str, list[str]] = {}
    for recipe in RECIPES.values():
        if recipe.method == method and recipe.published:
            name = recipe.name.partition("/")[2]
            lines.setdefault(recipe.group, []).append(f"`{name}` {published_text(recipe.published)}")
    return "\n".join(f"- **{group}**: {'; '.join(cells)}." for group, cells in lines.items())


def _described(recipe: Recipe) -> str:
    """What the recipes of a group share: data, noise, network and length."""
    parts = (
        recipe.data,
        recipe.noise,
        f"{recipe.limit:,} images" if recipe.limit else "",
        f"{recipe.labels_per_class} labels a class" if recipe.labels_per_class else "",
        f"{recipe.labels} labels" if recipe.labels else "",
        recipe.net,
        f"{recipe.plan['epochs']} epochs" if "epochs" in recipe.plan else "",
    )
    return ", ".join(part for part in parts if part)


_LEGEND = (
    "Test accuracy in percent, mean ± standard deviation over seeds; *best* is the best evaluation, "
    "chosen with the test labels. *Balanced*: the mean of the classes' accuracies. A line with *other settings than "
    "now* was measured before its recipe changed. "
    "*Recovery*: share of training labels that are right when replaced by the suggestions. *AUROC*: of "
    "1 - p(clean) for finding wrong labels. Made by `codivide bench run`; the results with commit, hardware and "
    "versions lie in `results/recipes`."
)


def read_grid(items: Iterable[str]) -> dict[str, list[Any]]:
    """``name=v1,v2`` entries as lists of numbers, booleans or words; InputError for another form."""
    grid: dict[str, list[Any]] = {}
    for item in items:
        name, equals, values = item.partition("=")
        if not equals or not values:
            raise InputError(f"--grid {item}: write NAME=VALUE,VALUE, such as lambda_u=0,25")
        grid[name] = [_value(text) for text in values.split(",")]
    return grid


def _value(text: str) -> Any:
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except ValueError:
        return text
