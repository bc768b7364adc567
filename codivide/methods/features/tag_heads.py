"""The heads that say which of several labels a row has, and the model of them, as tensors of our own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from codivide.core.types import Floats, Labels, Singles
from codivide.data import encoder
from codivide.data.rows import Rows
from codivide.data.sources import rows_for_model
from codivide.methods.features import judge, linear, own, stored, trees
from codivide.methods.features.matrix import Matrix, Raw, Scale, raw
from codivide.methods.features.problem import stack

KIND = "tags"
BOTH = (0, 1)
TINY = 1e-3
PENALTIES = tuple(10 ** (-exponent / 2) for exponent in range(2, 13))
_DIRECTIONS = 64
_CHUNK = 4096
_CLEAR = 0.25  # how sure a label is at least that a classifier of the user's own learns


def log_odds(probs: Floats) -> Floats:
    """Of probabilities of any shape, which are kept ``TINY`` from 0 and 1."""
    kept = probs.clip(TINY, 1 - TINY)
    found: Floats = np.log(kept) - np.log1p(-kept)
    return found


@dataclass(eq=False)  # two are the same where they are one
class TagModel:
    """Says how likely a row has each of K labels.

    Attributes:
        scale: how raw rows are scaled for the linear head.
        weight: of the linear head ``[D, K]``, on scaled rows.
        bias: ``[K]``.
        forest: trees whose leaves hold K probabilities; None: there are none.
        share: ``[K]`` of the forest, or of ``aside``, in what is said of each label.
        fixed: ``[K]``, the probability of a label that could not be learned; NaN: it was.
        names: of the labels.
        encoder: what makes rows of texts, images or tables, where something does.
        columns: names of the features of a table, where they have some.
        aside: weight ``[D, K]`` and bias ``[K]`` of the linear head of pixels, where these stand beside features.
    """

    scale: Scale
    weight: Tensor
    bias: Tensor
    forest: trees.Trees | None
    share: Floats
    fixed: Floats
    names: tuple[str, ...]
    encoder: encoder.Encoder | None = None
    columns: tuple[str, ...] | None = None
    aside: tuple[Tensor, Tensor] | None = None

    def __repr__(self) -> str:
        return f"TagModel({len(self.scale.mean):,} features, {len(self.names):,} labels)"

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels."""
        return self.names

    @property
    def shape(self) -> tuple[int, ...]:
        """``(D,)``."""
        return (len(self.weight),)

    @property
    def dtype(self) -> torch.dtype:
        """``torch.float32``, of the raw rows."""
        return torch.float32

    def probs(self, samples: Any) -> Floats:
        """Probabilities ``[N, K]``, each for itself: rows do not sum to 1. Takes raw rows, or samples as in ``fit``."""
        rows: Rows = rows_for_model(samples, self)
        every = torch.split(torch.arange(len(rows)), _CHUNK)
        parts = [self.of(raw(rows, ids)) for ids in every if len(ids)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.names)))

    def of(self, x: Raw) -> Floats:
        """The same of features ``[N, D]``."""
        rows = Matrix.of(self.scale.apply(x))
        found = _of_logits(rows.times(self.weight) + self.bias)
        second = None if self.aside is None else _of_logits(rows.times(self.aside[0]) + self.aside[1])
        if self.forest is not None:
            second = said_by(self.forest, trees.dense(x))
        if second is not None:
            found = found + self.share * (second - found)
        return np.where(np.isnan(self.fixed), found, self.fixed)

    def to(self, device: torch.device) -> TagModel:
        """The model itself, which always runs on the CPU."""
        return self

    def save(self, path: str | Path) -> None:
        """Write everything to one safetensors file, atomically."""
        tensors = {
            "weight": self.weight.contiguous(),
            "bias": self.bias,
            "share": torch.from_numpy(self.share),
            "fixed": torch.from_numpy(self.fixed),
        }
        if self.aside is not None:
            tensors |= {"aside.weight": self.aside[0].contiguous(), "aside.bias": self.aside[1]}
        if self.forest is not None:
            tensors |= {f"forest.{i}": value for i, value in enumerate(self.forest.tensors())}
        stored.write(path, self, tensors, {"kind": KIND})

    @classmethod
    def of_file(cls, tensors: dict[str, Tensor], header: dict[str, Any]) -> TagModel:
        """The model whose file holds ``tensors`` and ``header``."""
        scale, encoder, columns = stored.shared(tensors, header)
        count = sum(name.startswith("forest.") for name in tensors)
        forest = trees.Trees(*(tensors[f"forest.{i}"] for i in range(count))) if count else None
        share, fixed, names = tensors["share"].numpy(), tensors["fixed"].numpy(), tuple(map(str, header["classes"]))
        weight, bias = tensors["weight"], tensors["bias"]
        aside = (tensors["aside.weight"], tensors["aside.bias"]) if "aside.weight" in tensors else None
        return cls(scale, weight, bias, forest, share, fixed, names, encoder, columns, aside)


@dataclass(eq=False)  # two are the same where they are one
class OwnTags:
    """The user's own classifier, fitted for every label.

    Attributes:
        members: of each label a fitted copy; a number: the share of rows where nothing could be learned.
        names: of the labels.
    """

    members: list[own.Fitted | float]
    names: tuple[str, ...]

    def probs(self, samples: Any) -> Floats:
        """Probabilities ``[N, K]`` of samples as the model takes them."""
        count = samples.shape[0] if hasattr(samples, "shape") else len(samples)
        columns = [
            np.full(count, member) if isinstance(member, float) else member.probs(samples)[:, 1]
            for member in self.members
        ]
        return np.stack(columns, axis=1)

    def save(self, path: str | Path) -> None:
        """Write what can be kept of them, see ``own.save``."""
        fitted = {
            name: member.model
            for name, member in zip(self.names, self.members, strict=True)
            if not isinstance(member, float)
        }
        own.save(path, fitted, repr(next(iter(fitted.values()))), self.names)


def _of_logits(logits: Tensor) -> Floats:
    found: Floats = torch.sigmoid(logits.double()).numpy()
    return found


def said_by(forest: trees.Trees, x: Singles) -> Floats:
    """Probabilities ``[N, K]`` by a forest: the mean over its trees."""
    parts = [forest.value[forest.leaves(x[start : start + _CHUNK])].mean(1) for start in range(0, len(x), _CHUNK)]
    found: Floats = torch.cat(parts).double().numpy()
    return found


def _of_label(name: str) -> str:
    """Part of the work of a classifier of the user's own, for errors."""
    return f"label {name!r}"


class Believed(NamedTuple):
    """What the labels are taken for in the last fit.

    Attributes:
        labels: ``[N, K]``, 0 or 1.
        sure: how much each counts ``[N, K]`` in [0, 1]: ``|2 P(true = 1) - 1|``.
    """

    labels: Labels
    sure: Floats

    @classmethod
    def of(cls, given: Labels, suggested: Labels, clean_prob: Floats, as_given: list[bool]) -> Believed:
        """What is suggested, as far as it is sure; the given labels where ``as_given`` ``[K]`` says so.

        A label that nothing or everything would then have is learned as given, too, weighed by p(clean) ``[N, K]``.
        """
        known = np.nan_to_num(clean_prob, nan=1.0)
        labels, sure = suggested.copy(), np.abs(2 * known - 1)
        for k, plain in enumerate(as_given):
            if plain or len(np.unique(suggested[sure[:, k] > 0, k])) < 2:
                labels[:, k], sure[:, k] = given[:, k], 1.0 if plain else known[:, k]
        return cls(labels, sure)


class TagHeads:
    """Fits the heads: held out, and on all rows.

    Args:
        x: raw features of all samples.
        rows: those that are labelled ``[N]``.
        fold: of each ``[N]``.
        seed: of the forest.
        own_model: the user's classifier and all samples as it takes them; None: codivide's heads.
        copies: of the labelled rows, the first of the copies of each, and for every row which of these it is. The
            user's classifier sees these first ones alone, since it may take no weights; None: each row comes once.
        pixels: how many of the last columns are pixels, which have a linear head of their own (see ``sides``).
    """

    def __init__(
        self,
        x: Raw,
        rows: Labels,
        fold: Labels,
        *,
        seed: int,
        own_model: tuple[Any, Any] | None = None,
        copies: tuple[Labels, Labels] | None = None,
        pixels: int = 0,
    ) -> None:
        self.copies = (np.arange(len(rows)),) * 2 if copies is None else copies
        self.whole, self.rows, self.fold, self.seed, self.own = x, rows, fold, seed, own_model
        self.x = x if len(rows) == x.shape[0] else x[rows]
        self.scale = Scale.fit(x)
        dense = isinstance(x, np.ndarray)
        self.forest = own_model is None and dense and len(rows) >= trees.FEWEST_OF_MEANS and x.shape[1] <= trees.WIDEST
        ends = (0, x.shape[1] - pixels, x.shape[1]) if pixels and own_model is None else (0, x.shape[1])
        self.columns = [slice(*pair) for pair in pairwise(ends)]
        if len(self.columns) == 1:
            self.matrices = [Matrix.along_axes(self.scale.apply(self.x))]
        else:
            alone = [(self.scale.part(of.start, of.stop), self.x[:, of]) for of in self.columns]
            self.matrices = [Matrix.along_axes(scale.apply(columns)) for scale, columns in alone]
        self.penalty: dict[tuple[int, int], float] = {}  # by side and label
        self.share: dict[int, float] = {}  # of the second head: a forest, or that of pixels

    def points(self) -> Tensor:
        """Where the labelled rows lie among each other ``[N, P]``: along the leading directions."""
        matrix = self.matrices[0]
        found = matrix.times(matrix.principal(_DIRECTIONS, torch.Generator().manual_seed(self.seed)))
        return found if isinstance(self.whole, np.ndarray) else torch.nn.functional.normalize(found)

    def pooled(self, cross: Floats, given: Labels, weight: Floats) -> Floats:
        """Held-out probabilities ``[N, K]`` of the pool of greatest held-out likelihood, from those of each head."""
        if len(cross) == 1:
            alone: Floats = cross[0]
            return alone
        columns = []
        for k, own_given in enumerate(given.T):
            said = np.where(own_given == 1, cross[:, :, k], 1 - cross[:, :, k])
            shares = stack(torch.from_numpy(said), torch.from_numpy(weight)).double().numpy()
            self.share[k] = float(shares[1])
            columns.append(shares @ cross[:, :, k])
        return np.stack(columns, axis=1)

    def crossed(self, given: Labels, weight: Floats, names: Sequence[str]) -> Floats:
        """Held-out probabilities ``[H, N, K]`` of labels ``[N, K]`` by each head; rows count as ``weight`` says.

        ``names`` are those of the K labels, for errors of a classifier of the user's own.
        """
        if self.own is not None:
            first, place = self.copies
            kept, fold, counts = own.take(self.own[1], self.rows[first]), self.fold[first], self._counted(weight)
            known: dict[str, Any] = {"classes": BOTH, "counts": counts}
            columns = [
                own.cross_probs(self.own[0], kept, column, fold, part=_of_label(name), **known)[:, 1]
                for column, name in zip(given[first].T, names, strict=True)
            ]
            return np.stack(columns, axis=1)[place][None]
        parts = [
            np.stack([self._linear(k, column, weight, side) for k, column in enumerate(given.T)], axis=1)
            for side in range(len(self.matrices))
        ]
        if self.forest:
            found = np.empty(given.shape)
            for number in np.unique(self.fold):
                out, rest = self.fold == number, self.fold != number
                own_trees = trees.of_means(self.x[rest], given[rest], weight[rest], self.seed, features="sqrt")
                found[out] = said_by(own_trees, trees.dense(self.x[out]))
            parts.append(found)
        return np.stack(parts)

    def _counted(self, weight: Floats) -> Floats | None:
        """How much each of the first copies counts; None: all alike."""
        found: Floats = np.bincount(self.copies[1], weight).astype(np.float64)
        return None if np.ptp(found) == 0 else found

    def _linear(self, place: int, given: Labels, weight: Floats, side: int) -> Floats:
        """Held-out probabilities ``[N]`` of one label by one side, with the penalty of least held-out loss."""
        matrix = self.matrices[side]
        likelihood = torch.eye(2)[torch.from_numpy(given)]
        blocks = int(self.fold.max()) + 1
        counts = torch.from_numpy(weight).float()[:, None].repeat(1, blocks)
        rows = torch.arange(len(given))
        counts[rows, torch.from_numpy(self.fold)] = 0
        best: tuple[float, Floats] | None = None
        start = None
        for penalty in PENALTIES:
            start = linear.fit(matrix, likelihood, counts, penalty, start)
            logits = start.logits(matrix)[rows, torch.from_numpy(self.fold)]
            probs: Floats = torch.softmax(logits, 1)[:, 1].double().numpy().clip(TINY, 1 - TINY)
            loss = -float(np.average(np.log(np.where(given == 1, probs, 1 - probs)), weights=weight))
            if best is not None and loss >= best[0]:
                break
            best, self.penalty[side, place] = (loss, probs), penalty
        assert best is not None
        return best[1]

    def model(self, believed: Believed, able: list[int], weight: Floats, names: tuple[str, ...]) -> TagModel | OwnTags:
        """The model on all labelled rows.

        Args:
            believed: what the labels are taken for.
            able: those that can be learned.
            weight: how much each row counts ``[N]``.
            names: of the labels.
        """
        share = np.average(believed.labels, axis=0, weights=weight)
        if self.own is not None:
            first = self.copies[0]
            kept, counted = own.take(self.own[1], self.rows[first]), self._counted(weight)
            labels, sure = believed.labels[first], believed.sure[first]
            members: list[own.Fitted | float] = [float(value) for value in share]
            for k in able:
                clear = np.flatnonzero(judge.kept(labels[:, k], sure[:, k], least=_CLEAR))
                known: dict[str, Any] = {
                    "classes": BOTH,
                    "counts": counted,
                    "part": f"{_of_label(names[k])}, {own.LAST}",
                }
                members[k] = own.refit(self.own[0], kept, labels[:, k], clear, **known)
            return OwnTags(members, names)
        labels, counts = believed.labels, weight
        weight = believed.sure * counts[:, None]
        sides = [(torch.zeros(self.whole.shape[1], len(names)), torch.zeros(len(names))) for _ in self.matrices]
        fixed, second = share.astype(np.float64), np.zeros(len(names))
        for place, k in enumerate(able):
            for side, (coefficients, bias) in enumerate(sides):
                coefficients[self.columns[side], k], bias[k] = self._last(place, labels[:, k], weight[:, k], side)
            fixed[k], second[k] = np.nan, self.share.get(place, 0.0)
        forest = None
        if self.forest:
            soft = (1 + believed.sure * (2 * labels - 1)) / 2  # a forest weighs rows, not labels
            forest = trees.of_means(self.x, soft, counts, self.seed, features="sqrt")
        aside = sides[1] if len(sides) > 1 else None
        return TagModel(self.scale, *sides[0], forest, second, fixed, names, aside=aside)

    def _last(self, place: int, labels: Labels, weight: Floats, side: int) -> tuple[Tensor, Tensor]:
        """Weights of the columns of a side, scaled with all others, and bias of one label on all rows."""
        self._linear(place, labels, weight, side)  # for its penalty
        likelihood = torch.eye(2)[torch.from_numpy(labels)]
        every = torch.from_numpy(weight[:, None]).float()
        found = linear.fit(self.matrices[side], likelihood, every, self.penalty[side, place])
        difference = found.weight[:, 0, 1] - found.weight[:, 0, 0]
        alone = self.matrices[side].features(difference[:, None])[:, 0]
        return alone * math.sqrt(self.whole.shape[1] / len(alone)), found.bias[0, 1] - found.bias[0, 0]

    def predict(self, model: TagModel | OwnTags, rows: Labels) -> Floats:
        """Probabilities ``[M, K]`` of some samples by the model."""
        if isinstance(model, OwnTags):
            assert self.own is not None
            return model.probs(own.take(self.own[1], rows))
        return model.of(self.whole[rows])
