"""Forests of scikit-learn's trees, grown one after the other: the same trees as its forests have, in half the time.

Of some hundred rows a forest of scikit-learn takes as long to copy, check and configure its trees as to grow them. A
tree of few rows takes as long to make its generator of random numbers, and to check its weights. So all trees have one
generator, which is seeded anew for each, and no weights where all rows count 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from codivide.core.types import Floats, Singles

_SEEDS = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Forest:
    """Trees that are asked together.

    Attributes:
        trees: fitted trees of scikit-learn.
    """

    trees: list[Any]

    def predict(self, x: Singles) -> Floats:
        """The mean ``[N]`` of what the trees say of rows ``[N, D]``."""
        total = np.zeros(len(x))
        for tree in self.trees:
            total += tree.predict(x, check_input=False)
        return total / len(self.trees)

    def predict_proba(self, x: Singles) -> Floats:
        """The mean ``[N, C]`` of the class probabilities of the trees."""
        total: Floats = sum(tree.predict_proba(x, check_input=False) for tree in self.trees)
        return total / len(self.trees)


def grow(kind: Callable[..., Any], count: int, x: Singles, y: Any, weight: Floats | None = None, **more: Any) -> Forest:
    """The trees that a forest of scikit-learn without bootstrap has.

    Args:
        kind: of a tree: ``ExtraTreeRegressor`` or ``ExtraTreeClassifier``.
        count: how many.
        x: finite rows ``[N, D]``, float32 without gaps in memory.
        y: what is learned, ``[N]`` or ``[N, V]``; classes as 0, 1, ...
        weight: of the rows ``[N]``.
        more: ``seed``, and settings of the tree.

    Example:
        >>> from sklearn.tree import ExtraTreeRegressor
        >>> x = np.arange(8, dtype=np.float32)[:, None]
        >>> grow(ExtraTreeRegressor, 5, x, x[:, 0], seed=0).predict(x[:2]).tolist()
        [0.0, 1.0]
    """
    weight = None if weight is None or (weight == 1).all() else weight
    return Forest([tree.fit(x, y, sample_weight=weight, check_input=False) for tree, _ in _new(kind, count, **more)])


def bagged(kind: Callable[..., Any], count: int, x: Singles, y: Floats, **more: Any) -> tuple[Forest, Floats]:
    """A forest each of whose trees sees rows that are drawn with replacement; and what it says of rows it did not see.

    Args:
        kind: of a tree: ``DecisionTreeRegressor``.
        count: how many.
        x: finite rows ``[N, D]``, float32 without gaps in memory.
        y: numbers ``[N]``.
        more: ``seed``, and settings of the tree.

    Returns:
        The forest, and ``[N]`` the mean of the trees that have not seen the row; 0 where all have.
    """
    trees, total, asked = [], np.zeros(len(x)), np.zeros(len(x))
    for tree, seed in _new(kind, count, **more):
        drawn = tree.random_state.randint(0, len(x), len(x), dtype=np.int32)
        tree.random_state.seed(seed)  # the tree begins where the drawing began, as scikit-learn has it
        times = np.bincount(drawn, minlength=len(x))
        trees.append(tree.fit(x, y, sample_weight=times, check_input=False))
        unseen = times == 0
        if unseen.any():
            total[unseen] += tree.predict(x[unseen], check_input=False)
            asked += unseen
    return Forest(trees), total / np.maximum(asked, 1)


def _new(kind: Callable[..., Any], count: int, *, seed: int, **settings: Any) -> Iterator[tuple[Any, int]]:
    """Trees that are not fitted, and the seed of each, as scikit-learn's forests draw it; each is used up at once."""
    from sklearn import config_context

    generator, shared = np.random.RandomState(seed), np.random.RandomState(0)
    with config_context(skip_parameter_validation=True):  # of settings that stand in the code
        for _ in range(count):
            own = int(generator.randint(_SEEDS))
            shared.seed(own)
            yield kind(random_state=shared, **settings), own
