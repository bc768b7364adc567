"""Float images as the levels 0 to 255 that encoders of images see."""

from __future__ import annotations

import torch
from torch import Tensor

from codivide.core.errors import InputError
from codivide.data.rows import CHUNK, Rows, copy_to

WHITE = 255.0
SCALE = "images whose values are 0 to 255, or 0 to 1 as floats"
_OVER = 0.05  # of white, by which resized images may lie above it or below black
_BRIGHT = 128.0  # levels; a set of photos without one so bright has another scale


class LevelRows:
    """Float images as uint8; a batch is converted when it is asked for.

    Args:
        rows: float32 images ``[N, C, H, W]``.
        white: the value that is white: 1 or 255.
    """

    def __init__(self, rows: Rows, white: float) -> None:
        self.rows = rows
        self.white = white

    @property
    def shape(self) -> tuple[int, ...]:
        """``(channels, height, width)``."""
        return self.rows.shape

    @property
    def dtype(self) -> torch.dtype:
        """``torch.uint8``."""
        return torch.uint8

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, ids: Tensor) -> Tensor:
        return (self.rows[ids] * (WHITE / self.white)).round().clamp(0, WHITE).to(torch.uint8)

    def like(self, rows: Rows) -> LevelRows:
        """Other rows with the same white."""
        return LevelRows(rows, self.white)

    def to(self, device: torch.device) -> Rows:
        """The same rows on a CUDA ``device`` where they fit, else unchanged."""
        return copy_to(self, device)


def range_of(rows: Rows) -> tuple[float, float]:
    """The smallest and the largest value of all rows; holds one chunk at a time."""
    low, high = float("inf"), float("-inf")
    for ids in torch.split(torch.arange(len(rows)), CHUNK):
        least, most = rows[ids].aminmax()
        low, high = min(low, float(least)), max(high, float(most))
    return low, high


def as_levels(rows: Rows, *, dark: bool = False) -> Rows | None:
    """Images as uint8, or None where their values do not say what is black and what white.

    Floats up to 1 are shares of white, others are levels. Both may be exceeded by a twentieth, as resizing leaves them;
    but levels that are all dark may not be negative, as standardised values are.

    Args:
        rows: images ``[N, C, H, W]``, uint8 or float32.
        dark: whether levels may all be dark: a new image may be, where of the training images it is a sign of another
            scale.
    """
    if rows.dtype == torch.uint8:
        return rows
    low, high = range_of(rows)
    white = 1.0 if high <= 1 + _OVER else WHITE
    is_dark = white == WHITE and high < _BRIGHT
    under = _OVER if is_dark else _OVER * white
    if low < -under or high > (1 + _OVER) * white or (is_dark and not dark):
        return None
    return LevelRows(rows, white)


def seen_levels(rows: Rows, name: str) -> Rows:
    """New images ``[N, C, H, W]`` as uint8, for an encoder.

    Args:
        rows: the images.
        name: what to call them in a message.

    Raises:
        InputError: floats that do not say what is white.
    """
    found = as_levels(rows, dark=True)
    if found is None:
        raise InputError(f"the model takes {SCALE}; {unknown_scale(rows, name)}")
    return found


def unknown_scale(rows: Rows, name: str) -> str:
    """What is said of images whose values do not say what is white."""
    low, high = range_of(rows)
    return f"those of {name} are {low:.3g} to {high:.3g}"
