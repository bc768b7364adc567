"""A run's judgement and a person's decisions turned into repaired data, written beside the source and never into it.

Which rule decides on a sample stands in ``clean_rules``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from codivide.audit import write_clean
from codivide.audit.clean_rules import (
    SURE,
    Decided,
    Further,
    Rules,
    Sample,
    Types,
    Verdict,
    by_person,
    is_unasked,
    label_values,
    left_over,
    samples_of,
)
from codivide.audit.earlier import with_earlier
from codivide.audit.noise_report import noise_report
from codivide.audit.write_clean import LABELS
from codivide.core.errors import InputError, either, option
from codivide.core.files import is_present, read_json, reading
from codivide.core.words import counted, first_few
from codivide.data.commas import Commas
from codivide.data.contents import Contents
from codivide.data.corrections import Correction, Corrections, Known
from codivide.data.database import is_database
from codivide.data.image_bytes import with_images
from codivide.data.images import is_image_name, on_disk, written
from codivide.data.options import CLASSES, DEFAULT, MULTILABEL, ReadOptions
from codivide.data.record import DataRecord
from codivide.data.row_order import in_order_of_names, parts_of
from codivide.data.table_columns import TEXT_COLUMNS, find
from codivide.data.table_files import folder_parts, is_table
from codivide.data.table_sets import split_answers
from codivide.data.tables import as_written, feature_ids, read_table
from codivide.data.target_decisions import check_targets, unfit, with_points
from codivide.noise.report import NoiseReport
from codivide.runs import label_table
from codivide.runs.changed import check_again, file_remarks, folder_remarks, image_remarks, is_listed
from codivide.runs.folder import CONTENTS, FACTS, PREDICTIONS, SOURCE, SUMMARY, USELESS, SavedRun, is_audit


@dataclass(frozen=True)
class Judged:
    """The label table of a finished run, and where its samples are.

    Attributes:
        table: columns path or id, given, suggested (None: no label), clean_prob and maybe suggested_prob.
        classes: names of all classes, as text.
        source: what the run was trained on.
        run: its folder, to compare the source with; None: it is an audit of somebody's predictions.
        contents: of such an audit, a hash of each image file as it was; None: the samples are no such files.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    source: DataRecord = field(default_factory=DataRecord)
    run: SavedRun | None = None
    contents: Contents | None = None

    def known(self, *, new_classes: bool = False) -> Known:
        """What decisions on this run are checked against."""
        ids, given = self.table[label_table.id_column(self.table)], label_values(self.table[label_table.GIVEN])
        found = Known.of(ids, given, self.classes, new_classes=new_classes or not self.of_classes)
        if self.of_classes:
            return found
        known = None if new_classes else self.classes
        return replace(found, unfit=partial(unfit, options=self.source.options, known=known, commas=self.commas()))

    def commas(self) -> Commas:
        """What the commas of a column of numbers are."""
        return "" if self.run is None else cast(Commas, self.run.config.get("labels_read", {}).get("commas", ""))

    @property
    def decided(self) -> Mapping[str, Any]:
        """The record of the decisions that the run was fitted with; empty: there were none."""
        return {} if self.run is None else cast(Mapping[str, Any], self.run.config.get("corrections", {}))

    @property
    def of_classes(self) -> bool:
        """Whether a label is a class; else it is a number or several labels, of which any may come."""
        return self.source.options.task == CLASSES

    @property
    def is_useless(self) -> bool:
        """Whether the run itself says that it is of no use."""
        return self.run is not None and self.run.is_useless

    def cautions(self) -> list[str]:
        """What is said before all else of a run that is of no use."""
        return [USELESS] if self.is_useless else []

    def origin(self) -> Path:
        """The source, which must be there.

        Raises:
            InputError: it is not, or the data were in memory.
        """
        path = self.source.root()
        if path is None:
            raise InputError(f"the run does not name a file or folder that it was trained on; give {option('source')}")
        if not path.exists() and not folder_parts(path):
            raise InputError(f"the source of the run, {path}, is not there; give {option('source')}")
        return path

    def of_files(self) -> bool:
        """Whether the samples are images in files; the rows of a table may have names, too."""
        if label_table.PATH not in self.table:
            return False
        table = _table_of(self)
        return table is None or "path" in table

    def files(self) -> list[Path]:
        """The image of every row, absolute; of a manifest, or a list that Python held, they may lie anywhere."""
        if self.listed():
            root = Path(self.source.folder)
        else:
            path = self.origin()
            root = path if path.is_dir() else path.parent
        return [on_disk(root, name) for name in self.table[label_table.PATH]]

    def listed(self) -> bool:
        """Whether the run learned from a list of image files in Python, which its label table names."""
        return is_listed(self.source, self.table)


class Cleaned(NamedTuple):
    """Repaired labels.

    Attributes:
        labels: column path or id, and label (None: no label), of the samples that stay; the index is their row in the
            label table.
        changes: path or id, given, label (None: left out), change ("relabelled", "labelled" or "dropped"), reason.
        remarks: what the user should know.
        reading: how the table that was written is read again; None: nothing was, or it names rows of data elsewhere.
    """

    labels: pd.DataFrame
    changes: pd.DataFrame
    remarks: list[str]
    reading: ReadOptions | None = None


def read_run(run: Path) -> Judged:
    """The judgement in the folder of a finished run, or of an audit, which knows a source of image files alone.

    Raises:
        InputError: it is none.
    """
    if is_audit(run):
        facts = read_json(run / FACTS)
        with reading(run / FACTS):
            classes, targets = tuple(map(str, facts["classes"])), facts.get("targets") or {}
            options = replace(DEFAULT, task=targets.get("kind", CLASSES))
            options = replace(options, separator=targets.get("separator", options.separator))
        judged = Judged(label_table.read(run).astype(object), classes, DataRecord(options=options))
        return _with_files(judged, run)
    try:
        saved = SavedRun(run)
        table, summary = saved.labels, saved.summary
        with reading(run / SUMMARY):
            classes, source = tuple(map(str, summary["classes"])), DataRecord.of_run(summary)
    except InputError as error:
        raise InputError(f"{run} is not the folder of a finished run of codivide: {error}") from None
    return Judged(table.astype(object), classes, source, saved)


def _with_files(judged: Judged, folder: Path) -> Judged:
    """The judgement of an audit with the image files that it was made of, where its folder names them."""
    if not is_present(folder / SOURCE) or not is_present(folder / CONTENTS):
        return judged
    values = read_json(folder / SOURCE)
    with reading(folder / SOURCE):
        source = DataRecord.from_dict(values)
    with reading(folder / CONTENTS):
        contents = np.load(folder / CONTENTS, allow_pickle=False)
        if contents.shape != (len(judged.table),):
            raise ValueError(f"it has {len(contents)} images, and the label table {len(judged.table)}")
    return replace(judged, source=source, contents=contents)


def apply(
    labels: pd.DataFrame,
    corrections: Corrections | None = None,
    *,
    drop_below: float | None = None,
    relabel_above: float | None = None,
    classes: Sequence[Any] | None = None,
    new_classes: bool = False,
    task: str = CLASSES,
    run: Path | None = None,
    certain: float | None = None,
) -> Cleaned:
    """Repair the labels of a label table, such as ``clf.labels_``.

    With neither rule and no decisions, each sample gets what makes the expected number of wrong labels smallest (see
    the head of ``clean_rules``); with any of them, only what is given does. A remark says what is left to be done.

    Args:
        labels: a row a sample: path or id, given, suggested, clean_prob, and suggested_prob. Without that column
            1 - clean_prob stands in for it, and a remark says so. Where there is a column confirmed and it is true,
            neither rule applies.
        corrections: decisions of a person.
        drop_below: leave out what has a smaller p(clean), in [0, 1]; None: nothing.
        relabel_above: take the suggestion where its probability is larger, in [0, 1]; None: nowhere.
        classes: all classes; None: those in the table.
        new_classes: allow decisions for other classes.
        task: what a label is, see ``data.options``; of numbers and sets it is not said which are left over.
        run: the folder of the labels, which remarks name; None: there is none.
        certain: the share of wrong labels that is certain, in [0, 1], which bounds what is changed unasked:
            ``noise_report(clf).certain``; None: p(clean) alone counts, which takes doubt for noise.

    Returns:
        Labels, changes and remarks.

    Raises:
        InputError: a threshold outside [0, 1], a decision that does not fit, or nothing that would be left.
    """
    samples, what = samples_of(labels)
    rules, taken = Rules.of(corrections, drop_below, relabel_above, samples, certain)
    types = Types([label for sample in samples for label in (sample.given, sample.suggested)], classes or ())
    decided: dict[str, Correction] = {}
    if corrections is not None:
        ids, given = [sample.id for sample in samples], [sample.given for sample in samples]
        corrections.check(Known.of(ids, given, types.known, new_classes=new_classes))
        decided = {row.id: row for row in corrections.rows}
    verdicts = [
        by_person(decided[str(sample.id)], types) if str(sample.id) in decided else rules.verdict(sample, what)
        for sample in taken
    ]
    remarks = []
    if (rules.unasked or rules.relabel_above is not None) and what != SURE:
        remarks.append(f"the run has no probability of its suggestions (suggested_prob); {what} stands in for it")
    cleaned = _cleaned(label_table.id_column(labels), samples, verdicts, remarks, classes=task == CLASSES)
    rows = [
        Decided(*row)
        for row in zip(samples, taken, verdicts, strict=True)
        if row[0].is_open and str(row[0].id) not in decided
    ]
    cleaned.remarks.extend(left_over(rows, rules, Further.of(run)))
    return cleaned


def _cleaned(
    column: str, samples: list[Sample], verdicts: list[Verdict], remarks: list[str], *, classes: bool
) -> Cleaned:
    """The two tables; ``column`` names the samples."""
    stay = [row for row, verdict in enumerate(verdicts) if verdict.kept]
    if not stay:
        smaller = f"give a smaller {either('--drop-below', 'drop_below')}"
        raise InputError(f"all {len(samples)} samples would be left out; {smaller}")
    final = [verdicts[row].label for row in stay]
    lost = {str(sample.given) for sample in samples if sample.given is not None} - {str(label) for label in final}
    if lost and classes:
        remarks.append(
            f"no sample is left of {len(lost)} {'classes' if len(lost) > 1 else 'class'}: {first_few(sorted(lost), 10)}"
        )
    columns = {column: [samples[row].id for row in stay], "label": pd.Series(final, stay, dtype=object)}
    labels = pd.DataFrame(columns, index=stay)
    changes = [
        (sample.id, sample.given, verdict.label, verdict.change(sample.given), verdict.reason)
        for sample, verdict in zip(samples, verdicts, strict=True)
        if not verdict.kept or verdict.label != sample.given
    ]
    names = [column, "given", "label", "change", "reason"]
    return Cleaned(labels, pd.DataFrame(changes, columns=names, dtype=object), remarks)


def clean(
    run: Path,
    out: Path,
    corrections: Corrections | None = None,
    *,
    drop_below: float | None = None,
    relabel_above: float | None = None,
    files: write_clean.How | None = None,
    source: str | None = None,
    new_classes: bool = False,
) -> Cleaned:
    """Write the repaired data of a run to a new folder; see ``apply`` for the rules.

    Args:
        run: folder of a finished run.
        out: a folder that does not exist; written aside and renamed, so that it is whole or not there.
        corrections: decisions of a person.
        drop_below: see ``apply``.
        relabel_above: see ``apply``.
        files: "copy" or "link": also make a folder of images with one sub-folder a class; None: tables alone.
        source: what the run was trained on, seen from the current folder; None: as the run recorded it.
        new_classes: see ``apply``.

    Returns:
        What ``apply`` returns.

    Raises:
        InputError: anything wrong with the run, its source, the decisions or ``out``, before anything is written.
    """
    write_clean.check_out(out)
    judged = read_run(run)
    if corrections is not None:
        corrections = _decided(corrections, judged, new_classes=new_classes)
    judged = judged if source is None else _at(judged, run, source)
    cleaned = apply(
        judged.table,
        corrections,
        drop_below=drop_below,
        relabel_above=relabel_above,
        classes=judged.classes if judged.of_classes else None,
        new_classes=new_classes or not judged.of_classes,
        task=judged.source.options.task,
        run=run,
        certain=_certain(judged, run) if is_unasked(corrections, drop_below, relabel_above) else None,
    )
    cleaned = since_source(cleaned, judged.table, judged.classes, judged.decided, judged.cautions())
    if judged.of_files():
        (table, paths, places), cells = _images(cleaned, judged, files, out), None
    elif files is not None:
        said = either("--copy and --link are", f"{option('files', files)} is")
        raise InputError(f"{said} for images in files; the samples of this run are rows")
    else:
        _check_unchanged(judged, cleaned.remarks)
        (table, cells), paths, places = _rows(cleaned.labels, judged), [], []
    label = "label" if (own := _own_label(judged.source)) in table else own  # such as "id", which is the run's
    with write_clean.aside(out) as folder:
        write_clean.write_tables(table, cleaned.changes, folder, judged.source.options.task, cells, label=label)
        if files is not None:
            write_clean.place(paths, places, folder, files)
    return cleaned._replace(reading=_again(table, judged.source.options, label))


def since_source(
    cleaned: Cleaned,
    table: pd.DataFrame,
    classes: Sequence[Any],
    record: Mapping[str, Any],
    first: Sequence[str] = (),
) -> Cleaned:
    """What differs from the source, which earlier decisions that the run was trained with do, too.

    Args:
        cleaned: what differs from the labels that the run saw.
        table: its label table.
        classes: its classes.
        record: of those decisions, see ``Corrections.record``.
        first: remarks that come before the others.
    """
    labels = [*label_values(table[label_table.GIVEN]), *label_values(table[label_table.SUGGESTED])]
    changes, remarks = with_earlier(cleaned.changes, record, table, Types(labels, classes).label)
    return cleaned._replace(changes=changes, remarks=[*first, *cleaned.remarks, *remarks])


def _certain(judged: Judged, run: Path) -> float | None:
    """The share of a run's labels that is certainly wrong; None where nothing says so.

    Raises:
        InputError: what the run recorded cannot be read; it says what does without it.
    """
    if is_audit(run):
        facts = read_json(run / FACTS)
        with reading(run / FACTS):
            found = facts["noise"].get("certain")  # an older version has none
            return None if found is None else float(found)
    if judged.run is None or not judged.of_classes or not is_present(run / PREDICTIONS):
        return None
    try:
        report = noise_report(judged.run, replicates=2)  # its interval is not asked for
    except InputError as error:
        rule = either("--drop-below or --relabel-above", "drop_below or relabel_above")
        raise InputError(
            f"{error}. It tells how many labels are certainly wrong: give {rule}, which need the label table "
            "alone, or fit again"
        ) from error
    if judged.is_useless:
        return 0.0
    return report.certain if isinstance(report, NoiseReport) else None


def _again(table: pd.DataFrame, options: ReadOptions, label: str) -> ReadOptions | None:
    """How a cleaned table is read, with one annotator; None: it has but names and labels of data that are not in it."""
    return None if table.shape[1] < 3 else replace(options, label=label, annotators=(), answers=None)


def _at(judged: Judged, run: Path, source: str) -> Judged:
    """The judgement with its source elsewhere.

    Raises:
        InputError: it is not there; or a table beside an audit of probabilities, which knows nothing of its rows that
            could be compared.
    """
    if is_audit(run) and not Path(source).is_dir():
        raise InputError(
            f"{option('source', source)}: {run} holds an audit of probabilities, for which that is a folder of images; "
            f"the rows of a table are known by the ids in {LABELS}"
        )
    moved = replace(judged, source=replace(judged.source, path=source, folder=""))
    path = moved.source.root()
    nowhere = path is None and judged.source.root() is None  # a known set or a database, as the run's own
    if not nowhere and (path is None or (not path.exists() and not folder_parts(path))):
        raise InputError(f"{option('source', source)}: there is no such file or folder")
    return moved


def _decided(corrections: Corrections, judged: Judged, *, new_classes: bool) -> Corrections:
    """The decisions as the label table writes targets, all of which fit."""
    ids = judged.table[label_table.id_column(judged.table)]
    given = dict(zip(map(str, ids), label_values(judged.table[label_table.GIVEN]), strict=True))
    found = with_points(corrections, judged.source.options, given, judged.commas())
    check_targets(found, judged.source.options, None if new_classes else judged.classes)
    return found


def _check_unchanged(judged: Judged, remarks: list[str]) -> None:
    """InputError where the rows of the source are not those that were judged; a remark where it has more."""
    if judged.run is not None and (more := check_again(judged.run, judged.source)) > 0:
        few = counted(more, "row more than the run saw; it is", "rows more than the run saw; they are")
        remarks.append(f"{judged.source.path} has {few} left out")


def _images(
    cleaned: Cleaned, judged: Judged, files: write_clean.How | None, out: Path
) -> tuple[pd.DataFrame, list[Path], list[PurePosixPath]]:
    """The manifest of images in files, the files, and where each goes; a remark is added where it has to be."""
    if not judged.listed() and judged.origin().is_dir():
        write_clean.check_beside(out, judged.origin())
    every = judged.files()
    paths = [every[row] for row in cleaned.labels.index]
    places: list[PurePosixPath] = []
    names = [written(str(path)) for path in paths]
    found: list[str] = []
    if judged.run is not None:
        cleaned.remarks.extend(file_remarks(judged.run, every, gone=False))
        found = [] if judged.listed() else folder_remarks(judged.run, judged.source)
        cleaned.remarks.extend(found)
    elif judged.contents is not None:
        cleaned.remarks.extend([f"images are those in {judged.origin()}"] * bool(judged.source.folder))  # as recorded
        known = judged.table[label_table.PATH].tolist()
        cleaned.remarks.extend(image_remarks(every, known, judged.contents, gone=False, who="audit"))
    if files is None:
        cleaned.remarks.extend(write_clean.gone(paths))
    else:
        try:
            write_clean.check_files(paths)
        except InputError as error:
            raise InputError(". ".join([str(error), *found])) from None
        places = write_clean.plan(paths, cleaned.labels["label"].tolist())
        names = [write_clean.manifest_path(place) for place in places]
        if not all(is_image_name(place.name) for place in places):
            cleaned.remarks.append(f"files without the suffix of an image are only found by way of {LABELS}")
    table = cleaned.labels.rename(columns={label_table.PATH: "id"})[["label", "id"]]
    table.insert(0, "path", names)
    for name in (judged.source.options.group, judged.source.options.weight):
        if name is not None:
            table[name] = _column_of(judged, name, table["id"].tolist())
    labelled = table["label"].notna()
    if in_order_of_names(table["id"][labelled].tolist()):  # which says nothing of the data: new names have it, too
        table = table.sort_values("path", key=lambda names: names.map(parts_of), kind="stable", ignore_index=True)
    return table, paths, places


def _column_of(judged: Judged, name: str, ids: list[str]) -> list[Any]:
    """The values of a column of the source, such as groups, so that the manifest trains again."""
    source = _table_of(judged, needed=True)
    assert source is not None
    known = dict(zip(source["path"], source[name], strict=True))
    return [known[key] for key in ids]


def _own_label(source: DataRecord) -> str:
    """What a table of the user's calls its labels; "label" of all else, and of labels that several columns give."""
    options = source.options
    if options.annotators or options.answers is not None or (options.task == MULTILABEL and "," in options.label):
        return "label"
    written = as_written(source.location())
    names = [options.label] if written is None else [str(name) for name in written]
    return find(names, options.label) or "label"


def _table_of(judged: Judged, *, needed: bool = False) -> pd.DataFrame | None:
    """The table that a run was trained on, with its own columns; None where it was something else, or is gone.

    Raises:
        InputError: it is gone, and ``needed``.
    """
    place, options = judged.source.location(), judged.source.options
    if place is None:
        return None
    if not is_database(place):
        folder = bool(folder_parts(Path(place)))
        if not folder and (not is_table(place) or Path(place).is_dir()):
            return None
        if not folder and not Path(place).exists():
            return read_table(judged.origin()) if needed else None
    return with_images(read_table(place, options), place)


def _rows(labels: pd.DataFrame, judged: Judged) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The cleaned table of features or texts, and its cells as the file has them where it is one of text.

    The table has the columns ``row,label``, or ``id,label`` of rows with names, where the samples are in no table.
    """
    labels = labels.rename(columns={label_table.PATH: "id"})
    table = _table_of(judged, needed=True)
    if table is None:
        return labels.rename(columns={"id": "row"} if labels["id"].tolist() == labels.index.tolist() else {}), None
    source, options = judged.source.path, judged.source.reading()
    features, _ = split_answers(table, Path(str(source)), options)
    ids = [str(name) for name in feature_ids(features)]
    place = {name: row for row, name in enumerate(ids)}
    if len(place) < len(ids):
        raise InputError(f"{source}: ids come twice, so that its rows cannot be told apart")
    strange = [name for name in map(str, labels["id"]) if name not in place]
    if strange:
        raise InputError(f"{source} has no row of id {strange[0]!r}, which the run has; is it another table?")
    rows = [place[str(name)] for name in labels["id"]]
    gone = [name for name in TEXT_COLUMNS if name in features and name != "text"]  # by the run, or of no use any more
    chosen = features.drop(columns=gone).iloc[rows].reset_index(drop=True)
    found = pd.concat([labels.reset_index(drop=True), chosen], axis=1)
    cells = as_written(judged.source.location())
    if cells is None or len(cells) != len(features):  # of another format, or a row an answer
        return found, None
    return found, cells[[name for name in chosen if name in cells]].iloc[rows].reset_index(drop=True)
