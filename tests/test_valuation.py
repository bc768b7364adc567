"""Values of samples: the recursion against the definition of Shapley values."""

from itertools import combinations, permutations
from math import factorial

import numpy as np
import pytest
import torch
from scipy import sparse

import codivide
from codivide.noise import valuation


def worth(order, same, chosen, count):
    """How many of the nearest ``count`` of ``chosen`` are right, over ``count``."""
    near = [k for k in order if k in chosen][:count]
    return sum(same[k] for k in near) / count


def by_definition(same, count):
    size = len(same)
    found = np.zeros(size)
    for k in range(size):
        others = [other for other in range(size) if other != k]
        for m in range(size):
            weight = factorial(m) * factorial(size - m - 1) / factorial(size)
            for chosen in combinations(others, m):
                gain = worth(range(size), same, {*chosen, k}, count) - worth(range(size), same, set(chosen), count)
                found[k] += weight * gain
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 9])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_recursion_is_the_definition(count, seed):
    same = np.random.default_rng(seed).integers(0, 2, 7).astype(float)
    right, wrong = valuation.of_groups(np.ones(7, dtype=np.int64), same.astype(np.int64), count)
    found = np.where(same, right, wrong)
    np.testing.assert_allclose(found, by_definition(same, count), atol=1e-12)
    assert found.sum() == pytest.approx(worth(range(7), same, set(range(7)), count))


@pytest.mark.parametrize("count", [1, 2, 3, 9])
@pytest.mark.parametrize("size", [[3, 1, 2], [1, 2, 2], [5], [2, 3]])
@pytest.mark.parametrize("seed", [0, 1])
def test_of_ties_it_is_the_mean_over_their_orders(count, size, seed):
    group = np.repeat(np.arange(len(size)), size)
    same = np.random.default_rng(seed).integers(0, 2, len(group))
    found = np.zeros(len(group))
    orders = [order for order in permutations(range(len(group))) if (np.diff(group[list(order)]) >= 0).all()]
    for order in orders:
        found[list(order)] += by_definition(same[list(order)].astype(float), count) / len(orders)
    right, wrong = valuation.of_groups(np.array(size), np.bincount(group, same).astype(np.int64), count)
    np.testing.assert_allclose(np.where(same, right[group], wrong[group]), found, atol=1e-12)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_the_order_of_copies_does_not_count(kind):
    rng = np.random.default_rng(0)
    x = rng.integers(1, 4, (200, 2)).astype(float)  # 9 points, of which some point the same way
    y = rng.integers(0, 3, 200)
    order = rng.permutation(200)
    points = sparse.csr_matrix if kind == "sparse" else np.asarray
    found = codivide.score_labels("knn_shapley", y, features=points(x))
    again = codivide.score_labels("knn_shapley", y[order], features=points(x[order]))
    np.testing.assert_allclose(again, found[order], atol=1e-12)
    for point in np.unique(x, axis=0):
        for label in range(3):
            some = found[(x == point).all(1) & (y == label)]
            np.testing.assert_allclose(some, np.full(len(some), some[:1]), atol=1e-12)


def test_values_are_means_over_the_other_samples():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 2)), rng.integers(0, 2, 9)
    total = np.zeros(9)
    for test in range(9):
        others = np.delete(np.arange(9), test)
        order = others[np.argsort(((x[others] - x[test]) ** 2).sum(1))]
        total[order] += by_definition((y[order] == y[test]).astype(float), 3)
    np.testing.assert_allclose(valuation.values(x_tensor(x), y, 3), total / 8, atol=1e-6)


def test_of_many_samples_some_are_predicted(monkeypatch):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    x = x_tensor(rng.normal(size=(300, 2)) + 3 * y[:, None])
    whole = valuation.values(x, y, 10)
    monkeypatch.setattr(valuation, "MOST_TESTED", 200)
    assert np.corrcoef(whole, valuation.values(x, y, 10))[0, 1] > 0.8


def test_wrong_labels_are_worth_less_than_nothing():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 300)
    x = np.eye(3)[true] + 0.1 * rng.normal(size=(300, 3))
    y = true.copy()
    y[:30] = (y[:30] + 1) % 3
    found = codivide.score_labels("knn_shapley", y, features=x)
    assert (found[:30] < 0).mean() > 0.9  # some have others of their kind beside them
    assert (found[30:] > 0).mean() > 0.99
    x[40] = 0
    assert np.isnan(codivide.score_labels("knn_shapley", y, features=x)[40])


def x_tensor(x):
    return torch.from_numpy(np.asarray(x, dtype=np.float32))
