"""Every published number of the recipes, typed from the papers' tables, in errors where these are errors."""

import pytest

from codivide.bench.recipes import RECIPES

MAIN = "sym20 sym50 sym80 sym90"
FEW = "250 500 1000 2000 4000"
ENDS = "cifar10/sym20 cifar10/sym90 cifar100/sym20 cifar100/sym90"
NETS = (
    "cifar10-preact_resnet18 cifar10-wrn_28_10 cifar10-densenet_bc_190 cifar100-preact_resnet18 cifar100-wrn_28_10 "
    "cifar100-densenet_bc_190"
)
ABLATION = (
    "erm ac-rp ac-knn layer1 layer2 layer3 layer4 layer5 inputs-sc-knn inputs-ac-knn inputs-sc-rp inputs-ac-rp "
    "smoothing0.05 smoothing0.1 smoothing0.2 inputs-smoothing0.05 inputs-smoothing0.1 inputs-smoothing0.2 "
    "inputs-smoothing0.4 noise0.05 noise0.1 noise0.2"
)

#: Row, with a hole for the column -> columns, and for each statistic the numbers; "-": none. "error:" before the name
#: of a statistic says that the paper has errors where recipes have accuracies.
TABLES = {
    # DivideMix, Tables 1, 2 and 5.
    "dividemix-cifar10/{}": (
        f"{MAIN} asym40",
        {"best": "96.1 94.6 93.2 76.0 93.4", "last_10_mean": "95.7 94.4 92.9 75.4 92.1"},
    ),
    "dividemix-cifar100/{}": (MAIN, {"best": "77.3 74.6 60.2 31.5", "last_10_mean": "76.9 74.2 59.6 31.0"}),
    "dividemix-ablation-cifar10/{}-one-net-at-test": (
        f"{MAIN} asym40",
        {"best": "95.2 94.2 93.0 75.5 92.7", "last_10_mean": "95.0 93.7 92.4 74.2 91.4"},
    ),
    "dividemix-ablation-cifar100/{}-one-net-at-test": (
        MAIN,
        {"best": "75.2 72.8 58.3 29.9", "last_10_mean": "74.8 72.1 57.6 29.2"},
    ),
    "dividemix-ablation-cifar10/{}-no-co-training": (
        f"{MAIN} asym40",
        {"best": "95.0 94.0 92.6 74.3 91.9", "last_10_mean": "94.8 93.3 92.2 73.2 90.6"},
    ),
    "dividemix-ablation-cifar100/{}-no-co-training": (
        MAIN,
        {"best": "74.8 72.3 56.7 27.7", "last_10_mean": "74.1 71.7 56.3 27.2"},
    ),
    "dividemix-ablation-cifar10/{}-no-refinement": (
        f"{MAIN} asym40",
        {"best": "96.0 94.6 93.0 73.7 87.7", "last_10_mean": "95.5 94.2 92.7 73.0 86.3"},
    ),
    "dividemix-ablation-cifar100/{}-no-refinement": (
        MAIN,
        {"best": "76.9 74.2 58.7 26.9", "last_10_mean": "76.4 73.9 58.2 26.3"},
    ),
    "dividemix-ablation-cifar10/{}-no-augmentation": (
        f"{MAIN} asym40",
        {"best": "95.3 94.1 92.2 73.9 89.5", "last_10_mean": "94.9 93.5 91.8 73.0 88.4"},
    ),
    "dividemix-ablation-cifar100/{}-no-augmentation": (
        MAIN,
        {"best": "76.5 73.1 58.2 26.9", "last_10_mean": "76.2 72.6 58.0 26.4"},
    ),
    "dividemix-ablation-cifar10/{}-divide-and-mixmatch": (
        f"{MAIN} asym40",
        {"best": "94.1 92.8 89.7 70.1 86.5", "last_10_mean": "93.5 92.3 89.1 68.6 85.2"},
    ),
    "dividemix-ablation-cifar100/{}-divide-and-mixmatch": (
        MAIN,
        {"best": "73.7 70.5 55.3 25.0", "last_10_mean": "72.4 69.7 53.9 23.7"},
    ),
    "dividemix-baselines-cifar10/{}-cross_entropy": (
        f"{MAIN} asym40",
        {"best": "86.8 79.4 62.9 42.7 85.0", "last_10_mean": "82.7 57.9 26.1 16.8 72.3"},
    ),
    "dividemix-baselines-cifar10/{}-bootstrapping": (
        MAIN,
        {"best": "86.8 79.8 63.3 42.9", "last_10_mean": "82.9 58.4 26.8 17.0"},
    ),
    "dividemix-baselines-cifar10/{}-forward_correction": (
        f"{MAIN} asym40",
        {"best": "86.8 79.8 63.3 42.9 87.2", "last_10_mean": "83.1 59.4 26.2 18.8 83.1"},
    ),
    "dividemix-baselines-cifar10/{}-co_teaching_plus": (
        MAIN,
        {"best": "89.5 85.7 67.4 47.9", "last_10_mean": "88.2 84.1 45.5 30.1"},
    ),
    "dividemix-baselines-cifar10/{}-mixup": (
        MAIN,
        {"best": "95.6 87.1 71.6 52.2", "last_10_mean": "92.3 77.6 46.7 43.9"},
    ),
    "dividemix-baselines-cifar10/{}-p_correction": (
        f"{MAIN} asym40",
        {"best": "92.4 89.1 77.5 58.9 88.5", "last_10_mean": "92.0 88.7 76.5 58.2 88.1"},
    ),
    "dividemix-baselines-cifar10/{}-meta_learning": (
        f"{MAIN} asym40",
        {"best": "92.9 89.3 77.4 58.7 89.2", "last_10_mean": "92.0 88.8 76.1 58.3 88.6"},
    ),
    "dividemix-baselines-cifar10/{}-m_correction": (
        f"{MAIN} asym40",
        {"best": "94.0 92.0 86.8 69.1 87.4", "last_10_mean": "93.8 91.9 86.6 68.7 86.3"},
    ),
    "dividemix-baselines-cifar10/{}-iterative_cv": ("asym40", {"best": "88.6", "last_10_mean": "88.0"}),
    "dividemix-baselines-cifar10/{}-joint_optimization": ("asym40", {"best": "88.9", "last_10_mean": "88.4"}),
    "dividemix-baselines-cifar100/{}-cross_entropy": (
        MAIN,
        {"best": "62.0 46.7 19.9 10.1", "last_10_mean": "61.8 37.3 8.8 3.5"},
    ),
    "dividemix-baselines-cifar100/{}-bootstrapping": (
        MAIN,
        {"best": "62.1 46.6 19.9 10.2", "last_10_mean": "62.0 37.9 8.9 3.8"},
    ),
    "dividemix-baselines-cifar100/{}-forward_correction": (
        MAIN,
        {"best": "61.5 46.6 19.9 10.2", "last_10_mean": "61.4 37.3 9.0 3.4"},
    ),
    "dividemix-baselines-cifar100/{}-co_teaching_plus": (
        MAIN,
        {"best": "65.6 51.8 27.9 13.7", "last_10_mean": "64.1 45.3 15.5 8.8"},
    ),
    "dividemix-baselines-cifar100/{}-mixup": (
        MAIN,
        {"best": "67.8 57.3 30.8 14.6", "last_10_mean": "66.0 46.6 17.6 8.1"},
    ),
    "dividemix-baselines-cifar100/{}-p_correction": (
        MAIN,
        {"best": "69.4 57.5 31.1 15.3", "last_10_mean": "68.1 56.4 20.7 8.8"},
    ),
    "dividemix-baselines-cifar100/{}-meta_learning": (
        MAIN,
        {"best": "68.5 59.2 42.4 19.5", "last_10_mean": "67.7 58.0 40.1 14.3"},
    ),
    "dividemix-baselines-cifar100/{}-m_correction": (
        MAIN,
        {"best": "73.9 66.1 48.2 24.3", "last_10_mean": "73.4 65.4 47.6 20.5"},
    ),
    "dividemix-human/{}": (
        "cifar10n-aggre cifar10n-random1 cifar10n-random2 cifar10n-random3 cifar10n-worse cifar100n",
        {"best": "95.01 95.16 95.23 95.21 92.56 71.13"},
    ),
    # Nishi et al. 2021, README.
    "augdesc-{}-raw": (
        ENDS,
        {"best": "85.94 27.58 52.24 7.99", "last_10_mean": "83.23 23.915 39.176 2.979"},
    ),
    "augdesc-{}-expansion-weak": (
        ENDS,
        {"best": "90.86 31.22 57.11 7.3", "last_10_mean": "89.948 10 53.288 2.223"},
    ),
    "augdesc-{}-expansion-strong": (
        ENDS,
        {"best": "90.56 35.1 55.15 7.54", "last_10_mean": "89.514 34.228 54.369 3.242"},
    ),
    "augdesc-{}-runtime-s": (
        ENDS,
        {"best": "96.54 70.47 79.89 40.52", "last_10_mean": "96.327 70.223 79.395 40.343"},
    ),
    "augdesc-{}-ww": (
        ENDS,
        {"best": "96.27 36.05 78.9 30.33", "last_10_mean": "96.084 23.503 78.437 29.876"},
    ),
    "augdesc-{}-ss": (
        ENDS,
        {"best": "96.47 81.77 79.79 38.85", "last_10_mean": "96.193 81.54 79.511 38.553"},
    ),
    "augdesc-{}-ws-waw-randaugment": (
        ENDS,
        {"best": "96.28 89.75 78.06 36.89", "last_10_mean": "96.006 89.629 77.826 36.672"},
    ),
    "augdesc-cifar10/{}-ws-waw": (
        f"{MAIN} asym40",
        {"best": "96.33 95.36 93.77 91.88 94.64", "last_10_mean": "96.168 95.134 93.641 91.76 94.258"},
    ),
    "augdesc-cifar100/{}-ws-waw": (
        MAIN,
        {"best": "79.5 77.24 66.36 41.2", "last_10_mean": "79.216 77.01 66.046 40.895"},
    ),
    "augdesc-cifar10/{}-ws-saw": (
        f"{MAIN} asym40",
        {"best": "96.35 95.64 93.72 35.33 94.39", "last_10_mean": "96.138 95.417 93.563 10 94.078"},
    ),
    "augdesc-cifar100/{}-ws-saw": (
        MAIN,
        {"best": "79.61 77.64 61.83 17.57", "last_10_mean": "79.464 77.522 61.632 15.05"},
    ),
    # mixup: Table 1 (ImageNet), Figure 3a, Table 2 and Table 5.
    "mixup-table1/{}": (
        "resnet50-90-erm resnet50-90-mixup resnet101-90-erm resnet101-90-mixup resnext101_32x4d-100-erm "
        "resnext101_32x4d-90-erm resnext101_32x4d-90-mixup resnext101_64x4d-100-erm resnext101_64x4d-90-mixup "
        "resnet50-200-erm resnet50-200-mixup resnet101-200-erm resnet101-200-mixup resnext101_32x4d-200-erm "
        "resnext101_32x4d-200-mixup",
        {
            "error:last": "23.5 23.3 22.1 21.5 21.2 21.2 20.7 20.4 19.8 23.6 22.1 22.0 20.8 21.3 20.1",
            "error:top5_last": "- 6.6 - 5.6 - 5.6 5.3 5.3 4.9 7.0 6.1 6.1 5.4 5.9 5.0",
        },
    ),
    "mixup-figure3a/{}-erm": (
        NETS,
        {"error:last": "5.6 3.8 3.7 25.6 19.4 19.0"},
    ),
    "mixup-figure3a/{}-mixup": (
        NETS,
        {"error:last": "4.2 2.7 2.7 21.1 17.5 16.8"},
    ),
    "mixup-table2/sym20-{}": (
        "erm erm-dropout mixup mixup-dropout",
        {
            "error:best": "12.7 8.8 5.9 6.2",
            "error:last": "16.6 10.4 6.4 6.2",
            "training_error_on_real_labels": "0.05 5.26 2.27 1.92",
            "training_error_on_corrupted_labels": "0.28 83.55 86.32 85.02",
        },
    ),
    "mixup-table2/sym50-{}": (
        "erm erm-dropout mixup mixup-dropout",
        {
            "error:best": "18.8 14.1 11.3 10.9",
            "error:last": "44.6 15.5 12.7 10.9",
            "training_error_on_real_labels": "0.26 12.71 5.84 7.56",
            "training_error_on_corrupted_labels": "0.64 86.98 85.71 87.90",
        },
    ),
    "mixup-table2/sym80-{}": (
        "erm erm-dropout mixup mixup-dropout",
        {
            "error:best": "36.5 30.9 25.3 24.0",
            "error:last": "73.9 35.1 30.9 24.8",
            "training_error_on_real_labels": "0.62 29.84 18.92 19.70",
            "training_error_on_corrupted_labels": "0.83 86.37 85.44 87.67",
        },
    ),
    "mixup-table5/{}-wd1e-4": (
        ABLATION,
        {
            "error:last_10_median": "5.53 4.24 4.98 4.44 4.56 5.39 5.95 5.39 5.45 5.43 5.23 5.17 5.25 5.33 5.34 5.02 "
            "5.08 4.98 5.25 5.53 6.41 7.16"
        },
    ),
    "mixup-table5/{}-wd5e-4": (
        ABLATION,
        {
            "error:last_10_median": "5.18 4.68 5.26 4.51 4.61 5.55 5.43 5.15 5.52 5.48 5.55 5.72 5.02 5.17 5.06 5.40 "
            "5.09 5.06 5.39 5.04 5.86 7.24"
        },
    ),
    # MixMatch, Tables 5 and 6, and fully supervised.
    "mixmatch-table5/cifar10-{}-pi-model": (
        FEW,
        {"error:last_20_median": "53.02 41.82 31.53 23.07 17.41", "spread": "2.05 1.52 .98 .66 .37"},
    ),
    "mixmatch-table5/cifar10-{}-pseudo-label": (
        FEW,
        {"error:last_20_median": "49.98 40.55 30.91 21.96 16.21", "spread": "1.17 1.70 1.73 .42 .11"},
    ),
    "mixmatch-table5/cifar10-{}-mixup": (
        FEW,
        {"error:last_20_median": "47.43 36.17 25.72 18.14 13.15", "spread": ".92 1.36 .66 1.06 .20"},
    ),
    "mixmatch-table5/cifar10-{}-vat": (
        FEW,
        {"error:last_20_median": "36.03 26.11 18.68 14.40 11.05", "spread": "2.82 1.52 .40 .15 .31"},
    ),
    "mixmatch-table5/cifar10-{}-mean-teacher": (
        FEW,
        {"error:last_20_median": "47.32 42.01 17.32 12.17 10.36", "spread": "4.71 5.86 4.00 .22 .25"},
    ),
    "mixmatch-table5/cifar10-{}-mixmatch": (
        FEW,
        {"error:last_20_median": "11.08 9.65 7.75 7.03 6.24", "spread": ".87 .94 .32 .15 .06"},
    ),
    "mixmatch-table6/svhn-{}-pi-model": (
        FEW,
        {"error:last_20_median": "17.65 11.44 8.60 6.94 5.57", "spread": ".27 .39 .18 .27 .14"},
    ),
    "mixmatch-table6/svhn-{}-pseudo-label": (
        FEW,
        {"error:last_20_median": "21.16 14.35 10.19 7.54 5.71", "spread": ".88 .37 .41 .27 .07"},
    ),
    "mixmatch-table6/svhn-{}-mixup": (
        FEW,
        {"error:last_20_median": "39.97 29.62 16.79 10.47 7.96", "spread": "1.89 1.54 .63 .48 .14"},
    ),
    "mixmatch-table6/svhn-{}-vat": (
        FEW,
        {"error:last_20_median": "8.41 7.44 5.98 4.85 4.20", "spread": "1.01 .79 .21 .23 .15"},
    ),
    "mixmatch-table6/svhn-{}-mean-teacher": (
        FEW,
        {"error:last_20_median": "6.45 3.82 3.75 3.51 3.39", "spread": "2.43 .17 .10 .09 .11"},
    ),
    "mixmatch-table6/svhn-{}-mixmatch": (
        FEW,
        {"error:last_20_median": "3.78 3.64 3.27 3.04 2.89", "spread": ".26 .46 .31 .13 .06"},
    ),
    "mixmatch-supervised/{}": ("cifar10 svhn", {"error:last_20_median": "4.13 2.59"}),
    # Tanaka et al. 2018, Tables 1 and 2.
    "joint-table1/cross_entropy-{}": (
        "clean sym10 sym30 sym50 sym70 sym90",
        {
            "best": "93.5 91.0 88.4 85.0 78.4 41.1",
            "last": "93.4 87.0 72.2 55.3 36.6 20.4",
            "recovery_best": "100 96.4 92.7 88.2 80.1 41.4",
            "recovery_last": "100 91.1 74.6 57.6 39.6 21.7",
        },
    ),
    "joint-table1/joint_optimization-{}": (
        "clean sym10 sym30 sym50 sym70 sym90",
        {
            "best": "93.4 92.7 91.4 89.6 85.9 58.0",
            "last": "93.6 92.9 91.5 89.8 86.0 58.3",
            "recovery_best": "100 97.9 95.1 91.7 86.3 58.2",
            "recovery_last": "99.9 98.1 95.1 91.8 86.4 58.3",
        },
    ),
    "joint-table2/cross_entropy-{}": (
        "asym10 asym20 asym30 asym40 asym50",
        {
            "best": "91.8 90.8 90.0 87.1 77.3",
            "last": "89.8 85.4 81.0 75.7 70.5",
            "recovery_best": "97.2 95.8 94.3 91.0 80.5",
            "recovery_last": "95.0 90.2 85.3 80.2 75.2",
        },
    ),
    "joint-table2/forward_correction-{}": (
        "asym10 asym20 asym30 asym40 asym50",
        {
            "best": "92.4 91.4 91.0 90.3 83.8",
            "last": "91.7 89.7 88.0 86.4 80.9",
            "recovery_best": "97.7 96.7 95.9 94.7 88.0",
            "recovery_last": "97.9 95.8 93.6 91.5 85.5",
        },
    ),
    "joint-table2/cnn_crf-{}": (
        "asym10 asym20 asym30 asym40 asym50",
        {
            "best": "92.0 91.5 90.7 89.5 84.0",
            "last": "90.3 86.6 83.6 79.7 76.4",
            "recovery_best": "97.4 96.5 95.3 93.7 88.1",
            "recovery_last": "95.1 90.5 86.4 82.1 78.7",
        },
    ),
    "joint-table2/joint_optimization-{}": (
        "asym10 asym20 asym30 asym40 asym50",
        {
            "best": "93.2 92.7 92.4 91.5 84.6",
            "last": "93.2 92.8 92.4 91.7 84.7",
            "recovery_best": "98.3 97.2 96.3 95.2 88.3",
            "recovery_last": "98.1 97.1 96.3 95.2 88.1",
        },
    ),
    # The authors' READMEs.
    "elr/cifar10-{}-step": ("sym20 sym40 sym60 sym80 asym40", {"last": "91.16 89.15 86.12 73.86 90.12"}),
    "elr/cifar10-{}-cosine": ("sym20 sym40 sym60 sym80 asym40", {"last": "91.12 91.43 88.87 80.69 90.35"}),
    "elr/cifar100-{}-step": ("sym20 sym40 sym60 sym80 asym40", {"last": "74.21 68.28 59.28 29.78 73.71"}),
    "elr/cifar100-{}-cosine": ("sym20 sym40 sym60 sym80 asym40", {"last": "74.68 68.43 60.05 30.27 73.96"}),
    "elr_plus/cifar10-{}": (f"{MAIN} asym40", {"best": "95.8 94.8 93.3 78.7 93.0"}),
    "elr_plus/cifar100-{}": (f"{MAIN} asym40", {"best": "77.6 73.6 60.8 33.4 77.5"}),
    "co_teaching/mnist-{}": ("pair45 exc50 exc20", {"last_10_mean": "87.58 91.68 97.71"}),
    "co_teaching/cifar10-{}": ("pair45 exc50 exc20", {"last_10_mean": "72.85 74.49 82.18"}),
    "co_teaching/cifar100-{}": ("pair45 exc50 exc20", {"last_10_mean": "34.40 41.23 54.36"}),
    "mentornet/cifar10-{}-cross_entropy": ("sym20 sym40 sym80", {"last": "79.6 56.8 23.8"}),
    "mentornet/cifar10-{}-mentornet": ("sym20 sym40 sym80", {"last": "91.0 77.6 28.3"}),
    "mentornet/cifar100-{}-cross_entropy": ("sym20 sym40 sym80", {"last": "62.4 44.8 8.4"}),
    "mentornet/cifar100-{}-mentornet": ("sym20 sym40 sym80", {"last": "73.3 56.7 19.3"}),
    "m_correction/cifar10-{}-hard": (
        f"clean {MAIN}",
        {"best": "93.6 94.0 92.0 86.8 40.8", "last": "93.4 93.8 91.9 86.6 9.9"},
    ),
    "m_correction/cifar10-{}-dynamic": (
        f"clean {MAIN}",
        {"best": "93.6 93.8 90.6 82.4 69.1", "last": "92.7 93.6 90.3 77.8 68.7"},
    ),
    "m_correction/cifar100-{}-hard": (
        f"clean {MAIN}",
        {"best": "70.3 68.7 61.7 48.2 12.5", "last": "66.2 68.5 58.8 47.6 8.6"},
    ),
    "m_correction/cifar100-{}-dynamic": (
        f"clean {MAIN}",
        {"best": "73.3 73.9 66.1 41.6 24.3", "last": "71.3 73.34 65.4 35.4 20.5"},
    ),
    "sop_plus/{}": (
        "cifar10-sym20 cifar10-sym50 cifar10-sym80 cifar10-asym40 cifar100-sym20 cifar100-sym50 cifar100-sym80",
        {"best": "96.3 95.5 94.0 93.8 78.8 75.9 63.3"},
    ),
    "promix/cifar10-{}": (f"{MAIN} asym40", {"best": "97.69 97.40 95.49 93.36 96.59"}),
    "promix/cifar100-{}": (MAIN, {"best": "82.64 80.06 69.37 42.93"}),
    "promix/cifar10n-{}": ("aggre random1 random2 random3 worse", {"best": "97.65 97.39 97.55 97.52 96.34"}),
    "unicon/cifar100-{}": ("sym80 sym90", {"best": "63.9 44.8"}),
    # Photos: DivideMix, Tables 3 and 4; Tanaka, Table 4; ELR, Tables 3 and 4; contrastive label noise on Food-101N.
    "clothing1m/{}": (
        "cross_entropy forward_correction m_correction meta_cleaner meta_learning p_correction joint_optimization "
        "dividemix elr elr_plus",
        {"last": "69.21 69.84 71.00 72.50 73.47 73.49 72.16 74.76 72.87 74.81"},
    ),
    "webvision-mini/{}": (
        "forward_correction decoupling d2l mentornet co_teaching iterative_cv elr elr_plus dividemix",
        {
            "best": "61.12 62.54 62.68 63.00 63.58 65.24 76.26 77.78 77.32",
            "top5_best": "82.68 84.74 84.00 81.40 85.20 85.34 91.26 91.68 91.64",
        },
    ),
    "webvision-mini_ilsvrc/{}": (
        "forward_correction decoupling d2l mentornet co_teaching iterative_cv elr elr_plus dividemix",
        {
            "best": "57.36 58.26 57.80 57.80 61.48 61.60 68.71 70.29 75.20",
            "top5_best": "82.36 82.26 81.36 79.92 84.70 84.98 87.84 89.76 90.84",
        },
    ),
    "food101n/{}": ("cross_entropy", {"last": "81.67"}),
}


def cells(row):
    """The published statistics of every recipe of a row, as recipes have them."""
    columns, numbers = TABLES[row]
    found = {row.format(column): {} for column in columns.split()}
    for statistic, text in numbers.items():
        _, errors, name = statistic.rpartition("error:")
        for recipe, number in zip(found.values(), text.split(), strict=True):
            if number != "-":
                recipe[name] = round(100 - float(number), 2) if errors else float(number)
    return found


@pytest.mark.parametrize("row", TABLES)
def test_the_row_has_the_numbers_of_its_paper(row):
    for name, published in cells(row).items():
        assert dict(RECIPES[name].published) == published, name


def test_every_published_number_is_typed_here():
    typed = {name for row in TABLES for name in cells(row)}
    assert typed == {name for name, recipe in RECIPES.items() if recipe.published}
