"""Learn numbers that cannot be trusted: cross-fit, find the targets that look wrong, fit again with what is left.

In short (N samples with a target, K folds; row i is predicted by models that never saw its target):

1. Fit the heads (or the user's own model) plainly; the first time targets far out are cut, since squares would follow
   them. Pool the heads with the weights of least held-out absolute error, in which no row counts for more than
   ``_MOST`` times the usual one.
2. The usual size of a residual is itself learned, from features and prediction, and shrunk towards one size for all as
   far as held-out residuals ask for it.
3. Divide: ``noise.residuals.settle``, a mixture of right and wrong targets.
4. Fit again, each row weighted: once by Tukey's biweight (Beaton and Tukey, Technometrics 1974), then by p(clean). A
   round counts only if the held-out GIVEN targets are likelier than under the one before.

The suggestion is the held-out prediction of the last round that counted. The model has the weights of the round of
least held-out squared error (see ``_learned``), which need not be the same: a model that is wrong about some rows
should not forget them. The combination is ours.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from codivide.core.errors import InputError
from codivide.core.types import Floats, Labels, Mask
from codivide.methods.features import number_heads, own
from codivide.methods.features.folds import counts_of, folds_of
from codivide.methods.features.matrix import Raw, Scale
from codivide.methods.features.number_heads import LINEAR
from codivide.methods.features.number_model import Head, NumberModel
from codivide.methods.features.trees import WIDEST
from codivide.noise import residuals
from codivide.noise.residuals import INTERVAL, NOTHING, Settled

FEWEST = 10  # samples with a target
ROUNDS = 4
OWN = "own"
_CUT = 6.0  # robust deviations from the median at which targets are cut for the first fit
_MOST = 3.0  # times the median absolute error that a row counts at most
_FAR = 10.0  # median errors of the first round that a row counts at most, where rounds are compared
_BIWEIGHT = 4.685 * 1.4826  # of a median absolute residual, where a row no longer counts
_GAIN = 1e-3  # nats a target by which a round must be better
_BINS = 10  # of targets, which are shared out evenly over the folds
_TRIED = 2000  # rows by which a penalty is chosen, or all
_SHRINK = (0.0, 0.5, 1.0)
_TINY = 1e-3  # of the targets' deviation: no residual is smaller


@dataclass(frozen=True)
class Numbers:
    """Samples with numbers to learn.

    Attributes:
        x: features ``[N, D]`` float32, dense or CSR.
        y: targets ``[N]`` float64, NaN where there is none.
        confirmed: mask ``[N]`` of the targets that are known to be right; None: none.
        groups: a number ``[N]``, the same for those that no fold may divide; None: each is on its own.
        copies: a number ``[N]``, the same for those that are the same thing; None: each comes once.
        weight: how much each sample counts ``[N]``; None: all alike.
    """

    x: Raw
    y: Floats
    confirmed: Mask | None = None
    groups: torch.Tensor | None = None
    copies: torch.Tensor | None = None
    weight: Floats | None = None


class OwnRegressor(NamedTuple):
    """A regressor of the user's own, and the samples ``[N]`` as it takes them."""

    model: Any
    samples: Any


@dataclass
class LearnedNumbers:
    """What is known of every target ``[N]``.

    Attributes:
        model: predicts numbers: a ``NumberModel``, or a fitted copy of the user's own.
        predicted: by models that did not see the target; of samples without one by the model.
        low: and ``high``: where a right target lies with probability ``INTERVAL``.
        clean_prob: in [0, 1], NaN where there is no target.
        suggested_prob: how likely the right target, where the given one is wrong, is nearer to ``predicted``.
        evidence: log of how much likelier the target is right than wrong; NaN where there is none.
        rate: estimated share of wrong targets.
        records: one a round.
        report: numbers on how it was learned.
        remarks: warnings by name.
    """

    model: Any
    predicted: Floats
    low: Floats
    high: Floats
    clean_prob: Floats
    suggested_prob: Floats
    evidence: Floats
    rate: float
    records: list[dict[str, Any]] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)


class _Round(NamedTuple):
    """What one round of fitting showed of the samples with a target, on the unit scale."""

    predicted: Floats
    spread: Floats
    settled: Settled
    weight: Floats
    pool: dict[str, float]
    first: bool


class _Problem:
    """The samples with a target, their folds, and the scales."""

    def __init__(self, data: Numbers, seed: int, folds: int, regressor: OwnRegressor | None) -> None:
        self.rows: Labels = np.flatnonzero(np.isfinite(data.y))
        if len(self.rows) < FEWEST:
            raise InputError(f"{len(self.rows)} samples have a target; at least {FEWEST} are needed")
        y = data.y[self.rows]
        if np.ptp(y) == 0:
            raise InputError(f"all targets are {y[0]:g}: there is nothing to learn")
        self.seed, self.given = seed, y
        self.centre, self.unit = _centre(y)
        self.u = (y - self.centre) / self.unit
        self.whole = data.x
        self.x = data.x if len(self.rows) == len(data.y) else data.x[self.rows]
        self.confirmed = np.zeros(len(y), bool) if data.confirmed is None else data.confirmed[self.rows]
        self.count = counts_of(self.rows, np.unique(y, return_inverse=True)[1], data.copies, data.weight)
        bins = torch.from_numpy(np.searchsorted(np.quantile(y, np.linspace(0, 1, _BINS + 1)[1:-1]), y))
        self.fold = folds_of(self.rows, bins, data.groups, folds, seed)
        self.folds = int(self.fold.max()) + 1
        self.scale = Scale.fit(data.x)
        self.own = regressor
        dense = isinstance(data.x, np.ndarray)
        self.kinds = (OWN,) if regressor else number_heads.kinds(len(y), data.x.shape[1], dense=dense)
        self.penalty = 1e-3

    def target(self, *, first: bool) -> Floats:
        """What is fitted."""
        found: Floats = self.u.clip(-_CUT, _CUT) if first else self.u
        return np.where(self.confirmed, self.u, found)

    def fit(self, kind: str, rows: Labels, target: Floats, weight: Floats) -> Callable[[Labels], Floats]:
        """Fit on some rows; what it gives predicts other ones."""
        if self.own is not None:
            model, samples = self.own
            fitted = number_heads.fit_own(model, own.take(samples, self.rows[rows]), target[rows], weight[rows])
            return lambda out: _checked(fitted.predict(own.take(samples, self.rows[out])), len(out))
        known: dict[str, Any] = {"scale": self.scale, "penalty": self.penalty, "seed": self.seed}
        head = number_heads.fit(kind, self.x[rows], target[rows], weight[rows], **known)
        return lambda out: head.predict(self.x[out], self.scale)

    def crossed(self, kind: str, target: Floats, weight: Floats, folds: int | None = None) -> Floats:
        """Held-out predictions ``[N]``; of the first folds alone, NaN elsewhere."""
        found = np.full(len(target), np.nan)
        for number in range(self.folds if folds is None else folds):
            out, rest = np.flatnonzero(self.fold == number), np.flatnonzero(self.fold != number)
            known = weight if weight[rest].sum() > 0 else self.count
            found[out] = self.fit(kind, rest, target, known)(out)
        return found

    def choose_penalty(self, target: Floats) -> None:
        """The penalty of the linear head, sought downwards until held-out errors grow."""
        if self.own is not None:
            return
        folds = min(self.folds, math.ceil(_TRIED * self.folds / len(target)))
        best = math.inf
        for penalty in number_heads.PENALTIES:
            before, self.penalty = self.penalty, penalty
            loss = _loss(self.crossed(LINEAR, target, self.count, folds) - self.u, self.count)
            if loss >= best:
                self.penalty = before
                return
            best = loss

    def round(self, weight: Floats, *, first: bool) -> _Round:
        """Fit all heads with these weights, pool them, and judge the targets."""
        target = self.target(first=first)
        said = {kind: self.crossed(kind, target, weight) for kind in self.kinds}
        pool = _pooled(said, self.u, self.count)
        if not first:  # a head that does not count on whole rows will not do so later
            self.kinds = tuple(kind for kind, share in pool.items() if share > 0)
        predicted = sum(share * said[kind] for kind, share in pool.items())
        assert isinstance(predicted, np.ndarray)
        spread = _Spread.of(self, self.u - predicted, predicted).held_out
        return _Round(predicted, spread, residuals.settle(self.u, predicted, spread, self.count), weight, pool, first)


def learn_numbers(
    data: Numbers, seed: int = 0, *, folds: int = 5, regressor: OwnRegressor | None = None
) -> LearnedNumbers:
    """Judge targets and learn to predict them; see the head of this file.

    Args:
        data: samples, of which at least ``FEWEST`` have a target.
        seed: of folds and trees.
        folds: of cross-fitting.
        regressor: a model of the user's own in the place of the heads.

    Raises:
        InputError: too few targets, targets that are all the same, or a model that cannot learn.
    """
    problem = _Problem(data, seed, folds, regressor)
    problem.choose_penalty(problem.target(first=True))
    rounds = [problem.round(problem.count, first=True)]
    records = [_record(1, rounds[0])]
    while len(rounds) < ROUNDS:
        rounds.append(problem.round(_weights(problem, rounds[-1], first=len(rounds) == 1), first=False))
        records.append(_record(len(rounds), rounds[-1]))
        if rounds[-1].settled.log_likelihood < rounds[-2].settled.log_likelihood + _GAIN:
            break
    best = max(rounds, key=lambda one: one.settled.log_likelihood)
    return _answer(problem, data, best, _learned(problem, rounds), records)


def _learned(problem: _Problem, rounds: list[_Round]) -> _Round:
    """The round whose weights the model is fitted with: that of least held-out squared error on GIVEN targets.

    No row counts for more than ``_FAR`` median errors of the first round. Where no round is better than the first by
    more than one standard error, that one: its rows count alike.
    """
    far = _FAR * max(float(np.median(np.abs(problem.u - rounds[0].predicted))), _TINY)
    losses = [(problem.u - one.predicted).clip(-far, far) ** 2 * problem.count for one in rounds]
    best = int(np.argmin([loss.mean() for loss in losses]))
    gain = losses[0] - losses[best]
    return rounds[best] if gain.mean() > gain.std() / len(gain) ** 0.5 else rounds[0]


def _weights(problem: _Problem, last: _Round, *, first: bool) -> Floats:
    """How much each row counts in the next round."""
    settled = last.settled
    if first or settled.rate <= NOTHING:
        far = np.abs(problem.u - last.predicted) / (last.spread * _BIWEIGHT)
        share = np.where(far < 1, (1 - far.clip(max=1) ** 2) ** 2, 0.0)
    else:
        share = settled.clean_prob
    return np.where(problem.confirmed, 1.0, share) * problem.count


def _record(number: int, one: _Round) -> dict[str, Any]:
    settled = one.settled
    return {
        "epoch": number,
        "held_out_log_likelihood": settled.log_likelihood,
        "noise_estimate": settled.rate,
        **{f"weight_{kind}": share for kind, share in one.pool.items()},
    }


def _answer(
    problem: _Problem, data: Numbers, best: _Round, learned: _Round, records: list[dict[str, Any]]
) -> LearnedNumbers:
    """What the best round says of each row, and the model on all of them."""
    settled, unit, rows = best.settled, problem.unit, problem.rows
    model = _model(problem, learned)
    predicted, spread = np.empty(len(data.y)), np.empty(len(data.y))
    predicted[rows] = problem.centre + unit * best.predicted
    spread[rows] = unit * best.spread
    missing = np.flatnonzero(~np.isfinite(data.y))
    if len(missing):
        predicted[missing] = _predict(model, data, problem, missing)
        whole = _Spread.of(problem, problem.u - best.predicted, best.predicted)
        spread[missing] = unit * whole.of_rows(data.x[missing], (predicted[missing] - problem.centre) / unit)
    reach = residuals.reach(settled, INTERVAL) * spread
    clean_prob, nearer, evidence = np.full((3, len(data.y)), np.nan)
    clean_prob[rows] = np.where(problem.confirmed, 1.0, settled.clean_prob)
    nearer[rows] = residuals.suggested_prob(problem.u, best.predicted, best.spread, settled)
    evidence[rows] = settled.evidence
    open_ = clean_prob[rows][~problem.confirmed]
    gain, error = _information(problem, best)
    noise = 1 - float(open_.mean()) if len(open_) else 0.0
    report: dict[str, Any] = {
        "pool": best.pool,
        "rounds": len(records),
        "tails": settled.tails,
        "noise_estimate": noise,
        "information": gain,
        "information_standard_error": error,
        "held_out_r2": _r2(problem, best),
        "hidden": residuals.hidden(problem.u, best.predicted, best.spread, settled),
        "spread": float(np.median(spread[rows])),
    }
    remarks = {}
    if not gain > 3 * error:
        remarks["independent"] = (
            "the features say nothing of the targets: held-out ones are predicted no better than by their median, so "
            "that only targets far from all others can look wrong"
        )
    return LearnedNumbers(
        model=model,
        predicted=predicted,
        low=predicted - reach,
        high=predicted + reach,
        clean_prob=clean_prob,
        suggested_prob=nearer,
        evidence=evidence,
        rate=noise,
        records=records,
        report=report,
        remarks=remarks,
    )


def _model(problem: _Problem, best: _Round) -> Any:
    everything = np.arange(len(problem.u))
    if problem.own is not None:
        model, samples = problem.own
        target = problem.centre + problem.unit * problem.target(first=best.first)
        return number_heads.fit_own(model, own.take(samples, problem.rows), target, best.weight)
    known: dict[str, Any] = {"scale": problem.scale, "penalty": problem.penalty, "seed": problem.seed}
    heads: list[Head] = []
    for kind, share in best.pool.items():
        if share > 0:
            head = number_heads.fit(kind, problem.x[everything], problem.target(first=best.first), best.weight, **known)
            heads.append(replace(head, weight=share))
    kept = problem.given[best.settled.clean_prob >= 0.5] if best.settled.rate > NOTHING else problem.given
    low, high = (float(kept.min()), float(kept.max())) if len(kept) else (-math.inf, math.inf)
    room = 0.5 * (high - low)
    return NumberModel(problem.scale, heads, problem.centre, problem.unit, low - room, high + room)


def _predict(model: Any, data: Numbers, problem: _Problem, rows: Labels) -> Floats:
    if problem.own is not None:
        return _checked(model.predict(own.take(problem.own.samples, rows)), len(rows))
    found: Floats = model.of(data.x[rows])
    return found


def _checked(predicted: Any, count: int) -> Floats:
    """What a model of the user's own predicts, as ``[N]`` finite numbers."""
    found = np.asarray(predicted, dtype=np.float64)
    if found.shape != (count,) or not np.isfinite(found).all():
        raise InputError(f"the model predicts an array of shape {found.shape}; one finite number a sample is needed")
    return found


def _centre(y: Floats) -> tuple[float, float]:
    """Median, and a deviation that a few wrong targets do not stretch."""
    low, middle, high = np.quantile(y, [0.25, 0.5, 0.75])
    return float(middle), float((high - low) / 1.349 or y.std())


def _capped(residual: Floats) -> Floats:
    size = np.abs(residual)
    return size.clip(max=_MOST * max(float(np.median(size)), _TINY))


def _loss(residual: Floats, count: Floats) -> float:
    """Mean absolute error, of which no row is more than ``_MOST`` times the median; of the rows that are known."""
    known = np.isfinite(residual)
    return float(np.average(_capped(residual[known]), weights=count[known]))


def _pooled(said: dict[str, Floats], target: Floats, count: Floats) -> dict[str, float]:
    """Weights of the heads, in tenths, of least held-out error."""
    kinds, tenths = list(said), range(11)
    stack = np.stack([said[kind] for kind in kinds])
    grid = [shares for shares in itertools.product(tenths, repeat=len(kinds)) if sum(shares) == 10]
    losses = [_loss(np.array(shares) / 10 @ stack - target, count) for shares in grid]
    best = grid[int(np.argmin(losses))]
    return {kind: share / 10 for kind, share in zip(kinds, best, strict=True)}


def _information(problem: _Problem, best: _Round) -> tuple[float, float]:
    """How much smaller errors are than those of the median, and the standard error of that."""
    cap = _MOST * max(float(np.median(np.abs(problem.u))), _TINY)
    gain = np.abs(problem.u).clip(max=cap) - np.abs(problem.u - best.predicted).clip(max=cap)
    return float(gain.mean()), float(gain.std() / len(gain) ** 0.5)


def _r2(problem: _Problem, best: _Round) -> float:
    """Of held-out targets, each weighted with p(clean)."""
    share = best.settled.clean_prob * problem.count
    middle = np.average(problem.u, weights=share)
    left = np.average((problem.u - best.predicted) ** 2, weights=share)
    return float(1 - left / max(np.average((problem.u - middle) ** 2, weights=share), 1e-12))


@dataclass(frozen=True)
class _Spread:
    """The usual size of a residual, ``[N]`` held out, and for other rows."""

    held_out: Floats
    fit: Callable[[], Any]
    overall: float
    power: float
    wide: bool

    @classmethod
    def of(cls, problem: _Problem, residual: Floats, predicted: Floats) -> _Spread:
        size = np.abs(residual)
        overall = max(float(np.median(size)), _TINY)
        capped = size.clip(max=max(float(np.quantile(size, 0.9)), _TINY))
        wide = not isinstance(problem.x, np.ndarray) or problem.x.shape[1] > WIDEST
        rows = _described(problem.x, predicted, wide=wide)
        found = np.empty(len(size))
        for number in range(problem.folds):
            out = problem.fold == number
            found[out] = _forest(rows[~out], capped[~out], problem.count[~out], problem.seed).predict(rows[out])
        candidates = [_shrunk(found, overall, power) for power in _SHRINK]
        logs = [_log_density(residual, spread, problem.count) for spread in candidates]
        best = int(np.argmax([value - 0.002 * k for k, value in enumerate(logs)]))
        return cls(
            candidates[best], lambda: _forest(rows, capped, problem.count, problem.seed), overall, _SHRINK[best], wide
        )

    def of_rows(self, x: Raw, predicted: Floats) -> Floats:
        """Of rows that have no target."""
        return _shrunk(self.fit().predict(_described(x, predicted, wide=self.wide)), self.overall, self.power)


def _described(x: Raw, predicted: Floats, *, wide: bool) -> Any:
    """What the size of a residual may depend on."""
    own_column = predicted[:, None].astype(np.float32)
    return own_column if wide else np.concatenate([np.asarray(x, dtype=np.float32), own_column], axis=1)


def _forest(rows: Any, size: Floats, count: Floats, seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    leaf = max(10, len(size) // 40)
    weight = count if count.sum() > 0 else None
    return ExtraTreesRegressor(30, min_samples_leaf=leaf, random_state=seed, n_jobs=1).fit(rows, size, weight)


def _shrunk(found: Floats, overall: float, power: float) -> Floats:
    relative = np.maximum(found / max(float(np.median(found)), 1e-12), 0.1)
    return overall * relative**power


def _log_density(residual: Floats, spread: Floats, count: Floats) -> float:
    """Mean log density of residuals of this size under Laplace's distribution, each cut where it is far out."""
    z = np.abs(residual) / spread
    return float(-np.average(np.log(spread) + z.clip(max=6.0) * np.log(2), weights=count))
