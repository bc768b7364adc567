"""Methods by name: those of ``METHODS``, and classes in a file of the user's own, written ``FILE.py:CLASS``."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from codivide.core.errors import InputError, nearest, unknown
from codivide.methods import METHODS
from codivide.methods.features.options import Features
from codivide.training.run import Method

_FILES = "codivide_own_"  # before the name of a module made of a user's file, so that it hides no other


def is_own(name: str) -> bool:
    """Whether a name is that of a class in a file, such as "focal.py:Focal"."""
    return name.rpartition(":")[0].endswith(".py")


def method_class(name: str) -> type[Method] | type[Features]:
    """The class of a method.

    Args:
        name: in ``METHODS``, or ``FILE.py:CLASS``. The file is run once, as Python imports a module, with the modules
            that lie beside it at hand.

    Raises:
        InputError: an unknown name; a file that is not there or fails; a class that is not there or no method.
    """
    if not is_own(name):
        if name not in METHODS:
            hint = f"; one of your own is FILE.py:CLASS, such as {name}:Focal" if name.endswith(".py") else ""
            raise unknown("method", name, METHODS) if not hint else InputError(f"unknown method {name!r}{hint}")
        return METHODS[name]
    path, _, word = name.rpartition(":")
    module = _module(Path(path).absolute())
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
    return {} if path is None else {"method_code": hashlib.sha256(path.read_bytes()).hexdigest()[:16]}


def _file(kind: type) -> Path | None:
    return Path(inspect.getfile(kind)) if kind.__module__.startswith(_FILES) else None


@lru_cache
def _module(path: Path) -> ModuleType:
    """A file as a module; the classes of one file are the same each time."""
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}; a method of your own is named FILE.py:CLASS")
    name = f"{_FILES}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"  # two files may be called alike
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and type hints look it up
    sys.path.insert(0, str(path.parent))  # as of a script, for what lies beside it
    try:
        spec.loader.exec_module(module)
    except SystemExit as error:
        del sys.modules[name]
        raise InputError(
            f"{path} ends Python (sys.exit) when it is run: put what is no class under if __name__ == '__main__':"
        ) from error
    except Exception as error:  # whatever the user's code may raise
        del sys.modules[name]
        raise InputError(f"{path} cannot be run: {type(error).__name__}: {error} (--debug shows where)") from error
    finally:
        sys.path.remove(str(path.parent))
    return module
