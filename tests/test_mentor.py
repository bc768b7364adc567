"""MentorNet and MentorMix: the percentile, the curricula, the fit of a mentor, drawing and mixing."""

import math

import numpy as np
import pytest
import torch

from codivide import InputError, Run, train
from codivide.bench.recipes import RECIPES
from codivide.methods import METHODS, _mentor_net
from codivide.methods.cross_entropy import CrossEntropy
from codivide.methods.mentormix import MentorMix
from codivide.methods.mentornet import MentorNet
from codivide.training import mixmatch
from codivide.training import targets as functional
from codivide.training.checkpoint import Checkpoint
from tests import toys

FAMILY = [MentorNet, MentorMix]


def start(method, problem=None, **settings) -> Run:
    problem = problem or toys.toy()
    run = Run(method, problem.data, toys.build, toys.plan(**settings), torch.device("cpu"), "fp32")
    method.start(run)
    for net in run.nets:
        net[3].p = 0.0  # dropout would draw other numbers in the two computations
    return run


def table(seed=0, slope=0.0, rows=20_000):
    generator = torch.Generator().manual_seed(seed)
    losses = torch.cat([0.5 * torch.rand(500, generator=generator), 1 + 3 * torch.rand(300, generator=generator)])
    return _mentor_net.predefined_table(losses, slope, generator, rows)


@pytest.fixture(scope="module")
def fitted():
    """A mentor fitted to the predefined curriculum with a step."""
    torch.manual_seed(0)
    net = _mentor_net.Mentor()
    error = _mentor_net.fit_mentor(net, *table(), torch.Generator().manual_seed(0))
    return net, error


def test_the_percentile_moves_by_the_decay():
    rng = np.random.default_rng(0)
    before, expected = math.nan, None
    for _ in range(5):
        losses = rng.exponential(size=17).astype(np.float32)
        now = np.percentile(losses, 70)
        expected = now if expected is None else 0.8 * expected + 0.2 * now
        before = _mentor_net.moving_percentile(before, torch.tensor(losses), 0.7, 0.8)
        assert before == pytest.approx(expected, rel=1e-5)


def test_the_percentile_leaves_out_what_is_not_finite():
    losses = torch.tensor([1.0, torch.nan, 3.0, torch.inf])
    assert _mentor_net.moving_percentile(math.nan, losses, 0.5, 0.5) == 2.0
    assert _mentor_net.moving_percentile(7.0, losses[1:2], 0.5, 0.5) == 7.0
    assert math.isnan(_mentor_net.moving_percentile(math.nan, losses[1:2], 0.5, 0.5))


def test_predefined_weights_are_equation_5():
    difference = torch.linspace(-2, 2, 41)
    for slope in (0.0, 0.5, 1.0):
        for d, v in zip(difference.tolist(), _mentor_net.predefined_weights(difference, slope).tolist(), strict=True):
            expected = float(d < 0) if slope == 0 else min(max(1 - d / slope, 0.0), 1.0)
            assert v == pytest.approx(expected, abs=1e-5)
    odd = torch.tensor([torch.nan, torch.inf, -torch.inf])
    assert _mentor_net.predefined_weights(odd).tolist() == [0, 0, 0]
    off_edge = difference[difference.abs() > 1e-3]
    assert torch.equal(_mentor_net.predefined_weights(off_edge, 1e-4), _mentor_net.predefined_weights(off_edge, 0.0))


def test_the_published_schedule_of_sample_dropout():
    schedule = _mentor_net.parse_schedule(MentorNet().sample_dropout)
    for percent in range(100):
        expected = 0.5 if percent < 17 else 0.05
        assert _mentor_net.scheduled(schedule, percent / 100 + 1e-9) == expected
    assert _mentor_net.scheduled(schedule, 1.0) == 0.05
    assert _mentor_net.scheduled(_mentor_net.parse_schedule("0,100"), 0.3) == 0


@pytest.mark.parametrize("text", ["", "0.5", "0.5,50", "0.5,50,0.1", "2,100", "-0.1,100", "a,100", "0.1,150,0.2,-50"])
def test_a_bad_schedule_is_refused(text):
    with pytest.raises(InputError, match="is no schedule"):
        MentorNet(sample_dropout=text)


@pytest.mark.parametrize(("progress", "rate"), [(1.0, 0.5), (5.0, 0.05), (9.6, 0.05)])
def test_dropout_sets_an_exact_share_to_zero_and_leaves_the_others(progress, rate):
    method = MentorNet()
    run = start(method, epochs=10)
    run.epoch, run.fraction = int(progress), progress % 1
    weights = 0.1 + torch.rand(64, generator=torch.Generator().manual_seed(0))
    dropped = [method.drop(run, weights) for _ in range(2)]
    for each in dropped:
        assert int((each > 0).sum()) == math.floor(64 * (1 - rate) + 1e-6)
        assert torch.equal(each[each > 0], weights[each > 0])
    assert not torch.equal(*dropped)


def test_nothing_is_learned_when_every_weight_is_dropped():
    method = MentorNet(sample_dropout="1,100")
    run = start(method)
    before = {name: value.clone() for name, value in run.nets[0].named_parameters()}
    method.epoch(run)
    assert run.step == 0
    assert all(torch.equal(before[name], value) for name, value in run.nets[0].named_parameters())
    assert run.close_epoch(0.0)["loss"] == 0
    assert (run.memory["loss_count"] == 1).all()


@pytest.mark.parametrize("slope", [0.0, 0.7])
def test_the_loss_is_the_mean_of_weight_times_loss(slope, monkeypatch):
    method = MentorNet(warmup=0, sample_dropout="0,100", slope=slope, percentile=0.6, percentile_decay=0.9)
    run = start(method, batch_size=40)
    seen, steps = [], []
    observe = run.observe
    monkeypatch.setattr(run, "observe", lambda batch, logits: seen.append(observe(batch, logits)) or seen[-1])
    monkeypatch.setattr(run, "update", lambda loss, *nets: steps.append((loss.item(), nets)))
    method.epoch(run)
    threshold = None
    for losses, (loss, nets) in zip(seen, steps, strict=True):
        values = losses.detach().numpy().astype(np.float64)
        now = np.percentile(values, 60)
        threshold = now if threshold is None else 0.9 * threshold + 0.1 * now
        total = 0.0
        for value in values:
            d = value - threshold
            total += value * (float(d < 0) if slope == 0 else min(max(1 - d / slope, 0), 1))
        assert loss == pytest.approx(total / 40, rel=1e-4)
        assert nets == (0,)
    assert len(steps) == 3
    assert float(run.memory[_mentor_net.THRESHOLD]) == pytest.approx(threshold, rel=1e-5)


def test_every_weight_is_one_in_burn_in():
    method = MentorNet(warmup=2, sample_dropout="0,100")
    run = start(method)
    batch = next(run.batches())
    losses = torch.linspace(0, 5, 16)
    for epoch, mean in ((0, 1.0), (1, 1.0), (2, 0.75)):
        run.epoch = epoch
        assert method.weights(run, batch, losses).mean().item() == mean


def test_burn_in_by_itself():
    for epochs in (2, 10, 100):
        assert MentorNet().warmup_epochs(start(MentorNet(), epochs=epochs)) == round(0.18 * epochs)
        learned = MentorNet(curriculum="learned")
        assert learned.warmup_epochs(start(learned, epochs=epochs)) == max(1, round(0.18 * epochs))
        assert MentorMix().warmup_epochs(start(MentorMix(), epochs=epochs)) == round(0.1 * epochs)
    assert MentorNet(curriculum="learned", warmup=0).warmup_epochs(start(MentorNet())) == 1


def published(part, d):
    """The weight that the published mentor of predefined weights was fitted to: part 0 to 99 of training, ``d``."""
    if part <= 18:
        return 1.0
    return float(d <= 0) if part < 90 else min(max(1 - d, 0.0), 1.0)


def test_the_published_rows_weigh_as_the_mentor_that_was_published():
    hyper = RECIPES["mentornet/cifar10-sym20-mentornet"].hyper
    method = MentorNet(**{**hyper, "sample_dropout": "0,100"})
    assert (method.percentile, method.percentile_decay) == (0.75, 0.5)
    run = start(method, epochs=100)
    batch = next(run.batches())
    losses = torch.linspace(0, 3, 16)
    for part in (0, 18, 19, 50, 89, 90, 99):
        run.epoch = part
        before = 3.0 - float(torch.quantile(losses, 0.75))  # so that the threshold is 1.5, their mean
        run.remember(_mentor_net.THRESHOLD, per_sample=False).fill_(before)
        expected = [published(part, loss - 1.5) for loss in losses.tolist()]
        assert method.weights(run, batch, losses).tolist() == pytest.approx(expected, abs=1e-5), part


def test_a_mentor_learns_the_slope_from_its_share_of_training_on():
    losses = torch.linspace(0, 3, 16)
    z, v = _mentor_net.predefined_table(losses, 1.0, torch.Generator().manual_seed(0), 400, slope_from=0.9)
    off_edge = [(d, share, weight) for (_, d, _, share), weight in zip(z.tolist(), v.tolist(), strict=True) if d]
    assert {weight for _, share, weight in off_edge if share < 0.9} == {0.0, 1.0}
    for d, share, weight in off_edge:
        assert weight == pytest.approx(published(19 if share < 0.9 else 99, d), abs=1e-5)


def test_an_unknown_percentile_is_the_share_that_looks_clean():
    method = MentorNet(percentile=None)
    run = start(method)
    method.prepare(run)
    assert run.memory["percentile"].item() == 0.75
    run.remember("loss_count").fill_(1)
    run.remember("loss_sum").copy_(torch.arange(120) / 200 + 5.0 * (torch.arange(120) < 24))
    run.epoch = 1
    method.prepare(run)
    assert run.memory["percentile"].item() == pytest.approx(0.8, abs=0.01)


def test_a_mentor_fitted_to_the_predefined_curriculum_gives_its_weights(fitted):
    net, error = fitted
    z, targets = table(seed=1)
    assert error < 0.03
    assert ((net.weights(z) > 0.5) == (targets > 0.5)).float().mean() > 0.98


def test_a_fitted_mentor_never_trusts_a_larger_loss_more(fitted):
    for threshold in (0.2, 0.5, 1.5, 3.0):
        for share in (0.0, 0.5, 0.99):
            losses = torch.linspace(0.0, 4.0, 81)
            z = _mentor_net.features(losses, threshold, torch.zeros(81), share)
            weights = fitted[0].weights(z)
            assert (weights.diff() <= 0.02).all()
            assert weights[0] > 0.9
            assert weights[losses > threshold + 0.5].max() < 0.1


def test_a_slope_is_learned_as_a_slope():
    torch.manual_seed(0)
    net = _mentor_net.Mentor()
    _mentor_net.fit_mentor(net, *table(slope=2.0), torch.Generator().manual_seed(0))
    z = _mentor_net.features(torch.tensor([1.0, 1.5, 2.0, 2.5, 3.5]), 1.0, torch.zeros(5), 0.5)
    assert net.weights(z).tolist() == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0], abs=0.1)


def test_the_table_does_not_depend_on_the_order_of_samples():
    losses = torch.rand(50, generator=torch.Generator().manual_seed(0))
    losses[3] = torch.nan
    there = _mentor_net.predefined_table(losses, 0.0, torch.Generator().manual_seed(1), 100)
    back = _mentor_net.predefined_table(losses.flip(0), 0.0, torch.Generator().manual_seed(1), 100)
    for a, b in zip(there, back, strict=True):
        assert torch.equal(a, b)
    assert torch.isfinite(there[0]).all()
    empty, _ = _mentor_net.predefined_table(torch.full((4,), torch.nan), 0.0, torch.Generator(), 10)
    assert torch.isfinite(empty).all()


def test_labels_are_looked_at_only_where_there_is_an_embedding_for_them():
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(2000, 4, generator=generator)
    z[:, 2] = torch.randint(2, (2000,), generator=generator).float()
    for classes, accuracy in ((2, 1.0), (1, 0.5)):
        torch.manual_seed(0)
        net = _mentor_net.Mentor(classes)
        _mentor_net.fit_mentor(net, z, z[:, 2], generator, steps=100)
        right = ((net.weights(z) > 0.5).float() == z[:, 2]).float().mean().item()
        assert right == pytest.approx(accuracy, abs=0.1)


def test_a_mentor_gives_no_weight_to_what_is_not_finite(fitted):
    z = _mentor_net.features(torch.tensor([0.1, torch.nan, torch.inf]), 1.0, torch.zeros(3), 0.5)
    assert fitted[0].weights(z)[1:].tolist() == [0, 0]
    assert math.isnan(_mentor_net.fit_mentor(_mentor_net.Mentor(), z[1:], torch.ones(2), torch.Generator()))


def test_a_mentor_survives_its_file(fitted, tmp_path):
    path = tmp_path / "mentor.safetensors"
    fitted[0].save(path)
    z, _ = table(rows=50)
    assert torch.equal(_mentor_net.Mentor.load(path).weights(z), fitted[0].weights(z))


def test_what_is_no_mentor_is_refused(tmp_path):
    path = tmp_path / "mentor.safetensors"
    with pytest.raises(InputError, match="cannot be read: No such file"):
        start(MentorNet(curriculum=str(path)))
    for make in (
        lambda: path.write_bytes(b"pickle"),
        lambda: _mentor_net.save_tensors(path, {}, "a", {}),
    ):
        make()
        with pytest.raises(InputError, match="is not a codivide mentor"):
            start(MentorNet(curriculum=str(path)))
    _mentor_net.Mentor(classes=7).save(path)
    with pytest.raises(InputError, match="7 classes, the data have 3"):
        start(MentorNet(curriculum=str(path)))
    for cls in FAMILY:
        with pytest.raises(InputError, match="is not predefined, learned or a"):
            cls(curriculum="oracle")


@pytest.mark.parametrize("cls", FAMILY)
def test_a_mentor_from_a_file_weighs_and_is_never_fitted(cls, fitted, tmp_path):
    path = tmp_path / "mentor.safetensors"
    fitted[0].save(path)
    problem = toys.toy(60)
    method = cls(curriculum=str(path), warmup=1, sample_dropout="0,100")
    run = train(method, problem.data, toys.build, toys.plan(4))
    for name, value in run.attached["mentor"].net.state_dict().items():
        assert torch.equal(value, fitted[0].state_dict()[name])
    batch, losses = next(run.batches()), torch.linspace(0, 3, 16)
    run.epoch, run.fraction = 2, 0.5
    now = _mentor_net.moving_percentile(float(run.memory[_mentor_net.THRESHOLD]), losses, method.percentile, 0.5)
    z = _mentor_net.features(losses, now, batch.y, 2.5 / 4)
    assert torch.equal(method.weights(run, batch, losses), fitted[0].weights(z))


def test_a_learned_mentor_is_fitted_after_burn_in_and_twice_again(monkeypatch):
    fits = []
    monkeypatch.setattr(_mentor_net, "fit_mentor", lambda net, z, v, generator: fits.append(run_epoch[0]) or 0.0)
    run_epoch = [0]
    for words, expected in (({}, [4, 15]), ({"warmup": 2}, [2, 4, 15]), ({"warmup": 6}, [6, 15])):
        fits.clear()
        method = MentorNet(curriculum="learned", **words)
        run = start(method, epochs=20)
        run.remember(_mentor_net.LOSSES).fill_(1.0)
        for epoch in range(20):
            run.epoch = run_epoch[0] = epoch
            method.prepare(run)
        assert fits == expected


@pytest.mark.parametrize("cls", FAMILY)
def test_resume_of_a_learned_curriculum_is_the_straight_run(cls, tmp_path, monkeypatch):
    fit = _mentor_net.fit_mentor
    monkeypatch.setattr(_mentor_net, "fit_mentor", lambda *words: fit(*words, steps=20))

    class Stop(Exception):
        pass

    def stop(run):
        if run.epoch == 3:
            raise Stop

    def go(watch=None, path=None, resume=False):
        method = cls(curriculum="learned", warmup=1, percentile=None)
        return train(
            method,
            toys.toy(60).data,
            toys.build,
            toys.plan(5),
            watch=watch,
            checkpoint=path and Checkpoint(path, resume=resume),
        )

    path = tmp_path / "run.safetensors"
    straight = go()
    with pytest.raises(Stop):
        go(stop, path)
    resumed = go(None, path, resume=True)
    assert toys.same(toys.state(straight), toys.state(resumed)) == []
    for name, value in straight.attached["mentor"].net.state_dict().items():
        assert torch.equal(value, resumed.attached["mentor"].net.state_dict()[name])
    assert "mentor_error" in straight.history[1]


def test_a_mentor_is_fitted_to_a_run_whose_truth_is_known(tmp_path):
    problem = toys.toy(240, 0.4)
    truth = problem.truth.clone()
    truth[:12] = -1
    recorder = _mentor_net.Recorder(truth)
    train(MentorNet(), problem.data, toys.build, toys.plan(6), watch=recorder)
    assert [len(part) for part in recorder.tables] == [228] * 6
    assert [round(float(part[0, 3]), 3) for part in recorder.tables] == [round(k / 6, 3) for k in range(6)]
    for part in recorder.tables:
        assert float(part[0, 0] - part[0, 1]) == pytest.approx(np.percentile(part[:, 0].numpy(), 75), abs=0.2)
        assert torch.allclose(part[:, 0] - part[:, 1], part[0, 0] - part[0, 1], atol=1e-5)
    assert torch.equal(recorder.targets[0], (problem.data.y == problem.truth)[12:].float())
    net = recorder.fit(steps=300)
    path = tmp_path / "mentor.safetensors"
    net.save(path)
    other = toys.toy(240, 0.4, seed=5)
    run = train(MentorNet(curriculum=str(path)), other.data, toys.build, toys.plan(6))
    z = _mentor_net.features(
        run.memory[_mentor_net.LOSSES], float(run.memory[_mentor_net.THRESHOLD]), other.data.y, 0.9
    )
    weights, wrong = net.weights(z), other.data.y != other.truth
    assert weights[~wrong].mean() > weights[wrong].mean() + 0.6


def test_a_recorder_says_what_it_needs():
    problem = toys.toy(60)
    with pytest.raises(InputError, match="remembers no losses"):
        train(CrossEntropy(), problem.data, toys.build, toys.plan(1), watch=_mentor_net.Recorder(problem.truth))
    with pytest.raises(InputError, match="nothing was recorded"):
        _mentor_net.Recorder(problem.truth).fit()


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_partners_are_drawn_by_the_softmax_of_the_weights(temperature):
    method = MentorMix(temperature=temperature)
    weights = torch.tensor([0.0, 1.0, 0.5, 1.0, 0.2])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([method.partners(weights, generator) for _ in range(6000)])
    exponents = [math.exp(w / temperature) for w in weights.tolist()]
    for k in range(5):
        expected = exponents[k] / sum(exponents)
        assert (drawn == k).float().mean().item() == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 30_000))


def test_a_low_temperature_draws_only_trusted_partners():
    method = MentorMix(temperature=0.01)
    weights = (torch.arange(64) % 4 == 0).float()
    assert (method.partners(weights, torch.Generator()) % 4 == 0).all()


def test_mixed_losses_are_those_of_the_formula():
    method = MentorMix(alpha=2.0)
    run = start(method)
    batch = next(run.batches())
    weights = torch.linspace(0, 1, 16)
    state = run.gen.get_state()
    partner = method.partners(weights, run.gen)
    larger = [mixmatch.mix_share(2.0, run.gen) for _ in range(16)]
    run.gen.set_state(state)
    x, expected = batch.x[0].numpy(), []
    mixed, target = np.zeros_like(x), np.zeros((16, 3))
    for i in range(16):
        j, v = int(partner[i]), float(weights[i])
        share = v * max(larger[i], 1 - larger[i]) + (1 - v) * min(larger[i], 1 - larger[i])
        mixed[i] = share * x[i] + (1 - share) * x[j]
        target[i, batch.y[i]] += share
        target[i, batch.y[j]] += 1 - share
    with torch.no_grad():
        log_p = torch.log_softmax(run.nets[0](torch.tensor(mixed)), 1).numpy()
    expected = [-(target[i] * log_p[i]).sum() for i in range(16)]
    assert method.mixed_losses(run, batch, weights).tolist() == pytest.approx(expected, rel=1e-4)


def test_without_mixing_a_trusted_sample_is_itself_and_another_is_its_partner():
    method = MentorMix(alpha=0.0)
    run = start(method)
    batch = next(run.batches())
    plain = functional.sample_loss(run.logits(0, batch.x[0]), batch.y)
    assert torch.allclose(method.mixed_losses(run, batch, torch.ones(16)), plain, atol=1e-5)
    state = run.gen.get_state()
    partner = method.partners(torch.zeros(16), run.gen)
    run.gen.set_state(state)
    other = functional.sample_loss(run.logits(0, batch.x[0][partner]), batch.y[partner])
    assert torch.allclose(method.mixed_losses(run, batch, torch.zeros(16)), other, atol=1e-5)


@pytest.mark.parametrize("second", [True, False])
def test_mixed_samples_are_weighted_again_by_a_percentile_of_their_own(second, monkeypatch):
    method = MentorMix(second_weighting=second, warmup=0)
    run = start(method, batch_size=120)
    mixed, steps = torch.linspace(0.1, 6.0, 120, requires_grad=True), []
    monkeypatch.setattr(MentorMix, "mixed_losses", lambda *words: mixed)
    monkeypatch.setattr(run, "update", lambda loss, *nets: steps.append(loss.item()))
    method.epoch(run)
    values = mixed.detach().numpy()
    kept = values[values < np.percentile(values, 70)] if second else values
    assert steps == [pytest.approx(kept.sum() / 120, rel=1e-4)]
    threshold = float(run.memory[_mentor_net.THRESHOLD + ".mixed"])
    assert threshold == pytest.approx(np.percentile(values, 70), rel=1e-4) if second else math.isnan(threshold)
    assert float(run.memory[_mentor_net.THRESHOLD]) != threshold


def test_the_losses_that_weigh_carry_no_gradient_and_the_mixed_ones_do():
    method = MentorMix()
    run = start(method)
    batch = next(run.batches())
    loss = method.mixed_losses(run, batch, torch.ones(16)).mean()
    assert loss.requires_grad
    before = run.nets[0][0].weight.clone()
    method.epoch(run)
    assert int(run.nets[0][1].num_batches_tracked) == 1 + 2 * 8  # twice a step
    assert not torch.equal(before, run.nets[0][0].weight)


def test_soft_losses_are_cross_entropies_and_their_mean_is_soft_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 4, generator=generator)
    target = torch.softmax(torch.randn(7, 4, generator=generator), 1)
    p = torch.softmax(logits, 1).numpy()
    expected = [-sum(target[b, c].item() * math.log(p[b, c]) for c in range(4)) for b in range(7)]
    assert functional.soft_cross_entropies(logits, target).tolist() == pytest.approx(expected, rel=1e-5)
    mean = functional.soft_cross_entropy(logits, target)
    assert torch.allclose(functional.soft_cross_entropies(logits, target).mean(), mean)


@pytest.mark.parametrize("cls", FAMILY)
@pytest.mark.parametrize("words", [{"percentile": 1.5}, {"percentile_decay": 1.0}, {"slope": -1.0}, {"warmup": -1}])
def test_values_out_of_range_are_refused(cls, words):
    with pytest.raises(InputError):
        cls(**words)


def test_both_are_known_by_name():
    assert {METHODS[name] for name in ("mentornet", "mentormix")} == set(FAMILY)
