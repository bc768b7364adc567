"""``codivide audit``: the report of a run, and what it refuses."""

import sys
import webbrowser

import numpy as np
import pandas as pd
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


def test_what_else_samples_have_is_counted(tmp_path, monkeypatch, capsys):
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(200, 8)).round(4), columns=[f"c{k}" for k in range(8)])
    table["label"] = np.where(table["c0"] > 0, "high", "low")
    table.iloc[[150, 151, 152]] = table.iloc[[3, 4, 5]].to_numpy()
    table.loc[7, [f"c{k}" for k in range(7)]] = np.nan
    table.to_csv(tmp_path / "t.csv", index=False)
    codivide(monkeypatch, "fit", tmp_path / "t.csv", "--out", tmp_path / "run")
    capsys.readouterr()
    assert codivide(monkeypatch, "audit", tmp_path / "run") == 0
    said = capsys.readouterr().out
    (line,) = (line for line in said.splitlines() if line.startswith("besides: "))
    facts = Parsed((tmp_path / "run" / "report.html").read_text("ascii")).json("facts")
    assert facts["counts"]["Duplicates"] == 6
    assert facts["counts"]["Cells and columns"] == 1
    assert line == "besides: " + ", ".join(f"{title.lower()} {count}" for title, count in facts["counts"].items())
