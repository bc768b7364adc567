"""The only training loop: epochs of a method, records, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from codivide.core.device import resolve_device, resolve_precision
from codivide.core.errors import InputError
from codivide.training import checkpoint as checkpoints
from codivide.training.plan import Plan
from codivide.training.run import Build, Data, Method, Run, Watch


def train(
    method: Method,
    data: Data,
    build: Build,
    plan: Plan,
    watch: Watch | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    identity: Mapping[str, Any] | None = None,
    deadline: float | None = None,
) -> Run:
    """Train a method on data; the same seed gives the same bits on a CPU. The global generator is left alone.

    Args:
        method: the algorithm.
        data: samples and given labels.
        build: makes one network with random weights.
        plan: optimizer, schedule, precision, seed.
        watch: called after every epoch with the run, whose networks and generators it leaves as they are; what it
            returns (JSON values) joins the record.
        checkpoint: file that holds the run after its last whole epoch, written atomically; None: none.
        resume: go on from ``checkpoint`` if it is there; the result is bit-identical to a straight run.
        identity: JSON values that a checkpoint must share to be resumed, besides method, plan and labels.
        deadline: of ``time.monotonic()``; epochs that would begin after it are left out, and the run says so.

    Raises:
        InputError: fewer than two labelled samples, a confirmed sample without a label, a checkpoint of another run,
            or an epoch without one finite loss.
    """
    method = method.settled()
    device = resolve_device(plan.device)
    labels = data.y.to(device)
    if int((labels >= 0).sum()) < 2:
        raise InputError("fewer than two samples have a label; there is nothing to learn from")
    confirmed = None if data.confirmed is None else data.confirmed.to(device)
    if confirmed is not None and bool((confirmed & (labels < 0)).any()):
        raise InputError("a sample is confirmed but has no label")
    data = Data(data.x.to(device), labels, data.classes, data.views, confirmed)
    precision = resolve_precision(plan.precision, device, images=len(data.x.shape) == 3)
    saved = checkpoint if resume and checkpoint is not None and checkpoint.exists() else None
    if saved is not None and plan.precision == "auto":  # as it was, also on another chip
        precision = checkpoints.read_header(saved)["fingerprint"]["precision"]
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        torch.manual_seed(plan.seed)
        run = Run(method, data, build, plan, device, precision, identity or {})
        method.start(run)
        if saved is not None:
            checkpoints.load(run, saved)
        while run.epoch < plan.epochs:
            began, steps, skipped = time.perf_counter(), run.step, run.skipped_updates
            run.open_epoch()
            if deadline is not None and run.epoch and time.monotonic() > deadline:
                run.log(stopped=1.0)
                run.warn("deadline", "the time budget is spent; training ends here")
            else:
                method.epoch(run)
            run.settle()
            if run.skipped_updates - skipped == run.step - steps > 0:
                raise InputError(f"training diverged: no loss of epoch {run.epoch + 1} was finite; use a lower lr")
            row = run.close_epoch(time.perf_counter() - began)
            run.history.append(row)
            if watch is not None:
                row |= watch(run) or {}
            idle = "stopped" in row and run.epoch < plan.epochs  # nothing has changed, which is soon found out again
            if checkpoint is not None and not idle:
                checkpoints.save(run, checkpoint)
    return run
