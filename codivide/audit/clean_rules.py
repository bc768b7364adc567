"""What becomes of each label by a run's judgement and a person's decisions: rules and verdicts.

For every sample the first rule that applies decides:

1. what a person decided (``corrections``): a label, the given label kept, or left out; a label that the run itself
   learned as confirmed (column ``confirmed``) stays too;
2. ``relabel_above``: the suggestion differs from the given label and its probability is above: it replaces the label;
3. ``drop_below``: p(clean) is below: the sample is left out;
4. the given label stays. A sample without a label stays without one unless a person gave it one.

Where nothing is asked for, each sample gets what makes the expected number of wrong labels smallest. Its given label is
wrong with probability 1 - p(clean), its suggestion with 1 - min(p(suggestion), 1 - p(clean)), since only one of them is
right. A sample that is left out counts as half a wrong label: it is lost, but misleads nobody. So a label stays from
one half on, and the sample goes where neither label reaches that. Only labels that look wrong are touched: where the
suggestion is the given label, the label stays, whatever p(clean) says (fewer right labels are lost so than wrong ones
found, ``results/clean.json``). Where less than ``FEW`` is wrong by p(clean) nothing is changed: so much is estimated of
data without a wrong label, too.

p(clean) counts doubt of a classifier as noise: of photos whose labels are all right it calls 4 % wrong. So where there
is a noise report, what it calls ``certain``, which does not, bounds what is changed unasked (``levelled``).
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from codivide.core.errors import InputError, either
from codivide.core.words import counted
from codivide.data.corrections import Correction, Corrections
from codivide.noise.clean_prob import at_rate, log_odds
from codivide.runs import label_table

HALF = 0.5  # what a sample that is left out counts, in wrong labels; a label is doubted where p(clean) is below
FEW = 0.02  # estimated rate below which nothing is changed unasked: without noise up to 0.017 (results/noise)
LITTLE = 0.1  # below it a person should look: of photos whose labels are all right so much may be doubted
CERTAIN = (0.05, 0.1)  # rates that are certain up to which they alone count, and from which on p(clean) stands


class Sample(NamedTuple):
    """A row of the label table; ``sure`` is the probability of the suggestion, or what stands in for it."""

    id: Any
    given: Any
    suggested: Any
    clean_prob: float
    sure: float
    confirmed: bool

    def better(self) -> float:
        """How likely a suggestion that differs is right: no likelier than that the given label is wrong; else 0."""
        return 0.0 if self.suggested == self.given else min(self.sure, 1 - self.clean_prob)

    @property
    def is_open(self) -> bool:
        """Whether there is a label that nobody vouches for."""
        return self.given is not None and not self.confirmed

    @property
    def looks_wrong(self) -> bool:
        """Whether it is among the issues: those that ``fit`` and ``audit`` count."""
        return bool(self.suggested != self.given)

    @property
    def is_doubted(self) -> bool:
        """Whether it is among the issues, and likelier wrong than right by p(clean)."""
        return self.looks_wrong and self.clean_prob < HALF


SURE = "p(suggestion)"


def samples_of(labels: pd.DataFrame) -> tuple[list[Sample], str]:
    """The rows of the label table, and what their ``sure`` is called."""
    clean, what = _numbers(labels[label_table.CLEAN_PROB]), "1 - p(clean)"
    sure = [1 - p for p in clean]
    if label_table.SUGGESTED_PROB in labels:
        sure, what = _numbers(labels[label_table.SUGGESTED_PROB]), SURE
    known = label_table.CONFIRMED in labels
    columns = (
        labels[label_table.id_column(labels)].tolist(),
        label_values(labels[label_table.GIVEN]),
        label_values(labels[label_table.SUGGESTED]),
        clean,
        sure,
        labels[label_table.CONFIRMED].tolist() if known else [False] * len(labels),
    )
    return [Sample(*row) for row in zip(*columns, strict=True)], what


def levelled(samples: Sequence[Sample], certain: float | None) -> list[Sample]:
    """The samples with p(clean) moved to where no more labels are wrong than is certain; its order stays.

    Up to ``CERTAIN[0]`` the certain rate is the new one, and between the two the new one rises to that of p(clean). For
    much noise does follow the doubt of classifiers, where people gave the labels. What is certain of all labels is so
    of those that nobody vouches for, since the others are right.

    Args:
        samples: of the label table.
        certain: of all labels, see ``NoiseReport.certain``; None: nothing moves.
    """
    open_ = [row for row, sample in enumerate(samples) if sample.is_open and not math.isnan(sample.clean_prob)]
    if certain is None or not open_:
        return list(samples)
    clean_prob = np.array([samples[row].clean_prob for row in open_])
    own, (low, high) = 1 - float(clean_prob.mean()), CERTAIN
    vouched = sum(sample.given is not None and sample.confirmed for sample in samples)
    certain = min(certain * (len(open_) + vouched) / len(open_), 1.0)
    level = certain + float(np.clip((certain - low) / (high - low), 0, 1)) * (own - certain)
    if level >= own:
        return list(samples)
    answer = list(samples)
    for row, moved in zip(open_, at_rate(log_odds(clean_prob), level).tolist(), strict=True):
        answer[row] = samples[row]._replace(clean_prob=moved)
    return answer


def wrong_rate(samples: Sequence[Sample]) -> float:
    """Share of wrong labels by p(clean), among those that nobody vouches for; 0 where there are none."""
    doubts = [1 - sample.clean_prob for sample in samples if sample.is_open and not math.isnan(sample.clean_prob)]
    return sum(doubts) / max(len(doubts), 1)


class Verdict(NamedTuple):
    """What becomes of a sample: its label from now on (None: none), whether it stays, and why."""

    label: Any
    kept: bool = True
    reason: str = ""

    def change(self, given: Any) -> str:
        """The word for it in ``CHANGES.csv``."""
        if not self.kept:
            return "dropped"
        return "labelled" if given is None else "relabelled"


def is_unasked(corrections: Corrections | None, drop_below: float | None, relabel_above: float | None) -> bool:
    """Whether nobody has decided or asked for a rule, so that the fewest wrong labels are wanted."""
    return corrections is None and drop_below is None and relabel_above is None


@dataclass(frozen=True)
class Rules:
    """The rules; None: not asked for.

    Attributes:
        drop_below: see ``apply``.
        relabel_above: see ``apply``.
        unasked: neither is given and nobody has decided: the fewest wrong labels are wanted.
        rate: share of wrong labels by p(clean) as it is decided on, among those that nobody vouches for.
    """

    drop_below: float | None
    relabel_above: float | None
    unasked: bool
    rate: float

    @classmethod
    def of(
        cls,
        corrections: Corrections | None,
        drop_below: float | None,
        relabel_above: float | None,
        samples: Sequence[Sample],
        certain: float | None = None,
    ) -> tuple[Rules, list[Sample]]:
        """What was asked for, and the samples as they are decided on (see ``levelled``)."""
        for name, value in (("drop_below", drop_below), ("relabel_above", relabel_above)):
            if value is not None and not 0 <= value <= 1:
                said = either("--" + name.replace("_", "-"), name)
                raise InputError(f"{said} is {value}; a probability is at least 0 and at most 1")
        unasked = is_unasked(corrections, drop_below, relabel_above)
        taken = levelled(samples, certain if unasked else None)
        return cls(drop_below, relabel_above, unasked, wrong_rate(taken)), taken

    def verdict(self, sample: Sample, what: str) -> Verdict:
        """Of a label that no person has decided on; ``what`` is the name of ``sample.sure``."""
        given = sample.given
        if given is None or sample.confirmed:
            return Verdict(given)
        if self.unasked:
            return self._fewest_wrong(sample, what)
        if sample.suggested != given and self.relabel_above is not None and sample.sure > self.relabel_above:
            return Verdict(sample.suggested, reason=f"{what} {_digits(sample.sure)} is above {self.relabel_above:g}")
        if self.drop_below is not None and sample.clean_prob < self.drop_below:
            reason = f"p(clean) {_digits(sample.clean_prob)} is below {self.drop_below:g}"
            return Verdict(None, kept=False, reason=reason)
        return Verdict(given)

    def _fewest_wrong(self, sample: Sample, what: str) -> Verdict:
        """What is least likely to be wrong, where being left out counts as half a wrong label."""
        clean, better = sample.clean_prob, sample.better()
        if self.rate < FEW or sample.suggested == sample.given or not clean < max(HALF, better):
            return Verdict(sample.given)  # nor where nothing is known of it
        if better >= HALF:
            return Verdict(sample.suggested, reason=f"{what} {_digits(sample.sure)} is above p(clean) {_digits(clean)}")
        reason = f"p(clean) {_digits(clean)} and {what} {_digits(better)} are below {HALF:g}"
        return Verdict(None, kept=False, reason=reason)


def _digits(probability: float) -> str:
    """Six digits behind the point at most, and no exponent."""
    return f"{probability:.6f}".rstrip("0").rstrip(".")


_HIGH = "both are high, for doubt counts as error (the rate itself: {})"
_DOUBT = "which counts doubt as error"
_OWN = ". A new run finds less, for it agrees with the suggestions of this one"


class Further(NamedTuple):
    """How to go further, with the folder of the run where there is one.

    Attributes:
        rate: what estimates the rate of wrong labels.
        look: how to decide on the most doubtful.
    """

    rate: str
    look: str

    @classmethod
    def of(cls, run: Path | None) -> Further:
        """The commands; of labels in no folder the calls."""
        if run is None:
            return cls("noise_report", "decide on the most doubtful yourself (corrections=)")
        place = shlex.quote(str(run))
        return cls(f"codivide noise {place}", f"decide on the most doubtful: codivide serve {place}")

    def rules(self, drop_below: float) -> str:
        """Rules that do more, or else a person's look."""
        more = either(f"--relabel-above 0.5 --drop-below {drop_below}", f"relabel_above=0.5, drop_below={drop_below}")
        return f"{more}, or {self.look}"


class Decided(NamedTuple):
    """A sample as the label table has it, as the rules took it (see ``levelled``), and what becomes of it."""

    sample: Sample
    taken: Sample
    verdict: Verdict

    @property
    def stays(self) -> bool:
        """Whether it keeps its given label."""
        return self.verdict.kept and self.verdict.label == self.sample.given

    @property
    def right(self) -> float:
        """How likely its label from now on is right."""
        return self.taken.clean_prob if self.stays else self.taken.better()


def left_over(rows: Sequence[Decided], rules: Rules, further: Further) -> list[str]:
    """What still looks wrong, how much is expected to be wrong before and after, and how to go further.

    Args:
        rows: of labels that nobody vouches for.
        rules: by which was decided.
        further: what can be done.
    """
    stay = [row for row in rows if row.verdict.kept]
    if not stay:
        return []
    if len(rows) > 1 and all(row.sample.clean_prob == HALF for row in rows):
        text = f"nothing was learned of the labels (p(clean) is {HALF:g} for all), so their share is unknown"
        return [f"{text}; {further.look}"]
    doubted = sum(row.stays and row.sample.is_doubted for row in rows)
    issues = sum(row.stays and row.sample.looks_wrong for row in rows)
    own = wrong_rate([row.sample for row in rows])
    lowered = rules.unasked and rules.rate < own
    if rules.unasked and rules.rate < FEW:
        text = f"hardly a label is wrong (estimated {100 * own:.1f} %), so nothing is changed unasked"
        if lowered:
            text = (
                f"hardly a label is certain to be wrong ({100 * rules.rate:.1f} %; by p(clean), {_DOUBT}, "
                f"{100 * own:.1f} %), so nothing is changed unasked"
            )
        left = counted(issues, "that looks wrong was left", "that look wrong were left") + _part(doubted, issues)
        return [text + (f"; {left}: {further.rules(0.5)}" if doubted else "")]
    wrong = 1 - sum(row.right for row in stay) / len(stay)
    before, after = f"{100 * rules.rate:.1f} %", f"{100 * wrong:.1f} %"
    if lowered:
        text = (
            f"by p(clean), {_DOUBT}, {100 * own:.1f} % of the labels were wrong. Unasked, only what is certain counts: "
            f"at least {before} were wrong, and of those that stay {after} are. The rate itself: {further.rate}"
        )
    else:
        text = f"by p(clean) {before} of the labels were wrong, and {after} of those that stay are: "
        text += _HIGH.format(further.rate)
    text += "" if all(row.stays for row in stay) else _OWN
    few = rules.unasked and rules.rate < LITTLE and not lowered and not all(row.stays for row in rows)
    warned = [_look_first()] if few else []
    if doubted:
        left = counted(issues, "label that looks wrong stays as it is", "labels that look wrong stay as they are")
        return [f"{left}{_part(doubted, issues)}: {further.rules(0.5)}", text, *warned]
    return [text, *warned, *([] if wrong < FEW else [f"for fewer wrong ones: {further.rules(0.8)}"])]


def _part(doubted: int, issues: int) -> str:
    """How many of the labels that look wrong are likelier wrong than right, where that is not said of all."""
    return f" ({f'{doubted:,} of them with ' if doubted < issues else ''}p(clean) below {HALF:g})"


def _look_first() -> str:
    return (
        "few labels seem wrong, and as many right ones are doubted where classes are hard to tell apart: look at "
        f"{either('CHANGES.csv', 'changes')} before you use the cleaned labels"
    )


class Types:
    """Labels in the user's own type, found by their text.

    Args:
        seen: labels of the table.
        classes: all classes, in any type.
    """

    def __init__(self, seen: Iterable[Any], classes: Iterable[Any]) -> None:
        self.seen = {str(value): value for value in seen if value is not None}
        self.known = {str(name): self._alike(str(name)) for name in classes} | self.seen

    def label(self, text: str) -> Any:
        """The label of this text; a new class is made in the type of the others."""
        return self.known[text] if text in self.known else self._alike(text)

    def _alike(self, text: str) -> Any:
        whole = self.seen and all(isinstance(value, int) for value in self.seen.values())
        return int(text) if whole and text.removeprefix("-").isdecimal() else text


def by_person(decision: Correction, types: Types) -> Verdict:
    """What becomes of a sample that a person decided on."""
    verb = {"accept": "accepted the suggestion", "keep": "kept the label", "junk": "marked it as junk"}
    when = f" ({decision.time})" if decision.time else ""
    reason = f"a person {verb.get(decision.decision, 'chose another label')}{when}"
    if decision.final is None:
        return Verdict(None, kept=False, reason=reason)
    return Verdict(types.label(decision.final), reason=reason)


def label_values(column: pd.Series[Any]) -> list[Any]:
    """Labels, None where there is none."""
    values: list[Any] = column.astype(object).where(column.notna(), None).tolist()
    return values


def _numbers(column: pd.Series[Any]) -> list[float]:
    return [float(value) for value in pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=math.nan)]
