"""Labels in the user's own type to class indices and back."""

from __future__ import annotations

import numbers
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import column_or_1d
from torch import Tensor

from codivide.core.errors import InputError, TrainingWarning, either, nearest, option
from codivide.core.types import UNLABELLED, Labels
from codivide.data.commas import Commas

NO_Y = "codivide requires y to be passed, but the target y is None: pass one label a row."  # scikit-learn asks for it
MISSING_TEXT = ("", "nan", "NaN", "None")
MISSING_ALWAYS = ("",)  # also where "nan" and "None" are classes
NO_LABEL = ("unlabelled", "unlabeled")  # folders and splits of samples without a label
HELD_OUT = ("test", "val", "valid", "validation")  # splits to test on; the first that there is
_TAKEN = "(fit also takes --unlabelled none)"
_WITH_POINT = re.compile(r"\A([+-]?\d+)\.0+\Z")

Names = Sequence[object] | Callable[[int], str]


def unmasked(values: Any, kind: type = object) -> Any:
    """A masked array as a plain one of a kind, None or NaN where it is masked; anything else as it is."""
    if not isinstance(values, np.ma.MaskedArray):
        return values
    found: NDArray[Any] = np.array(values.data, dtype=kind)
    found[np.ma.getmaskarray(values)] = None if kind is object else np.nan
    return found


@dataclass(frozen=True)
class LabelNotes:
    """What was made of labels when they were read.

    Attributes:
        missing: how often each value was read as "no label": a text in quotes, or "no value" for None and NaN.
        merged: of each class that others were merged into, how often each other spelling came.
        commas: what commas in them are, where they are numbers: "decimal", "thousands", or "" for none.
        columns: of the table that is learned from that hold them, see ``label_copies``.
        gaps: columns whose empty cells tell one class from the others, see there.
    """

    missing: Mapping[str, int] = field(default_factory=dict)
    merged: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    commas: Commas = ""
    columns: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; without what is empty."""
        return {name: value for name, value in asdict(self).items() if value}


class OneClassError(InputError):
    """All labels are alike.

    Attributes:
        what: what the labels are called.
        classes: the one class; none where there is no label at all.
    """

    def __init__(self, message: str, what: str, classes: tuple[Any, ...]) -> None:
        super().__init__(message)
        self.what, self.classes = what, classes


def encode(
    labels: object,
    *,
    unlabelled: int | None = UNLABELLED,
    classes: Sequence[Any] | None = None,
    what: str = "y",
    names: Names | None = None,
    merge: bool = False,
    keep_na: bool = False,
) -> tuple[Labels, tuple[Any, ...]]:
    """Turn labels into class indices.

    Args:
        labels: ``[N]`` ints, strings, bools, whole floats or categories. None, NaN, the empty string, the texts
            "nan", "NaN" and "None", masked entries and the value ``unlabelled`` mean that there is no label.
        unlabelled: the value that means "no label", as a number or written out; None switches it off.
        classes: the classes in order, where they are known; else the sorted different labels.
        what: what to call the labels in a message.
        names: what to call each row in a message, besides its number; a function gives all that there is to say.
        merge: texts that are ``alike`` are one class: one of ``classes``, else the most frequent of them.
        keep_na: the texts "nan", "NaN" and "None" are classes.

    Returns:
        Labels ``[N]`` in ``0 .. len(classes) - 1``, -1 where there is no label, and the classes.

    Raises:
        InputError: labels that are not classes, mix types, hold one class only, or are not in ``classes``.
    """
    values = _column(labels, what)
    empty = _empty(values, keep_na=keep_na)
    if unlabelled is not None and classes is None:
        check_signs(values[~empty], unlabelled, what)
    missing = empty | _equals(values, unlabelled)
    present = _homogeneous(values[~missing], np.flatnonzero(~missing), what, names)
    if present.dtype.kind == "f" and empty.any():
        present = present.astype(np.int64)  # whole numbers that became floats only to hold NaN
    if merge and present.dtype.kind == "U":
        present = _merged(present, classes)
    different, inverse = np.unique(present, return_inverse=True)
    if classes is None:
        classes = _as_tuple(different)
        if len(classes) < 2:
            found = f"one class only ({classes[0]!r})" if classes else "no label at all: not one class"
            named = sorted({value.strip() for value in values[empty] if isinstance(value, str)} - {""})
            found += (
                f" ({', '.join(map(repr, named))} means 'no label' unless they are kept: {option('keep_na', True)})"
                * bool(named)
            )
            raise OneClassError(f"{what} holds {found}; training needs rows of at least two classes", what, classes)
        places = np.arange(len(classes), dtype=np.int64)
    else:
        rows = np.flatnonzero(~missing)
        first = [int(rows[inverse == k][0]) for k in range(len(different))]
        places = _places(_as_tuple(different), first, tuple(classes), what, names)
    indices = np.full(len(values), UNLABELLED, dtype=np.int64)
    indices[~missing] = places[inverse] if len(different) else 0
    return indices, tuple(classes)


def notes(labels: object, *, merge: bool = False, keep_na: bool = False, what: str = "y") -> LabelNotes:
    """What ``encode`` makes of these labels: what it reads as missing, and what it merges.

    Args:
        labels: as for ``encode``.
        merge: as there.
        keep_na: as there.
        what: what to call the labels in a message.
    """
    values = _column(labels, what)
    empty = _empty(values, keep_na=keep_na)
    missing = [repr(value.strip()) if isinstance(value, str) else "no value" for value in values[empty].tolist()]
    texts = [value for value in values[~empty].tolist() if isinstance(value, str)] if merge else []
    counts = Counter(texts)
    merged: dict[str, dict[str, int]] = {}
    for spelling, kept in spellings(counts).items():
        if spelling != kept:
            merged.setdefault(kept, {})[spelling] = counts[spelling]
    return LabelNotes(dict(Counter(missing).most_common()), merged)


def alike(name: str) -> str:
    """What names have in common that differ only by case, white space or Unicode form (composed or decomposed).

    A whole number is the same with a point and zeros behind it, as programs write it where cells are empty: 1 and 1.0.
    """
    plain = unicodedata.normalize("NFC", " ".join(unicodedata.normalize("NFC", name).casefold().split()))
    return _WITH_POINT.sub(r"\1", plain)


def twins(names: Iterable[str]) -> list[list[str]]:
    """The groups of at least two different names that are ``alike``, each in order."""
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(alike(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def same_classes(names: Sequence[Any]) -> Labels | None:
    """A number ``[C]`` for each class, equal for texts that are ``alike``; None: all classes differ."""
    keys = [alike(name) if isinstance(name, str) else (name,) for name in names]
    places = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    return None if len(places) == len(keys) else np.array([places[key] for key in keys])


def spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """For each text that which stands for all that are ``alike``: the most frequent one, of several the first."""
    kept = {name: name for name in counts}
    for group in twins(counts):
        most = max(group, key=counts.__getitem__)
        kept |= dict.fromkeys(group, most)
    return kept


def _merged(present: NDArray[Any], classes: Sequence[Any] | None) -> NDArray[Any]:
    """Texts ``[M]`` in the spelling that stands for them: that of one of the classes, else the most frequent one."""
    different, inverse, counts = np.unique(present, return_inverse=True, return_counts=True)
    names = different.tolist()
    if classes is None:
        kept = spellings(dict(zip(names, counts.tolist(), strict=True)))
    else:
        known = {alike(name): name for name in reversed(classes) if isinstance(name, str)}
        kept = {name: name if name in classes else known.get(alike(name), name) for name in names}
    return np.array([kept[name] for name in names], dtype=str)[inverse]


def warn_about_unused(source: Path, names: Sequence[str]) -> None:
    """Say that there are more held-out parts than the one that is used."""
    if names:
        warnings.warn(f"{source}: {', '.join(names)} is not used: there is another test part.", stacklevel=4)


def missing_texts(*, keep_na: bool) -> tuple[str, ...]:
    """The texts that mean "no label"."""
    return MISSING_ALWAYS if keep_na else MISSING_TEXT


def row_name(row: int, names: Names | None) -> str:
    """``row 3`` or ``row 3 (cat/1.png)``, or whatever the function ``names`` says."""
    if callable(names):
        return names(row)
    return f"row {row}" if names is None else f"row {row} ({names[row]})"


def _column(labels: object, what: str) -> NDArray[Any]:
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    elif isinstance(labels, np.ma.MaskedArray):
        labels = np.array(labels.tolist(), dtype=object)  # None where masked
    elif isinstance(labels, list | tuple):  # through object: NumPy would write NaN among strings as the text "nan"
        labels = np.array([item.item() if isinstance(item, Tensor) else item for item in labels], dtype=object)
    elif isinstance(labels, pd.Series | pd.Index | pd.DataFrame):
        labels = labels.to_numpy()
    try:
        values: NDArray[Any] = column_or_1d(np.asarray(labels), warn=True)
    except ValueError as error:
        raise InputError(f"{what}: {str(error).partition(chr(10))[0]}") from error  # complex ones are listed below
    refuse_several(values, what)
    return values.astype(str) if values.dtype.kind == "S" else values


def several() -> str:
    """Who takes several labels a row."""
    python = "NoisyMultiLabelClassifier, or for score_labels and noise_report with task='multilabel'"
    return f"several labels a row are for {either('codivide fit with --task multilabel', python)}"


def refuse_several(values: NDArray[Any], what: str) -> None:
    """InputError that names the first of labels ``[N]`` that is a list or the like."""
    if values.dtype.kind == "O":
        for row, value in enumerate(values.tolist()):
            if isinstance(value, list | tuple | set | dict | np.ndarray):
                raise InputError(f"{what}: row {row} is {value!r:.80}, which is not one class; {several()}")


def _empty(values: NDArray[Any], *, keep_na: bool) -> NDArray[np.bool_]:
    if values.dtype.kind in "OU":
        texts = pd.Series(values, dtype=object)
        stripped = texts.map(lambda text: text.strip() if isinstance(text, str) else text)
        return np.asarray(pd.isna(stripped) | stripped.isin(missing_texts(keep_na=keep_na)), dtype=bool)
    return np.asarray(pd.isna(values), dtype=bool)


def _equals(values: NDArray[Any], unlabelled: int | None) -> NDArray[np.bool_]:
    if unlabelled is None or values.dtype.kind == "b":
        return np.zeros(len(values), dtype=bool)
    if values.dtype.kind in "OU":
        written = (str(unlabelled), f"{unlabelled}.0")
        same = [
            value.strip() in written
            if isinstance(value, str)
            else isinstance(value, numbers.Real) and not isinstance(value, bool) and value == unlabelled
            for value in values.tolist()
        ]
        return np.array(same, dtype=bool)
    return np.asarray(values == unlabelled, dtype=bool)


def check_signs(values: NDArray[Any], unlabelled: int, what: str) -> None:
    """Look for labels ``[N]`` among which -1 is a class, surely or maybe, although it means "no label".

    Args:
        values: the labels that are there.
        unlabelled: the value that means "no label".
        what: what to call the labels in a message.

    Raises:
        InputError: they are -1 and 1; a warning where they are -1, 0 and 1.
    """
    if unlabelled != UNLABELLED:
        return
    counts = Counter(values.tolist())
    if set(counts) == {-1, 1}:
        raise InputError(
            f"{what} holds exactly -1 and 1, and -1 means 'no label' here, which leaves one class only. "
            "If they are two classes " + either(f"call them 0 and 1 {_TAKEN}", "pass unlabelled=None")
        )
    if set(counts) == {-1, 0, 1} and 2 * counts[-1] < len(values):
        warnings.warn(
            f"{what} holds -1, 0 and 1, and the {counts[-1]:,} rows with -1 are taken for rows without a label. If "
            "that is a class, as of sentiments, " + either(f"call it otherwise {_TAKEN}", "pass unlabelled=None"),
            TrainingWarning,
            stacklevel=4,
        )


def _homogeneous(present: NDArray[Any], rows: Labels, what: str, names: Names | None) -> NDArray[Any]:
    """Labels as one array of bools, ints, whole floats or strings."""
    if present.dtype.kind == "O":
        kind = pd.api.types.infer_dtype(present, skipna=False)
        casts = {"string": "U", "boolean": "?", "integer": "i8", "floating": "f8", "mixed-integer-float": "f8"}
        if kind == "empty":
            return present.astype("U")
        if kind not in casts:
            kinds = pd.Series(present).map(lambda value: type(value).__name__)
            if kinds.nunique() == 1:
                raise InputError(
                    f"Unknown label type: {what} holds values of type {kinds.iloc[0]}, such as {present[0]}; use "
                    f"integers or strings ({what}.astype(str))"
                )
            other = int(np.argmax(kinds.to_numpy() != kinds.iloc[0]))
            raise InputError(
                f"Unknown label type: {what} must be all numbers or all strings, but has {present[0]!r} in "
                f"{row_name(int(rows[0]), names)} and {present[other]!r} in {row_name(int(rows[other]), names)}"
            )
        try:
            present = present.astype(casts[kind])
        except OverflowError as error:
            raise InputError(f"Unknown label type: {what} holds an integer of more than 64 bits") from error
    if present.dtype.kind == "f":
        wrong = np.flatnonzero(present != np.floor(present))
        infinite = np.flatnonzero(np.isinf(present))
        if len(infinite) or len(wrong):
            row = int((infinite if len(infinite) else wrong)[0])
            raise InputError(
                f"Unknown label type: continuous. {what} must hold classes, but {row_name(int(rows[row]), names)} "
                f"is {present[row]}, not a whole number"
            )
    if present.dtype.kind not in "biufU":
        raise InputError(f"Unknown label type: {what} has dtype {present.dtype}; use integers or strings")
    return present


def _as_tuple(different: NDArray[Any]) -> tuple[Any, ...]:
    """Python values where NumPy gives the dtype back from them, else NumPy scalars."""
    plain = different.tolist()
    if different.dtype.kind == "U" or np.asarray(plain).dtype == different.dtype:
        return tuple(plain)
    return tuple(different)


def _places(
    different: tuple[Any, ...],
    first: list[int],
    classes: tuple[Any, ...],
    what: str,
    names: Names | None,
) -> Labels:
    """Index in ``classes`` of each different label; a number also finds the string that writes it."""
    table: dict[Hashable, int] = {name: index for index, name in enumerate(classes)}
    if len(table) < len(classes):
        raise InputError(f"{option('classes')} holds a name twice: {list(classes)}")
    places = [table.get(label, table.get(str(label), -1)) for label in different]
    for label, place, row in zip(different, places, first, strict=True):
        if place < 0:
            listed = ", ".join(map(repr, classes[:10])) + (", ..." if len(classes) > 10 else "")
            raise InputError(
                f"{what}: label {label!r} in {row_name(row, names)} is not one of the {len(classes)} classes "
                f"({listed}).{nearest(label, classes)}"
            )
    return np.array(places, dtype=np.int64)
