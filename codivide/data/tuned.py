"""An encoder of photos beside a copy of its network that was trained further, on the user's own labels.

A row has the features of the encoder and, behind them, the logarithms of the class probabilities of the copy. Its
weights are in the file of the model, and what it says of images is kept in the cache under a hash of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from codivide.core.device import resolve_device
from codivide.core.errors import InputError
from codivide.data.efficientnet import PIXELS, efficientnet_lite0, folded
from codivide.data.encoder import Encoder, EncoderKind, Encoding, Takes
from codivide.data.networks import ImageNet, Network, Opened
from codivide.data.rows import BesideRows, Rows
from codivide.data.views import ViewSpec

NAME = "efficientnet-lite0+tuned"
_WIDTH = 1280  # features that the head sees


class Tuned:
    """Features of the packaged network, and what its copy says of the classes.

    Args:
        features: the encoder of the features.
        net: the copy, a module with a ``body`` and a linear ``head``; it is not changed.
        side: at which the copy sees the images.
    """

    takes: Takes = "image"
    name = NAME

    def __init__(self, features: ImageNet, net: Copy, side: int) -> None:
        self.features, self.net, self.side, self.shape = features, net, side, features.shape
        told = sum_of(net)
        network = Network(partial(_open, net), partial(_version, told))
        self.said = ImageNet(f"fine-tuned network {told[:8]}", self.shape, network, side)

    def encode(self, samples: Rows, how: Encoding | None = None) -> Rows:
        """Dense rows ``[N, D + C]``, of which both parts are read from the cache where they are there."""
        return self.beside(self.features.encode(samples, how), samples, how)

    def beside(self, features: Rows, samples: Rows, how: Encoding | None = None) -> Rows:
        """The same of images whose features are here."""
        return BesideRows(features, self.said.encode(samples, how))

    def header(self) -> dict[str, Any]:
        """Shape of the images, the sides at which they are seen, and how many classes the copy knows."""
        return {**self.features.header(), "tuned_side": self.side, "classes": self.net.head.out_features}

    def tensors(self) -> dict[str, Tensor]:
        """The weights of the copy."""
        return dict(self.net.state_dict())


class Copy(nn.Module):
    """The packaged network with a linear head: logits ``[B, C]`` of images that are normalised.

    Args:
        body: gives ``[B, 1280]``.
        head: gives the logits.
    """

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[B, C]``."""
        logits: Tensor = self.head(self.body(x))
        return logits


def sum_of(net: nn.Module) -> str:
    """A hash of the weights of a network."""
    digest = hashlib.sha256()
    for name, value in net.state_dict().items():
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def views(side: int, augment: str = "none") -> ViewSpec:
    """How uint8 images become what the copy sees at a side."""
    shift, scale = (torch.full((3,), value / 255) for value in PIXELS)
    return ViewSpec(augment, shift, scale, side)


def beside_tuned(name: str, network: Network) -> EncoderKind:
    """The line of ``ENCODERS`` of a network and a copy of it that was trained further.

    Args:
        name: the encoder that the network is alone.
        network: the same.
    """

    def make(asked: str, rows: Rows) -> Encoder:
        raise InputError(
            f"encoder {asked!r} is made by a fit of photos that has a budget or a GPU: leave encoder out, and give a "
            "budget"
        )

    def restore(asked: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Tuned:
        features = ImageNet(name, tuple(header["shape"]), network, header["side"])
        net = Copy(efficientnet_lite0(weights=False), nn.Linear(_WIDTH, int(header["classes"])))
        net.load_state_dict({key: tensors[key] for key in net.state_dict()})
        return Tuned(features, net, int(header["tuned_side"]))

    return EncoderKind("image", make, restore, network.opened, network.install)


def _open(net: Copy, name: str, device: str, side: int | None) -> Opened:
    """What gives the logarithms of the class probabilities ``[B, C]`` of uint8 images ``[B, 3, H, W]``."""
    assert side is not None
    place, seen, draws = resolve_device(device), views(side), torch.Generator()
    ready = deepcopy(net).eval()
    ready.body = folded(ready.body)
    ready = ready.to(place).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def said(images: Tensor) -> Tensor:
        return torch.log_softmax(ready(seen.plain(images.to(place), draws)), 1).clone()

    return Opened.of_images(said, side, place)


def _version(told: str, name: str) -> list[str]:
    return [told]
