"""From what a network has seen of the given labels to the probability that each is clean."""

from __future__ import annotations

from torch import Tensor

from codivide import divide, functional
from codivide.engine import Run


def start(run: Run, i: int, average_losses: int) -> None:
    """Make room for the last posteriors and the last losses of network ``i``."""
    run.remember(f"clean_prob.{i}", fill=float("nan"))
    run.remember(f"losses.{i}", average_losses)


def posterior(run: Run, i: int) -> Tensor:
    """The last division by network ``i``: ``[N]`` in [0, 1], NaN where there is no label (or no division yet)."""
    return run.remember(f"clean_prob.{i}")


def renew(run: Run, i: int, since: int, average_losses: int, threshold: float) -> None:
    """Measure network ``i`` on all samples, divide, and keep the posterior (DivideMix, section 3.1).

    Args:
        run: the run; it logs ``separates_i``, and warns when the losses show no two groups or a class was lost.
        i: the network.
        since: divisions before this one.
        average_losses: epochs whose losses are averaged, each scaled to [0, 1].
        threshold: a label counts as clean above it.
    """
    given = run.data.y >= 0
    loss = run.measure(i, lambda logits, batch: functional.sample_loss(logits, batch.y))[given]
    history = run.remember(f"losses.{i}", average_losses)
    history[given, since % average_losses] = divide.unit_range(loss)
    loss = history[given, : since + 1].mean(1)
    division, names = divide.gmm(loss), run.data.classes
    prob, lost = divide.restore_classes(division.clean_prob, loss, run.data.y[given], len(names), threshold)
    posterior(run, i)[given] = prob
    run.log(**{f"separates_{i}": float(division.separates)})
    if not division.separates:
        run.warn("separates", "the losses do not show two groups, so the split is a guess; going on with it")
    for c in lost:
        run.warn(f"class {c}", f"no label {names[c]!r} was found clean; divided that class by itself")
