"""The automatic choice: the rule as a table of cases, the comparison, and whole runs on toy data."""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from codivide import METHODS, FeatureModel, NoisyLabelClassifier, noise_report
from codivide.bench.recipes import RECIPES
from codivide.cli.app import application
from codivide.core.errors import InputError
from codivide.core.files import write_json
from codivide.data.arrays import from_arrays
from codivide.data.fingerprint import digest
from codivide.data.sources import load
from codivide.fit import choose_run, choose_stages
from codivide.fit.choice import ScoutReport
from codivide.fit.choose_rule import affordable_plain, compare, correction_cost, decide, plain_epochs, plain_hyper
from codivide.fit.choose_stages import LONGER, rescaled
from codivide.fit.job import Job, Outcome, build_method, default_plan
from codivide.fit.progress import Display
from codivide.methods.auto import Auto
from codivide.methods.cross_entropy import CrossEntropy
from codivide.methods.dividemix import AUTOMATIC, DivideMix
from codivide.methods.features.options import unset
from codivide.noise.clean_prob import combined
from codivide.noise.learning_curves import memorises
from codivide.runs import label_table
from codivide.training.checkpoint import Checkpoint
from codivide.training.loop import train
from codivide.training.plan import average_decay
from tests import toys

pytestmark = pytest.mark.long  # whole runs of several stages

SEEN = ScoutReport(
    labelled=4000,
    unlabelled=0,
    classes=10,
    held_out=400,
    rate=0.5,
    low=0.45,
    high=0.6,
    kind="symmetric",
    concentration=0.1,
    trust="good",
    epochs=60,
    scouted=40,
    best_epoch=20,
    settled_epoch=12,
    agreement=0.45,
    error=0.02,
    fitted=0.6,
    memorises=True,
    scout_seconds=2.0,
)


@pytest.mark.parametrize(
    ("seen", "hyper"),
    [
        pytest.param({}, {"lambda_u": 25.0, "warmup": 12, "alpha": 4.0}, id="half wrong"),
        pytest.param({"classes": 100}, {"lambda_u": 150.0}, id="a hundred classes"),
        pytest.param({"classes": 2}, {"lambda_u": 5.0}, id="two classes"),
        pytest.param({"rate": 0.2}, {"lambda_u": 0.0}, id="little noise"),
        pytest.param({"agreement": 0.33}, {"lambda_u": 0.0}, id="bad guesses"),
        pytest.param({"agreement": 0.385}, {"lambda_u": 12.5}, id="doubtful guesses"),
        pytest.param({"low": 0.0}, {"lambda_u": 0.0}, id="guesses of which nothing is known"),
        pytest.param({"rate": 0.35}, {"lambda_u": 12.5}, id="between"),
        pytest.param({"rate": 0.9}, {"lambda_u": 50.0, "threshold": 0.6}, id="nine in ten"),
        pytest.param(
            {"rate": 0.4, "kind": "asymmetric", "concentration": 0.9},
            {"lambda_u": 0.0, "confidence_penalty": 1.0},
            id="one way",
        ),
        pytest.param({"rate": 0.4, "kind": "instance-like"}, {"lambda_u": 0.0}, id="instance-like"),
        pytest.param({"rate": 0.1, "labelled": 100, "unlabelled": 900}, {"lambda_u": 25.0}, id="hidden labels"),
        pytest.param({"lost": (3,)}, {"division": "class_wise"}, id="a class is lost"),
        pytest.param({"settled_epoch": 40}, {"warmup": 20}, id="long warm-up is cut"),
        pytest.param({"settled_epoch": 1}, {"warmup": 5}, id="short warm-up is stretched"),
        pytest.param({"memorises": False}, {"alpha": 4.0}, id="fits what does not carry over"),
        pytest.param({"memorises": False, "fitted": 0.45}, {"alpha": 0.5}, id="nothing is memorised"),
        pytest.param(
            {"memorises": False, "fitted": 0.45, "high": 0.05, "low": 0.0, "rate": 0.02, "kind": "none"}
            | {"labelled": 1000, "unlabelled": 3000},
            {"lambda_u": 25.0},
            id="nothing is wrong but much is missing",
        ),
    ],
)
def test_the_settings_of_dividemix(seen, hyper):
    decision = decide(replace(SEEN, **seen), "dividemix")
    assert (decision.method, decision.epochs) == ("dividemix", SEEN.epochs)
    assert hyper.items() <= decision.hyper.items()
    assert decision.reasons[0].startswith("estimated noise")
    assert set(decision.hyper) == set(AUTOMATIC)
    settled = DivideMix().settled(**decision.hyper)
    assert not settled.unsettled()
    changed = [name for name in decision.hyper if decision.hyper[name] != AUTOMATIC[name]]
    words = {
        "lambda_u": "lambda_u",
        "warmup": "warm-up",
        "threshold": "threshold",
        "alpha": "mixing",
        "confidence_penalty": "confidence penalty",
        "division": "class-wise",
    }
    for name in changed:
        assert any(words[name] in reason for reason in decision.reasons), name


NOTHING_WRONG = {"memorises": False, "fitted": 0.45, "high": 0.05, "low": 0.0, "rate": 0.02, "kind": "none"}


@pytest.mark.parametrize(
    ("seen", "method"),
    [
        pytest.param({}, "codivide", id="half wrong"),
        pytest.param({"memorises": False}, "codivide", id="fits what does not carry over"),
        pytest.param({"memorises": False, "fitted": 0.45}, "codivide", id="labels are wrong"),
        pytest.param(NOTHING_WRONG, "cross_entropy", id="nothing is wrong"),
        pytest.param(NOTHING_WRONG | {"labelled": 1000, "unlabelled": 3000}, "codivide", id="much is missing"),
        pytest.param({"seconds_left": 30.0}, "cross_entropy", id="no time"),
    ],
)
def test_the_rule(seen, method):
    decision = decide(replace(SEEN, **seen))
    assert (decision.method, decision.reasons[0][:15]) == (method, "estimated noise")
    assert method == "cross_entropy" or (decision.hyper == {} and "CoDivide" in decision.reasons[1])


def test_plain_training_ends_where_it_helped_the_scout_most():
    assert plain_hyper(SEEN, SEEN.epochs) == {"last_epoch": SEEN.best_epoch}
    assert plain_hyper(SEEN, SEEN.epochs // 2) == {"last_epoch": round(SEEN.best_epoch / 2)}
    assert plain_hyper(replace(SEEN, lasting_epoch=SEEN.best_epoch + 5), SEEN.epochs) == {"last_epoch": SEEN.best_epoch}
    right = replace(SEEN, high=0.05, lasting_epoch=SEEN.best_epoch + 5)  # there is little to memorise
    assert plain_hyper(right, SEEN.epochs) == {"last_epoch": SEEN.best_epoch + 5}
    assert plain_hyper(replace(right, lasting_epoch=SEEN.epochs), SEEN.epochs) == {}


def test_plain_training_is_drawn_out_where_little_is_wrong_and_nothing_memorised():
    little = replace(SEEN, memorises=False, rate=0.3, longer=4.0, best_epoch=40)  # of 60
    assert plain_epochs(little) == 4 * SEEN.epochs
    assert plain_hyper(little, 4 * SEEN.epochs) == {"last_epoch": 160}
    for unlike in ({"memorises": True}, {"rate": 0.35}, {"longer": 1.0}, {"best_epoch": 30}):
        assert plain_epochs(replace(little, **unlike)) == SEEN.epochs
    nothing = replace(little, fitted=0.45, high=0.05, low=0.0, rate=0.02, kind="none")
    decision = decide(nothing)
    assert (decision.method, decision.epochs) == ("cross_entropy", 4 * SEEN.epochs)
    assert f"planned for {4 * SEEN.epochs} epochs instead of {SEEN.epochs}" in decision.reasons[-1]
    assert decision.seconds == pytest.approx(160 * SEEN.scout_seconds)
    short = decide(replace(nothing, seconds_left=2 * SEEN.epochs * SEEN.scout_seconds))
    assert short.epochs == 2 * SEEN.epochs


@pytest.mark.parametrize("seconds", [50.0, 100.0, 200.0, 1e6])
def test_a_budget_is_kept_by_the_reckoning(seconds):
    decision = decide(replace(SEEN, seconds_left=seconds))
    assert decision.seconds is not None
    assert decision.seconds <= seconds
    assert 1 <= decision.epochs <= SEEN.epochs
    plain = decision.method == "cross_entropy"  # whose schedule stays: it ends where the scout was best
    assert (decision.epochs == SEEN.epochs) == (plain or seconds == 1e6)
    assert not plain or decision.hyper == {"last_epoch": SEEN.best_epoch}
    if decision.epochs < SEEN.epochs:
        assert any(f"{decision.epochs} epochs instead of {SEEN.epochs}" in reason for reason in decision.reasons)


def test_looks_at_the_data_cost_the_same_whatever_is_trained():
    trained = correction_cost(2.0, 10)
    assert trained == pytest.approx(2 * 10 * (0.3 + 0.7 * 7 / 3))
    assert correction_cost(5.0, 10, look_seconds=3.0) == pytest.approx(trained + 3 * 10)
    seen = replace(SEEN, rate=0.5, settled_epoch=5, scout_seconds=5.0, look_seconds=3.0)
    epochs = 2 * 5 + (2 * 18 * 0.5 + 2) / 3 * (SEEN.epochs - 5)
    assert decide(seen, "dividemix").seconds == pytest.approx(2 * epochs + 2 * 3 * SEEN.epochs)


def test_without_time_the_scout_is_the_result():
    decision = decide(replace(SEEN, seconds_left=1.0))
    assert (decision.epochs, decision.seconds) == (0, None)
    assert "the short run is the result" in decision.reasons[-1]


@pytest.mark.parametrize(
    ("fits", "epochs", "last"),
    [
        (19, 0, None),  # the scout was best after 20 of its 60 epochs: fewer make a worse model than it is
        (20, 60, 20),
        (59, 60, 20),
        (240, 60, 20),
    ],
)
def test_plain_training_is_never_shorter_than_what_helped_the_scout(fits, epochs, last):
    nothing = replace(SEEN, memorises=False, fitted=0.45, high=0.05, low=0.0, rate=0.02, kind="none", longer=4.0)
    decision = decide(replace(nothing, seconds_left=(fits + 0.5) * SEEN.scout_seconds))
    assert (decision.method, decision.epochs) == ("cross_entropy", epochs)
    assert decision.hyper.get("last_epoch") == last
    if not epochs:
        assert decision.reasons[-1] == (
            "no time for the 20 epochs that helped the short run, only for 19: the short run is the result"
        )


def test_a_schedule_that_is_drawn_out_takes_what_time_there_is():
    seen = replace(SEEN, memorises=False, fitted=0.45, high=0.05, low=0.0, rate=0.02, kind="none", longer=4.0)
    seen = replace(seen, best_epoch=40)
    ends = {fits: affordable_plain(seen, fits) for fits in (39, 40, 59, 100, 1000)}
    assert ends == {39: None, 40: 60, 59: 60, 100: 100, 1000: 240}
    assert plain_hyper(seen, 60) == {"last_epoch": 40}


def test_reasons_say_what_is_in_doubt_and_no_more_than_is_known():
    doubt = "Nothing can be learned"
    blind = replace(SEEN, trust="poor", doubt=doubt, low=0.0, high=1.0, fitted=0.3, memorises=False, lost=("cat",))
    text = " ".join(decide(blind).reasons)
    assert doubt in text
    assert "labels may be wrong" in text
    settings = " ".join(decide(blind, "dividemix").reasons)
    assert "fits its training labels no better than held-out ones" in settings
    assert "(cat)" in settings


def test_comparison_is_paired():
    plain = np.arange(100) < 50
    worse = np.arange(100) < 25
    verdict = compare(worse, plain, rate=0.5)
    apart = worse.astype(float) - plain
    assert verdict.difference == pytest.approx(-0.25)
    assert verdict.error == pytest.approx(np.std(apart, ddof=1) / 10)
    assert verdict.resolution == pytest.approx(2 * verdict.error)
    assert verdict.kept == "plain"
    assert compare(plain, worse, 0.5).kept == "correction"


def test_comparison_keeps_the_correction_within_two_errors():
    best = np.arange(400) < 200
    for won, kept in ((58, "correction"), (40, "plain")):  # and 70 lost: 12 fewer and 30; twice the error is near 22
        other = best.copy()
        other[:70], other[400 - won :] = False, True
        verdict = compare(other, best, 0.3)
        assert verdict.difference == pytest.approx((won - 70) / 400)
        assert (-verdict.difference < 2 * verdict.error) == (kept == "correction")
        assert verdict.kept == kept
    plain = np.arange(100) % 2 == 0
    other = ~plain
    other[0] = other[2] = True  # 52 to 50, of which nearly all disagree
    assert compare(plain, other, 0.3).kept == "correction"
    assert compare(plain, plain, 0.3).kept == "correction"
    assert compare(np.zeros(100, bool), plain, 0.3).kept == "plain"
    lost = compare(plain, plain, 0.3, ["cat", "dog"])
    assert lost.kept == "plain"
    assert "hardly predicts what plain training does (cat, dog): plain training is kept" in lost.text


def test_comparison_says_what_it_saw():
    plain, better = np.arange(100) < 50, np.arange(100) < 60
    assert (
        "of 100 held-out labels the correction agrees with 10.0 points more than plain"
        in compare(better, plain, 0.3).text
    )
    assert "agrees with 10.0 points fewer than" in compare(plain, better, 0.3).text
    assert "differ at none of the 100 held-out labels: the correction is kept" in compare(plain, plain, 0.3).text


@pytest.mark.parametrize(
    "seen",
    [{}, {"rate": 0.2}, {"memorises": False, "fitted": 0.45}, {"rate": 0.02, "low": 0.0, "high": 0.05, "kind": "none"}],
)
def test_the_baseline_is_the_same_wherever_something_is_corrected(seen):
    decision = decide(replace(SEEN, **seen))
    assert decision.method == "codivide"
    assert f"unless it agrees with clearly fewer of the {SEEN.held_out} held-out labels" in decision.reasons[2]


def _history(held: list[float], fitted: list[float]) -> list[dict[str, float]]:
    return [{"validation_accuracy": a, "training_accuracy": b} for a, b in zip(held, fitted, strict=True)]


@pytest.mark.parametrize(
    ("held", "fitted", "seen"),
    [
        pytest.param([0.3, 0.5, 0.4, 0.4], [0.3, 0.5, 0.6, 0.7], True, id="falls while training rises"),
        pytest.param([0.3, 0.5, 0.49, 0.49], [0.3, 0.5, 0.6, 0.7], False, id="within the error"),
        pytest.param([0.3, 0.5, 0.4, 0.4], [0.3, 0.5, 0.5, 0.5], False, id="training does not rise"),
        pytest.param([0.3, 0.5, 0.4, 0.4], [0.3, 0.41, 0.42, 0.43], False, id="training is no better than held out"),
        pytest.param([0.3, 0.5, 0.5, 0.4], [0.3, 0.5, 0.6, 0.7], False, id="only once"),
        pytest.param([0.5, 0.4], [0.5, 0.6], False, id="too short"),
    ],
)
def test_memorises(held, fitted, seen):
    assert memorises([{"epoch": 0}, *_history(held, fitted)], 400) is seen
    assert not memorises(_history(held, fitted), 400, least=len(held) + 1)


def test_average_reaches_back_two_epochs():
    plan = default_plan(640, epochs=50)
    assert average_decay(640, plan) == pytest.approx(1 - 1 / 21)  # 10 updates an epoch
    assert average_decay(640, replace(plan, epochs=5)) == pytest.approx(1 - 1 / 6, abs=1e-4)


def test_rescaled_plan_steps_at_the_same_share():
    plan = rescaled(default_plan(100, epochs=50, milestones=(22, 40)), 10)
    assert (plan.epochs, plan.milestones) == (10, (4, 8))


def test_auto_settings_are_the_papers_where_nothing_chooses():
    data = toys.toy().data
    run = train(DivideMix(warmup=1), data, toys.build, toys.plan(2))
    fixed = train(DivideMix(**{**AUTOMATIC, "warmup": 1}), data, toys.build, toys.plan(2))
    assert run.method == fixed.method
    assert not toys.same(toys.state(run), toys.state(fixed))


@pytest.mark.parametrize("name", [name for name, cls in METHODS.items() if not cls.trains])
def test_what_trains_no_network_of_its_own_is_refused(name):
    with pytest.raises(InputError, match="trains no network of its own; give it to NoisyLabelClassifier"):
        train(METHODS[name](), toys.toy().data, toys.build, toys.plan(2))


def test_no_recipe_of_a_paper_is_automatic():
    for recipe in RECIPES.values():
        if recipe.method and not recipe.name.endswith("/auto"):  # a row may have no method, only its published number
            assert not build_method(recipe.method, **recipe.hyper).unsettled(), recipe.name


def test_deadline_ends_training():
    with pytest.warns(UserWarning, match="time budget"):
        run = train(METHODS["cross_entropy"](), toys.toy().data, toys.build, toys.plan(4), deadline=0.0)
    assert [row.get("stopped") for row in run.history] == [None, 1.0, 1.0, 1.0]


def test_epochs_in_which_nothing_is_learned_write_no_checkpoint(tmp_path):
    def train_to(path, stop):
        def watch(run):
            saved = path.stat().st_mtime_ns if path.exists() else 0
            times.append(saved)
            if run.epoch == stop:
                raise _KilledError
            return {}

        return train(
            CrossEntropy(last_epoch=2),
            toys.toy().data,
            toys.build,
            toys.plan(6),
            watch=watch,
            checkpoint=Checkpoint(path, resume=stop is None),
        )

    times: list[int] = []
    with pytest.raises(_KilledError):
        train_to(tmp_path / "killed", 5)
    assert times[0] == 0
    assert times[1] < times[2] == times[3] == times[4]
    resumed, straight = train_to(tmp_path / "killed", None), train_to(tmp_path / "straight", None)
    assert not toys.same(toys.state(resumed), toys.state(straight))
    assert [row["epoch"] for row in resumed.history] == [1, 2, 3, 4, 5, 6]


def _loaded(samples: int = 240, noise: float = 0.4, classes: int = 3, seed: int = 2):
    rng = np.random.default_rng(seed)
    truth = np.arange(samples) % classes
    x = (2.0 * np.eye(classes, 8)[truth] + rng.normal(size=(samples, 8))).astype(np.float32)
    flip = rng.random(samples) < noise
    given = np.where(flip, (truth + rng.integers(1, max(classes, 2), samples)) % classes, truth)
    return from_arrays(x, given)


def execute(job, loaded, out=None, free=("average",), **how) -> Outcome:
    return choose_run.execute(job, loaded, out, free=free, **how)


def _job(epochs: int = 8, method: object = None, **plan) -> Job:
    """Of 8 epochs, so fast that labels are memorised."""
    chosen = Auto() if method is None else method
    plan = {"lr": 0.2, "precision": "fp32", "batch_size": 32, **plan}
    return Job(chosen, default_plan(240, chosen, epochs=epochs, **plan), "mlp")


class _Whole(NamedTuple):
    """A run of all stages, for several tests that change nothing of it."""

    folder: Path
    outcome: Outcome
    said: list[str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> _Whole:
    folder, said = tmp_path_factory.mktemp("whole") / "run", []
    outcome = execute(_job(), _loaded(), folder, say=said.append)
    assert outcome.summary["choice"]["decision"]["method"] == "codivide"
    assert outcome.summary["choice"]["verdict"]["kept"] == "correction"
    return _Whole(folder, outcome, said)


@pytest.fixture
def copied(whole, tmp_path) -> Path:
    """Its folder, to be changed."""
    shutil.copytree(whole.folder, tmp_path / "run")
    return tmp_path / "run"


def test_everything_is_recorded(whole):
    summary = json.loads((whole.folder / "summary.json").read_text())
    choice = summary["choice"]
    assert choice["decision"]["reasons"] == [text for text in whole.said if text in choice["decision"]["reasons"]]
    assert choice["evidence"]["held_out"] == choice["verdict"]["held_out"] == 24
    lines = (whole.folder / "scout" / "metrics.jsonl").read_text().splitlines()
    agreed = {
        row["epoch"]: row["validation_accuracy"] for row in map(json.loads, lines) if "validation_accuracy" in row
    }
    best = [epoch for epoch, share in agreed.items() if share == max(agreed.values())]
    assert (choice["evidence"]["best_epoch"], choice["evidence"]["lasting_epoch"]) == (best[0], best[-1])
    assert choice["verdict"]["text"] in whole.said
    assert json.loads((whole.folder / "config.json").read_text())["choice"]["decision"] == choice["decision"]
    assert (whole.folder / "scout" / "model.safetensors").is_file()
    assert whole.outcome.summary["plan"]["average"] > 0


@pytest.mark.long
def test_the_true_labels_of_a_validation_part_choose_no_method(whole):
    part = _loaded(60, noise=0.0, seed=3)
    seen = []

    def begin(name, epochs):
        return lambda run, row: seen.append((name, row.get("validation_accuracy")))

    outcome = execute(_job(), replace(_loaded(), validation=replace(part, y=(part.y + 1) % 3)), begin=begin)
    chosen, known = (run.summary["choice"]["evidence"] for run in (outcome, whole.outcome))
    assert chosen["agreement"] == known["agreement"]  # with held-out given labels
    last = [accuracy for name, accuracy in seen if name == "correction"]
    assert len(last) == 8
    assert max(last) < 0.4  # the last stage looks at it


def test_the_correction_hides_what_the_scout_held_out_and_gives_it_back(whole):
    record = json.loads((whole.folder / "choice.json").read_text())
    held = record["held_out"]
    stages: dict[str, int] = {}
    hidden, right = set(), {}

    def begin(name, epochs):
        stages[name] = epochs

        def progress(run, row):
            if name == "correction":
                hidden.add(tuple(run.remember("held_out").nonzero().flatten().tolist()))
                right[row["epoch"]] = run.remember("held_right").nonzero().flatten().tolist()

        return progress

    outcome = execute(_job(), _loaded(), begin=begin)
    assert stages == {"scout": 8, "correction": 8}
    assert hidden == {tuple(held)}
    assert [len(right[epoch]) > 0 for epoch in range(1, 9)] == [False] * 5 + [True] * 3  # judged after 6 of 8
    assert right[6] == right[8]
    assert outcome.table.equals(whole.outcome.table)
    assert np.isfinite(outcome.table["clean_prob"].to_numpy()).all()
    verdict = outcome.summary["choice"]["verdict"]
    assert verdict["difference"] == pytest.approx((len(right[8]) - sum(record["plain_right"])) / len(held))
    assert json.loads((whole.folder / "correction" / "config.json").read_text())["unlabelled"] == 0
    straight = execute(
        replace(_job(), method=outcome.run.method, plan=outcome.run.plan), _loaded()
    )  # as if it had been asked for
    assert outcome.table.equals(straight.table)


def test_the_short_run_judges_one_way_noise_with_the_correction(whole, monkeypatch):
    assert not whole.outcome.evidence.witnessed
    kind = whole.outcome.summary["choice"]["evidence"]["kind"]
    assert kind != choose_stages.ONE_WAY_NOISE
    monkeypatch.setattr(choose_stages, "ONE_WAY_NOISE", kind)
    outcome = execute(_job(), _loaded())
    assert outcome.evidence.witnessed
    assert _same(outcome, whole.outcome)  # it is trained as before
    early = label_table.read(whole.folder / "scout")["clean_prob"].to_numpy(float)
    probs = outcome.evidence.probs.astype(float)
    assert outcome.table["clean_prob"].to_numpy() == pytest.approx(combined(probs, _loaded().y, early))
    last = whole.outcome.evidence.probs.astype(float)
    with np.load(whole.folder / "scout" / "predictions.npz") as scout:
        both = scout["probs"].astype(float) + last  # all epochs of both
    assert probs == pytest.approx(both / both.sum(1, keepdims=True), abs=2e-3)


def test_the_correction_is_trained_as_it_asks_where_nobody_says_otherwise():
    plans = {}

    def begin(name, epochs):
        return lambda run, row: plans.update({name: run.plan})

    execute(_job(2, lr=0.3), _loaded(), free=("schedule", "average"), begin=begin)
    assert plans["scout"].schedule == "step"
    asked = plans["correction"]
    assert (asked.schedule, asked.nesterov, asked.average, asked.lr) == ("one_cycle", True, 0.999, 0.3)


def test_one_class_is_said_at_once():
    loaded = _loaded()
    with pytest.raises(InputError, match="nothing to learn"):
        execute(_job(2), replace(loaded, y=np.full(240, -1)))


class _KilledError(Exception):
    pass


@pytest.mark.long
@pytest.mark.parametrize("stage", ["scout", "correction"])
def test_a_killed_run_goes_on_with_the_same_bits(tmp_path, whole, stage):
    folder = tmp_path / "killed"
    if stage != "scout":  # as if killed between the stages
        shutil.copytree(whole.folder / "scout", folder / "scout")

    def killing(name, epochs):
        def progress(run, row):
            if row["epoch"] == 3 and name == stage:
                raise _KilledError

        return progress

    with pytest.raises(_KilledError):
        execute(_job(), _loaded(), folder, resume=stage != "scout", begin=killing)
    stages: list[str] = []

    def listing(name, epochs):
        stages.append(name)
        return lambda run, row: None

    resumed = execute(_job(), _loaded(), folder, resume=True, begin=listing)
    order = ["scout", "correction"]
    assert stages == order[order.index(stage) :]  # nothing is scouted or tried again
    assert resumed.table.equals(whole.outcome.table)
    assert (folder / "labels.csv").read_bytes() == (whole.folder / "labels.csv").read_bytes()


def _alike(read: Outcome, trained: Outcome) -> bool:
    """Whether an outcome that was read is one that was trained."""
    names = ["given", "suggested", "clean_prob"]
    return read.table[names].astype(float).equals(trained.table[names].astype(float)) and _same(read, trained)


def _rewrite(folder: Path, record: dict[str, Any]) -> None:
    """A choice as if codivide had come to it, of a run that is not finished."""
    held = {name: value for name, value in record.items() if name != "sha256"}
    write_json(folder / "choice.json", held)
    toys.edit(folder / "config.json", identity=held["key"])
    (folder / "summary.json").unlink(missing_ok=True)


def test_a_finished_run_resumed_is_the_same(whole, copied):
    resumed = execute(_job(), _loaded(), copied, resume=True)
    assert resumed.run is None  # it is only read
    assert _alike(resumed, whole.outcome)
    assert {path.name: path.read_bytes() for path in copied.iterdir() if path.is_file()} == {
        path.name: path.read_bytes() for path in whole.folder.iterdir() if path.is_file()
    }


def test_a_choice_of_another_run_is_refused(copied):
    with pytest.raises(InputError, match="seed is 0 there and 1 now"):
        execute(_job(seed=1), _loaded(), copied, resume=True)


@pytest.mark.parametrize("text", ["{", "null", "[]", "[" * 100_000, '{"format": 2}', "changed"])
def test_a_damaged_choice_is_one_error(copied, text):
    (copied / "summary.json").unlink()
    held = (copied / "choice.json").read_text()
    (copied / "choice.json").write_text(held.replace('"rate": 0.', '"rate": 1.', 1) if text == "changed" else text)
    with pytest.raises(InputError, match=r"choice\.json (cannot be read|is damaged)"):
        execute(_job(), _loaded(), copied, resume=True)


def test_a_run_that_replaces_another_can_be_resumed(copied):
    def killing(name, epochs):
        def progress(run, row):
            raise _KilledError

        return progress

    with pytest.raises(InputError, match="unknown net"):
        execute(replace(_job(), net="nonsense"), _loaded(), copied)
    assert (copied / "summary.json").is_file()  # nothing has replaced it
    assert (copied / "choice.json").is_file()
    with pytest.raises(_KilledError):
        execute(_job(3, seed=1), _loaded(), copied, begin=killing)
    assert not (copied / "summary.json").exists()
    outcome = execute(_job(3, seed=1), _loaded(), copied, resume=True)
    straight = execute(_job(3, seed=1), _loaded())
    assert outcome.table.equals(straight.table)


def test_a_run_without_a_choice_leaves_none_of_an_older_one(copied):
    elr = _job(1, METHODS["elr"]())
    execute(elr, _loaded(), copied)
    assert not (copied / "choice.json").exists()
    for stage in ("scout", "correction"):
        assert not (copied / stage / "model.safetensors").exists()
    began: list[str] = []
    with pytest.raises(InputError, match="method is elr there and auto now"):
        execute(_job(1), _loaded(), copied, resume=True, begin=lambda name, epochs: began.append(name))
    assert not began


def test_plain_training_is_kept_where_the_correction_loses(copied, monkeypatch):
    record = json.loads((copied / "choice.json").read_text())
    _rewrite(copied, {**record, "verdict": None})  # as before the comparison
    monkeypatch.setattr("codivide.fit.choose_stages.compare", _loses)

    def killing(name, epochs):
        def progress(run, row):
            if name == "cross_entropy" and row["epoch"] == 2:
                raise _KilledError

        return progress

    with pytest.raises(_KilledError):
        execute(_job(), _loaded(), copied, resume=True, begin=killing)
    outcome = execute(_job(), _loaded(), copied, resume=True)
    assert outcome.summary["method"] == "cross_entropy"
    assert outcome.summary["choice"]["verdict"]["kept"] == "plain"
    assert outcome.summary["choice"]["decision"]["method"] == "codivide"
    best = record["evidence"]["best_epoch"]
    job = _job()
    straight = execute(replace(job, method=CrossEntropy(last_epoch=best), plan=outcome.run.plan), _loaded())
    assert _same(outcome, straight)  # all labels, as many epochs as helped the scout
    assert json.loads((copied / "config.json").read_text())["method"] == "cross_entropy"
    assert _alike(execute(_job(), _loaded(), copied, resume=True), outcome)


def test_plain_training_that_is_kept_is_drawn_out(copied):
    record = json.loads((copied / "choice.json").read_text())
    record["verdict"] = {**record["verdict"], "kept": "plain", "text": "plain training is kept"}
    record["key"]["method.longer"] = 3.0
    record["evidence"] |= {"rate": 0.1, "memorises": False, "longer": 3.0, "best_epoch": 6}
    _rewrite(copied, record)

    def killing(name, epochs):
        def progress(run, row):
            if row["epoch"] == 10:
                raise _KilledError

        return progress

    said: list[str] = []
    job = replace(_job(), method=Auto(longer=3.0))
    with pytest.raises(_KilledError):
        execute(job, _loaded(), copied, resume=True, begin=killing, say=said.append)
    assert said[-1].startswith(
        "plain training is planned for 24 epochs instead of 8: about 10 % of the labels are wrong"
    )
    outcome = execute(job, _loaded(), copied, resume=True)
    assert outcome.summary["choice"]["verdict"]["text"] == f"plain training is kept; {said[-1]}"  # once
    plan = rescaled(_job().plan, 24)
    assert outcome.run.plan == replace(plan, average=outcome.run.plan.average)
    straight = execute(replace(_job(), method=CrossEntropy(last_epoch=18), plan=outcome.run.plan), _loaded())
    assert _same(outcome, straight)  # all labels, as far as it helped the scout


def _same(one: Outcome, other: Outcome) -> bool:
    """Whether two runs trained the same classifier."""
    x = _loaded().x
    return torch.equal(one.model.logits(x), other.model.logits(x))


@pytest.mark.long
def test_the_scout_judges_the_labels_that_plain_training_memorises(copied):
    record = json.loads((copied / "choice.json").read_text())
    record["verdict"] = {**record["verdict"], "kept": "plain"}
    record["evidence"] |= {"rate": 0.1, "memorises": False, "longer": 8.0, "best_epoch": 8}
    loaded = replace(_loaded(), truth=np.arange(240) % 3)
    record["key"] |= {"method.longer": 8.0, "true labels": digest(loaded.truth)}
    _rewrite(copied, record)
    stages: list[str] = []
    said: list[str] = []

    def begin(name, epochs):
        stages.append(name)
        return lambda run, row: None

    job = replace(_job(), method=Auto(longer=8.0))
    outcome = execute(job, loaded, copied, resume=True, begin=begin, say=said.append)
    assert stages == ["cross_entropy"]  # a finished scout is only read
    assert not any(text.startswith("short run:") for text in said)
    with np.load(copied / "scout" / "predictions.npz") as scout, np.load(copied / "predictions.npz") as held:
        early, probs = scout["probs"].astype(float), held["probs"].astype(float)
        assert np.array_equal(held["mean_loss"], scout["mean_loss"])
        assert held["witnessed"]
        memorised = held["predictions"][-1]
    assert (memorised == loaded.y).mean() > 0.98
    scout_table = label_table.read(copied / "scout")
    clean_prob = scout_table["clean_prob"].to_numpy(float)
    assert outcome.table["clean_prob"].to_numpy() == pytest.approx(combined(probs, loaded.y, clean_prob))
    suggested = outcome.table["suggested"].to_numpy()
    spared = suggested != probs.argmax(1)  # labels that are likely right, whatever the scout would say
    assert (suggested == loaded.y)[spared].all()
    assert (outcome.table["clean_prob"].to_numpy()[spared] >= 0.5).all()
    assert (suggested == loaded.truth).mean() > (memorised == loaded.truth).mean()
    assert abs(probs - early).max() > 0  # what this run predicted as long as the scout lasted is half of it
    straight = execute(replace(_job(), method=CrossEntropy(), plan=outcome.run.plan), loaded)
    assert _same(outcome, straight)
    found = outcome.summary["detection"]["auroc"]
    assert found > straight.summary["detection"]["auroc"]
    report = noise_report(copied)
    assert not any("cannot tell which" in reason for reason in report.trust.reasons)


def test_without_a_label_nothing_is_memorised_and_the_last_word_counts(tmp_path):
    given = _loaded(noise=0.02).y.copy()
    given[::5] = -1
    loaded = replace(_loaded(noise=0.02), y=given)
    outcome = execute(_job(), loaded, tmp_path / "run")
    assert outcome.summary["method"] == "cross_entropy"
    last = outcome.model.logits(loaded.x).argmax(1).numpy()
    assert np.array_equal(outcome.table["suggested"].to_numpy()[::5], last[::5])
    assert outcome.table["clean_prob"][::5].isna().all()


@pytest.mark.long
def test_a_given_number_of_epochs_is_not_drawn_out():
    longer = {}
    for name, opened in (("given", ("average",)), ("open", ("average", "epochs"))):
        outcome = execute(_job(2), _loaded(), free=opened)
        longer[name] = outcome.summary["choice"]["evidence"]["longer"]
    assert longer == {"given": 1.0, "open": LONGER}


def test_the_scout_is_kept_where_no_time_is_left(copied):
    record = json.loads((copied / "choice.json").read_text())
    record["verdict"]["kept"] = "plain"
    record["key"]["method.budget"] = 60.0
    record["evidence"]["scout_seconds"] = 100.0  # an epoch
    _rewrite(copied, record)
    outcome = execute(replace(_job(), method=Auto(budget=60.0)), _loaded(), copied, resume=True)
    assert outcome.summary["method"] == "cross_entropy"
    for name in ("labels.csv", "model.safetensors", "predictions.npz"):
        assert (copied / name).read_bytes() == (copied / "scout" / name).read_bytes()
    record = json.loads((copied / "choice.json").read_text())
    record["evidence"]["scout_seconds"] = 0.0  # as if there were time after all
    _rewrite(copied, record)
    again = execute(replace(_job(), method=Auto(budget=60.0)), _loaded(), copied, resume=True)
    assert _same(again, outcome)


@pytest.mark.parametrize("judged", [True, False])
def test_the_scout_is_kept_where_the_clock_ends_the_last_training(copied, monkeypatch, judged):
    record = json.loads((copied / "choice.json").read_text())
    if judged:
        record["verdict"]["kept"] = "plain"
    else:
        record["verdict"] = None
        record["decision"] |= {"method": "cross_entropy", "hyper": {"last_epoch": 6}, "epochs": 8}
    record["key"]["method.budget"] = 60.0
    record["evidence"] |= {"scout_seconds": 0.0, "best_epoch": 6, "epochs": 8}
    _rewrite(copied, record)
    left = iter([1e6, -1.0] if judged else [-1.0])  # when it is asked what fits, and when training ends: at epoch 1
    monkeypatch.setattr("codivide.fit.budget.Budget.ends", lambda self: time.monotonic() + next(left))
    said = []
    job = replace(_job(), method=Auto(budget=60.0))
    outcome = choose_run.execute(job, _loaded(), copied, free=("average",), resume=True, say=said.append)
    assert said[-1] == "the budget ended the last training after 1 epoch: the short run is the result"
    for name in ("labels.csv", "model.safetensors", "predictions.npz"):
        assert (copied / name).read_bytes() == (copied / "scout" / name).read_bytes()
    again = execute(job, _loaded(), copied, resume=True)
    assert _alike(again, outcome)


def _loses(correction, plain, rate, lost=()):
    return replace(compare(correction, plain, rate, lost), kept="plain")


def _first_stage(data, **given) -> str:
    def begin(name, epochs):
        raise _KilledError(name)

    plan = {name: value for name, value in given.items() if name != "net"}
    job = Job(Auto(), default_plan(240, Auto(), **plan), given.get("net", "auto"))
    with pytest.raises(_KilledError) as stopped:
        execute(job, data, free=unset(given), begin=begin)
    return str(stopped.value)


@pytest.mark.parametrize(
    ("given", "stage"),
    [
        pytest.param({}, "features", id="nothing"),
        pytest.param({"seed": 3, "device": "cpu"}, "features", id="what every route has"),
        pytest.param({"net": "mlp"}, "scout", id="a network"),
        pytest.param({"epochs": 5}, "scout", id="epochs"),
        pytest.param({"lr": 0.1}, "scout", id="a learning rate"),
        pytest.param({"average": 0.0}, "scout", id="no average"),
        pytest.param({"device": "cuda"}, "scout", id="an accelerator"),
    ],
)
def test_tables_go_to_features_unless_a_network_is_asked_for(given, stage):
    assert _first_stage(_loaded(), **given) == stage


def test_texts_go_to_features_and_images_do_not():
    labels = np.arange(240) % 3
    assert _first_stage(load([f"word{k} is said" for k in labels], labels)) == "features"
    images = np.random.default_rng(0).integers(0, 256, (240, 8, 8), np.uint8)
    assert _first_stage(from_arrays(images, labels)) == "scout"
    assert _first_stage(from_arrays(0 * images, labels)) == "cross_entropy"  # copies of one, of which none is held out


def test_estimator_takes_features_for_a_table(tmp_path):
    loaded = _loaded()
    X, y = loaded.x[torch.arange(240)].numpy(), loaded.y
    clf = NoisyLabelClassifier(out=tmp_path / "run").fit(X, y)
    decision = clf.choice_["decision"]
    assert decision["method"] == "features"
    assert decision["reasons"][0].startswith("features: rows of 8 numbers")
    assert clf.choice_["verdict"] is None
    assert isinstance(clf.model_, FeatureModel)
    assert clf.predict(X).shape == (240,)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["method"], config["choice"]) == ("features", clf.choice_)
    assert not (tmp_path / "run" / "scout").exists()


def test_features_that_say_nothing_are_named_in_the_choice():
    with pytest.warns(UserWarning, match="nothing can be learned"):
        clf = NoisyLabelClassifier().fit(np.ones((120, 3)), np.arange(120) % 3)
    assert "nothing can be learned" in clf.choice_["decision"]["reasons"][1]


def test_a_classifier_whose_answers_are_not_finite_is_an_error():
    X = np.random.default_rng(0).integers(0, 255, (60, 8, 8, 3)).astype(np.uint8)
    with pytest.raises(InputError, match="diverged"):
        NoisyLabelClassifier(lr=1e6, epochs=5).fit(X, np.arange(60) % 3)


@pytest.mark.long
def test_dividemix_that_is_asked_for_keeps_what_is_set(tmp_path):
    outcome = execute(_job(3, DivideMix(lambda_u=3.0)), _loaded(), tmp_path / "run")
    hyper = outcome.summary["hyper_parameters"]
    assert hyper["lambda_u"] == 3.0
    assert "auto" not in hyper.values()
    assert outcome.summary["method"] == "dividemix"
    assert outcome.summary["choice"]["verdict"] is None
    assert len(outcome.run.remember("loss_sum")) == 240
    assert outcome.run.remember("clean_prob.0").isfinite().all()  # no label is hidden


def test_methods_that_leave_nothing_open_are_not_scouted(tmp_path):
    execute(_job(2, METHODS["elr"]()), _loaded(), tmp_path / "run")
    assert not (tmp_path / "run" / "scout").exists()
    assert "choice" not in json.loads((tmp_path / "run" / "summary.json").read_text())


@pytest.mark.parametrize(
    ("samples", "classes"),
    [
        pytest.param(3, 3, id="three samples"),
        pytest.param(100, 3, id="too few"),
        pytest.param(240, 239, id="a class for each sample"),
    ],
)
def test_too_little_to_judge_by(tmp_path, samples, classes):
    _is_not_judged(_loaded(samples, 0.0, classes), tmp_path / "run")


def test_held_out_labels_of_one_class_tell_nothing(tmp_path):
    loaded = _loaded()
    _is_not_judged(replace(loaded, y=np.where(np.arange(240) < 2, 1, 0)), tmp_path / "run")


def test_labels_that_a_person_confirmed_are_not_held_out(tmp_path):
    loaded = _loaded()
    _is_not_judged(replace(loaded, confirmed=np.arange(240) < 100), tmp_path / "run")  # too few are left
    outcome = execute(_job(2), replace(loaded, confirmed=np.arange(240) < 40), tmp_path / "other")
    held = json.loads((tmp_path / "other" / "choice.json").read_text())["held_out"]
    assert len(held) == outcome.summary["choice"]["evidence"]["held_out"] == 20
    assert min(held) >= 40
    assert (outcome.table["clean_prob"][:40] == 1).all()


def _is_not_judged(loaded, folder):
    said: list[str] = []
    outcome = execute(_job(2), loaded, folder, say=said.append)
    assert outcome.summary["method"] == "cross_entropy"
    assert "too few" in said[0]
    assert outcome.summary["choice"]["decision"]["reasons"] == said


@pytest.mark.long
def test_estimator_scouts_where_a_network_is_asked_for():
    loaded = _loaded()
    X, y = loaded.x[torch.arange(240)].numpy(), loaded.y
    clf = NoisyLabelClassifier(epochs=2, net="mlp").fit(X, y)
    assert clf.choice_["evidence"]["held_out"] == 24
    assert clf.predict(X).shape == (240,)


def test_command_line(tmp_path):
    arguments = ["fit", "digits", "--out", str(tmp_path / "run"), "--limit", "220", "--epochs", "2", "--net", "mlp"]
    done = CliRunner().invoke(application(arguments), [*arguments, "--budget", "60s"])
    assert done.exit_code == 0, done.output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["choice"]["decision"]["reasons"][0].startswith("estimated noise")
    assert "stopped" not in done.output
    (said,) = re.findall(r"look wrong; .*?(\d+) s$", done.output, re.MULTILINE)  # of the whole command
    assert float(said) + 0.5 >= sum(
        summary.get(name, 0.0) for name in ("seconds", "scout_seconds", "correction_seconds")
    )
    for wrong in (
        *(["--budget", text] for text in ("soon", "-3s", "0", "inf", "nan", "5", "5d", "5 apples")),
        ["--method", "elr", "--budget", "5m"],
        ["--lambda-u", "0", "--validation", "0.2"],
    ):
        bad = [*arguments[:2], "--out", str(tmp_path / "other"), *wrong]
        failed = CliRunner().invoke(application(bad), bad)
        assert isinstance(failed.exception, InputError | typer.BadParameter)
        assert wrong[-2] in str(failed.exception)


def test_display_leaves_out_epochs_in_which_nothing_is_learned(capsys):
    with Display(4, "scout") as display:
        for epoch in (1, 2):
            display.update(None, {"epoch": epoch, "seconds": 0.1, "loss": 1.0})
        for epoch in (3, 4):
            display.update(None, {"epoch": epoch, "seconds": 0.0, "stopped": 1.0})
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "epoch" in line] == [
        "short run epoch 1/4 loss 1.000 eta 0 s",
        "short run epoch 2/4 loss 1.000 eta 0 s",
        "short run ended after epoch 2 of 4",
    ]


def test_display_of_a_round_that_has_no_loss_has_no_gap(capsys):
    with Display(2, "features") as display:
        display.update(None, {"epoch": 1, "seconds": 0.1, "round": "linear", "loss": 1.0})
        display.update(None, {"epoch": 2, "seconds": 0.1, "round": "divide"})
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == ["features step 1/2 linear loss 1.000 eta 0 s", "features step 2/2 labels judged eta 0 s"]


def test_command_line_takes_auto_and_numbers(tmp_path):
    base = ["fit", "digits", "--limit", "120", "--epochs", "2", "--net", "mlp", "--method", "dividemix"]
    arguments = [*base, "--out", str(tmp_path / "run"), "--lambda-u", "7", "--warmup", "auto"]
    done = CliRunner().invoke(application(arguments), arguments)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["hyper_parameters"]["lambda_u"] == 7
    bad = [*base, "--out", str(tmp_path / "other"), "--lambda-u", "much"]
    failed = CliRunner().invoke(application(bad), bad)
    assert failed.exit_code == 2
    assert "--lambda-u much: give a number, or auto" in " ".join(failed.output.replace("│", " ").split())


@pytest.mark.long
def test_budget_is_kept():
    outcome = execute(_job(4000, Auto(budget=3.0)), _loaded())
    assert outcome.run.epoch < 4000
    assert 0 <= outcome.summary["choice"]["evidence"]["seconds_left"] < 3
