"""CIFAR-10 in one small file, for a machine that is reached by one upload and lent for minutes.

    python benchmarks/pack.py --out cifar10.npz [--step 5] [--train 50000] [--test 6000]

Pixels are rounded to multiples of ``--step`` (5: off by at most 2 of 255; 1: lossless, and 1.7 times as large). What is
left is predicted from the pixels above and to the left (the median edge detector of LOCO-I, Weinberger et al. 1996),
and the errors are compressed by LZMA, in parts that are unpacked side by side. The first images of each part are kept.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

PART = 2000  # images in a compressed part
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "lp": 0, "pb": 0}]


def read(folder: Path, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[N, 3, 32, 32]`` uint8 and labels ``[N]`` of CIFAR-10's binary files."""
    records = np.concatenate([np.fromfile(folder / name, np.uint8).reshape(-1, 3073) for name in names])
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)


def predicted(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """The median of left, above and their plane through the corner."""
    return np.clip(left + above - corner, np.minimum(left, above), np.maximum(left, above))


def levels(step: int) -> int:
    """How many values a pixel may have."""
    return (255 + step // 2) // step + 1


def encode(images: np.ndarray, step: int) -> bytes:
    """Images ``[N, 3, H, W]`` uint8, rounded to multiples of ``step``, as an xz stream."""
    count = levels(step)
    red, green, blue = ((images.astype(np.int16) + step // 2) // step).transpose(1, 0, 2, 3)
    planes = np.stack([green, (red - green + count // 2) % count, (blue - green + count // 2) % count])
    left, above, corner = np.zeros_like(planes), np.zeros_like(planes), np.zeros_like(planes)
    left[..., 1:], above[..., 1:, :], corner[..., 1:, 1:] = planes[..., :-1], planes[..., :-1, :], planes[..., :-1, :-1]
    left[..., 0], corner[..., 0] = above[..., 0], above[..., 0]
    above[..., 0, :], corner[..., 0, :] = left[..., 0, :], left[..., 0, :]
    error = (planes - predicted(left, above, corner)) % count
    return lzma.compress(error.astype(np.uint8).tobytes(), format=lzma.FORMAT_XZ, filters=_FILTERS)


def decode(stream: bytes, images: int, side: int, step: int) -> np.ndarray:
    """What ``encode`` was given, rounded: ``[N, 3, side, side]`` uint8."""
    count = levels(step)
    raw = np.frombuffer(lzma.decompress(stream), np.uint8).reshape(3, images, side, side)
    error = np.ascontiguousarray(raw.transpose(2, 3, 0, 1)).astype(np.int16)
    planes = np.zeros_like(error)  # [side, side, 3, N]: the same pixel of all images lies together
    nothing = np.zeros_like(error[0, 0])
    for y in range(side):
        for x in range(side):
            above = planes[y - 1, x] if y else None
            left = planes[y, x - 1] if x else above
            above = left if above is None else above
            if left is None or above is None:
                guess = nothing
            else:
                guess = predicted(left, above, planes[y - 1, x - 1] if x and y else left)
            planes[y, x] = (error[y, x] + guess) % count
    green, red, blue = planes.transpose(2, 3, 0, 1)
    red, blue = ((plane + green - count // 2) % count for plane in (red, blue))
    return np.minimum(np.stack([red, green, blue], 1) * step, 255).astype(np.uint8)


def unpack(path: Path) -> dict[str, Any]:
    """Images and labels of both parts ("train_x", "train_y", "test_x", "test_y"), "classes" and "step"."""
    with np.load(path, allow_pickle=False) as file:
        header = json.loads(str(file["header"]))
        found: dict[str, Any] = {"classes": tuple(header["classes"]), "step": header["step"]}
        for name in ("train", "test"):
            found[f"{name}_y"] = labels = file[f"{name}_y"]
            starts = range(0, len(labels), PART)
            streams = [file[f"{name}_{start}"].tobytes() for start in starts]
            counts = [min(PART, len(labels) - start) for start in starts]
            make = partial(decode, side=32, step=header["step"])
            with ThreadPoolExecutor() as pool:
                found[f"{name}_x"] = np.concatenate(list(pool.map(make, streams, counts)))
    return found


def main() -> None:
    """Write the file and check that it gives back what went in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--step", type=int, default=5)
    parser.add_argument("--train", type=int, default=50_000)
    parser.add_argument("--test", type=int, default=6_000)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    folder = Path(os.environ["CODIVIDE_DATA"]) / "cifar-10-batches-bin"
    classes = (folder / "batches.meta.txt").read_text(encoding="utf-8").split()
    sets = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
    images, arrays = {}, {"header": np.array(json.dumps({"classes": classes, "step": args.step}))}
    with ProcessPoolExecutor(args.jobs) as pool:
        for name, files in sets.items():
            x, y = read(folder, files)
            limit = getattr(args, name)
            images[name], arrays[f"{name}_y"] = x[:limit], y[:limit]
            starts = range(0, len(images[name]), PART)
            parts = (images[name][start : start + PART] for start in starts)
            for start, stream in zip(starts, pool.map(partial(encode, step=args.step), parts), strict=True):
                arrays[f"{name}_{start}"] = np.frombuffer(stream, np.uint8)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(args.out, **arrays)
    found = unpack(args.out)
    for name, x in images.items():
        off = int(np.abs(found[f"{name}_x"].astype(np.int16) - x).max())
        if off > args.step // 2:
            raise SystemExit(f"{args.out}: {name} images are off by {off}, more than {args.step // 2}")
        print(f"{name}: {len(x):,} images, off by at most {off} of 255")
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
