"""``codivide fit``: train on labels that cannot be trusted, and judge them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from codivide.cli import clock, early
from codivide.cli.fit_data import as_record, inputs, read
from codivide.cli.fit_flags import DataFlags, RunFlags, TrainingFlags
from codivide.cli.fit_targets import fit_targets
from codivide.cli.method_flags import OWN
from codivide.cli.output import note, say_data, say_outcome
from codivide.core.errors import InputError
from codivide.core.stopping import Stopped
from codivide.core.threads import take
from codivide.fit.budget import seconds
from codivide.fit.progress import Stages, err_console

if TYPE_CHECKING:
    from codivide.methods.features.options import Features
    from codivide.training.run import Method

NOT_USABLE = 3  # the exit code of a run that has learned too little


def fit(run: RunFlags, data: DataFlags, training: TrainingFlags, **hyper_parameters: Any) -> None:
    """Train on SOURCE and judge its labels; writes the model, the judged labels and a record to --out.

    Example: codivide fit photos/ --out run

    Settings of a method: codivide fit --method NAME --help
    """
    names: dict[str, Any] = {"method": run.method, "net": run.net, "encoder": data.encoder}
    held: dict[str, Any] = {"resume": run.resume, "overwrite": run.overwrite, "inputs": inputs(run, data)}
    early.refuse((run.source, run.test), run.out, **names, **held)
    from codivide.core.cluster import connected
    from codivide.fit.execute import take_part
    from codivide.fit.followers import follow
    from codivide.training.ranks import joined, restarted

    with joined(training.device) as ranks:
        if ranks.rank and data.task != "classes":
            return  # the first does all: there is no network to train together
        if ranks.rank:
            follow(lambda: read(run, data, training, progress=False)[0], take_part)
            return
        with connected(run.cluster):
            _fit(replace(run, resume=run.resume or restarted()), data, training, hyper_parameters)


def _fit(run: RunFlags, data: DataFlags, training: TrainingFlags, hyper_parameters: Mapping[str, Any]) -> None:
    """``fit`` in the only process, or the first."""
    if data.task != "classes":
        fit_targets(run, data, training, hyper_parameters)
        return
    from codivide.fit.choose_run import execute
    from codivide.fit.followers import led
    from codivide.fit.job import Job, default_plan, name_of
    from codivide.methods.features.options import Features, refuse, unset
    from codivide.runs.claim import claimed
    from codivide.runs.folder import TOO_LITTLE
    from codivide.training.own_net import as_net
    from codivide.training.plan import ASKED

    began = clock.began()
    if said := take(_recorded_threads(run)):
        note(said)
    method = _method(run, hyper_parameters)
    planned = {name: getattr(training, name) for name in ASKED} | {"milestones": _epochs(training.milestones)}
    asked = planned | {
        "net": run.net,
        "dropout": training.dropout,
        "augment": data.augment,
        "evaluate_every": training.evaluate_every,
    }
    if isinstance(method, Features):
        refuse(asked)
    net = as_net(run.net)  # a file that is not there, and a bad value, show before the data are read
    default_plan(1, method, **planned)
    with claimed(run.out, resume=run.resume, overwrite=run.overwrite, inputs=inputs(run, data)):
        loaded, options, decided = read(run, data, training)
        job = Job(
            method,
            default_plan(len(loaded.y), method, **planned),
            net,
            training.dropout,
            as_record(run, data, options),
            evaluate_every=training.evaluate_every,
            record_learning=training.record_learning,
            corrections=decided.record() if decided is not None else {},
        )
        say_data(loaded)
        try:
            with led(loaded), Stages(name_of(job.method)) as stages:
                outcome = execute(
                    job,
                    loaded,
                    run.out,
                    free=unset(asked),
                    resume=run.resume,
                    begin=stages.begin,
                    say=stages.say,
                    began=began,
                )
        except (KeyboardInterrupt, Stopped) as stopped:
            err_console.print(_said_of_a_stop(run.out))
            raise typer.Exit(getattr(stopped, "code", 130)) from None
        say_outcome(outcome.summary, run.out, time.monotonic() - began, chosen=data.encoder != "auto")
    if outcome.summary.get("verdict") == TOO_LITTLE:
        raise typer.Exit(NOT_USABLE)


def _said_of_a_stop(out: Path) -> str:
    """How to go on; of a route without epochs nothing is kept before its end."""
    from codivide.core.files import is_present
    from codivide.runs.folder import METRICS, SUMMARY

    if not is_present(out / SUMMARY) and any(out.rglob(METRICS)):
        return "stopped; to go on from the last whole epoch, run the same command with --resume"
    return "stopped; nothing is kept yet, and the same command begins anew"


def _recorded_threads(run: RunFlags) -> int | None:
    """Of a run that is gone on with: with another number its numbers would differ in the last bits."""
    from codivide.core.files import is_present, read_json
    from codivide.runs.folder import CONFIG, SCOUT

    if run.resume:
        for path in (run.out / CONFIG, run.out / SCOUT / CONFIG):
            if is_present(path) and isinstance(threads := read_json(path).get("threads"), int) and threads > 0:
                return threads
    return None


def _method(run: RunFlags, hyper_parameters: Mapping[str, Any]) -> Method | Features:
    """The method with the hyper-parameters that were given; with auto, a setting of DivideMix chooses that."""
    from codivide.fit.job import build_method
    from codivide.methods.auto import Auto

    name = run.method
    hyper = {key.removeprefix(OWN): value for key, value in hyper_parameters.items() if value is not None}
    if name == "auto" and hyper.keys() - {item.name for item in fields(Auto)}:
        name = "dividemix"  # its settings are shown with auto's; who gives one has chosen it
        if "validation" in hyper:
            raise InputError("--validation needs --method auto without settings of DivideMix, which has no comparison")
    if run.budget is not None:
        if name != "auto":
            raise InputError("--budget needs --method auto without settings of DivideMix, to choose what fits into it")
        hyper["budget"] = seconds(run.budget, "--budget")
    return build_method(name, **hyper)


def _epochs(text: str | None) -> tuple[int, ...] | None:
    """The numbers of ``--milestones``."""
    try:
        return None if text is None else tuple(int(word) for word in text.split(","))
    except ValueError:
        raise InputError(f"--milestones {text}: give epochs with commas, such as 80,120") from None
