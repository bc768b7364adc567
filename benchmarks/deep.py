"""The deep default against what it is to replace: accuracy, detection and processor seconds on the same images.

    python benchmarks/deep.py run [--rows codivide elr] [--sets worse sym50] [--images 4000] [--seeds 0]
    python benchmarks/deep.py table

``run`` without options is the whole plan: every row, set, number of images and seed; what ``--out`` holds already is
not run again. Images, labels and test images are those of the recipes ``choose-*`` (the seed draws them), so their
committed results stand beside ours in the tables. Seconds are of the processor, of training alone: looks at training
and test data for the record are left out. A method that needs held-out labels pays for its looks at them. Nothing is
chosen by test labels; "best" is shown to say what the last epoch gives away. p(clean) is the method's own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from sklearn.metrics import balanced_accuracy_score

from codivide.bench import measures, runner
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.core.types import AnyFloats
from codivide.data.experiment import part, spoil
from codivide.data.loaded import Loaded
from codivide.data.sources import load
from codivide.data.views import fit_views
from codivide.fit.choose_run import execute
from codivide.fit.job import Job, build_method, default_plan
from codivide.methods.dividemix import AUTOMATIC
from codivide.methods.features.options import unset
from codivide.noise.scores import detection
from codivide.runs.model import Model
from codivide.training import loop, nets
from codivide.training.model_file import Classifier
from codivide.training.plan import Plan
from codivide.training.run import Method, Run
from codivide.training.samples import Data

OUT = Path("results") / "deep.json"
SETS = {
    "sym0": ("cifar10", ""),
    "aggre": ("cifar10n:aggre", ""),
    "worse": ("cifar10n:worse", ""),
    "asym40": ("cifar10", "asymmetric:0.4"),
    "sym50": ("cifar10", "symmetric:0.5"),
    "sym80": ("cifar10", "symmetric:0.8"),
    "fashion": ("fashion_mnist", "symmetric:0.4"),
}
#: The protocol of the recipes ``choose-*``.
STEP = {"batch_size": 64, "lr": 0.05, "schedule": "step", "epochs": 50, "milestones": (22,)}
CYCLE = {"batch_size": 64, "epochs": 50}
ALONE = {"agreement": 0.0}
#: Rows of the recipes ``choose-*`` that ``codivide`` was made to replace.
REPLACED = ("auto", "dividemix_0", "dividemix_25", "early_stopping")
#: Row -> method, settings, plan; the first rows are what is compared, those after them the ablation.
ROWS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "codivide": ("codivide", {}, CYCLE),
    "auto": ("auto", {}, CYCLE),
    "plain": ("cross_entropy", {}, {**CYCLE, "epochs": 200}),  # as long as auto draws it out
    "early_stopping": ("cross_entropy", {"validation": 0.1, "patience": 10}, STEP),
    "elr": ("elr", {}, STEP),
    "dividemix_0": ("dividemix", {**AUTOMATIC, "lambda_u": 0.0}, STEP),
    "dividemix_25": ("dividemix", {**AUTOMATIC, "lambda_u": 25.0}, STEP),
    "labels hidden": ("codivide", {"validation": 0.1}, CYCLE),
    "no agreement": ("codivide", ALONE, {**CYCLE, "epochs": 40}),
    "no agreement, 70 epochs": ("codivide", ALONE, {**CYCLE, "epochs": 70}),
    "no belief": ("codivide", {"q": 0.0}, CYCLE),
    "no scout": ("codivide", {"scout": 0.0}, CYCLE),
    "no cycle": ("codivide", {}, STEP),
    "no average": ("codivide", {}, {**CYCLE, "average": 0.0}),
}


def data_of(name: str, images: int, seed: int) -> Loaded:
    """A part of the set with its noise; the same as in the recipes ``choose-*``."""
    source, noise = SETS[name]
    return spoil(part(load(source), images, seed), noise or None, seed)


@dataclass
class Clock:
    """Processor seconds of epochs, without what happens between them."""

    seconds: float = 0.0
    began: float = field(default_factory=time.process_time)

    def stop(self) -> None:
        """An epoch has ended."""
        self.seconds += time.process_time() - self.began

    def go(self) -> None:
        """The next one begins."""
        self.began = time.process_time()


def scores(model: Classifier, loaded: Loaded) -> dict[str, float]:
    """Accuracy and balanced accuracy on the test images."""
    assert loaded.test is not None
    predicted = model.logits(loaded.test.x).argmax(1).numpy()
    right = float((predicted == loaded.test.y).mean())
    return {"accuracy": right, "balanced_accuracy": float(balanced_accuracy_score(loaded.test.y, predicted))}


class Measured(NamedTuple):
    """A run: what was seen at the epochs looked at, its p(clean) ``[N]``, processor seconds, epochs."""

    curve: list[dict[str, Any]]
    clean_prob: AnyFloats
    seconds: float
    epochs: int


def measure(row: str, name: str, images: int, seed: int, net: str) -> dict[str, Any]:
    """One run of one row."""
    method_name, hyper, settings = ROWS[row]
    loaded = data_of(name, images, seed)
    method = build_method(method_name, **hyper)
    assert isinstance(method, Method)
    plan = default_plan(len(loaded.y), method, **{**settings, "seed": seed, "device": "cpu"})
    seen = trained(method, plan, loaded, net) if method.trains else automatic(method, plan, loaded, net, settings)
    found = {} if loaded.truth is None else detection(loaded.y, loaded.truth, seen.clean_prob)
    return {
        "row": row,
        "set": name,
        "images": images,
        "seed": seed,
        "net": net,
        "epochs": seen.epochs,
        "wrong": found.get("noise_rate", 0.0),
        "last": seen.curve[-1],
        "best": max(seen.curve, key=lambda point: point["accuracy"]),
        **{key: found[key] for key in ("auroc", "average_precision", "calibration_error") if key in found},
        "seconds": round(seen.seconds, 1),
        "curve": seen.curve,
        **environment("cpu"),
    }


def trained(method: Method, plan: Plan, loaded: Loaded, net: str) -> Measured:
    """One method, looked at every ten epochs."""
    views = fit_views(loaded.x, loaded.augment)
    clock, curve = Clock(), []

    def watch(run: Run) -> None:
        clock.stop()
        if run.epoch % 10 == 0 or run.epoch == plan.epochs:
            x, members = loaded.x, method.members(run)
            model = Model(members, net, x.shape, x.dtype, loaded.classes, views, run.precision, None, None)
            curve.append({"epoch": run.epoch, **scores(model, loaded)})
        clock.go()

    data = Data(loaded.x, torch.from_numpy(loaded.y), loaded.classes, views.views())
    run = loop.train(
        method,
        data,
        lambda: nets.build(net, loaded.x.shape, len(loaded.classes), 0.0),
        plan,
        watch=watch,
    )
    return Measured(curve, run.clean_prob().double().numpy(), clock.seconds, run.epoch)


def automatic(method: Method, plan: Plan, loaded: Loaded, net: str, settings: dict[str, Any]) -> Measured:
    """``auto``, all stages; its seconds hold its looks at the training set, by which it judges, and no test."""
    job = Job(method, plan, net, evaluate_every=10)
    began = time.process_time()
    outcome = execute(job, replace(loaded, test=None), free=unset({**settings, "net": net}))
    seconds = time.process_time() - began
    curve = [{"epoch": len(outcome.history), **scores(outcome.model, loaded)}]
    return Measured(curve, outcome.table["clean_prob"].to_numpy(dtype=float), seconds, len(outcome.history))


def read(path: Path) -> list[dict[str, Any]]:
    """What has been measured."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return rows


def run_all(args: argparse.Namespace) -> None:
    """What is asked for and not there yet, saved after each run."""
    held = read(args.out)
    for images, seed, name, row in product(args.images, args.seeds, args.sets, args.rows):
        key = (row, name, images, seed, args.net)
        if any(key == (r["row"], r["set"], r["images"], r["seed"], r["net"]) for r in held):
            continue
        found = measure(row, name, images, seed, args.net)
        held.append(found)
        write_text(args.out, json.dumps({"rows": held}, indent=1) + "\n")
        print(f"{key}: {100 * found['last']['accuracy']:.1f} %, {found['seconds']:.0f} s", flush=True)


def committed(name: str, row: str, images: int) -> list[dict[str, Any]]:
    """The results of a recipe ``choose-*`` in the form of ours; its seconds are wall seconds of all stages."""
    recipe = f"choose{'' if images == 4000 else '-10k'}-{name}/{row}"
    try:
        (asked,) = runner.find(recipe)
    except ValueError:  # InputError: there is no such recipe
        return []
    return [
        {
            "last": {"accuracy": found["test_accuracy"]["last"]},
            "best": {"accuracy": found["test_accuracy"]["best"]},
            "auroc": found.get("detection", {}).get("auroc"),
            "seconds": measures.seconds(found),
            "seed": found["seed"],
        }
        for found in runner.read(asked, runner.RESULTS)
    ]


def cell(rows: list[dict[str, Any]]) -> str:
    """Median over seeds: last (best), AUROC, seconds."""
    if not rows:
        return "not run"
    middle = {key: 100 * statistics.median(row[key]["accuracy"] for row in rows) for key in ("last", "best")}
    ranks = [row["auroc"] for row in rows if row.get("auroc")]
    rank = f", {statistics.median(ranks):.3f}" if ranks else ""
    seeds = f" [{len(rows)}]" if len(rows) > 1 else ""
    seconds = statistics.median(row["seconds"] for row in rows)
    return f"{middle['last']:.1f} ({middle['best']:.1f}){rank}, {seconds:.0f} s{seeds}"


def table(rows: list[dict[str, Any]], images: int) -> str:
    """Markdown: one line a row, one column a set."""
    here = [row for row in rows if row["images"] == images]
    names = [name for name in SETS if any(row["set"] == name for row in here)]
    lines = ["| row | " + " | ".join(f"`{name}`" for name in names) + " |", "|---" * (len(names) + 1) + "|"]
    for label in ROWS:
        own = {name: [row for row in here if row["row"] == label and row["set"] == name] for name in names}
        if any(own.values()):
            lines.append(f"| {label} | " + " | ".join(cell(own[name]) for name in names) + " |")
    for label in ("auto", "dividemix_0", "dividemix_25", "early_stopping", "cross_entropy"):
        old = {name: committed(name, label, images) for name in names}
        if any(old.values()):
            lines.append(f"| {label} (`choose-*`) | " + " | ".join(cell(old[name]) for name in names) + " |")
    return "\n".join(lines)


def goals(rows: list[dict[str, Any]], images: int) -> str:
    """Markdown: what the last epoch is above the best of those to replace, and its share of the seconds of auto."""
    lines = []
    for label, name in product(("codivide", "auto"), SETS):
        own = {row["seed"]: row for row in rows if (row["row"], row["set"], row["images"]) == (label, name, images)}
        old = {other: {row["seed"]: row for row in committed(name, other, images)} for other in REPLACED}
        seeds = sorted(own.keys() & set.intersection(*(set(found) for found in old.values())))
        if not seeds:
            continue
        best = [max((found[seed]["last"]["accuracy"], other) for other, found in old.items()) for seed in seeds]
        gain = statistics.median(
            own[seed]["last"]["accuracy"] - above for seed, (above, _) in zip(seeds, best, strict=True)
        )
        share = statistics.median(own[seed]["seconds"] / old["auto"][seed]["seconds"] for seed in seeds)
        others = ", ".join(sorted({other for _, other in best}))
        lines.append(f"| {label} | `{name}` | {len(seeds)} | {100 * gain:+.1f} | {others} | {share:.2f} |")
    head = [
        "| row | set | seeds | above the best of `choose-*`, points | which is | of the seconds of its `auto` |",
        "|---" * 6 + "|",
    ]
    return "\n".join([*head, *lines]) if lines else ""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--images", nargs="+", type=int, default=[4000, 10_000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--net", default="small_cnn")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.what == "run":
        run_all(args)
        return
    rows = read(args.out)
    for images in args.images:
        if any(row["images"] == images for row in rows):
            print(f"### {images:,} images\n\n{table(rows, images)}\n\n{goals(rows, images)}\n")


if __name__ == "__main__":
    main()
