"""Numbers, and several labels a row, read and judged: what a run, ``noise_report`` and ``score_labels`` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from codivide.core.errors import InputError, unknown
from codivide.core.files import reading
from codivide.core.types import Floats, Labels
from codivide.data import encode
from codivide.data.groups import tensors, together
from codivide.data.loaded import Loaded
from codivide.data.options import REGRESSION, TASKS, ReadOptions
from codivide.data.own_table import suited
from codivide.data.pretrained import pixels_of
from codivide.data.row_order import warn_of_order
from codivide.data.source import Part
from codivide.data.sources import load_raw
from codivide.data.targets import (
    Members,
    joined,
    members,
    number_text,
    numbers,
    other_separator,
    parts,
    texts_of,
)
from codivide.methods.features import number_heads, own
from codivide.methods.features.matrix import raw
from codivide.methods.features.numbers import LearnedNumbers, Numbers, OwnRegressor, learn_numbers
from codivide.methods.features.options import Features
from codivide.methods.features.tags import LearnedTags, OwnClassifier, Tags, learn_tags
from codivide.noise import several, target_report
from codivide.noise.target_report import TargetReport, from_record
from codivide.runs import label_table
from codivide.runs.folder import SUMMARY, SavedRun


class JudgedTargets(NamedTuple):
    """What both kinds of targets come to.

    Attributes:
        model: a ``NumberModel`` or ``TagModel``, or fitted copies of the user's own.
        table: the label table, of texts.
        report: what is estimated of the targets.
        names: of several labels; empty for numbers.
        history: one record a round, or a label.
        predicted: numbers ``[N]``, or probabilities of the labels ``[N, K]``, held out.
        learned: numbers on how it was learned.
        remarks: what the user should know.
    """

    model: Any
    table: pd.DataFrame
    report: TargetReport
    names: tuple[str, ...]
    history: list[dict[str, Any]]
    predicted: Floats
    learned: dict[str, Any]
    remarks: list[str]


def load_targets(source: object, y: object, options: ReadOptions, part: Part | None = None) -> Loaded:
    """Data with texts for targets, and images as features.

    Args:
        source: see ``data.sources.load``.
        y: targets in memory, see ``data.targets.texts_of``; None: the source brings them.
        options: the task, and how the source is read.
        part: of the samples, see ``data.sources.load_raw``; None: all.

    Raises:
        InputError: a source or targets that cannot be read.
    """
    warn_of_order(source, y=y)
    written = None if y is None else texts_of(y, options)
    loaded = encode.of_images(load_raw(source, written and written.texts, options=options, part=part), options)
    loaded = loaded if written is None else written.of(loaded)
    if loaded.annotations is not None:
        raise InputError(f"several annotators have no consensus of the task {options.task}: give one column of targets")
    if len(loaded.x.shape) != 1:
        loaded = encode.of_images(loaded, replace(options, encoder=encode.of_photos(loaded)))
    return replace(loaded, classes=tuple(str(name) for name in loaded.classes))


def check_task(task: str) -> None:
    """InputError for a task that there is none of."""
    if task not in TASKS:
        raise unknown("task", task, TASKS)


def refuse_unused(task: str, given: Mapping[str, tuple[Any, Any]]) -> None:
    """InputError for a parameter that a task does not use.

    Args:
        task: "multilabel" or "regression".
        given: by name the value and the default, None or a number.
    """
    for name, (value, default) in given.items():
        if value is not default and (default is None or value != default):
            raise InputError(f"{name} does not apply to task {task!r} here: leave it out")


def judge(
    loaded: Loaded,
    options: ReadOptions,
    seed: int = 0,
    model: Any = None,
    samples: Any = None,
    *,
    folds: int = Features.folds,
) -> JudgedTargets:
    """Judge targets that ``load_targets`` gave, and learn to predict them.

    Args:
        loaded: the data.
        options: the task, and the separator.
        seed: of all that is drawn.
        model: of the user's own; None: codivide's heads.
        samples: one for each row of ``loaded``, as the model takes them.
        folds: of cross-fitting.

    Raises:
        InputError: targets that are no such thing, too few of them, or a model that cannot learn.
    """
    learning = {"seed": seed, "folds": folds}
    own_model = None if model is None else (suited(model, samples, loaded), samples)
    return (_numbers if options.task == REGRESSION else _sets)(loaded, options, own_model, learning)


def saved(run: SavedRun) -> TargetReport:
    """The report that a run of targets has left.

    Raises:
        InputError: its record is damaged.
    """
    with reading(run.path / SUMMARY):
        return from_record(run.summary["noise"], run.predictions)


def label_clean_prob(report: TargetReport) -> Floats:
    """p(clean) ``[N, K]`` of several labels."""
    assert report.label_clean_prob is not None  # numbers have none
    return report.label_clean_prob


def _known(loaded: Loaded) -> dict[str, Any]:
    """Features, and what belongs together, as both learners take them."""
    groups, copies = tensors(together(loaded))
    return {
        "x": raw(loaded.x),
        "confirmed": loaded.confirmed,
        "groups": groups,
        "copies": copies,
        "weight": loaded.weight,
        "pixels": pixels_of(loaded.encoder),
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
    table = label_table.of_images(table) if loaded.of_images else table
    if loaded.confirmed is not None:
        table[label_table.CONFIRMED] = loaded.confirmed
    return table


def _numbers(
    loaded: Loaded, options: ReadOptions, own_model: tuple[Any, Any] | None, learning: dict[str, int]
) -> JudgedTargets:
    if own_model is not None:
        number_heads.check_own(own_model[0], weighs=loaded.weight is not None)
    y = numbers(loaded)
    known = _known(loaded)
    learned: LearnedNumbers = learn_numbers(
        Numbers(y=y, **known), regressor=None if own_model is None else OwnRegressor(*own_model), **learning
    )
    unseen = learned.report["hidden"], learned.report["most"]
    report = target_report.of_numbers(learned.clean_prob, *unseen, tuple(learned.remarks.values()))
    return JudgedTargets(
        _named(learned.model, loaded),
        table_of_numbers(loaded, learned),
        report,
        (),
        learned.records,
        learned.predicted,
        learned.report,
        list(learned.remarks.values()),
    )


def _sets(
    loaded: Loaded, options: ReadOptions, own_model: tuple[Any, Any] | None, learning: dict[str, int]
) -> JudgedTargets:
    if own_model is not None:
        own.check_model(own_model[0], weighs=loaded.weight is not None)
    y, names = members(loaded, options.separator)
    learned: LearnedTags = learn_tags(
        Tags(y=y, names=names, **_known(loaded)),
        classifier=None if own_model is None else OwnClassifier(*own_model),
        **learning,
    )
    table = table_of_sets(loaded, Members(y, names), learned.suggested, learned.clean_prob, separator=options.separator)
    sizes = (y == 1).sum(0).tolist()
    report = target_report.of_sets(learned.row_clean_prob, learned.clean_prob, names, sizes, tuple(learned.unjudged))
    remarks = [f"label {name!r} cannot be judged: {why}" for name, why in list(learned.unjudged.items())[:5]]
    if len(learned.unjudged) > 5:
        remarks.append(f"{len(learned.unjudged) - 5} more labels cannot be judged")
    if (meant := other_separator(loaded, options.separator)) is not None:
        remarks.append(meant)
    return JudgedTargets(
        _named(learned.model, loaded),
        table,
        report,
        names,
        learned.records,
        learned.probs,
        learned.report,
        remarks,
    )


def table_of_numbers(loaded: Loaded, learned: LearnedNumbers) -> pd.DataFrame:
    """The label table of numbers: the given text where the target is likely right, else the prediction.

    Args:
        loaded: the targets as texts, and what names the rows.
        learned: what is known of each.
    """
    given, doubted = _texts(loaded), ~(learned.clean_prob >= 0.5)
    spread = learned.report["spread"]
    suggested = [
        number_text(value, spread) if text is None or doubt else text
        for text, value, doubt in zip(given, learned.predicted.tolist(), doubted.tolist(), strict=True)
    ]
    table = _table(loaded, suggested, learned.clean_prob, learned.suggested_prob)
    evidence = np.nan_to_num(learned.evidence, nan=np.inf)
    table = label_table.ranked(table, np.where(learned.clean_prob == 1, np.inf, evidence))
    return table.assign(
        **{
            label_table.PREDICTED: learned.predicted,
            label_table.LOW: learned.low,
            label_table.HIGH: learned.high,
        }
    )


def table_of_sets(
    loaded: Loaded, given: Members, suggested: Labels, clean_prob: Floats, *, separator: str
) -> pd.DataFrame:
    """The label table of several labels a row.

    Args:
        loaded: the targets as texts, and what names the rows.
        given: what they mean.
        suggested: 1 or 0 ``[N, K]``.
        clean_prob: ``[N, K]``, NaN where a label cannot be judged.
        separator: between several labels.
    """
    texts, changes = [], []
    for row, text in enumerate(_texts(loaded)):
        texts.append(_suggested(text, given.y[row], suggested[row], given.names, separator))
        changed = "" if text is None else _changes(given.y[row], suggested[row], clean_prob[row], given.names)
        changes.append(changed)
    sure = np.where(np.isnan(clean_prob), 1.0, np.maximum(clean_prob, 1 - clean_prob)).prod(1)
    table = _table(loaded, texts, several.row_score(clean_prob), sure)
    return table.assign(**{label_table.CHANGES: changes})


def _suggested(text: str | None, given: Labels, said: Labels, names: Sequence[str], separator: str) -> str:
    """The suggested labels of a row: the text that was given where they are the same, its order as far as it goes."""
    if text is not None and np.array_equal(given, said):
        return text
    kept = {names[k] for k in np.flatnonzero(said == 1).tolist()}
    first = [name for name in ([] if text is None else parts(text, separator)) if name in kept]
    return joined([*first, *sorted(kept - set(first))], separator)


def _changes(given: Labels, said: Labels, clean_prob: Floats, names: Sequence[str]) -> str:
    """What the suggestion adds and takes away, the surest first."""
    changed = np.flatnonzero(given != said)
    order = changed[np.argsort(clean_prob[changed], kind="stable")]
    return " ".join(f"{'+' if said[k] else '-'}{names[k]}" for k in order.tolist())
