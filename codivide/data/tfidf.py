"""Texts to word counts: term frequency times inverse document frequency."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csr_matrix
from torch import Tensor

from codivide.core.errors import InputError
from codivide.data.encoder import Encoding, Takes
from codivide.data.rows import Rows, SparseRows

PAIRS_FROM = 1000  # texts from which on a word must come twice to count: what comes once can only be memorised
PARTS = "tfidf:parts"  # of the texts in a column of a table: parts of words alone


class _Terms(NamedTuple):
    """A kind of terms: how scikit-learn reads them, from how many to how many in a row, how many there are at most."""

    analyzer: str
    span: tuple[int, int]
    most: int = 50_000


_WORDS = _Terms("word", (1, 2))
_KINDS: dict[str, tuple[_Terms, ...]] = {
    "tfidf": (_WORDS,),
    "tfidf:char": (_WORDS, _Terms("char_wb", (2, 4), 20_000)),  # 50,000 find no more (results/texts.json)
    PARTS: (_Terms("char_wb", (3, 4)),),
}


class Tfidf:
    """Term frequency times inverse document frequency, rows of length 1: ``(1 + log tf) (1 + log (1 + n)/(1 + df))``.

    Args:
        name: "tfidf", "tfidf:char" or "tfidf:parts".
        parts: a vocabulary (terms by column) and the weight of each term, for every kind of term. One of them may be
            empty: single Chinese characters, emoji or "a b c" are no words, but parts of words read them.
    """

    takes: Takes = "text"
    shape: tuple[int, ...] = ()

    def __init__(self, name: str, parts: Sequence[tuple[list[str], NDArray[np.float32]]]) -> None:
        self.name = name
        self.parts = list(parts)
        self._vectorizers = []
        for kind, (terms, weights) in zip(_kinds(name), self.parts, strict=True):
            if terms:  # scikit-learn refuses to read with no term
                self._vectorizers.append(_vectorizer(kind, vocabulary=terms))
                self._vectorizers[-1].idf_ = weights

    @classmethod
    def fit(cls, name: str, texts: Sequence[str]) -> Tfidf:
        """The vocabulary of some texts: at most 50,000 words and pairs, and 20,000 parts, the most frequent ones.

        Raises:
            InputError: no text holds a term: of words one of two letters, of parts anything but spaces.
        """
        parts = [_found(kind, texts) for kind in _kinds(name)]
        if not any(terms for terms, _ in parts):
            raise InputError(
                "none of the texts holds a word of at least two letters or digits: there is nothing to learn from; "
                "encoder tfidf:char reads single characters, too"
                if any(text.strip() for text in texts)
                else "all texts are empty: there is nothing to learn from"
            )
        return cls(name, parts)

    @classmethod
    def restore(cls, name: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Tfidf:
        """The encoder that gave these tensors.

        Raises:
            KeyError: a tensor is missing.
            ValueError: the vocabulary is damaged.
        """
        parts = []
        for index in range(len(_kinds(name))):
            terms = json.loads(tensors[f"terms.{index}"].numpy().tobytes())
            parts.append((terms, tensors[f"weights.{index}"].numpy()))
        return cls(name, parts)

    def encode(self, samples: Sequence[str], how: Encoding | None = None) -> Rows:
        """Sparse rows ``[N, terms]``; texts without a known word are rows of zeros."""
        return SparseRows(self.table(samples))

    def table(self, samples: Sequence[str]) -> csr_matrix:
        """The same as a matrix."""
        from sklearn.preprocessing import normalize

        parts = [vectorizer.transform(samples) for vectorizer in self._vectorizers]  # rows of length 1, or 0
        joined = sparse.csr_matrix(sparse.hstack(parts, format="csr"), dtype=np.float32)
        return joined if len(parts) == 1 else normalize(joined, copy=False)

    def header(self) -> dict[str, Any]:
        """Nothing: all that there is are tensors."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """For each kind of term, the vocabulary as UTF-8 bytes of a JSON list, and the weights."""
        found: dict[str, Tensor] = {}
        for index, (terms, weights) in enumerate(self.parts):
            text = json.dumps(terms, ensure_ascii=True).encode()
            found[f"terms.{index}"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
            found[f"weights.{index}"] = torch.from_numpy(weights)
        return found


def _kinds(name: str) -> tuple[_Terms, ...]:
    return _KINDS[name]


def _found(kind: _Terms, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float32]]:
    """The terms of one kind in the texts, and their weights; of many texts those of two, where there are any."""
    for least in (2, 1) if len(texts) >= PAIRS_FROM else (1,):
        try:
            found = _vectorizer(kind, min_df=least, max_features=kind.most).fit(texts)
        except ValueError:  # an empty vocabulary
            continue
        return found.get_feature_names_out().tolist(), found.idf_.astype(np.float32)
    return [], np.zeros(0, dtype=np.float32)


def _vectorizer(kind: _Terms, **settings: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        analyzer=kind.analyzer, ngram_range=kind.span, sublinear_tf=True, dtype=np.float32, **settings
    )
