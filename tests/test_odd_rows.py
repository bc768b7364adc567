"""Rows that are no samples, numbers of accountants, columns in the names of folders: read right, and said."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import partial

import numpy as np
import pandas as pd
import pytest

from codivide.audit.target_judging import load_targets
from codivide.audit.write_clean import write_tables
from codivide.data.cells import numbers
from codivide.data.column_kinds import fit_part
from codivide.data.odd_rows import without_odd_rows
from codivide.data.options import ReadOptions
from codivide.data.sources import load
from codivide.data.tables import as_written, read_table
from codivide.data.targets import members
from codivide.data.targets import numbers as targets

COUNT = 30


def rows(seed=0):
    rng = np.random.default_rng(seed)
    price = rng.integers(100, 99_999, COUNT) / 100
    return pd.DataFrame(
        {
            "shop": [f"s {k % 7}" for k in range(COUNT)],
            "price": price,
            "count": rng.integers(1, 9, COUNT),
            "label": ["a", "b"] * (COUNT // 2),
        }
    )


@pytest.mark.parametrize("first", ["", "Total", "Summe:"])
@pytest.mark.parametrize("label", [True, False])
def test_a_row_of_sums_at_the_end_is_no_sample(tmp_path, first, label):
    table = rows()
    sums = {"shop": first, "price": round(table["price"].sum(), 2), "count": table["count"].sum(), "label": ""}
    table = table if label else table.drop(columns="label")
    pd.concat([table, pd.DataFrame([sums])[list(table)]]).to_csv(tmp_path / "a.csv", index=False)
    found = read_table(tmp_path / "a.csv")
    assert len(found) == COUNT
    assert found["price"].tolist() == table["price"].tolist()
    assert len(as_written(tmp_path / "a.csv")) == COUNT
    if not label:
        regression = load(tmp_path / "a.csv", options=ReadOptions(label="price", task="regression", unlabelled=None))
        assert sorted(targets(regression)) == sorted(table["price"])
        assert any("holds the sums of the rows above it (in 'price', 'count')" in text for text in regression.said)


@pytest.mark.parametrize("last", [(1.0, 9), ("", ""), (None, 0)])
def test_other_last_rows_stay(tmp_path, last):
    table = pd.concat([rows(), pd.DataFrame([{"shop": "x", "price": last[0], "count": last[1], "label": ""}])])
    table.to_csv(tmp_path / "a.csv", index=False)
    assert len(read_table(tmp_path / "a.csv")) == COUNT + 1


def test_empty_rows_are_left_out_and_counted(tmp_path):
    lines = rows().to_csv(index=False).splitlines()
    lines = [lines[0], *lines[1:5], ",,,", *lines[5:], ",,,", ", ,,"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    loaded = load(tmp_path / "a.csv")
    assert len(loaded.y) == COUNT
    assert (loaded.y >= 0).all()
    assert "3 rows without a filled cell were left out" in loaded.said
    assert len(as_written(tmp_path / "a.csv")) == COUNT


def test_rows_that_repeat_the_header_are_left_out_and_counted(tmp_path):
    text = rows().to_csv(index=False)
    (tmp_path / "a.csv").write_text(text + text + text)
    loaded = load(tmp_path / "a.csv")
    assert (len(loaded.y), loaded.classes) == (3 * COUNT, ("a", "b"))
    assert "2 rows that repeat the header were left out" in loaded.said
    assert not any("note" in item for item in loaded.encoder.read)
    assert loaded.columns[:2] == ("shop = s 0", "shop = s 1")
    assert {"price", "count"} <= set(loaded.columns)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda n: f"{abs(n):.2f}" + "-" * (n < 0), True),  # SAP
        (lambda n: f"({-n:,.2f})" if n < 0 else f"{n:,.2f}", True),  # accountants
        (lambda n: f"{n:,.2f}".replace(",", " ").replace(".", ","), False),  # French
        (lambda n: f"{n:,.2f}".replace(",", "\u202f").replace(".", ","), False),
        (lambda n: f"{n:.2f}".replace("-", "\u2212"), False),  # a typographer's minus
        (lambda n: f"{abs(n):,.2f}".replace(",", "_").replace(".", ",").replace("_", ".") + "-" * (n < 0), True),
    ],
)
def test_numbers_of_accountants(write, said):
    values = np.round(np.random.default_rng(0).normal(0, 3000, 60), 2)
    frame = pd.DataFrame({"amount": [write(value) for value in values.tolist()], "job": ["x", "y"] * 30})
    np.testing.assert_allclose(numbers(frame["amount"]), values)
    loaded = load(frame, ["a", "b"] * 30)
    assert loaded.columns[0] == "amount"
    notes = str(loaded.encoder.read[0].get("note", ""))
    assert ("are negative" in notes) is said


@pytest.mark.parametrize(("text", "number"), [("12.5-", -12.5), ("(3,5)", -3.5), ("1 234,5", 1234.5), ("1 234", 1234)])
def test_targets_of_accountants_are_read_and_said(tmp_path, text, number):
    others = (
        [f"{k}{',5' if ',' in text else '.5'}" for k in range(9)] if text != "1 234" else [str(k) for k in range(9)]
    )
    pd.DataFrame({"a": range(10), "y": [text, *others]}).to_csv(tmp_path / "a.csv", index=False)
    loaded = load(tmp_path / "a.csv", options=ReadOptions(label="y", task="regression", unlabelled=None))
    assert targets(loaded)[0] == number
    assert any(sentence.startswith("the targets have") for sentence in loaded.said)


def test_thousands_and_millions_are_not_dropped():
    texts = pd.Series(["900", "1.2k", "350K", "1.5M", "2B", "12"] * 5)
    np.testing.assert_allclose(numbers(texts), [900, 1200, 350e3, 1.5e6, 2e9, 12] * 5)
    np.testing.assert_allclose(numbers(pd.Series(["12 kg", "3 kg", "4"] * 5)), [12, 3, 4] * 5)
    np.testing.assert_allclose(numbers(pd.Series(["12K", "3K", "4K"] * 5)), [12, 3, 4] * 5)  # one unit, whatever it is
    np.testing.assert_allclose(numbers(pd.Series(["10-20", "5"]), unit=""), [np.nan, 5])


def test_times_are_numbers_and_versions_no_dates():
    frame = pd.DataFrame(
        {
            "at": [f"{k % 24:02d}:{k % 60:02d}" for k in range(40)],
            "took": [f"{k % 3}:{k:02d}:{(7 * k) % 60:02d}" for k in range(40)],  # all different, and no id
            "version": [f"{1 + k % 3}.{1 + k % 5}.{1 + k % 9}" for k in range(40)],
            "named": [day.strftime("%d-%b-%Y") for day in pd.date_range("2024-01-01", periods=40)],
            "american": [day.strftime("%b %d, %Y 10:%M") for day in pd.date_range("2024-01-01", periods=40)],
            "german": [day.strftime("%d.%m.%y") for day in pd.date_range("2024-01-01", periods=40)],
        }
    )
    read = {item["name"]: item["kind"] for item in load(frame, ["a", "b"] * 20).encoder.read}
    left = {item["name"]: item["reason"] for item in load(frame, ["a", "b"] * 20).encoder.left_out}
    assert {name: read[name] for name in ("at", "took", "named")} == {"at": "number", "took": "number", "named": "date"}
    assert read["version"] != "date"
    assert read.get("american") == "date" or "named" in left["american"]
    assert left["german"] == "the same as 'named'"
    assert numbers(frame["took"])[:2].tolist() == [0, 3600 + 60 + 7]


def test_cells_without_the_unit_of_their_column_are_said():
    part, note = fit_part(pd.Series(["14%", "30%", "0.2", "9%"] * 5))
    assert part.kind == "number"
    assert "5 cells such as '0.2' have no unit and count as of '%'" in note["note"]


def test_objects_within_objects_become_columns(tmp_path):
    rows = [{"meta": {"age": k, "at": {"deep": 1}}, "label": "ab"[k % 2]} for k in range(20)]
    rows[3]["meta"] = None
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("a.json", "a.jsonl"):
        loaded = load(tmp_path / name)
        assert loaded.columns == ("meta.age", "meta.age is empty")
        assert "objects of 'meta' became columns: 'meta.age', 'meta.at'" in loaded.said
    flat = pd.read_json(tmp_path / "a.json")
    assert read_table(tmp_path / "a.json")["meta.age"].tolist()[4:] == [row["age"] for row in flat["meta"][4:]]


@pytest.mark.parametrize("first", ["sep=;\n", '"sep=;"\r\n', "SEP=;\n"])
def test_the_line_for_excel_is_no_header(tmp_path, first):
    (tmp_path / "a.csv").write_text(first + rows().to_csv(index=False, sep=";"))
    assert list(read_table(tmp_path / "a.csv")) == ["shop", "price", "count", "label"]


def test_a_row_of_sums_of_two_columns_needs_no_gap(tmp_path):
    table = rows()[["price", "count"]].assign(label=np.arange(COUNT) % 2)
    table.loc[COUNT] = table.sum()
    table.astype({"count": int, "label": int}).to_csv(tmp_path / "a.csv", index=False)
    assert load(tmp_path / "a.csv").classes == (0, 1)


def test_dates_of_two_kinds_in_a_column_are_dates():
    """A sheet holds some dates as dates and some as text; and dates above a row of sums stay dates."""
    days = pd.date_range("2024-01-01", periods=40)
    mixed = pd.Series([day if k % 2 else day.strftime("%d.%m.%Y") for k, day in enumerate(days)], dtype=object)
    part, note = fit_part(mixed)
    assert (part.kind, note["empty"]) == ("date", 0)
    np.testing.assert_array_equal(part.read(mixed)[0], part.read(pd.Series(days))[0])
    above = pd.DataFrame({"when": [*days, "Total"], "sold": [*range(40), sum(range(40))], "label": [*"ab" * 20, None]})
    said = []
    found = without_odd_rows(above, said)
    assert (len(found), len(said), fit_part(found["when"])[0].kind) == (40, 1, "date")


@pytest.mark.parametrize("form", ["t.parquet", "t.jsonl", "t.feather", "t.xlsx", "sqlite", "t.csv"])
@pytest.mark.parametrize("kind", ["reals", "whole", "gaps"])
def test_targets_are_read_from_every_format(tmp_path, form, kind):
    price = {"reals": [k + 0.25 for k in range(20)], "whole": list(range(20)), "gaps": [None, *np.arange(19) / 2]}[kind]
    table, path = pd.DataFrame({"a": range(20), "price": price}), str(tmp_path / form)
    if form == "sqlite":
        with closing(sqlite3.connect(tmp_path / "t.db")) as connection:
            table.to_sql("t", connection, index=False)
        path = f"sqlite:///{tmp_path / 't.db'}?table=t"
    elif form == "t.xlsx":
        table.to_excel(path, index=False)
    elif form == "t.jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        {"t.parquet": table.to_parquet, "t.feather": table.to_feather, "t.csv": partial(table.to_csv, index=False)}[
            form
        ](path)
    loaded = load_targets(path, None, ReadOptions(label="price", task="regression", unlabelled=None))
    np.testing.assert_array_equal(targets(loaded), table["price"].astype(float))


def test_points_between_thousands_beside_decimal_commas(tmp_path):
    """In a German file 1.234 is no 1.234, and clean must not write it so."""
    count = [950, 1234, 12_500, 7, 1_234_567, 999]
    lines = [f"{n:,}".replace(",", ".") + f";{k},5;0,25;{'ab'[k % 2]}" for k, n in enumerate(count)]
    (tmp_path / "a.csv").write_text("count;price;share;label\n" + "\n".join(lines) + "\n")
    table = read_table(tmp_path / "a.csv")
    assert table["count"].tolist() == count
    assert table["price"].tolist() == [k + 0.5 for k in range(6)]
    loaded = load(tmp_path / "a.csv")
    assert "numbers with points between thousands in 'count'" in loaded.said
    write_tables(table, pd.DataFrame(), tmp_path, "classes", as_written(tmp_path / "a.csv"))
    assert pd.read_csv(tmp_path / "labels_clean.csv")["count"].tolist() == count
    pointed = (tmp_path / "a.csv").read_text().replace("950;", "0.950;")  # so points are decimal, of whoever wrote it
    (tmp_path / "b.csv").write_text(pointed.replace("1.234.567", "1.234"))
    assert read_table(tmp_path / "b.csv")["count"].tolist()[:2] == [0.95, 1.234]


def test_columns_in_the_names_of_folders(tmp_path):
    """As Spark, Hive and Arrow write partitions."""
    table = rows().assign(year=[2023, 2024] * (COUNT // 2), where=["a b", None, "c"] * (COUNT // 3))
    for (year, where), part in table.groupby(["year", "where"], dropna=False):
        name = "__HIVE_DEFAULT_PARTITION__" if pd.isna(where) else where.replace(" ", "%20")
        folder = tmp_path / "data" / f"year={year}" / f"where={name}"
        folder.mkdir(parents=True)
        part.drop(columns=["year", "where"]).to_parquet(folder / "part-0.parquet", index=False)
    found = read_table(tmp_path / "data")
    keys = ["price", "year", "where", "label"]
    expected = table.sort_values("price")[keys].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        found.sort_values("price")[keys].reset_index(drop=True).astype({"where": object}).fillna("-"),
        expected.astype({"where": object}).fillna("-"),
        check_dtype=False,
    )
    assert "columns from the names of folders: 'where', 'year'" in load(tmp_path / "data").said
    by_class = tmp_path / "classes"
    for name, part in table.groupby("label"):
        (by_class / f"label={name}").mkdir(parents=True)
        part.drop(columns=["label", "where"]).to_parquet(by_class / f"label={name}" / "0.parquet", index=False)
    loaded = load(by_class)
    assert np.bincount(loaded.y).tolist() == [COUNT // 2] * 2


def test_columns_beside_a_column_text_are_named(tmp_path):
    table = pd.DataFrame({"text": ["good film", "bad book"] * 10, "stars": range(20), "label": ["a", "b"] * 10})
    table.to_csv(tmp_path / "a.csv", index=False)
    (said,) = (text for text in load(tmp_path / "a.csv").said if "left alone" in text)
    assert "'text' alone; left alone: stars (columns=['text', 'stars', '...'] " in said
    asked = load(tmp_path / "a.csv", options=ReadOptions(text="text"))
    assert not any("left alone" in text for text in asked.said)
    assert len(load(tmp_path / "a.csv", options=ReadOptions(columns=("text", "stars"))).columns) > 1


def test_rows_that_an_open_quote_has_swallowed_are_said(tmp_path):
    lines = [f"this is text {k},{k},{'ab'[k % 2]}" for k in range(20)]
    lines[9] = '"this is text 9",9,b'
    lines[4] = '"this one is not closed,4,a'
    (tmp_path / "a.csv").write_text("text,stars,label\n" + "\n".join(lines) + "\n")
    loaded = load(tmp_path / "a.csv")
    assert len(loaded.y) == 15  # as pandas reads it: five rows are lost
    (said,) = (text for text in loaded.said if "quote" in text)
    assert said.startswith("4 lines that look like rows lie within cells, the first in row 4 ('this is text 5,5,b')")


def test_rows_with_fewer_cells_than_the_header_are_counted(tmp_path):
    lines = [f"{k},{k % 3},{'ab'[k % 2]}" for k in range(20)]
    (tmp_path / "whole.csv").write_text("size,stars,label\n" + "\n".join([*lines, "20,1,"]) + "\n")
    assert not any("fewer cells" in text for text in load(tmp_path / "whole.csv").said)  # the last cell is only empty
    lines[4], lines[9] = "4,1", "9"
    (tmp_path / "a.csv").write_text("size,stars,label\n\n" + "\n".join(lines) + "\n")
    (said,) = (text for text in load(tmp_path / "a.csv").said if "fewer cells" in text)
    assert said.startswith("2 rows have fewer cells than the header, and what they lack counts as empty, the first in ")
    assert "row 4 (2 of 3): is a cell missing" in said


def test_lines_within_cells_are_no_rows(tmp_path):
    text = ["Dear all,\nI come at 5, or 6, b\n\nYours, A", "one\ntwo, 3, c", "x"] * 8
    pd.DataFrame({"text": text, "stars": range(24), "label": ["a", "b"] * 12}).to_csv(tmp_path / "a.csv", index=False)
    loaded = load(tmp_path / "a.csv")
    assert len(loaded.y) == 24
    assert not any("quote" in sentence for sentence in loaded.said)


def test_data_sets_of_hugging_face_with_lists_of_labels():
    import datasets

    rows_of = {"a": [float(k) for k in range(30)], "tags": [[k % 3, 3] if k % 2 else [k % 3] for k in range(30)]}
    kind = datasets.Sequence(datasets.ClassLabel(names=["sky", "sea", "cat", "dog"]))
    features = datasets.Features({"a": datasets.Value("float64"), "tags": kind})
    options = ReadOptions(label="tags", task="multilabel", unlabelled=None)
    named = members(load_targets(datasets.Dataset.from_dict(rows_of, features=features), None, options), ";")
    assert named.names == ("cat", "dog", "sea", "sky")
    assert named.y[:2].tolist() == [[0, 0, 0, 1], [0, 1, 1, 0]]
    plain = members(load_targets(datasets.Dataset.from_dict(rows_of), None, options), ";")
    assert (plain.names, plain.y[1].tolist()) == (("0", "1", "2", "3"), [0, 1, 0, 1])
