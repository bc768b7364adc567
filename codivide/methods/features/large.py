"""Tables with more labels than heads need: they learn from some, and judge the others, which they never saw.

Cross-fitting all rows of a large table costs what fitting them six times does, and memory for copies; what heads of
this kind learn from 50,000 rows, more rows hardly improve. So the heads are cross-fitted on a random part, and every
other row is predicted by the heads that have learned the whole part: that holds it out. Neighbours are sought among all
rows, and the evidence of all rows is weighed together.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from codivide.core.files import let_go
from codivide.methods.features import judge, neighbours
from codivide.methods.features.matrix import Matrix
from codivide.methods.features.model import FeatureModel
from codivide.methods.features.options import Features
from codivide.methods.features.pacing import Record
from codivide.methods.features.table import Table
from codivide.noise import mixtures, transition
from codivide.noise.too_small import judged_classes

MOST = 50_000  # labels that heads learn from, or more where there are many classes
OF_A_CLASS = 100  # labels for each class, at least
_CHUNK = 4096
_TINY = 1e-9


def drawn(table: Table, labelled: Tensor, seed: int) -> Tensor:
    """The rows that the heads learn from, ascending: those with a label, or some of many, drawn at random.

    Groups come whole, since a row whose group the heads know is not held out. Where several annotators answered, or a
    model of the user's own learns, all rows are taken.
    """
    most = max(MOST, OF_A_CLASS * len(table.classes))
    if len(labelled) <= most or table.answers is not None or table.own is not None:
        return labelled
    generator = torch.Generator().manual_seed(seed)
    if table.groups is None:
        return labelled[torch.randperm(len(labelled), generator=generator)[:most]].sort().values
    _, group, sizes = torch.unique(table.groups[labelled], return_inverse=True, return_counts=True)
    order = torch.randperm(len(sizes), generator=generator)
    taken = torch.zeros(len(sizes), dtype=torch.bool)
    taken[order] = sizes[order].cumsum(0) - sizes[order] < most  # the last one may go beyond
    return labelled[taken[group]]


class Found(NamedTuple):
    """What is known of all samples, to be filled in; as in ``learn.Learned``, but for p(clean) as ``whole``."""

    probs: Tensor
    given_probs: Tensor
    seen: Tensor
    whole: Tensor


def judge_rest(
    table: Table,
    rest: Tensor,
    found: Found,
    *,
    models: tuple[FeatureModel, FeatureModel],
    options: Features,
    report: Record,
    learnable: bool,
) -> None:
    """Judge the labels of the rows that no head has learned from, and weigh the evidence of all labels again.

    Args:
        table: all samples.
        rest: the rows that no head has learned from; those with a label are judged.
        found: is filled in; ``probs`` is there already.
        models: the classifier, and that of the plain heads, which predicts given labels.
        options: the hyper-parameters.
        report: what the part has told: the noise, and how many neighbours count (nothing, where nothing is learned).
        learnable: whether the labels follow the features at all; if not, no label is suspected.
    """
    model, plain = models
    others = rest[table.given[rest] >= 0]
    labelled = (table.given >= 0).nonzero().flatten()
    found.given_probs[others] = predicted(plain, table, others)
    found.seen[others] = found.given_probs[others].gather(1, table.given[others].unsqueeze(1)).squeeze(1).double()
    found.whole[labelled] = 0.5
    if learnable:
        found.whole[labelled] = _divided(table, labelled, found, model=model, options=options, report=report)
    if table.confirmed is not None:
        found.whole[table.confirmed & (table.given >= 0)] = 1.0


def _divided(
    table: Table, labelled: Tensor, found: Found, *, model: FeatureModel, options: Features, report: Record
) -> Tensor:
    """p(clean) ``[M]`` of all labelled rows, by the rule of the options, at the noise rate of the part."""
    given, classes, noise = table.given[labelled], len(table.classes), float(report["noise_estimate"])
    groups = None if table.groups is None else table.groups[labelled]
    known = None if groups is None else groups.numpy()
    counted = table.counted()[labelled].numpy()
    judged = torch.from_numpy(judged_classes(counted, classes, options.folds, known))[given]
    if options.division != "calibrated":
        clean_prob = torch.full((len(given),), 1 - noise, dtype=torch.float64)
        loss = -found.seen[labelled][judged].clamp_min(_TINY).log()
        rules = {"gmm": mixtures.gmm, "bmm": mixtures.bmm}
        by_class = options.division == "class_wise"
        answer = mixtures.class_wise(loss, given[judged], classes) if by_class else rules[options.division](loss)
        clean_prob[judged] = answer.clean_prob.double()
        return clean_prob
    generator = torch.Generator().manual_seed(0)
    near = neighbours.found(units(table, labelled, model), generator, groups, most=int(report["neighbours"]), unit=True)
    (shares,) = neighbours.counted(near, given, classes, sizes=(near.shape[1],))
    shares = neighbours.without_hubs(shares, near, given)
    joint = transition.confident_joint(found.given_probs[labelled], given.masked_fill(~judged, -1)).nan_to_num(0.0)
    wrong = judge.wrong_labels(joint, torch.bincount(given, minlength=classes) / len(given))
    held_out = judge.HeldOut(found.probs[labelled], shares, given, judged, wrong)
    weighed = float(report["counted_noise"]) if report["bounded"] else noise
    return judge.calibrated(held_out, weighed, generator, noise, pure=bool(report["pure"]))[0]


def units(table: Table, rows: Tensor, model: FeatureModel) -> Tensor:
    """Where some samples lie along the directions of a model, ``[M, P]`` of length 1; a chunk at a time."""
    found = torch.empty(len(rows), model.directions.shape[1])
    for part, out in zip(torch.split(rows, _CHUNK), torch.split(found, _CHUNK), strict=True):
        places = Matrix.of(model.scale.apply(table.x[part.numpy()])).times(model.directions)
        out.copy_(torch.nn.functional.normalize(places))
        let_go(table.x)
    return found


def predicted(model: FeatureModel, table: Table, rows: Tensor) -> Tensor:
    """Probabilities ``[M, C]`` of some samples, whose features are read a chunk at a time."""
    found = torch.empty(len(rows), len(table.classes))
    for part, out in zip(torch.split(rows, _CHUNK), torch.split(found, _CHUNK), strict=True):
        out.copy_(model.predict(table.x[part.numpy()]))
        let_go(table.x)
    return found
