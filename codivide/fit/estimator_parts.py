"""What the estimators for scikit-learn share: reading parameters, and what ``predict`` needs to know of ``fit``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from codivide.core.errors import InputError
from codivide.data.arrow import as_pandas
from codivide.data.columns import Columns
from codivide.data.loaded import Loaded
from codivide.data.options import ReadOptions
from codivide.data.sources import read_inputs
from codivide.data.table_columns import arranged
from codivide.methods.features.far_values import warn_of_far_values


def names(given: Sequence[str] | None) -> tuple[str, ...]:
    """Names of columns; a single one may be given as it is. InputError where the list is there and empty."""
    if given is not None and len(given) == 0:
        raise InputError("columns and drop must name a column where they are given; None: all, or none")
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


def drawn(random_state: int | np.random.RandomState | np.random.Generator | None) -> int:
    """The seed of a run: ``random_state``, or a number drawn from it; InputError where it is something else."""
    if isinstance(random_state, int):
        return int(random_state)  # of True, too
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    try:
        return int(check_random_state(random_state).randint(2**31))
    except ValueError as error:
        raise InputError(
            f"random_state {random_state!r}: give a whole number, a generator of numpy, or None"
        ) from error


def remember_features(estimator: Any, x: Any, loaded: Loaded) -> None:
    """Set ``n_features_in_`` and ``feature_names_in_``, where samples are rows of a table; else there are none.

    Of a model of the user's own also what its columns are called; ``x`` is then what it learned from.
    """
    estimator._own_columns = list(x.columns) if isinstance(x, pd.DataFrame) else None
    if estimator.text is not None and isinstance(x, pd.Series):
        estimator._own_columns = [x.name]
    for known in ("n_features_in_", "feature_names_in_"):  # of another fit
        if hasattr(estimator, known):
            delattr(estimator, known)
    named = isinstance(x, str | Path)
    if isinstance(x, pd.DataFrame):
        named = all(isinstance(name, str) for name in x.columns)
    if isinstance(loaded.encoder, Columns):
        estimator.n_features_in_ = len(loaded.encoder.every)
        if named:
            estimator.feature_names_in_ = np.asarray(loaded.encoder.every, dtype=object)
    elif len(loaded.x.shape) == 1 and loaded.encoder is None:
        estimator.n_features_in_ = loaded.x.shape[0]
        if named and loaded.columns:
            estimator.feature_names_in_ = np.asarray(loaded.columns, dtype=object)


def rows_for(estimator: BaseEstimator, x: Any, options: ReadOptions) -> Any:
    """New samples as the fitted ``model_`` takes them, or a model of the user's own.

    Raises:
        InputError: other features than in ``fit``, or a file that cannot be read.
    """
    x, model = as_pandas(x), estimator.model_
    if estimator.model is not None:
        return _samples_for(estimator, x)
    plain = model.encoder is None and not (isinstance(x, pd.DataFrame) and _chooses(estimator))
    in_rows = len(np.shape(x) if isinstance(x, list) else getattr(x, "shape", ())) == 2
    if plain and in_rows and hasattr(estimator, "n_features_in_"):
        _check_features(estimator, x)
    # A file says its columns' names, in any order; so does a frame whose names are no texts, which nobody has compared.
    by_name = not plain or isinstance(x, str | Path) or _is_reordered(x, model.columns)
    columns = model.columns if by_name else None
    rows, _, skipped = read_inputs(x, model.shape, model.dtype, options, model.encoder, columns=columns)
    if skipped:
        raise InputError(f"{skipped[0].path} cannot be read: {skipped[0].reason}")
    warn_of_far_values(model, rows)
    return rows


def _samples_for(estimator: Any, x: Any) -> Any:
    """New samples as a model of the user's own takes them.

    Columns are found by name where some were chosen, or where the names are no texts, which scikit-learn does not
    compare. Else they must be those of the training in their order, as everywhere in scikit-learn.
    """
    known = estimator._own_columns
    if known is None or not isinstance(x, pd.DataFrame):
        return x
    if _chooses(estimator) or not all(isinstance(name, str) for name in known):
        found = arranged(x, [str(name) for name in known], "X").set_axis(known, axis=1)
        return found if estimator.text is None else found.iloc[:, 0]
    _check_features(estimator, x)
    return x


def _check_features(estimator: BaseEstimator, x: Any) -> None:
    """InputError unless new samples have as many features as those of ``fit``, of the same names."""
    try:
        validate_data(estimator, _nameable(x), reset=False, skip_check_array=True)
    except ValueError as error:
        raise InputError(str(error)) from None


def _nameable(x: Any) -> Any:
    """A data frame of which only some names are texts without its names: scikit-learn compares all or none."""
    texts = [isinstance(name, str) for name in x.columns] if isinstance(x, pd.DataFrame) else []
    return x.set_axis(range(len(texts)), axis=1) if any(texts) and not all(texts) else x


def _is_reordered(x: Any, columns: Sequence[str] | None) -> bool:
    """Whether a data frame has the columns of the training in another order."""
    held = [str(name) for name in x.columns] if isinstance(x, pd.DataFrame) else []
    return columns is not None and held != list(columns) and sorted(held) == sorted(columns)


def _chooses(estimator: Any) -> bool:
    """Whether columns of a table are named, so that others may stand beside them."""
    return any(value is not None for value in (estimator.label, estimator.text, estimator.columns, estimator.drop))
