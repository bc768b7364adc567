"""A person's decisions on numbers and on several labels a row: any number, and labels that there are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from codivide.core.errors import InputError, nearest
from codivide.data.commas import Commas, is_grouped, point
from codivide.data.corrections import KEEP, Corrections, allows_new, confirm
from codivide.data.loaded import Loaded
from codivide.data.options import MULTILABEL, REGRESSION, ReadOptions
from codivide.data.targets import decided_number, parts


def unfit(text: str, options: ReadOptions, *, known: Collection[str] | None = None, commas: Commas = "") -> str | None:
    """Why what a person decided is no target, in words; None: it is one.

    Args:
        text: the decision.
        options: the task, and the separator.
        known: the labels that there are, of several a row; None: new ones are allowed.
        commas: what the commas of a column of numbers are.
    """
    if options.task == REGRESSION:
        if not commas and "." not in text and is_grouped(text):
            return f"{text!r} may be {text.replace(',', '')} or {text.replace(',', '.', 1)}; write one of them"
        return f"{text[:80]!r} is no number" if _typed(text, commas) is None else None
    other = set() if options.task != MULTILABEL or known is None else set(parts(text, options.separator)) - set(known)
    if not other:
        return None
    name = min(other)
    return f"no row has the label {name[:80]!r}; {allows_new()}.{nearest(name, sorted(known or ()))}"


def check_targets(corrections: Corrections, options: ReadOptions, known: Collection[str] | None) -> None:
    """InputError for a decision that names a label that there is not (``unfit``); it names file and line."""
    if options.task != MULTILABEL:
        return
    for row in corrections.rows:
        if row.final is not None and (said := unfit(row.final, options, known=known)) is not None:
            raise InputError(f"{row.file or corrections.name}, line {row.line}: {said}")


def _typed(text: str, commas: Commas) -> str | None:
    """A number that a person typed for a column, with a decimal point; None: it is no number."""
    return decided_number(point(text, commas) if commas in ("thousands", "points") else text)


def with_points(
    corrections: Corrections, options: ReadOptions, given: Mapping[str, Any], commas: Commas
) -> Corrections:
    """Decisions on numbers as the label table writes them, with a decimal point; on other labels as they are.

    What a person typed with a point is never read by the rule of the column: 12.345 is twelve and a bit. A comma is
    what it is in the column; where there is none, 12,345 may be two numbers and is refused. The given target may also
    stand as in the column: "1.219,5" for 1219.5.

    Args:
        corrections: the decisions.
        options: the task.
        given: the targets by id, as text; None where there is none.
        commas: what the commas of the column are.

    Raises:
        InputError: a decision that is no number, or may be two; it names file and line.
    """
    if options.task != REGRESSION:
        return corrections
    rows = []
    for row in corrections.rows:
        if row.label and (said := unfit(row.label, options, commas=commas)) is not None:
            raise InputError(f"{row.file or corrections.name}, line {row.line}: {said}")
        label = _typed(row.label, commas) or ""
        held, seen = given.get(row.id), row.given
        if seen != held and point(seen, commas) == held:
            seen = str(held)
        rows.append(replace(row, given=seen, label=seen if row.decision == KEEP and label else label))
    return replace(corrections, rows=tuple(rows))


def confirm_targets(loaded: Loaded, corrections: Corrections, options: ReadOptions) -> Loaded:
    """Training data with decisions applied (``corrections.confirm``), which may name targets that no row has yet."""
    texts = [None if code < 0 else str(loaded.classes[code]) for code in loaded.y.tolist()]
    given = dict(zip(map(str, loaded.ids), texts, strict=True))
    decided = with_points(corrections, options, given, loaded.labels_read.commas)
    return confirm(loaded, decided, new_classes=True)
