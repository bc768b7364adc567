"""Parts of the user's own that stay in a file, by the name ``FILE.py:NAME``: a method, or what makes a network."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from codivide.core.errors import InputError

_FILES = "codivide_own_"  # before the name of a module made of a user's file, so that it hides no other


def is_in_file(name: str) -> bool:
    """Whether a name is that of something in a file, such as "focal.py:Focal"."""
    return name.rpartition(":")[0].endswith(".py")


def is_from_file(part: type) -> bool:
    """Whether a class was made by a file that ``module_of`` has run."""
    return part.__module__.startswith(_FILES)


def code_of_file(path: Path) -> str:
    """What tells a file from what it was before an edit, 16 letters and digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def module_of(path: Path, what: str) -> ModuleType:
    """A file as a module; what is in one file is the same each time.

    Args:
        path: of the file. It is run once, as Python imports a module, with the modules that lie beside it at hand.
        what: is looked for and how it is named, for the message where there is no file.

    Raises:
        InputError: no such file, or one that fails.
    """
    path = path.absolute()
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}; {what}")
    return _module(path)


@lru_cache
def _module(path: Path) -> ModuleType:
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
            f"{path} ends Python (sys.exit) when it is run: put that under if __name__ == '__main__':"
        ) from error
    except Exception as error:  # whatever the user's code may raise
        del sys.modules[name]
        raise InputError(f"{path} cannot be run: {type(error).__name__}: {error} (--debug shows where)") from error
    finally:
        sys.path.remove(str(path.parent))
    return module
