"""Our own comparison: every method under one protocol that a CPU can afford.

Equal for all: images, labels, network, batch size, learning-rate schedule and epochs (as each method counts them;
two networks cost twice). Long enough for plain cross-entropy to memorise: it must end at least 10 points below its
best epoch at symmetric 50 %, else the protocol shows nothing. Hyper-parameters are the methods' defaults; where a row
has others, they were chosen by agreement with held-out noisy labels (``codivide bench tune``), never by true or test
labels.
"""

from __future__ import annotations

from typing import Any

from codivide.recipes.recipe import Recipe

#: Rows: label in the table -> method and what differs from its defaults.
FIELD: dict[str, tuple[str, dict[str, Any]]] = {
    "cross_entropy": ("cross_entropy", {}),
    "early_stopping": ("cross_entropy", {"validation": 0.1}),
    "label_smoothing": ("cross_entropy", {"label_smoothing": 0.1}),
    "dividemix": ("dividemix", {}),
    "mixup": ("mixup", {}),
}

#: The methods of the longer comparison, the most telling first.
MAIN = ("cross_entropy", "dividemix")

_PLAN = {"batch_size": 64, "lr": 0.05, "schedule": "step"}


def _row(group: str, label: str, data: str, noise: str, limit: int, epochs: int, down: int) -> Recipe:
    method, hyper = FIELD[label]
    return Recipe(
        name=f"{group}/{label}",
        method=method,
        data=data,
        noise=noise,
        hyper=hyper,
        plan={**_PLAN, "epochs": epochs, "milestones": (down,)},
        net="small_cnn",
        limit=limit,
        evaluate_every=5,
    )


_SETTINGS = {  # of the longer comparison
    "sym50": ("cifar10", "symmetric:0.5"),
    "asym40": ("cifar10", "asymmetric:0.4"),
    "worse": ("cifar10n:worse", ""),
    "sym80": ("cifar10", "symmetric:0.8"),
    "sym20": ("cifar10", "symmetric:0.2"),
}

ROWS: tuple[Recipe, ...] = (
    *(_row("first", label, "cifar10", "symmetric:0.5", limit=4000, epochs=70, down=30) for label in FIELD),
    *(
        _row(f"main-{setting}", label, data, noise, limit=10_000, epochs=70, down=30)
        for setting, (data, noise) in _SETTINGS.items()
        for label in MAIN
    ),
)
