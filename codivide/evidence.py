"""Rules side by side that judge labels from probabilities, losses and features; what they say is combined.

Every rule answers one number per sample that is LARGER for labels that are more likely right, except
``latent_noise``, which answers calibrated probabilities. ``codivide.divide`` has the mixtures on losses
(``gmm``, ``bmm``, ``class_wise``) and on wrong events (``wrong_events``); the functions here need more than losses.
All is NumPy, float64, deterministic; no true label is ever looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from codivide import transition
from codivide.errors import InputError

Labels = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

LEAST = 1e-4  # probabilities are read as at least this: a linear classifier is never surer with reason
_RIDGE = 10.0  # on the free part of the calibrating weights, in samples
_BIAS = 0.01  # on the class offsets, per sample
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


class Latent(NamedTuple):
    """What ``latent_noise`` finds.

    Attributes:
        clean_prob: ``[N]``, P(true label = given label | everything).
        posterior: ``[N, C]``, P(true label | sample and given label).
        prior: ``[N, C]``, P(true label | sample): the classifier with the noise taken out.
        joint: ``[C, C]`` expected counts (true class, given label); sums to N.
        transition: ``[C, C]``, P(given | true), rows sum to 1.
        likelihood: mean log-likelihood of the given labels, in nats.
        parameters: of the fit, to start another one from.
    """

    clean_prob: Floats
    posterior: Floats
    prior: Floats
    joint: Floats
    transition: Floats
    likelihood: float
    parameters: Floats


def latent_noise(
    probs: Sequence[Floats],
    given: Labels,
    *,
    weight: Floats | None = None,
    start: Floats | None = None,
    steps: int = 200,
) -> Latent:
    """Tell a classifier's own errors from label noise, without any true label.

    The true label is latent. With ``s`` the logarithms of all probabilities of a sample (those of several classifiers
    side by side, each ``[C]``, its mean taken off),

        P(given = d | x) = sum_c softmax_c(a s_1 + W s + b) T[c, d],

    and ``a``, ``W``, ``b`` and ``T`` are those of the greatest likelihood: label-noise robust logistic regression
    (Bootkrajang and Kaban, ECML 2012; a "noise adaptation layer", Goldberger and Ben-Reuven, ICLR 2017) as a
    calibrating step on out-of-sample scores. Doubt that fades as the scores grow surer is the classifier's own and goes
    to the softmax; doubt that stays where it is surest goes to ``T``. The classifier's errors are therefore not
    counted as noise. It rests on noise that depends on the class only: labels that are wrong just where samples are
    ambiguous look like the classifier's own doubt, and the noise is then under-counted.

    Priors keep what the data do not determine: one pseudo-count a row of T (nine tenths of it on the diagonal), a ridge
    of 10 on W and of 0.01 N on b. The likelihood has several peaks: the fit is started from 80 % clean labels and from
    the confident joint, and the better one is taken.

    Args:
        probs: one or more ``[N, C]``, out of sample (a classifier that has seen the label has memorised the noise).
        given: labels ``[N]`` in ``0 .. C - 1``.
        weight: of every sample ``[N]``, such as counts of a bootstrap; None: 1.
        start: ``parameters`` of an earlier fit on the same classes; None: as above.
        steps: most L-BFGS iterations of a start.

    Returns:
        See ``Latent``; the ``joint`` counts samples by weight.
    """
    classes = probs[0].shape[1]
    logs = np.concatenate([_centred(np.log(np.clip(p, LEAST, 1.0))) for p in probs], axis=1)
    weight = np.ones(len(given)) if weight is None else np.asarray(weight, dtype=np.float64)
    objective = _Objective(logs, given, classes, weight)
    starts = [start] if start is not None else [objective.start(t) for t in _first_guesses(probs[0], given, classes)]
    found = [
        minimize(objective, p, jac=True, method="L-BFGS-B", options={"maxiter": steps, "ftol": 1e-8}) for p in starts
    ]
    best = min(found, key=lambda answer: float(answer.fun))
    return objective.answer(best.x)


class _Objective:
    """Minus the penalised mean log-likelihood and its gradient, for one weighting of the samples."""

    def __init__(self, logs: Floats, given: Labels, classes: int, weight: Floats) -> None:
        self.logs, self.given, self.classes, self.weight = logs, given, classes, weight
        self.total = float(weight.sum())
        self.prior = 0.9 * np.eye(classes) + 0.1 / classes
        self.labels = sparse.csr_matrix((weight, (np.arange(len(given)), given)), shape=(len(given), classes))

    def start(self, matrix: Floats) -> Floats:
        """Parameters with this transition matrix, scores as they are."""
        free = np.zeros(self.logs.shape[1] * self.classes + self.classes)
        return np.concatenate([[1.0], free, np.log(matrix).ravel()])

    def split(self, parameters: Floats) -> tuple[float, Floats, Floats, Floats]:
        """a, W, b and the logarithm of T, rows normalised."""
        size = self.logs.shape[1] * self.classes
        free, bias, rest = np.split(parameters[1:], [size, size + self.classes])
        matrix = rest.reshape(self.classes, self.classes)
        log_t = matrix - logsumexp(matrix, axis=1, keepdims=True)
        return float(parameters[0]), free.reshape(-1, self.classes), bias, log_t

    def log_prior(self, parameters: Floats) -> Floats:
        """Logarithm of P(true | sample), ``[N, C]``."""
        scale, free, bias, _ = self.split(parameters)
        scores = self.logs @ free + bias
        scores += scale * self.logs[:, : self.classes]
        scores -= logsumexp(scores, axis=1, keepdims=True)
        return scores

    def __call__(self, parameters: Floats) -> tuple[float, Floats]:
        _, free, bias, log_t = self.split(parameters)
        log_prior = self.log_prior(parameters)
        joint = log_prior + log_t.T[self.given]
        evidence = logsumexp(joint, axis=1)
        posterior = np.exp(joint - evidence[:, None])
        pull = (posterior - np.exp(log_prior)) * self.weight[:, None]
        counts = (self.labels.T @ posterior).T + self.prior
        value = self.weight @ evidence + (self.prior * log_t).sum()
        value -= 0.5 * _RIDGE * (free**2).sum() + 0.5 * _BIAS * self.total * (bias**2).sum()
        gradient = np.concatenate(
            [
                [(self.logs[:, : self.classes] * pull).sum()],
                (self.logs.T @ pull - _RIDGE * free).ravel(),
                pull.sum(0) - _BIAS * self.total * bias,
                (counts - counts.sum(1, keepdims=True) * np.exp(log_t)).ravel(),
            ]
        )
        return -value / self.total, -gradient / self.total

    def answer(self, parameters: Floats) -> Latent:
        """What the parameters say of every sample."""
        log_prior, log_t = self.log_prior(parameters), self.split(parameters)[3]
        joint = log_prior + log_t.T[self.given]
        evidence = logsumexp(joint, axis=1)
        posterior = np.exp(joint - evidence[:, None])
        return Latent(
            clean_prob=posterior[np.arange(len(self.given)), self.given],
            posterior=posterior,
            prior=np.exp(log_prior),
            joint=np.asarray((self.labels.T @ posterior).T),
            transition=softmax(log_t, axis=1),
            likelihood=float(self.weight @ evidence / self.total),
            parameters=parameters,
        )


def confident_joint(probs: Floats, given: Labels, weight: Floats | None = None) -> Floats:
    """``transition.confident_joint`` of NumPy arrays; a bootstrap's weights repeat rows."""
    rows = np.arange(len(given)) if weight is None else np.repeat(np.arange(len(given)), weight.astype(np.int64))
    counts = transition.confident_joint(torch.from_numpy(probs[rows]), torch.from_numpy(given[rows]))
    answer: Floats = counts.double().nan_to_num(0.0).numpy()
    return answer


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


def match_rates(clean_prob: Floats, given: Labels, rates: Floats) -> Floats:
    """Shift the log-odds of every class so that the mean of ``1 - clean_prob`` is that class's noise rate.

    The order within a class stays. Probabilities are made to agree with a rate that rests on more evidence than they.

    Args:
        clean_prob: ``[N]`` in [0, 1].
        given: labels ``[N]``.
        rates: ``[C]`` in [0, 1], the share of each class's labels that is wrong; NaN leaves a class as it is.

    Returns:
        ``[N]`` in [0, 1].
    """
    answer = clean_prob.copy()
    odds = np.log(np.clip(clean_prob, 1e-6, 1 - 1e-6)) - np.log1p(-np.clip(clean_prob, 1e-6, 1 - 1e-6))
    for c, rate in enumerate(rates):
        members = np.flatnonzero(given == c)
        if not len(members) or not np.isfinite(rate):
            continue
        low, high = -40.0, 40.0
        for _ in range(50):
            middle = 0.5 * (low + high)
            clean = float((1 / (1 + np.exp(-(odds[members] + middle)))).mean())
            low, high = (middle, high) if clean < 1 - rate else (low, middle)
        answer[members] = 1 / (1 + np.exp(-(odds[members] + 0.5 * (low + high))))
    return answer


def _first_guesses(probs: Floats, given: Labels, classes: int) -> list[Floats]:
    """Transition matrices to start from: four fifths clean, and the confident joint with a little of every class."""
    uniform = np.full((classes, classes), 1 / classes)
    joint = transition.normalise(torch.from_numpy(confident_joint(probs, given))).numpy()
    return [0.8 * np.eye(classes) + 0.2 * uniform, 0.9 * joint + 0.1 * uniform]


def _centred(logs: Floats) -> Floats:
    centred: Floats = logs - logs.mean(1, keepdims=True)
    return centred


def _unit(features: Any) -> Any:
    """Rows of length 1 (float32, or CSR); rows of zeros stay."""
    if sparse.issparse(features):
        rows = sparse.csr_matrix(features, dtype=np.float32)
        length = np.sqrt(np.asarray(rows.multiply(rows).sum(1)).ravel())
        return (sparse.diags(1 / np.where(length > 0, length, 1.0)) @ rows).tocsr()
    table = np.asarray(features, dtype=np.float32)
    length = np.linalg.norm(table, axis=1, keepdims=True)
    return table / np.where(length > 0, length, 1.0)
