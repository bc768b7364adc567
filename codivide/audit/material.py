"""What the facts of an audit are made of, wherever the labels were judged: in a run, in memory, or elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from codivide.audit.neighbours import MOST_COLUMNS, model_points, normalised, plain_points
from codivide.audit.target_judging import saved
from codivide.core.device import resolve_device
from codivide.core.errors import InputError
from codivide.core.types import UNLABELLED, Floats, Labels, Mask, Singles
from codivide.data import columns, encode
from codivide.data.contents import Unread
from codivide.data.loaded import Loaded, subset
from codivide.data.looks import Looks, measure
from codivide.data.options import CLASSES, DEFAULT, ReadOptions
from codivide.data.own import KIND
from codivide.data.rows import MemmapRows, Rows, TensorRows
from codivide.data.sources import load
from codivide.data.standardised import chunks
from codivide.methods.features.rule_like import KEY
from codivide.noise import learning_curves
from codivide.noise.report import NoiseReport
from codivide.noise.target_report import TargetReport
from codivide.noise.trust import with_reason
from codivide.runs import label_table
from codivide.runs.changed import check_same, file_remarks, files_of, folder_remarks
from codivide.runs.folder import MODEL, SavedRun
from codivide.runs.model import load as load_model
from codivide.training.model_file import Classifier


@dataclass(frozen=True)
class Material:
    """Judged labels, and what else is known of their samples.

    Attributes:
        name: of the data.
        method: that judged.
        table: the label table (see ``label_table.build``), one row a sample.
        classes: class names ``[C]``.
        rows: the samples ``[N, ...]``; None: not at hand.
        columns: names of the features of a table.
        cells: the rows as they were written, where an encoder made ``rows`` of them; None: not at hand.
        own_texts: the samples, where they are texts that the table does not hold.
        points: ``[N, F]`` float32 in which distances mean something; None: there are none.
        logits: ``[N, C]`` of the model; None: not computed.
        losses: the last record of losses, as in ``learning_curves.loss_histogram``.
        curves: one record an epoch.
        skipped: files that were left out: path, reason.
        annotators: name, labels, quality of each; None: there is one label a sample.
        choices: why method and settings were chosen, a sentence each, where they were.
        noise: what is estimated of the labels; None: nothing but p(clean) is known.
        columns_read: what was made of the columns of a table, see ``data.columns.Columns``; None: none was encoded.
        remarks: what could not be done, and why.
        test: the label table of the test part; None: there is none.
        looks_seen: how images looked that are not at hand as ``rows``; None: they are, or there are none.
        alike: a number ``[N]``, the same for images that look alike, where ``rows`` are features of them.
        sizes: width and height ``[N, 2]`` of image files; None: not known.
        of_photos: whether ``points`` are what an encoder makes of images.
        never_predicted: numbers of classes that no prediction names, where suggestions do not tell.
        task: "regression" or "multilabel"; ``classes`` are then the different texts of given and suggested targets.
            None: a sample has one class.
        separator: between several labels.
        told: columns of a table of which the user has heard that they hold the labels.
        places: the row ``[N]`` of the run's label table that each sample has there; None: all are here.
    """

    name: str
    method: str
    table: pd.DataFrame
    classes: tuple[str, ...]
    rows: Rows | None = None
    columns: tuple[str, ...] | None = None
    cells: pd.DataFrame | None = None
    own_texts: Sequence[str] | None = None
    points: Tensor | None = None
    logits: Tensor | None = None
    losses: Mapping[str, Any] | None = None
    curves: Sequence[Mapping[str, Any]] = ()
    skipped: Sequence[tuple[str, str]] = ()
    annotators: Sequence[Mapping[str, Any]] | None = None
    choices: Sequence[str] = ()
    noise: NoiseReport | TargetReport | None = None
    columns_read: Mapping[str, Any] | None = None
    remarks: Sequence[str] = ()
    test: pd.DataFrame | None = None
    looks_seen: Looks | None = None
    alike: Labels | None = None
    sizes: Labels | None = None
    of_photos: bool = False
    never_predicted: Sequence[int] = ()
    task: str | None = None
    separator: str = ";"
    told: Sequence[str] = ()
    places: Labels | None = None

    def place(self, row: int) -> int:
        """The row of the run's label table that a sample has, by which its file is served."""
        return row if self.places is None else int(self.places[row])

    @cached_property
    def looks(self) -> Looks | None:
        """How the images look; None of other samples."""
        return self.looks_seen if self.looks_seen is not None or self.rows is None else measure(self.rows)

    @cached_property
    def numbers(self) -> Singles | None:
        """The samples ``[N, D]``, where they are rows of a dense table of at most 1,024 columns."""
        rows = self.rows
        if rows is None or len(rows.shape) != 1 or rows.shape[0] > MOST_COLUMNS or getattr(rows, "sparse", False):
            return None
        if isinstance(rows, MemmapRows | TensorRows) and rows.dtype == torch.float32:
            return np.asarray(rows.data)  # no copy: it may be larger than the memory
        return np.concatenate([rows[ids].cpu().float().numpy() for ids in chunks(len(rows))])

    @cached_property
    def ids(self) -> list[str]:
        """The path or number of every sample, as text."""
        return [str(name) for name in self.table.iloc[:, 0]]

    @cached_property
    def texts(self) -> Sequence[str] | None:
        """The samples, where they are texts."""
        return self.table[label_table.TEXT].fillna("").tolist() if label_table.TEXT in self.table else self.own_texts

    @cached_property
    def given(self) -> Labels:
        """``[N]``, -1: none."""
        return self._indices(label_table.GIVEN)

    @cached_property
    def suggested(self) -> Labels:
        """``[N]``."""
        return self._indices(label_table.SUGGESTED)

    @cached_property
    def clean_prob(self) -> Floats:
        """``[N]`` in [0, 1], NaN without a label."""
        return self.table[label_table.CLEAN_PROB].to_numpy(dtype=np.float64, na_value=np.nan)

    @cached_property
    def ranks(self) -> Floats:
        """``[N]``, 1: the least likely to be clean; infinite without a label."""
        return self.table[label_table.RANK].to_numpy(dtype=np.float64, na_value=np.inf)

    @cached_property
    def confirmed(self) -> Mask:
        """``[N]``, where a person vouches for the label."""
        if label_table.CONFIRMED not in self.table:
            return np.zeros(len(self.table), dtype=bool)
        return self.table[label_table.CONFIRMED].to_numpy(dtype=bool)

    @cached_property
    def suggested_prob(self) -> Floats | None:
        """``[N]`` in [0, 1]."""
        if label_table.SUGGESTED_PROB in self.table:
            return self.table[label_table.SUGGESTED_PROB].to_numpy(dtype=np.float64, na_value=np.nan)
        if self.logits is None:
            return None
        probs = torch.softmax(self.logits.double(), 1).numpy()
        chosen: Floats = probs[np.arange(len(probs)), self.suggested]
        return chosen

    @cached_property
    def loss_record(self) -> Mapping[str, Any] | None:
        """``losses``, or else those of the logits."""
        if self.losses is not None or self.logits is None or not (self.given >= 0).any():
            return self.losses
        target = torch.from_numpy(self.given.clip(min=0))
        loss = torch.nn.functional.cross_entropy(self.logits.double(), target, reduction="none")
        return learning_curves.loss_histogram(loss.numpy(), self.given)

    def _indices(self, column: str) -> Labels:
        number = {name: k for k, name in enumerate(self.classes)}
        values = self.table[column]
        texts = values.astype("string").fillna("").to_list()
        missing = values.isna().to_list()
        unknown = {text for text, gone in zip(texts, missing, strict=True) if not gone and text not in number}
        if unknown:
            raise InputError(f"labels.csv names the class {min(unknown)!r}, which config.json does not")
        indices = [UNLABELLED if gone else number[text] for text, gone in zip(texts, missing, strict=True)]
        return np.asarray(indices, dtype=np.int64)


def from_run(run: Path, report: Callable[[SavedRun], NoiseReport | TargetReport] | None = None) -> Material:
    """Everything that a run folder tells, with the samples themselves where their source is still there.

    Args:
        run: the folder.
        report: what estimates the noise of a run; None: it is not estimated.

    Raises:
        InputError: no finished run, or one that cannot be read.
    """
    record = SavedRun(run)
    config, rows = record.config, record.rows
    remarks: list[str] = []
    shown, seen, places = _samples(record, remarks)
    table = record.labels if places is None else record.labels.iloc[places].reset_index(drop=True)
    if record.source.options.task != CLASSES:
        return replace(_targets_of_run(record, table, shown, seen, remarks), places=places)
    points, logits = _points(lambda: load_model(run / MODEL, resolve_device("auto")), seen, remarks)
    return Material(
        name=str(config.get("data", run.name)),
        method=str(config.get("method", "")),
        table=table,
        classes=record.classes,
        points=points,
        of_photos=shown is not None and seen is not None and len(shown.x.shape) == 3 and len(seen.shape) == 1,
        logits=logits,
        losses=next((row["losses"] for row in reversed(rows) if "losses" in row), None),
        curves=rows,
        skipped=record.skipped,
        annotators=record.summary.get("annotators"),
        choices=_choices(record.summary.get("choice") or {}),
        noise=_with_rule(_noise(record, report, remarks), record.rows),
        columns_read=config.get("columns_read"),
        remarks=remarks,
        test=record.test_labels,
        places=places,
        **_shown(shown),
    )


def _shown(loaded: Loaded | None) -> dict[str, Any]:
    """The samples themselves, as fields of ``Material``; none where they are not at hand."""
    if loaded is None:
        return {}
    looks = {"looks_seen": loaded.looks, "alike": loaded.alike, "sizes": loaded.sizes}
    return {"rows": loaded.x, "columns": loaded.columns, "cells": loaded.cells, **looks}


def _targets_of_run(
    record: SavedRun, table: pd.DataFrame, shown: Loaded | None, seen: Rows | None, remarks: list[str]
) -> Material:
    """``from_run`` of numbers, or of several labels a row."""
    options, config = record.source.options, record.config
    found = of_targets(table, shown, report=saved(record), separator=options.separator, history=record.rows)
    return replace(
        found,
        name=str(config.get("data", record.path.name)),
        method=str(config.get("method", "")),
        points=None if seen is None or len(seen.shape) != 1 else normalised(seen),
        skipped=record.skipped,
        columns_read=config.get("columns_read"),
        remarks=remarks,
    )


def of_targets(
    table: pd.DataFrame,
    loaded: Loaded | None,
    *,
    report: TargetReport,
    separator: str,
    history: Sequence[Mapping[str, Any]] = (),
) -> Material:
    """What is known of judged numbers, or of several labels a row.

    Args:
        table: the label table, of texts.
        loaded: the samples; None: not kept.
        report: what is estimated of the targets.
        separator: between several labels.
        history: one record a round, or a label.
    """
    given, said = (table[name].dropna().astype(str) for name in (label_table.GIVEN, label_table.SUGGESTED))
    rows = None if loaded is None else loaded.x
    return Material(
        name="data" if loaded is None else loaded.name,
        method="features",
        table=table,
        classes=tuple(dict.fromkeys([*given, *said])),
        own_texts=None if loaded is None else loaded.texts,
        points=None if rows is None or len(rows.shape) != 1 else normalised(rows),
        curves=history,
        skipped=[] if loaded is None else loaded.skipped,
        noise=report,
        columns_read=None if loaded is None else columns.record(loaded.encoder).get("columns_read"),
        remarks=[] if loaded is not None else ["the training data are not kept, so samples cannot be shown"],
        task=report.task,
        separator=separator,
        **_shown(loaded),
    )


def _choices(choice: Mapping[str, Any]) -> tuple[str, ...]:
    """The sentences of a summary's ``choice``."""
    verdict = choice.get("verdict")
    return (*choice.get("decision", {}).get("reasons", ()), *([verdict["text"]] if verdict else []))


def from_fit(
    table: pd.DataFrame,
    classes: Sequence[Any],
    model: Classifier | None,
    loaded: Loaded | None,
    *,
    history: Sequence[Mapping[str, Any]] = (),
    method: str = "",
    noise: NoiseReport | TargetReport | None = None,
    test: pd.DataFrame | None = None,
) -> Material:
    """Everything that a fitted classifier tells.

    Args:
        table: its label table.
        classes: its classes.
        model: its model; None: it is not to be asked.
        loaded: what it was trained on; None: not kept.
        history: one record an epoch.
        method: that it used.
        noise: what is estimated of its labels.
        test: the label table of the test part; None: there is none.
    """
    remarks: list[str] = []
    if loaded is None:
        remarks.append("the training data are not kept with a pickled classifier, so samples cannot be shown")
    rows = None if loaded is None else loaded.x
    asked = loaded if model is None else model
    points, logits = _points(None if model is None else lambda: model, rows, remarks)
    return Material(
        name="data" if loaded is None else loaded.name,
        method=method,
        table=table,
        classes=tuple(str(name) for name in classes),
        points=points,
        of_photos=loaded is not None and loaded.looks is not None and len(loaded.x.shape) == 1,
        logits=logits,
        losses=next((row["losses"] for row in reversed(history) if "losses" in row), None),
        curves=history,
        skipped=[] if loaded is None else loaded.skipped,
        noise=_with_rule(noise, history),
        columns_read=columns.record(getattr(asked, "encoder", None)).get("columns_read"),
        remarks=remarks,
        test=test,
        **_shown(loaded),
    )


def from_data(loaded: Loaded) -> Material:
    """What data tell that nothing was trained on; every label counts as it is given."""
    doubt = np.where(loaded.y >= 0, 0.5, np.nan)
    table = label_table.build(loaded.ids, loaded.y, loaded.y, doubt, loaded.classes)
    return Material(
        name=loaded.name,
        method="",
        table=label_table.of_images(table) if loaded.of_images else table,
        classes=tuple(str(name) for name in loaded.classes),
        own_texts=loaded.texts,
        points=plain_points(loaded.x),
        columns_read=columns.record(loaded.encoder).get("columns_read"),
        **_shown(loaded),
    )


def _with_rule(
    noise: NoiseReport | TargetReport | None, history: Sequence[Mapping[str, Any]]
) -> NoiseReport | TargetReport | None:
    """The estimate, and what the run has said of labels that look like a rule, which makes it doubtful."""
    said = history[-1].get("warnings", {}).get(KEY) if history else None
    if said is None or not isinstance(noise, NoiseReport):
        return noise
    return replace(noise, trust=with_reason(noise.trust, said))


def _noise(
    run: SavedRun, report: Callable[[SavedRun], NoiseReport | TargetReport] | None, remarks: list[str]
) -> NoiseReport | TargetReport | None:
    if report is None:
        return None
    try:
        return report(run)
    except InputError as error:
        remarks.append(f"the noise cannot be estimated: {error}")
        return None


class _Samples(NamedTuple):
    """Samples of a run, read again, what the model saw of them, and their rows in the label table (None: all)."""

    shown: Loaded | None = None
    seen: Rows | None = None
    places: Labels | None = None


def _samples(run: SavedRun, remarks: list[str]) -> _Samples:
    """The samples of the label table, as far as they are still there; a remark where some are gone.

    Of image files the others are given; of anything else nothing. What is shown and what the model saw differ where an
    encoder made features of images: pictures are shown, features are compared.

    Raises:
        InputError: the rows of a table are not those that the run saw.
    """
    config, table, source = run.config, run.labels, run.source
    if (files := files_of(run)) is not None:
        remarks += [*file_remarks(run, files), *folder_remarks(run)]
    if source.path is None and files is None:
        remarks.append(
            "the run learned from what Python held and no file has, so samples cannot be shown here; there "
            'clf.audit().report("audit.html") shows them'
        )
        return _Samples()
    options = replace(source.reading(), max_bad=len(table) + int(config.get("skipped_files", 0)))  # all may be gone
    listed = files if source.path is None else None
    where = f"the source {source.path}" if listed is None else "the list of image files"
    try:
        whole, encoded = _read_twice(run, options, listed, remarks)
    except (OSError, ValueError) as error:  # InputError is a ValueError
        remarks.append(f"{where} cannot be read any more, so samples cannot be shown: {error}")
        return _Samples()
    check_same(run, whole)
    names = [str(name) for name in table.iloc[:, 0]]
    made = whole if encoded is None else encoded
    known = [{str(name): row for row, name in enumerate(loaded.ids)} for loaded in (whole, made)]
    there = np.array([row for row, name in enumerate(names) if all(name in rows for rows in known)], dtype=np.int64)
    gone = len(names) - len(there)
    if gone and (files is None or not len(there)):
        remarks.append(f"{where} lacks samples that the run saw, so none can be shown: bring them back, or fit again")
        return _Samples()
    if gone:
        remarks.append(f"{gone:,} of {len(names):,} images cannot be shown any more; this page is of the others")
    shown, seen = (
        subset(loaded, [rows[names[row]] for row in there.tolist()])
        for loaded, rows in zip((whole, made), known, strict=True)
    )
    return _Samples(shown, None if encoded is None else seen.x, there if gone else None)


def _read_twice(
    run: SavedRun, options: ReadOptions, listed: Sequence[Path] | None, remarks: list[str]
) -> tuple[Loaded, Loaded | None]:
    """The samples as they are shown, and as the model saw them; None, and a remark, where texts cannot be encoded."""
    if label_table.TEXT not in run.labels or run.config.get("encoder") in (None, columns.NAME):
        whole = _read(run, replace(options, encoder=encode.AUTO), listed)
        own = str(options.encoder).startswith(f"{KIND}:")  # it cannot be read from a record: pictures are shown
        return whole, whole if own or options.encoder == encode.AUTO else _read(run, options, listed)
    whole = _read(run, replace(options, encoder=Unread()), listed)
    try:  # "auto" may be another encoder now, by what is installed
        return whole, _read(run, replace(options, encoder=str(run.config["encoder"])), listed)
    except InputError as error:
        remarks.append(f"neighbours are not known: {error}")
        return whole, None


def _read(run: SavedRun, options: ReadOptions, listed: Sequence[Path] | None) -> Loaded:
    """What a run was trained on, or the image files that Python listed, by the names that the label table has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said when the run was made
        if listed is None:
            return load(run.source.location(), options=options)
        table = run.labels
        names = dict(zip(map(str, listed), map(str, table[label_table.PATH]), strict=True))
        found = load(listed, table[label_table.GIVEN].astype(object).tolist(), options=options)
        return replace(found, ids=[names[str(path)] for path in found.ids])


def _points(
    read: Callable[[], Classifier] | None, rows: Rows | None, remarks: list[str]
) -> tuple[Tensor | None, Tensor | None]:
    """Points and logits, as far as they are to be had; the model is read only if it is needed (None: never)."""
    if rows is None:
        return None, None
    points = plain_points(rows)
    if points is not None or read is None:
        return points, None
    try:
        model = read()
        encoder = model.encoder
        if encoder is not None and encoder.takes == "image" and model.shape != rows.shape:
            rows = encoder.encode(rows, DEFAULT.encoding)  # mostly it is in the cache
        if model.shape != rows.shape or model.dtype != rows.dtype:
            raise InputError(f"it expects samples of shape {model.shape}, the source has {rows.shape}")
        return model_points(model, rows)
    except InputError as error:
        remarks.append(f"the model cannot be used, so neighbours are not known: {error}")
        return None, None
