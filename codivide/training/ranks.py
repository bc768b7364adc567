"""The processes that train one run together, as ``torchrun`` starts them, and what they tell each other.

Words and numbers go through the processors' group (gloo) and wait for no accelerator; tensors that lie on one go
through its group (NCCL). Nothing is pickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from codivide.core.errors import InputError

_PATIENCE = timedelta(days=30)  # of who waits for the others: torchrun ends all of them when one ends


@dataclass(frozen=True)
class Ranks:
    """One of several processes. Each verb is called by all of them, in the same order.

    Attributes:
        rank: which one, from 0; the first writes and prints.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    def told(self, value: Any) -> Any:
        """What the first process says: JSON values, which come back as JSON has them to the others."""
        if self.count == 1:
            return value
        said = _bytes(value) if self.rank == 0 else torch.empty(0, dtype=torch.uint8)
        size = torch.tensor([len(said)])
        dist.broadcast(size, 0)
        said = said if self.rank == 0 else torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(said, 0)
        return value if self.rank == 0 else json.loads(bytes(said.numpy()))

    def heard(self, value: Any) -> list[Any]:
        """What each process says, JSON values in the order of their ranks."""
        said = _bytes(value)
        sizes = self.table([len(said)])[:, 0].long().tolist()
        rows = torch.zeros(max(sizes), dtype=torch.uint8)
        rows[: len(said)] = said
        return [json.loads(bytes(row[:size].numpy())) for row, size in zip(self._rows(rows), sizes, strict=True)]

    def table(self, numbers: Sequence[float]) -> Tensor:
        """The numbers of each process, float64 ``[count, M]``."""
        return torch.stack(self._rows(torch.tensor(numbers, dtype=torch.float64)))

    def joined(self, own: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """The rows ``[n, ...]`` of each process on the processor; ``sizes``: how many each of them has."""
        flat = own.detach().cpu().contiguous().reshape(len(own), -1)
        padded = torch.zeros(max(sizes), flat.shape[1], dtype=own.dtype)
        padded[: len(own)] = flat
        found = self._rows(padded.view(torch.uint8))
        return [part.view(own.dtype)[:n].reshape(n, *own.shape[1:]) for part, n in zip(found, sizes, strict=True)]

    def add(self, values: Tensor) -> None:
        """Replace values by their sum over all processes, in place, where they are; the same bits for all."""
        if self.count > 1:
            dist.all_reduce(values)

    def _rows(self, own: Tensor) -> list[Tensor]:
        if self.count == 1:
            return [own]
        found = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(found, own)
        return found


_here = Ranks()


def here() -> Ranks:
    """Which process this is; the only one, outside of ``joined``."""
    return _here


def started() -> bool:
    """Whether ``torchrun`` has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def restarted() -> bool:
    """Whether ``torchrun`` has started it again after one of them ended."""
    return _restarts() > 0


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


@contextmanager
def joined(device: str = "auto") -> Iterator[Ranks]:
    """Join the other processes while the block lasts, on this process's own GPU where there is one.

    The block begins when all of them are connected: one that leaves at once would break the others' connecting.

    Args:
        device: as in the plan: with "cpu" no GPU is taken.

    Raises:
        InputError: a machine has fewer GPUs than processes.
    """
    global _here  # as torch.distributed has it: there is one group in a process
    if not started():
        yield _here
        return
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda:
        place, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if place >= gpus:
            raise InputError(f"process {place} of this machine finds {gpus} GPUs; give --nproc-per-node {gpus}")
        torch.cuda.set_device(place)
    store, rank, count = next(rendezvous("env://"))
    store = PrefixStore(f"codivide/{_restarts()}", store)  # torchrun may keep what those before a restart wrote
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=_PATIENCE)
    _here = Ranks(rank, count)
    try:
        _here.table([rank])  # waits for all
        yield _here
    finally:
        _here = Ranks()
        dist.destroy_process_group()


def _bytes(value: Any) -> Tensor:
    text = json.dumps(value, default=lambda number: number.item()).encode()
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)
