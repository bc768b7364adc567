"""Flags that are made from the hyper-parameters of a method."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

import typer

from codivide.cli.early import has_source
from codivide.cli.fit_flags import TAKEN, RunFlags
from codivide.core.errors import InputError

OWN = "method_"  # before a hyper-parameter that is called like a flag of ``fit``


def hyper_flags(cls: type, panel: str) -> list[inspect.Parameter]:
    """A flag for every hyper-parameter of a method; one whose name is ``TAKEN`` has ``OWN`` before it."""
    hints, about = get_type_hints(cls), described(cls)
    parameters = []
    for item in fields(cls):
        if item.name == "budget":  # has a flag of its own
            continue
        kind = hints[item.name]
        parts = get_args(kind) if get_origin(kind) in (UnionType, Union) else ()
        if parts:
            kind = next(arg for arg in parts if isinstance(arg, type) and arg is not NoneType)
        automatic = any(get_origin(arg) is Literal for arg in parts)
        default, text = as_flag(item.name, item.default, about.get(item.name, ""))
        option = typer.Option(
            parser=partial(_number_or_auto, kind, item.name) if automatic else None,
            metavar=f"{kind.__name__.upper()}|auto" if automatic else None,
            help=text,
            rich_help_panel=panel,
            show_default=default,
        )
        parameters.append(
            inspect.Parameter(
                OWN + item.name if item.name in TAKEN else item.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[kind | None, option],
            )
        )
    return parameters


def described(cls: type) -> dict[str, str]:
    """What the Attributes sections of a class and of its bases say of each field; the class itself wins."""
    about: dict[str, str] = {}
    name = ""
    docs = [inspect.cleandoc(base.__doc__ or "") for base in reversed(cls.__mro__[:-1])]
    for line in "\n".join(doc.partition("Attributes:\n")[2] for doc in docs).splitlines():
        if line.startswith("    ") and not line.startswith("     "):
            name, _, text = line.strip().partition(": ")
            about[name] = text
        elif name:
            about[name] += " " + line.strip()
    return {name: text.replace("``", "") for name, text in about.items()}


def as_flag(name: str, default: object, text: str) -> tuple[str, str]:
    """A field's default and description in the words of the command line, where nobody can type None, True or False."""
    dashed = name.replace("_", "-")
    named = {None: "not given", True: dashed, False: f"no-{dashed}"}
    shown = named[default] if default is None or isinstance(default, bool) else str(default)
    return shown, re.sub(r"\bNone: ", "not given: ", text)


def _number_or_auto(kind: type, name: str, text: str) -> float | str:
    """A number of this kind, or "auto"."""
    try:
        value: float | str = text if text == "auto" else kind(text)
    except ValueError:
        raise InputError(f"--{name.replace('_', '-')} {text}: give a number, or auto") from None
    return value


def method_flags(arguments: Sequence[str]) -> list[inspect.Parameter]:
    """One flag for every hyper-parameter of the method that the arguments name.

    They need torch, which takes seconds to load. So there are none where no flag but those of ``fit`` itself can be
    one, or one that is misspelled, which lets an unknown flag be refused at once; nor where help is asked for without
    naming a method. Of a method in a file of the user's own any flag may be one, and so where there is no source to
    read the names in.
    """
    words = [word.partition("=")[0] for word in arguments]
    method = RunFlags.method
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word == "--method":
            method = following
        elif word.startswith("--method="):
            method = word.partition("=")[2]
    own = {"--" + name.replace("_", "-") for name in TAKEN | {"budget"}}
    more = {word.removeprefix("--").removeprefix("no-") for word in words if word.startswith("--") and word not in own}
    helping = not {"-h", "--help"}.isdisjoint(words)
    possible = _possible_flags() if more else set()
    if (
        not any(get_close_matches(word, possible, n=1, cutoff=0.8) for word in more)
        and not (helping and "--method" in words)
        and not (more and (".py:" in method or not has_source()))
    ):
        return []
    from codivide.core.own_files import is_in_file
    from codivide.fit.own_method import method_class
    from codivide.methods import METHODS

    # `fit` itself refuses an unknown one; a setting of DivideMix says that it is to be trained
    named = {method: method_class(method) if is_in_file(method) else METHODS.get(method, METHODS["cross_entropy"])}
    if method == "auto":
        named["dividemix (one of these chooses it; what is auto is set from the data)"] = METHODS["dividemix"]
    panels = {f"Hyper-parameters of {name}": cls for name, cls in named.items()}
    return [flag for panel, cls in panels.items() for flag in hyper_flags(cls, panel)]


def _possible_flags() -> set[str]:
    """What a hyper-parameter's flag may be called: all annotated names in the files of the methods, read as text."""
    files = (Path(__file__).parents[1] / "methods").rglob("*.py")
    found = {
        name for file in files for name in re.findall(r"^    (\w+): ", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    return {name.replace("_", "-") for name in found | {OWN + name for name in found}}
