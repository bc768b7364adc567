"""Whole networks beside their published definitions, restated in NumPy loops with the same weights, in float64."""

import numpy as np
import pytest
import torch

from codivide.training import nets

pytestmark = pytest.mark.long  # large networks in NumPy

EPS = 1e-5


class Restated:
    """The operations of the definitions; weights are looked up by the name they have in the network."""

    def __init__(self, net, training):
        self.weights = {name: value.detach().numpy() for name, value in net.state_dict().items()}
        self.training = training

    def conv(self, x, name, stride=1, pad=None):
        """Cross-correlation with zeros around the image, one kernel position after the other; plus a bias if any."""
        kernel = self.weights[f"{name}.weight"]
        pad = kernel.shape[2] // 2 if pad is None else pad
        wide = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        rows, columns = ((side - kernel.shape[2]) // stride + 1 for side in wide.shape[2:])
        out = np.zeros((len(x), len(kernel), rows, columns))
        for i in range(kernel.shape[2]):
            for j in range(kernel.shape[3]):
                seen = wide[:, :, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]
                out += np.einsum("bchw,oc->bohw", seen, kernel[:, :, i, j], optimize=True)
        return out + self.weights.get(f"{name}.bias", np.zeros(len(kernel)))[:, None, None]

    def norm(self, x, name):
        """Batch normalisation by the batch, or by what was recorded."""
        mean, variance = self.weights[f"{name}.running_mean"], self.weights[f"{name}.running_var"]
        if self.training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
        scale = self.weights[f"{name}.weight"] / np.sqrt(variance + EPS)
        shift = self.weights[f"{name}.bias"] - mean * scale
        return x * scale[:, None, None] + shift[:, None, None]

    def classify(self, x):
        """Mean over pixels, then the linear layer."""
        return x.mean((2, 3)) @ self.weights["head.1.weight"].T + self.weights["head.1.bias"]


def leaky(x, slope=0.0):
    return np.where(x < 0, slope * x, x)


def preact_resnet18(now, x):
    """Conv, BN, ReLU; 4 stages of 2 blocks; in EVERY block the shortcut starts from relu(bn1(x)); pooling, linear."""
    x = leaky(now.norm(now.conv(x, "stages.0.0"), "stages.0.1"))
    for stage in range(1, 5):
        for block in range(2):
            name = f"stages.{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            active = leaky(now.norm(x, f"{name}.norm1"))
            shortcut = now.conv(active, f"{name}.shortcut", stride) if stride == 2 else active
            hidden = leaky(now.norm(now.conv(active, f"{name}.conv1", stride), f"{name}.norm2"))
            x = now.conv(hidden, f"{name}.conv2") + shortcut
    return now.classify(x)


def preact_resnet32(now, x):
    """Conv; 3 stages of 5 blocks; the first shortcut of EVERY stage is a convolution of relu(bn1(x)), others are x."""
    x = now.conv(x, "stages.0")
    for stage in range(1, 4):
        for block in range(5):
            name = f"stages.{stage}.{block}" if stage < 3 else f"stages.{stage}.0.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            active = leaky(now.norm(x, f"{name}.norm1"))
            shortcut = now.conv(active, f"{name}.shortcut", stride) if block == 0 else x
            hidden = leaky(now.norm(now.conv(active, f"{name}.conv1", stride), f"{name}.norm2"))
            x = now.conv(hidden, f"{name}.conv2") + shortcut
    return now.classify(leaky(now.norm(x, "stages.3.1")))


def wrn_28_2(now, x):
    """Conv; 3 stages of 4 blocks; the very first shortcut starts from the activated input, all others from x."""
    x = now.conv(x, "stages.0")
    for stage in range(1, 4):
        for block in range(4):
            name = f"stages.{stage}.{block}" if stage < 3 else f"stages.{stage}.0.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            active = leaky(now.norm(x, f"{name}.norm1"), 0.1)
            kept = active if stage == 1 and block == 0 else x
            shortcut = now.conv(kept, f"{name}.shortcut", stride) if block == 0 else kept
            hidden = leaky(now.norm(now.conv(active, f"{name}.conv1", stride), f"{name}.norm2"), 0.1)
            x = now.conv(hidden, f"{name}.conv2") + shortcut
    return now.classify(leaky(now.norm(x, "stages.3.1"), 0.1))


def mentornet_resnet101(now, x):
    """Conv; 3 stages of 9 blocks; shortcuts without weights: means of 2 x 2 pixels, zeros for the new channels."""
    x = now.conv(x, "stages.0")
    for stage in range(1, 4):
        for block in range(9):
            name = f"stages.{stage}.{block}" if stage < 3 else f"stages.{stage}.0.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            if stage == 1 and block == 0:
                active = kept = now.norm(leaky(x, 0.1), f"{name}.norm1")
            else:
                active, kept = leaky(now.norm(x, f"{name}.norm1"), 0.1), x
            if stride == 2:
                kept = (kept[..., ::2, ::2] + kept[..., 1::2, ::2] + kept[..., ::2, 1::2] + kept[..., 1::2, 1::2]) / 4
            hidden = leaky(now.norm(now.conv(active, f"{name}.conv1", stride), f"{name}.norm2"), 0.1)
            out = now.conv(hidden, f"{name}.conv2")
            more = (out.shape[1] - kept.shape[1]) // 2
            x = out + np.pad(kept, ((0, 0), (more, more), (0, 0), (0, 0)))
    return now.classify(leaky(now.norm(x, "stages.3.1"), 0.1))


def cnn9(now, x):
    """Co-teaching: nine convolutions, each with BN and leaky ReLU, halved after three and six; the last unpadded."""
    for stage in range(3):
        for k in range(3):
            name = f"stages.{stage}.{k}"
            x = now.conv(x, f"{name}.0", pad=0 if stage == 2 else 1)
            x = leaky(now.norm(x, f"{name}.1"), 0.01)
        if stage < 2:
            x = np.maximum.reduce([x[..., i::2, j::2] for i in range(2) for j in range(2)])
    return now.classify(x)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("definition", [preact_resnet18, preact_resnet32, wrn_28_2, mentornet_resnet101, cnn9])
def test_the_whole_network_is_the_published_one(definition, training):
    torch.manual_seed(0)
    side = 28 if definition is cnn9 else 8
    net = nets.build(definition.__name__, (3, side, side), 10).double()
    for part in net.modules():  # as after training: nothing is 0 or 1
        if isinstance(part, torch.nn.BatchNorm2d):
            for value in (part.weight, part.bias, part.running_mean):
                torch.nn.init.normal_(value, 0.0 if value is not part.weight else 1.0, 0.2)
            torch.nn.init.uniform_(part.running_var, 0.5, 2.0)
    net.train(training)
    for part in net.modules():
        if isinstance(part, torch.nn.Dropout2d):
            assert part.p == 0.25
            part.p = 0.0  # it would draw
    x = torch.randn(4, 3, side, side, dtype=torch.float64)
    expected = definition(Restated(net, training), x.numpy())
    with torch.no_grad():
        seen = net.head(net.features(x)).numpy()  # ``forward`` rounds to float32
    assert np.abs(expected).mean() > 1e-3
    np.testing.assert_allclose(seen, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())
