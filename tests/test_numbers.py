"""Numbers that cannot be trusted: how columns write them, decisions on them, and what is right though it looks rare."""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.neighbors import KNeighborsRegressor

import codivide
from codivide import InputError, NoisyLabelRegressor
from codivide.audit import clean
from codivide.audit.checks import outliers
from codivide.audit.material import of_targets
from codivide.audit.target_judging import load_targets
from codivide.cli.app import application
from codivide.data.corrections import read
from codivide.data.options import ReadOptions
from codivide.data.rows import TensorRows
from codivide.data.targets import number_text, numbers
from codivide.fit.targets import with_test_part
from codivide.methods.features import number_heads
from codivide.methods.features.matrix import Scale
from codivide.methods.features.number_spread import Spread
from codivide.methods.features.numbers import Numbers, learn_numbers
from codivide.noise.target_report import of_numbers

REGRESSION = ReadOptions(task="regression")
pytestmark = pytest.mark.filterwarnings("ignore::codivide.TrainingWarning")


def run(*words: object) -> None:
    arguments = [str(word) for word in words]
    application(arguments)(arguments, standalone_mode=False)


def german(value: float) -> str:
    """A number as German spreadsheets write it: 1.219,5; whole ones without a comma."""
    text = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
    return text.translate(str.maketrans(",.", ".,"))


def rents(n: int = 120) -> tuple[pd.DataFrame, np.ndarray]:
    """A table with rents in German, the first three of them 9,000 too high, and the numbers."""
    x = np.random.default_rng(0).normal(size=(n, 2))
    y = (1500 + 400 * x[:, 0]).round() + 0.5 * (np.arange(n) % 3 > 0)
    y[:3] += 9000
    return pd.DataFrame(x, columns=["a", "b"]).assign(label=[german(value) for value in y]), y


# --- how a column writes numbers


@pytest.fixture(scope="module")
def rented(tmp_path_factory):
    """A run of German numbers."""
    folder = tmp_path_factory.mktemp("rents")
    rents()[0].to_csv(folder / "rents.csv", index=False, sep=";", decimal=",")
    run("fit", folder / "rents.csv", "--task", "regression", "--out", folder / "run")
    return folder


def test_points_between_thousands_are_read_once_and_kept_through_clean(rented, tmp_path):
    y = rents()[1]
    table = pd.read_csv(rented / "run" / "labels.csv")
    np.testing.assert_array_equal(table["given"], y)
    decisions = tmp_path / "corrections.csv"
    decisions.write_text(
        "id,given,decision,label\n"
        f'0,{table["given"][0]:g},relabel,"1544,5"\n1,{table["given"][1]:g},relabel,1.749\n2,"{german(y[2])}",keep,\n'
    )
    cleaned = clean.clean(rented / "run", tmp_path / "cleaned", read(decisions), relabel_above=1.0, drop_below=0.0)
    assert cleaned.changes["label"].tolist() == ["1544.5", "1.749"]
    back = pd.read_csv(tmp_path / "cleaned" / "labels_clean.csv")["label"]
    np.testing.assert_array_equal(back, [1544.5, 1.749, *y[2:]])
    np.testing.assert_array_equal(pd.read_parquet(tmp_path / "cleaned" / "labels_clean.parquet")["label"], back)
    points = codivide.audit.collect(rented / "run")["targets"]["points"]
    np.testing.assert_allclose(sorted(point[0] for point in points), np.sort(y))


def test_a_decision_with_a_point_is_not_read_by_the_rule_of_the_column():
    frame, y = rents()
    given = frame["label"][0]
    decided = pd.DataFrame({"id": ["0"], "given": [given], "decision": ["relabel"], "label": ["1544.125"]})
    reg = NoisyLabelRegressor().fit(frame, corrections=decided)
    assert reg.labels_["given"][0] == 1544.125
    np.testing.assert_array_equal(reg.labels_["given"][1:], y[1:])
    assert np.isfinite(reg.suggested_labels_).all()
    with pytest.raises(InputError, match=r"line 2: '1\.544,5' is no number"):
        NoisyLabelRegressor().fit(frame, corrections=decided.assign(label="1.544,5"))


def test_the_test_part_has_the_decimal_mark_of_the_training_part(tmp_path):
    frame = rents()[0]
    frame.to_csv(tmp_path / "train.csv", index=False)
    frame.assign(label=["1.250", "900", "2.300"] * 40).to_csv(tmp_path / "test.csv", index=False)
    loaded = with_test_part(load_targets(tmp_path / "train.csv", None, REGRESSION), tmp_path / "test.csv", REGRESSION)
    assert numbers(loaded.test)[:3].tolist() == [1250, 900, 2300]
    loaded = load_targets(tmp_path / "test.csv", None, REGRESSION)
    assert numbers(loaded)[:3].tolist() == [1.25, 900, 2.3]  # nothing there says that it is a comma


def test_what_was_not_changed_stands_as_in_the_source(tmp_path):
    x = np.arange(60) / 10
    texts = [f"{value - 3:.3f}" for value in x]
    pd.DataFrame({"a": x, "label": texts}).to_csv(tmp_path / "t.csv", index=False)
    run("fit", tmp_path / "t.csv", "--task", "regression", "--out", tmp_path / "run")
    assert pd.read_csv(tmp_path / "run" / "labels.csv")[["given", "suggested"]].dtypes.eq(np.float64).all()
    clean.clean(tmp_path / "run", tmp_path / "cleaned", relabel_above=1.0, drop_below=0.0)
    assert pd.read_csv(tmp_path / "cleaned" / "labels_clean.csv", dtype=str)["label"].tolist() == texts


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [
        (1703247815.5, 900.0, "1703247815.5"),
        (1703247815.5, 5e6, "1703247816"),
        (-0.00001, 2.0, "0"),
        (1200.0, 50.0, "1200"),
        (12.345678, 0.5, "12.3457"),
        (1.5e-20, 1e-21, "1.5e-20"),
        (1.5e20, 1e18, "1.5e+20"),
    ],
)
def test_a_suggestion_has_as_many_digits_as_its_spread_asks_for(value, spread, text):
    assert number_text(value, spread) == text


# --- heads


def test_boosting_asks_raw_rows_what_it_asked_of_their_levels():
    rng = np.random.default_rng(0)
    x = np.exp(3 * rng.normal(size=(2000, 2))).astype(np.float32)  # long tails: wide gaps between levels
    y = np.log(x[:, 0]) + 0.1 * rng.normal(size=2000)
    head = number_heads.fit("boosting", x, y, np.ones(2000), scale=Scale.fit(x), penalty=1.0, seed=0)
    levelled, levels = number_heads._levelled(x)
    assert set(levels) == {0, 1}
    np.testing.assert_array_equal(head.predict(x, Scale.fit(x)), head.predict(levelled, Scale.fit(x)))
    theirs = HistGradientBoostingRegressor(
        max_iter=100, max_leaf_nodes=15, l2_regularization=1.0, early_stopping=True, n_iter_no_change=10, random_state=0
    ).fit(levelled, y, sample_weight=np.ones(2000))
    np.testing.assert_allclose(head.predict(x, Scale.fit(x)), theirs.predict(levelled), atol=1e-4)


class Alike(KNeighborsRegressor):
    """A regressor that takes no weights, and says how many rows it was fitted on."""

    sizes: ClassVar[list[int]] = []

    def fit(self, X, y):
        self.sizes.append(len(X))
        return super().fit(X, y)


def test_a_model_without_weights_keeps_copies_and_refuses_weights():
    x, y = plain(100)
    for times in (1, 2, 3):
        Alike.sizes.clear()
        NoisyLabelRegressor(model=Alike()).fit(np.tile(x, (times, 1)), np.tile(y, times))
        assert min(Alike.sizes) > 0.6 * times * 100
    with pytest.raises(InputError, match="the fit of Alike takes no sample_weight"):
        NoisyLabelRegressor(model=Alike()).fit(x, y, sample_weight=np.arange(100) + 1.0)
    with pytest.raises(InputError, match=r"Alike cannot predict 20 rows \(fold 1 of 5\): ValueError"):
        NoisyLabelRegressor(model=Alike(n_neighbors=95)).fit(x, y)


# --- what is right though it looks rare


def plain(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features, and targets that they explain."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    return x, x @ [3.0, 2.0, 1.0] + 0.5 * rng.normal(size=n)


def regime(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One sample of twenty is of another kind, whose targets are 50 higher."""
    x = plain(n, seed)[0]
    noise = 0.1 * np.random.default_rng(seed + 1000).normal(size=n)
    return x, np.where(x[:, 0] > 1.645, 50, 0) + x[:, 1] + noise


@pytest.mark.long
def test_a_rare_regime_is_learned_and_not_called_wrong():
    x, y = regime(600, 1)
    found = learn_numbers(Numbers(x, y))
    assert (found.clean_prob < 0.5).sum() <= 5
    fresh_x, fresh_y = regime(1000, 2)
    assert r2_score(fresh_y, found.model.of(fresh_x)) > 0.9
    report = of_numbers(found.clean_prob, found.report["hidden"], 0.1, tuple(found.remarks.values()))
    assert report.rate < 0.02
    wrong = np.arange(600) < 30
    y[wrong] = np.roll(y[wrong], 1) + 20  # and what is wrong still shows
    found = learn_numbers(Numbers(x, y))
    assert roc_auc_score(wrong, -found.evidence) > 0.95


def test_a_regime_that_a_model_cannot_learn_lowers_trust():
    x, y = regime(600, 1)
    report = codivide.noise_report(x, y, task="regression", model=Ridge())
    assert report.trust.level == "poor"
    assert "look wrong where most like them do" in report.trust.reasons[0]
    x, y = plain(400)
    y[:40] += 30
    assert codivide.noise_report(x, y, task="regression", model=Ridge()).trust.level == "good"


def test_a_long_tail_is_learned_by_its_logarithm(tmp_path):
    x = plain(400, 1)[0]
    y = np.exp(2 * x[:, 0] + 0.05 * np.random.default_rng(0).normal(size=400))
    y[390:] = np.nan
    found = learn_numbers(Numbers(x, y))
    assert found.report["log"]
    assert not (found.clean_prob < 0.5).any()
    tail = np.argsort(y[:390])[-40:]
    assert ((found.low < y) & (y < found.high))[tail].mean() > 0.75
    truth = np.exp(2 * x[:, 0])
    np.testing.assert_allclose(found.model.of(x), truth, rtol=0.15)
    np.testing.assert_allclose(found.predicted[390:], truth[390:], rtol=0.15)
    found.model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(
        codivide.load_model(tmp_path / "model.safetensors").predict(TensorRows(torch.from_numpy(x))), found.model.of(x)
    )


def test_zeros_among_measured_values_are_no_errors():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    y = (rng.random(400) < 1 / (1 + np.exp(1 - x[:, 0]))) * np.exp(x[:, 1] + 0.1 * rng.normal(size=400))
    found = learn_numbers(Numbers(x, y))
    assert (found.clean_prob < 0.5).mean() < 0.05
    assert found.remarks


def test_an_interval_is_the_same_whichever_other_rows_lack_a_target():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2)).astype(np.float32)
    predicted, residual = 3 * x[:, 0], np.exp(1.2 * x[:, 1]) * rng.normal(size=300)
    spread = Spread.of((x, predicted), residual, np.arange(300) % 5, np.ones(300), seed=0)
    assert spread.power > 0
    every = spread.of_rows(x, predicted)
    np.testing.assert_array_equal(spread.of_rows(x[7:8], predicted[7:8]), every[7:8])
    calm, wild = x[:, 1] < -1, x[:, 1] > 1
    assert np.median(every[wild]) > 4 * np.median(every[calm])
    np.testing.assert_allclose(np.median(spread.held_out[wild]), np.median(every[wild]), rtol=0.3)


def test_outliers_among_numbers_go_by_distance_alone():
    x, y = plain(200)
    x[7] *= 100
    y[:5] = np.nan
    reg = NoisyLabelRegressor(model=Ridge()).fit(x, y)
    material = of_targets(reg._table, reg._loaded, report=reg.noise_report_, separator=";", history=reg.history_)
    found = outliers.CHECK.find(material)
    assert found.rows.tolist() == [7]
    alone = outliers.find(material.points, None, 2)
    np.testing.assert_array_equal(found.columns["outlier_score"], 1 - alone.severity)


def test_one_estimate_of_the_noise_is_written(rented):
    summary = json.loads((rented / "run" / "summary.json").read_text())
    assert "noise_estimate" not in summary["learned"]
    assert 0 < summary["noise"]["rate"] < 0.1


def test_logarithms_judge_but_a_mean_is_learned_as_it_is():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2)).astype(np.float32)
    y = np.exp(0.8 * x[:, 0] + 0.8 * rng.normal(size=500))  # the mean is 1.38 times what logarithms say
    found = learn_numbers(Numbers(x, y))
    assert found.report["log"]
    fresh = rng.normal(size=(2000, 2)).astype(np.float32)
    mean = np.exp(0.8 * fresh[:, 0] + 0.32)
    assert 0.85 < found.model.of(fresh).mean() / mean.mean() < 1.15


def test_what_has_no_logarithm_is_predicted_as_the_least_target():
    """Logarithms judge, but the model learned the targets themselves: far away it predicts less than nothing."""
    rng = np.random.default_rng(3)
    x = rng.uniform(-2, 2, (150, 2)).astype(np.float32)
    y = np.exp(x[:, 0] + 0.5 * rng.normal(size=150))
    x[:10, 0], y[:10] = -8, np.nan
    found = learn_numbers(Numbers(x, y))
    assert found.report["log"]
    assert found.model.of(x[:10]).max() < 0
    assert found.predicted[:10] == pytest.approx(np.nanmin(y))
    assert (found.low[:10] < found.predicted[:10]).all()


def test_what_was_not_learned_far_out_lowers_trust_and_the_model_learns_it_yet():
    rng = np.random.default_rng(1)
    x, new = rng.normal(size=(300, 3)).astype(np.float32), rng.normal(size=(1000, 3)).astype(np.float32)
    said = "lie far outside and are predicted there, but less than half as far out"
    tail = learn_numbers(Numbers(x, np.sinh(2 * x[:, 0]) + 0.1 * rng.normal(size=300)))  # no logarithm helps
    assert said in tail.remarks["outside"]
    assert of_numbers(tail.clean_prob, 0.1, 0.1, tuple(tail.remarks.values())).trust.level == "poor"

    def step(rows):
        return np.where((rows[:, 0] > 1) & (rows[:, 1] > 0), 30.0, 0.0) + rows[:, 1]

    y = step(x) + 0.3 * rng.normal(size=300)
    rare = learn_numbers(Numbers(x, y))
    assert r2_score(step(new), rare.model.of(new)) > 0.8
