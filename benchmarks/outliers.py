"""Small groups planted among photos: how many of each kind the audit finds, and what it flags of real photos.

    CODIVIDE_DATA=... python benchmarks/outliers.py [--part held_back] [--seeds 4 5 6] [--out results/outliers.json]

2,000 photos of CIFAR-10, and groups of 1, 2 and 5 % of them: noise, smooth noise, negatives of other photos, pages of
text, drawings of lines, and clothes (Fashion-MNIST). All are compared by the features of the packaged encoder. Labels
of what is planted are drawn at random; with an odd seed so are 40 % of all, and with seeds 2, 6, ... a group has one
label. The classes are those of a 3-fold logistic regression. "before" is the check without ``with_groups``, "clean"
nothing planted: recall is the share of the group that is flagged, false alarms the share of the photos.

``development`` takes photos of the third training batch and clothes of the training part; rule and fence were made with
these in sight, with tables of ``benchmarks/tables.py`` (``DEVELOPMENT``), on which groups are therefore not looked for.
``held_back`` takes photos of the test batch, clothes of the test part, and grey noise, which the other has not. With
seeds 0 to 3 it showed that ``MOST_APART`` was too small at 5.5 %: with it, some groups of 5 % were taken for how the
photos are. That one number was changed with them in sight, so the result has other seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from codivide.audit.checks import outliers
from codivide.audit.neighbours import normalised
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data import encode
from codivide.data.arrays import array_rows, from_arrays
from codivide.data.options import ReadOptions
from codivide.data.sources import load

PHOTOS, POOL, SHARES = 2000, 300, (0.01, 0.02, 0.05)
BATCHES = {"development": "data_batch_3.bin", "held_back": "test_batch.bin"}
SIDE = 128  # of pages and drawings, before they are scaled to 32


def photos(part: str) -> tuple[np.ndarray, np.ndarray]:
    path = Path(os.environ["CODIVIDE_DATA"]) / "cifar-10-batches-bin" / BATCHES[part]
    raw = np.fromfile(path, dtype=np.uint8).reshape(-1, 3073)
    return raw[:, 1:].reshape(-1, 3, 32, 32), raw[:, 0].astype(np.int64)


def scaled(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def page(rng: np.random.Generator) -> np.ndarray:
    image = Image.new("RGB", (SIDE, SIDE), (int(rng.integers(225, 256)),) * 3)
    y = int(rng.integers(2, 12))
    while y < SIDE - 4:
        words = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz     .,"), int(rng.integers(10, 26))))
        ImageDraw.Draw(image).text((int(rng.integers(2, 10)), y), words, fill=(int(rng.integers(0, 60)),) * 3)
        y += int(rng.integers(10, 15))
    return scaled(image)


def drawing(rng: np.random.Generator) -> np.ndarray:
    image = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 9))):
        (x0, x1), (y0, y1) = (sorted(rng.integers(5, SIDE - 5, 2).tolist()) for _ in range(2))
        width, kind = int(rng.integers(2, 6)), rng.integers(3)
        if kind == 2:
            draw.line((x0, y0, x1, y1), fill=(0, 0, 0), width=width)
        else:
            shape = draw.ellipse if kind else draw.rectangle
            shape((x0, y0, x1 + 1, y1 + 1), outline=(0, 0, 0), width=width)
    return scaled(image)


def smooth(rng: np.random.Generator) -> np.ndarray:
    coarse = torch.from_numpy(rng.normal(size=(POOL, 3, 8, 8))).float()
    fine = torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic").numpy()
    return (128 + 60 * fine).clip(0, 255).astype(np.uint8)


def clothes(part: str, rng: np.random.Generator) -> np.ndarray:
    loaded = load("fashion_mnist")
    chosen = loaded if part == "development" else loaded.test
    assert chosen is not None
    x = chosen.x[torch.from_numpy(np.sort(rng.permutation(len(chosen.y))[:POOL]))].numpy()
    return np.repeat(np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2))), 3, axis=1)


def features(part: str, count: int = 3000) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Of photos ``[count, D]``, their classes, and of each kind that is planted ``[300, D]``."""
    rng = np.random.default_rng(2)
    pixels, classes = photos(part)
    order = rng.permutation(len(pixels))
    pools = {
        "noise": rng.integers(0, 256, (POOL, 3, 32, 32)).astype(np.uint8),
        "negatives": 255 - pixels[order[count : count + POOL]],
        "pages of text": np.stack([page(rng) for _ in range(POOL)]),
        "drawings": np.stack([drawing(rng) for _ in range(POOL)]),
        "clothes": clothes(part, rng),
        "smooth noise": smooth(rng),
    }
    if part == "held_back":
        pools["grey noise"] = np.repeat(rng.integers(0, 256, (POOL, 1, 32, 32)), 3, axis=1).astype(np.uint8)
    x = np.concatenate([pixels[order[:count]], *pools.values()])
    found = encode.of_images(from_arrays(x, np.arange(len(x)) % 10), ReadOptions(encoder="efficientnet-lite0"))
    made = found.x[torch.arange(len(x))].float().numpy()
    parts = np.split(made[count:], len(pools))
    return made[:count], classes[order[:count]], dict(zip(pools, parts, strict=True))


def kept(path: Path | None, part: str) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """``features``, of a file where it is there, else written to it."""
    if path is None or not path.exists():
        base, classes, pools = features(part)
        if path is not None:
            np.savez(path, base=base, classes=classes, **{f"pool {name}": pool for name, pool in pools.items()})
        return base, classes, pools
    with np.load(path) as held:
        pools = {name[5:]: held[name] for name in held.files if name.startswith("pool ")}
        return held["base"], held["classes"], pools


def case(base: np.ndarray, classes: np.ndarray, pool: np.ndarray, share: float, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    rows, size = rng.permutation(len(base))[:PHOTOS], int(share * PHOTOS)
    x = np.concatenate([base[rows], pool[rng.permutation(POOL)[:size]]])
    planted = np.arange(len(x)) >= PHOTOS
    given = np.concatenate([classes[rows], np.full(size, 3) if seed % 4 == 2 else rng.integers(0, 10, size)])
    anew = rng.random(len(given)) < (0.4 if seed % 2 else 0)
    given[anew] = rng.integers(0, 10, anew.sum())
    model = make_pipeline(StandardScaler(), PCA(64, random_state=0), LogisticRegression(C=0.05, max_iter=60))
    probs = cross_val_predict(model, x, given, cv=3, method="predict_proba")
    points = normalised(array_rows(x))
    before = outliers.find(points, probs.max(1), 10)
    assert before is not None
    result = {}
    for name, found in (("before", before), ("now", outliers.with_groups(before, points, probs.argmax(1)))):
        flag = np.isin(np.arange(len(x)), found.rows)
        result |= {f"{name}_recall": float(flag[planted].mean())} if size else {}
        result[f"{name}_false_alarms"] = float(flag[~planted].mean())
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=tuple(BATCHES), default="held_back")
    parser.add_argument("--seeds", type=int, nargs="+", default=[4, 5, 6])
    parser.add_argument("--keep", type=Path, help="features are written here, and read where they are there")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # fits that have not converged
    base, classes, pools = kept(args.keep, args.part)
    rows: list[dict[str, Any]] = []
    if args.out and args.out.exists():  # other seeds that were measured before stay
        rows = [row for row in json.loads(args.out.read_text())["rows"] if row["seed"] not in args.seeds]
    cases = [("clean", 0.0), *((kind, share) for kind in pools for share in SHARES)]
    for kind, share in cases:
        pool = base if kind == "clean" else pools[kind]
        for seed in args.seeds:
            rows.append({"kind": kind, "share": share, "seed": seed} | case(base, classes, pool, share, seed))
            print(json.dumps(rows[-1]), flush=True)
    means = pd.DataFrame(rows).drop(columns="seed").groupby(["kind", "share"], sort=False).mean().round(4)
    print(means.to_string())
    if args.out:
        found = json.loads(means.reset_index().to_json(orient="records"))
        record = {"part": args.part, "photos": PHOTOS, "means": found, "rows": rows, **environment()}
        write_text(args.out, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
