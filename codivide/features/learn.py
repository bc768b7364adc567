"""Learn from features whose labels cannot be trusted: cross-fit, estimate the noise, correct, divide.

In short (N labelled samples, K folds, C classes; everything is held-out: row i is predicted by models that never saw
its label):

1. Fit the heads plainly. The penalty of the linear head and the length of the MLP's training are those with the
   smallest held-out log-loss on the given labels.
2. Pool them: ``p = sum_h w_h p_h`` with the weights of the greatest held-out likelihood (stacking).
3. Estimate the transition matrix T from the confident joint of ``p`` and the given labels.
4. Fit the heads again through ``(1 - s) I + s T``, s = 1/2 or 1, and pool them: they learn the true class, and
   ``T^T p`` is what they say of the given one. The held-out likelihood of the GIVEN labels tells which s is better, and
   whether the corrected pool beats the plain one, by more than one standard error; else the plain one stays. No true
   label is needed.
5. Divide: see ``evidence``.

Sources: forward correction, Patrini et al. (CVPR 2017); confident joint, Northcutt et al. (JAIR 2021), section 3;
stacking, Wolpert (Neural Networks 1992). The combination is ours.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codivide import divide, transition
from codivide.errors import InputError, TrainingWarning
from codivide.features import evidence, linear, neighbours, perceptron
from codivide.features.matrix import Matrix, Raw, Scale
from codivide.features.model import FeatureModel, Member
from codivide.features.options import Features

PENALTIES = tuple(10 ** (-exponent / 2) for exponent in range(2, 17))  # 0.1 down to 1e-8
STRENGTHS = (0.5, 1.0)  # of the correction
ADJUSTMENTS = (0.0, 0.5, 1.0)  # powers of the classes' frequencies by which probabilities are divided
_TINY = 1e-9
_KEPT = 0.01  # a head with less weight is not kept

Labels = NDArray[np.int64]
Record = dict[str, Any]


@dataclass
class Learned:
    """What the route gives back; rows are those of the data.

    Attributes:
        model: the classifier.
        probs: cross-fitted probabilities ``[N, C]`` of the true class; of the final classifier where there is no label.
        clean_prob: ``[N]`` in [0, 1], NaN where there is no label.
        suggested: ``[N]``: the given label where it is likely clean, else the likeliest other class.
        records: one a round, with the held-out log-loss and agreement on the given labels.
        report: numbers about the choice: weights, penalties, transition matrix, what the hold-out can resolve.
        remarks: warnings by name.
    """

    model: FeatureModel
    probs: Tensor
    clean_prob: Tensor
    suggested: Tensor
    records: list[Record] = field(default_factory=list)
    report: Record = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)


@dataclass
class _Head:
    """A fitted head: what it says of held-out samples, and its block for all samples."""

    name: str
    channel: Tensor  # [C, C]: row c, how a true class c is given
    cross: Tensor  # [N, C]: held-out probabilities of the true class
    loss: float  # held-out log-loss on the given labels
    detail: Record
    member: Member
    fitted: linear.Linear | None = None

    def given(self) -> Tensor:
        """Held-out probabilities ``[N, C]`` of the given label."""
        return self.cross @ self.channel

    def seen(self, given: Tensor) -> Tensor:
        """How likely the given labels are, ``[N]``, held out."""
        return self.given().gather(1, given.unsqueeze(1)).squeeze(1)


@dataclass
class _Pool:
    """Heads and their weights ``[H]``."""

    heads: list[_Head]
    weights: Tensor

    def cross(self) -> Tensor:
        """Held-out probabilities ``[N, C]`` of the true class."""
        return torch.einsum("h,hnc->nc", self.weights, torch.stack([head.cross for head in self.heads]))

    def given(self) -> Tensor:
        """Held-out probabilities ``[N, C]`` of the given label."""
        return torch.einsum("h,hnc->nc", self.weights, torch.stack([head.given() for head in self.heads]))

    def seen(self, given: Tensor) -> Tensor:
        """How likely the given labels are, ``[N]``, held out."""
        return self.given().gather(1, given.unsqueeze(1)).squeeze(1)


class _Problem:
    """The labelled samples with their folds; fits one head after the other."""

    def __init__(self, x: Raw, given: Tensor, classes: int, options: Features, seed: int) -> None:
        self.options, self.seed, self.classes, self.given = options, seed, classes, given
        self.generator = torch.Generator().manual_seed(seed)
        self.scale = Scale.fit(x)
        self.x = Matrix.of(self.scale.apply(x))
        self.fold = deal(given, min(options.folds, len(given)), self.generator)
        blocks = int(self.fold.max()) + 1
        self.weight = torch.ones(len(given), blocks + 1)  # the last block holds nothing out
        self.weight[torch.arange(len(given)), self.fold] = 0
        directions = self.x.principal(options.components, self.generator)
        coordinates = self.x.times(directions)
        # Half-way to whitening: the leading directions count more, but do not hide the others.
        spread = coordinates.square().mean(0).sqrt()
        directions /= spread.clamp_min(1e-4 * float(spread.max()) + 1e-30).sqrt()
        coordinates = self.x.times(directions)
        unit = float(coordinates.square().mean().sqrt()) or 1.0
        self.directions, self.coordinates = directions / unit, coordinates / unit

    def held_out(self, logits: Tensor) -> Tensor:
        """``[N, C]`` of ``[N, K + 1, C]``: every row as the block predicts it that did not see it."""
        return torch.softmax(logits[torch.arange(len(self.fold)), self.fold], 1)

    def linear(self, channel: Tensor, start: _Head | None = None) -> _Head:
        """The linear head with the best penalty, sought downwards until the held-out loss rises."""
        likelihood = channel.T[self.given]
        best: _Head | None = None
        fitted = start.fitted if start else None
        first = start.detail["penalty"] if start else PENALTIES[0]
        for penalty in (value for value in PENALTIES if value <= first):
            fitted = linear.fit(self.x, likelihood, self.weight, penalty, fitted)
            cross = self.held_out(fitted.logits(self.x))
            loss = log_loss(cross, likelihood)
            if best is not None and loss >= best.loss:
                break
            member = Member("linear", 1.0, (fitted.weight[:, -1], fitted.bias[-1]))
            best = _Head("linear", channel, cross, loss, {"penalty": penalty}, member, fitted)
        assert best is not None
        return best

    def mlp(self, channel: Tensor) -> _Head:
        """The MLP after the number of updates with the least held-out loss."""
        likelihood = channel.T[self.given]
        found: list[_Head] = []

        def watch(net: perceptron.Perceptron) -> bool:
            cross = self.held_out(net.logits(self.coordinates))
            loss = log_loss(cross, likelihood)
            if not found or loss < found[0].loss:
                tensors = tuple(value[-1].clone() for value in net.tensors())
                found[:] = [_Head("mlp", channel, cross, loss, {}, Member("mlp", 1.0, tensors))]
                return True
            return loss < 1.02 * found[0].loss

        options = self.options
        perceptron.fit(
            *(self.coordinates, likelihood, self.weight, self.fold, watch),
            torch.Generator().manual_seed(self.seed),
            hidden=options.hidden,
            updates=options.updates or default_updates(len(self.given)),
            alpha=options.mixup,
        )
        return found[0]


def learn(
    x: Raw,
    given: Tensor,
    classes: tuple[Any, ...],
    options: Features,
    seed: int,
    watch: Callable[[Record], None] | None = None,
) -> Learned:
    """Fit the heads, pool them and judge every label.

    Args:
        x: features ``[N, D]`` float32, dense or CSR.
        given: labels ``[N]`` in ``0 .. classes - 1``, -1 where there is none.
        classes: the C class values, which the model keeps.
        options: the hyper-parameters.
        seed: of folds, MLP and neighbours.
        watch: called with every round's record.

    Raises:
        InputError: fewer than 2 labelled samples.
    """
    labelled = (given >= 0).nonzero().flatten()
    if len(labelled) < 2:
        raise InputError(f"{len(labelled)} samples have a label; the method features needs at least 2")
    began = time.perf_counter()
    problem = _Problem(
        x if len(labelled) == len(given) else x[labelled.numpy()], given[labelled], len(classes), options, seed
    )
    records: list[Record] = []

    def record(name: str, **values: float) -> None:
        nonlocal began
        now = time.perf_counter()
        records.append({"epoch": len(records) + 1, "round": name, **values, "seconds": round(now - began, 3)})
        began = now
        if watch is not None:
            watch(records[-1])

    plain = _plain(problem, record)
    matrix = transition.normalise(transition.confident_joint(plain.cross(), problem.given))
    pools = [plain, _corrected(problem, plain, matrix, record)] if options.correct else [plain]
    report, remarks = _compare(pools, problem.given)
    pool = pools[report["corrected"]]
    cross = pool.cross()
    power = _adjustment(cross, problem.given)
    frequency = torch.bincount(problem.given, minlength=len(classes)) / len(problem.given)
    cross = adjusted(cross, frequency, power)
    clean_prob, judged = _divide(problem, pool, cross, learnable="independent" not in remarks)
    record("divide", **judged)

    members = [
        Member(head.member.kind, weight, head.member.tensors)
        for head, weight in zip(pool.heads, pool.weights.tolist(), strict=True)
        if weight >= _KEPT
    ]
    model = FeatureModel(problem.scale, problem.directions, members, frequency, power, classes)
    probs = torch.empty(len(given), len(classes))
    probs[labelled] = cross
    missing = (given < 0).nonzero().flatten()
    if len(missing):
        probs[missing] = model.predict(x[missing.numpy()])
    whole = torch.full((len(given),), torch.nan, dtype=clean_prob.dtype)
    whole[labelled] = clean_prob
    report |= {"adjustment": power, "transition_matrix": matrix.tolist(), **judged}
    for text in remarks.values():
        warnings.warn(text, TrainingWarning, stacklevel=2)
    return Learned(model, probs, whole, suggestions(probs, whole, given), records, report, remarks)


def deal(given: Tensor, folds: int, generator: torch.Generator) -> Tensor:
    """A fold ``[N]`` for every sample: shuffled, then dealt out class after class, so that all are of equal size."""
    order = torch.randperm(len(given), generator=generator)
    order = order[given[order].argsort(stable=True)]
    fold = torch.empty(len(given), dtype=torch.int64)
    fold[order] = torch.arange(len(given)) % folds
    return fold


def default_updates(count: int) -> int:
    """Updates of the MLP for ``count`` samples, in batches of 128: 40 passes, from 10,000 samples on 10; 200 to 4000."""
    passes = min(40 * count // 128, max(800, 10 * count // 128))
    return min(max(passes, 200), 4000)


def log_loss(probs: Tensor, likelihood: Tensor) -> float:
    """Mean of ``-log sum_c v_c p_c`` over samples: ``probs`` and ``likelihood`` are ``[N, C]``."""
    return -float((probs * likelihood).sum(1).clamp_min(_TINY).log().mean())


def stack(likelihoods: Tensor, steps: int = 500) -> Tensor:
    """Weights ``[H]`` of the mixture of H models under which what was given is likeliest; expectation-maximisation.

    Args:
        likelihoods: ``[H, N]``, of what was given to each held-out sample under each model.
        steps: of expectation-maximisation; the likelihood is concave, there is one maximum.
    """
    values = likelihoods.double().clamp_min(_TINY)
    weights = torch.full((len(values),), 1 / len(values), dtype=torch.float64)
    for _ in range(steps):
        joint = weights.unsqueeze(1) * values
        updated = (joint / joint.sum(0)).mean(1)
        if float((updated - weights).abs().max()) < 1e-6:
            break
        weights = updated
    return weights.float()


def adjusted(probs: Tensor, frequency: Tensor, power: float) -> Tensor:
    """Probabilities ``[N, C]`` divided by the classes' frequencies ``[C]`` to a power, rows sum to 1."""
    changed = probs / frequency.clamp_min(_TINY).pow(power)
    return changed / changed.sum(1, keepdim=True)


def suggestions(probs: Tensor, clean_prob: Tensor, given: Tensor) -> Tensor:
    """Labels ``[N]``: the given one where it is likely clean, else the likeliest other one."""
    rows = torch.arange(len(given))
    kept = (given >= 0) & (clean_prob >= 0.5)
    others = probs.clone()
    others[rows[given >= 0], given[given >= 0]] = -1
    return torch.where(kept, given, others.argmax(1))


def _plain(problem: _Problem, record: Callable[..., None]) -> _Pool:
    """The heads fitted to the given labels as they are: the baseline."""
    identity = torch.eye(problem.classes)
    heads = []
    for kind in problem.options.kinds():
        heads.append(problem.linear(identity) if kind == "linear" else problem.mlp(identity))
        record(kind, loss=heads[-1].loss, agreement=_agreement(heads[-1].given(), problem.given))
    return _Pool(heads, stack(torch.stack([head.seen(problem.given) for head in heads])))


def _corrected(problem: _Problem, plain: _Pool, matrix: Tensor, record: Callable[..., None]) -> _Pool:
    """The same heads, fitted through the transition matrix; its strength is chosen by the first of them."""
    heads: list[_Head] = []
    strengths = STRENGTHS
    for first in plain.heads:
        tried = []
        for strength in strengths:
            channel = torch.lerp(torch.eye(problem.classes), matrix, strength)
            head = problem.linear(channel, first) if first.name == "linear" else problem.mlp(channel)
            head.detail["strength"] = strength
            tried.append(head)
        best = min(tried, key=lambda head: head.loss)
        strengths = (best.detail["strength"],)
        heads.append(best)
        record(f"{best.name} corrected", loss=best.loss, agreement=_agreement(best.given(), problem.given))
    return _Pool(heads, stack(torch.stack([head.seen(problem.given) for head in heads])))


def _agreement(probs: Tensor, given: Tensor) -> float:
    return float((probs.argmax(1) == given).double().mean())


def _mean_and_error(value: Tensor) -> tuple[float, float]:
    """Mean of ``[N]`` and its standard error."""
    return float(value.mean()), float(value.std()) / len(value) ** 0.5


def _compare(pools: list[_Pool], given: Tensor) -> tuple[Record, dict[str, str]]:
    """Whether the corrected pool beats the plain one on held-out given labels, and whether either has learned."""
    count = len(given)
    logs = [pool.seen(given).clamp_min(_TINY).log().double() for pool in pools]
    gain, error = _mean_and_error(logs[-1] - logs[0])
    corrected = gain > error
    size = torch.bincount(given)
    by_chance = ((size[given] - 1).clamp_min(0.5) / (count - 1)).double().log()
    information, information_error = _mean_and_error(logs[corrected] - by_chance)
    names = ("plain", "corrected")
    report: Record = {
        "heads": [
            {"pool": name, "head": head.name, "weight": weight, "held_out_log_loss": head.loss, **head.detail}
            for name, pool in zip(names, pools, strict=False)
            for head, weight in zip(pool.heads, pool.weights.tolist(), strict=True)
        ],
        "corrected": corrected,
        "held_out_log_loss": {name: -float(log.mean()) for name, log in zip(names, logs, strict=False)},
        "gain_of_correction": gain,
        "gain_standard_error": error,
        "information": information,
        "information_standard_error": information_error,
    }
    remarks = {}
    if not information > 3 * information_error:
        remarks["independent"] = (
            "nothing can be learned here: from the features, held-out labels are predicted no better than from how "
            f"often each class occurs (gain {information:.3f} nats, standard error {information_error:.3f}, {count} "
            "labels). p(clean) is 0.5 for all, and no estimate of the noise is reliable"
        )
    return report, remarks


def _adjustment(cross: Tensor, given: Tensor) -> float:
    """The power of ``ADJUSTMENTS`` whose answers agree with most held-out given labels, if beyond one standard error."""
    frequency = torch.bincount(given, minlength=cross.shape[1]) / len(given)
    right = [(adjusted(cross, frequency, power).argmax(1) == given).double() for power in ADJUSTMENTS]
    best = max(range(len(right)), key=lambda i: float(right[i].mean()))
    difference = right[best] - right[0]
    return ADJUSTMENTS[best] if float(difference.mean()) > float(difference.std()) / len(given) ** 0.5 else 0.0


def _divide(problem: _Problem, pool: _Pool, cross: Tensor, learnable: bool) -> tuple[Tensor, Record]:
    """p(clean) ``[N]`` by the rule of the options, and what it estimates."""
    given, division = problem.given, problem.options.division
    seen = pool.given()
    joint = transition.confident_joint(seen, given)
    noise = 1 - float(joint.diagonal().sum() / joint.sum())
    if not learnable:
        return torch.full((len(given),), 0.5, dtype=torch.float64), {"noise_estimate": noise}
    if division != "calibrated":
        loss = -pool.seen(given).clamp_min(_TINY).log()
        rules = {"gmm": divide.gmm, "bmm": divide.bmm}
        answer = rules[division](loss) if division in rules else divide.class_wise(loss, given, problem.classes)
        return answer.clean_prob.double(), {"noise_estimate": 1 - float(answer.clean_prob.mean())}
    shares = neighbours.shares(problem.coordinates, given, problem.classes, problem.generator)
    labels = torch.nn.functional.one_hot(given, problem.classes)
    size = min(range(len(shares)), key=lambda i: log_loss(shares[i], labels))
    clean_prob, importance = evidence.calibrated(cross, shares[size], given, noise, problem.generator)
    return clean_prob, {"noise_estimate": noise, "neighbours": neighbours.SIZES[size], **importance}
