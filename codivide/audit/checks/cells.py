"""Tables: rows of empty cells, columns that are empty or count the rows, and what alone gives the label away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from codivide.audit.checks.base import Check, Found
from codivide.audit.material import Material
from codivide.core.errors import either, option
from codivide.core.files import let_go
from codivide.core.types import Floats, Labels, Mask, Singles
from codivide.core.words import first_few
from codivide.runs.label_table import Column

EMPTY = 0.5  # of the cells of a row
EMPTY_COLUMN = 0.95  # of the cells of a column
GIVEN_AWAY = 0.98  # of what can be gained over the most frequent class
SPURIOUS = 0.5  # of the uncertainty about a class that which cells are empty, or how an image looks, takes away
FEWEST = 50  # labels
_OF_A_CLASS = 20  # samples of a class, and of the others
_BINS = 50
_OF_A_BIN = 5  # samples, on average
_ROWS = 5_000  # that labels are explained on, at most
_NAMED = 5
_NAMES = 20  # of groups, at least


class _Block(NamedTuple):
    """What a column of a table has become."""

    name: str
    kind: str
    values: Singles  # [N, features], without the flag of empty cells
    empty: Singles | None  # [N] of 0 and 1


def _blocks(material: Material, rows: Labels | None = None) -> Iterator[_Block]:
    """The columns of a dense table, of some rows or all."""
    x = material.numbers
    if x is None or material.texts is not None or material.looks is not None:
        return
    if rows is not None:  # read once, for all columns
        whole, x = x, x[rows]
        let_go(whole)
    read = (material.columns_read or {}).get("read", ())
    if read and sum(item["features"] for item in read) == x.shape[1] and material.columns:
        start = 0
        for item in read:
            end = start + item["features"]
            gap = item["kind"] != "text" and item.get("empty", 0) > 0  # then the last one says which cells are empty
            yield _Block(item["name"], item["kind"], x[:, start : end - gap], x[:, end - 1] if gap else None)
            start = end
        return
    for k in range(x.shape[1]):
        yield _Block(material.columns[k] if material.columns else str(k), "number", x[:, k : k + 1], None)


def _find_empty(material: Material) -> Found:
    """Rows of which more than half of the cells are empty; columns that say next to nothing, or count the rows.

    A column of at least 95 % empty cells, or of whole numbers that count the rows in any order, is learned from like
    any; it is named. Columns that are left out are in the record of the run.
    """
    gaps, columns, empty, counting = [], 0, [], []
    for block in _blocks(material):
        columns += 1
        if block.empty is not None:
            gaps.append(block.empty)
            if block.empty.mean() >= EMPTY_COLUMN:
                empty.append(block.name)
        elif block.kind == "number" and _counts_rows(block.values[:, 0]):
            counting.append(block.name)
    if not columns:
        return Found()
    said = []
    if empty:
        said.append(
            f"columns that are nearly empty: {first_few(map(repr, empty))}. Leave them out ({option('drop')}) unless "
            "what is there matters"
        )
    if counting:
        said.append(
            f"columns that count the rows like an id, and are learned from: {first_few(map(repr, counting))}. Leave "
            f"them out ({option('drop')})"
        )
    share = np.sum(gaps, axis=0) / columns if gaps else np.zeros(len(material.given))
    flag = share > EMPTY
    rows = np.flatnonzero(flag)
    found = {"is_null_issue": flag, "null_score": 1 - share}
    return Found(found, rows[np.argsort(-share[rows], kind="stable")], said=tuple(said))


def _counts_rows(values: Singles) -> bool:
    """Whether these are whole numbers, no two alike, that fill half of their range or more: the rows in any order.

    The first ones tell mostly, and others are not read. Of 50 measured numbers in so narrow a range two are alike, but
    for a few in a million columns.
    """
    for some in (values[:FEWEST], values):
        if len(some) < FEWEST or not (some == np.floor(some)).all() or len(np.unique(some)) < len(some):
            return False
    return float(values.max()) - float(values.min()) < 2 * len(values)


def _find_given_away(material: Material) -> Found:
    """What alone gives the label away.

    Labels are predicted from a column's values in at most 50 bins (categories as they are), each row by the others of
    its bin, or each by the row of the nearest value. A column gives them away where it gains 98 % of what there is to
    gain over the most frequent class. Which cells are empty, or how an image looks (brightness, contrast, sharpness,
    colour, size, shape), should say little of a class: it is named where it takes away half of the uncertainty about
    one. What the user has heard of when the labels were read is not said again.
    """
    rows = np.flatnonzero(material.given >= 0)
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:_ROWS])
    labels = material.given[rows]
    if len(rows) < FEWEST or len(np.unique(labels)) < 2:
        return Found()
    away, spurious, naming = [], [], []
    for block in (one for one in _blocks(material, rows) if one.name not in material.told):
        if block.kind != "text" and _gives_away(block, labels):
            away.append(block.name)
            naming += [block.name] if _names_groups(block) else []
        if block.empty is not None:
            told = _told(block.empty.astype(np.int64), material, labels)
            spurious += [f"whether {block.name!r} is empty tells {told}"] if told else []
    for what, values in _looks(material):
        told = _told(_binned(values[rows]), material, labels)
        spurious += [f"{what} tells {told}"] if told else []
    said = []
    if away:
        said.append(
            f"columns that alone give the label away: {first_few(map(repr, away))}. If it is only known after the "
            f"label, leave it out ({option('drop')}): errors of the labels are then its errors"
        )
        if naming:
            said[-1] += (
                f". If it says which rows belong together, such as patients, name it ({first_few(map(repr, naming))}) "
                f"as {either('--group', 'groups=')}, and leave it out: new rows have other values"
            )
    if spurious:
        said.append(
            f"labels can be told by what should not matter: {'; '.join(spurious[:_NAMED])}. A model may learn that "
            "alone"
        )
    return Found(said=tuple(said))


def _looks(material: Material) -> Iterator[tuple[str, Floats]]:
    looks, sizes = material.looks, material.sizes
    if looks is not None:
        yield from (
            ("brightness", looks.light),
            ("brightness of the darkest parts", looks.dark),
            ("contrast", looks.contrast),
        )
        yield from (("sharpness", np.nan_to_num(looks.sharpness)), ("colour", looks.colour))
    if sizes is not None and len(sizes):
        yield from (
            ("size of the image", sizes.prod(1).astype(np.float64)),
            ("shape of the image", sizes[:, 0] / sizes[:, 1]),
        )


def _gives_away(block: _Block, labels: Labels) -> bool:
    if _gain(_right_in_bin(_codes(block), labels), labels) >= GIVEN_AWAY:
        return True
    one = block.kind != "category" and block.empty is None
    return one and _gain(_right_beside(block.values[:, 0], labels), labels) >= GIVEN_AWAY


def _names_groups(block: _Block) -> bool:
    """Whether these may name what several rows belong to: at least 20 categories or whole numbers that repeat."""
    if block.kind == "category":
        return bool(block.values.shape[1] >= _NAMES)
    values = block.values[:, 0]
    count = len(np.unique(values))
    return block.kind == "number" and _NAMES <= count <= len(values) / 1.5 and bool((values == np.floor(values)).all())


def _gain(right: Mask, labels: Labels) -> float:
    """How much is right of what the most frequent class leaves."""
    most = float(np.bincount(labels).max()) / len(labels)
    return (float(right.mean()) - most) / (1 - most)


def _codes(block: _Block) -> Labels:
    values = block.values
    if block.kind == "category":
        names: Labels = np.where(values.any(1), values.argmax(1), values.shape[1])
        return names
    codes = _binned(values[:, 0].astype(np.float64))
    if block.empty is not None:
        codes = np.where(block.empty > 0, codes.max() + 1, codes)
    return codes


def _binned(values: Floats) -> Labels:
    """The bin ``[N]`` of each value: the value itself where there are few, else one of as many rows as any other."""
    different = np.unique(values)
    most = max(2, min(_BINS, len(values) // _OF_A_BIN))
    if len(different) > most:
        different = np.unique(np.quantile(values, np.linspace(0, 1, most + 1)[1:-1]))
    bins: Labels = np.searchsorted(different, values)
    return bins


def _counted(codes: Labels, labels: Labels) -> Floats:
    table = np.zeros((int(codes.max()) + 1, int(labels.max()) + 1))
    np.add.at(table, (codes, labels), 1)
    return table


def _right_in_bin(codes: Labels, labels: Labels) -> Mask:
    """Whether each row ``[N]`` has the most frequent label of the others of its bin."""
    table = _counted(codes, labels)
    order = np.sort(table, axis=1)
    held = table[codes, labels]
    right: Mask = held - 1 > np.where(held == order[codes, -1], order[codes, -2], order[codes, -1])
    return right


def _right_beside(values: Singles, labels: Labels) -> Mask:
    """Whether each row ``[N]`` has the label of the row of the nearest value.

    Of rows with the same value that is any: in the order of the file it would be one of the same class, where rows are
    sorted by class.
    """
    order = np.lexsort((np.random.default_rng(0).permutation(len(values)), values))
    steps, same = np.diff(values[order]), labels[order][1:] == labels[order][:-1]
    before, after = np.r_[np.inf, steps], np.r_[steps, np.inf]
    right = np.empty(len(labels), dtype=bool)
    right[order] = np.where(before < after, np.r_[False, same], np.r_[same, False])
    return right


def _told(codes: Labels, material: Material, labels: Labels) -> str | None:
    """The class that the bins tell most about, and how much of the uncertainty they take away; None: they do not."""
    best, name = 0.0, None
    counts = np.bincount(labels, minlength=len(material.classes))
    for label in np.flatnonzero((counts >= _OF_A_CLASS) & (len(labels) - counts >= _OF_A_CLASS)).tolist():
        one = (labels == label).astype(np.int64)
        found = _explained(codes, one)
        if found > best:
            best, name = found, material.classes[label]
    return None if name is None or best < SPURIOUS else f"class {name!r} ({best:.2f} of the uncertainty)"


def _explained(codes: Labels, one: Labels) -> float:
    """1 less the log-loss of each row by the others of its bin, over the entropy; of two classes."""
    table, share = _counted(codes, one), float(one.mean())
    prior = np.array([1 - share, share])
    likely = (table[codes, one] - 1 + prior[one]) / table.sum(1)[codes]
    entropy = -float(prior @ np.log(prior))
    return 1 + float(np.log(np.maximum(likely, 1e-4)).mean()) / entropy


EMPTY_CELLS = Check(
    name="null",
    title="Cells and columns",
    text="More than half of the cells of the row are empty.",
    columns=(
        Column("is_null_issue", "flag", "more than half of the cells of its row are empty", "tables"),
        Column("null_score", "probability", "share of the cells of its row that are not empty", "tables"),
    ),
    find=_find_empty,
    judged=False,
)
GIVES_AWAY = Check(
    name="gives_away",
    title="What gives the label away",
    text="A column, which cells are empty, or how images look alone tells the label.",
    columns=(),
    find=_find_given_away,
    of_classes=True,
    judged=False,
)
