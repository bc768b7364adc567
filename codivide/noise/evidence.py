"""What training or cross-fitting showed of every sample: what judges of labels go by, in memory and on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from codivide.core.by_value import ByValue
from codivide.core.types import AnyLabels, Floats, Labels, Singles


@dataclass(frozen=True, eq=False)
class Evidence(ByValue):
    """What is known of N training samples; no true label is among it.

    Attributes:
        given: labels ``[N]``, -1: none.
        mean_loss: ``[N]``, cross-entropy on the given label averaged over training, or held out; NaN where it was never
            looked at.
        probs: ``[N, C]`` float16, class probabilities averaged over the recorded epochs, or held out; None where none
            were recorded or they would take more than 64 MB.
        predictions: ``[K, N]``, the likeliest class at each of K recorded epochs; None: nothing was recorded.
        set_aside: labels that looked wrong were no targets (``Method.sets_aside``).
        held_out: no label was seen by the classifier that judges it.
        witnessed: an earlier run, which ended before it memorised, judged with this one.
    """

    given: Labels
    mean_loss: Singles
    probs: NDArray[np.float16] | None = None
    predictions: AnyLabels | None = None
    set_aside: bool = False
    held_out: bool = False
    witnessed: bool = False

    def __repr__(self) -> str:
        return f"Evidence({len(self.given):,} samples)"

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays by name, for an ``.npz`` file; what there is none of is left out."""
        arrays: dict[str, NDArray[Any]] = {"given": self.given, "mean_loss": self.mean_loss}
        if self.probs is not None:
            arrays["probs"] = self.probs
        if self.predictions is not None:
            arrays["predictions"] = self.predictions
        flags = {"set_aside": self.set_aside, "held_out": self.held_out, "witnessed": self.witnessed}
        return arrays | {name: np.asarray(value) for name, value in flags.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """What ``to_arrays`` gave; other arrays are passed over.

        Raises:
            KeyError: ``given`` or ``mean_loss`` is missing.
        """
        return cls(
            given=np.asarray(arrays["given"], dtype=np.int64),
            mean_loss=np.asarray(arrays["mean_loss"], dtype=np.float32),
            probs=arrays.get("probs"),
            predictions=arrays.get("predictions"),
            set_aside=bool(arrays.get("set_aside", False)),
            held_out=bool(arrays.get("held_out", False)),
            witnessed=bool(arrays.get("witnessed", False)),
        )

    def mean_probs(self, classes: int) -> Floats:
        """Class probabilities ``[N, C]``; where none were kept, the shares of the votes over the epochs.

        Raises:
            ValueError: neither was recorded.
        """
        if self.probs is not None:
            return self.probs.astype(np.float64)
        if self.predictions is None:
            raise ValueError("neither probabilities nor predictions were recorded")
        probs = np.zeros((len(self.given), classes))
        for vote in self.predictions:
            probs[np.arange(len(vote)), vote] += 1
        return probs
