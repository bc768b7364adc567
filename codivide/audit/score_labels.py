"""``score_labels``: any rule that judges labels, by name, on whatever arrays there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from codivide.audit.noise_report import About, cross_fitted
from codivide.audit.reading import read
from codivide.audit.target_judging import check_task, judge, label_clean_prob, load_targets, refuse_unused
from codivide.audit.target_predictions import of_predictions
from codivide.core.errors import InputError, unknown
from codivide.core.types import UNLABELLED, Floats, Labels
from codivide.data.labels import encode
from codivide.data.options import CLASSES, DEFAULT, REGRESSION, ReadOptions
from codivide.data.row_order import warn_of_order
from codivide.data.weights import ClassWeight, weighted
from codivide.noise.rules import Judgeable, score

_SLACK = 1e-4  # below 0 that a loss may be by rounding


def score_labels(
    rule: str,
    y: Any,
    *misplaced: Any,
    pred_probs: Any = None,
    losses: Any = None,
    predictions: Any = None,
    features: Any = None,
    model: Any = None,
    classes: Sequence[Any] | None = None,
    sample_weight: Any = None,
    class_weight: ClassWeight | None = None,
    task: str = CLASSES,
    separator: str = DEFAULT.separator,
) -> Floats:
    """Judge every label by a rule: how likely is it right?

    docs/explain/noise.md lists the rules. ``gmm``, ``bmm``, ``class_wise``, ``wrong_events``, ``confident_joint``,
    ``latent_noise`` and ``combined`` give probabilities of being right in [0, 1]; of the others only the order counts.

    Args:
        rule: a name in ``codivide.noise.rules.RULES``.
        y: given labels ``[N]``: numbers, texts or categories; missing ones (None, NaN, -1) are not judged.
        misplaced: refused, since all else is given by its name.
        pred_probs: ``[N, C]``, non-negative, rows sum to 1; column k is ``classes[k]``. Cross-validated: a classifier
            that has seen a label takes it for right. A list of several models' counts as their mean.
        losses: cross-entropies ``[N]``, or ``[epochs, N]``, NaN where an epoch did not look; None: of ``pred_probs``.
        predictions: predicted classes ``[epochs, N]`` in the words of ``y``, one row an epoch.
        features: ``[N, D]``, dense or sparse, in which samples of one class are near each other.
        model: a classifier of scikit-learn's kind that makes ``pred_probs``, cross-fitted on ``features`` in 5 folds.
        sample_weight: ``[N]``, how much each sample counts where ``model`` is fitted; a rule judges each label once.
        class_weight: "balanced", or a weight for each class, likewise.
        classes: in the order of the columns of ``pred_probs``; None: as in ``audit.from_probs``.
        task: "classes"; "regression" or "multilabel": see docs/howto/beyond.md.
        separator: between several labels of a row, where they are one text.

    Returns:
        ``[N]`` float64, LARGER where the label is more likely right; NaN without a label, or where all features are 0.

    Raises:
        InputError: the message says what is wrong.

    Examples:
        >>> import codivide
        >>> y = ["cat", "cat", "dog", "dog", None]
        >>> probs = [[0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7], [0.5, 0.5]]
        >>> codivide.score_labels("self_confidence", y, pred_probs=probs).round(2).tolist()
        [0.93, 0.27, 0.86, 0.62, nan]
        >>> codivide.score_labels("right_events", y, predictions=[["cat", "dog", "dog", "dog", "cat"]]).tolist()
        [1.0, 0.0, 1.0, 1.0, nan]
    """
    _check(rule, y, misplaced, task)
    warn_of_order(features, sample_weight=sample_weight)
    if task != CLASSES:
        said = {"pred_probs": pred_probs, "predictions": predictions, "losses": losses, "classes": classes}
        said |= {"features": features, "model": model, "sample_weight": sample_weight, "class_weight": class_weight}
        return _of_targets(rule, y, ReadOptions(task=task, separator=separator), said)
    found = _labels(y, pred_probs, classes, About(None, sample_weight, class_weight), model=model, samples=features)
    plain = None if model is not None else features
    return score(rule, _judgeable(*found, losses=losses, predictions=predictions, features=plain))


def _check(rule: object, y: Any, misplaced: Sequence[Any], task: str) -> None:
    """InputError where something stands in another's place or has to be given by its name, or for an unknown task."""
    if not isinstance(rule, str) or isinstance(y, str):
        raise InputError(
            "the first thing that score_labels takes is the name of a rule, the second the labels: "
            "score_labels('combined', y, ...)"
        )
    if misplaced:
        swapped = len(np.shape(y)) == 2 and len(np.shape(misplaced[0])) == 1  # probabilities, and then labels
        said = "the second are the labels, and the third" if swapped else "the third"
        raise InputError(
            f"score_labels takes the rule and the labels by their places, and all else by its name: {said} is one of "
            f"pred_probs=, losses=, predictions=, features= and model=, such as score_labels({rule!r}, y, pred_probs=p)"
        )
    check_task(task)


def _of_targets(rule: str, y: Any, options: ReadOptions, given: dict[str, Any]) -> Floats:
    """Scores of numbers ``[N]``, or of several labels ``[N, K]``, larger where they are more likely right.

    Args:
        rule: "combined" (a probability), "residual" (of numbers: minus the distance) or "self_confidence" (of labels).
        y: see ``data.targets.texts_of``.
        options: the task, and the separator.
        given: the other parameters by name. Held-out ``pred_probs`` ``[N, K]``, or ``predictions`` ``[N]``, are made
            of ``features`` where they are None.
    """
    task, used = options.task, "predictions" if options.task == REGRESSION else "pred_probs"
    said, features = given[used], given["features"]
    fitted = (used, "features", "model", "sample_weight")
    unused = [name for name in given if name != used and (said is not None or name not in fitted)]
    refuse_unused(task if said is None else f"{task} with {used}", {name: (given[name], None) for name in unused})
    plain = "residual" if task == REGRESSION else "self_confidence"
    if rule not in ("combined", plain):
        raise unknown(f"rule of task {task}", rule, ("combined", plain))
    if said is None:
        if features is None:
            raise InputError(f"the rule {rule} of task {task} needs {used}, or features")
        found = judge(
            weighted(load_targets(features, y, options), given["sample_weight"]), options, 0, given["model"], features
        )
        said = found.predicted
        if rule == "combined":
            return found.report.clean_prob if task == REGRESSION else label_clean_prob(found.report)
    scored = of_predictions(y, said, options)
    return scored.clean_prob if rule == "combined" else scored.plain


def _judgeable(
    given: Labels, names: tuple[Any, ...], probs: Floats | None, *, losses: Any, predictions: Any, features: Any
) -> Judgeable:
    """What a rule is asked about, checked."""
    return Judgeable(
        given,
        len(names),
        probs=probs,
        losses=_losses(losses, given),
        predictions=_predictions(predictions, len(given), names),
        features=_features(features, len(given)),
    )


def _labels(
    y: Any, pred_probs: Any, classes: Sequence[Any] | None, about: About, *, model: Any, samples: Any
) -> tuple[Labels, tuple[Any, ...], Floats | None]:
    """Labels as class numbers, the classes, and the probabilities that there are, or that a model cross-fits."""
    if model is not None:
        if pred_probs is not None:
            raise InputError("give model or pred_probs, not both")
        return cross_fitted(model, samples, y, about, folds=5, seed=0)
    if about.weighs:
        raise InputError("sample_weight and class_weight weigh the fits of a model: pass one, or leave them out")
    if pred_probs is not None:
        found = read(y, pred_probs, classes=classes, what="y")
        return found.given, found.classes, found.probs
    return *encode(y, classes=classes), None


def _check_size(name: str, size: int, count: int) -> None:
    if size != count:
        raise InputError(f"{name} has {size} samples, but y has {count} labels; give one for each label")


def _losses(losses: Any, given: Labels) -> Floats | None:
    """``[epochs, N]``, of which every labelled sample has a finite one."""
    if losses is None:
        return None
    found = np.atleast_2d(np.asarray(losses, dtype=np.float64))
    if found.ndim != 2 or not len(found):
        raise InputError(f"losses has shape {np.shape(losses)}; it must be [samples] or [epochs, samples]")
    _check_size("losses", found.shape[1], len(given))
    unseen = (given != UNLABELLED) & ~np.isfinite(found).any(0)
    if unseen.any():
        raise InputError(f"losses: sample {int(unseen.argmax())} has a label and no finite loss")
    least = float(np.where(np.isfinite(found), found, np.inf).min(initial=np.inf))
    if least < -_SLACK:
        raise InputError(
            f"losses: there is {least:.4g}; a cross-entropy, -log of the probability of the given label, is never "
            "negative. Change the sign of log-likelihoods"
        )
    return found


def _predictions(predictions: Any, count: int, names: Sequence[Any]) -> Labels | None:
    """``[epochs, N]`` of class numbers, -1 where nothing was predicted."""
    if predictions is None:
        return None
    found = np.atleast_2d(np.asarray(predictions))
    if found.ndim != 2 or not len(found):
        raise InputError(f"predictions has shape {found.shape}; it must be [epochs, samples]")
    _check_size("predictions", found.shape[1], count)
    return encode(found.ravel(), classes=names, what="predictions")[0].reshape(found.shape)


def _features(features: Any, count: int) -> Any:
    """``[N, D]`` finite, dense or CSR."""
    if features is None:
        return None
    try:
        table = sparse.csr_matrix(features) if sparse.issparse(features) else np.asarray(features, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"features is no array of numbers: {error}. Give numbers, or the samples with a model that takes them"
        ) from None
    if table.ndim != 2:
        raise InputError(f"features has shape {table.shape}; it must be [samples, features]")
    _check_size("features", table.shape[0], count)
    values = table.data if sparse.issparse(table) else table
    if not np.isfinite(values).all():
        raise InputError("features holds NaN or infinite values; fill or leave out such samples")
    return table
