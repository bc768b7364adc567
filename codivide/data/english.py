"""Whether texts are English, for an encoder that knows no other language."""

from __future__ import annotations

import re
from collections.abc import Sequence

_COMMON = frozenset(
    (
        *("the", "and", "to", "that", "it", "for", "with", "are", "this", "you", "be", "have", "not", "by", "from"),
        *("at", "which", "my", "your", "its", "as", "can", "an", "or", "on", "has", "if", "they", "but", "we"),
    )
)
_LEAST = 0.04  # of all words; in English sets 0.12 to 0.24, in French, Dutch, Chinese and Hausa ones below 0.02
_LOOKED_AT = 1_000  # texts
_BEGINNING = 1_000  # characters of a text: a long one does not outvote the others


def looks_english(texts: Sequence[str]) -> bool:
    """Whether one word in 25, at least, is among the commonest of English; of many texts some are looked at.

    Lists of names, titles and key words have few such words, and are not taken for English.

    Example:
        >>> looks_english(["the lamp broke after a week, so I sent it back"])
        True
        >>> looks_english(["la lampe est tombée en panne", "blue shoes size 9"])
        False
    """
    some = texts[:: max(len(texts) // _LOOKED_AT, 1)]
    words = [word for text in some for word in re.findall(r"[^\W\d_]+", text[:_BEGINNING].casefold())]
    return sum(word in _COMMON for word in words) >= max(_LEAST * len(words), 1)
