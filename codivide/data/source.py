"""What a source of data is: how it is recognised, and how it is read with its labels and without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from codivide.core.errors import InputError
from codivide.core.files import expand_user
from codivide.core.types import Labels
from codivide.data.loaded import Loaded, Skipped
from codivide.data.options import DEFAULT, ReadOptions
from codivide.data.rows import Rows

Classes = Sequence[Any] | None


class Part(NamedTuple):
    """A random part of the training samples: so many, drawn by a seed."""

    limit: int
    seed: int

    def rows(self, count: int) -> Labels:
        """Which of ``count`` samples, in their order; all where there are no more."""
        return np.sort(np.random.default_rng(self.seed).permutation(count)[: self.limit])


@dataclass(frozen=True)
class Reading:
    """How a source is read with its labels.

    Attributes:
        options: how to read it.
        classes: the classes in order, where they are known; None: the different labels, sorted.
        truth: true labels where they are known: one a row, and for images also a mapping from path to label or a CSV
            file of ``path,label``.
        y: labels that are given beside the source, ``[N]`` or ``[N, annotators]``.
        ids: what the index of a frame or series calls its rows, ``[N]``; None: their numbers.
        part: of the training samples, the only ones whose image files need be read; other sources give all. None: all.
    """

    options: ReadOptions = DEFAULT
    classes: Classes = None
    truth: object = None
    y: object = None
    ids: Sequence[str | int] | None = None
    part: Part | None = None

    def known(self) -> dict[str, Any]:
        """What is known of the samples beside their labels, as the makers of a data set in memory take it."""
        return {"ids": self.ids, "classes": self.classes, "truth": self.truth}


@dataclass(frozen=True)
class Wanted:
    """What a model takes, and how to read it.

    Attributes:
        shape: of one sample, ``(channels, height, width)`` or ``(features,)``; of texts empty.
        dtype: ``torch.uint8`` or ``torch.float32``; it says nothing of texts.
        options: threads, ``max_bad`` and the progress bar.
        texts: whether it takes texts.
        table: whether it takes tables, as data frames.
        columns: names of the features that it was trained on, by which the columns of a table are brought into its
            order; None: they had no names, and the columns of a table count as they stand.
        name: what the samples are called in a message: the file they are read from, or the parameter.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    options: ReadOptions = DEFAULT
    texts: bool = False
    columns: Sequence[str] | None = None
    table: bool = False
    name: str = "X"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape that images are brought to.

        Raises:
            InputError: a number of channels that cannot be made of other images.
        """
        if self.shape[0] not in (1, 3):
            raise InputError(f"the model takes {self.shape[0]} channels; only 1 or 3 can be made from other images")
        return self.shape[0], self.shape[1], self.shape[2]


class Inputs(NamedTuple):
    """Samples without labels (rows, texts or a table), what names each (a path or a row number), and files left out."""

    samples: Rows | list[str] | pd.DataFrame
    names: Sequence[str | int]
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Source:
    """One kind of source: a line of ``SOURCES``.

    Attributes:
        name: what to call it.
        recognised: whether something is of this kind; it is asked only if no kind before it said yes.
        labelled: reads it with its labels, for training; None: it has none.
        inputs: reads it without labels, for predicting; None: it cannot be predicted on.
        brings_labels: whether the labels are in it, so that none may be given beside it.
        texts: whether ``inputs`` can give texts.
        tables: whether ``inputs`` can give data frames.
        columns: which options of ``ReadOptions`` name columns of it: "label", "annotators", "group", "weight", "text",
            "columns", "drop".
    """

    name: str
    recognised: Callable[[Any], bool]
    labelled: Callable[[Any, Reading], Loaded] | None = None
    inputs: Callable[[Any, Wanted], Inputs] | None = None
    brings_labels: bool = True
    texts: bool = False
    tables: bool = False
    columns: tuple[str, ...] = ()


def as_path(source: object) -> Path | None:
    """A path as such, with ``~`` as the user's folder; None for anything else."""
    return expand_user(source) if isinstance(source, str | Path) else None
