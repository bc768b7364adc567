"""Scout, decide, train, compare: ``execute`` stands before ``execute.execute`` and leaves the same kind of run folder.

The scout is a whole run of its own in ``RUN/scout``: plain training with a weight average, without a stratified part of
the given labels. Its evidence and what was decided lie in ``RUN/choice.json``, written atomically, so that a resumed
run neither scouts nor decides again. The same part is hidden from a trial of the correction, half as long, in
``RUN/trial``; both are compared on it. A correction that is kept is then trained with all labels.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codivide.core.errors import InputError
from codivide.core.files import atomic, write_text
from codivide.core.version import VERSION
from codivide.data.loaded import Loaded, subset
from codivide.fit import job as jobs
from codivide.fit.choose_rule import (
    HANDICAP,
    LOCKED,
    TRIED,
    Decision,
    Evidence,
    decide,
    epochs_cost,
    longer_reason,
    plain_epochs,
    plain_hyper,
)
from codivide.fit.job import Job, Outcome, Progress, Witness, build_method, default_plan, name_of
from codivide.methods.auto import Auto
from codivide.methods.cross_entropy import CrossEntropy, stratified
from codivide.methods.dividemix import DivideMix
from codivide.methods.features.options import NOT_FOR_FEATURES, Features
from codivide.noise.learning_curves import evaluation_epochs, memorises
from codivide.noise.rates import concentration
from codivide.runs.folder import CHECKPOINT, CHOICE, METRICS, MODEL, PREDICTIONS, SCOUT, TRIAL, remove_run
from codivide.training.plan import Plan
from codivide.training.run import Method, Run

Begin = Callable[[str, int], Progress]
Say = Callable[[str], None]

FEWEST = 20  # held-out labels, below which nothing can be told
MOST = 5_000  # held-out labels, above which more would tell little
LONGER = 4.0  # times as many epochs: about what two networks take that guess on several views
GUESS = 0.33  # the rate of wrong labels as long as nothing is known
_COPIED = ("labels.csv", "labels.parquet", PREDICTIONS, MODEL, METRICS, "skipped.csv")


def begun(out: Path) -> bool:
    """Whether a folder holds a run that can be gone on with."""
    places = (out / CHECKPOINT, out / CHOICE, out / SCOUT / CHECKPOINT)
    return any(path.exists() for path in places)


def execute(
    job: Job,
    loaded: Loaded,
    out: Path | None = None,
    resume: bool = False,
    begin: Begin | None = None,
    say: Say | None = None,
) -> Outcome:
    """Train what the job says; where it leaves method or settings to "auto", choose them first.

    Args:
        job: as for ``execute.execute``; its method may be ``Auto``, or have settings that are "auto".
        loaded: the data. Test and true labels are recorded, and never looked at to choose.
        out: run folder, as for ``execute.execute``; None: nothing is written.
        resume: go on with what ``out`` holds, a scout, a choice or a checkpoint.
        begin: called with name and epochs when a stage begins; returns what is called after every epoch of it.
        say: called with every reason, one sentence at a time.

    Returns:
        What ``execute.execute`` returns; the summary has ``choice``: evidence, reasons and the comparison.

    Raises:
        InputError: the data do not suit the job, or ``out`` belongs to another one.
    """
    begin = begin or (lambda name, epochs: lambda run, row: None)
    say = say or (lambda text: None)
    method = job.method
    if isinstance(method, Features) or not (isinstance(method, Auto) or method.unsettled()):
        return jobs.execute(job, loaded, out, resume, begin(name_of(method), job.plan.epochs))
    if isinstance(method, Auto) and _is_table(job, loaded):
        return _features(job, method, loaded, out, begin, say)
    if isinstance(method, Auto | DivideMix) and "average" in job.open:
        job = replace(job, plan=replace(job.plan, average=average_decay(len(loaded.y), job.plan)))
    return _Choosing(job, method, loaded, out, resume, begin, say).execute()


def average_decay(samples: int, plan: Plan) -> float:
    """The decay whose average reaches back two epochs, or a tenth of a run where that is less."""
    steps = max(math.ceil(samples / plan.batch_size), 1)
    reach = max(min(2 * steps, steps * plan.epochs / 10), 1.0)
    return float(round(1 - 1 / (reach + 1), 5))


def rescaled(plan: Plan, epochs: int) -> Plan:
    """The same plan in fewer (or more) epochs: what happened at half time still does."""
    share = epochs / plan.epochs
    milestones = tuple(sorted({max(1, round(milestone * share)) for milestone in plan.milestones}))
    return replace(plan, epochs=epochs, milestones=milestones)


@dataclass(frozen=True)
class Verdict:
    """The comparison of correction and plain training on the labels that neither has learned from.

    Attributes:
        kept: "correction", "plain", or "scout" where no time was left for plain training on all labels.
        difference: agreement of the correction minus that of plain training.
        error: standard error of that difference (paired).
        resolution: the error in terms of accuracy, ``error / (1 - rate)``.
        held_out: how many labels.
        text: all this as a sentence.
    """

    kept: str
    difference: float
    error: float
    resolution: float
    held_out: int
    text: str


def compare(
    correction: np.ndarray[Any, Any], plain: np.ndarray[Any, Any], rate: float, must_win: bool = False
) -> Verdict:
    """Keep the correction unless the held-out labels speak against it.

    It may be worse by two standard errors, since plain training's epoch was picked by these labels, which flatters it,
    and by a fifth of plain training's agreement, since the correction was tried for half as long. ``must_win`` is for
    where nothing but a gain speaks for it.

    Args:
        correction: whether it agrees with each held-out given label, ``[H]``, H at least 2.
        plain: the same of plain training.
        rate: estimated share of wrong labels, which blur the comparison.
        must_win: keep the correction only if it agrees with more labels.
    """
    apart = correction.astype(float) - plain.astype(float)
    difference = float(apart.mean())
    error = float(apart.std(ddof=1) / math.sqrt(len(apart)))
    worse = difference <= 0 if must_win else difference < -2 * error - HANDICAP * plain.mean()
    kept = "plain" if worse else "correction"
    resolution = error / max(1 - rate, 0.05)
    if error:
        more = f"{100 * abs(difference):.1f} points {'more' if difference > 0 else 'fewer'} than"
        text = (
            f"of {len(apart)} held-out labels the correction agrees with {more if difference else 'as many as'} plain "
            f"training (standard error {100 * error:.1f}; it resolves {100 * resolution:.1f} points of accuracy)"
        )
    else:
        text = f"correction and plain training differ at {'every' if difference else 'none'} of the {len(apart)} "
        text += "held-out labels"
    text += ": " + ("plain training" if worse else "the correction") + " is kept"
    return Verdict(kept, difference, error, resolution, len(apart), text)


class _Choosing:
    """One automatic run."""

    def __init__(
        self, job: Job, method: Method, loaded: Loaded, out: Path | None, resume: bool, begin: Begin, say: Say
    ) -> None:
        self.job, self.method, self.loaded, self.out, self.begin, self.say = job, method, loaded, out, begin, say
        self.resume = resume
        self.auto = method if isinstance(method, Auto) else None
        self.began = time.monotonic()
        self.share = self._share()
        self.scouted: Outcome | None = None

    def execute(self) -> Outcome:
        """The whole run, or what is left of it."""
        record = self._recorded()
        if record is None:
            if not self.share:
                return self._unscouted()
            self._check_unchosen()
            record = self._decide()
            self._write(record)
        decision = Decision(**{**record["decision"], "reasons": tuple(record["decision"]["reasons"])})
        for reason in decision.reasons:
            self.say(reason)
        verdict = record["verdict"] or {}
        kept = verdict.get("kept")
        if kept in ("plain", "scout"):  # it was, before this was resumed
            self.say(verdict["text"])
        if kept == "scout" or not decision.epochs:
            return self._keep_scout(record)
        if decision.seconds and kept is None:
            self.say(f"this takes about {_duration(decision.seconds)}")
        if self.auto and decision.method != "cross_entropy" and kept is None:
            self._try(decision, record)
            kept = record["verdict"]["kept"]
        return self._plain_again(record) if kept == "plain" else self._carried_out(decision, record)

    def _carried_out(self, decision: Decision, record: dict[str, Any]) -> Outcome:
        """Train what was decided, with all labels."""
        hyper = decision.hyper
        method = build_method(decision.method, **hyper) if self.auto else self.method.settled(**hyper)
        plan = rescaled(self.job.plan, decision.epochs)
        witness = self._witness(record) if decision.method == "cross_entropy" else None
        main = replace(self.job, method=method, plan=plan, choice=_public(record), witness=witness)
        progress = self.begin(decision.method, hyper.get("last_epoch", main.plan.epochs))
        outcome = jobs.execute(main, self.loaded, self.out, self.resume, progress, self._until(0.92))
        return self._concluded(outcome, record)

    def _try(self, decision: Decision, record: dict[str, Any]) -> None:
        """Train the correction for half as long without the held-out labels, and compare it with the scout on them."""
        rows, out = np.asarray(record["held_out"]), None if self.out is None else self.out / TRIAL
        given = self.loaded.y.copy()
        given[rows] = -1
        plan = rescaled(self.job.plan, max(math.ceil(TRIED * decision.epochs), 1))
        warmup = max(min(decision.hyper["warmup"], plan.epochs // 3), 1)
        method = build_method(decision.method, **{**decision.hyper, "warmup": warmup})
        trial = replace(self.job, method=method, plan=plan, record_learning=False, choice={})
        self.say(f"trial: {plan.epochs} epochs of {decision.method} without the same {len(rows):,} labels")
        until, resume = self._until(0.92), out is not None and (out / CHECKPOINT).exists() and self.resume
        if until is not None:
            until -= (until - time.monotonic()) / (1 + TRIED)  # the time of the run with all labels
        part = replace(self.loaded, y=given, test=None)
        outcome = jobs.execute(trial, part, out, resume, self.begin("trial", plan.epochs), until)
        right, plain = self._right(outcome, rows), np.asarray(record["plain_right"])
        verdict = compare(right, plain, record["evidence"]["rate"], decision.must_win)
        record["verdict"], record["trial_seconds"] = asdict(verdict), _spent(outcome.summary)
        self._write(record)
        self.say(verdict.text)

    def _share(self) -> float:
        """The share of the labels to hold out; 0 where there are too few to tell anything."""
        open_labels = self._unconfirmed()
        labelled = int((open_labels >= 0).sum())
        share = min(self.auto.validation if self.auto else 0.1, MOST / max(labelled, 1))
        held = stratified(open_labels, share, torch.Generator())  # whom is chance, how many of a class is not
        enough = share * labelled >= FEWEST and int(held.sum()) >= FEWEST
        return share if enough and len(np.unique(open_labels[held])) > 1 else 0.0

    def _unconfirmed(self) -> torch.Tensor:
        """The labels ``[N]`` that may be held out: a person vouches for the others, which are learned from."""
        return torch.from_numpy(np.where(_confirmed(self.loaded), -1, self.loaded.y))

    def _unscouted(self) -> Outcome:
        """Too little to judge anything by: plain training, or the paper's settings of a method that is asked for."""
        labelled = int((self.loaded.y >= 0).sum())
        text = f"of {labelled} labels too few, or of one class only, could be held out, so nothing can be estimated: "
        text += "plain training" if self.auto else "the paper's settings"
        self.say(text)
        method = CrossEntropy() if self.auto else self.method.settled()
        main = replace(self.job, method=method, choice=_unjudged(method, text))
        progress = self.begin(name_of(method), main.plan.epochs)
        return jobs.execute(main, self.loaded, self.out, self.resume, progress, self._until(0.92))

    def _decide(self) -> dict[str, Any]:
        """The record that ``choice.json`` holds."""
        scouted = self._scout()
        held = _run(scouted).remember("held_out").cpu().numpy()
        seen = self._evidence(scouted, held)
        decision = decide(seen, "auto" if self.auto else "dividemix")
        rows = np.flatnonzero(held)
        return {
            "format": 1,
            "key": self._key(),
            "evidence": asdict(seen),
            "decision": decision.to_dict(),
            "held_out": rows.tolist(),
            "plain_right": self._right(scouted, rows).tolist(),
            "verdict": None,
        }

    def _scout(self) -> Outcome:
        """Plain training without a part of the labels, ended when it memorises; from its folder where it is there."""
        if self.scouted is None:
            plan = self._scout_plan()
            method = CrossEntropy(validation=self.share, patience=max(10, plan.epochs // 3), until_memorised=True)
            scout = replace(self.job, method=method, plan=plan, record_learning=True, choice={})
            folder = None if self.out is None else self.out / SCOUT
            labelled, held = int((self.loaded.y >= 0).sum()), self.share * int((self._unconfirmed() >= 0).sum())
            text = f"scout: plain training without about {held:,.0f} of the {labelled:,} labels; how well it agrees "
            resume = folder is not None and (folder / CHECKPOINT).exists() and self.resume
            ended = resume and self._recorded() is not None  # only what it knows is wanted
            if not ended:
                self.say(text + "with these shows what to do")
            progress = None if ended else self._replacing(self.begin("scout", plan.epochs))
            self.scouted = jobs.execute(scout, self.loaded, folder, resume, progress, self._until(0.9))
        return self.scouted

    def _replacing(self, progress: Progress) -> Progress:
        """The scout's progress; when its first epoch is done, an older run in the folder is removed."""

        def replacing(run: Run | None, row: Mapping[str, Any]) -> None:
            if self.out is not None and not self.resume and row["epoch"] == 1:
                for folder in (self.out, self.out / TRIAL):
                    remove_run(folder)
                (self.out / CHOICE).unlink(missing_ok=True)
            progress(run, row)

        return replacing

    def _scout_plan(self) -> Plan:
        """The plan; with a budget so few epochs that scout and correction fit into it, as a few batches show."""
        plan, budget = self.job.plan, self.auto.budget if self.auto else None
        if budget is None:
            return plan
        saved = None if self.out is None else self.out / SCOUT / "config.json"
        if self.resume and saved is not None and saved.is_file():
            return rescaled(plan, int(json.loads(saved.read_text(encoding="utf-8"))["plan"]["epochs"]))
        trained = self._rehearse()
        each = trained * (1 + self._looking())
        correction = epochs_cost(GUESS, each, plan.epochs, plan.epochs // 4, trained * self._looking())
        both = each * plan.epochs + (1 + TRIED) * correction
        epochs = plan.epochs if both <= 0.85 * budget else max(int(plan.epochs * 0.85 * budget / both), 1)
        if epochs < min(15, plan.epochs):  # no time for a correction
            epochs = max(1, min(plan.epochs, int(0.85 * budget / each)))
        if epochs < plan.epochs:
            self.say(f"{epochs} epochs instead of {plan.epochs}, to keep the budget of {_duration(budget)}")
        return rescaled(plan, epochs)

    def _rehearse(self) -> float:
        """Seconds of an epoch of plain training without its looks at the data, from the second of two short passes."""
        labelled = np.flatnonzero(self.loaded.y >= 0)
        few = labelled[np.linspace(0, len(labelled) - 1, min(len(labelled), 8 * self.job.plan.batch_size)).astype(int)]
        part = replace(subset(self.loaded, np.unique(few)), test=None, confirmed=None)
        short = replace(self.job, method=CrossEntropy(), plan=rescaled(self.job.plan, 2), record_learning=False)
        seconds = jobs.execute(replace(short, choice={}), part).history[-1]["seconds"]
        return float(seconds) * len(labelled) / len(part.y)

    def _looking(self) -> float:
        """What the looks at training and test data take, as a share of an epoch's training; a look is a third of it."""
        tested = 0 if self.loaded.test is None else len(self.loaded.test.y)
        looks = len(evaluation_epochs(self.job.plan.epochs, self.job.evaluate_every)) / self.job.plan.epochs
        return looks * (len(self.loaded.y) + tested) / (3 * len(self.loaded.y))

    def _evidence(self, scouted: Outcome, held: np.ndarray[Any, Any]) -> Evidence:
        from codivide.audit.noise_report import noise_report  # it knows the estimator, which knows this room

        labels, seed = self.loaded.y, self.job.plan.seed
        # What was trained on hides its noise, so the rate is that of the labels held out; which way it goes needs
        # more labels than these, and memorising hides one direction no more than another.
        unseen = subset(self.loaded, np.flatnonzero(held))
        report = noise_report(None, unseen.y, pred_probs=scouted.model.probs(unseen.x), seed=seed, unlabelled=None)
        whole = noise_report(scouted, seed=seed, replicates=2)
        kind = "unclear" if whole.kind == "none" and report.low > 0.05 else whole.kind
        rows = [row for row in scouted.history if "validation_accuracy" in row]
        scores = [float(row["validation_accuracy"]) for row in rows]
        best = int(np.argmax(scores))
        error = math.sqrt(max(scores[best] * (1 - scores[best]), 0.25 / held.sum()) / held.sum())
        settled = next(k for k, score in enumerate(scores) if score >= scores[best] - error)
        given = np.bincount(labels[labels >= 0], minlength=len(self.loaded.classes))
        predicted = scouted.model.logits(subset(self.loaded, np.flatnonzero(labels >= 0)).x).argmax(1).numpy()
        found = np.bincount(predicted, minlength=len(given))
        lost = np.flatnonzero((given >= FEWEST) & (found < LOCKED * given))
        trained = float(scouted.summary["training_seconds"]) / len(rows)
        left = None
        if self.auto is not None and self.auto.budget is not None:
            left = max(0.85 * self.auto.budget - (time.monotonic() - self.began), 0.0)
        return Evidence(
            labelled=int((labels >= 0).sum()),
            unlabelled=int((labels < 0).sum()),
            classes=len(self.loaded.classes),
            held_out=int(held.sum()),
            rate=report.rate,
            low=report.low,
            high=report.high,
            kind=kind,
            concentration=concentration(whole.transition),
            trust=report.trust.level,
            doubt="" if report.trust.level == "good" else report.trust.reasons[0].rstrip("."),
            epochs=_run(scouted).plan.epochs,
            scouted=len(rows),
            best_epoch=int(rows[best]["epoch"]),
            settled_epoch=int(rows[settled]["epoch"]),
            lasting_epoch=max(
                int(row["epoch"]) for row, score in zip(rows, scores, strict=True) if score == scores[best]
            ),
            agreement=scores[best],
            error=error,
            fitted=float(rows[-1]["training_accuracy"]),
            memorises=memorises(rows, int(held.sum())),
            lost=tuple(str(self.loaded.classes[k]) for k in lost),
            scout_seconds=trained * (1 + self._looking()),
            look_seconds=trained * self._looking(),
            seconds_left=left,
            longer=self._longer(),
        )

    def _longer(self) -> float:
        """How far plain training may be drawn out; a number of epochs that was given stays."""
        if self.auto is None:
            return 1.0
        return self.auto.longer or (LONGER if "epochs" in self.job.open else 1.0)

    def _right(self, outcome: Outcome, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        part = subset(self.loaded, rows)
        right: np.ndarray[Any, np.dtype[np.bool_]] = outcome.model.logits(part.x).argmax(1).numpy() == part.y
        return right

    def _until(self, share: float) -> float | None:
        """When a stage has to end, of ``time.monotonic()``."""
        if self.auto is None or self.auto.budget is None:
            return None
        return self.began + share * self.auto.budget

    def _key(self) -> dict[str, Any]:
        """What a choice belongs to."""
        labels = hashlib.sha256(self.loaded.y.tobytes() + _confirmed(self.loaded).tobytes()).hexdigest()[:16]
        plan = {name: value for name, value in asdict(self.job.plan).items() if name != "device"}
        key = {"version": VERSION, "labels": labels, "method": name_of(self.method), **asdict(self.method), **plan}
        known: dict[str, Any] = json.loads(json.dumps({**key, "net": self.job.net}, default=str))
        return known

    def _recorded(self) -> dict[str, Any] | None:
        """The choice that the folder holds, when the run is resumed."""
        if self.out is None:
            return None
        path = self.out / CHOICE
        if not (self.resume and path.is_file()):
            return None
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            theirs = record["key"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is not a record of a choice ({error}); use --overwrite or another --out"
            ) from None
        for name, value in self._key().items():
            if theirs.get(name) != value:
                raise InputError(
                    f"{path} belongs to another run: {name} is {theirs.get(name)} there and {value} now; use the same "
                    "settings to resume"
                )
        return record

    def _check_unchosen(self) -> None:
        """InputError where a checkpoint is to be gone on with that no choice led to; asked before anything is done."""
        if self.out is not None and self.resume and (self.out / CHECKPOINT).exists():
            raise InputError(
                f"{self.out} holds a run in which nothing was chosen automatically; resume it with the --method and "
                "the settings it was begun with, or use --overwrite or another --out"
            )

    def _write(self, record: Mapping[str, Any]) -> None:
        if self.out is not None:
            write_text(self.out / CHOICE, json.dumps(record, indent=1) + "\n")

    def _plain_again(self, record: dict[str, Any]) -> Outcome:
        """Plain training on all labels, as long as it helped the scout; where no time is left, the scout itself."""
        seen, deadline = Evidence(**record["evidence"]), self._until(0.92)
        fits = math.inf if deadline is None else (deadline - time.monotonic()) / max(seen.scout_seconds, 1e-9)
        if "plain_epochs" not in record:  # else it has begun before
            record["plain_epochs"] = int(max(min(plain_epochs(seen), fits), seen.epochs))
            if record["plain_epochs"] > seen.epochs:
                reason = longer_reason(seen, record["plain_epochs"])
                record["verdict"]["text"] += f"; {reason}"
                self.say(reason)
            self._write(record)
        plan = rescaled(self.job.plan, record["plain_epochs"])
        method = CrossEntropy(**plain_hyper(seen, plan.epochs))
        epochs = method.last_epoch or plan.epochs
        if fits < epochs:
            record["verdict"]["kept"] = "scout"
            self._write(record)
            self.say("no time is left for plain training on all labels: the scout is the result")
            return self._keep_scout(record)
        main = replace(self.job, method=method, plan=plan, choice=_public(record), witness=self._witness(record))
        progress = self.begin("cross_entropy", epochs)
        outcome = jobs.execute(main, self.loaded, self.out, self.resume, progress, deadline)
        return self._concluded(outcome, record)

    def _witness(self, record: Mapping[str, Any]) -> Witness | None:
        """What the scout knows: plain training that goes on to the end memorises what is to be found."""
        scouted = self._scout()
        if "probs" not in scouted.evidence:  # too many samples and classes to keep them
            return None
        clean_prob = scouted.table["clean_prob"].to_numpy(np.float64)
        return Witness(scouted.evidence, clean_prob, record["evidence"]["scouted"])

    def _keep_scout(self, record: dict[str, Any]) -> Outcome:
        """Make the scout the result: it is a whole run, so its files are."""
        self.resume = True
        outcome = self._scout()
        if self.out is not None:
            scout = self.out / SCOUT
            for name in _COPIED:
                if (scout / name).exists():
                    with atomic(self.out / name) as aside:
                        shutil.copyfile(scout / name, aside)
            settings = json.loads((scout / "config.json").read_text(encoding="utf-8")) | {"choice": _public(record)}
            write_text(self.out / "config.json", json.dumps(settings, indent=2) + "\n")
        return self._concluded(outcome, record)

    def _concluded(self, outcome: Outcome, record: Mapping[str, Any]) -> Outcome:
        """The outcome with the whole choice, and the time of the stages before, in its summary."""
        outcome.summary["choice"] = _public(record)
        if "trial_seconds" in record:
            outcome.summary["trial_seconds"] = record["trial_seconds"]
        if self.scouted is not None and outcome is not self.scouted:
            outcome.summary["scout_seconds"] = _spent(self.scouted.summary)
        elif self.out is not None and (self.out / SCOUT / "summary.json").is_file():
            scout = json.loads((self.out / SCOUT / "summary.json").read_text(encoding="utf-8"))
            outcome.summary["scout_seconds"] = _spent(scout)
        _write_summary(outcome, self.out)
        return outcome


def _spent(summary: Mapping[str, Any]) -> float:
    """Seconds of a stage; a resumed process knows its own, and those of all training."""
    return max(float(summary["seconds"]), float(summary["training_seconds"]))


def _write_summary(outcome: Outcome, out: Path | None) -> None:
    if out is not None:
        write_text(out / "summary.json", json.dumps(outcome.summary, indent=2, default=str) + "\n")


def _public(record: Mapping[str, Any]) -> dict[str, Any]:
    """What config and summary say of a choice."""
    return {name: record[name] for name in ("decision", "evidence", "verdict") if name in record}


def _confirmed(loaded: Loaded) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.zeros(len(loaded.y), dtype=bool) if loaded.confirmed is None else loaded.confirmed


def _run(outcome: Outcome) -> Run:
    assert outcome.run is not None  # only the route for features trains no network
    return outcome.run


def _unjudged(method: Method | Features, *reasons: str) -> dict[str, Any]:
    """The record of a choice that needed no scout."""
    return {"decision": {"method": name_of(method), "reasons": list(reasons)}, "evidence": None, "verdict": None}


def _is_table(job: Job, loaded: Loaded) -> bool:
    """Rows of features, and nothing is asked for that only a network has: it, its epochs, an accelerator."""
    return len(loaded.x.shape) == 1 and set(job.open) >= set(NOT_FOR_FEATURES) and job.plan.device in ("auto", "cpu")


def _features(job: Job, auto: Auto, loaded: Loaded, out: Path | None, begin: Begin, say: Say) -> Outcome:
    reason = f"features: rows of {loaded.x.shape[0]} numbers; linear heads and small networks need seconds"
    say(reason)
    method = Features()
    plan = default_plan(len(loaded.y), method, seed=job.plan.seed)
    main = replace(job, method=method, plan=plan, choice=_unjudged(method, reason))
    deadline = None if auto.budget is None else time.monotonic() + 0.85 * auto.budget
    outcome = jobs.execute(main, loaded, out, progress=begin("features", plan.epochs), deadline=deadline)
    if remarks := outcome.summary["warnings"]:  # such as that nothing can be learned
        outcome.summary["choice"] = _unjudged(method, reason, *remarks)
        _write_summary(outcome, out)
    return outcome


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
