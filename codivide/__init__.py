"""Train classifiers on labels you cannot trust, and find which labels are wrong.

The names below are the public interface; they are loaded when first used, so that ``import codivide`` is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from codivide.core.deprecation import warn_deprecated
from codivide.core.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from codivide import audit
    from codivide.audit.consensus import consensus
    from codivide.audit.noise_report import noise_report
    from codivide.audit.score_labels import score_labels
    from codivide.core.errors import InputError, TrainingWarning
    from codivide.fit.estimator import NoisyLabelClassifier
    from codivide.fit.target_estimators import NoisyLabelRegressor, NoisyMultiLabelClassifier
    from codivide.methods import METHODS
    from codivide.methods.features.model import FeatureModel
    from codivide.methods.features.options import Features
    from codivide.noise.report import NoiseReport
    from codivide.runs.model import Model
    from codivide.runs.model import load_any as load_model
    from codivide.training.checkpoint import Checkpoint
    from codivide.training.loop import train
    from codivide.training.plan import Plan
    from codivide.training.run import Method, Run
    from codivide.training.samples import Batch, Data

_HOME = {
    "Batch": "training.samples",
    "Checkpoint": "training.checkpoint",
    "Data": "training.samples",
    "FeatureModel": "methods.features.model",
    "Features": "methods.features.options",
    "InputError": "core.errors",
    "METHODS": "methods",
    "Method": "training.run",
    "Model": "runs.model",
    "NoiseReport": "audit.noise_report",
    "NoisyLabelClassifier": "fit.estimator",
    "NoisyLabelRegressor": "fit.target_estimators",
    "NoisyMultiLabelClassifier": "fit.target_estimators",
    "Plan": "training.plan",
    "Run": "training.run",
    "TrainingWarning": "core.errors",
    "consensus": "audit.consensus",
    "load_model": "runs.model",
    "noise_report": "audit.noise_report",
    "score_labels": "audit.score_labels",
    "train": "training.loop",
}

_NAMED_THERE = {"load_model": "load_any"}

#: Names that go: the old one, the new one, and the version in which the old one is gone.
_RENAMED: dict[str, tuple[str, str]] = {}

__all__ = [
    "METHODS",
    "Batch",
    "Checkpoint",
    "Data",
    "FeatureModel",
    "Features",
    "InputError",
    "Method",
    "Model",
    "NoiseReport",
    "NoisyLabelClassifier",
    "NoisyLabelRegressor",
    "NoisyMultiLabelClassifier",
    "Plan",
    "Run",
    "TrainingWarning",
    "__version__",
    "audit",
    "consensus",
    "load_model",
    "noise_report",
    "score_labels",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"codivide.{_HOME[name]}"), _NAMED_THERE.get(name, name))
    if name == "audit":
        return import_module("codivide.audit")
    if name in _RENAMED:
        new, until = _RENAMED[name]
        warn_deprecated(f"codivide.{name}", f"codivide.{new}", until=until)
        return __getattr__(new)
    raise AttributeError(f"module 'codivide' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
