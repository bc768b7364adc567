"""Learn several labels a row that cannot be trusted: heads for each, and all labels together.

In short (N samples, K labels, each there or not; row i is predicted by models that never saw its labels):

1. Heads: a linear one for each label, and for tables one forest for all of them; or the user's own classifier.
2. Labels go together (a sky seldom comes without a cloud), and so do near samples. From the held-out log-odds of the
   heads for all labels, the other labels that were given to the row, and how many of its neighbours were given label k,
   a logistic regression (again cross-fitted) says how likely label k was given. Where held-out given labels are
   likelier so, by more than one standard error, it takes the place of the mean of the heads.
3. ``noise.latent.latent_noise`` tells doubt from noise, for each label: P(given | true), and with it p(clean). Of
   labels that are hard to predict, what all labels show together counts more (see ``_Channels``).
4. The heads are fitted again on all rows, each weighted with p(clean), as far as the label can be predicted.
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

from codivide.core.errors import InputError
from codivide.core.neighbours import nearest
from codivide.core.types import Floats, Labels, Mask
from codivide.methods.features import own
from codivide.methods.features.folds import deal, numbered, once
from codivide.methods.features.matrix import Raw
from codivide.methods.features.tag_heads import TINY, OwnTags, TagHeads, log_odds
from codivide.noise.latent import latent_noise
from codivide.noise.several import row_score

FEWEST = 5  # rows with a label, and without it, by which it can be judged
_NEAR = (10, 30)
_REFERENCES = 10_000  # rows among which neighbours are sought
_ASSUMED = 3.0  # right labels of each kind that are taken for sure
_DOUBTED = 0.2  # share of explained entropy at which a label's own noise counts half
_SURE = 2.0  # standard errors by which held-out labels must be predicted better than by how often they occur


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
    """

    x: Raw
    y: Labels
    names: tuple[str, ...]
    confirmed: Mask | None = None
    groups: Tensor | None = None
    copies: Tensor | None = None
    weight: Floats | None = None


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
        rates: ``[K]``, estimated share of wrong ones, NaN where a label cannot be judged.
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
    rates: Floats
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
    rows = np.flatnonzero((data.y >= 0).all(1))
    given = data.y[rows]
    able = _able(data.names, given)
    chosen = torch.from_numpy(rows)
    groups = numbered(None if data.groups is None else data.groups[chosen])
    folds = min(folds, len(rows) if groups is None else int(groups.max()) + 1)
    fold = deal(_rarest(given), folds, torch.Generator().manual_seed(seed), groups).numpy()
    weight = _counts(data, rows)
    heads = _heads(data, rows, fold, seed, classifier)
    cross = heads.crossed(given[:, able], weight)  # [H, N, K']
    pooled = heads.pooled(cross, given[:, able], weight)
    said, together = _together(pooled, cross, given[:, able], heads.points(), (fold, weight))
    probs, clean_prob = np.tile(given.mean(0), (len(data.y), 1)), np.full(data.y.shape, np.nan)
    unjudged = {name: "too few rows have it, or lack it" for k, name in enumerate(data.names) if k not in able}
    records: list[dict[str, Any]] = []
    channels = _Channels.of(said, given[:, able], weight)
    judged = channels.clean_prob(given[:, able])
    for place, k in enumerate(able):
        probs[rows, k] = said[:, place]
        clean_prob[rows, k] = judged[:, place]
        if not _predicted(said[:, place], given[:, k]):
            unjudged[data.names[k]] = "the features say nothing of it"
            clean_prob[rows, k] = judged[:, place].clip(0.5)  # doubted, and no more
        if data.confirmed is not None:
            clean_prob[data.confirmed, k] = 1.0
        rate = 1 - float(clean_prob[rows, k].mean())
        records.append({"epoch": len(records) + 1, "label": data.names[k], "noise_estimate": rate})
    counts = np.ones(given.shape)
    counts[:, able] = 1 - channels.share * (1 - clean_prob[rows][:, able])
    model = heads.model(given, able, counts * weight[:, None], data.names)
    missing = np.setdiff1d(np.arange(len(data.y)), rows)
    if len(missing):
        probs[missing] = heads.predict(model, missing)
    suggested = np.where(clean_prob < 0.5, 1 - data.y, data.y)
    suggested[missing] = probs[missing] >= 0.5
    row = np.full(len(data.y), np.nan)
    row[rows] = np.nan_to_num(row_score(clean_prob[rows]), nan=1.0)
    rates = np.array([1 - clean_prob[rows, k].mean() for k in range(data.y.shape[1])])
    return LearnedTags(
        model=model,
        probs=probs,
        clean_prob=clean_prob,
        row_clean_prob=row,
        suggested=suggested.astype(np.int64),
        rates=rates,
        together=tuple(data.names[able[place]] for place in together),
        unjudged=unjudged,
        records=records or [{"epoch": 1, "noise_estimate": 0.0}],
        report={
            "noise_estimate": float(np.nanmean(rates)),
            "rows_wrong": 1 - float(row[rows].mean()),
            "judged": data.y.shape[1] - len(unjudged),
            "unjudged": unjudged,
            "together": [data.names[able[place]] for place in together],
        },
    )


def _able(names: tuple[str, ...], given: Labels) -> list[int]:
    """The labels that enough rows have and lack."""
    if len(given) < 2 * FEWEST:
        raise InputError(f"{len(given)} rows are labelled; at least {2 * FEWEST} are needed")
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


def _counts(data: Tags, rows: Labels) -> Floats:
    """How much each labelled row counts; copies with the same labels count once."""
    weight = np.ones(len(rows)) if data.weight is None else data.weight[rows].astype(np.float64)
    if data.copies is not None:
        signature = torch.from_numpy(np.unique(data.y[rows], axis=0, return_inverse=True)[1].ravel())
        place = once(data.copies[torch.from_numpy(rows)], signature)[1].numpy()
        weight /= np.bincount(place)[place]
    return weight


def _heads(data: Tags, rows: Labels, fold: Labels, seed: int, classifier: OwnClassifier | None) -> TagHeads:
    return TagHeads(data.x, rows, fold, seed, None if classifier is None else tuple(classifier))


def _together(
    pooled: Floats, cross: Floats, given: Labels, points: Tensor, dealt: tuple[Labels, Floats]
) -> tuple[Floats, list[int]]:
    """How likely each label was given ``[N, K]``, and the labels of which more than the heads says so.

    ``dealt``: fold and weight ``[N]`` of each row.
    """
    fold, weight = dealt
    first = pooled.clip(TINY, 1 - TINY)
    odds = log_odds(cross.transpose(1, 0, 2).reshape(len(given), -1))
    near = _near(points, given, fold)
    answer, found = first.copy(), []
    for place in range(given.shape[1]):
        others = np.delete(given, place, axis=1)
        rows = np.concatenate([odds, others - others.mean(0), log_odds(near[:, :, place])], axis=1)
        second = _stacked(rows, given[:, place], fold, weight)
        gain = _logs(second, given[:, place]) - _logs(first[:, place], given[:, place])
        if gain.mean() > gain.std() / len(gain) ** 0.5:
            found.append(place)
            answer[:, place] = second
    return answer, found


def _near(points: Tensor, given: Labels, fold: Labels) -> Floats:
    """The share of the nearest rows of other folds that were given each label, ``[N, S, K]`` for S numbers of them."""
    answer = np.empty((len(given), len(_NEAR), given.shape[1]))
    for number in np.unique(fold):
        out, rest = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        rest = np.sort(np.random.default_rng(0).permutation(rest)[:_REFERENCES])
        found, _ = nearest(points, out, rest, min(max(_NEAR), len(rest)))
        frequency = given[rest].mean(0)
        for place, size in enumerate(_NEAR):
            own_near = given[found[:, :size]]
            answer[out, place] = (own_near.sum(1) + frequency) / (own_near.shape[1] + 1)
    return answer


def _stacked(rows: Floats, target: Labels, fold: Labels, weight: Floats) -> Floats:
    """Held-out probabilities ``[N]`` of one label by logistic regression on ``[N, F]``."""
    from sklearn.linear_model import LogisticRegression

    found = np.empty(len(target))
    for number in np.unique(fold):
        out, rest = fold == number, fold != number
        if len(np.unique(target[rest])) < 2:
            found[out] = target[rest].mean()
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a few steps less do no harm
            model = LogisticRegression(C=0.3, max_iter=200).fit(rows[rest], target[rest], weight[rest])
        found[out] = model.predict_proba(rows[out])[:, 1]
    return found.clip(TINY, 1 - TINY)


def _logs(probs: Floats, given: Labels) -> Floats:
    found: Floats = np.log(np.where(given == 1, probs, 1 - probs))
    return found


def _predicted(probs: Floats, given: Labels) -> bool:
    """Whether held-out labels are predicted better than by how often they occur."""
    gain = _logs(probs, given) - _logs(np.full(len(given), given.mean()), given)
    return bool(gain.mean() > _SURE * gain.std() / len(gain) ** 0.5)


@dataclass(frozen=True)
class _Channels:
    """How each judged label was given, as far as it can be told: P(given | true) ``[K, 2, 2]``.

    The labels went through the same hands. What a label shows of its own noise counts as far as it can be predicted
    (``told``, the share of its entropy that held-out predictions explain); for the rest all labels speak together, and
    for nobody can say which way, both ways alike.
    """

    transition: Floats
    prior: Floats
    share: Floats  # [K], of what is told by a label itself

    @classmethod
    def of(cls, probs: Floats, given: Labels, weight: Floats) -> _Channels:
        fits = [
            latent_noise([np.stack([1 - said, said], axis=1)], own_given, weight=weight)
            for said, own_given in zip(probs.T, given.T, strict=True)
        ]
        told = np.array([_told(said, own_given) for said, own_given in zip(probs.T, given.T, strict=True)])
        wrong = np.array([1 - np.trace(one.joint) / one.joint.sum() for one in fits])
        common = float(np.average(wrong, weights=told.clip(1e-3)))
        both = np.array([[1 - common, common], [common, 1 - common]])
        share = told / (told + _DOUBTED)
        own_share = [_smoothed(one.joint) for one in fits]
        transition = share[:, None, None] * np.stack(own_share) + (1 - share[:, None, None]) * both
        return cls(
            transition, np.stack([_true_prob(said, one) for said, one in zip(probs.T, transition, strict=True)]), share
        )

    def clean_prob(self, given: Labels) -> Floats:
        """p(clean) ``[N, K]``: ``P(true = given | given, x)``."""
        columns = []
        for own_given, transition, true in zip(given.T, self.transition, self.prior, strict=True):
            joint = np.stack([1 - true, true], axis=1) * transition[:, own_given].T
            columns.append(joint[np.arange(len(own_given)), own_given] / joint.sum(1).clip(1e-12))
        return np.stack(columns, axis=1)


def _smoothed(joint: Floats) -> Floats:
    """P(given | true) of counts; of a rare label, few of them must not say that most are wrong."""
    counts = joint + _ASSUMED * np.eye(2)
    found: Floats = counts / counts.sum(1, keepdims=True)
    return found


def _true_prob(probs: Floats, transition: Floats) -> Floats:
    """P(true = 1 | x) ``[N]`` where ``probs`` are those of the given label: ``p = (1 - q) t01 + q t11``."""
    low, high = transition[0, 1], transition[1, 1]
    found: Floats = ((probs - low) / max(high - low, 0.05)).clip(TINY, 1 - TINY)
    return found


def _told(probs: Floats, given: Labels) -> float:
    """The share of a label's entropy that held-out predictions explain, in [0, 1]."""
    share = float(given.mean())
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    return float(np.clip(1 + _logs(probs, given).mean() / entropy, 0, 1))
