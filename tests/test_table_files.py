"""Tables in files of every format, as people have them: read as pandas would, or one clear error."""

import bz2
import gzip
import io
import json
import lzma
import sqlite3
import sys
import zipfile
from contextlib import closing
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codivide import InputError
from codivide.cli.app import main
from codivide.data import table_files
from codivide.data.asked import said_of
from codivide.data.delimited import delimiter_of
from codivide.data.options import ReadOptions
from codivide.data.record import DataRecord
from codivide.data.sources import load, read_inputs
from codivide.data.table_files import FORMATS, read_file

TEXTS = ["a good film", "what a bad film", "good, really good", "bad acting and bad music"] * 6
LABELS = ["pos", "neg", "pos", "neg"] * 6
TABLE = pd.DataFrame({"age": np.arange(24) % 7, "score": np.linspace(0, 1, 24), "job": ["a", "b", "c"] * 8})


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["codivide", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code or 0


def written(path, frame):
    """The frame in the format of the suffix."""
    suffix = path.suffix
    if suffix in (".csv", ".tsv"):
        frame.to_csv(path, index=False, sep="," if suffix == ".csv" else "\t")
    elif suffix in (".jsonl", ".ndjson", ".json"):
        frame.to_json(path, orient="records", lines=suffix != ".json")
    elif suffix == ".xlsx":
        frame.to_excel(path, index=False)
    elif suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_feather(path)
    return path


@pytest.mark.parametrize("suffix", [suffix for suffix in FORMATS if suffix != ".tar"])  # of images: test_exchange.py
def test_every_format_gives_the_same_data(tmp_path, suffix):
    path = written(tmp_path / f"t{suffix}", TABLE.assign(label=LABELS))
    loaded, expected = load(path), load(TABLE, LABELS)
    assert np.array_equal(loaded.x.data, expected.x.data)
    assert (loaded.y == expected.y).all()
    assert loaded.columns == expected.columns
    rows, ids, _ = read_inputs(path, loaded.x.shape, loaded.x.dtype, encoder=loaded.encoder)
    assert np.array_equal(rows.data, loaded.x.data)
    assert len(ids) == 24


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst", ".zip"])
def test_compressed_files(tmp_path, suffix):
    content = written(tmp_path / "t.csv", TABLE.assign(label=LABELS)).read_bytes()
    path = tmp_path / f"t.csv{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("t.csv", content)
    elif suffix == ".zst":
        with pyarrow.output_stream(str(path), compression="zstd") as stream:
            stream.write(content)
    else:
        path.write_bytes({".gz": gzip, ".bz2": bz2, ".xz": lzma}[suffix].compress(content))
    assert np.array_equal(load(path).x.data, load(tmp_path / "t.csv").x.data)


@pytest.mark.parametrize("name", ["data.zip", "My data.2024.zip"])
def test_an_archive_is_what_the_only_file_in_it_is(tmp_path, name):
    table = TABLE.assign(label=LABELS)
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.write(written(tmp_path / "t.jsonl", table), "sub/t.jsonl")
        archive.writestr("__MACOSX/._t.jsonl", "x")
    loaded = load(tmp_path / name)
    assert np.array_equal(loaded.x.data, load(tmp_path / "t.jsonl").x.data)
    assert loaded.name == name.removesuffix(".zip")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.png", "x")
    with pytest.raises(InputError, match="is no data set"):
        load(tmp_path / "photos.zip")


def test_json_as_pandas_splits_it(tmp_path):
    table = TABLE.assign(label=LABELS)
    table.to_json(tmp_path / "t.json", orient="split")
    assert np.array_equal(load(tmp_path / "t.json").x.data, load(TABLE, LABELS).x.data)


def test_a_database_without_a_table_names_its_tables(tmp_path):
    with closing(sqlite3.connect(tmp_path / "birds.db")) as connection:
        TABLE.assign(label=LABELS).to_sql("seen", connection, index=False)
    with pytest.raises(InputError, match=r"name the table, sqlite:///.*birds\.db\?table=NAME \(tables: seen\)"):
        load(tmp_path / "birds.db")


def test_a_column_that_is_not_chosen_may_be_dropped_besides(tmp_path):
    written(tmp_path / "t.csv", TABLE.assign(label=LABELS, extra=1.0))
    chosen = str(TABLE.columns[0])
    found = load(tmp_path / "t.csv", options=ReadOptions(columns=(chosen,), drop=("extra",)))
    assert found.columns == (chosen,)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("cp1252", "cp1252"),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-32", "UTF-32"),
    ],
)
def test_encodings_are_found_and_named(tmp_path, encoding, said):
    path = tmp_path / "t.csv"
    path.write_bytes("Text,Label\ngrüne Äpfel schmecken,früh\nrote Äpfel auch sehr,spät\n".encode(encoding))
    loaded = load(path)
    assert (loaded.texts[0], loaded.classes) == ("grüne Äpfel schmecken", ("früh", "spät"))
    assert [said is not None and said in text for text in loaded.said] == ([True] if said else [])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path, delimiter):
    path = tmp_path / "t.csv"
    frame = pd.DataFrame({"text": TEXTS, "label": LABELS, "note": ["one; two", "x"] * 12})
    frame.to_csv(path, index=False, sep=delimiter)
    assert load(path).texts == TEXTS
    assert delimiter_of(path.read_text()) == delimiter


def test_one_column_and_ragged_lines():
    assert delimiter_of("label\na\nb\n") == ","
    assert delimiter_of("a;b\n1;2\n1;2;3\n") == ";"
    assert delimiter_of('a,b\n"x;y",2\n') == ","


def test_a_decimal_comma_is_read_and_said(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("price;size;label\n1,5;3;a\n2,25;4;b\n1.000,5;5;a\n", encoding="utf-8")
    loaded = load(path)
    assert loaded.x.data[:, 0].tolist() == [1.5, 2.25, 1000.5]
    assert loaded.said == ("columns are divided by semicolons", "numbers with a decimal comma in 'price'")


def test_names_in_another_case_and_the_only_column_of_texts(tmp_path):
    for names in (("Text", "LABEL"), ("sentence", "Label")):
        pd.DataFrame(dict(zip(names, (TEXTS, LABELS), strict=True))).to_csv(tmp_path / "t.csv", index=False)
        loaded = load(tmp_path / "t.csv")
        assert loaded.texts == TEXTS
        rows, _, _ = read_inputs(tmp_path / "t.csv", loaded.x.shape, loaded.x.dtype, encoder=loaded.encoder)
        assert rows.shape == loaded.x.shape
    pd.DataFrame({"review": TEXTS, "Sentiment": LABELS, "stars": 1}).to_csv(tmp_path / "r.csv", index=False)
    loaded = load(tmp_path / "r.csv", options=ReadOptions(label="sentiment", text="review"))
    assert loaded.texts == TEXTS
    with pytest.raises(
        InputError, match=r"no column 'label' \(columns: review, Sentiment, stars\).*perhaps 'Sentiment'"
    ):
        load(tmp_path / "r.csv")


@pytest.mark.long
def test_text_columns_on_the_command_line(tmp_path, monkeypatch):
    texts = [f"{text} {k}" for k, text in enumerate(TEXTS)]  # no copies of each other, which would count once
    pd.DataFrame({"review": texts, "kind": LABELS, "stars": 1}).to_csv(tmp_path / "r.tsv", index=False, sep="\t")
    words = ("--label", "kind", "--text", "review")
    assert (
        command(monkeypatch, "fit", tmp_path / "r.tsv", *words, "--method", "features", "--out", tmp_path / "run") == 0
    )
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert saved["source"]["options"] == {"label": "kind", "text": "review"}
    assert command(monkeypatch, "noise", tmp_path / "r.tsv", *words) == 0
    assert command(monkeypatch, "predict", tmp_path / "run", tmp_path / "r.tsv", "--out", tmp_path / "p.csv") == 0
    assert pd.read_csv(tmp_path / "p.csv")["label"].isin(["pos", "neg"]).all()
    assert command(monkeypatch, "audit", tmp_path / "run") == 0
    assert pd.read_csv(tmp_path / "run" / "labels.csv")["text"].tolist() == texts


def test_a_table_of_a_database(tmp_path, monkeypatch):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        TABLE.assign(label=LABELS).to_sql("my table", connection, index=False)
    connection.close()
    expected = load(TABLE, LABELS)
    for rest in ("table=my%20table", "query=SELECT age, score, job, label FROM 'my table'"):
        source = f"sqlite:///{path}?{rest}"
        assert np.array_equal(load(source).x.data, expected.x.data)
    monkeypatch.chdir(tmp_path)
    record = DataRecord.of("sqlite:///shop.db?table=my table", ReadOptions())
    monkeypatch.chdir("/")
    assert np.array_equal(load(record.location()).x.data, expected.x.data)
    with pytest.raises(InputError, match=r"name the table.*tables: my table"):
        load(f"sqlite:///{path}")
    with pytest.raises(InputError, match="has no table 'other'"):
        load(f"sqlite:///{path}?table=other")
    with pytest.raises(InputError, match="there is no file"):
        load("sqlite:///gone.db?table=a")
    (tmp_path / "no.db").write_text("nothing of the kind, but long enough to be looked at")
    with pytest.raises(InputError, match="is no SQLite file"):
        load(f"sqlite:///{tmp_path}/no.db")


def test_a_folder_of_parts_has_its_splits(tmp_path):
    table = TABLE.assign(label=LABELS)
    for name, part in (
        ("train-00000-of-00002", table[:12]),
        ("train-00001-of-00002", table[12:]),
        ("test-0", table[:5]),
    ):
        part.to_parquet(tmp_path / f"{name}.parquet")
    loaded = load(tmp_path)
    assert (len(loaded.y), len(loaded.test.y)) == (24, 5)
    assert "read from 3 files" in loaded.said


def test_errors_say_what_to_do(tmp_path):
    def refused(name, content, match):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=match):
            load(tmp_path / name)

    refused("a.jsonl", b'{"a": 1}\n{oops\n', "line 2 is no JSON")
    refused("a.json", b"[1, 2]", "objects that name the columns")
    refused("a.csv.gz", b"no gzip", "cannot be read")
    refused("a.csv", b"a,b\x00\xff\n1,2\n", "no text")
    refused("a.parquet", b"PAR1", "cannot be read")
    twice = "a.csv has more than one column 'age' .*: rename one"
    refused("a.csv", b"age,text, age,label\n1,a good film,2,pos\n3,a bad film,4,neg\n", twice)
    refused("a.toy", b"x", r"is no data set.*\.xlsx.*\.gz")
    with pytest.raises(InputError, match=r"^there is no file '.*gone\.csv'$"):
        read_file(tmp_path / "gone.csv", set)
    with zipfile.ZipFile(tmp_path / "two.csv.zip", "w") as archive:
        archive.writestr("a.csv", "a")
        archive.writestr("b.csv", "b")
    with pytest.raises(InputError, match=r"holds 2 files \(a.csv, b.csv\)"):
        load(tmp_path / "two.csv.zip")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "t.csv has no rows: it is empty$"),
        ("a,label\n1,x\n2,y\n1,2,3\n", "t.csv: line 4 has 3 cells, but the lines above have 2 at most"),
        ("# by me\na,label\n" + "1,x\n2,y\n" * 40 + "1,2,3\n", "t.csv: line 83 has 3 cells"),
        ('a,label\n1,x\n2,"y\n3,x\n', "t.csv: the quote that opens at about line 3 is never closed"),
        ("a,label\n0,x,\n1,y,\n", "names .a, label.: 3, not 2, and each line ends with one of the commas"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_in_plain_words(tmp_path, content, says):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=says):
        load(tmp_path / "t.csv")


def test_other_files_that_are_no_tables_say_why(tmp_path):
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", "a")
        archive.writestr("b.csv", "b")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name, says in (("two.zip", "holds 2 files .a.csv, b.csv."), ("deep.json", "too deep within each other")):
        with pytest.raises(InputError, match=says):
            load(tmp_path / name)


def test_arrays_in_a_column_are_no_image_and_a_cell_that_is_infinite_counts_as_empty(tmp_path):
    frame = TABLE.assign(e=[np.zeros(3)] * 24, score=np.where(np.arange(24) == 3, np.inf, TABLE["score"]), label=LABELS)
    frame.to_parquet(tmp_path / "t.parquet")
    left_out = load(tmp_path / "t.parquet").encoder.left_out
    assert left_out == [{"name": "e", "reason": "holds an array in row 0"}]
    frame[["score", "label"]].to_csv(tmp_path / "t.csv", index=False)  # numbers alone: refused for one cell before
    assert "1 cell is no number (inf)" in load(tmp_path / "t.csv").encoder.notes()["read"][0]["note"]


def test_excel_needs_one_more_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    (tmp_path / "a.xlsx").write_bytes(workbook_of(SHEET))
    with pytest.raises(InputError, match="pip install openpyxl"):
        load(tmp_path / "a.xlsx")


SHEET = '<worksheet><sheetData><row r="1"><c r="A1"><v>1</v></c></row></sheetData></worksheet>'


def workbook_of(sheet, name="xl/worksheets/sheet1.xml"):
    """The bytes of a zip file with one part."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, sheet)
    return packed.getvalue()


FAR_OUT = "<worksheet>" + "".join(f'<row r="{k}"><c r="XFD{k}"/></row>' for k in range(1, 2000)) + "</worksheet>"
DEEP = '<worksheet><row r="1"><c r="ZZ1"/></row><row r="1048576"><c/></row></worksheet>'
UNNUMBERED = f"<x:worksheet xmlns:x='u'><x:row>{'<x:c/>' * 4000}</x:row>{'<x:row/>' * 4000}</x:worksheet>"
ENTITIES = '<!DOCTYPE w [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><worksheet>&b;</worksheet>'


@pytest.mark.parametrize(
    ("sheet", "says"),
    [
        (" " * (2 << 20), "far more than a workbook of its size"),
        (FAR_OUT, "spans 1,999 rows and 16,384 columns and names only"),
        (DEEP, "spans 1,048,576 rows and 702 columns"),
        (UNNUMBERED, "spans 4,001 rows and 4,000 columns"),
        (ENTITIES, "declares entities"),
    ],
)
@pytest.mark.parametrize("name", ["xl/worksheets/sheet1.xml", "elsewhere.bin"])
def test_a_workbook_that_would_become_far_more_than_it_is_is_refused(tmp_path, monkeypatch, sheet, says, name):
    monkeypatch.setattr(table_files, "_UNPACKED", 1 << 20)
    path = tmp_path / "a.xlsx"
    path.write_bytes(workbook_of(sheet, name))
    with pytest.raises(InputError, match=says):
        load(path)


def test_what_is_no_workbook_is_said(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"x")
    with pytest.raises(InputError, match="is no Excel file"):
        load(tmp_path / "a.xlsx")


def _read_or_refused(path, *, as_text=False):
    """The table; None where it is refused with a message that names the file. Nothing else may be raised."""
    try:
        return read_file(path, lambda names: set(names) if as_text else set())
    except InputError as error:
        message = str(error)
    assert str(path) in message
    return None


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6), delimiter=st.sampled_from(",;\t|"))
def test_what_pandas_writes_is_read_back(tmp_path, rows, delimiter):
    frame = pd.DataFrame(rows, columns=["text", "label"])
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False, sep=delimiter, lineterminator="\n", encoding="utf-8")
    found = _read_or_refused(path, as_text=True)
    if found is None:
        return
    assert all(isinstance(text, str) for text in said_of(found))
    if list(found.columns) == ["text", "label"]:
        expected = pd.read_csv(path, sep=delimiter, dtype="object", keep_default_na=False, encoding="utf-8")
        full = expected.map(str.strip).ne("").any(axis=1)  # rows without a filled cell are left out
        expected = expected[full].reset_index(drop=True) if full.any() else expected
        pd.testing.assert_frame_equal(found, expected, check_flags=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200),
    suffix=st.sampled_from([*(s for s in FORMATS if s != ".xlsx"), ".csv.gz", ".csv.zip"]),
)
def test_any_bytes_load_or_are_one_clear_error(tmp_path, content, suffix):
    path = tmp_path / f"t{suffix}"
    path.write_bytes(content)
    found = _read_or_refused(path)
    assert found is None or isinstance(found, pd.DataFrame)


def test_hugging_face_texts_and_columns(tmp_path):
    import datasets

    kinds = datasets.Features(
        {"sentence": datasets.Value("string"), "labels": datasets.ClassLabel(names=["neg", "pos"])}
    )
    rows = {"sentence": TEXTS, "labels": [int(name == "pos") for name in LABELS]}
    train = datasets.Dataset.from_dict(rows, features=kinds)
    test = datasets.Dataset.from_dict({"sentence": TEXTS[:4], "labels": [-1] * 4}, features=kinds)
    loaded = load(train)
    assert (loaded.texts, loaded.classes) == (TEXTS, ("neg", "pos"))
    assert [loaded.classes[k] for k in loaded.y] == LABELS
    with pytest.warns(UserWarning, match="the split 'test' has no labels"):
        assert load(datasets.DatasetDict(train=train, test=test)).test is None
    both = load(datasets.DatasetDict(train=train, validation=train.select(range(4))))
    assert len(both.test.y) == 4
    assert load(train["sentence"], train["labels"]).texts == TEXTS
    rows, _, _ = read_inputs(test, loaded.x.shape, loaded.x.dtype, encoder=loaded.encoder)
    assert len(rows) == 4
    train.save_to_disk(tmp_path / "saved")
    assert load(tmp_path / "saved").texts == TEXTS
    datasets.DatasetDict(train=train, test=test).save_to_disk(tmp_path / "both")
    with pytest.raises(InputError, match=r"splits train, test: give the folder of one of them, such as .*both.test$"):
        read_inputs(tmp_path / "both", loaded.x.shape, loaded.x.dtype, encoder=loaded.encoder)
    table = datasets.Dataset.from_pandas(TABLE.assign(kind=LABELS))
    assert load(table, options=ReadOptions(label="kind")).x.shape == load(TABLE, LABELS).x.shape
    with pytest.raises(InputError, match=r"no column 'label'.*perhaps 'kind'"):
        load(table)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zip", ".zst"])
def test_a_small_file_that_unpacks_to_far_too_much_is_refused(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(table_files, "_UNPACKED", 1 << 20)
    path, content = tmp_path / f"t.csv{suffix}", b"a,label\n" + b"1,x\n" * (1 << 20)
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("t.csv", content)
    elif suffix == ".zst":
        with pyarrow.output_stream(str(path), compression="zstd") as stream:
            stream.write(content)
    else:
        path.write_bytes({".gz": gzip, ".bz2": bz2, ".xz": lzma}[suffix].compress(content))
    with pytest.raises(InputError, match="far more than a table of its size"):
        load(path)


def test_the_index_of_a_data_frame_is_no_feature(tmp_path):
    frame = pd.DataFrame({"a": np.arange(40.0) % 7, "label": ["x", "y"] * 20})
    frame[frame.a != 3].to_parquet(tmp_path / "t.parquet")
    assert "__index_level_0__" in pyarrow.parquet.read_schema(tmp_path / "t.parquet").names
    assert load(tmp_path / "t.parquet").columns == ("a",)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"group": "nosuch"}, r"\(columns: kind, a, b\)"),
        ({"drop": ("nosuch",)}, r"\(columns: kind, a, b\)"),
        ({"label": "nosuch"}, r"\(columns: kind, a, b\)"),
    ],
)
def test_errors_list_the_columns_as_the_file_calls_them(tmp_path, more, said):
    pd.DataFrame({"kind": ["x", "y"] * 2, "a": [1, 2, 3, 4], "b": 0.5}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match=said):
        load(tmp_path / "t.csv", options=replace(ReadOptions(label="kind"), **more))


def test_a_column_called_label_beside_the_labels_may_be_dropped_and_is_proposed(tmp_path):
    path = tmp_path / "t.csv"
    pd.DataFrame({"kind": ["x", "y"] * 2, "label": ["q", "q", "r", "r"], "a": [1, 2, 3, 4]}).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"rename 'label', or leave it out, drop=\['label'\]"):
        load(path, options=ReadOptions(label="kind"))
    found = load(path, options=ReadOptions(label="kind", drop=("label",)))
    assert found.classes == ("x", "y")
    assert found.columns == ("a",)
    with pytest.raises(InputError, match="perhaps 'label'"):
        load(path, options=ReadOptions(label="nosuch"))
