"""New data for a trained model: image files, folders, arrays and tables without labels, in the model's shape."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils.data
from numpy.typing import NDArray
from PIL import Image

from codivide.core.errors import InputError
from codivide.core.files import expand_user
from codivide.data.arrays import array_rows
from codivide.data.cache import Entry, decode_now
from codivide.data.encode import ImageNet
from codivide.data.encoder import Encoder
from codivide.data.folder import walk
from codivide.data.images import Shape, to_pixels
from codivide.data.items import Items, collect, hugging_face
from codivide.data.loaded import Skipped
from codivide.data.options import DEFAULT, ReadOptions
from codivide.data.rows import CHUNK, Rows, TensorRows
from codivide.data.tables import TABLES, feature_columns, feature_ids, manifest_entries, read_table
from codivide.data.texts import are_texts, as_texts

Read = tuple[Rows, list[str | int], tuple[Skipped, ...]]


def read_inputs(
    source: object,
    shape: Sequence[int],
    dtype: torch.dtype,
    options: ReadOptions = DEFAULT,
    encoder: Encoder | None = None,
) -> Read:
    """Read samples without labels as rows that a model takes.

    Args:
        source: an image file, a folder of images (searched to any depth), a list of both, a ``.csv`` or ``.parquet``
            file of features, paths or texts, an ``.npy`` or ``.npz`` file, arrays, texts, or a map-style data set of
            images.
        shape: the model's sample shape, ``(channels, height, width)`` or ``(features,)``. uint8 images of another
            size are scaled to cover it and cropped; grey and colour are converted.
        dtype: the model's sample type, ``torch.uint8`` or ``torch.float32``.
        options: threads, ``max_bad`` and the progress bar.
        encoder: the model's, where it has one; the source is then texts or images, and not features.

    Returns:
        The rows ``[M, *shape]``, what names each (a path or a row number), and the files that were left out.

    Raises:
        InputError: missing or unreadable files, or samples that do not fit the model.
    """
    wanted = tuple(shape)
    if encoder is not None:
        return _encoded(source, wanted, dtype, options, encoder)
    splits = hugging_face(source)
    if splits is not None and len(splits) > 1:
        raise InputError(f"this data set has splits {', '.join(splits)}: pass one of them.")
    items = next(iter(splits.values())) if splits else source
    if isinstance(items, Items) and (splits is not None or isinstance(items, torch.utils.data.Dataset)):
        image_shape = _image_shape(wanted) if dtype == torch.uint8 and len(wanted) == 3 else None
        found = collect(items, options, image_shape)
        return fit_rows(found.rows, wanted, dtype), list(found.kept), found.skipped
    if isinstance(source, str | Path):
        return _read_path(expand_user(source), wanted, dtype, options)
    if isinstance(source, list | tuple) and source and all(isinstance(item, str | Path) for item in source):
        return _read_files([expand_user(item) for item in source], wanted, dtype, options)
    rows = fit_rows(array_rows(source), wanted, dtype)
    return rows, list(range(len(rows))), ()


def _encoded(
    source: object, shape: tuple[int, ...], dtype: torch.dtype, options: ReadOptions, encoder: Encoder
) -> Read:
    """Texts or images by the encoder that the model was trained with."""
    if isinstance(encoder, ImageNet):
        if are_texts(source) and not isinstance(source, list | tuple):
            raise InputError("the model takes images, but X holds texts.")
        rows, names, skipped = read_inputs(source, encoder.shape, torch.uint8, options)
        return fit_rows(encoder.images(rows, options.encoding), shape, dtype), names, skipped
    ids: list[str | int] | None = None
    if isinstance(source, str | Path):
        path = expand_user(source)
        if path.suffix.lower() not in (*TABLES, ".npz", ".npy") or not path.is_file():
            raise InputError(f"the model takes texts: give a .csv or .parquet file with a column text, not {source}.")
        if path.suffix.lower() in TABLES:
            source = read_table(path)
            if "text" not in source:
                raise InputError(f"{path} has no column 'text' (columns: {', '.join(source.columns)}).")
            ids = feature_ids(source)
        else:
            held = read_npz(path)
            source = held.get("x", next(iter(held.values()), np.empty(0)))
    elif isinstance(source, list | tuple) and len(source) == 0:
        raise InputError("X has 0 sample(s): there are no texts.")
    if not are_texts(source):
        raise InputError("the model takes texts: a list, a series or an array of strings, or a column text.")
    texts = as_texts(source)
    return fit_rows(encoder.texts(texts, options.encoding), shape, dtype), ids or list(range(len(texts))), ()


def fit_rows(rows: Rows, shape: tuple[int, ...], dtype: torch.dtype) -> Rows:
    """Rows in the shape and type of a model.

    Args:
        rows: what was read.
        shape: the model's sample shape.
        dtype: the model's sample type.

    Returns:
        The same rows where they fit, else uint8 images brought to ``shape``.

    Raises:
        InputError: features for images, another number of features, or another type.
    """
    if len(rows.shape) != len(shape):
        kinds = {1: "features [N, D]", 3: "images [N, C, H, W]"}
        raise InputError(f"the model takes {kinds[len(shape)]}, but X holds {kinds[len(rows.shape)]}.")
    if len(shape) == 1 and rows.shape != shape:
        raise InputError(f"X has {rows.shape[0]} features, but the model is expecting {shape[0]} features as input.")
    if rows.dtype != dtype:
        kinds_of = {torch.uint8: "uint8 images (0 to 255)", torch.float32: "float images"}
        raise InputError(f"the model was trained on {kinds_of[dtype]}, but X holds {kinds_of[rows.dtype]}.")
    if rows.shape == shape:
        return rows
    if dtype != torch.uint8:
        raise InputError(f"the model takes float images of shape {shape}, but X has {rows.shape}: resize them first.")
    target = _image_shape(shape)
    if rows.shape[0] not in (1, 3, 4):
        raise InputError(f"images of {rows.shape[0]} channels cannot be brought to the model's shape {shape}.")
    fitted = np.empty((len(rows), *target), dtype=np.uint8)
    for start in range(0, len(rows), CHUNK):
        for row, image in enumerate(rows[torch.arange(start, min(start + CHUNK, len(rows)))].cpu(), start):
            pixels = image.permute(1, 2, 0).numpy()
            fitted[row] = to_pixels(Image.fromarray(pixels[:, :, 0] if len(image) == 1 else pixels), target)
    return TensorRows(torch.from_numpy(fitted))


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz`` file by name, or of an ``.npy`` file as ``x``; objects (pickles) are refused.

    Args:
        path: the file.

    Raises:
        InputError: the file is damaged or holds Python objects.
    """
    try:
        if path.suffix.lower() == ".npy":
            return {"x": np.load(path, allow_pickle=False, mmap_mode="r")}
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        kind = "Python objects, which are never opened" if "allow_pickle" in str(error) else str(error)
        raise InputError(f"{path} cannot be read: {kind}") from error


def _read_path(path: Path, shape: tuple[int, ...], dtype: torch.dtype, options: ReadOptions) -> Read:
    suffix = path.suffix.lower()
    if path.is_dir() or suffix not in (*TABLES, ".npy", ".npz"):
        return _read_files([path], shape, dtype, options)
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}.")
    if suffix in (".npy", ".npz"):
        held = read_npz(path)
        if "x" not in held and len(held) != 1:
            raise InputError(f"{path} needs an array x (it has {', '.join(held) or 'none'}).")
        rows = fit_rows(array_rows(held.get("x", next(iter(held.values())))), shape, dtype)
        return rows, list(range(len(rows))), ()
    table = read_table(path)
    if "path" in table:
        return _decode(manifest_entries(table, path), shape, dtype, options)
    try:
        rows = array_rows(feature_columns(table, path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return fit_rows(rows, shape, dtype), feature_ids(table), ()


def _read_files(paths: list[Path], shape: tuple[int, ...], dtype: torch.dtype, options: ReadOptions) -> Read:
    """Image files by name, and all that are below folders; ids are relative to a folder, else as they were given."""
    entries: list[Entry] = []
    for path in paths:
        if path.is_dir():
            found = list(walk(path, path, set()))
            if not found:
                raise InputError(f"{path} holds no images.")
            entries += found if len(paths) == 1 else [Entry((path / name).as_posix(), file) for name, file in found]
        elif path.exists():
            entries.append(Entry(str(path), path))
        else:
            raise InputError(f"there is no file or folder {str(path)!r}.")
    return _decode(entries, shape, dtype, options)


def _decode(entries: list[Entry], shape: tuple[int, ...], dtype: torch.dtype, options: ReadOptions) -> Read:
    if len(shape) != 3:
        raise InputError(f"the model takes {shape[0]} features, not image files.")
    if dtype != torch.uint8:
        raise InputError("the model was trained on float images: pass arrays that are scaled as they were.")
    decoded = decode_now(entries, _image_shape(shape), options)
    return decoded.rows, [entries[position].id for position in decoded.kept], decoded.skipped


def _image_shape(shape: tuple[int, ...]) -> Shape:
    if shape[0] not in (1, 3):
        raise InputError(f"the model takes {shape[0]} channels; only 1 or 3 can be made from other images.")
    return shape[0], shape[1], shape[2]
