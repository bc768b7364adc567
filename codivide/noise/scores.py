"""How well p(clean) finds the wrong labels and whether it can be believed, where the truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from codivide.core.types import AnyFloats, AnyLabels, Labels, Mask

BINS = 10


def detection(given: Labels, truth: Labels, clean_prob: AnyFloats) -> dict[str, Any]:
    """How well ``1 - clean_prob`` finds the wrong labels among the rows whose label and truth are known.

    Args:
        given: ``[N]``, -1 where there is no label.
        truth: true labels ``[N]``, -1 where not known.
        clean_prob: ``[N]`` in [0, 1], NaN where there is none.

    Returns:
        noise_rate; AUROC and average precision (absent when no label or every label is wrong); precision (absent when
        nothing is flagged), recall and F1 of ``clean_prob < 0.5``; ``calibration_error`` and the ``reliability``
        table behind it. Empty when no row is known.
    """
    known = (given >= 0) & (truth >= 0) & np.isfinite(clean_prob)
    if not known.any():
        return {}
    wrong, doubt = (given != truth)[known], 1 - clean_prob[known]
    flagged = doubt > 0.5
    scores: dict[str, Any] = {"noise_rate": float(wrong.mean())}
    if wrong.any() and not wrong.all():
        scores["auroc"] = float(roc_auc_score(wrong, doubt))
        scores["average_precision"] = float(average_precision_score(wrong, doubt))
        scores["recall"] = float(flagged[wrong].mean())
        scores["f1"] = float(2 * (flagged & wrong).sum() / (flagged.sum() + wrong.sum()))
    if flagged.any():
        scores["precision"] = float(wrong[flagged].mean())
    table = reliability(clean_prob[known], ~wrong)
    return scores | {"calibration_error": calibration_error(table), "reliability": table}


def reliability(clean_prob: AnyFloats, clean: Mask) -> list[dict[str, float]]:
    """Whether a p(clean) of 0.9 is right nine times in ten: samples in bins of equal width.

    Args:
        clean_prob: ``[N]`` in [0, 1].
        clean: ``[N]``, whether the given label is the true one.

    Returns:
        One row per bin that is not empty: its ends ``low`` and ``high``, ``samples``, the mean ``clean_prob`` and the
        share ``clean``.
    """
    index = np.minimum((clean_prob * BINS).astype(np.int64), BINS - 1)
    rows = []
    for b in range(BINS):
        members = index == b
        if members.any():
            rows.append(
                {
                    "low": b / BINS,
                    "high": (b + 1) / BINS,
                    "samples": int(members.sum()),
                    "clean_prob": float(clean_prob[members].mean(dtype=np.float64)),
                    "clean": float(clean[members].mean()),
                }
            )
    return rows


def calibration_error(table: list[dict[str, float]]) -> float:
    """Expected calibration error of a ``reliability`` table: mean distance of the two columns, by samples, in [0, 1].

    Source: Guo et al., ICML 2017 (equation 3), for two outcomes.
    """
    samples = sum(row["samples"] for row in table)
    return sum(row["samples"] * abs(row["clean_prob"] - row["clean"]) for row in table) / samples


def accuracies(predicted: AnyLabels, true: AnyLabels, classes: int) -> dict[str, float]:
    """Accuracy, balanced accuracy and macro F1 of predictions.

    Balanced accuracy is the mean recall of the classes that occur; macro F1 the mean F1 of the classes that occur or
    are predicted (0 where one is never right). Both as scikit-learn has them: of rare classes accuracy says nothing.

    Args:
        predicted: classes ``[N]`` in ``0 .. C - 1``.
        true: the same; at least one.
        classes: how many, C.
    """
    occurs = np.bincount(true, minlength=classes)
    said = np.bincount(predicted, minlength=classes)
    right = np.bincount(true[predicted == true], minlength=classes)
    held = occurs > 0
    seen = held | (said > 0)
    return {
        "accuracy": float((predicted == true).mean()),
        "balanced_accuracy": float((right[held] / occurs[held]).mean()),
        "macro_f1": float((2 * right[seen] / (occurs + said)[seen]).mean()),
    }
