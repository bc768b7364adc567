"""What is odd about the labels of a data set: what was read as missing, twins, classes too small to judge, an id."""

from __future__ import annotations

import warnings

import numpy as np

from codivide.core.errors import TrainingWarning, option
from codivide.core.types import Labels, Mask
from codivide.core.words import counted, first_few
from codivide.data import columns, label_copies
from codivide.data.labels import twins
from codivide.data.loaded import Loaded
from codivide.data.mistyped import meant
from codivide.data.targets import proposal
from codivide.data.units import ERRORS
from codivide.noise.too_small import FEWEST, judged_classes

_SHOWN = 5  # classes or pairs that a remark names
_LEAST_ROWS = 10  # labels below which so many classes as rows say nothing
_LIKE_MISSING = (
    "na",
    "n/a",
    "<na>",
    "nan",
    "none",
    "null",
    "nil",
    "?",
    "-",
    "--",
    "unknown",
    "unlabeled",
    "unlabelled",
    "missing",
    *ERRORS,
)


def label_remarks(loaded: Loaded, least: int = FEWEST) -> list[str]:
    """Sentences for the user on the training labels; none where there is nothing to say.

    Args:
        loaded: the data.
        least: labels of a class that can be judged.
    """
    counts = np.bincount(loaded.y[loaded.y >= 0], minlength=len(loaded.classes))
    names = [str(name) for name in loaded.classes]
    remarks = [] if loaded.annotations is None else list(loaded.annotations.remarks)
    remarks += [
        *columns.remarks(loaded.encoder, numbered=_numbered(loaded)),
        *label_copies.remarks(loaded),
        *_missing(loaded),
        *_merged(loaded),
        *_twins(names, counts),
        *_like_missing(names, counts),
    ]
    if are_no_classes(loaded):
        labelled, held = int(counts.sum()), int((counts > 0).sum())
        meant = proposal(loaded) or "is this an id column?"
        return [*remarks, f"there are {held:,} classes in {labelled:,} labels: {meant}"]
    left_out = ~judged_classes(loaded.y, len(names), least) & (counts > 0)
    few = (counts > 0) & (counts < least) if (counts >= least).any() else left_out
    remarks += _mistyped(names, counts, ~few & (counts > 0))
    return [*remarks, *_too_small(names, counts, few, least, left_out=bool(left_out.any()))]


def _numbered(loaded: Loaded) -> bool:
    return all(isinstance(name, int) for name in loaded.ids[:_LEAST_ROWS])


def are_no_classes(loaded: Loaded) -> bool:
    """Whether there are more classes than half of the labels: numbers, or ids. None of them can be judged."""
    labelled = loaded.y[loaded.y >= 0]
    return len(labelled) >= _LEAST_ROWS and 2 * len(np.unique(labelled)) > len(labelled)


def warn_about_labels(loaded: Loaded, least: int = FEWEST) -> None:
    """A warning for each of ``label_remarks``."""
    for remark in label_remarks(loaded, least):
        warnings.warn(remark, TrainingWarning, stacklevel=3)


def _missing(loaded: Loaded) -> list[str]:
    found = loaded.labels_read.missing
    if not found.keys() - {"no value", "''"}:
        return []  # an empty cell is what it seems
    listed = ", ".join(f"{value} {count:,}" for value, count in found.items())
    total = sum(found.values())
    text = f"{total:,} label{'s were' if total > 1 else ' was'} read as missing: {listed}"
    return [f"{text}. If it is a class, keep it ({option('keep_na', True)})"]


def _merged(loaded: Loaded) -> list[str]:
    found = loaded.labels_read.merged
    if not found:
        return []
    listed = [
        f"{', '.join(f'{spelling!r} {count:,}' for spelling, count in others.items())} into {kept!r}"
        for kept, others in found.items()
    ]
    total = sum(count for others in found.values() for count in others.values())
    return [f"{counted(total, 'label was', 'labels were')} merged: {first_few(listed)}"]


def _twins(names: list[str], counts: Labels) -> list[str]:
    size = dict(zip(names, counts.tolist(), strict=True))
    groups = [" and ".join(f"{name!r} ({size[name]:,})" for name in group) for group in twins(names)]
    if not groups:
        return []
    points = ", or by .0 behind a number" if any(".0'" in group for group in groups) else ""
    text = f"classes that differ only by case, white space or Unicode form{points}: {first_few(groups)}"
    return [
        f"{text}. If they are the same, merge them ({option('merge_labels', True)}): they are learned apart. "
        "None is called wrong for another; where they are not the same, rename one"
    ]


def _like_missing(names: list[str], counts: Labels) -> list[str]:
    found = [
        f"{name!r} ({count:,})"
        for name, count in zip(names, counts.tolist(), strict=True)
        if count and name.strip().casefold() in _LIKE_MISSING
    ]
    text = f"{first_few(found)} counts as a class; if it means 'no label', leave these cells empty"
    return [text] if found else []


def _mistyped(names: list[str], counts: Labels, enough: Mask) -> list[str]:
    """Rare classes, large enough to be judged, whose name may be a typing error."""
    close = meant(names, counts, np.flatnonzero(enough).tolist())
    found = [f"{names[k]!r} ({counts[k]:,}) of {name!r}" for k, name in close.items()]
    text = f"classes that may be typing errors of larger ones: {first_few(found)}"
    return [f"{text}. If they are, mend them in your data: they are learned apart"] if found else []


def _too_small(names: list[str], counts: Labels, few: Mask, least: int, *, left_out: bool) -> list[str]:
    """The classes that are too small to judge, with the name that may have been meant."""
    if not few.any():
        return []
    shown, found = np.flatnonzero(few).tolist()[:_SHOWN], []
    close = meant(names, counts, shown)
    for k in shown:
        text = f"class {names[k]!r} has {counts[k]} sample{'s' if counts[k] > 1 else ''}"
        found.append(text + (f"; close to {close[k]!r}" if k in close else ""))
    more = int(few.sum()) - len(found)
    text = ". ".join(found) + (f". And {more:,} more" if more else "")
    consequence = ": the estimates leave it out" if left_out else ""
    return [f"{text}. A class of fewer than {least} labels cannot be judged{consequence}"]
