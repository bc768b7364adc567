"""Recipes of the user's own, and their results as tables for pandas and for a paper."""

import json
import re
import shlex
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from codivide.bench import runner
from codivide.bench.export import curves_frame, latex, results_frame
from codivide.bench.recipes import Recipe, find, read_recipes
from codivide.cli.app import main
from codivide.core.errors import InputError
from codivide.data.sources import load
from codivide.fit.choose_run import execute
from codivide.fit.job import Job, build_method, default_plan

MINE = """
[mine]
data = "digits"
net = "mlp"
limit = 60
plan = {epochs = 1, precision = "fp32"}
evaluate_every = 1
sweep = {noise = ["symmetric:0.2", "symmetric:0.5"]}

[mine.rows.plain]
method = "cross_entropy"
published = {last = 90.0, spread = 0.5}
oracle = ["noise_rate"]

[mine.rows.gce]
method = "gce"
plan = {lr = 0.1}
sweep = {q = [0.5, 0.7]}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(MINE)
    return tmp_path


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["codivide", "bench", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_a_file_may_begin_with_the_mark_of_windows(here):
    (here / "mine.toml").write_text(MINE, encoding="utf-8-sig")
    assert "mine/gce,noise=symmetric-0.2,q=0.5" in read_recipes("mine.toml")


def test_rows_what_they_share_and_sweeps(here):
    recipes = read_recipes("mine.toml")
    assert list(recipes) == [
        "mine/plain,noise=symmetric-0.2",
        "mine/plain,noise=symmetric-0.5",
        "mine/gce,noise=symmetric-0.2,q=0.5",
        "mine/gce,noise=symmetric-0.2,q=0.7",
        "mine/gce,noise=symmetric-0.5,q=0.5",
        "mine/gce,noise=symmetric-0.5,q=0.7",
    ]
    shared = {"data": "digits", "net": "mlp", "limit": 60, "evaluate_every": 1}
    name = "mine/gce,noise=symmetric-0.5,q=0.7"
    plan = {"epochs": 1, "precision": "fp32", "lr": 0.1}
    assert recipes[name] == Recipe(name, "gce", noise="symmetric:0.5", hyper={"q": 0.7}, plan=plan, **shared)
    first = recipes["mine/plain,noise=symmetric-0.2"]
    assert (first.published, first.oracle) == ({"last": 90.0, "spread": 0.5}, ("noise_rate",))
    assert [recipe.name for recipe in find("*q=0.7", recipes)] == [name.replace("0.5,q", "0.2,q"), name]
    (here / "mine.json").write_text(json.dumps({"a": {"data": "digits", "rows": {"b": {"method": "gce"}}}}))
    assert read_recipes("mine.json") == {"a/b": Recipe("a/b", "gce", "digits")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("foo", r"bad\.toml cannot be read: Expected '='"),
        ("", "has no group of recipes"),
        ("[g]\ndata = 'digits'", "g has no rows"),
        ("[g]\nrows.a = {method = 'gce'}", r"g\.rows\.a has no data"),
        ("[g]\nrows.a = 'gce'", r"g\.rows\.a is 'gce'; it must be a table"),
        ("[g]\nrows.a = {methd = 'gce'}", "unknown entry .*'methd'. Did you mean 'method'"),
        ("[g]\nrows.a = {limit = 'x'}", "limit is 'x'; it must be a whole number"),
        ("[g]\nrows.a = {limit = true}", "limit is True; it must be a whole number"),
        ("[g]\nrows.a = {limit = -3}", "limit is -3; it must be at least 1"),
        ("[g]\nrows.a = {sweep = {q = 0.5}}", "sweep has a list of values for each name"),
        ("[g]\nrows.a = {sweep = {limit = ['x']}}", "limit is 'x'"),
        ("[g]\nrows.a = {published = {lst = 1}}", "unknown statistic .*'lst'"),
        ("[g]\ndata = 'digits'\nrows.'a/../b' = {method = 'gce'}", "files are called so"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(here, text, said):
    (here / "bad.toml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_recipes("bad.toml")


def test_an_unknown_field_of_the_plan_is_named():
    with pytest.raises(InputError, match=r"unknown field of the plan 'lrr'\. Did you mean 'lr'"):
        default_plan(60, None, lrr=0.1)


def test_they_run_and_their_results_are_tables(here, monkeypatch, capsys):
    code, said, _ = call(monkeypatch, capsys, "run", "--recipes", "mine.toml", "mine/*0.5", "--seeds", "0,1")
    assert code == 0, said
    recipes = find("*0.5", read_recipes("mine.toml"))
    frame = results_frame(recipes)
    assert list(zip(frame["recipe"], frame["seed"], strict=True)) == [(r.name, s) for r in recipes for s in (0, 1)]
    plain = frame[frame["method"] == "cross_entropy"]
    stored = [json.loads((here / f"results/recipes/{recipes[0].name}_s{seed}.json").read_text()) for seed in (0, 1)]
    assert plain["last"].tolist() == pytest.approx([100 * row["test_accuracy"]["last"] for row in stored], abs=1e-4)
    assert plain["auroc"].tolist() == pytest.approx([row["detection"]["auroc"] for row in stored], abs=1e-4)
    assert plain["ours_last"].tolist() == plain["last"].tolist()
    assert plain["published_last"].tolist() == [90.0, 90.0]
    assert set(frame["q"].dropna()) == {0.5}
    curves = curves_frame(recipes)
    assert len(curves) == len(frame)  # one epoch each
    assert {"test_accuracy", "loss_auroc", "given_agreement"} <= set(curves)

    table = latex(recipes)
    mean, spread = plain["last"].mean(), plain["last"].std()
    assert rf"plain,noise=symmetric-0.5 & 2 & ${mean:.1f} \pm {spread:.1f}$ &" in table
    assert table.splitlines()[:2] == [r"\begin{tabular}{lrrrrr}", r"\toprule"]

    about = ("table", "*0.5", "--recipes", "mine.toml", "--format")
    assert call(monkeypatch, capsys, *about, "latex")[1].strip() == table
    assert pd.read_csv(StringIO(call(monkeypatch, capsys, *about, "csv")[1])).shape == frame.shape
    assert "| 2 |" in call(monkeypatch, capsys, *about, "markdown")[1]
    code, _, said = call(monkeypatch, capsys, *about, "latx")
    assert (code, "Did you mean 'latex'" in said) == (2, True)


def test_the_commands_of_the_page_find_the_recipes_of_its_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pages = Path(__file__).parents[1] / "docs" / "howto"
    text = (pages / "experiments.md").read_text("utf-8")
    for block in re.findall(r"^```\w+[^\n]*\n(# [\w.]+\n.*?)^```", text, re.DOTALL | re.MULTILINE):
        (tmp_path / block.split()[1]).write_text(block, encoding="utf-8")
    focal = re.search(r"^(# focal\.py\n.*?)^```", (pages / "own_parts.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (tmp_path / "focal.py").write_text(focal[1], encoding="utf-8")
    recipes = read_recipes("mine.toml")
    assert len(recipes) == 3 * (1 + 4 + 1)
    for recipe in recipes.values():
        default_plan(100, build_method(recipe.method, **recipe.hyper), **recipe.plan)
    lines = [line for line in text.splitlines() if line.startswith("$ codivide bench ") and "--recipes" in line]
    for words in (shlex.split(line.partition("#")[0].partition(">")[0])[3:] for line in lines):
        if words[0] == "table":
            code, said, _ = call(monkeypatch, capsys, *words)
            assert (code, bool(said)) == (0, True)
        elif words[0] == "tune":
            (recipe,) = find(words[3], recipes)
            for name, values in runner.read_grid(words[5:]).items():
                assert all(build_method(recipe.method, **{**recipe.hyper, name: value}) for value in values)
    assert {line.split()[3] for line in lines} == {"run", "table", "tune"}


def test_all_recipes_are_not_run_by_mistake(here, monkeypatch, capsys):
    code, _, said = call(monkeypatch, capsys, "run")
    assert (code, "name a recipe" in said) == (2, True)
    assert list(here.iterdir()) == [here / "mine.toml"]


def test_a_method_that_was_edited_is_another_one(here):
    code = "from codivide import Method\nclass Same(Method):\n    pass\n"
    (here / "edited_method.py").write_text(code)
    recipe = Recipe("mine/same", "edited_method.py:Same", "digits", net="mlp", limit=60, plan={"epochs": 1})
    result = runner.run(recipe, 0, here / "run")
    assert runner.changed(recipe, result) == []
    (here / "edited_method.py").write_text(code + "# another line\n")
    assert runner.changed(recipe, result) == ["method_code"]
    with pytest.raises(InputError, match="belongs to another run: they differ in method_code"):
        runner.run(recipe, 0, here / "run")


def test_a_trial_is_tabulated_by_the_flags_that_it_was_run_with(here, monkeypatch, capsys):
    words, flags = ("mine/plain,noise=symmetric-0.2", "--recipes", "mine.toml"), ("--epochs", "1", "--limit", "50")
    _, said, _ = call(monkeypatch, capsys, "run", *words, *flags)
    code, shown, _ = call(monkeypatch, capsys, "table", *words, *flags)
    assert (code, "| 1 |" in shown, shown.strip() in said) == (0, True, True)
    assert "| not run |" in call(monkeypatch, capsys, "table", *words)[1]


def test_a_run_folder_of_another_run_proposes_flags_that_bench_has(here, monkeypatch, capsys):
    words = ("run", "mine/plain,noise=symmetric-0.2", "--recipes", "mine.toml")
    assert call(monkeypatch, capsys, *words)[0] == 0
    for path in Path("results").rglob("*.json"):
        path.unlink()
    code, _, said = call(monkeypatch, capsys, *words, "--precision", "bf16")
    assert (code, "or give another folder, --runs" in " ".join(said.split())) == (2, True)
    assert "--out" not in said


def test_a_model_takes_a_tensor_in_the_shape_that_fit_took():
    loaded = load("digits")
    method = build_method("cross_entropy")
    model = execute(Job(method, default_plan(60, method, epochs=1), "mlp"), loaded, None).model
    grey = np.random.default_rng(0).integers(0, 255, (3, 8, 8)).astype(np.uint8)
    assert model.probs(torch.from_numpy(grey)).tolist() == model.probs(grey).tolist()


NETS = """
from torch import nn


def tiny(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
"""


def test_a_network_in_a_file_is_a_recipe(here, monkeypatch, capsys):
    (here / "nets_of_recipes.py").write_text(NETS)
    (here / "mine.toml").write_text(MINE.replace('net = "mlp"', 'net = "nets_of_recipes.py:tiny"'))
    asked = ["--recipes", "mine.toml", "mine/plain,noise=symmetric-0.2"]
    assert call(monkeypatch, capsys, "run", *asked)[0] == 0
    (kept,) = (here / "results" / "recipes" / "mine").glob("*.json")
    assert json.loads(kept.read_text())["net"] == "own:nets_of_recipes.py:tiny"
    assert "other settings than now" not in call(monkeypatch, capsys, "table", *asked)[1]
    (here / "nets_of_recipes.py").write_text(NETS + "# edited")
    assert "other settings than now" in call(monkeypatch, capsys, "table", *asked)[1]
