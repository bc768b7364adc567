"""Words, their parts, and what a network makes of the whole text, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import csr_matrix
from torch import Tensor

from codivide.data.encoder import EncoderKind, Encoding, Takes
from codivide.data.networks import Network, TextNet
from codivide.data.rows import Rows, SparseRows
from codivide.data.tfidf import Tfidf

_WORDS = "tfidf:char"
_SHARE = 0.5  # length of the network's part, where that of the words is 1; see docs/reference/encoders.md


class Joined:
    """A row of ``tfidf:char`` and one of a network, both of length 1, the second at half weight; together of length 1.

    Words know names and habits of a set, and any language; the network knows what English words mean.

    Args:
        name: such as "tfidf+minilm".
        words: the vocabulary.
        net: the network.
    """

    takes: Takes = "text"
    shape: tuple[int, ...] = ()

    def __init__(self, name: str, words: Tfidf, net: TextNet) -> None:
        self.name, self.words, self.net = name, words, net

    def encode(self, samples: Sequence[str], how: Encoding | None = None) -> Rows:
        """Sparse rows ``[N, terms + features]``; the network's part comes from the cache where it is there."""
        from sklearn.preprocessing import normalize

        rows = self.net.encode(samples, how)
        meaning = _SHARE * rows[torch.arange(len(samples))].numpy()
        joined = sparse.hstack([self.words.table(samples), csr_matrix(meaning)], format="csr", dtype=np.float32)
        return SparseRows(normalize(csr_matrix(joined), copy=False))

    def header(self) -> dict[str, Any]:
        """Nothing: the network stays where it is, and all else are tensors."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Those of the words."""
        return self.words.tensors()


def joined(net: str, network: Network) -> EncoderKind:
    """The line of ``ENCODERS`` of words beside a network.

    Args:
        net: the encoder that the network is alone, such as "minilm".
        network: the same.
    """

    def make(name: str, texts: Sequence[str]) -> Joined:
        return Joined(name, Tfidf.fit(_WORDS, texts), TextNet(net, network))

    def restore(name: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Joined:
        return Joined(name, Tfidf.restore(_WORDS, header, tensors), TextNet(net, network))

    return EncoderKind("text", make, restore, network.opened, network.install)
