"""The errors and warnings that codivide raises on purpose."""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager


class InputError(ValueError):
    """Bad input: the message names what is wrong, where (file, row, value), and what to do; no period ends it.

    The command line prints the message without a traceback and exits with code 2.
    """


_COMMAND_LINE = False  # whether those who read the messages type flags


@contextmanager
def speaking_flags() -> Iterator[None]:
    """Within it, ``option`` names the flags of the command line."""
    global _COMMAND_LINE
    before, _COMMAND_LINE = _COMMAND_LINE, True
    try:
        yield
    finally:
        _COMMAND_LINE = before


def either(flag: str, python: str) -> str:
    """What is said on the command line, or in Python where the option has no parameter of the same name there."""
    return flag if _COMMAND_LINE else python


def option(name: str, value: object = None) -> str:
    """An option in the words of who reads of it: a flag on the command line, a parameter in Python.

    Args:
        name: of the parameter.
        value: to propose, such as a list of columns; None: none.

    Example:
        >>> option("text"), option("drop", ["age"]), option("keep_na", True)
        ('text=', "drop=['age']", 'keep_na=True')
    """
    flag = "--" + name.replace("_", "-")
    if value is None or value is True:
        return either(flag, f"{name}={'' if value is None else value}")
    said = ",".join(map(str, value)) if isinstance(value, list) else value
    return either(f"{flag} {said}", f"{name}={value!r}")


_OF_RUNS = False  # whether runs lie in a folder that the option ``runs`` gives


@contextmanager
def in_folder_of_runs() -> Iterator[None]:
    """Within it, runs lie in a folder that the option ``runs`` gives, and none is replaced: see ``anew``."""
    global _OF_RUNS
    before, _OF_RUNS = _OF_RUNS, True
    try:
        yield
    finally:
        _OF_RUNS = before


def anew() -> str:
    """What to do where a folder holds a run that is not to be gone on with."""
    if _OF_RUNS:
        return f"give another folder, {option('runs')}"
    return either("use --overwrite or another --out", "give another folder, out=")


class TrainingWarning(UserWarning):
    """Something unusual happened while training; the message says what was done, and the run went on."""


def check_instance(name: str, given: object) -> None:
    """InputError where a parameter that takes an object is given its class."""
    if isinstance(given, type):
        raise InputError(f"{name} is the class {given.__name__}: pass an instance, {given.__name__}()")


def nearest(word: object, known: Iterable[object]) -> str:
    """`` Did you mean 'cat'?`` where a known word is near, else the empty string.

    Upper and lower case aside; what begins with the whole word and a colon is nearest.

    Example:
        >>> nearest("MLP", ["small_cnn", "mlp"]) + nearest("cifar10n", ["cifar100n", "cifar10n:worse"])
        " Did you mean 'mlp'? Did you mean 'cifar10n:worse'?"
    """
    asked, folded = str(word).casefold(), dict[str, str]()
    for name in map(str, known):
        folded.setdefault(name.casefold(), name)
    begun = [name for name in folded if name.startswith(f"{asked}:")]
    close = begun or difflib.get_close_matches(asked, folded, n=1, cutoff=0.5)
    return f" Did you mean {folded[close[0]]!r}?" if close else ""


def unknown(what: str, name: str, known: Iterable[str], *, shown: str = "") -> InputError:
    """The error for a name that is not among the known ones: the nearest of them, and all of them if they are few.

    Where they are many, ``shown`` says what shows them.
    """
    names = list(known)
    listed = f" Known are {', '.join(names)}" if len(names) <= 40 else f" {shown} shows all" if shown else ""
    return InputError(f"unknown {what} {name!r}.{nearest(name, names)}{listed}".removesuffix("."))


def no_data(source: str, known: Sequence[str]) -> InputError:
    """The error for a source that is no path that is there, and none of the public data sets that are known."""
    hint = nearest(source, known) or f" Public data sets: {', '.join(known)}"
    return InputError(f"there is no file, folder or public data set {source!r}.{hint}")


def check_values(
    owner: object,
    limits: Mapping[str, tuple[float, float]],
    choices: Mapping[str, tuple[str, ...]],
    free: Container[str] = (),
) -> None:
    """InputError unless the named fields of ``owner`` are within their limits (None is) and among their words.

    Fields in ``free`` are not asked.
    """
    for name, (least, most) in limits.items():
        value = getattr(owner, name)
        if name not in free and value is not None and not least <= value <= most:
            raise InputError(f"{name} is {value}; it must be at least {least} and at most {most}")
    for name, words in choices.items():
        if name not in free and getattr(owner, name) not in words:
            raise unknown(name, getattr(owner, name), words)
