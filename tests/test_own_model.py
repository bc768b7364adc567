"""A model of the user's own: cross-fitted, judged, fitted again; alone, in pipelines, and in scikit-learn's tools."""

import json
import pickle
import sys
import warnings
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from codivide import (
    Features,
    InputError,
    NoisyLabelClassifier,
    NoisyLabelRegressor,
    NoisyMultiLabelClassifier,
    load_model,
    noise_report,
    score_labels,
)
from codivide.methods import METHODS
from codivide.methods.features import judge, own
from codivide.methods.features.folds import deal


def blobs(seed=0, rows=300, noise=0.2):
    rng = np.random.default_rng(seed)
    truth = np.arange(rows) % 3
    x = rng.normal(size=(rows, 5)) + 3 * np.eye(3, 5)[truth]
    given = np.where(rng.random(rows) < noise, (truth + 1) % 3, truth)
    return x, truth, given


def fitted(model, x, y, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return NoisyLabelClassifier(model=model, **settings).fit(x, y)


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        GaussianNB(),
        HistGradientBoostingClassifier(max_iter=20),
        RandomForestClassifier(30, random_state=0),
        KNeighborsClassifier(9),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_any_classifier_is_judged_and_fitted_again(model):
    x, truth, given = blobs()
    classifier = fitted(model, x, given)
    new, right, _ = blobs(1)
    assert classifier.score(new, right) > 0.9
    wrong = given != truth
    assert classifier.clean_proba_[wrong].mean() < classifier.clean_proba_[~wrong].mean() - 0.35
    assert not hasattr(model, "classes_")  # the user's own stays as it was
    assert type(classifier.model_.model) is type(model)


def test_labels_of_any_kind_and_samples_without_one():
    x, truth, given = blobs()
    names = np.array(["ant", "bee", "cow"], dtype=object)[given]
    names[:10] = None
    classifier = fitted(LogisticRegression(), x, names)
    assert classifier.classes_.tolist() == ["ant", "bee", "cow"]
    assert np.isnan(classifier.clean_proba_[:10]).all()
    assert (classifier.suggested_labels_[:10] == np.array(["ant", "bee", "cow"])[truth[:10]]).mean() > 0.7
    assert set(classifier.predict(x)) == {"ant", "bee", "cow"}


def test_data_frames_and_texts_reach_the_model_as_they_are():
    x, truth, given = blobs()
    frame = pd.DataFrame(x, columns=list("abcde")).assign(job=np.array(["p", "q", "r"])[truth])
    frame.loc[3, "a"] = np.nan
    model = make_pipeline(
        ColumnTransformer([("job", OneHotEncoder(), ["job"]), ("rest", "passthrough", list("abcde"))]),
        HistGradientBoostingClassifier(max_iter=20),
    )
    model.steps[0][1].sparse_threshold = 0
    classifier = fitted(model, frame, given)
    assert classifier.score(frame, truth) > 0.95
    texts = [f"{['river boat', 'wheel road', 'cell gene'][k]} {j}" for j, k in enumerate(truth)]
    classifier = fitted(make_pipeline(TfidfVectorizer(), LogisticRegression()), texts, given)
    assert classifier.score(texts, truth) > 0.95
    assert classifier.labels_["text"].tolist() == texts


def test_no_label_is_judged_by_a_model_that_saw_it():
    x, _, given = blobs(rows=60)
    fold = np.arange(60) % 4
    seen = []

    class Watched(GaussianNB):
        def fit(self, rows, y, sample_weight=None):
            seen.append(rows)
            return super().fit(rows, y, sample_weight)

    own.cross_probs(Watched(), x, given, fold, classes=(0, 1, 2))
    for number, rows in enumerate(seen):
        assert np.array_equal(rows, x[fold != number])


def test_labels_are_kept_that_look_clean_or_likeliest_and_some_of_each_class():
    given = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2, -1])
    clean = np.array([0.9, 0.4, 0.3, 0.5, 0.1, 0.2, 0.4, 0.1, 0.3, 0.2, np.nan])
    likeliest = np.array([1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1])
    assert np.flatnonzero(judge.kept(given, clean, likeliest)).tolist() == [0, 1, 3, 6, 8]


@pytest.mark.parametrize("model", [KNeighborsClassifier(), make_pipeline(StandardScaler(), KNeighborsClassifier())])
def test_the_model_is_fitted_to_the_kept_rows_and_counts(model):
    x, _, given = blobs(rows=90)
    found = own.refit(model, x, given, np.arange(0, 90, 2), classes=(0, 1, 2)).model
    assert (found[-1] if hasattr(found, "steps") else found).n_samples_fit_ == 45


class Watched(GaussianNB):
    """Remembers what it was fitted on."""

    fits: ClassVar[list] = []

    def fit(self, rows, y, sample_weight=None):
        Watched.fits.append((rows, y, sample_weight))
        return super().fit(rows, y, sample_weight)


def test_no_fold_divides_groups_or_copies_and_copies_count_once(monkeypatch):
    x, _, given = blobs(rows=90)
    x, given = np.concatenate([x, x[:20]]), np.concatenate([given, given[:20]])
    patients = np.arange(110) % 37
    monkeypatch.setattr(Watched, "fits", [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = NoisyLabelClassifier(model=Watched()).fit(x, given, groups=patients)
    *crossed, (last, _, _) = Watched.fits
    belongs = {row.tobytes(): {patients[k]} for k, row in enumerate(x)}
    for k, row in enumerate(x):  # a copy is of two patients, who then belong together
        belongs[row.tobytes()].add(patients[k])
    for rows, _, _ in crossed:
        seen = set().union(*(belongs[row.tobytes()] for row in rows))
        rest = [belongs[row.tobytes()] for row in x if row.tobytes() not in {one.tobytes() for one in rows}]
        assert rest
        assert not any(seen & one for one in rest)
        assert len(np.unique(rows, axis=0)) == len(rows)
    assert len(crossed) == 5
    assert (classifier.clean_proba_[:90] >= 0.5).sum() <= len(last) < 90
    assert len(classifier.labels_) == 110
    assert np.array_equal(classifier.clean_proba_[:20], classifier.clean_proba_[90:])
    monkeypatch.setattr(Watched, "fits", [])
    noise_report(x, given, model=Watched(), replicates=2)
    assert all(len(np.unique(rows, axis=0)) == len(rows) for rows, _, _ in Watched.fits)


def test_weights_of_samples_reach_the_model(monkeypatch):
    x, _, given = blobs(rows=90)
    weight = np.where(given == 0, 3.0, 1.0)
    monkeypatch.setattr(Watched, "fits", [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = NoisyLabelClassifier(model=Watched()).fit(x, given, sample_weight=weight)
    for _, labels, told in Watched.fits:
        assert np.allclose(told[labels == 0].min(), 3 * told[labels != 0].max())
    likeliest = classifier.evidence_.predictions[-1]
    assert np.array_equal(Watched.fits[-1][0], x[judge.kept(given, classifier.clean_proba_, likeliest)])


def test_scikit_learn_routes_weights_and_groups_through_pipelines_and_folds(monkeypatch):
    x, _, given = blobs(rows=60)
    weight, patients = np.where(given == 0, 3.0, 1.0), np.arange(60) // 2
    monkeypatch.setattr(Watched, "fits", [])
    with config_context(enable_metadata_routing=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = NoisyLabelClassifier(model=Watched()).set_fit_request(sample_weight=True, groups=True)
        classifier.set_score_request(sample_weight=True)
        piped = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), classifier)
        known = {"sample_weight": weight, "groups": patients}
        scores = cross_validate(piped, x, given, params=known, cv=GroupKFold(2), error_score="raise")
    assert len(scores["test_score"]) == 2
    assert len(Watched.fits) == 2 * 6
    for _, labels, told in Watched.fits:
        assert np.allclose(told[labels == 0].min(), 3 * told[labels != 0].max())


def test_the_names_of_features_and_of_output_columns_stay_those_of_the_frame():
    x, _, given = blobs(rows=60)
    frame = pd.DataFrame(x, columns=[f"c{k}" for k in range(x.shape[1])])
    inner = make_pipeline(StandardScaler(), GaussianNB()).set_output(transform="pandas")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = NoisyLabelClassifier(model=inner).fit(frame, given)
    assert classifier.feature_names_in_.tolist() == list(frame)
    assert classifier.model_.model[-1].feature_names_in_.tolist() == list(frame)  # set_output reached the copy
    with pytest.raises(ValueError, match="feature names"):
        classifier.predict(frame.rename(columns={"c0": "other"}))


@pytest.mark.parametrize("choice", [{"drop": ["label", "job"]}, {"columns": ["A", "b", "c"]}])
def test_an_own_model_learns_from_the_columns_that_are_chosen_alone(choice):
    x, _, given = blobs(rows=60)
    frame = pd.DataFrame(x[:, :3], columns=list("abc")).assign(label=given, job="p")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = NoisyLabelClassifier(model=GaussianNB(), **choice).fit(frame, given)
        regressor = NoisyLabelRegressor(model=Ridge(), **choice).fit(frame, x[:, 0])
    for fitted in (classifier, regressor):
        assert fitted.feature_names_in_.tolist() == ["a", "b", "c"]
        others = frame[["c", "job", "b", "a"]]  # another order, one beside them, and no label
        assert np.array_equal(fitted.predict(others), fitted.predict(frame))
        with pytest.raises(InputError, match="'b' is not there"):
            fitted.predict(frame[["a", "c"]])


def test_an_own_model_takes_texts_from_the_column_that_is_named():
    _, truth, given = blobs(rows=60)
    words = np.array(["good fine", "bad poor", "so odd"])[truth]
    frame = pd.DataFrame({"said": [f"{word} n{row % 7}" for row, word in enumerate(words)], "job": given})
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = NoisyLabelClassifier(model=model, text="said").fit(frame, given)
    assert np.array_equal(classifier.predict(frame[["job", "said"]]), classifier.predict(frame["said"]))
    assert (classifier.predict(frame) == truth).mean() > 0.9


def test_columns_whose_names_are_numbers_are_found_by_name():
    x, _, given = blobs(rows=60)
    frame = pd.DataFrame(x, columns=[10, 20, 30, 40, 50][: x.shape[1]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = NoisyLabelClassifier(model=GaussianNB()).fit(frame, given)
    assert np.array_equal(classifier.predict_proba(frame[frame.columns[::-1]]), classifier.predict_proba(frame))


@pytest.mark.parametrize("model", [KNeighborsClassifier(), make_pipeline(StandardScaler(), KNeighborsClassifier())])
def test_a_model_that_takes_no_weights_is_refused_with_weights(model):
    x, _, given = blobs(rows=30)
    with pytest.raises(
        InputError, match=r"the fit of \w+ takes no sample_weight: leave sample_weight and class_weight"
    ):
        NoisyLabelClassifier(model=model, class_weight="balanced").fit(x, given)


def test_groups_by_a_column_are_for_tables_that_codivide_reads():
    x, _, given = blobs(rows=30)
    with pytest.raises(InputError, match="groups must be one value for each sample"):
        NoisyLabelClassifier(model=GaussianNB()).fit(pd.DataFrame(x, columns=list("abcde")), given, groups="a")


def test_a_class_that_is_missing_in_a_fold_has_probability_zero():
    x, _, given = blobs(rows=30)
    given = np.where(np.arange(30) == 7, 2, given % 2)
    probs = own.cross_probs(LogisticRegression(), x, given, np.arange(30) % 3, classes=("a", "b", "c"))
    assert probs.shape == (30, 3)
    assert np.allclose(probs.sum(1), 1)
    assert probs[7, 2] == 0


def test_clone_grid_search_and_pickle():
    x, _truth, given = blobs()
    classifier = NoisyLabelClassifier(model=LogisticRegression())
    assert clone(classifier).get_params()["model__C"] == 1.0
    search = GridSearchCV(classifier, {"model__C": [0.001, 1.0]}, cv=2).fit(x, given)
    assert search.best_params_["model__C"] == search.best_estimator_.model_.model.C
    one = fitted(GaussianNB(), x, given)
    again = pickle.loads(pickle.dumps(one))
    assert np.array_equal(again.predict_proba(x), one.predict_proba(x))


def test_a_run_folder_says_that_the_model_is_not_in_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops.io", None)
    x, _, given = blobs()
    with pytest.warns(UserWarning, match="a model of your own is not saved.*pip install skops"):
        NoisyLabelClassifier(model=GaussianNB(), out=tmp_path / "run").fit(x, given)
    assert {"labels.csv", "predictions.npz", "summary.json"} <= {path.name for path in (tmp_path / "run").iterdir()}
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["method"], config["hyper_parameters"]["estimator"]) == ("OwnModel", "GaussianNB()")
    with pytest.raises(InputError, match=r"a model of your own, GaussianNB\(\), which is not kept without pickle"):
        load_model(tmp_path / "run" / "model.safetensors")
    assert noise_report(tmp_path / "run").rate > 0.1


def test_skops_keeps_it_where_that_is_installed(tmp_path):
    skops = pytest.importorskip("skops.io")
    x, _, given = blobs()
    with pytest.warns(UserWarning, match=r"model.skops has it"):
        classifier = NoisyLabelClassifier(model=GaussianNB(), out=tmp_path / "run").fit(x, given)
    found = skops.load(tmp_path / "run" / "model.skops")
    assert np.array_equal(found.predict_proba(x), classifier.predict_proba(x))


def test_reports_and_scores_with_a_model():
    x, _truth, given = blobs(rows=400)
    report = noise_report(x, given, model=GaussianNB())
    assert 0.1 < report.rate < 0.3
    fold = deal(torch.from_numpy(given), 5, torch.Generator().manual_seed(0)).numpy()
    probs = own.cross_probs(GaussianNB(), x, given, fold, classes=(0, 1, 2))
    expected = score_labels("self_confidence", given, pred_probs=probs)
    assert np.allclose(score_labels("self_confidence", given, features=x, model=GaussianNB()), expected)
    given = given.astype(object)
    given[0] = None
    assert np.isnan(score_labels("self_confidence", given, features=x, model=GaussianNB())[0])
    with pytest.raises(InputError, match="not both"):
        noise_report(x, given, model=GaussianNB(), pred_probs=probs)
    with pytest.raises(InputError, match="in memory"):
        noise_report("a.csv", model=GaussianNB())


def test_weights_and_groups_count_where_a_model_is_fitted_for_scores_and_reports():
    x, _truth, given = blobs(rows=300)
    light = np.where(given == 0, 0.01, 1.0)
    plain, weighed, by_class = (
        score_labels("averaged_loss", given, features=x, model=GaussianNB(), **more)
        for more in ({}, {"sample_weight": light}, {"class_weight": {0: 0.01}})
    )
    assert np.allclose(weighed, by_class)
    assert weighed[given == 0].mean() < plain[given == 0].mean() - 0.1  # a class that hardly counts is said less often
    with pytest.raises(InputError, match="pass one, or leave them out"):
        score_labels("averaged_loss", given, pred_probs=np.full((300, 3), 1 / 3), sample_weight=light)
    with pytest.raises(InputError, match="takes no sample_weight"):
        score_labels("averaged_loss", given, features=x, model=KNeighborsClassifier(), sample_weight=light)
    reports = [noise_report(x, given, replicates=2, class_weight=how) for how in (None, {0: 0.01})]
    assert reports[0].rate != reports[1].rate
    again = [np.r_[value, value] for value in (x, given)]  # every sample twice, told apart by a little noise
    again[0] += np.random.default_rng(0).normal(0, 1e-3, again[0].shape)
    grouped = noise_report(*again, model=GaussianNB(), groups=np.r_[np.arange(300), np.arange(300)], replicates=2)
    assert any("600 labels in 300 groups" in reason for reason in grouped.trust.reasons)
    with pytest.raises(InputError, match="a run has those"):
        noise_report(NoisyLabelClassifier(model=GaussianNB()).fit(x, given), groups=given)


class NoProbabilities(ClassifierMixin, BaseEstimator):
    def fit(self, x, y):
        return self


def test_what_is_no_classifier_is_refused_with_the_way_out():
    x, _, given = blobs(rows=30)
    for model, match in (
        (RidgeClassifier(), "wrap it in sklearn.calibration.CalibratedClassifierCV"),
        (NoProbabilities(), "has no predict_proba"),
        (GaussianNB, "pass an instance"),
        (object(), "codivide.audit.from_probs"),
    ):
        with pytest.raises(InputError, match=match):
            NoisyLabelClassifier(model=model).fit(x, given)
    with pytest.raises(InputError, match="pass it as model="):
        NoisyLabelClassifier(HistGradientBoostingClassifier()).fit(x, given)
    with pytest.raises(InputError, match="takes the place of method"):
        NoisyLabelClassifier("elr", model=GaussianNB()).fit(x, given)
    with pytest.raises(InputError, match="must be in memory"):
        NoisyLabelClassifier(model=GaussianNB()).fit("digits")
    assert fitted(GaussianNB(), x, given, method=Features(folds=2)).labels_.shape[0] == 30


def test_corrections_leave_out_the_same_samples():
    x, _, given = blobs(rows=90)
    decided = pd.DataFrame({"id": [3, 5], "given": given[[3, 5]], "decision": ["junk", "keep"], "label": ["", ""]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = NoisyLabelClassifier(model=GaussianNB()).fit(x, given, corrections=decided)
    assert len(classifier.labels_) == 89
    assert classifier.clean_proba_[classifier.labels_["id"] == 5] == 1


@pytest.mark.long
def test_scikit_learns_checks():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_estimator(
            NoisyLabelClassifier(model=LogisticRegression(), unlabelled=None), on_fail=None, on_skip=None
        )
    assert [(one["check_name"], str(one["exception"])) for one in found if one["status"] == "failed"] == []


def birds(rows=400):
    """A frame that few models take as it is, true labels, and given ones of which some are wrong."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, rows)
    frame = pd.DataFrame(
        {
            "mass": np.where(rng.random(rows) < 0.1, np.nan, truth + 0.1 * rng.normal(size=rows)),
            "island": np.where(rng.random(rows) < 0.2, "Dream", np.array(["Biscoe", "Torgersen"])[truth]),
            "seen": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 90, rows), unit="D"),
        }
    )
    return frame, truth, np.where(rng.random(rows) < 0.15, 1 - truth, truth)


@pytest.mark.parametrize(
    "model",
    [LogisticRegression(), make_pipeline(StandardScaler(), GaussianNB()), HistGradientBoostingClassifier(max_iter=10)],
)
def test_a_table_that_a_model_does_not_take_becomes_numbers_in_each_fold(model):
    frame, truth, given = birds()
    with pytest.warns(UserWarning, match=r"does not take the columns as they are \('island', 'seen' hold no numbers\)"):
        classifier = NoisyLabelClassifier(model=model).fit(frame, given)
    assert (classifier.suggested_labels_ == truth).mean() > 0.92 > (given == truth).mean() + 0.05
    assert (classifier.predict(frame.iloc[::-1]) == truth[::-1]).mean() > 0.92
    assert not hasattr(classifier.model, "classes_")  # the user's own stays as it is
    with pytest.warns(UserWarning, match="hold no numbers"):
        assert noise_report(frame, given, model=model).rate == pytest.approx(0.15, abs=0.08)
    with pytest.warns(UserWarning, match="hold no numbers"):
        scores = score_labels("self_confidence", given, features=frame, model=model)
    assert roc_auc_score(given == truth, scores) > 0.97


def test_gaps_alone_are_filled_where_a_model_takes_none():
    frame, truth, given = birds()
    frame = frame[["mass"]]
    with pytest.warns(UserWarning, match=r"'mass' hold empty cells"):
        classifier = NoisyLabelClassifier(model=LogisticRegression()).fit(frame, given)
    assert (classifier.predict(frame) == truth).mean() > 0.8
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # this one takes gaps
        NoisyLabelClassifier(model=HistGradientBoostingClassifier(max_iter=10)).fit(frame, given)


def test_a_pipeline_that_takes_the_table_gets_it_as_it_is():
    frame, _, given = birds()
    chosen = ColumnTransformer([("island", OneHotEncoder(handle_unknown="ignore"), ["island"])])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = NoisyLabelClassifier(model=make_pipeline(chosen, LogisticRegression())).fit(frame, given)
    assert list(classifier.model_.model.named_steps) == ["columntransformer", "logisticregression"]


def test_numbers_and_several_labels_of_such_a_table():
    frame, truth, _ = birds()
    target = 10.0 * truth + np.random.default_rng(1).normal(size=len(truth))
    target[:5] += 30
    with pytest.warns(UserWarning, match="Ridge does not take the columns"):
        numbers = NoisyLabelRegressor(model=Ridge()).fit(frame, target)
    assert set(numbers.label_issues_["id"][:5]) == set(range(5))
    sets = np.stack([truth, 1 - truth], axis=1)
    with pytest.warns(UserWarning, match="LogisticRegression does not take the columns"):
        several = NoisyMultiLabelClassifier(model=LogisticRegression()).fit(frame, sets)
    assert (several.predict(frame) == sets).mean() > 0.95


class Refusing(LogisticRegression):
    """A model that raises something in its fit, or where it is to predict."""

    def __init__(self, error=ValueError, where="fit"):
        super().__init__()
        self.error = error
        self.where = where

    def fit(self, X, y, sample_weight=None):
        if self.where == "fit":
            raise self.error("no licence")
        return super().fit(X, y, sample_weight)

    def predict_proba(self, X):
        if self.where == "predict" or len(X) == self.where:
            raise self.error("no licence")
        return super().predict_proba(X)


class NoLicence(Exception):
    """What no library of Python's own raises."""


@pytest.mark.parametrize("error", [ValueError, TypeError, RuntimeError, KeyError, np.linalg.LinAlgError, NoLicence])
def test_a_model_that_fails_says_which_fold_it_was_and_what_it_raised(error):
    x, _, y = blobs(rows=61)
    shown = repr("no licence") if error is KeyError else "no licence"
    said = rf"Refusing cannot learn from 48 rows \(fold 1 of 5\): {error.__name__}: {shown}$"
    with pytest.raises(InputError, match=said) as caught:
        NoisyLabelClassifier(model=Refusing(error)).fit(x, y)
    assert type(caught.value.__cause__) is error
    said = rf"Refusing cannot predict the probabilities of 13 rows \(fold 1 of 5\): {error.__name__}: {shown}$"
    with pytest.raises(InputError, match=said):
        noise_report(x, y, model=Refusing(error, "predict"))
    classifier = fitted(Refusing(error, 1), x, y)  # all goes well until one row is asked for
    with pytest.raises(InputError, match="Refusing cannot predict the probabilities of 1 row: "):
        classifier.predict(x[:1])


def test_what_to_do_about_columns_is_said_where_the_error_may_be_of_them():
    frame = pd.DataFrame({"a": [1.0, 2.0], "note": ["x", "y"]})
    said = own.advice(frame)
    assert "Columns that hold no numbers: 'note'" in said(ValueError("could not convert string to float: 'x'"))
    assert said(NoLicence()) == ""
    assert own.advice(frame[["a"]])(ValueError()) == own.advice(np.zeros((2, 1)))(ValueError()) == ""


def test_missing_memory_is_no_fault_of_the_input():
    x, _, y = blobs(rows=60)
    with pytest.raises(MemoryError, match=r"^no licence$"):
        NoisyLabelClassifier(model=Refusing(MemoryError)).fit(x, y)


class Stubborn(Ridge):
    """A regressor that raises in its fit, or once it is to predict few rows."""

    def fit(self, X, y, sample_weight=None):
        if self.alpha == 2.0:
            raise KeyError("no licence")
        return super().fit(X, y, sample_weight)

    def predict(self, X):
        if self.alpha == 3.0 or len(X) < 2:
            raise RuntimeError("no licence")
        return super().predict(X) * (np.nan if self.alpha == 4.0 else 1.0)


def test_models_of_numbers_and_of_several_labels_say_it_too():
    x, truth, _ = blobs(rows=60)
    target = x.sum(1)
    for alpha, said in (
        (2.0, r"Stubborn cannot learn from 48 rows \(fold 1 of 5\): KeyError: 'no licence'"),
        (3.0, r"Stubborn cannot predict 12 rows \(fold 1 of 5\): RuntimeError: no licence"),
        (4.0, r"Stubborn predicts a number that is not finite \(12 of 12 are like that\)"),
    ):
        with pytest.raises(InputError, match=said):
            NoisyLabelRegressor(model=Stubborn(alpha)).fit(x, target)
    regressor = NoisyLabelRegressor(model=Stubborn()).fit(x, target)
    with pytest.raises(InputError, match="Stubborn cannot predict 1 row: RuntimeError: no licence"):
        regressor.predict(x[:1])
    sets = np.stack([truth == 0, truth == 1], axis=1).astype(int)
    with pytest.raises(InputError, match=r"Refusing cannot learn from 48 rows \(label '0', fold 1 of 5\): TypeError"):
        NoisyMultiLabelClassifier(model=Refusing(TypeError)).fit(x, sets)


class Forgetful(LogisticRegression):
    """A model whose __init__ does not keep what it is given."""

    def __init__(self, depth=3):
        super().__init__()


@pytest.mark.parametrize("estimator", [NoisyLabelClassifier, NoisyMultiLabelClassifier])
def test_a_model_that_cannot_be_copied_says_what_its_init_must_do(estimator):
    x, truth, _ = blobs(rows=60)
    y = truth if estimator is NoisyLabelClassifier else np.stack([truth == 0, truth == 1], axis=1).astype(int)
    with pytest.raises(InputError, match=r"Forgetful cannot be copied.*'depth'\. Its __init__ must store every"):
        estimator(model=Forgetful()).fit(x, y)


class Doubtful(LogisticRegression):
    """A model whose probabilities are none."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor

    def predict_proba(self, X):
        return super().predict_proba(X) * self.factor


@pytest.mark.parametrize("factor", [2.0, float("nan"), -1.0])
def test_probabilities_that_are_none_are_refused(factor):
    x = np.random.default_rng(0).normal(size=(60, 2))
    with pytest.raises(InputError, match=r"predict_proba of Doubtful gives .* \(\d+ of \d+ are like that\)"):
        NoisyLabelClassifier(model=Doubtful(factor)).fit(x, x[:, 0] > 0)


class Odd(LogisticRegression):
    """A model that says of what class a column is in another way than scikit-learn's, or not at all."""

    def __init__(self, how=""):
        super().__init__()
        self.how = how

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        if self.how == "no classes":
            del self.classes_
        if self.how == "one less":
            self.classes_ = self.classes_[:1]
        if self.how == "texts":
            self.classes_ = np.array(["a", "b"])
        if self.how == "turned":
            self.classes_, self.coef_, self.intercept_ = self.classes_[::-1], -self.coef_, -self.intercept_
        return self

    def predict_proba(self, X):
        found = 1 / (1 + np.exp(-self.decision_function(X)))
        return found if self.how == "one column" else np.column_stack([1 - found, found])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no classes", "no classes_ when it is fitted"),
        ("texts", r"its classes_ are \['a', 'b'\]"),
        ("one less", r"Odd learned from rows of class True \(number 1 in y\), but its classes_ lack it"),
        ("one column", r"gives shape \(12,\) for 12 samples"),
    ],
)
def test_columns_of_probabilities_that_nobody_can_place_are_refused(how, said):
    x = np.random.default_rng(0).normal(size=(60, 2))
    with pytest.raises(InputError, match=said):
        NoisyLabelClassifier(model=Odd(how)).fit(x, x[:, 0] > 0)


def test_a_regressor_is_sent_to_where_it_is_taken():
    with pytest.raises(InputError, match="Ridge has no predict_proba, as it is a regressor: NoisyLabelRegressor"):
        NoisyLabelClassifier(model=Ridge()).fit(np.eye(6), [0, 1] * 3)


def test_classes_in_another_order_are_placed_by_their_numbers():
    x = np.random.default_rng(0).normal(size=(60, 2))
    plain, turned = (NoisyLabelClassifier(model=Odd(how)).fit(x, x[:, 0] > 0) for how in ("", "turned"))
    assert turned.predict_proba(x) == pytest.approx(plain.predict_proba(x))


class Views:
    def __call__(self, x, generator):
        return x


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": LogisticRegression}, r"method is the class LogisticRegression.*model=LogisticRegression\(\)"),
        ({"method": METHODS["elr"]}, r"method is the class Elr\w*: pass an instance"),
        ({"model": LogisticRegression}, r"model is the class LogisticRegression: pass an instance"),
        ({"encoder": TfidfVectorizer}, r"encoder is the class TfidfVectorizer: pass an instance, TfidfVectorizer\(\)"),
        ({"net": LogisticRegression}, r"net is the class LogisticRegression.*model=LogisticRegression\(\)"),
        ({"augment": Views}, r"augment is the class Views: pass an instance, Views\(\)"),
    ],
)
def test_a_class_in_the_place_of_an_object_is_named(given, said):
    x, _, y = blobs(rows=40)
    with pytest.raises(InputError, match=f"(?i){said}"):
        NoisyLabelClassifier(**{"method": "auto" if "model" in given else "elr", **given}).fit(x, y)


def test_an_encoder_of_images_and_a_model_are_not_both_taken() -> None:
    images = np.random.default_rng(0).integers(0, 255, (40, 16, 16, 3), dtype=np.uint8)
    model = NoisyLabelClassifier(model=LogisticRegression(), encoder="efficientnet-lite0")
    with pytest.raises(InputError, match="encoder is not asked: pass features of the images as X"):
        model.fit(images, np.arange(40) % 2)
