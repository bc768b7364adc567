"""The test part is judged and compared with the training part, and nothing is learned or chosen by it."""

import json
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from codivide import NoisyLabelClassifier
from codivide.audit import collect, render
from codivide.cli import app
from codivide.core.errors import TrainingWarning
from codivide.data.arrays import from_arrays
from codivide.data.leaks import leaks
from codivide.data.rows import JoinedRows
from codivide.data.sources import load
from codivide.fit import test_part
from codivide.methods.features.options import Features
from codivide.noise.evidence import Evidence
from codivide.runs.folder import SavedRun

FAST = Features(heads="linear")


def codivide(*words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["codivide", *map(str, words)])
        try:
            app.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def parts():
    """300 rows to train on and 100 to test on: 5 are in both (one with another label), 9 test labels are wrong."""
    rng = np.random.default_rng(0)
    truth = np.arange(400) % 3
    x = 5 * np.eye(3, 10)[truth] + rng.normal(size=(400, 10))
    x[300:304] = x[:4]
    x[304] = x[3] + 1e-5
    y = np.where(truth == 0, "ant", np.where(truth == 1, "bee", "cow")).astype(object)
    truth_names = y.copy()
    wrong = np.arange(340, 348)
    y[wrong] = np.where(y[wrong] == "ant", "bee", "ant")
    table = pd.DataFrame(x.astype(np.float32), columns=[f"f{k}" for k in range(10)]).assign(label=y)
    bad = y != truth_names
    bad[304] = True  # what it is a copy of has another label
    return table, bad


def run_of(tmp_path, table):
    table[:300].to_csv(tmp_path / "train.csv", index=False)
    table[300:].to_csv(tmp_path / "test.csv", index=False)
    fit = ["fit", tmp_path / "train.csv", "--test", tmp_path / "test.csv", "--method", "features", "--heads", "linear"]
    assert codivide(*fit, "--out", tmp_path / "run") == 0
    return SavedRun(tmp_path / "run")


def test_leaks_and_doubtful_labels_of_a_test_table(tmp_path, capsys):
    table, wrong = parts()
    run = run_of(tmp_path, table)
    said = " ".join(capsys.readouterr().out.split())
    known = run.summary["test_part"]
    assert (known["samples"], known["labelled"]) == (100, 100)
    assert (known["leaked"], known["leaked_training_samples"]) == (5, 4)
    assert known["leaked_of_other_label"] == int(
        (table["label"][300:304].to_numpy() != table["label"][:4]).sum()
    ) + int(table["label"][304] != table["label"][3])
    found = run.test_labels
    assert f"test part: {known['label_issues']} of 100 labels look wrong; 5 of 100 samples are also in the" in said
    assert f"(test accuracy without these {known['accuracy_without_leaked']:.4f})" in said
    assert found["part"].tolist() == ["test"] * 100
    assert np.flatnonzero(found["leaked"]).tolist() == [0, 1, 2, 3, 4]
    assert found["twin"][:5].tolist() == ["0", "1", "2", "3", "3"]
    assert found["twin"][5:].isna().all()
    assert roc_auc_score(wrong[300:], -found["clean_prob"].astype(float)) > 0.95
    flagged = found["given"] != found["suggested"]
    assert known["label_issues"] == flagged.sum()
    assert (found["is_label_issue"] == flagged).all()
    assert set(np.flatnonzero(wrong[300:])) <= set(np.flatnonzero(flagged))
    assert set(found["rank"][wrong[300:]]) == set(range(1, 10))
    assert (found["suggested"][flagged] != found["given"][flagged]).all()
    training = run.labels
    assert training["part"].tolist() == ["train"] * 300
    assert np.flatnonzero(training["leaked"]).tolist() == [0, 1, 2, 3]
    assert training["twin"][:4].tolist() == ["0", "1", "2", "3"]
    assert any("5 of 100 test samples are also in the training part" in text for text in run.summary["warnings"])
    csv = pd.read_csv(tmp_path / "run" / "labels_test.csv")
    assert csv.columns.tolist() == found.columns.tolist()
    answers = NoisyLabelClassifier(FAST).fit(tmp_path / "train.csv").predict(table[300:].drop(columns="label"))
    right = answers == table["label"][300:]
    assert known["accuracy_without_leaked"] == pytest.approx(right[5:].mean())


def test_the_facts_of_a_run_have_the_test_part(tmp_path):
    table, wrong = parts()
    run = run_of(tmp_path, table)
    facts = collect(tmp_path / "run")
    test = facts["test"]
    assert (test["samples"], test["leaked"], test["leaked_training_samples"]) == (100, 5, 4)
    assert test["issues_total"] == run.summary["test_part"]["label_issues"]
    assert {one["id"] for one in test["issues"][:9]} == {str(row - 300) for row in np.flatnonzero(wrong)}
    assert all(set(one) == {"id", "given", "suggested", "twin", "clean_prob", "leaked"} for one in test["issues"])
    assert {one["id"]: one["twin"] for one in test["issues"] if one["leaked"]} == {"4": "3"}
    assert sorted((one["id"], one["twin"]) for one in test["leaks"]) == [
        ("0", "0"),
        ("1", "1"),
        ("2", "2"),
        ("3", "3"),
        ("4", "3"),
    ]
    assert '"leaked_training_samples":4' in render.page(facts)
    assert codivide("clean", tmp_path / "run", "--out", tmp_path / "cleaned") == 0
    assert codivide("fit", tmp_path / "cleaned" / "labels_clean.csv", "--out", tmp_path / "again") == 0


@pytest.mark.parametrize("hit", [0.05, 0.3])
def test_labels_that_a_classifier_cannot_predict_are_not_judged(hit):
    rng = np.random.default_rng(0)
    given = rng.integers(0, 10, 400)
    answer = np.where(rng.random(400) < hit, given, rng.integers(0, 10, 400))
    probs = np.full((400, 10), 0.04)
    probs[np.arange(400), answer] = 0.64
    loaded = from_arrays(rng.normal(size=(400, 3)).astype(np.float32), given)
    test = from_arrays(rng.normal(size=(400, 3)).astype(np.float32), np.where(np.arange(400) < 380, given, -1))
    with pytest.warns(TrainingWarning, match=r"labels are not judged, since only \d+ % of them are predicted"):
        found = test_part.judged(replace(loaded, test=test), SimpleNamespace(probs=lambda x: probs))
    assert (found.summary["judged"], found.summary["label_issues"]) == (False, 0)
    assert (found.table["clean_prob"][:380] == 0.5).all()
    assert found.table["suggested"].tolist() == [*found.table["given"][:380], *answer[380:]]


def test_nothing_is_learned_or_chosen_by_the_test_part(tmp_path):
    table, _ = parts()
    run = run_of(tmp_path, table)
    alone = NoisyLabelClassifier(FAST).fit(tmp_path / "train.csv")
    np.testing.assert_array_equal(run.labels["clean_prob"].to_numpy(float), alone.clean_proba_)
    assert not hasattr(alone, "test_labels_")
    assert "part" not in alone.labels_
    assert "test_part" not in run.summary or alone.audit().facts["test"] is None


def photos(root):
    """Photos of two classes in train/ and test/; one is in both, and one copy of it is saved smaller."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 4)):
        for k in range(count):
            for name, level in (("dark", 60), ("light", 190)):
                small = rng.integers(level - 50, level + 50, (6, 6, 3)).astype(np.uint8)
                path = root / part / name / f"{k:02}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(small).resize((32, 32), Image.Resampling.BICUBIC).save(path)
    image = Image.open(root / "train" / "dark" / "03.png")
    image.save(root / "test" / "light" / "00.png")  # with another label
    image.resize((28, 28)).resize((32, 32), Image.Resampling.BICUBIC).save(root / "test" / "dark" / "01.png")
    return root


def test_a_folder_with_train_and_test(tmp_path):
    root = photos(tmp_path / "photos")
    clf = NoisyLabelClassifier("cross_entropy", "mlp", epochs=2, out=tmp_path / "run").fit(root)
    test = clf.test_labels_
    assert test["path"][test["leaked"]].tolist() == ["test/dark/01.png", "test/light/00.png"]
    assert set(test["twin"][test["leaked"]]) == {"train/dark/03.png"}
    assert clf.labels_["path"][clf.labels_["leaked"]].tolist() == ["train/dark/03.png"]
    assert SavedRun(tmp_path / "run").summary["test_part"]["leaked_of_other_label"] == 1
    assert clf.audit().facts["test"]["leaked"] == 2
    clf.set_params(out=None).fit(np.zeros((20, 4, 4), np.uint8), np.arange(20) % 2)
    assert not hasattr(clf, "test_labels_")


def test_a_dataset_dict(tmp_path):
    import datasets

    rng = np.random.default_rng(0)
    words = [["goal", "team", "coach"], ["cell", "orbit", "gene"]]
    texts = [" ".join(rng.choice(words[k % 2], 4)) + f" w{k}" for k in range(80)]
    texts[70] = texts[3].upper()
    given = [k % 2 for k in range(80)]
    parts = {"train": slice(60), "test": slice(60, 80)}
    both = datasets.DatasetDict(
        {name: datasets.Dataset.from_dict({"text": texts[rows], "label": given[rows]}) for name, rows in parts.items()}
    )
    loaded = load(both)
    clf = NoisyLabelClassifier(FAST).fit(both)
    assert len(loaded.test.y) == 20
    assert np.flatnonzero(clf.test_labels_["leaked"]).tolist() == [10]


def test_joined_rows_are_both():
    first, second = (load(np.arange(n, n + 24, dtype=np.float32).reshape(6, 4), [0, 1] * 3).x for n in (0, 100))
    rows = JoinedRows(first, second)
    whole = torch.cat([first[torch.arange(6)], second[torch.arange(6)]])
    order = torch.tensor([11, 0, 6, 5, 5])
    torch.testing.assert_close(rows[order], whole[order])
    assert (len(rows), rows.shape, rows.dtype) == (12, (4,), torch.float32)


def test_equal_rows_of_few_values_are_no_leaks():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (300, 3)).astype(np.float32)
    train, test = load(x[:200], np.arange(200) % 2), load(x[200:], np.arange(100) % 2)
    found = leaks(train, test)
    assert (found.training < 0).all()
    assert (found.test < 0).all()


def test_a_test_part_of_one_class_or_without_labels_is_judged(tmp_path):
    table, _ = parts()
    table[:300].to_csv(tmp_path / "train.csv", index=False)
    one = table[300:].query("label == 'ant'").copy()
    one["label"] = one["label"].where(np.arange(len(one)) > 3)
    one.to_csv(tmp_path / "test.csv", index=False)
    fit = ["fit", tmp_path / "train.csv", "--test", tmp_path / "test.csv", "--method", "features", "--heads", "linear"]
    assert codivide(*fit, "--out", tmp_path / "run") == 0
    found = SavedRun(tmp_path / "run").test_labels
    assert found["clean_prob"].isna().tolist() == [True] * 4 + [False] * (len(one) - 4)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["test_part"]["labelled"] == len(one) - 4


def test_a_test_part_in_another_unit_is_said(tmp_path, capsys):
    table, _ = parts()
    table.loc[300:, "f0"] *= 1000
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        run = run_of(tmp_path, table)
    assert "of 100 samples have values far outside those of the training" in " ".join(capsys.readouterr().err.split())
    said = [text for text in run.summary["warnings"] if "far outside" in text]
    assert len(said) == 1
    assert "'f0'" in said[0]


def test_a_test_part_that_differs_is_said(tmp_path, capsys):
    table, _ = parts()
    assert not [text for text in run_of(tmp_path, table).summary["warnings"] if "held-out labels" in text]
    rows, columns = table.index >= 350, ["f0", "f1"]
    table.loc[rows, columns] = table.loc[rows, columns[::-1]].to_numpy()  # as if a file named them the other way round
    (tmp_path / "other").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        run = run_of(tmp_path / "other", table)
    said = [text for text in run.summary["warnings"] if "held-out labels of the same classes" in text]
    assert len(said) == 1
    assert said[0] in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("training", "test", "said"),
    [
        ([300, 300], [200, 35], "'a', which 50 % of the training labels and 85 % of the test labels name"),
        ([300, 300], [130, 70], None),  # .15
        ([300, 300], [4, 1], None),  # by chance
        ([300, 300], [0, 0], None),
        ([100, 100, 100], [30, 30, 0], "'c', which 33 % of the training labels and 0 % of the test labels name"),
    ],
)
def test_classes_that_are_not_as_frequent_as_in_training_are_said(training, test, said):
    one, other = (
        SimpleNamespace(y=np.r_[np.repeat(np.arange(len(counts)), counts), -1], classes="abc"[: len(counts)])
        for counts in (training, test)
    )
    found = test_part._other_shares(one, other)
    assert found is None if said is None else said in found


def test_a_test_part_of_other_classes_is_said_at_the_end(tmp_path, capsys):
    table, _ = parts()
    assert not [text for text in run_of(tmp_path, table).summary["warnings"] if "not as frequent" in text]
    table = table[(table.index < 300) | (table["label"] == "ant") | (table.index % 5 == 0)].reset_index(drop=True)
    (tmp_path / "other").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        run = run_of(tmp_path / "other", table)
    said = [text for text in run.summary["warnings"] if "classes are not as frequent as in the training part" in text]
    assert len(said) == 1
    assert said[0] in " ".join(capsys.readouterr().err.split())


def evidence(right: int, wrong: int) -> Evidence:
    """Of two classes, whose held-out labels were predicted so often rightly."""
    given = np.repeat([0, 1], right + wrong)
    hit = np.tile(np.arange(right + wrong) < right, 2)
    probs = np.eye(2, dtype=np.float16)[np.where(hit, given, 1 - given)]
    return Evidence(given, np.zeros(len(given), dtype=np.float32), probs, held_out=True)


@pytest.mark.parametrize(
    ("right", "said"), [(100, False), (88, False), (75, True), (40, True)]
)  # of 100; 95 of 100 are expected
def test_harder_labels_are_told_from_chance(right, said):
    labels = np.arange(100) % 2
    predicted = np.where(np.arange(100) < right, labels, 1 - labels)
    tested = test_part.Tested(predicted=(predicted, labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert bool(test_part.harder(tested, evidence(95, 5))) is said
        seen = evidence(95, 5)
        assert test_part.harder(tested, Evidence(seen.given, seen.mean_loss, seen.probs)) == []  # not held out
        assert test_part.harder(test_part.Tested(), seen) == []
