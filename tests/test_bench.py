"""Recipes, the queue, tuning without clean labels, tables."""

import json
import re
import statistics
from dataclasses import replace

import numpy as np
import pytest
from filelock import FileLock

from codivide import InputError
from codivide.bench import runner
from codivide.bench.recipes import RECIPES, Recipe
from codivide.data.experiment import hold_out, part, spoil
from codivide.data.sources import load
from codivide.fit.job import build_method, default_plan
from codivide.methods import METHODS
from codivide.training.nets import NETS

QUICK = Recipe(
    "quick/cross_entropy",
    "cross_entropy",
    "digits",
    noise="symmetric:0.4",
    plan={"epochs": 2},
    net="mlp",
    limit=200,
    published={"best": 90.0, "last": 80.0},
    oracle=("noise_rate",),
)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_built(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    assert "/" in name
    plan = default_plan(50_000, build_method(recipe.method, **recipe.hyper), **recipe.plan)
    assert plan.epochs >= 1
    assert recipe.net in NETS or recipe.net.startswith("timm:")
    assert set(recipe.oracle) <= {"noise_rate", "noise_type", "clean_labels"}
    assert all(0 <= value <= 100 for value in recipe.published.values())
    assert not recipe.published or recipe.source


SEMI = {name for name, cls in METHODS.items() if cls.semi_supervised}


def test_every_method_is_in_the_first_comparison_or_in_that_of_few_labels():
    trained = {name for name, cls in METHODS.items() if cls.trains}
    assert {recipe.method for recipe in runner.find("first/*")} == trained - SEMI
    for group in ("semi-cifar10-25", "semi-fashion-25", "semi-cifar10-10", "semi-cifar10-100"):
        recipes = runner.find(f"{group}/*")
        assert sorted(recipe.method for recipe in recipes) == sorted(SEMI | {"cross_entropy"})
        for recipe in recipes:  # equal data, equal plan, equal number of steps
            assert replace(recipe, name="", method="", hyper={}) == replace(recipes[0], name="", method="", hyper={})
            assert recipe.hyper["steps"] == recipes[0].hyper["steps"]


def test_the_tables_of_mixmatch():
    rows = ("pi-model", "pseudo-label", "mixup", "vat", "mean-teacher", "mixmatch")
    for table, data in (("5", "cifar10"), ("6", "svhn")):
        for row in rows:
            cells = [RECIPES[f"mixmatch-table{table}/{data}-{n}-{row}"] for n in (250, 500, 1000, 2000, 4000)]
            assert [cell.labels_per_class for cell in cells] == [25, 50, 100, 200, 400]
            scores = [cell.published["last"] for cell in cells]
            assert scores == sorted(scores)  # more labels, fewer errors
            assert all(cell.report == "last_20_median" and cell.net == "wrn_28_2" for cell in cells)
    assert len(runner.find("mixmatch-table?/*")) == 60
    first, last = RECIPES["mixmatch-table5/cifar10-250-mixmatch"], RECIPES["mixmatch-table6/svhn-4000-mixmatch"]
    assert first.published == {"last": 88.92, "spread": 0.87}
    assert last.published == {"last": 97.11, "spread": 0.06}
    assert (first.hyper["weight"], last.hyper["weight"]) == (75, 250)
    for number in ("88.71", "86.37", "62.72"):
        assert number in first.note
    assert last.note == ""


@pytest.mark.parametrize(
    "recipe", [recipe for recipe in RECIPES.values() if recipe.labels_per_class], ids=lambda recipe: recipe.name
)
def test_a_recipe_of_few_labels_fits_its_data(recipe):
    plan = default_plan(recipe.limit or 50_000, build_method(recipe.method, **recipe.hyper), **recipe.plan)
    assert plan.optimizer == "adamw"
    assert recipe.labels_per_class * 10 <= (recipe.limit or 50_000) // 10


def test_find_takes_patterns_and_names_the_nearest():
    assert [recipe.name for recipe in runner.find("first/cross_entropy")] == ["first/cross_entropy"]
    with pytest.raises(InputError, match="first/cross_entropy"):
        runner.find("first/cross_entrop")


@pytest.mark.long
def test_work_writes_each_result_once_and_leaves_what_is_held(tmp_path, monkeypatch):
    other = replace(QUICK, name="quick/other")
    results, runs = tmp_path / "results", tmp_path / "runs"
    (runs / "quick").mkdir(parents=True)
    with FileLock(runs / "quick" / "other_s0.lock"):  # another process is at it
        written = runner.work([QUICK, other], [0], results, runs)
    assert [path.name for path in written] == ["cross_entropy_s0.json"]
    result = json.loads(written[0].read_text())
    assert result["recipe"]["noise"] == "symmetric:0.4"
    assert result["seed"] == 0
    assert result["commit"]
    assert 0.25 < result["noise"]["effective_rate"] < 0.45
    assert [row["epoch"] for row in result["curve"]] == [1, 2]
    monkeypatch.setattr(runner, "run", None)  # a result that is there is not computed again
    assert runner.work([QUICK], [0], results, runs) == []


def test_a_killed_run_is_gone_on_with_and_gives_the_same(tmp_path):
    class Stop(Exception):
        pass

    def begin(recipe, seed, epochs):
        def progress(run, row):
            if row["epoch"] == 2:
                raise Stop

        return progress

    recipe = replace(QUICK, plan={"epochs": 3})
    straight = runner.run(recipe, 0, tmp_path / "straight")
    with pytest.raises(Stop):
        runner.work([recipe], [0], tmp_path / "results", tmp_path / "runs", begin)
    (path,) = runner.work([recipe], [0], tmp_path / "results", tmp_path / "runs")
    resumed = json.loads(path.read_text())
    assert [row["loss"] for row in resumed["curve"]] == [row["loss"] for row in straight["curve"]]
    assert resumed["test_accuracy"] == straight["test_accuracy"]


def test_a_recipe_that_cannot_run_does_not_stop_the_others(tmp_path):
    wrong = replace(QUICK, name="quick/wrong", plan={"epochs": 2, "lr": 1e30})
    with pytest.raises(InputError, match="quick/wrong, seed 0: training diverged"):
        runner.work([wrong, QUICK], [0], tmp_path / "results", tmp_path / "runs")
    assert runner.result_path(QUICK.name, 0, tmp_path / "results").exists()


def test_the_seed_draws_part_and_noise():
    first, again, other = runner.data_of(QUICK, 0), runner.data_of(QUICK, 0), runner.data_of(QUICK, 1)
    assert np.array_equal(first.y, again.y)
    assert list(first.ids) == list(again.ids) != list(other.ids)
    assert first.test is not None


def test_labels_are_hidden_after_part_and_noise():
    few = runner.data_of(replace(QUICK, labels_per_class=5), 0)
    whole = runner.data_of(QUICK, 0)
    stay = few.y >= 0
    assert np.bincount(few.y[stay]).tolist() == [5] * 10
    assert list(few.ids) == list(whole.ids)
    assert np.array_equal(few.y[stay], whole.y[stay])
    assert np.array_equal(few.truth, whole.truth)
    assert (few.y[stay] != few.truth[stay]).any()


def test_a_table_shows_what_a_recipe_reports(tmp_path):
    recipe = replace(QUICK, labels_per_class=5, report="last_20_median", published={"last": 80.0, "spread": 1.26})
    runner.work([recipe], [0], tmp_path, tmp_path / "runs")
    row = json.loads((tmp_path / "quick" / "cross_entropy_s0.json").read_text())
    assert row["source"]["labels_per_class"] == 5
    accuracy = row["test_accuracy"]
    assert accuracy["last_20_median"] != accuracy["last"]
    line = next(line for line in runner.table([recipe], tmp_path).splitlines() if "cross_entropy" in line)
    assert f"| {100 * accuracy['last_20_median']:.1f} (median of 20) |" in line
    assert line.endswith("| 80.0 ± 1.3 / - |")


def test_hold_out_judges_by_given_labels_only():
    loaded = spoil(part(load("digits"), 300, 0), "symmetric:0.5", 0)
    split = hold_out(loaded, 0.1, 0)
    given = dict(zip(loaded.ids, loaded.y, strict=True))
    assert len(split.y) == 270
    assert len(split.test.y) == 30
    assert not set(split.ids) & set(split.test.ids)
    assert all(given[i] == label for i, label in zip(split.test.ids, split.test.y, strict=True))
    assert split.test.truth is None
    for share in (0, 1, 0.001):
        with pytest.raises(InputError):
            hold_out(loaded, share, 0)


def test_tune_chooses_the_best_agreement_with_noisy_labels(tmp_path):
    grid = runner.read_grid(["plan.lr=0.000001,0.05"])
    path = runner.tune(QUICK, grid, 0, results=tmp_path / "results", runs=tmp_path / "runs")
    record = json.loads(path.read_text())
    assert record["chosen"] == {"plan.lr": 0.05}
    assert record["held_out"] == 20
    assert [entry["setting"]["plan.lr"] for entry in record["tried"]] == [0.000001, 0.05]
    last = max(entry["agreement"]["last"] for entry in record["tried"])
    assert record["standard_error"] == pytest.approx((last * (1 - last) / 20) ** 0.5)


def test_a_row_whose_name_goes_on_is_another_row(tmp_path):
    recipe = replace(QUICK, name="group/mixup")
    for name, seed in (("mixup", 0), ("mixup", 12), ("mixup_same_class", 0), ("mixup_s3", 0)):
        path = runner.result_path(f"group/{name}", seed, tmp_path)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"seed": seed, "name": name}), encoding="utf-8")
    assert [(row["name"], row["seed"]) for row in runner.read(recipe, tmp_path)] == [("mixup", 0), ("mixup", 12)]


def test_a_grid_is_read_as_values():
    assert runner.read_grid(["a=1,2.5", "hard=true,False", "kind=x"]) == {
        "a": [1, 2.5],
        "hard": [True, False],
        "kind": ["x"],
    }
    with pytest.raises(InputError, match="lambda_u=0,25"):
        runner.read_grid(["a"])


def test_the_table_is_made_of_the_results(tmp_path):
    missing = replace(QUICK, name="quick/missing", published={})
    runner.work([QUICK], [0, 1], tmp_path, tmp_path / "runs")
    text = runner.table([QUICK, missing], tmp_path)
    rows = [json.loads((tmp_path / "quick" / f"cross_entropy_s{seed}.json").read_text()) for seed in (0, 1)]
    lasts = [100 * row["test_accuracy"]["last"] for row in rows]
    line = next(line for line in text.splitlines() if "cross_entropy" in line)
    assert f"{statistics.fmean(lasts):.1f} ± {statistics.stdev(lasts):.1f}" in line
    assert "oracle: noise_rate" in line
    assert line.endswith("| 80.0 / 90.0 |")
    assert "not run" in next(line for line in text.splitlines() if "missing" in line)
    assert len({line.count("|") for line in text.splitlines()}) == 1


@pytest.mark.long
def test_a_methods_page_shows_its_rows_and_the_baseline(tmp_path, monkeypatch):
    own = replace(QUICK, name="quick/mine", method="dividemix")
    monkeypatch.setattr(runner, "RECIPES", {recipe.name: recipe for recipe in (QUICK, own)})
    assert runner.method_page("dividemix", tmp_path) == "Nothing has been measured yet."
    runner.work([QUICK, own], [0], tmp_path, tmp_path / "runs")
    page = runner.method_page("dividemix", tmp_path)
    assert re.findall(r"^\| `(\w+)`", page, re.M) == ["cross_entropy", "mine"]
