"""Rules that tell clean labels from wrong ones: losses ``[N]`` in, probability of being clean ``[N]`` out."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_BINS = 8192  # of the losses scaled to [0, 1]: 1/180 of the smallest standard deviation that the floor allows
_CHUNK = 1 << 19  # losses handled at a time, so that millions need only a few MB more
_STEPS = 10  # the most iterations of EM
_GAIN = 1e-2  # of the mean log-likelihood, below which the Gaussian mixture is not fitted further
_FLOOR = 5e-4  # added to its variances
_LOG_2PI = math.log(2 * math.pi)
_CLIP = 1e-4  # Beta densities are fitted on [_CLIP, 1 - _CLIP], because they may be infinite at 0 and 1


class Division(NamedTuple):
    """The answer of a rule.

    Attributes:
        clean_prob: ``[N]`` float32 in [0, 1], always finite.
        separates: whether the losses really show two groups; when False the probabilities are a guess.
    """

    clean_prob: Tensor
    separates: bool


def unit_range(loss: Tensor) -> Tensor:
    """Losses scaled so that the finite ones span [0, 1] (all 0 when they are equal); NaN and infinities stay."""
    finite = loss[torch.isfinite(loss)]
    if not len(finite):
        return loss
    low, high = torch.aminmax(finite)
    return (loss - low) / (high - low).clamp_min(torch.finfo(loss.dtype).tiny)


class Restored(NamedTuple):
    """Probabilities in which no class is lost.

    Attributes:
        clean_prob: ``[N]``.
        classes: those that had no clean label before.
    """

    clean_prob: Tensor
    classes: list[int]


def restore_classes(clean_prob: Tensor, loss: Tensor, given: Tensor, classes: int, threshold: float) -> Restored:
    """Divide a class that one mixture for all would lose by a mixture of its own.

    When a class is harder than the others, all its losses can lie in the high component; it would then never be
    learned again. Its probabilities are replaced by those of a mixture on its own losses; if these too leave nothing
    above ``threshold``, its likeliest tenth (at least one) is taken as clean. Nothing is done when no label of any
    class is above.

    Args:
        clean_prob: ``[N]`` in [0, 1].
        loss: ``[N]``, what the probabilities came from.
        given: labels ``[N]`` in ``0 .. classes - 1``.
        classes: number of classes.
        threshold: a label counts as clean above it, in [0, 1).
    """
    clean = clean_prob > threshold
    if not bool(clean.any()):
        return Restored(clean_prob, [])
    kept = torch.bincount(given[clean], minlength=classes)
    asked = torch.bincount(given, minlength=classes)
    lost = [int(c) for c in ((kept == 0) & (asked > 0)).nonzero().flatten()]
    restored = clean_prob.clone()
    for c in lost:
        members = (given == c).nonzero().flatten()
        own = gmm(loss[members]).clean_prob
        if not bool((own > threshold).any()):
            own[own.argsort(descending=True, stable=True)[: -(-len(members) // 10)]] = 1.0
        restored[members] = own
    return Restored(restored, lost)


def class_wise(evidence: Tensor, given: Tensor, classes: int, least: int = 10) -> Division:
    """A mixture of its own for every class, so that a class that is harder than the others is not called wrong.

    A class of fewer than ``least`` labels is divided by the mixture over all. Note what a mixture must do to a class
    without wrong labels: it finds two groups all the same.

    Args:
        evidence: ``[N]``, larger for labels that are more likely wrong: losses, or shares of wrong events.
        given: labels ``[N]`` in ``0 .. classes - 1``.
        classes: number of classes.
        least: labels that a mixture needs.

    Returns:
        Probabilities ``[N]``; ``separates`` is what holds for most labels.
    """
    whole = gmm(evidence)
    clean_prob = whole.clean_prob.clone()
    separated = 0
    for c in range(classes):
        members = (given == c).nonzero().flatten()
        own = gmm(evidence[members]) if len(members) >= least else whole
        if own is not whole:
            clean_prob[members] = own.clean_prob
        separated += len(members) * own.separates
    return Division(clean_prob, 2 * separated > len(evidence))


def event_rate(counts: Tensor, epochs: Tensor | int) -> Tensor:
    """Share ``[N]`` of epochs in which the prediction was not the given label; 0 where there was no epoch."""
    return counts / torch.as_tensor(epochs, device=counts.device).clamp_min(1)


def wrong_events(counts: Tensor, epochs: Tensor | int) -> Division:
    """The mixture on how often the prediction was not the given label, instead of on the last loss.

    The loss of a wrong label falls once the network has memorised it; a count over epochs remembers that the label was
    learned late. (Counts over all of training are the "wrong events" of later work on pre-trained networks.)

    Args:
        counts: ``[N]``, epochs in which the most likely class was not the given label.
        epochs: how many were looked at: one number, or ``[N]``.
    """
    return gmm(event_rate(counts, epochs))


class Mixture(NamedTuple):
    """Two components in one dimension.

    Attributes:
        weight: ``[2]`` float64, shares that sum to 1.
        mean: ``[2]``, ascending.
        variance: ``[2]``.
    """

    weight: Tensor
    mean: Tensor
    variance: Tensor


class _Histogram(NamedTuple):
    """Losses in [0, 1] summed up per occupied bin: what EM needs, whatever N is."""

    size: Tensor  # [K] float64, how many
    mean: Tensor  # [K], the exact mean of the losses in the bin
    square: Tensor  # [K], the exact mean of their squares


def gmm(loss: Tensor) -> Division:
    """Posterior of the low-mean component of a two-component Gaussian mixture (DivideMix, section 3.1).

    Losses are scaled to [0, 1] by their range and fitted by expectation-maximisation with the paper's settings,
    starting from the best split into two clusters: at most 10 iterations, which stop when the mean log-likelihood
    gains less than 0.01. The work is done on a fine histogram with exact moments per bin, so that 14 million losses
    take well under a second; against scikit-learn's ``GaussianMixture`` from the same start the posteriors agree
    within 5e-4.

    Never fails: a loss of NaN or +inf gets probability 0 and is left out of the fit, -inf gets 1; when all losses
    are equal or fewer than 3 are finite, nothing is suspicious and every finite one gets 1. If one component
    swallows nearly everything (a huge outlier does that to the range), the fit is repeated on losses clipped to
    their bulk.

    Args:
        loss: ``[N]``, any float type and device.
    """
    return _divide(loss, _GAUSSIAN)


def mixture(loss: Tensor) -> Mixture | None:
    """The mixture that ``gmm`` fits to losses ``[N]``, in the units of the loss: to be drawn over their histogram.

    None where ``gmm`` fits none: fewer than 3 finite losses, or all equal.
    """
    loss = loss.detach().float()
    fitted = _fit(loss[torch.isfinite(loss)], _GAUSSIAN)
    if fitted is None:
        return None
    low, width = fitted.low, fitted.high - fitted.low
    weight, mean, variance = fitted.mixture
    return Mixture(weight, low + width * mean, width**2 * variance)


def bmm(loss: Tensor, trim: float = 0.0) -> Division:
    """Posterior of the low-mean component of a two-component Beta mixture (Arazo et al. 2019, section 3.1).

    Losses are scaled to [0, 1] by their range, clipped to [1e-4, 1 - 1e-4] and fitted by 10 rounds of
    expectation-maximisation, whose M-step matches the weighted mean and variance of each component:
    ``a = m (m (1 - m) / v - 1)``, ``b = a (1 - m) / m``. A Beta density can be skewed, which losses near 0 are; a
    Gaussian cannot. The start and the histogram are those of ``gmm``.

    Unlike the bare posterior, the answer never rises with the loss: where the ratio of the densities turns round
    (beyond the mode of the narrower component), it keeps the value of the turning point.

    Never fails, as ``gmm``; when the low component dies out, nothing is suspicious and every finite loss gets 1.

    Args:
        loss: ``[N]``, any float type and device.
        trim: share of the smallest and of the largest losses that scale and fit leave out, below .5; they are judged
            as the nearest that is fitted (.05 in the published code).
    """
    return _divide(loss, _BETA, trim)


class _Family(NamedTuple):
    """What tells a Gaussian mixture from a Beta mixture."""

    maximise: Callable[[_Histogram], Mixture]
    posterior: Callable[[Tensor, float, float, Mixture], Tensor]


class _Fitted(NamedTuple):
    low: float  # of the losses that are 0 on the scaled axis
    high: float
    histogram: _Histogram
    mixture: Mixture  # on the scaled axis


def _divide(loss: Tensor, family: _Family, trim: float = 0.0) -> Division:
    loss = loss.detach().float()
    finite = torch.isfinite(loss)
    whole = bool(finite.all())
    some = loss if whole else loss[finite]
    fitted = _fit(_inner(some, trim), family)
    if fitted is None and trim:
        fitted = _fit(some, family)
    if fitted is None:
        prob, separates = torch.ones_like(some), False
    else:
        low, high, histogram, mixed = fitted
        prob, separates = family.posterior(some, low, high, mixed), _separates(histogram, mixed)
    if whole:
        return Division(prob, separates)
    clean_prob = (loss == -torch.inf).float()
    clean_prob[finite] = prob
    return Division(clean_prob, separates)


def _fit(loss: Tensor, family: _Family) -> _Fitted | None:
    if len(loss) < 3:
        return None
    low, high = (float(v) for v in torch.aminmax(loss))
    if not spread(low, high):
        return None
    histogram = _histogram(loss, low, high)
    mixed = family.maximise(histogram)
    if _swallowed(mixed, len(loss)):  # by what lies far out: once more, on losses clipped to their bulk
        bulk_low, bulk_high = _bulk(loss)
        if spread(bulk_low, bulk_high) and (bulk_low, bulk_high) != (low, high):
            low, high = bulk_low, bulk_high
            histogram = _histogram(loss, low, high)
            mixed = family.maximise(histogram)
    return _Fitted(low, high, histogram, mixed)


def _inner(loss: Tensor, trim: float) -> Tensor:
    """The losses between two percentiles."""
    if not trim or not len(loss):
        return loss
    low, high = np.percentile(loss.cpu().numpy(), (100 * trim, 100 - 100 * trim))
    return loss[(loss >= low) & (loss <= high)]


def spread(low: float, high: float) -> bool:
    """Whether the range is wider than rounding, so that scaling by it means something."""
    return high - low > 1e-6 * max(abs(low), abs(high), 1e-6)


def _scale(loss: Tensor, low: float, high: float) -> Tensor:
    # In two halves, because high - low overflows when the losses span all of float32.
    return ((loss * 0.5 - low * 0.5) / (high * 0.5 - low * 0.5)).clamp_(0, 1)


def _bulk(loss: Tensor) -> tuple[float, float]:
    """A robust range: the median and five times the distance to the 90th percentile, both ways."""
    sample = loss[:: max(1, len(loss) // 100_000)].cpu().double()
    low, middle, high = torch.quantile(sample, torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)).tolist()
    least, most = float(loss.min()), float(loss.max())
    return max(least, middle - 5 * (middle - low)), min(most, middle + 5 * (high - middle))


def _histogram(loss: Tensor, low: float, high: float) -> _Histogram:
    sums = torch.zeros(3, _BINS, dtype=torch.float64, device=loss.device)
    for part in torch.split(loss, _CHUNK):
        scaled = _scale(part, low, high)
        index = (scaled * (_BINS - 1)).to(torch.int64)
        value = scaled.double()
        sums[0] += torch.bincount(index, minlength=_BINS)
        sums[1] += torch.bincount(index, value, minlength=_BINS)
        sums[2] += torch.bincount(index, value.square_(), minlength=_BINS)
    count, first, second = sums.cpu()[:, sums[0].cpu() > 0]
    return _Histogram(count, first / count, second / count)


def _two_clusters(histogram: _Histogram) -> Tensor:
    """Membership ``[2, K]`` of the split with the least squared error: in one dimension every cut can be tried."""
    count = histogram.size.cumsum(0)
    total = (histogram.size * histogram.mean).cumsum(0)
    left, right = count[:-1], count[-1] - count[:-1]
    between = total[:-1].square() / left + (total[-1] - total[:-1]).square() / right
    cut = int(between.argmax()) + 1
    low = (torch.arange(len(count)) < cut).double()
    return torch.stack([low, 1 - low])


def _moments(histogram: _Histogram, membership: Tensor, floor: float) -> Mixture:
    """The M-step: weighted moments of each component."""
    weighted = membership * histogram.size
    size = weighted.sum(1) + 10 * torch.finfo(torch.float64).eps
    mean = (weighted @ histogram.mean) / size
    variance = (weighted @ histogram.square) / size - mean.square() + floor
    return Mixture(size / size.sum(), mean, variance)


def _log_density(mean: Tensor, square: Tensor, mixture: Mixture) -> Tensor:
    """Log of weight times density, ``[2, K]``, averaged over a bin through its exact second moment."""
    centre, variance = mixture.mean.unsqueeze(1), mixture.variance.unsqueeze(1)
    distance = (square - 2 * centre * mean + centre.square()) / variance
    return mixture.weight.log().unsqueeze(1) - 0.5 * (distance + variance.log() + _LOG_2PI)


def _maximise(
    histogram: _Histogram,
    *,
    tolerance: float,
    floor: float,
    clip: float = 0.0,
    log_density: Callable[[Tensor, Tensor, Mixture], Tensor] = _log_density,
) -> Mixture:
    if clip:
        mean = histogram.mean.clamp(clip, 1 - clip)
        histogram = _Histogram(histogram.size, mean, torch.maximum(histogram.square, mean.square()))
    if len(histogram.size) < 2:  # all in one bin: nothing to divide
        same = histogram.mean.expand(2)
        return Mixture(torch.tensor([1.0, 0.0]).double(), same, torch.full((2,), floor).double())
    mixture = _moments(histogram, _two_clusters(histogram), floor)
    share = histogram.size / histogram.size.sum()
    before = -math.inf
    for _ in range(_STEPS):
        joint = log_density(histogram.mean, histogram.square, mixture)
        evidence = torch.logsumexp(joint, 0)
        mixture = _moments(histogram, (joint - evidence).exp(), floor)
        now = float(share @ evidence)
        if abs(now - before) < tolerance:
            break
        before = now
    order = mixture.mean.argsort()
    return Mixture(mixture.weight[order], mixture.mean[order], mixture.variance[order])


def _posterior(loss: Tensor, low: float, high: float, mixture: Mixture) -> Tensor:
    """``1 / (1 + exp(difference of the two log densities))``, exact for every loss."""
    if float(mixture.weight.min()) <= 0:
        return torch.ones_like(loss)
    (w0, w1), (m0, m1), (v0, v1) = (field.tolist() for field in mixture)
    constant = math.log(w0) - math.log(w1) - 0.5 * (math.log(v0) - math.log(v1))
    clean_prob = torch.empty_like(loss)
    for part, out in zip(torch.split(loss, _CHUNK), torch.split(clean_prob, _CHUNK), strict=True):
        z = _scale(part, low, high)
        logit = (z - m1).square_().mul_(0.5 / v1).sub_((z - m0).square_().mul_(0.5 / v0)).add_(constant)
        torch.sigmoid(logit, out=out)
    return clean_prob


def _beta_parameters(mixture: Mixture) -> tuple[Tensor, Tensor]:
    """``a`` and ``b``, ``[2]`` each, of the Beta densities with these means and variances; within bounds."""
    mean = mixture.mean.clamp(_CLIP, 1 - _CLIP)
    size = (mean * (1 - mean) / mixture.variance - 1).clamp(1e-3, 1e3)  # a + b
    return size * mean, size * (1 - mean)


def _log_beta_density(mean: Tensor, square: Tensor, mixture: Mixture) -> Tensor:
    """Log of weight times Beta density, ``[2, K]``, at the mean of a bin (its square is of no use here)."""
    a, b = _beta_parameters(mixture)
    constant = mixture.weight.log() + torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)
    return torch.outer(a - 1, mean.log()) + torch.outer(b - 1, torch.log1p(-mean)) + constant.unsqueeze(1)


def _beta_posterior(loss: Tensor, low: float, high: float, mixture: Mixture) -> Tensor:
    """``sigmoid(constant + da log z + db log(1 - z))``, made to fall where it would rise again."""
    if float(mixture.weight[0]) * len(loss) < 2 or float(mixture.weight[1]) <= 0:
        return torch.ones_like(loss)
    a, b = _beta_parameters(mixture)
    norm = mixture.weight.log() + torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)
    constant, da, db = (float(value[0] - value[1]) for value in (norm, a, b))
    least, most = _CLIP, 1 - _CLIP
    if da * db > 0:  # the ratio of the densities turns at da / (da + db)
        turn = min(max(da / (da + db), least), most)
        least, most = (turn, most) if da > 0 else (least, turn)
    clean_prob = torch.empty_like(loss)
    for part, out in zip(torch.split(loss, _CHUNK), torch.split(clean_prob, _CHUNK), strict=True):
        z = _scale(part, low, high).clamp_(least, most)
        logit = torch.log(z).mul_(da).add_(torch.log1p(-z), alpha=db).add_(constant)
        torch.sigmoid(logit, out=out)
    return clean_prob


_GAUSSIAN = _Family(partial(_maximise, tolerance=_GAIN, floor=_FLOOR), _posterior)
_BETA = _Family(
    partial(_maximise, tolerance=0.0, floor=1e-8, clip=_CLIP, log_density=_log_beta_density), _beta_posterior
)


def _swallowed(mixture: Mixture, n: int) -> bool:
    return float(mixture.weight.min()) * n < max(2.0, 1e-3 * n)


def _separates(histogram: _Histogram, mixture: Mixture) -> bool:
    """Whether the histogram has a valley between two peaks that chance would not dig.

    In bins of half the narrower component's width, some bin between the two means must lie below the highest bin
    on either side by three times the Poisson error, and by a fifth of the lower peak. A single hump, or one with a
    long tail, has no such bin; nor have groups that overlap into one hump.
    """
    n = float(histogram.size.sum())
    if _swallowed(mixture, int(n)) or n < 10:
        return False
    narrow = float(mixture.variance.min().sqrt())
    bins = int(min(max(4.0, 2 / narrow), 60.0, max(4.0, 2 * math.sqrt(n))))
    index = (histogram.mean * bins).long().clamp_max(bins - 1)
    height = torch.zeros(bins, dtype=torch.float64).index_add_(0, index, histogram.size)
    left = height.cummax(0).values
    right = height.flip(0).cummax(0).values.flip(0)
    peak = torch.minimum(left, right)
    depth = torch.minimum((peak - height) - 3 * torch.sqrt(peak + height), (peak - height) - 0.2 * peak)
    near, far = (mixture.mean * bins).long().clamp(0, bins - 1).tolist()
    return bool((depth[near : far + 1] > 0).any())
