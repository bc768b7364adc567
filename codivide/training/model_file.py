"""The file of a classifier, of any kind: tensors and a header in safetensors, never a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from codivide.core.errors import InputError
from codivide.core.files import read_tensors, save_tensors
from codivide.data.encoder import Taking
from codivide.data.rows import Rows

FORMAT = 2  # 1: other shortcuts in preact_resnet18 and wrn_28_2
KIND = "model"


class Classifier(Taking, Protocol):
    """What every trained classifier can do: networks (``Model``) and heads on features (``FeatureModel``)."""

    classes: tuple[Any, ...]

    def logits(self, rows: Rows) -> Tensor:
        """``[N, C]`` float32 on the CPU; their softmax is ``probs``."""

    def probs(self, rows: Rows) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Class probabilities ``[N, C]``; rows sum to 1."""

    def save(self, path: str | Path) -> None:
        """Write everything that loading needs to one file, atomically."""


def columns_of(header: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of the features in a header; None where they have none, as in files of older versions."""
    names = header.get("columns")
    return None if names is None else tuple(str(name) for name in names)


def write(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any], classes: tuple[Any, ...]) -> None:
    """Write a classifier atomically.

    Args:
        path: the file.
        tensors: everything learned, by name.
        header: JSON values.
        classes: class values in the user's own type.
    """
    values = [value.item() if isinstance(value, np.generic) else value for value in classes]
    save_tensors(Path(path), tensors, KIND, {"format": FORMAT, **header, "classes": values})


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a classifier.

    Raises:
        InputError: no such file, or not a model of this format, or a damaged one; a pickle is refused, never opened.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such model file; give the run folder of a finished `codivide fit`")
    tensors, header = read_tensors(path, KIND)
    if header.get("format") != FORMAT:
        raise InputError(f"{path} has model format {header.get('format')}; this version reads {FORMAT}")
    return tensors, header
