"""Several labels a row: what is said of each becomes what is said of the row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codivide.core.types import Floats, Labels
from codivide.noise.latent import latent_noise

LEAST = 1e-3  # that a probability is away from 0 and 1
_ASSUMED = 3.0  # right labels of each kind that are taken for sure
_DOUBTED = 0.2  # share of explained entropy at which a label's own noise counts half
_SURE = 2.0  # standard errors by which held-out labels must be predicted better than by how often they occur


def row_score(scores: Floats) -> Floats:
    """The probability that all labels of a row are right, where they are independent.

    Args:
        scores: p(clean) ``[N, K]``, K at least 1; NaN where a label cannot be judged, which is passed over.

    Returns:
        ``[N]``; NaN where no label can be judged.

    Examples:
        >>> row_score(np.array([[0.9, 0.5], [1.0, np.nan]])).tolist()
        [0.45, 1.0]
    """
    known = np.isfinite(scores)
    answer: Floats = np.where(known.any(1), np.where(known, scores, 1.0).prod(1), np.nan)
    return answer


@dataclass(frozen=True)
class Channels:
    """How each of K labels was given, as far as it can be told.

    The labels went through the same hands. What a label shows of its own noise counts as far as it can be predicted
    (``told``, the share of its entropy that held-out predictions explain); for the rest all labels speak together, and
    nobody can say which way, both ways alike.

    Attributes:
        transition: P(given | true) ``[K, 2, 2]``.
        prior: P(true = 1 | x) ``[K, N]``.
        share: ``[K]`` in [0, 1], of what is told by a label itself.
    """

    transition: Floats
    prior: Floats
    share: Floats

    @classmethod
    def of(cls, probs: Floats, given: Labels, weight: Floats | None = None) -> Channels:
        """From held-out probabilities ``[N, K]`` that each label was given, and what was given ``[N, K]``, 0 or 1.

        ``weight`` ``[N]`` says how much each row counts; None: all alike.
        """
        fits = [
            latent_noise(np.stack([1 - said, said], axis=1), own_given, weight=weight)
            for said, own_given in zip(probs.T, given.T, strict=True)
        ]
        told = np.array([_told(said, own_given, weight) for said, own_given in zip(probs.T, given.T, strict=True)])
        wrong = np.array([1 - np.trace(one.joint) / one.joint.sum() for one in fits])
        common = float(np.average(wrong, weights=told.clip(1e-3)))
        both = np.array([[1 - common, common], [common, 1 - common]])
        share = told / (told + _DOUBTED)
        own_share = [_smoothed(one.joint) for one in fits]
        transition = share[:, None, None] * np.stack(own_share) + (1 - share[:, None, None]) * both
        prior = [_true_prob(said, one) for said, one in zip(probs.T, transition, strict=True)]
        return cls(transition, np.stack(prior), share)

    def clean_prob(self, given: Labels) -> Floats:
        """p(clean) ``[N, K]``: ``P(true = given | given, x)``."""
        columns = []
        for own_given, transition, true in zip(given.T, self.transition, self.prior, strict=True):
            joint = np.stack([1 - true, true], axis=1) * transition[:, own_given].T
            columns.append(joint[np.arange(len(own_given)), own_given] / joint.sum(1).clip(1e-12))
        return np.stack(columns, axis=1)


def _smoothed(joint: Floats) -> Floats:
    """P(given | true) of counts; of a rare label, few of them must not say that most are wrong."""
    counts = joint + _ASSUMED * np.eye(2)
    found: Floats = counts / counts.sum(1, keepdims=True)
    return found


def _true_prob(probs: Floats, transition: Floats) -> Floats:
    """P(true = 1 | x) ``[N]`` where ``probs`` are those of the given label: ``p = (1 - q) t01 + q t11``."""
    low, high = transition[0, 1], transition[1, 1]
    found: Floats = ((probs - low) / max(high - low, 0.05)).clip(LEAST, 1 - LEAST)
    return found


def _told(probs: Floats, given: Labels, weight: Floats | None) -> float:
    """The share of a label's entropy that held-out predictions explain, in [0, 1]."""
    share = float(np.average(given, weights=weight))
    if not 0 < share < 1:  # all rows that count are alike
        return 0.0
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    return float(np.clip(1 + np.average(log_likelihood(probs, given), weights=weight) / entropy, 0, 1))


def log_likelihood(probs: Floats, given: Labels) -> Floats:
    """How likely what was given is, as logarithms: ``probs`` are of 1, ``given`` 0 or 1, of the same shape."""
    found: Floats = np.log(np.where(given == 1, probs, 1 - probs))
    return found


def predicted(probs: Floats, given: Labels, weight: Floats | None = None) -> bool:
    """Whether held-out labels ``[N]`` are predicted better than by how often they occur, rows weighed as said."""
    weight = np.ones(len(given)) if weight is None else weight
    share = np.average(given, weights=weight)
    gain = log_likelihood(probs, given) - log_likelihood(np.full(len(given), share.clip(1e-9, 1 - 1e-9)), given)
    return above_zero(gain, weight, errors=_SURE)


def above_zero(values: Floats, weight: Floats, *, errors: float) -> bool:
    """Whether the weighted mean of ``values`` ``[N]`` is more than some standard errors above 0.

    Rows are as many as the weights make of them, ``(sum w)^2 / sum w^2``, and no more than these sum up to: copies
    that count once in all are one row.
    """
    mean = np.average(values, weights=weight)
    deviation = np.average((values - mean) ** 2, weights=weight) ** 0.5
    count = min(weight.sum() ** 2 / (weight**2).sum(), weight.sum())
    return bool(mean > errors * deviation / count**0.5)
