"""Samples near each other: who they are, whether their labels agree, and which samples are near nobody."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from torch import Tensor

from codivide.audit.duplicates import standardised
from codivide.core.errors import InputError
from codivide.core.neighbours import nearest
from codivide.core.types import AnyFloats, Labels
from codivide.data.rows import Rows
from codivide.methods.features.model import FeatureModel
from codivide.runs.model import Model
from codivide.training import layers
from codivide.training.model_file import Classifier

MOST_COLUMNS = 1024  # a wider or sparse table is compared by the model's features
REFERENCES = 5000  # samples to which distances are measured for outliers
NEIGHBOURS = 10
_DIRECTIONS = 256


def plain_points(rows: Rows) -> Tensor | None:
    """Standardised features ``[N, D]`` float32 of a dense table of at most 1,024 columns; None for anything else."""
    if len(rows.shape) != 1 or rows.shape[0] > MOST_COLUMNS:
        return None
    points = standardised(rows)
    return None if sparse.issparse(points) else torch.from_numpy(points)


def normalised(rows: Rows) -> Tensor:
    """Any features ``[N, D]``, standardised; of a sparse table or one wider than 1,024, at most 256 directions.

    The directions are those of largest variance (a truncated singular value decomposition with a fixed seed).
    """
    points = standardised(rows)
    if sparse.issparse(points) or points.shape[1] > MOST_COLUMNS:
        width = min(_DIRECTIONS, points.shape[1] - 1)
        points = TruncatedSVD(width, random_state=0).fit_transform(points).astype(np.float32)
    return torch.from_numpy(points)


def model_points(model: Classifier, rows: Rows) -> tuple[Tensor, Tensor]:
    """What the last layer of the first network sees, ``[N, F]`` of unit length, and the mean logits ``[N, C]``.

    Both float32 on the CPU, from one pass. Of heads on features: the leading directions of the features.
    """
    if isinstance(model, FeatureModel):
        return model.points(rows), model.logits(rows)
    if not isinstance(model, Model):
        raise InputError(f"a {type(model).__name__} has no features of its own")
    logits, points = [], []
    with layers.inputs_of(layers.last_linear(model.members[0])) as seen:
        for batch in model.batches(rows):
            logits.append(batch.cpu())
            points.append(torch.nn.functional.normalize(seen.pop().float().flatten(1), dim=1).cpu())
    return torch.cat(points), torch.cat(logits)


def agreement(points: Tensor, queries: Labels, given: Labels) -> list[tuple[int, int]]:
    """Of the 10 nearest labelled samples of each query, how many have the query's given label, and of how many."""
    labelled = np.flatnonzero(given >= 0)
    found, _ = nearest(points, queries, labelled, NEIGHBOURS)
    same = (given[found] == given[queries][:, None]) & (found >= 0)
    return list(zip(same.sum(1).tolist(), (found >= 0).sum(1).tolist(), strict=True))


def outliers(points: Tensor, best_prob: AnyFloats | None, classes: int) -> list[tuple[int, float]]:
    """Samples that fit no class: far from all others, and the model is not sure of them.

    A sample's distance is the mean distance to its 10 nearest among at most 5,000 reference samples (drawn once, by a
    fixed seed). It is far when that is above the upper quartile by more than 1.5 times the range between the quartiles
    (Tukey's fence; 3 times where no probabilities are known). The model is not sure when its best probability is
    below the middle between chance (1 / classes) and 1, and among the lowest tenth of all.

    Args:
        points: ``[N, F]``.
        best_prob: ``[N]``, the probability of the likeliest class; None: not known.
        classes: their number C.

    Returns:
        Rows and scores in (0, 1], the highest first: the share of samples that are nearer, times ``1 - best_prob``
        where it is known.
    """
    count = len(points)
    if count <= NEIGHBOURS:
        return []
    references = np.sort(np.random.default_rng(0).permutation(count)[:REFERENCES])
    distance = nearest(points, np.arange(count), references, NEIGHBOURS)[1].mean(1)
    low, high = np.quantile(distance, [0.25, 0.75])
    far = distance > high + (3.0 if best_prob is None else 1.5) * (high - low)
    score = np.searchsorted(np.sort(distance), distance, side="left") / count
    if best_prob is not None:
        far &= best_prob < min((1 + 1 / classes) / 2, float(np.quantile(best_prob, 0.1)))
        score = score * (1 - best_prob)
    rows = np.flatnonzero(far)
    order = rows[np.argsort(-score[rows], kind="stable")]
    return [(int(row), float(score[row])) for row in order]
