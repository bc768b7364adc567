"""What no fold may divide: copies of one sample, and what the user says belongs together.

A sample whose copy is in another fold is not held out: the model has seen its label, and a wrong one looks right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from codivide.core.errors import InputError
from codivide.core.types import Floats, Labels, Mask, Singles
from codivide.data.duplicates import Group, find, joined, sharing
from codivide.data.loaded import Loaded
from codivide.data.rows import CHUNK, Rows

_AT_ONCE = 16  # columns
_BY_CHANCE = 0.01  # rows expected to be equal to a row by chance, from which on equal ones are not called copies


def with_groups(loaded: Loaded, groups: Any) -> Loaded:
    """The data with what belongs together.

    Args:
        loaded: the data.
        groups: one value of any kind a sample ``[N]``, such as a patient or a video; None: nothing is known. A missing
            value is a sample of its own.

    Raises:
        InputError: another number of values than samples, or one group of all.
    """
    if groups is None:
        return loaded
    codes = numbered(groups)
    if len(codes) != len(loaded.y):
        raise InputError(f"groups has {len(codes)} values, but there are {len(loaded.y)} samples; give one for each")
    if len(codes) > 1 and codes[0] >= 0 and (codes == codes[0]).all():
        raise InputError(f"groups: all {len(codes)} samples are in one group, so none can be held out; leave it out")
    return replace(loaded, groups=codes)


def numbered(groups: Any) -> Labels:
    """A number for each value ``[N]``, equal ones alike; a missing or empty one is -1: a sample of its own."""
    if len(np.shape(groups)) != 1:
        raise InputError(f"groups has shape {np.shape(groups)}; give one value for each sample")
    values = pd.Series(list(groups), dtype=object)
    codes, _ = pd.factorize(values.mask(values.map(lambda value: isinstance(value, str) and not value.strip())))
    return codes.astype(np.int64)


class Together(NamedTuple):
    """Which samples are not independent of each other.

    Attributes:
        groups: a number ``[N]`` for each sample, the same for those that no fold may divide.
        copies: a number ``[N]``, the same for those that are the same thing; None: each comes once.
    """

    groups: Labels
    copies: Labels | None


def tensors(known: Together | None) -> tuple[Tensor | None, Tensor | None]:
    """Groups and copies ``[N]`` as tensors."""
    if known is None:
        return None, None
    return torch.from_numpy(known.groups), None if known.copies is None else torch.from_numpy(known.copies)


def together(loaded: Loaded) -> Together | None:
    """The user's groups and the duplicates of ``data.duplicates.find``, joined where they share a sample.

    Rows of a table that are equal by chance, since its columns take few values, are no copies. None: all samples are on
    their own.
    """
    found = find(loaded.x, loaded.texts, loaded.alike)
    if loaded.texts is None and len(loaded.x.shape) == 1:
        found = beyond_chance(found, loaded.x)
    copies: list[Sequence[int]] = [group.rows for group in found]
    said: list[Sequence[int]] = []
    if loaded.groups is not None:
        known = np.flatnonzero(loaded.groups >= 0)
        said = [known[rows].tolist() for rows in sharing(loaded.groups[known])]
    groups = joined([*copies, *said], len(loaded.y))
    return None if groups is None else Together(groups, joined(copies, len(loaded.y)))


def beyond_chance(groups: list[Group], rows: Rows) -> list[Group]:
    """The groups of a dense table that are no chance: fewer than 0.01 further rows are expected to be like each.

    Args:
        groups: all that there are of the table.
        rows: the table.
    """
    found = chances(groups, rows, _BY_CHANCE)
    return [group for group, chance in zip(groups, found.tolist(), strict=True) if chance < _BY_CHANCE]


def chances(groups: list[Group], rows: Rows, least: float) -> Floats:
    """How many further rows of a dense table are expected to be like those of each group by chance; of a sparse one 0.

    A column of N values of which n lie between the least and the greatest of a group of m rows gives a further row a
    chance of ``(n - m + 1) / N`` to lie there, too; the columns are taken for independent. The larger chance counts of
    two: of all rows, and of rows that come more than once taken once. In the first a value that only a group has says
    too much, such as a rare job that only men have; in the second what many rows share, such as empty cells.

    Args:
        groups: all that there are of the table.
        rows: the table.
        least: what is smaller is not told exactly.
    """
    if not groups or getattr(rows, "sparse", False):
        return np.zeros(len(groups))
    once: Mask = np.ones(len(rows), dtype=bool)
    for again in (same[1:] for group in groups for same in group.same):
        once[list(again)] = False
    members = np.concatenate([group.rows for group in groups])
    starts = np.cumsum([0, *(len(group.rows) for group in groups[:-1])])
    ways = [(some, np.add.reduceat(some[members].astype(np.int64), starts)) for some in (np.ones_like(once), once)]
    expected = np.array([np.full(len(groups), float(some.sum())) for some, _ in ways])
    for column in _columns(rows):
        open_groups = np.flatnonzero(expected.max(0) >= least)
        if not len(open_groups):
            break
        held = column[members]
        low, high = (extreme.reduceat(held, starts)[open_groups] for extreme in (np.minimum, np.maximum))
        for (some, size), chance in zip(ways, expected, strict=True):
            order = np.sort(column[some])
            inside = np.searchsorted(order, high, side="right") - np.searchsorted(order, low, side="left")
            chance[open_groups] *= (inside - size[open_groups] + 1) / len(order)
    found: Floats = expected.max(0)
    return found


def _columns(rows: Rows) -> Iterator[Singles]:
    """The columns ``[N]`` of a table, one after the other; a few are read at once, for mostly a few are asked for."""
    width = rows.shape[0]
    for start in range(0, width, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        parts = [rows[ids][:, some].cpu().numpy() for ids in torch.split(torch.arange(len(rows)), CHUNK)]
        yield from np.concatenate(parts).T
