"""Repaired data: what changes and why, beside a source that stays as it was."""

import json
import math
import os
import pickle
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given as cases
from hypothesis import strategies as st
from packaging.version import Version
from PIL import Image
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB

from codivide import Features, InputError, NoisyLabelClassifier, NoisyLabelRegressor, noise_report
from codivide.audit import from_probs, write_clean
from codivide.audit.clean import apply, clean
from codivide.audit.clean_rules import Sample, levelled
from codivide.cli.app import main
from codivide.core.errors import speaking_flags
from codivide.core.files import CLEANED
from codivide.data.corrections import Correction, Corrections
from codivide.data.options import ReadOptions
from codivide.data.sources import load
from codivide.data.tables import read_table
from codivide.runs import label_table


def decided(*rows) -> Corrections:
    return Corrections(tuple(Correction(*row) for row in rows), "c.csv", "")


def run_folder(tmp_path, table, source, classes=("cat", "dog")) -> Path:
    """What a run leaves that cleaning needs."""
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True, parents=True)
    table.to_parquet(folder / "labels.parquet", index=False)
    named = {} if source is None else {"path": str(source)}
    (folder / "summary.json").write_text(json.dumps({"classes": list(classes), "source": named}))
    (folder / "config.json").write_text(json.dumps({"version": "0", "method": "gce", "plan": {}}))
    return folder


def tree(root: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        str(p.relative_to(root)): (p.read_bytes() if p.is_file() else b"", p.lstat().st_mtime_ns, p.lstat().st_mode)
        for p in sorted(root.rglob("*"))
    }


def picture(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), level).save(path)


# The rules


def test_rules_against_a_loop():
    generator = np.random.default_rng(0)
    n = 400
    table = pd.DataFrame(
        {
            "id": range(n),
            "given": pd.Series(generator.choice(["a", "b", "c", None], n), dtype=object),
            "suggested": generator.choice(["a", "b", "c"], n),
            "clean_prob": generator.choice([0.0, 0.1, 0.3, 0.9], n),
            "suggested_prob": generator.choice([0.5, 0.95, 0.99], n),
        }
    )
    table.loc[table["given"].isna(), "clean_prob"] = np.nan
    rows = []
    for k in range(0, n, 7):
        held = table["given"][k]
        kind = ("keep", "relabel", "junk", "accept")[k % 4] if held else "relabel"
        label = {"keep": "", "junk": "", "relabel": "c", "accept": table["suggested"][k]}[kind]
        rows.append((str(k), held or "", kind, label))
    person = {int(row[0]): row for row in rows}
    found = apply(table, decided(*rows), drop_below=0.1, relabel_above=0.95)
    expected, changed = {}, {}
    for k, held, better, p, q in table.itertuples(index=False):
        if k in person:
            final = {"keep": held, "junk": "gone"}.get(person[k][2], person[k][3])
        elif held is None:
            final = None
        elif better != held and q > 0.95:
            final = better
        else:
            final = "gone" if p < 0.1 else held
        if final != "gone":
            expected[k] = final
        if final != held:
            changed[k] = "dropped" if final == "gone" else "labelled" if held is None else "relabelled"
    assert dict(zip(found.labels["id"], found.labels["label"], strict=True)) == expected
    assert found.labels.index.tolist() == list(expected)
    assert dict(zip(found.changes["id"], found.changes["change"], strict=True)) == changed
    assert set(changed.values()) == {"dropped", "labelled", "relabelled"}
    assert len(found.remarks) == 2  # what stays doubted, and the shares


TABLE = pd.DataFrame(
    {
        "id": range(6),
        "given": ["a", "a", "b", "b", "b", None],
        "suggested": ["a", "b", "b", "a", "a", "a"],
        "clean_prob": [0.99, 0.02, 0.05, 0.5, 0.05, np.nan],
        "suggested_prob": [0.99, 0.99, 0.99, 0.6, 0.6, 0.99],
    }
)


SURE = {"drop_below": 0.1, "relabel_above": 0.95}  # of TABLE one is relabelled, one left out


def labels_of(*words, table=TABLE, **settings):
    found = apply(table, *words, **settings)
    return dict(zip(found.labels["id"], found.labels["label"], strict=True))


def test_what_is_not_asked_for_is_not_done():
    assert labels_of(drop_below=0.1, relabel_above=0.95) == {0: "a", 1: "b", 3: "b", 5: None}
    assert labels_of(drop_below=0.1) == {0: "a", 3: "b", 5: None}
    assert labels_of(relabel_above=0.95) == {0: "a", 1: "b", 2: "b", 3: "b", 4: "b", 5: None}
    kept = decided(("0", "a", "junk"))
    assert labels_of(kept) == {1: "a", 2: "b", 3: "b", 4: "b", 5: None}
    assert labels_of(kept, drop_below=0.1) == {3: "b", 5: None}


def test_every_change_has_its_reason():
    rows = [("1", "a", "keep", ""), ("3", "b", "accept", "a", "2026-01-01"), ("5", "", "relabel", "b")]
    changes = apply(TABLE, decided(*rows), drop_below=0.1, relabel_above=0.5).changes
    assert changes.to_numpy().tolist() == [
        [2, "b", None, "dropped", "p(clean) 0.05 is below 0.1"],
        [3, "b", "a", "relabelled", "a person accepted the suggestion (2026-01-01)"],
        [4, "b", "a", "relabelled", "p(suggestion) 0.6 is above 0.5"],
        [5, None, "b", "labelled", "a person chose another label"],
    ]


def test_what_an_earlier_run_learned_as_confirmed_stays():
    table = TABLE.assign(confirmed=[False, True, True, False, False, False])
    assert labels_of(table=table) == {0: "a", 1: "a", 2: "b", 3: "b", 4: "a", 5: None}
    assert labels_of(decided(("1", "a", "junk")), table=table, relabel_above=0.95)[2] == "b"
    assert 1 not in labels_of(decided(("1", "a", "junk")), table=table)


def test_without_probabilities_of_suggestions_doubt_stands_in():
    found = apply(TABLE.drop(columns="suggested_prob"), relabel_above=0.94)
    assert found.labels["label"].tolist() == ["a", "b", "b", "b", "a", None]
    assert "1 - p(clean) stands in" in found.remarks[0]
    assert found.changes["reason"][0] == "1 - p(clean) 0.98 is above 0.94"
    assert "stands in" not in apply(TABLE.drop(columns="suggested_prob"), drop_below=0.1).remarks[0]
    found = apply(TABLE.drop(columns="suggested_prob"))
    assert found.labels["label"].tolist() == ["a", "b", "b", "b", "a", None]  # row 2 stays: it is what is suggested
    assert "1 - p(clean) stands in" in found.remarks[0]


def test_unasked_each_sample_gets_what_leaves_the_fewest_wrong_labels():
    """Against a loop over keep, relabel and leave out, of which the last counts as half a wrong label.

    What the run agrees with stays: it does not look wrong.
    """
    generator = np.random.default_rng(1)
    n = 600
    table = pd.DataFrame(
        {
            "id": range(n),
            "given": generator.choice(["a", "b"], n),
            "suggested": generator.choice(["a", "b"], n),
            "clean_prob": generator.random(n),
            "suggested_prob": generator.random(n),
        }
    )
    found = labels_of(table=table)
    chosen = set()
    for row, given, suggested, right, sure in table.itertuples(index=False):
        costs = {"keep": 1 - right}
        if suggested != given:
            costs |= {"drop": 0.5, "relabel": 1 - min(sure, 1 - right)}  # only one of the two labels is right
        best = min(costs, key=costs.__getitem__)
        chosen.add(best)
        assert found.get(row, "gone") == {"keep": given, "relabel": suggested, "drop": "gone"}[best]
    assert chosen == {"keep", "relabel", "drop"}


def test_where_hardly_a_label_is_wrong_nothing_is_changed_unasked():
    """So much doubt is left by data without a wrong label, too."""
    table = pd.DataFrame({"id": range(200), "given": "a", "suggested": "a", "clean_prob": 1.0, "suggested_prob": 0.99})
    table.loc[:2, ["suggested", "clean_prob"]] = "b", 0.01
    found = apply(table)
    assert found.changes.empty
    assert found.remarks == [
        "hardly a label is wrong (estimated 1.5 %), so nothing is changed unasked; 3 that look wrong were left "
        "(p(clean) below 0.5): relabel_above=0.5, drop_below=0.5, or decide on the most doubtful yourself "
        "(corrections=)"
    ]
    table.loc[5:6, ["suggested", "clean_prob"]] = "b", 0.6  # as networks say it: another class is likelier all the same
    assert label_table.is_issue(table).sum() == 5
    (said,) = apply(table, certain=0.0).remarks
    assert "; 5 that look wrong were left (3 of them with p(clean) below 0.5): relabel_above=0.5" in said
    table.loc[5:6, ["suggested", "clean_prob"]] = "a", 1.0
    table.loc[3:4, ["suggested", "clean_prob"]] = "b", 0.01
    assert apply(table).changes["change"].tolist() == ["relabelled"] * 5  # 2.5 %


def test_what_is_left_is_said_with_decisions_and_without():
    assert apply(TABLE, decided(("1", "a", "accept", "b"))).remarks == [  # label 4; 0.99, 0.05, 0.5 and 0.05
        "2 labels that look wrong stay as they are (1 of them with p(clean) below 0.5): relabel_above=0.5, "
        "drop_below=0.5, or decide on the most doubtful yourself (corrections=)",
        "by p(clean) 67.8 % of the labels were wrong, and 60.2 % of those that stay are: both are high, for "
        "doubt counts as error (the rate itself: noise_report)",
    ]
    # 0.99, 0.5, and 0.05 of what is suggested too stay; 1 and 4 are relabelled, at 1 - 0.02 and 0.6
    assert apply(TABLE).remarks == [
        "by p(clean) 67.8 % of the labels were wrong, and 37.6 % of those that stay are: both are high, for "
        "doubt counts as error (the rate itself: noise_report). A new run finds less, for it agrees with the "
        "suggestions of this one",
        "for fewer wrong ones: relabel_above=0.5, drop_below=0.8, or decide on the most doubtful yourself "
        "(corrections=)",
    ]
    assert apply(TABLE).changes["reason"].tolist() == [
        "p(suggestion) 0.99 is above p(clean) 0.02",
        "p(suggestion) 0.6 is above p(clean) 0.05",
    ]
    unsure = TABLE.assign(suggested_prob=0.3)
    assert apply(unsure).changes["reason"].tolist() == [
        "p(clean) 0.02 and p(suggestion) 0.3 are below 0.5",
        "p(clean) 0.05 and p(suggestion) 0.3 are below 0.5",
    ]


@pytest.mark.parametrize("bad", [{"drop_below": -0.1}, {"relabel_above": 1.1}, {"drop_below": float("nan")}])
def test_a_threshold_is_a_probability(bad):
    with pytest.raises(InputError, match="a probability is at least 0 and at most 1"):
        apply(TABLE, **bad)


def test_what_is_lost_is_said():
    assert "no sample" not in apply(TABLE[:5], drop_below=0.4).remarks[0]
    assert apply(TABLE[:5], drop_below=0.9).remarks[0] == "no sample is left of 1 class: b"
    with pytest.raises(InputError, match="all 5 samples would be left out"):
        apply(TABLE[:5], drop_below=1.0)
    with pytest.raises(InputError, match=r"c.csv, line 0: no sample"):
        apply(TABLE, decided(("77", "a", "keep")))


def test_a_new_class_has_the_type_of_the_others():
    table = TABLE.assign(
        given=pd.Series([1, 1, 2, 2, 2, None], dtype=object), suggested=pd.Series([1] * 6, dtype=object)
    )
    found = apply(
        table, decided(("0", "1", "relabel", "7"), ("1", "1", "relabel", "3")), classes="123", new_classes=True
    )
    assert found.labels["label"].tolist() == [7, 3, 2, 2, 2, None]


def test_commands_name_the_folder_and_flags_and_python_users_see_none(tmp_path):
    run = tmp_path / "my run"
    with speaking_flags():
        (said,) = apply(TABLE, decided(("1", "a", "accept", "b")), run=run).remarks[:1]
    place = shlex.quote(str(run))
    assert said.endswith(
        f"--relabel-above 0.5 --drop-below 0.5, or decide on the most doubtful: codivide serve {place}"
    )
    assert f"(the rate itself: codivide noise {place})" in apply(TABLE, run=run).remarks[0]
    for wrong in ({"drop_below": 2}, {"drop_below": 1.0}):
        with pytest.raises(InputError) as said:
            apply(TABLE[:5], **wrong)
        assert "--" not in str(said.value)
    (tmp_path / "there").mkdir()
    for out in (tmp_path / "there", tmp_path / "no/new", Path("~nosuch/new")):
        with pytest.raises(InputError) as said:
            write_clean.check_out(out)
        assert "--" not in str(said.value)


# Folders of images


@pytest.fixture
def photos(tmp_path):
    """Two classes with a name that comes in both, one file in a deeper folder, one without a label."""
    root = tmp_path / "photos"
    for name, level in (
        ("cat/1.png", 10),
        ("cat/2.png", 200),
        ("cat/deep/1.png", 20),
        ("dog/1.png", 210),
        ("dog/2.PNG", 220),
    ):
        picture(root / name, level)
    picture(root / "unlabelled/3.png", 30)
    table = pd.DataFrame(
        {
            "path": ["cat/1.png", "cat/2.png", "cat/deep/1.png", "dog/1.png", "dog/2.PNG", "unlabelled/3.png"],
            "given": ["cat", "cat", "cat", "dog", "dog", None],
            "suggested": ["cat", "dog", "cat", "cat", "dog", "cat"],
            "clean_prob": [0.9, 0.01, 0.9, 0.01, 0.9, None],
            "suggested_prob": [0.99, 0.99, 0.99, 0.5, 0.99, 0.99],
        }
    )
    return root, run_folder(tmp_path, table, root)


EXPECTED = {
    "cat/1.png": "cat",
    "cat/2.png": "dog",
    "cat/deep/1.png": "cat",
    "dog/2.PNG": "dog",
    "unlabelled/3.png": None,
}


@pytest.mark.parametrize(("wrong", "said"), [(5, True), (30, False)])
def test_where_few_labels_seem_wrong_changes_are_to_be_looked_at(wrong, said):
    doubted = np.arange(100) < wrong
    table = pd.DataFrame({"id": range(100), "given": "a", "suggested": np.where(doubted, "b", "a")})
    table = table.assign(clean_prob=np.where(doubted, 0.1, 0.98), suggested_prob=np.where(doubted, 0.9, 0.98))
    found = apply(table)
    assert len(found.changes) == wrong
    assert any("look at changes before you use" in remark for remark in found.remarks) is said
    asked = apply(table, relabel_above=0.5)  # who asks for a rule knows what it does
    assert not any("look at changes" in remark for remark in asked.remarks)


def overlapping(count: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Five classes that are hard to tell apart, and their right labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(5, size=count)
    x = 0.6 * rng.normal(size=(5, 20))[labels] + 1.5 * rng.normal(size=(count, 20))
    return x, labels


def test_doubt_of_a_classifier_changes_no_right_label(tmp_path):
    x, labels = overlapping()
    probs = cross_val_predict(LogisticRegression(C=0.1), x, labels, method="predict_proba")
    found = from_probs(labels, probs, out=tmp_path / "page")
    report = noise_report(None, labels, pred_probs=probs)
    alone, bounded = apply(found.labels), apply(found.labels, certain=report.certain)
    assert len(bounded.changes) < len(alone.changes) < 20  # p(clean) is bounded, too, but less
    assert any("which counts doubt as error" in remark for remark in bounded.remarks)
    assert not any("look at changes" in remark for remark in bounded.remarks)
    assert clean(tmp_path / "page", tmp_path / "out").changes.equals(bounded.changes)  # an audit keeps the bound
    asked = apply(found.labels, relabel_above=0.5, certain=report.certain)  # who asks for a rule gets it
    assert len(asked.changes) == len(apply(found.labels, relabel_above=0.5).changes) > len(bounded.changes)


def test_a_run_is_bounded_by_its_own_noise_report(tmp_path):
    fitted = NoisyLabelClassifier(model=GaussianNB(), out=tmp_path / "run", random_state=0)
    fitted.fit(*overlapping())
    certain = noise_report(fitted).certain
    assert certain is not None
    expected = apply(fitted.labels_, certain=certain).changes
    assert len(expected) < len(apply(fitted.labels_).changes)
    written = clean(tmp_path / "run", tmp_path / "out").changes
    assert sorted(map(str, written["id"])) == sorted(map(str, expected["id"]))


@pytest.mark.parametrize(
    ("certain", "said"),
    [
        (0.01, "hardly a label is certain to be wrong (1.0 %; by p(clean), which counts doubt as error, 15.0 %)"),
        (0.04, "Unasked, only what is certain counts: at least 4.0 % were wrong, and of those that stay"),
    ],
)
def test_what_is_certain_is_not_said_to_be_all(certain, said):
    table = pd.DataFrame({"id": range(100), "given": "a", "suggested": ["b"] * 20 + ["a"] * 80})
    table["clean_prob"] = [0.4] * 20 + [0.9625] * 80
    assert any(said in remark for remark in apply(table, certain=certain).remarks)


def test_confirmed_labels_are_not_counted_among_those_that_may_be_wrong():
    confirmed = np.arange(400) % 4 > 0
    wrong = np.flatnonzero(~confirmed)[::6]  # 17 of the 100 that nobody vouches for
    table = pd.DataFrame({"id": range(400), "given": "a", "suggested": "a", "clean_prob": 0.99, "confirmed": confirmed})
    table.loc[wrong, ["suggested", "clean_prob"]] = ["b", 0.1]
    table["suggested_prob"] = 0.9
    found = apply(table, certain=len(wrong) / 400)  # of all labels, as a noise report has it
    assert found.changes["id"].tolist() == wrong.tolist()


@pytest.mark.parametrize("certain", [0.0, 0.01, 0.05, 0.08, 0.1, 0.5, None])
def test_doubt_is_lowered_to_what_is_certain(certain):
    rng = np.random.default_rng(0)
    samples = [Sample(row, "a", "b", float(p), 0.5, confirmed=False) for row, p in enumerate(rng.uniform(size=50))]
    vouched = [
        Sample("sure", "a", "b", 1.0, 0.5, confirmed=True),
        Sample("none", None, "b", math.nan, 0.5, confirmed=False),
    ]
    taken = levelled([*vouched, *samples], None if certain is None else certain * 50 / 51)  # one label is vouched for
    assert str(taken[:2]) == str(vouched)
    own = 1 - np.mean([sample.clean_prob for sample in samples])
    level = (
        own if certain is None else certain if certain <= 0.05 else certain + (certain - 0.05) / 0.05 * (own - certain)
    )
    level = own if certain is not None and certain >= 0.1 else level
    assert np.isclose(1 - np.mean([sample.clean_prob for sample in taken[2:]]), level, atol=1e-6)
    order = np.argsort([sample.clean_prob for sample in samples], kind="stable")
    assert (np.diff([taken[2 + row].clean_prob for row in order]) >= 0).all()


def labels_by_id(path: Path) -> dict[str, str | None]:
    table = pd.read_parquet(path.with_suffix(".parquet"))
    return dict(zip(table["id"], table["label"].astype(object).where(table["label"].notna(), None), strict=True))


def check_loads(source: Path, count: dict[str | None, int]) -> None:
    loaded = load(source, options=ReadOptions(workers=1))
    names = [None if k < 0 else loaded.classes[k] for k in loaded.y]
    assert {name: names.count(name) for name in names} == count
    means = loaded.x[torch.arange(len(names))].float().mean((1, 2, 3))
    assert all((mean > 100) == (name == "dog") for mean, name in zip(means, names, strict=True))


@pytest.mark.parametrize("files", [None, "copy", "link"])
def test_a_cleaned_folder_can_be_trained_on_and_the_source_stays(photos, tmp_path, files):
    root, run = photos
    before = tree(tmp_path)
    out = tmp_path / "out"
    clean(run, out, files=files, **SURE)
    assert {name: value for name, value in tree(tmp_path).items() if not name.startswith("out")} == before
    assert labels_by_id(out / "labels_clean.csv") == EXPECTED
    for name in ("labels_clean.csv", "labels_clean.parquet"):
        check_loads(out / name, {"cat": 2, "dog": 2, None: 1})
    changes = pd.read_csv(out / "CHANGES.csv")
    assert changes["path"].tolist() == ["cat/2.png", "dog/1.png"]
    assert changes["change"].tolist() == ["relabelled", "dropped"]
    held = {str(p.relative_to(out)) for p in out.rglob("*") if not p.is_dir()} - set(tree_names())
    if files is None:
        assert held == set()
        return
    check_loads(out, {"cat": 2, "dog": 2, None: 1})
    assert not any("not read" in said for said in load(out).said)  # its own tables
    assert held == {"cat/1.png", "cat/1-2.png", "dog/2.png", "dog/2-2.PNG", "unlabelled/3.png"}
    same = os.path.samefile(out / "cat/1.png", root / "cat/1.png")
    assert same == (files == "link")
    shutil.move(out, tmp_path / "moved")
    check_loads(tmp_path / "moved" / "labels_clean.csv", {"cat": 2, "dog": 2, None: 1})


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_rows_of_a_copied_folder_are_in_the_order_of_its_names(photos, tmp_path, shuffled):
    """Rows of a folder stay in no order that the labels follow; those of a list keep their own."""
    _, run = photos
    if shuffled:
        table = pd.read_parquet(run / "labels.parquet").iloc[[4, 0, 2, 5, 1, 3]]
        table.to_parquet(run / "labels.parquet", index=False)
        clean(run, tmp_path / "out", files="copy", **SURE)
        assert pd.read_csv(tmp_path / "out/labels_clean.csv")["id"].tolist() == [
            *("dog/2.PNG", "cat/1.png", "cat/deep/1.png", "unlabelled/3.png", "cat/2.png")
        ]
        return
    clean(run, tmp_path / "out", files="copy", **SURE)
    names = pd.read_csv(tmp_path / "out/labels_clean.csv")["path"].tolist()
    assert names == ["cat/1-2.png", "cat/1.png", "dog/2-2.PNG", "dog/2.png", "unlabelled/3.png"]
    assert pd.read_parquet(tmp_path / "out/labels_clean.parquet")["path"].tolist() == names


def tree_names() -> tuple[str, ...]:
    return write_clean.LABELS, write_clean.LABELS_PARQUET, write_clean.CHANGES


def test_where_hard_links_are_impossible_there_are_symbolic_ones(photos, tmp_path, monkeypatch):
    def no(*words, **named):
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", no)
    clean(photos[1], tmp_path / "out", files="link", **SURE)
    assert (tmp_path / "out/cat/1.png").is_symlink()
    check_loads(tmp_path / "out", {"cat": 2, "dog": 2, None: 1})


def test_an_out_that_is_there_is_refused(photos, tmp_path):
    root, run = photos
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = tree(tmp_path)
    for name in ("empty", "file", "link", "photos", "run"):
        with pytest.raises(InputError, match="exists; give a new folder"):
            clean(run, tmp_path / name)
    with pytest.raises(InputError, match="there is no folder"):
        clean(run, tmp_path / "a" / "b")
    (tmp_path / "way").symlink_to(root)
    for inside in (root / "new", root / "cat" / "new", tmp_path / "way" / "new"):
        with pytest.raises(InputError, match="lies in the source"):
            clean(run, inside)
    (tmp_path / "way").unlink()
    after = tree(tmp_path)
    assert {name: after[name] for name in before} == before
    assert after.keys() == before.keys()


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_run_leaves_nothing(photos, tmp_path, monkeypatch, error):
    copy, done = shutil.copy2, []

    def fails(*words):
        if len(done) == 3:
            raise error
        done.append(copy(*words))

    monkeypatch.setattr(shutil, "copy2", fails)
    before = tree(tmp_path)
    with pytest.raises(type(error)):
        clean(photos[1], tmp_path / "out", files="copy")
    assert len(done) == 3
    assert tree(tmp_path).keys() == before.keys()


def test_a_source_that_is_gone_or_odd_is_refused_before_work(photos, tmp_path):
    root, run = photos
    (root / "cat/1.png").unlink()
    assert "1 of 5 files are not where the run saw them" in clean(run, tmp_path / "listed", **SURE).remarks[-1]
    with pytest.raises(InputError, match=r"cat/1.png is not there any more; bring it back"):
        clean(run, tmp_path / "out", files="copy")
    os.mkfifo(root / "cat/1.png")
    with pytest.raises(InputError, match=r"cat/1.png is no plain file"):
        clean(run, tmp_path / "out", files="link")
    shutil.move(root, tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is not there; give source="):
        clean(run, tmp_path / "out")
    clean(run, tmp_path / "out", source=str(tmp_path / "elsewhere"), **SURE)
    assert labels_by_id(tmp_path / "out" / "labels_clean.csv") == EXPECTED
    for broken in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(InputError, match="not the folder of a finished run"):
            clean(broken, tmp_path / "new")


# Hostile names

EVIL = [
    *(
        "../../evil",
        "/etc/evil",
        "..",
        ".",
        "a/b",
        "C:\\evil",
        "x" * 10_000,
        "nul",
        "CON.txt",
        "=cmd()",
        "-1",
        "+a",
        "@b",
    ),
    *(
        "labels_clean.csv",
        "CHANGES.csv",
        "unlabelled",
        ".hidden",
        "a\nb",
        "a\x00b",
        "e\u202egnp",
        "Cat",
        "cat",
        "train",
    ),
    *(" space ", "dot.", "<script>", "\u00e9", "e\u0301", "__MACOSX", "'=x"),
]


def test_hostile_names_stay_in_out_and_keep_their_labels(tmp_path):
    work = tmp_path / "work"
    names = ["../far/=1.png", "a/../a/1.png", "-x.png", "y" * 200 + ".png", "con.png", "b/1.png"]
    for k, name in enumerate(names):
        picture(work / "data" / name if "../" not in name else work / "far" / "=1.png", 10 * k)
    (work / "data/a").mkdir()
    picture(work / "data/a/1.png", 10)
    absolute = str(work / "data" / "abs.png")
    picture(Path(absolute), 50)
    names.append(absolute)
    paths, given = [], []
    for k, label in enumerate(EVIL):
        name = f"c/{k}/1.png"
        picture(work / "data" / name, k)
        paths += [name, names[k % len(names)]] if k < len(names) else [name]
        given += [label, label] if k < len(names) else [label]
    table = pd.DataFrame({"path": paths, "given": given, "suggested": given, "clean_prob": 1.0, "suggested_prob": 1.0})
    table[["path"]].to_csv(work / "data" / "m.csv", index=False)
    run = run_folder(work, table, work / "data" / "m.csv", EVIL)
    before = tree(tmp_path)
    out = work / "out"
    clean(run, out, files="copy")
    after = tree(tmp_path)
    assert {name: value for name, value in after.items() if not name.startswith("work/out")} == before | {
        "work": after["work"]
    }
    assert not any(path.is_symlink() for path in out.rglob("*"))
    raw = pd.read_parquet(out / "labels_clean.parquet")
    assert raw["label"].tolist() == given
    assert raw["id"].tolist() == paths
    folders = {}
    for place, label in zip(raw["path"], given, strict=True):
        assert (out / place).resolve().is_relative_to(out.resolve())
        assert (out / place).is_file()
        folders.setdefault(label, set()).add(Path(place).parts[0])
    assert all(len(found) == 1 for found in folders.values())
    every = [next(iter(found)).casefold() for found in folders.values()]
    assert len(set(every)) == len(EVIL)
    for name in tree_names():
        if name.endswith(".csv"):
            cells = pd.read_csv(out / name, dtype=str, keep_default_na=False)
            assert not any(
                str(cell).startswith(("=", "+", "-", "@", "\t", "\r")) and cell != "-1"
                for cell in [*cells, *cells.to_numpy().ravel()]
            )
    loaded = load(out / "labels_clean.csv", options=ReadOptions(workers=1, unlabelled=None))
    # Before 3.1 pandas cut a cell of a CSV file at a NUL.
    read = given if Version(pd.__version__) >= Version("3.1") else [label.split("\0")[0] for label in given]
    assert [loaded.classes[k] for k in loaded.y] == read
    assert len(load(out, options=ReadOptions(workers=1)).y) == len(given)
    assert len(load(out, options=ReadOptions(workers=1)).classes) == len(EVIL)


@cases(st.text(max_size=300), st.booleans())
def test_a_safe_name_is_one_harmless_part_of_a_path(text, folder):
    name = write_clean.safe_name(text, folder=folder)
    assert name
    assert 0 < len(name.encode()) <= 123
    assert not re.search(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f]', name)
    assert not name.startswith(".")
    assert name == name.strip().rstrip(".")
    assert name.partition(".")[0].casefold() not in ("con", "nul", "prn", "aux", "com1", "lpt9")
    if folder:
        assert name.casefold() not in ("unlabelled", "unlabeled", "nan", "none", "-1", "__pycache__", "__macosx")


def test_harmless_names_stay_and_no_two_are_alike():
    for name in ("cat", "T-shirt_top", "Größe 3", "日本", "1.png", "a.tar.gz", "IMG 1.JPG"):
        assert write_clean.safe_name(name) == name
    paths = [Path(name) for name in ("a/1.png", "b/1.PNG", "c/1-2.png", "d/1.png", "e/1")]
    places = write_clean.plan(paths, ["x"] * 5)
    assert [str(place) for place in places] == ["x/1.png", "x/1-2.PNG", "x/1-2-2.png", "x/1-3.png", "x/1"]
    labels = [1, "1", "a", "A", None, "unlabelled", "labels_clean.csv"]
    folders = [place.parent.name.casefold() for place in write_clean.plan([Path("1.png")] * 7, labels)]
    assert len(set(folders)) == 7
    assert folders[4] == "unlabelled"
    assert "labels_clean.csv" not in folders


# Manifests, tables of features, and rows without names


def test_a_manifest_that_lies_elsewhere(tmp_path):
    for k in range(4):
        picture(tmp_path / "far" / f"{k}.png", 200 * (k % 2))
    (tmp_path / "lists").mkdir()
    names = [f"../far/{k}.png" for k in range(4)]
    pd.DataFrame({"path": names, "label": ["cat", "dog"] * 2}).to_csv(tmp_path / "lists/m.csv", index=False)
    table = pd.DataFrame(
        {
            "path": names,
            "given": ["cat", "dog"] * 2,
            "suggested": ["cat", "dog"][::-1] * 2,
            "clean_prob": [0.9, 0.9, 0.01, 0.9],
        }
    )
    run = run_folder(tmp_path, table.assign(suggested_prob=0.1), tmp_path / "lists/m.csv")
    clean(run, tmp_path / "lists" / "out")
    check_loads(tmp_path / "lists/out/labels_clean.csv", {"cat": 1, "dog": 2})
    assert labels_by_id(tmp_path / "lists/out/labels_clean.csv") == {names[0]: "cat", names[1]: "dog", names[3]: "dog"}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("named", [False, True])
def test_a_table_of_features(tmp_path, kind, named):
    values = np.random.default_rng(0).normal(size=(6, 2))
    source = pd.DataFrame(
        {"label": [1, 2, 1, 2, 1, 2], "=a": values[:, 0], "b": values[:, 1], "split": ["train"] * 5 + ["test"]}
    )
    if named:
        source.insert(0, "id", ["=u", "v", "w", "x", "y", "z"])
    getattr(source, f"to_{kind}")(tmp_path / f"t.{kind}", index=False)
    ids = ["=u", "v", "w", "x", "y"] if named else list(range(5))
    table = pd.DataFrame(
        {"id": ids, "given": [1, 2, 1, 2, 1], "suggested": [1, 2, 2, 2, 1], "clean_prob": [0.9, 0.9, 0.9, 0.0, 0.9]}
    )
    run = run_folder(tmp_path, table.assign(suggested_prob=[0.99, 0.99, 0.99, 0.1, 0.99]), tmp_path / f"t.{kind}", "12")
    clean(run, tmp_path / "out", **SURE)
    for name in ("labels_clean.csv", "labels_clean.parquet"):
        loaded = load(tmp_path / "out" / name)
        assert [loaded.classes[k] for k in loaded.y] == [1, 2, 2, 1]
        assert [str(name) for name in loaded.ids] == [str(ids[k]) for k in (0, 1, 2, 4)]
        assert np.allclose(loaded.x.data, values[[0, 1, 2, 4]])
    assert "'=a" in (tmp_path / "out" / "labels_clean.csv").read_text().splitlines()[0]
    with pytest.raises(InputError, match="the samples of this run are rows"):
        clean(run, tmp_path / "new", files="copy")
    source[1:].to_csv(tmp_path / f"t.{kind}") if kind == "csv" else source[1:].to_parquet(tmp_path / f"t.{kind}")
    if named:
        with pytest.raises(InputError, match="has no row of id '=u'"):
            clean(run, tmp_path / "new")


def test_a_cell_that_is_not_changed_is_written_as_it_was(tmp_path):
    lines = [
        "post code,long,share,when,flag,note,label",
        "01234,1234567890123456789,-1.50%,2024-02-01,TRUE,@you,a",
        "99999,,+3%,2024-02-02,FALSE,=1+1,b",
        "00001,2,-,2024-02-03,TRUE,- one,a",
        "12345,1234567890123456787,4%,2024-02-04,FALSE,'-x,b",
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    table = pd.DataFrame({"id": range(4), "given": list("abab"), "suggested": list("abbb"), "clean_prob": 0.9})
    run = run_folder(tmp_path, table.assign(suggested_prob=0.99), tmp_path / "t.csv", "ab")
    clean(run, tmp_path / "out", **SURE)
    source, found = pd.read_csv(tmp_path / "t.csv", dtype=str), pd.read_csv(tmp_path / "out" / CLEANED, dtype=str)
    assert found["label"].tolist() == list("abbb")
    kept = ["post code", "long", "share", "when", "flag"]
    pd.testing.assert_frame_equal(found[kept], source[kept])
    assert found["note"].tolist() == ["'@you", "'=1+1", "'- one", "''-x"]  # no formula
    assert read_table(tmp_path / "out" / CLEANED)["note"].tolist() == source["note"].tolist()
    parquet = pd.read_parquet(tmp_path / "out" / write_clean.LABELS_PARQUET)
    assert parquet["post code"].tolist() == source["post code"].tolist()
    assert parquet["long"].fillna("").tolist() == source["long"].fillna("").tolist()
    again = run_folder(tmp_path / "again", table.assign(suggested_prob=0.99), tmp_path / "out" / CLEANED, "ab")
    clean(again, tmp_path / "twice", **SURE)
    assert (tmp_path / "twice" / CLEANED).read_text() == (tmp_path / "out" / CLEANED).read_text()


def test_numbers_with_a_decimal_comma_are_written_with_a_point(tmp_path):
    (tmp_path / "t.csv").write_text("x;n;label\n1,5;01;a\n-2,5;02;b\n3,25;03;a\n4,0;04;b\n")
    table = pd.DataFrame({"id": range(4), "given": list("abab"), "suggested": list("abab"), "clean_prob": 0.9})
    run = run_folder(tmp_path, table, tmp_path / "t.csv", "ab")
    clean(run, tmp_path / "out", **SURE)
    found = pd.read_csv(tmp_path / "out" / CLEANED, dtype=str)
    assert (found["x"].tolist(), found["n"].tolist()) == (["1.5", "-2.5", "3.25", "4.0"], ["01", "02", "03", "04"])
    assert pd.read_parquet(tmp_path / "out" / write_clean.LABELS_PARQUET)["x"].tolist() == [1.5, -2.5, 3.25, 4.0]


@pytest.mark.parametrize("source", ["digits", None, "x.npz"])
def test_rows_without_names_are_numbers(tmp_path, source):
    run = run_folder(tmp_path, TABLE, source, "ab")
    clean(run, tmp_path / "out", **SURE)
    text = (tmp_path / "out" / "labels_clean.csv").read_text()
    assert text == "row,label\n0,a\n1,b\n3,b\n5,\n"
    assert pd.read_parquet(tmp_path / "out" / "labels_clean.parquet")["row"].tolist() == [0, 1, 3, 5]


def test_a_source_that_is_not_there_is_refused_whatever_the_run_was_of(photos, tmp_path):
    (tmp_path / "x.csv").write_text("a,label\n1,a\n2,b\n3,a\n4,b\n5,a\n6,b\n")
    for named in ("digits", str(tmp_path / "x.csv"), None):
        run = photos[1] if named is None else run_folder(tmp_path, TABLE, named, "ab")
        with pytest.raises(InputError, match=r"source='none': there is no such file or folder"):
            clean(run, tmp_path / "new", source="none", **SURE)
    assert not (tmp_path / "new").exists()
    clean(run_folder(tmp_path, TABLE, "digits", "ab"), tmp_path / "new", source="digits", **SURE)


def test_paths_without_a_source_need_one(photos, tmp_path):
    run = run_folder(tmp_path, pd.read_parquet(photos[1] / "labels.parquet"), None)
    with pytest.raises(InputError, match="give source="):
        clean(run, tmp_path / "out")
    clean(run, tmp_path / "out", source=str(photos[0]))


# The command


def test_the_command(photos, tmp_path, monkeypatch, capsys):
    _, run = photos
    text = "id,given,decision,label,time\ncat/1.png,cat,junk,,\ncat/2.png,cat,keep,,\n"
    (tmp_path / "c.csv").write_text(text)

    def codivide(*words):
        monkeypatch.setattr(sys, "argv", ["codivide", "clean", *map(str, words)])
        with pytest.raises(SystemExit) as done:
            main()
        said = capsys.readouterr()
        return done.value.code, re.sub(r"\s+", " ", said.out + said.err)

    code, said = codivide(run, "--out", tmp_path / "out", "--corrections", tmp_path / "c.csv", "--copy")
    assert code == 0
    assert "5 samples stay; 0 relabelled, 0 labelled, 1 dropped" in said
    assert "1 label that looks wrong stays as it is (p(clean) below 0.5): --relabel-above 0.5" in said
    expected = EXPECTED | {"cat/2.png": "cat", "dog/1.png": "dog"}
    del expected["cat/1.png"]
    assert labels_by_id(tmp_path / "out/labels_clean.csv") == expected
    code, said = codivide(run, "--out", tmp_path / "out")
    assert (code, "exists; give a new folder" in said) == (2, True)
    code, said = codivide(run, "--out", tmp_path / "new", "--copy", "--link")
    assert (code, "give one of them" in said) == (2, True)
    code, said = codivide(run, "--out", tmp_path / "new", "--drop-below", "2")
    assert (code, "--drop-below is 2" in said) == (2, True)
    (tmp_path / "c.csv").write_text(text + "cat/3.png,cat,junk,,\n")
    code, said = codivide(run, "--out", tmp_path / "new", "--corrections", tmp_path / "c.csv")
    assert (code, "c.csv, line 4: no sample of this run has the id 'cat/3.png'" in said) == (2, True)
    assert not (tmp_path / "new").exists()


def test_where_nothing_was_learned_no_share_is_named():
    found = apply(pd.DataFrame({"id": range(9), "given": "a", "suggested": "b", "clean_prob": 0.5}))
    assert found.changes.empty
    assert found.remarks[-1].startswith("nothing was learned of the labels")


def test_findings_clean_as_the_command_does(tmp_path):
    x, labels = overlapping()
    probs = cross_val_predict(LogisticRegression(C=0.1), x, labels, method="predict_proba")
    found = from_probs(labels, probs, classes=["a", "b", "c", "d", "e"], out=tmp_path / "page")
    written = clean(tmp_path / "page", tmp_path / "out")
    assert found.clean().changes.equals(written.changes)
    assert found.clean().labels.equals(written.labels)
    assert found.clean(drop_below=0.9).changes.equals(
        clean(tmp_path / "page", tmp_path / "few", drop_below=0.9).changes
    )
    row = found.labels.iloc[0]
    frame = pd.DataFrame({"id": [row["id"]], "given": [row["given"]], "decision": ["junk"], "label": [""]})
    assert found.clean(frame).changes["change"].tolist() == ["dropped"]
    with pytest.raises(InputError, match="drop_below is 2"):
        found.clean(drop_below=2.0)


@pytest.mark.filterwarnings("ignore:.*no more than by chance")
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_where_nothing_can_be_learned_nothing_is_changed(classes):
    rng = np.random.default_rng(0)
    found = from_probs(rng.integers(classes, size=800), rng.dirichlet(np.ones(classes), 800))
    assert len(found.label_issues) > 300
    assert found.facts["noise"]["certain"] == 0
    cleaned = found.clean()
    assert cleaned.changes.empty
    assert "hardly a label is certain to be wrong" in cleaned.remarks[0]


@pytest.mark.parametrize("names", [None, "rstuv"])
def test_findings_know_the_decisions_that_the_fit_was_given(tmp_path, names):
    x, truth = make_blobs(60, centers=[[-3.0, 0.0], [3.0, 0.0]], random_state=0)
    x, y = pd.DataFrame(x, columns=["a", "b"]), truth.copy()
    if names:
        x.index = [f"{names[k % 5]}{k}" for k in range(60)]
    y[[3, 9]] = 1 - truth[[3, 9]]
    rows = x.index[[3, 9, 11, 13]]
    labels = [y[3], y[9], y[11], y[13]]
    decided = pd.DataFrame({"id": rows, "given": labels, "decision": ["relabel", "junk", "keep", "relabel"]})
    decided["label"] = [str(truth[3]), "", "", str(1 - truth[13])]
    clf = NoisyLabelClassifier(Features(heads="linear")).fit(x, y, corrections=decided)
    found = clf.audit(thumbnails=False)
    cleaned = found.clean(drop_below=0.0)
    made = cleaned.changes[["id", "given", "label", "change"]].to_numpy().tolist()
    assert made == [
        [rows[0], y[3], truth[3], "relabelled"],
        [rows[3], truth[13], 1 - truth[13], "relabelled"],
        [rows[1], y[9], None, "dropped"],
    ]
    assert "before the run" in cleaned.changes["reason"][0]
    unasked = found.clean()
    assert unasked.changes.equals(cleaned.changes)
    assert "so nothing is changed unasked" in unasked.remarks[0]
    assert any("decisions of 3 samples, made before the run" in remark for remark in cleaned.remarks)
    assert pickle.loads(pickle.dumps(clf)).audit().clean(drop_below=0.0).changes.equals(cleaned.changes)


def test_findings_of_numbers_and_of_several_labels_are_cleaned_too():
    y = np.linspace(0, 1, 60)
    y[7] = 50.0
    numbers = NoisyLabelRegressor(random_state=0).fit(np.linspace(0, 1, 60)[:, None], y)
    assert 7 in numbers.audit().clean().changes["id"].tolist()
    rng = np.random.default_rng(0)
    sets = (rng.random((80, 3)) < 0.5).astype(int)
    probs = np.where(sets == 1, 0.97, 0.03)
    sets[:4, 1] = 1 - sets[:4, 1]
    found = from_probs(sets, probs, task="multilabel").clean()
    assert found.changes["id"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("noise", [None, [], {"certain": "much"}])
def test_a_damaged_audit_names_its_file(tmp_path, noise):
    labels = np.repeat([0, 1], 20)
    from_probs(labels, np.eye(2)[labels], out=tmp_path / "page")
    facts = json.loads((tmp_path / "page" / "facts.json").read_text())
    (tmp_path / "page" / "facts.json").write_text(json.dumps(facts | {"noise": noise}))
    with pytest.raises(InputError, match=r"facts\.json"):
        clean(tmp_path / "page", tmp_path / "out")
