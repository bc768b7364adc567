"""The route for features: from rows of numbers to heads, judged labels and a run folder, in seconds."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from typing import Any

import torch

from codivide.core.errors import InputError, TrainingWarning, option
from codivide.core.provenance import environment
from codivide.data import columns
from codivide.data.groups import tensors, together
from codivide.data.label_remarks import are_no_classes, label_remarks
from codivide.data.loaded import Loaded
from codivide.data.pretrained import pixels_of
from codivide.fit import run_record, test_part, verdict
from codivide.fit.job import Before, Job, Outcome, Progress
from codivide.fit.judging import Judged, with_alike
from codivide.methods.features import rule_like
from codivide.methods.features.learn import Learned, learn
from codivide.methods.features.matrix import raw
from codivide.methods.features.model import FeatureModel
from codivide.methods.features.options import Features
from codivide.methods.features.table import Own, Table
from codivide.noise import learning_curves, settle
from codivide.noise.too_small import FEWEST
from codivide.runs import label_table
from codivide.runs.folder import TOO_LITTLE, RunFolder
from codivide.training.model_file import Classifier

_COPIES = 0.25  # share of the samples from which on it is said that copies count once
_AGREEMENT = "agreement"  # of suggestions with the given labels; key of a remark
_MORE = "It takes more labels of each class, or features that tell the classes apart"  # where heads have collapsed


def execute_features(
    job: Job,
    method: Features,
    loaded: Loaded,
    folder: RunFolder | None,
    *,
    progress: Progress | None,
    deadline: float | None,
    before: Before,
) -> Outcome:
    """``execute`` for the route for features: the same folder, one record a round."""
    if len(loaded.x.shape) != 1:
        raise InputError(
            f"the method features takes tables of numbers, one row a sample; {loaded.name} has images of shape "
            f"{loaded.x.shape}. Encode them (leave {option('encoder')} out), or choose another method (see `codivide "
            "methods`)"
        )
    began = time.perf_counter()
    watch = None if progress is None else lambda row: progress(None, row)
    learned = learn(table_of(loaded), method, job.plan.seed, watch=watch, deadline=deadline)
    if before.tune is not None:
        learned, loaded = before.tune(job, learned, loaded)
    named = loaded.columns if loaded.encoder is None else None
    model = replace(learned.model, encoder=loaded.encoder, columns=named)
    return learned_outcome(job, loaded, folder, learned, model=model, before=before, began=began)


def kinds_of(method: Features, loaded: Loaded) -> tuple[str, ...]:
    """The heads that it will fit."""
    dense, mixed = not getattr(loaded.x, "sparse", False), isinstance(loaded.encoder, columns.Columns)
    width = loaded.x.shape[0] if len(loaded.x.shape) == 1 else 0
    pixels = pixels_of(loaded.encoder) > 0
    return method.kinds(int((loaded.y >= 0).sum()), width, dense=dense, mixed=mixed, pixels=pixels)


def rounds_of(method: Features, loaded: Loaded) -> int:
    """How many records its run will have."""
    return method.rounds(kinds_of(method, loaded))


def table_of(loaded: Loaded, own: Own | None = None) -> Table:
    """What the route for features learns from; ``own`` stands for its heads, see ``Table``."""
    confirmed = None if loaded.confirmed is None else torch.from_numpy(loaded.confirmed)
    answers = None if loaded.annotations is None else torch.from_numpy(loaded.annotations.likelihood)
    weight = None if loaded.weight is None else torch.from_numpy(loaded.weight)
    return Table(
        raw(loaded.x),
        torch.from_numpy(loaded.y),
        loaded.classes,
        confirmed,
        answers,
        *tensors(together(loaded)),
        weight=weight,
        mixed=isinstance(loaded.encoder, columns.Columns),
        own=own,
        pixels=pixels_of(loaded.encoder),
    )


def learned_outcome(
    job: Job,
    loaded: Loaded,
    folder: RunFolder | None,
    learned: Learned,
    *,
    model: Classifier,
    before: Before,
    began: float,
) -> Outcome:
    """What a run of the route for features gives back, and its folder; ``began`` by ``time.perf_counter``."""
    if loaded.annotations is not None:
        annotators = settle.judged_by(loaded.annotations, learned.given_probs.double().numpy())
        loaded = replace(loaded, annotations=annotators)
    given, history = torch.from_numpy(loaded.y), learned.records
    history[-1] |= _cross_fitted_record(learned, loaded) | run_record.test_scores(model, loaded.test)
    learned.remarks.update(run_record.stretched(learned.report.get("stretched", []), loaded))
    remark = learning_curves.collapse(learned.probs.argmax(1).numpy(), loaded.y, len(loaded.classes), _MORE)
    said = learned.remarks | ({} if remark is None else {"collapse": remark})
    said |= (rule := _rule(learned, loaded)) | _copies(learned) | _agreement(learned, loaded)
    if rule:
        confirmed = None if loaded.confirmed is None else torch.from_numpy(loaded.confirmed)
        learned = learned.unbounded(given, confirmed)
    if said:
        history[-1]["warnings"] = said
    judged = Judged(
        learned.suggested.numpy(),
        learned.probs.gather(1, learned.suggested.unsqueeze(1)).squeeze(1).double().numpy(),
        learned.clean_prob.numpy(),
    )
    reasons = [*learned.remarks.values(), *filter(None, [learned.report.get("tuned", {}).get("said")])]
    choice = before.choice and before.choice.because(*reasons)  # such as that nothing can be learned
    settings = run_record.config(job, loaded, replace(before, choice=choice))
    trained = {
        "epochs": len(history),
        "learned": learned.report,
        "seconds": round(time.perf_counter() - began, 2),
        **before.seconds,
    }
    judged, evidence = with_alike(judged, learned.evidence(given), loaded.classes)
    checked = run_record.checked_table(job, loaded, judged, model)
    table = checked.table
    if isinstance(model, FeatureModel):
        model.usual = checked.usual
    if learned.order is not None:
        table = label_table.ranked(table, learned.order.numpy())
    table, tested = run_record.with_test(job, loaded, table, model)
    folds = job.method.folds if isinstance(job.method, Features) else FEWEST
    remarks = [*checked.remarks, *tested.remarks, *test_part.harder(tested, evidence), *label_remarks(loaded, folds)]
    found = run_record.summary_of(loaded, history, judged, remarks) | run_record.of_test(tested)
    found |= {"collapsed": remark is not None, "findings": checked.findings}
    by_chance = tested.predicted is not None and verdict.by_chance(*tested.predicted)
    useless = "independent" in learned.remarks or by_chance or are_no_classes(loaded) or _AGREEMENT in said
    found["verdict"] = TOO_LITTLE if useless else verdict.USABLE
    record = run_record.told(settings) | trained | found | environment()
    outcome = Outcome(None, history, model, table, record, evidence, tested.table)
    if folder is not None:
        folder.settings = settings
        _write(folder, loaded, outcome)
    return outcome


def _write(folder: RunFolder, loaded: Loaded, outcome: Outcome) -> None:
    """Everything that a run of the route leaves."""
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.begin()
    folder.write_history(outcome.history)
    folder.write_predictions([len(outcome.history)], loaded.classes, outcome.evidence.to_arrays())
    folder.write_results(loaded, outcome.model, outcome.table, outcome.summary, test_table=outcome.test_table)


def _rule(learned: Learned, loaded: Loaded) -> dict[str, str]:
    """The remark that labels look like a rule of the features, where they do and something was learned."""
    text = None if "independent" in learned.remarks else rule_like.remark(loaded, learned.seen.numpy())
    if text is None:
        return {}
    warnings.warn(text, TrainingWarning, stacklevel=3)
    return {rule_like.KEY: text}


def _agreement(learned: Learned, loaded: Loaded) -> dict[str, str]:
    """The remark that suggestions agree with the given labels by chance alone, where something was learned."""
    independent = "independent" in learned.remarks
    text = None if independent else verdict.hardly_agrees(learned.suggested.numpy(), loaded.y)
    if text is None:
        return {}
    warnings.warn(text, TrainingWarning, stacklevel=3)
    return {_AGREEMENT: text}


def _copies(learned: Learned) -> dict[str, str]:
    """The remark that copies count once, where a good part of the samples are copies of others with the same label."""
    every, distinct = len(learned.probs), learned.report.get("distinct_samples", len(learned.probs))
    if every - distinct < _COPIES * every:
        return {}
    text = (
        f"{every - distinct:,} of {every:,} samples are copies of others, with the same label: they count once in what "
        "is learned, and no fold divides them. Rates and lists have every sample"
    )
    warnings.warn(text, TrainingWarning, stacklevel=3)
    return {"copies": text}


def _cross_fitted_record(learned: Learned, loaded: Loaded) -> dict[str, Any]:
    """What the cross-fitted probabilities say of the training set, as the last epoch of a network's run says."""
    losses = -learned.seen.double().clamp_min(torch.finfo(torch.float32).tiny).log()
    return learning_curves.record(learned.probs.argmax(1).numpy(), losses.numpy(), loaded.y, loaded.truth)
