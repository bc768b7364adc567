"""How many labels are wrong, and which: the rule of ``noise.report`` on arrays of probabilities.

All is NumPy, float64, deterministic; no true label is ever looked at.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from codivide.core.types import Floats, Labels
from codivide.noise import mixtures, transition
from codivide.noise.confidence import self_confidence
from codivide.noise.latent import LEAST, Latent, confident_joint, latent_noise

APART = 12**0.5  # standard deviations between the two halves of a uniform distribution, in which there are no groups
EVEN, ONE_WAY = 0.35, 0.55  # concentrations up to which noise counts as symmetric, and from which on as asymmetric
MOST_ROWS = 20_000  # that an estimate rests on
_MOST_CELLS = 8_000_000  # of samples times classes, likewise
_PAIR = 10  # samples of either kind that a pair of classes is compared by
LATENT = "latent noise"  # the lower estimate, in which no error of a classifier is counted
JOINT = "confident joint"  # the upper one, in which a classifier's errors are
MIXTURE = "loss mixture"  # where losses show two groups
_FEWEST = 10  # labels of a class that a mixture is fitted to


class Rates(NamedTuple):
    """What the rule says of the labels.

    Attributes:
        rate: share of wrong labels.
        estimates: the single estimates by name.
        joint: ``[C, C]`` counts of (true, given).
        latent: the fitted model.
        doubt: of the classifier itself, in [0, 1].
        follows: how far wrong labels follow the sample (``pair_dependence``), and on how many labels that rests.
    """

    rate: float
    estimates: dict[str, float]
    joint: Floats
    latent: Latent
    doubt: float
    follows: tuple[float, int]


def rates(probs: Floats, given: Labels, mixture: float | None, *, learned: float | None = None) -> Rates:
    """Apply the rule once.

    Args:
        probs: ``[N, C]``.
        given: labels ``[N]`` in ``0 .. C - 1``.
        mixture: the rate by the mixture on losses; None: the losses show no two groups.
        learned: how far the classifier, in [0, 1], has learned from these very labels; None: it has not seen them. Its
            being sure then proves so much less: the rate goes so much of the rest of the way to the upper estimate; and
            ``grouped`` has the last word, since groups stay where all labels begin to look right.
    """
    latent = latent_noise(probs, given)
    counted = confident_joint(probs, given)
    if learned is None:
        counted = grouped(counted, probs, given)
    lower, confident = wrong_share(latent.joint), wrong_share(counted)
    estimates = {LATENT: lower, JOINT: confident}
    if mixture is not None:
        estimates[MIXTURE] = mixture
    doubt = 1 - float(latent.prior.max(1).mean())
    follows = pair_dependence(latent.prior, probs, given)
    rate = _between(lower, confident, mixture, share=_share(doubt, follows, max(lower, mixture or 0.0), learned))
    joint = _at_rate(latent.joint, counted, rate)
    if learned is not None:
        parted = grouped(joint, probs, given)
        if not np.array_equal(parted, joint):
            estimates["groups"] = rate = wrong_share(parted)
        joint = parted
    return Rates(rate, estimates, joint, latent, doubt, follows)


def _at_rate(lower: Floats, upper: Floats, rate: float) -> Floats:
    """The mixture of two joints, whose wrong counts are then scaled, that has this rate."""
    first, second = wrong_share(lower), wrong_share(upper)
    share = float(np.clip((rate - first) / (second - first), 0.0, 1.0)) if second > first else 0.0
    mixed = (1 - share) * lower + share * upper
    found = wrong_share(mixed)
    if found < rate and found > 0:  # above the confident joint: as the mixture on losses has it
        off = mixed * (1 - np.eye(len(mixed)))
        off *= np.minimum(rate / found, mixed.sum(0) / np.maximum(off.sum(0), 1e-12))
        mixed = off + np.diag(mixed.sum(0) - off.sum(0))
    return mixed


def _between(lower: float, confident: float, mixture: float | None, *, share: float) -> float:
    """The rate, so far from the lower to the upper estimate."""
    upper = max(confident, lower)
    if mixture is not None:
        upper = 0.5 * (upper + max(mixture, lower))
    return lower + share * (upper - lower)


def _share(doubt: float, follows: tuple[float, int], certain: float, learned: float | None) -> float:
    """How far the rate lies from the lower to the upper estimate, in [0, 1]."""
    share = max(doubt, by_sample(follows, certain))
    return share + (learned or 0.0) * (1 - share)


def deviation(
    found: Rates,
    probs: Floats,
    given: Labels,
    mixture: float | None,
    *,
    learned: float | None,
    replicates: int,
    rng: np.random.Generator,
) -> float:
    """Standard deviation of the rate over bootstrap samples.

    A replicate draws the rows anew, and whether each label is wrong by its own p(clean); the rule is applied to what is
    counted. The classifier and the latent model stay as they are, so that a replicate costs no more than its draws.

    Args:
        found: the rule's answer to the other arguments.
        probs: as in ``rates``, like the next three.
        given: labels.
        mixture: the rate by the mixture.
        learned: how far from these labels.
        replicates: at least 2.
        rng: of all draws.
    """
    count, classes = len(given), len(found.joint)
    true = transition.confident_classes(torch.from_numpy(probs), torch.from_numpy(given)).numpy()
    wrong = 1 - np.diag(found.joint) / np.maximum(found.joint.sum(0), 1e-12)
    drawn = []
    for _ in range(replicates):
        rows = rng.integers(count, size=count)
        chance, labels, sure = rng.random(count), given[rows], true[rows] >= 0
        if "groups" in found.estimates:
            drawn.append(float((chance < wrong[labels]).mean()))
            continue
        counted = np.bincount(labels[sure], minlength=classes)
        kept = np.bincount(labels[sure & (true[rows] == labels)], minlength=classes)
        off = np.where(counted > 0, 1 - kept / np.maximum(counted, 1), 0.0)
        lower, confident = float((chance > found.latent.clean_prob[rows]).mean()), float(off[labels].mean())
        share = _share(found.doubt, found.follows, max(lower, mixture or 0.0), learned)
        drawn.append(_between(lower, confident, mixture, share=share))
    return float(np.std(drawn, ddof=1))


def grouped(joint: Floats, probs: Floats, given: Labels) -> Floats:
    """A joint whose noise rates are those of groups, in the classes whose labels fall into two of them.

    What a network memorises looks ever more right, but later than what it learned: averaged over training, wrong labels
    stay a group of their own. A Gaussian mixture is fitted to the ``self_confidence`` of the labels of each
    class; it counts from where its means are farther apart than chance makes them (``APART`` pooled standard
    deviations; Ashman's D), and alone from one more on. Wrong labels of the class are spread over the others as the
    probabilities say.

    Args:
        joint: counts ``[C, C]`` of (true, given) by another rule.
        probs: ``[N, C]`` averaged over training.
        given: labels ``[N]`` in ``0 .. C - 1``.

    Returns:
        ``[C, C]``; the columns sum to what they do in ``joint``.
    """
    doubt = 1 - self_confidence(probs, given)
    answer = joint.copy()
    for c in range(len(joint)):
        members = np.flatnonzero(given == c)
        scores = torch.from_numpy(doubt[members])
        fitted = mixtures.mixture(scores) if len(members) >= _FEWEST else None
        if fitted is None:
            continue
        apart = float((fitted.mean[1] - fitted.mean[0]).abs() / fitted.variance.mean().sqrt())
        trust = min(max(apart - APART, 0.0), 1.0)
        if not trust:
            continue
        wrong = 1 - mixtures.gmm(scores).clean_prob.double().numpy()
        others = probs[members].copy()
        others[:, c] = 0.0
        others /= np.maximum(others.sum(1, keepdims=True), 1e-12)
        column = wrong @ others
        column[c] = len(members) - column.sum()
        answer[:, c] = (1 - trust) * joint[:, c] + trust * column * (joint[:, c].sum() / len(members))
    return answer


def by_sample(follows: tuple[float, int], certain: float) -> float:
    """How far noise that is certainly there also hides where samples are ambiguous, in [0, 1].

    Errors of people gather at ambiguous samples. They do, as far as it can be seen, where within pairs of classes the
    wrong labels depend on the sample: full from 0.05 above two standard errors of ``pair_dependence`` on.
    Errors of a classifier on clean labels look the same, so this counts from a ``certain`` rate of 5 % on, and fully
    from 10 %.

    Args:
        follows: what ``pair_dependence`` found.
        certain: rate of wrong labels that is at least there: the lower estimate, or what two groups of losses say.
    """
    dependence, size = follows
    if not size:
        return 0.0
    error = (1 / (3 * size)) ** 0.5  # of 2 AUROC - 1 of so many among many more
    sure = np.clip((certain - 0.05) / 0.05, 0, 1)
    return float(sure * np.clip((dependence - 2 * error) / 0.05, 0, 1))


def pair_dependence(prior: Floats, scores: Floats, given: Labels) -> tuple[float, int]:
    """Whether, within a pair of classes, which labels are wrong depends on the sample.

    Of the samples that surely belong to class c (``prior_c > 0.9``), those given c and those given d are compared: when
    noise depends on the class only, the score of d against c cannot tell them apart, and the AUROC is 1/2. It is
    averaged over all pairs with 10 samples of either kind, by the number given d.

    Args:
        prior: ``[N, C]``, P(true | sample) by ``latent_noise``.
        scores: probabilities ``[N, C]``, out of sample.
        given: labels ``[N]``.

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
        if len(kept) < _PAIR:
            continue
        for d in np.flatnonzero(counts >= _PAIR):
            if d != c:
                strayed = members[given[members] == d]
                below = np.sort(logs[kept, d] - logs[kept, c])
                value = logs[strayed, d] - logs[strayed, c]
                places = np.searchsorted(below, value, "left") + np.searchsorted(below, value, "right")
                total += float(places.sum()) / (2 * len(kept))
                size += len(strayed)
    return (max(2 * total / size - 1, 0.0) if size else 0.0), size


def never_predicted(probs: Floats, given: Labels) -> Labels:
    """Classes that labels name and that are no sample's likeliest: nothing can be said of their labels.

    Args:
        probs: ``[N, C]``.
        given: labels ``[N]``, -1: none.
    """
    classes = probs.shape[1]
    asked = np.bincount(given[given >= 0], minlength=classes)
    return np.flatnonzero((asked > 0) & (np.bincount(probs.argmax(1), minlength=classes) == 0))


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


def one_way(joint: Floats) -> float:
    """How far noise counts as one-way, in [0, 1]: its ``concentration`` from ``EVEN`` to ``ONE_WAY``."""
    return float(np.clip((concentration(joint) - EVEN) / (ONE_WAY - EVEN), 0.0, 1.0))


def not_returned(joint: Floats) -> float:
    """The share of the wrong counts ``[C, C]`` of (true, given) that no counts the other way match; 0 without any.

    Two classes that a classifier can hardly tell apart are taken for each other both ways, whatever the labels are.
    """
    noise = np.maximum(joint - np.diag(np.diag(joint)), 0.0)
    return float(np.maximum(noise - noise.T, 0.0).sum() / max(float(noise.sum()), 1e-12))


def wrong_rows(joint: Floats) -> Floats:
    """How often each class is given another label, ``[C, C]`` with a diagonal of 0, by counts of (true, given).

    One count is added to each pair, so that nothing is impossible.
    """
    found: Floats = (joint + 1) / (joint + 1).sum(1, keepdims=True)
    np.fill_diagonal(found, 0.0)
    return found


def mixture_rate(losses: Floats) -> float | None:
    """The rate of wrong labels by a mixture on losses ``[N]``; None where they show no two groups."""
    division = mixtures.gmm(torch.from_numpy(losses))
    return float(1 - division.clean_prob.double().mean()) if division.separates else None


def fitted_rows(count: int, classes: int, limit: int, seed: int) -> Labels:
    """The rows, in order, that a fit of so many samples and classes rests on: all, or some drawn at random."""
    most = min(limit, max(_MOST_CELLS // classes, 10))
    rows = np.arange(count)
    return rows if count <= most else np.sort(np.random.default_rng(seed).permutation(count)[:most])
