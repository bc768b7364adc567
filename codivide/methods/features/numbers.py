"""Learn numbers that cannot be trusted: cross-fit, find the targets that look wrong, fit again with what is left.

In short (N samples with a target, K folds; row i is predicted by models that never saw its target):

1. Fit the heads (or the user's own model) plainly, with targets far out cut, since squares would follow them, and as
   they are, since a rare regime may be right; of skewed positive targets also their logarithms. Go on with that under
   which held-out GIVEN targets are likeliest. Pool the heads with the weights of least held-out absolute error, which
   from ``_MOST`` times the usual one on grows as a logarithm.
2. The usual size of a residual is itself learned, from features and prediction, and shrunk towards one size for all as
   far as held-out residuals ask for it (``number_spread``).
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

from codivide.core import threads
from codivide.core.errors import InputError
from codivide.core.types import Floats, Labels, Mask
from codivide.core.words import counted
from codivide.methods.features import number_heads, own
from codivide.methods.features.folds import check_counts, counts_of, folds_of
from codivide.methods.features.matrix import Raw, Scale
from codivide.methods.features.number_heads import ALSO_LINEAR, LINEAR
from codivide.methods.features.number_model import LARGEST, Head, NumberModel
from codivide.methods.features.number_spread import TINY, Spread
from codivide.noise import residuals
from codivide.noise.residuals import INTERVAL, NOTHING, Settled

FEWEST = 10  # samples with a target
ROUNDS = 4
OWN = "own"
_CUT = 6.0  # robust deviations from the median at which targets are cut for the first fit
_MOST = 3.0  # times the median absolute error from which on a row counts by its logarithm
_FAR = 10.0  # median errors of the first round from which on a row counts by its logarithm, where rounds are compared
_BIWEIGHT = 4.685 * 1.4826  # of a median absolute residual, where a row no longer counts
_GAIN = 1e-3  # nats a target by which a round must be better
_LOG_GAIN = 0.1  # nats a target by which logarithms must be better
_SKEWED = 0.2  # from which on logarithms are tried, see ``_lean``
_GATHERED = 0.2  # of the targets that look wrong, which is hardly any
_FEW_DOUBTED = 8  # that look wrong, below which they cannot gather
_OUTSIDE = 0.01  # of the targets that lie where nothing is predicted, which is hardly any
_FEW_OUTSIDE = 5
_BINS = 10  # of targets, which are shared out evenly over the folds
_TRIED = 2000  # rows by which a penalty is chosen, or all


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
        pixels: how many of the last columns are pixels, which have a head of their own.
    """

    x: Raw
    y: Floats
    confirmed: Mask | None = None
    groups: torch.Tensor | None = None
    copies: torch.Tensor | None = None
    weight: Floats | None = None
    pixels: int = 0


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
    records: list[dict[str, Any]] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)


class _Round(NamedTuple):
    """What one round of fitting showed of the samples with a target, on the unit scale."""

    predicted: Floats
    spread: Floats
    settled: Settled
    share: Floats
    pool: dict[str, float]
    cut: bool


class _Problem:
    """The samples with a target, their folds, and the scales; with ``log`` it is of the targets' logarithms."""

    def __init__(
        self, data: Numbers, seed: int, folds: int, regressor: OwnRegressor | None, *, log: bool = False
    ) -> None:
        self.rows: Labels = np.flatnonzero(np.isfinite(data.y))
        if len(self.rows) < FEWEST:
            raise InputError(
                f"{counted(len(self.rows), 'sample has', 'samples have')} a target; at least {FEWEST} are needed"
            )
        y = data.y[self.rows]
        if np.ptp(y) == 0:
            raise InputError(f"all targets are {y[0]:g}: there is nothing to learn")
        self.seed, self.given, self.log = seed, y, log
        self.centre, self.unit = _centre(np.log(y) if log else y)
        self.u = self.inward(y)
        self.whole = data.x
        self.x = data.x if len(self.rows) == len(data.y) else data.x[self.rows]
        self.confirmed = np.zeros(len(y), bool) if data.confirmed is None else data.confirmed[self.rows]
        self.count = counts_of(self.rows, np.unique(y, return_inverse=True)[1], data.copies, data.weight)
        bins = torch.from_numpy(np.searchsorted(np.quantile(y, np.linspace(0, 1, _BINS + 1)[1:-1]), y))
        self.fold = folds_of(self.rows, bins, data.groups, folds, seed)
        check_counts(self.fold, self.count)
        self.folds = int(self.fold.max()) + 1
        self.scale = Scale.fit(data.x)
        self.own = regressor
        dense = isinstance(data.x, np.ndarray)
        known = {"dense": dense, "pixels": data.pixels > 0}
        self.kinds = (OWN,) if regressor else number_heads.kinds(len(y), data.x.shape[1], **known)
        self.pixels = data.pixels
        self.penalty = dict.fromkeys(self.kinds, 1e-3)

    def inward(self, y: Floats) -> Floats:
        """Targets on the unit scale; what a model predicts and has no logarithm is the least given one."""
        known = np.log(np.where(y > 0, y, self.given.min())) if self.log else y
        found: Floats = (known - self.centre) / self.unit
        return found

    def outward(self, u: Floats) -> Floats:
        """Numbers on the unit scale as targets."""
        found: Floats = self.centre + self.unit * u
        return np.exp(found.clip(-LARGEST, LARGEST)) if self.log else found

    def log_likelihood(self, one: _Round) -> float:
        """Mean of the held-out targets, in the unit of ``y``, so that it compares scales."""
        stretch = math.log(self.unit) + (float(np.average(np.log(self.given), weights=self.count)) if self.log else 0.0)
        return one.settled.log_likelihood - stretch

    def target(self, *, cut: bool) -> Floats:
        """What is fitted."""
        found: Floats = self.u.clip(-_CUT, _CUT) if cut else self.u
        return np.where(self.confirmed, self.u, found)

    def fit(self, kind: str, rows: Labels, target: Floats, share: Floats, *, part: str) -> Callable[[Labels], Floats]:
        """Fit on some rows, which may be trusted by a share; what it gives predicts other ones.

        ``part`` is of the work, for errors of a model of the user's own.
        """
        if self.own is not None:
            model, samples = self.own
            chosen = own.take(samples, self.rows[rows])
            fitted = number_heads.fit_own(model, chosen, target[rows], share[rows], self.count[rows], part=part)
            return lambda out: number_heads.predict_own(fitted, own.take(samples, self.rows[out]), part)
        head = self.head(kind, rows, target, share)
        return lambda out: head.predict(self.x[out], self.scale)

    def head(self, kind: str, rows: Labels, target: Floats, share: Floats) -> Head:
        """One of codivide's heads, fitted as ``fit`` does."""
        known: dict[str, Any] = {"scale": self.scale, "penalty": self.penalty[kind], "seed": self.seed}
        return number_heads.fit(kind, self.x[rows], target[rows], self.weight(share)[rows], pixels=self.pixels, **known)

    def weight(self, share: Floats) -> Floats:
        """How much each row counts in a fit."""
        return share * self.count

    def crossed(self, kind: str, target: Floats, share: Floats, folds: int | None = None) -> Floats:
        """Held-out predictions ``[N]``; of the first folds alone, NaN elsewhere."""
        found = np.full(len(target), np.nan)
        for number in range(self.folds if folds is None else folds):
            out, rest = np.flatnonzero(self.fold == number), np.flatnonzero(self.fold != number)
            known = share if self.weight(share)[rest].sum() > 0 else np.ones(len(share))
            part = own.in_fold(number + 1, self.folds)
            found[out] = self.fit(kind, rest, target, known, part=part)(out)
        return found

    def choose_penalty(self, target: Floats) -> None:
        """The penalty of each linear head, sought downwards until held-out errors grow."""
        folds = min(self.folds, math.ceil(_TRIED * self.folds / len(target)))
        for kind in {LINEAR, ALSO_LINEAR}.intersection(self.kinds):
            best = math.inf
            for penalty in number_heads.PENALTIES:
                before, self.penalty[kind] = self.penalty[kind], penalty
                loss = _loss(self.crossed(kind, target, np.ones(len(target)), folds) - self.u, self.count)
                if loss >= best:
                    self.penalty[kind] = before
                    break
                best = loss

    def round(self, share: Floats, *, cut: bool = False, last: bool = True) -> _Round:
        """Fit all heads, pool them, and judge the targets.

        Args:
            share: how far each row may be trusted ``[N]``, in [0, 1].
            cut: whether targets far out are cut for it.
            last: whether heads that do not count now are left out from now on.
        """
        target = self.target(cut=cut)
        said = {kind: self.crossed(kind, target, share) for kind in self.kinds}
        pool = _pooled(said, self.u, self.count)
        if last:
            self.kinds = tuple(kind for kind, share in pool.items() if share > 0)
        predicted = sum(share * said[kind] for kind, share in pool.items())
        assert isinstance(predicted, np.ndarray)
        spread = self.spread(predicted).held_out
        return _Round(predicted, spread, residuals.settle(self.u, predicted, spread, self.count), share, pool, cut)

    def spread(self, predicted: Floats) -> Spread:
        """The usual size of residuals."""
        return Spread.of((self.x, predicted), self.u - predicted, self.fold, self.count, seed=self.seed)


_Candidate = tuple[_Problem, _Round]


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
    with threads.alone(data.x.size):
        return _learned_numbers(data, _Problem(data, seed, folds, regressor), folds)


def _learned_numbers(data: Numbers, plain: _Problem, folds: int) -> LearnedNumbers:
    """``learn_numbers`` of a problem on the scale of the targets."""
    problem, rounds, other = _begun(plain, data, folds)
    records = [_record(1, rounds[0])]
    while len(rounds) < ROUNDS:
        rounds.append(problem.round(_shares(problem, rounds[-1], first=len(rounds) == 1)))
        records.append(_record(len(rounds), rounds[-1]))
        if rounds[-1].settled.log_likelihood < rounds[-2].settled.log_likelihood + _GAIN:
            break
    best = max(rounds, key=lambda one: one.settled.log_likelihood)
    return _answer(problem, data, best, _learned(best, plain, [(problem, one) for one in rounds] + other), records)


def _begun(problem: _Problem, data: Numbers, folds: int) -> tuple[_Problem, list[_Round], list[_Candidate]]:
    """The first round of the scale, and with or without a cut, under which held-out GIVEN targets are likeliest.

    A cut saves heads from targets that are far out and wrong; where they are right (a rare regime, a long tail), it
    hides them. Logarithms are tried of positive targets that are skewed, and must be clearly better.

    Returns:
        The scale, that round, and the other first rounds.
    """
    problems = [problem]
    if problem.own is None and _is_skewed(problem.given):
        problems.append(_Problem(data, problem.seed, folds, None, log=True))
    found = []
    for one in problems:
        far = bool((np.abs(one.u) > _CUT).any())
        one.choose_penalty(one.target(cut=True))
        for cut in (True, False) if far else (True,):
            found.append((one, one.round(np.ones(len(one.u)), cut=cut, last=False)))
    chosen, best = max(found, key=lambda pair: pair[0].log_likelihood(pair[1]) - _LOG_GAIN * pair[0].log)
    return chosen, [best], [pair for pair in found if pair[1] is not best]


def _is_skewed(y: Floats) -> bool:
    """Whether targets are positive, and logarithms lie more evenly around their middle."""
    if y.min() <= 0:
        return False
    return _lean(y) > _SKEWED and _lean(y) > abs(_lean(np.log(y)))


def _lean(y: Floats) -> float:
    """How much farther the upper tenth lies from the middle than the lower one, in [-1, 1]."""
    low, middle, high = np.quantile(y, [0.1, 0.5, 0.9])
    return float((high + low - 2 * middle) / max(high - low, 1e-300))


def _learned(best: _Round, plain: _Problem, candidates: list[_Candidate]) -> _Candidate:
    """The round whose weights the model is fitted with: that of least held-out squared error on GIVEN targets.

    From ``_FAR`` median errors of the first round on an error counts by its logarithm: it is not led by a few that are
    far out, and yet sees whether a rare regime is predicted. Where no round is better than the first by more than one
    standard error, that one: its rows count alike. Where logarithms judge the targets, the targets themselves may still
    be learned: of a mean, a logarithm says too little.
    """
    problem = candidates[0][0]
    if _outside(problem, best):
        return problem, problem.round(best.settled.clean_prob)
    if problem.log:
        own_scale = (plain, plain.round(best.settled.clean_prob))
        candidates = [own_scale, *candidates]
    errors = [plain.given - of.outward(one.predicted) for of, one in candidates]
    far = _FAR * max(float(np.median(np.abs(errors[0]))), TINY * plain.unit)
    losses = [_grown(error**2, far**2) * plain.count for error in errors]
    least = int(np.argmin([loss.mean() for loss in losses]))
    gain = losses[0] - losses[least]
    return candidates[least] if gain.mean() > gain.std() / len(gain) ** 0.5 else candidates[0]


def _shares(problem: _Problem, last: _Round, *, first: bool) -> Floats:
    """How far each row may be trusted in the next round."""
    settled = last.settled
    if first or settled.rate <= NOTHING:
        far = np.abs(problem.u - last.predicted) / (last.spread * _BIWEIGHT)
        share = np.where(far < 1, (1 - far.clip(max=1) ** 2) ** 2, 0.0)
    else:
        share = settled.clean_prob
    return np.where(problem.confirmed, 1.0, share)


def _record(number: int, one: _Round) -> dict[str, Any]:
    settled = one.settled
    return {
        "epoch": number,
        "held_out_log_likelihood": settled.log_likelihood,
        "noise_estimate": settled.rate,
        **{f"weight_{kind}": share for kind, share in one.pool.items()},
    }


def _answer(
    problem: _Problem, data: Numbers, best: _Round, learned: _Candidate, records: list[dict[str, Any]]
) -> LearnedNumbers:
    """What the best round says of each row, and the model on all of them."""
    settled, rows = best.settled, problem.rows
    model = _model(*learned)
    predicted, spread = np.empty(len(data.y)), np.empty(len(data.y))
    predicted[rows], spread[rows] = best.predicted, best.spread
    missing = np.flatnonzero(~np.isfinite(data.y))
    if len(missing):
        predicted[missing] = problem.inward(_predict(model, data, problem, missing))
        spread[missing] = problem.spread(best.predicted).of_rows(data.x[missing], predicted[missing])
    reach = residuals.reach(settled, INTERVAL) * spread
    low, high = problem.outward(predicted - reach), problem.outward(predicted + reach)
    clean_prob, nearer, evidence = np.full((3, len(data.y)), np.nan)
    clean_prob[rows] = np.where(problem.confirmed, 1.0, settled.clean_prob)
    nearer[rows] = residuals.suggested_prob(problem.u, best.predicted, best.spread, settled)
    evidence[rows] = settled.evidence
    report = _reported(problem, best) | {"rounds": len(records)}
    return LearnedNumbers(
        model=model,
        predicted=problem.outward(predicted),
        low=low,
        high=high,
        clean_prob=clean_prob,
        suggested_prob=nearer,
        evidence=evidence,
        records=records,
        report=report | {"spread": float(np.median((high - low)[rows]) / 2 / residuals.reach(settled, INTERVAL))},
        remarks=_remarks(problem, best, clean_prob[rows] < 0.5, report),
    )


def _reported(problem: _Problem, best: _Round) -> dict[str, Any]:
    """Numbers on how it was learned."""
    gain, error = _information(problem, best)
    hidden = residuals.hidden(problem.u, best.predicted, best.spread, best.settled)
    return {
        "pool": best.pool,
        "tails": best.settled.tails,
        "information": gain,
        "information_standard_error": error,
        "held_out_r2": _r2(problem, best),
        "hidden": hidden,
        "most": _most(problem, best, hidden),
        "log": problem.log,
    }


def _most(problem: _Problem, best: _Round, hidden: float) -> float:
    """The largest share of wrong targets that is not excluded; confirmed ones are right."""
    rows = np.flatnonzero(~problem.confirmed)
    if not len(rows):
        return 0.0
    seen = problem.u[rows], best.predicted[rows], best.spread[rows]
    return residuals.most(*seen, hidden, problem.count[rows]) * len(rows) / len(problem.u)


def _remarks(problem: _Problem, best: _Round, doubted: Mask, report: dict[str, Any]) -> dict[str, str]:
    """What speaks against trusting the estimate, by name."""
    found = {}
    if best.settled.undecided:
        found["undecided"] = residuals.UNDECIDED
    if gathered := _gathered(problem, doubted):
        found["gathered"] = (
            f"{gathered:,} targets look wrong where most like them do: it may be a rare kind of sample that is right "
            "and has not been learned; look at them first"
        )
    if outside := _outside(problem, best):
        found["outside"] = (
            f"{outside:,} targets lie far outside and are predicted there, but less than half as far out: a long tail "
            "or a rare kind of sample was not learned when targets were judged; what is right in it may look wrong"
        )
    if not report["information"] > 3 * report["information_standard_error"]:
        found["independent"] = (
            "the features say nothing of the targets: held-out ones are predicted no better than by their median, so "
            "that only targets far from all others can look wrong"
        )
    return found


def _outside(problem: _Problem, best: _Round) -> int:
    """How many targets lie beyond the cut and are predicted far out, too, but less than half as far; 0: hardly any.

    Of a wrong target the features do not know that it is far out.
    """
    far = (np.abs(problem.u) > _CUT) & (np.sign(problem.u) * best.predicted > _CUT / 2)
    found = int((far & (np.abs(best.predicted) < np.abs(problem.u) / 2)).sum())
    return found if found >= max(_FEW_OUTSIDE, _OUTSIDE * len(far)) else 0


def _gathered(problem: _Problem, doubted: Mask) -> int:
    """How many targets look wrong where most samples look wrong, by trees that did not see them; 0: hardly any.

    Errors come here and there. A rare kind of sample that the heads have not learned looks wrong as a whole.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    if doubted.sum() < _FEW_DOUBTED or doubted.all():
        return 0
    near = np.zeros(len(doubted))
    for number in range(problem.folds):
        out = problem.fold == number
        if doubted[~out].any():
            trees = ExtraTreesClassifier(30, min_samples_leaf=3, max_features=None, random_state=problem.seed, n_jobs=1)
            near[out] = trees.fit(problem.x[~out], doubted[~out]).predict_proba(problem.x[out])[:, -1]
    found = int((near[doubted] > 0.5).sum())
    return found if found >= max(_FEW_DOUBTED, _GATHERED * doubted.sum()) else 0


def _model(problem: _Problem, best: _Round) -> Any:
    everything = np.arange(len(problem.u))
    if problem.own is not None:
        model, samples = problem.own
        target = problem.outward(problem.target(cut=best.cut))
        chosen = own.take(samples, problem.rows)
        return number_heads.fit_own(model, chosen, target, best.share, problem.count, part=own.LAST)
    target = problem.target(cut=best.cut)
    heads = [
        replace(problem.head(kind, everything, target, best.share), weight=share)
        for kind, share in best.pool.items()
        if share > 0
    ]
    kept = problem.given[best.settled.clean_prob >= 0.5] if best.settled.rate > NOTHING else problem.given
    low, high = (float(kept.min()), float(kept.max())) if len(kept) else (-math.inf, math.inf)
    room = 0.5 * (high - low)
    return NumberModel(problem.scale, heads, problem.centre, problem.unit, low - room, high + room, log=problem.log)


def _predict(model: Any, data: Numbers, problem: _Problem, rows: Labels) -> Floats:
    if problem.own is not None:
        return number_heads.predict_own(model, own.take(problem.own.samples, rows))
    found: Floats = model.of(data.x[rows])
    return found


def _centre(y: Floats) -> tuple[float, float]:
    """Median, and a deviation that a few wrong targets do not stretch."""
    low, middle, high = np.quantile(y, [0.25, 0.5, 0.75])
    return float(middle), float((high - low) / 1.349 or y.std())


def _grown(residual: Floats, far: float) -> Floats:
    """Absolute errors, from ``far`` on growing as their logarithm."""
    size = np.abs(residual)
    return np.where(size > far, far * (1 + np.log(np.maximum(size, far) / far)), size)


def _loss(residual: Floats, count: Floats) -> float:
    """Mean absolute error of the rows that are known, of which far ones count by their logarithm."""
    known = np.isfinite(residual)
    far = _MOST * max(float(np.median(np.abs(residual[known]))), TINY)
    return float(np.average(_grown(residual[known], far), weights=count[known]))


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
    cap = _MOST * max(float(np.median(np.abs(problem.u))), TINY)
    gain = np.abs(problem.u).clip(max=cap) - np.abs(problem.u - best.predicted).clip(max=cap)
    return float(gain.mean()), float(gain.std() / len(gain) ** 0.5)


def _r2(problem: _Problem, best: _Round) -> float:
    """Of held-out targets, each weighted with p(clean)."""
    share = best.settled.clean_prob * problem.count
    middle = np.average(problem.u, weights=share)
    left = np.average((problem.u - best.predicted) ** 2, weights=share)
    return float(1 - left / max(np.average((problem.u - middle) ** 2, weights=share), 1e-12))
