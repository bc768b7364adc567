"""MLNT: synthetic labels, the consistency loss with its second-order gradient, and the three trainings."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from codivide import Run, train
from codivide.methods.meta_learning import MetaLearning, masked_mean
from codivide.training import targets
from tests import toys


class Tiny(nn.Module):
    """Two layers without anything random, small enough for differences of numbers."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.body(x)))


def start(method, build=Tiny, **settings):
    torch.manual_seed(0)
    run = Run(method, toys.toy().data, build, toys.plan(**{"epochs": 9, **settings}), torch.device("cpu"), "fp32")
    method.start(run)
    return run


def softmax(row):
    e = np.exp(row - row.max())
    return e / e.sum()


def by_loops(parameters, x, label_sets, said, rate):
    """``1/M sum_m KL(s || f(x; theta - alpha grad L)) / C``, the inner gradient written out by hand."""
    w1, b1, w2, b2 = parameters
    total = 0.0
    for labels in label_sets:
        gradients = [np.zeros_like(each) for each in parameters]
        for row, label in zip(x, labels, strict=True):
            hidden = np.tanh(w1 @ row + b1)
            error = softmax(w2 @ hidden + b2)
            error[label] -= 1
            back = (w2.T @ error) * (1 - hidden**2)
            for total_of, one in zip(
                gradients, (np.outer(back, row), back, np.outer(error, hidden), error), strict=True
            ):
                total_of += one / len(x)
        v1, c1, v2, c2 = (a - rate * g for a, g in zip(parameters, gradients, strict=True))
        for row, target in zip(x, said, strict=True):
            probs = softmax(v2 @ np.tanh(v1 @ row + c1) + c2)
            total += sum(t * math.log(t / p) for t, p in zip(target, probs, strict=True)) / len(x) / len(target)
    return total / len(label_sets)


def test_the_consistency_loss_and_its_gradient_are_those_of_the_paper(monkeypatch):
    method = MetaLearning(fast=3, fast_lr=0.7)
    run = start(method)
    run.epoch = 4
    net = run.nets[0].double()
    batch = run.fetch(torch.arange(8), ("plain",))
    batch = batch._replace(x=(batch.x[0].double(),))
    sets = torch.randint(3, (3, 8), generator=torch.Generator().manual_seed(1))
    said = torch.softmax(torch.randn(8, 3, generator=torch.Generator().manual_seed(2)).double(), 1)
    turns = iter(sets)
    monkeypatch.setattr(MetaLearning, "target", lambda self, run, batch: said)
    monkeypatch.setattr(MetaLearning, "near", lambda self, run, batch: torch.zeros(8, 1, dtype=torch.int64))
    monkeypatch.setattr(MetaLearning, "synthetic", lambda self, run, given, near: next(turns))
    loss = method.consistency(run, batch, net(batch.x[0]))
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    parameters = [each.detach().numpy().copy() for each in net.parameters()]
    x = batch.x[0].numpy()
    expected = by_loops(parameters, x, sets.tolist(), said.numpy(), 0.7)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    for place, gradient in enumerate(gradients):
        for index in np.ndindex(parameters[place].shape):
            values = []
            for sign in (1, -1):
                moved = [each.copy() for each in parameters]
                moved[place][index] += sign * 1e-4
                values.append(by_loops(moved, x, sets.tolist(), said.numpy(), 0.7))
            assert gradient[index].item() == pytest.approx((values[0] - values[1]) / 2e-4, abs=2e-5)


def test_without_a_step_it_is_the_divergence_from_the_teacher():
    method = MetaLearning(fast=2, fast_lr=0.0)
    run = start(method)
    batch = run.fetch(torch.arange(8), ("plain",))
    logits = run.logits(0, batch.x[0])
    expected = targets.label_divergence(logits, method.target(run, batch)) / 3
    assert method.consistency(run, batch, logits).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_synthetic_labels_are_those_of_neighbours_for_a_share_of_the_batch(share):
    run = start(MetaLearning(perturbed=share))
    given = torch.arange(10)
    near = torch.stack([(given + 1) % 10, (given + 2) % 10], 1)
    seen = set()
    for _ in range(40):
        replaced = run.method.synthetic(run, given, near)
        changed = (replaced != given).nonzero().flatten()
        assert len(changed) == int(share * 10)
        assert ((replaced[changed] - changed) % 10 <= 2).all()
        seen |= set(changed.tolist())
    assert len(seen) == (10 if share else 0)


@pytest.mark.parametrize(("size", "count"), [(20, 10), (4, 3), (2, 1)])
def test_the_neighbours_are_the_nearest_others_of_the_batch_by_the_features_of_plain_training(size, count):
    run = start(MetaLearning())
    batch = run.fetch(torch.arange(size), ("plain",))
    features = torch.tanh(run.attached["features"].net.body(batch.x[0])).detach().numpy()
    with torch.no_grad():
        run.nets[0].body.weight.zero_()  # the network under training is not asked
    near = run.method.near(run, batch)
    assert near.shape == (size, count)
    for i in range(size):
        distance = [math.inf if i == j else float(((features[i] - features[j]) ** 2).sum()) for j in range(size)]
        assert set(near[i].tolist()) == set(np.argsort(distance)[:count].tolist())


@pytest.mark.parametrize(
    ("epochs", "iterations", "ends"),
    [(9, 2, [0, 3, 6, 9]), (300, 2, [0, 100, 200, 300]), (9, 1, [0, 3, 9]), (2, 2, [0, 1, 2]), (1, 2, [0, 1])],
)
def test_the_epochs_are_shared_by_the_trainings(epochs, iterations, ends):
    method = MetaLearning(iterations=iterations)
    assert method.stages(start(method, epochs=epochs)) == ends


def test_each_training_has_the_whole_schedule_and_the_consistency_loss_rises_in_it():
    method = MetaLearning()
    run = start(method, epochs=90, schedule="step", milestones=(60,), lr=1.0, average=0.999)
    rates, risen, decays = [], [], []
    for run.epoch in range(90):
        rates.append(method.rate(run))
        risen.append(method.risen(run))
        decays.append(method.decay(run))
    assert rates == pytest.approx(3 * (20 * [1.0] + 10 * [0.1]))
    assert risen[30:60] == risen[60:] == pytest.approx([math.exp(-5 * (1 - k / 5) ** 2) for k in range(5)] + 25 * [1.0])
    assert decays[30:60] == 5 * [0.99] + 25 * [0.999]


def test_the_mentor_chooses_who_teaches_and_its_share_of_the_target_rises_to_a_half():
    method = MetaLearning(threshold=0.4)
    problem = toys.toy(60)
    seen = {}

    def watch(run):
        seen[run.epoch] = run.remember("teaches").clone()

    run = train(method, problem.data, Tiny, toys.plan(9, average=0.9), watch=watch)
    assert seen[6].all()
    mentor = torch.softmax(run.attached["mentor"].net(problem.data.x.data), 1).detach()
    trusted = mentor.gather(1, problem.data.y.unsqueeze(1)).squeeze(1) > 0.4
    assert torch.equal(seen[7], trusted)
    assert 0 < trusted.sum() < 60
    batch = run.fetch(torch.arange(5), ("plain",))
    run.epoch, run.fraction = 7, 0.5
    with torch.no_grad():
        teacher = torch.softmax(run.averages[0](batch.x[0]), 1)
    assert torch.allclose(method.target(run, batch), 0.75 * teacher + 0.25 * mentor[:5], atol=1e-6)


def test_a_confirmed_label_teaches_whatever_the_mentor_says():
    problem = toys.toy(60)
    confirmed = torch.zeros(60, dtype=torch.bool)
    confirmed[:20] = True
    data = type(problem.data)(problem.data.x, problem.data.y, problem.data.classes, problem.data.views, confirmed)
    run = train(MetaLearning(threshold=1.0), data, Tiny, toys.plan(6))
    assert torch.equal(run.remember("teaches"), confirmed)
    assert all(torch.isfinite(each).all() for each in run.nets[0].parameters())


def test_the_mean_of_nothing_is_zero_with_a_gradient_of_zero():
    losses = torch.tensor([1.0, 2.0], requires_grad=True)
    masked_mean(losses, torch.tensor([False, False])).backward()
    assert losses.grad.tolist() == [0, 0]
    assert masked_mean(losses, torch.tensor([False, True])).item() == 2
