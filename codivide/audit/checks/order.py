"""Samples whose order is not random: labels or features follow the number of the row.

Neighbours in the file that are alike are runs (a file sorted by class, frames of one video); a feature that grows with
the row number is a drift (a sensor, a date). Either way a part that is cut off by row number is no random one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from codivide.audit.checks.base import Check, Found
from codivide.audit.material import Material
from codivide.core.types import AnyFloats, Floats, Labels, Singles
from codivide.data.row_order import is_named_in_order
from codivide.data.standardised import moments
from codivide.runs.label_table import Column

FEWEST = 50  # samples
LEAST = 0.1  # excess of neighbours that share a label, or correlation of neighbours
DRIFT = 0.3  # correlation of a feature with the row number
DEVIATIONS = 5.0  # of what a random order gives, at least
MOST = 2000  # rows from which the row number is told by all features together
_BLOCKS = 10  # consecutive parts in which the classes are counted
_FAR = 4.0  # standard deviations to which features are cut
_BESIDE = 5  # rows on either side that a row is compared with
_NAMED = 3
_RIDGES = (1e-3, 1e-2, 1e-1, 1.0)  # penalties that are tried, times the variance of all features


class _Seen(NamedTuple):
    """How like its neighbours each row is ``[N]`` (0: as by chance, 1: the same), and what is said of all of them."""

    alike: Floats
    said: list[str]


def _find(material: Material) -> Found:
    """Rows that are like those beside them, where the order is not random.

    Labels: two neighbours share a label more often than by chance, by a tenth of what is possible, or the classes of
    ten consecutive parts differ (Cramer's V, less what chance gives, of 0.2). Features, less the mean of the class:
    their correlation with those of the next row is at least 0.1, or one of them has a correlation of 0.3 with the row
    number, less its mean of the class, or all of them together (a ridge regression that has not seen the row). All of
    it by 5 standard deviations.
    Where rows are in the order of their names, as files of a folder are, labels are not compared.
    """
    count = len(material.given)
    if count < FEWEST:
        return Found()
    seen = [_labels(material), _features(material)]
    alike = np.max([np.zeros(count), *(one.alike for one in seen)], axis=0)
    said = [sentence for one in seen for sentence in one.said]
    score = 1 - np.clip(alike, 0, 1)
    flag = (score < 0.5) & bool(said)
    return Found({"is_non_iid_issue": flag, "non_iid_score": score}, said=tuple(said))


def _labels(material: Material) -> _Seen:
    given, alike = material.given, np.zeros(len(material.given))
    rows = np.flatnonzero(given >= 0)
    named = is_named_in_order(material.table, [material.ids[row] for row in rows.tolist()])
    counts = np.bincount(given[rows], minlength=len(material.classes))
    if named or len(rows) < FEWEST or (counts > 0).sum() < 2:
        return _Seen(alike, [])
    labels, share = given[rows], counts / len(rows)
    chance = float((share**2).sum())
    same = float((labels[1:] == labels[:-1]).mean())
    runs = (same - chance) / (1 - chance)
    error = np.sqrt(chance * (1 - chance) / (len(rows) - 1)) / (1 - chance)
    alike[rows] = (_beside(labels) - share[labels]) / np.maximum(1 - share[labels], 1e-9)
    if runs > max(LEAST, DEVIATIONS * error):
        text = f"labels follow the order of the rows: {100 * same:.0f} % of neighbours share one, {100 * chance:.0f} % "
        return _Seen(alike, [text + "would by chance. A part that is cut off by row number is no random one"])
    if _parted(labels, counts):
        return _Seen(
            alike,
            [
                "classes are not as frequent at the beginning of the rows as at the end, so a part that is "
                "cut off by row number is no random one"
            ],
        )
    return _Seen(alike, [])


def _beside(labels: Labels) -> Floats:
    """Share ``[N]`` of the 5 rows before and the 5 after that have a row's label."""
    same, held = np.zeros(len(labels)), np.zeros(len(labels))
    for step in range(1, _BESIDE + 1):
        equal = labels[step:] == labels[:-step]
        for part in (slice(step, None), slice(None, -step)):
            same[part] += equal
            held[part] += 1
    return same / held


def _parted(labels: Labels, counts: Labels) -> bool:
    """Whether the classes of ten consecutive parts differ: Cramer's V without its bias, and chi squared."""
    held = np.flatnonzero(counts)
    block = np.arange(len(labels)) * _BLOCKS // len(labels)
    table = np.zeros((_BLOCKS, len(counts)))
    np.add.at(table, (block, labels), 1)
    table = table[:, held]
    expected = np.outer(table.sum(1), table.sum(0)) / len(labels)
    free = (_BLOCKS - 1) * (len(held) - 1)
    squared = float(((table - expected) ** 2 / expected).sum())
    v = np.sqrt(max(squared - free, 0.0) / len(labels) / min(_BLOCKS - 1, len(held) - 1))
    return bool(v > 2 * LEAST and squared > free + DEVIATIONS * np.sqrt(2 * free))


def _features(material: Material) -> _Seen:
    points = material.points
    if points is None:
        return _Seen(np.zeros(len(material.given)), [])
    x = _centred(points.to(torch.float32, copy=True).numpy(), material.given)
    square = np.einsum("nd,nd->n", x, x)
    whole = float(square.mean())
    if whole <= 0:
        return _Seen(np.zeros(len(x)), [])
    deviation = DEVIATIONS / np.sqrt(max(len(x) - len(np.unique(material.given)), 1))
    said = []
    next_to = float(np.einsum("nd,nd->n", x[1:], x[:-1]).mean()) / whole
    if next_to > max(LEAST, deviation):
        said.append(
            f"samples are like their neighbours in the order of the rows (correlation {next_to:.2f}), so a part "
            "that is cut off by row number is no random one"
        )
    along = np.arange(len(x), dtype=np.float64)
    _less_mean(along, material.given)  # of rows that are sorted by class, this is where each is in its class
    scale = np.sqrt(np.einsum("nd,nd->d", x, x) * (along @ along))
    drift = np.divide(along.astype(np.float32) @ x, scale, out=np.zeros(x.shape[1]), where=scale > 0)
    far = np.flatnonzero(np.abs(drift) > max(DRIFT, deviation))
    if len(far):
        worst = far[np.argsort(-np.abs(drift[far]), kind="stable")][:_NAMED]
        names = material.columns if material.columns and len(material.columns) == x.shape[1] else None
        listed = ", ".join(f"{names[k]!r} {drift[k]:+.2f}" if names else f"{drift[k]:+.2f}" for k in worst.tolist())
        what = "columns follow" if names else "what the samples hold changes with"
        said.append(
            f"{what} the row number (correlation {listed}), so a part that is cut off by row number is no random one"
        )
    elif (told := _told(x, along, material.given)) > DRIFT:
        said.append(
            f"what the samples hold tells the row number (correlation {told:.2f}), so a part that is cut off by row "
            "number is no random one"
        )
    near = np.zeros(len(x))
    for step in range(1, _BESIDE + 1):
        product = np.einsum("nd,nd->n", x[step:], x[:-step]) / whole
        near[step:] += product / (2 * _BESIDE)
        near[:-step] += product / (2 * _BESIDE)
    return _Seen(near, said)


def _told(x: Singles, along: Floats, given: Labels) -> float:
    """How well a ridge regression on all features tells the row number of rows that it has not seen: a correlation.

    Of at most 2,000 rows each is predicted by the others (leave-one-out, from one decomposition); the penalty that
    errs least counts. 0 where it is within 5 standard deviations of chance. The mean of each class is learned, too:
    neither it nor its part in what is predicted may tell of the row itself.
    """
    chosen = np.sort(np.random.default_rng(0).permutation(len(x))[:MOST])
    rows, wanted, labels = x[chosen].astype(np.float64), along[chosen], given[chosen]
    _less_mean(rows, labels)
    _less_mean(wanted, labels)
    _, place, often = np.unique(labels, return_inverse=True, return_counts=True)
    wide = len(rows) < rows.shape[1]
    values, axes = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    kept = values > 1e-9 * values[-1]
    values, axes = values[kept], axes[:, kept]
    unit = axes if wide else rows @ axes / np.sqrt(values)
    errors = []
    for ridge in _RIDGES:
        shrunk = values / (values + ridge * values.sum())
        seen = 1 / often[place] + (unit**2) @ shrunk  # the share of each row in its own prediction
        errors.append((wanted - unit @ (shrunk * (unit.T @ wanted))) / (1 - np.minimum(seen, 0.999)))
    told = wanted - min(errors, key=lambda error: float(error @ error))
    found = float(np.corrcoef(told, wanted)[0, 1]) if told.std() > 0 else 0.0
    return found if found > DEVIATIONS / np.sqrt(max(len(rows) - len(often), 1)) else 0.0


def _centred(x: Singles, given: Labels) -> Singles:
    """Features on one scale, cut to 4 deviations and less the mean of their class, in their place."""
    mean, deviation = moments(x)
    x -= mean.astype(np.float32)
    x /= np.where(deviation > 0, deviation, 1).astype(np.float32)
    np.clip(x, -_FAR, _FAR, out=x)
    _less_mean(x, given)
    return x


def _less_mean(values: AnyFloats, given: Labels) -> None:
    """Take the mean of its class from each of the values ``[N, ...]``, in their place."""
    for label in np.unique(given).tolist():
        rows = np.flatnonzero(given == label)
        values[rows] -= values[rows].mean(0)


CHECK = Check(
    name="non_iid",
    title="Order",
    text="Samples that are like those beside them in a file whose order is not random.",
    columns=(
        Column(
            "is_non_iid_issue", "flag", "the order of the rows is not random, and the sample is like its neighbours"
        ),
        Column("non_iid_score", "probability", "1: like the rows beside it by no more than chance, 0: the same"),
    ),
    find=_find,
    of_classes=True,
    judged=False,
)
