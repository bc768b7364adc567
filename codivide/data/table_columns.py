"""Which columns of a table are what: labels, texts, features; found by name in any case, and proposed in errors."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from codivide.core.errors import InputError, option
from codivide.core.files import CLEANED
from codivide.data import annotators
from codivide.data.cells import are_objects
from codivide.data.images import are_image_names
from codivide.data.options import ReadOptions
from codivide.data.targets import task_flags
from codivide.data.written_about import written_about

#: Columns that say something of a row besides what is learned from.
TEXT_COLUMNS = ("path", "label", "split", "true_label", "id", "text", "annotator")
_LIKE_LABELS = (
    "labels",
    "tags",
    "target",
    "class",
    "category",
    "y",
    "outcome",
    "sentiment",
    "genre",
    "species",
    "topic",
    "intent",
    "rating",
)
_LIKE_TEXTS = ("sentence", "review", "content", "body", "message", "comment", "tweet", "document", "title")
_FEW = 30  # different values of a column that may hold labels
_OWN = "codivide_label"  # among the attributes of a table: what its column "label" is called in the file
_WORDS = 3  # on average, of a column of texts


def listed(table: pd.DataFrame) -> str:
    """The names of the columns as its owner gave them, for a message: at most 20."""
    own = table.attrs.get(_OWN, "label")  # what reads as "label"
    names = [str(name) if name != "label" else own for name in table.columns]
    return ", ".join(names if len(names) <= 20 else [*names[:10], "...", *names[-10:]])


def find(names: Sequence[str], wanted: str) -> str | None:
    """The column of a name; where there is none, the only one that is called so in another case."""
    if wanted in names:
        return wanted
    same = [name for name in names if name.casefold() == wanted.casefold()]
    return same[0] if len(same) == 1 else None


def _places(held: Sequence[str], wanted: Sequence[str]) -> list[int | None]:
    """Where each wanted column stands, also the only one that is called so in another case; None: nowhere, or twice."""
    exact: dict[str, list[int]] = {}
    alike: dict[str, list[int]] = {}
    taken = set(wanted)
    for place, name in enumerate(held):
        exact.setdefault(name, []).append(place)
        if name not in taken:
            alike.setdefault(name.casefold(), []).append(place)
    found = [exact.get(name) or alike.get(name.casefold(), []) for name in wanted]
    return [at[0] if len(at) == 1 else None for at in found]


def arranged(
    table: pd.DataFrame,
    columns: Sequence[str] | None,
    where: str,
    each: str = "feature that the model was trained on",
) -> pd.DataFrame:
    """The columns of a table by name, in the order in which a model was trained on them; others are left out.

    Args:
        table: with columns of any names and order.
        columns: names of the features; None: not known, so the table stays as it is.
        where: the table comes from, for the message.
        each: what a column is, likewise.

    Raises:
        InputError: a column is missing, or there twice.
    """
    if columns is None:
        return table
    at = _places([str(name) for name in table.columns], columns)
    wrong = [name for name, place in zip(columns, at, strict=True) if place is None]
    if wrong:
        few = f"{wrong[0]!r}" + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")
        gone = not {name.casefold() for name in wrong} & {str(name).casefold() for name in table.columns}
        check = f"{few} {'is' if len(wrong) == 1 else 'are'} not there" if gone else f"check {few}"
        raise InputError(f"{where} needs one column for each {each}; {check} (columns: {listed(table)})")
    return table.iloc[:, [place for place in at if place is not None]]


def with_usual_names(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its columns ``Text``, ``LABEL``, ``Id`` and the like in lower case, as they are looked for."""
    names = [str(name) for name in table.columns]
    renamed = {}
    for wanted in TEXT_COLUMNS:
        found = find(names, wanted)
        if found is not None and found != wanted and (wanted != "path" or are_objects(table[found])):
            renamed[found] = wanted
    return table.rename(columns=renamed)


def with_label(table: pd.DataFrame, where: object, options: ReadOptions) -> pd.DataFrame:
    """The table with the column that the options name called "label".

    Raises:
        InputError: no such column, or another one is called "label" and not dropped.
    """
    name = options.label
    if name == "label":
        return table
    found = find([str(column) for column in table.columns], name)
    if found is None:
        raise missing_column(table, where, name, "label", propose_labels(table, where))
    if "label" in table and found != "label":
        if "label" not in options.drop:
            raise InputError(
                f"{where} has columns {found!r} and 'label', by which codivide calls the labels: rename 'label', or "
                f"leave it out, {option('drop', ['label'])}"
            )
        table = table.drop(columns="label")
    renamed = table.rename(columns={found: "label"})
    renamed.attrs[_OWN] = found
    return renamed


def missing_column(
    table: pd.DataFrame, where: object, name: str, parameter: str | None, proposed: Sequence[str] = ()
) -> InputError:
    """The error for a column that is not there: it lists those that are, and what may have been meant."""
    names = [str(column) for column in table.columns]
    near = difflib.get_close_matches(name.casefold(), {column.casefold(): column for column in names}, n=1, cutoff=0.7)
    close = [column for column in names if column.casefold() in near]
    meant = (close or [column for column in proposed if column != name])[:3]
    flags = [task_flags(table.iloc[:, names.index(column)]) if parameter == "label" else "" for column in meant]
    told = [f"{column!r} ({more})" if more else repr(column) for column, more in zip(meant, flags, strict=True)]
    hint = " Rename it" if parameter is None else f" {option(parameter)} names it"
    hint += f"; perhaps {' or '.join(told)}" if told else ""
    return InputError(f"{where} has no column {name!r} (columns: {listed(table)}).{hint}")


def propose_labels(table: pd.DataFrame, where: object = "") -> list[str]:
    """Columns that may hold the labels: by their name, else by how few different values they have.

    Of a table that ``clean`` wrote (``where``) it is known: the second one, behind what names the rows.
    """
    names = [str(name) for name in table.columns]
    if Path(str(where)).name == CLEANED and names[:1] == ["id"] and len(names) > 1:
        return names[1:2]
    if (usual := find(names, "label")) is not None:
        return [usual]
    by_name = [name for name in names if name.casefold() in _LIKE_LABELS]
    if by_name:
        return by_name
    counts = {name: table[name].astype(object).map(str).nunique() for name in names if name not in TEXT_COLUMNS}
    most = min(_FEW, max(len(table) // 2, 2))
    return sorted((name for name, count in counts.items() if 2 <= count <= most), key=counts.__getitem__)


def selected(table: pd.DataFrame, where: object, options: ReadOptions, *, beside: bool = False) -> pd.DataFrame:
    """The table with the columns to learn from that the options name, and the column of texts called "text".

    Args:
        table: columns have texts as names.
        where: the table, for messages.
        options: what they name.
        beside: labels stand beside the table: a column ``label``, ``split`` or ``id`` is like any other.

    Raises:
        InputError: a column that is not there.
    """
    if options.text is not None and options.columns:
        _check_text_is_kept([str(column) for column in table.columns], options.text, options.columns)
    other = not beside and options.label.casefold() != "label"  # then "label" are the labels, and one so called is gone
    drop = [name for name in options.drop if name != "label" or not other]
    whole, every = table, [str(column) for column in table.columns]
    for parameter, names in (("columns", options.columns), ("drop", drop)):
        found = {name: find(every, name) for name in names}
        for name, column in found.items():
            if column is None and not (parameter == "drop" and name == options.label):
                raise missing_column(whole, where, name, parameter)
        held = {column for column in found.values() if column is not None}
        if parameter == "drop":
            table = table.drop(columns=[name for name in table.columns if str(name) in held])
        elif names:
            table = table[[name for name in table.columns if str(name) in held | _about(table, options, beside=beside)]]
    return _with_text(table, where, options)


def _about(table: pd.DataFrame, options: ReadOptions, *, beside: bool) -> set[Any]:
    """Columns that say something about a sample, and stay where others are chosen to learn from."""
    if beside:
        return {options.group, options.weight}
    answers = [name for name in map(str, table.columns) if name.startswith(annotators.PREFIX) and "label" not in table]
    return {*TEXT_COLUMNS, *options.annotators, *answers, options.group, options.weight} - {"text", "path"}


def _check_text_is_kept(held: list[str], text: str, chosen: Sequence[str]) -> None:
    """InputError where ``--columns`` leaves out the column of texts."""
    found = find(held, text)
    if found is not None and found not in {find(held, name) for name in chosen}:
        raise InputError(
            f"{option('columns', list(chosen))} leaves out {found!r}, which {option('text')} names: of texts "
            f"nothing else is learned from, so leave {option('columns')} out"
        )


def with_texts(table: pd.DataFrame, where: object) -> pd.DataFrame:
    """The table of somebody who predicts, with its column of texts called "text": the only one that holds some.

    Raises:
        InputError: no such column, or several.
    """
    if "text" in table:
        return table
    found = [str(name) for name in table.columns if _is_text(table[name])]
    if len(found) != 1:
        raise missing_column(table, where, "text", "text", found)
    return table.rename(columns={found[0]: "text"})


def holds_texts(table: pd.DataFrame, options: ReadOptions) -> bool:
    """Whether texts are all that is learned from: there is a column ``text``, and none beside it was asked for."""
    return "text" in table and (options.text is not None or len(options.columns) < 2)


def feature_names(table: pd.DataFrame, options: ReadOptions) -> list[str]:
    """The columns to learn from, where they are no texts and no image files."""
    asked = {column for name in options.columns if (column := find([str(name) for name in table.columns], name))}
    about = {*TEXT_COLUMNS, options.group, options.weight} - (asked - {"label", "true_label", "split"})
    about |= set(written_about(table, asked))
    return [str(name) for name in table.columns if str(name) not in about]


def said_of_written(table: pd.DataFrame, options: ReadOptions) -> list[str]:
    """A sentence on the columns that codivide wrote about the labels, which are not learned from."""
    found = _written(table, options)
    if not found:
        return []
    text = f"left out, since codivide wrote this about the labels: {listed(table[found])}"
    return [f"{text} ({option('columns')} learns from what it names)"]


def said_of_learned(table: pd.DataFrame, options: ReadOptions) -> list[str]:
    """The same where labels stand beside the table, whose columns are all learned from."""
    found = _written(table, options)
    if not found:
        return []
    return [
        f"learned from what codivide wrote about labels: {listed(table[found])}. Wrong labels look right by it: leave "
        f"it out ({option('drop', found)})"
    ]


def _written(table: pd.DataFrame, options: ReadOptions) -> list[str]:
    named = {name.casefold() for name in (*options.columns, options.group, options.weight) if name is not None}
    return [name for name in written_about(table) if name.casefold() not in named]


def _with_text(table: pd.DataFrame, where: object, options: ReadOptions) -> pd.DataFrame:
    if options.text is not None:
        found = find([str(name) for name in table.columns], options.text)
        if found is None:
            proposed = [str(name) for name in table.columns if _is_text(table[name])]
            raise missing_column(table, where, options.text, "text", proposed)
        others = [name for name in ("text", "path") if name in table and name != found]
        return table.drop(columns=others).rename(columns={found: "text"})
    if "text" in table or "path" in table:
        return table
    names = feature_names(table, options)
    if len(names) == 1 and _is_text(table[names[0]]):
        return table.rename(columns={names[0]: "text"})
    return table


def _is_text(values: pd.Series[Any]) -> bool:
    """Whether a column holds texts: of several words, or of a usual name."""
    if not are_objects(values):
        return False
    texts = [value for value in values.head(1000).tolist() if isinstance(value, str) and value.strip()]
    if not texts or are_image_names(texts):
        return False
    named = str(values.name).casefold() in _LIKE_TEXTS
    return named or sum(len(text.split()) for text in texts) >= _WORDS * len(texts)
