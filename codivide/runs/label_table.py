"""The label table: for every sample its given label, the suggested one, and how likely the given one is clean.

``COLUMNS`` is its schema. Whoever writes, reads or describes the table takes names and kinds from there; the audit's
checks bring their own columns (see ``codivide.audit.checks``), which are described alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from codivide.core.errors import InputError
from codivide.core.files import atomic, guard, is_present, reading, unguard
from codivide.core.types import AnyFloats, Labels

CSV, PARQUET = FILES = "labels.csv", "labels.parquet"
TEST_CSV, TEST_PARQUET = TEST_FILES = "labels_test.csv", "labels_test.parquet"  # of the test part, the same columns
PATH, ID = "path", "id"
GIVEN, SUGGESTED, TRUE_LABEL = "given", "suggested", "true_label"
CLEAN_PROB, SUGGESTED_PROB, LABEL_QUALITY = "clean_prob", "suggested_prob", "label_quality"
RANK, TEXT, CONFIRMED = "rank", "text", "confirmed"
PART, LEAKED, TWIN = "part", "leaked", "twin"
PREDICTED, LOW, HIGH = "predicted", "predicted_low", "predicted_high"  # of numbers
CHANGES = "label_changes"  # of several labels a row
ISSUE = "is_label_issue"  # of the checks of an audit, and of the test part


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        name: as it stands in the file.
        kind: "class" (a class value in the user's own type), "text", "probability" (or another number in [0, 1]),
            "number" (whole), "real" (any number) or "flag" (true or false).
        meaning: in one sentence, as the documentation has it.
        when: where the column is there; empty: always.
    """

    name: str
    kind: Literal["class", "text", "probability", "number", "real", "flag"]
    meaning: str
    when: str = ""


#: What a run writes, in the order of the file.
COLUMNS = (
    Column(PATH, "text", "the file, relative to the source", "images with names"),
    Column(
        ID,
        "text",
        "the row number, or what a column `id` or the index of pandas (texts or whole numbers) calls it",
        "all others",
    ),
    Column(GIVEN, "class", "the label you gave; empty where there is none"),
    Column(
        SUGGESTED,
        "class",
        "what the label most likely is: the given label where it is likely right, else the answer of the network, or "
        "of your probabilities; by `features` the likeliest other",
    ),
    Column(
        CLEAN_PROB,
        "probability",
        "probability that the given label is right, by the method's own rule and by what the network predicted while "
        "it trained (`codivide.noise.clean_prob.combined`); with `--no-record-learning` by the rule alone; empty where "
        "there is no label",
    ),
    Column(
        RANK,
        "number",
        "1 = the most doubtful label; empty without a label; by `clean_prob`; where you brought the probabilities, "
        "or nothing could be learned (then `clean_prob` is the same for all), by the evidence itself "
        "(`codivide.noise.confidence.log_confidence`), which no class's noise rate shifts",
    ),
    Column(TRUE_LABEL, "class", "the true label", "known truth (experiments)"),
    Column(SUGGESTED_PROB, "probability", "the classifier's probability of its suggestion"),
    Column(
        LABEL_QUALITY,
        "probability",
        "`clean_prob` under the name that cleanlab's tools expect, and in the order of `rank`. Where that is by "
        "`clean_prob`, the two are equal; else the same values are in another order",
    ),
    Column(TEXT, "text", "the sample", "samples that are texts"),
    Column(CONFIRMED, "flag", "a person vouches for the label", "runs with `--corrections`"),
    Column(PREDICTED, "real", "the number that held-out samples predict", "runs with `--task regression`"),
    Column(LOW, "real", "a right number lies above with 95 %", "runs with `--task regression`"),
    Column(HIGH, "real", "a right number lies below with 95 %", "runs with `--task regression`"),
    Column(
        CHANGES,
        "text",
        "what the suggestion adds (`+a`) and takes away (`-b`), the surest first",
        "runs with `--task multilabel`",
    ),
    Column(PART, "text", "`train`, or in `labels_test.csv` `test`", "runs with a test part"),
    Column(LEAKED, "flag", "the other part holds the same sample, exactly or nearly", "runs with a test part"),
    Column(TWIN, "text", "the path or id of the first such sample; empty: there is none", "runs with a test part"),
)
_NEEDED = (GIVEN, SUGGESTED, CLEAN_PROB)  # by every reader; runs of older versions lack some of the others
_CLASSES = tuple(column.name for column in COLUMNS if column.kind == "class")
_TEXTS = tuple(column.name for column in COLUMNS if column.kind in ("class", "text"))  # may hold text


def markdown(columns: Sequence[Column]) -> str:
    """The columns as a table in Markdown, which the documentation holds."""
    lines = ["| column | kind | meaning | where |", "|---|---|---|---|"]
    lines += [
        f"| `{column.name}` | {column.kind} | {column.meaning} | {column.when or 'always'} |" for column in columns
    ]
    return "\n".join(lines) + "\n"


def build(
    ids: Sequence[str | int],
    given: Labels,
    suggested: Labels,
    clean_prob: AnyFloats,
    classes: Sequence[Any],
    *,
    truth: Labels | None = None,
    suggested_prob: AnyFloats | None = None,
    texts: Sequence[str] | None = None,
) -> pd.DataFrame:
    """One row a sample, in the order of the data.

    Args:
        ids: paths, names or numbers of rows, length N.
        given: ``[N]``, -1 where there is no label.
        suggested: ``[N]``.
        clean_prob: ``[N]`` in [0, 1], NaN where there is no label.
        classes: class values.
        truth: true labels ``[N]`` where known, -1 where not.
        suggested_prob: ``[N]`` in [0, 1], the probability of the suggestion.
        texts: of the samples, where they are texts.

    Returns:
        Columns of ``COLUMNS``, in their order; ``true_label``, ``suggested_prob`` and ``text`` where they are given.
    """
    values = np.empty(len(classes) + 1, dtype=object)
    values[:-1] = list(classes)  # index -1 is the None at the end
    columns: dict[str, Any] = {
        ID: list(ids),
        GIVEN: values[given],
        SUGGESTED: values[suggested],
        CLEAN_PROB: clean_prob,
        RANK: pd.Series(clean_prob).rank(method="first").astype("Int64"),
        LABEL_QUALITY: clean_prob,
    }
    if truth is not None:
        columns[TRUE_LABEL] = values[truth]
    if suggested_prob is not None:
        columns[SUGGESTED_PROB] = suggested_prob
    if texts is not None:
        columns[TEXT] = list(texts)
    return pd.DataFrame({column.name: columns[column.name] for column in COLUMNS if column.name in columns})


def ranked(table: pd.DataFrame, evidence: AnyFloats | Labels) -> pd.DataFrame:
    """The table with its labels ranked by evidence ``[N]``, the least first; where it is equal, by p(clean).

    The values of its label quality are put into the same order, since who sorts by it asks which labels are worst.
    """
    clean_prob = table[CLEAN_PROB].to_numpy(dtype=np.float64, na_value=np.nan)
    labelled = np.flatnonzero(~np.isnan(clean_prob))
    order = labelled[np.lexsort((clean_prob[labelled], evidence[labelled]))]
    places = pd.Series(pd.NA, index=table.index, dtype="Int64")
    places.iloc[order] = np.arange(1, len(order) + 1)
    quality = clean_prob.copy()
    quality[order] = np.sort(clean_prob[labelled])
    columns: dict[str, Any] = {RANK: places, LABEL_QUALITY: quality}
    return table.assign(**columns)


def of_images(table: pd.DataFrame) -> pd.DataFrame:
    """The table of samples that are images, whose names are the paths of files."""
    return table.rename(columns={ID: called(table[ID].tolist(), images=True)})


def called(ids: Sequence[Any], *, images: bool) -> str:
    """The name of a column of ids: "path" of images that have names, which are those of files, else "id"."""
    return PATH if images and len(ids) and isinstance(ids[0], str) else ID


def id_column(table: pd.DataFrame) -> str:
    """The name of the column that tells the samples apart: "path" or "id"."""
    return PATH if PATH in table else ID


def is_issue(table: pd.DataFrame) -> pd.Series[bool]:
    """For each row, whether its suggestion differs from its given label.

    Labels that a person has confirmed (column ``confirmed``, of a run with corrections) are no issues.
    """
    wrong: pd.Series[bool] = table[GIVEN].notna() & (table[GIVEN] != table[SUGGESTED])
    return wrong & ~table[CONFIRMED] if CONFIRMED in table else wrong


def issues(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that ``is_issue`` names, the least likely to be clean first."""
    return table[is_issue(table)].sort_values(RANK).reset_index(drop=True)


def write(table: pd.DataFrame, folder: Path, files: tuple[str, str] = FILES) -> None:
    """Write ``labels.csv`` and ``labels.parquet``, or the two ``files`` of the test part, each atomically.

    Texts are guarded against spreadsheets, but those of numbers (``--task regression``) stay numbers: "-7.04".
    """
    plain = _CLASSES if PREDICTED in table else ()
    with atomic(folder / files[0]) as aside:
        names = [c for c in _TEXTS if c in table and c not in plain and _is_text(table[c])]
        safe = {c: table[c].map(guard, na_action="ignore") for c in names}
        table.assign(**safe).to_csv(aside, index=False)
    with atomic(folder / files[1]) as aside:
        text = table.assign(**{c: table[c].astype("string") for c in _CLASSES if _mixed(table, c)})
        text.to_parquet(aside, index=False, write_page_checksum=True)


def read(folder: Path, files: tuple[str, str] = FILES) -> pd.DataFrame:
    """The table that ``write`` wrote; whole numbers stay whole where some are missing.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = folder / files[1]
    if is_present(path):
        with reading(path):
            return _checked(pd.read_parquet(path, dtype_backend="numpy_nullable", page_checksum_verification=True))
    path = folder / files[0]
    if is_present(path):
        with reading(path):
            texts = dict.fromkeys(_TEXTS, "string")
            table = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])
            texts_of = {c: table[c].map(unguard, na_action="ignore") for c in _TEXTS if c in table}
            return _checked(_numbered(table.assign(**texts_of)))
    raise InputError(f"{folder} has no {files[0]} or {files[1]}; give the folder of a finished `codivide fit`")


def _numbered(table: pd.DataFrame) -> pd.DataFrame:
    """The table with numbers for ids that are nothing else; "007" is a name."""
    if ID not in table or not table[ID].str.fullmatch("0|[1-9][0-9]{0,17}").all():
        return table
    return table.assign(**{ID: table[ID].astype("Int64")})


def _checked(table: pd.DataFrame) -> pd.DataFrame:
    """The table; ValueError where a column is missing that every reader needs."""
    missing = [name for name in (id_column(table), *_NEEDED) if name not in table]
    if missing:
        raise ValueError(f"it has no column {missing[0]!r}")
    return table


def _is_text(column: pd.Series[Any]) -> bool:
    return bool(column.map(lambda value: value is None or isinstance(value, str)).all())


def _mixed(table: pd.DataFrame, column: str) -> bool:
    """Whether a column holds values of several types, which Parquet cannot store."""
    return column in table and len({type(value) for value in table[column] if value is not None}) > 1
