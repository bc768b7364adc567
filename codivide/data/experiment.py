"""What an experiment does to loaded data: take a part, spoil labels, hide labels, add or hold out a test part.

In this order: ``part``, then ``spoil``, then ``keep_labels``, so that some of the labels that stay are wrong, and
``expand`` last.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from codivide.core.errors import InputError
from codivide.core.types import UNLABELLED, Labels
from codivide.data.groups import together
from codivide.data.loaded import Loaded, subset
from codivide.data.options import ReadOptions
from codivide.data.rows import TensorRows, check_alike
from codivide.data.source import Part
from codivide.data.sources import load_raw
from codivide.data.table_columns import arranged
from codivide.data.views import ViewSpec
from codivide.noise import synthetic as noises


def with_test(loaded: Loaded, test: str | None, options: ReadOptions) -> Loaded:
    """Evaluate on ``test`` (any source; of a set with two parts, the held-out one); None: as it is."""
    if test is None:
        return loaded
    if loaded.encoder is not None:  # fitted on the training part alone
        options = replace(options, encoder=loaded.encoder)
    other = load_raw(test, options=replace(options, annotators=(), answers=None), classes=loaded.classes)
    return beside(loaded, other.test or other, f"--test {test}")


def beside(loaded: Loaded, test: Loaded, where: str) -> Loaded:
    """The data with another test part, whose columns are brought into the order of theirs.

    Args:
        loaded: the data.
        test: as it was read.
        where: it comes from, for the message.

    Raises:
        InputError: samples of another kind, or columns that are missing.
    """
    test = _arranged(test, loaded.columns, where)
    check_alike(loaded.x, test.x, where)
    return replace(loaded, test=test)


def _arranged(loaded: Loaded, columns: tuple[str, ...] | None, where: str) -> Loaded:
    """A table with its columns in the order of those of the training data."""
    if columns is None or loaded.columns is None or loaded.columns == columns or not isinstance(loaded.x, TensorRows):
        return loaded
    names = pd.DataFrame([range(len(loaded.columns))], columns=list(loaded.columns))
    order = arranged(names, columns, where).to_numpy()[0]
    rows = loaded.x[torch.arange(len(loaded.x))][:, torch.from_numpy(order.copy())]  # it may run backwards
    return replace(loaded, x=TensorRows(rows), columns=columns)


def part(loaded: Loaded, limit: int | None, seed: int) -> Loaded:
    """A random ``limit`` of the training samples, in their order; None or more than there are: all."""
    if limit is None or limit >= len(loaded.y):
        return loaded
    return subset(loaded, Part(limit, seed).rows(len(loaded.y)))


def spoil(loaded: Loaded, spec: str | None, seed: int) -> Loaded:
    """Noise on the given labels; what they were becomes the truth where that is not known."""
    if spec is None:
        return loaded
    generator = np.random.default_rng(seed)
    kind = noises.parse(spec)
    features = loaded.x[torch.arange(len(loaded.y))].numpy() if kind.kind == "instance" else None
    noisy = noises.apply(kind, loaded.y, loaded.classes, generator, features=features, dataset=loaded.name)
    return replace(loaded, y=noisy, truth=loaded.y if loaded.truth is None else loaded.truth)


def as_table(loaded: Loaded) -> Loaded:
    """Small images as rows of numbers, one for each pixel, in both parts."""

    def flat(part: Loaded) -> Loaded:
        x = part.x[torch.arange(len(part.y))].flatten(1).float()
        return replace(part, x=TensorRows(x), augment="jitter")

    return replace(flat(loaded), test=None if loaded.test is None else flat(loaded.test))


def keep_labels(loaded: Loaded, per_class: int | None, seed: int) -> Loaded:
    """Hide all but ``per_class`` given labels of every class; None: as it is.

    Which labels stay is drawn by the seed, and those of a smaller number stay with a larger one too. Classes are those
    of the given labels, right or wrong. What the labels were becomes the truth where that is not known.

    Warns:
        UserWarning: once, when classes have fewer labels (all of theirs stay), or when no sample is without a label.

    Raises:
        InputError: ``per_class`` below 1, or no label at all.
    """
    if per_class is None:
        return loaded
    if per_class < 1:
        raise InputError(f"{per_class} labels a class are asked for; it must be at least 1")
    counts = _label_counts(loaded)
    kept = _kept(loaded, np.full(len(counts), per_class), seed)
    few = [f"{loaded.classes[k]}: {counts[k]}" for k in np.flatnonzero(counts < per_class)]
    remarks = ["no sample is without a label"] if (kept >= 0).all() else []
    if few:
        listed = ", ".join(few[:10]) + (", ..." if len(few) > 10 else "")
        remarks.append(f"classes with fewer labels keep all of them ({listed})")
    if remarks:
        warnings.warn(f"of {per_class} labels a class: {'; '.join(remarks)}", stacklevel=2)
    return replace(loaded, y=kept, truth=loaded.y if loaded.truth is None else loaded.truth)


def keep_some_labels(loaded: Loaded, labels: int | None, seed: int) -> Loaded:
    """Hide all but ``labels`` given labels, classes being as frequent among them as among all; None: as it is.

    Labels are dealt out one by one, each to the class that lacks most of its frequency, relative to that of the most
    frequent one (how MixMatch's splits were made). Which ones stay is drawn as in ``keep_labels``.

    Raises:
        InputError: fewer than 1, or more than there are.
    """
    if labels is None:
        return loaded
    counts = _label_counts(loaded)
    if not 1 <= labels <= counts.sum():
        raise InputError(f"{labels} labels are asked for; {loaded.name} has {counts.sum()}")
    frequency = counts / counts.max()
    dealt = np.zeros_like(counts)
    for _ in range(labels):
        lack = np.where(dealt < counts, frequency - dealt / max(dealt.max(), 1), -np.inf)
        dealt[lack.argmax()] += 1
    kept = _kept(loaded, dealt, seed)
    return replace(loaded, y=kept, truth=loaded.y if loaded.truth is None else loaded.truth)


def expand(loaded: Loaded, view: str | None, seed: int) -> Loaded:
    """Every image and one augmented copy of it, with the same label, drawn once before training; None: as it is.

    So is "Expansion" in Nishi et al. 2021; there nothing is augmented while training (``augment="none"``).

    Args:
        loaded: uint8 images in memory.
        view: "weak" or "strong", as for photos.
        seed: of the copies.

    Raises:
        InputError: data that are not images of whole numbers, or another view.
    """
    if view is None:
        return loaded
    if view not in ("weak", "strong"):
        raise InputError(f"{view!r} is no view to expand with; give 'weak' or 'strong'")
    if loaded.x.dtype != torch.uint8 or len(loaded.x.shape) != 3:
        raise InputError(f"{loaded.name} has no uint8 images that could be expanded")
    spec = ViewSpec("photo", torch.zeros(loaded.x.shape[0]), torch.ones(loaded.x.shape[0]))
    generator = torch.Generator().manual_seed(seed)
    parts = [loaded.x[ids] for ids in torch.split(torch.arange(len(loaded.y)), 1024)]
    copies = [(255 * spec.views()[view](part, generator)).round().clamp(0, 255).to(torch.uint8) for part in parts]
    rows = TensorRows(torch.cat([part.contiguous() for part in (*parts, *copies)]))
    ids = [*map(str, loaded.ids), *(f"{name} again" for name in loaded.ids)]
    truth = None if loaded.truth is None else np.tile(loaded.truth, 2)
    return replace(loaded, x=rows, y=np.tile(loaded.y, 2), truth=truth, ids=ids, sizes=None, contents=None)


def _label_counts(loaded: Loaded) -> Labels:
    """Given labels of every class; InputError where there is none at all."""
    counts = np.bincount(loaded.y[loaded.y >= 0], minlength=len(loaded.classes))
    if not counts.any():
        raise InputError(f"{loaded.name} has no label that could be kept")
    return counts


def _kept(loaded: Loaded, wanted: Labels, seed: int) -> Labels:
    """The given labels of which as many stay as are wanted of every class; the seed draws which."""
    order = np.random.default_rng([seed, 2]).permutation(len(loaded.y))
    kept = np.full(len(loaded.y), UNLABELLED, dtype=np.int64)
    for label, count in enumerate(wanted):
        kept[order[loaded.y[order] == label][:count]] = label
    return kept


def hold_out(loaded: Loaded, share: float, seed: int) -> Loaded:
    """Test on a random ``share`` of the labelled samples with their GIVEN labels, and train on all the others.

    What hyper-parameters may be chosen by: no true label and no test label is used, so accuracies are those of
    agreeing with noisy labels. Copies and groups (``data.groups``) are not divided: they are held out whole.

    Raises:
        InputError: a share outside (0, 1), or one that leaves fewer than two samples on a side.
    """
    if not 0 < share < 1:
        raise InputError(f"a held-out share is above 0 and below 1, not {share}")
    labelled = np.flatnonzero(loaded.y >= 0)
    order = labelled[np.random.default_rng([seed, 1]).permutation(len(labelled))]
    count = round(share * len(order))
    chosen = order[:count]
    if (known := together(loaded)) is not None:
        groups = known.groups[order]
        _, first, inverse, size = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
        drawn = np.argsort(first)  # the groups in the order in which they come first
        taken = np.zeros(len(drawn), dtype=bool)
        taken[drawn[size[drawn].cumsum() <= count]] = True
        chosen = order[taken[inverse]]
    if min(len(chosen), len(order) - len(chosen)) < 2:
        raise InputError(f"{len(order)} labelled samples are too few to hold out {100 * share:.0f} % of them")
    held = replace(subset(loaded, np.sort(chosen)), truth=None, test=None, name=f"{loaded.name} held out")
    rest = np.arange(len(loaded.y))
    if known is not None:  # copies without a label
        rest = rest[~np.isin(known.groups, known.groups[chosen])]
    return replace(subset(loaded, np.setdiff1d(rest, chosen)), test=held)
