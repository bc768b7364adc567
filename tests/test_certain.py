"""How much is certainly wrong, and what p(clean) of linear heads may therefore call wrong."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from codivide import NoisyLabelClassifier, audit, noise_report, score_labels
from codivide.methods.features import judge, rule_like
from codivide.methods.features.options import Features
from codivide.noise import certain as certain_module
from codivide.noise.certain import FEWEST, MUCH, ceiling, certain
from codivide.noise.clean_prob import combined
from codivide.noise.trust import Trust

OFF = 1.645


def test_what_is_certain_follows_its_equation():
    estimates = {"latent noise": 0.05, "confident joint": 0.09}
    expected = 0.05 - OFF * (0.05 * 0.95 / 2000) ** 0.5
    assert certain(estimates, 2000) == pytest.approx(expected)
    assert certain(estimates | {"loss mixture": 0.07}, 2000) == pytest.approx(0.07 - OFF * (0.07 * 0.93 / 2000) ** 0.5)
    most = certain(estimates | {"loss mixture": 0.3}, 2000)  # a group of high losses holds what is hard, too
    assert most == pytest.approx(0.09 - OFF * (0.09 * 0.91 / 2000) ** 0.5)
    assert certain({"latent noise": 0.001, "confident joint": 0.5}, 100) == 0


@pytest.mark.parametrize("lower", [0.0, 0.002, 0.01, 0.02, 0.03, 0.05, 0.08])
@pytest.mark.parametrize("much", [MUCH, FEWEST])
@pytest.mark.parametrize(("upper", "samples"), [(0.09, 2000), (0.3, 2000), (0.45, 90), (0.6, 240), (0.01, 100_000)])
def test_the_ceiling_follows_its_equation(lower, upper, samples, much):
    low = min(lower, upper)
    proven = max(max(low - OFF * (low * (1 - low) / samples) ** 0.5, 0) - 0.25 * (upper - low), 0)
    share = max(proven / much, (upper - low - 0.2) / 0.2)
    expected = 1.0 if share >= 1 else max(low + share * (upper - low), FEWEST)
    found = ceiling({"latent noise": lower, "confident joint": upper}, samples, much)
    assert found == pytest.approx(expected)
    assert found >= min(low, FEWEST)


def test_the_ceiling_rises_with_what_is_found():
    found = [ceiling({"latent noise": rate, "confident joint": 0.1}, 2000) for rate in np.linspace(0, 0.1, 101)]
    assert found[0] == FEWEST
    assert found[-1] == 1
    assert (np.diff(found) >= 0).all()


def planted(rate: float, count: int = 1500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four classes that lie close together, their labels, and those given."""
    rng = np.random.default_rng(3)
    truth = rng.integers(4, size=count)
    x = 1.5 * np.eye(4, 12)[truth] + rng.normal(0, 0.7, (count, 12))
    wrong = rng.random(count) < rate
    return x.astype(np.float32), truth, np.where(wrong, (truth + rng.integers(1, 4, count)) % 4, truth)


def heads(x: np.ndarray, given: np.ndarray) -> NoisyLabelClassifier:
    return NoisyLabelClassifier(method=Features(heads="linear", trees="none"), random_state=0).fit(x, given)


@pytest.fixture
def unbounded(monkeypatch):
    """Judge as if all that the confident joint counts were noise."""
    monkeypatch.setattr(certain_module, "ceiling", lambda *_: 1.0)


def flagged(fitted: NoisyLabelClassifier) -> np.ndarray:
    return (fitted.labels_["given"] != fitted.labels_["suggested"]).to_numpy()


def test_of_right_labels_hardly_any_is_called_wrong():
    x, _, given = planted(0.0)
    fitted = heads(x, given)
    assert flagged(fitted).sum() <= 25
    assert 1 - fitted.clean_proba_.mean() < 0.015
    report = noise_report(fitted)
    assert report.low == 0
    said = replace(report, trust=Trust("fair", ("the classes are hard to tell apart",)))
    assert "%, perhaps none)" in said.headline
    assert "none" not in replace(said, trust=Trust("poor", said.trust.reasons)).headline.partition("kind")[0]
    assert "none" not in replace(said, low=0.01).headline.partition("kind")[0]


def test_without_the_ceiling_right_labels_are_called_wrong(unbounded):
    x, _, given = planted(0.0)
    assert flagged(heads(x, given)).sum() > 60


def test_much_noise_is_not_bounded(monkeypatch):
    x, truth, given = planted(0.25)
    fitted = heads(x, given)
    monkeypatch.setattr(certain_module, "ceiling", lambda *_: 1.0)
    assert np.array_equal(fitted.clean_proba_, heads(x, given).clean_proba_)
    assert (given != truth)[flagged(fitted)].mean() > 0.6


@pytest.mark.filterwarnings("ignore:they look like a rule")
def test_labels_like_a_rule_are_not_bounded(monkeypatch):
    x, _, given = planted(0.01)
    kept = pd.DataFrame({"id": range(50), "given": given[:50], "decision": "keep", "label": ""})
    monkeypatch.setattr(rule_like, "remark", lambda *_: "they look like a rule")
    options = Features(heads="linear", trees="none", vote=False)

    def fitted() -> NoisyLabelClassifier:
        return NoisyLabelClassifier(options).fit(x, given, kept)

    released = fitted()
    assert released.labels_["clean_prob"][:50].eq(1).all()
    monkeypatch.setattr(rule_like, "remark", lambda *_: None)
    bounded = fitted()
    monkeypatch.setattr(certain_module, "ceiling", lambda *_: 1.0)
    free = fitted()
    assert np.allclose(released.clean_proba_, free.clean_proba_, atol=0.01)  # its level is of all, confirmed or not
    assert (flagged(released) != flagged(free)).sum() <= 3
    order = np.argsort(bounded.clean_proba_[50:], kind="stable")
    assert (np.diff(released.clean_proba_[50:][order]) >= 0).all()
    assert flagged(bounded).sum() < flagged(free).sum() / 2


def test_the_order_is_that_without_a_ceiling(monkeypatch):
    x, truth, given = planted(0.01)
    bounded = heads(x, given).clean_proba_
    monkeypatch.setattr(certain_module, "ceiling", lambda *_: 1.0)
    free = heads(x, given).clean_proba_
    assert bounded.mean() > free.mean()
    assert (np.diff(bounded[np.argsort(free, kind="stable")]) >= 0).all()
    assert (given != truth)[np.argsort(bounded)[:8]].mean() > 0.5


def test_the_level_of_trees_is_the_rate_of_the_report():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=900)
    probs = 0.6 * np.eye(3)[truth] + 0.4 * rng.dirichlet(np.ones(3), 900)
    given = torch.from_numpy(np.where(rng.random(900) < 0.1, (truth + 1) % 3, truth))
    said = {
        (plain, shown): judge.noise_level(torch.from_numpy(probs), given, 0.4, plain=plain, shown=shown)
        for plain in (True, False)
        for shown in (True, False)
    }
    rate = noise_report(None, given.numpy(), pred_probs=probs).rate
    assert said[False, False] == pytest.approx(rate, abs=0.01)
    assert said[False, True] == pytest.approx((said[False, False] + 0.4) / 2)
    assert said[True, False] == 0.4  # a tenth is proven: nothing is bounded
    assert said[True, True] == said[False, True]  # noise that goes by classes is shown


def unseen(rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities by a classifier that has not seen the labels, those given, and which are wrong."""
    x, truth, given = planted(rate)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    probs = cross_val_predict(LogisticRegression(C=0.1), x, given, cv=folds, method="predict_proba")
    return probs, given, given != truth


def test_by_probabilities_from_elsewhere_hardly_a_right_label_is_called_wrong():
    probs, given, _ = unseen(0.0)
    free, bounded = combined(probs, given), audit.from_probs(given, probs)
    assert 1 - free.mean() > 0.03
    assert 1 - bounded.clean_prob.mean() < 0.015
    assert bounded.labels["is_label_issue"].sum() <= 25
    assert score_labels("combined", given, pred_probs=probs) == pytest.approx(bounded.clean_prob, abs=1e-6)
    order = np.argsort(free, kind="stable")
    assert (np.diff(bounded.clean_prob[order]) >= 0).all()
    of_training = score_labels("combined", given, pred_probs=probs, losses=-np.log(probs[np.arange(len(given)), given]))
    assert 1 - of_training.mean() > 0.03  # what was learned from looks right: nothing is proven, nor disproven


def test_by_probabilities_from_elsewhere_proven_noise_is_not_bounded():
    probs, given, wrong = unseen(0.15)
    found = combined(probs, given, held_out=True)
    assert np.array_equal(found, combined(probs, given))
    assert wrong[found < 0.5].mean() > 0.6
