"""``audit.from_probs`` with numbers: predictions of somebody's regressor."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from codivide import InputError, audit, noise_report, score_labels
from codivide.audit import clean as cleaning
from codivide.cli import app
from codivide.noise import residuals


def guessed(count=300, seed=0):
    """Given numbers, of which the first twelve are wrong, and held-out predictions."""
    rng = np.random.default_rng(seed)
    right = rng.normal(size=count) * 10
    given = (right + 0.3 * rng.normal(size=count)).round(3)
    given[:12] += 25
    return given, right + 0.5 * rng.normal(size=count)


def test_numbers_are_judged_as_score_labels_and_the_report_judge_them():
    given, predicted = guessed()
    found = audit.from_probs(given, predicted, task="regression")
    np.testing.assert_array_equal(
        found.clean_prob, score_labels("combined", given, predictions=predicted, task="regression")
    )
    assert found.label_issues["id"].sort_values().tolist() == list(range(12))
    report = noise_report(None, given, predictions=predicted, task="regression")
    assert found.facts["noise"]["rate"] == report.rate
    assert repr(found).startswith("Findings(labels: 12 of 300 ")
    table = found.labels
    np.testing.assert_array_equal(table["predicted"], predicted)
    doubted = table["is_label_issue"].to_numpy(dtype=bool)
    suggested = table["suggested"].astype(float).to_numpy()
    np.testing.assert_allclose(suggested[doubted], predicted[doubted], atol=1e-3)
    np.testing.assert_array_equal(suggested[~doubted], given[~doubted])
    size = float(np.median(np.abs(given - predicted)))
    settled = residuals.settle(given, predicted, np.full(len(given), size))
    reach = student.ppf(0.95, settled.tails) * settled.factor * size
    np.testing.assert_allclose(table["predicted_high"], predicted + reach)
    np.testing.assert_allclose(table["predicted_low"], predicted - reach)
    fixed = found.clean()
    assert set(fixed.changes["id"]) == set(range(12))
    assert set(fixed.changes["change"]) == {"relabelled"}


def test_numbers_that_are_missing_are_predicted_and_not_judged(tmp_path):
    given, predicted = guessed()
    given[20] = np.nan
    named = pd.Series(given, index=[f"house {k}" for k in range(len(given))])
    found = audit.from_probs(named, predicted, task="regression", texts=[f"text {k}" for k in range(300)])
    assert np.isnan(found.clean_prob[20])
    assert pd.isna(found.labels["given"][20])
    assert float(found.labels["suggested"][20]) == pytest.approx(predicted[20], abs=1e-3)
    assert found.labels["id"][20] == "house 20"
    assert found.facts["targets"]["kind"] == "regression"
    assert len(found.facts["targets"]["points"]) == 299
    assert "text 7" in found.report(tmp_path / "audit.html").read_text(encoding="utf-8")


def test_the_folder_of_such_an_audit_is_read_by_all_commands(tmp_path, monkeypatch, capsys):
    given, predicted = guessed()
    found = audit.from_probs(given, predicted, task="regression", out=tmp_path / "numbers")
    report = noise_report(tmp_path / "numbers")
    assert report == noise_report(None, given, predictions=predicted, task="regression")
    cleaned = cleaning.clean(tmp_path / "numbers", tmp_path / "cleaned")
    assert cleaned.changes["id"].tolist() == sorted(found.label_issues["id"])
    monkeypatch.setattr("sys.argv", ["codivide", "audit", str(tmp_path / "numbers")])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert not ended.value.code
    assert "12 of 300 targets look wrong" in capsys.readouterr().out
    tags = np.stack([given > 0, given > 5], axis=1).astype(int)
    probs = np.clip(tags * 0.8 + 0.1 + 0.05 * np.random.default_rng(0).normal(size=tags.shape), 0, 1)
    tags[:30, 0] = 1 - tags[:30, 0]
    found = audit.from_probs(tags, probs, task="multilabel", separator="|", out=tmp_path / "tags")
    assert noise_report(tmp_path / "tags") == noise_report(None, tags, pred_probs=probs, task="multilabel")
    mended = cleaning.clean(tmp_path / "tags", tmp_path / "mended", relabel_above=0.5).changes
    assert mended["id"].tolist() == sorted(found.label_issues["id"])
    assert len(mended) > 20
    assert cleaning.read_run(tmp_path / "tags").source.options.separator == "|"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pred_probs": np.zeros(299)}, r"predictions have shape \(299,\); 300 targets need \[samples\]"),
        ({"pred_probs": np.zeros((300, 2))}, r"predictions have shape \(300, 2\)"),
        ({"pred_probs": np.append(np.zeros(299), np.nan)}, "prediction 299 is not finite"),
        ({"labels": ["a"] * 300}, "'a'"),
        ({"labels": np.zeros(300)}, "all targets are 0"),
        ({"ids": range(299)}, "ids has 299"),
        ({"classes": ["a"]}, "classes does not apply to task 'regression'"),
        ({"groups": range(300)}, "groups does not apply to task 'regression'"),
    ],
)
def test_bad_input_is_one_clear_error(change, said):
    given, predicted = guessed()
    with pytest.raises(InputError, match=said):
        audit.from_probs(**{"labels": given, "pred_probs": predicted, "task": "regression", **change})


def test_predictions_that_say_nothing_or_the_very_targets_are_told():
    given, predicted = guessed()
    with pytest.warns(UserWarning, match="the predictions say nothing of the targets"):
        found = audit.from_probs(given, predicted[::-1], task="regression")
    assert "the predictions say nothing" in str(found).replace("\n  ", " ")
    with pytest.warns(UserWarning, match="100 % of the predictions are the very targets"):
        audit.from_probs(given, given, task="regression")


def audited(monkeypatch, capsys, *words):
    """What a command prints."""
    monkeypatch.setattr("sys.argv", ["codivide", *map(str, words)])
    with pytest.raises(SystemExit):
        app.main()
    said = capsys.readouterr()
    return said.out + said.err


def test_predictions_in_files_are_judged_as_in_python(tmp_path, monkeypatch, capsys):
    given, predicted = guessed()
    names = [f"h{k}" for k in range(len(given))]
    known = pd.Series(given, index=names)
    expected = audit.from_probs(known, predicted, task="regression").labels
    table = tmp_path / "prices.csv"
    pd.DataFrame({"id": names, "text": [f"house {k}" for k in range(300)], "price": given}).to_csv(table, index=False)
    np.save(tmp_path / "p.npy", predicted[:, None])
    order = np.random.default_rng(1).permutation(300)
    moved = pd.DataFrame({"id": names, "other": "x", "Predicted": predicted}).iloc[order]
    moved.to_csv(tmp_path / "p.csv", index=False, sep=";", decimal=",")
    asked = ("--label", "price", "--task", "regression")
    for k, files in enumerate((["p.npy"], ["p.csv"], ["p.npy", "p.csv"])):
        probs = [word for name in files for word in ("--probs", tmp_path / name)]
        said = audited(monkeypatch, capsys, "audit", table, *asked, *probs, "--out", tmp_path / f"out{k}")
        assert "12 of 300 targets look wrong" in said
        found = pd.read_parquet(tmp_path / f"out{k}" / "labels.parquet")
        assert found["id"].tolist() == names
        np.testing.assert_allclose(found["clean_prob"], expected["clean_prob"], rtol=1e-6)
        assert (tmp_path / f"out{k}" / "report.html").read_text(encoding="utf-8").count("house 7")
        assert "targets are wrong" in audited(monkeypatch, capsys, "noise", table, *asked, *probs)
    assert cleaning.clean(tmp_path / "out1", tmp_path / "cleaned").changes["id"].tolist() == names[:12]


def test_probabilities_of_several_labels_in_a_file_go_by_their_names(tmp_path, monkeypatch, capsys):
    given, _ = guessed()
    tags = np.stack([given > 0, given > 5], axis=1)
    probs = np.clip(tags * 0.8 + 0.1 + 0.05 * np.random.default_rng(0).normal(size=tags.shape), 0, 1)
    tags[:30, 0] = ~tags[:30, 0]
    expected = audit.from_probs(pd.DataFrame(tags * 1, columns=["sky", "sea"]), probs, task="multilabel")
    pd.DataFrame(tags * 1, columns=["sky", "sea"]).to_csv(tmp_path / "tags.csv", index=False)
    pd.DataFrame(probs[:, ::-1], columns=["sea", "sky"]).to_csv(tmp_path / "p.csv", index=False)
    asked = ("--label", "sky,sea", "--task", "multilabel", "--probs", tmp_path / "p.csv")
    audited(monkeypatch, capsys, "audit", tmp_path / "tags.csv", *asked, "--out", tmp_path / "out")
    found = pd.read_parquet(tmp_path / "out" / "labels.parquet")
    np.testing.assert_allclose(found["clean_prob"], expected.labels["clean_prob"], rtol=1e-6)
    assert "give one file" in audited(monkeypatch, capsys, "noise", tmp_path / "tags.csv", *asked, *asked[-2:])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("short.csv", "prediction\n1\n2\n", "short.csv has 2 rows, but "),
        ("two.csv", "a,b\n" + "1,2\n" * 300, "two.csv has columns a, b: call that of the predictions 'prediction'"),
        ("bare.csv", "2.5\n" * 300, "the first line of .*bare.csv holds a prediction, 2.5, not a name"),
        ("gap.csv", "p\n" + "1\n" * 9 + "oops\n" + "1\n" * 290, "gap.csv: the prediction of 9 is no finite number"),
        ("p.txt", "x", "p.txt: give predictions as .npy, .npz, or a table"),
    ],
)
def test_predictions_that_do_not_fit_are_named_by_file_and_row(tmp_path, monkeypatch, capsys, name, content, says):
    pd.DataFrame({"label": guessed()[0]}).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / name).write_text(content)
    asked = ("noise", tmp_path / "t.csv", "--probs", tmp_path / name)
    assert re.search(says, audited(monkeypatch, capsys, *asked, "--task", "regression"))
    assert "--group does not go with" in audited(monkeypatch, capsys, *asked, "--task", "regression", "--group", "g")
    assert "task" in audited(monkeypatch, capsys, *asked, "--task", "regresion")
    assert "--task goes with --probs" in audited(monkeypatch, capsys, *asked[:2], "--task", "regression")


def test_too_few_columns_of_several_labels_name_a_few_labels():
    tags = [f"tag {row}" for row in range(40)]
    with pytest.raises(
        InputError, match=r"pred_probs has 1 column, but there are 40 labels: (tag \d+, ){4}tag \d+ and 35"
    ):
        audit.from_probs(tags, np.full((40, 1), 0.5), task="multilabel")
