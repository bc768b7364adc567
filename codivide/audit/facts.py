"""A run's labels as facts: one dict of JSON values that a page draws, a person reads and a program checks.

``collect`` describes the dict; ``docs/reference/audit.md`` says what the facts mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from codivide.audit import checks, target_facts
from codivide.audit.checks import Check, Found
from codivide.audit.checks.labels import Listing
from codivide.audit.findings import CREATED, Findings
from codivide.audit.material import Material, from_run
from codivide.audit.noise_report import noise_report
from codivide.audit.shown import Shown, finite
from codivide.core.files import read_json, reading, write_text
from codivide.core.types import Labels
from codivide.core.version import VERSION
from codivide.runs import label_table
from codivide.runs.changed import files_of
from codivide.runs.folder import FACTS, SavedRun, is_audit

FORMAT = 1
MOST_LISTED = 100  # samples of a check for which the page has no panel of its own
_NOISE = ("rate", "low", "high", "certain", "kind", "per_class", "trust")  # of a noise report


def collect(run: str | Path, limit: int = 1000, *, thumbnails: bool = True) -> dict[str, Any]:
    """The facts of a finished run.

    The source that the run names is read again for pictures, duplicates and neighbours. Where it has gone, these are
    missing; where some images have, the facts are of the others; ``noise.trust.reasons`` says so. A table that has
    changed is an error.

    - ``format`` (1), ``name``, ``created`` (ISO), ``version``, ``method``, ``samples``, ``labelled``,
      ``unlabelled``, ``classes`` (names, the index is the number of the class below);
    - ``noise``: ``rate`` in [0, 1] with an interval ``low``, ``high``, what is ``certain`` (or None), ``kind``,
      ``per_class`` (``class``, ``name``, ``labelled``, ``rate`` or None), ``trust``: ``level`` (good, fair, poor) and
      ``reasons``; see ``noise_report``;
    - ``pairs``: ``given``, ``suggested``, ``count`` of flagged samples, the largest first; ``confusion``
      ``[C][C]``, given by suggested, of all labelled samples; ``imbalance``: ``counts`` and ``suggested_counts``
      ``[C]`` of labelled samples, ``ratio`` of the largest to the smallest count of a class that has labels;
    - ``issues``: see ``docs/reference/audit.md``; ``issues_total``: how many there are, listed or not;
    - ``targets``: of numbers, or of several labels a row, see ``target_facts.describe``; ``classes`` are then the
      different texts of given and suggested ones, and ``pairs`` and ``confusion`` are empty; else None;
    - ``losses``: ``edges`` (one more than ``counts``), ``counts``, ``mixture`` (``weight``, ``mean``, ``variance``)
      or None; None without a record;
    - ``curves``: the scalars of every epoch's record;
    - ``duplicates``: ``rows``, ``ids``, ``labels`` (-1: none), ``exact``; conflicting labels first, at most 500
      groups, of each at most 100 rows;
    - ``outliers``: as the samples of ``checks``, and ``score``; at most 100;
    - ``checks``: of every other kind of issue ``name``, ``title``, ``text``, ``found`` (how many samples) and
      ``samples``: ``row``, ``id``, ``given`` (-1: none), ``suggested``, ``clean_prob``, ``suggested_prob``,
      ``thumbnail``, ``text``, ``fields``; at most 100;
    - ``remarks``: what could not be shown or looked for, and what has changed since the run; sentences;
    - ``findings``: what is wrong with the data as a whole: ``check``, ``title``, ``text``;
    - ``columns``: of a table that is not numbers alone what was made of each column (``name``, ``kind``, ``features``,
      ``empty``, ``note`` or None), and of those that are not used ``name`` and ``reason``; else None;
    - ``annotators``: ``name``, ``labels``, ``quality`` (not there without an answer), ``copies`` (names), or None;
    - ``skipped``: ``path``, ``reason``;
    - ``test``: of the test part ``samples``, ``labelled``, ``leaked``, ``leaked_training_samples``, ``issues_total``
      and at most 100 ``issues`` and ``leaks``, each ``id``, ``given``, ``suggested``, ``clean_prob``, ``leaked``,
      ``twin`` (labels as text, None where there is none), the most doubtful first; None without one;
    - ``choices``: why method and settings were chosen, sentences; empty where they were given.

    Args:
        run: folder that ``codivide fit`` wrote, or ``from_probs``: its facts are those that it wrote.
        limit: issues listed, the most doubtful first.
        thumbnails: whether images are shown.

    Returns:
        JSON values (no NaN or infinity), as above.

    Raises:
        InputError: no finished run, a record that cannot be read, or a table with other rows or labels than the run
            saw.
    """
    if is_audit(Path(run)):
        return read_json(Path(run) / FACTS)
    return build(from_run(Path(run), noise_report), limit, thumbnails=thumbnails)


def paged(run: str | Path) -> tuple[dict[str, Any], Sequence[dict[str, Any]]]:
    """The facts of a finished run with no issue in them, and all issues, which are described when they are asked for.

    Args:
        run: folder that ``codivide fit`` wrote, or ``from_probs``, which has described the first of them.

    Raises:
        InputError: as ``collect``.
    """
    if is_audit(Path(run)):
        saved = collect(run)
        with reading(Path(run) / FACTS):
            return saved, list(saved["issues"])
    material = from_run(Path(run), noise_report)
    found, shown = checks.run(material), Shown(material, limit=0)
    return _facts(material, found, shown), Listing(shown, found["issues"].rows)


def write(facts: Mapping[str, Any], path: str | Path) -> None:
    """Write facts as strict JSON, atomically."""
    write_text(Path(path), json.dumps(facts, allow_nan=False) + "\n")


def originals(run: str | Path) -> dict[int, Path]:
    """The file that each row of a run's label table was read from; rows of arrays and tables have none.

    Raises:
        InputError: no finished run.
    """
    return {} if is_audit(Path(run)) else dict(enumerate(files_of(SavedRun(Path(run))) or ()))


def build(material: Material, limit: int = 1000, *, thumbnails: bool = True) -> dict[str, Any]:
    """The facts of judged labels; see ``collect``."""
    return _facts(material, checks.run(material), Shown(material, thumbnails=thumbnails, limit=limit))


def findings(material: Material, limit: int = 1000, *, thumbnails: bool = True) -> Findings:
    """The facts of judged labels, and their table with the columns of all checks."""
    found = checks.run(material)
    facts = _facts(material, found, Shown(material, thumbnails=thumbnails, limit=limit))
    return Findings(checks.add_columns(material.table, found), facts)


def _facts(material: Material, found: Mapping[str, Found], shown: Shown) -> dict[str, Any]:
    given, suggested, classes = material.given, material.suggested, len(material.classes)
    labelled, flagged = given >= 0, found["issues"].rows
    confusion = np.zeros((2, classes, classes) if material.task is None else (2, 0, 0), dtype=np.int64)
    if material.task is None:  # of all labels, and of those that look wrong
        np.add.at(confusion[0], (given[labelled], suggested[labelled]), 1)
        np.add.at(confusion[1], (given[flagged], suggested[flagged]), 1)
    return {
        "format": FORMAT,
        "name": material.name,
        CREATED: datetime.now(UTC).isoformat(timespec="seconds"),
        "version": VERSION,
        "method": material.method,
        "samples": len(given),
        "labelled": int(labelled.sum()),
        "unlabelled": int((~labelled).sum()),
        "classes": list(material.classes),
        "noise": _noise(material),
        "pairs": _pairs(confusion[1]),
        "confusion": confusion[0].tolist(),
        "imbalance": _imbalance(confusion[0]),
        "issues_total": len(flagged),
        "targets": target_facts.describe(material),
        "losses": _losses(material.loss_record),
        "curves": [_scalars(row) for row in material.curves],
        **{check.name: check.describe(found[check.name], shown) for check in checks.CHECKS if check.describe},
        "checks": [_listed(check, found[check.name], shown) for check in checks.CHECKS if not check.describe],
        "counts": checks.counts(found),
        "findings": checks.said(found),
        "remarks": [str(text) for text in material.remarks],
        "columns": _columns(material.columns_read),
        "annotators": None if material.annotators is None else [_annotator(one) for one in material.annotators],
        "test": None if material.test is None else _test(material.test, material.table),
        "choices": [str(text) for text in material.choices],
        "skipped": [{"path": path, "reason": reason} for path, reason in material.skipped],
    }


def _columns(read: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    """A line a column; those that are not used come first."""
    if read is None:
        return None
    kinds = ("name", "kind", "features", "empty", "note")
    used = [{name: item.get(name) for name in kinds} for item in read.get("read", ())]
    unused = [{"name": item["name"], "kind": None, "reason": item["reason"]} for item in read.get("left_out", ())]
    return [*unused, *used]


def _listed(check: Check, found: Found, shown: Shown) -> dict[str, Any]:
    """The facts of a check for which the page has no panel of its own."""
    samples = [shown.sample(row) for row in found.rows[:MOST_LISTED].tolist()]
    return {"name": check.name, "title": check.title, "text": check.text, "found": len(found.rows), "samples": samples}


def _noise(material: Material) -> dict[str, Any]:
    """What is estimated of the labels; where there is no estimate, the mean of 1 - p(clean), which proves nothing."""
    if material.noise is not None:
        found = material.noise.to_dict()
        found["trust"]["reasons"] += material.remarks
        return {name: found.get(name) for name in _NOISE}  # nothing is certain of numbers and of several labels
    given, doubt = material.given, 1 - material.clean_prob
    known = (given >= 0) & np.isfinite(doubt)
    counts = np.bincount(given[known], minlength=len(material.classes))
    sums = np.bincount(given[known], doubt[known], minlength=len(material.classes))
    per_class = [
        {"class": k, "name": name, "labelled": int(n), "rate": float(sums[k] / n) if n else None}
        for k, (name, n) in enumerate(zip(material.classes, counts, strict=True))
    ]
    reason = "only p(clean) is known: the rate is the mean of 1 - p(clean)" if known.any() else "no sample has a label"
    rate = float(doubt[known].mean()) if known.any() else 0.0
    trust = {"level": "poor", "reasons": [reason, *material.remarks]}
    return {
        "rate": rate,
        "low": 0.0,
        "high": 1.0,
        "certain": None,
        "kind": "unclear",
        "per_class": per_class,
        "trust": trust,
    }


def _test(test: pd.DataFrame, training: pd.DataFrame) -> dict[str, Any]:
    """What is known of the test part: its doubtful labels, and what it shares with the training part."""
    wrong, leaked = label_table.is_issue(test), test[label_table.LEAKED].astype(bool)
    return {
        "samples": len(test),
        "labelled": int(test[label_table.GIVEN].notna().sum()),
        "leaked": int(leaked.sum()),
        "leaked_training_samples": int(training[label_table.LEAKED].sum()) if label_table.LEAKED in training else 0,
        "issues_total": int(wrong.sum()),
        "issues": [_test_sample(row) for row in _first(test[wrong])],
        "leaks": [_test_sample(row) for row in _first(test[leaked])],
    }


def _first(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.sort_values(label_table.RANK).head(MOST_LISTED).to_dict("records")


def _test_sample(row: Mapping[Any, Any]) -> dict[str, Any]:
    known = {str(name): None if pd.isna(value) else value for name, value in row.items()}
    texts = {name: None if known[name] is None else str(known[name]) for name in ("given", "suggested", "twin")}
    name = str(known.get(label_table.PATH, known.get(label_table.ID)))
    clean_prob = known[label_table.CLEAN_PROB]
    probability = None if clean_prob is None else finite(float(clean_prob))
    return {"id": name, **texts, "clean_prob": probability, "leaked": bool(known[label_table.LEAKED])}


def _pairs(confusion: Labels) -> list[dict[str, int]]:
    cells = [(int(confusion[g, s]), g, s) for g, s in np.argwhere(confusion).tolist() if g != s]
    cells.sort(key=lambda cell: (-cell[0], cell[1], cell[2]))
    return [{"given": g, "suggested": s, "count": count} for count, g, s in cells]


def _imbalance(confusion: Labels) -> dict[str, Any]:
    counts, suggested = confusion.sum(1), confusion.sum(0)
    present = counts[counts > 0]
    ratio = float(present.max() / present.min()) if len(present) else 1.0
    return {"counts": counts.tolist(), "suggested_counts": suggested.tolist(), "ratio": ratio}


def _losses(record: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The histogram without the truth: clean, wrong and unknown labels together."""
    if record is None:
        return None
    counts = np.sum([record[name] for name in ("clean", "wrong", "unknown") if name in record], axis=0)
    edges = np.linspace(record["low"], record["high"], len(counts) + 1)
    mixture = record.get("mixture")
    return {"edges": edges.tolist(), "counts": counts.tolist(), "mixture": None if mixture is None else dict(mixture)}


def _annotator(one: Mapping[str, Any]) -> dict[str, Any]:
    return _scalars(one) | {"copies": [str(name) for name in one.get("copies", ())]}


def _scalars(row: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers and texts of a record; numbers that are not finite become None."""
    plain: Sequence[type] = (int, float, str, bool)
    return {
        name: finite(value) if isinstance(value, float) else value
        for name, value in row.items()
        if isinstance(value, tuple(plain))
    }
