"""No run loses work: what --out and --resume may touch, who may write, what is noticed, what is swept."""

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix

from codivide import Features, InputError, NoisyLabelClassifier, load_model
from codivide.audit import render
from codivide.audit.write_clean import aside, check_out
from codivide.bench import runner
from codivide.bench.recipes import Recipe
from codivide.cli.app import main
from codivide.cli.fit import NOT_USABLE
from codivide.core.files import read_tensors
from codivide.data import fingerprint
from codivide.data.arrays import from_arrays
from codivide.data.rows import MemmapRows, SparseRows, TensorRows, take
from codivide.fit.choose_run import execute
from codivide.fit.job import Job, build_method, default_plan
from codivide.runs import plot
from codivide.runs.claim import check_folder, claimed, locked
from codivide.runs.folder import CHECKPOINT, LOCK, RunFolder, SavedRun, has_run, remove_run
from codivide.training.checkpoint import Checkpoint
from codivide.training.loop import train
from tests import toys
from tests.forked import children, forked

pytestmark = pytest.mark.long  # whole runs, and runs that are stopped

FLAGS = ("--method", "cross_entropy", "--net", "mlp", "--epochs", "2", "--device", "cpu", "--precision", "fp32")


def loaded(seed=0, rows=60):
    x = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)
    return from_arrays(x, np.arange(rows) % 3)


def job(method="cross_entropy", epochs=2, seed=0, **hyper):
    asked = {"seed": seed} if method == "features" else {"epochs": epochs, "seed": seed, "precision": "fp32"}
    built = build_method(method, **hyper)
    return Job(built, default_plan(60, built, **asked), "auto" if method == "features" else "mlp")


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Finished runs by kind."""
    root = tmp_path_factory.mktemp("finished")
    for name in ("cross_entropy", "features"):
        execute(job(name), loaded(), root / name)
    return root


@pytest.fixture
def run(finished, tmp_path):
    return copy(finished / "cross_entropy", tmp_path / "run")


def copy(source, target):
    import shutil

    return shutil.copytree(source, target)


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["codivide", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def table(path, rows=60, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["a", "b", "c"])
    frame.assign(label=[f"k{k % 3}" for k in range(rows)]).to_csv(path, index=False)
    return path


# --- what is a run, and what is not ---


def test_an_out_whose_name_is_no_utf8_is_refused_before_anything_is_read(tmp_path):
    out = tmp_path / "caf\udce9"  # a Latin-1 name, as Python reads it
    for check in (check_folder, check_out):
        with pytest.raises(InputError, match=r"caf\\xe9 is no UTF-8"):
            check(out)


@pytest.mark.parametrize(
    "settings", [{}, [], None, {"version": "1", "method": "gce"}, {"version": 1, "method": "x", "plan": 3}, "{"]
)
def test_settings_of_another_program_are_no_run(tmp_path, settings):
    theirs = tmp_path / "model"
    theirs.mkdir()
    (theirs / "config.json").write_text(settings if isinstance(settings, str) else json.dumps(settings))
    (theirs / "model.safetensors").write_text("weights")
    (theirs / "labels.csv").write_text("mine")
    before = contents(theirs)
    for how in ({"resume": True}, {"overwrite": True}, {}):
        with pytest.raises(InputError, match=r"holds other files \(config\.json, \.\.\.\) and no codivide run"):
            check_folder(theirs, **how)
    remove_run(theirs)
    assert contents(theirs) == before
    assert not has_run(theirs)
    with pytest.raises(InputError, match=r"config\.json"):
        SavedRun(theirs)


@pytest.mark.parametrize("name", ["labels.csv", "choice.json", "model.safetensors", "scout/x.txt", "ubuntu.iso.part"])
@pytest.mark.parametrize("how", ["--resume", "--overwrite", None])
def test_files_that_are_called_like_a_runs_are_left(tmp_path, monkeypatch, capsys, name, how):
    source = table(tmp_path / "t.csv")
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    words = ("fit", source, "--out", tmp_path / "out", *FLAGS, *([how] if how else []))
    assert command(monkeypatch, *words) == 2
    assert "no codivide run" in capsys.readouterr().err
    assert contents(tmp_path / "out") == {name: b"mine"}


@pytest.mark.parametrize("stage", ["scout", "correction"])
def test_a_folder_in_the_place_of_a_stage_is_left(run, stage):
    (run / stage).mkdir()
    check_folder(run, overwrite=True)  # one that was not begun
    (run / stage / "labels.csv").write_text("mine")
    with pytest.raises(InputError, match=rf"{stage} holds other files"):
        check_folder(run, overwrite=True)
    execute(job(epochs=1), loaded(), run)
    assert (run / stage / "labels.csv").read_text() == "mine"


def test_overwriting_replaces_a_runs_own_files_only(run):
    mine = {name: name.encode() for name in ("notes.txt", "report.html", "curves.png", "losses.svg", "thesis-1.part")}
    for name, text in mine.items():
        (run / name).write_bytes(text)
    plot.save(plot.Figure(), run / "learning")
    with claimed(run, overwrite=True):
        execute(job(epochs=1), loaded(), run)
    assert {name: (run / name).read_bytes() for name in mine} == mine
    assert not (run / "learning.png").exists()  # codivide's own picture of the older run
    assert not (run / "learning.svg").exists()
    assert len(SavedRun(run).rows) == 1


def test_a_picture_that_codivide_did_not_draw_is_not_replaced(run):
    plot.draw(run)
    (run / "curves.png").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"curves\.png exists"):
        plot.draw(run)
    assert (run / "curves.png").read_bytes() == b"mine"


# --- an --out that is or holds what is read ---


@pytest.mark.parametrize("how", [(), ("--resume",), ("--overwrite",)])
@pytest.mark.parametrize("flag", ["source", "--test", "--truth", "--annotators", "--encoder"])
def test_an_out_that_holds_what_is_read_is_refused_at_once(run, tmp_path, monkeypatch, capsys, flag, how):
    held, other = table(run / "table.csv"), table(tmp_path / "t.csv")
    monkeypatch.setattr("codivide.data.sources.load", None)  # nothing is read
    words = [held if flag == "source" else other]
    words += [] if flag == "source" else [flag, f"hf:{held}" if flag == "--encoder" else held]
    before = contents(run)
    assert command(monkeypatch, "fit", *words, "--out", run, *FLAGS, *how) == 2
    assert "table.csv, which is read" in capsys.readouterr().err
    assert contents(run) == before


def test_an_out_that_is_the_source_is_refused_however_it_is_spelled(tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    photos.mkdir()
    (tmp_path / "link").symlink_to(photos)
    monkeypatch.chdir(photos)
    for out in (photos, tmp_path / "link", tmp_path / "link" / "..", photos / "." / ".." / "photos"):
        with pytest.raises(InputError, match=r"is what is read|holds .*, which is read"):
            check_folder(out, resume=True, inputs=["."])
    with pytest.raises(InputError, match="is what is read"):
        NoisyLabelClassifier(out=photos).fit(str(photos))


def test_decisions_may_lie_in_the_run_they_are_of(run):
    (run / "corrections.csv").write_text("x")
    check_folder(run, overwrite=True, inputs=[run / "corrections.csv"])


# --- --resume ---


@pytest.mark.parametrize("first", ["cross_entropy", "features"])
@pytest.mark.parametrize(
    ("second", "named"),
    [
        (job("features", folds=3), "method"),
        (job("features", seed=1), "plan.seed|method"),
        (job("gce"), "method"),
        (job(epochs=3), "plan.epochs|method"),
        (job("auto"), "method"),
    ],
)
def test_a_finished_run_of_another_kind_is_never_replaced(finished, first, second, named):
    before = contents(finished / first)
    with pytest.raises(InputError, match=rf"belongs to another run: ({named}).* there and "):
        execute(second, loaded(), finished / first, resume=True)
    assert contents(finished / first) == before


@pytest.mark.parametrize("name", ["cross_entropy", "features"])
def test_a_finished_run_is_said_to_be_and_nothing_changes(finished, name):
    before = {path: path.stat().st_mtime_ns for path in (finished / name).iterdir()}
    said = []
    outcome = execute(job(name), loaded(), finished / name, resume=True, say=said.append)
    assert said == [
        f"the run in {finished / name} is this one and finished: nothing is left to do, and nothing was changed"
    ]
    assert {path: path.stat().st_mtime_ns for path in (finished / name).iterdir()} == before
    straight = execute(job(name), loaded())
    assert torch.equal(outcome.model.logits(loaded().x), straight.model.logits(loaded().x))
    assert outcome.summary["label_issues"] == straight.summary["label_issues"]
    assert np.array_equal(outcome.table["clean_prob"].to_numpy(float), straight.table["clean_prob"].to_numpy(float))


@pytest.mark.parametrize("name", ["auto", "cross_entropy"])
def test_the_command_says_that_a_run_is_finished(tmp_path, monkeypatch, capsys, name):
    source = table(tmp_path / "t.csv")
    words = ("fit", source, "--out", tmp_path / "run", *(FLAGS if name == "cross_entropy" else ()))
    assert command(monkeypatch, *words) in (0, NOT_USABLE)
    before = contents(tmp_path / "run")
    assert LOCK not in before
    capsys.readouterr()
    assert command(monkeypatch, *words, "--resume") in (0, NOT_USABLE)
    said = capsys.readouterr()
    assert f"{name} the run in {tmp_path / 'run'} is this one" in " ".join((said.out + said.err).split())
    assert contents(tmp_path / "run") == before
    table(source, seed=1)
    assert command(monkeypatch, *words, "--resume") == 2
    assert "they differ in samples' content" in capsys.readouterr().err
    assert contents(tmp_path / "run") == before


def test_a_run_whose_beginning_goes_on_never_removes_a_finished_one(run):
    (run / CHECKPOINT).unlink()
    before = contents(run)
    with pytest.raises(InputError, match="holds a finished run"):
        RunFolder(run, {}, resume=True).begin()
    assert contents(run) == before


def test_a_folder_is_known_while_a_run_replaces_another(run, monkeypatch):
    """Killed at any point of its beginning, it leaves a folder that --overwrite takes."""
    order = []
    monkeypatch.setattr("codivide.runs.folder.write_json", lambda path, values: order.append(path.name))
    RunFolder(run, {"version": "1", "method": "gce", "plan": {}}).begin()
    assert order == ["config.json"]
    assert has_run(run)
    check_folder(run, overwrite=True)
    assert sorted(contents(run)) == ["config.json"]


# --- data that changed ---


def changes():
    whole = loaded()
    x = whole.x.data
    last, early = x.clone(), whole.y.copy()
    last[-1, -1] += 1e-3
    early[0] = 1
    return {
        "samples' content": replace(whole, x=TensorRows(last)),
        "labels": replace(whole, y=early),
        "samples' names": replace(whole, ids=[*whole.ids[:-1], 99]),
        "confirmed labels": replace(whole, confirmed=np.arange(60) == 3),
        "test part": replace(whole, test=whole),
        "true labels": replace(whole, truth=whole.y),
        "classes": replace(whole, classes=("a", "b", "c")),
    }


@pytest.mark.parametrize("what", changes())
def test_data_that_changed_are_noticed_in_finished_and_unfinished_runs(run, tmp_path, what):
    said = r"classes is .* there and .* now" if what == "classes" else f"they differ in {what}"
    with pytest.raises(InputError, match=rf"config\.json belongs to another run: {said}; use the same"):
        execute(job(), changes()[what], run, resume=True)
    (run / "summary.json").unlink()
    with pytest.raises(InputError, match=f"another run: {said}"):
        execute(job(), changes()[what], run, resume=True)


def test_a_checkpoint_belongs_to_all_its_samples(tmp_path):
    data, path = toys.toy().data, tmp_path / "c.safetensors"
    train(build_method("gce"), data, toys.build, toys.plan(1), checkpoint=Checkpoint(path))
    x = data.x.data.clone()
    x[-1, 0] += 1
    changed = replace(data, x=TensorRows(x))
    with pytest.raises(InputError, match="samples' content"):
        train(build_method("gce"), changed, toys.build, toys.plan(1), checkpoint=Checkpoint(path, resume=True))


def test_rows_of_every_kind_are_hashed_whole(tmp_path, monkeypatch):
    values = np.random.default_rng(0).random((3000, 8), dtype=np.float32)
    values.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", np.float32, "r+", shape=(3000, 8))
    dense = fingerprint.digest_rows(TensorRows(torch.from_numpy(values)))
    assert fingerprint.digest_rows(MemmapRows(mapped)) == dense
    assert fingerprint.digest_rows(TensorRows(torch.from_numpy(values[:-1]))) != dense
    sparse = SparseRows(csr_matrix(values))
    assert fingerprint.digest_rows(sparse) == fingerprint.digest_rows(take(sparse, np.arange(3000)))
    assert fingerprint.digest_rows(take(sparse, np.arange(10))) == fingerprint.digest_rows(
        SparseRows(csr_matrix(values[:10]))
    )
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 4, 4, 3).permute(0, 3, 1, 2)
    assert fingerprint.digest_rows(TensorRows(images)) == fingerprint.digest_rows(TensorRows(images.contiguous()))
    monkeypatch.setattr(fingerprint, "WHOLE", 1000)
    monkeypatch.setattr(fingerprint, "_PART", 10 * 32)  # as if it were huge
    assert fingerprint.digest_rows(MemmapRows(mapped)) == dense  # a table of the user's own is read whole
    pictures = mapped.reshape(3000, 1, 2, 4)
    part = fingerprint.digest_rows(MemmapRows(pictures))
    pictures[1] += 1  # between two that are read
    assert fingerprint.digest_rows(MemmapRows(pictures)) == part
    pictures[-1] += 1
    assert fingerprint.digest_rows(MemmapRows(pictures)) != part


# --- one writer ---


def test_a_second_writer_is_refused_before_the_data_are_read(tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    source = table(tmp_path / "t.csv")
    monkeypatch.setattr("codivide.data.sources.load", None)
    recipe = Recipe("quick/x", "cross_entropy", "digits", limit=50, net="mlp", plan={"epochs": 1})
    with claimed(out):
        assert command(monkeypatch, "fit", source, "--out", out, *FLAGS, "--resume") == 2
        assert "another codivide process is writing to" in " ".join(capsys.readouterr().err.split())
        with pytest.raises(InputError, match="another codivide process"):
            NoisyLabelClassifier(out=out).fit(str(source))
        with pytest.raises(InputError, match="another codivide process"):
            runner.run(recipe, 0, out)
    assert not out.exists()  # nothing was begun


def test_a_report_waits_for_nobody(run, tmp_path):
    with claimed(run, resume=True):
        with pytest.raises(InputError, match="another codivide process"):
            render.check_target(run / "report.html")
        render.check_target(tmp_path / "report.html")
    render.check_target(run / "report.html")
    assert not (run / LOCK).exists()


@forked
@pytest.mark.process
def test_the_lock_goes_with_its_process_and_a_stale_one_does_no_harm(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    told, tell = os.pipe()

    def hold():
        with locked(out):
            os.write(tell, b"held")
            signal.pause()

    child = children.start(hold, tmp_path)
    assert os.read(told, 4) == b"held"
    with pytest.raises(InputError, match="another codivide process"), locked(out):
        pass
    os.kill(child.number, signal.SIGKILL)
    assert child.end().signal == signal.SIGKILL
    for end in (told, tell):
        os.close(end)
    assert (out / LOCK).exists()
    check_folder(out)  # it is no other file
    with locked(out):
        pass
    assert not (out / LOCK).exists()


def test_a_claim_leaves_no_folder_behind_unless_it_is_used(tmp_path):
    with pytest.raises(ZeroDivisionError), claimed(tmp_path / "deep" / "run"):
        raise ZeroDivisionError
    assert not (tmp_path / "deep" / "run").exists()
    with claimed(tmp_path / "run"):
        (tmp_path / "run" / "x").write_text("x")
    assert contents(tmp_path / "run") == {"x": b"x"}


# --- what killed runs leave ---


@pytest.mark.parametrize("words", [("--resume",), ("--overwrite",)])
def test_own_parts_are_swept_also_when_nothing_is_left_to_do(tmp_path, monkeypatch, words):
    source = table(tmp_path / "t.csv")
    first = ("fit", source, "--out", tmp_path / "run", *FLAGS)
    assert command(monkeypatch, *first) in (0, NOT_USABLE)
    run = tmp_path / "run"
    own = [f"{stem}-0123abcd.part" for stem in ("model", "labels", "predictions", "metrics", "choice", "curves")]
    mine = ["ubuntu.iso.part", "model.part", "model-0123abcd.part.txt", "model-xyz.part", "notes-0123abcd.part"]
    for name in own + mine:
        (run / name).write_text("half")
    os.utime(run / "curves-0123abcd.part", (time.time() - 7200,) * 2)
    (run / "learning-0123abcd.part").write_text("half")  # somebody may just be drawing it
    assert command(monkeypatch, *first, *words) in (0, NOT_USABLE)
    assert sorted(path.name for path in run.glob("*.part*")) == sorted([*mine, "learning-0123abcd.part"])


def test_what_a_killed_clean_left_is_swept_after_a_day(tmp_path):
    names = (".codivide-0123abcd.part", ".codivide-89abcdef.part", "photos.part", ".codivide-mine.part")
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_text("half")
        if name != names[1]:  # which may still be written
            os.utime(tmp_path / name, (time.time() - 2 * 86_400,) * 2)
    with aside(tmp_path / "cleaned") as folder:
        (folder / "labels.csv").write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names[1:], "cleaned"])


# --- damage ---


def header_of(content):
    """What the header of a safetensors file says, its texts of JSON read as well; None where it cannot be read."""
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return header | {"__metadata__": {name: json.loads(text) for name, text in header["__metadata__"].items()}}
    except (ValueError, KeyError, TypeError):
        return None


def test_a_byte_that_flips_is_noticed_in_models_and_checkpoints(run):
    look = {
        "model.safetensors": lambda: load_model(run / "model.safetensors"),
        "checkpoint.safetensors": lambda: execute(job(), loaded(), run, resume=True),
    }
    (run / "summary.json").unlink()
    rng = random.Random(0)
    for name, reader in look.items():
        whole = (run / name).read_bytes()
        assert header_of(whole) is not None
        header = 8 + int.from_bytes(whole[:8], "little")
        places = [0, 8, header - 1, header, len(whole) - 1]
        places += [rng.randrange(len(whole)) for _ in range(30)] + [rng.randrange(header) for _ in range(30)]
        for place in places:
            if whole[place : place + 1] == b" ":
                continue  # the header is padded with spaces, which any white space may replace
            flipped = bytearray(whole)
            flipped[place] ^= 1 << rng.randrange(8)
            if 8 <= place < header and header_of(flipped) == header_of(whole):
                continue  # the last digit of a number, which stays the same number
            (run / name).write_bytes(bytes(flipped))
            with pytest.raises(InputError, match=name):
                reader()
        for size in (0, 7, header, len(whole) - 1):
            (run / name).write_bytes(whole[:size])
            with pytest.raises(InputError, match=name):
                reader()
        (run / name).write_bytes(whole)
        reader()


@pytest.mark.parametrize(
    "change",
    [
        lambda header: None,
        lambda header: [header],
        lambda header: {"format": 3},
        lambda header: header | {"fingerprint": None},
        lambda header: header | {"fingerprint": [1]},
        lambda header: header | {"optimizer_scalars": {}},
        lambda header: {name: value for name, value in header.items() if name != "epoch"},
    ],
)
def test_headers_of_checkpoints(run, change):
    from safetensors.torch import save_file

    (run / "summary.json").unlink()
    path = run / CHECKPOINT
    tensors, header = read_tensors(path, "run")
    path.unlink()
    save_file(tensors, path, {"run": json.dumps(change(header))})
    with pytest.raises(InputError, match=r"checkpoint\.safetensors"):
        execute(job(), loaded(), run, resume=True)


def test_a_home_folder_is_found_and_one_of_nobody_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 2)), np.arange(40) % 2
    for out in ("~nosuchuser/run", "~nosuchuser"):
        with pytest.raises(InputError, match="no home folder for '~nosuchuser"):
            NoisyLabelClassifier("features", out=out).fit(x, y)
        with pytest.raises(InputError, match="begins with a home folder: there is no user of that name"):
            check_folder(Path(out))
    with pytest.raises(InputError, match=r"begins with a home folder: write it in full, .*home/run"):
        check_folder(Path("~/run"))
    NoisyLabelClassifier(Features(heads="linear", trees="none"), out="~/run").fit(x + y[:, None], y)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]
    assert (tmp_path / "home" / "run" / "labels.csv").is_file()
    (tmp_path / "~kept").mkdir()
    check_folder(Path("~kept/run"))  # a folder that is really called so
