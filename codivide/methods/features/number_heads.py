"""The heads that predict numbers: linear ones (ridge), a forest, gradient boosting; or a model of the user's own.

Where pixels stand beside the features of an encoder, they have a linear head of their own (see ``sides``).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.linalg import LinAlgWarning

from codivide.core.errors import InputError, check_instance
from codivide.core.types import Floats, Labels, Singles
from codivide.core.words import counted
from codivide.methods.features import own, trees
from codivide.methods.features.matrix import Raw, Scale
from codivide.methods.features.number_model import Head, Leaves
from codivide.methods.features.options import ASIDE

LINEAR, FOREST, BOOSTING = KINDS = ("linear", "forest", "boosting")
ALSO_LINEAR = f"{LINEAR}{ASIDE}"
PENALTIES = tuple(10.0**-exponent for exponent in range(8))  # times the number of rows
_ROUNDS, _LEAVES, _LEVELS = 100, 15, 128


def kinds(rows: int, width: int, *, dense: bool, pixels: bool = False) -> tuple[str, ...]:
    """The heads that suit data of this size: trees for tables alone; ``pixels`` beside the features have a head."""
    if pixels:
        return LINEAR, ALSO_LINEAR
    return KINDS if dense and rows >= trees.FEWEST_OF_MEANS and width <= trees.WIDEST else (LINEAR,)


def fit(
    kind: str, x: Raw, y: Floats, weight: Floats, *, scale: Scale, penalty: float, seed: int, pixels: int = 0
) -> Head:
    """Fit a head.

    Args:
        kind: one of ``KINDS``, or ``ALSO_LINEAR``.
        x: raw features ``[N, D]``.
        y: targets ``[N]`` on a unit scale.
        weight: of the rows ``[N]``, non-negative, some positive.
        scale: of the features, for the linear head.
        penalty: of the linear head, times the number of rows.
        seed: of what is drawn.
        pixels: how many of the last columns are pixels.
    """
    if pixels:
        return _of_side(kind, x, (y, weight, penalty), scale, pixels)
    if kind == LINEAR:
        return _linear(scale.apply(x), y, weight, penalty)
    return _forest(x, y, weight, seed) if kind == FOREST else _boosting(x, y, weight, seed)


def _of_side(kind: str, x: Raw, known: tuple[Floats, Floats, float], scale: Scale, pixels: int) -> Head:
    """The linear head of the features or of the pixels, for all columns, scaled together: those of the others are 0."""
    width = x.shape[1]
    start, end = (0, width - pixels) if kind == LINEAR else (width - pixels, width)
    head = _linear(scale.part(start, end).apply(x[:, start:end]), *known)
    weight = torch.zeros(width, dtype=torch.float64)
    weight[start:end] = head.tensors[0] * math.sqrt(width / (end - start))  # columns alone are scaled less
    return replace(head, tensors=(weight, head.tensors[1]))


def _linear(rows: Raw, y: Floats, weight: Floats, penalty: float) -> Head:
    from sklearn.linear_model import Ridge

    sparse = not isinstance(rows, np.ndarray)
    model = Ridge(alpha=penalty * len(y), solver="sparse_cg" if sparse else "auto", tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LinAlgWarning)  # columns that are sums of others: what is predicted is the same
        model.fit(rows, y, sample_weight=weight)
    return Head(LINEAR, 1.0, (torch.from_numpy(np.asarray(model.coef_, dtype=np.float64)), _number(model.intercept_)))


def _forest(x: Raw, y: Floats, weight: Floats, seed: int) -> Head:
    nodes = trees.of_means(x, y[:, None], weight, seed, features=0.5)
    return Head(FOREST, 1.0, Leaves(nodes, summed=False, base=0.0).tensors())


def _boosting(x: Raw, y: Floats, weight: Floats, seed: int) -> Head:
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        max_iter=_ROUNDS,
        max_leaf_nodes=_LEAVES,
        l2_regularization=1.0,
        early_stopping=len(y) >= 100,
        validation_fraction=0.1,
        n_iter_no_change=10,
        random_state=seed,
    )
    levelled, levels = _levelled(trees.dense(x))
    model.fit(levelled, y, sample_weight=weight)
    nodes = _at_levels(trees.of_rounds(model), levels)
    return Head(
        BOOSTING, 1.0, Leaves(nodes, summed=True, base=float(np.ravel(model._baseline_prediction)[0])).tensors()
    )


def _levelled(x: Singles) -> tuple[Singles, dict[int, Singles]]:
    """Columns of at most as many values as boosting tells apart, each the greatest of its level; and these by column.

    scikit-learn would seek the same levels by weighted quantiles, which takes ten times as long as all the rest.
    """
    found, levels = x.copy(), {}
    for number, column in enumerate(found.T):
        if len(np.unique(column)) > _LEVELS:
            edges = np.unique(np.quantile(column, np.linspace(0, 1, _LEVELS + 1)[1:], method="inverted_cdf"))
            column[:] = edges[np.searchsorted(edges, column)]
            levels[number] = edges
    return found, levels


def _at_levels(nodes: trees.Trees, levels: dict[int, Singles]) -> trees.Trees:
    """The trees with each threshold at the level below it, so that a raw row goes where its level went.

    scikit-learn asks in the middle between two levels, but what lies above the lower one is of the higher one.
    """
    threshold = nodes.threshold.numpy().copy()
    for number, edges in levels.items():
        asked = nodes.feature.numpy() == number
        below = np.searchsorted(edges, threshold[asked], side="right") - 1
        threshold[asked] = np.where(below < 0, threshold[asked], edges[below])  # leaves ask for nothing
    return replace(nodes, threshold=torch.from_numpy(threshold))


def _number(value: Any) -> torch.Tensor:
    return torch.tensor([float(value)], dtype=torch.float64)


def fit_own(model: Any, samples: Any, y: Floats, share: Floats, count: Floats, *, part: str) -> Any:
    """A copy of the user's regressor, weighted; where it takes no weights, on the rows that look right.

    Args:
        model: the user's; it stays as it is.
        samples: ``[N]`` of what it takes.
        y: targets ``[N]``.
        share: how far each may be trusted ``[N]``, in [0, 1].
        count: how often each counts ``[N]``, which is none of a model's business that takes no weights.
        part: of the work, for errors.

    Raises:
        InputError: it cannot learn from them.
    """
    from sklearn.base import clone

    name, copy, weight = own.weight_name(model), clone(model), share * count
    known = np.where(count > 0, share, 0.0)
    least = 0.0 if name is not None else min(0.5, float(known.max()))
    rows: Labels = np.flatnonzero((known > 0) & (known >= least))
    chosen = own.take(samples, rows)
    with own.attempt(model, f"learn from {counted(len(rows), 'row')}", part, own.advice(samples)):
        copy.fit(chosen, y[rows], **({} if name is None else {name: weight[rows]}))
    return copy


def predict_own(model: Any, samples: Any, part: str = "") -> Floats:
    """What a fitted copy predicts of samples ``[M]``, as finite numbers; ``part`` is of the work, for errors.

    Raises:
        InputError: it cannot predict them, or predicts something else.
    """
    count, name = own.length(samples), type(model).__name__
    with own.attempt(model, f"predict {counted(count, 'row')}", part):
        found = np.asarray(model.predict(samples), dtype=np.float64)
    if found.shape != (count,):
        raise InputError(
            f"{name} predicts an array of shape {found.shape} of {counted(count, 'row')}; one number a row is needed"
        )
    if wrong := int((~np.isfinite(found)).sum()):
        raise InputError(
            f"{name} predicts a number that is not finite ({wrong} of {len(found)} are like that); one finite number "
            "a row is needed"
        )
    return found


def check_own(model: Any, *, weighs: bool = False) -> None:
    """InputError unless a model is a regressor of scikit-learn's kind (``weighs``: that takes weights)."""
    from sklearn.base import is_regressor

    check_instance("model", model)
    if not all(hasattr(model, name) for name in ("fit", "predict", "get_params")) or not is_regressor(model):
        raise InputError(
            f"model is a {type(model).__name__}, which is no regressor of scikit-learn's kind (fit, predict, "
            "get_params); score its cross-validated predictions with score_labels(task='regression')"
        )
    own.check_copied(model)
    if weighs:
        own.check_weighs(model)
