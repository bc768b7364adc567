"""Download public files: streamed aside, resumed after an interruption, checked before they get their name."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import time
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, NamedTuple, cast
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from rich.progress import Progress, TaskID

from codivide.core.errors import InputError
from codivide.data.progress import progress_bar

BLOCK = 2**18


@dataclass(frozen=True)
class Remote:
    """A public file.

    Attributes:
        url: where it is.
        file: where it belongs, below the data folder; for an archive, the name of the archive.
        md5: its published checksum.
        unpack: whether it is a tar archive to unpack into the data folder.
    """

    url: str
    file: str
    md5: str
    unpack: bool = False


def _mirror(base: str, folder: str, sums: dict[str, str]) -> tuple[Remote, ...]:
    return tuple(Remote(f"{base}/{name}", f"{folder}/{name}", md5) for name, md5 in sums.items())


REMOTES: dict[str, tuple[Remote, ...]] = {
    "cifar10": (
        Remote(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "cifar-10-binary.tar.gz",
            "c32a1d4ab5d03f1284b67883e8d87530",
            unpack=True,
        ),
    ),
    "cifar100": (
        Remote(
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            "cifar-100-binary.tar.gz",
            "03b5dce01913d631647c71ecec9e9cb8",
            unpack=True,
        ),
    ),
    "mnist": _mirror(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "MNIST/raw",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion_mnist": _mirror(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "FashionMNIST/raw",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "svhn": _mirror(
        "http://ufldl.stanford.edu/housenumbers",
        "SVHN",
        {
            "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
            "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
        },
    ),
}


def fetch(
    remote: Remote,
    root: Path,
    *,
    progress: bool = False,
    attempts: int = 3,
    wait: float = 1.0,
    timeout: float = 30.0,
) -> Path:
    """Download one file to its place below ``root``, and unpack it if it is an archive.

    What arrived before an interruption stays in a ``.part`` file; the next attempt, or the next call, asks for the
    rest. The file gets its name only when its checksum is right.

    Args:
        remote: the file.
        root: the data folder.
        progress: show a bar, on a terminal only.
        attempts: how often to try.
        wait: seconds before the second attempt; doubled before each later one.
        timeout: seconds without a byte that end an attempt.

    Returns:
        Path of the file (for an archive, which is removed again: of ``root``).

    Raises:
        InputError: no network, a refusal, a full disk or a wrong checksum; it names both sums.
    """
    target = root / remote.file
    part = target.with_name(target.name + ".part")
    patience = _Patience(attempts, wait, timeout)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with progress_bar(shown=progress) as bar:
            task = bar.add_task(target.name, total=None)
            _fetch_part(remote.url, part, patience, _Shown(bar, task))
        _check(remote, part)
        os.replace(part, target)
        if not remote.unpack:
            return target
        extract(target, root)
        target.unlink()
        return root
    except (OSError, HTTPException, tarfile.TarError) as error:
        raise InputError(f"{remote.url} cannot be downloaded to {target}: {error}") from error


def extract(archive: Path, root: Path) -> None:
    """Unpack a tar archive into ``root``: aside first, so that a file is there whole or not at all.

    Args:
        archive: the archive; a member that points outside is refused.
        root: the data folder.
    """
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=root) as aside:
        with tarfile.open(archive) as tar:
            tar.extractall(aside, filter="data")
        for path in sorted(Path(aside).rglob("*")):
            target = root / path.relative_to(aside)
            if path.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                shutil.move(path, target)


class _Patience(NamedTuple):
    """How often to try, seconds before the second attempt, and seconds without a byte that end one."""

    attempts: int
    wait: float
    timeout: float


class _Shown(NamedTuple):
    """Where progress is shown."""

    bar: Progress
    task: TaskID


def _fetch_part(url: str, part: Path, patience: _Patience, shown: _Shown) -> None:
    """Try until the whole body is in ``part``; only trouble that may pass is tried again."""
    for attempt in range(patience.attempts):
        try:
            _attempt(url, part, patience.timeout, shown)
            return
        except HTTPError as error:
            error.close()
            if error.code == 416:  # the part is longer than the file: it is of another version
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code != 429:
                raise
            last: Exception = error
        except (OSError, HTTPException) as error:
            last = error
        if attempt + 1 < patience.attempts:
            time.sleep(patience.wait * 2**attempt)
    raise last


def _attempt(url: str, part: Path, timeout: float, shown: _Shown) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with cast(HTTPResponse, urlopen(request, timeout=timeout)) as answer:
        resumed = answer.status == 206 and _start(answer) == have
        if answer.status == 206 and not resumed:
            raise OSError("the server sent another part of the file than it was asked for")
        have = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        shown.bar.update(shown.task, total=total, completed=have)
        with open(part, "ab" if resumed else "wb") as out:
            have += _copy(answer, out, shown)
    if total is not None and have < total:
        raise OSError(f"the connection ended after {have} of {total} bytes")


def _start(answer: HTTPResponse) -> int:
    """First byte of a partial answer (``Content-Range: bytes 100-199/200``), -1 where it does not say."""
    first = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else -1


def _copy(answer: HTTPResponse, out: IO[bytes], shown: _Shown) -> int:
    copied = 0
    while block := answer.read(BLOCK):
        out.write(block)
        copied += len(block)
        shown.bar.advance(shown.task, len(block))
    out.flush()
    os.fsync(out.fileno())
    return copied


def _check(remote: Remote, part: Path) -> None:
    with open(part, "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != remote.md5:
        part.unlink()
        raise InputError(
            f"{remote.url} has checksum {found}, not {remote.md5}: it was removed. Try again, or place the file by hand"
        )
