"""A model of the user's own: any classifier of scikit-learn's kind, cross-fitted, judged and fitted again.

The judgement is that of ``learn`` with one head. The model is then fitted to the labels that are kept (``judge.kept``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor

from codivide.core import cluster
from codivide.core.errors import InputError, TrainingWarning, check_instance
from codivide.core.types import Floats, Labels
from codivide.core.words import counted
from codivide.data.labels import NO_Y
from codivide.data.loaded import Loaded
from codivide.data.options import ReadOptions
from codivide.data.sources import load
from codivide.data.table_columns import find, selected
from codivide.methods.features.folds import check_counts
from codivide.methods.features.options import Features
from codivide.methods.features.table import Own
from codivide.training import model_file

KIND = "own"
PRIOR = 0.02  # share of the classes' frequencies in what the model says: it may be sure of anything
SKOPS = "model.skops"
LAST = "the last fit"  # part of the work, after that of all folds
Advice = Callable[[Exception], str]  # what to do about an error
_ROUNDING = 1e-3  # by which the probabilities of a sample may miss 1


@dataclass
class OwnModel(Features):
    """The method of a fit with a model of the user's own.

    Attributes:
        estimator: what the model is, as it writes itself.
    """

    estimator: str = ""


@dataclass
class Fitted:
    """A fitted model of the user's own as a classifier of codivide's kind; it takes samples as the user has them.

    Attributes:
        model: fitted on class numbers; None: one class was all there was.
        classes: class values in the user's own type.
        shape: of a row of the features by which samples are compared.
        only: the class number where there was one.
    """

    model: Any
    classes: tuple[Any, ...]
    shape: tuple[int, ...]
    only: int = 0
    dtype: torch.dtype = torch.float32
    encoder: Any = field(default=None)
    columns: tuple[str, ...] | None = None

    def probs(self, rows: Any, part: str = "") -> Floats:
        """Class probabilities ``[N, C]``; a class that the model has not seen gets 0. ``part`` is for errors.

        Raises:
            InputError: what the model says is no probability, or nobody knows of which class.
        """
        if self.model is None:
            return np.tile(np.eye(len(self.classes))[self.only], (length(rows), 1))
        with attempt(self.model, f"predict the probabilities of {counted(length(rows), 'row')}", part):
            said = np.asarray(self.model.predict_proba(rows), dtype=np.float64)
        columns = self._columns(said.shape, length(rows))
        wrong = ~((said >= 0).all(1) & (np.abs(said.sum(1) - 1) <= _ROUNDING))  # so NaN is wrong, too
        if wrong.any():
            shown = np.array2string(said[wrong][0], threshold=5)
            raise InputError(
                f"predict_proba of {type(self.model).__name__} gives {shown} for a sample ({int(wrong.sum())} of "
                f"{len(said)} are like that); numbers from 0 that sum to 1 are needed"
            )
        found = np.zeros((len(said), len(self.classes)))
        found[:, columns] = said
        return found

    def _columns(self, shape: tuple[int, ...], count: int) -> Labels:
        """The class of each column of probabilities of a shape, of so many samples."""
        name, found = type(self.model).__name__, _seen(self.model, len(self.classes))
        if shape != (count, len(found)):
            raise InputError(
                f"predict_proba of {name} gives shape {shape} for {count} samples and {len(found)} classes; "
                f"({count}, {len(found)}) is needed"
            )
        return found

    def logits(self, rows: Any) -> Tensor:
        """Logarithms of the class probabilities ``[N, C]`` float32."""
        return torch.from_numpy(np.log(self.probs(rows).clip(1e-12))).float()

    def to(self, device: torch.device) -> Fitted:
        """The model itself, which stays where it is."""
        return self

    def save(self, path: str | Path) -> None:
        """Write what can be kept of it, see ``save``."""
        save(path, self.model, repr(self.model), self.classes)


def save(path: str | Path, model: Any, name: str, classes: tuple[Any, ...] = ()) -> None:
    """Write what can be kept without pickle: the name of the model; and the model by skops, if that is there.

    Args:
        path: of the model file.
        model: fitted, or several by their label.
        name: what the model calls itself.
        classes: that it tells apart; of numbers there are none.
    """
    path = Path(path)
    model_file.write(path, {"none": torch.zeros(1)}, {"kind": KIND, "estimator": name}, classes)
    try:
        dump = import_module("skops.io").dump
    except ImportError:
        how = "pip install skops, and it will be"
    else:
        dump(model, path.with_name(SKOPS))
        how = f"{SKOPS} has it by skops; skops.io.load opens it"
    text = (
        f"a model of your own is not saved in {path.name}, which holds no pickle ({how}); what it says of the data is"
    )
    warnings.warn(text, TrainingWarning, stacklevel=3)


def check_model(model: Any, *, weighs: bool = False) -> None:
    """InputError unless a model can be fitted (``weighs``: with weights), cloned and asked for probabilities."""
    from sklearn.base import is_regressor

    name = type(model).__name__
    check_instance("model", model)
    if not hasattr(model, "fit") or not hasattr(model, "get_params"):
        raise InputError(
            f"model is a {name}, which is no classifier of scikit-learn's kind (fit, predict_proba, get_params); judge "
            "its cross-validated probabilities with codivide.audit.from_probs"
        )
    if not hasattr(model, "predict_proba"):
        if is_regressor(model):
            raise InputError(f"{name} has no predict_proba, as it is a regressor: NoisyLabelRegressor takes it")
        raise InputError(f"{name} has no predict_proba: wrap it in sklearn.calibration.CalibratedClassifierCV")
    check_copied(model)
    if weighs:
        check_weighs(model)


def check_copied(model: Any) -> None:
    """InputError unless scikit-learn can copy a model, as each fold has a copy of its own."""
    from sklearn.base import clone

    advice = ". Its __init__ must store every parameter as it is given, under its name, and do no more"
    with attempt(model, "be copied by sklearn.base.clone", advice=advice):
        clone(model)


def check_weighs(model: Any) -> None:
    """InputError unless the fit of a model takes weights."""
    if weight_name(model) is None:
        raise InputError(
            f"the fit of {type(model).__name__} takes no sample_weight: leave sample_weight and class_weight out, or "
            "pass a model that takes it"
        )


def load_for(x: Any, y: Any, options: ReadOptions) -> tuple[Loaded, Any]:
    """The data as codivide compares them, and the samples as the model takes them.

    Raises:
        InputError: a file or a data set, which has no samples in memory, or labels that cannot be read.
    """
    if isinstance(x, str | Path):
        raise InputError("with model=..., X and y must be in memory: read the table first (pandas.read_csv)")
    if y is None:
        raise InputError(NO_Y)
    if options.group is not None:
        raise InputError("with model=..., groups must be one value for each sample: it sees all columns of X")
    if sparse.issparse(x):
        x = x.tocsr()
    elif isinstance(x, pd.DataFrame):
        x = _chosen(x, options)
    elif not isinstance(x, pd.Series | list):
        x = np.asarray(x)
    compared = x
    if isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype.kind == "f" and np.isnan(x).any():
        compared = pd.DataFrame(x)  # a model may take gaps; what is compared is filled in
    return load(compared, y, options=replace(options, columns=(), drop=(), text=None)), x


def _chosen(frame: pd.DataFrame, options: ReadOptions) -> pd.DataFrame | pd.Series[Any]:
    """The columns that the options name; the texts alone where they name a column of those."""
    named = frame.rename(columns=str)
    if options.text is None:
        kept = selected(named, "X", options, beside=True).columns
        return frame.loc[:, named.columns.isin(kept)]
    return selected(named, "X", options, beside=True)["text"].rename(find(named.columns.tolist(), options.text))


def _seen(model: Any, classes: int) -> Labels:
    """The class numbers that a fitted model says it was fitted on, in the order of its columns.

    Raises:
        InputError: it does not say, or names others than there are.
    """
    name, known = type(model).__name__, getattr(model, "classes_", None)
    if known is None:
        raise InputError(
            f"{name} has no classes_ when it is fitted, so nobody knows which class each column of predict_proba "
            "is: set self.classes_ = np.unique(y) in its fit"
        )
    found = np.asarray(known)
    if found.dtype.kind not in "biuf" or not np.isin(found, np.arange(classes)).all():
        raise InputError(
            f"{name} was fitted on the numbers 0 to {classes - 1} of the classes, but its classes_ are "
            f"{found.tolist()[:10]}: they must be those of the y that its fit was given"
        )
    numbers: Labels = found.astype(np.int64)
    return numbers


@contextmanager
def attempt(model: Any, task: str, part: str = "", advice: str | Advice = "") -> Iterator[None]:
    """Within it, whatever a model of the user's own raises becomes one error that says what it was to do.

    Args:
        model: the user's.
        task: what it does, such as "learn from 240 rows".
        part: of the work, such as "fold 2 of 5".
        advice: what to do, after the model's own words, or what gives that for the error.

    Raises:
        InputError: with the model's own error as its cause. Missing memory stays what it is.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # every library has its own
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        where = f" ({part})" if part else ""
        raise InputError(
            f"{type(model).__name__} cannot {task}{where}: {said}{advice if isinstance(advice, str) else advice(error)}"
        ) from error


def fit(
    model: Any,
    samples: Any,
    given: Labels,
    *,
    classes: tuple[Any, ...],
    weight: Floats | None = None,
    part: str = "",
) -> Fitted:
    """Fit a copy of a model on class numbers.

    Args:
        model: the user's; it stays as it is.
        samples: ``[N]`` of what it takes.
        given: labels ``[N]`` in ``0 .. C - 1``.
        classes: C class values.
        weight: of the samples ``[N]``; not used where the model takes none.
        part: of the work, for errors.

    Raises:
        InputError: the model cannot learn from them, or does not say from which classes it has.
    """
    from sklearn.base import clone

    if len(np.unique(given)) == 1:
        return Fitted(None, classes, (), only=int(given[0]))
    copy = clone(model)
    name = None if weight is None else weight_name(copy)
    with attempt(model, f"learn from {counted(len(given), 'row')}", part, advice(samples)):
        copy.fit(samples, given, **({} if name is None else {name: weight}))
    unseen = np.setdiff1d(given, _seen(copy, len(classes)))
    if len(unseen):
        raise InputError(
            f"{type(model).__name__} learned from rows of class {classes[unseen[0]]!r} (number {unseen[0]} in y), but "
            "its classes_ lack it, so that every such label would look wrong: set self.classes_ = np.unique(y) in its "
            "fit, and give a column of predict_proba for each"
        )
    return Fitted(copy, classes, ())


def advice(samples: Any) -> Advice:
    """What to do where columns of a data frame hold no numbers, and the error may be of that."""
    return partial(_of_columns, samples)


def _of_columns(samples: Any, error: Exception) -> str:
    if not hasattr(samples, "select_dtypes") or not isinstance(error, ValueError | TypeError):
        return ""
    named = ", ".join(repr(name) for name in samples.select_dtypes(exclude=["number", "bool"]).columns[:5])
    if not named:
        return ""
    return (
        f". Columns that hold no numbers: {named}. A model of your own sees the table as it is: put it behind a "
        "ColumnTransformer in a pipeline, or leave model out"
    )


def cross_probs(
    model: Any,
    samples: Any,
    given: Labels,
    fold: Labels,
    *,
    classes: tuple[Any, ...],
    counts: Floats | None = None,
    part: str = "",
) -> Floats:
    """Class probabilities ``[N, C]``, each by a copy of the model that saw no label of its fold.

    ``counts`` ``[N]`` says how much each sample counts; None: all alike. ``part`` is of the work, for errors.
    """
    if counts is not None:
        check_counts(fold, counts)
    found = np.zeros((len(given), len(classes)))
    numbers = np.unique(fold)

    def parts() -> Iterator[_Fold]:
        for place, number in enumerate(numbers, 1):
            rest = np.flatnonzero(fold != number)
            weight = None if counts is None else counts[rest]
            out, said = take(samples, np.flatnonzero(fold == number)), in_fold(place, len(numbers), part)
            yield _Fold(take(samples, rest), given[rest], weight, out, said)

    answers = cluster.spread(partial(_of_fold, model, classes=classes), parts())
    for number, probs in zip(numbers, answers, strict=True):
        found[fold == number] = probs
    return found


class _Fold(NamedTuple):
    samples: Any  # that are learned from
    given: Labels
    weight: Floats | None
    out: Any  # that are predicted
    part: str  # of the work, for errors


def in_fold(place: int, folds: int, part: str = "") -> str:
    """Which fold is held out, of which part of the work."""
    fold = f"fold {place} of {folds}"
    return f"{part}, {fold}" if part else fold


def _of_fold(model: Any, part: _Fold, *, classes: tuple[Any, ...]) -> Floats:
    given, weight = part.given, part.weight
    own = fit(model, part.samples, given, classes=classes, weight=weight, part=part.part)
    frequency = np.bincount(given, weight, len(classes)) / (len(given) if weight is None else weight.sum())
    return (1 - PRIOR) * own.probs(part.out, part.part) + PRIOR * frequency


def crossing(model: Any, samples: Any, given: Labels, classes: tuple[Any, ...], counts: Floats | None = None) -> Own:
    """What ``Table.own`` asks of a model; samples, labels and how much each counts are ``[N]``."""

    def cross(rows: Tensor, fold: Tensor) -> Tensor:
        some = rows.numpy()
        kept = samples if len(some) == len(given) else take(samples, some)
        weight = None if counts is None else counts[some]
        found = cross_probs(model, kept, given[some], fold.numpy(), classes=classes, counts=weight)
        return torch.from_numpy(found).float()

    return cross


def refit(
    model: Any,
    samples: Any,
    given: Labels,
    kept: Labels,
    *,
    classes: tuple[Any, ...],
    counts: Floats | None = None,
    part: str = LAST,
) -> Fitted:
    """The model on the labels that are kept, by their rows, weighted with how much each sample counts ``[N]``.

    ``part`` is of the work, for errors.
    """
    weight = None if counts is None else counts[kept]
    return fit(model, take(samples, kept), given[kept], classes=classes, weight=weight, part=part)


def take(samples: Any, rows: Labels) -> Any:
    """Some samples: of an array, a data frame, a sparse matrix or a list."""
    from sklearn.utils import _safe_indexing

    return _safe_indexing(samples, rows)


def length(samples: Any) -> int:
    """How many samples there are, of an array, a data frame, a sparse matrix or a list."""
    return int(samples.shape[0]) if hasattr(samples, "shape") else len(np.asarray(samples, dtype=object))


def weight_name(model: Any) -> str | None:
    """What the weights of samples are called by ``fit``; None where it takes none."""
    from sklearn.utils.validation import has_fit_parameter

    steps = getattr(model, "steps", None)
    if steps:
        return f"{steps[-1][0]}__sample_weight" if has_fit_parameter(steps[-1][1], "sample_weight") else None
    return "sample_weight" if has_fit_parameter(model, "sample_weight") else None
