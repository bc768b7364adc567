"""A person's decisions on numbers and on several labels a row: any number, and labels that there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from codivide.core.errors import InputError, nearest
from codivide.data.column_kinds import Commas, is_grouped, point
from codivide.data.corrections import KEEP, Corrections, confirm
from codivide.data.loaded import Loaded
from codivide.data.options import MULTILABEL, REGRESSION, ReadOptions
from codivide.data.targets import decided_number, parts


def check_targets(
    corrections: Corrections, options: ReadOptions, given: Iterable[Any], names: Iterable[str] = ()
) -> None:
    """InputError for a decision that names a label that there is not; it names file and line.

    Args:
        corrections: the decisions.
        options: the task, and the separator.
        given: targets ``[N]`` as text, None where there is none.
        names: labels that there are besides those of ``given``: no row has them yet.
    """
    if options.task != MULTILABEL:
        return
    separator = options.separator
    known = {name for text in set(given) - {None} for name in parts(str(text), separator)} | set(names)
    for row in corrections.rows:
        other = set() if row.final is None else set(parts(row.final, separator)) - known
        if other:
            name, where = min(other), f"{corrections.name}, line {row.line}"
            raise InputError(f"{where}: no row has the label {name[:80]!r}.{nearest(name, sorted(known))}")


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
        where, typed = f"{corrections.name}, line {row.line}", row.label
        if not commas and "." not in typed and is_grouped(typed):
            raise InputError(
                f"{where}: {typed!r} may be {typed.replace(',', '')} or {typed.replace(',', '.', 1)}; write one of them"
            )
        label = decided_number(point(typed, commas) if commas == "thousands" else typed) if typed else ""
        if label is None:
            raise InputError(f"{where}: {typed[:80]!r} is no number")
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
