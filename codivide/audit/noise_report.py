"""``noise_report`` of whatever is at hand: features, probabilities, the folder of a run, a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from codivide.audit import checks
from codivide.audit.reading import Reading, read
from codivide.core.errors import InputError
from codivide.core.files import reading
from codivide.core.types import UNLABELLED, Floats, Labels
from codivide.data import encode
from codivide.data.columns import Columns
from codivide.data.groups import tensors, together
from codivide.data.loaded import Loaded
from codivide.data.options import ReadOptions
from codivide.data.sources import load
from codivide.methods.features import own, rule_like
from codivide.methods.features.folds import deal, numbered
from codivide.methods.features.learn import plain_probs
from codivide.methods.features.matrix import raw
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table
from codivide.noise.evidence import Evidence
from codivide.noise.rates import MOST_ROWS
from codivide.noise.report import LEARNED, PROBABILITIES, Material, NoiseReport, estimate, scaled, with_reason
from codivide.runs.folder import PREDICTIONS, SavedRun, is_run
from codivide.training.model_file import Classifier

_MOST_PIXELS = 1_024  # values of an image that count as features


def noise_report(
    X_or_run: Any,
    y: Any = None,
    *,
    pred_probs: Any = None,
    model: Any = None,
    folds: int = 5,
    limit: int = MOST_ROWS,
    replicates: int = 20,
    seed: int = 0,
    unlabelled: int | None = UNLABELLED,
) -> NoiseReport:
    """Estimate how many labels are wrong, which way, and how far the estimate can be trusted.

    Args:
        X_or_run: features ``[N, D]`` (dense, sparse or a data frame), images (of photos the packaged encoder makes
            features; small grey ones count as they are), a path or name of such data (or what was loaded from it, whose
            weights the heads then have), the folder of a finished run, an ``Outcome``, or a fitted
            ``NoisyLabelClassifier``; None with ``pred_probs``.
        y: given labels ``[N]`` of an array or of ``pred_probs``; missing where unlabelled.
        pred_probs: cross-fitted probabilities ``[N, C]`` instead of features; columns as in ``audit.from_probs``. Ones
            of a classifier that was trained on the same rows hide the noise.
        model: a classifier of scikit-learn's kind that is cross-fitted on ``X_or_run`` and ``y`` instead of codivide's
            heads.
        folds: of the cross-fitting, 2 to 50.
        limit: rows that the estimate rests on at most, drawn at random; at least 10.
        replicates: bootstrap samples behind the interval, at least 2.
        seed: of all that is random.
        unlabelled: the label that means "no label"; None: there is none.

    Returns:
        The report; the same input and seed give the same one.

    Raises:
        InputError: the message says what is wrong and what to do.
    """
    least, most = Features.limits["folds"]
    if not least <= folds <= most:
        raise InputError(f"folds {folds}: at least {least} and at most {most} are needed")
    options = ReadOptions(unlabelled=unlabelled)
    if model is not None:
        if pred_probs is not None:
            raise InputError("give model or pred_probs, not both")
        given, names, probs = cross_fitted(model, X_or_run, y, folds=folds, seed=seed, unlabelled=unlabelled)
        found: Material | Loaded = from_reading(Reading(probs, given, names))
    else:
        found = _material(X_or_run, y, pred_probs, options)
    if isinstance(found, Material):
        report = estimate(found, limit=limit, replicates=replicates, seed=seed)
        return replace(report, findings=_findings(X_or_run))
    seen: dict[str, Any] = {}
    material = _from_data(found, Features(folds=folds), options, seed, seen)
    report = estimate(material, limit=limit, replicates=replicates, seed=seed)
    rule = rule_like.remark(found, **seen) if seen and len(found.x.shape) == 1 else None
    report = replace(report, findings=tuple(item["text"] for item in checks.of_data(found)))
    return report if rule is None else replace(report, trust=with_reason(report.trust, rule))


def _findings(run: Any) -> tuple[str, ...]:
    """What a finished run says of its data as a whole; nothing of anything else."""
    if isinstance(run, str | Path) and is_run(Path(run)):
        run = SavedRun(Path(run))
    return tuple(item["text"] for item in run.summary.get("findings", ())) if isinstance(run, SavedRun) else ()


def cross_fitted(
    model: Any, samples: Any, y: Any, *, folds: int, seed: int, unlabelled: int | None = UNLABELLED
) -> tuple[Labels, tuple[Any, ...], Floats]:
    """Labels ``[N]`` as class numbers, the classes, and probabilities ``[N, C]`` of a model that saw no own label.

    Samples without a label get the probabilities of a model of all others.

    Raises:
        InputError: no samples, labels that cannot be read, or no classifier.
    """
    own.check_model(model)
    if samples is None or y is None or isinstance(samples, str | Path):
        raise InputError("model needs samples and labels in memory")
    loaded, samples = own.load_for(samples, y, ReadOptions(unlabelled=unlabelled))
    given, names = loaded.y, tuple(loaded.classes)
    labelled = np.flatnonzero(given >= 0)
    groups, copies = tensors(together(loaded))
    x = np.zeros((len(given), 1), dtype=np.float32)  # the model sees the samples themselves
    table = Table(x, torch.from_numpy(given), names, groups=groups, copies=copies).take(torch.from_numpy(labelled))
    small, place = table.distinct()
    rows = labelled if place is None else labelled[Table.standing(place).numpy()]
    kept, own_given, held = own.take(samples, rows), given[rows], numbered(small.groups)
    count = min(folds, len(rows) if held is None else int(held.max()) + 1)
    own_fold = deal(small.given, count, torch.Generator().manual_seed(seed), held)
    found = own.cross_probs(model, kept, own_given, own_fold.numpy(), classes=names)
    probs = np.empty((len(given), len(names)))
    probs[labelled] = found if place is None else found[place.numpy()]
    missing = np.flatnonzero(given < 0)
    if len(missing):
        probs[missing] = own.fit(model, kept, own_given, classes=names).probs(own.take(samples, missing))
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
    if encode.is_photo(loaded) or (large and loaded.x.dtype == torch.uint8):
        loaded = encode.of_images(loaded, replace(options, encoder=encode.DEFAULT_OF["image"]))
    elif large:
        raise InputError(
            f"{loaded.name} holds images of {' x '.join(map(str, loaded.x.shape))} that are no uint8: heads on pixels "
            "learn too little; train first (codivide fit) and report on its folder, or pass an encoder's features"
        )

    held = tensors(together(loaded))
    mixed = isinstance(loaded.encoder, Columns)

    def cross_fit(rows: Labels, given: Labels, classes: int) -> Floats:
        chosen = torch.from_numpy(rows)
        groups, copies = (None if value is None else value[chosen] for value in held)
        table = Table(
            raw(loaded.x, chosen),
            torch.from_numpy(given),
            tuple(range(classes)),
            groups=groups,
            copies=copies,
            weight=None if loaded.weight is None else torch.from_numpy(loaded.weight[rows]),
            mixed=mixed,
        )
        probs: Floats = plain_probs(table, settings, seed).double().numpy()
        seen.update(seen=probs[np.arange(len(given)), given], rows=rows, given=given)
        return probs

    return Material(loaded.y, [str(name) for name in loaded.classes], "features", cross_fit)


def from_reading(reading: Reading) -> Material:
    """A caller's own probabilities."""
    return Material(reading.given, [str(name) for name in reading.classes], PROBABILITIES, probs=reading.probs)


def _from_folder(run: SavedRun) -> Material:
    """What a finished run left in ``predictions.npz``."""
    path, arrays = run.path / PREDICTIONS, run.predictions
    if "given" not in arrays:
        raise InputError(f"{path} is of an older version and holds no given labels; run fit again")
    with reading(path):
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
