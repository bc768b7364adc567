"""What the other papers report: joint optimization, ELR, co-teaching, MentorNet, M-correction, SOP, ProMix, UNICON.

Settings are those of the papers or of their published code; numbers are theirs, in percent of test accuracy, "best"
being the best epoch on the test set. ``oracle`` names what a row uses that a user cannot know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from codivide.bench.recipes.recipe import Recipe

_Plan = Mapping[str, Any]


def _pairs(names: str, numbers: str) -> Iterator[tuple[str, float | None]]:
    """Settings with their numbers; "-" is a number that was not published."""
    for name, number in zip(names.split(), numbers.split(), strict=True):
        yield name, None if number == "-" else float(number)


def _published(**values: float | None) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _noise(setting: str) -> str:
    """The noise of a setting: of "sym50" it is "symmetric:0.5", of "clean" none."""
    kinds = {"sym": "symmetric", "exc": "symmetric-exclusive", "asym": "asymmetric", "pair": "pair"}
    kind = setting.rstrip("0123456789")
    return f"{kinds[kind]}:{int(setting[len(kind) :]) / 100:g}" if kind in kinds else ""


# Tanaka et al. 2018: 45,000 images train. Stage one of 200 epochs at a constant rate, stage two of 120.
_TANAKA_ORDINARY: _Plan = {
    "epochs": 120,
    "batch_size": 128,
    "lr": 0.2,
    "schedule": "step",
    "milestones": (40, 80),
    "weight_decay": 1e-4,
}
_TANAKA_JOINT: _Plan = {"epochs": 320, "batch_size": 128, "weight_decay": 1e-4}
_TANAKA: Mapping[str, tuple[tuple[str, str, str, str, str], ...]] = {
    # table: method, test best, test last, recovery best, recovery last
    "clean sym10 sym30 sym50 sym70 sym90": (
        (
            "cross_entropy",
            "93.5 91.0 88.4 85.0 78.4 41.1",
            "93.4 87.0 72.2 55.3 36.6 20.4",
            "100 96.4 92.7 88.2 80.1 41.4",
            "100 91.1 74.6 57.6 39.6 21.7",
        ),
        (
            "joint_optimization",
            "93.4 92.7 91.4 89.6 85.9 58.0",
            "93.6 92.9 91.5 89.8 86.0 58.3",
            "100 97.9 95.1 91.7 86.3 58.2",
            "99.9 98.1 95.1 91.8 86.4 58.3",
        ),
    ),
    "asym10 asym20 asym30 asym40 asym50": (
        (
            "cross_entropy",
            "91.8 90.8 90.0 87.1 77.3",
            "89.8 85.4 81.0 75.7 70.5",
            "97.2 95.8 94.3 91.0 80.5",
            "95.0 90.2 85.3 80.2 75.2",
        ),
        (
            "forward_correction",
            "92.4 91.4 91.0 90.3 83.8",
            "91.7 89.7 88.0 86.4 80.9",
            "97.7 96.7 95.9 94.7 88.0",
            "97.9 95.8 93.6 91.5 85.5",
        ),
        (
            "cnn_crf",
            "92.0 91.5 90.7 89.5 84.0",
            "90.3 86.6 83.6 79.7 76.4",
            "97.4 96.5 95.3 93.7 88.1",
            "95.1 90.5 86.4 82.1 78.7",
        ),
        (
            "joint_optimization",
            "93.2 92.7 92.4 91.5 84.6",
            "93.2 92.8 92.4 91.7 84.7",
            "98.3 97.2 96.3 95.2 88.3",
            "98.1 97.1 96.3 95.2 88.1",
        ),
    ),
}


def _tanaka() -> Iterator[Recipe]:
    for table, (settings, rows) in enumerate(_TANAKA.items(), 1):
        for method, best, last, recovery_best, recovery_last in rows:
            columns = (_pairs(settings, numbers) for numbers in (best, last, recovery_best, recovery_last))
            for (setting, top), (_, end), (_, found_top), (_, found_end) in zip(*columns, strict=True):
                plan = _TANAKA_ORDINARY
                note = ""
                hyper: dict[str, Any] = {}
                oracle: tuple[str, ...] = ()
                if method == "joint_optimization":
                    plan = {**_TANAKA_JOINT, "lr": 0.03 if table == 2 else 0.08}
                    hyper = {"alpha": 0.8, "beta": 0.4} if table == 2 else {"alpha": 1.2, "beta": 0.8}
                    hyper["second_lr"] = 0.2
                    oracle = ("noise_type",)
                    note = "The published code gives settings for 70 % symmetric and 40 % asymmetric noise only."
                if method == "forward_correction":
                    hyper = {"transition": _noise(setting), "restart": False}
                    oracle = ("noise_rate", "noise_type")
                    note = "With the true transition matrix."
                if method == "cnn_crf":
                    note = "Our own form of the method, without the clean labels that the paper's has."
                yield Recipe(
                    f"joint-table{table}/{method}-{setting}",
                    method,
                    "cifar10",
                    _noise(setting),
                    hyper=hyper,
                    plan=plan,
                    net="preact_resnet32",
                    limit=45_000,
                    evaluate_every=1,
                    published=_published(best=top, last=end, recovery_best=found_top, recovery_last=found_end),
                    source=f"Tanaka et al. 2018 (arXiv:1803.11364), Table {table}",
                    oracle=oracle,
                    note=note,
                )


# Liu et al. 2020: one ResNet-34 on 45,000 images, or two PreAct ResNet-18 on all.
_ELR_SOURCE = "Liu et al. 2020 (arXiv:2007.00151), README of the published code"
_ELR_PLAN: _Plan = {"batch_size": 128, "lr": 0.02, "weight_decay": 1e-3}
_ELR_COSINE: _Plan = {**_ELR_PLAN, "epochs": 150, "schedule": "cosine", "period": 10, "lr_min": 1e-3}
_ELR_STEP: _Plan = {**_ELR_PLAN, "schedule": "step", "gamma": 0.01}
_ELR_NUMBERS = {
    ("cifar10", "step"): "91.16 89.15 86.12 73.86 90.12",
    ("cifar10", "cosine"): "91.12 91.43 88.87 80.69 90.35",
    ("cifar100", "step"): "74.21 68.28 59.28 29.78 73.71",
    ("cifar100", "cosine"): "74.68 68.43 60.05 30.27 73.96",
}
_ELR_PLUS_NUMBERS = {
    "cifar10": ("sym20 sym50 sym80 sym90 asym40", "95.8 94.8 93.3 78.7 93.0"),
    "cifar100": ("sym20 sym50 sym80 sym90 asym40", "77.6 73.6 60.8 33.4 77.5"),
}


def _asymmetric_note(data: str, setting: str) -> str:
    """How the labels of the authors' code differ from ours."""
    if setting != "asym40":
        return ""
    if data == "cifar100":
        return "The published code moves labels within five consecutive class numbers, ours within superclasses."
    return "The published code moves some labels twice, so that 18.3 % are wrong in all; of ours 20 % are."


def _elr() -> Iterator[Recipe]:
    for (data, schedule), numbers in _ELR_NUMBERS.items():
        for setting, number in _pairs("sym20 sym40 sym60 sym80 asym40", numbers):
            hundred = data == "cifar100"
            one_way = setting == "asym40"
            milestones = (80, 120) if hundred else (40, 80)
            step = {**_ELR_STEP, "epochs": 150 if hundred else 120, "milestones": milestones}
            weight = 7.0 if hundred else 1.0 if one_way else 3.0
            yield Recipe(
                f"elr/{data}-{setting}-{schedule}",
                "elr",
                data,
                _noise(setting),
                hyper={"lambda_elr": weight, "beta": 0.9 if hundred or one_way else 0.7},
                plan=_ELR_COSINE if schedule == "cosine" else step,
                net="resnet34",
                limit=45_000,
                published=_published(last=number),
                source=_ELR_SOURCE,
                oracle=("noise_type",),
                note=_asymmetric_note(data, setting),
            )


def _elr_plus() -> Iterator[Recipe]:
    for data, (settings, numbers) in _ELR_PLUS_NUMBERS.items():
        for setting, number in _pairs(settings, numbers):
            hundred = data == "cifar100"
            hyper: dict[str, Any] = {"coef_step": 0}
            if hundred:
                hyper = {"lambda_elr": 7.0, "beta": 0.9, "coef_step": 40_000, "label_product": True}
            elif setting == "asym40":
                hyper = {"lambda_elr": 1.0, "beta": 0.9, "coef_step": 0}
            yield Recipe(
                f"elr_plus/{data}-{setting}",
                "elr_plus",
                data,
                _noise(setting),
                hyper={**hyper, "ema_step": 40_000},
                plan={
                    "epochs": 250 if hundred else 200,
                    "batch_size": 128,
                    "lr": 0.02,
                    "schedule": "step",
                    "milestones": (200,) if hundred else (150,),
                    "weight_decay": 5e-4,
                },
                evaluate_every=1,
                published=_published(best=number),
                source=_ELR_SOURCE,
                oracle=("noise_type",),
                note=_asymmetric_note(data, setting),
            )


# Han et al. 2018: Adam, nine layers, no augmentation; the noise never keeps the true label.
_CO_TEACHING: _Plan = {
    "epochs": 200,
    "batch_size": 128,
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 0.0,
    "schedule": "linear",
}
_PLUS_WARMUP = {"mnist": 0, "cifar10": 20, "cifar100": 5}  # epochs of Co-teaching before disagreement counts
_AGREEMENT = {"mnist": 0.95, "cifar100": 0.85}  # lambda of JoCoR's authors; 0.9, the default, on CIFAR-10
_CO_TEACHING_NUMBERS = {
    "mnist": "87.58 91.68 97.71",
    "cifar10": "72.85 74.49 82.18",
    "cifar100": "34.40 41.23 54.36",
}


def _co_teaching() -> Iterator[Recipe]:
    for data, numbers in _CO_TEACHING_NUMBERS.items():
        for setting, number in _pairs("pair45 exc50 exc20", numbers):
            for method in ("co_teaching", "co_teaching_plus", "jocor"):
                own = method == "co_teaching"
                more: dict[str, Any] = {"warmup": _PLUS_WARMUP[data]} if method == "co_teaching_plus" else {}
                if method == "jocor" and data in _AGREEMENT:
                    more = {"agreement": _AGREEMENT[data]}
                late = data == "cifar100" and method != "co_teaching_plus"
                yield Recipe(
                    f"{method}/{data}-{setting}",
                    method,
                    data,
                    _noise(setting),
                    hyper={"forget_rate": int(setting[-2:]) / 100, "rise": 10, **more},
                    plan={**_CO_TEACHING, "milestones": (100,) if late else (80,)},
                    net="cnn9",
                    augment="none",
                    published=_published(last_10_mean=number) if own else {},
                    source="Han et al. 2018 (arXiv:1804.06872), README of the published code" if own else "",
                    oracle=("noise_rate",),
                    note="Adam's first decay stays .9 throughout; the published code lowers it to .1."
                    + ("" if own else " The network is Co-teaching's; the authors have smaller ones."),
                )


# Jiang et al. 2018: 39,000 steps of 128, with drops of the rate after 19,531, 25,000 and 30,000; in the script of the
# baseline those are made, and then a schedule of one drop after 50 epochs takes their place.
_MENTORNET: _Plan = {
    "epochs": 100,
    "batch_size": 128,
    "lr": 0.1,
    "schedule": "step",
    "milestones": (50, 64, 77),
    "weight_decay": 2e-4,
    "decayed": "kernels",
}
#: What the published mentor of predefined weights was fitted to, in a hundred parts of training: 1 in those of number 0
#: to 18, then a step, and a slope of 1 from number 90 on.
_MENTOR: Mapping[str, Any] = {"warmup": 19, "slope": 1.0, "slope_from": 0.9, "sample_dropout": "0.5,17,0.05,83"}


def _mentornet() -> Iterator[Recipe]:
    columns = {
        "cross_entropy": {"cifar10": "79.6 56.8 23.8", "cifar100": "62.4 44.8 8.4"},
        "mentornet": {"cifar10": "91.0 77.6 28.3", "cifar100": "73.3 56.7 19.3"},
    }
    for method, rows in columns.items():
        for data, numbers in rows.items():
            for setting, number in _pairs("sym20 sym40 sym80", numbers):
                hyper: dict[str, Any] = {}
                if method == "mentornet":
                    percentile = 0.5 if setting == "sym80" else 0.75
                    hyper = {"percentile": percentile, **_MENTOR}
                yield Recipe(
                    f"mentornet/{data}-{setting}-{method}",
                    method,
                    data,
                    _noise(setting),
                    hyper=hyper,
                    plan=_MENTORNET if method == "mentornet" else {**_MENTORNET, "milestones": (50,)},
                    net="mentornet_resnet101",
                    published=_published(last=number),
                    source="Jiang et al. 2018 (arXiv:1712.05055), published code",
                    oracle=("noise_rate",) if setting == "sym80" and method == "mentornet" else (),
                    note="The published code moves images by 2 pixels and scales each by itself; ours by 4, all alike.",
                )


# Arazo et al. 2019: hard form with the mixup, and the dynamic form for the heaviest noise.
_ARAZO = {  # best, last
    ("cifar10", "hard"): ("93.6 94.0 92.0 86.8 40.8", "93.4 93.8 91.9 86.6 9.9"),
    ("cifar10", "dynamic"): ("93.6 93.8 90.6 82.4 69.1", "92.7 93.6 90.3 77.8 68.7"),
    ("cifar100", "hard"): ("70.3 68.7 61.7 48.2 12.5", "66.2 68.5 58.8 47.6 8.6"),
    ("cifar100", "dynamic"): ("73.3 73.9 66.1 41.6 24.3", "71.3 73.34 65.4 35.4 20.5"),
}
_TEN_CLASSES = "The published code draws wrong labels among the first ten classes, ours among all."


def _m_correction() -> Iterator[Recipe]:
    settings = "clean sym20 sym50 sym80 sym90"
    for (data, form), (best, last) in _ARAZO.items():
        for (setting, top), (_, end) in zip(_pairs(settings, best), _pairs(settings, last), strict=True):
            yield Recipe(
                f"m_correction/{data}-{setting}-{form}",
                "m_correction",
                data,
                _noise(setting),
                hyper={"dynamic": form == "dynamic", "trim": 0.05},
                plan={
                    "epochs": 300,
                    "batch_size": 128,
                    "lr": 0.1,
                    "schedule": "step",
                    "milestones": (100, 250),
                    "weight_decay": 1e-4,
                },
                evaluate_every=1,
                published=_published(best=top, last=end),
                source="Arazo et al. 2019 (arXiv:1904.11238), published code",
                note=_TEN_CLASSES if data == "cifar100" and setting != "clean" else "",
            )


_STRONGEST: Mapping[str, tuple[_Plan, str, str, tuple[tuple[str, str, str], ...]]] = {
    # method: plan, network, source, rows of data, settings, best
    "sop_plus": (
        {"epochs": 300, "batch_size": 128, "lr": 0.02, "schedule": "cosine", "lr_min": 2e-4},
        "preact_resnet18",
        "Liu et al. 2022 (arXiv:2202.14026), as the ProMix paper quotes it",
        (
            ("cifar10", "sym20 sym50 sym80 asym40", "96.3 95.5 94.0 93.8"),
            ("cifar100", "sym20 sym50 sym80", "78.8 75.9 63.3"),
        ),
    ),
    "promix": (
        {"epochs": 600, "batch_size": 256, "lr": 0.05, "schedule": "cosine", "lr_min": 5e-5, "weight_decay": 5e-4},
        "resnet18",
        "Xiao et al. 2023 (arXiv:2207.10276)",
        (
            ("cifar10", "sym20 sym50 sym80 sym90 asym40", "97.69 97.40 95.49 93.36 96.59"),
            ("cifar100", "sym20 sym50 sym80 sym90", "82.64 80.06 69.37 42.93"),
            ("cifar10n:", "aggre random1 random2 random3 worse", "97.65 97.39 97.55 97.52 96.34"),
        ),
    ),
    "unicon": (
        {
            "epochs": 350,
            "batch_size": 64,
            "lr": 0.02,
            "schedule": "cosine",
            "milestones": (280,),
            "lr_min": 2e-4,
            "weight_decay": 5e-4,
        },
        "preact_resnet18",
        "Karim et al. 2022 (arXiv:2203.14542), as the CSOT paper quotes it",
        (("cifar100", "sym80 sym90", "63.9 44.8"),),
    ),
}
_NOT_SET = "The published commands end at 50 % symmetric noise; these are the settings of that row."


def _own_settings(method: str, data: str, setting: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Hyper-parameters, fields of the plan and a note of one row of the strongest methods."""
    hundred = data == "cifar100"
    if method == "sop_plus":
        note = "The authors' example for asymmetric noise, on CIFAR-100, has lr_u 1 or 0.1 by version."
        hyper: dict[str, Any] = {"lr_u": 1.0 if hundred else 10.0, "lr_v": 100.0 if setting == "asym40" else 10.0}
        note = f"{note} {_asymmetric_note(data, setting)}" if setting == "asym40" else ""
        return hyper, {"weight_decay": 1e-3 if hundred else 5e-4}, note
    if method == "unicon":
        return {"warmup": 30, "form": "code"}, {}, ""
    rho = 0.7 if setting == "sym20" else 0.5
    hyper = {"warmup": 30 if hundred else 10, "rho_start": rho, "rho": rho, "tau": 0.95 if hundred else 0.99}
    strength = 0.5 if hundred else 0.8
    hyper |= {"debias_loss": strength, "debias_guess": strength, "keep_rest": False}
    if setting == "asym40":
        hyper["confidence_penalty"] = 1.0
    return hyper, {}, _NOT_SET if setting in ("sym80", "sym90") else ""


def _known_of(method: str, setting: str) -> tuple[str, ...]:
    """What the settings of a row know of the noise."""
    if setting == "asym40":
        return ("noise_type",)
    return ("noise_rate",) if method == "promix" and setting == "sym20" else ()


def _strongest() -> Iterator[Recipe]:
    for method, (plan, net, source, rows) in _STRONGEST.items():
        for data, settings, numbers in rows:
            for setting, number in _pairs(settings, numbers):
                human = data.endswith(":")
                hyper, more, note = _own_settings(method, data, setting)
                yield Recipe(
                    f"{method}/{data.rstrip(':')}-{setting}",
                    method,
                    f"{data}{setting}" if human else data,
                    "" if human else _noise(setting),
                    hyper=hyper,
                    plan={**plan, **more},
                    net=net,
                    evaluate_every=1,
                    published=_published(best=number),
                    source=source,
                    oracle=_known_of(method, setting),
                    note=note,
                )


ROWS: tuple[Recipe, ...] = tuple(
    chain(_tanaka(), _elr(), _elr_plus(), _co_teaching(), _mentornet(), _m_correction(), _strongest())
)
