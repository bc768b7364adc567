"""Pages read ``results/`` and run benchmarks by paths from the root, wherever mkdocs was started."""

import os
from pathlib import Path
from typing import Any


def on_config(config: Any) -> None:
    """Work in the folder of ``mkdocs.yml``."""
    os.chdir(Path(config.config_file_path).parent)
