"""What mkdocs does besides: it works from any folder, brings results that pages link, draws formulas, hides lists."""

import os
import re
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

NUMBERS = "numbers.md"
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_config(config: Any) -> None:
    """Pages read ``results/`` and run benchmarks by paths from the root, so work in the folder of ``mkdocs.yml``."""
    os.chdir(Path(config.config_file_path).parent)


def on_files(files: Any, config: Any) -> None:
    """The results become files of the site."""
    root = Path(config.config_file_path).parent
    for path in sorted(path for path in (root / "results").rglob("*.*") if path.suffix in (".json", ".parquet")):
        name = path.relative_to(root).as_posix()
        files.append(File(name, str(root), config.site_dir, config.use_directory_urls))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """In the repository the results lie beside ``docs``, on the site below it."""
    return markdown.replace("](../results/", "](results/") if page.file.src_uri == NUMBERS else markdown


def on_page_content(html: str, **_: Any) -> str:
    """Formulas become MathML, which browsers draw by themselves: a page needs no script of others and no network."""

    def drawn(found: re.Match[str]) -> str:
        display = "block" if found[2] == "[" else "inline"
        formula = unescape(found[3]).replace(r"\arg", r"\operatorname{arg}")  # which the converter does not know
        return f"<{found[1]}>{convert(formula, display=display)}</{found[1]}>"

    return FORMULA.sub(drawn, html)


def on_page_context(context: Any, page: Any, **_: Any) -> Any:
    """A page that is a tab of its own has no list of pages beside it, which would name nothing but itself."""
    if page.parent is None:
        page.meta["hide"] = [*page.meta.get("hide", []), "navigation"]
    return context
