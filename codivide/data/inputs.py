"""New data for a trained model, brought to the shape and type that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from codivide.core.errors import InputError
from codivide.data.arrays import array_rows
from codivide.data.cache import Entry, decode_now
from codivide.data.folder import walk
from codivide.data.images import to_pixels, written
from codivide.data.rows import CHUNK, Rows, TensorRows
from codivide.data.source import Inputs, Wanted, as_path
from codivide.data.texts import as_texts


def fit_rows(rows: Rows, wanted: Wanted) -> Rows:
    """Rows in the shape and type of a model.

    Args:
        rows: what was read.
        wanted: what the model takes.

    Returns:
        The same rows where they fit, else uint8 images brought to its shape.

    Raises:
        InputError: features for images, another number of features, or another type.
    """
    shape = wanted.shape
    _check_kind(rows, wanted)
    if rows.shape == shape:
        return rows
    if wanted.dtype != torch.uint8:
        raise InputError(
            f"the model takes float images of shape {shape}, but {wanted.name} has {rows.shape}: resize them first"
        )
    target = wanted.image_shape
    if rows.shape[0] not in (1, 3, 4):
        raise InputError(f"images of {rows.shape[0]} channels cannot be brought to the model's shape {shape}")
    fitted = np.empty((len(rows), *target), dtype=np.uint8)
    for start in range(0, len(rows), CHUNK):
        for row, image in enumerate(rows[torch.arange(start, min(start + CHUNK, len(rows)))].cpu(), start):
            pixels = image.permute(1, 2, 0).numpy()
            fitted[row] = to_pixels(Image.fromarray(pixels[:, :, 0] if len(image) == 1 else pixels), target)
    return TensorRows(torch.from_numpy(fitted))


def _check_kind(rows: Rows, wanted: Wanted) -> None:
    """InputError for features where images are wanted, another number of features, or another type."""
    shape, dtype = wanted.shape, wanted.dtype
    if len(rows.shape) != len(shape):
        kinds = {1: "features [N, D]", 3: "images [N, C, H, W]"}
        raise InputError(f"the model takes {kinds[len(shape)]}, but {wanted.name} holds {kinds[len(rows.shape)]}")
    if len(shape) == 1 and rows.shape != shape:
        raise InputError(
            f"{wanted.name} has {rows.shape[0]} features, but the model is expecting {shape[0]} features as input"
        )
    if rows.dtype != dtype:
        kinds_of = {torch.uint8: "uint8 images (0 to 255)", torch.float32: "float images"}
        raise InputError(f"the model was trained on {kinds_of[dtype]}, but {wanted.name} holds {kinds_of[rows.dtype]}")


def from_memory(source: object, wanted: Wanted) -> Inputs:
    """Arrays, tensors, data frames or sparse matrices."""
    rows = array_rows(source, wanted.name)
    return Inputs(rows, range(len(rows)))


def from_texts_in_memory(source: Any, wanted: Wanted) -> Inputs:
    """Texts, of a model that takes them.

    Raises:
        InputError: it takes something else.
    """
    if not wanted.texts:
        kind = "images" if len(wanted.shape) == 3 else "features"
        raise InputError(f"the model takes {kind}, but {wanted.name} holds texts")
    texts = as_texts(source)
    return Inputs(texts, range(len(texts)))


def from_files(source: str | Path | Sequence[str | Path], wanted: Wanted) -> Inputs:
    """Image files by name, and all that are below folders; ids are relative to a single folder, else as given.

    Raises:
        InputError: a file or folder that is not there, a folder without images, or a model that takes no images.
    """
    given = [source] if isinstance(source, str | Path) else source
    entries: list[Entry] = []
    for path in filter(None, map(as_path, given)):
        if path.is_dir():
            found = list(walk(path, path, set()))
            if not found:
                raise InputError(f"{path} holds no images")
            one = len(given) == 1
            entries += found if one else [Entry(f"{written(path.as_posix())}/{name}", file) for name, file in found]
        elif path.exists():
            entries.append(Entry(written(str(path)), path))
        else:
            raise InputError(f"there is no file or folder {str(path)!r}")
    return decoded(entries, wanted)


def decoded(entries: Sequence[Entry], wanted: Wanted) -> Inputs:
    """Image files in the model's shape.

    Raises:
        InputError: a model that takes no uint8 images, or too many files that cannot be read.
    """
    if len(wanted.shape) != 3:
        raise InputError(f"the model takes {wanted.shape[0]} features, not image files")
    if wanted.dtype != torch.uint8:
        raise InputError("the model was trained on float images: pass arrays that are scaled as they were")
    found = decode_now(entries, wanted.image_shape, wanted.options)
    return Inputs(found.rows, [entries[position].id for position in found.kept], found.skipped)
