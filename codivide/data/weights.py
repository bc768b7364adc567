"""Weights of training samples: a user's own, those of classes, or both; they multiply."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from codivide.core.errors import InputError, unknown
from codivide.core.types import Floats, Labels
from codivide.data.loaded import Loaded

BALANCED = "balanced"

#: "balanced", or the weight of each class by its value; a class that is not named has 1.
ClassWeight = str | Mapping[Any, float]


def weighted(loaded: Loaded, sample_weight: Any = None, class_weight: ClassWeight | None = None) -> Loaded:
    """The data with weights of their training samples, whose mean over the labelled ones is 1.

    Args:
        loaded: the data; weights that they bring already (a column of a table) are multiplied.
        sample_weight: ``[N]``, finite, not negative; None: all alike.
        class_weight: "balanced" gives each class ``labels / (classes with a label * labels of the class)``, so that all
            have the same sum; or a weight for each class. By the GIVEN labels, right or wrong.

    Raises:
        InputError: weights that are no such numbers (it names the row), or a class that is not there.
    """
    if sample_weight is None and class_weight is None and loaded.weight is None:
        return loaded
    weight = np.ones(len(loaded.y)) if loaded.weight is None else loaded.weight.copy()
    if sample_weight is not None:
        weight *= checked(sample_weight, loaded.ids)
    if class_weight is not None:
        weight *= _of_classes(loaded.y, loaded.classes, class_weight)
    with np.errstate(over="ignore"):
        total = weight[loaded.y >= 0].sum()
    if not total > 0:
        raise InputError("no labelled sample has a weight above zero: nothing could be learned")
    if not np.isfinite(total):
        raise InputError("the weights of the samples are too large to be added up; divide them by the largest")
    return replace(loaded, weight=weight * (loaded.y >= 0).sum() / total)


def checked(given: Any, ids: Sequence[object], what: str = "sample_weight") -> Floats:
    """Weights ``[N]`` as numbers.

    Raises:
        InputError: another length, or a weight that is missing, negative or infinite (it names the row).
    """
    given = given if isinstance(given, pd.Series) else np.asarray(given)
    column = given if isinstance(given, pd.Series) else pd.Series(given.ravel())
    try:
        weight = pd.to_numeric(column).to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} is no array of numbers: {error}") from None
    if np.ndim(given) > 1 or len(weight) != len(ids):
        raise InputError(f"{what} has shape {np.shape(given)}; there are {len(ids)} samples, give one number for each")
    bad = ~(np.isfinite(weight) & (weight >= 0))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"{what} of sample {ids[row]} is {column.iloc[row]}; give a number that is 0 or more")
    return weight


def _of_classes(y: Labels, classes: Sequence[Any], wanted: ClassWeight) -> Floats:
    """``[N]``: the weight of each sample's class; 1 without a label."""
    counts = np.bincount(y[y >= 0], minlength=len(classes))
    if isinstance(wanted, str):
        if wanted != BALANCED:
            raise InputError(f"class_weight is {wanted!r}; give 'balanced' or a weight for each class")
        share = counts.sum() / ((counts > 0).sum() * np.maximum(counts, 1))
    elif not isinstance(wanted, Mapping):
        raise InputError(
            f"class_weight is a {type(wanted).__name__}; give 'balanced' or a dict, a weight for each class"
        )
    else:
        names = {str(name): place for place, name in enumerate(classes)}
        share = np.ones(len(classes))
        for name, value in wanted.items():
            if str(name) not in names:
                raise unknown("class in class_weight", str(name), names)
            share[names[str(name)]] = checked([value], [f"of class {name}"], "class_weight")[0]
    found: Floats = np.where(y >= 0, share[np.maximum(y, 0)], 1.0)
    return found


def as_text(wanted: ClassWeight | None) -> str | None:
    """What a record holds of class weights."""
    if wanted is None or isinstance(wanted, str):
        return wanted
    return json.dumps({str(name): float(value) for name, value in wanted.items()})


def of_text(given: str | None) -> ClassWeight | None:
    """``--class-weight``: "balanced", or CLASS:WEIGHT,CLASS:WEIGHT,...

    Raises:
        InputError: neither.
    """
    if given is None or given == BALANCED:
        return given
    found: dict[str, float] = {}
    for word in given.split(","):
        name, colon, number = word.rpartition(":")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            colon = ""
        if not colon or not name.strip():
            raise InputError(f"--class-weight {given}: give balanced, or CLASS:WEIGHT,CLASS:WEIGHT,...")
    return found
