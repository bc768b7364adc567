"""Our own comparison: every method under one protocol that a CPU can afford.

Equal for all: images, labels, network, batch size, learning-rate schedule and epochs (as each method counts them;
two networks cost twice). Long enough for plain cross-entropy to memorise: it must end at least 10 points below its
best epoch at symmetric 50 %, else the protocol shows nothing. Hyper-parameters are the methods' defaults; where a row
has others, they were chosen by agreement with held-out noisy labels (``codivide bench tune``), never by true or test
labels.
"""

from __future__ import annotations

from typing import Any

from codivide.bench.recipes.recipe import Recipe
from codivide.training.published import AUTOMATIC

_TUNED = "Chosen by agreement with held-out noisy labels; see results/recipes/tune."
_UNDERFIT = "Mixing by Beta(8, 8), as the mixup row: Beta(32, 32) leaves this small network underfitted."
_BURN_IN = "13 epochs of burn-in (18 %): without it the first batches keep what an untrained network happens to like."
_LATE = "Begins to infer labels when the rate has fallen, as M-correction does: before, the network falls back to 22 %."
_LATE_SPLIT = (
    "Divides when the rate has fallen: after 10 epochs a network that is right on 39 % chose for the rest of the run."
)
_ADAM = "AdamW at 0.001, as the method asks for: its loss weighs the labels by 0.1, too little for the others' SGD."
_RAMP = "Weight 1, not 3: with 3 from the start both networks fell to a few classes (loss on the given labels 3.2)."

#: Rows: label in the table -> what differs from the method's defaults. A label without a method is the method's name.
FIELD: dict[str, dict[str, Any]] = {
    "cross_entropy": {},
    "dividemix": {"hyper": AUTOMATIC},
    "elr": {},
    "mixup": {},
    "gce": {},
    "co_teaching": {},
    "forward_correction": {"hyper": {"restart": False, "estimate": "confident_joint"}, "note": _TUNED},
    "joint_optimization": {},
    "m_correction": {"hyper": {"alpha": 8.0}, "note": _UNDERFIT},
    "sop": {},
    "elr_plus": {"hyper": {"lambda_elr": 1.0}, "note": _RAMP},
    "early_stopping": {"method": "cross_entropy", "hyper": {"validation": 0.1, "patience": 10}},
    "mentornet": {"hyper": {"warmup": 13}, "note": _BURN_IN},
    "bootstrapping_hard": {
        "method": "bootstrapping",
        "hyper": {"hard": True, "warmup": 30, "beta": 0.5},
        "note": _TUNED,
    },
    "sce": {},
    "jocor": {"plan": {"optimizer": "adamw", "lr": 0.001}, "note": _ADAM},
    "promix": {},
    "mentormix": {},
    "pencil": {},
    "meta_learning": {},
    "iterative_cv": {},
    "codivide": {},
    "auto": {},
    "active_passive": {"hyper": {"beta": 0.1}, "plan": {"lr": 0.02}, "note": _TUNED},
    "bi_tempered": {"hyper": {"t1": 0.2, "t2": 2.0}, "note": _TUNED},
    "bootstrapping_soft": {
        "method": "bootstrapping",
        "hyper": {"hard": False, "warmup": 30, "beta": 0.2},
        "note": _TUNED,
    },
    "co_teaching_plus": {},
    "sop_plus": {},
    "cnn_crf": {"hyper": {"warmup": 32}, "note": _LATE},
    "unicon": {"hyper": {"warmup": 30}, "note": _LATE_SPLIT},
    "mentornet_learned": {"method": "mentornet", "hyper": {"curriculum": "learned"}},
    "backward_correction": {},
    "best_by_noisy_validation": {"method": "cross_entropy", "hyper": {"validation": 0.1}},
    "dropout": {"method": "cross_entropy", "dropout": 0.5},
    "label_smoothing": {"method": "cross_entropy", "hyper": {"label_smoothing": 0.1}},
    "input_noise": {"method": "mixup", "hyper": {"alpha": 0.0, "input_noise": 0.1}},
    "mixup_same_class": {"method": "mixup", "hyper": {"same_class": True}},
    "mixup_latent": {"method": "mixup", "hyper": {"layer": 1}},
    "mixup_dropout": {"method": "mixup", "dropout": 0.3},
    "m_correction_alpha_32": {"method": "m_correction", "hyper": {"warmup": 24}},
    "m_correction_early": {"method": "m_correction", "hyper": {"alpha": 8.0, "warmup": 24}},
    "bootstrapping_from_start": {"method": "bootstrapping"},
    "bootstrapping_soft_from_start": {"method": "bootstrapping", "hyper": {"hard": False}},
    "bootstrapping_soft_half": {"method": "bootstrapping", "hyper": {"hard": False, "warmup": 30, "beta": 0.5}},
    "cnn_crf_early": {"method": "cnn_crf"},
    "unicon_early": {"method": "unicon"},
    "bi_tempered_mild": {"method": "bi_tempered"},
    "active_passive_beta_1": {"method": "active_passive"},
    "mentornet_no_burn_in": {"method": "mentornet", "hyper": {"warmup": 0}},
    "forward_correction_restart": {"method": "forward_correction"},
    "dividemix_one_net": {"method": "dividemix", "hyper": {**AUTOMATIC, "networks": 1}},
    "dividemix_strong": {"method": "dividemix", "hyper": {**AUTOMATIC, "learning_view": "strong"}},
    "dividemix_wrong_events": {"method": "dividemix", "hyper": {**AUTOMATIC, "division": "wrong_events"}},
    "dividemix_lambda_u_0": {"method": "dividemix", "hyper": {**AUTOMATIC, "lambda_u": 0.0}},
}

#: The methods of the longer comparison, the most telling first.
MAIN = (
    "cross_entropy",
    "dividemix",
    "elr",
    "mixup",
    "co_teaching",
    "joint_optimization",
    "forward_correction",
    "m_correction",
    "elr_plus",
    "promix",
    "auto",
)

_PLAN = {"batch_size": 64, "lr": 0.05, "schedule": "step"}


def _row(group: str, label: str, data: str, noise: str, *, limit: int, epochs: int, down: int) -> Recipe:
    plan = {**_PLAN, "epochs": epochs, "milestones": (down,), **FIELD[label].get("plan", {})}
    row = {"method": label, "noise": noise, "plan": plan, "net": "small_cnn", "limit": limit, "evaluate_every": 5}
    return Recipe(name=f"{group}/{label}", data=data, **{**row, **FIELD[label], "plan": plan})


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
