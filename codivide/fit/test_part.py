"""The test part judged: what it shares with the training part, and which of its labels look wrong.

Nothing is learned or chosen by it. Its labels are judged by the finished classifier of the training part, as
``audit.from_probs`` judges labels by anybody's probabilities. Only those with p(clean) below 1/2 are called wrong,
whatever the classifier answers: else it is five times as many of a test part without a wrong label, and no more are
found of one with (digits, wine and YouTube comments). A classifier that has learned too little judges none.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from codivide.core.errors import TrainingWarning
from codivide.core.types import Floats, Labels, Mask
from codivide.data.labels import same_classes
from codivide.data.leaks import Leaks, leaks
from codivide.data.loaded import Loaded
from codivide.fit.verdict import by_chance
from codivide.methods.features.far_values import far_values
from codivide.noise import alike
from codivide.noise.clean_prob import combined
from codivide.noise.confidence import standing
from codivide.noise.evidence import Evidence
from codivide.runs import label_table
from codivide.training.model_file import Classifier

_FEWEST = 10  # labels of a class, and of the test part, that are compared
_MOST_WRONG = 0.5  # share of labels from which on nothing tells which are wrong
_WORSE, _ERRORS = 0.1, 3.0  # the least difference of shares that is said, and in standard errors
_MOVED = 0.2  # half the sum of the differences of the classes' shares from which on it is said
MOST_SAMPLES = 200_000  # of both parts, among which copies are sought: more would take minutes


@dataclass(frozen=True)
class Tested:
    """What is known of the test part.

    Attributes:
        table: one row a test sample, as the label table has it; None: there is no test part.
        columns: what the training part's table gains.
        summary: what ``summary.json`` says under ``test_part``.
        remarks: what the user should know.
        predicted: the likeliest class of each test sample with its given label, ``[M]`` each.
    """

    table: pd.DataFrame | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    predicted: tuple[Labels, Labels] | None = None


def judged(loaded: Loaded, model: Classifier) -> Tested:
    """The test part of the data, judged by a classifier of the training part.

    Args:
        loaded: the training part, with its test part where there is one.
        model: the finished classifier.
    """
    test = loaded.test
    if test is None:
        return Tested()
    shared, remarks = _leaks(loaded, test)
    probs, same = model.probs(test.x), same_classes(loaded.classes)
    probs = probs if same is None else alike.one_of_each(probs, test.y, same)
    clean_prob = _clean_prob(probs, test.y)
    untold = _untold(probs, test.y, clean_prob)
    if untold is not None:
        clean_prob = np.where(test.y >= 0, 0.5, np.nan)
        warnings.warn(untold, TrainingWarning, stacklevel=2)
        remarks.append(untold)
    suggested = _suggested(probs, test.y, clean_prob)
    table = label_table.build(
        test.ids,
        test.y,
        suggested,
        clean_prob,
        loaded.classes,
        truth=test.truth,
        suggested_prob=probs[np.arange(len(probs)), suggested],
        texts=test.texts,
    )
    table = label_table.of_images(table) if test.of_images else table
    table = label_table.ranked(table, standing(probs, test.y))
    table[label_table.ISSUE] = label_table.is_issue(table)
    table = table.assign(**_columns("test", shared.test, loaded.ids))
    summary = _summary(loaded, test, shared, probs, suggested) | {"judged": untold is None}
    if summary["leaked"]:
        remarks.append(
            f"{summary['leaked']:,} of {summary['samples']:,} test samples are also in the training part, exactly or "
            "nearly (column leaked): the test accuracy counts what was learned by heart"
        )
    for said in (far_values(model, test.x), _other_shares(loaded, test)):
        if said is not None:
            warnings.warn(f"test part: {said}", TrainingWarning, stacklevel=2)
            remarks.append(f"test part: {said}")
    predicted = probs.argmax(1), test.y
    return Tested(table, _columns("train", shared.training, test.ids), summary, remarks, predicted)


def _other_shares(loaded: Loaded, test: Loaded) -> str | None:
    """A sentence on classes that are not as frequent as in the training part; None: they nearly are, or by chance.

    The shares of the labels of both parts differ by half the sum of the absolute differences.
    """
    counts = np.array([np.bincount(part.y[part.y >= 0], minlength=len(loaded.classes)) for part in (loaded, test)])
    size, both = counts.sum(1), counts.sum(0)
    if not size.all():
        return None
    share = counts / size[:, None]
    expected = np.outer(size, both[both > 0]) / size.sum()
    squared = float(((counts[:, both > 0] - expected) ** 2 / expected).sum())
    free = int((both > 0).sum()) - 1
    change = share[1] - share[0]
    if np.abs(change).sum() / 2 <= _MOVED or squared <= free + _ERRORS * np.sqrt(2 * free):
        return None
    k = int(np.abs(change).argmax())
    return (
        f"its classes are not as frequent as in the training part, above all {str(loaded.classes[k])[:40]!r}, which "
        f"{100 * share[0, k]:.0f} % of the training labels and {100 * share[1, k]:.0f} % of the test labels name: the "
        "parts are of other data, or many labels of a class are wrong in one of them. Look at the balanced accuracy"
    )


def harder(tested: Tested, evidence: Evidence) -> list[str]:
    """A remark where test labels are predicted much worse than labels of the training part that were held out.

    Compared are the shares of right predictions of the same classes, in the test part's mixture of them. Wrong labels
    of the training part lower its share, so that less is said than could be.

    Args:
        tested: the test part.
        evidence: what is known of the training part; where nothing was held out, nothing is said.
    """
    if tested.predicted is None or evidence.probs is None or not evidence.held_out:
        return []
    given, hit = evidence.given, evidence.probs.argmax(1) == evidence.given
    classes = evidence.probs.shape[1]
    size = np.bincount(given[given >= 0], minlength=classes)
    share = np.bincount(given[given >= 0], hit[given >= 0], classes) / np.maximum(size, 1)
    predicted, labels = tested.predicted
    compared = (labels >= 0) & (size[labels] >= _FEWEST)
    count = int(compared.sum())
    if count < _FEWEST:
        return []
    mixture = np.bincount(labels[compared], minlength=classes) / count
    expected, reached = float(mixture @ share), float((predicted == labels)[compared].mean())
    variance = expected * (1 - expected) / count + float(mixture**2 @ (share * (1 - share) / np.maximum(size, 1)))
    if expected - reached <= max(_WORSE, _ERRORS * variance**0.5):
        return []
    text = (
        f"test part: {100 * reached:.0f} % of its labels are predicted, and {100 * expected:.0f} % of held-out labels "
        "of the same classes in the training part: its samples differ from those that were learned from, or more of "
        "its labels are wrong"
    )
    warnings.warn(text, TrainingWarning, stacklevel=2)
    return [text]


def _leaks(loaded: Loaded, test: Loaded) -> tuple[Leaks, list[str]]:
    count = len(loaded.y), len(test.y)
    if sum(count) <= MOST_SAMPLES:
        return leaks(loaded, test), []
    none = Leaks(*(np.full(size, -1, dtype=np.int64) for size in count))
    return none, [f"more than {MOST_SAMPLES:,} samples: it was not looked for what both parts share"]


def _clean_prob(probs: Floats, given: Labels) -> Floats:
    """p(clean) ``[M]``, NaN without a label; where the labels are of one class only, their probability."""
    if len(np.unique(given[given >= 0])) > 1:
        return np.where(given >= 0, combined(probs, given, held_out=True), np.nan)
    own: Floats = probs[np.arange(len(given)), given.clip(min=0)]
    return np.where(given >= 0, own, np.nan)


def _untold(probs: Floats, given: Labels, clean_prob: Floats) -> str | None:
    """Why nobody can tell which labels are wrong: most would be, or they are predicted by chance; None: one can."""
    predicted, known = probs.argmax(1), given >= 0
    most = known.sum() >= _FEWEST and float((clean_prob[known] < 0.5).mean()) > _MOST_WRONG
    if not most and not (known.any() and by_chance(predicted, given)):
        return None
    return (
        f"test part: its labels are not judged, since only {100 * (predicted == given)[known].mean():.0f} % of them "
        "are predicted: too little was learned to tell wrong ones from right ones, or most are wrong"
    )


def _suggested(probs: Floats, given: Labels, clean_prob: Floats) -> Labels:
    """The given label where it is likely right, else the likeliest other class."""
    others = probs.copy()
    labelled = np.flatnonzero(given >= 0)
    others[labelled, given[labelled]] = -1
    return np.where((given >= 0) & (clean_prob >= 0.5), given, others.argmax(1))


def _columns(part: str, twin: Labels, ids: Any) -> dict[str, Any]:
    """The columns that say what the other part, whose samples are called ``ids``, shares with this one."""
    names = [str(ids[row]) if row >= 0 else None for row in twin.tolist()]
    return {
        label_table.PART: part,
        label_table.LEAKED: twin >= 0,
        label_table.TWIN: pd.Series(names, dtype=object).to_numpy(),
    }


def _summary(loaded: Loaded, test: Loaded, shared: Leaks, probs: Floats, suggested: Labels) -> dict[str, Any]:
    known: Mask = test.y >= 0
    leaked = shared.test >= 0
    other = leaked & known & (loaded.y[shared.test] >= 0) & (loaded.y[shared.test] != test.y)
    found: dict[str, Any] = {
        "samples": len(test.y),
        "labelled": int(known.sum()),
        "leaked": int(leaked.sum()),
        "leaked_of_other_label": int(other.sum()),
        "leaked_training_samples": int((shared.training >= 0).sum()),
        "label_issues": int((known & (suggested != test.y)).sum()),
    }
    alone = known & ~leaked
    if leaked.any() and alone.any():
        found["accuracy_without_leaked"] = float((probs.argmax(1) == test.y)[alone].mean())
    return found
