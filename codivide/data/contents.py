"""What each sample holds, as bytes and as one short hash: what tells copies, and a table that has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from codivide.data.cells import as_texts
from codivide.data.encoder import Encoding, Takes
from codivide.data.loaded import Loaded
from codivide.data.rows import CHUNK, Rows, TensorRows

Contents = NDArray[np.uint64]
_HEAD = 64 * 1024


def of_rows(rows: Rows) -> Iterable[bytes]:
    """The values of each row ``[N, ...]``; -0.0 counts as 0.0."""
    for ids in torch.split(torch.arange(len(rows)), CHUNK):
        batch = rows[ids].cpu().flatten(1)
        batch = batch + 0.0 if batch.is_floating_point() else batch
        for row in np.ascontiguousarray(batch.numpy()):
            yield row.tobytes()


def of_texts(texts: Iterable[str]) -> Iterable[bytes]:
    """The characters of each text as UTF-8."""
    return (text.encode("utf-8", "surrogatepass") for text in texts)


def digests(contents: Iterable[bytes]) -> list[bytes]:
    """16 bytes of each content: two that are alike are the same thing."""
    return [hashlib.blake2b(content, digest_size=16).digest() for content in contents]


def hashes(loaded: Loaded) -> Contents:
    """A number ``[N]`` for the content of each sample, its text or its values; labels and names do not count.

    Two different samples share one with a probability of 2^-64.
    """
    return _short(of_rows(loaded.x) if loaded.texts is None else of_texts(loaded.texts))


def of_table(frame: pd.DataFrame) -> Contents:
    """The same of a table with columns of any kind ``[N, D]``: of its cells, not of what an encoder makes of them."""
    numbers = [pd.api.types.is_numeric_dtype(kind) and kind.kind != "c" for kind in frame.dtypes]
    cells = [
        as_texts(frame.iloc[:, k].astype(np.float64) if number else frame.iloc[:, k])
        for k, number in enumerate(numbers)
    ]
    return _short("\0".join(row).encode() for row in zip(*cells, strict=True))


def of_paths(paths: Iterable[Path]) -> Contents:
    """The same of image files ``[N]``, by their size and first 64 kB: nothing is decoded; 0 where none can be read."""
    return np.fromiter(map(_of_path, paths), dtype=np.uint64)  # of a million files no more is kept at once


def _of_path(path: Path) -> int:
    try:
        if not path.is_file():  # opening a pipe would wait for who writes to it
            return 0
        with open(path, "rb") as file:
            return int(_short([f"{os.fstat(file.fileno()).st_size} ".encode() + file.read(_HEAD)])[0])
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return 0


def of_bytes(files: Iterable[bytes]) -> Contents:
    """The same of files in memory ``[N]``."""
    return _short(files)


def _short(contents: Iterable[bytes]) -> Contents:
    short = b"".join(hashlib.blake2b(content, digest_size=8).digest() for content in contents)
    return np.frombuffer(short, dtype="<u8").astype(np.uint64)


class Unread:
    """An encoder of texts that makes nothing of them: for who wants a source's texts and labels alone."""

    name: str = "unread"
    takes: Takes = "text"
    shape: tuple[int, ...] = ()

    def encode(self, samples: Sequence[str], how: Encoding | None = None) -> Rows:
        """Rows of one zero each."""
        return TensorRows(torch.zeros(len(samples), 1))

    def header(self) -> dict[str, Any]:
        """Nothing: it is never saved."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}
