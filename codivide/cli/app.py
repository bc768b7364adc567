"""The command line: ``codivide fit | predict | audit | clean | serve | plot | noise | methods | demo | bench``.

Nothing here imports torch before a command needs it, so that ``codivide --help`` is instant.
"""

from __future__ import annotations

import ctypes
import errno
import inspect
import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import fields
from os.path import relpath
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from codivide.cli.audit import audit
from codivide.cli.bench import app as bench
from codivide.cli.clean import clean, serve
from codivide.cli.flags import described, flags, number_or_none, seconds
from codivide.cli.output import rich_table, say_data, say_noise, say_outcome
from codivide.cli.progress import Display, Stages, err_console, out_console, plain_warnings
from codivide.core.errors import InputError
from codivide.core.version import VERSION

TRAINING = "Training (in brackets: the default, where the method has no other)"
DATA = "Data"
PLAN_FLAGS = {  # flags of `fit` that are fields of the plan
    "epochs", "batch_size", "optimizer", "lr", "weight_decay", "schedule", "average", "freeze", "precision", "compile",
    "device", "seed",
}  # fmt: skip


def fit(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder of images (one sub-folder a class), a manifest (.csv or .parquet with path,label), a "
            "table of features or texts (.csv, .parquet, .npz), or a known set such as digits or cifar10n:worse."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for everything that the run writes.")],
    method: Annotated[str, typer.Option(help="See `codivide methods`; auto chooses.")] = "auto",
    budget: Annotated[
        str | None, typer.Option(help="Time for everything, such as 90s, 10m or 2h (with --method auto).")
    ] = None,
    net: Annotated[str, typer.Option(help="Network; auto chooses by data and device.")] = "auto",
    test: Annotated[str | None, typer.Option(help="Test data (same forms as SOURCE).")] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="CSV of path,label with true labels that are known, for the record only.", rich_help_panel=DATA
        ),
    ] = None,
    corrections: Annotated[
        Path | None,
        typer.Option(
            help="corrections.csv of a person who went through an earlier run: confirmed labels are pinned, junk is "
            "left out.",
            rich_help_panel=DATA,
        ),
    ] = None,
    new_classes: Annotated[
        bool,
        typer.Option("--new-classes", help="Let --corrections name classes that are new.", rich_help_panel=DATA),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last epoch in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    epochs: Annotated[
        int | None, typer.Option(help="Passes (default: from the size of the data).", rich_help_panel=TRAINING)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples in a batch (64).", rich_help_panel=TRAINING)] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate (0.02).", rich_help_panel=TRAINING)] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd or adamw (sgd).", rich_help_panel=TRAINING)] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="constant, step (a tenth from half time), linear, cosine, one_cycle (step).",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Weight decay (5e-4).", rich_help_panel=TRAINING)] = None,
    average: Annotated[
        float | None,
        typer.Option(
            help="Decay of the weight average; 0: none (chosen with auto and DivideMix, else 0).",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    freeze: Annotated[
        int | None,
        typer.Option(help="First epochs in which only the last layer learns (0).", rich_help_panel=TRAINING),
    ] = None,
    dropout: Annotated[float, typer.Option(help="Before the last layer.", rich_help_panel=TRAINING)] = 0.0,
    precision: Annotated[str, typer.Option(help="auto, bf16 or fp32.", rich_help_panel=TRAINING)] = "auto",
    compile: Annotated[bool, typer.Option("--compile", help="Use torch.compile.", rich_help_panel=TRAINING)] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...", rich_help_panel=TRAINING)] = "auto",
    seed: Annotated[int, typer.Option(help="Of everything random.", rich_help_panel=TRAINING)] = 0,
    evaluate_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Epochs between evaluations (default: 1; in runs of over 100 epochs, about 100 evaluations).",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    record_learning: Annotated[
        bool,
        typer.Option(
            "--record-learning/--no-record-learning",
            help="Record what is learned of the training set over the epochs, at up to 50 of them (for `plot`).",
            rich_help_panel=TRAINING,
        ),
    ] = True,
    noise: Annotated[
        str | None,
        typer.Option(
            help="Spoil the labels first, for experiments: symmetric:0.4, asymmetric:0.4, ...",
            rich_help_panel=DATA,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=2, help="Use a random part of this many samples, for experiments.", rich_help_panel=DATA),
    ] = None,
    labels_per_class: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Hide all but this many labels of every class, after --limit and --noise, for experiments.",
            rich_help_panel=DATA,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=8, help="Side in pixels (default: as is where small and equal, else 224).", rich_help_panel=DATA
        ),
    ] = None,
    augment: Annotated[str, typer.Option(help="auto, photo, shift, jitter or none.", rich_help_panel=DATA)] = "auto",
    cache_limit: Annotated[
        float,
        typer.Option(help="GB of decoded images held in memory; more is mapped from disk.", rich_help_panel=DATA),
    ] = 4.0,
    max_bad: Annotated[
        int, typer.Option(min=0, help="Unreadable files that are tolerated.", rich_help_panel=DATA)
    ] = 100,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Makes features of texts or images: tfidf (texts, the default), tfidf:char, minilm, hf:NAME, "
            "efficientnet-lite0, timm:NAME.",
            rich_help_panel=DATA,
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="The column of a table that holds the labels (label).", rich_help_panel=DATA),
    ] = None,
    annotators: Annotated[
        str | None,
        typer.Option(
            help="Columns of a table that hold one annotator's labels each (COL,COL,...), or a table with columns "
            "annotator, label and id, path or text.",
            rich_help_panel=DATA,
        ),
    ] = None,
    unlabelled: Annotated[
        str, typer.Option(help='Number that means "no label"; none: there is none.', rich_help_panel=DATA)
    ] = "-1",
    **hyper_parameters: Any,
) -> None:
    """Train on SOURCE and judge its labels: writes model, label table and record to --out."""
    given = locals()
    _tune_allocator()
    from codivide.data import experiment
    from codivide.data.corrections import confirm, read
    from codivide.data.options import ReadOptions, annotator_options
    from codivide.data.record import DataRecord
    from codivide.data.sources import load
    from codivide.fit.choose_run import execute
    from codivide.fit.job import Job, build_method, default_plan
    from codivide.methods.auto import Auto
    from codivide.methods.features.options import NOT_FOR_FEATURES, Features, refuse, unset
    from codivide.runs.folder import check_folder

    hyper = {name: value for name, value in hyper_parameters.items() if value is not None}
    if method == "auto" and hyper.keys() - {item.name for item in fields(Auto)}:
        method = "dividemix"  # its settings are shown with auto's; who gives one has chosen it
        if "validation" in hyper:
            raise InputError("--validation needs --method auto without settings of DivideMix, which has no comparison")
    if budget is not None:
        if method != "auto":
            raise InputError("--budget needs --method auto without settings of DivideMix, to choose what fits into it")
        hyper["budget"] = seconds(budget)
    job_method = build_method(method, **hyper)
    if isinstance(job_method, Features):
        refuse({name: given[name] for name in NOT_FOR_FEATURES})
    default_plan(
        1, job_method, **{name: given[name] for name in PLAN_FLAGS}
    )  # a bad value shows before the data are read
    check_folder(out, resume=resume, overwrite=overwrite)
    decided = read(corrections) if corrections is not None else None
    if not 0 <= cache_limit < 1e6:
        raise InputError(f"--cache-limit {cache_limit}: give gigabytes, 0 or more")
    options = ReadOptions(
        image_size=image_size,
        cache_limit=int(cache_limit * 2**30),
        max_bad=max_bad,
        augment=augment,
        unlabelled=number_or_none(unlabelled),
        progress=True,
        encoder=encoder,
        device=device,
        label=label or "label",
        **annotator_options(annotators),
    )
    loaded = load(source, options=options, truth=truth)
    loaded = experiment.with_test(loaded, test, options)
    loaded = experiment.spoil(experiment.part(loaded, limit, seed), noise, seed)
    loaded = experiment.keep_labels(loaded, labels_per_class, seed)
    if decided is not None:
        loaded = confirm(loaded, decided, new_classes=new_classes)
    plan = default_plan(len(loaded.y), job_method, **{name: given[name] for name in PLAN_FLAGS})
    described = DataRecord.of(
        source,
        options,
        test=test,
        truth=None if truth is None else str(truth),
        noise=noise,
        limit=limit,
        labels_per_class=labels_per_class,
    )
    record = decided.record() if decided is not None else {}
    job = Job(job_method, plan, net, dropout, described, evaluate_every, record_learning, record)
    say_data(loaded)
    try:
        with Stages() as stages:
            outcome = execute(job, loaded, out, free=unset(given), resume=resume, begin=stages.begin, say=stages.say)
    except KeyboardInterrupt:
        err_console.print("stopped; to go on from the last whole epoch, run the same command with --resume")
        raise typer.Exit(130) from None
    say_outcome(outcome.summary, out)


def predict(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    files: Annotated[
        list[str], typer.Argument(help="Image files, folders of images, or a table of features or texts.")
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a CSV here instead of printing.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Classify new data with the model of a run; nothing else of the training is needed."""
    import numpy as np
    import pandas as pd

    from codivide.core.device import resolve_device
    from codivide.core.files import atomic
    from codivide.data.options import ReadOptions
    from codivide.data.sources import read_inputs
    from codivide.runs.folder import MODEL
    from codivide.runs.model import load as load_model

    _check_new_file(out)
    model = load_model(run / MODEL if run.is_dir() else run, resolve_device(device))
    source: Any = files[0] if len(files) == 1 else [Path(name) for name in files]
    options = ReadOptions(progress=True, device=device)
    rows, ids, skipped = read_inputs(source, model.shape, model.dtype, options, model.encoder, columns=model.columns)
    for item in skipped:
        err_console.print(f"skipped {escape(item.path)}: {escape(item.reason)}", soft_wrap=True)
    if not len(rows):
        raise InputError("none of the files could be read")
    probs = model.probs(rows)
    best = probs.argmax(1)
    labels = [model.classes[i] for i in best]
    table = pd.DataFrame({"path": list(ids), "label": labels, "probability": np.round(probs.max(1), 4)})
    if out is not None:
        with atomic(out) as aside:
            table.to_csv(aside, index=False)
        err_console.print(f"{len(table)} predictions: {out}", soft_wrap=True)
    elif out_console.is_terminal:
        out_console.print(rich_table(table))
    else:
        table.to_csv(sys.stdout, index=False)


def plot(
    run: Annotated[Path, typer.Argument(help="The folder of a run, finished or not.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the pictures (default: RUN).")] = None,
    epochs: Annotated[
        str | None, typer.Option(help="Epochs whose losses are drawn, such as 1,10,50 (default: six of the kept).")
    ] = None,
) -> None:
    """Draw a run: what it learned of clean and wrong labels, its curves, and its losses with their mixture."""
    from codivide.runs.plot import draw

    try:
        chosen = [int(word) for word in epochs.split(",")] if epochs else None
    except ValueError:
        raise InputError(f"--epochs {epochs}: give whole numbers with commas, such as 1,10,50") from None
    written, remarks = draw(run, out, chosen)
    for remark in remarks:
        err_console.print(f"[yellow]note[/] {escape(remark)}", soft_wrap=True, highlight=False)
    for path in written:
        out_console.print(f"written: {path}", soft_wrap=True, highlight=False)


def noise(
    source: Annotated[str, typer.Argument(help="Labelled data, as for fit, or the folder of a finished run.")],
    spec: Annotated[str | None, typer.Argument(help="symmetric:0.4, asymmetric:0.4, pair:0.2, ...")] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a CSV: path or id, label, true_label.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show rate and transition matrix of label noise: of SPEC or known truth, else estimated without it."""
    import pandas as pd

    from codivide.audit.noise_report import noise_report
    from codivide.core.files import atomic
    from codivide.data.experiment import spoil
    from codivide.data.options import ReadOptions
    from codivide.data.sources import load
    from codivide.noise import synthetic as noises
    from codivide.runs.folder import is_run

    _check_new_file(out)
    run = spec is None and is_run(Path(source))
    loaded = None if run else spoil(load(source, options=ReadOptions(progress=True)), spec, seed)
    if loaded is None or loaded.truth is None:
        if out is not None:
            raise InputError(f"the true labels of {source} are not known: --out needs a SPEC such as symmetric:0.4")
        report = noise_report(source if loaded is None else loaded, seed=seed)
        print(json.dumps(report.to_dict(), indent=2) if as_json else report)
        return
    if as_json:
        print(json.dumps(noises.summary(loaded.truth, loaded.y, len(loaded.classes)), indent=2))
    else:
        say_noise(loaded)
    if out is not None:
        root = Path(source) if Path(source).is_dir() else Path(source).parent
        # A manifest names files relative to where it lies.
        paths = [relpath(root / i, out.parent) for i in loaded.ids if isinstance(i, str)]
        columns: dict[str, list[Any]] = {
            "path" if paths else "id": paths or list(loaded.ids),
            "label": [loaded.classes[i] if i >= 0 else None for i in loaded.y],
            "true_label": [loaded.classes[i] if i >= 0 else None for i in loaded.truth],
        }
        with atomic(out) as aside:
            pd.DataFrame(columns).to_csv(aside, index=False)
        err_console.print(f"written: {out}", soft_wrap=True)


def methods(
    name: Annotated[str | None, typer.Argument(help="Show the hyper-parameters of this method.")] = None,
) -> None:
    """List the methods, or the hyper-parameters of one."""
    from dataclasses import fields

    from codivide.core.errors import unknown
    from codivide.methods import METHODS

    if name is None:
        table = Table("method", "paper", "in one line", box=None, padding=(0, 2, 0, 0))
        for key, cls in METHODS.items():
            table.add_row(key, cls.paper, cls.summary)
        out_console.print(table)
        return
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    cls = METHODS[name]
    out_console.print(f"[bold]{name}[/] ({cls.paper}): {cls.summary}")
    table = Table("flag", "default", "meaning", box=None, padding=(0, 2, 0, 0))
    about = described(cls)
    for item in fields(cls):
        table.add_row("--" + item.name.replace("_", "-"), str(item.default), about.get(item.name, ""))
    out_console.print(table)


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the runs (replaced).")] = Path("demo-runs"),
    epochs: Annotated[int, typer.Option(help="Passes of each method.")] = 30,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train with and without DivideMix on handwritten digits of which 40 % are mislabelled (under 90 s)."""
    _tune_allocator()
    from codivide.data.experiment import spoil
    from codivide.data.options import ReadOptions
    from codivide.data.record import DataRecord
    from codivide.data.sources import load
    from codivide.fit.execute import execute
    from codivide.fit.job import Job, build_method, default_plan
    from codivide.runs.folder import check_folder

    origin = DataRecord.of("digits", ReadOptions(), noise="symmetric:0.4")
    loaded = spoil(load("digits"), origin.noise, seed)
    say_data(loaded)
    rows = []
    for method in ("cross_entropy", "dividemix"):
        check_folder(out / method, overwrite=True)
        plan = default_plan(len(loaded.y), epochs=epochs, seed=seed)
        with Display(plan.epochs, method) as display:
            job = Job(build_method(method), plan, source=origin)
            outcome = execute(job, loaded, out / method, progress=display.update)
        rows.append((method, outcome.summary))
    table = Table(
        "method",
        "test acc.\nlast",
        "\nbest",
        "wrong labels\nAUROC",
        "\nprecision",
        "\nrecall",
        "\nseconds",
        box=None,
    )
    for method, summary in rows:
        accuracy, found = summary["test_accuracy"], summary["detection"]
        cells = [accuracy["last"], accuracy["best"]]
        cells += [found.get(name, float("nan")) for name in ("auroc", "precision", "recall")]
        table.add_row(method, *[f"{value:.3f}" for value in cells], f"{summary['seconds']:.0f}")
    out_console.print(table)
    out_console.print("best: the best epoch on the test set (it peeks). Precision and recall of p(clean) < 0.5.")
    out_console.print(f"every label judged: {out}/dividemix/labels.csv", soft_wrap=True)
    audit(out / "dividemix")


def _check_new_file(out: Path | None) -> None:
    """InputError when ``out`` could not be written without replacing a file; asked before any long work."""
    if out is not None and (out.exists() or not out.parent.is_dir()):
        raise InputError(f"--out {out} exists or its folder does not; give another file")


def _fit_with_flags(arguments: list[str]) -> Callable[..., None]:
    """``fit`` with one flag for every hyper-parameter of the method that the arguments name."""
    from codivide.methods import METHODS

    method = str(inspect.signature(fit).parameters["method"].default)
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word == "--method":
            method = following
        elif word.startswith("--method="):
            method = word.partition("=")[2]
    # `fit` itself refuses an unknown one; a setting of DivideMix says that it is to be trained
    named = {method: METHODS.get(method, METHODS["cross_entropy"])}
    if method == "auto":
        named["dividemix (one of these chooses it; what is auto is set from the data)"] = METHODS["dividemix"]
    parameters = [flag for name, cls in named.items() for flag in flags(cls, f"Hyper-parameters of {name}")]

    def command(**values: Any) -> None:
        fit(**values)

    own = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for p in inspect.signature(fit, eval_str=True).parameters.values()
        if p.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    signature = inspect.Signature([*own, *parameters])
    command.__signature__ = signature  # type: ignore[attr-defined]  # typer reads it
    command.__annotations__ = {name: p.annotation for name, p in signature.parameters.items()}
    command.__doc__ = fit.__doc__
    return command


def _tune_allocator() -> None:
    """Keep freed memory instead of giving it back, which saves page faults in a CPU step (glibc only)."""
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mmap_threshold, trim_threshold = -3, -1
    _ = mallopt(mmap_threshold, 1 << 30) or mallopt(mmap_threshold, 32 << 20)  # the most that older glibc takes
    mallopt(trim_threshold, 2**31 - 1)


def application(arguments: list[str]) -> typer.Typer:
    """The application; the method flags of ``fit`` are made only when ``fit`` is asked for, since they need torch."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def root(
        version: Annotated[
            bool,
            typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version),
        ] = False,
        debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    ) -> None:
        """Train classifiers on labels you cannot trust, and find which labels are wrong."""

    asked = next((word for word in arguments if not word.startswith("-")), None)
    app.command("fit")(_fit_with_flags(arguments) if asked == "fit" else _plain_fit)
    for command in (predict, audit, clean, serve, plot, noise, methods, demo):
        app.command()(command)
    app.add_typer(bench, name="bench")
    return app


def _plain_fit() -> None:
    """Train on SOURCE and judge its labels: writes model, label table and record to --out."""


def _version(asked: bool) -> None:
    if asked:
        out_console.print(f"codivide {VERSION}", highlight=False)
        raise typer.Exit


def main() -> None:
    """Run the command line; a wrong input is one line and exit code 2."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    arguments = [word for word in arguments if word != "--debug"]
    try:
        with plain_warnings():
            application(arguments)(arguments, prog_name="codivide")
    except InputError as error:
        _fail(str(error), debug)
    except OSError as error:
        full = "no space left on the disk; what was written before is intact: free some and run again with --resume"
        where = f"{error.filename}: " if error.filename else ""
        _fail(full if error.errno == errno.ENOSPC else f"{where}{error.strerror or error}", debug)


def _fail(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    err_console.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True, highlight=False)
    sys.exit(2)


if __name__ == "__main__":
    main()
