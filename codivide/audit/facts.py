"""A run's labels as facts: one dict of JSON values that a page draws, a person reads and a program checks.

``collect`` describes the dict; ``docs/audit.md`` says what the facts mean.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codivide.audit import duplicates, neighbours
from codivide.audit.material import Material, from_run, source_root
from codivide.audit.thumbnails import LARGE, SMALL, Thumbnails
from codivide.core.files import write_text
from codivide.core.neighbours import nearest
from codivide.core.types import Labels
from codivide.core.version import VERSION
from codivide.runs import label_table, plot

FORMAT = 1
EXAMPLES = 3
MOST_FIELDS = 30  # of a row of a table that are shown
MOST_GROUPS, MOST_OF_A_GROUP = 500, 100
MOST_OUTLIERS = 100
_BRIEF = 5  # fields of an example
_NOISE = ("rate", "low", "high", "kind", "per_class", "trust")  # of a noise report
_TEXT = 2000  # characters of a text that are shown


def collect(run: str | Path, limit: int = 1000, thumbnails: bool = True) -> dict[str, Any]:
    """The facts of a finished run.

    The source that the run names is read again for pictures, duplicates and neighbours. Where it has gone or changed,
    these are missing, and ``noise.trust.reasons`` says so.

    - ``format`` (1), ``name``, ``created`` (ISO), ``version``, ``method``, ``samples``, ``labelled``,
      ``unlabelled``, ``classes`` (names, the index is the number of the class below);
    - ``noise``: ``rate`` in [0, 1] with an interval ``low``, ``high``, ``kind``, ``per_class`` (``class``,
      ``name``, ``labelled``, ``rate`` or None), ``trust``: ``level`` (good, fair, poor) and ``reasons``; see
      ``noise_report``;
    - ``pairs``: ``given``, ``suggested``, ``count`` of flagged samples, the largest first; ``confusion``
      ``[C][C]``, given by suggested, of all labelled samples; ``imbalance``: ``counts`` and ``suggested_counts``
      ``[C]`` of labelled samples, ``ratio`` of the largest to the smallest count of a class that has labels;
    - ``issues``: see ``docs/audit.md``; ``issues_total``: how many there are, listed or not;
    - ``losses``: ``edges`` (one more than ``counts``), ``counts``, ``mixture`` (``weight``, ``mean``, ``variance``)
      or None; None without a record;
    - ``curves``: the scalars of every epoch's record;
    - ``duplicates``: ``rows``, ``ids``, ``labels`` (-1: none), ``exact``; conflicting labels first, at most 500
      groups, of each at most 100 rows;
    - ``outliers``: ``row``, ``id``, ``given`` (-1: none), ``score``, ``thumbnail``, ``text``; at most 100;
    - ``annotators``: ``name``, ``labels``, ``quality``, or None; ``skipped``: ``path``, ``reason``;
    - ``choices``: why method and settings were chosen, sentences; empty where they were given.

    Args:
        run: folder that ``codivide fit`` wrote.
        limit: issues listed, the most doubtful first.
        thumbnails: whether images are shown.

    Returns:
        JSON values (no NaN or infinity), as above.

    Raises:
        InputError: no finished run, or a record that cannot be read.
    """
    return build(from_run(Path(run)), limit, thumbnails)


def write(facts: Mapping[str, Any], path: str | Path) -> None:
    """Write facts as strict JSON, atomically."""
    write_text(Path(path), json.dumps(facts, allow_nan=False) + "\n")


def originals(run: str | Path) -> dict[int, Path]:
    """The file that each row of a run's label table was read from; rows of arrays and tables have none.

    Raises:
        InputError: no finished run.
    """
    table = label_table.read(Path(run))
    root = source_root(plot.read(Path(run)).config)
    if "path" not in table or root is None or not root.exists():
        return {}
    folder = root if root.is_dir() else root.parent
    return {row: folder / str(name) for row, name in enumerate(table["path"])}


def build(material: Material, limit: int = 1000, thumbnails: bool = True) -> dict[str, Any]:
    """The facts of judged labels; see ``collect``."""
    given, suggested, classes = material.given, material.suggested, len(material.classes)
    labelled = given >= 0
    flagged = np.flatnonzero(labelled & (suggested != given))
    order = flagged[np.argsort(_ranks(material)[flagged], kind="stable")]
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (given[labelled], suggested[labelled]), 1)
    samples = _Samples(material, thumbnails)
    return {
        "format": FORMAT,
        "name": material.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": VERSION,
        "method": material.method,
        "samples": len(given),
        "labelled": int(labelled.sum()),
        "unlabelled": int((~labelled).sum()),
        "classes": list(material.classes),
        "noise": _noise(material),
        "pairs": _pairs(confusion),
        "confusion": confusion.tolist(),
        "imbalance": _imbalance(confusion),
        "issues": _issues(material, order[: max(limit, 0)], samples),
        "issues_total": len(order),
        "losses": _losses(material.loss_record),
        "curves": [_scalars(row) for row in material.curves],
        "duplicates": _duplicates(material),
        "outliers": _outliers(material, samples),
        "annotators": None if material.annotators is None else [_scalars(one) for one in material.annotators],
        "choices": [str(text) for text in material.choices],
        "skipped": [{"path": path, "reason": reason} for path, reason in material.skipped],
    }


class _Samples:
    """How a sample is shown: a picture, a text, or named fields."""

    def __init__(self, material: Material, thumbnails: bool) -> None:
        rows = material.rows
        self.material = material
        self.pictures = Thumbnails(rows) if thumbnails and rows is not None and len(rows.shape) == 3 else None
        self.tabular = material.texts is None and rows is not None and len(rows.shape) == 1
        image = rows is not None and len(rows.shape) == 3
        paths = rows is None and "path" in material.table  # images that have gone
        self.kind = "text" if material.texts is not None else "image" if image or paths else "row"
        self.scale: tuple[Any, Any] | None = None

    def thumbnail(self, row: int, side: int = LARGE) -> str | None:
        return self.pictures.uri(row, side) if self.pictures else None

    def text(self, row: int) -> str | None:
        return self.material.texts[row][:_TEXT] if self.material.texts is not None else None

    def fields(self, row: int, most: int = MOST_FIELDS) -> list[list[Any]] | None:
        """Names and values in their order; of too many, those farthest from their mean in standard deviations."""
        if not self.tabular or self.material.rows is None:
            return None
        values = self.material.rows[torch.tensor([row])][0].cpu().numpy().astype(np.float64)
        if self.scale is None:
            self.scale = _scale(self.material)
        unusual = np.abs(values - self.scale[0]) / self.scale[1]
        shown = np.sort(np.argsort(-unusual, kind="stable")[:most])
        names = self.material.columns or [f"feature {k}" for k in range(len(values))]
        return [[names[k], float(f"{values[k]:.6g}")] for k in shown.tolist()]

    def example(self, row: int) -> str | None:
        """A small picture, the text, or the first fields in words."""
        picture = self.thumbnail(row, SMALL)
        if picture is not None or not self.tabular:
            return picture or self.text(row)
        return ", ".join(f"{name} {value:g}" for name, value in self.fields(row, _BRIEF) or [])


def _scale(material: Material) -> tuple[Any, Any]:
    """Mean and standard deviation of each feature, over at most 5,000 rows; 1 for a constant."""
    assert material.rows is not None
    count = len(material.rows)
    rows = torch.linspace(0, count - 1, min(count, neighbours.REFERENCES)).long()
    values = material.rows[rows].cpu().double().numpy()
    deviation = values.std(0)
    return values.mean(0), np.where(deviation > 0, deviation, 1.0)


def _ranks(material: Material) -> Any:
    return material.table["rank"].to_numpy(dtype=np.float64, na_value=np.inf)


def _noise(material: Material) -> dict[str, Any]:
    """What is estimated of the labels; where there is no estimate, the mean of 1 - p(clean), which proves nothing."""
    if material.noise is not None:
        found = material.noise.to_dict()
        found["trust"]["reasons"] += material.remarks
        return {name: found[name] for name in _NOISE}
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
    return {"rate": rate, "low": 0.0, "high": 1.0, "kind": "unclear", "per_class": per_class, "trust": trust}


def _pairs(confusion: Labels) -> list[dict[str, int]]:
    cells = [(int(confusion[g, s]), g, s) for g, s in np.argwhere(confusion).tolist() if g != s]
    cells.sort(key=lambda cell: (-cell[0], cell[1], cell[2]))
    return [{"given": g, "suggested": s, "count": count} for count, g, s in cells]


def _imbalance(confusion: Labels) -> dict[str, Any]:
    counts, suggested = confusion.sum(1), confusion.sum(0)
    present = counts[counts > 0]
    ratio = float(present.max() / present.min()) if len(present) else 1.0
    return {"counts": counts.tolist(), "suggested_counts": suggested.tolist(), "ratio": ratio}


def _issues(material: Material, rows: Labels, samples: _Samples) -> list[dict[str, Any]]:
    probs, ranks, points = material.suggested_prob, _ranks(material), material.points
    near = neighbours.agreement(points, rows, material.given) if points is not None else None
    examples = {name: _examples(material, rows, getattr(material, name)[rows]) for name in ("given", "suggested")}
    return [
        {
            "row": row,
            "id": material.ids[row],
            "kind": samples.kind,
            "given": int(material.given[row]),
            "suggested": int(material.suggested[row]),
            "clean_prob": _finite(material.clean_prob[row]),
            "suggested_prob": None if probs is None else _finite(probs[row]),
            "rank": int(ranks[row]),
            "thumbnail": samples.thumbnail(row),
            "text": samples.text(row),
            "fields": samples.fields(row),
            "neighbours": None if near is None else {"agree": near[i][0], "of": near[i][1]},
            "examples": {
                name: [shown for other in found[i] if (shown := samples.example(other)) is not None]
                for name, found in examples.items()
            },
        }
        for i, row in enumerate(rows.tolist())
    ]


def _examples(material: Material, rows: Labels, wanted: Labels) -> list[list[int]]:
    """For each row, up to 3 clean samples of the wanted class: the nearest, or without points the surest.

    Clean: the suggestion is the given label, and p(clean) is at least one half.
    """
    found: list[list[int]] = [[] for _ in rows]
    clean = (material.given == material.suggested) & (material.clean_prob >= 0.5)
    for label in np.unique(wanted).tolist():
        members, at = np.flatnonzero(clean & (material.given == label)), np.flatnonzero(wanted == label)
        if material.points is None:
            best = members[np.argsort(-material.clean_prob[members], kind="stable")[:EXAMPLES]]
            chosen = np.tile(best, (len(at), 1))
        else:
            chosen, _ = nearest(material.points, rows[at], members, EXAMPLES)
        for position, others in zip(at.tolist(), chosen.tolist(), strict=True):
            found[position] = [other for other in others if other >= 0]
    return found


def _losses(record: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The histogram without the truth: clean, wrong and unknown labels together."""
    if record is None:
        return None
    counts = np.sum([record[name] for name in ("clean", "wrong", "unknown") if name in record], axis=0)
    edges = np.linspace(record["low"], record["high"], len(counts) + 1)
    mixture = record.get("mixture")
    return {"edges": edges.tolist(), "counts": counts.tolist(), "mixture": None if mixture is None else dict(mixture)}


def _duplicates(material: Material) -> list[dict[str, Any]]:
    groups = duplicates.ordered(duplicates.find(material.rows, material.texts), material.given)
    return [
        {
            "rows": list(group.rows[:MOST_OF_A_GROUP]),
            "ids": [material.ids[row] for row in group.rows[:MOST_OF_A_GROUP]],
            "labels": material.given[list(group.rows[:MOST_OF_A_GROUP])].tolist(),
            "exact": group.exact,
        }
        for group in groups[:MOST_GROUPS]
    ]


def _outliers(material: Material, samples: _Samples) -> list[dict[str, Any]]:
    if material.points is None:
        return []
    found = neighbours.outliers(material.points, material.suggested_prob, len(material.classes))
    return [
        {
            "row": row,
            "id": material.ids[row],
            "given": int(material.given[row]),
            "score": score,
            "thumbnail": samples.thumbnail(row),
            "text": samples.text(row) or (samples.example(row) if samples.tabular else None),
        }
        for row, score in found[:MOST_OUTLIERS]
    ]


def _scalars(row: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers and texts of a record; numbers that are not finite become None."""
    plain: Sequence[type] = (int, float, str, bool)
    return {
        name: _finite(value) if isinstance(value, float) else value
        for name, value in row.items()
        if isinstance(value, tuple(plain))
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
