"""The model of Dawid and Skene: its samples, its parameters, and the two steps of EM.

The equations, and what goes beyond the model of 1979, stand in ``codivide.noise.consensus``.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import log_softmax

from codivide.core.types import Floats, Labels
from codivide.noise.votes import Votes

TOLERANCE = 1e-9  # of the log posterior, relative
_PLAIN = 0.01  # pseudo-label a cell of the plain model: a probability that is never quite 0
_CERTAIN = 0.95  # the most that the prior may say of an answer's probability
_BY_CHANCE = 0.01  # probability below which answers of one label only are a rule
_BETTER = 0.1  # how much likelier the right answer is than another, at least, where annotators are alike

Alike = Literal["matrix", "coin"]


class Asked:
    """The samples that take part (``rows``), and their answers as one-hot columns, a sparse matrix.

    ``single`` are annotators who only ever gave one label, ``single_label``; with ``silence`` they are rules that
    fire, and samples that nobody answered take part where most answers are theirs.
    """

    def __init__(self, given: Votes, *, silence: bool) -> None:
        tally = given.tally
        self.classes, self.annotators = given.classes, len(given.names)
        self.used = np.zeros((self.annotators, self.classes), dtype=bool)
        self.used[given.annotators, given.labels] = True
        shares = tally.sum(0) / max(tally.sum(), 1)
        self.single = np.flatnonzero(self._rules(given, shares)) if silence else np.zeros(0, dtype=np.int64)
        self.single_label = self.used[self.single].argmax(1)
        self.is_single = np.isin(given.annotators, self.single)
        rules = 2 * np.count_nonzero(self.is_single) > len(given.items)
        self.rows = np.flatnonzero(tally.sum(1) > 0) if not rules else np.arange(given.samples)
        place = np.full(given.samples, -1, dtype=np.int64)
        place[self.rows] = np.arange(len(self.rows))
        self.items, self.who, self.labels = place[given.items], given.annotators, given.labels
        # One more answer, spread as all answers are: ties start on the side of the commoner class.
        self.start = (tally[self.rows] + shares) / (tally[self.rows].sum(1, keepdims=True) + 1)
        self.pooled: dict[tuple[Alike, float], Floats] = {}  # what all share, by kind and tolerance, once it is known

    @cached_property
    def answers(self) -> Any:
        """``[rows, A * C]``: the answers of those who are no rules."""
        return self.one_hot(self.who, self.annotators, ~self.is_single)

    @cached_property
    def fired(self) -> Any:
        """``[rows, S]``: 1 where a rule answered."""
        ones = np.ones(len(self.items))
        every = sparse.csr_matrix((ones, (self.items, self.who)), shape=(len(self.rows), self.annotators))
        return every[:, self.single]

    def _rules(self, given: Votes, shares: Floats) -> NDArray[np.bool_]:
        """Mask ``[A]`` of who gave one label only, more often than by chance."""
        by_chance = shares[self.used.argmax(1)] ** given.counts
        rules: NDArray[np.bool_] = (self.used.sum(1) == 1) & (by_chance < _BY_CHANCE)
        return rules

    def one_hot(self, who: Labels, width: int, keep: NDArray[np.bool_]) -> Any:
        """``[rows, width * C]``: 1 where annotator ``who`` of an answer that is kept gave that label."""
        shape = (len(self.rows), width * self.classes)
        columns = (who * self.classes + self.labels)[keep]
        return sparse.csr_matrix((np.ones(len(columns)), (self.items[keep], columns)), shape=shape)


class Model:
    """The parameters and the two steps: ``theta [A, C, C]``, ``pi [C]``, and ``rho [S, C]`` of those of one label."""

    def __init__(
        self, asked: Asked, *, shared: bool, strength: float, alike: Alike = "matrix", tolerance: float = TOLERANCE
    ) -> None:
        self.asked, self.annotators = asked, asked.annotators
        classes = asked.classes
        if shared:
            self.prior = strength * classes * _pooled(asked, alike, tolerance)[None]
        else:
            self.prior = np.full((1, classes, classes), _PLAIN)
        self.answers, self.fired = asked.answers, asked.fired
        self._set_silence(strength * classes if shared else _PLAIN * classes)
        self.maximise(asked.start)

    def _set_silence(self, weight: float) -> None:
        """Pseudo-answers of those of one label: as the prior matrix says which classes they come from."""
        classes = self.asked.classes
        share = self.asked.start.sum(0) / max(len(self.asked.rows), 1)
        matrix = self.prior[0] / self.prior[0].sum(1, keepdims=True)
        source = (share[:, None] * matrix)[:, self.asked.single_label].T  # [S, C]
        rate = np.asarray(self.fired.sum(0)).ravel() / max(len(self.asked.rows), 1)
        total = weight * share[None] / rate[:, None]  # pseudo-samples of each class, so that the rate stays as it is
        self.fires = weight * source / np.maximum(source.sum(1, keepdims=True), 1e-300) if len(rate) else source
        self.fires = np.minimum(self.fires, _CERTAIN * total)
        self.misses = total - self.fires + np.full(classes, 1e-6)
        self.fires = self.fires + 1e-6

    def counts(self, q: Floats, answers: Any) -> Floats:
        """Expected answers ``[A, C true, C given]``."""
        classes = self.asked.classes
        table: Floats = np.asarray(answers.T @ q).reshape(-1, classes, classes).transpose(0, 2, 1)
        return table

    def maximise(self, q: Floats) -> None:
        """The M step for ``q [rows, C]``."""
        classes = self.asked.classes
        mass = q.sum(0)
        self.pi = (mass + 1) / (mass.sum() + classes)
        self.theta = self.confusion(self.counts(q, self.answers))
        self.rho = self.answering(np.asarray(self.fired.T @ q), mass)

    def confusion(self, counts: Floats) -> Floats:
        """``[A, C, C]`` from expected answers; rows sum to 1."""
        table = counts + self.prior
        found: Floats = table / table.sum(2, keepdims=True)
        return found

    def answering(self, fired: Floats, mass: Floats) -> Floats:
        """``[S, C]`` probability of an answer to a sample of each class, strictly within 0 and 1."""
        found: Floats = (fired + self.fires) / (mass[None] + self.fires + self.misses)
        return found

    def expect(self) -> tuple[Floats, float]:
        """The E step: ``q [rows, C]``, and the log posterior of the parameters (up to a constant)."""
        joint = self.answers @ np.log(self.theta).transpose(0, 2, 1).reshape(-1, self.asked.classes)
        joint = joint + np.log(self.pi) + np.log1p(-self.rho).sum(0)
        joint = joint + self.fired @ (np.log(self.rho) - np.log1p(-self.rho))
        log_q = log_softmax(joint, axis=1)
        evidence = joint[:, 0] - log_q[:, 0]
        beliefs = (self.prior * np.log(self.theta)).sum() + np.log(self.pi).sum()
        beliefs += (self.fires * np.log(self.rho) + self.misses * np.log1p(-self.rho)).sum()
        return np.exp(log_q), float(evidence.sum() + beliefs)

    def said(self) -> Floats:
        """``[M, C]``: how likely each answer of the model is for each class."""
        asked = self.asked
        said = self.theta[asked.who, :, asked.labels]
        place = np.full(self.annotators, -1, dtype=np.int64)
        place[asked.single] = np.arange(len(asked.single))
        alone = place[asked.who] >= 0
        said[alone] = self.rho[place[asked.who[alone]]]
        return said


def _pooled(asked: Asked, kind: Alike, tolerance: float) -> Floats:
    """The matrix ``[C, C]`` that all annotators share if they are alike; one pseudo-label a row, spread evenly."""
    if (kind, tolerance) not in asked.pooled:
        alike = _AllAlike(asked) if kind == "matrix" else _Coin(asked)
        expectation_maximisation(alike, asked.start, 200, tolerance)
        asked.pooled[kind, tolerance] = alike.theta[0]
    return asked.pooled[kind, tolerance]


class _AllAlike(Model):
    """The model with one annotator who gave all answers."""

    def __init__(self, asked: Asked) -> None:
        self.asked, self.annotators = asked, 1
        self.prior = np.full((1, asked.classes, asked.classes), 1 / asked.classes)
        self.answers = asked.one_hot(np.zeros_like(asked.who), 1, np.ones(len(asked.items), dtype=bool))
        self.fired = sparse.csr_matrix((len(asked.rows), 0))
        self.fires = self.misses = np.zeros((0, asked.classes))
        self.maximise(asked.start)


class _Coin(_AllAlike):
    """One annotator with one accuracy, better than guessing; every error is equally likely."""

    def confusion(self, counts: Floats) -> Floats:
        """``[1, C, C]``."""
        classes = self.asked.classes
        right = (np.trace(counts[0]) + 1) / (counts.sum() + classes)
        right = min(max(right, (1 + _BETTER) / (classes + _BETTER)), 1 - 1e-9) if classes > 1 else 1.0
        table = np.full((1, classes, classes), (1 - right) / max(classes - 1, 1))
        table[0][np.diag_indices(classes)] = right
        return table


def expectation_maximisation(model: Model, q: Floats, iterations: int, tolerance: float) -> tuple[Floats, list[float]]:
    """EM from class probabilities ``q [rows, C]``: those it ends at, and the log posterior after each pass."""
    trace: list[float] = []
    for _ in range(iterations):
        model.maximise(q)
        q, value = model.expect()
        trace.append(value)
        if len(trace) > 1 and value - trace[-2] <= tolerance * abs(value):
            break
    return q, trace
