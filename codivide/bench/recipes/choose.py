"""What "auto" is judged by: its choices against every fixed one, where networks memorise.

Equal for all: images, labels, network, batch size, schedule, epochs. Fixed lambda_u is 0, 25 and 150, the values of the
paper between which a user has to choose without knowing the noise; the ``long`` rows give plain training as many
seconds as DivideMix has (two networks, four views: 3.8 times as many epochs). Auto has the same choice of them: the
epochs of all others, or the ``long`` ones for plain training.
"""

from __future__ import annotations

from typing import Any

from codivide.bench.recipes.recipe import Recipe
from codivide.training.published import AUTOMATIC

#: Setting -> source and what is done to its labels; in the order in which they are to be run.
SETTINGS = {
    "sym0": ("cifar10", ""),
    "worse": ("cifar10n:worse", ""),
    "asym40": ("cifar10", "asymmetric:0.4"),
    "sym80": ("cifar10", "symmetric:0.8"),
    "sym50": ("cifar10", "symmetric:0.5"),
}

_STOP = {"validation": 0.1, "patience": 10}
FIELD: dict[str, dict[str, Any]] = {
    "cross_entropy": {"method": "cross_entropy"},
    "dividemix_25": {"method": "dividemix", "hyper": AUTOMATIC},
    "dividemix_0": {"method": "dividemix", "hyper": {**AUTOMATIC, "lambda_u": 0.0}},
    "dividemix_150": {"method": "dividemix", "hyper": {**AUTOMATIC, "lambda_u": 150.0}},
    "auto": {"method": "auto", "hyper": {"longer": 3.8}},
    "early_stopping": {"method": "cross_entropy", "hyper": _STOP},
    "cross_entropy_long": {"method": "cross_entropy", "times": 3.8},
    "early_stopping_long": {"method": "cross_entropy", "hyper": {**_STOP, "patience": 38}, "times": 3.8},
}


def _rows(prefix: str, limit: int) -> list[Recipe]:
    rows = []
    for label, about in FIELD.items():
        times = about.get("times", 1.0)
        plan = {"batch_size": 64, "lr": 0.05, "schedule": "step"}
        plan |= {"epochs": round(50 * times), "milestones": (round(22 * times),)}
        for setting, (data, noise) in SETTINGS.items():
            name = f"{prefix}-{setting}/{label}"
            hyper = about.get("hyper", {})
            rows.append(
                Recipe(
                    name,
                    about["method"],
                    data,
                    noise,
                    hyper=hyper,
                    plan=plan,
                    net="small_cnn",
                    limit=limit,
                    evaluate_every=round(5 * times),
                )
            )
    return rows


ROWS: tuple[Recipe, ...] = (*_rows("choose", 4000), *_rows("choose-10k", 10_000))
