"""Synthetic label noise: pure functions ``(labels [N], ..., generator) -> noisy labels [N]``.

Every noise here but the instance-dependent one is a transition matrix ``T [C, C]`` with ``T[c, d]`` the
probability that a label ``c`` is written as ``d``, and every label is drawn once, independently of the
others, from the row of its own true class. Counts are therefore binomial, not exact: a rate of 0.4 over
50,000 labels comes out as 0.400 +/- 0.002. Because the new label depends on the true one only, all flips
are simultaneous and none is flipped again (a loop over classes in place would send cat -> dog -> cat).

Labels of -1 (unlabelled) stay -1. The input is never written to. Row ``i`` always takes the ``i``-th
draw, so that removing a label elsewhere changes no other row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from codivide.core.errors import InputError, unknown
from codivide.core.types import UNLABELLED, AnyFloats, Floats, Labels

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)

#: truck -> automobile, bird -> airplane, cat <-> dog, deer -> horse (Patrini et al. 2017).
CIFAR10_MAPPING: Mapping[int, int] = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}

#: The superclass (0 to 19) of each of the 100 fine classes, both in the alphabetical order of the
#: published files.
CIFAR100_SUPERCLASS = (
    *(4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11),
    *(6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5),
    *(5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17),
    *(10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13),
    *(16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13),
)

#: What may stand before the colon in ``--noise KIND:RATE``; a matrix of the user's own is named by its file.
KINDS = ("symmetric", "symmetric-exclusive", "asymmetric", "pair", "instance")

_INSTANCE_DEVIATION = 0.1
_MATRIX_TOLERANCE = 1e-6
_FILES = (".csv", ".npy")
_ROUNDED = 1e-3  # by how much the sum of a row in a file may differ from 1


@dataclass(frozen=True)
class NoiseSpec:
    """A noise as the command line names it, ``symmetric:0.4``; ``str`` gives that text back.

    Attributes:
        kind: one of ``KINDS``, or "matrix".
        rate: the asked rate, 0 to 1; of a matrix NaN.
        file: that holds the matrix; "": there is none.
    """

    kind: str
    rate: float
    file: str = ""

    def __str__(self) -> str:
        return self.file or f"{self.kind}:{self.rate:g}"


def parse(text: str) -> NoiseSpec:
    """Read ``KIND:RATE``, for example ``symmetric:0.4``; ``KIND`` is one of ``KINDS``, ``RATE`` 0 to 1.

    Or the name of a file with a transition matrix, ``.csv`` or ``.npy`` (see ``read_matrix``).

    Raises:
        InputError: the kind is unknown (the nearest one is named), or the rate is missing or not in 0 to 1.
    """
    if text.strip().endswith(_FILES):
        return NoiseSpec("matrix", math.nan, text.strip())
    kind, _, amount = text.strip().partition(":")
    if kind not in KINDS:
        raise unknown("noise", kind, (*KINDS, "FILE.csv (a transition matrix)"))
    try:
        rate = float(amount)
    except ValueError:
        raise InputError(f"noise {text!r} needs a rate from 0 to 1, as in '{kind}:0.4'") from None
    _check_rate(rate)
    return NoiseSpec(kind, rate)


def apply(
    spec: NoiseSpec,
    labels: Labels,
    classes: Sequence[Any],
    generator: np.random.Generator,
    *,
    features: np.ndarray[Any, Any] | None = None,
    dataset: str = "",
) -> Labels:
    """Apply the noise that ``spec`` names.

    ``asymmetric`` takes the CIFAR-10 mapping where the ten class names (in any order) or the data set are
    CIFAR-10's, the cycle within superclasses where they are CIFAR-100's (in alphabetical order), and otherwise the
    next class.

    Args:
        spec: what ``parse`` returned.
        labels: ``[N]`` int64, 0 to ``len(classes) - 1``, or -1.
        classes: the class names, one per label value.
        generator: the only source of randomness.
        features: ``[N, ...]`` raw samples of any number type, read by ``instance`` only.
        dataset: the data set's name, for example ``cifar100``.

    Raises:
        InputError: ``instance`` without features, fewer than 2 classes, a label outside the classes, or a file that
            holds no matrix of these classes.
    """
    count = len(classes)
    if spec.file:
        return from_matrix(labels, read_matrix(spec.file, classes), generator)
    if spec.kind == "symmetric":
        return symmetric(labels, spec.rate, count, generator)
    if spec.kind == "symmetric-exclusive":
        return symmetric(labels, spec.rate, count, generator, keep_true=False)
    if spec.kind == "pair":
        return pair_flip(labels, spec.rate, count, generator)
    if spec.kind == "asymmetric":
        return asymmetric(labels, spec.rate, _mapping_for(classes, dataset), generator)
    if features is None:
        raise InputError("instance-dependent noise needs the samples themselves, and none were given")
    return instance_dependent(labels, features, spec.rate, count, generator)


def matrix_of(spec: NoiseSpec, classes: Sequence[Any]) -> Floats:
    """The matrix ``T [C, C]`` from whose rows ``apply`` draws, row = true class.

    The class names alone tell CIFAR-10 (in any order) and CIFAR-100 (in alphabetical order).

    Raises:
        InputError: ``instance``, which has no one matrix, or fewer than 2 classes; as ``read_matrix`` of a file.
    """
    count = len(classes)
    _check_classes(count)
    if spec.file:
        return read_matrix(spec.file, classes)
    if spec.kind == "instance":
        raise InputError("instance-dependent noise has no one transition matrix")
    if spec.kind in ("symmetric", "symmetric-exclusive"):
        return _uniform_matrix(spec.rate, count, keep_true=spec.kind == "symmetric")
    mapping = next_class_cycle(count) if spec.kind == "pair" else _mapping_for(classes)
    return _mapped_matrix(spec.rate, mapping, count)


def read_matrix(file: str, classes: Sequence[Any]) -> Floats:
    """The matrix ``T [C, C]`` in a ``.csv`` or ``.npy`` file; rows that sum to 1 within 0.001 are made to.

    A ``.csv`` has numbers alone, row = true class and column = given class, in the order of ``classes``.

    Raises:
        InputError: no such file, other things in it, or a row that is not a distribution over these classes.
    """
    order = f"{len(classes)} rows of {len(classes)} numbers, in the order of the classes {_listed(classes)}"
    try:
        if file.endswith(".npy"):
            found = np.load(file, allow_pickle=False)
        else:
            found = np.loadtxt(file, delimiter=",", ndmin=2, encoding="utf-8-sig")  # Excel begins with a mark
        matrix = np.asarray(found, dtype=np.float64)
    except (OSError, ValueError) as error:
        raise InputError(
            f"transition matrix {file} cannot be read: {str(error).rstrip('.')}; there must be {order}"
        ) from None
    if matrix.shape != (len(classes), len(classes)):
        raise InputError(f"transition matrix {file} is {list(matrix.shape)}; there must be {order}")
    sums = matrix.sum(axis=1)
    wrong = ~(np.isfinite(matrix).all(axis=1) & (matrix >= 0).all(axis=1) & (abs(sums - 1) <= _ROUNDED))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"transition matrix {file}: row {row}, of true class {classes[row]}, is no distribution (row = true class, "
            f"column = given): its numbers sum to {sums[row]:g}, and the least is {matrix[row].min():g}"
        )
    shares: Floats = matrix / sums[:, None]
    return shares


def _listed(classes: Sequence[Any]) -> str:
    return ", ".join(map(str, classes[:10])) + (", ..." if len(classes) > 10 else "")


def symmetric(
    labels: Labels, rate: float, classes: int, generator: np.random.Generator, *, keep_true: bool = True
) -> Labels:
    """Replace a share ``rate`` of the labels by a class drawn uniformly.

    Args:
        labels: ``[N]`` int64, 0 to ``classes - 1``, or -1.
        rate: share of labels redrawn, 0 to 1.
        classes: number of classes ``C``, at least 2.
        generator: the only source of randomness.
        keep_true: True draws among all C classes, so that the true one may come back (DivideMix, Tanaka et
            al.): expected effective rate ``rate * (C - 1) / C``. False draws among the other C - 1
            (co-teaching): expected effective rate ``rate``.
    """
    _check_rate(rate)
    _check_classes(classes)
    return from_matrix(labels, _uniform_matrix(rate, classes, keep_true=keep_true), generator)


def asymmetric(labels: Labels, rate: float, mapping: Mapping[int, int], generator: np.random.Generator) -> Labels:
    """Flip each label that ``mapping`` knows to its image with probability ``rate``, all at once.

    Expected effective rate: ``rate`` times the share of labels whose class is mapped to another one
    (CIFAR-10's mapping covers half of the images, so 0.4 gives 0.2 overall). Source: Patrini et al. 2017.

    Args:
        labels: ``[N]`` int64, or -1.
        rate: flip probability, 0 to 1.
        mapping: class -> class; a class that is not a key never flips.
        generator: the only source of randomness.
    """
    _check_rate(rate)
    classes = 1 + max([int(labels.max(initial=0)), *mapping.keys(), *mapping.values()])
    return from_matrix(labels, _mapped_matrix(rate, mapping, classes), generator)


def pair_flip(labels: Labels, rate: float, classes: int, generator: np.random.Generator) -> Labels:
    """Flip each label ``c`` to ``(c + 1) mod C`` with probability ``rate``; expected effective rate ``rate``.

    Source: Han et al. 2018 (co-teaching).
    """
    _check_classes(classes)
    return asymmetric(labels, rate, next_class_cycle(classes), generator)


def next_class_cycle(classes: int) -> dict[int, int]:
    """The mapping ``c -> (c + 1) mod classes``."""
    return {label: (label + 1) % classes for label in range(classes)}


def cifar100_superclass_cycle() -> dict[int, int]:
    """Each CIFAR-100 fine class to the next one of its own superclass (Patrini et al. 2017)."""
    mapping: dict[int, int] = {}
    for superclass in range(20):
        members = [fine for fine, coarse in enumerate(CIFAR100_SUPERCLASS) if coarse == superclass]
        mapping |= dict(zip(members, members[1:] + members[:1], strict=True))
    return mapping


def from_matrix(labels: Labels, matrix: AnyFloats, generator: np.random.Generator) -> Labels:
    """Draw every label from the row of its true class.

    Expected effective rate: ``1 - mean(T[y, y])`` over the labels ``y``.

    Args:
        labels: ``[N]`` int64, 0 to C - 1, or -1.
        matrix: ``T [C, C]``, rows of probabilities that sum to 1 (within 1e-6).
        generator: the only source of randomness.

    Raises:
        InputError: the matrix is not square or not stochastic, or a label has no row.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"a transition matrix is [classes, classes], not {list(matrix.shape)}")
    sums = matrix.sum(axis=1)
    wrong = ~((matrix >= 0).all(axis=1) & (abs(sums - 1) <= _MATRIX_TOLERANCE))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(f"row {row} of the transition matrix is not a distribution: {matrix[row].tolist()}")
    _check_labels(labels, len(matrix))
    # Dividing makes the last positive entry exactly 1, so no draw can land on a class of probability 0
    # after it.
    cumulative = np.cumsum(matrix, axis=1)
    cumulative /= cumulative[:, -1:]
    draws = generator.random(len(labels))
    noisy = labels.copy()
    for true_class, row in enumerate(cumulative):
        members = labels == true_class
        noisy[members] = np.searchsorted(row, draws[members], side="right")
    return noisy


def instance_dependent(
    labels: Labels,
    features: np.ndarray[Any, Any],
    rate: float,
    classes: int,
    generator: np.random.Generator,
) -> Labels:
    """Flip labels with a probability and towards a class that depend on the sample itself.

    Each sample gets its own flip probability ``q``, normal around ``rate`` with deviation 0.1, cut
    symmetrically at the nearer of 0 and 1 so that its mean stays ``rate``. Each true class gets a random
    projection ``W [D, C]``; a sample flips to another class with probabilities ``q * softmax(x W)``, the
    true class left out, where ``x`` is standardised per feature. Expected effective rate: ``rate``.
    Source: Xia et al. 2020, "Part-dependent label noise", algorithm 2 (who cut at 0 and 1, which moves
    the mean at rates near them).

    Args:
        labels: ``[N]`` int64, 0 to ``classes - 1``, or -1.
        features: ``[N, ...]``, any number type; flattened to ``[N, D]`` class by class.
        rate: mean flip probability, 0 to 1.
        classes: number of classes ``C``, at least 2.
        generator: the only source of randomness.
    """
    _check_rate(rate)
    _check_classes(classes)
    _check_labels(labels, classes)
    if len(features) != len(labels):
        raise InputError(f"{len(features)} rows of features for {len(labels)} labels")
    reach = min(rate, 1 - rate) / _INSTANCE_DEVIATION
    ranks = generator.uniform(ndtr(-reach), ndtr(reach), len(labels))
    flip = np.clip(rate + _INSTANCE_DEVIATION * ndtri(ranks), 0.0, 1.0)
    draws = generator.random(len(labels))
    mean, deviation = _moments(features)
    noisy = labels.copy()
    for true_class in range(classes):
        projection = generator.standard_normal((len(mean), classes), dtype=np.float32)
        members = np.flatnonzero(labels == true_class)
        x = features[members].reshape(len(members), len(mean)).astype(np.float32)
        scores = ((x - mean) / deviation) @ projection
        scores[:, true_class] = -np.inf
        probability = np.exp((scores - scores.max(axis=1, keepdims=True)).astype(np.float64))
        probability *= (flip[members] / probability.sum(axis=1))[:, None]
        probability[:, true_class] = 1 - flip[members]
        cumulative = np.cumsum(probability, axis=1)
        cumulative /= cumulative[:, -1:]
        noisy[members] = (draws[members, None] >= cumulative).sum(axis=1)
    return noisy


def transition_matrix(clean: Labels, noisy: Labels, classes: int) -> Floats:
    """The observed ``T [C, C]``: row ``c`` holds the shares of the noisy labels of true class ``c``.

    Samples without one of the two labels (-1) do not count; a class without samples gets the row of the
    identity, so that every row sums to 1.
    """
    _check_labels(clean, classes)
    _check_labels(noisy, classes)
    known = (clean >= 0) & (noisy >= 0)
    pairs = clean[known] * classes + noisy[known]
    counts = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.float64)
    counts[counts.sum(axis=1) == 0] = np.eye(classes)[counts.sum(axis=1) == 0]
    shares: Floats = counts / counts.sum(axis=1, keepdims=True)
    return shares


def effective_rate(clean: Labels, noisy: Labels) -> float:
    """The share of wrong labels, 0 to 1, among the samples that have both labels; 0 where none has."""
    known = (clean >= 0) & (noisy >= 0)
    return float((clean[known] != noisy[known]).mean()) if known.any() else 0.0


def summary(clean: Labels, noisy: Labels, classes: int) -> dict[str, Any]:
    """Effective rate and transition matrix (rows: true class) over the rows where both labels are known."""
    known = (clean >= 0) & (noisy >= 0)
    matrix = transition_matrix(clean[known], noisy[known], classes)
    return {
        "labels": int(known.sum()),
        "effective_rate": effective_rate(clean[known], noisy[known]) if known.any() else None,
        "transition_matrix": [[round(float(share), 4) for share in row] for row in matrix],
    }


def _uniform_matrix(rate: float, classes: int, *, keep_true: bool) -> Floats:
    if keep_true:
        return np.full((classes, classes), rate / classes) + (1 - rate) * np.eye(classes)
    matrix = np.full((classes, classes), rate / (classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def _mapped_matrix(rate: float, mapping: Mapping[int, int], classes: int) -> Floats:
    matrix = np.eye(classes)
    for source, target in mapping.items():
        matrix[source, source] -= rate
        matrix[source, target] += rate
    return matrix


def _mapping_for(classes: Sequence[Any], dataset: str = "") -> Mapping[int, int]:
    names = [str(name) for name in classes]
    if sorted(names) == list(CIFAR10_CLASSES):
        index = {name: position for position, name in enumerate(names)}
        return {
            index[CIFAR10_CLASSES[source]]: index[CIFAR10_CLASSES[target]] for source, target in CIFAR10_MAPPING.items()
        }
    family = dataset.partition(":")[0]
    if len(names) == 10 and family in ("cifar10", "cifar10n"):
        return CIFAR10_MAPPING
    alphabetical = (names[:1], names[-1:]) == (["apple"], ["worm"]) and names == sorted(names)
    if len(names) == 100 and (family in ("cifar100", "cifar100n") or alphabetical):
        return cifar100_superclass_cycle()
    _check_classes(len(names))
    return next_class_cycle(len(names))


def _moments(features: np.ndarray[Any, Any], block: int = 4096) -> tuple[AnyFloats, AnyFloats]:
    """Mean and deviation per feature ``[D]``, in blocks: never a float copy of all the data."""
    width = int(np.prod(features.shape[1:]))
    total, squares = np.zeros(width), np.zeros(width)
    for start in range(0, len(features), block):
        part = features[start : start + block].reshape(-1, width).astype(np.float64)
        total += part.sum(axis=0)
        squares += (part**2).sum(axis=0)
    count = max(len(features), 1)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    deviation[deviation <= 1e-6 * abs(mean)] = 1.0
    return mean.astype(np.float32), deviation.astype(np.float32)


def _check_rate(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise InputError(f"a noise rate lies between 0 and 1, not {rate}")


def _check_classes(classes: int) -> None:
    if classes < 2:
        raise InputError(f"label noise needs at least 2 classes, not {classes}")


def _check_labels(labels: Labels, classes: int) -> None:
    outside = (labels < UNLABELLED) | (labels >= classes)
    if outside.any():
        row = int(outside.argmax())
        raise InputError(f"label {labels[row]} in row {row} is not one of the {classes} classes (0 to {classes - 1})")
