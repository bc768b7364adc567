"""What a run is known by, and what ``--resume`` finds in a folder: another run, the same one, or its end."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from codivide.core.errors import InputError, anew
from codivide.core.files import is_present, read_json
from codivide.core.version import VERSION
from codivide.data import encode
from codivide.data.fingerprint import fingerprint
from codivide.data.loaded import Loaded
from codivide.data.own import Own
from codivide.fit.job import Job, Outcome, name_of
from codivide.fit.own_method import code_of
from codivide.methods.auto import Auto
from codivide.methods.features.options import Features
from codivide.noise.evidence import Evidence
from codivide.runs.folder import CONFIG, IDENTITY, MODEL, PREDICTIONS, SCOUT, SUMMARY, SavedRun
from codivide.runs.model import load
from codivide.training.own_net import OwnNet
from codivide.training.own_net import code_of as code_of_net


def identity(job: Job, loaded: Loaded, free: Sequence[str] = ()) -> dict[str, Any]:
    """What two runs must share to be the same, as JSON values by a name that an error message can say.

    The device is not among it, nor where the data lie: what they are counts.

    Args:
        job: as it was asked for, before anything is chosen.
        loaded: the data.
        free: as for ``choose_run.execute``; it counts only where something is to be chosen.
    """
    chooses = not isinstance(job.method, Features) and (isinstance(job.method, Auto) or job.method.unsettled())
    found = {
        "version": VERSION,
        "method": name_of(job.method),
        **code_of(type(job.method)),
        **{f"method.{name}": value for name, value in asdict(job.method).items()},
        **{f"plan.{name}": value for name, value in asdict(job.plan).items() if name != "device"},
        "net": str(job.net),
        **code_of_net(job.net),
        "dropout": job.dropout,
        "evaluate_every": job.evaluate_every,
        "record_learning": job.record_learning,
        "options left open": sorted(free) if chooses else [],
        "augment": job.augment(loaded),
        "encoder": _encoder(job, loaded),
        "columns": loaded.columns,
        **fingerprint(loaded),
    }
    known: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return known


def _encoder(job: Job, loaded: Loaded) -> str | None:
    """What makes the features: by name, "none" where a network on pixels was asked for, None where that is open."""
    if isinstance(loaded.encoder, Own) and (check := loaded.encoder.check()) is not None:
        return f"{loaded.encoder.name} {check}"
    if loaded.encoder is not None:
        return loaded.encoder.name
    asked = job.source.options.encoder
    return str(asked) if asked == encode.NONE and len(loaded.x.shape) > 1 else None


def check_same(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """InputError that names the first difference between the run of a file and the run to be made."""
    for name in [*ours, *(theirs.keys() - ours.keys())]:
        if theirs.get(name) != ours.get(name):
            was, now = theirs.get(name), ours.get(name)
            hashed = _is_hash(was) or _is_hash(now)
            said = f"they differ in {name}" if hashed else f"{name} is {_short(was)} there and {_short(now)} now"
            raise InputError(
                f"{path} belongs to another run: {said}; use the same settings and data to resume, or {anew()}"
            )


def _is_hash(value: Any) -> bool:
    """Whether a value stands for data or code, and tells a person nothing."""
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{16,}( [0-9a-f]{16,})*", value) is not None


def _short(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 200 else text[:200] + " ..."


def seed_of(out: Path) -> int | None:
    """The seed of the run that a folder holds, or of the short run with which it began; None: there is no run yet."""
    for path in (out / CONFIG, out / SCOUT / CONFIG):
        if is_present(path):
            known = read_json(path).get(IDENTITY)
            return known.get("plan.seed") if isinstance(known, dict) else None
    return None


def is_finished(out: Path, ours: Mapping[str, Any]) -> bool:
    """Whether a folder that is gone on with holds the finished run that is asked for; False: it has no end yet.

    Raises:
        InputError: it holds another run.
    """
    path = out / CONFIG
    if not is_present(path):
        return False
    theirs = read_json(path).get(IDENTITY)
    if not isinstance(theirs, dict):
        raise InputError(
            f"{path} does not say what its run is known by (another version of codivide wrote it?); {anew()}"
        )
    check_same(path, theirs, ours)
    return is_present(out / SUMMARY)


def outcome_of(out: Path, loaded: Loaded, net: str | OwnNet = "auto") -> Outcome:
    """The outcome of a finished run on these data, from its folder; ``net`` is that of the job.

    Raises:
        InputError: a file is missing or damaged.
    """
    saved = SavedRun(out)
    evidence = Evidence(loaded.y, np.full(len(loaded.y), np.nan, dtype=np.float32))
    if is_present(out / PREDICTIONS):
        evidence = Evidence.from_arrays(saved.predictions)
    model = load(out / MODEL, net=net if isinstance(net, OwnNet) else None)
    if isinstance(loaded.encoder, Own):  # no file holds it
        model.encoder = loaded.encoder
    return Outcome(None, saved.rows, model, saved.labels, saved.summary, evidence, saved.test_labels)
