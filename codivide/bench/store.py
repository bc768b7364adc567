"""Where results lie: a JSON file each as they are made, and one Parquet file that ``gather`` makes of them.

A folder may hold both. They are read as one, and a JSON file of a name that was gathered counts instead of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from codivide.core.errors import InputError
from codivide.core.files import atomic, reading

GATHERED = "gathered.parquet"

Result = dict[str, Any]


def read(folder: Path | str, pattern: str = "*") -> dict[str, Result]:
    """The results of a folder by name: the path of their JSON file below it, without the ending.

    Args:
        folder: with JSON files, ``gathered.parquet``, both, or nothing.
        pattern: of names, such as ``first/gce_s*``; a ``*`` stays inside its level.

    Returns:
        In the order of names.

    Raises:
        InputError: a file that cannot be read.

    Example:
        >>> read("nowhere")
        {}
    """
    folder, depth = Path(folder), pattern.count("/")
    texts = {
        name: text
        for name, text in _gathered(folder).items()
        if name.count("/") == depth and fnmatchcase(name, pattern)
    }
    texts |= {_name(path, folder): path.read_text(encoding="utf-8") for path in folder.glob(f"{pattern}.json")}
    return {name: _parsed(folder, name, texts[name]) for name in sorted(texts)}


def holds(folder: Path | str, name: str) -> bool:
    """Whether a result of this name is there, as a JSON file or gathered."""
    return (Path(folder) / f"{name}.json").exists() or name in _gathered(Path(folder))


def gather(folder: Path | str) -> tuple[int, int]:
    """Put the JSON files of a folder, at any depth, into its one Parquet file, and remove them.

    The columns are the name, seed, commit and version for whoever looks into it, and ``record``: the text of the JSON
    file, as it was. Nothing is removed before the written file was read again and found equal. Only one process
    may gather at a time.

    Args:
        folder: of the results.

    Returns:
        How many files were gathered, and how many results the folder has now.

    Raises:
        InputError: nothing is there to gather, or a file holds no JSON object; nothing is changed then.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = Path(folder)
    files = {_name(path, folder): path for path in sorted(folder.rglob("*.json"))}
    if not files:
        raise InputError(f"{folder} has no JSON files to gather")
    texts = {**_gathered(folder), **{name: path.read_bytes().decode() for name, path in files.items()}}
    names = sorted(texts)
    about = [_about(_parsed(folder, name, texts[name])) for name in names]
    columns = {"name": names, **{key: [row[key] for row in about] for key in _about({})}}
    table = pa.table({**columns, "record": [texts[name] for name in names]})
    with atomic(folder / GATHERED) as aside:
        pq.write_table(table, aside, compression="zstd", compression_level=19)
    if _gathered(folder) != texts:
        raise InputError(f"{folder / GATHERED} does not hold what was written to it; no JSON file was removed")
    for path in files.values():
        path.unlink()
    inside = [path for path in folder.rglob("*") if path.is_dir()]
    for empty in sorted(inside, reverse=True):  # what lies deeper first
        if not any(empty.iterdir()):
            empty.rmdir()
    return len(files), len(names)


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _about(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a table of results can be sorted by."""
    return {
        "seed": result.get("seed"),
        "commit": result.get("commit"),
        "version": result.get("versions", {}).get("codivide"),
    }


def _parsed(folder: Path, name: str, text: str) -> Result:
    with reading(folder / f"{name}.json"):
        found = json.loads(text)
        if not isinstance(found, dict):
            raise InputError(f"{folder / name}.json cannot be read: it holds no JSON object")
        return found


def _gathered(folder: Path) -> Mapping[str, str]:
    """The text of every gathered result by name."""
    path = folder / GATHERED
    if not path.exists():
        return {}
    stat = path.stat()
    return _texts(path, (stat.st_mtime_ns, stat.st_size, stat.st_ino))


@lru_cache(maxsize=8)
def _texts(path: Path, stamp: tuple[int, ...]) -> Mapping[str, str]:
    """What a gathered file holds; ``stamp`` makes a file that has changed another one."""
    import pyarrow.parquet as pq

    with reading(path):
        found = pq.read_table(path, columns=["name", "record"])
        return dict(zip(found["name"].to_pylist(), found["record"].to_pylist(), strict=True))
