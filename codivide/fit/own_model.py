"""A run with a model of the user's own in the place of codivide's heads."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from codivide.core.errors import InputError
from codivide.data.label_remarks import warn_about_labels
from codivide.data.loaded import Loaded
from codivide.data.options import ReadOptions
from codivide.data.sources import load
from codivide.fit.execute import learned_outcome, table_of
from codivide.fit.job import Before, Job, Outcome
from codivide.fit.resume import identity
from codivide.methods.features import own
from codivide.methods.features.learn import learn
from codivide.methods.features.own import OwnModel
from codivide.noise.learning_curves import prediction_type
from codivide.runs.folder import RunFolder


def load_for(x: Any, y: Any, options: ReadOptions) -> tuple[Loaded, Any]:
    """The data as codivide compares them, and the samples as the model takes them.

    Raises:
        InputError: a file or a data set, which has no samples in memory, or labels that cannot be read.
    """
    if isinstance(x, str | Path):
        raise InputError("with model=..., X and y must be in memory: read the table first (pandas.read_csv)")
    if y is None:
        raise InputError("codivide requires y to be passed, but the target y is None: pass one label a row.")
    if sparse.issparse(x):
        x = x.tocsr()
    elif not isinstance(x, pd.DataFrame | pd.Series | list):
        x = np.asarray(x)
    compared = x
    if isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype.kind == "f" and np.isnan(x).any():
        compared = pd.DataFrame(x)  # a model may take gaps; what is compared is filled in
    return load(compared, y, options=options), x


def execute_own(job: Job, loaded: Loaded, model: Any, samples: Any, out: Path | None) -> Outcome:
    """Cross-fit the model, judge the labels, and fit it on those that are kept.

    Args:
        job: with the method ``OwnModel`` and a seed.
        loaded: the data.
        model: the user's.
        samples: one for each row of ``loaded``, as the model takes them.
        out: a folder that is claimed; None: nothing is written.

    Raises:
        InputError: the model is no classifier, or the data do not suit the job.
    """
    assert isinstance(job.method, OwnModel)
    own.check_model(model)
    warn_about_labels(loaded, job.method.folds)
    if len(loaded.x.shape) != 1:
        raise InputError(f"with model=..., X must be a table or texts, not images of shape {loaded.x.shape}")
    before = Before(asked=None if out is None else identity(job, loaded))
    folder = None if out is None else RunFolder(out, {}, resume=False)
    began = time.perf_counter()
    cross = own.crossing(model, samples, loaded.y, loaded.classes)
    learned = learn(table_of(loaded, cross), job.method, job.plan.seed)
    fitted = own.refit(model, samples, loaded.y, learned.clean_prob.numpy(), loaded.classes)
    fitted.shape = loaded.x.shape
    missing = np.flatnonzero(loaded.y < 0)
    if len(missing):
        said = torch.from_numpy(fitted.probs(own.take(samples, missing))).float()
        learned.probs[missing] = learned.given_probs[missing] = said
        learned.suggested[missing] = said.argmax(1).to(prediction_type(len(loaded.classes))).long()
    return learned_outcome(job, loaded, folder, learned, model=fitted, before=before, began=began)


def samples_of(x: Any, loaded: Loaded) -> Any:
    """The samples of the rows of loaded data, where a person's decisions have left some out."""
    count = x.shape[0] if hasattr(x, "shape") else len(x)
    if len(loaded.y) == count:
        return x
    place = {name: row for row, name in enumerate(x.index)} if isinstance(x, pd.DataFrame) else {}
    return own.take(x, np.array([name if isinstance(name, int) else place[name] for name in loaded.ids]))
