"""Names of rare classes that may be typing errors of those of frequent ones."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from codivide.core.types import Labels

_NUMBERING = re.compile(r"\d+|(?<![^\W\d_])(?:[^\W\d_]|[ivx]+)(?![^\W\d_])")  # numbers, single letters, Roman numerals
_LAST, _FIRST = re.compile(r"[^\W\d_]*$"), re.compile(r"^[^\W\d_]*")  # letters of a text
_SLIP = 10  # times as many labels as a class has the one of which it may be a slip of the fingers
_OTHER = 50  # the same where it has another letter, or one more or less at its end, as real names and plurals have, too
_LETTERS = 4  # of a word; shorter ones are alike by chance ("bar" and "bear")
_MORE_LETTERS = 6  # of a word where a letter is missing, left over or another ("hose" and "horse", "mule" and "mole")
_FAMILY = 50  # names that one letter at the same place tells apart, as in "char_a", "char_b": more are meant so
_MOST_LETTERS = 100  # of a name; longer labels are texts


def meant(names: Sequence[str], counts: Labels, rare: Iterable[int]) -> dict[int, str]:
    """The names of frequent classes of which those of rare ones may be typing errors.

    One error makes one of the other, upper and lower case aside. A letter that is doubled, or is not, or has changed
    place with its neighbour, and a letter that is missing or left over within a long word, need ten times as many
    labels. Another letter, or one more or less at the end of a long word ("cattle" and "castle", plurals), need fifty
    times as many. The first letter of a word is right, which tells "typical" from "atypical". What differs is neither a
    number nor a letter that stands alone, as in "type 1", "class_b" and "stage IV". Of more than 50 names that one
    letter at the same place tells apart none is an error.

    Args:
        names: ``[C]``.
        counts: labels of each ``[C]``.
        rare: the numbers of the rare classes.

    Returns:
        By number of the rare class, for those that have one; of several the most frequent.

    Example:
        >>> import numpy as np
        >>> meant(["Austria", "Australia", "Asutria"], np.array([300, 9000, 4]), [0, 2])
        {2: 'Austria'}
    """
    folded = [name.casefold() for name in names]
    places = defaultdict[str, list[int]](list)
    for k, name in enumerate(folded):
        for key in _keys(name):
            places[key].append(k)
    found = {}
    for k in rare:
        near = {j for key in _keys(folded[k]) if len(places[key]) <= _FAMILY for j in places[key]} - {k}
        fits = [j for j in sorted(near) if _fits(folded[j], folded[k], counts[j] / max(counts[k], 1))]
        if fits:
            found[k] = names[max(fits, key=counts.__getitem__)]
    return found


def _keys(name: str) -> set[str]:
    """A name, and it without each letter but the first: names that one error makes of each other share one."""
    if not _LETTERS <= len(name) <= _MOST_LETTERS:
        return set()
    return {name, *(name[:place] + name[place + 1 :] for place in range(1, len(name)))}


def _fits(name: str, typed: str, times: float) -> bool:
    """Whether one typing error makes the other of a name that is so many times as frequent."""
    return times >= _SLIP and (needed := _times(name, typed)) is not None and times >= needed


def _shared(one: str, other: str) -> int:
    """How many letters at the beginning two texts share."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((k for k, (left, right) in pairs if left != right), min(len(one), len(other)))


def _times(name: str, typed: str) -> int | None:
    """How many times as frequent the name has to be; None: one typing error does not make the other of it."""
    if _NUMBERING.sub("", name).strip() == _NUMBERING.sub("", typed).strip():
        return None
    before = _shared(name, typed)
    after = _shared(name[before:][::-1], typed[before:][::-1])
    right, wrong = (text[before : len(text) - after] for text in (name, typed))
    start, end = _LAST.findall(name[:before])[0], _FIRST.findall(name[len(name) - after :])[0] if after else ""
    word = len(start) + max(len(right), len(wrong)) + len(end)
    if not start or word < _LETTERS:
        return None
    if len(right) == len(wrong) == 2 and right == wrong[::-1]:
        return _SLIP
    if len(right + wrong) == 1 and right + wrong in (start[-1], end[:1]):
        return _SLIP
    if word < _MORE_LETTERS:
        return None
    if len(right + wrong) == 1 and end:
        return _SLIP
    return _OTHER if len(right) < 2 > len(wrong) else None
