"""Texts or images to features: word counts, or a network that somebody else trained and that stays as it is.

    tfidf             words and pairs of words, weighted by how rare they are (scikit-learn); the default for texts
    tfidf:char        the same and parts of words of 2 to 4 characters: for short texts, typing errors, many languages
    minilm            all-MiniLM-L6-v2, 384 features of a text, from a wheel on PyPI
    hf:NAME           any text model of transformers or sentence-transformers, by name or folder: the mean over words
    efficientnet-lite0  1,280 features of an image, from a wheel on PyPI
    timm:NAME         the features before the head of a pre-trained timm model
    columns           the columns of a table, of any kind; the default for tables that are not numbers alone

What an encoder gives are rows ``[N, D]``, so every method runs on them. Encoders never see labels; networks are not
trained. ``data.pretrained.ENCODERS`` holds them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from codivide.core.errors import InputError, unknown
from codivide.data.arrays import choose_augment
from codivide.data.encoder import Encoder, EncoderKind, Takes
from codivide.data.loaded import Loaded
from codivide.data.options import ReadOptions
from codivide.data.pretrained import ENCODERS, split_name

DEFAULT_OF_TEXTS = "tfidf"
_PREFIX = "encoder."  # of the tensors of an encoder in a model's file


def names() -> list[str]:
    """Every name of an encoder, with ``NAME`` where anything may stand."""
    return [f"{name}:{rest}" if rest else name for name, kind in ENCODERS.items() for rest in kind.rests]


def kind_of(name: str) -> EncoderKind:
    """The line of ``ENCODERS`` that a name belongs to.

    Raises:
        InputError: there is none; asked before any long work.
    """
    key, rest = split_name(name)
    kind = ENCODERS.get(key)
    if kind is None or not kind.allows(rest) or name.endswith(":"):
        raise unknown("encoder", name, names())
    return kind


def for_texts(texts: Sequence[str], options: ReadOptions) -> Encoder:
    """The encoder that the options ask for, fitted on these texts where it has to be.

    Raises:
        InputError: no such encoder, one of images, or texts without words.
    """
    wanted = options.encoder or DEFAULT_OF_TEXTS
    name, takes, make = _asked(wanted)
    if takes != "text":
        raise InputError(f"encoder {name!r} takes {takes}s, but the data are texts.")
    return make(texts)


def of_images(loaded: Loaded, options: ReadOptions) -> Loaded:
    """Features in the place of images, where the options ask for an encoder and it has not been at work.

    Raises:
        InputError: an encoder of texts, or data that are no uint8 images.
    """
    wanted = options.encoder
    if wanted is None or loaded.encoder is not None:
        return loaded
    name, takes, make = _asked(wanted)
    if takes != "image":
        raise InputError(f"encoder {name!r} takes {takes}s, but {loaded.name} holds none.")
    if len(loaded.x.shape) != 3 or loaded.x.dtype != torch.uint8:
        raise InputError(
            f"encoder {name!r} takes uint8 images (0 to 255), but a sample is {str(loaded.x.dtype)[6:]} of "
            f"shape {loaded.x.shape}."
        )
    encoder = make(loaded.x)

    def features(part: Loaded) -> Loaded:
        x = encoder.encode(part.x, options.encoding)
        augment = "none" if options.augment == "none" else "auto"
        return replace(part, x=x, augment=choose_augment(augment, x.shape), encoder=encoder)

    test = None if loaded.test is None else features(loaded.test)
    return replace(features(loaded), test=test)


def save(encoder: Encoder | None) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    """Header and tensors of an encoder for a model's file; None and nothing where there is no encoder."""
    if encoder is None:
        return None, {}
    tensors = {f"{_PREFIX}{name}": value for name, value in encoder.tensors().items()}
    return {"name": encoder.name, **encoder.header()}, tensors


def restore(header: Mapping[str, Any] | None, tensors: Mapping[str, Tensor]) -> Encoder | None:
    """The encoder that ``save`` described.

    Raises:
        InputError: no such encoder.
        KeyError: something is missing.
        ValueError: the vocabulary is damaged.
    """
    if header is None:
        return None
    name = str(header["name"])
    own = {key.removeprefix(_PREFIX): value for key, value in tensors.items() if key.startswith(_PREFIX)}
    return kind_of(name).restore(name, header, own)


def _asked(wanted: str | Encoder) -> tuple[str, Takes, Callable[[Any], Encoder]]:
    """Name of an encoder, what it takes, and what gives it for the training samples."""
    if isinstance(wanted, str):
        kind = kind_of(wanted)
        return wanted, kind.takes, partial(kind.make, wanted)
    return wanted.name, wanted.takes, lambda samples: wanted
