"""A trained classifier: the networks that vote, what they expect as input, and the class names; one file on disk."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from codivide.core.device import autocast, computes_bf16
from codivide.core.errors import InputError, either
from codivide.core.files import reading
from codivide.data import encode, encoder
from codivide.data.own import Own
from codivide.data.rows import Rows
from codivide.data.sources import rows_for_model
from codivide.data.views import ViewSpec
from codivide.methods.features import number_model, tag_heads
from codivide.methods.features.model import KIND, FeatureModel
from codivide.methods.features.number_model import NumberModel
from codivide.methods.features.own import KIND as OWN
from codivide.methods.features.own import SKOPS
from codivide.methods.features.tag_heads import TagModel
from codivide.runs.folder import MODEL
from codivide.training import model_file, nets
from codivide.training.model_file import Classifier
from codivide.training.own_net import OwnNet, as_net, code_of, is_own


@dataclass(eq=False)  # two are the same where they are one
class Model:
    """Networks whose mean logits classify.

    Attributes:
        members: one or more networks of the same kind.
        net: the name that ``nets.build`` knows, or that of a network of the user's own (``own:...``).
        shape: of one sample, ``(channels, height, width)`` or ``(features,)``.
        dtype: of the raw rows, uint8 or float32.
        classes: class values in the user's own type.
        views: how raw rows become inputs.
        precision: in which the networks run.
        encoder: what makes rows of texts or images, where something does.
        columns: names of the features of a table, where they have some.
        net_code: what tells the file that ``net`` names from what it was before an edit; None: no file is named.
    """

    members: list[nn.Module]
    net: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    classes: tuple[Any, ...]
    views: ViewSpec
    precision: Literal["bf16", "fp32"] = "fp32"
    encoder: encoder.Encoder | None = None
    columns: tuple[str, ...] | None = None
    net_code: str | None = None

    def __repr__(self) -> str:
        networks = self.net if len(self.members) == 1 else f"{len(self.members)} networks {self.net}"
        return f"Model({networks}, samples {self.shape}, {len(self.classes):,} classes)"

    @torch.no_grad()
    def batches(self, rows: Rows, batch_size: int = 256) -> Iterator[Tensor]:
        """Mean logits ``[B, C]`` of the members on one batch of raw rows after the other, float32 on their device.

        The published numbers sum the logits of both networks; the mean has the same largest entry.
        """
        device = next(self.members[0].parameters()).device
        plain = self.views.views()["plain"]
        generator = torch.Generator()  # "plain" draws nothing from it
        modes = [member.training for member in self.members]
        for member in self.members:
            member.eval()
        try:
            for ids in torch.split(torch.arange(len(rows)), batch_size):
                x = plain(rows[ids].to(device), generator)
                with autocast(self.precision, device):
                    votes = [member(x).float() for member in self.members]
                yield torch.stack(votes).mean(0)
        finally:
            for member, mode in zip(self.members, modes, strict=True):
                member.train(mode)

    def logits(self, rows: Rows, batch_size: int = 256) -> Tensor:
        """Mean logits ``[N, C]`` of the members on raw rows, float32 on the CPU."""
        parts = [part.cpu() for part in self.batches(rows, batch_size)]
        return torch.cat(parts) if parts else torch.zeros(0, len(self.classes))

    def probs(self, rows: Any, batch_size: int = 256) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Class probabilities ``[N, C]``: the softmax of the mean logits; rows sum to 1.

        Takes raw rows, or samples as in ``fit``.
        """
        return torch.softmax(self.logits(rows_for_model(rows, self), batch_size).double(), 1).numpy()

    def to(self, device: torch.device) -> Model:
        """Move the networks; returns the model itself."""
        for member in self.members:
            member.to(device)
        return self

    def save(self, path: str | Path) -> None:
        """Write everything ``load`` needs to one safetensors file, atomically."""
        tensors = {"views.mean": self.views.mean, "views.std": self.views.std}
        tensors |= {} if self.views.bounds is None else {"views.bounds": self.views.bounds}
        for i, member in enumerate(self.members):
            tensors |= {f"member.{i}.{name}": value for name, value in member.state_dict().items()}
        encoder, more = encode.save(self.encoder)
        tensors |= more
        header = {
            "net": self.net,
            "shape": self.shape,
            "dtype": str(self.dtype).removeprefix("torch."),
            "augment": self.views.augment,
            "size": self.views.size,
            "precision": self.precision,
            "members": len(self.members),
            "encoder": encoder,
            "columns": self.columns,
            "net_code": self.net_code,
        }
        model_file.write(path, tensors, header, self.classes)

    @classmethod
    def load(cls, path: Path, device: torch.device | None = None) -> Model:
        """Read saved networks.

        Raises:
            InputError: as ``load``; also a classifier without networks.
        """
        model = load(path, device)
        if not isinstance(model, cls):
            raise InputError(f"{path} holds heads on features and no network; read it with codivide.load_model")
        return model


#: Models that predict something else than one class, by the kind that their file names.
TARGETS: dict[str, type[NumberModel] | type[TagModel]] = {number_model.KIND: NumberModel, tag_heads.KIND: TagModel}


def load_any(
    path: str | Path,
    device: torch.device | None = None,
    *,
    net: str | Callable[[int], nn.Module] | None = None,
    encoder: Any = None,
) -> Classifier | NumberModel | TagModel:
    """Read a saved model of any kind: of classes, several labels a row, or numbers. It is ``codivide.load_model``.

    Args:
        path: a run folder, its ``model.safetensors``, or another file that ``save`` wrote.
        device: where networks go; None: the CPU, where heads on features stay in any case.
        net: what made the networks, where that was a function of the user's own, or ``FILE.py:NAME`` of one. The file
            of a model holds no code.
        encoder: what made features, where that was a function, a module or a fitted transformer of the user's own.

    Returns:
        A ``codivide.Model`` of networks or a ``codivide.FeatureModel``: ``probs(X)`` is ``[N, C]``, in the order of
        ``classes``. One of several labels a row has ``probs(X)``, too, ``[N, K]``; one of numbers ``predict(X)``.

    Raises:
        InputError: no such file, or not a model of this format; a pickle is refused, never opened. Networks of the
            user's own without ``net``, or with one that makes others. An encoder where it is known, or another one.

    Example:
        >>> import tempfile
        >>> from codivide import NoisyLabelClassifier, load_model
        >>> run = tempfile.mkdtemp() + "/run"
        >>> x, y = np.eye(2)[[0, 1] * 40] + 0.01 * np.arange(80)[:, None], ["cat", "dog"] * 40
        >>> _ = NoisyLabelClassifier("features", out=run).fit(x, y)
        >>> model = load_model(run)
        >>> model.classes, model.probs(x[:3]).shape
        (('cat', 'dog'), (3, 2))
    """
    path = Path(path) / MODEL if Path(path).is_dir() else Path(path)
    with reading(path):
        tensors, header = model_file.read(path)
        kind = TARGETS.get(str(header.get("kind")))
        target = None if kind is None else kind.of_file(tensors, header)
    model = load(path, device, net=net) if target is None else target
    if encoder is not None:
        if not isinstance(model.encoder, Own):
            raise InputError(f"{path} needs no encoder of your own: leave encoder out")
        model.encoder = model.encoder.again(encoder)
    return model


def load(
    path: str | Path,
    device: torch.device | None = None,
    *,
    net: str | OwnNet | Callable[[int], nn.Module] | None = None,
) -> Classifier:
    """Read a saved classifier; see ``load_any``.

    Raises:
        InputError: as ``load_any``; also a model of numbers or of several labels a row.
    """
    path = Path(path)
    device = device or torch.device("cpu")
    with reading(path):
        tensors, header = model_file.read(path)
        if header.get("kind") == KIND:
            return FeatureModel.of(tensors, header)
        if header.get("kind") in TARGETS:
            raise InputError(f"{path} predicts no classes ({header['kind']}); read it with codivide.load_model")
        if header.get("kind") == OWN:
            raise InputError(
                f"{path}: this run used a model of your own, {header.get('estimator')}, which is not kept without "
                f"pickle; fit it again, or open {SKOPS} with skops.io.load where that is beside it"
            )
        if net is not None and not is_own(header["net"]):
            raise InputError(f"{path} holds the network {header['net']!r}, which is known: leave net out")
        model = _networks(tensors, header, _maker(path, header, net))
    model.precision = "bf16" if header["precision"] == "bf16" and computes_bf16(device) else "fp32"
    return model.to(device)


def _maker(
    path: Path, header: Mapping[str, Any], net: str | OwnNet | Callable[[int], nn.Module] | None
) -> str | OwnNet:
    """What makes the networks of a file; InputError where that is the user's own, and not given."""
    name: str = header["net"]  # of another type it is no file of a model, which `reading` says
    if not is_own(name):
        return name
    if net is None:
        again = either("--net FILE.py:NAME takes it again", "codivide.load_model(path, net=...) takes it again")
        raise InputError(
            f"{path}: the network was made by a function of your own ({name}), which no file of the run holds: {again}"
        )
    given = as_net(net)
    if isinstance(given, str):
        raise InputError(f"{path}: its network was made by a function of your own ({name}), not by {given!r}")
    code, was = code_of(given).get("net_code"), header.get("net_code")
    if None not in (code, was) and code != was:
        warnings.warn(f"{given.name} was edited since {path} was written; predictions may not be its own", stacklevel=4)
    return given


def _networks(tensors: dict[str, Tensor], header: dict[str, Any], net: str | OwnNet) -> Model:
    """The networks in float32 on the CPU."""
    shape, classes = tuple(header["shape"]), tuple(header["classes"])
    scale = tensors["views.mean"], tensors["views.std"]
    views = ViewSpec(header["augment"], *scale, header.get("size"), tensors.get("views.bounds"))
    members: list[nn.Module] = []
    for i in range(header["members"]):
        with torch.random.fork_rng(devices=[]):  # building draws weights, which are replaced
            member = nets.build(net, views.shape_of(shape), len(classes), pretrained=False)
        prefix = f"member.{i}."
        state = {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
        try:
            member.load_state_dict(state)
        except RuntimeError as error:
            if isinstance(net, OwnNet):
                raise InputError(f"net {net} makes another network than that of the file: {error}") from error
            raise
        members.append(member.eval())
    if header["precision"] not in ("bf16", "fp32") or not members:
        raise ValueError("it names no precision that is known, or no network")
    model = Model(members, header["net"], shape, getattr(torch, header["dtype"]), classes, views)
    model.encoder = encode.restore(header.get("encoder"), tensors)
    model.columns = model_file.columns_of(header)
    model.net_code = header.get("net_code")
    return model
