"""What every loader returns: rows to look up, labels, names; never shown to a method as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from codivide.core.errors import InputError

if TYPE_CHECKING:
    from codivide.data.encode import Encoder
    from codivide.noise.consensus import Consensus


class Rows(Protocol):
    """A source of samples that answers ``rows[ids] -> batch``.

    ``ids`` is an int64 tensor ``[B]``; the answer is ``[B, *shape]``, uint8 or float32. Implementations hold at
    most one copy of the data.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample: ``(channels, height, width)`` or ``(features,)``."""

    @property
    def dtype(self) -> torch.dtype:
        """``torch.uint8`` (images, 0 to 255) or ``torch.float32``."""

    def __len__(self) -> int: ...

    def __getitem__(self, ids: Tensor) -> Tensor: ...

    def to(self, device: torch.device) -> Rows:
        """The same rows on ``device`` where they fit in memory, else unchanged."""


def check_alike(rows: Rows, other: Rows, what: str) -> None:
    """InputError unless held-out rows have the shape and dtype of the training rows."""
    if rows.shape != other.shape or rows.dtype != other.dtype:
        raise InputError(
            f"{what} has samples of shape {other.shape} and {str(other.dtype)[6:]}, the training data of "
            f"{rows.shape} and {str(rows.dtype)[6:]}; make them alike (images: --image-size)"
        )


class Skipped(NamedTuple):
    """A file that could not be read, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Loaded:
    """A data set in memory or mapped from disk.

    Attributes:
        x: the rows.
        y: given labels ``[N]`` int64 in ``0 .. len(classes) - 1``, -1 where there is none.
        classes: the class names or values in the user's own type, one per index of ``y``.
        ids: what names a row to the user: a relative path (str) or a row number (int), length N.
        augment: which views suit the data: "photo", "shift" (no flip), "jitter" (features) or "none".
        truth: true labels ``[N]`` int64 where known (-1: not), never given to a method.
        test: a held-out part with the same classes, where the source has one.
        skipped: files that were left out.
        name: what to call the data in a record.
        annotations: who answered what, where several annotators did; ``y`` is then their consensus.
        encoder: what made ``x`` of texts or images, where something did; new data go through it, too.
        texts: the text of each row, where the rows are texts.
        columns: what the features of a table are called, where they have names.
        confirmed: mask ``[N]`` of the labels that a person has confirmed; None: no label.
    """

    x: Rows
    y: np.ndarray[Any, np.dtype[np.int64]]
    classes: tuple[Any, ...]
    ids: Sequence[str | int]
    augment: str
    truth: np.ndarray[Any, np.dtype[np.int64]] | None = None
    test: Loaded | None = None
    skipped: tuple[Skipped, ...] = field(default=())
    name: str = "data"
    annotations: Consensus | None = None
    encoder: Encoder | None = None
    texts: Sequence[str] | None = None
    columns: tuple[str, ...] | None = None
    confirmed: np.ndarray[Any, np.dtype[np.bool_]] | None = None
