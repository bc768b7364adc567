"""How large the residuals of numbers usually are, by features and prediction: learned of their logarithms.

A logarithm is not led by a few wrong targets, and yet it sees a region where all residuals are large: there the targets
are hard to predict, and not wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from codivide.core.types import Floats, Labels, Singles
from codivide.methods.features.forests import Forest, grow
from codivide.methods.features.matrix import Raw
from codivide.methods.features.trees import WIDEST

TINY = 1e-3  # of the targets' deviation: no residual is smaller
_SHRINK = (0.0, 0.5, 1.0)
_LEAST = 0.1  # of the usual size that a size is at least
_GAIN = 0.02  # nats a target that a candidate nearer to the features must gain


@dataclass(frozen=True)
class Spread:
    """The usual size of a residual.

    Attributes:
        held_out: ``[N]``, each by trees that did not see that residual.
        fit: trees on all residuals.
        overall: the median of all sizes.
        middle: of what the trees say.
        power: 0: one size for all; 1: as the trees say.
        wide: whether the prediction alone is looked at.
    """

    held_out: Floats
    fit: Callable[[], Forest]
    overall: float
    middle: float
    power: float
    wide: bool

    @classmethod
    def of(cls, rows: tuple[Raw, Floats], residual: Floats, fold: Labels, weight: Floats, *, seed: int) -> Spread:
        """Learn it.

        Args:
            rows: features ``[N, D]`` and held-out predictions ``[N]``.
            residual: of those ``[N]``.
            fold: of each ``[N]``, from 0 on.
            weight: how much each counts ``[N]``.
            seed: of the trees.
        """
        (x, predicted), size = rows, np.abs(residual)
        overall = max(float(np.median(size)), TINY)
        logs = np.log(np.maximum(size, overall * _LEAST))
        wide = not isinstance(x, np.ndarray) or x.shape[1] > WIDEST
        described = _described(x, predicted, wide=wide)
        found = np.empty(len(size))
        for number in range(int(fold.max()) + 1):
            out = fold == number
            found[out] = np.exp(_forest(described[~out], logs[~out], weight[~out], seed).predict(described[out]))
        middle = float(np.median(found))
        candidates = [_shrunk(found / middle, overall, power) for power in _SHRINK]
        gains = [_log_density(residual, one, weight) - _GAIN * k for k, one in enumerate(candidates)]
        best = int(np.argmax(gains))
        return cls(
            candidates[best], lambda: _forest(described, logs, weight, seed), overall, middle, _SHRINK[best], wide
        )

    def of_rows(self, x: Raw, predicted: Floats) -> Floats:
        """Of other rows ``[M]``, whatever else is asked for."""
        said = np.exp(self.fit().predict(_described(x, predicted, wide=self.wide)))
        return _shrunk(said / self.middle, self.overall, self.power)


def _described(x: Raw, predicted: Floats, *, wide: bool) -> Singles:
    """What the size of a residual may depend on."""
    own_column = predicted[:, None].astype(np.float32)
    return own_column if wide else np.concatenate([np.asarray(x, dtype=np.float32), own_column], axis=1)


def _forest(rows: Singles, logs: Floats, weight: Floats, seed: int) -> Forest:
    from sklearn.tree import ExtraTreeRegressor

    leaf = max(10, len(logs) // 40)
    counted = weight if weight.sum() > 0 else None
    return grow(ExtraTreeRegressor, 30, rows, logs, counted, seed=seed, min_samples_leaf=leaf, max_features=1.0)


def _shrunk(relative: Floats, overall: float, power: float) -> Floats:
    found: Floats = overall * np.maximum(relative, _LEAST) ** power
    return found


def _log_density(residual: Floats, spread: Floats, weight: Floats) -> float:
    """Mean log density of such residuals under Cauchy's distribution: a far one weighs by its logarithm."""
    return float(-np.average(np.log(spread) + np.log1p((residual / spread) ** 2), weights=weight))
