"""Images whose files lie in a table or an archive: in Parquet as Hugging Face writes them, or in WebDataset tars."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import ImageOps

from codivide.core.errors import InputError, option
from codivide.data.images import are_image_names, is_image_name, open_content

IMAGE = "image"  # what the column is called from here on
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P4", b"P5", b"P6")
_LABELS = ("cls", "label", "txt")  # suffixes of a WebDataset sample that hold its label
_SHARDS = re.compile(r"\{(\d+)\.\.(\d+)\}")


class EncodedImages:
    """Image files in memory as (image, label) items.

    Args:
        contents: bytes of each file; None: there is none.
        labels: of each, None where there is none.

    Attributes:
        sizes: width and height ``[N, 2]`` of those that were read.
    """

    def __init__(self, contents: Sequence[bytes | None], labels: Sequence[Any]) -> None:
        self.contents, self.labels = contents, labels
        self.sizes = np.zeros((len(contents), 2), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.contents)

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        content = self.contents[index]
        if content is None:
            raise ValueError("no image")
        image = ImageOps.exif_transpose(open_content(content))
        self.sizes[index] = image.size
        return image, self.labels[index]


def with_images(table: pd.DataFrame, where: object) -> pd.DataFrame:
    """The table with its column of image files called "image", as bytes; of files that are only named, "path".

    A column holds images where its first cell is the bytes of one, or ``{"bytes": ..., "path": ...}``. One that is
    called "image" may also hold the names of files.

    Raises:
        InputError: several columns hold images.
    """
    found = [name for name in table.columns if _holds_images(table[name])]
    if not found:
        named = IMAGE in table and "path" not in table and are_image_names(table[IMAGE].dropna().tolist())
        return table.rename(columns={IMAGE: "path"}) if named else table
    if len(found) > 1 and IMAGE not in found:
        raise InputError(
            f"{where}: columns {', '.join(map(repr, found))} hold images; choose one with {option('columns')}"
        )
    name = IMAGE if IMAGE in found else found[0]
    contents = [_content(value) for value in table[name].tolist()]
    table = table.drop(columns=[*found, *(other for other in (IMAGE,) if other in table and other not in found)])
    if all(isinstance(content, str) or content is None for content in contents) and "path" not in table:
        return table.assign(path=[content or "" for content in contents])
    return table.assign(**{IMAGE: pd.Series(contents, index=table.index, dtype=object)})


def has_images(table: pd.DataFrame) -> bool:
    """Whether the samples of a table ``with_images`` are images that lie in it."""
    return IMAGE in table and any(isinstance(value, bytes) for value in table[IMAGE].tolist())


def contents_of(table: pd.DataFrame) -> list[bytes | None]:
    """The files of a table ``with_images``."""
    return [value if isinstance(value, bytes) else None for value in table[IMAGE].tolist()]


def _holds_images(column: pd.Series[Any]) -> bool:
    if column.dtype != object:
        return False
    known = column.dropna()
    first = known.iloc[0] if len(known) else None
    if isinstance(first, Mapping):
        return "bytes" in first and set(first) <= {"bytes", "path"}
    return isinstance(first, bytes) and (first.startswith(_MAGIC) or first[4:8] == b"ftyp" or first[8:12] == b"WEBP")


def _content(value: Any) -> bytes | str | None:
    """Bytes of a file, or its name where there are none."""
    if isinstance(value, Mapping):
        return value.get("bytes") or value.get("path")
    return value if isinstance(value, bytes) else None


def read_tar(content: bytes, path: Path, said: list[str]) -> pd.DataFrame:
    """The samples of a WebDataset tar: files of one name are one, ``000017.jpg`` with ``000017.cls`` or ``.json``.

    A file whose name is there already, and a second image of a sample, are left out and counted: the first one counts,
    so that no image gets the label of another.

    Args:
        content: of the archive.
        path: for messages.
        said: takes a sentence on what was left out.

    Returns:
        Columns image (bytes), id, label where there is one, and what else the ``.json`` files say in single values.

    Raises:
        InputError: no sample with an image, or a ``.json`` that is none.
    """
    samples: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    again: list[str] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                name = member.name.removeprefix("./")
                folder, _, base = name.rpartition("/")
                if file is None or base.startswith("."):
                    continue
                stem, _, suffix = base.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                sample = samples.setdefault(key, {"id": key})
                if name in seen or (_is_image(suffix) and IMAGE in sample):
                    again.append(name)
                    continue
                seen.add(name)
                _take(sample, suffix.lower(), file.read(), f"{path}: {name}")
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    rows = [sample for sample in samples.values() if IMAGE in sample]
    if not rows:
        raise InputError(f"{path} holds no images: a sample is files of one name, such as 000017.jpg and 000017.cls")
    if again:
        said.append(
            f"{path.name}: left out {len(again):,} files of samples that were there already (the first: {again[0]}); a "
            "name is one sample, and its first files count"
        )
    table = pd.DataFrame(rows)
    return table.assign(label=table["label"].astype(object)) if "label" in table else table


def _is_image(suffix: str) -> bool:
    return is_image_name(f"x.{suffix.lower().rpartition('.')[2]}")


def _take(sample: dict[str, Any], suffix: str, content: bytes, where: str) -> None:
    """What a file says of its sample; files of other kinds are left alone."""
    if _is_image(suffix):
        sample[IMAGE] = content
    elif suffix in _LABELS:
        sample.setdefault("label", content.decode("utf-8", "replace").strip())
    elif suffix == "json":
        try:
            found = json.loads(content)
        except ValueError as error:
            raise InputError(f"{where} is no JSON: {error}") from error
        known = found.items() if isinstance(found, dict) else ()
        sample |= {name: value for name, value in known if isinstance(value, str | int | float) and name != IMAGE}


def shards(path: Path) -> list[Path]:
    """The files of ``data-{000..009}.tar`` that are there; empty: the path names no shards, or none is there."""
    found = _SHARDS.search(path.name)
    if found is None:
        return []
    first, last = found.groups()
    names = (path.name.replace(found[0], f"{k:0{len(first)}d}", 1) for k in range(int(first), int(last) + 1))
    return [part for name in names if (part := path.with_name(name)).is_file()]
