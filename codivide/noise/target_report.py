"""How many targets look wrong, where a target is a number or a set of labels: the rate, with what cannot be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from codivide.core.by_value import ByValue
from codivide.core.types import Floats
from codivide.core.words import counted, first_few
from codivide.noise.certain import NINETY
from codivide.noise.report import ClassNoise
from codivide.noise.trust import WIDE, Trust

_FEW = 200  # targets below which a rate says little
_HIDDEN = 0.5  # share of wrong targets that would look right, from which on the rate says little
_NOISE_FREE = 0.01


@dataclass(frozen=True, eq=False)
class TargetReport(ByValue):
    """What is estimated of given numbers, or of several labels a row.

    Attributes:
        task: "regression" or "multilabel".
        rate: share of wrong targets (of several labels: of rows with a wrong one), in [0, 1].
        low: end of the interval.
        high: its other end; of numbers the largest share, up to a half, that the residuals do not exclude.
        hidden: share of wrong targets that would look right, in [0, 1].
        per_class: of several labels what is known of each; else empty.
        trust: in all this.
        labelled: targets that the estimate rests on.
        clean_prob: ``[N]``; NaN without a target.
        label_clean_prob: of several labels ``[N, K]``, NaN where there is none; else None.
    """

    task: Literal["regression", "multilabel"]
    rate: float
    low: float
    high: float
    hidden: float
    per_class: tuple[ClassNoise, ...]
    trust: Trust
    labelled: int
    clean_prob: Floats
    label_clean_prob: Floats | None = None

    @property
    def kind(self) -> str:
        """No kind of noise is told from another: "unclear", or "none" where hardly a target looks wrong."""
        return "none" if self.high < 0.05 and self.rate < _NOISE_FREE and self.hidden <= _HIDDEN else "unclear"

    @property
    def what(self) -> str:
        """What is counted."""
        return "targets" if self.task == "regression" else "rows"

    @property
    def headline(self) -> str:
        """One sentence."""
        does = "are wrong" if self.task == "regression" else "have a wrong label"
        return (
            f"about {100 * self.rate:.1f} % of the {self.what} {does} (between {100 * self.low:.1f} and "
            f"{100 * self.high:.1f} %); trust: {self.trust.level}"
        )

    def to_dict(self) -> dict[str, Any]:
        """All but ``clean_prob`` as JSON values."""
        return {
            "task": self.task,
            "rate": self.rate,
            "low": self.low,
            "high": self.high,
            "hidden": self.hidden,
            "kind": self.kind,
            "trust": {"level": self.trust.level, "reasons": list(self.trust.reasons)},
            "per_class": [
                {"class": number, "name": item.name, "labelled": item.labelled, "rate": item.rate}
                for number, item in enumerate(self.per_class)
            ],
            "labelled": self.labelled,
        }

    def to_frame(self) -> pd.DataFrame:
        """One row a label: ``class``, ``labelled`` (rows that have it), ``rate`` (of all rows); of numbers empty."""
        rows = [(item.name, item.labelled, item.rate) for item in self.per_class]
        return pd.DataFrame(rows, columns=["class", "labelled", "rate"])

    def __repr__(self) -> str:
        return f"TargetReport({self.headline})"

    def __str__(self) -> str:
        lines = [self.headline, *(f"- {reason}" for reason in self.trust.reasons)]
        if self.per_class:
            lines += ["", self.to_frame().to_string(index=False, na_rep="-", float_format=lambda x: f"{x:.3f}")]
        return "\n".join(lines)


def from_record(values: Mapping[str, Any], arrays: Mapping[str, Any]) -> TargetReport:
    """The report that ``to_dict`` was of, with the arrays that it leaves out."""
    trust = Trust(values["trust"]["level"], tuple(values["trust"]["reasons"]))
    per_class = tuple(ClassNoise(item["name"], item["labelled"], item["rate"]) for item in values["per_class"])
    rate, low, high, hidden = (float(values[name]) for name in ("rate", "low", "high", "hidden"))
    return TargetReport(
        task=values["task"],
        rate=rate,
        low=low,
        high=high,
        hidden=hidden,
        per_class=per_class,
        trust=trust,
        labelled=int(values["labelled"]),
        clean_prob=arrays["clean_prob"],
        label_clean_prob=arrays.get("label_clean_prob"),
    )


def of_numbers(clean_prob: Floats, hidden: float, most: float, remarks: Sequence[str] = ()) -> TargetReport:
    """The report on numbers.

    Args:
        clean_prob: ``[N]``, NaN where there is no target.
        hidden: share of targets of other rows that would look right in a row (``residuals.hidden``).
        most: the largest share of wrong targets that is not excluded (``residuals.most``).
        remarks: what speaks against trusting it.
    """
    known = clean_prob[np.isfinite(clean_prob)]
    rate = float(1 - known.mean()) if len(known) else 0.0
    error = NINETY * float(known.std()) / max(len(known), 1) ** 0.5
    low = max(0.0, float((known < 0.1).mean()) - error) if len(known) else 0.0
    reasons = [*remarks]
    if hidden > _HIDDEN:
        reasons.append(
            f"{100 * hidden:.0f} % of wrong targets would look right, since predictions are so unsure: what is seen is "
            "the least; the interval ends where the residuals exclude more, or at a half"
        )
    low, high = min(low, rate), max(most, rate)
    return TargetReport(
        "regression",
        rate,
        low,
        high,
        hidden,
        (),
        _trust(len(known), reasons, width=high - low, poor=bool(reasons)),
        len(known),
        clean_prob,
    )


def of_sets(
    row_clean_prob: Floats,
    clean_prob: Floats,
    names: Sequence[str],
    sizes: Sequence[int],
    unjudged: Sequence[str],
    *,
    remarks: Sequence[str] = (),
) -> TargetReport:
    """The report on several labels a row.

    Args:
        row_clean_prob: ``[N]``, NaN in rows that are not labelled.
        clean_prob: ``[N, K]``, NaN where a label cannot be judged.
        names: of the labels, K.
        sizes: rows that have each, K.
        unjudged: names of those that cannot be judged.
        remarks: what speaks against trusting it.
    """
    known = row_clean_prob[np.isfinite(row_clean_prob)]
    rate = float(1 - known.mean()) if len(known) else 0.0
    error = NINETY * float(known.std()) / max(len(known), 1) ** 0.5
    rates = [
        None if name in unjudged or not np.isfinite(column).any() else float(1 - np.nanmean(column))
        for name, column in zip(names, clean_prob.T, strict=True)
    ]
    per_class = tuple(ClassNoise(name, int(n), rate_) for name, n, rate_ in zip(names, sizes, rates, strict=True))
    sure = float((known < 0.1).mean()) if len(known) else 0.0
    reasons = [*remarks]
    if unjudged:
        few = first_few(map(repr, unjudged))
        reasons.append(f"{len(unjudged)} of {len(names)} labels cannot be judged: {few}")
    low, high = max(0.0, min(sure - error, rate)), min(1.0, rate + error + 3 / max(len(known), 1))
    return TargetReport(
        "multilabel",
        rate,
        low,
        high,
        0.0,
        per_class,
        _trust(len(known), reasons, width=high - low, poor=bool(remarks) or 2 * len(unjudged) > len(names)),
        len(known),
        row_clean_prob,
        clean_prob,
    )


def _trust(count: int, reasons: list[str], *, width: float, poor: bool) -> Trust:
    if width > WIDE:
        reasons = [*reasons, f"the interval is {100 * width:.0f} points wide"]
    if count < _FEW:
        reasons = [*reasons, counted(count, "target is little", "targets are few")]
    level: Literal["good", "fair", "poor"] = "poor" if poor else "fair" if reasons else "good"
    return Trust(level, tuple(reasons) or ("none of the checks speaks against it",))
