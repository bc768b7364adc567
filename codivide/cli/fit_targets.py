"""``codivide fit`` of numbers, or of several labels a row."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from codivide.cli import clock
from codivide.cli.fit_data import as_record, decisions, inputs, part_of, read_options
from codivide.cli.fit_flags import DataFlags, RunFlags, TrainingFlags
from codivide.cli.flags import TableFlags
from codivide.cli.output import note, say_data, say_targets
from codivide.core.threads import take

#: Flags that numbers and several labels a row have; any other that is set is refused.
OF_TARGETS = {item.name for item in fields(TableFlags)} | {
    *("source", "out", "test", "cluster", "overwrite", "task", "separator", "corrections", "limit", "device", "seed"),
    *("image_size", "cache_limit", "max_bad", "encoder", "group", "weight", "merge_labels", "keep_na"),
}


def fit_targets(run: RunFlags, data: DataFlags, training: TrainingFlags, hyper_parameters: Mapping[str, Any]) -> None:
    """``fit`` of numbers, or of several labels a row."""
    from codivide.audit.target_judging import check_task, load_targets
    from codivide.data.experiment import part
    from codivide.data.target_decisions import confirm_targets
    from codivide.data.weights import weighted
    from codivide.fit import targets
    from codivide.fit.job import Job, default_plan
    from codivide.methods.features.options import Features
    from codivide.runs.changed import check_decided
    from codivide.runs.claim import claimed

    began = clock.began()
    check_task(data.task)
    asked = {
        item.name: getattr(flags, item.name)
        for flags in (run, data, training)
        for item in fields(flags)
        if item.name not in OF_TARGETS and getattr(flags, item.name) != item.default
    }
    asked |= {name: value for name, value in hyper_parameters.items() if value is not None}
    if asked.get("method") == "features":  # what they have
        del asked["method"]
    if data.task == "regression" and data.separator != DataFlags.separator:
        asked["separator"] = data.separator
    targets.refuse(data.task, asked)
    if said := take(None):
        note(said)
    with claimed(run.out, overwrite=run.overwrite, inputs=inputs(run, data)):
        options, seed = read_options(data, training.device), training.seed
        decided = decisions(data)
        loaded = load_targets(run.source, None, options, part_of(data, seed))
        check_decided(data.corrections or (), loaded, run.source, options)
        loaded = part(targets.with_test_part(loaded, run.test, options), data.limit, seed)
        loaded = weighted(loaded if decided is None else confirm_targets(loaded, decided, options))
        say_data(loaded, task=data.task)
        method, record = Features(), {} if decided is None else decided.record()
        plan = default_plan(len(loaded.y), method, seed=seed)
        job = Job(method, plan, source=as_record(run, data, options), corrections=record)
        outcome = targets.execute_targets(job, loaded, run.out)
        say_targets(outcome.summary, run.out, time.monotonic() - began)
