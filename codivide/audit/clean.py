"""A run's judgement and a person's decisions turned into repaired data, written beside the source and never into it.

For every sample the first rule that applies decides:

1. what a person decided (``corrections``): a label, the given label kept, or left out; a label that the run itself
   learned as confirmed (column ``confirmed``) stays too;
2. ``relabel_above``: the suggestion differs from the given label and its probability is above: it replaces the label;
3. ``drop_below``: p(clean) is below: the sample is left out;
4. the given label stays. A sample without a label stays without one unless a person gave it one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from codivide.audit import write_clean
from codivide.core.errors import InputError
from codivide.core.files import atomic, expand_user, guard
from codivide.data import named
from codivide.data.corrections import Correction, Corrections, Known
from codivide.data.images import is_image_name
from codivide.data.tables import TABLES, TEXT_COLUMNS, feature_ids, read_table

DROP_BELOW, RELABEL_ABOVE = 0.1, 0.95  # of a run that nobody has looked at
LABELS, LABELS_PARQUET, CHANGES = "labels_clean.csv", "labels_clean.parquet", "CHANGES.csv"


@dataclass(frozen=True)
class Judged:
    """The label table of a finished run, and where its samples are.

    Attributes:
        table: columns path or id, given, suggested (None: no label), clean_prob and maybe suggested_prob.
        classes: names of all classes, as text.
        source: what the run was trained on, as it was named then; None: data in memory.
        folder: where it was named, from which a relative path starts that leads nowhere from here.
        label: the column of a table that held the labels.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    source: str | None = None
    folder: Path = Path()
    label: str = "label"

    def known(self, new_classes: bool = False) -> Known:
        """What decisions on this run are checked against."""
        column = "path" if "path" in self.table else "id"
        return Known.of(self.table[column], _values(self.table["given"]), self.classes, new_classes)

    def origin(self) -> Path:
        """The source, which must be there.

        Raises:
            InputError: it is not, or the data were in memory.
        """
        if self.source is None:
            raise InputError("the run does not say what it was trained on; give --source")
        path = expand_user(self.source)
        path = (path if path.exists() else self.folder / path).absolute()
        if not path.exists():
            raise InputError(f"the source of the run, {path}, is not there; give --source")
        return path

    def files(self) -> list[Path]:
        """The image of every row, absolute; of a manifest they may lie anywhere."""
        path = self.origin()
        root = path if path.is_dir() else path.parent
        return [root / name for name in self.table["path"]]


class Cleaned(NamedTuple):
    """Repaired labels.

    Attributes:
        labels: column path or id, and label (None: no label), of the samples that stay; the index is their row in the
            label table.
        changes: path or id, given, label (None: left out), change ("relabelled", "labelled" or "dropped"), reason.
        remarks: what the user should know.
    """

    labels: pd.DataFrame
    changes: pd.DataFrame
    remarks: list[str]


def read_run(run: Path) -> Judged:
    """The judgement in the folder of a finished run.

    Raises:
        InputError: it is none.
    """
    try:
        columns = pyarrow.parquet.read_table(run / "labels.parquet").to_pydict()
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        classes, source = tuple(map(str, summary["classes"])), summary["source"].get("source")
        folder, label = Path(summary.get("working_folder", "")), str(summary["source"].get("label", "label"))
    except (OSError, ValueError, LookupError, AttributeError, TypeError, pyarrow.ArrowException) as error:
        raise InputError(f"{run} is not the folder of a finished run of codivide: {error}") from None
    exact = {name: pd.Series(values, dtype=object) for name, values in columns.items()}
    return Judged(pd.DataFrame(exact), classes, source, folder, label)


def apply(
    labels: pd.DataFrame,
    corrections: Corrections | None = None,
    drop_below: float | None = None,
    relabel_above: float | None = None,
    classes: Sequence[Any] | None = None,
    new_classes: bool = False,
) -> Cleaned:
    """Repair the labels of a label table, such as ``clf.labels_``.

    With neither rule and no decisions both rules apply, at 0.1 and 0.95; with any of them, only what is given does.

    Args:
        labels: a row a sample: path or id, given, suggested, clean_prob, and suggested_prob. Without that column
            1 - clean_prob stands in for it, and a remark says so. Where there is a column confirmed and it is true,
            neither rule applies.
        corrections: decisions of a person.
        drop_below: leave out what has a smaller p(clean), in [0, 1]; None: nothing.
        relabel_above: take the suggestion where its probability is larger, in [0, 1]; None: nowhere.
        classes: all classes; None: those in the table.
        new_classes: allow decisions for other classes.

    Returns:
        Labels, changes and remarks.

    Raises:
        InputError: a threshold outside [0, 1], a decision that does not fit, or nothing that would be left.
    """
    if corrections is None and drop_below is None and relabel_above is None:
        drop_below, relabel_above = DROP_BELOW, RELABEL_ABOVE
    for name, value in (("--drop-below", drop_below), ("--relabel-above", relabel_above)):
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{name} is {value}; a probability is at least 0 and at most 1")
    column = "path" if "path" in labels else "id"
    held, suggested = (_values(labels[name]) for name in ("given", "suggested"))
    ids = labels[column].tolist()
    seen = {str(value): value for value in (*held, *suggested) if value is not None}
    typed = {str(name): _alike(str(name), seen) for name in classes or ()} | seen
    decided: dict[str, Correction] = {}
    if corrections is not None:
        corrections.check(Known.of(ids, held, typed, new_classes))
        decided = {row.id: row for row in corrections.rows}
    remarks: list[str] = []
    clean = _numbers(labels["clean_prob"])
    confirmed = labels["confirmed"].tolist() if "confirmed" in labels else [False] * len(ids)
    sure, what = clean, "p(suggestion)"
    if "suggested_prob" in labels:
        sure = _numbers(labels["suggested_prob"])
    elif relabel_above is not None:
        sure, what = [1 - p for p in clean], "1 - p(clean)"
        remarks.append("the run has no probability of its suggestions (suggested_prob); 1 - p(clean) stands in for it")
    rows, final, changes = [], [], []
    for row, (name, given, better, p, q) in enumerate(zip(ids, held, suggested, clean, sure, strict=True)):
        label, kept, reason = given, True, ""
        doubted = given is not None and not confirmed[row]
        decision = decided.get(str(name))
        if decision is not None:
            kept = decision.final is not None
            label = None if decision.final is None else typed.get(decision.final, _alike(decision.final, seen))
            reason = _by_person(decision)
        elif doubted and better != given and relabel_above is not None and q > relabel_above:
            label, reason = better, f"{what} {q:.6g} is above {relabel_above:g}"
        elif doubted and drop_below is not None and p < drop_below:
            label, kept, reason = None, False, f"p(clean) {p:.6g} is below {drop_below:g}"
        if kept:
            rows.append(row)
            final.append(label)
        if not kept or label != given:
            change = "dropped" if not kept else "labelled" if given is None else "relabelled"
            changes.append((name, given, label, change, reason))
    if not rows:
        raise InputError(f"all {len(ids)} samples would be left out; give a smaller --drop-below")
    lost = {str(label) for label in held if label is not None} - {str(label) for label in final}
    if lost:
        remarks.append(f"no sample is left of {len(lost)} classes: {', '.join(sorted(lost)[:10])}")
    cleaned = pd.DataFrame({column: [ids[row] for row in rows], "label": pd.Series(final, dtype=object)})
    cleaned.index = pd.Index(rows)
    names = [column, "given", "label", "change", "reason"]
    return Cleaned(cleaned, pd.DataFrame(changes, columns=names, dtype=object), remarks)


def clean(
    run: Path,
    out: Path,
    corrections: Corrections | None = None,
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
        files: "copy" or "link": also make a folder of images with one sub-folder a class; None: the tables alone.
        source: what the run was trained on, seen from the current folder; None: as the run recorded it.
        new_classes: see ``apply``.

    Returns:
        What ``apply`` returns.

    Raises:
        InputError: anything wrong with the run, its source, the decisions or ``out``, before anything is written.
    """
    write_clean.check_out(out)
    judged = read_run(run)
    if source is not None:
        judged = replace(judged, source=source, folder=Path())
    cleaned = apply(judged.table, corrections, drop_below, relabel_above, judged.classes, new_classes)
    paths: list[Path] = []
    places: list[PurePosixPath] = []
    if "path" in cleaned.labels:
        if judged.origin().is_dir():
            write_clean.check_beside(out, judged.origin())
        every = judged.files()
        paths = [every[row] for row in cleaned.labels.index]
        names = [str(path) for path in paths]
        if files is not None:
            write_clean.check_files(paths)
            places = write_clean.plan(paths, cleaned.labels["label"].tolist())
            names = [write_clean.manifest_path(place) for place in places]
            if not all(is_image_name(place.name) for place in places):
                cleaned.remarks.append(f"files without the suffix of an image are only found by way of {LABELS}")
        table = cleaned.labels.rename(columns={"path": "id"})[["label", "id"]]
        table.insert(0, "path", names)
    elif files is not None:
        raise InputError("--copy and --link are for images in files; the samples of this run are rows")
    else:
        table = _rows(cleaned.labels, judged)
    with write_clean.aside(out) as folder:
        _write(table, folder)
        _write_csv(cleaned.changes, folder / CHANGES)
        if files is not None:
            write_clean.place(paths, places, folder, files)
    return cleaned


def _values(column: pd.Series[Any]) -> list[Any]:
    """Labels, None where there is none."""
    values: list[Any] = column.astype(object).where(column.notna(), None).tolist()
    return values


def _numbers(column: pd.Series[Any]) -> list[float]:
    return [float(value) for value in pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=math.nan)]


def _alike(text: str, typed: dict[str, Any]) -> Any:
    """A new class in the type of the others."""
    if typed and all(isinstance(value, int) for value in typed.values()) and text.removeprefix("-").isdecimal():
        return int(text)
    return text


def _by_person(decision: Correction) -> str:
    verb = {"accept": "accepted the suggestion", "keep": "kept the label", "junk": "marked it as junk"}
    when = f" ({decision.time})" if decision.time else ""
    return f"a person {verb.get(decision.decision, 'chose another label')}{when}"


def _rows(labels: pd.DataFrame, judged: Judged) -> pd.DataFrame:
    """The cleaned table of features, or ``row,label`` where the samples are not in a table."""
    source = judged.source
    if source is None or source in named.names() or Path(source).suffix.lower() not in TABLES:
        return labels.rename(columns={"id": "row"})
    features = read_table(judged.origin(), label=judged.label)
    ids = [str(name) for name in feature_ids(features)]
    place = {name: row for row, name in enumerate(ids)}
    if len(place) < len(ids):
        raise InputError(f"{source}: ids come twice, so that its rows cannot be told apart")
    strange = [name for name in map(str, labels["id"]) if name not in place]
    if strange:
        raise InputError(f"{source} has no row of id {strange[0]!r}, which the run has; is it another table?")
    chosen = features.iloc[[place[str(name)] for name in labels["id"]]]
    chosen = chosen.drop(columns=[name for name in TEXT_COLUMNS if name in chosen]).reset_index(drop=True)
    return pd.concat([labels.reset_index(drop=True), chosen], axis=1)


def _write(table: pd.DataFrame, folder: Path) -> None:
    _write_csv(table, folder / LABELS)
    kinds = {type(value) for value in table["label"] if value is not None}
    mixed = table.assign(label=table["label"].astype("string")) if len(kinds) > 1 else table
    with atomic(folder / LABELS_PARQUET) as part:
        mixed.to_parquet(part, index=False)


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table no text of which, header included, a spreadsheet takes for a formula."""
    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    guarded = table.assign(**{str(name): table[name].map(_guard_value) for name in texts})
    guarded.columns = pd.Index([guard(str(name)) for name in guarded])
    with atomic(path) as part:
        guarded.to_csv(part, index=False, lineterminator="\n", encoding="utf-8")


def _guard_value(value: Any) -> Any:
    return guard(value) if isinstance(value, str) else value
