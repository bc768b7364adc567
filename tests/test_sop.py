"""SOP and SOP+: the loss, the gradients of u and v, and what a step changes, against the paper written plainly."""

import math

import numpy as np
import pytest
import torch

from codivide import Run, train
from codivide.methods.sop import SOP
from codivide.methods.sop_plus import SOPPlus
from codivide.training import targets
from codivide.training.run import Method
from tests import toys

both = pytest.mark.parametrize("cls", [SOP, SOPPlus])


def start(method, problem=None, **settings) -> Run:
    problem = problem or toys.toy()
    run = Run(method, problem.data, toys.build, toys.plan(**settings), torch.device("cpu"), "fp32")
    method.start(run)
    for net in run.nets:
        net[3].p = 0.0
    return run


def draw(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_noise(u, v, y):
    s = np.zeros(v.shape)
    for b in range(len(v)):
        for c in range(v.shape[1]):
            s[b, c] = min(u[b, 0] ** 2, 1) if c == y[b] else -min(v[b, c] ** 2, 1)
    return s


def naive_fit(logits, s, y):
    total = []
    for b in range(len(s)):
        p = np.exp(logits[b] - logits[b].max())
        shifted = np.maximum(p / p.sum() + s[b], 1e-4)
        total.append(-math.log(shifted[y[b]] / shifted.sum()))
    return np.array(total)


@pytest.mark.parametrize("scale", [1e-8, 0.4, 3.0])
def test_the_noise_and_its_cross_entropy_are_the_equations(scale):
    u, v, logits = draw(6, 1, scale=scale), draw(6, 4, seed=1, scale=scale), draw(6, 4, seed=2, scale=2.0)
    y = torch.tensor([0, 1, 2, 3, 1, 1])
    given = targets.one_hot(y, 4).double()
    noise = targets.label_noise(u, v, given)
    expected = naive_noise(u.numpy(), v.numpy(), y.tolist())
    assert np.allclose(noise.numpy(), expected, atol=1e-12)
    assert (noise.abs() <= 1).all()
    fit = targets.noisy_cross_entropy(logits, noise, given)
    assert np.allclose(fit.numpy(), naive_fit(logits.numpy(), expected, y.tolist()), rtol=1e-5)


def test_without_noise_it_is_cross_entropy_and_with_u_at_one_the_label_is_explained():
    logits, given = draw(5, 3), targets.one_hot(torch.arange(5) % 3, 3).double()
    plain = targets.noisy_cross_entropy(logits, torch.zeros(5, 3), given)
    assert torch.allclose(plain.float(), targets.sample_loss(logits, torch.arange(5) % 3), atol=1e-5)
    explained = targets.label_noise(torch.ones(5, 1), torch.ones(5, 3), given)
    assert targets.noisy_cross_entropy(logits, explained, given).max() < 1e-3
    assert targets.noisy_cross_entropy(logits, explained, torch.zeros(5, 3)).tolist() == [0] * 5


def test_gradients_of_the_noise_terms():
    given = targets.one_hot(torch.tensor([0, 2]), 3).double()
    u, v = draw(2, 1, scale=0.3).requires_grad_(), draw(2, 3, seed=1, scale=0.3).requires_grad_()
    assert torch.autograd.gradcheck(lambda u, v: targets.label_noise(u, v, given), (u, v))
    logits = draw(2, 3, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(  # the loss is float32 inside, so the steps are wide and the tolerance loose
        lambda noise: targets.noisy_cross_entropy(logits.detach(), noise, given),
        (0.05 * draw(2, 3, seed=5).abs().requires_grad_(),),
        eps=1e-3,
        atol=1e-2,
    )
    targets.noisy_cross_entropy(1e4 * logits, targets.label_noise(u, v, given), given).sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in (logits, u, v))


def test_a_step_moves_u_by_the_cross_entropy_and_v_by_the_squared_error():
    """Against the closed form: d CE / d u = 2 u (1/sum - 1/(p_y + u^2)), d MSE / d v_j = -4 v_j (hard_j - v_j^2)."""
    method = SOP(lr_u=0.7, lr_v=1.3)
    run = start(method, epochs=1)
    u, v = run.remember("u"), run.remember("v")
    u.copy_(draw(120, 1, seed=4, scale=0.2).float())
    v.copy_(draw(120, 3, seed=5, scale=0.2).float())
    old_u, old_v = u.clone().numpy(), v.clone().numpy()
    batch = next(iter(run.batches()))
    run.batches = lambda where, views: iter([batch])
    with torch.no_grad():
        p = torch.softmax(run.nets[0].train()(batch.x[0]), 1).double().numpy()
    run.nets[0][1].reset_running_stats()
    method.epoch(run)
    size = len(batch.id)
    for b, i in enumerate(batch.id.tolist()):
        y, hard = int(batch.y[b]), int(p[b].argmax())
        shifted = [p[b, c] + (old_u[i, 0] ** 2 if c == y else -(old_v[i, c] ** 2)) for c in range(3)]
        floored = [max(value, 1e-4) for value in shifted]
        slope = 2 * old_u[i, 0] * (1 / sum(floored) - 1 / floored[y]) / size
        assert u[i, 0].item() == pytest.approx(old_u[i, 0] - 0.7 * slope, abs=1e-5)
        for c in range(3):
            error = (c == hard) - old_v[i, c] ** 2
            slope = 0 if c == y else 2 * error * (-2 * old_v[i, c]) / size
            assert v[i, c].item() == pytest.approx(old_v[i, c] - 1.3 * slope, abs=1e-5)
    others = torch.ones(120, dtype=torch.bool)
    others[batch.id] = False
    assert np.array_equal(u[others], old_u[others])
    assert np.array_equal(v[others], old_v[others])


def test_the_network_learns_from_the_cross_entropy_alone():
    method = SOP()
    run = start(method)
    run.remember("u").fill_(0.3)
    run.remember("v").fill_(0.2)
    batch = next(run.batches())
    u, v = run.remember("u")[batch.id], run.remember("v")[batch.id]
    net = run.nets[0]
    given = targets.one_hot(batch.y, 3)
    fit = targets.noisy_cross_entropy(net(batch.x[0]), targets.label_noise(u, v, given), given).mean()
    expected = torch.autograd.grad(fit, list(net.parameters()))
    got = torch.autograd.grad(method.noise_loss(run, batch, u, v), list(net.parameters()))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(got, expected, strict=True))


@both
def test_a_loss_that_is_not_finite_changes_nothing(cls):
    method = cls()
    run = start(method)
    before = run.remember("u").clone(), run.remember("v").clone()
    with torch.no_grad():
        run.nets[0][4].bias.fill_(torch.nan)
    with pytest.warns(UserWarning, match="not finite"):
        method.epoch(run)
    assert run.skipped_updates == run.step > 0
    assert torch.equal(run.remember("u"), before[0])
    assert torch.equal(run.remember("v"), before[1])


@both
def test_u_and_v_stay_where_their_gradient_lives(cls):
    method = cls(lr_u=1e4, lr_v=1e4, init=0.5)
    run = start(method)
    method.epoch(run)
    assert run.remember("v").abs().max() == 1
    assert run.remember("u").abs().max() <= 1


def test_the_start_scales_with_the_length_of_the_run():
    paper = SOP().first_value(start(SOP(), epochs=300, batch_size=128))
    assert paper == pytest.approx(1e-8)
    assert SOP().first_value(start(SOP(), epochs=900, batch_size=128)) == pytest.approx(1e-8)
    assert SOP().first_value(start(SOP(), epochs=150, batch_size=128)) == pytest.approx(1e-4)
    assert SOP().first_value(start(SOP(), epochs=1)) == 0.1
    run = start(SOP(init=0.01))
    assert set(run.remember("u").flatten().tolist()) == set(run.remember("v").flatten().tolist())
    assert run.remember("v")[0].tolist() == pytest.approx([0.01] * 3)


def test_sop_plus_adds_consistency_and_balance():
    run = start(SOPPlus())
    batch = next(run.batches(views=("weak", "strong")))
    u, v = run.remember("u")[batch.id], run.remember("v")[batch.id]
    with torch.no_grad():
        p = torch.softmax(run.nets[0](torch.cat(batch.x)), 1).double().numpy()
        plain, consistent, balanced = (
            SOPPlus(consistency=c, balance=b).noise_loss(run, batch, u, v).item() for c, b in ((0, 0), (1, 0), (0, 1))
        )
    divergence = np.mean([sum(p[b, c] * math.log(p[b, c] / p[b + 16, c]) for c in range(3)) for b in range(16)])
    mean = p[:16].mean(0)
    assert consistent - plain == pytest.approx(divergence, rel=1e-3)
    assert balanced - plain == pytest.approx(sum(math.log(1 / 3 / m) / 3 for m in mean), rel=1e-2)
    s = naive_noise(u.numpy(), v.numpy(), batch.y.tolist())
    fit = naive_fit(np.log(p[:16]), s, batch.y.tolist())
    error = [np.sum((np.eye(3)[p[b].argmax()] + s[b] - np.eye(3)[batch.y[b]]) ** 2) for b in range(16)]
    assert plain == pytest.approx(np.mean(fit) + np.mean(error), rel=1e-4)


def test_the_weak_view_gives_no_gradient_to_the_consistency():
    weak, strong = draw(4, 3).requires_grad_(), draw(4, 3, seed=1).requires_grad_()
    loss = targets.prediction_kl(weak, strong)
    loss.backward()
    assert weak.grad is None
    assert strong.grad.abs().sum() > 0
    assert targets.prediction_kl(weak, weak).item() == pytest.approx(0, abs=1e-7)


def test_samples_without_a_label_have_no_noise_and_serve_the_consistency_only():
    problem = toys.toy(90, unlabelled=30)
    for cls, seen in ((SOP, 60), (SOPPlus, 90)):
        method = cls()
        run = start(method, problem)
        assert int(method.learned_from(run).sum()) == seen
        before = run.remember("v").clone()
        method.epoch(run)
        assert torch.equal(run.remember("v")[60:], before[60:])
        assert not torch.equal(run.remember("v")[:60], before[:60])


@both
def test_the_noise_finds_wrong_labels(cls):
    problem = toys.toy(150)
    run = train(cls(), problem.data, toys.build, toys.plan(12))
    wrong = problem.data.y != problem.truth
    mass = run.remember("v").square().sum(1)
    assert mass[wrong].mean() > 0.8
    assert mass[~wrong].mean() < 0.3


@both
def test_clean_prob_is_the_geometric_mean_of_the_mixture_and_of_what_no_noise_explains(cls):
    problem = toys.toy(60, unlabelled=12)
    run = train(cls(), problem.data, toys.build, toys.plan(3))
    mixture = Method.clean_prob(run.method, run)[:48].numpy()
    run.remember("u")[0], run.remember("u")[1] = 1.0, 0.0
    u = run.remember("u")[:48, 0].numpy()
    found = run.method.clean_prob(run)
    assert found[48:].isnan().all()
    assert np.allclose(found[:48].numpy(), np.sqrt(mixture * (1 - u**2)), atol=1e-5)
    assert found[0] == 0
