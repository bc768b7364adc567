"""Samples that fit no class: very far from all others, far and the model is unsure, or a group of photos apart."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from codivide.audit.checks.base import Check, Found
from codivide.audit.material import Material
from codivide.audit.neighbours import NEIGHBOURS
from codivide.audit.shown import Shown
from codivide.core.neighbours import nearest
from codivide.core.types import AnyFloats, Floats, Labels
from codivide.noise.apart import Apart
from codivide.runs.label_table import Column

REFERENCES = 5000  # samples to which distances are measured
MOST_OUTLIERS = 100  # in the facts
FAR, FAR_OUT = 2.0, 3.0  # ranges between the quartiles above the upper one (Tukey's fences), of the log of the distance
LEAST = 0.1  # range that counts at least: what is a tenth farther away than others is no outlier
_COPY = 1e-3  # of the length of a row; nearer ones are copies, but for rounding
FEWEST_PHOTOS = 200  # below, classes are too small to say what is usual
MOST_APART = 0.08  # share of the photos; what more of them are is how these photos are
NOISE = 1.0  # sharpness (see ``data.looks``) from which on an image may be noise: of white noise it is log 3


class Outliers(NamedTuple):
    """What was found.

    Attributes:
        rows: of the outliers, the clearest first.
        severity: of every sample ``[N]`` in [0, 1]: the share of samples that are nearer to the others, but of one
            that is not far out times ``1 - best_prob`` where it is known.
        usual: what is usual among the photos, where small groups were looked for.
    """

    rows: Labels
    severity: Floats
    usual: Apart | None = None


def find(points: Tensor, best_prob: AnyFloats | None, classes: int) -> Outliers | None:
    """The outliers.

    A sample's distance is the logarithm of the mean distance to its 10 nearest among at most 5,000 reference samples
    (drawn once, by a fixed seed). It is far out when that is above the upper quartile by more than 3 times the range
    between the quartiles (0.1 at least), however sure the model is: a linear one is surest where it has never been.
    From twice on it is far, and an outlier where the model is not sure: its best probability is below the middle
    between chance (1 / classes) and 1, and among the lowest tenth of all. Samples that come more than 10 times, as
    rows of a few categories do, say nothing of how far apart others are: the quartiles are those of the rest.

    Args:
        points: ``[N, F]``.
        best_prob: ``[N]``, the probability of the likeliest class; None: not known.
        classes: their number C.

    Returns:
        Rows and severities; None where there are too few samples to say.
    """
    count = len(points)
    if count <= NEIGHBOURS:
        return None
    references = np.sort(np.random.default_rng(0).permutation(count)[:REFERENCES])
    found = nearest(points, np.arange(count), references, NEIGHBOURS)[1].mean(1)
    distance, alone = np.log(np.maximum(found, 1e-12)), found > _COPY * float(points.square().sum(1).mean().sqrt())
    low, high = np.quantile(distance[alone], [0.25, 0.75]) if alone.any() else (0.0, 0.0)
    step = max(high - low, LEAST)
    far, far_out = (distance > high + times * step for times in (FAR, FAR_OUT))
    severity = np.searchsorted(np.sort(distance), distance, side="left") / count
    if best_prob is None:
        far = far_out
    else:
        unsure = best_prob < min((1 + 1 / classes) / 2, float(np.quantile(best_prob, 0.1)))
        far = far_out | (far & unsure)
        severity = np.where(far_out, severity, severity * (1 - best_prob))
    rows = np.flatnonzero(far)
    return Outliers(rows[np.argsort(-severity[rows], kind="stable")], severity)


def usual_photos(points: Tensor, labels: Labels) -> Apart | None:
    """What is usual among photos; None where they are fewer than 200, or more than 8 % of all would be apart.

    Args:
        points: ``[N, F]``, what an encoder makes of photos. Features of tables and texts lie in groups by nature.
        labels: the likeliest class ``[N]``, -1: none.
    """
    if len(points) < FEWEST_PHOTOS:
        return None
    usual = Apart.of(points, labels)
    return None if (usual.usual > usual.fence).mean() > MOST_APART else usual


def with_groups(found: Outliers, points: Tensor, labels: Labels) -> Outliers:
    """The same with photos that are apart from every class, alone or as a small group.

    Those of a group are neighbours of each other, and so near by ``find``. ``Apart`` is not misled by them. A photo is
    an outlier where its distance is above the upper quartile by more than 1.75 times the range between the quartiles,
    of few classes by more (see ``Apart``).

    Args:
        found: what ``find`` gave.
        points: see ``usual_photos``.
        labels: likewise.
    """
    usual = usual_photos(points, labels)
    if usual is None:
        return found
    distance = usual.distance(points)
    apart = distance > usual.fence
    nearer = np.searchsorted(np.sort(distance), distance, side="left") / len(points)
    severity = np.where(apart, np.maximum(found.severity, nearer), found.severity)
    rows = np.union1d(found.rows, np.flatnonzero(apart))
    return Outliers(rows[np.argsort(-severity[rows], kind="stable")], severity, usual)


def with_noise(found: Outliers, sharpness: Floats) -> Outliers:
    """The same with images whose pixels know nothing of their neighbours: noise, or a broken file.

    What an encoder makes of noise may lie among photos. Sharpness is that of noise, and above the upper quartile by
    more than twice the range between the quartiles: drawings and woven cloth are sharp by nature.

    Args:
        found: the outliers so far.
        sharpness: ``[N]`` of each image, NaN where it means nothing.
    """
    known = sharpness[np.isfinite(sharpness)]
    low, high = np.quantile(known, [0.25, 0.75]) if len(known) else (0.0, 0.0)
    noise = np.nan_to_num(sharpness) > max(NOISE, high + FAR * (high - low))
    if not noise.any():
        return found
    severity = np.where(noise, 1.0, found.severity)
    rows = np.union1d(found.rows, np.flatnonzero(noise))
    return found._replace(rows=rows[np.argsort(-severity[rows], kind="stable")], severity=severity)


def _find(material: Material) -> Found:
    if material.points is None:
        return Found()
    # of numbers and several labels it is no probability of the likeliest class, and says nothing of how unsure one is
    best_prob = material.suggested_prob if material.task is None else None
    found = find(material.points, best_prob, len(material.classes))
    if found is None:
        return Found()
    if material.of_photos and material.task is None:
        found = with_groups(found, material.points, material.suggested)
    if material.looks is not None:
        found = with_noise(found, material.looks.sharpness)
    flag = np.zeros(len(found.severity), dtype=bool)
    flag[found.rows] = True
    columns = {"is_outlier_issue": flag, "outlier_score": 1 - found.severity}
    return Found(columns, found.rows, found)


def _facts(found: Found, shown: Shown) -> list[dict[str, Any]]:
    rows = found.rows[:MOST_OUTLIERS].tolist()
    return [shown.sample(row) | {"score": float(found.detail.severity[row])} for row in rows]


CHECK = Check(
    name="outliers",
    title="Outliers",
    text="Samples that may fit no class, the farthest first.",
    columns=(
        Column(
            "is_outlier_issue",
            "flag",
            "the sample may fit no class: very far from the others, far and the model is unsure, or a photo of a small "
            "group apart, or noise",
        ),
        Column("outlier_score", "probability", "1: it lies well among the others; the lower, the clearer an outlier"),
    ),
    find=_find,
    describe=_facts,
    compares=True,
)
