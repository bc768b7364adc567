"""Whether anything was learned: held-out predictions of the given labels against chance.

Two tests, of which either is enough. The log-loss says how much is known, and suffers where the heads are too sure of
little; how much more probability the given labels get than labels drawn at random stays right then. Above ``SURE``
something was learned. Between ``LIKELY`` and ``SURE`` most likely, too (of tables whose labels are dealt out at random
few come so far, see ``benchmarks/chance.py``), so labels are judged and the remark says how little is known.
"""

from __future__ import annotations

import torch
from torch import Tensor

from codivide.core.types import Floats, Labels
from codivide.noise.latent import LEAST

LIKELY, SURE = 2.0, 3.0  # standard errors


def mean_and_error(value: Tensor) -> tuple[float, float]:
    """Mean of ``[N]`` and its standard error."""
    return float(value.mean()), float(value.std()) / len(value) ** 0.5


def information(logs: Tensor, given: Tensor, weight: Tensor | None) -> tuple[float, float]:
    """Nats that are known of a given label beyond how often each class is given, and the standard error.

    Args:
        logs: held-out log-probability of the given labels ``[N]``.
        given: labels ``[N]``.
        weight: how much each counts ``[N]``, 1 in the mean; None: all alike.
    """
    size = torch.bincount(given, weight)
    # Of all labels: what a head learns of the frequencies in the other folds, which share out every class evenly, is
    # never better. Without the sample itself it would be, by 1/size with hardly an error.
    by_chance = (size[given] / len(given)).double().log()
    return mean_and_error((logs - by_chance) * (1.0 if weight is None else weight))


def surplus(probs: Tensor, given: Tensor, weight: Tensor | None) -> float:
    """How many standard deviations more probability the given labels get than the same labels dealt out at random.

    With ``f`` how often each class is given, ``u_i = p_i(y_i) - sum_c f_c p_i(c)`` has the mean 0 if label and
    prediction have nothing to do with each other, and the variance ``sum_c f_c p_i(c)^2 - (sum_c f_c p_i(c))^2``.

    Args:
        probs: held-out probabilities ``[N, C]`` of the given label.
        given: labels ``[N]``.
        weight: how much each counts ``[N]``; None: all alike.
    """
    wide = probs.double()
    share = torch.bincount(given, weight, probs.shape[1]).double()
    share /= share.sum()
    mean = wide @ share
    variance = wide.square() @ share - mean.square()
    extra = wide.gather(1, given.unsqueeze(1)).squeeze(1) - mean
    counts = torch.ones_like(mean) if weight is None else weight.double()
    deviation = float((counts.square() * variance).sum().clamp_min(0).sqrt())
    return float((counts * extra).sum()) / deviation if deviation > 0 else 0.0


def errors_above(nats: float, error: float, surplus: float) -> float:
    """By how many standard errors the labels are predicted better than by chance, by the test that says more.

    Args:
        nats: see ``information``.
        error: its standard error.
        surplus: see ``surplus``.
    """
    return max(nats / max(error, 1e-12), surplus)


def better_than_chance(probs: Floats, given: Labels) -> float:
    """The same of probabilities ``[N, C]`` of the given labels ``[N]``, which were held out."""
    known, labels = torch.from_numpy(probs), torch.from_numpy(given)
    logs = known.gather(1, labels.unsqueeze(1)).squeeze(1).clamp_min(LEAST).log()
    return errors_above(*information(logs, labels, None), surplus(known, labels, None)) if len(given) > 1 else 0.0


def remarks(errors: float, nats: float, error: float, count: int) -> dict[str, str]:
    """What to say of labels that are predicted by chance ("independent") or hardly better ("hardly"), by name.

    Args:
        errors: see ``errors_above``.
        nats: see ``information``.
        error: its standard error.
        count: of the labels.
    """
    measured = f"gain {nats:.3f} nats, standard error {error:.3f}, {count} labels"
    if errors > SURE:
        return {}
    if errors > LIKELY:
        return {
            "hardly": "held-out labels are predicted only just better than by how often each class occurs "
            f"({measured}; {errors:.1f} standard errors by the better of two tests). Take what looks wrong as leads to "
            "check, and the estimate of the noise as a guess"
        }
    return {
        "independent": "nothing can be learned here: from the features, held-out labels are predicted no better than "
        f"from how often each class occurs ({measured}). p(clean) is 0.5 for all, their rank is by the evidence alone, "
        "and no estimate of the noise is reliable"
    }
