"""The tree heads: a forest, and gradient boosting; fitted by scikit-learn, kept and evaluated as plain arrays.

Of noisy labels a forest suffers least and boosting most, which early stopping on held-out labels limits. Both are
fitted on the raw features, one fold after the other; the trees of a forest are shared out among several deals of the
folds. What they say of a class is mixed with a little of its frequency, since a leaf without a label of a class proves
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codivide.core import cluster
from codivide.core.errors import InputError
from codivide.core.types import Floats, Labels, Singles
from codivide.methods.features.folds import check_counts, learnable
from codivide.methods.features.forests import Forest, grow
from codivide.methods.features.matrix import Raw

KINDS = ("forest", "boosting")
FEWEST = 1000  # rows of numbers from which on trees take part by themselves
WIDEST = 256  # features of a table; what has more is an embedding
ROWS_OF_A_CLASS = 50  # below which boosting takes part by itself only where a trial gains by it
POWERS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
PRIOR = 0.02  # share of the classes' frequencies in what trees say
FEWEST_OF_MEANS = 40  # rows from which on a table of numbers or several labels gets trees
_TREES, _LEAF = 100, 3
_TREES_OF_MEANS = 60
_ROUNDS, _LEAVES = 100, 15
_FEWEST_LEVELS, _MOST_LEVELS = 2, 255  # that scikit-learn's boosting can be told to keep apart
_CHUNK = 4096
_DEEPEST = 10_000
_UNMIXING = 20  # steps
_TINY = 1e-9


@dataclass(frozen=True)
class Trees:
    """Trees of any kind, node after node; a leaf is its own child.

    Attributes:
        feature: ``[M]`` int32 that a node asks for.
        threshold: ``[M]`` float32: a row goes left where its value is at most this.
        children: ``[M, 2]`` int32: the left and the right one.
        value: ``[M, V]`` float32 of a leaf; V is C, or 1 where a tree speaks of one class.
        roots: ``[T]`` int32.
        column: ``[T]`` int32, the class that a tree speaks of; empty where all speak of all.
        base: ``[C]`` float32, the scores of boosting before the first round (``[1]`` with two classes); of a forest
            empty.
        prior: ``[C]`` float32, how often each class was given.
        power: ``[1]`` float32 to which the probabilities are raised, see ``sharpest``.
    """

    feature: Tensor
    threshold: Tensor
    children: Tensor
    value: Tensor
    roots: Tensor
    column: Tensor
    base: Tensor
    prior: Tensor
    power: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        """All of it, in the order of the attributes."""
        nodes = (self.feature, self.threshold, self.children, self.value, self.roots)
        return (*nodes, self.column, self.base, self.prior, self.power)

    def sharpened(self, power: float) -> Trees:
        """The same trees with another power."""
        return replace(self, power=torch.tensor([power]))

    def probs(self, x: Singles) -> Tensor:
        """Class probabilities ``[N, C]`` of raw rows ``[N, D]``."""
        parts = [self._probs(x[start : start + _CHUNK]) for start in range(0, len(x), _CHUNK)]
        found = torch.cat(parts) if parts else torch.zeros(0, len(self.prior))
        return sharpened((1 - PRIOR) * found + PRIOR * self.prior, float(self.power))

    def _probs(self, x: Singles) -> Tensor:
        leaf = self.leaves(x)
        if not len(self.column):  # a forest: the mean over the trees
            return self.value[leaf].mean(1)
        values = self.value[leaf, 0]
        scores = self.base.expand(len(x), -1).clone()
        scores.index_add_(1, self.column.long(), values)
        if scores.shape[1] == 1:  # two classes
            second = torch.sigmoid(scores)
            return torch.cat([1 - second, second], 1)
        return torch.softmax(scores, 1)

    def leaves(self, x: Singles) -> Tensor:
        """The node ``[N, T]`` at which every row ends in every tree."""
        values, trees = torch.from_numpy(x).flatten(), len(self.roots)
        children, feature = self.children.flatten().long(), self.feature.long()
        inner = self.children[:, 0] != torch.arange(len(self.children))
        found = self.roots.long().repeat(len(x))
        asked = inner[found].nonzero().flatten()  # places in ``found`` that have not come to a leaf
        node, first = found[asked], (asked // trees) * x.shape[1]  # in ``values``, of the row
        for _ in range(_DEEPEST):
            if not len(asked):
                return found.view(len(x), trees)
            asks = values.index_select(0, first + feature.index_select(0, node))
            node = children.index_select(0, 2 * node + (asks > self.threshold.index_select(0, node)))
            found.index_copy_(0, asked, node)
            on = inner.index_select(0, node).nonzero().flatten()
            asked, node, first = asked[on], node[on], first[on]
        raise InputError("the trees of the model are damaged: a row ends nowhere")


def pays(rows: int, classes: int) -> bool:
    """Whether boosting is cheap enough to take part unless a trial gives it no weight; else it must gain.

    Of more than two classes it grows a tree for each in every round, where a tree of a forest speaks of all. So its
    cost goes with rows times classes. The bound makes it go with rows alone: at most 1/50 of a tree a row and round.
    """
    return classes <= 2 or rows >= ROWS_OF_A_CLASS * classes


def cross_probs(
    kind: str,
    x: Raw,
    given: Tensor,
    deals: Sequence[Tensor],
    *,
    seed: int,
    classes: int,
    counts: Tensor | None = None,
    first: Tensor | None = None,
) -> Tensor:
    """Class probabilities ``[N, C]``, each by trees that saw no label of its fold; see ``fit``.

    The trees of a forest are shared out among the deals of folds, which costs no more than all of them on one deal.
    What is said of a label then rests less on which others happen to be held out with it. Boosting has the first deal.
    All folds are spread over a cluster where there is one.

    Args:
        kind: "forest" or "boosting".
        x: raw features ``[N, D]``.
        given: labels ``[N]``.
        deals: folds ``[N]``, each by another deal.
        seed: of what is drawn; each deal has one of its own.
        classes: C.
        counts: how much each sample counts ``[N]``; None: all alike. A deal that holds all that count out together
            is left out.
        first: what trees without them say of the rows of the first fold ``[M, C]``, where it is known.

    Raises:
        InputError: the first deal holds out all samples that count together.
    """
    if counts is not None:
        check_counts(deals[0].numpy(), counts.numpy())
        deals = [fold for fold in deals if learnable(fold.numpy(), counts.numpy())]
    deals = deals[:1] if kind != "forest" else deals

    found = torch.zeros(len(given), classes)
    held = [(fold == number, shift) for shift, fold in enumerate(deals) for number in range(int(fold.max()) + 1)]
    if first is not None:
        found[held[0][0]] = first / len(deals)
        held = held[1:]

    def parts() -> Iterator[_Fold]:
        for of_fold, shift in held:
            out = of_fold.numpy()
            known = None if counts is None else counts.numpy()[~out]
            yield _Fold(dense(x[~out]), given[~out].numpy(), known, dense(x[out]), seed + shift)

    task = partial(_of_fold, kind, classes=classes, trees=_TREES // len(deals))
    for (out, _), probs in zip(held, cluster.spread(task, parts()), strict=True):
        found[out] += probs / len(deals)
    return found


class _Fold(NamedTuple):
    rows: Singles  # that are learned from
    given: Labels
    counts: Floats | None
    out: Singles  # that are predicted
    seed: int


def _of_fold(kind: str, part: _Fold, *, classes: int, trees: int) -> Tensor:
    own = fit(kind, part.rows, part.given, seed=part.seed, classes=classes, counts=part.counts, trees=trees)
    return own.probs(part.out)


def sharpened(probs: Tensor, power: float) -> Tensor:
    """Probabilities ``[N, C]`` raised to a power, with a little of every class; as they are with power 1."""
    if power == 1:
        return probs
    raised = probs.pow(power)
    return (1 - PRIOR) * raised / raised.sum(1, keepdim=True) + PRIOR / probs.shape[1]


def sharpest(probs: Tensor, loss: Callable[[Tensor], float]) -> tuple[float, Tensor]:
    """The power to which probabilities ``[N, C]`` have the least held-out loss, and what it gives.

    A forest of few samples is less sure than it may be. Otherwise the transition matrix would be taken for the reason,
    and far too many labels for wrong.
    """
    tried = [(power, sharpened(probs, power)) for power in POWERS]
    return tried[int(np.argmin([loss(found) for _, found in tried]))]


def unmix(probs: Tensor, channel: Tensor) -> Tensor:
    """Probabilities ``[N, C]`` of the true class ``q`` whose ``channel^T q`` comes nearest to those of the given one.

    It is sought by the steps of expectation-maximisation (Richardson 1972, Lucy 1974), from ``probs`` on, which keep
    rows non-negative and of sum 1.

    Args:
        probs: of the given label ``[N, C]``.
        channel: ``[C, C]``: row c, how a true class c is given.
    """
    found = probs.clone()
    for _ in range(_UNMIXING):
        ratio = probs / (found @ channel).clamp_min(_TINY)
        found *= ratio @ channel.T
        found /= found.sum(1, keepdim=True).clamp_min(_TINY)
    return found


def dense(x: Raw) -> Singles:
    """Rows as trees take them."""
    return np.ascontiguousarray(x if isinstance(x, np.ndarray) else x.toarray(), dtype=np.float32)


@dataclass(frozen=True)
class Fitted:
    """Trees as scikit-learn has fitted them: asked in a fraction of the time of ``Trees``, but not to be kept.

    Attributes:
        model: a ``Forest`` or gradient boosting; None: one class is all there was.
        held: the classes that have a label.
        prior: ``[C]`` float32, how often each class was given.
    """

    model: Any
    held: Labels
    prior: Tensor

    def probs(self, x: Singles) -> Tensor:
        """Class probabilities ``[N, C]`` of raw rows ``[N, D]``."""
        found = torch.zeros(len(x), len(self.prior))
        found[:, self.held] = 1.0 if self.model is None else torch.from_numpy(self.model.predict_proba(x)).float()
        return (1 - PRIOR) * found + PRIOR * self.prior

    def trees(self) -> Trees:
        """The same as arrays."""
        classes = len(self.prior)
        if self.model is None:
            found = _constant(int(self.held[0]), classes)
        else:
            arrays = _of_forest if isinstance(self.model, Forest) else _of_boosting
            found = arrays(self.model, self.held, classes)
        return replace(found, prior=self.prior)


def fit(
    kind: str,
    x: Singles,
    given: Labels,
    *,
    seed: int,
    classes: int,
    counts: Floats | None = None,
    trees: int = _TREES,
) -> Fitted:
    """Fit a forest or gradient boosting.

    Args:
        kind: "forest" or "boosting".
        x: raw features ``[N, D]``.
        given: labels ``[N]`` in ``0 .. classes - 1``; a class may be missing.
        seed: of what is drawn.
        classes: C.
        counts: how much each sample counts ``[N]``, in the frequencies of the classes, too; None: all alike.
        trees: of a forest.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.tree import ExtraTreeClassifier

    total = len(given) if counts is None else counts.sum()
    prior = torch.from_numpy(np.bincount(given, counts, minlength=classes) / total).float()
    held, inverse = np.unique(given, return_inverse=True)
    if len(held) == 1:
        return Fitted(None, held, prior)
    if kind == "forest":
        known: dict[str, Any] = {"seed": seed, "min_samples_leaf": _LEAF, "max_features": "sqrt"}
        return Fitted(grow(ExtraTreeClassifier, trees, x, inverse, counts, **known), held, prior)
    enough = len(given) >= max(100, 2 * len(held)) and int(np.bincount(inverse).min()) >= 2
    model = HistGradientBoostingClassifier(
        max_iter=_ROUNDS,
        max_leaf_nodes=_LEAVES,
        l2_regularization=1.0,
        early_stopping=enough,
        validation_fraction=0.1 if len(given) >= 10 * len(held) else len(held),  # it holds every class
        n_iter_no_change=5,
        max_bins=levels(x),
        random_state=seed,
    )
    return Fitted(model.fit(x, inverse, sample_weight=counts), held, prior)


def levels(x: Singles) -> int:
    """How many values boosting has to keep apart in a column of ``[N, D]``: 2 to 255.

    Where no column has more, the trees are the same, and no histogram has room that stays empty.
    """
    most = _FEWEST_LEVELS
    for column in x.T:
        most = max(most, len(np.unique(column)))
        if most >= _MOST_LEVELS:
            return _MOST_LEVELS
    return most


def _of_forest(forest: Forest, held: Labels, classes: int) -> Trees:
    """A forest of scikit-learn's trees: class probabilities in the leaves."""
    parts = [one.tree_ for one in forest.trees]
    values = []
    for tree in parts:
        value = np.zeros((tree.node_count, classes), dtype=np.float32)
        found = tree.value[:, 0, :]
        value[:, held] = found / np.maximum(found.sum(1, keepdims=True), 1e-30)
        values.append(value)
    return joined(
        [tree.feature for tree in parts],
        [tree.threshold for tree in parts],
        [np.stack([tree.children_left, tree.children_right], axis=1) for tree in parts],
        values,
    )


def of_means(x: Raw, target: Floats, weight: Floats, seed: int, *, features: float | str) -> Trees:
    """A forest whose leaves hold means of numbers: of 0 and 1 these are probabilities.

    Args:
        x: raw features ``[N, D]``.
        target: ``[N, V]``.
        weight: of the rows ``[N]``.
        seed: of what is drawn.
        features: how many a node looks at, as scikit-learn has it.
    """
    from sklearn.tree import ExtraTreeRegressor

    known: dict[str, Any] = {"seed": seed, "min_samples_leaf": _LEAF, "max_features": features}
    y = target[:, 0] if target.shape[1] == 1 else target
    parts = [one.tree_ for one in grow(ExtraTreeRegressor, _TREES_OF_MEANS, dense(x), y, weight, **known).trees]
    return joined(
        [tree.feature for tree in parts],
        [tree.threshold for tree in parts],
        [np.stack([tree.children_left, tree.children_right], axis=1) for tree in parts],
        [tree.value[:, :, 0] for tree in parts],
    )


def _of_boosting(model: Any, held: Labels, classes: int) -> Trees:
    """The trees of scikit-learn's histogram boosting: scores in the leaves, one tree a class and round."""
    columns = [column for one in model._predictors for column in range(len(one))]
    found = of_rounds(model)
    start = np.ravel(model._baseline_prediction)
    if classes == 2 and len(held) == 2:
        return _with(found, np.array(columns), start)
    base = np.full(classes, -30.0)  # a class without a label
    if len(held) == 2:  # one score: half of it for the one, less half for the other
        base[held] = [-start[0] / 2, start[0] / 2]
        return _with(_twice(found), np.repeat(held, len(columns)), base)
    base[held] = start
    return _with(found, held[np.array(columns)], base)


def of_rounds(model: Any) -> Trees:
    """The nodes of scikit-learn's histogram boosting of classes or numbers, round after round."""
    rounds = model._predictors  # public names do not give the trees; ``tests`` compare what they say
    nodes = [predictor.nodes for one in rounds for predictor in one]
    children = []
    for node in nodes:
        both = np.stack([node["left"], node["right"]], axis=1).astype(np.int64)
        both[node["is_leaf"].astype(bool)] = -1
        children.append(both)
    return joined(
        [node["feature_idx"] for node in nodes],
        [node["num_threshold"] for node in nodes],
        children,
        [node["value"][:, None] for node in nodes],
    )


def _twice(found: Trees) -> Trees:
    """Trees of the score of a second class as trees of both: the first half takes away what the second one adds."""
    count = len(found.feature)
    return Trees(
        found.feature.repeat(2),
        found.threshold.repeat(2),
        torch.cat([found.children, found.children + count]),
        torch.cat([-found.value / 2, found.value / 2]),
        torch.cat([found.roots, found.roots + count]),
        found.column,
        found.base,
        found.prior,
        found.power,
    )


def _with(found: Trees, column: NDArray[Any], base: NDArray[Any]) -> Trees:
    placed = torch.from_numpy(np.asarray(column, dtype=np.int32))
    return replace(found, column=placed, base=torch.from_numpy(np.asarray(base, dtype=np.float32)))


def _constant(label: int, classes: int) -> Trees:
    """One leaf, which says one class."""
    value = np.zeros((1, classes), dtype=np.float32)
    value[0, label] = 1
    return joined([np.array([-2])], [np.array([0.0])], [np.array([[-1, -1]])], [value])


def joined(
    features: list[NDArray[Any]],
    thresholds: list[NDArray[Any]],
    children: list[NDArray[Any]],
    values: list[NDArray[Any]],
) -> Trees:
    """Trees one after the other; a child of -1 is none."""
    sizes = np.array([len(feature) for feature in features])
    roots = np.cumsum(sizes) - sizes
    moved = []
    for root, child in zip(roots, children, strict=True):
        own = np.arange(len(child))[:, None]
        moved.append(np.where(child < 0, own, child) + root)
    threshold = np.concatenate(thresholds).astype(np.float64)
    single = threshold.astype(np.float32)
    above = single.astype(np.float64) > threshold  # round down: then x <= threshold is the same for every float32 x
    single[above] = np.nextafter(single[above], np.float32(-np.inf))
    feature = np.concatenate(features).clip(min=0).astype(np.int32)
    return Trees(
        torch.from_numpy(feature),
        torch.from_numpy(single),
        torch.from_numpy(np.concatenate(moved).astype(np.int32)),
        torch.from_numpy(np.ascontiguousarray(np.concatenate(values), dtype=np.float32)),
        torch.from_numpy(roots.astype(np.int32)),
        torch.zeros(0, dtype=torch.int32),
        base=torch.zeros(0),
        prior=torch.zeros(0),
        power=torch.ones(1),
    )
