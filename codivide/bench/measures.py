"""The statistics by which papers report, each computed from the result of a run; see ``Recipe.published``.

A result has what ``bench.runner.run`` returns: the summary of the run and its curve over epochs.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Result = Mapping[str, Any]


class Statistic(NamedTuple):
    """What a published number says, and the same of a run of ours.

    Attributes:
        words: its name in tables.
        of: of a result, in percent; None where the run was not looked at as it asks for.
        digits: after the point.
    """

    words: str
    of: Callable[[Result], float | None]
    digits: int = 1


def published_text(published: Mapping[str, float]) -> str:
    """Published numbers with the names of their statistics, such as "best 96.1, mean of last 10 95.7"."""
    spread = f" ± {published['spread']:g}" if "spread" in published else ""
    cells = (f"{STATISTICS[name].words} {value:g}" for name, value in published.items() if name in STATISTICS)
    return ", ".join(cells) + spread


def seconds(result: Result) -> float:
    """Seconds of training, with the stages that led to it: of ``auto``, its short run and a correction not kept."""
    stages = ("scout", "trial", "correction", "training")  # the second: of results before the correction was one run
    return sum(float(result.get(f"{stage}_seconds") or 0.0) for stage in stages)


def _tested(result: Result, name: str = "test_accuracy") -> dict[int, float]:
    """Test accuracy by epoch."""
    return {int(row["epoch"]): float(row[name]) for row in result["curve"] if name in row}


def _last(name: str = "test_accuracy") -> Callable[[Result], float | None]:
    def of(result: Result) -> float | None:
        tested = _tested(result, name)
        return 100 * tested[result["epochs"]] if result["epochs"] in tested else None

    return of


def _best(name: str = "test_accuracy") -> Callable[[Result], float | None]:
    def of(result: Result) -> float | None:
        tested = _tested(result, name)
        return 100 * max(tested.values()) if len(tested) == result["epochs"] else None  # a best of some is too low

    return of


def _last_epochs(count: int, middle: Callable[[list[float]], float]) -> Callable[[Result], float | None]:
    """A middle of the test accuracies of the last epochs, every one of which was evaluated."""

    def of(result: Result) -> float | None:
        tested, end = _tested(result), int(result["epochs"])
        asked = range(max(1, end - count + 1), end + 1)
        return 100 * middle([tested[epoch] for epoch in asked]) if all(epoch in tested for epoch in asked) else None

    return of


def _recovered(result: Result) -> list[float]:
    """Share of training labels that are right after updating, or else of right predictions, at the epochs looked at."""
    for name in ("updated_label_accuracy", "recovery_accuracy"):
        found = [float(row[name]) for row in result["curve"] if name in row]
        if found:
            return found
    return []


def _recovery(choose: Callable[[list[float]], float]) -> Callable[[Result], float | None]:
    return lambda result: 100 * choose(found) if (found := _recovered(result)) else None


def _error_on_real(result: Result) -> float | None:
    """Of the labels that noise left alone, the share that is not predicted at the last epoch."""
    row = result["curve"][-1]
    return 100 * (1 - float(row["clean_correct"])) if "clean_correct" in row else None


def _error_on_corrupted(result: Result) -> float | None:
    """Of the labels that symmetric noise drew anew, the share that is not predicted at the last epoch.

    One in C of them is the true label again, and cannot be told from one that was left alone; so its share of errors is
    that of the clean labels.
    """
    row = result["curve"][-1]
    if "wrong_memorised" not in row or "clean_correct" not in row:
        return None
    lucky = 1 / len(result["classes"])
    return 100 * (1 - (1 - lucky) * float(row["wrong_memorised"]) - lucky * float(row["clean_correct"]))


#: Statistic -> how it is called and computed. Accuracies are of the test part unless they say otherwise.
STATISTICS: Mapping[str, Statistic] = {
    "last": Statistic("last", _last()),
    "best": Statistic("best", _best()),
    "top5_last": Statistic("top-5 last", _last("test_top5_accuracy")),
    "top5_best": Statistic("top-5 best", _best("test_top5_accuracy")),
    "last_10_mean": Statistic("mean of last 10", _last_epochs(10, statistics.fmean)),
    "last_10_median": Statistic("median of last 10", _last_epochs(10, statistics.median)),
    "last_20_median": Statistic("median of last 20", _last_epochs(20, statistics.median)),
    "recovery_best": Statistic("recovery best", _recovery(max)),
    "recovery_last": Statistic("recovery last", _recovery(lambda found: found[-1])),
    "training_error_on_real_labels": Statistic("training error on real labels", _error_on_real, 2),
    "training_error_on_corrupted_labels": Statistic("training error on corrupted labels", _error_on_corrupted, 2),
}
