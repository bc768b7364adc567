"""Folders of images with one sub-folder a class, with or without ``train/`` and ``test/``."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from codivide.core.errors import InputError
from codivide.core.files import CLEANED, CLEANED_FILES, expand_user
from codivide.core.words import counted
from codivide.data.assemble import Pictures, assemble
from codivide.data.cache import Entry
from codivide.data.images import CAMERA, COMMON, NEEDS_PLUGIN, is_image_name, written
from codivide.data.labels import HELD_OUT, NO_LABEL, encode, spellings, warn_about_unused
from codivide.data.loaded import Loaded
from codivide.data.source import Reading

NOT_CLASSES = ("__pycache__", "__MACOSX")
_PARTS = {"training": "train", "testing": "test"}  # other names of parts


def load_folder(root: Path | str, reading: Reading) -> Loaded:
    """Images in one sub-folder a class, or ``train/`` and ``test/`` folders of such.

    A sub-folder called ``unlabelled`` (or ``unlabeled``), of a split or beside ``train/``, holds images without a label
    and is never a class; those beside ``train/`` are trained on. Without ``test/``, a ``val``, ``valid`` or
    ``validation`` folder is the held-out part. Hidden files and other kinds of files are left alone.

    Args:
        root: the folder.
        reading: how to read and cache the images; without classes, they are the sorted names of the sub-folders. True
            labels are a mapping from id to label, a CSV file of ``path,label``, or one label a row.

    Returns:
        The data set; ids are paths relative to ``root``.

    Raises:
        InputError: no images or no classes, or too many that cannot be read.
    """
    root = expand_user(root)
    if (root / CLEANED).is_file() and not _folders(root):
        raise InputError(f"{root} holds a cleaned table and no images: give {root / CLEANED}")
    found = _images(root)
    names = _class_names({name: len(images) for name, images in found["train"].items()}, root, reading)
    pictures = Pictures([], [], [])
    for split, folders in found.items():
        for name, images in folders.items():
            pictures.entries.extend(images)
            pictures.labels.extend([None if name.casefold() in NO_LABEL else name] * len(images))
            pictures.splits.extend([split] * len(images))
    _warn_about_empty(found)
    known = reading if reading.classes is not None else replace(reading, classes=names)
    loaded = assemble(pictures, root, known, written(root.name))
    loaded = replace(loaded, said=(*_not_read(root), *loaded.said))
    labels = loaded.y.tolist() if reading.part is None else pictures.labels
    if reading.classes is None and len(set(labels) - {-1, None}) < 2:
        raise InputError(f"{root} holds images of one class only; training needs at least two classes")
    return loaded


def training_images(root: Path) -> list[str]:
    """The ids of the images that ``load_folder`` would train on, whether or not they can be read.

    Raises:
        InputError: no images or no classes.
    """
    return [entry.id for images in _images(root)["train"].values() for entry in images]


def _images(root: Path) -> dict[str, dict[str, list[Entry]]]:
    """The images of each class of each split; those without a label beside ``train/`` are of ``train``."""
    parts = _split_folders(root)
    found = {split: _class_folders(root, folder) for split, folder in parts.items()}
    if parts["train"] != root:
        for folder in _folders(root):
            if folder.name.casefold() in NO_LABEL:
                images = found["train"].get(folder.name, [])
                found["train"][folder.name] = [*images, *walk(folder, root, {_identity(root)})]
    return found


def _class_names(folders: Mapping[str, int], root: Path, reading: Reading) -> tuple[str, ...]:
    """The folders that are classes; of those that are merged the one with the most images.

    Args:
        folders: how many images each holds.
        root: the folder around them, for messages.
        reading: how labels are read.

    Raises:
        InputError: none is, or the name of one means "no label" elsewhere.
    """
    names = tuple(name for name in folders if name.casefold() not in NO_LABEL)
    if not names:
        raise InputError(f"{root} holds no class: all of its images are in {' and '.join(folders)}")
    options = reading.options
    codes, _ = encode(names, unlabelled=options.unlabelled, classes=names, what=str(root), keep_na=options.keep_na)
    nameless = [name for name, code in zip(names, codes, strict=True) if code < 0]
    if nameless:
        raise InputError(f"{root / nameless[0]}: {nameless[0]!r} means 'no label' in tables; rename the folder")
    if not options.merge_labels:
        return names
    kept = spellings({name: folders[name] for name in names})
    return tuple(name for name in names if kept[name] == name)


def walk(folder: Path, root: Path, seen: set[tuple[int, int]]) -> Iterator[Entry]:
    """Image files below a folder in order of name, each real folder once, so that loops of links end.

    Args:
        folder: where to look.
        root: what ids are relative to.
        seen: device and inode of the folders that were visited.
    """
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for item in sorted(os.scandir(folder), key=lambda item: item.name):
        path = Path(item.path)
        if is_folder(item):
            if not item.name.startswith(".") and item.name not in NOT_CLASSES:
                yield from walk(path, root, seen)
        elif is_image_name(item.name):
            yield Entry(written(path.relative_to(root).as_posix()), path)


def is_folder(item: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link that leads nowhere or to itself is not."""
    try:
        return item.is_dir()
    except OSError:
        return False


def _folders(root: Path) -> list[Path]:
    """The visible sub-folders in order of name, without links back to ``root`` or above it."""
    above = {root.resolve(), *root.resolve().parents}
    items = sorted((item for item in os.scandir(root) if is_folder(item)), key=lambda item: item.name)
    visible = [Path(item.path) for item in items if not item.name.startswith(".") and item.name not in NOT_CLASSES]
    return [folder for folder in visible if folder.resolve() not in above]


def _split_folders(root: Path) -> dict[str, Path]:
    """Folder of each split: ``train`` and maybe ``test`` where root is laid out so, else root alone."""
    named = {folder.name.casefold(): folder for folder in _folders(root)}
    folders = {_PARTS.get(name, name): folder for name, folder in named.items()}
    others = sorted(set(folders) - {"train", *HELD_OUT, *NO_LABEL})
    if "train" not in folders or others or len(folders) < len(named) or not _folders(folders["train"]):
        _check_classes(root, list(named.values()), parts="train" in folders and any(set(folders) & set(HELD_OUT)))
        return {"train": root}
    parts = {"train": folders["train"]}
    held_out = [name for name in HELD_OUT if name in folders]
    if held_out:
        parts["test"] = folders[held_out[0]]
        warn_about_unused(root, held_out[1:])
    return parts


def _check_classes(root: Path, folders: list[Path], *, parts: bool) -> None:
    """What is to be said where folders that count as classes hold the same sub-folders, as parts of a data set do.

    Raises:
        InputError: some have the names of ``parts``.
    """
    held = [frozenset(inner.name for inner in _folders(folder)) for folder in folders]
    counts = Counter(names for names in held if len(names) > 1)
    common = max(counts, key=counts.__getitem__, default=frozenset())
    if counts[common] < 2:
        return
    alike = [written(folder.name) for folder, names in zip(folders, held, strict=True) if names == common]
    inner = ", ".join(map(written, sorted(common)[:3])) + (", ..." if len(common) > 3 else "")
    text = f"{root}: {' and '.join(alike[:3])} hold the same sub-folders ({inner})"
    if parts:
        beside = [written(folder.name) for folder, names in zip(folders, held, strict=True) if names != common]
        raise InputError(f"{text}, so they are parts and no classes; move the others away ({', '.join(beside[:3])})")
    warnings.warn(
        f"{text} and count as one class each. If the sub-folders are the classes, call the parts train and test, or "
        "give one of them.",
        stacklevel=5,
    )


def _class_folders(root: Path, folder: Path) -> dict[str, list[Entry]]:
    """The images of each class of one split."""
    loose = sum(is_image_name(item.name) for item in os.scandir(folder) if not is_folder(item))
    folders: dict[str, list[Entry]] = {}
    for path in _folders(folder):
        images = list(walk(path, root, {_identity(folder)}))
        if folders.setdefault(written(path.name), images) is not images:
            raise InputError(f"two folders in {folder} are both written {written(path.name)!r}: rename one of them")
    if not any(folders.values()):
        if loose:
            raise InputError(
                f"{folder} holds {counted(loose, 'image')} but no sub-folders of images: make one sub-folder a class, "
                "or write a CSV file with columns path,label"
            )
        raise InputError(f"{folder} holds no images in sub-folders ({', '.join(COMMON)}, ...)")
    if loose:
        text = f"directly in {folder}, in no class, and"
        few = counted(loose, f"image lies {text} is", f"images lie {text} are")
        warnings.warn(f"{few} left out.", stacklevel=4)
    return folders


def _not_read(root: Path) -> tuple[str, ...]:
    """A sentence on the files below a folder that are no images, by their suffix; empty where there is none."""
    counts: Counter[str] = Counter()
    for _folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in NOT_CLASSES]
        ours = CLEANED_FILES if CLEANED in files else ()
        others = [name for name in files if not name.startswith(".") and not is_image_name(name) and name not in ours]
        counts.update(os.path.splitext(name)[1].lower() or "without a suffix" for name in others)
    if not counts:
        return ()
    listed = ", ".join(f"{written(suffix)} {count:,}" for suffix, count in counts.most_common(8))
    camera = f" ({NEEDS_PLUGIN}, or save the pictures as .jpg)" if counts.keys() & CAMERA else ""
    return (f"files that are not read: {listed}{camera}",)


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _warn_about_empty(found: dict[str, dict[str, list[Entry]]]) -> None:
    for name, images in found["train"].items():
        if not images and name.casefold() not in NO_LABEL:
            warnings.warn(f"class folder {name!r} holds no images; it stays a class without samples.", stacklevel=4)
