"""CIFAR-10 and -100 with human labels, learned by pre-trained networks: ResNets, ViT-S, Swin-T and ConvNeXt-T.

Images are brought to 224 pixels, with the mean and deviation that each network was trained on. "finetune" is plain
training of all weights; "dividemix" warms up so; "transfer" warms up the last layer alone, on the features of the
pre-trained body; "embedding" also divides by those features and what becomes of them. None of it is published: the data
set's own rules allow no pre-trained network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from codivide.bench.recipes.recipe import Recipe
from codivide.training.published import PAPER

#: Group -> data set, and what others report of it.
SETS: Mapping[str, tuple[str, str]] = {
    "cifar10n-students": (
        "cifar10n:worse",
        "DivideMix from scratch has 92.56 on the leaderboard.",
    ),
    "cifar100n-students": (
        "cifar100n",
        "DivideMix from scratch has 71.13 on the leaderboard; of pre-trained networks others report 73.6 (ResNet-50) "
        "and 81.4 (ViT-B/16) with methods of their own.",
    ),
}
STUDENTS: Mapping[str, str] = {
    "resnet18": "timm:resnet18:pretrained:224",
    "resnet50": "timm:resnet50:pretrained:224",
    "vit": "timm:vit_small_patch16_224:pretrained:224",
    "swin": "timm:swin_tiny_patch4_window7_224:pretrained:224",
    "convnext": "timm:convnext_tiny:pretrained:224",
}
_WARMUP = 3
_PLAN: Mapping[str, Any] = {
    "epochs": 20,
    "batch_size": 64,
    "lr": 0.005,
    "weight_decay": 1e-4,
    "schedule": "cosine",
}
_DIVIDEMIX: Mapping[str, Any] = {**PAPER, "warmup": _WARMUP, "lambda_u": 0.0}

#: Row -> method, hyper-parameters, fields of the plan.
ROUTES: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "finetune": ("cross_entropy", {}, {}),
    "dividemix": ("dividemix", {**_DIVIDEMIX}, {}),
    "transfer": ("dividemix", {**_DIVIDEMIX}, {"freeze": _WARMUP}),
    "embedding": ("dividemix", {**_DIVIDEMIX, "division": "embedding"}, {"freeze": _WARMUP}),
    "neighbours": ("dividemix", {**_DIVIDEMIX, "division": "neighbours"}, {"freeze": _WARMUP}),
}


def _rows() -> Iterator[Recipe]:
    for group, (data, note) in SETS.items():
        for student, net in STUDENTS.items():
            for route, (method, hyper, plan) in ROUTES.items():
                yield Recipe(
                    f"{group}/{student}-{route}",
                    method,
                    data,
                    hyper=hyper,
                    plan={**_PLAN, **plan},
                    net=net,
                    note=note,
                )


ROWS: tuple[Recipe, ...] = tuple(_rows())
