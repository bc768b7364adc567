"""Few labels: Tables 5 and 6 of MixMatch (Berthelot et al. 2019, arXiv:1905.02249), and our own comparison.

Labels of the tables are drawn as frequent as their classes are, and the labelled samples are not among the unlabelled
ones, as in the published splits. The tables' errors are given as accuracies, means over draws of the labels with
their standard deviation ("spread"). The paper reports the median of the last 20 evaluations, and so do our rows, with
one for every 65,536 labelled images. With all labels the paper's network, trained by mixup, has 95.87 on CIFAR-10 and
97.41 on SVHN; those rows are ``mixmatch-supervised``, of as many epochs as 65,536 * 1,024 images make.

Our own comparison is what a CPU can afford. Equal for all rows: images, labels, network, optimizer, learning-rate
schedule, weight average, batches of 32 labelled samples and the number of steps; every semi-supervised method has 32
unlabelled samples in a step, some of them in two views. What is not the method's default is said here: FixMatch has
one unlabelled sample for each labelled one and the schedule of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from codivide.bench.recipes.recipe import Recipe
from codivide.training.published import AUTOMATIC

_LABELS = (250, 500, 1000, 2000, 4000)
_PAPER = "Berthelot et al. 2019 (arXiv:1905.02249)"

#: Adam, decay of kernels alone and the weight average of the published runs; an epoch is 1024 steps.
_PLAN: Mapping[str, Any] = {
    "epochs": 1024,
    "batch_size": 64,
    "optimizer": "adamw",
    "lr": 0.002,
    "weight_decay": 0.02,
    "decayed": "kernels",
    "schedule": "constant",
    "average": 0.999,
}
_MIXMATCH = {"temperature": 0.5, "augmentations": 2, "alpha": 0.75, "rampup_images": 1024.0}
_VAT = {"weight": 0.3, "entropy": 0.06, "reverse": True}
_VAT_NOTE = "a step of 6 with pixels from -1 to 1, in units of the pixels' deviation"
_MIXUP = {"form": "mixup", "weight": 1.0, "rampup": 0.0}

#: Table -> data, and for each row: method, hyper-parameters, what differs in the plan, note, and errors with spreads
#: for 250 to 4000 labels.
_TABLES: Mapping[str, tuple[str, Mapping[str, tuple[str, dict[str, Any], dict[str, Any], str, str]]]] = {
    "5": (
        "cifar10",
        {
            "pi-model": (
                "pi_model",
                {"weight": 20.0, "stop_gradient": True},
                {},
                "",
                "53.02±2.05 41.82±1.52 31.53±0.98 23.07±0.66 17.41±0.37",
            ),
            "pseudo-label": (
                "pseudo_label",
                {"weight": 1.0, "threshold": 0.95},
                {},
                "",
                "49.98±1.17 40.55±1.70 30.91±1.73 21.96±0.42 16.21±0.11",
            ),
            "mixup": (
                "interpolation_consistency",
                {**_MIXUP, "alpha": 0.75},
                {},
                "",
                "47.43±0.92 36.17±1.36 25.72±0.66 18.14±1.06 13.15±0.20",
            ),
            "vat": (
                "vat",
                {**_VAT, "eps": 12.0},
                {},
                _VAT_NOTE,
                "36.03±2.82 26.11±1.52 18.68±0.40 14.40±0.15 11.05±0.31",
            ),
            "mean-teacher": (
                "mean_teacher",
                {"weight": 50.0, "rampup": 0.4},
                {"weight_decay": 0.2},
                "",
                "47.32±4.71 42.01±5.86 17.32±4.00 12.17±0.22 10.36±0.25",
            ),
            "mixmatch": (
                "mixmatch",
                {**_MIXMATCH, "weight": 75.0},
                {},
                "",
                "11.08±0.87 9.65±0.94 7.75±0.32 7.03±0.15 6.24±0.06",
            ),
        },
    ),
    "6": (
        "svhn",
        {
            "pi-model": (
                "pi_model",
                {"weight": 5.0, "stop_gradient": True},
                {"weight_decay": 0.2},
                "",
                "17.65±0.27 11.44±0.39 8.60±0.18 6.94±0.27 5.57±0.14",
            ),
            "pseudo-label": (
                "pseudo_label",
                {"weight": 2.0, "threshold": 0.95},
                {},
                "",
                "21.16±0.88 14.35±0.37 10.19±0.41 7.54±0.27 5.71±0.07",
            ),
            "mixup": (
                "interpolation_consistency",
                {**_MIXUP, "alpha": 0.25},
                {},
                "",
                "39.97±1.89 29.62±1.54 16.79±0.63 10.47±0.48 7.96±0.14",
            ),
            "vat": (
                "vat",
                {**_VAT, "eps": 15.0},
                {},
                _VAT_NOTE,
                "8.41±1.01 7.44±0.79 5.98±0.21 4.85±0.23 4.20±0.15",
            ),
            "mean-teacher": (
                "mean_teacher",
                {"weight": 150.0, "rampup": 0.4},
                {},
                "",
                "6.45±2.43 3.82±0.17 3.75±0.10 3.51±0.09 3.39±0.11",
            ),
            "mixmatch": (
                "mixmatch",
                {**_MIXMATCH, "weight": 250.0},
                {},
                "",
                "3.78±0.26 3.64±0.46 3.27±0.31 3.04±0.13 2.89±0.06",
            ),
        },
    ),
}

#: Who measured CIFAR-10 again -> row -> accuracy by number of labels.
_AGAIN: Mapping[str, Mapping[str, Mapping[int, float]]] = {
    "YU1ut (one run)": {
        "mixmatch": dict(zip(_LABELS, (88.71, 88.96, 90.52, 92.23, 93.52), strict=True)),
    },
    "TorchSSL": {
        "mixmatch": {250: 86.37, 4000: 93.34},
        "mean-teacher": {250: 62.54, 4000: 91.9},
        "vat": {250: 58.97, 4000: 89.49},
        "pi-model": {250: 53.76, 4000: 86.87},
        "pseudo-label": {250: 53.51, 4000: 84.92},
    },
    "USB": {
        "mixmatch": {250: 62.72, 4000: 92.62},
        "mean-teacher": {250: 43.94, 4000: 84.53},
        "vat": {250: 57.42, 4000: 89.03},
        "pi-model": {250: 52.31, 4000: 87.2},
        "pseudo-label": {250: 51.72, 4000: 85.1},
    },
}


def _again(data: str, row: str, labels: int) -> str:
    """What re-implementations measured, for the note."""
    found = [(who, rows[row][labels]) for who, rows in _AGAIN.items() if labels in rows.get(row, {})]
    listed = ", ".join(f"{who} {accuracy:g}" for who, accuracy in found)
    return f"re-implementations: {listed}" if data == "cifar10" and found else ""


def _published() -> Iterator[Recipe]:
    for table, (data, rows) in _TABLES.items():
        for row, (method, hyper, plan, note, errors) in rows.items():
            for labels, cell in zip(_LABELS, errors.split(), strict=True):
                error, spread = map(float, cell.split("±"))
                yield Recipe(
                    name=f"mixmatch-table{table}/{data}-{labels}-{row}",
                    method=method,
                    data=data,
                    labels=labels,
                    hyper={"steps": 1024, "include_labelled": False, **hyper},
                    plan={**_PLAN, **plan},
                    net="wrn_28_2",
                    evaluate_every=1,
                    published={"last_20_median": round(100 - error, 2), "spread": spread},
                    source=f"{_PAPER}, Table {table}",
                    note="; ".join(text for text in (note, _again(data, row, labels)) if text),
                )


def _supervised() -> Iterator[Recipe]:
    for data, images, error in (("cifar10", 50_000, 4.13), ("svhn", 73_257, 2.59)):
        yield Recipe(
            name=f"mixmatch-supervised/{data}",
            method="mixup",
            data=data,
            hyper={"alpha": 0.5, "per_sample": True},
            plan={**_PLAN, "epochs": round(65_536 * 1024 / images), "weight_decay": 0.002},
            net="wrn_28_2",
            evaluate_every=1,
            published={"last_20_median": round(100 - error, 2)},
            source=f"{_PAPER}, section 4.2",
        )


#: Rows of our own comparison, the most telling first -> what differs from the method's defaults.
FIELD: Mapping[str, Mapping[str, Any]] = {
    "cross_entropy": {},
    "mixmatch": {},
    "fixmatch": {"ratio": 1, "cosine": 0.0},
    "mean_teacher": {},
    "vat": {},
    "pseudo_label": {},
    "pi_model": {},
    "interpolation_consistency": {},
    "entropy_minimisation": {},
}

#: Groups of our own comparison -> data, labels of every class.
_GROUPS = {
    "semi-cifar10-25": ("cifar10", 25),
    "semi-fashion-25": ("fashion_mnist", 25),
    "semi-cifar10-10": ("cifar10", 10),
    "semi-cifar10-100": ("cifar10", 100),
}
_STEPS = 60
_OWN: Mapping[str, Any] = {
    "epochs": 40,
    "batch_size": 32,
    "optimizer": "adamw",
    "lr": 0.002,
    "weight_decay": 0.02,
    "decayed": "kernels",
    "schedule": "cosine",
    "average": 0.99,
}


def _own(name: str, data: str, labels: int, **other: Any) -> Recipe:
    """A row of our own comparison: 10,000 images, of which so many of every class have a label."""
    row = {"method": name.partition("/")[2], "plan": _OWN, "net": "small_cnn", "limit": 10_000, "evaluate_every": 5}
    return Recipe(name=name, data=data, labels_per_class=labels, **{**row, **other})


def _noisy() -> Iterator[Recipe]:
    """Most labels missing, and two in five of the others drawn at random; DivideMix counts its own steps."""
    for method in ("dividemix", "cross_entropy", "mixmatch"):
        hyper = AUTOMATIC if method == "dividemix" else {"steps": _STEPS}
        yield _own(f"semi-noisy/{method}", "cifar10", 100, noise="symmetric:0.4", hyper=hyper)


ROWS: tuple[Recipe, ...] = (
    *(
        _own(f"{group}/{method}", data, labels, hyper={"steps": _STEPS, **hyper})
        for group, (data, labels) in _GROUPS.items()
        for method, hyper in FIELD.items()
    ),
    *_noisy(),
    *_published(),
    *_supervised(),
)
