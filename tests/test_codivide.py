"""CoDivide against its algorithm box, written as loops over samples."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from codivide import Run, TrainingWarning, train
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


def known_of(run: Run, batch) -> torch.Tensor:
    return (run.data.y >= 0)[batch.id]


@pytest.mark.parametrize("unlabelled", [0, 20])
@pytest.mark.parametrize("agreement", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("q", [0.0, 0.7, 1.0])
def test_the_loss_is_the_equation(q, agreement, unlabelled):
    method = CoDivide(q=q, agreement=agreement)
    run = start(method, toys.toy(unlabelled=unlabelled), epochs=10, average=0.9)
    with torch.no_grad():
        for value in run.averages[0].parameters():
            value.mul_(0.5)  # else it says what the network says
    batch = next(run.batches(views=("weak", "strong")))
    views = batch if agreement else batch._replace(x=batch.x[:1])  # of both views at once, as batches are normalised
    parts = [softmax(part.detach().double().numpy()) for part in run.logits(0, torch.cat(views.x)).split(16)]
    said = softmax(run.logits(0, batch.x[0], average=True).detach().double().numpy())
    of_labels, apart = [], 0.0
    for b, label in enumerate(batch.y.tolist()):
        if label >= 0:
            p = parts[0][b, label]
            of_labels.append(-math.log(p) if q == 0 else (1 - p**q) / q)
        for c in range(said.shape[1]):
            apart -= said[b, c] * math.log(parts[-1][b, c]) / len(batch.y)
    expected = np.mean(of_labels) + agreement * apart
    assert method.divided(run, views, known_of(run, batch)).item() == pytest.approx(expected, rel=1e-5)


def test_both_parts_of_the_loss_count_as_samples_weigh():
    problem = toys.toy(unlabelled=20)
    weight = torch.arange(120) % 3 / 1.0
    method, run = CoDivide(), start(CoDivide(), problem, epochs=10, average=0.9)
    batch = next(run.batches(views=("weak", "strong")))
    known, parts = known_of(run, batch), run.logits(0, torch.cat(batch.x)).detach().split(16)
    said = softmax(run.logits(0, batch.x[0], average=True).detach().double().numpy())
    weak, strong = (softmax(part.double().numpy()) for part in parts)
    expected = 0.0
    for b, i in enumerate(batch.id.tolist()):
        own = -sum(said[b, c] * math.log(strong[b, c]) for c in range(said.shape[1])) / len(batch.y)
        if known[b]:
            own += (1 - weak[b, int(batch.y[b])] ** 0.7) / 0.7 / int(known.sum())
        expected += float(weight[i]) * own
    run.data = dataclasses.replace(run.data, weight=weight)
    assert method.divided(run, batch, known).item() == pytest.approx(expected, rel=1e-5)


def test_no_gradient_goes_to_what_the_average_says():
    run = start(CoDivide(), epochs=10, average=0.9)
    batch = next(run.batches(views=("weak", "strong")))
    run.method.divided(run, batch, known_of(run, batch)).backward()
    assert all(value.grad is None for value in run.averages[0].parameters())
    assert all(value.grad is not None for value in run.nets[0].parameters())


def test_a_label_pulls_by_how_far_it_is_believed():
    run, gradients = start(CoDivide(q=0.7, agreement=0.0), epochs=10), []
    batch = run.fetch(torch.tensor([7, 7]), ("plain",))
    said = run.logits(0, batch.x[0]).detach()
    for loss in (run.method.loss, lambda run, i, batch: run.method.divided(run, batch, known_of(run, batch))):
        logits = said.clone().requires_grad_()
        run.logits = lambda i, x, held=logits: held
        loss(run, 0, batch).backward()
        gradients.append(logits.grad.numpy())
    prob = softmax(said.double().numpy())[0, int(batch.y[0])]
    assert gradients[1] == pytest.approx(prob**0.7 * gradients[0], rel=1e-4)


def test_what_has_no_label_is_learned_from_after_the_scout():
    problem = toys.toy(unlabelled=20)
    seen = [set() for _ in range(4)]

    class Watched(CoDivide):
        def loss(self, run, i, batch):
            seen[run.epoch] |= set(batch.id.tolist())
            return super().loss(run, i, batch)

        def divided(self, run, batch, known):
            seen[run.epoch] |= set(batch.id.tolist())
            assert torch.equal(known, run.data.y[batch.id] >= 0)
            return super().divided(run, batch, known)

    train(Watched(scout=0.5), problem.data, toys.build, toys.plan(4))
    labelled = set((problem.data.y >= 0).nonzero().flatten().tolist())
    assert seen == [labelled, labelled, set(range(120)), set(range(120))]


class HidesTheFirst(CoDivide):
    """The same labels, whatever they are."""

    def start(self, run: Run) -> None:
        super().start(run)
        run.remember("held_out").copy_(run.ids < 24)


def test_hidden_labels_judge_and_are_given_back():
    """In the second run they are others, which nothing shows until they are given back."""
    problem, weights = toys.toy(), []
    for y in (problem.data.y, torch.cat([problem.data.y[:24].flip(0), problem.data.y[24:]])):
        seen = []
        run = train(
            HidesTheFirst(validation=0.2, scout=0.4),
            dataclasses.replace(problem.data, y=y),
            toys.build,
            toys.plan(5),
            watch=lambda run, seen=seen: seen.append(toys.state(run)["net.0.0.weight"]),
        )
        weights.append(seen)
        judged = [row.get("validation_accuracy") for row in run.history]
        assert [value is not None for value in judged] == [False, False, False, True, False]
        assert judged[3] == pytest.approx(float(run.remember("held_right")[:24].float().mean()))
        assert not run.remember("held_right")[24:].any()
    assert [torch.equal(a, b) for a, b in zip(*weights, strict=True)] == [True, True, True, True, False]


def test_as_many_are_hidden_as_is_said():
    run = start(CoDivide(validation=0.2), toys.toy(unlabelled=20))
    assert int(run.remember("held_out").sum()) == 20
    assert not run.remember("held_out")[run.data.y < 0].any()


def test_where_no_label_can_be_hidden_it_says_so_and_judges_nothing():
    problem = toys.toy(3, noise=0.0)  # one of each class
    with pytest.warns(TrainingWarning, match="too few labels to hold any out"):
        run = train(CoDivide(validation=0.5), problem.data, toys.build, toys.plan(5))
    assert not any("validation_accuracy" in row for row in run.history)
    assert run.clean_prob().isfinite().all()


def test_p_clean_is_by_the_mean_loss_of_all_epochs():
    problem = toys.toy(unlabelled=20)
    run = start(CoDivide(agreement=0.0), problem, epochs=4)
    seen = [[] for _ in range(120)]
    for epoch in range(4):
        run.epoch = epoch
        for batch in run.batches(run.data.y >= 0):
            probs = softmax(run.logits(0, batch.x[0]).detach().double().numpy())
            if run.method.scouting(run):
                run.method.loss(run, 0, batch)
            else:
                run.method.divided(run, batch, known_of(run, batch))
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
    decays = []
    for run.step in (0, 40, 10_000):
        decays.append(CoDivide().decay(run))
    assert decays == pytest.approx([1 / 10, 41 / 50, 16 / 17])
    short, slow = start(CoDivide(), epochs=5, average=0.999), start(CoDivide(), epochs=50, average=0.5)
    short.step = slow.step = 10_000
    assert CoDivide().decay(short) == pytest.approx(4 / 5)
    assert CoDivide().decay(slow) == 0.5


def test_with_the_scout_alone_nothing_differs_from_cross_entropy():
    problem, hows = toys.toy(), ({"q": 0, "agreement": 0}, {"scout": 1})
    plain, scout = (train(CoDivide(**how), problem.data, toys.build, toys.plan(3)) for how in hows)
    assert toys.same(toys.state(plain), toys.state(scout)) == []


def test_its_plan_is_one_cycle_with_an_average():
    plan = default_plan(4000, CoDivide())
    assert (plan.schedule, plan.nesterov) == ("one_cycle", True)
    assert plan.average > 0
    assert default_plan(4000, CoDivide(), schedule="step", average=0.0).average == 0  # what is given wins
