"""Notebooks from scripts: ``python examples/make_notebooks.py`` runs each and writes what it printed into the notebook.

A script has cells that begin with ``# %%`` (code) or ``# %% [markdown]`` (text), so it runs as it is, too. Warnings and
progress go to standard error and into no notebook.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "notebooks"


def cells(script: str) -> list[tuple[str, str]]:
    """Kind and source of every cell."""
    found = []
    for part in re.split(r"^# %%", script, flags=re.MULTILINE)[1:]:
        mark, _, source = part.partition("\n")
        if "[markdown]" in mark:
            found.append(("markdown", re.sub(r"^# ?", "", source, flags=re.MULTILINE).strip()))
        else:
            found.append(("code", source.strip()))
    return found


def notebook(path: Path) -> dict[str, Any]:
    """A script, run, as a notebook with its output."""
    names: dict[str, Any] = {"__name__": path.stem}
    made: list[dict[str, Any]] = []
    count = 0
    for number, (kind, source) in enumerate(cells(path.read_text(encoding="utf-8"))):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
        cell["source"] = source.splitlines(keepends=True)
        if kind == "code":
            count += 1
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(compile(source, f"{path.name}, cell {number}", "exec"), names)
            text = said.getvalue().splitlines(keepends=True)
            outputs = [{"name": "stdout", "output_type": "stream", "text": text}] if text else []
            cell |= {"execution_count": count, "outputs": outputs}
        made.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def main() -> None:
    """Make those that are named, or all."""
    wanted = sys.argv[1:]
    for path in sorted(FOLDER.glob("*.py")):
        if not wanted or path.stem in wanted:
            target = path.with_suffix(".ipynb")
            target.write_text(json.dumps(notebook(path), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            print(f"written: {target.relative_to(Path(__file__).parents[1])}")


if __name__ == "__main__":
    main()
