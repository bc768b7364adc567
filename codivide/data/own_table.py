"""A table with columns of any kind for a model of the user's own that takes numbers alone."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from codivide.core.errors import TrainingWarning
from codivide.core.types import Labels, Singles
from codivide.core.words import first_few
from codivide.data.columns import NAME, Columns
from codivide.data.loaded import Loaded

_TRIED = 200  # rows on which it is tried whether a model takes a table
_HOLD = {True: "hold no numbers", False: "hold empty cells"}


class TableNumbers(TransformerMixin, BaseEstimator):
    """The columns of a data frame as numbers ``[N, D]``, fitted without labels; ``data.columns`` says how."""

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Look at the columns of a table."""
        self.columns_ = Columns.fit(NAME, X)
        return self

    def transform(self, X: pd.DataFrame) -> Singles:
        """Numbers of a table with the same columns."""
        return self.columns_.encode(X).data.numpy()


def suited(model: Any, samples: Any, loaded: Loaded) -> Any:
    """The model as it is where it takes the samples; where a table is the reason, one that sees it as numbers.

    The numbers are made within each fit, so that no fold sees another's rows. A warning says it.

    Args:
        model: the user's; it stays as it is.
        samples: one for each row, as the model is to take them.
        loaded: the same as codivide compares them; its encoder tells tables that are more than numbers.
    """
    if not isinstance(samples, pd.DataFrame) or not isinstance(loaded.encoder, Columns):
        return model
    some, everything = _telling(samples), np.arange(len(samples))
    if _takes(model, samples, some) or _takes(model, samples, everything):
        return model
    steps = model.steps if isinstance(model, Pipeline) else [("model", model)]
    behind = Pipeline([("table_numbers", TableNumbers()), ("table_scaled", StandardScaler()), *steps])
    if not _takes(behind, samples, some):
        return model  # the reason is another, which its own error names
    odd = samples.select_dtypes(exclude=["number", "bool"]).columns
    names = [repr(str(name)) for name in (odd if len(odd) else samples.columns[samples.isna().any()])]
    warnings.warn(
        f"{type(model).__name__} does not take the columns as they are ({first_few(names, 5)} {_HOLD[len(odd) > 0]}): "
        "it gets numbers made of them in each fold, as codivide's own heads do. A ColumnTransformer before it, in a "
        "pipeline, does it your way",
        TrainingWarning,
        stacklevel=3,
    )
    return behind


def _telling(frame: pd.DataFrame) -> Labels:
    """Rows that show what a table holds: some from all over it, and the first gap of each column."""
    spread = np.linspace(0, len(frame) - 1, min(_TRIED, len(frame))).astype(np.int64)
    gaps = [int(empty.to_numpy().argmax()) for _, empty in frame.isna().items()]
    return np.unique(np.concatenate([spread, gaps]).astype(np.int64))


def _takes(model: Any, frame: pd.DataFrame, rows: Labels) -> bool:
    """Whether a copy of a model can be fitted to rows of a table, whatever their labels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            clone(model).fit(frame.iloc[rows], np.arange(len(rows)) % 2)
        except Exception:  # every library has its own
            return False
    return True
