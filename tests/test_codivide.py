"""CoDivide against its algorithm box, written as loops over samples."""

import math

import numpy as np
import pytest
import torch

from codivide import Run, train
from codivide.fit.job import default_plan
from codivide.methods.codivide import CoDivide
from codivide.noise import mixtures
from tests import toys


def start(method, problem=None, **plan) -> Run:
    problem = problem or toys.toy()
    run = Run(method, problem.data, toys.build, toys.plan(**plan), torch.device("cpu"), "fp32")
    method.start(run)
    for net in run.nets:
        net[3].p = 0.0  # dropout would draw other numbers in the two computations
    return run


def softmax(rows: np.ndarray) -> np.ndarray:
    shifted = np.exp(rows - rows.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


@pytest.mark.parametrize("scouting", [True, False])
@pytest.mark.parametrize("q", [0.0, 0.7, 1.0])
def test_the_loss_is_the_equation(scouting, q):
    run = start(CoDivide(q=q), epochs=10)
    run.epoch = 2 if scouting else 3
    batch = next(run.batches())
    probs = softmax(run.logits(0, batch.x[0]).detach().double().numpy())
    expected = 0.0
    for b, label in enumerate(batch.y.tolist()):
        p = probs[b, label]
        expected += (-math.log(p) if scouting or q == 0 else (1 - p**q) / q) / len(batch.y)
    assert run.method.loss(run, 0, batch).item() == pytest.approx(expected, rel=1e-5)


def test_a_label_pulls_by_how_far_it_is_believed():
    run, gradients = start(CoDivide(q=0.7), epochs=10), []
    batch = run.fetch(torch.tensor([7, 7]), ("plain",))
    said = run.logits(0, batch.x[0]).detach()
    for run.epoch in (2, 3):  # the scout's last epoch, and the one after it
        logits = said.clone().requires_grad_()
        run.logits = lambda i, x, held=logits: held
        run.method.loss(run, 0, batch).backward()
        gradients.append(logits.grad.numpy())
    prob = softmax(said.double().numpy())[0, int(batch.y[0])]
    assert gradients[1] == pytest.approx(prob**0.7 * gradients[0], rel=1e-4)


def test_p_clean_is_by_the_mean_loss_of_all_epochs():
    problem = toys.toy(unlabelled=20)
    run = start(CoDivide(), problem, epochs=4)
    seen = [[] for _ in range(120)]
    for epoch in range(4):
        run.epoch = epoch
        for batch in run.batches(run.data.y >= 0):
            probs = softmax(run.logits(0, batch.x[0]).detach().double().numpy())
            run.method.loss(run, 0, batch)
            for b, i in enumerate(batch.id.tolist()):
                seen[i].append(-math.log(probs[b, int(batch.y[b])]))
    labelled = (problem.data.y >= 0).numpy()
    mean = torch.tensor([np.mean(losses) for losses in seen if losses])
    assert len(mean) == labelled.sum()
    found = run.clean_prob().numpy()
    assert found[labelled] == pytest.approx(mixtures.gmm(mean).clean_prob.numpy(), abs=1e-3)
    assert np.isnan(found[~labelled]).all()


@pytest.mark.parametrize(("share", "epochs", "scouted"), [(0.3, 10, 3), (0.0, 10, 1), (0.3, 1, 1), (1.0, 7, 7)])
def test_the_scout_takes_its_share(share, epochs, scouted):
    run = start(CoDivide(scout=share), epochs=epochs)
    found = 0
    for run.epoch in range(epochs):
        found += run.method.scouting(run)
    assert found == scouted


def test_the_average_reaches_back_two_epochs():
    run = start(CoDivide(), epochs=50, average=0.999)  # 8 steps an epoch
    assert CoDivide().decay(run) == pytest.approx(16 / 17)
    assert CoDivide().decay(start(CoDivide(), epochs=5, average=0.999)) == pytest.approx(4 / 5)
    assert CoDivide().decay(start(CoDivide(), epochs=50, average=0.5)) == 0.5


def test_with_the_scout_alone_nothing_differs_from_cross_entropy():
    problem = toys.toy()
    plain, scout = (train(CoDivide(**how), problem.data, toys.build, toys.plan(3)) for how in ({"q": 0}, {"scout": 1}))
    assert toys.same(toys.state(plain), toys.state(scout)) == []


def test_its_plan_is_one_cycle_with_an_average():
    plan = default_plan(4000, CoDivide())
    assert (plan.schedule, plan.nesterov) == ("one_cycle", True)
    assert plan.average > 0
    assert default_plan(4000, CoDivide(), schedule="step", average=0.0).average == 0  # what is given wins
