"""The answers of several annotators a sample: who answered what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from codivide.core.types import Floats, Labels

UNASKED = -1


@dataclass(frozen=True)
class Votes:
    """Answers of annotators, one entry an answer, so that what nobody was asked costs nothing.

    Attributes:
        items: ``[M]`` sample of each answer, ``0 .. samples - 1``.
        annotators: ``[M]`` who gave it, ``0 .. len(names) - 1``.
        labels: ``[M]`` class that was answered, ``0 .. classes - 1``.
        names: of the annotators.
        samples: number of samples N.
        classes: number of classes C.
    """

    items: Labels
    annotators: Labels
    labels: Labels
    names: tuple[str, ...]
    samples: int
    classes: int

    @classmethod
    def of(cls, y: ArrayLike, classes: int | None = None, names: Sequence[str] | None = None) -> Votes:
        """The answers in a matrix.

        Args:
            y: ``[N, A]`` integers: the class that each annotator answered, below 0 where not asked.
            classes: number of classes; None: one more than the largest.
            names: of the annotators; None: their numbers.

        Raises:
            ValueError: not a matrix, or a class that is too large.
        """
        matrix = np.asarray(y)
        if matrix.ndim != 2 or matrix.dtype.kind not in "iu":
            raise ValueError(f"answers are a matrix of integers [N, annotators], not {matrix.dtype} of {matrix.shape}")
        count = classes if classes is not None else int(matrix.max(initial=0)) + 1
        if matrix.max(initial=-1) >= count:
            raise ValueError(f"an answer is class {matrix.max()}, but there are {count} classes")
        items, annotators = np.nonzero(matrix >= 0)
        named = tuple(names) if names is not None else tuple(str(k) for k in range(matrix.shape[1]))
        return cls(
            items.astype(np.int64),
            annotators.astype(np.int64),
            matrix[items, annotators].astype(np.int64),
            named,
            len(matrix),
            count,
        )

    @property
    def matrix(self) -> Labels:
        """``[N, A]``: the class that each annotator answered, -1 where not asked."""
        dense = np.full((self.samples, len(self.names)), UNASKED, dtype=np.int64)
        dense[self.items, self.annotators] = self.labels
        return dense

    @property
    def counts(self) -> Labels:
        """``[A]``: answers of each annotator."""
        return np.bincount(self.annotators, minlength=len(self.names)).astype(np.int64)

    @property
    def tally(self) -> Floats:
        """``[N, C]``: how many answers of each class a sample has."""
        cells = self.items * self.classes + self.labels
        counts = np.bincount(cells, minlength=self.samples * self.classes)
        return counts.reshape(self.samples, self.classes).astype(np.float64)

    def take(self, rows: ArrayLike) -> Votes:
        """The answers on some samples ``[M]``, numbered anew; a sample may come more than once."""
        chosen = np.asarray(rows, dtype=np.int64)
        one_hot = sparse.csr_matrix(
            (np.arange(1, len(self.items) + 1), (self.items, np.arange(len(self.items)))),
            shape=(self.samples, len(self.items)),
        )[chosen]
        items, kept = one_hot.nonzero()
        order = np.lexsort((kept, items))
        items, kept = items[order].astype(np.int64), kept[order]
        return replace(
            self, items=items, annotators=self.annotators[kept], labels=self.labels[kept], samples=len(chosen)
        )


def counted_once(given: Votes, owner: Labels) -> Votes:
    """The answers with one of each group on each sample and class; ``owner [A]`` gives all of them."""
    keys = (given.items * len(given.names) + owner[given.annotators]) * given.classes + given.labels
    first = np.sort(np.unique(keys, return_index=True)[1])
    return replace(
        given, items=given.items[first], annotators=owner[given.annotators[first]], labels=given.labels[first]
    )
