"""Equality of what the library gives back, where it holds arrays."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import codivide
from codivide import audit
from codivide.core.by_value import same

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, 60)
PROBS = np.eye(2)[Y] * 0.6 + 0.2
PROBS[:6] = PROBS[:6, ::-1]
X = np.eye(2)[Y] + 0.1 * RNG.normal(size=(60, 2))


@pytest.fixture(scope="module")
def fitted():
    return codivide.NoisyLabelClassifier("features").fit(X, Y)


RESULTS = {
    "noise report": (lambda _: codivide.noise_report(None, [*Y[:-1], -1], pred_probs=PROBS), {"rate": 0.9}),
    "report of several labels": (
        lambda _: codivide.noise_report(None, np.eye(2)[Y].astype(int), pred_probs=PROBS, task="multilabel"),
        {"clean_prob": np.zeros(60)},
    ),
    "findings": (lambda _: audit.from_probs(Y, PROBS), {"labels": pd.DataFrame()}),
    "consensus": (lambda _: codivide.consensus([["a", "b", "a"], ["a", "a", None]] * 9), {"labels": np.zeros(18)}),
    "evidence": (lambda fitted: fitted.evidence_, {"given": np.zeros(60, dtype=np.int64)}),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_equal_where_all_that_they_hold_is(name, fitted):
    make, change = RESULTS[name]
    found = make(fitted)
    for again in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert again is not found
        assert again == found
    other = replace(found, **change)
    assert other != found
    assert found != "something else"
    with pytest.raises(TypeError, match="unhashable"):
        hash(found)


def test_models_and_data_are_equal_where_they_are_one(fitted):
    model = fitted.model_
    data = codivide.Data(torch.ones(3, 2), torch.zeros(3), ("a",), {})
    for one in (model, data):
        assert one == one
        assert one != copy.copy(one)
        assert {one: 1}[one] == 1


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), True),
        (np.array([1.0, 2.0]), np.array([1.0, np.nan]), False),
        (np.zeros(2), np.zeros((2, 1)), False),
        (np.zeros(2), np.zeros(2, dtype=np.float32), False),
        (np.zeros(2), [0.0, 0.0], False),
        (np.zeros(2), None, False),
        ({"a": pd.Series([1, 2])}, {"a": 1}, False),
        (np.array(["a", None], dtype=object), np.array(["a", None], dtype=object), True),
        (torch.tensor([1.0, torch.nan]), torch.tensor([1.0, torch.nan]), True),
        (torch.zeros(2), torch.ones(2), False),
        ({"a": (1, np.ones(2))}, {"a": (1, np.ones(2))}, True),
        ({"a": 1}, {"b": 1}, False),
        ([1, [2, np.nan]], [1, [2, float("nan")]], True),
        ([1], [1, 2], False),
        ("ab", "ab", True),
        (pd.DataFrame({"a": [1.0, np.nan]}), pd.DataFrame({"a": [1.0, np.nan]}), True),
    ],
)
def test_same_compares_whatever_is_held(one, other, equal):
    assert same(one, other) is equal
    assert same(other, one) is equal


@pytest.mark.parametrize(
    "wrap", [lambda value: value, lambda value: {"a": [value]}, lambda value: np.array([value, 1], object)]
)
def test_a_missing_value_of_pandas_is_the_same_as_itself_alone(wrap):
    assert same(wrap(pd.NA), wrap(pd.NA))
    assert not any(same(wrap(pd.NA), wrap(value)) or same(wrap(value), wrap(pd.NA)) for value in (1, None, np.nan, "a"))


def test_arrays_of_objects_may_hold_arrays():
    one, other = (np.array([None, None]) for _ in range(2))
    one[0], other[0] = np.ones(2), np.ones(2)
    assert same(one, other)
    other[0] = np.zeros(2)
    assert not same(one, other)


def test_when_an_audit_was_made_does_not_count_and_all_else_does():
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 60)
    given = np.where(np.arange(60) < 6, probs.argmin(1), probs.argmax(1))
    found = audit.from_probs(given, probs)
    later = replace(found, facts=found.facts | {"created": "2030-01-01T00:00:00+00:00"})
    assert found == later
    assert found != replace(later, facts=later.facts | {"version": "0.0.0"})
    assert found != replace(found, labels=found.labels[::-1])
    assert "created" in found.facts
