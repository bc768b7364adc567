"""The sets of ``benchmarks/detection.py``: features, given labels, true labels and a test part.

Everything is read from ``CODIVIDE_DATA`` (see ``codivide.data.named.data_root``). Features of photos are computed once
and kept in ``CODIVIDE_CACHE`` (else ``~/.cache/codivide``):

python benchmarks/detection_sets.py        # compute them now, about 10 minutes on one core
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import sparse

from codivide.core.files import atomic, cache_root
from codivide.data import named
from codivide.data.efficientnet import PIXELS, efficientnet_lite0
from codivide.data.tfidf import Tfidf
from codivide.methods.features.matrix import raw
from codivide.noise import consensus, synthetic
from codivide.noise.votes import Votes

IMAGES = 10_000  # of the training part; the test part is whole
SIDE = 128  # pixels to which photos are resized before they are encoded; 224 would take 25 minutes of one busy core

Features = np.ndarray[Any, np.dtype[np.float32]] | sparse.csr_matrix
Labels = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Set:
    """One problem: ``x [N, D]``, given and true labels ``[N]``, and a test part with true labels.

    ``votes [N, annotators]`` (-1: not asked) where the given labels are the consensus of these. ``words [N, W]`` counts
    the words of texts.
    """

    x: Features
    given: Labels
    truth: Labels
    x_test: Features
    y_test: Labels
    classes: int
    votes: Labels | None = None
    words: Features | None = None


def _npz(*parts: str) -> dict[str, np.ndarray[Any, Any]]:
    path = named.data_root().joinpath(*parts)
    with np.load(path, allow_pickle=False) as held:
        return {name: held[name] for name in held.files}


def _music(labels: str) -> Set:
    held = _npz("crowd", "music_genre.npz")
    given, truth, test = (held[name].astype(np.int64) for name in (labels, "y_train_true", "y_test"))
    return Set(held["x_train"], given, truth, held["x_test"], test, 10)


def _music_crowd() -> Set:
    problem, held = _music("y_train_majority"), _npz("crowd", "music_genre.npz")
    votes = held["crowd"].astype(np.int64)
    return replace(problem, given=consensus.dawid_skene(Votes.of(votes)).labels, votes=votes)


def _hausa() -> Set:
    held = _npz("text", "hausa_newsclass_distant.npz")
    texts = [[line.decode() for line in held[name]] for name in ("text_train", "text_test")]
    encoder = Tfidf.fit("tfidf", texts[0])  # words and pairs of words, as in the reference scores
    x, x_test = (raw(encoder.encode(part)) for part in texts)
    given, truth, test = (held[name].astype(np.int64) for name in ("y_train_noisy", "y_train_true", "y_test"))
    return Set(x, given, truth, x_test, test, 5, words=x)


def _youtube() -> Set:
    held, embedded = _npz("text", "youtube.npz"), _npz("text", "youtube_minilm.npz")
    given = held["weak_majority_train"].astype(np.int64)
    covered = given >= 0
    x, x_test = (embedded[name].astype(np.float32) for name in ("x_train", "x_test"))
    truth, test = (held[name].astype(np.int64) for name in ("y_train", "y_test"))
    texts = [line.decode() for line in held["text_train"][covered]]
    words = raw(Tfidf.fit("tfidf", texts).encode(texts))
    return Set(x[covered], given[covered], truth[covered], x_test, test, 2, words=words)


def _chosen(count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.sort(np.random.default_rng(0).permutation(count)[:IMAGES])


def photos(labels: str, spec: str = "", seed: int = 0) -> Set:
    """CIFAR-10 with the human labels "aggre", "random1", ..., "worse", or with injected noise and "true" ones."""
    loaded = named.load("cifar10" if labels == "true" else f"cifar10n:{labels}", download=False)
    assert loaded.test is not None
    ids = _chosen(len(loaded.y))
    x, x_test = photo_features()
    truth = (loaded.y if loaded.truth is None else loaded.truth)[ids]
    given = loaded.y[ids]
    if spec:
        given = synthetic.apply(
            synthetic.parse(spec), truth, loaded.classes, np.random.default_rng(seed), dataset="cifar10"
        )
    return Set(x, given, truth, x_test, loaded.test.y, 10)


def _fashion(spec: str, seed: int) -> Set:
    loaded = named.load("fashion_mnist", download=False)
    assert loaded.test is not None
    ids = _chosen(len(loaded.y))
    x = loaded.x[torch.from_numpy(ids)].flatten(1).numpy().astype(np.float32)
    x_test = loaded.test.x[torch.arange(len(loaded.test.y))].flatten(1).numpy().astype(np.float32)
    truth = loaded.y[ids]
    given = synthetic.apply(synthetic.parse(spec), truth, loaded.classes, np.random.default_rng(seed))
    return Set(x, given, truth, x_test, loaded.test.y, 10)


SETS: dict[str, Callable[[int], Set]] = {
    "music_majority": lambda seed: _music("y_train_majority"),
    "music_single": lambda seed: _music("y_train_single"),
    "music_crowd": lambda seed: _music_crowd(),
    "hausa": lambda seed: _hausa(),
    "youtube": lambda seed: _youtube(),
    "cifar10n_aggre": lambda seed: photos("aggre"),
    "cifar10n_worse": lambda seed: photos("worse"),
    "fashion_symmetric_20": lambda seed: _fashion("symmetric:0.2", seed),
    "fashion_symmetric_40": lambda seed: _fashion("symmetric:0.4", seed),
    "fashion_asymmetric_40": lambda seed: _fashion("asymmetric:0.4", seed),
}


def photo_features() -> tuple[Features, Features]:
    """EfficientNet-Lite0 features ``[10000, 1280]`` of the chosen CIFAR-10 training images and of the test images."""
    path = cache_root() / "benchmarks" / f"cifar10-efficientnet-lite0-{SIDE}-{IMAGES}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        loaded = named.load("cifar10", download=False)
        assert loaded.test is not None
        parts = {
            "x_train": _encode(loaded.x[torch.from_numpy(_chosen(len(loaded.y)))]),
            "x_test": _encode(loaded.test.x[torch.arange(len(loaded.test.y))]),
        }
        with atomic(path) as aside, open(aside, "wb") as file:
            np.savez(file, **parts)
    with np.load(path) as held:
        return held["x_train"], held["x_test"]


@torch.inference_mode()
def _encode(images: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Pooled features of uint8 images ``[N, 3, H, W]``, of the last layer alone."""
    net = efficientnet_lite0().eval().to(memory_format=torch.channels_last)
    mean, scale = PIXELS
    found = []
    began = time.perf_counter()
    for batch in torch.split(images, 32):
        x = torch.nn.functional.interpolate(batch.float(), size=(SIDE, SIDE), mode="bicubic", align_corners=False)
        found.append(net(((x.clamp(0, 255) - mean) / scale).contiguous(memory_format=torch.channels_last)))
        if len(found) % 50 == 0:
            print(f"{32 * len(found):,} of {len(images):,} images, {time.perf_counter() - began:.0f} s", flush=True)
    return torch.cat(found).numpy()


if __name__ == "__main__":
    print([part.shape for part in photo_features()])
