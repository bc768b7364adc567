"""Rules side by side that judge labels from probabilities, losses and features; what they say is combined.

Every rule answers one number per sample that is LARGER for labels that are more likely right, except
``latent_noise``, which answers calibrated probabilities. ``codivide.noise.mixtures`` has the mixtures on losses
(``gmm``, ``bmm``, ``class_wise``) and on wrong events (``wrong_events``); the functions here need more than losses.
All is NumPy, float64, deterministic; no true label is ever looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from codivide.core.errors import InputError
from codivide.core.types import Floats, Labels
from codivide.noise.latent import LEAST

_NEIGHBOUR_CELLS = 1 << 24  # similarities held at a time: 128 MB


def last_loss(probs: Floats, given: Labels) -> Floats:
    """Minus the cross-entropy ``[N]`` of probabilities ``[N, C]`` on the given labels, in nats."""
    picked: Floats = np.log(np.maximum(probs[np.arange(len(given)), given], 1e-12))
    return picked


def averaged_loss(losses: Floats) -> Floats:
    """Minus the mean ``[N]`` of the losses ``[E, N]`` of several epochs; NaN (not looked at) is left out."""
    seen = np.isfinite(losses)
    total = np.where(seen, losses, 0.0).sum(0)
    mean: Floats = -total / np.maximum(seen.sum(0), 1)
    return mean


def right_events(predicted: Labels, given: Labels) -> Floats:
    """Share ``[N]`` of the epochs of ``predicted [E, N]`` in which the likeliest class was the given label."""
    share: Floats = (predicted == given).mean(0)
    return share


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


def neighbour_shares(features: Any, given: Labels, classes: int, *, count: int = 10) -> Floats:
    """What the nearest neighbours of every sample are labelled as, the nearer counting more.

    Neighbours are those of the largest cosine similarity. One at distance ``d = sqrt(2 - 2 cos)`` weighs
    ``exp(-(d / d_k)^2)``, ``d_k`` the distance of the last that counts. The sample itself does not count. Similarities
    are made for a block of rows at a time: 128 MB, whatever N is.

    Args:
        features: ``[N, D]`` dense or sparse; a row of zeros is similar to nothing.
        given: labels ``[N]``, -1 where there is none (such neighbours are passed over).
        classes: number of classes C.
        count: neighbours k, at least 1; all others where there are fewer.

    Returns:
        ``[N, C]``; rows sum to 1, or are 0 where there is no labelled neighbour.
    """
    if count < 1:
        raise InputError(f"{count} neighbours are asked for; it must be at least 1")
    voters = np.flatnonzero(given >= 0)
    shares = np.zeros((len(given), classes))
    if len(voters) < 2:
        return shares
    rows = _unit(features)
    pool = rows[voters].T
    place = np.full(len(given), -1)
    place[voters] = np.arange(len(voters))
    k = min(count, len(voters) - 1)
    step = max(1, _NEIGHBOUR_CELLS // len(voters))
    for start in range(0, len(given), step):
        part = np.arange(start, min(start + step, len(given)))
        near = rows[part] @ pool
        near = np.asarray(near.todense() if sparse.issparse(near) else near)
        mine = place[part] >= 0
        near[np.flatnonzero(mine), place[part][mine]] = -np.inf
        best = np.argpartition(-near, k - 1, axis=1)[:, :k]
        distance = np.maximum(2 - 2 * np.take_along_axis(near, best, 1), 0.0)  # squared
        weight = np.exp(-distance / np.maximum(distance.max(1, keepdims=True), 1e-12))
        cells = np.arange(len(part))[:, None] * classes + given[voters[best]]
        votes = np.bincount(cells.ravel(), weight.ravel(), minlength=len(part) * classes).reshape(-1, classes)
        shares[part] = votes / votes.sum(1, keepdims=True)
    return shares


def neighbour_agreement(features: Any, given: Labels, classes: int, *, count: int = 10) -> Floats:
    """Weighted share ``[N]`` in [0, 1] of the nearest neighbours with the same given label; see ``neighbour_shares``.

    Samples without a label (-1) get NaN.
    """
    shares = neighbour_shares(features, given, classes, count=count)
    agreed: Floats = np.where(given >= 0, shares[np.arange(len(given)), given], np.nan)
    return agreed


def pair_dependence(prior: Floats, scores: Floats, given: Labels, least: int = 10) -> tuple[float, int]:
    """Whether, within a pair of classes, which labels are wrong depends on the sample.

    Of the samples that surely belong to class c (``prior_c > 0.9``), those given c and those given d are compared: when
    noise depends on the class only, the score of d against c cannot tell them apart, and the AUROC is 1/2. It is
    averaged over all pairs with ``least`` samples of either kind, by the number given d.

    Args:
        prior: ``[N, C]``, P(true | sample) by ``latent_noise``.
        scores: probabilities ``[N, C]``, out of sample.
        given: labels ``[N]``.
        least: samples of either kind that a pair needs.

    Returns:
        ``2 AUROC - 1``, at least 0 (0: by chance), and how many wrong-looking labels it rests on.
    """
    true, sure = prior.argmax(1), prior.max(1) > 0.9
    logs = np.log(np.clip(scores, LEAST, 1.0))
    classes = prior.shape[1]
    total, size = 0.0, 0
    for c in range(classes):
        members = np.flatnonzero(sure & (true == c))
        counts = np.bincount(given[members], minlength=classes)
        kept = members[given[members] == c]
        if len(kept) < least:
            continue
        for d in np.flatnonzero(counts >= least):
            if d != c:
                strayed = members[given[members] == d]
                below = np.sort(logs[kept, d] - logs[kept, c])
                value = logs[strayed, d] - logs[strayed, c]
                places = np.searchsorted(below, value, "left") + np.searchsorted(below, value, "right")
                total += float(places.sum()) / (2 * len(kept))
                size += len(strayed)
    return (max(2 * total / size - 1, 0.0) if size else 0.0), size


def _unit(features: Any) -> Any:
    """Rows of length 1 (float32, or CSR); rows of zeros stay."""
    if sparse.issparse(features):
        rows = sparse.csr_matrix(features, dtype=np.float32)
        length = np.sqrt(np.asarray(rows.multiply(rows).sum(1)).ravel())
        return (sparse.diags(1 / np.where(length > 0, length, 1.0)) @ rows).tocsr()
    table = np.asarray(features, dtype=np.float32)
    length = np.linalg.norm(table, axis=1, keepdims=True)
    return table / np.where(length > 0, length, 1.0)
