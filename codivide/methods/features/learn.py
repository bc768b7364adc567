"""Learn from features whose labels cannot be trusted: cross-fit, estimate the noise, correct, divide.

In short (N labelled samples, K folds, C classes; everything is held-out: row i is predicted by models that never saw
its label):

1. Fit the heads plainly. The penalty of the linear head and the length of the MLP's training are those with the
   smallest held-out log-loss on the given labels.
2. Pool them: ``p = sum_h w_h p_h`` with the weights of the greatest held-out likelihood (stacking).
3. Estimate the transition matrix T: that of the greatest likelihood of ``p`` and the given labels where these tell
   which classes are taken for which, else that of their confident joint (``channel.likeliest``).
   Trees take part; they are fitted again to the labels that are kept (``judge.kept``) when p(clean) is known.
4. Fit the heads again through ``(1 - s) I + s T``, s = 1 or, with the joint, 1/2, and pool them: they learn the true
   class, and ``T^T p`` is what they say of the given one. The held-out likelihood of the GIVEN labels tells which s is
   better, and whether the corrected pool beats the plain one, by more than three standard errors; else the plain one
   stays. No true label is needed. Of trees, the matrix is taken out of what they say (``trees.unmix``).
5. Divide: see ``judge``. Of several annotators the given label is their consensus, and what they said counts here
   too: P(true = c | x, answers) is proportional to P(c | x) P(answers | c), as Bayes has it.
6. Where a fifth or more of the labels is wrong by the confident joint (``AGAIN``), do steps 1, 2 and 5 once more with
   heads to which each label counts as its p(clean): what has misled them is mostly gone. That p(clean) was made by
   models some of which saw label i, so that in this round it has a little say in its own judgement. A corrected pool
   that makes the given labels likelier keeps up to half of the say (``_second``).
7. Let the most similar samples vote, as one more head of the pool that was kept: see ``vote``.

Sources: forward correction, Patrini et al. (CVPR 2017); the likeliest matrix, Bootkrajang and Kaban (ECML 2012), see
``noise.latent``; confident joint, Northcutt et al. (JAIR 2021), section 3; stacking, Wolpert (Neural Networks 1992).
The combination is ours.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from codivide.core import threads
from codivide.core.errors import InputError, TrainingWarning
from codivide.core.types import Labels
from codivide.core.words import counted
from codivide.methods.features import channel, judge, large, linear, neighbours, trees, vote
from codivide.methods.features.model import FeatureModel, Member
from codivide.methods.features.options import ASIDE, Features
from codivide.methods.features.pacing import Clock, Record, Rounds
from codivide.methods.features.pool import Head, Pool
from codivide.methods.features.problem import KEPT, OWN, PENALTIES, TINY, Problem, stack
from codivide.methods.features.table import Table
from codivide.noise import chance, confidence, mixtures, transition
from codivide.noise.clean_prob import moved
from codivide.noise.evidence import Evidence
from codivide.noise.learning_curves import prediction_type

STRENGTHS = (0.5, 1.0)  # of the correction by the confident joint
AGAIN = 0.2  # share of wrong labels by the confident joint from which on there is a second round
ADJUSTMENTS = (0.0, 0.5, 1.0)  # powers of the classes' frequencies by which probabilities are divided


@dataclass
class Learned:
    """What the route gives back; rows are those of the data.

    Attributes:
        model: the classifier.
        probs: cross-fitted probabilities ``[N, C]`` of the true class; of the final classifier where there is no label.
        given_probs: cross-fitted probabilities ``[N, C]`` of the given label, by the plain heads (steps 1 and 2).
        seen: ``[N]``, the probability of the given label itself, NaN where there is none; by the same heads.
        clean_prob: ``[N]`` in [0, 1], NaN where there is no label. Labels of a class with fewer than K cannot be
            judged: their probability is the mean of the others, and nothing else rests on them.
        suggested: ``[N]``: the given label where it is likely clean, else the likeliest other class.
        order: ``[N]``, where nothing can be learned: the place of each label by p(clean), then by the evidence, since
            p(clean) is the same for all; None: p(clean) orders the labels.
        records: one a round, with the held-out log-loss and agreement on the given labels.
        report: numbers about the choice: weights, penalties, transition matrix, what the hold-out can resolve.
        remarks: warnings by name.
    """

    model: FeatureModel
    probs: Tensor
    given_probs: Tensor
    seen: Tensor
    clean_prob: Tensor
    suggested: Tensor
    order: Tensor | None = None
    records: list[Record] = field(default_factory=list)
    report: Record = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)

    def spread(self, place: Tensor) -> Learned:
        """The same of more samples ``[M]``, each of which is one of these."""
        names = ("probs", "given_probs", "seen", "clean_prob", "suggested")
        known = {name: getattr(self, name)[place] for name in names}
        noise = 1 - float(known["clean_prob"].nanmean())
        report = self.report | {"noise_estimate": noise, "distinct_samples": len(self.probs)}
        order = None if self.order is None else self.order[place]
        return replace(self, **known, order=order, report=report)

    def unbounded(self, given: Tensor, confirmed: Tensor | None) -> Learned:
        """The same with p(clean) at the level of the confident joint, where ``noise.certain`` has bounded it.

        What is proven is far too little where labels follow a rule that the features show.

        Args:
            given: labels ``[N]``, -1: none.
            confirmed: mask ``[N]`` of labels that a person vouches for, which stay as they are; None: there are none.
        """
        if not self.report.get("bounded"):
            return self
        rows = given >= 0 if confirmed is None else (given >= 0) & ~confirmed
        level, whole = self.report["counted_noise"], self.clean_prob.clone()
        whole[rows] = torch.from_numpy(moved(whole[rows].numpy(), level))
        doubt = judge.doubtful(whole.numpy())
        report = self.report | {"noise_estimate": level, "bounded": False, "doubtful_from": doubt}
        suggested = judge.suggestions(self.probs, whole, given, doubt)
        return replace(self, clean_prob=whole, suggested=suggested, report=report)

    def evidence(self, given: Tensor) -> Evidence:
        """What is known of every sample: all of it is held out, which it says."""
        predictions = self.probs.argmax(1).to(prediction_type(self.probs.shape[1])).unsqueeze(0)
        return Evidence(
            given=given.numpy(),
            mean_loss=-self.seen.clamp_min(TINY).log().float().numpy(),
            probs=self.given_probs.half().numpy(),
            predictions=predictions.numpy(),
            held_out=True,
        )


class _ByClass(NamedTuple):
    """What the likeliest matrix of the joined pool of both rounds counts.

    Attributes:
        joint: counts of true class and given label ``[C, C]``.
        share: how far it is believed beside the confident joint, in [0, 1].
    """

    joint: Tensor
    share: float


@dataclass
class _Fitted:
    """The heads as the labels are, the pool that is kept, what it was chosen by, and what both rounds tell."""

    plain: Pool
    pool: Pool
    matrix: Tensor
    report: Record
    remarks: dict[str, str]
    told: _ByClass | None = None


def learn(
    table: Table,
    options: Features,
    seed: int,
    *,
    watch: Callable[[Record], None] | None = None,
    deadline: float | None = None,
) -> Learned:
    """Fit the heads, pool them and judge every label.

    Args:
        table: features and labels, and what is known of these.
        options: the hyper-parameters.
        seed: of folds, MLP and neighbours.
        watch: called with every round's record.
        deadline: of ``time.monotonic()``; what can be left out (MLP, correction) is, where it would end later.

    Raises:
        InputError: fewer than 2 labelled samples.
    """
    small, place = table.distinct()
    part = large.drawn(small, _labelled(small), seed)
    with threads.alone(table.x.size):
        problem = Problem(small.take(part), options, seed, Clock(deadline))
        learned = _learn(small, part, problem, Rounds(watch, options.rounds(problem.kinds)))
    return learned if place is None else learned.spread(place)


def _learn(table: Table, labelled: Tensor, problem: Problem, rounds: Rounds) -> Learned:
    """``learn`` of samples that come once; the problem is that of rows ``labelled``, all with a label or a part."""
    fitted = _fit(problem, rounds)
    learnable = "independent" not in fitted.remarks
    shown = None if table.answers is not None else bool(fitted.report["corrected"])
    divided = _division(problem, fitted.pool, learnable=learnable, shown=shown)
    rest = torch.ones(len(table.given), dtype=torch.bool).index_fill_(0, labelled, value=False).nonzero().flatten()
    judged_later = bool((table.given[rest] >= 0).any())
    if learnable and not judged_later and _misled(table, problem, divided):
        trusting = problem.trusting(divided.clean_prob)
        fitted = _second(problem, trusting, fitted, rounds)
        problem, pool = trusting, fitted.pool
        divided = _division(problem, pool, learnable=True, shown=False, told=fitted.told)
    cross, frequency, power, clean_prob, judged = divided
    if table.answers is not None:
        said, noise = table.answers[labelled], judged["noise_estimate"] if learnable else None
        occurs = torch.bincount(problem.given, minlength=problem.classes) / len(problem.given)
        cross, clean_prob = judge.with_answers(cross if learnable else occurs, said, problem.given, noise)
        judged["noise_estimate"] = 1 - float(clean_prob.mean())
    rounds.add("divide", **judged)

    clean_prob[problem.confirmed] = 1.0
    kept = np.flatnonzero(judge.kept(problem.given.numpy(), clean_prob.numpy(), cross.argmax(1).numpy()))
    pool = fitted.pool
    if problem.options.vote and learnable and table.own is None and table.answers is None:
        pool, judged["vote"] = _voted(problem, fitted, clean_prob)
    members = _members(problem, pool, kept)
    model = FeatureModel(problem.scale, problem.directions, members, frequency, power, table.classes)
    probs, given_probs = torch.zeros(2, len(table.given), problem.classes)
    probs[labelled], given_probs[labelled] = cross, fitted.plain.given()
    if len(rest) and table.own is None:
        probs[rest] = given_probs[rest] = large.predicted(model, table, rest)
    whole, seen = torch.full((2, len(table.given)), torch.nan, dtype=torch.float64)
    whole[labelled], seen[labelled] = clean_prob, fitted.plain.seen().double()
    if judged_later:
        every = np.arange(len(labelled))  # the plain heads predict given labels, so their trees learn from all
        plain = replace(model, members=_members(problem, fitted.plain, every), power=0.0)
        judged["learned_from"] = len(labelled)
        found = large.Found(probs, given_probs, seen, whole)
        both, options = (model, plain), problem.options
        large.judge_rest(table, rest, found, models=both, options=options, report=judged, learnable=learnable)
    if pool is not fitted.pool:  # only now: p(clean) of the others does not rest on the vote
        probs[labelled] = adjusted(pool.cross(), frequency, power)
    if problem.clock.left_out:
        fitted.remarks["budget"] = f"the time budget left no room for: {', '.join(problem.clock.left_out)}"
    report = fitted.report | {"adjustment": power, "transition_matrix": fitted.matrix.tolist(), **judged}
    for text in fitted.remarks.values():
        warnings.warn(text, TrainingWarning, stacklevel=3)
    order = None if learnable else _order(whole, given_probs, table.given.masked_fill(~problem.enough[table.given], -1))
    sure = learnable and problem.options.division == "calibrated" and table.answers is None
    doubt = judge.doubtful(clean_prob.numpy()) if sure else 1.0
    suggested = judge.suggestions(probs, whole, table.given, doubt)
    report["doubtful_from"] = doubt
    return Learned(model, probs, given_probs, seen, whole, suggested, order, rounds.records, report, fitted.remarks)


class _Division(NamedTuple):
    """What a round says of the labels.

    Attributes:
        cross: held-out probabilities ``[N, C]`` of the true class, adjusted.
        frequency: of the classes ``[C]`` that they are divided by, to ``power``.
        power: see ``adjusted``.
        clean_prob: ``[N]``.
        report: what was estimated.
    """

    cross: Tensor
    frequency: Tensor
    power: float
    clean_prob: Tensor
    report: Record


def _division(
    problem: Problem, pool: Pool, *, learnable: bool, shown: bool | None, told: _ByClass | None = None
) -> _Division:
    """Judge the labels by what a pool says of them."""
    cross = pool.cross()
    learned = problem.frequencies()
    frequency = learned.masked_fill(~problem.enough, 1.0)  # what has too few labels to judge is made no likelier
    power = _adjustment(cross[problem.judged], problem.given[problem.judged], frequency, problem.of_judged())
    cross = adjusted(cross, frequency, power)
    clean_prob, report = _divide(problem, pool, cross, told, learnable=learnable, shown=shown)
    return _Division(cross, frequency, power, clean_prob, report)


def _misled(table: Table, problem: Problem, divided: _Division) -> bool:
    """Whether a second round is worth its time, and there is time for it.

    A model of the user's own is asked once, and of several annotators the consensus is right often enough.
    """
    options, noise = problem.options, divided.report.get("counted_noise", 0.0)
    pays = options.again and table.own is None and table.answers is None and noise >= AGAIN
    return pays and problem.clock.allows("a second round")


def _order(clean_prob: Tensor, given_probs: Tensor, judged: Tensor) -> Tensor:
    """The place ``[N]`` of each label by p(clean), then by the evidence of those that can be judged; -1: not."""
    places = confidence.standing(given_probs.double().numpy(), judged.numpy())
    keys = np.stack([clean_prob.nan_to_num(torch.inf).numpy(), places], 1)
    return torch.from_numpy(np.unique(keys, axis=0, return_inverse=True)[1].ravel())


def plain_probs(table: Table, options: Features, seed: int) -> Tensor:
    """Cross-fitted probabilities ``[N, C]`` of the given labels, by the plain heads: ``Learned.given_probs``.

    Args:
        table: features and labels; every sample has one.
        options: the hyper-parameters.
        seed: of folds and MLP.

    Raises:
        InputError: fewer than 2 labelled samples.
    """
    _labelled(table)
    small, place = table.distinct()
    with threads.alone(table.x.size):
        probs = _plain(Problem(small, options, seed, Clock(None)), Rounds(None)).given()
    return probs if place is None else probs[place]


def _labelled(table: Table) -> Tensor:
    """The rows that have a label."""
    labelled = (table.given >= 0).nonzero().flatten()
    if len(labelled) < 2:
        raise InputError(
            f"{counted(len(labelled), 'sample has', 'samples have')} a label; the method features needs at least 2"
        )
    return labelled


def _fit(problem: Problem, rounds: Rounds) -> _Fitted:
    """Fit the heads plainly and, where that is wanted, corrected; keep the better pool."""
    plain = _plain(problem, rounds)
    matrix = transition.normalise(problem.joint(plain.cross()))
    strengths: Sequence[float] = STRENGTHS
    pools, by_class = [plain], False
    if problem.options.correct and problem.clock.allows("correction"):
        found = channel.likeliest(problem, plain.cross())
        if found is not None and found.by_class:
            matrix, strengths, by_class = found.matrix, (1.0,), True
        pools.append(_corrected(problem, plain, matrix, strengths, rounds))
    report, remarks = _compare(pools, problem)
    report["by_class"] = by_class
    if problem.scale.stretched:
        report["stretched"] = problem.scale.stretched
    return _Fitted(plain, pools[report["corrected"]], matrix, report, remarks)


def _second(problem: Problem, trusting: Problem, fitted: _Fitted, rounds: Rounds) -> _Fitted:
    """The same with the pool of the second round, in which a corrected pool of the first one has a say.

    The first one has learned from all labels alike, so that p(clean) has misled it nowhere. The heads of both say what
    the true class is, and the matrix that fits each best tells how likely the given labels are by it. Stacking by that
    gives the second round a share, of which the mean with 1 is taken: two witnesses judge labels better than one. The
    more the first round tells, the more does the matrix of both tell how wrong labels are given, see ``_divide``.

    Args:
        problem: of the first round.
        trusting: of the second, where labels count as their p(clean).
        fitted: the first round.
        rounds: of the records.
    """
    second, share = _plain(trusting, rounds, again=True), 1.0
    pool, report, told = second, fitted.report, None
    if report["corrected"]:
        first, again = (channel.likeliest(problem, each.cross()) for each in (fitted.pool, second))
        if first is not None and again is not None:
            share = (1 + float(stack(torch.stack([first.seen, again.seen]), first.weight)[1])) / 2
            pool = _joined(fitted.pool, second, share, problem.given)
            both = channel.likeliest(problem, pool.cross())
            told = None if both is None else _ByClass(both.joint, 2 * (1 - share))
    heads = [*report["heads"], *_told("again", second)]
    report = report | {"heads": heads, "again": True, "share_again": share}
    return replace(fitted, pool=pool, report=report, told=told)


def _joined(first: Pool, second: Pool, share: float, given: Tensor) -> Pool:
    """Both pools, as heads that say what the true class is; the second has so large a ``share``."""
    heads = [
        replace(head, channel=torch.eye(len(head.channel)), seen=head.cross.gather(1, given.unsqueeze(1)).squeeze(1))
        for head in first.heads
    ]
    return Pool([*heads, *second.heads], torch.cat([first.weights * (1 - share), second.weights * share]))


def _voted(problem: Problem, fitted: _Fitted, clean_prob: Tensor) -> tuple[Pool, Record]:
    """The pool with the neighbours' vote, if given labels are likelier by it beyond chance, and what tells so."""
    before, head = fitted.pool.seen(), problem.vote(fitted.matrix, clean_prob.float())
    share = stack(torch.stack([before, head.seen])[:, problem.judged], problem.of_judged())
    pool = Pool([*fitted.pool.heads, head], torch.cat([fitted.pool.weights * share[0], share[1:]]))
    gain, error = problem.gain(pool.seen(), before)
    counts = gain > vote.SURE * error
    told = {"weight": float(share[1]), **head.detail, "gain": gain, "gain_standard_error": error, "counts": counts}
    return (pool if counts else fitted.pool), told


def _members(problem: Problem, pool: Pool, kept: Labels) -> list[Member]:
    """The heads that count, for the model."""
    weighed = zip(pool.heads, pool.weights.tolist(), strict=True)
    fits: dict[str, trees.Trees] = {}  # trees of both rounds are the same
    return [replace(problem.member(head, kept, fits), weight=weight) for head, weight in weighed if weight >= KEPT]


def adjusted(probs: Tensor, frequency: Tensor, power: float) -> Tensor:
    """Probabilities ``[N, C]`` divided by the classes' frequencies ``[C]`` to a power, rows sum to 1."""
    changed = probs / frequency.clamp_min(TINY).pow(power)
    return changed / changed.sum(1, keepdim=True)


def _plain(problem: Problem, rounds: Rounds, *, again: bool = False) -> Pool:
    """The heads fitted to the given labels as they are: the baseline; ``again``: of the second round."""
    if again:
        rounds.more(len(problem.kinds))
    identity = torch.eye(problem.classes)
    since = time.monotonic() if again else None  # what the first round took says little of a later head of the second
    heads: list[Head] = []
    names = [f"{kind} again" if again else kind for kind in problem.kinds]
    for number, kind in enumerate(problem.kinds):
        if heads and not problem.clock.allows(", ".join(names[number:]), since):
            break
        first = None
        tried = kind == "boosting" and heads and not again and problem.options.trees == "auto"
        if tried and (first := problem.tried(kind, heads)) is None:
            problem.kinds = tuple(other for other in problem.kinds if other != kind)  # nor in a second round
            rounds.more(-1 - problem.options.correct)
            continue
        base = kind.removesuffix(ASIDE)
        if base == "linear":
            _, penalty, near = problem.trial(kind, identity, None, PENALTIES[0])
            heads.append(problem.linear(kind, identity, penalty, near))
        else:
            heads.append(problem.mlp(kind, identity) if base == "mlp" else problem.forest(kind, first))
        rounds.add(names[number], loss=heads[-1].loss, agreement=_agreement(heads[-1], problem))
    return Pool(heads, problem.stack(heads))


def _corrected(problem: Problem, plain: Pool, matrix: Tensor, strengths: Sequence[float], rounds: Rounds) -> Pool:
    """The same heads, fitted through the transition matrix; its strength is chosen by the first of them."""
    channels = {strength: torch.lerp(torch.eye(problem.classes), matrix, strength) for strength in strengths}
    heads: list[Head] = []
    for first in plain.heads:
        if first.name in (*trees.KINDS, OWN):
            head = min((problem.unmixed(first, each) for each in channels.values()), key=lambda item: item.loss)
        elif first.fitted is None:
            found = (problem.mlp(first.name, each) for each in channels.values())
            head = min(found, key=lambda item: item.loss)
        else:
            start = linear.Linear(first.fitted.weight[:, : problem.trials], first.fitted.bias[: problem.trials])
            least = first.detail["penalty"]
            tried = [(problem.trial(first.name, each, start, least), each) for each in channels.values()]
            (_, penalty, near), best = min(tried, key=lambda item: item[0][0])
            head = problem.linear(first.name, best, penalty, near)
        channels = {strength: each for strength, each in channels.items() if each is head.channel}
        head.detail["strength"] = next(iter(channels))
        heads.append(head)
        rounds.add(f"{head.name} corrected", loss=head.loss, agreement=_agreement(head, problem))
    return Pool(heads, problem.stack(heads))


def _agreement(head: Head, problem: Problem) -> float:
    return float(((head.cross @ head.channel).argmax(1) == problem.given)[problem.judged].double().mean())


def _compare(pools: list[Pool], problem: Problem) -> tuple[Record, dict[str, str]]:
    """Whether the corrected pool beats the plain one on held-out given labels, and whether either has learned."""
    given = problem.given[problem.judged]
    count = len(given)
    logs = [pool.seen()[problem.judged].clamp_min(TINY).log().double() for pool in pools]
    counts = problem.of_judged()
    weight = torch.ones(count) if counts is None else counts * (count / counts.sum())
    gain, error = problem.gain(pools[-1].seen(), pools[0].seen())
    corrected = gain > chance.SURE * error
    weighed = None if counts is None else weight
    nats = chance.information(logs[corrected], given, weighed)
    surplus = chance.surplus(pools[corrected].given()[problem.judged], given, counts)
    names = ("plain", "corrected")
    report: Record = {
        "heads": [row for name, pool in zip(names, pools, strict=False) for row in _told(name, pool)],
        "corrected": corrected,
        "held_out_log_loss": {name: -float(log.mean()) for name, log in zip(names, logs, strict=False)},
        "gain_of_correction": gain,
        "gain_standard_error": error,
        "information": nats[0],
        "information_standard_error": nats[1],
        "surplus": surplus,
    }
    plain = chance.information(logs[0], given, weighed), chance.surplus(pools[0].given()[problem.judged], given, counts)
    errors = min(chance.errors_above(*each, more) for each, more in ((nats, surplus), plain))
    report["errors_above_chance"] = errors  # of both pools: a matrix can turn what is worse than chance round
    return report, chance.remarks(errors, *nats, count)


def _told(name: str, pool: Pool) -> list[Record]:
    """The heads of a pool, for the report."""
    weighed = zip(pool.heads, pool.weights.tolist(), strict=True)
    return [
        {"pool": name, "head": head.name, "weight": weight, "held_out_log_loss": head.loss, **head.detail}
        for head, weight in weighed
    ]


def _adjustment(cross: Tensor, given: Tensor, frequency: Tensor, weight: Tensor | None) -> float:
    """The power of ``ADJUSTMENTS`` whose answers agree with most held-out labels, if beyond one standard error."""
    counts = 1.0 if weight is None else weight / weight.mean()
    right = [(adjusted(cross, frequency, power).argmax(1) == given).double() * counts for power in ADJUSTMENTS]
    best = max(range(len(right)), key=lambda i: float(right[i].mean()))
    difference = right[best] - right[0]
    return ADJUSTMENTS[best] if float(difference.mean()) > float(difference.std()) / len(given) ** 0.5 else 0.0


def _divide(
    problem: Problem, pool: Pool, cross: Tensor, told: _ByClass | None, *, learnable: bool, shown: bool | None
) -> tuple[Tensor, Record]:
    """p(clean) ``[N]`` by the rule of the options, and what it estimates; labels that cannot be judged get the mean."""
    given, division, judged = problem.given, problem.options.division, problem.judged
    seen = pool.given()
    joint = problem.joint(seen)
    noise = 1 - float(joint.diagonal().sum() / joint.sum())
    if not learnable:
        return torch.full((len(given),), 0.5, dtype=torch.float64), {"noise_estimate": noise}
    if division != "calibrated":
        loss = -pool.seen()[judged].clamp_min(TINY).log()
        rules = {"gmm": mixtures.gmm, "bmm": mixtures.bmm}
        by_class = division == "class_wise"
        answer = mixtures.class_wise(loss, given[judged], problem.classes) if by_class else rules[division](loss)
        mean = float(answer.clean_prob.mean())
        clean_prob = torch.full((len(given),), mean, dtype=torch.float64)
        clean_prob[judged] = answer.clean_prob.double()
        return clean_prob, {"noise_estimate": 1 - mean}
    level, plain = noise, {OWN, *trees.KINDS}.isdisjoint(problem.kinds)
    if shown is not None:
        level = judge.noise_level(seen[judged], given[judged], noise, plain=plain, shown=shown)
    size, shares = problem.shares
    frequency = torch.bincount(given, minlength=problem.classes) / len(given)
    wrong = judge.wrong_labels(joint, frequency)
    if told is not None:
        wrong = torch.lerp(wrong, judge.wrong_labels(told.joint, frequency), told.share)
    shares = neighbours.without_hubs(shares, problem.near[:, :size], given)
    held_out = judge.HeldOut(cross, shares, given, judged, wrong)
    bounded = plain and level < noise
    weighed = noise if bounded else level
    clean_prob, importance = judge.calibrated(held_out, weighed, problem.generator, level, pure=plain)
    report = {"noise_estimate": level, "counted_noise": noise, "bounded": bounded, "pure": plain}
    return clean_prob, report | {"neighbours": size, **importance}
