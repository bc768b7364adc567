"""Between the training samples: how a model behaves along the lines that join them.

The two diagnoses of mixup's figure 2 (Zhang et al., ICLR 2018, arXiv:1710.09412): along x = l x_i + (1 - l) x_j, the
share of predictions that are neither y_i nor y_j, and the norm of the loss's gradient with respect to the input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

from codivide.core.errors import InputError
from codivide.core.types import Floats
from codivide.data.rows import Rows
from codivide.runs.model import Model
from codivide.runs.plot import BLUE, GREY, STYLE, VERMILLION

LAMBDAS = tuple(k / 20 for k in range(21))
_COLOURS = (BLUE, VERMILLION, GREY, "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_STYLES = ("-", "--", "-.", ":")


class Pairs(NamedTuple):
    """Which samples are joined: rows ``[P]`` int64 of the one end and of the other."""

    first: Tensor
    second: Tensor


@dataclass(frozen=True)
class Diagnosis:
    """How one model behaves between samples; every array is ``[L]``.

    Attributes:
        lambdas: share of the first sample, in [0, 1].
        miss_rate: share of the pairs whose prediction is the label of neither end.
        gradient_norm: mean over the pairs of the norm of the gradient.
        miss_error: standard error of ``miss_rate`` over the pairs.
        gradient_error: standard error of ``gradient_norm`` over the pairs.
    """

    lambdas: Floats
    miss_rate: Floats
    gradient_norm: Floats
    miss_error: Floats
    gradient_error: Floats


def draw_pairs(y: Tensor, count: int = 1000, seed: int = 0) -> Pairs:
    """Random pairs of two different labelled samples; ``y`` ``[N]``, -1: no label."""
    labelled = (y >= 0).nonzero().flatten().cpu()
    if len(labelled) < 2:
        raise InputError("fewer than two samples have a label; there are no pairs")
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(len(labelled), (count,), generator=generator)
    step = torch.randint(1, len(labelled), (count,), generator=generator)
    return Pairs(labelled[first], labelled[(first + step) % len(labelled)])


def diagnose(
    model: Model,
    rows: Rows,
    y: Tensor,
    pairs: Pairs | None = None,
    lambdas: Sequence[float] = LAMBDAS,
    *,
    batch_size: int = 256,
) -> Diagnosis:
    """Both diagnoses in one pass, in evaluation mode; the model is left as it was.

    The gradient is that of the loss with respect to the mixed input, which is what the network sees, after
    normalisation. The loss is the cross-entropy of the mixed target l y_i + (1 - l) y_j (one-hot labels) and the
    softmax of the mean logits: the loss that mixup trains with. In float32.

    Args:
        model: the classifier.
        rows: raw training samples.
        y: their labels ``[N]`` (given or true, whichever is asked about).
        pairs: of labelled samples; None: 1,000 drawn with seed 0.
        lambdas: shares of the first sample of a pair.
        batch_size: mixed samples at a time.
    """
    pairs = draw_pairs(y) if pairs is None else pairs
    found = list(_along(model, rows, y, pairs, lambdas, batch_size=batch_size))
    missed = torch.cat([part.missed for part in found], 1).double()
    norms = torch.cat([part.norm for part in found], 1).double()

    def error(values: Tensor) -> Floats:
        spread: Floats = (values.std(1, correction=0) / len(pairs.first) ** 0.5).numpy()
        return spread

    return Diagnosis(
        np.asarray(lambdas, dtype=np.float64),
        missed.mean(1).numpy(),
        norms.mean(1).numpy(),
        error(missed),
        error(norms),
    )


class _Found(NamedTuple):
    missed: Tensor  # [L, B] bool
    norm: Tensor  # [L, B]


def _along(
    model: Model, rows: Rows, y: Tensor, pairs: Pairs, lambdas: Sequence[float], *, batch_size: int
) -> Iterator[_Found]:
    if bool((y[pairs.first] < 0).any() or (y[pairs.second] < 0).any()):
        raise InputError("a sample of a pair has no label")
    device = next(model.members[0].parameters()).device
    plain, generator = model.views.views()["plain"], torch.Generator()  # "plain" draws nothing from it
    modes = [member.training for member in model.members]
    for member in model.members:
        member.eval()
    try:
        for first, second in zip(*(torch.split(ids, batch_size) for ids in pairs), strict=True):
            ends = [plain(rows[ids].to(device), generator) for ids in (first, second)]
            labels = [y[ids].to(device) for ids in (first, second)]
            found = [_between(model, ends, labels, share) for share in lambdas]
            yield _Found(*(torch.stack(parts) for parts in zip(*found, strict=True)))
    finally:
        for member, mode in zip(model.members, modes, strict=True):
            member.train(mode)


def _between(model: Model, ends: Sequence[Tensor], labels: Sequence[Tensor], share: float) -> tuple[Tensor, Tensor]:
    """Misses ``[B]`` and gradient norms ``[B]`` of a batch of pairs at one share of the first ends."""
    x = (share * ends[0] + (1 - share) * ends[1]).float().requires_grad_()
    with torch.enable_grad():
        logits = torch.stack([member(x).float() for member in model.members]).mean(0)
        answer = logits.detach().argmax(1)
        missed = (answer != labels[0]) & (answer != labels[1])
        loss = share * functional.cross_entropy(logits, labels[0], reduction="sum")
        loss = loss + (1 - share) * functional.cross_entropy(logits, labels[1], reduction="sum")
        (slope,) = torch.autograd.grad(loss, x)  # samples do not meet in evaluation mode: each has its own
    return missed.cpu(), slope.flatten(1).norm(dim=1).cpu()


def plot(diagnoses: Mapping[str, Diagnosis | Sequence[Diagnosis]]) -> Figure:
    """Both panels, one line for each name: the mean over its models.

    The band is one standard deviation over the models or, for a single one, one standard error over the pairs. Write
    the figure with ``codivide.runs.plot.save``.
    """
    if not diagnoses:
        raise InputError("there is no diagnosis to plot")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 3.4), layout="constrained")
        panels = (
            ("miss_rate", "miss_error", "Misses between training samples", "prediction is neither label (%)", 100.0),
            ("gradient_norm", "gradient_error", "Slope between training samples", "norm of the loss gradient", 1.0),
        )
        for axes, (name, error, title, unit, scale) in zip(figure.subplots(1, 2), panels, strict=True):
            for k, (label, given) in enumerate(diagnoses.items()):
                models = [given] if isinstance(given, Diagnosis) else list(given)
                values = scale * np.stack([getattr(model, name) for model in models])
                spread = values.std(0, ddof=1) if len(models) > 1 else scale * getattr(models[0], error)
                x, middle = models[0].lambdas, values.mean(0)
                axes.fill_between(x, middle - spread, middle + spread, color=_COLOURS[k % 7], alpha=0.2, linewidth=0)
                axes.plot(x, middle, _STYLES[k % 4], color=_COLOURS[k % 7], label=label)
            axes.set_title(title, loc="left")
            axes.set_xlabel("share of the first sample")
            axes.set_ylabel(unit)
            axes.set_xlim(0, 1)
            axes.set_ylim(bottom=0)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(diagnoses)))
    return figure
