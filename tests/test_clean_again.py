"""What ``clean`` wrote is trained on again: by the command that it prints, and without flags or by what is proposed."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.naive_bayes import GaussianNB

from codivide import NoisyLabelClassifier
from codivide.cli.app import main
from codivide.data.record import DataRecord
from codivide.data.sources import load
from codivide.runs.folder import TOO_LITTLE

pytestmark = pytest.mark.filterwarnings("ignore::codivide.TrainingWarning")
COUNT = 80
QUICK = ("--method", "features", "--heads", "linear", "--trees", "none", "--folds", "2", "--no-correct", "--no-vote")


def call(*words):
    """The command line in this process; its exit code. Runs of this size may end with "too little was learned"."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["codivide", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    return ended.value.code or 0


def rows():
    """Features, and a truth of two classes that they show."""
    x = np.random.default_rng(0).normal(size=(COUNT, 4)).round(3)
    return pd.DataFrame(x, columns=list("abcd")), x[:, 0] > 0


def written(name, table):
    table.to_csv(name, index=False)
    return name


def one_label():
    table, truth = rows()
    given = np.where(np.arange(COUNT) % 12 == 5, ~truth, truth)
    extra = {"who owns": np.arange(COUNT) // 2, "count": 1 + np.arange(COUNT) % 2}
    flags = ["--label", "genre", "--group", "who owns", "--weight", "count", "--drop", "d,c"]
    return written(
        "songs.csv", table.assign(kind=["x", "y"] * (COUNT // 2), genre=np.where(given, "rock", "jazz"), **extra)
    ), flags


def several_labels():
    table, _ = rows()
    sets = [
        "|".join(name for name, there in zip(("sky", "sea", "cat"), row[:3] > 0, strict=True) if there) or "(none)"
        for row in table.to_numpy()
    ]
    flags = ["--label", "tags", "--task", "multilabel", "--separator", "|"]
    return written("tags.csv", table.assign(kind=["x", "y"] * (COUNT // 2), tags=sets)), flags


def several_columns():
    table, _ = rows()
    held = (table[["a", "b"]] > 0).astype(int).rename(columns={"a": "sky", "b": "sea"})
    return written("both.csv", table.join(held)), ["--label", "sky,sea", "--task", "multilabel"]


def numbers():
    table, _ = rows()
    price = (100 + 30 * table["a"] + 10 * table["b"]).round(2)
    price[:3] *= 5
    flags = ["--label", "price", "--task", "regression"]
    return written("prices.csv", table.assign(kind=["x", "y"] * (COUNT // 2), price=price)), flags


def crowd():
    table, truth = rows()
    wrong = np.random.default_rng(1).random((3, COUNT)) < 0.2
    said = {who: np.where(truth ^ wrong[k], "yes", "no") for k, who in enumerate(("ann", "bob", "cy"))}
    return written("crowd.csv", table.assign(**said)), ["--annotators", "ann,bob,cy"]


def answers():
    table, truth = rows()
    names = [f"s{k}" for k in range(COUNT)]
    said = [(name, who, "yes" if truth[k] else "no") for k, name in enumerate(names) for who in ("ann", "bob")]
    written("answers.csv", pd.DataFrame(said, columns=["id", "annotator", "label"]))
    return written("crowd.csv", table.assign(id=names)), ["--annotators", "answers.csv"]


def texts():
    _, truth = rows()
    words = {True: ["goal", "team", "coach"], False: ["bank", "tax", "loan"]}
    rng = np.random.default_rng(2)
    lines = [" ".join(rng.choice(words[bool(one)], 4)) + f" {k}" for k, one in enumerate(truth)]
    table = pd.DataFrame({"review": lines, "stars": 1, "mood": np.where(truth, "-good", "=bad")})
    return written("reviews.csv", table), ["--text", "review", "--label", "mood", "--encoder", "tfidf:char"]


def photos():
    rng = np.random.default_rng(0)
    for k in range(24):
        path = Path("photos") / ("dark" if k % 2 else "light") / f"{k:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 100, (20, 28, 3)) + (0 if k % 2 else 150)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return "photos", ["--image-size", "16", "--encoder", "none", "--method", "cross_entropy", "--epochs", "1"]


def manifest():
    photos()
    files = sorted(map(str, Path("photos").rglob("*.png")))
    table = pd.DataFrame({"path": files, "kind": [Path(name).parent.name for name in files], "film": range(24)})
    flags = ["--label", "kind", "--group", "film", "--weight", "sure", "--encoder", "none"]
    table = table.assign(sure=1 + np.arange(24) % 2)
    return written("photos.csv", table), [*flags, "--method", "cross_entropy", "--epochs", "1"]


@pytest.mark.parametrize(
    "kind",
    [one_label, several_labels, several_columns, numbers, crowd, answers, texts, photos, manifest],
    ids=lambda kind: kind.__name__,
)
def test_the_command_that_clean_prints_trains_on_what_it_wrote(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    source, flags = kind()
    trained = () if "--task" in flags or "--method" in flags else QUICK
    assert call("fit", source, *flags, *trained, "--out", "my run") in (0, 3)
    capsys.readouterr()
    Path("my run2").mkdir()  # of another day
    assert call("clean", "my run", "--out", "clean ed") == 0
    (printed,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("train again: ")]
    command = shlex.split(printed.removeprefix("train again: "))
    assert command[:3] == ["codivide", "fit", "clean ed/labels_clean.csv"]
    assert call(*command[1:], *trained, *(flags[-4:] if "--epochs" in flags else ())) in (0, 3)
    table = pd.read_parquet("my run3/labels.parquet")
    kept = pd.read_csv("clean ed/labels_clean.csv")
    assert len(table) == len(kept)
    first, second = (json.loads(Path(run, "summary.json").read_text()) for run in ("my run", "my run3"))
    assert (second.get("task"), sorted(second["classes"])) == (first.get("task"), sorted(first["classes"]))
    read, again = (DataRecord.of_run(summary).options.to_dict() for summary in (first, second))
    settled = ("label", "annotators", "answers")  # under its own name, of one annotator
    assert {name: read[name] for name in read if name not in settled} == {
        name: again[name] for name in again if name not in settled
    }
    assert len(load("clean ed/labels_clean.parquet", options=DataRecord.of_run(second).options).y) == len(kept)


@pytest.mark.parametrize(
    ("kind", "proposed"),
    [
        (one_label, "perhaps 'genre'\n"),
        (several_labels, "perhaps 'tags' (--task multilabel --separator '|')\n"),
        (numbers, "perhaps 'price' (--task regression)\n"),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_without_flags_the_column_and_the_task_are_proposed(kind, proposed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source, flags = kind()
    assert call("fit", source, *flags, *(() if "--task" in flags else QUICK), "--out", "run") in (0, 3)
    assert call("clean", "run", "--out", "cleaned") == 0
    capsys.readouterr()
    assert call("fit", "cleaned/labels_clean.csv", "--out", "run2") == 2
    assert proposed in capsys.readouterr().err


def test_sets_of_few_labels_are_noticed_where_they_are_read_as_classes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source, _ = several_labels()
    assert call("fit", source, "--label", "tags", *QUICK, "--out", "run") in (0, 3)
    assert "several labels a row: --task multilabel --separator '|'" in capsys.readouterr().err


def test_rows_of_a_known_set_have_no_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    network = ("--method", "cross_entropy", "--net", "mlp", "--epochs", "1")
    assert call("fit", "digits", "--limit", "60", *network, "--out", "run") in (0, 3)
    assert call("clean", "run", "--out", "cleaned") == 0
    assert "train again" not in capsys.readouterr().out


def test_changes_are_since_the_source_also_those_that_were_decided_before_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x, truth = rows()
    written("own.csv", x.assign(id=[f"p{row}" for row in range(COUNT)], label=np.where(truth, "yes", "no")))
    given = ["yes" if value else "no" for value in truth]
    other = ["no" if value else "yes" for value in truth]
    lines = [
        f"p3,{given[3]},relabel,{other[3]},",
        f"p9,{given[9]},junk,,",
        f"p5,{given[5]},keep,,",
        f"p7,{given[7]},relabel,{other[7]},",
    ]
    Path("first.csv").write_text("\n".join(["id,given,decision,label,time", *lines]))
    assert call("fit", "own.csv", "--corrections", "first.csv", "--out", "run", *QUICK) in (0, 3)
    Path("second.csv").write_text(  # one is decided back, one that was relabelled is left out
        f"id,given,decision,label,time\np7,{other[7]},relabel,{given[7]},\np20,{given[20]},junk,,\n"
    )
    assert call("clean", "run", "--corrections", "second.csv", "--out", "cleaned") == 0
    said = "".join(capsys.readouterr())
    assert "decisions of 3 samples, made before the run (first.csv), are among the changes" in said
    changes = pd.read_csv("cleaned/CHANGES.csv", keep_default_na=False)
    assert changes[["id", "given", "label", "change"]].to_numpy().tolist() == [
        ["p3", given[3], other[3], "relabelled"],
        ["p20", given[20], "", "dropped"],
        ["p9", given[9], "", "dropped"],
    ]
    before, after = pd.read_csv("own.csv").set_index("id")["label"], pd.read_csv("cleaned/labels_clean.csv")
    differs = after["label"].to_numpy() != before[after["id"]].to_numpy()
    assert after["id"][differs].tolist() == ["p3"]
    assert set(before.index) - set(after["id"]) == {"p9", "p20"}


def test_a_run_that_is_of_no_use_says_so_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 4)).round(3)
    given = (x[:, 0] > 0) ^ (rng.random(200) < 0.2)
    pd.DataFrame(x, columns=list("abcd")).assign(label=np.where(given, "x", "y")).to_csv("rows.csv", index=False)
    assert call("fit", "rows.csv", "--out", "run", *QUICK) == 0
    assert call("clean", "run", "--out", "cleaned") == 0
    assert len(pd.read_csv("cleaned/CHANGES.csv")) > 10
    assert "too little" not in capsys.readouterr().err
    summary = json.loads(Path("run/summary.json").read_text())
    del summary["sha256"]
    Path("run/summary.json").write_text(json.dumps(summary | {"verdict": TOO_LITTLE}))
    assert call("predict", "run", "rows.csv") == 0
    told = capsys.readouterr()
    assert f"{TOO_LITTLE}: the predictions are guesses" in told.err
    assert told.out.splitlines()[0] == "id,label,probability"
    assert call("clean", "run", "--out", "unasked") == 0
    assert f"{TOO_LITTLE}: neither the labels" in capsys.readouterr().err
    assert pd.read_csv("unasked/CHANGES.csv").empty
    assert call("clean", "run", "--relabel-above", "0.5", "--out", "asked") == 0
    assert f"{TOO_LITTLE}: neither the labels" in capsys.readouterr().err
    assert len(pd.read_csv("asked/CHANGES.csv")) > 10


def test_an_audit_in_python_knows_that_too_little_was_learned():
    table, truth = rows()
    given = np.where(np.arange(COUNT) % 12 == 5, ~truth, truth)
    classifier = NoisyLabelClassifier(model=GaussianNB()).fit(table, given)
    found = classifier.audit()
    assert not found.is_useless
    assert TOO_LITTLE not in str(found) + found._repr_html_() + " ".join(found.clean().remarks)
    lost = replace(found, verdict=TOO_LITTLE)
    assert str(lost).startswith(f"{TOO_LITTLE}: neither the labels that look wrong nor the model\n")
    assert TOO_LITTLE in lost._repr_html_()
    unasked, asked = lost.clean(), lost.clean(relabel_above=0.5)
    assert unasked.remarks[0].startswith(TOO_LITTLE)
    assert unasked.changes.empty
    assert asked.remarks[0].startswith(TOO_LITTLE)
    assert len(asked.changes) == len(found.clean(relabel_above=0.5).changes) > 3
    drawn = np.random.default_rng(0).integers(0, 3, COUNT)
    assert NoisyLabelClassifier(model=GaussianNB()).fit(table, drawn).audit().is_useless
