"""A run that learns numbers, or several labels a row: the same folder, table and record as a run of classes leaves."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from codivide.audit.target_judging import judge
from codivide.core.errors import InputError, TrainingWarning
from codivide.core.provenance import environment
from codivide.core.types import Floats, Labels, Mask
from codivide.data import columns, label_copies
from codivide.data.experiment import beside
from codivide.data.loaded import Loaded
from codivide.data.options import REGRESSION, ReadOptions
from codivide.data.rows import Rows
from codivide.data.sources import load
from codivide.data.targets import members, numbers, with_points
from codivide.fit.job import Before, Job
from codivide.fit.run_record import config
from codivide.fit.verdict import USABLE
from codivide.methods.features import own
from codivide.noise.target_report import TargetReport
from codivide.runs import label_table
from codivide.runs.folder import IDENTITY, RunFolder


@dataclass
class TargetOutcome:
    """What a run gives back.

    Attributes:
        model: a ``NumberModel`` or ``TagModel``, or fitted copies of the user's own.
        table: every sample with given and suggested target and p(clean), see ``label_table``.
        summary: the numbers of ``summary.json``.
        report: what is estimated of the targets.
        names: of several labels; empty for numbers.
        history: one record a round, or a label.
        predicted: numbers ``[N]``, or probabilities of the labels ``[N, K]``, by models that did not see the target.
    """

    model: Any
    table: pd.DataFrame
    summary: dict[str, Any]
    report: TargetReport
    names: tuple[str, ...]
    history: list[dict[str, Any]]
    predicted: Floats


def refuse(task: str, given: dict[str, Any]) -> None:
    """InputError for what only classes have.

    Args:
        task: "multilabel" or "regression".
        given: what is set, by the name of its parameter.
    """
    for name, value in given.items():
        flag = name.replace("_", "-")
        said = {True: flag, False: f"no-{flag}"}[value] if isinstance(value, bool) else f"{flag} {value}"
        raise InputError(
            f"--{said} does not apply to --task {task}, which fits linear and tree heads on features; leave it out"
        )


def with_test_part(loaded: Loaded, test: str | None, options: ReadOptions) -> Loaded:
    """The data with a test part from another source."""
    if test is None:
        return loaded
    other = load(test, options=options if loaded.encoder is None else replace(options, encoder=loaded.encoder))
    other = other.test or other
    commas = loaded.labels_read.commas
    if commas and not other.labels_read.commas:  # a few numbers alone may not show what their commas are
        other = with_points(other, commas)
    return beside(loaded, other, f"--test {test}")


def execute_targets(
    job: Job, loaded: Loaded, out: Path | None = None, *, model: Any = None, samples: Any = None
) -> TargetOutcome:
    """Judge the targets, and learn to predict them.

    Args:
        job: its source says the task and the separator; the plan has the seed.
        loaded: what ``load_targets`` gave.
        out: a folder that is claimed; None: nothing is written.
        model: of the user's own; None: codivide's heads.
        samples: one for each row of ``loaded``, as the model takes them.

    Raises:
        InputError: targets that are no such thing, too few of them, or a model that cannot learn.
    """
    began, options = time.perf_counter(), job.source.options
    tested = None if loaded.test is None else _test_targets(loaded, loaded.test, options)
    found = judge(loaded, options, job.plan.seed, model, samples)
    remarks = [*found.remarks, *columns.remarks(loaded.encoder), *label_copies.remarks(loaded)]
    missing = int((loaded.y < 0).sum())
    if missing:
        what = (
            "empty and count as not labelled"
            if options.task == REGRESSION
            else "without a value for each label and count as not labelled"
            if loaded.tags
            else "empty and count as not labelled; a row that has none of the labels is written (none), or []"
        )
        remarks.append(f"{missing:,} of {len(loaded.y):,} targets are {what}")
    for text in remarks:
        warnings.warn(text, TrainingWarning, stacklevel=3)
    settings = config(job, loaded, Before()) | {"task": options.task, "classes": list(found.names)}
    if tested is not None:
        found.history[-1].update(_tested(found.model, tested))
    table = found.table
    summary = {name: value for name, value in settings.items() if name != IDENTITY} | {
        "epochs": len(found.history),
        "learned": found.learned,
        "seconds": round(time.perf_counter() - began, 2),
        "label_issues": int(label_table.is_issue(table).sum()),
        "noise": found.report.to_dict(),
        "warnings": remarks,
        "findings": [],
        "verdict": USABLE,
        **{name: value for name, value in found.history[-1].items() if name.startswith("test_")},
        **environment(),
    }
    outcome = TargetOutcome(found.model, table, summary, found.report, found.names, found.history, found.predicted)
    if out is not None:
        _write(outcome, loaded, RunFolder(out, settings))
    return outcome


def _write(outcome: TargetOutcome, loaded: Loaded, folder: RunFolder) -> None:
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.begin()
    folder.write_history(outcome.history)
    report = outcome.report
    arrays = {"predicted": outcome.predicted, "clean_prob": report.clean_prob}
    if report.label_clean_prob is not None:
        arrays["label_clean_prob"] = report.label_clean_prob
    folder.write_predictions([len(outcome.history)], outcome.names, arrays)
    model: Any = outcome.model if hasattr(outcome.model, "save") else _OwnRegressor(outcome.model)
    folder.write_results(loaded, model, outcome.table, outcome.summary)


class _OwnRegressor(NamedTuple):
    """A fitted regressor of the user's own as something that is saved."""

    model: Any

    def save(self, path: str | Path) -> None:
        """Write what can be kept of it, see ``own.save``."""
        own.save(path, self.model, repr(self.model))


class _TestTargets(NamedTuple):
    """The test part: rows, which of them have a target ``[N]``, and the targets of these, ``[M]`` or ``[M, K]``."""

    x: Rows
    known: Mask
    y: Floats | Labels


def _test_targets(loaded: Loaded, test: Loaded, options: ReadOptions) -> _TestTargets:
    """The targets of a test part, read before anything is judged.

    Raises:
        InputError: one that is no number, or a label that training lacks.
    """
    test = replace(test, classes=tuple(str(name) for name in test.classes))
    known = test.y >= 0
    if options.task == REGRESSION:
        return _TestTargets(test.x, known, numbers(test)[known])
    names = members(loaded, options.separator).names
    return _TestTargets(test.x, known, members(test, options.separator, names).y[known])


def _tested(model: Any, test: _TestTargets) -> dict[str, float]:
    """How well the model predicts the test part, of which some rows have a target."""
    from sklearn.metrics import f1_score, mean_absolute_error, r2_score

    if test.y.ndim == 1:
        said = model.predict(test.x)[test.known]
        return {
            "test_r2": float(r2_score(test.y, said)),
            "test_mean_absolute_error": float(mean_absolute_error(test.y, said)),
        }
    chosen = (model.probs(test.x)[test.known] >= 0.5).astype(int)
    f1 = partial(f1_score, zero_division=0)  # of one label at a time: a single column would be read as two classes
    return {
        "test_macro_f1": float(np.mean([f1(*column) for column in zip(test.y.T, chosen.T, strict=True)])),
        "test_micro_f1": float(f1(test.y.ravel(), chosen.ravel())),
        "test_exact": float((test.y == chosen).all(1).mean()),
    }
