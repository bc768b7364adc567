"""What is said of labels that were read as missing, are twins, too few to judge, or an id; and how it is mended."""

from __future__ import annotations

import json
import unicodedata
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from codivide import Features, InputError, NoisyLabelClassifier, TrainingWarning, noise_report
from codivide.cli.progress import plain_warnings
from codivide.data.columns import from_columns
from codivide.data.label_remarks import label_remarks
from codivide.data.labels import alike, encode, same_classes, twins
from codivide.data.mistyped import meant
from codivide.data.options import ReadOptions
from codivide.data.sources import load
from codivide.fit import test_part
from codivide.noise import alike as alike_classes

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
SPELLED = ["cat"] * 6 + ["Cat "] * 5 + ["CAT"] * 5 + ["dog"] * 9 + [COMPOSED] * 5 + [DECOMPOSED] * 7
X = np.random.default_rng(0).standard_normal((len(SPELLED), 3)).astype(np.float32)
MERGE, KEEP = ReadOptions(merge_labels=True), ReadOptions(keep_na=True)


def written(folder, labels, **columns):
    rows = pd.DataFrame({"a": np.arange(len(labels)) % 7, "b": np.arange(len(labels)) % 5, "label": labels, **columns})
    rows.to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


def test_a_number_is_alike_with_and_without_a_point_and_zeros(tmp_path):
    assert twins(["1", "1.0", "1.00", "10", "1.5", "-2", "-2.0", "v1.0"]) == [["-2", "-2.0"], ["1", "1.0", "1.00"]]
    said = label_remarks(load(written(tmp_path, ["1", "2.0", "1.0"] * 8)))
    assert any("Unicode form, or by .0 behind a number: '1' (8) and '1.0' (8)" in remark for remark in said)


def test_names_that_differ_by_case_space_or_form_only_are_alike():
    assert twins(["cat", "Cat ", " CAT", "c at", COMPOSED, DECOMPOSED, "straße", "STRASSE"]) == [
        [" CAT", "Cat ", "cat"],
        ["STRASSE", "straße"],
        [DECOMPOSED, COMPOSED],
    ]
    assert alike("x²") != alike("x2")


def test_twins_are_named_with_their_counts_and_merged_where_that_is_wanted():
    plain = load(X, SPELLED)
    assert len(plain.classes) == 6
    (remark,) = label_remarks(plain)
    assert "'CAT' (5) and 'Cat ' (5) and 'cat' (6)" in remark
    assert f"{DECOMPOSED!r} (7) and {COMPOSED!r} (5)" in remark
    assert "merge_labels=True" in remark
    merged = load(X, SPELLED, options=MERGE, truth=["CAT"] * len(SPELLED))
    assert merged.classes == (DECOMPOSED, "cat", "dog") == tuple(sorted((DECOMPOSED, "cat", "dog")))
    assert np.bincount(merged.y).tolist() == [12, 16, 9]
    assert merged.labels_read.to_dict() == {
        "merged": {"cat": {"Cat ": 5, "CAT": 5}, DECOMPOSED: {COMPOSED: 5}},
    }
    assert set(merged.truth.tolist()) == {1}
    assert label_remarks(merged)[0].startswith("15 labels were merged: 'CAT' 5, 'Cat ' 5 into 'cat'") or (
        label_remarks(merged)[0].startswith("15 labels were merged: 'Cat ' 5, 'CAT' 5 into 'cat'")
    )


def test_known_classes_give_the_spelling():
    assert encode(["CAT", "dog"], classes=("cat", "dog"), merge=True)[0].tolist() == [0, 1]
    with pytest.raises(InputError, match="'CAT'"):
        encode(["CAT", "dog"], classes=("cat", "dog"))


def test_folders_that_are_twins(tmp_path):
    root = tmp_path / "photos"
    for name, count in (("Cat", 6), ("cat", 8), ("dog", 7)):
        (root / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            Image.new("RGB", (8, 8), (9 * k, len(name), count)).save(root / name / f"{k}.png")
    if len(list(root.iterdir())) < 3:
        pytest.skip("the file system knows no case")
    plain = load(root)
    assert label_remarks(plain)[0].startswith(
        "classes that differ only by case, white space or Unicode form: 'Cat' (6)"
    )
    merged = load(root, options=MERGE)
    assert merged.classes == ("cat", "dog")
    assert np.bincount(merged.y).tolist() == [14, 7]
    assert merged.labels_read.merged == {"cat": {"Cat": 6}}


@pytest.mark.parametrize("kind", ["list", "table"])
def test_what_was_read_as_missing_is_counted_and_named(tmp_path, kind):
    labels = ["ant"] * 9 + ["bee"] * 8 + ["None"] * 10 + [""] * 2 + ["nan"]

    def read(**options):
        source = (written(tmp_path, labels),) if kind == "table" else (np.zeros((len(labels), 2)), labels)
        return load(*source, options=ReadOptions(**options))

    loaded = read()
    assert loaded.classes == ("ant", "bee")
    assert sum(loaded.labels_read.missing.values()) == 13
    assert loaded.labels_read.missing["'None'"] == 10
    assert label_remarks(loaded)[0].startswith("13 labels were read as missing: 'None' 10, ")
    kept = read(keep_na=True)
    assert kept.classes == ("None", "ant", "bee", "nan")
    assert (kept.y < 0).sum() == 2  # an empty one is none
    assert any("'None' (10), 'nan' (1) counts as a class" in remark for remark in label_remarks(kept))


def test_empty_cells_are_recorded_without_a_word():
    loaded = load(np.zeros((22, 2)), ["a"] * 10 + ["b"] * 10 + ["", None])
    assert loaded.labels_read.missing == {"''": 1, "no value": 1}
    assert label_remarks(loaded) == []


def test_numbers_and_a_class_called_nan_are_texts(tmp_path):
    path = written(tmp_path, ["1"] * 5 + ["2"] * 5 + ["nan"] * 5)
    assert load(path).classes == (1, 2)
    assert load(path, options=KEEP).classes == ("1", "2", "nan")


def test_the_only_other_class_was_read_as_missing():
    with pytest.raises(InputError, match=r"one class only \('a'\).*'None'.*keep_na=True"):
        load(np.zeros((4, 2)), ["a", "a", "None", "None"])


@pytest.mark.parametrize(("classes", "said"), [(40, True), (21, True), (20, False)])
def test_a_class_for_every_row_is_an_id(classes, said):
    labels = [f"u{k % classes}" for k in range(40)]
    remarks = label_remarks(load(np.zeros((40, 2)), labels))
    assert (remarks == [f"there are {classes} classes in 40 labels: is this an id column?"]) == said


def test_a_number_for_every_row_is_not_judged_as_classes():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    y = np.round(1e4 * x[:, 0]).astype(int).tolist()
    with pytest.warns(UserWarning, match="do not use"):  # once 40 of 40 labels looked wrong, without a word
        NoisyLabelClassifier(Features(heads="linear", correct=False)).fit(x, y)


def test_a_warning_is_shown_once(capsys):
    with plain_warnings(), warnings.catch_warnings():
        warnings.simplefilter("always")
        for text in ("one", "two", "one"):
            warnings.warn(text, UserWarning, stacklevel=1)
    assert capsys.readouterr().err.split() == ["warning", "one", "warning", "two"]


def test_a_mistyped_label_is_named_with_what_was_meant():
    labels = ["HAM"] * 10 + ["SPAM"] * 10 + ["sapm", "zzz"]
    (remark,) = label_remarks(load(np.zeros((22, 2)), labels))
    assert remark == (
        "class 'sapm' has 1 sample; close to 'SPAM'. class 'zzz' has 1 sample. A class of fewer than 5 labels cannot "
        "be judged: the estimates leave it out"
    )
    assert label_remarks(load(np.zeros((8, 2)), ["a", "b"] * 4)) == []  # all are small: all are judged


def test_a_column_like_an_id_is_said_to_name_the_rows_if_it_is_called_id():
    table = pd.DataFrame({"Ticket ID": [f"TCK-{k}" for k in range(20)], "job": ["clerk", "nurse"] * 9 + ["clerk"] * 2})
    numbered = from_columns(table, ["a", "b"] * 10)
    hint = "Rename 'Ticket ID' to 'id', and labels.csv and predictions name the rows by it"
    assert any(remark.endswith(hint) for remark in label_remarks(numbered))
    assert not any("Rename" in remark for remark in label_remarks(replace(numbered, ids=list(table["Ticket ID"]))))


def test_a_mistyped_class_that_is_large_enough_to_be_judged_is_named():
    labels = ["Billing"] * 90 + ["Biling"] * 9 + ["typical"] * 90 + ["atypical"] * 8
    labels += ["type 1"] * 60 + ["type 2"] * 6 + ["delivery"] * 59 + ["delvery"] * 6
    remark = label_remarks(load(np.zeros((len(labels), 2)), labels))[-1]
    assert remark == (
        "classes that may be typing errors of larger ones: 'Biling' (9) of 'Billing'. If they are, mend them in your "
        "data: they are learned apart"
    )  # 59 are less than ten times as many as 6; another first letter or number is another class


@pytest.mark.parametrize(
    ("large", "rare"),
    [("class_a", "class_b"), ("Stage IV", "Stage III"), ("stage", "stage b"), ("C34.9 left", "C34.1 left")],
)
def test_classes_that_letters_or_numerals_count_are_no_typing_errors(large, rare):
    assert label_remarks(load(np.zeros((100, 2)), [large] * 92 + [rare] * 8)) == []


@pytest.mark.parametrize(
    ("typed", "name", "times"),
    [
        ("Biling", "Billing", 10),
        ("Billling", "Billing", 10),
        ("Bililng", "Billing", 10),
        ("sapm", "SPAM", 10),
        ("Austria", "Austtria", 10),
        ("delvery", "delivery", 10),
        ("e-mail", "email", 10),
        ("deliveri", "delivery", 50),
        ("oak_trees", "oak_tree", None),  # a short word
        ("houses", "house", 50),
        ("castle", "cattle", 50),
        ("cats", "cat", None),
        ("crow", "cow", None),
        ("horse", "hose", None),
        ("Austria", "Australia", None),
        ("Ireland", "Northern Ireland", None),
        ("Niger", "Nigeria", None),
        ("atypical", "typical", None),
        ("Virgin Islands (US)", "Virgin Islands (UK)", None),
        ("aquarium dish", "aquarium fish", None),
        ("type 1", "type 2", None),
        ("Stage III", "Stage IV", None),
    ],
)
def test_a_typing_error_is_one_slip_and_the_more_often_real_the_rarer(typed, name, times):
    assert times is None or meant([name, typed], np.array([times, 1]), [0, 1]) == {1: name}
    assert meant([name, typed], np.array([10_000 if times is None else times - 1, 1]), [0, 1]) == {}


def test_fit_says_it_and_the_record_holds_it(tmp_path):
    labels = [*SPELLED[:-2], "None", "sapm"]
    method = Features(heads="linear", folds=3, correct=False)
    with pytest.warns(TrainingWarning) as caught:
        NoisyLabelClassifier(method, merge_labels=True, out=tmp_path / "run").fit(X, labels)
    said = [str(item.message) for item in caught]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    for start in ("1 label was read as missing: 'None' 1", "15 labels were merged", "class 'sapm' has 1 sample"):
        assert any(text.startswith(start) for text in said), start
        assert any(text.startswith(start) for text in summary["warnings"]), start
    assert summary["labels_read"]["missing"] == {"'None'": 1}
    assert summary["labels_read"]["merged"][DECOMPOSED] == {COMPOSED: 5}
    assert summary["source"]["options"]["merge_labels"] is True
    with warnings.catch_warnings(record=True) as quiet:
        warnings.simplefilter("always")
        fine = ["a", "b"] * 18
        NoisyLabelClassifier(method).fit(X[:36], fine)
    assert not [item for item in quiet if "class" in str(item.message) and "judged" in str(item.message)]


def test_one_class_speaks_for_all_that_are_alike():
    rng = np.random.default_rng(0)
    probs, given, same = rng.dirichlet(np.ones(4), 30), rng.integers(-1, 4, 30), np.array([0, 1, 0, 1])
    found = alike_classes.one_of_each(probs, given, same)
    clean_prob = np.where(given < 0, np.nan, rng.random(30))
    right = alike_classes.right(clean_prob, probs, given, same)
    counts = np.bincount(given[given >= 0], minlength=4)
    for i in range(30):
        expected = np.zeros(4)
        for k in range(4):
            group = [j for j in range(4) if same[j] == same[k]]
            expected[given[i] if given[i] in group else max(group, key=lambda j: counts[j])] += probs[i, k]
        np.testing.assert_allclose(found[i], expected)
        if given[i] < 0:
            assert np.isnan(right[i])
            continue
        twin = next(j for j in range(4) if same[j] == same[given[i]] and j != given[i])
        share = probs[i, twin] / (1 - probs[i, given[i]])
        assert right[i] == pytest.approx(1 - (1 - clean_prob[i]) * (1 - share))
    assert same_classes(["no", 1, "NO ", "yes", 1.5]).tolist() == [0, 1, 0, 2, 3]
    assert same_classes(["no", "yes", 1]) is None


def test_no_label_is_wrong_for_another_spelling_of_it(tmp_path):
    rng = np.random.default_rng(0)
    x = np.repeat([-2.0, 2.0], 60)[:, None] + rng.normal(size=(120, 3))
    labels = np.repeat(["no", "yes"], 60).astype(object)
    labels[:60:2] = "NO"
    wrong = [3, 10, 70, 91]
    labels[wrong] = ["yes", "yes", "no", "NO"]
    with pytest.warns(TrainingWarning, match="None is called wrong for another"):
        fitted = NoisyLabelClassifier(Features(heads="linear", correct=False), out=tmp_path / "run").fit(x, labels)
    assert sorted(fitted.label_issues_["id"]) == wrong
    assert fitted.labels_["clean_prob"].drop(wrong).min() > 0.5
    assert (fitted.label_issues_["suggested_prob"] > 0.8).all()  # of "no" and "NO" together
    for report in (noise_report(tmp_path / "run"), noise_report(x, labels)):
        assert report.rate < 0.08


def test_the_test_part_takes_no_spelling_for_wrong():
    labels = np.repeat(["NO", "no", "yes"], 20)
    loaded = load(X[:30].repeat(2, 0), labels)
    probs = np.repeat([[0.3, 0.6, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]], 20, axis=0)
    probs[59] = [0.5, 0.49, 0.01]
    found = test_part.judged(replace(loaded, test=loaded), SimpleNamespace(probs=lambda x: probs))
    assert found.table.index[found.table["given"] != found.table["suggested"]].tolist() == [59]


@pytest.mark.parametrize("word", ["?", "-", "Unknown", "unlabeled", "null", "#N/A"])
def test_words_that_may_mean_no_label_are_named_where_they_count_as_a_class(word):
    loaded = load(np.zeros((9, 2)), ["ant", "bee", word] * 3)
    assert any(f"{word!r} (3) counts as a class; if it means 'no label'" in remark for remark in label_remarks(loaded))


def test_names_that_many_letters_at_one_place_tell_apart_are_no_typing_errors():
    letters = [chr(0x4E00 + k) for k in range(60)]
    assert meant([f"sign{letter}ture" for letter in letters], np.array([1000, *[1] * 59]), range(1, 60)) == {}
    assert len(meant([f"sign{letter}ture" for letter in letters[:40]], np.array([1000, *[1] * 39]), range(1, 40))) == 39
