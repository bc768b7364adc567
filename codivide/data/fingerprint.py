"""What tells one data set from another: short hashes of all that a run learns from, judges and reports."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scipy.sparse import csr_matrix

from codivide.data.loaded import Loaded
from codivide.data.rows import CHUNK, IndexedRows, MemmapRows, Rows, SparseRows

WHOLE = 4 * 2**30  # bytes of rows mapped from disk, above which only a part is read
_PART = 2**30  # bytes of that part

CONTENT = "samples' content"

_known: WeakKeyDictionary[Rows, str] = WeakKeyDictionary()


def fingerprint(loaded: Loaded) -> dict[str, Any]:
    """Number, classes and hashes of the samples, as JSON values by a name that an error message can say.

    Texts are hashed as they are, not as the numbers that an encoder makes of them.
    """
    confirmed = loaded.confirmed if loaded.confirmed is not None and loaded.confirmed.any() else None
    weights = {} if loaded.weight is None else {"samples' weights": digest(loaded.weight)}
    return weights | {
        "samples": len(loaded.y),
        "classes": [str(name) for name in loaded.classes],
        "labels": digest(loaded.y),
        "groups": None if loaded.groups is None else digest(loaded.groups),
        "confirmed labels": None if confirmed is None else digest(confirmed),
        CONTENT: digest_rows(loaded.x) if loaded.texts is None else _digest_texts(loaded.texts),
        "samples' names": _digest_texts(loaded.ids),
        "true labels": None if loaded.truth is None else digest(loaded.truth),
        "annotators' answers": None if loaded.annotations is None else digest(loaded.annotations.likelihood),
        "test part": _part(loaded.test),
        **({} if loaded.validation is None else {"validation part": _part(loaded.validation)}),
    }


def _part(part: Loaded | None) -> str | None:
    """A hash of samples and labels."""
    return None if part is None else f"{digest_rows(part.x)} {digest(part.y)}"


def digest(array: np.ndarray[Any, Any]) -> str:
    """A hash of type, shape and values."""
    return _short(hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes()))


def digest_rows(rows: Rows) -> str:
    """A hash of all rows; it is made once for an object.

    Of images that are mapped from disk and take more than ``WHOLE`` bytes only 1 GiB is read, spread evenly over them
    with the first and the last; the name of their cache file, which the sizes and times of the images make, is hashed
    with it.
    """
    if rows not in _known:
        _known[rows] = _digest_rows(rows)
    return _known[rows]


def _digest_rows(rows: Rows) -> str:
    found = hashlib.sha256(f"{rows.dtype} {len(rows)} {tuple(rows.shape)} ".encode())
    if (matrix := _sparse(rows)) is not None:
        for part in (matrix.indptr, matrix.indices, matrix.data):
            found.update(np.ascontiguousarray(part).tobytes())
        return _short(found)
    asked = torch.arange(len(rows))
    size = int(np.prod(rows.shape)) * rows.dtype.itemsize
    if len(rows.shape) > 1 and (file := _mapped(rows)) is not None and size * len(rows) > WHOLE:
        asked = torch.from_numpy(np.unique(np.linspace(0, len(rows) - 1, max(_PART // size, 2)).astype(np.int64)))
        found.update(file.encode())
    for ids in torch.split(asked, CHUNK):
        found.update(rows[ids].cpu().contiguous().numpy().data)
    return _short(found)


def _sparse(rows: Rows) -> csr_matrix | None:
    """The matrix of sparse rows, which are many times as large when they are dense; None of others."""
    if isinstance(rows, SparseRows):
        return rows.data
    if not isinstance(rows, IndexedRows):
        return None
    whole: Any = _sparse(rows.rows)
    return None if whole is None else whole[rows.selected.cpu().numpy()]


def _mapped(rows: Rows) -> str | None:
    """The name of the file that rows are mapped from, empty where it has none; None of rows in memory."""
    if isinstance(rows, IndexedRows):
        return _mapped(rows.rows)
    if not isinstance(rows, MemmapRows):
        return None
    file = getattr(rows.data, "filename", None)
    return "" if file is None else Path(file).name


def _digest_texts(texts: Iterable[object]) -> str:
    return _short(hashlib.sha256(json.dumps(list(texts), default=str).encode()))


def _short(found: hashlib._Hash) -> str:
    return found.hexdigest()[:16]
