"""Methods by name: those of ``METHODS``, and classes in a file of the user's own, written ``FILE.py:CLASS``."""

from __future__ import annotations

import inspect
from pathlib import Path

from codivide.core.errors import InputError, nearest, unknown
from codivide.core.own_files import code_of_file, is_from_file, is_in_file, module_of
from codivide.methods import METHODS
from codivide.methods.features.options import Features
from codivide.training.run import Method


def method_class(name: str) -> type[Method] | type[Features]:
    """The class of a method.

    Args:
        name: in ``METHODS``, or ``FILE.py:CLASS``. The file is run once, as Python imports a module, with the modules
            that lie beside it at hand.

    Raises:
        InputError: an unknown name; a file that is not there or fails; a class that is not there or no method.
    """
    if not is_in_file(name):
        if name not in METHODS:
            hint = f"; one of your own is FILE.py:CLASS, such as {name}:Focal" if name.endswith(".py") else ""
            raise unknown("method", name, METHODS) if not hint else InputError(f"unknown method {name!r}{hint}")
        return METHODS[name]
    path, _, word = name.rpartition(":")
    module = module_of(Path(path), "a method of your own is named FILE.py:CLASS")
    here = [kind for kind in vars(module).values() if inspect.isclass(kind) and kind.__module__ == module.__name__]
    known = [kind.__name__ for kind in here if issubclass(kind, Method)]
    kind = next((kind for kind in here if kind.__name__ == word), None)
    if kind is None:
        listed = f"its methods are {', '.join(known)}" if known else "it has no class that derives from codivide.Method"
        raise InputError(f"{path} has no class {word!r}.{nearest(word, known)} {listed[0].upper()}{listed[1:]}")
    if not issubclass(kind, Method):
        raise InputError(f"{name} is no method: derive the class from codivide.Method")
    if "__dataclass_fields__" not in vars(kind) and inspect.get_annotations(kind):
        raise InputError(f"{name} names settings and is no dataclass, so they would not count: put @dataclass above it")
    return kind


def built_by(method: Method | Features) -> str:
    """The name with which ``method_class`` gives the class of a method, in any process of this machine."""
    names: dict[type, str] = {cls: name for name, cls in METHODS.items()}
    kind = type(method)
    path = _file(kind)
    return names.get(kind, kind.__name__) if path is None else f"{path}:{kind.__name__}"


def code_of(kind: type) -> dict[str, str]:
    """What tells the file of a method of the user's own from what it was before an edit; empty for another method."""
    path = _file(kind)
    return {} if path is None else {"method_code": code_of_file(path)}


def _file(kind: type) -> Path | None:
    return Path(inspect.getfile(kind)) if is_from_file(kind) else None
