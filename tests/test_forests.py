"""Forests of scikit-learn's trees have the trees of its forests, and say the same."""

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestRegressor
from sklearn.tree import DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from codivide.methods.features.forests import bagged, grow

SETTINGS = {"min_samples_leaf": 3, "max_features": 0.5}


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 4)).astype(np.float32)
    return x, x @ [3.0, 2, 1, 0] + rng.normal(size=120), rng.random(120)


@pytest.mark.parametrize("weighed", ["not", "alike", "each"])
@pytest.mark.parametrize(
    ("tree", "forest", "columns"),
    [
        (ExtraTreeRegressor, ExtraTreesRegressor, 1),
        (ExtraTreeRegressor, ExtraTreesRegressor, 2),
        (ExtraTreeClassifier, ExtraTreesClassifier, 1),
    ],
)
def test_the_trees_are_those_of_a_forest(rows, tree, forest, columns, weighed):
    x, y, weight = rows
    y = np.stack([y, -x[:, 3]], axis=1) if columns == 2 else y
    y = np.digitize(y, [-1, 1]) if tree is ExtraTreeClassifier else y
    weight = {"not": None, "alike": np.ones(len(x)), "each": weight}[weighed]
    ours = grow(tree, 7, x, y, weight, seed=5, **SETTINGS)
    theirs = forest(7, random_state=5, **SETTINGS).fit(x, y, sample_weight=weight)
    for one, other in zip(ours.trees, theirs.estimators_, strict=True):
        for name in ("feature", "threshold", "children_left", "children_right", "value"):
            np.testing.assert_array_equal(getattr(one.tree_, name), getattr(other.tree_, name))
    if tree is ExtraTreeRegressor and columns == 1:
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


def test_rows_are_drawn_as_a_random_forest_draws_them(rows):
    x, y, _ = rows
    ours, unseen = bagged(DecisionTreeRegressor, 24, x, y, seed=3, max_leaf_nodes=8, **SETTINGS)
    theirs = RandomForestRegressor(24, oob_score=True, random_state=3, max_leaf_nodes=8, **SETTINGS).fit(x, y)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    np.testing.assert_array_equal(unseen, theirs.oob_prediction_)


def test_a_row_that_every_tree_has_seen_is_said_to_be_0(rows):
    x, y, _ = rows
    _, unseen = bagged(DecisionTreeRegressor, 1, x, y, seed=0, **SETTINGS)
    assert 0.5 < (unseen == 0).mean() < 0.75  # of one tree, 1 - 1 / e of the rows
