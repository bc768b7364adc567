"""Files and records on every system: the umask, Windows' folders, no home folder, no git."""

import os
import signal
import stat
from importlib.metadata import PackageNotFoundError

import pandas as pd
import pytest
import torch

from codivide import InputError
from codivide.core import files, provenance
from codivide.core.files import cache_root, expand_user, guard, guarded, read_tensors, save_tensors, unguard, write_text
from codivide.core.stopping import Stopped, finished, stoppable
from codivide.core.version import VERSION
from codivide.data.sources import load

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no umask, no ~name and no users by number")


@posix
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_umask_says_who_reads_a_model(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        save_tensors(tmp_path / "model.safetensors", {"x": torch.ones(2)}, "test", {"kind": "x"})
        write_text(tmp_path / "summary.json", "{}")
    finally:
        os.umask(before)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {
        "model.safetensors": mode,
        "summary.json": mode,
    }
    assert read_tensors(tmp_path / "model.safetensors", "test")[1] == {"kind": "x"}


def test_a_system_that_opens_no_folders_writes_all_the_same(tmp_path, monkeypatch):
    """Windows has no O_DIRECTORY, and refuses to open a folder as a file."""
    opened = os.open

    def refusing(path, *others, **more):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *others, **more)

    monkeypatch.delattr(os, "O_DIRECTORY")
    monkeypatch.setattr(os, "open", refusing)
    write_text(tmp_path / "a.txt", "one")
    write_text(tmp_path / "a.txt", "two")
    save_tensors(tmp_path / "a.safetensors", {"x": torch.ones(2)}, "test", {})
    assert (tmp_path / "a.txt").read_text() == "two"
    assert torch.equal(read_tensors(tmp_path / "a.safetensors", "test")[0]["x"], torch.ones(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "a.txt"]


@posix
def test_an_unknown_home_folder_is_an_input_error(monkeypatch):
    for ask in (expand_user, load):
        with pytest.raises(InputError, match="no home folder for '~nosuchuser/x'"):
            ask("~nosuchuser/x")
    monkeypatch.setenv("CODIVIDE_CACHE", "~nosuchuser/cache")
    with pytest.raises(InputError, match="no home folder"):
        cache_root()


@posix
def test_a_process_that_runs_by_number_is_told_to_set_home(monkeypatch):
    import pwd

    def nobody(number):
        raise KeyError(number)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("CODIVIDE_CACHE")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(InputError, match="set HOME"):
        cache_root()


@pytest.fixture
def asked_anew():
    """Versions and commit are asked for once a process; here and after it they are asked for again."""
    asked = (provenance.commit, provenance._versions)
    for ask in asked:
        ask.cache_clear()
    yield
    for ask in asked:
        ask.cache_clear()


@pytest.mark.usefixtures("asked_anew")
def test_a_checkout_without_git_has_no_commit_and_keeps_its_versions(monkeypatch):
    def no_program(*command, **options):
        raise FileNotFoundError(2, "No such file or directory", "git")

    monkeypatch.setattr(provenance.subprocess, "run", no_program)
    record = provenance.environment()
    assert record["commit"] is None
    assert record["versions"]["codivide"] == VERSION
    assert record["versions"]["torch"]


@pytest.mark.usefixtures("asked_anew")
def test_a_checkout_that_is_not_installed_has_a_version(monkeypatch):
    def installed(name):
        if name == "codivide":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(provenance, "version", installed)
    assert provenance.environment()["versions"]["codivide"] == VERSION


@pytest.mark.usefixtures("asked_anew")
def test_git_is_asked_once_a_process_and_a_record_is_its_readers_own(monkeypatch):
    asked = []
    run = provenance.subprocess.run
    monkeypatch.setattr(provenance.subprocess, "run", lambda *a, **k: asked.append(a) or run(*a, **k))
    first = provenance.environment()
    first["versions"].clear()
    count = len(asked)
    second = provenance.environment()
    assert len(asked) == count
    assert second["commit"] == first["commit"]
    assert second["versions"]["codivide"] == VERSION


def test_a_guarded_table_has_no_formula_and_keeps_its_numbers():
    table = pd.DataFrame({"path": ["=cmd|' /C calc'!A0", "a.png", "'=x"], "probability": [-0.5, 0.25, 1.0]})
    shown = guarded(table)
    assert shown["path"].tolist() == ["'=cmd|' /C calc'!A0", "a.png", "''=x"]
    assert shown["path"].map(unguard).equals(table["path"])
    assert shown["probability"].equals(table["probability"])
    held = pd.DataFrame(
        {"given": [8, 7], "label": pd.Series([0, None], dtype=object), "kind": pd.Categorical(["=", "b"])}
    )
    assert guarded(held).to_csv(index=False, lineterminator="\n") == "given,label,kind\n8,0,'=\n7,,b\n"


def test_a_text_that_is_a_number_is_no_formula():
    numbers = ["-1.5", "+3%", "-1,234.50", "-2e-5", "-.5", "-", "--", "+7"]
    assert [guard(text) for text in numbers] == numbers
    formulas = ["-1+1", "-1 ", "+a", "-1\n", "+1(2)", "=1", "-1.5'", "-", "@1", "- one", "+-1", "-e5", "-%"]
    assert [text for text in formulas if guard(text) == text] == ["-"]
    assert [unguard(text) for text in ("'-1.5", "-1.5", "''-1.5")] == ["-1.5", "-1.5", "'-1.5"]


def test_a_model_that_may_not_be_read_is_no_missing_file(tmp_path, monkeypatch):
    """``safetensors`` says "no such file" of it; root may read anything, so the refusal is made here."""

    def refused(path, mode):
        raise PermissionError(13, "Permission denied", str(path))

    save_tensors(tmp_path / "m.safetensors", {"w": torch.zeros(2)}, "model", {})
    monkeypatch.setattr(files, "open", refused, raising=False)
    with pytest.raises(InputError, match=r"m\.safetensors cannot be read: Permission denied$"):
        read_tensors(tmp_path / "m.safetensors", "model")


def test_a_signal_waits_for_the_step_and_a_second_one_does_not():
    told = []

    def step(*numbers):
        with finished():
            for number in numbers:
                os.kill(os.getpid(), number)
            told.append("done")

    with stoppable(told.append):
        with pytest.raises(Stopped) as stopped:
            step(signal.SIGTERM)
        assert stopped.value.code == 143
        assert told.pop() == "done"
        with pytest.raises(Stopped):
            step(signal.SIGINT, signal.SIGINT)
        assert "done" not in told
        with pytest.raises(Stopped, match="SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
