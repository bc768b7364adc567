"""Recipes, the queue, tuning without clean labels, tables."""

import json
import re
import shlex
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from codivide import InputError
from codivide.bench import runner
from codivide.bench.measures import STATISTICS, seconds
from codivide.bench.recipes import RECIPES, Recipe
from codivide.cli.app import main
from codivide.core.provenance import environment
from codivide.data import named
from codivide.data.experiment import expand, hold_out, part, spoil
from codivide.data.rows import TensorRows
from codivide.data.sources import load
from codivide.data.views import ViewSpec, draw_choices
from codivide.fit.job import build_method, default_plan
from codivide.methods import METHODS
from codivide.noise import synthetic
from codivide.training.nets import NETS
from codivide.training.plan import Plan, learning_rate
from codivide.training.timm_names import expected

QUICK = Recipe(
    "quick/cross_entropy",
    "cross_entropy",
    "digits",
    noise="symmetric:0.4",
    plan={"epochs": 2},
    net="mlp",
    limit=200,
    published={"best": 90.0, "last": 80.0},
    evaluate_every=1,
    oracle=("noise_rate",),
)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_built(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    assert "/" in name
    method = build_method(recipe.method, **recipe.hyper) if recipe.method else None
    assert default_plan(50_000, method, **recipe.plan).epochs >= 1
    assert recipe.method or recipe.published
    assert recipe.net in NETS or recipe.net.startswith("timm:")
    assert recipe.data in named.names()
    assert not recipe.noise or synthetic.parse(recipe.noise)
    assert not (recipe.labels and recipe.labels_per_class)
    assert set(recipe.published) <= {*STATISTICS, "spread"}
    if "best" in recipe.published:  # of all epochs
        assert recipe.evaluate_every == 1
    assert set(recipe.oracle) <= {"noise_rate", "noise_type", "clean_labels"}
    assert all(0 <= value <= 100 for value in recipe.published.values())
    assert not recipe.published or recipe.source


SEMI = {name for name, cls in METHODS.items() if cls.semi_supervised}


def test_every_method_is_in_the_first_comparison_or_in_that_of_few_labels():
    trained = {name for name, cls in METHODS.items() if cls.trains}
    assert {recipe.method for recipe in runner.find("first/*")} == trained - SEMI | {"auto"}
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
            assert [cell.labels for cell in cells] == [250, 500, 1000, 2000, 4000]
            scores = [cell.published["last_20_median"] for cell in cells]
            assert scores == sorted(scores)  # more labels, fewer errors
            assert all(cell.net == "wrn_28_2" and cell.hyper["include_labelled"] is False for cell in cells)
    assert len(runner.find("mixmatch-table?/*")) == 60
    first, last = RECIPES["mixmatch-table5/cifar10-250-mixmatch"], RECIPES["mixmatch-table6/svhn-4000-mixmatch"]
    assert first.published == {"last_20_median": 88.92, "spread": 0.87}
    assert last.published == {"last_20_median": 97.11, "spread": 0.06}
    assert (first.hyper["weight"], last.hyper["weight"]) == (75, 250)
    for number in ("88.71", "86.37", "62.72"):
        assert number in first.note
    assert last.note == ""


@pytest.mark.parametrize(
    "recipe",
    [recipe for recipe in RECIPES.values() if recipe.labels_per_class or recipe.labels],
    ids=lambda recipe: recipe.name,
)
def test_a_recipe_of_few_labels_fits_its_data(recipe):
    plan = default_plan(recipe.limit or 50_000, build_method(recipe.method, **recipe.hyper), **recipe.plan)
    assert plan.optimizer == "adamw"
    assert (recipe.labels or 10 * recipe.labels_per_class) <= (recipe.limit or 50_000) // 10


def test_find_takes_patterns_and_names_the_nearest():
    assert [recipe.name for recipe in runner.find("first/cross_entropy")] == ["first/cross_entropy"]
    with pytest.raises(InputError, match="first/cross_entropy"):
        runner.find("first/cross_entrop")
    with pytest.raises(InputError, match="codivide bench list shows all"):
        runner.find("dividemix/cifar10-sym50")  # as an old page had it
    with pytest.raises(InputError, match="Known are mine/a"):
        runner.find("yours/*", {"mine/a": RECIPES["first/gce"]})


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
    recipe = replace(QUICK, labels_per_class=5, published={"last_20_median": 80.0, "spread": 1.26})
    runner.work([recipe], [0], tmp_path, tmp_path / "runs")
    row = json.loads((tmp_path / "quick" / "cross_entropy_s0.json").read_text())
    assert row["source"]["labels_per_class"] == 5
    accuracy = row["test_accuracy"]
    assert accuracy["last_20_median"] != accuracy["last"]
    line = next(line for line in runner.table([recipe], tmp_path).splitlines() if "cross_entropy" in line)
    assert f"| {100 * accuracy['last']:.1f} |" in line
    assert line.endswith(f"| median of last 20 80 ± 1.26 ({100 * accuracy['last_20_median']:.1f}) |")


def test_a_row_without_a_method_is_listed_for_its_number(tmp_path, capsys, monkeypatch):
    name = "webvision-mini/decoupling"
    line = runner.table(runner.find(name), tmp_path).splitlines()[-1]
    assert line == "| `decoupling` | no method | | | | | | | best 62.54, top-5 best 84.74 |"
    assert bench(monkeypatch, "list", name) == 0
    assert "(no method of ours)" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(InputError, match="decoupling: codivide does not have this method"):
        runner.work(runner.find(name), [0], tmp_path, tmp_path)
    assert runner.work([replace(QUICK, method=""), QUICK], [0], tmp_path, tmp_path / "runs")
    assert bench(monkeypatch, "tune", name, "--grid", "beta=1") == 2
    assert "has no method" in capsys.readouterr().err


def test_the_baselines_of_dividemix():
    """Eight rows at four rates on two data sets, and seven at 40 % asymmetric noise; best is never below last."""
    rows = runner.find("dividemix-baselines-*")
    assert len(rows) == 2 * 8 * 4 + 7
    assert all(row.published["best"] >= row.published["last_10_mean"] for row in rows)
    for recipe in runner.find("m_correction/*"):  # the better form of each setting is what DivideMix quotes
        data, setting, _ = recipe.name.partition("/")[2].split("-")
        name = f"dividemix-baselines-{data}/{setting}-m_correction"
        if name in RECIPES:
            assert RECIPES[name].published["best"] >= recipe.published["best"]
    quoted = RECIPES["dividemix-baselines-cifar10/sym90-m_correction"]
    assert quoted.hyper == {"dynamic": True, "trim": 0.05}
    assert quoted.published["best"] == RECIPES["m_correction/cifar10-sym90-dynamic"].published["best"]


def test_rows_of_papers_train_in_float32_and_ours_as_the_chip_likes(tmp_path, monkeypatch):
    for recipe in RECIPES.values():
        ours = recipe.group.startswith(("first", "main-", "semi-", "choose-")) or recipe.group.endswith("-students")
        assert recipe.plan.get("precision") == (None if ours else "fp32"), recipe.name
        assert not (ours and recipe.published)
    asked = []
    monkeypatch.setattr(runner, "work", lambda recipes, *rest: asked.extend(recipes) or [])
    assert bench(monkeypatch, "run", "dividemix-cifar10/sym50", "--precision", "bf16") == 0
    assert bench(monkeypatch, "run", "dividemix-cifar10/sym50") == 0
    assert [recipe.plan["precision"] for recipe in asked] == ["bf16", "fp32"]


@pytest.mark.parametrize(
    ("name", "hyper", "plan"),
    [
        ("promix/cifar10-sym20", {"rho": 0.7, "tau": 0.99, "warmup": 10}, {"lr_min": 5e-5}),
        ("promix/cifar100-sym50", {"rho": 0.5, "tau": 0.95, "warmup": 30, "debias_loss": 0.5}, {"lr_min": 5e-5}),
        ("promix/cifar10-asym40", {"confidence_penalty": 1.0}, {}),
        ("sop_plus/cifar10-sym50", {"lr_u": 10.0, "lr_v": 10.0}, {"weight_decay": 5e-4}),
        ("sop_plus/cifar10-asym40", {"lr_u": 10.0, "lr_v": 100.0}, {}),
        ("sop_plus/cifar100-sym20", {"lr_u": 1.0}, {"weight_decay": 1e-3}),
        ("elr_plus/cifar100-sym20", {"ema_step": 40_000}, {}),
        ("jocor/cifar100-exc20", {"agreement": 0.85}, {}),
        ("unicon/cifar100-sym80", {"warmup": 30, "form": "code"}, {"milestones": (280,), "lr_min": 2e-4}),
        ("mentornet/cifar10-sym80-mentornet", {"percentile": 0.5, "sample_dropout": "0.5,17,0.05,83"}, {}),
        ("mentornet/cifar100-sym20-mentornet", {}, {"milestones": (50, 64, 77), "weight_decay": 2e-4}),
    ],
)
def test_rows_of_papers_have_the_settings_of_their_authors(name, hyper, plan):
    row = RECIPES[name]
    assert row.hyper.items() >= hyper.items()
    assert row.plan.items() >= plan.items()


def test_rows_whose_published_labels_were_made_otherwise_say_so():
    rows = [row for group in ("elr", "elr_plus") for row in runner.find(f"{group}/*")]
    assert {row.name for row in rows if row.note} == {row.name for row in rows if row.noise.startswith("asymmetric")}
    assert all(("consecutive" in row.note) == (row.data == "cifar100") for row in rows if row.note)
    assert "moves some labels twice" in RECIPES["sop_plus/cifar10-asym40"].note
    for row in runner.find("m_correction/*"):
        assert ("first ten classes" in row.note) == (row.data == "cifar100" and bool(row.noise))


def test_what_the_page_of_recipes_says_of_all_rows_is_so():
    text = (
        (Path(__file__).parents[1] / "docs/reference/recipes.md")
        .read_text(encoding="utf-8")
        .partition("otherwise than its paper")[2]
    )
    text = " ".join(text.partition("## Photos")[0].split())
    plan = Plan(epochs=10, schedule="cosine")
    assert ("change the rate with every update" in text) == (learning_rate(plan, 0.5) < learning_rate(plan, 0.0))
    spec = ViewSpec("photo", torch.tensor([0.5]), torch.tensor([0.25]))
    moved = spec.weak(torch.full((64, 1, 32, 32), 255, dtype=torch.uint8), torch.Generator().manual_seed(0))
    assert ("padded with black before" in text) == (set(moved.unique().tolist()) == {-2.0, 2.0})
    given = np.repeat(np.arange(10), 100)
    drawn = [int((synthetic.symmetric(given, 0.5, 10, np.random.default_rng(k)) != given).sum()) for k in range(5)]
    assert ("Noise is drawn for each label by itself" in text) == (len(set(drawn)) > 1)
    operations = draw_choices(8, torch.Generator().manual_seed(0)).operation.shape[1]
    assert ("RandAugment with two operations" in text) == (operations == 2)


def test_expansion_adds_a_copy_of_every_image():
    recipe = replace(QUICK, augment="none", expand="weak")
    plain, twice = runner.data_of(QUICK, 0), runner.data_of(recipe, 0)
    assert len(twice.y) == len(twice.ids) == len(set(twice.ids)) == 400
    for name in ("y", "truth"):
        assert np.array_equal(getattr(twice, name), np.tile(getattr(plain, name), 2))
    rows = twice.x[torch.arange(400)]
    assert torch.equal(rows[:200], plain.x[torch.arange(200)])
    moved = (rows[200:] != rows[:200]).flatten(1).any(1)
    assert moved.float().mean() > 0.8  # of 18 crops with and without a flip, one is the image itself
    strong = expand(plain, "strong", 0).x[torch.arange(400)]
    assert not torch.equal(strong, rows)
    assert torch.equal(strong, expand(plain, "strong", 0).x[torch.arange(400)])
    assert expand(plain, None, 0) is plain
    with pytest.raises(InputError, match="'weak' or 'strong'"):
        expand(plain, "plain", 0)
    with pytest.raises(InputError, match="no uint8 images"):
        expand(replace(plain, x=TensorRows(torch.zeros(200, 4))), "weak", 0)
    row = RECIPES["augdesc-cifar10/sym90-expansion-strong"]
    assert (row.augment, row.expand, row.plan["epochs"]) == ("none", "strong", 200)
    assert RECIPES["augdesc-cifar100/sym90-ws-waw-randaugment"].published == {"best": 36.89, "last_10_mean": 36.672}


def test_the_rows_of_photos():
    """Table 1 of mixup with both errors, and the sets of labels from the web with the settings that are published."""
    table = runner.find("mixup-table1/*")
    assert len(table) == 15
    assert RECIPES["mixup-table1/resnet50-90-mixup"].published == {"last": 76.7, "top5_last": 93.4}
    for row in table:
        pair = row.name.removesuffix("mixup") + "erm"
        if row.name.endswith("mixup") and pair in RECIPES:
            assert row.published["last"] > RECIPES[pair].published["last"]
    clothing = RECIPES["clothing1m/dividemix"]
    assert clothing.published == {"last": 74.76}
    assert clothing.plan["sub_epoch"] == 1000 * clothing.plan["batch_size"]
    assert clothing.net == "timm:resnet50:pretrained"
    mini = RECIPES["webvision-mini/dividemix"]
    assert (mini.net, mini.image_size) == ("timm:inception_resnet_v2", 342)
    assert mini.published == {"best": 77.32, "top5_best": 91.64}
    assert ViewSpec("resized_crop", torch.zeros(3), torch.ones(3)).shape_of((3, 342, 342)) == (3, 299, 299)
    assert RECIPES["webvision-mini_ilsvrc/dividemix"].published == {"best": 75.2, "top5_best": 90.84}


@pytest.mark.parametrize(("group", "data"), [("cifar10n", "cifar10n:worse"), ("cifar100n", "cifar100n")])
def test_the_students(group, data):
    """Five networks of timm by five routes; the body rests for as long as the warm-up where transfer replaces it."""
    rows = runner.find(f"{group}-students/*")
    assert len(rows) == 25
    for row in rows:
        route = row.name.rpartition("-")[2]
        assert row.data == data
        size, mean, _ = expected(row.net)
        assert (size, len(mean)) == (224, 3)
        assert row.plan.get("freeze", 0) == (
            row.hyper["warmup"] if route in ("transfer", "embedding", "neighbours") else 0
        )
        assert row.hyper.get("division", "mixture") == (route if route in ("embedding", "neighbours") else "mixture")


def test_a_row_of_photos_says_what_its_user_must_bring(tmp_path, monkeypatch):
    monkeypatch.setenv("CODIVIDE_DATA", str(tmp_path))
    for name in ("clothing1m/dividemix", "mixup-table1/resnet50-90-mixup", "webvision-mini/elr", "food101n/dividemix"):
        with pytest.raises(InputError, match="put your copy in"):
            runner.work(runner.find(name), [0], tmp_path / "results", tmp_path / "runs")


def test_a_figure_of_dividemix_is_a_warm_up_with_and_without_the_penalty():
    plain, penalty = runner.find("dividemix-figure2/*")
    for recipe in (plain, penalty):
        assert recipe.plan["epochs"] == recipe.hyper["warmup"] == 10
    assert plain.hyper == {**penalty.hyper, "confidence_penalty": 0.0}
    assert penalty.hyper["confidence_penalty"] == 1


def test_the_fully_supervised_rows_see_as_many_images_as_the_others():
    for data, images, accuracy in (("cifar10", 50_000, 95.87), ("svhn", 73_257, 97.41)):
        row = RECIPES[f"mixmatch-supervised/{data}"]
        assert row.published == {"last_20_median": accuracy}
        assert row.plan["epochs"] * images == pytest.approx(65_536 * 1024, rel=1e-3)


def result(tests, **more):
    """A stored result of ten classes: test accuracies by epoch, and what else its last record says."""
    curve = [{"epoch": epoch, "test_accuracy": value} for epoch, value in tests.items()]
    curve[-1] |= more
    return {"epochs": max(tests), "curve": curve, "classes": [str(k) for k in range(10)]}


RISING = {epoch: epoch / 100 for epoch in range(1, 31)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("last", 30.0),
        ("best", 90.0),
        ("last_10_mean", 25.5),
        ("last_10_median", 25.5),
        ("last_20_median", 20.5),
    ],
)
def test_each_statistic_is_computed_as_its_paper_does(name, expected):
    assert STATISTICS[name].of(result({**RISING, 3: 0.9})) == pytest.approx(expected)


def test_a_median_is_no_mean():
    skewed = {**RISING, 21: 0.0, 22: 0.0}
    assert STATISTICS["last_10_median"].of(result(skewed)) == pytest.approx(25.5)
    assert STATISTICS["last_10_mean"].of(result(skewed)) == pytest.approx(25.5 - (21 + 22) / 10)


def test_a_statistic_of_epochs_that_were_not_evaluated_is_none():
    some = result({epoch: value for epoch, value in RISING.items() if epoch % 3 == 0})
    assert STATISTICS["best"].of(some) is None
    assert STATISTICS["last_10_mean"].of(some) is None
    assert STATISTICS["last"].of(some) == pytest.approx(30.0)
    assert STATISTICS["recovery_last"].of(some) is None
    assert STATISTICS["training_error_on_real_labels"].of(some) is None


def test_recovery_is_of_the_updated_labels_where_labels_are_updated():
    plain = result(RISING, recovery_accuracy=0.8)
    plain["curve"][3]["recovery_accuracy"] = 0.9
    assert STATISTICS["recovery_best"].of(plain) == pytest.approx(90.0)
    assert STATISTICS["recovery_last"].of(plain) == pytest.approx(80.0)
    plain["curve"][-1]["updated_label_accuracy"] = 0.7
    assert STATISTICS["recovery_best"].of(plain) == pytest.approx(70.0)


def test_seconds_are_those_of_all_stages():
    assert seconds({"training_seconds": 5}) == 5
    kept_plain = {"training_seconds": 5, "scout_seconds": 3, "correction_seconds": 8, "encoding_seconds": 1}
    assert seconds(kept_plain) == 16
    assert seconds({"training_seconds": 5, "scout_seconds": 3, "trial_seconds": 2}) == 10


def test_training_errors_are_of_the_labels_that_were_left_and_of_those_drawn_anew():
    """100,000 labels, half of them drawn anew among ten classes; a network that knows some labels by heart."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 10, 100_000)
    drawn = generator.random(100_000) < 0.5
    given = np.where(drawn, generator.integers(0, 10, 100_000), truth)
    heart = generator.random(100_000) < 0.2
    predicted = np.where(heart, given, np.where(generator.random(100_000) < 0.9, truth, (truth + 1) % 10))
    clean = given == truth
    seen = result(
        RISING,
        clean_correct=(predicted == truth)[clean].mean(),
        wrong_memorised=(predicted == given)[~clean].mean(),
    )
    real, corrupted = (100 * (predicted != given)[part].mean() for part in (~drawn, drawn))
    assert STATISTICS["training_error_on_real_labels"].of(seen) == pytest.approx(real, abs=0.3)
    assert STATISTICS["training_error_on_corrupted_labels"].of(seen) == pytest.approx(corrupted, abs=0.3)


def test_every_published_statistic_comes_out_of_a_run(tmp_path):
    recipe = replace(
        QUICK,
        method="joint_optimization",
        plan={"epochs": 20},
        limit=100,
        published=dict.fromkeys(STATISTICS, 50.0),
    )
    row = json.loads(json.dumps(runner.run(recipe, 0, tmp_path), default=str))
    found = {name: statistic.of(row) for name, statistic in STATISTICS.items()}
    assert all(0 <= value <= 100 for value in found.values())
    accuracy = row["test_accuracy"]
    for name in ("last", "best", "last_10_mean", "last_10_median", "last_20_median"):
        assert found[name] == pytest.approx(100 * accuracy[name])
    assert found["recovery_last"] == pytest.approx(100 * row["updated_label_accuracy"]["last"])
    assert found["recovery_best"] == pytest.approx(100 * row["updated_label_accuracy"]["best"])
    first = row["curve"][0]["updated_label_accuracy"]  # nothing is updated yet
    assert first == pytest.approx(1 - row["noise"]["effective_rate"])


def test_the_cells_of_the_papers_have_the_statistics_of_the_papers():
    for pattern, names in {
        "dividemix-cifar10/*": {"best", "last_10_mean"},
        "augdesc-cifar100/*": {"best", "last_10_mean"},
        "co_teaching/*": {"last_10_mean"},
        "mixup-table5/*": {"last_10_median"},
        "mixmatch-table6/*": {"last_20_median", "spread"},
        "m_correction/*": {"best", "last"},
        "joint-table1/*": {"best", "last", "recovery_best", "recovery_last"},
    }.items():
        for recipe in runner.find(pattern):
            assert set(recipe.published) == names, recipe.name


def test_a_result_of_other_settings_says_so(tmp_path):
    runner.work([QUICK], [0], tmp_path, tmp_path / "runs")
    (row,) = runner.read(QUICK, tmp_path)
    assert runner.changed(QUICK, row) == []
    assert "other settings" not in runner.table([QUICK], tmp_path)
    other = replace(QUICK, hyper={"label_smoothing": 0.1}, plan={"epochs": 3})
    assert runner.changed(other, row) == ["plan", "label_smoothing"]
    assert "`cross_entropy` (oracle: noise_rate) (other settings than now)" in runner.table([other], tmp_path)


def test_labels_of_a_number_are_as_frequent_as_their_classes():
    whole = load("digits")
    skewed = replace(whole, y=np.where(np.arange(len(whole.y)) % 2, 0, whole.y))
    few = runner.keep_some_labels(skewed, 110, 3)
    stay = few.y >= 0
    assert stay.sum() == 110
    assert np.array_equal(few.y[stay], skewed.y[stay])
    expected = 110 * np.bincount(skewed.y) / len(skewed.y)
    assert np.abs(np.bincount(few.y[stay]) - expected).max() < 3  # the rarest are dealt to first
    even = runner.keep_some_labels(replace(whole, y=np.arange(len(whole.y)) % 10), 250, 0)
    assert np.bincount(even.y[even.y >= 0]).tolist() == [25] * 10
    for wrong in (0, len(whole.y) + 1):
        with pytest.raises(InputError, match="labels are asked for"):
            runner.keep_some_labels(whole, wrong, 0)


def documented():
    """Every command of ``codivide bench`` in the documents; ``test_own_recipes`` has those with a file of recipes."""
    found = []
    root = Path(__file__).parent.parent
    for page in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith("$ codivide bench ") and "--recipes" not in line:
                words = shlex.split(line.partition("#")[0])[3:]
                found.append(pytest.param(words, id=f"{page.name}: {' '.join(words)}"))
    return found


def bench(monkeypatch, *words):
    """Run ``codivide bench`` in this process; its exit code."""
    monkeypatch.setattr("sys.argv", ["codivide", "bench", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


@pytest.mark.parametrize("words", documented())
def test_a_documented_command_of_bench_finds_its_recipes(words, tmp_path, capsys, monkeypatch):
    command, pattern, *options = words
    recipes = runner.find(pattern)
    if command == "tune":
        assert options[0] == "--grid"
        (recipe,) = recipes
        for name, values in runner.read_grid(options[1:]).items():
            for value in values:
                build_method(recipe.method, **{**recipe.hyper, name: value})
    elif command == "table":
        assert bench(monkeypatch, *words) == 0
        assert "not run" in capsys.readouterr().out
    elif command == "list":
        assert bench(monkeypatch, *words) == 0
        assert len(capsys.readouterr().out.splitlines()) == len(recipes)
    else:
        assert command == "run"
        for recipe in recipes:  # all is there, so that the command has nothing to train
            for seed in range(10):
                runner.result_path(recipe.name, seed, tmp_path).parent.mkdir(parents=True, exist_ok=True)
                runner.result_path(recipe.name, seed, tmp_path).touch()
        assert bench(monkeypatch, *words, "--results", str(tmp_path), "--runs", str(tmp_path / "runs")) == 0
        assert "0 new results" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("page", "line"),
    [
        ("reference/recipes.md", "| `sym50` (oracle: noise_rate) | not run |"),
        ("lab/comparison.md", "| `backward_correction` | 1 | 10.0 |"),
        ("howto/few_labels.md", "| `mixmatch` | 3 |"),
    ],
)
def test_a_page_of_tables_is_made(page, line, capsys, monkeypatch):
    root = Path(__file__).parent.parent
    monkeypatch.chdir(root)
    found = re.findall(r"```python exec=\"true\"\n(.*?)```", (root / "docs" / page).read_text(encoding="utf-8"), re.S)
    for code in found:
        exec(compile(code, page, "exec"), {})  # ours, as when the pages are built
    assert line in capsys.readouterr().out


def test_the_list_names_the_statistic(capsys, monkeypatch):
    assert bench(monkeypatch, "list", "mixup-table5/ac-rp-wd1e-4") == 0
    assert "median of last 10 95.76" in " ".join(capsys.readouterr().out.split())


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
    assert record["commit"] == environment()["commit"]
    assert record["versions"]["torch"]
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
    bests = [100 * row["test_accuracy"]["best"] for row in rows]
    best, last = (f"{statistics.fmean(found):.1f} ± {statistics.stdev(found):.1f}" for found in (bests, lasts))
    assert line.endswith(f"| best 90 ({best}), last 80 ({last}) |")
    assert "not run" in next(line for line in text.splitlines() if "missing" in line)
    assert len({line.count("|") for line in text.splitlines()}) == 1
    head, cells = ([cell.strip() for cell in row.split("|")] for row in (text.splitlines()[0], line))
    for name, column in (("test_balanced_accuracy", "balanced"), ("test_macro_f1", "macro F1")):
        found = [100 * row[name] for row in rows]
        assert cells[head.index(column)] == f"{statistics.fmean(found):.1f} ± {statistics.stdev(found):.1f}"
    assert "macro F1" not in runner.table([missing], tmp_path)  # no result has one: no empty columns


@pytest.mark.long
def test_a_methods_page_shows_its_rows_and_the_baseline(tmp_path, monkeypatch):
    own = replace(QUICK, name="quick/mine", method="dividemix")
    monkeypatch.setattr(runner, "RECIPES", {recipe.name: recipe for recipe in (QUICK, own)})
    assert runner.method_page("dividemix", tmp_path) == "Nothing has been measured yet."
    runner.work([QUICK, own], [0], tmp_path, tmp_path / "runs")
    page = runner.method_page("dividemix", tmp_path)
    assert re.findall(r"^\| `(\w+)`", page, re.M) == ["cross_entropy", "mine"]


def test_a_methods_page_shows_what_its_paper_publishes(monkeypatch):
    others = replace(QUICK, name="table/others", method="elr"), replace(QUICK, name="quick/none", published={})
    monkeypatch.setattr(runner, "RECIPES", {recipe.name: recipe for recipe in (QUICK, *others)})
    assert runner.published_page(QUICK.method) == "- **quick**: `cross_entropy` best 90, last 80."


def test_the_list_is_one_line_each_in_a_pipe(capsys, monkeypatch):
    assert bench(monkeypatch, "list", "first/*") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("\t")[0] for line in lines] == [recipe.name for recipe in runner.find("first/*")]
    assert all("small_cnn" in line for line in lines)


def test_a_trial_never_counts_as_the_recipe(tmp_path, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr(runner, "work", lambda recipes, *rest: seen.extend([*recipes, *rest]) or [])
    words = ["first/gce", "--epochs", "2", "--limit", "50", "--runs", str(tmp_path)]
    assert bench(monkeypatch, "run", *words) == 0
    recipe, numbers, results = seen[:3]
    assert recipe.name == "trial_2_epochs_50_samples/first/gce"
    assert (recipe.plan["epochs"], recipe.limit, numbers) == (2, 50, [0])
    assert results == tmp_path / "results"
    assert "| not run |" in capsys.readouterr().out


def test_what_a_killed_bench_left_half_written_goes_with_the_result(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "run", lambda *given, **more: {"seed": 0})
    results = tmp_path / "results"
    (results / "quick").mkdir(parents=True)
    for name in ("cross_entropy_s0-0123abcd.part", "cross_entropy_s1-0123abcd.part", "mine.part"):
        (results / "quick" / name).touch()
    runner.work([QUICK], [0], results, tmp_path / "runs")
    left = sorted(path.name for path in (results / "quick").iterdir())
    assert left == ["cross_entropy_s0.json", "cross_entropy_s1-0123abcd.part", "mine.part"]
