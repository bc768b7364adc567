"""Several labels a row: their columns, their weights, own models, exports, and the ways around them."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

import codivide
from codivide import InputError, NoisyLabelRegressor, NoisyMultiLabelClassifier
from codivide.audit import clean, export
from codivide.cli.app import application
from codivide.cli.fit_flags import DataFlags, RunFlags, TrainingFlags
from codivide.cli.fit_targets import OF_TARGETS, fit_targets
from codivide.cli.predict import _of_sets
from codivide.data.annotation_tools import label_studio
from codivide.data.corrections import Correction, Corrections, read
from codivide.data.options import ReadOptions
from codivide.data.rows import TensorRows
from codivide.data.sources import load
from codivide.data.targets import other_separator, texts_of
from codivide.fit import targets
from codivide.fit.followers import follow
from codivide.methods.features import own
from codivide.methods.features.tag_heads import Believed
from codivide.methods.features.tags import OwnClassifier, Tags, learn_tags
from codivide.noise.several import above_zero, predicted
from tests.forked import children, forked
from tests.test_ranks import together

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
    assert any("1 row has some of its labels" in text for text in summary["said"])
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
    assert written.said[0].startswith("1 row has some of its labels and lacks others (the first: row 0, no value")


def test_a_row_that_is_known_in_part_is_said_by_the_estimator():
    x, y = halves()
    y = y.astype(float)
    y.iloc[7, 0] = np.nan
    with pytest.warns(codivide.TrainingWarning, match="1 row has some of its labels"):
        clf = NoisyMultiLabelClassifier().fit(x, y)
    assert np.isnan(clf.clean_proba_[7])
    y.iloc[7, 0] = np.inf
    with pytest.raises(InputError, match=r"y\[7, 0\] is inf"):
        NoisyMultiLabelClassifier().fit(x, y)


# --- weights and copies


def test_copies_are_no_more_evidence_than_one_row():
    gain = np.random.default_rng(0).normal(0.2, 1, 60)
    once = [above_zero(gain, np.ones(60), errors=errors) for errors in (0.5, 1, 2, 3, 4, 9)]
    copied = [above_zero(np.repeat(gain, 25), np.full(1500, 1 / 25), errors=errors) for errors in (0.5, 1, 2, 3, 4, 9)]
    assert once == copied == sorted(once, reverse=True)
    assert once[0]
    assert not once[-1]
    told, given = np.repeat([0.9, 0.1, 0.5], [10, 10, 80]), np.repeat([1, 0, 1, 0], [10, 10, 40, 40])
    assert predicted(told, given)
    assert not predicted(told, given, np.repeat([0.0, 1.0], [20, 80]))


def test_rows_of_no_weight_say_nothing_of_labels():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    y = (x[:, :2] > 0).astype(np.int64)
    more = np.concatenate([x, x, x, x])  # the same rows again with opposite labels, which do not count
    given, weight = np.concatenate([y, 1 - y, 1 - y, 1 - y]), np.repeat([4.0, 0.0], [200, 600])
    alone = learn_tags(Tags(x, y, ("a", "b")))
    found = learn_tags(Tags(more, given, ("a", "b"), weight=weight))
    assert alone.unjudged == found.unjudged == {}
    assert (found.clean_prob[:200] > 0.9).mean() > 0.95
    assert ((found.probs > 0.5) == np.tile(y, (4, 1))).mean() > 0.95
    assert ((found.model.of(x) > 0.5) == y).mean() > 0.95
    few = learn_tags(Tags(x, np.c_[y[:, 0], np.arange(200) < 20], ("a", "few"), weight=(np.arange(200) >= 17) * 1.0))
    assert few.unjudged == {"few": "too few rows have it, or lack it"}


@pytest.mark.parametrize("weight", [None, np.where(np.arange(200) % 2, 0.2, 1.8)])
def test_an_own_classifier_is_fitted_to_all_rows_that_look_right(monkeypatch, weight):
    x = np.random.default_rng(0).normal(size=(200, 3))
    y = (x[:, :2] > 0).astype(int)
    fits = []

    def fit(model, samples, given, *, weight=None, **known):
        fits.append((len(samples), None if weight is None else np.ptp(weight) > 1))
        return original(model, samples, given, weight=weight, **known)

    original = own.fit
    monkeypatch.setattr(own, "fit", fit)
    NoisyMultiLabelClassifier(model=LogisticRegression()).fit(x, y, sample_weight=weight)
    rows, weighed = zip(*fits[-2:], strict=True)
    assert min(rows) >= 190
    assert set(weighed) == ({None} if weight is None else {True})


def test_a_classifier_learns_what_is_suggested_in_place_of_what_looks_wrong(monkeypatch):
    x = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    y = (x[:, :2] > 0).astype(int)
    given = y.copy()
    given[:12, 0] = 1 - given[:12, 0]
    learned = []

    def fit(model, samples, targets, **known):
        learned.append((samples, targets))
        return original(model, samples, targets, **known)

    original = own.fit
    monkeypatch.setattr(own, "fit", fit)
    learn_tags(Tags(x, given, ("a", "b")), classifier=OwnClassifier(LogisticRegression(), x))
    samples, targets = learned[-2]  # of label a
    assert 280 < len(samples) < 300
    rows = (x[:, None] == samples[None]).all(2).argmax(0)
    mended = np.flatnonzero(targets != given[rows, 0])
    assert len(mended) >= 3
    assert set(rows[mended]) <= set(range(12))


def test_what_labels_are_taken_for():
    given = np.array([[1, 1, 1], [0, 0, 0], [0, 0, 1], [1, 0, 0]])
    clean = np.array([[0.1, 0.9, 0.5], [0.8, 0.9, 0.9], [0.5, 0.9, 0.5], [0.9, 0.2, np.nan]])
    suggested = np.where(clean < 0.5, 1 - given, given)
    found = Believed.of(given, suggested, clean, [False, False, True])
    assert found.labels.T.tolist() == [[0, 0, 0, 1], [1, 0, 0, 1], [1, 0, 1, 0]]
    np.testing.assert_allclose(found.sure.T, [[0.8, 0.6, 0, 0.8], [0.8, 0.8, 0.8, 0.6], [1, 1, 1, 1]])


@pytest.mark.parametrize("clean", [[0.3, 0.9, 0.8, 0.9], [0.5] * 4])
def test_a_label_that_no_row_would_keep_is_learned_as_given(clean):
    given, clean = np.array([[1], [0], [0], [0]]), np.array(clean)[:, None]
    found = Believed.of(given, np.where(clean < 0.5, 1 - given, given), clean, [False])
    np.testing.assert_array_equal(found.labels, given)
    np.testing.assert_array_equal(found.sure, clean)


def test_copies_count_once_for_an_own_classifier_without_weights():
    x = np.random.default_rng(0).normal(size=(150, 3))
    y = (x[:, :2] > 0).astype(int)
    many = np.r_[np.arange(150), np.repeat(np.arange(5), 40)]
    once = NoisyMultiLabelClassifier(model=KNeighborsClassifier()).fit(x, y)
    copied = NoisyMultiLabelClassifier(model=KNeighborsClassifier()).fit(x[many], y[many])
    for model in (once.model_, copied.model_):
        assert {145 <= member.model.n_samples_fit_ <= 150 for member in model.members} == {True}
    assert copied.label_clean_proba_.shape == (350, 2)
    np.testing.assert_array_equal(copied.label_clean_proba_[150:190], np.tile(copied.label_clean_proba_[0], (40, 1)))


def test_weights_that_an_own_model_does_not_take_are_refused():
    x, y = halves()
    with pytest.raises(InputError, match="KNeighborsClassifier takes no sample_weight"):
        NoisyMultiLabelClassifier(model=KNeighborsClassifier()).fit(x, y, sample_weight=np.arange(1.0, 121))
    NoisyMultiLabelClassifier(model=GaussianNB()).fit(x, y, sample_weight=np.arange(1.0, 121))


# --- exports


@pytest.fixture(scope="module")
def gaps(tmp_path_factory):
    """A run of several labels, of a table with empty cells and a row that has none of the labels."""
    folder = tmp_path_factory.mktemp("gaps")
    x, y = halves()
    texts = [";".join(y.columns[row == 1]) or "(none)" for row in y.to_numpy()]
    table = pd.DataFrame(x, columns=["u", "v", "w"]).assign(tags=texts)
    table.loc[::7, "w"] = np.nan
    table.loc[3, "tags"] = ""
    table.to_csv(folder / "t.csv", index=False)
    run("fit", folder / "t.csv", "--label", "tags", "--task", "multilabel", "--out", folder / "run")
    return folder


@pytest.mark.parametrize("tool", ["label-studio", "argilla"])
def test_several_labels_are_several_choices_of_a_tool(gaps, tmp_path, tool):
    run("clean", gaps / "run", "--out", tmp_path / "out", "--drop-below", "0", "--export", tool)
    made = json.loads((tmp_path / "out" / f"{tool.replace('-', '_')}.json").read_text())
    texts = pd.read_csv(gaps / "t.csv", keep_default_na=False)["tags"]
    if tool == "argilla":
        found = [record["suggestions"].get("label", {}).get("value", []) for record in made]
        assert "w" not in made[0]["fields"]
    else:
        assert made[3]["annotations"] == []
        found = [
            [c for r in task["annotations"][:1] for v in r["result"] for c in v["value"]["choices"]] for task in made
        ]
        assert "w" not in made[0]["data"]
        assert isinstance(made[1]["data"]["w"], float)
    assert found == [[] if text in ("", "(none)") else text.split(";") for text in texts]


def test_what_cannot_be_exported_leaves_nothing(gaps, tmp_path, monkeypatch):
    monkeypatch.setattr("codivide.audit.export._plain", lambda value: object())
    with pytest.raises(TypeError):
        run("clean", gaps / "run", "--out", tmp_path / "out", "--export", "label-studio")
    assert list(tmp_path.iterdir()) == []


def test_numbers_are_numbers_of_label_studio():
    (task,) = label_studio([{"text": "a house"}], [120.5])
    assert task["annotations"][0]["result"][0] | {"from_name": ""} == {
        "from_name": "",
        "to_name": "text",
        "type": "number",
        "value": {"number": 120.5},
    }


def test_whole_numbers_stay_so_where_some_are_missing(tmp_path):
    table = pd.DataFrame({"id": ["a", "b"], "label": pd.Series([3, None], dtype="Int64"), "age": pd.Series([None, 7])})
    table.to_parquet(tmp_path / "labels_clean.parquet")
    export.add(tmp_path, "label-studio", ReadOptions())
    tasks = json.loads((tmp_path / "label_studio.json").read_text())
    assert tasks[0]["annotations"][0]["result"][0]["value"] == {"choices": ["3"]}
    assert [task["data"] for task in tasks] == [{}, {"age": 7}]


# --- own models, and test parts


@pytest.mark.parametrize("skops", [False, True])
@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (NoisyMultiLabelClassifier(model=GaussianNB()), "GaussianNB()"),
        (NoisyLabelRegressor(model=Ridge()), "Ridge()"),
    ],
)
def test_an_own_model_leaves_a_whole_run(tmp_path, monkeypatch, estimator, name, skops):
    dumped = []
    there = SimpleNamespace(dump=lambda model, path: dumped.append((model, path.name)))
    monkeypatch.setitem(sys.modules, "skops.io", there if skops else None)
    x, y = halves(60)
    given = y if estimator._task == "multilabel" else x @ [1.0, 2.0, 3.0]
    with pytest.warns(codivide.TrainingWarning, match="a model of your own is not saved"):
        estimator.set_params(out=tmp_path / "run").fit(x, given)
    found = estimator.label_clean_proba_ if estimator._task == "multilabel" else estimator.clean_proba_
    assert np.isfinite(found).any()
    assert codivide.noise_report(tmp_path / "run").rate == estimator.noise_report_.rate
    with pytest.raises(InputError, match=f"a model of your own, {re.escape(name)}, which is not kept without pickle"):
        codivide.load_model(tmp_path / "run" / "model.safetensors")
    assert [path for _, path in dumped] == ["model.skops"] * skops
    if skops and estimator._task == "multilabel":
        assert list(dumped[0][0]) == ["b", "a"]
    assert codivide.audit.collect(tmp_path / "run")["issues_total"] >= 0


@pytest.mark.parametrize(
    ("task", "label", "bad", "said"),
    [
        ("multilabel", "a", "a;zebra", "no such label 'zebra' in training"),
        ("regression", "1.5", "1.5 kg", "row 2: the target '1.5 kg' is no finite number"),
    ],
)
def test_a_test_part_is_read_before_anything_is_judged(tmp_path, monkeypatch, task, label, bad, said):
    monkeypatch.setattr("codivide.fit.targets.judge", lambda *_, **__: pytest.fail("it was judged"))
    table = pd.DataFrame({"x": np.arange(30.0), "label": [label, "2"] * 15})
    table.to_csv(tmp_path / "train.csv", index=False)
    table.assign(label=table["label"].where(table.index != 2, bad)).to_csv(tmp_path / "test.csv", index=False)
    words = ("--test", tmp_path / "test.csv", "--task", task, "--out", tmp_path / "run")
    with pytest.raises(InputError, match=said):
        run("fit", tmp_path / "train.csv", *words)
    assert not (tmp_path / "run").exists()


def test_the_columns_of_a_test_part_are_known_by_name(tmp_path):
    x, y = halves()
    table = pd.DataFrame(x, columns=["u", "v", "w"]).assign(label=np.where(y["b"] == 1, "b", "(none)"))
    table.to_csv(tmp_path / "train.csv", index=False)
    table[["label", "w", "v", "u"]].to_csv(tmp_path / "moved.csv", index=False)
    words = ("fit", tmp_path / "train.csv", "--task", "multilabel")
    run(*words, "--test", tmp_path / "moved.csv", "--out", tmp_path / "two")
    assert json.loads((tmp_path / "two" / "summary.json").read_text())["test_exact"] > 0.9
    table[["label", "w"]].to_csv(tmp_path / "moved.csv", index=False)
    with pytest.raises(InputError, match=r"--test .*moved"):
        run(*words, "--test", tmp_path / "moved.csv", "--out", tmp_path / "three")


@pytest.mark.parametrize("labels", [1, 3])
def test_f1_is_that_of_scikit_learn_and_counts_single_labels_alone(labels):
    rng = np.random.default_rng(0)
    y, probs = rng.integers(0, 2, (50, labels)), rng.random((50, labels))
    y[:, -1] = 0 if labels > 1 else y[:, -1]
    probs[:, -1] = 0 if labels > 1 else probs[:, -1]
    part = targets._TestTargets(TensorRows(torch.zeros(50, 1)), np.ones(50, dtype=bool), y)
    found = targets._tested(SimpleNamespace(probs=lambda rows: probs), part)
    each = [f1_score(y[:, k], probs[:, k] >= 0.5, zero_division=0) for k in range(labels)]
    assert found["test_macro_f1"] == pytest.approx(np.mean(each))
    assert found["test_micro_f1"] == pytest.approx(f1_score(y.ravel(), (probs >= 0.5).ravel()))


# --- what does not apply is refused


def flags() -> dict[str, object]:
    """Every flag of ``fit``, with a value that is not its default."""
    found = {}
    for item in (item for kind in (RunFlags, DataFlags, TrainingFlags) for item in dataclasses.fields(kind)):
        if isinstance(item.default, bool):
            found[item.name] = not item.default
        else:
            found[item.name] = 3 if item.default is None else f"other {item.default}"
    return found


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_every_flag_is_used_or_refused(monkeypatch, task):
    monkeypatch.setattr("codivide.runs.claim.claimed", lambda *_, **__: pytest.fail("it was not refused"))
    values = {"source": "x.csv", "out": "run", "task": task}
    for name, value in flags().items():
        if name in OF_TARGETS:
            continue
        groups = [
            kind(
                **{
                    item.name: value if item.name == name else values.get(item.name, item.default)
                    for item in dataclasses.fields(kind)
                }
            )
            for kind in (RunFlags, DataFlags, TrainingFlags)
        ]
        said = f"no-{name}" if value is False else name
        with pytest.raises(InputError, match=f"^--{said.replace('_', '-')} .*--task {task}"):
            fit_targets(*groups, {})
    with pytest.raises(InputError, match="--folds 3 does not apply"):
        fit_targets(
            RunFlags(source="x.csv", out="run"), DataFlags(task=task), TrainingFlags(), {"folds": 3, "heads": None}
        )


def test_a_separator_is_of_several_labels(tmp_path):
    with pytest.raises(InputError, match=r"--separator \| does not apply to --task regression"):
        fit_targets(
            RunFlags(source="x.csv", out=tmp_path / "run"),
            DataFlags(task="regression", separator="|"),
            TrainingFlags(),
            {},
        )


def test_another_separator_is_seen():
    def loaded(texts):
        return load(np.zeros((len(texts), 2)), texts, options=ReadOptions(task="multilabel"))

    texts = ["sky, sea", "sky, cat", "sea, cat", "cat", "sky"] * 4
    assert (
        other_separator(loaded(texts), ";")
        == "no row has ';' between labels, but 3 different ones have ',': separator=?"
    )
    assert other_separator(loaded(texts), ",") is None
    assert other_separator(loaded([*texts, "sky;cat"]), ";") is None
    assert other_separator(loaded(["Paris, France", "Rome, Italy"] * 4), ";") is None  # nothing in common


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_parameters_of_scores_and_reports_are_used_or_refused(task):
    x, y = halves(60)
    given, said = (y, np.where(y == 1, 0.9, 0.1)) if task == "multilabel" else (x[:, 0], x[:, 0] + 0.1)
    name = "pred_probs" if task == "multilabel" else "predictions"
    score, report = codivide.score_labels, codivide.noise_report
    for other in ("losses", "classes", "class_weight", "predictions" if task == "multilabel" else "pred_probs"):
        with pytest.raises(InputError, match=f"{other} does not apply"):
            score("combined", given, features=x, task=task, **{other: [1, 2]})
    for other in ("features", "model", "sample_weight"):
        with pytest.raises(InputError, match=f"{other} does not apply to task '{task} with {name}'"):
            score("combined", given, task=task, **{name: said, other: x})
    for other, value in {"class_weight": "balanced", "limit": 50, "replicates": 3, "unlabelled": 0}.items():
        with pytest.raises(InputError, match=f"{other} does not apply"):
            report(x, given, task=task, **{other: value})
    for other in ("groups", "sample_weight"):
        with pytest.raises(InputError, match=f"{other} does not apply"):
            report(None, given, task=task, **{name: said, other: np.ones(60)})
    for features, model in ((x, None), (None, Ridge())):
        with pytest.raises(InputError, match=f"{name} alone"):
            report(features, given, model=model, task=task, **{name: said})
    with pytest.raises(InputError, match=f"does not apply to task '{task}': give {name}"):
        report(None, given, task=task, **{"predictions" if task == "multilabel" else "pred_probs": said})
    with pytest.raises(InputError, match="predictions are of numbers"):
        report(None, np.arange(60) % 2, predictions=said)
    assert report(None, given, task=task, **{name: said}).labelled == 60
    with pytest.raises(InputError, match="no regressor" if task == "regression" else "has no predict_proba"):
        report(x, given, model=LogisticRegression() if task == "regression" else Ridge(), task=task)


def test_scores_and_reports_learn_with_weights_folds_and_separators():
    x, y = halves(200)
    texts = ["|".join(y.columns[row == 1]) or "(none)" for row in y.to_numpy()]
    more = {"features": x, "task": "multilabel", "separator": "|"}
    plain = codivide.score_labels("self_confidence", texts, **more)
    assert plain.shape == (200, 2)
    weighed = codivide.score_labels("self_confidence", texts, sample_weight=np.repeat([0.1, 9], 100), **more)
    assert not np.array_equal(plain, weighed)
    rates = {codivide.noise_report(x, texts, task="multilabel", separator="|", folds=folds).rate for folds in (3, 5)}
    assert len(rates) == 2
    clf = NoisyMultiLabelClassifier(separator="|").fit(x, texts)
    with pytest.raises(InputError, match="a run has what it was given"):
        codivide.noise_report(clf, groups=np.ones(200))


# --- predictions, and several processes


def test_a_label_may_be_called_label():
    told = pd.DataFrame({"path": ["r0"]})
    table = _of_sets(told, np.array([[0.9, 0.2, 0.7, 0.1]]), ("path", "label", "probability_label", "a"), ";")
    assert table.iloc[0].to_dict() == {
        "path": "r0",
        "label": "path;probability_label",
        "probability_path": 0.9,
        "probability_probability_label": 0.2,
        "probability_label": 0.7,
        "a": 0.1,
    }


def test_a_process_that_has_lost_the_first_says_so(monkeypatch):
    def told(value):
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr("codivide.fit.followers.here", lambda: SimpleNamespace(rank=1, count=2, told=told))
    with pytest.raises(InputError, match="process 1 has lost the others"):
        follow(lambda: pytest.fail("nothing is read"), lambda *_: None)


@forked
@pytest.mark.process
def test_other_processes_leave_several_labels_to_the_first(tmp_path):
    x, y = halves(60)
    pd.DataFrame(x, columns=["u", "v", "w"]).assign(a=y["a"], b=y["b"]).to_csv(tmp_path / "t.csv", index=False)
    words = ("fit", "t.csv", "--label", "a,b", "--task", "multilabel", "--out", "run")

    def work():
        torch.set_num_threads(1)
        children.command(*words)()

    together(2, work, tmp_path)
    assert (tmp_path / "run" / "summary.json").is_file()


@pytest.mark.parametrize(
    ("task", "wrong", "right"),
    [("regression", ["abc", "inf", "1,234"], ["1.5", "-2", "1,5"]), ("multilabel", ["dog", "a;dog"], ["a", "a;b"])],
)
def test_a_decision_that_clean_would_refuse_is_not_saved_in_the_browser(tmp_path, task, wrong, right):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2)).round(3)
    tags = [";".join(name for name, high in zip("ab", row, strict=True) if high) or "(none)" for row in x > 0]
    labels = x[:, 0] * 2 if task == "regression" else tags
    pd.DataFrame({"x": x[:, 0], "z": x[:, 1], "label": labels}).to_csv(tmp_path / "t.csv", index=False)
    estimator = NoisyLabelRegressor if task == "regression" else NoisyMultiLabelClassifier
    estimator(out=tmp_path / "run").fit(tmp_path / "t.csv")
    judged = clean.read_run(tmp_path / "run")
    name, given = (str(judged.table[column].iloc[0]) for column in ("id", "given"))
    for text in wrong:
        decision = Correction(name, given, "relabel", text)
        with pytest.raises(InputError):
            judged.known().check(decision)
        with pytest.raises(InputError):
            clean.clean(tmp_path / "run", tmp_path / "cleaned", corrections=Corrections((decision,), "c.csv", ""))
    for text in right:
        judged.known().check(Correction(name, given, "relabel", text))
    if task == "multilabel":  # a new one, where that is said
        new = Correction(name, given, "relabel", "dog")
        judged.known(new_classes=True).check(new)
        clean.clean(tmp_path / "run", tmp_path / "o", corrections=Corrections((new,), "c.csv", ""), new_classes=True)
        assert pd.read_csv(tmp_path / "o" / "labels_clean.csv").label.iloc[0] == "dog"
