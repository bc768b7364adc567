"""``codivide fit``: train on labels that cannot be trusted, and judge them."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codivide.cli import clock, early
from codivide.cli.flags import DATA, OWN, Cluster, TableFlags, hyper_flags, number_or_none, spread
from codivide.cli.output import note, say_data, say_outcome, say_targets
from codivide.core.errors import InputError
from codivide.core.stopping import Stopped
from codivide.core.threads import take
from codivide.fit.budget import seconds
from codivide.fit.progress import Stages, err_console

if TYPE_CHECKING:
    from codivide.data.corrections import Corrections
    from codivide.data.loaded import Loaded
    from codivide.data.options import ReadOptions
    from codivide.data.record import DataRecord
    from codivide.methods.features.options import Features
    from codivide.training.run import Method

LABELS = "Labels"
EXPERIMENT = "Experiments: what is done to the data first"
TRAINING = "Training (a method may have defaults of its own)"
NOT_USABLE = 3  # the exit code of a run that has learned too little


@dataclass(frozen=True, kw_only=True)
class RunFlags:
    """What is run, and where to; each field is an argument or a flag."""

    source: Annotated[
        str,
        typer.Argument(
            help="A folder of images (one sub-folder a class), or a manifest (a table with path,label). A table of "
            "features or texts: .csv, .tsv, .jsonl, .xlsx, .parquet, .npz, ..., sqlite:///FILE?table=NAME. Or a known "
            "set such as digits or cifar10n:worse."
        ),
    ]
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for everything that the run writes.")]
    method: Annotated[
        str, typer.Option(help="How to learn; auto chooses, codivide methods lists all. Of your own: FILE.py:CLASS.")
    ] = "auto"
    budget: Annotated[
        str | None,
        typer.Option(
            help="Time for everything, such as 90s, 10m or 2h; with --method auto.",
            metavar="TIME",
            show_default="no limit",
        ),
    ] = None
    net: Annotated[
        str,
        typer.Option(help="The network to train, such as mlp or timm:NAME; auto chooses. Of your own: FILE.py:NAME."),
    ] = "auto"
    test: Annotated[str | None, typer.Option(help="Test data, in any form that SOURCE has.")] = None
    cluster: Cluster = None
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last epoch in --out.")] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False


@dataclass(frozen=True, kw_only=True)
class DataFlags(TableFlags):
    """How the data are read, and what is done to them first."""

    task: Annotated[
        str,
        typer.Option(
            help="What a label is: classes (one a row), multilabel (several, see --separator; or --label COL,COL,... "
            "of 0 and 1), regression (a number).",
            rich_help_panel=DATA,
        ),
    ] = "classes"
    separator: Annotated[
        str, typer.Option(help="Between several labels of a row (--task multilabel).", rich_help_panel=DATA)
    ] = ";"
    truth: Annotated[
        Path | None,
        typer.Option(
            help="CSV of path,label with true labels of images that are known (of a table: a column true_label). No "
            "method sees them.",
            rich_help_panel=EXPERIMENT,
        ),
    ] = None
    corrections: Annotated[
        list[Path] | None,
        typer.Option(
            help="What a person decided about an earlier run (corrections.csv): decided labels are kept, junk is left "
            "out. Give it again for another person's.",
            metavar="FILE",
            rich_help_panel=LABELS,
        ),
    ] = None
    new_classes: Annotated[
        bool,
        typer.Option("--new-classes", help="Let --corrections name classes that are new.", rich_help_panel=LABELS),
    ] = False
    noise: Annotated[
        str | None,
        typer.Option(
            help="Spoil the labels first, KIND:RATE as in symmetric:0.4. Kinds: symmetric (any class), "
            "symmetric-exclusive (any other), asymmetric (like ones, or the next), pair (the next), instance (by the "
            "sample). Or a .csv or .npy file with a transition matrix (row = true class).",
            rich_help_panel=EXPERIMENT,
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(min=2, help="Use a random part of this many samples.", rich_help_panel=EXPERIMENT),
    ] = None
    labels_per_class: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Hide all but this many labels of every class, after --limit and --noise.",
            rich_help_panel=EXPERIMENT,
        ),
    ] = None
    image_size: Annotated[
        int | None,
        typer.Option(
            min=8,
            help="Side of the images in pixels.",
            show_default="as they are where small and of one size, else 224",
            rich_help_panel=DATA,
        ),
    ] = None
    augment: Annotated[
        str,
        typer.Option(
            help="How training changes samples at random: auto, photo, photo_one, crop, resized_crop, shift, jitter or "
            "none.",
            rich_help_panel=DATA,
        ),
    ] = "auto"
    cache_limit: Annotated[
        float,
        typer.Option(help="GB of decoded images held in memory; more is mapped from disk.", rich_help_panel=DATA),
    ] = 4.0
    max_bad: Annotated[int, typer.Option(min=0, help="Unreadable files that are tolerated.", rich_help_panel=DATA)] = (
        100
    )
    encoder: Annotated[
        str,
        typer.Option(
            help="What turns texts or images into numbers; auto: tfidf:char (words and their parts) for texts, "
            "efficientnet-lite0 for photos where the method is auto or features; none: train a network on pixels; "
            "best: the strongest there is; or tfidf (words alone), minilm, hf:NAME, timm:NAME, or columns for a table.",
            rich_help_panel=DATA,
        ),
    ] = "auto"
    annotators: Annotated[
        str | None,
        typer.Option(
            help="Columns of a table that hold one annotator's labels each (COL,COL,...), or a table with columns "
            "annotator, label and id, path or text.",
            rich_help_panel=LABELS,
        ),
    ] = None
    group: Annotated[
        str | None,
        typer.Option(
            help="The column of a table that says what belongs together, such as patients or videos: no fold divides "
            "them, and it is no feature.",
            rich_help_panel=DATA,
        ),
    ] = None
    weight: Annotated[
        str | None,
        typer.Option(help="The column of a table that holds the samples' weights.", rich_help_panel=DATA),
    ] = None
    class_weight: Annotated[
        str | None,
        typer.Option(
            help="Weigh the classes: balanced (rare ones count as much), or CLASS:WEIGHT,...", rich_help_panel=LABELS
        ),
    ] = None
    unlabelled: Annotated[
        str, typer.Option(help='Number that means "no label"; none: there is none.', rich_help_panel=LABELS)
    ] = "-1"
    merge_labels: Annotated[
        bool,
        typer.Option(
            "--merge-labels",
            help="Labels that differ by case, white space or Unicode form only are one class, the most frequent.",
            rich_help_panel=LABELS,
        ),
    ] = False
    keep_na: Annotated[
        bool,
        typer.Option("--keep-na", help='"nan", "NaN" and "None" are classes, not "no label".', rich_help_panel=LABELS),
    ] = False


@dataclass(frozen=True, kw_only=True)
class TrainingFlags:
    """How a network is trained; the fields of ``Plan`` that are ``ASKED`` are among these."""

    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the data.", show_default="from the size of the data", rich_help_panel=TRAINING),
    ] = None
    batch_size: Annotated[
        int | None, typer.Option(help="Samples in a batch.", show_default="64", rich_help_panel=TRAINING)
    ] = None
    lr: Annotated[
        float | None,
        typer.Option(help="Highest learning rate.", show_default="0.02", rich_help_panel=TRAINING),
    ] = None
    optimizer: Annotated[
        str | None,
        typer.Option(help="How weights are updated: sgd or adamw.", show_default="sgd", rich_help_panel=TRAINING),
    ] = None
    schedule: Annotated[
        str | None,
        typer.Option(
            help="Learning rate over time: constant, step (a tenth from half time on), linear, cosine or one_cycle.",
            show_default="step",
            rich_help_panel=TRAINING,
        ),
    ] = None
    milestones: Annotated[
        str | None,
        typer.Option(
            help="Epochs (N,N,...) at which --schedule step falls, linear begins to fall, or cosine is lowest.",
            show_default="half time of step",
            rich_help_panel=TRAINING,
        ),
    ] = None
    momentum: Annotated[
        float | None, typer.Option(help="Momentum of sgd.", show_default="0.9", rich_help_panel=TRAINING)
    ] = None
    weight_decay: Annotated[
        float | None, typer.Option(help="Pull of weights to 0.", show_default="5e-4", rich_help_panel=TRAINING)
    ] = None
    average: Annotated[
        float | None,
        typer.Option(
            help="Decay of the average of the weights; 0: no average.",
            show_default="chosen with auto and dividemix, else 0",
            rich_help_panel=TRAINING,
        ),
    ] = None
    freeze: Annotated[
        int | None,
        typer.Option(
            help="First epochs in which only the last layer learns.",
            show_default="0",
            rich_help_panel=TRAINING,
        ),
    ] = None
    sub_epoch: Annotated[
        int | None,
        typer.Option(
            help="Samples of an epoch, drawn anew with as many of every class; 0: all.",
            show_default="0",
            rich_help_panel=TRAINING,
        ),
    ] = None
    dropout: Annotated[float, typer.Option(help="Dropout before the last layer.", rich_help_panel=TRAINING)] = 0.0
    precision: Annotated[str, typer.Option(help="Number format: auto, bf16 or fp32.", rich_help_panel=TRAINING)] = (
        "auto"
    )
    compile: Annotated[bool, typer.Option("--compile", help="Use torch.compile.", rich_help_panel=TRAINING)] = False
    device: Annotated[
        str, typer.Option(help="Where to train: auto, cpu, cuda, cuda:1, ...", rich_help_panel=TRAINING)
    ] = "auto"
    seed: Annotated[int, typer.Option(help="Seed of everything random.", rich_help_panel=TRAINING)] = 0
    evaluate_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Epochs between evaluations.",
            show_default="1; in runs of over 100 epochs, about 100 evaluations",
            rich_help_panel=TRAINING,
        ),
    ] = None
    record_learning: Annotated[
        bool,
        typer.Option(
            "--record-learning/--no-record-learning",
            help="Record what is learned of the training set over the epochs, at up to 50 of them, for codivide plot.",
            rich_help_panel="Record",
        ),
    ] = True


def fit(run: RunFlags, data: DataFlags, training: TrainingFlags, **hyper_parameters: Any) -> None:
    """Train on SOURCE and judge its labels; writes the model, the judged labels and a record to --out.

    Example: codivide fit photos/ --out run

    Settings of a method: codivide fit --method NAME --help
    """
    held: dict[str, Any] = {"resume": run.resume, "overwrite": run.overwrite, "inputs": _inputs(run, data)}
    early.refuse((run.source, run.test), run.out, run.method, **held)
    from codivide.core.cluster import connected
    from codivide.fit.execute import take_part
    from codivide.fit.followers import follow
    from codivide.training.ranks import joined, restarted

    with joined(training.device) as ranks:
        if ranks.rank and data.task != "classes":
            return  # the first does all: there is no network to train together
        if ranks.rank:
            follow(lambda: _read(run, data, training, progress=False)[0], take_part)
            return
        with connected(run.cluster):
            _fit(replace(run, resume=run.resume or restarted()), data, training, hyper_parameters)


def _fit(run: RunFlags, data: DataFlags, training: TrainingFlags, hyper_parameters: Mapping[str, Any]) -> None:
    """``fit`` in the only process, or the first."""
    if data.task != "classes":
        _fit_targets(run, data, training, hyper_parameters)
        return
    from codivide.fit.choose_run import execute
    from codivide.fit.followers import led
    from codivide.fit.job import Job, default_plan, name_of
    from codivide.fit.verdict import TOO_LITTLE
    from codivide.methods.features.options import Features, refuse, unset
    from codivide.runs.claim import claimed
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
    with claimed(run.out, resume=run.resume, overwrite=run.overwrite, inputs=_inputs(run, data)):
        loaded, options, decided = _read(run, data, training)
        job = Job(
            method,
            default_plan(len(loaded.y), method, **planned),
            net,
            training.dropout,
            _record(run, data, options),
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
            err_console.print("stopped; to go on from the last whole epoch, run the same command with --resume")
            raise typer.Exit(getattr(stopped, "code", 130)) from None
        say_outcome(outcome.summary, run.out, time.monotonic() - began, chosen=data.encoder != "auto")
    if outcome.summary.get("verdict") == TOO_LITTLE:
        raise typer.Exit(NOT_USABLE)


#: Flags that numbers and several labels a row have; any other that is set is refused.
OF_TARGETS = {item.name for item in fields(TableFlags)} | {
    *("source", "out", "test", "cluster", "overwrite", "task", "separator", "corrections", "limit", "device", "seed"),
    *("image_size", "cache_limit", "max_bad", "encoder", "group", "weight", "merge_labels", "keep_na"),
}


def _fit_targets(run: RunFlags, data: DataFlags, training: TrainingFlags, hyper_parameters: Mapping[str, Any]) -> None:
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
    with claimed(run.out, overwrite=run.overwrite, inputs=_inputs(run, data)):
        options, seed = _options(data, training.device), training.seed
        decided = _decided(data)
        loaded = load_targets(run.source, None, options)
        check_decided(data.corrections or (), loaded, run.source)
        loaded = part(targets.with_test_part(loaded, run.test, options), data.limit, seed)
        loaded = weighted(loaded if decided is None else confirm_targets(loaded, decided, options))
        say_data(loaded, task=data.task)
        method, record = Features(), {} if decided is None else decided.record()
        plan = default_plan(len(loaded.y), method, seed=seed)
        job = Job(method, plan, source=_record(run, data, options), corrections=record)
        outcome = targets.execute_targets(job, loaded, run.out)
        say_targets(outcome.summary, run.out, time.monotonic() - began)


def _decided(data: DataFlags) -> Corrections | None:
    from codivide.data.corrections import read_all

    return read_all(data.corrections) if data.corrections else None


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


def _inputs(run: RunFlags, data: DataFlags) -> list[str | Path]:
    """All that may be a path to what is read; a column or the name of a network is none that is there."""
    encoder = data.encoder.partition(":")[2]  # hf:FOLDER
    files = (run.source, run.test, data.truth, *(data.corrections or ()), data.annotators, encoder)
    return [given for given in files if given]


def _read(
    run: RunFlags, data: DataFlags, training: TrainingFlags, *, progress: bool = True
) -> tuple[Loaded, ReadOptions, Corrections | None]:
    """The data, how they were read, and the decisions of a person."""
    decided = _decided(data)
    options = replace(_options(data, training.device), progress=progress)
    return _load(run, data, options, training.seed, decided), options, decided


def _options(data: DataFlags, device: str) -> ReadOptions:
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


def _epochs(text: str | None) -> tuple[int, ...] | None:
    """The numbers of ``--milestones``."""
    try:
        return None if text is None else tuple(int(word) for word in text.split(","))
    except ValueError:
        raise InputError(f"--milestones {text}: give epochs with commas, such as 80,120") from None


def _load(run: RunFlags, data: DataFlags, options: ReadOptions, seed: int, decided: Corrections | None) -> Loaded:
    """The data, as the flags of an experiment and the decisions of a person change them."""
    from codivide.data import encode, experiment
    from codivide.data.corrections import confirm
    from codivide.data.sources import load_raw
    from codivide.data.weights import of_text, weighted
    from codivide.runs.changed import check_decided

    class_weight = of_text(data.class_weight)
    loaded = load_raw(run.source, options=options, truth=data.truth)
    check_decided(data.corrections or (), loaded, run.source)
    loaded = experiment.with_test(loaded, run.test, options)
    loaded = experiment.spoil(experiment.part(loaded, data.limit, seed), data.noise, seed)
    loaded = experiment.keep_labels(loaded, data.labels_per_class, seed)
    loaded = loaded if decided is None else confirm(loaded, decided, new_classes=data.new_classes)
    loaded = encode.of_images(loaded, options)  # after what is left out, which needs no features
    return weighted(loaded, class_weight=class_weight)


def _record(run: RunFlags, data: DataFlags, options: ReadOptions) -> DataRecord:
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


def method_flags(arguments: Sequence[str]) -> list[inspect.Parameter]:
    """One flag for every hyper-parameter of the method that the arguments name.

    They need torch, which takes seconds to load. So there are none where no flag but those of ``fit`` itself can be
    one, or one that is misspelled, which lets an unknown flag be refused at once; nor where help is asked for without
    naming a method. Of a method in a file of the user's own any flag may be one.
    """
    words = [word.partition("=")[0] for word in arguments]
    method = RunFlags.method
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word == "--method":
            method = following
        elif word.startswith("--method="):
            method = word.partition("=")[2]
    own = {"--" + name.replace("_", "-") for name in inspect.signature(spread(fit)).parameters}
    more = {word.removeprefix("--").removeprefix("no-") for word in words if word.startswith("--") and word not in own}
    helping = not {"-h", "--help"}.isdisjoint(words)
    possible = _possible_flags() if more else set()
    if (
        not any(get_close_matches(word, possible, n=1, cutoff=0.8) for word in more)
        and not (helping and "--method" in words)
        and not (more and ".py:" in method)
    ):
        return []
    from codivide.core.own_files import is_in_file
    from codivide.fit.own_method import method_class
    from codivide.methods import METHODS

    # `fit` itself refuses an unknown one; a setting of DivideMix says that it is to be trained
    named = {method: method_class(method) if is_in_file(method) else METHODS.get(method, METHODS["cross_entropy"])}
    if method == "auto":
        named["dividemix (one of these chooses it; what is auto is set from the data)"] = METHODS["dividemix"]
    panels = {f"Hyper-parameters of {name}": cls for name, cls in named.items()}
    return [flag for panel, cls in panels.items() for flag in hyper_flags(cls, panel, TAKEN)]


def _possible_flags() -> set[str]:
    """What a hyper-parameter's flag may be called: all annotated names in the files of the methods, read as text."""
    files = (Path(__file__).parents[1] / "methods").rglob("*.py")
    found = {
        name for file in files for name in re.findall(r"^    (\w+): ", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    return {name.replace("_", "-") for name in found | {OWN + name for name in found}}


#: Names that a hyper-parameter's flag cannot have.
TAKEN = frozenset(item.name for flags in (RunFlags, DataFlags, TrainingFlags) for item in fields(flags)) - {"budget"}
