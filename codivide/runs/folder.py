"""The folder that a run leaves: its files, when it may be written, and how.

``config.json``, ``metrics.jsonl`` (one record an epoch), ``predictions.npz``, ``labels.csv`` and ``labels.parquet``,
``model.safetensors``, ``skipped.csv`` and, last, ``summary.json``: a folder that has it is complete.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from codivide.core.errors import InputError
from codivide.core.files import atomic, write_text
from codivide.data.loaded import Loaded
from codivide.runs import label_table
from codivide.training.model_file import Classifier

MODEL, CHECKPOINT, METRICS = "model.safetensors", "checkpoint.safetensors", "metrics.jsonl"
PREDICTIONS = "predictions.npz"
REPORT = "report.html"  # of `codivide audit`
PICTURES = tuple(
    f"{name}.{kind}" for name in ("learning", "curves", "losses", "reliability") for kind in ("png", "svg")
)
SCOUT, TRIAL, CHOICE = "scout", "trial", "choice.json"  # of an automatic choice, see `codivide.fit.choose_run`
_WRITTEN = (
    *("config.json", METRICS, "labels.csv", "labels.parquet", PREDICTIONS, MODEL, CHECKPOINT, "summary.json"),
    *("skipped.csv", REPORT, *PICTURES),
)


def is_run(path: Path) -> bool:
    """Whether a path is the folder of a run, finished or not.

    Raises:
        InputError: its run was stopped before anything was chosen, so there is only the scout.
    """
    if (path / "config.json").is_file():
        return True
    if (path / SCOUT / "config.json").is_file():
        raise InputError(
            f"the run in {path} was stopped while it chose its method: go on with codivide fit ... --out {path} "
            f"--resume (what the scout has seen so far: codivide plot {path / SCOUT})"
        )
    return False


def check_folder(out: Path, resume: bool = False, overwrite: bool = False) -> None:
    """Whether a run may be written to ``out``; asked before any long work, changes nothing.

    Raises:
        InputError: it exists and is not empty (unless resume or overwrite), or is no folder of a run.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; give a folder")
    held = sorted(p.name for p in out.iterdir() if p.suffix != ".part") if out.exists() else []
    if held and not resume and not overwrite:
        raise InputError(f"--out {out} exists and is not empty; use --resume, --overwrite or another folder")
    if not set(held) <= {*_WRITTEN, SCOUT, TRIAL, CHOICE} and "config.json" not in held:
        raise InputError(f"--out {out} holds other files ({held[0]}, ...) and no codivide run; give another folder")


def remove_run(path: Path) -> None:
    """Remove what a run wrote to its folder, and nothing else; a scout, a trial and a choice stay."""
    for name in _WRITTEN:
        (path / name).unlink(missing_ok=True)


_ADOPTED = ("labels.csv", "labels.parquet", PREDICTIONS, MODEL, METRICS, "skipped.csv")


def adopt(out: Path, stage: Path, more: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Make a finished stage of a run its result.

    Args:
        out: the folder of the run.
        stage: the folder of the stage, whose files are copied.
        more: what ``config.json`` says besides what the stage's says.
        summary: of ``summary.json``.
    """
    for name in _ADOPTED:
        if (stage / name).exists():
            with atomic(out / name) as aside:
                shutil.copyfile(stage / name, aside)
    settings = json.loads((stage / "config.json").read_text(encoding="utf-8")) | more
    write_text(out / "config.json", json.dumps(settings, indent=2, default=str) + "\n")
    write_text(out / "summary.json", json.dumps(summary, indent=2, default=str) + "\n")


class RunFolder:
    """A run folder, begun when the first epoch is done: a run that fails before leaves an older one as it was.

    Args:
        path: the folder.
        settings: of ``config.json``.
        resume: whether a checkpoint in it is gone on from.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], resume: bool = False) -> None:
        self.path, self.settings, self.resume, self.begun = path, settings, resume, False

    def begin(self) -> None:
        """Remove what an older run wrote, unless this one goes on from it, and write ``config.json``."""
        self.begun = True
        if not (self.resume and (self.path / CHECKPOINT).exists()):
            remove_run(self.path)
            if not self.settings.get("choice", {}).get("evidence"):  # nothing was scouted for this run
                (self.path / CHOICE).unlink(missing_ok=True)
                for stage in (SCOUT, TRIAL):
                    remove_run(self.path / stage)
            write_text(self.path / "config.json", json.dumps(self.settings, indent=2, default=str) + "\n")
        for left in self.path.glob("*.part"):  # of a run that was killed while it wrote
            left.unlink()

    def append(self, history: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> None:
        """Add an epoch to ``metrics.jsonl``, which follows the history of the run."""
        if not self.begun:
            self.begin()
            self.write_history(history[:-1])
        with open(self.path / METRICS, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def write_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """``metrics.jsonl``, whole."""
        write_text(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in history))

    def write_predictions(
        self, epochs: Sequence[int], classes: Sequence[Any], evidence: Mapping[str, np.ndarray[Any, Any]]
    ) -> None:
        """``predictions.npz``: the recorded epochs, the class names, and what the run knows of its samples."""
        names = np.asarray([str(name) for name in classes])
        arrays: dict[str, Any] = {"epochs": np.asarray(epochs), "classes": names, **evidence}
        with atomic(self.path / PREDICTIONS) as aside, open(aside, "wb") as file:
            np.savez_compressed(file, **arrays)

    def write_results(self, loaded: Loaded, model: Classifier, table: pd.DataFrame, summary: Mapping[str, Any]) -> None:
        """Label table, skipped files, model and summary."""
        label_table.write(table, self.path)
        if loaded.skipped:
            with atomic(self.path / "skipped.csv") as aside:
                pd.DataFrame(loaded.skipped, columns=["path", "reason"]).to_csv(aside, index=False)
        model.save(self.path / MODEL)
        write_text(self.path / "summary.json", json.dumps(summary, indent=2, default=str) + "\n")
