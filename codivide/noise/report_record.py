"""A noise report as JSON values, exactly, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from codivide.core.types import Floats
from codivide.noise.report import ClassNoise, NoiseReport
from codivide.noise.target_report import TargetReport, from_record
from codivide.noise.trust import Trust

_PLAIN = ("rate", "low", "high", "kind", "estimates", "samples", "labelled", "source")
_OF_TARGETS = ("clean_prob", "label_clean_prob")  # arrays of a report on targets


def to_record(report: NoiseReport | TargetReport) -> dict[str, Any]:
    """All of a report; None stands for NaN."""
    if isinstance(report, TargetReport):
        arrays = {name: getattr(report, name) for name in _OF_TARGETS}
        return report.to_dict() | {name: _listed(held) for name, held in arrays.items() if held is not None}
    exact = {"transition": report.transition.tolist(), "joint": report.joint.tolist()}
    return report.to_dict() | exact | {"clean_prob": _listed(report.clean_prob)}


def _listed(array: Floats) -> list[Any]:
    """An array as lists, None for NaN."""
    held = array.astype(object)
    held[np.isnan(array)] = None
    found: list[Any] = held.tolist()
    return found


def of_record(values: Mapping[str, Any]) -> NoiseReport | TargetReport:
    """The report that ``to_record`` made these values of."""
    if "task" in values:
        held = {name: values[name] for name in _OF_TARGETS if name in values}
        return from_record(values, {name: np.array(rows, dtype=np.float64) for name, rows in held.items()})
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
