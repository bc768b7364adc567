"""Networks by name: ``build(name, shape, classes) -> net``; the plain dict ``NETS`` lists them.

Every net here is a ``blocks.StagedNet``: ``stages`` one after another, ``pool``, then ``head``. A method that
mixes latent representations runs ``stages[:l]``, mixes, and goes on with ``stages[l:]``, ``pool`` and
``head``. Image nets take any number of channels and any size from 8 pixels on. Initial weights are drawn
from torch's global generator, which the engine seeds and restores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from codivide.core.errors import InputError, unknown
from codivide.data.efficientnet import efficientnet_lite0
from codivide.training.blocks import (
    AirGroup,
    BasicBlock,
    Carried,
    DenseLayer,
    PaddedBlock,
    PreActBlock,
    Residual,
    StagedNet,
    activation,
    average,
    conv3,
    conv_norm_act,
)
from codivide.training.layers import last_linear
from codivide.training.own_net import OwnNet, is_own
from codivide.training.timm_names import OTHERS, SMALLEST_IMAGE, packaged_size, read_name

_MLP_WIDTH = 256


def small_cnn(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """Eight convolutions with residual connections, 32 to 128 channels: quick on a CPU, 0.47 million parameters.

    The stem brings any image to 8 to 32 pixels a side: no stride up to 16 pixels, then 2, 4, 8, ... An image
    of 32 pixels leaves it at 16, which is what makes the net quick: a layer at full size costs more time in
    BatchNorm and ReLU than in its convolution. Channels are multiples of 32 for the bf16 kernels.
    """
    size = max(shape[1:])
    stride = 1
    while size // stride > (16 if stride == 1 else 32):
        stride *= 2
    if stride == 1:
        stem = conv_norm_act(shape[0], 32, 3, 1, 1)
    else:
        stem = conv_norm_act(shape[0], 32, 2 * stride, stride, stride // 2)
    stages = [
        nn.Sequential(stem, Residual(conv3(32, 32))),
        nn.Sequential(conv3(32, 64, 2), Residual(conv3(64, 64), conv3(64, 64))),
        nn.Sequential(conv3(64, 128, 2), Residual(conv3(128, 128), conv3(128, 128))),
    ]
    return StagedNet(stages, average(), 128, classes, dropout)


def airbench(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """After "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (Jordan 2024) at half its width: 0.48 million parameters.

    Two and a half times the work of ``small_cnn``, and more accurate. Its whitening, initial weights and
    frozen scales are left out, so that every optimizer here trains it. The stem brings an image to at most 32 pixels.
    """
    size = max(shape[1:])
    stride = 1
    while size // stride > 32:
        stride *= 2
    stem = nn.Sequential(nn.Conv2d(shape[0], 24, 2 * stride, stride, stride // 2), nn.GELU())
    small = min(shape[1:]) // stride < 16  # three halvings would leave nothing
    stages = [
        nn.Sequential(stem, AirGroup(24, 32, ceil=small)),
        AirGroup(32, 128, ceil=small),
        AirGroup(128, 128, ceil=small),
    ]
    return StagedNet(stages, nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()), 128, classes, dropout)


def cnn9(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """The 9-layer CNN of co-teaching (Han et al. 2018): leaky ReLU 0.01, dropout 0.25 after each pooling.

    Its last three convolutions are unpadded; they are padded here where an image under 28 pixels leaves
    no room.
    """
    padding = 0 if min(shape[1:]) // 4 >= 7 else 1

    def layer(inputs: int, width: int, padding: int = 1) -> nn.Sequential:
        return conv_norm_act(inputs, width, 3, 1, padding, slope=0.01, bias=True)

    stages = [
        nn.Sequential(layer(shape[0], 128), layer(128, 128), layer(128, 128), nn.MaxPool2d(2), nn.Dropout2d(0.25)),
        nn.Sequential(layer(128, 256), layer(256, 256), layer(256, 256), nn.MaxPool2d(2), nn.Dropout2d(0.25)),
        nn.Sequential(layer(256, 512, padding), layer(512, 256, padding), layer(256, 128, padding)),
    ]
    return StagedNet(stages, average(), 128, classes, dropout)


def preact_resnet18(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """The "PreAct ResNet-18" behind the tables of DivideMix, mixup and others: four stages of two blocks.

    64 to 512 channels. As in their published codes and unlike He et al. 2016, the stem is conv, BN and ReLU, no BN
    stands before the pooling, and every shortcut carries the pre-activated input, also where it is the identity.
    """
    stages: list[nn.Module] = [conv_norm_act(shape[0], 64, 3, 1, 1)]
    stages += _preact_stages(64, (64, 128, 256, 512), blocks=2, carried=("active",) * 4)
    return StagedNet(stages, average(), 512, classes, dropout)


def preact_resnet18_dropout(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """``preact_resnet18`` with its dropout in every block, between the convolutions, and none before the head.

    So it is in mixup's table of corrupted labels, after Zagoruyko and Komodakis 2016.
    """
    net = preact_resnet18(shape, classes, 0.0)
    for module in net.modules():
        if isinstance(module, PreActBlock):
            module.dropout = dropout
    return net


def preact_resnet32(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """Tanaka et al. 2018: three stages of five pre-activation blocks, 32, 64 and 128 channels, a last BN and ReLU.

    As in He et al. 2016, and unlike ``preact_resnet18``, an identity shortcut carries the input itself. As in the
    published code, the first block of every stage has a convolution in its shortcut, also where the shape stays, and
    weights are drawn by fan-in.
    """
    stages: list[nn.Module] = [nn.Conv2d(shape[0], 32, 3, padding=1, bias=False)]
    stages += _preact_stages(32, (32, 64, 128), blocks=5, project=True)
    stages[-1] = nn.Sequential(stages[-1], nn.BatchNorm2d(128), nn.ReLU(inplace=True))
    net = StagedNet(stages, average(), 128, classes, dropout)
    _draw_kernels(net, "fan_in")
    _draw_head(net, 128**-0.5)
    return net


def resnet18(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """ResNet-18 (He et al. 2015) for small images, with the stem of ``resnet34`` (ProMix)."""
    return _basic_resnet(shape, classes, dropout, (2, 2, 2, 2))


def resnet34(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """ResNet-34 (He et al. 2015) for small images: a 3x3 stem without stride and no max-pooling (ELR, SOP)."""
    return _basic_resnet(shape, classes, dropout, (3, 4, 6, 3))


def wrn_28_2(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """Wide ResNet-28-2 as semi-supervised learning uses it: leaky ReLU 0.1 (Oliver et al. 2018, MixMatch).

    As in MixMatch's code, the shortcut convolutions of the second and third stage take the input, that of the first the
    pre-activated input. Ours: batch normalisation with torch's momentum and epsilon (theirs .999 and .001), and strided
    convolutions pad both sides alike.
    """
    net = _wide_resnet(shape, classes, dropout, factor=2, slope=0.1, carried=("by_shape", "input", "input"))
    _draw_head(net, (2 / (128 + classes)) ** 0.5)
    return net


def wrn_28_10(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """Wide ResNet-28-10 (Zagoruyko and Komodakis 2016)."""
    return _wide_resnet(shape, classes, dropout, factor=10, slope=0.0)


def mentornet_resnet101(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """The "ResNet-101" of MentorNet's tables: a 3x3 stem, three stages of nine blocks, 160 to 640 channels.

    See ``PaddedBlock``; leaky ReLU 0.1, a last BN and leaky ReLU. Ours: batch normalisation with torch's epsilon, and
    strided convolutions pad both sides alike.
    """
    stages: list[nn.Module] = [nn.Conv2d(shape[0], 16, 3, padding=1, bias=False)]
    inputs = 16
    for i, width in enumerate((160, 320, 640)):
        blocks = [PaddedBlock(inputs, width, 1 if i == 0 else 2, first=i == 0)]
        blocks += [PaddedBlock(width, width) for _ in range(8)]
        stages.append(nn.Sequential(*blocks))
        inputs = width
    stages[-1] = nn.Sequential(stages[-1], nn.BatchNorm2d(inputs), nn.LeakyReLU(0.1))
    net = StagedNet(stages, average(), inputs, classes, dropout)
    _draw_kernels(net, "fan_out")
    _draw_head(net, inputs**-0.5)
    return net


def densenet_bc_190(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """DenseNet-BC-190 with growth 40 (Huang et al. 2017): three blocks of 31 layers, halved in between."""
    growth = 40
    depth = 31
    width = 2 * growth
    stages: list[nn.Module] = [nn.Conv2d(shape[0], width, 3, padding=1, bias=False)]
    for block in range(3):
        layers: list[nn.Module] = [DenseLayer(width + i * growth, growth) for i in range(depth)]
        width += depth * growth
        layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        if block < 2:
            layers += [nn.Conv2d(width, width // 2, 1, bias=False), nn.AvgPool2d(2)]
            width //= 2
        stages.append(nn.Sequential(*layers))
    return StagedNet(stages, average(), width, classes, dropout)


def mlp(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """Two hidden layers of 256 with BatchNorm and ReLU, for table rows; an image is flattened."""
    width = 1
    for extent in shape:
        width *= extent
    stages = [
        nn.Sequential(nn.Flatten(), *_dense(width)),
        nn.Sequential(*_dense(_MLP_WIDTH)),
    ]
    return StagedNet(stages, nn.Identity(), _MLP_WIDTH, classes, dropout)


def resnet50(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """Torchvision's ResNet-50 with random weights; for photos of about 224 pixels."""
    return _imagenet_resnet(shape, classes, dropout, (3, 4, 6, 3))


def resnet101(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """Torchvision's ResNet-101 with random weights; for photos of about 224 pixels."""
    return _imagenet_resnet(shape, classes, dropout, (3, 4, 23, 3))


def resnext101_32x4d(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """ResNeXt-101 32x4d (Xie et al. 2017) on torchvision's blocks, random weights."""
    return _imagenet_resnet(shape, classes, dropout, (3, 4, 23, 3), groups=32, group_width=4)


def resnext101_64x4d(shape: tuple[int, ...], classes: int, dropout: float) -> StagedNet:
    """ResNeXt-101 64x4d (Xie et al. 2017) on torchvision's blocks, random weights."""
    return _imagenet_resnet(shape, classes, dropout, (3, 4, 23, 3), groups=64, group_width=4)


#: Name -> constructor ``(shape, classes, dropout) -> net``; ``build`` knows ``timm:NAME[:pretrained][:SIZE]`` too.
NETS: dict[str, Callable[[tuple[int, ...], int, float], StagedNet]] = {
    "small_cnn": small_cnn,
    "airbench": airbench,
    "mlp": mlp,
    "cnn9": cnn9,
    "preact_resnet18": preact_resnet18,
    "preact_resnet18_dropout": preact_resnet18_dropout,
    "preact_resnet32": preact_resnet32,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "wrn_28_2": wrn_28_2,
    "wrn_28_10": wrn_28_10,
    "mentornet_resnet101": mentornet_resnet101,
    "densenet_bc_190": densenet_bc_190,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnext101_32x4d": resnext101_32x4d,
    "resnext101_64x4d": resnext101_64x4d,
}


def names() -> list[str]:
    """The names that ``build`` knows."""
    return [*NETS, *OTHERS]


def check_name(name: str) -> None:
    """InputError where a network's name means nothing; asked before any long work."""
    if is_own(name):
        raise InputError(f"net {name!r} is somebody's own: give it as FILE.py:NAME, or in Python as a function")
    if name.startswith("packaged:"):
        packaged_size(name)  # another name is refused
    elif name not in NETS and not name.startswith("timm:"):
        raise unknown("net", name, names())


def build(
    name: str | OwnNet, shape: tuple[int, ...], classes: int, dropout: float = 0.0, *, pretrained: bool = True
) -> nn.Module:
    """Make the net called ``name`` for samples of ``shape``.

    Args:
        name: a key of ``NETS``, or ``timm:NAME``; ``:pretrained`` and a size in pixels, to which images are brought,
            may follow (see ``timm_names.expected``). ``packaged:efficientnet-lite0`` is the network of the default
            encoder, with its weights. Or what makes a network of the user's own.
        shape: ``(channels, height, width)`` or ``(features,)`` of one sample.
        classes: number of logits.
        dropout: probability before the head, 0 to below 1.
        pretrained: False ignores ``:pretrained``, for a net whose weights are about to be loaded.

    Raises:
        InputError: an unknown name (the nearest is named), a net that does not fit the shape, or timm
        missing.
    """
    if not 0 <= dropout < 1:
        raise InputError(f"dropout is a probability from 0 to below 1, not {dropout}")
    if isinstance(name, OwnNet):
        if dropout:
            raise InputError(f"dropout is for codivide's own networks: give {name} its own, and leave dropout out")
        return name.build(classes)
    check_name(name)
    if name != "mlp":
        if len(shape) != 3:
            raise InputError(f"net {name!r} takes images, but a sample has shape {shape}; use 'mlp'")
        if min(shape[1:]) < SMALLEST_IMAGE:
            raise InputError(f"net {name!r} needs images of at least {SMALLEST_IMAGE} pixels a side, not {shape[1:]}")
    if name.startswith("packaged:"):
        if shape[0] != 3:
            raise InputError(f"net {name!r} takes images of 3 channels, but a sample has shape {shape}")
        return StagedNet([efficientnet_lite0(weights=pretrained)], nn.Identity(), 1280, classes, dropout)
    if name.startswith("timm:"):
        return _timm(name, shape, classes, dropout, pretrained=pretrained)
    return NETS[name](shape, classes, dropout)


def auto(shape: tuple[int, ...], device: torch.device | str) -> str:
    """The net for ``net="auto"``: ``mlp`` for features and tiny images, else what the device trains quickly.

    Without a GPU that is ``small_cnn``; with one, ``preact_resnet18`` up to 64 pixels and ``resnet50``
    beyond.
    """
    if len(shape) != 3 or min(shape[1:]) < SMALLEST_IMAGE:
        return "mlp"
    if torch.device(device).type == "cpu":
        return "small_cnn"
    return "preact_resnet18" if max(shape[1:]) <= 64 else "resnet50"


def _dense(inputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, _MLP_WIDTH, bias=False), nn.BatchNorm1d(_MLP_WIDTH), nn.ReLU(inplace=True)]


def _preact_stages(
    inputs: int,
    widths: Sequence[int],
    blocks: int,
    slope: float = 0.0,
    *,
    carried: Sequence[Carried] = (),
    project: bool = False,
) -> list[nn.Module]:
    """One ``nn.Sequential`` of ``blocks`` blocks per width; every stage but the first halves the image.

    ``carried`` says for each stage what its shortcuts carry; without it that goes by the shape. With ``project`` the
    first shortcut of every stage is a convolution, also where the shape stays.
    """
    stages: list[nn.Module] = []
    for i, width in enumerate(widths):
        kept = carried[i] if carried else "by_shape"
        first = PreActBlock(inputs, width, 1 if i == 0 else 2, slope, carried=kept, projects=project)
        others = (PreActBlock(width, width, 1, slope, carried=kept) for _ in range(blocks - 1))
        stages.append(nn.Sequential(first, *others))
        inputs = width
    return stages


def _wide_resnet(
    shape: tuple[int, ...],
    classes: int,
    dropout: float,
    factor: int,
    slope: float,
    *,
    carried: Sequence[Carried] = (),
) -> StagedNet:
    widths = [16 * factor, 32 * factor, 64 * factor]
    stages: list[nn.Module] = [nn.Conv2d(shape[0], 16, 3, padding=1, bias=False)]
    stages += _preact_stages(16, widths, blocks=4, slope=slope, carried=carried)
    stages[-1] = nn.Sequential(stages[-1], nn.BatchNorm2d(widths[-1]), activation(slope))
    net = StagedNet(stages, average(), widths[-1], classes, dropout)
    _draw_kernels(net, "fan_out")
    return net


def _draw_kernels(net: nn.Module, fan: Literal["fan_in", "fan_out"]) -> None:
    """Draw the convolutions from normal numbers of deviation ``sqrt(2 / fan)``, as published, unlike torch's default.

    A leaky slope does not count, as in the published codes.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=fan, nonlinearity="relu")


def _draw_head(net: StagedNet, deviation: float) -> None:
    """Draw the last layer from normal numbers, without a bias at first, where the published code is not in torch."""
    last = last_linear(net)
    nn.init.normal_(last.weight, std=deviation)
    nn.init.zeros_(last.bias)


def _basic_resnet(shape: tuple[int, ...], classes: int, dropout: float, depths: Sequence[int]) -> StagedNet:
    stages: list[nn.Module] = [conv_norm_act(shape[0], 64, 3, 1, 1)]
    inputs = 64
    for width, depth in zip((64, 128, 256, 512), depths, strict=True):
        first = BasicBlock(inputs, width, 1 if width == 64 else 2)
        stages.append(nn.Sequential(first, *(BasicBlock(width, width) for _ in range(depth - 1))))
        inputs = width
    return StagedNet(stages, average(), 512, classes, dropout)


def _imagenet_resnet(
    shape: tuple[int, ...],
    classes: int,
    dropout: float,
    layers: Sequence[int],
    *,
    groups: int = 1,
    group_width: int = 64,
) -> StagedNet:
    from torchvision.models.resnet import Bottleneck, ResNet  # half of the time that importing codivide would take

    body = ResNet(Bottleneck, list(layers), num_classes=1, groups=groups, width_per_group=group_width)
    if shape[0] != 3:
        body.conv1 = nn.Conv2d(shape[0], 64, 7, 2, 3, bias=False)
        nn.init.kaiming_normal_(body.conv1.weight, mode="fan_out", nonlinearity="relu")
    stem = nn.Sequential(body.conv1, body.bn1, body.relu, body.maxpool)
    stages = [stem, body.layer1, body.layer2, body.layer3, body.layer4]
    return StagedNet(stages, average(), 2048, classes, dropout)


def _timm(name: str, shape: tuple[int, ...], classes: int, dropout: float, *, pretrained: bool) -> StagedNet:
    """A timm body, without its head, as the only stage."""
    import timm  # it takes a second, which other networks need not

    asked = read_name(name)
    if not timm.is_model(asked.model):
        raise unknown("timm model", asked.model, timm.list_models())
    model = asked.model
    wanted: dict[str, Any] = {
        "pretrained": pretrained and asked.pretrained,
        "num_classes": 0,
        "in_chans": shape[0],
    }
    try:
        try:
            body = timm.create_model(model, img_size=shape[1:], **wanted)
        except TypeError:  # a convolutional model: any size, and no such argument
            body = timm.create_model(model, **wanted)
        # Asking the body itself is the one way to its width that all of timm's families agree on.
        with torch.no_grad():
            width = body.eval()(torch.zeros(1, *shape)).shape[1]
    except (AssertionError, OSError, RuntimeError) as error:
        raise InputError(f"net {name!r} cannot be made for samples of shape {shape}: {error}") from error
    return StagedNet([body.train()], nn.Identity(), width, classes, dropout)
