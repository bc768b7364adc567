"""A run with a model of the user's own in the place of codivide's heads."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codivide.core.errors import InputError
from codivide.data.label_remarks import warn_about_labels
from codivide.data.loaded import Loaded
from codivide.data.own_table import suited
from codivide.data.row_order import index_names
from codivide.fit.feature_run import learned_outcome, table_of
from codivide.fit.job import Before, Job, Outcome
from codivide.fit.resume import identity
from codivide.methods.features import judge, own
from codivide.methods.features.learn import Learned, learn
from codivide.methods.features.own import OwnModel
from codivide.methods.features.table import Table
from codivide.noise.learning_curves import prediction_type
from codivide.runs.folder import RunFolder


def execute_own(job: Job, loaded: Loaded, model: Any, samples: Any, out: Path | None) -> Outcome:
    """Cross-fit the model, judge the labels, and fit it on those that are kept.

    Args:
        job: with the method ``OwnModel`` and a seed.
        loaded: the data.
        model: the user's, of the kind that ``own.check_model`` lets pass.
        samples: one for each row of ``loaded``, as the model takes them.
        out: a folder that is claimed; None: nothing is written.

    Raises:
        InputError: the model fails or takes no weights, or the data do not suit the job.
    """
    assert isinstance(job.method, OwnModel)
    if loaded.weight is not None:
        own.check_weighs(model)
    warn_about_labels(loaded, job.method.folds)
    if len(loaded.x.shape) != 1:
        raise InputError(f"with model=..., X must be a table or texts, not images of shape {loaded.x.shape}")
    if loaded.encoder is not None and loaded.encoder.takes == "image":
        raise InputError(
            "with model=..., X must be a table or texts, and encoder is not asked: pass features of the images as X, "
            "or leave model out"
        )
    before = Before(asked=None if out is None else identity(job, loaded))
    folder = None if out is None else RunFolder(out, {}, resume=False)
    began = time.perf_counter()
    model = suited(model, samples, loaded)
    table = table_of(loaded, own.crossing(model, samples, loaded.y, loaded.classes, loaded.weight))
    learned = learn(table, job.method, job.plan.seed)
    fitted = _refit(model, samples, table, learned)
    fitted.shape = loaded.x.shape
    missing = np.flatnonzero(loaded.y < 0)
    if len(missing):
        said = torch.from_numpy(fitted.probs(own.take(samples, missing))).float()
        learned.probs[missing] = learned.given_probs[missing] = said
        learned.suggested[missing] = said.argmax(1).to(prediction_type(len(loaded.classes))).long()
    return learned_outcome(job, loaded, folder, learned, model=fitted, before=before, began=began)


def _refit(model: Any, samples: Any, table: Table, learned: Learned) -> own.Fitted:
    """The model on the labels as they are judged; copies of one label count once, as they do in ``learn``."""
    small, place = table.distinct()
    rows = np.arange(len(table.given)) if place is None else Table.standing(place).numpy()
    given, likeliest = small.given.numpy(), learned.probs.argmax(1).numpy()[rows]
    return own.refit(
        model,
        samples if place is None else own.take(samples, rows),
        given,
        np.flatnonzero(judge.kept(given, learned.clean_prob.numpy()[rows], likeliest)),
        classes=table.classes,
        counts=None if small.weight is None else small.weight.numpy(),
    )


def samples_of(x: Any, loaded: Loaded) -> Any:
    """The samples of the rows of loaded data, where a person's decisions have left some out."""
    count = x.shape[0] if hasattr(x, "shape") else len(x)
    if len(loaded.y) == count:
        return x
    place = {name: row for row, name in enumerate(index_names(x) or range(count))}
    return own.take(x, np.array([place[name] for name in loaded.ids]))
