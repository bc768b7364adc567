"""Whether a run has learned enough for its answers to be used at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from codivide.core.neighbours import nearest
from codivide.core.types import Floats, Labels, Mask
from codivide.data.groups import together
from codivide.data.loaded import Loaded, subset
from codivide.fit.choice import Choice
from codivide.noise.chance import LIKELY, SURE, better_than_chance, information
from codivide.noise.trust import AS_GIVEN
from codivide.runs.folder import TOO_LITTLE

USABLE = "usable"
MEMORISED = "as good as every label is predicted as given, and none was held out"
UNPROVEN = (
    "no label was held out, and neither the first epoch nor the labels of like samples show that any can be predicted"
)

_ERRORS = 3.0  # standard errors by which labels that were learned from must be predicted better than by chance
_HELD_OUT = 2.0  # the same of labels that were held out
_LEAST = 0.05  # of the way from chance to full agreement: less is of no use, however sure it is
_FEW = 0.1  # share of the labels that suggestions agree with, below which nearly all labels look wrong
_NEAR, _AMONG, _SIDE = 10, 4000, 16  # like samples, how many of all are compared, pixels a side of images for it
_ALONE = 0.9  # share of the samples that are no copies, from which on the first epoch meets labels for the first time
_CELLS = 20_000_000  # numbers that are compared at most
_MOST = 0.1  # the same: held-out labels that surely do not reach it are predicted by chance


def verdict(
    suggested: Labels,
    given: Labels,
    choice: Choice | None = None,
    *,
    tested: tuple[Labels, Labels] | None = None,
    proven: Callable[[], bool] | None = None,
) -> str:
    """``USABLE``, or ``TOO_LITTLE`` where a network does no better than one that knows how often each class occurs.

    What is compared is balanced agreement: the mean over the classes of the share of their labels that the network
    predicts. By chance, and by naming the largest class always, it is 1 over the number of classes. Labels that were
    memorised agree, so where labels were held out, by a scout or as a test part, these must be predicted better than by
    chance, too. Where none were and as good as all labels are predicted as given, nobody can tell what was learned from
    what was memorised: ``MEMORISED``. Neither can anybody where nothing else shows that labels can be predicted:
    ``UNPROVEN``.

    Args:
        suggested: what the network says of each sample, ``[N]``.
        given: labels ``[N]``, -1 where there is none.
        choice: with the report of a scout, where there was one.
        tested: what the network says of a test part, and its labels.
        proven: whether labels can be predicted by what has not learned from them (see ``proven``), asked where it
            matters; None: that is not known, and not asked.
    """
    agreement, chance, error = balanced_agreement(suggested, given)
    if agreement - chance <= max(_ERRORS * error, _LEAST * (1 - chance)) or _held_out_by_chance(given, choice):
        return TOO_LITTLE
    if tested is not None and (tested[1] >= 0).any():
        return TOO_LITTLE if by_chance(*tested) else USABLE
    if not chance or (choice is not None and choice.scout is not None):
        return USABLE
    if float((suggested == given)[given >= 0].mean()) >= AS_GIVEN:
        return MEMORISED
    return USABLE if proven is None or proven() else UNPROVEN


def hardly_agrees(suggested: Labels, given: Labels) -> str | None:
    """What is said where suggestions agree with the given labels as often as chance would, or with hardly any.

    Features may tell something of the classes, and still not one from the next: then each label looks wrong.

    Args:
        suggested: what is suggested for each sample, ``[N]``.
        given: labels ``[N]``, -1 where there is none.
    """
    labelled = given >= 0
    share = np.bincount(given[labelled]) / max(int(labelled.sum()), 1)
    chance = float(share @ share)  # of two labels that have nothing to do with each other
    agreement = float((suggested == given)[labelled].mean()) if labelled.any() else 1.0
    by_chance = agreement - chance <= _LEAST * (1 - chance)
    if not by_chance and agreement >= _FEW:
        return None
    often = "as often as chance would or hardly more" if by_chance else "hardly any"
    return (
        f"the suggestions agree with {100 * agreement:.1f} % of the labels, {often} "
        f"({100 * chance:.1f} % by chance): either hardly a label is right, or what is seen of the samples does not "
        "tell these classes apart. Labels look wrong for either reason"
    )


def caution(summary: Mapping[str, Any]) -> str | None:
    """What a user of Python is warned of by the verdict of a run; None: nothing."""
    said = summary["verdict"]
    if said == TOO_LITTLE:
        return f"{TOO_LITTLE} (neither the classifier nor its label issues)"
    if said in (MEMORISED, UNPROVEN):
        return f"{said}: wrong labels may have been memorised; method={holds_out(summary)!r} holds some out"
    return None


def holds_out(summary: Mapping[str, Any]) -> str:
    """The method that holds labels out which a run did not: "auto", or where that has found too few, "features"."""
    choice = summary.get("choice")
    return "auto" if choice is None or choice["evidence"] is not None else "features"


def proven(first: Mapping[str, Any], loaded: Loaded) -> bool:
    """Whether labels can be predicted by what has not learned from them.

    That is the network, of labels that it had not met (``first``, the record of the first epoch, see ``first_met``), or
    the labels of like samples: the shares of classes among the 10 nearest of at most 4,000 training samples, tables by
    standardised columns and images by their pixels. A copy shows nothing: it counts once, and where many samples have
    one, the network may have met a label before.
    """
    rows = np.flatnonzero(loaded.y >= 0)
    among = min(_AMONG, max(_CELLS // math.prod(loaded.x.shape), 10 * _NEAR))
    sample = subset(loaded, np.sort(np.random.default_rng(0).permutation(rows)[:among]))
    known = together(sample)
    groups = np.arange(len(sample.y)) if known is None else known.groups
    once = groups if known is None or known.copies is None else np.unique(known.copies, return_index=True)[1]
    alone = len(once) >= _ALONE * len(groups)
    if alone and "met_gain" in first and first["met_gain"] > LIKELY * first["met_error"]:
        return True
    given, every = sample.y[once], np.arange(len(once))
    points = _points(sample.x[torch.from_numpy(once)])
    found, _ = nearest(points, every, every, _NEAR, groups=torch.from_numpy(groups[once]))
    classes = len(loaded.classes)
    share = np.bincount(given, minlength=classes) / len(given)
    of, place = np.nonzero(found >= 0)
    votes = np.bincount(of * classes + given[found[of, place]], minlength=len(given) * classes)
    votes = votes.reshape(len(given), classes)
    probs = (votes + share) / (votes.sum(1, keepdims=True) + 1)
    return better_than_chance(probs, given) > SURE


def _points(x: Tensor) -> Tensor:
    """Samples ``[M, ...]`` as rows ``[M, F]``: columns in standard deviations, images small."""
    wide = x.float()
    if wide.dim() == 2:
        return (wide - wide.mean(0)) / wide.std(0).clamp_min(1e-6)
    if max(wide.shape[-2:]) > _SIDE:
        wide = functional.adaptive_avg_pool2d(wide, _SIDE)
    return wide.flatten(1)


def first_met(given: Labels, losses: Floats, count: Floats, nets: int) -> dict[str, float]:
    """How well labels were predicted in the first epoch, each before it was learned from for the first time.

    What a network says of a label that it has not met cannot be memorised: of labels that follow from nothing, the loss
    is no smaller on average than that of naming each class as often as it is given (prequential validation, Dawid
    1984).

    Args:
        given: labels ``[N]``, -1 where there is none.
        losses: the sum ``[N]`` of the cross-entropies of each label in the epoch, each before a step on it.
        count: how many they were ``[N]``.
        nets: networks that were trained: a label that was met oftener does not count.

    Returns:
        ``met_gain``, in nats a label, and ``met_error``, its standard error; empty: too few labels were met.
    """
    seen = (given >= 0) & (count > 0) & (count <= nets)
    if seen.sum() < 2:
        return {}
    logs, labels = torch.from_numpy(-losses[seen] / count[seen]), torch.from_numpy(given[seen])
    gain, error = information(logs, labels, None)
    return {"met_gain": gain, "met_error": error}


def by_chance(predicted: Labels, given: Labels) -> bool:
    """Whether labels that were not learned from are surely predicted by chance: no use could hide in the error.

    Args:
        predicted: classes ``[M]``.
        given: labels ``[M]``, -1 where there is none.
    """
    agreement, chance, error = balanced_agreement(predicted, given)
    count = int((given >= 0).sum())
    error = max(error, math.sqrt(chance * (1 - chance) / max(count, 1)))  # few labels may all disagree by accident
    return agreement - chance + _HELD_OUT * error < _MOST * (1 - chance)


def balanced_agreement(suggested: Labels, given: Labels) -> tuple[float, float, float]:
    """Mean over the classes of the share of labels that are predicted, what it is by chance, and its standard error.

    Args:
        suggested: classes ``[N]``.
        given: labels ``[N]``, -1 where there is none.
    """
    labelled = given >= 0
    right: Mask = (suggested == given)[labelled]
    classes, place = np.unique(given[labelled], return_inverse=True)
    if len(classes) < 2:
        return 1.0, 0.0, 0.0  # nothing could be learned, and nothing is claimed
    size = np.bincount(place)
    share = np.bincount(place, weights=right) / size
    error = math.sqrt(float((share * (1 - share) / size).sum())) / len(classes)
    return float(share.mean()), 1 / len(classes), error


def _held_out_by_chance(given: Labels, choice: Choice | None) -> bool:
    """Whether a scout saw that held-out labels can be predicted by frequencies only, by likelihood and by agreement."""
    seen = None if choice is None else choice.scout
    if seen is None or not seen.doubt.startswith("Nothing can be learned"):
        return False
    largest = float(np.bincount(given[given >= 0]).max()) / max(seen.labelled, 1)
    return seen.agreement - largest <= _HELD_OUT * seen.error
