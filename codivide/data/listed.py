"""Lists of images beside their labels: names of image files, or images that Pillow has opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from codivide.core.errors import InputError
from codivide.data import annotators
from codivide.data.arrays import check_length, from_arrays
from codivide.data.assemble import Pictures, assemble
from codivide.data.images import are_image_names
from codivide.data.inputs import from_files
from codivide.data.items import collect, items_inputs
from codivide.data.labels import encode
from codivide.data.loaded import Loaded
from codivide.data.source import Inputs, Reading, Wanted, as_path
from codivide.data.tables import manifest_entries

_NAME = Path("files")  # what a list of files is called in messages and records


def are_image_files(source: object) -> bool:
    """Whether samples are a list, series or array of image files: each a ``Path``, or a text that ends like one."""
    return are_image_names(_values(source))


def are_pillow_images(source: object) -> bool:
    """Whether samples are a list, series or array of images that Pillow has opened."""
    values = _values(source)
    return bool(values) and isinstance(values[0], Image.Image)


def load_image_files(source: object, reading: Reading) -> Loaded:
    """Image files with their labels beside them; ids are the paths as given.

    Raises:
        InputError: no labels, another number of them, a file that comes twice, or too many that cannot be read.
    """
    names, options = _values(source), reading.options
    y: Any = reading.y
    if y is None:
        raise InputError(
            "a list of image files needs y, one label a file; or give their folder, or a table with columns path and "
            "label"
        )
    check_length(y, "y", len(names))
    entries = manifest_entries(pd.DataFrame({"path": [str(as_path(name)) for name in names]}), _NAME)
    consensus = None
    if annotators.several(y):
        consensus, classes = annotators.from_matrix(y).settle(options, reading.classes)
        labels = [classes[code] if code >= 0 else None for code in consensus.labels]
    else:
        labels = y.tolist() if hasattr(y, "tolist") else list(y)
        ids = [entry.id for entry in entries]
        _, classes = encode(labels, classes=reading.classes, names=ids, **options.of_labels)
    pictures = Pictures(entries, labels, ["train"] * len(entries))
    loaded = assemble(pictures, _NAME, replace(reading, classes=classes), str(_NAME))
    if consensus is None:
        return loaded
    row_of = {entry.id: row for row, entry in enumerate(entries)}
    return replace(loaded, annotations=consensus.take(np.array([row_of[str(name)] for name in loaded.ids])))


def load_pillow_images(source: object, reading: Reading) -> Loaded:
    """Images that Pillow has opened, of any mode and size, with their labels beside them.

    Raises:
        InputError: an image that cannot be read, or anything wrong with the labels.
    """
    options = reading.options
    rows = collect(_Opened(_values(source)), replace(options, max_bad=0)).rows
    return from_arrays(rows, reading.y, options=options, classes=reading.classes, truth=reading.truth, name="images")


def listed_file_inputs(source: object, wanted: Wanted) -> Inputs:
    """Image files, and what is in folders, of a list, a series or an array."""
    return from_files(_values(source), wanted)


def pillow_inputs(source: object, wanted: Wanted) -> Inputs:
    """Images that Pillow has opened."""
    return items_inputs(_Opened(_values(source)), wanted)


class _Opened:
    """Images as a person sees them, as items without labels."""

    def __init__(self, images: Sequence[Any]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int, /) -> Any:
        image = self.images[index]
        if not isinstance(image, Image.Image):
            return image
        image.load()
        return ImageOps.exif_transpose(image)


def _values(source: object) -> list[Any]:
    """The members of a list, a series or a one-dimensional array; none of anything else."""
    if isinstance(source, pd.Series):
        return source.tolist()
    if isinstance(source, np.ndarray):
        return source.tolist() if source.ndim == 1 and source.dtype.kind in "OU" else []
    return list(source) if isinstance(source, list | tuple) else []
