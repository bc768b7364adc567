"""The gate for bf16: it may be the default only while it divides and learns as float32 does."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from codivide import METHODS, Data, train
from codivide.data.sources import load
from codivide.data.views import fit_views
from codivide.noise import mixtures, synthetic
from codivide.training import nets
from codivide.training.plan import Plan
from codivide.training.targets import sample_loss


@pytest.fixture(scope="module")
def warmed_up():
    """The small net after a few epochs on digits with 40 % symmetric noise, trained in float32."""
    digits = load("digits")
    given = synthetic.symmetric(digits.y, 0.4, 10, np.random.default_rng(0))
    data = Data(digits.x, torch.from_numpy(given), digits.classes, fit_views(digits.x, digits.augment).views())
    plan = Plan(epochs=6, lr=0.02, precision="fp32")
    return train(METHODS["cross_entropy"](), data, lambda: nets.build("small_cnn", (1, 8, 8), 10), plan)


def test_bf16_divides_like_float32(warmed_up):
    splits = []
    for precision in ("fp32", "bf16"):
        run = replace_precision(warmed_up, precision)
        losses = run.measure(0, lambda logits, batch: sample_loss(logits, batch.y))
        splits.append(mixtures.gmm(losses).clean_prob > 0.5)
    assert (splits[0] != splits[1]).float().mean() <= 0.003


def test_bf16_gradients_point_where_float32_ones_do(warmed_up):
    gradients = []
    for precision in ("fp32", "bf16"):
        run = replace_precision(warmed_up, precision)
        net = run.nets[0].train()
        net.zero_grad()
        batch = run.fetch(torch.arange(256), ("plain",))
        sample_loss(run.logits(0, batch.x[0]), batch.y).mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    assert torch.cosine_similarity(*gradients, dim=0) >= 0.995


def replace_precision(run, precision):
    """The same networks, run in another precision."""
    other = replace(run, precision=precision, nets=[], averages=[], optimizers=[], _forward=[], memory={})
    for ours, theirs in zip(other.nets, run.nets, strict=True):
        ours.load_state_dict(theirs.state_dict())
    return other
