"""What a GPU makes of this code: is it right there, how fast is it, what does it learn in minutes. One command.

    PYTHONPATH=. python benchmarks/gpu.py --data cifar10.npz --out FOLDER [--seconds 480]
    PYTHONPATH=. python benchmarks/gpu.py --device cpu --dry --out FOLDER        (tiny sizes, a minute)

The data file is written by ``benchmarks/pack.py``; without one, random images stand in. ``FOLDER/gpu.json`` is written
anew, atomically, after every measurement, so that a run that is cut off keeps what it had. A measurement that fails is
a line with "error" there, and the next one begins.

parity: one epoch of every method on the CPU and on the device, from the same checkpoint. "update" is the distance of
    the two over the length of the CPU's update. "round_trip": two epochs on the CPU, one on the device, one on the CPU.
speed: one DivideMix step of a PreAct ResNet-18 on labelled and unlabelled images in equal numbers, two views of each.
    "images_per_second" counts these four batches. "share" is of the bf16 matrix product measured just before.
accuracy: CIFAR-10 with symmetric noise of 50 %, every method for the same number of seconds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from pack import unpack
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from codivide import METHODS, Data
from codivide.core.device import resolve_device
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data.experiment import spoil
from codivide.data.loaded import Loaded
from codivide.data.record import DataRecord
from codivide.data.rows import TensorRows
from codivide.data.views import fit_views
from codivide.fit import choose_run
from codivide.fit.execute import execute
from codivide.fit.job import Job, build_method, default_plan
from codivide.methods import DivideMix
from codivide.methods.features.options import NOT_FOR_FEATURES
from codivide.training import checkpoint, nets, targets
from codivide.training.plan import Plan
from codivide.training.run import Method, Run

NET, CLASSES, SHAPE = "preact_resnet18", 10, (3, 32, 32)
TOLERANCE = {"fp32": 0.01, "bf16": 0.25}  # of "update"
PUBLISHED_HOURS = 5.2  # DivideMix on CIFAR-10, 300 epochs, on one V100
FREE = tuple(name for name in NOT_FOR_FEATURES if name != "device")  # options that "auto" may choose
DRY_METHODS = ("cross_entropy", "dividemix", "elr_plus", "mixmatch")


class Report:
    """A JSON file that grows; every change is on the disk at once."""

    def __init__(self, path: Path, began: float, seconds: float) -> None:
        self.path, self.began, self.ends, self.found = path, began, began + seconds, dict[str, Any]()

    def put(self, stage: str, name: str, value: Any, shown: Any = None) -> None:
        """Keep a value as ``stage/name``, print it (or what is to be shown of it) and write the file."""
        self.found.setdefault(stage, {})[name] = value
        self.found["seconds"] = round(time.monotonic() - self.began, 1)
        write_text(self.path, json.dumps(self.found, indent=1, default=str) + "\n")
        shown = json.dumps(value if shown is None else shown, default=str)
        print(f"{self.found['seconds']:6.1f} s  {stage} {name}: {shown[:220]}", flush=True)

    def attempt(self, stage: str, name: str, measure: Callable[[], Any]) -> Any:
        """Put what ``measure`` answers, or how it failed; the answer, or None."""
        try:
            value = measure()
        except Exception as error:
            place = traceback.format_tb(error.__traceback__)[-3:]
            self.put(stage, name, {"error": f"{type(error).__name__}: {str(error)[:500]}", "at": place})
            return None
        if value is not None:
            self.put(stage, name, value)
        return value

    def left(self) -> float:
        """Seconds until the whole must end."""
        return self.ends - time.monotonic()


def read_data(path: Path | None, *, dry: bool) -> tuple[Loaded, int]:
    """CIFAR-10 of a packed file (random images without one), and the step to which its pixels are rounded."""
    if path is None:
        draws = np.random.default_rng(0)
        sizes = {"train": 400, "test": 100}
        found: dict[str, Any] = {"classes": tuple("abcdefghij"), "step": 1}
        for name, size in sizes.items():
            found[f"{name}_x"] = draws.integers(0, 256, (size, *SHAPE), dtype=np.uint8)
            found[f"{name}_y"] = np.arange(size) % CLASSES
    else:
        found = unpack(path)
    most = 400 if dry else None
    parts = []
    for name in ("test", "train"):
        x, y = torch.from_numpy(found[f"{name}_x"][:most]), found[f"{name}_y"][:most]
        test = parts[0] if parts else None
        parts.append(Loaded(TensorRows(x), y, found["classes"], range(len(y)), "photo", test=test, name="cifar10"))
    return parts[1], int(found["step"])


@contextmanager
def waits_counted(device: torch.device) -> Iterator[Counter[str]]:
    """Count, by line of code, what makes the processor wait for the device within epochs."""
    found: Counter[str] = Counter()
    if device.type != "cuda":
        yield found
        return
    opened, settled = Run.open_epoch, Run.settle

    def open_epoch(run: Run) -> None:
        opened(run)
        torch.cuda.set_sync_debug_mode("warn")

    def settle(run: Run) -> None:
        torch.cuda.set_sync_debug_mode("default")
        settled(run)

    Run.open_epoch, Run.settle = open_epoch, settle  # type: ignore[method-assign]
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield found
    finally:
        Run.open_epoch, Run.settle = opened, settled  # type: ignore[method-assign]
        torch.cuda.set_sync_debug_mode("default")
        root = f"{Path(__file__).resolve().parents[1]}{os.sep}"
        for warning in caught:
            if "synchroniz" in str(warning.message):
                found[f"{warning.filename.removeprefix(root)}:{warning.lineno}"] += 1


def flat(run: Run) -> Tensor:
    """All parameters of the networks in one vector, on the CPU."""
    return torch.cat([p.detach().cpu().double().flatten() for net in run.nets for p in net.parameters()])


def started(method: Method, data: Data, plan: Plan, net: str) -> Run:
    """A run before its first epoch, as ``train`` begins it."""
    device = resolve_device(plan.device)
    torch.manual_seed(plan.seed)
    there = Data(data.x.to(device), data.y.to(device), data.classes, data.views)
    build = partial(nets.build, net, data.x.shape, CLASSES)
    run = Run(method, there, build, plan, device, "bf16" if plan.precision == "bf16" else "fp32")
    method.start(run)
    return run


def go_on(run: Run, epochs: int) -> Run:
    """Some whole epochs more."""
    for _ in range(epochs):
        began = time.perf_counter()
        run.open_epoch()
        run.method.epoch(run)
        run.settle()
        run.history.append(run.close_epoch(time.perf_counter() - began))
    return run


def parity_problem(loaded: Loaded, method: Method) -> Data:
    """96 small images, a third of the labels wrong; for semi-supervised methods half of them missing."""
    x = loaded.x[torch.arange(96)][:, :, ::2, ::2].contiguous()
    y = torch.from_numpy(loaded.y[:96]).clone()
    y[::3] = (y[::3] + 1) % CLASSES
    if method.semi_supervised:
        y[1::2] = -1
    rows = TensorRows(x)
    return Data(rows, y, loaded.classes, fit_views(rows, "photo").views())


def one_method(name: str, loaded: Loaded, device: torch.device, precision: str) -> dict[str, Any]:
    """Epoch 4 of 4 of a method on the CPU and on the device, from the CPU's checkpoint after epoch 3."""
    built = build_method(name)
    assert isinstance(built, Method)
    method, data = built.settled(), parity_problem(loaded, built)
    plan = default_plan(96, method, epochs=4, batch_size=32, precision=precision, device="cpu")
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "run.safetensors"
        ours = go_on(started(method, data, plan, "small_cnn"), 3)
        checkpoint.save(ours, path)
        theirs = started(method, data, replace(plan, device=str(device)), "small_cnn")
        checkpoint.load(theirs, path)
        before, step = flat(ours), ours.step
        go_on(ours, 1)
        began = time.perf_counter()
        with waits_counted(device) as waits:
            go_on(theirs, 1)
        seconds = time.perf_counter() - began
    steps = ours.step - step
    clean = [run.clean_prob().cpu() for run in (ours, theirs)]
    return {
        **distance(ours, theirs, before, precision),
        "loss": [run.history[-1].get("loss") for run in (ours, theirs)],
        "clean_prob": float((clean[0] - clean[1]).nan_to_num().abs().max()),
        "steps": steps,
        "waits_per_step": round(sum(waits.values()) / max(steps, 1), 2),
        "waits": dict(waits.most_common(6)),
        "seconds": round(seconds, 2),
    }


def distance(ours: Run, theirs: Run, before: Tensor, precision: str) -> dict[str, Any]:
    """How far two runs are apart that both began at ``before``."""
    apart, update = flat(theirs) - flat(ours), flat(ours) - before
    ratio = float(apart.norm() / update.norm().clamp_min(1e-30))
    parameters = float(apart.norm() / flat(ours).norm())
    return {"agrees": ratio <= TOLERANCE[precision], "update": ratio, "parameters": parameters}


def round_trip(name: str, loaded: Loaded, device: torch.device) -> dict[str, Any]:
    """Two epochs on the CPU, one on the device, one on the CPU, against four on the CPU."""
    built = build_method(name)
    assert isinstance(built, Method)
    method, data = built.settled(), parity_problem(loaded, built)
    plan = default_plan(96, method, epochs=4, batch_size=32, precision="fp32", device="cpu")
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "run.safetensors"
        straight = go_on(started(method, data, plan, "small_cnn"), 2)
        checkpoint.save(straight, path)
        before = flat(straight)
        go_on(straight, 2)
        for place in (str(device), "cpu"):
            resumed = started(method, data, replace(plan, device=place), "small_cnn")
            checkpoint.load(resumed, path)
            checkpoint.save(go_on(resumed, 1), path)
    return {**distance(straight, resumed, before, "fp32"), "epochs": [row["epoch"] for row in resumed.history]}


def parity(report: Report, loaded: Loaded, device: torch.device, methods: Sequence[str], ends: float) -> None:
    """Every method in float32, then round trips, then every method in bf16, until the time is up."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    work: list[tuple[str, Callable[[], Any]]] = []
    work += [(f"fp32/{name}", partial(one_method, name, loaded, device, "fp32")) for name in methods]
    trips = [name for name in DRY_METHODS if name in methods]
    work += [(f"round_trip/{name}", partial(round_trip, name, loaded, device)) for name in trips]
    work += [(f"bf16/{name}", partial(one_method, name, loaded, device, "bf16")) for name in methods]
    done = []
    for name, measure in work:
        if done and time.monotonic() > ends:
            break
        done.append((name, report.attempt("parity", name, measure)))
    bad = [name for name, found in done if found is None or not found["agrees"]]
    report.put("parity", "summary", {"measured": len(done), "of": len(work), "apart_or_failed": bad})
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = True, False


class Clock:
    """Seconds on the device between marks; on a CPU those of the wall."""

    def __init__(self, device: torch.device) -> None:
        self.cuda, self.marks = device.type == "cuda", list[Any]()

    def mark(self) -> None:
        """Take the time when the device gets here."""
        if self.cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def laps(self) -> list[float]:
        """Seconds from mark to mark."""
        if not self.cuda:
            return [b - a for a, b in pairwise(self.marks)]
        torch.cuda.synchronize()
        return [a.elapsed_time(b) / 1e3 for a, b in pairwise(self.marks)]


def timed(work: Callable[[], Any], device: torch.device, warm: int, laps: int) -> float:
    """Median seconds of ``work`` by the device's clock."""
    for _ in range(warm):
        work()
    clock = Clock(device)
    clock.mark()
    for _ in range(laps):
        work()
        clock.mark()
    return statistics.median(clock.laps())


def matrix_rate(device: torch.device, side: int) -> float:
    """Floating-point operations a second of a bf16 matrix product of random numbers."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / timed(lambda: a @ b, device, 3, 10)


def copy_rate(device: torch.device, size: int) -> float:
    """Bytes a second that a copy on the device reads and writes."""
    a = torch.randn(size // 4, device=device)
    b = torch.empty_like(a)
    return 2 * size / timed(lambda: b.copy_(a), device, 3, 10)


def forward_operations(net: str) -> int:
    """Floating-point operations of the forward of one image (a multiplication and an addition are two)."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        nets.build(net, SHAPE, CLASSES).eval()(torch.zeros(1, *SHAPE))
    return int(counter.get_total_flops())


class Stepping:
    """A DivideMix run after its warm-up, half of the labels taken for clean, whose steps are timed."""

    def __init__(self, loaded: Loaded, device: torch.device, batch: int, net: str, **settings: Any) -> None:
        given = {"epochs": 300, "batch_size": batch, "precision": "bf16", "device": str(device), **settings}
        self.method, self.device, self.batch = DivideMix().settled(), device, batch
        data = Data(loaded.x, torch.from_numpy(loaded.y), loaded.classes, fit_views(loaded.x, "photo").views())
        self.run = started(self.method, data, Plan(**given), net)
        self.run.epoch = 20  # beyond the warm-up, with the unlabelled loss at its full weight later on
        self.run.open_epoch()
        draws = torch.rand(len(data), generator=torch.Generator().manual_seed(1))
        self.clean_prob = draws.to(device)
        self.labelled = self.clean_prob > 0.5

    def learn(self, steps: int, clock: Clock) -> None:
        """Steps of ``DivideMix.learn``, as its epoch makes them."""
        run, method = self.run, self.method
        clock.mark()
        for known, unknown in run.pairs(self.labelled, ~self.labelled, method.views()[0], steps=steps):
            run.update(method.mixed_loss(run, 0, known, unknown, self.clean_prob[known.id]), 0)
            clock.mark()

    def warm_up(self, steps: int, clock: Clock) -> None:
        """Steps of the warm-up, in batches of twice the size."""
        run = self.run
        clock.mark()
        for batch in run.batches(None, ("weak",), size=2 * self.batch, steps=steps):
            run.update(self.method.loss(run, 0, batch), 0)
            clock.mark()

    def seconds(self, work: Callable[[int, Clock], None], warm: int, steps: int) -> tuple[float, float]:
        """Median seconds of a step by the device's clock, and mean seconds by the wall's over all of them."""
        work(warm, Clock(self.device))
        _wait(self.device)
        clock, began = Clock(self.device), time.perf_counter()
        work(steps, clock)
        _wait(self.device)
        return statistics.median(clock.laps()), (time.perf_counter() - began) / steps


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def one_speed(
    loaded: Loaded, device: torch.device, batch: int, net: str, sizes: Mapping[str, int], **settings: Any
) -> dict[str, Any]:
    """Step, warm-up step and division at a batch size, and what 300 epochs of 50,000 images would take."""
    rate = matrix_rate(device, sizes["side"])
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    stepping = Stepping(loaded, device, batch, net, **settings)
    step, wall = stepping.seconds(stepping.learn, sizes["warm"], sizes["steps"])
    first = time.perf_counter() - began
    warm_step, _ = stepping.seconds(stepping.warm_up, sizes["warm"], sizes["steps"])
    with waits_counted(device) as waits:
        stepping.run.open_epoch()
        stepping.learn(sizes["steps"], Clock(device))
        stepping.run.settle()
    _wait(device)
    began = time.perf_counter()
    stepping.method.divide(stepping.run, 0)
    _wait(device)
    divide = (time.perf_counter() - began) * 50_000 / len(loaded.y)
    operations = forward_operations(net) * batch * (4 + 2 + 3 * 4)  # own guesses, the peer's, forward and backward
    epoch = 2 * (divide + wall * math.ceil(25_000 / batch))
    warm_epoch = 2 * warm_step * math.ceil(50_000 / (2 * batch))
    hours = (10 * warm_epoch + 290 * epoch) / 3600
    return {
        "step_ms": 1e3 * step,
        "wall_step_ms": 1e3 * wall,
        "images_per_second": 4 * batch / wall,
        "teraflops": operations / wall / 1e12,
        "matrix_product_teraflops": rate / 1e12,
        "share": operations / wall / rate,
        "warm_up_step_ms": 1e3 * warm_step,
        "divide_seconds_50000": divide,
        "epoch_seconds_50000": epoch,
        "warm_up_epoch_seconds_50000": warm_epoch,
        "projected_300_epochs_minutes": 60 * hours,
        "times_the_published_v100": PUBLISHED_HOURS / hours,
        "waits_per_step": round(sum(waits.values()) / sizes["steps"], 3),
        "waits": dict(waits.most_common(8)),
        "first_steps_seconds": round(first, 1),
        "gigabytes": torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None,
        "settings": settings,
    }


def profile(loaded: Loaded, device: torch.device, batch: int, net: str, steps: int) -> dict[str, Any]:
    """Where the time of a step goes: how long the device is busy, and with what."""
    stepping = Stepping(loaded, device, batch, net)
    stepping.learn(steps, Clock(device))
    _wait(device)
    cuda = device.type == "cuda"
    kinds = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if cuda else [])]
    with torch.profiler.profile(activities=kinds) as seen:
        began = time.perf_counter()
        stepping.learn(steps, Clock(device))
        _wait(device)
        wall = time.perf_counter() - began
    spent: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for row in seen.key_averages():
        micros = row.self_device_time_total if cuda else row.self_cpu_time_total
        on_device = str(row.device_type).endswith("CUDA") or not cuda
        if on_device and micros:
            spent[row.key[:90]] += micros
            calls[row.key[:90]] += row.count
    return {
        "wall_step_ms_with_profiler": 1e3 * wall / steps,
        "device_busy_ms": sum(spent.values()) / 1e3 / steps,
        "kernels_per_step": sum(calls.values()) / steps,
        "top": {name: [round(micros / 1e3 / steps, 3), calls[name] // steps] for name, micros in spent.most_common(20)},
    }


def graphed(device: torch.device, images: int, net: str) -> dict[str, Any]:
    """Forward and backward of the network alone, launched one by one and as one CUDA graph."""
    model = nets.build(net, SHAPE, CLASSES).to(device).to(memory_format=torch.channels_last).train()
    x = torch.randn(images, *SHAPE, device=device).contiguous(memory_format=torch.channels_last)
    target = torch.softmax(torch.randn(images, CLASSES, device=device), 1)

    def both() -> None:
        for parameter in model.parameters():
            parameter.grad = None
        # Weights that are cast once and kept belong to the graph's memory, so that they are cast in every forward here.
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            out = model(x)
        targets.soft_cross_entropy(out.float(), target).backward()

    eager = timed(both, device, 3, 20)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            both()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        both()
    replay = timed(graph.replay, device, 3, 20)
    return {"images": images, "eager_ms": 1e3 * eager, "graph_ms": 1e3 * replay, "ratio": eager / replay}


def speed(report: Report, loaded: Loaded, device: torch.device, *, dry: bool, ends: float) -> None:
    """Batches, layouts, precisions, the profile, the graph, and last what compiles, which takes longest."""
    net = "small_cnn" if dry else NET
    cuda = device.type == "cuda"
    sizes = {"side": 256, "warm": 1, "steps": 2} if dry else {"side": 8192, "warm": 8, "steps": 30}
    report.put("speed", "forward_gigaflop_of_an_image", forward_operations(net) / 1e9)
    report.attempt("speed", "copy_terabytes_per_second", lambda: copy_rate(device, 1 << (20 if dry else 31)) / 1e12)

    def measured(batch: int, **settings: Any) -> Callable[[], Any]:
        return partial(one_speed, loaded, device, batch, net, sizes, **settings)

    batches = (8, 16) if dry else (64, 128, 256)
    work: list[tuple[str, Callable[[], Any]]] = [(f"batch_{batch}", measured(batch)) for batch in batches]
    work += [("profile", partial(profile, loaded, device, batches[1], net, 2 if dry else 5))]
    work += [(f"graph_{4 * n}", partial(graphed, device, 4 * n, net)) for n in batches[:2] if cuda]
    work += [("contiguous", measured(batches[1], channels_last=False))]
    work += [("fp32", measured(batches[1], precision="fp32"))]
    if cuda:
        work += [("cudnn_benchmark", partial(_with_cudnn_benchmark, measured(batches[1])))]
        work += [(f"compiled_{n}", measured(n, compile=True)) for n in (batches[1], batches[0])]
    for name, measure in work:
        if time.monotonic() > ends:
            report.put("speed", name, "no time left")
        else:
            report.attempt("speed", name, measure)


def _with_cudnn_benchmark(measure: Callable[[], Any]) -> Any:
    torch.backends.cudnn.benchmark = True
    try:
        return measure()
    finally:
        torch.backends.cudnn.benchmark = False


class Curve:
    """Test accuracy against seconds, in the report while a run goes on."""

    def __init__(self, report: Report, name: str, **about: Any) -> None:
        self.report, self.name, self.began, self.shown = report, name, time.monotonic(), 0.0
        self.found: dict[str, Any] = {**about, "curve": []}

    def __call__(self, run: Run | None, row: Mapping[str, Any]) -> None:
        """Keep an epoch's record."""
        names = ("epoch", "seconds", "loss", "test_accuracy")
        kept = {name: row[name] for name in names if name in row}
        self.found["curve"].append({"at": round(time.monotonic() - self.began, 2), **kept})
        if time.monotonic() > self.shown + 3:
            self.shown = time.monotonic()
            self.report.put("accuracy", self.name, self.found, self.found["curve"][-1])


def job_of(name: str, samples: int, device: torch.device, args: argparse.Namespace, epochs: int | None) -> Job:
    """A method with the settings that all share; without epochs they are left open, as where nobody sets any."""
    method = build_method(name, **({"budget": args.each} if name == "auto" else {}))
    if isinstance(method, Method) and name != "auto":
        method = method.settled()  # the paper's values: nothing is chosen
    given: dict[str, Any] = {"device": str(device), "seed": args.seed}
    if epochs is not None:
        given |= {"epochs": epochs, "batch_size": args.batch, "lr": args.lr, "schedule": "cosine"}
    plan = default_plan(samples, method, **given)
    net = "small_cnn" if args.dry else "auto" if name == "auto" else NET
    return Job(method, plan, net, source=DataRecord(noise=args.noise), record_learning=name == "auto")


def epochs_within(seconds: float, loaded: Loaded, device: torch.device, args: argparse.Namespace, name: str) -> int:
    """How many epochs fit, as a trial of two (the first DivideMix's warm-up, the second its division) shows."""
    job = job_of(name, len(loaded.y), device, args, 2)
    marks = [time.monotonic()]
    execute(job, loaded, progress=lambda run, row: marks.append(time.monotonic()))
    first, second = marks[1] - marks[0], marks[2] - marks[1]
    epochs = 3
    while epochs < 300:
        early = max(1, min(10, (epochs + 1) // 3)) if name == "dividemix" else 0
        if early * min(first, second) + (epochs + 1 - early) * second > seconds:
            break
        epochs += 1
    return epochs


def one_accuracy(report: Report, loaded: Loaded, device: torch.device, args: argparse.Namespace, name: str) -> Any:
    """Train a method for its seconds; the curve, the last test accuracy, and what found wrong labels."""
    epochs = None if name == "auto" else epochs_within(args.each, loaded, device, args, name)
    job = job_of(name, len(loaded.y), device, args, epochs)
    curve = Curve(report, name, seconds_given=args.each, epochs=epochs, plan=asdict(job.plan), said=[])
    if name == "auto":
        outcome = choose_run.execute(job, loaded, free=FREE, begin=lambda *_: curve, say=curve.found["said"].append)
    else:
        outcome = execute(job, loaded, progress=curve, deadline=time.monotonic() + 1.15 * args.each)
    wanted = ("test_accuracy", "suggestion_accuracy", "detection", "noise", "training_seconds", "skipped_updates")
    found = {key: outcome.summary[key] for key in wanted if key in outcome.summary}
    return curve.found | found | {"seconds": round(time.monotonic() - curve.began, 1)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the data, go through the stages, and leave one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="from benchmarks/pack.py; left out: random images")
    parser.add_argument("--out", type=Path, required=True, help="folder of gpu.json")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dry", action="store_true", help="tiny sizes, to see that all of it runs")
    parser.add_argument("--seconds", type=float, help="for all of it; left out: 480, dry 30")
    parser.add_argument("--stages", default="parity,speed,accuracy")
    parser.add_argument("--methods", help="of the parity, by comma; left out: all")
    parser.add_argument("--learners", default="cross_entropy,elr,dividemix,auto", help="of the accuracy")
    parser.add_argument("--noise", default="symmetric:0.5")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commit", help="of the source, where the machine has no git folder to ask")
    args = parser.parse_args(arguments)
    began = time.monotonic()
    args.seconds = args.seconds or (30 if args.dry else 480)
    args.out.mkdir(parents=True, exist_ok=True)
    report = Report(args.out / "gpu.json", began, args.seconds)
    device = resolve_device(args.device)
    versions = environment(args.device)
    report.put("about", "environment", versions | {"commit": versions["commit"] or args.commit})
    report.put("about", "arguments", vars(args).copy())
    loaded, step = read_data(args.data, dry=args.dry)
    report.put("about", "data", {"train": len(loaded.y), "test": len(loaded.test.y), "pixels_rounded_to": step})
    stages = args.stages.split(",")
    if "parity" in stages:
        names = list(DRY_METHODS if args.dry else METHODS) if args.methods is None else args.methods.split(",")
        parity(report, loaded, device, names, began + 0.17 * args.seconds)
    if "speed" in stages:
        report.attempt(
            "speed", "all", lambda: speed(report, loaded, device, dry=args.dry, ends=began + 0.42 * args.seconds)
        )
    if "accuracy" in stages:
        noisy = spoil(loaded, args.noise, args.seed)
        report.put("about", "effective_noise_rate", float((noisy.y != noisy.truth).mean()))
        names = args.learners.split(",")
        for place, name in enumerate(names):
            args.each = max(0.8 * (report.left() - 10) / (len(names) - place), 2.0)  # the rest is for the trials
            report.attempt("accuracy", name, partial(one_accuracy, report, noisy, device, args, name))
    report.put("about", "ended", True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
