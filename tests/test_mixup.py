"""mixup against the equation written plainly: who is mixed, where, with which target."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from codivide import InputError, Run, train
from codivide.data.rows import TensorRows
from codivide.methods import METHODS
from codivide.training import mixing, nets
from codivide.training.checkpoint import Checkpoint
from codivide.training.samples import Data
from tests import toys

CrossEntropy, Mixup = METHODS["cross_entropy"], METHODS["mixup"]


def start(method: Mixup, problem=None, build=toys.build, **settings) -> Run:
    problem = problem or toys.toy()
    torch.manual_seed(0)
    run = Run(method, problem.data, build, toys.plan(**settings), torch.device("cpu"), "fp32")
    method.start(run)
    for module in run.nets[0].modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # would draw other numbers in the two computations
    return run


def forward(net, x):
    """Without a trace: batch norm's statistics stay as they were."""
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with torch.no_grad():
        logits = net(x)
    net.load_state_dict(before)
    return functional.log_softmax(logits, 1).numpy()


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
@pytest.mark.parametrize("mix_labels", [True, False])
@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("samples", [2, 4])
def test_the_loss_is_the_equation(samples, per_sample, mix_labels, label_smoothing):
    method = Mixup(1.0, samples, per_sample, mix_labels=mix_labels, label_smoothing=label_smoothing)
    run = start(method)
    batch = next(run.batches())
    state = run.gen.get_state()
    orders = [np.arange(16), *(torch.randperm(16, generator=run.gen).numpy() for _ in range(samples - 1))]
    shares = mixing.shares(1.0, samples, run.gen, rows=16 if per_sample else 1).expand(16, -1).numpy()
    run.gen.set_state(state)

    x, y = batch.x[0].numpy(), batch.y.numpy()
    mixed, target = np.zeros_like(x), np.full((16, 3), label_smoothing / 3)
    for b in range(16):
        heaviest = max(range(samples), key=lambda j: shares[b, j])
        for j in range(samples):
            partner = orders[j][b]
            mixed[b] += shares[b, j] * x[partner]
            share = shares[b, j] if mix_labels else float(j == heaviest)
            target[b, y[partner]] += (1 - label_smoothing) * share
    log_p = forward(run.nets[0], torch.from_numpy(mixed))
    expected = -sum(target[b, c] * log_p[b, c] for b in range(16) for c in range(3)) / 16
    assert method.loss(run, 0, batch).item() == pytest.approx(expected, rel=1e-5)


def test_the_share_is_never_replaced_by_the_larger(monkeypatch):
    """With 0.1 of its own, a row is nearly its partner."""
    run = start(Mixup())
    monkeypatch.setattr(mixing, "shares", lambda *words: torch.tensor([[0.1, 0.9]]))
    seen = []
    monkeypatch.setattr(run, "logits", lambda i, x: seen.append(x) or torch.zeros(len(x), 3, requires_grad=True))
    batch = next(run.batches())
    state = run.gen.get_state()
    order = torch.randperm(16, generator=run.gen)
    run.gen.set_state(state)
    run.method.loss(run, 0, batch)
    assert torch.allclose(seen[0], 0.1 * batch.x[0] + 0.9 * batch.x[0][order], atol=1e-6)


@pytest.mark.parametrize("samples", [2, 3])
def test_without_mixing_it_is_cross_entropy_bit_for_bit(samples):
    problem = toys.toy()
    plain = train(CrossEntropy(), problem.data, toys.build, toys.plan(3))
    none = train(Mixup(alpha=0, samples=samples), problem.data, toys.build, toys.plan(3))
    assert [row["loss"] for row in plain.history] == [row["loss"] for row in none.history]
    assert toys.same(plain.nets[0].state_dict(), none.nets[0].state_dict()) == []
    mixed = train(Mixup(alpha=1), problem.data, toys.build, toys.plan(3))
    assert toys.same(plain.nets[0].state_dict(), mixed.nets[0].state_dict()) != []


def test_label_smoothing_alone_is_that_of_torch():
    method = Mixup(alpha=0, label_smoothing=0.2)
    run = start(method)
    batch = next(run.batches())
    log_p = torch.from_numpy(forward(run.nets[0], batch.x[0]))
    expected = functional.cross_entropy(log_p, batch.y, label_smoothing=0.2)
    assert method.loss(run, 0, batch).item() == pytest.approx(float(expected), rel=1e-6)


def test_noise_has_its_deviation_and_touches_only_inputs(monkeypatch):
    method = Mixup(alpha=0, input_noise=0.5)
    run = start(method, toys.toy(2000), batch_size=2000)
    seen = []
    monkeypatch.setattr(run, "logits", lambda i, x: seen.append(x) or torch.zeros(len(x), 3, requires_grad=True))
    batch = next(run.batches())
    method.loss(run, 0, batch)
    noise = seen[0] - batch.x[0]
    assert float(noise.std()) == pytest.approx(0.5, rel=0.03)
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("samples", [2, 3])
def test_same_class_partners_have_the_same_given_label(samples):
    for neighbours in (0, 5):
        method = Mixup(same_class=True, neighbours=neighbours, samples=samples)
        run = start(method)
        strangers = 0
        for batch in run.batches():
            pool, rows = method.partners(run, batch)
            assert torch.equal(rows[:, 0], torch.arange(len(batch.id)))
            assert torch.equal(pool.y[rows], batch.y[:, None].expand(-1, samples))
            strangers += int((pool.id[rows[:, 1]] != batch.id).sum())
        assert strangers > 60  # a sample may meet itself, but rarely does


def test_random_pairs_of_all_classes_cross_the_classes():
    method = Mixup()
    run = start(method)
    batch = next(run.batches())
    pool, rows = method.partners(run, batch)
    assert pool is batch
    assert sorted(rows[:, 1].tolist()) == list(range(16))
    assert (batch.y[rows[:, 1]] != batch.y).any()


@pytest.mark.parametrize("same_class", [True, False])
def test_neighbours_are_among_the_nearest_labelled_ones(same_class):
    problem = toys.toy(90, unlabelled=20)
    method = Mixup(neighbours=6, same_class=same_class, samples=3)
    run = start(method, problem)
    x, y = problem.data.x.data, problem.data.y
    near: dict[int, set[int]] = {}
    for i in range(70):
        others = [j for j in range(70) if j != i and (y[j] == y[i] or not same_class)]
        near[i] = set(sorted(others, key=lambda j: float((x[i] - x[j]).square().sum()))[:6])
        assert set(run.remember("neighbours")[i].tolist()) == near[i]
    assert (run.remember("neighbours")[70:] == -1).all()
    used = set()
    for _ in range(20):
        for batch in run.batches(y >= 0):
            pool, rows = method.partners(run, batch)
            assert torch.equal(pool.y, y[pool.id])
            for b, i in enumerate(batch.id.tolist()):
                met = pool.id[rows[b]].tolist()
                assert met[0] == i
                assert set(met[1:]) <= near[i]
                used |= {(i, j) for j in met[1:]}
    assert len(used) > 0.9 * 70 * 6


def test_neighbours_get_views_of_their_own():
    method = Mixup(neighbours=3)
    run = start(method)
    batch = next(run.batches())
    pool, rows = method.partners(run, batch)
    plain = run.data.x.data[pool.id]
    difference = (pool.x[0] - plain)[rows[:, 1]]
    assert float(difference.std()) == pytest.approx(0.1, rel=0.3)  # the jitter of the toy's weak view
    assert torch.equal(pool.x[0][:16], batch.x[0])


def test_a_sample_alone_in_its_class_is_mixed_with_itself():
    problem = toys.toy(30, noise=0.0)
    y = problem.data.y.clone()
    y[y == 2] = 1
    y[7] = 2
    run = start(Mixup(neighbours=4, same_class=True), replace(problem, data=replace(problem.data, y=y)))
    batch = run.fetch(torch.tensor([7, 8]), ("weak",))
    pool, rows = run.method.partners(run, batch)
    assert pool.id[rows[0]].tolist() == [7, 7]


def staged(shape=(3, 8, 8)):
    return nets.build("preact_resnet18", shape, 3)


@pytest.mark.parametrize("neighbours", [0, 4])
@pytest.mark.parametrize("layer", [1, 3, 5])
def test_a_hidden_layer_is_mixed_as_by_hand(layer, neighbours):
    """Layer l of the paper: before residual stage l, 5 before the pooling."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(24, 3, 8, 8, generator=generator)
    y = torch.randint(3, (24,), generator=generator)
    problem = toys.Toy(Data(TensorRows(images), y, ("a", "b", "c"), toys.VIEWS), y)
    method = Mixup(1.0, layer=layer, neighbours=neighbours)
    run = start(method, problem, staged, channels_last=False, batch_size=8)
    batch = next(run.batches())
    state = run.gen.get_state()
    pool, rows = method.partners(run, batch)
    share = float(mixing.shares(1.0, 2, run.gen)[0, 0])
    run.gen.set_state(state)
    net = run.nets[0]
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with torch.no_grad():
        hidden = net.stages[:layer](pool.x[0])
        mixed = share * hidden[rows[:, 0]] + (1 - share) * hidden[rows[:, 1]]
        logits = net.head(net.pool(net.stages[layer:](mixed)))
    given = functional.one_hot(pool.y, 3).float()
    target = share * given[rows[:, 0]] + (1 - share) * given[rows[:, 1]]
    expected = -(target * torch.log_softmax(logits, 1)).sum(1).mean()
    net.load_state_dict(before)
    loss = method.loss(run, 0, batch)
    assert loss.item() == pytest.approx(float(expected), rel=1e-4)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in net.parameters())


def test_layer_0_is_the_input_and_linear_layers_change_nothing():
    """The toy's parts are linear, batch norm, ReLU, dropout (off), linear; mixing commutes with linear ones."""
    losses = []
    for layer in range(6):
        run = start(Mixup(1.0, layer=layer))
        losses.append(run.method.loss(run, 0, next(run.batches())).item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[4:] == pytest.approx([losses[3]] * 2, rel=1e-5)
    assert len({round(loss, 3) for loss in losses}) == 3


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(InputError, match="layer is 6, but this network has 5 layers"):
        start(Mixup(layer=6))


@pytest.mark.parametrize(
    "settings",
    [
        {"neighbours": 3},
        {"neighbours": 3, "same_class": True},
        {"neighbours": 500, "samples": 3, "layer": 2},
        {"same_class": True, "mix_labels": False, "label_smoothing": 0.1},
        {"alpha": 0.0, "input_noise": 0.1, "layer": 1},
        {"samples": 5, "per_sample": True, "layer": 3},
    ],
)
@pytest.mark.parametrize(("size", "unlabelled"), [(40, 0), (9, 0), (17, 6)])
def test_every_kind_survives_small_sets_and_resumes(settings, size, unlabelled, tmp_path):
    problem, method = toys.toy(size, unlabelled=unlabelled), Mixup(**settings)
    straight = train(method, problem.data, toys.build, toys.plan(3))
    assert torch.equal(method.clean_prob(straight).isnan(), problem.data.y < 0)
    assert straight.skipped_updates == 0

    class Stop(Exception):
        pass

    def stop(run):
        if run.epoch == 2:
            raise Stop

    path = tmp_path / "run.safetensors"
    with pytest.raises(Stop):
        train(method, problem.data, toys.build, toys.plan(3), watch=stop, checkpoint=Checkpoint(path))
    resumed = train(method, problem.data, toys.build, toys.plan(3), checkpoint=Checkpoint(path, resume=True))
    assert toys.same(toys.state(straight), toys.state(resumed)) == []


def test_clean_prob_rests_on_losses_of_unmixed_samples():
    run = start(Mixup())
    run.method.epoch(run)
    net = run.nets[0].eval()
    with torch.no_grad():
        expected = functional.cross_entropy(net(run.data.x.data), run.data.y, reduction="none")
    assert torch.allclose(run.remember("loss_sum"), expected, atol=1e-5)
    assert torch.equal(run.remember("loss_count"), torch.ones(120))
