"""The latent true label: a classifier's own errors told from label noise, without any true label."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar

from codivide.core import threads
from codivide.core.types import Floats, Labels
from codivide.noise import transition

MOST_WEIGHTED = 50  # classes for which every score may count for every class
LEAST = 1e-4  # probabilities are read as at least this: a linear classifier is never surer with reason
_STEPS, _FEW_STEPS = 200, 12
_GAIN = 1e-7  # of the mean log-likelihood, relative, below which the fit ends
_RIDGE = 10.0  # on the free part of the calibrating weights, in samples
_BIAS = 0.01  # on the class offsets, per sample


class Latent(NamedTuple):
    """What ``latent_noise`` finds.

    Attributes:
        clean_prob: ``[N]``, P(true label = given label | everything).
        prior: ``[N, C]``, P(true label | sample): the classifier with the noise taken out.
        joint: ``[C, C]`` expected counts (true class, given label); sums to N.
        transition: ``[C, C]``, P(given | true), rows sum to 1.
        seen: ``[N]``, P(given label | sample).
    """

    clean_prob: Floats
    prior: Floats
    joint: Floats
    transition: Floats
    seen: Floats


def latent_noise(probs: Floats, given: Labels, *, weight: Floats | None = None) -> Latent:
    """Tell a classifier's own errors from label noise, without any true label.

    The true label is latent. With ``s [C]`` the logarithms of the probabilities of a sample, their mean taken off,

        P(given = d | x) = sum_c softmax_c(a s + W s + b) T[c, d],

    and ``a``, ``W``, ``b`` and ``T`` are those of the greatest likelihood: label-noise robust logistic regression
    (Bootkrajang and Kaban, ECML 2012; a "noise adaptation layer", Goldberger and Ben-Reuven, ICLR 2017) as a
    calibrating step on out-of-sample scores. Doubt that fades as the scores grow surer is the classifier's own and goes
    to the softmax; doubt that stays where it is surest goes to ``T``. The classifier's errors are therefore not
    counted as noise. It rests on noise that depends on the class only: labels that are wrong just where samples are
    ambiguous look like the classifier's own doubt, and the noise is then under-counted.

    Priors keep what the data do not determine: one pseudo-count a row of T (nine tenths of it on the diagonal), a ridge
    of 10 on W and of 0.01 N on b. The likelihood has several peaks: the fit is started from 80 % clean labels and from
    the confident joint, and the better one is taken.

    The time grows with N C: above ``MOST_WEIGHTED`` classes W is left out (``a`` and ``b`` still calibrate), the fit is
    started from the confident joint only, and it takes fewer steps.

    Args:
        probs: ``[N, C]``, out of sample (a classifier that has seen the label has memorised the noise).
        given: labels ``[N]`` in ``0 .. C - 1``.
        weight: of every sample ``[N]``, such as counts of a bootstrap; None: 1.

    Returns:
        See ``Latent``; the ``joint`` counts samples by weight.
    """
    many = probs.shape[1] > MOST_WEIGHTED
    logs = np.log(np.clip(probs, LEAST, 1.0))
    logs -= logs.mean(1, keepdims=True)
    weight = np.ones(len(given)) if weight is None else np.asarray(weight, dtype=np.float64)
    objective = _Objective(logs, given, weight, mixed=not many)
    starts = [objective.start(matrix) for matrix in _first_guesses(probs, given)]
    options = {"maxiter": _FEW_STEPS if many else _STEPS, "ftol": _GAIN}
    with threads.alone(logs.size):  # hundreds of steps of a millisecond
        found = [
            minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
            for start in (starts[1:] if many else starts)
        ]
    best = min(found, key=lambda answer: float(answer.fun))
    return objective.answer(best.x)


def goes_by_class(latent: Latent, given: Labels, *, weight: Floats | None = None) -> bool:
    """Whether the labels tell more of the noise than how much of it there is: which classes are taken for which.

    The matrix ``T`` is compared with one rate, of which all wrong labels have the same share, by Akaike's criterion
    (IEEE Transactions on Automatic Control 1974): it must raise the log-likelihood of the labels by more than the
    ``C (C - 1) - 1`` numbers that it has more. Of few samples a matrix says little but what chance has put in it.

    Args:
        latent: of these labels.
        given: labels ``[N]`` in ``0 .. C - 1``.
        weight: of every sample ``[N]``; None: 1.

    Example:
        >>> probs = np.full((200, 2), [0.7, 0.3])  # 30 % of one class, and none of the other
        >>> probs[100:] = [0.02, 0.98]
        >>> given = np.r_[np.zeros(70), np.ones(130)].astype(int)
        >>> goes_by_class(latent_noise(probs, given), given)
        True
    """
    own, others = latent.prior[np.arange(len(given)), given], latent.prior.shape[1] - 1
    weight = np.ones(len(given)) if weight is None else np.asarray(weight) * (len(given) / np.sum(weight))

    def cost(rate: float) -> float:
        return -float(weight @ np.log(np.maximum((1 - rate) * own + rate / others * (1 - own), LEAST**2)))

    least = float(minimize_scalar(cost, bounds=(0.0, others / (others + 1)), method="bounded").fun)
    gain = least + float(weight @ np.log(np.maximum(latent.seen, LEAST**2)))
    return bool(gain > others * (others + 1) - 1)


class _Objective:
    """Minus the penalised mean log-likelihood and its gradient, for one weighting of the samples.

    Arrays are ``[C, N]`` with the samples sorted by given label: a sum over classes then runs along the memory, and one
    over the samples of a label is over neighbours.

    Args:
        logs: ``[N, C]``.
        given: labels ``[N]``.
        weight: of every sample ``[N]``.
        mixed: whether there is a W.
    """

    def __init__(self, logs: Floats, given: Labels, weight: Floats, *, mixed: bool) -> None:
        self.order = np.argsort(given, kind="stable")
        self.logs = np.ascontiguousarray(logs[self.order].T)
        self.classes, self.mixed = len(self.logs), mixed
        self.weight, self.total = weight[self.order], float(weight.sum())
        self.labels, self.first, self.sizes = np.unique(given[self.order], return_index=True, return_counts=True)
        self.prior = 0.9 * np.eye(self.classes) + 0.1 / self.classes

    @property
    def free(self) -> int:
        """How many numbers W holds."""
        return self.classes**2 if self.mixed else 0

    def start(self, matrix: Floats) -> Floats:
        """Parameters with this transition matrix, scores as they are."""
        return np.concatenate([[1.0], np.zeros(self.free + self.classes), np.log(matrix).ravel()])

    def split(self, parameters: Floats) -> tuple[float, Floats, Floats, Floats]:
        """a, W, b and the logarithm of T, rows normalised."""
        free, bias, rest = np.split(parameters[1:], [self.free, self.free + self.classes])
        matrix = rest.reshape(self.classes, self.classes)
        log_t = matrix - matrix.max(1, keepdims=True)
        log_t -= np.log(np.exp(log_t).sum(1, keepdims=True))  # scipy's log_softmax, without its detours
        return float(parameters[0]), free.reshape(-1, self.classes), bias, log_t

    def true_probs(self, scale: float, free: Floats, bias: Floats) -> Floats:
        """P(true | sample), ``[C, N]``."""
        scores = scale * self.logs
        if self.mixed:
            scores += free.T @ self.logs
        scores += bias[:, None]
        scores -= scores.max(0)
        np.exp(scores, out=scores)
        scores /= scores.sum(0)
        return scores

    def posteriors(self, true_probs: Floats, log_t: Floats) -> tuple[Floats, Floats]:
        """P(true | sample and given label) ``[C, N]``, and the logarithm of P(given | sample) ``[N]``."""
        posterior = np.repeat(np.exp(log_t[:, self.labels]), self.sizes, axis=1)
        posterior *= true_probs
        evidence = np.maximum(posterior.sum(0), np.finfo(np.float64).tiny)
        posterior /= evidence
        return posterior, np.log(evidence)

    def by_label(self, values: Floats) -> Floats:
        """Sums ``[C, C]`` of values ``[C, N]`` over the samples of each label."""
        sums = np.zeros((self.classes, self.classes))
        sums[:, self.labels] = np.add.reduceat(values, self.first, axis=1)
        return sums

    def __call__(self, parameters: Floats) -> tuple[float, Floats]:
        scale, free, bias, log_t = self.split(parameters)
        true_probs = self.true_probs(scale, free, bias)
        posterior, evidence = self.posteriors(true_probs, log_t)
        pull = posterior - true_probs
        pull *= self.weight
        posterior *= self.weight
        counts = self.by_label(posterior) + self.prior
        value = self.weight @ evidence + (self.prior * log_t).sum()
        value -= 0.5 * _RIDGE * (free**2).sum() + 0.5 * _BIAS * self.total * (bias**2).sum()
        gradient = np.concatenate(
            [
                [np.vdot(self.logs, pull)],
                (self.logs @ pull.T - _RIDGE * free).ravel() if self.mixed else [],
                pull.sum(1) - _BIAS * self.total * bias,
                (counts - counts.sum(1, keepdims=True) * np.exp(log_t)).ravel(),
            ]
        )
        return -value / self.total, -gradient / self.total

    def answer(self, parameters: Floats) -> Latent:
        """What the parameters say of every sample."""
        scale, free, bias, log_t = self.split(parameters)
        true_probs = self.true_probs(scale, free, bias)
        posterior, evidence = self.posteriors(true_probs, log_t)
        own = posterior[np.repeat(self.labels, self.sizes), np.arange(len(self.order))]
        joint = self.by_label(posterior * self.weight)
        back = np.empty_like(self.order)
        back[self.order] = np.arange(len(back))
        return Latent(
            clean_prob=own[back],
            prior=true_probs.T[back],
            joint=joint,
            transition=np.exp(log_t),
            seen=np.exp(evidence)[back],
        )


def _first_guesses(probs: Floats, given: Labels) -> list[Floats]:
    """Transition matrices to start from: four fifths clean, and the confident joint with a little of every class."""
    classes = probs.shape[1]
    uniform = np.full((classes, classes), 1 / classes)
    joint = transition.normalise(torch.from_numpy(confident_joint(probs, given))).numpy()
    return [0.8 * np.eye(classes) + 0.2 * uniform, 0.9 * joint + 0.1 * uniform]


def confident_joint(probs: Floats, given: Labels) -> Floats:
    """``transition.confident_joint`` of NumPy arrays."""
    counts = transition.confident_joint(torch.from_numpy(probs), torch.from_numpy(given))
    answer: Floats = counts.double().nan_to_num(0.0).numpy()
    return answer
