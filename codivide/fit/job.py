"""What is to be trained, and what comes back: the job, its plan and its outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import pandas as pd

from codivide.core.errors import InputError, unknown
from codivide.core.types import Floats
from codivide.data.loaded import Loaded
from codivide.data.own_views import OwnViews
from codivide.data.record import DataRecord
from codivide.fit.choice import Choice
from codivide.fit.own_method import method_class
from codivide.methods import METHODS
from codivide.methods.dividemix import DivideMix
from codivide.methods.features.learn import Learned
from codivide.methods.features.options import Features, refuse
from codivide.noise.evidence import Evidence
from codivide.training.model_file import Classifier
from codivide.training.own_net import OwnNet
from codivide.training.plan import Plan
from codivide.training.run import Method, Run

Progress = Callable[[Run | None, Mapping[str, Any]], None]
Begin = Callable[[str, int], Progress]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What to train, apart from the data.

    Attributes:
        method: the algorithm with its hyper-parameters.
        plan: optimizer, schedule, precision, device, seed; of the route for features only the seed is used.
        net: a name that ``nets.build`` knows, or "auto"; or what makes a network of the user's own.
        dropout: of the network, before its last layer, in [0, 1).
        source: where the data came from and what was done to them, for the record.
        evaluate_every: epochs between evaluations on the test part, the last epoch always being one; None: every epoch
            up to 100 epochs, else about 100 evaluations that include the last 10 epochs.
        record_learning: look at the training set, too, at up to about 50 of these epochs (see
            ``noise.learning_curves``); each look costs a forward pass. Without it labels are judged by the last epoch.
        corrections: the decisions of a person that the data carry (see ``data.corrections``), for the record.
        views: the user's own, in the place of those that the data have; None: there are none.
    """

    method: Method | Features = field(default_factory=DivideMix)
    plan: Plan = field(default_factory=Plan)
    net: str | OwnNet = "auto"
    dropout: float = 0.0
    source: DataRecord = field(default_factory=DataRecord)
    evaluate_every: int | None = None
    record_learning: bool = True
    corrections: Mapping[str, Any] = field(default_factory=dict)
    views: OwnViews | None = None

    def __post_init__(self) -> None:
        if self.evaluate_every is not None and self.evaluate_every < 1:
            raise InputError(f"evaluate_every is {self.evaluate_every}; it must be at least 1")

    def augment(self, loaded: Loaded) -> str:
        """What the views to learn from are called, for records."""
        return loaded.augment if self.views is None else self.views.name


class Witness(NamedTuple):
    """What an earlier run on the same samples, which ended before it memorised them, knows of their labels.

    Attributes:
        evidence: of its ``Outcome``, with ``probs``.
        clean_prob: its p(clean) ``[N]``.
        epochs: it took; what a later run predicts after so many epochs is not asked.
    """

    evidence: Evidence
    clean_prob: Floats
    epochs: int


@dataclass(frozen=True)
class Before:
    """What came before a run on the same data.

    Attributes:
        choice: of its method and settings; None: they were given.
        witness: an earlier run that judges the labels together with this one, which memorises them.
        seconds: that the stages before took, by name, for the summary.
        asked: what the whole run is known by (see ``resume.identity``); None: what this part of it is known by.
        tune: goes on from heads on features to the network that made these (see ``fit.tuning``); None: nothing does.
    """

    choice: Choice | None = None
    witness: Witness | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    asked: Mapping[str, Any] | None = None
    tune: Callable[[Job, Learned, Loaded], tuple[Learned, Loaded]] | None = None


@dataclass
class Outcome:
    """What a run gives back.

    Attributes:
        run: the finished run; None where no network was trained.
        history: one record an epoch, or a round.
        model: the classifier.
        table: every sample with given label, suggestion and probability of being clean (see ``label_table.build``).
        summary: the numbers of ``summary.json``.
        evidence: what the run knows of its training samples.
        test_table: every sample of the test part, judged by the model (see ``fit.test_part``); None: there is none.
    """

    run: Run | None
    history: list[dict[str, Any]]
    model: Classifier
    table: pd.DataFrame
    summary: dict[str, Any]
    evidence: Evidence
    test_table: pd.DataFrame | None = None


def default_epochs(samples: int) -> int:
    """About 4,000 updates of batches of 64, between 30 and 200 epochs."""
    return min(max(math.ceil(4_000 * 64 / max(samples, 1)), 30), 200)


_WITH_MILESTONES = ("step", "linear", "cosine")  # schedules


def default_plan(samples: int, method: Method | Features | None = None, **given: Any) -> Plan:
    """The plan for a data set of this size: step schedule, down at half time; what the method asks for wins over it.

    A field of ``given`` that is not None wins over both. Without epochs there are ``default_epochs(samples)``; "step"
    without milestones steps at half time, as DivideMix does. The route for features has its rounds for epochs.

    Raises:
        InputError: a setting out of range, or one that does not apply to the method.
    """
    if isinstance(method, Features):
        refuse(given)
        return Plan(epochs=method.rounds(), schedule="constant", seed=given.get("seed") or 0)
    settings: dict[str, Any] = {"schedule": "step", **(method.settings if method else {})}
    settings |= {name: value for name, value in given.items() if value is not None}
    settings.setdefault("epochs", default_epochs(samples))
    known = [item.name for item in fields(Plan)]
    for name in settings:
        if name not in known:
            raise unknown("field of the plan", name, known)
    if given.get("milestones") is not None:
        settings["milestones"] = tuple(given["milestones"])
        if settings["schedule"] not in _WITH_MILESTONES:
            raise InputError(
                f"milestones do not apply to the schedule {settings['schedule']}, only to {', '.join(_WITH_MILESTONES)}"
            )
    if settings["schedule"] == "step" and not settings.get("milestones"):
        settings["milestones"] = (max(1, settings["epochs"] // 2),)
    return Plan(**settings)


def build_method(name: str, **hyper: Any) -> Method | Features:
    """A method by name (see ``own_method``) with hyper-parameters; InputError names the nearest known one."""
    cls = method_class(name)
    known = [item.name for item in fields(cls)]
    for key in hyper:
        if key not in known:
            raise unknown(f"hyper-parameter of {name}", key, known)
    return cls(**hyper)


def name_of(method: Method | Features) -> str:
    """The name of a method in ``METHODS``, else that of its class."""
    names: dict[type, str] = {cls: name for name, cls in METHODS.items()}
    return names.get(type(method), type(method).__name__)


def check_weights(method: Method | Features, loaded: Loaded) -> None:
    """InputError where samples have weights and the method cannot weigh them; before any work."""
    if loaded.weight is None or method.weighs:
        return
    able = ", ".join(name for name, kind in METHODS.items() if kind.weighs)
    raise InputError(
        f"the method {name_of(method)} cannot weigh samples or classes: it divides and mixes them, and its loss is no "
        f"mean over single samples. Choose one that can ({able}), or leave sample_weight and class_weight out"
    )
