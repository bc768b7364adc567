"""Arrays in ``.npz`` and ``.npy`` files."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

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
from codivide.data.texts import TAKES_TEXTS, are_texts, from_texts

_LARGE = 2**28  # bytes of an array that is left on the disk where it is not compressed
_UNPACKED, _TIMES = 2**31, 200  # bytes, and times its size, that a compressed file may unpack to; the larger counts
_OBJECTS = "Python objects, which are never opened; save texts as y.astype(str), numbers as an array of numbers"
_ENTRY = struct.Struct("<4s5H3I2H")  # what stands before an entry of a zip file, with the lengths of what follows


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
        check_size(path)
        mapped = _mapped(path)
        with np.load(path, allow_pickle=False) as held:
            return {name: mapped[name] if name in mapped else held[name] for name in held.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        kind = _OBJECTS if "allow_pickle" in str(error) else str(error)
        raise InputError(f"{path} cannot be read: {kind}") from error


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of the array that a file begins with."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def check_size(path: Path) -> None:
    """Refuse an ``.npz`` file that would fill the memory: NumPy makes room for what a header says, before it reads.

    Raises:
        InputError: it unpacks to far more than its size.
        ValueError: an array is said to be larger than it is.
    """
    most = max(_UNPACKED, _TIMES * path.stat().st_size)
    with zipfile.ZipFile(path) as packed:
        entries = packed.infolist()
        if sum(entry.file_size for entry in entries if entry.compress_type != zipfile.ZIP_STORED) > most:
            raise InputError(
                f"{path} unpacks to more than {most >> 20:,} MB, far more than arrays of its size; save it with "
                "numpy.savez, which does not compress"
            )
        for entry in entries:
            with packed.open(entry) as file:
                if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                    continue  # no array
                file.seek(0)
                shape, _, dtype = _header(file)
            if not dtype.hasobject and math.prod(shape) * dtype.itemsize > entry.file_size:
                raise ValueError(f"{entry.filename} says that it is {shape}, and holds less")


def _mapped(path: Path) -> dict[str, NDArray[Any]]:
    """The large arrays of an ``.npz`` file that are not compressed, as they lie on the disk.

    Only what is asked of them is read, so their checksums are not compared.
    """
    found: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(path) as packed, open(path, "rb") as file:
        for entry in packed.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size < _LARGE or entry.flag_bits & 1:
                continue
            file.seek(entry.header_offset)
            header = file.read(_ENTRY.size)
            *_, name, extra = _ENTRY.unpack(header)
            file.seek(name + extra, 1)
            shape, fortran, dtype = _header(file)
            if dtype.hasobject or file.tell() + int(np.prod(shape)) * dtype.itemsize > path.stat().st_size:
                continue  # for ``np.load`` to refuse
            order: Literal["F", "C"] = "F" if fortran else "C"
            found[entry.filename.removesuffix(".npy")] = np.memmap(path, dtype, "r", file.tell(), shape, order)
    return found


def load_npz(path: Path | str, reading: Reading) -> Loaded:
    """Arrays x (or texts) and y, and maybe x_test, y_test, true_y and the names of annotators.

    Raises:
        InputError: no x or y, or a test part of another shape.
    """
    path = expand_user(path)
    held = read_npz(path)
    if "x" not in held or "y" not in held:
        raise InputError(f"{path} needs arrays x and y (it has {', '.join(held) or 'none'})")
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
        raise InputError(f"{path} needs an array x (it has {', '.join(held) or 'none'})")
    x = held.get("x", next(iter(held.values())))
    if are_texts(x):
        return from_texts_in_memory(x, wanted)
    if wanted.texts:
        raise InputError(TAKES_TEXTS)
    return from_memory(x, wanted)


def _part(x: NDArray[Any], y: NDArray[Any], reading: Reading, name: str, annotators: list[str] | None) -> Loaded:
    """The training or the test part."""
    options, classes, truth = reading.options, reading.classes, reading.truth
    if are_texts(x):
        return from_texts(x, y, options=options, classes=classes, truth=truth, name=name)
    return from_arrays(x, y, options=options, classes=classes, truth=truth, name=name, names_of_annotators=annotators)
