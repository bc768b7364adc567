"""Public sets of photos that everyone fetches for themselves, in the layout in which they are published.

Below the data folder: ``imagenet`` (ILSVRC 2012), ``clothing1m``, ``webvision`` (1.0), and ``food101n`` with
``food-101``. Photos are stored with a short side of 256 pixels, or of ``image_size``, and cut while training.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.io

from codivide.core.errors import InputError
from codivide.data.assemble import Pictures, assemble
from codivide.data.cache import Entry
from codivide.data.images import is_image_name
from codivide.data.loaded import Loaded
from codivide.data.source import Reading

_SIZE = 256
_CLOTHING = 14
_MINI = 50  # classes of "mini" WebVision


class _Listed(NamedTuple):
    """Files, and the class of each."""

    files: Sequence[Path]
    labels: Sequence[int | str]


class _PhotoSet(NamedTuple):
    """What a layout holds: a part for each split, the classes in order, and how photos are cut by default."""

    root: Path
    parts: Mapping[str, _Listed]
    classes: Sequence[int | str]
    augment: str


def names() -> list[str]:
    """The sets that ``load`` knows."""
    return sorted(_READERS)


def load(name: str, data: Path, reading: Reading) -> Loaded:
    """A set of photos with its test part, and its validation part where it has one.

    Args:
        name: one of ``names``.
        data: the folder of public sets.
        reading: how to read it.

    Raises:
        InputError: files that are missing; it says which, and where they are looked for.
    """
    found = _READERS[name](data)
    options = reading.options
    augment = found.augment if options.augment == "auto" else options.augment
    options = replace(options, image_size=options.image_size or _SIZE, augment=augment)
    pictures = Pictures([], [], [])
    for split, part in found.parts.items():
        pictures.entries.extend(Entry(file.relative_to(data).as_posix(), file) for file in part.files)
        pictures.labels.extend(part.labels)
        pictures.splits.extend([split] * len(part.files))
    return assemble(pictures, found.root, replace(reading, options=options, classes=tuple(found.classes)), name)


def _folder(data: Path, name: str, *candidates: str) -> Path:
    """The folder of a set, which goes by one of several names."""
    for candidate in candidates:
        if (data / candidate).is_dir():
            return data / candidate
    raise InputError(
        f"{name} is not below {data}: put your copy in {data / candidates[0]}, or set CODIVIDE_DATA to the folder that "
        f"holds {candidates[0]}"
    )


def _file(name: str, root: Path, *candidates: str) -> Path:
    """A file of a set, which lies in one of several places."""
    for candidate in candidates:
        if (root / candidate).is_file():
            return root / candidate
    raise InputError(f"{name} in {root} lacks {' or '.join(candidates)}")


def _words(path: Path) -> list[list[str]]:
    """The words of every line that has some."""
    return [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _images(folder: Path) -> list[Path]:
    """Image files directly in a folder, in order of name."""
    return sorted(path for path in folder.iterdir() if is_image_name(path.name))


def _by_folder(folder: Path, classes: Iterable[str]) -> _Listed:
    """The images of one sub-folder a class."""
    files, labels = [], []
    for name in classes:
        found = _images(folder / name) if (folder / name).is_dir() else []
        files += found
        labels += [name] * len(found)
    return _Listed(files, labels)


def _imagenet(data: Path) -> _PhotoSet:
    """``train/nXXXXXXXX/*.JPEG``; ``val`` the same, or flat with one of the usual files of its labels."""
    root = _folder(data, "imagenet", "imagenet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC")
    if not (root / "train").is_dir():
        raise InputError(f"imagenet in {root} lacks the folder train with one folder a class, such as n01440764")
    classes = sorted(path.name for path in (root / "train").iterdir() if path.is_dir())
    if len(classes) < 2:
        raise InputError(f"imagenet: {root / 'train'} holds {len(classes)} folders of classes, such as n01440764")
    parts = {"train": _by_folder(root / "train", classes), "test": _validation_of_imagenet(root, classes)}
    return _PhotoSet(root, parts, classes, "resized_crop")


def _validation_of_imagenet(root: Path, classes: Sequence[str]) -> _Listed:
    """The labelled photos of ``val``."""
    if not (root / "val").is_dir():
        raise InputError(f"imagenet in {root} lacks the folder val")
    if any(path.is_dir() for path in (root / "val").iterdir()):
        return _by_folder(root / "val", classes)
    files = _images(root / "val")
    truth = _truth_of_imagenet(root, files)
    unknown = sorted({name for name in truth if name not in classes})
    if unknown:
        raise InputError(f"imagenet: labels of {root / 'val'} name {unknown[0]}, which has no folder in train")
    return _Listed(files, truth)


def _truth_of_imagenet(root: Path, files: Sequence[Path]) -> list[str]:
    """The class of each file of a flat ``val``: by file (Kaggle), or in order of name (synsets, or the numbers)."""
    kaggle = [place / "LOC_val_solution.csv" for place in (root, root.parent.parent.parent)]
    for path in kaggle:
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as held:
                by_name = {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(held)}
            missing = [file.name for file in files if file.stem not in by_name]
            if missing:
                raise InputError(f"{path} has no line for {missing[0]}")
            return [by_name[file.stem] for file in files]
    for place in (root, root / "ILSVRC2012_devkit_t12" / "data", root / "devkit" / "data"):
        synsets = place / "imagenet_2012_validation_synset_labels.txt"
        numbers, meta = place / "ILSVRC2012_validation_ground_truth.txt", place / "meta.mat"
        if synsets.is_file():
            return _in_order(synsets, [words[0] for words in _words(synsets)], files)
        if numbers.is_file() and meta.is_file():
            rows = scipy.io.loadmat(meta, squeeze_me=True)["synsets"]
            known = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in np.atleast_1d(rows)}
            return _in_order(numbers, [known[int(words[0])] for words in _words(numbers)], files)
    raise InputError(
        f"imagenet: {root / 'val'} is flat, so its labels are needed: LOC_val_solution.csv, "
        "imagenet_2012_validation_synset_labels.txt, or ILSVRC2012_validation_ground_truth.txt with meta.mat of the "
        f"devkit, in {root}. Or make one folder a class in val"
    )


def _in_order(path: Path, labels: list[str], files: Sequence[Path]) -> list[str]:
    if len(labels) != len(files):
        raise InputError(f"{path} has {len(labels)} labels for {len(files)} photos")
    return labels


def _clothing1m(data: Path) -> _PhotoSet:
    """Noisy labels to train on, clean ones to choose the epoch and to test; key lists and labels as published."""
    root = _folder(data, "clothing1m", "clothing1m", "Clothing1M")
    labels: dict[str, int] = {}
    for name in ("clean_label_kv.txt", "noisy_label_kv.txt"):  # a photo of both is trained on with its noisy label
        path = _file("clothing1m", root, name, f"annotations/{name}")
        labels |= {f"{name}:{words[0]}": int(words[1]) for words in _words(path)}
    parts = {}
    for split, kind, keys in (
        ("train", "noisy", "noisy_train_key_list.txt"),
        ("validation", "clean", "clean_val_key_list.txt"),
        ("test", "clean", "clean_test_key_list.txt"),
    ):
        listed = [words[0] for words in _words(_file("clothing1m", root, keys, f"annotations/{keys}"))]
        known = [(key, labels.get(f"{kind}_label_kv.txt:{key}")) for key in listed]
        lost = [key for key, label in known if label is None]
        if lost:
            raise InputError(f"clothing1m: {keys} lists {lost[0]}, of which {kind}_label_kv.txt says nothing")
        parts[split] = _Listed([root / key for key, _ in known], [label for _, label in known if label is not None])
    return _PhotoSet(root, parts, range(_CLOTHING), "crop")


def _webvision(data: Path, *, mini: bool, ilsvrc: bool = False) -> _PhotoSet:
    """The Google part of WebVision 1.0, tested on its own validation photos or on those of ILSVRC 2012."""
    root = _folder(data, "webvision", "webvision", "WebVision")
    train = _webvision_part(root, "info/train_filelist_google.txt", (".",), mini=mini)
    classes = list(range(_MINI)) if mini else sorted(set(train.labels), key=int)
    if ilsvrc:
        other = _imagenet(data)
        numbers = {name: number for number, name in enumerate(other.classes)}  # both sets list the synsets in order
        held = other.parts["test"]
        kept = [(file, numbers[name]) for file, name in zip(*held, strict=True) if numbers[name] in classes]
        test = _Listed([file for file, _ in kept], [number for _, number in kept])
    else:
        test = _webvision_part(root, "info/val_filelist.txt", ("val_images_256", "val_images", "val"), mini=mini)
    return _PhotoSet(root, {"train": train, "test": test}, classes, "resized_crop")


def _webvision_part(root: Path, listing: str, folders: Sequence[str], *, mini: bool) -> _Listed:
    """The files of a list of "name class"; of the first classes alone where they are asked for."""
    rows = _words(_file("webvision", root, listing, Path(listing).name))
    place = next((root / folder for folder in folders if (root / folder).is_dir()), None)
    if place is None:
        raise InputError(f"webvision in {root} lacks the folder {' or '.join(folders)}")
    kept = [(place / name, int(label)) for name, label in rows if not mini or int(label) < _MINI]
    return _Listed([file for file, _ in kept], [label for _, label in kept])


def _food101n(data: Path) -> _PhotoSet:
    """Photos from the web to train on, and the test part of Food-101."""
    root = _folder(data, "food101n", "food101n", "Food-101N_release", "Food-101N")
    clean = _folder(data, "the test part of food101n", "food-101", "food101", "Food-101")
    classes = [words[0] for words in _words(_file("food101n", root, "meta/classes.txt")) if words[0] != "class_name"]
    train = _food_part(root, _file("food101n", root, "meta/imagelist.tsv"), classes)
    test = _food_part(clean, _file("food-101", clean, "meta/test.txt"), classes)
    return _PhotoSet(root, {"train": train, "test": test}, classes, "resized_crop")


def _food_part(root: Path, listing: Path, classes: Sequence[str]) -> _Listed:
    """The files of a list of "class/name", with or without a suffix, and maybe a head."""
    keys = [words[0] for words in _words(listing) if "/" in words[0] and not words[0].startswith("class_name/")]
    labels = [key.split("/")[0] for key in keys]
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise InputError(f"{listing} names the class {unknown[0]}, which is not in meta/classes.txt of food101n")
    files = [root / "images" / (key if is_image_name(key) else f"{key}.jpg") for key in keys]
    return _Listed(files, labels)


_READERS: Mapping[str, Callable[[Path], _PhotoSet]] = {
    "imagenet": _imagenet,
    "clothing1m": _clothing1m,
    "webvision": lambda data: _webvision(data, mini=False),
    "webvision:mini": lambda data: _webvision(data, mini=True),
    "webvision:mini_ilsvrc": lambda data: _webvision(data, mini=True, ilsvrc=True),
    "food101n": _food101n,
}
