"""Rules that tell clean labels from wrong ones: losses ``[N]`` in, probability of being clean ``[N]`` out."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_BINS = 8192  # of the losses scaled to [0, 1]: 1/180 of the smallest standard deviation that the floor allows
_CHUNK = 1 << 19  # losses handled at a time, so that millions need only a few MB more
_LOG_2PI = math.log(2 * math.pi)


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


class Mixture(NamedTuple):
    """Two Gaussians in one dimension.

    Attributes:
        weight: ``[2]`` float64, shares that sum to 1.
        mean: ``[2]``, ascending.
        variance: ``[2]``.
    """

    weight: Tensor
    mean: Tensor
    variance: Tensor


class _Fitted(NamedTuple):
    low: float  # of the losses that are 0 on the scaled axis
    high: float
    histogram: _Histogram
    mixture: Mixture  # on the scaled axis


class _Histogram(NamedTuple):
    """Losses in [0, 1] summed up per occupied bin: what EM needs, whatever N is."""

    size: Tensor  # [K] float64, how many
    mean: Tensor  # [K], the exact mean of the losses in the bin
    square: Tensor  # [K], the exact mean of their squares


def gmm(
    loss: Tensor,
    means: Tensor | None = None,
    *,
    steps: int = 10,
    tolerance: float = 1e-2,
    floor: float = 5e-4,
) -> Division:
    """Posterior of the low-mean component of a two-component Gaussian mixture (DivideMix, section 3.1).

    Losses are scaled to [0, 1] by their range and fitted by expectation-maximisation with the paper's settings,
    starting from the best split into two clusters. The work is done on a fine histogram with exact moments per
    bin, so that 14 million losses take well under a second; against scikit-learn's ``GaussianMixture`` from the
    same start the posteriors agree within 5e-4.

    Never fails: a loss of NaN or +inf gets probability 0 and is left out of the fit, -inf gets 1; when all losses
    are equal or fewer than 3 are finite, nothing is suspicious and every finite one gets 1. If one component
    swallows nearly everything (a huge outlier does that to the range), the fit is repeated on losses clipped to
    their bulk.

    Args:
        loss: ``[N]``, any float type and device.
        means: two initial means on the scaled axis [0, 1]; None: those of the two clusters.
        steps: most EM iterations.
        tolerance: stop when the mean log-likelihood gains less.
        floor: added to every variance.
    """
    loss = loss.detach().float()
    finite = torch.isfinite(loss)
    if bool(finite.all()):
        prob, separates = _fit(loss, means, steps, tolerance, floor)
        return Division(prob, separates)
    clean_prob = (loss == -torch.inf).float()
    prob, separates = _fit(loss[finite], means, steps, tolerance, floor)
    clean_prob[finite] = prob
    return Division(clean_prob, separates)


def _fit(loss: Tensor, means: Tensor | None, steps: int, tolerance: float, floor: float) -> tuple[Tensor, bool]:
    fitted = _solve(loss, means, steps, tolerance, floor)
    if fitted is None:
        return torch.ones_like(loss), False
    low, high, histogram, mixture = fitted
    return _posterior(loss, low, high, mixture), _separates(histogram, mixture)


def mixture(loss: Tensor, *, steps: int = 10, tolerance: float = 1e-2, floor: float = 5e-4) -> Mixture | None:
    """The mixture that ``gmm`` fits to losses ``[N]``, in the units of the loss: to be drawn over their histogram.

    None where ``gmm`` fits none: fewer than 3 finite losses, or all equal. The arguments are those of ``gmm``.
    """
    loss = loss.detach().float()
    fitted = _solve(loss[torch.isfinite(loss)], None, steps, tolerance, floor)
    if fitted is None:
        return None
    low, width = fitted.low, fitted.high - fitted.low
    weight, mean, variance = fitted.mixture
    return Mixture(weight, low + width * mean, width**2 * variance)


def _solve(loss: Tensor, means: Tensor | None, steps: int, tolerance: float, floor: float) -> _Fitted | None:
    if len(loss) < 3:
        return None
    low, high = (float(v) for v in torch.aminmax(loss))
    if not _spread(low, high):
        return None
    histogram = _histogram(loss, low, high)
    mixture = _maximise(histogram, means, steps, tolerance, floor)
    if _swallowed(mixture, len(loss)) and means is None:
        bulk_low, bulk_high = _bulk(loss)
        if _spread(bulk_low, bulk_high) and (bulk_low, bulk_high) != (low, high):
            low, high = bulk_low, bulk_high
            histogram = _histogram(loss, low, high)
            mixture = _maximise(histogram, None, steps, tolerance, floor)
    return _Fitted(low, high, histogram, mixture)


def _spread(low: float, high: float) -> bool:
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


def _maximise(histogram: _Histogram, means: Tensor | None, steps: int, tolerance: float, floor: float) -> Mixture:
    if len(histogram.size) < 2:  # all in one bin: nothing to divide
        same = histogram.mean.expand(2)
        return Mixture(torch.tensor([1.0, 0.0]).double(), same, torch.full((2,), floor).double())
    mixture = _moments(histogram, _two_clusters(histogram), floor)
    if means is not None:
        mixture = mixture._replace(mean=means.detach().cpu().double())
    share = histogram.size / histogram.size.sum()
    before = -math.inf
    for _ in range(steps):
        joint = _log_density(histogram.mean, histogram.square, mixture)
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
