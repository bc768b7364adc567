"""Columns that codivide wrote about the labels are no features when a table comes back, and that is said."""

import numpy as np
import pandas as pd
import pytest

from codivide import NoisyLabelClassifier
from codivide.audit import checks
from codivide.core.errors import InputError
from codivide.data.options import ReadOptions
from codivide.data.sources import load, read_inputs
from codivide.data.written_about import BESIDE, OURS, written_about
from codivide.methods.features.options import Features
from codivide.runs.label_table import COLUMNS

RNG = np.random.default_rng(0)
N = 40
Y = RNG.integers(0, 2, N)
LABEL = np.where(Y == 1, "dog", "cat")
SURE = RNG.random(N).round(4)
X = pd.DataFrame({"a": RNG.normal(size=N) + Y, "b": RNG.normal(size=N)})
TABLE = X.assign(label=LABEL)


def read(table, tmp_path, **options):
    table.to_csv(tmp_path / "table.csv", index=False)
    return load(tmp_path / "table.csv", options=ReadOptions(**options))


def test_the_names_are_those_of_the_label_table():
    about_samples = {"path", "id", "text", "true_label"}
    schema = {column.name for column in (*COLUMNS, *checks.columns())} - about_samples
    assert set(OURS) | set(BESIDE) == schema


@pytest.mark.parametrize("name", ["confidence", "probability"])
def test_how_sure_a_label_is_is_no_feature(name, tmp_path):
    found = read(TABLE.assign(**{name: SURE}), tmp_path)
    assert found.columns == ("a", "b")
    assert [text for text in found.said if f"wrote this about the labels: {name} " in text]


@pytest.mark.parametrize(
    "table",
    [
        TABLE.assign(confidence=SURE * 50),  # a measure of something
        TABLE.assign(confidence=RNG.random(N)),  # more digits than codivide writes
        TABLE.assign(size=1.5, confidence=SURE),  # not beside the label
        TABLE.assign(rank=RNG.random(N), given=RNG.random(N), change=RNG.random(N), reason=RNG.random(N)),
    ],
)
def test_columns_that_only_have_such_a_name_stay(table, tmp_path):
    found = read(table, tmp_path)
    assert set(found.columns) == set(table.columns) - {"label"}
    assert not found.said


def test_the_label_table_beside_features_is_left_out():
    clf = NoisyLabelClassifier(Features(heads="linear", trees="none")).fit(X, LABEL)
    back = pd.concat([X, clf.labels_.drop(columns="id")], axis=1)
    found = load(back, options=ReadOptions(label="given"))
    assert found.columns == ("a", "b")
    assert "suggested, clean_prob, rank" in found.said[0]


def test_changes_and_decisions_are_left_out(tmp_path):
    changed = X.assign(given="cat", label=LABEL, change="relabelled", reason="p(clean) 0.2 is below 0.5")
    assert read(changed, tmp_path).columns == ("a", "b")
    assert read(X.assign(given="cat", decision="accept", label=LABEL, time=""), tmp_path).columns == ("a", "b")


def test_a_column_that_is_named_is_learned_from_and_predicted_by(tmp_path):
    table = TABLE.assign(confidence=SURE)
    found = read(table, tmp_path, columns=("a", "confidence"))
    assert found.columns == ("a", "confidence")
    assert not found.said
    rows, _, _ = read_inputs(
        str(tmp_path / "table.csv"), found.x.shape, found.x.dtype, ReadOptions(), columns=found.columns
    )
    assert rows.shape == (2,)


def test_a_consensus_alone_is_refused_with_the_reason(tmp_path):
    with pytest.raises(InputError, match=r"no column to learn from: left out.*confidence"):
        read(TABLE[["label"]].assign(confidence=SURE), tmp_path)


def test_an_empty_header_says_nothing():
    assert written_about(pd.DataFrame(columns=["label", "confidence"])) == []


@pytest.mark.parametrize("names", [("clean_prob_x", "suggested_x", "rank_y"), ("CLEAN_PROB", "Suggested", "Rank")])
def test_columns_of_merged_tables_and_in_capitals_are_left_out(names, tmp_path):
    table = TABLE.assign(**dict(zip(names, (SURE, LABEL, range(N)), strict=True)))
    assert read(table, tmp_path).columns == ("a", "b")


def test_suggestions_without_p_clean_are_left_out(tmp_path):
    table = TABLE.assign(given="cat", suggested=LABEL, suggested_prob=SURE)
    assert read(table, tmp_path).columns == ("a", "b")


def test_predictions_merged_with_labels_are_left_out(tmp_path):
    keyed = TABLE.assign(key=range(N))
    said = pd.DataFrame({"key": range(N), "label": LABEL[::-1], "probability": SURE})
    for merged in (keyed.merge(said, on="key"), said.merge(keyed, on="key").rename(columns=str.upper)):
        own = "label_x" if "label_x" in merged else "LABEL_Y"
        found = read(merged.drop(columns=["key", "KEY"], errors="ignore"), tmp_path, label=own)
        assert [name.lower() for name in found.columns] == ["a", "b"]


def test_decisions_on_some_rows_are_left_out(tmp_path):
    keyed = TABLE.assign(key=range(N))
    few = pd.DataFrame({"key": [3, 7], "given": "cat", "decision": "accept", "label": "dog", "time": "2024-05-01"})
    merged = keyed.merge(few, on="key", how="left").drop(columns="key")
    found = read(merged, tmp_path, label="label_x")
    assert found.columns == ("a", "b")
    assert "given, decision, label_y, time" in found.said[0]


def test_labels_beside_what_was_written_about_them_are_warned_of():
    about = X.assign(clean_prob=SURE, rank=range(N))
    clf = NoisyLabelClassifier(Features(heads="linear", trees="none"), drop=["b"])
    with pytest.warns(
        UserWarning, match=r"codivide wrote about labels: clean_prob, rank.*drop=\['clean_prob', 'rank'\]"
    ):
        clf.fit(about, LABEL)
    for asked in ({"drop": ("clean_prob", "rank")}, {"columns": ("a", "clean_prob", "rank")}):
        assert not load(about, LABEL, options=ReadOptions(**asked)).said
