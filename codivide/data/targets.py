"""What is to be learned besides one class a row: several labels, or a number.

Both are read like classes: the different texts of a column are the classes of ``Loaded``, so that what is missing, test
parts, ids and a person's decisions need no other reader. ``members`` and ``numbers`` then say what the texts mean.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.validation import column_or_1d

from codivide.core.errors import InputError, either, nearest, option
from codivide.core.types import UNLABELLED, Floats, Labels, Mask
from codivide.core.words import counted
from codivide.data.asked import with_said
from codivide.data.cells import LARGEST
from codivide.data.commas import COMMAS_IN_WORDS, Commas, commas_of, pointed
from codivide.data.labels import MISSING_TEXT, NO_Y, OneClassError, unmasked
from codivide.data.loaded import Loaded
from codivide.data.options import CLASSES, MULTILABEL, REGRESSION, ReadOptions
from codivide.data.units import tidy

NONE = "(none)"  # a row that has none of the labels; an empty cell is a row that nobody has labelled
_UNITS = "0123456789.,+-eE "
_DIGITS = 15  # that a number has at most
_MANY = 20  # different numbers from which on they may be no classes
_TAGS = "codivide.tags"


class Members(NamedTuple):
    """Several labels a row.

    Attributes:
        y: ``[N, K]`` int64: 1 where a row has the label, 0 where not, -1 in a row that is not labelled.
        names: of the labels, in the order of the columns that held them, else sorted, numbers by their value.
    """

    y: Labels
    names: tuple[str, ...]


class Written(NamedTuple):
    """Targets in memory as texts.

    Attributes:
        texts: ``[N]``, None where there is no target.
        names: of several labels a row that have a column each, in its order; empty: they have none.
        said: what was read otherwise than it stands there.
    """

    texts: list[str | None]
    names: tuple[str, ...] = ()
    said: tuple[str, ...] = ()

    def of(self, loaded: Loaded) -> Loaded:
        """The data that were read with these texts, which know the columns."""
        return replace(loaded, tags=self.names, said=(*loaded.said, *self.said))


def options_for(options: ReadOptions) -> ReadOptions:
    """How targets are read: no number means "no label" where numbers are learned."""
    return options if options.task == CLASSES else replace(options, unlabelled=None)


def all_alike(error: OneClassError, task: str) -> InputError:
    """What is wrong where all targets are alike, in the words of the task."""
    if not error.classes:
        return InputError(f"{error.what} holds no target at all; an empty cell is a row that has none")
    said = "all targets are" if task == REGRESSION else "all rows have the labels"
    return InputError(
        f"{error.what}: {said} {error.classes[0]!s}, which is no more than one sample: there is nothing to learn"
    )


def with_points(loaded: Loaded, commas: Commas = "") -> Loaded:
    """Data whose targets are texts of numbers with a decimal point, however their column writes them.

    The decimal mark of a column is found here, once. Whoever comes later (learner, label table, decisions, cleaned
    data) knows points alone, so that "1.219,5" is 1219.5 everywhere and a decision of 12.345 stays one.

    Args:
        loaded: data read for regression; parts with the same targets are written alike.
        commas: what they are, where that is known, as from the training part; "": what ``commas_of`` finds.
    """
    known = tuple(loaded.classes)
    texts = pd.Series([str(name).strip() for name in known], dtype=object)
    commas = commas or commas_of(texts)
    written = pointed(texts, commas).tolist() if commas else [str(name) for name in known]
    written = [bare if _number(bare := tidy(text)) is not None else text for text in written]
    classes = tuple(dict.fromkeys(written))  # "1,5" and "1.5" are one
    place = {text: code for code, text in enumerate(classes)}
    codes = np.array([*(place[text] for text in written), UNLABELLED], dtype=np.int64)

    def part(one: Loaded | None) -> Loaded | None:
        if one is None or tuple(one.classes) != known:
            return one
        return replace(one, y=codes[one.y], classes=classes)

    notes, said = replace(loaded.labels_read, commas=commas), loaded.said
    if shown := next((pair for pair in zip(texts, written, strict=True) if pair[0] != pair[1]), None):
        what = COMMAS_IN_WORDS.get(commas, "another form")
        said = (*said, f"the targets have {what}: {shown[0]} is {shown[1]}")
    found = replace(loaded, y=codes[loaded.y], classes=classes, labels_read=notes, said=said)
    return replace(found, test=part(loaded.test), validation=part(loaded.validation))


def numbers(loaded: Loaded, what: str = "target") -> Floats:
    """The targets ``[N]`` of data that was read for regression (``with_points``); NaN where there is none.

    Raises:
        InputError: a text that is no finite number; it names the row.
    """
    values = [_number(str(name).strip()) for name in loaded.classes]
    for code, value in enumerate(values):
        if value is None:
            raise InputError(_no_number(str(loaded.classes[code]), _where(loaded, code), what))
        if abs(value) > LARGEST:
            raise InputError(
                f"{_where(loaded, code)}: the {what} {value:g} is too large to compute with; leave the cell empty "
                "where there is none"
            )
    known = np.array([*values, math.nan], dtype=np.float64)
    found: Floats = known[loaded.y]
    return found


def members(loaded: Loaded, separator: str, names: Sequence[str] | None = None) -> Members:
    """The labels of data that was read for several of them.

    Args:
        loaded: the data.
        separator: between the labels of a row.
        names: the labels, where they are known (a test part); None: ``loaded.tags``, else those of the texts, sorted,
            numbers by their value.

    Raises:
        InputError: no label at all, or one that is not among ``names``.
    """
    sets = [parts(str(text), separator) for text in loaded.classes]
    found = tuple(names or loaded.tags) or _sorted({name for one in sets for name in one})
    if not found:
        raise InputError(f"{loaded.name}: no row has a label; separate them with {separator!r} ({option('separator')})")
    place = {name: k for k, name in enumerate(found)}
    table = np.zeros((len(sets) + 1, len(found)), dtype=np.int64)
    table[-1] = UNLABELLED
    for row, one in enumerate(sets):
        for name in one:
            if name not in place:
                raise InputError(f"{loaded.name}: no such label {name[:80]!r} in training.{nearest(name, found)}")
            table[row, place[name]] = 1
    return Members(table[loaded.y], found)


def _sorted(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=int if all(map(str.isdecimal, names)) else str))


def parts(text: str, separator: str) -> list[str]:
    """The labels in a text, without empty ones; each once, in their order."""
    if text.strip() == NONE:
        return []
    return list(dict.fromkeys(name for part in text.split(separator) if (name := part.strip())))


def joined(names: Iterable[str], separator: str) -> str:
    """The text of several labels."""
    return separator.join(names) or NONE


def number_text(value: float, spread: float) -> str:
    """A number as the label table has it: to a thousandth of its spread, and never rounded above the units."""
    digits = max(0, 3 - math.floor(math.log10(spread)))
    if digits > _DIGITS or abs(value) > 10.0**_DIGITS:
        return repr(value)
    text = f"{value:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def texts_of(y: Any, options: ReadOptions) -> Written:
    """Targets in memory as texts.

    Args:
        y: for several labels a matrix ``[N, K]`` of 0 and 1 (dense, sparse or a data frame) or a list of labels for
            each row, None where a row is not labelled; for numbers ``[N]``, NaN or None where there is none.
        options: the task and the separator.

    Raises:
        InputError: another shape, or values that are no such thing; it names the row.
    """
    if y is None:
        raise InputError(NO_Y)
    if options.task == REGRESSION:
        return Written(_texts_of_numbers(y))
    return _texts_of_sets(y, options.separator)


def _texts_of_numbers(y: Any) -> list[str | None]:
    values = y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else y
    values = unmasked(values)
    array = values.to_numpy() if isinstance(values, pd.Series | pd.DataFrame) else np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = column_or_1d(array, warn=True)
    if array.ndim != 1:
        raise InputError(f"y has shape {array.shape}; a number for each sample is needed, [samples]")
    _check_real(array)
    found: list[str | None] = []
    for row, value in enumerate(array.tolist() if array.dtype.kind in "iub" else list(array)):
        if value is None or value is pd.NA or (isinstance(value, float | np.floating) and np.isnan(value)):
            found.append(None)
        elif isinstance(value, str):
            found.append(None if value.strip() in MISSING_TEXT else value)
        elif isinstance(value, float | np.floating) and np.isinf(value):
            raise InputError(f"y: target {row} is infinity; a finite number is needed, or NaN where there is none")
        else:
            found.append(str(value).removesuffix(".0"))
    return found


def _texts_of_sets(y: Any, separator: str) -> Written:
    if isinstance(y, torch.Tensor):
        y = y.detach().cpu().numpy()
    names = tuple(map(str, y.columns)) if isinstance(y, pd.DataFrame) else None
    if sparse.issparse(y):
        y = y.toarray()
    texts = isinstance(y, np.ndarray) and y.dtype.kind in "OUT" and y.ndim == 1
    ragged = texts or isinstance(y, list | tuple | pd.Series)
    if ragged and not _is_matrix(y):
        plain, _ = _unlisted(list(y), separator)
        return Written([_text_of_set(row, value, separator) for row, value in enumerate(plain)])
    array = _matrix(y)
    if array.ndim != 2:
        raise InputError(
            f"Unknown label type: y has shape {array.shape}; several labels a row are a matrix [samples, labels] of 0 "
            "and 1, or a list of labels for each row. One class a row is what NoisyLabelClassifier learns"
        )
    there: Mask = np.asarray(~np.isnan(array), dtype=bool)
    bad = np.argwhere(there & (array != 0) & (array != 1))
    if len(bad):
        row, column = bad[0]
        raise InputError(f"y[{row}, {column}] is {array[row, column]:g}; 1: the row has the label, 0: it has not")
    names = names or tuple(str(k).zfill(len(str(array.shape[1] - 1))) for k in range(array.shape[1]))
    _check_names(names, separator)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"two columns of labels are called {twice!r}; give each a name of its own")
    known: Mask = np.asarray(there.all(axis=1), dtype=bool)
    rows = [
        joined((names[k] for k in np.flatnonzero(values)), separator) if full else None
        for values, full in zip(array, known, strict=True)
    ]
    return Written(rows, names, _partly(there, names))


def _partly(there: Mask, names: Sequence[str]) -> tuple[str, ...]:
    """What is said of rows of which some labels are known and some are not; ``there`` is ``[N, K]``."""
    rows = there.any(axis=1) & ~there.all(axis=1)
    if not rows.any():
        return ()
    row = int(rows.argmax())
    lacking = "row has some of its labels and lacks", "rows have some of their labels and lack"
    return (
        f"{counted(int(rows.sum()), *lacking)} others (the first: row {row}, no value for "
        f"{names[int((~there[row]).argmax())]!r}); such a row counts as not labelled, since a row is judged as a whole",
    )


def _matrix(y: Any) -> Floats:
    """A table of numbers, NaN where nothing stands."""
    try:
        if isinstance(y, pd.DataFrame):
            return y.to_numpy(dtype=np.float64, na_value=np.nan)
        array = np.asarray(y)
        _check_real(array)
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"y is no matrix of 0 and 1, and no list of labels for each row: {error}") from None


def _check_real(y: NDArray[Any]) -> None:
    if y.dtype.kind == "c":
        raise InputError("Complex data not supported: y must hold real numbers")


def _is_matrix(y: Any) -> bool:
    """Whether a list of rows is a matrix of 0 and 1: at least two numbers in each, all of one length."""
    rows = list(y)
    if not rows or not all(isinstance(row, list | tuple | np.ndarray) for row in rows):
        return False
    sizes = {len(row) for row in rows}
    there = {value for row in rows for value in row if value is not None and value == value}  # NaN is not itself
    return len(sizes) == 1 and sizes.pop() > 1 and there <= {0, 1}


def _text_of_set(row: int, value: Any, separator: str) -> str | None:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return value if value.strip() else None
    if not isinstance(value, list | tuple | set | frozenset | np.ndarray):
        raise InputError(f"y: row {row} is {value!r}; give a list of its labels, [] where it has none")
    names = [str(name) for name in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    _check_names(names, separator)
    return joined(names, separator)


def _check_names(names: Iterable[str], separator: str) -> None:
    for name in names:
        if separator in name or not name.strip() or name.strip() == NONE:
            raise InputError(f"a label is called {name!r}, which is empty or holds the separator {separator!r}")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def as_numbers(column: pd.Series[Any]) -> pd.Series[float]:
    """A column of the label table that holds texts of numbers (``with_points``) as numbers; NaN where there is none."""
    return column.map(lambda text: math.nan if pd.isna(text) else float(text)).astype(np.float64)


def decided_number(text: str) -> str | None:
    """What a person typed for a number, with a decimal point; None where it is no number.

    A person types "12.5" or "12,5", and nothing between thousands.
    """
    found = text.strip().replace(",", ".")
    return None if _number(found) is None else found


def _where(loaded: Loaded, code: int) -> str:
    """The first row that has this target."""
    rows = np.flatnonzero(loaded.y == code)
    if not len(rows):
        return loaded.name
    row = int(rows[0])
    name = loaded.ids[row]
    return f"{loaded.name}: row {row}" + (f" ({name})" if str(name) != str(row) else "")


def _no_number(text: str, where: str, what: str) -> str:
    """The message for a text that is no number, with what may have been meant."""
    stripped = text.strip().rstrip("%°€$£")
    start = stripped.lstrip("€$£ ")
    digits = start[: next((k for k, letter in enumerate(start) if letter not in _UNITS), len(start))].strip(" eE")
    unit = digits and digits != text.strip() and _number(digits.replace(",", "")) is not None
    hint = f"write {digits.replace(',', '')}, without unit" if unit else "leave the cell empty where there is none"
    return f"{where}: the {what} {text[:80]!r} is no finite number; {hint}"


def proposal(loaded: Loaded) -> str | None:
    """What the classes of a data set may be instead: numbers, or several labels in one; None: classes."""
    found = _instead([str(name) for name in loaded.classes], int((loaded.y >= 0).sum()))
    return None if found is None else f"{found[0]}: {found[1]}"


def task_flags(column: pd.Series[Any]) -> str:
    """The flags with which a column that holds numbers or several labels is read as such; "": it may hold classes."""
    texts = [text for cell in column.dropna().tolist() if (text := str(cell).strip()) not in MISSING_TEXT]
    found = _instead(list(dict.fromkeys(texts)), len(texts))
    return "" if found is None else found[1]


def _instead(names: Sequence[str], labelled: int) -> tuple[str, str] | None:
    """What so many labels, of these classes, may be instead, in words and as flags; None: classes."""
    values = [_number(name) for name in names]
    if len(names) >= _MANY and all(value is not None for value in values):
        whole = all(float(value or 0).is_integer() for value in values)
        if not whole or len(names) > max(_MANY, labelled / 3):
            return f"the labels are {len(names):,} different numbers; to predict a number", either(
                f"--task {REGRESSION}", "NoisyLabelRegressor"
            )
    if (found := _separated(names, (";", "|"))) is not None:
        separator, count = found
        said = "" if separator == ";" else either(f" --separator '{separator}'", f"(separator={separator!r})")
        told = either(f"--task {MULTILABEL}", "NoisyMultiLabelClassifier") + said
        return f"{counted(count, 'class holds', 'classes hold')} {separator!r}; several labels a row", told
    return None


def other_separator(loaded: Loaded, separator: str) -> str | None:
    """What is said of texts that hold several labels with something else than the separator between; None: none do."""
    names = [str(name) for name in loaded.classes]
    if loaded.tags or any(separator in name for name in names):
        return None
    found = _separated(names, (";", "|", ","))
    if found is None:
        return None
    text = f"no row has {separator!r} between labels, but {found[1]:,} different ones have {found[0]!r}"
    return f"{text}: {option('separator')}?"


def _separated(names: Sequence[str], separators: Sequence[str]) -> tuple[str, int] | None:
    """What stands between parts that half of the names share, and in how many names; None: nothing does."""
    for separator in separators:
        several = [parts(name, separator) for name in names if separator in name]
        if several and len(several) * 2 >= len(names) and len({part for one in several for part in one}) < len(names):
            return separator, len(several)
    return None


def several_columns(table: pd.DataFrame, options: ReadOptions, where: object) -> pd.DataFrame:
    """A table whose labels stand in a column each (``--label a,b,c``, 0 or 1) with one column of them, ``a;b``."""
    if options.task != MULTILABEL or "," not in options.label or options.label in table:
        return table
    names = [name.strip() for name in options.label.split(",")]
    gone = [name for name in names if name not in table]
    if gone:
        listed = ", ".join(map(str, table.columns))[:300]
        raise InputError(f"{where} has no column {gone[0]!r} of labels (columns: {listed})")
    values = table[names].apply(pd.to_numeric, errors="coerce")
    wrong = table[names].notna() & ~values.isin([0, 1])
    wrong &= table[names].map(lambda cell: str(cell).strip() not in MISSING_TEXT)
    if wrong.to_numpy().any():
        row, column = np.argwhere(wrong.to_numpy())[0]
        cell = table[names].iloc[row, column]
        raise InputError(f"{where}: row {row}, column {names[column]!r} is {cell!r}; 1: the row has the label, 0: not")
    written = _texts_of_sets(values, options.separator)
    texts = pd.Series(written.texts, index=table.index, dtype=object)
    found = with_said(table.drop(columns=names).assign(**{options.label: texts}), list(written.said))
    found.attrs[_TAGS] = written.names
    return found


def listed_labels(table: pd.DataFrame, options: ReadOptions) -> pd.DataFrame:
    """A table whose labels are lists, or texts of lists as pandas and JSON write them, with texts ``a;b`` for them."""
    if options.task != MULTILABEL or options.label not in table:
        return table
    cells = table[options.label].tolist()
    written, lists = _unlisted(cells, options.separator)
    if not lists:
        return table
    first = next(k for k, cell in enumerate(cells) if _list_in(cell) is not None)
    few = counted(lists, "row has its", "rows have their")
    said = f"{few} labels as a list: {str(cells[first])[:80]} is {str(written[first])[:80]}"
    texts = pd.Series(written, index=table.index, dtype=object)
    return with_said(table.assign(**{options.label: texts}), [said])


def _unlisted(cells: Sequence[Any], separator: str) -> tuple[list[Any], int]:
    """Cells with texts in the place of lists, and how many were such."""
    found = [_list_in(cell) for cell in cells]
    written = [
        cell if names is None else _text_of_set(row, names, separator)
        for row, (cell, names) in enumerate(zip(cells, found, strict=True))
    ]
    return written, sum(names is not None for names in found)


def _list_in(cell: Any) -> list[Any] | None:
    """The labels of a cell that is a list, or the text of one: ``['a', 'b']``, ``["a"]``, ``[]``; None: it is none."""
    if isinstance(cell, list | tuple | np.ndarray):
        return list(cell)
    if not isinstance(cell, str) or not (cell.strip().startswith("[") and cell.strip().endswith("]")):
        return None
    try:
        found = ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, list) and all(isinstance(name, str | int) for name in found) else None


def tags_of(table: pd.DataFrame) -> tuple[str, ...]:
    """The labels that had a column each, in its order, in a table of ``several_columns``; empty: they had none."""
    found: tuple[str, ...] = table.attrs.get(_TAGS, ())
    return found
