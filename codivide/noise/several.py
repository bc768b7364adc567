"""Several labels a row: what is said of each becomes what is said of the row."""

from __future__ import annotations

import numpy as np

from codivide.core.types import Floats

AGGREGATES = ("product", "average", "softmin", "minimum")
_ALPHA = 0.8  # of the moving average
_HEAT = 0.1  # of the soft minimum


def row_score(scores: Floats, how: str = "product") -> Floats:
    """One score a row, larger where all its labels are more likely right.

    - "product": the probability that all are right, where they are independent;
    - "average": ``s <- a s_(k) + (1 - a) s`` over the scores from the largest to the smallest, a = 0.8 (exponential
      moving average), which weighs the most doubtful labels most;
    - "softmin": ``sum_k s_k w_k`` with ``w = softmax((1 - s) / 0.1)``;
    - "minimum": the most doubtful label alone.

    Args:
        scores: p(clean) ``[N, K]``, K at least 1; NaN where a label cannot be judged, which is passed over.
        how: one of ``AGGREGATES``.

    Returns:
        ``[N]``; NaN where no label can be judged.

    Examples:
        >>> row_score(np.array([[0.9, 0.5], [1.0, np.nan]])).tolist()
        [0.45, 1.0]
    """
    known = np.isfinite(scores)
    filled = np.where(known, scores, 1.0)
    if how == "product":
        found = filled.prod(1)
    elif how == "minimum":
        found = filled.min(1)
    elif how == "softmin":
        pull = np.where(known, np.exp((1 - filled) / _HEAT), 0.0)
        found = (filled * pull).sum(1) / np.maximum(pull.sum(1), 1e-300)
    else:
        ordered = -np.sort(-filled, axis=1)
        found = ordered[:, 0]
        for column in ordered.T[1:]:
            found = _ALPHA * column + (1 - _ALPHA) * found
    answer: Floats = np.where(known.any(1), found, np.nan)
    return answer
