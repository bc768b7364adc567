"""Small pictures of samples as data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from codivide.data.rows import Rows

LARGE, SMALL = 96, 48  # longest side in pixels, of the sample in question and of an example beside it
_KEPT = 20_000  # pictures, some 50 MB


class Thumbnails:
    """Pictures of image rows, each made once where there are not very many.

    Args:
        rows: images ``[N, C, H, W]``, uint8 or float32.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self._made: dict[tuple[int, int], str] = {}

    def uri(self, row: int, side: int = LARGE) -> str:
        """``data:image/webp;base64,...`` of a row, at most ``side`` pixels wide and high, never enlarged."""
        key = row, side
        if len(self._made) > _KEPT:
            self._made.clear()
        if key not in self._made:
            self._made[key] = encode(self.rows[torch.tensor([row])][0].cpu(), side)
        return self._made[key]


def encode(pixels: Tensor, side: int) -> str:
    """WebP data URI of ``[C, H, W]`` pixels.

    uint8 is shown as it is. Floats are taken for 0 to 1 where they lie so, else their own range is spread. Of more than
    three channels (or of two) the first is shown in grey, but four are red, green, blue and alpha.
    """
    array = pixels.numpy()
    if array.dtype != np.uint8:
        low, high = (0.0, 1.0) if array.min() >= 0 and array.max() <= 1 else (float(array.min()), float(array.max()))
        array = np.rint((array - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
    if len(array) not in (3, 4):
        array = array[:1]
    image = Image.fromarray(array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))
    image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=85 if max(pixels.shape[1:]) <= SMALL else 70, method=2)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
