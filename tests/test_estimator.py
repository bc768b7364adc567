"""NoisyLabelClassifier keeps scikit-learn's promises, and its own."""

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from codivide import METHODS, Features, InputError, NoisyLabelClassifier, NoisyLabelRegressor
from codivide.audit import checks
from codivide.methods.dividemix import PAPER

PAPER_SETTINGS = {
    "check_classifiers_train": "lambda_u = 25 is the paper's setting for heavy noise; on 300 clean points in a plane "
    "the loss on guesses outweighs the labels (0.64 instead of 0.92 with lambda_u = 0)",
}
UNWEIGHED = {
    "check_class_weight_classifiers": "DivideMix divides and mixes samples: it refuses weights instead of ignoring them"
}


def quick(**settings) -> NoisyLabelClassifier:
    return NoisyLabelClassifier(**{"epochs": 12, "lr": 0.05, "unlabelled": None, **settings})


class Recorded(NoisyLabelClassifier):
    """A classifier whose ``out`` holds a new run folder for every fit: scikit-learn's checks fit one many times."""

    def fit(self, X, y=None, corrections=None):
        runs = self.out
        self.out = Path(tempfile.mkdtemp(dir=runs)) / "run"
        try:
            return super().fit(X, y, corrections)
        finally:
            self.out = runs  # a fit changes no parameter


def failed_checks(estimator, expected=None) -> list[str]:
    results = check_estimator(estimator, expected_failed_checks=expected, on_fail=None)
    assert len(results) > 40
    return [f"{r['check_name']}: {r['exception']}" for r in results if r["status"] == "failed"]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        pytest.param(quick(method="cross_entropy", epochs=5, lr=0.1), {}, id="cross_entropy"),
        pytest.param(
            quick(method=METHODS["dividemix"](**{**PAPER, "warmup": 2}), epochs=4),
            PAPER_SETTINGS | UNWEIGHED,
            id="dividemix",
            marks=pytest.mark.slow,  # cross_entropy takes the same way; who refuses weights is in tests/test_weights.py
        ),
        pytest.param(
            quick(method=METHODS["dividemix"](**{**PAPER, "lambda_u": 0.0})),
            UNWEIGHED,
            id="dividemix without lambda_u",
            marks=pytest.mark.slow,  # half a minute, for one more loss term
        ),
    ],
)
def test_check_estimator(estimator, expected):
    assert failed_checks(estimator, expected) == []


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("method", "recorded"),
    [
        pytest.param("features", False, id="features-without out"),
        pytest.param("auto", True, id="auto-with out"),  # it takes features; between them all four words are tried
        pytest.param("features", True, id="features-with out", marks=pytest.mark.slow),
        pytest.param("auto", False, id="auto-without out", marks=pytest.mark.slow),
    ],
)
def test_check_estimator_where_no_network_is_named(method, recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(Features, "kinds", lambda self, *rows, **kinds: ("linear",))  # the MLP would take a minute
    kind, out = (Recorded, tmp_path) if recorded else (NoisyLabelClassifier, None)
    assert failed_checks(kind(method, out=out, unlabelled=None)) == []


@pytest.fixture(scope="module")
def blobs():
    x, truth = make_blobs(400, n_features=5, centers=3, cluster_std=1.0, random_state=0)
    given = truth.copy()
    flip = np.random.default_rng(0).random(400) < 0.3
    given[flip] = (given[flip] + 1) % 3
    return x.astype(np.float32), truth, given


@pytest.fixture(scope="module")
def fitted(blobs):
    x, _, given = blobs
    names = np.array(["ant", "bee", "cat"])
    return NoisyLabelClassifier(epochs=20).fit(x, names[given])


def test_fit_gives_all_it_promises(fitted, blobs):
    x, truth, given = blobs
    names = np.array(["ant", "bee", "cat"])
    assert fitted.classes_.tolist() == ["ant", "bee", "cat"]
    assert fitted.n_features_in_ == 5
    assert fitted.clean_proba_.shape == (400,)
    assert ((fitted.clean_proba_ >= 0) & (fitted.clean_proba_ <= 1)).all()
    assert fitted.score(x, names[truth]) > 0.9
    assert np.mean(fitted.suggested_labels_ == names[truth]) > 0.9
    proba = fitted.predict_proba(x)
    assert proba.shape == (400, 3)
    assert proba.sum(1) == pytest.approx(1)
    assert len(fitted.history_) == 20
    issues = fitted.label_issues_
    own = ["id", "given", "suggested", "clean_prob", "rank", "suggested_prob", "label_quality"]
    looked = [column.name for column in checks.columns() if column.when != "images"]  # the others are in labels_
    assert list(issues.columns) == [*own, *looked]
    assert list(fitted.labels_) == [*own, *(column.name for column in checks.columns())]
    assert issues["rank"].is_monotonic_increasing
    assert (issues["given"] != issues["suggested"]).all()
    wrong = given != truth
    assert wrong[issues["id"]].mean() > 0.9
    assert len(fitted.labels_) == 400
    assert sorted(fitted.labels_["rank"]) == list(range(1, 401))
    assert fitted.clean_proba_[wrong].mean() < fitted.clean_proba_[~wrong].mean()


def test_pickle_and_clone(fitted, blobs):
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(blobs[0]), fitted.predict_proba(blobs[0]))
    assert not hasattr(clone(fitted), "classes_")


def test_missing_labels_are_unlabelled(blobs):
    x, truth, given = blobs
    labels = given.copy()
    labels[:100] = -1
    fit = NoisyLabelClassifier(epochs=15).fit(x, labels)
    assert fit.classes_.tolist() == [0, 1, 2]
    assert np.isnan(fit.clean_proba_[:100]).all()
    assert np.isfinite(fit.clean_proba_[100:]).all()
    assert fit.labels_["rank"][:100].isna().all()
    assert np.mean(fit.suggested_labels_[:100] == truth[:100]) > 0.85


@pytest.mark.parametrize(
    "missing",
    [
        pytest.param(lambda y, gone: np.where(gone, -1, y), id="-1"),
        pytest.param(lambda y, gone: np.where(gone, np.nan, y), id="NaN"),
        pytest.param(lambda y, gone: np.where(gone, None, y), id="None"),
        pytest.param(lambda y, gone: np.where(gone, "", y.astype(str)), id="empty text"),
        pytest.param(lambda y, gone: pd.Series(y, dtype="Int64").mask(gone), id="nullable series"),
        pytest.param(lambda y, gone: np.ma.array(y, mask=gone), id="masked array"),
        pytest.param(lambda y, gone: torch.from_numpy(np.where(gone, -1, y)), id="tensor"),
    ],
)
def test_every_way_to_write_a_missing_label_is_the_same(blobs, missing, tmp_path):
    x, _, given = blobs
    gone = np.arange(400) % 4 > 0
    fit = NoisyLabelClassifier("cross_entropy", epochs=2, out=tmp_path / "run").fit(x, missing(given, gone))
    assert [str(name) for name in fit.classes_] == ["0", "1", "2"]
    expected = NoisyLabelClassifier("cross_entropy", epochs=2).fit(x, np.where(gone, -1, given))
    assert np.array_equal(fit.predict_proba(x), expected.predict_proba(x))
    for table in (pd.read_csv(tmp_path / "run" / "labels.csv"), pd.read_parquet(tmp_path / "run" / "labels.parquet")):
        assert table["given"].isna().tolist() == gone.tolist()
        assert table["suggested"].notna().all()
        assert table["clean_prob"].isna().tolist() == table["rank"].isna().tolist() == gone.tolist()


def test_minus_one_and_one_need_a_decision(blobs):
    x, truth, _ = blobs
    signs = np.where(truth == 0, 1, -1)
    with pytest.raises(InputError, match="unlabelled=None"):
        NoisyLabelClassifier(epochs=2).fit(x, signs)
    fit = NoisyLabelClassifier(epochs=5, unlabelled=None).fit(x, signs)
    assert fit.classes_.tolist() == [-1, 1]


def test_sparse_and_dense_features_agree(blobs):
    x, _, given = blobs
    x = np.where(np.abs(x) < 2, 0, x)
    fit = NoisyLabelClassifier("cross_entropy", epochs=5).fit(sparse.csr_matrix(x), given)
    assert np.allclose(fit.predict_proba(sparse.csr_matrix(x)), fit.predict_proba(x), atol=1e-6)


@pytest.mark.parametrize("layout", ["NHW", "NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["uint8", "float"])
def test_images_of_every_layout(layout, dtype):
    digits = load_digits()
    x = (digits.images[:300] * 15).astype(np.uint8)
    x = {"NHW": x, "NHWC": np.stack([x] * 3, -1), "NCHW": np.stack([x] * 3, 1)}[layout]
    x = x if dtype == "uint8" else x.astype(np.float32) / 255
    net = "auto" if layout == "NHWC" and dtype == "uint8" else "mlp"  # which knows the layout, too
    fit = NoisyLabelClassifier("cross_entropy", net=net, epochs=8, precision="fp32").fit(x, digits.target[:300])
    assert fit.score(x, digits.target[:300]) > 0.8
    assert fit.net == net
    assert not hasattr(fit, "n_features_in_")


def test_tensors_are_taken_as_they_are(blobs):
    x, _, given = blobs
    fit = NoisyLabelClassifier("cross_entropy", epochs=3).fit(torch.from_numpy(x), torch.from_numpy(given))
    assert fit.predict(torch.from_numpy(x)).shape == (400,)


def test_it_works_in_a_pipeline_with_a_data_frame(blobs):
    x, truth, given = blobs
    frame = pd.DataFrame(x, columns=list("abcde"))
    pipe = make_pipeline(StandardScaler(), NoisyLabelClassifier(epochs=10))
    assert pipe.fit(frame, given).score(frame, truth) > 0.85
    fit = NoisyLabelClassifier("cross_entropy", epochs=2).fit(frame, given)
    assert fit.feature_names_in_.tolist() == list("abcde")


def test_a_method_instance_carries_its_hyper_parameters(blobs):
    x, _, given = blobs
    method = METHODS["dividemix"](warmup=1, lambda_u=0.0)
    fit = NoisyLabelClassifier(method, epochs=3).fit(x, given)
    assert fit.get_params()["method"] is method
    assert fit.history_[-1]["lambda_u"] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "dividemux"}, "Did you mean 'dividemix'"),
        ({"net": "mpl"}, "mlp"),
        ({"epochs": -1}, "epochs"),
        ({"precision": "fp16"}, "precision"),
        ({"device": "gpu"}, "device"),
    ],
)
def test_a_wrong_setting_is_one_error(blobs, settings, message):
    x, _, given = blobs
    with pytest.raises(InputError, match=message):
        NoisyLabelClassifier(**settings).fit(x, given)


@pytest.mark.parametrize("what", ["method", "net", "encoder"])
def test_a_name_that_means_nothing_is_said_before_data_are_read(what):
    with pytest.raises(InputError, match=f"^unknown {what} 'nosuch'"):
        NoisyLabelClassifier(**{what: "nosuch"}).fit("no/such/folder")


def test_wrong_data_are_one_error(blobs):
    x, _, given = blobs
    with pytest.raises(InputError, match=r"400.*399|399.*400"):
        quick().fit(x, given[:-1])
    with pytest.raises(InputError, match=r"(?i)one class|1 class"):
        quick().fit(x, np.zeros(400, int))
    spoiled = x.copy()
    spoiled[7, 2] = np.nan
    with pytest.raises(InputError, match="NaN"):
        quick().fit(spoiled, given)
    fit = quick(method="cross_entropy", epochs=1).fit(x, given)
    with pytest.raises(InputError, match="features"):
        fit.predict(x[:, :3])


def test_out_is_a_run_folder(blobs, tmp_path):
    x, _, given = blobs
    out = tmp_path / "run"
    NoisyLabelClassifier("cross_entropy", epochs=2, out=out).fit(x, given)
    assert {p.name for p in out.iterdir()} >= {"labels.csv", "model.safetensors", "summary.json", "metrics.jsonl"}
    with pytest.raises(InputError, match="not empty"):
        NoisyLabelClassifier("cross_entropy", epochs=2, out=out).fit(x, given)


@pytest.mark.parametrize("estimator", [NoisyLabelClassifier, NoisyLabelRegressor])
@pytest.mark.parametrize("from_file", [True, False])
def test_columns_of_a_file_are_found_by_name(estimator, from_file, tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(80, 3)) * (1, 5, 0.2), columns=["a", "b", "c"])
    label = (frame.a > 0).astype(int)
    frame.assign(label=label).to_csv(tmp_path / "train.csv", index=False)
    frame[["c", "a", "b"]].to_csv(tmp_path / "other_order.csv", index=False)
    model = estimator(random_state=0).fit(*((tmp_path / "train.csv",) if from_file else (frame, label)))
    answer = model.predict_proba if estimator is NoisyLabelClassifier else model.predict
    np.testing.assert_allclose(answer(tmp_path / "other_order.csv"), answer(frame), atol=1e-6)
    with pytest.raises(InputError, match="same order"):
        answer(frame[["c", "a", "b"]])


def test_a_fit_leaves_nothing_of_the_one_before(blobs):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=["a", "b", "c"])
    model = NoisyLabelClassifier("features").fit(frame, frame.a > 0)
    model.fit(frame.to_numpy()[:, :2], frame.a > 0)
    assert not hasattr(model, "feature_names_in_")
    assert model.n_features_in_ == 2


def test_one_group_of_all_is_refused():
    with pytest.raises(InputError, match="all 40 samples are in one group"):
        NoisyLabelClassifier("features").fit(np.arange(80.0).reshape(40, 2), np.arange(40) % 2, groups=np.zeros(40))


def test_a_stopped_fit_goes_on_with_the_same_bits(tmp_path, monkeypatch):
    x, y = make_blobs(120, centers=3, random_state=0)

    def blobs(**more) -> NoisyLabelClassifier:
        return NoisyLabelClassifier("cross_entropy", epochs=4, **more)

    kind, epochs = METHODS["cross_entropy"], []
    epoch = kind.epoch

    def stop(method, run):
        epochs.append(run.epoch)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        epoch(method, run)

    monkeypatch.setattr(kind, "epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        blobs(out=tmp_path / "run", resume=True).fit(x, y)
    resumed = blobs(out=tmp_path / "run", resume=True).fit(x, y)
    assert epochs == [0, 1, 2, 2, 3]
    again = blobs(out=tmp_path / "run", resume=True).fit(x, y)
    assert len(epochs) == 5
    straight = blobs().fit(x, y)
    for one in (resumed, again):
        np.testing.assert_array_equal(one.predict_proba(x), straight.predict_proba(x))
        np.testing.assert_array_equal(one.clean_proba_, straight.clean_proba_)
    with pytest.raises(InputError, match=r"belongs to another run: plan\.lr"):
        blobs(out=tmp_path / "run", resume=True, lr=0.1).fit(x, y)


def test_a_run_of_any_seed_goes_on_with_its_own(tmp_path, monkeypatch):
    """It was told apart by the seed that a second fit draws, so that no run without a random_state could go on."""
    x, y = make_blobs(60, centers=3, random_state=0)

    def fitted(out: str, seed: int | None = None) -> NoisyLabelClassifier:
        return NoisyLabelClassifier("cross_entropy", epochs=2, random_state=seed, out=tmp_path / out, resume=True).fit(
            x, y
        )

    first, again, other = fitted("run"), fitted("run"), fitted("other")
    np.testing.assert_array_equal(again.predict_proba(x), first.predict_proba(x))
    assert not np.array_equal(other.predict_proba(x), first.predict_proba(x))  # any seed
    with pytest.raises(InputError, match=r"belongs to another run: plan\.seed"):
        fitted("run", seed=7)


def test_resume_says_what_it_needs(tmp_path):
    x, y = make_blobs(60, centers=2, random_state=0)
    with pytest.raises(InputError, match="resume needs out"):
        NoisyLabelClassifier(resume=True).fit(x, y)
    with pytest.raises(InputError, match="resume is not for a model of your own"):
        NoisyLabelClassifier(model=LogisticRegression(), out=tmp_path / "run", resume=True).fit(x, y)
