"""What makes features of texts or images, as models and readers see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from codivide.core.files import cache_root
from codivide.data.rows import Rows

Takes = Literal["text", "image", "table"]


@dataclass(frozen=True)
class Encoding:
    """How an encoder works, apart from what it makes of a sample.

    Attributes:
        device: where its network runs: "auto", "cpu", "cuda", ...
        cache: the folder in which features are kept.
        cache_limit: bytes; a larger table of features stays on disk and is mapped instead of read.
        progress: show a progress bar, or a line now and then.
        foreseen: told once, after a first part, how many seconds the encoding will take; not where it is in the cache.
    """

    device: str = "auto"
    cache: Path = field(default_factory=cache_root)
    cache_limit: int = 4 * 2**30
    progress: bool = False
    foreseen: Callable[[float], None] | None = None


class Encoder(Protocol):
    """What makes features of texts or images, and is saved with the model.

    Attributes:
        name: as the user wrote it, such as "tfidf:char".
        takes: "text" (a list of them), "image" (rows of images) or "table" (a data frame).
        shape: of the images that it was made for, ``(channels, height, width)``; new files are read in this shape. Of
            texts empty.
    """

    name: str
    takes: Takes
    shape: tuple[int, ...]

    def encode(self, samples: Any, how: Encoding | None = None) -> Rows:
        """Rows ``[N, D]`` of texts ``[N]``, or of rows of images ``[N, C, H, W]``."""

    def header(self) -> dict[str, Any]:
        """JSON values that its kind needs to restore it, besides its name."""

    def tensors(self) -> dict[str, Tensor]:
        """Tensors that its kind needs to restore it."""


@dataclass(frozen=True)
class EncoderKind:
    """What one line of ``ENCODERS`` says of an encoder or of a family of them.

    Attributes:
        takes: "text", "image" or "table".
        make: the encoder of a name, fitted on the training samples where it has to be: texts, or rows of images.
        restore: the encoder of a name, a header and tensors as it gave them; KeyError where something is missing.
        ready: opens what an encoder of this name and a device needs; InputError where that is not to be had.
        install: the commands that install what it needs besides codivide; empty: nothing.
        rests: what may stand behind a colon in its name: "" for nothing, "NAME" for anything, else a word.
    """

    takes: Takes
    make: Callable[[str, Any], Encoder]
    restore: Callable[[str, Mapping[str, Any], Mapping[str, Tensor]], Encoder]
    ready: Callable[[str, str], object] = lambda name, device: None
    install: str = ""
    rests: tuple[str, ...] = ("",)

    def allows(self, rest: str) -> bool:
        """Whether a name of this kind may end so."""
        return rest in self.rests or (rest != "" and "NAME" in self.rests)


class Taking(Protocol):
    """A saved model: what it takes."""

    encoder: Encoder | None
    columns: tuple[str, ...] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample: ``(channels, height, width)`` or ``(features,)``."""

    @property
    def dtype(self) -> torch.dtype:
        """Of a raw row: uint8 or float32."""
