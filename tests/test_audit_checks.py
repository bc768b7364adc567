"""The checks of the audit: their columns, against loops, and a kind of issue of one's own."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from codivide.audit import checks, facts, from_probs, to_datasets
from codivide.audit.checks import Check, Found
from codivide.audit.material import Material
from codivide.data.arrays import array_rows, from_arrays
from codivide.runs import label_table
from codivide.runs.label_table import Column

ROOT = Path(__file__).parents[1]


@pytest.fixture
def made():
    """60 rows: 5 and 50 are copies of 1, 7 is nearly 2, 20 is far away; labels 3 and 4 are wrong, 4 is confirmed."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 10)).astype(np.float32)
    x[5], x[50], x[7], x[20] = x[1], x[1], x[2] + 1e-4, 40
    probs = np.full((60, 2), 0.1)
    given = rng.integers(2, size=60)
    probs[np.arange(60), given] = 0.9
    probs[[3, 4]] = probs[[3, 4], ::-1]
    probs[20] = 0.5
    given[8] = -1
    suggested = probs.argmax(1)
    suggested[20] = given[20]
    right = np.where(given >= 0, probs[np.arange(60), given], np.nan)
    table = label_table.build(range(60), given, suggested, right, ["a", "b"], suggested_prob=probs.max(1))
    table[label_table.CONFIRMED] = np.arange(60) == 4
    return x, table


def material_of(x, table, **given):
    return Material("data", "method", table, ("a", "b"), rows=array_rows(x), **given)


def test_columns_say_of_every_sample_what_the_facts_list(made):
    x, table = made
    loaded = from_arrays(x, table["given"].tolist())
    found, remarks, findings, _ = checks.judge(table, loaded.classes, loaded, None)  # rows of a table need no model
    assert remarks == []
    (finding,) = findings
    assert finding["text"].startswith("3 samples are exact copies of others with another label, such as '1' and '5'")
    assert list(found) == [*table, *(column.name for column in checks.columns())]
    pd.testing.assert_frame_equal(found[list(table)], table)
    rows = {
        name: np.flatnonzero(found[name]).tolist() for name in found if name.startswith("is_") and found[name].any()
    }
    assert rows == {
        "is_label_issue": [3],
        "is_near_duplicate_issue": [1, 2, 5, 7, 50],
        "is_exact_duplicate": [1, 5, 50],
        "is_conflicting_duplicate": [1, 5, 50],
        "is_outlier_issue": [20],
    }
    sets = found["near_duplicate_set"]
    assert sets[[1, 5, 50]].tolist() == [1, 1, 1]
    assert sets[[2, 7]].tolist() == [2, 2]
    assert sets.isna().sum() == 55
    assert found["near_duplicate_score"][[1, 2, 3]].tolist() == [0.0, 0.5, 1.0]
    assert found["outlier_score"].between(0, 1).all()
    assert found["outlier_score"].idxmin() == 20
    for row, other in itertools.combinations(range(60), 2):
        same = (x[row] == x[other]).all()
        assert not same or (found["is_exact_duplicate"][row] and sets[row] == sets[other])
    listed = facts.build(material_of(x, table))
    assert [issue["row"] for issue in listed["issues"]] == rows["is_label_issue"]
    assert listed["issues_total"] == 1
    assert [pair["count"] for pair in listed["pairs"]] == [1]


def test_every_flag_and_score_is_described():
    for check in checks.CHECKS:
        kinds = {column.name: column.kind for column in check.columns}
        assert not kinds or any(name.startswith("is_") and kind == "flag" for name, kind in kinds.items())
        assert all(kind == "flag" for name, kind in kinds.items() if name.startswith("is_"))
        assert all(kind == "probability" for name, kind in kinds.items() if name.endswith("_score"))
    names = [column.name for column in (*label_table.COLUMNS, *checks.columns())]
    assert len(set(names)) == len(names)
    assert label_table.markdown(label_table.COLUMNS) in (ROOT / "docs" / "reference" / "data.md").read_text("utf-8")
    assert label_table.markdown(checks.columns()) in (ROOT / "docs" / "reference" / "audit.md").read_text("utf-8")


def test_what_cannot_be_looked_for_is_empty_and_what_was_known_stays(made, tmp_path):
    x, table = made
    bare = checks.add_columns(table, checks.run(Material("data", "method", table, ("a", "b"))))
    empty = {name for name in bare if bare[name].isna().all()}
    known = {"is_label_issue", "is_class_imbalance_issue", "class_imbalance_score", "is_non_iid_issue", "non_iid_score"}
    assert empty == {column.name for column in checks.columns()} - known  # those need labels alone
    label_table.write(bare, tmp_path)
    again = label_table.read(tmp_path)
    assert list(again) == list(bare)
    assert again[sorted(empty)].isna().all(axis=None)
    table.attrs["said"] = ["1 row was left out"]
    whole = checks.add_columns(table, checks.run(material_of(x, table)))
    assert whole.attrs == table.attrs
    pd.testing.assert_frame_equal(checks.add_columns(whole, checks.run(Material("d", "m", whole, ("a", "b")))), whole)


def test_an_audit_from_python_gives_the_columns():
    import datasets

    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 9))
    features[9] = features[2]
    labels = np.arange(40) % 2
    probs = np.where(np.eye(2)[labels] > 0, 0.9, 0.1)
    probs[6] = probs[6, ::-1]
    found = from_probs(labels, probs, features=features)
    assert np.flatnonzero(found.labels["is_label_issue"]).tolist() == [6]
    assert np.flatnonzero(found.labels["is_exact_duplicate"]).tolist() == [2, 9]
    joined = to_datasets(found, datasets.Dataset.from_dict({"x": list(range(40))}))
    assert [row for row, flag in enumerate(joined["is_near_duplicate_issue"]) if flag] == [2, 9]


def test_a_kind_of_issue_of_ones_own_is_one_object_and_one_line(made, monkeypatch):
    def short(material):
        length = np.linalg.norm(material.rows.data.numpy(), axis=1)
        flag = length < 2
        score = np.minimum(length / 2, 1)
        return Found({"is_short_issue": flag, "short_score": score}, np.flatnonzero(flag)[np.argsort(length[flag])])

    columns = (Column("is_short_issue", "flag", "it is short"), Column("short_score", "probability", "how short"))
    check = Check("short", "Short rows", "Rows near zero.", columns, short)
    monkeypatch.setattr(checks, "CHECKS", (*checks.CHECKS, check))
    x, table = made
    x[33] = 0.01
    material = material_of(x, table)
    found = facts.findings(material)
    assert found.labels["short_score"].idxmin() == 33
    (listed,) = [check for check in found.facts["checks"] if check["name"] == "short"]
    assert (listed["name"], listed["title"], listed["text"]) == ("short", "Short rows", "Rows near zero.")
    assert listed["found"] == found.labels["is_short_issue"].sum()
    assert listed["samples"][0]["row"] == 33
    decided = {"suggested", "clean_prob", "suggested_prob"}
    assert listed["samples"][0].keys() == {"row", "id", "given", "thumbnail", "text", "fields"} | decided
