"""The consensus of several annotators by the model that their own answers speak for, without truth.

1. The model of Dawid and Skene with independent annotators, and groups who copy or collude (``codivide.noise.copies``).
   A group counts once.
2. Between that model and the majority vote is a scale: how strongly every annotator is drawn towards what all share.
   The answers are dealt into folds; each model is fitted without one and says how likely its answers are. The greatest
   held-out likelihood chooses. With few answers it is a vote of equals, with many every annotator has a matrix.
3. Where a classifier's probabilities ``p_ik`` are given, which no label of the sample has made, they count as the class
   shares of each sample: ``q_ik`` is proportional to ``pi_k (p_ik / mean_i p_ik)^w`` times what the answers say. How
   far to trust the classifier, ``w``, is what makes every answer likeliest given the OTHER answers and the classifier.
   Annotators are weighed by their matrices. (CROWDLAB, Goh, Tkachenko and Mueller 2022, averages probabilities instead,
   with weights from the agreement with the consensus; docs/howto/annotators.md compares.)
4. What the reader must know is said in ``Consensus.remarks``: who counts once, whose silence counts or does not, which
   labels nobody gave, and who answered nothing.

Where most answers come from rules of one label, there is no scale: what they say is known beforehand, and only whether
they speak tells something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from codivide.core.types import Floats
from codivide.core.words import counted, first_few
from codivide.noise import copies
from codivide.noise.annotator_model import Alike
from codivide.noise.consensus import Consensus, Fit, dawid_skene
from codivide.noise.votes import Votes

#: Models from the most to the least particular: the shared matrix, and how strongly annotators are drawn to it.
SCALE: tuple[tuple[Alike, float], ...] = (
    ("matrix", 1.0),
    ("coin", 1.0),
    ("coin", 4.0),
    ("coin", 16.0),
    ("matrix", 1e6),
    ("coin", 1e6),
)
_JUDGED = 16.0  # the most pseudo-answers a cell when annotators are judged beside a classifier
_FOLDS = 3
_PASSES = 60  # of EM while models are compared
_ENOUGH = 1e-6  # gain below which it ends then
MOST_TRUST = 2.0  # the highest power of a classifier's probabilities
_LEAST_PROB = 1e-6  # below which they are none to trust
_LEAST = 20  # answers below which no model is compared


def settle(given: Votes, probs: Floats | None = None) -> Consensus:
    """The consensus by the model that the answers speak for; deterministic.

    Args:
        given: the answers.
        probs: of a classifier, ``[N, C]``, each row by one that never saw a label of the sample; None: there is none.

    Returns:
        The consensus, with ``rule``, ``groups``, ``silent``, ``classifier`` and ``remarks``. A sample that nobody
        answered has no label, but with a classifier its probabilities.

    Example:
        >>> settle(Votes.of(y)).remarks
        ("annotators 'd' and 'e' give the same answer ...",)
    """
    if not len(given.items):
        return dawid_skene(given)
    fitted = Fit.of(given)
    found = copies.find(given, fitted.asked.single)
    groups = [each.members for each in found]
    if groups:
        fitted = Fit.of(given, groups=groups)
    best = _chosen(given, fitted)
    alike, strength = SCALE[best]
    if best:
        fitted = Fit.of(given, alike=alike, strength=strength, groups=groups)
    said = replace(fitted.judged(given), groups=tuple(groups), rule=_rule(alike, strength))
    if probs is not None:
        equals = strength > _JUDGED  # in the consensus; the classifier may still tell them apart
        judging = Fit.of(given, alike="coin", strength=_JUDGED, groups=groups) if equals else fitted
        said = _with_classifier(fitted, judging, said, probs)
    return replace(said, remarks=tuple(remarks(said, found)))


def judged_by(found: Consensus, probs: Floats) -> Consensus:
    """The same consensus whose annotators are judged by a classifier, too, as far as it explains their answers.

    Args:
        found: without a classifier.
        probs: as for ``settle``.
    """
    known = settle(found.votes, probs)
    return replace(found, quality=known.quality, agreement=known.agreement, classifier=known.classifier)


def undecided(found: Consensus) -> str | None:
    """That answers do not say who is better, where two annotators answered and no classifier helps; else None."""
    names = [found.names[k] for k in np.flatnonzero(found.votes.counts > 0).tolist()]
    if len(names) != 2 or found.classifier:
        return None
    return (
        f"annotators {_listed(names)} have nobody beside them: where they differ, their answers alone do not say who "
        "is right, so do not rank them by quality"
    )


def held_out(given: Votes, scale: Sequence[tuple[Alike, float]] = SCALE) -> Floats:
    """Log of how likely each answer is by every model fitted to the answers of the other folds, ``[models, M]``."""
    fold = np.empty(len(given.items), dtype=np.int64)  # the same in any order of the answers
    fold[np.lexsort((given.annotators, given.items))] = np.random.default_rng(0).permutation(len(fold)) % _FOLDS
    found = np.zeros((len(scale), len(given.items)))
    for k in range(_FOLDS):
        seen, held = fold != k, fold == k
        part = replace(given, items=given.items[seen], annotators=given.annotators[seen], labels=given.labels[seen])
        for place, fitted in enumerate(Fit.each(part, scale, iterations=_PASSES, tolerance=_ENOUGH)):
            said = fitted.predicted(given.items[held], given.annotators[held], given.labels[held])
            found[place, held] = np.log(np.maximum(said, 1e-12))
    return found


def _chosen(given: Votes, fitted: Fit) -> int:
    """The place in ``SCALE`` of the greatest held-out likelihood."""
    once = fitted.once(given)
    of_rules = np.isin(once.annotators, fitted.asked.single)
    if len(once.items) < _LEAST or 2 * of_rules.sum() > len(once.items):
        return 0
    return int(held_out(once)[:, ~of_rules].mean(1).argmax())


def _with_classifier(fitted: Fit, judging: Fit, said: Consensus, probs: Floats) -> Consensus:
    """The consensus in which a classifier's probabilities ``[N, C]`` count as far as they explain answers.

    Annotators are judged by the model ``judging``, in which they may differ.
    """
    given = said.votes
    logs = np.log(np.clip(probs, _LEAST_PROB, 1.0))
    lift = logs - np.log(np.clip(probs.mean(0), _LEAST_PROB, 1.0))
    others = np.log(np.maximum(fitted.without_itself(given), 1e-30))
    answered = fitted.model.theta[fitted.owner[given.annotators], :, given.labels]
    by_classifier = lift[given.items]

    def unlikely(weight: float) -> float:
        belief = others + weight * by_classifier
        joint = softmax(belief, axis=1)
        return -float(np.log(np.maximum((joint * answered).sum(1), 1e-30)).mean())

    weight = float(minimize_scalar(unlikely, bounds=(0.0, MOST_TRUST), method="bounded").x)
    weight = weight if unlikely(weight) < unlikely(0.0) else 0.0
    belief = np.log(np.maximum(said.probs, 1e-30)) + weight * lift
    both = softmax(belief, axis=1)
    known = judging.judged(given, weight * by_classifier)
    return replace(
        said,
        quality=known.quality,
        agreement=known.agreement,
        probs=both,
        labels=np.where(said.labels >= 0, both.argmax(1), said.labels),
        classifier=round(weight, 4),
        rule=f"{said.rule}; the classifier counts, too, with weight {weight:.2f}",
    )


def _rule(alike: Alike, strength: float) -> str:
    if strength >= 1e6:
        return "all annotators count alike" + (", by the errors that all of them make" if alike == "matrix" else "")
    shared = "the errors that all make" if alike == "matrix" else "the accuracy of all"
    more = f"{strength:g} more {'answer' if strength == 1 else 'answers'}"
    return f"each annotator is judged by their own answers, and by {shared} as by {more} for each pair of classes"


def remarks(found: Consensus, groups: Sequence[copies.Copies] = ()) -> list[str]:
    """What to tell of a consensus: copies, silence, labels that nobody gave, annotators who cannot be judged."""
    given, names = found.votes, found.names
    told = [
        f"annotators {_listed([names[k] for k in each.members])} give the same answer on {100 * each.agreed:.0f} % of "
        f"{each.common:,} common samples, where independent ones would on {100 * each.expected:.0f} %: they copy or "
        "collude, and their answers count once"
        for each in groups
    ]
    used = np.zeros((len(names), given.classes), dtype=bool)
    used[given.annotators, given.labels] = True
    counts = given.counts
    of_one = [k for k in np.flatnonzero((used.sum(1) == 1) & (counts > 1)).tolist() if k not in found.silent]
    if found.silent:
        told.append(
            f"annotators {_listed([names[k] for k in found.silent])} only ever answer one class: that they are silent "
            "on a sample was counted as evidence, too"
        )
    if of_one:
        told.append(
            f"annotators {_listed([names[k] for k in of_one])} only ever answered one class, which may be chance or "
            "the only class that anybody answered: their silence was not counted"
        )
    unsaid = int((~said_by_someone(found)).sum())
    if unsaid:
        told.append(f"of {counted(unsaid, 'sample')} the consensus is a class that none of their annotators answered")
    if len(none := np.flatnonzero(counts == 0).tolist()):
        told.append(f"annotators {_listed([names[k] for k in none])} have 0 answers and cannot be judged")
    shared = np.bincount(given.items, minlength=given.samples) > 1
    met = np.bincount(given.annotators, shared[given.items], minlength=len(names)) > 0
    if len(alone := np.flatnonzero(~met & (counts > 0)).tolist()):
        told.append(
            f"annotators {_listed([names[k] for k in alone])} share no sample with another: their labels are not "
            "checked, and their quality is what is assumed of all"
        )
    return told


def said_by_someone(found: Consensus) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Mask ``[N]`` of the samples whose consensus somebody answered, or that have none."""
    given = found.votes
    said = np.zeros((given.samples, given.classes), dtype=bool)
    said[given.items, given.labels] = True
    rows = np.arange(given.samples)
    mask: np.ndarray[tuple[int], np.dtype[np.bool_]] = (found.labels < 0) | said[rows, np.maximum(found.labels, 0)]
    return mask


def _listed(names: Sequence[str]) -> str:
    return first_few(map(repr, names))
