"""What runs know of their samples, as a record: on disk, and the same whether a folder is asked for or not."""

import json
import time

import numpy as np
import pytest
from sklearn.datasets import load_digits

from codivide import NoisyLabelClassifier
from codivide.fit.budget import Budget
from codivide.fit.choice import Choice, Decision, ScoutReport, Verdict
from codivide.noise.evidence import Evidence


def _evidence(**more) -> Evidence:
    return Evidence(np.array([0, 1, -1, 2]), np.array([0.1, 0.2, np.nan, 3.0], dtype=np.float32), **more)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"probs": np.full((4, 3), 1 / 3, dtype=np.float16), "set_aside": True},
        {"predictions": np.zeros((2, 4), dtype=np.uint8), "held_out": True, "witnessed": True},
    ],
)
def test_evidence_survives_a_file(more, tmp_path):
    np.savez_compressed(tmp_path / "x.npz", **_evidence(**more).to_arrays())
    with np.load(tmp_path / "x.npz", allow_pickle=False) as held:
        back = Evidence.from_arrays({name: held[name] for name in held.files})
    for name, value in vars(_evidence(**more)).items():
        assert np.array_equal(getattr(back, name), value, equal_nan=name == "mean_loss") or value is None is back.probs


def test_votes_stand_in_for_probabilities_that_were_not_kept():
    votes = np.array([[0, 1, 2, 2], [0, 1, 1, 2], [1, 1, 2, 2], [0, 1, 0, 2]])
    shares = _evidence(predictions=votes).mean_probs(3) / 4
    assert np.allclose(shares, [[0.75, 0.25, 0], [0, 1, 0], [0.25, 0.25, 0.5], [0, 0, 1]])
    kept = _evidence(predictions=votes, probs=np.eye(4, 3, dtype=np.float16))
    assert np.array_equal(kept.mean_probs(3), np.eye(4, 3))
    with pytest.raises(ValueError, match="neither"):
        _evidence().mean_probs(3)


def _report() -> ScoutReport:
    return ScoutReport(
        *(100, 0, 3, 10, 0.2, 0.1, 0.3, "symmetric", 0.1, "fair", 8, 8, 5, 3, 0.7, 0.05, 0.9, True),
        lost=("cat",),
    )


def test_a_choice_survives_json():
    decision = Decision("dividemix", {"lambda_u": 5.0}, 20, ("because",), seconds=3.5)
    verdict = Verdict("correction", 0.1, 0.02, 0.03, 10, "it is kept")
    for choice in (Choice(decision), Choice(decision, _report()), Choice(decision, _report(), verdict)):
        assert Choice.from_dict(json.loads(json.dumps(choice.to_dict()))) == choice
    more = Choice(decision).because("and so")
    assert more.decision.reasons == ("because", "and so")
    with pytest.raises(KeyError, match="decision"):
        Choice.from_dict({"evidence": None, "verdict": None})
    with pytest.raises(TypeError, match="nonsense"):
        Choice.from_dict({**choice.to_dict(), "verdict": {"nonsense": 1}})


def test_the_stages_of_a_budget_end_in_order():
    began = time.monotonic()
    budget = Budget(100.0, began)
    assert budget.planned == pytest.approx(85)
    assert began + 85 == pytest.approx(budget.features_end())
    assert budget.features_end() < budget.scout_ends() < budget.ends() < began + 100
    assert 0 < budget.left() <= 85
    assert Budget(1.0, began - 10).left() == 0
    none = Budget()
    assert {none.planned, none.left(), none.features_end(), none.scout_ends(), none.ends()} == {None}


@pytest.mark.long
@pytest.mark.parametrize("method", ["cross_entropy", "dividemix", "features", "auto"])
def test_asking_for_a_folder_changes_no_number(method, tmp_path):
    images, truth = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    given = np.where(rng.random(200) < 0.4, rng.integers(0, 10, 200), truth[:200])
    x = images[:200].astype(np.float32)
    if method != "features":
        x = (x.reshape(-1, 8, 8) * 15.9).astype(np.uint8)
    network = {} if method == "features" else {"epochs": 3, "precision": "fp32", "device": "cpu"}
    if method in ("cross_entropy", "dividemix"):
        network["net"] = "mlp"
    with_folder = NoisyLabelClassifier(method, out=tmp_path / "run", **network).fit(x, given)
    without = NoisyLabelClassifier(method, **network).fit(x, given)
    assert np.array_equal(with_folder.clean_proba_, without.clean_proba_)
    assert np.array_equal(with_folder.suggested_labels_, without.suggested_labels_)
    assert np.array_equal(with_folder.predict_proba(x), without.predict_proba(x))
    assert np.array_equal(with_folder.evidence_.probs, without.evidence_.probs)
