"""The labelled samples with their folds, and how each head is fitted to them and asked about its held-out fold."""

from __future__ import annotations

import math
import time
from copy import copy
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from codivide.core.types import Labels
from codivide.methods.features import linear, neighbours, perceptron, trees, vote
from codivide.methods.features.folds import deal, numbered
from codivide.methods.features.matrix import Scale
from codivide.methods.features.model import Member
from codivide.methods.features.options import ASIDE, Features
from codivide.methods.features.pacing import Clock, Record
from codivide.methods.features.pool import Head
from codivide.methods.features.sides import Sides
from codivide.methods.features.table import Table
from codivide.noise import chance, transition
from codivide.noise.too_small import judged_classes

PENALTIES = tuple(10 ** (-exponent / 2) for exponent in range(2, 17))  # 0.1 down to 1e-8
TRIED = 2000  # held-out labels by which a penalty is chosen, or all
DEALS = 4  # of folds, that the trees of a forest are shared out among
OWN = "own"  # the head that a model of the user's own is
TINY = 1e-9
KEPT = 0.01  # a head with less weight is not kept
_LEAST = 1e-3  # that a label counts: no class is left without any
_STEPS = 500  # of expectation-maximisation, at most


class Problem:
    """The labelled samples with their folds; fits one head after the other."""

    def __init__(self, table: Table, options: Features, seed: int, clock: Clock) -> None:
        given = table.given
        self.clock = clock
        self.options, self.seed, self.classes, self.given = options, seed, len(table.classes), given
        self.confirmed = torch.zeros(len(given), dtype=torch.bool) if table.confirmed is None else table.confirmed
        self.generator = torch.Generator().manual_seed(seed)
        dense = isinstance(table.x, np.ndarray)
        pixels = table.pixels if table.own is None else 0
        known = {"dense": dense, "mixed": table.mixed, "pixels": pixels > 0}
        self.kinds = (OWN,) if table.own else options.kinds(*table.x.shape, **known)
        self.raw, self.own = table.x, table.own  # what trees see, and what stands for them
        self.scale = Scale.fit(table.x)
        self.groups = numbered(table.groups)
        folds = min(options.folds, len(given) if self.groups is None else int(self.groups.max()) + 1)
        groups = None if self.groups is None else self.groups.numpy()
        enough = judged_classes(table.counted().numpy(), len(table.classes), options.folds, groups)
        self.enough = torch.from_numpy(enough)  # [C]: classes with a label in every fold, or all
        self.judged = self.enough[given]  # [N]: their labels; by the others nothing is chosen or estimated
        self.fold = deal(given, folds, self.generator, self.groups)
        self.weight = torch.ones(len(given), folds + 1)  # the last block holds nothing out
        self.weight[torch.arange(len(given)), self.fold] = 0
        self.counts = table.weight
        if table.weight is not None:
            self.weight *= table.weight.float().unsqueeze(1)
        self.trials = min(folds, math.ceil(TRIED * folds / len(given)))  # folds that penalties are compared on
        self.sides = Sides.of(table.x, self.scale, pixels, options.components, self.generator)
        self.directions, self.coordinates = self.sides.directions(), self.sides.places()

    def likelihood(self, channel: Tensor) -> Tensor:
        """How likely the given labels are for each true class, ``[N, C]``; a confirmed one is the true class."""
        likelihood = channel.T[self.given]
        likelihood[self.confirmed] = torch.eye(self.classes)[self.given[self.confirmed]]
        return likelihood

    def loss(self, seen: Tensor) -> float:
        """Log-loss of how likely the given labels are, ``[N]``, over those that can be judged."""
        return log_loss(seen[self.judged], self.of_judged())

    def loss_of_given(self, probs: Tensor) -> float:
        """Log-loss of probabilities ``[N, C]`` on the given labels."""
        return self.loss(probs.gather(1, self.given.unsqueeze(1)).squeeze(1))

    def of_judged(self) -> Tensor | None:
        """The weights of the labels that can be judged; None: all alike."""
        return None if self.counts is None else self.counts[self.judged]

    def frequencies(self) -> Tensor:
        """The share ``[C]`` of the labels, or of their weights, that each class has."""
        if self.counts is None:
            return torch.bincount(self.given, minlength=self.classes) / len(self.given)
        return (torch.bincount(self.given, self.counts, self.classes) / self.counts.sum()).float()

    def trusting(self, clean_prob: Tensor) -> Problem:
        """The same samples and folds; each label counts as its p(clean) ``[N]`` besides, a confirmed one fully."""
        other = copy(self)
        trust = clean_prob.clamp_min(_LEAST).masked_fill(self.confirmed, 1.0)
        other.counts = trust if self.counts is None else trust * self.counts
        other.weight = (self.weight > 0) * other.counts.float().unsqueeze(1)
        return other

    def gain(self, seen: Tensor, before: Tensor) -> tuple[float, float]:
        """By how much the log-likelihood of given labels rises, in the mean, and its standard error."""
        logs = [each[self.judged].clamp_min(TINY).log().double() for each in (seen, before)]
        counts = self.of_judged()
        weight = 1.0 if counts is None else counts / counts.mean()
        return chance.mean_and_error((logs[0] - logs[1]) * weight)

    def stack(self, heads: list[Head]) -> Tensor:
        """Weights ``[H]`` of the heads in a pool."""
        return stack(torch.stack([head.seen[self.judged] for head in heads]), self.of_judged())

    def joint(self, probs: Tensor) -> Tensor:
        """The confident joint ``[C, C]`` of the labels that can be judged; the other classes have none."""
        joint = transition.confident_joint(probs, self.given.masked_fill(~self.judged, -1))
        return joint.masked_fill(~(self.enough.unsqueeze(1) & self.enough), 0.0)  # 0 / 0 where there is no label

    def held_out(self, logits: Tensor, fold: Tensor) -> Tensor:
        """``[N, C]`` of ``[N, K, C]``: every row as the block predicts it that did not see it."""
        return torch.softmax(logits[torch.arange(len(fold)), fold], 1)

    def trial(
        self, kind: str, channel: Tensor, start: linear.Linear | None, first: float
    ) -> tuple[float, float, linear.Linear]:
        """Loss, penalty and fit of the best linear head on the first folds, sought downwards until the loss rises."""
        likelihood, x = self.likelihood(channel), self.sides.each[number_of(kind)].x
        held = (self.judged & (self.fold < self.trials)).nonzero().flatten()
        rows, fold = x.take(held), self.fold[held]
        best: tuple[float, float, linear.Linear] | None = None
        for penalty in (value for value in PENALTIES if value <= first):
            start = linear.fit(x, likelihood, self.weight[:, : self.trials], penalty, start)
            seen = (self.held_out(start.logits(rows), fold) * likelihood[held]).sum(1)
            loss = log_loss(seen, None if self.counts is None else self.counts[held])
            if best is not None and loss >= best[0]:
                break
            best = loss, penalty, start
        assert best is not None
        return best

    def linear(self, kind: str, channel: Tensor, penalty: float, near: linear.Linear) -> Head:
        """The linear head of all folds, and of none held out, with a penalty that was found; from a ``near`` fit."""
        number = number_of(kind)
        likelihood, x = self.likelihood(channel), self.sides.each[number].x
        mean = linear.Linear(near.weight.mean(1, keepdim=True), near.bias.mean(0, keepdim=True))
        lacking = self.weight.shape[1] - near.bias.shape[0]
        start = linear.Linear(
            torch.cat([near.weight, mean.weight.expand(-1, lacking, -1)], 1),
            torch.cat([near.bias, mean.bias.expand(lacking, -1)]),
        )
        fitted = linear.fit(x, likelihood, self.weight, penalty, start)
        cross = self.held_out(fitted.logits(x), self.fold)
        weights = self.sides.weights(x.features(fitted.weight[:, -1]), number)
        member = Member("linear", 1.0, (weights, fitted.bias[-1]))
        seen = (cross * likelihood).sum(1)
        return Head(kind, channel, cross, seen, self.loss(seen), {"penalty": penalty}, member, fitted)

    def mlp(self, kind: str, channel: Tensor) -> Head:
        """The MLP after the number of updates with the least held-out loss."""
        began, number = time.monotonic(), number_of(kind)
        likelihood, coordinates = self.likelihood(channel), self.sides.each[number].coordinates
        found: list[Head] = []

        def watch(net: perceptron.Perceptron) -> bool:
            cross = self.held_out(net.logits(coordinates), self.fold)
            seen = (cross * likelihood).sum(1)
            loss = self.loss(seen)
            if not found or loss < found[0].loss:
                entry, *others = (value[-1].clone() for value in net.tensors())
                member = Member("mlp", 1.0, (self.sides.inputs(entry, number), *others))
                found[:] = [Head(kind, channel, cross, seen, loss, {}, member)]
            elif loss >= 1.02 * found[0].loss:
                return False
            return self.clock.allows("more updates of the MLP", began)

        training = perceptron.Training(
            hidden=self.options.hidden,
            updates=self.options.updates or default_updates(len(self.given)),
            alpha=self.options.mixup,
        )
        generator = torch.Generator().manual_seed(self.seed)
        data = coordinates, likelihood, self.weight, self.fold
        perceptron.fit(*data, watch=watch, generator=generator, training=training)
        return found[0]

    def forest(self, kind: str, first: Tensor | None = None) -> Head:
        """A tree head, of whose ``first`` fold it may be known what it says (see ``tried``).

        The model's own trees are fitted when the labels are judged, see ``member``.
        """
        if self.own is not None:
            cross = self.own(torch.arange(len(self.given)), self.fold)
        else:
            settings: Record = {"seed": self.seed, "classes": self.classes, "counts": self.counts}
            cross = trees.cross_probs(kind, self.raw, self.given, self.deals, first=first, **settings)
        power, cross = trees.sharpest(cross, self.loss_of_given)
        seen = cross.gather(1, self.given.unsqueeze(1)).squeeze(1)
        detail, member = {"power": power}, Member(kind, 1.0, ())
        return Head(kind, torch.eye(self.classes), cross, seen, self.loss(seen), detail, member)

    def tried(self, kind: str, heads: list[Head]) -> Tensor | None:
        """What a tree head says of the first fold ``[M, C]``; None: it is not worth to be fitted to all folds.

        It is not where it has no weight beside the other heads there. Where it costs much (see ``trees.pays``), it must
        make the labels of the fold likelier, beyond a standard error.
        """
        out = self.fold == 0
        counts = None if self.counts is None else self.counts.numpy()[~out]
        known = trees.dense(self.raw[(~out).numpy()]), self.given[~out].numpy()
        fitted = trees.fit(kind, *known, seed=self.seed, classes=self.classes, counts=counts)
        said = fitted.probs(trees.dense(self.raw[out.numpy()]))
        judged = self.judged[out]
        held = out & self.judged
        own = said[judged].gather(1, self.given[held].unsqueeze(1)).squeeze(1)
        before = torch.stack([head.seen[held] for head in heads])
        after = torch.cat([before, own.unsqueeze(0)])
        weights = stack(after)
        logs = [
            (share @ each).clamp_min(TINY).log().double() for share, each in ((weights, after), (stack(before), before))
        ]
        gain, error = chance.mean_and_error(logs[0] - logs[1])
        enough = trees.pays(len(self.given), self.classes) or gain > error
        return said if enough and float(weights[-1]) >= KEPT else None

    @cached_property
    def deals(self) -> list[Tensor]:
        """The folds ``[N]``, and others, by which the trees of a forest are held out."""
        generator = torch.Generator().manual_seed(self.seed)  # of ``generator``: the first deal is ``fold``
        return [deal(self.given, int(self.fold.max()) + 1, generator, self.groups) for _ in range(DEALS)]

    @cached_property
    def near(self) -> Tensor:
        """The neighbours ``[N, K]`` of the samples."""
        return neighbours.found(self.coordinates, self.generator, self.groups)

    @cached_property
    def shares(self) -> tuple[int, Tensor]:
        """Of how many neighbours the labels tell most of the given ones, and the shares ``[N, C]`` among them."""
        shares = neighbours.counted(self.near, self.given, self.classes)
        size = min(range(len(shares)), key=lambda i: self.loss_of_given(shares[i]))
        return neighbours.SIZES[size], shares[size]

    def vote(self, matrix: Tensor, trust: Tensor) -> Head:
        """The vote of neighbours whose labels count as ``trust`` ``[N]``."""
        trust = trust if self.counts is None else trust * self.counts
        size = self.shares[0]  # not by trust, in which their own label has a say: of few, the most
        cross = neighbours.counted(self.near, self.given, self.classes, sizes=(size,), trust=trust)[0]
        seen = (cross * self.likelihood(matrix)).sum(1)
        member = Member(vote.KIND, 1.0, vote.Voters.of(self.coordinates, self.given, trust, size).tensors())
        return Head(vote.KIND, matrix, cross, seen, self.loss(seen), {"size": size}, member)

    def unmixed(self, plain: Head, channel: Tensor) -> Head:
        """A tree head, which cannot be fitted through a matrix, as what it says of the true class."""
        cross = trees.unmix(plain.cross, channel)
        seen = (cross * self.likelihood(channel)).sum(1)
        return Head(plain.name, channel, cross, seen, self.loss(seen), dict(plain.detail), plain.member)

    def member(self, head: Head, kept: Labels, fits: dict[str, trees.Trees]) -> Member:
        """The head for the model; trees are fitted to the labels that are kept, by their rows.

        Args:
            head: any of the pool.
            kept: the rows.
            fits: trees that have been fitted to these rows, by kind; others are added.
        """
        if head.name not in trees.KINDS:
            return head.member
        if head.name not in fits:
            counts = None if self.counts is None else self.counts.numpy()[kept]
            settings: Record = {"seed": self.seed, "classes": self.classes, "counts": counts}
            fitted = trees.fit(head.name, trees.dense(self.raw[kept]), self.given.numpy()[kept], **settings)
            fits[head.name] = fitted.trees()
        return Member(head.name, 1.0, fits[head.name].sharpened(head.detail["power"]).tensors())


def number_of(kind: str) -> int:
    """The side that the heads of a kind see."""
    return int(kind.endswith(ASIDE))


def default_updates(count: int) -> int:
    """Updates of the MLP for ``count`` samples, in batches of 128: 40 passes, from 10,000 on 10; 200 to 4000 in all."""
    passes = min(40 * count // 128, max(800, 10 * count // 128))
    return min(max(passes, 200), 4000)


def log_loss(seen: Tensor, weight: Tensor | None = None) -> float:
    """Mean of ``-log`` of how likely the given labels are, ``[N]``, by weights ``[N]`` where there are any."""
    logs = seen.clamp_min(TINY).log()
    return -float(logs.mean() if weight is None else (logs.double() * weight).sum() / weight.sum())


def stack(likelihoods: Tensor, weight: Tensor | None = None) -> Tensor:
    """Weights ``[H]`` of the mixture of H models under which what was given is likeliest; expectation-maximisation.

    The likelihood is concave: there is one maximum.

    Args:
        likelihoods: ``[H, N]``, of what was given to each held-out sample under each model.
        weight: of the samples ``[N]``; None: all alike.
    """
    values = likelihoods.double().clamp_min(TINY)
    weights = torch.full((len(values),), 1 / len(values), dtype=torch.float64)
    for _ in range(_STEPS):
        joint = weights.unsqueeze(1) * values
        share = joint / joint.sum(0)
        updated = share.mean(1) if weight is None else (share * weight).sum(1) / weight.sum()
        if float((updated - weights).abs().max()) < 1e-6:
            break
        weights = updated
    return weights.float()
