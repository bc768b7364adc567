"""The audit for those who trained elsewhere: from labels and out-of-sample class probabilities alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from codivide.audit import facts
from codivide.audit.findings import Findings
from codivide.audit.material import Material
from codivide.audit.neighbours import normalised
from codivide.audit.noise_report import noise_report
from codivide.core.errors import InputError
from codivide.core.types import Floats
from codivide.data.arrays import array_rows
from codivide.data.labels import encode
from codivide.noise import learning_curves
from codivide.noise.clean_prob import combined
from codivide.runs import label_table

FACTS = "facts.json"


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
    probs = checked(pred_probs)
    count, columns = probs.shape
    for name, value in (("labels", labels), ("ids", ids), ("images", images), ("texts", texts), ("features", features)):
        size = None if value is None else value.shape[0] if hasattr(value, "shape") else len(value)
        if size is not None and size != count:
            raise InputError(f"pred_probs has {count} rows, but {name} has {size}; give one for each sample")
    if out is not None and Path(out).exists():
        raise InputError(f"out {out} exists; give a new folder")
    known = class_numbers(labels, columns) if classes is None else tuple(classes)
    given, known = encode(labels, unlabelled=-1, classes=known, what="labels")
    if len(known) != columns:
        raise InputError(
            f"pred_probs has {columns} columns, but there are {len(known)} classes; give classes in their order"
        )
    suggested = probs.argmax(1)
    clean_prob = combined(probs, given)
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
        losses=learning_curves.loss_histogram(loss, given) if (given >= 0).any() else None,
        noise=noise_report(None, given, pred_probs=probs) if (given >= 0).any() else None,
    )
    found = Findings(table, facts.build(material, limit))
    if out is not None:
        Path(out).mkdir(parents=True)
        label_table.write(table, Path(out))
        facts.write(found.facts, Path(out) / FACTS)
    return found


def checked(pred_probs: Any) -> Floats:
    """Probabilities ``[N, C]`` float64 as the user gave them, or the error that says what is wrong with them."""
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


def class_numbers(labels: Any, columns: int) -> tuple[int, ...] | None:
    """0 to C - 1 where every label is such a number or missing; else None."""
    series = pd.Series(np.asarray(labels, dtype=object)).dropna()
    whole = all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in series)
    return tuple(range(columns)) if whole and series.isin(range(-1, columns)).all() else None
