"""How much of the labels is certainly wrong, and how much p(clean) may therefore call wrong.

Confident joint and p(clean) of linear heads count a classifier's own doubt as noise: of 2,000 photos whose labels are
all right they call 4 % wrong. The lower estimate of ``noise.rates`` counts no such doubt. Where it finds little,
p(clean) calls no more wrong than the ``ceiling``. Where much is certain it stands as it is, for noise of people does
follow the doubt of classifiers. Ours; set with photos of CIFAR-10 in sight (``benchmarks/flags.py``).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from codivide.noise.rates import JOINT, LATENT, MIXTURE

NINETY = 1.645  # standard deviations of a two-sided 90 % interval
MUCH = 0.04  # a rate that is proven, from which on p(clean) is not bounded
FEWEST = 0.005  # so much may be wrong in any set
DOUBT = (0.25, 0.5)  # between the two estimates, from which on the lower one counts less, and not at all
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


def ceiling(estimates: Mapping[str, float], samples: int) -> float:
    """The most of the labels that p(clean) may call wrong in the mean, in [0, 1].

    With l the lower estimate (as in ``certain``) and u the confident joint, ``l + share (u - l)``, but at least
    ``FEWEST``, and 1 where the share is 1: there nothing is bounded. The share is ``proven / MUCH``. The lower
    estimate rests on a model of doubt that is never quite right, the less so the more doubt there is. So what is proven
    is what is ``certain`` less a quarter of u - l. Where all is doubt, such as copies with two labels, the lower
    estimate says little: the share is at least ``(u - l - 0.25) / 0.25``.

    Args:
        estimates: of the rate by name, see ``rates``.
        samples: that they rest on, at least 1.

    Example:
        >>> ceiling({"latent noise": 0.01, "confident joint": 0.05}, 2000)
        0.01
        >>> round(ceiling({"latent noise": 0.03, "confident joint": 0.05}, 2000), 3)
        0.039
        >>> ceiling({"latent noise": 0.1, "confident joint": 0.12}, 2000)
        1.0
    """
    lower, upper = _lower(estimates), estimates[JOINT]
    proven = max(certain(estimates, samples) - _MISTAKEN * (upper - lower), 0.0)
    share = max(proven / MUCH, (upper - lower - DOUBT[0]) / (DOUBT[1] - DOUBT[0]))
    return 1.0 if share >= 1 else max(lower + share * (upper - lower), FEWEST)


def _lower(estimates: Mapping[str, float]) -> float:
    return min(max(estimates[name] for name in (LATENT, MIXTURE) if name in estimates), estimates[JOINT])
