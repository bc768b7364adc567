"""Cross-fitted class probabilities of feature tables: every row is judged by a classifier that never saw its label."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from codivide.core.types import Floats, Labels

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
_WIDEST = 128  # columns of a dense table that are kept as they are
_CHOOSERS = 3_000  # rows by which the penalty is chosen


def prepared(features: Any, seed: int = 0) -> Any:
    """Feature table ``[N, D]`` as a linear classifier wants it; no label is looked at.

    Dense columns get mean 0 and variance 1 (constant ones become 0); more than 128 of them are replaced by their 128
    leading principal directions. Sparse rows get length 1 and are scaled so that the mean variance of a column that
    is not empty is 1.

    Args:
        features: dense array or SciPy sparse matrix, finite.
        seed: of the randomised decomposition.

    Returns:
        float64 array ``[N, min(D, 128)]`` or CSR matrix ``[N, D]``.
    """
    if sparse.issparse(features):
        rows = sparse.csr_matrix(features, dtype=np.float64)
        length = np.sqrt(np.asarray(rows.multiply(rows).sum(1)).ravel())
        rows = sparse.diags(1 / np.where(length > 0, length, 1.0)) @ rows
        columns = max(int((np.diff(rows.tocsc().indptr) > 0).sum()), 1)
        return (rows * np.sqrt(columns)).tocsr()
    table = np.asarray(features, dtype=np.float64)
    mean, deviation = table.mean(0), table.std(0)
    table = (table - mean) / np.where(deviation > 1e-9 * np.maximum(abs(mean), 1e-30), deviation, np.inf)
    if table.shape[1] <= _WIDEST or len(table) <= _WIDEST:
        return table
    return TruncatedSVD(_WIDEST, algorithm="randomized", n_iter=3, random_state=seed).fit_transform(table)


def cross_fitted(features: Any, given: Labels, classes: int, *, folds: int = 5, seed: int = 0) -> Floats:
    """Out-of-fold probabilities ``[N, C]`` of multinomial logistic regression.

    The strength of the L2 penalty is the one with the least out-of-fold cross-entropy on the given labels, tried on at
    most 3,000 rows: it needs no true label, and noise makes it stronger by itself.

    Args:
        features: what ``prepared`` returns.
        given: labels ``[N]`` in ``0 .. classes - 1``; a class with fewer labels than folds is spread as far as it goes.
        classes: number of classes C.
        folds: at least 2.
        seed: of the folds.

    Returns:
        ``[N, C]``; rows sum to 1. A class that a training part lacks gets probability 0 there.
    """
    rows = np.random.default_rng(seed).permutation(len(given))[:_CHOOSERS]
    rows.sort()
    penalty = PENALTIES[0]
    least = np.inf
    for candidate in PENALTIES:  # per row, so that the same one means the same for any N
        probs = _out_of_fold(features[rows], given[rows], classes, candidate, 3, seed)
        loss = -float(np.log(np.maximum(probs[np.arange(len(rows)), given[rows]], 1e-12)).mean())
        if loss < least:
            least, penalty = loss, candidate
    return _out_of_fold(features, given, classes, penalty, folds, seed)


def _out_of_fold(features: Any, given: Labels, classes: int, penalty: float, folds: int, seed: int) -> Floats:
    probs = np.zeros((len(given), classes))
    strength = 100 / (penalty * len(given) * (1 - 1 / folds))  # scikit-learn's C multiplies a sum over the rows
    for train, held in _folds(given, folds, seed):
        seen = np.unique(given[train])
        if len(seen) < 2:
            probs[np.ix_(held, seen)] = 1.0
            continue
        model = LogisticRegression(C=strength, max_iter=80, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 80 steps are enough for probabilities
            model.fit(features[train], given[train])
        probs[np.ix_(held, seen)] = model.predict_proba(features[held])
    return probs


def _folds(given: Labels, folds: int, seed: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes smaller than the number of folds
        try:
            yield from StratifiedKFold(folds, shuffle=True, random_state=seed).split(given, given)
        except ValueError:  # every class is smaller than the number of folds
            order = np.random.default_rng(seed).permutation(len(given))
            for part in np.array_split(order, min(folds, len(given))):
                yield np.setdiff1d(order, part), np.sort(part)
