"""In which space distances between samples mean something, and whether the labels of near samples agree."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from torch import Tensor

from codivide.core.errors import InputError
from codivide.core.neighbours import nearest
from codivide.core.types import Labels
from codivide.data.rows import Rows
from codivide.data.standardised import standardised
from codivide.methods.features.model import FeatureModel
from codivide.runs.model import Model
from codivide.training import layers
from codivide.training.model_file import Classifier

MOST_COLUMNS = 1024  # a wider or sparse table is compared by the model's features
MOST_ROWS = 200_000  # and so is a longer one, of which no copy is made
NEIGHBOURS = 10
_DIRECTIONS = 256


def plain_points(rows: Rows) -> Tensor | None:
    """Standardised features ``[N, D]`` float32 of a dense table of at most 1,024 columns, 200,000 rows; else None."""
    if len(rows.shape) != 1 or rows.shape[0] > MOST_COLUMNS or len(rows) > MOST_ROWS:
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
