"""The audit for those who trained elsewhere: from labels and what a model that did not learn from them said of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from codivide.audit import facts
from codivide.audit.findings import Findings
from codivide.audit.material import Material, of_targets
from codivide.audit.neighbours import normalised
from codivide.audit.noise_report import from_reading
from codivide.audit.probs_files import Brought, Labelled
from codivide.audit.reading import Reading, read
from codivide.audit.target_files import BroughtTargets
from codivide.audit.target_judging import check_task, refuse_unused, table_of_numbers, table_of_sets
from codivide.audit.target_predictions import Scored, of_predictions
from codivide.core.errors import InputError, option
from codivide.core.files import expand_user, write_json
from codivide.core.types import UNLABELLED
from codivide.data.arrays import array_rows
from codivide.data.images import is_image_name
from codivide.data.loaded import Loaded
from codivide.data.options import CLASSES, DEFAULT, ReadOptions
from codivide.data.record import DataRecord
from codivide.data.row_order import index_names
from codivide.methods.features.judge import likely_right
from codivide.noise import learning_curves
from codivide.noise.clean_prob import combined
from codivide.noise.confidence import standing
from codivide.noise.rates import never_predicted
from codivide.noise.report import Material as Judgeable
from codivide.noise.report import estimate
from codivide.noise.report_record import to_record
from codivide.runs import label_table
from codivide.runs.folder import CONTENTS, FACTS, NOISE, SOURCE


def from_probs(
    labels: Any,
    pred_probs: Any,
    *,
    classes: Sequence[Any] | None = None,
    ids: Sequence[str | int] | None = None,
    images: Any = None,
    texts: Sequence[str] | None = None,
    features: Any = None,
    groups: Any = None,
    out: str | Path | None = None,
    limit: int = 1000,
    task: str = CLASSES,
    separator: str = DEFAULT.separator,
) -> Findings:
    """Audit labels with the probabilities of any classifier, or numbers with the predictions of any regressor.

    Every sample must have been predicted by a model that did not learn from it (cross-validation), nor from others of
    its group (``GroupKFold``), or memorised labels look clean.

    Args:
        labels: given labels ``[N]``: class numbers, or values of ``classes``; missing ones as in ``fit``.
        pred_probs: ``[N, C]``, rows sum to 1; column k is ``classes[k]``. Of several models a list counts as its mean.
        classes: class values in the order of the columns, or names of the class numbers 0 to C - 1; None: the columns
            of a data frame that are named by labels, the categories of an ordered categorical, the numbers 0 to C - 1
            where all labels are such (also as text), else the different labels, sorted, number texts by value.
        ids: what names each sample, no two alike; None: the index of labels that are a series, where it holds
            texts or whole numbers that are all different, else row numbers. The column is called "path" where all are
            names of image files, else "id".
        images: ``[N, ...]`` as in ``fit``, to be shown and searched for duplicates.
        texts: length N, for the same.
        features: ``[N, D]`` in which near samples are alike, for neighbours, examples and outliers.
        groups: a value ``[N]`` for each sample, such as a patient, equal for those that belong together (copies, frames
            of a video): of each one label, drawn at random, counts for the rates. Every label is judged by itself.
        out: a new folder for ``labels.csv``, ``labels.parquet``, ``noise.json`` and ``facts.json``, which ``codivide
            audit``, ``noise``, ``serve`` and ``clean`` take as they take a run; None: nothing is written.
        limit: issues listed in the facts.
        task: "classes"; "regression": given and predicted numbers ``[N]``; "multilabel": labels ``[N, K]`` of 0 and 1,
            or lists, and probabilities ``[N, K]`` (or a list of ``[N, 2]``). Neither has classes or groups.
        separator: between several labels of a row, where they are one text.

    Returns:
        The label table and the facts.

    Raises:
        InputError: lengths, classes or probabilities that do not fit, by the row. Columns that are surely in another
            order, which was not stated, by the label that each fits.
    """
    shown = {"images": images, "texts": _texts(texts), "features": features}
    check_task(task)
    if task != CLASSES:
        refuse_unused(task, {"classes": (classes, None), "groups": (groups, None)})
    folder = new_folder(out)
    if task != CLASSES:
        scored = of_predictions(labels, pred_probs, ReadOptions(task=task, separator=separator))
        known = _of_targets(scored, _named(labels, ids, len(scored.clean_prob), shown), shown, separator)
        return _judged(known, limit, folder)
    reading = read(labels, pred_probs, classes=classes)
    named = _named(labels, ids, len(reading.probs), shown)
    return _judged(_material(reading, named, shown, from_reading(reading, groups)), limit, folder)


def from_files(brought: Brought, out: Path) -> Findings:
    """``from_probs`` of what files hold, written to a new folder; every issue is in the facts.

    Raises:
        InputError: the folder is there, or a sample's name comes twice.
    """
    folder = new_folder(out)
    labelled, reading, source = brought
    shown = {"images": None, "texts": labelled.texts, "features": None}
    named = _names(labelled.names, len(labelled.names), given=True)
    material = _material(reading, named, shown, from_reading(reading, labelled.groups))
    return _written(replace(material, rows=labelled.images), folder, labelled, source)


def _written(material: Material, folder: Path | None, labelled: Labelled, source: DataRecord) -> Findings:
    """What is found of samples in files, with what finds them again."""
    found = _judged(material, len(material.table), folder)
    if folder is not None and labelled.contents is not None:
        write_json(folder / SOURCE, source.to_dict())
        np.save(folder / CONTENTS, labelled.contents)
    return found


def from_target_files(brought: BroughtTargets, out: Path) -> Findings:
    """``from_files`` of numbers, or of several labels a row.

    Raises:
        InputError: as ``from_files``.
    """
    folder = new_folder(out)
    labelled, said, options, source = brought
    shown = {"images": None, "texts": labelled.texts, "features": None}
    named = _names(labelled.names, len(labelled.names), given=True)
    material = _of_targets(of_predictions(labelled.labels, said, options), named, shown, options.separator)
    return _written(replace(material, rows=labelled.images), folder, labelled, source)


def new_folder(out: str | Path | None) -> Path | None:
    """The folder that is asked for; InputError where it is there."""
    folder = None if out is None else expand_user(out)
    if folder is not None and folder.exists():
        raise InputError(f"{option('out', str(folder))} exists; give a new folder")
    return folder


def _judged(material: Material, limit: int, folder: Path | None) -> Findings:
    """What is found, written to a folder where one is asked for."""
    found = facts.findings(material, limit)
    if folder is not None:
        folder.mkdir(parents=True)
        label_table.write(found.labels, folder)
        if material.noise is not None:
            write_json(folder / NOISE, to_record(material.noise))
        facts.write(found.facts, folder / FACTS)
    return found


def _of_targets(scored: Scored, named: Sequence[str | int], shown: Mapping[str, Any], separator: str) -> Material:
    """What ``from_probs`` was given of numbers or of several labels, judged; ``shown`` as in ``_material``."""
    assert scored.loaded is not None  # score_labels alone leaves it out
    loaded = replace(scored.loaded, ids=named)
    if scored.learned is not None:
        table = table_of_numbers(loaded, scored.learned)
    else:
        table = _table_of_sets(loaded, scored, separator)
    if all(isinstance(name, str) and is_image_name(name) for name in named):
        table = label_table.of_images(table)
    material = of_targets(table, None, report=scored.report, separator=separator)
    return replace(
        material, name="labels", method="pred_probs", own_texts=shown["texts"], remarks=(), **_samples(**shown)
    )


def _table_of_sets(loaded: Loaded, scored: Scored, separator: str) -> pd.DataFrame:
    """The label table of several labels; rows without labels have those that are likelier there than not."""
    given, probs = scored.given, scored.probs
    assert given is not None  # of several labels there are both
    assert probs is not None
    said = np.where(given.y < 0, probs >= 0.5, np.where(scored.clean_prob < 0.5, 1 - given.y, given.y))
    return table_of_sets(loaded, given, said.astype(np.int64), scored.clean_prob, separator=separator)


def _named(labels: Any, ids: Any, count: int, shown: Mapping[str, Any]) -> Sequence[str | int]:
    """What names each of so many samples; InputError where ids, or what is ``shown``, are of another number."""
    _check_lengths(count, {"ids": ids, **shown})
    return _names(labels if ids is None else ids, count, given=ids is not None)


def _names(ids: Any, count: int, *, given: bool) -> Sequence[str | int]:
    """What names each sample: numbers and texts as they are, anything else (a path, a date) as it is written.

    Args:
        ids: what is given, or else labels, whose index may have names.
        count: how many samples there are.
        given: whether it is ids.

    Raises:
        InputError: a name that is missing, or comes twice.
    """
    if not given:
        return index_names(ids) or range(count)
    found: list[str | int] = []
    for row, name in enumerate(ids):
        if name is None or name is pd.NA or name != name:
            raise InputError(f"ids: row {row} has none; give a name for each sample, or leave ids out")
        whole = isinstance(name, int | np.integer) and not isinstance(name, bool)
        found.append(int(name) if whole else str(name))
    again = pd.Series(list(map(str, found)), dtype=object).duplicated().to_numpy()
    if again.any():
        row = int(again.argmax())
        raise InputError(
            f"ids: row {row} is called {found[row]!r} as one before it is; decisions go by ids, so give each sample "
            "one of its own (groups says what belongs together)"
        )
    return found


def _texts(texts: Any) -> list[str] | None:
    """Texts to be shown, empty where there is none.

    Raises:
        InputError: something else than texts.
    """
    if texts is None:
        return None
    found = ["" if text is None or text is pd.NA or text != text else text for text in texts]  # NaN is not itself
    wrong = next((row for row, text in enumerate(found) if not isinstance(text, str)), None)
    if wrong is not None:
        raise InputError(f"texts: row {wrong} is {found[wrong]!r:.80}, which is no text")
    return found


def _check_lengths(count: int, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        size = None if value is None else value.shape[0] if hasattr(value, "shape") else len(value)
        if size is not None and size != count:
            raise InputError(f"pred_probs has {count} rows, but {name} has {size}; give one for each sample")


def _material(reading: Reading, names: Sequence[str | int], shown: Mapping[str, Any], judgeable: Judgeable) -> Material:
    """What ``from_probs`` was given, judged; ``shown`` holds images, texts and features, or None for each.

    ``judgeable`` is the same for the noise report.

    Labels of a class that is never predicted cannot be judged: they get the mean p(clean) of the others and no other
    suggestion, and rank last. Where those of one class are left, p(clean) is 1/2 for all.
    """
    probs, given, known = reading.probs, reading.given, reading.classes
    count = len(probs)
    silent = np.isin(given, never_predicted(probs, given))
    judged = np.where(silent, UNLABELLED, given)
    clean_prob = combined(probs, judged, held_out=True)
    if silent.any():
        if len(np.unique(judged[judged >= 0])) > 1:
            clean_prob[silent] = clean_prob[judged >= 0].mean()
        else:
            clean_prob[given >= 0] = 0.5
    suggested = np.where(silent | likely_right(clean_prob), given, probs.argmax(1))
    table = label_table.build(
        names,
        given,
        suggested,
        clean_prob,
        known,
        suggested_prob=probs[np.arange(count), suggested],
    )
    if all(isinstance(name, str) and is_image_name(name) for name in names):
        table = label_table.of_images(table)
    loss = -np.log(np.maximum(probs[np.arange(count), given.clip(min=0)], 1e-12))
    labelled = bool((given >= 0).any())
    return Material(
        name="labels",
        method="pred_probs",
        table=label_table.ranked(table, standing(probs, judged)),
        classes=tuple(str(name) for name in known),
        own_texts=shown["texts"],
        losses=learning_curves.loss_histogram(loss, given) if labelled else None,
        noise=estimate(judgeable) if labelled else None,
        never_predicted=np.unique(given[silent]).tolist(),
        **_samples(**shown),
    )


def _samples(images: Any, texts: Sequence[str] | None, features: Any) -> dict[str, Any]:
    """What is known of the samples themselves, as fields of ``Material``: images are shown, features compared."""
    rows = None if images is None else array_rows(images)
    if features is None:
        return {"rows": rows}
    plain = array_rows(features)
    return {
        "rows": plain if rows is None and texts is None else rows,
        "columns": tuple(str(name) for name in features.columns) if isinstance(features, pd.DataFrame) else None,
        "points": normalised(plain),
        "of_photos": rows is not None and len(rows.shape) == 3,
    }
