"""Which images become features by default: those of the packaged encoder beside a network trained on the pixels.

python benchmarks/which_images.py [--only photos-grey ...] [--images 1000] [--seed 0] [--out results/which_images.json]

Photos of CIFAR-10 in colour, grey, and made smaller; clothes (Fashion-MNIST) as they are, at 32 pixels, and tinted in a
colour of their own; scikit-learn's digits made larger (1,437 for training, 360 for testing). 40 % of the labels are
drawn anew. ``features`` is ``method="features"``, ``encoder`` the same without the pixels that grey images have beside
the features, ``network`` what ``encoder="none"`` trains. Seconds are of the processor, on one thread; true labels only
score, on 2,000 test images. The least side of ``codivide.data.encode``, and that pixels stand beside the features of
grey images, were chosen with this table in sight. What ``--out`` holds already is not run again. Needs
``CODIVIDE_DATA``.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from default import Case, images, scores
from PIL import Image

from codivide import NoisyLabelClassifier
from codivide.core.allocator import tune_allocator
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data import encode, experiment
from codivide.data.loaded import subset
from codivide.data.sources import load

NOISE = "symmetric:0.4"
WAYS: dict[str, dict[str, Any]] = {
    "features": {"method": "features"},
    "encoder": {"method": "features", "encoder": encode.OF_PHOTOS},
    "network": {"encoder": "none"},
}
GREY = ("photos-grey", "clothes-32", "clothes-28", "digits-28")  # elsewhere ``encoder`` would be ``features``
Change = Callable[[np.ndarray], np.ndarray]


def as_they_are(x: np.ndarray) -> np.ndarray:
    return x


def grey(x: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in x])[..., None]


def at(side: int) -> Change:
    def resized(x: np.ndarray) -> np.ndarray:
        flat = x[..., 0] if x.shape[3] == 1 else x
        found = [np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in flat]
        return np.stack(found).reshape(len(x), side, side, x.shape[3])

    return resized


def tinted(x: np.ndarray) -> np.ndarray:
    """Each image between a dark and a light colour of its own."""
    generator = np.random.default_rng(len(x))
    light, dark = generator.uniform(0.4, 1, (len(x), 1, 1, 3)), generator.uniform(0, 0.3, (len(x), 1, 1, 3))
    share = at(32)(x) / 255
    return np.rint(255 * (share * light + (1 - share) * dark)).clip(0, 255).astype(np.uint8)


SETS: dict[str, tuple[str, Change]] = {
    "photos-grey": ("cifar10", grey),
    "photos-16": ("cifar10", at(16)),
    "clothes-32": ("fashion_mnist", at(32)),
    "clothes-28": ("fashion_mnist", as_they_are),
    "photos-28": ("cifar10", at(28)),
    "photos": ("cifar10", as_they_are),
    "clothes-tinted": ("fashion_mnist", tinted),
    "digits-28": ("digits", at(28)),
}


def case_of(name: str, number: int, seed: int) -> Case:
    source, change = SETS[name]
    whole = load(source)
    train = experiment.spoil(whole if source == "digits" else experiment.part(whole, number, seed), NOISE, seed)
    test = subset(whole.test, np.arange(min(2_000, len(whole.test.y))))
    return Case(change(images(train)), train.y, train.truth, change(images(test)), test.y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--images", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/which_images.json"))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    here = environment()  # of the code that is loaded, whatever is committed while it runs
    torch.set_num_threads(1)
    tune_allocator()
    held = json.loads(given.out.read_text()) if given.out.exists() else {"cases": {}}
    for way, name in product(given.ways, given.only):
        key = f"{name}/{way}/{given.images}/{given.seed}"
        if key in held["cases"] or (way == "encoder" and name not in GREY):
            continue
        case = case_of(name, given.images, given.seed)
        began = time.process_time()
        fitted = NoisyLabelClassifier(random_state=given.seed, **WAYS[way]).fit(case.x, case.y)
        seconds = time.process_time() - began
        row = scores(fitted.predict(case.test_x), 1 - fitted.clean_proba_, case, seconds)
        held["cases"][key] = row | {"noise": float((case.y != case.truth).mean())} | here
        write_text(given.out, json.dumps(held, indent=1) + "\n")
        print(key, json.dumps(row))


if __name__ == "__main__":
    main()
