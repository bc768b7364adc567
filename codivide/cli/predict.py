"""``codivide predict``: classify new data with the model of a run."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codivide.cli.flags import Run
from codivide.cli.output import aside, check_new_file, note, rich_table
from codivide.cli.progress import out_console
from codivide.core.errors import InputError
from codivide.core.files import check_there
from codivide.core.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from codivide.core.types import Floats
    from codivide.data.options import ReadOptions


def predict(
    run: Run,
    files: Annotated[
        list[str], typer.Argument(help="Image files, folders of images, or a table of features or texts.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write a CSV here instead of printing; Parquet where it ends so.")
    ] = None,
    *,
    device: Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:1, ...")] = "auto",
    text: Annotated[
        str | None,
        typer.Option(help="The column of a table that holds texts.", show_default="as in training, else text"),
    ] = None,
    net: Annotated[
        str | None,
        typer.Option(help="The network of your own with which the run was trained.", metavar="FILE.py:NAME"),
    ] = None,
) -> None:
    """Classify new data with the model of a run; nothing else of the training is needed.

    Example: codivide predict run new/*.jpg
    """
    for name in files:
        check_there(name)
    import numpy as np
    import pandas as pd

    from codivide.core.device import resolve_device
    from codivide.data.options import ReadOptions
    from codivide.data.sources import read_inputs
    from codivide.methods.features.far_values import warn_of_far_values
    from codivide.methods.features.number_model import NumberModel
    from codivide.methods.features.tag_heads import TagModel
    from codivide.runs.label_table import called
    from codivide.runs.model import load_any

    _check_out(out)
    model = load_any(run, resolve_device(device), net=net)
    _say_useless(run)
    options = ReadOptions(progress=True, device=device, text=text or _trained(run).text)
    source: Any = files[0] if len(files) == 1 else [Path(name) for name in files]
    rows, ids, skipped = read_inputs(source, model.shape, model.dtype, options, model.encoder, columns=model.columns)
    for item in skipped:
        aside(f"skipped {item.path}: {item.reason}")
    if not len(rows):
        raise InputError("none of the files could be read")
    warn_of_far_values(model, rows)
    images = len(model.shape) == 3 or (model.encoder is not None and model.encoder.takes == "image")
    told = pd.DataFrame({called(ids, images=images): list(ids)})
    if isinstance(model, NumberModel):
        _write(told.assign(prediction=model.predict(rows)), out)
        return
    probs = model.probs(rows)
    if isinstance(model, TagModel):
        _write(_of_sets(told, probs, model.names, _trained(run).separator), out)
        return
    labels = [model.classes[i] for i in probs.argmax(1)]
    table = told.assign(label=labels, probability=np.round(probs.max(1), 4))
    _write(table if (score := _outlier_score(model, rows)) is None else table.assign(outlier_score=score), out)


def _outlier_score(model: Any, rows: Any) -> Floats | None:
    """How far photos are from all that the model has seen, where it knows; those that are like no class are said."""
    from codivide.methods.features.model import FeatureModel

    if not isinstance(model, FeatureModel) or model.usual is None:
        return None
    points = model.points(rows)
    apart = int((model.usual.distance(points) > model.usual.fence).sum())
    if apart:
        few = counted(
            apart,
            f"of {len(rows):,} photos is like no class of the training, and its",
            f"of {len(rows):,} photos are like no class of the training, and their",
        )
        aside(f"{few} label is a guess")
    return model.usual.score(points).round(4)


def _of_sets(told: pd.DataFrame, probs: Floats, names: Sequence[str], separator: str) -> pd.DataFrame:
    """The labels of each sample, and how likely each of them is, beside what tells the samples apart."""
    from codivide.data.targets import joined

    labels = [joined([name for name, p in zip(names, row, strict=True) if p >= 0.5], separator) for row in probs]
    table = told.assign(label=labels)
    for k, name in enumerate(names):
        column = name
        while column in table or (column != name and column in names):
            column = f"probability_{column}"  # a label may be called "label"
        table[column] = probs[:, k].round(4)
    return table


def _trained(run: Path) -> ReadOptions:
    """How the data of a run were read, where its record lies beside the model."""
    from codivide.data.options import DEFAULT
    from codivide.runs.folder import SavedRun, is_run

    return SavedRun(run).source.options if is_run(run) else DEFAULT


def _say_useless(run: Path) -> None:
    """A note where the run itself says that its model is of no use; the model alone is enough to predict."""
    from codivide.runs.folder import TOO_LITTLE, SavedRun, is_run

    with suppress(InputError):  # a summary that is damaged
        if is_run(run) and SavedRun(run).is_useless:
            note(f"{TOO_LITTLE}: the predictions are guesses")


def _check_out(out: Path | None) -> None:
    """InputError where a file is there, or would be no such table as its name says."""
    from codivide.data.table_files import kind_of

    check_new_file(out)
    if out is not None and (kind := kind_of(out)) not in {("", ""), (".csv", ""), (".txt", ""), (".parquet", "")}:
        raise InputError(f"--out {out}: predictions are written as .csv or .parquet, not as {''.join(kind)}")


def _write(table: pd.DataFrame, out: Path | None) -> None:
    """To a new file, as a table on a terminal, as CSV into a pipe."""
    from codivide.core.files import atomic, guarded

    if out is not None:
        with atomic(out) as part:
            if out.suffix.lower() == ".parquet":
                table.to_parquet(part, index=False)
            else:
                guarded(table).to_csv(part, index=False)
        aside(f"{counted(len(table), 'prediction')}: {out}")
    elif out_console.is_terminal:
        out_console.print(rich_table(table))
    else:
        guarded(table).to_csv(sys.stdout, index=False)
