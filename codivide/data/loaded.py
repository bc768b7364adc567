"""What every loader returns: rows to look up, labels, names; never shown to a method as it is."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from codivide.core.errors import TrainingWarning
from codivide.data.labels import LabelNotes
from codivide.data.looks import Looks
from codivide.data.rows import Rows, take

if TYPE_CHECKING:
    import pandas as pd

    from codivide.data.encoder import Encoder
    from codivide.noise.consensus import Consensus


_REASONS = 4  # for which files were left out, in a sentence


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
        validation: a part with labels that are known to be right, by which each network's best epoch is chosen.
        skipped: files that were left out.
        name: what to call the data in a record.
        annotations: who answered what, where several annotators did; ``y`` is then their consensus.
        encoder: what made ``x`` of texts or images, where something did; new data go through it, too.
        texts: the text of each row, where the rows are texts.
        columns: what the features of a table are called, where they have names.
        confirmed: mask ``[N]`` of the labels that a person has confirmed; None: no label.
        labels_read: what was read as missing, and what was merged.
        contents: a hash ``[N]`` of each row of a table or an ``.npz`` file, or of each image file (see
            ``data.contents``), by which a run knows its samples again; None: not made.
        groups: a number ``[N]`` for each sample, the same for those that belong together and -1 for one alone (see
            ``data.groups``); None: nothing was said.
        weight: how much each training sample counts ``[N]``, not negative, with mean 1 over the labelled ones; None:
            all alike (see ``data.weights``).
        said: sentences on how the source was read: its encoding, what divides its columns.
        looks: how the images looked that an encoder made features of; None: ``x`` are the images, or there are none.
        alike: a number ``[N]`` for each image that an encoder made features of, the same for those that look alike, in
            all parts (see ``data.duplicates``); None: all look different, or ``x`` are the samples themselves.
        sizes: width and height ``[N, 2]`` of image files as they are, upright; None: not known, or all alike.
        tags: of several labels a row the names, in the order of the columns that held them; empty: they had none.
        cells: the rows of a table as they were written, where an encoder made ``x`` of them; None: none, or too many.
    """

    x: Rows
    y: np.ndarray[Any, np.dtype[np.int64]]
    classes: tuple[Any, ...]
    ids: Sequence[str | int]
    augment: str
    truth: np.ndarray[Any, np.dtype[np.int64]] | None = None
    test: Loaded | None = None
    validation: Loaded | None = None
    skipped: tuple[Skipped, ...] = ()
    name: str = "data"
    annotations: Consensus | None = None
    encoder: Encoder | None = None
    texts: Sequence[str] | None = None
    columns: tuple[str, ...] | None = None
    confirmed: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    labels_read: LabelNotes = field(default_factory=LabelNotes)
    contents: np.ndarray[Any, np.dtype[np.uint64]] | None = None
    groups: np.ndarray[Any, np.dtype[np.int64]] | None = None
    weight: np.ndarray[Any, np.dtype[np.float64]] | None = None
    said: tuple[str, ...] = ()
    looks: Looks | None = None
    alike: np.ndarray[Any, np.dtype[np.int64]] | None = None
    sizes: np.ndarray[Any, np.dtype[np.int64]] | None = None
    tags: tuple[str, ...] = ()
    cells: pd.DataFrame | None = None

    @property
    def of_images(self) -> bool:
        """Whether the samples are images, of which an encoder may have made features."""
        return len(self.x.shape) == 3 or (self.encoder is not None and self.encoder.takes == "image")


def left_out(skipped: Sequence[Skipped]) -> str:
    """A sentence on files that cannot be read, at least one; of several reasons the most frequent are counted."""
    count, first = len(skipped), skipped[0]
    whole = f"left out {count:,} file{'s' * (count > 1)}"
    reasons = Counter(item.reason for item in skipped)
    if len(reasons) == 1:
        return f"{whole}, the first: {first.path} ({first.reason})"
    named = reasons.most_common(_REASONS)
    firsts = {item.reason: item.path for item in reversed(skipped)}
    parts = [f"{number:,} ({reason}; the first: {firsts[reason]})" for reason, number in named]
    rest = count - sum(number for _, number in named)
    return f"{whole}: {', '.join(parts)}" + (f", {rest:,} for other reasons" if rest else "")


def warn_about_reading(loaded: Loaded) -> None:
    """A warning for each sentence on how samples were read, and for files that were left out."""
    for sentence in (*loaded.said, *([left_out(loaded.skipped)] if loaded.skipped else [])):
        warnings.warn(sentence, TrainingWarning, stacklevel=3)


def subset(loaded: Loaded, ids: ArrayLike) -> Loaded:
    """Some rows of a data set, with their labels, names and truth; the pixels are not copied.

    Args:
        loaded: the data set.
        ids: row numbers ``[M]``, non-negative.

    Returns:
        The same data set with ``M`` rows; ``test`` and ``skipped`` are kept.
    """
    rows = np.asarray(ids, dtype=np.int64)
    return dataclasses.replace(
        loaded,
        x=take(loaded.x, rows),
        y=loaded.y[rows],
        ids=[loaded.ids[row] for row in rows.tolist()],
        truth=None if loaded.truth is None else loaded.truth[rows],
        annotations=None if loaded.annotations is None else loaded.annotations.take(rows),
        texts=None if loaded.texts is None else [loaded.texts[row] for row in rows.tolist()],
        confirmed=None if loaded.confirmed is None else loaded.confirmed[rows],
        contents=None if loaded.contents is None else loaded.contents[rows],
        groups=None if loaded.groups is None else loaded.groups[rows],
        weight=None if loaded.weight is None else loaded.weight[rows],
        looks=None if loaded.looks is None else loaded.looks.take(rows),
        alike=None if loaded.alike is None else loaded.alike[rows],
        sizes=None if loaded.sizes is None else loaded.sizes[rows],
        cells=None if loaded.cells is None else loaded.cells.iloc[rows],
    )
