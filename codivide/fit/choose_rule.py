"""From what a scout has seen to method and settings, each with its reason; a pure function (``docs/explain/auto.md``).

The scout is plain training with a part of the noisy labels held out. No true label and no test label is
looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from codivide.core.types import Mask
from codivide.fit.choice import Decision, ScoutReport, Verdict
from codivide.methods.codivide import CoDivide
from codivide.methods.dividemix import AUTOMATIC
from codivide.noise.rates import EVEN, ONE_WAY

FITTED = 0.1  # training agreement above held-out agreement by this much: the network can fit labels it should not
LOCKED = 0.5  # a class predicted less than this share of its label share is being lost
FEW_EPOCHS = 15  # fewer leave a correction no time after its plain part
VIEWS = 7 / 3  # of an epoch of plain training: three forwards and two backwards of which each is worth two
DOUBTFUL, GOOD = 0.6, 0.8  # shares of right guesses between which they begin to count
THIRD = 1 / 3  # rate up to which plain training may be drawn out
LITTLE, MUCH, EXTREME = 0.2, 0.5, 0.85  # rates between which the weight of guesses rises, and where trust ends


def decide(seen: ScoutReport, method: str = "auto") -> Decision:
    """The rule.

    Args:
        seen: what the scout saw.
        method: "auto", or "dividemix" where only its settings are open.
    """
    interval = f"{100 * seen.low:.0f} % to {100 * seen.high:.0f} %"
    about = f"estimated noise {100 * seen.rate:.0f} % ({interval}), {seen.kind}; trust in this: "
    about += seen.trust + (f" ({seen.doubt})" if seen.doubt else "")
    gap = seen.fitted - seen.agreement
    if method == "dividemix":
        hyper, why = settings(seen, gap)
        return Decision("dividemix", hyper, seen.epochs, (about, *why), seconds=_dividemix_cost(seen, hyper))
    plain = _plain_reason(seen, gap)
    if plain is not None:
        return _plain(seen, (about, plain))
    epochs, remark = _epochs(seen)
    if epochs < min(FEW_EPOCHS, seen.epochs):
        short = f"plain training: {seen.seconds_left:.0f} s are left, too few for a correction after its plain part"
        return _plain(seen, (about, short))
    baseline = (
        "plain training stays the baseline: the correction is kept unless it agrees with clearly fewer of the "
        f"{seen.held_out} held-out labels (by more than two standard errors; they chose the epoch of plain training)"
    )
    cost = correction_cost(seen.scout_seconds, epochs, seen.look_seconds)
    return Decision("codivide", {}, epochs, (about, _correct_reason(seen, gap), baseline, *remark), cost)


def settings(seen: ScoutReport, gap: float) -> tuple[dict[str, Any], list[str]]:
    """Settings of DivideMix, and a reason for each that is not the paper's."""
    weight, why = _weight(seen)
    chosen: dict[str, Any] = {**AUTOMATIC, "lambda_u": weight}
    reasons = [why]
    longest = max(1, seen.epochs // 3)
    shortest = max(1, min(5, longest))
    chosen["warmup"] = warmup = min(max(seen.settled_epoch, shortest), longest, 30)
    text = (
        f"warm-up {warmup} epoch{'s' * (warmup > 1)}: the short run was within one standard error of its best at epoch "
    )
    bound = "" if warmup == seen.settled_epoch else f", but at least {shortest}"
    bound = f", but at most {min(longest, 30)}" if warmup < seen.settled_epoch else bound
    reasons.append(f"{text}{seen.settled_epoch}{bound}")
    one_way = seen.kind == "asymmetric"
    chosen["confidence_penalty"] = 1.0 if one_way else 0.0
    if one_way:
        text = "confidence penalty 1: one-way noise is learned with confidence, which hides it from the losses"
        reasons.append(text)
    chosen["threshold"] = 0.6 if seen.rate >= EXTREME else 0.5
    if seen.rate >= EXTREME:
        reasons.append("threshold 0.6: so many labels are wrong that only surer ones may count as clean")
    if not _fits_noise(seen, gap):
        chosen["alpha"] = 0.5
        text = f"mixing Beta(0.5, 0.5) (alpha): the network fits its training labels {_better(gap)} held-out ones, so "
        reasons.append(text + "it has no capacity to spare for strong mixing")
    if seen.lost:
        chosen["division"] = "class_wise"
        names = ", ".join(map(str, seen.lost[:5])) + (", ..." if len(seen.lost) > 5 else "")
        text = (
            f"class-wise mixture: classes predicted less than half as often as labelled ({names}) would be locked out "
        )
        reasons.append(text + "by one mixture for all")
    return chosen, reasons


def _weight(seen: ScoutReport) -> tuple[float, str]:
    """lambda_u: its largest useful value grows with the classes, because the loss is a mean over them."""
    most = min(2.5 * seen.classes, 150.0)
    amount = _rise(seen.rate, LITTLE, MUCH)
    spread = 1 - _rise(seen.concentration, EVEN, ONE_WAY) if seen.kind != "instance-like" else 0.0
    if seen.rate > MUCH:  # noise of this size that goes one way could not be told from the truth
        spread = max(spread, _rise(seen.rate, MUCH, 0.6))
    right = guessed_right(seen)
    amount = max(amount * spread * _rise(right, DOUBTFUL, GOOD), _rise(_hidden(seen), 0.3, 0.7))
    weight = float(round(most * amount * (2 if seen.rate >= EXTREME else 1), 1))
    rate = f"{100 * seen.rate:.0f} %"
    if weight == 0 and amount * most == 0 and seen.rate <= LITTLE:
        return weight, f"lambda_u = 0: at {rate} noise there are enough clean labels to guess little"
    if weight == 0 and right <= DOUBTFUL:
        return weight, (
            f"lambda_u = 0: all that the held-out labels show is that at least {100 * right:.0f} % of the short run's "
            "guesses are right; wrong ones would teach their mistakes"
        )
    if weight == 0:
        text = f"lambda_u = 0: at {rate} {seen.kind} noise the guesses of the wrong labels repeat the same mistakes"
        return weight, text
    text = f"lambda_u = {weight:g} (weight of the guesses): 2.5 for each of {seen.classes} classes, at most 150, where "
    text += (
        f"half of the labels are wrong, evenly spread, and guesses are good; here {rate}, concentration "
        f"{seen.concentration:.2f} (0: evenly spread, 1: each class goes to one other), "
    )
    return weight, text + f"and at least {100 * right:.0f} % of the guesses right"


def guessed_right(seen: ScoutReport) -> float:
    """The share of the scout's guesses that is right at least: a guess agrees with a held-out label if both are right.

    (Or if both make the same mistake, which is left out.) At most 1 - ``low`` of these labels are right.
    """
    return min(seen.agreement / max(1 - seen.low, 1e-9), 1.0)


def _rise(value: float, low: float, high: float) -> float:
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _hardly_noisy(seen: ScoutReport) -> bool:
    return seen.kind == "none" or seen.high < 0.1


def _hidden(seen: ScoutReport) -> float:
    return seen.unlabelled / max(seen.labelled + seen.unlabelled, 1)


def _fits_noise(seen: ScoutReport, gap: float) -> bool:
    return seen.memorises or gap >= FITTED


def _better(gap: float) -> str:
    points = round(100 * gap)
    return f"only {points} point{'s' * (points > 1)} better than" if points > 0 else "no better than"


def _plain_reason(seen: ScoutReport, gap: float) -> str | None:
    if _fits_noise(seen, gap) or not _hardly_noisy(seen) or _hidden(seen) > 0.3:
        return None
    return (
        f"plain training: hardly a label is wrong, and none is memorised within {seen.scouted} epochs (training labels "
        f"agree {_better(gap)} held-out ones), so there is nothing to correct"
    )


def _correct_reason(seen: ScoutReport, gap: float) -> str:
    if seen.memorises:
        return (
            f"CoDivide: labels are memorised; agreement with held-out labels was best "
            f"({100 * seen.agreement:.1f} %) at epoch {seen.best_epoch} of {seen.scouted} and fell by more than its "
            f"standard error ({100 * seen.error:.1f} %)"
        )
    if gap >= FITTED:
        return (
            f"CoDivide: training labels agree {100 * gap:.0f} points better than held-out ones, so the network fits "
            "what does not carry over"
        )
    wrong = "labels are wrong" if seen.low > 0 else "labels may be wrong"
    why = "labels are missing" if _hardly_noisy(seen) else wrong
    return f"CoDivide, to be compared with plain training: {why}, but nothing is memorised within {seen.scouted} epochs"


def plain_hyper(seen: ScoutReport, epochs: int) -> dict[str, Any]:
    """Settings of plain training on all labels: no longer than it helped the scout.

    Of several best epochs the first, and the last where hardly a label is wrong: there is little to memorise.
    """
    best = max(seen.lasting_epoch, seen.best_epoch) if _hardly_noisy(seen) else seen.best_epoch
    share = best / seen.epochs
    return {"last_epoch": max(round(share * epochs), 1)} if share < 1 else {}


def plain_epochs(seen: ScoutReport) -> int:
    """Epochs of plain training on all labels: more where most are right and the scout learned to the end."""
    helps = seen.rate <= THIRD and not seen.memorises and seen.best_epoch > seen.epochs / 2
    return round(seen.longer * seen.epochs) if helps else seen.epochs


def longer_reason(seen: ScoutReport, epochs: int) -> str:
    """Why plain training takes more epochs than planned."""
    return (
        f"plain training is planned for {epochs} epochs instead of {seen.epochs}: about {100 * seen.rate:.0f} % of the "
        f"labels are wrong, and held-out agreement was best at epoch {seen.best_epoch} and did not fall"
    )


def affordable_plain(seen: ScoutReport, fits: float) -> int | None:
    """Epochs of the plan of plain training on all labels of which so many fit into the time that is left.

    At least as many as the scout's plan: a shorter one would end before the epoch up to which training helped the
    scout, and be worse than it.

    Returns:
        None where not even that epoch fits: the scout is the better result.
    """
    epochs = int(max(min(plain_epochs(seen), fits), seen.epochs))
    needed = plain_hyper(seen, epochs).get("last_epoch", epochs)
    return None if fits < needed else epochs


def _plain(seen: ScoutReport, reasons: tuple[str, ...]) -> Decision:
    timed = seen.seconds_left is not None and seen.scout_seconds > 0
    fits = (seen.seconds_left or 0.0) / seen.scout_seconds if timed else math.inf
    epochs = affordable_plain(seen, fits)
    if epochs is None:
        few = f"no time for the {seen.best_epoch} epochs that helped the short run, only for {int(fits)}"
        return Decision("cross_entropy", reasons=(*reasons, f"{few}: the short run is the result"))
    if epochs > seen.epochs:
        reasons = (*reasons, longer_reason(seen, epochs))
    hyper = plain_hyper(seen, epochs)
    seconds = hyper.get("last_epoch", epochs) * seen.scout_seconds
    return Decision("cross_entropy", hyper, epochs, reasons, seconds=seconds)


def correction_cost(scout_seconds: float, epochs: int, look_seconds: float = 0.0) -> float:
    """Seconds that CoDivide needs, reckoned from the seconds of one epoch of the scout, with its looks at the data.

    In units of a forward pass of one image: the scout's epoch takes 3 N, and so does one of CoDivide's plain part. Then
    the network learns from two views (6 N) and its weight average sees one of them (N).
    """
    plain = CoDivide().scout
    return ((plain + (1 - plain) * VIEWS) * (scout_seconds - look_seconds) + look_seconds) * epochs


def _dividemix_cost(seen: ScoutReport, hyper: dict[str, Any]) -> float:
    """The same of DivideMix at the estimated rate of wrong labels.

    For every labelled batch of size B a network of DivideMix trains on 4 B mixed images (12 B), and guesses and refines
    with 6 B views; both networks measure N. Both look at the data.
    """
    share = min(max(1 - seen.rate, 0.2), 0.95)
    epoch = (2 * 18 * share + 2) / 3
    warmup = min(hyper["warmup"], seen.epochs)
    trained = (seen.scout_seconds - seen.look_seconds) * (2 * warmup + epoch * (seen.epochs - warmup))
    return float(trained + 2 * seen.look_seconds * seen.epochs)


def _epochs(seen: ScoutReport) -> tuple[int, list[str]]:
    whole = correction_cost(seen.scout_seconds, seen.epochs, seen.look_seconds)
    if seen.seconds_left is None or whole <= seen.seconds_left:
        return seen.epochs, []
    epochs = max(int(seen.epochs * seen.seconds_left / whole), 1)
    text = f"{epochs} epochs instead of {seen.epochs}: {seen.epochs} would take about {whole:.0f} s, and "
    return epochs, [f"{text}{seen.seconds_left:.0f} s of the budget are left"]


def compare(correction: Mask, plain: Mask, rate: float, lost: Sequence[str] = ()) -> Verdict:
    """Keep the correction unless the held-out labels speak against it, or it has lost a class.

    It may be worse by two standard errors. Plain training's epoch was picked by these labels, which flatters it; the
    correction has not settled when it is asked, and has yet to learn from these labels.

    Args:
        correction: whether it agrees with each held-out given label, ``[H]``, H at least 2.
        plain: the same of plain training.
        rate: estimated share of wrong labels, which blur the comparison.
        lost: names of classes that the correction hardly predicts, and plain training does.
    """
    apart = correction.astype(float) - plain.astype(float)
    difference = float(apart.mean())
    error = float(apart.std(ddof=1) / math.sqrt(len(apart)))
    worse = difference < -2 * error or bool(lost)
    kept = "plain" if worse else "correction"
    resolution = error / max(1 - rate, 0.05)
    if error:
        more = f"{100 * abs(difference):.1f} points {'more' if difference > 0 else 'fewer'} than"
        text = (
            f"of {len(apart)} held-out labels the correction agrees with {more if difference else 'as many as'} plain "
            f"training (standard error {100 * error:.1f}; so {100 * resolution:.1f} points of accuracy may be chance)"
        )
    else:
        text = f"correction and plain training differ at {'every' if difference else 'none'} of the {len(apart)} "
        text += "held-out labels"
    if lost:
        names = ", ".join(lost[:5]) + (", ..." if len(lost) > 5 else "")
        text += f"; but the correction hardly predicts what plain training does ({names})"
    text += ": " + ("plain training" if worse else "the correction") + " is kept"
    return Verdict(kept, difference, error, resolution, len(apart), text)
