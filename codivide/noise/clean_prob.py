"""p(clean): rules made to agree with the noise rates of the classes, and combined."""

from __future__ import annotations

import numpy as np

from codivide.core.types import AnyFloats, Floats, Labels
from codivide.noise import latent
from codivide.noise.certain import FEWEST, look
from codivide.noise.confidence import self_confidence
from codivide.noise.rates import MOST_ROWS, fitted_rows, grouped, one_way, rates, wrong_rows, wrong_share
from codivide.noise.too_small import judged_classes

_FARTHEST = 40.0  # that log-odds are moved, unless they are larger
_ALMOST = 1e-15  # p(clean) is kept from 0 and 1 before it moves, by so little that the order stays


def combined(
    probs: AnyFloats, given: Labels, *others: AnyFloats, set_aside: bool = False, held_out: bool = False
) -> Floats:
    """p(clean) ``[N]`` by self-confidence and other rules, of which each agrees with the noise rates of the classes.

    A mixture on losses knows the given label only; self-confidence also knows how sure the rivals are, and how sure the
    classifier is of each class. Each rule is shifted, class by class, to agree with a noise rate, and the mean of the
    rules is taken. The rate of a class is half-way between what the confident joint counts there and in all: its counts
    tell asymmetric noise, but they take a class that is hard to learn for a noisy one. Where wrong labels were
    ``set_aside`` in training, doubt is not noise, and the counts are those of ``rates``; ``grouped`` has the last word.

    Where the noise is one-way, doubt between classes that are not exchanged is the sample's own. The odds that a label
    is wrong are therefore multiplied by how common its rivals, weighted by their probabilities, are among the wrong
    labels of its class (1 on average); the exponent is ``one_way`` of the confident joint.

    All this counts doubt as noise. What was predicted without the labels bounds it: as long as little noise is proven,
    all log-odds are raised alike until no more is called wrong than the ``ceiling`` of ``noise.certain``.

    Args:
        probs: ``[N, C]``; rows sum to 1.
        given: labels ``[N]``, -1: none.
        *others: p(clean) ``[N]`` in [0, 1] by other rules.
        set_aside: labels that looked wrong were no targets while ``probs`` were learned.
        held_out: each row of ``probs`` is of a classifier that has not seen the label; else nothing is bounded, since
            what was learned from looks right.

    Returns:
        NaN where there is no label; 1 where all labels are the same. Labels of a class with fewer than
        ``too_small.FEWEST`` cannot be judged: they get the mean of the others, and no rate rests on them.
    """
    answer = np.full(len(given), np.nan)
    enough = judged_classes(given, probs.shape[1])
    classes, labelled = np.flatnonzero(enough), np.flatnonzero((given >= 0) & enough[given])
    if len(classes) < 2:
        answer[labelled] = 1.0
        return answer
    labels = np.searchsorted(classes, given[labelled])
    scaled = probs[labelled][:, classes].astype(np.float64) + 1e-12
    scaled /= scaled.sum(1, keepdims=True)
    if set_aside:
        rows = fitted_rows(len(labels), len(classes), MOST_ROWS, 0)
        joint = rates(scaled[rows], labels[rows], None, learned=0.0).joint
    else:
        joint = grouped(latent.confident_joint(scaled, labels), scaled, labels)
    wrong = 0.5 * (1 - np.diag(joint) / np.maximum(joint.sum(0), 1e-12)) + 0.5 * wrong_share(joint)
    parts = [self_confidence(scaled, labels), *(rule[labelled].astype(np.float64) for rule in others)]
    mean = np.mean([match_rates(part, labels, wrong) for part in parts], axis=0)
    share = one_way(joint)
    if share > 0:
        mean = match_rates(_tilted(mean, _commonness(scaled, labels, joint) ** share), labels, wrong)
    if held_out and (most := look(scaled, labels).ceiling(FEWEST)) < 1 - float(mean.mean()):
        mean = moved(mean, most)
    answer[given >= 0] = mean.mean()
    answer[labelled] = mean
    return answer


def _commonness(probs: Floats, labels: Labels, joint: Floats) -> Floats:
    """How common the rivals of each label are among its wrong labels, ``[N]``; 1 where wrong labels come evenly."""
    transition = wrong_rows(joint)
    relative = transition / transition.sum(0) * (len(joint) - 1)
    rivals = probs.copy()
    rivals[np.arange(len(labels)), labels] = 0.0
    total: Floats = (rivals * relative[:, labels].T).sum(1) / rivals.sum(1)
    return total


def _tilted(clean_prob: Floats, factor: Floats) -> Floats:
    """p(clean) with the odds of wrong against right multiplied."""
    kept = np.clip(clean_prob, 1e-4, 1 - 1e-4)
    return kept / (kept + (1 - kept) * factor)


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
    for c, rate in enumerate(rates):
        members = np.flatnonzero(given == c)
        if len(members) and np.isfinite(rate):
            answer[members] = at_rate(log_odds(clean_prob[members]), float(rate))
    return answer


def moved(clean_prob: Floats, rate: float) -> Floats:
    """p(clean) ``[N]`` in the same order, whose share of wrong labels is ``rate``, in [0, 1]."""
    return at_rate(log_odds(clean_prob, _ALMOST), rate)


def log_odds(clean_prob: Floats, least: float = 1e-6) -> Floats:
    """Of probabilities ``[N]``, which are kept ``least`` from 0 and 1."""
    kept = np.clip(clean_prob, least, 1 - least)
    odds: Floats = np.log(kept) - np.log1p(-kept)
    return odds


def at_rate(score: Floats, rate: float) -> Floats:
    """p(clean) ``[N]`` of log-odds moved to where their share of wrong labels is ``rate``, in [0, 1]."""
    low = -max(_FARTHEST, float(np.abs(score).max()) + 26)  # where every label is wrong, or right, up to 1e-11
    high = -low
    with np.errstate(over="ignore"):  # of what is surely wrong: 1 / inf is right
        for _ in range(50):
            middle = 0.5 * (low + high)
            right = float(np.add.reduce(_logistic(score + middle))) / len(score)
            low, high = (middle, high) if right < 1 - rate else (low, middle)
        return _logistic(score + 0.5 * (low + high))


def _logistic(score: Floats) -> Floats:
    answer: Floats = 1 / (1 + np.exp(-score))
    return answer
