"""``codivide audit``: the report of a run, and what it refuses."""

import sys
import webbrowser

import pytest
import torch
from test_audit_facts import make_folder, make_run
from test_audit_page import Parsed

from codivide.audit import render
from codivide.cli.app import main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("cli-audit")
        patch.setenv("CODIVIDE_CACHE", str(root / "cache"))
        make_folder(root / "shapes")
        torch.manual_seed(0)
        return make_run(root / "shapes", root / "run", epochs=1)


def codivide(monkeypatch, *words) -> int:
    monkeypatch.setattr(sys, "argv", ["codivide", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def test_the_report_lies_in_the_run_and_the_run_can_be_replaced(run, monkeypatch, capsys):
    assert codivide(monkeypatch, "audit", run) == 0
    report = run / "report.html"
    said = capsys.readouterr().out
    page = Parsed(report.read_text("ascii"))
    facts = page.json("facts")
    assert str(report) in said
    assert f"{facts['issues_total']} of {facts['labelled']} labels look wrong" in said
    assert len(page.json("index")["row"]) == facts["issues_total"] > 0
    from codivide.runs.claim import check_folder

    check_folder(run, overwrite=True)  # the report is part of the run


def test_elsewhere_in_parts_and_opened(run, tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    monkeypatch.setattr(render, "BLOCK", 5)
    out = tmp_path / "audit.html"
    assert codivide(monkeypatch, "audit", run, "--out", out, "--limit", 10, "--open") == 0
    assert opened == [out.as_uri()]
    assert str(tmp_path / "audit_files") in capsys.readouterr().out
    page = Parsed(out.read_text("ascii"))
    total = page.json("facts")["issues_total"]
    config, left = page.json("config"), {path.name[:5] for path in (tmp_path / "audit_files").iterdir()}
    assert len(config["files"]) == -(-total // 5) - 2
    assert len(left) == len(config["files"]) + 1  # and the names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere"),
        (["RUN", "--out", "."], "is a folder"),
        (["RUN", "--out", "no/such/report.html"], "does not exist"),
        (["RUN", "--limit", "0"], "--limit"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert codivide(monkeypatch, "audit", *(run if word == "RUN" else word for word in words)) == 2
    assert said in capsys.readouterr().err.replace("\n", "")
