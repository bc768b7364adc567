"""Texts or images to features: word counts, or a network that somebody else trained and that stays as it is.

    auto              texts: tfidf:char, of very many tfidf, of English ones tfidf+minilm where its wheel is installed;
                      photos, where a fit may choose: efficientnet-lite0, of grey ones efficientnet-lite0+pixels; other
                      images stay as they are
    none              images stay as they are, and a network is trained on them
    best              the strongest of ``STRONGEST`` that this machine can get

    tfidf             words and pairs of words, weighted by how rare they are (scikit-learn)
    tfidf:char        the same and parts of words of 2 to 4 characters: typing errors, endings, languages without spaces
    minilm            all-MiniLM-L6-v2, 384 features of a text, from a wheel on PyPI
    tfidf+minilm      tfidf:char and minilm side by side
    hf:NAME           any text model of transformers or sentence-transformers, by name or folder: the mean over words
    efficientnet-lite0  1,904 features of an image; it comes with codivide
    efficientnet-lite0+pixels  the same and the pixels, small and grey, which are judged by heads of their own
    efficientnet-lite0+tuned  the features, and what a copy of the network says that a fit has trained further
    timm:NAME         the features before the head of a pre-trained timm model
    columns           the columns of a table, of any kind; the default for tables that are not numbers alone

What an encoder gives are rows ``[N, D]``, so every method runs on them. Encoders never see labels; networks are not
trained. ``data.pretrained.ENCODERS`` holds them all.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from codivide.core.errors import InputError, unknown
from codivide.data.arrays import choose_augment
from codivide.data.duplicates import look_alike
from codivide.data.encoder import Encoder, EncoderKind, Takes
from codivide.data.english import looks_english
from codivide.data.levels import SCALE, LevelRows, as_levels, unknown_scale
from codivide.data.loaded import Loaded
from codivide.data.looks import in_grey, measure
from codivide.data.options import ReadOptions
from codivide.data.own import KIND, Own
from codivide.data.pretrained import (
    BESIDE_PIXELS,
    ENCODERS,
    has_minilm,
    is_fetched,
    minilm_seconds,
    split_name,
    strongest,
)
from codivide.data.progress import tell
from codivide.data.rows import JoinedRows
from codivide.data.tuned import NAME as TUNED

AUTO, NONE, BEST = "auto", "none", "best"
OF_PHOTOS = "efficientnet-lite0"
_MANY = 20_000_000  # characters of all texts from which on parts of words take too long unasked
LEAST = 16  # pixels a side from which on images are photos (``benchmarks/which_images.py``)
CHANNELS = (1, 3)  # that photos have
_PREFIX = "encoder."  # of the tensors of an encoder in a model's file


def names() -> list[str]:
    """Every name of an encoder, with ``NAME`` where anything may stand."""
    public = {name: kind for name, kind in ENCODERS.items() if name not in (KIND, TUNED)}
    known = [f"{name}:{rest}" if rest else name for name, kind in public.items() for rest in kind.rests]
    return [AUTO, NONE, BEST, *known]


def check_name(name: str) -> None:
    """InputError where ``--encoder NAME`` means nothing; asked before any long work."""
    if name not in (AUTO, NONE, BEST):
        kind_of(name)


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
    if options.encoder == NONE:
        raise InputError("texts need an encoder: leave encoder out, or name one, such as tfidf:char")
    wanted = _default(texts, options.patience) if options.encoder == AUTO else options.encoder
    name, takes, make = _asked(wanted, "text", options)
    if takes != "text":
        raise InputError(f"encoder {name!r} takes {takes}s, but the data are texts")
    return make(texts)


def _default(texts: Sequence[str], patience: float) -> str:
    """The encoder of texts that nobody chose: by what is installed, how long it would take, and their language."""
    if sum(map(len, texts)) > _MANY:
        return "tfidf"
    suits = has_minilm() and minilm_seconds(texts) <= patience and looks_english(texts)
    return "tfidf+minilm" if suits else "tfidf:char"


def of_images(loaded: Loaded, options: ReadOptions, foreseen: Callable[[float], None] | None = None) -> Loaded:
    """Features in the place of images, where the options name an encoder and it has not been at work.

    Args:
        loaded: images, and maybe a test part.
        options: the encoder, and how it works.
        foreseen: told once how many seconds both parts will take; not where the features are in the cache.

    Raises:
        InputError: an encoder of texts, or data that are no uint8 images.
    """
    if options.encoder in (AUTO, NONE) or loaded.encoder is not None:
        return loaded
    name, takes, make = _asked(options.encoder, "image", options)
    if takes != "image":
        raise InputError(f"encoder {name!r} takes {takes}s, but {loaded.name} holds none")
    if isinstance(options.encoder, Own) and options.encoder.is_made and len(loaded.x.shape) == 1:
        raise InputError(
            f"encoder holds embeddings, but {loaded.name} holds numbers, which need none: pass as X what is to be "
            "learned from"
        )
    if len(loaded.x.shape) != 3:
        raise InputError(f"encoder {name!r} takes images, but a sample of {loaded.name} has the shape {loaded.x.shape}")
    loaded = with_levels(loaded, name)
    if options.encoder == BEST and name == OF_PHOTOS:  # nothing stronger is here: then what is best of these images
        _, _, make = _asked(of_photos(loaded), "image", options)
    encoder = make(loaded.x)
    tested = 0 if loaded.test is None else len(loaded.test.y)
    both = None if foreseen is None else lambda seconds: foreseen(seconds * (1 + tested / len(loaded.y)))
    alike = look_alike(loaded.x if loaded.test is None else JoinedRows(loaded.x, loaded.test.x))
    of_part = (None, None) if alike is None else (alike[: len(loaded.y)], alike[len(loaded.y) :])

    def features(part: Loaded) -> Loaded:
        x = encoder.encode(part.x, replace(options.encoding, foreseen=both if part is loaded else None))
        augment = "none" if options.augment == "none" else "auto"
        seen = part.looks or measure(part.x)  # what the audit says of images, whose place the features take
        return replace(part, x=x, augment=choose_augment(augment, x.shape), encoder=encoder, looks=seen)

    test = None if loaded.test is None else replace(features(loaded.test), alike=of_part[1])
    validation = None if loaded.validation is None else features(loaded.validation)
    return replace(features(loaded), test=test, validation=validation, alike=of_part[0])


def with_levels(loaded: Loaded, name: str) -> Loaded:
    """The same images, and those of the other parts, as uint8.

    Raises:
        InputError: floats that do not say what is white.
    """
    x = as_levels(loaded.x)
    if x is None:
        raise InputError(f"encoder {name!r} takes {SCALE}; {unknown_scale(loaded.x, loaded.name)}")
    if not isinstance(x, LevelRows):
        return loaded
    test, validation = (
        None if part is None else replace(part, x=x.like(part.x)) for part in (loaded.test, loaded.validation)
    )
    return replace(loaded, x=x, test=test, validation=validation)


def is_photo(loaded: Loaded) -> bool:
    """Whether a sample is an image, grey or in colour, that networks for photos can see.

    It has at least 16 pixels a side, and values of which it is known what is white (see ``data.levels``).
    """
    shape = loaded.x.shape
    large = len(shape) == 3 and shape[0] in CHANNELS and min(shape[1:]) >= LEAST
    return large and as_levels(loaded.x) is not None


def of_photos(loaded: Loaded) -> str:
    """The packaged encoder for images: of grey ones, in whatever channels, it also gives the pixels."""
    return f"{OF_PHOTOS}{BESIDE_PIXELS}" if in_grey(loaded.x) else OF_PHOTOS


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
    if is_fetched(name):
        warnings.warn(
            f"this model says that {name} encodes its samples: its weights are fetched from the Hugging Face hub when "
            "they are first needed (no code of it is run).",
            stacklevel=2,
        )
    return kind_of(name).restore(name, header, own)


def _asked(wanted: str | Encoder, takes: Takes, options: ReadOptions) -> tuple[str, Takes, Callable[[Any], Encoder]]:
    """Name of an encoder, what it takes, and what gives it for the training samples.

    Args:
        wanted: a name, or an encoder that is fitted.
        takes: what there is to encode, for "best".
        options: how it is to work.
    """
    if wanted == BEST:
        wanted = strongest(takes, options.device, partial(tell, shown=options.progress))
    if isinstance(wanted, str):
        kind = kind_of(wanted)
        return wanted, kind.takes, partial(kind.make, wanted)
    if isinstance(wanted, Own):
        return wanted.name, takes, lambda samples: wanted.fitted(takes, samples)
    return wanted.name, wanted.takes, lambda samples: wanted
