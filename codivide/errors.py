"""The errors and warnings that codivide raises on purpose."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: the message names what is wrong, where (file, row, value), and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


class TrainingWarning(UserWarning):
    """Something unusual happened while training; the message says what was done, and the run went on."""


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not among the known ones, with the nearest of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
    return InputError(f"unknown {what} {name!r}; {hint}")
