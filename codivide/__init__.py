"""Train classifiers on labels you cannot trust, and find which labels are wrong.

The names below are the public interface; they are loaded when first used, so that ``import codivide`` is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from codivide import audit
    from codivide.engine import Batch, Data, Method, Run, train
    from codivide.errors import InputError, TrainingWarning
    from codivide.estimator import NoisyLabelClassifier
    from codivide.features.model import FeatureModel
    from codivide.features.options import Features
    from codivide.methods import METHODS
    from codivide.model import Model
    from codivide.model import load as load_model
    from codivide.noise_estimate import NoiseReport, noise_report
    from codivide.plan import Plan

_HOME = {
    "Batch": "engine",
    "Data": "engine",
    "FeatureModel": "features.model",
    "Features": "features.options",
    "InputError": "errors",
    "METHODS": "methods",
    "Method": "engine",
    "Model": "model",
    "NoiseReport": "noise_estimate",
    "NoisyLabelClassifier": "estimator",
    "Plan": "plan",
    "Run": "engine",
    "TrainingWarning": "errors",
    "load_model": "model",
    "noise_report": "noise_estimate",
    "train": "engine",
}

_NAMED_THERE = {"load_model": "load"}

__all__ = [
    "METHODS",
    "Batch",
    "Data",
    "FeatureModel",
    "Features",
    "InputError",
    "Method",
    "Model",
    "NoiseReport",
    "NoisyLabelClassifier",
    "Plan",
    "Run",
    "TrainingWarning",
    "__version__",
    "audit",
    "load_model",
    "noise_report",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"codivide.{_HOME[name]}"), _NAMED_THERE.get(name, name))
    if name == "audit":
        return import_module("codivide.audit")
    raise AttributeError(f"module 'codivide' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
