"""The data of ``codivide fit``, read as its flags say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from codivide.cli.flags import number_or_none
from codivide.core.errors import InputError

if TYPE_CHECKING:
    from codivide.cli.fit_flags import DataFlags, RunFlags, TrainingFlags
    from codivide.data.corrections import Corrections
    from codivide.data.loaded import Loaded
    from codivide.data.options import ReadOptions
    from codivide.data.record import DataRecord
    from codivide.data.source import Part


def inputs(run: RunFlags, data: DataFlags) -> list[str | Path]:
    """All that may be a path to what is read; a column or the name of a network is none that is there."""
    encoder = data.encoder.partition(":")[2]  # hf:FOLDER
    files = (run.source, run.test, data.truth, *(data.corrections or ()), data.annotators, encoder)
    return [given for given in files if given]


def read(
    run: RunFlags, data: DataFlags, training: TrainingFlags, *, progress: bool = True
) -> tuple[Loaded, ReadOptions, Corrections | None]:
    """The data, how they were read, and the decisions of a person."""
    from codivide.fit.budget import patience

    decided = decisions(data)
    options = read_options(data, training.device)
    options = replace(options, progress=progress, patience=patience(run.budget, "--budget", options.patience))
    return _load(run, data, options, training.seed, decided), options, decided


def decisions(data: DataFlags) -> Corrections | None:
    """What a person decided about an earlier run; None where no file of it is given."""
    from codivide.data.corrections import read_all

    return read_all(data.corrections) if data.corrections else None


def read_options(data: DataFlags, device: str) -> ReadOptions:
    """How the data are to be read; InputError where a flag has a value that cannot be."""
    from codivide.data.options import ReadOptions, annotator_options

    if not 0 <= data.cache_limit < 1e6:
        raise InputError(f"--cache-limit {data.cache_limit}: give gigabytes, 0 or more")
    return ReadOptions(
        image_size=data.image_size,
        cache_limit=int(data.cache_limit * 2**30),
        max_bad=data.max_bad,
        augment=data.augment,
        unlabelled=number_or_none(data.unlabelled),
        progress=True,
        encoder=data.encoder,
        device=device,
        **data.options(),
        weight=data.weight,
        merge_labels=data.merge_labels,
        keep_na=data.keep_na,
        group=data.group,
        task=data.task,
        separator=data.separator,
        **annotator_options(data.annotators),
    )


def as_record(run: RunFlags, data: DataFlags, options: ReadOptions) -> DataRecord:
    """What the run is trained on, for its folder."""
    from codivide.data.record import DataRecord

    return DataRecord.of(
        run.source,
        options,
        test=run.test,
        truth=None if data.truth is None else str(data.truth),
        noise=data.noise,
        limit=data.limit,
        labels_per_class=data.labels_per_class,
        class_weight=data.class_weight,
    )


def part_of(data: DataFlags, seed: int) -> Part | None:
    """The samples that are to be read at all; decisions may be on any of them."""
    from codivide.data.source import Part

    return None if data.limit is None or data.corrections else Part(data.limit, seed)


def _load(run: RunFlags, data: DataFlags, options: ReadOptions, seed: int, decided: Corrections | None) -> Loaded:
    """The data, as the flags of an experiment and the decisions of a person change them."""
    from codivide.data import encode, experiment
    from codivide.data.corrections import confirm
    from codivide.data.sources import load_raw
    from codivide.data.weights import of_text, weighted
    from codivide.runs.changed import check_decided

    class_weight = of_text(data.class_weight)
    loaded = load_raw(run.source, options=options, truth=data.truth, part=part_of(data, seed))
    check_decided(data.corrections or (), loaded, run.source, options)
    loaded = experiment.with_test(loaded, run.test, options)
    loaded = experiment.spoil(experiment.part(loaded, data.limit, seed), data.noise, seed)
    loaded = experiment.keep_labels(loaded, data.labels_per_class, seed)
    loaded = loaded if decided is None else confirm(loaded, decided, new_classes=data.new_classes)
    loaded = encode.of_images(loaded, options)  # after what is left out, which needs no features
    return weighted(loaded, class_weight=class_weight)
