"""Several labels a row: their columns, their weights, own models, exports, and the ways around them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import codivide
from codivide import InputError, NoisyMultiLabelClassifier
from codivide.audit import clean
from codivide.cli.app import application
from codivide.data.corrections import read
from codivide.data.options import ReadOptions
from codivide.data.targets import texts_of

MULTILABEL = ReadOptions(task="multilabel")
pytestmark = pytest.mark.filterwarnings("ignore::codivide.TrainingWarning")


def run(*words: object) -> None:
    arguments = [str(word) for word in words]
    application(arguments)(arguments, standalone_mode=False)


def halves(n: int = 120) -> tuple[np.ndarray, pd.DataFrame]:
    """Features and labels in columns that are not sorted, of which no row has the last."""
    x = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    return x, pd.DataFrame((x[:, :2] > 0).astype(int), columns=["b", "a"]).assign(empty=0)


# --- columns


def test_columns_stay_as_they_are_given():
    x, y = halves()
    clf = NoisyMultiLabelClassifier().fit(x, y)
    assert clf.classes_.tolist() == ["b", "a", "empty"]
    assert (clf.predict(x) == y).mean(axis=0).min() > 0.9
    assert clf.score(x, y) > 0.85
    assert clf.suggested_labels_.shape == clf.label_clean_proba_.shape == y.shape
    assert np.isnan(clf.label_clean_proba_[:, 2]).all()
    assert [item.name for item in clf.noise_report_.per_class] == ["b", "a", "empty"]


def test_scores_are_in_the_order_of_the_columns():
    x, y = halves()
    wrong = np.argsort(-np.abs(x[:, 0]))[:4]
    y.loc[wrong, "b"] = 1 - y.loc[wrong, "b"]
    for rule in ("combined", "self_confidence"):
        score = codivide.score_labels(rule, y, features=x, task="multilabel")
        assert score.shape == y.shape
        assert np.argmin(score[:, 0]) in wrong, rule
        assert score[wrong, 0].mean() < 0.5 < score[wrong, 1].mean(), rule


def test_two_columns_of_one_name_are_an_error():
    x, y = halves()
    y.columns = ["b", "b", "c"]
    with pytest.raises(InputError, match="two columns of labels are called 'b'"):
        NoisyMultiLabelClassifier().fit(x, y)


def test_columns_of_a_table_stay_as_they_are_named(tmp_path):
    x, y = halves()
    y.loc[5, "a"] = np.nan
    pd.concat([pd.DataFrame(x, columns=["u", "v", "w"]), y], axis=1).to_csv(tmp_path / "t.csv", index=False)
    run("fit", tmp_path / "t.csv", "--label", "b,a,empty", "--task", "multilabel", "--out", tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["classes"] == ["b", "a", "empty"]
    assert any("1 rows have some of their labels" in text for text in summary["said"])
    assert codivide.load_model(tmp_path / "run" / "model.safetensors").names == ("b", "a", "empty")
    assert codivide.audit.collect(tmp_path / "run")["targets"]["names"] == ["b", "a", "empty"]
    given = pd.read_csv(tmp_path / "run" / "labels.csv").loc[0, "given"]
    decisions = tmp_path / "corrections.csv"
    decisions.write_text(f"id,given,decision,label\n0,{given},relabel,empty\n")
    assert clean.clean(tmp_path / "run", tmp_path / "cleaned", read(decisions)).labels["label"].iloc[0] == "empty"


@pytest.mark.parametrize("y", [np.array([[1, np.nan], [0, 1.0]]), [[1, None], [0, 1]], [[1, float("nan")], [0, 1]]])
def test_rows_of_which_some_labels_are_unknown_are_counted(y):
    written = texts_of(y, MULTILABEL)
    assert written.texts == [None, "1"]
    assert written.said[0].startswith("1 rows have some of their labels and lack others (the first: row 0, no value")


def test_a_row_that_is_known_in_part_is_said_by_the_estimator():
    x, y = halves()
    y = y.astype(float)
    y.iloc[7, 0] = np.nan
    with pytest.warns(codivide.TrainingWarning, match="1 rows have some of their labels"):
        clf = NoisyMultiLabelClassifier().fit(x, y)
    assert np.isnan(clf.clean_proba_[7])
    y.iloc[7, 0] = np.inf
    with pytest.raises(InputError, match=r"y\[7, 0\] is inf"):
        NoisyMultiLabelClassifier().fit(x, y)
