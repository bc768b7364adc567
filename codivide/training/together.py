"""How one process trains a run, or several: who looks after which samples, and what of it is put together.

Each of several processes owns a fixed share of the samples, drawn by the seed, and batches are of its own samples. What
is known of a sample lies with its owner; where all are judged at once, vectors ``[N]`` are put together, and every
process divides for itself. Between the passes over their batches all processes are in the same state and draw the same
random numbers; within a pass each draws its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from codivide.core.device import defers, onto
from codivide.core.errors import InputError
from codivide.training import steps
from codivide.training.ranks import Ranks, here
from codivide.training.steps import Trained

NARROW = 2  # numbers a sample, up to which state is put together whenever all samples are asked for
_MOST = 2**60  # of a seed


class Alone:
    """One process, which looks after all samples."""

    ranks = Ranks()

    def own(self, samples: int) -> Tensor:
        """The numbers of the samples that this process looks after."""
        return torch.arange(samples)

    def mine(self, ids: Tensor) -> Tensor:
        """Those of the samples ``ids`` from which this process draws its batches."""
        return ids

    def part(self, size: int) -> int:
        """This process's part of a batch."""
        return size

    def most(self, number: int) -> int:
        """The largest number that any process says."""
        return number

    def complete(self, values: Tensor) -> Tensor:
        """Fill in, in place, the rows of ``values [N, ...]`` that others own."""
        return values

    def spread(self, own: Tensor) -> Tensor:
        """``[N, ...]`` from what each process knows of its own samples ``[n, ...]``."""
        return own

    def refresh(self, name: str, values: Tensor) -> None:
        """Complete state that is asked for between passes, where it has few numbers a sample."""

    def complete_all(self, run: Trained) -> None:
        """Complete all state of the samples, also the wide one: to be saved, or to go on with in one process."""

    def apart(self, run: Trained) -> AbstractContextManager[None]:
        """A pass in which each process looks at its own samples."""
        return nullcontext()

    def update(self, run: Trained, loss: Tensor, nets: Sequence[int | str]) -> None:
        """One step of these networks on a loss."""
        run.step += 1
        finite = torch.isfinite(loss.detach())
        if steps.counts(run, finite):
            for optimizer, _ in steps.trained(run, nets):
                optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            steps.take(run, nets, finite, rate=run.rate(), decay=run.decay())

    def merged(self, sums: dict[str, tuple[float, int]]) -> dict[str, tuple[float, int]]:
        """Logged sums and how many numbers they are of, over all processes."""
        return sums

    def said(self, words: dict[str, str]) -> dict[str, str]:
        """What any process says by a name; of several, the first."""
        return words


class Together(Alone):
    """The part that one process takes in a run. All of them call each verb in the same order.

    Args:
        ranks: which process this is.
        samples: of the training set.
        seed: of the plan, which draws the shares.

    Raises:
        InputError: fewer samples than processes.
    """

    def __init__(self, ranks: Ranks, samples: int, seed: int) -> None:
        if samples < 2 * ranks.count:
            raise InputError(f"{samples} samples are too few for {ranks.count} processes; start fewer")
        self.ranks = ranks
        order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))
        self.shares = [order[rank :: ranks.count].sort().values for rank in range(ranks.count)]
        self.sizes = [len(share) for share in self.shares]
        self._own = self.shares[ranks.rank]
        self._owned = torch.zeros(samples, dtype=torch.bool)
        self._owned[self._own] = True
        self._stale: set[str] = set()  # per-sample state that a pass has changed, each process its own rows
        self._known: dict[str, int] = {}  # wide state as it was when it was last complete
        self._depth = 0

    def own(self, samples: int) -> Tensor:
        """A fixed share of the samples."""
        return self._own

    def mine(self, ids: Tensor) -> Tensor:
        """Those of the samples ``ids`` that are this process's own; all of them where none is, as it has to join in."""
        own = ids[self._owned[ids]]
        return own if len(own) else ids

    def part(self, size: int) -> int:
        """This process's part of a batch, rounded up."""
        return math.ceil(size / self.ranks.count)

    def most(self, number: int) -> int:
        """The largest number that any process says."""
        return int(self.ranks.table([number]).max())

    def complete(self, values: Tensor) -> Tensor:
        """Fill in, in place, the rows of ``values [N, ...]`` that others own."""
        parts = self.ranks.joined(values[onto(self._own, values.device)], self.sizes)
        for share, part in zip(self.shares, parts, strict=True):
            values[onto(share, values.device)] = onto(part, values.device)
        return values

    def spread(self, own: Tensor) -> Tensor:
        """``[N, ...]`` from what each process knows of its own samples ``[n, ...]``."""
        values = own.new_empty(len(self._owned), *own.shape[1:])
        values[onto(self._own, own.device)] = own
        return self.complete(values)

    def refresh(self, name: str, values: Tensor) -> None:
        """Complete state that is asked for between passes, where it has few numbers a sample."""
        if not self._depth and name in self._stale and _width(values) <= NARROW:
            self.complete(values)
            self._stale.discard(name)

    def complete_all(self, run: Trained) -> None:
        """Complete all state of the samples, also the wide one: to be saved, or to go on with in one process."""
        wide = {name for name in run.per_sample if _width(run.memory[name]) > NARROW}
        changed = [name for name in wide if self._known.get(name) != run.memory[name]._version]
        every = {name for heard in self.ranks.heard(changed) for name in heard}
        for name in sorted(every | self._stale):
            self.complete(run.memory[name])
        self._stale.clear()
        self._known = {name: run.memory[name]._version for name in wide}

    @contextmanager
    def apart(self, run: Trained) -> Iterator[None]:
        """A pass in which each process looks at its own samples, with random numbers of its own.

        At its end, also where the caller breaks off, the processes take the steps that any of them still asks for, and
        what is no sample's own is averaged: statistics of batch normalisation, and what the method remembers.
        """
        self._depth += 1
        if self._depth > 1:
            try:
                yield
            finally:
                self._depth -= 1
            return
        seeds = torch.randint(_MOST, (2,), generator=run.gen).tolist()
        versions = {name: value._version for name, value in run.memory.items()}
        self._seed(run, seeds, self.ranks.rank)
        try:
            yield
        except GeneratorExit:  # a pass that was broken off
            self._close(run, seeds, versions)
            raise
        else:
            self._close(run, seeds, versions)
        finally:
            self._depth = 0

    def _seed(self, run: Trained, seeds: Sequence[int], offset: int) -> None:
        run.gen.manual_seed(seeds[0] + offset)
        torch.manual_seed(seeds[1] + offset)

    def _close(self, run: Trained, seeds: Sequence[int], versions: Mapping[str, int]) -> None:
        self._steps(run)
        self._seed(run, seeds, self.ranks.count)
        changed = [name for name, value in run.memory.items() if versions.get(name) != value._version]
        every = {name for heard in self.ranks.heard(changed) for name in heard}
        if missing := every - run.memory.keys():
            raise RuntimeError(f"only some processes remember {missing.pop()!r}; ask for it in start()")
        self._stale |= every & run.per_sample
        self._average([run.memory[name] for name in sorted(every - run.per_sample)] + self._buffers(run))

    @staticmethod
    def _buffers(run: Trained) -> list[Tensor]:
        modules: list[nn.Module] = [*run.nets, *(item.net for item in run.attached.values())]
        modules += run.averages if run.plan.average else []
        return [buffer for module in modules for buffer in module.buffers()]

    def _average(self, values: Sequence[Tensor]) -> None:
        """The mean over the processes, in place; whole numbers are those of the first."""
        with torch.no_grad():
            for floating in (True, False):
                some = [value for value in values if value.is_floating_point() == floating]
                if not some:
                    continue
                flat = torch.cat([value.reshape(-1).to(torch.float64 if floating else torch.int64) for value in some])
                if not floating and self.ranks.rank:
                    flat.zero_()
                self.ranks.add(flat)
                flat = flat / self.ranks.count if floating else flat
                for value, new in zip(some, torch.split(flat, [value.numel() for value in some]), strict=True):
                    value.copy_(new.view(value.shape))

    def update(self, run: Trained, loss: Tensor, nets: Sequence[int | str]) -> None:
        """One step of these networks on the mean of the processes' losses, and before it those that others ask for."""
        self._steps(run, loss, nets)

    def _steps(self, run: Trained, loss: Tensor | None = None, nets: Sequence[int | str] = ()) -> None:
        """Take the steps that any process asks for until this one's own is done; without one, until nobody asks.

        A method may leave a step out where a batch has nothing to learn from. The processes then differ in what they
        ask for; each step is taken by all, on the gradients of those that ask for it, at the rate of the first of them.
        """
        known = [*range(len(run.nets)), *run.attached]
        code = sum(1 << known.index(net) for net in nets)
        while True:
            run.step += 1
            heads = self.ranks.table([code, run.rate(), run.decay()])
            asked = heads[heads[:, 0] > 0]
            if not len(asked):
                run.step -= 1
                return
            chosen = int(asked[:, 0].min())
            those = asked[asked[:, 0] == chosen]
            mine = code == chosen
            names = [net for k, net in enumerate(known) if chosen >> k & 1]
            finite = self._gradients(run, names, loss if mine else None, len(those))
            if steps.counts(run, finite):
                steps.take(run, names, finite, rate=float(those[0, 1]), decay=float(those[0, 2]))
            if mine:
                return

    def _gradients(self, run: Trained, nets: Sequence[int | str], loss: Tensor | None, asking: int) -> Tensor:
        """Put the mean gradient of those that ask into the parameters of all; whether every loss was finite."""
        optimizers = [optimizer for optimizer, _ in steps.trained(run, nets)]
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        finite = torch.ones((), dtype=torch.bool, device=run.device) if loss is None else loss.detach().isfinite()
        if loss is not None and (defers(run.device) or bool(finite)):
            torch.autograd.backward(loss / asking)  # a sample's own parameters get their part of the whole batch
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        parameters: list[nn.Parameter] = [p for group in groups for p in group["params"] if p.requires_grad]
        used = [p.grad is not None for p in parameters]
        if asking < self.ranks.count or not defers(run.device):
            used = (self.ranks.table(used).sum(0) > 0).tolist()
        wasted = (~finite).float().reshape(1)
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([wasted, *(gradient.reshape(-1) for gradient in found)])
        self.ranks.add(flat)
        for p, new, some in zip(parameters, torch.split(flat[1:], [p.numel() for p in parameters]), used, strict=True):
            p.grad = torch.empty_like(p).copy_(new.view(p.shape)) if some else None
        return flat[0] == 0

    def merged(self, sums: dict[str, tuple[float, int]]) -> dict[str, tuple[float, int]]:
        """Logged sums and how many numbers they are of, over all processes."""
        total: dict[str, tuple[float, int]] = {}
        for heard in self.ranks.heard(sums):
            for name, (value, count) in heard.items():
                before = total.get(name, (0.0, 0))
                total[name] = (before[0] + value, before[1] + count)
        return total

    def said(self, words: dict[str, str]) -> dict[str, str]:
        """What any process says by a name; of several, the first."""
        return {name: word for heard in reversed(self.ranks.heard(words)) for name, word in heard.items()}


def of_here(samples: int, seed: int) -> Alone:
    """The part that this process takes in a run of so many samples."""
    ranks = here()
    return Alone() if ranks.count == 1 else Together(ranks, samples, seed)


def _width(values: Tensor) -> int:
    """Numbers a sample."""
    return math.prod(values.shape[1:])
