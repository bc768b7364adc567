"""What the audit's checks find of planted cases, and that clean data give no alarm."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageFilter
from sklearn.linear_model import Ridge
from torch import nn

from codivide.audit import checks, facts
from codivide.audit.checks import cells, classes, duplicates, images, order, slices
from codivide.audit.material import Material, from_data
from codivide.data.arrays import array_rows, from_arrays
from codivide.data.columns import from_columns
from codivide.data.folder import load_folder
from codivide.data.loaded import subset
from codivide.data.looks import measure
from codivide.data.rows import MemmapRows
from codivide.data.source import Reading
from codivide.data.texts import from_texts
from codivide.runs import label_table


def photos(count=120, side=24, seed=0):
    """Smooth colours with sharp noise on them, as photos are."""
    rng = np.random.default_rng(seed)
    small = rng.uniform(40, 215, (count, 4, 4, 3)).astype(np.float32)
    large = np.repeat(np.repeat(small, side // 4, 1), side // 4, 2) + rng.normal(0, 12, (count, side, side, 3))
    return large.clip(0, 255).astype(np.uint8)


def found(name, material):
    return next(check for check in checks.CHECKS if check.name == name).find(material)


def material_of(x, given, suggested=None, **known):
    """Judged labels of rows ``x``."""
    classes = tuple(str(k) for k in range(int(max(given)) + 1))
    suggested = np.asarray(given if suggested is None else suggested)
    clean = np.where(suggested == given, 0.9, 0.1)
    table = label_table.build(range(len(given)), np.asarray(given), suggested, clean, classes)
    rows = array_rows(x)
    points = rows[torch.arange(len(rows))].float() if len(rows.shape) == 1 else None
    return Material("data", "method", table, classes, rows=rows, points=points, **known)


def loops(image):
    """The measures of one image as loops."""
    grey = [[(77 * int(r) + 150 * int(g) + 29 * int(b)) >> 8 for r, g, b in line] for line in image.tolist()]
    flat = sorted(itertools.chain(*grey))

    def at(share):
        return flat[int(np.ceil(share * len(flat))) - 1] / 255

    first, second = [], []
    for lines in (grey, list(map(list, zip(*grey, strict=True)))):
        steps = [[b - a for a, b in itertools.pairwise(line)] for line in lines]
        first.append(np.mean([s * s for line in steps for s in line]))
        second.append(np.mean([(b - a) ** 2 for line in steps for a, b in itertools.pairwise(line)]))
    colour = np.mean([max(p) - min(p) for line in image.tolist() for p in line]) / 255
    return at(0.98), at(0.02), at(0.99) - at(0.01), np.log(sum(second) / sum(first)), colour


def test_looks_are_what_loops_measure():
    x = photos(3)
    looks = measure(array_rows(x))
    for k in range(3):
        seen = looks.light[k], looks.dark[k], looks.contrast[k], looks.sharpness[k], looks.colour[k]
        np.testing.assert_allclose(seen, loops(x[k]), rtol=1e-4, atol=1e-6)
    as_floats = measure(array_rows((x / 255).astype(np.float32)))
    np.testing.assert_allclose(as_floats.light, looks.light)
    assert measure(array_rows((x * 2.0).astype(np.float32))) is None  # nobody knows what is white
    assert measure(array_rows(np.zeros((3, 4), dtype=np.float32))) is None
    assert np.isnan(measure(array_rows(x[:, :8, :8])).sharpness).all()


CHANGES = {
    "dark": lambda x: x * 0.15,
    "light": lambda x: 255 - (255 - x) * 0.2,
    "low_information": lambda x: 0 * x + 100,
    "blurry": lambda x: np.stack(
        [np.asarray(Image.fromarray(one.astype(np.uint8)).filter(ImageFilter.GaussianBlur(2))) for one in x]
    ),
    "grayscale": lambda x: np.repeat(x.mean(-1, keepdims=True), 3, -1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_odd_images_are_found_and_no_other(name):
    x = photos()
    planted = np.arange(3, 120, 17)
    x[planted] = CHANGES[name](x[planted].astype(np.float32)).clip(0, 255).astype(np.uint8)
    result = found(name, material_of(x, np.arange(120) % 2))
    assert np.flatnonzero(result.columns[f"is_{name}_issue"]).tolist() == planted.tolist()
    assert sorted(result.rows.tolist()) == planted.tolist()
    scores = result.columns[f"{name}_score"]
    assert scores[planted].max() < np.delete(scores, planted).min()
    assert ((scores >= 0) & (scores <= 1)).all()
    clean = found(name, material_of(photos(), np.arange(120) % 2))
    assert not clean.columns[f"is_{name}_issue"].any()


def test_what_most_images_are_is_said_and_not_flagged():
    x = photos()
    x[::2] = (x[::2] * 0.15).astype(np.uint8)
    result = found("dark", material_of(x, np.arange(120) % 2))
    assert len(result.rows) == 0
    assert not result.columns["is_dark_issue"].any()
    assert "60 of 120 images are dark" in result.said[0]
    assert found("grayscale", material_of(photos()[..., 0], np.arange(120) % 2)).columns == {}  # no colour at all


def test_odd_sizes_and_shapes_of_files_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    shapes = [(100 + int(rng.integers(9)), 100 + int(rng.integers(9))) for _ in range(30)]
    shapes[4], shapes[9], shapes[20] = (20, 22), (400, 410), (300, 40)
    for k, shape in enumerate(shapes):
        folder = tmp_path / "data" / "ab"[k % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (*shape, 3), dtype=np.uint8)).save(folder / f"{k:02d}.png")
    for _ in range(2):  # decoded, and read back
        loaded = load_folder(tmp_path / "data", Reading())
        known = from_data(loaded)
        odd = {loaded.ids[row] for row in found("odd_size", known).rows}
        assert odd == {"a/04.png", "b/09.png"}
        assert [loaded.ids[row] for row in found("odd_aspect_ratio", known).rows] == ["a/20.png"]
    part = subset(loaded, [2, 1])
    assert part.sizes.tolist() == [list(reversed(shapes[4])), list(reversed(shapes[2]))]
    assert found("odd_size", material_of(photos(), np.arange(120) % 2)).columns == {}  # of arrays nothing is known


def test_rare_classes_and_classes_that_are_never_suggested():
    given = np.array([0] * 300 + [1] * 280 + [2] * 9 + [3] * 40)
    suggested = np.where(given == 3, 0, given)
    result = found("class_imbalance", material_of(np.zeros((len(given), 2)), given, suggested))
    assert np.flatnonzero(result.columns["is_class_imbalance_issue"]).tolist() == list(range(580, 589))
    assert result.columns["class_imbalance_score"][585] == pytest.approx(9 * 4 / 629)
    assert "'2' (9)" in result.said[0]
    assert "suggested for no sample" in result.said[1]
    assert "'3' (40)" in result.said[1]
    assert "'2'" not in result.said[1]
    even = np.arange(200) % 4
    assert found("class_imbalance", material_of(np.zeros((200, 2)), even)).said == ()


def worse_group(seed=0, count=1200):
    """In rows of age above 60, half of the suggestions are others, elsewhere one in twenty."""
    rng = np.random.default_rng(seed)
    x = np.stack([rng.uniform(20, 80, count), rng.normal(size=count)], 1).astype(np.float32)
    given = rng.integers(3, size=count)
    other = rng.random(count) < np.where(x[:, 0] > 68, 0.5, 0.05)
    return x, given, np.where(other, (given + 1) % 3, given)


def test_a_group_that_is_judged_worse_is_found_and_named():
    x, given, suggested = worse_group()
    made = material_of(x, given, suggested, columns=("age", "weight"))
    result = found("underperforming_group", made)
    flag, planted = result.columns["is_underperforming_group_issue"], x[:, 0] > 68
    assert flag[planted].mean() > 0.9
    assert flag[~planted].mean() < 0.05
    assert "judged worse" in result.said[0]
    assert "where age > 6" in result.said[0]
    shuffled = np.random.default_rng(1).permutation(len(x))
    nothing = found("underperforming_group", material_of(x[shuffled], given, suggested))
    assert nothing.said == ()
    assert not nothing.columns["is_underperforming_group_issue"].any()


def test_a_group_of_what_is_no_table_is_found_by_those_near_it(monkeypatch):
    """Each of 200 features of the group is shifted a little, which trees of 8 leaves hardly see."""
    rng = np.random.default_rng(0)
    x, given = rng.normal(size=(1500, 200)).astype(np.float32), rng.integers(3, size=1500)
    planted = np.arange(1500) % 7 == 0
    x[planted] += 0.5
    suggested = np.where(rng.random(1500) < np.where(planted, 0.6, 0.05), (given + 1) % 3, given)
    made = replace(material_of(x, given, suggested), rows=None)
    result = found("underperforming_group", made)
    flag = result.columns["is_underperforming_group_issue"]
    assert flag[planted].mean() > 0.95
    assert flag[~planted].mean() < 0.04
    monkeypatch.setattr(slices, "_REFERENCES", 700)
    whole = found("underperforming_group", made)
    monkeypatch.setattr(slices, "_PART", 100)
    np.testing.assert_array_equal(
        found("underperforming_group", made).columns["underperforming_group_score"],
        whole.columns["underperforming_group_score"],
    )


def batch(seed=0, count=1000):
    """Of rows 300 to 399 two of three suggestions are others, elsewhere one in twenty."""
    rng = np.random.default_rng(seed)
    given, planted = rng.integers(4, size=count), np.arange(count) // 100 == 3
    other = rng.random(count) < np.where(planted, 2 / 3, 0.05)
    return rng.normal(size=(count, 3)).astype(np.float32), given, np.where(other, (given + 1) % 4, given), planted


@pytest.mark.parametrize("known", [True, False])
def test_rows_that_lie_together_and_are_judged_worse_are_found(known):
    x, given, suggested, planted = batch()
    made = material_of(x, given, suggested)
    made = made if known else replace(made, rows=None, points=None)
    result = found("underperforming_group", made)
    flag = result.columns["is_underperforming_group_issue"]
    assert flag[planted].mean() > 0.95
    assert flag[~planted].mean() < 0.01
    assert result.columns["underperforming_group_score"][planted].max() < 0.6
    (sentence,) = result.said
    assert "samples that lie together in the file ('" in sentence
    mixed = np.random.default_rng(1).permutation(1000)
    nothing = found("underperforming_group", replace(made, table=made.table.iloc[mixed].reset_index(drop=True)))
    assert nothing.said == ()
    assert not np.any(nothing.columns.get("is_underperforming_group_issue", False))


def test_files_of_folders_lie_together_by_their_names_alone():
    x, given, suggested, planted = batch()
    order = np.argsort(given, kind="stable")
    made = material_of(x[order], given[order], suggested[order])
    files = made.table.rename(columns={"id": "path"}).assign(path=[f"{given[k]}/{k:04d}.png" for k in order])
    flag = found("underperforming_group", replace(made, table=files)).columns["is_underperforming_group_issue"]
    assert flag[planted[order]].mean() > 0.95
    assert flag[~planted[order]].mean() < 0.01


def test_the_stretch_is_that_of_loops(monkeypatch):
    monkeypatch.setattr(slices, "_CLEAR", 2.0)
    rng = np.random.default_rng(4)
    wrong = rng.random(200) < np.where(np.arange(200) // 30 == 2, 0.6, 0.1)
    expected = np.where(rng.random(200) < 0.5, 0.1, 0.25)
    best, wanted = 2.0, None
    for start, end in itertools.combinations(range(0, 201, 5), 2):
        size, held, usual = end - start, wrong[start:end].sum(), expected[start:end].sum()
        if 20 <= size <= 100 and held - usual > 0.1 * size:
            likely = held * np.log(held / usual)
            likely += (size - held) * np.log((size - held) / (size - usual)) if held < size else 0
            best, wanted = max((best, wanted), (likely, slice(start, end)), key=lambda one: one[0])
    assert slices._stretch(wrong, expected) == wanted
    assert slices._stretch(np.zeros(200, dtype=bool), np.zeros(200)) == slice(0, 0)


def test_a_large_table_is_judged_in_parts_and_not_copied(tmp_path, monkeypatch):
    x, given, suggested = worse_group()
    np.save(tmp_path / "x.npy", x)
    stored = MemmapRows(np.load(tmp_path / "x.npy", mmap_mode="r"))
    made = replace(material_of(x, given, suggested, columns=("age", "weight")), rows=stored)
    assert np.shares_memory(made.numbers, stored.data)
    monkeypatch.setattr(slices, "_ROWS", 400)
    whole = found("underperforming_group", made)
    monkeypatch.setattr(slices, "_PART", 100)
    parts = found("underperforming_group", made)
    assert parts.said == whole.said != ()
    for name, column in whole.columns.items():
        np.testing.assert_array_equal(parts.columns[name], column)


def test_the_words_of_a_group_are_those_of_its_columns():
    assert slices._bound("age", 60.25, below=True) == "age <= 60.25"
    assert slices._bound("job = driver", 0.5, below=False) == "job = driver"
    assert slices._bound("job = driver", 0.5, below=True) == "not job = driver"


def test_rows_of_few_categories_are_neither_copies_nor_outliers():
    """Three columns of a few values, of which one follows from another: most rows come many times."""
    rng = np.random.default_rng(0)
    job = rng.choice(4, 600, p=[0.5, 0.3, 0.17, 0.03])
    x = np.stack([job, np.where(job == 3, 1, rng.integers(2, size=600)), job // 2 * 3], 1).astype(np.float32)
    x[:40, 2] += rng.integers(1, 6, 40)
    given = rng.integers(2, size=600)
    made = material_of((x - x.mean(0)) / x.std(0), given)
    assert found("outliers", made).columns["is_outlier_issue"].mean() < 0.01
    result = found("duplicates", made)
    assert result.said == ()
    assert result.rows.size == 0
    assert not any(np.any(result.columns[name]) for name in result.columns if name.startswith("is_"))
    mixed = np.concatenate([x, rng.normal(size=(600, 2)).astype(np.float32)], 1)
    twice = material_of(np.concatenate([mixed, mixed]), np.concatenate([given, given]))
    assert found("duplicates", twice).columns["is_exact_duplicate"].all()


def test_empty_texts_are_no_copies_of_each_other():
    texts = ["good", "bad", "", " ", "good", "", "so so"]
    loaded = from_texts(texts, [0, 1, 0, 1, 1, 0, 1])
    result = found("duplicates", from_data(loaded))
    assert np.flatnonzero(result.columns["is_exact_duplicate"]).tolist() == [0, 4]
    assert result.said[0].startswith("2 samples are exact copies of others with another label, such as '0' and '4'")


def test_of_many_rows_of_few_categories_some_are_equal_by_chance():
    """A row has a chance of 1 in 500 to be another's copy: nothing for one row, but among 16,000 that makes 30.

    The same of a thousand rows, of which one pair would be expected.
    """
    few = np.random.default_rng(5).integers(0, 4, (1000, 10)).astype(np.float32)
    few[7] = few[8]
    assert found("duplicates", material_of(few, np.arange(1000) % 2)).rows.size == 0
    x = np.random.default_rng(0).integers(0, 2, (16_000, 23)).astype(np.float32)
    result = found("duplicates", material_of(x, np.arange(16_000) % 2))
    assert result.said == ()
    assert not result.columns["is_exact_duplicate"].any()


def test_what_is_hardly_farther_than_others_is_no_outlier():
    """Each row is as far from the others as any, but for less than a tenth."""
    x = np.eye(80, dtype=np.float32) * np.r_[np.full(72, 1.0), np.full(8, 1.08)][:, None]
    assert found("outliers", material_of(x, np.arange(80) % 2)).rows.size == 0
    x[5] *= 3
    assert found("outliers", material_of(x, np.arange(80) % 2)).rows.tolist() == [5]


ORDERS = {
    "sorted by label": lambda rng, given, x: (np.sort(given), x),
    "runs": lambda rng, given, x: (np.repeat(rng.integers(3, size=75), 4), x),
    "classes come and go": lambda rng, given, x: (np.where(rng.random(300) < np.arange(300) / 300, 0, given), x),
    "frames": lambda rng, given, x: (given, x + np.repeat(rng.normal(size=(60, 5)), 5, 0).astype(np.float32) * 2),
    "drift": lambda rng, given, x: (given, x + np.linspace(-2, 2, 300, dtype=np.float32)[:, None] * [1, 0, 0, 0, 0]),
}


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_that_is_not_random_is_said(name):
    rng = np.random.default_rng(3)
    given, x = rng.integers(3, size=300), rng.normal(size=(300, 5)).astype(np.float32)
    clean = found("non_iid", material_of(x, given))
    assert clean.said == ()
    assert not clean.columns["is_non_iid_issue"].any()
    labels, values = ORDERS[name](rng, given, x)
    result = found("non_iid", material_of(np.asarray(values, dtype=np.float32), labels))
    assert len(result.said) >= 1
    assert result.columns["non_iid_score"].mean() < clean.columns["non_iid_score"].mean()
    if name == "sorted by label":
        assert result.columns["is_non_iid_issue"].mean() > 0.9
        assert "labels follow the order of the rows" in result.said[0]
    if name == "drift":
        assert any(one.startswith("what the samples hold changes with the row number (corr") for one in result.said)


def test_features_tell_the_row_number_together_where_each_hardly_does():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 60)).astype(np.float32)
    given = rng.integers(3, size=400)
    assert found("non_iid", material_of(x, given)).said == ()
    x += 0.11 * rng.normal(size=60).astype(np.float32) * np.linspace(-1.5, 1.5, 400, dtype=np.float32)[:, None]
    (sentence,) = found("non_iid", material_of(x, given)).said
    assert sentence.startswith("what the samples hold tells the row number (correlation 0.")


def test_the_row_number_is_told_as_a_ridge_regression_does_that_has_not_seen_the_row():
    rng = np.random.default_rng(1)
    for count, width in ((60, 8), (60, 90)):
        x, along = rng.normal(size=(count, width)).astype(np.float32), np.arange(count) - (count - 1) / 2
        x[:, 0] += along / 10
        rows = x - x.mean(0)
        told = {}
        for ridge in order._RIDGES:
            penalty = ridge * (rows.astype(np.float64) ** 2).sum()
            left = [
                Ridge(alpha=penalty).fit(np.delete(rows, k, 0), np.delete(along, k)).predict(rows[k : k + 1])[0]
                for k in range(count)
            ]
            told[float(((along - left) ** 2).sum())] = left
        wanted = np.corrcoef(told[min(told)], along)[0, 1]
        assert wanted > 0.6
        assert order._told(x, along, np.zeros(count)) == pytest.approx(wanted, abs=0.02)
    assert order._told(rng.normal(size=(60, 8)).astype(np.float32), along, np.zeros(60)) == 0


@pytest.mark.parametrize(("count", "width", "classes"), [(200, 500, 100), (200, 500, 20), (300, 8, 60)])
def test_members_of_a_class_do_not_tell_the_row_number_of_each_other(count, width, classes):
    """Less their mean, the features of a class of two are opposite, and so are the row numbers."""
    rng = np.random.default_rng(2)
    x, given = rng.normal(size=(count, width)).astype(np.float32), np.arange(count) * classes // count
    for labels in (given, rng.permutation(given)):
        said = found("non_iid", material_of(x, labels)).said
        assert not any("row number (corr" in one for one in said)


def test_a_drift_is_found_where_rows_are_sorted_by_class():
    rng = np.random.default_rng(0)
    x, given = rng.normal(size=(600, 5)).astype(np.float32), np.arange(600) // 200
    taken = np.concatenate([np.sort(rng.random(200)) for _ in range(3)])
    assert not any("row number (" in one for one in found("non_iid", material_of(x, given)).said)
    x[:, 2] += 2 * taken
    said = found("non_iid", material_of(x, given, columns=("a", "b", "light", "d", "e"))).said
    assert any(one.startswith("columns follow the row number (correlation 'light' +0.") for one in said)


def test_labels_of_files_in_the_order_of_their_names_are_not_compared():
    rng = np.random.default_rng(0)
    x, given = rng.normal(size=(200, 4)).astype(np.float32), np.sort(rng.integers(2, size=200))
    made = material_of(x, given)
    files = made.table.rename(columns={"id": "path"}).assign(
        path=[f"{'ab'[k]}/{i:03d}.png" for i, k in enumerate(given)]
    )
    assert found("non_iid", replace(made, table=files)).said == ()
    assert found("non_iid", made).said != ()
    spaces = [f"{('cat', 'cat 2')[k]}/{i:03d}.png" for i, k in enumerate(given)]  # as a folder is read: "cat" first
    assert found("non_iid", replace(made, table=files.assign(path=spaces))).said == ()
    assert found("non_iid", replace(made, table=files.assign(path=spaces[::-1]))).said != ()


def customers(count=400, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(2, size=count)
    frame = pd.DataFrame({"age": rng.normal(40, 9, count) + 5 * label, "job": rng.choice(["a", "b", "c"], count)})
    frame.loc[rng.random(count) < 0.1, "age"] = np.nan
    for k in range(3):
        frame[f"more {k}"] = np.where(rng.random(count) < 0.1, np.nan, rng.normal(size=count))
    return frame, label


COLUMNS = {
    "give the label away: 'code'": lambda frame, y, rng: frame.assign(code=np.where(y == 1, "x7", "q2")),
    "give the label away: 'rate'": lambda frame, y, rng: frame.assign(rate=y * 3.5 + rng.normal(0, 0.1, len(y))),
    "whether 'paid' is empty tells class": lambda frame, y, rng: frame.assign(
        paid=np.where(y == 1, rng.normal(size=len(y)), np.nan)
    ),
    "belong together, such as patients, name it ('patient') as groups=, and": lambda frame, y, rng: frame.assign(
        patient=[f"p{k}{one}" for k, one in zip(y, rng.integers(14, size=len(y)), strict=True)]
    ),
    "nearly empty: 'fax'": lambda frame, y, rng: frame.assign(
        fax=np.where(rng.random(len(y)) < 0.03, rng.normal(size=len(y)), np.nan)
    ),
    "count the rows like an id, and are learned from: 'nr'": lambda frame, y, rng: frame.assign(nr=np.arange(len(y))),
    "like an id, and are learned from: 'sample'": lambda frame, y, rng: frame.assign(
        sample=1000 + rng.permutation(2 * len(y))[: len(y)]  # half of a shuffled file
    ),
}


@pytest.mark.parametrize("text", COLUMNS)
def test_columns_that_say_too_much_or_too_little_are_named(text):
    frame, y = customers()
    sentences = [item["text"] for item in checks.of_data(from_columns(frame, y))]
    assert sentences == []
    changed = COLUMNS[text](frame, y, np.random.default_rng(1))
    assert any(text in item["text"] for item in checks.of_data(from_columns(changed, y)))


def test_columns_of_few_values_give_no_label_away_where_rows_are_sorted_by_class():
    rng = np.random.default_rng(0)
    y = np.sort(rng.integers(2, size=900))
    frame = pd.DataFrame({"age": rng.integers(20, 60, 900), "smokes": rng.integers(2, size=900)})
    assert found("gives_away", from_data(from_columns(frame, y))).said == ()
    (sentence,) = found("gives_away", from_data(from_columns(frame.assign(age=frame["age"] + 50 * y), y))).said
    assert "give the label away: 'age'. If" in sentence


def test_rows_of_empty_cells():
    frame, y = customers()
    frame.loc[[7, 90], ["age", "more 0", "more 1", "more 2"]] = np.nan
    frame.loc[90, "job"] = None
    result = found("null", from_data(from_columns(frame, y)))
    assert set(result.rows.tolist()) == set(np.flatnonzero(frame.isna().sum(axis=1) > 2.5).tolist())
    assert result.rows[:2].tolist() == [90, 7]
    assert result.columns["null_score"][[7, 90]].tolist() == [pytest.approx(0.2), 0.0]
    assert found("null", from_data(from_arrays(photos(), np.arange(120) % 2))).columns == {}


def test_how_images_look_must_not_tell_the_class():
    x, y = photos(), np.arange(120) % 3
    assert found("gives_away", material_of(x, y)).said == ()
    x[y == 1] = (x[y == 1] * 0.4).astype(np.uint8)
    (text,) = found("gives_away", material_of(x, y)).said
    assert "brightness" in text
    assert "class '1'" in text


def test_findings_are_in_the_facts_and_columns_of_no_kind_are_lost():
    x, given, suggested = worse_group()
    made = material_of(x, given, suggested, columns=("age", "weight"))
    listed = facts.build(made)
    assert [item["check"] for item in listed["findings"]] == ["underperforming_group"]
    (group,) = [check for check in listed["checks"] if check["name"] == "underperforming_group"]
    assert group["found"] > 100
    assert group["samples"][0]["fields"][0][0] == "age"
    table = facts.findings(made).labels
    assert {column.name for column in checks.columns()} <= set(table)


class Never(nn.Module):
    """A classifier that must not be asked."""


def test_of_very_many_samples_those_kinds_alone_are_left_out_that_compare(monkeypatch):
    frame, y = customers()
    loaded = from_columns(frame.assign(code=y + np.random.default_rng(1).random(400) / 9), y)
    table = label_table.build(range(400), loaded.y, loaded.y, np.full(400, 0.9), loaded.classes)
    monkeypatch.setattr(checks, "MOST_SAMPLES", 399)
    judged = checks.judge(table, loaded.classes, loaded, Never())
    assert judged.table["outlier_score"].isna().all()
    assert judged.table["null_score"].notna().all()
    assert "duplicates and outliers were not looked for" in judged.remarks[0]
    assert [item["check"] for item in judged.findings] == ["gives_away"]


def test_thresholds_stand_in_the_documentation():
    assert (images.DARK, images.FLAT, images.NARROW) == (0.25, 0.1, 0.35)
    assert (classes.RARE, slices.LEAST, order.LEAST, order.DRIFT) == (0.1, 0.1, 0.1, 0.3)
    assert duplicates.CHANCE == 0.05
    assert (cells.GIVEN_AWAY, cells.SPURIOUS, cells.EMPTY_COLUMN) == (0.98, 0.5, 0.95)
