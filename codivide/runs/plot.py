"""Pictures of a run: what it learned of clean and of wrong labels, its curves, its losses and their mixture."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from codivide.core.errors import InputError, either, option
from codivide.core.files import atomic, check_name, reading
from codivide.core.words import counted
from codivide.data.options import CLASSES
from codivide.runs.claim import sweep_drawn
from codivide.runs.folder import METRICS, PICTURE_MARK, SUMMARY, SavedRun, has_mark

# Okabe and Ito's colours, which also differ for the colour-blind and, in their order here, in grey.
BLUE, VERMILLION, GREY, BLACK = "#0072B2", "#D55E00", "#8C8C8C", "#222222"
STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "figure.titlesize": 10,
    "font.size": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "codivide",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}
_RUNS = ((BLUE, "-"), (VERMILLION, "--"), (GREY, "-."), (BLACK, ":"))  # of the runs that are compared, in turn
COMPARED = "compare"
_PICTURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg")  # suffixes that nobody gives a folder
_CLEAN = (("clean_correct", "predicted right", BLUE, "-"), ("clean_incorrect", "predicted wrong", VERMILLION, "--"))
_WRONG = (
    ("wrong_correct", "predicted as the truth", BLUE, "-"),
    ("wrong_memorised", "as the wrong label: memorised", VERMILLION, "--"),
    ("wrong_other", "as neither", GREY, "-."),
)
_CURVES = (
    ("loss", "Training loss", "mean loss"),
    ("test_accuracy", "Test accuracy", "right (%)"),
    ("lr", "Learning rate", "learning rate"),
    ("loss_auroc", "Finding wrong labels", "AUROC (0.5: chance)"),
)
_BLIND = (
    ("final_agreement", "predicted as in the end (the suggestion)", BLUE, "-"),
    ("given_agreement", "predicted as the given label", VERMILLION, "--"),
)


def learning(record: SavedRun) -> Figure | None:
    """Shares of the training set over the epochs: clean and wrong labels apart, or all where the truth is unknown.

    None when nothing of it was recorded, or the run has no epochs.
    """
    if _has_rounds(record):
        return None
    known = {name for row in record.rows for name in row}
    panels = [
        (title, lines)
        for title, lines in (("Samples with a clean label", _CLEAN), ("Samples with a wrong label", _WRONG))
        if lines[0][0] in known
    ]
    if not panels and "given_agreement" in known:
        panels = [("All labelled samples (the truth is unknown)", _BLIND)]
    if not panels:
        return None
    figure, grid = _figure(record, len(panels), 1, (4.6, 3.1))
    for axes, (title, lines) in zip(grid, panels, strict=True):
        axes.set_title(title, loc="left")
        for name, label, colour, style in lines:
            epochs, values = record.series(name)
            if values:
                _line(axes, epochs, 100 * np.asarray(values), label=label, colour=colour, style=style)
        axes.set_ylim(0, 103)
        axes.set_ylabel("share of these samples (%)")
        axes.set_xlabel("epoch")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=1, handlelength=3)
    return figure


def curves(record: SavedRun) -> Figure | None:
    """Loss, test accuracy, learning rate and how well the loss tells wrong labels, each where it was recorded.

    None when the run has no epochs.
    """
    if _has_rounds(record):
        return None
    found = record.summary.get("detection", {}).get("auroc")
    panels = [(name, title, unit) for name, title, unit in _CURVES if record.series(name)[0]]
    columns = 2 if len(panels) > 1 else 1
    figure, grid = _figure(record, columns, -(-len(panels) // columns), (4.6, 2.3))
    for axes, (name, title, unit) in zip(grid, panels, strict=False):
        epochs, values = record.series(name)
        scale = 100 if unit.endswith("(%)") else 1
        axes.set_title(title, loc="left")
        axes.set_ylabel(unit)
        axes.set_xlabel("epoch")
        label = "by the loss at that epoch" if name == "loss_auroc" else title
        _line(axes, epochs, scale * np.asarray(values), label=label, colour=BLUE, style="-")
        if name == "lr" and 0 < 20 * min(values) < max(values):
            axes.set_yscale("log")
        elif name == "lr":
            axes.set_ylim(0, 1.08 * max(values))
        if name == "loss_auroc" and found is not None:
            last = record.rows[-1]["epoch"]
            axes.plot([last], [found], "D", color=VERMILLION, label="by p(clean) at the end", clip_on=False, zorder=3)
            axes.legend(loc="best")
    for axes in grid[len(panels) :]:
        axes.remove()
    return figure


def losses(record: SavedRun, epochs: Sequence[int] | None = None) -> Figure | None:
    """Histograms of the cross-entropy on the given label at some epochs, with the mixture fitted to it.

    Args:
        record: of the run.
        epochs: which of those whose losses were kept; None: six of them.

    Returns:
        The figure; None when no losses were kept.

    Raises:
        InputError: an epoch whose losses were not kept.
    """
    kept = {row["epoch"]: row["losses"] for row in record.rows if "losses" in row}
    if not kept:
        return None
    for epoch in epochs or ():
        if epoch not in kept:
            raise InputError(f"the losses of epoch {epoch} were not kept; there are {', '.join(map(str, kept))}")
    chosen = list(epochs or [list(kept)[i] for i in np.unique(np.linspace(0, len(kept) - 1, 6).round().astype(int))])
    columns = min(3, len(chosen))
    figure, grid = _figure(record, columns, -(-len(chosen) // columns), (3.2, 2.3))
    seen: dict[str, Any] = {}
    for axes, epoch in zip(grid, chosen, strict=False):
        seen |= _histogram(axes, kept[epoch])
        axes.set_title("predicted without the label" if _has_rounds(record) else f"epoch {epoch}", loc="left")
    for axes in grid[len(chosen) :]:
        axes.remove()
    for position, axes in enumerate(grid[: len(chosen)]):
        if position % columns == 0:
            axes.set_ylabel("samples in a bin")
        if position + columns >= len(chosen):
            axes.set_xlabel("cross-entropy on the given label (nats)")
    figure.legend(seen.values(), seen.keys(), loc="outside lower center", ncols=len(seen))
    return figure


def reliability(record: SavedRun) -> Figure | None:
    """Share of labels that are right against p(clean), by bins, and how many samples each holds.

    None when the truth is not known or the run is unfinished.
    """
    found = record.summary.get("detection", {})
    table = found.get("reliability")
    if not table:
        return None
    figure, (axes, below) = _figure(record, 1, 2, (4.6, 2.3))
    axes.plot([0, 1], [0, 1], ":", color=GREY, label="as it should be")
    x = [row["clean_prob"] for row in table]
    axes.plot(x, [row["clean"] for row in table], "o-", color=BLUE, label="this run", clip_on=False)
    axes.set_title(f"Labels that are right (expected calibration error {found['calibration_error']:.3f})", loc="left")
    axes.set_ylabel("share right")
    axes.legend(loc="upper left")
    width = table[0]["high"] - table[0]["low"]
    below.bar([row["low"] for row in table], [row["samples"] for row in table], 0.94 * width, align="edge", color=GREY)
    below.set_ylabel("samples in a bin")
    below.set_xlabel("p(clean)")
    for panel in (axes, below):
        panel.set_xlim(0, 1)
    return figure


def _has_rounds(record: SavedRun) -> bool:
    """Whether a row is a head of the route for features: another model, and no later epoch of one."""
    return any("round" in row for row in record.rows)


def _histogram(axes: Axes, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the losses of one epoch; returns legend entries."""
    kinds = (("clean", "clean labels", BLUE), ("wrong", "wrong labels", VERMILLION), ("unknown", "all labels", GREY))
    present = [kind for kind in kinds if kind[0] in kept]
    bins = len(kept[present[0][0]])
    edges = np.linspace(kept["low"], kept["high"], bins + 1)
    seen: dict[str, Any] = {}
    top = 0
    for name, label, colour in present:
        label = "labels of unknown truth" if name == "unknown" and len(present) > 1 else label
        seen[label] = axes.stairs(kept[name], edges, fill=True, color=colour, alpha=0.55, label=label)
        top = max(top, *kept[name])
    if "mixture" in kept:
        mixture = kept["mixture"]
        samples = sum(sum(kept[name]) for name, _, _ in present)
        x = np.linspace(kept["low"], kept["high"], 400)
        for weight, mean, variance in zip(mixture["weight"], mixture["mean"], mixture["variance"], strict=True):
            density = weight / np.sqrt(2 * np.pi * variance) * np.exp(-((x - mean) ** 2) / (2 * variance))
            (line,) = axes.plot(x, samples * (edges[1] - edges[0]) * density, color=BLACK, linewidth=1.2)
            seen["fitted mixture, by component"] = line
    axes.set_ylim(0, 1.08 * top)
    axes.set_xlim(kept["low"], kept["high"])
    return seen


def _figure(record: SavedRun, columns: int, rows: int, panel: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    width = max(6.0, columns * panel[0])
    figure = Figure(figsize=(width, rows * panel[1] + 0.5), layout="constrained")
    figure.suptitle(textwrap.fill(record.title, int(12 * width)), x=0.01, ha="left", color="#555555")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _line(axes: Axes, epochs: Sequence[int], values: Any, *, label: str, colour: str, style: str) -> None:
    marker = "o" if len(epochs) == 1 else None  # one point is no line
    axes.plot(epochs, values, style, color=colour, label=label, marker=marker)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))


def _of_classes(run: Path) -> SavedRun:
    """A run of classes; others have nothing that is drawn over epochs."""
    record = SavedRun(run)
    if (task := record.source.options.task) != CLASSES:
        raise InputError(
            f"{run} is a run of the task {task}, which has no curves; its page shows it: codivide audit {run}"
        )
    return record


def draw(run: Path, out: Path | None = None, epochs: Sequence[int] | None = None) -> tuple[list[Path], list[str]]:
    """Draw a run as ``learning``, ``curves``, ``losses`` and, with known truth, ``reliability``, each .png and .svg.

    Args:
        run: folder of the run.
        out: folder for the pictures, made if need be; None: the run's.
        epochs: for ``losses``; None: six of the kept ones.

    Returns:
        The files written, and remarks on what could not be drawn.

    Raises:
        InputError: no run, nothing recorded, losses that were not kept, or a file in ``out`` that is not the run's.
    """
    record = _of_classes(run)
    folder = run if out is None else _folder(out)
    remarks = (
        [] if record.summary else [f"{run} is unfinished: {counted(len(record.rows), 'epoch is', 'epochs are')} drawn"]
    )
    written = []
    with matplotlib.rc_context(STYLE), reading(run / METRICS):
        figures = {"learning": learning(record), "curves": curves(record), "losses": losses(record, epochs)}
    with matplotlib.rc_context(STYLE), reading(run / SUMMARY):
        known = reliability(record)
    with matplotlib.rc_context(STYLE):
        if known is not None:  # it takes true labels, which are seldom known: no remark without them
            figures["reliability"] = known
        for name in [name for name, figure in figures.items() if figure is None]:
            why = f"the run kept no record of it{either(' (fit --no-record-learning?)', '')}"
            remarks.append(f"no {name}.png: {'features are learned without epochs' if _has_rounds(record) else why}")
        for kind in ("png", "svg"):
            for name in figures:
                path = folder / f"{name}.{kind}"
                elsewhere = out is not None and out.resolve() != run.resolve()
                if path.exists() and (elsewhere or not has_mark(path, PICTURE_MARK)):
                    raise InputError(f"{path} exists; give another folder")
        folder.mkdir(parents=True, exist_ok=True)
        sweep_drawn(run)
        for name, figure in figures.items():
            if figure is not None:
                written += save(figure, folder / name)
    return written, remarks


def compare(runs: Sequence[Path], out: Path) -> list[Path]:
    """Draw the curves of two to four runs in one picture: ``compare.png`` and ``.svg``.

    Args:
        runs: their folders, finished or not; a line carries the name of its folder.
        out: folder for the picture, made if need be.

    Returns:
        The files written.

    Raises:
        InputError: no run, fewer than two or more than four, nothing that all recorded, or a file in ``out`` that
            codivide did not draw.
    """
    if not 2 <= len(runs) <= len(_RUNS):
        raise InputError(f"{len(runs)} runs: give two to {len(_RUNS)} to compare")
    out, records = _folder(out), [_of_classes(run) for run in runs]
    for run in (run for run, record in zip(runs, records, strict=True) if _has_rounds(record)):
        raise InputError(f"{run} has no curves to compare: features are learned without epochs")
    panels = [panel for panel in _CURVES if panel[0] != "lr" and all(record.series(panel[0])[0] for record in records)]
    if not panels:
        raise InputError(f"{', '.join(map(str, runs))}: no curve was recorded in all of them")
    targets = [out / f"{COMPARED}.{kind}" for kind in ("png", "svg")]
    for path in targets:
        if path.exists() and not has_mark(path, PICTURE_MARK):
            raise InputError(f"{path} exists; give another folder")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(6.0, 4.6 * len(panels)), 3.2), layout="constrained")
        for axes, (name, title, unit) in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels, strict=True):
            axes.set(ylabel=unit, xlabel="epoch")
            axes.set_title(title, loc="left")
            for run, record, (colour, style) in zip(runs, records, _RUNS, strict=False):
                epochs, values = record.series(name)
                scale = 100 if unit.endswith("(%)") else 1
                _line(axes, epochs, scale * np.asarray(values), label=str(run), colour=colour, style=style)
        figure.axes[0].legend(loc="best")
        out.mkdir(parents=True, exist_ok=True)
        return save(figure, out / COMPARED)


def _folder(out: Path) -> Path:
    """The folder for pictures; InputError where its name is that of a picture."""
    if out.suffix.lower() in _PICTURES and not out.is_dir():
        given = option("out", str(out))
        raise InputError(f"{given} is the name of a picture; give a folder, in which each picture is a .png and a .svg")
    check_name(out, option("out"))
    return out


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as ``stem.png`` and ``stem.svg``; the same figure gives the same bytes."""
    maker = PICTURE_MARK.decode()
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    for path in paths:
        metadata = {"Date": None, "Creator": maker} if path.suffix == ".svg" else {"Software": maker}
        with atomic(path) as aside:
            figure.savefig(aside, format=path.suffix[1:], dpi=120, metadata=metadata)
        figure.set_layout_engine("none")  # the second keeps the places that the first has found
    return paths
