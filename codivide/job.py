"""From loaded data to a trained model, a label table and a run folder: what estimator, command line and bench share."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from codivide import __version__, early_learning, functional, label_table, nets
from codivide.data import noise
from codivide.data.loaded import Loaded
from codivide.data.views import ViewSpec, fit_views
from codivide.engine import Data, Method, Run, train
from codivide.errors import InputError, TrainingWarning, unknown
from codivide.features.learn import Learned, learn
from codivide.features.matrix import raw
from codivide.features.options import Features, refuse
from codivide.files import atomic, write_text
from codivide.methods import METHODS
from codivide.methods.dividemix import DivideMix
from codivide.model import Model
from codivide.model_file import Classifier
from codivide.plan import Plan, resolve_device
from codivide.record import environment

MODEL, CHECKPOINT, METRICS = "model.safetensors", "checkpoint.safetensors", "metrics.jsonl"
PREDICTIONS = "predictions.npz"
PICTURES = tuple(f"{name}.{kind}" for name in ("learning", "curves", "losses") for kind in ("png", "svg"))
_WRITTEN = (
    *("config.json", METRICS, "labels.csv", "labels.parquet", PREDICTIONS, MODEL, CHECKPOINT, "summary.json"),
    *("skipped.csv", *PICTURES),
)
_MEMORY = "learning.predictions"  # of a run: what it predicted for every sample at each recorded epoch

#: Everything that a job can do by name: the methods that train networks, and the route for features.
CHOICES: dict[str, type[Method] | type[Features]] = {**METHODS, "features": Features}

Progress = Callable[[Run | None, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Job:
    """What to train, apart from the data.

    Attributes:
        method: the algorithm with its hyper-parameters.
        plan: optimizer, schedule, precision, device, seed; of the route for features only the seed is used.
        net: a name that ``nets.build`` knows, or "auto".
        dropout: of the network, before its last layer, in [0, 1).
        source: where the data came from and what was done to them (path, noise, part), for the record.
        evaluate_every: epochs between evaluations on the test part, the last epoch always being one; None: every epoch
            up to 100 epochs, else about 100 evaluations that include the last 10 epochs.
        record_learning: look at the training set, too, at up to about 50 of these epochs (see ``early_learning``);
            each look costs a forward pass.
    """

    method: Method | Features = field(default_factory=DivideMix)
    plan: Plan = field(default_factory=Plan)
    net: str = "auto"
    dropout: float = 0.0
    source: Mapping[str, Any] = field(default_factory=dict)
    evaluate_every: int | None = None
    record_learning: bool = True

    def __post_init__(self) -> None:
        if self.evaluate_every is not None and self.evaluate_every < 1:
            raise InputError(f"evaluate_every is {self.evaluate_every}; it must be at least 1")


@dataclass
class Outcome:
    """What a run gives back.

    Attributes:
        run: the finished run; None where no network was trained.
        history: one record an epoch, or a round.
        model: the classifier.
        table: every sample with given label, suggestion and probability of being clean (see ``label_table.build``).
        summary: the numbers of ``summary.json``.
    """

    run: Run | None
    history: list[dict[str, Any]]
    model: Classifier
    table: pd.DataFrame
    summary: dict[str, Any]


def default_epochs(samples: int) -> int:
    """About 4,000 updates of batches of 64, between 30 and 200 epochs."""
    return min(max(math.ceil(4_000 * 64 / max(samples, 1)), 30), 200)


def default_plan(samples: int, method: Method | Features | None = None, **given: Any) -> Plan:
    """The plan for a data set of this size: step schedule, down at half time; what the method asks for wins over it.

    A field of ``given`` that is not None wins over both. Without epochs there are ``default_epochs(samples)``; "step"
    without milestones steps at half time, as DivideMix does. The route for features has its rounds for epochs.

    Raises:
        InputError: a setting out of range, or one that does not apply to the method.
    """
    if isinstance(method, Features):
        refuse(given)
        return Plan(epochs=method.rounds(), schedule="constant", seed=given.get("seed") or 0)
    settings: dict[str, Any] = {"schedule": "step", **(method.settings if method else {})}
    settings |= {name: value for name, value in given.items() if value is not None}
    settings.setdefault("epochs", default_epochs(samples))
    if settings["schedule"] == "step" and not settings.get("milestones"):
        settings["milestones"] = (max(1, settings["epochs"] // 2),)
    return Plan(**settings)


def build_method(name: str, **hyper: Any) -> Method | Features:
    """A method by name with hyper-parameters; InputError names the nearest known one."""
    if name not in CHOICES:
        raise unknown("method", name, CHOICES)
    known = [item.name for item in fields(CHOICES[name])]
    for key in hyper:
        if key not in known:
            raise unknown(f"hyper-parameter of {name}", key, known)
    return CHOICES[name](**hyper)


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
    """Train, evaluate, record what is learned of clean and wrong labels, and write the run folder.

    The route for features takes seconds and has no checkpoint: ``resume`` begins it again.

    Args:
        job: method, plan and net.
        loaded: the data; its true labels are used for the record only.
        out: a folder that passed ``check_folder``, made here; None: nothing is written.
        resume: go on from the checkpoint in ``out``.
        progress: called after every epoch with the run and the epoch's record.

    Raises:
        InputError: the data do not suit the job.
    """
    if loaded.test is not None and not (loaded.test.y >= 0).any():
        raise InputError(f"no sample of the test data {loaded.test.name} has a label")
    if isinstance(job.method, Features):
        return _execute_features(job, job.method, loaded, out, progress)
    method, device = job.method, resolve_device(job.plan.device)
    views = fit_views(loaded.x, loaded.augment)
    net = nets.auto(loaded.x.shape, device) if job.net == "auto" else job.net
    job = replace(job, net=net)
    data = Data(loaded.x, torch.from_numpy(loaded.y), loaded.classes, views.views())

    def build() -> torch.nn.Module:
        return nets.build(net, loaded.x.shape, len(loaded.classes), job.dropout)

    settings = config(job, loaded)
    folder = _Folder(out, settings, resume) if out else None

    evaluations = early_learning.evaluation_epochs(job.plan.epochs, job.evaluate_every)
    learning = _Learning(job, loaded, evaluations) if job.record_learning else None

    def watch(run: Run) -> dict[str, Any]:
        scores: dict[str, Any] = {}
        if run.epoch in evaluations:
            scores |= _test_scores(_model(job, run, loaded, views), loaded.test)
        if learning is not None and run.epoch in learning.epochs:
            scores |= learning.look(run, _model(job, run, loaded, views))
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
    names = ("version", "net", "dropout", "augment", "evaluate_every", "record_learning")
    identity = {name: settings[name] for name in names}
    run = train(method, data, build, job.plan, watch, out / CHECKPOINT if out else None, resume, identity)
    model = _model(job, run, loaded, views)
    suggested = learning.close(run) if learning else model.logits(loaded.x).argmax(1).numpy()
    clean_prob = method.clean_prob(run).double().cpu().numpy()
    table = label_table.build(loaded.ids, loaded.y, suggested, clean_prob, loaded.classes, loaded.truth)
    trained = {
        "precision": run.precision,
        "epochs": run.epoch,
        "updates": run.step,
        "skipped_updates": run.skipped_updates,
        "seconds": round(time.perf_counter() - began, 2),
    }
    summary = _summary(job, loaded, run.history, suggested, clean_prob, trained) | environment(str(run.device))
    if out is not None:
        if learning is not None:
            learning.write(run, out)
        _write_results(out, loaded, model, table, summary)
    return Outcome(run, run.history, model, table, summary)


def _execute_features(
    job: Job, method: Features, loaded: Loaded, out: Path | None, progress: Progress | None
) -> Outcome:
    """``execute`` for the route for features: the same folder, one record a round."""
    if len(loaded.x.shape) != 1:
        raise InputError(
            f"the method features takes tables of numbers, one row a sample; {loaded.name} has images of shape "
            f"{loaded.x.shape}. Choose another method (see `codivide methods`), or encode the images first"
        )
    began = time.perf_counter()
    watch = None if progress is None else lambda row: progress(None, row)
    learned = learn(raw(loaded.x), torch.from_numpy(loaded.y), loaded.classes, method, job.plan.seed, watch)
    history, suggested, clean_prob = learned.records, learned.suggested.numpy(), learned.clean_prob.numpy()
    history[-1] |= _cross_fitted_record(learned, loaded) | _test_scores(learned.model, loaded.test)
    if learned.remarks:
        history[-1]["warnings"] = learned.remarks
    trained = {"epochs": len(history), "learned": learned.report, "seconds": round(time.perf_counter() - began, 2)}
    table = label_table.build(loaded.ids, loaded.y, suggested, clean_prob, loaded.classes, loaded.truth)
    summary = _summary(job, loaded, history, suggested, clean_prob, trained) | environment()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        _clear(out)
        write_text(out / "config.json", json.dumps(config(job, loaded), indent=2, default=str) + "\n")
        write_text(out / METRICS, "".join(json.dumps(row) + "\n" for row in history))
        predicted = learned.probs.argmax(1).to(early_learning.prediction_type(len(loaded.classes))).numpy()
        _write_predictions(out, loaded, [len(history)], predicted[None], learned.probs.numpy())
        _write_results(out, loaded, learned.model, table, summary)
    return Outcome(None, history, learned.model, table, summary)


def _cross_fitted_record(learned: Learned, loaded: Loaded) -> dict[str, Any]:
    """What the cross-fitted probabilities say of the training set, as the last epoch of a network's run says."""
    given = torch.from_numpy(loaded.y)
    own = learned.probs.gather(1, given.clamp_min(0).unsqueeze(1)).squeeze(1)
    losses = -own.clamp_min(torch.finfo(torch.float32).tiny).log()
    losses[given < 0] = torch.nan
    return early_learning.record(learned.probs.argmax(1).numpy(), losses.numpy(), loaded.y, loaded.truth)


def _write_results(
    out: Path, loaded: Loaded, model: Classifier, table: pd.DataFrame, summary: Mapping[str, Any]
) -> None:
    """Label table, skipped files, model and, last, the summary: a folder that has it is complete."""
    label_table.write(table, out)
    if loaded.skipped:
        with atomic(out / "skipped.csv") as aside:
            pd.DataFrame(loaded.skipped, columns=["path", "reason"]).to_csv(aside, index=False)
    model.save(out / MODEL)
    write_text(out / "summary.json", json.dumps(summary, indent=2, default=str) + "\n")


def _write_predictions(
    out: Path, loaded: Loaded, epochs: Sequence[int], predictions: Any, probs: Any | None = None
) -> None:
    """``predictions.npz``: ``[K, N]`` at the recorded epochs; cross-fitted probabilities ``[N, C]`` where there are."""
    more = {} if probs is None else {"probs": probs}
    with atomic(out / PREDICTIONS) as aside, open(aside, "wb") as file:
        np.savez_compressed(
            file,
            epochs=np.asarray(epochs),
            predictions=predictions,
            classes=np.asarray([str(name) for name in loaded.classes]),
            **more,
        )


def _clear(out: Path) -> None:
    """Remove what an older run wrote."""
    for name in _WRITTEN:
        (out / name).unlink(missing_ok=True)


def config(job: Job, loaded: Loaded) -> dict[str, Any]:
    """Everything that defines a run, as JSON values."""
    names: dict[type, str] = {cls: name for name, cls in CHOICES.items()}
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
        "evaluate_every": job.evaluate_every,
        "record_learning": job.record_learning,
        "skipped_files": len(loaded.skipped),
    }


def _model(job: Job, run: Run, loaded: Loaded, views: ViewSpec) -> Model:
    members = job.method.members(run)
    return Model(members, job.net, loaded.x.shape, loaded.x.dtype, loaded.classes, views, run.precision)


def _test_scores(model: Classifier, test: Loaded | None) -> dict[str, float]:
    if test is None:
        return {}
    known = test.y >= 0
    right = model.logits(test.x).argmax(1).numpy()[known] == test.y[known]
    return {"test_accuracy": float(right.mean())}


class _Learning:
    """The record of what is learned of clean and of wrong labels; kept in the run's memory, so that it is resumed."""

    def __init__(self, job: Job, loaded: Loaded, evaluations: Sequence[int]) -> None:
        self.loaded, self.dtype = loaded, early_learning.prediction_type(len(loaded.classes))
        samples = len(loaded.y) * self.dtype.itemsize
        self.epochs = early_learning.recorded_epochs(evaluations, samples)
        self.fewer = len(self.epochs) < len(early_learning.recorded_epochs(evaluations, 1))
        self.detailed = early_learning.histogram_epochs(self.epochs, asdict(job.method).get("warmup"))

    def _predictions(self, run: Run) -> torch.Tensor:
        """``[N, K]``, one column a recorded epoch."""
        return run.remember(_MEMORY, len(self.epochs), dtype=self.dtype)

    def look(self, run: Run, model: Model) -> dict[str, Any]:
        """The record of the epoch that has just ended."""
        size, parts, losses = run.plan.evaluation_batch, [], []
        for logits, given in zip(model.batches(run.data.x, size), torch.split(run.data.y, size), strict=True):
            parts.append(logits.argmax(1))
            losses.append(functional.sample_loss(logits, given))
        predicted = torch.cat(parts)
        self._predictions(run)[:, self.epochs.index(run.epoch)] = predicted.to(self.dtype)
        row = early_learning.record(
            predicted.cpu().numpy(),
            torch.cat(losses).cpu().numpy(),
            self.loaded.y,
            self.loaded.truth,
            histogram=run.epoch in self.detailed,
        )
        if self.fewer and run.epoch == self.epochs[0]:
            text = f"so many samples that what they are predicted as is recorded at {len(self.epochs)} epochs only"
            warnings.warn(text, TrainingWarning, stacklevel=2)
            row["warnings"] = run.history[-1].get("warnings", {}) | {"learning": text}
        return row

    def close(self, run: Run) -> label_table.Labels:
        """Tell every record how far it agrees with the last one, which is returned as int64 ``[N]``."""
        predictions = self._predictions(run).T.cpu().numpy()
        for epoch, share in zip(self.epochs, early_learning.final_agreement(predictions), strict=True):
            run.history[epoch - 1]["final_agreement"] = share
        last: label_table.Labels = predictions[-1].astype(np.int64)
        return last

    def write(self, run: Run, folder: Path) -> None:
        """``predictions.npz``, and ``metrics.jsonl`` again with what ``close`` added."""
        _write_predictions(folder, self.loaded, self.epochs, self._predictions(run).T.cpu().numpy())
        write_text(folder / METRICS, "".join(json.dumps(row) + "\n" for row in run.history))


class _Folder:
    """A run folder, begun when the first epoch is done: a run that fails before leaves an older one as it was."""

    def __init__(self, path: Path, settings: Mapping[str, Any], resume: bool) -> None:
        self.path, self.settings, self.resume, self.begun = path, settings, resume, False

    def append(self, run: Run, row: Mapping[str, Any]) -> None:
        """Add an epoch to ``metrics.jsonl``, which follows the history of the run."""
        if not self.begun:
            self.begun = True
            if not (self.resume and (self.path / CHECKPOINT).exists()):
                _clear(self.path)
                write_text(self.path / "config.json", json.dumps(self.settings, indent=2, default=str) + "\n")
            for left in self.path.glob("*.part"):  # of a run that was killed while it wrote
                left.unlink()
            write_text(self.path / METRICS, "".join(json.dumps(r) + "\n" for r in run.history[:-1]))
        with open(self.path / METRICS, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _summary(
    job: Job,
    loaded: Loaded,
    history: Sequence[Mapping[str, Any]],
    suggested: label_table.Labels,
    clean_prob: label_table.Floats,
    trained: Mapping[str, Any],
) -> dict[str, Any]:
    labelled = loaded.y >= 0
    flagged = labelled & (suggested != loaded.y)
    summary: dict[str, Any] = {
        **config(job, loaded),
        **trained,
        "label_issues": int(flagged.sum()),
        "training_seconds": round(sum(row["seconds"] for row in history), 2),
        "warnings": [text for row in history for text in row.get("warnings", {}).values()],
    }
    tests = {row["epoch"]: row["test_accuracy"] for row in history if "test_accuracy" in row}
    if tests:
        best = max(tests, key=tests.__getitem__)  # of the evaluations on the test set: it peeks
        summary["test_accuracy"] = {
            "last": tests[history[-1]["epoch"]],
            "last_10_mean": float(np.mean(list(tests.values())[-10:])),  # of the last 10 evaluations
            "last_20_median": float(np.median(list(tests.values())[-20:])),  # what semi-supervised papers report
            "best": tests[best],
            "best_epoch": best,
            "evaluations": len(tests),
        }
    if loaded.truth is not None:
        summary["noise"] = noise.summary(loaded.truth, loaded.y, len(loaded.classes))
        summary["detection"] = label_table.detection(loaded.y, loaded.truth, clean_prob)
        known = loaded.truth >= 0
        summary["suggestion_accuracy"] = float((suggested == loaded.truth)[known].mean())
    return summary
