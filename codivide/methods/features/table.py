"""Samples to learn from, with all that is known of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from codivide.core.files import let_go
from codivide.methods.features.folds import once
from codivide.methods.features.matrix import Raw

#: Probabilities ``[M, C]`` of rows ``[M]``, each by a model that saw no label of its fold ``[M]``.
Own = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Table:
    """Samples to learn from.

    Attributes:
        x: features ``[N, D]`` float32, dense or CSR.
        given: labels ``[N]`` in ``0 .. C - 1``, -1 where there is none.
        classes: the C class values, which the model keeps.
        confirmed: mask ``[N]`` of the labels that are known to be right; None: no label.
        answers: how likely the answers of several annotators are for each true class, ``[N, C]`` up to a factor for
            each sample; None: one label a sample, and nothing is known of who gave it.
        groups: a number ``[N]`` for each sample, the same for those that no fold may divide (see
            ``data.groups.together``); None: each is on its own.
        copies: a number ``[N]``, the same for those that are the same thing; None: each comes once.
        weight: how much each sample counts in what is learned and chosen ``[N]``; None: all alike. What is said of the
            labels (p(clean), noise) counts every label once.
        mixed: whether the features come from columns of any kind, which are tables for trees.
        own: probabilities ``[M, C]`` by a model of the user's own, from rows ``[M]`` that have labels, and their folds;
            it is then the only head, and the classifier of ``Learned`` has none.
        pixels: how many of the last columns are pixels, which have heads of their own, for they know other things than
            the features of an encoder; 0: there are none.
    """

    x: Raw
    given: Tensor
    classes: tuple[Any, ...]
    confirmed: Tensor | None = None
    answers: Tensor | None = None
    groups: Tensor | None = None
    copies: Tensor | None = None
    weight: Tensor | None = None
    mixed: bool = False
    own: Own | None = None
    pixels: int = 0

    def take(self, rows: Tensor) -> Table:
        """Some rows ``[M]``."""
        whole = len(rows) == len(self.given)  # a copy of all features is saved
        known = {name: getattr(self, name) for name in ("confirmed", "answers", "groups", "copies", "weight")}
        some: dict[str, Any] = {name: None if value is None else value[rows] for name, value in known.items()}
        own = self.own
        if own is not None:
            some["own"] = lambda chosen, fold: own(rows[chosen], fold)
        x = self.x if whole else self.x[rows.numpy()]
        let_go(self.x)
        return replace(self, x=x, given=self.given[rows], **some)

    def counted(self) -> Tensor:
        """The labels ``[N]`` that count; -1 where there is none, or it weighs nothing, so that it is not learned."""
        return self.given if self.weight is None else self.given.masked_fill(self.weight <= 0, -1)

    @staticmethod
    def standing(place: Tensor) -> Tensor:
        """The rows ``[M]`` that ``distinct`` keeps, by the ``place`` ``[N]`` that it gives."""
        count = int(place.max()) + 1
        return torch.full((count,), len(place)).scatter_reduce(0, place, torch.arange(len(place)), "amin")

    def distinct(self) -> tuple[Table, Tensor | None]:
        """The table in which copies of one label stand once, confirmed if one is, and the row ``[N]`` there of each.

        A sample that is there nine times says no more than once; else nine copies of a wrong label teach it. Copies
        whose labels differ stay, and so do all where several annotators answered. What stands for some has the mean of
        their weights. None: nothing was left out.
        """
        if self.copies is None or self.answers is not None:
            return self, None
        rows, place = once(self.copies, self.given)
        table = replace(self.take(rows), copies=None)
        if table.confirmed is not None and self.confirmed is not None:
            confirmed = torch.zeros(len(rows), dtype=torch.int64).index_add_(0, place, self.confirmed.long())
            table = replace(table, confirmed=confirmed > 0)
        if self.weight is not None:
            summed = torch.zeros(len(rows), dtype=self.weight.dtype).index_add_(0, place, self.weight)
            table = replace(table, weight=summed / torch.bincount(place, minlength=len(rows)))
        return table, place
