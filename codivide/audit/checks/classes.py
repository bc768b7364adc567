"""Classes that are rare, and classes that are never suggested."""

from __future__ import annotations

import numpy as np

from codivide.audit.checks.base import Check, Found
from codivide.audit.material import Material
from codivide.core.words import first_few
from codivide.noise.too_small import FEWEST
from codivide.runs.label_table import Column

RARE = 0.1  # of the share that a class would have if all had the same


def _find(material: Material) -> Found:
    """Samples of rare classes.

    Rare: a class has labels, but less than a tenth of what it would have if all classes had as many. A class of at
    least 5 labels that is suggested for no sample is said: the model has not learned it.
    """
    given = material.given
    counts = np.bincount(given[given >= 0], minlength=len(material.classes))
    held = counts > 0
    if held.sum() < 2:
        return Found()
    share = counts * held.sum() / counts.sum()
    rare = held & (share < RARE)
    flag = (given >= 0) & rare[given]
    score = np.where(given >= 0, np.minimum(share[given], 1), 1.0)
    silent = np.flatnonzero((counts >= FEWEST) & ~np.isin(np.arange(len(counts)), material.suggested))
    silent = np.union1d(silent, np.asarray(material.never_predicted, dtype=np.int64)).astype(np.int64)
    said = []
    if rare.any():
        listed = _listed(material, np.flatnonzero(rare)[np.argsort(counts[rare], kind="stable")], counts)
        said.append(f"rare classes, each with less than a tenth of an even share of the labels: {listed}")
    if len(silent):
        said.append(
            f"classes that are suggested for no sample, so the model has not learned them: "
            f"{_listed(material, silent, counts)}"
        )
    rows = np.flatnonzero(flag)
    columns = {"is_class_imbalance_issue": flag, "class_imbalance_score": score}
    return Found(columns, rows[np.argsort(score[rows], kind="stable")], said=tuple(said))


def _listed(material: Material, classes: np.ndarray, counts: np.ndarray) -> str:
    return first_few([f"{material.classes[k]!r} ({counts[k]:,})" for k in classes.tolist()])


CHECK = Check(
    name="class_imbalance",
    title="Rare classes",
    text="Samples of classes with less than a tenth of an even share of the labels.",
    columns=(
        Column("is_class_imbalance_issue", "flag", "its class has less than a tenth of an even share of the labels"),
        Column("class_imbalance_score", "probability", "share of its class over an even share, at most 1"),
    ),
    find=_find,
    of_classes=True,
)
