"""What makes features of texts or images, as models and readers see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor

from codivide.core.files import cache_root
from codivide.data.rows import Rows


@dataclass(frozen=True)
class Encoding:
    """How an encoder works, apart from what it makes of a sample.

    Attributes:
        device: where its network runs: "auto", "cpu", "cuda", ...
        cache: the folder in which features are kept.
        cache_limit: bytes; a larger table of features stays on disk and is mapped instead of read.
        progress: show a progress bar, on a terminal only.
    """

    device: str = "auto"
    cache: Path = field(default_factory=cache_root)
    cache_limit: int = 4 * 2**30
    progress: bool = False


class Encoder(Protocol):
    """What makes features of texts or images, and is saved with the model."""

    name: str
    takes: Literal["text", "image"]

    def texts(self, texts: Sequence[str], how: Encoding | None = None) -> Rows:
        """Rows ``[N, D]`` of texts; InputError where it takes images."""

    def images(self, rows: Rows, how: Encoding | None = None) -> Rows:
        """Rows ``[N, D]`` of uint8 images; InputError where it takes texts."""

    def header(self) -> dict[str, Any]:
        """JSON values that ``restore`` needs."""

    def tensors(self) -> dict[str, Tensor]:
        """Tensors that ``restore`` needs."""
