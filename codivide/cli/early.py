"""What the words of a command line alone show to be wrong, said before torch is loaded, which takes seconds.

Names are looked up in the registries that the commands use later, whose keys are read as text: importing them loads
torch. Where the package lies without its source, the commands say later what is wrong.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Sequence
from pathlib import Path

from codivide.core.errors import no_data, unknown
from codivide.core.files import check_there, expand_user

_PACKAGE = Path(__file__).parents[1]
_NAME = re.compile(r"\w+(:\w+)?")  # of a public data set


def refuse(
    read: Sequence[str | None],
    out: Path,
    *,
    method: str,
    net: str,
    encoder: str,
    resume: bool,
    overwrite: bool,
    inputs: Sequence[str | Path],
) -> None:
    """InputError where a run cannot begin; what passes may be wrong all the same, which is said later.

    Args:
        read: what is to be read; None: nothing.
        out: the folder of the run.
        method: its name.
        net: the name of the network.
        encoder: that of the encoder.
        resume: go on with the run in the folder.
        overwrite: replace it.
        inputs: all that may be a path to what is read.
    """
    for source in read:
        check_source(source)
    if has_source():
        _check_names(method, net, encoder)
    if "RANK" not in os.environ:  # one of several processes: another may have begun to write
        from codivide.runs.claim import check_folder  # with pandas

        check_folder(out, resume=resume, overwrite=overwrite, inputs=inputs)


def has_source() -> bool:
    """Whether the package's own files can be read as text; not those of an archive, or compiled ones alone."""
    return (_PACKAGE / "methods" / "__init__.py").is_file()


def _check_names(method: str, net: str, encoder: str) -> None:
    if method.isidentifier() and method not in (known := methods()):
        raise unknown("method", method, known)
    if ":" not in net and not net.endswith(".py") and net not in ("auto", *(nets_known := nets())):
        raise unknown("net", net, nets_known)
    if encoder != "auto" and not _is_encoder(encoder, encoders_known := encoders()):
        raise unknown("encoder", encoder, encoders_known)


def check_source(source: str | None) -> None:
    """InputError where nothing of this name is there, and it is no public data set."""
    check_there(source)
    if source is None or not _NAME.fullmatch(source) or expand_user(Path(source)).exists() or not has_source():
        return
    if source not in (known := data_sets()):
        raise no_data(source, known)


def methods() -> list[str]:
    """The names in ``METHODS``."""
    return list(_entries("methods/__init__.py", "METHODS"))


def nets() -> list[str]:
    """``training.nets.names``."""
    return [*_entries("training/nets.py", "NETS"), *map(_text, _elements("training/timm_names.py", "OTHERS"))]


def data_sets() -> list[str]:
    """``data.named.names``."""
    return sorted(key for file in ("named", "photo_sets") for key in _entries(f"data/{file}.py", "_READERS"))


def encoders() -> list[str]:
    """``data.encode.names``."""
    found = list(map(_text, _elements("data/encode.py", "(AUTO, NONE, BEST)")))
    for name, made in _entries("data/pretrained.py", "ENCODERS").items():
        said = [word.value for word in getattr(made, "keywords", ()) if word.arg == "rests"]
        found += [f"{name}:{rest}" if rest else name for rest in (ast.literal_eval(said[0]) if said else ("",))]
    return found


def _is_encoder(name: str, known: Sequence[str]) -> bool:
    kind, _, rest = name.partition(":")
    own = _text(_value("data/own.py", "KIND"))  # which is said where it comes from
    return kind == own or name in known or (rest != "" and f"{kind}:NAME" in known and not name.endswith(":"))


def _value(file: str, name: str) -> ast.expr:
    """What a file of the package gives a name."""
    for node in ast.parse((_PACKAGE / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return node.value
        if isinstance(node, ast.AnnAssign) and node.value is not None and ast.unparse(node.target) == name:
            return node.value
    raise LookupError(f"{file} has no {name}")


def _entries(file: str, name: str) -> dict[str, ast.expr]:
    """The entries of a registry, without those whose key is no text of its own."""
    found = _value(file, name)
    assert isinstance(found, ast.Dict)
    pairs = zip(found.keys, found.values, strict=True)
    return {_text(key): value for key, value in pairs if isinstance(key, ast.Constant)}


def _elements(file: str, name: str) -> list[ast.expr]:
    found = _value(file, name)
    assert isinstance(found, ast.Tuple)
    return found.elts


def _text(node: ast.expr) -> str:
    return str(ast.literal_eval(node))
