"""What mkdocs does besides: it works from any folder, and brings the files of ``results/`` that pages link."""

import os
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

NUMBERS = "numbers.md"


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
