"""One DivideMix step and one warm-up step: ours against a plain re-statement of the paper's loop.

    python benchmarks/step.py [--out results/benchmarks/step.json] [--net preact_resnet18] [--rounds 3]

The plain loop augments each image with PIL in DataLoader workers, runs the six no-gradient forwards one by one, in
float32 and contiguous tensors. Both train on the same CIFAR-10 images (random pixels where CODIVIDE_DATA is unset), in
separate processes that take turns; on the first float32 step their losses agree to 1e-5, which is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from codivide.core.allocator import tune_allocator
from codivide.core.provenance import environment
from codivide.data.rows import TensorRows
from codivide.data.views import fit_views
from codivide.methods import DivideMix
from codivide.training import mixmatch, nets
from codivide.training.plan import Plan
from codivide.training.run import Run
from codivide.training.samples import Data

BATCH, CLASSES = 64, 10
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def images(count: int) -> torch.Tensor:
    """The first CIFAR-10 training images, or random pixels."""
    path = Path(os.environ.get("CODIVIDE_DATA", "-")) / "cifar-10-batches-bin" / "data_batch_1.bin"
    if not path.exists():
        return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    records = np.fromfile(path, np.uint8).reshape(-1, 3073)[:count, 1:]
    return torch.from_numpy(records.reshape(-1, 3, 32, 32).copy())


class PlainSet(torch.utils.data.Dataset):
    """Two PIL-augmented views of each image, as the paper's code base makes them."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, prob: torch.Tensor) -> None:
        self.x, self.y, self.prob = x.permute(0, 2, 3, 1).numpy(), y, prob

    def __len__(self) -> int:
        return len(self.y)

    def view(self, index: int) -> torch.Tensor:
        """Pad, crop, flip and normalise one image."""
        padded = Image.new("RGB", (40, 40))
        padded.paste(Image.fromarray(self.x[index]), (4, 4))
        left, top = random.randint(0, 8), random.randint(0, 8)
        image = padded.crop((left, top, left + 32, top + 32))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255
        return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)

    def __getitem__(self, index: int):
        return self.view(index), self.view(index), self.y[index], self.prob[index]


def plain_loss(net, peer, batch, mix, weight):
    """The paper's step, line by line, on a batch ``(x, u, y, prob)`` that is mixed by ``(share, order)``."""
    (x, u, y, prob), (share, order) = batch, mix
    with torch.no_grad():
        net.train()
        peer.eval()
        u11, u12 = torch.softmax(net(u[0]), 1), torch.softmax(net(u[1]), 1)
        x1, x2 = torch.softmax(net(x[0]), 1), torch.softmax(net(x[1]), 1)
        u21, u22 = torch.softmax(peer(u[0]), 1), torch.softmax(peer(u[1]), 1)
        guess = (u11 + u12 + u21 + u22) / 4
        guess = guess**2 / (guess**2).sum(1, keepdim=True)
        mixed_label = prob[:, None] * functional.one_hot(y, CLASSES) + (1 - prob[:, None]) * (x1 + x2) / 2
        target_x = mixed_label**2 / (mixed_label**2).sum(1, keepdim=True)
    inputs, targets = torch.cat([*x, *u]), torch.cat([target_x, target_x, guess, guess])
    mixed = share * inputs + (1 - share) * inputs[order]
    target = share * targets + (1 - share) * targets[order]
    logits = net(mixed)
    n = 2 * len(y)
    loss_x = -(target[:n] * functional.log_softmax(logits[:n], 1)).sum(1).mean()
    loss_u = ((torch.softmax(logits[n:], 1) - target[n:]) ** 2).mean()
    mean = torch.softmax(logits, 1).mean(0)
    return loss_x + weight * loss_u + (0.1 * torch.log(0.1 / mean)).sum()


def build(net: str) -> nn.Module:
    return nets.build(net, (3, 32, 32), CLASSES)


def labels(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, CLASSES, (count,), generator=generator), torch.rand(count, generator=generator)


def optimizer(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), 0.02, 0.9, weight_decay=5e-4)


def plain_worker(args: argparse.Namespace) -> dict[str, float]:
    """Seconds of a plain step, and where they go."""
    torch.manual_seed(0)
    x = images(args.count)
    y, prob = labels(args.count)
    loader = torch.utils.data.DataLoader(PlainSet(x, y, prob), BATCH, shuffle=True, num_workers=2, drop_last=True)
    net, peer = build(args.net), build(args.net)
    step = optimizer(net)
    generator = torch.Generator().manual_seed(0)
    spent: dict[str, list[float]] = defaultdict(list)
    iterator = zip(loader, loader, strict=False)
    for k in range(args.steps + 1):
        marks = [time.perf_counter()]
        (xa, xb, y_b, w_b), (ua, ub, _, _) = next(iterator)
        marks.append(time.perf_counter())
        order = torch.randperm(4 * BATCH, generator=generator)
        loss = plain_loss(net, peer, ((xa, xb), (ua, ub), y_b, w_b), (0.7, order), 25.0)
        step.zero_grad()
        loss.backward()
        step.step()
        marks.append(time.perf_counter())
        net.train()
        both = functional.cross_entropy(net(torch.cat([xa, ua])), torch.cat([y_b, y_b]))
        step.zero_grad()
        both.backward()
        step.step()
        marks.append(time.perf_counter())
        if k:  # the first step warms caches up
            for name, a, b in (("augmentation", 0, 1), ("rest", 1, 2), ("warmup", 2, 3)):
                spent[name].append(marks[b] - marks[a])
    middle = {name: statistics.median(values) for name, values in spent.items()}
    return {"step": middle["augmentation"] + middle["rest"], **middle}


def our_run(args: argparse.Namespace) -> Run:
    x = images(args.count)
    y, prob = labels(args.count)
    rows = TensorRows(x)
    data = Data(rows, y, tuple(range(CLASSES)), fit_views(rows, "photo").views())
    torch.manual_seed(0)
    plan = Plan(epochs=1000, batch_size=BATCH, channels_last=args.precision != "plain32")
    method = DivideMix(warmup=0, rampup=0)
    run = Run(method, data, lambda: build(args.net), plan, torch.device("cpu"), args.precision)
    method.start(run)
    for i in range(2):
        run.remember(f"clean_prob.{i}").copy_(prob)
    return run


def our_worker(args: argparse.Namespace) -> dict[str, float]:
    """Seconds of our step, and where they go."""
    if not args.no_allocator:
        tune_allocator()
    run = our_run(args)
    method: DivideMix = run.method  # type: ignore[assignment]
    spent: dict[str, list[float]] = defaultdict(list)
    inside: dict[str, float] = defaultdict(float)

    def watched(name: str, call):
        def timed(*words, **named):
            began = time.perf_counter()
            answer = call(*words, **named)
            inside[name] += time.perf_counter() - began
            return answer

        return timed

    run.fetch, run.probs = watched("augmentation", run.fetch), watched("guessing", run.probs)  # type: ignore[method-assign]
    prob = run.remember("clean_prob.0")
    while len(spent["step"]) < args.steps + 1:
        for known, unknown in run.pairs(prob > 0.5, prob <= 0.5, ("weak", "weak")):
            if len(known.id) != BATCH or len(unknown.id) != BATCH:
                continue
            inside_fetch = inside["augmentation"]
            inside.clear()
            began = time.perf_counter()
            run.update(method.mixed_loss(run, 0, known, unknown, prob[known.id]), 0)
            spent["step"].append(time.perf_counter() - began + inside_fetch)
            spent["guessing"].append(inside["guessing"])
            spent["augmentation"].append(inside_fetch)
            inside.clear()
            began = time.perf_counter()
            for batch in run.batches(steps=1, size=2 * BATCH):
                run.update(method.loss(run, 0, batch), 0)
            spent["warmup"].append(time.perf_counter() - began)
            inside.clear()
            if len(spent["step"]) > args.steps:
                break
    middle = {name: statistics.median(values[1:]) for name, values in spent.items()}
    began = time.perf_counter()
    for _ in range(2):
        run.measure(0, lambda logits, batch: functional.cross_entropy(logits, batch.y, reduction="none"))
    middle["evaluation_per_image"] = (time.perf_counter() - began) / 2 / args.count
    return middle | matrix_share(args, middle["step"])


def matrix_share(args: argparse.Namespace, seconds: float) -> dict[str, float]:
    """What share of a plain matrix product's rate the step's arithmetic reaches."""
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    a, b = torch.randn(2048, 2048, dtype=dtype), torch.randn(2048, 2048, dtype=dtype)
    rates = []
    for _ in range(8):
        began = time.perf_counter()
        a @ b
        rates.append(2 * 2048**3 / (time.perf_counter() - began))
    with FlopCounterMode(display=False) as counter:
        build(args.net)(torch.randn(2, 3, 32, 32))
    forward = counter.get_total_flops() / 2
    images_forward = 6 * BATCH + 3 * 4 * BATCH  # six guesses; forward and twice that backward on the mixed batch
    return {
        "matrix_flops": statistics.median(rates),
        "matrix_share": forward * images_forward / seconds / statistics.median(rates),
    }


def assert_agreement(args: argparse.Namespace) -> float:
    """The difference of both losses on the same first float32 step."""
    args.precision = "fp32"
    run = our_run(args)
    prob = run.remember("clean_prob.0")
    known, unknown = next(iter(run.pairs(prob > 0.5, prob <= 0.5, ("weak", "weak"))))
    plain = [build(args.net) for _ in range(2)]
    for ours, theirs in zip(run.nets, plain, strict=True):
        theirs.load_state_dict(ours.state_dict())
    state = run.gen.get_state()
    share = mixmatch.mix_share(4.0, run.gen)
    order = torch.randperm(4 * BATCH, generator=run.gen)
    run.gen.set_state(state)
    ours = run.method.mixed_loss(run, 0, known, unknown, prob[known.id])  # type: ignore[attr-defined]
    views = [x.contiguous() for x in known.x], [x.contiguous() for x in unknown.x]
    theirs = plain_loss(plain[0], plain[1], (*views, known.y, prob[known.id]), (share, order), 25.0)
    difference = abs(ours.item() - theirs.item())
    assert difference < 1e-5 * max(1.0, abs(theirs.item())), (ours, theirs)
    return difference


def worker(kind: str, precision: str, args: argparse.Namespace, *more: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--worker", kind, "--precision", precision, "--net", args.net]
    command += ["--steps", str(args.steps), "--count", str(args.count), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--net", default="preact_resnet18")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--no-allocator", action="store_true")
    parser.add_argument("--worker", choices=("plain", "ours"))
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(plain_worker(args) if args.worker == "plain" else our_worker(args)))
        return
    difference = assert_agreement(args)
    print(f"first fp32 step: losses differ by {difference:.1e}")
    kinds = {
        "plain": ("plain", "fp32"),
        "ours fp32": ("ours", "fp32"),
        "ours bf16": ("ours", "bf16"),
        "ours bf16, default allocator": ("ours", "bf16", "--no-allocator"),
    }
    rounds: dict[str, list[dict[str, float]]] = defaultdict(list)
    for _ in range(args.rounds):
        for name, (kind, precision, *more) in kinds.items():
            rounds[name].append(worker(kind, precision, args, *more))
    table = {
        name: {key: statistics.median(r[key] for r in results) for key in results[0]}
        for name, results in rounds.items()
    }
    for name, row in table.items():
        row["step_ratio"] = statistics.median(
            p["step"] / o["step"] for p, o in zip(rounds["plain"], rounds[name], strict=True)
        )
        row["warmup_ratio"] = statistics.median(
            p["warmup"] / o["warmup"] for p, o in zip(rounds["plain"], rounds[name], strict=True)
        )
        print(
            f"{name}: step {row['step']:.3f} s ({row['step_ratio']:.2f}x), "
            f"warm-up {row['warmup']:.3f} s ({row['warmup_ratio']:.2f}x)"
        )
        if name != "plain":
            step = row["step"]
            rest = step - row["guessing"] - row["augmentation"]
            print(
                f"   augmentation {row['augmentation'] / step:.2%}, guessing {row['guessing'] / step:.1%}, "
                f"forward and backward {rest / step:.1%}; "
                f"evaluation {1e6 * row['evaluation_per_image']:.0f} us an image; "
                f"{row['matrix_share']:.0%} of a matrix product's rate"
            )
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "net": args.net,
            "batch": BATCH,
            "first_step_difference": difference,
            "table": table,
            "rounds": rounds,
        }
        args.out.write_text(json.dumps(record | environment(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
