"""The command line, as a person meets it in an empty folder, and what only a process of its own can show."""

import contextlib
import csv
import io
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from rich.console import Console

from codivide.audit import checks
from codivide.cli import bench as bench_commands
from codivide.cli import output
from codivide.cli.app import main
from codivide.training import checkpoint
from tests.forked import children, forked

pytestmark = pytest.mark.long  # whole runs, several of them

THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "80"}


def process(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, which takes seconds to start."""
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **THREADS}, check=False)


def codivide(*words: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in this process: what it exits with and what it prints."""
    out, err, threads, code = io.StringIO(), io.StringIO(), torch.get_num_threads(), 0
    torch.set_num_threads(1)
    try:
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.chdir(cwd)
            patch.setattr(sys, "argv", ["codivide", *map(str, words)])
            for name, value in {**THREADS, **environment}.items():
                patch.setenv(name, value)
            main()
    except SystemExit as stopped:
        code = stopped.code or 0
    finally:
        torch.set_num_threads(threads)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2, one message that names the words, no traceback."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr.replace("\n", " "), done.stderr


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Two classes of 16 x 16 pictures, some in the wrong folder, one file broken."""
    root = tmp_path_factory.mktemp("input") / "photos"
    rng = np.random.default_rng(0)
    for name in ("dark", "light"):
        (root / name).mkdir(parents=True)
    for k in range(120):
        light = k % 2
        pixels = rng.integers(0, 100, (16, 16, 3)) + 150 * light
        wrong = k % 10 in (0, 5)  # as many of either class
        folder = "light" if light != wrong else "dark"
        Image.fromarray(pixels.astype(np.uint8)).save(root / folder / f"{k:03d}.png")
    (root / "dark" / "broken.jpg").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("work")
    done = codivide(
        "fit", photos, "--out", "run", "--method", "dividemix", "--epochs", "9", "--warmup", "3",
        "--batch-size", "16", "--net", "mlp", cwd=folder,
        CODIVIDE_CACHE=str(folder / "cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "run", done


@pytest.mark.process
def test_what_the_command_line_alone_shows_is_refused_without_torch(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"version": "1", "method": "elr", "plan": {}}')
    code = """if True:
        import sys
        from codivide.cli.app import main
        for words in (
            ["digits", "--out", "run"],
            ["nowhere.csv", "--out", "new"],
            ["digits", "--out", "new", "--method", "eler"],
        ):
            sys.argv = ["codivide", "fit", *words]
            try:
                main()
            except SystemExit as ended:
                print(ended.code, "torch" in sys.modules)
    """
    done = process("-c", code, cwd=tmp_path)
    assert done.stdout.splitlines() == ["2 False"] * 3, done.stderr
    for said in (
        "the folder run exists",
        "there is no file or folder 'nowhere.csv'",
        "unknown method 'eler'. Did you mean 'elr'",
    ):
        assert said in " ".join(done.stderr.split())


@pytest.mark.process
def test_help_is_instant_and_needs_no_torch(tmp_path):
    code = "import sys, codivide, codivide.cli.app; codivide.cli.app.application([]); print('torch' in sys.modules)"
    assert process("-c", code, cwd=tmp_path).stdout.strip() == "False"
    done = process("-m", "codivide.cli.app", "--help", cwd=tmp_path)
    assert done.returncode == 0
    for command in ("fit", "predict", "plot", "noise", "methods", "demo"):
        assert command in done.stdout


def test_fit_help_shows_every_hyper_parameter(tmp_path):
    done = codivide("fit", "--method", "auto", "--help", cwd=tmp_path)
    assert done.returncode == 0
    for flag in ("--lambda-u", "--threshold", "--warmup", "--epochs", "--net", "--noise", "--resume"):
        assert flag in done.stdout


def test_the_demo_counts_the_steps_that_its_heads_take(tmp_path, monkeypatch, capsys):
    from codivide.cli.demo import demo

    class Enough(Exception):
        pass

    def stop(job, *given, **more):
        seen.append(job.plan.epochs)
        raise Enough

    seen = []
    monkeypatch.setattr("codivide.cli.demo.take", lambda: None)  # the threads of other tests stay
    monkeypatch.setattr("codivide.fit.execute.execute", stop)
    with pytest.raises(Enough):
        demo(tmp_path / "runs")
    assert seen == [9]  # linear, mlp, forest and boosting, each also corrected, and the judging
    said = " ".join(capsys.readouterr().out.split())
    assert "for photos of yours: codivide fit photos/ --out run" in said
    assert "1,437 small pictures of handwritten digits. 524 got a wrong label" in said
    assert "noise rate" not in said  # and no matrix: the demo is for everybody


def test_fit_writes_the_run(finished, photos):
    run, done = finished
    assert {p.name for p in run.iterdir()} == {
        "config.json", "metrics.jsonl", "labels.csv", "labels.parquet", "model.safetensors",
        "checkpoint.safetensors", "summary.json", "skipped.csv", "predictions.npz", "contents.npy",
    }  # fmt: skip
    assert pd.read_csv(run / "skipped.csv")["path"].tolist() == ["dark/broken.jpg"]
    assert "broken.jpg" in done.stdout + done.stderr
    table = pd.read_csv(run / "labels.csv")
    assert list(table.columns) == [
        "path",
        "given",
        "suggested",
        "clean_prob",
        "rank",
        "suggested_prob",
        "label_quality",
        *(column.name for column in checks.columns()),
    ]
    assert len(table) == 120
    assert pd.read_parquet(run / "labels.parquet")["path"].tolist() == table["path"].tolist()
    number = table["path"].str.extract(r"(\d+)\.png")[0].astype(int)
    truth = np.where(number % 2 == 1, "light", "dark")
    assert (table["suggested"] == truth).mean() > 0.9
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 10))
    summary = json.loads((run / "summary.json").read_text())
    assert summary["epochs"] == 9
    assert summary["versions"]["torch"]
    assert json.loads((run / "config.json").read_text())["hyper_parameters"]["warmup"] == 3


def test_lines_fit_80_columns(finished):
    _, done = finished
    assert all(len(line) <= 80 for line in done.stderr.splitlines() if " eta " in line)


def test_predict_needs_nothing_but_the_run(finished, photos, tmp_path):
    run, _ = finished
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    (copy / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    files = sorted((photos / "light").glob("*1.png"))[:3]
    done = codivide("predict", copy, *files, cwd=tmp_path)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["label"] for row in rows] == ["light"] * 3
    done = codivide("predict", copy, photos / "dark", "--out", "answers.csv", cwd=tmp_path)
    assert done.returncode == 0
    assert "broken.jpg" in done.stderr
    assert set(pd.read_csv(tmp_path / "answers.csv").columns) == {"path", "label", "probability"}
    done = codivide("predict", copy, *files, "--out", "answers.json", cwd=tmp_path)
    assert "predictions are written as .csv or .parquet, not as .json" in " ".join(done.stderr.split())
    assert not (tmp_path / "answers.json").exists()


def test_a_pickle_is_no_model(finished, photos, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()

    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/owned",))

    (bad / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    refused(codivide("predict", bad, photos, cwd=tmp_path), "not a codivide model")
    assert not (tmp_path / "owned").exists()
    refused(codivide("predict", tmp_path / "nowhere", photos, cwd=tmp_path), "nowhere")


def test_the_out_folder_is_never_overwritten_unasked(finished, photos, tmp_path):
    run, _ = finished
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    refused(codivide("fit", photos, "--out", run, cwd=tmp_path), "--resume", "--overwrite")
    other = tmp_path / "precious"
    other.mkdir()
    (other / "thesis.txt").write_text("x")
    refused(codivide("fit", photos, "--out", other, "--overwrite", cwd=tmp_path), "thesis.txt")
    refused(codivide("fit", photos, "--out", run, "--resume", "--lr", "0.5", cwd=tmp_path), "another run")
    after = {p.name: p.read_bytes() for p in run.iterdir()}
    assert after == before
    assert (other / "thesis.txt").read_text() == "x"


def test_a_run_that_fails_leaves_the_older_one(finished, photos):
    run, _ = finished
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    refused(codivide("fit", photos, "--out", run, "--overwrite", "--dropout", "2", cwd=run.parent), "dropout")
    refused(codivide("fit", photos, "--out", run, "--resume", "--dropout", "0.4", cwd=run.parent), "another run")
    assert {p.name: p.read_bytes() for p in run.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["fit", "nowhere", "--out", "r"], ["nowhere"]),
        (["fit", "digit", "--out", "r"], ["digits"]),
        (["fit", "digits", "--out", "r", "--method", "dividemx"], ["dividemix"]),
        (["fit", "digits", "--out", "r", "--net", "small_cn"], ["small_cnn"]),
        (["fit", "digits", "--out", "r", "--lamda-u", "3"], ["--lambda-u"]),
        (
            ["fit", "digits", "--out", "r", "--method", "cross_entropy", "--lambda-u", "3"],
            ["--lambda-u"],
        ),
        (["fit", "digits", "--out", "r", "--noise", "symetric:0.4"], ["symmetric"]),
        (["fit", "digits", "--out", "r", "--budget", "soon"], ["--budget soon", "10m"]),
        (["fit", "digits", "--out", "r", "--budget", "5"], ["--budget 5", "5s, 5m (minutes) or 5h"]),
        (["fit", "digits", "--out", "r", "--budget", "10m", "--lambda-u", "0"], ["--budget", "DivideMix"]),
        (["fit", "digits", "--out", "r", "--noise", "symmetric:1.4"], ["1.4"]),
        (["fit", "digits", "--out", "r", "--epochs", "0"], ["epochs"]),
        (["fit", "digits", "--out", "r", "--precision", "fp8"], ["fp8"]),
        (["fit", "digits", "--out", "r", "--method", "dividemix", "--temperature", "0"], ["temperature is 0.0"]),
        (["fit", "digits", "--out", "r", "--method", "dividemix", "--augmentations", "0"], ["augmentations is 0"]),
        (["fit", "digits", "--out", "r", "--weight-decay", "-1"], ["weight_decay"]),
        (["fit", "digits", "--out", "r", "--seed", "-1"], ["seed"]),
        (["fit", "digits", "--out", "r", "--limit", "-5"], ["--limit"]),
        (["fit", "digits", "--out", "r", "--labels-per-class", "0"], ["--labels-per-class"]),
        (["fit", "digits", "--out", "r", "--evaluate-every", "0"], ["--evaluate-every"]),
        (["fit", "digits", "--out", "r", "--cache-limit", "nan"], ["cache-limit"]),
        (["fit", "digits", "--out", "r", "--unlabelled", "x"], ["--unlabelled"]),
        (["fit", "digits", "--out", "/proc/nope/x"], ["/proc/nope"]),
        (["methods", "dividemiks"], ["dividemix"]),
        (["noise", "digits", "symetric:0.4"], ["symmetric"]),
    ],
)
def test_bad_input_is_one_line(words, named, tmp_path):
    refused(codivide(*words, cwd=tmp_path), *named)
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_debug_shows_the_traceback(tmp_path):
    done = codivide("--debug", "fit", "nowhere", "--out", "r", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_empty_and_one_class_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(codivide("fit", "empty", "--out", "r", cwd=tmp_path), "empty")
    (tmp_path / "one" / "cat").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "one" / "cat" / "a.png")
    refused(codivide("fit", "one", "--out", "r", cwd=tmp_path), "class")


def test_methods_and_noise_print_tables(tmp_path):
    done = codivide("methods", cwd=tmp_path)
    assert "dividemix" in done.stdout
    assert "2002.07394" in done.stdout
    assert "--lambda-u" in codivide("methods", "dividemix", cwd=tmp_path).stdout
    done = codivide("noise", "digits", "symmetric:0.5", "--out", "noisy.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "noisy.csv")
    rate = (table["label"] != table["true_label"]).mean()
    assert f"{rate:.4f}" in done.stdout
    assert abs(rate - 0.45) < 0.04


def test_names_of_the_rows_of_a_table_are_no_paths(tmp_path):
    """A column ``path`` would make image files of them, where the table is read."""
    table = pd.DataFrame({"id": [f"song/{k}" for k in range(60)], "a": range(60), "label": ["x", "y"] * 30})
    table.to_csv(tmp_path / "songs.csv", index=False)
    done = codivide("noise", "songs.csv", "symmetric:0.5", "--out", "noisy.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    noisy = pd.read_csv(tmp_path / "noisy.csv")
    assert list(noisy) == ["id", "label", "true_label"]
    assert noisy["id"].tolist() == table["id"].tolist()


def test_few_labels_some_of_them_wrong(tmp_path):
    words = ["--limit", "600", "--noise", "symmetric-exclusive:0.4", "--labels-per-class", "20", "--seed", "1"]
    done = codivide("fit", "digits", "--method", "cross_entropy", "--epochs", "2", "--out", "run", *words, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "too little was learned; do not use" in done.stdout
    assert "600 samples" in done.stdout
    assert "400 without a label" in done.stdout
    assert "of 200 labels look wrong" in done.stdout
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["source"]["labels_per_class"] == 20
    assert summary["verdict"] == "too little was learned; do not use"
    assert summary["noise"]["labels"] == 200
    assert abs(summary["noise"]["effective_rate"] - 0.4) < 0.1
    table = pd.read_csv(tmp_path / "run" / "labels.csv")
    assert table["given"].value_counts().tolist() == [20] * 10
    assert table["suggested"].notna().all()


def dies_after_four_epochs():
    torch.set_num_threads(1)
    save = checkpoint.save

    def save_and_die(run, path):
        save(run, path)
        if run.epoch == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.save = save_and_die


@pytest.mark.long
@pytest.mark.process
@forked
def test_kill_then_resume_is_the_straight_run(tmp_path):
    words = ["fit", "digits", "--method", "dividemix", "--noise", "symmetric:0.4", "--epochs", "6", "--warmup", "2"]
    words += ["--limit", "200", "--batch-size", "32", "--average", "0.9", "--freeze", "1", "--evaluate-every", "2"]
    words += ["--net", "mlp"]  # it has BatchNorm, too
    straight = codivide(*words, "--out", "straight", cwd=tmp_path)
    assert straight.returncode in (0, 3), straight.stderr  # six epochs on 200 labels may be too little
    asked = children.command(*words, "--out", "killed")
    killed = children.run(asked, tmp_path, prepare=[dies_after_four_epochs])
    assert killed.signal == signal.SIGKILL, killed.err  # it was still training
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    resumed = codivide(*words, "--out", "killed", "--resume", cwd=tmp_path)
    assert resumed.returncode == straight.returncode, resumed.stderr
    for name in ("model.safetensors", "labels.csv", "labels.parquet", "predictions.npz"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name
    lines = [json.loads(line) for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    expected = [json.loads(line) for line in (tmp_path / "straight" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 6
    for row in lines + expected:
        del row["seconds"], row["crc32"]
    assert lines == expected


def test_bench_lists_whole_names_at_80_columns(monkeypatch, capsys):
    monkeypatch.setattr(bench_commands, "out_console", Console(width=80, force_terminal=True, color_system=None))
    monkeypatch.setattr(output, "out_console", bench_commands.out_console)
    bench_commands.list_recipes("*-cifar10/*")
    out = capsys.readouterr().out
    assert "dividemix-ablation-cifar10/asym40-divide-and-mixmatch" in out
    assert "best 86.5, mean of last 10 85.2" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80


def test_bench_runs_and_tabulates_a_recipe(tmp_path):
    done = codivide("bench", "run", "nothing/here", cwd=tmp_path)
    assert done.returncode == 2
    assert "nothing/here" in done.stderr
    text = codivide("bench", "table", "first/gce", cwd=tmp_path).stdout
    assert "| `gce` | not run |" in text


FITS = """if True:
    import sys
    from codivide.cli.app import main
    try:
        main()
    finally:
        import codivide.audit.clean, codivide.audit.facts
        print("matplotlib" in sys.modules)
"""


@pytest.mark.process
def test_a_process_fits_without_matplotlib_and_a_warning_is_one_line_without_a_place_in_the_code(tmp_path):
    words = ["--labels-per-class", "1000", "--limit", "200", "--epochs", "1", "--net", "mlp"]
    words += ["--method", "cross_entropy", "--out", "run"]
    done = process("-c", FITS, "fit", "digits", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"  # it is loaded to draw alone
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert "warning of 1000 labels a class: no sample is without a label" in done.stderr
    assert ".py:" not in done.stderr
