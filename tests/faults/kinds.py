"""The kinds of runs that are killed: what each begins with, how it goes on, and what it leaves."""

from __future__ import annotations

import json
import re
import shutil
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tests.faults.children import command, run

CLASSES = ("cat", "dog", "bird")
NETWORK = ("--net", "mlp", "--device", "cpu", "--precision", "fp32")
DIGITS = ("fit", "digits", "--limit", "80", *NETWORK, "--out", "out")
_CLOCK = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?")  # when a page or a decision was made

_DRAWN = re.compile(r"(report|learning|curves|losses|reliability|p)-[0-9a-f]{8}\.part")  # swept after an hour


@dataclass(frozen=True)
class Kind:
    """A command that may die.

    Attributes:
        name: what it is called in the table.
        first: what dies.
        again: what is done then; it must end with 0.
        leaves: files and folders that are compared.
        needs: what of the world it reads.
        most: instants at which it dies, at most; it is long.
    """

    name: str
    first: Callable[[], object]
    again: Callable[[], object]
    leaves: tuple[str, ...] = ("out",)
    needs: tuple[str, ...] = ()
    most: int = 10**6


def _fit(name: str, words: tuple[str, ...], needs: tuple[str, ...] = (), **more: int) -> Kind:
    return Kind(name, command(*words), command(*words, "--resume"), ("out",), needs, **more)


def _twice(name: str, words: tuple[str, ...], leaves: str, needs: tuple[str, ...]) -> Kind:
    """A command that is simply given again; of ``clean`` and ``predict`` only where nothing is there yet."""

    def again() -> None:
        if not (words[0] in ("clean", "predict") and Path(leaves).exists()):
            command(*words)()

    return Kind(name, command(*words), again, (leaves,), needs)


KINDS = (
    _fit("cross-entropy", (*DIGITS, "--method", "cross_entropy", "--epochs", "3")),
    _fit("DivideMix", (*DIGITS, "--method", "dividemix", "--warmup", "1", "--epochs", "3")),
    _fit("ELR+", (*DIGITS, "--method", "elr_plus", "--epochs", "3")),
    _fit("MixMatch", (*DIGITS, "--method", "mixmatch", "--labels-per-class", "3", "--epochs", "3")),
    _fit("features", ("fit", "table.csv", "--method", "features", "--out", "out"), ("table.csv",)),
    _fit(
        "auto: short run, correction",
        ("fit", "digits", "--limit", "400", *NETWORK, "--out", "out", "--encoder", "none", "--epochs", "4"),
    ),
    _fit("encoding photos", ("fit", "photos", "--method", "features", "--out", "out"), ("photos",)),
    _fit(
        "decoding photos",
        ("fit", "photos", "--method", "cross_entropy", *NETWORK, "--epochs", "1", "--out", "out"),
        ("photos",),
    ),
    _twice("audit", ("audit", "run"), "run", ("run", "table.csv")),
    _twice("plot", ("plot", "run"), "run", ("run", "table.csv")),
    _twice("clean --copy", ("clean", "run_photos", "--copy", "--out", "clean"), "clean", ("run_photos", "photos")),
    _twice("predict", ("predict", "run", "table.csv", "--out", "p.csv"), "p.csv", ("run", "table.csv")),
    Kind("bench", lambda: bench(), lambda: bench(), ("results",)),
)


def bench() -> None:
    """Two small rows of a bench."""
    from codivide.bench import runner
    from codivide.bench.recipes.recipe import Recipe

    rows = [
        Recipe(name=f"faults/{seed}", data="digits", method="cross_entropy", net="mlp", limit=60, plan={"epochs": 2})
        for seed in range(2)
    ]
    runner.work(rows, [0], Path("results"), Path("runs"))


def decide(acknowledged: Path) -> Callable[[], None]:
    """A server that is sent one decision after another; each that was answered is noted."""

    def work() -> None:
        from codivide.audit import serve
        from codivide.audit.clean import read_run

        run_folder = Path("run")
        known = read_run(run_folder).known()
        with serve.open_decisions(run_folder, known) as decisions:
            server = serve.Server(lambda token: "", known, decisions, {}, 0)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            with acknowledged.open("a") as noted:
                for row, given in list(known.given.items())[:25]:
                    body = {"id": row, "given": given, "decision": "junk", "label": ""}
                    asked = urllib.request.Request(
                        f"{server.address}api/decisions",
                        json.dumps(body).encode(),
                        {"Content-Type": "application/json", serve.TOKEN: server.token},
                    )
                    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked):
                        noted.write(f"{row}\n")
                        noted.flush()
            server.shutdown()

    return work


def world(root: Path) -> Path:
    """Inputs and finished runs, in ``root/world``."""
    made = root / "world"
    made.mkdir(parents=True)
    rng = np.random.default_rng(0)
    truth = np.arange(96) % 3
    given = np.where(rng.random(96) < 0.2, (truth + 1) % 3, truth)
    x = rng.normal(size=(96, 4)) + 3 * np.eye(3, 4)[truth]
    frame = pd.DataFrame(x.round(4), columns=["a", "b", "c", "d"])
    frame.assign(label=[CLASSES[k] for k in given]).to_csv(made / "table.csv", index=False)
    for k in range(27):
        folder = made / "photos" / CLASSES[k % 3]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 80, (24, 24, 3)) + 80 * np.eye(3, dtype=np.int64)[k % 3]
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{k}.png")
    here = root / "here"
    for folder, words in (
        ("run", ("fit", "table.csv", "--method", "cross_entropy", *NETWORK, "--epochs", "2", "--out", "run")),
        ("run_features", ("fit", "table.csv", "--method", "features", "--out", "run_features")),
        (
            "run_photos",
            ("fit", "photos", "--method", "cross_entropy", *NETWORK, "--epochs", "1", "--out", "run_photos"),
        ),
    ):
        fresh(root, ("table.csv", "photos"))
        ended = run(command(*words), here, environment={"CODIVIDE_CACHE": str(here / "cache")})
        if ended.code not in (0, 3):
            raise RuntimeError(f"{words}: {ended.code} {ended.err[-2000:]}")
        shutil.copytree(here / folder, made / folder)
    return made


def fresh(root: Path, needs: tuple[str, ...]) -> Path:
    """An emptied folder ``root/here`` with what a kind needs; always the same path, which records name."""
    here = root / "here"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True)
    for name in needs:
        source = root / "world" / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, here / name)
    return here


def snapshot(here: Path, leaves: tuple[str, ...]) -> dict[str, bytes]:
    """Every file that is left, with its bytes; times of the clock are blank."""
    files = [
        path for name in leaves for path in ([here / name] if (here / name).is_file() else (here / name).rglob("*"))
    ]
    whole = [path for path in files if path.is_file() and not _DRAWN.fullmatch(path.name)]
    return {str(path.relative_to(here)): _CLOCK.sub(b"", path.read_bytes()) for path in whole}
