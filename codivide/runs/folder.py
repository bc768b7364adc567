"""The folder that a run leaves: its files, how it is known, and the one writer and the one reader of it.

``config.json``, ``metrics.jsonl`` (one record an epoch), ``predictions.npz``, ``labels.csv`` and ``labels.parquet``,
``labels_test.csv`` and ``labels_test.parquet`` (of the test part), ``contents.npy`` (a hash of each row of a table),
``model.safetensors``, ``skipped.csv`` and, last, ``summary.json``: a folder that has it is complete. Each has
a checksum, in itself or in the summary, so that a byte that has changed is found by whoever reads that file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from codivide.core.errors import InputError, anew, either, option
from codivide.core.files import (
    atomic,
    check_sum,
    file_sum,
    guarded,
    is_present,
    of_line,
    read_header,
    read_json,
    reading,
    to_line,
    unguard,
    write_json,
    write_text,
)
from codivide.runs import label_table

if TYPE_CHECKING:  # and else where it is used: whether a folder may be written to is asked before torch is loaded
    from codivide.data.loaded import Loaded
    from codivide.data.record import DataRecord
    from codivide.training.model_file import Classifier

CONFIG, SUMMARY, METRICS, SKIPPED = "config.json", "summary.json", "metrics.jsonl", "skipped.csv"
MODEL, CHECKPOINT, PREDICTIONS = "model.safetensors", "checkpoint.safetensors", "predictions.npz"
CONTENTS = "contents.npy"  # a hash of every row of a table, in the order of the label table
REPORT = "report.html"  # of `codivide audit`
PICTURES = tuple(
    f"{name}.{kind}" for name in ("learning", "curves", "losses", "reliability") for kind in ("png", "svg")
)
FACTS = "facts.json"  # of an audit of somebody's probabilities, which is no run (`codivide.audit.from_probs`)
NOISE = "noise.json"  # of the same: its noise report
SOURCE = "source.json"  # of the same, of image files: where they lay; ``contents.npy`` has a hash of each
CORRECTIONS = "corrections.csv"  # of a person; no run writes it
DECISIONS = "decisions.sqlite"  # what `codivide serve` was told
SCOUT, CORRECTION, CHOICE = "scout", "correction", "choice.json"  # of `codivide.fit.choose_stages`
LOCK = ".codivide.lock"  # is there while somebody writes to the folder, see `codivide.runs.claim`
PAGES = (REPORT, *PICTURES)
WRITTEN = (  # by a run, in the order in which they are removed: a summary says that the rest is there
    *(SUMMARY, CHECKPOINT, METRICS, *label_table.FILES, *label_table.TEST_FILES, CONTENTS, PREDICTIONS, MODEL, SKIPPED),
    CONFIG,
)
TOO_LITTLE = "too little was learned; do not use"  # in the summary: the verdict on a run that is of no use
USELESS = f"{TOO_LITTLE}: neither the labels that look wrong nor the model"  # what is said of it before all else
SUMS = "files"  # in the summary: the checksums of the others
IDENTITY = "identity"  # in the settings: what another run must share to be the same
_KEYS = ("version", "method", "plan")  # of every run's settings
REPORT_MARK, PICTURE_MARK = b"<title>Label audit</title>", b"codivide"  # in what codivide made, and nothing else
_HEAD = 4096  # bytes in which the mark is


def has_run(path: Path) -> bool:
    """Whether a folder holds the settings of a run, known by codivide's own keys; another program's are none."""
    if not (path / CONFIG).is_file():
        return False
    try:
        settings = read_json(path / CONFIG, check=False)  # whose it is stays known when a byte has changed
    except InputError:
        return False
    return all(key in settings for key in _KEYS) and isinstance(settings["plan"], dict)


def check_settings(path: Path) -> None:
    """InputError that names ``config.json`` where it cannot be read and what is beside it is of a run."""
    beside = (CHECKPOINT, MODEL, METRICS, *label_table.FILES)
    if (path / CONFIG).is_file() and any((path / name).is_file() for name in beside):
        read_json(path / CONFIG, check=False)


def is_run(path: Path) -> bool:
    """Whether a path is the folder of a run, finished or not.

    Raises:
        InputError: its run was stopped before anything was chosen, so there is only the scout; or its settings are
            damaged.
    """
    if has_run(path):
        return True
    check_settings(path)
    if has_run(path / SCOUT):
        raise InputError(
            f"the run in {path} was stopped while it chose its method: go on with "
            + either(f"codivide fit ... --out {path} --resume", f"out={str(path)!r}, resume=True")
            + f" (what its short run has seen so far: codivide plot {path / SCOUT})"
        )
    return False


def is_audit(path: Path) -> bool:
    """Whether a path is the folder of an audit of somebody's probabilities: labels and facts, and no run."""
    return (path / FACTS).is_file() and not is_run(path) and any((path / name).is_file() for name in label_table.FILES)


def remove_run(path: Path, *, but: Collection[str] = ()) -> None:
    """Remove what a run and those who look at it wrote to its folder; a scout, a correction and a choice stay.

    Nothing is removed where no run is, and no page or picture that codivide did not make.

    Args:
        path: the folder.
        but: names of files that stay.
    """
    if not has_run(path):
        return
    made = [name for name in PAGES if has_mark(path / name, REPORT_MARK if name == REPORT else PICTURE_MARK)]
    for name in (*made, *WRITTEN):
        if name not in but:
            (path / name).unlink(missing_ok=True)


def has_mark(path: Path, mark: bytes) -> bool:
    """Whether a file is there and is one that codivide made, by the mark of a report or of a picture."""
    if not path.is_file():
        return False
    with reading(path), open(path, "rb") as file:
        return mark in file.read(_HEAD)


class SavedRun:
    """The reader of a run folder, finished or not: each file is read when it is first asked for.

    A file that is damaged is one InputError that names it, whichever property is asked.

    Args:
        path: the folder.

    Raises:
        InputError: it is not the folder of a run.
    """

    def __init__(self, path: Path) -> None:
        if not is_run(path):
            if (path / CONFIG).is_file():
                read_json(path / CONFIG)  # says what is wrong with it
                raise InputError(f"{path / CONFIG} is not of codivide: it lacks one of {', '.join(_KEYS)}")
            if is_audit(path):
                raise InputError(
                    f"{path} holds an audit of probabilities and no run: audit, noise, serve and clean take it"
                )
            raise InputError(f"{path} is not the folder of a run (it holds no {CONFIG})")
        self.path = path

    @cached_property
    def config(self) -> dict[str, Any]:
        """What was trained."""
        return read_json(self.path / CONFIG)

    @cached_property
    def _ending(self) -> dict[str, Any]:
        path = self.path / SUMMARY
        return read_json(path) if is_present(path) else {}

    @property
    def summary(self) -> dict[str, Any]:
        """The numbers of a finished run; empty before."""
        return {name: value for name, value in self._ending.items() if name != SUMS}

    @property
    def is_useless(self) -> bool:
        """Whether the run itself says that too little was learned for it to be used."""
        return self.summary.get("verdict") == TOO_LITTLE

    def _whole(self, *names: str) -> None:
        """InputError where one of these files has other bytes than the finished run wrote."""
        sums = self._ending.get(SUMS, {})
        with reading(self.path / SUMMARY):
            written = {name: sums.get(name) for name in names}
        for name, known in written.items():
            if is_present(self.path / name):
                check_sum(self.path / name, known)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One record an epoch, at least one; a last line that is half written is left out.

        Raises:
            InputError: also where no epoch is finished yet.
        """
        path = self.path / METRICS
        self._whole(METRICS)
        history = self._kept_so_far()  # first: a run that goes on may write more meanwhile
        with reading(path):
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if is_present(path) else []
            rows = [of_line(line) for line in lines if line.endswith("\n")]
            for number, row in enumerate(rows, 1):
                if not isinstance(row.get("epoch"), int):
                    raise InputError(f"{path} cannot be read: line {number} is no record of an epoch")
        with reading(self.path / CHECKPOINT):
            kept = [json.dumps(row | known) == json.dumps(row) for row, known in zip(rows, history, strict=False)]
        if len(history) > len(rows) or not all(kept):  # more may be known of the last epoch by now
            again = f"{option('resume', True)} writes it again"
            raise InputError(f"{path} is damaged: it is not what {CHECKPOINT} holds; {again}")
        if not rows:
            raise InputError(f"{self.path} has no record of a finished epoch yet")
        return rows

    def _kept_so_far(self) -> list[dict[str, Any]]:
        """The records that the checkpoint of a run without an end holds."""
        path = self.path / CHECKPOINT
        if self.summary or not is_present(path):
            return []
        from codivide.training.checkpoint import KIND

        with reading(path):
            return list(read_header(path, KIND)["history"])

    @cached_property
    def source(self) -> DataRecord:
        """What it was trained on.

        Raises:
            InputError: also where the record says what this version does not know.
        """
        from codivide.data.record import DataRecord

        with reading(self.path / CONFIG):
            return DataRecord.of_run(self.config)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The class names ``[C]``."""
        with reading(self.path / CONFIG):
            return tuple(str(name) for name in self.config["classes"])

    @cached_property
    def labels(self) -> pd.DataFrame:
        """The label table, see ``label_table.build``."""
        self._whole(*label_table.FILES)
        return label_table.read(self.path)

    @cached_property
    def test_labels(self) -> pd.DataFrame | None:
        """The label table of the test part; None: there is no test part, or an older version made the run."""
        if not any(is_present(self.path / name) for name in label_table.TEST_FILES):
            return None
        self._whole(*label_table.TEST_FILES)
        return label_table.read(self.path, label_table.TEST_FILES)

    @cached_property
    def predictions(self) -> dict[str, np.ndarray[Any, Any]]:
        """The arrays of ``predictions.npz``: what the run knows of its samples.

        Raises:
            InputError: also where there is none.
        """
        path = self.path / PREDICTIONS
        if not is_present(path):
            raise InputError(
                f"{self.path} holds no {PREDICTIONS}: the run is unfinished, or recorded nothing"
                + either(" (fit without --no-record-learning)", "")
            )
        from codivide.data.packed import check_size

        self._whole(PREDICTIONS)
        with reading(path):
            check_size(path)
            with np.load(path, allow_pickle=False) as held:
                return {name: held[name] for name in held.files}

    @cached_property
    def contents(self) -> np.ndarray[Any, np.dtype[np.uint64]] | None:
        """A hash of every row that was trained on, see ``data.contents``; None: no table, or an older run."""
        path = self.path / CONTENTS
        if not is_present(path):
            return None
        self._whole(CONTENTS)
        with reading(path):
            return np.asarray(np.load(path, allow_pickle=False), dtype=np.uint64)

    @cached_property
    def skipped(self) -> list[tuple[str, str]]:
        """Path and reason of every file that was left out."""
        path = self.path / SKIPPED
        if not is_present(path):
            return []
        self._whole(SKIPPED)
        with reading(path):
            found = pd.read_csv(path, dtype=str, keep_default_na=False)
            return list(zip(found["path"].map(unguard), found["reason"].map(unguard), strict=True))

    @property
    def title(self) -> str:
        """Method, data and noise; how far the run got, if it is not at its end."""
        with reading(self.path / CONFIG):
            noise = f", {self.source.noise}" if self.source.noise else ""
            done, planned = self.rows[-1]["epoch"], self.config["plan"]["epochs"]
            state = f" (unfinished: {done} of {planned} epochs)" if done < planned else ""
            return f"{self.config['method']} on {self.config['data']}{noise}{state}"

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Epochs and values of a number, where it was recorded."""
        rows = [row for row in self.rows if name in row]
        return [row["epoch"] for row in rows], [row[name] for row in rows]


_SUMMED = (*label_table.FILES, *label_table.TEST_FILES, CONTENTS, PREDICTIONS, METRICS, SKIPPED)
_ADOPTED = (*_SUMMED, MODEL)  # which has a checksum of its own


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
    write_json(out / CONFIG, SavedRun(stage).config | dict(more))
    _finish(out, summary)


def _finish(folder: Path, summary: Mapping[str, Any]) -> None:
    """``summary.json``, with a checksum of every file that is there by now."""
    sums = {name: file_sum(folder / name) for name in _SUMMED if (folder / name).is_file()}
    write_json(folder / SUMMARY, {**summary, SUMS: sums})


class RunFolder:
    """The writer of a run folder, begun when the first epoch is done.

    A run that fails before leaves an older one as it was.

    Args:
        path: the folder.
        settings: of ``config.json``.
        resume: whether a checkpoint in it is gone on from.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, resume: bool = False) -> None:
        self.path, self.settings, self.resume, self.begun = path, settings, resume, False

    def begin(self) -> None:
        """Remove what an older run wrote, unless this one goes on from it, and write ``config.json``.

        Raises:
            InputError: this one is to go on, and the folder holds a finished run without a checkpoint.
        """
        self.begun = True
        if self.resume and (self.path / CHECKPOINT).exists():
            return
        if self.resume and is_present(self.path / SUMMARY):
            raise InputError(f"{self.path} holds a finished run; {anew()}")
        remove_run(self.path, but=(CONFIG,))  # by its settings the folder is known until they are replaced
        if not self.settings.get("choice", {}).get("evidence"):  # nothing was scouted for this run
            (self.path / CHOICE).unlink(missing_ok=True)
            for stage in (SCOUT, CORRECTION):
                remove_run(self.path / stage)
        write_json(self.path / CONFIG, self.settings)

    def append(self, history: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> None:
        """Add an epoch to ``metrics.jsonl``, which follows the history of the run."""
        if not self.begun:
            self.begin()
            self.write_history(history[:-1])
        with open(self.path / METRICS, "a", encoding="utf-8") as file:
            file.write(to_line(row))

    def write_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """``metrics.jsonl``, whole."""
        write_text(self.path / METRICS, "".join(map(to_line, history)))

    def write_predictions(
        self, epochs: Sequence[int], classes: Sequence[Any], evidence: Mapping[str, np.ndarray[Any, Any]]
    ) -> None:
        """``predictions.npz``: the recorded epochs, the class names, and what the run knows of its samples."""
        names = np.asarray([str(name) for name in classes])
        arrays: dict[str, Any] = {"epochs": np.asarray(epochs), "classes": names, **evidence}
        with atomic(self.path / PREDICTIONS) as aside, open(aside, "wb") as file:
            np.savez_compressed(file, **arrays)

    def write_results(
        self,
        loaded: Loaded,
        model: Classifier,
        table: pd.DataFrame,
        summary: Mapping[str, Any],
        *,
        test_table: pd.DataFrame | None = None,
    ) -> None:
        """Label tables of both parts, hashes of the rows of a table, skipped files, model and summary."""
        label_table.write(table, self.path)
        if test_table is not None:
            label_table.write(test_table, self.path, label_table.TEST_FILES)
        if loaded.contents is not None:
            with atomic(self.path / CONTENTS) as aside, open(aside, "wb") as file:
                np.save(file, loaded.contents)
        if loaded.skipped:
            with atomic(self.path / SKIPPED) as aside:
                guarded(pd.DataFrame(loaded.skipped, columns=["path", "reason"])).to_csv(aside, index=False)
        model.save(self.path / MODEL)
        _finish(self.path, summary)
