"""What a run writes down of itself: what defines it, its scores on the test part, its checks, its summary."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from codivide.audit import checks
from codivide.core.errors import TrainingWarning
from codivide.core.version import VERSION
from codivide.core.words import first_few
from codivide.data import columns, encode, tuned
from codivide.data.loaded import Loaded
from codivide.data.record import DataRecord
from codivide.fit import test_part
from codivide.fit.job import Before, Job, name_of
from codivide.fit.judging import Judged
from codivide.noise import scores, settle, synthetic
from codivide.runs.folder import IDENTITY
from codivide.training.model_file import Classifier
from codivide.training.ranks import here

_MANY = 10  # classes from which on the five likeliest are looked at, too


def told(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the summary says of the settings."""
    return {name: value for name, value in settings.items() if name != IDENTITY}


def config(job: Job, loaded: Loaded, before: Before) -> dict[str, Any]:
    """Everything that defines a run, as JSON values."""
    choice = before.choice
    return {
        "version": VERSION,
        IDENTITY: before.asked,
        "data": loaded.name,
        "source": _named(job.source, loaded).to_dict(),
        "corrections": dict(job.corrections),
        "samples": len(loaded.y),
        "unlabelled": int((loaded.y < 0).sum()),
        "shape": list(loaded.x.shape),
        "augment": job.augment(loaded),
        "classes": [str(name) for name in loaded.classes],
        "method": name_of(job.method),
        "hyper_parameters": asdict(job.method),
        "net": str(job.net),
        "dropout": job.dropout,
        "plan": asdict(job.plan),
        "evaluate_every": job.evaluate_every,
        "record_learning": job.record_learning,
        **({} if choice is None else {"choice": choice.to_dict()}),
        **({"labels_read": read} if (read := loaded.labels_read.to_dict()) else {}),
        **({} if loaded.groups is None else {"groups": len(np.unique(loaded.groups[loaded.groups >= 0]))}),
        "skipped_files": len(loaded.skipped),
        "threads": torch.get_num_threads(),
        **({"processes": count} if (count := here().count) > 1 else {}),
        **({"encoder": loaded.encoder.name} if loaded.encoder is not None else {}),
        **({"said": list(loaded.said)} if loaded.said else {}),
        **columns.record(loaded.encoder),
    }


def _named(source: DataRecord, loaded: Loaded) -> DataRecord:
    """The record with the encoder that "best" has become; "auto" where the model alone holds it, for it was trained."""
    if loaded.encoder is None:
        return source
    if loaded.encoder.name == tuned.NAME:
        return replace(source, options=replace(source.options, encoder=encode.AUTO))
    if source.options.encoder != encode.BEST:
        return source
    return replace(source, options=replace(source.options, encoder=loaded.encoder.name))


def stretched(found: Sequence[int], loaded: Loaded) -> dict[str, str]:
    """A warning that names the features with values so far out that they are cut."""
    if not found or (loaded.encoder is not None and loaded.encoder.takes != "table"):
        return {}  # nobody can look at the numbers that an encoder makes of a photo or a text
    named = first_few([repr(loaded.columns[k]) if loaded.columns else str(k) for k in found])
    text = f"features stretched by a few values far out: {named}. They are cut to the range of the others; look at them"
    warnings.warn(text, TrainingWarning, stacklevel=2)
    return {"stretched": text}


def test_scores(model: Classifier, test: Loaded | None) -> dict[str, float]:
    """Accuracy, and the two that a class counts for as much in as any other; of many classes also top-5 accuracy."""
    if test is None:
        return {}
    known = test.y >= 0
    logits = model.logits(test.x)[torch.from_numpy(known)]
    found = scores.accuracies(logits.argmax(1).numpy(), test.y[known], len(test.classes))
    if len(test.classes) >= _MANY:
        labels = torch.from_numpy(test.y[known])
        found["top5_accuracy"] = float((logits.topk(5).indices == labels[:, None]).any(1).double().mean())
    return {f"test_{name}": value for name, value in found.items()}


def checked_table(job: Job, loaded: Loaded, judged: Judged, model: Classifier) -> checks.Judgement:
    """The label table with the columns of all checks, and what they say; a rehearsal is not checked."""
    table = judged.table(loaded)
    if not job.record_learning:
        return checks.Judgement(table, [], [])
    return checks.judge(table, loaded.classes, loaded, model)


def with_test(
    job: Job, loaded: Loaded, table: pd.DataFrame, model: Classifier
) -> tuple[pd.DataFrame, test_part.Tested]:
    """The label table with what it shares with the test part, and the test part judged; a rehearsal is not checked."""
    tested = test_part.judged(loaded, model) if job.record_learning else test_part.Tested()
    return table.assign(**tested.columns), tested


def of_test(tested: test_part.Tested) -> dict[str, Any]:
    """What the summary says of the test part, where there is one."""
    return {"test_part": tested.summary} if tested.summary else {}


def summary_of(
    loaded: Loaded, history: Sequence[Mapping[str, Any]], judged: Judged, remarks: Sequence[str]
) -> dict[str, Any]:
    """What a run found, in numbers."""
    labelled = loaded.y >= 0
    flagged = labelled & (judged.suggested != loaded.y)
    flagged &= True if loaded.confirmed is None else ~loaded.confirmed
    summary: dict[str, Any] = {
        "label_issues": int(flagged.sum()),
        "training_seconds": round(sum(row["seconds"] for row in history), 2),
        "warnings": [*(text for row in history for text in row.get("warnings", {}).values()), *remarks],
    }
    tests = {row["epoch"]: row["test_accuracy"] for row in history if "test_accuracy" in row}
    if tests:
        best = max(tests, key=tests.__getitem__)  # chosen with the test labels
        summary["test_accuracy"] = {
            "last": tests[history[-1]["epoch"]],
            "last_10_mean": float(np.mean(list(tests.values())[-10:])),  # of the last 10 evaluations
            "last_10_median": float(np.median(list(tests.values())[-10:])),
            "last_20_median": float(np.median(list(tests.values())[-20:])),  # what semi-supervised papers report
            "best": tests[best],
            "best_epoch": best,
            "evaluations": len(tests),
        }
        scored = next(row for row in reversed(history) if "test_macro_f1" in row)
        summary |= {name: scored[name] for name in ("test_balanced_accuracy", "test_macro_f1")}
    five = {row["epoch"]: row["test_top5_accuracy"] for row in history if "test_top5_accuracy" in row}
    if five:
        summary["test_top5_accuracy"] = {"last": five[max(five)], "best": max(five.values())}
    updated = [row["updated_label_accuracy"] for row in history if "updated_label_accuracy" in row]
    if updated:
        summary["updated_label_accuracy"] = {"last": updated[-1], "best": max(updated)}
    if loaded.annotations is not None:
        summary["annotators"] = loaded.annotations.annotators()
        summary |= {"annotators_undecided": said} if (said := settle.undecided(loaded.annotations)) else {}
    if loaded.truth is not None:
        summary["noise"] = synthetic.summary(loaded.truth, loaded.y, len(loaded.classes))
        summary["detection"] = scores.detection(loaded.y, loaded.truth, judged.clean_prob)
        known = loaded.truth >= 0
        summary["suggestion_accuracy"] = float((judged.suggested == loaded.truth)[known].mean())
    return summary
