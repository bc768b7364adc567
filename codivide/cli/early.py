"""What the words of a command line alone show to be wrong, said before torch is loaded, which takes seconds."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from codivide.core.errors import unknown
from codivide.core.files import check_there

_METHODS = Path(__file__).parents[1] / "methods"


def refuse(
    read: Sequence[str | None], out: Path, method: str, *, resume: bool, overwrite: bool, inputs: Sequence[str | Path]
) -> None:
    """InputError where a run cannot begin; what passes may be wrong all the same, which is said later.

    Args:
        read: what is to be read; None: nothing.
        out: the folder of the run.
        method: its name.
        resume: go on with the run in the folder.
        overwrite: replace it.
        inputs: all that may be a path to what is read.
    """
    for source in read:
        check_there(source)
    if "RANK" not in os.environ:  # one of several processes: another may have begun to write
        from codivide.runs.claim import check_folder  # with pandas

        check_folder(out, resume=resume, overwrite=overwrite, inputs=inputs)
    if method.isidentifier() and method not in (known := _methods()):
        raise unknown("method", method, known)


def _methods() -> list[str]:
    """The names in ``METHODS``, read as text."""
    text = (_METHODS / "__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^    "(\w+)": \w+,$', text, re.MULTILINE)
