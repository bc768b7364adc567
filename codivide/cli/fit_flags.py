"""The flags of ``codivide fit``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from codivide.cli.flags import DATA, SEPARATOR, TASK, Cluster, TableFlags

LABELS = "Labels"
EXPERIMENT = "Experiments: what is done to the data first"
TRAINING = "Training (a method may have defaults of its own)"


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
        typer.Option(help=TASK, rich_help_panel=DATA),
    ] = "classes"
    separator: Annotated[str, typer.Option(help=SEPARATOR, rich_help_panel=DATA)] = ";"
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
            help="What turns texts or images into numbers; auto: tfidf:char (words and their parts) for texts, of "
            "English ones tfidf+minilm where its wheel is installed; efficientnet-lite0 for photos where the method is "
            "auto or features, of grey ones efficientnet-lite0+pixels; none: train a network on pixels; "
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


#: Names that a hyper-parameter's flag cannot have.
TAKEN = frozenset(item.name for flags in (RunFlags, DataFlags, TrainingFlags) for item in fields(flags)) - {"budget"}
