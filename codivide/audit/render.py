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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from codivide.core.errors import InputError
from codivide.core.files import write_text
from codivide.runs.claim import locked, sweep_drawn
from codivide.runs.folder import REPORT_MARK, has_mark, has_run

FORMAT = 1  # of the facts that this page can draw
INLINE = 1000  # issues in the page itself; the rest lies in files beside it
BLOCK = 100  # issues that are read at once: 1.5 MB with pictures, some 20 ms to parse
WORDS = 300  # characters of a text that the list shows and the search finds
ROW_WORDS = 60  # the same of a row of numbers
PAGE = Path(__file__).parent / "page"
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
_OURS = re.compile(r"\d{5}-[0-9a-f]{16}\.js")


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
    return _page(facts, list(_blocks(facts)), {}, served)


def write(facts: Mapping[str, Any], path: str | Path, limit: int = INLINE) -> list[Path]:
    """Write the page; where there are more than ``limit`` issues, the others into a folder beside it.

    The folder is called ``report_files`` for ``report.html``. Its files are written first and named by their content,
    so the page that was there before works until the new one takes its place.

    Args:
        facts: what ``codivide.audit.facts.collect`` gives.
        path: the page, replaced where it exists.
        limit: issues in the page itself, in whole blocks of 100.

    Returns:
        What was written, the page first.

    Raises:
        InputError: the folder of ``path`` does not exist, ``path`` is a folder, or the facts cannot be drawn.
    """
    path = Path(path)
    check_target(path)
    blocks = list(_blocks(facts))
    inline = min(len(blocks), -(-max(limit, 0) // BLOCK))
    folder = path.with_name(f"{path.stem}_files")
    contents = {number: _side_file(number, block) for number, block in enumerate(blocks[inline:], inline)}
    names = {
        number: f"{number:05d}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.js" for number, text in contents.items()
    }
    # The page is made before anything is written: facts that cannot be drawn leave what was there.
    text = _page(facts, blocks[:inline], {number: f"{folder.name}/{name}" for number, name in names.items()}, None)
    with _held(path):
        if has_run(path.parent):
            sweep_drawn(path.parent)
        if contents:
            folder.mkdir(exist_ok=True)
        for number, content in contents.items():
            write_text(folder / names[number], content)
        write_text(path, text)
        if folder.is_dir():
            for left in folder.iterdir():  # of an older page
                if _OURS.fullmatch(left.name) and left.name not in names.values():
                    left.unlink()
    return [path, *(folder / name for name in names.values())]


def check_target(path: Path) -> None:
    """InputError when no page can be written to ``path``, or it holds anything else; asked before any long work."""
    if path.is_dir():
        raise InputError(f"--out {path} is a folder; name a file, such as {path / 'report.html'}")
    if path.exists() and not has_mark(path, REPORT_MARK):
        raise InputError(f"--out {path} exists and is no page of codivide; give another file")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: the folder {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"--out {path}: the folder {path.parent} cannot be written to")
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


def _page(
    facts: Mapping[str, Any], blocks: Sequence[Any], files: Mapping[int, str], served: Mapping[str, Any] | None
) -> str:
    if facts.get("format") != FORMAT:
        raise InputError(f"facts of format {facts.get('format')!r}: this version of codivide draws format {FORMAT}")
    style, script = _assets()
    how = {"token": None, "new_classes": True} if served is None else {"new_classes": False, **served}
    config = {"fingerprint": fingerprint(facts), "block": BLOCK, "files": dict(files), **how}
    try:
        return _template().render(
            policy=policy(style, script, paged=bool(files), served=served is not None),
            # Package files, no data: they stand in the page as they are, or their hashes would not fit.
            style=Markup(style),
            script=Markup(script),
            config=config,
            facts={name: value for name, value in facts.items() if name != "issues"},
            index=_index(facts["issues"]),
            blocks=enumerate(blocks),
        )
    except ValueError as error:
        raise InputError(f"the facts cannot be drawn: {error}") from None


def _index(issues: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """What list, search, order and filters need of every issue, as columns."""
    columns = {"row": "row", "id": "id", "given": "given", "suggested": "suggested", "clean": "clean_prob"}
    index = {name: [issue[key] for issue in issues] for name, key in columns.items()}
    return index | {"sure": [issue["suggested_prob"] for issue in issues], "words": [_words(issue) for issue in issues]}


def _words(issue: Mapping[str, Any]) -> str:
    if issue["text"] is not None:
        return str(issue["text"])[:WORDS]
    return ", ".join(f"{name} {value}" for name, value in issue["fields"] or [] if value is not None)[:ROW_WORDS]


def _blocks(facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rest of the issues, a hundred at a time; what several of them show (a picture, a name) is there once."""
    for first in range(0, len(facts["issues"]), BLOCK):
        issues = facts["issues"][first : first + BLOCK]
        pool: dict[str, int] = {}

        def packed(item: str | None, pool: dict[str, int] = pool) -> int | None:
            return None if item is None else pool.setdefault(item, len(pool))

        details = [
            {
                "text": issue["text"],
                "fields": None if issue["fields"] is None else [[packed(n), value] for n, value in issue["fields"]],
                "neighbours": issue["neighbours"],
                "range": issue.get("range"),
                "thumbnail": packed(issue["thumbnail"]),
                "examples": {name: [packed(item) for item in items] for name, items in issue["examples"].items()},
            }
            for issue in issues
        ]
        yield {"pool": list(pool), "issues": details}


def _side_file(number: int, block: Mapping[str, Any]) -> str:
    """A script that hands a block over as JSON in a string, which is parsed and never evaluated."""
    return f"codivideBlock({number}, {json.dumps(json.dumps(block, allow_nan=False))});\n"


@cache
def _assets() -> tuple[str, str]:
    """The style sheet and the script; nothing of the script is visible from outside of it."""
    scripts = "\n".join((PAGE / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    return (PAGE / "page.css").read_text("utf-8"), f'"use strict";\n(() => {{\n{scripts}}})();\n'


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment.get_template("page.html.jinja")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
