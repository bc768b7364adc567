"""How far a noise report can be trusted, and why: the reasons for and against it, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from codivide.core.types import Floats, Labels
from codivide.core.words import counted
from codivide.noise import chance
from codivide.noise.certain import FEWEST, ceiling
from codivide.noise.latent import MOST_WEIGHTED
from codivide.noise.rates import JOINT, Rates

Level = Literal["good", "fair", "poor"]

AS_GIVEN = 0.98  # of the labels predicted as given: nearly all are right, or the wrong ones were memorised
FEW = 0.05  # a rate below may be no noise at all
_DOUBTED, _MUCH = 0.05, 0.12  # disagreement that is put down to the classifier: what is said, and what spoils the rate
_KEPT_BACK = 0.01  # doubted labels that are not called wrong, from which on it is said where they are most of them
_SAME, _ENOUGH = 0.999, 50  # the same of a classifier that nobody has seen learn, and of at least so many labels
WIDE = 0.15  # an interval that makes the trust at most fair, and with which the kind is not "none"


@dataclass(frozen=True)
class Trust:
    """How far a report can be trusted.

    Attributes:
        level: "good", "fair" or "poor".
        reasons: sentences, the worst first; at least one.
    """

    level: Level
    reasons: tuple[str, ...]


class Seen(NamedTuple):
    """What is known of the rows that the estimate rests on; their classes are counted anew."""

    probs: Floats  # [N, C]
    given: Labels  # [N]
    losses: Floats  # [N]
    learned: float | None
    witnessed: bool
    claimed: bool

    @property
    def agreement(self) -> float:
        """Share of the labels that are predicted as they are given."""
        return float((self.probs.argmax(1) == self.given).mean())


_Reason = tuple[int, str]  # how much it weighs against the report (0 good, 1 fair, 2 poor), and a sentence

_UNLEARNABLE = (
    2,
    "Nothing can be learned: held-out labels are predicted no better than by their frequencies. The labels "
    "may be independent of the features; every number here is unreliable.",
)
_HARDLY = (
    2,
    "Held-out labels are predicted only just better than by their frequencies: take every number here as a guess.",
)
_BY_RULE = (
    0,
    "Labels that were made by a rule which the features show, such as key words, look right to every estimate: "
    "if these may be such, check some by hand.",
)
_MANY = (
    0,
    f"With more than {MOST_WEIGHTED} classes the latent model is a simpler one: it calibrates by one temperature and "
    "one offset a class, without weights between classes.",
)


def weigh(best: Rates, seen: Seen, *, width: float, errors: float, separates: bool) -> Trust:
    """All reasons, the worst first, which decides."""
    learnable = errors > chance.LIKELY
    found = [
        None if errors > chance.SURE else _HARDLY if learnable else _UNLEARNABLE,
        _trained_on(seen),
        _in_doubt(best.doubt),
        _wide(width) if learnable else None,
        _disagrees(seen, best.rate) if learnable else None,
        _kept_back(best.estimates, len(seen.given)) if learnable and seen.claimed else None,
        *_few(seen.given),
        _MANY if seen.probs.shape[1] > MOST_WEIGHTED else None,
        _BY_RULE if learnable and best.rate < FEW else None,
        (0, "The losses show two groups." if separates else "The losses show no two groups."),
    ]
    reasons = [reason for reason in found if reason is not None]
    if not any(weight for weight, _ in reasons):
        reasons.append((0, "Every class has enough labels and the classifier is sure of most samples."))
    levels: tuple[Level, ...] = ("good", "fair", "poor")
    worst = max(weight for weight, _ in reasons)
    return Trust(levels[worst], tuple(text for _, text in sorted(reasons, key=lambda item: -item[0])))


def _trained_on(seen: Seen) -> _Reason | None:
    """Whether the labels may have been memorised."""
    if seen.learned and seen.agreement >= AS_GIVEN and not seen.witnessed:
        text = f"Averaged over training, the network predicts {100 * seen.agreement:.0f} % of the labels as they are "
        text += "given: nearly all are right, or the wrong ones were memorised, and this cannot tell which. The method "
        return 2, text + "auto holds labels out to see."
    if seen.learned is not None:
        text = "The probabilities are averages over training of samples that were trained on: labels that were "
        return 1, text + "memorised look right, so the rate may be too low."
    if seen.claimed and (alike := too_alike(seen.agreement, len(seen.given))) is not None:
        return 2, alike
    return None


def too_alike(agreement: float, count: int) -> str | None:
    """What is said of probabilities that nobody has seen made, where they repeat the labels; None: they do not.

    Args:
        agreement: share of the labels that are predicted as they are given.
        count: labels.
    """
    if agreement < _SAME or count < _ENOUGH:
        return None
    return (
        f"The probabilities predict {100 * agreement:.1f} % of the labels as they are given: nearly all are right, or "
        "the classifier has learned from these very samples, and then no wrong label can look wrong. Give "
        "probabilities of samples that it had not seen, as of cross-validation."
    )


def _in_doubt(doubt: float) -> _Reason | None:
    if doubt <= 0.25:
        return None
    text = f"The classifier is in doubt ({100 * doubt:.0f} % on average): its errors and wrong labels are hard "
    return 2 if doubt > 0.45 else 1, text + "to tell apart. Better features help."


def _disagrees(seen: Seen, rate: float) -> _Reason | None:
    """Whether much disagreement is put down to the classifier, which nothing proves."""
    away = 1 - seen.agreement
    doubted = away - rate
    if seen.learned is not None or doubted <= max(_DOUBTED, rate / 4):
        return None
    text = f"The classifier disagrees with {100 * away:.0f} % of the labels, and all but {100 * rate:.0f} % is put "
    text += "down to its own doubt. Labels that are wrong just where it is in doubt would look the same"
    most = f"anything up to {100 * away:.0f} % fits, and more where it has learned wrong labels"
    if doubted > max(_MUCH, rate):
        return 2, f"{text}: do not trust the rate; {most}. Check some by hand."
    return 1, f"{text}: {most}."


def _kept_back(estimates: Mapping[str, float], count: int) -> _Reason | None:
    """Whether most of the labels that the classifier doubts are not called wrong, see ``noise.certain``.

    Where it is in doubt for the samples' sake, and where labels are wrong just there, the estimates are the same.
    """
    doubted, most = estimates[JOINT], ceiling(estimates, count, FEWEST)
    if doubted - most <= max(_KEPT_BACK, doubted / 2):
        return None
    return 1, (
        f"The classifier doubts {100 * doubted:.1f} % of the labels, and at most {100 * most:.1f} % are called wrong, "
        "since no more is proven. Labels that are wrong just where it is in doubt may not be among them: that few look "
        "wrong does not mean that the others are right."
    )


def _wide(width: float) -> _Reason | None:
    return (2 if width > 0.35 else 1, f"The interval is {100 * width:.0f} points wide.") if width > WIDE else None


def _few(given: Labels) -> list[_Reason]:
    smallest, reasons = int(np.bincount(given).min()), list[_Reason]()
    if len(given) < 1_000:
        reasons.append((2 if len(given) < 100 else 1, f"Only {counted(len(given), 'label')}."))
    if smallest < 20:
        reasons.append(
            (2 if smallest < 5 else 1, f"The smallest class has {counted(smallest, 'label')}: its row is a guess.")
        )
    return reasons


def with_reason(trust: Trust, text: str) -> Trust:
    """One more reason for at most fair trust, the first of all."""
    return Trust("fair" if trust.level == "good" else trust.level, (text, *trust.reasons))
