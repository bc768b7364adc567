"""Plain training on the given labels: the baseline that every correction has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from codivide.engine import Method


@dataclass
class CrossEntropy(Method):
    """Cross-entropy on the given labels, one network."""

    paper: ClassVar[str] = "-"
    summary: ClassVar[str] = "plain training on the given labels (baseline)"
