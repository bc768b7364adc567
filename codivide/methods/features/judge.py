"""How likely each given label is clean: several kinds of held-out evidence, weighed and calibrated without truth.

The evidence for label c of sample i is how much likelier it is there as a right label than as a wrong one, by Bayes:
``log p_ic - log sum_k p_ik W_kc`` over the other classes k, of the pooled heads, and the same of the labels of its
neighbours. ``W_kc``, how often a wrong label of class k is c, cannot be known: it is the mean of three guesses, see
``wrong_labels``. How much each kind counts is learned by telling the labels that were given from labels drawn as wrong
ones are, for which the same evidence is known (noise-contrastive estimation, Gutmann and Hyvaerinen, AISTATS 2010). The
level is set by ``noise_level``. Ours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

from codivide.core.types import Floats, Labels, Mask
from codivide.noise.certain import look
from codivide.noise.clean_prob import at_rate, log_odds
from codivide.noise.rates import not_returned, one_way, wrong_rows

DRAWS = 4  # labels drawn for every sample
_MOST = 400_000  # pairs that the weights are learned from
_RIDGE = 1e-3  # on the weights
_APART = 0.1  # by which right labels are commoner among given than among drawn ones, or the two would look alike
_TELLING = 100  # labels from which on p(clean) is exact enough to call a label right against a classifier's answer
_TINY = 1e-6  # probabilities are kept from 0 before the logarithm


def evidence(probs: Tensor, wrong: Tensor) -> Tensor:
    """``log p_ic - log sum_(k != c) p_ik W_kc``, ``[N, C]`` float64: each label as a right one against as a wrong one.

    Args:
        probs: of the true class ``[N, C]``.
        wrong: ``W`` ``[C, C]``, row k: how the wrong labels of class k are given; its diagonal does not count.
    """
    others = wrong.double().clone().fill_diagonal_(0.0)
    wide = probs.double()
    return wide.clamp_min(_TINY).log() - (wide @ others).clamp_min(_TINY).log()


def wrong_labels(joint: Tensor, frequency: Tensor) -> Tensor:
    """How the wrong labels of each class are given, ``W`` ``[C, C]``: the mean of three guesses, or what is counted.

    They may be given as often as labels are (people overuse some classes), all alike (slips of the pen), or as the
    confident joint counts, which sees which classes are confused. Each alone is right for some noise, and misleads for
    other noise. The more the counts of each class are those of one other class (``rates.one_way``), and not of that
    class for this one, the more they alone tell: then a sample that looks like a class whose wrong labels are others
    has its right label.

    Args:
        joint: counts of true class and given label ``[C, C]``.
        frequency: of the given labels ``[C]``.
    """
    classes = len(joint)
    counted = joint.double().clone().fill_diagonal_(0.0)
    share = max(float(counted.sum() / joint.double().sum().clamp_min(_TINY)), _TINY)
    counted /= joint.double().sum(1, keepdim=True).clamp_min(_TINY) * share
    guessed = (counted + frequency.double() + 1 / classes) / 3
    counts = joint.double().numpy()
    alone = torch.from_numpy(wrong_rows(counts)) / share
    known = one_way(counts + 1) * not_returned(counts)  # of few counts, most may be of one class by chance
    return torch.lerp(guessed, alone, known)


def noise_level(probs: Tensor, given: Tensor, counted: float, *, plain: bool, shown: bool) -> float:
    """The share of wrong labels that p(clean) has in the mean.

    Of linear heads and networks it is what the confident joint counts, which takes some of their errors for noise, but
    no more than the ``ceiling``. Of trees and models of the user's own it is the rate of noise reports, see ``rates``:
    on small tables the joint says half as much again as there is, and right labels are then left out of what a model is
    fitted to. Where held-out labels have shown that noise which goes by classes is there, no kind is above the middle
    of joint and rate, and trees are there: the joint's noise is there in part, and the rate sees such noise.

    Args:
        probs: held-out probabilities ``[N, C]`` of the given label.
        given: labels ``[N]``, all of which can be judged.
        counted: the share by the confident joint.
        plain: whether the heads are neither trees nor a model of the user's own.
        shown: whether held-out labels are likelier with the noise that is counted than without it.
    """
    classes, labels = np.unique(given.numpy(), return_inverse=True)
    if len(classes) < 2:
        return 0.0
    own = probs.double().numpy()[:, classes] + _TINY
    found = look(own / own.sum(1, keepdims=True), labels)
    middle = (found.rate + counted) / 2
    if not plain:
        return middle if shown else found.rate
    return min(counted, found.ceiling(), middle if shown else counted)


def doubtful(clean_prob: Floats) -> float:
    """The p(wrong) from which on labels are called wrong so that the expected F1 is greatest, at most 1/2.

    It is half of that F1 (Lipton, Elkan and Narayanaswamy, ECML 2014): with p(wrong) in falling order, the F1 of
    calling the first k wrong is ``2 sum_k p / (k + sum p)``.

    Args:
        clean_prob: ``[N]``, NaN where there is no label.
    """
    wrong = np.sort(1 - clean_prob[~np.isnan(clean_prob)])[::-1]
    if not wrong.sum():
        return 0.5
    return float((wrong.cumsum() / (np.arange(1, len(wrong) + 1) + wrong.sum())).max())


def likely_right(clean_prob: Floats) -> Mask:
    """Which labels ``[N]`` are right rather than doubtful, whatever a classifier answers.

    They have p(clean) of at least 1/2, and p(wrong) below what makes the expected F1 greatest (``doubtful``). Fewer
    than 100 labels have no p(clean) that can say so.

    Args:
        clean_prob: ``[N]``, NaN where there is no label, of which the answer is False.
    """
    enough = np.count_nonzero(~np.isnan(clean_prob)) >= _TELLING
    right: Mask = enough & (clean_prob >= 0.5) & (1 - clean_prob < doubtful(clean_prob))
    return right


class HeldOut(NamedTuple):
    """What is known of the samples.

    Attributes:
        probs: held-out probabilities ``[N, C]`` of the true class.
        neighbours: shares ``[N, C]`` of the classes among the labels of each sample's neighbours, none 0.
        given: labels ``[N]``.
        judged: mask ``[N]`` of the labels that can be judged: their class has enough of them.
        wrong: ``[C, C]``, how wrong labels of each class are given (``wrong_labels``).
    """

    probs: Tensor
    neighbours: Tensor
    given: Tensor
    judged: Tensor
    wrong: Tensor


def calibrated(
    held_out: HeldOut, noise: float, generator: torch.Generator, level: float | None = None, *, pure: bool = False
) -> tuple[Tensor, dict[str, float]]:
    """p(clean) ``[N]`` of the given labels from both kinds of evidence.

    A label that cannot be judged, also one that is the only one of its class, gets the mean probability.

    Args:
        held_out: what is known of the samples.
        noise: estimated share of wrong labels, with which the evidence is weighed.
        generator: of the drawn labels.
        level: what ``1 - mean(p(clean))`` of the judged labels will be; None: the noise.
        pure: take all drawn labels for wrong ones. Heads that see little take the noise for more than it is, and
            smaller weights then flag less.

    Returns:
        p(clean) float64, and the weight of each kind of evidence.
    """
    probs, neighbours, given, judged, wrong = held_out
    count, classes = probs.shape
    noise, level = np.clip([noise, noise if level is None else level], 1 / (2 * count), 1 - 1 / (2 * count)).tolist()
    clean_prob = torch.full((count,), 1 - level, dtype=torch.float64)
    kinds = torch.stack([evidence(probs, wrong), evidence(neighbours, wrong)], -1)
    rows = torch.arange(count)
    own = kinds[rows, given]
    judged = judged & (torch.bincount(given, minlength=classes)[given] > 1)
    size = torch.bincount(given[judged], minlength=classes)
    if int((size > 0).sum()) < 2:
        return clean_prob, {}

    used = rows[judged]
    if len(used) > _MOST // (1 + DRAWS):
        used = used[torch.randperm(len(used), generator=generator)[: _MOST // (1 + DRAWS)]]
    share = (size > 0) * (size.double() @ wrong.double())
    drawn = _other_labels(given[used], share, generator)
    contrast = kinds[used.repeat_interleave(DRAWS), drawn.flatten()]
    spread = torch.cat([own[used], contrast]).std(0)
    scale = torch.where(spread > _TINY, spread, 1.0)  # what is the same for all says nothing, and is left as it is
    mistaken = 0.0 if pure else min(noise * _right(size, wrong, share), max(1 - noise - _APART, 0.0))
    weights = contrast_weights((own[used] / scale).numpy(), (contrast / scale).numpy(), noise, mistaken)
    score = (own[judged] / scale).numpy() @ weights
    clean_prob[judged] = torch.from_numpy(at_rate(score, level))
    return clean_prob, {"weight_heads": float(weights[0]), "weight_neighbours": float(weights[1])}


def kept(given: Labels, clean_prob: Floats, likeliest: Labels | None = None, *, least: float = 0.5) -> Mask:
    """Which labels ``[N]`` a classifier is fitted to, unweighted: those that look clean, or that are the likeliest.

    They have p(clean) of at least ``least``, or no other class is likelier. A class without such a label keeps the
    better half of its labels. Wrong labels of much noise have p(clean) of little under 1/2: weights of that size leave
    them their say.

    Args:
        given: labels ``[N]``, -1 where there is none, which is not kept.
        clean_prob: ``[N]``, NaN where there is no label.
        likeliest: class ``[N]`` of each sample, held out; None: p(clean) alone tells.
        least: the p(clean) from which on a label is kept.
    """
    there = given >= 0
    keep: Mask = there & (np.nan_to_num(clean_prob) >= least)
    if likeliest is not None:
        keep |= there & (likeliest == given)
    for label in np.setdiff1d(given[there], given[keep]):
        own = given == label
        keep |= own & (clean_prob >= np.median(clean_prob[own]))
    return keep


def suggestions(probs: Tensor, clean_prob: Tensor, given: Tensor, doubt: float = 1.0) -> Tensor:
    """Labels ``[N]``: the given one where it is likely clean, else the likeliest other one.

    A label is likely clean with p(clean) of at least 1/2, unless another class is likelier and p(wrong) is ``doubt`` or
    more (see ``doubtful``).
    """
    rows = torch.arange(len(given))
    clean = (given >= 0) & (clean_prob >= 0.5) & ((probs.argmax(1) == given) | (1 - clean_prob < doubt))
    others = probs.clone()
    others[rows[given >= 0], given[given >= 0]] = -1
    return torch.where(clean, given, others.argmax(1))


def with_answers(probs: Tensor, answers: Tensor, given: Tensor, noise: float | None) -> tuple[Tensor, Tensor]:
    """Probabilities of the true class ``[N, C]`` and p(clean) ``[N]`` by features and annotators, as Bayes weighs them.

    The level of p(clean) is half-way between what the answers and features say together, which is too sure where
    annotators make the same mistakes, and the confident joint, which counts errors of the classifier as noise.

    Args:
        probs: of the true class by the features, ``[N, C]`` or the same ``[C]`` for all.
        answers: how likely the answers are for each true class, ``[N, C]`` up to a factor for each sample.
        given: labels ``[N]``.
        noise: share of wrong labels by the confident joint; None: the level stays.
    """
    both = probs.double() * answers.double().clamp_min(_TINY)
    both /= both.sum(1, keepdim=True)
    own = both.gather(1, given.unsqueeze(1)).squeeze(1)
    if noise is not None:
        noise = (noise + 1 - float(own.mean())) / 2
        own = torch.from_numpy(at_rate(log_odds(own.numpy()), min(max(noise, _TINY), 1 - _TINY)))
    return both.float(), own


def contrast_weights(own: Floats, drawn: Floats, noise: float, mistaken: float) -> Floats:
    """Weights ``[E]``, at least 0, of the evidence for given labels, of which some share is like drawn ones.

    With ``g(s) = exp(w s + b)`` how much likelier evidence s is for a right label than for a wrong one, a given label
    is

        r = (noise + (1 - noise) g) / (1 - mistaken + mistaken g)

    times likelier to show s than a drawn one. The log-likelihood of telling them apart, ``mean log r/(1 + r)`` over
    given and ``mean log 1/(1 + r)`` over drawn labels, is maximised: logistic regression for presence-only data (Ward
    et al., Biometrics 2009), here with a background that is not pure. Without both shares the weights would be too
    small.

    Args:
        own: evidence ``[N, E]`` for given labels.
        drawn: the same ``[M, E]`` for drawn ones.
        noise: share of given labels that are wrong, in (0, 1).
        mistaken: share of drawn labels that are right, at least 0 and below ``1 - noise``: where the given label is
            wrong, the true one may be drawn.
    """
    rows = np.concatenate([own, drawn])
    share = np.repeat([1 / len(own), 1 / len(drawn)], [len(own), len(drawn)])
    width = own.shape[1]
    mistaken = max(mistaken, _TINY)  # a logarithm is taken of it
    above = np.log1p(-noise) - np.log(noise)
    below = np.log(mistaken) - np.log1p(-mistaken)

    def objective(values: Floats) -> tuple[float, Floats]:
        score = rows @ values[:width] + values[width]
        log_ratio = (
            np.logaddexp(0, score + above) + np.log(noise) - np.logaddexp(0, score + below) - np.log1p(-mistaken)
        )
        loss = np.logaddexp(0, log_ratio)  # of a drawn label: log(1 + r)
        loss[: len(own)] -= log_ratio[: len(own)]
        slope = expit(log_ratio)
        slope[: len(own)] -= 1
        slope *= share * (expit(score + above) - expit(score + below))
        ridge = _RIDGE * values[:width]
        gradient = np.append(rows.T @ slope + ridge, slope.sum())
        return float(share @ loss + 0.5 * ridge @ values[:width]), gradient

    bounds = [(0.0, None)] * width + [(None, None)]  # evidence never speaks against itself
    found = minimize(objective, np.append(np.ones(width), 0.0), jac=True, method="L-BFGS-B", bounds=bounds)
    weights: Floats = found.x[:width]
    return weights if weights.any() else np.ones(width)


def _other_labels(given: Tensor, share: Tensor, generator: torch.Generator) -> Tensor:
    """``[N, DRAWS]`` labels drawn with the ``share`` ``[C]`` of each class, without each sample's own."""
    below = share.cumsum(0) - share
    own = share[given].unsqueeze(1)
    place = torch.rand(len(given), DRAWS, generator=generator, dtype=torch.float64) * (share.sum() - own)
    place = place + own * (place >= below[given].unsqueeze(1))  # skip the own class
    return torch.searchsorted(share.cumsum(0), place, right=True).clamp_max(int(share.nonzero().max()))


def _right(size: Tensor, wrong: Tensor, share: Tensor) -> float:
    """How often a label drawn for a sample whose given label is wrong is the right one, by chance, in [0, 1].

    Args:
        size: of the classes ``[C]``.
        wrong: how wrong labels of each class are given ``[C, C]``.
        share: with which labels are drawn ``[C]``, never the given one.
    """
    pairs = size.double().unsqueeze(1) * wrong.double().clone().fill_diagonal_(0.0)
    pairs[:, size == 0] = 0.0
    hit = share.unsqueeze(1) / (share.sum() - share).clamp_min(_TINY)
    return float((pairs * hit).sum() / pairs.sum().clamp_min(_TINY))
