"""Arrays in ``.npz`` and ``.npy`` files."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codivide.core.errors import InputError
from codivide.core.files import expand_user
from codivide.data.arrays import from_arrays
from codivide.data.contents import hashes
from codivide.data.images import written
from codivide.data.inputs import from_memory, from_texts_in_memory
from codivide.data.loaded import Loaded
from codivide.data.rows import check_alike
from codivide.data.source import Inputs, Reading, Wanted
from codivide.data.texts import are_texts, from_texts


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
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        kind = "Python objects, which are never opened" if "allow_pickle" in str(error) else str(error)
        raise InputError(f"{path} cannot be read: {kind}") from error


def load_npz(path: Path | str, reading: Reading) -> Loaded:
    """Arrays x (or texts) and y, and maybe x_test, y_test, true_y and the names of annotators.

    Raises:
        InputError: no x or y, or a test part of another shape.
    """
    path = expand_user(path)
    held = read_npz(path)
    if "x" not in held or "y" not in held:
        raise InputError(f"{path} needs arrays x and y (it has {', '.join(held) or 'none'}).")
    name = written(path.stem)
    if reading.truth is None:
        reading = replace(reading, truth=held.get("true_y"))
    annotators = [str(annotator) for annotator in held["annotators"]] if "annotators" in held else None
    loaded = _part(held["x"], held["y"], reading, name, annotators)
    loaded = replace(loaded, contents=hashes(loaded))
    if "x_test" not in held or "y_test" not in held:
        return loaded
    options = replace(reading.options, encoder=loaded.encoder or reading.options.encoder)
    of_test = Reading(options, loaded.classes)
    test = _part(held["x_test"], held["y_test"], of_test, f"{name} test", None)
    check_alike(loaded.x, test.x, f"{path}: x_test")
    return replace(loaded, test=test)


def npz_inputs(path: Path | str, wanted: Wanted) -> Inputs:
    """The array x of a file, or its only one.

    Raises:
        InputError: several arrays, none of them x, or texts where none are wanted and the other way round.
    """
    path = expand_user(path)
    held = read_npz(path)
    if "x" not in held and len(held) != 1:
        raise InputError(f"{path} needs an array x (it has {', '.join(held) or 'none'}).")
    x = held.get("x", next(iter(held.values())))
    if are_texts(x):
        return from_texts_in_memory(x, wanted)
    if wanted.texts:
        raise InputError("the model takes texts: a list, a series or an array of strings, or a column text.")
    return from_memory(x, wanted)


def _part(x: NDArray[Any], y: NDArray[Any], reading: Reading, name: str, annotators: list[str] | None) -> Loaded:
    """The training or the test part."""
    options, classes, truth = reading.options, reading.classes, reading.truth
    if are_texts(x):
        return from_texts(x, y, options=options, classes=classes, truth=truth, name=name)
    return from_arrays(x, y, options=options, classes=classes, truth=truth, name=name, names_of_annotators=annotators)
