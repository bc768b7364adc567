"""Texts in memory or in a table: checked, cleaned of what cannot be written, and encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from codivide.core.errors import InputError
from codivide.core.words import counted
from codivide.data import encode
from codivide.data.arrays import from_arrays
from codivide.data.images import are_image_names
from codivide.data.loaded import Loaded
from codivide.data.options import DEFAULT, ReadOptions

NO_TEXTS = "X has 0 sample(s): there are no texts."
TAKES_TEXTS = "the model takes texts: a list, a series or an array of strings, or a column text."


def are_texts(source: object) -> bool:
    """Whether samples in memory are texts: a data frame with a column ``text``, or a list, series or array of strings.

    Missing ones do not count; something that is all missing is no text.
    """
    if isinstance(source, pd.DataFrame):
        return "text" in source.columns
    if isinstance(source, pd.Series):
        first = next((value for value in source.tolist() if not _is_missing(value)), None)
        return isinstance(first, str | bytes)
    if isinstance(source, np.ndarray):
        if source.ndim != 1 or source.dtype.kind not in "USO":
            return False
        source = source.tolist()
    if not isinstance(source, list | tuple):
        return False
    first = next((value for value in source if not _is_missing(value)), None)
    return isinstance(first, str | bytes)


def as_texts(source: Any) -> list[str]:
    """Texts as a list; a missing one is empty, bytes are UTF-8, and lone surrogates become question marks.

    Raises:
        InputError: no text at all, or something that is none; it names the row.
    """
    values = source["text"] if isinstance(source, pd.DataFrame) else source
    values = values.tolist() if isinstance(values, pd.Series | np.ndarray) else list(values)
    if not values:
        raise InputError(NO_TEXTS)
    found = []
    for row, value in enumerate(values):
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if _is_missing(value):
            value = ""
        if not isinstance(value, str):
            raise InputError(f"X holds texts, but row {row} is {value!r} ({type(value).__name__}); write it as text")
        found.append(value.encode("utf-8", "replace").decode("utf-8"))
    return found


def from_texts(
    x: Any,
    y: object,
    *,
    options: ReadOptions = DEFAULT,
    classes: Sequence[Any] | None = None,
    truth: object = None,
    ids: Sequence[str | int] | None = None,
    name: str = "texts",
) -> Loaded:
    """A data set from texts and labels; see :func:`codivide.data.arrays.from_arrays`.

    Args:
        x: the texts ``[N]``, see :func:`are_texts`.
        y: labels ``[N]`` or ``[N, annotators]``.
        options: the encoder (see ``data.encode`` where none is named), the value that means "no label", and the views.
        classes: the classes in order, where they are known.
        truth: true labels ``[N]`` where known.
        ids: what names each row; None: its number.
        name: what to call the data in a record.

    Raises:
        InputError: anything wrong with the texts, the labels or their lengths, or an encoder of images.
    """
    texts = as_texts(x)
    if are_image_names(texts):
        raise InputError(
            f"the texts are names of image files ({texts[0][:100]!r}, ...): to learn from the images give a table with "
            "columns path and label"
        )
    encoder = encode.for_texts(texts, options)
    rows = encoder.encode(texts, options.encoding)
    wanted = replace(options, augment="none" if options.augment == "none" else "auto")
    loaded = from_arrays(rows, y, options=wanted, classes=classes, truth=truth, ids=ids, name=name)
    said = loaded.said
    if empty := sum(not text.strip() for text in texts):
        said = (
            *said,
            counted(empty, f"of {len(texts):,} texts is", f"of {len(texts):,} texts are")
            + " empty: nothing in them tells whether a label is right",
        )
    return replace(loaded, encoder=encoder, texts=texts, said=said)


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))
