"""Every pure function against the equation written as loops, its limits and its gradient."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codivide.training import mixmatch
from codivide.training import targets as functional


def random_logits(batch: int = 5, classes: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(batch, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_probs(batch: int = 5, classes: int = 4, seed: int = 0) -> Tensor:
    return torch.softmax(random_logits(batch, classes, seed), 1)


def naive_softmax(row: np.ndarray) -> list[float]:
    exps = [math.exp(v) for v in row]
    return [e / sum(exps) for e in exps]


@given(
    st.lists(st.floats(0.01, 1), min_size=2, max_size=6),
    st.floats(0.1, 3),
)
@settings(max_examples=50, deadline=None)
def test_sharpen_is_the_equation(weights, temperature):
    probs = np.array(weights) / sum(weights)
    powered = [p ** (1 / temperature) for p in probs]
    expected = [p / sum(powered) for p in powered]
    got = functional.sharpen(torch.tensor(probs)[None], temperature)[0]
    assert got.tolist() == pytest.approx(expected, rel=1e-6)


def test_sharpen_limits():
    probs = torch.tensor([[0.1, 0.6, 0.3]])
    assert torch.allclose(functional.sharpen(probs, 1.0), probs)
    assert functional.sharpen(probs, 1e-3).tolist() == [[0, 1, 0]]
    one_hot = torch.tensor([[0.0, 1.0, 0.0]])
    assert torch.allclose(functional.sharpen(one_hot, 0.5), one_hot)
    assert torch.allclose(functional.sharpen(probs, 1e6), torch.full((1, 3), 1 / 3), atol=1e-5)


def test_mixup_is_the_equation_with_one_share_and_with_one_per_sample():
    x, targets = torch.randn(4, 2, 3), random_probs(4, 3).float()
    order = torch.tensor([2, 0, 3, 1])
    for share in (0.3, torch.tensor([0.1, 0.9, 0.5, 1.0])):
        mixed, mixed_target = functional.mixup(x, targets, share, order)
        for i in range(4):
            lam = share if isinstance(share, float) else float(share[i])
            j = int(order[i])
            assert torch.allclose(mixed[i], lam * x[i] + (1 - lam) * x[j], atol=1e-6)
            assert torch.allclose(mixed_target[i], lam * targets[i] + (1 - lam) * targets[j], atol=1e-6)


def test_mixup_limits():
    x, targets, order = torch.randn(3, 2), torch.eye(3), torch.tensor([1, 2, 0])
    assert torch.equal(functional.mixup(x, targets, 1.0, order)[0], x)
    assert torch.equal(functional.mixup(x, targets, 0.0, order)[0], x[order])


def test_soft_cross_entropy_is_the_equation_and_its_gradient_is_p_minus_q():
    logits, target = random_logits().requires_grad_(), random_probs(seed=1)
    loss = functional.soft_cross_entropy(logits, target)
    expected = 0.0
    for row, q in zip(logits.detach().numpy(), target.numpy(), strict=True):
        p = naive_softmax(row)
        expected -= sum(q[c] * math.log(p[c]) for c in range(len(q))) / len(logits)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    gradient = (torch.softmax(logits.detach(), 1) - target) / len(logits)
    assert torch.allclose(logits.grad, gradient, atol=1e-6)


def test_soft_cross_entropy_of_one_hot_targets_is_cross_entropy():
    logits, labels = random_logits().float(), torch.tensor([0, 1, 2, 3, 0])
    soft = functional.soft_cross_entropy(logits, functional.one_hot(labels, 4))
    assert torch.allclose(soft, torch.nn.functional.cross_entropy(logits, labels))
    assert torch.allclose(functional.sample_loss(logits, labels).mean(), soft)


def test_squared_error_is_the_equation():
    logits, target = random_logits(), random_probs(seed=1)
    expected = 0.0
    for row, q in zip(logits.numpy(), target.numpy(), strict=True):
        p = naive_softmax(row)
        expected += sum((p[c] - q[c]) ** 2 for c in range(4)) / 4 / len(logits)
    assert functional.squared_error(logits, target).item() == pytest.approx(expected, rel=1e-5)


def test_confidence_penalty_is_the_equation_and_its_limits():
    logits = random_logits()
    expected = np.mean([sum(p * math.log(p) for p in naive_softmax(row)) for row in logits.numpy()])
    assert functional.confidence_penalty(logits).item() == pytest.approx(expected, rel=1e-5)
    assert functional.confidence_penalty(torch.zeros(2, 4)).item() == pytest.approx(-math.log(4))
    certain = torch.tensor([[1000.0, 0.0, 0.0]])
    assert functional.confidence_penalty(certain).item() == pytest.approx(0)


def test_confidence_penalty_pulls_towards_uniform():
    logits = torch.tensor([[2.0, 0.0]], requires_grad=True)
    functional.confidence_penalty(logits).backward()
    assert logits.grad[0, 0] > 0 > logits.grad[0, 1]


def test_prior_kl_is_the_equation_and_zero_at_the_uniform_prior():
    probs = random_probs()
    mean = probs.numpy().mean(0)
    expected = sum(0.25 * math.log(0.25 / m) for m in mean)
    assert functional.prior_kl(probs).item() == pytest.approx(expected, rel=1e-6)
    assert functional.prior_kl(torch.eye(4)).item() == pytest.approx(0, abs=1e-6)
    assert math.isfinite(functional.prior_kl(torch.tensor([[1.0, 0.0, 0.0]])).item())


@given(st.floats(-5, 50), st.floats(0, 20), st.floats(0.5, 20))
@settings(deadline=None)
def test_ramp_rises_linearly_between_its_ends(epoch, start, length):
    value = functional.ramp(epoch, start, length)
    expected = 0 if epoch < start else 1 if epoch > start + length else (epoch - start) / length
    assert value == pytest.approx(expected)


def test_ramp_without_length_is_a_step():
    assert [functional.ramp(e, 3, 0) for e in (2.9, 3, 4)] == [0, 1, 1]


def test_missing_labels_have_no_loss_and_an_empty_target():
    labels = torch.tensor([-1, 2])
    losses = functional.sample_loss(torch.randn(2, 3), labels)
    assert losses[0] == 0
    assert losses[1] > 0
    assert functional.one_hot(labels, 3).tolist() == [[0, 0, 0], [0, 0, 1]]


def test_guess_is_the_sharpened_mean_over_all_views_and_nets():
    views = [random_probs(3, 4, seed) for seed in range(4)]
    got = mixmatch.guess(views, 0.5)
    for b in range(3):
        mean = [sum(float(v[b, c]) for v in views) / 4 for c in range(4)]
        expected = [m**2 / sum(k**2 for k in mean) for m in mean]
        assert got[b].tolist() == pytest.approx(expected, rel=1e-6)


def test_refine_is_the_equation():
    given_labels, clean = (
        torch.eye(4, dtype=torch.float64)[[1, 3]],
        torch.tensor([0.9, 0.2], dtype=torch.float64),
    )
    views = [random_probs(2, 4, seed) for seed in range(2)]
    got = mixmatch.refine(given_labels, clean, views, 0.5)
    for b in range(2):
        w = float(clean[b])
        mixed = [w * float(given_labels[b, c]) + (1 - w) * sum(float(v[b, c]) for v in views) / 2 for c in range(4)]
        expected = [m**2 / sum(k**2 for k in mixed) for m in mixed]
        assert got[b].tolist() == pytest.approx(expected, rel=1e-6)


def test_refine_keeps_a_trusted_label_and_replaces_a_distrusted_one():
    label, probs = torch.eye(3)[[0]], torch.tensor([[0.2, 0.7, 0.1]])
    assert torch.allclose(mixmatch.refine(label, torch.ones(1), [probs], 0.5), label)
    assert torch.allclose(mixmatch.refine(label, torch.zeros(1), [probs], 1.0), probs)


def test_targets_carry_no_gradient():
    logits = torch.randn(2, 3, requires_grad=True)
    probs = torch.softmax(logits, 1)
    assert not mixmatch.guess([probs], 0.5).requires_grad
    assert not mixmatch.refine(torch.eye(3)[:2], torch.rand(2), [probs], 0.5).requires_grad


@pytest.mark.parametrize("alpha", [0.1, 0.75, 4.0])
def test_mix_share_follows_the_folded_beta(alpha):
    generator = torch.Generator().manual_seed(0)
    shares = np.array([mixmatch.mix_share(alpha, generator) for _ in range(4000)])
    draws = np.random.default_rng(0).beta(alpha, alpha, 200_000)
    folded = np.maximum(draws, 1 - draws)
    assert shares.min() >= 0.5
    assert shares.max() <= 1
    assert shares.mean() == pytest.approx(folded.mean(), abs=0.01)
    assert shares.std() == pytest.approx(folded.std(), abs=0.01)


def test_mix_share_without_mixing_is_one():
    assert mixmatch.mix_share(0, torch.Generator()) == 1
    assert mixmatch.mix_share(1e-6, torch.Generator().manual_seed(0)) == pytest.approx(1)


def test_mixmatch_mixes_every_row_with_one_of_the_whole_batch():
    x_views = [torch.randn(3, 2) for _ in range(2)]
    u_views = [torch.randn(4, 2) for _ in range(2)]
    x_target, u_target = random_probs(3, 3).float(), random_probs(4, 3, 1).float()
    mixed = mixmatch.mixmatch(
        x_views, x_target, u_views, u_target, alpha=4.0, generator=torch.Generator().manual_seed(7)
    )
    generator = torch.Generator().manual_seed(7)
    share = mixmatch.mix_share(4.0, generator)
    order = torch.randperm(14, generator=generator)
    rows = torch.cat(x_views + u_views)
    targets = torch.cat([x_target, x_target, u_target, u_target])
    assert mixed.labelled == 6
    for i in range(14):
        j = int(order[i])
        assert torch.allclose(mixed.x[i], share * rows[i] + (1 - share) * rows[j], atol=1e-6)
        assert torch.allclose(mixed.target[i], share * targets[i] + (1 - share) * targets[j], atol=1e-6)
    assert torch.allclose(mixed.target.sum(1), torch.ones(14))


def test_a_wrong_event_is_a_prediction_that_is_not_the_label():
    logits, labels = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0], [0.0, 5.0, 3.0]]), torch.tensor([0, 1, 2])
    expected = [
        [float(max(range(3), key=row.__getitem__) != y), 1.0] for row, y in zip(logits.tolist(), [0, 1, 2], strict=True)
    ]
    assert functional.wrong_event(logits, labels).tolist() == expected == [[0, 1], [1, 1], [1, 1]]
