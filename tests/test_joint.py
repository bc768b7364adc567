"""The joint matrix of true and given labels."""

import pickle

import numpy as np
import pandas as pd
import pytest

from codivide import InputError, audit, noise_report


def noisy(count=1500, seed=0):
    """Labels of which a fifth of class "a" is called "b", and probabilities; three classes."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 3, count)
    given = np.where((true == 0) & (rng.random(count) < 0.2), 1, true)
    shift = (np.eye(3)[[0, 1, 2]] - 1 / 3) * 6
    transition = np.array([[0.8, 0.2, 0], [0, 1, 0], [0, 0, 1]])
    scores = shift[true] + rng.normal(size=(count, 3))
    clean = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    return true, given, clean @ transition


def test_the_confident_joint_is_that_of_the_equations():
    true, given, probs = noisy()
    found = audit.confident_joint(np.array(["a", "b", "c"])[given], pd.DataFrame(probs, columns=list("abc")))
    threshold = [probs[given == c, c].mean() for c in range(3)]
    counts = np.zeros((3, 3))
    for p, label in zip(probs, given, strict=True):
        reached = [c for c in range(3) if p[c] >= threshold[c]]
        if reached:
            counts[max(reached, key=lambda c: p[c]), label] += 1
    wanted = counts / counts.sum(0) * np.bincount(given)
    np.testing.assert_allclose(found.to_numpy(), wanted)
    assert list(found.index) == list(found.columns) == ["a", "b", "c"]
    assert (found.index.name, found.columns.name) == ("true", "given")
    really = ((true == 0) & (given == 1)).sum()
    assert found.loc["a", "b"] == pytest.approx(really, rel=0.25)
    rates = audit.confident_joint(given, probs, rates=True)
    np.testing.assert_allclose(rates.to_numpy(), wanted / len(given))


def test_labels_that_are_missing_do_not_count():
    _, given, probs = noisy(300)
    given[:50] = -1
    assert audit.confident_joint(given, probs).to_numpy().sum() == pytest.approx(250)
    with pytest.raises(InputError, match="pred_probs has 299 rows"):
        audit.confident_joint(given, probs[1:])


def test_the_report_has_a_joint_that_fits_its_labels_and_rates():
    true, given, probs = noisy()
    given[:7] = -1
    report = noise_report(None, given, pred_probs=probs)
    np.testing.assert_allclose(report.joint.sum(0), np.bincount(given[7:], minlength=3))
    wrong = 1 - np.diag(report.joint) / report.joint.sum(0)
    np.testing.assert_allclose(wrong, [item.rate for item in report.per_class], atol=1e-9)
    assert report.joint[0, 1] == pytest.approx(((true == 0) & (given == 1)).sum(), rel=0.25)
    frame = report.joint_frame()
    assert frame.loc["0", "1"] == report.joint[0, 1]
    assert report.joint_frame(rates=True).to_numpy().sum() == pytest.approx(1)
    assert np.shape(report.to_dict()["joint"]) == (3, 3)


def test_a_class_that_cannot_be_judged_counts_as_right():
    _, given, probs = noisy()
    given[0], given[1] = 3, 3  # too few to judge
    report = noise_report(None, given, pred_probs=np.column_stack([probs * 0.99, np.full(len(given), 0.01)]))
    assert report.joint[3].tolist() == [0, 0, 0, 2]


def test_a_report_that_an_older_version_has_pickled_is_whole_but_for_its_joint():
    _, given, probs = noisy(300)
    report = noise_report(None, given, pred_probs=probs)
    again = pickle.loads(pickle.dumps(report))
    np.testing.assert_array_equal(again.joint, report.joint)
    old = object.__new__(type(report))
    old.__setstate__({name: value for name, value in vars(report).items() if name != "joint"})
    assert old.to_dict() == report.to_dict() | {"joint": []}
    with pytest.raises(InputError, match="older version"):
        old.joint_frame()
