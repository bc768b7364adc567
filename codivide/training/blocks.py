"""The parts that networks are made of: blocks of layers, and the whole in stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn


class StagedNet(nn.Module):
    """Stages, pooling and a linear head.

    Attributes:
        stages: the body; the stem is ``stages[0]``.
        pool: the last stage's output to ``[B, F]``.
        head: dropout and one linear layer, ``[B, F] -> [B, classes]``.
    """

    def __init__(self, stages: Sequence[nn.Module], pool: nn.Module, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.stages = nn.Sequential(*stages)
        self.pool = pool
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))

    def features(self, x: Tensor) -> Tensor:
        """What the head sees, ``[B, F]``."""
        pooled: Tensor = self.pool(self.stages(x))
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[B, classes]``, float32 under autocast too."""
        logits: Tensor = self.head(self.features(x))
        return logits.float()


#: What the shortcut of a ``PreActBlock`` carries; papers and their codes differ. "by_shape": the input, or before a
#: convolution the pre-activated input; "active": always the pre-activated input; "input": always the input.
Carried = Literal["by_shape", "active", "input"]


class PreActBlock(nn.Module):
    """BN, activation, conv, BN, activation, conv, plus a shortcut (He et al. 2016, "Identity mappings").

    Where the shape changes, or with ``projects``, the shortcut is a bare 1x1 convolution of what it carries.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int = 1,
        slope: float = 0.0,
        *,
        carried: Carried = "by_shape",
        projects: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.act = activation(slope)
        same = stride == 1 and inputs == width and not projects
        self.shortcut = None if same else nn.Conv2d(inputs, width, 1, stride, bias=False)
        self.carries_active = carried == "active" or (carried == "by_shape" and not same)
        self.dropout = 0.0  # between the convolutions; see ``preact_resnet18_dropout``

    def forward(self, x: Tensor) -> Tensor:
        """``[B, inputs, H, W] -> [B, width, H / stride, W / stride]``."""
        active = self.act(self.norm1(x))
        kept = active if self.carries_active else x
        kept = kept if self.shortcut is None else self.shortcut(kept)
        hidden = self.act(self.norm2(self.conv1(active)))
        if self.dropout:
            hidden = nn.functional.dropout(hidden, self.dropout, self.training)
        out: Tensor = self.conv2(hidden) + kept
        return out


class PaddedBlock(nn.Module):
    """A pre-activation block without a weight in its shortcut: MentorNet's (Jiang et al. 2018, published code).

    Where the shape changes, the shortcut is averaged over ``stride x stride`` pixels and gets channels of zeros, half
    of them on each side.

    Args:
        inputs: channels.
        width: channels of the output; an even number more than ``inputs``.
        stride: of the first convolution.
        first: the first block of the network: ReLU before BN there, and the shortcut carries the result.
    """

    def __init__(self, inputs: int, width: int, stride: int = 1, *, first: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.act = nn.LeakyReLU(0.1)
        self.first = first
        self.more = (width - inputs) // 2
        self.halve = nn.AvgPool2d(stride, ceil_mode=True)  # whole where the published images of 32 pixels are

    def forward(self, x: Tensor) -> Tensor:
        """``[B, inputs, H, W] -> [B, width, H / stride, W / stride]``."""
        active = self.norm1(self.act(x)) if self.first else self.act(self.norm1(x))
        kept = active if self.first else x
        if self.more:
            kept = nn.functional.pad(self.halve(kept), (0, 0, 0, 0, self.more, self.more))
        out: Tensor = self.conv2(self.act(self.norm2(self.conv1(active)))) + kept
        return out


class BasicBlock(nn.Module):
    """Conv, BN, ReLU, conv, BN, plus the input, ReLU (He et al. 2015); the shortcut is a 1x1 conv and BN."""

    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.first = conv_norm_act(inputs, width, 3, stride, 1)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != width:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, inputs, H, W] -> [B, width, H / stride, W / stride]``."""
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


class DenseLayer(nn.Module):
    """BN, ReLU, 1x1 conv to ``4 * growth``, BN, ReLU, 3x3 conv to ``growth``, appended to the input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth),
            nn.ReLU(inplace=True),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[B, inputs, H, W] -> [B, inputs + growth, H, W]``."""
        return torch.cat([x, self.body(x)], 1)


class AirGroup(nn.Module):
    """Conv, max-pool by 2, BN, GELU, conv, BN, GELU (Jordan 2024)."""

    def __init__(self, inputs: int, width: int, *, ceil: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2, ceil_mode=ceil)
        self.norm1 = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """``[B, inputs, H, W] -> [B, width, H / 2, W / 2]``."""
        halved = self.act(self.norm1(self.pool(self.first(x))))
        out: Tensor = self.act(self.norm2(self.second(halved)))
        return out


class Residual(nn.Module):
    """The input plus what ``body`` makes of it."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, H, W] -> [B, C, H, W]``."""
        out: Tensor = x + self.body(x)
        return out


def activation(slope: float) -> nn.Module:
    """ReLU, or leaky ReLU of this slope."""
    return nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)


def conv3(inputs: int, width: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution, BN, ReLU."""
    return conv_norm_act(inputs, width, 3, stride, 1)


def conv_norm_act(
    inputs: int, width: int, kernel: int, stride: int, padding: int, *, slope: float = 0.0, bias: bool = False
) -> nn.Sequential:
    """A convolution, BN, and ReLU or leaky ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, width, kernel, stride, padding, bias=bias), nn.BatchNorm2d(width), activation(slope)
    )


def average() -> nn.Sequential:
    """The mean over all pixels: ``[B, C, H, W] -> [B, C]``."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
