"""Groups of samples whose labels are judged worse than their classes are, found on the features or along the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.special import xlogy
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from codivide.audit.checks.base import Check, Found
from codivide.audit.material import Material
from codivide.core.files import let_go
from codivide.core.neighbours import nearest, unit_rows
from codivide.core.types import Floats, Labels, Mask, Singles
from codivide.data.row_order import is_named_in_order, parts_of
from codivide.methods.features.forests import bagged
from codivide.runs.label_table import Column

LEAST = 0.1  # by which fewer labels look right than in the same classes elsewhere
DEVIATIONS = 4.0  # of that share, at least
FEWEST = 200  # labelled samples
SMALLEST = 20  # samples of a group
_TREES, _LEAVES = 24, 8
_ROWS = 10_000  # that the forest is grown on, at most
_DESCRIBED = 100_000  # that the tree which describes a group is grown on, at most
_PART = 50_000  # that are asked about at once
_REFERENCES = 2_000  # samples, at most, among which those nearest to each are looked for
_NEAR = 0.03  # of these are
_WIDE = 64  # directions at random, of which
_DIRECTIONS = 16  # the leading ones are kept
_PLACES = 4  # that the group is described by, at most
_PURE = 0.6  # of a place, that is of the group
_EDGES = 200  # between which samples that lie together are looked for
_CLEAR = 18.0  # logarithm of how much likelier their labels are by a rate of their own, at least


def _find(material: Material) -> Found:
    """Samples of a group that is judged worse.

    Of each labelled sample it is known how far its agreement (1 where the suggestion is the given label, else 0) falls
    short of the mean of its class. A forest of 24 trees of 8 leaves predicts that from the features, of each sample by
    the trees that have not seen it. Of what is no table, half of it is the mean of the nearest 3 % of at most 2,000
    samples. Where the prediction is below -0.1, the samples are a group; it is judged worse where their own agreement,
    which the prediction did not see, falls short by 0.1 and by 4 standard deviations.

    Samples that lie together in the file are such a group, too (see ``_stretch``), also where no features are known.

    Features are the columns of a table, else the 16 leading directions of what the model sees; samples are near by the
    cosine of all of it.
    """
    rows = np.flatnonzero(material.given >= 0)
    features = _columns(material)
    named = features is not None and material.columns is not None
    points = material.points.numpy() if features is None and material.points is not None else None
    if points is not None:
        features = _directions(points)
    if len(rows) < FEWEST:
        return Found()
    given = material.given[rows]
    right = (material.suggested[rows] == given) | material.confirmed[rows]
    counts = np.bincount(given, minlength=len(material.classes))
    expected = (np.bincount(given, right, minlength=len(counts)) / np.maximum(counts, 1))[given]
    order = _in_order(material, rows)
    stretch = order[_stretch(~right[order], 1 - expected[order])]
    if features is None and not len(stretch):
        return Found()
    short = np.zeros(len(rows)) if features is None else _shortfall(features, rows, right - expected)
    if points is not None:
        short = (short + _nearby(points, rows, right - expected)) / 2
    group, flag = short < -LEAST, np.zeros(len(rows), dtype=bool)
    said = []
    if features is not None and _is_worse(right[group] - expected[group]):
        flag |= group
        where = _places(features, rows, group, material.columns) if named and material.columns else ""
        said.append(_sentence(f"{int(group.sum()):,} samples are", right[group], expected[group]) + where)
    if len(stretch):
        flag[stretch] = True
        short[stretch] = np.minimum(short[stretch], (right - expected)[stretch].mean())
        ends = " to ".join(repr(material.ids[rows[place]]) for place in stretch[[0, -1]].tolist())
        who = f"{len(stretch):,} samples that lie together in the file ({ends}) are"
        said.append(_sentence(who, right[stretch], expected[stretch]))
    score, whole = np.ones(len(material.given)), np.zeros(len(material.given), dtype=bool)
    score[rows], whole[rows] = np.clip(1 + short / np.maximum(expected, 1e-9), 0, 1), flag
    worst = np.flatnonzero(whole)
    columns = {"is_underperforming_group_issue": whole, "underperforming_group_score": score}
    return Found(columns, worst[np.lexsort((material.ranks[worst], score[worst]))], said=tuple(said))


def _sentence(who: str, right: Mask, expected: Floats) -> str:
    share = [100 * (1 - float(values.mean())) for values in (right, expected)]
    return (
        f"{who} judged worse than their classes: {share[0]:.0f} % of their labels look wrong, {share[1]:.0f} % would "
        "as in their classes"
    )


def _in_order(material: Material, rows: Labels) -> Labels:
    """The places of ``rows [M]`` as they were made: in their order, but files of folders by name alone."""
    names = [material.ids[row] for row in rows.tolist()]
    if not is_named_in_order(material.table, names):
        return np.arange(len(rows))
    parts = [parts_of(name)[::-1] for name in names]
    return np.array(sorted(range(len(rows)), key=parts.__getitem__), dtype=np.int64)


def _stretch(wrong: Mask, expected: Floats) -> slice:
    """Where more of the samples in order ``[M]`` look wrong than would as in their classes; empty: nowhere.

    A scan statistic (Kulldorff, 1997): of all stretches between 200 edges, of 20 samples to half of all, that one of
    which the labels are likeliest by a rate of their own. It must be by a tenth larger, and clearly likelier.

    Args:
        wrong: whether each label looks wrong.
        expected: the share of labels that do in its class.
    """
    edges = np.unique(np.linspace(0, len(wrong), min(_EDGES, len(wrong) // 5) + 1).astype(np.int64))
    held, mean = (np.r_[0.0, np.cumsum(values)][edges] for values in (wrong, expected))
    size, found, usual = (values - values[:, None] for values in (edges.astype(np.float64), held, mean))
    fits = (size >= SMALLEST) & (2 * size <= len(wrong)) & (found - usual > LEAST * size)
    if not fits.any():
        return slice(0, 0)
    size, found, usual = size[fits], found[fits], usual[fits]
    clear = xlogy(found, found / usual) + xlogy(size - found, (size - found) / (size - usual))
    start, end = np.argwhere(fits)[int(clear.argmax())].tolist()
    return slice(int(edges[start]), int(edges[end])) if clear.max() > _CLEAR else slice(0, 0)


def _shortfall(features: Singles, rows: Labels, short: Floats) -> Floats:
    """Predicted for each of ``rows [M]`` of the features by trees that have not seen it."""
    count = len(short)
    grown = np.sort(np.random.default_rng(0).permutation(count)[:_ROWS])
    learned = np.ascontiguousarray(features[rows[grown]], dtype=np.float32)
    let_go(features)  # rows here and there bring many pages besides
    forest, unseen = bagged(
        DecisionTreeRegressor,
        _TREES,
        learned,
        short[grown],
        seed=0,
        max_leaf_nodes=_LEAVES,
        min_samples_leaf=max(SMALLEST // 2, len(grown) // 100),
        max_features=0.5,
    )
    found: Floats = _of_all(forest.predict, features, rows) if count > len(grown) else np.empty(count)
    found[grown] = unseen  # a sample that every tree has seen falls short by nothing
    return found


def _nearby(points: Singles, rows: Labels, short: Floats) -> Floats:
    """The mean over the samples nearest to each of ``rows [M]`` by the cosine; itself is none of them."""
    references = np.sort(np.random.default_rng(1).permutation(len(rows))[:_REFERENCES])
    mean, known = points[rows[references]].mean(0), short[references]
    among = unit_rows(points[rows[references]] - mean)
    every, count = np.arange(len(among)), int(_NEAR * len(among))
    found = np.empty(len(rows))
    found[references] = known[nearest(among, every, every, count)[0]].mean(1)
    rest = np.setdiff1d(np.arange(len(rows)), references)
    for start in range(0, len(rest), _PART):
        part = rest[start : start + _PART]
        asked = torch.cat([among, unit_rows(points[rows[part]] - mean)])
        found[part] = known[nearest(asked, np.arange(len(among), len(asked)), every, count)[0]].mean(1)
    return found


def _of_all(ask: Callable[[Singles], Any], features: Singles, rows: Labels) -> Any:
    """What a forest or tree says of each of the rows, of which no copy is made at once."""
    parts = []
    for start in range(0, len(rows), _PART):
        parts.append(ask(features[rows[start : start + _PART]]))
        let_go(features)
    return np.concatenate(parts)


def _is_worse(short: Floats) -> bool:
    if len(short) < SMALLEST:
        return False
    mean, error = float(short.mean()), float(short.std()) / np.sqrt(len(short))
    return bool(mean < -max(LEAST, DEVIATIONS * error))


def _columns(material: Material) -> Singles | None:
    """The columns of a dense table ``[N, D]``; None of anything else."""
    return None if material.texts is not None or material.looks is not None else material.numbers


def _directions(points: Singles) -> Singles:
    """The leading directions ``[N, at most 16]`` of points, by way of 64 at random."""
    if points.shape[1] > _WIDE:
        generator = np.random.default_rng(0)
        points = points @ generator.standard_normal((points.shape[1], _WIDE), dtype=np.float32)
    points = points - points.mean(0)
    _, axes = np.linalg.eigh(points.T @ points)
    found: Singles = points @ axes[:, ::-1][:, :_DIRECTIONS].astype(np.float32)
    return found


def _places(features: Singles, rows: Labels, group: Mask, names: tuple[str, ...]) -> str:
    """Where most of a group is: a few leaves of a small tree, as ``age > 60 and job = driver``."""
    tree = DecisionTreeClassifier(max_leaf_nodes=_PLACES, min_samples_leaf=SMALLEST // 2, random_state=0)
    grown = np.sort(np.random.default_rng(0).permutation(len(rows))[:_DESCRIBED])
    leaf = _of_all(tree.fit(features[rows[grown]], group[grown]).apply, features, rows)
    sizes = {number: int((group & (leaf == number)).sum()) for number in np.unique(leaf[group]).tolist()}
    pure = [number for number in sizes if group[leaf == number].mean() >= _PURE]
    listed = [f"{_path(tree, number, names)} ({sizes[number]:,})" for number in sorted(pure, key=lambda k: -sizes[k])]
    return f"; most are where {', or '.join(listed)}" if listed else ""


def _path(tree: DecisionTreeClassifier, leaf: int, names: tuple[str, ...]) -> str:
    """The way to a leaf in words; of several bounds of a column the last ones stay, which are the tightest."""
    grown = tree.tree_
    above: dict[int, int] = {}
    for node in range(grown.node_count):
        above |= {int(child): node for child in (grown.children_left[node], grown.children_right[node]) if child >= 0}
    bounds: dict[tuple[int, bool], float] = {}
    node = leaf
    while node in above:
        parent = above[node]
        bounds.setdefault((int(grown.feature[parent]), grown.children_left[parent] == node), grown.threshold[parent])
        node = parent
    words = [_bound(names[column], float(value), below=left) for (column, left), value in reversed(bounds.items())]
    return " and ".join(words)


def _bound(name: str, value: float, *, below: bool) -> str:
    if (" = " in name or name.endswith(" is empty")) and 0 < value < 1:
        return f"not {name}" if below else name
    return f"{name} {'<=' if below else '>'} {value:.4g}"


CHECK = Check(
    name="underperforming_group",
    title="A group that is judged worse",
    text="Samples of a group, found on the features or along the rows, in which more labels look wrong than in their "
    "classes elsewhere.",
    columns=(
        Column(
            "is_underperforming_group_issue",
            "flag",
            "it is of a group, found on the features or along the rows, whose labels are judged worse than their "
            "classes",
        ),
        Column(
            "underperforming_group_score",
            "probability",
            "share of labels that look right where it lies, over that of its class, at most 1",
        ),
    ),
    find=_find,
    of_classes=True,
)
