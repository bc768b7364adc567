"""Samples that come twice: exactly, or nearly.

Exact duplicates share every byte. Near duplicates are found by locality-sensitive hashing: a sample's code is the signs
of random projections of its descriptor (Charikar, "Similarity estimation techniques from rounding algorithms", STOC
2002), two samples at angle t differ in each bit with probability t / pi, and only samples that agree in one 16-bit band
of the code are compared. On images of 16 x 16 pixels this is a perceptual hash: the bits say what is lighter than what.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor
from torch.nn import functional as F

from codivide.core.types import Labels, Singles
from codivide.data.contents import digests, of_rows, of_texts
from codivide.data.rows import Rows
from codivide.data.standardised import CHUNK, Descriptors, chunks, inverse, standardised

Words = np.ndarray[Any, np.dtype[np.uint16]]
IMAGE_COSINE = 0.985  # of pixels less their mean, at 32 x 32: the same photo saved, scaled or lit differently
TEXT_COSINE = 0.95  # of word counts
ROW_DISTANCE = 0.01  # of standardised features, relative to the longer row
FEWEST_COLUMNS = 8  # in narrower tables rows come near each other by chance
MOST_NEAR = 200_000  # rows of a table, of which near ones are sought; of more only equal ones
_BAND = 16  # bits
_FIRST = 32  # columns by which most of the pairs that are not near are told
_ROUNDING = 1e-5  # of a squared distance in float32
_WINDOW = 64  # samples with which one of a crowded band is compared


class Group(NamedTuple):
    """Samples that are the same thing.

    Attributes:
        rows: ascending, at least two.
        exact: all of them share every byte; else each is near the first one, or equal to one that is.
        same: sets of ``rows``, ascending, that share every byte.
    """

    rows: tuple[int, ...]
    exact: bool
    same: tuple[tuple[int, ...], ...] = ()


_known: WeakKeyDictionary[Rows, dict[bool, list[Group]]] = WeakKeyDictionary()


def find(rows: Rows | None, texts: Sequence[str] | None = None, alike: Labels | None = None) -> list[Group]:
    """All groups of duplicates, by first row.

    Images are compared as they were decoded; texts without regard to case and white space; rows of a table by value,
    and where there are at least 8 columns, and at most 200,000 rows, also nearly. What is near: images whose pixels
    (32 x 32, less the mean of the image) have a cosine of at least 0.985; texts whose word counts have one of at least
    0.95; rows of standardised features that differ by at most 1 % of their length.

    They are sought once for the same rows.

    Args:
        rows: ``[N, ...]``; None where only texts are known.
        texts: length N, of the same samples; they win over rows.
        alike: a number ``[N]``, the same for images that look alike, whose place features have taken in ``rows``.
    """
    if rows is None:
        return _find(rows, texts)
    known = _known.setdefault(rows, {})
    if (texts is None) not in known:
        known[texts is None] = _find(rows, texts)
    found = known[texts is None]
    return found if alike is None else _with_alike(found, alike)


def are_known(rows: Rows | None, texts: Sequence[str] | None) -> bool:
    """Whether ``find`` has been asked for these before, so that it answers at once."""
    return rows is not None and (texts is None) in _known.get(rows, {})


def look_alike(rows: Rows) -> Labels | None:
    """A number ``[N]`` for each image, the same for near duplicates; None: there are none, or too many images."""
    return joined([group.rows for group in find(rows)], len(rows)) if len(rows) <= MOST_NEAR else None


def joined(sets: Iterable[Sequence[int]], count: int) -> Labels | None:
    """A number ``[count]`` for each row, the same where a chain of sets joins two; None: no two rows are joined."""
    pairs = [(rows[0], row) for rows in sets for row in rows[1:]]
    if not pairs:
        return None
    one, other = np.array(pairs).T
    links = sparse.coo_matrix((np.ones(len(one)), (one, other)), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def sharing(number: Labels) -> list[list[int]]:
    """The rows, ascending, that share a number of ``[N]``: of each that more than one has."""
    order = number.argsort(kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    return [part.tolist() for part in parts if len(part) > 1]


def _with_alike(groups: Sequence[Group], alike: Labels) -> list[Group]:
    """Groups of features, and those of the images that they were made of."""
    number = joined([*(group.rows for group in groups), *sharing(alike)], len(alike))
    if number is None:
        return []
    same = [rows for group in groups for rows in group.same]
    whole = {group.rows for group in groups if group.exact}
    inside: dict[int, list[tuple[int, ...]]] = {}
    for rows in sorted(same):
        inside.setdefault(int(number[rows[0]]), []).append(rows)
    sets = sorted(map(tuple, sharing(number)))
    return [Group(rows, rows in whole, tuple(inside.get(int(number[rows[0]]), ()))) for rows in sets]


def _find(rows: Rows | None, texts: Sequence[str] | None) -> list[Group]:
    if texts is not None:
        plain = [" ".join(text.casefold().split()) for text in texts]
        return _groups(digests(of_texts(plain)), lambda _: _near_texts(plain))
    if rows is None:
        return []
    known = digests(of_rows(rows))
    if len(rows.shape) == 3:
        return _groups(known, lambda _: _near_images(rows))
    comparable = rows.shape[0] >= FEWEST_COLUMNS and len(rows) <= MOST_NEAR
    return _groups(known, lambda once: _near_rows(rows, once) if comparable else [])


def _groups(known: Sequence[bytes], near: Callable[[Labels], Iterable[tuple[int, int]]]) -> list[Group]:
    """Exact groups, joined by the near pairs of their first rows, which ``near`` may look at alone.

    A row joins the first one that it is near to and that has joined no other: no chain of small steps makes one group
    of different things.
    """
    first = _firsts(known)
    repeated = np.flatnonzero(first != np.arange(len(first)))
    same: dict[int, list[int]] = {}  # of the rows that come again: they are few
    for row, again in zip(first[repeated].tolist(), repeated.tolist(), strict=True):
        same.setdefault(row, [row]).append(again)
    pairs = sorted(near(np.flatnonzero(first == np.arange(len(first)))))
    led = _led((one, other) for one, other in pairs if first[one] == one and first[other] == other)
    followers = {other for others in led.values() for other in others}
    found = []
    for row in (same.keys() | led.keys()) - followers:
        parts = [same.get(member, [member]) for member in (row, *led.get(row, ()))]
        copies = sorted(tuple(part) for part in parts if len(part) > 1)
        found.append(Group(tuple(sorted(chain(*parts))), row not in led, tuple(copies)))
    return sorted(found)


def _firsts(known: Sequence[bytes]) -> Labels:
    """The first row ``[N]`` that has the same digest as each."""
    halves = np.frombuffer(b"".join(known), dtype=np.uint64).reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: of equal ones the first comes first
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (halves[order[1:]] != halves[order[:-1]]).any(1)
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[begins][np.cumsum(begins) - 1]
    return first


def _led(pairs: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    """For each first row, those that join it; a row joins one other at most, and nobody who has joined another."""
    followers: set[int] = set()
    led: dict[int, list[int]] = {}
    for one, other in pairs:
        if one not in followers and other not in followers and other not in led:
            followers.add(other)
            led.setdefault(one, []).append(other)
    return led


def _near_images(rows: Rows) -> list[tuple[int, int]]:
    descriptors = _unit(np.concatenate([_pixels(rows, ids, 16) for ids in chunks(len(rows))]))
    pairs = _pairs(descriptors, IMAGE_COSINE, bands=8)
    involved = np.unique(pairs)
    if not len(involved):
        return []
    fine = _unit(np.concatenate([_pixels(rows, ids, 32) for ids in torch.split(torch.from_numpy(involved), CHUNK)]))
    at = np.searchsorted(involved, pairs)
    return _kept(pairs, _cosines(fine, at) >= IMAGE_COSINE)


def _near_rows(rows: Rows, once: Labels) -> list[tuple[int, int]]:
    """Near pairs among some rows: of a table of few values nearly all come again, and are in each other's way."""
    points = standardised(rows)
    if len(once) < len(rows):
        points = points[once]
    length = np.sqrt(_squares(points))
    unit = _unit(points)
    pairs = _pairs(unit, 1 - ROW_DISTANCE**2 / 2, bands=4)
    distance = _apart(unit, length, pairs)
    return _kept(once[pairs], distance <= ROW_DISTANCE * np.maximum(length[pairs[:, 0]], length[pairs[:, 1]]))


def _near_texts(texts: Sequence[str]) -> list[tuple[int, int]]:
    counts = HashingVectorizer(n_features=2**14, alternate_sign=False, norm="l2", dtype=np.float32).transform(texts)
    return _kept(pairs := _pairs(counts, TEXT_COSINE, bands=12), np.ones(len(pairs), dtype=bool))


def _pixels(rows: Rows, ids: Tensor, side: int) -> Singles:
    """Images ``[B, C * side * side]`` at most ``side`` pixels wide and high, less the mean of each image."""
    batch = rows[ids].cpu().float()
    small = F.adaptive_avg_pool2d(batch, (min(side, batch.shape[2]), min(side, batch.shape[3]))).flatten(1)
    return (small - small.mean(1, keepdim=True)).numpy()


def _squares(points: Descriptors) -> Singles:
    if sparse.issparse(points):
        return np.asarray(points.multiply(points).sum(1)).ravel()
    return np.asarray(np.einsum("nd,nd->n", points, points))


def _unit(points: Descriptors) -> Descriptors:
    """Rows of length 1, of dense points in their place; those of length 0 stay as they are, near to nothing."""
    over = inverse(np.sqrt(_squares(points)).astype(np.float64)).astype(np.float32)
    if sparse.issparse(points):
        return (sparse.diags(over) @ points).tocsr()
    points *= over[:, None]
    return points


def _cosines(unit: Descriptors, pairs: Labels) -> Singles:
    parts = []
    for chunk in _some(pairs):
        one, other = unit[chunk[:, 0]], unit[chunk[:, 1]]
        product = one.multiply(other).sum(1) if sparse.issparse(unit) else np.einsum("nd,nd->n", one, other)
        parts.append(np.asarray(product, dtype=np.float32).ravel())
    return np.concatenate(parts)


def _apart(unit: Descriptors, length: Singles, pairs: Labels) -> Singles:
    """How far the two of each pair ``[P, 2]`` are from each other; of rows of such lengths ``[N]``."""
    parts = []
    for chunk in _some(pairs):
        one, other = (_times(unit[rows], length[rows]) for rows in chunk.T)
        parts.append(np.sqrt(np.maximum(_squares(one - other), 0)))
    return np.concatenate(parts)


def _times(rows: Descriptors, factor: Singles) -> Descriptors:
    return sparse.diags(factor) @ rows if sparse.issparse(rows) else rows * factor[:, None]


def _some(pairs: Labels) -> list[Labels]:
    """Pairs ``[P, 2]``, so many at a time."""
    return np.array_split(pairs, max(1, len(pairs) // 100_000))


def _pairs(unit: Descriptors, cosine: float, bands: int) -> Labels:
    """Pairs ``[P, 2]`` (first < second) of unit-length rows with at least this cosine, nearly all of them."""
    bits = _BAND * bands
    directions = np.random.default_rng(0).standard_normal((unit.shape[1], bits), dtype=np.float32)
    signs = [np.asarray(unit[start : start + CHUNK] @ directions) > 0 for start in range(0, unit.shape[0], CHUNK)]
    code: Words = np.packbits(np.concatenate(signs), axis=1).view(np.uint16)
    share = math.acos(min(1.0, cosine)) / math.pi
    most = bits * share + 4 * math.sqrt(bits * share * (1 - share))  # bits that differ, with four standard deviations
    found = [_kept_pairs(pairs, code, unit, cosine, most) for band in range(bands) for pairs in _alike(code, band)]
    pairs: Labels = np.unique(np.concatenate([np.empty((0, 2), np.int64), *found]), axis=0)
    return pairs


def _alike(code: Words, band: int) -> Iterable[Labels]:
    """Pairs with an equal band, in a crowded one only those that are next to each other by the rest of the code."""
    words = np.roll(code, -band, axis=1)
    order = np.lexsort(words.T[::-1])
    key = words[order, 0]
    for offset in range(1, min(_WINDOW, len(key) - 1) + 1):
        at = np.flatnonzero(key[offset:] == key[:-offset])
        if not len(at):
            return
        yield np.sort(np.stack([order[at], order[at + offset]], axis=1), axis=1)


def _kept_pairs(pairs: Labels, code: Words, unit: Descriptors, cosine: float, most: float) -> Labels:
    differing = np.bitwise_count(code[pairs[:, 0]] ^ code[pairs[:, 1]]).sum(1, dtype=np.int64)
    near = pairs[differing <= most]
    if not sparse.issparse(unit) and unit.shape[1] > 2 * _FIRST:  # a part of a squared distance is no larger than all
        first = unit[:, :_FIRST]
        near = near[_squares(first[near[:, 0]] - first[near[:, 1]]) <= 2 - 2 * cosine + _ROUNDING]
    kept: Labels = near[_cosines(unit, near) >= cosine]
    return kept


def _kept(pairs: Labels, near: np.ndarray[Any, np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    return [(one, other) for one, other in pairs[near].tolist()]
