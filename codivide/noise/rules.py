"""One registry of the rules that judge labels: from probabilities, losses, predictions over epochs, or features.

A rule takes a ``Judgeable`` and answers one number a label, LARGER where it is more likely right; no true label is ever
looked at. To add one, write such a function and give it a line in ``RULES``: ``codivide.score_labels``, the table in
docs/explain/noise.md and the common tests take it from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from codivide.core.errors import InputError, unknown
from codivide.core.neighbours import nearest, unit_rows
from codivide.core.types import Floats, Labels
from codivide.noise import confidence, mixtures, valuation
from codivide.noise.clean_prob import combined, match_rates
from codivide.noise.latent import confident_joint, latent_noise

NEIGHBOURS = 10


@dataclass(frozen=True)
class Judgeable:
    """Labels and what there is to judge them by; what nobody has is None.

    Attributes:
        given: labels ``[N]`` in ``0 .. classes - 1``, -1: none. A rule sees only rows that have a label.
        classes: number of classes C. A rule sees only classes that some label names.
        probs: ``[N, C]``, rows sum to 1; of classifiers that have not seen the labels, or averaged over training.
        losses: cross-entropy ``[E, N]`` on the given labels, a row an epoch; NaN where an epoch did not look.
        predictions: likeliest classes ``[E, N]``, a row an epoch.
        features: ``[N, D]``, dense or CSR, in which samples of one class are near each other by their cosine.
    """

    given: Labels
    classes: int
    probs: Floats | None = None
    losses: Floats | None = None
    predictions: Labels | None = None
    features: Any = None

    def mean_loss(self) -> Floats:
        """Losses ``[N]`` averaged over the epochs that looked (NaN where none did), else those of the probabilities."""
        if self.losses is None:
            assert self.probs is not None
            return -confidence.given_log_prob(self.probs, self.given)
        seen = np.isfinite(self.losses)
        mean: Floats = np.where(seen, self.losses, 0.0).sum(0) / np.where(seen.any(0), seen.sum(0), np.nan)
        return mean

    def labelled(self) -> tuple[Judgeable, Labels]:
        """The rows that have a label, their classes counted anew, and which rows they are."""
        rows = np.flatnonzero(self.given >= 0)
        kept, given = np.unique(self.given[rows], return_inverse=True)
        probs, predictions = self.probs, self.predictions
        if probs is not None:
            probs = probs[rows][:, kept].astype(np.float64) + 1e-12
            probs /= probs.sum(1, keepdims=True)
        if predictions is not None:
            place = np.full(self.classes + 1, -1)  # of the classes that are left; the last place is that of -1
            place[kept] = np.arange(len(kept))
            predictions = place[predictions[:, rows]]
        judged = replace(
            self,
            given=given.astype(np.int64),
            classes=len(kept),
            probs=probs,
            losses=None if self.losses is None else self.losses[:, rows],
            predictions=predictions,
            features=None if self.features is None else self.features[rows],
        )
        return judged, rows


class Rule(NamedTuple):
    """A way to judge labels.

    Attributes:
        judge: from what there is to a number ``[N]`` a label, larger where it is more likely right.
        needs: fields of ``Judgeable``, of which one must be there.
        summary: what it judges by, without a verb.
        probability: whether the answer is a probability of being right; else only its order means something.
    """

    judge: Callable[[Judgeable], Floats]
    needs: tuple[str, ...]
    summary: str
    probability: bool = False


def score(name: str, judgeable: Judgeable) -> Floats:
    """Judge labels by the rule of that name.

    Returns:
        ``[N]``, larger where the label is more likely right; NaN where there is no label or nothing to judge it by.

    Raises:
        InputError: no such rule, what it needs is not there, or the labels name fewer than two classes.
    """
    if name not in RULES:
        raise unknown("rule", name, RULES)
    rule = RULES[name]
    if all(getattr(judgeable, need) is None for need in rule.needs):
        raise InputError(f"the rule {name} judges labels by {' or '.join(map(_argument, rule.needs))}; give it")
    judged, rows = judgeable.labelled()
    if judged.classes < 2:
        raise InputError("the labels name fewer than two classes, so that no rule can compare any")
    answer = np.full(len(judgeable.given), np.nan)
    answer[rows] = rule.judge(judged)
    return answer


def _argument(need: str) -> str:
    """The name of a field of ``Judgeable`` as users know it."""
    return "pred_probs" if need == "probs" else need


def _last_loss(seen: Judgeable) -> Floats:
    return -(seen.mean_loss() if seen.losses is None else seen.losses[-1])


def _averaged_loss(seen: Judgeable) -> Floats:
    return -seen.mean_loss()


def _gmm(seen: Judgeable) -> Floats:
    return _clean_prob(mixtures.gmm(torch.from_numpy(seen.mean_loss())))


def _bmm(seen: Judgeable) -> Floats:
    return _clean_prob(mixtures.bmm(torch.from_numpy(seen.mean_loss())))


def _class_wise(seen: Judgeable) -> Floats:
    given = torch.from_numpy(seen.given)
    return _clean_prob(mixtures.class_wise(torch.from_numpy(seen.mean_loss()), given, seen.classes))


def _clean_prob(division: mixtures.Division) -> Floats:
    answer: Floats = division.clean_prob.double().numpy()
    return answer


def _right_events(seen: Judgeable) -> Floats:
    assert seen.predictions is not None
    share: Floats = (seen.predictions == seen.given).mean(0)
    return share


def _wrong_events(seen: Judgeable) -> Floats:
    assert seen.predictions is not None
    wrong = torch.from_numpy((seen.predictions != seen.given).sum(0)).double()
    return _clean_prob(mixtures.wrong_events(wrong, len(seen.predictions)))


def _self_confidence(seen: Judgeable) -> Floats:
    assert seen.probs is not None
    return confidence.self_confidence(seen.probs, seen.given)


def _log_confidence(seen: Judgeable) -> Floats:
    assert seen.probs is not None
    return confidence.log_confidence(seen.probs, seen.given)


def _confident_joint(seen: Judgeable) -> Floats:
    """Self-confidence, shifted class by class to the noise rates of the confident joint."""
    assert seen.probs is not None
    joint = confident_joint(seen.probs, seen.given)
    wrong = 1 - np.diag(joint) / np.maximum(joint.sum(0), 1e-12)
    return match_rates(_self_confidence(seen), seen.given, wrong)


def _latent_noise(seen: Judgeable) -> Floats:
    assert seen.probs is not None
    return latent_noise(seen.probs, seen.given).clean_prob


def _combined(seen: Judgeable) -> Floats:
    assert seen.probs is not None
    if seen.losses is None:
        return combined(seen.probs, seen.given, held_out=True)
    return combined(seen.probs, seen.given, _gmm(seen))  # both were seen in training


def neighbour_agreement(seen: Judgeable) -> Floats:
    """Share ``[N]`` in [0, 1] of the 10 nearest samples that have the same label, the nearer counting more.

    Neighbours are those of the largest cosine. One at distance ``d = sqrt(2 - 2 cos)`` weighs ``exp(-(d / d_k)^2)``,
    ``d_k`` the distance of the last that counts. The sample itself does not count; a row of zeros is near to nothing
    and gets NaN.
    """
    points = unit_rows(seen.features)
    full = np.flatnonzero(np.asarray(abs(points).sum(1)).ravel() > 0)
    answer = np.full(len(seen.given), np.nan)
    if len(full) < 2:
        return answer
    found, distance = nearest(points, full, full, min(NEIGHBOURS, len(full) - 1))
    weight = np.exp(-(distance**2) / np.maximum(distance[:, -1:] ** 2, 1e-12))
    same = seen.given[found] == seen.given[full][:, None]
    answer[full] = (weight * same).sum(1) / weight.sum(1)
    return answer


def _knn_shapley(seen: Judgeable) -> Floats:
    """Exact Shapley value ``[N]`` of a sample to predicting the others by their 10 nearest; NaN for a row of zeros."""
    points = unit_rows(seen.features)
    full = np.flatnonzero(np.asarray(abs(points).sum(1)).ravel() > 0)
    answer = np.full(len(seen.given), np.nan)
    if len(full) >= 2:
        answer[full] = valuation.values(points[full], seen.given[full], NEIGHBOURS)
    return answer


_LOSSES = ("losses", "probs")  # of probabilities the losses are known

RULES: dict[str, Rule] = {
    "last_loss": Rule(_last_loss, _LOSSES, "minus the loss of the last epoch"),
    "averaged_loss": Rule(_averaged_loss, _LOSSES, "minus the loss, averaged over the epochs"),
    "gmm": Rule(_gmm, _LOSSES, "a mixture of two Gaussians on the averaged losses (DivideMix)", probability=True),
    "bmm": Rule(
        _bmm, _LOSSES, "a mixture of two Beta densities on the averaged losses (M-correction)", probability=True
    ),
    "class_wise": Rule(_class_wise, _LOSSES, "the Gaussian mixture, one for each class", probability=True),
    "right_events": Rule(_right_events, ("predictions",), "how often the prediction was the given label"),
    "wrong_events": Rule(
        _wrong_events, ("predictions",), "a Gaussian mixture on how often it was another class", probability=True
    ),
    "self_confidence": Rule(_self_confidence, ("probs",), "the label against its best rival, adjusted by class"),
    "log_confidence": Rule(
        _log_confidence, ("probs",), "the label against its class and its best rival, in logarithms: ranks the issues"
    ),
    "confident_joint": Rule(
        _confident_joint, ("probs",), "self-confidence at the confident joint's noise rates", probability=True
    ),
    "latent_noise": Rule(
        _latent_noise, ("probs",), "a latent true label, doubt of the classifier taken out", probability=True
    ),
    "combined": Rule(
        _combined, ("probs",), "self-confidence, and gmm where losses are given, at estimated rates", probability=True
    ),
    "neighbour_agreement": Rule(neighbour_agreement, ("features",), "the share of near samples labelled alike"),
    "knn_shapley": Rule(
        _knn_shapley,
        ("features",),
        "the worth of the sample to predicting the others by their neighbours; below 0 it does harm",
    ),
}
