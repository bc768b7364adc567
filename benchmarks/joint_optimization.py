"""The figures of joint optimization (Tanaka et al. 2018), drawn from runs that this script makes itself.

    python benchmarks/joint_optimization.py rates      # Figure 2: test accuracy at learning rates .2 and .02
    python benchmarks/joint_optimization.py losses     # Figure 3: training loss against noise rate, at .2, .02, .002
    python benchmarks/joint_optimization.py recovery   # Figure 4: recovery accuracy with soft, hard and hard-k labels
    python benchmarks/joint_optimization.py pseudo     # Figure 5: learning from noisy and from pseudo-labels
    python benchmarks/joint_optimization.py updated    # Figure 6: learning from updated and from true labels
    python benchmarks/joint_optimization.py all

CIFAR-10 is read from CODIVIDE_DATA; --data names another set. Each figure becomes joint_NAME.png in the folder
--pictures, with the scale of its runs as a caption, and NAME.json (all numbers, settings, commit and versions) in the
folder --out. The defaults use 5,000 images and a small net, for two CPU cores; --paper is the full size: 45,000 images,
preact_resnet32, batches of 128, 200 epochs (at each learning rate, for "losses").
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from codivide.core.allocator import tune_allocator
from codivide.core.provenance import environment
from codivide.core.types import Labels
from codivide.data.loaded import Loaded, subset
from codivide.data.sources import load
from codivide.fit.execute import execute
from codivide.fit.job import Job, Progress
from codivide.methods import CrossEntropy, JointOptimization
from codivide.noise import synthetic as noise
from codivide.training.plan import Plan
from codivide.training.run import Method, Run

HIGH, LOW = 0.2, 0.02
EPOCHS = {"rates": 50, "losses": 36, "recovery": 60, "pseudo": 36, "updated": 36}
PAPER_EPOCHS = {"rates": 200, "losses": 600, "recovery": 200, "pseudo": 200, "updated": 200}
NOISE = {
    "rates": (0.3, 0.7),
    "losses": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "recovery": (0.5,),
    "pseudo": (0.3, 0.7),
    "updated": (0.3, 0.7),
}
Numbers = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """What the runs of a figure share.

    Attributes:
        data: name of a public set.
        samples: training samples, a random part.
        test_samples: samples of the test part, looked at after every epoch.
        epochs: of each run.
        noise: rates of symmetric noise.
        net: network.
        batch_size: samples in a batch.
        weight_decay: 1e-4 in the paper.
        k: labels that hard-k replaces after an epoch.
        seed: of part, noise and training.
        device: a torch device, or auto.
    """

    data: str = "cifar10"
    samples: int = 5_000
    test_samples: int = 2_000
    epochs: int = 50
    noise: tuple[float, ...] = (0.5,)
    net: str = "small_cnn"
    batch_size: int = 64
    weight_decay: float = 1e-4
    k: int = 50
    seed: int = 0
    device: str = "auto"


def part(loaded: Loaded, samples: int, seed: int) -> Loaded:
    """A random part of this many samples."""
    order = np.random.default_rng(seed).permutation(len(loaded.y))
    return subset(loaded, np.sort(order[:samples]))


@functools.cache
def clean(data: str, samples: int, test_samples: int, seed: int) -> Loaded:
    """The training part with true labels, and its test part."""
    loaded = load(data)
    assert loaded.test is not None, f"{data} has no test part"
    return replace(part(loaded, samples, seed), test=part(loaded.test, test_samples, seed))


def spoiled(setup: Setup, rate: float) -> Loaded:
    """The training part with symmetric noise on its labels."""
    loaded = clean(setup.data, setup.samples, setup.test_samples, setup.seed)
    spec = noise.parse(f"symmetric:{rate}")
    noisy = noise.apply(spec, loaded.y, loaded.classes, np.random.default_rng(setup.seed))
    return replace(loaded, y=noisy, truth=loaded.y)


def fit(
    setup: Setup,
    loaded: Loaded,
    lr: float,
    steps: int = 0,
    *,
    method: Method | None = None,
    watch: Progress | None = None,
) -> Run:
    """One run; the learning rate falls to a tenth so many times, at equal distances."""
    milestones = tuple(setup.epochs * (k + 1) // (steps + 1) for k in range(steps))
    plan = Plan(
        epochs=setup.epochs,
        batch_size=setup.batch_size,
        lr=lr,
        schedule="step" if steps else "constant",
        milestones=milestones,
        weight_decay=setup.weight_decay,
        seed=setup.seed,
        device=setup.device,
    )
    job = Job(method or CrossEntropy(), plan, setup.net, record_learning=False)
    return execute(job, loaded, progress=watch).run


def curve(run: Run, name: str) -> list[float]:
    """A number of each epoch's record."""
    return [row[name] for row in run.history]


def errors(loaded: Loaded) -> float:
    """Share of given labels that are wrong."""
    return float((loaded.y != loaded.truth).mean())


def rates(setup: Setup) -> Numbers:
    """Test accuracy over the epochs, for each noise rate and two constant learning rates."""
    return {
        f"{rate:g}": {f"{lr:g}": curve(fit(setup, spoiled(setup, rate), lr), "test_accuracy") for lr in (HIGH, LOW)}
        for rate in setup.noise
    }


def losses(setup: Setup) -> Numbers:
    """Training loss over the epochs for each noise rate, the learning rate being .2, then .02, then .002."""
    return {f"{rate:g}": curve(fit(setup, spoiled(setup, rate), HIGH, steps=2), "loss") for rate in setup.noise}


def joint(setup: Setup, loaded: Loaded, labels: str = "soft") -> tuple[Run, list[float]]:
    """A first stage of joint optimization, and its recovery accuracy after each epoch."""
    recovered: list[float] = []

    def watch(run: Run, row: object) -> None:
        found = run.remember("labels").argmax(1).cpu().numpy()
        recovered.append(float((found == loaded.truth).mean()))

    method = JointOptimization(first_share=1.0, labels=labels, k=setup.k)
    return fit(setup, loaded, JointOptimization.settings["lr"], method=method, watch=watch), recovered


def recovery(setup: Setup) -> Numbers:
    """Share of training labels that are right over the epochs, for each kind of label."""
    noisy = spoiled(setup, setup.noise[0])
    return {kind: joint(setup, noisy, kind)[1] for kind in ("soft", "hard", "hard_k")}


def pseudo(setup: Setup) -> Numbers:
    """For each noise rate, cross-entropy on the noisy labels and on pseudo-labels, of which fewer are wrong.

    The pseudo-labels are what a network says that learned from the noisy labels at the high learning rate.
    """
    numbers: Numbers = {}
    for rate in setup.noise:
        noisy = spoiled(setup, rate)
        teacher = fit(setup, noisy, HIGH)
        said = teacher.measure(0, lambda logits, batch: logits.argmax(1)).cpu().numpy()
        numbers[f"{rate:g}"] = {"symmetric noise": learned(setup, noisy), "pseudo": learned(setup, noisy, said)}
    return numbers


def updated(setup: Setup) -> Numbers:
    """For each noise rate, cross-entropy on the labels that joint optimization leaves, and on the true ones."""
    numbers: Numbers = {}
    for rate in setup.noise:
        noisy = spoiled(setup, rate)
        found = joint(setup, noisy)[0].remember("labels").argmax(1).cpu().numpy()
        numbers[f"{rate:g}"] = {"updated": learned(setup, noisy, found), "true": learned(setup, noisy, noisy.truth)}
    return numbers


def learned(setup: Setup, noisy: Loaded, labels: Labels | None = None) -> Numbers:
    """Training loss and test accuracy of cross-entropy on some labels (None: the noisy ones), and their errors."""
    given = noisy if labels is None else replace(noisy, y=labels)
    run = fit(setup, given, HIGH, steps=2)
    return {"wrong": errors(given), "loss": curve(run, "loss"), "test_accuracy": curve(run, "test_accuracy")}


def axes(figure: Figure, columns: int, rows: int = 1) -> list[Any]:
    figure.set_layout_engine("constrained")
    figure.set_size_inches(4.5 * columns, 3.6 * rows)
    found = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in found:
        axis.grid(alpha=0.3)
    return found


def lines(axis: Any, curves: dict[str, list[float]], title: str, y: str) -> None:
    for name, values in curves.items():
        axis.plot(range(1, len(values) + 1), values, label=name)
    axis.set(title=title, xlabel="epoch", ylabel=y)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend()


def draw_rates(setup: Setup, numbers: Numbers) -> Figure:
    figure = Figure()
    for axis, (rate, curves) in zip(axes(figure, len(numbers)), numbers.items(), strict=True):
        named = {f"learning rate {lr}": values for lr, values in curves.items()}
        lines(axis, named, f"symmetric noise {float(rate):.0%}", "test accuracy")
    return figure


def draw_losses(setup: Setup, numbers: Numbers) -> Figure:
    figure = Figure()
    left, right = axes(figure, 2)
    left.set_prop_cycle(color=[colormaps["viridis"](0.95 * k / max(len(numbers) - 1, 1)) for k in range(len(numbers))])
    lines(
        left,
        {f"noise {float(rate):.0%}": values for rate, values in numbers.items()},
        "over the epochs",
        "training loss",
    )
    noises = [float(rate) for rate in numbers]
    for k, lr in enumerate(("0.2", "0.02", "0.002")):
        end = setup.epochs * (k + 1) // 3 - 1
        right.plot(noises, [values[max(end, 0)] for values in numbers.values()], "o-", label=f"end of {lr}")
        if k:
            left.axvline(setup.epochs * k // 3 + 0.5, color="0.6", linestyle=":")
    right.set(title="at the end of each learning rate", xlabel="rate of symmetric noise", ylabel="training loss")
    right.legend()
    return figure


def draw_recovery(setup: Setup, numbers: Numbers) -> Figure:
    figure = Figure()
    (axis,) = axes(figure, 1)
    named = {kind.replace("hard_k", f"hard, {setup.k} most different"): values for kind, values in numbers.items()}
    lines(axis, named, f"symmetric noise {setup.noise[0]:.0%}", "recovery accuracy")
    return figure


def draw_pairs(setup: Setup, numbers: Numbers) -> Figure:
    """A row for each noise rate: training loss and test accuracy on two kinds of labels."""
    figure = Figure()
    places = axes(figure, 2, len(numbers))
    for k, (rate, pair) in enumerate(numbers.items()):
        title = f"symmetric noise {float(rate):.0%}"
        for axis, key, y in zip(
            places[2 * k :], ("loss", "test_accuracy"), ("training loss", "test accuracy"), strict=False
        ):
            lines(axis, {f"{name} ({seen['wrong']:.0%} wrong)": seen[key] for name, seen in pair.items()}, title, y)
    return figure


def caption(setup: Setup) -> str:
    """The scale of the runs."""
    size = f"{setup.samples:,} images of {setup.data}, {setup.net}, {setup.epochs} epochs, seed {setup.seed}"
    whole = setup.samples >= 45_000 and setup.net == "preact_resnet32"
    return size if whole else f"{size}\nthe paper: 45,000 images of CIFAR-10, PreAct ResNet-32, 200 epochs and more"


FIGURES: dict[str, tuple[Callable[[Setup], Numbers], Callable[[Setup, Numbers], Figure]]] = {
    "rates": (rates, draw_rates),
    "losses": (losses, draw_losses),
    "recovery": (recovery, draw_recovery),
    "pseudo": (pseudo, draw_pairs),
    "updated": (updated, draw_pairs),
}


def make(name: str, setup: Setup, out: Path, pictures: Path) -> None:
    """Make the runs of a figure, draw it and write it."""
    compute, draw = FIGURES[name]
    began = time.perf_counter()
    numbers = compute(setup)
    record = {"figure": name, "settings": asdict(setup), "numbers": numbers}
    record["seconds"] = round(time.perf_counter() - began, 1)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(record | environment(setup.device), indent=1) + "\n", encoding="utf-8")
    figure = draw(setup, numbers)
    figure.supxlabel(caption(setup), fontsize=8, color="0.3")
    pictures.mkdir(parents=True, exist_ok=True)
    figure.savefig(pictures / f"joint_{name}.png", dpi=100)
    print(f"{name}: {record['seconds']} s, {pictures}/joint_{name}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=(*FIGURES, "all"))
    parser.add_argument("--out", type=Path, default=Path("results/joint_optimization"))
    parser.add_argument("--pictures", type=Path, default=Path("docs/images"))
    parser.add_argument("--paper", action="store_true", help="full size; other options still win")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--noise", type=float, nargs="+", help="rates of symmetric noise (recovery: the first)")
    for name, kind in (
        ("samples", int), ("test-samples", int), ("epochs", int), ("net", str), ("batch-size", int),
        ("k", int), ("seed", int), ("device", str),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=kind)
    args = parser.parse_args()
    tune_allocator()
    setup = Setup(data=args.data)
    if args.paper:
        setup = replace(setup, samples=45_000, test_samples=10_000, net="preact_resnet32", batch_size=128)
    wanted = ("samples", "test_samples", "epochs", "net", "batch_size", "k", "seed", "device")
    given = {name: getattr(args, name) for name in wanted if getattr(args, name) is not None}
    for name in FIGURES if args.figure == "all" else (args.figure,):
        own = {"epochs": (PAPER_EPOCHS if args.paper else EPOCHS)[name], "noise": tuple(args.noise or NOISE[name])}
        make(name, replace(setup, **own | given), args.out, args.pictures)


if __name__ == "__main__":
    main()
