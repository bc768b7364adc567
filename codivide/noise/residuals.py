"""Which numbers look wrong: a mixture of right and wrong targets, from what was predicted of each without seeing it.

With ``r = y - f`` and ``s`` the usual size of a residual there, a right target has the density
``t_v(r / (c s)) / (c s)`` (Student's t, whose tails ``v`` are fitted). A wrong one comes from one of three places:
another sample's target (the density of all targets, without its own), anywhere in their range, or around the prediction
but much wider. Shares and widths are fitted by expectation-maximisation; the posterior of the first part is p(clean). A
wrong target that comes to lie where a right one could be cannot be told from it, and counts as what it may be.

``v`` is the one of greatest likelihood. Where a model without any wrong target explains the residuals as well (by the
Bayesian information criterion, Schwarz 1978), nothing speaks for wrong targets: their share is then no more than
``NOTHING``. The same where as many would be wrong as right: zeros among measured values are no errors.

How many may be wrong at most is another question (``most``): the profile likelihood of their share, which says what the
residuals exclude (Venzon and Moolgavkar, Applied Statistics 1988). Predictions that were learned of wrong targets are
shrunk towards their mean, of targets of other rows as far as these are many; so there the right targets may lie around
predictions that are stretched, at most by 1/(1 - share). The combination is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, stdtr
from scipy.stats import t as student

from codivide.core.types import Floats

TAILS = (2.5, 4.0, 8.0, 30.0)
NOTHING = 0.005  # share of wrong targets where nothing speaks for any
MOST_WRONG = 0.5
UNDECIDED = (
    "as many targets would be wrong as right, so that nothing tells which is which; only targets far from all others "
    "can look wrong"
)
_MOST_TOLD = 0.49  # from which on the share of wrong targets is only where it may go no farther
INTERVAL = 0.9  # how likely a right target lies in the interval of its prediction
_ASSUMED = 10.0  # wrong targets that each of the three places is taken to have, besides those that are found
_WIDER = 3.0  # times a right residual that a wrong one is at least, where it lies around the prediction
_STEPS = 200
_SHARES = (0.0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, MOST_WRONG)  # at which the likelihood is profiled
_EXCLUDED = 1.645**2  # twice the log-likelihood that a share must lack: an interval of 90 %
_PROFILED = 5000  # targets by which it is profiled, or all
_BLIND = 0.75  # share of wrong targets that would look right, from which on no share is excluded
_BINS = 1024
_TINY = 1e-300


class Settled(NamedTuple):
    """A fitted mixture.

    Attributes:
        clean_prob: ``[N]`` in [0, 1].
        rate: share of wrong targets, in [0, 1].
        tails: ``v``.
        factor: ``c``.
        log_likelihood: mean over the targets, of the density in their own unit.
        evidence: ``[N]``, log of how much likelier a target is right than wrong; the order of p(clean).
        undecided: whether as many would be wrong as right, so that nothing tells which is which; the share of wrong
            ones is then no more than ``NOTHING``.
    """

    clean_prob: Floats
    rate: float
    tails: float
    factor: float
    log_likelihood: float
    evidence: Floats
    undecided: bool = False


def settle(y: Floats, predicted: Floats, spread: Floats, weight: Floats | None = None) -> Settled:
    """Fit the mixture.

    Args:
        y: targets ``[N]``, finite.
        predicted: ``[N]``, each by a model that did not see that target.
        spread: ``[N]``, positive: the usual size of a residual there (a median of ``|r|`` or alike).
        weight: how much each counts ``[N]``; None: all alike.
    """
    seen = _Seen.of(y, predicted, spread, weight)
    best = max((_fit(seen, tails) for tails in TAILS), key=lambda one: one.log_likelihood)
    plain = max(_plain(y - predicted, spread, seen.weight, tails) for tails in TAILS)
    gain = (best.log_likelihood - plain) * len(y)
    if gain > 2 * np.log(len(y)):  # four more parameters, at half a log(N) each
        return best if best.rate < _MOST_TOLD else _without_noise(best)._replace(undecided=True)
    return _without_noise(best)


def suggested_prob(y: Floats, predicted: Floats, spread: Floats, settled: Settled) -> Floats:
    """How likely the right target, where the given one is wrong, is nearer to the prediction than to the given one."""
    half = np.abs(y - predicted) / (2 * spread * settled.factor)
    found: Floats = stdtr(settled.tails, half)
    return found


def reach(settled: Settled, share: float) -> float:
    """How many spreads a right target is away from its prediction at most, with probability ``share``."""
    return float(student.ppf(0.5 + share / 2, settled.tails)) * settled.factor


def hidden(y: Floats, predicted: Floats, spread: Floats, settled: Settled) -> float:
    """The share of wrong targets that would look right: of targets of other rows, drawn by a fixed seed."""
    other = y[np.random.default_rng(0).permutation(len(y))]
    away = np.abs(other - predicted) / spread
    return float((away < reach(settled, INTERVAL)).mean())


def most(y: Floats, predicted: Floats, spread: Floats, hidden: float, weight: Floats | None = None) -> float:
    """The largest share of wrong targets, up to ``MOST_WRONG``, that the residuals do not exclude at 90 %.

    Args:
        y: and the next two as for ``settle``.
        predicted: ``[N]``.
        spread: ``[N]``.
        hidden: see there. Where nearly all wrong targets would look right, it rests on the form of the residuals alone,
            which nobody knows, and no share is excluded.
        weight: as for ``settle``.
    """
    if hidden > _BLIND:
        return MOST_WRONG
    rows = np.arange(len(y))
    if len(y) > _PROFILED:
        rows = np.random.default_rng(0).choice(len(y), _PROFILED, replace=False)
    seen = _Seen.of(y[rows], predicted[rows], spread[rows], None if weight is None else weight[rows])
    logs = np.array([max(_fit(seen, tails, share).log_likelihood for tails in TAILS) for share in _SHARES])
    lacking = 2 * len(rows) * (logs.max() - logs)
    last = int(np.flatnonzero(lacking <= _EXCLUDED)[-1])
    if last == len(_SHARES) - 1:
        return MOST_WRONG
    return float(np.interp(_EXCLUDED, lacking[last : last + 2], _SHARES[last : last + 2]))


@dataclass(frozen=True)
class _Elsewhere:
    """The densities ``[N]`` of wrong targets that know nothing of their sample."""

    drawn: Floats
    anywhere: Floats

    @classmethod
    def of(cls, y: Floats) -> _Elsewhere:
        low, high = float(y.min()), float(y.max())
        width = (high - low) or 1.0
        quartiles = np.quantile(y, [0.25, 0.75])
        usual = min(y.std(), (quartiles[1] - quartiles[0]) / 1.349) or y.std() or 1.0
        kernel = max(usual * len(y) ** -0.2, width / 1e6)
        anywhere = np.full(len(y), 1 / (1.1 * width))
        return cls(np.maximum(_density(y, kernel), 1e-3 * anywhere), anywhere)


class _Seen(NamedTuple):
    """Targets ``[N]``, what was predicted of them, the usual sizes of residuals, and how much each target counts."""

    y: Floats
    predicted: Floats
    spread: Floats
    weight: Floats
    elsewhere: _Elsewhere

    @classmethod
    def of(cls, y: Floats, predicted: Floats, spread: Floats, weight: Floats | None) -> _Seen:
        count = np.ones(len(y)) if weight is None else weight * (len(y) / weight.sum())
        return cls(y, predicted, spread, count, _Elsewhere.of(y))


def _density(y: Floats, kernel: float) -> Floats:
    """Density of the other targets at each ``[N]``, by a normal kernel on a histogram."""
    ranks = np.clip(
        y, *np.quantile(y, [0.001, 0.999]) + np.array([-6, 6]) * kernel
    )  # what lies far out has a bin of its own
    edges = np.linspace(ranks.min() - 4 * kernel, ranks.max() + 4 * kernel, _BINS + 1)
    step = edges[1] - edges[0]
    counts = np.histogram(ranks, edges)[0].astype(np.float64)
    reach_ = max(1, min(_BINS, int(4 * kernel / step)))
    shape = np.exp(-0.5 * (np.arange(-reach_, reach_ + 1) * step / max(kernel, step)) ** 2)
    shape /= shape.sum()
    smooth = np.convolve(counts, shape, mode="same")
    place = np.clip(((ranks - edges[0]) / step).astype(int), 0, _BINS - 1)
    own = shape[reach_]
    found: Floats = np.maximum(smooth[place] - own, 0) / (max(len(y) - 1, 1) * step)
    return found


def _right(residual: Floats, spread: Floats, tails: float, factor: float) -> Floats:
    """Student's density; SciPy's, which checks its arguments, takes several times as long."""
    scale = spread * factor
    height = np.exp(gammaln((tails + 1) / 2) - gammaln(tails / 2)) / np.sqrt(tails * np.pi)
    found: Floats = height * (1 + (residual / scale) ** 2 / tails) ** (-(tails + 1) / 2) / scale
    return found


def _scale(residual: Floats, spread: Floats, share: Floats, tails: float, factor: float) -> float:
    """One step towards the factor of a t of these tails under weights ``[N]`` (Lange, Little and Taylor 1989)."""
    z = (residual / spread) ** 2
    pull = (tails + 1) / (tails + z / factor**2)
    return float(np.sqrt((share * pull * z).sum() / max(share.sum(), 1e-9)))


def _plain(residual: Floats, spread: Floats, count: Floats, tails: float) -> float:
    """Mean log-likelihood where no target is wrong."""
    factor = 1.5
    for _ in range(_STEPS):
        updated = max(_scale(residual, spread, count, tails, factor), 1e-6)
        done = abs(updated - factor) < 1e-5 * factor
        factor = updated
        if done:
            break
    logs = np.log(np.maximum(_right(residual, spread, tails, factor), _TINY))
    return float((logs * count).sum() / count.sum())


def _fit(seen: _Seen, tails: float, rate: float | None = None) -> Settled:
    """The mixture of these tails; with a share of wrong targets that is given, predictions may be stretched."""
    y, predicted, spread, count, elsewhere = seen
    far = residual = y - predicted
    middle = float(np.average(predicted, weights=count))
    factor, wide, given = 1.2, 6.0, rate
    rate = 0.09 if given is None else given
    shares, assumed = np.append(1 - rate, np.full(3, rate / 3)), _ASSUMED if given is None else _TINY
    before = -np.inf
    for _ in range(_STEPS):
        parts = np.stack(
            [
                _right(residual, spread, tails, factor),
                elsewhere.drawn,
                elsewhere.anywhere,
                _right(far, spread, 4.0, wide),
            ]
        )
        joint = shares[:, None] * parts + _TINY
        total = joint.sum(0)
        held = joint / total * count
        mean = float((np.log(total) * count).sum() / count.sum())
        if mean - before < 1e-7:
            break
        before = mean
        found = held.sum(1)
        if given is None:
            rate = float(np.clip(found[1:].sum() / found.sum(), 1e-6, MOST_WRONG))
        else:
            pull = held[0] * (tails + 1) / (tails * factor**2 + (residual / spread) ** 2) / spread**2
            residual = y - middle - _stretched(predicted - middle, y - middle, pull, 1 / (1 - rate))
        places = found[1:] + assumed
        shares = np.append(1 - rate, rate * places / places.sum())
        factor = max(_scale(residual, spread, held[0], tails, factor), 1e-6)
        wide = max(_scale(far, spread, held[3], 4.0, wide), _WIDER * factor)
    wrong = (shares[1:, None] * parts[1:]).sum(0)
    evidence = np.log(np.maximum(parts[0], _TINY)) - np.log(np.maximum(wrong / max(shares[1:].sum(), _TINY), _TINY))
    clean_prob = joint[0] / total
    return Settled(clean_prob, float(1 - shares[0]), tails, factor, mean, evidence)


def _stretched(predicted: Floats, y: Floats, weight: Floats, most_: float) -> Floats:
    """Predictions times what brings them nearest to the targets, at least 1; both are taken from their middle."""
    times = (weight * predicted * y).sum() / max((weight * predicted**2).sum(), _TINY)
    return predicted * float(np.clip(times, 1, most_))


def _without_noise(found: Settled) -> Settled:
    """The same evidence with hardly a wrong target, ``NOTHING`` at most."""
    rate = min(NOTHING, found.rate)
    odds = np.clip(found.evidence + np.log1p(-rate) - np.log(rate), -700, 700)
    return found._replace(clean_prob=1 / (1 + np.exp(-odds)), rate=rate)
