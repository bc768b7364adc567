"""How a source is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, TypedDict

from codivide.core.errors import InputError, unknown
from codivide.core.files import cache_root
from codivide.core.threads import allowed
from codivide.data.encoder import Encoder, Encoding
from codivide.data.table_files import is_table

CLASSES, MULTILABEL, REGRESSION = TASKS = ("classes", "multilabel", "regression")

#: Options of the machine and of one's patience: with any value of them the same files give the same samples, so that
#: no record holds them.
OF_THE_MACHINE = ("cache_limit", "cache_dir", "max_bad", "workers", "progress", "device", "patience")


class LabelOptions(TypedDict):
    """How labels are read; see ``data.labels.encode``."""

    unlabelled: int | None
    merge: bool
    keep_na: bool


@dataclass(frozen=True)
class ReadOptions:
    """How to read a source.

    Attributes:
        image_size: height and width of the stored images: the short side is resized to it and the centre is cropped.
            None: as they are when all files have one size of at most 64 pixels a side, else 224.
        cache_limit: bytes; a larger uint8 cache stays on disk and is mapped instead of read.
        cache_dir: where decoded images are kept. None: ``CODIVIDE_CACHE``, else ``~/.cache/codivide``.
        max_bad: more unreadable files than this is an error that names the first few.
        unlabelled: the label value that means "no label"; None switches it off.
        augment: "auto" (from the data), "photo", "photo_one", "crop", "resized_crop", "shift", "jitter" or "none" (see
            ``data.views.ViewSpec``).
        workers: decoding threads; 0 is one per core.
        progress: show a progress bar, on a terminal only.
        encoder: what makes features of texts or images: a name (see ``data.encode``), or one that is fitted. "auto":
            texts become "tfidf:char", English ones "tfidf+minilm" where its wheel is installed; images are read as
            images, and a fit may encode them. "none": images stay images.
        device: where an encoder that is a network runs: "auto", "cpu", "cuda", ...
        patience: processor seconds that an encoder of texts may take which nobody asked for.
        label: the column of a table that holds the labels.
        text: the column of a table that holds texts, which are then all that is learned from. None: "text", or the only
            column besides the labels, where it holds texts.
        columns: the columns of a table to learn from; empty: all.
        drop: columns of a table to leave out.
        annotators: columns of a table that hold the labels of one annotator each. Empty: those called ``label_...``
            where there is no column ``label``.
        weight: the column of a table that holds the samples' weights; None: all count alike.
        answers: a table of one row an answer (columns annotator, label, and id, path or text), for the samples of a
            table.
        merge_labels: read labels that differ by case, white space or Unicode form only as the most frequent of them.
        keep_na: the texts "nan", "NaN" and "None" are classes; else they mean "no label".
        group: the column of a table that says what belongs together, such as a patient; it is no feature, and no fold
            divides its groups (see ``data.groups``). A test part may lack it.
        task: what a label is: one class ("classes"), several labels ("multilabel") or a number ("regression"); see
            ``data.targets``.
        separator: between several labels of a row.
    """

    image_size: int | None = None
    cache_limit: int = 4 * 2**30
    cache_dir: Path | None = None
    max_bad: int = 100
    unlabelled: int | None = -1
    augment: str = "auto"
    workers: int = 0
    progress: bool = False
    encoder: str | Encoder = "auto"
    device: str = "auto"
    patience: float = 120.0
    label: str = "label"
    text: str | None = None
    columns: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    annotators: tuple[str, ...] = ()
    weight: str | None = None
    answers: Path | None = None
    merge_labels: bool = False
    keep_na: bool = False
    group: str | None = None
    task: str = CLASSES
    separator: str = ";"

    def to_dict(self) -> dict[str, Any]:
        """What differs from the default, as JSON values; without the options of the machine (``OF_THE_MACHINE``).

        A fitted encoder is written by its name.
        """
        held = {item.name: (getattr(self, item.name), item.default) for item in fields(self)}
        return {
            name: _as_json(value)
            for name, (value, default) in held.items()
            if name not in OF_THE_MACHINE and value != default
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The options that ``to_dict`` wrote; those of the machine are at their defaults.

        Raises:
            InputError: an option that is not known, or a value of another type.
        """
        return cls(**typed(values, _KINDS, "option of reading"))

    @property
    def cache(self) -> Path:
        """The folder of decoded images (it may not exist yet)."""
        return self.cache_dir if self.cache_dir is not None else cache_root()

    @property
    def of_labels(self) -> LabelOptions:
        """The part of these options that labels are read by."""
        return {"unlabelled": self.unlabelled, "merge": self.merge_labels, "keep_na": self.keep_na}

    @property
    def encoding(self) -> Encoding:
        """The part of these options that an encoder works by."""
        return Encoding(self.device, self.cache, self.cache_limit, self.progress)

    @property
    def threads(self) -> int:
        """Number of decoding threads, at least 1."""
        return self.workers or allowed()


DEFAULT = ReadOptions()


def typed(values: Mapping[str, Any], kinds: Mapping[str, Callable[[Any], Any]], what: str) -> dict[str, Any]:
    """JSON values in the types that a record has.

    Args:
        values: by name.
        kinds: what checks and converts the value of each name that is known; it raises TypeError.
        what: what to call a name in a message.

    Raises:
        InputError: a name that is not known, or a value of another type.
    """
    found = {}
    for name, value in values.items():
        if name not in kinds:
            raise unknown(what, str(name), kinds)
        try:
            found[name] = kinds[name](value)
        except TypeError as error:
            raise InputError(f"the {what} {name!r} is {value!r} in the record; it must be {error}") from None
    return found


def whole(value: Any) -> int:
    """A whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("a whole number")
    return value


def text(value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise TypeError("a text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false")
    return value


def _whole_or_none(value: Any) -> int | None:
    return None if value is None else whole(value)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError("a list of texts")
    return tuple(map(text, value))


_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "image_size": _whole_or_none,
    "unlabelled": _whole_or_none,
    "augment": text,
    "encoder": text,
    "label": text,
    "weight": text,
    "text": text,
    "columns": _texts,
    "drop": _texts,
    "annotators": _texts,
    "answers": lambda value: Path(text(value)),
    "merge_labels": _flag,
    "keep_na": _flag,
    "group": text,
    "task": text,
    "separator": text,
}


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Path):
        return str(value)
    return value if value is None or isinstance(value, int | str) else value.name  # of an encoder


def column_names(given: str | None, flag: str) -> tuple[str, ...]:
    """``--columns`` or ``--drop``: names with commas.

    Raises:
        InputError: an empty name.
    """
    names = () if given is None else tuple(name.strip() for name in given.split(","))
    if not all(names):
        raise InputError(f"{flag} {given}: give names of columns with commas, such as age,job")
    return names


def annotator_options(given: str | None) -> dict[str, Any]:
    """``--annotators`` as options of reading: names of columns with commas, or a table of answers.

    Raises:
        InputError: fewer than two columns, or no such file.
    """
    if given is None:
        return {}
    if is_table(given):
        if not Path(given).is_file():
            raise InputError(f"--annotators {given}: there is no such file")
        return {"answers": Path(given)}
    names = [name.strip() for name in given.split(",")]
    if len(names) < 2 or not all(names):
        raise InputError(
            f"--annotators {given}: give two columns or more with commas, or a table such as .csv or .parquet"
        )
    return {"annotators": tuple(names)}
