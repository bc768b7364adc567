"""From loaded data to a trained model, a label table and a run folder: what estimator, command line and bench share."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from codivide.audit import checks
from codivide.core.device import resolve_device
from codivide.core.errors import InputError, TrainingWarning, option
from codivide.core.provenance import environment
from codivide.core.version import VERSION
from codivide.data import columns, encode
from codivide.data.fingerprint import fingerprint
from codivide.data.groups import tensors, together
from codivide.data.label_remarks import are_no_classes, label_remarks
from codivide.data.loaded import Loaded
from codivide.data.record import DataRecord
from codivide.data.views import ViewSpec, fit_views
from codivide.fit import followers, test_part, verdict
from codivide.fit.choice import Choice
from codivide.fit.job import Before, Job, Outcome, Progress, name_of
from codivide.fit.judging import Judged, judge, spared, with_alike
from codivide.fit.learning import Learning, warned
from codivide.fit.resume import identity
from codivide.fit.selection import Selection
from codivide.methods.features import rule_like
from codivide.methods.features.learn import Learned, learn
from codivide.methods.features.matrix import raw
from codivide.methods.features.options import Features
from codivide.methods.features.table import Own, Table
from codivide.noise import learning_curves, scores, settle, synthetic
from codivide.noise.too_small import FEWEST
from codivide.runs import label_table
from codivide.runs.folder import CHECKPOINT, IDENTITY, RunFolder
from codivide.runs.model import Model
from codivide.training import nets
from codivide.training.checkpoint import Checkpoint
from codivide.training.loop import train
from codivide.training.model_file import Classifier
from codivide.training.own_net import OwnNet, check_logits
from codivide.training.ranks import here
from codivide.training.run import Data, Method, Run
from codivide.training.timm_names import Expected, expected

_COPIES = 0.25  # share of the samples from which on it is said that copies count once
_IDENTITY = ("version", "net", "dropout", "augment", "evaluate_every", "record_learning", "encoder")
_FIRST = Before()
_MORE = "It takes more labels of each class, or features that tell the classes apart"  # where heads have collapsed
_MANY = 10  # classes from which on the five likeliest are looked at, too


def execute(
    job: Job,
    loaded: Loaded,
    out: Path | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    deadline: float | None = None,
    before: Before = _FIRST,
) -> Outcome:
    """Train, evaluate, record what is learned of clean and wrong labels, and write the run folder.

    The route for features takes seconds and has no checkpoint: ``resume`` begins it again, unless it is finished.

    Args:
        job: method, plan and net.
        loaded: the data; its true labels are used for the record only.
        out: a folder that is ``claimed``; None: nothing is written, and nothing else differs.
        resume: go on from the checkpoint in ``out``.
        progress: called after every epoch with the run and the epoch's record.
        deadline: see ``training.loop.train``.
        before: the stages that led to this run.

    Raises:
        InputError: the data do not suit the job.
    """
    for part, what in ((loaded.test, "test"), (loaded.validation, "validation")):
        if part is not None and not (part.y >= 0).any():
            raise InputError(f"no sample of the {what} data {part.name} has a label")
    if out is not None and before.asked is None:
        before = replace(before, asked=identity(job, loaded))
    if isinstance(job.method, Features):
        folder = RunFolder(out, {}, resume=resume) if out else None
        return _features(job, job.method, loaded, folder, progress=progress, deadline=deadline, before=before)
    method = job.method.settled()
    net = nets.auto(loaded.x.shape, resolve_device(job.plan.device)) if job.net == "auto" else job.net
    job = replace(job, net=net, method=method)
    settings = config(job, loaded, before)
    folder = RunFolder(out, settings, resume=resume) if out else None
    asked = None if before.witness is None else before.witness.epochs
    networks = _Networks.of(job, loaded, folder, progress, asked)
    networks.try_out()  # a wrong net shows before anything is written
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    followers.call(job, loaded, asked)
    run = train(
        method,
        networks.data(),
        networks.build,
        job.plan,
        watch=networks.watch,
        checkpoint=None if out is None else _checkpoint(out, settings, loaded, resume=resume),
        deadline=deadline,
    )
    outcome = networks.outcome(run, _told(settings), before, time.perf_counter() - began)
    networks.write(outcome)
    return outcome


def take_part(job: Job, loaded: Loaded, asked: int | None) -> None:
    """Train with the process that executes a job, and forget the run; the arguments are those of ``followers.call``."""
    networks = _Networks.of(job, loaded, None, None, asked)
    train(networks.method, networks.data(), networks.build, job.plan, watch=networks.watch)


def _checkpoint(out: Path, settings: Mapping[str, Any], loaded: Loaded, *, resume: bool) -> Checkpoint:
    """Where a run is kept, with what it belongs to."""
    known = {name: settings[name] for name in _IDENTITY if name in settings}
    known |= fingerprint(replace(loaded, truth=None))  # no method sees it
    return Checkpoint(out / CHECKPOINT, resume=resume, identity=known)


@dataclass(frozen=True)
class _Networks:
    """The networks of a run: how they are built and looked at.

    Attributes:
        job: with the net's name and a method without "auto".
        loaded: the data.
        views: how raw rows become inputs.
        evaluations: epochs after which the test part is predicted.
        learning: the looks at the training set; None: none.
        selection: what keeps the best epoch of each network; None: the last one counts.
        folder: where records go; None: nowhere.
        progress: called after every epoch.
    """

    job: Job
    loaded: Loaded
    views: ViewSpec
    evaluations: Sequence[int]
    learning: Learning | None
    selection: Selection | None
    folder: RunFolder | None
    progress: Progress | None

    @classmethod
    def of(
        cls,
        job: Job,
        loaded: Loaded,
        folder: RunFolder | None,
        progress: Progress | None,
        asked: int | None,
    ) -> _Networks:
        """The networks of a job; what they predict after epoch ``asked`` is not asked (None: all is)."""
        evaluations = learning_curves.evaluation_epochs(job.plan.epochs, job.evaluate_every)
        learning = Learning(job, loaded, evaluations, asked or job.plan.epochs) if job.record_learning else None
        wanted = expected(str(job.net)) if loaded.x.dtype == torch.uint8 else Expected()
        views = fit_views(loaded.x, loaded.augment).suited(*wanted)
        selection = None if loaded.validation is None else Selection(loaded.validation)
        return cls(job, loaded, views, evaluations, learning, selection, folder, progress)

    def try_out(self) -> None:
        """InputError where no such network can be made, or the user's own parts do not take the samples."""
        with torch.random.fork_rng(devices=[]):
            net = self.build()
            rows = self.loaded.x[torch.arange(min(2, len(self.loaded.y)))]
            if self.job.views is not None:
                self.job.views.check(rows)
            if isinstance(self.job.net, OwnNet):
                x = self.views.plain(rows, torch.Generator())
                check_logits(net, x, len(self.loaded.classes), self.job.net.name)

    def build(self) -> torch.nn.Module:
        """A network with random weights."""
        shape = self.views.shape_of(self.loaded.x.shape)
        return nets.build(self.job.net, shape, len(self.loaded.classes), self.job.dropout)

    @property
    def method(self) -> Method:
        """The method that trains them."""
        assert isinstance(self.job.method, Method)
        return self.job.method

    def data(self) -> Data:
        """What the method may know."""
        loaded = self.loaded
        confirmed = None if loaded.confirmed is None else torch.from_numpy(loaded.confirmed)
        weight = None if loaded.weight is None else torch.from_numpy(loaded.weight).float()
        holds_out = isinstance(self.job.method, Method) and self.job.method.holds_out()
        groups, _ = tensors(together(loaded) if holds_out else None)
        given = torch.from_numpy(loaded.y)
        views = self.views.views() if self.job.views is None else self.job.views.over(self.views)
        return Data(loaded.x, given, loaded.classes, views, confirmed, groups, weight)

    def model(self, run: Run) -> Model:
        """The classifier of a run; of networks that are selected, the best so far."""
        model = self.latest(run)
        if self.selection is not None:
            model.members = self.selection.members(run, model.members)
        return model

    def latest(self, run: Run) -> Model:
        """The classifier after the last epoch."""
        loaded = self.loaded
        return Model(
            run.method.members(run),
            str(self.job.net),
            loaded.x.shape,
            loaded.x.dtype,
            loaded.classes,
            self.views,
            run.precision,
            loaded.encoder,
            loaded.columns if loaded.encoder is None else None,
        )

    def watch(self, run: Run) -> dict[str, Any]:
        """Evaluate and look after an epoch; what is found joins its record."""
        found: dict[str, Any] = {}
        idle = "stopped" in run.history[-1] and run.epoch < self.job.plan.epochs  # nothing has changed
        learning = self.learning if self.learning is not None and run.epoch in self.learning.epochs else None
        if run.epoch == 1:
            found |= self.first_met(run)
        if self.selection is not None and not idle:
            found |= self.selection.look(run, self.latest(run))
        if idle and learning is not None:
            learning.repeat(run)
        elif run.epoch in self.evaluations and not idle:
            found |= _test_scores(self.model(run), self.loaded.test)
        if learning is not None and not idle:
            found |= learning.look(run, self.latest(run))
        found |= self.updated_labels(run)
        row = run.history[-1] | found
        if self.folder is not None:
            self.folder.append(run.history, row)
        if self.progress is not None:
            self.progress(run, row)
        return found

    def first_met(self, run: Run) -> dict[str, float]:
        """How well the labels of the first epoch were predicted before they were learned from; empty: nobody knows."""
        if run.method.looks_back:
            return {}
        losses, count = (run.remember(name).double().cpu().numpy() for name in ("loss_sum", "loss_count"))
        return verdict.first_met(self.loaded.y, losses, count, len(run.nets))

    def outcome(self, run: Run, settings: Mapping[str, Any], before: Before, seconds: float) -> Outcome:
        """What a finished run gives back; ``settings`` are those of ``config``."""
        model = self.model(run)
        own, seen = judge(run, model, self.loaded, learning=self.learning, witness=before.witness)
        judged = own if self.learning is None else spared(own, seen)
        judged, evidence = with_alike(judged, seen, self.loaded.classes)
        collapsed = self.collapsed(run, own)
        trained = {
            "precision": run.precision,
            "epochs": run.epoch,
            "updates": run.step,
            "skipped_updates": run.skipped_updates,
            "seconds": round(seconds, 2),
            **before.seconds,
        }
        checked = _checked(self.job, self.loaded, judged, model)
        table, tested = _with_test(self.job, self.loaded, checked.table, model)
        stretched = _stretched(self.views.stretched, self.loaded).values()
        remarks = [*checked.remarks, *tested.remarks, *label_remarks(self.loaded), *stretched]
        found = _summary(self.loaded, run.history, judged, remarks) | _of_test(tested)
        found |= {"findings": checked.findings}
        said = _verdict(self.loaded, own, before.choice, tested, run.history[0])
        learned = {"verdict": said, "collapsed": collapsed}
        learned |= {} if self.selection is None else self.selection.summary(run)
        record = {**settings, **trained, **found, **learned, **environment(str(run.device))}
        return Outcome(run, run.history, model, table, record, evidence, tested.table)

    def updated_labels(self, run: Run) -> dict[str, float]:
        """How many of the labels that a method has updated are right, where the truth is known (Tanaka et al. 2018)."""
        labels = run.updated_labels()
        truth = self.loaded.truth
        if labels is None or truth is None or not (truth >= 0).any():
            return {}
        return {"updated_label_accuracy": float((labels.cpu().numpy() == truth)[truth >= 0].mean())}

    def collapsed(self, run: Run, judged: Judged) -> bool:
        """Whether the network ends with one class, or far fewer than are labelled; then the record says so."""
        predicted = judged.suggested if self.learning is None else self.learning.last(run)
        remark = learning_curves.collapse(predicted, self.loaded.y, len(self.loaded.classes))
        if remark is not None:
            said = run.history[-1].get("warnings", {}) | warned(run, remark)
            run.history[-1] |= {"warnings": said} if said else {}
        return remark is not None

    def write(self, outcome: Outcome) -> None:
        """The results, where there is a folder."""
        if self.folder is None:
            return
        if self.learning is not None:
            self.folder.write_predictions(self.learning.epochs, self.loaded.classes, outcome.evidence.to_arrays())
            self.folder.write_history(outcome.history)  # again, with what the last look added
        self.folder.write_results(
            self.loaded, outcome.model, outcome.table, outcome.summary, test_table=outcome.test_table
        )


def _features(
    job: Job,
    method: Features,
    loaded: Loaded,
    folder: RunFolder | None,
    *,
    progress: Progress | None,
    deadline: float | None,
    before: Before,
) -> Outcome:
    """``execute`` for the route for features: the same folder, one record a round."""
    if len(loaded.x.shape) != 1:
        raise InputError(
            f"the method features takes tables of numbers, one row a sample; {loaded.name} has images of shape "
            f"{loaded.x.shape}. Encode them (leave {option('encoder')} out), or choose another method (see `codivide "
            "methods`)"
        )
    began = time.perf_counter()
    watch = None if progress is None else lambda row: progress(None, row)
    learned = learn(table_of(loaded), method, job.plan.seed, watch=watch, deadline=deadline)
    named = loaded.columns if loaded.encoder is None else None
    model = replace(learned.model, encoder=loaded.encoder, columns=named)
    return learned_outcome(job, loaded, folder, learned, model=model, before=before, began=began)


def kinds_of(method: Features, loaded: Loaded) -> tuple[str, ...]:
    """The heads that it will fit."""
    dense, mixed = not getattr(loaded.x, "sparse", False), isinstance(loaded.encoder, columns.Columns)
    width = loaded.x.shape[0] if len(loaded.x.shape) == 1 else 0
    return method.kinds(int((loaded.y >= 0).sum()), width, dense=dense, mixed=mixed)


def rounds_of(method: Features, loaded: Loaded) -> int:
    """How many records its run will have."""
    return method.rounds(kinds_of(method, loaded))


def table_of(loaded: Loaded, own: Own | None = None) -> Table:
    """What the route for features learns from; ``own`` stands for its heads, see ``Table``."""
    confirmed = None if loaded.confirmed is None else torch.from_numpy(loaded.confirmed)
    answers = None if loaded.annotations is None else torch.from_numpy(loaded.annotations.likelihood)
    weight = None if loaded.weight is None else torch.from_numpy(loaded.weight)
    return Table(
        raw(loaded.x),
        torch.from_numpy(loaded.y),
        loaded.classes,
        confirmed,
        answers,
        *tensors(together(loaded)),
        weight=weight,
        mixed=isinstance(loaded.encoder, columns.Columns),
        own=own,
    )


def learned_outcome(
    job: Job,
    loaded: Loaded,
    folder: RunFolder | None,
    learned: Learned,
    *,
    model: Classifier,
    before: Before,
    began: float,
) -> Outcome:
    """What a run of the route for features gives back, and its folder; ``began`` by ``time.perf_counter``."""
    if loaded.annotations is not None:
        annotators = settle.judged_by(loaded.annotations, learned.given_probs.double().numpy())
        loaded = replace(loaded, annotations=annotators)
    given, history = torch.from_numpy(loaded.y), learned.records
    history[-1] |= _cross_fitted_record(learned, loaded) | _test_scores(model, loaded.test)
    learned.remarks.update(_stretched(learned.report.get("stretched", []), loaded))
    remark = learning_curves.collapse(learned.probs.argmax(1).numpy(), loaded.y, len(loaded.classes), _MORE)
    said = learned.remarks | ({} if remark is None else {"collapse": remark})
    said |= _rule(learned, loaded) | _copies(learned)
    if said:
        history[-1]["warnings"] = said
    judged = Judged(
        learned.suggested.numpy(),
        learned.probs.gather(1, learned.suggested.unsqueeze(1)).squeeze(1).double().numpy(),
        learned.clean_prob.numpy(),
    )
    choice = before.choice and before.choice.because(*learned.remarks.values())  # such as that nothing can be learned
    settings = config(job, loaded, replace(before, choice=choice))
    trained = {
        "epochs": len(history),
        "learned": learned.report,
        "seconds": round(time.perf_counter() - began, 2),
        **before.seconds,
    }
    judged, evidence = with_alike(judged, learned.evidence(given), loaded.classes)
    checked = _checked(job, loaded, judged, model)
    table = checked.table
    if learned.order is not None:
        table = label_table.ranked(table, learned.order.numpy())
    table, tested = _with_test(job, loaded, table, model)
    folds = job.method.folds if isinstance(job.method, Features) else FEWEST
    remarks = [*checked.remarks, *tested.remarks, *test_part.harder(tested, evidence), *label_remarks(loaded, folds)]
    found = _summary(loaded, history, judged, remarks) | _of_test(tested) | {"collapsed": remark is not None}
    found["findings"] = checked.findings
    by_chance = tested.predicted is not None and verdict.by_chance(*tested.predicted)
    useless = "independent" in learned.remarks or by_chance or are_no_classes(loaded)
    found["verdict"] = verdict.TOO_LITTLE if useless else verdict.USABLE
    record = _told(settings) | trained | found | environment()
    if folder is not None:
        folder.settings = settings
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.begin()
        folder.write_history(history)
        folder.write_predictions([len(history)], loaded.classes, evidence.to_arrays())
        folder.write_results(loaded, model, table, record, test_table=tested.table)
    return Outcome(None, history, model, table, record, evidence, tested.table)


def _rule(learned: Learned, loaded: Loaded) -> dict[str, str]:
    """The remark that labels look like a rule of the features, where they do and something was learned."""
    text = None if "independent" in learned.remarks else rule_like.remark(loaded, learned.seen.numpy())
    if text is None:
        return {}
    warnings.warn(text, TrainingWarning, stacklevel=3)
    return {rule_like.KEY: text}


def _copies(learned: Learned) -> dict[str, str]:
    """The remark that copies count once, where a good part of the samples are copies of others with the same label."""
    every, distinct = len(learned.probs), learned.report.get("distinct_samples", len(learned.probs))
    if every - distinct < _COPIES * every:
        return {}
    text = (
        f"{distinct:,} of {every:,} samples differ in what is learned from or in their label: copies count once in "
        "what is learned, and no fold divides them. Rates and lists have every sample"
    )
    warnings.warn(text, TrainingWarning, stacklevel=3)
    return {"copies": text}


def _stretched(found: Sequence[int], loaded: Loaded) -> dict[str, str]:
    """A warning that names the features with values so far out that they are cut."""
    if not found or (loaded.encoder is not None and loaded.encoder.takes != "table"):
        return {}  # nobody can look at the numbers that an encoder makes of a photo or a text
    named = ", ".join(repr(loaded.columns[k]) if loaded.columns else str(k) for k in found[:5])
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    text = (
        f"features stretched by a few values far out: {named}{more}. They are cut to the range of the others; look "
        "at them"
    )
    warnings.warn(text, TrainingWarning, stacklevel=2)
    return {"stretched": text}


def _cross_fitted_record(learned: Learned, loaded: Loaded) -> dict[str, Any]:
    """What the cross-fitted probabilities say of the training set, as the last epoch of a network's run says."""
    losses = -learned.seen.double().clamp_min(torch.finfo(torch.float32).tiny).log()
    return learning_curves.record(learned.probs.argmax(1).numpy(), losses.numpy(), loaded.y, loaded.truth)


def _told(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the summary says of the settings."""
    return {name: value for name, value in settings.items() if name != IDENTITY}


def config(job: Job, loaded: Loaded, before: Before) -> dict[str, Any]:
    """Everything that defines a run, as JSON values."""
    choice = before.choice
    return {
        "version": VERSION,
        IDENTITY: before.asked,
        "data": loaded.name,
        "source": _named(job.source, loaded).to_dict(),
        "corrections": dict(job.corrections),
        "samples": len(loaded.y),
        "unlabelled": int((loaded.y < 0).sum()),
        "shape": list(loaded.x.shape),
        "augment": job.augment(loaded),
        "classes": [str(name) for name in loaded.classes],
        "method": name_of(job.method),
        "hyper_parameters": asdict(job.method),
        "net": str(job.net),
        "dropout": job.dropout,
        "plan": asdict(job.plan),
        "evaluate_every": job.evaluate_every,
        "record_learning": job.record_learning,
        **({} if choice is None else {"choice": choice.to_dict()}),
        **({"labels_read": read} if (read := loaded.labels_read.to_dict()) else {}),
        **({} if loaded.groups is None else {"groups": len(np.unique(loaded.groups[loaded.groups >= 0]))}),
        "skipped_files": len(loaded.skipped),
        "threads": torch.get_num_threads(),
        **({"processes": count} if (count := here().count) > 1 else {}),
        **({"encoder": loaded.encoder.name} if loaded.encoder is not None else {}),
        **({"said": list(loaded.said)} if loaded.said else {}),
        **columns.record(loaded.encoder),
    }


def _named(source: DataRecord, loaded: Loaded) -> DataRecord:
    """The record with the encoder that "best" has become."""
    if source.options.encoder != encode.BEST or loaded.encoder is None:
        return source
    return replace(source, options=replace(source.options, encoder=loaded.encoder.name))


def _test_scores(model: Classifier, test: Loaded | None) -> dict[str, float]:
    """Accuracy, and the two that a class counts for as much in as any other; of many classes also top-5 accuracy."""
    if test is None:
        return {}
    known = test.y >= 0
    logits = model.logits(test.x)[torch.from_numpy(known)]
    found = scores.accuracies(logits.argmax(1).numpy(), test.y[known], len(test.classes))
    if len(test.classes) >= _MANY:
        labels = torch.from_numpy(test.y[known])
        found["top5_accuracy"] = float((logits.topk(5).indices == labels[:, None]).any(1).double().mean())
    return {f"test_{name}": value for name, value in found.items()}


def _checked(job: Job, loaded: Loaded, judged: Judged, model: Classifier) -> checks.Judgement:
    """The label table with the columns of all checks, and what they say; a rehearsal is not checked."""
    table = judged.table(loaded)
    if not job.record_learning:
        return checks.Judgement(table, [], [])
    return checks.judge(table, loaded.classes, loaded, model)


def _with_test(
    job: Job, loaded: Loaded, table: pd.DataFrame, model: Classifier
) -> tuple[pd.DataFrame, test_part.Tested]:
    """The label table with what it shares with the test part, and the test part judged; a rehearsal is not checked."""
    tested = test_part.judged(loaded, model) if job.record_learning else test_part.Tested()
    return table.assign(**tested.columns), tested


def _of_test(tested: test_part.Tested) -> dict[str, Any]:
    return {"test_part": tested.summary} if tested.summary else {}


def _verdict(
    loaded: Loaded, judged: Judged, choice: Choice | None, tested: test_part.Tested, first: Mapping[str, Any]
) -> str:
    """Whether a network has learned enough, by the labels that no person vouches for and the record of its start."""
    given = loaded.y if loaded.confirmed is None else np.where(loaded.confirmed, -1, loaded.y)
    proven = partial(verdict.proven, first, loaded)
    return verdict.verdict(judged.suggested, given, choice, tested=tested.predicted, proven=proven)


def _summary(
    loaded: Loaded, history: Sequence[Mapping[str, Any]], judged: Judged, remarks: Sequence[str]
) -> dict[str, Any]:
    """What a run found, in numbers."""
    labelled = loaded.y >= 0
    flagged = labelled & (judged.suggested != loaded.y)
    flagged &= True if loaded.confirmed is None else ~loaded.confirmed
    summary: dict[str, Any] = {
        "label_issues": int(flagged.sum()),
        "training_seconds": round(sum(row["seconds"] for row in history), 2),
        "warnings": [*(text for row in history for text in row.get("warnings", {}).values()), *remarks],
    }
    tests = {row["epoch"]: row["test_accuracy"] for row in history if "test_accuracy" in row}
    if tests:
        best = max(tests, key=tests.__getitem__)  # chosen with the test labels
        summary["test_accuracy"] = {
            "last": tests[history[-1]["epoch"]],
            "last_10_mean": float(np.mean(list(tests.values())[-10:])),  # of the last 10 evaluations
            "last_10_median": float(np.median(list(tests.values())[-10:])),
            "last_20_median": float(np.median(list(tests.values())[-20:])),  # what semi-supervised papers report
            "best": tests[best],
            "best_epoch": best,
            "evaluations": len(tests),
        }
        scored = next(row for row in reversed(history) if "test_macro_f1" in row)
        summary |= {name: scored[name] for name in ("test_balanced_accuracy", "test_macro_f1")}
    five = {row["epoch"]: row["test_top5_accuracy"] for row in history if "test_top5_accuracy" in row}
    if five:
        summary["test_top5_accuracy"] = {"last": five[max(five)], "best": max(five.values())}
    updated = [row["updated_label_accuracy"] for row in history if "updated_label_accuracy" in row]
    if updated:
        summary["updated_label_accuracy"] = {"last": updated[-1], "best": max(updated)}
    if loaded.annotations is not None:
        summary["annotators"] = loaded.annotations.annotators()
        summary |= {"annotators_undecided": said} if (said := settle.undecided(loaded.annotations)) else {}
    if loaded.truth is not None:
        summary["noise"] = synthetic.summary(loaded.truth, loaded.y, len(loaded.classes))
        summary["detection"] = scores.detection(loaded.y, loaded.truth, judged.clean_prob)
        known = loaded.truth >= 0
        summary["suggestion_accuracy"] = float((judged.suggested == loaded.truth)[known].mean())
    return summary
