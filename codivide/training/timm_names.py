"""Names of networks that somebody else trained, timm's and the packaged one, and what they expect of their images."""

from __future__ import annotations

from typing import NamedTuple

from codivide.core.errors import InputError, unknown
from codivide.data.efficientnet import PIXELS, SIDE

SMALLEST_IMAGE = 8
OTHERS = ("packaged:efficientnet-lite0", "timm:NAME[:pretrained][:SIZE]")  # names that are not in ``nets.NETS``
PACKAGED = OTHERS[0]  # its weights come with codivide


class TimmName(NamedTuple):
    """What a name such as "timm:vit_small_patch16_224:pretrained:224" asks for."""

    model: str
    pretrained: bool
    size: int | None


def read_name(name: str) -> TimmName:
    """The parts of a name; InputError where more follows than may."""
    model, *words = name.removeprefix("timm:").split(":")
    sizes = [int(word) for word in words if word.isdecimal()]
    others = [word for word in words if not word.isdecimal()]
    if others not in ([], ["pretrained"]) or len(sizes) > 1 or (sizes and sizes[0] < SMALLEST_IMAGE):
        raise InputError(
            f"net {name!r}: only ':pretrained' and a size in pixels, such as ':224', may follow the timm name"
        )
    return TimmName(model, bool(others), sizes[0] if sizes else None)


def packaged_size(name: str) -> int:
    """The size of its images that the name of the packaged network ends with, or its own.

    Raises:
        InputError: another name, or no such size.
    """
    _, _, rest = name.removeprefix("packaged:").partition(":")
    if name not in (PACKAGED, f"{PACKAGED}:{rest}"):
        raise unknown("net", name, [PACKAGED])
    if rest and (not rest.isdecimal() or int(rest) < 4 * SMALLEST_IMAGE):
        raise InputError(f"net {name!r}: only a size in pixels from {4 * SMALLEST_IMAGE} on, such as ':96', may follow")
    return int(rest) if rest else SIDE


class Expected(NamedTuple):
    """How a network wants its images: their size, and mean and deviation of the channels; None: it does not mind."""

    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def expected(name: str) -> Expected:
    """What a net of this name was made for: the size in its name, and what its weights were trained on.

    A pre-trained network without a size in its name sees images of the size that it was trained on.
    """
    if name.startswith("packaged:"):
        shift, scale = (value / 255 for value in PIXELS)
        return Expected(packaged_size(name), (shift,) * 3, (scale,) * 3)
    if not name.startswith("timm:"):
        return Expected()
    asked = read_name(name)
    if not asked.pretrained:
        return Expected(asked.size)
    import timm  # it takes a second, which other networks need not

    settings = timm.get_pretrained_cfg(asked.model)
    if settings is None:
        return Expected(asked.size)
    size = asked.size or int(settings.input_size[-1])
    return Expected(size, tuple(settings.mean), tuple(settings.std))
