"""Large data on a small machine: what a row costs, and how much memory is held.

    PYTHONPATH=. python benchmarks/large.py rows --rows 10000 50000 200000 1000000 --out results/large.json
    PYTHONPATH=. python benchmarks/large.py images --images 10000 20000 --out results/large.json
    PYTHONPATH=. python benchmarks/large.py issues --issues 20000 --out results/large.json

rows: tables of 512 numbers, 10 classes, 20 % wrong labels, as an ``.npz`` file that is not compressed; each command is
    a process of its own: ``fit --method features``, ``noise`` and ``audit`` of that run. CPU seconds and peak memory
    are those of the process, with the pages of the file that it holds; "own" is memory that no file backs. "rank" is
    the AUROC of p(clean) against the truth. ``--keep DIR`` leaves the run there, to look at its page.
images: JPEG files of 224 pixels in folders of classes; they are read and encoded by ``efficientnet-lite0``, and read
    by a bare DataLoader for comparison. Memory is looked at twice a second.
issues: a table of 20 numbers where most labels look wrong: what the audit of it costs, and its page. "start" is a
    process that imports what the audit needs and does nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from codivide.core.files import write_text
from codivide.core.provenance import environment

CLASSES, BLOCK = 10, 10_000


class Kind(NamedTuple):
    """A table: its columns, how far apart the classes lie, and the share of wrong labels."""

    width: int
    apart: float
    wrong: float


PLAIN, DOUBTED = Kind(512, 0.18, 0.2), Kind(20, 0.8, 0.64)


def make_rows(path: Path, count: int, kind: Kind = PLAIN) -> np.ndarray:
    """Write a table block by block; the true labels."""
    rng = np.random.default_rng(0)
    centres = kind.apart * rng.normal(size=(CLASSES, kind.width)).astype(np.float32)
    truth = rng.integers(0, CLASSES, count)
    given = np.where(rng.random(count) < kind.wrong, (truth + rng.integers(1, CLASSES, count)) % CLASSES, truth)
    raw = path.with_suffix(".npy")
    x = np.lib.format.open_memmap(raw, "w+", np.float32, (count, kind.width))
    for start in range(0, count, BLOCK):
        some = truth[start : start + BLOCK]
        x[start : start + BLOCK] = rng.standard_normal((len(some), kind.width), dtype=np.float32) + centres[some]
    x.flush()
    np.savez(path, x=np.load(raw, mmap_mode="r"), y=given)
    raw.unlink()
    return truth


def held_by(process: int) -> tuple[int, int, int]:
    """Memory of a process in MB: all of it, what no file backs, and the most that it has ever held.

    The system's count for a process that has ended is no measure: it begins with what the parent held.
    """
    status = Path(f"/proc/{process}/status").read_text().split()
    return tuple(int(status[status.index(f"{name}:") + 1]) // 1024 for name in ("VmRSS", "RssAnon", "VmHWM"))  # type: ignore[return-value]


def command(arguments: list[str], every: float = 0.5) -> dict[str, Any]:
    """Run a command; its CPU seconds, its peak memory and what it held over time, in MB."""
    held: list[tuple[int, int, int]] = []
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(every):
            try:
                held.append(held_by(process.pid))
            except (OSError, ValueError):  # it has ended
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    said = process.stderr.read() if process.stderr else b""
    _, status, used = os.wait4(process.pid, 0)
    done.set()
    watcher.join()
    if status:
        raise SystemExit(f"{arguments} failed: {said.decode()[-2000:]}")
    step = max(1, len(held) // 40)
    return {
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mb": max(most for _, _, most in held),
        "peak_own_mb": max(own for _, own, _ in held),
        "mb_over_time": [whole for whole, _, _ in held[::step]],
    }


def page_mb(run: Path) -> float:
    """The page of an audit with all that belongs to it."""
    pages = [*run.glob("report.html"), *run.glob("report_files/*")]
    return round(sum(path.stat().st_size for path in pages) / 2**20, 1)


def issues(count: int, keep: Path | None) -> dict[str, Any]:
    """What an audit costs where most labels look wrong."""
    with TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        data, run = Path(folder) / "data.npz", keep or Path(folder) / "run"
        make_rows(data, count, DOUBTED)
        command(["-m", "codivide", "fit", str(data), "--out", str(run), "--method", "features"])
        return {
            "issues": count,
            "audit": command(["-m", "codivide", "audit", str(run)]),
            "start": command(["-c", "import codivide.audit.facts, codivide.audit.render"]),
            "look_wrong": json.loads((run / "summary.json").read_text())["label_issues"],
            "page_mb": page_mb(run),
        }


def rows(count: int, keep: Path | None) -> dict[str, Any]:
    """What fit, noise and audit of a table cost."""
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    with TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        data, run = Path(folder) / "data.npz", keep or Path(folder) / "run"
        truth = make_rows(data, count)
        fit = ["-m", "codivide", "fit", str(data), "--out", str(run), "--method", "features"]
        found: dict[str, Any] = {"rows": count, "data_mb": data.stat().st_size // 2**20, "fit": command(fit)}
        found["noise"] = command(["-m", "codivide", "noise", str(run)])
        found["audit"] = command(["-m", "codivide", "audit", str(run)])
        table = pd.read_parquet(run / "labels.parquet", columns=["given", "suggested", "clean_prob"])
        right = table["given"].astype(str).to_numpy() == truth.astype(str)
        found["rank"] = round(float(roc_auc_score(right, table["clean_prob"])), 4)
        found["page_mb"] = page_mb(run)
        found["issues"] = int((table["given"].astype(str) != table["suggested"].astype(str)).sum())
        found["cpu_ms_a_row"] = round(
            1000 * sum(found[step]["cpu_seconds"] for step in ("fit", "noise", "audit")) / count, 3
        )
    return found


_ENCODE = """
import sys
from pathlib import Path
from codivide.data import encode
from codivide.data.options import ReadOptions
from codivide.data.sources import load
how = {"image_size": 224, "cache_limit": 2**28, "cache_dir": Path(sys.argv[2]), "progress": False}
options = ReadOptions(encoder="efficientnet-lite0", **how)
loaded = load(sys.argv[1], options=options)
assert len(loaded.x.shape) == 1, loaded.x.shape
"""
_LOADER = """
import sys
import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional as F
torch.set_num_threads(1)
data = ImageFolder(sys.argv[1], transform=F.pil_to_tensor)
print(sum(len(batch) for batch, _ in DataLoader(data, batch_size=64)))
"""


def make_images(folder: Path, count: int) -> None:
    """JPEG files of 224 pixels: coarse noise, enlarged, so that they compress as photos do."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(count):
        place = folder / f"class{number % CLASSES}"
        place.mkdir(exist_ok=True, parents=True)
        small = Image.fromarray(rng.integers(0, 256, (28, 28, 3), dtype=np.uint8))
        small.resize((224, 224), Image.Resampling.BICUBIC).save(place / f"{number}.jpg", quality=85)


def images(count: int, _: Path | None) -> dict[str, Any]:
    """What reading and encoding images cost, and what a bare DataLoader does."""
    with TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        data = Path(folder) / "images"
        make_images(data, count)
        read = command(
            ["-c", _ENCODE.replace("efficientnet-lite0", "none").replace("assert", "#"), str(data), f"{folder}/read"]
        )
        encoded = command(["-c", _ENCODE, str(data), f"{folder}/encoded"])
        bare = command(["-c", _LOADER, str(data)])
    return {
        "images": count,
        "read": read,
        "read_and_encoded": encoded,
        "bare_loader": bare,
        "images_per_cpu_second": {
            name: round(count / item["cpu_seconds"], 1)
            for name, item in (("read", read), ("read_and_encoded", encoded), ("bare_loader", bare))
        },
    }


def main() -> None:
    """Measure, and add to the file what was measured, one size after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measures = {"rows": rows, "images": images, "issues": issues}
    parser.add_argument("what", choices=tuple(measures))
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 50_000, 200_000, 1_000_000])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 20_000])
    parser.add_argument("--issues", type=int, nargs="+", default=[20_000], help="rows of the table")
    parser.add_argument("--out", type=Path, default=Path("results/large.json"))
    parser.add_argument("--keep", type=Path, help="where the last run is left")
    asked = parser.parse_args()
    record = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    where = environment("cpu")
    record |= where
    for count in getattr(asked, asked.what):
        began = time.monotonic()
        found = measures[asked.what](count, asked.keep) | {
            "seconds": round(time.monotonic() - began),
            "commit": where["commit"],
            "processor": where["processor"],
        }
        others = [item for item in record.get(asked.what, []) if item[asked.what] != count]
        record[asked.what] = sorted([*others, found], key=lambda item: item[asked.what])
        write_text(asked.out, json.dumps(record, indent=1) + "\n")
        print(json.dumps({key: value for key, value in found.items() if not isinstance(value, dict)}))


if __name__ == "__main__":
    main()
