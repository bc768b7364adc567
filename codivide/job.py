"""From loaded data to a trained model, a label table and a run folder: what estimator, command line and bench share."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from codivide import __version__, label_table, nets
from codivide.data.loaded import Loaded
from codivide.data.views import ViewSpec, fit_views
from codivide.engine import Data, Method, Plan, Run, resolve_device, train
from codivide.errors import InputError, unknown
from codivide.files import write_text
from codivide.methods import METHODS
from codivide.methods.dividemix import DivideMix
from codivide.model import Model
from codivide.record import environment

MODEL, CHECKPOINT, METRICS = "model.safetensors", "checkpoint.safetensors", "metrics.jsonl"
_WRITTEN = ("config.json", METRICS, "labels.csv", "labels.parquet", MODEL, CHECKPOINT, "summary.json")

Progress = Callable[[Run, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Job:
    """What to train, apart from the data.

    Attributes:
        method: the algorithm with its hyper-parameters.
        plan: optimizer, schedule, precision, device, seed.
        net: a name that ``nets.build`` knows, or "auto".
        dropout: of the network, before its last layer, in [0, 1).
    """

    method: Method = field(default_factory=DivideMix)
    plan: Plan = field(default_factory=Plan)
    net: str = "auto"
    dropout: float = 0.0


@dataclass
class Outcome:
    """What a run gives back.

    Attributes:
        run: the finished run with its history.
        model: the classifier.
        table: every sample with given label, suggestion and probability of being clean (see ``label_table.build``).
        summary: the numbers of ``summary.json``.
    """

    run: Run
    model: Model
    table: pd.DataFrame
    summary: dict[str, Any]


def default_epochs(samples: int) -> int:
    """About 4,000 updates of batches of 64, between 30 and 200 epochs."""
    return min(max(math.ceil(4_000 * 64 / max(samples, 1)), 30), 200)


def default_plan(samples: int, **given: Any) -> Plan:
    """The plan for a data set of this size: step schedule, down at half time; ``given`` fields win.

    ``epochs`` of None stands for ``default_epochs(samples)``; "step" without milestones steps at half time, as
    DivideMix does.
    """
    settings: dict[str, Any] = {"schedule": "step", **given}
    if settings.get("epochs") is None:
        settings["epochs"] = default_epochs(samples)
    if settings["schedule"] == "step" and not settings.get("milestones"):
        settings["milestones"] = (max(1, settings["epochs"] // 2),)
    return Plan(**settings)


def build_method(name: str, **hyper: Any) -> Method:
    """A method by name with hyper-parameters; InputError names the nearest known one."""
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    known = [item.name for item in fields(METHODS[name])]
    for key in hyper:
        if key not in known:
            raise unknown(f"hyper-parameter of {name}", key, known)
    return METHODS[name](**hyper)


def check_folder(out: Path, resume: bool = False, overwrite: bool = False) -> None:
    """Whether a run may be written to ``out``; asked before any long work, changes nothing.

    Raises:
        InputError: it exists and is not empty (unless resume or overwrite), or is no folder of a run.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; give a folder")
    held = sorted(p.name for p in out.iterdir()) if out.exists() else []
    if held and not resume and not overwrite:
        raise InputError(f"--out {out} exists and is not empty; use --resume, --overwrite or another folder")
    if held and "config.json" not in held:
        raise InputError(f"--out {out} holds other files ({held[0]}, ...) and no codivide run; give another folder")


def _open_folder(out: Path, resume: bool) -> None:
    """Make the folder; without ``resume`` a run that ``check_folder`` allowed to replace goes away."""
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        for name in _WRITTEN:
            (out / name).unlink(missing_ok=True)


def execute(
    job: Job,
    loaded: Loaded,
    out: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Train, evaluate after every epoch where there is a test part, and write the run folder.

    Args:
        job: method, plan and net.
        loaded: the data; its true labels are used for the record only.
        out: a folder that passed ``check_folder``, made here; None: nothing is written.
        resume: go on from the checkpoint in ``out``.
        progress: called after every epoch with the run and the epoch's record.

    Raises:
        InputError: the data do not suit the job.
    """
    device = resolve_device(job.plan.device)
    views = fit_views(loaded.x, loaded.augment)
    net = nets.auto(loaded.x.shape, device) if job.net == "auto" else job.net
    job = replace(job, net=net)
    data = Data(loaded.x, torch.from_numpy(loaded.y), loaded.classes, views.views())

    def build() -> torch.nn.Module:
        return nets.build(net, loaded.x.shape, len(loaded.classes), job.dropout)

    metrics = _Metrics(out / METRICS if out else None)

    def watch(run: Run) -> dict[str, float]:
        scores = _test_scores(_model(job, run, loaded, views), loaded.test)
        row = run.history[-1] | scores
        metrics.append(run, row)
        if progress is not None:
            progress(run, row)
        return scores

    with torch.random.fork_rng(devices=[]):
        build()  # a wrong net shows before anything is written
    if out is not None:
        _open_folder(out, resume)
    if out is not None and not (out / "config.json").exists():
        write_text(out / "config.json", json.dumps(config(job, loaded), indent=2, default=str) + "\n")
    began = time.perf_counter()
    run = train(job.method, data, build, job.plan, watch, out / CHECKPOINT if out else None, resume)
    model = _model(job, run, loaded, views)
    suggested = model.logits(loaded.x).argmax(1).numpy()
    clean_prob = job.method.clean_prob(run).double().cpu().numpy()
    table = label_table.build(loaded.ids, loaded.y, suggested, clean_prob, loaded.classes, loaded.truth)
    summary = _summary(job, loaded, run, suggested, clean_prob, time.perf_counter() - began)
    if out is not None:
        label_table.write(table, out)
        model.save(out / MODEL)
        write_text(out / "summary.json", json.dumps(summary, indent=2, default=str) + "\n")
    return Outcome(run, model, table, summary)


def config(job: Job, loaded: Loaded) -> dict[str, Any]:
    """Everything that defines a run, as JSON values."""
    names = {cls: name for name, cls in METHODS.items()}
    return {
        "version": __version__,
        "data": loaded.name,
        "samples": len(loaded.y),
        "unlabelled": int((loaded.y < 0).sum()),
        "shape": list(loaded.x.shape),
        "augment": loaded.augment,
        "classes": [str(name) for name in loaded.classes],
        "method": names.get(type(job.method), type(job.method).__name__),
        "hyper_parameters": asdict(job.method),
        "net": job.net,
        "dropout": job.dropout,
        "plan": asdict(job.plan),
        "skipped_files": len(loaded.skipped),
    }


def _model(job: Job, run: Run, loaded: Loaded, views: ViewSpec) -> Model:
    members = job.method.members(run)
    return Model(members, job.net, loaded.x.shape, loaded.x.dtype, loaded.classes, views, run.precision)


def _test_scores(model: Model, test: Loaded | None) -> dict[str, float]:
    if test is None:
        return {}
    known = test.y >= 0
    right = model.logits(test.x).argmax(1).numpy()[known] == test.y[known]
    return {"test_accuracy": float(right.mean())}


class _Metrics:
    """``metrics.jsonl``: one line an epoch, begun afresh from the history where a run goes on."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.started = path, False

    def append(self, run: Run, row: Mapping[str, Any]) -> None:
        if self.path is None:
            return
        if not self.started:
            earlier = "".join(json.dumps(r) + "\n" for r in run.history[:-1])
            write_text(self.path, earlier)
            self.started = True
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _summary(
    job: Job,
    loaded: Loaded,
    run: Run,
    suggested: label_table.Labels,
    clean_prob: label_table.Floats,
    seconds: float,
) -> dict[str, Any]:
    labelled = loaded.y >= 0
    flagged = labelled & (suggested != loaded.y)
    summary: dict[str, Any] = {
        **config(job, loaded),
        "precision": run.precision,
        "epochs": run.epoch,
        "updates": run.step,
        "skipped_updates": run.skipped_updates,
        "label_issues": int(flagged.sum()),
        "training_seconds": round(sum(row["seconds"] for row in run.history), 2),
        "seconds": round(seconds, 2),
        "warnings": [text for row in run.history for text in row.get("warnings", {}).values()],
    }
    tests = [row["test_accuracy"] for row in run.history if "test_accuracy" in row]
    if tests:
        summary["test_accuracy"] = {
            "last": tests[-1],
            "last_10_mean": float(np.mean(tests[-10:])),
            "best": max(tests),  # of the epochs on the test set: it peeks
            "best_epoch": int(np.argmax(tests)) + 1,
        }
    if loaded.truth is not None:
        summary["detection"] = label_table.detection(loaded.y, loaded.truth, clean_prob)
        known = loaded.truth >= 0
        summary["suggestion_accuracy"] = float((suggested == loaded.truth)[known].mean())
    return summary | environment(str(run.device))
