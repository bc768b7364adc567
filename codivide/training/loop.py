"""The only training loop: epochs of a method, records, checkpoints."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch

from codivide.core.device import resolve_device, resolve_precision
from codivide.core.errors import InputError, option
from codivide.core.stopping import finished
from codivide.data.fingerprint import CONTENT, digest_rows
from codivide.training import checkpoint as checkpoints
from codivide.training.checkpoint import Checkpoint
from codivide.training.plan import Plan
from codivide.training.ranks import here
from codivide.training.run import Build, Method, Run, Watch
from codivide.training.samples import Data
from codivide.training.together import Alone, of_here


def train(
    method: Method,
    data: Data,
    build: Build,
    plan: Plan,
    *,
    watch: Watch | None = None,
    checkpoint: Checkpoint | None = None,
    deadline: float | None = None,
) -> Run:
    """Train a method on data; the same seed gives the same bits on a CPU. The global generator is left alone.

    Within ``ranks.joined`` all processes call it with the same arguments, but for ``checkpoint``, ``watch`` and
    ``deadline``, of which those of the first count: it writes, and what its ``watch`` returns is everyone's record.

    Args:
        method: the algorithm.
        data: samples and given labels.
        build: makes one network with random weights, such as ``lambda: Net(len(data.classes))``.
        plan: optimizer, schedule, precision, seed.
        watch: called after every epoch with the run, whose networks and generators it leaves as they are; what it
            returns (JSON values) joins the record.
        checkpoint: where the run is kept after its last whole epoch, and whether to go on from there; None: nowhere.
            A resumed run is bit-identical to a straight one. On the command line a signal that asks to stop waits for
            the end of the epoch.
        deadline: of ``time.monotonic()``; epochs that would begin after it are left out, and the run says so.

    Raises:
        InputError: a method that trains no network, fewer than two labelled samples, a confirmed sample without a
            label, a checkpoint of another run, or an epoch without one finite loss.
    """
    method = _settled(method, data)
    device = resolve_device(plan.device)
    ranks = here()
    identity = {} if checkpoint is None else {CONTENT: digest_rows(data.x), **checkpoint.identity}
    data = _placed(data, device)
    saved = None if checkpoint is None else checkpoint.saved()
    keeps, identity, path = ranks.told([checkpoint is not None, identity, saved and str(saved)])
    saved = path and _visible(Path(path))
    precision = _precision(plan, device, data, saved)
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        torch.manual_seed(plan.seed)
        run = Run(method, data, build, plan, device, precision, identity, together=of_here(len(data), plan.seed))
        method.start(run)
        if saved is not None:
            checkpoints.load(run, saved)
        while run.epoch < plan.epochs:
            with finished() if keeps else nullcontext():
                row = _epoch(run, deadline)
                if watch is not None:
                    row |= watch(run) or {}
                row.update(ranks.told(row))  # also how long it took, and what only the first has looked at
                idle = "stopped" in row and run.epoch < plan.epochs  # nothing has changed, which soon shows again
                if keeps and not idle:
                    _keep(run, checkpoint)
        run.together.complete_all(run)
        run.together = Alone()  # from here on each process knows all, and goes on by itself
    return run


def _settled(method: Method, data: Data) -> Method:
    """The method without "auto"; InputError where it cannot train on the data."""
    name = type(method).__name__
    if not method.trains:
        raise InputError(f"{name} trains no network of its own; give it to NoisyLabelClassifier or `codivide fit`")
    if data.weight is not None and not method.weighs:
        raise InputError(f"{name} cannot weigh samples: its loss is no mean over single samples")
    return method.settled()


def _keep(run: Run, checkpoint: Checkpoint | None) -> None:
    """Put together what all processes know; the first, which has a checkpoint, writes it."""
    run.together.complete_all(run)
    if checkpoint is not None:
        checkpoints.save(run, checkpoint.path)


def _visible(saved: Path) -> Path:
    """The checkpoint that the first process goes on from; InputError where this one does not see it."""
    if not saved.exists():
        raise InputError(f"{saved} is not there on this machine; put {option('out')} on a disk that all machines share")
    return saved


def _placed(data: Data, device: torch.device) -> Data:
    """The data with its labels and rows on the device; InputError where there is nothing to learn from."""
    labels = data.y.to(device)
    if int((labels >= 0).sum()) < 2:
        raise InputError("fewer than two samples have a label; there is nothing to learn from")
    confirmed = None if data.confirmed is None else data.confirmed.to(device)
    if confirmed is not None and bool((confirmed & (labels < 0)).any()):
        raise InputError("a sample is confirmed but has no label")
    weight = None if data.weight is None else data.weight.to(device)
    return Data(data.x.to(device), labels, data.classes, data.views, confirmed, data.groups, weight)


def _precision(plan: Plan, device: torch.device, data: Data, saved: Path | None) -> Literal["bf16", "fp32"]:
    """The plan's precision; where it is "auto" and the run goes on, as it was, also on another chip."""
    if saved is not None and plan.precision == "auto":
        return checkpoints.read_precision(saved)
    return resolve_precision(plan.precision, device, images=len(data.x.shape) == 3)


def _epoch(run: Run, deadline: float | None) -> dict[str, Any]:
    """One epoch, or what says that the time is up; its record, which the run's history holds."""
    began = time.perf_counter()
    steps = run.step
    skipped = run.skipped_updates
    run.open_epoch()
    late = deadline is not None and run.epoch > 0 and time.monotonic() > deadline
    if run.together.ranks.told(late):
        run.log(stopped=1.0)
        run.warn("deadline", "the time budget is spent; training ends here")
    else:
        run.method.epoch(run)
    run.settle()
    if run.skipped_updates - skipped == run.step - steps > 0:
        raise InputError(f"training diverged: no loss of epoch {run.epoch + 1} was finite; use a lower lr")
    row = run.close_epoch(time.perf_counter() - began)
    run.history.append(row)
    return row
