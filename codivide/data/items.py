"""Map-style data sets of (image, label), read once into one array: torch Datasets and Hugging Face datasets."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from codivide.core.errors import InputError
from codivide.data.arrays import array_rows, from_arrays
from codivide.data.cache import check_skipped
from codivide.data.images import GREY, LARGE, SMALL, Shape, reason, to_pixels
from codivide.data.labels import HELD_OUT, NO_LABEL
from codivide.data.loaded import Loaded, Skipped
from codivide.data.options import ReadOptions
from codivide.data.progress import Working
from codivide.data.rows import Rows, check_alike
from codivide.data.scratch import as_rows, scratch
from codivide.data.source import Inputs, Reading, Wanted

IMAGE_COLUMNS = ("image", "img", "pixel_values")
LABEL_COLUMNS = ("label", "labels", "fine_label", "target")


@runtime_checkable
class Items(Protocol):
    """A length, and ``items[i] -> sample`` or ``(sample, label)``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Collected(NamedTuple):
    """Rows ``[M]``, their labels (None where an item has none), their numbers, and the items left out."""

    rows: Rows
    labels: list[Any]
    kept: list[int]
    skipped: tuple[Skipped, ...]


class _OtherShape(Exception):
    """A later image does not fit what the first ones promised; ``shape`` fits all so far."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.shape = shape


def collect(items: Items, options: ReadOptions, shape: Shape | None = None) -> Collected:
    """Read every item once (a transform runs once) into one array.

    Args:
        items: each item is a PIL image, an array or a tensor, alone or with a label after it.
        options: image size, limits and the progress bar.
        shape: shape that PIL images must take; None: from the images.

    Returns:
        The rows in memory, or on disk where they would pass the cache limit.

    Raises:
        InputError: no item, items of unequal shape, or more than ``max_bad`` that cannot be read.
    """
    if len(items) == 0:
        raise InputError("the data set is empty: 0 sample(s)")
    fixed = shape
    while True:  # one pass where the images are alike; a size or a colour that comes late starts another
        try:
            return _collect(items, shape, options, fixed=fixed is not None)
        except _OtherShape as other:
            shape = other.shape


def hugging_face(source: object) -> dict[str, HuggingFaceItems] | None:
    """A Hugging Face data set by split name ("" where there are no splits), or None where it is something else.

    Raises:
        InputError: no column of images or of labels.
    """
    library = sys.modules.get("datasets")  # a data set of a library cannot come before the library is imported
    if library is None:
        return None
    if isinstance(source, library.DatasetDict):
        return {str(name): HuggingFaceItems(part, labelled=str(name) not in NO_LABEL) for name, part in source.items()}
    if isinstance(source, library.Dataset):
        return {"": HuggingFaceItems(source)}
    if isinstance(source, library.IterableDataset | library.IterableDatasetDict):
        raise InputError("a streaming data set cannot be indexed: load it without streaming=True")
    return None


class HuggingFaceItems:
    """A Hugging Face data set as (image, label) items; numbers of a ClassLabel become its names.

    Args:
        table: the data set.
        labelled: whether it has labels; else they are None, and no column of them is needed.
    """

    def __init__(self, table: Any, *, labelled: bool = True) -> None:
        features = dict(table.features)
        kinds = {name: type(feature).__name__ for name, feature in features.items()}
        self.image = _column(kinds, "Image", IMAGE_COLUMNS, "image")
        self.label = _column(kinds, "ClassLabel", LABEL_COLUMNS, "label") if labelled else None
        self.names: Sequence[str] | None = getattr(features[self.label], "names", None) if self.label else None
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def has_labels(self) -> bool:
        """Whether any item has one; it warns where a whole split has none."""
        if self.label is None:
            return False
        values = self.table.select_columns(self.label).with_format("arrow")[:][self.label].to_pylist()
        found = any(value is not None and value != -1 for value in values)
        if not found:
            warnings.warn("a held-out split has no labels: it is not used as a test part", stacklevel=4)
        return found

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        row = self.table[index]
        label = row[self.label] if self.label else None
        if self.names is not None and label is not None:
            label = self.names[label] if label >= 0 else None
        image = row[self.image]
        return (np.asarray(image) if isinstance(image, list) else image), label


class Joined:
    """Several sets of items, one after the other."""

    def __init__(self, *parts: Items) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int, /) -> Any:
        k = int(np.searchsorted(self.ends, index, side="right"))
        return self.parts[k][index - int(self.ends[k]) + len(self.parts[k])]


def no_train(splits: Iterable[str]) -> InputError:
    """The error for several splits of which none is ``train``."""
    return InputError(f"the data set has splits {', '.join(splits)}, but no 'train': pass one of them")


def load_splits(source: object, reading: Reading) -> Loaded:
    """A Hugging Face data set, or its splits ``train``, ``unlabelled`` and the first held-out one.

    Raises:
        InputError: several splits, none of them ``train``, or items that cannot be learned from.
    """
    splits = _splits_of(source)
    train = splits.get("train") if len(splits) > 1 else next(iter(splits.values()))
    if train is None:
        raise no_train(splits)
    if reading.classes is None and train.names is not None:
        reading = replace(reading, classes=train.names)
    others = [splits[name] for name in NO_LABEL if name in splits and len(splits) > 1]
    loaded = load_items(Joined(train, *others) if others else train, reading)
    held_out = next((splits[name] for name in HELD_OUT if name in splits and splits[name].has_labels()), None)
    if held_out is None or held_out is train:
        return loaded
    test = load_items(held_out, Reading(reading.options, loaded.classes), loaded.x.shape)
    check_alike(loaded.x, test.x, "the held-out split")
    return replace(loaded, test=test)


def load_items(items: object, reading: Reading, shape: tuple[int, ...] | None = None) -> Loaded:
    """A map-style data set; its rows are numbered as there.

    Args:
        items: the data set.
        reading: how to read it.
        shape: that images must take; None: from the images.

    Raises:
        InputError: no length, no labels, or items that cannot be learned from.
    """
    found = collect(_map_style(items), reading.options, _as_images(shape))
    _warn_if_random(_map_style(items), found)
    if all(label is None for label in found.labels):
        raise InputError("the items of the data set have no labels: they must be (image, label)")
    truth = reading.truth
    if isinstance(truth, Sequence) and len(truth) == len(_map_style(items)):
        truth = [truth[row] for row in found.kept]
    loaded = from_arrays(
        found.rows,
        found.labels,
        options=reading.options,
        classes=reading.classes,
        truth=truth,
        ids=found.kept,
        name=type(items).__name__,
    )
    return replace(loaded, skipped=found.skipped)


def splits_inputs(source: object, wanted: Wanted) -> Inputs:
    """A Hugging Face data set without its labels.

    Raises:
        InputError: it has several splits.
    """
    splits = _splits_of(source)
    if len(splits) > 1:
        raise InputError(f"this data set has splits {', '.join(splits)}: pass one of them")
    return items_inputs(next(iter(splits.values())), wanted)


def items_inputs(items: object, wanted: Wanted) -> Inputs:
    """A map-style data set without its labels."""
    images = wanted.dtype == torch.uint8 and len(wanted.shape) == 3
    found = collect(_map_style(items), wanted.options, wanted.image_shape if images else None)
    return Inputs(found.rows, found.kept, found.skipped)


def _splits_of(source: object) -> dict[str, HuggingFaceItems]:
    splits = hugging_face(source)
    assert splits is not None
    return splits


def _map_style(items: object) -> Items:
    """The data set itself; that of a torch DataLoader, whose order and batches are a run's own business."""
    if isinstance(items, DataLoader):
        items = items.dataset
    if not isinstance(items, Items):
        raise InputError(f"{type(items).__name__} has no length or no items by number: use a map-style data set")
    return items


def _warn_if_random(items: Items, found: Collected) -> None:
    """Say that a random transform was drawn once: the first item is read again, and differs from what was kept."""
    try:
        sample, _ = _split(items[found.kept[0]])
        shape = found.rows.shape
        if isinstance(sample, Image.Image):
            again: NDArray[Any] = to_pixels(sample, (shape[0], shape[1], shape[2]))
        else:
            again = _pixels(sample, found.kept[0])
    except Exception:  # what can be read once only says nothing of transforms
        return
    if not np.array_equal(again, found.rows[torch.zeros(1, dtype=torch.int64)][0].cpu().numpy()):
        warnings.warn(
            "the data set gives another sample each time an item is read, as random transforms do: it is read once, "
            "so one random draw is frozen. Take random transforms out; views are made while training (augment)",
            stacklevel=4,
        )


def _as_images(shape: tuple[int, ...] | None) -> Shape | None:
    """The shape of a sample where it is that of an image."""
    return (shape[0], shape[1], shape[2]) if shape is not None and len(shape) == 3 else None


def _column(kinds: dict[str, str], kind: str, names: Sequence[str], what: str) -> str:
    by_kind = [name for name, found in kinds.items() if found == kind]
    by_name = [name for name in names if name in kinds]
    if not by_kind and not by_name:
        raise InputError(f"the data set has no {what} column (columns: {', '.join(kinds)})")
    both = [name for name in by_name if name in by_kind]
    return (both or by_kind or by_name)[0]


def _collect(items: Items, shape: Shape | None, options: ReadOptions, *, fixed: bool) -> Collected:
    data: NDArray[Any] | None = None
    labels: list[Any] = []
    kept: list[int] = []
    skipped: list[Skipped] = []
    with Working("reading", len(items), shown=options.progress) as work:
        for index in range(len(items)):
            work.advance()
            try:
                sample, label = _split(items[index])
            except _NoSample:
                raise
            except Exception as error:  # whatever the user's code or a broken file raises counts as unreadable
                skipped.append(Skipped(f"row {index}", reason(error)))
                if len(skipped) > options.max_bad:
                    break
                continue
            if isinstance(sample, Image.Image):
                shape = _fit_shape(sample, shape, options, fixed=fixed)
                pixels: NDArray[Any] = to_pixels(sample, shape)
            else:
                pixels = _pixels(sample, index)
            if data is None:
                dtype = np.uint8 if pixels.dtype == np.uint8 else np.float32
                data = scratch((len(items), *pixels.shape), dtype, options.encoding)
            if pixels.shape != data.shape[1:] or pixels.dtype != data.dtype:
                raise InputError(
                    f"row {index} of the data set is {pixels.dtype} of shape {pixels.shape}, but the first is "
                    f"{data.dtype} of shape {data.shape[1:]}"
                )
            data[len(kept)] = pixels
            kept.append(index)
            labels.append(label)
    check_skipped(skipped, len(items), options.max_bad)
    assert data is not None
    return Collected(as_rows(data[: len(kept)]), labels, kept, tuple(skipped))


class _NoSample(InputError):
    """The items of a data set do not have what a sample is read from: no other will."""


def _split(item: Any) -> tuple[Any, Any]:
    """The sample and its label (None: it has none), of a pair or of a dict by the usual names."""
    if isinstance(item, Mapping):
        names = [next((name for name in known if name in item), None) for known in (IMAGE_COLUMNS, LABEL_COLUMNS)]
        if names[0] is None:
            raise _NoSample(
                f"an item of the data set is a dict of {', '.join(map(str, item))}: its sample (an image, array or "
                f"tensor) must be called {' or '.join(IMAGE_COLUMNS)}, its label {' or '.join(LABEL_COLUMNS)}; or give "
                "(sample, label) pairs, or of rows with columns a data frame: pandas.DataFrame(list(dataset))"
            )
        return item[names[0]], None if names[1] is None else item[names[1]]
    if isinstance(item, tuple | list):
        return item[0], item[1] if len(item) > 1 else None
    return item, None


def _pixels(sample: object, index: int) -> NDArray[Any]:
    """One array or tensor by the rules for many: ``[C, H, W]`` or ``[D]``, uint8 or float32."""
    if not isinstance(sample, Tensor | np.ndarray):
        raise InputError(
            f"row {index} of the data set is a {type(sample).__name__}; (image, label) pairs are needed, where the "
            "image is a PIL image, an array or a tensor"
        )
    try:
        return array_rows(sample[None])[torch.zeros(1, dtype=torch.int64)][0].cpu().numpy()
    except InputError as error:
        raise InputError(f"row {index} of the data set: {error}") from error


def _fit_shape(image: Image.Image, shape: Shape | None, options: ReadOptions, *, fixed: bool) -> Shape:
    """The shape promised so far if the image fits it, else by way of an exception the one that holds for all."""
    channels = 1 if image.mode in GREY else 3
    if shape is None:
        if options.image_size is not None:
            return channels, options.image_size, options.image_size
        return (channels, image.height, image.width) if max(image.size) <= SMALL else (channels, LARGE, LARGE)
    if fixed:
        return shape
    native = options.image_size is None and shape[1:] != (LARGE, LARGE)
    if native and (image.height, image.width) != shape[1:]:
        raise _OtherShape((max(channels, shape[0]), LARGE, LARGE))
    if channels > shape[0]:
        raise _OtherShape((channels, *shape[1:]))
    return shape
