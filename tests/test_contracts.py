"""What others build on: scikit-learn's contract, pickles, Apple's GPU, resuming, thresholds that nothing passes."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict

import codivide
from codivide import METHODS, Features, InputError, NoisyLabelClassifier, TrainingWarning
from codivide.audit import from_probs
from codivide.core.device import resolve_device, resolve_precision
from codivide.data.sources import load
from codivide.fit.choose_run import execute
from codivide.fit.job import Job, default_plan
from codivide.runs.claim import claimed

QUICK = Features(heads="linear", correct=False)


@pytest.fixture(scope="module")
def blobs():
    generator = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = (2 * np.eye(3, 5)[y] + generator.normal(size=(120, 5))).astype(np.float32)
    given = np.where(generator.random(120) < 0.2, (y + 1) % 3, y)
    return x, given, y


# scikit-learn


def test_a_clone_has_the_parameters_and_nothing_that_was_fitted(blobs):
    x, given, _ = blobs
    clf = NoisyLabelClassifier(QUICK, class_weight={0: 2.0}).fit(x, given)
    other = clone(clf)
    assert other.get_params() == clf.get_params()
    assert not hasattr(other, "model_")
    assert np.array_equal(other.fit(x, given).predict_proba(x), clf.predict_proba(x))


def test_grid_search_takes_methods_and_weights(blobs):
    x, given, truth = blobs
    grid = {"method": [QUICK, Features(heads="linear", correct=False, folds=3)], "class_weight": [None, "balanced"]}
    search = GridSearchCV(NoisyLabelClassifier(), grid, cv=2, error_score="raise")
    search.fit(x, given, sample_weight=np.linspace(0.5, 1.5, 120))
    assert set(search.best_params_) == {"method", "class_weight"}
    assert (search.predict(x) == truth).mean() > 0.8
    probs = cross_val_predict(NoisyLabelClassifier(QUICK), x, given, cv=2, method="predict_proba")
    assert probs.shape == (120, 3)


def test_logarithms_of_probabilities_and_a_model_saved_under_a_name(blobs, tmp_path):
    x, given, _ = blobs
    clf = NoisyLabelClassifier(QUICK).fit(x, given)
    assert np.array_equal(clf.predict_log_proba(x), np.log(clf.predict_proba(x)))
    for name in (str(tmp_path / "heads"), tmp_path / "heads.safetensors"):
        clf.model_.save(name)
        assert np.array_equal(codivide.load_model(name).probs(x), clf.predict_proba(x))


# Pickles


def test_what_an_audit_returns_can_be_pickled(blobs):
    x, given, _ = blobs
    clf = NoisyLabelClassifier(QUICK).fit(x, given)
    probs = clf.predict_proba(x)
    scores = codivide.score_labels("self_confidence", given, pred_probs=probs)
    report = codivide.noise_report(None, given, pred_probs=probs, replicates=2)
    for found in (clf.audit(limit=5), from_probs(given, probs)):
        again = pickle.loads(pickle.dumps(found))
        assert again.labels.equals(found.labels)
        assert again.facts == found.facts
    assert np.array_equal(pickle.loads(pickle.dumps(scores)), scores)
    assert pickle.loads(pickle.dumps(report)).to_dict() == report.to_dict()
    crowd = codivide.consensus(np.column_stack([given] * 3))
    assert pickle.loads(pickle.dumps(crowd)).labels.tolist() == crowd.labels.tolist()


# Apple's GPU


def test_an_apple_gpu_is_not_chosen_in_silence_and_computes_in_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.warns(TrainingWarning, match="Apple GPU, which is not chosen by itself"):
        assert resolve_device("auto").type == "cpu"
    mps = torch.device("mps")
    assert resolve_precision("auto", mps, images=True) == "fp32"
    assert resolve_precision("fp32", mps, images=True) == "fp32"
    with pytest.raises(InputError, match='use "fp32", or "auto", which is fp32 there'):
        resolve_precision("bf16", mps, images=True)


def test_without_an_apple_gpu_nothing_is_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_device("auto").type in ("cpu", "cuda")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mps", "PyTorch finds no Apple GPU; use auto, cpu or cuda"),
        ("gpu", "auto, cpu, cuda"),
        ("xpu", "auto, cpu, cuda"),
    ],
)
def test_a_device_that_is_not_there_is_one_short_sentence(name, words, monkeypatch):
    def absent(*given, **how):
        raise RuntimeError("Could not run 'aten::empty'" + 20 * ", which has this part")

    monkeypatch.setattr(torch, "empty", absent)
    with pytest.raises(InputError, match=f"device '{name}' cannot be used here: .*{words}") as said:
        resolve_device(name)
    assert len(str(said.value)) < 150


# Resume


@pytest.mark.parametrize("epochs", [1, 3])
def test_resuming_with_another_number_of_epochs_is_refused_in_words(blobs, tmp_path, epochs):
    x, given, _ = blobs
    loaded, method = load(x, given), METHODS["cross_entropy"]()

    def job(count):
        return Job(method, default_plan(120, method, epochs=count, device="cpu", precision="fp32"), "mlp")

    out = tmp_path / "run"
    with claimed(out):
        execute(job(2), loaded, out)
    kept = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    words = rf"plan.epochs is 2 there and {epochs} now; use the same .* to resume, or give another folder"
    with pytest.raises(InputError, match=words), claimed(out, resume=True):
        execute(job(epochs), loaded, out, resume=True)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == kept


# Thresholds

SURE = [name for name, kind in METHODS.items() if kind.semi_supervised and "threshold" in kind.limits]


@pytest.mark.parametrize("name", SURE)
@pytest.mark.parametrize(("threshold", "warned"), [(1.0, True), (0.0, False)])
def test_an_epoch_in_which_no_unlabelled_sample_passes_is_said(blobs, name, threshold, warned):
    x, given, _ = blobs
    given = np.where(np.arange(120) < 60, given, -1)
    clf = NoisyLabelClassifier(METHODS[name](threshold=threshold), "mlp", epochs=2, device="cpu")
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        clf.fit(x, given)
    said = [text for row in clf.history_ for text in row.get("warnings", {}).values()]
    assert any("no unlabelled sample passed the threshold of 1.0" in text for text in said) == warned
    assert [row["sure"] for row in clf.history_] == [1 - threshold] * 2


def test_the_methods_with_a_threshold_are_these():
    assert SURE == ["fixmatch", "pseudo_label"]
