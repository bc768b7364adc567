"""Which way a job takes: ``execute`` stands before ``fit.execute`` and leaves the same kind of run folder.

What is given is trained as it is. A table, texts or photos go to ``by_features``. A network whose method or settings
are to be chosen goes through the stages of ``choose_stages``.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from codivide.core.errors import TrainingWarning
from codivide.data.label_remarks import warn_about_labels
from codivide.data.loaded import Loaded
from codivide.fit import execute as stages
from codivide.fit import feature_run
from codivide.fit.budget import Budget
from codivide.fit.by_features import by_features, encoded, is_table, network_reason, unseen_reason, wants_features
from codivide.fit.choose_stages import Choosing, unheard, unseen
from codivide.fit.job import Before, Begin, Job, Outcome, Say, check_weights, name_of
from codivide.fit.resume import identity, is_finished, outcome_of
from codivide.methods.auto import Auto
from codivide.methods.dividemix import DivideMix
from codivide.methods.features.options import Features
from codivide.noise.too_small import FEWEST as FEWEST_LABELS
from codivide.training.plan import average_decay


def execute(
    job: Job,
    loaded: Loaded,
    out: Path | None = None,
    *,
    free: Sequence[str] = (),
    resume: bool = False,
    begin: Begin | None = None,
    say: Say | None = None,
    began: float | None = None,
) -> Outcome:
    """Train what the job says; where it leaves method or settings to "auto", choose them first.

    Photos become features of an encoder before the choice, unless something is asked for that only a network has, or
    ``--encoder none``: then a network is trained on their pixels.

    Args:
        job: as for ``fit.execute``; its method may be ``Auto``, or have settings that are "auto".
        loaded: the data. Test and true labels are recorded, and never looked at to choose.
        out: run folder, as for ``fit.execute``; None: nothing is written.
        free: options of a network's training that nobody has set (see ``features.options.unset``), to be chosen.
        resume: go on with what ``out`` holds, a scout, a choice or a checkpoint; where that is this very run, and
            finished, nothing is trained or written, and the outcome is read from it.
        begin: called with name and epochs when a stage begins; returns what is called after every epoch of it.
        say: called with every reason, one sentence at a time.
        began: of ``time.monotonic()``, when a budget begins to count; None: now.

    Returns:
        What ``fit.execute`` returns; the summary has ``choice``: the scout's report, reasons and the comparison.

    Raises:
        InputError: the data do not suit the job, or ``out`` belongs to another one.
    """
    begin, say = begin or unseen, say or unheard
    asked = None if out is None else identity(job, loaded, free)
    if resume and (finished := _finished(job, out, asked, loaded)) is not None:
        say(f"the run in {out} is this one and finished: nothing is left to do, and nothing was changed")
        return finished
    method = job.method
    check_weights(method, loaded)
    warn_about_labels(loaded, method.folds if isinstance(method, Features) else FEWEST_LABELS)
    budget = Budget(method.budget if isinstance(method, Auto) else None, began or time.monotonic())
    before = Before(asked=asked)
    if wants_features(job, loaded, free):
        job, loaded, before = encoded(job, loaded, before, budget=budget, begin=begin, say=say)
    if isinstance(method, Features) or not (isinstance(method, Auto) or method.unsettled()):
        if isinstance(method, Features):
            job = replace(job, plan=replace(job.plan, epochs=feature_run.rounds_of(method, loaded)))
        progress = begin(name_of(method), job.plan.epochs)
        return stages.execute(job, loaded, out, resume=resume, progress=progress, before=before)
    if isinstance(method, Auto) and is_table(job, loaded, free):
        return by_features(job, loaded, out, budget=budget, resume=resume, before=before, begin=begin, say=say)
    if isinstance(method, Auto) and (asked_for := network_reason(job, loaded, free)):
        say(asked_for)
    if isinstance(method, Auto) and (why := unseen_reason(job, loaded, free)):
        warnings.warn(why, TrainingWarning, stacklevel=2)
    if isinstance(method, Auto | DivideMix) and "average" in free:
        job = replace(job, plan=replace(job.plan, average=round(average_decay(len(loaded.y), job.plan), 5)))
    return Choosing(job, method, loaded, out, free, resume, begin, say, budget, asked).execute()


def _finished(job: Job, out: Path | None, asked: Mapping[str, Any] | None, loaded: Loaded) -> Outcome | None:
    """The outcome of the run in ``out`` where that is the one that is asked for, and finished."""
    if out is None or asked is None or not is_finished(out, asked):
        return None
    return outcome_of(out, loaded, job.net)
