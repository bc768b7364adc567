"""How much of the labels is certainly wrong, and how much p(clean) may therefore call wrong.

The confident joint counts a classifier's own doubt as noise, and so does p(clean) of linear heads and of probabilities
from elsewhere: of 2,000 photos whose labels are all right they call 4 % wrong. The lower estimate of ``noise.rates``
counts no such doubt. As long as it proves nothing, p(clean) calls no more wrong than the ``ceiling``. Where noise is
proven p(clean) stands as it is, for noise of people does follow the doubt of classifiers. That takes less by
probabilities from elsewhere: they are of better classifiers at times, whose doubt is mostly noise. Ours; set with
photos of CIFAR-10, tables and labels of people in sight (``benchmarks/flags.py``, ``benchmarks/flags_of_probs.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from codivide.core.types import Floats, Labels
from codivide.noise.confidence import given_log_prob
from codivide.noise.rates import JOINT, LATENT, MIXTURE, fitted_rows, mixture_rate, rates

NINETY = 1.645  # standard deviations of a two-sided 90 % interval
MUCH = 0.02  # a rate that is proven, from which on p(clean) of heads is not bounded
FEWEST = 0.005  # so much may be wrong in any set; that much proven, p(clean) from elsewhere is not bounded
DOUBT = (0.2, 0.4)  # between the two estimates, from which on the lower one counts less, and not at all
_RATED = 5000  # labels that the estimates rest on, or all
_MISTAKEN = 0.25  # of what lies between the two estimates: so much of it does the lower one take for noise at times


def certain(estimates: Mapping[str, float], samples: int) -> float:
    """Share of wrong labels that is certainly there, in [0, 1].

    It is the lower estimate, which counts no error of a classifier, or the share of the high losses where these are a
    group of their own, but no more than the confident joint, which counts errors too; less 1.645 standard errors of a
    share of so many samples.

    Args:
        estimates: of the rate by name, see ``rates``.
        samples: that they rest on, at least 1.

    Example:
        >>> round(certain({"latent noise": 0.05, "confident joint": 0.09}, 2000), 3)
        0.042
    """
    found = _lower(estimates)
    return max(found - NINETY * float(np.sqrt(found * (1 - found) / samples)), 0.0)


def ceiling(estimates: Mapping[str, float], samples: int, much: float = MUCH) -> float:
    """The most of the labels that p(clean) may call wrong in the mean, in [0, 1].

    With l the lower estimate (as in ``certain``) and u the confident joint, ``l + share (u - l)``, but at least
    ``FEWEST``, and 1 where the share is 1: there nothing is bounded. The share is ``proven / much``. The lower
    estimate rests on a model of doubt that is never quite right, the less so the more doubt there is. So what is proven
    is what is ``certain`` less a quarter of u - l. Where much is doubt, such as copies with two labels, the lower
    estimate says little: the share is at least ``(u - l - 0.2) / 0.2``.

    Args:
        estimates: of the rate by name, see ``rates``.
        samples: that they rest on, at least 1.
        much: a rate that is proven, from which on nothing is bounded.

    Example:
        >>> ceiling({"latent noise": 0.01, "confident joint": 0.05}, 2000)
        0.01
        >>> round(ceiling({"latent noise": 0.03, "confident joint": 0.11}, 2000), 3)
        0.045
        >>> ceiling({"latent noise": 0.1, "confident joint": 0.12}, 2000)
        1.0
    """
    lower, upper = _lower(estimates), estimates[JOINT]
    proven = max(certain(estimates, samples) - _MISTAKEN * (upper - lower), 0.0)
    share = max(proven / much, (upper - lower - DOUBT[0]) / (DOUBT[1] - DOUBT[0]))
    return 1.0 if share >= 1 else max(lower + share * (upper - lower), FEWEST)


class Found(NamedTuple):
    """What held-out probabilities say of the noise.

    Attributes:
        estimates: of the rate by name, see ``rates``; with that of the mixture on losses where these show two groups.
        rate: that of noise reports, without the mixture.
        samples: that both rest on.
    """

    estimates: Mapping[str, float]
    rate: float
    samples: int

    def ceiling(self, much: float = MUCH) -> float:
        """The most of the labels that p(clean) may call wrong, see ``ceiling``."""
        return ceiling(self.estimates, self.samples, much)


def look(probs: Floats, given: Labels) -> Found:
    """The estimates by probabilities of classifiers that have not seen the labels, of at most 5,000 of these.

    Args:
        probs: ``[N, C]`` float64; rows sum to 1.
        given: labels ``[N]`` in ``0 .. C - 1``, each of which occurs; at least two classes.
    """
    rows = fitted_rows(len(given), probs.shape[1], _RATED, 0)
    own, labels = probs[rows], given[rows]
    found, grouped = rates(own, labels, None), mixture_rate(-given_log_prob(own, labels))
    estimates = found.estimates if grouped is None else found.estimates | {MIXTURE: grouped}
    return Found(estimates, found.rate, len(rows))


def _lower(estimates: Mapping[str, float]) -> float:
    return min(max(estimates[name] for name in (LATENT, MIXTURE) if name in estimates), estimates[JOINT])
