"""A person's decisions on numbers and on several labels a row: any number, and labels that there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from codivide.core.errors import InputError, nearest
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
    corrections: Corrections, options: ReadOptions, given: Mapping[str, Any], *, comma: bool
) -> Corrections:
    """Decisions on numbers as the label table writes them, with a decimal point; on other labels as they are.

    What a person typed is never read by the rule of the column: 12.345 and 12,345 are both twelve and a bit. The given
    target may also stand as in a column with decimal commas: "1.219,5" for 1219.5.

    Args:
        corrections: the decisions.
        options: the task.
        given: the targets by id, as text; None where there is none.
        comma: whether the column has decimal commas.

    Raises:
        InputError: a decision that is no number; it names file and line.
    """
    if options.task != REGRESSION:
        return corrections
    rows = []
    for row in corrections.rows:
        label = decided_number(row.label) if row.label else ""
        if label is None:
            raise InputError(f"{corrections.name}, line {row.line}: {row.label[:80]!r} is no number")
        held, seen = given.get(row.id), row.given
        if comma and seen != held and (pointed := seen.replace(".", "").replace(",", ".")) == held:
            seen = pointed
        rows.append(replace(row, given=seen, label=seen if row.decision == KEEP and label else label))
    return replace(corrections, rows=tuple(rows))


def confirm_targets(loaded: Loaded, corrections: Corrections, options: ReadOptions) -> Loaded:
    """Training data with decisions applied (``corrections.confirm``), which may name targets that no row has yet."""
    texts = [None if code < 0 else str(loaded.classes[code]) for code in loaded.y.tolist()]
    given = dict(zip(map(str, loaded.ids), texts, strict=True))
    decided = with_points(corrections, options, given, comma=loaded.labels_read.comma)
    return confirm(loaded, decided, new_classes=True)
