"""Numbers, and several labels a row: statistics, estimators, files, and what is refused."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scipy.stats import t as student
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

import codivide
from codivide import (
    Features,
    InputError,
    NoisyLabelClassifier,
    NoisyLabelRegressor,
    NoisyMultiLabelClassifier,
    noise_report,
)
from codivide.audit import clean
from codivide.audit.target_judging import load_targets
from codivide.cli.app import application
from codivide.data.corrections import read
from codivide.data.options import ReadOptions
from codivide.data.rows import TensorRows
from codivide.data.targets import members, numbers, parts, texts_of
from codivide.methods.features import number_heads
from codivide.methods.features import numbers as learner
from codivide.methods.features.matrix import Scale
from codivide.methods.features.numbers import Numbers, learn_numbers
from codivide.methods.features.tags import Tags, learn_tags
from codivide.noise import residuals, target_report
from codivide.noise.several import Channels, row_score
from codivide.runs.changed import check_again
from codivide.runs.folder import SavedRun

REGRESSION, MULTILABEL = ReadOptions(task="regression"), ReadOptions(task="multilabel")
pytestmark = pytest.mark.filterwarnings("ignore::codivide.TrainingWarning")


def houses(n: int = 200, wrong: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features and prices, of which the first are ten times too high."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    y = x @ [30.0, 20.0, 10.0] + 100 + 5 * rng.normal(size=n)
    y[:wrong] *= 10
    return x, y


def tagged(n: int = 300, wrong: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features and three labels; of the first rows the first label is wrong."""
    x = np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)
    y = (x[:, :3] > 0).astype(np.int64)
    y[:wrong, 0] = 1 - y[:wrong, 0]
    return x, y


# --- statistics


def test_the_posterior_is_bayes_rule_and_a_far_target_is_wrong():
    rng = np.random.default_rng(0)
    predicted = rng.normal(size=500)
    y = predicted + 0.1 * rng.standard_t(8, 500)
    y[:25] = rng.uniform(-8, 8, 25)
    spread = np.full(500, 0.1)
    found = residuals.settle(y, predicted, spread)
    assert roc_auc_score(np.arange(500) < 25, -found.evidence) > 0.97
    assert 0.03 < found.rate < 0.09
    right = student.pdf((y - predicted) / (0.1 * found.factor), found.tails) / (0.1 * found.factor)
    odds = found.clean_prob / (1 - found.clean_prob).clip(1e-12)
    wrong = right * (1 - found.rate) / found.rate / odds.clip(1e-12)  # the density that Bayes' rule implies
    near = (found.clean_prob > 0.01) & (found.clean_prob < 0.999)
    np.testing.assert_allclose(np.log(right / wrong)[near], found.evidence[near], atol=1e-6)


def test_data_without_a_wrong_target_show_none():
    rng = np.random.default_rng(1)
    predicted = rng.normal(size=400)
    found = residuals.settle(predicted + rng.normal(size=400), predicted, np.ones(400))
    assert found.rate <= residuals.NOTHING
    assert (found.clean_prob > 0.5).all()


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.2, 0.4])
def test_the_share_of_wrong_targets_lies_in_its_interval_where_most_of_them_hide(rate):
    x, y = load_diabetes(return_X_y=True)
    rng = np.random.default_rng(0)
    wrong = rng.random(len(y)) < rate
    y[wrong] = rng.permutation(y[wrong])
    said = cross_val_predict(Ridge(0.1), x, y)
    report = codivide.noise_report(None, y, predictions=said, task="regression")
    assert report.low <= wrong.mean() <= report.high
    assert report.hidden > 0.5


def test_what_the_residuals_exclude_is_known_well_where_wrong_targets_show():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=400)
    y, small = truth + 0.1 * rng.normal(size=400), np.full(400, 0.07)
    assert residuals.most(y, truth, small, 0.1) < 0.03
    y[:40] = rng.permutation(y[:40])
    assert 0.09 < residuals.most(y, truth, small, 0.1) < 0.16
    shrunk = 0.9 * truth  # as predictions are that were learned of such targets
    assert 0.09 < residuals.most(y, shrunk, small, 0.1) < 0.18
    assert residuals.most(y, truth, small, 0.8) == residuals.MOST_WRONG  # they would look right


def test_confirmed_targets_cannot_be_the_wrong_ones():
    x, y = houses(100, 0)
    assert learn_numbers(Numbers(x, y, confirmed=np.ones(100, bool))).report["most"] == 0


def test_the_interval_holds_right_targets_as_often_as_it_says():
    x, y = houses(250, 0)
    found = learn_numbers(Numbers(x, y))
    assert 0.84 < ((y > found.low) & (y < found.high)).mean() < 0.97


def test_a_row_is_right_where_all_labels_are():
    scores = np.array([[0.9, 0.5, 0.8], [1.0, np.nan, 1.0], [np.nan] * 3])
    np.testing.assert_allclose(row_score(scores), [0.36, 1.0, np.nan])


def test_channels_tell_how_labels_were_given():
    rng = np.random.default_rng(0)
    true = rng.random((4000, 2)) < 0.4
    given = np.where(rng.random(true.shape) < 0.1, ~true, true).astype(np.int64)
    probs = np.where(true, 0.9, 0.1)  # of what was given
    channels = Channels.of(probs, given)
    np.testing.assert_allclose(channels.transition[:, 0, 1], 0.1, atol=0.03)
    np.testing.assert_allclose(channels.transition[:, 1, 0], 0.1, atol=0.03)
    assert ((channels.clean_prob(given) < 0.5) == (given != true)).mean() > 0.99


def test_trees_of_numbers_say_what_scikit_learn_says():
    x, y = houses(200, 0)
    u, weight = (y - y.mean()) / y.std(), np.ones(200)
    head = number_heads.fit("forest", x, u, weight, scale=Scale.fit(x), penalty=1.0, seed=0)
    theirs = ExtraTreesRegressor(60, min_samples_leaf=3, max_features=0.5, random_state=0).fit(x, u)
    np.testing.assert_allclose(head.predict(x, Scale.fit(x)), theirs.predict(x), atol=1e-5)
    levels = np.round(x, 1)  # fewer values than boosting tells apart
    head = number_heads.fit("boosting", levels, u, weight, scale=Scale.fit(x), penalty=1.0, seed=0)
    theirs = HistGradientBoostingRegressor(
        max_iter=100, max_leaf_nodes=15, l2_regularization=1.0, early_stopping=True, n_iter_no_change=10, random_state=0
    ).fit(levels, u, sample_weight=weight)
    np.testing.assert_allclose(head.predict(levels, Scale.fit(x)), theirs.predict(levels), atol=1e-4)


def test_confirmed_targets_copies_and_groups_are_kept():
    x, y = houses(120, 4)
    confirmed = np.arange(120) == 0
    twice = np.concatenate([np.arange(120), [1] * 8])
    copies = torch.from_numpy(twice)
    found = learn_numbers(Numbers(x[twice], y[twice], confirmed=confirmed[twice], groups=copies, copies=copies))
    assert found.clean_prob[0] == 1
    assert (found.clean_prob[[1, 120, 127]] < 0.1).all()  # its copies in other folds would vouch for it


def test_what_features_say_nothing_of_is_said():
    rng = np.random.default_rng(0)
    found = learn_numbers(Numbers(rng.normal(size=(80, 3)).astype(np.float32), rng.normal(size=80)))
    assert "say nothing" in found.remarks["independent"]
    found = learn_tags(Tags(rng.normal(size=(200, 3)).astype(np.float32), (rng.random((200, 2)) < 0.5) * 1, ("a", "b")))
    assert set(found.unjudged) == {"a", "b"}
    assert np.nanmin(found.clean_prob) >= 0.5


# --- estimators


def test_a_regressor_finds_wrong_prices_and_is_not_led_by_them():
    x, y = houses()
    reg = NoisyLabelRegressor().fit(x, y)
    assert set(reg.label_issues_["id"].head(12)) == set(range(12))
    assert (reg.clean_proba_[:12] < 0.1).all()
    assert len(reg.label_issues_) < 20
    fresh_x, fresh_y = houses(200, 0, seed=1)
    assert reg.score(fresh_x, fresh_y) > 0.95
    assert reg.labels_["given"].dtype == np.float64
    assert (reg.labels_["predicted_low"] < reg.labels_["predicted_high"]).all()
    np.testing.assert_array_equal(reg.predict(x), clone(reg).fit(x, y).predict(x))
    assert "targets" in str(codivide.noise_report(reg))


def test_a_classifier_of_several_labels_finds_the_wrong_ones():
    x, y = tagged()
    clf = NoisyMultiLabelClassifier().fit(x, pd.DataFrame(y, columns=["sky", "sea", "cat"]))
    assert list(clf.classes_) == ["sky", "sea", "cat"]
    assert set(clf.label_issues_["id"].head(10)) <= set(range(12))
    assert clf.label_issues_["label_changes"].head(10).str.contains("sky").all()
    assert clf.label_clean_proba_.shape == clf.suggested_labels_.shape == (300, 3)
    np.testing.assert_array_equal(clf.suggested_labels_[12:200, 1], y[12:200, 1])
    fresh, truth = tagged(200, 0, seed=1)
    assert (clf.predict(fresh) == truth).mean() > 0.93
    assert 0.02 < clf.noise_report_.rate < 0.1
    assert clf.noise_report_.to_frame().shape == (3, 3)


@pytest.mark.parametrize("model", [Ridge(), ExtraTreesRegressor(10, random_state=0)])
def test_an_own_regressor(model):
    x, y = houses(150, 6)
    reg = NoisyLabelRegressor(model=model).fit(x, y)
    assert set(reg.label_issues_["id"].head(6)) == set(range(6))
    assert reg.predict(x[:2]).shape == (2,)


def test_an_own_classifier_of_several_labels():
    x, y = tagged(150, 6)
    clf = NoisyMultiLabelClassifier(model=LogisticRegression()).fit(x, y)
    assert set(clf.label_issues_["id"].head(4)) <= set(range(6))
    assert clf.predict_proba(x[:2]).shape == (2, 3)


def test_texts_and_sparse_features():
    words = np.array(["cheap old small", "dear new large"])[np.arange(120) % 2]
    y = np.where(np.arange(120) % 2, 200.0, 50.0) + np.arange(120) % 7
    y[4] = 900
    reg = NoisyLabelRegressor().fit([f"{text} {k}" for k, text in enumerate(words)], y)
    assert reg.label_issues_["id"].iloc[0] == 4
    assert reg.predict(["cheap old small"])[0] < 100 < reg.predict(["dear new large"])[0]
    x, tags = tagged(150, 0)
    assert NoisyMultiLabelClassifier().fit(sparse.csr_matrix(x), tags).predict(sparse.csr_matrix(x)).shape == (150, 3)


def test_targets_that_are_missing_are_counted_and_predicted():
    x, y = houses()
    y[20] = np.nan
    with pytest.warns(codivide.TrainingWarning, match="1 of 200 targets are empty"):
        reg = NoisyLabelRegressor().fit(x, y)
    assert np.isnan(reg.clean_proba_[20])
    assert np.isfinite(reg.predicted_[20])
    x, tags = tagged()
    rows = [None if k == 3 else [f"t{j}" for j in np.flatnonzero(row)] for k, row in enumerate(tags)]
    clf = NoisyMultiLabelClassifier().fit(x, rows)
    assert np.isnan(clf.clean_proba_[3])
    assert clf.suggested_labels_[3].tolist() == (x[3, :3] > 0).astype(int).tolist()


# --- bad input


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([1.0, np.inf] * 20, "target 1 is infinity"),
        ([3.0] * 40, "all targets are 3, which is no more than one sample"),
        (["12 kg", "13 kg"] * 20, "row 0: the target '12 kg' is no finite number; write 12, without unit"),
        (["4", "red"] * 20, "row 1: the target 'red' is no finite number"),
        (np.ones((40, 2)), "shape \\(40, 2\\); a number for each sample"),
        ([1.0, 2.0], "differ in length"),
        ([np.nan] * 38 + [1.0, 2.0], "2 samples have a target; at least 10"),
    ],
)
def test_bad_numbers_are_one_clear_error(y, said):
    x = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(InputError, match=said):
        NoisyLabelRegressor().fit(x, y)


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (np.full((40, 2), 3), r"y\[0, 0\] is 3"),
        (np.ones((40, 2)), "all rows have the labels 0;1"),
        (np.ones(40), "shape \\(40,\\)"),
        ([["a;b"], ["c"]] * 20, "holds the separator"),
        ([["a"], 3] * 20, "row 1 is 3; give a list"),
        ([["a"]] * 2 + [["b"]] * 38, "no label can be learned"),
    ],
)
def test_bad_sets_are_one_clear_error(y, said):
    x = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(InputError, match=said):
        NoisyMultiLabelClassifier().fit(x, y)


def test_a_classifier_is_no_regressor():
    x, y = houses(60, 0)
    with pytest.raises(InputError, match="no regressor"):
        NoisyLabelRegressor(model=LogisticRegression()).fit(x, y)


def test_texts_of_targets_are_read_back():
    y = np.array([[1, 0], [0, 0], [1, 1]])
    texts, names, _ = texts_of(y, MULTILABEL)
    assert texts == ["0", "(none)", "0;1"]
    assert names == ("0", "1")
    assert texts_of([{"b", "a"}, [], None], MULTILABEL).texts == ["a;b", "(none)", None]
    assert parts(" b; a ;;b", ";") == ["b", "a"]
    x = np.arange(12.0).reshape(6, 2)
    loaded = load_targets(x, ["1,5", "2", None, "3", "-1", "2"], REGRESSION)
    np.testing.assert_array_equal(numbers(loaded), [1.5, 2, np.nan, 3, -1, 2])
    loaded = load_targets(x, ["a;b", "b; a", None, "(none)", "c", "a"], MULTILABEL)
    found = members(loaded, ";")
    assert found.names == ("a", "b", "c")
    assert found.y.tolist() == [[1, 1, 0], [1, 1, 0], [-1, -1, -1], [0, 0, 0], [0, 0, 1], [1, 0, 0]]


# --- scores and reports


def test_scores_by_predictions_alone():
    x, y = houses()
    score = codivide.score_labels("combined", y, predictions=x @ [30.0, 20.0, 10.0] + 100, task="regression")
    assert (score[:12] < 0.1).all()
    assert (score[12:] > 0.5).mean() > 0.97
    order = codivide.score_labels("residual", y, features=x, task="regression")
    assert set(np.argsort(order)[:12]) == set(range(12))
    x, tags = tagged()
    probs = np.where(x[:, :3] > 0, 0.95, 0.05)
    score = codivide.score_labels("combined", tags, pred_probs=probs, task="multilabel")
    assert score.shape == (300, 3)
    assert (score[:12, 0] < score[12:, 0].min()).all()
    assert (score[12:] > 0.5).all()
    with pytest.raises(InputError, match="unknown rule of task regression 'gmm'"):
        codivide.score_labels("gmm", y, predictions=y, task="regression")
    with pytest.raises(InputError, match="predictions have shape"):
        codivide.score_labels("combined", y, predictions=y[:3], task="regression")
    with pytest.raises(InputError, match="needs predictions"):
        codivide.score_labels("combined", y, task="regression")


def test_predictions_in_another_order_are_never_taken_as_they_are():
    x, tags = tagged()
    names, probs = ["sky", "sea", "cat"], np.where(x[:, :3] > 0, 0.9, 0.1)
    lists = [[name for name, has in zip(names, row, strict=True) if has] for row in tags]
    frame = pd.DataFrame(probs, columns=names)
    task = {"task": "multilabel"}
    right = codivide.score_labels("combined", lists, pred_probs=frame, **task)
    assert right == pytest.approx(codivide.score_labels("combined", tags, pred_probs=probs, **task)[:, [2, 1, 0]])
    with pytest.raises(InputError, match=r"another order than .'cat', 'sea', 'sky'.*the column of 'sky' fits 'cat'"):
        codivide.noise_report(None, lists, pred_probs=probs, **task)
    order = np.random.default_rng(0).permutation(len(tags))
    with pytest.raises(InputError, match="say nothing of any label"):
        codivide.score_labels("combined", tags, pred_probs=probs[order], **task)
    with pytest.raises(InputError, match="index of pred_probs has the rows of y in another order"):
        codivide.score_labels("combined", pd.DataFrame(tags, columns=names).iloc[order], pred_probs=frame, **task)
    with pytest.warns(UserWarning, match="sum to 1"):
        found = codivide.noise_report(None, tags, pred_probs=probs / probs.sum(1, keepdims=True), **task)
    assert found.trust.level == "poor"
    x, y = houses()
    predicted, task = pd.Series(x @ [30.0, 20.0, 10.0] + 100), {"task": "regression"}
    with pytest.raises(InputError, match="index of predictions has the rows of y in another order"):
        codivide.score_labels("combined", pd.Series(y).sample(frac=1, random_state=0), predictions=predicted, **task)
    with pytest.warns(UserWarning, match="the index of y has the rows of X in another order"):
        NoisyLabelRegressor(model=Ridge()).fit(pd.DataFrame(x), pd.Series(y).sample(frac=1, random_state=0))


def test_numbers_that_name_labels_are_in_the_order_of_their_values():
    written = [[k for k in range(12) if row >> k & 1] for row in range(1, 60)]
    loaded = load_targets(np.zeros((59, 1)), written, ReadOptions(task="multilabel"))
    assert members(loaded, ";").names[:4] == ("0", "1", "2", "3")


def test_a_wide_interval_makes_the_trust_fair():
    for doubt, level in ((0.95, "good"), (0.6, "fair")):
        each = np.full((400, 2), doubt)
        report = target_report.of_sets(each.prod(1), each, ["sea", "sky"], [200, 200], [])
        assert report.trust.level == level
    assert report.trust.reasons == ("the interval is 65 points wide",)


def test_predictions_that_cannot_judge_numbers_are_said():
    x, y = houses()
    predicted, task = x @ [30.0, 20.0, 10.0] + 100, {"task": "regression"}
    one = codivide.score_labels("combined", y, predictions=predicted[:, None], **task)
    assert one.tolist() == codivide.score_labels("combined", y, predictions=predicted, **task).tolist()
    for bad in (np.random.default_rng(0).permutation(predicted), np.full(len(y), 100.0), 1000 * predicted):
        with pytest.warns(UserWarning, match="say nothing of the targets"):
            assert codivide.noise_report(None, y, predictions=bad, **task).trust.level == "poor"
    with pytest.warns(UserWarning, match="100 % of the predictions are the very targets"):
        assert codivide.noise_report(None, y, predictions=y, **task).trust.level == "poor"
    with pytest.raises(InputError, match="all targets are 7"):
        codivide.noise_report(None, np.full(len(y), 7.0), predictions=predicted, **task)


def test_predictions_that_hide_most_wrong_numbers_bound_nothing():
    rng = np.random.default_rng(0)
    predicted = rng.normal(size=400)
    y = predicted + rng.normal(size=400)
    wrong = rng.random(400) < 0.2
    y[wrong] = rng.permutation(y[wrong])
    report = codivide.noise_report(None, y, predictions=predicted, task="regression")
    assert report.low < wrong.mean() < report.high
    assert (report.trust.level, report.kind) == ("poor", "unclear")
    assert "ends where the residuals exclude more" in report.trust.reasons[0]


def test_reports_know_what_they_cannot_see():
    x, y = houses()
    report = codivide.noise_report(x, y, task="regression", model=Ridge())
    assert report.low <= 0.04 <= report.high
    assert 0 < report.hidden < 1
    x, tags = tagged()
    report = codivide.noise_report(x, tags, task="multilabel")
    assert report.low <= 0.04 <= report.high
    assert [item.name for item in report.per_class] == ["0", "1", "2"]
    json.dumps(report.to_dict(), allow_nan=False)


# --- files


def run(*words: str) -> None:
    arguments = [str(word) for word in words]
    application(arguments)(arguments, standalone_mode=False)


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    """A run of numbers."""
    folder = tmp_path_factory.mktemp("prices")
    x, y = houses(150, 6)
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(
        kind=np.array(["x", "y"])[np.arange(150) % 2], price=y.round(2)
    )
    frame.loc[20, "price"] = np.nan
    frame.to_csv(folder / "houses.csv", index=False)
    run("fit", folder / "houses.csv", "--label", "price", "--task", "regression", "--out", folder / "run")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A run of several labels."""
    folder = tmp_path_factory.mktemp("tags")
    x, y = tagged(200, 8)
    texts = [
        ";".join(name for name, has in zip(("sky", "sea", "cat"), row, strict=True) if has) or "(none)" for row in y
    ]
    pd.DataFrame(x, columns=list("abcd")).assign(tags=texts).to_csv(folder / "tags.csv", index=False)
    run("fit", folder / "tags.csv", "--label", "tags", "--task", "multilabel", "--out", folder / "run")
    return folder


def test_cleaned_prices_train_again(prices, tmp_path):
    cleaned = clean.clean(prices / "run", tmp_path / "cleaned")
    assert set(range(6)) <= set(cleaned.changes["id"].astype(int))
    assert len(cleaned.changes) < 10
    table = pd.read_csv(tmp_path / "cleaned" / "labels_clean.csv")
    assert table["price"].max() < 300
    assert table["price"].isna().sum() == 1
    again = ("--label", "price", "--task", "regression", "--out", tmp_path / "again")
    run("fit", tmp_path / "cleaned" / "labels_clean.csv", *again)
    assert json.loads((tmp_path / "again" / "summary.json").read_text())["label_issues"] <= 2


def test_a_person_decides_on_numbers(prices, tmp_path):
    given = pd.read_csv(prices / "houses.csv")["price"]
    rows = [f"0,{given[0]:g},relabel,123.5", f"1,{given[1]:g},keep,", f"2,{given[2]:g},junk,"]
    decisions = tmp_path / "corrections.csv"
    decisions.write_text("id,given,decision,label\n" + "\n".join(rows) + "\n")
    cleaned = clean.clean(prices / "run", tmp_path / "cleaned", read(decisions))
    assert cleaned.changes["change"].tolist() == ["relabelled", "dropped"]
    words = ("--label", "price", "--task", "regression", "--corrections", decisions)
    run("fit", prices / "houses.csv", *words, "--out", tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "labels.csv").set_index("id")
    assert table.loc[0, "given"] == 123.5
    assert table.loc[[0, 1], "clean_prob"].eq(1).all()
    assert 2 not in table.index
    decisions.write_text(f"id,given,decision,label\n0,{given[0]:g},relabel,red\n")
    with pytest.raises(InputError, match="line 2: 'red' is no number"):
        clean.clean(prices / "run", tmp_path / "other", read(decisions))


def test_models_are_read_again_and_predict(prices, photos, tmp_path, capsys):
    model = codivide.load_model(prices / "run" / "model.safetensors")
    frame = pd.read_csv(prices / "houses.csv").drop(columns="price")
    said = model.predict(model.encoder.encode(frame))
    run("predict", prices / "run", prices / "houses.csv", "--out", tmp_path / "p.csv")
    np.testing.assert_allclose(pd.read_csv(tmp_path / "p.csv")["prediction"], said, rtol=1e-6)
    run("predict", prices / "run", prices / "houses.csv", "--out", tmp_path / "p.parquet")
    assert list(pd.read_parquet(tmp_path / "p.parquet").columns) == ["id", "prediction"]
    run("predict", photos / "run", photos / "tags.csv", "--out", tmp_path / "t.csv")
    table = pd.read_csv(tmp_path / "t.csv")
    assert list(table.columns) == ["id", "label", "cat", "sea", "sky"]
    x = pd.read_csv(photos / "tags.csv")[list("abcd")].to_numpy(dtype=np.float32)
    probs = codivide.load_model(photos / "run" / "model.safetensors").probs(TensorRows(torch.from_numpy(x)))
    np.testing.assert_allclose(table[["cat", "sea", "sky"]], probs, atol=1e-4)


def test_facts_of_numbers_and_of_several_labels(prices, photos):
    facts = codivide.audit.collect(prices / "run")
    assert facts["targets"]["kind"] == "regression"
    assert facts["confusion"] == []
    assert facts["issues_total"] == sum(flag for *_, flag in facts["targets"]["points"])
    issue = facts["issues"][0]
    assert issue["range"][0] < float(facts["classes"][issue["suggested"]]) < issue["range"][1]
    json.dumps(facts, allow_nan=False)
    facts = codivide.audit.collect(photos / "run")
    assert facts["targets"]["names"] == ["cat", "sea", "sky"]
    changed = {item["name"]: item["added"] + item["removed"] for item in facts["targets"]["labels"]}
    assert changed["sky"] >= 4 > changed["cat"] + changed["sea"]


def test_labels_that_there_are_not_are_no_decision(photos, tmp_path):
    given = pd.read_csv(photos / "tags.csv")["tags"][0]
    decisions = tmp_path / "corrections.csv"
    decisions.write_text(f"id,given,decision,label\n0,{given},relabel,sky;dog\n")
    with pytest.raises(InputError, match="line 2: no row has the label 'dog'"):
        clean.clean(photos / "run", tmp_path / "cleaned", read(decisions))
    decisions.write_text(f"id,given,decision,label\n0,{given},relabel,cat;sky\n")
    cleaned = clean.clean(photos / "run", tmp_path / "cleaned", read(decisions))
    assert cleaned.labels["label"].iloc[0] == "cat;sky"


def test_a_column_for_each_label_and_a_test_part(tmp_path):
    x, y = tagged(150, 0)
    frame = pd.DataFrame(x, columns=list("abcd")).assign(sky=y[:, 0], sea=y[:, 1], cat=y[:, 2])
    frame["split"] = np.where(np.arange(150) < 110, "train", "test")
    frame.to_csv(tmp_path / "tags.csv", index=False)
    run("fit", tmp_path / "tags.csv", "--label", "sky,sea,cat", "--task", "multilabel", "--out", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["test_macro_f1"] > 0.8
    frame.loc[3, "sea"] = 7
    frame.to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(InputError, match="row 3, column 'sea' is"):
        run("fit", tmp_path / "bad.csv", "--label", "sky,sea,cat", "--task", "multilabel", "--out", tmp_path / "run2")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "dividemix"), "--method dividemix does not apply to --task regression"),
        (("--noise", "symmetric:0.2"), "--noise symmetric:0.2 does not apply"),
        (("--annotators", "a,b"), "--annotators a,b does not apply"),
        (("--epochs", "3"), "--epochs 3 does not apply"),
        (("--class-weight", "balanced"), "--class-weight balanced does not apply"),
    ],
)
def test_what_only_classes_have_is_refused(prices, tmp_path, words, said):
    source = ("fit", prices / "houses.csv", "--label", "price", "--task", "regression", "--out", tmp_path / "run")
    with pytest.raises(InputError, match=said):
        run(*source, *words)


def test_a_run_of_numbers_has_no_curves(prices):
    with pytest.raises(InputError, match="a run of the task regression, which has no curves"):
        run("plot", prices / "run")


def test_an_unknown_task_is_refused(prices, tmp_path):
    with pytest.raises(InputError, match=r"unknown task 'ranking'.*classes, multilabel, regression"):
        run("fit", prices / "houses.csv", "--task", "ranking", "--out", tmp_path / "run")


def test_classes_that_may_be_something_else_are_said():
    from codivide.data.targets import proposal

    x = np.zeros((60, 1), dtype=np.float32)
    assert "NoisyLabelRegressor" in proposal(load_targets(x, [f"{k / 7:.3f}" for k in range(60)], REGRESSION))
    sets = [";".join(name for j, name in enumerate("abcdef") if k >> j & 1) or "f" for k in range(60)]
    assert "NoisyMultiLabelClassifier" in proposal(load_targets(x, sets, MULTILABEL))
    assert proposal(load_targets(x, [str(k % 5) for k in range(60)], REGRESSION)) is None


def test_rounds_stop_where_held_out_targets_gain_nothing(monkeypatch):
    x, y = houses(100, 0)
    seen = []
    original = learner._Problem.round
    monkeypatch.setattr(learner._Problem, "round", lambda self, *a, **k: seen.append(1) or original(self, *a, **k))
    learn_numbers(Numbers(x, y))
    assert 2 <= len(seen) <= learner.ROUNDS


def test_what_is_masked_is_no_target():
    x = np.random.default_rng(0).normal(size=(60, 2))
    y = np.ma.masked_array(np.where(np.arange(60) < 9, -9999.0, x[:, 0]), mask=np.arange(60) < 9)
    assert NoisyLabelRegressor(model=Ridge()).fit(x, y).labels_["given"].isna().sum() == 9
    sides = np.ma.masked_array((x[:, 0] > 0) * 1, mask=np.arange(60) < 9)
    features = Features(heads="linear", folds=2, correct=False)
    assert NoisyLabelClassifier(features).fit(x, sides).labels_["given"].isna().sum() == 9


def test_a_target_too_large_to_compute_with_is_named():
    y = np.arange(40.0)
    y[7] = 1e40
    with pytest.raises(InputError, match=r"row 7: the target 1e\+40 is too large"):
        NoisyLabelRegressor().fit(np.arange(80.0).reshape(40, 2), y)


def test_a_run_with_a_target_of_minus_one_is_read_again(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60)})
    frame["label"] = np.where(np.arange(60) == 5, -1.0, frame.a.round(2))
    frame.to_csv(tmp_path / "t.csv", index=False)
    NoisyLabelRegressor(out=tmp_path / "run").fit(tmp_path / "t.csv")
    assert check_again(SavedRun(tmp_path / "run")) == 0


def test_the_columns_of_probabilities_are_matched_by_name():
    z, a = np.arange(200) % 2, np.arange(200) % 3 == 0
    given = pd.DataFrame({"z": z, "a": a * 1})
    probs = pd.DataFrame({"z": np.where(z, 0.95, 0.05), "a": np.where(a, 0.8, 0.1)})
    rates = [noise_report(None, given, pred_probs=one, task="multilabel").rate for one in (probs, probs[["a", "z"]])]
    assert rates[0] == rates[1] < 0.05
    with pytest.raises(InputError, match="pred_probs needs one column for each label; 'z' is not there"):
        noise_report(None, given, pred_probs=probs.rename(columns={"z": "q"}), task="multilabel")


@pytest.mark.parametrize("write", [str, json.dumps, lambda names: names])
def test_lists_in_a_column_are_lists_of_labels(tmp_path, write):
    x, y = tagged(60, 4)
    lists = [[name for name, has in zip(("sky", "sea", "cat"), row, strict=True) if has] for row in y]
    frame = pd.DataFrame(x, columns=list("abcd")).assign(tags=[write(names) for names in lists])
    frame.loc[7, "tags"] = None
    options = ReadOptions(task="multilabel", label="tags")
    if write([]) == []:
        frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
        loaded = load_targets(tmp_path / "t.jsonl", None, options)
    else:
        frame.to_csv(tmp_path / "t.csv", index=False)
        loaded = load_targets(tmp_path / "t.csv", None, options)
    assert members(loaded, ";").names == ("cat", "sea", "sky")
    known = np.delete(np.arange(60), 7)
    assert members(loaded, ";").y[known].tolist() == y[known][:, [2, 1, 0]].tolist()
    assert loaded.y[7] == -1
    assert any("59 rows have their labels as a list: " in said for said in loaded.said)
    assert texts_of(frame["tags"].tolist(), options).texts == [
        None if k == 7 else names for k, names in enumerate([";".join(names) or "(none)" for names in lists])
    ]


def test_brackets_that_are_no_list_of_names_are_a_label():
    options = ReadOptions(task="multilabel")
    for text in ("[draft]", "[1.5]", "[['a']]", "[a;b", "['a']]"):
        assert texts_of([text, "b"], options).texts == [text, "b"]


def test_a_table_without_rows_and_a_column_that_is_not_there_are_one_clear_error():
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=40), "kind": ["x", "y"] * 20})
    reg = NoisyLabelRegressor().fit(frame, 2 * frame["a"] + np.tile([0, 9], 20))
    with pytest.raises(InputError, match="the table has no rows"):
        reg.predict(frame.iloc[:0])
    with pytest.raises(InputError, match=r"X has no column 'price' of targets .columns: a, kind"):
        NoisyLabelRegressor(label="price").fit(frame)


def test_commas_of_targets_and_decisions_are_of_the_column(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 2))
    price = (1000 + 900 * x[:, 0]).round()
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "price": [f"{value:,.0f}" for value in price]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    ids = [str(k) for k in range(2)]
    decided = pd.DataFrame({"id": ids, "given": frame.price[:2], "decision": "relabel", "label": ["1,234", "1234.5"]})
    fitted = NoisyLabelRegressor(label="price").fit(tmp_path / "t.csv", corrections=decided)
    assert pd.to_numeric(fitted.labels_["given"]).tolist() == [1234, 1234.5, *price[2:]]
    plain = frame.assign(price=price)
    with pytest.raises(InputError, match=r"line 2: '1,234' may be 1234 or 1\.234"):
        NoisyLabelRegressor().fit(plain[["a", "b"]], plain.price, corrections=decided.assign(given=price[:2]))


@pytest.mark.parametrize("name", ["groups", "sample_weight"])
def test_what_goes_with_samples_in_another_order_is_said(name):
    samples = pd.DataFrame({"a": np.arange(60.0)})
    labels = pd.Series(np.arange(60) % 2)
    beside = pd.Series(1.0 + np.arange(60) // 3)
    turned = beside.iloc[::-1]
    for rows, said in ((turned, True), (beside, False)):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            codivide.noise_report(
                samples, labels, **{name: rows}, replicates=2, model=DummyClassifier(strategy="prior")
            )
        assert (
            any(f"the index of {name} has the rows of X in another order" in str(one.message) for one in seen) == said
        )
