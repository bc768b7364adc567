"""One image file to pixels as a person sees them, without trusting the file."""

from __future__ import annotations

import functools
import io
import os
import re
import stat
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

COMMON = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".avif")
EXTENSIONS = frozenset((*COMMON, ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"))
CAMERA = frozenset((".heic", ".heif"))  # images, too, where the package is installed that reads them
SMALL = 64
LARGE = 224
# Raster formats only: Pillow also opens formats that start other programs (EPS) or that nobody trains on.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "HEIF")
GREY = frozenset(("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"))
DEEP = frozenset(("I", "I;16", "I;16B", "I;16L", "I;16N"))
DEPTHS = (8, 10, 12, 14, 16)  # bits of a value that cameras and scanners deliver
ORIENTATION = 0x0112
NEEDS_PLUGIN = "HEIC needs the package pillow-heif (pip install pillow-heif)"
_ESCAPE = re.compile(rb"\\x([89a-f][0-9a-f])")  # a byte that is no UTF-8, as ``written`` has it

Pixels = NDArray[np.uint8]
Shape = tuple[int, int, int]


class Probe(NamedTuple):
    """What the header of a file says: upright width and height, whether it has no colour, and bits of a value.

    Where values may have more than 8 bits, the values tell how many they have (``depth_of``).
    """

    width: int
    height: int
    grey: bool
    depth: int = 8


def is_image_name(name: str) -> bool:
    """Whether a file name is that of an image that can be read: a known extension, and not hidden."""
    suffix = os.path.splitext(name)[1].lower()
    return not name.startswith(".") and (suffix in EXTENSIONS or (suffix in CAMERA and reads_heic()))


def are_image_names(values: Sequence[Any]) -> bool:
    """Whether there are values, and each is a ``Path`` or a text that ends like the name of an image file."""
    suffixes = EXTENSIONS | CAMERA
    return bool(values) and all(
        isinstance(value, Path) or (isinstance(value, str) and os.path.splitext(value.strip())[1].lower() in suffixes)
        for value in values
    )


@functools.cache
def reads_heic() -> bool:
    """Whether pictures of telephones can be read: the package pillow-heif is there, and is now known to Pillow."""
    if find_spec("pillow_heif") is None:
        return False
    import_module("pillow_heif").register_heif_opener()
    return True


def written(name: str) -> str:
    r"""A file name as text that can be written: bytes in it that are no UTF-8 become ``\xe9`` and the like."""
    try:
        data = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, as Windows allows it
        data = name.encode("utf-8", "backslashreplace")
    return data.decode("utf-8", "backslashreplace")


def on_disk(folder: Path, name: str) -> Path:
    r"""The file in a folder that ``written`` gave this name; where there is none, the path as the name stands.

    A file whose name really holds the characters ``\xe9`` comes before one with that byte.
    """
    path = folder / name
    if "\\x" not in name or os.path.lexists(path):
        return path
    data = _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), os.fsencode(name))
    escaped = folder / os.fsdecode(data)
    return escaped if os.path.lexists(escaped) else path


def choose_shape(probes: list[Probe], image_size: int | None) -> Shape:
    """The stored shape of a set of images.

    Args:
        probes: what the headers say; at least one.
        image_size: height and width, or None: one common size of at most 64 pixels a side stays, else 224.

    Returns:
        ``(channels, height, width)``: one channel if no image has colour, else three.
    """
    channels = 1 if all(probe.grey for probe in probes) else 3
    sizes = {(probe.height, probe.width) for probe in probes}
    if image_size is not None:
        return channels, image_size, image_size
    if len(sizes) == 1 and max(next(iter(sizes))) <= SMALL:
        return channels, *next(iter(sizes))
    return channels, LARGE, LARGE


def probe_file(path: Path) -> Probe | str:
    """Read a file's header alone.

    Args:
        path: the file.

    Returns:
        The probe, or the reason why the file is no readable image.
    """
    try:
        with _open(path) as image:
            width, height = image.size
            depth = depth_of(np.asarray(image)) if image.mode in DEEP or image.mode == "F" else 8
            # Asking a PNG for its orientation would decode all of it.
            turned = image.format != "PNG" and image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
            return Probe(*((height, width) if turned else (width, height)), image.mode in GREY, depth)
    except Exception as error:  # a file may hold anything, and Pillow's plugins raise nearly everything
        return _reason_of(path, error)


def decode_file(path: Path, shape: Shape) -> Pixels | str:
    """Decode a file: upright, alpha on white, first frame, resized and cropped to ``shape``.

    Args:
        path: the file.
        shape: ``(1 or 3, height, width)`` of the answer.

    Returns:
        uint8 ``[channels, height, width]``, or the reason why the file cannot be read.
    """
    try:
        with _open(path) as image:
            # JPEG decodes straight to a half, quarter or eighth; twice the wanted size keeps the resize exact.
            image.draft(None, (2 * shape[2], 2 * shape[1]))
            image.load()
            return to_pixels(ImageOps.exif_transpose(image), shape)
    except Exception as error:
        return _reason_of(path, error)


def to_pixels(image: Image.Image, shape: Shape) -> Pixels:
    """An image in any mode as ``shape`` pixels.

    Args:
        image: a loaded image.
        shape: ``(1 or 3, height, width)``: the image is scaled to cover it and the centre is cropped.

    Returns:
        uint8 ``[channels, height, width]``.
    """
    channels, height, width = shape
    flat = flatten(image).convert("L" if channels == 1 else "RGB")
    if flat.size != (width, height):
        flat = ImageOps.fit(flat, (width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(flat)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def flatten(image: Image.Image) -> Image.Image:
    """An image in 8 bits without alpha: deeper values are scaled by their depth, transparency lies on white.

    Integers of more than 8 bits and reals above 1 have the bits that the largest value of the image needs
    (``depth_of``), so that 12 of 16 bits do not come out black; reals up to 1 are shares of white.
    """
    if image.mode in DEEP or image.mode == "F":
        values = np.maximum(np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0.0), 0.0)
        most = 1.0 if image.mode == "F" and values.max() <= 1 else 2.0 ** depth_of(values) - 1
        return Image.fromarray(as_bytes(values, most))
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        return canvas.convert("L" if image.mode in GREY else "RGB")
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")


def as_bytes(values: NDArray[Any], most: float) -> Pixels:
    """Values that are not negative as uint8; ``most`` becomes white, 255."""
    return np.minimum(np.rint(values * (255 / most)), 255).astype(np.uint8)


def of_depths(depths: Mapping[int, int]) -> tuple[str, ...]:
    """Sentences on how many images have so many bits a value, by bits."""
    return tuple(
        f"images of {bits} bits a value, read by that depth: {count:,}" for bits, count in sorted(depths.items())
    )


def depth_of(values: NDArray[Any]) -> int:
    """The bits in which all values lie: the fewest of ``DEPTHS``, at most 16."""
    largest = float(values.max(initial=0))
    return next((bits for bits in DEPTHS if largest < 2**bits), DEPTHS[-1])


class Passing(str):
    """A reason that says nothing about a file's content and may be gone next time: a disk, memory, open files."""

    __slots__ = ()


def reason(error: Exception) -> str:
    """A failure in a few words for the list of skipped files; ``Passing`` where the same file may be read later."""
    words = _words(error)
    # Pillow's own errors about content are OSErrors without a number, but so is its decoders' lack of memory.
    passing = isinstance(error, OSError) and (error.errno is not None or "out of memory" in words)
    return Passing(words) if passing or isinstance(error, MemoryError) else words


def _reason_of(path: Path, error: Exception) -> str:
    """The same of a file; the format of telephones is none that Pillow reads by itself."""
    if isinstance(error, UnidentifiedImageError) and path.suffix.lower() in CAMERA and not reads_heic():
        return Passing(NEEDS_PLUGIN)
    return reason(error)


def _words(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"decompression bomb: {error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return written(str(error)) or type(error).__name__


def _open(path: Path) -> Image.Image:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # a named pipe would wait for ever
        raise ValueError("not a regular file")
    if status.st_size == 0:
        raise ValueError("empty file")
    return _checked(path)


def open_content(content: bytes) -> Image.Image:
    """The image in the bytes of a file, with the same care as for a file.

    Raises:
        Exception: it is none; ``reason`` says why.
    """
    if not content:
        raise ValueError("empty file")
    return _checked(io.BytesIO(content))


def _checked(source: Path | io.BytesIO) -> Image.Image:
    Image.init()
    reads_heic()
    image = Image.open(source, formats=[name for name in FORMATS if name in Image.OPEN])
    # Pillow only warns up to twice its limit, and warning filters are not per thread.
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        image.close()
        raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
    return image
