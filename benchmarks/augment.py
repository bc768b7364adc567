"""Time the weak photo view against PIL, one image at a time, on the same images and the same offsets.

Both pad by 4, crop, flip, convert to float and normalise. They alternate in one process, and their
results are asserted equal to 1e-6 first. Images are CIFAR-10's where ``CODIVIDE_DATA`` has them, else
random.

    python benchmarks/augment.py [--out results/benchmarks/augment.json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import functional as pil_functional

from codivide.core.provenance import environment
from codivide.data.views import ViewSpec, crop, normalise

GOAL = 10.0
PAD = 4
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def load_images(count: int) -> tuple[Tensor, str]:
    """``[count, 3, 32, 32]`` uint8 and what they are."""
    path = Path(os.environ.get("CODIVIDE_DATA", "")) / "cifar-10-batches-bin" / "data_batch_1.bin"
    if path.is_file():
        records = np.fromfile(path, np.uint8, count * 3073).reshape(-1, 3073)
        return torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy()), "cifar10"
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8), "random"


def with_pil(images: list[Image.Image], dy: list[int], dx: list[int], flip: list[bool]) -> Tensor:
    """The usual loop: every image through PIL, then to a tensor, then normalised."""
    out = []
    for image, top, left, mirrored in zip(images, dy, dx, flip, strict=True):
        cut = ImageOps.expand(image, PAD).crop((left, top, left + image.width, top + image.height))
        if mirrored:
            cut = ImageOps.mirror(cut)
        out.append(pil_functional.normalize(pil_functional.to_tensor(cut), MEAN, STD))
    return torch.stack(out)


def measure(batch: int, rounds: int) -> dict[str, object]:
    """Medians over alternating rounds, microseconds an image."""
    images, source = load_images(batch)
    pil_images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    spec = ViewSpec("photo", torch.tensor(MEAN), torch.tensor(STD))
    generator = torch.Generator().manual_seed(0)
    seconds: dict[str, list[float]] = {"pil": [], "view": [], "view_strong": []}
    difference = 0.0
    for _ in range(rounds):
        dy, dx = torch.randint(0, 2 * PAD + 1, (2, batch), generator=generator)
        flip = torch.rand(batch, generator=generator) < 0.5
        start = time.perf_counter()
        expected = with_pil(pil_images, dy.tolist(), dx.tolist(), flip.tolist())
        seconds["pil"].append(time.perf_counter() - start)
        start = time.perf_counter()
        spec.weak(images, generator)
        seconds["view"].append(time.perf_counter() - start)
        start = time.perf_counter()
        spec.strong(images, generator)
        seconds["view_strong"].append(time.perf_counter() - start)
        same = normalise(crop(images, dy, dx, flip, PAD), spec.mean, spec.std)
        difference = max(difference, float((same - expected).abs().max()))
    assert difference <= 1e-6, f"the view and PIL differ by {difference:.1e}"
    micros = {name: statistics.median(values) / batch * 1e6 for name, values in seconds.items()}
    return {
        "benchmark": "augment",
        "images": source,
        "batch": batch,
        "rounds": rounds,
        **{f"{name}_microseconds": round(value, 2) for name, value in micros.items()},
        "ratio": round(micros["pil"] / micros["view"], 1),
        "goal": GOAL,
        "largest_difference": difference,
        **environment(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--out", type=Path, help="write the result as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as PIL has
    result = measure(arguments.batch, arguments.rounds)
    print(f"{'augmentation':<24}{'us/image':>10}")
    for name in ("pil", "view", "view_strong"):
        print(f"{name:<24}{result[name + '_microseconds']:>10.2f}")
    print(
        f"PIL / view = {result['ratio']} (goal {GOAL:g}) on {result['images']} images, "
        f"largest difference {result['largest_difference']:.1e}"
    )
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
