"""What a run was trained on: options and record to JSON and back, and through every command that reads them."""

import json
import os
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from codivide import InputError, NoisyLabelClassifier
from codivide.audit.clean import clean, read_run
from codivide.audit.material import from_run
from codivide.cli.app import main
from codivide.data import options as reading
from codivide.data.options import ReadOptions
from codivide.data.record import DataRecord
from codivide.data.sources import load
from codivide.methods.features.options import Features

pytestmark = pytest.mark.long  # whole runs, one for each option

SET = {  # of every option of the data a value that is not its default
    "image_size": 24,
    "unlabelled": None,
    "augment": "shift",
    "encoder": "tfidf:char",
    "label": "genre",
    "text": "sentence",
    "columns": ("age", "job"),
    "drop": ("key",),
    "annotators": ("a", "b"),
    "answers": Path("answers.csv"),
    "merge_labels": True,
    "keep_na": True,
    "group": "patient",
    "weight": "count",
    "task": "multilabel",
    "separator": "|",
}
RECORD = DataRecord(
    "photos",
    ReadOptions(**SET),
    test="held/",
    truth="t.csv",
    noise="pair:0.2",
    limit=9,
    labels_per_class=3,
    labels=30,
    expand="weak",
    class_weight="balanced",
    folder="/x",
)


def through_json(values):
    return json.loads(json.dumps(values, allow_nan=False))


def test_every_option_is_of_the_data_or_of_the_machine():
    assert {item.name for item in fields(ReadOptions)} == SET.keys() | set(reading.OF_THE_MACHINE)
    assert not SET.keys() & set(reading.OF_THE_MACHINE)


@pytest.mark.parametrize("name", SET)
def test_an_option_goes_to_json_and_back(name):
    options = ReadOptions(**{name: SET[name]})
    written = through_json(options.to_dict())
    assert list(written) == [name]
    assert ReadOptions.from_dict(written) == options


def test_a_record_goes_to_json_and_back_without_what_is_of_the_machine():
    written = through_json(RECORD.to_dict())
    assert set(written) == {item.name for item in fields(DataRecord)}
    assert DataRecord.from_dict(written) == RECORD
    here = replace(RECORD, options=replace(RECORD.options, device="cpu", max_bad=3, workers=2, cache_limit=1))
    assert here.to_dict() == RECORD.to_dict()
    assert DataRecord().to_dict() == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pth": "x"}, "unknown entry of a run's source 'pth'. Did you mean 'path'?"),
        ({"options": {"image_sise": 3}}, "unknown option of reading 'image_sise'. Did you mean 'image_size'?"),
        ({"options": {"cache_limit": 3}}, "unknown option of reading 'cache_limit'"),
        ({"options": {"image_size": "3"}}, "'image_size' is '3' in the record; it must be a whole number"),
        ({"options": {"annotators": "a,b"}}, "it must be a list of texts"),
        ({"limit": True}, "'limit' is True in the record; it must be a whole number"),
        ({"options": []}, "it must be an object of options"),
    ],
)
def test_what_a_record_does_not_know_is_refused(values, message):
    with pytest.raises(InputError) as refused:
        DataRecord.from_dict(values)
    assert message in str(refused.value)


def test_places_are_found_from_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x.csv").touch()
    (tmp_path / "there" / "who.csv").touch()
    monkeypatch.chdir(tmp_path / "there")
    record = DataRecord.of(Path("x.csv"), ReadOptions(answers=Path("who.csv")))
    monkeypatch.chdir(tmp_path)
    assert record.root() == tmp_path / "there" / "x.csv"
    assert record.reading().answers == tmp_path / "there" / "who.csv"
    (tmp_path / "x.csv").touch()  # of another project
    assert record.root() == tmp_path / "there" / "x.csv"
    (tmp_path / "there" / "x.csv").rename(tmp_path / "x.csv")
    assert record.root() == tmp_path / "x.csv"
    (tmp_path / "digits").mkdir()
    assert DataRecord.of("digits", ReadOptions()).location() == "digits"
    assert DataRecord.of("./digits", ReadOptions()).location() == str(tmp_path / "digits")
    assert DataRecord.of(np.zeros(3), ReadOptions()).location() is None


# --- every option through fit, audit, clean, predict and corrections


def call(*words, expect=(0, 3)):
    """The command line in this process; runs of this size may end with "too little was learned"."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["codivide", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert (ended.value.code or 0) in (expect if isinstance(expect, tuple) else (expect,))


def blobs(count=60, unlabelled=6):
    """A table of three classes of which some samples have no label."""
    rng = np.random.default_rng(0)
    truth = np.arange(count) % 3
    table = pd.DataFrame(rng.normal(size=(count, 4)) + 4 * truth[:, None], columns=list("wxyz"))
    given = np.where(np.arange(count) % 10 == 9, (truth + 1) % 3, truth)
    return table, given


def table_of(folder, name="rows.csv", **columns):
    table, given = blobs()
    extra = {key: value(given) for key, value in columns.items()}
    table.assign(id=[f"s{k}" for k in range(len(table))], **extra).to_csv(folder / name, index=False)
    return folder / name


def names(given):
    return np.array(["ant", "bee", "cow"])[given]


def votes(seed):
    def column(given):
        wrong = np.random.default_rng(seed).random(len(given)) < 0.2
        return names(np.where(wrong, (given + 1) % 3, given))

    return column


def label_source(folder):
    return table_of(folder, genre=names), ["--label", "genre"]


def unlabelled_source(folder):
    return table_of(folder, label=lambda given: np.where(given == 2, -1, given)), ["--unlabelled", "none"]


def annotators_source(folder):
    return table_of(folder, a=votes(1), b=votes(2), c=votes(3)), ["--annotators", "a,b,c"]


def answers_source(folder):
    path = table_of(folder)
    _, given = blobs()
    rows = [(f"s{k}", who, votes(seed)(given)[k]) for seed, who in enumerate("abc") for k in range(len(given))]
    pd.DataFrame(rows, columns=["id", "annotator", "label"]).to_csv(folder / "answers.csv", index=False)
    return path, ["--annotators", "answers.csv"]


def texts_source(folder):
    rng = np.random.default_rng(0)
    _, given = blobs()
    words = [["goal", "team", "coach"], ["cell", "gene", "orbit"], ["bank", "tax", "loan"]]
    lines = [" ".join(rng.choice(words[k % 3], 5)) + f" {k}" for k in range(60)]
    pd.DataFrame({"text": lines, "label": names(given)}).to_csv(folder / "texts.csv", index=False)
    return folder / "texts.csv", ["--encoder", "tfidf:char"]


def photos_source(folder):
    rng = np.random.default_rng(0)
    for k in range(48):
        path = folder / "photos" / ("dark" if k % 2 else "light") / f"{k:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 100, (20, 28, 3)) + (0 if k % 2 else 150)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    training = ["--method", "cross_entropy", "--net", "mlp", "--epochs", "1", "--batch-size", "16"]
    return folder / "photos", ["--image-size", "16", "--augment", "shift", *training]


def twins_source(folder):
    def column(given):
        written = names(given).astype("U4")
        written[given == 1] = np.resize(["bee", "Bee", "bee "], (given == 1).sum())
        return written

    return table_of(folder, label=column), ["--merge-labels"]


def na_source(folder):
    return table_of(folder, label=lambda given: np.array(["ant", "None", "cow"])[given]), ["--keep-na"]


def groups_source(folder):
    def patients(given):
        return np.array([f"p{row // 2}" for row in range(len(given))])

    return table_of(folder, label=names, patient=patients), ["--group", "patient"]


def review_source(folder):
    path, _ = texts_source(folder)
    pd.read_csv(path).rename(columns={"text": "review"}).assign(stars=1).to_csv(path, index=False)
    return path, ["--text", "review"]


def columns_source(folder):
    return table_of(folder, label=names, job=lambda given: np.where(given == 1, "bee", "x")), ["--columns", "x,Y,job"]


def drop_source(folder):
    return table_of(folder, label=names, key=lambda given: range(len(given))), ["--drop", "key"]


def weights_source(folder):
    return table_of(folder, label=names, count=lambda given: 1 + np.arange(len(given)) % 3), ["--weight", "count"]


SOURCES = {
    "label": label_source,
    "text": review_source,
    "columns": columns_source,
    "drop": drop_source,
    "unlabelled": unlabelled_source,
    "annotators": annotators_source,
    "answers": answers_source,
    "encoder": texts_source,
    "image_size": photos_source,
    "augment": photos_source,
    "merge_labels": twins_source,
    "keep_na": na_source,
    "group": groups_source,
    "weight": weights_source,
}


TARGETS = {"task", "separator"}  # the whole way of these is in tests/test_beyond.py


def test_every_option_has_a_source_to_try_it():
    assert SOURCES.keys() == SET.keys() - TARGETS


def follow(run, source, folder):
    """Audit, clean and predict from another folder: nothing may be lost of what the run was trained on."""
    found = from_run(run)
    assert found.rows is not None, found.remarks
    assert found.points is not None, found.remarks
    assert not [remark for remark in found.remarks if "cannot" in remark]
    assert len(found.rows) == len(found.table)
    call("audit", run, "--out", folder / "page.html")
    call("clean", run, "--out", folder / "clean")
    cleaned = pd.read_csv(folder / "clean" / "labels_clean.csv")
    assert len(cleaned) > 20
    call("predict", run, source, "--out", folder / "answers.csv")
    assert len(pd.read_csv(folder / "answers.csv")) == len(found.table)
    return found, cleaned


def decide(found, path):
    """A file of decisions: the first label is confirmed, the second sample left out."""
    column = "path" if "path" in found.table else "id"
    rows = found.table.head(2)
    decisions = pd.DataFrame({"id": rows[column], "given": rows["given"], "decision": ["keep", "junk"], "label": ""})
    decisions.to_csv(path, index=False)


@pytest.fixture
def away(tmp_path, monkeypatch):
    """Where a run is made, and where the current folder is set before anything else is done with it."""
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "made").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "made")
    yield tmp_path
    os.chdir(tmp_path)


@pytest.mark.parametrize("name", sorted(SET.keys() - TARGETS - {"augment"}))
def test_a_run_of_the_command_line_keeps_every_option(name, away, monkeypatch, capsys):
    source, flags = SOURCES[name](Path.cwd())
    words = ["fit", source.name, *flags] + (
        [] if "--method" in flags else ["--method", "features", "--heads", "linear", "--folds", "2", "--no-correct"]
    )
    call(*words, "--out", "run")
    options = DataRecord.of_run(json.loads(Path("run/summary.json").read_text())).options
    assert getattr(options, name) != getattr(ReadOptions(), name)
    assert name != "image_size" or options.augment == "shift"
    run = Path("run").resolve()
    monkeypatch.chdir(away / "other")
    found, cleaned = follow(run, source, away)
    kept = words[4:] if name in ("annotators", "answers") else words[2:]  # one label a row now
    call("fit", away / "clean" / "labels_clean.csv", *kept, "--out", "refitted")
    assert len(from_run(Path("refitted")).table) == len(cleaned)
    decide(found, away / "corrections.csv")
    monkeypatch.chdir(away / "made")
    call(*words, "--corrections", away / "corrections.csv", "--out", "again")
    again = from_run(Path("again"))
    assert len(again.table) == len(found.table) - 1
    assert again.rows is not None, again.remarks


def test_clean_keeps_the_name_of_the_column_of_labels(away):
    call(
        "fit",
        table_of(Path.cwd(), Genre=names),
        "--label",
        "genre",
        "--method",
        "features",
        "--heads",
        "linear",
        "--out",
        "run",
    )
    call("clean", "run", "--out", "cleaned", "--export", "label-studio")
    for cleaned in (pd.read_csv("cleaned/labels_clean.csv"), pd.read_parquet("cleaned/labels_clean.parquet")):
        assert "Genre" in cleaned
        assert "label" not in cleaned
    exported = json.loads(Path("cleaned/label_studio.json").read_text())
    assert all("Genre" not in item["data"] for item in exported)
    assert len(exported) == len(load("cleaned/labels_clean.csv", options=ReadOptions(label="genre")).y) == len(cleaned)


def test_what_an_experiment_did_is_in_the_record_and_seen_again(away, monkeypatch, capsys):
    source = table_of(Path.cwd(), label=names)
    table_of(Path.cwd(), "held.csv", label=names)
    done = ["--noise", "symmetric:0.2", "--limit", 40, "--labels-per-class", 10, "--test", "held.csv", "--seed", 1]
    call("fit", source.name, "--method", "features", "--heads", "linear", *done, "--out", "run")
    record = read_run(Path("run")).source
    assert (record.path, record.noise, record.limit) == ("rows.csv", "symmetric:0.2", 40)
    assert (record.labels_per_class, record.test, record.folder) == (10, "held.csv", str(Path.cwd()))
    found = from_run(Path("run"))
    assert len(found.rows) == 40
    assert len(found.table) == 40


def test_the_truth_is_in_the_record(away, capsys):
    source, flags = photos_source(Path.cwd())
    rows = [(p.relative_to(source).as_posix(), p.parent.name) for p in sorted(source.rglob("*.png"))]
    pd.DataFrame(rows, columns=["path", "label"]).to_csv("truth.csv", index=False)
    call("fit", source.name, *flags, "--truth", "truth.csv", "--out", "run")
    assert read_run(Path("run")).source.truth == "truth.csv"


def fit_estimator(name, source, **more):
    given = {"unlabelled": None} if name == "unlabelled" else {}
    if name == "encoder":
        given["encoder"] = "tfidf:char"
    if name in ("image_size", "augment"):
        given |= {"image_size": 16, "augment": "shift", "net": "mlp", "epochs": 1, "batch_size": 16}
    method = "cross_entropy" if name in ("image_size", "augment") else Features(heads="linear", folds=2, correct=False)
    return NoisyLabelClassifier(method, out="run", **given).fit(str(source), **more)


@pytest.mark.parametrize("name", ["unlabelled", "encoder", "image_size"])
def test_a_run_of_the_estimator_keeps_every_option(name, away, monkeypatch, capsys):
    source, _ = SOURCES[name](Path.cwd())
    fit_estimator(name, source.name)
    options = read_run(Path("run")).source.options
    assert getattr(options, name) != getattr(ReadOptions(), name)
    assert name != "image_size" or options.augment == "shift"
    run = Path("run").resolve()
    monkeypatch.chdir(away / "other")
    found, cleaned = follow(run, source, away)
    assert len(clean(run, away / "twice").labels) == len(cleaned)
    decide(found, away / "corrections.csv")
    monkeypatch.chdir(away / "made")
    run.rename(away / "first")
    again = fit_estimator(name, source.name, corrections=away / "corrections.csv")
    assert len(again.labels_) == len(found.table) - 1
