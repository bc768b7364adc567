"""In which order a pass sees samples: batches of their numbers, drawn from a generator."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def chunks(ids: Tensor, size: int) -> list[Tensor]:
    """Samples ``[M]`` in their order, cut into batches of ``size``, none of which has only one sample.

    A last one, on which batch normalisation fails, joins the batch before it; a set of one gives a batch of it twice.
    """
    if len(ids) == 1:
        return [ids.repeat(2)]
    parts = list(torch.split(ids, max(size, 2)))
    if len(parts[-1]) == 1:
        last = parts.pop()
        parts[-1] = torch.cat([parts[-1], last])
    return parts


def passes(ids: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The ``chunks`` of one random order of samples ``[M]`` after the other, without an end."""
    while True:
        order = torch.randperm(len(ids), generator=generator)
        yield from chunks(ids[order], size)


def full_batches(ids: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless batches of exactly ``size``; where an order of samples ``[M]`` ends, the next begins within one."""
    rest = ids[:0]
    size = max(size, 2)
    while True:
        while len(rest) < size:
            rest = torch.cat([rest, ids[torch.randperm(len(ids), generator=generator)]])
        yield rest[:size]
        rest = rest[size:]
