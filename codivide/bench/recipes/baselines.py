"""The methods that DivideMix's Tables 1 and 2 set beside it, under its protocol.

What the paper says of them is the network alone, so they have DivideMix's plan here, in batches of its warm-up; those
of M-correction with its authors' plan are in ``papers``. A row without a method is listed for its number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from codivide.bench.recipes.recipe import Recipe

_RATES = ("sym20", "sym50", "sym80", "sym90")
_NOTE = (
    "Published numbers quoted from memory; those of cross-entropy, forward correction, mixup, P-correction and "
    "M-correction agree with what later papers quote. Settings of the baselines are not published."
)
_PLAN: Mapping[str, Any] = {
    "epochs": 300,
    "batch_size": 128,
    "lr": 0.02,
    "weight_decay": 5e-4,
    "schedule": "step",
    "milestones": (150,),
}

#: Row -> method ("": none of ours), hyper-parameters, and by data the numbers at 20 to 90 % symmetric noise, best and
#: mean of the last ten epochs.
_TABLE_1: Mapping[str, tuple[str, dict[str, Any], Mapping[str, tuple[str, str]]]] = {
    "cross_entropy": (
        "cross_entropy",
        {},
        {
            "cifar10": ("86.8 79.4 62.9 42.7", "82.7 57.9 26.1 16.8"),
            "cifar100": ("62.0 46.7 19.9 10.1", "61.8 37.3 8.8 3.5"),
        },
    ),
    "bootstrapping": (
        "bootstrapping",
        {},
        {
            "cifar10": ("86.8 79.8 63.3 42.9", "82.9 58.4 26.8 17.0"),
            "cifar100": ("62.1 46.6 19.9 10.2", "62.0 37.9 8.9 3.8"),
        },
    ),
    "forward_correction": (
        "forward_correction",
        {},
        {
            "cifar10": ("86.8 79.8 63.3 42.9", "83.1 59.4 26.2 18.8"),
            "cifar100": ("61.5 46.6 19.9 10.2", "61.4 37.3 9.0 3.4"),
        },
    ),
    "co_teaching_plus": (
        "co_teaching_plus",
        {},
        {
            "cifar10": ("89.5 85.7 67.4 47.9", "88.2 84.1 45.5 30.1"),
            "cifar100": ("65.6 51.8 27.9 13.7", "64.1 45.3 15.5 8.8"),
        },
    ),
    "mixup": (
        "mixup",
        {"alpha": 32.0},
        {
            "cifar10": ("95.6 87.1 71.6 52.2", "92.3 77.6 46.7 43.9"),
            "cifar100": ("67.8 57.3 30.8 14.6", "66.0 46.6 17.6 8.1"),
        },
    ),
    "p_correction": (
        "pencil",
        {},
        {
            "cifar10": ("92.4 89.1 77.5 58.9", "92.0 88.7 76.5 58.2"),
            "cifar100": ("69.4 57.5 31.1 15.3", "68.1 56.4 20.7 8.8"),
        },
    ),
    "meta_learning": (
        "meta_learning",
        {},
        {
            "cifar10": ("92.9 89.3 77.4 58.7", "92.0 88.8 76.1 58.3"),
            "cifar100": ("68.5 59.2 42.4 19.5", "67.7 58.0 40.1 14.3"),
        },
    ),
    "m_correction": (
        "m_correction",
        {},
        {
            "cifar10": ("94.0 92.0 86.8 69.1", "93.8 91.9 86.6 68.7"),
            "cifar100": ("73.9 66.1 48.2 24.3", "73.4 65.4 47.6 20.5"),
        },
    ),
}
#: The better form of M-correction, which the tables quote, was the dynamic one here.
_DYNAMIC = {("cifar10", "sym90"), ("cifar100", "sym20"), ("cifar100", "sym50"), ("cifar100", "sym90")}

#: The same for Table 2: CIFAR-10, 40 % asymmetric noise.
_TABLE_2: Mapping[str, tuple[str, dict[str, Any], float, float]] = {
    "cross_entropy": ("cross_entropy", {}, 85.0, 72.3),
    "forward_correction": ("forward_correction", {}, 87.2, 83.1),
    "m_correction": ("m_correction", {}, 87.4, 86.3),
    "iterative_cv": ("iterative_cv", {"noise_type": "asymmetric"}, 88.6, 88.0),
    "p_correction": ("pencil", {}, 88.5, 88.1),
    "joint_optimization": ("joint_optimization", {"alpha": 0.8, "beta": 0.4}, 88.9, 88.4),
    "meta_learning": ("meta_learning", {}, 89.2, 88.6),
}


def _row(data: str, setting: str, row: str, method: str, hyper: dict[str, Any], **published: float) -> Recipe:
    symmetric = setting.startswith("sym")
    rate = int(setting[-2:]) / 100
    oracle: tuple[str, ...] = ("noise_type",) if method in ("joint_optimization", "iterative_cv") else ()
    if method == "co_teaching_plus":
        hyper, oracle = {**hyper, "forget_rate": rate}, ("noise_rate",)
    if method == "m_correction":
        hyper = {**hyper, "dynamic": (data, setting) in _DYNAMIC, "trim": 0.05}
    return Recipe(
        f"dividemix-baselines-{data}/{setting}-{row}",
        method,
        data,
        f"{'symmetric' if symmetric else 'asymmetric'}:{rate:g}",
        hyper=hyper,
        plan=_PLAN,
        evaluate_every=1,
        published=published,
        source=f"DivideMix, Table {1 if symmetric else 2}",
        oracle=oracle,
        note=_NOTE,
    )


def _rows() -> Iterator[Recipe]:
    for data in ("cifar10", "cifar100"):
        for row, (method, hyper, numbers) in _TABLE_1.items():
            best, last = ([float(number) for number in text.split()] for text in numbers[data])
            for setting, top, end in zip(_RATES, best, last, strict=True):
                yield _row(data, setting, row, method, hyper, best=top, last_10_mean=end)
    for row, (method, hyper, top, end) in _TABLE_2.items():
        yield _row("cifar10", "asym40", row, method, hyper, best=top, last_10_mean=end)


ROWS: tuple[Recipe, ...] = tuple(_rows())
