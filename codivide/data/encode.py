"""Texts or images to features: word counts, or a network that somebody else trained and that stays as it is.

    tfidf             words and pairs of words, weighted by how rare they are (scikit-learn); the default for texts
    tfidf:char        the same and parts of words of 2 to 4 characters: for short texts, typing errors, many languages
    minilm            all-MiniLM-L6-v2, 384 features of a text, from a wheel on PyPI
    hf:NAME           any text model of transformers or sentence-transformers, by name or folder: the mean over words
    efficientnet-lite0  1,280 features of an image, from a wheel on PyPI
    timm:NAME         the features before the head of a pre-trained timm model

What an encoder gives are rows ``[N, D]``, so every method runs on them. Features of networks are kept in the cache
under a hash of their content, and a second run reads them back. Encoders never see labels; networks are not trained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codivide.core.errors import InputError, unknown
from codivide.core.files import atomic
from codivide.data.arrays import choose_augment
from codivide.data.encoder import Encoder, Encoding
from codivide.data.loaded import Loaded
from codivide.data.options import ReadOptions
from codivide.data.pretrained import IMAGE_NETS, TEXT_NETS, open_image_net, open_text_net, version_of
from codivide.data.progress import progress_bar
from codivide.data.rows import MemmapRows, Rows, SparseRows, TensorRows

FORMAT = 1
NAMES = ("tfidf", "tfidf:char", "minilm", "hf:NAME", "efficientnet-lite0", "timm:NAME")
_PAIRS_FROM = 1000  # texts from which on a word must come twice to count: what comes once can only be memorised
_MOST_TERMS = 50_000
_BATCH = 64


class Tfidf:
    """Term frequency times inverse document frequency, rows of length 1: ``(1 + log tf) (1 + log (1 + n)/(1 + df))``.

    Args:
        name: "tfidf" or "tfidf:char".
        parts: a vocabulary (terms by column) and the weight of each term, for every kind of term.
    """

    takes: Literal["text", "image"] = "text"

    def __init__(self, name: str, parts: Sequence[tuple[list[str], NDArray[np.float32]]]) -> None:
        self.name = name
        self.parts = list(parts)
        self._vectorizers = [
            _vectorizer(kind, vocabulary=terms) for kind, (terms, _) in zip(_kinds(name), self.parts, strict=True)
        ]
        for vectorizer, (_, weights) in zip(self._vectorizers, self.parts, strict=True):
            vectorizer.idf_ = weights

    @classmethod
    def fit(cls, name: str, texts: Sequence[str]) -> Tfidf:
        """The vocabulary of some texts: at most 50,000 terms of each kind, the most frequent ones.

        Raises:
            InputError: no text holds a word of two letters.
        """
        fewest = 2 if len(texts) >= _PAIRS_FROM else 1
        parts = []
        for kind in _kinds(name):
            for least in sorted({fewest, 1}, reverse=True):
                try:
                    found = _vectorizer(kind, min_df=least, max_features=_MOST_TERMS).fit(texts)
                except ValueError:  # an empty vocabulary
                    continue
                break
            else:
                raise InputError(
                    "none of the texts holds a word of at least two letters or digits: there is nothing to learn from."
                )
            parts.append((found.get_feature_names_out().tolist(), found.idf_.astype(np.float32)))
        return cls(name, parts)

    def texts(self, texts: Sequence[str], how: Encoding | None = None) -> Rows:
        """Sparse rows ``[N, terms]``; texts without a known word are rows of zeros."""
        from scipy import sparse

        parts = [vectorizer.transform(texts) for vectorizer in self._vectorizers]
        joined = sparse.csr_matrix(sparse.hstack(parts, format="csr"), dtype=np.float32)
        joined.data *= np.float32(1 / np.sqrt(len(parts)))  # every kind of terms has the same weight
        return SparseRows(joined)

    def images(self, rows: Rows, how: Encoding | None = None) -> Rows:
        """InputError."""
        raise InputError(f"encoder {self.name!r} takes texts, but the data are images.")

    def header(self) -> dict[str, Any]:
        """Name alone; the rest are tensors."""
        return {"name": self.name}

    def tensors(self) -> dict[str, Tensor]:
        """For each kind of term, the vocabulary as UTF-8 bytes of a JSON list, and the weights."""
        found: dict[str, Tensor] = {}
        for index, (terms, weights) in enumerate(self.parts):
            text = json.dumps(terms, ensure_ascii=True).encode()
            found[f"terms.{index}"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
            found[f"weights.{index}"] = torch.from_numpy(weights)
        return found


class TextNet:
    """A text model of transformers: the mean of the last layer over the words, divided by its length.

    Args:
        name: "minilm" or "hf:NAME".
    """

    takes: Literal["text", "image"] = "text"

    def __init__(self, name: str) -> None:
        self.name = name

    def texts(self, texts: Sequence[str], how: Encoding | None = None) -> Rows:
        """Dense rows ``[N, D]``, read from the cache where the same texts were encoded before."""
        encoding = how or Encoding()

        def batches() -> Iterator[Tensor]:
            net = open_text_net(self.name, encoding.device)
            # Texts of like length share a batch: padding costs as much as words.
            for start in range(0, len(texts), _BATCH):
                yield net([texts[row] for row in order[start : start + _BATCH]])

        order = sorted(range(len(texts)), key=lambda row: (len(texts[row]), row))
        digest = hashlib.sha256()
        for text in texts:
            coded = text.encode()
            digest.update(len(coded).to_bytes(8, "little") + coded)
        return _cached(self.name, digest, len(texts), batches, encoding, order)

    def images(self, rows: Rows, how: Encoding | None = None) -> Rows:
        """InputError."""
        raise InputError(f"encoder {self.name!r} takes texts, but the data are images.")

    def header(self) -> dict[str, Any]:
        """Name alone: the network stays where it is."""
        return {"name": self.name}

    def tensors(self) -> dict[str, Tensor]:
        """None."""
        return {}


class ImageNet:
    """A network for images; they are resized to its input and the centre is cropped.

    Args:
        name: "efficientnet-lite0" or "timm:NAME".
        shape: of the images that it was used on, ``(channels, height, width)``; new files are read in this shape.
    """

    takes: Literal["text", "image"] = "image"

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name = name
        self.shape = shape

    def images(self, rows: Rows, how: Encoding | None = None) -> Rows:
        """Dense rows ``[N, D]``, read from the cache where the same images were encoded before."""
        if len(rows.shape) != 3 or rows.dtype != torch.uint8:
            raise InputError(
                f"encoder {self.name!r} takes uint8 images (0 to 255), but a sample is {str(rows.dtype)[6:]} of shape "
                f"{rows.shape}."
            )

        encoding = how or Encoding()

        def chunks(size: int) -> Iterator[Tensor]:
            for ids in torch.split(torch.arange(len(rows)), size):
                yield rows[ids]

        def batches() -> Iterator[Tensor]:
            net = open_image_net(self.name, encoding.device)
            for batch in chunks(_BATCH):
                yield net(batch)

        digest = hashlib.sha256(json.dumps(rows.shape).encode())
        for chunk in chunks(1024):
            digest.update(np.ascontiguousarray(chunk.cpu().numpy()).data)
        return _cached(self.name, digest, len(rows), batches, encoding)

    def texts(self, texts: Sequence[str], how: Encoding | None = None) -> Rows:
        """InputError."""
        raise InputError(f"encoder {self.name!r} takes images, but the data are texts.")

    def header(self) -> dict[str, Any]:
        """Name and shape of the images."""
        return {"name": self.name, "shape": list(self.shape)}

    def tensors(self) -> dict[str, Tensor]:
        """None."""
        return {}


def check_name(name: str) -> None:
    """InputError where no encoder has this name; asked before any long work."""
    if name in ("tfidf", "tfidf:char", *TEXT_NETS, *IMAGE_NETS):
        return
    kind, _, rest = name.partition(":")
    if kind not in ("hf", "timm") or not rest:
        raise unknown("encoder", name, NAMES)


def for_texts(texts: Sequence[str], options: ReadOptions) -> Encoder:
    """The encoder that the options ask for, fitted on these texts where it has to be.

    Raises:
        InputError: no such encoder, one of images, or texts without words.
    """
    wanted = options.encoder or "tfidf"
    if not isinstance(wanted, str):
        return wanted
    check_name(wanted)
    if wanted.startswith("tfidf"):
        return Tfidf.fit(wanted, texts)
    if wanted in TEXT_NETS or wanted.startswith("hf:"):
        return TextNet(wanted)
    raise InputError(f"encoder {wanted!r} takes images, but the data are texts.")


def of_images(loaded: Loaded, options: ReadOptions) -> Loaded:
    """Features in the place of images, where the options ask for an encoder and it has not been at work.

    Raises:
        InputError: an encoder of texts, or data that are no uint8 images.
    """
    if options.encoder is None or loaded.encoder is not None:
        return loaded
    encoder = options.encoder
    if isinstance(encoder, str):
        check_name(encoder)
        if encoder.startswith(("tfidf", "hf:")) or encoder in TEXT_NETS:
            raise InputError(f"encoder {encoder!r} takes texts, but {loaded.name} holds none.")
        encoder = ImageNet(encoder, loaded.x.shape)

    def features(part: Loaded) -> Loaded:
        x = encoder.images(part.x, options.encoding)
        wanted = "none" if options.augment == "none" else "auto"
        return replace(part, x=x, augment=choose_augment(wanted, x.shape), encoder=encoder)

    test = None if loaded.test is None else features(loaded.test)
    return replace(features(loaded), test=test)


def save(encoder: Encoder | None) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    """Header and tensors of an encoder for a model's file; None and nothing where there is no encoder."""
    if encoder is None:
        return None, {}
    return encoder.header(), {f"encoder.{name}": value for name, value in encoder.tensors().items()}


def restore(header: Mapping[str, Any] | None, tensors: Mapping[str, Tensor]) -> Encoder | None:
    """The encoder that ``save`` described.

    Raises:
        KeyError: something is missing.
        ValueError: the vocabulary is damaged.
    """
    if header is None:
        return None
    name = str(header["name"])
    if name.startswith("tfidf"):
        parts = []
        for index in range(len(_kinds(name))):
            terms = json.loads(tensors[f"encoder.terms.{index}"].numpy().tobytes())
            parts.append((terms, tensors[f"encoder.weights.{index}"].numpy()))
        return Tfidf(name, parts)
    return ImageNet(name, tuple(header["shape"])) if "shape" in header else TextNet(name)


def _kinds(name: str) -> tuple[str, ...]:
    return ("word", "char_wb") if name == "tfidf:char" else ("word",)


def _vectorizer(kind: str, **settings: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    span = (1, 2) if kind == "word" else (2, 4)
    return TfidfVectorizer(analyzer=kind, ngram_range=span, sublinear_tf=True, dtype=np.float32, **settings)


def _cached(
    name: str,
    digest: Any,
    count: int,
    batches: Callable[[], Iterator[Tensor]],
    how: Encoding,
    order: Sequence[int] | None = None,
) -> Rows:
    """Features of a network, from the cache or computed and kept there.

    Args:
        name: of the encoder.
        digest: of the content, to which the encoder's version is added.
        count: number of rows.
        batches: computes the features of one batch after the other.
        how: where the cache is.
        order: the row of each computed feature; None: as they come.
    """
    digest.update(json.dumps([FORMAT, name, version_of(name)]).encode())
    path = how.cache / f"{digest.hexdigest()[:32]}.features.npy"
    rows = _read(path, count, how)
    if rows is not None:
        return rows
    parts = []
    with progress_bar(how.progress) as bar:
        task = bar.add_task("encoding", total=count)
        for batch in batches():
            parts.append(batch.float().cpu())
            bar.advance(task, len(batch))
    features = torch.cat(parts)
    if order is not None:
        features = torch.empty_like(features).index_copy_(0, torch.tensor(order), features)
    bad = ~torch.isfinite(features).all(1)
    if bool(bad.any()):
        raise InputError(f"encoder {name!r} gives features of row {int(bad.to(torch.uint8).argmax())} that are NaN.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as aside, open(aside, "wb") as file:
            np.save(file, features.numpy(), allow_pickle=False)
    except OSError:  # a full disk or a folder that cannot be written: the features are here all the same
        pass
    return TensorRows(features)


def _read(path: Path, count: int, how: Encoding) -> Rows | None:
    """Features that were kept, or None where there are none or they are damaged."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if found.ndim != 2 or len(found) != count or found.dtype != np.float32:
        return None
    return MemmapRows(found) if found.nbytes > how.cache_limit else TensorRows(torch.from_numpy(np.array(found)))
