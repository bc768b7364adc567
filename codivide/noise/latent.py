"""The latent true label: a classifier's own errors told from label noise, without any true label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from codivide.core.types import Floats, Labels
from codivide.noise import transition

_RIDGE = 10.0  # on the free part of the calibrating weights, in samples


_BIAS = 0.01  # on the class offsets, per sample


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


def _first_guesses(probs: Floats, given: Labels, classes: int) -> list[Floats]:
    """Transition matrices to start from: four fifths clean, and the confident joint with a little of every class."""
    uniform = np.full((classes, classes), 1 / classes)
    joint = transition.normalise(torch.from_numpy(confident_joint(probs, given))).numpy()
    return [0.8 * np.eye(classes) + 0.2 * uniform, 0.9 * joint + 0.1 * uniform]


def _centred(logs: Floats) -> Floats:
    centred: Floats = logs - logs.mean(1, keepdims=True)
    return centred


LEAST = 1e-4  # probabilities are read as at least this: a linear classifier is never surer with reason


def confident_joint(probs: Floats, given: Labels, weight: Floats | None = None) -> Floats:
    """``transition.confident_joint`` of NumPy arrays; a bootstrap's weights repeat rows."""
    rows = np.arange(len(given)) if weight is None else np.repeat(np.arange(len(given)), weight.astype(np.int64))
    counts = transition.confident_joint(torch.from_numpy(probs[rows]), torch.from_numpy(given[rows]))
    answer: Floats = counts.double().nan_to_num(0.0).numpy()
    return answer
