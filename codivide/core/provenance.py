"""What a record says about where a number came from: versions, hardware, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from codivide.core.version import VERSION

_PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn")


def environment(device: str = "cpu") -> dict[str, Any]:
    """Versions, processor, threads, accelerator and the commit of a source checkout (None for an installed copy)."""
    import torch

    return {
        "versions": dict(_versions()),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if device.startswith("cuda") else None,
        "commit": commit(),
    }


@cache  # a process runs what it has loaded, whatever is installed meanwhile
def _versions() -> dict[str, str]:
    own = {"python": platform.python_version(), "codivide": VERSION}  # codivide need not be installed
    return own | {name: version(name) for name in _PACKAGES}


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


@cache
def commit() -> str | None:
    """The commit of the checkout that codivide runs from, with "+" when files differ from it; None without git.

    It is asked for once a process: what runs is what was loaded, whatever happens to the files meanwhile.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if git("status", "--porcelain", "--untracked-files=no") else "") if head else None
    except OSError:  # a checkout copied to where no git is
        return None
