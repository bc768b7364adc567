"""How a source is read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codivide.core.errors import InputError
from codivide.core.files import cache_root
from codivide.data.encoder import Encoder, Encoding

AUGMENTS = ("auto", "photo", "shift", "jitter", "none")


@dataclass(frozen=True)
class ReadOptions:
    """How to read a source.

    Attributes:
        image_size: height and width of the stored images: the short side is resized to it and the centre is cropped.
            None: as they are when all files have one size of at most 64 pixels a side, else 224.
        cache_limit: bytes; a larger uint8 cache stays on disk and is mapped instead of read.
        cache_dir: where decoded images are kept. None: ``CODIVIDE_CACHE``, else ``~/.cache/codivide``.
        max_bad: more unreadable files than this is an error that names the first few.
        unlabelled: the label value that means "no label"; None switches it off.
        augment: "auto" (from the data), "photo", "shift", "jitter" or "none".
        workers: decoding threads; 0 is one per core.
        progress: show a progress bar, on a terminal only.
        encoder: what makes features of texts or images: a name (see ``data.encode``), or one that is fitted. None:
            texts become "tfidf", images stay images.
        device: where an encoder that is a network runs: "auto", "cpu", "cuda", ...
        label: the column of a table that holds the labels.
        annotators: columns of a table that hold the labels of one annotator each. Empty: those called ``label_...``
            where there is no column ``label``.
        answers: a table of one row an answer (columns annotator, label, and id, path or text), for the samples of a
            table.
    """

    image_size: int | None = None
    cache_limit: int = 4 * 2**30
    cache_dir: Path | None = None
    max_bad: int = 100
    unlabelled: int | None = -1
    augment: str = "auto"
    workers: int = 0
    progress: bool = False
    encoder: str | Encoder | None = None
    device: str = "auto"
    label: str = "label"
    annotators: tuple[str, ...] = ()
    answers: Path | None = None

    @property
    def cache(self) -> Path:
        """The folder of decoded images (it may not exist yet)."""
        return self.cache_dir if self.cache_dir is not None else cache_root()

    @property
    def encoding(self) -> Encoding:
        """The part of these options that an encoder works by."""
        return Encoding(self.device, self.cache, self.cache_limit, self.progress)

    @property
    def threads(self) -> int:
        """Number of decoding threads, at least 1."""
        if self.workers:
            return self.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


DEFAULT = ReadOptions()


def annotator_options(text: str | None) -> dict[str, Any]:
    """``--annotators`` as options of reading: names of columns with commas, or a table of answers.

    Raises:
        InputError: fewer than two columns, or no such file.
    """
    if text is None:
        return {}
    if Path(text).suffix.lower() in (".csv", ".parquet"):
        if not Path(text).is_file():
            raise InputError(f"--annotators {text}: there is no such file")
        return {"answers": Path(text)}
    names = [name.strip() for name in text.split(",")]
    if len(names) < 2 or not all(names):
        raise InputError(f"--annotators {text}: give two columns or more with commas, or a .csv or .parquet file")
    return {"annotators": tuple(names)}
