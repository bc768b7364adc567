"""Labels that a network does not learn from, so that they can judge it; those that a person vouches for are learned."""

from __future__ import annotations

import torch
from torch import Tensor

from codivide.core.device import autocast
from codivide.noise import mixtures
from codivide.training.run import Run


def hold_out(run: Run, share: float) -> Tensor:
    """Choose whom to hold out, once, and remember it as "held_out": a mask ``[N]`` that a checkpoint keeps.

    Args:
        run: at its start; the draw is the first of its generator, so that two runs of one seed hold out the same.
        share: of the labelled samples, in (0, 0.5].
    """
    held = drawn(run.data.y.cpu(), run.confirmed.cpu(), share, run.gen, run.data.groups)
    return run.remember("held_out", dtype=torch.bool).copy_(held)


def drawn(
    labels: Tensor, confirmed: Tensor, share: float, generator: torch.Generator, groups: Tensor | None = None
) -> Tensor:
    """Whom ``hold_out`` holds out of these samples: a mask ``[N]``, which may be of nobody.

    Args:
        labels: ``[N]`` on the CPU, -1 where there is none.
        confirmed: mask ``[N]`` of those that are known to be right, so learned from, with all of their groups.
        share: of the labelled samples, in (0, 0.5].
        generator: on the CPU.
        groups: as for ``stratified``.
    """
    vouched = confirmed if groups is None else confirmed | torch.isin(groups, groups[confirmed])
    return stratified(labels.masked_fill(vouched, -1), share, generator, groups)


def nobody(run: Run, held: Tensor) -> bool:
    """Whether nobody could be held out, of which the run warns."""
    if held.any():
        return False
    run.warn("validation", "too few labels to hold any out; training on all of them to the end")
    return True


@torch.no_grad()
def agreeing(run: Run, held: Tensor) -> Tensor:
    """A mask ``[N]`` of the held-out samples whose given label the first weight average predicts.

    Their losses count in ``clean_prob``.
    """
    net, right = run.average(0).eval(), torch.zeros_like(held)
    for ids in torch.split(held.nonzero().flatten().cpu(), run.plan.evaluation_batch):
        batch = run.fetch(ids, ("plain",))
        with autocast(run.precision, run.device):
            logits = net(batch.x[0])
        run.observe(batch, logits)
        right[batch.id] = logits.argmax(1) == batch.y
    run.nets[0].train()
    return right


def divided_apart(run: Run, clean_prob: Tensor, held: Tensor) -> Tensor:
    """p(clean) ``[N]`` by two mixtures on the mean losses: what is learned from looks cleaner than what is held out."""
    mean = run.remember("loss_sum") / run.remember("loss_count").clamp_min(1)
    for part in (held, (run.data.y >= 0) & ~held) if held.any() else ():
        clean_prob[part] = mixtures.gmm(mean[part]).clean_prob
    return clean_prob


def stratified(labels: Tensor, share: float, generator: torch.Generator, groups: Tensor | None = None) -> Tensor:
    """Mask ``[N]`` of a random share of the labelled samples, the same share of every class as nearly as can be.

    The samples are put in a random order, class after class, and every 1/share-th is taken. A class of one gives none.

    Args:
        labels: ``[N]``, -1 where there is none.
        share: in [0, 0.5], so that something is left of every class.
        generator: on the CPU.
        groups: a number ``[N]`` on the CPU; of those that share one all or none are taken, as its first labelled sample
            is drawn. None: each is on its own.
    """
    given = labels.cpu()
    if groups is not None:
        return _of_groups(given, share, generator, groups).to(labels.device)
    size = torch.bincount(given[given >= 0], minlength=1)
    ids = ((given >= 0) & (size[given.clamp_min(0)] > 1)).nonzero().flatten()
    ids = ids[torch.randperm(len(ids), generator=generator)]
    ids = ids[given[ids].argsort(stable=True)]
    taken = (torch.arange(len(ids) + 1, dtype=torch.float64) * share + 0.5).floor().diff() > 0
    mask = torch.zeros(len(labels), dtype=torch.bool)
    mask[ids[taken]] = True
    return mask.to(labels.device)


def _of_groups(given: Tensor, share: float, generator: torch.Generator, groups: Tensor) -> Tensor:
    """``stratified`` for samples of which some belong together."""
    labelled = (given >= 0).nonzero().flatten()
    own = torch.unique(groups[labelled], return_inverse=True)[1]
    first = torch.full((int(own.max()) + 1 if len(own) else 0,), len(given))
    first.scatter_reduce_(0, own, labelled, "amin")
    alone = torch.full_like(given, -1)
    alone[first] = given[first]
    mask = torch.zeros(len(given), dtype=torch.bool)
    mask[labelled] = stratified(alone, share, generator)[first][own]
    return mask
