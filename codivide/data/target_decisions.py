"""A person's decisions on numbers and on several labels a row: any number, and labels that there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from codivide.core.errors import InputError, nearest
from codivide.data.corrections import Corrections
from codivide.data.options import CLASSES, REGRESSION, ReadOptions
from codivide.data.targets import is_number, parts


def check_targets(
    corrections: Corrections, options: ReadOptions, given: Iterable[Any], names: Iterable[str] = ()
) -> None:
    """InputError for a decision that names no number, or a label that there is not; it names file and line.

    Args:
        corrections: the decisions.
        options: the task, and the separator.
        given: targets ``[N]`` as text, None where there is none.
        names: labels that there are besides those of ``given``: no row has them yet.
    """
    if options.task == CLASSES:
        return
    separator = options.separator
    known = {name for text in set(given) - {None} for name in parts(str(text), separator)} | set(names)
    for row in corrections.rows:
        if row.final is None:
            continue
        where = f"{corrections.name}, line {row.line}"
        if options.task == REGRESSION:
            if not is_number(row.final):
                raise InputError(f"{where}: {row.final[:80]!r} is no number")
        elif other := set(parts(row.final, separator)) - known:
            name = min(other)
            raise InputError(f"{where}: no row has the label {name[:80]!r}.{nearest(name, sorted(known))}")
