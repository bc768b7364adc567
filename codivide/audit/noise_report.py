"""``noise_report`` of whatever is at hand: features, probabilities, the folder of a run, a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypedDict, TypeVar, runtime_checkable

import numpy as np
import pandas as pd
import torch

from codivide.audit import checks
from codivide.audit.reading import Reading, read
from codivide.audit.target_judging import check_task, judge, load_targets, refuse_unused, saved
from codivide.audit.target_predictions import of_predictions
from codivide.core.errors import InputError
from codivide.core.files import is_present, read_json, reading
from codivide.core.types import UNLABELLED, Floats, Labels
from codivide.data import encode, label_copies
from codivide.data import groups as grouping
from codivide.data.columns import Columns
from codivide.data.labels import same_classes
from codivide.data.levels import as_levels, range_of
from codivide.data.loaded import Loaded
from codivide.data.options import CLASSES, DEFAULT, REGRESSION, ReadOptions
from codivide.data.own_table import suited
from codivide.data.pretrained import pixels_of
from codivide.data.row_order import warn_of_order
from codivide.data.sources import load
from codivide.data.weights import ClassWeight, weighted
from codivide.methods.features import own, rule_like
from codivide.methods.features.folds import deal, numbered
from codivide.methods.features.learn import plain_probs
from codivide.methods.features.matrix import raw
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table
from codivide.noise import alike
from codivide.noise.evidence import Evidence
from codivide.noise.rates import MOST_ROWS
from codivide.noise.report import LEARNED, PROBABILITIES, Material, NoiseReport, estimate, scaled
from codivide.noise.report_record import of_record
from codivide.noise.target_report import TargetReport
from codivide.noise.trust import with_reason
from codivide.runs.folder import NOISE, PREDICTIONS, SavedRun, is_audit, is_run
from codivide.training.model_file import Classifier

REPLICATES = 20  # bootstrap samples behind the interval
_MOST_PIXELS = 1_024  # values of an image that count as features


def noise_report(
    X_or_run: Any,
    y: Any = None,
    *,
    pred_probs: Any = None,
    predictions: Any = None,
    model: Any = None,
    folds: int = 5,
    limit: int = MOST_ROWS,
    replicates: int = REPLICATES,
    seed: int = 0,
    unlabelled: int | None = UNLABELLED,
    groups: Any = None,
    sample_weight: Any = None,
    class_weight: ClassWeight | None = None,
    task: str = CLASSES,
    separator: str = DEFAULT.separator,
) -> NoiseReport | TargetReport:
    """Estimate how many labels are wrong, which way, and how far the estimate can be trusted.

    Args:
        X_or_run: features ``[N, D]`` (dense, sparse or a data frame), images (of photos the packaged encoder makes
            features; smaller ones count as they are), a path or name of such data (or what was loaded from it, whose
            weights the heads then have), the folder of a finished run or of an audit (whose own report it is), an
            ``Outcome``, or a fitted ``NoisyLabelClassifier``; None with ``pred_probs`` or ``predictions``.
        y: given labels ``[N]`` of an array or of ``pred_probs``; missing where unlabelled.
        pred_probs: cross-fitted probabilities ``[N, C]`` instead of features; columns as in ``audit.from_probs``. Ones
            of a model trained on the same rows hide noise. A list: several models. "multilabel": one, ``[N, K]``.
        predictions: in their place for "regression": cross-fitted predictions ``[N]``.
        model: a classifier of scikit-learn's kind that is cross-fitted on ``X_or_run`` and ``y`` instead of codivide's
            heads.
        folds: of the cross-fitting, 2 to 50.
        limit: rows that the estimate rests on at most, drawn at random; at least 10.
        replicates: bootstrap samples behind the interval, at least 2.
        seed: of all that is random.
        unlabelled: the label that means "no label"; None: there is none.
        groups: ``[N]``, equal for samples that belong together, such as those of a patient: no fold divides them. Of
            ``pred_probs`` one label of each group counts, drawn at random, and the report says so.
        sample_weight: ``[N]``, how much each sample counts where codivide's heads or ``model`` are fitted.
        class_weight: "balanced", or a weight for each class, likewise. The rates count each label once.
        task: "classes", or what is given in their place: "regression" (numbers ``[N]``) or "multilabel" (a matrix
            ``[N, K]`` of 0 and 1, or lists of labels); runs and fitted estimators know it. These take the samples,
            ``model``, ``folds``, ``groups`` and ``sample_weight``, or ``pred_probs`` (``predictions``) alone.
        separator: between several labels of a row, where they are one text.

    Returns:
        The report, of numbers and several labels a ``TargetReport``; the same input and seed give the same one.

    Raises:
        InputError: the message says what is wrong and what to do.
    """
    _check(task, folds, predictions)
    warn_of_order(X_or_run, groups=groups, sample_weight=sample_weight)
    about = About(groups, sample_weight, class_weight)
    options = ReadOptions(unlabelled=unlabelled, task=task, separator=separator)
    settings: _Settings = {"limit": limit, "replicates": replicates, "seed": seed}
    if task != CLASSES or targets_of(X_or_run) is not None:
        given = {"y": y, "pred_probs": pred_probs, "predictions": predictions, "model": model}
        return target_report_of(X_or_run, given, options, about=about, folds=folds, settings=settings)
    return _of_classes(X_or_run, y, pred_probs, model, about=about, options=options, folds=folds, settings=settings)


def _check(task: str, folds: int, predictions: Any) -> None:
    """InputError for a task that there is none of, predictions of classes, or another number of folds."""
    check_task(task)
    if task == CLASSES and predictions is not None:
        raise InputError("predictions are of numbers, with task='regression'; of classes give pred_probs [N, C]")
    least, most = Features.limits["folds"]
    if not least <= folds <= most:
        raise InputError(f"folds {folds}: at least {least} and at most {most} are needed")


def _of_classes(
    source: Any,
    y: Any,
    pred_probs: Any,
    model: Any,
    *,
    about: About,
    options: ReadOptions,
    folds: int,
    settings: _Settings,
) -> NoiseReport:
    """``noise_report`` of classes."""
    if isinstance(source, str | Path) and is_audit(Path(source)):
        if any(value is not None for value in (y, pred_probs, model, *about)):
            raise InputError(f"{source} holds an audit, which has its report: give nothing else with it")
        known = of_audit(Path(source))
        assert isinstance(known, NoiseReport)  # targets_of takes the others
        return known
    if model is not None:
        if pred_probs is not None:
            raise InputError("give model or pred_probs, not both")
        given, names, probs = cross_fitted(
            model, source, y, about, folds=folds, seed=settings["seed"], unlabelled=options.unlabelled
        )
        found: Material | Loaded = from_reading(Reading(probs, given, names), about.groups)
    else:
        found = about.of(_material(source, y, pred_probs, options))
    if isinstance(found, Material):
        return replace(estimate(found, **settings), findings=_findings(source))
    return _of_data(found, Features(folds=folds), options, settings)


class _Settings(TypedDict):
    """Of ``noise.report.estimate``."""

    limit: int
    replicates: int
    seed: int


def _of_data(found: Loaded, method: Features, options: ReadOptions, settings: _Settings) -> NoiseReport:
    """The report on data that are not encoded yet, with a remark where labels look like a rule of the features."""
    seen: dict[str, Any] = {}
    material = _from_data(found, method, options, settings["seed"], seen)
    report = estimate(material, **settings)
    rule = rule_like.remark(found, **seen) if seen and len(found.x.shape) == 1 else None
    report = replace(report, findings=tuple(item["text"] for item in checks.of_data(found)))
    return report if rule is None else replace(report, trust=with_reason(report.trust, rule))


def targets_of(source: Any) -> TargetReport | None:
    """The report of a run, an audit or a fitted estimator of other targets than classes; None: it is something else."""
    report = getattr(source, "noise_report_", None)
    if isinstance(source, str | Path) and is_audit(Path(source)):
        report = of_audit(Path(source))
    if isinstance(report, TargetReport):
        return report
    if isinstance(source, str | Path) and is_run(Path(source)):
        source = SavedRun(Path(source))
    return saved(source) if isinstance(source, SavedRun) and source.source.options.task != CLASSES else None


def target_report_of(
    source: Any, given: Mapping[str, Any], options: ReadOptions, *, about: About, folds: int, settings: _Settings
) -> TargetReport:
    """``noise_report`` of numbers, or of several labels a row; ``given`` has y, pred_probs, predictions and model."""
    used, other = ("predictions", "pred_probs") if options.task == REGRESSION else ("pred_probs", "predictions")
    y, said, model = given["y"], given[used], given["model"]
    if (known := targets_of(source)) is not None:
        if any(value is not None for value in (*given.values(), *about)):
            raise InputError(
                "y, pred_probs, predictions, model, groups and weights are for data; a run has what it was given"
            )
        return known
    if given[other] is not None:
        raise InputError(f"{other} does not apply to task {options.task!r}: give {used}")
    unused = {"class_weight": (about.class_weight, None), "unlabelled": (options.unlabelled, UNLABELLED)}
    unused |= {"limit": (settings["limit"], MOST_ROWS), "replicates": (settings["replicates"], REPLICATES)}
    refuse_unused(options.task, unused)
    if said is not None:
        if source is not None or model is not None:
            raise InputError(f"give features, or model, or {used} alone (noise_report(None, y, {used}=...))")
        refuse_unused(options.task, {"groups": (about.groups, None), "sample_weight": (about.sample_weight, None)})
        return of_predictions(y, said, options).report
    samples = None
    if isinstance(source, Loaded):
        loaded = source
    else:
        loaded = load_targets(source, y, options)
        samples = source
    loaded = weighted(grouping.with_groups(loaded, about.groups), about.sample_weight)
    return judge(loaded, options, settings["seed"], model, samples, folds=folds).report


_Found = TypeVar("_Found", Material, Loaded, Material | Loaded)


class About(NamedTuple):
    """What belongs together, and how much samples and classes count; None: nothing is said."""

    groups: Any = None
    sample_weight: Any = None
    class_weight: ClassWeight | None = None

    @property
    def weighs(self) -> bool:
        """Whether there are weights."""
        return self.sample_weight is not None or self.class_weight is not None

    def of(self, found: _Found) -> _Found:
        """Data with both, or probabilities with the groups.

        Raises:
            InputError: weights where nothing is fitted, or anything of a run, which has what it was given.
        """
        if isinstance(found, Loaded):
            return weighted(grouping.with_groups(found, self.groups), self.sample_weight, self.class_weight)
        if self.weighs and found.source == PROBABILITIES:
            raise InputError(
                "sample_weight and class_weight weigh the fits of a classifier, and pred_probs are ready: give weights "
                "to the classifier that made them, or pass it as model"
            )
        if found.source != PROBABILITIES and any(value is not None for value in self):
            raise InputError("groups, sample_weight and class_weight are for data; a run has those that it was given")
        return with_groups(found, self.groups)


def _findings(run: Any) -> tuple[str, ...]:
    """What a finished run says of its data as a whole; nothing of anything else."""
    if isinstance(run, str | Path) and is_run(Path(run)):
        run = SavedRun(Path(run))
    if not isinstance(run, SavedRun):
        return ()
    read = run.config.get("labels_read", {})
    held = label_copies.sentences(read.get("columns", ()), read.get("gaps", ()))  # was said before the run
    return (*held, *(item["text"] for item in run.summary.get("findings", ())))


def cross_fitted(
    model: Any, samples: Any, y: Any, about: About, *, folds: int, seed: int, unlabelled: int | None = UNLABELLED
) -> tuple[Labels, tuple[Any, ...], Floats]:
    """Labels ``[N]`` as class numbers, the classes, and probabilities ``[N, C]`` of a model that saw no own label.

    Samples without a label get the probabilities of a model of all others.

    Raises:
        InputError: no samples, labels that cannot be read, no classifier, or weights for one that takes none.
    """
    own.check_model(model, weighs=about.weighs)
    if samples is None or y is None or isinstance(samples, str | Path):
        raise InputError("model needs samples and labels in memory")
    loaded, samples = own.load_for(samples, y, ReadOptions(unlabelled=unlabelled))
    loaded, model = about.of(loaded), suited(model, samples, loaded)
    given, names = loaded.y, tuple(loaded.classes)
    labelled = np.flatnonzero(given >= 0)
    held_together, copies = grouping.tensors(grouping.together(loaded))
    x = np.zeros((len(given), 1), dtype=np.float32)  # the model sees the samples themselves
    weight = None if loaded.weight is None else torch.from_numpy(loaded.weight)
    table = Table(x, torch.from_numpy(given), names, groups=held_together, copies=copies, weight=weight)
    table = table.take(torch.from_numpy(labelled))
    small, place = table.distinct()
    rows = labelled if place is None else labelled[Table.standing(place).numpy()]
    kept, own_given, held = own.take(samples, rows), given[rows], numbered(small.groups)
    count = min(folds, len(rows) if held is None else int(held.max()) + 1)
    own_fold = deal(small.given, count, torch.Generator().manual_seed(seed), held)
    counts = None if small.weight is None else small.weight.numpy()
    found = own.cross_probs(model, kept, own_given, own_fold.numpy(), classes=names, counts=counts)
    probs = np.empty((len(given), len(names)))
    probs[labelled] = found if place is None else found[place.numpy()]
    missing = np.flatnonzero(given < 0)
    if len(missing):
        whole = own.fit(model, kept, own_given, classes=names, weight=counts)
        probs[missing] = whole.probs(own.take(samples, missing))
    return given, names, probs


@runtime_checkable
class Trained(Protocol):
    """What a run gives back (``fit.job.Outcome``): evidence of its samples, and the classifier."""

    evidence: Evidence
    model: Classifier


@runtime_checkable
class Estimator(Protocol):
    """``NoisyLabelClassifier``, which has ``evidence_`` and ``classes_`` once it is fitted."""

    def audit(self) -> Any:
        """What is wrong with the labels."""

    def fit(self, X: Any, y: Any) -> Any:
        """Train, and judge every label."""


def _material(source: Any, y: Any, pred_probs: Any, options: ReadOptions) -> Material | Loaded:
    """What there is to judge by; of data, the data."""
    if pred_probs is not None:
        if source is not None:
            raise InputError("give features or pred_probs, not both (noise_report(None, y, pred_probs=...))")
        return from_reading(read(y, pred_probs, unlabelled=options.unlabelled, what="y"))
    if source is None or (
        np.ndim(source) == 1 and np.ndim(y) == 2 and isinstance(source, np.ndarray | pd.Series | list)
    ):
        raise InputError(
            "the first thing that noise_report takes is samples, or None where their probabilities are given: "
            "noise_report(X, y), or noise_report(None, y, pred_probs=...)"
        )
    if isinstance(source, Trained):
        names = [str(name) for name in source.model.classes]
        return _from_run(source.evidence, names)
    if isinstance(source, Estimator):
        evidence, classes = getattr(source, "evidence_", None), getattr(source, "classes_", ())
        if evidence is None:
            raise InputError(f"the {type(source).__name__} is not fitted; call fit first")
        return _from_run(evidence, [str(name) for name in classes])
    if isinstance(source, str | Path) and is_run(Path(source)):
        source = SavedRun(Path(source))
    if isinstance(source, SavedRun):
        return _from_folder(source)
    return source if isinstance(source, Loaded) else load(source, y, options=options)


def _from_data(loaded: Loaded, settings: Features, options: ReadOptions, seed: int, seen: dict[str, Any]) -> Material:
    """Features of a table, of photos those of the packaged encoder, or the pixels of other small images.

    ``seen`` is told what the heads say of the given labels.
    """
    large = int(np.prod(loaded.x.shape)) > _MOST_PIXELS and len(loaded.x.shape) > 1
    if encode.is_photo(loaded) or (large and as_levels(loaded.x) is not None):
        loaded = encode.of_images(loaded, replace(options, encoder=encode.of_photos(loaded)))
    elif large:
        low, high = range_of(loaded.x)
        raise InputError(
            f"{loaded.name} holds images of {' x '.join(map(str, loaded.x.shape))} with values of {low:.3g} to "
            f"{high:.3g}: give them as 0 to 255, or 0 to 1 as floats, so that an encoder sees them. Or train first "
            "(codivide fit) and report on its folder, or pass an encoder's features"
        )

    held = grouping.tensors(grouping.together(loaded))
    mixed, pixels = isinstance(loaded.encoder, Columns), pixels_of(loaded.encoder)

    def cross_fit(rows: Labels, given: Labels, classes: int) -> Floats:
        chosen = torch.from_numpy(rows)
        held_together, copies = (None if value is None else value[chosen] for value in held)
        table = Table(
            raw(loaded.x, chosen),
            torch.from_numpy(given),
            tuple(range(classes)),
            groups=held_together,
            copies=copies,
            weight=None if loaded.weight is None else torch.from_numpy(loaded.weight[rows]),
            mixed=mixed,
            pixels=pixels,
        )
        probs: Floats = plain_probs(table, settings, seed).double().numpy()
        same = same_classes([loaded.classes[k] for k in np.unique(loaded.y[rows])])
        probs = probs if same is None else alike.one_of_each(probs, given, same)
        seen.update(seen=probs[np.arange(len(given)), given], rows=rows, given=given)
        return probs

    return Material(loaded.y, [str(name) for name in loaded.classes], "features", cross_fit)


def from_reading(reading: Reading, belonging: Any = None) -> Material:
    """A caller's own probabilities; ``belonging`` are groups as in ``noise_report``."""
    names = [str(name) for name in reading.classes]
    found = Material(reading.given, names, PROBABILITIES, probs=reading.probs, claimed=reading.claimed)
    return with_groups(found, belonging)


def with_groups(material: Material, belonging: Any) -> Material:
    """The same with what belongs together.

    Raises:
        InputError: another number of groups than samples.
    """
    if belonging is None:
        return material
    codes = grouping.numbered(belonging)
    if len(codes) != len(material.given):
        raise InputError(f"groups has {len(codes)} values, but there are {len(material.given)} labels; one for each")
    return material._replace(groups=codes)


def of_audit(folder: Path) -> NoiseReport | TargetReport:
    """The report that an audit of somebody's predictions left.

    Raises:
        InputError: there is none.
    """
    path = folder / NOISE
    if not is_present(path):
        raise InputError(
            f"{folder} holds no {NOISE}: an older version made this audit, or no sample has a label; make it again "
            "(its page shows the rate)"
        )
    values = read_json(path)
    with reading(path):
        return of_record(values)


def _from_folder(run: SavedRun) -> Material:
    """What a finished run left in ``predictions.npz``."""
    arrays = run.predictions
    with reading(run.path / PREDICTIONS):
        return _from_run(Evidence.from_arrays(arrays), arrays["classes"].tolist())


def _from_run(evidence: Evidence, names: Sequence[str]) -> Material:
    losses = evidence.mean_loss.astype(np.float64)
    usable = np.isfinite(losses[evidence.given >= 0]).all()
    return Material(
        evidence.given,
        names,
        "run",
        probs=scaled(evidence.mean_probs(len(names))),
        losses=losses if usable else None,
        learned=None if evidence.held_out else 0.0 if evidence.set_aside else LEARNED,
        witnessed=evidence.witnessed,
    )
