"""The words of README and of the documentation: sentences of at most 30 words, no insider words, one spelling.

``python docs/words.py [FILE ...]`` prints every place that breaks a rule and exits with 1; ``make lint`` runs it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST = 30  # words in a sentence
#: What only those who wrote the code would understand, with what to say; and American spellings.
WORDS = {
    r"scout\w*": "short run",
    r"trials?": "short run, or a word for what is tried",
    r"witness\w*": "earlier run",
    r"peeks?": "chosen with the test labels",
    r"(?:it|can|could) resolves?": "what may be chance",
    r"color\w*": "colour",
    r"labeled|labeling|unlabeled": "labelled",
    r"behavior|neighbor\w*|gray|(?<!joint[ \n])optimiz\w*|normaliz\w*|regulariz\w*|memoriz\w*": "British spelling",
}
#: Where a word of the list is a name: in code, in the names of papers, files and fields.
BLOCK = re.compile(
    r"^ *(```|~~~).*?^ *\1|^---$.*?^---$|<!--.*?-->|\$\$.*?\$\$|\\\[.*?\\\]|^:::.*?(?=^\S|\Z)", re.MULTILINE | re.DOTALL
)
INLINE = re.compile(
    r"``.*?``|`[^`]*`|\$[^$\n]+\$|\\\(.*?\\\)|!?\[([^\]]*)\]\([^)]*\)|<[^>]+>|\*[^*]+\*(?=,)|https?://\S+"
)


END = r"(?<=[.!?])[\s*_)]+(?=[A-Z\d(*\"'x`]|p\(|$)"


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of every sentence: of paragraphs, of items of a list, of cells of a table."""
    text = BLOCK.sub(lambda found: "\n" * found.group().count("\n"), text)
    text = INLINE.sub(lambda found: (found.group(1) or "x") + "\n" * found.group().count("\n"), text)
    line, before = 1, ""
    for part in re.split(r"(\n\s*\n|\n(?=\s*(?:[-*|#:!]|\d+\.)\s)|\n(?=\|)| \| )", text):
        begin = line
        line += part.count("\n")
        cell = part.lstrip().startswith("|") or before == " | "  # of a table: no sentences, but notes
        before = part
        for sentence in re.split(END + "|; " if cell else END, part):
            yield begin, sentence


def found(text: str) -> Iterator[tuple[int, str]]:
    """Line and what is wrong with it."""
    for line, sentence in sentences(text):
        words = re.findall(r"[\w'’%./+-]*\w[\w'’%./+-]*", sentence)
        if len(words) > MOST:
            yield line, f"{len(words)} words: {' '.join(sentence.split())[:90]}"
        for pattern, instead in WORDS.items():
            if hit := re.search(rf"\b(?:{pattern})\b", sentence, re.IGNORECASE):
                yield line, f"{hit.group()}: {instead}"


def pages() -> list[Path]:
    """README and all pages."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> None:
    """Print what is found in the files, by default README and all pages."""
    paths = [Path(name) for name in sys.argv[1:]] or pages()
    lines = [f"{path}:{line}: {what}" for path in paths for line, what in found(path.read_text(encoding="utf-8"))]
    print("\n".join(lines) or "words: nothing to change")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
