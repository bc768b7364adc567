"""What an experiment does to loaded data: take a part, spoil labels, add or hold out a test part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from codivide.data import noise as noises
from codivide.data.loaded import Loaded, check_alike
from codivide.data.options import ReadOptions
from codivide.data.rows import subset
from codivide.data.sources import load
from codivide.errors import InputError


def with_test(loaded: Loaded, test: str | None, options: ReadOptions) -> Loaded:
    """Evaluate on ``test`` (any source; of a set with two parts, the held-out one); None: as it is."""
    if test is None:
        return loaded
    other = load(test, options=options, classes=loaded.classes)
    other = other.test or other
    check_alike(loaded.x, other.x, f"--test {test}")
    return replace(loaded, test=other)


def part(loaded: Loaded, limit: int | None, seed: int) -> Loaded:
    """A random ``limit`` of the training samples, in their order; None or more than there are: all."""
    if limit is None or limit >= len(loaded.y):
        return loaded
    return subset(loaded, np.sort(np.random.default_rng(seed).permutation(len(loaded.y))[:limit]))


def spoil(loaded: Loaded, spec: str | None, seed: int) -> Loaded:
    """Noise on the given labels; what they were becomes the truth where that is not known."""
    if spec is None:
        return loaded
    generator = np.random.default_rng(seed)
    kind = noises.parse(spec)
    features = loaded.x[torch.arange(len(loaded.y))].numpy() if kind.kind == "instance" else None
    noisy = noises.apply(kind, loaded.y, loaded.classes, generator, features, loaded.name)
    return replace(loaded, y=noisy, truth=loaded.y if loaded.truth is None else loaded.truth)


def hold_out(loaded: Loaded, share: float, seed: int) -> Loaded:
    """Test on a random ``share`` of the training samples with their GIVEN labels, and train on the rest.

    What hyper-parameters may be chosen by: no true label and no test label is used, so accuracies are those of
    agreeing with noisy labels.

    Raises:
        InputError: a share outside (0, 1), or one that leaves fewer than two samples on a side.
    """
    if not 0 < share < 1:
        raise InputError(f"a held-out share is above 0 and below 1, not {share}")
    order = np.random.default_rng([seed, 1]).permutation(len(loaded.y))
    count = round(share * len(order))
    if min(count, len(order) - count) < 2:
        raise InputError(f"{len(order)} samples are too few to hold out {share:.0%} of them")
    held = replace(subset(loaded, np.sort(order[:count])), truth=None, test=None, name=f"{loaded.name} held out")
    return replace(subset(loaded, np.sort(order[count:])), test=held)
