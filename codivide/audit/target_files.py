"""Numbers, or several labels a row, and somebody's predictions of them in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from codivide.audit.probs_files import Labelled, aligned, array_of, check_files, is_array, labels_of
from codivide.audit.reading import as_floats
from codivide.audit.target_judging import check_task
from codivide.core.errors import InputError
from codivide.core.files import expand_user
from codivide.core.words import first_few
from codivide.data.cells import is_textual, numbers
from codivide.data.database import is_database
from codivide.data.options import REGRESSION, ReadOptions
from codivide.data.record import DataRecord
from codivide.data.table_columns import TEXT_COLUMNS
from codivide.data.table_files import is_table
from codivide.data.tables import read_table

_USUAL = ("prediction", "predictions", "predicted", "pred", "y_pred")  # what the column of predictions may be called


class BroughtTargets(NamedTuple):
    """Targets with what somebody's models said of them."""

    labelled: Labelled
    said: Any  # predictions [N], or of several labels probabilities: [N, K] or a data frame with a column a label
    options: ReadOptions
    source: DataRecord  # of the targets


def bring_targets(source: str, files: Sequence[Path], options: ReadOptions) -> BroughtTargets:
    """The targets of a source, and the predictions that files hold of them: of several models of numbers the mean.

    Args:
        source: a table with a column of targets (or a manifest of image files with one).
        files: an array (.npy, .npz), or a table with a column of predictions, of several labels with a column for each.
            Rows go by what names them in both (``id``, ``path`` or ``text``), else by their order.
        options: the task, and which column of the source is what.

    Raises:
        InputError: targets or predictions that cannot be read, or do not fit each other; it names the file.
    """
    check_task(options.task)
    check_files(files)
    if len(files) > 1 and options.task != REGRESSION:
        raise InputError("--probs: of several labels a row give one file; the mean is taken of numbers and of classes")
    labelled = labels_of(source, options)
    said = [_of_file(expand_user(file), labelled, source, options) for file in files]
    mean = said[0] if len(said) == 1 else np.mean([as_floats(part, "predictions") for part in said], axis=0)
    return BroughtTargets(labelled, mean, options, DataRecord.of(source, options))


def _of_file(path: Path, labelled: Labelled, source: str, options: ReadOptions) -> Any:
    """The predictions of one file, in the order of the targets."""
    said: Any = array_of(path, "predictions") if is_array(path) else _of_table(path, labelled, source, options)
    if options.task == REGRESSION and np.ndim(said) == 2 and np.shape(said)[1] == 1:
        said = np.asarray(said)[:, 0]
    if (count := np.shape(said)[0] if np.ndim(said) else 0) != len(labelled.labels):
        raise InputError(f"{path} has {count:,} rows, but {source} has {len(labelled.labels):,}; give one for each")
    bad = ~np.isfinite(as_floats(said, str(path))).reshape(len(labelled.labels), -1).all(1)
    if bad.any():
        raise InputError(f"{path}: the prediction of {labelled.names[int(bad.argmax())]!r} is no finite number")
    return said


def _of_table(path: Path, labelled: Labelled, source: str, options: ReadOptions) -> pd.DataFrame:
    if not is_database(path) and not is_table(path):
        raise InputError(f"{path}: give predictions as .npy, .npz, or a table such as .csv or .parquet")
    table = read_table(path)
    about = [name for name in TEXT_COLUMNS if name in table]
    plain = table.drop(columns=about)
    if options.task == REGRESSION:
        plain = plain[[_column(plain, path)]]
    read = {name: numbers(plain[name]) if is_textual(plain[name]) else plain[name] for name in plain}
    return aligned(pd.DataFrame(read), table[about], path, labelled.keys, Path(source))


def _column(table: pd.DataFrame, path: Path) -> str:
    """The column of predictions: the only one, or that which is called so.

    Raises:
        InputError: there is none, or the file has no line of names.
    """
    names = [str(name) for name in table.columns]
    usual = [name for name in names if name.strip().casefold() in _USUAL]
    if len(names) != 1 and len(usual) != 1:
        raise InputError(
            f"{path} has columns {first_few(names) or 'that name rows alone'}: call that of the predictions "
            "'prediction'"
        )
    found = usual[0] if usual else names[0]
    if pd.notna(pd.to_numeric(found, errors="coerce")):
        raise InputError(f"the first line of {path} holds a prediction, {found}, not a name: write one above it")
    return found
