"""Sets of photos that one fetches for oneself: ImageNet (mixup), Clothing1M, WebVision and Food-101N.

ImageNet: Table 1 of mixup, with the schedule of Goyal et al. 2017 that it follows (SGD, a tenth of the rate at 30, 60
and 80 of 90 epochs, or at 60, 120 and 180 of 200). The others are trained on labels from the web; on Clothing1M the
best epoch of each network is chosen by the clean validation part. Errors are given as accuracies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from codivide.bench.recipes.recipe import Recipe
from codivide.training.published import PAPER

_MEMORY = "quoted from memory"

#: Network, epochs -> alpha (0: plain training), top-1 and top-5 error; None: not published.
_IMAGENET: tuple[tuple[str, int, float, float, float | None], ...] = (
    ("resnet50", 90, 0.0, 23.5, None),
    ("resnet50", 90, 0.2, 23.3, 6.6),
    ("resnet101", 90, 0.0, 22.1, None),
    ("resnet101", 90, 0.2, 21.5, 5.6),
    ("resnext101_32x4d", 100, 0.0, 21.2, None),
    ("resnext101_32x4d", 90, 0.0, 21.2, 5.6),
    ("resnext101_32x4d", 90, 0.4, 20.7, 5.3),
    ("resnext101_64x4d", 100, 0.0, 20.4, 5.3),
    ("resnext101_64x4d", 90, 0.4, 19.8, 4.9),
    ("resnet50", 200, 0.0, 23.6, 7.0),
    ("resnet50", 200, 0.2, 22.1, 6.1),
    ("resnet101", 200, 0.0, 22.0, 6.1),
    ("resnet101", 200, 0.2, 20.8, 5.4),
    ("resnext101_32x4d", 200, 0.0, 21.3, 5.9),
    ("resnext101_32x4d", 200, 0.4, 20.1, 5.0),
)
_DROPS = {90: (30, 60, 80), 100: (30, 60, 90), 200: (60, 120, 180)}


def _imagenet() -> Iterator[Recipe]:
    for net, epochs, alpha, one, five in _IMAGENET:
        published = {"last": round(100 - one, 2)} | ({} if five is None else {"top5_last": round(100 - five, 2)})
        yield Recipe(
            f"mixup-table1/{net}-{epochs}-{'mixup' if alpha else 'erm'}",
            "mixup" if alpha else "cross_entropy",
            "imagenet",
            hyper={"alpha": alpha} if alpha else {},
            plan={
                "epochs": epochs,
                "batch_size": 256,
                "lr": 0.1,
                "schedule": "step",
                "milestones": _DROPS[epochs],
                "weight_decay": 1e-4,
            },
            net=net,
            augment="resized_crop",
            published=published,
            source="Zhang et al. 2018 (arXiv:1710.09412), Table 1",
            note="Batches of 256 at 0.1 where the paper has 1,024 on eight GPUs at a rate in proportion, and no colour "
            "augmentation. ERM rows of 100 epochs are another paper's (Xie et al. 2017).",
        )


_CLOTHING: Mapping[str, Any] = {
    "data": "clothing1m",
    "net": "timm:resnet50:pretrained",
    "augment": "crop",
    "evaluate_every": 1,
}
_CLOTHING_PLAN: Mapping[str, Any] = {
    "epochs": 80,
    "batch_size": 32,
    "lr": 0.002,
    "schedule": "step",
    "milestones": (40,),
    "weight_decay": 1e-3,
    "sub_epoch": 32_000,
}
_TABLE_3 = "DivideMix, Table 3"
#: Of DivideMix's scripts for Clothing1M and WebVision: what is thought wrong is mixed in, and not learned from.
_OF_PHOTOS: Mapping[str, Any] = {"alpha": 0.5, "lambda_u": 0.0, "learn_unlabelled": False}
_SAME_PLAN = f"Published with settings of its own; here DivideMix's. Number {_MEMORY}."


def _clothing1m() -> Iterator[Recipe]:
    for row, method, number, note in (
        ("cross_entropy", "cross_entropy", 69.21, _SAME_PLAN),
        ("forward_correction", "forward_correction", 69.84, _SAME_PLAN),
        ("m_correction", "m_correction", 71.00, _SAME_PLAN),
        ("meta_cleaner", "", 72.50, _SAME_PLAN),
        ("meta_learning", "meta_learning", 73.47, _SAME_PLAN),
        ("p_correction", "pencil", 73.49, _SAME_PLAN),
    ):
        yield Recipe(
            f"clothing1m/{row}",
            method,
            hyper={"trim": 0.05} if method == "m_correction" else {},
            plan=_CLOTHING_PLAN,
            published={"last": number},
            source=_TABLE_3,
            note=note,
            **_CLOTHING,
        )
    yield Recipe(
        "clothing1m/joint_optimization",
        "joint_optimization",
        hyper={"alpha": 1.2, "beta": 0.8, "prior": "given"},
        plan={**_CLOTHING_PLAN, "epochs": 20, "lr": 8e-4},
        published={"last": 72.16},
        source="Tanaka et al. 2018 (arXiv:1803.11364), Table 4",
        note=f"Learning rate 8e-4, and the given labels' frequencies as the prior, {_MEMORY}.",
        **_CLOTHING,
    )
    yield Recipe(
        "clothing1m/dividemix",
        "dividemix",
        hyper={**PAPER, **_OF_PHOTOS, "warmup": 2, "confidence_penalty": 1.0},
        plan={**_CLOTHING_PLAN, "epochs": 81, "milestones": (41,)},
        published={"last": 74.76},
        source=_TABLE_3,
        note="1,000 batches an epoch, classes equal; the published warm-up, 1,000 batches of 64, is two epochs here. "
        "The authors draw samples for each network by itself. They speak of about 0.3 between runs.",
        **_CLOTHING,
    )
    for method, number, more in (("elr", 72.87, {"lr": 0.001}), ("elr_plus", 74.81, {"average": 0.9999})):
        yield Recipe(
            f"clothing1m/{method}",
            method,
            hyper={"lambda_elr": 3.0, "beta": 0.7} | ({"ema_step": 0, "coef_step": 0} if method == "elr_plus" else {}),
            plan={
                **_CLOTHING_PLAN,
                "epochs": 15,
                "batch_size": 64,
                "milestones": (7,),
                "sub_epoch": 192_000,
                **more,
            },
            published={"last": number},
            source="Liu et al. 2020 (arXiv:2007.00151), published code",
            note=f"3,000 batches an epoch. ELR's number and its rate of 0.001 {_MEMORY}." if method == "elr" else "",
            **_CLOTHING,
        )


#: Row of DivideMix's Table 4 -> method, and top-1 and top-5 accuracy on WebVision and on ILSVRC 2012.
_WEBVISION: Mapping[str, tuple[str, tuple[float, float], tuple[float, float]]] = {
    "forward_correction": ("forward_correction", (61.12, 82.68), (57.36, 82.36)),
    "decoupling": ("", (62.54, 84.74), (58.26, 82.26)),
    "d2l": ("", (62.68, 84.00), (57.80, 81.36)),
    "mentornet": ("mentornet", (63.00, 81.40), (57.80, 79.92)),
    "co_teaching": ("co_teaching", (63.58, 85.20), (61.48, 84.70)),
    "iterative_cv": ("iterative_cv", (65.24, 85.34), (61.60, 84.98)),
    "elr": ("elr", (76.26, 91.26), (68.71, 87.84)),
    "elr_plus": ("elr_plus", (77.78, 91.68), (70.29, 89.76)),
    "dividemix": ("dividemix", (77.32, 91.64), (75.20, 90.84)),
}
_WEBVISION_PLAN: Mapping[str, Any] = {
    "epochs": 80,
    "batch_size": 32,
    "lr": 0.01,
    "schedule": "step",
    "milestones": (40,),
    "weight_decay": 5e-4,
}
_STORED = "Tests see the middle 299 of 342 pixels, those of the authors of 320."
_WEBVISION_HYPER: Mapping[str, dict[str, Any]] = {
    "dividemix": {**PAPER, **_OF_PHOTOS, "warmup": 1},
    "elr": {"lambda_elr": 3.0, "beta": 0.7},
    "elr_plus": {"lambda_elr": 3.0, "beta": 0.7, "alpha": 1.5, "ema_step": 0, "coef_step": 0},
}


def _webvision() -> Iterator[Recipe]:
    for row, (method, own, ilsvrc) in _WEBVISION.items():
        early = method in ("elr", "elr_plus")
        plan = {**_WEBVISION_PLAN, "epochs": 100, "lr": 0.02, "milestones": (50,)} if early else _WEBVISION_PLAN
        for data, (one, five) in (("webvision:mini", own), ("webvision:mini_ilsvrc", ilsvrc)):
            yield Recipe(
                f"{data.replace(':', '-')}/{row}",
                method,
                data,
                hyper=_WEBVISION_HYPER.get(row, {}),
                plan=plan,
                net="timm:inception_resnet_v2",
                augment="resized_crop",
                image_size=342,  # of which crops have 299 pixels
                evaluate_every=1,
                published={"best": one, "top5_best": five},
                source="DivideMix, Table 4" if not early else "Liu et al. 2020 (arXiv:2007.00151), Table 4",
                note=_STORED
                if row in ("dividemix", "elr_plus")
                else f"Numbers {_MEMORY}; settings of the row are not published. {_STORED}",
            )


def _food101n() -> Iterator[Recipe]:
    base = Recipe(
        "food101n/cross_entropy",
        "cross_entropy",
        "food101n",
        plan={**_CLOTHING_PLAN, "epochs": 30, "milestones": (10, 20), "batch_size": 64, "sub_epoch": 0},
        net="timm:resnet50:pretrained",
        augment="resized_crop",
        published={"last": 81.67},
        source="Zhang et al. 2021 (arXiv:2103.07756), Table 3",
        note=f"Number {_MEMORY}.",
    )
    yield base
    hyper = {**PAPER, **_OF_PHOTOS, "warmup": 1}
    yield replace(base, name="food101n/dividemix", method="dividemix", hyper=hyper, published={}, source="", note="")


ROWS: tuple[Recipe, ...] = (*_imagenet(), *_clothing1m(), *_webvision(), *_food101n())
