"""What mixup (Zhang et al. 2018) claims of decisions and of adversarial examples, from runs that this script makes.

    python benchmarks/mixup.py decision      # Figure 1b: where a small net decides between two rings
    python benchmarks/mixup.py adversarial   # FGSM and I-FGSM, white-box and black-box
    python benchmarks/mixup.py all

"decision" needs no data; it becomes mixup_decision.png in the folder --pictures and decision.json in --out.
"adversarial" reads CIFAR-10 from CODIVIDE_DATA and trains three networks on --samples images: plainly (ERM), by mixup,
and, for the black box, plainly with another seed. An attack moves every pixel by at most --step of 255: FGSM once by
the sign of the gradient, I-FGSM ten times by a tenth of it (Goodfellow et al. 2015; Kurakin et al. 2017). White-box
examples are made with the network that they are shown to, black-box ones with the third. The numbers become
adversarial.json. The paper's network is a ResNet-101 on ImageNet; here it is small.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import make_circles
from torch import Tensor, nn
from torch.nn import functional

from codivide.core.allocator import tune_allocator
from codivide.core.provenance import environment
from codivide.data.arrays import from_arrays
from codivide.data.experiment import part
from codivide.data.loaded import Loaded
from codivide.data.options import ReadOptions
from codivide.data.sources import load
from codivide.fit.execute import execute
from codivide.fit.job import Job
from codivide.methods import CrossEntropy, Mixup
from codivide.runs.model import Model
from codivide.training.plan import Plan
from codivide.training.run import Method

Numbers = dict[str, Any]
ITERATIONS = 10
METHODS: dict[str, Method] = {"ERM": CrossEntropy(), "mixup": Mixup(alpha=1.0)}


def trained(method: Method, loaded: Loaded, net: str, epochs: int, seed: int) -> Model:
    """A classifier of a run in float32."""
    plan = Plan(epochs=epochs, batch_size=32, lr=0.05, schedule="cosine", precision="fp32", seed=seed, device="cpu")
    model = execute(Job(method, plan, net, record_learning=False), loaded).model
    assert isinstance(model, Model)
    return model


def rings(samples: int, seed: int) -> Loaded:
    """Two rings of points, the inner one of class 1."""
    x, y = make_circles(samples, noise=0.08, factor=0.5, random_state=seed)
    return from_arrays(x.astype(np.float32), y, options=ReadOptions(augment="none"))


def decision(samples: int, epochs: int, seed: int, side: int = 60) -> Numbers:
    """The probability of class 1 over a square, by each method, and the points learned from."""
    loaded = rings(samples, seed)
    axis = np.linspace(-1.6, 1.6, side, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    rows = from_arrays(grid, np.arange(len(grid)) % 2, options=ReadOptions(augment="none")).x
    numbers: Numbers = {
        "axis": axis.tolist(),
        "points": loaded.x[torch.arange(samples)].tolist(),
        "y": loaded.y.tolist(),
    }
    for name, method in METHODS.items():
        found = trained(method, loaded, "mlp", epochs, seed).probs(rows)[:, 1]
        numbers[name] = np.round(found.reshape(side, side), 4).tolist()
    return numbers


def draw_decision(numbers: Numbers, caption: str) -> Figure:
    """The two squares side by side."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    points, labels = np.array(numbers["points"]), np.array(numbers["y"])
    for axis, name in zip(figure.subplots(1, 2), METHODS, strict=True):
        seen = axis.contourf(numbers["axis"], numbers["axis"], numbers[name], np.linspace(0, 1, 11), cmap="Blues")
        for label, colour in ((0, "tab:green"), (1, "tab:orange")):
            axis.scatter(*points[labels == label].T, s=8, color=colour, label=f"class {label}")
        axis.set(title=name, aspect="equal")
    figure.colorbar(seen, ax=figure.axes, label="p(class 1)")
    figure.axes[0].legend(loc="upper right")
    figure.supxlabel(caption, fontsize=8, color="0.3")
    return figure


def attack(model: Model, x: Tensor, y: Tensor, step: float, iterations: int) -> Tensor:
    """Images ``[B, C, H, W]`` in 0 to 1 moved against their labels, by at most ``step`` a pixel.

    One iteration is FGSM, ``x + step sign(gradient of the loss)``; several are I-FGSM, each by a share of the step, cut
    to the step around ``x``.
    """
    plain, generator = model.views.views()["plain"], torch.Generator()
    net: nn.Module = model.members[0].eval()
    moved = x.clone()
    for _ in range(iterations):
        asked = moved.detach().requires_grad_()
        loss = functional.cross_entropy(net(plain(asked, generator)).float(), y)
        (slope,) = torch.autograd.grad(loss, asked)
        moved = asked.detach() + step / iterations * slope.sign()
        moved = torch.minimum(torch.maximum(moved, x - step), x + step).clamp(0, 1)
    return moved


@torch.no_grad()
def error(model: Model, x: Tensor, y: Tensor) -> float:
    """Share of images in 0 to 1 that are not predicted."""
    logits = model.members[0].eval()(model.views.views()["plain"](x, torch.Generator()))
    return float((logits.argmax(1) != y).double().mean())


def adversarial(loaded: Loaded, held: Loaded, *, net: str, epochs: int, step: float, seed: int) -> Numbers:
    """Errors on clean and on attacked test images, by network, attack and whose gradient it had."""
    x, y = held.x[torch.arange(len(held.y))].float() / 255, torch.from_numpy(held.y)
    models = {name: trained(method, loaded, net, epochs, seed) for name, method in METHODS.items()}
    other = trained(CrossEntropy(), loaded, net, epochs, seed + 1)
    numbers: Numbers = {name: {"clean": error(model, x, y)} for name, model in models.items()}
    for attacked, iterations in (("FGSM", 1), ("I-FGSM", ITERATIONS)):
        strange = attack(other, x, y, step, iterations)
        for name, model in models.items():
            own = attack(model, x, y, step, iterations)
            numbers[name][f"white-box {attacked}"] = error(model, own, y)
            numbers[name][f"black-box {attacked}"] = error(model, strange, y)
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("decision", "adversarial", "all"))
    parser.add_argument("--out", type=Path, default=Path("results/mixup"))
    parser.add_argument("--pictures", type=Path, default=Path("docs/images"))
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--net", default="small_cnn")
    parser.add_argument("--samples", type=int, help="to train on (300 points, 5,000 images)")
    parser.add_argument("--test-samples", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--step", type=float, default=4.0, help="of 255")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tune_allocator()
    args.out.mkdir(parents=True, exist_ok=True)
    for what in ("decision", "adversarial") if args.what == "all" else (args.what,):
        began = time.perf_counter()
        if what == "decision":
            numbers = decision(args.samples or 300, args.epochs, args.seed)
            args.pictures.mkdir(parents=True, exist_ok=True)
            caption = (
                f"{args.samples or 300} points, an MLP of two hidden layers, {args.epochs} epochs, mixup with alpha 1"
            )
            draw_decision(numbers, caption).savefig(args.pictures / "mixup_decision.png", dpi=90)
            numbers = {}  # the picture is the result
        else:
            whole = load(args.data)
            assert whole.test is not None, f"{args.data} has no test part"
            parts = part(whole, args.samples or 5000, args.seed), part(whole.test, args.test_samples, args.seed)
            step = args.step / 255
            numbers = adversarial(*parts, net=args.net, epochs=args.epochs, step=step, seed=args.seed)
            print(json.dumps(numbers, indent=1))
        settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
        record = {"what": what, "settings": settings, "numbers": numbers, **environment("cpu")}
        record["seconds"] = round(time.perf_counter() - began, 1)
        (args.out / f"{what}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
