"""Made-up classifiers and labels whose noise is known."""

import numpy as np


def world(n=1500, classes=4, matrix=None, sure=3.0, seed=0):
    """Calibrated doubt, labels through a transition matrix, and what an ideal classifier says of the GIVEN labels."""
    rng = np.random.default_rng(seed)
    prior = np.exp(sure * rng.standard_normal((n, classes)))
    prior /= prior.sum(1, keepdims=True)
    truth = (rng.random((n, 1)) > prior.cumsum(1)[:, :-1]).sum(1)
    matrix = np.eye(classes) if matrix is None else matrix
    given = (rng.random((n, 1)) > matrix[truth].cumsum(1)[:, :-1]).sum(1)
    return prior @ matrix, given, truth, prior


def linear(prior, slope=0.4):
    """What a linear classifier that learned from noisy labels says: scores of the truth, shrunken."""
    scores = prior**slope
    return scores / scores.sum(1, keepdims=True)


def symmetric(rate, classes=4):
    return (1 - rate) * np.eye(classes) + rate / (classes - 1) * (1 - np.eye(classes))


def pair(rate, classes=4):
    return (1 - rate) * np.eye(classes) + rate * np.roll(np.eye(classes), 1, axis=1)
