"""The audit for those who trained elsewhere: from labels and out-of-sample class probabilities alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from codivide import early_learning, label_table, transition
from codivide.audit import facts
from codivide.audit.findings import Findings
from codivide.audit.material import Material
from codivide.audit.neighbours import normalised
from codivide.data.arrays import array_rows
from codivide.data.labels import encode
from codivide.errors import InputError

Labels = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

FACTS = "facts.json"


def clean_probability(probs: Floats, given: Labels) -> Floats:
    """How likely each given label is right, from out-of-sample predictions of the given labels.

    With ``t_c`` the mean ``p_c`` of the samples labelled c (the threshold of confident learning; Northcutt et al.,
    *Confident learning*, JAIR 2021, section 3.1), the self-confidence normalised by the thresholds is

        q = (p_given / t_given) / sum_c (p_c / t_c),

    so that a class that the model is always less sure of is not called wrong for that. The confident joint gives the
    share of wrong labels of each given class, and ``logit(q)`` of the class is shifted until its mean is that share:
    the order within a class stays, the values add up.

    Args:
        probs: ``[N, C]``, rows sum to 1.
        given: ``[N]``, -1: none.

    Returns:
        ``[N]`` in [0, 1], NaN where there is no label.
    """
    classes = probs.shape[1]
    clean = np.full(len(given), np.nan)
    rows = np.flatnonzero(given >= 0)
    label, own = given[rows], probs[rows, given[rows]]
    size = np.bincount(label, minlength=classes)
    threshold = np.divide(np.bincount(label, own, minlength=classes), size, out=np.ones(classes), where=size > 0)
    ratio = probs[rows] / np.maximum(threshold, 1e-12)
    confidence = ratio[np.arange(len(rows)), label] / np.maximum(ratio.sum(1), 1e-12)
    joint = transition.confident_joint(torch.from_numpy(probs), torch.from_numpy(given)).numpy()
    for k in np.flatnonzero(size).tolist():
        at = rows[label == k]
        clean[at] = _shifted(confidence[label == k], float(joint[k, k] / size[k]))
    return clean


def _shifted(confidence: Floats, mean: float) -> Floats:
    """``sigmoid(logit(confidence) + b)`` with the b that gives it this mean, found by bisection; |b| at most 30."""
    logit = np.log(np.clip(confidence, 1e-9, 1 - 1e-9)) - np.log1p(-np.clip(confidence, 1e-9, 1 - 1e-9))
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        if (1 / (1 + np.exp(-(logit + middle)))).mean() < mean:
            low = middle
        else:
            high = middle
    shifted: Floats = 1 / (1 + np.exp(-(logit + (low + high) / 2)))
    return shifted


def from_probs(
    labels: Any,
    pred_probs: Any,
    *,
    classes: Sequence[Any] | None = None,
    ids: Sequence[str | int] | None = None,
    images: Any = None,
    texts: Sequence[str] | None = None,
    features: Any = None,
    out: str | Path | None = None,
    limit: int = 1000,
) -> Findings:
    """Audit labels with the probabilities of any classifier.

    Every sample must have been predicted by a model that did not learn from it (cross-validation), or memorised labels
    look clean.

    Args:
        labels: given labels ``[N]``: class numbers, or values of ``classes``; missing ones as in ``fit``.
        pred_probs: ``[N, C]``, non-negative, rows sum to 1; column k is ``classes[k]``.
        classes: class values in the order of the columns; None: the numbers 0 to C - 1 where all labels are such, else
            the different labels, sorted.
        ids: what names each sample (a path, a number); None: row numbers.
        images: ``[N, ...]`` as in ``fit``, to be shown and searched for duplicates.
        texts: length N, for the same.
        features: ``[N, D]`` in which near samples are alike, for neighbours, examples and outliers.
        out: a new folder for ``labels.csv``, ``labels.parquet`` and ``facts.json``; None: nothing is written.
        limit: issues listed in the facts.

    Returns:
        The label table and the facts.

    Raises:
        InputError: lengths, classes or probabilities that do not fit; it names the row.
    """
    probs = _checked(pred_probs)
    count, columns = probs.shape
    for name, value in (("labels", labels), ("ids", ids), ("images", images), ("texts", texts), ("features", features)):
        size = None if value is None else value.shape[0] if hasattr(value, "shape") else len(value)
        if size is not None and size != count:
            raise InputError(f"pred_probs has {count} rows, but {name} has {size}; give one for each sample")
    if out is not None and Path(out).exists():
        raise InputError(f"out {out} exists; give a new folder")
    known = _numbers(labels, columns) if classes is None else tuple(classes)
    given, known = encode(labels, unlabelled=-1, classes=known, what="labels")
    if len(known) != columns:
        raise InputError(
            f"pred_probs has {columns} columns, but there are {len(known)} classes; give classes in their order"
        )
    suggested = probs.argmax(1)
    clean_prob = clean_probability(probs, given)
    names = list(range(count)) if ids is None else [name if isinstance(name, str) else int(name) for name in ids]
    best = probs[np.arange(count), suggested]
    table = label_table.build(names, given, suggested, clean_prob, known, suggested_prob=best)
    rows = array_rows(images) if images is not None else None
    points = None
    if features is not None:
        points = normalised(array_rows(features))
        rows = array_rows(features) if rows is None and texts is None else rows
    loss = -np.log(np.maximum(probs[np.arange(count), given.clip(min=0)], 1e-12))
    material = Material(
        name="labels",
        method="pred_probs",
        table=table,
        classes=tuple(str(name) for name in known),
        rows=rows,
        columns=tuple(str(name) for name in features.columns) if isinstance(features, pd.DataFrame) else None,
        own_texts=texts,
        points=points,
        losses=early_learning.loss_histogram(loss, given) if (given >= 0).any() else None,
    )
    found = Findings(table, facts.build(material, limit))
    if out is not None:
        Path(out).mkdir(parents=True)
        label_table.write(table, Path(out))
        facts.write(found.facts, Path(out) / FACTS)
    return found


def _checked(pred_probs: Any) -> Floats:
    try:
        probs = np.asarray(pred_probs, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"pred_probs is no array of numbers: {error}") from None
    if probs.ndim != 2 or probs.shape[1] < 2 or not len(probs):
        raise InputError(f"pred_probs has shape {probs.shape}; it must be [samples, classes] with at least 2 classes")
    bad = ~np.isfinite(probs).all(1) | (probs < -1e-6).any(1) | (np.abs(probs.sum(1) - 1) > 1e-3)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"pred_probs: row {row} is {np.array2string(probs[row], precision=4, threshold=8)}; probabilities are "
            "finite, not negative and sum to 1 in each row (apply a softmax to logits first)"
        )
    clipped: Floats = np.clip(probs, 0.0, 1.0)
    return clipped


def _numbers(labels: Any, columns: int) -> tuple[int, ...] | None:
    """0 to C - 1 where every label is such a number or missing; else None."""
    series = pd.Series(np.asarray(labels, dtype=object)).dropna()
    whole = all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in series)
    return tuple(range(columns)) if whole and series.isin(range(-1, columns)).all() else None
