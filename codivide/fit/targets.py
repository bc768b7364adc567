"""A run that learns numbers, or several labels a row: the same folder, table and record as a run of classes leaves."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from codivide.core.errors import InputError, TrainingWarning
from codivide.core.provenance import environment
from codivide.core.types import Floats, Labels
from codivide.data import columns, encode
from codivide.data.groups import tensors, together
from codivide.data.loaded import Loaded
from codivide.data.options import CLASSES, MULTILABEL, REGRESSION, TASKS, ReadOptions
from codivide.data.sources import load, load_raw
from codivide.data.targets import joined, members, number_text, numbers, options_for, parts
from codivide.fit.execute import config
from codivide.fit.job import Before, Job
from codivide.fit.verdict import USABLE
from codivide.methods.features.matrix import raw
from codivide.methods.features.numbers import LearnedNumbers, Numbers, OwnRegressor, learn_numbers
from codivide.methods.features.tags import LearnedTags, OwnClassifier, Tags, learn_tags
from codivide.noise import target_report
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


class _Judged(NamedTuple):
    """What both kinds of targets come to."""

    model: Any
    table: pd.DataFrame
    report: TargetReport
    names: tuple[str, ...]
    history: list[dict[str, Any]]
    predicted: Floats
    learned: dict[str, Any]
    remarks: list[str]


def check_task(task: str) -> None:
    """InputError for a task that there is none of."""
    if task not in TASKS:
        raise InputError(f"--task {task}: there is no such task; choose one of {', '.join(TASKS)}")


def refuse(task: str, given: dict[str, Any]) -> None:
    """InputError for what only classes have.

    Args:
        task: "multilabel" or "regression".
        given: by the name of its flag; None, False, "auto" and empty are what is not set.
    """
    for name, value in given.items():
        if value not in (None, False, "auto", "", ()):
            raise InputError(
                f"--{name} {value} does not apply to --task {task}, which fits linear and tree heads on features; "
                "leave it out"
            )


def load_targets(source: object, y: object, options: ReadOptions) -> Loaded:
    """Data with texts for targets, and images as features."""
    options = options_for(options)
    loaded = encode.of_images(load_raw(source, y, options=options), _encoded(options))
    if loaded.annotations is not None:
        raise InputError(f"several annotators have no consensus with --task {options.task}: give one column of targets")
    if len(loaded.x.shape) != 1:
        loaded = encode.of_images(loaded, replace(options, encoder=encode.DEFAULT_OF["image"]))
    return replace(loaded, classes=tuple(str(name) for name in loaded.classes))


def _encoded(options: ReadOptions) -> ReadOptions:
    return options


def with_test_part(loaded: Loaded, test: str | None, options: ReadOptions) -> Loaded:
    """The data with a test part from another source."""
    if test is None:
        return loaded
    options = options_for(options)
    other = load(test, options=options if loaded.encoder is None else replace(options, encoder=loaded.encoder))
    return replace(loaded, test=other.test or other)


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
    judge = _numbers if options.task == REGRESSION else _sets
    found = judge(loaded, options, job.plan.seed, model, samples)
    remarks = [*found.remarks, *columns.remarks(loaded.encoder)]
    missing = int((loaded.y < 0).sum())
    if missing:
        what = (
            "empty and count as not labelled"
            if options.task == REGRESSION
            else ("empty and count as not labelled; a row that has none of the labels is written (none), or []")
        )
        remarks.append(f"{missing:,} of {len(loaded.y):,} targets are {what}")
    for text in remarks:
        warnings.warn(text, TrainingWarning, stacklevel=3)
    settings = config(job, loaded, Before()) | {"task": options.task, "classes": list(found.names)}
    if loaded.test is not None:
        found.history[-1].update(_tested(found, loaded.test, options, samples))
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
    if not hasattr(outcome.model, "save"):
        raise InputError("a model of your own is not kept without pickle: leave out away")
    folder.write_results(loaded, outcome.model, outcome.table, outcome.summary)


def _known(loaded: Loaded) -> dict[str, Any]:
    """Features, and what belongs together, as both learners take them."""
    groups, copies = tensors(together(loaded))
    return {
        "x": raw(loaded.x),
        "confirmed": loaded.confirmed,
        "groups": groups,
        "copies": copies,
        "weight": loaded.weight,
    }


def _named(model: Any, loaded: Loaded) -> Any:
    """The model with what makes rows of texts, images or tables."""
    if hasattr(model, "encoder"):
        model.encoder = loaded.encoder
        model.columns = loaded.columns if loaded.encoder is None else None
    return model


def _texts(loaded: Loaded) -> list[str | None]:
    """The given targets ``[N]`` as they were written."""
    return [None if code < 0 else str(loaded.classes[code]) for code in loaded.y.tolist()]


def _table(loaded: Loaded, suggested: Sequence[str], clean_prob: Floats, suggested_prob: Floats) -> pd.DataFrame:
    """The label table of texts; ``suggested`` is the given text where that stands."""
    given = _texts(loaded)
    names = list(dict.fromkeys([text for text in given if text is not None] + list(suggested)))
    place = {name: k for k, name in enumerate(names)}
    codes = np.array([-1 if text is None else place[text] for text in given], dtype=np.int64)
    said = np.array([place[text] for text in suggested], dtype=np.int64)
    known: dict[str, Any] = {"suggested_prob": suggested_prob, "texts": loaded.texts}
    table = label_table.build(loaded.ids, codes, said, clean_prob, names, **known)
    if loaded.confirmed is not None:
        table[label_table.CONFIRMED] = loaded.confirmed
    return table


def _numbers(loaded: Loaded, options: ReadOptions, seed: int, model: Any, samples: Any) -> _Judged:
    y = numbers(loaded)
    known = _known(loaded)
    learned: LearnedNumbers = learn_numbers(
        Numbers(y=y, **known), seed, regressor=None if model is None else OwnRegressor(model, samples)
    )
    given, doubted = _texts(loaded), ~(learned.clean_prob >= 0.5)
    suggested = [
        number_text(value) if text is None or doubt else text
        for text, value, doubt in zip(given, learned.predicted.tolist(), doubted.tolist(), strict=True)
    ]
    table = _table(loaded, suggested, learned.clean_prob, learned.suggested_prob)
    evidence = np.nan_to_num(learned.evidence, nan=np.inf)
    table = label_table.ranked(table, np.where(learned.clean_prob == 1, np.inf, evidence))
    table = table.assign(
        **{
            label_table.PREDICTED: learned.predicted,
            label_table.LOW: learned.low,
            label_table.HIGH: learned.high,
        }
    )
    report = target_report.of_numbers(learned.clean_prob, learned.report["hidden"], tuple(learned.remarks.values()))
    return _Judged(
        _named(learned.model, loaded),
        table,
        report,
        (),
        learned.records,
        learned.predicted,
        learned.report,
        list(learned.remarks.values()),
    )


def _sets(loaded: Loaded, options: ReadOptions, seed: int, model: Any, samples: Any) -> _Judged:
    y, names = members(loaded, options.separator)
    learned: LearnedTags = learn_tags(
        Tags(y=y, names=names, **_known(loaded)),
        seed,
        classifier=None if model is None else OwnClassifier(model, samples),
    )
    given = _texts(loaded)
    suggested, changes = [], []
    for row, text in enumerate(given):
        suggested.append(_suggested(text, y[row], learned.suggested[row], names, options.separator))
        changes.append("" if text is None else _changes(y[row], learned.suggested[row], learned.clean_prob[row], names))
    sure = np.where(np.isnan(learned.clean_prob), 1.0, np.maximum(learned.clean_prob, 1 - learned.clean_prob))
    table = _table(loaded, suggested, learned.row_clean_prob, sure.prod(1)).assign(**{label_table.CHANGES: changes})
    sizes = (y == 1).sum(0).tolist()
    report = target_report.of_sets(learned.row_clean_prob, learned.clean_prob, names, sizes, tuple(learned.unjudged))
    remarks = [f"label {name!r} cannot be judged: {why}" for name, why in list(learned.unjudged.items())[:5]]
    if len(learned.unjudged) > 5:
        remarks.append(f"{len(learned.unjudged) - 5} more labels cannot be judged")
    return _Judged(
        _named(learned.model, loaded),
        table,
        report,
        names,
        learned.records,
        learned.probs,
        learned.report,
        remarks,
    )


def _suggested(text: str | None, given: Labels, said: Labels, names: Sequence[str], separator: str) -> str:
    """The suggested labels of a row: the text that was given where they are the same, its order as far as it goes."""
    if text is not None and np.array_equal(given, said):
        return text
    kept = {names[k] for k in np.flatnonzero(said == 1)}
    first = [name for name in ([] if text is None else parts(text, separator)) if name in kept]
    return joined([*first, *sorted(kept - set(first))], separator)


def _changes(given: Labels, said: Labels, clean_prob: Floats, names: Sequence[str]) -> str:
    """What the suggestion adds and takes away, the surest first."""
    changed = np.flatnonzero(given != said)
    order = changed[np.argsort(clean_prob[changed], kind="stable")]
    return " ".join(f"{'+' if said[k] else '-'}{names[k]}" for k in order.tolist())


def _tested(found: _Judged, test: Loaded, options: ReadOptions, samples: Any) -> dict[str, float]:
    """How well the model predicts the test part."""
    from sklearn.metrics import f1_score, mean_absolute_error, r2_score

    test = replace(test, classes=tuple(str(name) for name in test.classes))
    known = test.y >= 0
    if options.task == REGRESSION:
        y = numbers(test)[known]
        said = found.model.predict(test.x)[known]
        return {
            "test_r2": float(r2_score(y, said)),
            "test_mean_absolute_error": float(mean_absolute_error(y, said)),
        }
    y = members(test, options.separator, found.names).y[known]
    chosen = (found.model.probs(test.x)[known] >= 0.5).astype(int)
    return {
        "test_macro_f1": float(f1_score(y, chosen, average="macro", zero_division=0)),
        "test_micro_f1": float(f1_score(y, chosen, average="micro", zero_division=0)),
        "test_exact": float((y == chosen).all(1).mean()),
    }


__all__ = [
    "CLASSES",
    "MULTILABEL",
    "TargetOutcome",
    "check_task",
    "execute_targets",
    "load_targets",
    "refuse",
    "with_test_part",
]
