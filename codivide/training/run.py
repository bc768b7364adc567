"""What a method is and what it sees of a training run: ``Method`` and ``Run``; ``training.loop`` trains.

A method is its paper's pseudo-code: an ``epoch(run)`` that measures samples, divides and learns through the verbs of
``Run``. Everything a run carries from one epoch to the next (networks, optimizers, averages, generator state,
per-sample memory, history) lives here, so that it can be saved and resumed bit for bit.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from codivide.core.device import autocast, defers, onto
from codivide.core.errors import InputError, TrainingWarning
from codivide.data.rows import TensorRows
from codivide.noise import mixtures
from codivide.training import layers, optimizers, orders
from codivide.training.algorithm import Algorithm
from codivide.training.plan import Plan, learning_rate
from codivide.training.samples import Batch, Data
from codivide.training.steps import Attached
from codivide.training.targets import sample_loss
from codivide.training.together import Alone

Build = Callable[[], nn.Module]

_KEPT = 512  # numbers on the device, beyond which they are put together


@dataclass
class Method(Algorithm):
    """An algorithm that trains networks: its fields are the hyper-parameters, ``epoch`` is the algorithm box.

    Subclass at one of three sizes: a loss (override ``loss``), a joint rule over several networks, or
    measure-divide-learn (override ``epoch``). ``FILE.py:CLASS`` names one on the command line.

    Example:
        >>> @dataclass
        ... class Capped(Method):
        ...     most: float = 2.0
        ...
        ...     def loss(self, run, i, batch):
        ...         return run.observe(batch, run.logits(i, batch.x[0])).clamp_max(self.most).mean()
        >>> Capped(most=1.5)
        Capped(most=1.5)
    """

    trains: ClassVar[bool] = True
    nets: ClassVar[int] = 1
    looks_back: ClassVar[bool] = False  # its losses of an epoch are those of samples that it has just learned from

    def count(self) -> int:
        """How many networks a run has: ``nets``, unless a hyper-parameter says otherwise."""
        return self.nets

    def holds_out(self) -> bool:
        """Whether it holds labelled samples out, so that it has to know which belong together (``Data.groups``)."""
        return False

    def start(self, run: Run) -> None:
        """Create what is carried from epoch to epoch, with ``run.remember``."""
        run.remember("loss_sum")
        run.remember("loss_count")

    def epoch(self, run: Run) -> None:
        """Train every network on every labelled sample once."""
        for i in range(len(run.nets)):
            self.fit_all(run, i)

    def fit_all(self, run: Run, i: int, size: int | None = None, view: str = "weak") -> None:
        """One pass of network ``i`` over all labelled samples with ``loss``."""
        for batch in run.batches(run.data.y >= 0, (view,), size=size):
            loss = self.loss(run, i, batch)
            run.update(loss, i)
            run.log(loss=loss)

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """The loss of network ``i`` on a batch; keeps each sample's cross-entropy for ``clean_prob``."""
        return run.mean(batch, run.observe(batch, run.logits(i, batch.x[0])))

    def clean_prob(self, run: Run) -> Tensor:
        """Probability ``[N]`` that each given label is clean; NaN where there is none.

        Methods without a split of their own: the mixture on the loss averaged over epochs (as seen while training).
        """
        count = run.remember("loss_count")
        labelled = run.data.y >= 0
        if run.plan.sub_epoch:
            labelled = labelled & (count > 0)
        mean = run.remember("loss_sum") / count.clamp_min(1)
        clean_prob = torch.full_like(mean, torch.nan)
        clean_prob[labelled] = mixtures.gmm(mean[labelled]).clean_prob
        return clean_prob

    def updated_labels(self, run: Run) -> Tensor | None:
        """The classes ``[N]`` that have replaced the given labels, -1 where there is none; None: none have."""
        return None

    def members(self, run: Run) -> list[nn.Module]:
        """The networks whose mean logits are the classifier: the averages where there are any."""
        return [run.average(i) for i in range(len(run.nets))]

    def rate(self, run: Run) -> float:
        """The learning rate now: the plan's; a method of several stages has its own."""
        return learning_rate(run.plan, run.progress)

    def decay(self, run: Run) -> float:
        """The decay of the weight averages now: the plan's; a method may let it rise."""
        return run.plan.average


Watch = Callable[["Run"], Mapping[str, Any] | None]


@dataclass(eq=False)  # two are the same where they are one
class Run:
    """What an epoch sees, and all state of a training run. Built by ``train``.

    Attributes:
        method: the algorithm.
        data: samples and given labels.
        build: makes one more network.
        plan: how to train.
        device: where the networks run.
        precision: in which numbers they run.
        nets: the networks.
        averages: the weight average of each; the network itself where none is kept.
        optimizers: one for each network.
        memory: what is remembered of the samples, by name (``remember``); it is saved and resumed.
        gen: the generator of all that a method draws.
        ids: every row ``[N]``, on the device.
        active: mask ``[N]`` of the samples of this epoch.
        confirmed: mask ``[N]`` of the labels that are known to be right.
        history: the record of every epoch that has ended (``log``).
        epoch: how many have ended.
        step: updates so far.
        fraction: share of the pass that is going on, in [0, 1].
        skipped_updates: those that were left out, since their loss was not finite.
    """

    method: Method
    data: Data
    build: Build
    plan: Plan
    device: torch.device
    precision: Literal["bf16", "fp32"]
    identity: Mapping[str, Any] = field(default_factory=dict)  # what else a checkpoint must match
    nets: list[nn.Module] = field(default_factory=list)
    averages: list[nn.Module] = field(default_factory=list)
    optimizers: list[torch.optim.Optimizer] = field(default_factory=list)
    attached: dict[str, Attached] = field(default_factory=dict)
    gen: torch.Generator = field(default_factory=torch.Generator)
    memory: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    epoch: int = 0
    step: int = 0
    fraction: float = 0.0
    skipped_updates: int = 0
    ids: Tensor = field(init=False)
    together: Alone = field(default_factory=Alone)  # with the other processes that train it, if there are any
    per_sample: set[str] = field(default_factory=set)  # the names in ``memory`` whose rows are samples
    confirmed: Tensor = field(init=False)
    active: Tensor = field(init=False)
    _sums: dict[str, tuple[float, int]] = field(default_factory=dict)
    _later: dict[str, list[Tensor]] = field(default_factory=dict)  # logged, and still on the device
    not_finite: Tensor | None = None  # how many losses were not finite since ``settle``, on the device
    _warned: dict[str, str] = field(default_factory=dict)
    _forward: list[Callable[[Tensor], Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gen.manual_seed(self.plan.seed)
        self.ids = torch.arange(len(self.data), device=self.device)
        none = torch.zeros(len(self.data), dtype=torch.bool, device=self.device)
        self.confirmed = none if self.data.confirmed is None else self.data.confirmed
        self.active = ~none
        for _ in range(self.method.count()):
            net = self._place(self.build())
            self.nets.append(net)
            self.optimizers.append(optimizers.build(net, self.plan, self.device))
            self.averages.append(self._copy(net) if self.plan.average else net)
            self._forward.append(torch.compile(net) if self.plan.compile else net)

    def _place(self, net: nn.Module) -> nn.Module:
        net = net.to(self.device)
        return net.to(memory_format=torch.channels_last) if self.plan.channels_last else net

    @staticmethod
    def _copy(net: nn.Module) -> nn.Module:
        return deepcopy(net).requires_grad_(requires_grad=False).eval()

    @property
    def frozen(self) -> bool:
        """Whether only the heads learn in this epoch (``plan.freeze``)."""
        return self.epoch < self.plan.freeze

    def open_epoch(self) -> None:
        """Put every network in training mode, its body frozen or not as the plan has it; draw a sub-epoch's samples."""
        if self.plan.sub_epoch:
            self.active = self._sub_epoch()
        for i, net in enumerate(self.nets):
            if self.plan.freeze:
                layers.freeze(net, frozen=self.frozen)
            self.mode(i, training=True)

    def _sub_epoch(self) -> Tensor:
        """A mask ``[N]`` of as many samples of every class, ``plan.sub_epoch`` together, or all of a rarer class."""
        order = torch.randperm(len(self.data), generator=self.gen)
        labels = self.data.y.cpu()[order]
        each = max(1, self.plan.sub_epoch // len(self.data.classes))
        mask = torch.zeros(len(self.data), dtype=torch.bool)
        for label in range(len(self.data.classes)):
            mask[order[labels == label][:each]] = True
        return mask.to(self.device)

    def mode(self, i: int, *, training: bool, average: bool = False) -> None:
        """Put network ``i`` (or its average) in training or evaluation mode; a frozen body stays in the latter."""
        net = self.averages[i] if average else self.nets[i]
        net.train(training)
        if training and self.frozen:
            for part in layers.body(net):
                part.eval()

    @property
    def progress(self) -> float:
        """Epochs done, with the fraction of the pass in progress."""
        return self.epoch + self.fraction

    def view(self, name: str, rows: Tensor) -> Tensor:
        """One view of raw rows, on the run's device."""
        seen: Tensor = self.data.views[name](rows, self.gen)
        return seen

    def fetch(self, ids: Tensor, views: Sequence[str]) -> Batch:
        """The batch of these rows; ``ids`` int64 ``[B]``. One look-up serves all views."""
        here, x = onto(ids, self.device), self.data.x
        beside = isinstance(x, TensorRows) and x.data.device == here.device
        rows = onto(x[here if beside else ids], self.device)
        return Batch(here, tuple(self.view(name, rows) for name in views), self.data.y[here])

    def batches(
        self,
        where: Tensor | None = None,
        views: Sequence[str] = ("weak",),
        *,
        steps: int | None = None,
        size: int | None = None,
    ) -> Iterator[Batch]:
        """Random batches of the samples where a mask ``[N]`` is true (None: all), one pass or ``steps`` batches.

        In one pass, a last batch of one sample, on which batch normalisation fails, joins the batch before it; a set
        of one sample gives a batch of it twice. With ``steps`` every batch is full: where an order of the samples ends,
        the next begins, so that a sample may be there twice. An empty set gives no batch.
        """
        ids, size = self.together.mine(self._chosen(where)), self.together.part(size or self.plan.batch_size)
        if not len(ids):
            return
        with self.apart():
            total = steps or self.together.most(len(orders.chunks(ids, size)))
            stream = self._order(ids, size, full=bool(steps))
            for k in range(total):
                self.fraction = k / total
                yield self.fetch(next(stream), views)
        self.fraction = 0.0

    def pairs(
        self,
        a: Tensor,
        b: Tensor,
        views: Sequence[str] = ("weak",),
        *,
        steps: int | None = None,
        size_b: int | None = None,
        views_b: Sequence[str] | None = None,
    ) -> Iterator[tuple[Batch, Batch]]:
        """One pass over the samples of mask ``a``, each batch with one of mask ``b``, which starts again at its end.

        With ``steps`` neither side ends before so many pairs, and every batch is full. The second batch has
        ``size_b`` samples (None: as many as the first) in ``views_b`` (None: the same views), and none when ``b`` is
        empty.
        """
        others, size = self.together.mine(self._chosen(b)), self.together.part(size_b or self.plan.batch_size)
        names = views if views_b is None else views_b
        stream = self._order(others, size, full=bool(steps))
        for batch in self.batches(a, views, steps=steps):
            if len(others):
                yield batch, self.fetch(next(stream), names)
            else:
                yield batch, Batch(batch.id[:0], tuple(batch.x[0][:0] for _ in names), batch.y[:0])

    def shuffled(self, where: Tensor) -> Tensor:
        """The samples of a mask ``[N]`` in a random order, int64 on the CPU."""
        ids = self._chosen(where)
        return ids[torch.randperm(len(ids), generator=self.gen)]

    def _chosen(self, where: Tensor | None) -> Tensor:
        if self.plan.sub_epoch:
            where = self.active if where is None else where & self.active
        return torch.arange(len(self.data)) if where is None else where.nonzero().flatten().cpu()

    def apart(self) -> AbstractContextManager[None]:
        """A pass over samples, in which each of several processes looks after its own; see ``Together``."""
        return self.together.apart(self)

    def whole(self, values: Tensor) -> Tensor:
        """Values ``[N, ...]`` of all samples, of which each of several processes knows those of its own.

        What is worked out from state of more than ``NARROW`` numbers a sample goes through it, where all samples count.
        """
        return self.together.complete(values)

    def _order(self, ids: Tensor, size: int, *, full: bool) -> Iterator[Tensor]:
        return orders.full_batches(ids, size, self.gen) if full else orders.passes(ids, size, self.gen)

    def logits(self, i: int, x: Tensor, *, average: bool = False) -> Tensor:
        """Float32 logits ``[B, C]`` of network ``i`` (or its average) in the mode it is in (training, in an epoch)."""
        with autocast(self.precision, self.device):
            out: Tensor = (self.averages[i] if average else self._forward[i])(x)
        return out.float()

    def logits_changed(self, i: int, x: Tensor, layer: int, change: Callable[[Tensor], Tensor]) -> Tensor:
        """As ``logits``, with the output of one of ``layers.layers`` replaced by ``change(output)``."""
        part = layers.layers(self.nets[i])[layer]
        with autocast(self.precision, self.device), layers.changed(part, change):
            out: Tensor = self.nets[i](x)
        return out.float()

    def features(self, i: int, x: Tensor, *, average: bool = False) -> tuple[Tensor, Tensor]:
        """Logits ``[B, C]`` and features ``[B, F]`` (what the last linear layer sees), both float32."""
        net = self.averages[i] if average else self.nets[i]
        with autocast(self.precision, self.device), layers.inputs_of(layers.last_linear(net)) as seen:
            out: Tensor = net(x)
        return out.float(), seen[0].float()

    @torch.no_grad()
    def probs(self, i: int, views: Sequence[Tensor], *, training: bool = False, average: bool = False) -> list[Tensor]:
        """Probabilities ``[B, C]`` of network ``i`` (or of its weight average) on each view, without a gradient.

        In evaluation mode all views are one forward. In training mode each is its own, because batch normalisation
        takes its statistics from the batch (and updates the running ones). Empty views give ``[0, C]``.
        """
        full = [x for x in views if len(x)]
        self.mode(i, training=training, average=average)
        if not full:
            logits = []
        elif training:
            logits = [self.logits(i, x, average=average) for x in full]
        else:
            joined = self.logits(i, torch.cat(full), average=average)
            logits = list(torch.split(joined, [len(x) for x in full]))
        self.mode(i, training=not (average and self.plan.average), average=average)
        empty = torch.zeros(0, len(self.data.classes), device=self.device)
        answers = iter(logits)
        return [torch.softmax(next(answers), 1) if len(x) else empty for x in views]

    def observe(self, batch: Batch, logits: Tensor) -> Tensor:
        """Cross-entropy ``[B]`` of each sample on its given label, also added to the sums behind ``clean_prob``."""
        losses = sample_loss(logits, batch.y)
        known = torch.isfinite(losses.detach())
        self.remember("loss_sum").index_add_(0, batch.id, losses.detach().where(known, 0.0))
        self.remember("loss_count").index_add_(0, batch.id, known.float())
        return losses

    def mean(self, batch: Batch, losses: Tensor) -> Tensor:
        """The mean of the losses ``[B]`` of a batch, each times its sample's weight where there are weights.

        ``sum_i w_i l_i / B``, and not over the sum of the batch's weights: its mean over batches is the weighted mean
        over all samples, so that a weight of 2 is a sample that comes twice.
        """
        weight = self.data.weight
        return losses.mean() if weight is None else (weight[batch.id] * losses).mean()

    def update(self, loss: Tensor, *nets: int | str) -> None:
        """One optimizer step of these networks on a loss, at the scheduled learning rate, and of their averages.

        Networks go by number, attached modules by name. A loss that is NaN or infinite changes no weight; it is
        counted and a warning says so: at once on a CPU, at the end of the epoch where that would make it wait.
        """
        self.together.update(self, loss, nets)

    def rate(self) -> float:
        """The method's learning rate now."""
        return self.method.rate(self)

    def decay(self) -> float:
        """The method's decay of the weight averages now; 0 where there are none."""
        return self.method.decay(self) if self.plan.average else 0.0

    def skipped(self, count: int) -> None:
        """Count losses that were not finite, and say so."""
        self.skipped_updates += count
        self.warn("loss", "a loss was not finite; such batches change no weight (try a lower lr)")

    def average(self, i: int) -> nn.Module:
        """The weight average of network ``i`` (the network itself when the plan has none); no gradient."""
        return self.averages[i]

    def attach(self, name: str, build: Build, lr: float = 1.0) -> nn.Module:
        """A further module that outlives the epoch: a second head, a curriculum, a snapshot of a network.

        To be asked for in ``Method.start``, so that a checkpoint finds it. ``update(loss, name)`` trains it, at ``lr``
        times the learning rate of the networks.
        """
        if name not in self.attached:
            if self.epoch:
                raise RuntimeError(f"{name!r} was not attached in start(), so it would be missing in a checkpoint")
            net = self._place(build())
            self.attached[name] = Attached(net, optimizers.build(net, self.plan, self.device), lr)
        return self.attached[name].net

    def reset(self, i: int) -> None:
        """Start network ``i`` again from new weights, with a new optimizer and average."""
        self.nets[i].load_state_dict(self.build().state_dict())
        self.optimizers[i] = optimizers.build(self.nets[i], self.plan, self.device)
        if self.plan.average:
            self.averages[i].load_state_dict(self.nets[i].state_dict())

    @torch.no_grad()
    def measure(
        self,
        i: int,
        fn: Callable[[Tensor, Batch], Tensor],
        view: str = "plain",
        *,
        average: bool = False,
        active: bool = False,
        features: bool = False,
    ) -> Tensor:
        """``fn(logits, batch) -> [B, ...]`` over all samples in evaluation mode, gathered to ``[N, ...]``.

        With ``average`` the logits are those of the network's weight average. With ``active`` only the samples of a
        sub-epoch are measured, and the others' rows are 0. With ``features`` the function gets those instead of logits.
        """
        self.mode(i, training=False, average=average)
        out: Tensor | None = None
        some = active and bool(self.plan.sub_epoch)
        every = self.active.nonzero().flatten().cpu() if some else torch.arange(len(self.data))
        with self.apart():
            for ids in torch.split(self.together.mine(every), self.plan.evaluation_batch):
                batch = self.fetch(ids, (view,))
                x = batch.x[0]
                seen = self.features(i, x, average=average)[1] if features else self.logits(i, x, average=average)
                part = fn(seen, batch)
                if out is None:
                    out = part.new_zeros((len(self.data), *part.shape[1:]))
                out[batch.id] = part
        self.mode(i, training=True)
        if out is None:
            raise InputError("there are no samples to measure")
        return self.whole(out)

    def remember(
        self,
        name: str,
        *shape: int,
        dtype: torch.dtype = torch.float32,
        fill: float = 0.0,
        per_sample: bool = True,
    ) -> Tensor:
        """State that outlives the epoch: ``[N, *shape]`` (row = sample), or ``[*shape]`` if not ``per_sample``.

        The first call makes it; later ones return the same tensor, which is saved and resumed. Change it in place.

        Of several processes, each looks after the rows of its own samples. Between passes, what has at most ``NARROW``
        numbers a sample is that of all samples; what is worked out from wider state goes through ``whole``.
        """
        if name not in self.memory:
            size = (len(self.data), *shape) if per_sample else shape
            self.memory[name] = torch.full(size, fill, dtype=dtype, device=self.device)
            self.per_sample |= {name} if per_sample else set()
        self.together.refresh(name, self.memory[name])
        return self.memory[name]

    def pin(self, values: Tensor, to: float = 1.0) -> Tensor:
        """Set the rows of confirmed labels in ``values`` ``[N, ...]`` (a probability, a mask) to ``to``, in place.

        Every rule that tells clean from wrong ends with it, so that what a person has confirmed is never divided away.
        """
        values[self.confirmed] = to
        return values

    def clean_prob(self) -> Tensor:
        """The method's probability ``[N]`` that each given label is clean, 1 where a person has confirmed it.

        A label that no sub-epoch has drawn has the mean probability of the others.
        """
        found = self.whole(self.method.clean_prob(self))
        if self.plan.sub_epoch:
            found = torch.where((self.data.y >= 0) & found.isnan(), found.nanmean(), found)
        return self.pin(found)

    def updated_labels(self) -> Tensor | None:
        """The method's ``updated_labels``, those of all samples."""
        found = self.method.updated_labels(self)
        return None if found is None else self.whole(found)

    def log(self, **scalars: Tensor | float) -> None:
        """Record numbers; an epoch's record holds the mean of each."""
        for name, value in scalars.items():
            if isinstance(value, Tensor) and defers(value.device):
                kept = self._later.setdefault(name, [])
                kept.append(value.detach().to(torch.float64, copy=True).reshape(1))
                if len(kept) == _KEPT:
                    kept[:] = [torch.cat(kept)]
            else:
                self._add(name, float(value.detach()) if isinstance(value, Tensor) else value)

    def logged(self, name: str) -> float | None:
        """The mean of what was logged in this epoch by a name; None: nothing was. It waits for the device."""
        self.settle()
        total, count = self.together.merged(self._sums).get(name, (0.0, 0))
        return total / count if count else None

    def _add(self, name: str, value: float) -> None:
        total, count = self._sums.get(name, (0.0, 0))
        if math.isfinite(value):
            self._sums[name] = (total + value, count + 1)

    def settle(self) -> None:
        """Read what was left on the device since the epoch began: logged numbers, and losses that were not finite."""
        for name, kept in self._later.items():
            for value in torch.cat(kept).tolist():
                self._add(name, value)
        self._later.clear()
        lost = 0 if self.not_finite is None else int(self.not_finite)
        self.not_finite = None
        if lost:
            self.skipped(lost)

    def warn(self, key: str, message: str) -> None:
        """Warn once per run and key, and keep the message in this epoch's record."""
        seen = {k for row in self.history for k in row.get("warnings", {})} | self._warned.keys()
        if key not in seen:
            self._warned[key] = message
            warnings.warn(f"epoch {self.epoch + 1}: {message}", TrainingWarning, stacklevel=2)

    def close_epoch(self, seconds: float) -> dict[str, Any]:
        """Turn what was logged into this epoch's record, and count the epoch."""
        self.fraction = 0.0
        self.settle()
        self._sums, self._warned = self.together.merged(self._sums), self.together.said(self._warned)
        row: dict[str, Any] = {"epoch": self.epoch + 1, "lr": self.method.rate(self)}
        row |= {name: total / count for name, (total, count) in self._sums.items()}
        if self._warned:
            row["warnings"] = dict(self._warned)
        row["seconds"] = round(seconds, 3)
        self._sums.clear()
        self._warned.clear()
        self.epoch += 1
        return row
