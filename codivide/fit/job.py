"""From loaded data to a trained model, a label table and a run folder: what estimator, command line and bench share."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from codivide.core.device import resolve_device
from codivide.core.errors import InputError, TrainingWarning, unknown
from codivide.core.provenance import environment
from codivide.core.types import AnyFloats, Floats, Labels
from codivide.core.version import VERSION
from codivide.data.loaded import Loaded
from codivide.data.views import ViewSpec, fit_views
from codivide.methods import METHODS
from codivide.methods.auto import Auto
from codivide.methods.dividemix import DivideMix
from codivide.methods.features.learn import Learned, learn
from codivide.methods.features.matrix import raw
from codivide.methods.features.options import Features, refuse
from codivide.noise import learning_curves, synthetic
from codivide.noise import scores as detection
from codivide.noise.clean_prob import combined
from codivide.runs import label_table
from codivide.runs.folder import CHECKPOINT, RunFolder
from codivide.runs.model import Model
from codivide.training import nets, targets
from codivide.training.loop import train
from codivide.training.model_file import Classifier
from codivide.training.plan import Plan
from codivide.training.run import Data, Method, Run

_MEMORY = "learning.predictions"  # of a run: what it predicted for every sample at each recorded epoch
_CONFIDENCE = "learning.confidence"  # the probability of the latest of these predictions
_FEWEST = 100  # labels from which on what was predicted on the way is asked for p(clean)
_PROBS = "learning.probabilities"  # the sum over these epochs of the class probabilities of every sample

#: Everything that a job can do by name: the methods that train networks, the route for features, and the choice.
CHOICES: dict[str, type[Method] | type[Features]] = {**METHODS, "features": Features, "auto": Auto}

Progress = Callable[[Run | None, Mapping[str, Any]], None]


class Witness(NamedTuple):
    """What an earlier run on the same samples, which ended before it memorised them, knows of their labels.

    Attributes:
        evidence: of its ``Outcome``, with ``probs``.
        clean_prob: its p(clean) ``[N]``.
        epochs: it took; what a later run predicts after so many epochs is not asked.
    """

    evidence: Mapping[str, np.ndarray[Any, Any]]
    clean_prob: Floats
    epochs: int


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
        corrections: the decisions of a person that the data carry (see ``audit.corrections``), for the record.
        open: options of a network's training that nobody has set (see ``features.options.unset``), to be chosen.
        choice: what was chosen and why (see ``codivide.fit.choose_rule``), for the record.
        witness: an earlier run that judges the labels together with this one, which memorises them.
    """

    method: Method | Features = field(default_factory=DivideMix)
    plan: Plan = field(default_factory=Plan)
    net: str = "auto"
    dropout: float = 0.0
    source: Mapping[str, Any] = field(default_factory=dict)
    evaluate_every: int | None = None
    record_learning: bool = True
    corrections: Mapping[str, Any] = field(default_factory=dict)
    open: tuple[str, ...] = ()
    choice: Mapping[str, Any] = field(default_factory=dict)
    witness: Witness | None = None

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
        evidence: what the run knows of its training samples, see ``training_evidence``.
    """

    run: Run | None
    history: list[dict[str, Any]]
    model: Classifier
    table: pd.DataFrame
    summary: dict[str, Any]
    evidence: dict[str, np.ndarray[Any, Any]]


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


def name_of(method: Method | Features) -> str:
    """The name of a method in ``CHOICES``, else that of its class."""
    names: dict[type, str] = {cls: name for name, cls in CHOICES.items()}
    return names.get(type(method), type(method).__name__)


def execute(
    job: Job,
    loaded: Loaded,
    out: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    deadline: float | None = None,
) -> Outcome:
    """Train, evaluate, record what is learned of clean and wrong labels, and write the run folder.

    The route for features takes seconds and has no checkpoint: ``resume`` begins it again.

    Args:
        job: method, plan and net.
        loaded: the data; its true labels are used for the record only.
        out: a folder that passed ``check_folder``, made here; None: nothing is written.
        resume: go on from the checkpoint in ``out``.
        progress: called after every epoch with the run and the epoch's record.
        deadline: see ``engine.train``.

    Raises:
        InputError: the data do not suit the job.
    """
    if loaded.test is not None and not (loaded.test.y >= 0).any():
        raise InputError(f"no sample of the test data {loaded.test.name} has a label")
    if isinstance(job.method, Features):
        return _execute_features(job, job.method, loaded, out, progress, deadline)
    method, device = job.method.settled(), resolve_device(job.plan.device)
    views = fit_views(loaded.x, loaded.augment)
    net = nets.auto(loaded.x.shape, device) if job.net == "auto" else job.net
    job = replace(job, net=net, method=method)
    confirmed = None if loaded.confirmed is None else torch.from_numpy(loaded.confirmed)
    data = Data(loaded.x, torch.from_numpy(loaded.y), loaded.classes, views.views(), confirmed)

    def build() -> torch.nn.Module:
        return nets.build(net, loaded.x.shape, len(loaded.classes), job.dropout)

    settings = config(job, loaded)
    folder = RunFolder(out, settings, resume) if out else None

    evaluations = learning_curves.evaluation_epochs(job.plan.epochs, job.evaluate_every)
    learning = _Learning(job, loaded, evaluations) if job.record_learning else None

    def watch(run: Run) -> dict[str, Any]:
        scores: dict[str, Any] = {}
        idle = "stopped" in run.history[-1] and run.epoch < job.plan.epochs  # nothing has changed
        if idle and learning is not None and run.epoch in learning.epochs:
            learning.repeat(run)
        elif run.epoch in evaluations and not idle:
            scores |= _test_scores(_model(job, run, loaded, views), loaded.test)
        if learning is not None and run.epoch in learning.epochs and not idle:
            scores |= learning.look(run, _model(job, run, loaded, views))
        row = run.history[-1] | scores
        if folder is not None:
            folder.append(run.history, row)
        if progress is not None:
            progress(run, row)
        return scores

    with torch.random.fork_rng(devices=[]):
        build()  # a wrong net shows before anything is written
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    names = ("version", "net", "dropout", "augment", "evaluate_every", "record_learning", "encoder")
    identity = {name: settings[name] for name in names if name in settings}
    checkpoint = out / CHECKPOINT if out else None
    run = train(method, data, build, job.plan, watch, checkpoint, resume, identity, deadline)
    model = _model(job, run, loaded, views)
    judged, evidence = _judge(job, run, model, loaded, learning)
    trained = {
        "precision": run.precision,
        "epochs": run.epoch,
        "updates": run.step,
        "skipped_updates": run.skipped_updates,
        "seconds": round(time.perf_counter() - began, 2),
    }
    table = judged.table(loaded)
    summary = _summary(job, loaded, run.history, judged, trained) | environment(str(run.device))
    if folder is not None:
        if learning is not None:
            folder.write_predictions(learning.epochs, loaded.classes, evidence)
            folder.write_history(run.history)  # again, with what ``close`` added
        folder.write_results(loaded, model, table, summary)
    return Outcome(run, run.history, model, table, summary, evidence)


def _judge(
    job: Job, run: Run, model: Model, loaded: Loaded, learning: _Learning | None
) -> tuple[_Judged, dict[str, np.ndarray[Any, Any]]]:
    """What a finished run, and the witness that it may have, say of every sample, and what that rests on."""
    evidence = training_evidence(run)
    if learning is None:
        suggested, suggested_prob, probs = _suggestions(model, loaded)
        own = evidence | {"probs": probs}
    else:
        suggested, suggested_prob = learning.close(run)
        evidence |= learning.votes(run)
        own = evidence
    if not np.isfinite(suggested_prob).all():
        raise InputError("training diverged: what the network says is not finite; use a lower lr")
    if job.witness is None:
        return _Judged(suggested, suggested_prob, _clean_prob(run, own, learning is not None)), own
    evidence |= _joined(evidence, job.witness)
    mean: Floats = evidence["probs"].astype(np.float64)
    clean_prob = _pinned(run, combined(mean, evidence["given"], job.witness.clean_prob))
    labelled = evidence["given"] >= 0  # the others have nothing to memorise
    suggested = np.where(labelled, mean.argmax(1), suggested)
    suggested_prob = np.where(labelled, mean.max(1), suggested_prob)
    return _Judged(suggested, suggested_prob, clean_prob), evidence


def _joined(evidence: Mapping[str, np.ndarray[Any, Any]], witness: Witness) -> dict[str, np.ndarray[Any, Any]]:
    """The witness's evidence; its probabilities are averaged with those that were recorded as long as it lasted."""
    found = {name: witness.evidence[name] for name in ("mean_loss", "set_aside", "probs")}
    if "probs" in evidence:
        both = evidence["probs"].astype(np.float32) + found["probs"].astype(np.float32)
        found["probs"] = (both / both.sum(1, keepdims=True)).astype(np.float16)
    return found | {"witnessed": np.asarray(True)}


def _clean_prob(run: Run, evidence: Mapping[str, np.ndarray[Any, Any]], recorded: bool) -> AnyFloats:
    """p(clean) ``[N]`` by the method's rule and the recorded predictions; without a record, by the rule alone."""
    own = run.clean_prob().double().cpu().numpy()
    if not recorded or "probs" not in evidence or (evidence["given"] >= 0).sum() < _FEWEST:
        return own
    aside = bool(evidence["set_aside"])
    return _pinned(run, combined(evidence["probs"], evidence["given"], own, set_aside=aside))


def _pinned(run: Run, clean_prob: AnyFloats) -> AnyFloats:
    """p(clean) that is 1 where a person vouches for the label."""
    return run.pin(torch.from_numpy(clean_prob).to(run.device)).cpu().numpy()


def _execute_features(
    job: Job, method: Features, loaded: Loaded, out: Path | None, progress: Progress | None, deadline: float | None
) -> Outcome:
    """``execute`` for the route for features: the same folder, one record a round."""
    if len(loaded.x.shape) != 1:
        raise InputError(
            f"the method features takes tables of numbers, one row a sample; {loaded.name} has images of shape "
            f"{loaded.x.shape}. Encode them (--encoder efficientnet-lite0), or choose another method (see `codivide "
            "methods`)"
        )
    began = time.perf_counter()
    watch = None if progress is None else lambda row: progress(None, row)
    confirmed = None if loaded.confirmed is None else torch.from_numpy(loaded.confirmed)
    given = torch.from_numpy(loaded.y)
    answers = None if loaded.annotations is None else torch.from_numpy(loaded.annotations.likelihood)
    learned = learn(raw(loaded.x), given, loaded.classes, method, job.plan.seed, watch, confirmed, answers, deadline)
    model, history = replace(learned.model, encoder=loaded.encoder), learned.records
    history[-1] |= _cross_fitted_record(learned, loaded) | _test_scores(model, loaded.test)
    if learned.remarks:
        history[-1]["warnings"] = learned.remarks
    judged = _Judged(
        learned.suggested.numpy(),
        learned.probs.gather(1, learned.suggested.unsqueeze(1)).squeeze(1).double().numpy(),
        learned.clean_prob.numpy(),
    )
    trained = {"epochs": len(history), "learned": learned.report, "seconds": round(time.perf_counter() - began, 2)}
    table = judged.table(loaded)
    summary = _summary(job, loaded, history, judged, trained) | environment()
    evidence = learned.evidence(given)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        folder = RunFolder(out, config(job, loaded))
        folder.begin()
        folder.write_history(history)
        folder.write_predictions([len(history)], loaded.classes, evidence)
        folder.write_results(loaded, model, table, summary)
    return Outcome(None, history, model, table, summary, evidence)


def _cross_fitted_record(learned: Learned, loaded: Loaded) -> dict[str, Any]:
    """What the cross-fitted probabilities say of the training set, as the last epoch of a network's run says."""
    losses = -learned.seen.double().clamp_min(torch.finfo(torch.float32).tiny).log()
    return learning_curves.record(learned.probs.argmax(1).numpy(), losses.numpy(), loaded.y, loaded.truth)


class _Judged(NamedTuple):
    """What is said of every sample: a label ``[N]``, its probability, and p(clean) of the given one."""

    suggested: Labels
    suggested_prob: AnyFloats
    clean_prob: AnyFloats

    def table(self, loaded: Loaded) -> pd.DataFrame:
        """The label table."""
        table = label_table.build(
            *(loaded.ids, loaded.y, self.suggested, self.clean_prob, loaded.classes, loaded.truth),
            *(self.suggested_prob, loaded.texts),
        )
        if loaded.confirmed is not None:
            table["confirmed"] = loaded.confirmed
        return table


def config(job: Job, loaded: Loaded) -> dict[str, Any]:
    """Everything that defines a run, as JSON values."""
    return {
        "version": VERSION,
        "data": loaded.name,
        "source": dict(job.source),
        "working_folder": str(Path.cwd()),  # what relative paths of the source start from
        "corrections": dict(job.corrections),
        "samples": len(loaded.y),
        "unlabelled": int((loaded.y < 0).sum()),
        "shape": list(loaded.x.shape),
        "augment": loaded.augment,
        "classes": [str(name) for name in loaded.classes],
        "method": name_of(job.method),
        "hyper_parameters": asdict(job.method),
        "net": job.net,
        "dropout": job.dropout,
        "plan": asdict(job.plan),
        "evaluate_every": job.evaluate_every,
        "record_learning": job.record_learning,
        **({"choice": dict(job.choice)} if job.choice else {}),
        "skipped_files": len(loaded.skipped),
        **({"encoder": loaded.encoder.name} if loaded.encoder is not None else {}),
    }


def _model(job: Job, run: Run, loaded: Loaded, views: ViewSpec) -> Model:
    members = run.method.members(run)
    return Model(members, job.net, loaded.x.shape, loaded.x.dtype, loaded.classes, views, run.precision, loaded.encoder)


def _suggestions(model: Model, loaded: Loaded) -> tuple[Labels, AnyFloats, np.ndarray[Any, np.dtype[np.float16]]]:
    """The likeliest class ``[N]`` of every sample, its probability, and the probabilities of all classes ``[N, C]``."""
    logits = model.logits(loaded.x)
    probs = torch.softmax(logits, 1)
    return logits.argmax(1).numpy(), probs.amax(1).double().numpy(), probs.half().numpy()


def _test_scores(model: Classifier, test: Loaded | None) -> dict[str, float]:
    if test is None:
        return {}
    known = test.y >= 0
    right = model.logits(test.x).argmax(1).numpy()[known] == test.y[known]
    return {"test_accuracy": float(right.mean())}


class _Learning:
    """The record of what is learned of clean and of wrong labels; kept in the run's memory, so that it is resumed."""

    def __init__(self, job: Job, loaded: Loaded, evaluations: Sequence[int]) -> None:
        self.loaded, self.dtype = loaded, learning_curves.prediction_type(len(loaded.classes))
        samples = len(loaded.y) * self.dtype.itemsize
        self.epochs = learning_curves.recorded_epochs(evaluations, samples)
        self.fewer = len(self.epochs) < len(learning_curves.recorded_epochs(evaluations, 1))
        self.detailed = learning_curves.histogram_epochs(self.epochs, asdict(job.method).get("warmup"))
        self.classes = len(loaded.classes)
        self.asked = job.witness.epochs if job.witness else job.plan.epochs  # until when the probabilities count
        self.keeps_probs = 4 * len(loaded.y) * self.classes <= learning_curves.MOST_BYTES

    def _predictions(self, run: Run) -> torch.Tensor:
        """``[N, K]``, one column a recorded epoch."""
        return run.remember(_MEMORY, len(self.epochs), dtype=self.dtype)

    def look(self, run: Run, model: Model) -> dict[str, Any]:
        """The record of the epoch that has just ended."""
        size = run.plan.evaluation_batch
        parts: list[torch.Tensor] = []
        losses: list[torch.Tensor] = []
        confidence: list[torch.Tensor] = []
        for logits, given in zip(model.batches(run.data.x, size), torch.split(run.data.y, size), strict=True):
            probs = torch.softmax(logits, 1)
            if self.keeps_probs and run.epoch <= self.asked:
                total = run.remember(_PROBS, self.classes)[size * len(parts) :][: len(logits)]
                total += probs
            parts.append(logits.argmax(1))
            confidence.append(probs.amax(1))
            losses.append(targets.sample_loss(logits, given))
        predicted = torch.cat(parts)
        self._predictions(run)[:, self.epochs.index(run.epoch)] = predicted.to(self.dtype)
        run.remember(_CONFIDENCE)[:] = torch.cat(confidence)
        row = learning_curves.record(
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

    def repeat(self, run: Run) -> None:
        """The record of an epoch in which nothing was learned: the predictions of the record before it."""
        number = self.epochs.index(run.epoch)
        if number:
            self._predictions(run)[:, number] = self._predictions(run)[:, number - 1]

    def close(self, run: Run) -> tuple[Labels, AnyFloats]:
        """Tell every record how far it agrees with the last one, which is returned: int64 ``[N]``, probability."""
        predictions = self._predictions(run).T.cpu().numpy()
        for epoch, share in zip(self.epochs, learning_curves.final_agreement(predictions), strict=True):
            run.history[epoch - 1]["final_agreement"] = share
        return predictions[-1].astype(np.int64), run.remember(_CONFIDENCE).double().cpu().numpy()

    def votes(self, run: Run) -> dict[str, np.ndarray[Any, Any]]:
        """``predictions [K, N]``, the likeliest class of every sample at each recorded epoch."""
        return {"predictions": self._predictions(run).T.cpu().numpy()}


def training_evidence(run: Run) -> dict[str, np.ndarray[Any, Any]]:
    """What a run knows of its training samples, for judging their labels.

    Returns:
        ``given`` labels ``[N]`` (-1: none); ``mean_loss`` float32 ``[N]``, cross-entropy on the given label averaged
        over training (NaN where never looked at); ``set_aside``, bool, ``Method.sets_aside``; and ``probs`` float16
        ``[N, C]``, class probabilities averaged over the recorded epochs, absent where none were recorded or they would
        take more than 64 MB.
    """
    count = run.remember("loss_count")
    mean = torch.where(count > 0, run.remember("loss_sum") / count.clamp_min(1), torch.nan)
    held = {
        "given": run.data.y.cpu().numpy(),
        "mean_loss": mean.float().cpu().numpy(),
        "set_aside": np.asarray(run.method.sets_aside),
    }
    if _PROBS in run.memory:
        total = run.memory[_PROBS]
        held["probs"] = (total / total.sum(1, keepdim=True)).half().cpu().numpy()
    return held


def _summary(
    job: Job,
    loaded: Loaded,
    history: Sequence[Mapping[str, Any]],
    judged: _Judged,
    trained: Mapping[str, Any],
) -> dict[str, Any]:
    labelled = loaded.y >= 0
    flagged = labelled & (judged.suggested != loaded.y)
    flagged &= True if loaded.confirmed is None else ~loaded.confirmed
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
    if loaded.annotations is not None:
        summary["annotators"] = loaded.annotations.annotators()
    if loaded.truth is not None:
        summary["noise"] = synthetic.summary(loaded.truth, loaded.y, len(loaded.classes))
        summary["detection"] = detection.detection(loaded.y, loaded.truth, judged.clean_prob)
        known = loaded.truth >= 0
        summary["suggestion_accuracy"] = float((judged.suggested == loaded.truth)[known].mean())
    return summary
