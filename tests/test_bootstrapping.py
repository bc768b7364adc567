"""Bootstrapping against the equation written as loops, its limits and its gradients."""

import math

import numpy as np
import pytest
import torch

from codivide import InputError, Run
from codivide.methods import METHODS
from codivide.methods.bootstrapping import Bootstrapping
from codivide.training import targets
from tests import toys

LABELS = torch.tensor([0, 3, 1, 1, 2])


def some_logits() -> torch.Tensor:
    return 2 * torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def naive(logits: np.ndarray, labels: list[int], beta: float, hard: bool) -> list[float]:
    losses = []
    for row, label in zip(logits, labels, strict=True):
        p = [math.exp(v) / sum(math.exp(u) for u in row) for v in row]
        z = [float(c == int(np.argmax(row))) for c in range(len(row))]
        own = z if hard else p
        mixed = [beta * float(c == label) + (1 - beta) * own[c] for c in range(len(row))]
        losses.append(-sum(mixed[c] * math.log(p[c]) for c in range(len(row))))
    return losses


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("beta", [0.0, 0.3, 0.8, 1.0])
def test_the_loss_is_the_equation(hard, beta):
    got = targets.bootstrap_loss(some_logits(), LABELS, beta, hard=hard)
    assert got.tolist() == pytest.approx(naive(some_logits().numpy(), LABELS.tolist(), beta, hard), rel=1e-5)


@pytest.mark.parametrize("hard", [True, False])
def test_beta_one_is_cross_entropy(hard):
    got = targets.bootstrap_loss(some_logits(), LABELS, 1.0, hard=hard)
    assert torch.allclose(got, targets.sample_loss(some_logits(), LABELS))


def gradient(loss, logits):
    return torch.autograd.grad(loss.sum(), logits)[0]


def test_the_soft_target_carries_a_gradient_and_the_term_is_the_entropy():
    logits = some_logits().requires_grad_()
    beta, log_p = 0.6, torch.log_softmax(logits.float(), 1)
    entropy = -(log_p.exp() * log_p).sum(1)
    whole = beta * targets.sample_loss(logits, LABELS) + (1 - beta) * entropy
    expected = gradient(whole, logits)
    got = gradient(targets.bootstrap_loss(logits, LABELS, beta, hard=False), logits)
    assert torch.allclose(got, expected, atol=1e-6)
    p = torch.softmax(logits.detach(), 1)  # by hand: beta (p - y) - (1 - beta) p (log p + H)
    by_hand = beta * (p - torch.eye(4)[LABELS]) - (1 - beta) * p * (p.log() + entropy.detach().unsqueeze(1))
    assert torch.allclose(got, by_hand, atol=1e-6)


def test_a_constant_soft_target_would_be_cross_entropy_times_beta():
    logits = some_logits().requires_grad_()
    beta, p = 0.6, torch.softmax(some_logits(), 1)
    target = beta * torch.eye(4)[LABELS] + (1 - beta) * p
    constant = gradient(-(target * torch.log_softmax(logits, 1)).sum(1), logits)
    plain = gradient(targets.sample_loss(logits, LABELS), logits)
    assert torch.allclose(constant, beta * plain, atol=1e-6)
    soft = gradient(targets.bootstrap_loss(logits, LABELS, beta, hard=False), logits)
    assert (soft - constant).abs().max() > 0.01


def test_the_hard_gradient_is_p_minus_the_mixed_target():
    logits = some_logits().requires_grad_()
    p = torch.softmax(some_logits(), 1)
    target = 0.7 * torch.eye(4)[LABELS] + 0.3 * torch.eye(4)[p.argmax(1)]
    got = gradient(targets.bootstrap_loss(logits, LABELS, 0.7, hard=True), logits)
    assert torch.allclose(got, p - target, atol=1e-6)


@pytest.mark.parametrize("hard", [True, False])
def test_gradients_stay_finite_for_certain_predictions(hard):
    logits = torch.tensor([[300.0, -300.0, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    loss = targets.bootstrap_loss(logits, torch.tensor([1, 0]), 0.8, hard=hard)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(gradient(loss, logits)).all()


@pytest.mark.parametrize(
    ("fields", "weight"),
    [
        ({}, 0.8),
        ({"hard": False}, 0.95),
        ({"beta": 0.5}, 0.5),
        ({"hard": False, "beta": 0.0}, 0.0),
        ({"beta": 0.5, "warmup": 1}, 1.0),  # the first epoch is plain
    ],
)
def test_the_fields_choose_form_and_weight_and_every_loss_is_observed(fields, weight):
    method = Bootstrapping(**fields)
    run = Run(method, toys.toy().data, toys.build, toys.plan(), torch.device("cpu"), "fp32")
    method.start(run)
    run.nets[0][3].p = 0.0
    batch = next(run.batches())
    with torch.no_grad():
        got = method.loss(run, 0, batch)
        logits = run.logits(0, batch.x[0])
    expected = np.mean(naive(logits.double().numpy(), batch.y.tolist(), weight, method.hard))
    assert got.item() == pytest.approx(expected, rel=1e-4)
    assert torch.allclose(run.remember("loss_sum")[batch.id], targets.sample_loss(logits, batch.y), atol=1e-5)


def test_after_warm_up_the_prediction_counts():
    run = Run(Bootstrapping(beta=0.5, warmup=2), toys.toy().data, toys.build, toys.plan(), torch.device("cpu"), "fp32")
    weights = []
    for run.epoch in range(4):
        weights.append(run.method.label_weight(run))
    assert weights == [1, 1, 0.5, 0.5]


def test_the_weight_is_a_share():
    with pytest.raises(InputError, match="beta"):
        Bootstrapping(beta=1.1)
    assert METHODS["bootstrapping"] is Bootstrapping
