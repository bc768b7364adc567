"""The settings of published rows, typed from the papers and the authors' commands, and not from the recipes.

A setting is looked up in the method as it is built, in the plan as a run would have it, or in the recipe: so values
that a recipe leaves to defaults are held, too.
"""

import re
from types import SimpleNamespace

import pytest

from codivide.bench import runner
from codivide.bench.recipes import RECIPES
from codivide.fit.job import build_method, default_plan

SGD = {"optimizer": "sgd", "plan:momentum": 0.9, "nesterov": False, "decayed": "all"}
#: Train_cifar.py of DivideMix.
DIVIDEMIX = {
    **SGD,
    "net": "preact_resnet18",
    "lr": 0.02,
    "weight_decay": 5e-4,
    "schedule": "step",
    "gamma": 0.1,
    "temperature": 0.5,
    "alpha": 4,
    "rampup": 16,
    "prior": 1,
    "division": "mixture",
    "restore_classes": False,
    "guess_in_training_mode": True,
    "learn_unlabelled": True,
    "augment": "auto",
}
PLAIN = {**DIVIDEMIX, "epochs": 300, "milestones": (150,), "batch_size": 64, "augmentations": 2}
#: train.py of mixup.
MIXUP = {
    **SGD,
    "epochs": 200,
    "batch_size": 128,
    "lr": 0.1,
    "schedule": "step",
    "gamma": 0.1,
    "milestones": (100, 150),
    "weight_decay": 1e-4,
}
#: MixMatch's code, which all methods of its tables share.
FEW = {
    "net": "wrn_28_2",
    "optimizer": "adamw",
    "lr": 0.002,
    "schedule": "constant",
    "decayed": "kernels",
    "average": 0.999,
    "batch_size": 64,
    "steps": 1024,
    "epochs": 1024,
    "ratio": 1,
    "include_labelled": False,
    "weight_decay": 0.02,
}
TANAKA = {**SGD, "net": "preact_resnet32", "batch_size": 128, "weight_decay": 1e-4, "limit": 45_000}
ELR = {**SGD, "net": "resnet34", "batch_size": 128, "lr": 0.02, "weight_decay": 1e-3, "limit": 45_000, "average": 0}
ELR_PLUS = {
    **SGD,
    "net": "preact_resnet18",
    "batch_size": 128,
    "lr": 0.02,
    "weight_decay": 5e-4,
    "schedule": "step",
    "gamma": 0.1,
    "alpha": 1,
    "average": 0.997,
    "ema_step": 40_000,
}
CO_TEACHING = {
    "net": "cnn9",
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 0,
    "schedule": "linear",
    "lr_min": 0,
    "epochs": 200,
    "batch_size": 128,
    "rise": 10,
    "exponent": 1,
    "augment": "none",
}
MENTORNET = {
    **SGD,
    "net": "mentornet_resnet101",
    "decayed": "kernels",
    "weight_decay": 2e-4,
    "lr": 0.1,
    "schedule": "step",
    "gamma": 0.1,
    "epochs": 100,
    "batch_size": 128,
}
WEBVISION = {**SGD, "net": "timm:inception_resnet_v2", "batch_size": 32, "schedule": "step", "gamma": 0.1}
CLOTHING = {**SGD, "net": "timm:resnet50:pretrained", "lr": 0.002, "weight_decay": 1e-3, "schedule": "step"}

#: Names of recipes -> settings; all that fit hold.
SETTINGS = [
    ("dividemix-cifar10/sym*", {"confidence_penalty": 0, "warmup": 10}),
    ("dividemix-cifar100/sym*", {"confidence_penalty": 0, "warmup": 30}),
    ("dividemix-cifar10*/*", PLAIN),
    ("dividemix-cifar10/sym20", {"lambda_u": 0, "threshold": 0.5, "average_losses": 1}),
    ("dividemix-cifar10/sym50", {"lambda_u": 25, "threshold": 0.5, "average_losses": 1}),
    ("dividemix-cifar10/sym80", {"lambda_u": 25, "threshold": 0.5, "average_losses": 1}),
    ("dividemix-cifar10/sym90", {"lambda_u": 50, "threshold": 0.6, "average_losses": 5}),
    ("dividemix-cifar10/asym40", {"lambda_u": 0, "confidence_penalty": 1, "warmup": 10, "threshold": 0.5}),
    ("dividemix-cifar100/sym20", {"lambda_u": 25, "threshold": 0.5}),
    ("dividemix-cifar100/sym50", {"lambda_u": 150, "threshold": 0.5}),
    ("dividemix-cifar100/sym80", {"lambda_u": 150, "threshold": 0.5}),
    ("dividemix-cifar100/sym90", {"lambda_u": 150, "threshold": 0.6, "average_losses": 5}),
    ("dividemix-cifar100/asym40", {"lambda_u": 150, "confidence_penalty": 1, "warmup": 30}),
    ("dividemix-ablation-*/*", {**DIVIDEMIX, "epochs": 300, "milestones": (150,), "batch_size": 64}),
    ("dividemix-ablation-*/*-one-net-at-test", {"test_net": 0, "networks": 2}),
    ("dividemix-ablation-*/*-no-co-training", {"networks": 1, "refine": True}),
    ("dividemix-ablation-*/*-no-refinement", {"networks": 2, "refine": False}),
    ("dividemix-ablation-*/*-no-augmentation", {"augmentations": 1}),
    ("dividemix-ablation-*/*-divide-and-mixmatch", {"networks": 1, "refine": False}),
    ("dividemix-human/*", {**PLAIN, "lambda_u": 0, "threshold": 0.5, "confidence_penalty": 0}),
    ("dividemix-human/cifar10n-*", {"warmup": 10}),
    ("dividemix-human/cifar100n", {"warmup": 30}),
    ("dividemix-figure2/*", {**PLAIN, "epochs": 10, "warmup": 10}),
    ("dividemix-baselines-*/*", {**SGD, "net": "preact_resnet18", "lr": 0.02, "weight_decay": 5e-4, "batch_size": 128}),
    ("dividemix-baselines-*/*", {"epochs": 300, "milestones": (150,), "gamma": 0.1}),
    ("dividemix-baselines-*/*-mixup", {"alpha": 32}),
    # presets.json of Nishi et al.
    ("augdesc-*/*", {**DIVIDEMIX, "batch_size": 128, "augment": ...}),
    ("augdesc-cifar10/sym20-[rsw]*", {"epochs": 300, "milestones": (150,), "lambda_u": 0}),
    ("augdesc-cifar10/sym50-ws-waw", {"epochs": 300, "milestones": (150,), "lambda_u": 25}),
    ("augdesc-cifar10/sym50-ws-saw", {"epochs": 300, "milestones": (200,), "lambda_u": 25}),
    ("augdesc-cifar10/sym80-*", {"epochs": 350, "milestones": (200,), "lambda_u": 25}),
    ("augdesc-cifar10/sym90-*", {"lambda_u": 50, "threshold": 0.6, "average_losses": 5}),
    ("augdesc-cifar10/sym90-raw", {"epochs": 250, "milestones": (150,)}),
    ("augdesc-cifar10/sym90-ww", {"epochs": 250, "milestones": (150,)}),
    ("augdesc-cifar10/sym90-ss", {"epochs": 350, "milestones": (250,)}),
    ("augdesc-cifar10/sym90-runtime-s", {"epochs": 350, "milestones": (250,)}),
    ("augdesc-cifar10/sym90-ws-*", {"epochs": 350, "milestones": (250,)}),
    ("augdesc-cifar10/asym40-ws-waw", {"epochs": 350, "milestones": (250,), "lambda_u": 0, "confidence_penalty": 1}),
    ("augdesc-cifar10/asym40-ws-saw", {"epochs": 300, "milestones": (150,), "lambda_u": 0, "confidence_penalty": 1}),
    ("augdesc-cifar100/sym20-[rsw]*", {"epochs": 400, "milestones": (300,), "lambda_u": 25}),
    ("augdesc-cifar100/sym[58]0-*", {"epochs": 400, "milestones": (300,), "lambda_u": 150}),
    ("augdesc-cifar100/sym90-ww", {"epochs": 250, "milestones": (150,), "lambda_u": 150}),
    ("augdesc-cifar100/sym90-raw", {"epochs": 400, "milestones": (300,), "lambda_u": 150, "threshold": 0.6}),
    ("augdesc-cifar100/sym90-ws-*", {"epochs": 400, "milestones": (300,), "lambda_u": 150, "average_losses": 5}),
    ("augdesc-*/*-raw", {"warmup_view": "plain", "guess_view": "plain", "learning_view": "same"}),
    ("augdesc-*/*-expansion-weak", {"epochs": 200, "milestones": (100,), "expand": "weak", "augment": "none"}),
    ("augdesc-*/*-expansion-strong", {"epochs": 200, "milestones": (100,), "expand": "strong", "augment": "none"}),
    ("augdesc-*/*-runtime-s", {"warmup_view": "weak", "guess_view": "strong", "learning_view": "same"}),
    ("augdesc-*/*-ww", {"warmup_view": "weak", "guess_view": "weak", "learning_view": "weak"}),
    ("augdesc-*/*-ss", {"warmup_view": "weak", "guess_view": "strong", "learning_view": "strong"}),
    ("augdesc-*/*-waw*", {"warmup_view": "weak", "guess_view": "weak", "learning_view": "strong"}),
    ("augdesc-*/*-saw", {"warmup_view": "strong", "guess_view": "weak", "learning_view": "strong"}),
    ("mixup-figure3a/*resnet18*", {**MIXUP, "net": "preact_resnet18"}),
    ("mixup-figure3a/*densenet*", {**MIXUP, "net": "densenet_bc_190"}),
    ("mixup-figure3a/*wrn*", {**MIXUP, "net": "wrn_28_10", "milestones": (60, 120, 180)}),
    ("mixup-figure3a/*-mixup", {"method": "mixup", "alpha": 1, "per_sample": False, "samples": 2}),
    ("mixup-table2/*", {**MIXUP, "net": ...}),
    ("mixup-table2/*-erm", {"method": "cross_entropy", "dropout": 0, "net": "preact_resnet18"}),
    ("mixup-table2/*-mixup", {"dropout": 0, "net": "preact_resnet18"}),
    ("mixup-table2/*-dropout", {"net": "preact_resnet18_dropout"}),
    ("mixup-table2/sym20-erm-dropout", {"dropout": 0.7}),
    ("mixup-table2/sym[58]0-erm-dropout", {"dropout": 0.8}),
    ("mixup-table2/sym20-mixup", {"alpha": 8}),
    ("mixup-table2/sym[58]0-mixup", {"alpha": 32}),
    ("mixup-table2/sym20-mixup-dropout", {"alpha": 4, "dropout": 0.1}),
    ("mixup-table2/sym[58]0-mixup-dropout", {"alpha": 8, "dropout": 0.3}),
    ("mixup-table5/*-wd1e-4", {**MIXUP, "net": "preact_resnet18"}),
    ("mixup-table5/*-wd5e-4", {**MIXUP, "weight_decay": 5e-4}),
    ("mixup-table5/ac-rp-*", {"alpha": 1, "neighbours": 0, "same_class": False, "layer": 0, "mix_labels": True}),
    ("mixup-table5/ac-knn-*", {"alpha": 1, "neighbours": 200, "same_class": False, "mix_labels": True}),
    ("mixup-table5/layer[1-5]-*", {"alpha": 1, "neighbours": 0, "mix_labels": True}),
    ("mixup-table5/inputs-sc-knn-*", {"same_class": True, "neighbours": 200, "mix_labels": False}),
    ("mixup-table5/inputs-ac-knn-*", {"same_class": False, "neighbours": 200, "mix_labels": False}),
    ("mixup-table5/inputs-sc-rp-*", {"same_class": True, "neighbours": 0, "mix_labels": False}),
    ("mixup-table5/inputs-ac-rp-*", {"same_class": False, "neighbours": 0, "mix_labels": False}),
    ("mixup-table5/inputs-smoothing*", {"alpha": 1, "mix_labels": False, "same_class": False}),
    ("mixup-table5/erm-*", {"alpha": 0, "label_smoothing": 0, "input_noise": 0}),
    ("mixup-table5/smoothing*", {"alpha": 0}),
    ("mixup-table5/noise*", {"alpha": 0}),
    ("mixup-table1/*", {**SGD, "weight_decay": 1e-4, "gamma": 0.1, "augment": "resized_crop"}),
    ("mixup-table1/*-90-*", {"epochs": 90, "milestones": (30, 60, 80)}),
    ("mixup-table1/*-200-*", {"epochs": 200, "milestones": (60, 120, 180)}),
    ("mixup-table1/resnet[15]0*-mixup", {"alpha": 0.2}),
    ("mixup-table1/resnext*-mixup", {"alpha": 0.4}),
    ("mixmatch-table?/*", {**FEW, "weight_decay": ...}),
    ("mixmatch-table5/*-pi-model", {"weight": 20, "stop_gradient": True, "rampup": 0.4, "weight_decay": 0.02}),
    ("mixmatch-table6/*-pi-model", {"weight": 5, "stop_gradient": True, "rampup": 0.4, "weight_decay": 0.2}),
    ("mixmatch-table5/*-pseudo-label", {"weight": 1, "threshold": 0.95, "rampup": 0.4, "weight_decay": 0.02}),
    ("mixmatch-table6/*-pseudo-label", {"weight": 2, "threshold": 0.95, "rampup": 0.4, "weight_decay": 0.02}),
    ("mixmatch-table5/*-mean-teacher", {"weight": 50, "rampup": 0.4, "weight_decay": 0.2}),
    ("mixmatch-table6/*-mean-teacher", {"weight": 150, "rampup": 0.4, "weight_decay": 0.02}),
    ("mixmatch-table?/*-vat", {"weight": 0.3, "entropy": 0.06, "rampup": 0.4, "iterations": 1, "weight_decay": 0.02}),
    ("mixmatch-table?/*-vat", {"reverse": True}),
    ("mixmatch-table5/*-vat", {"eps": 12}),  # 6 where pixels lie in [-1, 1] and have a deviation of .5
    ("mixmatch-table6/*-vat", {"eps": 15}),  # and of .4
    ("mixmatch-table5/*-mixup", {"form": "mixup", "alpha": 0.75, "weight": 1, "rampup": 0, "weight_decay": 0.02}),
    ("mixmatch-table6/*-mixup", {"form": "mixup", "alpha": 0.25, "weight": 1, "rampup": 0, "weight_decay": 0.02}),
    ("mixmatch-table?/*-mixmatch", {"alpha": 0.75, "temperature": 0.5, "augmentations": 2, "interleave": True}),
    ("mixmatch-table?/*-mixmatch", {"rampup_images": 1024, "rampup": 1, "weight_decay": 0.02}),
    ("mixmatch-table5/*-mixmatch", {"weight": 75}),
    ("mixmatch-table6/*-mixmatch", {"weight": 250}),
    ("mixmatch-supervised/*", {"alpha": 0.5, "per_sample": True, "weight_decay": 0.002, "lr": 0.002, "average": 0.999}),
    ("joint-table*/joint*", {**TANAKA, "epochs": 320, "schedule": "constant", "second_lr": 0.2, "window": 10}),
    ("joint-table*/joint*", {"labels": "soft", "prior": "uniform", "first_share": 200 / 320, "update_from": None}),
    ("joint-table1/joint*", {"alpha": 1.2, "beta": 0.8, "lr": 0.08}),
    ("joint-table2/joint*", {"alpha": 0.8, "beta": 0.4, "lr": 0.03}),
    ("joint-table*/cross*", {**TANAKA, "epochs": 120, "lr": 0.2, "schedule": "step", "milestones": (40, 80)}),
    ("joint-table2/forward*", {**TANAKA, "restart": False, "epochs": 120, "lr": 0.2}),
    ("elr/*", ELR),
    ("elr/cifar10-sym*", {"lambda_elr": 3, "beta": 0.7}),
    ("elr/cifar10-asym*", {"lambda_elr": 1, "beta": 0.9}),
    ("elr/cifar100-*", {"lambda_elr": 7, "beta": 0.9}),
    ("elr/*-cosine", {"schedule": "cosine", "period": 10, "lr_min": 1e-3, "epochs": 150}),
    ("elr/cifar10-*-step", {"schedule": "step", "gamma": 0.01, "milestones": (40, 80), "epochs": 120}),
    ("elr/cifar100-*-step", {"schedule": "step", "gamma": 0.01, "milestones": (80, 120), "epochs": 150}),
    ("elr_plus/*", ELR_PLUS),
    ("elr_plus/cifar10-*", {"epochs": 200, "milestones": (150,), "coef_step": 0, "label_product": False}),
    ("elr_plus/cifar10-sym*", {"lambda_elr": 3, "beta": 0.7}),
    ("elr_plus/cifar10-asym*", {"lambda_elr": 1, "beta": 0.9}),
    ("elr_plus/cifar100-*", {"epochs": 250, "milestones": (200,), "coef_step": 40_000, "label_product": True}),
    ("elr_plus/cifar100-*", {"lambda_elr": 7, "beta": 0.9}),
    ("co_teaching*/*", CO_TEACHING),
    ("jocor/*", CO_TEACHING),
    ("co_teaching/cifar100-*", {"milestones": (100,)}),
    ("co_teaching/cifar10-*", {"milestones": (80,)}),
    ("co_teaching_plus/*", {"milestones": (80,)}),
    ("co_teaching_plus/mnist-*", {"warmup": 0}),
    ("co_teaching_plus/cifar10-*", {"warmup": 20}),
    ("co_teaching_plus/cifar100-*", {"warmup": 5}),
    ("jocor/mnist-*", {"agreement": 0.95, "milestones": (80,)}),
    ("jocor/cifar10-*", {"agreement": 0.9, "milestones": (80,)}),
    ("jocor/cifar100-*", {"agreement": 0.85, "milestones": (100,)}),
    ("mentornet/*", MENTORNET),
    ("mentornet/*-cross_entropy", {"milestones": (50,)}),  # cifar_train_baseline.py
    ("mentornet/*-mentornet", {"milestones": (50, 64, 77)}),
    ("mentornet/*-mentornet", {"warmup": 19, "slope": 1, "slope_from": 0.9, "percentile_decay": 0.5}),
    ("mentornet/*-mentornet", {"curriculum": "predefined", "sample_dropout": "0.5,17,0.05,83"}),
    ("mentornet/*-sym[24]0-mentornet", {"percentile": 0.75}),
    ("mentornet/*-sym80-mentornet", {"percentile": 0.5}),
    ("m_correction/*", {**SGD, "net": "preact_resnet18", "epochs": 300, "batch_size": 128, "lr": 0.1}),
    ("m_correction/*", {"schedule": "step", "milestones": (100, 250), "weight_decay": 1e-4, "alpha": 32, "prior": 1}),
    ("dividemix-baselines-*/*m_correction", {"trim": 0.05}),
    ("clothing1m/m_correction", {"trim": 0.05}),
    ("m_correction/*", {"trim": 0.05}),
    ("m_correction/*-hard", {"hard": True, "dynamic": False}),
    ("m_correction/*-dynamic", {"dynamic": True}),
    ("sop_plus/*", {**SGD, "net": "preact_resnet18", "epochs": 300, "batch_size": 128, "lr": 0.02, "lr_min": 2e-4}),
    ("sop_plus/*", {"schedule": "cosine", "consistency": 0.9, "balance": 0.1, "init": None}),
    ("sop_plus/cifar10-*", {"lr_u": 10, "weight_decay": 5e-4}),
    ("sop_plus/cifar100-*", {"lr_u": 1, "weight_decay": 1e-3}),
    ("sop_plus/*-sym*", {"lr_v": 10}),
    ("sop_plus/*-asym*", {"lr_v": 100}),
    ("promix/*", {**SGD, "net": "resnet18", "epochs": 600, "batch_size": 256, "lr": 0.05, "lr_min": 5e-5}),
    ("promix/*", {"schedule": "cosine", "weight_decay": 5e-4, "momentum": 0.9999, "alpha": 4, "lambda_u": 0.1}),
    ("promix/*", {"temperature": 0.5, "agreement_share": 0.9, "keep_rest": False}),
    ("promix/*-sym20", {"rho_start": 0.7, "rho": 0.7}),
    ("promix/*-[sa]*[4589]0", {"rho_start": 0.5, "rho": 0.5}),
    ("promix/cifar10n-*", {"rho": 0.5, "tau": 0.99, "warmup": 10, "debias_loss": 0.8, "debias_guess": 0.8}),
    ("promix/cifar10-*", {"tau": 0.99, "warmup": 10, "debias_loss": 0.8, "debias_guess": 0.8}),
    ("promix/cifar100-*", {"tau": 0.95, "warmup": 30, "debias_loss": 0.5, "debias_guess": 0.5}),
    ("promix/*-asym40", {"confidence_penalty": 1}),
    ("promix/*-sym*", {"confidence_penalty": 0}),
    ("unicon/*", {**SGD, "net": "preact_resnet18", "epochs": 350, "batch_size": 64, "lr": 0.02, "lr_min": 2e-4}),
    ("unicon/*", {"schedule": "cosine", "milestones": (280,), "weight_decay": 5e-4, "tau": 5, "d_mu": 0.7}),
    ("unicon/*", {"lambda_u": 30, "lambda_c": 0.025, "alpha": 4, "temperature": 0.5, "contrast_temperature": 0.05}),
    ("unicon/*", {"warmup": 30, "rampup": 16, "prior": 1, "form": "code", "projection": 128}),
    # Train_clothing1M.py, Train_webvision.py, config_clothing1m.json and config_webvision.json.
    ("clothing1m/dividemix", {**CLOTHING, "batch_size": 32, "sub_epoch": 32_000, "learn_unlabelled": False}),
    ("clothing1m/dividemix", {"alpha": 0.5, "lambda_u": 0, "confidence_penalty": 1, "threshold": 0.5, "warmup": 2}),
    ("clothing1m/dividemix", {"epochs": 81, "milestones": (41,), "gamma": 0.1}),
    ("clothing1m/elr_plus", {**CLOTHING, "batch_size": 64, "sub_epoch": 192_000, "epochs": 15, "milestones": (7,)}),
    ("clothing1m/elr_plus", {"lambda_elr": 3, "beta": 0.7, "alpha": 1, "average": 0.9999, "ema_step": 0}),
    ("clothing1m/elr_plus", {"coef_step": 0, "label_product": False}),
    ("webvision*/dividemix", {**WEBVISION, "lr": 0.01, "weight_decay": 5e-4, "epochs": 80, "milestones": (40,)}),
    ("webvision*/dividemix", {"alpha": 0.5, "lambda_u": 0, "confidence_penalty": 0, "warmup": 1, "threshold": 0.5}),
    ("webvision*/dividemix", {"learn_unlabelled": False, "restore_classes": False}),
    ("webvision*/elr_plus", {**WEBVISION, "lr": 0.02, "weight_decay": 5e-4, "epochs": 100, "milestones": (50,)}),
    ("webvision*/elr_plus", {"lambda_elr": 3, "beta": 0.7, "alpha": 1.5, "average": 0.997, "ema_step": 0}),
    ("webvision*/elr_plus", {"coef_step": 0, "label_product": False}),
]


def built(recipe):
    """The method and the plan of a recipe, as a run would have them."""
    method = build_method(recipe.method, **recipe.hyper)
    return method, default_plan(50_000, method, **recipe.plan)


def setting(recipe, name):
    """What the method, the plan or the recipe says of a name; "plan:" before it asks the plan alone."""
    method, plan = built(recipe)
    places = (plan,) if name.startswith("plan:") else (method, plan, recipe)
    name = name.removeprefix("plan:")
    return next(getattr(place, name) for place in places if hasattr(place, name))


@pytest.mark.parametrize(("pattern", "settings"), SETTINGS, ids=[f"{k} {row[0]}" for k, row in enumerate(SETTINGS)])
def test_rows_have_the_settings_of_their_authors(pattern, settings):
    """``...`` stands for what another entry says."""
    for recipe in runner.find(pattern):
        for name, value in settings.items():
            if value is not ...:
                assert setting(recipe, name) == value, (recipe.name, name)


def test_rows_of_mixup_have_the_number_of_their_name():
    for name, start in (("label_smoothing", "smoothing"), ("input_noise", "noise"), ("layer", "layer")):
        for recipe in runner.find(f"mixup-table5/*{start}*"):
            assert setting(recipe, name) == float(re.search(rf"{start}([0-9.]+)-", recipe.name)[1])


NOISE = {"sym": "symmetric", "asym": "asymmetric", "pair": "pair", "exc": "symmetric-exclusive"}


def test_rows_have_the_noise_of_their_name():
    """Only Co-teaching's symmetric noise never keeps the true label; who knows the rate is given the true one."""
    for name, recipe in RECIPES.items():
        found = re.search(r"(?<![a-z])(sym|asym|pair|exc)(\d\d?)(?!\d)", name.partition("/")[2])
        if found and recipe.published:
            rate = int(found[2]) / 100
            assert recipe.noise == f"{NOISE[found[1]]}:{rate:g}", name
            assert found[1] != "exc" or recipe.group in ("co_teaching", "co_teaching_plus", "jocor")
            if recipe.hyper.get("forget_rate") is not None:
                assert recipe.hyper["forget_rate"] == rate, name
            if recipe.hyper.get("transition") is not None:
                assert recipe.hyper["transition"] == recipe.noise, name


def test_stages_begin_where_the_published_ones_do():
    """M-correction: mixup alone up to epoch 105 of 300. Joint optimization: 200 + 120, labels replaced from 70 on."""
    for recipe in runner.find("m_correction/*"):
        method, plan = built(recipe)
        assert method.warmup_epochs(SimpleNamespace(plan=plan)) == 105
    for recipe in runner.find("joint-table*/joint_optimization-*"):
        method, plan = built(recipe)
        run = SimpleNamespace(plan=plan, epoch=0, progress=0.0)
        assert (method.first_epochs(run), method.first_update(run), plan.epochs) == (200, 70, 320)
        rates = [method.rate(SimpleNamespace(plan=plan, epoch=e, progress=e)) for e in (199, 200, 239, 240, 279, 280)]
        assert rates == pytest.approx([plan.lr, 0.2, 0.2, 0.02, 0.02, 0.002])
