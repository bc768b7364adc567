"""What is wrong with the labels, as facts that a page can draw and a person can act on.

The names below are loaded when first used, so that a command that needs one of them does not wait for the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codivide.audit.facts import collect, originals, write
    from codivide.audit.findings import Findings
    from codivide.audit.interop import to_datasets, to_pandas
    from codivide.audit.joint import confident_joint
    from codivide.audit.probs import from_probs

_HOME = {
    "Findings": "findings",
    "collect": "facts",
    "confident_joint": "joint",
    "from_probs": "probs",
    "originals": "facts",
    "to_datasets": "interop",
    "to_pandas": "interop",
    "write": "facts",
}

__all__ = ["Findings", "collect", "confident_joint", "from_probs", "originals", "to_datasets", "to_pandas", "write"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"codivide.audit.{_HOME[name]}"), name)
    raise AttributeError(f"module 'codivide.audit' has no attribute {name!r}")
