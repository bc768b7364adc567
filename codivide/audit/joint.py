"""The confident joint: how many labels are of each (true, given) class, counted by somebody's probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from codivide.audit.reading import read
from codivide.noise import latent


def confident_joint(
    labels: Any, pred_probs: Any, *, classes: Sequence[Any] | None = None, rates: bool = False
) -> pd.DataFrame:
    """Count labels by (true, given) class, calibrated to how often each label is given (Northcutt et al. 2021).

    The threshold of a class is the mean probability of it among the samples with its label. A sample counts for the
    likeliest class whose threshold it reaches. The counts of each label are then scaled to all samples with that label.
    It takes errors of the classifier for noise; ``noise_report(...).joint`` is the estimate with these taken out.

    Args:
        labels: given labels ``[N]``; missing ones do not count.
        pred_probs: ``[N, C]`` of models that have not seen the sample, both as in ``from_probs``.
        classes: as in ``from_probs``.
        rates: shares of all labels, which sum to 1; False: how many labels.

    Returns:
        ``[C, C]``, a row a true class, a column a given label.

    Raises:
        InputError: as ``from_probs``.

    Examples:
        >>> from codivide import audit
        >>> probs = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9]]
        >>> counted = audit.confident_joint(["cat", "cat", "cat", "dog", "dog"], probs)
        >>> float(counted.loc["dog", "cat"])  # dogs that are called cats
        1.0
    """
    found = read(labels, pred_probs, classes=classes)
    counts = latent.confident_joint(found.probs, found.given)
    if rates:
        counts = counts / max(float(counts.sum()), 1e-12)
    names = list(found.classes)
    return pd.DataFrame(counts, pd.Index(names, name="true"), pd.Index(names, name="given"))
