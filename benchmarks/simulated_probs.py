"""Probabilities of a classifier on simulated samples whose labels are wrong in a known way, for ``pred_probs.py``.

Classes are Gaussians whose means lie ``apart`` from the origin; a logistic regression is cross-fitted on the given
labels, and its log-probabilities are multiplied by ``sharpness`` (below 1: underconfident, above 1: overconfident).
Labels are wrong at random ("symmetric"), in every second class and to the next one ("class"), or where another class is
near, and to that class ("sample").
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from codivide import noise_report

SAMPLES, CLASSES, COLUMNS = 3_000, 10, 10
NOISE = (
    ("none", 0.0),
    *product(("symmetric", "class", "sample"), (0.05, 0.13, 0.25)),
)
APART = (2.5, 4.0)  # a logistic regression is right for about 74 and 93 % of clean samples
SHARPNESS = (0.5, 1.0, 2.0)


class World(NamedTuple):
    """Samples ``[N, D]``, given and true labels ``[N]``."""

    x: np.ndarray
    given: np.ndarray
    truth: np.ndarray


def world(kind: str, rate: float, apart: float, seed: int) -> World:
    """Samples with noise of that kind."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(CLASSES, COLUMNS))
    mean *= apart / np.linalg.norm(mean, axis=1, keepdims=True)
    truth = rng.integers(CLASSES, size=SAMPLES)
    x = mean[truth] + rng.normal(size=(SAMPLES, COLUMNS))
    if kind == "sample":
        chance, other = _near(x @ mean.T - 0.5 * (mean**2).sum(1), truth, rate, rng)
    elif kind == "class":
        chance, other = np.where(truth % 2 == 0, 2 * rate, 0.0), (truth + 1) % CLASSES
    else:
        chance, other = np.full(SAMPLES, rate), (truth + rng.integers(1, CLASSES, size=SAMPLES)) % CLASSES
    return World(x, np.where(rng.random(SAMPLES) < chance, other, truth), truth)


def _near(
    logits: np.ndarray, truth: np.ndarray, rate: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The chance of each label to be wrong, by the root of what is left to other classes; and one of these, drawn."""
    rows = np.arange(SAMPLES)
    rivals = tempered(logits, 1.0)
    rivals[rows, truth] = 0.0
    weight = np.sqrt(rivals.sum(1)) + 1e-4
    scale = np.geomspace(1e-3, 1e5, 4_000)
    mean = np.array([np.minimum(each * weight, 0.9).mean() for each in scale])
    rivals += 1e-9
    rivals[rows, truth] = 0.0
    rivals /= rivals.sum(1, keepdims=True)
    other = (rivals.cumsum(1) > rng.random((SAMPLES, 1))).argmax(1)
    return np.minimum(scale[np.abs(mean - rate).argmin()] * weight, 0.9), other


def tempered(logits: np.ndarray, sharpness: float) -> np.ndarray:
    """Probabilities ``[N, C]``."""
    scaled = sharpness * (logits - logits.max(1, keepdims=True))
    return np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)


def simulated(seed: int) -> Iterator[dict[str, Any]]:
    """A row for each world and sharpness: the true rate, what the report says, and what half-way would say.

    ``half_way`` takes half of the disagreement that is not explained for wrong labels: an estimate that would lie close
    on one public file (roman numerals).
    """
    for (kind, rate), apart in product(NOISE, APART):
        x, given, truth = world(kind, rate, apart, seed)
        fitted = cross_val_predict(LogisticRegression(max_iter=200), x, given, cv=5, method="predict_proba")
        for sharpness in SHARPNESS:
            probs = tempered(np.log(np.maximum(fitted, 1e-12)), sharpness)
            report = noise_report(None, given, pred_probs=probs, replicates=5)
            disagrees = float((probs.argmax(1) != given).mean())
            yield {
                "noise": kind,
                "apart": apart,
                "sharpness": sharpness,
                "seed": seed,
                "noise_rate": float((given != truth).mean()),
                "estimated_rate": report.rate,
                "interval": [report.low, report.high],
                "trust": report.trust.level,
                "disagrees": disagrees,
                "half_way": report.rate + 0.5 * max(disagrees - max(report.estimates.values()), 0.0),
            }


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """By kind of noise: how far the rates are off on average, and how often the interval holds the truth."""
    found = {}
    for kind in dict.fromkeys(row["noise"] for row in rows):
        own = [row for row in rows if row["noise"] == kind]
        off = np.array([abs(row["estimated_rate"] - row["noise_rate"]) for row in own])
        held = [row["interval"][0] <= row["noise_rate"] <= row["interval"][1] for row in own]
        found[kind] = {
            "worlds": len(own),
            "off": float(off.mean()),
            "half_way_off": float(np.mean([abs(row["half_way"] - row["noise_rate"]) for row in own])),
            "interval_holds": float(np.mean(held)),
            "off_but_trusted": float((np.array([row["trust"] == "good" for row in own]) & (off > 0.03)).mean()),
        }
    return found
