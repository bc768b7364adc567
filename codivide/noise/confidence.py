"""How sure a classifier is of the given labels: what several rules and estimates are made of."""

from __future__ import annotations

import numpy as np

from codivide.core.types import Floats, Labels


def given_log_prob(probs: Floats, given: Labels) -> Floats:
    """Log-probabilities ``[N]`` of the given labels in nats, of probabilities ``[N, C]``: minus the cross-entropy."""
    picked: Floats = np.log(np.maximum(probs[np.arange(len(given)), given], 1e-12))
    return picked


def self_confidence(probs: Floats, given: Labels) -> Floats:
    """Self-confidence adjusted by the confident joint's class thresholds (Northcutt et al. 2021, section 3.1).

    With ``t_c`` the mean ``p_c`` of the samples labelled c and ``r_c = p_c / t_c``, the answer is
    ``r_given / (r_given + max over the others of r_c)``: 1/2 where the strongest rival is as far above its own
    threshold as the given class. A class that the classifier is unsure of is thus not called wrong for that.

    Args:
        probs: ``[N, C]``, out of sample.
        given: labels ``[N]`` in ``0 .. C - 1``.

    Returns:
        ``[N]`` in [0, 1].
    """
    rows = np.arange(len(given))
    own = probs[rows, given]
    size = np.bincount(given, minlength=probs.shape[1])
    threshold = np.bincount(given, own, minlength=probs.shape[1]) / np.maximum(size, 1)
    ratio = np.where(size > 0, probs / np.maximum(threshold, 1e-12), 0.0)  # nobody belongs to a class without labels
    mine = ratio[rows, given]
    ratio[rows, given] = -1.0
    rival = np.maximum(ratio.max(1), 0.0)
    answer: Floats = mine / np.maximum(mine + rival, 1e-12)
    return answer
