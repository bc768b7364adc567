"""Numbers, and several labels a row, judged by somebody's predictions alone.

``score_labels``, ``noise_report`` and ``audit.from_probs`` share it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.optimize import linear_sum_assignment

from codivide.audit.reading import as_floats
from codivide.core.errors import InputError
from codivide.core.types import Floats, Labels
from codivide.core.words import counted, first_few
from codivide.data.arrow import as_pandas
from codivide.data.loaded import Loaded
from codivide.data.options import REGRESSION, ReadOptions
from codivide.data.row_order import check_order
from codivide.data.rows import TensorRows
from codivide.data.table_columns import arranged
from codivide.data.targets import Members, members, numbers, texts_of, with_points
from codivide.methods.features.numbers import FEWEST, LearnedNumbers
from codivide.noise import residuals, several, target_report
from codivide.noise.target_report import TargetReport

_BETTER = 3.0  # times as well that another order of columns must go with the labels
_ERRORS = 2.0  # standard errors of a correlation below which predictions say nothing of a label
_ENOUGH = 50  # rows from which on that is asked
_FAR = 3.0  # median distances of the targets from their middle from which on an error counts no more
_SAME = 0.95  # share of targets that predictions may hit exactly
_SUM = 1e-3  # by which the two probabilities of a label may differ from 1
_EXACT = 1e-6  # of that distance: no difference


class Scored(NamedTuple):
    """Targets judged by somebody's predictions alone.

    Attributes:
        clean_prob: ``[N]`` of numbers, ``[N, K]`` of several labels; NaN where there is none.
        plain: of the same shape: minus the distance to the prediction, or the probability of what was given.
        report: what is estimated of all.
        probs: of several labels ``[N, K]``, in the order of ``given.names``; None for numbers.
        given: what was given of several labels; None for numbers.
        learned: of numbers what is known of each; None for several labels.
        loaded: the targets as texts, with no samples.
    """

    clean_prob: Floats
    plain: Floats
    report: TargetReport
    probs: Floats | None = None
    given: Members | None = None
    learned: LearnedNumbers | None = None
    loaded: Loaded | None = None


def of_predictions(y: Any, said: Any, options: ReadOptions) -> Scored:
    """Judge targets by predictions of models that did not learn from them.

    Args:
        y: targets, see ``data.targets.texts_of``.
        said: of numbers predictions ``[N]``, of several labels probabilities ``[N, K]`` in the order of the labels,
            or a table whose columns are called like them, or a list of ``[N, 2]`` for each label, also as one array.
        options: the task, and the separator.

    Raises:
        InputError: arrays that do not fit each other, predictions that are not finite, rows whose index has another
            order that fits better, or columns of which another order surely does.
    """
    if (y.shape[:1] == (0,)) if hasattr(y, "shape") else (isinstance(y, Sequence) and not len(y)):
        raise InputError("y is empty: there is no sample to judge")
    texts, names, _ = texts_of(y, options)
    said = as_pandas(said if options.task == REGRESSION else _of_pairs(said, len(texts)))
    found = _predictions(said, len(texts), options.task)
    codes, different = pd.factorize(pd.Series(texts, dtype=object))
    known = tuple(str(text) for text in different)
    rows = TensorRows(torch.zeros(len(texts), 1))
    loaded = Loaded(rows, codes.astype(np.int64), known, range(len(texts)), "none", name="y")
    if options.task == REGRESSION:
        loaded = with_points(loaded)
        wanted = numbers(loaded)
        there = np.isfinite(wanted)
        check_order(said, y, lambda order: float(np.median(np.abs(wanted - found[order])[there])), "y", "predictions")
        return _scored_numbers(wanted, found)._replace(loaded=loaded)
    given = members(loaded, options.separator, names)
    named = isinstance(said, pd.DataFrame) and not isinstance(said.columns, pd.RangeIndex)
    if found.shape[1] != len(given.names):
        raise InputError(
            f"pred_probs has {counted(found.shape[1], 'column')}, but there are {counted(len(given.names), 'label')}: "
            f"{first_few(given.names)}"
        )
    if named:
        found = arranged(said, given.names, "pred_probs", "label").to_numpy(dtype=np.float64)
    check_order(said, y, lambda order: float(np.abs(given.y - found[order])[given.y >= 0].mean()), "y", "pred_probs")
    return _scored_sets(given, found, named=named)._replace(probs=found, given=given, loaded=loaded)


def _of_pairs(said: Any, count: int) -> Any:
    """Probabilities ``[N, K]`` of a list of ``[N, 2]`` for each label, as scikit-learn's forests give; else as given.

    An array ``[K, N, 2]`` is that list stacked; ``[N, K, 2]`` has a pair for each label of each of ``count`` samples.

    Raises:
        InputError: such a list whose arrays are others, or as many as the samples, so that it may mean either.
    """
    said = list(as_floats(said, "pred_probs")) if getattr(said, "ndim", 0) == 3 else said
    if not isinstance(said, list | tuple) or not said or any(np.ndim(part) != 2 for part in said):
        return said
    parts = [as_floats(part, "pred_probs") for part in said]
    shapes = {part.shape for part in parts}
    off = max(float(np.abs(part.sum(1) - 1).max(initial=0)) for part in parts)
    fitting = shapes == {(len(parts[0]), 2)} and off < _SUM
    if fitting and len(parts) == count != len(parts[0]):
        return np.stack(parts)[:, :, 1]
    if fitting and len(parts[0]) != len(parts):
        return np.column_stack([part[:, 1] for part in parts])
    text = f"pred_probs is a list of {len(parts)} arrays of shape {' or '.join(map(str, sorted(shapes)))}. "
    if fitting:
        raise InputError(
            f"{text}There are as many samples as labels, so an array may be one of a label or one of a sample. Give "
            "[samples, labels] instead: np.column_stack([p[:, 1] for p in pred_probs]) where each is of a label, "
            "np.array(pred_probs)[:, :, 1] where each is of a sample"
        )
    raise InputError(
        f"{text}A list is taken where it has for each label an array [samples, 2], or for each sample an array "
        "[labels, 2], whose columns are the probabilities that a row has the label not and that it has it. Give "
        "[samples, labels] instead: np.column_stack([p[:, 1] for p in pred_probs])"
    )


def _predictions(said: Any, count: int, task: str) -> Floats:
    """Finite numbers ``[N]``, or ``[N, K]``; a column of numbers is the numbers."""
    found = as_floats(said, "predictions")
    if task == REGRESSION and found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != (1 if task == REGRESSION else 2) or len(found) != count:
        shape = "[samples]" if task == REGRESSION else "[samples, labels]"
        raise InputError(f"predictions have shape {found.shape}; {count} targets need {shape}")
    if not np.isfinite(found).all():
        raise InputError(f"prediction {int(np.argwhere(~np.isfinite(found))[0][0])} is not finite")
    return found


def _scored_numbers(y: Floats, predicted: Floats) -> Scored:
    known = np.flatnonzero(np.isfinite(y))
    if len(known) < FEWEST:
        raise InputError(f"{counted(len(known), 'sample has', 'samples have')} a target; at least {FEWEST} are needed")
    if np.ptp(y[known]) == 0:
        raise InputError(f"all targets are {y[known][0]:g}: there is nothing that could tell a wrong one")
    usual = float(np.median(np.abs(y - predicted)[known]))
    size = max(usual, 1e-9 * float(np.ptp(y[known])))
    seen = y[known], predicted[known], np.full(len(known), size)
    settled = residuals.settle(*seen)
    clean_prob, nearer, evidence = np.full((3, len(y)), np.nan)
    clean_prob[known], evidence[known] = settled.clean_prob, settled.evidence
    nearer[known] = residuals.suggested_prob(*seen, settled)
    hidden = residuals.hidden(*seen, settled)
    most = residuals.most(*seen, hidden)
    remarks = _of_numbers(y[known], predicted[known]) + [residuals.UNDECIDED] * settled.undecided
    for text in remarks:
        warnings.warn(text, stacklevel=5)
    report = target_report.of_numbers(clean_prob, hidden, most, remarks)
    reach = residuals.reach(settled, residuals.INTERVAL) * size
    learned = LearnedNumbers(
        model=None,
        predicted=predicted,
        low=predicted - reach,
        high=predicted + reach,
        clean_prob=clean_prob,
        suggested_prob=nearer,
        evidence=evidence,
        report={"spread": size},
    )
    return Scored(clean_prob, -np.abs(y - predicted), report, learned=learned)


def _of_numbers(y: Floats, predicted: Floats) -> list[str]:
    """What speaks against judging numbers by these predictions."""
    away = np.abs(y - np.median(y))
    unit = float(np.median(away)) or float(away.mean())
    error, cap = np.abs(y - predicted), _FAR * unit
    gain = away.clip(max=cap) - error.clip(max=cap)
    if not gain.mean() > _FAR * gain.std() / len(gain) ** 0.5:
        return [
            "the predictions say nothing of the targets: they are no nearer to them than their median is, so that only "
            "targets far from all others can look wrong; rows in another order, or another unit?"
        ]
    if (same := float((error <= _EXACT * unit).mean())) > _SAME:
        return [
            f"{100 * same:.0f} % of the predictions are the very targets: the model has learned from these samples, "
            "and then no wrong target can look wrong. Give predictions of samples that it had not seen, as of "
            "cross-validation"
        ]
    return []


def _scored_sets(given: Members, probs: Floats, *, named: bool) -> Scored:
    y, names = given
    if (probs < 0).any() or (probs > 1).any():
        raise InputError("pred_probs of several labels are probabilities from 0 to 1, each for itself")
    rows = np.flatnonzero((y >= 0).all(1))
    share = y[rows].mean(0)
    able = np.flatnonzero((share > 0) & (share < 1))
    if not len(able):
        raise InputError("no label is there in some rows and missing in others: nothing can be judged")
    going = _going_together(probs[np.ix_(rows, able)], y[np.ix_(rows, able)])
    if not named:
        _check_columns(going, [names[k] for k in able], names, len(rows))
    able = able[_told(going, len(rows))]
    if not len(able):
        raise InputError(
            "pred_probs say nothing of any label, so that nothing can be judged: are rows or columns in another order?"
        )
    chosen = y[np.ix_(rows, able)]
    held = probs[np.ix_(rows, able)].clip(several.LEAST, 1 - several.LEAST)
    clean_prob = np.full(y.shape, np.nan)
    clean_prob[np.ix_(rows, able)] = several.Channels.of(held, chosen).clean_prob(chosen)
    row = several.row_score(clean_prob)
    unjudged = [name for k, name in enumerate(names) if k not in able]
    remarks = _of_sets(y[rows], probs[rows])
    for text in remarks:
        warnings.warn(text, stacklevel=5)
    report = target_report.of_sets(row, clean_prob, names, (y == 1).sum(0).tolist(), unjudged, remarks=remarks)
    plain = np.where(y < 0, np.nan, np.where(y == 1, probs, 1 - probs))
    return Scored(clean_prob, plain, report)


def _going_together(probs: Floats, y: Labels) -> Floats:
    """The correlation ``[K, K]`` of each label (row) with each column of probabilities; 0 of a constant one."""
    labels, columns = y - y.mean(0), probs - probs.mean(0)
    size = np.outer((labels**2).sum(0), (columns**2).sum(0)) ** 0.5
    found: Floats = np.divide(labels.T @ columns, size, out=np.zeros_like(size), where=size > 0)
    return found


def _told(going: Floats, count: int) -> Labels:
    """The labels that their own columns say something of; of few rows all."""
    least = _ERRORS / count**0.5 if count >= _ENOUGH else -np.inf
    return np.flatnonzero(np.diag(going) > least)


def _check_columns(going: Floats, able: Sequence[str], names: Sequence[str], count: int) -> None:
    """InputError where another order of the columns goes with the labels far better."""
    best = linear_sum_assignment(going, maximize=True)[1]
    moved = np.flatnonzero(best != np.arange(len(best)))
    if not len(moved):
        return
    here, there = float(going[moved, moved].mean()), float(going[moved, best[moved]].mean())
    if there > _BETTER * max(here, _ERRORS / count**0.5):
        few = ", ".join(f"the column of {able[best[k]]!r} fits {able[k]!r}" for k in moved[:10].tolist())
        raise InputError(
            f"the columns of pred_probs fit the labels in another order than {list(names[:10])}, in which they are "
            f"taken: {few}. Give a data frame with columns called like the labels"
        )


def _of_sets(y: Labels, probs: Floats) -> list[str]:
    """What speaks against judging several labels by these probabilities."""
    if y.shape[1] < 3 or np.abs(probs.sum(1) - 1).max() > 1e-3 or (y.sum(1) == 1).all():
        return []
    return [
        "the probabilities of each row sum to 1, as those of classes that exclude each other (a softmax): each of "
        "several labels needs its own (a sigmoid)"
    ]
