"""MentorNet: weights for samples from their losses, by a rule or by a small network that learns the rule.

Jiang et al., ICML 2018, arXiv:1712.05055. A mentor sees four numbers of a sample, ``[B, 4]`` in this order: its loss,
its loss minus the moving percentile of the batches' losses, its given label, and the share of training done.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from codivide.core.errors import InputError
from codivide.core.files import read_tensors, reading, save_tensors
from codivide.training.run import Run

FORMAT = 1
_BATCH = 512  # rows that a mentor is fitted to at a time
_LR = 0.02  # of the mentor, at the start
LOSSES, THRESHOLD = "mentor.losses", "mentor.threshold"  # what a run of a mentored method remembers


def moving_percentile(before: float, losses: Tensor, percentile: float, decay: float) -> float:
    """``decay * before + (1 - decay) * percentile of the losses`` (section 3.1, "loss moving average").

    Args:
        before: the average so far; NaN when there is none yet, which the first percentile then replaces.
        losses: ``[B]``; those that are not finite are left out.
        percentile: in [0, 1], linear between neighbours.
        decay: in [0, 1).
    """
    finite = losses.detach().float()[torch.isfinite(losses)]
    if not len(finite):
        return before
    now = float(torch.quantile(finite, percentile))
    return now if math.isnan(before) else decay * before + (1 - decay) * now


def predefined_weights(difference: Tensor, slope: float = 0.0) -> Tensor:
    """The predefined curriculum: 1 below the threshold, 0 above (eq. 5).

    With ``d = loss - threshold``: ``v = 1[d < 0]`` (self-paced) for a slope of 0, else
    ``v = min(max(1 - d / slope, 0), 1)``.

    Args:
        difference: d ``[B]``; not a number or infinite: weight 0.
        slope: width over which the weight falls from 1 to 0, >= 0 (lambda_2 in the paper).
    """
    weights = (1 - difference / slope).clamp(0, 1) if slope > 0 else (difference < 0).float()
    return torch.where(torch.isfinite(difference), weights, 0.0)


def parse_schedule(text: str) -> list[tuple[float, float]]:
    """``"0.5,17,0.05,83"`` as ``[(0.5, 0.17), (0.05, 1.0)]``: a rate, and the share of training at which it ends.

    Raises:
        InputError: not pairs of a rate in [0, 1] and a percentage, or the percentages do not sum to 100.
    """
    try:
        numbers = [float(word) for word in text.split(",")]
        rates, lengths = numbers[::2], numbers[1::2]
        good = len(rates) == len(lengths) and all(0 <= r <= 1 for r in rates) and all(x >= 0 for x in lengths)
    except ValueError:
        good = False
    if not good or abs(sum(lengths) - 100) > 1e-6:
        raise InputError(f"{text!r} is no schedule; write rate,percent,rate,percent,... with percents that sum to 100")
    return [(rate, sum(lengths[: k + 1]) / 100) for k, rate in enumerate(rates)]


def scheduled(schedule: Sequence[tuple[float, float]], share: float) -> float:
    """The rate after a share of training in [0, 1]; a new rate begins exactly at the end of the one before."""
    return next((rate for rate, end in schedule if share < end), schedule[-1][0])


def features(losses: Tensor, threshold: float, labels: Tensor, share: float) -> Tensor:
    """What a mentor sees of a batch, ``[B, 4]`` float32; without a gradient."""
    losses = losses.detach().float()
    return torch.stack([losses, losses - threshold, labels.float(), torch.full_like(losses, share)], dim=1)


class Mentor(nn.Module):
    """``g(z)``: one step of a bidirectional LSTM over (loss, difference), a label embedding, two layers, a sigmoid.

    Losses and differences enter as ``sign(x) log(1 + |x|)``, so that a few large losses do not saturate the gates, and
    the share of training as a number through a linear layer.

    Args:
        classes: rows of the label embedding; 1: labels are not looked at, so that the mentor fits any data.
        memory: units of the LSTM, per direction.
        hidden: units of the layer before the last.
    """

    def __init__(self, classes: int = 1, memory: int = 4, hidden: int = 20) -> None:
        super().__init__()
        self.sizes = {"classes": classes, "memory": memory, "hidden": hidden}
        self.losses = nn.LSTM(2, memory, batch_first=True, bidirectional=True)
        self.labels = nn.Embedding(classes, 2)
        self.share = nn.Linear(1, 5)
        self.first = nn.Linear(2 * memory + 2 + 5, hidden)
        self.last = nn.Linear(hidden, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Logits ``[B]`` of the weights, from features ``[B, 4]``."""
        pair = z[:, :2].sign() * z[:, :2].abs().log1p()
        seen, _ = self.losses(pair.unsqueeze(1))
        label = z[:, 2].long().clamp_min(0) if self.sizes["classes"] > 1 else torch.zeros_like(z[:, 2]).long()
        joined = torch.cat([seen[:, 0], self.labels(label), self.share(z[:, 3:])], dim=1)
        out: Tensor = self.last(torch.tanh(self.first(joined)))
        return out.squeeze(1)

    @torch.no_grad()
    def weights(self, z: Tensor) -> Tensor:
        """``v = sigmoid(g(z))`` ``[B]`` in [0, 1]; 0 where a loss is not finite."""
        known = torch.isfinite(z).all(dim=1)
        return torch.where(known, torch.sigmoid(self(z.where(known.unsqueeze(1), 0.0))), 0.0)

    def for_classes(self, classes: int) -> Mentor:
        """The mentor itself, if it can look at labels of so many classes; else an InputError."""
        if self.sizes["classes"] not in (1, classes):
            raise InputError(f"the mentor was fitted to {self.sizes['classes']} classes, the data have {classes}")
        return self

    def save(self, path: Path) -> None:
        """Write the mentor to a safetensors file, atomically."""
        save_tensors(path, self.state_dict(), "mentor", {"format": FORMAT, **self.sizes})

    @classmethod
    def load(cls, path: Path) -> Mentor:
        """Read a saved mentor; InputError when the file is not there or is not one (a pickle is never opened)."""
        state, sizes = read_tensors(path, "mentor")
        if sizes.pop("format", None) != FORMAT:
            raise InputError(f"{path} has another mentor format; this version reads {FORMAT}")
        with reading(path):
            mentor = cls(**sizes)
            mentor.load_state_dict(state)
        return mentor


def fit_mentor(
    mentor: Mentor,
    z: Tensor,
    targets: Tensor,
    generator: torch.Generator,
    *,
    steps: int = 400,
) -> float:
    """Fit a mentor to target weights in place: cross-entropy, Adam with a learning rate that falls from 0.02 to 0.

    Batches of 512 rows are drawn with replacement.

    Args:
        mentor: what is fitted, from the weights that it has.
        z: features ``[M, 4]``; rows that are not finite are left out.
        targets: weights in [0, 1], ``[M]``: those of a predefined curriculum (MentorNet PD), or 1 where the given
            label is the true one and 0 elsewhere (MentorNet DD).
        generator: a CPU generator, the source of the batches.
        steps: updates.

    Returns:
        The mean absolute error on all rows after the fit; NaN when no row was finite.
    """
    known = torch.isfinite(z).all(dim=1)
    z = z[known]
    targets = targets[known].float()
    if not len(z):
        return math.nan
    optimizer = torch.optim.Adam(mentor.parameters(), _LR)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = _LR * 0.5 * (1 + math.cos(math.pi * step / steps))
        rows = torch.randint(len(z), (_BATCH,), generator=generator).to(z.device)
        loss = functional.binary_cross_entropy_with_logits(mentor(z[rows]), targets[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return float((mentor.weights(z) - targets).abs().mean())


def predefined_table(
    losses: Tensor, slope: float, generator: torch.Generator, rows: int = 20_000, *, slope_from: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Features and predefined weights to fit a mentor to (MentorNet PD): losses of a run, thresholds over their range.

    Half of the rows hold losses drawn from the run's, the others losses spread evenly up to the largest; thresholds
    are drawn from the run's losses too, shares of training evenly; the labels, on which these weights do not depend,
    are 0. The order of ``losses`` does not matter.

    Args:
        losses: ``[N]``; those that are not finite are left out.
        slope: of ``predefined_weights``.
        generator: a CPU generator.
        rows: M.
        slope_from: share of training from which on the slope holds; before, weights are a step.

    Returns:
        ``[M, 4]`` and ``[M]``, on the device of the losses.
    """
    ordered = losses[torch.isfinite(losses)].cpu().float().sort().values
    if not len(ordered):
        ordered = torch.ones(1)
    uniform = torch.rand(rows, 3, generator=generator)
    places = (uniform[:, :2] * len(ordered)).long().clamp_max(len(ordered) - 1)
    loss, threshold = ordered[places].unbind(dim=1)
    half = torch.arange(rows) % 2 == 0
    loss = torch.where(half, loss, uniform[:, 0] * ordered[-1])
    z = torch.stack([loss, loss - threshold, torch.zeros(rows), uniform[:, 2]], dim=1).to(losses.device)
    sloped = z[:, 3] >= slope_from
    return z, torch.where(sloped, predefined_weights(z[:, 1], slope), predefined_weights(z[:, 1]))


class Recorder:
    """Watches a run of ``mentornet`` on labels whose truth is known: the table a data-driven mentor is fitted to.

    Give it to ``train`` as ``watch``. After each epoch it keeps every labelled sample's last loss, its difference to
    the percentile of all these losses (as published: the moving one of the last batches is only an estimate of it),
    the given label and the share of training; the target is 1 where the given label is the true one.

    Args:
        truth: true labels ``[N]``, -1 where there is none.
    """

    def __init__(self, truth: Tensor) -> None:
        self.truth = truth
        self.tables: list[Tensor] = []
        self.targets: list[Tensor] = []

    def __call__(self, run: Run) -> None:
        """Add the epoch that has just ended."""
        if LOSSES not in run.memory:
            raise InputError(f"{type(run.method).__name__} remembers no losses for a mentor; record a run of mentornet")
        truth = self.truth.to(run.device)
        rows = (run.data.y >= 0) & (truth >= 0)
        losses = run.memory[LOSSES][run.data.y >= 0]
        percentile = float(run.memory["percentile"])
        threshold = moving_percentile(math.nan, losses, percentile, 0.0)
        share = (run.epoch - 1) / run.plan.epochs
        self.tables.append(features(run.memory[LOSSES][rows], threshold, run.data.y[rows], share))
        self.targets.append((run.data.y == truth)[rows].float())

    def fit(self, classes: int = 1, seed: int = 0, steps: int = 2000) -> Mentor:
        """A mentor fitted to everything recorded; ``classes`` as in ``Mentor``."""
        if not self.tables:
            raise InputError("nothing was recorded; give the recorder to train(..., watch=recorder) first")
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            mentor = Mentor(classes).to(self.tables[0].device)
        fit_mentor(mentor, torch.cat(self.tables), torch.cat(self.targets), generator, steps=steps)
        return mentor
