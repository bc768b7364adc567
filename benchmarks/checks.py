"""What the audit's checks find of planted cases, and what they say of clean data.

    CODIVIDE_DATA=... python benchmarks/checks.py [--sets photos ...] [--seeds 0 1 2] [--out results/checks.json]

Each kind of issue is planted into a set that is otherwise as it comes, in a random order: recall is the share of what
was planted that is flagged, false alarms the share of all other samples. Of findings on data as a whole, recall is 1
where the finding is there and 0 where not, and a false alarm one that the set gives without anything planted; a group
that is judged worse is found where it overlaps with what is flagged by half of either. ``clean`` is the same set with
nothing planted: the share of its samples that a kind flags, or whether the finding is there.

Samples that have the fault by nature are left out of images first: those that are grey (red, green and blue are equal),
and copies that the sets hold themselves.

Sets: photos (CIFAR-10, 2,000 of the training part with their own labels, compared by the features of the packaged
encoder), photos_40 (2,000 of the folder ``photos``, where 40 % of the labels are wrong before anything is planted: only
kinds that depend on labels or features), fashion (Fashion-MNIST, 2,000), digits (1,797 of 8 x 8 pixels), and as tables
music (700 x 124), cancer (569 x 30), wine (178 x 13), digits_table (1,797 x 64) and customers (2,000 mixed columns with
empty cells, made up). Labels are judged by 5-fold probabilities of a logistic regression (of customers a boosted tree),
as ``audit.from_probs`` does.

What the file of ``--out`` holds of other sets and seeds stays.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from odd_images import blurred, factors, flat, grey, odd_shape, odd_size
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from codivide.audit import checks, probs
from codivide.audit.material import Material, from_data
from codivide.audit.neighbours import normalised
from codivide.audit.noise_report import from_reading
from codivide.audit.reading import Reading
from codivide.core.files import write_text
from codivide.core.provenance import environment
from codivide.data import encode
from codivide.data.arrays import array_rows, from_arrays
from codivide.data.columns import from_columns
from codivide.data.leaks import leaks
from codivide.data.loaded import Loaded, subset
from codivide.data.options import ReadOptions
from codivide.data.rows import TensorRows
from codivide.data.sources import load

PHOTOS = ("photos", "photos_40")
IMAGES, TABLES = (*PHOTOS, "fashion", "digits"), ("music", "cancer", "wine", "digits_table", "customers")
SHARE = 0.05  # of the samples that a kind is planted into


@dataclass
class Case:
    """A set, and what was planted: a mask of samples, or of findings a word that one of them must hold."""

    loaded: Loaded
    planted: np.ndarray | str
    features: Any = None  # in which samples are compared
    sizes: np.ndarray | None = None
    silent: bool = False  # nothing is ever taken for the last class


# ---------------------------------------------------------------------------------------------------------------- sets


def customers(seed: int, count: int = 2000) -> tuple[pd.DataFrame, np.ndarray]:
    """A table of mixed columns with empty cells, and labels that depend on several of them."""
    rng = np.random.default_rng(seed)
    age, income = rng.normal(45, 15, count).clip(18, 90), rng.lognormal(10, 0.5, count)
    job = rng.choice(["nurse", "driver", "clerk", "cook", "teacher"], count, p=[0.3, 0.25, 0.2, 0.15, 0.1])
    since = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1500, count), unit="D")
    drive = (age - 45) / 15 + np.log(income) - 10 + (job == "driver") - 0.5 * (job == "nurse")
    label = np.digitize(drive + rng.normal(0, 0.5, count), [-0.8, 0.9])
    frame = pd.DataFrame({"age": age.round(1), "income": income.round(), "job": job, "since": since})
    for name, share in (("age", 0.1), ("income", 0.2), ("job", 0.05)):
        frame.loc[rng.random(count) < share, name] = None
    for k in range(4):
        frame[f"score {k}"] = np.where(rng.random(count) < 0.1, np.nan, drive * rng.random() + rng.normal(0, 1, count))
    return frame, label


@cache
def source(name: str) -> Loaded:
    if name in (*PHOTOS, "fashion"):
        folder = Path(os.environ["CODIVIDE_DATA"]) / "photos"
        whole = replace(load({"photos": "cifar10", "photos_40": folder, "fashion": "fashion_mnist"}[name]), test=None)
        rows = np.sort(np.random.default_rng(7).permutation(len(whole.y))[:2500])
        whole = subset(whole, rows)
        x = whole.x[torch.arange(len(rows))]
        if name in PHOTOS:
            whole = subset(whole, np.flatnonzero((x.amax(1) != x.amin(1)).flatten(1).any(1).numpy()))
        copies = {row for group in checks.duplicates.find(whole.x) for row in group.rows[1:]}
        alone = [row for row in range(len(whole.y)) if row not in copies]
        return subset(whole, np.sort(np.random.default_rng(7).permutation(alone)[:2000]))
    if name == "digits":
        return replace(load("digits"), test=None)
    if name == "music":
        held = np.load(Path(os.environ["CODIVIDE_DATA"]) / "crowd" / "music_genre.npz", allow_pickle=False)
        return from_arrays(held["x_train"], held["y_train_true"].astype(np.int64))
    read = {"cancer": datasets.load_breast_cancer, "wine": datasets.load_wine, "digits_table": datasets.load_digits}
    x, y = read[name](return_X_y=True, as_frame=True)
    return from_columns(x, y.to_numpy())


def shuffled(name: str, seed: int) -> Loaded:
    if name == "customers":
        return from_columns(*customers(seed))
    loaded = source(name)
    found = subset(loaded, np.random.default_rng(seed).permutation(len(loaded.y)))
    return replace(found, ids=list(range(len(found.y))))


# ------------------------------------------------------------------------------------------------------------- judging


_features: dict[bytes, np.ndarray] = {}  # of photos that were encoded


def features_of(loaded: Loaded) -> np.ndarray:
    """In which samples are compared: of photos the encoder's features, each encoded once, else what they are."""
    x = loaded.x[torch.arange(len(loaded.y))]
    if loaded.x.shape != (3, 32, 32):
        return x.flatten(1).float().numpy()
    keys = [image.numpy().tobytes() for image in x]
    new = [row for row, key in enumerate(keys) if key not in _features]
    if new:
        part = encode.of_images(subset(loaded, np.array(new)), ReadOptions(encoder="efficientnet-lite0"))
        made = part.x[torch.arange(len(new))].float().numpy()
        _features.update({keys[row]: values for row, values in zip(new, made, strict=True)})
    return np.stack([_features[key] for key in keys])


def material(case: Case) -> Material:
    """As ``audit.from_probs`` makes it."""
    loaded = case.loaded
    x = features_of(loaded) if case.features is None else case.features
    boosted = loaded.encoder is not None and loaded.columns is not None
    model = (
        HistGradientBoostingClassifier(max_iter=40, random_state=0)
        if boosted
        else make_pipeline(StandardScaler(), LogisticRegression(C=0.01 if x.shape[1] > 200 else 0.1, max_iter=100))
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    found = cross_val_predict(model, x, loaded.y, cv=folds, method="predict_proba")
    whole = np.zeros((len(x), len(loaded.classes)))
    whole[:, np.unique(loaded.y)] = found
    if case.silent:
        whole[:, -1] = 0
        whole /= whole.sum(1, keepdims=True)
    reading = Reading(whole, loaded.y, loaded.classes)
    nothing = {"images": None, "texts": None, "features": None}
    made = probs._material(reading, range(len(reading.given)), nothing, from_reading(reading))
    encoded = loaded.encoder is not None and loaded.columns is not None
    return replace(
        made,
        rows=loaded.x,
        columns=loaded.columns,
        points=normalised(array_rows(x)),
        of_photos=loaded.x.shape == (3, 32, 32),
        sizes=case.sizes,
        columns_read=loaded.encoder.notes() if encoded else None,
    )


# ------------------------------------------------------------------------------------------------------------ planting

Plant = Callable[[Loaded, np.random.Generator], Case]


def chosen(loaded: Loaded, rng: np.random.Generator, share: float = SHARE) -> np.ndarray:
    mask = np.zeros(len(loaded.y), dtype=bool)
    mask[rng.permutation(len(mask))[: max(3, int(share * len(mask)))]] = True
    return mask


def pixels(loaded: Loaded) -> torch.Tensor:
    return loaded.x[torch.arange(len(loaded.y))].float()


def changed(loaded: Loaded, mask: np.ndarray, change: Callable[[torch.Tensor], torch.Tensor]) -> Loaded:
    x = pixels(loaded)
    x[torch.from_numpy(mask)] = change(x[torch.from_numpy(mask)])
    return replace(loaded, x=TensorRows(x.round().clamp(0, 255).to(torch.uint8)))


def on_pixels(change: Callable[[torch.Tensor, np.random.Generator], torch.Tensor]) -> Plant:
    def plant(loaded: Loaded, rng: np.random.Generator) -> Case:
        mask = chosen(loaded, rng)
        return Case(changed(loaded, mask, lambda x: change(x, rng)), mask)

    return plant


def sizes(change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Plant:
    """Widths and heights as of cameras, some of them odd; the pixels stay."""

    def plant(loaded: Loaded, rng: np.random.Generator) -> Case:
        side = rng.lognormal(np.log(1200), 0.2, len(loaded.y))
        shape = rng.choice([4 / 3, 3 / 4, 1.0, 16 / 9], len(side)) ** 0.5
        found = np.stack([side * shape, side / shape], 1)
        mask = chosen(loaded, rng)
        found[mask] = change(found[mask], rng)
        return Case(loaded, mask, sizes=found.astype(np.int64).clip(1))

    return plant


def copies(*, near: bool) -> Plant:
    """Copies of others, with their labels; near ones a little lighter, scaled down and up, or off by a thousandth."""

    def plant(loaded: Loaded, rng: np.random.Generator) -> Case:
        x = loaded.x[torch.arange(len(loaded.y))].clone()
        order = rng.permutation(len(x))
        count = max(3, int(SHARE * len(x)))
        first, other = order[:count], order[count : 2 * count]
        twins = x[torch.from_numpy(first)].float()
        y = loaded.y.copy()
        y[other] = y[first]
        if near and x.dtype == torch.uint8:
            twins = twins * factors(twins, rng, 0.9, 0.97) + factors(twins, rng, 2, 8)
        elif near:
            twins = twins + twins.std(0) * 1e-3 * torch.from_numpy(rng.normal(size=tuple(twins.shape))).float()
        x[torch.from_numpy(other)] = twins.round().clamp(0, 255).to(x.dtype) if x.dtype == torch.uint8 else twins
        mask = np.zeros(len(x), dtype=bool)
        mask[first], mask[other] = True, True
        return Case(replace(loaded, x=TensorRows(x), y=y, texts=None), mask)

    return plant


def outliers(loaded: Loaded, rng: np.random.Generator) -> Case:
    """Eight samples: of images noise, or others in negative; of tables rows far from any other, in every direction.

    They are fewer than the ten neighbours that a sample is compared with: more that are alike are a group of their own.
    """
    count = 3 if len(loaded.y) < 500 else 8
    rows = rng.permutation(len(loaded.y))[:count]
    mask = np.zeros(len(loaded.y), dtype=bool)
    mask[rows] = True
    x = loaded.x[torch.arange(len(loaded.y))].clone().float()
    if x.ndim == 4:
        x[rows[::2]] = torch.from_numpy(rng.uniform(0, 255, (len(rows[::2]), *x.shape[1:]))).float()
        x[rows[1::2]] = 255 - x[rows[1::2]]
        return Case(replace(loaded, x=TensorRows(x.to(torch.uint8))), mask)
    far = rng.choice([-1.0, 1.0], (count, x.shape[1])) * rng.uniform(4, 8, (count, x.shape[1]))
    x[rows] = x.mean(0) + x.std(0) * torch.from_numpy(far).float()
    return Case(replace(loaded, x=TensorRows(x)), mask)


def rare(loaded: Loaded, rng: np.random.Generator) -> Case:
    """A class of which a twentieth of its fair share is left."""
    counts = np.bincount(loaded.y)
    label = int(rng.permutation(np.flatnonzero(counts >= 40))[0])
    keep = max(5, int(0.05 * (counts.sum() - counts[label]) / (len(counts) - 1)))
    members = rng.permutation(np.flatnonzero(loaded.y == label))
    left = subset(loaded, np.sort(np.setdiff1d(np.arange(len(loaded.y)), members[keep:])))
    left = replace(left, ids=list(range(len(left.y))))
    return Case(left, left.y == label)


def silent(loaded: Loaded, rng: np.random.Generator) -> Case:
    """A class of which the labels are drawn at random from all samples, and that nothing is taken for."""
    rows = rng.permutation(len(loaded.y))[: max(8, int(0.01 * len(loaded.y)))]
    y = loaded.y.copy()
    y[rows] = len(loaded.classes)
    return Case(replace(loaded, y=y, classes=(*loaded.classes, "silent")), "suggested for no sample", silent=True)


def _mixed(labels: np.ndarray, whole: np.ndarray) -> bool:
    """Whether a group is not one class: that would be a class with wrong labels."""
    counts = np.bincount(labels)
    return bool(counts.max() <= max(0.5, 1.3 * np.bincount(whole).max() / len(whole)) * len(labels))


def spoiled(loaded: Loaded, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    y, classes = loaded.y.copy(), len(loaded.classes)
    wrong = mask & (rng.random(len(y)) < (0.45 if classes == 2 else 0.6))
    y[wrong] = (y[wrong] + rng.integers(1, classes, wrong.sum())) % classes
    return y


def worse(loaded: Loaded, rng: np.random.Generator) -> Case:
    """The seventh of the samples with the largest values of a column, or of images those nearest to one of them.

    Six of ten of their labels are wrong (of two classes 45 of 100: more would teach the model the wrong ones).
    """
    x = features_of(loaded)
    z = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    if loaded.columns is not None or len(loaded.x.shape) == 1:
        ways = (z[:, k] for k in rng.permutation(z.shape[1]))
    else:
        ways = (-((z - z[row]) ** 2).sum(1) for row in rng.permutation(len(z)))
    masks = (along > np.quantile(along, 0.86) for along in ways)
    mask = next(mask for mask in masks if mask.mean() > 0.1 and _mixed(loaded.y[mask], loaded.y))
    return Case(replace(loaded, y=spoiled(loaded, mask, rng)), mask, features=x)


def worse_rows(loaded: Loaded, rng: np.random.Generator) -> Case:
    """A seventh of the samples that lie together in the file, with as many wrong labels."""
    size = len(loaded.y) // 7
    start = int(rng.integers(len(loaded.y) - size))
    mask = np.zeros(len(loaded.y), dtype=bool)
    mask[start : start + size] = True
    return Case(replace(loaded, y=spoiled(loaded, mask, rng)), mask)


def by_class(loaded: Loaded, rng: np.random.Generator) -> Case:
    order = np.argsort(loaded.y, kind="stable")
    return Case(replace(subset(loaded, order), ids=list(range(len(order)))), "order of the rows")


def in_runs(loaded: Loaded, rng: np.random.Generator) -> Case:
    """Runs of one label of 5 on average."""
    order: list[int] = []
    left = {k: list(rng.permutation(np.flatnonzero(loaded.y == k))) for k in np.unique(loaded.y)}
    while left:
        label = rng.choice(list(left))
        size = 1 + rng.geometric(0.2)
        order += left[label][:size]
        left[label] = left[label][size:]
        if not left[label]:
            del left[label]
    return Case(replace(subset(loaded, np.array(order)), ids=list(range(len(order)))), "order of the rows")


def drifting(loaded: Loaded, rng: np.random.Generator) -> Case:
    """Features, or brightness, that grow with the row number."""
    x = pixels(loaded)
    along = torch.linspace(-1, 1, len(x)).view(-1, *([1] * (x.ndim - 1)))
    if loaded.x.dtype == torch.uint8:
        x = (x + 60 * along).round().clamp(0, 255).to(torch.uint8)
    else:
        x[:, : max(1, x.shape[1] // 10)] += along * 1.5 * x.std(0)[: max(1, x.shape[1] // 10)]
    return Case(replace(loaded, x=TensorRows(x)), "row number")


def drifting_in_class(loaded: Loaded, rng: np.random.Generator) -> Case:
    """The same of samples that are sorted by class, each class in the order of its time."""
    return replace(by_class(drifting(loaded, rng).loaded, rng), planted="row number")


def of_columns(loaded: Loaded, added: pd.DataFrame) -> Loaded:
    """A table with more columns; of customers the table that it was made of."""
    x = loaded.x[torch.arange(len(loaded.y))].numpy()
    names = list(loaded.columns or map(str, range(x.shape[1])))
    return from_columns(pd.concat([pd.DataFrame(x, columns=names), added], axis=1), loaded.y)


def given_away(loaded: Loaded, rng: np.random.Generator) -> Case:
    code = rng.permutation(len(loaded.classes))[loaded.y] + rng.normal(0, 0.01, len(loaded.y))
    return Case(of_columns(loaded, pd.DataFrame({"code": code})), "'code'")


def empty_by_class(loaded: Loaded, rng: np.random.Generator) -> Case:
    """A column of noise that is filled in for one class, but for one cell in fifty."""
    told = (loaded.y == rng.integers(len(loaded.classes))) ^ (rng.random(len(loaded.y)) < 0.02)
    values = np.where(told, rng.normal(size=len(told)), np.nan)
    return Case(of_columns(loaded, pd.DataFrame({"paid": values})), "whether 'paid' is empty")


def nearly_empty(loaded: Loaded, rng: np.random.Generator) -> Case:
    values = np.where(rng.random(len(loaded.y)) < 0.03, rng.normal(size=len(loaded.y)), np.nan)
    return Case(of_columns(loaded, pd.DataFrame({"fax": values})), "'fax'")


def counting(loaded: Loaded, rng: np.random.Generator) -> Case:
    return Case(of_columns(loaded, pd.DataFrame({"nr": np.arange(len(loaded.y)) + 17})), "'nr'")


def empty_rows(loaded: Loaded, rng: np.random.Generator) -> Case:
    frame, y = customers(int(rng.integers(1000)))
    mask = chosen(loaded, rng)
    for row in np.flatnonzero(mask):
        frame.iloc[row, rng.permutation(frame.shape[1])[: rng.integers(6, 9)]] = None
    return Case(from_columns(frame, y), mask)


def dark_class(loaded: Loaded, rng: np.random.Generator) -> Case:
    """All images of a class are taken with less light."""
    mask = loaded.y == rng.integers(len(loaded.classes))
    return Case(changed(loaded, mask, lambda x: x * 0.35), "brightness")


SHAPED = {"odd_size": sizes(odd_size), "odd_aspect_ratio": sizes(odd_shape)}
ON_IMAGES: dict[str, Plant] = {
    "dark": on_pixels(lambda x, rng: x * factors(x, rng, 0.08, 0.22)),
    "light": on_pixels(lambda x, rng: 255 - (255 - x) * factors(x, rng, 0.1, 0.3)),
    "low_information": on_pixels(flat),
    "blurry": on_pixels(blurred),
    **SHAPED,
    "gives_away: brightness": dark_class,
}
ANYWHERE: dict[str, Plant] = {
    "duplicates: exact": copies(near=False),
    "duplicates: near": copies(near=True),
    "leaks": copies(near=True),
    "outliers": outliers,
    "class_imbalance": rare,
    "class_imbalance: silent": silent,
    "underperforming_group": worse,
    "underperforming_group: rows": worse_rows,
    "non_iid: by class": by_class,
    "non_iid: runs": in_runs,
    "non_iid: drift": drifting,
    "non_iid: drift in classes": drifting_in_class,
}
ON_TABLES: dict[str, Plant] = {
    "gives_away: column": given_away,
    "gives_away: empty": empty_by_class,
    "null: column": nearly_empty,
    "null: counting": counting,
}


ALL: dict[str, Plant] = {**ON_IMAGES, "grayscale": on_pixels(grey), **ANYWHERE, **ON_TABLES, "null": empty_rows}


NOISY = (
    "outliers",
    "class_imbalance",
    "class_imbalance: silent",
    "underperforming_group",
    "underperforming_group: rows",
    "non_iid: drift",
)


def plants(name: str) -> dict[str, Plant]:
    """The kinds that a set can have."""
    found = ANYWHERE | (ON_IMAGES if name in IMAGES else ON_TABLES)
    found |= {"grayscale": on_pixels(grey)} if name == "photos" else {}
    found = {kind: found[kind] for kind in NOISY} if name == "photos_40" else found
    found |= {"null": empty_rows} if name == "customers" else {}
    groups = {"underperforming_group", "underperforming_group: rows"}
    left_out = {
        "digits": {"blurry"},
        "wine": {"class_imbalance", "duplicates: near", "leaks", *groups},
        "customers": {"duplicates: near", "leaks"},
    }
    return {kind: plant for kind, plant in found.items() if kind not in left_out.get(name, set())}


FLAGS = {"duplicates": "is_near_duplicate_issue", "non_iid": "is_non_iid_issue", "outliers": "is_outlier_issue"}


def flagged(kind: str, case: Case, made: Material) -> np.ndarray | list[str]:
    """What is found of a kind: a mask of samples, or the sentences."""
    name = kind.partition(":")[0]
    check = next(check for check in checks.CHECKS if check.name == name)
    found = check.find(made)
    if isinstance(case.planted, str):
        return list(found.said)
    column = FLAGS.get(name, f"is_{name}_issue")
    if kind == "duplicates: exact":
        column = "is_exact_duplicate"
    return np.asarray(found.columns[column], dtype=bool) if column in found.columns else np.zeros(len(made.given), bool)


def judged(kind: str) -> bool:
    name = kind.partition(":")[0]
    return name != "leaks" and next(check for check in checks.CHECKS if check.name == name).judged


def unjudged(case: Case, kind: str) -> Material:
    """What data tell that nothing was trained on; samples are compared where the order is looked at."""
    found = from_data(replace(case.loaded, sizes=case.sizes))
    return replace(found, points=normalised(array_rows(features_of(case.loaded)))) if "non_iid" in kind else found


def leaked(case: Case, rng: np.random.Generator) -> tuple[float, float]:
    """Recall and false alarms of what both parts share: of each pair of copies one is in the test part."""
    loaded = case.loaded
    order = rng.permutation(len(loaded.y))
    half = len(order) // 2
    train, test = subset(loaded, np.sort(order[:half])), subset(loaded, np.sort(order[half:]))
    found = leaks(train, test).test >= 0
    x = loaded.x[torch.arange(len(loaded.y))].flatten(1).float().numpy()
    twin = np.full(len(x), -1)
    rows = np.flatnonzero(case.planted)
    for row in rows:
        other = rows[rows != row]
        near = other[((x[other] - x[row]) ** 2).sum(1).argmin()]
        twin[row] = near
    there = np.isin(np.arange(len(x)), order[:half])
    wanted = np.array([twin[row] >= 0 and there[twin[row]] for row in np.sort(order[half:])])
    return float(found[wanted].mean()) if wanted.any() else 1.0, float(found[~wanted].mean())


def measured(name: str, kind: str, plant: Plant, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, 5])
    base = shuffled(name, seed)
    began = time.process_time()
    case = plant(base, rng)
    result: dict[str, Any] = {"set": name, "kind": kind, "seed": seed}
    if kind == "leaks":
        result["recall"], result["false_alarms"] = leaked(case, rng)
    else:
        made = material(case) if judged(kind) else unjudged(case, kind)
        found = flagged(kind, case, made)
        clean = Case(base, case.planted if isinstance(case.planted, str) else np.zeros(len(base.y), bool))
        if kind in SHAPED:
            clean = replace(SHAPED[kind](base, rng), planted=np.zeros(len(base.y), bool))
            clean.sizes = sizes(lambda found, rng: found)(base, np.random.default_rng([seed, 5])).sizes
        before = flagged(kind, clean, material(clean) if judged(kind) else unjudged(clean, kind))
        if isinstance(case.planted, str):
            result["recall"] = float(any(case.planted in text for text in found))
            result["false_alarms"] = result["clean"] = float(any(case.planted in text for text in before))
        elif kind.startswith("underperforming_group"):
            # found where it is half of what is flagged, and half of it is flagged
            overlap = (found & case.planted).sum()
            result["recall"] = float(2 * overlap >= max(found.sum(), case.planted.sum(), 1))
            result["clean"] = result["false_alarms"] = float(np.asarray(before).mean())
        else:
            result["recall"] = float(found[case.planted].mean())
            result["false_alarms"] = float(found[~case.planted].mean())
            result["clean"] = float(np.asarray(before).mean())
    result["seconds"] = round(time.process_time() - began, 2)
    return result


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of each kind over sets and seeds."""
    frame = pd.DataFrame(rows)
    means = frame.groupby("kind", sort=False)[["recall", "false_alarms", "clean"]].mean().round(4)
    return {kind: {k: v for k, v in row.items() if v == v} for kind, row in means.to_dict("index").items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", nargs="+", default=[*IMAGES, *TABLES])
    parser.add_argument("--kinds", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows: list[dict[str, Any]] = []
    for name in args.sets:
        for kind, plant in plants(name).items():
            if args.kinds and kind not in args.kinds:
                continue
            for seed in args.seeds:
                rows.append(measured(name, kind, plant, seed))
                print(json.dumps(rows[-1]), flush=True)
    key = ("set", "kind", "seed")
    if args.out and args.out.exists():  # what was measured before stays, where it is not measured again
        new = {tuple(row[name] for name in key) for row in rows}
        known = json.loads(args.out.read_text())["rows"]
        rows = [*(row for row in known if tuple(row[name] for name in key) not in new), *rows]
    rows.sort(key=lambda row: (list(ALL).index(row["kind"]), *(row[name] for name in key)))
    found = summary(rows)
    for kind, row in found.items():
        print(f"{kind:<28}" + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
    if args.out:
        write_text(args.out, json.dumps({"means": found, "rows": rows, **environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
