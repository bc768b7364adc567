"""What the semi-supervised methods share, and each loss and target against its equation written plainly."""

import warnings
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from codivide import Plan, Run, TrainingWarning, train
from codivide.core.errors import InputError
from codivide.data.rows import TensorRows
from codivide.fit.job import default_plan
from codivide.methods import METHODS
from codivide.methods._semi_supervised import SemiSupervised
from codivide.training import layers, mixing, mixmatch, targets
from codivide.training.run import Method
from codivide.training.samples import Batch, Data
from tests import toys

NAMES = [name for name, cls in METHODS.items() if cls.semi_supervised]
every = pytest.mark.parametrize("name", NAMES)


def start(method, problem=None, **settings) -> Run:
    problem = problem or toys.toy(120, unlabelled=80)
    torch.manual_seed(0)
    run = Run(method, problem.data, toys.build, toys.plan(**settings), torch.device("cpu"), "fp32")
    method.start(run)
    run.nets[0][3].p = 0.0  # dropout would draw other numbers in the two computations
    run.open_epoch()
    return run


def pair(run: Run) -> tuple[Batch, Batch]:
    return next(run.method.both(run))


def softmax(net, x) -> np.ndarray:
    """As seen by the equations: the net in the mode it is in, without a trace."""
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with torch.no_grad():
        probs = torch.softmax(net(x), 1).numpy()
    net.load_state_dict(before)
    return probs


def cross_entropy(probs, labels) -> float:
    return -sum(np.log(probs[b, labels[b]]) for b in range(len(labels))) / len(labels)


def squared(p, q) -> float:
    return sum((p[b, c] - q[b, c]) ** 2 for b in range(len(p)) for c in range(p.shape[1])) / p.size


# Streams.


def test_both_streams_go_on_for_the_steps_and_every_batch_is_full():
    run = start(Method())
    few, rest = run.ids < 10, run.ids >= 10
    pairs = list(run.pairs(few, rest, ("weak",), steps=11, size_b=40, views_b=("weak", "plain")))
    assert len(pairs) == 11
    assert {len(a.id) for a, _ in pairs} == {16}
    assert {len(b.id) for _, b in pairs} == {40}
    assert {(len(a.x), len(b.x)) for a, b in pairs} == {(1, 2)}
    for side, rows, size in ((0, range(10), 16), (1, range(10, 120), 40)):
        seen = np.bincount(torch.cat([both[side].id for both in pairs]), minlength=120)
        assert seen.sum() == 11 * size
        assert seen[list(rows)].sum() == 11 * size
        assert np.ptp(seen[list(rows)]) <= 1  # nobody is there k + 2 times before everybody was k times


def test_the_second_batch_is_empty_where_there_is_no_such_sample():
    run = start(Method())
    everything = run.ids >= 0
    for _, other in run.pairs(everything, ~everything, steps=3, size_b=40, views_b=("weak", "weak", "plain")):
        assert len(other.id) == 0
        assert [tuple(x.shape) for x in other.x] == [(0, 6)] * 3


def test_without_steps_the_draws_are_those_of_one_pass():
    run = start(Method())
    few, rest = run.ids < 90, run.ids >= 90
    pairs = list(run.pairs(few, rest))
    generator = torch.Generator().manual_seed(run.plan.seed)
    order = torch.randperm(90, generator=generator)
    assert torch.equal(pairs[0][0].id, order[:16])
    torch.randn(16, 6, generator=generator)  # the weak view
    assert torch.equal(pairs[0][1].id, 90 + torch.randperm(30, generator=generator)[:16])
    assert [len(b.id) for _, b in pairs] == [16, 14, 16, 14, 16, 14]


@pytest.mark.parametrize(("steps", "expected"), [(None, 8), (3, 3), (20, 20)])
def test_an_epoch_has_its_steps_and_sizes_also_with_fewer_labels_than_a_batch(steps, expected):
    run = start(METHODS["pi_model"](ratio=3, steps=steps), toys.toy(120, unlabelled=115))
    batches = list(run.method.both(run))
    assert len(batches) == expected
    assert {(len(a.id), len(b.id)) for a, b in batches} == {(16, 48)}


@every
@pytest.mark.parametrize("include", [True, False])
def test_who_is_unlabelled(name, include):
    run = start(METHODS[name](include_labelled=include, steps=8))
    seen = torch.cat([unknown.id for _, unknown in run.method.both(run)]).unique()
    assert len(seen) == (120 if include else 80)
    assert (run.data.y[seen] >= 0).any() == include
    assert all((known.y >= 0).all() for known, _ in run.method.both(run))


def test_cross_entropy_sees_as_many_labelled_samples_in_its_steps():
    problem = toys.toy(120, unlabelled=100)
    runs = [train(METHODS[name](steps=9), problem.data, toys.build, toys.plan(2)) for name in ("cross_entropy", "vat")]
    assert [run.step for run in runs] == [18, 18]
    assert [int(run.memory["loss_count"].sum()) for run in runs] == [18 * 16] * 2
    assert train(METHODS["cross_entropy"](), problem.data, toys.build, toys.plan(2)).step == 4


def test_cross_entropy_averages_as_the_others_where_it_counts_steps():
    for steps, expected in ((None, 0.999), (9, 4 / 13)):
        run = start(METHODS["cross_entropy"](steps=steps), average=0.999)
        run.step = 3
        assert run.method.decay(run) == pytest.approx(expected)


# Warnings and missing parts.


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([0, 1] + [-1] * 22, "2 labels for 3 classes"),
        ([0, 1] * 6 + [-1] * 12, "1 of 3 classes have no label"),
        ([0, 1, 2] * 8, "every sample has a label"),
        ([0, 1, 2] * 3 + [-1] * 15, "9 labels for batches of 16"),
    ],
)
@every
def test_what_can_hardly_work_is_said(name, given, text):
    x = toys.toy(24).data.x
    data = Data(x, torch.tensor(given), ("a", "b", "c"), toys.VIEWS)
    with pytest.warns(TrainingWarning, match=text):
        run = train(METHODS[name](), data, toys.build, toys.plan(2))
    assert run.step == 4


def test_a_usual_set_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(METHODS["pi_model"](), toys.toy(60, unlabelled=40).data, toys.build, toys.plan(1))


def test_with_nothing_unlabelled_it_is_cross_entropy():
    full = toys.toy(64, noise=0.0)
    supervised = train(METHODS["cross_entropy"](steps=4), full.data, toys.build, toys.plan(2, average=0.0))
    run = train(METHODS["pseudo_label"](), full.data, toys.build, toys.plan(2, average=0.0))
    assert toys.same(toys.state(supervised), toys.state(run)) == []


@every
def test_nothing_without_a_label_enters_a_loss_on_labels(name, monkeypatch):
    seen = []
    for owner, function in ((targets, "one_hot"), (Run, "observe")):
        original = getattr(owner, function)

        def spy(*words, original=original):
            seen.append(next(w.y if isinstance(w, Batch) else w for w in words if not isinstance(w, Run)))
            return original(*words)

        monkeypatch.setattr(owner, function, spy)
    train(METHODS[name](), toys.toy(60, unlabelled=40).data, toys.build, toys.plan(2))
    assert seen
    assert all((labels >= 0).all() for labels in seen)


@every
def test_renaming_the_unlabelled_rows_changes_nothing(name, monkeypatch):
    problem = toys.toy(60, unlabelled=40)
    rename = torch.cat([torch.arange(20), 20 + torch.randperm(40, generator=torch.Generator().manual_seed(3))])
    data = problem.data
    renamed = Data(TensorRows(data.x.data[rename.argsort()]), data.y[rename.argsort()], data.classes, toys.VIEWS)
    plain = train(METHODS[name](), data, toys.build, toys.plan(3))
    original = Run._chosen
    monkeypatch.setattr(Run, "_chosen", lambda self, where: rename[original(self, where[rename])])
    moved = train(METHODS[name](), renamed, toys.build, toys.plan(3))
    for a, b in zip(plain.nets[0].state_dict().values(), moved.nets[0].state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(plain.method.clean_prob(plain)[:20], moved.method.clean_prob(moved)[:20])


# Ramps, averages, decay.


def test_the_weight_rises_over_a_share_of_training():
    for rampup, expected in ((0.4, [0.0, 0.125, 0.5, 1.0, 1.0]), (0.0, [1.0] * 5), (1.0, [0.0, 0.05, 0.2, 0.4, 0.9])):
        run = start(METHODS["pi_model"](weight=20.0, rampup=rampup), epochs=10)
        got = []
        for progress in (0.0, 0.5, 2.0, 4.0, 9.0):
            run.epoch, run.fraction = int(progress), progress % 1
            got.append(run.method.weight_now(run))
        assert got == pytest.approx([20 * w for w in expected])


@every
def test_the_weight_of_a_run_is_logged_as_it_rises(name):
    method = replace(METHODS[name](), rampup=0.5)
    run = train(method, toys.toy(64, unlabelled=32).data, toys.build, toys.plan(4))
    logged = [row["weight"] for row in run.history]
    expected = [np.mean([min((e + k / 4) / 2, 1.0) for k in range(4)]) for e in range(4)]
    assert logged == pytest.approx([method.weight * w for w in expected])


def test_the_average_is_its_closed_form():
    run = start(METHODS["mean_teacher"](), average=0.8)
    first = run.averages[0][0].weight.clone()
    weights, decays = [], []
    for known, _ in run.method.both(run):
        run.update(run.logits(0, known.x[0]).square().mean(), 0)
        weights.append(run.nets[0][0].weight.detach().clone())
        decays.append(min(0.8, (1 + run.step) / (10 + run.step)))
    assert decays[:3] == pytest.approx([2 / 11, 3 / 12, 4 / 13])
    expected = first * np.prod(decays)
    for k, weight in enumerate(weights):
        expected = expected + (1 - decays[k]) * np.prod(decays[k + 1 :]) * weight
    assert torch.allclose(run.averages[0][0].weight, expected.float(), atol=1e-6)
    run.step = 10_000
    assert run.method.decay(run) == 0.8


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_decay_of_kernels_alone(optimizer):
    settings = {"optimizer": optimizer, "lr": 0.1, "weight_decay": 0.5, "momentum": 0.0}
    for decayed in ("all", "kernels"):
        run = start(Method(), decayed=decayed, **settings)
        with torch.no_grad():
            for parameter in run.nets[0].parameters():
                parameter.fill_(1.0)
        run.update(0.0 * sum(p.sum() for p in run.nets[0].parameters()), 0)  # a gradient of 0: decay is all there is
        for name, parameter in run.nets[0].named_parameters():
            kernel = name in ("0.weight", "4.weight")
            expected = 0.95 if kernel or decayed == "all" else 1.0
            assert torch.allclose(parameter, torch.tensor(expected)), (decayed, name)
    with pytest.raises(InputError, match="decayed"):
        Plan(decayed="kernel")


def test_the_methods_bring_the_published_plan():
    for name in NAMES:
        plan = default_plan(1000, METHODS[name]())
        assert (plan.decayed, plan.average, plan.schedule) == ("kernels", 0.999, "constant")
        assert (plan.optimizer, plan.lr) == (("sgd", 0.03) if name == "fixmatch" else ("adamw", 0.002))


# Inside a network.


def test_untracked_normalises_on_the_batch_and_records_nothing():
    net = toys.build().train()
    net[3].p = 0.0
    x = torch.randn(8, 6)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with layers.untracked(net):
        quiet = net(x)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert torch.equal(quiet, net(x))  # the same answer as in training
    assert net[1].num_batches_tracked == 1
    net.eval()
    with layers.untracked(net):
        quiet = net(x)
    assert torch.equal(quiet, net(x))


def test_steady_is_untracked_without_dropout_and_is_undone():
    net = toys.build().train()
    net[1].eval()  # as in a frozen body
    x, state = torch.randn(8, 6), torch.get_rng_state()
    with layers.steady(net):
        assert torch.equal(net(x), net(x))
        assert not net[1].training
    assert torch.equal(state, torch.get_rng_state())
    assert [part.training for part in net] == [True, False, True, True, True]
    assert net[1].track_running_stats
    with pytest.raises(ValueError, match="x"), layers.steady(net):
        raise ValueError("x")
    assert net[3].training


# Losses.


def test_pseudo_label_loss_is_the_equation():
    torch.manual_seed(0)
    logits, probs = torch.randn(40, 4), torch.softmax(3 * torch.randn(40, 4), 1)
    log_p = np.log(np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True))
    for threshold in (0.0, 0.6, 0.95, 1.0):
        total = 0.0
        for b in range(40):
            q = probs[b].numpy()
            if max(q) >= threshold:
                total -= log_p[b, q.argmax()]
        assert targets.pseudo_label_loss(logits, probs, threshold).item() == pytest.approx(total / 40, abs=1e-5)
    kept = (probs.amax(1) >= 0.6).sum()
    assert 0 < kept < 40


def test_pseudo_labels_carry_no_gradient_and_those_below_the_threshold_give_none():
    logits = torch.tensor([[5.0, 0.0], [0.3, 0.0]], requires_grad=True)
    targets.pseudo_label_loss(logits, torch.softmax(logits, 1), 0.9).backward()
    assert (logits.grad[1] == 0).all()
    p = torch.softmax(logits.detach()[0], 0)
    assert torch.allclose(logits.grad[0], (p - torch.tensor([1.0, 0.0])) / 2)


@pytest.mark.parametrize("progress", [0.0, 1.0, 3.0])
def test_pi_model_is_the_equation(progress):
    run = start(METHODS["pi_model"](), epochs=4)
    known, unknown = pair(run)
    run.epoch, net = int(progress), run.nets[0]
    p, first, second = (softmax(net, x) for x in (known.x[0], *unknown.x))
    expected = cross_entropy(p, known.y) + 20 * min(progress / 1.6, 1) * squared(first, second)
    assert run.method.pair_loss(run, known, unknown).item() == pytest.approx(expected, rel=1e-4)
    assert not torch.equal(*unknown.x)


def test_pi_model_learns_through_both_views():
    run = start(METHODS["pi_model"](weight=1.0, rampup=0.0))
    net, (_, unknown) = run.nets[0], pair(run)
    grads = []
    for first, second in ((False, False), (True, False), (False, True)):  # which of them is held
        logits = [net(x) for x in unknown.x]
        p, q = (torch.softmax(z.detach() if held else z, 1) for z, held in zip(logits, (first, second), strict=True))
        grads.append(torch.autograd.grad((p - q).square().mean(), net[0].weight)[0])
    ours = torch.autograd.grad(run.method.unlabelled_loss(run, unknown, 1.0), net[0].weight)[0]
    assert torch.allclose(ours, grads[0], atol=1e-7)
    assert torch.allclose(ours, grads[1] + grads[2], atol=1e-7)


def test_pi_model_with_a_stopped_gradient_has_half_the_force():
    run = start(METHODS["pi_model"](weight=1.0, rampup=0.0, stop_gradient=True))
    net, (_, unknown) = run.nets[0], pair(run)
    first, second = (net(x) for x in unknown.x)
    expected = (torch.softmax(first, 1) - torch.softmax(second.detach(), 1)).square().mean()
    loss = run.method.unlabelled_loss(run, unknown, 1.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    grads = [torch.autograd.grad(value, net[0].weight)[0] for value in (loss, expected)]
    assert torch.allclose(*grads, atol=1e-7)


def test_mean_teacher_is_the_equation_and_the_teacher_gets_no_gradient():
    run = start(METHODS["mean_teacher"](), epochs=4, average=0.9)
    with torch.no_grad():
        run.averages[0][0].weight.mul_(0.5)  # another one than the student
    run.averages[0][3].p = 0.0
    known, unknown = pair(run)
    run.epoch, net = 1, run.nets[0]
    before = {name: value.clone() for name, value in run.averages[0].state_dict().items()}
    p, student = softmax(net, known.x[0]), softmax(net, unknown.x[0])
    teacher = softmax(deepcopy(run.averages[0]).train(), unknown.x[1])
    expected = cross_entropy(p, known.y) + 50 * (1 / 1.6) * squared(student, teacher)
    loss = run.method.pair_loss(run, known, unknown)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    loss.backward()
    assert all(parameter.grad is None for parameter in run.averages[0].parameters())
    assert all(torch.equal(value, before[name]) for name, value in run.averages[0].state_dict().items())
    assert run.nets[0].training


def test_without_an_average_the_network_is_its_own_teacher():
    run = start(METHODS["mean_teacher"]())
    _, unknown = pair(run)
    student = softmax(run.nets[0], unknown.x[0])
    teacher = softmax(run.nets[0], unknown.x[1])
    assert run.method.unlabelled_loss(run, unknown, 1.0).item() == pytest.approx(squared(student, teacher), rel=1e-4)
    assert run.nets[0].training


@pytest.mark.parametrize("threshold", [0.4, 0.95])
def test_pseudo_label_is_the_equation(threshold):
    run = start(METHODS["pseudo_label"](threshold=threshold, rampup=0.0, weight=2.0))
    known, unknown = pair(run)
    p, q = softmax(run.nets[0], known.x[0]), softmax(run.nets[0], unknown.x[0])
    expected = cross_entropy(p, known.y) - 2 * sum(np.log(max(r)) for r in q if max(r) >= threshold) / len(q)
    assert run.method.pair_loss(run, known, unknown).item() == pytest.approx(expected, rel=1e-4)


def test_entropy_minimisation_is_the_equation():
    run = start(METHODS["entropy_minimisation"](weight=0.5))
    known, unknown = pair(run)
    p, q = softmax(run.nets[0], known.x[0]), softmax(run.nets[0], unknown.x[0])
    expected = cross_entropy(p, known.y) - 0.5 * sum(r @ np.log(r) for r in q) / len(q)
    assert run.method.pair_loss(run, known, unknown).item() == pytest.approx(expected, rel=1e-4)


def test_interpolation_consistency_is_the_equation():
    run = start(METHODS["interpolation_consistency"](weight=10.0, rampup=0.0, alpha=0.75), average=0.9)
    with torch.no_grad():
        run.averages[0][0].weight.mul_(0.5)
    known, unknown = pair(run)
    state, net = run.gen.get_state(), run.nets[0]
    drawn = [(float(mixing.shares(0.75, 2, run.gen)[0, 0]), torch.randperm(16, generator=run.gen)) for _ in range(2)]
    run.gen.set_state(state)

    def mix(rows, share, order):
        return np.stack([share * rows[b] + (1 - share) * rows[order[b]] for b in range(16)])

    x, target = mix(known.x[0].numpy(), *drawn[0]), mix(np.eye(3)[known.y], *drawn[0])
    expected = -(target * np.log(softmax(net, torch.from_numpy(x).float()))).sum() / 16
    u = unknown.x[0]
    teacher = mix(softmax(run.averages[0].eval(), u), *drawn[1])
    expected += 10 * squared(softmax(net, torch.from_numpy(mix(u.numpy(), *drawn[1])).float()), teacher)
    loss = run.method.pair_loss(run, known, unknown)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    loss.backward()
    assert all(parameter.grad is None for parameter in run.averages[0].parameters())


def test_the_mixup_baseline_of_the_tables_is_cross_entropy_on_mixtures_of_labels_and_of_own_predictions():
    method = METHODS["interpolation_consistency"](form="mixup", weight=1.0, rampup=0.0, alpha=0.75)
    run = start(method, average=0.9)
    known, unknown = pair(run)
    state, net = run.gen.get_state(), run.nets[0]
    drawn = []
    for _ in range(2):
        shares = mixing.shares(0.75, 2, run.gen, 16)
        drawn.append((shares.amax(1).numpy(), torch.randperm(16, generator=run.gen).numpy()))
    run.gen.set_state(state)
    assert all((share >= 0.5).all() and len(set(share)) == 16 for share, _ in drawn)

    def mix(rows, share, order):
        return np.stack([share[b] * rows[b] + (1 - share[b]) * rows[order[b]] for b in range(16)])

    u, expected = unknown.x[0], 0.0
    for rows, target, draw in ((known.x[0], np.eye(3)[known.y], drawn[0]), (u, softmax(net, u), drawn[1])):
        p = softmax(net, torch.from_numpy(mix(rows.numpy(), *draw)).float())
        expected -= (mix(target, *draw) * np.log(p)).sum() / 16
    counted = int(net[1].num_batches_tracked)
    assert run.method.pair_loss(run, known, unknown).item() == pytest.approx(expected, rel=1e-4)
    assert int(net[1].num_batches_tracked) == counted + 1  # on the labelled batch alone
    run.epoch = 3
    assert run.method.weight_now(run) == 1.0


@pytest.mark.parametrize("threshold", [0.4, 0.95])
def test_fixmatch_is_the_equation(threshold):
    run = start(METHODS["fixmatch"](threshold=threshold, weight=1.5), toys.toy(120, unlabelled=80))
    net = run.nets[0]
    with torch.no_grad():
        net[4].weight.mul_(4.0)  # sure of some
    known, unknown = pair(run)
    assert len(unknown.id) == 32
    together = softmax(net, torch.cat([known.x[0], *unknown.x]))
    p, weak, strong = together[:16], together[16:48], together[48:]
    kept = [b for b in range(32) if max(weak[b]) >= threshold]
    assert len(kept) > 0
    expected = cross_entropy(p, known.y) - 1.5 * sum(np.log(strong[b, weak[b].argmax()]) for b in kept) / 32
    assert run.method.pair_loss(run, known, unknown).item() == pytest.approx(expected, rel=1e-4)


def test_fixmatch_learns_the_strong_view_alone():
    run = start(METHODS["fixmatch"](threshold=0.0))
    asked = []
    views = {"weak": lambda x, g: 2 * x, "strong": lambda x, g: 3 * x, "plain": lambda x, g: x}
    run.data = replace(run.data, views=views)
    known, unknown = pair(run)
    assert torch.equal(unknown.x[0] * 1.5, unknown.x[1])
    original = targets.pseudo_label_loss

    def spy(logits, probs, threshold):
        asked.append((logits, probs))
        return original(logits, probs, threshold)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets, "pseudo_label_loss", spy)
        run.method.pair_loss(run, known, unknown)
    (strong, weak), together = asked[0], torch.cat([known.x[0], *unknown.x])
    with torch.no_grad():
        logits = run.nets[0](together)
    assert torch.allclose(weak, torch.softmax(logits[16:48], 1), atol=1e-6)
    assert torch.allclose(strong, logits[48:], atol=1e-6)
    assert not weak.requires_grad


def test_the_rate_of_fixmatch_falls_along_the_cosine():
    run = start(METHODS["fixmatch"](), epochs=8)
    for epoch in (0, 4, 8):
        run.epoch = epoch
        assert run.method.rate(run) == pytest.approx(0.1 * np.cos(7 * np.pi * epoch / 8 / 16))
        assert replace(run.method, cosine=0.0).rate(run) == 0.1


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"fixmatch", "mixmatch"}))
def test_batch_norm_records_labelled_batches_alone(name):
    run = start(METHODS[name](steps=3), average=0.9)
    norm, recorded = run.nets[0][1], []

    def record(module, given, output):
        if module.training and module.track_running_stats:
            recorded.append(given[0].detach().mean(0))

    handle = norm.register_forward_hook(record)
    run.method.epoch(run)
    handle.remove()
    assert len(recorded) == norm.num_batches_tracked == 3
    mean = torch.zeros(16)
    for part in recorded:
        mean = 0.9 * mean + 0.1 * part
    assert torch.allclose(norm.running_mean, mean, atol=1e-5)


def test_the_base_asks_for_a_loss():
    run = start(SemiSupervised())
    with pytest.raises(NotImplementedError):
        run.method.epoch(run)


def test_interleave_puts_every_sample_back_whatever_the_sizes():
    for rows in (1, 2, 5, 12, 48, 50):
        for batches in (1, 2, 3, 5, 99):
            x, sizes = torch.randn(rows, 4), []

            def look(part, sizes=sizes):
                sizes.append(len(part))
                return 2 * part

            assert torch.equal(mixmatch.interleave(look, x, batches), 2 * x)
            assert sum(sizes) == rows
            assert max(sizes) - min(sizes) <= 1
            assert min(sizes) >= min(2, rows)


def test_interleave_gives_every_forward_a_share_of_every_part():
    parts = torch.tensor([0] * 6 + [1] * 12 + [2] * 12)
    seen = []

    def look(part):
        seen.append(torch.bincount(part[:, 0], minlength=3).tolist())
        return part.float()

    mixmatch.interleave(look, parts[:, None], 5)
    assert len(seen) == 5
    for part, total in enumerate((6, 12, 12)):
        assert {counts[part] for counts in seen} <= {total // 5, total // 5 + 1}


def test_interleave_is_differentiable_and_normalises_forward_by_forward():
    torch.manual_seed(0)
    norm, x = nn.BatchNorm1d(3), torch.randn(12, 3, requires_grad=True)
    out = mixmatch.interleave(norm, x, 3)
    for k in range(3):
        part = x.detach()[k::3]
        assert torch.allclose(
            out[k::3], (part - part.mean(0)) / (part.var(0, correction=0) + norm.eps).sqrt(), atol=1e-5
        )
    (out**3).sum().backward()
    assert x.grad.abs().sum() > 0
