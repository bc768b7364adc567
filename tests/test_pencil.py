"""PENCIL: its losses as loops, the step of the labels, the three stages."""

import math

import numpy as np
import pytest
import torch

from codivide import Run, train
from codivide.methods import METHODS
from codivide.methods.pencil import Pencil
from codivide.training import targets
from tests import toys


def start(method=None, problem=None, **settings) -> Run:
    method, problem = method or Pencil(), problem or toys.toy()
    run = Run(method, problem.data, toys.build, toys.plan(**settings), torch.device("cpu"), "fp32")
    method.start(run)
    run.nets[0][3].p = 0.0
    return run


def softmax(row):
    shifted = [math.exp(value - max(row)) for value in row]
    return [value / sum(shifted) for value in shifted]


def by_loops(logits, rows, labels, alpha, beta, form):
    """The paper's three losses, one number after another."""
    fit = entropy = compatible = 0.0
    classes, known = len(logits[0]), sum(label >= 0 for label in labels)
    for logit, row, label in zip(logits, rows, labels, strict=True):
        f, y = softmax(logit), softmax(row)
        fit += sum(a * math.log(a / b) for a, b in zip(f, y, strict=True)) / len(logits)
        entropy -= sum(a * math.log(a) for a in f) / len(logits)
        if label >= 0:
            compatible -= math.log((softmax(y) if form == "logits" else y)[label]) / known
    return fit / classes + alpha * compatible + beta * entropy / classes


@pytest.mark.parametrize("form", ["logits", "probabilities"])
def test_the_loss_is_the_papers_and_a_step_of_the_labels_its_gradient(form):
    method = Pencil(alpha=0.4, beta=0.1, compatibility=form)
    run = start(method, toys.toy(unlabelled=30))
    run.nets[0].eval()  # the same logits at every call
    batch = run.fetch(torch.tensor([0, 1, 2, 100, 5]), ("plain",))
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = method.label_loss(run, batch, rows, learning=True)
    logits = run.logits(0, batch.x[0]).detach().double().tolist()
    held, labels = rows.detach().double(), batch.y.tolist()
    assert labels[3] == -1
    expected = by_loops(logits, held.tolist(), labels, 0.4, 0.1, form)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, rows)
    for i, c in np.ndindex(5, 3):
        moved = held.clone()
        moved[i, c] += 1e-6
        slope = (by_loops(logits, moved.tolist(), labels, 0.4, 0.1, form) - expected) / 1e-6
        assert gradient[i, c].item() == pytest.approx(slope, abs=1e-4)


def test_the_divergence_pulls_a_label_to_the_prediction():
    generator = torch.Generator().manual_seed(1)
    logits, rows = (torch.randn(4, 3, generator=generator) for _ in range(2))
    assert targets.reverse_divergence(logits, logits).item() == pytest.approx(0, abs=1e-7)
    rows.requires_grad_()
    (gradient,) = torch.autograd.grad(targets.reverse_divergence(logits, rows), rows)
    expected = (torch.softmax(rows.detach(), 1) - torch.softmax(logits, 1)) / 4
    assert torch.allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize(("form", "alpha", "rest"), [("logits", 0.1, 1), ("logits", 0.4, 0), ("probabilities", 0.4, 0)])
def test_where_a_label_comes_to_rest_beside_a_sure_prediction_of_another_class(form, alpha, rest):
    row = torch.tensor([[10.0] + [0.0] * 9], requires_grad=True)
    logits = torch.nn.functional.one_hot(torch.tensor([1]), 10) * 10.0
    for _ in range(2000):
        seen = torch.softmax(row, 1) if form == "logits" else row
        compatible = targets.sample_loss(seen, torch.tensor([0])).mean()
        loss = targets.reverse_divergence(logits, row) / 10 + alpha * compatible
        (gradient,) = torch.autograd.grad(loss, row)
        row = (row - 600 / 128 * gradient).detach().requires_grad_()
    assert row.argmax().item() == rest


def test_the_stages_take_their_shares():
    run = start(epochs=320)
    assert run.method.ends(run) == (70, 200)
    rates = {}
    for epoch in (0, 100, 200, 240, 280, 319):
        run.epoch = epoch
        rates[epoch] = run.method.rate(run) / run.plan.lr
    assert rates == pytest.approx({0: 1, 100: 1, 200: 10 / 3, 240: 1 / 3, 280: 1 / 30, 319: 1 / 30})
    run = start(epochs=320, batch_size=128)
    assert run.method.label_rate(run) == 600
    run = start(epochs=32, batch_size=64)
    assert run.method.label_rate(run) == 3000
    assert Pencil(label_lr=7.0).label_rate(run) == 7
    for epochs in (1, 2, 3):
        first, second = start(epochs=epochs).method.ends(start(epochs=epochs))
        assert 1 <= first <= second <= epochs


def test_labels_are_learned_in_the_second_stage_only():
    problem = toys.toy(600)
    held = []
    train(
        Pencil(),
        problem.data,
        toys.build,
        toys.plan(12),
        watch=lambda run: held.append(run.memory["label_logits"].clone()),
    )
    first, second = 3, 8
    given = 10 * targets.one_hot(problem.data.y, 3)
    assert torch.equal(held[first - 1], given)
    assert not torch.equal(held[first], given)
    assert torch.equal(held[second - 1], held[-1])
    right = (held[-1].argmax(1) == problem.truth).float().mean()
    assert right > 0.95 > (problem.data.y == problem.truth).float().mean()


def test_confirmed_labels_are_not_learned():
    problem = toys.toy()
    confirmed = torch.arange(120) % 4 == 0
    data = toys.Data(problem.data.x, problem.data.y, problem.data.classes, toys.VIEWS, confirmed)
    run = train(Pencil(), data, toys.build, toys.plan(6))
    given = 10 * targets.one_hot(data.y, 3)
    assert torch.equal(run.memory["label_logits"][confirmed], given[confirmed])
    assert not torch.equal(run.memory["label_logits"], given)


def test_it_says_which_labels_it_has_updated():
    problem = toys.toy(unlabelled=20)
    run = start(problem=problem)
    assert torch.equal(run.method.updated_labels(run), problem.data.y)
    assert METHODS["pencil"] is Pencil
