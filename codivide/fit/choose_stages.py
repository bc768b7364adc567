"""The stages of an automatic run: scout, decide, train, compare.

The scout is a whole run of its own in ``RUN/scout``: plain training with a weight average, without a stratified part of
the given labels. What it saw and what was decided lie in ``RUN/choice.json``, written atomically, so that a resumed
run neither scouts nor decides again. The correction is a whole run, too, in ``RUN/correction``. The same part is hidden
from it in its first four fifths, after which both are compared on it; the one that is kept becomes the result.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codivide.audit.noise_report import noise_report
from codivide.audit.reading import checked
from codivide.core.errors import InputError, TrainingWarning, anew, either
from codivide.core.files import read_json, reading, write_json
from codivide.core.types import Mask
from codivide.core.words import counted
from codivide.data.groups import tensors, together
from codivide.data.loaded import Loaded, subset
from codivide.fit import execute as stages
from codivide.fit.budget import Budget
from codivide.fit.by_features import unjudged
from codivide.fit.choice import Choice, ChoiceRecord, Decision, ScoutReport
from codivide.fit.choose_rule import (
    LOCKED,
    affordable_plain,
    compare,
    correction_cost,
    decide,
    longer_reason,
    plain_hyper,
)
from codivide.fit.estimate import duration, of_network
from codivide.fit.job import (
    Before,
    Begin,
    Job,
    Outcome,
    Progress,
    Say,
    Witness,
    build_method,
    name_of,
)
from codivide.fit.resume import check_same
from codivide.methods._held_out import drawn
from codivide.methods.auto import Auto
from codivide.methods.codivide import CoDivide
from codivide.methods.cross_entropy import CrossEntropy
from codivide.noise.learning_curves import evaluation_epochs, memorises
from codivide.noise.rates import concentration
from codivide.noise.report import Material, NoiseReport, estimate
from codivide.runs.folder import (
    CHECKPOINT,
    CHOICE,
    CONFIG,
    CORRECTION,
    IDENTITY,
    SCOUT,
    SavedRun,
    adopt,
    is_run,
    remove_run,
)
from codivide.training.plan import NOT_ASKED, Plan
from codivide.training.run import Method, Run

FEWEST = 20  # held-out labels, below which nothing can be told
MOST = 5_000  # held-out labels, above which more would tell little
LONGER = 4.0  # times as many epochs: about what two networks take that guess on several views
ONE_WAY_NOISE = "asymmetric"  # is learned early and with confidence, also by the correction
_BY_HEART = "which learns wrong labels by heart and finds few of them; the method features judges small sets, too"


def unseen(name: str, epochs: int) -> Progress:
    """Where nobody looks at a stage."""
    return lambda run, row: None


def unheard(text: str) -> None:
    """Where nobody is told the reasons."""


def rescaled(plan: Plan, epochs: int) -> Plan:
    """The same plan in fewer (or more) epochs: what happened at half time still does."""
    share = epochs / plan.epochs
    milestones = tuple(sorted({max(1, round(milestone * share)) for milestone in plan.milestones}))
    return replace(plan, epochs=epochs, milestones=milestones)


@dataclass
class Choosing:
    """One automatic run; the fields are the arguments of ``execute``, and what it has come to."""

    job: Job
    method: Method
    loaded: Loaded
    out: Path | None
    free: Sequence[str]
    resume: bool
    begin: Begin
    say: Say
    budget: Budget
    asked: Mapping[str, Any] | None = None  # what the run is known by; None: it has no folder
    scouted: Outcome | None = None
    share: float = field(init=False)

    def __post_init__(self) -> None:
        self.auto = self.method if isinstance(self.method, Auto) else None
        self.share = self._share()

    def execute(self) -> Outcome:
        """The whole run, or what is left of it."""
        record = self._recorded()
        if record is None:
            if not self.share:
                return self._unscouted()
            self._check_unchosen()
            record = self._decide()
            self._write(record)
        for reason in record.decision.reasons:
            self.say(reason)
        if record.kept in ("plain", "scout"):  # it was, before this was resumed
            assert record.choice.verdict is not None
            self.say(record.choice.verdict.text)
        if record.kept == "scout" or not record.decision.epochs:
            return self._keep_scout(record)
        if record.decision.seconds and record.kept is None:
            self.say(f"this takes about {duration(record.decision.seconds)}")
        if record.decision.method == "codivide" and record.kept != "plain":
            return self._corrected(record)
        return self._plain_again(record) if record.kept == "plain" else self._carried_out(record)

    def _carried_out(self, record: ChoiceRecord) -> Outcome:
        """Train what was decided, with all labels."""
        decision = record.decision
        hyper = decision.hyper
        method = build_method(decision.method, **hyper) if self.auto else self.method.settled(**hyper)
        plan = rescaled(self.job.plan, decision.epochs)
        witness = self._witness(record) if decision.method == "cross_entropy" else None
        progress = self.begin(decision.method, hyper.get("last_epoch", plan.epochs))
        main = replace(self.job, method=method, plan=plan)
        return self._final(main, record, progress=progress, witness=witness)

    def _final(self, job: Job, record: ChoiceRecord, *, progress: Progress, witness: Witness | None) -> Outcome:
        """The last stage, whose folder is that of the whole run."""
        before = Before(record.choice, witness, self._seconds(record), self.asked)
        outcome = stages.execute(
            job,
            self.loaded,
            self.out,
            resume=self.resume,
            progress=progress,
            deadline=self.budget.ends(),
            before=before,
        )
        trained = _epochs_of(outcome)
        plain = isinstance(job.method, CrossEntropy)
        if plain and self.budget.seconds is not None and trained < record.seen.best_epoch:
            return self._scout_after_all(
                record, f"the budget ended the last training after {counted(trained, 'epoch')}"
            )
        return outcome

    def _scout_after_all(self, record: ChoiceRecord, why: str) -> Outcome:
        """The scout, where a budget left less than made the last stage better than it; a resumed run keeps it, too."""
        text = f"{why}: the short run is the result"
        self.say(text)
        if record.choice.verdict is None:
            reasons = (*record.decision.reasons, text)
            record.choice = replace(record.choice, decision=Decision("cross_entropy", reasons=reasons))
        else:
            record.judge(kept="scout")
        self._write(record)
        return self._keep_scout(record)

    def _corrected(self, record: ChoiceRecord) -> Outcome:
        """Train the correction and compare it with the scout on the labels that neither has learned from."""
        decision, rows = record.decision, np.asarray(record.held_out)
        folder = None if self.out is None else self.out / CORRECTION
        plan = rescaled(self._plan_of(CoDivide), decision.epochs)
        method = CoDivide(**decision.hyper, validation=self.share)
        if record.kept is None:
            self.say(
                f"correction: {counted(plan.epochs, 'epoch')}, which the same {len(rows):,} labels judge before it ends"
            )
        outcome = stages.execute(
            replace(self.job, method=method, plan=plan),
            self.loaded,
            folder,
            resume=folder is not None and (folder / CHECKPOINT).exists() and self.resume,
            progress=self.begin("correction", plan.epochs) if record.kept is None else None,
            deadline=self.budget.ends(),
            before=Before(witness=self._witness(record, plan.epochs) if record.seen.kind == ONE_WAY_NOISE else None),
        )
        if record.kept is None:
            run, trained = _run(outcome), _epochs_of(outcome)
            if trained < method.judged_after(run):
                return self._scout_after_all(
                    record, f"the budget ended the correction after {counted(trained, 'epoch')}"
                )
            right = run.remember("held_right").cpu().numpy()[rows]
            lost = [name for name in self._lost(outcome) if name not in record.seen.lost]
            verdict = compare(right, np.asarray(record.plain_right), record.seen.rate, lost)
            record.choice = replace(record.choice, verdict=verdict)
            record.correction_seconds = _spent(outcome.summary)
            self._write(record)
            self.say(verdict.text)
        return self._plain_again(record) if record.kept == "plain" else self._keep(record, outcome, CORRECTION)

    def _plan_of(self, kind: type[Method]) -> Plan:
        """The plan as a method asks for it, where nobody has set something else (or can)."""
        asked = {name: value for name, value in kind.settings.items() if name in self.free or name in NOT_ASKED}
        return replace(self.job.plan, **asked)

    def _share(self) -> float:
        """The share of the labels to hold out; 0 where there are too few to tell anything."""
        open_labels = self._unconfirmed()
        labelled = int((open_labels >= 0).sum())
        share = min(self.auto.validation if self.auto else 0.1, MOST / max(labelled, 1))
        if share * labelled < FEWEST:
            return 0.0
        given, confirmed = (torch.from_numpy(part) for part in (self.loaded.y, _confirmed(self.loaded)))
        groups, _ = tensors(together(self.loaded))  # of which few may leave nobody to hold out
        generator = torch.Generator().manual_seed(self.job.plan.seed)  # as of the runs that hold these out
        held = drawn(given, confirmed, share, generator, groups)
        return share if int(held.sum()) >= FEWEST and len(np.unique(given[held])) > 1 else 0.0

    def _unconfirmed(self) -> torch.Tensor:
        """The labels ``[N]`` that may be held out: a person vouches for the others, which are learned from."""
        return torch.from_numpy(np.where(_confirmed(self.loaded), -1, self.loaded.y))

    def _unscouted(self) -> Outcome:
        """Too little to judge anything by: plain training, or the paper's settings of a method that is asked for."""
        labelled = int((self.loaded.y >= 0).sum())
        whole = "" if self.loaded.groups is None else " (groups are held out whole)"
        text = f"of {labelled} labels too few, or of one class only, could be held out{whole}, so nothing can be "
        text += "estimated: "
        text += f"plain training, {_BY_HEART}" if self.auto else "the paper's settings"
        self.say(text)
        method = CrossEntropy() if self.auto else self.method.settled()
        return stages.execute(
            replace(self.job, method=method),
            self.loaded,
            self.out,
            resume=self.resume,
            progress=self.begin(name_of(method), self.job.plan.epochs),
            deadline=self.budget.ends(),
            before=Before(unjudged(method, text), asked=self.asked),
        )

    def _decide(self) -> ChoiceRecord:
        """Scout, and choose."""
        scouted = self._scout()
        held = _run(scouted).remember("held_out").cpu().numpy()
        seen = self._report(scouted, held)
        decision = decide(seen, "auto" if self.auto else "dividemix")
        rows = np.flatnonzero(held)
        return ChoiceRecord(
            dict(self.asked or {}), Choice(decision, seen), rows.tolist(), self._right(scouted, rows).tolist()
        )

    def _scout(self) -> Outcome:
        """Plain training without a part of the labels, ended when it memorises; from its folder where it is there."""
        if self.scouted is None:
            plan = self._scout_plan()
            method = CrossEntropy(validation=self.share, patience=max(10, plan.epochs // 3), until_memorised=True)
            folder = None if self.out is None else self.out / SCOUT
            labelled, held = int((self.loaded.y >= 0).sum()), self.share * int((self._unconfirmed() >= 0).sum())
            text = (
                f"short run: plain training without about {held:,.0f} of the {labelled:,} labels; how well it agrees "
            )
            resume = folder is not None and (folder / CHECKPOINT).exists() and self.resume
            ended = resume and self._recorded() is not None  # only what it knows is wanted
            if not ended:
                self.say(text + "with these shows what to do")
            self.scouted = stages.execute(
                replace(self.job, method=method, plan=plan, record_learning=True),
                replace(self.loaded, validation=None),  # its true labels choose an epoch, and nothing before that
                folder,
                resume=resume,
                progress=None if ended else self._replacing(self.begin("scout", plan.epochs)),
                deadline=self.budget.scout_ends(),
            )
        return self.scouted

    def _replacing(self, progress: Progress) -> Progress:
        """The scout's progress; when its first epoch is done, an older run in the folder is removed."""

        def replacing(run: Run | None, row: Mapping[str, Any]) -> None:
            if self.out is not None and not self.resume and row["epoch"] == 1:
                for folder in (self.out, self.out / CORRECTION):
                    remove_run(folder)
                (self.out / CHOICE).unlink(missing_ok=True)
            progress(run, row)

        return replacing

    def _scout_plan(self) -> Plan:
        """The plan; with a budget so few epochs that scout and correction fit into it, as a few batches show."""
        plan, planned = self.job.plan, self.budget.planned
        if planned is None and (self.say is unheard or self.resume or plan.compile):  # nobody asks, or it takes long
            return plan
        if self.resume and self.out is not None and is_run(self.out / SCOUT):
            saved = SavedRun(self.out / SCOUT)
            with reading(saved.path / CONFIG):
                return rescaled(plan, int(saved.config["plan"]["epochs"]))
        trained = self._rehearse()
        each = trained * (1 + self._looking())
        both = each * plan.epochs + correction_cost(each, plan.epochs, trained * self._looking())
        if planned is None or self.budget.seconds is None or both <= planned:
            self.say(of_network(len(self.loaded.y), each * plan.epochs, both))
            return plan
        epochs = max(int(plan.epochs * planned / both), 1)
        if epochs < min(15, plan.epochs):  # no time for a correction
            epochs = max(1, min(plan.epochs, int(planned / each)))
        if epochs < plan.epochs:
            budget = duration(self.budget.seconds)
            self.say(f"{counted(epochs, 'epoch')} instead of {plan.epochs}, to keep the budget of {budget}")
        return rescaled(plan, epochs)

    def _rehearse(self) -> float:
        """Seconds of an epoch of plain training without its looks at the data, from the second of two short passes."""
        labelled = np.flatnonzero(self.loaded.y >= 0)
        few = labelled[np.linspace(0, len(labelled) - 1, min(len(labelled), 8 * self.job.plan.batch_size)).astype(int)]
        part = replace(subset(self.loaded, np.unique(few)), test=None, validation=None, confirmed=None)
        short = replace(self.job, method=CrossEntropy(), plan=rescaled(self.job.plan, 2), record_learning=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TrainingWarning)  # nobody wants to know what a rehearsal learned
            seconds = stages.execute(short, part).history[-1]["seconds"]
        return float(seconds) * len(labelled) / len(part.y)

    def _looking(self) -> float:
        """What the looks at training and test data take, as a share of an epoch's training; a look is a third of it."""
        tested = 0 if self.loaded.test is None else len(self.loaded.test.y)
        looks = len(evaluation_epochs(self.job.plan.epochs, self.job.evaluate_every)) / self.job.plan.epochs
        return looks * (len(self.loaded.y) + tested) / (3 * len(self.loaded.y))

    def _report(self, scouted: Outcome, held: Mask) -> ScoutReport:
        """What the rule decides by."""
        # What was trained on hides its noise, so the rate is that of the labels held out; which way it goes needs
        # more labels than these, and memorising hides one direction no more than another.
        labels, seed = self.loaded.y, self.job.plan.seed
        unseen = subset(self.loaded, np.flatnonzero(held))
        names = [str(name) for name in self.loaded.classes]
        material = Material(unseen.y, names, "held out", probs=checked(scouted.model.probs(unseen.x)))
        report = estimate(material, seed=seed)  # its columns are the classes, and one never predicted is no surprise
        whole = noise_report(scouted, seed=seed, replicates=2)
        assert isinstance(whole, NoiseReport)  # the scout of classes
        rows = [row for row in scouted.history if "validation_accuracy" in row]
        trained = float(scouted.summary["training_seconds"]) / len(rows)
        agreement = [float(row["validation_accuracy"]) for row in rows]
        best = int(np.argmax(agreement))
        error = math.sqrt(max(agreement[best] * (1 - agreement[best]), 0.25 / held.sum()) / held.sum())
        settled = next(k for k, score in enumerate(agreement) if score >= agreement[best] - error)
        lasting = [int(row["epoch"]) for row, score in zip(rows, agreement, strict=True) if score == agreement[best]]
        return ScoutReport(
            labelled=int((labels >= 0).sum()),
            unlabelled=int((labels < 0).sum()),
            classes=len(self.loaded.classes),
            held_out=int(held.sum()),
            rate=report.rate,
            low=report.low,
            high=report.high,
            kind="unclear" if whole.kind == "none" and report.low > 0.05 else whole.kind,
            concentration=concentration(whole.transition),
            trust=report.trust.level,
            doubt="" if report.trust.level == "good" else report.trust.reasons[0].rstrip("."),
            epochs=_run(scouted).plan.epochs,
            scouted=len(rows),
            best_epoch=int(rows[best]["epoch"]),
            settled_epoch=int(rows[settled]["epoch"]),
            lasting_epoch=max(lasting),
            agreement=agreement[best],
            error=error,
            fitted=float(rows[-1]["training_accuracy"]),
            memorises=memorises(rows, int(held.sum())),
            lost=self._lost(scouted),
            scout_seconds=trained * (1 + self._looking()),
            look_seconds=trained * self._looking(),
            seconds_left=self.budget.left(),
            longer=self._longer(),
        )

    def _lost(self, stage: Outcome) -> tuple[str, ...]:
        """The classes that a stage hardly predicts."""
        labels = self.loaded.y
        given = np.bincount(labels[labels >= 0], minlength=len(self.loaded.classes))
        predicted = stage.model.logits(subset(self.loaded, np.flatnonzero(labels >= 0)).x).argmax(1).numpy()
        found = np.bincount(predicted, minlength=len(given))
        lost = np.flatnonzero((given >= FEWEST) & (found < LOCKED * given))
        return tuple(str(self.loaded.classes[k]) for k in lost)

    def _longer(self) -> float:
        """How far plain training may be drawn out; a number of epochs that was given stays."""
        if self.auto is None:
            return 1.0
        return self.auto.longer or (LONGER if "epochs" in self.free else 1.0)

    def _right(self, outcome: Outcome, rows: np.ndarray[Any, Any]) -> Mask:
        part = subset(self.loaded, rows)
        right: Mask = outcome.model.logits(part.x).argmax(1).numpy() == part.y
        return right

    def _recorded(self) -> ChoiceRecord | None:
        """The choice that the folder holds, when the run is resumed."""
        if self.out is None:
            return None
        path = self.out / CHOICE
        if not (self.resume and path.is_file()):
            return None
        with reading(path):
            record = ChoiceRecord.from_dict(read_json(path))
            check_same(path, record.key, self.asked or {})
        return record

    def _check_unchosen(self) -> None:
        """InputError where a checkpoint is to be gone on with that no choice led to; asked before anything is done."""
        if self.out is not None and self.resume and (self.out / CHECKPOINT).exists():
            raise InputError(
                f"{self.out} holds a run in which nothing was chosen automatically; resume it with the "
                f"{either('--method', 'method')} and the settings it was begun with, or {anew()}"
            )

    def _write(self, record: ChoiceRecord) -> None:
        if self.out is not None:
            write_json(self.out / CHOICE, record.to_dict(), indent=1)

    def _plain_again(self, record: ChoiceRecord) -> Outcome:
        """Plain training on all labels, as long as it helped the scout; where no time is left, the scout itself."""
        seen, deadline = record.seen, self.budget.ends()
        fits = math.inf if deadline is None else (deadline - time.monotonic()) / max(seen.scout_seconds, 1e-9)
        affordable = affordable_plain(seen, fits)
        if record.plain_epochs is None and affordable is not None:  # else it has begun before
            record.plain_epochs = affordable
            if record.plain_epochs > seen.epochs:
                reason = longer_reason(seen, record.plain_epochs)
                assert record.choice.verdict is not None  # it is the verdict that led here
                record.judge(text=f"{record.choice.verdict.text}; {reason}")
                self.say(reason)
            self._write(record)
        plan = rescaled(self.job.plan, record.plain_epochs or seen.epochs)
        method = CrossEntropy(**plain_hyper(seen, plan.epochs))
        epochs = method.last_epoch or plan.epochs
        if fits < epochs:
            return self._scout_after_all(record, "no time is left for plain training on all labels")
        progress = self.begin("cross_entropy", epochs)
        main = replace(self.job, method=method, plan=plan)
        return self._final(main, record, progress=progress, witness=self._witness(record))

    def _witness(self, record: ChoiceRecord, epochs: int | None = None) -> Witness | None:
        """What the scout knows: plain training that goes on to the end memorises what is to be found.

        ``epochs``: up to which the later run is asked, too; None: as many as the scout took.
        """
        scouted = self._scout()
        if scouted.evidence.probs is None:  # too many samples and classes to keep them
            return None
        clean_prob = scouted.table["clean_prob"].to_numpy(np.float64)
        return Witness(scouted.evidence, clean_prob, epochs or record.seen.scouted)

    def _keep_scout(self, record: ChoiceRecord) -> Outcome:
        """Make the scout the result."""
        self.resume = True
        return self._keep(record, self._scout(), SCOUT)

    def _keep(self, record: ChoiceRecord, stage: Outcome, name: str) -> Outcome:
        """Make a stage the result: it is a whole run, so its files are."""
        choice = {"choice": record.choice.to_dict()}
        others = self._seconds(record)
        others.pop(f"{name}_seconds", None)  # its summary has them
        outcome = replace(stage, summary=stage.summary | choice | others)
        if self.out is not None:
            adopt(self.out, self.out / name, choice | {IDENTITY: self.asked}, outcome.summary)
        return outcome

    def _seconds(self, record: ChoiceRecord) -> dict[str, float]:
        """What the stages before the last one took, for its summary."""
        corrected = record.correction_seconds
        seconds = {} if corrected is None else {"correction_seconds": corrected}
        if self.scouted is not None:
            seconds["scout_seconds"] = _spent(self.scouted.summary)
        elif self.out is not None and is_run(self.out / SCOUT) and (scout := SavedRun(self.out / SCOUT).summary):
            seconds["scout_seconds"] = _spent(scout)
        return seconds


def _epochs_of(outcome: Outcome) -> int:
    """How many epochs were trained."""
    return sum("stopped" not in row for row in outcome.history)


def _spent(summary: Mapping[str, Any]) -> float:
    """Seconds of a stage; a resumed process knows its own, and those of all training."""
    return max(float(summary["seconds"]), float(summary["training_seconds"]))


def _confirmed(loaded: Loaded) -> Mask:
    return np.zeros(len(loaded.y), dtype=bool) if loaded.confirmed is None else loaded.confirmed


def _run(outcome: Outcome) -> Run:
    assert outcome.run is not None  # only the route for features trains no network
    return outcome.run
