"""``consensus``: what the answers of several annotators come to, with a classifier's probabilities where there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from codivide.audit.probs_files import beside
from codivide.audit.reading import checked, order_of, read
from codivide.core.by_value import ByValue
from codivide.core.errors import InputError, either
from codivide.core.types import UNLABELLED, Floats
from codivide.data.annotators import LONG, Answers, from_matrix, is_long, key_column, several
from codivide.data.arrow import as_pandas
from codivide.data.labels import OneClassError
from codivide.data.options import ReadOptions
from codivide.data.table_sets import split_answers
from codivide.data.tables import read_table
from codivide.noise.consensus import Consensus
from codivide.noise.settle import undecided


@dataclass(frozen=True, eq=False)
class AgreedLabels(ByValue):
    """The consensus of several annotators.

    Attributes:
        labels: ``[N]`` in the user's own values and their type; objects with None where nobody answered some sample.
        confidence: ``[N]`` in [0, 1], how probable that label is; NaN where there is none.
        probs: ``[N, C]`` of the true class; rows sum to 1.
        classes: class values in the order of the columns.
        annotators: one row an annotator: name, labels (how many), quality, agreement, copies; see
            ``codivide.noise.consensus.Consensus``.
        rule: how the consensus was come to.
        classifier: the power to which a classifier's probabilities count; 0: not at all.
        remarks: who counts once, whose silence counts, labels that nobody gave, annotators without an answer.
    """

    labels: NDArray[Any]
    confidence: Floats
    probs: Floats
    classes: tuple[Any, ...]
    annotators: pd.DataFrame
    rule: str
    classifier: float
    remarks: tuple[str, ...]


def consensus(
    y: Any,
    pred_probs: Any = None,
    *,
    classes: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
    unlabelled: int | None = UNLABELLED,
) -> AgreedLabels:
    """What the answers of several annotators come to, and how good each annotator is.

    Args:
        y: ``[N, annotators]``: numbers, texts or categories; -1, None, NaN or an empty text where not asked.
        pred_probs: ``[N, C]`` of a classifier, non-negative, rows sum to 1; column k is ``classes[k]``. Cross-validated
            (fitted to a first consensus, such as this function gives without them): a classifier that has seen a label
            repeats it. They count as far as they explain the answers.
        classes: the classes in the order of the columns; None: as in ``audit.from_probs``.
        names: of the annotators; None: the columns of a data frame, else their numbers.
        unlabelled: the number that means "not asked"; None: there is none.

    Returns:
        Labels, probabilities and annotators.

    Raises:
        InputError: one annotator only, labels that cannot be read (it names row and annotator), or probabilities that
            do not fit.

    Examples:
        >>> import codivide
        >>> y = [["cat", "cat", None], ["dog", "dog", "cat"], [None, "dog", "dog"], ["cat", "cat", "cat"]]
        >>> codivide.consensus(y).labels.tolist()
        ['cat', 'dog', 'dog', 'cat']
    """
    if not several(y):
        raise InputError(f"y has shape {np.shape(y)}; it must be [samples, annotators] with two annotators or more")
    return agreed(from_matrix(y, names), pred_probs, ReadOptions(unlabelled=unlabelled), classes)


def agreed(
    answers: Answers, pred_probs: Any, options: ReadOptions, classes: Sequence[Any] | None = None
) -> AgreedLabels:
    """The same of answers in any form, such as those of a table."""
    pred_probs = as_pandas(pred_probs)
    probs = None if pred_probs is None else checked(pred_probs)
    if probs is not None and len(probs) != answers.samples:
        raise InputError(f"pred_probs has {len(probs)} rows, but y has {answers.samples}; give one for each sample")
    if probs is not None and classes is None:
        classes = order_of(answers.labels, pred_probs, options.unlabelled)
    try:
        found, known = answers.settle(options, classes)
    except OneClassError as error:
        if len(error.classes) != 1:
            raise
        raise InputError(
            f"every answer is {error.classes[0]!r}, so there is nothing to agree on; "
            + either("add answers of another class", "classes=[...] names what else there can be")
        ) from None
    values = np.array([*known, None], dtype=object)
    if probs is not None:
        read(values[found.labels], pred_probs, classes=classes, what="the consensus of y")
        found, known = answers.settle(options, classes, probs=probs)
    rows = np.arange(answers.samples)
    everywhere = bool((found.labels >= 0).all())  # then a classifier takes them as they are
    return AgreedLabels(
        np.asarray(known)[found.labels] if everywhere else values[found.labels],
        np.where(found.labels >= 0, found.probs[rows, found.labels], np.nan),
        found.probs,
        known,
        pd.DataFrame(found.annotators()),
        found.rule,
        found.classifier,
        (*found.remarks, *_undecided(found)),
    )


def _undecided(found: Consensus) -> list[str]:
    said = undecided(found)
    more = either("--probs FILE", "pred_probs")
    return [] if said is None else [f"{said}. The probabilities of a classifier tell: {more}, or fit on the data"]


def of_table(path: Path, options: ReadOptions, probs: Path | None = None) -> tuple[pd.DataFrame, AgreedLabels]:
    """The samples of a table, and what their annotators come to.

    Args:
        path: a table with several annotators: a column each, or a row an answer.
        options: which columns are theirs, or the table of answers.
        probs: a table with a column for each class, named like it: the probabilities of a classifier for each sample,
            in the same order or with the same ``id`` (``path``, ``text``).

    Raises:
        InputError: no annotators, or probabilities that do not fit.
    """
    table = read_table(path, options)
    if is_long(table) and not options.annotators:  # what else is said of an answer, such as its time, is of no matter
        table = table[[key_column(table), *LONG]]
    samples, answers = split_answers(table, path, options)
    if answers is None:
        raise InputError(
            f"{path} has one label a sample: several annotators have columns label_..., a row an answer with columns "
            "annotator, label and id (or path, text), or are named by --annotators"
        )
    return samples, agreed(answers, None if probs is None else beside(read_table(probs), probs, samples, path), options)
