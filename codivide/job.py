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
from codivide.data import noise
from codivide.data.loaded import Loaded
from codivide.data.views import ViewSpec, fit_views
from codivide.engine import Data, Method, Run, train
from codivide.errors import InputError, unknown
from codivide.files import atomic, write_text
from codivide.methods import METHODS
from codivide.methods.dividemix import DivideMix
from codivide.model import Model
from codivide.plan import Plan, resolve_device
from codivide.record import environment

MODEL, CHECKPOINT, METRICS = "model.safetensors", "checkpoint.safetensors", "metrics.jsonl"
_WRITTEN = ("config.json", METRICS, "labels.csv", "labels.parquet", MODEL, CHECKPOINT, "summary.json", "skipped.csv")

Progress = Callable[[Run, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Job:
    """What to train, apart from the data.

    Attributes:
        method: the algorithm with its hyper-parameters.
        plan: optimizer, schedule, precision, device, seed.
        net: a name that ``nets.build`` knows, or "auto".
        dropout: of the network, before its last layer, in [0, 1).
        source: where the data came from and what was done to them (path, noise, part), for the record.
    """

    method: Method = field(default_factory=DivideMix)
    plan: Plan = field(default_factory=Plan)
    net: str = "auto"
    dropout: float = 0.0
    source: Mapping[str, Any] = field(default_factory=dict)
    evaluate_every: int | None = None


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


def default_plan(samples: int, method: Method | None = None, **given: Any) -> Plan:
    """The plan for a data set of this size: step schedule, down at half time; what the method asks for wins over it.

    A field of ``given`` that is not None wins over both. Without epochs there are ``default_epochs(samples)``; "step"
    without milestones steps at half time, as DivideMix does.
    """
    settings: dict[str, Any] = {"schedule": "step", **(method.settings if method else {})}
    settings |= {name: value for name, value in given.items() if value is not None}
    settings.setdefault("epochs", default_epochs(samples))
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
    held = sorted(p.name for p in out.iterdir() if p.suffix != ".part") if out.exists() else []
    if held and not resume and not overwrite:
        raise InputError(f"--out {out} exists and is not empty; use --resume, --overwrite or another folder")
    if not set(held) <= set(_WRITTEN) and "config.json" not in held:
        raise InputError(f"--out {out} holds other files ({held[0]}, ...) and no codivide run; give another folder")


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
    if loaded.test is not None and not (loaded.test.y >= 0).any():
        raise InputError(f"no sample of the test data {loaded.test.name} has a label")
    views = fit_views(loaded.x, loaded.augment)
    net = nets.auto(loaded.x.shape, device) if job.net == "auto" else job.net
    job = replace(job, net=net)
    data = Data(loaded.x, torch.from_numpy(loaded.y), loaded.classes, views.views())

    def build() -> torch.nn.Module:
        return nets.build(net, loaded.x.shape, len(loaded.classes), job.dropout)

    settings = config(job, loaded)
    folder = _Folder(out, settings, resume) if out else None

    def watch(run: Run) -> dict[str, float]:
        due = run.epoch == job.plan.epochs or run.epoch % (job.evaluate_every or 1) == 0
        scores = _test_scores(_model(job, run, loaded, views), loaded.test) if due else {}
        row = run.history[-1] | scores
        if folder is not None:
            folder.append(run, row)
        if progress is not None:
            progress(run, row)
        return scores

    with torch.random.fork_rng(devices=[]):
        build()  # a wrong net shows before anything is written
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    identity = {name: settings[name] for name in ("version", "net", "dropout", "augment")}
    run = train(job.method, data, build, job.plan, watch, out / CHECKPOINT if out else None, resume, identity)
    model = _model(job, run, loaded, views)
    suggested = model.logits(loaded.x).argmax(1).numpy()
    clean_prob = job.method.clean_prob(run).double().cpu().numpy()
    table = label_table.build(loaded.ids, loaded.y, suggested, clean_prob, loaded.classes, loaded.truth)
    summary = _summary(job, loaded, run, suggested, clean_prob, time.perf_counter() - began)
    if out is not None:
        label_table.write(table, out)
        if loaded.skipped:
            with atomic(out / "skipped.csv") as aside:
                pd.DataFrame(loaded.skipped, columns=["path", "reason"]).to_csv(aside, index=False)
        model.save(out / MODEL)
        write_text(out / "summary.json", json.dumps(summary, indent=2, default=str) + "\n")
    return Outcome(run, model, table, summary)


def config(job: Job, loaded: Loaded) -> dict[str, Any]:
    """Everything that defines a run, as JSON values."""
    names = {cls: name for name, cls in METHODS.items()}
    return {
        "version": __version__,
        "data": loaded.name,
        "source": dict(job.source),
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


class _Folder:
    """A run folder, begun when the first epoch is done: a run that fails before leaves an older one as it was."""

    def __init__(self, path: Path, settings: Mapping[str, Any], resume: bool) -> None:
        self.path, self.settings, self.resume, self.begun = path, settings, resume, False

    def append(self, run: Run, row: Mapping[str, Any]) -> None:
        """Add an epoch to ``metrics.jsonl``, which follows the history of the run."""
        if not self.begun:
            self.begun = True
            if not (self.resume and (self.path / CHECKPOINT).exists()):
                for name in _WRITTEN:
                    (self.path / name).unlink(missing_ok=True)
                write_text(self.path / "config.json", json.dumps(self.settings, indent=2, default=str) + "\n")
            for left in self.path.glob("*.part"):  # of a run that was killed while it wrote
                left.unlink()
            write_text(self.path / METRICS, "".join(json.dumps(r) + "\n" for r in run.history[:-1]))
        with open(self.path / METRICS, "a", encoding="utf-8") as file:
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
        summary["noise"] = noise.summary(loaded.truth, loaded.y, len(loaded.classes))
        summary["detection"] = label_table.detection(loaded.y, loaded.truth, clean_prob)
        known = loaded.truth >= 0
        summary["suggestion_accuracy"] = float((suggested == loaded.truth)[known].mean())
    return summary | environment(str(run.device))
