"""CNN-CRF against the sum over all states, its posterior against its definition, and when it learns what."""

import itertools
import math

import numpy as np
import pytest
import torch

from codivide import Run, TrainingWarning, train
from codivide.methods.cnn_crf import CNNCRF, Energy
from codivide.training import targets
from tests import toys


def some_energy(classes: int = 3, hidden: int = 3, seed: int = 0) -> Energy:
    generator = torch.Generator().manual_seed(seed)
    energy = Energy(classes, hidden)
    with torch.no_grad():
        for parameter in energy.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return energy


def states(energy: Energy, a: np.ndarray) -> np.ndarray:
    """``p(z, y | x)`` by summing exp(-E) over every hidden state, normalised over all z and y."""
    between, upward, bias = (p.detach().double().numpy() for p in (energy.between, energy.upward, energy.bias))
    mass = np.zeros(between.shape)
    for z, y in itertools.product(range(len(a)), repeat=2):
        for h in itertools.product((0, 1), repeat=len(bias)):
            minus_energy = a[z] + between[z, y] + sum((upward[y, k] + bias[k]) * h[k] for k in range(len(h)))
            mass[z, y] += math.exp(minus_energy)
    return mass / mass.sum()


def to_potential(energy: Energy, logits: np.ndarray) -> np.ndarray:
    """``a = logits - g``, g the log-sum over y of the other terms, hidden units summed out."""
    between, upward, bias = (p.detach().double().numpy() for p in (energy.between, energy.upward, energy.bias))
    free = np.log1p(np.exp(upward + bias)).sum(1)
    return logits - np.log(np.exp(between + free).sum(1))


def test_logits_and_table_are_the_random_field():
    energy, logits = some_energy(), np.array([0.3, -1.2, 0.8])
    field = states(energy, to_potential(energy, logits))
    table = energy().detach().double().exp().numpy()
    p = np.exp(logits) / np.exp(logits).sum()
    assert np.allclose(p[:, None] * table, field, atol=1e-6)
    assert np.allclose(table.sum(1), 1)
    assert np.allclose(field.sum(1), p, atol=1e-6)  # the network's logits are those of the true label


def test_the_posterior_is_the_equation_and_its_limits():
    generator = torch.Generator().manual_seed(0)
    joint, auxiliary = (torch.rand(4, 3, generator=generator, dtype=torch.float64) + 0.05 for _ in range(2))
    for alpha in (0.0, 0.7, 3.0):
        expected = (joint * auxiliary**alpha) ** (1 / (1 + alpha))
        expected = expected / expected.sum(1, keepdim=True)
        assert torch.allclose(targets.regularised_posterior(joint.log(), auxiliary.log(), alpha), expected)
    far = targets.regularised_posterior(joint.log(), auxiliary.log(), 1e9)
    assert torch.allclose(far, auxiliary / auxiliary.sum(1, keepdim=True), atol=1e-6)


def test_the_posterior_minimises_the_two_divergences():
    generator = torch.Generator().manual_seed(0)
    p, auxiliary = (torch.softmax(torch.randn(3, generator=generator, dtype=torch.float64), 0) for _ in range(2))

    def cost(q):
        return float((q * (q / p).log()).sum() + 1.7 * (q * (q / auxiliary).log()).sum())

    best = targets.regularised_posterior(p.log()[None], auxiliary.log()[None], 1.7)[0]
    for _ in range(100):
        other = torch.softmax(best.log() + 0.1 * torch.randn(3, generator=generator, dtype=torch.float64), 0)
        assert cost(best) <= cost(other)


def start(method: CNNCRF, problem=None, **settings) -> Run:
    problem = problem or toys.toy()
    run = Run(method, problem.data, toys.build, toys.plan(**settings), torch.device("cpu"), "fp32")
    method.start(run)
    run.nets[0][3].p = 0.0
    return run


def learning(alpha: float, last: float) -> Run:
    run = start(CNNCRF(warmup=2, alpha=alpha, alpha_last=last, hidden=3), epochs=8)
    with torch.no_grad():
        for own, other in zip(run.attached["energy"].net.parameters(), some_energy().parameters(), strict=True):
            own.copy_(other)
    generator = torch.Generator().manual_seed(4)
    run.remember("auxiliary").copy_(torch.softmax(torch.randn(3, 3, generator=generator), 0))
    run.epoch = 4
    return run


def test_the_loss_is_the_expected_log_joint_by_enumeration():
    run = learning(3.0, 1.0)
    assert run.method.weight(run) == pytest.approx(2.0)  # half way from epoch 2 to 6
    batch = next(run.batches())
    with torch.no_grad():
        logits = run.logits(0, batch.x[0]).double().numpy()
        got = run.method.loss(run, 0, batch).item()
    energy, auxiliary = run.attached["energy"].net, run.remember("auxiliary").double().numpy()
    total = 0.0
    for row, y in zip(logits, batch.y.tolist(), strict=True):
        field = states(energy, to_potential(energy, row))
        q = (field[:, y] * auxiliary[:, y] ** 2.0) ** (1 / 3.0)
        total -= (q / q.sum() * np.log(field[:, y])).sum() / len(logits)
    assert got == pytest.approx(total, rel=1e-4)


def test_without_the_auxiliary_the_gradient_is_that_of_the_marginal_likelihood():
    run = learning(0.0, 0.0)
    batch = next(run.batches())
    parameters = [*run.nets[0].parameters(), *run.attached["energy"].net.parameters()]
    run.nets[0].eval()  # the same statistics in both forwards
    step = torch.autograd.grad(run.method.loss(run, 0, batch), parameters)
    p = torch.softmax(run.logits(0, batch.x[0]), 1)
    table = run.attached["energy"].net().exp()
    marginal = torch.autograd.grad(-(p @ table)[torch.arange(len(p)), batch.y].log().mean(), parameters)
    for ours, exact in zip(step, marginal, strict=True):
        assert torch.allclose(ours, exact, atol=1e-5)
    assert max(float(g.abs().max()) for g in marginal) > 1e-3


def test_the_gradient_of_w_matches_moments():
    run = learning(2.0, 2.0)
    batch = next(run.batches())
    energy = run.attached["energy"].net
    (got,) = torch.autograd.grad(run.method.loss(run, 0, batch), [energy.between])
    with torch.no_grad():
        log_joint = torch.log_softmax(run.logits(0, batch.x[0]), 1) + energy().T[batch.y]
        q = targets.regularised_posterior(log_joint, run.remember("auxiliary").T[batch.y].log(), 2.0)
        table = energy().exp()
    expected = torch.zeros(3, 3)
    for b, y in enumerate(batch.y.tolist()):
        for z in range(3):
            expected[z] += q[b, z] * (table[z] - torch.eye(3)[y]) / len(batch.y)
    assert torch.allclose(got, expected, atol=1e-5)


def test_the_table_is_counted_from_predictions_once_after_warm_up(monkeypatch):
    problem = toys.toy(8, unlabelled=2)
    run = start(CNNCRF(warmup=0), problem)
    problem.data.y[:6].copy_(torch.tensor([0, 0, 0, 0, 1, 2]))
    guess = torch.tensor([0, 0, 0, 1, 1, 2, 0, 0])
    monkeypatch.setattr(run, "measure", lambda i, fn: guess)
    run.method.estimate(run)
    third = 1 / 3
    counts = torch.tensor([[3.0, 0, 0], [1, 1, 0], [0, 0, 1]]) + third  # row: prediction, column: given label
    assert torch.allclose(run.remember("auxiliary"), counts / counts.sum(0))
    expected = (counts / counts.sum(1, keepdim=True)).log()
    assert torch.allclose(run.attached["energy"].net.between, expected)
    calls = []
    monkeypatch.setattr(CNNCRF, "estimate", lambda self, run: calls.append(run.epoch))
    run.memory["auxiliary"].fill_(third)
    for run.epoch in (0, 1, 2):
        run.method.epoch(run)
    assert calls == [0]


def test_a_class_that_is_never_predicted_keeps_its_labels(monkeypatch):
    problem = toys.toy(9)
    run = start(CNNCRF(), problem)
    problem.data.y.copy_(torch.arange(9) % 3)
    monkeypatch.setattr(run, "measure", lambda i, fn: torch.arange(9) % 2)
    with pytest.warns(TrainingWarning, match="'c' is never predicted"):
        run.method.estimate(run)
    table = run.attached["energy"].net().exp()
    assert table[2, 2] > 0.8
    assert table[0, 0] < 0.5
    assert run.remember("auxiliary")[2, 2] > 0.4


def test_warm_up_is_cross_entropy_and_leaves_the_field_alone():
    run = start(CNNCRF(warmup=1, hidden=4, energy_rate=1.0))
    before = [p.clone() for p in run.attached["energy"].net.parameters()]
    batch = next(run.batches())
    with torch.no_grad():
        expected = targets.sample_loss(run.logits(0, batch.x[0]), batch.y).mean()
        assert torch.allclose(run.method.loss(run, 0, batch), expected)
    run.method.epoch(run)
    assert all(torch.equal(a, b) for a, b in zip(before, run.attached["energy"].net.parameters(), strict=True))
    run.epoch = 1
    run.method.epoch(run)
    after = list(run.attached["energy"].net.parameters())
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert after[2].shape == (4,)


def test_the_weight_falls_from_warm_up_to_three_quarters():
    method = CNNCRF(warmup=10, alpha=2.0, alpha_last=0.5)
    run = start(method, epochs=40)
    for epoch, expected in ((10, 2.0), (20, 1.25), (30, 0.5), (39, 0.5)):
        run.epoch = epoch
        assert method.weight(run) == pytest.approx(expected)


def test_warm_up_is_ten_epochs_or_three_hundred_updates_and_a_third_at_most():
    for samples, epochs, expected in ((120, 2, 1), (120, 6, 2), (120, 300, 40), (600, 300, 10), (120, 60, 20)):
        run = start(CNNCRF(), toys.toy(samples), epochs=epochs)
        assert CNNCRF().warmup_epochs(run) == expected
    assert CNNCRF(warmup=7).warmup_epochs(run) == 7


def test_samples_without_a_label_are_never_seen():
    run = start(CNNCRF(warmup=0), toys.toy(60, unlabelled=20))
    seen = set()
    original = run.method.loss

    def spy(run, i, batch):
        seen.update(batch.id.tolist())
        return original(run, i, batch)

    run.method.loss = spy
    run.method.epoch(run)
    assert seen == set(range(40))


def test_the_field_finds_the_transition_of_pair_noise():
    problem = toys.toy(900, noise=0.0)
    generator = torch.Generator().manual_seed(2)
    problem.data.y[(problem.truth == 0) & (torch.rand(900, generator=generator) < 0.4)] = 1
    run = train(CNNCRF(alpha=0.0), problem.data, toys.build, toys.plan(10))
    table = run.attached["energy"].net().detach().exp()
    expected = torch.tensor([[0.6, 0.4, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert (table - expected).abs().max() < 0.1
    assert run.history[-1]["alpha"] == 0


def test_the_energy_learns_at_its_share_of_the_rate():
    moved = []
    for rate in (0.0, 0.01, 1.0):
        torch.manual_seed(0)  # the same first network and energy for each rate
        run = start(CNNCRF(warmup=0, energy_rate=rate))
        run.method.estimate(run)
        before = run.attached["energy"].net().detach()
        run.epoch = 1
        run.method.epoch(run)
        moved.append(float((run.attached["energy"].net().detach() - before).abs().max()))
    assert moved[0] == 0 < moved[1] < 0.2 * moved[2]
