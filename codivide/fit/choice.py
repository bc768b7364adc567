"""What was chosen for a run, and why: the scout's report, the decision, the verdict, and all of it as one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

_FORMAT = 4  # of choice.json


@dataclass(frozen=True)
class ScoutReport:
    """What a scout saw: all that is known before anything is chosen. Rates, agreements and shares are in [0, 1].

    Attributes:
        labelled: samples with a label.
        unlabelled: samples without one.
        classes: how many.
        held_out: labels held out from the scout.
        rate: estimated share of wrong labels, with its interval ``low`` to ``high``.
        kind: of the noise, as in ``NoiseReport``.
        concentration: how much of each class's noise goes to one other class.
        trust: "good", "fair" or "poor", in this estimate.
        doubt: the first reason why it is not "good"; empty where it is.
        epochs: of the plan.
        scouted: epochs that the scout trained.
        best_epoch: of the scout, by agreement with what was held out.
        settled_epoch: the first epoch that is within one standard error of the best one.
        lasting_epoch: the last epoch that agrees with as many as the best one.
        agreement: with the held-out labels at the best epoch; ``error`` is its standard error.
        fitted: agreement with the training labels at the scout's last epoch.
        memorises: held-out agreement fell by more than its standard error while training agreement rose.
        lost: names of the classes that the scout hardly predicts.
        scout_seconds: of one of its epochs, with its looks at training and test data.
        look_seconds: of these looks alone.
        seconds_left: for the rest; None: no budget.
        longer: times as many epochs as planned that plain training may take.
    """

    labelled: int
    unlabelled: int
    classes: int
    held_out: int
    rate: float
    low: float
    high: float
    kind: str
    concentration: float
    trust: str
    epochs: int
    scouted: int
    best_epoch: int
    settled_epoch: int
    agreement: float
    error: float
    fitted: float
    memorises: bool
    doubt: str = ""
    lost: tuple[str, ...] = ()
    scout_seconds: float = 0.0
    look_seconds: float = 0.0
    seconds_left: float | None = None
    longer: float = 1.0
    lasting_epoch: int = 0


@dataclass(frozen=True)
class Decision:
    """What is to be done.

    Attributes:
        method: a name in ``METHODS``.
        hyper: its settings that were open.
        epochs: of it.
        reasons: sentences, one a choice.
        seconds: expected, of this part; None where nothing was measured.
    """

    method: str
    hyper: dict[str, Any] = field(default_factory=dict)
    epochs: int = 0
    reasons: tuple[str, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The comparison of correction and plain training on the labels that neither has learned from.

    Attributes:
        kept: "correction", "plain", or "scout" where no time was left for plain training on all labels.
        difference: agreement of the correction minus that of plain training.
        error: standard error of that difference (paired).
        resolution: the error in terms of accuracy, ``error / (1 - rate)``.
        held_out: how many labels.
        text: all this as a sentence.
    """

    kept: str
    difference: float
    error: float
    resolution: float
    held_out: int
    text: str


@dataclass(frozen=True)
class Choice:
    """What was chosen for a run; every part as JSON values in ``config.json`` and ``summary.json``.

    Attributes:
        decision: method and settings, with their reasons.
        scout: what they rest on; None where no scout was needed or possible.
        verdict: how the correction compared with plain training; None where they were not compared.
    """

    decision: Decision
    scout: ScoutReport | None = None
    verdict: Verdict | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: ``decision``, ``evidence`` (the scout's report) and ``verdict``."""
        return {
            "decision": {**asdict(self.decision), "reasons": list(self.decision.reasons)},
            "evidence": None if self.scout is None else {**asdict(self.scout), "lost": list(self.scout.lost)},
            "verdict": None if self.verdict is None else asdict(self.verdict),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What ``to_dict`` gave.

        Raises:
            KeyError: a part is missing.
            TypeError: a part has other fields.
        """
        decision, scout, verdict = values["decision"], values["evidence"], values["verdict"]
        return cls(
            Decision(**{**decision, "reasons": tuple(decision["reasons"])}),
            None if scout is None else ScoutReport(**{**scout, "lost": tuple(scout["lost"])}),
            None if verdict is None else Verdict(**verdict),
        )

    def because(self, *reasons: str) -> Choice:
        """The same choice with more reasons."""
        return replace(self, decision=replace(self.decision, reasons=(*self.decision.reasons, *reasons)))


@dataclass
class ChoiceRecord:
    """What ``choice.json`` holds, so that a resumed run neither scouts nor decides again.

    Attributes:
        key: what the choice belongs to (see ``resume.identity``).
        choice: what was chosen so far.
        held_out: the rows whose labels the scout has not learned from.
        plain_right: whether the scout agrees with each of these labels.
        plain_epochs: of plain training on all labels; None: it was not come to.
        correction_seconds: that the correction took; None: there was none.
    """

    key: dict[str, Any]
    choice: Choice
    held_out: list[int]
    plain_right: list[bool]
    plain_epochs: int | None = None
    correction_seconds: float | None = None

    @property
    def decision(self) -> Decision:
        """Method and settings."""
        return self.choice.decision

    @property
    def seen(self) -> ScoutReport:
        """What the scout saw."""
        assert self.choice.scout is not None  # a record is written after scouting only
        return self.choice.scout

    @property
    def kept(self) -> str | None:
        """What the comparison was for; None: nothing was compared yet."""
        return None if self.choice.verdict is None else self.choice.verdict.kept

    def judge(self, **changes: Any) -> None:
        """Change the verdict."""
        assert self.choice.verdict is not None
        self.choice = replace(self.choice, verdict=replace(self.choice.verdict, **changes))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        late = {"plain_epochs": self.plain_epochs, "correction_seconds": self.correction_seconds}
        return {
            "format": _FORMAT,
            "key": self.key,
            **self.choice.to_dict(),
            "held_out": self.held_out,
            "plain_right": self.plain_right,
            **{name: value for name, value in late.items() if value is not None},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What ``to_dict`` gave; KeyError, TypeError or ValueError where it did not."""
        if values["format"] != _FORMAT:
            raise ValueError(f"its format is {values['format']}, this version of codivide reads {_FORMAT}")
        held, right = list(map(int, values["held_out"])), list(map(bool, values["plain_right"]))
        late = {name: values.get(name) for name in ("plain_epochs", "correction_seconds")}
        return cls(dict(values["key"]), Choice.from_dict(values), held, right, **late)
