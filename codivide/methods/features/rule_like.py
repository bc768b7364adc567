"""Whether labels look like a rule of a few features, such as key words, whose errors no classifier can see.

Where labels were made by a rule ("contains `free`: spam"), whatever learns the features learns the rule with its
errors, agrees with the labels, and calls few of them wrong. Such labels betray themselves: a decision tree of a few
leaves, which asks for a few features, explains the held-out labels about as well as all features together do. With

    explained = 1 - (mean held-out log-loss of the given labels) / (entropy of the given labels)

labels look like a rule of words where the tree explains at least ``SHARE`` of what the heads explain, and the heads
still leave ``REST`` of what the tree leaves: they know nothing else. Labels that are right have more to them. Where the
tree explains ``ALL``, what is left says nothing. Of other features, which people measure because each of them matters,
labels look like a rule where the tree explains nearly everything and clearly more than the heads. Ours;
docs/explain/features.md has what it says of data at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from sklearn.tree import DecisionTreeClassifier

from codivide.core.errors import InputError
from codivide.core.types import Floats, Labels
from codivide.data.columns import Columns
from codivide.data.loaded import Loaded
from codivide.data.tfidf import Tfidf
from codivide.methods.features.matrix import Raw, raw

KEY = "rule"  # of the remark in a run's record
SHARE = 0.8  # of what the heads explain, from which on a few words are a rule
REST = 0.75  # of what the tree leaves unexplained, which the heads leave as well
ALL = 0.95  # explained by a few words
_MORE = 0.1  # by which a few other features must explain more than the heads
_NEARLY = 0.8  # and explain so much at least
_LEAST = 0.15  # explained by a tree that says anything
_LEAVES = 32
_SMALLEST = 5  # samples of a leaf
_FOLDS = 3
_ROWS = 4000  # that the tree learns from, at most
_WIDTH = 20  # features for each that the tree asks for; of fewer features, a few are most of them
_NAMED = 6


class RuleLike(NamedTuple):
    """A few features that explain the given labels.

    Attributes:
        features: that the tree asks for, the one that tells most first.
        accuracy: share of held-out given labels that the tree predicts.
        explained: by the tree, at most 1.
        by_all: explained by the heads, with all features.
    """

    features: tuple[int, ...]
    accuracy: float
    explained: float
    by_all: float


def find(x: Raw, given: Labels, seen: Floats, *, words: bool) -> RuleLike | None:
    """The rule that labels look like; None: they do not, or there is too little to tell.

    Args:
        x: features ``[N, D]`` in which a rule may be written.
        given: labels ``[N]``, -1 where there is none.
        seen: ``[N]``, the probability of the given label by classifiers that never saw it.
        words: whether the features are words of a text.
    """
    return _found(lambda rows: _rows(x, rows), given, seen, words=words)


def _found(taken: Callable[[Labels], Raw], given: Labels, seen: Floats, *, words: bool) -> RuleLike | None:
    """``find`` in features of which ``taken`` gives those of some rows: a long table is never held whole."""
    rows = np.flatnonzero((given >= 0) & np.isfinite(seen))
    generator = np.random.default_rng(0)
    if len(rows) > _ROWS:
        rows = np.sort(generator.permutation(rows)[:_ROWS])
    held, labels = taken(rows), given[rows]
    counts = np.bincount(labels)
    if len(rows) < 10 * _SMALLEST or (counts > 0).sum() < 2 or held.shape[1] < _WIDTH:
        return None
    share = counts / len(labels)
    entropy = -float(share[share > 0] @ np.log(share[share > 0]))
    by_tree = _held_out(held, labels, share, generator.permutation(len(rows)) % _FOLDS)
    own = by_tree[np.arange(len(labels)), labels]
    explained = 1 + float(np.log(own).mean()) / entropy
    by_all = 1 + float(np.log(np.maximum(seen[rows], 1e-4)).mean()) / entropy
    if words:
        nothing_else = explained >= ALL or 1 - by_all >= REST * (1 - explained)
        looks = explained >= max(SHARE * by_all, _LEAST) and nothing_else
    else:
        looks = explained >= max(by_all + _MORE, _NEARLY)
    if not looks:
        return None
    importance = _tree().fit(held, labels).feature_importances_
    features = np.argsort(-importance, kind="stable")[: np.count_nonzero(importance)]
    if _WIDTH * len(features) > held.shape[1]:
        return None
    return RuleLike(tuple(features.tolist()), float((by_tree.argmax(1) == labels).mean()), explained, by_all)


def remark(loaded: Loaded, seen: Floats, rows: Labels | None = None, given: Labels | None = None) -> str | None:
    """What to say of data whose labels look like a rule; None: they do not.

    Args:
        loaded: the data.
        seen: ``[M]``, the probability of the given label by classifiers that never saw it.
        rows: of the data that ``seen`` is about ``[M]``; None: all.
        given: their labels; None: those of the data.
    """
    if loaded.encoder is not None and loaded.texts is None and not isinstance(loaded.encoder, Columns):
        return None  # features of images: none has a meaning of its own
    asked = np.arange(len(loaded.y)) if rows is None else rows
    taken, names = _written(loaded, asked)
    found = _found(taken, loaded.y[asked] if given is None else given, seen, words=loaded.texts is not None)
    if found is None:
        return None
    listed = [str(names[k]) if names is not None else str(k) for k in found.features]
    shown = ", ".join(repr(name) for name in listed[:_NAMED]) + (", ..." if len(listed) > _NAMED else "")
    width = loaded.x.shape[0] if names is None else len(names)
    what = "words" if loaded.texts is not None else "features"
    return (
        f"labels look like a rule of the features: {len(listed)} of {width:,} {what} ({shown}) alone predict "
        f"{100 * found.accuracy:.0f} % of the given labels and explain {found.explained:.2f} of them, all together "
        f"{found.by_all:.2f}. If a rule made the labels, its errors look right to any classifier of these {what}: the "
        "estimated noise is then too low, and wrong labels that follow the rule are missed. Check some labels by hand"
    )


def _written(loaded: Loaded, rows: Labels) -> tuple[Callable[[Labels], Raw], Sequence[str] | None]:
    """What gives the features of some of ``rows`` in which a rule may be written, and their names.

    They are words of texts, or columns of tables, which may have no names.
    """

    def taken(some: Labels) -> Raw:
        return raw(loaded.x, torch.from_numpy(rows[some]))

    if loaded.texts is None:
        return taken, loaded.columns
    if isinstance(loaded.encoder, Tfidf):
        words, _ = loaded.encoder.parts[0]  # a rule is written in them; what follows are parts of words
        return lambda some: taken(some)[:, : len(words)], words
    texts = [loaded.texts[row] for row in rows.tolist()]
    try:
        fitted = Tfidf.fit("tfidf", texts)
    except InputError:  # there are no words, so that none makes a rule
        return lambda some: sparse.csr_matrix((len(some), 0)), ()
    encoded = raw(fitted.encode(texts))
    return lambda some: _rows(encoded, some), fitted.parts[0][0]


def _rows(x: Raw, rows: Labels) -> Raw:
    return sparse.csr_matrix(x)[rows] if sparse.issparse(x) else x[rows]


def _tree() -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_leaf_nodes=_LEAVES, min_samples_leaf=_SMALLEST, random_state=0)


def _held_out(x: Raw, labels: Labels, share: Floats, fold: Labels) -> Floats:
    """Probabilities ``[N, C]`` by trees of the other folds; the class shares are one more sample in every leaf."""
    found = np.empty((len(labels), len(share)))
    for k in range(_FOLDS):
        seen, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        tree = _tree().fit(x[seen], labels[seen])
        leaf = tree.apply(x[seen])
        counts = np.tile(share, (tree.tree_.node_count, 1))
        np.add.at(counts, (leaf, labels[seen]), 1)
        found[held] = (counts / counts.sum(1, keepdims=True))[tree.apply(x[held])]
    result: Floats = np.maximum(found, 1e-4)
    return result
