"""What a network has learned of clean and of wrong labels, epoch by epoch.

Networks learn the truth first and memorise wrong labels later (Liu et al., NeurIPS 2020, arXiv:2007.00151, figure 1).
Pure NumPy, for whoever holds the true labels; a method never sees what is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from codivide.core.types import AnyFloats, AnyLabels, Mask
from codivide.noise import mixtures

BINS = 100
MOST_RECORDS = 50
MOST_BYTES = 64 * 2**20  # of all kept predictions of a run
_DENSE = 100  # epochs up to which the automatic schedule evaluates every one
_LAST = 10  # epochs at the end that it never leaves out: papers report their mean
ADVICE = "Use a lower lr, more epochs of warm-up (where the method has one) or another method"  # against a collapse


def evaluation_epochs(epochs: int, every: int | None = None) -> list[int]:
    """After which epochs (from 1) to evaluate: every so many, and the last.

    None: all of up to 100 epochs; of more, about 90 evenly spaced ones and each of the last 10.
    """
    step = every or (1 if epochs <= _DENSE else -(-epochs // (_DENSE - _LAST)))
    chosen = set(range(step, epochs + 1, step)) | {epochs}
    if every is None:
        chosen |= set(range(max(1, epochs - _LAST + 1), epochs + 1))
    return sorted(chosen)


def recorded_epochs(evaluations: Sequence[int], sample_bytes: int) -> list[int]:
    """After which epochs to look at the training set: the first, the last, and every k-th evaluation before it.

    Args:
        evaluations: ascending epochs, not empty.
        sample_bytes: what one prediction of every sample takes; all records together stay below ``MOST_BYTES``
            where at least two fit.
    """
    candidates = sorted({1, *evaluations})
    room = max(2, min(MOST_RECORDS + 1, MOST_BYTES // max(sample_bytes, 1)))
    stride = max(1, -(-(len(candidates) - 1) // (room - 1)))
    return sorted({1, *candidates[::-1][::stride]})


def histogram_epochs(recorded: Sequence[int], warmup: int | None = None) -> list[int]:
    """The few recorded epochs whose losses are kept: the first, early ones, the end of warm-up, quarters, the last."""
    last = recorded[-1]
    wanted = [1, last / 20, last / 10, warmup or 1, last / 4, last / 2, 3 * last / 4, last]
    return sorted({min((epoch for epoch in recorded if epoch >= w), default=last) for w in wanted})


def prediction_type(classes: int) -> torch.dtype:
    """The smallest integer type that holds a class number."""
    return torch.uint8 if classes <= 256 else torch.int16 if classes <= 2**15 else torch.int32


def shares(predicted: AnyLabels, given: AnyLabels, truth: AnyLabels | None = None) -> dict[str, float]:
    """How predictions ``[N]`` relate to given and true labels ``[N]`` (-1: none); a share of nothing is left out.

    Returns:
        given_agreement: of the labelled samples, the share predicted as the given label. With ``truth`` also, of the
        samples whose given label is clean, ``clean_correct`` and ``clean_incorrect`` (sum 1); of those whose given
        label is wrong, ``wrong_correct`` (the truth), ``wrong_memorised`` (the given label) and ``wrong_other`` (sum
        1); and ``recovery_accuracy``: of all samples with known truth, the share predicted right (Tanaka et al.,
        CVPR 2018), given label or not.
    """
    labelled = given >= 0
    found = {"given_agreement": (predicted == given)[labelled]}
    if truth is not None:
        known = truth >= 0
        right = predicted == truth
        clean, wrong = labelled & known & (given == truth), labelled & known & (given != truth)
        memorised = predicted == given
        found |= {
            "clean_correct": right[clean],
            "clean_incorrect": ~right[clean],
            "wrong_correct": right[wrong],
            "wrong_memorised": memorised[wrong],
            "wrong_other": ~(right | memorised)[wrong],
            "recovery_accuracy": right[known],
        }
    return {name: float(hits.mean()) for name, hits in found.items() if len(hits)}


def final_agreement(predictions: AnyLabels) -> list[float]:
    """Of each record ``[K, N]``, the share of predictions that equal the last record's."""
    return [float(share) for share in (predictions == predictions[-1]).mean(1)]


def loss_auroc(loss: AnyFloats, wrong: Mask) -> float | None:
    """Probability that a wrong label's loss exceeds a clean one's, ties half; None where either kind is missing.

    Args:
        loss: ``[N]`` finite.
        wrong: ``[N]``, whether the given label is wrong.
    """
    clean = np.sort(loss[~wrong])
    if not len(clean) or not wrong.any():
        return None
    below = [np.searchsorted(clean, loss[wrong], side) for side in ("left", "right")]
    return float(np.sum(below)) / (2 * int(wrong.sum()) * len(clean))


def loss_histogram(loss: AnyFloats, given: AnyLabels, truth: AnyLabels | None = None) -> dict[str, Any] | None:
    """The losses of the labelled samples in 100 bins, clean and wrong labels apart, with the mixture fitted to them.

    Args:
        loss: ``[N]``; those that are not finite are left out.
        given: labels ``[N]``, -1: none.
        truth: true labels ``[N]`` where known (-1: not).

    Returns:
        ``low`` and ``high``, the ends of the bins: the least loss and the 99.5th percentile (the last bin holds the
        losses above too); counts per bin ``clean``, ``wrong`` and ``unknown`` (of unknown truth), each absent when
        empty; and ``mixture`` with ``weight``, ``mean`` and ``variance`` of its two components (absent when none can
        be fitted), in nats. None when there is no finite loss.
    """
    kept = (given >= 0) & np.isfinite(loss)
    if not kept.any():
        return None
    low, high = float(loss[kept].min()), float(np.quantile(loss[kept], 0.995))
    high = high if high > low else low + 1e-6 * max(1.0, abs(low))
    index = np.clip((loss[kept] - low) / (high - low) * BINS, 0, BINS - 1).astype(np.int64)
    known = np.zeros(int(kept.sum()), dtype=bool) if truth is None else truth[kept] >= 0
    clean = known if truth is None else known & (given[kept] == truth[kept])
    record: dict[str, Any] = {"low": low, "high": high}
    for name, members in (("clean", clean), ("wrong", known & ~clean), ("unknown", ~known)):
        if members.any():
            record[name] = np.bincount(index[members], minlength=BINS).tolist()
    mixture = mixtures.mixture(torch.from_numpy(np.ascontiguousarray(loss[kept])))
    if mixture is not None:
        record["mixture"] = {name: value.tolist() for name, value in mixture._asdict().items()}
    return record


def record(
    predicted: AnyLabels, loss: AnyFloats, given: AnyLabels, truth: AnyLabels | None = None, *, histogram: bool = True
) -> dict[str, Any]:
    """All that an epoch's record says of the training set.

    Args:
        predicted: classes ``[N]``.
        loss: cross-entropy ``[N]`` on the given labels, of the same predictions.
        given: labels ``[N]``, -1: none.
        truth: true labels ``[N]`` where known (-1: not).
        histogram: whether to keep the losses.

    Returns:
        ``shares``; with truth ``loss_auroc``; and ``losses``, the ``loss_histogram``, if asked for.
    """
    row: dict[str, Any] = shares(predicted, given, truth)
    if truth is not None:
        kept = (given >= 0) & (truth >= 0) & np.isfinite(loss)
        auroc = loss_auroc(loss[kept], (given != truth)[kept])
        if auroc is not None:
            row["loss_auroc"] = auroc
    losses = loss_histogram(loss, given, truth) if histogram else None
    return row if losses is None else row | {"losses": losses}


def collapse(predicted: AnyLabels, given: AnyLabels, classes: int, advice: str = ADVICE) -> str | None:
    """That a network predicts one class, or far fewer than are labelled, with advice; None: it does not.

    A class is lost when it is predicted less than a tenth as often as it is given. The network has collapsed when the
    lost classes have most of the labels, or when 999 of 1000 predictions are one class and fewer labels than that are.

    Args:
        predicted: classes ``[N]``.
        given: labels ``[N]``, -1: none.
        classes: how many there are.
        advice: the last sentence.
    """
    labels = np.bincount(given[given >= 0], minlength=classes)
    said = np.bincount(predicted, minlength=classes)
    asked = int((labels > 0).sum())
    if asked < 2:
        return None
    lost = (labels > 0) & (said / len(predicted) < 0.1 * labels / labels.sum())
    alone = said.max() >= 0.999 * said.sum() and labels.max() < 0.999 * labels.sum()
    if not alone and 2 * labels[lost].sum() <= labels.sum():
        return None
    left = 1 if alone else max(asked - int(lost.sum()), 1)
    return (
        f"the network has collapsed: it predicts {left} of {asked} labelled classes. Its predictions, suggestions and "
        f"p(clean) mean little. {advice}"
    )


def memorises(history: Sequence[dict[str, Any]], held: int, least: int = 3) -> bool:
    """Whether labels are being memorised: what was held out is predicted worse, what is trained on better.

    At two epochs in a row agreement with the held-out labels is below its best by more than the standard error of that,
    while agreement with the labels that are trained on has risen since, and is above that best by as much.

    Args:
        history: records with ``validation_accuracy`` and ``training_accuracy``; others are left out.
        held: samples held out.
        least: records before which nothing is said: an average of weights stumbles at first.
    """
    rows = [row for row in history if "validation_accuracy" in row]
    if len(rows) < max(least, 3):
        return False
    best = max(rows, key=lambda row: float(row["validation_accuracy"]))
    top = float(best["validation_accuracy"])
    error = math.sqrt(max(top * (1 - top), 0.25 / held) / held)
    fitted = max(float(best["training_accuracy"]), top + error)
    return all(row["validation_accuracy"] < top - error and row["training_accuracy"] > fitted for row in rows[-2:])
