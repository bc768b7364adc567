"""From loaded data to a trained model, a label table and a run folder: what estimator, command line and bench share."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codivide.core.device import resolve_device
from codivide.core.errors import InputError
from codivide.core.provenance import environment
from codivide.data.fingerprint import fingerprint
from codivide.data.groups import tensors, together
from codivide.data.label_remarks import label_remarks
from codivide.data.loaded import Loaded
from codivide.data.views import ViewSpec, fit_views
from codivide.fit import feature_run, followers, run_record, test_part, verdict
from codivide.fit.choice import Choice
from codivide.fit.job import Before, Job, Outcome, Progress
from codivide.fit.judging import Judged, judge, spared, with_alike
from codivide.fit.learning import Learning, warned
from codivide.fit.resume import identity
from codivide.fit.selection import Selection
from codivide.methods.features.options import Features
from codivide.noise import learning_curves
from codivide.runs.folder import CHECKPOINT, RunFolder
from codivide.runs.model import Model
from codivide.training import nets
from codivide.training.checkpoint import Checkpoint
from codivide.training.loop import train
from codivide.training.own_net import OwnNet, check_logits, code_of
from codivide.training.run import Method, Run
from codivide.training.samples import Data
from codivide.training.timm_names import Expected, expected

_IDENTITY = ("version", "net", "dropout", "augment", "evaluate_every", "record_learning", "encoder")
_FIRST = Before()


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
        return feature_run.execute_features(
            job, job.method, loaded, folder, progress=progress, deadline=deadline, before=before
        )
    method = job.method.settled()
    net = nets.auto(loaded.x.shape, resolve_device(job.plan.device)) if job.net == "auto" else job.net
    job = replace(job, net=net, method=method)
    settings = run_record.config(job, loaded, before)
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
    outcome = networks.outcome(run, run_record.told(settings), before, time.perf_counter() - began)
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
            code_of(self.job.net).get("net_code"),
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
            found |= run_record.test_scores(self.model(run), self.loaded.test)
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
        checked = run_record.checked_table(self.job, self.loaded, judged, model)
        table, tested = run_record.with_test(self.job, self.loaded, checked.table, model)
        stretched = run_record.stretched(self.views.stretched, self.loaded).values()
        remarks = [*checked.remarks, *tested.remarks, *label_remarks(self.loaded), *stretched]
        found = run_record.summary_of(self.loaded, run.history, judged, remarks) | run_record.of_test(tested)
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


def _verdict(
    loaded: Loaded, judged: Judged, choice: Choice | None, tested: test_part.Tested, first: Mapping[str, Any]
) -> str:
    """Whether a network has learned enough, by the labels that no person vouches for and the record of its start."""
    given = loaded.y if loaded.confirmed is None else np.where(loaded.confirmed, -1, loaded.y)
    proven = partial(verdict.proven, first, loaded)
    return verdict.verdict(judged.suggested, given, choice, tested=tested.predicted, proven=proven)
