"""Learn several labels a row that cannot be trusted: heads for each, and all labels together.

In short (N samples, K labels, each there or not; row i is predicted by models that never saw its labels):

1. Heads: a linear one for each label, and for tables one forest for all of them; of pixels beside the features of an
   encoder another linear one. Or the user's own classifier.
2. Labels go together (a sky seldom comes without a cloud), and so do near samples. From the held-out log-odds of the
   heads for all labels, the other labels that were given to the row, and how many of its neighbours were given label k,
   a logistic regression (again cross-fitted) says how likely label k was given. Where held-out given labels are
   likelier so, by more than one standard error, it takes the place of the mean of the heads.
3. ``noise.latent.latent_noise`` tells doubt from noise, for each label: P(given | true), and with it p(clean). Of
   labels that are hard to predict, what all labels show together counts more (see ``noise.several.Channels``).
4. The heads are fitted again on all rows: to what is suggested, which counts the more the surer it is. What is sure is
   learned with less of a penalty than the given labels were; held-out rows choose it anew. Labels that could not be
   judged are learned as given.
5. The row is right where all of its labels are (``noise.several.row_score``).

A label cannot be judged that fewer than ``FEWEST`` rows have or lack, or that held-out features say nothing of. Ours.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from codivide.core import threads
from codivide.core.errors import InputError
from codivide.core.neighbours import nearest
from codivide.core.types import Floats, Labels, Mask
from codivide.methods.features.folds import check_counts, counts_of, folds_of, once
from codivide.methods.features.matrix import Raw
from codivide.methods.features.tag_heads import Believed, TagHeads, log_odds
from codivide.noise.several import LEAST, Channels, above_zero, log_likelihood, predicted, row_score

FEWEST = 5  # rows with a label, and without it, by which it can be judged
_NEAR = (10, 30)
_REFERENCES = 10_000  # rows among which neighbours are sought


@dataclass(frozen=True)
class Tags:
    """Samples with several labels each.

    Attributes:
        x: features ``[N, D]`` float32, dense or CSR.
        y: ``[N, K]`` int64: 1 where a row has the label, 0 where not; -1 in a row that is not labelled.
        names: of the labels, K.
        confirmed: mask ``[N]`` of the rows that are known to be right; None: none.
        groups: a number ``[N]``, the same for those that no fold may divide; None: each is on its own.
        copies: a number ``[N]``, the same for those that are the same thing; None: each comes once.
        weight: how much each sample counts ``[N]``; None: all alike.
        pixels: how many of the last columns are pixels, which have a head of their own.
    """

    x: Raw
    y: Labels
    names: tuple[str, ...]
    confirmed: Mask | None = None
    groups: Tensor | None = None
    copies: Tensor | None = None
    weight: Floats | None = None
    pixels: int = 0


class OwnClassifier(NamedTuple):
    """A classifier of the user's own, and the samples ``[N]`` as it takes them."""

    model: Any
    samples: Any


@dataclass
class LearnedTags:
    """What is known of every label ``[N, K]``.

    Attributes:
        model: a ``TagModel``; with a classifier of the user's own, ``OwnTags``.
        probs: that a row was given the label, held out; of rows without labels by the model.
        clean_prob: that the label is rightly there, or rightly not; NaN where that cannot be judged.
        row_clean_prob: ``[N]``, that all of them are right; NaN in rows without labels.
        suggested: 1 or 0: as given where that is likely right, else the other.
        together: labels that were judged by more than the heads.
        unjudged: why a label could not be judged, by name.
        records: one a label.
        report: numbers on how it was learned.
    """

    model: Any
    probs: Floats
    clean_prob: Floats
    row_clean_prob: Floats
    suggested: Labels
    together: tuple[str, ...]
    unjudged: dict[str, str]
    records: list[dict[str, Any]] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)


def learn_tags(data: Tags, seed: int = 0, *, folds: int = 5, classifier: OwnClassifier | None = None) -> LearnedTags:
    """Judge labels and learn them; see the head of this file.

    Args:
        data: samples, of which at least ``2 * FEWEST`` are labelled.
        seed: of folds and heads.
        folds: of cross-fitting.
        classifier: a model of the user's own in the place of the heads.

    Raises:
        InputError: too few labelled rows, or no label that can be judged.
    """
    with threads.alone(data.x.size):
        return _learned(data, seed, folds, classifier)


def _learned(data: Tags, seed: int, folds: int, classifier: OwnClassifier | None) -> LearnedTags:
    """``learn_tags``."""
    rows = np.flatnonzero((data.y >= 0).all(1))
    given = data.y[rows]
    copies = _copies(data, rows)
    weight = counts_of(rows, _signature(given), data.copies, data.weight)
    different = np.arange(len(rows)) if copies is None else copies[0]
    able = _able(data.names, given[different[weight[different] > 0]])
    fold = folds_of(rows, _rarest(given), data.groups, folds, seed)
    check_counts(fold, weight)
    heads = TagHeads(data.x, rows, fold, seed=seed, own_model=classifier, copies=copies, pixels=data.pixels)
    cross = heads.crossed(given[:, able], weight, [data.names[k] for k in able])  # [H, N, K']
    pooled = heads.pooled(cross, given[:, able], weight)
    said, together = _together(pooled, cross, given[:, able], heads.points(), (fold, weight))
    channels = Channels.of(said, given[:, able], weight)
    found = _judged(data, rows, able, said, (channels, weight))
    believed = Believed.of(
        given, found.suggested[rows], found.clean_prob[rows], [n in found.unjudged for n in data.names]
    )
    found.model = heads.model(believed, able, weight, data.names)
    missing = np.setdiff1d(np.arange(len(data.y)), rows)
    if len(missing):
        found.probs[missing] = heads.predict(found.model, missing)
        found.suggested[missing] = found.probs[missing] >= 0.5
    found.together = tuple(data.names[able[place]] for place in together)
    found.report["together"] = list(found.together)
    return found


def _judged(data: Tags, rows: Labels, able: list[int], said: Floats, known: tuple[Channels, Floats]) -> LearnedTags:
    """What is said of every label; the model is fitted later. ``known``: the channels, and weight ``[N]`` of rows."""
    given, (channels, weight) = data.y[rows], known
    frequency = np.average(given, axis=0, weights=weight)
    probs, clean_prob = np.tile(frequency, (len(data.y), 1)), np.full(data.y.shape, np.nan)
    unjudged = {name: "too few rows have it, or lack it" for k, name in enumerate(data.names) if k not in able}
    records: list[dict[str, Any]] = []
    judged = channels.clean_prob(given[:, able])
    for place, k in enumerate(able):
        probs[rows, k], clean_prob[rows, k] = said[:, place], judged[:, place]
        if not predicted(said[:, place], given[:, k], weight):
            unjudged[data.names[k]] = "the features say nothing of it"
            clean_prob[rows, k] = judged[:, place].clip(0.5)  # doubted, and no more
        if data.confirmed is not None:
            clean_prob[data.confirmed, k] = 1.0
        rate = 1 - float(clean_prob[rows, k].mean())
        records.append({"epoch": len(records) + 1, "label": data.names[k], "noise_estimate": rate})
    row = np.full(len(data.y), np.nan)
    row[rows] = row_score(clean_prob[rows])
    rates = np.array([1 - clean_prob[rows, k].mean() for k in range(data.y.shape[1])])
    report = {
        "noise_estimate": float(np.nanmean(rates)),
        "rows_wrong": 1 - float(row[rows].mean()),
        "judged": data.y.shape[1] - len(unjudged),
        "unjudged": unjudged,
    }
    suggested = np.where(clean_prob < 0.5, 1 - data.y, data.y).astype(np.int64)
    return LearnedTags(None, probs, clean_prob, row, suggested, (), unjudged, records, report)


def _able(names: tuple[str, ...], given: Labels) -> list[int]:
    """The labels that enough different rows have and lack."""
    if len(given) < 2 * FEWEST:
        raise InputError(f"{len(given)} different rows are labelled and count; at least {2 * FEWEST} are needed")
    size = given.sum(0)
    able = [k for k in range(given.shape[1]) if FEWEST <= size[k] <= len(given) - FEWEST]
    if not able:
        raise InputError(
            f"no label can be learned: each needs at least {FEWEST} rows that have it and {FEWEST} that do not (of "
            f"{len(given)} labelled rows, {int(size[0])} have {names[0]!r})"
        )
    return able


def _rarest(given: Labels) -> Tensor:
    """The rarest label ``[N]`` of each row, K where it has none, by which rows are shared out over folds."""
    order = given.sum(0).argsort(kind="stable")
    held = given[:, order] > 0
    found = np.where(held.any(1), order[held.argmax(1)], given.shape[1])
    return torch.from_numpy(found.astype(np.int64))


def _signature(given: Labels) -> Labels:
    """A number for each row ``[M]``, the same for those with the same labels."""
    found: Labels = np.unique(given, axis=0, return_inverse=True)[1].ravel()
    return found


def _copies(data: Tags, rows: Labels) -> tuple[Labels, Labels] | None:
    """Of the labelled rows the first of the copies with the same labels, and which of these each is."""
    if data.copies is None:
        return None
    first, place = once(data.copies[torch.from_numpy(rows)], torch.from_numpy(_signature(data.y[rows])))
    return first.numpy(), place.numpy()


def _together(
    pooled: Floats, cross: Floats, given: Labels, points: Tensor, dealt: tuple[Labels, Floats]
) -> tuple[Floats, list[int]]:
    """How likely each label was given ``[N, K]``, and the labels of which more than the heads says so.

    ``dealt``: fold and weight ``[N]`` of each row.
    """
    fold, weight = dealt
    first = pooled.clip(LEAST, 1 - LEAST)
    odds = log_odds(cross.transpose(1, 0, 2).reshape(len(given), -1))
    near = _near(points, given, fold, weight)
    answer, found = first.copy(), []
    for place in range(given.shape[1]):
        others = np.delete(given, place, axis=1)
        middle = np.average(others, axis=0, weights=weight)
        rows = np.concatenate([odds, others - middle, log_odds(near[:, :, place])], axis=1)
        second = _stacked(rows, given[:, place], fold, weight)
        gain = log_likelihood(second, given[:, place]) - log_likelihood(first[:, place], given[:, place])
        if above_zero(gain, weight, errors=1):
            found.append(place)
            answer[:, place] = second
    return answer, found


def _near(points: Tensor, given: Labels, fold: Labels, weight: Floats) -> Floats:
    """The share of the nearest rows of other folds that were given each label, ``[N, S, K]`` for S numbers of them.

    Each counts as much as ``weight`` ``[N]`` says; a row that does not count is no neighbour.
    """
    answer = np.empty((len(given), len(_NEAR), given.shape[1]))
    for number in np.unique(fold):
        out, rest = np.flatnonzero(fold == number), np.flatnonzero((fold != number) & (weight > 0))
        rest = np.sort(np.random.default_rng(0).permutation(rest)[:_REFERENCES])
        found, _ = nearest(points, out, rest, min(max(_NEAR), len(rest)))
        frequency = np.average(given[rest], axis=0, weights=weight[rest])
        for place, size in enumerate(_NEAR):
            counted = weight[found[:, :size], None]
            answer[out, place] = ((counted * given[found[:, :size]]).sum(1) + frequency) / (counted.sum(1) + 1)
    return answer


def _stacked(rows: Floats, target: Labels, fold: Labels, weight: Floats) -> Floats:
    """Held-out probabilities ``[N]`` of one label by logistic regression on ``[N, F]``."""
    from sklearn.linear_model import LogisticRegression

    found = np.empty(len(target))
    for number in np.unique(fold):
        out, rest = fold == number, fold != number
        if len(np.unique(target[rest])) < 2:
            found[out] = np.average(target[rest], weights=weight[rest])
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a few steps less do no harm
            model = LogisticRegression(C=0.3, max_iter=200).fit(rows[rest], target[rest], weight[rest])
        found[out] = model.predict_proba(rows[out])[:, 1]
    return found.clip(LEAST, 1 - LEAST)
