"""How many labels are wrong, and which: the rule of ``noise_estimate`` on arrays of probabilities.

All is NumPy, float64, deterministic; no true label is ever looked at.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from codivide import divide, evidence

Labels = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

APART = 12**0.5  # standard deviations between the two halves of a uniform distribution, in which there are no groups
EVEN, ONE_WAY = 0.35, 0.55  # concentrations up to which noise counts as symmetric, and from which on as asymmetric
MOST_ROWS = 20_000  # that an estimate rests on
_MOST_CELLS = 2_000_000  # of samples times classes, likewise
_FEWEST = 10  # labels of a class that a mixture is fitted to


class Rates(NamedTuple):
    """What the rule of ``noise_estimate`` says of the labels.

    Attributes:
        rate: share of wrong labels.
        estimates: the single estimates by name.
        joint: ``[C, C]`` counts of (true, given).
        latent: the fitted model.
        doubt: of the classifier itself, in [0, 1].
    """

    rate: float
    estimates: dict[str, float]
    joint: Floats
    latent: evidence.Latent
    doubt: float


def rates(
    probs: Floats,
    given: Labels,
    mixture: float | None,
    weight: Floats | None = None,
    start: Floats | None = None,
    steps: int = 200,
    learned: float | None = None,
) -> Rates:
    """Apply the rule once; ``weight``, ``start`` and ``steps`` as in ``evidence.latent_noise``.

    Args:
        probs: ``[N, C]``.
        given: labels ``[N]`` in ``0 .. C - 1``.
        mixture: the rate by the mixture on losses; None: the losses show no two groups.
        weight: of every sample ``[N]``.
        start: of the fit.
        steps: of the fit.
        learned: how far the classifier, in [0, 1], has learned from these very labels; None: it has not seen them. Its
            being sure then proves so much less: the rate goes so much of the rest of the way to the upper estimate; and
            ``grouped`` counts, since groups stay where all labels begin to look right.
    """
    latent = evidence.latent_noise([probs], given, weight=weight, start=start, steps=steps)
    counted = evidence.confident_joint(probs, given, weight)
    lower, confident = wrong_share(latent.joint), wrong_share(counted)
    estimates = {"latent noise": lower, "confident joint": confident}
    upper = max(confident, lower)
    if mixture is not None:
        estimates["loss mixture"] = mixture
        upper = 0.5 * (upper + min(max(mixture, lower), upper))
    doubt = 1 - float(np.average(latent.prior.max(1), weights=weight))
    share = max(doubt, by_sample(latent.prior, probs, given, lower))
    share += (learned or 0.0) * (1 - share)
    rate = lower + share * (upper - lower)
    share = (rate - lower) / (confident - lower) if confident > lower else 0.0
    joint = (1 - share) * latent.joint + share * counted
    if learned is not None:
        parted = grouped(joint, probs, given, weight)
        if not np.array_equal(parted, joint):
            estimates["groups"] = rate = wrong_share(parted)
        joint = parted
    return Rates(rate, estimates, joint, latent, doubt)


def grouped(joint: Floats, probs: Floats, given: Labels, weight: Floats | None = None) -> Floats:
    """A joint whose noise rates are those of groups, in the classes whose labels fall into two of them.

    What a network memorises looks ever more right, but later than what it learned: averaged over training, wrong labels
    stay a group of their own. A Gaussian mixture is fitted to the ``evidence.self_confidence`` of the labels of each
    class; it counts from where its means are farther apart than chance makes them (``APART`` pooled standard
    deviations; Ashman's D), and alone from one more on. Wrong labels of the class are spread over the others as the
    probabilities say.

    Args:
        joint: counts ``[C, C]`` of (true, given) by another rule.
        probs: ``[N, C]`` averaged over training.
        given: labels ``[N]`` in ``0 .. C - 1``.
        weight: of every sample ``[N]``, whole numbers; None: 1.

    Returns:
        ``[C, C]``; the columns sum to what they do in ``joint``.
    """
    doubt = 1 - evidence.self_confidence(probs, given)
    answer = joint.copy()
    for c in range(len(joint)):
        members = np.flatnonzero(given == c)
        members = members if weight is None else np.repeat(members, weight[members].astype(np.int64))
        scores = torch.from_numpy(doubt[members])
        fitted = divide.mixture(scores) if len(members) >= _FEWEST else None
        if fitted is None:
            continue
        apart = float((fitted.mean[1] - fitted.mean[0]).abs() / fitted.variance.mean().sqrt())
        trust = min(max(apart - APART, 0.0), 1.0)
        if not trust:
            continue
        wrong = 1 - divide.gmm(scores).clean_prob.double().numpy()
        others = probs[members].copy()
        others[:, c] = 0.0
        others /= np.maximum(others.sum(1, keepdims=True), 1e-12)
        column = wrong @ others
        column[c] = len(members) - column.sum()
        answer[:, c] = (1 - trust) * joint[:, c] + trust * column * (joint[:, c].sum() / len(members))
    return answer


def by_sample(prior: Floats, probs: Floats, given: Labels, lower: float) -> float:
    """How far noise that is certainly there also hides where samples are ambiguous, in [0, 1].

    Errors of people gather at ambiguous samples. They do, as far as it can be seen, where within pairs of classes the
    wrong labels depend on the sample: full from 0.1 above two standard errors of ``evidence.pair_dependence`` on.
    Errors of a classifier on clean labels look the same, so this counts from a ``lower`` estimate of the rate of 5 %
    on, and fully from 10 %.

    Args:
        prior: ``[N, C]``, P(true | sample) by ``evidence.latent_noise``.
        probs: ``[N, C]``, out of sample.
        given: labels ``[N]``.
        lower: rate of wrong labels that is at least there.
    """
    dependence, size = evidence.pair_dependence(prior, probs, given)
    if not size:
        return 0.0
    error = (1 / (3 * size)) ** 0.5  # of 2 AUROC - 1 of so many among many more
    certain = np.clip((lower - 0.05) / 0.05, 0, 1)
    return float(certain * np.clip((dependence - 2 * error) / 0.1, 0, 1))


def wrong_share(joint: Floats) -> float:
    """Share of the counts ``[C, C]`` of (true, given) that is off the diagonal."""
    return 1 - float(np.trace(joint) / joint.sum())


def concentration(joint: Floats) -> float:
    """How much of each class's noise goes to one other class: 0 evenly spread, 1 all to one.

    Args:
        joint: counts ``[C, C]`` of (true, given). Classes weigh by how many of their samples are wrong. Of two
            classes it is the distance of the two flip rates over their sum.
    """
    noise = np.maximum(joint - np.diag(np.diag(joint)), 0.0)
    classes, total = len(joint), float(noise.sum())
    if total <= 0:
        return 0.0
    if classes == 2:
        flips = noise.sum(1) / np.maximum(joint.sum(1), 1e-12)
        return float(abs(flips[0] - flips[1]) / max(flips.sum(), 1e-12))
    even = 1 / (classes - 1)
    return float((noise.max(1).sum() / total - even) / (1 - even))


def mixture_rate(losses: Floats) -> float | None:
    """The rate of wrong labels by a mixture on losses ``[N]``; None where they show no two groups."""
    division = divide.gmm(torch.from_numpy(losses))
    return float(1 - division.clean_prob.double().mean()) if division.separates else None


def combined(probs: Floats, given: Labels, *rules: Floats, set_aside: bool = False) -> Floats:
    """p(clean) ``[N]`` by self-confidence and other rules, of which each agrees with the noise rates of the classes.

    A mixture on losses knows the given label only; self-confidence also knows how sure the rivals are, and how sure the
    classifier is of each class. Each rule is shifted, class by class, to agree with a noise rate, and the mean of the
    rules is taken. The rate of a class is half-way between what the confident joint counts there and in all: its counts
    tell asymmetric noise, but they take a class that is hard to learn for a noisy one. Where wrong labels were
    ``set_aside`` in training, doubt is not noise, and the counts are those of ``rates``; ``grouped`` has the last word.

    Where the noise is one-way, doubt between classes that are not exchanged is the sample's own. The odds that a label
    is wrong are therefore multiplied by how common its rivals, weighted by their probabilities, are among the wrong
    labels of its class (1 on average); the exponent rises from 0 to 1 as the ``concentration`` of the confident joint
    goes from ``EVEN`` to ``ONE_WAY``.

    Args:
        probs: ``[N, C]``; rows sum to 1.
        given: labels ``[N]``, -1: none.
        *rules: p(clean) ``[N]`` in [0, 1] by other evidence.
        set_aside: labels that looked wrong were no targets while ``probs`` were learned.

    Returns:
        NaN where there is no label; 1 where all labels are the same.
    """
    answer = np.full(len(given), np.nan)
    labelled = np.flatnonzero(given >= 0)
    classes = np.unique(given[labelled])
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
        joint = grouped(evidence.confident_joint(scaled, labels), scaled, labels)
    wrong = 0.5 * (1 - np.diag(joint) / np.maximum(joint.sum(0), 1e-12)) + 0.5 * wrong_share(joint)
    parts = [evidence.self_confidence(scaled, labels), *(rule[labelled] for rule in rules)]
    mean = np.mean([evidence.match_rates(part, labels, wrong) for part in parts], axis=0)
    one_way = np.clip((concentration(joint) - EVEN) / (ONE_WAY - EVEN), 0.0, 1.0)
    if one_way > 0:
        mean = evidence.match_rates(_tilted(mean, _commonness(scaled, labels, joint) ** one_way), labels, wrong)
    answer[labelled] = mean
    return answer


def _commonness(probs: Floats, labels: Labels, joint: Floats) -> Floats:
    """How common the rivals of each label are among its wrong labels, ``[N]``; 1 where wrong labels come evenly."""
    transition = (joint + 1) / (joint + 1).sum(1, keepdims=True)  # one pseudo-count a pair: nothing is impossible
    np.fill_diagonal(transition, 0.0)
    relative = transition / transition.sum(0) * (len(joint) - 1)
    rivals = probs.copy()
    rivals[np.arange(len(labels)), labels] = 0.0
    total: Floats = (rivals * relative[:, labels].T).sum(1) / rivals.sum(1)
    return total


def _tilted(clean_prob: Floats, factor: Floats) -> Floats:
    """p(clean) with the odds of wrong against right multiplied."""
    kept = np.clip(clean_prob, 1e-4, 1 - 1e-4)
    return kept / (kept + (1 - kept) * factor)


def fitted_rows(count: int, classes: int, limit: int, seed: int) -> Labels:
    """The rows, in order, that a fit of so many samples and classes rests on: all, or some drawn at random."""
    most = min(limit, max(_MOST_CELLS // classes, 10))
    rows = np.arange(count)
    return rows if count <= most else np.sort(np.random.default_rng(seed).permutation(count)[:most])
