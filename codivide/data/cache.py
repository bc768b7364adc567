"""Image files decoded once: in parallel, to one file of uint8 pixels that the next run reads or maps.

The file holds pixels ``[M, channels, height, width]``, a table of the source files (JSON), a head (JSON) and a
trailer with their lengths. It is written aside and renamed, so it is whole or it does not exist.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from codivide.core.errors import InputError
from codivide.core.files import array_sum, atomic, let_go
from codivide.data.images import DEPTHS, Passing, Pixels, Probe, Shape, choose_shape, decode_file, of_depths, probe_file
from codivide.data.loaded import Skipped
from codivide.data.options import ReadOptions
from codivide.data.progress import Working
from codivide.data.rows import MemmapRows, Rows, TensorRows
from codivide.data.scratch import as_rows, no_space, scratch

VERSION = 3
MAGIC = b"codivid3"
TRAILER = struct.Struct("<QQL8s")  # lengths and a checksum of table and head
CHUNK = 256
DAY = 86400.0
_FLAT = 8  # of 255, between darkest and brightest value: less is nearly one colour
_NAMED = 3  # images that a sentence names

Item = TypeVar("Item")
Result = TypeVar("Result")


class Entry(NamedTuple):
    """An image file and what to call it."""

    id: str
    path: Path


class Decoded(NamedTuple):
    """The images that could be read: rows ``[M]``, the position of each among the entries, and the others.

    ``sizes`` are width and height ``[M, 2]`` of the files, where they were looked at. ``said`` are sentences on values
    of more than 8 bits, and on images of nearly one colour.
    """

    rows: Rows
    kept: NDArray[np.int64]
    skipped: tuple[Skipped, ...]
    said: tuple[str, ...] = ()
    sizes: NDArray[np.int64] | None = None


@dataclass
class _File:
    """One source file: size and time as they are now, header, and its row in an older cache (-1: decode it)."""

    entry: Entry
    size: int
    time: int
    probe: Probe | str | None = None
    row: int = -1


class _Stored(NamedTuple):
    """A cache file: head and table as written, pixels mapped."""

    head: dict[str, Any]
    table: dict[str, list[Any]]
    pixels: NDArray[np.uint8]


def decode_files(entries: Sequence[Entry], source: Path, options: ReadOptions, *, part: bool = False) -> Decoded:
    """Decode image files, or read them back if an earlier run did and none has changed.

    Args:
        entries: the files, with unique ids.
        source: the folder or manifest they come from; each source has one cache for each image size.
        options: size, cache and number of threads.
        part: whether the source holds more files: a part has a cache of its own, and takes from that of the whole.

    Returns:
        The images that could be read.

    Raises:
        InputError: no file can be read, more than ``max_bad`` cannot, or a cache larger than ``cache_limit`` cannot
            be written.
    """
    files = [_look(entry) for entry in entries]
    names = [_digest([VERSION, str(source.resolve()), options.image_size, *more]) for more in ([], ["part"])]
    name = names[part]
    key = _digest([name, [[file.entry.id, file.size, file.time] for file in files]])
    path = options.cache / f"{name}-{key}.images"
    decoded = None if _reads_by_now(path, files) else _read(path, files, options)
    if decoded is None:
        older = _older(options.cache, names[0]) or _older(options.cache, names[1])
        shape = _prepare(files, older, options)
        try:
            _write(path, files, shape, older, options)
            _remove_older(path, name)
            decoded = _read(path, files, options)
            if decoded is None:
                raise OSError("what was written cannot be read back")
        except OSError as error:
            return _without_cache(files, shape, options, error)
    return decoded


def decode_now(entries: Sequence[Entry], shape: Shape, options: ReadOptions) -> Decoded:
    """Decode image files at a known shape, without a cache; what would pass ``cache_limit`` is no memory's.

    Args:
        entries: the files.
        shape: ``(1 or 3, height, width)``.
        options: number of threads and ``max_bad``.

    Returns:
        The images that could be read.

    Raises:
        InputError: no file can be read, or more than ``max_bad`` cannot.
    """
    pixels = scratch((len(entries), *shape), np.uint8, options.encoding)
    kept: list[int] = []
    flat: list[int] = []
    skipped: list[Skipped] = []
    with _working(lambda entry: _decode(entry, shape), entries, "decoding", options) as images:
        for position, image in enumerate(images):
            if isinstance(image, str):
                skipped.append(Skipped(entries[position].id, image))
                continue
            if _is_flat(image):
                flat.append(position)
            pixels[len(kept)] = image
            kept.append(position)
            if not len(kept) % CHUNK:
                let_go(pixels)
    check_skipped(skipped, len(entries), options.max_bad)
    return Decoded(
        as_rows(pixels[: len(kept)]),
        np.array(kept, dtype=np.int64),
        tuple(skipped),
        _said({}, [entries[row].id for row in flat]),
    )


def _is_flat(image: Pixels) -> bool:
    """Whether no channel of an image spreads over more than a few values."""
    plain = image.reshape(len(image), -1)
    return int((plain.max(1) - plain.min(1)).max()) < _FLAT


def _said(depths: Mapping[str, int], flat: Sequence[str]) -> tuple[str, ...]:
    """What is worth a word: how many images have so many bits a value, and which are nearly of one colour."""
    said = list(of_depths({int(bits): count for bits, count in depths.items()}))
    if flat:
        named = ", ".join(flat[:_NAMED]) + (", ..." if len(flat) > _NAMED else "")
        said.append(f"images that are nearly of one colour: {len(flat):,} ({named})")
    return tuple(said)


def check_skipped(skipped: Sequence[Skipped], count: int, max_bad: int) -> None:
    """Refuse a source that cannot be read for the most part.

    Args:
        skipped: the files that were left out.
        count: number of files in all.
        max_bad: the most that may be left out.

    Raises:
        InputError: nothing was readable, or more than ``max_bad`` files were not; it names the first few.
    """
    if skipped and (len(skipped) > max_bad or len(skipped) == count):
        first = "; ".join(f"{bad.path}: {bad.reason}" for bad in skipped[:3])
        rest = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        limit = f" (at most {max_bad} may be skipped: max_bad)" if len(skipped) < count else ""
        raise InputError(f"{len(skipped)} of {count} images cannot be read{limit}: {first}{rest}")


def _look(entry: Entry) -> _File:
    try:
        status = os.stat(entry.path)
    except OSError:  # named with the reason when it is opened
        return _File(entry, -1, -1)
    return _File(entry, status.st_size, status.st_mtime_ns)


def _digest(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True)  # escapes what a file name may hold besides characters
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@contextmanager
def _working(
    function: Callable[[Item], Result], items: Sequence[Item], title: str, options: ReadOptions
) -> Iterator[Iterator[Result]]:
    """``map`` in threads (Pillow lets go of the interpreter lock), in order, with a bar and few results waiting."""
    with (
        warnings.catch_warnings(),
        Working(title, len(items), shown=options.progress) as work,
        ThreadPoolExecutor(options.threads) as pool,
    ):
        warnings.filterwarnings("ignore", module=r"PIL\.")  # odd metadata of files that can be read

        def results() -> Iterator[Result]:
            for start in range(0, len(items), CHUNK):
                part = items[start : start + CHUNK]
                yield from pool.map(function, part)
                work.advance(len(part))

        yield results()


def _patiently(read: Callable[[], Result | str]) -> Result | str:
    """What reads a file, tried once more where trouble came that may pass."""
    found = read()
    return read() if isinstance(found, Passing) else found


def _decode(file: Entry, shape: Shape) -> Pixels | str:
    return _patiently(lambda: decode_file(file.path, shape))


def _probe(file: _File) -> Probe | str:
    return _patiently(lambda: probe_file(file.entry.path))


def _recall(files: list[_File], table: Mapping[str, list[Any]]) -> None:
    """Take header and row of the files that are as they were from the table of an older cache."""
    for file in files:
        known = table.get(file.entry.id)
        if known is not None and known[:2] == [file.size, file.time]:
            file.probe = known[2] if isinstance(known[2], str) else Probe(*known[2])
            file.row = known[3]


def _prepare(files: list[_File], older: _Stored | None, options: ReadOptions) -> Shape:
    """Read the headers, find the rows of unchanged files in the older cache, and choose the shape."""
    _recall(files, {} if older is None else older.table)
    fresh = [file for file in files if file.probe is None]
    with _working(_probe, fresh, "looking", options) as found:
        for file, probe in zip(fresh, found, strict=True):
            file.probe = probe
    probes = [file.probe for file in files if isinstance(file.probe, Probe)]
    if not probes:
        check_skipped([Skipped(file.entry.id, str(file.probe)) for file in files], len(files), len(files))
    shape = choose_shape(probes, options.image_size)
    if older is not None and older.pixels.shape[1:] != shape:
        for file in files:
            file.row = -1
    return shape


def _write(path: Path, files: list[_File], shape: Shape, older: _Stored | None, options: ReadOptions) -> None:
    """Decode what is not in the older cache, write the whole beside ``path``, then rename."""

    def image(file: _File) -> Pixels | str:
        if isinstance(file.probe, str):
            return file.probe
        if older is not None and file.row >= 0:
            if not file.row % CHUNK:
                let_go(older.pixels)
            return np.asarray(older.pixels[file.row])
        return _decode(file.entry, shape)

    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic(path) as aside,
        open(aside, "wb") as out,
        _working(image, files, "decoding", options) as images,
    ):
        _write_parts(out, files, shape, images)


def _write_parts(out: IO[bytes], files: list[_File], shape: Shape, images: Iterator[Pixels | str]) -> None:
    skipped: list[tuple[int, str]] = []
    again: list[int] = []
    flat: list[int] = []
    depths: Counter[int] = Counter()
    table: dict[str, list[Any]] = {}
    check = 0
    for position, (file, image) in enumerate(zip(files, images, strict=True)):
        row = position - len(skipped)
        if isinstance(image, str):
            skipped.append((position, image))
            row = -1
        else:
            assert isinstance(file.probe, Probe)
            if file.probe.depth > DEPTHS[0]:
                depths[file.probe.depth] += 1
            if _is_flat(image):
                flat.append(position)
            data = image.tobytes()
            check = zlib.crc32(data, check)
            out.write(data)
        if isinstance(image, Passing):  # no verdict on the file: the next run tries it again
            again.append(position)
            continue
        # A file that failed has its reason in the place of its header, so that it is not tried again.
        table[file.entry.id] = [file.size, file.time, image if isinstance(image, str) else file.probe, row]
    bad = [Skipped(files[position].entry.id, why) for position, why in skipped]
    check_skipped(bad, len(files), len(files))  # max_bad waits for the reader: another limit needs no new cache
    head = {"shape": [len(files) - len(skipped), *shape], "skipped": skipped, "again": again, "check": check}
    head |= {"depths": depths, "flat": flat}
    texts = [json.dumps(part).encode() for part in (table, head)]
    out.writelines([*texts, TRAILER.pack(len(texts[0]), len(texts[1]), zlib.crc32(b"".join(texts)), MAGIC)])


def _open(path: Path, *, want_table: bool) -> _Stored | None:
    """The parts of a cache file, or None where it is missing, cut short or something else."""
    try:
        with open(path, "rb") as file:
            end = file.seek(-TRAILER.size, os.SEEK_END)
            table_size, head_size, check, magic = TRAILER.unpack(file.read(TRAILER.size))
            start = end - head_size - table_size
            if magic != MAGIC or start <= 0:
                return None
            file.seek(start)
            text, head_text = file.read(table_size), file.read(head_size)
            if zlib.crc32(text + head_text) != check:
                return None
            head = json.loads(head_text)
            shape = tuple(int(length) for length in head["shape"])
            if int(np.prod(shape)) != start:
                return None
            pixels = np.memmap(path, dtype=np.uint8, mode="r", shape=shape)
            return _Stored(head, json.loads(text) if want_table else {}, pixels)
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None


def _reads_by_now(path: Path, files: list[_File]) -> bool:
    """Whether a file that a whole cache left out, for a reason that may pass, can be read now."""
    stored = _open(path, want_table=False)
    if stored is None:
        return False
    shape = stored.pixels.shape[1:]
    return any(not isinstance(decode_file(files[row].entry.path, shape), Passing) for row in stored.head["again"])


def _read(path: Path, files: list[_File], options: ReadOptions) -> Decoded | None:
    """A whole cache as rows: checked, and read into memory or mapped where it is larger than ``cache_limit``."""
    stored = _open(path, want_table=True)
    if stored is None:
        if path.exists():
            _damaged(path)
        return None
    rows: Rows = MemmapRows(stored.pixels)
    pixels: NDArray[np.uint8] = stored.pixels
    if stored.pixels.nbytes <= options.cache_limit:
        pixels = np.fromfile(path, dtype=np.uint8, count=stored.pixels.size)
        rows = TensorRows(torch.from_numpy(pixels.reshape(stored.pixels.shape)))
    if array_sum(pixels) != stored.head["check"]:
        _damaged(path)
        return None
    reasons = {int(position): str(why) for position, why in stored.head["skipped"]}
    skipped = tuple(Skipped(files[position].entry.id, why) for position, why in reasons.items())
    check_skipped(skipped, len(files), options.max_bad)
    kept = [position for position in range(len(files)) if position not in reasons]
    said = _said(stored.head["depths"], [files[position].entry.id for position in stored.head["flat"]])
    sizes = _sizes([stored.table[files[position].entry.id][2] for position in kept])
    return Decoded(rows, np.array(kept, dtype=np.int64), skipped, said, sizes)


def _sizes(probes: Sequence[Any]) -> NDArray[np.int64]:
    """Width and height ``[M, 2]`` that headers say."""
    return np.array([probe[:2] for probe in probes], dtype=np.int64).reshape(-1, 2)


def _damaged(path: Path) -> None:
    """Say so, and remove the file: neither it nor its rows may be used again."""
    warnings.warn(f"the image cache {path} is damaged; the images are decoded again.", stacklevel=5)
    path.unlink(missing_ok=True)


def _older(folder: Path, name: str) -> _Stored | None:
    """A cache of the same source and size, for the rows of files that have not changed."""
    found = (_open(path, want_table=True) for path in folder.glob(f"{name}-*.images"))
    whole = (stored for stored in found if stored is not None and array_sum(stored.pixels) == stored.head["check"])
    return next(whole, None)


def _remove_older(path: Path, name: str) -> None:
    """Remove what ``path`` replaces, and what killed runs left behind."""
    for other in path.parent.glob(f"{name}-*"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            left = other.suffix == ".part" and time.time() - other.stat().st_mtime > DAY
            if other != path and (other.suffix == ".images" or left):
                other.unlink()


def _without_cache(files: list[_File], shape: Shape, options: ReadOptions, error: OSError) -> Decoded:
    size = len(files) * int(np.prod(shape))
    if size > options.cache_limit:
        raise no_space(size, options.encoding, error) from error
    warnings.warn(
        f"the images are not kept for the next run: {options.cache} cannot be written ({error.strerror or error}); "
        "set CODIVIDE_CACHE to a folder that can.",
        stacklevel=4,
    )
    decoded = decode_now([file.entry for file in files], shape, options)
    return decoded._replace(sizes=_sizes([files[position].probe for position in decoded.kept]))
