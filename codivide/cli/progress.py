"""Where the command line prints, and how it shows warnings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape

from codivide.fit.progress import err_console

out_console = Console()


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings to the user as one line, each once, without a place in the code; others as Python shows them."""
    before = warnings.showwarning
    said = set()

    def show(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
        if issubclass(category, UserWarning):
            if str(message) in said:
                return  # a forest in cross-fitting would say it a hundred times
            said.add(str(message))
            err_console.print(f"[yellow]warning[/] {escape(str(message))}", soft_wrap=True, highlight=False)
        else:
            before(message, category, *rest, **named)

    warnings.showwarning = show  # the documented way
    try:
        yield
    finally:
        warnings.showwarning = before
