"""``method="auto"``: the choice among methods, as ``codivide.fit.choose_rule`` makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from codivide.training.run import Method


@dataclass
class Auto(Method):
    """Estimate the noise, choose method and settings, and keep plain training as what must be beaten.

    Attributes:
        budget: seconds for choosing and training, from 1 to 10^9; None: what the chosen settings need.
        validation: share of the labels that is held out, in [0.02, 0.5]: choices are judged by agreement with them.
        longer: how many times as many epochs plain training may take, from 1 to 20, where most labels are right and
            the short run still learned in its second half; None: 4, or 1 where the number of epochs was given.
    """

    trains: ClassVar[bool] = False
    weighs: ClassVar[bool] = True
    paper: ClassVar[str] = "-"
    summary: ClassVar[str] = "estimate the noise, then choose method and settings (default)"
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "budget": (1, 1e9),
        "validation": (0.02, 0.5),
        "longer": (1, 20),
    }

    budget: float | None = None
    validation: float = 0.1
    longer: float | None = None
