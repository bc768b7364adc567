"""Settings of DivideMix as published, which method, rule and recipes share; listing recipes needs no torch for them."""

from __future__ import annotations

from typing import Any

#: The paper's values (CIFAR-10, symmetric 50 and 80 %) of what "auto" may change.
AUTOMATIC: dict[str, Any] = {
    "lambda_u": 25.0,
    "threshold": 0.5,
    "warmup": None,
    "confidence_penalty": 0.0,
    "alpha": 4.0,
    "division": "mixture",
}
#: The paper's method with its settings: no guard of ours changes a division.
PAPER: dict[str, Any] = {**AUTOMATIC, "restore_classes": False}
