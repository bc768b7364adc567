"""What a check of the audit is: one detector, the columns that it gives, and what the page says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codivide.audit.material import Material
from codivide.audit.shown import Shown
from codivide.core.types import Labels
from codivide.runs.label_table import Column


def _nothing() -> Labels:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Found:
    """What a check found.

    Attributes:
        columns: ``[N]`` each, by the names of the check's columns; empty where nothing could be looked for.
        rows: of the samples with this issue, the clearest first.
        detail: what else the check's facts need.
        said: what is wrong with the data as a whole, a sentence each.
    """

    columns: Mapping[str, Any] = field(default_factory=dict)
    rows: Labels = field(default_factory=_nothing)
    detail: Any = None
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One kind of issue. A new one is a file that makes such an object, and a line in ``CHECKS``.

    Attributes:
        name: under which the facts have it.
        title: of its panel in the page.
        text: what a row of it is, in a sentence.
        columns: of the label table: a score in [0, 1], low where the issue is clear, and a flag ``is_..._issue``; none
            of a check that speaks of the data as a whole only (``Found.said``).
        find: the detector.
        describe: what the facts hold under ``name``, where the page has a panel made for it; None: the facts list the
            samples under "checks", and the page shows them as it shows any.
        judged: whether it needs judged labels; the others tell something of data that nothing was trained on.
        of_classes: whether it looks at classes, and so at nothing where targets are numbers or sets of labels.
        compares: whether it compares samples with each other, which takes minutes of very many.
        known: of such a check, whether that was done before, so that it costs nothing.
    """

    name: str
    title: str
    text: str
    columns: tuple[Column, ...]
    find: Callable[[Material], Found]
    describe: Callable[[Found, Shown], Any] | None = None
    judged: bool = True
    compares: bool = False
    known: Callable[[Material], bool] = lambda _: False
    of_classes: bool = False
