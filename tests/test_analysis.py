"""mixup's two diagnoses against models whose answers have a closed form."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from codivide import METHODS, InputError, Model, NoisyLabelClassifier
from codivide.data.rows import TensorRows
from codivide.data.views import ViewSpec
from codivide.runs import between


class NearestCentre(nn.Module):
    """Logits are minus the squared distances to the centres."""

    def __init__(self, centres):
        super().__init__()
        self.centres = nn.Parameter(centres)

    def forward(self, x):
        return -torch.cdist(x, self.centres).square()


def model(*members: nn.Module, features=2, classes=3) -> Model:
    views = ViewSpec("none", torch.zeros(features), torch.ones(features))
    return Model(list(members), "mlp", (features,), torch.float32, tuple(range(classes)), views)


def pair(a=0, b=1) -> between.Pairs:
    return between.Pairs(torch.tensor([a]), torch.tensor([b]))


def test_miss_region_of_nearest_centres():
    # The third centre lies at height h over the middle of the two others at (-1, 0) and (1, 0). On the line between
    # those, at x = 2 l - 1, it is nearer than the nearer end where x^2 + h^2 < (1 - |x|)^2, so |x| < (1 - h^2) / 2.
    h = 0.5
    centres = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, h]])
    lambdas = [k / 100 for k in range(101)]
    y = torch.tensor([0, 1, 2])
    found = between.diagnose(model(NearestCentre(centres)), TensorRows(centres), y, pair(), lambdas).miss_rate
    x = 2 * np.array(lambdas) - 1
    edge = (1 - h**2) / 2
    certain = np.abs(np.abs(x) - edge) > 1e-6
    assert found[certain].tolist() == (np.abs(x) < edge)[certain].astype(float).tolist()
    far = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0]])
    assert between.diagnose(model(NearestCentre(far)), TensorRows(far), y, pair()).miss_rate.max() == 0


def test_gradient_of_a_linear_softmax_model():
    # dL/dx = W' (p - target), for every pair and share by itself.
    torch.manual_seed(0)
    linear = nn.Linear(5, 4)
    x, y = torch.randn(30, 5), torch.arange(30) % 4
    pairs, lambdas = between.draw_pairs(y, 50), (0.0, 0.3, 1.0)
    subject, rows = model(linear, features=5, classes=4), TensorRows(x)
    found = between.diagnose(subject, rows, y, pairs, lambdas, batch_size=16)
    expected = np.zeros((3, 50))
    weight, bias = linear.weight.detach().double().numpy(), linear.bias.detach().double().numpy()
    for k, share in enumerate(lambdas):
        for n, (i, j) in enumerate(zip(*pairs, strict=True)):
            z = weight @ (share * x[i] + (1 - share) * x[j]).double().numpy() + bias
            p = np.exp(z - z.max())
            target = share * np.eye(4)[y[i]] + (1 - share) * np.eye(4)[y[j]]
            expected[k, n] = np.linalg.norm(weight.T @ (p / p.sum() - target))
    assert found.gradient_norm == pytest.approx(expected.mean(1), rel=1e-4, abs=1e-5)
    assert found.gradient_error == pytest.approx(expected.std(1) / np.sqrt(50), rel=1e-4, abs=1e-5)


def test_members_vote_with_their_mean_logits():
    torch.manual_seed(0)
    a, b, mean = nn.Linear(2, 3), nn.Linear(2, 3), nn.Linear(2, 3)
    with torch.no_grad():
        mean.weight.copy_((a.weight + b.weight) / 2)
        mean.bias.copy_((a.bias + b.bias) / 2)
    x, y = torch.randn(20, 2), torch.arange(20) % 3
    both = between.diagnose(model(a, b), TensorRows(x), y)
    one = between.diagnose(model(mean), TensorRows(x), y)
    assert both.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-5)
    assert both.miss_rate.tolist() == one.miss_rate.tolist()


def test_diagnose_is_both_with_errors_and_leaves_the_model_alone():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)).train()
    subject, rows, y = model(net), TensorRows(torch.randn(40, 2)), torch.arange(40) % 3
    before = {name: value.clone() for name, value in net.state_dict().items()}
    pairs = between.draw_pairs(y, 300, seed=3)
    found = between.diagnose(subject, rows, y, pairs, (0.0, 0.5), batch_size=7)
    whole = between.diagnose(subject, rows, y, pairs, (0.0, 0.5))
    assert found.miss_rate == pytest.approx(whole.miss_rate)
    assert found.miss_error == pytest.approx(np.sqrt(found.miss_rate * (1 - found.miss_rate) / 300))
    assert found.gradient_norm == pytest.approx(whole.gradient_norm, rel=1e-5)
    assert found.gradient_error == pytest.approx(whole.gradient_error, rel=1e-4)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_pairs_are_of_two_labelled_samples():
    y = torch.tensor([-1, 0, 1, -1, 2])
    first, second = between.draw_pairs(y, 200)
    assert set(first.tolist()) == {1, 2, 4} == set(second.tolist())
    assert not bool((first == second).any())
    assert all(torch.equal(a, b) for a, b in zip(between.draw_pairs(y, 9), between.draw_pairs(y, 9), strict=True))
    with pytest.raises(InputError, match="fewer than two"):
        between.draw_pairs(torch.tensor([-1, 0]))
    with pytest.raises(InputError, match="no label"):
        between.diagnose(model(nn.Linear(2, 3)), TensorRows(torch.randn(5, 2)), y, pair(0, 1))


def test_plot_draws_means_and_spread():
    def made(level, error=0.01):
        flat = np.ones(3)
        return between.Diagnosis(np.array([0, 0.5, 1]), level * flat, 10 * level * flat, error * flat, error * flat)

    figure = between.plot({"ERM": [made(0.2), made(0.4)], "mixup": made(0.1)})
    for axes, scale in zip(figure.axes, (100, 10), strict=True):
        erm, mixup = axes.lines
        assert (erm.get_label(), mixup.get_label()) == ("ERM", "mixup")
        assert list(erm.get_xdata()) == [0, 0.5, 1]
        assert list(erm.get_ydata()) == pytest.approx([0.3 * scale] * 3)
        assert list(mixup.get_ydata()) == pytest.approx([0.1 * scale] * 3)
        top = axes.collections[0].get_paths()[0].vertices[:, 1].max()
        assert top == pytest.approx((0.3 + np.std([0.2, 0.4], ddof=1)) * scale)
    with pytest.raises(InputError, match="no diagnosis"):
        between.plot({})


@pytest.mark.long
def test_it_takes_the_model_of_a_run_on_images():
    digits = load_digits()
    x = (digits.images[:200] * 15).astype(np.uint8)
    fit = NoisyLabelClassifier(METHODS["cross_entropy"](), net="mlp", epochs=2).fit(x, digits.target[:200])
    rows, y = TensorRows(torch.from_numpy(x).unsqueeze(1)), torch.from_numpy(digits.target[:200])
    found = between.diagnose(fit.model_, rows, y, between.draw_pairs(y, 40), (0.0, 0.5, 1.0))
    ends = between.draw_pairs(y, 40)
    wrong = fit.predict(x) != digits.target[:200]
    missed = wrong[ends.second.numpy()]  # at share 0 the sample is the second one, which may be taken for the first
    assert found.miss_rate[0] <= missed.mean()
    assert (found.gradient_norm > 0).all()
