"""VAT: the direction, its lengths, what the power iteration leaves alone, the loss."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from codivide import Run
from codivide.methods import METHODS
from codivide.training import mixmatch
from tests import toys
from tests.test_semi_supervised import cross_entropy, pair, softmax, start

VAT = METHODS["vat"]


def trained(epochs=6) -> Run:
    """A run whose network has a slope."""
    run = start(VAT(), toys.toy(120, noise=0.0, unlabelled=80), epochs=epochs, lr=0.05)
    for _ in range(epochs):
        run.method.epoch(run)
    run.nets[0].eval()
    return run


def divergences(net, x, step) -> torch.Tensor:
    with torch.no_grad():
        p, log_q = torch.softmax(net(x), 1), torch.log_softmax(net(x + step), 1)
    return (p * (p.log() - log_q)).sum(1)


def test_the_direction_changes_the_prediction_more_than_random_ones():
    run = trained()
    net, x = run.nets[0], run.data.x[torch.arange(120)]
    radius = run.method.radius(x)
    generator = torch.Generator().manual_seed(1)
    found = divergences(net, x, mixmatch.adversarial(net, x, radius=radius, probe=radius / 10, generator=generator))
    random = torch.stack(
        [divergences(net, x, radius * mixmatch.unit(torch.randn(120, 6, generator=generator))) for _ in range(50)]
    )
    assert found.mean() > 2 * random.mean()
    assert found.mean() > random.mean(1).max()
    share = (found > random).float().mean(0)
    assert share.mean() > 0.85


def test_more_iterations_come_nearer_to_the_largest_change():
    run = trained()
    net, x = run.nets[0].double(), run.data.x[torch.arange(120)].double()
    reached = [  # a short step, so that its sign does not matter
        divergences(
            net,
            x,
            mixmatch.adversarial(
                net, x, radius=1e-2, probe=1e-3, generator=torch.Generator().manual_seed(1), iterations=k
            ),
        ).sum()
        for k in (0, 1, 2, 8)
    ]
    assert reached == sorted(reached)
    assert reached[3] > 2 * reached[0]


def test_one_iteration_of_a_linear_network_is_the_equation():
    """With logits A x the gradient of KL(p(x) || p(x + xi d)) in d is xi A'(p(x + xi d) - p(x))."""
    torch.manual_seed(0)
    net, x = nn.Linear(5, 3).double(), torch.randn(7, 5, dtype=torch.float64)
    step = mixmatch.adversarial(net, x, radius=2.0, probe=0.01, generator=torch.Generator().manual_seed(4)).numpy()
    first = torch.randn(7, 5, generator=torch.Generator().manual_seed(4)).double().numpy()
    weight, bias = net.weight.detach().numpy(), net.bias.detach().numpy()

    def p(row):
        e = np.exp(weight @ row + bias)
        return e / e.sum()

    for b in range(7):
        d, row = first[b] / np.linalg.norm(first[b]), x[b].numpy()
        slope = weight.T @ (p(row + 0.01 * d) - p(row))
        assert np.allclose(step[b], 2 * slope / np.linalg.norm(slope), atol=1e-3)


def test_every_sample_has_the_length():
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), torch.randn(5, 3, 4, 4)
    for radius in (0.0, 0.3, 6.0):
        step = mixmatch.adversarial(net, x, radius=radius, probe=0.1, generator=torch.Generator())
        assert step.shape == x.shape
        assert torch.allclose(step.flatten(1).norm(dim=1), torch.full((5,), radius), atol=1e-5)
        assert not step.requires_grad


def test_a_sample_without_a_slope_keeps_its_random_direction():
    x = torch.randn(4, 6)
    for slope in (0.0, torch.nan):
        net = nn.Linear(6, 3)
        with torch.no_grad():
            net.weight.fill_(slope)
        step = mixmatch.adversarial(net, x, radius=1.0, probe=0.1, generator=torch.Generator().manual_seed(2))
        expected = mixmatch.unit(torch.randn(4, 6, generator=torch.Generator().manual_seed(2)))
        assert torch.equal(step, expected)


def test_unit_takes_tiny_and_huge_numbers():
    for scale in (1e-25, 1.0, 1e25):
        assert torch.allclose(mixmatch.unit(scale * torch.ones(2, 4)), torch.full((2, 4), 0.5))
    assert torch.equal(mixmatch.unit(torch.zeros(2, 4)), torch.zeros(2, 4))


def test_the_default_length_is_6_for_an_image_and_the_same_for_each_number_of_a_table():
    assert VAT().radius(torch.zeros(2, 3, 32, 32)) == 2
    for size in (1, 6, 784):
        assert VAT().radius(torch.zeros(2, size)) / math.sqrt(size) == pytest.approx(2 / math.sqrt(3072))
    assert VAT(eps=1.5).radius(torch.zeros(2, 3, 32, 32)) == 1.5


def test_the_power_iteration_disturbs_nothing():
    run = start(VAT())
    net = run.nets[0]
    net[3].p = 0.5
    _, unknown = pair(run)
    before, state = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    run.method.step(run, unknown.x[0])
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(part.training for part in net)


@pytest.mark.parametrize(("progress", "reverse"), [(0, False), (1, False), (3, False), (3, True)])
def test_the_loss_is_the_equation(progress, reverse):
    """``KL(p(x) || p(x + r))``; the other way round in the code behind MixMatch's tables."""
    run = start(VAT(eps=2.0, xi=0.2, reverse=reverse), epochs=4)
    known, unknown = pair(run)
    run.epoch, net, x = progress, run.nets[0], unknown.x[0]
    state = run.gen.get_state()
    step = run.method.step(run, x)
    run.gen.set_state(state)
    labelled, p, q = softmax(net, known.x[0]), softmax(net, x), softmax(net, x + step)
    first, second = (q, p) if reverse else (p, q)
    divergence = sum(first[b] @ (np.log(first[b]) - np.log(second[b])) for b in range(16)) / 16
    entropy = -sum(p[b] @ np.log(p[b]) for b in range(16)) / 16
    expected = cross_entropy(labelled, known.y) + 0.3 * min(progress / 1.6, 1) * divergence + 0.06 * entropy
    assert run.method.pair_loss(run, known, unknown).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_target_of_the_divergence_has_no_gradient(reverse):
    run = start(VAT(entropy=0.0, reverse=reverse))
    _, unknown = pair(run)
    net, x, state = run.nets[0], unknown.x[0], run.gen.get_state()
    step = run.method.step(run, x)
    run.gen.set_state(state)
    ours = torch.autograd.grad(run.method.unlabelled_loss(run, unknown, 1.0), net[0].weight)[0]
    with torch.no_grad():
        logits = net(x)
    log_p, log_q = torch.log_softmax(logits, 1), torch.log_softmax(net(x + step), 1)
    divergence = log_q.exp() * (log_q - log_p) if reverse else log_p.exp() * (log_p - log_q)
    expected = torch.autograd.grad(divergence.sum(1).mean(), net[0].weight)[0]
    assert torch.allclose(ours, expected, atol=1e-6)


def test_no_step_no_divergence():
    run = start(VAT(eps=0.0, xi=0.1, entropy=0.0))
    _, unknown = pair(run)
    assert run.method.unlabelled_loss(run, unknown, 1.0).item() == pytest.approx(0, abs=1e-6)
