"""CoDivide against its algorithm box, written as loops over samples."""

import math

import numpy as np
import pytest
import torch

from codivide import Run, train
from codivide.fit.job import default_plan
from codivide.methods.codivide import CoDivide
from codivide.noise import mixtures
from codivide.training import mixing
from tests import toys


def start(method, problem=None, **plan) -> Run:
    problem = problem or toys.toy()
    run = Run(method, problem.data, toys.build, toys.plan(**plan), torch.device("cpu"), "fp32")
    method.start(run)
    for net in [*run.nets, *run.averages]:
        net[3].p = 0.0  # dropout would draw other numbers in the two computations
    return run


def softmax(rows: np.ndarray) -> np.ndarray:
    shifted = np.exp(rows - rows.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def test_the_memory_is_a_moving_average_of_the_averages_predictions():
    run = start(CoDivide(beta=0.6), average=0.9)
    with torch.no_grad():
        for parameter in run.nets[0].parameters():
            parameter.add_(0.3)  # the network itself is elsewhere, and is not asked
        probs = softmax(run.averages[0].eval()(run.data.x.data).double().numpy())
    expected = np.zeros_like(probs)
    for _ in range(3):
        run.method.recall(run)
        for i in range(len(probs)):
            for c in range(3):
                expected[i, c] = 0.6 * expected[i, c] + 0.4 * probs[i, c]
    assert run.remember("memory").numpy() == pytest.approx(expected, abs=1e-4)


def test_targets_lie_between_label_and_memory_by_the_mixture():
    problem = toys.toy(unlabelled=6)
    run = start(CoDivide(), problem)
    generator = torch.Generator().manual_seed(1)
    kept = 0.51 * torch.softmax(3 * torch.randn(120, 3, generator=generator), 1)
    run.remember("memory").copy_(kept)  # as after two epochs: rows do not sum to 1 yet
    run.method.divide(run)
    memory, given = kept.double().numpy() / 0.51, problem.data.y.numpy()
    labelled = np.flatnonzero(given >= 0)
    losses = torch.tensor([-math.log(memory[i, given[i]]) for i in labelled])
    trust = mixtures.gmm(losses).clean_prob.numpy()
    target = run.remember("target").numpy()
    for w, i in zip(trust, labelled, strict=True):
        for c in range(3):
            assert target[i, c] == pytest.approx(w * (c == given[i]) + (1 - w) * memory[i, c], abs=1e-4)
    assert target[given < 0] == pytest.approx(memory[given < 0], abs=1e-5)
    assert run.remember("clean_prob").isnan().numpy().tolist() == (given < 0).tolist()


def test_the_loss_is_cross_entropy_of_mixed_samples_on_mixed_targets():
    run = start(CoDivide(alpha=2.0))
    generator = torch.Generator().manual_seed(2)
    run.remember("target").copy_(torch.softmax(torch.randn(120, 3, generator=generator), 1))
    batch = next(run.batches())
    state = run.gen.get_state()
    loss = run.method.mixed_loss(run, batch).item()
    run.gen.set_state(state)
    share = float(mixing.shares(2.0, 2, run.gen)[0].max())
    order = torch.randperm(16, generator=run.gen)
    assert 0.5 <= share <= 1
    x, target = batch.x[0].double().numpy(), run.remember("target")[batch.id].double().numpy()
    mixed = np.array([share * x[b] + (1 - share) * x[order[b]] for b in range(16)])
    logits = run.logits(0, torch.from_numpy(mixed).float()).detach().double().numpy()
    expected = 0.0
    for b in range(16):
        log_probs = logits[b] - math.log(sum(math.exp(value) for value in logits[b]))
        for c in range(3):
            expected -= (share * target[b, c] + (1 - share) * target[order[b], c]) * log_probs[c] / 16
    assert loss == pytest.approx(expected, rel=1e-4)


def test_the_scout_is_plain_training_and_nothing_else():
    problem = toys.toy(unlabelled=20)
    run = train(CoDivide(scout=1.0), problem.data, toys.build, toys.plan(4, average=0.9))
    labels = problem.data.y
    assert torch.equal(run.remember("target").argmax(1)[labels >= 0], labels[labels >= 0])
    assert run.remember("clean_prob").isnan().all()  # never divided
    assert (run.remember("loss_count")[labels >= 0] == 4).all()
    assert (run.remember("loss_count")[labels < 0] == 0).all()


@pytest.mark.parametrize(("share", "epochs", "expected"), [(0.3, 10, 3), (0.0, 10, 2), (0.3, 1, 2), (1.0, 7, 7)])
def test_the_scout_takes_its_share(share, epochs, expected):
    assert CoDivide(scout=share).scout_epochs(start(CoDivide(), epochs=epochs)) == expected


def test_the_average_reaches_back_two_epochs():
    run = start(CoDivide(), epochs=50, average=0.999)  # 8 steps an epoch
    assert CoDivide().decay(run) == pytest.approx(16 / 17)
    assert CoDivide().decay(start(CoDivide(), epochs=5, average=0.999)) == pytest.approx(4 / 5)
    assert CoDivide().decay(start(CoDivide(), epochs=50, average=0.5)) == 0.5


def test_a_confirmed_label_stays_the_target():
    problem = toys.toy()
    wrong = (problem.data.y != problem.truth).nonzero().flatten()[:3]
    confirmed = torch.zeros(120, dtype=torch.bool)
    confirmed[wrong] = True
    data = type(problem.data)(problem.data.x, problem.data.y, problem.data.classes, toys.VIEWS, confirmed)
    run = train(CoDivide(), data, toys.build, toys.plan(8, average=0.9))
    assert (run.clean_prob()[wrong] == 1).all()
    assert torch.equal(run.remember("target")[wrong], torch.eye(3)[data.y[wrong]])


def test_its_plan_is_one_cycle_with_an_average():
    plan = default_plan(4000, CoDivide())
    assert (plan.schedule, plan.nesterov) == ("one_cycle", True)
    assert plan.average > 0
    assert default_plan(4000, CoDivide(), schedule="step", average=0.0).average == 0  # what is given wins
