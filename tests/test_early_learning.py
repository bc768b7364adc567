"""What is recorded of clean and wrong labels over the epochs: the numbers, and their way into a run folder."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.metrics import roc_auc_score

import codivide.noise.learning_curves as learning
from codivide import METHODS, InputError, NoisyLabelClassifier, TrainingWarning
from codivide.data.sources import load
from codivide.fit.execute import execute
from codivide.fit.job import Job, default_plan
from codivide.noise import mixtures
from codivide.runs.folder import SavedRun


def test_shares_of_a_case_counted_by_hand():
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, -1, 2])
    given = np.array([0, 0, 0, 0, 2, 2, 2, 0, 2, 1, -1])
    guess = np.array([0, 0, 0, 1, 1, 2, 0, 0, 2, 1, 0])
    #                 clean: 3 of 5 + 1     wrong: right, memorised, other, memorised
    found = learning.shares(guess, given, truth)
    assert found == pytest.approx(
        {
            "given_agreement": 7 / 10,  # 3 + 2 memorised + the 2 + the one of unknown truth
            "clean_correct": 4 / 5,
            "clean_incorrect": 1 / 5,
            "wrong_correct": 1 / 4,
            "wrong_memorised": 2 / 4,
            "wrong_other": 1 / 4,
            "recovery_accuracy": 5 / 10,  # the unlabelled one counts, and is missed
        }
    )
    assert learning.shares(guess, given) == {"given_agreement": pytest.approx(7 / 10)}


def test_shares_against_a_loop_and_sums_of_one():
    rng = np.random.default_rng(0)
    truth, given, guess = rng.integers(-1, 4, 500), rng.integers(-1, 4, 500), rng.integers(0, 4, 500)
    counts = dict.fromkeys(("clean_correct", "clean_incorrect", "wrong_correct", "wrong_memorised", "wrong_other"), 0)
    for t, y, p in zip(truth, given, guess, strict=True):
        if t < 0 or y < 0:
            continue
        if t == y:
            counts["clean_correct" if p == t else "clean_incorrect"] += 1
        else:
            counts["wrong_correct" if p == t else "wrong_memorised" if p == y else "wrong_other"] += 1
    found = learning.shares(guess, given, truth)
    for kind in ("clean", "wrong"):
        total = sum(n for name, n in counts.items() if name.startswith(kind))
        for name, n in counts.items():
            if name.startswith(kind):
                assert found[name] == pytest.approx(n / total)


def test_a_share_of_nothing_is_absent():
    labels = np.array([0, 1, 1])
    assert learning.shares(labels, labels, labels).keys() == {
        "given_agreement", "clean_correct", "clean_incorrect", "recovery_accuracy",
    }  # fmt: skip
    assert learning.shares(labels, np.full(3, -1), np.full(3, -1)) == {}


def test_final_agreement():
    assert learning.final_agreement(np.array([[0, 1, 2, 0], [1, 1, 2, 0], [1, 1, 2, 2]])) == [0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("epochs", "every", "expected"),
    [
        (4, None, [1, 2, 3, 4]),
        (1, None, [1]),
        (10, 3, [3, 6, 9, 10]),
        (9, 3, [3, 6, 9]),
        (5, 50, [5]),
        (100, None, list(range(1, 101))),
        (300, None, [*range(4, 289, 4), *range(291, 301)]),
    ],
)
def test_evaluation_epochs(epochs, every, expected):
    assert learning.evaluation_epochs(epochs, every) == expected


@pytest.mark.parametrize("epochs", [101, 150, 199, 300, 1000, 12345])
def test_automatic_evaluations_are_about_a_hundred_with_the_last_ten(epochs):
    chosen = learning.evaluation_epochs(epochs)
    assert 50 <= len(chosen) <= 101
    assert chosen[-10:] == list(range(epochs - 9, epochs + 1))


def test_recorded_epochs_are_few_even_in_memory():
    assert learning.recorded_epochs([1, 2, 3], 1000) == [1, 2, 3]
    assert learning.recorded_epochs([5], 1000) == [1, 5]
    for epochs in (51, 52, 60, 99, 100, 300, 5000):
        chosen = learning.recorded_epochs(learning.evaluation_epochs(epochs), 1000)
        assert 25 <= len(chosen) <= 52
        assert (chosen[0], chosen[-1]) == (1, epochs)
    large = learning.recorded_epochs(list(range(1, 101)), learning.MOST_BYTES // 5)
    assert large[0] == 1
    assert large[-1] == 100
    assert len(large) <= 5
    assert learning.recorded_epochs(list(range(1, 101)), 10 * learning.MOST_BYTES) == [1, 100]


def test_histogram_epochs_are_a_handful_of_recorded_ones():
    recorded = learning.recorded_epochs(learning.evaluation_epochs(200), 1000)
    chosen = learning.histogram_epochs(recorded, warmup=30)
    assert set(chosen) <= set(recorded)
    assert len(chosen) <= 8
    assert (chosen[0], chosen[-1]) == (1, 200)
    assert min(e for e in recorded if e >= 30) in chosen
    assert learning.histogram_epochs([1], warmup=99) == [1]


def test_prediction_type_holds_every_class():
    for classes in (2, 256, 257, 2**15, 2**15 + 1):
        top = torch.tensor([classes - 1])
        assert int(top.to(learning.prediction_type(classes))) == classes - 1
    assert learning.prediction_type(256).itemsize == 1
    assert learning.prediction_type(257).itemsize == 2


def test_loss_auroc_is_sklearns():
    rng = np.random.default_rng(1)
    loss, wrong = np.round(rng.random(300), 1), rng.random(300) < 0.3  # with ties
    assert learning.loss_auroc(loss, wrong) == pytest.approx(roc_auc_score(wrong, loss))
    assert learning.loss_auroc(loss, np.zeros(300, bool)) is None


def test_loss_histogram_counts_every_finite_loss_once():
    rng = np.random.default_rng(2)
    given, truth = rng.integers(-1, 3, 4000), rng.integers(-1, 3, 4000)
    wrong = given != truth
    loss = np.where(wrong, 3 + 0.3 * rng.standard_normal(4000), 0.5 + 0.1 * rng.standard_normal(4000))
    loss[:5], given[:5] = [np.nan, np.inf, 40.0, 0.2, 0.3], 0
    found = learning.loss_histogram(loss, given, truth)
    kept = (given >= 0) & np.isfinite(loss)
    members = {
        "clean": kept & (truth >= 0) & ~wrong,
        "wrong": kept & (truth >= 0) & wrong,
        "unknown": kept & (truth < 0),
    }
    edges = np.linspace(found["low"], found["high"], learning.BINS + 1)
    for name, mask in members.items():
        expected, _ = np.histogram(np.minimum(loss[mask], found["high"]), edges)
        assert sum(found[name]) == mask.sum()
        assert np.abs(np.array(found[name]) - expected).sum() <= 2  # rounding at an edge
    assert found["high"] == np.quantile(loss[kept], 0.995)
    assert "clean" not in learning.loss_histogram(loss, given)
    assert sum(learning.loss_histogram(loss, given)["unknown"]) == kept.sum()
    assert learning.loss_histogram(loss, np.full(4000, -1), truth) is None
    equal = learning.loss_histogram(np.full(9, 0.7), np.zeros(9, int))
    assert sum(equal["unknown"]) == 9
    assert "mixture" not in equal


def test_mixture_is_in_the_units_of_the_loss():
    rng = np.random.default_rng(3)
    loss = np.concatenate([rng.normal(10, 0.5, 6000), rng.normal(20, 2, 2000), [np.nan, np.inf]])
    found = mixtures.mixture(torch.from_numpy(loss))
    assert found.weight.tolist() == pytest.approx([0.75, 0.25], abs=0.01)
    assert found.mean.tolist() == pytest.approx([10, 20], abs=0.2)
    assert found.variance.sqrt().tolist() == pytest.approx([0.7, 2.05], abs=0.15)  # with the floor of (0.022 x range)^2
    # The posterior that gmm gives is the one of these two bells.
    weight, mean, variance = (field.numpy()[:, None] for field in found)
    density = weight / np.sqrt(variance) * np.exp(-((loss[:-2] - mean) ** 2) / (2 * variance))
    posterior = density[0] / density.sum(0)
    assert np.abs(posterior - mixtures.gmm(torch.from_numpy(loss)).clean_prob.numpy()[:-2]).max() < 1e-4
    assert mixtures.mixture(torch.tensor([1.0, 2.0])) is None
    assert mixtures.mixture(torch.full((50,), 3.0)) is None


@pytest.fixture(scope="module")
def noisy():
    x, truth = make_blobs(300, n_features=5, centers=3, cluster_std=1.2, random_state=0)
    given = truth.copy()
    flip = np.random.default_rng(0).random(300) < 0.3
    given[flip] = (given[flip] + 1) % 3
    loaded = load(x.astype(np.float32), given)
    return loaded, truth


def job(epochs=6, method=None, **settings) -> Job:
    return Job(method or METHODS["cross_entropy"](), default_plan(300, epochs=epochs, lr=0.05), **settings)


def rows_of(folder):
    return SavedRun(folder).rows


def with_truth(noisy, test=False):
    from dataclasses import replace

    loaded, truth = noisy
    return replace(loaded, truth=truth, test=replace(loaded, y=truth) if test else None)


def test_a_run_records_what_its_predictions_say(noisy, tmp_path):
    loaded = with_truth(noisy)
    outcome = execute(job(), loaded, tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    kept = np.load(tmp_path / "run" / "predictions.npz")
    assert kept["epochs"].tolist() == [1, 2, 3, 4, 5, 6]
    assert kept["predictions"].shape == (6, 300)
    assert kept["predictions"].dtype == np.uint8
    table = pd.read_csv(tmp_path / "run" / "labels.csv")
    assert kept["classes"][kept["predictions"][-1]].tolist() == table["suggested"].astype(str).tolist()
    for row, predicted in zip(rows, kept["predictions"], strict=True):
        expected = learning.shares(predicted.astype(int), loaded.y, loaded.truth)
        assert {name: row[name] for name in expected} == expected
        assert row["final_agreement"] == (predicted == kept["predictions"][-1]).mean()
    assert rows[-1]["recovery_accuracy"] == outcome.summary["suggestion_accuracy"]
    assert rows == json.loads(json.dumps(outcome.run.history))
    # The last record's losses are those of the model that was saved.
    losses = torch.nn.functional.cross_entropy(
        outcome.model.logits(loaded.x), torch.from_numpy(loaded.y), reduction="none"
    ).numpy()
    assert rows[-1]["losses"] == learning.loss_histogram(losses, loaded.y, loaded.truth)
    assert rows[-1]["loss_auroc"] == pytest.approx(roc_auc_score(loaded.y != loaded.truth, losses))


def test_without_truth_there_is_agreement_only(noisy, tmp_path):
    execute(job(3), noisy[0], tmp_path / "run")
    row = rows_of(tmp_path / "run")[-1]
    assert {"given_agreement", "final_agreement", "losses"} <= row.keys()
    assert not {"clean_correct", "recovery_accuracy", "loss_auroc"} & row.keys()
    assert "unknown" in row["losses"]


def test_recording_changes_no_weight_and_can_be_left_out(noisy, tmp_path):
    method = METHODS["dividemix"](warmup=2)
    kept = execute(job(method=method), noisy[0], tmp_path / "kept")
    left = execute(job(method=method, record_learning=False), noisy[0], tmp_path / "left")
    assert not (tmp_path / "left" / "predictions.npz").exists()
    assert "given_agreement" not in rows_of(tmp_path / "left")[-1]
    assert (tmp_path / "left" / "model.safetensors").read_bytes() == (
        tmp_path / "kept" / "model.safetensors"
    ).read_bytes()
    same = ["id", "given", "suggested", "suggested_prob"]  # p(clean) rests on what was recorded, too
    assert kept.table[same].equals(left.table[same])
    assert left.table["clean_prob"].to_numpy() == pytest.approx(left.run.clean_prob().numpy())
    assert not kept.table["clean_prob"].equals(left.table["clean_prob"])


def test_evaluations_and_best_epoch(noisy, tmp_path):
    loaded = with_truth(noisy, test=True)
    every = execute(job(7, evaluate_every=1), loaded, tmp_path / "every")
    third = execute(job(7, evaluate_every=3), loaded, tmp_path / "third")
    tests = {row["epoch"]: row["test_accuracy"] for row in every.run.history}
    found = {row["epoch"]: row["test_accuracy"] for row in third.run.history if "test_accuracy" in row}
    assert found == {epoch: tests[epoch] for epoch in (3, 6, 7)}
    best = max((3, 6, 7), key=lambda epoch: (tests[epoch], -epoch))
    assert third.summary["test_accuracy"] == {
        "last": tests[7],
        "last_10_mean": pytest.approx(np.mean([tests[3], tests[6], tests[7]])),
        "last_10_median": pytest.approx(np.median([tests[3], tests[6], tests[7]])),
        "last_20_median": pytest.approx(np.median([tests[3], tests[6], tests[7]])),
        "best": tests[best],
        "best_epoch": best,
        "evaluations": 3,
    }
    assert [row["epoch"] for row in rows_of(tmp_path / "third") if "recovery_accuracy" in row] == [1, 3, 6, 7]
    with pytest.raises(InputError, match="evaluate_every is 0"):
        job(evaluate_every=0)


def test_a_resumed_run_has_the_record_of_a_straight_one(noisy, tmp_path):
    loaded = with_truth(noisy, test=True)
    settings = job(8, METHODS["dividemix"](warmup=3), evaluate_every=2)
    execute(settings, loaded, tmp_path / "straight")

    class Killed(Exception):
        pass

    def kill(run, row):
        if row["epoch"] == 5:
            raise Killed

    with pytest.raises(Killed):
        execute(settings, loaded, tmp_path / "killed", progress=kill)
    execute(settings, loaded, tmp_path / "killed", resume=True)

    def record(name):
        rows = rows_of(tmp_path / name)
        for row in rows:
            del row["seconds"]
        return rows

    assert record("killed") == record("straight")
    for name in ("predictions.npz", "labels.csv", "model.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    again = (tmp_path / "straight" / "metrics.jsonl").read_bytes()
    execute(settings, loaded, tmp_path / "straight", resume=True)  # nothing is left to do
    assert (tmp_path / "straight" / "metrics.jsonl").read_bytes() == again
    with pytest.raises(InputError, match="evaluate_every"):
        execute(job(8, METHODS["dividemix"](warmup=3)), loaded, tmp_path / "straight", resume=True)


def test_many_samples_are_recorded_less_often_and_the_record_says_so(noisy, tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "MOST_BYTES", 3 * 300)
    with pytest.warns(TrainingWarning, match="3 epochs only"):
        outcome = execute(job(9), noisy[0], tmp_path / "run")
    assert np.load(tmp_path / "run" / "predictions.npz")["epochs"].tolist() == [1, 5, 9]
    assert any("3 epochs only" in text for text in outcome.summary["warnings"])


def test_the_estimator_records_whether_it_writes_or_not(noisy, tmp_path):
    loaded, _ = noisy
    x = loaded.x[torch.arange(300)].numpy()
    fit = NoisyLabelClassifier("cross_entropy", epochs=2, out=tmp_path / "run").fit(x, loaded.y)
    assert "given_agreement" in rows_of(tmp_path / "run")[-1]
    assert fit.history_[-1]["final_agreement"] == 1
    again = NoisyLabelClassifier("cross_entropy", epochs=2).fit(x, loaded.y).history_
    seconds = {"seconds"}  # the one thing that may differ
    assert [{k: v for k, v in row.items() if k not in seconds} for row in again] == [
        {k: v for k, v in row.items() if k not in seconds} for row in fit.history_
    ]
