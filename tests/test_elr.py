"""ELR and ELR+ against the paper's equations written as loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from codivide import InputError, Run, train
from codivide.data.rows import TensorRows
from codivide.fit.job import default_plan
from codivide.methods import ELR, CrossEntropy, ELRPlus
from codivide.training import mixmatch, targets
from codivide.training.samples import Data
from tests import toys


def softmax(rows: np.ndarray) -> np.ndarray:
    shifted = np.exp(rows - rows.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def linear() -> nn.Module:
    return nn.Linear(6, 3)


def start(method, problem=None, build=toys.build, **settings) -> Run:
    problem = problem or toys.toy()
    run = Run(method, problem.data, build, toys.plan(**settings), torch.device("cpu"), "fp32")
    method.start(run)
    for net in [*run.nets, *run.averages]:
        if isinstance(net, nn.Sequential):
            net[3].p = 0.0  # dropout would draw other numbers in the two computations
    return run


def example(batch=6, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, classes, generator=generator)
    memory = torch.softmax(2 * torch.randn(batch, classes, generator=generator), 1)
    return logits, memory * torch.rand(batch, 1, generator=generator)


def test_the_regulariser_is_the_equation():
    logits, memory = example()
    logits[0] = torch.tensor([30.0, 0.0, 0.0, 0.0])  # beyond both clamps
    p, t = np.clip(softmax(logits.double().numpy()), 1e-4, 1 - 1e-4), memory.double().numpy()
    expected = np.mean([math.log(1 - sum(t[b, c] * p[b, c] for c in range(4))) for b in range(6)])
    assert targets.early_learning(logits, memory).item() == pytest.approx(expected, rel=1e-5)


def test_its_gradient_is_the_papers():
    logits, memory = example()
    logits.requires_grad_()
    targets.early_learning(logits, memory).backward()
    p, t = softmax(logits.detach().double().numpy()), memory.double().numpy()
    for b in range(6):
        inner = sum(t[b, c] * p[b, c] for c in range(4))
        for c in range(4):
            pull = p[b, c] / (1 - inner) * sum((t[b, k] - t[b, c]) * p[b, k] for k in range(4)) / 6
            assert logits.grad[b, c].item() == pytest.approx(pull, abs=1e-6)


def test_it_pulls_a_fading_clean_sample_on_and_holds_a_wrong_one_back():
    memory, label = torch.tensor([[0.9, 0.05, 0.05]]), torch.tensor([0])
    for y, sign in ((label, 1), (torch.tensor([1]), -1)):
        logits = torch.tensor([[2.0, 0.0, 0.0]], requires_grad=True)
        (plain,) = torch.autograd.grad(targets.sample_loss(logits, y).mean(), logits)
        loss = targets.sample_loss(logits, y).mean() + 3 * targets.early_learning(logits, memory)
        (both,) = torch.autograd.grad(loss, logits)
        assert sign * (plain[0, y] - both[0, y]).item() > 0.1  # the push towards the given label grows, or shrinks


@pytest.mark.parametrize("size", [10.0, 60.0, 1e4])
def test_it_is_bounded_and_has_finite_gradients_at_certainty(size):
    logits = torch.tensor([[size, 0.0, 0.0]], requires_grad=True)
    for memory in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]):
        value = targets.early_learning(logits, torch.tensor([memory]))
        (gradient,) = torch.autograd.grad(value, logits)
        assert math.log(1e-4) * 1.01 <= value.item() <= 0
        assert torch.isfinite(gradient).all()
    assert targets.early_learning(logits, torch.tensor([[1.0, 0, 0]])).item() == pytest.approx(
        math.log(max(1e-4, 2 / (math.exp(min(size, 80)) + 2))), rel=1e-2
    )


def test_an_empty_memory_gives_no_loss_and_no_gradient():
    logits = torch.randn(4, 3, requires_grad=True)
    value = targets.early_learning(logits, torch.zeros(4, 3))
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.item() == 0
    assert (gradient == 0).all()


def test_the_memory_is_the_closed_form():
    beta, memory = 0.7, torch.zeros(5, 4)
    seen = [example(5, seed=s)[0].softmax(1) for s in range(8)]
    for probs in seen:
        memory = targets.follow(memory, probs, beta)
    expected = (1 - beta) * sum(beta ** (7 - k) * p for k, p in enumerate(seen))
    assert torch.allclose(memory, expected, atol=1e-3)  # the clamp at 1e-4
    assert torch.allclose(memory.sum(1), torch.full((5,), 1 - beta**8), atol=1e-6)
    exact = torch.zeros(5, 4)
    for probs in seen:
        exact = targets.follow(exact, probs, beta, least=0.0)
    assert torch.allclose(exact, expected, atol=1e-6)


def test_the_memory_keeps_no_class_below_the_clamp_and_passes_over_what_is_not_finite():
    certain = torch.tensor([[1.0, 0.0], [torch.nan, torch.nan]])
    moved = targets.follow(torch.full((2, 2), 0.25), certain, 0.0)
    assert torch.allclose(moved, torch.tensor([[0.9999, 0.0001], [0.25, 0.25]]), atol=1e-7)


def test_the_sigmoid_ramp():
    assert [targets.sigmoid_ramp(s, 10) for s in (-1, 0, 5, 10, 99)] == pytest.approx(
        [math.exp(-5), math.exp(-5), math.exp(-1.25), 1, 1]
    )
    assert targets.sigmoid_ramp(0, 0) == 1


def test_the_label_product_is_normalised_to_the_labels_sum():
    labels = torch.tensor([[0.7, 0.3, 0.0], [0.6, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    target = torch.tensor([[0.2, 0.4, 0.1], [0.3, 0.3, 0.3], [0.3, 0.3, 0.3], [0.0, 0.5, 0.5]])
    expected = [[0.14 / 0.26, 0.12 / 0.26, 0.0], [0.6, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    assert torch.allclose(targets.label_product(labels, target), torch.tensor(expected))


def test_label_prob_is_a_share_of_the_row():
    rows = torch.tensor([[0.2, 0.6], [0.5, 0.5], [0.0, 0.0]])
    share = targets.label_prob(rows, torch.tensor([1, -1, 0]))
    assert share.nan_to_num(7).tolist() == pytest.approx([0.75, 7, 0])


def test_the_loss_of_elr_is_cross_entropy_and_regulariser_with_the_memory_brought_up_to_date_first():
    problem = toys.toy(120, unlabelled=30)
    method = ELR(lambda_elr=3.0, beta=0.6)
    run = start(method, problem)
    memory = run.remember("target")
    memory.copy_(0.5 * torch.softmax(torch.randn(120, 3, generator=torch.Generator().manual_seed(4)), 1))
    before = memory.clone()
    batch = next(run.batches())
    assert (batch.y < 0).any()
    state = {k: v.clone() for k, v in run.nets[0].state_dict().items()}
    p = np.clip(softmax(run.logits(0, batch.x[0]).detach().double().numpy()), 1e-4, 1 - 1e-4)
    run.nets[0].load_state_dict(state)
    total = method.loss(run, 0, batch).item()

    y, ids = batch.y.numpy(), batch.id.numpy()
    losses = [-math.log(p[b, y[b]]) for b in range(16) if y[b] >= 0]
    regulariser, t = [], before.double().numpy().copy()
    for b, row in enumerate(ids):
        t[row] = 0.6 * t[row] + 0.4 * p[b] / p[b].sum()
        regulariser.append(math.log(1 - (t[row] * p[b]).sum()))
    assert total == pytest.approx(np.mean(losses) + 3 * np.mean(regulariser), rel=1e-4)
    assert np.allclose(memory.numpy(), t, atol=1e-5)


def test_the_memory_of_a_network_that_does_not_learn_is_the_closed_form(monkeypatch):
    toy = toys.toy(50, unlabelled=10)
    still = Data(toy.data.x, toy.data.y, toy.data.classes, {"weak": lambda x, generator: x})
    method = ELR(beta=0.7)
    run = start(method, toys.Toy(still, toy.truth), linear)
    monkeypatch.setattr(run, "update", lambda *words: None)
    for _ in range(3):
        method.epoch(run)
        run.epoch += 1
    probs = torch.softmax(run.nets[0](toy.data.x.data), 1).detach()
    assert torch.allclose(run.remember("target"), (1 - 0.7**3) * probs, atol=1e-3)
    share = probs.gather(1, toy.data.y.clamp_min(0)[:, None])[:, 0]
    assert torch.allclose(method.clean_prob(run)[:40], share[:40], atol=1e-3)


def test_elr_without_a_regulariser_is_cross_entropy():
    ours, plain = (
        train(method, toys.toy().data, toys.build, toys.plan(2)) for method in (ELR(lambda_elr=0.0), CrossEntropy())
    )
    for a, b in zip(ours.nets[0].parameters(), plain.nets[0].parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    held = train(ELR(), toys.toy().data, toys.build, toys.plan(2))
    assert not torch.allclose(held.nets[0][0].weight, plain.nets[0][0].weight, atol=1e-3)


def test_cross_entropy_memorises_where_elr_does_not():
    generator = torch.Generator().manual_seed(0)
    problem = toys.toy(150, noise=0.4)
    wide = torch.cat([problem.data.x.data, torch.randn(150, 150, generator=generator)], 1)  # room to memorise
    data = Data(TensorRows(wide), problem.data.y, problem.data.classes, {"weak": lambda x, generator: x})
    right = {}
    for method in (CrossEntropy(), ELR()):
        run = train(method, data, lambda: nn.Linear(156, 3), toys.plan(40, lr=0.003, weight_decay=0.0))
        right[type(method)] = (run.nets[0](wide).argmax(1) == problem.truth).float().mean().item()
    assert right[ELR] > right[CrossEntropy] + 0.08


@pytest.mark.parametrize("wrong", [{"beta": 1.0}, {"lambda_elr": -1.0}, {"beta": -0.1}])
def test_hyper_parameters_out_of_range_are_refused(wrong):
    for method in (ELR, ELRPlus):
        with pytest.raises(InputError):
            method(**wrong)


@pytest.mark.parametrize("label_product", [False, True])
@pytest.mark.parametrize("i", [0, 1])
def test_the_loss_of_elr_plus_uses_the_memory_of_the_other_networks_average_on_unmixed_samples(i, label_product):
    method = ELRPlus(lambda_elr=3.0, beta=0.6, coef_step=80, label_product=label_product)
    run = start(method, average=0.9)
    with torch.no_grad():  # networks and averages all differ
        for k, net in enumerate([*run.nets, *run.averages]):
            net[0].weight.add_(0.1 * k * torch.randn(16, 6, generator=torch.Generator().manual_seed(k)))
    for j in range(2):
        drawn = torch.randn(120, 3, generator=torch.Generator().manual_seed(j))
        run.remember(f"target.{j}").copy_(0.5 * torch.softmax(drawn, 1))
    own, other = (run.remember(f"target.{j}").clone() for j in (i, 1 - i))
    run.epoch = 3
    batch = next(run.batches())
    run.fraction = 0.25

    state = run.gen.get_state()
    share = mixmatch.mix_share(1.0, run.gen)
    order = torch.randperm(16, generator=run.gen).numpy()
    run.gen.set_state(state)
    x = batch.x[0].numpy()
    teacher = run.averages[1 - i].eval()
    q = softmax(teacher(batch.x[0]).double().numpy())
    t = 0.6 * other.double().numpy()[batch.id.numpy()] + 0.4 * q
    mixed = np.stack([share * x[b] + (1 - share) * x[order[b]] for b in range(16)])
    mixed_t = np.stack([share * t[b] + (1 - share) * t[order[b]] for b in range(16)])
    given = np.eye(3)[batch.y.numpy()]
    y = np.stack([share * given[b] + (1 - share) * given[order[b]] for b in range(16)])
    if label_product:
        y = np.stack([y[b] * mixed_t[b] / (y[b] * mixed_t[b]).sum() for b in range(16)])
    before = {k: v.clone() for k, v in run.nets[i].state_dict().items()}
    p = softmax(run.nets[i](torch.from_numpy(mixed).float()).detach().double().numpy())
    run.nets[i].load_state_dict(before)
    cross_entropy = -np.mean([(y[b] * np.log(p[b])).sum() for b in range(16)])
    kept = np.clip(p, 1e-4, 1 - 1e-4)
    regulariser = np.mean([math.log(1 - (mixed_t[b] * kept[b]).sum()) for b in range(16)])
    updates = 3.25 * 8  # batches of 16 of 120 samples
    weight = 3 * math.exp(-5 * (1 - updates / 80) ** 2)

    assert method.loss(run, i, batch).item() == pytest.approx(cross_entropy + weight * regulariser, rel=1e-4)
    assert torch.equal(run.remember(f"target.{i}"), own)
    moved = run.remember(f"target.{1 - i}")
    assert np.allclose(moved[batch.id].numpy(), t, atol=1e-5)
    rest = torch.ones(120, dtype=torch.bool)
    rest[batch.id] = False
    assert torch.equal(moved[rest], other[rest])


def test_without_a_weight_average_the_other_network_itself_is_asked():
    method = ELRPlus(beta=0.0)
    run = start(method, average=0.0)
    batch = next(run.batches())
    expected = torch.softmax(run.nets[1].eval()(batch.x[0]), 1)
    run.nets[1].train()
    method.loss(run, 0, batch)
    assert run.nets[1].training
    assert torch.allclose(run.remember("target.1")[batch.id], expected, atol=1e-6)
    assert (run.remember("target.0") == 0).all()
    assert train(method, toys.toy().data, toys.build, toys.plan(2)).skipped_updates == 0


def test_each_network_of_elr_plus_sees_every_sample_once_an_epoch(monkeypatch):
    method = ELRPlus()
    run = start(method, toys.toy(50, unlabelled=20))
    seen: dict[int, list[int]] = {0: [], 1: []}
    original = ELRPlus.loss

    def spy(self, run, i, batch):
        seen[i] += batch.id.tolist()
        return original(self, run, i, batch)

    monkeypatch.setattr(ELRPlus, "loss", spy)
    method.epoch(run)
    assert all(sorted(ids) == list(range(50)) for ids in seen.values())


def test_a_sample_without_a_label_has_no_weight_in_the_cross_entropy():
    method = ELRPlus(lambda_elr=0.0, alpha=0.0)
    problem = toys.toy(60, unlabelled=30)
    run = start(method, problem)
    batch = next(run.batches())
    state = {k: v.clone() for k, v in run.nets[0].state_dict().items()}
    losses = targets.sample_loss(run.logits(0, batch.x[0]), batch.y)[batch.y >= 0]
    run.nets[0].load_state_dict(state)
    assert 0 < len(losses) < 16
    # without mixing the order of the batch still goes through the network: batch statistics are the same
    assert method.loss(run, 0, batch).item() == pytest.approx(losses.mean().item(), rel=1e-4)
    none = batch._replace(y=torch.full_like(batch.y, -1))
    assert method.loss(run, 0, none).item() == 0


def test_the_decay_of_the_average_rises_along_its_ramp():
    for method, epoch, expected in (
        (ELRPlus(), 0, math.exp(-5)),
        (ELRPlus(), 5, math.exp(-5 * 0.25)),  # half of the first half of 20 epochs
        (ELRPlus(), 10, 1.0),
        (ELRPlus(ema_step=80), 5, math.exp(-1.25)),  # 8 updates an epoch: 40 of 80
        (ELRPlus(ema_step=80), 12, 1.0),
        (ELRPlus(ema_step=0), 0, 0.5 / 0.997),  # 1 - 1 / (t + 1) in update t = 1, 2, ...
        (ELRPlus(ema_step=0), 1, (1 - 1 / 10) / 0.997),
        (ELRPlus(ema_step=0), 50, 1.0),
    ):
        run = start(method, epochs=20, average=0.997)
        run.epoch = epoch
        assert method.decay(run) == pytest.approx(0.997 * expected)


def test_the_weight_of_the_regulariser_is_logged_and_whole_without_a_ramp():
    for method, expected in ((ELRPlus(coef_step=0), [3, 3]), (ELRPlus(coef_step=8), [None, 3]), (ELRPlus(), [None, 3])):
        run = train(method, toys.toy().data, toys.build, toys.plan(2))
        for row, value in zip(run.history, expected, strict=True):
            assert row["lambda_elr"] == pytest.approx(value) if value else 0 < row["lambda_elr"] < 3


def test_elr_plus_wants_a_weight_average_and_classifies_with_its_networks():
    plan = default_plan(100, ELRPlus())
    assert plan.average == 0.997
    assert default_plan(100, ELRPlus(), average=0.0).average == 0
    run = train(ELRPlus(), toys.toy().data, toys.build, replace(toys.plan(2), average=0.9))
    assert run.method.members(run) == run.nets
    assert run.averages[0] is not run.nets[0]


def test_clean_prob_is_the_mean_of_both_memories():
    method = ELRPlus()
    run = start(method, toys.toy(4, unlabelled=1))
    run.remember("target.0").copy_(torch.tensor([[0.2, 0.2, 0.0]] * 4))
    run.remember("target.1").copy_(torch.tensor([[0.9, 0.0, 0.0]] * 4))
    expected = [[0.75, 0.25, 0.0][y] if y >= 0 else 7 for y in run.data.y.tolist()]
    assert method.clean_prob(run).nan_to_num(7).tolist() == pytest.approx(expected)
