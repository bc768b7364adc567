"""The audit page: facts in, one HTML file out that works from disk and asks no network.

What the facts hold is hostile: class names, paths and texts may be anything. They enter the page as JSON in blocks that
are no scripts, through ``tojson``; the page's own script turns them into text nodes. A content security policy allows
exactly that script and that style, by their hashes, images in data URIs, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from codivide.core.errors import InputError, option
from codivide.core.files import FORMULA, NUMBER, write_text
from codivide.core.words import row_in_words
from codivide.runs.claim import locked, sweep_drawn
from codivide.runs.folder import REPORT_MARK, has_mark, has_run

FORMAT = 1  # of the facts that this page can draw
INLINE = 1000  # issues in the page itself; the rest lies in files beside it
BLOCK = 100  # issues that are read at once: 1.5 MB with pictures, some 20 ms to parse
ROWS = 5  # as many blocks make one of rows of numbers, which share more of what they show
NAMES = 5000  # names that are read at once
CHUNK = 2000  # issues that are described at once, in whole blocks
WORDS = 300  # characters of a text that the list shows and the search finds
ROW_WORDS = 60  # the same of a row of numbers
PAGE = files(__package__) / "page"  # also of a package in an archive
SCRIPTS = (
    "text",
    "storage",
    "blocks",
    "charts",
    "targets",
    "summary",
    "confusion",
    "queue",
    "list",
    "card",
    "dialogs",
    "app",
)
_OURS = re.compile(r"(names)?\d{5}-[0-9a-f]{16}\.js")
_SIDE = str.maketrans({"'": "\\'", "\\": "\\\\"})  # in a string of a script


def page(facts: Mapping[str, Any], served: Mapping[str, Any] | None = None) -> str:
    """The whole page as one text with all issues in it.

    Args:
        facts: what ``codivide.audit.facts.collect`` gives.
        served: ``{"token": ...}`` for the page of a server: it keeps decisions at ``api/decisions`` (with the token in
            the header ``X-Codivide-Token``) in place of the browser's storage, and shows ``original/<row>``. With
            ``"new_classes": True`` decisions may name classes that are new. None: a page for itself, which asks no
            network and takes new classes.

    Returns:
        HTML that is ASCII.

    Raises:
        InputError: facts of another format, or numbers that are not finite.
    """
    parts = _Parts()
    parts.take(facts["issues"])
    return _page(facts, parts, served)


def write(
    facts: Mapping[str, Any], path: str | Path, limit: int = INLINE, issues: Sequence[Any] | None = None
) -> list[Path]:
    """Write the page; where there are more than ``limit`` issues, the others into a folder beside it.

    The folder is called ``report_files`` for ``report.html``. Its files are written first and named by their content,
    so the page that was there before works until the new one takes its place. They are read when they are needed: a
    hundred issues with all that the page shows of them, and the names of 5,000.

    Args:
        facts: what ``codivide.audit.facts.collect`` gives.
        path: the page, replaced where it exists.
        limit: issues in the page itself, in whole blocks of 100 (of rows of numbers 500).
        issues: all issues, where they are too many for ``facts`` (the second of ``codivide.audit.facts.paged``).

    Returns:
        What was written, the page first.

    Raises:
        InputError: the folder of ``path`` does not exist, ``path`` is a folder, or the facts cannot be drawn.
    """
    path = Path(path)
    check_target(path)
    folder = path.with_name(f"{path.stem}_files")
    with _held(path):
        if has_run(path.parent):
            sweep_drawn(path.parent)
        before = {left.name for left in folder.iterdir()} if folder.is_dir() else set()
        parts = _Parts(max(limit, 0), folder)
        try:
            parts.take(facts["issues"] if issues is None else issues)
            write_text(path, _page(facts, parts, None))
        except BaseException:  # what cannot be drawn leaves what was there
            _remove(folder, {name for name in parts.names if name not in before})
            raise
        _remove(folder, before - set(parts.names))  # of an older page
    return [path, *(folder / name for name in parts.names)]


def _remove(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        if _OURS.fullmatch(name):
            (folder / name).unlink(missing_ok=True)


class _Parts:
    """The issues of a page in parts: some for the page itself, the others for files beside it.

    Args:
        limit: issues in the page itself; None: all.
        folder: for the files.

    Attributes:
        size: issues of a block.
        first: how many issues are in the page itself.
        inline: their blocks.
        index: what list, search, order and filters need of every issue, as columns; ids and words of the first.
        blocks, words: the files of the other blocks, and of their ids and words, by their number.
        names: of all files that were written.
    """

    def __init__(self, limit: int | None = None, folder: Path | None = None) -> None:
        self.limit, self.folder, self.first, self.size = limit, folder, 0, BLOCK
        self.inline: list[dict[str, Any]] = []
        self.blocks: dict[int, str] = {}
        self.words: dict[int, str] = {}
        self.names: list[str] = []
        self.index: dict[str, list[Any]] = {"id": [], "words": []}
        self._waiting: dict[str, list[Any]] = {"id": [], "words": []}

    def take(self, issues: Sequence[Any]) -> None:
        """Take in all issues, some at a time."""
        count = len(issues)
        begun = issues[: count if self.limit is None else self.limit]
        if begun and begun[0]["fields"] is not None:
            self.size *= ROWS
        self.first = count if self.limit is None else min(count, -(-self.limit // self.size) * self.size)
        columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        edges = [0, *range(self.first, count, max(CHUNK // self.size, 1) * self.size), count]
        for start, stop in pairwise(edges):
            some = [*begun[start:stop], *issues[max(start, len(begun)) : stop]]
            for name, column in columns.items():
                column += [issue[name] for issue in some]
            self._pack(some, start)
        while self._waiting["id"]:
            self._flush()
        self.index |= {short: _rounded(columns[name]) for name, short in _COLUMNS.items()}

    def _pack(self, some: Sequence[Mapping[str, Any]], start: int) -> None:
        for at in range(0, len(some), self.size):
            block, issues = (start + at) // self.size, some[at : at + self.size]
            inside = start + at < self.first
            kept = self.index if inside else self._waiting
            kept["id"] += [issue["id"] for issue in issues]
            kept["words"] += [_words(issue) for issue in issues]
            if inside:
                self.inline.append(_block(issues))
            else:
                self.blocks[block] = self._write("", block, _block(issues))
            if len(self._waiting["id"]) >= NAMES:
                self._flush()

    def _flush(self) -> None:
        """Write the next names."""
        number = len(self.words)
        part = {name: values[:NAMES] for name, values in self._waiting.items()}
        self._waiting = {name: values[NAMES:] for name, values in self._waiting.items()}
        self.words[number] = self._write("names", number, part)

    def _write(self, kind: str, number: int, content: Mapping[str, Any]) -> str:
        """A script that hands a part over as JSON in a string, which is parsed and never evaluated."""
        assert self.folder is not None
        try:
            packed = json.dumps(content, allow_nan=False, separators=(",", ":")).translate(_SIDE)
        except ValueError as error:
            raise InputError(f"the facts cannot be drawn: {error}") from None
        text = f"codivideBlock('{kind}{number}', '{packed}');\n"
        name = f"{kind}{number:05d}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.js"
        self.folder.mkdir(exist_ok=True)
        self.names.append(name)
        write_text(self.folder / name, text)
        return f"{self.folder.name}/{name}"


_COLUMNS = {"row": "row", "given": "given", "suggested": "suggested", "clean_prob": "clean", "suggested_prob": "sure"}


def _rounded(values: list[Any]) -> list[Any]:
    """Four digits after the point: the list shows two of them, and the rank is the order."""
    return [round(value, 4) if isinstance(value, float) else value for value in values]


def check_target(path: Path) -> None:
    """InputError when no page can be written to ``path``, or it holds anything else; asked before any long work."""
    if path.is_dir():
        raise InputError(f"{option('out', str(path))} is a folder; name a file, such as {path / 'report.html'}")
    if path.exists() and not has_mark(path, REPORT_MARK):
        raise InputError(f"{option('out', str(path))} exists and is no page of codivide; give another file")
    if not path.parent.is_dir():
        raise InputError(f"{option('out', str(path))}: the folder {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{option('out', str(path))}: the folder {path.parent} cannot be written to")
    with _held(path):  # nobody else is writing there
        pass


def _held(path: Path) -> AbstractContextManager[None]:
    """The lock of the folder of a page, where it is a run's."""
    return locked(path.parent) if has_run(path.parent) else nullcontext()


def fingerprint(facts: Mapping[str, Any]) -> str:
    """What tells a run's decisions in a browser from another run's; the same whatever the number of issues listed."""
    names = ("name", "method", "samples", "classes", "confusion", "curves", "losses")
    text = json.dumps([facts[name] for name in names], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def policy(style: str, script: str, *, paged: bool = False, served: bool = False) -> str:
    """The content security policy of a page.

    Args:
        style: its style sheet.
        script: its script.
        paged: whether it loads files of issues that lie beside it.
        served: whether it speaks with the server that it came from.
    """
    own = " 'self'"
    rules = {
        "default-src": "'none'",
        "script-src": f"'sha256-{_sha256(script)}'{own * paged}",
        "style-src": f"'sha256-{_sha256(style)}'",
        "img-src": f"data:{own * served}",
        "connect-src": own.strip() if served else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        # No text becomes markup or code, whatever a mistake in the script might try.
        "require-trusted-types-for": "'script'",
        "trusted-types": "codivide" if paged else "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _page(facts: Mapping[str, Any], parts: _Parts, served: Mapping[str, Any] | None) -> str:
    if facts.get("format") != FORMAT:
        raise InputError(f"facts of format {facts.get('format')!r}: this version of codivide draws format {FORMAT}")
    style, script = _assets()
    how = {"token": None, "new_classes": True} if served is None else {"new_classes": False, **served}
    names = {"first": parts.first, "size": NAMES, "files": parts.words}
    config = {"fingerprint": fingerprint(facts), "block": parts.size, "files": parts.blocks, "names": names, **how}
    try:
        return _template().render(
            policy=policy(style, script, paged=bool(parts.blocks), served=served is not None),
            # Package files, no data: they stand in the page as they are, or their hashes would not fit.
            style=Markup(style),
            script=Markup(script),
            config=config,
            facts={name: value for name, value in facts.items() if name != "issues"},
            index=parts.index,
            blocks=enumerate(parts.inline),
        )
    except ValueError as error:
        raise InputError(f"the facts cannot be drawn: {error}") from None


def _words(issue: Mapping[str, Any]) -> str:
    if issue["text"] is not None:
        return str(issue["text"])[:WORDS]
    fields = (issue["fields"] or [])[: ROW_WORDS // 4]  # none takes less than "a 1,"
    return row_in_words(fields)[:ROW_WORDS]


def _block(issues: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The rest of some issues; what several of them show (a picture, a name, the names of fields) is there once."""
    pool: dict[str, int] = {}
    layouts: dict[tuple[str, ...], int] = {}

    def packed(item: str | None) -> int | None:
        return None if item is None else pool.setdefault(item, len(pool))

    details = []
    for issue in issues:
        near, fields = issue["neighbours"], issue["fields"]
        names = None if fields is None else layouts.setdefault(tuple(name for name, _ in fields), len(layouts))
        detail = {
            "text": issue["text"],
            "fields": None if fields is None else [names, *(value for _, value in fields)],
            "neighbours": None if near is None else [near["agree"], near["of"]],
            "range": issue.get("range"),
            "thumbnail": packed(issue["thumbnail"]),
            "examples": [[packed(item) for item in issue["examples"][name]] for name in ("given", "suggested")],
        }
        details.append({name: value for name, value in detail.items() if value is not None})
    named = [[packed(name) for name in layout] for layout in layouts]
    return {"issues": details, "layouts": named, "pool": list(pool)}


@cache
def _assets() -> tuple[str, str]:
    """The style sheet and the script; nothing of the script is visible from outside of it."""
    scripts = "\n".join((PAGE / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    patterns = f"const FORMULA = /^{FORMULA.pattern}/;\nconst NUMBER = /^({NUMBER.pattern})$/i;"
    return (PAGE / "page.css").read_text("utf-8"), f'"use strict";\n(() => {{\n{patterns}\n{scripts}}})();\n'


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment.from_string((PAGE / "page.html.jinja").read_text("utf-8"))


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
