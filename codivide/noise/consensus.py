"""Several annotators a sample: who answered what, the consensus, and how good each annotator is.

The model is that of Dawid and Skene (1979), *Maximum likelihood estimation of observer error-rates using the EM
algorithm*, Applied Statistics 28: sample ``i`` has one true class ``k`` with probability ``pi_k``; annotator ``a``,
when asked, answers ``l`` with probability ``theta_a[k, l]``, independently of the others. EM in log space:

    E:  log q_ik = log pi_k + sum over the answers (a, l) of sample i of log theta_a[k, l] - log of the sum over k
    M:  theta_a[k, l] = (sum_i q_ik [a answered l] + s C m[k, l]) / (sum_i q_ik [a answered] + s C)
        pi_k = (sum_i q_ik + 1) / (N + C)

Two things go beyond it. ``m`` is the matrix that all annotators would share if they were alike (the same EM with one
matrix for all), so that an annotator with few labels is judged like the average one and not like a guesser; with
``alike="coin"`` it is the symmetric one of a single accuracy, which needs fewer answers still. And an annotator who
only ever gives one label, as a labelling rule does, says nothing when asked, but something by answering at all; for
these the M and E steps use ``rho_a[k]``, the probability of an answer to a sample of class ``k``, and their silence
counts too. (Without that the model calls all samples one class where each of them is such a rule.) Samples that nobody
answered take part where most answers come from such rules, and are left out otherwise. Who gave one label by chance, or
because nobody ever gave another, is no rule: the label's share of all answers, to the power of their number, is then
above ``_BY_CHANCE`` (``codivide.noise.annotator_model``).

``codivide.noise.settle`` chooses between such models without truth, and counts copied answers once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.special import logsumexp, softmax

from codivide.core.types import Floats, Labels
from codivide.noise.annotator_model import TOLERANCE, Alike, Asked, Model, expectation_maximisation
from codivide.noise.once import met_another, owners
from codivide.noise.votes import UNASKED, Votes, counted_once


@dataclass(frozen=True)
class Consensus:
    """What the answers come to.

    Attributes:
        votes: the answers.
        labels: ``[N]`` the likeliest class; -1 where nobody answered.
        probs: ``[N, C]`` probability of each class; where nobody answered, the class shares or what the silence of
            rules says. Rows sum to 1.
        confusion: ``[A, C, C]`` probability that the annotator answers column ``l`` when the class is row ``k``.
        quality: ``[A]`` in [0, 1]: if all classes were equally common, how often an answer of this annotator would be
            right; mean over the labels that they use. 1 / C is guessing. Judged by the others and a classifier, and
            drawn towards the average annotator where there are few; NaN without an answer.
        agreement: ``[A]`` in [0, 1]: how often an answer is what the others' answers say, of the samples that others
            answered, too; NaN where there are none.
        prior: ``[C]`` class shares.
        trace: log posterior after each pass of EM; it never falls. Empty for a majority vote.
        silent: annotators whose silence counts, since they are rules of one label.
        groups: annotators who copy or collude, counted once; they are judged without each other's answers.
        remarks: what to tell who asked.
        rule: how the consensus was come to, in words.
        classifier: how much a classifier's probabilities count: 1 as they are, 0 not at all, or there are none.
    """

    votes: Votes
    labels: Labels
    probs: Floats
    confusion: Floats
    quality: Floats
    agreement: Floats
    prior: Floats
    trace: tuple[float, ...] = ()
    silent: tuple[int, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    remarks: tuple[str, ...] = ()
    rule: str = ""
    classifier: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the annotators."""
        return self.votes.names

    @property
    def matrix(self) -> Labels:
        """``[N, A]``: the class that each annotator answered, -1 where not asked."""
        return self.votes.matrix

    @property
    def likelihood(self) -> Floats:
        """``[N, C]``: how likely the answers are for each true class, up to a factor for each sample; the largest is 1.

        Even where nobody answered, unless silence says something. For other evidence to be weighed in.
        """
        ratio = self.probs / self.prior
        likelihood: Floats = ratio / ratio.max(1, keepdims=True)
        return likelihood

    def take(self, rows: ArrayLike) -> Consensus:
        """The same judgement of the annotators, of some samples ``[M]`` only."""
        chosen = np.asarray(rows, dtype=np.int64)
        return replace(self, votes=self.votes.take(chosen), labels=self.labels[chosen], probs=self.probs[chosen])

    def annotators(self) -> list[dict[str, Any]]:
        """One record an annotator, in their order: name, labels (a number), quality, agreement, copies.

        Quality and agreement are None without an answer. ``copies`` names the others of the group that counts once.
        """
        others = {
            member: [self.names[other] for other in group if other != member]
            for group in self.groups
            for member in group
        }
        return [
            {
                "name": name,
                "labels": int(count),
                "quality": None if np.isnan(quality) else round(float(quality), 4),
                "agreement": None if np.isnan(agreement) else round(float(agreement), 4),
                "copies": others.get(place, []),
            }
            for place, (name, count, quality, agreement) in enumerate(
                zip(self.names, self.votes.counts, self.quality, self.agreement, strict=True)
            )
        ]


def majority(given: Votes) -> Consensus:
    """The class with most answers; of equal ones that with more answers in the whole set, then the first.

    ``probs`` are shares of answers; ``confusion`` and the rest are those of one pass of ``dawid_skene`` from there.
    """
    tally = given.tally
    total = tally.sum(0)
    rank = np.empty(given.classes, dtype=np.int64)
    rank[np.lexsort((-np.arange(given.classes), total))] = np.arange(given.classes)
    labels = np.where(tally.sum(1) > 0, (tally * given.classes + rank).argmax(1), UNASKED)
    prior = total / total.sum() if total.sum() else np.full(given.classes, 1 / given.classes)
    probs = np.where(tally.sum(1, keepdims=True) > 0, tally / np.maximum(tally.sum(1, keepdims=True), 1), prior)
    asked = Asked(given, silence=True)
    model = Model(asked, shared=True, strength=1.0)
    confusion, quality, agreement = _judge(Fit(model, np.arange(len(given.names)), 1), given)
    return Consensus(given, labels, probs, confusion, quality, agreement, prior, rule="majority")


def dawid_skene(
    given: Votes,
    *,
    shared: bool = True,
    strength: float = 1.0,
    alike: Alike = "matrix",
    silence: Literal["auto", "ignore"] = "auto",
    iterations: int = 1000,
) -> Consensus:
    """The consensus by EM, deterministic, started at the shares of answers.

    Args:
        given: the answers.
        shared: draw each annotator's matrix towards the one that all of them share; False: towards nothing, with a
            hundredth of a pseudo-label a cell, which is the model of 1979.
        strength: pseudo-labels a cell of the shared matrix, above 0.
        alike: the shared matrix: any ("matrix"), or one accuracy and errors of every kind equally often ("coin").
        silence: "auto": model whether annotators of a single label answer at all; "ignore": nobody's silence counts.
        iterations: the most passes of EM.

    Returns:
        The consensus. Where nobody answered anything, all labels are -1 and the shares are even.

    Raises:
        ValueError: a strength that is not above 0.
    """
    if not strength > 0:
        raise ValueError(f"strength is {strength}; it must be above 0")
    return Fit.of(given, shared=shared, strength=strength, alike=alike, silence=silence, iterations=iterations).judged(
        given
    )


class Fit:
    """A fitted model of answers.

    Attributes:
        q: probability of each class ``[rows, C]`` of the samples that take part.
        trace: log posterior after each pass.
        model: the parameters.
        owner: ``[A]``: the annotator that the model has in each one's place; the first of a group that counts once.
    """

    def __init__(self, model: Model, owner: Labels, iterations: int, tolerance: float = TOLERANCE) -> None:
        self.model, self.asked, self.owner = model, model.asked, owner
        self.q, self.trace = expectation_maximisation(model, model.asked.start, iterations, tolerance)

    @classmethod
    def of(
        cls,
        given: Votes,
        *,
        shared: bool = True,
        strength: float = 1.0,
        alike: Alike = "matrix",
        silence: Literal["auto", "ignore"] = "auto",
        iterations: int = 1000,
        tolerance: float = TOLERANCE,
        groups: Sequence[Sequence[int]] = (),
    ) -> Fit:
        """The model of some answers.

        Args:
            given: the answers.
            shared: here and below: as for ``dawid_skene``.
            strength: of what annotators share.
            alike: what that is.
            silence: whose silence counts.
            iterations: the most passes of EM.
            tolerance: gain of the log posterior, relative, below which EM ends.
            groups: annotators who count once.
        """
        owner = owners(len(given.names), groups)
        asked = Asked(counted_once(given, owner) if groups else given, silence=silence == "auto")
        model = Model(asked, shared=shared, strength=strength, alike=alike, tolerance=tolerance)
        return cls(model, owner, iterations, tolerance)

    @classmethod
    def each(
        cls, given: Votes, scale: Sequence[tuple[Alike, float]], *, iterations: int, tolerance: float
    ) -> Iterator[Fit]:
        """The models of a scale, each the kind and the strength of what annotators share, which is found once."""
        asked, owner = Asked(given, silence=True), np.arange(len(given.names))
        for alike, strength in scale:
            model = Model(asked, shared=True, strength=strength, alike=alike, tolerance=tolerance)
            yield cls(model, owner, iterations, tolerance)

    def once(self, given: Votes) -> Votes:
        """The answers with those of a group counted once, as the model takes them."""
        return counted_once(given, self.owner)

    def log_likelihood(self, given: Votes) -> Floats:
        """``[N]``: of all answers on each sample, which need not be among those that were fitted; no silence counts."""
        once = self.once(given)
        joint = np.tile(np.log(self.model.pi), (given.samples, 1))
        np.add.at(joint, once.items, np.log(self.model.theta[once.annotators, :, once.labels]))
        found: Floats = logsumexp(joint, axis=1)
        return found

    def probs(self, samples: int) -> Floats:
        """``[N, C]``: where a sample takes no part, the class shares."""
        probs = np.tile(self.model.pi, (samples, 1))
        probs[self.asked.rows] = self.q
        return probs

    def without_itself(self, given: Votes) -> Floats:
        """``[M, C]``: for every answer, what those of the others say of its sample."""
        return _without_themselves(self, given, _places(self.asked, given))

    def predicted(self, items: Labels, annotators: Labels, labels: Labels) -> Floats:
        """How likely further answers ``[M]`` on the same samples are, given those that the model was fitted to."""
        samples = int(max(self.asked.rows.max(initial=0), items.max(initial=0))) + 1
        theta = self.model.theta[self.owner[annotators], :, labels]
        said: Floats = (self.probs(samples)[items] * theta).sum(1)
        return said

    def judged(self, given: Votes, beside: Floats | float = 0.0) -> Consensus:
        """The consensus, and who gave how good answers.

        Args:
            given: the answers that the model was fitted to, and maybe more on the same samples.
            beside: log-odds ``[M, C]`` of other evidence on each answer's sample, by which annotators are judged, too.
        """
        probs = self.probs(given.samples)
        labels = np.where(np.bincount(given.items, minlength=given.samples) > 0, probs.argmax(1), UNASKED)
        confusion, quality, agreement = _judge(self, given, beside)
        silent = tuple(self.asked.single.tolist())
        return Consensus(given, labels, probs, confusion, quality, agreement, self.model.pi, tuple(self.trace), silent)


def _judge(fitted: Fit, given: Votes, beside: Floats | float = 0.0) -> tuple[Floats, Floats, Floats]:
    """Confusion, quality and agreement of the annotators; the last two are judged without their own answers.

    Who is of a group that counts once is judged without the answers of all of the group; where nothing else is known
    of a sample, its answer does not count, for it would show who answered alone and not who is good.
    """
    model, asked, q = fitted.model, fitted.asked, fitted.q
    classes, who, count = asked.classes, given.annotators, given.counts
    items = _places(asked, given)
    others = _without_themselves(fitted, given, items, beside)
    met = met_another(given.items, who, fitted.owner) | (len(asked.single) > 0 or bool(np.any(beside)))
    right = others[np.arange(len(who)), given.labels]
    with np.errstate(invalid="ignore", divide="ignore"):
        agreement = np.bincount(who, right * met, minlength=len(count)) / np.bincount(who, met, minlength=len(count))
    columns = who * classes + given.labels
    cells = sparse.csr_matrix(
        (np.ones(len(who)), (np.arange(len(who)), columns)), shape=(len(who), len(count) * classes)
    )
    table = model.counts(others * met[:, None], cells)
    says = model.confusion(table)
    fired = table.sum(2)[asked.single]
    says[asked.single, :, asked.single_label] = model.answering(fired, q.sum(0))
    used = np.zeros((len(count), classes), dtype=bool)
    used[who, given.labels] = True
    used |= ~used.any(1, keepdims=True)
    precision = np.diagonal(says, axis1=1, axis2=2) / says.sum(1)
    quality = np.where(count > 0, (precision * used).sum(1) / used.sum(1), np.nan)
    confusion = model.confusion(model.counts(q[items], cells))
    return confusion, quality, agreement


def _places(asked: Asked, given: Votes) -> Labels:
    """``[M]``: the row of ``q`` that each answer is about; who answered anything takes part."""
    place = np.full(given.samples, -1, dtype=np.int64)
    place[asked.rows] = np.arange(len(asked.rows))
    found: Labels = place[given.items]
    return found


def _without_themselves(fitted: Fit, given: Votes, items: Labels, beside: Floats | float = 0.0) -> Floats:
    """``[M, C]``: for every answer, what the answers of the others (and of no other of its group) say of its sample."""
    asked, q, owner = fitted.asked, fitted.q, fitted.owner[given.annotators]
    keys = np.concatenate([asked.items * asked.annotators + asked.who, items * asked.annotators + owner])
    _, place = np.unique(keys, return_inverse=True)
    own = np.zeros((place.max(initial=-1) + 1, asked.classes))
    np.add.at(own, place[: len(asked.items)], np.log(fitted.model.said()))
    with np.errstate(divide="ignore"):
        rest = np.log(q[items]) - own[place[len(asked.items) :]] + beside
    rest = np.where(np.isneginf(rest), -1e30, rest)
    found: Floats = softmax(rest, axis=1)
    return found
