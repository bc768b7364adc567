"""Annotators who copy from one another or collude: whose agreement independent errors do not explain.

Two answers ``(a, b)`` on a sample agree, if they are independent given the class, with the probability

    e_i = sum_k q_ik sum_l theta_a[k, l] theta_b[k, l]

where ``q_i`` is what the OTHER answers on the sample say (with one matrix for all annotators, so that a group of copies
cannot make itself right), and ``theta`` is the likeliest with these as the prior. Over the common samples of a pair,
``lambda = (agreed - e) / (1 - e)`` is the share of answers that were copied. Pairs beyond chance form groups. Who
copied most comes first, and the others are asked again with that group counted once. Two experts among guessers agree
beyond what the others explain as well, so a group counts only where the likelihood of ALL answers on samples that were
held out is greater, beyond doubt, with its answers counted once, and their repetition explained by copying, than with
independent annotators. Three copies outvote three honest ones, and then it is these who agree beyond the "truth". So
those who nearly always give one answer are tried first. Rules of one label are known to agree, and left out. Ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform
from scipy.special import ndtri, softmax

from codivide.core.types import Floats, Labels
from codivide.noise.consensus import Fit
from codivide.noise.once import owners
from codivide.noise.votes import Votes, counted_once

_LEAST_COMMON = 8  # samples that a pair must share
_LEAST_COPIED = 0.4  # share of copied answers from which a pair counts
_SAME = (0.95, 0.85, 0.75)  # of the common samples with one answer: who may be copies that pass for the truth
_CHANCE = 1e-3  # that any pair of honest annotators is named
_SURE = 2.0  # standard errors by which copying must explain the answers better
_FOLDS = 3
_PASSES = 100
_LOOKS, _SETTLED = 20, 1e-3  # passes of EM for the annotators' matrices, and the change below which it ends
_ENOUGH = 1e-6  # gain below which EM ends while models are compared
_MOST = 2_000_000  # pairs of answers that are looked at
_LARGEST = 2_000  # annotators in one cluster analysis
_CHUNK = 4_000_000  # numbers at a time


class Copies(NamedTuple):
    """A group of annotators whose answers are not independent.

    Attributes:
        members: annotators, the lowest number first.
        common: samples that at least two of them answered, pair by pair.
        agreed: share of these on which the pair gave one answer.
        expected: the same if they were independent.
    """

    members: tuple[int, ...]
    common: int
    agreed: float
    expected: float


@dataclass(frozen=True)
class _Pairs:
    """Pairs of annotators with enough common samples, ``[P]`` each."""

    first: Labels
    second: Labels
    common: Floats
    agreed: Floats
    expected: Floats
    variance: Floats

    def suspicious(self) -> NDArray[np.bool_]:
        """Mask of the pairs that agree beyond chance, in at least ``_LEAST_COPIED`` of what is left to agree on."""
        beyond = self.agreed - self.expected
        limit = -ndtri(_CHANCE / max(len(self.first), 1))
        surely = beyond > limit * np.sqrt(self.variance + 1)
        found: NDArray[np.bool_] = surely & (beyond >= _LEAST_COPIED * (self.common - self.expected))
        return found

    def of(self, members: tuple[int, ...]) -> Copies:
        """What is known of a group."""
        inside = np.isin(self.first, members) & np.isin(self.second, members)
        common = self.common[inside].sum()
        agreed, expected = (float(each[inside].sum() / common) for each in (self.agreed, self.expected))
        return Copies(members, int(common), agreed, expected)

    def copied(self) -> Floats:
        """Share of the answers that were copied, by what the pairs agree on beyond independence."""
        return (self.agreed - self.expected) / np.maximum(self.common - self.expected, 1e-9)


def find(given: Votes, silent: Labels) -> list[Copies]:
    """The groups that count once, the clearest first.

    While copies pass for the truth, honest annotators agree beyond it, too. So who else copies is asked again with the
    answers of a group that was found counted once.

    Args:
        given: the answers.
        silent: annotators who are rules of one label.
    """
    mine = ~np.isin(given.annotators, silent)
    given = replace(given, items=given.items[mine], annotators=given.annotators[mine], labels=given.labels[mine])
    found: list[Copies] = []
    explained: Floats | None = None
    while True:
        known = [each.members for each in found]
        pairs = _pairs(counted_once(given, owners(len(given.names), known)))
        candidates = [*_nearly_the_same(pairs, len(given.names)), *_groups(pairs, len(given.names))]
        candidates = [group for group in dict.fromkeys(candidates) if not set(group) & set(sum(known, ()))]
        for members in candidates:
            before = _held_out(given, known) if explained is None else explained
            explained = _held_out(given, [*known, members])
            gain = explained - before
            if gain.sum() > _SURE * gain.std() * np.sqrt(len(gain)):
                found.append(pairs.of(members))
                break
            explained = before
        else:
            return found


def _held_out(given: Votes, groups: Sequence[tuple[int, ...]]) -> Floats:
    """``[N]``: log-likelihood of the answers on each sample by a model of the other folds' samples."""
    fold = np.random.default_rng(0).permutation(given.samples) % _FOLDS
    found = sum((_repeated(given, group) for group in groups), np.zeros(given.samples))
    for k in range(_FOLDS):
        fitted = Fit.of(
            given.take(np.flatnonzero(fold != k)),
            groups=groups,
            silence="ignore",
            iterations=_PASSES,
            tolerance=_ENOUGH,
        )
        found[fold == k] += fitted.log_likelihood(given.take(np.flatnonzero(fold == k)))
    return found


def _pairs(given: Votes) -> _Pairs:
    """All pairs of answers on one sample, summed over pairs of annotators."""
    one, other = _pairs_of_answers(given)
    count, classes = len(given.names), given.classes
    codes, place = np.unique(given.annotators[one] * count + given.annotators[other], return_inverse=True)
    common = np.bincount(place, minlength=len(codes))
    enough = (common >= _LEAST_COMMON) & (codes // count != codes % count)  # of a group both answers may be there
    kept = enough[place]
    one, other, place = one[kept], other[kept], (np.cumsum(enough) - 1)[place[kept]]
    codes, shared = codes[enough], common[enough].astype(np.float64)
    first, second = codes // count, codes % count
    log_said, log_joint = _alike(given)
    theta = _judged_by_others(given, log_said, log_joint)
    agreed, expected, variance = np.zeros((3, len(codes)))
    step = max(1, _CHUNK // (classes * classes))
    for start in range(0, len(one), step):
        a, b, where = (each[start : start + step] for each in (one, other, place))
        rest = log_joint[given.items[a]] - log_said[:, given.labels[a]].T - log_said[:, given.labels[b]].T
        others = softmax(rest, axis=1)
        both, inverse = np.unique(where, return_inverse=True)
        alike = (theta[first[both]] * theta[second[both]]).sum(2)  # [P, C]
        chance = (others * alike[inverse]).sum(1)
        agreed += np.bincount(where, given.labels[a] == given.labels[b], minlength=len(codes))
        expected += np.bincount(where, chance, minlength=len(codes))
        variance += np.bincount(where, chance * (1 - chance), minlength=len(codes))
    return _Pairs(first, second, shared, agreed, expected, variance)


def _pairs_of_answers(given: Votes) -> tuple[Labels, Labels]:
    """Numbers ``[Q]`` of two answers on one sample, the first by the annotator of the lower number."""
    order = np.lexsort((given.annotators, given.items))
    size = np.bincount(given.items, minlength=given.samples)
    after = np.cumsum(size)[given.items[order]] - np.arange(len(order)) - 1  # answers on the sample that follow
    total = np.cumsum(after)
    if len(total) and total[-1] > _MOST:  # enough samples for the estimate, evenly from the whole set
        order = order[(given.items[order] % int(np.ceil(total[-1] / _MOST))) == 0]
        kept = given.items[order]
        size = np.bincount(kept, minlength=given.samples)
        after = np.cumsum(size)[kept] - np.arange(len(order)) - 1
    one = np.repeat(np.arange(len(order)), after)
    other = one + 1 + np.arange(len(one)) - np.repeat(np.cumsum(after) - after, after)
    return order[one], order[other]


def _alike(given: Votes) -> tuple[Floats, Floats]:
    """Log of the matrix that all share ``[C, C]``, and of how likely each class and all answers are, ``[N, C]``."""
    fitted = Fit.of(given, alike="coin", strength=1e6, silence="ignore", iterations=50, tolerance=_ENOUGH)
    log_said = np.log(fitted.model.theta.mean(0))
    log_joint = np.tile(np.log(fitted.model.pi), (given.samples, 1))
    tally = sparse.csr_matrix(
        (np.ones(len(given.items)), (given.items, given.labels)), shape=(given.samples, given.classes)
    )
    return log_said, log_joint + tally @ log_said.T


def _judged_by_others(given: Votes, log_said: Floats, log_joint: Floats) -> Floats:
    """Matrices ``[A, C, C]`` under which each annotator's answers are likeliest, with one pseudo-label a row.

    What the others say of a sample is the prior of its class. They are unsure, and where nobody else has answered they
    say nothing: counting answers by the prior alone would make everybody look worse than they are, and honest
    annotators like copies.
    """
    classes, count = given.classes, len(given.names)
    rest = log_joint[given.items] - log_said[:, given.labels].T
    others = softmax(rest, axis=1)
    cells = sparse.csr_matrix(
        (np.ones(len(given.items)), (given.annotators * classes + given.labels, np.arange(len(given.items)))),
        shape=(count * classes, len(given.items)),
    )
    found: Floats = np.tile(np.exp(log_said), (count, 1, 1))
    for _ in range(_LOOKS):
        right = others * found[given.annotators, :, given.labels]
        right /= right.sum(1, keepdims=True)
        table = np.asarray(cells @ right).reshape(count, classes, classes).transpose(0, 2, 1) + np.exp(log_said)
        before, found = found, table / table.sum(2, keepdims=True)
        if np.abs(found - before).max() < _SETTLED:
            break
    return found


def _groups(pairs: _Pairs, count: int) -> list[tuple[int, ...]]:
    """Groups within which the mean pair is suspicious, those that copied most first."""
    seen, copied = pairs.suspicious(), pairs.copied()
    found = _clusters(pairs, seen, copied, _LEAST_COPIED, count)
    return sorted(found, key=lambda group: -_inside(pairs, group, copied))


def _nearly_the_same(pairs: _Pairs, count: int) -> list[tuple[int, ...]]:
    """Groups of three or more who agree with each other more than with anybody else, the most alike first."""
    alike = pairs.agreed / pairs.common
    found = []
    for least in _SAME:
        for group in _clusters(pairs, alike >= least, alike, least, count):
            one, other = np.isin(pairs.first, group), np.isin(pairs.second, group)
            outside = alike[one ^ other].max(initial=0.0)
            if len(group) > 2 and _inside(pairs, group, alike) > outside > 0:
                found.append(group)
    return found


def _inside(pairs: _Pairs, group: tuple[int, ...], share: Floats) -> float:
    """The mean of a share ``[P]`` over the pairs of a group."""
    return float(share[np.isin(pairs.first, group) & np.isin(pairs.second, group)].mean())


def _clusters(pairs: _Pairs, seen: NDArray[np.bool_], share: Floats, least: float, count: int) -> list[tuple[int, ...]]:
    """Groups of two or more, of those joined by pairs that are ``seen``, whose mean ``share`` is at least ``least``."""
    if not seen.any():
        return []
    first, second = pairs.first, pairs.second
    graph = sparse.csr_matrix((np.ones(seen.sum()), (first[seen], second[seen])), shape=(count, count))
    _, part = connected_components(graph, directed=False)
    found = []
    for each in np.unique(part[first[seen]]):
        members = np.flatnonzero(part == each)[:_LARGEST]
        place = np.full(count, -1)
        place[members] = np.arange(len(members))
        inside = (place[first] >= 0) & (place[second] >= 0)
        distance = np.ones((len(members), len(members)))
        distance[place[first[inside]], place[second[inside]]] = 1 - np.clip(share[inside], 0, 1)
        distance = np.minimum(distance, distance.T)
        np.fill_diagonal(distance, 0)
        cluster = fcluster(linkage(squareform(distance), "average"), 1 - least, "distance")
        found += [tuple(members[cluster == k].tolist()) for k in np.unique(cluster) if (cluster == k).sum() > 1]
    return found


def _repeated(given: Votes, group: tuple[int, ...]) -> Floats:
    """``[N]``: log of how likely it is that further answers of the group repeat one, or do not, at its own rate."""
    mine = np.isin(given.annotators, group)
    items, labels = given.items[mine], given.labels[mine]
    every = np.bincount(items, minlength=given.samples)
    once = np.unique(items * given.classes + labels) // given.classes
    different = np.bincount(once, minlength=given.samples)
    same, other = every - different, np.maximum(different - 1, 0)
    rate = (same.sum() + 1) / (same.sum() + other.sum() + 2)
    found: Floats = same * np.log(rate) + other * np.log(1 - rate)
    return found
