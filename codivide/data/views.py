"""Views: batched functions ``(raw batch, generator) -> network input`` called "plain", "weak" and "strong".

A raw batch is uint8 images ``[B, C, H, W]`` (0 to 255), float32 images, or float32 features ``[B, D]``. A
view answers float32, normalised, images in channels_last memory format. The generator lives on the CPU:
every random number is drawn there and then moved to the batch's device, so that a CPU and a GPU see the
same views. No Python runs per sample; in the strong view each operation of RandAugment runs once, on the
samples that drew it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from codivide.core.device import onto
from codivide.core.errors import InputError
from codivide.data.rows import Rows
from codivide.data.standardised import far_out

View = Callable[[Tensor, torch.Generator], Tensor]

AUGMENTS = ("photo", "photo_one", "crop", "resized_crop", "shift", "jitter", "none")

_FLIPPED = ("photo", "photo_one", "crop", "resized_crop")  # the kinds for photos, of which half are mirrored
_CUT = ("crop", "resized_crop")  # those that leave seven eighths of a side, as 224 pixels of 256
_ROUNDS = 2  # RandAugment's N: operations per sample
_LEAST_AREA, _WIDEST = 0.08, 4 / 3  # of a resized crop: share of the image, and its width by its height
_WEAK_NOISE, _STRONG_NOISE, _STRONG_DROPOUT = 0.1, 0.2, 0.1
_LUMA = (0.299, 0.587, 0.114)
_FIT_ELEMENTS = 1 << 23  # values looked at at once while fitting: 32 MB as float32


@dataclass(frozen=True, eq=False)
class ViewSpec:
    """How raw rows become network inputs.

    Attributes:
        augment: "photo" (crop and flip), "photo_one" (as "photo", with one operation in strong views), "crop" (seven
            eighths of the side from anywhere, and flip), "resized_crop" (8 to 100 % of the image, brought to seven
            eighths of the side, and flip), "shift" (crop), "jitter" (feature noise) or "none".
        mean: ``[C]`` of images or ``[D]`` of features; of uint8 images after division by 255.
        std: the deviation, same shape and unit, never 0.
        size: height and width that images are brought to in the end; None: as they are.
        bounds: ``[2, D]``: raw features are cut to these, infinite for those without values far out; None: none is.
    """

    augment: str
    mean: Tensor
    std: Tensor
    size: int | None = None
    bounds: Tensor | None = None
    _scales: dict[tuple[torch.device, float], tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.augment not in AUGMENTS:
            raise InputError(f"unknown augmentation {self.augment!r}; known: {', '.join(AUGMENTS)}")

    @property
    def stretched(self) -> list[int]:
        """The features that are cut, for a few values would have made all others alike."""
        return [] if self.bounds is None else self.bounds[1].isfinite().nonzero().flatten().tolist()

    def views(self) -> dict[str, View]:
        """The functions by name."""
        return {"plain": self.plain, "weak": self.weak, "strong": self.strong}

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one sample as a network sees it, from that of a raw one."""
        if len(shape) != 3:
            return shape
        if self.size is not None:
            return shape[0], self.size, self.size
        return (shape[0], *map(_left, shape[1:])) if self.augment in _CUT else shape

    def suited(
        self, size: int | None, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None
    ) -> ViewSpec:
        """The same for a network that wants images of a size, and pixels of a mean and deviation; None: as it is.

        Mean and deviation are those of uint8 images after division by 255, and of as many channels.
        """
        fits = mean is not None and std is not None and len(mean) == len(self.mean)
        own = (torch.tensor(mean), torch.tensor(std)) if fits else (self.mean, self.std)
        return ViewSpec(self.augment, *own, self.size if size is None else size, self.bounds)

    def plain(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Normalise only, the middle of images that are cut; draws nothing from the generator."""
        if self.augment in _CUT:
            high, wide = x.shape[2] - _left(x.shape[2]), x.shape[3] - _left(x.shape[3])
            top, side = high // 2, wide // 2
            x = x[:, :, top : x.shape[2] - high + top, side : x.shape[3] - wide + side]
        if self.bounds is not None:
            x = x.clamp(*self.bounds.to(x.device))
        return self._sized(self._normalise(x))

    def weak(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Zero-pad by an eighth and crop, or cut, and flip half of the photos; or noise of 0.1 on features."""
        if self.augment == "none":
            return self.plain(x, generator)
        if self.augment == "jitter":
            x = self.plain(x, generator)
            return x + _WEAK_NOISE * onto(torch.randn(x.shape, generator=generator), x.device)
        return self._sized(self._normalise(self._random_crop(x, generator)))

    def strong(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The weak view, then more, with parameters of each sample's own.

        photos: RandAugment (Cubuk et al. 2020) with two operations of random strength ("photo_one": with one), then
        cutout of half the side. shift: a random affine map (15 degrees, shear 0.2, scale 0.85 to 1.15), then cutout of
        a quarter of the side. jitter: noise of 0.2, and a tenth of the features set to their mean. Cutout
        (DeVries and Taylor 2017) fills with the mean.
        """
        if self.augment == "none":
            return self.plain(x, generator)
        if self.augment == "jitter":
            x = self.plain(x, generator)
            noisy = x + _STRONG_NOISE * onto(torch.randn(x.shape, generator=generator), x.device)
            return noisy * onto(torch.rand(x.shape, generator=generator) >= _STRONG_DROPOUT, x.device)
        cropped = self._random_crop(x, generator)
        side = min(cropped.shape[2:])
        if self.augment in _FLIPPED:
            changed = self._rand_augment(cropped, generator)
            return self._sized(cutout(self._normalise(changed), generator, side // 2))
        draws = torch.rand(len(x), 3, generator=generator) * 2 - 1
        angle, shear, scale = torch.deg2rad(15 * draws[:, 0]), 0.2 * draws[:, 1], 1 + 0.15 * draws[:, 2]
        zero = torch.zeros(len(x))
        matrix = _affine(angle, shear, zero, zero, zero) / scale[:, None, None]
        warped = _warp(cropped.float(), matrix, fill=0.0)
        scaled = warped / 255 if x.dtype == torch.uint8 else warped
        return self._sized(cutout(self._normalise(scaled), generator, side // 4))

    def _normalise(self, x: Tensor) -> Tensor:
        """As ``normalise``; the numbers are carried to each device once."""
        key = (x.device, unit_of(x))
        if key not in self._scales:
            self._scales[key] = scale_of(self.mean, self.std, *key)
        return shifted(x, *self._scales[key])

    def _sized(self, x: Tensor) -> Tensor:
        """Images brought to ``size``."""
        if self.size is None or x.ndim != 4 or x.shape[2:] == (self.size, self.size):
            return x
        resized = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        return resized.contiguous(memory_format=torch.channels_last)

    def _random_crop(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if self.augment == "resized_crop":
            return resized_crop(x, torch.rand(len(x), 5, generator=generator), _left(x.shape[2]), _left(x.shape[3]))
        draws = torch.rand(len(x), 3, generator=generator)
        flip = (draws[:, 2] < 0.5) & (self.augment in _FLIPPED)
        if self.augment == "crop":
            high, wide = _left(x.shape[2]), _left(x.shape[3])
            top = (draws[:, 0] * (x.shape[2] - high + 1)).long()
            left = (draws[:, 1] * (x.shape[3] - wide + 1)).long()
            return cut(x, (top, left), (high, wide), flip)
        pad = max(1, min(x.shape[2:]) // 8)
        offsets = (draws[:, :2] * (2 * pad + 1)).long()
        return crop(x, offsets[:, 0], offsets[:, 1], flip, pad)

    def _rand_augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """RandAugment of raw images; the answer is float, uint8 images divided by 255.

        Colour operations need a range. Float images are taken from their own minimum to maximum.
        """
        choices = draw_choices(len(x), generator, 1 if self.augment == "photo_one" else _ROUNDS)
        if x.dtype == torch.uint8:
            return rand_augment(x.float() / 255, choices)
        low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
        extent = torch.where(high > low, high - low, 1.0)
        return rand_augment((x - low) / extent, choices) * extent + low


def fit_views(rows: Rows, augment: str, sample: int = 10_000) -> ViewSpec:
    """Measure mean and deviation and say how to augment.

    Images: per channel. Features: per feature; where a feature does not vary the deviation is 1. Sparse
    features: mean 0, so that what is absent stays 0, and one deviation for all (the root mean square),
    because a deviation per feature would blow up the rarest ones. A feature that a few values stretch is cut to
    the range of the others (see ``standardised.far_out``).

    Args:
        rows: the training rows.
        augment: one of ``AUGMENTS``.
        sample: at most so many evenly spaced rows are read, a few megabytes at a time.

    Raises:
        InputError: no rows, or an unknown augmentation.
    """
    if len(rows) == 0:
        raise InputError("there are no rows to measure")
    ids = torch.linspace(0, len(rows) - 1, min(len(rows), sample), dtype=torch.float64).round().long()
    size = 1
    for extent in rows.shape:
        size *= extent
    images = len(rows.shape) == 3
    count, mean, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    step = max(1, _FIT_ELEMENTS // size)
    for start in range(0, len(ids), step):
        part = ids[start : start + step]
        x = rows[part].cpu()
        # Features may lie far from 0 compared with their deviation; pixels do not, and there are many more.
        exact = x.float() if images else x.double()
        variance, centre = torch.var_mean(exact, (0, 2, 3) if images else 0, correction=0)
        # The pairwise update of Chan et al. 1983: one pass, and no difference of large sums.
        both = count + len(part)
        shift = centre.double() - mean
        mean = mean + shift * (len(part) / both)
        squares = squares + variance.double() * len(part) + shift**2 * (count * len(part) / both)
        count = both
    if getattr(rows, "sparse", False):
        root = (squares / count + mean**2).mean().sqrt()
        std = root.expand_as(mean).clone()
        mean = torch.zeros_like(mean)
    else:
        std = (squares / count).sqrt()
    bounds = None
    if len(rows.shape) == 1 and not getattr(rows, "sparse", False):
        bounds, mean, std = _cut(rows, ids, mean, std, step)
    if rows.dtype == torch.uint8:
        mean, std = mean / 255, std / 255
    std = torch.where(std <= 1e-7 * mean.abs(), 1.0, std)
    return ViewSpec(augment, mean.float(), std.float(), bounds=bounds)


def _cut(rows: Rows, ids: Tensor, mean: Tensor, std: Tensor, step: int) -> tuple[Tensor | None, Tensor, Tensor]:
    """Bounds of features, with mean and deviation of those that are cut to them; None: none is.

    All rows are looked at for values far out, and ``ids`` for what is usual.
    """
    parts = (rows[part].cpu().float() for part in torch.split(torch.arange(len(rows)), step))
    ends = [torch.stack([part.amin(0), part.amax(0)]) for part in parts]
    least, largest = torch.stack(ends)[:, 0].amin(0).numpy(), torch.stack(ends)[:, 1].amax(0).numpy()
    x = rows[ids].cpu().float().numpy()
    found = far_out(x, mean.numpy(), std.numpy(), (least, largest))
    if not np.isfinite(found).any():
        return None, mean, std
    mean, std = mean.clone(), std.clone()
    for column in np.flatnonzero(np.isfinite(found[1])):
        values = x[:, column].astype(np.float64).clip(*found[:, column])
        mean[column], std[column] = values.mean(), values.std()
    return torch.from_numpy(found).float(), mean, std


def normalise(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """``(x - mean) / std`` in float32, images channels_last; uint8 is divided by 255 first.

    Args:
        x: ``[B, C, H, W]`` uint8 or float, or ``[B, D]`` float.
        mean: ``[C]`` or ``[D]``.
        std: as ``mean``.
    """
    return shifted(x, *scale_of(mean, std, x.device, unit_of(x)))


def unit_of(x: Tensor) -> float:
    """What one is in raw values: 255 in uint8 images."""
    return 255.0 if x.dtype == torch.uint8 else 1.0


def scale_of(mean: Tensor, std: Tensor, device: torch.device, unit: float) -> tuple[Tensor, Tensor]:
    """What to take from raw values, and what to multiply them by then; both float32 on ``device``."""
    return onto(mean * unit, device), onto((1.0 / (std.double() * unit)).float(), device)


def shifted(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """``(x - mean) * scale`` in float32, by channel or feature; images channels_last."""
    if x.ndim != 4:
        return (x.float() - mean) * scale
    # Normalising planes and permuting last is four times as fast as arithmetic on interleaved channels.
    out = x.to(torch.float32, copy=True).sub_(mean[:, None, None]).mul_(scale[:, None, None])
    return out.contiguous(memory_format=torch.channels_last)


def crop(x: Tensor, dy: Tensor, dx: Tensor, flip: Tensor, pad: int) -> Tensor:
    """Zero-pad each image by ``pad``, cut its own size out at ``(dy, dx)``, mirror it where ``flip``.

    The padded batch and its mirror image are viewed with a stride of one value, so that every run of W values
    is a row, and the rows of the whole result are one ``index_select``.

    Args:
        x: ``[B, C, H, W]``, any type.
        dy: ``[B]`` int64, 0 to ``2 * pad``, the top row of the cut.
        dx: ``[B]`` int64, 0 to ``2 * pad``, its left column.
        flip: ``[B]`` bool.
        pad: pixels added on every side.
    """
    batch, channels, height, width = x.shape
    if batch == 0:
        return x
    padded = F.pad(x.contiguous(), (pad, pad, pad, pad))
    both = torch.stack([padded, padded.flip(3)])
    runs = both.view(-1).as_strided((both.numel() - width + 1, width), (1, 1))
    dy, dx, flip = (onto(each, x.device).view(-1, 1, 1) for each in (dy, dx, flip))
    planes = torch.arange(batch * channels, device=x.device).view(batch, channels, 1) + flip * (batch * channels)
    rows = planes * (height + 2 * pad) + dy + torch.arange(height, device=x.device)
    starts = rows * (width + 2 * pad) + torch.where(flip, 2 * pad - dx, dx)
    return runs.index_select(0, starts.view(-1)).view(batch, channels, height, width)


def _left(side: int) -> int:
    """What is left of a side that is cut: seven eighths."""
    return max(1, side * 7 // 8)


def cut(x: Tensor, corner: tuple[Tensor, Tensor], size: tuple[int, int], flip: Tensor) -> Tensor:
    """A part of ``size`` of each image, mirrored where ``flip``.

    Args:
        x: ``[B, C, H, W]``, any type.
        corner: rows and columns ``[B]`` int64 where the parts begin.
        size: their height and width.
        flip: ``[B]`` bool.
    """
    top, left = (onto(each, x.device) for each in corner)
    rows = top[:, None] + torch.arange(size[0], device=x.device)
    steps = torch.arange(size[1], device=x.device).expand(len(x), -1)
    columns = left[:, None] + torch.where(onto(flip, x.device)[:, None], size[1] - 1 - steps, steps)
    high = x.gather(2, rows[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))
    return high.gather(3, columns[:, None, None, :].expand(-1, x.shape[1], size[0], -1))


def resized_crop(x: Tensor, draws: Tensor, height: int, width: int) -> Tensor:
    """A part of 8 to 100 % of each image, 3/4 to 4/3 times as wide as high, brought to one size; half are mirrored.

    Szegedy et al. 2015, as networks for ImageNet are trained. Sides that would not fit are cut to the image.

    Args:
        x: ``[B, C, H, W]``, uint8 or float.
        draws: ``[B, 5]`` in [0, 1): area, form, place from above and from the left, mirrored.
        height: of the result.
        width: of the result.

    Returns:
        ``[B, C, height, width]`` of the type of ``x``.
    """
    area = _LEAST_AREA + (1 - _LEAST_AREA) * draws[:, 0]
    form = torch.exp((2 * draws[:, 1] - 1) * math.log(_WIDEST)) * x.shape[2] / x.shape[3]  # in shares of the sides
    wide, high = (area * form).sqrt().clamp(max=1), (area / form).sqrt().clamp(max=1)
    zero = torch.zeros(len(x))
    mirrored = torch.where(draws[:, 4] < 0.5, -wide, wide)
    first = torch.stack([mirrored, zero, (2 * draws[:, 3] - 1) * (1 - wide)], 1)
    second = torch.stack([zero, high, (2 * draws[:, 2] - 1) * (1 - high)], 1)
    grid = F.affine_grid(onto(torch.stack([first, second], 1), x.device), [*x.shape[:2], height, width], False)
    out = F.grid_sample(x.float(), grid, padding_mode="border", align_corners=False)
    return out if x.is_floating_point() else out.round().clamp(0, 255).to(x.dtype)


def cutout(x: Tensor, generator: torch.Generator, side: int) -> Tensor:
    """Set a square of ``side`` pixels to 0, centred anywhere in the image and cut at its border.

    Args:
        x: ``[B, C, H, W]`` normalised, so that 0 is the mean.
        generator: on the CPU.
        side: of the square, in pixels.
    """
    batch, _, height, width = x.shape
    draws = torch.rand(batch, 2, generator=generator)
    top = (draws[:, :1] * height).long() - side // 2
    left = (draws[:, 1:] * width).long() - side // 2
    rows, columns = torch.arange(height) - top, torch.arange(width) - left
    high, wide = (rows >= 0) & (rows < side), (columns >= 0) & (columns < side)
    inside = high[:, None, :, None] & wide[:, None, None, :]
    return x.clone().masked_fill_(onto(inside, x.device), 0.0)  # the clone keeps the memory format


class Choices(NamedTuple):
    """What RandAugment does to each sample, on the CPU.

    Attributes:
        operation: ``[B, rounds]`` int64, index into ``OPERATIONS``.
        strength: ``[B, rounds]``, -1 to 1; operations without a direction take its absolute value.
    """

    operation: Tensor
    strength: Tensor


def draw_choices(batch: int, generator: torch.Generator, rounds: int = _ROUNDS) -> Choices:
    """So many operations per sample, with replacement, each with its own strength."""
    draws = torch.rand(batch, 2 * rounds, generator=generator)
    return Choices((draws[:, :rounds] * len(OPERATIONS)).long(), draws[:, rounds:] * 2 - 1)


def rand_augment(x: Tensor, choices: Choices) -> Tensor:
    """Apply to every image its own operations.

    Colour operations run in the order drawn; the affine ones of all rounds are one map and one
    interpolation at the end, which fills with grey.

    Args:
        x: ``[B, C, H, W]`` float, 0 to 1.
        choices: what to do, from ``draw_choices``.

    Returns:
        ``[B, C, H, W]``, 0 to 1.
    """
    x = x.clone()
    matrix = torch.eye(2, 3).repeat(len(x), 1, 1)
    for operations, strengths in zip(choices.operation.T, choices.strength.T, strict=True):
        for index, operation in enumerate(_COLOUR.values()):
            members = (operations == index).nonzero()[:, 0]
            if len(members):
                here, strength = onto(members, x.device), onto(strengths[members], x.device)
                chosen = x.index_select(0, here)
                x.index_copy_(0, here, operation(chosen, strength.view(-1, 1, 1, 1)))
        matrix = _compose(matrix, _affine(*(_LARGEST[operations] * strengths[:, None]).T))
    return _warp(x, matrix, fill=0.5).clamp_(0, 1)


def _affine(angle: Tensor, shear_x: Tensor, shear_y: Tensor, move_x: Tensor, move_y: Tensor) -> Tensor:
    """Maps ``[B, 2, 3]`` from output to input positions, both -1 to 1: shear, rotate clockwise, move."""
    cos, sin = angle.cos(), angle.sin()
    first = torch.stack([cos + shear_y * sin, shear_x * cos + sin, move_x], 1)
    second = torch.stack([-sin + shear_y * cos, cos - shear_x * sin, move_y], 1)
    return torch.stack([first, second], 1)


def _compose(first: Tensor, second: Tensor) -> Tensor:
    """The map ``first(second(position))``, all ``[B, 2, 3]``."""
    linear = first[:, :, :2] @ second
    return torch.cat([linear[:, :, :2], linear[:, :, 2:] + first[:, :, 2:]], 2)


def _warp(x: Tensor, matrix: Tensor, fill: float) -> Tensor:
    """Bilinear resampling under ``matrix [B, 2, 3]``; outside the image lies ``fill``."""
    grid = F.affine_grid(onto(matrix, x.device), list(x.shape), align_corners=False)
    return F.grid_sample(x - fill, grid, align_corners=False) + fill


def _blend(x: Tensor, base: Tensor | float, strength: Tensor) -> Tensor:
    """PIL's ``ImageEnhance``: a tenth of the way from ``base`` to ``x`` (strength -1), to 1.9 times it (1)."""
    return (base + (x - base) * (1 + 0.9 * strength)).clamp(0, 1)


def _grey(x: Tensor) -> Tensor:
    """Luminance ``[B, 1, H, W]``; the mean of the channels unless there are three."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return (x * onto(torch.tensor(_LUMA, dtype=x.dtype), x.device).view(3, 1, 1)).sum(1, keepdim=True)


def _smooth(x: Tensor) -> Tensor:
    """PIL's ``SMOOTH`` filter (centre 5, neighbours 1, over 13); the outermost pixels stay."""
    channels = x.shape[1]
    kernel = x.new_ones(channels, 1, 3, 3)
    kernel[:, :, 1, 1] = 5
    out = x.clone()
    out[:, :, 1:-1, 1:-1] = F.conv2d(x, kernel / 13, groups=channels)
    return out


def _autocontrast(x: Tensor, strength: Tensor) -> Tensor:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp_min(1e-6), x)


def _equalize(x: Tensor, strength: Tensor) -> Tensor:
    """Flatten the histogram of 256 levels of every channel, as PIL does."""
    planes = (x.flatten(2).flatten(0, 1) * 255).round().long()
    counts = planes.new_zeros(len(planes), 256).scatter_add_(1, planes, torch.ones_like(planes))
    levels = torch.arange(256, device=x.device)
    last = counts.gather(1, torch.where(counts > 0, levels, 0).amax(1, keepdim=True))
    step = (planes.shape[1] - last) // 255
    before = counts.cumsum(1) - counts
    table = torch.where(step > 0, (before + step // 2) // step.clamp_min(1), levels).clamp(0, 255)
    return (table.gather(1, planes).float() / 255).view_as(x)


def _posterize(x: Tensor, strength: Tensor) -> Tensor:
    """Keep 4 to 8 bits."""
    step = 2.0 ** (strength.abs() * 4.999).floor()
    return ((x * 255).round() / step).floor() * step / 255


_COLOUR: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "autocontrast": _autocontrast,
    "brightness": lambda x, strength: _blend(x, 0.0, strength),
    "colour": lambda x, strength: _blend(x, _grey(x), strength),
    "contrast": lambda x, strength: _blend(x, _grey(x).mean((2, 3), keepdim=True), strength),
    "equalize": _equalize,
    "posterize": _posterize,
    "sharpness": lambda x, strength: _blend(x, _smooth(x), strength),
    "solarize": lambda x, strength: torch.where(x >= 1 - strength.abs(), 1 - x, x),
}


#: Largest angle in radians, shears and moves; positions span 2, so that a move of 0.6 is 0.3 of the width.
_GEOMETRY: dict[str, tuple[float, float, float, float, float]] = {
    "identity": (0.0, 0.0, 0.0, 0.0, 0.0),
    "rotate": (torch.pi / 6, 0.0, 0.0, 0.0, 0.0),
    "shear_x": (0.0, 0.3, 0.0, 0.0, 0.0),
    "shear_y": (0.0, 0.0, 0.3, 0.0, 0.0),
    "translate_x": (0.0, 0.0, 0.0, 0.6, 0.0),
    "translate_y": (0.0, 0.0, 0.0, 0.0, 0.6),
}

#: RandAugment's operations with the largest strengths of Sohn et al. 2020 (FixMatch).
OPERATIONS = (*_COLOUR, *_GEOMETRY)

#: Row by row of ``OPERATIONS``; a colour operation moves nothing.
_LARGEST = torch.cat([torch.zeros(len(_COLOUR), 5), torch.tensor(list(_GEOMETRY.values()))])
