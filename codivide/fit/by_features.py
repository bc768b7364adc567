"""The way of an automatic run that trains no network: rows of numbers, and photos that become such rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from codivide.core.errors import either
from codivide.data import encode
from codivide.data.columns import Columns
from codivide.data.levels import range_of
from codivide.data.loaded import Loaded
from codivide.data.pretrained import BESIDE_PIXELS
from codivide.fit import execute as stages
from codivide.fit import feature_run, tuning
from codivide.fit.budget import Budget
from codivide.fit.choice import Choice, Decision
from codivide.fit.estimate import AGAIN, MINUTES, duration, features_seconds, of_photos, rounds
from codivide.fit.job import Before, Begin, Job, Outcome, Say, default_plan, name_of
from codivide.methods.auto import Auto
from codivide.methods.features.options import NOT_FOR_FEATURES, Features
from codivide.methods.features.trees import KINDS, pays
from codivide.training.run import Method


def _said_of(name: str) -> str:
    """What an encoder of images gives."""
    pixels = ", and the pixels beside them" if name.endswith(BESIDE_PIXELS) else ""
    return f"encoder {name}: features of a network that was trained on other photos, as it is{pixels}"


def unjudged(method: Method | Features, *reasons: str) -> Choice:
    """A choice that needed no scout."""
    return Choice(Decision(name_of(method), reasons=reasons))


def is_table(job: Job, loaded: Loaded, free: Sequence[str]) -> bool:
    """Rows of features, and nothing is asked for that only a network has: it, its epochs, an accelerator."""
    return len(loaded.x.shape) == 1 and set(free) >= set(NOT_FOR_FEATURES) and not _accelerated(job, loaded)


def _accelerated(job: Job, loaded: Loaded) -> bool:
    """Whether rows were asked to be on an accelerator; where an encoder made them, it is for it, but of a table's."""
    return isinstance(loaded.encoder, Columns | None) and job.plan.device not in ("auto", "cpu")


def wants_features(job: Job, loaded: Loaded, free: Sequence[str]) -> bool:
    """Whether images are to become features first: photos where the choice is open, all where features are asked for.

    Digits of 8 pixels and such are not what encoders have seen: a network learns them.
    """
    if job.source.options.encoder != encode.AUTO or len(loaded.x.shape) == 1:
        return False
    if isinstance(job.method, Features):
        return True
    return isinstance(job.method, Auto) and encode.is_photo(loaded) and set(free) >= set(NOT_FOR_FEATURES)


def network_reason(job: Job, loaded: Loaded, free: Sequence[str]) -> str | None:
    """What was asked for that only a network has, where features would do without; None: nothing, or the network."""
    asked = [name.replace("_", " ") for name in NOT_FOR_FEATURES if name not in free]
    rows = len(loaded.x.shape) == 1
    if rows and _accelerated(job, loaded):
        asked.append(f"device {job.plan.device}")
    if (
        not asked
        or "net" in asked
        or not (rows or (job.source.options.encoder == encode.AUTO and encode.is_photo(loaded)))
    ):
        return None
    without = "no network is needed for rows of numbers" if rows else "photos become features of an encoder"
    return f"a network is trained, for only that has: {', '.join(asked)}; left out, {without}, which is far quicker"


def unseen_reason(job: Job, loaded: Loaded, free: Sequence[str]) -> str | None:
    """Why a network is trained on images of the size of photos, where nobody asked for it; None: it is not so."""
    shape, here = loaded.x.shape, job.source.options.encoder == encode.AUTO and set(free) >= set(NOT_FOR_FEATURES)
    if not here or len(shape) != 3 or min(shape[1:]) < encode.LEAST or encode.is_photo(loaded):
        return None
    if shape[0] not in encode.CHANNELS:
        why = f"an image has {shape[0]} channels, where photos have 1 or 3"
    else:
        low, high = range_of(loaded.x)
        why = f"the values of the images are {low:.3g} to {high:.3g}, where those of photos are 0 to 255, or 0 to 1"
    return (
        f"a network is trained from scratch, since {why}; an encoder of photos is far quicker, and finds more in them"
    )


def encoded(
    job: Job, images: Loaded, before: Before, *, budget: Budget, begin: Begin, say: Say
) -> tuple[Job, Loaded, Before]:
    """The job, its data as features, and what came before: the seconds that the encoder took; its name is recorded.

    Where time may be spent on it, what came before also knows how to go on to the network itself (see ``tuning``).
    """
    began = time.perf_counter()
    encoder = encode.of_photos(images)
    loaded = encode.with_levels(images, encoder)
    options = replace(job.source.options, encoder=encoder)
    say(_said_of(encoder))
    rows, classes = len(loaded.y), len(loaded.classes)

    def foreseen(encoding: float) -> None:
        say(of_photos(rows, classes, encoding, pixels=encoder.endswith(BESIDE_PIXELS)))
        left = budget.left()
        if left is not None and encoding > time.perf_counter() - began + left:
            say(
                f"encoding alone needs about {duration(encoding)}, more than the budget has: it is not cut short, for "
                f"each photo is to be judged; {either('--limit N takes a part of them', 'fewer photos need less')}"
            )

    found = encode.of_images(loaded, options, foreseen)
    seconds = round(time.perf_counter() - began, 2)
    if budget.left() == 0:
        heads = duration(features_seconds(rows, found.x.shape[0], classes, ("linear",)))
        say(
            f"the encoder took {seconds:.0f} s, and nothing is left of the budget; linear heads need about {heads} more"
        )
    tries = isinstance(job.method, Auto) and tuning.is_worth_trying(job, found, budget)
    tune = tuning.Tuner(loaded, budget, begin, say, options.encoding) if tries else None
    job = replace(job, source=replace(job.source, options=options))
    return job, found, replace(before, seconds={"encoding_seconds": seconds}, tune=tune)


def _encoder_reason(loaded: Loaded) -> tuple[str, ...]:
    """Why images are features, for the record."""
    encoder = loaded.encoder
    return () if encoder is None or encoder.takes != "image" else (_said_of(encoder.name),)


def by_features(
    job: Job,
    loaded: Loaded,
    out: Path | None,
    *,
    budget: Budget,
    resume: bool,
    before: Before,
    begin: Begin,
    say: Say,
) -> Outcome:
    """The route for features; the arguments are those of ``choose_run.execute``."""
    features, rows, width = Features(), len(loaded.y), loaded.x.shape[0]
    kinds = feature_run.kinds_of(features, loaded)
    seconds = features_seconds(rows, width, len(loaded.classes), kinds)
    heads = "linear heads, small networks and trees" if set(kinds) & set(KINDS) else "linear heads and small networks"
    reason = f"features: rows of {width} numbers; {heads} need {'seconds' if seconds < MINUTES else 'minutes'}"
    tried = "boosting" in kinds and not pays(rows, len(loaded.classes))  # it may be left out
    spent = f"up to about {duration(AGAIN * seconds)}" if tried else f"about {rounds(seconds)}"
    say(f"{reason}: {spent} on a quiet core")
    plan = replace(default_plan(rows, features, seed=job.plan.seed), epochs=feature_run.rounds_of(features, loaded))
    return stages.execute(
        replace(job, method=features, plan=plan),
        loaded,
        out,
        resume=resume,
        progress=begin("features", plan.epochs),
        deadline=budget.features_end(),
        before=replace(before, choice=unjudged(features, *_encoder_reason(loaded), reason)),
    )
