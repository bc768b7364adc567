"""Public data sets by name, in their published formats below one folder (``CODIVIDE_DATA``)."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import sklearn.datasets
import sklearn.model_selection
import torch
from numpy.typing import NDArray

from codivide.core.errors import InputError, unknown
from codivide.core.files import cache_root, expand_user
from codivide.core.types import Labels
from codivide.data import photo_sets
from codivide.data.arrays import array_rows, true_indices
from codivide.data.download import REMOTES, fetch
from codivide.data.loaded import Loaded
from codivide.data.options import DEFAULT
from codivide.data.packed import read_npz
from codivide.data.source import Reading

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DIGIT_CLASSES = tuple(range(10))
# All that a published label file needs: NumPy arrays of numbers. Anything else in it is refused.
RECONSTRUCT = np.empty(0).__reduce__()[0]
ARRAY_GLOBALS: tuple[Any, ...] = (
    (RECONSTRUCT, "numpy.core.multiarray._reconstruct"),
    (RECONSTRUCT, "numpy._core.multiarray._reconstruct"),
    np.ndarray,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("uint8", "int8", "int16", "int32", "int64")),
)

_Part = tuple[NDArray[np.uint8], Labels]  # images and labels


def names() -> list[str]:
    """The names that :func:`load` knows."""
    return sorted([*_READERS, *photo_sets.names()])


def data_root() -> Path:
    """``CODIVIDE_DATA``, else the folder ``data`` in the cache."""
    named = os.environ.get("CODIVIDE_DATA")
    return expand_user(named) if named else cache_root() / "data"


def load(name: str, root: Path | None = None, *, download: bool = True, progress: bool = False) -> Loaded:
    """Read a public data set.

    Args:
        name: one of :func:`names`.
        root: the folder of public data sets; None: ``CODIVIDE_DATA``, else the cache.
        download: fetch what is missing, where there is a network.
        progress: show a bar while downloading, on a terminal only.

    Returns:
        The training part, with the official test part; for human labels the truth too.

    Raises:
        InputError: an unknown name (with the nearest), or files that are missing, damaged or not what they claim.
    """
    if name not in names():
        raise unknown("data set", name, names())
    place = _Place(root if root is not None else data_root(), download, progress)
    try:
        if name in photo_sets.names():
            return photo_sets.load(name, place.root, Reading(replace(DEFAULT, progress=progress)))
        return replace(_READERS[name](place), name=name)
    except (OSError, ValueError, EOFError, KeyError, struct.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} below {place.root} cannot be read: {error}") from error


def load_named(name: str | Path, reading: Reading) -> Loaded:
    """A public data set as training reads it: with the views and the truth that are asked for.

    Raises:
        InputError: as ``load``; also other classes than the set has, or truth that does not fit.
    """
    if expand_user(name).exists():
        warnings.warn(f"{name} is read as the public data set; write ./{name} for the folder.", stacklevel=3)
    if str(name) in photo_sets.names():
        return photo_sets.load(str(name), data_root(), reading)
    loaded = load(str(name), progress=reading.options.progress)
    if reading.classes is not None and tuple(reading.classes) != loaded.classes:
        raise InputError(f"{name} has classes {list(loaded.classes)}, not {list(reading.classes)}")
    augment = loaded.augment if reading.options.augment == "auto" else reading.options.augment
    test = None if loaded.test is None else replace(loaded.test, augment=augment)
    truth = loaded.truth
    if reading.truth is not None:
        truth = true_indices(reading.truth, len(loaded.y), loaded.classes, reading.options)
    return replace(loaded, augment=augment, test=test, truth=truth)


@dataclass(frozen=True)
class _Place:
    """The data folder, and what to do when a file is not there."""

    root: Path
    download: bool
    progress: bool

    def find(self, name: str, *files: str, hint: str = "") -> list[Path]:
        """Paths of files of a set (each itself or with ``.gz``), fetched where they are missing.

        Raises:
            InputError: they are still missing; it says what was looked for and what to do.
        """
        trouble = ""
        if self.download and self._missing(files) and name in REMOTES:
            try:
                for remote in REMOTES[name]:
                    if remote.unpack or self._missing((remote.file.removesuffix(".gz"),)):
                        fetch(remote, self.root, progress=self.progress)
            except InputError as error:
                trouble = f". {error}"
        missing = self._missing(files)
        if missing:
            raise InputError(
                f"{name} is not below {self.root} (missing: {', '.join(missing)}). Set CODIVIDE_DATA to the folder "
                f"that holds {files[0]}{hint}{trouble}"
            )
        return [self._path(file) for file in files]

    def _path(self, file: str) -> Path:
        plain = self.root / file
        return plain if plain.exists() else self.root / f"{file}.gz"

    def _missing(self, files: tuple[str, ...]) -> list[str]:
        return [file for file in files if not self._path(file).is_file()]


def _loaded(train: _Part, held_out: _Part, classes: tuple[Any, ...], augment: str) -> Loaded:
    images, labels = train
    test_images, test_labels = held_out
    for found in (labels, test_labels):
        if len(found) and not 0 <= found.min() <= found.max() < len(classes):
            raise InputError(f"labels lie within {found.min()} to {found.max()}, not 0 to {len(classes) - 1}")
    if len(images) != len(labels) or len(test_images) != len(test_labels):
        raise InputError(
            f"{len(images)} images but {len(labels)} labels (test: {len(test_images)}, {len(test_labels)})"
        )
    test = Loaded(array_rows(test_images), test_labels, classes, range(len(test_labels)), augment)
    return Loaded(array_rows(images), labels, classes, range(len(labels)), augment, test=test)


def _digits(place: _Place) -> Loaded:
    """1,797 digits of 8 x 8 pixels in 0 to 16, brought to 0 to 255; a fixed stratified fifth is the test part."""
    bunch = sklearn.datasets.load_digits()
    images = np.rint(bunch.images * 255 / 16).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    train, test = sklearn.model_selection.train_test_split(
        np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels
    )
    train, test = np.sort(train), np.sort(test)
    return _loaded((images[train], labels[train]), (images[test], labels[test]), DIGIT_CLASSES, "shift")


def _records(paths: list[Path], label_bytes: int) -> _Part:
    """CIFAR's binary records: label bytes (the last one counts), then 3 x 32 x 32 pixels."""
    size = label_bytes + 3072
    counts = [path.stat().st_size // size for path in paths]
    images = np.empty((sum(counts), 3, 32, 32), dtype=np.uint8)
    labels = np.empty(sum(counts), dtype=np.int64)
    start = 0
    for path, count in zip(paths, counts, strict=True):
        if count == 0 or path.stat().st_size % size:
            raise InputError(f"{path} is damaged: its size is no multiple of {size}")
        records = np.fromfile(path, dtype=np.uint8).reshape(count, size)
        images[start : start + count] = records[:, label_bytes:].reshape(count, 3, 32, 32)
        labels[start : start + count] = records[:, label_bytes - 1]
        start += count
    return images, labels


def _pickle_hint(place: _Place, folder: str, archive: str) -> str:
    if not (place.root / folder).is_dir():
        return ""
    return (
        f". {place.root / folder} is the Python version, a pickle, which codivide never opens: get the binary version, "
        f"https://www.cs.toronto.edu/~kriz/{archive}"
    )


def _cifar10(place: _Place) -> Loaded:
    folder = "cifar-10-batches-bin"
    files = [f"{folder}/{part}.bin" for part in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")]
    hint = _pickle_hint(place, "cifar-10-batches-py", "cifar-10-binary.tar.gz")
    paths = place.find("cifar10", *files, hint=hint)
    return _loaded(_records(paths[:5], 1), _records(paths[5:], 1), CIFAR10_CLASSES, "photo")


def _cifar100(place: _Place) -> Loaded:
    folder = "cifar-100-binary"
    files = (f"{folder}/train.bin", f"{folder}/test.bin", f"{folder}/fine_label_names.txt")
    hint = _pickle_hint(place, "cifar-100-python", "cifar-100-binary.tar.gz")
    train, test, classes = place.find("cifar100", *files, hint=hint)
    fine = tuple(classes.read_text(encoding="utf-8").split())
    return _loaded(_records([train], 2), _records([test], 2), fine, "photo")


def _idx(path: Path) -> NDArray[np.uint8]:
    """An idx file of bytes, plain or gzip: magic 0 0 8 dimensions, lengths (big-endian), values."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    kind, dimensions = struct.unpack_from(">xxBB", data)
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * dimensions)
    if kind != 8 or values.size != int(np.prod(shape)):
        raise InputError(f"{path} is damaged: it holds {values.size} values, its header says {shape}")
    return values.reshape(shape)


def _idx_set(place: _Place, name: str, folder: str, classes: tuple[Any, ...], augment: str) -> Loaded:
    parts = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    paths = place.find(name, *(f"{folder}/raw/{part}-ubyte" for part in parts))
    images, labels, test_images, test_labels = (_idx(path) for path in paths)
    train, test = (images, labels.astype(np.int64)), (test_images, test_labels.astype(np.int64))
    return _loaded(train, test, classes, augment)


def _mnist(place: _Place) -> Loaded:
    return _idx_set(place, "mnist", "MNIST", DIGIT_CLASSES, "shift")


def _fashion_mnist(place: _Place) -> Loaded:
    return _idx_set(place, "fashion_mnist", "FashionMNIST", FASHION_CLASSES, "photo")


def _svhn(place: _Place) -> Loaded:
    """House numbers: ``X [32, 32, 3, N]`` and ``y [N, 1]`` where 10 is the digit 0."""
    parts: list[_Part] = []
    for path in place.find("svhn", "SVHN/train_32x32.mat", "SVHN/test_32x32.mat"):
        held = scipy.io.loadmat(path, variable_names=("X", "y"))
        labels = held["y"].ravel().astype(np.int64)
        parts.append((np.ascontiguousarray(held["X"].transpose(3, 2, 0, 1)), np.where(labels == 10, 0, labels)))
    train, test = parts
    return _loaded(train, test, DIGIT_CLASSES, "shift")


def read_label_file(path: Path) -> dict[str, Labels]:
    """Label arrays of a published ``.pt`` file (nothing in it is ever executed) or of an ``.npz`` file.

    Args:
        path: the file.

    Returns:
        Integer arrays by name.

    Raises:
        InputError: the file holds anything but integer arrays, or is damaged.
    """
    arrays = read_npz(path) if path.suffix == ".npz" else _read_pt(path)
    return {
        str(name): array.astype(np.int64)
        for name, array in arrays.items()
        if isinstance(array, np.ndarray) and array.dtype.kind in "iu"
    }


def _read_pt(path: Path) -> dict[Any, Any]:
    try:
        with torch.serialization.safe_globals(list(ARRAY_GLOBALS)):
            arrays = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = str(error).partition("WeightsUnpickler error:")[2].strip().split("\n")[0] or "not a label file"
        raise InputError(f"{path} is refused: it holds more than arrays of labels ({found})") from error
    except (OSError, ValueError, RuntimeError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(arrays, dict):
        raise InputError(f"{path} holds a {type(arrays).__name__}, not arrays of labels by name")
    return arrays


def _human(place: _Place, base: Loaded, set_name: str, key: str) -> Loaded:
    """A set with human labels in place of its own, which become the truth."""
    file = {"cifar10n": "CIFAR-N/CIFAR-10_human.pt", "cifar100n": "CIFAR-N/CIFAR-100_human.pt"}[set_name]
    packed = f"CIFAR-N/{set_name}.npz"
    if not (place.root / file).is_file() and (place.root / packed).is_file():
        file = packed
    hint = ". The label files come from http://noisylabels.com; place them by hand"
    (path,) = place.find(set_name, file, hint=hint)
    labels = read_label_file(path)
    if key not in labels or "clean_label" not in labels:
        raise InputError(f"{path} has no arrays {key} and clean_label (it has {', '.join(labels)})")
    if not np.array_equal(labels["clean_label"], base.y):
        raise InputError(f"{path} is not in the order of the images: its clean labels are not theirs")
    noisy = labels[key]
    if len(noisy) != len(base.y) or not 0 <= noisy.min() <= noisy.max() < len(base.classes):
        raise InputError(f"{path}: {key} holds {len(noisy)} labels within {noisy.min()} to {noisy.max()}")
    return replace(base, y=noisy, truth=base.y)


def _cifar10n(key: str) -> Callable[[_Place], Loaded]:
    return lambda place: _human(place, _cifar10(place), "cifar10n", key)


def _cifar100n(place: _Place) -> Loaded:
    return _human(place, _cifar100(place), "cifar100n", "noisy_label")


_READERS: dict[str, Callable[[_Place], Loaded]] = {
    "digits": _digits,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "fashion_mnist": _fashion_mnist,
    "mnist": _mnist,
    "svhn": _svhn,
    "cifar100n": _cifar100n,
    "cifar10n:aggre": _cifar10n("aggre_label"),
    "cifar10n:random1": _cifar10n("random_label1"),
    "cifar10n:random2": _cifar10n("random_label2"),
    "cifar10n:random3": _cifar10n("random_label3"),
    "cifar10n:worse": _cifar10n("worse_label"),
}
