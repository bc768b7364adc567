"""A network that was trained further, beside the heads: what it learns from, how much it counts, what changes by it.

1. Its targets are ``p(clean) y + (1 - p(clean)) p``: the given label as far as it is believed, else what the plain
   heads say that have not seen it, which are not too sure. The labels of some samples are hidden from it.
2. Heads and network are mixed, ``p^(1 - w) q^w``. ``w`` is that of ``SHARES`` by which the hidden labels are likeliest,
   through the matrix that fits each mixture best (``noise.latent``), so that no true label is needed. The network
   counts where they are likelier than by the heads alone by more than a standard error. Its time is spent by then, and
   a small share of a network that knows nothing new does little harm.
3. Log-odds of p(clean) are mixed alike with those of the network's probability of the given label. How many labels are
   wrong in all stays as the heads have it, for the network has seen most of them.

A network for each half of the labels, by which all are hidden from one, was tried with as much time. It tells better
whether it counts, and is worth half a point less (2,000 photos, two seeds, no result file).

Sources: soft targets, Tanaka et al. (CVPR 2018) and Arazo et al. (ICML 2019); the likeliest matrix, Bootkrajang and
Kaban (ECML 2012). The combination is ours.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from codivide.core.types import Floats, Labels
from codivide.methods.features import judge
from codivide.methods.features.learn import Learned
from codivide.methods.features.model import mixed
from codivide.noise.clean_prob import at_rate, log_odds
from codivide.noise.latent import LEAST, latent_noise
from codivide.training.run import Method, Run
from codivide.training.samples import Batch

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # of the network
SURE, LEAST_GAIN = 1.0, 1e-3  # standard errors; nats, below which both say the same
HIDDEN, MOST_HIDDEN = 0.2, 2_000  # labels, as a share and at most


@dataclass
class SoftTargets(Method):
    """Cross-entropy with given targets; samples without a label take no part.

    Args:
        targets: ``[N, C]``, rows sum to 1.
    """

    weighs: ClassVar[bool] = True
    targets: InitVar[Tensor]

    def __post_init__(self, targets: Tensor) -> None:
        super().__post_init__()
        self._targets = targets

    def settled(self, **chosen: Any) -> Self:
        """The method itself, in which nothing is "auto"."""
        return self

    def start(self, run: Run) -> None:
        """Bring the targets to where the network is."""
        super().start(run)
        self._targets = self._targets.to(run.device)

    def loss(self, run: Run, i: int, batch: Batch) -> Tensor:
        """``- sum_c t_c log p_c``, the mean over a batch."""
        logits = run.logits(i, batch.x[0])
        run.observe(batch, logits.detach())
        return run.mean(batch, -(self._targets[batch.id] * torch.log_softmax(logits, 1)).sum(1))


def targets(learned: Learned, given: Tensor) -> Tensor:
    """Targets ``[N, C]`` float32 by p(clean) and the plain heads' cross-fitted probabilities; rows sum to 1.

    What the final heads say of the true class was tried in their place: the network then knew less that they did not.

    Args:
        learned: of the heads.
        given: labels ``[N]``, -1: none, so that the probabilities are all there is.
    """
    known = given >= 0
    clean = torch.where(known, learned.clean_prob, 0.0).unsqueeze(1)
    own = torch.nn.functional.one_hot(given.clamp_min(0), learned.probs.shape[1])
    return (clean * own + (1 - clean) * learned.given_probs).float()


def hidden(given: Labels, groups: Labels | None, seed: int) -> Labels:
    """Rows ``[M]`` whose labels are hidden: a fifth of those that have one, at most 2,000, and groups as a whole.

    Args:
        given: labels ``[N]``, -1: none.
        groups: a number ``[N]``, the same for those that belong together; None: each is on its own.
        seed: of the draw.
    """
    labelled = np.flatnonzero(given >= 0)
    owners, own = np.unique(labelled if groups is None else groups[labelled], return_inverse=True)
    rank = np.random.default_rng(seed).permutation(len(owners))[own]  # of each row's group, as drawn
    room, chosen = min(int(HIDDEN * len(labelled)), MOST_HIDDEN), np.zeros(len(owners), dtype=bool)
    for group, rows in enumerate(np.bincount(rank).tolist()):
        chosen[group] = rows <= room  # a larger one is passed over
        room -= rows * chosen[group]
    return labelled[chosen[rank]]


class Weighed(NamedTuple):
    """How much a network counts.

    Attributes:
        share: of the network, 0: it does not count.
        gain: in nats, of the mean log-likelihood of the hidden labels over that by the heads alone.
        error: its standard error.
        agreement: share of hidden labels that heads alone, and the mixture, predict.
    """

    share: float
    gain: float
    error: float
    agreement: tuple[float, float]


def weighed(probs: Tensor, said: Tensor, given: Tensor, weight: Floats | None = None) -> Weighed:
    """Choose the share of a network by hidden labels.

    Args:
        probs: of the heads ``[M, C]``, which have not seen the labels.
        said: logarithms of the network's probabilities ``[M, C]``.
        given: the labels ``[M]``, of at least two classes.
        weight: of every label ``[M]``, positive; None: all count alike.
    """
    classes, labels = np.unique(given.numpy(), return_inverse=True)
    ways = [mixed(probs, said, share) for share in SHARES]
    seen = [_likelihood(way[:, torch.from_numpy(classes)].double().numpy(), labels, weight) for way in ways]
    counts = np.full(len(labels), 1 / len(labels)) if weight is None else weight / weight.sum()
    best = max(range(len(SHARES)), key=lambda k: float(counts @ seen[k]))
    gains = seen[best] - seen[0]
    gain = float(counts @ gains)
    error = float(np.linalg.norm(counts * (gains - gain)))
    first, last = (float((ways[k].argmax(1) == given).double().mean()) for k in (0, best))
    return Weighed(SHARES[best] if gain > max(SURE * error, LEAST_GAIN) else 0.0, gain, error, (first, last))


def _likelihood(probs: Floats, labels: Labels, weight: Floats | None) -> Floats:
    """How likely each label is, as a logarithm ``[M]``, through the matrix that fits best."""
    known = np.clip(probs, LEAST, None)
    return np.log(latent_noise(known / known.sum(1, keepdims=True), labels, weight=weight).seen)


def rejudged(learned: Learned, said: Tensor, share: float, given: Tensor, confirmed: Tensor | None) -> Learned:
    """The same with a network beside the heads.

    Args:
        learned: by the heads alone.
        said: logarithms of the network's probabilities ``[N, C]``.
        share: of the network.
        given: labels ``[N]``, -1: none.
        confirmed: mask ``[N]`` of labels that a person vouches for, which stay as they are; None: there are none.
    """
    probs = mixed(learned.probs, said.float(), share)
    rows = given >= 0 if confirmed is None else (given >= 0) & ~confirmed
    own, clean = said[rows].exp().gather(1, given[rows].unsqueeze(1)).squeeze(1), learned.clean_prob.clone()
    before, doubt = clean[rows].numpy(), float(learned.report["doubtful_from"])
    if len(before):
        odds = (1 - share) * log_odds(before) + share * log_odds(own.double().numpy())
        clean[rows] = torch.from_numpy(at_rate(odds, 1 - float(before.mean())))
        doubt = judge.doubtful(clean[rows].numpy()) if doubt < 1 else doubt
    suggested = judge.suggestions(probs, clean, given, doubt)
    model = replace(learned.model, tuned=share)
    report = learned.report | {"doubtful_from": doubt}
    return replace(learned, model=model, probs=probs, clean_prob=clean, suggested=suggested, report=report)
