"""Texts or images to features by a network that somebody else trained and that stays as it is.

Features are kept in the cache under a hash of the samples' content, and a second run reads them back. On a CPU every
batch is small enough for the processor's own cache and runs on one thread, and several run at once: that is faster than
all threads on one large batch, other jobs hurt it less, and features do not depend on how many threads there are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codivide.core import cluster
from codivide.core.errors import InputError
from codivide.core.files import array_sum, atomic, let_go
from codivide.data.encoder import EncoderKind, Encoding, Takes
from codivide.data.progress import Working
from codivide.data.rows import MemmapRows, Rows, TensorRows
from codivide.data.scratch import as_rows, scratch

FORMAT = 3
_CHECK = struct.Struct("<L")  # behind the array: a checksum of it
_TEXTS = 64  # of a batch
_IN_CACHE = 8 * 128**2  # pixels of a batch on a CPU, whose activations stay in a core's cache
_ON_A_GPU = 256  # images of a batch

Features = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Opened:
    """A network that is ready.

    Attributes:
        features: from a list of texts, or uint8 images ``[B, C, H, W]``, to features ``[B, D]``.
        batch: samples that it takes at once.
        threads: how many batches run at the same time, each on one thread; 0: one after the other, on all threads.
    """

    features: Features
    batch: int = _TEXTS
    threads: int = 0

    @classmethod
    def of_images(cls, features: Features, side: int, device: torch.device) -> Opened:
        """The features of images that a network on the device sees at a side, in batches that suit it."""
        if device.type == "cpu":
            return cls(features, max(_IN_CACHE // side**2, 1), torch.get_num_threads())
        return cls(features, _ON_A_GPU)

    def over(self, parts: Iterable[Any]) -> Iterator[Tensor]:
        """Features of each part, in order; few parts wait, so that memory does not grow with their number."""
        if not self.threads:
            yield from map(self.features, parts)
            return
        before = torch.get_num_threads()
        waiting: deque[Future[Tensor]] = deque()
        try:
            with ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                for part in parts:
                    waiting.append(pool.submit(self.features, part))
                    if len(waiting) > 2 * self.threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
        finally:
            torch.set_num_threads(before)


@dataclass(frozen=True)
class Network:
    """Where a network comes from.

    Attributes:
        open: from the name of an encoder, a device and the side of images (None: the network's own) to what makes
            features; ModuleNotFoundError where a package is missing, InputError where the weights are.
        version: what the features of a name depend on besides it: versions of packages, or sizes and times of files.
        install: the commands that install what it needs beyond what codivide needs; empty: nothing.
        side: from the shape of images to the side at which it sees them; None: its own, whatever the images are.
    """

    open: Callable[[str, str, int | None], Opened]
    version: Callable[[str], list[str]]
    install: str = ""
    side: Callable[[Sequence[int]], int] | None = None

    def opened(self, name: str, device: str, side: int | None = None) -> Opened:
        """What makes features.

        Raises:
            InputError: a package or the weights are missing; it says how to get them.
        """
        try:
            return self.open(name, device, side)
        except ModuleNotFoundError as error:
            package = str(error.name).replace("_", "-")
            raise InputError(
                f"encoder {name!r} needs {error.name}: {self.install or f'pip install {package}'}"
            ) from error


class TextNet:
    """A text model of transformers: the mean of the last layer over the words, divided by its length.

    Args:
        name: such as "minilm" or "hf:NAME".
        network: what makes the features.
    """

    takes: Takes = "text"
    shape: tuple[int, ...] = ()

    def __init__(self, name: str, network: Network) -> None:
        self.name = name
        self.network = network

    def encode(self, samples: Sequence[str], how: Encoding | None = None) -> Rows:
        """Dense rows ``[N, D]``, read from the cache where the same texts were encoded before."""
        encoding = how or Encoding()

        def batches() -> Iterator[tuple[list[int], Tensor]]:
            net = self.network.opened(self.name, encoding.device)
            key = (self.name, encoding.device, None)
            # Texts of like length share a batch: padding costs as much as words.
            order = sorted(range(len(samples)), key=lambda row: (len(samples[row]), row))
            batched = [order[start : start + net.batch] for start in range(0, len(order), net.batch)]
            parts = ([samples[row] for row in rows] for rows in batched)
            yield from zip(batched, _over(self.network, net, key, parts), strict=True)

        digest = hashlib.sha256()
        for text in samples:
            coded = text.encode()
            digest.update(len(coded).to_bytes(8, "little") + coded)
        return _cached(self, digest, len(samples), batches, encoding)

    def header(self) -> dict[str, Any]:
        """Nothing: the network stays where it is."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """None."""
        return {}


class ImageNet:
    """A network for images; they are resized to its input and the centre is cropped.

    Args:
        name: such as "efficientnet-lite0" or "timm:NAME".
        shape: of the images that it was used on, ``(channels, height, width)``; new files are read in this shape.
        network: what makes the features.
        side: at which the network sees the images; None: its own.
    """

    takes: Takes = "image"

    def __init__(self, name: str, shape: tuple[int, ...], network: Network, side: int | None = None) -> None:
        self.name = name
        self.shape = shape
        self.network = network
        self.side = side

    def encode(self, samples: Rows, how: Encoding | None = None) -> Rows:
        """Dense rows ``[N, D]``, read from the cache where the same images were encoded before."""
        encoding = how or Encoding()

        def chunks(size: int) -> Iterator[Tensor]:
            yield from torch.split(torch.arange(len(samples)), size)

        def batches() -> Iterator[tuple[list[int], Tensor]]:
            net = self.network.opened(self.name, encoding.device, self.side)
            batched = list(chunks(net.batch))
            key = (self.name, encoding.device, self.side)
            found = _over(self.network, net, key, (samples[ids] for ids in batched))
            yield from ((ids.tolist(), part) for ids, part in zip(batched, found, strict=True))

        digest = hashlib.sha256(json.dumps([samples.shape, self.side]).encode())
        for ids in chunks(1024):
            digest.update(np.ascontiguousarray(samples[ids].cpu().numpy()).data)
        return _cached(self, digest, len(samples), batches, encoding)

    def header(self) -> dict[str, Any]:
        """Shape of the images, and the side at which they are seen."""
        return {"shape": list(self.shape), "side": self.side}

    def tensors(self) -> dict[str, Tensor]:
        """None."""
        return {}


_Key = tuple[str, str, int | None]  # name, device and side of a network
_opened: dict[_Key, Opened] = {}  # of a worker of a cluster, which encodes many batches


def _over(network: Network, net: Opened, key: _Key, parts: Iterable[Any]) -> Iterator[Tensor]:
    """Features of each part, in order, by the network that is open here, or by those of a cluster's workers."""
    return cluster.spread(partial(_encoded, network, key), parts) if cluster.is_there() else net.over(parts)


def _encoded(network: Network, key: _Key, part: Any) -> Tensor:
    """Features of a part on a worker, which opens the network once."""
    if key not in _opened:
        _opened[key] = network.opened(*key)
    (features,) = _opened[key].over([part])
    return features


def text_net(network: Network, *, rests: tuple[str, ...] = ("",)) -> EncoderKind:
    """The line of ``ENCODERS`` of a network for texts."""
    return EncoderKind(
        "text",
        lambda name, texts: TextNet(name, network),
        lambda name, header, tensors: TextNet(name, network),
        network.opened,
        network.install,
        rests,
    )


def image_net(network: Network, *, rests: tuple[str, ...] = ("",)) -> EncoderKind:
    """The line of ``ENCODERS`` of a network for images."""
    return EncoderKind(
        "image",
        lambda name, rows: ImageNet(name, rows.shape, network, network.side and network.side(rows.shape)),
        lambda name, header, tensors: ImageNet(name, tuple(header["shape"]), network, header.get("side")),
        network.opened,
        network.install,
        rests,
    )


def _cached(
    encoder: TextNet | ImageNet,
    digest: Any,
    count: int,
    batches: Callable[[], Iterator[tuple[list[int], Tensor]]],
    how: Encoding,
) -> Rows:
    """Features of a network, from the cache or computed and kept there.

    Args:
        encoder: what computes them.
        digest: of the content, to which the encoder's version is added.
        count: number of rows.
        batches: computes the features of one batch after the other; each says which rows it is of.
        how: where the cache is.
    """
    name = encoder.name
    digest.update(json.dumps([FORMAT, name, encoder.network.version(name)]).encode())
    path = how.cache / f"{digest.hexdigest()[:32]}.features.npy"
    kept = _read(path, count, how)
    if kept is not None:
        return kept
    with Working(f"encoding ({name})", count, shown=how.progress, foreseen=how.foreseen) as work:
        features = _gathered(name, count, batches(), how, work.advance)
    with contextlib.suppress(OSError):  # a full disk or a folder that cannot be written: the features are here anyway
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as aside, open(aside, "wb") as file:
            np.save(file, features, allow_pickle=False)
            file.write(_CHECK.pack(array_sum(features)))
    let_go(features)
    return as_rows(features)


def _gathered(
    name: str,
    count: int,
    batches: Iterator[tuple[list[int], Tensor]],
    how: Encoding,
    advance: Callable[[int], None],
) -> NDArray[Any]:
    """The features ``[N, D]`` of all batches: each is put in its place, and no second copy is made.

    Raises:
        InputError: features that are no numbers.
    """
    found: NDArray[Any] | None = None
    for rows, batch in batches:
        part = batch.float().cpu()
        bad = ~torch.isfinite(part).all(1)
        if bool(bad.any()):
            raise InputError(f"encoder {name!r} gives features of row {rows[int(bad.int().argmax())]} that are NaN")
        if found is None:
            found = scratch((count, part.shape[1]), np.float32, how)
        found[rows] = part.numpy()
        let_go(found)
        advance(len(part))
    assert found is not None
    return found


def _read(path: Path, count: int, how: Encoding) -> Rows | None:
    """Features that were kept, or None where there are none or they are damaged: they are computed again."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        with open(path, "rb") as file:
            file.seek(-_CHECK.size, os.SEEK_END)
            written = _CHECK.unpack(file.read())[0]
        whole = found.ndim == 2 and len(found) == count and found.dtype == np.float32
        whole = (
            whole and path.stat().st_size == found.offset + found.nbytes + _CHECK.size and array_sum(found) == written
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError, struct.error, AttributeError):
        whole = False
    if not whole:
        warnings.warn(f"the kept features {path} are damaged; they are computed again.", stacklevel=5)
        return None
    let_go(found)
    return MemmapRows(found) if found.nbytes > how.cache_limit else TensorRows(torch.from_numpy(np.array(found)))
