"""Robust and corrected losses against loops, limits, gradients and extreme logits; the methods that train on them."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from codivide import InputError, Run, TrainingWarning
from codivide.methods import METHODS
from codivide.training import losses
from tests import toys

SYMMETRIC = torch.full((4, 4), 0.1, dtype=torch.float64) + 0.6 * torch.eye(4, dtype=torch.float64)
SKEWED = torch.tensor(
    [[0.7, 0.3, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.1, 0.2, 0.6, 0.1], [0.25, 0.0, 0.25, 0.5]], dtype=torch.float64
)

LOSSES = {
    "gce": lambda z, y: losses.generalised_cross_entropy(z, y, 0.7),
    "mae": losses.absolute_error,
    "rce": losses.reverse_cross_entropy,
    "sce": lambda z, y: losses.symmetric_cross_entropy(z, y, 0.1, 1.0),
    "nce": losses.normalised_cross_entropy,
    "bi-tempered": lambda z, y: losses.bi_tempered(z, y, 0.8, 1.2),
    "bi-tempered, far": lambda z, y: losses.bi_tempered(z, y, 0.2, 4.0, 0.1),
    "bi-tempered, t1 = 1": lambda z, y: losses.bi_tempered(z, y, 1.0, 1.5, 0.1),
    "bi-tempered, t2 = 1": lambda z, y: losses.bi_tempered(z, y, 0.5, 1.0),
    "forward": lambda z, y: losses.forward_corrected(z, y, SKEWED),
    "backward": lambda z, y: losses.backward_corrected(z, y, torch.linalg.inv(SKEWED)),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def problem(batch: int = 7, classes: int = 4, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = scale * torch.randn(batch, classes, generator=generator, dtype=torch.float64)
    return logits, torch.arange(batch) % classes


def softmax(row: np.ndarray) -> np.ndarray:
    exps = np.array([math.exp(v) for v in row])
    return exps / exps.sum()


def rows():
    logits, labels = problem()
    return [(softmax(row), int(y)) for row, y in zip(logits.numpy(), labels, strict=True)]


def check(got: Tensor, expected: list[float]) -> None:
    assert got.shape == (len(expected),)
    assert got.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def ce(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits, labels, reduction="none")


def test_generalised_cross_entropy_is_the_equation_with_its_limits():
    logits, labels = problem()
    for q in (0.2, 0.7, 1.0):
        check(losses.generalised_cross_entropy(logits, labels, q), [(1 - p[y] ** q) / q for p, y in rows()])
    for q in (0.0, 1e-9):
        assert torch.allclose(losses.generalised_cross_entropy(logits, labels, q), ce(logits, labels), atol=1e-6)
    halved = losses.absolute_error(logits, labels) / 2
    assert torch.allclose(losses.generalised_cross_entropy(logits, labels, 1.0), halved)


def test_absolute_error_and_reverse_cross_entropy_are_the_equations():
    logits, labels = problem()
    one_hot = np.eye(4)
    check(losses.absolute_error(logits, labels), [sum(abs(p - one_hot[y])) for p, y in rows()])
    expected = [-sum(p[c] * (0.0 if c == y else -6.0) for c in range(4)) for p, y in rows()]
    check(losses.reverse_cross_entropy(logits, labels, -6.0), expected)


def test_symmetric_cross_entropy_is_the_weighted_sum():
    logits, labels = problem()
    expected = [-0.3 * math.log(p[y]) + 2 * 4 * (1 - p[y]) for p, y in rows()]
    check(losses.symmetric_cross_entropy(logits, labels, 0.3, 2.0), expected)
    assert torch.allclose(losses.symmetric_cross_entropy(logits, labels, 1.0, 0.0), ce(logits, labels))


def test_normalised_cross_entropy_is_the_equation():
    logits, labels = problem()
    expected = [math.log(p[y]) / sum(math.log(v) for v in p) for p, y in rows()]
    check(losses.normalised_cross_entropy(logits, labels), expected)


@pytest.mark.parametrize("name", ["mae", "rce", "nce"])
def test_a_symmetric_loss_sums_to_a_constant_over_the_labels(name):
    """What makes a loss robust to symmetric noise (Ghosh et al. 2017)."""
    logits, _ = problem()
    total = sum(LOSSES[name](logits, torch.full((7,), c)) for c in range(4))
    assert torch.allclose(total, total[0].expand(7))


def tempered_by_bisection(row: np.ndarray, t: float) -> np.ndarray:
    def exp_t(x: np.ndarray) -> np.ndarray:
        return np.maximum(1 + (1 - t) * x, 0) ** (1 / (1 - t))

    low, high = row.max(), row.max() + (len(row) ** (t - 1) - 1) / (t - 1)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if exp_t(row - middle).sum() > 1 else (low, middle)
    return exp_t(row - (low + high) / 2)


@pytest.mark.parametrize("t", [1.001, 1.2, 2.0, 4.0])
def test_tempered_softmax_is_normalised_and_agrees_with_bisection(t):
    for scale in (0.0, 1.0, 50.0):
        logits, _ = problem(scale=scale)
        got = losses.tempered_log_softmax(logits, t).exp()
        expected = np.stack([tempered_by_bisection(row, t) for row in logits.numpy()])
        assert got.numpy() == pytest.approx(expected, rel=1e-6, abs=1e-12)
    for scale in (1e-3, 1.0, 30.0, 1e4):
        for classes in (2, 10, 1000):
            many, _ = problem(20, classes, scale)
            total = losses.tempered_log_softmax(many.float(), t).exp().sum(1)
            assert torch.allclose(total, torch.ones(20), atol=2e-5), (scale, classes)


def test_tempered_softmax_tends_to_softmax():
    logits, _ = problem()
    expected = torch.log_softmax(logits, 1)
    assert torch.equal(losses.tempered_log_softmax(logits, 1.0), expected)
    assert torch.allclose(losses.tempered_log_softmax(logits, 1 + 1e-6), expected, atol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("t1", "t2"), [(0.8, 1.2), (0.0, 3.0), (0.5, 1.0), (1.0, 1.4)])
def test_bi_tempered_is_the_equation(t1, t2, smoothing):
    logits, labels = problem()

    def log_t(x: float) -> float:
        return math.log(x) if t1 == 1 else (x ** (1 - t1) - 1) / (1 - t1)

    expected = []
    for row, label in zip(logits.numpy(), labels.tolist(), strict=True):
        p = softmax(row) if t2 == 1 else tempered_by_bisection(row, t2)
        total = 0.0
        for c in range(4):
            y = 1 - smoothing if c == label else smoothing / 3
            total += (y * (log_t(y) - log_t(p[c])) if y else 0.0) - (y ** (2 - t1) - p[c] ** (2 - t1)) / (2 - t1)
        expected.append(total)
    got = losses.bi_tempered(logits, labels, t1, t2, smoothing)
    assert got.tolist() == pytest.approx(expected, rel=1e-7, abs=1e-9)
    assert (got >= -1e-12).all()


def test_bi_tempered_without_temperatures_is_cross_entropy():
    logits, labels = problem()
    assert torch.allclose(losses.bi_tempered(logits, labels, 1.0, 1.0), ce(logits, labels))
    assert torch.allclose(losses.bi_tempered(logits, labels, 1 - 1e-7, 1 + 1e-7), ce(logits, labels), atol=1e-4)


def test_bi_tempered_is_bounded_and_least_at_the_target():
    labels = torch.zeros(1, dtype=torch.int64)
    wrong = torch.tensor([[-1e6, 1e6, 0.0, 0.0]], dtype=torch.float64)
    assert losses.bi_tempered(wrong, labels, 0.8, 1.0).item() == pytest.approx(1 / 0.2 - (1 - 1) / 1.2)
    assert losses.bi_tempered(-wrong, labels, 0.8, 1.0).item() == pytest.approx(0.0, abs=1e-9)


def test_forward_is_the_equation_and_the_identity_gives_cross_entropy():
    logits, labels = problem()
    expected = [-math.log(sum(p[c] * float(SKEWED[c, y]) for c in range(4))) for p, y in rows()]
    check(losses.forward_corrected(logits, labels, SKEWED), expected)
    assert torch.allclose(losses.forward_corrected(logits, labels, torch.eye(4)), ce(logits, labels))


def test_backward_is_the_equation_and_the_identity_gives_cross_entropy():
    logits, labels = problem()
    inverse = torch.linalg.inv(SKEWED)
    expected = [sum(float(inverse[y, c]) * -math.log(p[c]) for c in range(4)) for p, y in rows()]
    check(losses.backward_corrected(logits, labels, inverse), expected)
    assert torch.allclose(losses.backward_corrected(logits, labels, torch.eye(4)), ce(logits, labels))


def test_what_can_never_be_given_costs_forward_a_finite_loss():
    never = torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # label 1 has a column of zeros
    logits = torch.zeros(1, 2).requires_grad_()
    loss = losses.forward_corrected(logits, torch.tensor([1]), never)
    assert loss.item() == pytest.approx(-math.log(1e-12), rel=1e-5)
    loss.sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_backward_has_a_minimum():
    inverse = torch.linalg.inv(SYMMETRIC)  # entries off the diagonal are negative
    logits = torch.tensor([[1e4, 0.0, 0.0, 0.0]])
    least = losses.backward_corrected(logits, torch.tensor([0]), inverse)
    assert least.item() == pytest.approx(float(inverse[0, 1:].sum()) * -math.log(1e-7), rel=1e-5)
    assert least < 0


@pytest.mark.parametrize("transition", [SYMMETRIC, SKEWED])
def test_backward_is_unbiased(transition):
    """The mean over the noisy labels of each true label is the cross-entropy on the true one (theorem 1)."""
    logits, truth = problem()
    inverse = torch.linalg.inv(transition)
    mean = torch.zeros(7, dtype=torch.float64)
    for given in range(4):
        mean += transition[truth, given] * losses.backward_corrected(logits, torch.full((7,), given), inverse)
    assert torch.allclose(mean, ce(logits, truth))


@pytest.mark.parametrize("transition", [SYMMETRIC, SKEWED])
@pytest.mark.parametrize("name", ["forward", "backward"])
def test_the_minimiser_under_noise_is_the_clean_posterior(name, transition):
    """For a sample of true class distribution q its labels follow q T; the best prediction is q (theorems 1 and 2)."""
    q = torch.tensor([0.5, 0.2, 0.05, 0.25], dtype=torch.float64)
    logits = q.log().unsqueeze(0).requires_grad_()
    labels = torch.arange(4)
    if name == "forward":
        values = losses.forward_corrected(logits.expand(4, 4), labels, transition)
    else:
        values = losses.backward_corrected(logits.expand(4, 4), labels, torch.linalg.inv(transition))
    (gradient,) = torch.autograd.grad(((q @ transition) * values).sum(), logits)
    assert gradient.abs().max() < 1e-12
    plain = ce(logits.expand(4, 4), labels)
    (gradient,) = torch.autograd.grad(((q @ transition) * plain).sum(), logits)
    assert gradient.abs().max() > 0.02  # cross-entropy is drawn to q T instead


@every_loss
def test_the_gradient_is_right(name):
    logits, labels = problem()
    assert torch.autograd.gradcheck(lambda z: LOSSES[name](z, labels), logits.requires_grad_())


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_give_finite_losses_and_gradients(name, dtype):
    logits = torch.tensor([[1e4, -1e4, 0, 0], [-1e4, 1e4, 0, 3], [0, 0, 0, 0], [1e4, 1e4, -1e4, 50]], dtype=dtype)
    for label in range(4):
        leaf = logits.clone().requires_grad_()
        values = LOSSES[name](leaf, torch.full((4,), label))
        assert values.dtype == torch.float32
        assert torch.isfinite(values).all()
        values.sum().backward()
        assert torch.isfinite(leaf.grad).all()
        assert leaf.grad.abs().max() < 20


@pytest.mark.parametrize(
    ("name", "most"),
    [("gce", 1 / 0.7), ("mae", 2), ("rce", 4), ("nce", 1), ("bi-tempered", 5), ("bi-tempered, t2 = 1", 2)],
)
def test_a_bounded_loss_reaches_its_bound_and_a_wrong_label_far_away_pulls_no_more(name, most):
    logits, labels = torch.tensor([[-60.0, 60.0, 0.0, 0.0]]).requires_grad_(), torch.zeros(1, dtype=torch.int64)
    loss = LOSSES[name](logits, labels)
    assert loss.item() <= most + 1e-6
    loss.sum().backward()
    near = torch.zeros(1, 4).requires_grad_()
    LOSSES[name](near, labels).sum().backward()
    assert logits.grad.norm() < near.grad.norm() / 10


# The methods


def start(method, **settings) -> Run:
    torch.manual_seed(0)
    run = Run(method, toys.toy().data, toys.build, toys.plan(**settings), torch.device("cpu"), "fp32")
    method.start(run)
    run.nets[0][3].p = 0.0
    return run


@pytest.mark.parametrize(
    ("name", "fields", "loss"),
    [
        ("gce", {"q": 0.4}, lambda z, y: losses.generalised_cross_entropy(z, y, 0.4)),
        ("sce", {"alpha": 2.0, "beta": 0.5, "log_zero": -7.0}, lambda z, y: 2 * ce(z, y) + 3.5 * (1 - own(z, y))),
        (
            "bi_tempered",
            {"t1": 0.3, "t2": 2.0, "smoothing": 0.1},
            lambda z, y: losses.bi_tempered(z, y, 0.3, 2.0, 0.1),
        ),
        (
            "active_passive",
            {"alpha": 3.0, "beta": 0.5, "log_zero": -2.0},
            lambda z, y: 3 * losses.normalised_cross_entropy(z, y) + (1 - own(z, y)),
        ),
        (
            "active_passive",
            {"passive": "mae", "beta": 0.5},
            lambda z, y: losses.normalised_cross_entropy(z, y) + (1 - own(z, y)),
        ),
    ],
)
def test_a_method_trains_on_its_loss_and_keeps_cross_entropy_for_detection(name, fields, loss):
    method = METHODS[name](**fields)
    run = start(method)
    batch = next(run.batches())
    got = method.loss(run, 0, batch)
    logits = run.nets[0](batch.x[0])
    assert got.item() == pytest.approx(loss(logits, batch.y).mean().item(), rel=1e-5)
    assert torch.allclose(run.remember("loss_sum")[batch.id], ce(logits, batch.y), atol=1e-5)
    assert run.remember("loss_count").sum() == 16


def own(logits: Tensor, labels: Tensor) -> Tensor:
    return torch.softmax(logits, 1).gather(1, labels.unsqueeze(1)).squeeze(1)


def test_gce_drops_the_labels_that_it_fits_worst():
    method = METHODS["gce"](k=0.3)
    run = start(method)
    with torch.no_grad():
        run.nets[0][4].weight.mul_(3)
    prob = run.measure(0, lambda logits, batch: own(logits, batch.y))
    method.prune(run)
    expected = prob >= 0.3
    assert 0 < expected.sum() < 120
    assert torch.equal(run.remember("kept") > 0, expected)
    batch = next(run.batches())
    got = method.loss(run, 0, batch)
    values = losses.generalised_cross_entropy(run.nets[0](batch.x[0]), batch.y, 0.7)
    assert got.item() == pytest.approx((values * expected[batch.id]).sum().item() / 16, rel=1e-5)


@pytest.mark.parametrize(
    ("fields", "epochs", "expected"),
    [
        ({"k": 0.5}, 24, [8, 10, 12, 14, 16, 18, 20, 22]),
        ({"k": 0.5, "prune_from": 1, "prune_every": 3}, 8, [1, 4, 7]),
        ({}, 8, []),
    ],
)
def test_gce_drops_labels_when_it_is_time(fields, epochs, expected, monkeypatch):
    method = METHODS["gce"](**fields)
    run = start(method, epochs=epochs)
    seen = []
    monkeypatch.setattr(type(method), "prune", lambda self, run: seen.append(run.epoch))
    monkeypatch.setattr(type(method), "fit_all", lambda *words: None)
    for run.epoch in range(epochs):
        method.epoch(run)
    assert seen == expected


def test_gce_never_loses_a_class():
    method = METHODS["gce"](k=1.0)
    run = start(method)
    with pytest.warns(TrainingWarning, match="would be dropped"):
        method.prune(run)
    assert run.remember("kept").all()


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("active_passive", {"passive": "mse"}),
        ("forward_correction", {"estimate": "anchors"}),
        ("gce", {"q": 1.5}),
        ("sce", {"log_zero": 0.0}),
        ("bi_tempered", {"t2": 0.5}),
    ],
)
def test_fields_without_a_meaning_are_refused(name, fields):
    with pytest.raises(InputError):
        METHODS[name](**fields)
