"""Samples to learn from, with all that is known of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from codivide.methods.features.folds import once
from codivide.methods.features.matrix import Raw


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
    """

    x: Raw
    given: Tensor
    classes: tuple[Any, ...]
    confirmed: Tensor | None = None
    answers: Tensor | None = None
    groups: Tensor | None = None
    copies: Tensor | None = None
    weight: Tensor | None = None

    def take(self, rows: Tensor) -> Table:
        """Some rows ``[M]``."""
        whole = len(rows) == len(self.given)  # a copy of all features is saved
        known = (self.confirmed, self.answers, self.groups, self.copies, self.weight)
        x = self.x if whole else self.x[rows.numpy()]
        return Table(x, self.given[rows], self.classes, *(None if value is None else value[rows] for value in known))

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
