"""How labels are given for each true class, by what held-out predictions say of them.

What is corrected by the matrix of the confident joint is corrected too little: that counts the errors of a classifier
as noise, which hide where the noise goes. Where the labels tell which classes are taken for which
(``latent.goes_by_class``), the matrix is that of the greatest likelihood, which counts no errors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from codivide.methods.features.problem import TINY, Problem
from codivide.noise.latent import goes_by_class, latent_noise
from codivide.noise.rates import MOST_ROWS, fitted_rows


class Channel(NamedTuple):
    """How labels are given.

    Attributes:
        matrix: ``[C, C]`` float32, P(given | true); of a class whose labels cannot be judged the row of the identity.
        seen: ``[M]`` float64, how likely it makes the labels that it rests on; the same ones for all predictions.
        joint: ``[C, C]`` float64, expected counts of (true, given) with that matrix.
        by_class: whether the labels tell which classes are taken for which.
        weight: of the labels that it rests on ``[M]``; None: all alike.
    """

    matrix: Tensor
    seen: Tensor
    joint: Tensor
    by_class: bool
    weight: Tensor | None


def likeliest(problem: Problem, probs: Tensor) -> Channel | None:
    """The matrix of greatest likelihood; None where fewer than two classes can be judged.

    Args:
        problem: labels, and which of them can be judged.
        probs: held-out probabilities ``[N, C]``, of the given label or of the true class.
    """
    judged = problem.judged.nonzero().flatten().numpy()
    judged = judged[fitted_rows(len(judged), problem.classes, MOST_ROWS, problem.seed)]
    classes, labels = np.unique(problem.given.numpy()[judged], return_inverse=True)
    if len(classes) < 2:
        return None
    counts = None if problem.counts is None else problem.counts[judged]
    weight = None if counts is None else counts.numpy()
    own = probs.double().numpy()[np.ix_(judged, classes)] + TINY
    found = latent_noise(own / own.sum(1, keepdims=True), labels, weight=weight)
    matrix, joint = torch.eye(problem.classes), torch.zeros(problem.classes, problem.classes, dtype=torch.float64)
    matrix[np.ix_(classes, classes)] = torch.from_numpy(found.transition).float()
    joint[np.ix_(classes, classes)] = torch.from_numpy(found.joint)
    by_class = goes_by_class(found, labels, weight=weight)
    return Channel(matrix, torch.from_numpy(found.seen), joint, by_class, counts)
