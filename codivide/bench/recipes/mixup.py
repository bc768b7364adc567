"""mixup (Zhang et al., ICLR 2018, arXiv:1710.09412): Figure 3a, Table 2 and Table 5, on CIFAR.

Published errors are given as accuracies, but for training errors. Everywhere: SGD with momentum 0.9, learning rate 0.1
and a tenth of it from epochs 100 and 150, 200 epochs, batches of 128, weight decay 1e-4 unless a row says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from codivide.bench.recipes.recipe import Recipe

_PLAN: Mapping[str, Any] = {
    "epochs": 200,
    "batch_size": 128,
    "lr": 0.1,
    "schedule": "step",
    "milestones": (100, 150),
    "weight_decay": 1e-4,
}
_PAPER = "Zhang et al. 2018 (arXiv:1710.09412)"


def _erm(name: str, data: str = "cifar10") -> Recipe:
    """Plain training, which the paper calls empirical risk minimisation."""
    return Recipe(name, "cross_entropy", data, plan=_PLAN, evaluate_every=1)


def _mixup(name: str, data: str = "cifar10", **hyper: Any) -> Recipe:
    return Recipe(name, "mixup", data, hyper={"alpha": 1.0, **hyper}, plan=_PLAN, evaluate_every=1)


#: Data, network -> test error of plain training and of mixup.
_FIGURE_3A = {
    ("cifar10", "preact_resnet18"): (5.6, 4.2),
    ("cifar10", "wrn_28_10"): (3.8, 2.7),
    ("cifar10", "densenet_bc_190"): (3.7, 2.7),
    ("cifar100", "preact_resnet18"): (25.6, 21.1),
    ("cifar100", "wrn_28_10"): (19.4, 17.5),
    ("cifar100", "densenet_bc_190"): (19.0, 16.8),
}


def _figure_3a() -> list[Recipe]:
    rows = []
    for (data, net), errors in _FIGURE_3A.items():
        name = f"mixup-figure3a/{data}-{net}"
        plan = {**_PLAN, "milestones": (60, 120, 180)} if net == "wrn_28_10" else _PLAN
        for row, error in zip((_erm(f"{name}-erm", data), _mixup(f"{name}-mixup", data)), errors, strict=True):
            published = {"last": round(100 - error, 2)}
            rows.append(replace(row, net=net, plan=plan, published=published, source=f"{_PAPER}, Figure 3a"))
    return rows


#: Noise rate -> alpha (0: plain training), dropout, test error at the best and the last epoch, training error at the
#: last epoch on real and on corrupted labels.
_TABLE_2 = {
    0.2: (
        (0, 0.0, 12.7, 16.6, 0.05, 0.28),
        (0, 0.7, 8.8, 10.4, 5.26, 83.55),
        (8, 0.0, 5.9, 6.4, 2.27, 86.32),
        (4, 0.1, 6.2, 6.2, 1.92, 85.02),
    ),
    0.5: (
        (0, 0.0, 18.8, 44.6, 0.26, 0.64),
        (0, 0.8, 14.1, 15.5, 12.71, 86.98),
        (32, 0.0, 11.3, 12.7, 5.84, 85.71),
        (8, 0.3, 10.9, 10.9, 7.56, 87.90),
    ),
    0.8: (
        (0, 0.0, 36.5, 73.9, 0.62, 0.83),
        (0, 0.8, 30.9, 35.1, 29.84, 86.37),
        (32, 0.0, 25.3, 30.9, 18.92, 85.44),
        (8, 0.3, 24.0, 24.8, 19.70, 87.67),
    ),
}


def _table_2() -> list[Recipe]:
    rows = []
    for rate, settings in _TABLE_2.items():
        for alpha, dropout, best, last, real, corrupted in settings:
            label = ("mixup" if alpha else "erm") + ("-dropout" if dropout else "")
            name = f"mixup-table2/sym{100 * rate:.0f}-{label}"
            published = {
                "best": round(100 - best, 2),
                "last": round(100 - last, 2),
                "training_error_on_real_labels": real,
                "training_error_on_corrupted_labels": corrupted,
            }
            rows.append(
                replace(
                    _mixup(name, alpha=float(alpha)) if alpha else _erm(name),
                    noise=f"symmetric:{rate}",
                    net="preact_resnet18_dropout" if dropout else "preact_resnet18",
                    dropout=dropout,
                    published=published,
                    source=f"{_PAPER}, Table 2",
                    oracle=("noise_rate",) if alpha or dropout else (),
                )
            )
    return rows


_NEAR: Mapping[str, Any] = {"neighbours": 200}
_INPUTS: Mapping[str, Any] = {"mix_labels": False}

#: Row -> hyper-parameters of mixup, test error with weight decay 1e-4 and 5e-4.
_TABLE_5: dict[str, tuple[Mapping[str, Any], float, float]] = {
    "erm": ({"alpha": 0.0}, 5.53, 5.18),
    "ac-rp": ({}, 4.24, 4.68),
    "ac-knn": (_NEAR, 4.98, 5.26),
    "layer1": ({"layer": 1}, 4.44, 4.51),
    "layer2": ({"layer": 2}, 4.56, 4.61),
    "layer3": ({"layer": 3}, 5.39, 5.55),
    "layer4": ({"layer": 4}, 5.95, 5.43),
    "layer5": ({"layer": 5}, 5.39, 5.15),
    "inputs-sc-knn": ({**_INPUTS, **_NEAR, "same_class": True}, 5.45, 5.52),
    "inputs-ac-knn": ({**_INPUTS, **_NEAR}, 5.43, 5.48),
    "inputs-sc-rp": ({**_INPUTS, "same_class": True}, 5.23, 5.55),
    "inputs-ac-rp": (_INPUTS, 5.17, 5.72),
    "smoothing0.05": ({"alpha": 0.0, "label_smoothing": 0.05}, 5.25, 5.02),
    "smoothing0.1": ({"alpha": 0.0, "label_smoothing": 0.1}, 5.33, 5.17),
    "smoothing0.2": ({"alpha": 0.0, "label_smoothing": 0.2}, 5.34, 5.06),
    "inputs-smoothing0.05": ({**_INPUTS, "label_smoothing": 0.05}, 5.02, 5.40),
    "inputs-smoothing0.1": ({**_INPUTS, "label_smoothing": 0.1}, 5.08, 5.09),
    "inputs-smoothing0.2": ({**_INPUTS, "label_smoothing": 0.2}, 4.98, 5.06),
    "inputs-smoothing0.4": ({**_INPUTS, "label_smoothing": 0.4}, 5.25, 5.39),
    "noise0.05": ({"alpha": 0.0, "input_noise": 0.05}, 5.53, 5.04),
    "noise0.1": ({"alpha": 0.0, "input_noise": 0.1}, 6.41, 5.86),
    "noise0.2": ({"alpha": 0.0, "input_noise": 0.2}, 7.16, 7.24),
}


def _table_5() -> list[Recipe]:
    return [
        replace(
            _mixup(f"mixup-table5/{label}-wd{decay}", **hyper),
            plan={**_PLAN, "weight_decay": float(decay)},
            published={"last_10_median": round(100 - error, 2)},
            source=f"{_PAPER}, Table 5",
        )
        for label, (hyper, *errors) in _TABLE_5.items()
        for decay, error in zip(("1e-4", "5e-4"), errors, strict=True)
    ]


ROWS: tuple[Recipe, ...] = (*_figure_3a(), *_table_2(), *_table_5())
