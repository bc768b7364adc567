"""How sure a classifier is of the given labels: what several rules and estimates are made of."""

from __future__ import annotations

import numpy as np

from codivide.core.types import Floats, Labels

_FLOOR = 1e-6  # probabilities are no smaller evidence than this: the zeros of half precision and of forests say no more


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


def log_confidence(probs: Floats, given: Labels) -> Floats:
    """Evidence for each label against its class and its best rival, in nats: what labels are ranked by.

    With ``t_c`` the mean ``p_c`` of the samples labelled c and ``r_c = p_c / t_c``, it is the mean of ``log r_given``
    (is the label less likely than those of its class are?) and of ``log r_given - max over the others of log r_c`` (is
    another likelier?). Nothing is shifted class by class, and probabilities count as at least 1e-6: neither exact zeros
    nor a floor under the probabilities change the order of the labels. One sample of average ``p_given`` is added to
    each class.

    Args:
        probs: ``[N, C]``, out of sample.
        given: labels ``[N]`` in ``0 .. C - 1``.

    Returns:
        ``[N]``, larger where the label is more likely right.
    """
    rows, classes = np.arange(len(given)), probs.shape[1]
    own = probs[rows, given]
    size = np.bincount(given, minlength=classes)
    threshold = (np.bincount(given, own, minlength=classes) + own.mean()) / (size + 1)
    named = size > 0  # nobody belongs to a class without labels
    log_ratio = np.log(np.maximum(probs, _FLOOR))
    log_ratio -= np.log(np.maximum(threshold, _FLOOR))
    log_ratio[:, ~named] = -np.inf
    mine = log_ratio[rows, given]
    log_ratio[rows, given] = -np.inf
    answer: Floats = mine - 0.5 * np.maximum(log_ratio.max(1), np.log(_FLOOR))
    return answer


def standing(probs: Floats, given: Labels) -> Labels:
    """The place ``[N]`` of each label by ``log_confidence``, then by its probability; equal evidence shares a place.

    Args:
        probs: ``[N, C]``, out of sample.
        given: labels ``[N]``, -1: none, which stands behind all others.
    """
    labelled = np.flatnonzero(given >= 0)
    answer = np.full(len(given), len(given), dtype=np.int64)
    if len(labelled):
        seen, labels = probs[labelled], given[labelled]
        keys = np.stack([log_confidence(seen, labels), seen[np.arange(len(labels)), labels]], axis=1)
        answer[labelled] = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    return answer
