"""``codivide bench list | run | table | gather | tune``: recipes, and the numbers they give."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codivide.cli.flags import Cluster, Command, Group, spread
from codivide.cli.output import aside, line
from codivide.cli.progress import out_console
from codivide.core.errors import InputError, unknown
from codivide.core.stopping import Stopped
from codivide.fit.progress import Display

if TYPE_CHECKING:
    from codivide.bench.recipes import Recipe
    from codivide.training.run import Run

bench = typer.Typer(
    cls=Group,
    help="Recipes: run them, tune them, and tabulate their results.\n\nExample: codivide bench run 'first/*'",
    short_help="Recipes: run them, tune them, and tabulate their results.",
    no_args_is_help=True,
)

Pattern = Annotated[str, typer.Argument(help="A recipe's name, or a pattern such as 'first/*'.")]
Results = Annotated[Path, typer.Option(help="Folder of the result files.")]
Own = Annotated[
    Path | None,
    typer.Option(help="Recipes of your own, a TOML or JSON file, in the place of codivide's."),
]
Runs = Annotated[Path, typer.Option(help="Folder of the runs (checkpoints), not to be committed.")]


@bench.command("list", cls=Command)
def list_recipes(pattern: Pattern = "*", recipes: Own = None) -> None:
    """List recipes with what was published, in percent, and by which statistic; one line each in a pipe.

    Example: codivide bench list 'dividemix-cifar10/*'
    """
    from codivide.bench.measures import published_text

    for recipe in _found(pattern, recipes):
        labels = f"{recipe.labels_per_class} labels a class" if recipe.labels_per_class else ""
        labels = f"{recipe.labels} labels" if recipe.labels else labels
        oracle = f"(oracle: {', '.join(recipe.oracle)})" if recipe.oracle else ""
        ours = "" if recipe.method else "(no method of ours)"
        about = " ".join(word for word in (recipe.data, recipe.noise, labels, recipe.net, ours, oracle) if word)
        published = published_text(recipe.published)
        if not out_console.is_terminal:
            typer.echo("\t".join((recipe.name, about, published)))  # a console would make blanks of the tabs
            continue
        text = "; ".join(part for part in (published, about) if part)
        line(recipe.name)  # whole, and on a line of its own
        for part in textwrap.wrap(text, out_console.width - 4, break_on_hyphens=False):
            line(f"    {part}")


@dataclass(frozen=True, kw_only=True)
class ChangeFlags:
    """What is done otherwise than a recipe says."""

    precision: Annotated[
        str | None,
        typer.Option(help="Number format: auto, bf16 or fp32.", show_default="the recipe's; fp32 in rows of papers"),
    ] = None
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Train for this many epochs only, to try a recipe.", show_default="all")
    ] = None
    limit: Annotated[
        int | None, typer.Option(min=2, help="Train on this many samples only, to try a recipe.", show_default="all")
    ] = None


def run(
    pattern: Pattern = "*",
    *,
    recipes: Own = None,
    seeds: Annotated[str, typer.Option(help="Numbers with commas.")] = "0",
    results: Results = Path("results") / "recipes",
    runs: Runs = Path("runs"),
    change: ChangeFlags,
    cluster: Cluster = None,
) -> None:
    """Run recipes that have no result yet; several processes may share the work, and a killed one is gone on with.

    With --epochs or --limit the results are kept in the folder of the runs.

    Example: codivide bench run dividemix-cifar10/sym50 --seeds 0,1,2
    """
    from codivide.bench import runner
    from codivide.core.cluster import connected

    if recipes is None and pattern == "*":
        raise InputError("name a recipe, or a pattern such as 'first/*': all recipes together take years")
    numbers = _numbers(seeds)
    found, results = _asked_for(_found(pattern, recipes), change, results, runs)
    try:
        with connected(cluster), _shown() as begin:
            written = runner.work(found, numbers, results, runs, begin)
    except (KeyboardInterrupt, Stopped) as stopped:
        aside("stopped; the same command goes on from the last whole epoch")
        raise typer.Exit(getattr(stopped, "code", 130)) from None
    for path in written:
        line(f"written: {path}")
    line(f"{len(written)} new results in {results}")
    if results == runs / "results":
        typer.echo(runner.table(found, results))


bench.command("run", cls=Command)(spread(run))


def _asked_for(found: list[Recipe], change: ChangeFlags, results: Path, runs: Path) -> tuple[list[Recipe], Path]:
    """The recipes as they are to be run, and the folder of their results: of trials in that of the runs."""
    if change.precision is not None:
        found = [replace(recipe, plan={**recipe.plan, "precision": change.precision}) for recipe in found]
    if change.epochs is None and change.limit is None:
        return found, results
    return [_shortened(recipe, change.epochs, change.limit) for recipe in found], runs / "results"


def _shortened(recipe: Recipe, epochs: int | None, limit: int | None) -> Recipe:
    """A recipe for a trial, under a name of its own."""
    name = "_".join(["trial", *([f"{epochs}_epochs"] if epochs else []), *([f"{limit}_samples"] if limit else [])])
    plan = recipe.plan if epochs is None else {**recipe.plan, "epochs": epochs}
    return replace(recipe, name=f"{name}/{recipe.name}", plan=plan, limit=recipe.limit if limit is None else limit)


def table(
    pattern: Pattern = "*",
    *,
    recipes: Own = None,
    results: Results = Path("results") / "recipes",
    runs: Runs = Path("runs"),
    change: ChangeFlags,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="markdown or latex (mean and deviation over seeds), csv (a line for each seed), or curves (csv, a "
            "line for each epoch).",
        ),
    ] = "markdown",
) -> None:
    """Print a table of the results; of shortened runs with the --epochs and --limit that they had.

    Example: codivide bench table 'first/*'
    """
    from codivide.bench import export, runner

    makers: dict[str, Callable[[list[Recipe], Path], str]] = {
        "markdown": runner.table,
        "latex": export.latex,
        "csv": lambda recipes, folder: export.results_frame(recipes, folder).to_csv(index=False).rstrip(),
        "curves": lambda recipes, folder: export.curves_frame(recipes, folder).to_csv(index=False).rstrip(),
    }
    if form not in makers:
        raise unknown("format", form, makers)
    typer.echo(makers[form](*_asked_for(_found(pattern, recipes), change, results, runs)))


bench.command("table", cls=Command)(spread(table))


def _found(pattern: str, own: Path | None) -> list[Recipe]:
    """Recipes by name, of codivide or of a file of the user's own."""
    from codivide.bench.recipes import find, read_recipes

    return find(pattern) if own is None else find(pattern, read_recipes(own))


@bench.command(cls=Command)
def gather(
    results: Annotated[Path, typer.Option(help="Folder that `bench run` wrote results to; all below it is read.")] = (
        Path("results") / "recipes"
    ),
) -> None:
    """Put the many result files of `bench run` into one small file.

    Reads every JSON file below --results: one for each recipe and seed.

    Writes gathered.parquet there: a row a result, and what it held before.

    Removes the JSON files, once the written file was read and has all of it.

    `bench table` and `bench run` read both. Wait until no run writes there.

    Example: codivide bench gather --results results/recipes
    """
    from codivide.bench import store

    files, there = store.gather(results)
    line(f"{files} results gathered; {results / store.GATHERED} holds {there}")


@bench.command(cls=Command)
def tune(
    recipe: Annotated[str, typer.Argument(help="A recipe's name.")],
    grid: Annotated[
        list[str], typer.Option(help="NAME=VALUE,VALUE: a setting of the method, or plan.lr and the like.")
    ],
    *,
    recipes: Own = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    share: Annotated[float, typer.Option(help="Share of the training samples to hold out.")] = 0.1,
    results: Results = Path("results") / "recipes",
    runs: Runs = Path("runs"),
) -> None:
    """Choose settings by agreement with held-out given labels; no true label and no test label is used.

    Example: codivide bench tune first/gce --grid q=0.3,0.5,0.7
    """
    from codivide.bench import runner

    found = _found(recipe, recipes)
    if len(found) > 1 or not found[0].method:
        why = f"matches {len(found)} recipes; tune one at a time" if len(found) > 1 else "has no method of codivide's"
        raise InputError(f"{recipe} {why}")
    with _shown() as begin:
        path = runner.tune(found[0], runner.read_grid(grid), seed, results=results, runs=runs, share=share, begin=begin)
    line(f"written: {path}")


@contextmanager
def _shown() -> Iterator[Callable[[Recipe, int, int], Callable[[Run | None, Mapping[str, Any]], None]]]:
    """What a bench calls at the beginning of each run, to show one progress bar after another."""
    with ExitStack() as stack:

        def begin(recipe: Recipe, seed: int, epochs: int) -> Callable[[Run | None, Mapping[str, Any]], None]:
            stack.close()
            aside(f"{recipe.name}, seed {seed}")
            return stack.enter_context(Display(epochs, recipe.method)).update

        yield begin


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise InputError(f"--seeds {text}: give whole numbers with commas, such as 0,1,2") from None
