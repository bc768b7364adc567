"""A noise report as JSON values, exactly, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from codivide.noise.report import ClassNoise, NoiseReport
from codivide.noise.trust import Trust

_PLAIN = ("rate", "low", "high", "kind", "estimates", "samples", "labelled", "source")


def to_record(report: NoiseReport) -> dict[str, Any]:
    """All of a report; None stands for NaN."""
    clean_prob = [None if np.isnan(value) else value for value in report.clean_prob.tolist()]
    exact = {"transition": report.transition.tolist(), "joint": report.joint.tolist(), "clean_prob": clean_prob}
    return report.to_dict() | exact


def of_record(values: Mapping[str, Any]) -> NoiseReport:
    """The report that ``to_record`` made these values of."""
    trust = values["trust"]
    return NoiseReport(
        **{name: values[name] for name in _PLAIN},
        per_class=tuple(ClassNoise(one["name"], one["labelled"], one["rate"]) for one in values["per_class"]),
        transition=np.array(values["transition"], dtype=np.float64),
        trust=Trust(trust["level"], tuple(trust["reasons"])),
        clean_prob=np.array(values["clean_prob"], dtype=np.float64),  # None becomes NaN
        findings=tuple(values["findings"]),
        joint=np.array(values["joint"], dtype=np.float64),
    )
