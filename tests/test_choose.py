"""The automatic choice: the rule as a table of cases, the comparison, and whole runs on toy data."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from codivide import METHODS, NoisyLabelClassifier
from codivide.choose import Evidence, decide, execute
from codivide.choose.run import average_decay, compare, rescaled
from codivide.cli import application
from codivide.data.arrays import from_arrays
from codivide.early_learning import memorises
from codivide.engine import train
from codivide.errors import InputError
from codivide.job import Job, build_method, default_plan
from codivide.methods.auto import Auto
from codivide.methods.dividemix import PAPER, DivideMix
from codivide.recipes import RECIPES
from tests import toys

SEEN = Evidence(
    labelled=4000,
    unlabelled=0,
    classes=10,
    held_out=400,
    rate=0.5,
    low=0.4,
    high=0.6,
    kind="symmetric",
    concentration=0.1,
    trust="good",
    epochs=60,
    scouted=40,
    best_epoch=20,
    settled_epoch=12,
    agreement=0.4,
    error=0.02,
    fitted=0.6,
    memorises=True,
    scout_seconds=2.0,
)


@pytest.mark.parametrize(
    ("seen", "method", "hyper"),
    [
        pytest.param({}, "dividemix", {"lambda_u": 25.0, "warmup": 12, "alpha": 4.0}, id="half wrong"),
        pytest.param({"classes": 100}, "dividemix", {"lambda_u": 150.0}, id="a hundred classes"),
        pytest.param({"classes": 2}, "dividemix", {"lambda_u": 5.0}, id="two classes"),
        pytest.param({"rate": 0.2}, "dividemix", {"lambda_u": 0.0}, id="little noise"),
        pytest.param({"rate": 0.35}, "dividemix", {"lambda_u": 12.5}, id="between"),
        pytest.param({"rate": 0.9}, "dividemix", {"lambda_u": 50.0, "threshold": 0.6}, id="nine in ten"),
        pytest.param(
            {"rate": 0.4, "kind": "asymmetric", "concentration": 0.9},
            "dividemix",
            {"lambda_u": 0.0, "confidence_penalty": 1.0},
            id="one way",
        ),
        pytest.param({"rate": 0.4, "kind": "instance-like"}, "dividemix", {"lambda_u": 0.0}, id="instance-like"),
        pytest.param(
            {"rate": 0.1, "labelled": 100, "unlabelled": 900}, "dividemix", {"lambda_u": 25.0}, id="hidden labels"
        ),
        pytest.param({"lost": (3,)}, "dividemix", {"division": "class_wise"}, id="a class is lost"),
        pytest.param({"settled_epoch": 40}, "dividemix", {"warmup": 20}, id="long warm-up is cut"),
        pytest.param({"settled_epoch": 1}, "dividemix", {"warmup": 5}, id="short warm-up is stretched"),
        pytest.param({"memorises": False}, "dividemix", {"alpha": 4.0}, id="fits what does not carry over"),
        pytest.param({"memorises": False, "fitted": 0.45}, "cross_entropy", {}, id="nothing is memorised"),
        pytest.param({"seconds_left": 30.0}, "cross_entropy", {}, id="no time"),
    ],
)
def test_the_rule(seen, method, hyper):
    decision = decide(replace(SEEN, **seen))
    assert decision.method == method
    assert hyper.items() <= decision.hyper.items()
    assert decision.reasons[0].startswith("estimated noise")
    if method == "dividemix":
        assert set(decision.hyper) == set(PAPER)
        settled = DivideMix().settled(**decision.hyper)
        assert not settled.unsettled()
        changed = [name for name in decision.hyper if decision.hyper[name] != PAPER[name]]
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


def test_a_method_that_is_asked_for_is_only_set():
    weak = decide(replace(SEEN, memorises=False, fitted=0.41), "dividemix")
    assert weak.method == "dividemix"
    assert weak.hyper["alpha"] == 0.5  # a network without capacity to spare


def test_little_noise_makes_plain_training_the_favourite():
    assert decide(replace(SEEN, rate=0.02, low=0.0, high=0.05, kind="none")).must_win
    assert not decide(SEEN).must_win


@pytest.mark.parametrize("seconds", [100.0, 300.0, 600.0, 1e6])
def test_a_budget_is_kept_by_the_reckoning(seconds):
    decision = decide(replace(SEEN, seconds_left=seconds))
    assert decision.seconds is not None
    assert decision.seconds <= seconds
    assert 1 <= decision.epochs <= SEEN.epochs
    assert (decision.epochs == SEEN.epochs) == (seconds == 1e6)


def test_without_time_the_scout_is_the_result():
    assert decide(replace(SEEN, seconds_left=1.0)).epochs == 0


def test_comparison_is_paired():
    plain = np.arange(100) < 50
    worse = np.arange(100) < 40
    verdict = compare(worse, plain, rate=0.5)
    apart = worse.astype(float) - plain
    assert verdict.difference == pytest.approx(-0.1)
    assert verdict.error == pytest.approx(np.std(apart, ddof=1) / 10)
    assert verdict.resolution == pytest.approx(2 * verdict.error)
    assert verdict.kept == "plain"
    assert compare(plain, worse, 0.5).kept == "correction"


def test_comparison_keeps_the_correction_within_the_error_unless_it_must_win():
    plain = np.arange(100) % 2 == 0
    other = ~plain
    other[0] = other[2] = True  # 52 to 50, of which nearly all disagree
    assert compare(plain, other, 0.3).kept == "correction"
    assert compare(plain, other, 0.3, must_win=True).kept == "plain"
    assert compare(plain, plain, 0.3, must_win=True).kept == "plain"
    assert compare(plain, plain, 0.3).kept == "correction"


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
    fixed = train(DivideMix(**{**PAPER, "warmup": 1}), data, toys.build, toys.plan(2))
    assert run.method == fixed.method
    assert not toys.same(toys.state(run), toys.state(fixed))


def test_auto_itself_cannot_be_trained():
    with pytest.raises(InputError, match=r"codivide\.choose"):
        train(Auto(), toys.toy().data, toys.build, toys.plan(2))


def test_no_recipe_of_a_paper_is_automatic():
    for recipe in RECIPES.values():
        if not recipe.name.endswith("/auto"):
            assert not build_method(recipe.method, **recipe.hyper).unsettled(), recipe.name


def test_deadline_ends_training():
    with pytest.warns(UserWarning, match="time budget"):
        run = train(METHODS["cross_entropy"](), toys.toy().data, toys.build, toys.plan(4), deadline=0.0)
    assert [row.get("stopped") for row in run.history] == [None, 1.0, 1.0, 1.0]


def _loaded(samples: int = 300, noise: float = 0.4, classes: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    truth = np.arange(samples) % classes
    x = (2.0 * np.eye(classes, 8)[truth] + rng.normal(size=(samples, 8))).astype(np.float32)
    flip = rng.random(samples) < noise
    given = np.where(flip, (truth + rng.integers(1, max(classes, 2), samples)) % classes, truth)
    return from_arrays(x, given)


def _job(epochs: int = 6, method: object = None, **plan) -> Job:
    chosen = Auto() if method is None else method
    lr = {"lr": 0.1, "precision": "fp32", "batch_size": 16}
    return Job(chosen, default_plan(300, chosen, epochs=epochs, **lr, **plan), "mlp", open=("average",))


def _memorising(**plan) -> Job:
    """So long and fast that the labels are memorised."""
    return _job(10, **plan)


def test_everything_is_recorded(tmp_path):
    said: list[str] = []
    outcome = execute(_memorising(), _loaded(), tmp_path / "run", say=said.append)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    choice = summary["choice"]
    assert choice["decision"]["reasons"] == [text for text in said if text in choice["decision"]["reasons"]]
    assert choice["evidence"]["held_out"] == 30
    assert json.loads((tmp_path / "run" / "config.json").read_text())["choice"]["decision"] == choice["decision"]
    assert (tmp_path / "run" / "scout" / "model.safetensors").is_file()
    if choice["decision"]["method"] == "dividemix":
        assert choice["verdict"]["text"] in said
        assert choice["verdict"]["held_out"] == 30
    assert np.isfinite(outcome.table["clean_prob"]).all()  # also of what was held out
    assert outcome.summary["plan"]["average"] > 0


def test_one_class_is_said_at_once():
    loaded = _loaded()
    with pytest.raises(InputError, match="nothing to learn"):
        execute(_job(2), replace(loaded, y=np.full(300, -1)))


def test_same_seed_same_choice_and_labels():
    first, second = (execute(_memorising(), _loaded()) for _ in range(2))
    chosen = [outcome.summary["choice"]["decision"] for outcome in (first, second)]
    for decision in chosen:
        decision.pop("seconds")
        decision.pop("reasons")
    assert chosen[0] == chosen[1]
    assert first.table.equals(second.table)


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("stage", ["scout", "main"])
def test_a_killed_run_goes_on(tmp_path, stage):
    whole = execute(_memorising(), _loaded(), tmp_path / "whole")

    stages: list[str] = []

    def begin(name, epochs):
        stages.append(name)

        def progress(run, row):
            if row["epoch"] == 4 and (name == "scout") == (stage == "scout"):
                raise _KilledError

        return progress

    with pytest.raises(_KilledError):
        execute(_memorising(), _loaded(), tmp_path / "killed", begin=begin)
    again: list[str] = []
    resumed = execute(
        _memorising(),
        _loaded(),
        tmp_path / "killed",
        resume=True,
        begin=lambda name, epochs: again.append(name) or (lambda run, row: None),
    )
    if stage == "main" and whole.summary["choice"]["decision"]["method"] == "dividemix":
        assert again[0] == "dividemix"  # nothing is scouted again
    assert resumed.table.equals(whole.table)
    assert (tmp_path / "killed" / "labels.csv").read_bytes() == (tmp_path / "whole" / "labels.csv").read_bytes()


def test_a_finished_run_resumed_is_the_same(tmp_path):
    whole = execute(_memorising(), _loaded(), tmp_path / "run")
    resumed = execute(_memorising(), _loaded(), tmp_path / "run", resume=True)
    assert resumed.table.equals(whole.table)


def test_a_choice_of_another_run_is_refused(tmp_path):
    execute(_job(4), _loaded(), tmp_path / "run")
    with pytest.raises(InputError, match="seed is 0 there and 1 now"):
        execute(_job(4, seed=1), _loaded(), tmp_path / "run", resume=True)
    (tmp_path / "run" / "choice.json").write_text("{")
    with pytest.raises(InputError, match="not a record of a choice"):
        execute(_job(4), _loaded(), tmp_path / "run", resume=True)


def test_plain_training_is_kept_where_the_correction_loses(tmp_path, monkeypatch):
    monkeypatch.setattr("codivide.choose.run.compare", _loses)
    monkeypatch.setattr("codivide.choose.run.decide", lambda seen, method: decide(replace(seen, memorises=True)))
    outcome = execute(_memorising(), _loaded(), tmp_path / "run")
    assert outcome.summary["method"] == "cross_entropy"
    assert outcome.summary["choice"]["verdict"]["kept"] == "plain"
    assert outcome.summary["choice"]["decision"]["method"] == "dividemix"
    run, scout = tmp_path / "run", tmp_path / "run" / "scout"
    for name in ("labels.csv", "model.safetensors", "predictions.npz"):
        assert (run / name).read_bytes() == (scout / name).read_bytes()
    assert json.loads((run / "config.json").read_text())["method"] == "cross_entropy"
    again = execute(_memorising(), _loaded(), run, resume=True)
    assert again.table.equals(outcome.table)


def _loses(correction, plain, rate, must_win=False):
    return replace(compare(correction, plain, rate, must_win), kept="plain")


def test_dividemix_that_is_asked_for_keeps_what_is_set(tmp_path):
    outcome = execute(_job(6, DivideMix(lambda_u=3.0)), _loaded(), tmp_path / "run")
    hyper = outcome.summary["hyper_parameters"]
    assert hyper["lambda_u"] == 3.0
    assert "auto" not in hyper.values()
    assert outcome.summary["method"] == "dividemix"
    assert outcome.summary["choice"]["verdict"] is None
    assert len(outcome.run.remember("loss_sum")) == 300
    assert outcome.run.remember("clean_prob.0").isfinite().all()  # no label is hidden


def test_methods_that_leave_nothing_open_are_not_scouted(tmp_path):
    execute(_job(2, METHODS["elr"]()), _loaded(), tmp_path / "run")
    assert not (tmp_path / "run" / "scout").exists()
    assert "choice" not in json.loads((tmp_path / "run" / "summary.json").read_text())


@pytest.mark.parametrize(
    ("samples", "classes"),
    [pytest.param(3, 3, id="three samples"), pytest.param(100, 3, id="too few")],
)
def test_too_little_to_judge_by(tmp_path, samples, classes):
    said: list[str] = []
    outcome = execute(_job(2), _loaded(samples, 0.0, classes), tmp_path / "run", say=said.append)
    assert outcome.summary["method"] == "cross_entropy"
    assert "too few" in said[0]
    assert outcome.summary["choice"]["decision"]["reasons"] == said


def test_estimator_chooses_by_default():
    loaded = _loaded()
    X, y = loaded.x[torch.arange(300)].numpy(), loaded.y
    clf = NoisyLabelClassifier(epochs=5, net="mlp").fit(X, y)
    assert clf.choice_["decision"]["reasons"]
    assert clf.predict(X).shape == (300,)


def test_command_line(tmp_path):
    arguments = ["fit", "digits", "--out", str(tmp_path / "run"), "--limit", "300", "--epochs", "4", "--net", "mlp"]
    done = CliRunner().invoke(application(arguments), [*arguments, "--budget", "60s"])
    assert done.exit_code == 0, done.output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["choice"]["decision"]["reasons"][0].startswith("estimated noise")
    for wrong in (["--budget", "soon"], ["--method", "elr", "--budget", "5m"]):
        bad = [*arguments[:2], "--out", str(tmp_path / "other"), *wrong]
        failed = CliRunner().invoke(application(bad), bad)
        assert isinstance(failed.exception, InputError | typer.BadParameter)
        assert "--budget" in str(failed.exception)


def test_command_line_takes_auto_and_numbers(tmp_path):
    base = ["fit", "digits", "--limit", "150", "--epochs", "3", "--net", "mlp", "--method", "dividemix"]
    arguments = [*base, "--out", str(tmp_path / "run"), "--lambda-u", "7", "--warmup", "auto"]
    done = CliRunner().invoke(application(arguments), arguments)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["hyper_parameters"]["lambda_u"] == 7
    bad = [*base, "--out", str(tmp_path / "other"), "--lambda-u", "much"]
    failed = CliRunner().invoke(application(bad), bad)
    assert failed.exit_code == 2
    assert "--lambda-u much: give a number, or auto" in " ".join(failed.output.replace("│", " ").split())


def test_budget_is_kept():
    job = _job(4000, Auto(budget=6.0))
    outcome = execute(job, _loaded())
    assert outcome.run.epoch < 4000
    spent = outcome.summary["seconds"] + outcome.summary.get("scout_seconds", 0.0)
    assert spent < 9.0
    assert math.isfinite(outcome.summary["choice"]["evidence"]["seconds_left"])
