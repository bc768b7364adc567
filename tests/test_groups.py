"""Folds divide neither copies of a sample nor what the user says belongs together."""

import importlib
import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.metrics import roc_auc_score

from codivide import InputError, NoisyLabelClassifier, TrainingWarning, noise_report
from codivide.cli import app
from codivide.core.neighbours import nearest
from codivide.data import experiment, groups
from codivide.data.duplicates import joined
from codivide.data.groups import Together, numbered, together, with_groups
from codivide.data.options import ReadOptions
from codivide.data.sources import load
from codivide.methods._held_out import stratified
from codivide.methods.features import learn, neighbours, problem
from codivide.methods.features.folds import deal, once
from codivide.methods.features.options import Features
from codivide.methods.features.table import Table
from codivide.noise.too_small import judged_classes

FAST = Features(heads="linear")


def spoiled(seed=0, count=300, wrong=30):
    """Rows, labels and which labels are wrong."""
    rng = np.random.default_rng(seed)
    x, truth = make_classification(count, n_features=10, n_informative=6, n_classes=3, class_sep=1.5, random_state=seed)
    rows = rng.permutation(count)[:wrong]
    y = truth.copy()
    y[rows] = (y[rows] + rng.integers(1, 3, wrong)) % 3
    return x.astype(np.float32), y, y != truth


def auroc(x, y, bad, **more):
    clf = NoisyLabelClassifier(FAST).fit(x, y, **more)
    return roc_auc_score(bad, -clf.clean_proba_), clf


# Copies (CASES 9)


@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_copies_of_wrong_rows_are_found_as_if_each_came_once(noise):
    x, y, bad = spoiled()
    plain, _ = auroc(x, y, bad)
    rng = np.random.default_rng(1)
    source = rng.permutation(np.r_[np.arange(300), np.repeat(np.flatnonzero(bad), 8)])
    many = x[source] + noise * rng.normal(size=(len(source), 10)).astype(np.float32)
    found, clf = auroc(many, y[source], bad[source])
    assert plain > 0.94
    assert found > plain - 0.02
    for row in np.flatnonzero(bad):  # the copies of a row get one verdict
        assert len(set(clf.clean_proba_[source == row])) == 1
        assert len(set(clf.suggested_labels_[source == row])) == 1
    learned = clf.evidence_
    assert learned.probs.shape == (540, 3)
    rate = 1 - clf.clean_proba_.mean()
    assert abs(rate - 0.5) < 0.12  # of the rows as they are, not of those that differ


def test_copies_with_other_labels_are_held_out_together(monkeypatch):
    x, y, _ = spoiled()
    x[1], y[0], y[1] = x[0], 0, 1
    seen = []
    dealt = deal
    monkeypatch.setattr(problem, "deal", lambda *given: seen.append(dealt(*given)) or seen[-1])
    NoisyLabelClassifier(FAST).fit(x, y)
    assert len(seen[0]) == 300
    assert seen[0][0] == seen[0][1]


def test_the_noise_report_does_not_learn_from_copies(monkeypatch):
    x, y, bad = spoiled()
    more = np.r_[np.arange(300), np.repeat(np.flatnonzero(bad), 8)]
    plain = learn.plain_probs(Table(x, torch.from_numpy(y), (0, 1, 2)), FAST, 0)
    module = importlib.import_module("codivide.audit.noise_report")  # the package has a function of this name
    asked = []

    def stop(table, options, seed):
        asked.append(table)
        raise InputError("seen")

    monkeypatch.setattr(module, "plain_probs", stop)
    with pytest.raises(InputError, match="seen"):
        noise_report(x[more], y[more])
    found = learn.plain_probs(asked[0], FAST, 0)
    scores = [roc_auc_score(bad, -probs[np.arange(300), y]) for probs in (plain, found[:300])]
    assert scores[1] > scores[0] - 0.02 > 0.87
    torch.testing.assert_close(found, found[:300][torch.from_numpy(more)])


def test_texts_and_their_copies():
    rng = np.random.default_rng(0)
    words = [["goal", "team", "coach", "league"], ["cell", "energy", "orbit", "gene"]]
    truth = np.arange(120) % 2
    texts = [" ".join(rng.choice(words[k], 5)) + f" word{n}" for n, k in enumerate(truth)]
    bad = np.arange(120) < 12
    y = np.where(bad, 1 - truth, truth)
    source = np.r_[np.arange(120), np.repeat(np.flatnonzero(bad), 8)]
    plain, _ = auroc(texts, y, bad)
    found, _ = auroc([texts[row].upper() for row in source], y[source], bad[source])
    assert plain > 0.95
    assert found > plain - 0.02


# What belongs together


def test_together_joins_groups_and_copies():
    x = np.arange(60, dtype=np.float32).reshape(6, 10) ** 1.5
    x[4] = x[1]
    loaded = with_groups(load(x, [0, 1, 0, 1, 0, 1]), ["a", None, "b", "a", "b", ""])
    assert loaded.groups.tolist() == [0, -1, 1, 0, 1, -1]
    known = together(loaded)
    same = known.groups[:, None] == known.groups
    assert np.argwhere(np.triu(same, 1)).tolist() == [[0, 3], [1, 2], [1, 4], [2, 4]]
    assert np.argwhere(np.triu(known.copies[:, None] == known.copies, 1)).tolist() == [[1, 4]]
    assert together(load(x[:4], [0, 1, 0, 1])) is None
    assert together(with_groups(load(x[:4], [0, 1, 0, 1]), [7, 7, 8, 9])).copies is None


def test_rows_that_are_equal_by_chance_are_no_copies():
    rng = np.random.default_rng(0)
    y = np.arange(500) % 2
    few = rng.integers(0, 4, (500, 4)).astype(np.float32)
    one_hot = np.eye(40, dtype=np.float32)[rng.integers(0, 40, 500)]
    assert together(load(few, y)) is None
    assert together(load(one_hot, y)) is None
    real = rng.normal(size=(500, 2)).astype(np.float32)
    real[7], real[9] = real[8], real[8]
    assert np.flatnonzero(np.bincount(together(load(real, y)).groups) > 1).size == 1
    mixed = np.concatenate([few, real], 1)  # the numbers tell that these are copies
    mixed[7] = mixed[8] = mixed[9]
    assert np.bincount(together(load(mixed, y)).copies).max() == 3


def test_the_chance_is_that_of_a_loop():
    """Two columns of few values, of which one follows from the other, and one of many; some rows come again."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 12, (60, 3)).astype(np.float32)
    x[:, 1], x[:, 2] = x[:, 0] // 4, rng.integers(0, 40, 60)
    x[40:50] = x[:10]
    x[50:] = x[4]
    rows = load(x, np.arange(60) % 2).x
    found = groups.find(rows)
    once = np.unique(x, axis=0)
    wanted = []
    for group in found:
        own, ways = x[list(group.rows)], []
        for table, same in ((x, own), (once, np.unique(own, axis=0))):
            ways.append(float(len(table)))
            for k in range(3):
                inside = sum(own[:, k].min() <= value <= own[:, k].max() for value in table[:, k])
                ways[-1] *= (inside - len(same) + 1) / len(table)
        wanted.append(max(ways))
    np.testing.assert_allclose(groups.chances(found, rows, 0), wanted)
    assert len(np.unique(np.round(wanted, 6))) >= 3
    assert ((groups.chances(found, rows, 0.3) < 0.3) == (np.array(wanted) < 0.3)).all()


def test_a_rare_value_that_decides_all_others_makes_no_copies():
    few = np.repeat([[0, 0], [0, 1], [1, 0], [2, 1]], [200, 150, 120, 20], axis=0).astype(np.float32)
    assert together(load(few, np.arange(490) % 2)) is None


def test_rows_that_share_what_many_have_are_no_copies():
    """Half of the rows have nothing but zeros, and each column has more of them."""
    x = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    x[np.random.default_rng(1).random(x.shape) < 0.4] = 0
    x[200:] = 0
    assert together(load(x, np.arange(400) % 2)) is None


def test_chains_of_sets():
    assert joined([], 3) is None
    assert joined([(0, 2), (2, 4), (1, 3)], 6).tolist() == [0, 1, 0, 1, 0, 2]


@pytest.mark.parametrize(
    "given", [["b", "a", "b", None], [2.0, 1.0, 2.0, np.nan], pd.Series([2, 1, 2, pd.NA], dtype="Int64")]
)
def test_values_of_every_kind(given):
    assert numbered(given).tolist() == [0, 1, 0, -1]


# Folds


def test_folds_keep_groups_whole_and_classes_even():
    rng = np.random.default_rng(0)
    given = torch.from_numpy(rng.integers(0, 4, 400))
    groups = torch.from_numpy(np.where(rng.random(400) < 0.5, rng.integers(0, 30, 400), 30 + np.arange(400)))
    groups = torch.unique(groups, return_inverse=True)[1]
    fold = deal(given, 5, torch.Generator().manual_seed(0), groups)
    for group in groups.unique():
        assert len(fold[groups == group].unique()) == 1
    for label in range(4):
        counts = torch.bincount(fold[given == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    sizes = torch.bincount(fold, minlength=5)
    assert sizes.max() - sizes.min() <= 4


def test_one_large_group_has_a_fold_of_its_own():
    given = torch.arange(100) % 2
    groups = torch.where(torch.arange(100) < 60, 0, torch.arange(100) - 59)
    fold = deal(given, 3, torch.Generator().manual_seed(0), groups)
    large = fold[0]
    assert (fold[:60] == large).all()
    assert not (fold[60:] == large).any()
    assert torch.bincount(fold[60:], minlength=3).sort().values.tolist() == [0, 20, 20]


def test_groups_of_one_are_no_groups():
    x, y, _ = spoiled()
    plain = NoisyLabelClassifier(FAST).fit(x, y)
    alone = NoisyLabelClassifier(FAST).fit(x, y, groups=np.arange(300))
    np.testing.assert_array_equal(plain.clean_proba_, alone.clean_proba_)


def test_each_label_stands_once():
    copies, given = torch.tensor([5, 2, 5, 2, 5, 9]), torch.tensor([0, 1, 0, 0, 1, 0])
    rows, place = once(copies, given)
    assert rows.tolist() == [0, 1, 3, 4, 5]
    assert place.tolist() == [0, 1, 0, 2, 3, 4]


def test_a_confirmed_copy_vouches_for_the_others():
    table = Table(
        np.zeros((4, 2), np.float32),
        torch.tensor([0, 0, 1, 0]),
        ("a", "b"),
        torch.tensor([False, True, False, False]),
        copies=torch.tensor([0, 0, 0, 1]),
    )
    small, place = table.distinct()
    assert small.confirmed.tolist() == [True, False, False]
    assert place.tolist() == [0, 0, 1, 2]
    same, none = replace(table, answers=torch.ones(4, 2)).distinct()  # answers are of each copy
    assert none is None
    assert len(same.given) == 4


def test_labels_of_one_group_count_once_in_a_class():
    given, group = np.array([0, 0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 1, 2, 3, 4])
    assert judged_classes(given, 3, 2).tolist() == [True, True, True]
    assert judged_classes(given, 3, 2, group).tolist() == [False, True, True]


def test_where_a_class_is_a_group_nothing_can_be_held_out_and_no_label_is_judged():
    """A matrix of the noise would make of never being right that all are right."""
    y = np.arange(60) % 3
    rng = np.random.default_rng(0)
    x = (3 * rng.normal(size=(3, 5))[y] + rng.normal(size=(60, 5))).astype(np.float32)
    with pytest.warns(TrainingWarning, match="nothing can be learned"):
        clf = NoisyLabelClassifier("features").fit(x, y, groups=y)
    assert (clf.clean_proba_ == 0.5).all()


def test_members_of_a_group_are_no_neighbours():
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    group = torch.arange(30) // 10
    near, far = nearest(x, np.arange(30), np.arange(30), 25, groups=group)
    for row in range(30):
        others = near[row][near[row] >= 0]
        assert sorted(others) == [k for k in range(30) if group[k] != group[row]]
        assert np.isinf(far[row][20:]).all()
    votes = neighbours.shares(x, group, 3, torch.Generator(), group)
    torch.testing.assert_close(votes.sum(2), torch.ones(4, 30))
    own = votes.gather(2, group.expand(4, 30).unsqueeze(2)).squeeze(2)
    expected = torch.tensor([1 / 3 / (size + 1) for size in (5, 10, 20, 20)])
    torch.testing.assert_close(own, expected.unsqueeze(1).expand(4, 30))


# What is held out from networks


def test_a_stratified_part_keeps_groups_whole():
    labels = torch.arange(200) % 4
    labels[::7] = -1
    group = torch.from_numpy(np.random.default_rng(0).integers(0, 60, 200))
    mask = stratified(labels, 0.3, torch.Generator().manual_seed(0), group)
    assert 0.15 < mask.float().mean() < 0.4
    assert not mask[labels < 0].any()
    for k in group.unique():
        assert len(mask[(group == k) & (labels >= 0)].unique()) <= 1


def test_a_confirmed_sample_keeps_its_copies_in_training(monkeypatch):
    from toys import build, plan, toy

    from codivide.methods.cross_entropy import CrossEntropy
    from codivide.training.loop import train
    from codivide.training.samples import Data

    known = toy(80)
    confirmed = torch.zeros(80, dtype=torch.bool)
    confirmed[:40] = True
    group = torch.arange(80) % 40
    group[79] = 99
    data = Data(known.data.x, known.data.y, known.data.classes, known.data.views, confirmed, group)
    run = train(CrossEntropy(validation=0.5), data, build, plan(1))
    held = run.remember("held_out")
    assert not held[:79].any()


def test_a_part_that_is_held_out_keeps_groups_whole():
    x, y, _ = spoiled()
    loaded = with_groups(load(x, y), np.arange(300) // 4)
    part = experiment.hold_out(loaded, 0.2, 0)
    assert not set(part.groups) & set(part.test.groups)
    assert len(part.y) + len(part.test.y) == 300
    assert 50 <= len(part.test.y) <= 60
    plain = load(x, y)
    again = experiment.hold_out(plain, 0.2, 0)
    assert len(again.test.y) == 60


def test_the_scout_holds_groups_out_whole(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (300, 4, 4), dtype=np.uint8)
    y = rng.integers(0, 2, 300)
    group = np.arange(300) // 3
    NoisyLabelClassifier("auto", "mlp", epochs=2, out=tmp_path / "run").fit(x, y, groups=group)
    held = json.loads((tmp_path / "run" / "choice.json").read_text())["held_out"]
    assert held
    for k in range(100):
        assert len({row in held for row in range(3 * k, 3 * k + 3)}) == 1


@pytest.mark.parametrize("kinds", [2, 4])
def test_groups_of_which_none_can_be_held_out_are_trained_on_plainly(kinds):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (240, 4, 4), dtype=np.uint8), rng.integers(0, 2, 240)
    clf = NoisyLabelClassifier("auto", "mlp", epochs=2).fit(x, y, groups=np.arange(240) % kinds)
    decision = clf.choice_["decision"]
    assert decision["method"] == "cross_entropy"
    assert "groups are held out whole" in decision["reasons"][0]


def test_who_is_held_out_is_known_before_training():
    from toys import build, plan, toy

    from codivide.methods._held_out import drawn
    from codivide.methods.codivide import CoDivide
    from codivide.training.loop import train

    known = toy(120)
    confirmed = torch.arange(120) < 30
    group = torch.arange(120) % 50
    data = replace(known.data, confirmed=confirmed, groups=group)
    run = train(CoDivide(validation=0.2), data, build, plan(1, seed=7))
    held = drawn(data.y, confirmed, 0.2, torch.Generator().manual_seed(7), group)
    assert held.any()
    assert torch.equal(run.remember("held_out"), held)


# A user's groups, by the estimator and the command line


def patients(path):
    """Each patient has 6 rows that lie near each other, and one label in 8 is wrong for the whole patient."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(80), 6)
    truth = np.arange(80) % 2
    wrong = np.arange(80) < 10
    own = 2 * rng.normal(size=(80, 12))
    own[:, 0] += 5 * (2 * truth - 1)
    x = own[patient] + 0.1 * rng.normal(size=(480, 12))
    y = np.where(wrong, 1 - truth, truth)[patient]
    table = pd.DataFrame(x.astype(np.float32), columns=[f"f{k}" for k in range(12)])
    table = table.assign(label=y, patient=[f"p{k:02}" for k in patient])
    table.to_csv(path / "t.csv", index=False)
    return path / "t.csv", table, wrong[patient]


def codivide(*words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["codivide", *map(str, words)])
        try:
            app.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def test_groups_by_command_line_and_estimator_are_one_thing(tmp_path):
    path, table, bad = patients(tmp_path)
    fit = ["fit", path, "--method", "features", "--heads", "linear", "--group", "patient", "--out", tmp_path / "run"]
    assert codivide(*fit) == 0
    found = pd.read_parquet(tmp_path / "run" / "labels.parquet")["clean_prob"].to_numpy()
    by_name = NoisyLabelClassifier(FAST).fit(path, groups="patient")
    x = table.drop(columns=["label", "patient"])
    by_values = NoisyLabelClassifier(FAST).fit(x, table["label"], groups=table["patient"])
    np.testing.assert_array_equal(found, by_name.clean_proba_)
    np.testing.assert_array_equal(found, by_values.clean_proba_)
    assert by_name.n_features_in_ == 12
    with_ = roc_auc_score(bad, -found)
    without = roc_auc_score(bad, -NoisyLabelClassifier(FAST).fit(x, table["label"]).clean_proba_)
    assert with_ > 0.9
    assert with_ > without + 0.1
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["groups"] == 80
    assert config["source"]["options"]["group"] == "patient"
    cleaned = tmp_path / "cleaned"
    assert codivide("clean", tmp_path / "run", "--out", cleaned, "--drop-below", "0") == 0
    again = load(cleaned / "labels_clean.csv", options=ReadOptions(group="patient"))
    assert again.groups.tolist() == np.repeat(np.arange(80), 6).tolist()
    assert again.x.shape == (12,)
    parquet = load(cleaned / "labels_clean.parquet", options=ReadOptions(group="patient"))
    np.testing.assert_array_equal(parquet.groups, again.groups)
    assert codivide("audit", tmp_path / "run") == 0


def test_a_test_part_may_lack_the_column(tmp_path):
    path, table, _ = patients(tmp_path)
    for name, part in (("a", table), ("b", table.drop(columns="patient"))):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
        fit = ["fit", path, "--method", "features", "--heads", "linear", "--group", "patient", "--out", tmp_path / name]
        assert codivide(*fit, "--test", tmp_path / f"{name}.csv") == 0


def test_groups_of_a_manifest(tmp_path):
    from PIL import Image

    for k in range(12):
        Image.new("L", (8, 8), 20 * k).save(tmp_path / f"{k}.png")
    table = pd.DataFrame(
        {"path": [f"{k}.png" for k in range(12)], "label": ["a", "b"] * 6, "video": list("uuvvwwxxyyzz")}
    )
    table.loc[5, "path"] = "bad.png"
    (tmp_path / "bad.png").write_text("none")
    table.to_csv(tmp_path / "m.csv", index=False)
    loaded = load(tmp_path / "m.csv", options=ReadOptions(group="video"))
    assert loaded.groups.tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 5]
    fit = ["fit", tmp_path / "m.csv", "--group", "video", "--method", "cross_entropy", "--net", "mlp", "--epochs", "1"]
    assert codivide(*fit, "--out", tmp_path / "run") in (0, 3)
    assert codivide("clean", tmp_path / "run", "--out", tmp_path / "cleaned", "--drop-below", "0") == 0
    again = load(tmp_path / "cleaned" / "labels_clean.csv", options=ReadOptions(group="video"))
    assert again.groups.tolist() == loaded.groups.tolist()


def test_wrong_groups_are_one_error(tmp_path):
    path, table, _ = patients(tmp_path)
    with pytest.raises(InputError, match=r"t.csv has no column 'clinic' of groups \(columns: f0, "):
        load(path, options=ReadOptions(group="clinic"))
    with pytest.raises(InputError, match="groups='label': this column has a meaning of its own"):
        load(path, options=ReadOptions(group="label"))
    with pytest.raises(InputError, match="groups='patient': a column of groups can be named for"):
        load("digits", options=ReadOptions(group="patient"))
    x = table.drop(columns=["label", "patient"])
    with pytest.raises(InputError, match="groups has 3 values, but there are 480 samples"):
        NoisyLabelClassifier(FAST).fit(x, table["label"], groups=[1, 2, 3])
    with pytest.raises(InputError, match=r"groups has shape \(480, 1\); give one value"):
        NoisyLabelClassifier(FAST).fit(x, table["label"], groups=np.zeros((480, 1)))


def test_groups_are_of_the_rows_that_stay():
    x, y, _ = spoiled()
    loaded = with_groups(load(x, y), np.arange(300) // 2)
    part = experiment.part(loaded, 100, 0)
    assert len(part.groups) == 100
    assert isinstance(together(part), Together)


@pytest.mark.parametrize("given", ["column", "beside"])
def test_a_data_frame_may_name_its_column_of_groups(given):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    table = pd.DataFrame({"a": rng.normal(size=60) + y, "job": np.where(y == 1, "smith", "baker"), "who": y + 2})
    table["who"] = [f"p{k // 3}" for k in range(60)]
    source, labels = (table.assign(label=y), None) if given == "column" else (table, y)
    loaded = load(source, labels, options=ReadOptions(group="who", columns=("a", "job")))
    assert loaded.groups is not None
    assert loaded.groups.tolist() == [k // 3 for k in range(60)]
    assert not any("who" in name for name in loaded.columns or ())
    weighed = load(source.assign(w=1.0 + y), labels, options=ReadOptions(weight="w", drop=("who",)))
    assert weighed.weight is not None
    assert weighed.weight.tolist() == (1.0 + y).tolist()
    assert not any(name == "w" for name in weighed.columns or ())


def test_copies_that_count_once_are_said_where_they_are_many():
    samples = np.random.default_rng(0).normal(size=(24, 3)) + np.arange(24)[:, None] % 2
    many, few = np.arange(48) % 24, np.arange(24 + 6) % 24
    for rows, told in ((many, ["24 of 48 samples are"]), (few, [])):
        x, y = samples[rows], rows % 2
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            clf = NoisyLabelClassifier(Features(heads="linear"), random_state=0).fit(x, y)
        said = [str(one.message) for one in caught if "they count once" in str(one.message)]
        assert [text.split(" copies")[0] for text in said] == told
        assert ("copies" in clf.history_[-1].get("warnings", {})) == bool(told)
    assert not said
