"""Tables with columns of any kind: what becomes of each, what is left out, and the way back from a saved model."""

import datetime
import json
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from codivide import METHODS, Features, InputError, NoisyLabelClassifier, audit
from codivide.audit.material import from_data
from codivide.audit.shown import Shown
from codivide.audit.target_judging import load_targets
from codivide.cli.app import main
from codivide.data import column_kinds
from codivide.data.cells import numbers as read_numbers
from codivide.data.column_kinds import Date, Number, restore_part
from codivide.data.columns import Columns, from_columns
from codivide.data.commas import commas_of
from codivide.data.loaded import subset
from codivide.data.options import ReadOptions
from codivide.data.sources import load, read_inputs
from codivide.data.unusable import is_plain
from codivide.methods.features.matrix import Scale

ROWS = 240
WORDS = {"no": ["river", "boat", "water", "lake", "fish"], "yes": ["motor", "wheel", "road", "engine", "fuel"]}


def mixed(seed=0, rows=ROWS):
    """Two classes that several columns tell apart, some of them only partly."""
    rng = np.random.default_rng(seed)
    y = np.array(["no", "yes"])[np.arange(rows) % 2]
    high = y == "yes"
    day = pd.Timestamp("2024-01-05") + pd.to_timedelta(rng.integers(0, 200, rows) + 60 * high, unit="D")
    frame = pd.DataFrame(
        {
            "customer_id": rng.permutation(rows) + 5000,
            "age": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(40, 10, rows) + 8 * high),
            "job": np.where(rng.random(rows) < 0.5, np.where(high, "tech", "nurse"), "clerk"),
            "size": pd.Categorical(rng.choice(["s", "m"], rows)),
            "when": day,
            "written": day.strftime("%d.%m.%Y"),
            "member": rng.random(rows) < 0.5,
            "price": [f"{value:.2f}".replace(".", ",") for value in rng.gamma(2, 2, rows)],
            "note": [" ".join(rng.choice(WORDS[k], 6)) + f" {rng.integers(1000)}" for k in y],
            "one": "x",
            "none": None,
            "code": [f"K{value:05d}" for value in rng.permutation(rows)],
        }
    )
    frame["again"] = frame["age"]
    return frame, pd.Series(y, name="label")


def fitted(*arguments, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return NoisyLabelClassifier("features", **settings).fit(*arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    frame, y = mixed()
    out = tmp_path_factory.mktemp("mixed") / "run"
    return fitted(frame, y, out=out), out


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["codivide", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code or 0


def test_every_column_is_read_as_what_it_holds():
    found = Columns.fit("columns", mixed()[0])
    assert {item["name"]: item["kind"] for item in found.read} == {
        "age": "number",
        "job": "category",
        "size": "category",
        "when": "date",
        "member": "number",
        "price": "number",
        "note": "text",
    }
    assert {item["name"]: item["reason"] for item in found.left_out} == {
        "customer_id": "a different value in every row, like an id",
        "one": "one value only",
        "none": "all cells are empty",
        "code": "a different value in every row, like an id",
        "again": "the same as 'age'",
        "written": "the same as 'when'",
    }


def test_a_column_without_a_finite_number_is_left_out():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [np.inf, None, np.inf]})
    found = Columns.fit("columns", frame)
    assert [item["name"] for item in found.read] == ["a"]
    assert found.left_out[0] == {"name": "b", "reason": "no cell holds a finite number"}


def test_numbers_are_as_they_were_and_gaps_are_the_median():
    frame = pd.DataFrame({"a": [1.0, None, 3.0, 8.0], "b": ["x", "y", "x", "y"]})
    x = Columns.fit("columns", frame).encode(frame).data.numpy()
    assert x[:, 0].tolist() == [1, 3, 3, 8]
    assert x[:, 1].tolist() == [0, 1, 0, 0]
    assert x[:, 2:].tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]


def test_dates_are_days_months_weekdays_and_hours():
    frame = pd.DataFrame({"when": pd.to_datetime(["1970-01-02 06:30", "2024-02-29 00:00", None])})
    found = Columns.fit("columns", frame)
    assert found.features == ("when day", "when month", "when weekday", "when hour", "when is empty")
    x = found.encode(frame).data.numpy()
    assert x[0].tolist() == pytest.approx([1 + 6.5 / 24, 1, 4, 6.5, 0])
    assert x[1, :4].tolist() == [19782, 2, 3, 0]
    assert x[2, 4] == 1


@pytest.mark.parametrize(
    ("texts", "day"),
    [(["31/12/2023", "01/02/2024"], 19723), (["12/31/2023", "02/01/2024"], 19723), (["31.12.2023", "1.2.2024"], 19723)],
)
def test_dates_as_texts(texts, day):
    frame = pd.DataFrame({"when": texts})
    assert Columns.fit("columns", frame).encode(frame).data[0, 0] + 1 == day
    assert Columns.fit("columns", frame).encode(frame).data[1, 1] == 2


def test_numbers_as_texts():
    assert read_numbers(pd.Series(["1,5", "-2,25", "1.234,5"])).tolist() == [1.5, -2.25, 1234.5]
    assert read_numbers(pd.Series(["1.5", " 2 ", "1e3"])).tolist() == [1.5, 2, 1000]
    frame = pd.DataFrame({"a": [*map(str, range(19)), "?"], "b": [*"xy"] * 10})
    (note,) = [item["note"] for item in Columns.fit("columns", frame).read if "note" in item]
    assert note == "1 cell is no number ('?') and counts as empty"


def test_rare_and_new_categories_share_a_column():
    frame = pd.DataFrame({"job": ["a"] * 5 + ["b"] * 4 + ["c", None], "n": range(11)})
    found = Columns.fit("columns", frame)
    assert found.features[:4] == ("job = a", "job = b", "job = others", "job is empty")
    new = pd.DataFrame({"job": ["never seen", "b", None], "n": 0})
    assert found.encode(new).data[:, :4].tolist() == [[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]


def test_a_table_without_a_usable_column_names_them_all():
    frame = pd.DataFrame({"key": [f"k{k}" for k in range(20)], "bag": [[1]] * 20, "one": 1, "gone": None})
    with pytest.raises(InputError, match=r"'key': a different.*'bag': holds a list in row 0.*'one': one.*'gone': all"):
        load(frame, ["a", "b"] * 10)


def test_the_encoder_is_restored_from_json_and_tensors():
    frame = mixed()[0]
    found = Columns.fit("columns", frame)
    again = Columns.restore("columns", json.loads(json.dumps(found.header(), allow_nan=False)), found.tensors())
    assert torch.equal(again.encode(frame).data, found.encode(frame).data)
    assert again.notes() == found.notes()


def test_predict_takes_the_same_table_in_any_order_and_with_gaps(trained):
    frame, y = mixed(1)
    classifier, _ = trained
    right = classifier.predict(frame)
    assert np.mean(right == y) > 0.9
    assert (classifier.predict(frame[frame.columns[::-1]]) == right).all()
    assert (classifier.predict(frame.drop(columns=["one", "code"])) == right).all()  # what is not used is not needed
    holed = frame.mask(np.random.default_rng(0).random(frame.shape) < 0.1)
    assert np.mean(classifier.predict(holed) == y) > 0.85
    with pytest.raises(InputError, match="'job' is not there"):
        classifier.predict(frame.drop(columns="job"))
    assert (classifier.n_features_in_, classifier.feature_names_in_.tolist()) == (13, frame.columns.tolist())


def test_the_command_line_predicts_from_the_raw_table(trained, tmp_path, monkeypatch):
    frame, _ = mixed(1)
    classifier, out = trained
    frame.to_csv(tmp_path / "new.csv", index=False)
    assert command(monkeypatch, "predict", out, tmp_path / "new.csv", "--out", tmp_path / "p.csv") == 0
    predicted = pd.read_csv(tmp_path / "p.csv")
    assert predicted["label"].tolist() == classifier.predict(frame).tolist()
    assert predicted.columns[0] == "id"  # as in labels.csv: rows of a table are no files


def test_the_audit_shows_the_cells_as_they_were_written():
    frame, y = mixed()
    frame.loc[5, "note"] += "\n\nRegards "
    shown = Shown(from_data(subset(from_columns(frame, y), np.arange(5, 45))))
    for place in (0, 39):
        row, fields = frame.iloc[place + 5], dict(shown.sample(place)["fields"])
        unused = ["customer_id", "written", "one", "none", "code", "again"]
        used = [name for name in frame if name not in ("note", *unused)]
        assert list(fields) == ["note", *used, *unused]  # what tells most comes first
        assert fields["note"] == row["note"]  # and not the directions of its words
        assert fields["when"] == str(row["when"].date())
        assert fields["member"] == str(row["member"])
        assert fields["none"] is None
        assert fields["age"] == (None if pd.isna(row["age"]) else pytest.approx(row["age"], rel=1e-3))
    age, job = dict(shown.fields(0))["age"], frame["job"][5]
    assert shown.example(0) == f"{' '.join(frame['note'][5].split())}, age {age:g}, job {job}"


def test_the_record_and_the_audit_say_what_was_done(trained):
    classifier, out = trained
    summary = json.loads((out / "summary.json").read_text())
    assert {item["name"] for item in summary["columns_read"]["read"]} >= {"age", "job", "note"}
    assert any("'customer_id' (a different value in every row, like an id)" in text for text in summary["warnings"])
    told = {item["name"]: item for item in audit.collect(out)["columns"]}
    assert told["age"] == {"name": "age", "kind": "number", "features": 2, "empty": told["age"]["empty"], "note": None}
    assert told["age"]["empty"] > 0
    assert told["one"] == {"name": "one", "kind": None, "reason": "one value only"}
    assert classifier.audit().facts["columns"] == audit.collect(out)["columns"]


def test_tables_of_numbers_are_left_as_they_are():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=list("abc")).assign(
        d=1, e=[True, False] * 20
    )
    assert is_plain(frame)
    loaded = load(frame, [0, 1] * 20)
    assert loaded.encoder is None
    assert not is_plain(frame.assign(user_id=range(40)))
    assert not is_plain(frame.assign(a=np.nan))


def test_names_of_columns_may_be_texts_and_numbers():
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    frame = pd.DataFrame(x).set_axis(["a", 1, "c"], axis=1)
    fitted = NoisyLabelClassifier(METHODS["features"](heads="linear")).fit(frame, np.where(x[:, 0] > 0, 1, 0))
    assert (fitted.predict(frame) == fitted.predict(frame[["c", "a", 1]])).all()
    with pytest.raises(InputError, match="2 features"):
        fitted.predict(frame[["c", 1]])


def test_columns_are_chosen_by_name_in_any_case():
    frame, y = mixed()
    table = frame.assign(Label=y)
    chosen = load(table, options=ReadOptions(columns=("AGE", "job")))
    assert {name.split(" ")[0] for name in chosen.columns} == {"age", "job"}
    dropped = load(frame, y, options=ReadOptions(drop=("note", "when", "written")))
    assert not any(name.startswith(("note", "when", "written")) for name in dropped.columns)
    texts = load(frame, y, options=ReadOptions(text="note"))
    assert texts.texts[0] == frame["note"][0]
    with pytest.raises(InputError, match=r"no column 'ages' .*perhaps 'age'"):
        load(frame, y, options=ReadOptions(columns=("ages",)))
    with pytest.raises(InputError, match=r"no column 'sentence' .*perhaps 'note'"):
        load(frame, y, options=ReadOptions(text="sentence"))
    with pytest.raises(InputError, match="columns can be named for a table only"):
        load(np.zeros((4, 2)), [0, 1, 0, 1], options=ReadOptions(drop=("a",)))


def test_the_estimator_chooses_columns_as_the_command_line_does():
    frame, y = mixed()
    table = frame.assign(answer=y)
    classifier = fitted(table, label="answer", drop=["note"])
    assert np.mean(classifier.predict(frame) == y) > 0.7
    assert not any(name.startswith("note") for name in classifier.model_.encoder.features)


def test_rows_of_lists_and_objects_are_tables_too():
    frame, y = mixed()
    part = frame[["age", "job", "note"]]
    for rows in (part.to_numpy(dtype=object), part.astype(object).where(part.notna(), None).to_numpy().tolist()):
        loaded = load(rows, y)
        assert loaded.x.shape == load(part, y).x.shape
        again, _, _ = read_inputs(rows, loaded.x.shape, loaded.x.dtype, encoder=loaded.encoder)
        assert torch.equal(again.data, loaded.x.data)


def test_the_test_part_is_read_as_the_training_part(tmp_path):
    frame, y = mixed()
    table = frame.assign(label=y, split=["train"] * 200 + ["test"] * 40)
    table.to_parquet(tmp_path / "t.parquet")
    loaded = load(tmp_path / "t.parquet")
    assert loaded.test.x.shape == loaded.x.shape
    gaps = pd.DataFrame({"a": range(20), "b": [*range(0, 57, 3), None], "label": [*"xy"] * 10})
    gaps["split"] = ["train"] * 15 + ["test"] * 5  # the only gap is in the test part
    loaded = load(gaps)
    assert loaded.test.x.shape == loaded.x.shape == (2,)


@pytest.mark.parametrize("share", [0.02, 0.08])
@pytest.mark.parametrize("mark", [999_999, -1e9])
def test_a_mark_for_unknown_in_many_rows_is_cut_like_one_value_far_out(share, mark):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    marked = np.where(np.arange(300)[:, None] < share * 300, np.float32(mark), x)
    scale = Scale.fit(marked)
    assert scale.stretched == [0, 1, 2, 3]
    assert scale.bounds is not None
    assert np.abs(scale.bounds.numpy()).max() < 6


def test_one_cell_far_out_costs_nothing_and_is_named():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    x = rng.normal(size=(300, 4)).astype(np.float32)
    x[:, 0] += 4 * y
    x[:, 1] -= 4 * (y == 1)
    spoiled = x.copy()
    spoiled[7, 0] = 1e9
    frame = pd.DataFrame(spoiled, columns=["income", "b", "c", "d"])
    with pytest.warns(UserWarning, match="stretched by a few values far out: 'income'"):
        classifier = NoisyLabelClassifier("features").fit(frame, y)
    new = rng.normal(size=(300, 4)).astype(np.float32)
    new[:, 0] += 4 * y
    new[:, 1] -= 4 * (y == 1)
    plain = fitted(x, y)
    assert plain.model_.scale.bounds is None
    tables = (plain, new), (classifier, pd.DataFrame(new, columns=frame.columns))
    accuracy = [np.mean(one.predict(data) == y) for one, data in tables]
    assert accuracy[1] > accuracy[0] - 0.01 > 0.9


@pytest.mark.parametrize("draw", ["normal", "exponential", "lognormal", "standard_t", "poisson"])
def test_usual_features_are_not_cut(draw):
    rng = np.random.default_rng(0)
    size = (2000, 3)
    x = {"standard_t": lambda: rng.standard_t(4, size), "poisson": lambda: rng.poisson(0.2, size)}.get(
        draw, lambda: getattr(rng, draw)(size=size)
    )()
    assert Scale.fit(x.astype(np.float32)).stretched == []


@pytest.mark.parametrize("name", ["columns", "drop"])
def test_an_empty_list_of_columns_is_refused(name):
    with pytest.raises(InputError, match="must name a column"):
        NoisyLabelClassifier("features", **{name: []}).fit(pd.DataFrame({"a": [1.0, 2, 3, 4]}), [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["999", "1,234", "12,345"], [999, 1234, 12345]),
        (["1,234,567", "2,345"], [1234567, 2345]),
        (["1,234.5", "7"], [1234.5, 7]),
        (["1,5", "1,234"], [1.5, 1.234]),
        (["0,234", "1,234"], [0.234, 1.234]),
        (["1.219,5", "3"], [1219.5, 3]),
        (["1,234", "2345"], [1.234, 2345]),  # who divides thousands divides them all
        (["1,234", "2,345"], [1.234, 2.345]),
    ],
)
def test_commas_are_decimal_or_between_thousands(texts, values):
    np.testing.assert_allclose(read_numbers(pd.Series(texts)), values)
    part, _ = Number.fit(pd.Series(texts))
    for text, value in zip(texts, values, strict=True):  # one alone is read as it was among the others
        assert part.read(pd.Series([text]))[0][0, 0] == pytest.approx(value)


def test_a_date_means_the_same_however_later_tables_write_it():
    for trained in (pd.Series(["2024-07-05", "2024-09-25"] * 5), pd.to_datetime(pd.Series(["2024-07-05"] * 9))):
        part, _ = Date.fit(trained)
        later = pd.Series(["2024-07-05", "05.07.2024", "2024-07-05T00:00", pd.Timestamp("2024-07-05")], dtype=object)
        assert len(set(part.read(later)[0][:, 0].tolist())) == 1
    part, _ = Date.fit(pd.Series(["31/12/2024", "05/07/2024"] * 5))
    assert len(set(part.read(pd.Series(["05/07/2024", "2024-07-05", "05-07-2024"]))[0][:, 0].tolist())) == 1
    part, _ = Date.fit(pd.Series(["12.31.2024", "07.05.2024"] * 5))  # the month is first here, the numbers say so
    assert len(set(part.read(pd.Series(["07.05.2024", "2024-07-05"]))[0][:, 0].tolist())) == 1


def test_a_later_table_says_itself_where_the_day_is_if_the_training_does_not():
    part, _ = Date.fit(pd.Series(["2024-07-05", "2024-09-25"] * 5))
    later = pd.Series(["05/07/2024", "25/09/2024"])
    assert part.read(later)[0][:, 0].tolist() == part.read(pd.Series(["2024-07-05", "2024-09-25"]))[0][:, 0].tolist()
    assert part.read(later)[1] is None
    assert part.header()["day_first"] == [None, None]
    assert restore_part({"kind": "date", **part.header()}, {}) == part
    part, _ = Date.fit(pd.Series(["12/31/2024", "07/05/2024"] * 5))
    assert part.read(pd.Series(["07/05/2024"]))[1] is None
    said = part.read(later)[1]
    assert said == "'25/09/2024' has the day first, but dates are read with the month first, as in training"


def test_columns_of_earlier_versions_are_restored():
    assert restore_part({"kind": "number", "fill": 1.0, "gaps": False}, {}) == Number(1.0, gaps=False)
    header = {"kind": "date", "fill": 3.0, "gaps": True, "clock": False, "day_first": True}
    assert restore_part(header, {}) == Date(3.0, gaps=True, clock=False, order=(True, True))
    for part in (Number(1.0, gaps=False, commas="thousands"), Date(3.0, gaps=True, clock=False, order=(True, False))):
        assert restore_part(json.loads(json.dumps({"kind": part.kind, **part.header()})), {}) == part


def test_cells_that_say_nothing_to_the_model_are_named():
    frame = pd.DataFrame(
        {"n": ["1", "2", "3", "5"] * 30, "flag": ["yes", "no"] * 60, "day": ["2024-07-05", "2024-07-06"] * 60}
    )
    columns = Columns.fit("columns", frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_inputs(frame, (len(columns.features),), torch.float32, encoder=columns)
    other = pd.DataFrame({"n": ["abc"] * 30, "flag": ["True"] * 30, "day": ["xx"] * 30})
    with pytest.warns(UserWarning, match="column") as said:
        columns.encode_new(other)
    texts = [str(one.message) for one in said]
    assert texts[0] == "column 'n': 30 cells are no numbers ('abc') and count as empty"
    assert "no cell holds a name that the training had ('True' and no 'no', 'yes')" in texts[1]
    assert "30 cells are no dates ('xx')" in texts[2]


def test_columns_that_are_chosen_leave_out_all_others_where_labels_stand_beside_the_frame():
    rng = np.random.default_rng(0)
    given = rng.integers(0, 2, 80)
    frame = pd.DataFrame({"a": given + rng.normal(size=80), "label": given, "id": np.arange(80.0), "split": "x"})
    loaded = load(frame, given, options=ReadOptions(columns=("a",)))
    assert loaded.x.shape == (1,)


@pytest.mark.parametrize(
    ("cells", "unit", "numbers"),
    [
        (["$1,234.50", "$5.00", "-$7", "$-8", "$1.5"], "$", [1234.5, 5, -7, -8, 1.5]),
        (["14.6%", "-3 %", "+7%", "n/a", "0%"], "%", [14.6, -3, 7, np.nan, 0]),
        (["1.409 €", "2.590,5 €", "12 €", "3,25 €", "7 €"], "€", [1409, 2590.5, 12, 3.25, 7]),
        (["1 234 kg", "5 kg", "6kg", "?", "1'000 kg"], "kg", [1234, 5, 6, np.nan, 1000]),
        (["EUR 5", "EUR 6.5", "7 EUR", "EUR 8", "-"], "EUR", [5, 6.5, 7, 8, np.nan]),
        (["1e-5", "2E3", "3", "4", "5"], "", [1e-5, 2000, 3, 4, 5]),
    ],
)
def test_numbers_of_one_unit_are_numbers(cells, unit, numbers):
    part, note = column_kinds.fit_part(pd.Series(cells * 3))
    assert (part.kind, part.unit) == ("number", unit)
    found = read_numbers(pd.Series(cells), part.commas, part.unit)
    np.testing.assert_allclose(found, numbers)
    assert ("note" in note) == bool(np.isnan(numbers).any())  # what was taken for empty is said
    back = column_kinds.restore_part({"kind": part.kind, **part.header()}, {})
    assert back == part
    if unit:
        _, unread = part.read(pd.Series(["5 £", *cells]))
        assert "'5 £'" in unread  # another unit is no number here


@pytest.mark.parametrize(
    "cells", [["5 kg", "6 g", "7 kg", "8 g"], ["A1", "A2", "A3", "A4"], ["3 Jan", "4 Feb", "5 Jan"]]
)
def test_numbers_of_several_units_are_none(cells):
    assert column_kinds.fit_part(pd.Series(cells * 4))[0].kind != "number"


def test_a_column_of_numbers_with_many_gaps_in_words_is_one():
    cells = [str(k) for k in range(50)] + ["n/a", "NA", "?", "unknown"] * 8
    part, note = column_kinds.fit_part(pd.Series(cells))
    assert (part.kind, part.gaps, note["empty"]) == ("number", True, 32)
    assert column_kinds.fit_part(pd.Series(["1", "2", *["n/a"] * 8]))[0].kind == "category"


GERMAN = ["1.234", "950", "1.000.000", "12.500", "3"]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (GERMAN, "points"),
        (["1.234", "12.500", "950"], ""),  # which may be decimal
        ([*GERMAN, "1.5"], ""),
        ([*GERMAN, "v1.000.000"], ""),
        (["1.234.567,5", "2.000,1"], "decimal"),
        (["192.168.178.101", "192.168.178.120"], ""),  # addresses
    ],
)
def test_points_divide_thousands_where_a_number_has_two(texts, said):
    assert commas_of(pd.Series(texts)) == said


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_whole_numbers_with_points_are_numbers_and_that_is_said(delimiter, tmp_path):
    table = pd.DataFrame({"price": GERMAN * 8, "label": ["a", "b"] * 20})
    table.to_csv(tmp_path / "a.csv", index=False, sep=delimiter)
    loaded = load(tmp_path / "a.csv")
    (read,) = loaded.encoder.read
    assert (read["kind"], read["note"]) == ("number", "read as whole numbers with points between thousands")
    assert loaded.x[torch.arange(5)][:, 0].tolist() == [1234, 950, 1_000_000, 12_500, 3]
    (part,) = (part for _, part in loaded.encoder.parts)
    assert restore_part({"kind": "number", **part.header()}, {}) == part
    block, unread = part.read(pd.Series(["12.500", "7"]))  # new data, in which no number has two points
    assert (block[:, 0].tolist(), unread) == ([12_500, 7], None)
    block, unread = part.read(pd.Series([12.5, 7.0]))  # that pandas has read
    assert "which stood between thousands in training" in unread


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (["250.000", "7"], [250_000, 7]),  # not 250
        (["250.000", "300.000"], [250_000, 300_000]),
        (["0.125", "1.234", "12.50"], [0.125, 1.234, 12.5]),  # which is said
        (["1.234,5", "1.234"], [1234.5, 1234]),
    ],
)
def test_new_files_are_read_with_the_points_of_the_training(cells, read, tmp_path):
    table = pd.DataFrame({"price": GERMAN * 8, "label": ["a", "b"] * 20})
    encoder = load(table).encoder
    new = pd.DataFrame({"Price": cells, "label": ["a", "b", "a"][: len(cells)]})
    new.to_csv(tmp_path / "new.csv", index=False, sep=";")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        rows, _, _ = read_inputs(tmp_path / "new.csv", (1,), torch.float32, ReadOptions(), encoder)
    assert rows[torch.arange(len(cells))][:, 0].tolist() == pytest.approx(read)
    assert bool(said) == (len(cells) == 3)
    if not said:  # as a test part
        other = load(tmp_path / "new.csv", options=ReadOptions(encoder=encoder))
        assert other.x[torch.arange(len(cells))][:, 0].tolist() == read


def test_targets_with_points_between_thousands_are_whole_numbers():
    loaded = load_targets(np.arange(40.0)[:, None], GERMAN * 8, ReadOptions(task="regression"))
    assert sorted(map(float, loaded.classes)) == [3, 950, 1234, 12_500, 1_000_000]


def test_new_rows_may_be_records_and_what_is_no_table_says_so():
    frame = pd.DataFrame({"a": np.arange(60) % 5 + 5.0 * (np.arange(60) % 2), "b": ["x", "y"] * 30})
    found = NoisyLabelClassifier(Features(heads="linear")).fit(frame, ["n", "p"] * 30)
    assert found.predict(frame[:2].to_dict("records")).tolist() == ["n", "p"]
    for one in (frame.iloc[0], frame.iloc[0].to_dict()):
        with pytest.raises(
            InputError, match=r"X is one row, and the model takes tables: give pandas.DataFrame\(\[X\]\)"
        ):
            found.predict(one)
    with pytest.raises(InputError, match=r"the table has 0 sample\(s\), only columns: a, b"):
        NoisyLabelClassifier().fit(frame[:0], [])
    with pytest.raises(InputError, match=r"X has 0 feature\(s\): its shape is \(60, 0\)"):
        NoisyLabelClassifier().fit(frame[[]], ["n", "p"] * 30)


@pytest.mark.parametrize("form", ["texts", "dates", "cells"])
def test_dates_without_an_end_are_dates(form):
    written = ["9999-12-31", "1000-01-01", "2020-06-01", None] * 15
    cells = pd.Series(written, dtype=object)
    if form != "texts":
        cells = cells.map(lambda text: text and datetime.date.fromisoformat(text))
    frame = pd.DataFrame({"until": cells.astype("datetime64[us]") if form == "dates" else cells})
    loaded = load(frame, ["n", "p", "n", "p"] * 15)
    rows = loaded.x[torch.arange(4)]
    assert rows[:, 0].tolist() == [2932896, -354285, 18414, 18414]  # an empty cell has the median
    assert rows[:3, 1].tolist() == [12, 1, 6]
    assert torch.equal(loaded.encoder.encode(frame[:4])[torch.arange(4)], rows)
