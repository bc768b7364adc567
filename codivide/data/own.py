"""An encoder of the user's own: a function, a torch module, a transformer of scikit-learn, or embeddings."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from codivide.core.device import resolve_device
from codivide.core.errors import InputError, TrainingWarning, check_instance
from codivide.core.files import array_sum
from codivide.data.encoder import Encoder, EncoderKind, Encoding, Takes
from codivide.data.progress import Working
from codivide.data.rows import Rows, SparseRows, TensorRows

KIND = "own"
MADE = f"{KIND}:embeddings"  # what embeddings are called, which nothing has to make
_SAME = 0.1  # of the largest feature of a sample: by less it may differ with the batch
_LONG = 100  # letters of a value that a message shows
_AT_ONCE = {"text": 1024, "image": 64}  # samples that a function is given


class Own:
    """What a user's part makes of texts or images.

    A function takes a list of texts, or uint8 images ``[B, H, W, C]``, and returns an array ``[B, D]``. A torch module
    takes float images ``[B, C, H, W]`` from 0 to 1 and runs in evaluation mode on the encoder's device. A transformer
    of scikit-learn takes a list of texts, or uint8 images as rows ``[B, H * W * C]``; a copy of it is fitted on
    those of the training part. Embeddings are an array ``[N, D]`` of the training samples, in their order; a model of
    them takes those of new samples.

    Args:
        part: the function, module, transformer or embeddings; None: that of a model which was read from a file.
        name: ``own:`` and what it is called; None: from the part.
        takes: "text" or "image"; known when it is first used.
        shape: of the images that it was used on.

    Raises:
        InputError: a part that is none of these.
    """

    def __init__(self, part: Any, name: str | None = None, takes: Takes = "image", shape: tuple[int, ...] = ()) -> None:
        check_instance("encoder", part)
        made = _is_array(part)
        if part is not None and not (made or callable(part) or hasattr(part, "transform")):
            said = repr(part)
            raise InputError(
                f"encoder {said if len(said) < _LONG else type(part).__name__}: give a name, a function of a list of "
                "texts or of images [B, H, W, C], a torch module, a transformer of scikit-learn, or an array [N, D] of "
                "embeddings"
            )
        self.part, self.takes, self.shape = part, takes, shape
        self.name = name or (MADE if made else f"{KIND}:{getattr(part, '__qualname__', type(part).__name__)}")

    @property
    def is_made(self) -> bool:
        """Whether it is embeddings, so that a model takes those of new samples."""
        return self.name == MADE

    def fitted(self, takes: Takes, samples: Any) -> Own:
        """The encoder of these training samples: rows of images, or a list of texts."""
        shape = () if takes == "text" else tuple(samples.shape)
        part = self.part
        if _transforms(part):
            from sklearn.base import clone

            part = clone(part).fit(list(samples) if takes == "text" else _flat(np.concatenate(list(_images(samples)))))
        return Own(part, self.name, takes, shape)

    def again(self, part: Any) -> Own:
        """The same encoder with the part that no file holds.

        Raises:
            InputError: it is of another name, or a transformer that is not fitted.
        """
        given = Own(part)
        if self.is_made:
            raise InputError(
                "this model takes embeddings as they are: leave encoder out, and give those of new samples"
            )
        if given.name != self.name:
            raise InputError(f"the encoder of this model is {self.name}, and {given.name} was given")
        if _transforms(part):
            from sklearn.exceptions import NotFittedError
            from sklearn.utils.validation import check_is_fitted

            try:
                check_is_fitted(part)
            except NotFittedError:
                raise InputError(
                    f"encoder {self.name!r} is not fitted: give the copy that was, clf.model_.encoder.part"
                ) from None
        return Own(part, self.name, self.takes, self.shape)

    def encode(self, samples: Any, how: Encoding | None = None) -> Rows:
        """Rows ``[N, D]``.

        Raises:
            InputError: the part is not there, or does not give one row of finite numbers a sample.
        """
        if self.is_made:
            return self._embeddings(len(samples))
        if self.part is None:
            raise InputError(
                f"this model was made with an encoder of your own ({self.name}), which no file holds: in Python, "
                "codivide.load_model(path, encoder=...) takes it again"
            )
        encoding = how or Encoding()
        function = self._function(encoding.device)
        found: list[Any] = []
        with Working(f"encoding ({self.name})", len(samples), shown=encoding.progress) as work:
            for batch in self._batches(samples):
                rows = self._checked(function(batch), len(batch))
                if not found and len(batch) > 1:
                    self._check_alone(rows, self._checked(function(batch[:1]), 1))
                found.append(rows)
                work.advance(len(batch))
        widths = {rows.shape[1] for rows in found}
        if len(widths) > 1:
            raise self._depends(min(widths), max(widths))
        if any(sparse.issparse(part) for part in found):
            return SparseRows(sparse.csr_matrix(sparse.vstack(found), dtype=np.float32))
        return TensorRows(torch.from_numpy(np.concatenate(found).astype(np.float32)))

    def header(self) -> dict[str, Any]:
        """What it takes, and the shape of the images."""
        return {"takes": self.takes, "shape": list(self.shape)}

    def tensors(self) -> dict[str, Tensor]:
        """None: the part stays with the user."""
        return {}

    def check(self) -> str | None:
        """A checksum of embeddings, which no name tells apart; None of what makes features."""
        if not self.is_made or self.part is None:
            return None
        rows = self._checked(self.part, _length(self.part))
        return f"{array_sum(np.ascontiguousarray(rows.data if sparse.issparse(rows) else rows)):08x}"

    def _embeddings(self, count: int) -> Rows:
        """Those that were given, for so many samples."""
        if self.part is None:
            raise InputError("this model was made of embeddings: give those of the samples, [N, D]")
        rows = self._checked(self.part, _length(self.part))
        if rows.shape[0] != count:
            raise InputError(
                f"encoder holds embeddings of {rows.shape[0]:,} samples, and there are {count:,}: one row for each "
                "training sample is needed, in the same order; a model of them takes embeddings of new samples"
            )
        if sparse.issparse(rows):
            return SparseRows(sparse.csr_matrix(rows, dtype=np.float32))
        return TensorRows(torch.from_numpy(rows.copy()))

    def _function(self, device: str) -> Callable[[Any], Any]:
        if not isinstance(self.part, nn.Module):
            function: Callable[[Any], Any] = getattr(self.part, "transform", self.part)
            if self.takes == "image" and _transforms(self.part):
                return lambda images: function(_flat(images))
            return function
        if self.takes == "text":
            raise InputError(f"encoder {self.name!r} is a torch module, which takes images, but the samples are texts")
        place = resolve_device(device)
        module = self.part.to(place).eval()

        @torch.inference_mode()
        def features(images: Any) -> Any:
            x = torch.from_numpy(images).to(place).permute(0, 3, 1, 2).float() / 255
            return module(x).flatten(1).cpu().numpy()

        return features

    def _batches(self, samples: Any) -> Iterator[Any]:
        if self.takes != "text":
            yield from _images(samples)
            return
        size = _AT_ONCE["text"]
        for start in range(0, len(samples), size):
            yield list(samples[start : start + size])

    def _check_alone(self, rows: Any, alone: Any) -> None:
        """Compare the first row of a batch with that of the same sample alone: another batch holds other samples.

        Raises:
            InputError: it has another length.
        """
        if rows.shape[1] != alone.shape[1]:
            raise self._depends(alone.shape[1], rows.shape[1])
        row, other = (part[[0]].toarray() if sparse.issparse(part) else part[[0]] for part in (rows, alone))
        if np.abs(row - other).max() > _SAME * np.abs(row).max():
            warnings.warn(
                f"encoder {self.name!r} gives other features for a sample alone than among others, so that new samples "
                "look otherwise than those of the training: fit what it learns before (a transformer of scikit-learn "
                "is passed itself), and set a torch module to eval()",
                TrainingWarning,
                stacklevel=2,
            )

    def _depends(self, one: int, other: int) -> InputError:
        return InputError(
            f"encoder {self.name!r} gives {one} features for some samples and {other} for others, so that they depend "
            "on what else is in a batch: fit what it learns before (a transformer of scikit-learn is passed itself)"
        )

    def _checked(self, rows: Any, count: int) -> Any:
        """A matrix of as many finite rows."""
        if isinstance(rows, Tensor):
            rows = rows.detach().cpu().numpy()
        if not sparse.issparse(rows):
            try:
                rows = np.asarray(rows, dtype=np.float32)
            except (TypeError, ValueError) as error:
                raise InputError(f"encoder {self.name!r} gives no numbers, or unequal rows of them: {error}") from None
        if len(rows.shape) != 2 or rows.shape[0] != count:
            raise InputError(
                f"encoder {self.name!r} gave shape {rows.shape} for {count} samples; ({count}, D) is needed"
            )
        if not np.isfinite(rows.data if sparse.issparse(rows) else rows).all():
            raise InputError(f"encoder {self.name!r} gives features that are NaN or infinite")
        return rows


def _is_array(part: Any) -> bool:
    """Whether a part is an array, a tensor or a table of embeddings, and nothing that makes them."""
    return isinstance(part, np.ndarray | Tensor) or sparse.issparse(part) or hasattr(part, "iloc")


def _length(part: Any) -> int:
    return int(part.shape[0])


def _transforms(part: Any) -> bool:
    return not isinstance(part, nn.Module) and not _is_array(part) and hasattr(part, "transform")


def _images(samples: Any) -> Iterator[Any]:
    """uint8 images ``[B, H, W, C]`` of rows, some at a time."""
    for ids in torch.split(torch.arange(len(samples)), _AT_ONCE["image"]):
        yield samples[ids].cpu().permute(0, 2, 3, 1).contiguous().numpy()


def _flat(images: Any) -> Any:
    """Images as rows of numbers, as transformers take them."""
    return images.reshape(len(images), -1)


def as_encoder(given: Any) -> str | Encoder:
    """A name or an encoder as it is, and a user's own part as one.

    Raises:
        InputError: something else.
    """
    if isinstance(given, str) or (hasattr(given, "encode") and hasattr(given, "takes")):
        known: str | Encoder = given
        return known
    return Own(given)


def _make(name: str, samples: Any) -> Encoder:
    raise InputError(
        f"encoder {name!r} is somebody's own function: pass it in Python, as NoisyLabelClassifier(encoder=...)"
    )


def _restore(name: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Encoder:
    takes: Takes = "text" if header["takes"] == "text" else "image"
    return Own(None, name, takes, tuple(int(side) for side in header["shape"]))


#: The line of ``ENCODERS``.
OWN = EncoderKind("image", _make, _restore, rests=("NAME",))
